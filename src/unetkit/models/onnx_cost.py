"""Memory and work of an ONNX graph, computed from shapes before a runtime loads it.

A model file of a few kilobytes can ask for any amount of memory: it joins feature maps with
themselves, pads a weight to millions of rows, or claims that its smallest tile is large. So the
shapes of all feature maps are computed for one tile, node by node, and with them the most bytes
that are in use at the same time. Nothing is allocated for it.

The result is an estimate of what ONNX Runtime takes, which rounds channels up and keeps buffers of
its own. Only the operators of `onnx_check` occur here, as files with others are refused before.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unetkit.models.onnx_check import GRAPH, INITIALIZER, NODE, fields_of, message_of

MOST_NODES = 100_000  # the largest of our networks has fewer than 1,000
LONGEST_LIST = 1 << 16  # values of a constant that are read, as those of paddings are
CHANNEL_BLOCK = 16  # ONNX Runtime computes convolutions in blocks of up to so many channels
MOST_DIMENSIONS = 8
ENOUGH = 1 << 60  # bytes, beyond which nothing is counted
SLOWER = 16  # operations other than multiplications of convolutions wait for memory
# Field numbers of onnx.proto.
GRAPH_INPUT, INPUT, OUTPUT, OP_TYPE, ATTRIBUTE = 11, 1, 2, 4, 5
INT32_DATA, INT64_DATA, RAW_DATA = 5, 7, 9
BYTES_OF = {  # by TensorProto.DataType; 8 for any other
    **dict.fromkeys((2, 3, 9), 1),
    **dict.fromkeys((4, 5, 10, 16), 2),
    **dict.fromkeys((1, 6, 12), 4),
}
FLOAT, INT64 = 1, 7
Shape = tuple[int, ...]


class ShapeError(ValueError):
    """The shapes of a graph cannot be computed, or do not fit together."""


@dataclass(frozen=True)
class Cost:
    """What one run over a tile takes.

    Args:
        bytes: Most bytes of weights and feature maps in use at the same time.
        operations: Number of multiplications of convolutions; results of other operations count
            as `SLOWER` each.
    """

    bytes: int
    operations: int


@dataclass
class _Tensor:
    """A weight or feature map: its shape, the bytes of an element, and values of short lists."""

    shape: Shape
    itemsize: int = 4
    values: list[int] | None = None

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.itemsize


@dataclass
class _Node:
    kind: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)

    def numbers(self, name: str, default: Sequence[int]) -> list[int]:
        found = self.attributes.get(name, list(default))
        return found if isinstance(found, list) else [found]


class OnnxCost:
    """Cost of a graph for tiles of any size.

    Args:
        content: An ONNX file that `onnx_check.require_plain` has accepted.

    Raises:
        ShapeError: The graph has too many nodes, or a weight claims more numbers than it has.
        ValueError: The file is damaged.
    """

    def __init__(self, content: bytes) -> None:
        self._weights: dict[str, _Tensor] = {}
        self._nodes: list[_Node] = []
        self._inputs: list[str] = []
        self._costs: dict[tuple[int, int, int], Cost] = {}
        for number, value in fields_of(memoryview(content)):
            if number == GRAPH:
                self._read(message_of(value))
        self._inputs = [name for name in self._inputs if name not in self._weights]
        if len(self._inputs) != 1:
            raise ShapeError(f"it has {len(self._inputs)} inputs")

    def of_tile(self, height: int, width: int, channels: int) -> Cost:
        """Returns the cost of one run over a tile of (height, width) with `channels` channels.

        Raises:
            ShapeError: Shapes do not fit together, or depend on values that are computed.
        """
        size = height, width, channels
        if size not in self._costs:  # asked for before each image
            self._costs[size] = self._computed(*size)
        return self._costs[size]

    def _computed(self, height: int, width: int, channels: int) -> Cost:
        found = dict(self._weights)
        found[self._inputs[0]] = _Tensor((1, height, width, channels))
        last_use: dict[str, int] = {}
        for place, node in enumerate(self._nodes):
            last_use.update(dict.fromkeys(node.inputs, place))
        in_use = sum(tensor.bytes for tensor in found.values())
        most, operations = in_use, 0
        for place, node in enumerate(self._nodes):
            inputs = [found[name] if name else None for name in self._known(node, found)]
            made, buffer, work = _run(node, inputs)
            for name in filter(None, node.outputs):
                found[name] = made
                in_use += made.bytes
            most, operations = max(most, in_use + buffer), operations + work
            if most > ENOUGH:
                return Cost(most, operations)
            for name in set(node.inputs) - set(self._weights):
                if name and last_use[name] == place:
                    in_use -= found[name].bytes
        return Cost(most, operations)

    @staticmethod
    def _known(node: _Node, found: Mapping[str, _Tensor]) -> list[str]:
        for name in node.inputs:
            if name and name not in found:
                raise ShapeError(f"a node {node.kind} reads {name[:60]!r}, which nothing makes")
        return node.inputs

    def _read(self, graph: memoryview) -> None:
        for number, value in fields_of(graph):
            if number == NODE:
                self._nodes.append(_node(message_of(value)))
                if len(self._nodes) > MOST_NODES:
                    raise ShapeError(f"it has more than {MOST_NODES:,} nodes")
            elif number == INITIALIZER:
                name, tensor = _weight(message_of(value))
                self._weights[name] = tensor
            elif number == GRAPH_INPUT:
                names = [_text(part) for inner, part in fields_of(message_of(value)) if inner == 1]
                self._inputs += names[-1:]


def _text(value: int | memoryview) -> str:
    return str(message_of(value), "utf-8")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _integers(values: Sequence[int | memoryview]) -> list[int]:
    """Repeated whole numbers, which are written one by one or together."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(_signed(value))
            continue
        number = shift = 0
        for byte in value:
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                found.append(_signed(number))
                number = shift = 0
        if len(found) > LONGEST_LIST:
            raise ShapeError(f"a list has more than {LONGEST_LIST:,} numbers")
    return found


