"""Read masks: pictures of integers or colours, and polygon files, as class indices or objects.

What a file holds is read as it is; what it means is in `classes`. Nothing is guessed here: a value
that stands for no class is refused with its place.
"""

import threading
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from unetkit.data.annotations import formats
from unetkit.data.annotations.polygons import Drawing, rasterise, rasterise_instances
from unetkit.data.classes import Classes
from unetkit.data.scale import IGNORE
from unetkit.errors import DataError
from unetkit.io.images import IMAGE_SUFFIXES, DecodedImage, ImageFile

MASK_SUFFIXES = (*IMAGE_SUFFIXES, *formats.ANNOTATION_SUFFIXES)
BACKGROUND = "background"  # label of a polygon that is no object
GREY = 0x010101  # times a grey value: its colour


@dataclass(frozen=True)
class MaskSource:
    """Where the mask of one image is.

    Args:
        path: A picture, or a polygon file.
        page: Number of the picture in a file of several; None for the only one.
        image: Name of the image, by which a file of many images knows it.
    """

    path: Path
    page: int | None = None
    image: str = ""

    @property
    def is_drawn(self) -> bool:
        """Whether it is a polygon file."""
        return self.path.suffix.lower() in formats.ANNOTATION_SUFFIXES


@dataclass(frozen=True)
class RawMask:
    """A mask picture's own numbers.

    Args:
        values: (H, W), integers from 0 up; 0xRRGGBB where `is_colour`.
        is_colour: Whether the three channels differ somewhere.
        is_lossy: Whether the file's compression changes values.
        palette: (n, 3) uint8 of a palette picture, or None.
    """

    values: np.ndarray
    is_colour: bool
    is_lossy: bool
    palette: np.ndarray | None


def read_raw_mask(file: ImageFile | str | Path, page: int | None = None) -> RawMask:
    """Reads a mask image's integers or colours.

    Args:
        file: The open file; or its path, from which it is opened and closed.
        page: As for `ImageFile.read`.

    Raises:
        DataNotFoundError, DataError: The file is absent, no picture or damaged, or its pixels are
            neither whole numbers nor colours, or are partly transparent.
    """
    if not isinstance(file, ImageFile):
        with ImageFile(file) as opened:
            return read_raw_mask(opened, page)
    path, image = file.path, file.read(page)
    _require_opaque(image, path)
    bands = image.bands
    if bands.shape[2] == 3 and bands.dtype == np.uint8:
        is_colour = not (bands == bands[..., :1]).all()
        parts = bands.astype(np.int32)
        colours = parts[..., 0] << 16 | parts[..., 1] << 8 | parts[..., 2]
        values = colours if is_colour else bands[..., 0]
        return RawMask(values, is_colour, image.is_lossy, None)
    if bands.shape[2] != 1:
        raise DataError(
            f"mask {path} has {bands.shape[2]} channels of {bands.dtype}; accepted is one integer "
            "a pixel, or 8-bit colours; save the mask in one channel"
        )
    values = _whole_numbers(bands[..., 0], path)
    return RawMask(values, False, image.is_lossy, image.palette)


def _require_opaque(image: DecodedImage, path: Path) -> None:
    if image.alpha is None:
        return
    full = np.iinfo(image.alpha.dtype).max if image.alpha.dtype.kind in "iu" else 1
    if (image.alpha != full).any():
        raise DataError(
            f"mask {path} has transparent pixels, whose class is unknown; accepted are opaque "
            "masks; save it with a background colour, without transparency"
        )


def _whole_numbers(values: np.ndarray, path: str | Path) -> np.ndarray:
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        # An infinite number is its own floor, and no class.
        if not (np.isfinite(values).all() and (values == np.floor(values)).all()):
            raise DataError(
                f"mask {path} has fractions or numbers that are not finite; accepted are whole "
                "numbers; save the mask with the class of each pixel"
            )
    elif values.dtype.kind not in "iu":
        raise DataError(
            f"mask {path} has {values.dtype} pixels; accepted are whole numbers; convert it"
        )
    if values.dtype in (np.uint8, np.uint16):
        return values
    low, high = values.min(), values.max()
    if low < 0 or high > np.iinfo(np.int32).max:
        raise DataError(
            f"mask {path} has values from {low} to {high}; accepted are 0 to "
            f"{np.iinfo(np.int32).max}; number classes or objects from 0 up"
        )
    return values.astype(np.int32)


def read_mask(source: MaskSource, classes: Classes, size: tuple[int, int]) -> np.ndarray:
    """Reads a mask as class indices.

    Args:
        size: (height, width) of the image; polygons are drawn at it.

    Returns:
        (H, W) uint8 in [0, K), or IGNORE.

    Raises:
        DataNotFoundError, DataError: As `read_raw_mask`, or a value or label stands for no class.
    """
    if source.is_drawn:
        return _draw(source, classes, size)
    return _to_indices(read_raw_mask(source.path, source.page), classes, source.path)


