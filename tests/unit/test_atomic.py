"""Files that are replaced whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.atomic import replace


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_is_replaced_with_its_permissions(tmp_path: Path, sync: bool) -> None:
    """New or not, and nothing is left beside it; a symbolic link gives way to the file."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    for path in (target, link, tmp_path / "new"):
        replace(path, b"whole", mode=0o604, sync=sync)
        assert path.read_bytes() == b"whole"
        assert path.stat().st_mode & 0o777 == 0o604
    assert not link.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "new", "target"]


def test_what_cannot_be_replaced_stays(tmp_path: Path) -> None:
    """An error passes, and what was there is there, alone."""
    folder = tmp_path / "place"
    (folder / "kept").mkdir(parents=True)
    with pytest.raises(OSError, match="place"):
        replace(folder, b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["place"]
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "nowhere" / "file", b"x")
