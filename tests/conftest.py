"""What holds for all tests: a random one prints what repeats it, and a busy machine fails none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import settings

# How long one example takes says more about the machine than about the code.
settings.register_profile("house", deadline=None, print_blob=True, max_examples=40)
settings.load_profile("house")

_MEMORY = Path("/dev/shm")
_ROOM = 2 << 30
if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK):
    # Every commit of a test would wait for the disk, which made a third of their time.
    _found = os.statvfs(_MEMORY)
    if _found.f_bavail * _found.f_frsize >= _ROOM and not _found.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)