def _node(message: memoryview) -> _Node:
    node = _Node()
    for number, value in fields_of(message):
        if number == INPUT:
            node.inputs.append(_text(value))
        elif number == OUTPUT:
            node.outputs.append(_text(value))
        elif number == OP_TYPE:
            node.kind = _text(value)
        elif number == ATTRIBUTE:
            name, numbers, text = "", [], None
            for inner, part in fields_of(message_of(value)):
                if inner == 1:
                    name = _text(part)
                elif inner in (3, 8):  # one whole number, or several
                    numbers.append(part)
                elif inner == 4:
                    text = _text(part)
            node.attributes[name] = text if text is not None else _integers(numbers)
    return node


def _weight(message: memoryview) -> tuple[str, _Tensor]:
    name, kind, dims = "", FLOAT, []
    lists: dict[int, list[int | memoryview]] = {INT32_DATA: [], INT64_DATA: []}
    raw = memoryview(b"")
    for number, value in fields_of(message):
        if number == 1:
            dims.append(value)
        elif number == 2:
            kind = int(value) if isinstance(value, int) else FLOAT
        elif number == 8:
            name = _text(value)
        elif number == RAW_DATA:
            raw = message_of(value)
        elif number in lists:
            lists[number].append(value)
    shape = _sizes(_integers(dims))
    count = math.prod(shape)
    if count > len(message):  # each number has at least one byte
        raise ShapeError(f"a weight claims {count:,} numbers in {len(message):,} bytes")
    tensor = _Tensor(shape, BYTES_OF.get(kind, 8))
    if count <= LONGEST_LIST and kind in (6, INT64):
        if len(raw):
            size = 8 if kind == INT64 else 4
            whole = raw[: len(raw) // size * size]
            tensor.values = [
                item for (item,) in struct.iter_unpack("<q" if size == 8 else "<i", whole)
            ]
        else:
            tensor.values = _integers(lists[INT64_DATA if kind == INT64 else INT32_DATA])
    return name, tensor


def _sizes(shape: Sequence[int]) -> Shape:
    if len(shape) > MOST_DIMENSIONS or any(size < 0 for size in shape):
        raise ShapeError(f"a shape is {list(shape)[: MOST_DIMENSIONS + 1]}")
    return tuple(shape)


def _run(node: _Node, inputs: Sequence[_Tensor | None]) -> tuple[_Tensor, int, int]:
    """Output of a node, bytes of its buffers, and number of multiplications."""
    given = [tensor for tensor in inputs if tensor is not None]
    if not given:
        raise ShapeError(f"a node {node.kind} has no input")
    try:
        if node.kind in ("Conv", "ConvTranspose", "MaxPool"):
            return _windowed(node, given)
        made = _MAKERS.get(node.kind, _same)(node, inputs)
    except (IndexError, AttributeError, TypeError, ZeroDivisionError) as error:
        raise ShapeError(f"shapes of a node {node.kind} do not fit together") from error
    return made, 0, SLOWER * math.prod(made.shape)


def _same(node: _Node, inputs: Sequence[Any]) -> _Tensor:
    first = inputs[0]
    if node.kind in ("QuantizeLinear", "DequantizeLinear"):
        return _Tensor(first.shape, 1 if node.kind == "QuantizeLinear" else 4)
    if node.kind != "Cast":
        return _Tensor(first.shape, first.itemsize, first.values if len(inputs) == 1 else None)
    return _Tensor(first.shape, BYTES_OF.get(node.numbers("to", [FLOAT])[0], 8))


def _broadcast(node: _Node, inputs: Sequence[Any]) -> _Tensor:
    shapes = [tensor.shape for tensor in inputs]
    rank = max(map(len, shapes))
    columns = zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True)
    return _Tensor(tuple(0 if 0 in sizes else max(sizes) for sizes in columns), inputs[0].itemsize)


