"""A watched folder: the images in it, and those that are added or changed."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from unetkit.errors import DataNotFoundError
from unetkit.prediction.sources import is_image, stamp

POLL_SECONDS = 1.0

Stamp = tuple[int, int]  # bytes, time of the last change in nanoseconds


def watch(
    folder: Path, wait: Callable[[], object] = lambda: time.sleep(POLL_SECONDS)
) -> Iterator[Path]:
    """Yields the images in a folder, then each that is added or changed, without end.

    An image is yielded once it is unchanged between two listings of the folder, so that it is
    complete; and again after it has changed. Subfolders are ignored.

    Args:
        folder: The folder.
        wait: Called between two listings.

    Raises:
        DataNotFoundError: The folder does not exist, or not any more.
    """
    seen: dict[Path, Stamp] = {}
    given: dict[Path, Stamp] = {}
    while True:
        try:
            now = {path: _stamp(path) for path in sorted(folder.iterdir()) if is_image(path)}
        except OSError as error:
            raise DataNotFoundError(
                f"folder {folder} cannot be watched ({error.strerror}); accepted is an existing "
                "folder"
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
    except OSError:  # removed since the folder was listed
        return 0, 0
