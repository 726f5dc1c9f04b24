"""A model file as a package of the BioImage Model Zoo (bioimage.io), specification 0.5.

It is a ZIP of the model file itself, an input and the output that belongs to it, a cover, a text,
and a description, rdf.yaml. That is written as JSON, which is YAML, so that no other library is
needed. What the format cannot say is said by `limits`: programs that open such a package know
neither how images are brought to the network's scale, nor where tiles have to begin to be exact.
"""

import hashlib
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unetkit._version import __version__
from unetkit.exports.comparison import Network, tiles_of
from unetkit.models.built_in import PURPOSE, is_built_in
from unetkit.models.onnx_check import require_plain
from unetkit.models.onnx_runtime import OPSET, onnxruntime
from unetkit.models.spec import ModelSpec
from unetkit.prediction.engine import Engine
from unetkit.visualization.overlays import lay_over

FORMAT_VERSION = "0.5.4"
WEIGHTS, TEST_INPUT, TEST_OUTPUT = "weights.onnx", "test_input.npy", "test_output.npy"
DESCRIPTION, DOCUMENTATION, COVER = "rdf.yaml", "README.md", "cover.png"
COVER_SIDE = 512  # pixels, at most
NAME_LENGTH = 128
NOT_IN_NAMES = r"[^\w\- ()]"  # characters that names of the zoo have not
DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever it is written
CITED = (
    {
        "text": "Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image "
        "Segmentation. MICCAI 2015",
        "doi": "10.1007/978-3-319-24574-4_28",
    },
)


def limits(spec: ModelSpec) -> list[str]:
    """What the format cannot say of a model, in sentences."""
    found = []
    scale, geometry = spec.scale, spec.geometry
    if not scale.is_native:
        found.append(
            f"the format knows no resizing of images: resize them to {scale.height}x{scale.width} "
            f"({scale.fit}) before, and the output back"
        )
    elif scale.factor != 1:
        found.append(
            f"the format knows no scale: resize images to {scale.factor:g} times their size before"
        )
    if scale.is_native and _halo(spec):
        found.append(
            f"the format says how wide a halo is, {_halo(spec)} pixels, but not that tiles are "
            f"exact only if they begin at multiples of {geometry.stride} pixels"
        )
    if spec.temperature != 1:
        found.append(
            f"outputs are logits: divide them by {spec.temperature:g} for calibrated probabilities"
        )
    return found


def write_package(engine: Engine, name: str, image: np.ndarray, path: Path) -> None:
    """Writes a package.

    Args:
        engine: The model file.
        name: Name of the model.
        image: Image of the model's pixel format, (H, W, C), as the example.
        path: ZIP file to write.
    """
    spec, content = engine.spec, require_plain(engine.path)
    tile = tiles_of([image], _at_least(spec), any_size=False)[0]
    logits = engine(tile[0])[None]
    parts = {
        WEIGHTS: content,
        TEST_INPUT: _as_npy(tile),
        TEST_OUTPUT: _as_npy(logits),
        COVER: _cover(spec, tile[0], logits[0]),
        DOCUMENTATION: _documentation(engine, name).encode(),
    }
    sums = {part: hashlib.sha256(found).hexdigest() for part, found in parts.items()}
    described = json.dumps(_describe(engine, name, tile, sums), indent=2, ensure_ascii=False)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for part, found in {DESCRIPTION: described.encode(), **parts}.items():
            package.writestr(zipfile.ZipInfo(part, DATE), found, zipfile.ZIP_DEFLATED)


def _at_least(spec: ModelSpec) -> ModelSpec:
    """Metadata with a size of the example that leaves some output within the halo."""
    scale, least = spec.scale, 2 * _halo(spec) + 1
    if not scale.is_native:
        return spec
    larger = replace(scale, height=max(scale.height, least), width=max(scale.width, least))
    return replace(spec, scale=larger)


def read_package(path: Path) -> Network:
    """Opens the network of a package in ONNX Runtime."""
    with zipfile.ZipFile(path) as package:
        content = package.read(WEIGHTS)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tile: np.asarray(session.run(None, {name: tile})[0])


