"""Files that are written completely or not at all, and locks against other processes."""

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from unetkit.errors import OutputExistsError, full_disk_named

LOCK = ".lock"  # in a folder of results while they are written
PART = ".part-"  # start of the names of what is being written


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
        while not _is_of(guard, lock):  # who held it before removed the file meanwhile
            guard.release()
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


def _is_of(guard: Any, lock: Path) -> bool:
    """Whether a lock that is held is that of the file which others find under its name."""
    descriptor = guard._context.lock_file_fd
    try:
        return descriptor is None or os.path.samestat(os.fstat(descriptor), os.stat(lock))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def writing_into(folder: Path) -> Generator[None, None, None]:
    """Holds the lock of a folder of results, without what killed processes left in it.

    The folder is created, and removed again if it stays empty.

    Raises:
        OutputExistsError: Another process writes into the folder.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / LOCK, f"writes into {folder}"):
            for leftover in list_leftovers(folder):
                remove(leftover)
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def part_of(file: Path) -> Path:
    """A new hidden name in the same folder, under which a file is written before it is renamed."""
    # Only the end of the name: a longer name than that of the file may exceed the limit.
    return file.with_name(f"{PART}{_mark(file)}-{uuid.uuid4().hex[:8]}{file.name[-12:]}")


def remove_leftovers(file: Path) -> None:
    """Removes what killed processes left of a file; for a process that has locked it."""
    for path in list_leftovers(file.parent):
        if path.name.startswith(f"{PART}{_mark(file)}-"):
            remove(path)


def list_leftovers(folder: Path) -> list[Path]:
    """Files and folders in a folder that are being written, or were left by a killed process."""
    with contextlib.suppress(OSError):
        return [path for path in folder.iterdir() if path.name.startswith(PART)]
    return []


def remove(path: Path) -> None:
    """Removes a file, or a folder with its files."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _mark(file: Path) -> str:
    return hashlib.blake2b(os.fsencode(file.name), digest_size=4).hexdigest()


def write_atomically(file: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a hidden file in the same folder, and then renames that to `file`."""
    part = part_of(file)
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
