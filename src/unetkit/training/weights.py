"""The weights file of a run, with a SHA-256 of its arrays by which damage is found.

The digest is an attribute of the file itself, so that both are replaced in one step. Files of
earlier versions have none, and are read all the same.
"""

import hashlib
import json
from pathlib import Path

import h5py
import keras

from unetkit._shared.files import require_regular
from unetkit.errors import ModelFileError

DIGEST_ATTRIBUTE = "unetkit.sha256"
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
    try:
        require_regular(path)
        with h5py.File(path) as file:
            for name, item in _datasets(file):
                if item.nbytes > path.stat().st_size:
                    raise _refusal(path, f"{name} is declared larger than the file")
            recorded = file.attrs.get(DIGEST_ATTRIBUTE)
            is_same = recorded is None or recorded == _digest(file)
    except H5_DAMAGE as error:
        if isinstance(error, ModelFileError):
            raise
        raise _refusal(path, str(error)) from error
    if not is_same:
        raise _refusal(path, "its arrays differ from the SHA-256 in it")
    return recorded is not None


def _digest(file: h5py.File) -> str:
    """SHA-256 over name, type, shape and values of all arrays, in hexadecimal."""
    found = hashlib.sha256()
    for name, item in sorted(_datasets(file), key=lambda pair: pair[0]):
        values = item[()]
        found.update(json.dumps([name, item.dtype.str, item.shape]).encode())
        found.update(values.tobytes() if hasattr(values, "tobytes") else repr(values).encode())
    return found.hexdigest()


def _datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    found: list[tuple[str, h5py.Dataset]] = []

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((name, item))

    file.visititems(keep)
    return found


def _refusal(path: Path, what: str) -> ModelFileError:
    reason = what.strip().split("\n")[0][:200]  # Keras lists the values of weights
    return ModelFileError(
        f"{path} cannot be loaded ({reason}); accepted are the weights of the network in "
        "config.toml; restore both from the same run"
    )