def _describe(engine: Engine, name: str, tile: np.ndarray, sums: dict[str, str]) -> dict[str, Any]:
    """Content of rdf.yaml."""
    spec = engine.spec
    channels = [f"channel {k}" for k in range(spec.pixels.channels)]
    outputs = [*spec.classes.names, *spec.objects.outputs]
    return {
        "type": "model",
        "format_version": FORMAT_VERSION,
        "name": f"U-Net {re.sub(NOT_IN_NAMES, ' ', name)}"[:NAME_LENGTH].strip(),
        "description": _purpose(engine),
        "authors": [{"name": "The unetkit developers" if is_built_in(engine.path) else "unknown"}],
        "license": "CC-BY-SA-4.0" if is_built_in(engine.path) else None,
        "cite": list(CITED),
        "tags": ["unet", "semantic-segmentation", "2d", "unetkit"],
        "covers": [COVER],
        "documentation": DOCUMENTATION,
        "inputs": [
            {
                "id": "image",
                "description": f"pixel values as in {spec.pixels.dtype} files, not normalized",
                "axes": [
                    {"type": "batch", "size": 1},
                    *(_input_axis(spec, axis, side) for axis, side in _sides(tile)),
                    {"type": "channel", "channel_names": channels},
                ],
                "data": {"type": "float32"},
                "test_tensor": {"source": TEST_INPUT, "sha256": sums[TEST_INPUT]},
            }
        ],
        "outputs": [
            {
                "id": "logits",
                "description": "logits of each class, before the softmax",
                "axes": [
                    {"type": "batch", "size": 1},
                    *(_output_axis(spec, axis, side) for axis, side in _sides(tile)),
                    {"type": "channel", "channel_names": outputs},
                ],
                "data": {"type": "float32"},
                "test_tensor": {"source": TEST_OUTPUT, "sha256": sums[TEST_OUTPUT]},
            }
        ],
        "weights": {"onnx": {"source": WEIGHTS, "sha256": sums[WEIGHTS], "opset_version": OPSET}},
    }


def _sides(tile: np.ndarray) -> tuple[tuple[str, int], tuple[str, int]]:
    return ("y", tile.shape[1]), ("x", tile.shape[2])


def _halo(spec: ModelSpec) -> int:
    """Pixels of the output that depend on the edge of a tile, and are to be cut off."""
    return max(spec.geometry.tile_before, spec.geometry.tile_after)


def _input_axis(spec: ModelSpec, axis: str, side: int) -> dict[str, Any]:
    if not spec.scale.is_native:
        return {"type": "space", "id": axis, "size": side}
    least = spec.geometry.input_size(2 * _halo(spec) + 1)  # some output is left
    size = {"min": least, "step": spec.geometry.stride}
    return {"type": "space", "id": axis, "size": size}


def _output_axis(spec: ModelSpec, axis: str, side: int) -> dict[str, Any]:
    margin = spec.geometry.margin
    if not spec.scale.is_native:
        return {"type": "space", "id": axis, "size": side - 2 * margin}
    size = {"tensor_id": "image", "axis_id": axis, "offset": -2 * margin}
    halo = {"halo": _halo(spec)} if _halo(spec) else {}
    return {"type": "space", "id": axis, "size": size, **halo}


def _purpose(engine: Engine) -> str:
    what = PURPOSE if is_built_in(engine.path) else "images"
    return f"A U-Net that segments {what} into {', '.join(engine.spec.classes.names)}"[:1024]


def _documentation(engine: Engine, name: str) -> str:
    """The text of the package, in Markdown."""
    spec = engine.spec
    lines = [
        f"# {name}",
        "",
        f"{_purpose(engine)}. Trained and exported by unetkit {__version__} (preset {spec.preset}, "
        f"{spec.parameters:,} parameters, SHA-256 of the model file {engine.digest}).",
        "",
        f"Input: (1, height, width, {spec.pixels.channels}) float32, pixel values as they are in "
        f"{spec.pixels.dtype} files; the network normalizes them. Output: logits; the class of a "
        "pixel is the channel with the largest one of "
        f"{', '.join(spec.classes.names)}.",
        "",
        f"Scale: {spec.scale.describe()}.",
        "",
        "## Limits",
        "",
        *(f"- {sentence}." for sentence in limits(spec)),
        "- authors, licence and validation are to be added by whoever publishes the package.",
        "",
        "## Validation",
        "",
        "`unetkit evaluate` measures the model on images with masks, and writes a report.",
        "",
        f"{WEIGHTS} is a model file of unetkit: `unetkit predict IMAGES --model {WEIGHTS}` brings "
        "images of any size to the scale of the network, and predicts large ones in exact tiles.",
    ]
    return "\n".join(lines) + "\n"


def _cover(spec: ModelSpec, tile: np.ndarray, logits: np.ndarray) -> bytes:
    """The example beside its classes in colours, as a PNG."""
    margin = spec.geometry.margin
    height, width = logits.shape[:2]
    inner = tile[margin : margin + height, margin : margin + width]
    photo = spec.pixels.photo(inner.astype(spec.pixels.dtype))
    labels = logits[..., : len(spec.classes)].argmax(-1).astype(np.uint8)
    both = Image.fromarray(np.hstack([photo, lay_over(photo, labels, spec.classes)]))
    both.thumbnail((COVER_SIDE, COVER_SIDE))
    found = io.BytesIO()
    both.save(found, format="PNG")
    return found.getvalue()


def _as_npy(array: np.ndarray) -> bytes:
    found = io.BytesIO()
    np.save(found, array, allow_pickle=False)
    return found.getvalue()
