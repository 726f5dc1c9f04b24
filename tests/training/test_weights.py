"""Weights files: whole, or refused by their digest."""

import os
from functools import partial

import h5py
import keras
import numpy as np
import pytest

from unetkit.errors import ModelFileError
from unetkit.training.weights import (
    DIGEST_ATTRIBUTE,
    first_not_finite,
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


def other_file(path):
    """An HDF5 file beside the weights, with an array."""
    with h5py.File(path.with_name("other.h5"), "w") as other:
        other["numbers"] = np.zeros(10, np.float32)
    return path.with_name("other.h5")


def add_virtual(file, path):
    layout = h5py.VirtualLayout((10,), np.float32)
    layout[:] = h5py.VirtualSource(other_file(path), "numbers", (10,))
    file.create_virtual_dataset("odd", layout)


def add_external(file, path):
    raw = path.with_name("raw.bin")
    raw.write_bytes(bytes(40))
    file.create_dataset("odd", (10,), np.float32, external=[(str(raw), 0, 40)])


def add_pipe(file, path):
    os.mkfifo(path.with_name("pipe"))
    file.create_dataset("odd", (10,), np.float32, external=[(str(path.with_name("pipe")), 0, 40)])


def add_external_link(file, path):
    file["odd"] = h5py.ExternalLink(other_file(path), "numbers")


def add_link(file, path):
    file["first"]["odd"] = h5py.SoftLink("/elsewhere")


def add_text(file, path):
    file.create_dataset("odd", data="text", dtype=h5py.string_dtype())


def add_lists(file, path):
    file.create_dataset("odd", (3,), h5py.vlen_dtype(np.int32))


def add_records(file, path):
    file.create_dataset("odd", (3,), [("a", "f4"), ("b", "i4")])


def add_type(file, path):
    file["odd"] = np.dtype("f4")


def add_unwritten(file, path):
    file.create_dataset("odd", (1 << 40,), np.float32, chunks=(1 << 10,))


def add_unwritten_of_the_size_of_the_file(file, path):
    file.create_dataset("odd", (path.stat().st_size // 8,), np.float32, chunks=(1 << 4,))


def add_compressed(file, path):
    file.create_dataset("odd", data=np.zeros(1 << 20, np.float32), compression="gzip")


def add_compressed_to_less_than_the_file(file, path):
    file.create_dataset("odd", data=np.zeros(300, np.float32), compression="gzip")


FOREIGN = {
    add_virtual: "odd refers to other files",
    add_external: "odd refers to other files",
    add_pipe: "odd refers to other files",
    add_external_link: "odd in / is a link",
    add_link: "odd in first is a link",
    add_text: "odd is no array of numbers",
    add_lists: "odd is no array of numbers",
    add_records: "odd is no array of numbers",
    add_type: "odd is no array of numbers",
    add_unwritten: "odd is declared larger than what the file holds",
    add_unwritten_of_the_size_of_the_file: "odd is declared larger than what the file holds",
    add_compressed: "odd is declared larger than what the file holds",
    add_compressed_to_less_than_the_file: "odd is declared larger than what the file holds",
}


@pytest.mark.skipif(os.name != "posix", reason="one of them is a pipe")
@pytest.mark.parametrize("change", FOREIGN, ids=lambda change: change.__name__)
def test_what_keras_never_writes_is_refused_before_it_is_read(change, path):
    with h5py.File(path, "r+") as file:
        file.require_group("first")
        change(file, path)
    for read in (partial(load_weights, network()), require_whole_weights, first_not_finite):
        with pytest.raises(ModelFileError, match=FOREIGN[change]):
            read(path)


def test_groups_that_contain_each_other_end(path):
    with h5py.File(path, "r+") as file:
        file["circle"] = file["/"]
    assert require_whole_weights(path)


def test_values_that_are_not_finite_are_found(path):
    assert first_not_finite(path) is None
    model = network()
    weights = model.get_weights()
    weights[1][0] = np.nan
    model.set_weights(weights)
    save_weights(model, path)
    assert first_not_finite(path).endswith("vars/1")
