"""A run's network in whole numbers of 8 bits: a quarter of the file, and faster.

Weights are rounded channel by channel, features by one range each, which training images give
(static quantisation, with nodes that quantise and dequantise in the graph). Weights use 7 of the 8
bits: processors without VNNI add products of two in 16 bits, which would overflow. The last
convolution stays in single precision, so that logits are not rounded. Up-convolutions become
convolutions, as ONNX Runtime computes transposed ones in single precision only.

What this costs is measured on validation images, stands in the file, and is refused beyond a limit.
"""

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit._shared.files import write_atomically
from unetkit._version import __version__
from unetkit.data.dataset import find_dataset
from unetkit.data.pairs import Pair
from unetkit.data.reading import read_photo
from unetkit.data.splits import read_split_names
from unetkit.errors import DataError, DataNotFoundError, ModelFileError
from unetkit.evaluation.selection import recorded_sources
from unetkit.evaluation.truth import truth_as_trained
from unetkit.exports.comparison import tiles_of
from unetkit.metrics.confusion import confusion_matrix, iou_score, mean_score
from unetkit.models.int8_card import INT8_KEY, Int8Card
from unetkit.models.known_models import remember
from unetkit.models.onnx_check import add_digest, require_plain
from unetkit.models.onnx_graph import INPUT
from unetkit.models.spec import METADATA_KEY
from unetkit.prediction.engine import Engine
from unetkit.prediction.predictor import Predictor

CALIBRATION_IMAGES = 64  # at most; ranges of more images differ little


def export_int8(
    run: Path, path: Path, max_loss: float, data: Path | None, display: Display
) -> Int8Card:
    """Writes a run's network in whole numbers, and scores it beside the original.

    Args:
        run: Run folder.
        path: File to write or replace.
        max_loss: Largest accepted loss of mean IoU on the validation images, from 0 to 1.
        data: Folder or table of the run's data; None for the path in the run.
        display: Shows progress.

    Returns:
        What rounding cost, as it stands in the file.

    Raises:
        DataNotFoundError: The folder is no run, or its data are not there.
        DataError: The data lack its training or validation pairs, or one cannot be read.
        ModelFileError: The loss is larger, or a rounded network cannot be made.
    """
    with _as_of_the_run(run):
        return _export(run, path, max_loss, data, display)


@contextmanager
def _as_of_the_run(run: Path) -> Iterator[None]:
    """Replaces advice on data, which is that of commands with options for them."""
    try:
        yield
    except DataError as error:
        what = str(error).partition("; ")[0]
        raise DataError(
            f"{what}; accepted for whole numbers of 8 bits are the data of {run}, as they were for "
            "training; name their folder with --data"
        ) from error


def _export(
    run: Path, path: Path, max_loss: float, data: Path | None, display: Display
) -> Int8Card:
    training, validation = _pairs_of(run, data)
    original = Predictor(run)
    engine = Engine(run)
    pixels = engine.spec.pixels
    chosen = [training[i] for i in _spread(len(training), CALIBRATION_IMAGES)]
    display.waiting(f"calibrating on {len(chosen)} training images")
    images = (read_photo(pair, pixels) for pair in chosen)
    network = _quantized(engine, images)
    card: Int8Card | None = None

    def write_and_score(part: Path) -> None:
        nonlocal card
        part.write_bytes(_finished(network, engine, None))
        scores = _compare(original, Predictor(part), validation, display)
        card = Int8Card(original.digest, len(chosen), len(validation), *scores)
        loss = card.original_mean_iou - card.mean_iou
        if not loss <= max_loss:
            raise ModelFileError(
                f"in whole numbers of 8 bits, {run} loses {loss:.4f} of mean IoU on its validation "
                f"images ({card.describe()}); accepted is a loss of up to {max_loss:g}; allow more "
                "with --max-loss, or export --weights float16"
            )
        content = _finished(network, engine, card)
        part.write_bytes(content)
        remember(hashlib.sha256(content).hexdigest())

    write_atomically(path, write_and_score)
    if card is None:
        raise TypeError("the file was written without being scored")
    return card


