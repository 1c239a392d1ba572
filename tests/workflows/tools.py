"""Programs that a test calls: without one it is skipped, but on CI it fails, where nobody reads skips."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest


def tool(name: str) -> str:
    """The program's path, from this Python's environment or the machine."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        absent(f"{name} is not installed")
    return str(Path(found))


def absent(why: str) -> None:
    """Skip the test, or fail it on CI."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
