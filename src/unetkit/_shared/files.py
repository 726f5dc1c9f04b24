"""Files that are written completely or not at all, and locks against other processes."""

import contextlib
import os
import uuid
from collections.abc import Callable, Generator
from pathlib import Path

from unetkit.errors import OutputExistsError, full_disk_named


@contextlib.contextmanager
def locked(lock: Path, what: str) -> Generator[None, None, None]:
    """Holds a lock, so that no other process does the same at the same time.

    The lock is released when the process ends for any reason. On file systems without locks, it has
    no effect.

    Args:
        lock: Path of an empty file, which is removed at the end.
        what: What the process that holds the lock does, for the error: "another process ...".

    Raises:
        OutputExistsError: Another process holds the lock.
    """
    from filelock import FileLock, Timeout  # slow to import, and seldom needed

    guard = FileLock(lock)
    try:
        guard.acquire(timeout=0)
    except Timeout as error:
        raise OutputExistsError(
            f"another process {what}; accepted is a folder that no other process writes to; wait "
            "until it ends, or stop it"
        ) from error
    except NotImplementedError:  # raised by filelock on file systems without locks
        pass
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)
        guard.release()


def write_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a hidden file in the same folder, and then renames that to `file`."""
    # Only the end of the name: a longer name than that of the file may exceed the limit.
    part = file.with_name(f".part-{uuid.uuid4().hex[:8]}{file.name[-12:]}")
    try:
        with full_disk_named(file):
            write(part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Writes text as UTF-8, completely or not at all, and flushes it to the disk."""

    def write(part: Path) -> None:
        with open(part, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())

    write_atomically(file, write)
