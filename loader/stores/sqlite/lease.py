"""The right to write a source: a lock of the operating system on a file beside the database.

The lock ends with the process that holds it, however that ends. The file stays and is empty; its
presence means nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from pathlib import Path

from loader.errors import LeaseHeld, StoreError

_PLAIN = re.compile(r"[a-z0-9_-]{1,64}")


class FileLease:
    """A lock held on a source's file."""

    def __init__(self, source: str, file: Path, descriptor: int) -> None:
        self.source = source
        self._file = file
        self._descriptor: int | None = descriptor

    @property
    def held(self) -> bool:
        """False once released, or when the file was removed, since another may then be locked."""
        return self._descriptor is not None and _is_at(self._file, self._descriptor)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def take(database: Path, source: str) -> FileLease:
    """Lock the source's file beside the database; raises LeaseHeld at once where it is locked."""
    file = lock_file(database, source)
    while True:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(f"{file}: cannot be opened for locking ({error.strerror})") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise LeaseHeld(
                f"source {source!r} is being loaded by another process ({file} is locked)"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise StoreError(
                f"{file}: cannot be locked ({error.strerror}); is it on a network drive?"
            ) from error
        if _is_at(file, descriptor):
            return FileLease(source, file, descriptor)
        os.close(descriptor)


def lock_file(database: Path, source: str) -> Path:
    """Where the source's lock is; names that make no plain file name go by their digest."""
    name = source if _PLAIN.fullmatch(source) else hashlib.sha256(source.encode()).hexdigest()[:16]
    return database.with_name(f"{database.name}.{name}.lock")


def _is_at(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
