"""Only what unetkit exports gets past: files that would do more, and files that are damaged."""

import hashlib
from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from unetkit import Predictor
from unetkit.errors import ModelFileError
from unetkit.models.onnx_check import OPERATORS, add_digest, is_checkable, require_plain
from unetkit.models.onnx_import import read_exported


def graph_of(nodes, initializers=(), name="graph"):
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, None, None, 3])
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [image], [answer], list(initializers))


def write(path, graph, **more):
    path.write_bytes(helper.make_model(graph, **more).SerializeToString())
    return path


def relu(**more):
    return helper.make_node("Relu", ["image"], ["answer"], **more)


def weights(**changes):
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "weights")
    for name, value in changes.items():
        setattr(tensor, name, value)
    return tensor


def elsewhere():
    tensor = weights(data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


def if_node():
    branch = helper.make_graph([], "branch", [], [])
    return helper.make_node("If", ["image"], ["answer"], then_branch=branch, else_branch=branch)


def function():
    return helper.make_function(
        "own", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], []
    )


HOSTILE = {
    "an operator of its own": (
        graph_of([helper.make_node("Run", ["image"], ["answer"], domain="evil")]),
        {},
        "it uses the operator evil:Run",
    ),
    "a known name of another domain": (
        graph_of([relu(domain="com.evil")]),
        {},
        "it uses the operator com.evil:Relu",
    ),
    "an operator without bound": (
        graph_of([helper.make_node("Expand", ["image", "image"], ["answer"])]),
        {},
        "it uses the operator Expand",
    ),
    "weights elsewhere": (graph_of([relu()], [elsewhere()]), {}, "its weights are in another file"),
    "a constant elsewhere": (
        graph_of([relu(value=elsewhere())]),
        {},
        "its weights are in another file",
    ),
    "constants elsewhere": (
        graph_of([relu(value=[weights(), elsewhere()])]),
        {},
        "its weights are in another file",
    ),
    "a graph within": (graph_of([if_node()]), {}, "is not a number, text or tensor"),
    "functions": (
        graph_of([relu()]),
        {"functions": [function()]},
        "contains functions or training",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_could_do_more_than_a_network_is_refused(tmp_path, name):
    graph, more, words = HOSTILE[name]
    path = write(tmp_path / "m.onnx", graph, **more)
    with pytest.raises(ModelFileError, match=rf"m\.onnx is not a model .*{words}.*; accepted is"):
        require_plain(path)
    with pytest.raises(ModelFileError, match=words):
        Predictor(path)


def test_training_and_sparse_weights_are_refused(tmp_path):
    model = helper.make_model(graph_of([relu()]))
    model.training_info.add()
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="contains functions or training"):
        require_plain(tmp_path / "m.onnx")
    model = helper.make_model(graph_of([relu()]))
    model.graph.sparse_initializer.add().dims.append(3)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="sparse weights"):
        require_plain(tmp_path / "m.onnx")


def test_what_is_known_is_handed_on_as_it_is(tmp_path):
    path = write(tmp_path / "m.onnx", graph_of([relu()], [weights()]))
    assert require_plain(path) == path.read_bytes()


