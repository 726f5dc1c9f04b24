"""Model files that were exported on this machine, by their SHA-256 in the user's cache.

What such a file needs is known to be that of a network that ran here. All others are measured
before they are used, once: see `prediction.memory`.
"""

import os
from pathlib import Path

import platformdirs

from unetkit._shared.files import open_input
from unetkit.errors import DataError

MOST_BYTES = 1 << 20  # of the list that are read, from its end: the last 16,000 exports


def remember(digest: str) -> None:
    """Adds a model file to those that were exported here; without a writable cache, it does not.

    Args:
        digest: SHA-256 of the file, in hexadecimal.
    """
    file = _file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "ab") as opened:  # one write, so that processes do not mix their lines
            opened.write(f"{digest}\n".encode())
    except OSError:
        pass


def is_known(digest: str) -> bool:
    """Returns whether a model file with this SHA-256 was exported here."""
    try:
        with open_input(_file()) as opened:
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - MOST_BYTES))
            return digest.encode() in opened.read(MOST_BYTES).split()
    except (OSError, DataError):
        return False


def _file() -> Path:
    return Path(platformdirs.user_cache_dir("unetkit"), "exported-models.txt")
