"""Decode images whole, by Pillow; PNGs of 16 bits by OpenCV, JPEG 2000 of such by imagecodecs.

Pixels keep their type and are turned upright; opacity is separated from them. Any damage, and
whatever Pillow raises for it, becomes an error that names the file. TIFFs are left to `tiff`, the
choice of the decoder to `images`.
"""

import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import cv2
import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from unetkit._shared.files import open_input
from unetkit.errors import DataError, DataNotFoundError, MissingExtraError
from unetkit.io.arrays import register_heif
from unetkit.io.tiff.file_bytes import OpenFile
from unetkit.io.tiff.pages import turn
from unetkit.io.tiff.reader import MAX_PIXELS

MAX_FRAMES = 10_000  # of an animation
KEPT_ANIMATIONS = 4  # that stay open, one for each thread that reads frames
ORIENTATION = 0x0112  # EXIF tag
LOSSY_FORMATS = ("JPEG", "AVIF", "HEIF")
JPEG2000_HEADER = 1 << 16  # bytes, within which its markers are
PNM_HEADER = 1 << 12  # bytes
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SUFFIXES_OF = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpx", ".jpf"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
    "NPY": (".npy",),
    "NPZ": (".npz",),
    "NIFTI": (".nii", ".nii.gz"),
    "DICOM": (".dcm", ".dicom"),
}
IMAGE_SUFFIXES = tuple(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
ARRAY_FORMATS = ("NPY", "NPZ", "NIFTI", "DICOM")  # read by `arrays`
ANIMATED = ("GIF", "WEBP", "PNG")  # further frames of others are previews and depth maps
CONVERTED_MODES = ("CMYK", "YCbCr", "LAB", "HSV", "RGBX", "PA", "La", "RGBa")
Image.init()  # loads all decoders now, which is not safe in several threads at once
# Decoders warn of what is refused here anyway, or of damaged EXIF blocks, which are ignored.
warnings.filterwarnings("ignore", module=r"PIL\.\w+ImagePlugin")


@dataclass(frozen=True)
class DecodedImage:
    """The pixels of one image, upright, and properties of its file.

    Args:
        bands: (H, W, C) of any numerical type; indices where there is a palette.
        palette: (n, 3) uint8, or None.
        alpha: (H, W) opacity of the file's type, or None.
        format: A key of SUFFIXES_OF.
        orientation: EXIF orientation of the stored image, 1 to 8.
        frames: Number of images in the file.
        is_lossy: Whether the compression of the file changes pixels.
        nodata: Value, in all channels, of pixels that a GeoTIFF declares to be without data, which
            may be nan; None if it declares none.
        is_stack: Whether the channels are planes of their own, not red, green and blue.
        gaps: Where the file says by a mask, or a GeoTIFF by its opacity, that there is no data,
            (H, W) bool; None if nowhere.
        duration: Milliseconds for which a frame of an animation is shown.
        is_planar: Whether colours are stored as an image of each channel, one after another.
    """

    bands: np.ndarray
    palette: np.ndarray | None
    alpha: np.ndarray | None
    format: str
    orientation: int
    frames: int
    is_lossy: bool = False
    nodata: float | None = None
    is_stack: bool = False
    gaps: np.ndarray | None = None
    duration: float = 0.0
    is_planar: bool = False

    @property
    def missing(self) -> np.ndarray | None:
        """Where pixels have no data, (H, W) bool; None if the file does not declare any such."""
        if self.nodata is None:
            return self.gaps
        missing = np.asarray(is_nodata(self.bands, self.nodata).all(axis=2))
        return missing if self.gaps is None else missing | self.gaps

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bands.shape[0], self.bands.shape[1]

    @property
    def is_transparent(self) -> bool:
        """Whether some pixel is not opaque."""
        if self.alpha is None:
            return False
        opaque = np.iinfo(self.alpha.dtype).max if self.alpha.dtype.kind in "iu" else 1
        return bool((self.alpha != opaque).any())


def is_nodata(values: np.ndarray, nodata: float) -> np.ndarray:
    """Returns where values are the one that marks missing data, which may be nan."""
    return np.isnan(values) if np.isnan(nodata) else np.equal(values, nodata)


def decode(path: Path, file: OpenFile, format: str, page: int | None) -> DecodedImage:
    """Decodes an image whole, so that any damage is found.

    Args:
        path: Path of the file, for errors.
        file: The open file.
        format: Its format, other than "TIFF".
        page: Index of the image; None for the only one.

    Raises:
        DataError: The file is damaged or too large, or has no such image.
    """
    with _pillow_errors(path):
        if format == "PNG":
            chunks = _read_chunks(file)
            bits, colour = chunks[0][16:18]
            if bits == 16 and colour in (2, 4, 6):  # of which Pillow would keep 8 bits
                return _decode_deep_png(path, file, chunks, colour)
        if format == "JPEG2000":
            return _decode_jpeg2000(path, file, page)
        if format == "PPM":
            return _decode_pnm(path, file, page)
        return _decode_with_pillow(path, file, format, page)


@contextmanager
def open_with_pillow(path: Path, file: OpenFile, format: str) -> Iterator[Image.Image]:
    """Opens an image as Pillow sees it; pixels are not decoded yet.

    Raises:
        DataError: The file is damaged, or not of this format.
    """
    if format == "HEIF":
        register_heif(path)
    with _pillow_errors(path):
        file.seek(0)
        with Image.open(file.handle, formats=[format]) as image:
            yield image


def bytes_to_decode(path: Path, file: OpenFile, format: str) -> int:
    """Returns the most bytes that are in use while an image is decoded, computed from its header.

    Args:
        path: Path of the file, for errors.
        file: The open file.
        format: Its format, one that Pillow reads.

    Raises:
        DataError: The file is damaged.
    """
    with open_with_pillow(path, file, format) as image:
        pixels, mode, bands = image.width * image.height, image.mode, len(image.getbands())
        is_animated = format in ANIMATED and getattr(image, "is_animated", False)
    size = {"I": 4, "F": 4}.get(mode, 2 if mode.startswith("I;") else 1)
    # Pillow's own pixels, and the array while it is taken from them, or turned upright.
    found = (size if bands == 1 else 4) + 2 * bands * size
    if mode in CONVERTED_MODES:
        found += 4
    if format in ("WEBP", "AVIF", "HEIF") or is_animated:
        found += 8  # frames of the decoder
    elif format == "JPEG2000":
        found += 4 * bands
    elif format == "PPM":
        found += 8 * bands * size  # its numbers are scaled
    elif format == "PNG":
        file.seek(len(PNG_SIGNATURE) + 16)
        if file.read(1) == b"\x10":  # 16 bits, of which Pillow may show 8
            return pixels * max(found, 5 * bands) + 3 * file.size
    return pixels * found


def upright_size(path: Path, file: OpenFile, format: str) -> tuple[int, int] | None:
    """Returns (height, width) of an image that Pillow reads, turned upright, without decoding.

    Args:
        path: Path of the file, for errors.
        file: The open file.
        format: Its format.

    Returns:
        The size; None for formats that Pillow does not read.

    Raises:
        DataError: The file is damaged.
    """
    if format == "TIFF" or format in ARRAY_FORMATS:
        return None
    with open_with_pillow(path, file, format) as image:
        is_turned = _orientation(image) >= 5
        return (image.width, image.height) if is_turned else (image.height, image.width)


def _decode_with_pillow(path: Path, file: OpenFile, format: str, page: int | None) -> DecodedImage:
    with _at_frame(path, file, format, page) as (image, frames):
        orientation = _orientation(image)
        image.load()
        duration = float(image.info.get("duration", 0.0))
        # People and networks see colours, whatever color space these are stored in.
        if image.mode in CONVERTED_MODES[:5]:
            plain = image.convert("RGB")
        elif image.mode in CONVERTED_MODES:
            plain = image.convert("LA" if image.mode == "La" else "RGBA")
        else:
            plain = image
        array = np.asarray(plain)
    palette = None
    if plain.mode == "P":
        palette = np.array(plain.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
    array = array if array.ndim == 3 else array[..., None]
    if palette is not None:
        require_palette(path, array, palette)
    bands = turn(array.astype(array.dtype.newbyteorder("="), copy=False), orientation)
    is_lossy = format in LOSSY_FORMATS or (format == "WEBP" and _is_lossy_webp(file))
    found = DecodedImage(
        bands, palette, None, format, orientation, frames, is_lossy, duration=duration
    )
    return without_alpha(found) if plain.mode in ("LA", "RGBA") else found


def require_few_frames(path: Path, image: Image.Image) -> int:
    """Returns the number of frames of an animation.

    Raises:
        DataError: There are more than `MAX_FRAMES`.
    """
    try:
        image.seek(0)
        frames = int(getattr(image, "n_frames", 1))
    except EOFError:
        frames = 1
    if frames > MAX_FRAMES:
        raise DataError(
            f"{path} has {frames:,} frames; accepted are up to {MAX_FRAMES:,}; split the file"
        )
    return frames


@dataclass(frozen=True)
class _Animation:
    """An animation that stays open at a frame, with its own handle of the file."""

    key: tuple[Path, object]
    image: Image.Image
    frames: int
    handle: IO[bytes]

    def close(self) -> None:
        self.image.close()
        self.handle.close()


_animations: list[_Animation] = []
_animations_lock = threading.Lock()


@contextmanager
def _at_frame(
    path: Path, file: OpenFile, format: str, page: int | None
) -> Iterator[tuple[Image.Image, int]]:
    """An image at a frame, and the number of frames.

    A frame builds on those before it. So animations stay open between two frames: going through
    all of them takes time that grows with their number, and not with its square.
    """
    if format not in ANIMATED or page is None:
        with open_with_pillow(path, file, format) as image:
            frames = require_few_frames(path, image) if format in ANIMATED else 1
            _require_page(path, page, frames)
            yield image, frames
        return
    key = path, file.version
    with _animations_lock:
        known = [one for one in _animations if one.key == key and one.image.tell() <= page]
        kept = max(known, key=lambda one: one.image.tell(), default=None)
        if kept is not None:
            _animations.remove(kept)
    if kept is None:
        handle = open_input(path)
        try:
            image = Image.open(handle, formats=[format])
            kept = _Animation(key, image, require_few_frames(path, image), handle)
        except BaseException:
            handle.close()
            raise
    try:
        _require_page(path, page, kept.frames)
        kept.image.seek(page)
        yield kept.image, kept.frames
    except BaseException:
        kept.close()
        raise
    with _animations_lock:
        if page < kept.frames - 1:
            _animations.append(kept)
            surplus = _animations[:-KEPT_ANIMATIONS]
            del _animations[:-KEPT_ANIMATIONS]
        else:
            surplus = [kept]
    for one in surplus:
        one.close()


def _decode_jpeg2000(path: Path, file: OpenFile, page: int | None) -> DecodedImage:
    """A JPEG 2000; Pillow would change the numbers of components of other than 8 bits.

    Source: ISO 15444-1, annex A: SIZ has the bits of the first component, COD the transform.
    """
    file.seek(0)
    start = file.read(JPEG2000_HEADER)
    sizes, style = start.find(b"\xff\x4f\xff\x51") + 2, start.find(b"\xff\x52")
    if sizes < 2 or style < 0 or len(start) < max(sizes + 41, style + 14):
        raise OSError("no header")
    is_lossy = start[style + 13] == 0  # the irreversible transform
    if start[sizes + 40] & 127 == 7:
        return replace(_decode_with_pillow(path, file, "JPEG2000", page), is_lossy=is_lossy)
    _require_page(path, page, 1)
    _require_few_pixels(path, *struct.unpack(">2L", start[sizes + 6 : sizes + 14]))
    file.seek(0)
    array = imagecodecs.jpeg2k_decode(file.read())
    array = array if array.ndim == 3 else array[..., None]
    image = DecodedImage(array, None, None, "JPEG2000", 1, 1, is_lossy)
    return without_alpha(image) if array.shape[2] in (2, 4) else image


def _require_few_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path} is {height}x{width} (height x width); accepted are images of up to "
            f"{MAX_PIXELS:,} pixels; cut it into pieces"
        )


