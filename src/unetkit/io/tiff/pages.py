"""Find the images of a TIFF file: which pages, samples and axes make up each.

A TIFF holds pages; how they belong together is in its tags or nowhere. Channels are what the file
calls channels (samples of a pixel, or an axis C in OME or ImageJ metadata); other axes make several
images. Where a file has no metadata, its pages are several images, unless the caller asks for one:
`page=None` takes them for the channels of one image.

tifffile reads the structure. `planes` and `segments` read pixels; `reader` reads images.

Listing the pages of a stack takes long, so the structure is kept for the next page that is read;
the file itself is closed each time.
"""

import ctypes
import itertools
import logging
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import tifffile
from PIL import Image

from unetkit.errors import DataError, DataNotFoundError, is_full_disk
from unetkit.io.tiff.file_bytes import OpenFile
from unetkit.io.tiff.ome import PixelSizes, read_ome
from unetkit.io.tiff.segments import COLOUR, JPEG, JPEG_2000, JPEG_XL, LERC, PALETTE, WEBP
from unetkit.io.tiff.structure import require_whole_structure

MAX_PAGES = 10_000  # beyond, pages of many sizes would be sorted for minutes
FEW_CHANNELS = 16  # a last axis of up to this size is channels if the others are much longer
LOSSY = {6, LERC, *JPEG, *JPEG_2000, *WEBP, *JPEG_XL}
ALPHA = {1, 2}  # values of the ExtraSamples tag
TRANSPARENCY_MASK = 4  # a bit of the NewSubfileType tag
WHITE_IS_ZERO = 0  # a photometric interpretation
GREY_LEVELS = (WHITE_IS_ZERO, 1)  # photometric interpretations
ORIENTATION = 274  # the tag
NDPI, NDPI_TAG = ".ndpi", 65420  # suffix of Hamamatsu's slides, and a tag that all of them have
KEPT_STACKS = 8  # of images and of masks, for each of four readers

# Libraries also print what they then raise; users would see it in their terminals.
warnings.filterwarnings("ignore", module=r"tifffile\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False
with suppress(AttributeError, OSError):  # a statically linked libtiff without symbols still prints
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)  # of Pillow's own copy of libtiff


