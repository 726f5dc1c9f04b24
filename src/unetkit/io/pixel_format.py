"""What the numbers of a picture's pixels mean to a model: channels, type, darkest and brightest.

Arrays keep the file's own numbers (uint8, uint16 or float32) all the way from the file to the
network. A model's `PixelFormat`, stored with it, says how they reach one common scale from 0 to
255. It follows from the type alone for 8-bit pictures, and for others from statistics of the whole
training part; never from the single picture, whose brightest pixel means nothing.
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
TAIL = 0.1  # per cent of the pixels beyond the levels, on either side
ROOM = 0.1  # by which the levels are widened, as a share of their distance
FLAT_ROOM = 1e-6  # the same of pictures without contrast, as a share of their number
MINORITY = 0.1  # share of the pictures below which another kind is a slip
DIGITS = 6  # of the distance of the levels, that are kept
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as in every greyscale conversion


@dataclass(frozen=True)
class PixelFormat:
    """What pictures a model takes, and which of their numbers are black and white.

    Args:
        channels: Number of channels, 1 to 256.
        dtype: "uint8", "uint16" or "float32".
        low: The number that becomes 0: one for all channels, or one each.
        high: The number that becomes 255, likewise.
        channel_axis: Where a TIFF that does not say keeps its channels: "first", "last" or "auto".

    Raises:
        ConfigError: A value is not accepted.
    """

    channels: int = 3
    dtype: str = "uint8"
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (255.0,)
    channel_axis: str = "auto"

    def __post_init__(self) -> None:
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise ConfigError(
                f"channels is {self.channels}; accepted are 1 to {MAX_CHANNELS}; correct it"
            )
        for name, accepted in (("dtype", DTYPES), ("channel_axis", CHANNEL_AXES)):
            if getattr(self, name) not in accepted:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; accepted are "
                    f"{', '.join(map(repr, accepted))}; choose one of them"
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
                f"one for each of {self.channels} channels, low below high; correct them"
            )

    def _levels(self) -> tuple[np.ndarray, np.ndarray]:
        shape = (self.channels,)
        return (
            np.broadcast_to(np.array(self.low, np.float64), shape),
            np.broadcast_to(np.array(self.high, np.float64), shape),
        )

    def describe(self) -> str:
        """One line for people.

        >>> PixelFormat(1, "uint16", (180.0,), (4000.0,)).describe()
        '1 channel, uint16, 180 to 4000'
        """
        unit = "channel" if self.channels == 1 else "channels"
        lows, highs = ("/".join(f"{v:g}" for v in vs) for vs in (self.low, self.high))
        return f"{self.channels} {unit}, {self.dtype}, {lows} to {highs}"

    @property
    def is_common_scale(self) -> bool:
        """Whether pixels are on the scale from 0 to 255 already, and cannot be beyond it."""
        return (self.dtype, self.low, self.high) == ("uint8", (0.0,), (255.0,))

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """`low` and `multiply`, (C,) float32 each: (pixels - low) * multiply is the common scale.

        In this order, so that numbers far from 0 keep their differences.
        """
        low, high = self._levels()
        return low.astype(np.float32), (255.0 / (high - low)).astype(np.float32)

    def scaled(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels on the common scale; what lies beyond the levels is cut off.

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
        """Pixels for people's eyes, (H, W, 3) uint8: of many channels the first three."""
        shown = pixels[..., :3] if self.channels >= 3 else pixels[..., :1]
        if not self.is_common_scale:
            scaled = self.scaled(pixels)
            shown = np.rint(scaled[..., :3] if self.channels >= 3 else scaled[..., :1])
        photo = shown.astype(np.uint8)
        return np.repeat(photo, 3, axis=2) if photo.shape[2] == 1 else photo

    def accept(self, pixels: np.ndarray, source: str) -> np.ndarray:
        """Brings a picture to these channels and this type, where its numbers keep their meaning.

        Grey becomes colour by repetition, colour becomes grey by its luma. 8 and 16 bits go into
        one another so that black stays black and white white.

        Args:
            pixels: (H, W, C) uint8, uint16 or float32.
            source: What to call the picture in an error.

        Raises:
            DataError: Neither is possible.
        """
        return self._accept_type(self._accept_channels(pixels, source), source)

    def accept_numbers(self, pixels: np.ndarray, source: str) -> np.ndarray:
        """As `accept`, of an array that somebody made, of any integer or float type.

        uint8 and uint16 go into one another as in files. Other types hold numbers on the scale of
        the model's own pictures; fractions stay fractions.

        Args:
            pixels: (H, W, C).

        Returns:
            (H, W, C) of the format's channels; of its type, or float32.

        Raises:
            DataError: The channels do not fit, or a number is none that such pictures have.
        """
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise DataError(
                f"{source} has pixels that are no finite numbers; accepted are finite numbers; "
                "fill such pixels before"
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
                    f"{source} has the number {pixels[outside][0]} (at row {row}, column "
                    f"{column}); accepted are numbers from {least:g} to {limits.max:g}, as in the "
                    f"model's {self.dtype} pictures; rescale it"
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
                    "pictures of the set or the model; convert it, or say with --channel-axis "
                    "where its channels are"
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
            "pictures of the set or the model: numbers with and without a largest value cannot be "
            "compared; convert it"
        )


