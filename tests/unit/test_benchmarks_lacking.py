"""Benchmarks that lack something: an environment that cannot be made, data that is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from benchmarks import airfiles, flags
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


@pytest.mark.parametrize("read", [airfiles.toronto, airfiles.france, airfiles.beijing, flags.italy])
def test_data_that_is_not_there_is_named(tmp_path: Path, read: Callable[[Path], Iterable[object]]) -> None:
    """The folder or file that is not there is named, and where it says what there should be."""
    with pytest.raises(SystemExit, match=r"nowhere.*: no .*benchmarks/README\.md") as told:
        list(read(tmp_path / "nowhere" / "f.csv"))
    assert str(tmp_path) in str(told.value)