class TestDigest:
    def made(self, folder):
        path = write(folder / "m.onnx", graph_of([relu()], [weights()]))
        path.write_bytes(add_digest(path.read_bytes()))
        return path

    def test_it_is_an_entry_of_the_metadata(self, tmp_path):
        path = self.made(tmp_path)
        content = path.read_bytes()
        assert is_checkable(path, content)
        model = onnx.load(path)
        (entry,) = model.metadata_props
        assert entry.key == "unetkit.sha256"
        del model.metadata_props[:]  # the digest is taken without it
        assert hashlib.sha256(model.SerializeToString()).hexdigest() == entry.value

    def test_a_model_without_one_is_not_checkable(self, tmp_path):
        path = write(tmp_path / "m.onnx", graph_of([relu()]))
        assert not is_checkable(path, path.read_bytes())

    def test_every_flipped_bit_is_found(self, tmp_path):
        path = self.made(tmp_path)
        content = path.read_bytes()
        end = content.index(b"unetkit.sha256") - 4  # beyond, the key itself may be damaged
        words = r"m\.onnx is not a model .*its bytes differ from the SHA-256 in its metadata\)"
        for place in range(8 * end):
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            with pytest.raises(ValueError, match=f"{words}|.*"):
                is_checkable(path, bytes(flipped))
        flipped = bytearray(content)
        flipped[-1] ^= 1
        with pytest.raises(ModelFileError, match=words):
            is_checkable(path, bytes(flipped))

    def test_a_flipped_bit_of_a_weight_stops_whoever_reads_it(self, run, tmp_path):
        content = bytearray((run / "model.onnx").read_bytes())
        content[len(content) // 3] ^= 1
        (tmp_path / "m.onnx").write_bytes(content)
        for read in (Predictor, read_exported):
            with pytest.raises(ModelFileError, match="differ from the SHA-256 in its metadata"):
                read(tmp_path / "m.onnx")


def test_a_trained_network_has_known_operators_only(run):
    model = onnx.load(run / "model.onnx")
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    assert require_plain(run / "model.onnx") == (run / "model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\x08\x01", "no graph"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "it is a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(9), "it is an HDF5 file of weights"),
        (b"PK\x03\x04" + bytes(9), "it is a ZIP archive, as Keras models and PyTorch"),
        (b"\x1c\0\0\0TFL3", "it is a TensorFlow Lite model"),
        (b"<!DOCTYPE html><title>404", "it is a web page"),
        (b"no network", "damaged"),
        (b"\x3a", "it is cut off"),  # a graph without a length
        (b"\x3a\x05abc", "it is cut off"),
        (b"\x38\x01", "a number instead of a message"),  # a graph that is a number
        (b"\x3b", "wire type 3"),
        (b"\x3a" + b"\xff" * 12, "a number of more than ten bytes"),
        (b"\x3d\x00\x00", "it is cut off"),
    ],
)
def test_what_is_no_message_is_refused(tmp_path, content, words):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match=words):
        require_plain(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["op_type", "external_data", "functions"])
def test_field_numbers_that_some_readers_cut_off_are_refused(tmp_path, name):
    """A tag of more than 32 bits is another field to a reader that drops what is above."""
    model = helper.make_model(graph_of([relu()], [weights()]))
    content = model.SerializeToString()
    wide = {"op_type": 4, "external_data": 13, "functions": 25}[name] << 3 | 2 | 1 << 32
    tag = bytes((wide >> shift & 0x7F) | 0x80 for shift in range(0, 28, 7)) + bytes([wide >> 28])
    hidden = tag + b"\x03Sin"
    path = tmp_path / "m.onnx"
    if name == "functions":
        path.write_bytes(content + hidden)
    else:
        inner = model.graph.node[0] if name == "op_type" else model.graph.initializer[0]
        number = 1 if name == "op_type" else 5
        message = inner.SerializeToString() + hidden
        graph = bytes([number << 3 | 2, len(message)]) + message
        path.write_bytes(bytes([7 << 3 | 2, len(graph)]) + graph)
    with pytest.raises(ModelFileError, match=r"damaged \(field number"):
        require_plain(path)


def test_the_runtime_s_own_format_is_refused(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"\x28\x80\0\0ORTM" + bytes(100))
    with pytest.raises(ModelFileError, match="in ONNX Runtime's own format"):
        require_plain(tmp_path / "m.onnx")


@given(st.data())
@settings(derandomize=True, max_examples=200)
def test_any_damage_ends_in_a_result_or_a_refusal(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damage") / "m.onnx"
    whole = bytearray(write(path, graph_of([relu()], [weights()])).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with suppress(ModelFileError):
        require_plain(path)


def test_a_file_too_large_for_a_message_is_refused_unread(tmp_path):
    with open(tmp_path / "m.onnx", "wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(ModelFileError, match=r"it has 5\.0 GiB"):
        require_plain(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.h5", "an HDF5 file of weights"),
        ("m.PTH", "a PyTorch checkpoint"),
        ("m.keras", "a Keras model"),
        ("m.tflite", "a TensorFlow Lite model"),
    ],
)
def test_a_model_of_another_program_is_called_what_it_is(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"whatever it holds")
    with pytest.raises(ModelFileError, match=f"it is {words}.*; accepted is a run folder or an"):
        require_plain(tmp_path / name)


def test_a_git_lfs_pointer_is_one_whatever_its_name(tmp_path):
    (tmp_path / "m.h5").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelFileError, match="a Git LFS pointer"):
        require_plain(tmp_path / "m.h5")
