"""Read masks as class indices or objects: images of integers or colours, and polygon files.

Files are read as they are; what their values mean is in `classes`. Nothing is guessed here: a
value that is no class is refused with its position.
"""

import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from unetkit.data.annotations import formats
from unetkit.data.annotations.documents import at
from unetkit.data.annotations.polygons import (
    ImageAnnotation,
    Shape,
    encode_run_lengths,
    rasterise,
    rasterise_instances,
)
from unetkit.data.classes import Classes
from unetkit.data.colours import LOSSY_TOLERANCE, TOLERANCE, nearest_colours
from unetkit.data.labels import (
    BACKGROUND,
    OBJECT,
    UNCLASSIFIED,
    is_background_label,
    is_ignore_label,
)
from unetkit.data.scale import IGNORE
from unetkit.errors import DataError
from unetkit.io.decoding import IMAGE_SUFFIXES, DecodedImage
from unetkit.io.images import ImageFile
from unetkit.io.parts import Block, read_part

MASK_SUFFIXES = (*IMAGE_SUFFIXES, *formats.ANNOTATION_SUFFIXES)
MOST_LABEL = 63  # of a stack that looks like a colour image; colours are brighter
GREY = 0x010101  # factor from a grey value to its colour, 0xRRGGBB


@dataclass(frozen=True)
class MaskPart:
    """One of several mask files of an image.

    Args:
        path: Path of the file, which has 0 outside and one other value inside.
        label: Name of the class, or OBJECT.
    """

    path: Path
    label: str


@dataclass(frozen=True)
class MaskSource:
    """Location of the mask of one image.

    Args:
        path: Path of a mask image, or of a polygon file.
        page: Index of the page in a file of several pages; None for a file of one.
        image: File name of the image, which finds its polygons in a file of many images.
        parts: Files of a mask that consists of several; empty if `path` is all of it.
        is_alpha: Whether the opacity of the file is the mask.
        block: The part of the mask that is read; None for all of it.
        runs: Order ("column" or "row") and number of the first pixel of run lengths that do not
            say it; None for other masks.
    """

    path: Path
    page: int | None = None
    image: str = ""
    parts: tuple[MaskPart, ...] = ()
    is_alpha: bool = False
    block: Block | None = None
    runs: tuple[str, int] | None = None

    @property
    def has_shapes(self) -> bool:
        """Whether the mask is read as shapes: a polygon file, or several files."""
        return bool(self.parts) or self.path.suffix.lower() in formats.ANNOTATION_SUFFIXES


@dataclass(frozen=True)
class RawMask:
    """Pixel values of a mask image.

    Args:
        values: Values, (H, W), integers as the file stores them; 0xRRGGBB if `is_colour`.
        is_colour: Whether the three channels differ in any pixel.
        is_lossy: Whether the compression of the file changes values.
        palette: Colours of a palette image, (n, 3) uint8, or None.
        missing: Where a GeoTIFF declares a value other than 0 to be no data, (H, W) bool; None if
            nowhere.
        is_zero_nodata: Whether a GeoTIFF declares 0 to be no data; whether it is the background,
            too, depends on the classes.
    """

    values: np.ndarray
    is_colour: bool
    is_lossy: bool
    palette: np.ndarray | None
    missing: np.ndarray | None = None
    is_zero_nodata: bool = False


