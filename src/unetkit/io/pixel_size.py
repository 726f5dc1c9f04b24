"""Physical sizes of pixels: from an option, or from the tags of a TIFF file."""

import math
import re
from dataclasses import dataclass
from typing import Any

from unetkit.errors import ConfigError

# Units, and how they are written in options and files.
LENGTH_UNITS = {
    "nm": ("nm", "nanometer", "nanometre"),
    "um": ("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "\\u00b5m"),
    "mm": ("mm", "millimeter", "millimetre"),
    "cm": ("cm", "centimeter", "centimetre"),
    "m": ("m", "meter", "metre"),
}
_WRITTEN = re.compile(r"\s*([0-9.eE+-]+)\s*(\S+)\s*")
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_CENTIMETRE = 3
_SAME = 1e-3  # relative difference of rows and columns
MICROMETRES = 1e4  # in a centimetre


@dataclass(frozen=True)
class PixelSize:
    """Side of a square pixel.

    Args:
        side: Its length, above 0.
        unit: "nm", "um", "mm", "cm" or "m".
    """

    side: float
    unit: str


def pixel_size(side: str, unit: str) -> PixelSize | None:
    """A size from a number and a unit as files write them; None if they are no such size.

    >>> pixel_size("0.65", "µm")
    PixelSize(side=0.65, unit='um')
    """
    number, known = _number(side), _unit(unit)
    return PixelSize(number, known) if number is not None and known is not None else None


def square_size(rows: PixelSize | None, columns: PixelSize | None) -> PixelSize | None:
    """The size of a pixel, from those along rows and columns; None if it is not square."""
    if rows is None or columns is None or rows.unit != columns.unit:
        return None
    return columns if math.isclose(rows.side, columns.side, rel_tol=_SAME) else None


def parse_pixel_size(text: str) -> PixelSize:
    """Reads a size such as "0.65um".

    Raises:
        ConfigError: The text is not a number above 0 and a unit.

    >>> parse_pixel_size("0.65 µm")
    PixelSize(side=0.65, unit='um')
    """
    match = _WRITTEN.fullmatch(text)
    size = pixel_size(match[1], match[2]) if match else None
    if size is None:
        raise ConfigError(
            f"--pixel-size is {text!r}; accepted are a number above 0 and a unit, "
            f"{', '.join(LENGTH_UNITS)}; use for example 0.65um"
        )
    return size


def pixel_size_of_tiff(page: Any) -> PixelSize | None:
    """The size of the pixels that a page of a TIFF file has by its resolution.

    ImageJ writes pixels per unit, with the unit in the description; other programs pixels per
    centimetre. Pixels per inch are those of printing, and tell nothing about what is shown.

    Args:
        page: Page of tifffile.

    Returns:
        The size; None if the file has none, or other ones along rows and columns.
    """
    per_unit = [_resolution(page, code) for code in (_X_RESOLUTION, _Y_RESOLUTION)]
    if None in per_unit or not math.isclose(*per_unit, rel_tol=_SAME):  # type: ignore[arg-type]
        return None
    side = 1 / per_unit[0]  # type: ignore[operator]
    description = str(getattr(page, "description", "") or "")
    if description.startswith("ImageJ="):
        written = re.search(r"^unit=(.{1,20})$", description, flags=re.MULTILINE)
        unit = _unit(written[1].strip()) if written else None
        return PixelSize(side, unit) if unit else None
    tag = page.tags.get(_RESOLUTION_UNIT)
    if tag is not None and tag.value == _CENTIMETRE:
        return PixelSize(side * MICROMETRES, "um")
    return None


def _resolution(page: Any, code: int) -> float | None:
    tag = page.tags.get(code)
    value = getattr(tag, "value", None)
    if not isinstance(value, tuple) or len(value) != 2 or not all(value):
        return None
    found = float(value[0]) / float(value[1])
    return found if 0 < found < math.inf else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def _unit(text: str) -> str | None:
    for unit, words in LENGTH_UNITS.items():
        if text.lower() in words:
            return unit
    return None
