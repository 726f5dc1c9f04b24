"""The pixel format of a model: channels, type, and the values that are black and white.

Arrays keep the values of the file (uint8, uint16 or float32) from the file to the network. The
`PixelFormat` of a model, stored with it, maps them to one common scale from 0 to 255. For 8-bit
images it follows from the type alone, for others from statistics of the whole training split; never
from a single image, whose brightest pixel means nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path

import numpy as np

from unetkit.errors import ConfigError, DataError

DTYPES = ("uint8", "uint16", "float32")
CHANNEL_AXES = ("auto", "first", "last")
MAX_CHANNELS = 256
TAIL = 0.1  # percent of the pixels beyond the levels, on either side
ROOM = 0.1  # by which the levels are widened, as a fraction of their distance
FLAT_ROOM = 1e-6  # the same for images without contrast, as a fraction of their value
MINORITY = 0.1  # fraction of the images below which another kind is a mistake
DIGITS = 6  # of the distance of the levels that are kept
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as in every greyscale conversion


@dataclass(frozen=True)
class PixelFormat:
    """What images a model takes, and which of their values are black and white.

    Args:
        channels: Number of channels, 1 to 256.
        dtype: "uint8", "uint16" or "float32".
        low: Value that becomes 0: one for all channels, or one for each.
        high: Value that becomes 255: one for all channels, or one for each.
        channel_axis: Axis of the channels in a TIFF without metadata: "first", "last" or "auto".

    Raises:
        ConfigError: An argument has another value, or `low` is not below `high`.
    """

    channels: int = 3
    dtype: str = "uint8"
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (255.0,)
    channel_axis: str = "auto"

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ConfigError(f"channels is {self.channels}; accepted are 1 to {MAX_CHANNELS}")
        for name, accepted in (("dtype", DTYPES), ("channel_axis", CHANNEL_AXES)):
            if getattr(self, name) not in accepted:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; accepted are "
                    f"{', '.join(map(repr, accepted))}"
                )
        lengths = {len(self.low), len(self.high)}
        numbers = np.array(self.low + self.high, np.float64)
        if (
            not lengths <= {1, self.channels}
            or not np.isfinite(numbers).all()
            or not all(low < high for low, high in zip(*self._levels(), strict=True))
        ):
            raise ConfigError(
                f"low is {list(self.low)} and high {list(self.high)}; accepted is one number, or "
                f"one for each of {self.channels} channels, low below high"
            )

    def _levels(self) -> tuple[np.ndarray, np.ndarray]:
        shape = (self.channels,)
        return (
            np.broadcast_to(np.array(self.low, np.float64), shape),
            np.broadcast_to(np.array(self.high, np.float64), shape),
        )

    def describe(self) -> str:
        """Returns the format in one line.

        >>> PixelFormat(1, "uint16", (180.0,), (4000.0,)).describe()
        '1 channel, uint16, 180 to 4000'
        """
        unit = "channel" if self.channels == 1 else "channels"
        lows, highs = ("/".join(f"{v:g}" for v in vs) for vs in (self.low, self.high))
        return f"{self.channels} {unit}, {self.dtype}, {lows} to {highs}"

    @property
    def is_common_scale(self) -> bool:
        """Whether pixels are on the common scale already, and cannot be beyond it."""
        return (self.dtype, self.low, self.high) == ("uint8", (0.0,), (255.0,))

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns `low` and `multiply`, (C,) float32 each, of the map to the common scale.

            scaled = (pixels - low) * multiply

        In this order, so that values far from 0 keep their differences.
        """
        low, high = self._levels()
        return low.astype(np.float32), (255.0 / (high - low)).astype(np.float32)

    def scaled(self, pixels: np.ndarray) -> np.ndarray:
        """Maps pixels to the common scale; values beyond `low` and `high` are clipped.

        Args:
            pixels: (..., C) of `dtype`.

        Returns:
            (..., C) float32 in [0, 255].
        """
        if self.is_common_scale:
            return pixels.astype(np.float32)
        low, multiply = self.factors()
        return np.clip((pixels.astype(np.float32) - low) * multiply, 0, 255)

    def photo(self, pixels: np.ndarray) -> np.ndarray:
        """Returns pixels to display, (H, W, 3) uint8: the first three channels, or grey."""
        shown = pixels[..., :3] if self.channels >= 3 else pixels[..., :1]
        if not self.is_common_scale:
            scaled = self.scaled(pixels)
            shown = np.rint(scaled[..., :3] if self.channels >= 3 else scaled[..., :1])
        photo = shown.astype(np.uint8)
        return np.repeat(photo, 3, axis=2) if photo.shape[2] == 1 else photo

    def accept(self, pixels: np.ndarray, source: str) -> np.ndarray:
        """Converts an image to these channels and this type, if its values keep their meaning.

        Grey becomes colour by repetition, colour becomes grey by its luma. 8 and 16 bits are
        converted so that black stays black and white stays white.

        Args:
            pixels: (H, W, C) uint8, uint16 or float32.
            source: Name of the image in an error.

        Returns:
            (H, W, C) of the format's channels and type.

        Raises:
            DataError: The channels or the type cannot be converted.
        """
        return self._accept_type(self._accept_channels(pixels, source), source)

    def accept_numbers(self, pixels: np.ndarray, source: str) -> np.ndarray:
        """Converts an array of any integer or float type, as `accept` converts an image file.

        uint8 and uint16 are converted as in files. Other types hold values on the scale of the
        model's own images; floats stay floats.

        Args:
            pixels: (H, W, C) integers or floats.
            source: Name of the array in an error.

        Returns:
            (H, W, C) of the format's channels; of its type, or float32.

        Raises:
            DataError: The channels do not fit, or a value is outside the range of the type.
        """
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise DataError(
                f"{source} has pixels that are not finite numbers; accepted are finite numbers; "
                "replace such pixels"
            )
        if {str(pixels.dtype), self.dtype} <= {"uint8", "uint16"} or pixels.dtype == self.dtype:
            found = self._accept_type(pixels, source)
        else:
            limits = np.finfo(np.float32) if self.dtype == "float32" else np.iinfo(self.dtype)
            least = limits.min if self.dtype == "float32" else 0
            outside = ~((pixels >= least) & (pixels <= limits.max))
            if outside.any():
                row, column, _ = np.argwhere(outside)[0]
                raise DataError(
                    f"{source} has the value {pixels[outside][0]} (at row {row}, column "
                    f"{column}); accepted are values from {least:g} to {limits.max:g}, as in the "
                    f"model's {self.dtype} images; rescale it"
                )
            whole = pixels.dtype.kind in "iu" and self.dtype != "float32"
            found = pixels.astype(self.dtype if whole else np.float32)
        return self._accept_channels(found, source)

    def _accept_channels(self, pixels: np.ndarray, source: str) -> np.ndarray:
        have = pixels.shape[2]
        if have != self.channels:
            if {have, self.channels} != {1, 3}:
                raise DataError(
                    f"{source} has {have} channels; accepted are {self.channels}, as in the other "
                    "images of the data set or the model; convert it, or name the axis of its "
                    "channels in its metadata"
                )
            return np.repeat(pixels, 3, axis=2) if have == 1 else luma(pixels)
        return pixels

    def _accept_type(self, pixels: np.ndarray, source: str) -> np.ndarray:
        if pixels.dtype == self.dtype:
            return pixels
        if pixels.dtype == np.uint8 and self.dtype == "uint16":
            return pixels.astype(np.uint16) * np.uint16(257)
        if pixels.dtype == np.uint16 and self.dtype == "uint8":
            return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        raise DataError(
            f"{source} has {pixels.dtype} pixels; accepted are {self.dtype}, as in the other "
            "images of the data set or the model: integers and floats have no common scale; "
            "convert it"
        )