def read_raw_mask(
    file: ImageFile | str | Path,
    page: int | None = None,
    is_alpha: bool = False,
    block: Block | None = None,
) -> RawMask:
    """Reads the integers or colours of a mask image.

    Args:
        file: Open file of the mask image; or its path, which is opened and closed.
        page: Index of the page in a file of several pages; None for a file of one.
        is_alpha: Whether the opacity of the file is the mask.
        block: The part of the mask that is read; None for all of it.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The file is damaged or not an image, its pixels are neither whole numbers nor
            8-bit colours, some are transparent, or opacity is wanted and the file has none.
    """
    if not isinstance(file, ImageFile):
        with ImageFile(file, role="mask") as opened:
            return read_raw_mask(opened, page, is_alpha, block)
    path, image = file.path, read_part(file, page, block, as_stored=True)
    if is_alpha:
        if image.alpha is None:
            raise DataError(
                f"mask {path} has no opacity, which is taken as the mask; accepted are files with "
                "an alpha channel; leave out --alpha-masks, or save it as PNG with transparency"
            )
        return RawMask(_whole_numbers(image.alpha, path), False, image.is_lossy, None)
    indices = _from_one_hot(image)
    if indices is None:
        _require_no_stack(image, path)
    _require_opaque(image, path)
    if indices is not None:
        return RawMask(indices, False, image.is_lossy, None)
    bands, missing = image.bands, image.missing
    is_zero_nodata = image.nodata == 0
    if is_zero_nodata:
        missing = image.gaps
    if missing is not None and not missing.any():
        missing = None
    if missing is not None and bands.dtype.kind == "f":
        bands = np.where(missing[..., None], 0, bands)
    if bands.shape[2] == 3 and bands.dtype == np.uint8:
        is_colour = not (bands == bands[..., :1]).all()
        values = _pack(bands) if is_colour else bands[..., 0]
        return RawMask(values, is_colour, image.is_lossy, None, missing, is_zero_nodata)
    if bands.shape[2] == 3 and (bands == bands[..., :1]).all():  # grey in three channels
        bands = bands[..., :1]
    if bands.shape[2] != 1:
        raise DataError(
            f"mask {path} has {bands.shape[2]} channels of {bands.dtype}{_not_one_hot(bands)}; "
            "accepted is one integer per pixel, 8-bit colours, or one channel per class of which "
            "one is set in each pixel; save the mask in one channel"
        )
    values = _whole_numbers(bands[..., 0], path)
    return RawMask(values, False, image.is_lossy, image.palette, missing, is_zero_nodata)


def _from_one_hot(image: DecodedImage) -> np.ndarray | None:
    """Class indices, (H, W), of a mask with a channel per class; None if it is something else.

    An image file of red, green and blue has colours, unless they are 0 and 1.
    """
    bands = image.bands
    if bands.shape[2] < 2 or not (image.is_stack or bands.max() == 1):
        return None
    values = np.unique(bands)
    if len(values) != 2 or values[0] != 0 or (np.count_nonzero(bands, axis=2) != 1).any():
        return None
    return bands.argmax(axis=2).astype(np.uint16 if bands.shape[2] > 256 else np.uint8)


def _not_one_hot(bands: np.ndarray) -> str:
    """How many channels are set in the first pixel in which not exactly one is."""
    counts = np.count_nonzero(bands, axis=2)
    places = np.argwhere(counts != 1)
    if not len(places):
        return ""
    row, column = places[0]
    return f", of which {counts[row, column]} are set at row {row}, column {column}"


def _require_no_stack(image: DecodedImage, path: Path) -> None:
    """Refuses three or four pages of numbers that a writer of TIFF took for colour channels."""
    channels = [image.bands] if image.alpha is None else [image.bands, image.alpha[..., None]]
    pages = np.concatenate(channels, axis=2)
    if image.is_planar and pages.dtype.kind in "ui" and 1 < pages.max() <= MOST_LABEL:
        raise DataError(
            f"mask {path} has {pages.shape[2]} colour channels, one after another, of numbers up "
            f"to {pages.max()}: probably a stack of {pages.shape[2]} pages that was saved as one "
            "colour image; accepted is one page for each image; save each page as a file of its "
            "own, or all as grey levels (tifffile: photometric='minisblack')"
        )


def _require_opaque(image: DecodedImage, path: Path) -> None:
    if image.is_transparent and image.gaps is None:
        raise DataError(
            f"mask {path} has transparent pixels, whose class is unknown; accepted are opaque "
            "masks; use --alpha-masks if the opacity is the mask, or save it without transparency"
        )


def _whole_numbers(values: np.ndarray, path: str | Path) -> np.ndarray:
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        # Checked because infinity is equal to its own floor.
        if not (np.isfinite(values).all() and (values == np.floor(values)).all()):
            raise DataError(
                f"mask {path} has fractions or numbers that are not finite; accepted are whole "
                "numbers; save the mask with one class index per pixel"
            )
    elif values.dtype.kind not in "iu":
        raise DataError(
            f"mask {path} has {values.dtype} pixels; accepted are whole numbers; convert it"
        )
    if values.dtype in (np.uint8, np.uint16):
        return values
    low, high = values.min(), values.max()
    limits = np.iinfo(np.int32)
    if low < limits.min or high > limits.max:
        raise DataError(
            f"mask {path} has values from {low} to {high}; accepted are 0 to {limits.max}; number "
            "classes or objects from 0 up"
        )
    return values.astype(np.int32)


