"""Read TIFF files: stacks, many channels, 16 bits and fractions, whatever microscopes write.

A TIFF holds pages; what they are to one another is in its tags or nowhere. Channels are what the
file calls so (samples of a pixel, or an axis C in OME or ImageJ metadata); other axes make many
pictures. Where a file says nothing, its pages are many pictures, unless the caller knows better:
`frame=None` reads them as the channels of one.

tifffile reads the structure and plain numbers; compressed parts are unpacked in `segments`;
what holds converted colours (JPEG, CMYK) or fax lines is left to Pillow whole. Pictures larger
than memory are read by `tiffwindows`, from the parts that are found here.

Where the pages of a stack are takes long to find, so it is remembered for the next page; the file
itself is closed after each.
"""

import ctypes
import itertools
import logging
import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from unetkit.errors import DataError, DataNotFoundError, is_full_disk
from unetkit.io.tiff.segments import (
    MAX_BYTES,
    PALETTE,
    UNCOMPRESSED,
    is_plain,
    numbers_of,
    put_together,
    refused_codec,
)

MAX_PIXELS = 178_956_970  # Pillow's own bound: what decodes in about half a gigabyte
MAX_PAGES = 10_000  # beyond, pages of many sizes would be sorted for minutes
FEW = 16  # as many numbers along the last axis are channels, if the others are much longer
LOSSY = {6, 7, 33003, 33005, 34712, 34887, 34892, 50001, 50002}  # JPEG, JPEG 2000, LERC, WebP ...
ALPHA = {1, 2}  # values of the ExtraSamples tag
WHITE_IS_ZERO, COLOUR = 0, 2  # photometric interpretations
ORIENTATION = 274  # the tag
REMEMBERED = 8  # stacks: of images and of masks, for each of four readers

# Libraries also print what they then raise, which would reach people's terminals.
warnings.filterwarnings("ignore", module=r"tifffile\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False
with suppress(AttributeError, OSError):  # where it is linked in without names, it keeps printing
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)  # of Pillow's own copy of libtiff


@dataclass(frozen=True)
class Frame:
    """One picture of a TIFF.

    Args:
        array: (H, W, C) of any numerical type, as stored, not yet turned upright.
        palette: (256, 3) uint8, or None.
        has_alpha: Whether the last channel is opacity.
        orientation: EXIF orientation, 1 to 8.
        frames: How many pictures the file holds.
        is_lossy: Whether its compression changes numbers.
    """

    array: np.ndarray
    palette: np.ndarray | None
    has_alpha: bool
    orientation: int
    frames: int
    is_lossy: bool


def count_frames(path: Path, channel_axis: str = "auto") -> int:
    """How many pictures a file holds.

    Raises:
        DataError: It cannot be read.
    """
    with _opened(path, channel_axis) as file:
        return len(file.frames)


def read_frame(path: Path, frame: int | None, channel_axis: str = "auto") -> Frame:
    """Reads one picture.

    Args:
        frame: Its number from 0; None for the only one, or for all pages as channels.
        channel_axis: "auto" for what the file says, or "first" or "last" where it says nothing;
            these two also keep a last channel that the file calls opacity.

    Raises:
        DataError: The file is damaged, too large, or has no such picture.
    """
    with _opened(path, channel_axis) as file:
        parts, frames = choose(file.frames, path, frame)
        found = _read(file.tif, path, parts, frames)
        return found if channel_axis == "auto" else replace(found, has_alpha=False)


def open_file(path: Path, channel_axis: str = "auto") -> "File":
    """Opens a file and finds its pictures; who opens it closes it with `close_file`.

    Raises:
        DataError: It is damaged.
    """
    with reading_errors(path):
        state = path.stat()
        version = (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino)
        key = (path, version, channel_axis)
        file = _recall(key)
        if file is None:
            # Other files that OME metadata may name are none of ours.
            with tifffile.TiffFile(path, _multifile=False) as tif:
                file = File(key, tif, _list_frames(tif, path, channel_axis))
        file.tif.filehandle.open()
        return file