def luma(pixels: np.ndarray) -> np.ndarray:
    """Converts colour to grey, (H, W, 1) of the same type."""
    grey = pixels.astype(np.float32) @ LUMA
    if pixels.dtype != np.float32:
        grey = np.rint(grey)
    return grey.astype(pixels.dtype)[..., None]


def choose_format(
    kinds: Sequence[tuple[int, str]],
    samples: Sequence[np.ndarray],
    channel_axis: str = "auto",
    files: Sequence[Path] = (),
) -> PixelFormat:
    """Chooses the format for a set of images.

    Args:
        kinds: (channels, dtype) of each image.
        samples: (n_i, C) pixels of each image of the training split.
        channel_axis: `PixelFormat.channel_axis` of the format.
        files: Paths of the images, to name one in an error.

    Raises:
        DataError: The images have channels or types that cannot be converted to one another.
    """
    channels = {count for count, _ in kinds}
    dtypes = {dtype for _, dtype in kinds}
    if len(channels) > 1 and channels != {1, 3}:
        raise DataError(
            f"images have {', '.join(map(str, sorted(channels)))} channels"
            f"{_rarest([count for count, _ in kinds], files)}; accepted is one "
            "number for all (grey and colour can be mixed); separate them, or name the axis of "
            "their channels with --channel-axis"
        )
    if len(dtypes) > 1 and "float32" in dtypes:
        raise DataError(
            f"images have {', '.join(sorted(dtypes))} pixels"
            f"{_rarest([dtype for _, dtype in kinds], files)}; accepted are integers or floats, "
            "not both; convert some"
        )
    count = max(channels)
    dtype = dtypes.pop() if len(dtypes) == 1 else "uint16"
    if dtype == "uint8":
        return PixelFormat(count, dtype, channel_axis=channel_axis)
    whole = PixelFormat(count, dtype, (0.0,), (65535.0,), channel_axis)
    pixels = np.concatenate([whole.accept(sample[None], "an image")[0] for sample in samples])
    if not len(pixels):  # every pixel is declared to be no data
        pixels = np.zeros((1, count))
    low, high = np.percentile(pixels.astype(np.float64), (TAIL, 100 - TAIL), axis=0)
    room = np.where(high > low, ROOM * (high - low), np.maximum(0.5, FLAT_ROOM * np.abs(high)))
    levels = [_rounded(*pair) for pair in zip(low - room, high + room, strict=True)]
    lows, highs = zip(*levels, strict=True)
    return PixelFormat(count, dtype, lows, highs, channel_axis)


