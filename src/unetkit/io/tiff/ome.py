"""OME-XML descriptions of TIFF files: refused where they could harm, and what they measure.

Source: OME-XML schema, June 2016 ("Pixels", "TiffData").
"""

from pathlib import Path
from xml.etree import ElementTree

from unetkit.errors import DataError
from unetkit.io.pixel_size import PixelSize, pixel_size, square_size

LARGEST_DESCRIPTION = 1 << 26  # characters; those of plates with 10,000 images have a tenth
OME_NUMBERS = {"SizeX", "SizeY", "SizeZ", "SizeC", "SizeT", "IFD", "PlaneCount"}
OME_NUMBERS |= {"FirstZ", "FirstC", "FirstT"}
OME_DIGITS = 10  # of a number; SizeX and IFD have 32 bits
USUAL_UNIT = "µm"

# (width, height) of an image -> side of its pixels; None if images of this size differ, or have
# no size, or pixels that are not square.
PixelSizes = dict[tuple[int, int], PixelSize | None]


def read_ome(description: str, path: Path, most_planes: int) -> PixelSizes:
    """Reads the sizes of pixels from a description, and refuses one that tifffile cannot bound.

    Args:
        description: OME-XML.
        path: Path of the file, for errors.
        most_planes: Largest number of planes of an image.

    Returns:
        Pixel sizes by the size of an image.

    Raises:
        DataError: It is too long, declares a document type, is no XML, or has a number that is none
            or too large.
    """
    if len(description) > LARGEST_DESCRIPTION:
        raise _odd(path, f"{len(description):,} characters", f"{LARGEST_DESCRIPTION:,} of them")
    if "<!DOCTYPE" in description or "<!ENTITY" in description:  # they could expand without limit
        raise _odd(path, "a document type", "descriptions without one")
    try:
        root = ElementTree.fromstring(description)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise _odd(path, f"damage ({error})", "well-formed XML") from error
    sizes: PixelSizes = {}
    for element in root.iter():
        name = element.tag.rpartition("}")[2]
        if name not in ("Pixels", "TiffData"):
            continue
        numbers = {key: text for key, text in element.attrib.items() if key in OME_NUMBERS}
        for key, text in numbers.items():
            if not (text.isascii() and text.isdigit() and len(text) <= OME_DIGITS):
                raise _odd(path, f"{key}={text!r:.40}", f"whole numbers of {OME_DIGITS} digits")
        planes = 1
        for key in ("SizeZ", "SizeC", "SizeT"):
            planes *= int(numbers.get(key, 1))
        if planes > most_planes:
            raise _odd(path, f"an image of {planes:,} planes", f"up to {most_planes:,}")
        if name == "Pixels" and {"SizeX", "SizeY"} <= numbers.keys():
            size = int(numbers["SizeX"]), int(numbers["SizeY"])
            side = _side_of(element)
            sizes[size] = side if sizes.get(size, side) == side else None
    return sizes


def _side_of(pixels: ElementTree.Element) -> PixelSize | None:
    sizes = (
        pixel_size(
            pixels.get(f"PhysicalSize{axis}", ""),
            pixels.get(f"PhysicalSize{axis}Unit", USUAL_UNIT),
        )
        for axis in "YX"
    )
    return square_size(*sizes)


def _odd(path: Path, what: str, accepted: str) -> DataError:
    return DataError(
        f"{path} has an OME-XML description with {what}; accepted are {accepted}; save it again"
    )
