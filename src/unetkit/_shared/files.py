"""Files written whole or not at all, and locks that keep other processes out."""

import contextlib
import os
import uuid
from collections.abc import Callable, Generator
from pathlib import Path

from unetkit.errors import OutputExistsError, full_disk_named


@contextlib.contextmanager
def locked(lock: Path, what: str) -> Generator[None, None, None]:
    """Keeps other processes from doing the same at the same time.

    Whatever ends a process, also a kill, releases what it held. Where the file system knows no
    locks, nobody is kept.

    Args:
        lock: A file of no content, removed in the end.
        what: Of the process that holds it already, for the error: "another process ...".

    Raises:
        OutputExistsError: One holds it.
    """
    from filelock import FileLock, Timeout  # slow to import, and seldom needed

    guard = FileLock(lock)
    try:
        guard.acquire(timeout=0)
    except Timeout as error:
        raise OutputExistsError(
            f"another process {what}; accepted is a folder that nobody writes to; wait until it "
            "ends, or stop it"
        ) from error
    except NotImplementedError:  # what filelock says of such a file system
        pass
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)
        guard.release()


def write_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a hidden file in the same folder, then gives it its name."""
    # Only the end of the name: a longer one than the file's own may be longer than names can be.
    part = file.with_name(f".part-{uuid.uuid4().hex[:8]}{file.name[-12:]}")
    try:
        with full_disk_named(file):
            write(part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Writes text as UTF-8, whole or not at all, and brings it to the disk."""

    def write(part: Path) -> None:
        with open(part, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())

    write_atomically(file, write)