@dataclass(frozen=True)
class Plane:
    """Where some channels of an image are stored.

    Args:
        series: Series of tifffile.
        page: Number of the page in the series, or of the plane in an array that is read as a whole;
            None for all of it.
        is_array: Whether the series is read as one array.
    """

    series: Any
    page: int | None
    is_array: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of a plane of an array, in the order of its axes."""
        has_samples = self.page is None or self.series.axes.endswith(("SYX", "YXS"))
        return self.series.shape[-3:] if has_samples else self.series.shape[-2:]


@dataclass(frozen=True, eq=False)
class Pages:
    """The structure of an open TIFF file; for one thread at a time.

    Args:
        key: The path, the version of the file, and the channel axis that was given.
        file: The open file.
        images: The planes of each image.
        mask: The page that says where the only image has data; None if there is none.
        pixel_sizes: Sizes of pixels that an OME-XML description states.
    """

    key: tuple[object, ...]
    file: OpenFile
    images: list[list[Plane]]
    mask: Plane | None = None
    pixel_sizes: PixelSizes = field(default_factory=dict)

    def of_mask(self) -> "Pages":
        """The structure with the mask as its only image."""
        if self.mask is None:
            raise ValueError("the file has no mask")
        return Pages(self.key, self.file, [[self.mask]])

    def choose(self, path: Path, page: int | None) -> tuple[list[Plane], int]:
        """Returns the planes of an image, and the number of images counted in that way.

        Args:
            path: Path of the file, for errors.
            page: Number of the image from 0; None for the only one, or for all pages as channels.

        Raises:
            DataError: There is no such image, or it would have too many channels.
        """
        images = self.images
        if page is None and len(images) > 1:
            if len(images) > FEW_CHANNELS:
                raise DataError(
                    f"{path} has {len(images)} pages; accepted as one image are up to "
                    f"{FEW_CHANNELS}, which are then its channels; name a page, or split the file"
                )
            images = [[plane for planes in images for plane in planes]]
        index = page or 0
        if not 0 <= index < len(images):
            raise DataError(f"{path} has no page {index}; accepted are 0 to {len(images) - 1}")
        return images[index], len(images)


_stacks: list[Pages] = []  # those whose file is closed, the latest last
_lock = threading.Lock()


def open_pages(path: Path, file: OpenFile, channel_axis: str = "auto") -> Pages:
    """Finds the images of an open file, or recalls them.

    Args:
        path: Path of the file.
        file: The open file.
        channel_axis: "auto" for what the file says, or "first" or "last" where it says nothing.

    Raises:
        DataError: The structure is damaged, or has too many pages.
    """
    with reading_errors(path):
        key = (path, file.version, channel_axis)
        pages = _recall(key)
        if pages is not None:
            pages.file.adopt(file)
            return pages
        file.seek(0)
        # OME metadata may name other files, which are not opened.
        is_plain = path.suffix.lower() == NDPI and not _has_ndpi(file)
        file.seek(0)
        flags: dict[str, Any] = {"is_ndpi": False} if is_plain else {}
        tif = tifffile.TiffFile(cast(IO[bytes], file), _multifile=False, **flags)
        if not tif.is_ndpi:  # whose offsets have another size
            require_whole_structure(file, MAX_PAGES)
        _require_few_pages(tif, path)
        # tifffile would list all pages that the metadata claim, whether they exist or not.
        description = tif.ome_metadata
        pixel_sizes = read_ome(description, path, MAX_PAGES) if description else {}
        images = _list_images(tif, path, channel_axis)
        return Pages(key, file, images, _find_mask(tif, images), pixel_sizes)


def _has_ndpi(file: OpenFile) -> bool:
    """Whether a file is one of Hamamatsu's slides: a classic TIFF, but with 64-bit offsets.

    tifffile takes every .ndpi file for one; other programs write plain TIFF under that name.
    """
    file.seek(4)
    start = int.from_bytes(file.read(8), "little")
    if not 0 < start < file.size:
        return False
    file.seek(start)
    tags = file.read(12 * int.from_bytes(file.read(2), "little"))
    codes = (int.from_bytes(tags[at : at + 2], "little") for at in range(0, len(tags), 12))
    return NDPI_TAG in codes


def keep_pages(pages: Pages) -> None:
    """Keeps the structure of a stack that was closed for the next time it is opened."""
    pages.file.close()
    if len(pages.images) > 1:
        with _lock:
            _stacks.append(pages)
            del _stacks[:-KEPT_STACKS]


def forget_stacks() -> None:
    """Frees the structures of stacks that are kept; their files are closed already."""
    with _lock:
        _stacks.clear()


@contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """Converts whatever the libraries raise for a damaged file to one error.

    Raises:
        DataNotFoundError, DataError: The file is gone, damaged, or larger than memory.
        OSError: The disk of temporary files is full.
    """
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataNotFoundError(f"image {path} does not exist any more; restore it") from error
    except MemoryError as error:
        raise DataError(
            f"{path} does not fit into memory; accepted are smaller images; cut it into pieces"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and is_full_disk(error):
            raise
        # tifffile lets through whatever a wrong number leads to
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(
            f"{path} cannot be read whole ({reason}); accepted are undamaged TIFF files; replace "
            "or remove it"
        ) from error


def _recall(key: tuple[object, ...]) -> Pages | None:
    with _lock:
        for place, pages in enumerate(_stacks):
            if pages.key == key:
                return _stacks.pop(place)
    return None


def _list_images(tif: tifffile.TiffFile, path: Path, channel_axis: str) -> list[list[Plane]]:
    """The images of a file, each as the planes whose channels make it up."""
    if len(tif.pages) and tif.pages.first.dtype is None:
        raise DataError(
            f"{path} has {tif.pages.first.bitspersample} bits a sample of an unknown kind; "
            "accepted are integers and floats; save it again"
        )
    series = list(tif.series)
    if not series:
        raise DataError(f"{path} holds no image; accepted is a TIFF with one; replace it")
    if series[0].kind not in ("generic", "uniform", "shaped"):
        series = series[:1]  # the others are thumbnails, labels and overviews
    images: list[list[Plane]] = []
    for one in series:
        if images and (one.keyframe.is_reduced or _is_mask(one.keyframe)):
            continue
        images += _images_of(one, path, channel_axis)
    is_one_page = series[0].kind in ("generic", "uniform")
    if (tif.is_imagej and is_one_page) or _is_cut(series[0], tif.filehandle.size):
        # tifffile takes the first page of a stack that is not whole for all of it.
        raise OSError("it does not hold all images that its description names")
    if series[0].kind == "generic":  # pages of many kinds, which tifffile sorts by kind
        images.sort(key=lambda planes: planes[0].series.pages[planes[0].page or 0].index)
    return images


def _is_mask(page: Any) -> bool:
    """Whether a page says where another one has data (bit 2 of NewSubfileType)."""
    return bool(int(page.subfiletype or 0) & TRANSPARENCY_MASK)


def _find_mask(tif: tifffile.TiffFile, images: list[list[Plane]]) -> Plane | None:
    """The page that says where the only image has data, of its size; None if there is none.

    Source: TIFF 6.0, NewSubfileType and PhotometricInterpretation 4; GDAL, "Internal nodata masks".
    """
    if len(images) != 1 or len(images[0]) != 1:
        return None
    size = images[0][0].series.keyframe.shape[:2]
    for series in tif.series:
        page = series.keyframe
        if _is_mask(page) and not page.is_reduced and page.shape == size and series.ndim == 2:
            return Plane(series, 0)
    return None


def _is_cut(series: Any, size: int) -> bool:
    """Whether pages without tags, which follow one another, go on beyond the end of the file."""
    if series.dataoffset is None or series.size <= series.keyframe.size:
        return False
    return bool(series.dataoffset + series.nbytes > size)


def _require_few_pages(tif: tifffile.TiffFile, path: Path) -> None:
    """Refuses too many pages, without visiting all of them: they may form a circle."""
    try:
        tif.pages[MAX_PAGES]
    except IndexError:
        pass
    else:
        raise _too_many_pages(path)


def _too_many_pages(path: Path) -> DataError:
    return DataError(
        f"{path} has more than {MAX_PAGES} pages, or pages in a circle; accepted are fewer; split "
        "the file, or replace it"
    )


def _images_of(series: Any, path: Path, channel_axis: str) -> list[list[Plane]]:
    axes, shape = series.axes, series.shape
    if 0 in shape:
        raise DataError(
            f"{path} has no pixels (sizes {shape}); accepted is one or more; replace it"
        )
    plane = next((end for end in ("SYX", "YXS", "YX") if axes.endswith(end)), None)
    if plane is None:
        raise DataError(
            f"{path} has the axes {axes} of sizes {shape}; accepted are those that end in rows and "
            "columns; save it in another order"
        )
    lead = list(zip(axes, shape, strict=True))[: len(axes) - len(plane)]
    expected = math.prod(size for _, size in lead)
    if plane == "YX" and len(lead) == 1 and lead[0][0] in "QI":
        short = shape[2] <= FEW_CHANNELS and min(shape[:2]) >= 2 * FEW_CHANNELS
        if channel_axis == "last" or (channel_axis == "auto" and short):
            return [[Plane(series, None, is_array=True)]]
    is_channel = [
        letter == "C" or (channel_axis == "first" and len(lead) == 1) for letter, _ in lead
    ]
    if expected > MAX_PAGES:
        raise _too_many_pages(path)
    is_array = len(series.pages) != expected  # one page's tags may stand for many pages
    images: dict[tuple[int, ...], list[Plane]] = {}
    for page, place in enumerate(itertools.product(*(range(size) for _, size in lead))):
        key = tuple(i for i, inner in zip(place, is_channel, strict=True) if not inner)
        images.setdefault(key, []).append(Plane(series, page, is_array))
    return list(images.values())


def orientation_of(keyframe: Any) -> int:
    """EXIF orientation, 1 to 8; 1 where the file has another value."""
    orientation = keyframe.tags.valueof(ORIENTATION, default=1)
    return orientation if orientation in range(1, 9) else 1


def turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an image upright.

    Source: EXIF 2.3, tag 0x0112: where the first row and the first column belong.
    """
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def black_is_zero(array: np.ndarray, photometric: int) -> np.ndarray:
    """Inverts grey values where 0 is white in the file."""
    if photometric != WHITE_IS_ZERO or array.dtype.kind not in "bu":
        return array
    return ~array  # of bits and unsigned integers: the difference from the largest one


def palette_of(path: Path, keyframe: Any) -> np.ndarray | None:
    """Colours of the indices, (n, 3) uint8; None where pixels are not indices.

    Raises:
        DataError: Pixels are indices, and there are no colours.
    """
    if int(keyframe.photometric) != PALETTE:
        return None
    colours = np.asarray(() if keyframe.colormap is None else keyframe.colormap)
    if colours.ndim != 2 or len(colours) != 3:
        raise DataError(
            f"{path} has a palette of shape {colours.shape}; accepted are three rows of colours; "
            "replace it"
        )
    return (colours.T >> 8).astype(np.uint8)


def has_alpha(keyframe: Any, channels: int) -> bool:
    """Whether the last channel is opacity: the file calls it so, or it is the fourth of colours."""
    extra = keyframe.extrasamples
    colours = 3 if int(keyframe.photometric) == COLOUR else 1
    if not extra:
        return colours == 3 and channels == 4
    return channels == colours + 1 and int(extra[-1]) in ALPHA
