"""One process at a time."""

import contextlib
from collections.abc import Generator
from pathlib import Path

from unetkit.errors import OutputExistsError


@contextlib.contextmanager
def held(lock: Path, what: str) -> Generator[None, None, None]:
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