def _to_indices(raw: RawMask, classes: Classes, path: Path) -> np.ndarray:
    if raw.is_lossy and classes.threshold is None:
        raise DataError(
            f"mask {path} is a JPEG, or compressed like one, which changes class values; accepted "
            "are PNG, TIFF, BMP and GIF; save the mask in one of these from its source, or, if it "
            "has two classes, name the --threshold between them"
        )
    values = raw.values
    if classes.kind == "colours":
        values = _as_colours(raw, path)
    elif raw.is_colour:
        row, column = np.argwhere(values % GREY != 0)[0]
        raise DataError(
            f"mask {path} has colours, #{values[row, column]:06x} at row {row}, column {column}; "
            f"accepted are {classes.describe()}; convert it, or say --kind colours"
        )
    indices = np.full(values.shape, IGNORE, np.uint8)
    if classes.threshold is not None:
        indices[:] = values > classes.threshold
    elif classes.kind == "instances":
        indices[:] = values > 0
    else:
        for index, value in enumerate(classes.values):
            indices[values == value] = index
    if classes.ignore is not None:
        indices[values == classes.ignore] = IGNORE
        strange = np.argwhere((indices == IGNORE) & (values != classes.ignore))
    else:
        strange = np.argwhere(indices == IGNORE)
    if len(strange):
        row, column = strange[0]
        raise DataError(
            f"mask {path} has the value {classes.show(values[row, column])} (at row {row}, column "
            f"{column}); accepted are {classes.describe()}; correct the mask, the classes, or name "
            "the value with --ignore"
        )
    return indices


def _as_colours(raw: RawMask, path: Path) -> np.ndarray:
    if raw.is_colour:
        return raw.values
    if raw.palette is None:
        if raw.values.max() > 255:
            raise DataError(
                f"mask {path} has values up to {raw.values.max()}; accepted as colours are 8-bit "
                "ones; convert it, or say --kind classes"
            )
        return raw.values.astype(np.int32) * GREY
    parts = raw.palette.astype(np.int32)
    return (parts[:, 0] << 16 | parts[:, 1] << 8 | parts[:, 2])[raw.values]


def _draw(source: MaskSource, classes: Classes, size: tuple[int, int]) -> np.ndarray:
    drawing = find_drawing(source)
    background = classes.background or 0
    if classes.kind == "instances":
        objects = draw_objects(drawing, size)
        mask = np.where(objects > 0, np.uint8(1), np.uint8(0))
        mask[objects < 0] = IGNORE
        return mask
    # Drawn one higher, so that what nothing is drawn on can be told from the first class.
    values = {label: index + 1 for label, index in classes.indices_of_labels().items()}
    drawn = rasterise(drawing, size, values)
    return np.where(drawn == 0, background, drawn - 1).astype(np.uint8)


def draw_objects(drawing: Drawing, size: tuple[int, int]) -> np.ndarray:
    """(H, W) int32: each object's number, 0 where none is drawn or background is, -1 in crowds."""
    return rasterise_instances(drawing, size, erasing=(BACKGROUND,))


_reading = threading.Lock()


@lru_cache(maxsize=4)
def _drawings(path: Path, stamp: tuple[int, int]) -> dict[str, list[Drawing]]:
    """Drawings of a file by the last part of the image's name; `stamp` tells versions apart."""
    del stamp
    found: dict[str, list[Drawing]] = {}
    for drawing in formats.read_annotations(path).drawings:
        name = unicodedata.normalize("NFC", PurePosixPath(drawing.image).name)
        found.setdefault(name, []).append(drawing)
    return found


def find_drawing(source: MaskSource) -> Drawing:
    """What a polygon file has drawn on the image.

    Raises:
        DataNotFoundError, DataError: The file is absent or damaged, or has two drawings of it.
    """
    try:
        state = source.path.stat()
    except OSError as error:
        raise DataError(
            f"polygon file {source.path} cannot be read ({error.strerror}); accepted is a file "
            "that may be read; restore it"
        ) from error
    with _reading:  # the file of many images is read once, not by each thread that comes first
        found = _drawings(source.path, (state.st_mtime_ns, state.st_size))
    drawings = found.get(unicodedata.normalize("NFC", source.image), [])
    if not drawings and len(found) == 1:
        drawings = next(iter(found.values()))  # the name within a file of one image may be old
    if len(drawings) != 1:
        raise DataError(
            f"{source.path} has {len(drawings)} drawings of {source.image}; accepted is one; "
            "correct the file"
        )
    return drawings[0]
