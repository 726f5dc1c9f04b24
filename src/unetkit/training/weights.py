"""The weights file of a run, with a SHA-256 of its arrays by which damage is found.

The digest is an attribute of the file itself, so that both are replaced in one step. Files of
earlier versions have none, and are read all the same.

An HDF5 file can refer to other files, compute its numbers, or declare more of them than it holds.
Keras writes none of these, so they are refused before any number is read.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import keras
import numpy as np

from unetkit._shared.files import require_regular
from unetkit.errors import ModelFileError

DIGEST_ATTRIBUTE = "unetkit.sha256"
NUMBERS = "biuf"  # kinds of NumPy types
H5_DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError)


def save_weights(model: keras.Model, path: Path) -> None:
    """Writes the weights of a network to a .weights.h5 file, with their digest."""
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        file.attrs[DIGEST_ATTRIBUTE] = _digest(file)


def load_weights(model: keras.Model, path: Path) -> None:
    """Sets the weights of a network to those of a file, which is verified first.

    Raises:
        ModelFileError: The file is damaged, or does not fit the network.
    """
    require_whole_weights(path)
    try:
        model.load_weights(path)
    except H5_DAMAGE as error:
        raise _refusal(path, str(error)) from error


def require_whole_weights(path: Path) -> bool:
    """Compares the arrays of a weights file with the digest in it.

    Returns:
        Whether it has one; files of earlier versions have none.

    Raises:
        ModelFileError: They differ, or the file cannot be read.
    """
    with _opened(path) as file:
        recorded = file.attrs.get(DIGEST_ATTRIBUTE)
        if recorded is not None and recorded != _digest(file):
            raise _refusal(path, "its arrays differ from the SHA-256 in it")
    return recorded is not None


def first_not_finite(path: Path) -> str | None:
    """Returns the name of an array in a weights file with values that are not finite, or None.

    Raises:
        ModelFileError: The file is damaged.
    """
    with _opened(path) as file:
        for name, item in _arrays(file):
            if item.dtype.kind == "f" and not np.isfinite(item[()]).all():
                return name
    return None


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Opens a weights file whose arrays are in it, as numbers."""
    try:
        require_regular(path)
        with h5py.File(path) as file:
            left = path.stat().st_size
            for name, item in _arrays(file):
                left -= item.nbytes
                if left < 0 or item.nbytes > item.id.get_storage_size():
                    raise _refusal(path, f"{name} is declared larger than what the file holds")
            yield file
    except H5_DAMAGE as error:
        if isinstance(error, ModelFileError):
            raise
        raise _refusal(path, str(error)) from error


def _digest(file: h5py.File) -> str:
    """SHA-256 over name, type, shape and values of all arrays, in hexadecimal."""
    found = hashlib.sha256()
    for name, item in sorted(_arrays(file), key=lambda pair: pair[0]):
        found.update(json.dumps([name, item.dtype.str, item.shape]).encode())
        found.update(np.asarray(item[()]).tobytes())
    return found.hexdigest()


def _arrays(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    """Arrays of a file and their names; no number is read.

    Raises:
        ValueError: Something in the file is no array of numbers, or is not in the file.
    """
    found: list[tuple[str, h5py.Dataset]] = []

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Group):
            _require_own_members(name, item)
        elif not isinstance(item, h5py.Dataset) or item.dtype.kind not in NUMBERS:
            raise ValueError(f"{name} is no array of numbers")
        elif item.is_virtual or item.external:
            raise ValueError(f"{name} refers to other files")
        else:
            found.append((name, item))

    _require_own_members("/", file)
    file.visititems(keep)
    return found


def _require_own_members(name: str, group: h5py.Group) -> None:
    for member in group:
        if not isinstance(group.get(member, getlink=True), h5py.HardLink):
            raise ValueError(f"{member} in {name} is a link")


def _refusal(path: Path, what: str) -> ModelFileError:
    reason = what.strip().split("\n")[0][:200]  # Keras lists the values of weights
    return ModelFileError(
        f"{path} cannot be loaded ({reason}); accepted are the weights of the network in "
        "config.toml; restore both from the same run"
    )