def luma(pixels: np.ndarray) -> np.ndarray:
    """Grey from colour, (H, W, 1) of the same type."""
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
    """The format that suits a set of pictures.

    Args:
        kinds: (channels, dtype) of each picture.
        samples: (n_i, C) pixels of each picture of the training part.
        files: The pictures, to name one in an error.

    Raises:
        DataError: They have nothing in common.
    """
    channels = {count for count, _ in kinds}
    dtypes = {dtype for _, dtype in kinds}
    if len(channels) > 1 and channels != {1, 3}:
        raise DataError(
            f"pictures have {', '.join(map(str, sorted(channels)))} channels"
            f"{_rarest([count for count, _ in kinds], files)}; accepted is one "
            "number for all (grey and colour go together); part them, or say with --channel-axis "
            "where their channels are"
        )
    if len(dtypes) > 1 and "float32" in dtypes:
        raise DataError(
            f"pictures have {', '.join(sorted(dtypes))} pixels"
            f"{_rarest([dtype for _, dtype in kinds], files)}; accepted are whole numbers or "
            "fractions, not both; convert some"
        )
    count = max(channels)
    dtype = dtypes.pop() if len(dtypes) == 1 else "uint16"
    if dtype == "uint8":
        return PixelFormat(count, dtype, channel_axis=channel_axis)
    whole = PixelFormat(count, dtype, (0.0,), (65535.0,), channel_axis)
    pixels = np.concatenate([whole.accept(sample[None], "a picture")[0] for sample in samples])
    low, high = np.percentile(pixels.astype(np.float64), (TAIL, 100 - TAIL), axis=0)
    room = np.where(high > low, ROOM * (high - low), np.maximum(0.5, FLAT_ROOM * np.abs(high)))
    levels = [_rounded(*pair) for pair in zip(low - room, high + room, strict=True)]
    lows, highs = zip(*levels, strict=True)
    return PixelFormat(count, dtype, lows, highs, channel_axis)


def odd_images(kinds: Sequence[tuple[int, str]]) -> dict[int, str]:
    """Places of the few pictures that do not fit the others, and what each has.

    Args:
        kinds: (channels, dtype) of each picture.

    >>> odd_images([(3, "uint8")] * 11 + [(2, "uint8"), (1, "uint8")])
    {11: '2 channels, and most others 3'}
    """
    found: dict[int, str] = {}
    # Grey goes together with colour, and 8 bits with 16.
    for place in _outside([3 if channels == 1 else channels for channels, _ in kinds]):
        usual = Counter(channels for channels, _ in kinds).most_common(1)[0][0]
        found[place] = f"{kinds[place][0]} channels, and most others {usual}"
    for place in _outside([dtype == "float32" for _, dtype in kinds]):
        kind = Counter(dtype for _, dtype in kinds).most_common(1)[0][0]
        found.setdefault(place, f"{kinds[place][1]} pixels, and most others {kind}")
    return found


def _outside(sorts: Sequence[int | bool]) -> list[int]:
    """Places of what is not of the usual sort, if that is a small part of all."""
    usual = Counter(sorts).most_common(1)[0][0]
    others = [place for place, sort in enumerate(sorts) if sort != usual]
    return others if len(others) < MINORITY * len(sorts) else []


def _rounded(low: float, high: float) -> tuple[float, float]:
    """Levels without the digits that mean nothing beside their distance."""
    digits = DIGITS - 1 - floor(log10(high - low))
    return round(float(low), digits), round(float(high), digits)


def _rarest(kinds: Sequence[int] | Sequence[str], files: Sequence[Path]) -> str:
    """An example of the rarest kind, and how many there are of it."""
    if not files:
        return ""
    rarest, count = Counter[int | str](kinds).most_common()[-1]
    example = files[list(kinds).index(rarest)]
    return f" ({count} of {len(kinds)} {rarest}, {example} first)"
