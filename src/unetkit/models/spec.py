"""What a trained model knows about itself, and takes along wherever its file goes.

The same facts stand in a run's folder and, as JSON, in an exported file's metadata: how pictures
reach the network, what its classes are, which sizes it takes, how its test set was cut. A file may
come from a stranger, so whatever is read back is checked before it is believed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from unetkit.data.classes import LARGEST_COLOUR, Classes
from unetkit.data.scale import Scale
from unetkit.errors import ConfigError, ModelFileError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.geometry import Geometry

FORMAT = 3
METADATA_KEY = "unetkit"
MAX_METADATA = 1 << 24  # characters; a real one has some thousands, and 20 a training pair
DIGEST_BYTES = (
    6  # a million names: one chance in 280 million for a new one to look like one of them
)
LIMIT = 1 << 16  # of any size in pixels or count in a file


@dataclass(frozen=True)
class Normalization:
    """From the common scale of pixels, 0 to 255, to what the network sees.

    input = value * multiply + add

    Raises:
        ConfigError: A value is no number, or `multiply` is 0.
    """

    multiply: float
    add: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.multiply) and np.isfinite(self.add)) or self.multiply == 0:
            raise ConfigError(
                f"normalization is times {self.multiply}, plus {self.add}; accepted are finite "
                "numbers, and a factor that is not 0; try 1/255 and 0"
            )

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Normalised pixels, float32, in the same shape."""
        scaled = pixels.astype(np.float32) * np.float32(self.multiply)
        return scaled + np.float32(self.add)


def image_digest(sha256: str, page: int | None) -> str:
    """A short stand-in for a picture, from its file's content, whatever its name.

    Args:
        sha256: Of the file, in hexadecimal.
        page: Number of the picture in a file of several; None for the only one.

    >>> image_digest("e3b0", None), image_digest("e3b0", 7)
    ('82f75454260d', '8b3e94ef5901')
    """
    text = f"{sha256}:{page}"
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


@dataclass(frozen=True)
class Layer:
    """A row of the network's summary; sizes are those for `ModelSpec.scale`'s size."""

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int


@dataclass(frozen=True)
class ModelSpec:
    """Everything that prediction and evaluation need beside the network itself.

    `seen` holds the digests of all pictures that training or the choice of the weights looked at,
    so that no later evaluation calls them a test.
    """

    preset: str
    pixels: PixelFormat
    classes: Classes
    scale: Scale
    normalization: Normalization
    geometry: Geometry
    seen: tuple[str, ...]
    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """Number of the network's weights."""
        return sum(layer.parameters for layer in self.layers)

    def to_json(self) -> str:
        """The metadata of an exported file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=True)


def spec_from_json(text: str, source: str) -> ModelSpec:
    """Reads back what `ModelSpec.to_json` wrote, trusting nothing.

    Args:
        source: The file that it comes from, for the error.

    Raises:
        ModelFileError: It is not JSON, or a value is missing, of the wrong type or out of bounds.
    """
    if len(text) > MAX_METADATA:
        raise _damaged(source, f"its metadata has {len(text)} characters")
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
            raise _damaged(source, f"its metadata is of format {found!r}, not {FORMAT}")
        spec = ModelSpec(
            preset=_text(raw["preset"]),
            pixels=_pixels(raw["pixels"]),
            classes=_classes(raw["classes"]),
            scale=_scale(raw["scale"]),
            normalization=Normalization(**_numbers(Normalization, raw["normalization"])),
            geometry=_geometry(raw["geometry"]),
            seen=tuple(_digest(text) for text in raw["seen"]),
            layers=tuple(_layer(row) for row in raw["layers"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise _damaged(source, f"its metadata is damaged ({error})") from error
    return spec


def _damaged(source: str, what: str) -> ModelFileError:
    return ModelFileError(
        f"{source} cannot be used: {what}; accepted are models that unetkit exported; "
        "export it again from its run folder"
    )


def _keys(kind: type, raw: Any) -> Mapping[str, Any]:
    names = {entry.name for entry in fields(kind)}
    if not isinstance(raw, dict) or set(raw) != names:
        raise ValueError(f"{kind.__name__} should have {sorted(names)}")
    return raw


def _numbers(kind: type, raw: Any) -> dict[str, float]:
    return {name: _number(value) for name, value in _keys(kind, raw).items()}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{value!r:.60} is not a number")
    return float(value)


def _whole(value: Any, least: int = 0, most: int = LIMIT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{value!r} is not a whole number from {least} to {most}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise ValueError(f"{value!r:.60} is not a short text")
    return value


def _classes(raw: Any) -> Classes:
    raw = _keys(Classes, raw)
    count = len(raw["names"])

    def index(value: Any) -> int | None:
        return None if value is None else _whole(value, 0, count - 1)

    return Classes(
        names=tuple(_text(name) for name in raw["names"]),
        values=tuple(_whole(value, most=LARGEST_COLOUR) for value in raw["values"]),
        background=index(raw["background"]),
        border=index(raw["border"]),
        colours=tuple(_colour(colour) for colour in raw["colours"]),
        kind=_text(raw["kind"]),
        ignore=_value(raw["ignore"]),
        threshold=_value(raw["threshold"]),
        labels=tuple(_text(label) for label in raw["labels"]),
    )


def _value(raw: Any) -> int | None:
    return None if raw is None else _whole(raw, most=LARGEST_COLOUR)


def _pixels(raw: Any) -> PixelFormat:
    raw = _keys(PixelFormat, raw)
    return PixelFormat(
        channels=_whole(raw["channels"], 1),
        dtype=_text(raw["dtype"]),
        low=tuple(_number(value) for value in raw["low"]),
        high=tuple(_number(value) for value in raw["high"]),
        channel_axis=_text(raw["channel_axis"]),
    )


def _colour(raw: Any) -> tuple[int, int, int]:
    red, green, blue = (_whole(value, 0, 255) for value in raw)
    return red, green, blue


def _scale(raw: Any) -> Scale:
    raw = _keys(Scale, raw)
    return Scale(
        policy=raw["policy"],
        height=_whole(raw["height"], 1),
        width=_whole(raw["width"], 1),
        fit=raw["fit"],
        factor=float(raw["factor"]),
    )


def _geometry(raw: Any) -> Geometry:
    geometry = Geometry(**{name: _whole(n) for name, n in _keys(Geometry, raw).items()})
    if geometry.stride < 1 or geometry.smallest_input <= 2 * geometry.margin:
        raise ValueError(f"sizes that cannot be: {geometry}")
    return geometry


def _digest(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 2 * DIGEST_BYTES:
        raise ValueError(f"{value!r:.60} is no digest")
    return value


def _layer(raw: Any) -> Layer:
    raw = _keys(Layer, raw)
    return Layer(
        name=_text(raw["name"]),
        kind=_text(raw["kind"]),
        output_shape=tuple(None if n is None else _whole(n) for n in raw["output_shape"]),
        parameters=_whole(raw["parameters"], most=2**40),
    )
