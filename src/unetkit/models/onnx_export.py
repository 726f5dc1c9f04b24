"""Export of a trained Keras network to an ONNX file that runs without Keras.

The graph takes the pixel values of image files: scaling of levels and normalisation are part of it,
so that no caller can omit them. Everything else that prediction needs is in the metadata. Each file
is run and compared with the Keras network before it replaces an existing one.
"""

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from unetkit._shared.files import write_atomically
from unetkit._version import __version__
from unetkit.data.scale import image_to_network
from unetkit.errors import ModelFileError
from unetkit.models.known_models import remember
from unetkit.models.onnx_check import add_digest, require_plain
from unetkit.models.onnx_graph import onnx_model
from unetkit.models.onnx_runtime import onnxruntime
from unetkit.models.spec import METADATA_KEY, ModelSpec

# Largest accepted difference of a logit, relative to the largest one, by type of the weights.
# Rounding causes about 1e-6 in single precision; half precision has 11 bits.
TOLERANCES = {"float32": 1e-3, "float16": 3e-2}
SMALL_ARRAY = 64  # numbers; smaller arrays stay in single precision


def export_onnx(
    model: keras.Model,
    spec: ModelSpec,
    path: str | Path,
    images: Sequence[np.ndarray],
    weights: str = "float32",
) -> float:
    """Writes a network with its metadata to one ONNX file, and compares it with the network.

    Args:
        model: U-Net for normalised images.
        spec: Metadata of the network.
        path: File to write; an existing one is replaced only if the comparison succeeds.
        images: Images for the comparison, (H, W, C) each, in the pixel format of `spec`.
        weights: Type in which weights are stored: "float32", or "float16" for half the size.
            The network computes in single precision in either case.

    Returns:
        The largest difference between a logit of the file and of the network.

    Raises:
        ModelFileError: The difference is larger than rounding explains; nothing is written.
    """
    path = Path(path)
    network = _convert(model, spec, weights)
    worst = 0.0

    def write_and_check(part: Path) -> None:
        nonlocal worst
        part.write_bytes(network)
        worst = _largest_difference(model, spec, part, images, TOLERANCES[weights])

    write_atomically(path, write_and_check)
    remember(hashlib.sha256(network).hexdigest())
    return worst


def _convert(model: keras.Model, spec: ModelSpec, weights: str) -> bytes:
    proto = onnx_model(model, spec)
    if weights == "float16":
        _halve(proto.graph)
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.to_json()
    proto.producer_name, proto.producer_version = "unetkit", __version__
    return add_digest(proto.SerializeToString(deterministic=True))


def _halve(graph: Any) -> None:
    """Stores large arrays in half precision, each followed by a cast, which runs at loading."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= SMALL_ARRAY:
            name = f"{tensor.name}__half"
            casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name))
    for place, node in enumerate(casts):
        graph.node.insert(place, node)


def _largest_difference(
    model: keras.Model,
    spec: ModelSpec,
    file: Path,
    images: Sequence[np.ndarray],
    tolerance: float,
) -> float:
    session = onnxruntime.InferenceSession(require_plain(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    worst, largest = 0.0, 0.0
    # A corner of a large image is enough to find rounding errors. If the network takes any size, it
    # is compared at a smaller and at a larger one than that of the conversion.
    sides, stride = (spec.scale.height, spec.scale.width), spec.geometry.stride
    changes = (-stride, stride) if spec.scale.is_native else (0,)
    for image, change in itertools.product(images, changes):
        scaled = image_to_network(image, spec.scale)
        sizes = [spec.geometry.input_size(max(1, side + change)) for side in sides]
        batch = _cropped(scaled, spec.geometry.margin, sizes)[None].astype(np.float32)
        (found,) = session.run(None, {name: batch})
        normalized = spec.normalization.apply(spec.pixels.scaled(batch))
        expected = keras.ops.convert_to_numpy(model(normalized))
        worst = float(np.maximum(worst, np.abs(found - expected).max()))  # keeps nan
        largest = max(largest, float(np.abs(expected).max()))
    if not worst <= tolerance * max(1.0, largest):
        raise ModelFileError(
            f"the exported network differs from the original by {worst:.2g} in logits of up to "
            f"{largest:.2g}; accepted is {tolerance:g} of the largest; please report this as a bug"
        )
    return worst


def _cropped(image: np.ndarray, margin: int, size: Sequence[int]) -> np.ndarray:
    """The top left corner of an image with a margin, of `size` in total, mirrored at the edges."""
    missing = [
        max(0, full - margin - side) for full, side in zip(size, image.shape[:2], strict=True)
    ]
    padding = [(margin, after) for after in missing]
    return np.pad(image, (*padding, (0, 0)), mode="reflect")[: size[0], : size[1]]
