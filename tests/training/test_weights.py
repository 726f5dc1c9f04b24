"""Weights files: whole, or refused by their digest."""

import h5py
import keras
import numpy as np
import pytest

from unetkit.errors import ModelFileError
from unetkit.training.weights import (
    DIGEST_ATTRIBUTE,
    load_weights,
    require_whole_weights,
    save_weights,
)


def network(seed=0, filters=4):
    keras.utils.set_random_seed(seed)
    first = keras.layers.Conv2D(filters, 3, name="first")
    last = keras.layers.Conv2D(2, 1, name="last")
    return keras.Sequential([keras.layers.Input((8, 8, 3)), first, last], name="network")


@pytest.fixture
def path(tmp_path):
    save_weights(network(), tmp_path / "best.weights.h5")
    return tmp_path / "best.weights.h5"


def test_they_are_read_as_they_were_written(path):
    other = network(seed=1)
    load_weights(other, path)
    for found, expected in zip(other.get_weights(), network().get_weights(), strict=True):
        assert np.array_equal(found, expected)
    assert require_whole_weights(path)


def test_the_same_weights_give_the_same_bytes(path, tmp_path):
    save_weights(network(), tmp_path / "again.weights.h5")
    assert (tmp_path / "again.weights.h5").read_bytes() == path.read_bytes()


def test_a_flipped_bit_of_a_weight_is_refused(path):
    kernel = network().get_weights()[0].tobytes()
    content = bytearray(path.read_bytes())
    place = bytes(content).index(kernel)
    for offset in (0, 1, 2, 3, len(kernel) - 1):
        flipped = content.copy()
        flipped[place + offset] ^= 1
        path.write_bytes(flipped)
        message = (
            r"best\.weights\.h5 cannot be loaded \(its arrays differ from the SHA-256 in it\); "
            r"accepted are the weights of the network in config\.toml; restore both from the same"
        )
        with pytest.raises(ModelFileError, match=message):
            load_weights(network(), path)


def test_files_of_earlier_versions_are_read_and_not_checkable(path):
    with h5py.File(path, "r+") as file:
        del file.attrs[DIGEST_ATTRIBUTE]
    assert not require_whole_weights(path)
    load_weights(network(1), path)


def test_weights_of_another_network_are_refused(path):
    with pytest.raises(
        ModelFileError, match=r"cannot be loaded \([^\n]+; accepted are the weights"
    ):
        load_weights(network(filters=5), path)


@pytest.mark.parametrize("size", [0, 100, 0.5])
def test_a_file_that_was_cut_is_refused(path, size):
    content = path.read_bytes()
    path.write_bytes(content[: int(size * len(content)) if size < 1 else size])
    with pytest.raises(ModelFileError, match="cannot be loaded"):
        require_whole_weights(path)


def test_arrays_that_are_larger_than_the_file_are_not_read(path):
    with h5py.File(path, "r+") as file:
        file.create_dataset("huge", (1 << 40,), np.float32, chunks=(1 << 10,))
    with pytest.raises(ModelFileError, match="huge is declared larger than the file"):
        load_weights(network(), path)
