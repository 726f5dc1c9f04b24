"""Read pictures and masks from files, the same way for training, evaluation and prediction.

What a pixel value means follows from the file's type alone, never from the picture's own maximum.
A file that cannot be read whole is refused by its name.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from unetkit.classes import Classes
from unetkit.errors import ConfigError, DataError, DataNotFoundError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")


def read_image(path: str | Path, channels: int = 3) -> np.ndarray:
    """Reads a picture, upright as its EXIF tag says, as grey or RGB.

    Args:
        channels: 1 for grey, 3 for RGB.

    Returns:
        (H, W, channels) uint8. 16-bit grey keeps its upper 8 bits, whatever its brightest pixel.

    Raises:
        DataNotFoundError, DataError: The file is absent, no picture, truncated or too large.
    """
    if channels not in (1, 3):
        raise ConfigError(
            f"channels is {channels}; pictures are read with 1 (grey) or 3 (RGB); choose either"
        )
    picture = _open_picture(path)
    if picture.mode in ("I", "F"):
        raise DataError(
            f"{path} has 32-bit pixels ({picture.mode}); accepted are 8 and 16 bits a channel; "
            "convert it"
        )
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I;16"):
        # What is white depends on the type alone: the same grey always means the same light.
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    array = np.asarray(upright.convert("L" if channels == 1 else "RGB"))
    return array.reshape(*array.shape[:2], channels)


def read_mask_values(path: str | Path) -> np.ndarray:
    """Reads a mask's own integers, before they become class indices.

    Returns:
        (H, W) uint8, uint16 or int32.

    Raises:
        DataNotFoundError, DataError: The file is absent, no picture, truncated, of a lossy format,
            or has several channels.
    """
    picture = _open_picture(path)
    if picture.format == "JPEG":
        raise DataError(
            f"mask {path} is a JPEG, whose compression changes class values; accepted are PNG, "
            "TIFF and BMP; save the mask in one of these from its source"
        )
    if picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise DataError(
            f"mask {path} has {len(picture.getbands())} channels ({picture.mode}); accepted is one "
            "integer a pixel (grey or palette); convert its colours to class numbers"
        )
    array = np.asarray(picture)
    return array.astype(np.uint8) if array.dtype == bool else array


def read_mask(path: str | Path, classes: Classes) -> np.ndarray:
    """Reads a mask as class indices.

    Returns:
        (H, W) uint8 in [0, K).

    Raises:
        DataNotFoundError, DataError: As `read_mask_values`, or a value stands for no class.
    """
    values = read_mask_values(path)
    indices = np.full(values.shape, 255, np.uint8)
    for index, value in enumerate(classes.values):
        indices[values == value] = index
    strange = np.unique(values[indices == 255])
    if strange.size:
        row, column = np.argwhere(values == strange[0])[0]
        raise DataError(
            f"mask {path} has the value {strange[0]} (at row {row}, column {column}); accepted are "
            f"{classes.describe()}; correct the mask or the classes"
        )
    return indices


def _open_picture(path: str | Path) -> Image.Image:
    """Decodes a picture whole, so that damage shows here and nowhere else."""
    try:
        with Image.open(path) as picture:
            picture.getexif()  # kept with the picture once the file is closed
            picture.load()
            return picture
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"picture {path} does not exist; accepted is an image file; check the path"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not a picture that can be read; accepted are "
            f"{', '.join(s.lstrip('.') for s in IMAGE_SUFFIXES)}; replace or remove it"
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path} is too large ({error}); accepted are pictures of up to "
            f"{2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; cut it into parts"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read whole ({error}); accepted are undamaged pictures; replace or "
            "remove it"
        ) from error


def read_header(path: Path) -> tuple[tuple[int, int], bool]:
    """(height, width) of a picture as displayed, and whether it is grey, without decoding it.

    Raises:
        DataNotFoundError, DataError: As `read_image`.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            swapped = picture.getexif().get(0x0112, 1) >= 5  # EXIF orientations that swap the axes
            if swapped and picture.format != "TIFF":  # of which Pillow has swapped the size already
                width, height = height, width
            return (height, width), picture.mode in ("1", "L", "LA", "I;16", "I;16B")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        _open_picture(path)  # names what is wrong with it
        raise