def _pairs_of(run: Path, data: Path | None) -> tuple[list[Pair], list[Pair]]:
    """Pairs that a run was trained on, and those that it was validated on."""
    names = read_split_names(run / run_folder.SPLIT)
    where = Path(run_folder.load_config(run)["data"])
    needs = (
        "its training images give the ranges of features, its validation images and masks the loss"
    )
    try:
        dataset = find_dataset(data or where, recorded_sources(run, where))
    except DataNotFoundError as error:
        raise DataNotFoundError(
            f"the data of {run} are not at {data or where}; accepted for whole numbers of 8 bits "
            f"is a run with its data: {needs}; name their folder with --data, or export "
            "--weights float16, which needs none"
        ) from error
    found = []
    for part in ("train", "validation"):
        wanted = set(names[part])
        pairs = [pair for pair in dataset.pairs if pair.name in wanted]
        if not pairs:
            raise DataError(f"{dataset.source} has none of the {len(wanted)} {part} pairs")
        found.append(pairs)
    return found[0], found[1]


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` of the indices below `count`, spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _quantized(engine: Engine, images: Iterator[np.ndarray]) -> Any:
    """The network with quantised weights and features, an `onnx.ModelProto` without metadata."""
    from onnxruntime import quantization  # after `models.onnx_runtime`

    class Calibration(quantization.CalibrationDataReader):
        """Tiles of images, one by one, as ONNX Runtime asks for them."""

        def get_next(self) -> dict[str, np.ndarray] | None:
            tile = next(tiles, None)
            return None if tile is None else {INPUT: tile}

    proto = onnx.load_from_string(require_plain(engine.path))
    _fold_casts(proto.graph)
    _replace_up_convolutions(proto.graph)
    last = [node.name for node in proto.graph.node if node.op_type == "Conv"][-1]
    spec = engine.spec
    tiles = (tile for image in images for tile in tiles_of([image], spec, any_size=False))
    with tempfile.TemporaryDirectory() as folder:
        single, whole = Path(folder, "single.onnx"), Path(folder, "whole.onnx")
        onnx.save(proto, single)
        with _without_advice():
            quantization.quantize_static(
                str(single),
                str(whole),
                Calibration(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=[last],
            )
        network = onnx.load_from_string(require_plain(whole))
    del network.metadata_props[:]
    return network


@contextmanager
def _without_advice() -> Iterator[None]:
    """Drops advice that the quantisation logs, on a step that its graph has no need of."""

    def drop(record: logging.LogRecord) -> bool:
        return record.module != "quantize"

    root = logging.getLogger()
    root.addFilter(drop)
    try:
        yield
    finally:
        root.removeFilter(drop)


def _fold_casts(graph: Any) -> None:
    """Replaces weights in half precision, and the casts behind them, by single precision."""
    halves = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Cast" and n.input[0] in halves]:
        tensor = halves[node.input[0]]
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)


def _replace_up_convolutions(graph: Any) -> None:
    """Replaces each transposed convolution by a convolution and DepthToSpace, of equal sums.

    With stride s, the output has s x s positions for each of the input. A convolution computes
    those of one input position as s x s times the channels, which DepthToSpace spreads. Nodes of
    another form than those of our exports stay as they are.
    """
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for place, node in reversed(list(enumerate(graph.node))):
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if not _is_up_convolution(node, attributes, arrays):
            continue
        kernel, bias = (arrays[name] for name in node.input[1:])
        stride = attributes["strides"][0]
        kernels, pads = _kernel_of_positions(kernel, stride, attributes["pads"][:2])
        names = [f"{node.name}/positions/{part}" for part in ("kernel", "bias", "output")]
        graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(values), name)
            for values, name in zip((kernels, np.tile(bias, stride**2)), names, strict=False)
        )
        convolution = helper.make_node(
            "Conv",
            [node.input[0], *names[:2]],
            names[2:],
            name=f"{node.name}/positions",
            kernel_shape=kernels.shape[2:],
            pads=pads,
        )
        spread = helper.make_node(
            "DepthToSpace", names[2:], node.output, name=node.name, blocksize=stride
        )
        graph.node.remove(node)
        graph.node.insert(place, spread)
        graph.node.insert(place, convolution)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _is_up_convolution(
    node: Any, attributes: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> bool:
    """Whether a node is a transposed convolution whose output is a multiple of its input."""
    if node.op_type != "ConvTranspose" or not set(node.input[1:]) <= set(arrays):
        return False
    if len(node.input) != 3 or attributes.get("group", 1) != 1:
        return False
    if not {"strides", "pads"} <= set(attributes) or "output_shape" in attributes:
        return False
    if set(attributes.get("dilations", [1])) != {1} or len(set(attributes["strides"])) != 1:
        return False
    sizes, pads = arrays[node.input[1]].shape[2:], attributes["pads"]
    extra = attributes.get("output_padding", [0, 0])
    return attributes.get("auto_pad", b"NOTSET") == b"NOTSET" and all(
        size + more - before - after == attributes["strides"][0]
        for size, more, before, after in zip(sizes, extra, pads[:2], pads[2:], strict=True)
    )


def _kernel_of_positions(
    kernel: np.ndarray, stride: int, before: Sequence[int]
) -> tuple[np.ndarray, list[int]]:
    """Kernel of a convolution for all output positions of each input position.

        transposed:   output[s i + k - before] += input[i] kernel[k]
        convolution:  output[s j + p] = sum over d of input[j + d] kernel[p + before - s d]

    Args:
        kernel: Kernel of the transposed convolution, (C, K, h, w), whose output is `stride` times
            the size of its input.
        stride: Rows and columns of the output for each of the input, s above.
        before: Rows and columns that are cropped at the top and at the left.

    Returns:
        (stride * stride * K, C, h', w'), positions row by row before channels, as DepthToSpace
        takes them; and the rows and columns to pad: top, left, bottom, right.
    """
    channels, filters, *sizes = kernel.shape
    first = [-((size - 1 - start) // stride) for size, start in zip(sizes, before, strict=True)]
    last = [(stride - 1 + start) // stride for start in before]
    shape = [end - start + 1 for start, end in zip(first, last, strict=True)]
    made = np.zeros((stride, stride, filters, channels, *shape), kernel.dtype)
    for p, q, row, column in np.ndindex(stride, stride, *shape):
        k = p + before[0] - stride * (row + first[0])
        m = q + before[1] - stride * (column + first[1])
        if 0 <= k < sizes[0] and 0 <= m < sizes[1]:
            made[p, q, :, :, row, column] = kernel[:, :, k, m].T
    return made.reshape(-1, channels, *shape), [-start for start in first] + last


def _finished(network: Any, engine: Engine, card: Int8Card | None) -> bytes:
    """Bytes of the model file, with the description of the original and the card."""
    proto = type(network)()
    proto.CopyFrom(network)
    texts = {METADATA_KEY: engine.spec.to_json()}
    if card is not None:
        texts[INT8_KEY] = card.to_json()
    for key, text in texts.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, text
    proto.producer_name, proto.producer_version = "unetkit", __version__
    return add_digest(proto.SerializeToString(deterministic=True))


def _compare(
    original: Predictor, rounded: Predictor, pairs: Sequence[Pair], display: Display
) -> tuple[float, float, float]:
    """Mean IoU of a rounded network and of the original, and the fraction of equal labels."""
    classes = original.spec.classes
    truth_of = truth_as_trained(classes)
    counts = np.zeros((2, len(classes), len(classes)), np.int64)
    equal = pixels = 0
    on_done = display.task("scoring", len(pairs))
    for pair in pairs:
        image, truth = truth_of.read(pair, original.spec.pixels)
        labels = [predictor(image) for predictor in (rounded, original)]
        for place, found in enumerate(labels):
            counts[place] += confusion_matrix(truth, found, len(classes))
        equal += int(np.count_nonzero(labels[0] == labels[1]))
        pixels += truth.size
        on_done()
    scores = [float(mean_score(iou_score(each))) for each in counts]
    return scores[0], scores[1], equal / pixels
