"""Metadata of a model file, which prediction and evaluation need beside the network.

It has the pixel format, scale and normalisation of the input, the classes, the valid sizes, and
digests of the images that the model was trained on. It is stored as JSON in the exported file.
Model files are not trusted, so `spec_from_json` checks every value that it reads.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from unetkit._shared.records import (
    Finite,
    RecordError,
    convert,
    parse_json,
    refusing,
    shorten,
)
from unetkit.data.classes import LARGEST_COLOUR, LEAST_IGNORED, Classes
from unetkit.data.scale import Scale
from unetkit.errors import ConfigError, ModelFileError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.geometry import Geometry
from unetkit.objects.separation import NO_OBJECTS, ObjectRule

METADATA_FORMAT = 3
METADATA_KEY = "unetkit"
MAX_METADATA = 1 << 24  # characters; usual are a few thousand, and 20 per training pair
DIGEST_BYTES = 6  # beside a million images, another one has an equal digest once in 280 million
LIMIT = 1 << 16  # largest accepted size in pixels
TEMPERATURES = 0.05, 20.0  # smallest and largest of a calibration


@dataclass(frozen=True)
class Normalization:
    """Linear map from pixel values scaled to 0 to 255 to the input of the network.

        input = value * multiply + add

    Args:
        multiply: Factor of pixel values.
        add: Summand after the multiplication.

    Raises:
        ConfigError: A value is not finite, or `multiply` is 0.
    """

    multiply: float
    add: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.multiply) and np.isfinite(self.add)) or self.multiply == 0:
            raise ConfigError(
                f"normalization is times {self.multiply}, plus {self.add}; accepted are finite "
                "numbers and a factor other than 0, such as 1/255 and 0"
            )

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Normalised pixel values, float32, in the same shape."""
        scaled = pixels.astype(np.float32) * np.float32(self.multiply)
        return scaled + np.float32(self.add)


def image_digest(sha256: str, page: int | None) -> str:
    """Short digest of an image, from the content of its file.

    Args:
        sha256: SHA-256 of the file, in hexadecimal.
        page: Index of the image in a file of several; None for the only one.

    >>> image_digest("e3b0", None), image_digest("e3b0", 7)
    ('82f75454260d', '8b3e94ef5901')
    """
    text = f"{sha256}:{page}"
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def seen_digests(
    sha256: str, page: int | None, block: Mapping[str, int] | None, before: Collection[str] = ()
) -> list[str]:
    """Digests by which an image that was used in training is recognised, or one block of it.

    Args:
        sha256: SHA-256 of the file, in hexadecimal.
        page: Index of the image in a file of several; None for the only one.
        block: Place of the block that was used, and how the image was cut; None for the whole.
        before: Digests of an earlier training. If it used blocks that were cut in another way, the
            whole image counts as used.
    """
    if block is None:
        return [image_digest(sha256, page)]
    in_blocks, grid, own = _block_digests(sha256, page, block)
    is_other_grid = in_blocks in before and grid not in before
    return [in_blocks, grid, own, *([image_digest(sha256, page)] if is_other_grid else [])]


def is_seen(
    seen: Collection[str], sha256: str, page: int | None, block: Mapping[str, int] | None
) -> bool:
    """Whether pixels of an image, or of a block of it, may have been used in training.

    Args:
        seen: Digests of `seen_digests`.
        sha256: SHA-256 of the file, in hexadecimal.
        page: Index of the image in a file of several; None for the only one.
        block: Place of the block, and how the image was cut; None for the whole.
    """
    if image_digest(sha256, page) in seen:
        return True
    if block is None:
        return image_digest(f"{sha256}:blocks", page) in seen
    in_blocks, grid, own = _block_digests(sha256, page, block)
    return own in seen or (in_blocks in seen and grid not in seen)


def _block_digests(sha256: str, page: int | None, block: Mapping[str, int]) -> tuple[str, str, str]:
    """Digests of an image that is cut, of how it is cut, and of one block."""
    grid = f"{sha256}:blocks of {block['side']} and {block['gap']}"
    place = f"{grid} at {block['row']}, {block['column']}"
    in_blocks = image_digest(f"{sha256}:blocks", page)
    return in_blocks, image_digest(grid, page), image_digest(place, page)


@dataclass(frozen=True)
class Layer:
    """A row of the network's summary; output shapes are for the size of `ModelSpec.scale`."""

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int


@dataclass(frozen=True)
class ModelSpec:
    """Metadata of a network.

    Args:
        preset: Name of the preset.
        pixels: Pixel format of the input images.
        classes: Classes of the output.
        scale: Scale of the input images.
        normalization: Normalisation of the input.
        geometry: Valid sizes and receptive field.
        seen: Digests of all training and validation images, with those of the model that training
            started from, so that no evaluation takes them for test images.
        layers: Summary of the network.
        objects: How objects are told apart.
        temperature: Number by which log-probabilities are divided, so that confidence is as large
            as accuracy; 1 for those of the network.
    """

    preset: str
    pixels: PixelFormat
    classes: Classes
    scale: Scale
    normalization: Normalization
    geometry: Geometry
    seen: tuple[str, ...]
    layers: tuple[Layer, ...]
    objects: ObjectRule = NO_OBJECTS
    temperature: float = 1.0

    @property
    def channels(self) -> int:
        """Number of outputs at each pixel: logits of the classes, and one to tell objects apart."""
        return len(self.classes) + self.objects.channels

    @property
    def parameters(self) -> int:
        """Number of weights of the network."""
        return sum(layer.parameters for layer in self.layers)

    def to_json(self) -> str:
        """Metadata as the JSON text of an exported file."""
        return json.dumps({"format": METADATA_FORMAT, **asdict(self)}, ensure_ascii=True)


