"""The door to files that are read, files that are written as a whole, and locks.

What is read besides images may be anything: a pipe without a writer never ends, a device never
either, and a list of ten gigabytes is no list. `open_input` lets regular files in, up to a size.
"""

import contextlib
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Generator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from unetkit.errors import DataError, OutputExistsError, full_disk_named

LOCK = ".lock"  # in a folder of results while they are written
GATE_SECONDS = 30.0  # in which all parts of a job that start at once go through the gate
PART = ".part-"  # start of the names of what is being written
LARGEST_SETTINGS = 1 << 24  # bytes of configurations, class files and the like
LARGEST_TABLE = 1 << 28  # bytes of lists, tables and records; those of a million pairs have less
FILE_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def is_present(path: Path) -> bool:
    """Whether there is something that would be read as a file, and refused if it is none."""
    return path.exists() and not path.is_dir()


def require_regular(path: Path, largest: int | None = None) -> None:
    """Checks that a path is a regular file, or a link to one, of limited size.

    Args:
        path: Path of the file.
        largest: Largest accepted size in bytes; None for any.

    Raises:
        DataError: It is a folder, pipe, device or socket, or is too large.
        OSError: The system cannot find it.
    """
    _require_regular(path, path.stat(), largest)


def _require_regular(path: Path, state: os.stat_result, largest: int | None) -> None:
    if not stat.S_ISREG(state.st_mode):
        what = next((words for test, words in FILE_KINDS if test(state.st_mode)), "something else")
        raise DataError(f"{path} is no file but {what}; accepted are files; rename or remove it")
    if largest is not None and state.st_size > largest:
        raise DataError(
            f"{path} has {state.st_size:,} bytes; accepted are files of up to {largest:,} bytes; "
            "split or remove it"
        )


def open_input(path: Path, largest: int | None = None) -> BufferedReader:
    """Opens a regular file for reading.

    Args:
        path: Path of the file.
        largest: Largest accepted size in bytes; None for any.

    Raises:
        DataError: It is a folder, pipe, device or socket, or is too large.
        OSError: The system cannot open it.
    """
    require_regular(path, largest)
    # Were it replaced by a pipe in between, opening would wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115 - returned
    try:
        _require_regular(path, os.fstat(file.fileno()), largest)
    except DataError:
        file.close()
        raise
    return file


def read_bytes(path: Path, largest: int = LARGEST_TABLE) -> bytes:
    """Reads a regular file of limited size.

    Raises:
        DataError: It is a folder, pipe, device or socket, or is too large.
        OSError: The system cannot read it.
    """
    with open_input(path, largest) as file:
        content = file.read(largest + 1)
    if len(content) > largest:  # files of the system have more than their size
        raise DataError(
            f"{path} has more than {largest:,} bytes; accepted are files of up to {largest:,} "
            "bytes; split or remove it"
        )
    return content


def read_text(path: Path, largest: int = LARGEST_SETTINGS) -> str:
    """Reads a regular file of limited size as UTF-8 text, with or without a mark in front.

    Raises:
        DataError: It is a folder, pipe, device or socket, or is too large.
        UnicodeDecodeError: It is not UTF-8.
        OSError: The system cannot read it.
    """
    # As text files are read: the ends of lines are those of this system.
    return read_bytes(path, largest).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the names and contents of all files of a folder.

    Raises:
        DataError: It is a pipe, device or socket.
        OSError: The system cannot read it.
    """
    if not path.is_dir():
        with open_input(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    found = hashlib.sha256()
    for file_path in sorted(path.rglob("*")):
        if file_path.is_file():
            name = file_path.relative_to(path).as_posix()
            found.update(f"{name}\0{sha256_of(file_path)}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


@contextlib.contextmanager
def locked(lock: Path, what: str, seconds: float = 0) -> Generator[None, None, None]:
    """Holds a lock, so that no other process does the same at the same time.

    The lock is released when the process ends for any reason. On file systems without locks, it has
    no effect.

    Args:
        lock: Path of an empty file, which is removed at the end.
        what: What the process that holds the lock does, for the error: "another process ...".
        seconds: Longest time to wait for another process, in seconds.

    Raises:
        OutputExistsError: Another process holds the lock.
    """
    from filelock import FileLock, Timeout  # slow to import, and seldom needed

    guard = FileLock(lock)
    try:
        guard.acquire(timeout=seconds)
        while not _is_of(guard, lock):  # who held it before removed the file meanwhile
            guard.release()
            guard.acquire(timeout=seconds)
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
def writing_into(folder: Path, part: str = "") -> Generator[None, None, None]:
    """Holds the lock of a folder of results, without what killed processes left in it.

    The folder is created, and removed again if it stays empty.

    Args:
        folder: The folder.
        part: Name of the part of a job that this process writes, such as "-3-of-64". Processes that
            write other parts may do so at the same time; they leave each other's files alone.

    Raises:
        OutputExistsError: Another process writes into the folder, or the same part.
    """
    is_new, what = not folder.exists(), f"writes into {folder}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if part:
            with contextlib.ExitStack() as held:
                # The lock of the whole folder is only a gate here, through which others go, too.
                with locked(folder / LOCK, what, GATE_SECONDS):
                    held.enter_context(locked(folder / f"{LOCK}{part}", what))
                yield
            return
        with locked(folder / LOCK, what):
            for other in folder.glob(f"{LOCK}-*"):
                with locked(other, what):  # no other process holds it
                    pass
            for leftover in list_leftovers(folder):
                remove(leftover)
            yield
    finally:
        if is_new and not part:
            with contextlib.suppress(OSError):
                folder.rmdir()


def part_of(file: Path) -> Path:
    """A new hidden name in the same folder, under which a file is written before it is renamed."""
    # Only the end of the name: a longer name than that of the file may exceed the limit.
    return file.with_name(f"{PART}{_mark(file)}-{uuid.uuid4().hex[:8]}{file.name[-12:]}")


def remove_leftovers(*files: Path) -> None:
    """Removes what killed processes left of files; for a process that has locked these."""
    marks: dict[Path, set[str]] = {}
    for file in files:
        marks.setdefault(file.parent, set()).add(_mark(file))
    for folder, own in marks.items():
        for path in list_leftovers(folder):
            if path.name.removeprefix(PART).partition("-")[0] in own:
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


@contextlib.contextmanager
def written_together(
    files: Mapping[str, Path], on_complete: Callable[[Mapping[str, Path]], object]
) -> Generator[dict[str, Path], None, None]:
    """Gives several files their names when all of them are complete, and none otherwise.

    Args:
        files: Files to write or replace, by any keys.
        on_complete: Called with the complete parts before they are renamed.

    Yields:
        The part to write in the place of each file.
    """
    parts = {key: part_of(file) for key, file in files.items()}
    try:
        yield parts
        on_complete(parts)
        for key, part in parts.items():
            part.replace(files[key])
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Writes text as UTF-8, completely or not at all, and flushes it to the disk."""

    def write(part: Path) -> None:
        with open(part, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())

    write_atomically(file, write)
