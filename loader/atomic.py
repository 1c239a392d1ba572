"""Files that are replaced whole: a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, data: bytes, *, mode: int | None = None, sync: bool = False) -> None:
    """Write `data` beside `path` and put it in its place; with `mode` it has these permissions,
    with `sync` it outlives a power cut. The folder must be there. Raises OSError, and then leaves
    what was there."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if mode is not None:
            part.chmod(mode)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