def odd_images(kinds: Sequence[tuple[int, str]]) -> dict[int, str]:
    """Finds the few images that do not fit the others: {index: description}.

    Args:
        kinds: (channels, dtype) of each image.

    >>> odd_images([(3, "uint8")] * 11 + [(2, "uint8"), (1, "uint8")])
    {11: '2 channels, and most others 3'}
    """
    found: dict[int, str] = {}
    # Grey can be mixed with colour, and 8 bits with 16.
    for place in _minority([3 if channels == 1 else channels for channels, _ in kinds]):
        usual = Counter(channels for channels, _ in kinds).most_common(1)[0][0]
        found[place] = f"{kinds[place][0]} channels, and most others {usual}"
    for place in _minority([dtype == "float32" for _, dtype in kinds]):
        kind = Counter(dtype for _, dtype in kinds).most_common(1)[0][0]
        found.setdefault(place, f"{kinds[place][1]} pixels, and most others {kind}")
    return found


def _minority(sorts: Sequence[int | bool]) -> list[int]:
    """Indices of what is not of the most frequent kind, if these are few."""
    usual = Counter(sorts).most_common(1)[0][0]
    others = [place for place, sort in enumerate(sorts) if sort != usual]
    return others if len(others) < MINORITY * len(sorts) else []


def _rounded(low: float, high: float) -> tuple[float, float]:
    """Levels, without digits that are small beside their distance."""
    digits = DIGITS - 1 - floor(log10(high - low))
    return round(float(low), digits), round(float(high), digits)


def _rarest(kinds: Sequence[int] | Sequence[str], files: Sequence[Path]) -> str:
    """A file of the rarest kind, and how many of this kind there are."""
    if not files:
        return ""
    rarest, count = Counter[int | str](kinds).most_common()[-1]
    example = files[list(kinds).index(rarest)]
    return f" ({count} of {len(kinds)} {rarest}, {example} first)"