def _concat(node: _Node, inputs: Sequence[Any]) -> _Tensor:
    axis, shape = node.numbers("axis", [0])[0], list(inputs[0].shape)
    shape[axis] = sum(tensor.shape[axis] for tensor in inputs)
    return _Tensor(tuple(shape), inputs[0].itemsize)


def _depth_to_space(node: _Node, inputs: Sequence[Any]) -> _Tensor:
    batch, channels, height, width = inputs[0].shape
    side = node.numbers("blocksize", [0])[0]
    shape = (batch, channels // side**2, side * height, side * width)
    return _Tensor(_sizes(shape), inputs[0].itemsize)


def _list(node: _Node, inputs: Sequence[Any], place: int, name: str = "") -> list[int] | None:
    """Numbers that are an attribute or an input, by version; None if they are left out."""
    if name and name in node.attributes:
        return node.numbers(name, [])
    if place >= len(inputs) or inputs[place] is None:
        return None
    if inputs[place].values is None:
        raise ShapeError(f"the sizes of a node {node.kind} are computed while it runs")
    found: list[int] = inputs[place].values
    return found


def _pad(node: _Node, inputs: Sequence[Any]) -> _Tensor:
    shape, pads = list(inputs[0].shape), _list(node, inputs, 1, "pads") or []
    axes = _list(node, inputs, 3) or list(range(len(shape)))
    for place, axis in enumerate(axes):
        shape[axis] += pads[place] + pads[place + len(axes)]
    return _Tensor(_sizes(shape), inputs[0].itemsize)


def _reduce(node: _Node, inputs: Sequence[Any]) -> _Tensor:
    shape = list(inputs[0].shape)
    axes = _list(node, inputs, 1, "axes") or list(range(len(shape)))
    for axis in axes:
        shape[axis] = 1
    if not node.numbers("keepdims", [1])[0]:
        dropped = {axis % len(shape) for axis in axes}
        shape = [size for place, size in enumerate(shape) if place not in dropped]
    return _Tensor(tuple(shape), inputs[0].itemsize)


def _reshape(node: _Node, inputs: Sequence[Any]) -> _Tensor:
    count, wanted = math.prod(inputs[0].shape), list(_list(node, inputs, 1, "shape") or [])
    if not node.numbers("allowzero", [0])[0]:
        wanted = [size or inputs[0].shape[place] for place, size in enumerate(wanted)]
    if -1 in wanted:
        place = wanted.index(-1)
        wanted[place] = 1
        wanted[place] = count // math.prod(wanted)
    if math.prod(wanted) != count:
        raise ShapeError(f"{count:,} numbers are reshaped to {wanted[:MOST_DIMENSIONS]}")
    return _Tensor(_sizes(wanted), inputs[0].itemsize)


def _slice(node: _Node, inputs: Sequence[Any]) -> _Tensor:
    shape = list(inputs[0].shape)
    starts = _list(node, inputs, 1, "starts") or []
    ends = _list(node, inputs, 2, "ends") or []
    axes = _list(node, inputs, 3, "axes") or list(range(len(starts)))
    steps = _list(node, inputs, 4) or [1] * len(starts)
    for place, axis in enumerate(axes):
        if not steps[place]:
            raise ShapeError("a node Slice has a step of 0")
        span = slice(starts[place], ends[place], steps[place])
        shape[axis] = len(range(*span.indices(shape[axis])))
    return _Tensor(tuple(shape), inputs[0].itemsize)


def _transpose(node: _Node, inputs: Sequence[Any]) -> _Tensor:
    shape = inputs[0].shape
    order = node.numbers("perm", range(len(shape))[::-1])
    if sorted(order) != list(range(len(shape))):
        raise ShapeError(f"axes of {len(shape)} dimensions are ordered as {order[:9]}")
    return _Tensor(tuple(shape[axis] for axis in order), inputs[0].itemsize)


_MAKERS: Mapping[str, Callable[[_Node, Sequence[Any]], _Tensor]] = {
    **dict.fromkeys(("Add", "Mul", "Sub", "Max", "Min"), _broadcast),
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Pad": _pad,
    "ReduceMean": _reduce,
    "Reshape": _reshape,
    "Slice": _slice,
    "Transpose": _transpose,
}


def _windowed(node: _Node, inputs: Sequence[_Tensor]) -> tuple[_Tensor, int, int]:
    """Convolutions and pooling: output, bytes of buffers, and number of multiplications."""
    batch, channels, *sizes = inputs[0].shape
    weight = inputs[1].shape if node.kind != "MaxPool" else ()
    kernel = node.numbers("kernel_shape", weight[2:])
    ones = [1] * len(sizes)
    strides, dilations = node.numbers("strides", ones), node.numbers("dilations", ones)
    pads = node.numbers("pads", [0] * 2 * len(sizes))
    extra = node.numbers("output_padding", [0] * len(sizes))
    auto = node.attributes.get("auto_pad", "NOTSET")
    groups = node.numbers("group", [1])[0]
    if min(*strides, *dilations, *kernel, groups) < 1:
        raise ShapeError(f"a node {node.kind} has a stride, dilation, kernel or group below 1")
    if weight and kernel != list(weight[2:]):
        raise ShapeError(f"a kernel of {list(weight[2:])} claims to be {kernel}")
    out = []
    for axis, size in enumerate(sizes):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        padding = pads[axis] + pads[axis + len(sizes)]
        if node.kind == "ConvTranspose":
            length = strides[axis] * (size - 1) + extra[axis] + span - padding
            if auto in ("SAME_UPPER", "SAME_LOWER"):
                length = size * strides[axis]
            length = (
                node.numbers("output_shape", [])[-len(sizes) :][axis]
                if ("output_shape" in node.attributes)
                else length
            )
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            length = -(-size // strides[axis])
        else:
            free = size + padding - span
            is_up = node.numbers("ceil_mode", [0])[0]
            length = (-(-free // strides[axis]) if is_up else free // strides[axis]) + 1
        out.append(max(0, length))
    buffer = work = 0
    if node.kind == "MaxPool":
        made = channels
        work = math.prod(out) * channels * math.prod(kernel)
    elif node.kind == "Conv":
        made = weight[0]
        work = math.prod(out) * math.prod(weight)
        if made > math.prod(out):  # the input is then laid out once for each place of the kernel
            buffer = 4 * math.prod(out) * math.prod(weight[1:])
    else:
        made = weight[1] * groups
        work = math.prod(sizes) * math.prod(weight)
        buffer = 4 * math.prod(sizes) * math.prod(weight[1:])
    if node.kind != "MaxPool":
        buffer += 4 * math.prod(weight)  # the weights in another order
        buffer += 4 * batch * math.prod(out) * (-made % CHANNEL_BLOCK)
    tensor = _Tensor((batch, made, *out), inputs[0].itemsize)
    return tensor, buffer, batch * work
