"""Memory and work of graphs, beside the shapes that ONNX infers and sums made by hand."""

from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from unetkit.models.onnx_cost import MOST_NODES, SLOWER, OnnxCost, ShapeError

MIB = 1 << 20


def content_of(nodes, weights=None, channels=3):
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, "h", "w", channels])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    arrays = [numpy_helper.from_array(np.asarray(a), name) for name, a in (weights or {}).items()]
    graph = helper.make_graph(nodes, "graph", [image], [answer], arrays)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset]).SerializeToString()


def node(kind, *inputs, to="y", **attributes):
    return helper.make_node(kind, list(inputs), [to], **attributes)


def output_shape(nodes, weights=None, size=(64, 48)):
    """The shape of "y" as ONNX infers it."""
    model = onnx.load_from_string(content_of(nodes, weights))
    for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim[1:3], size, strict=True):
        dim.dim_value = value
    model.graph.output[0].ClearField("type")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return [dim.dim_value for dim in inferred.graph.output[0].type.tensor_type.shape.dim]


CHANNELS_FIRST = node("Transpose", "image", to="x", perm=[0, 3, 1, 2])
FLOATS = np.float32


def kernel(*shape):
    return np.zeros(shape, FLOATS)


NODES = {
    "relu": ([node("Relu", "x")], {}),
    "add": ([node("Add", "x", "b")], {"b": kernel(3, 1, 1)}),
    "outer sum": ([node("Add", "a", "b")], {"a": kernel(70, 1), "b": kernel(1, 90)}),
    "concat": ([node("Concat", "x", "x", "x", axis=1)], {}),
    "concat from the end": ([node("Concat", "x", "x", axis=-1)], {}),
    "depth to space": (
        [node("Conv", "x", "w", to="v"), node("DepthToSpace", "v", blocksize=2)],
        {"w": kernel(12, 3, 1, 1)},
    ),
    "conv": ([node("Conv", "x", "w", pads=[1, 1, 1, 1])], {"w": kernel(5, 3, 3, 3)}),
    "strides": (
        [node("Conv", "x", "w", strides=[2, 3], dilations=[2, 1], pads=[0, 1, 2, 3])],
        {"w": kernel(5, 3, 3, 2)},
    ),
    "groups": ([node("Conv", "x", "w", group=3)], {"w": kernel(6, 1, 3, 3)}),
    "same": ([node("Conv", "x", "w", auto_pad="SAME_UPPER", strides=[2, 2])],
             {"w": kernel(5, 3, 3, 3)}),
    "up": ([node("ConvTranspose", "x", "w", strides=[2, 2])], {"w": kernel(3, 7, 2, 2)}),
    "up by more": (
        [node("ConvTranspose", "x", "w", strides=[3, 2], pads=[1, 0, 0, 1],
              output_padding=[1, 1], group=3)],
        {"w": kernel(3, 2, 3, 3)},
    ),
    "pool": ([node("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2])], {}),
    "pool and round up": (
        [node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)], {}
    ),
    "pad": ([node("Pad", "x", "p")], {"p": np.array([0, 0, 3, 1, 0, 2, 5, 9])}),
    "mean": ([node("ReduceMean", "x", axes=[1], keepdims=1)], {}),
    "mean without axis": ([node("ReduceMean", "x", axes=[-1], keepdims=0)], {}),
    "reshape": ([node("Reshape", "x", "s")], {"s": np.array([0, 3, -1, 6])}),
    "slice": (
        [node("Slice", "x", "a", "b", "c", "d")],
        {"a": np.array([1, -9]), "b": np.array([1000, -1]), "c": np.array([2, 3]),
         "d": np.array([3, 2])},
    ),
    "cast": ([node("Cast", "x", to="y")], {}),
}  # fmt: skip
NODES["cast"][0][0].attribute.append(helper.make_attribute("to", TensorProto.FLOAT16))


@pytest.mark.parametrize("name", NODES)
def test_shapes_are_those_that_onnx_infers(name):
    nodes, weights = NODES[name]
    shape = output_shape([CHANNELS_FIRST, *nodes], weights)
    assert 0 not in shape
    # An identity after it holds its input and its output, and nothing else.
    nodes = [CHANNELS_FIRST, *nodes, node("Relu", "y", to="z")]
    held = sum(array.nbytes for array in map(np.asarray, weights.values()))
    size = {"cast": 2}.get(name, 4)
    cost = OnnxCost(content_of(nodes, weights)).of_tile(64, 48, 3)
    plain = OnnxCost(content_of(nodes[:-1], weights)).of_tile(64, 48, 3)
    at_end = 2 * int(np.prod(shape)) * size + held
    # "x" is kept only as long as it is read; nodes that read weights alone leave it.
    unread = 64 * 48 * 3 * 4 if name == "outer sum" else 0
    assert cost.bytes == max(plain.bytes, at_end + unread)
    assert cost.operations - plain.operations == SLOWER * int(np.prod(shape))


def test_bytes_and_multiplications_of_a_convolution():
    content = content_of(
        [CHANNELS_FIRST, node("Conv", "x", "w", pads=[1, 1, 1, 1])], {"w": kernel(16, 3, 3, 3)}
    )
    cost = OnnxCost(content).of_tile(100, 50, 3)
    pixels, weights = 5000, 16 * 27
    # input and output, weights, and weights in another order
    assert cost.bytes == 4 * (pixels * (3 + 16) + 2 * weights)
    assert cost.operations == pixels * weights + SLOWER * pixels * 3


def test_a_graph_that_doubles_its_features_is_seen_at_once():
    chain = [
        node("Concat", f"x{i}", f"x{i}", to=f"x{i + 1}", axis=1) for i in range(MOST_NODES // 2)
    ]
    content = content_of([node("Relu", "image", to="x0"), *chain])
    assert OnnxCost(content).of_tile(64, 64, 3).bytes > 1 << 60


def test_constants_that_a_runtime_would_compute_at_loading_count():
    weights = {"w": kernel(1, 1), "p": np.array([0, 0, 60_000, 60_000])}
    cost = OnnxCost(content_of([node("Pad", "w", "p"), node("Relu", "image", to="z")], weights))
    assert cost.of_tile(16, 16, 3).bytes > 4 * 60_000**2


REFUSED = {
    "a shape that is computed": (
        [node("Cast", "image", to="s"), node("Reshape", "image", "s")],
        {},
        "sizes of a node Reshape are computed",
    ),
    "a name that is not made": ([node("Relu", "nothing")], {}, "reads 'nothing', which nothing"),
    "another number of axes": ([node("Transpose", "image", perm=[0, 1])], {}, "axes of 4 dim"),
    "a step of nothing": (
        [node("Slice", "image", "a", "b", "a", "a")],
        {"a": np.array([0]), "b": np.array([9])},
        "step of 0",
    ),
    "a stride of nothing": (
        [node("MaxPool", "image", kernel_shape=[2, 2], strides=[0, 2])],
        {},
        "stride, dilation, kernel or group below 1",
    ),
    "a kernel that claims to be large": (
        [node("Conv", "image", "w", kernel_shape=[900, 900])],
        {"w": kernel(5, 64, 3, 3)},
        r"kernel of \[3, 3\] claims to be \[900, 900\]",
    ),
    "negative sizes": ([node("Pad", "image", "p")], {"p": np.full(8, -(9**9))}, "a shape is"),
    "too few paddings": ([node("Pad", "image", "p")], {"p": np.array([1])}, "do not fit together"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_graphs_whose_shapes_cannot_be_computed_are_refused(name):
    nodes, weights, words = REFUSED[name]
    with pytest.raises(ShapeError, match=words):
        OnnxCost(content_of(nodes, weights)).of_tile(64, 64, 3)


def test_weights_of_more_numbers_than_bytes_are_refused():
    model = onnx.load_from_string(content_of([node("Relu", "image")], {"w": kernel(3)}))
    model.graph.initializer[0].dims[:] = [1 << 40]
    with pytest.raises(ShapeError, match="claims 1,099,511,627,776 numbers in"):
        OnnxCost(model.SerializeToString())


def test_a_size_is_computed_once(monkeypatch):
    cost = OnnxCost(content_of([node("Relu", "image")]))
    found = cost.of_tile(64, 64, 3)
    monkeypatch.setattr("unetkit.models.onnx_cost._run", None)
    assert cost.of_tile(64, 64, 3) is found


def test_more_nodes_than_any_network_has_are_refused(monkeypatch):
    monkeypatch.setattr("unetkit.models.onnx_cost.MOST_NODES", 3)
    with pytest.raises(ShapeError, match="more than 3 nodes"):
        OnnxCost(content_of([node("Relu", "image")] * 4))


def test_a_trained_network_costs_what_its_layers_do(run):
    content = (run / "model.onnx").read_bytes()
    cost = OnnxCost(content).of_tile(128, 128, 3)
    assert len(content) < cost.bytes < 100 * MIB


@given(st.data())
@settings(derandomize=True, max_examples=200)
def test_any_damage_ends_in_a_cost_or_a_refusal(data):
    nodes, weights = NODES[data.draw(st.sampled_from(sorted(NODES)))]
    whole = bytearray(content_of([CHANNELS_FIRST, *nodes], weights))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        assert OnnxCost(bytes(whole)).of_tile(64, 64, 3).bytes >= 0