def _decode_pnm(path: Path, file: OpenFile, page: int | None) -> DecodedImage:
    """A PNM with the numbers in the file, which Pillow scales to the largest of their type."""
    image = _decode_with_pillow(path, file, "PPM", page)
    file.seek(0)
    words = re.sub(rb"#[^\n]*\n", b" ", file.read(PNM_HEADER)).split(maxsplit=4)
    if image.bands.dtype.kind not in "iu" or words[0] not in (b"P2", b"P3", b"P5", b"P6"):
        return image  # bits, or floats
    largest = int(words[3])
    scaled_to = 65535 if largest > 255 and image.bands.dtype != np.uint8 else 255
    numbers = np.rint(image.bands * (largest / scaled_to))
    if largest > scaled_to:
        raise OSError(f"{largest} is its largest number, and colours have up to 255")
    return replace(image, bands=numbers.astype(np.uint8 if largest < 256 else np.uint16))


def _is_lossy_webp(file: OpenFile) -> bool:
    """Whether the compression of a WebP changes pixels.

    Source: RFC 9649, section 2: the chunks of a WebP.
    """
    file.seek(12)
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sL", head)
        if kind == b"VP8 ":  # the other codec, VP8L, is lossless
            return True
        # A frame of an animation begins with 16 bytes, and consists of chunks like all others.
        file.seek(16 if kind == b"ANMF" else length + length % 2, 1)
    return False