_Size = Annotated[int, msgspec.Meta(ge=0, le=LIMIT)]
_Side = Annotated[int, msgspec.Meta(ge=1, le=LIMIT)]
_MaskValue = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COLOUR)]
_IgnoredValue = Annotated[int, msgspec.Meta(ge=LEAST_IGNORED, le=LARGEST_COLOUR)]
_Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
_ShortText = Annotated[str, msgspec.Meta(max_length=200)]
_Digest = Annotated[str, msgspec.Meta(min_length=2 * DIGEST_BYTES, max_length=2 * DIGEST_BYTES)]
_Temperature = Annotated[float, msgspec.Meta(ge=TEMPERATURES[0], le=TEMPERATURES[1])]
_Weights = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    """A part of the metadata; its fields are those of the dataclass that it becomes."""


class _Pixels(_Record):
    channels: _Side
    dtype: _ShortText
    low: tuple[Finite, ...]
    high: tuple[Finite, ...]
    channel_axis: _ShortText


class _Classes(_Record):
    names: tuple[_ShortText, ...]
    values: tuple[_MaskValue, ...]
    background: _Size | None
    border: _Size | None
    colours: tuple[tuple[_Byte, _Byte, _Byte], ...]
    kind: _ShortText
    ignore: _IgnoredValue | None
    threshold: _MaskValue | None
    labels: tuple[_ShortText, ...]
    aliases: dict[_ShortText, _ShortText] = {}
    ignored_labels: tuple[_ShortText, ...] = ()
    blended: bool = False


class _Scale(_Record):
    policy: _ShortText
    height: _Side
    width: _Side
    fit: _ShortText
    factor: Finite


class _Normalization(_Record):
    multiply: Finite
    add: Finite


class _Geometry(_Record):
    stride: _Size
    smallest_input: _Size
    margin: _Size
    reach_before: _Size
    reach_after: _Size
    tile_before: _Size
    tile_after: _Size


class _Layer(_Record):
    name: _ShortText
    kind: _ShortText
    output_shape: tuple[_Size | None, ...]
    parameters: _Weights


class _Objects(_Record):
    method: _ShortText
    seed: Finite | None = None
    smallest: _Weights | None = None
    largest_hole: _Weights | None = None
    prominence: Finite | None = 0.0  # of files before it was known


class _Spec(_Record):
    format: int
    preset: _ShortText
    pixels: _Pixels
    classes: _Classes
    scale: _Scale
    normalization: _Normalization
    geometry: _Geometry
    seen: tuple[_Digest, ...]
    layers: tuple[_Layer, ...]
    objects: _Objects | None = None
    temperature: _Temperature = 1.0


def spec_from_json(text: str, source: str) -> ModelSpec:
    """Reads metadata as `ModelSpec.to_json` writes it; any other text is refused.

    Args:
        text: Metadata of a model file.
        source: Name of the file for error messages.

    Raises:
        ModelFileError: The text is not JSON, or a value is missing, of a wrong type or out of
            bounds.
    """
    remedy = "accepted are models that unetkit exported; export it again from its run folder"
    with refusing(source, remedy, ModelFileError):
        if len(text) > MAX_METADATA:
            raise RecordError(f"its metadata has {len(text)} characters")
        raw = parse_json(text)
        if not isinstance(raw, dict) or raw.get("format") != METADATA_FORMAT:
            found = raw.get("format") if isinstance(raw, dict) else raw
            raise RecordError(
                f"its metadata has the format {shorten(found)}, not {METADATA_FORMAT}"
            )
        record = convert(raw, _Spec)
        for value in _texts(record):
            if not value.isprintable():
                raise RecordError(f"its metadata has the unprintable text {shorten(value)}")
        return _spec(record)


def _texts(record: _Spec) -> list[str]:
    classes = record.classes
    own = [record.preset, *classes.names, *classes.labels, *classes.ignored_labels]
    own += [text for alias in classes.aliases.items() for text in alias]
    return own + [text for layer in record.layers for text in (layer.name, layer.kind)]


def _spec(record: _Spec) -> ModelSpec:
    geometry = Geometry(**_values(record.geometry))
    if geometry.stride < 1 or geometry.smallest_input <= 2 * geometry.margin:
        raise RecordError(f"its metadata has sizes that do not fit together: {geometry}")
    return ModelSpec(
        preset=record.preset,
        pixels=PixelFormat(**_values(record.pixels)),
        classes=Classes(**_values(record.classes)),
        scale=Scale(**_values(record.scale)),
        normalization=Normalization(**_values(record.normalization)),
        geometry=geometry,
        seen=record.seen,
        layers=tuple(Layer(**_values(layer)) for layer in record.layers),
        objects=ObjectRule(**_values(record.objects)) if record.objects else NO_OBJECTS,
        temperature=record.temperature,
    )


def _values(record: _Record) -> dict[str, Any]:
    return msgspec.structs.asdict(record)
