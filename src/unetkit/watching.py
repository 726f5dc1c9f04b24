"""A folder into which images are put: each is handed on once it has arrived whole."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from unetkit.errors import DataNotFoundError
from unetkit.sources import is_image, stamp

SECONDS = 1.0  # between looks

Stamp = tuple[int, int]  # bytes, time of the last change in nanoseconds


def watch(folder: Path, wait: Callable[[], object] = lambda: time.sleep(SECONDS)) -> Iterator[Path]:
    """Yields images of a folder, without end: those that are there, then those that come.

    An image counts as whole when two looks in a row find it unchanged, and comes again when it has
    changed later. Folders below are not looked into.

    Args:
        wait: Called between two looks.

    Raises:
        DataNotFoundError: The folder does not exist, or no more.
    """
    seen: dict[Path, Stamp] = {}
    given: dict[Path, Stamp] = {}
    while True:
        try:
            now = {path: _stamp(path) for path in sorted(folder.iterdir()) if is_image(path)}
        except OSError as error:
            raise DataNotFoundError(
                f"folder {folder} cannot be watched ({error.strerror}); accepted is an existing "
                "folder; check the path"
            ) from error
        for path, state in now.items():
            if state[0] and seen.get(path) == state and given.get(path) != state:
                given[path] = state
                yield path
        seen = now
        wait()


def _stamp(path: Path) -> Stamp:
    try:
        return stamp(path)
    except OSError:  # it went while it was looked at
        return 0, 0