def _read_chunks(file: OpenFile) -> list[bytes]:
    """The critical chunks of a PNG, all checksums verified; Pillow verifies few of them.

    Source: PNG 1.2, section 5.3: length, kind, content, checksum; a capital makes a kind
    critical.
    """
    chunks = []
    kind = b""
    file.seek(len(PNG_SIGNATURE))
    while kind != b"IEND":
        head = file.read(8)
        length, kind = struct.unpack(">L4s", head)
        if file.tell() + length + 4 > file.size:
            raise OSError(f"{file.size} bytes, {file.tell() + length + 4} needed")
        content, checksum = file.read(length), file.read(4)
        if checksum != struct.pack(">L", zlib.crc32(content, zlib.crc32(kind))):
            raise OSError(f"wrong checksum in chunk {kind!r}")
        if kind[:1].isupper():
            chunks.append(head + content + checksum)
    if chunks[0][4:8] != b"IHDR":
        raise OSError("no header")
    return chunks


def _decode_deep_png(path: Path, file: OpenFile, chunks: list[bytes], colour: int) -> DecodedImage:
    """Colour or opacity of 16 bits, by OpenCV, which is given the critical chunks only: it would
    print warnings about others.
    """
    # Pillow finds damage, and the orientation; its pixels are not kept.
    orientation = _decode_with_pillow(path, file, "PNG", None).orientation
    data = np.frombuffer(PNG_SIGNATURE + b"".join(chunks), np.uint8)
    array = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise DataError(
            f"{path} cannot be read with its 16 bits a channel; accepted are undamaged PNGs; save "
            "it again, or as TIFF"
        )
    bands = array[..., 2::-1] if colour in (2, 6) else array[..., :1]  # OpenCV has blue first
    alpha = turn(array[..., -1], orientation) if colour in (4, 6) else None
    bands = turn(bands, orientation)
    return DecodedImage(bands, None, alpha, "PNG", orientation, 1)