def read_mask(source: MaskSource, classes: Classes, size: tuple[int, int]) -> np.ndarray:
    """Reads a mask as class indices.

    Args:
        source: Location of the mask.
        classes: Classes, and the values or labels that stand for them.
        size: (height, width) of the image or its block, at which polygons are filled.

    Returns:
        (H, W) uint8 in [0, K), or IGNORE.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The mask cannot be read, or has a value or label that is no class.
    """
    if source.has_shapes:
        return _fill_polygons(source, classes, size)
    raw = read_raw_mask(source.path, source.page, source.is_alpha, source.block)
    return _to_indices(raw, classes, source.path)


def _to_indices(raw: RawMask, classes: Classes, path: Path) -> np.ndarray:
    if raw.is_lossy and classes.threshold is None and not classes.blended:
        raise DataError(
            f"mask {path} is a JPEG, or compressed like one, which changes class values; accepted "
            "are PNG, TIFF, BMP and GIF; save the mask in one of these from its source, list the "
            "colours of its classes, or, if it has two classes, set the --threshold between them"
        )
    values = raw.values
    if classes.kind == "colours":
        values = _as_colours(raw, path)
        if classes.blended:
            tolerance = LOSSY_TOLERANCE if raw.is_lossy else TOLERANCE
            values = nearest_colours(values, classes, tolerance)
    elif raw.is_colour and classes.kind != "instances":
        row, column = np.argwhere(values % GREY != 0)[0]
        raise DataError(
            f"mask {path} has colours, #{values[row, column]:06x} at row {row}, column {column}; "
            f"accepted are {classes.describe()}; convert it, or use --kind colours"
        )
    indices = np.full(values.shape, IGNORE, np.uint8)
    if classes.threshold is not None:
        indices[:] = values > classes.threshold
    elif classes.kind == "instances":
        indices[:] = values > 0
    else:
        for index, value in enumerate(classes.values):
            indices[values == value] = index
    unexpected = indices == IGNORE
    if classes.ignore is not None:
        indices[values == classes.ignore] = IGNORE
        unexpected &= values != classes.ignore
    if raw.missing is not None:
        indices[raw.missing] = IGNORE
        unexpected &= ~raw.missing
    unknown = np.argwhere(unexpected)
    if len(unknown):
        row, column = unknown[0]
        raise DataError(
            f"mask {path} has the value {classes.show(values[row, column])} (at row {row}, column "
            f"{column}); accepted are {classes.describe()}; correct the mask or the classes, or "
            f"leave the value out with --ignore '{classes.show(values[row, column])}'"
        )
    return indices


def _as_colours(raw: RawMask, path: Path) -> np.ndarray:
    if raw.is_colour:
        return raw.values
    if raw.palette is None:
        if raw.values.max() > 255:
            raise DataError(
                f"mask {path} has values up to {raw.values.max()}; accepted as colours are 8-bit "
                "ones; convert it, or use --kind classes"
            )
        return raw.values.astype(np.int32) * GREY
    return _pack(raw.palette)[raw.values]


def _pack(colours: np.ndarray) -> np.ndarray:
    """Colours, (..., 3) uint8, as numbers 0xRRGGBB."""
    parts = colours.astype(np.int32)
    return parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2]


def _fill_polygons(source: MaskSource, classes: Classes, size: tuple[int, int]) -> np.ndarray:
    annotation = find_annotation(source)
    background = classes.background or 0
    if classes.kind == "instances":
        objects = fill_objects(annotation, size, classes)
        mask = np.where(objects > 0, np.uint8(1), np.uint8(0))
        mask[objects < 0] = IGNORE
        return mask
    # Indices are filled one higher, so that 0 means a pixel outside all shapes.
    values = {label: index + 1 for label, index in classes.indices_of_labels().items()}
    values |= dict.fromkeys(classes.ignored_labels, IGNORE + 1)
    filled = rasterise(annotation, size, values)
    return np.where(filled == 0, background, filled - 1).astype(np.uint8)


def fill_objects(
    annotation: ImageAnnotation, size: tuple[int, int], classes: Classes | None = None
) -> np.ndarray:
    """Returns the number of the object at each pixel, (H, W) int32.

    Args:
        annotation: Shapes of an image.
        size: (height, width) of the image.
        classes: Classes, whose labels of the background and of ignored pixels are no objects; None
            for the labels that mean these by themselves.

    Returns:
        0 outside all shapes and in those labelled as background, -1 in crowds and in shapes whose
        pixels are ignored.

    Raises:
        DataError: The annotation is of an image of another size.
    """
    labels = {shape.label for shape in annotation.shapes}
    if classes is None:
        erasing = {label for label in labels if is_background_label(label)}
        ignored = {label for label in labels if is_ignore_label(label)} - {UNCLASSIFIED}
    else:
        name = classes.names[classes.background or 0]
        erasing = {BACKGROUND, name} | {k for k, v in classes.aliases.items() if v == name}
        ignored = set(classes.ignored_labels)
    return rasterise_instances(annotation, size, erasing=erasing - ignored, ignored=ignored)


