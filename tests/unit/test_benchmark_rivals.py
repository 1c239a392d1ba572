"""What the loader is compared with: environments of their own, and a report without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.environment import environment
from benchmarks.process import Failed


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_says_why_and_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a registry the file, the package and pip's reason are named, each time that one tries."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    said = r"ioos-requirements\.txt could not be made; .*registry: .*attrs=="
    for _ in range(2):
        with pytest.raises(Failed, match=said) as told:
            environment("ioos", tmp_path)
        assert "\n" not in str(told.value)