def require_palette(path: Path, indices: np.ndarray, palette: np.ndarray) -> None:
    """Refuses indices without a colour.

    Raises:
        DataError: An index is beyond the palette, or there are several channels of indices.
    """
    if indices.shape[2] != 1 or indices.dtype.kind != "u" or indices.max() >= len(palette):
        raise DataError(
            f"{path} has palette indices up to {indices.max()} in {indices.shape[2]} channels; "
            f"accepted is one channel from 0 to {len(palette) - 1}, a colour for each; replace it"
        )


def _require_page(path: Path, page: int | None, frames: int) -> None:
    if page is None and frames > 1:
        raise DataError(
            f"{path} is animated, with {frames} frames; accepted as one image is one frame; save "
            "the frame that is meant"
        )
    if page is not None and not 0 <= page < frames:
        raise DataError(f"{path} has no frame {page}; accepted are 0 to {frames - 1}")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; a damaged EXIF block is ignored."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged block fails in many ways; the pixels are not affected
        return 1
    return value if value in range(1, 9) else 1


def without_alpha(image: DecodedImage) -> DecodedImage:
    """Separates the last channel: opacity is not part of what an image shows."""
    bands, alpha = image.bands[..., :-1], image.bands[..., -1]
    return replace(image, bands=np.ascontiguousarray(bands), alpha=alpha)


@contextmanager
def _pillow_errors(path: Path) -> Iterator[None]:
    """Converts what Pillow raises to errors that name the file."""
    try:
        yield
    except (DataError, DataNotFoundError, MissingExtraError):
        raise
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not an image that can be read; accepted are {', '.join(SUFFIXES_OF)}; "
            "replace or remove it"
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path} is too large ({error}); accepted are images of up to "
            f"{MAX_PIXELS:,} pixels; cut it into pieces"
        ) from error
    except MemoryError as error:
        raise DataError(
            f"{path} does not fit into memory; accepted are smaller images; cut it into pieces"
        ) from error
    except Exception as error:  # Pillow's decoders let through whatever a wrong number leads to
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(
            f"{path} cannot be read whole ({reason}); accepted are undamaged images; replace or "
            "remove it"
        ) from error