_reading = threading.Lock()


@lru_cache(maxsize=4)
def _annotations(path: Path, stamp: tuple[int, int]) -> dict[str, list[ImageAnnotation]]:
    """Annotations of a file by the image's file name; `stamp` distinguishes versions of it."""
    del stamp
    found: dict[str, list[ImageAnnotation]] = {}
    for annotation in formats.read_annotations(path).annotations:
        name = unicodedata.normalize("NFC", PurePosixPath(annotation.image).name)
        found.setdefault(name, []).append(annotation)
    return found


def find_annotation(source: MaskSource) -> ImageAnnotation:
    """Returns the shapes that a polygon file has for an image, or a shape for each mask file.

    Raises:
        DataNotFoundError: A file does not exist.
        DataError: The file is damaged, has no annotation or several of the image, or shapes of
            the image that cannot be read; or files of different classes overlap.
    """
    if source.parts:
        return _combine(source.parts).cut(source.block)
    try:
        state = source.path.stat()
    except OSError as error:
        raise DataError(
            f"polygon file {source.path} cannot be read ({error.strerror}); accepted is a "
            "readable file; restore it"
        ) from error
    with _reading:  # several threads that need one file of many images read it once
        found = _annotations(source.path, (state.st_mtime_ns, state.st_size))
    name = unicodedata.normalize("NFC", source.image)
    annotations = found.get(name) or found.get(PurePosixPath(name).stem, [])
    if not annotations and len(found) == 1:
        annotations = next(iter(found.values()))  # a file of one image may have an old name for it
    if len(annotations) != 1:
        raise DataError(
            f"{source.path} has {len(annotations)} entries for {source.image}; accepted is one"
        )
    for problem in annotations[0].problems:
        raise DataError(f"{source.path}: {problem}")
    annotation = annotations[0]
    if source.runs is not None:
        with at(f"{source.path}: image {source.image!r}"):
            annotation = annotation.counted(*source.runs)
    return annotation.cut(source.block)


def read_inside(path: Path) -> np.ndarray:
    """Reads one of several mask files of an image.

    Returns:
        (H, W) bool, true where the file is not 0.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The file cannot be read, is a JPEG, or has several values beside 0.
    """
    raw = read_raw_mask(path)
    inside = raw.values != 0
    values = np.unique(raw.values[inside])
    if raw.is_lossy or len(values) > 1:
        seen = "is a JPEG" if raw.is_lossy else f"has the values {values[0]} and {values[1]}"
        raise DataError(
            f"mask {path} {seen}, and is one of several files of its image; accepted are files "
            "with 0 outside and one other value inside; export it again, or choose one file per "
            "image with --masks"
        )
    return inside


def _combine(parts: Sequence[MaskPart]) -> ImageAnnotation:
    """A shape for each file of a mask; objects may overlap, classes may not."""
    first = read_inside(parts[0].path)
    owners = np.zeros(first.shape, np.int32)
    shapes = []
    overlap = 0
    for number, part in enumerate(parts, 1):
        inside = first if number == 1 else read_inside(part.path)
        if inside.shape != first.shape:
            raise DataError(
                f"mask {part.path} is {inside.shape[0]}x{inside.shape[1]} and {parts[0].path} is "
                f"{first.shape[0]}x{first.shape[1]} (height x width); accepted are equal sizes; "
                "draw both on the same image"
            )
        common = inside & (owners > 0)
        overlap += int(common.sum())
        if part.label != OBJECT and common.any():
            row, column = np.argwhere(common)[0]
            other = parts[owners[row, column] - 1]
            raise DataError(
                f"masks {other.path} and {part.path} overlap (at row {row}, column {column}): "
                f"a pixel would be both {other.label!r} and {part.label!r}; accepted is one class "
                "per pixel; remove the overlap, or choose one of the classes with --masks"
            )
        owners[inside] = number
        shapes.append(Shape(part.label, (encode_run_lengths(inside),)))
    source = str(parts[0].path)
    return ImageAnnotation("", first.shape, tuple(shapes), source, overlap=overlap)