def close_file(file: "File") -> None:
    """Closes a file, and remembers where the pictures of a stack are."""
    file.tif.close()
    if len(file.frames) > 1:
        with _lock:
            _stacks.append(file)
            del _stacks[:-REMEMBERED]


def choose(frames: list[list["Part"]], path: Path, frame: int | None) -> tuple[list["Part"], int]:
    """The parts of the picture that is meant, and how many pictures there are then.

    Raises:
        DataError: There is no such picture, or it would have too many channels.
    """
    if frame is None and len(frames) > 1:
        if len(frames) > FEW:
            raise DataError(
                f"{path} has {len(frames)} pages; accepted as one picture are up to {FEW}, "
                "which are then its channels; name a page, or part the file"
            )
        frames = [[part for parts in frames for part in parts]]
    index = frame or 0
    if not 0 <= index < len(frames):
        raise DataError(
            f"{path} has no page {index}; accepted are 0 to {len(frames) - 1}; correct it"
        )
    return frames[index], len(frames)


def forget_stacks() -> None:
    """Frees what is remembered of the stacks read last; no file is open."""
    with _lock:
        _stacks.clear()


@dataclass(frozen=True)
class Part:
    """Where some channels of a picture are: a page, or a place in an array read as a whole."""

    series: Any
    page: int | None
    whole: bool = False


@dataclass(frozen=True, eq=False)
class File:
    """A file and where its pictures are; for one thread at a time.

    Args:
        key: The path, the version of the file, and how its axes were understood.
        tif: Closed when nobody reads from it.
        frames: The parts of each picture.
    """

    key: tuple[object, ...]
    tif: tifffile.TiffFile
    frames: list[list[Part]]


_stacks: list[File] = []  # those that nobody reads from now, the latest last
_lock = threading.Lock()


@contextmanager
def _opened(path: Path, channel_axis: str) -> Iterator[File]:
    """Opens a file, or one whose pictures are remembered."""
    with reading_errors(path):
        file = open_file(path, channel_axis)
        with file.tif:
            yield file
        close_file(file)


@contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """Whatever a damaged file makes the libraries stumble over becomes one error.

    Raises:
        DataNotFoundError, DataError: The file is gone, damaged, or larger than memory.
        OSError: The disk is full that something is unpacked to.
    """
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"picture {path} does not exist any more; accepted is an image file; restore it"
        ) from error
    except MemoryError as error:
        raise DataError(
            f"{path} does not fit into memory; accepted are smaller pictures; cut it into parts"
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and is_full_disk(error):
            raise  # of what is unpacked into a temporary file
        # tifffile lets through whatever a wrong number leads to
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(
            f"{path} cannot be read whole ({reason}); accepted are undamaged TIFF files; replace "
            "or remove it"
        ) from error


def _recall(key: tuple[object, ...]) -> File | None:
    with _lock:
        for place, file in enumerate(_stacks):
            if file.key == key:
                return _stacks.pop(place)
    return None


def _list_frames(tif: tifffile.TiffFile, path: Path, channel_axis: str) -> list[list[Part]]:
    """The pictures of a file, each as the parts whose channels make it up."""
    _require_few_pages(tif, path)
    if len(tif.pages) and tif.pages.first.dtype is None:
        raise DataError(
            f"{path} has {tif.pages.first.bitspersample} bits a sample of an unknown kind; "
            "accepted are whole numbers and fractions; save it again"
        )
    series = list(tif.series)
    if not series:
        raise DataError(f"{path} holds no picture; accepted is a TIFF with one; replace it")
    if series[0].kind not in ("generic", "uniform", "shaped"):
        series = series[:1]  # what follows are thumbnails, labels, overviews
    frames: list[list[Part]] = []
    for one in series:
        if one.keyframe.is_reduced and frames:
            continue
        frames += _frames_of(one, path, channel_axis)
    if series[0].kind == "generic":  # pages of many kinds, which the library sorts by kind
        frames.sort(key=lambda parts: parts[0].series.pages[parts[0].page or 0].index)
    return frames


def _require_few_pages(tif: tifffile.TiffFile, path: Path) -> None:
    """Refuses too many pages, without walking all of them: they may lead in a circle."""
    try:
        tif.pages[MAX_PAGES]
    except IndexError:
        pass
    else:
        raise _too_many_pages(path)
    # What the metadata claim would be listed before anybody looks whether it is there.
    for pixels in re.findall(r"<(?:\w+:)?Pixels\b[^>]*", tif.ome_metadata or ""):
        sizes = re.findall(r"\bSize[ZCT]\s*=\s*[\"'](\d{1,18})", pixels)
        if math.prod(map(int, sizes)) > MAX_PAGES:
            raise _too_many_pages(path)


def _too_many_pages(path: Path) -> DataError:
    return DataError(
        f"{path} has more than {MAX_PAGES} pages, or pages in a circle; accepted are fewer; part "
        "the file, or replace it"
    )


def _frames_of(series: Any, path: Path, channel_axis: str) -> list[list[Part]]:
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
        short = shape[2] <= FEW and min(shape[:2]) >= 2 * FEW
        if channel_axis == "last" or (channel_axis == "auto" and short):
            return [[Part(series, None, whole=True)]]
    is_channel = [
        letter == "C" or (channel_axis == "first" and len(lead) == 1) for letter, _ in lead
    ]
    if expected > MAX_PAGES:
        raise _too_many_pages(path)
    whole = len(series.pages) != expected  # one page's tags may stand for many
    pictures: dict[tuple[int, ...], list[Part]] = {}
    for page, place in enumerate(itertools.product(*(range(size) for _, size in lead))):
        key = tuple(i for i, inner in zip(place, is_channel, strict=True) if not inner)
        pictures.setdefault(key, []).append(Part(series, page, whole))
    return list(pictures.values())


def _read(tif: tifffile.TiffFile, path: Path, parts: list[Part], frames: int) -> Frame:
    keyframe = parts[0].series.keyframe
    sizes = [int(np.prod(plane_shape(part))) if part.whole else keyframe.size for part in parts]
    pixels = keyframe.imagelength * keyframe.imagewidth
    total = sum(sizes) * keyframe.dtype.itemsize
    if pixels > MAX_PIXELS or total > MAX_BYTES:
        raise DataError(
            f"{path} is too large ({keyframe.imagelength}x{keyframe.imagewidth} pixels, "
            f"{total:,} bytes); accepted are pictures of up to {MAX_PIXELS:,} pixels and "
            f"{MAX_BYTES:,} bytes; cut it into parts"
        )
    read = [_read_part(tif, path, part) for part in parts]
    array = read[0][0] if len(read) == 1 else np.concatenate([part for part, _ in read], axis=2)
    orientation = 1 if read[0][1] else orientation_of(keyframe)
    palette = palette_of(path, keyframe)
    if palette is not None and array.dtype == bool:
        array = array.view(np.uint8)
    return Frame(
        array if read[0][1] else black_is_zero(array, int(keyframe.photometric)),
        palette,
        len(parts) == 1 and has_alpha(keyframe, array.shape[2]),
        orientation,
        frames,
        int(keyframe.compression) in LOSSY,
    )


def orientation_of(keyframe: Any) -> int:
    """EXIF orientation, 1 to 8; 1 where the file says something else."""
    orientation = keyframe.tags.valueof(ORIENTATION, default=1)
    return orientation if orientation in range(1, 9) else 1


def turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """Upright, from how the camera was held.

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
    """Grey with white as its largest number, where a file has it as 0."""
    if photometric != WHITE_IS_ZERO or array.dtype.kind not in "bu":
        return array
    return ~array  # of bits or unsigned numbers: what is missing to the largest one


def palette_of(path: Path, keyframe: Any) -> np.ndarray | None:
    """Colours of the indices, (n, 3) uint8; None where numbers are no indices.

    Raises:
        DataError: There are none.
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
    """Whether the last channel is opacity: it is called so, or a fourth of colours."""
    extra = keyframe.extrasamples
    colours = 3 if int(keyframe.photometric) == COLOUR else 1
    if not extra:
        return colours == 3 and channels == 4
    return channels == colours + 1 and int(extra[-1]) in ALPHA


def _read_part(tif: tifffile.TiffFile, path: Path, part: Part) -> tuple[np.ndarray, bool]:
    """Some channels, (H, W, c), and whether they are upright and black at 0 already."""
    series = part.series
    if not part.whole:
        return _read_page(tif, path, series.pages[part.page])
    if part.page is None and len(series.pages) == series.shape[0]:
        rows = [_read_page(tif, path, page)[0][..., 0] for page in series.pages]
        return np.stack(rows), False  # (H, W, C), which the file calls pages, rows and columns
    shape = plane_shape(part)
    if series.dataoffset is not None:  # plane after plane, plain numbers
        count = int(np.prod(shape))
        stored = series.dtype.newbyteorder(tif.byteorder)
        start = series.dataoffset + (part.page or 0) * count * stored.itemsize
        array = tif.filehandle.read_array(stored, count, start).astype(series.dtype).reshape(shape)
        return array if part.page is None else channels_last(array, series.axes), False
    page, sample = sample_of(path, part)
    array, is_upright = _read_page(tif, path, page)
    return array[..., sample : sample + 1], is_upright


def sample_of(path: Path, part: Part) -> tuple[Any, int]:
    """The page and its sample that are a part: what pages call samples, a file may call an axis.

    Raises:
        DataError: It is neither.
    """
    series, samples = part.series, part.series.keyframe.samplesperpixel
    size = len(series.pages) * samples * math.prod(plane_shape(part))
    if part.page is None or size != series.size:
        raise DataError(
            f"{path} has compressed volumes; accepted are planes; save it without compression"
        )
    page, sample = divmod(part.page, samples)
    return series.pages[page], sample


def plane_shape(part: Part) -> tuple[int, ...]:
    """Sizes of a part of an array that is read as a whole, in the order of its axes."""
    series = part.series
    has_samples = part.page is None or series.axes.endswith(("SYX", "YXS"))
    return series.shape[-3:] if has_samples else series.shape[-2:]


def _read_page(tif: tifffile.TiffFile, path: Path, page: Any) -> tuple[np.ndarray, bool]:
    require_page(path, page)
    keyframe = page.keyframe
    compression = int(keyframe.compression)
    _require_data(tif, path, page)
    if not is_plain(keyframe):
        return _read_with_pillow(path, page), True
    if compression == UNCOMPRESSED and keyframe.bitspersample not in (2, 4):
        return channels_last(page.asarray(), page.axes), False
    return put_together(tif, path, page), False


def require_page(path: Path, page: Any) -> None:
    """Refuses a page that metadata name and the file does not have.

    Raises:
        DataError: It is none.
    """
    if page is None:
        raise DataError(f"{path} lacks a page; accepted are whole files; replace it")


def channels_last(array: np.ndarray, axes: str) -> np.ndarray:
    """(H, W, C), from an array with or without an axis of samples."""
    if axes.endswith("SYX"):
        return np.moveaxis(array, 0, -1)
    return array if axes.endswith("S") else array[..., None]


def _require_data(tif: tifffile.TiffFile, path: Path, page: Any) -> None:
    """Refuses a page whose pixels would lie beyond the file's end: they would be read as zeros."""
    size = tif.filehandle.size
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    ends = [offset + count for offset, count in parts if count]
    missing = [offset for offset, count in parts if offset < 8 or offset + count > size]
    needed = page.keyframe.size * page.keyframe.bitspersample // 8
    short = int(page.keyframe.compression) == UNCOMPRESSED and sum(page.databytecounts) < needed
    if missing or short or not ends:
        what = f"{sum(page.databytecounts)} bytes of pixels, {needed} needed"
        if missing:
            what = f"{len(missing)} of {len(parts)} strips or tiles are not among its {size} bytes"
        raise DataError(
            f"{path} cannot be read whole ({what}); accepted are undamaged TIFF files; replace or "
            "remove it"
        )


def _read_with_pillow(path: Path, page: Any) -> np.ndarray:
    """(H, W, C), of what needs a conversion of colours or a codec of pictures."""
    try:
        with Image.open(path) as picture:
            picture.seek(page.index)
            return numbers_of(path, page.keyframe, picture)
    except UnidentifiedImageError:
        raise refused_codec(path, page.keyframe) from None
