"""Read pictures from files, the same way for training, evaluation and prediction.

A file is what its first bytes say, whatever its name ends with. Its numbers are kept as they are
(8 bits, 16 bits or fractions), upright, without opacity; `pixels` says what they mean to a model.
A file that cannot be read whole is refused by its name. Masks are read in `masks`.
"""

import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.pixel_format import PixelFormat
from unetkit.io.tiff import pages
from unetkit.io.tiff.pages import turn

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif")
MAX_FRAMES = 10_000  # of an animation
ORIENTATION = 0x0112  # EXIF tag
SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
}
SUFFIXES_OF = {
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
}
Image.init()  # loads all decoders now: threads that do it at the same time get in each other's way
# Decoders warn of what is refused here anyway, or of EXIF blocks that nobody needs to see.
warnings.filterwarnings("ignore", module=r"PIL\.\w+ImagePlugin")


@dataclass(frozen=True)
class Picture:
    """One decoded picture, upright, and what its file says of it.

    Args:
        bands: (H, W, C), any numerical type; for a palette the indices.
        palette: (n, 3) uint8, or None.
        alpha: (H, W) of the file's type, or None.
        format: "JPEG", "PNG", "TIFF", "GIF", "BMP" or "WEBP".
        orientation: EXIF orientation as it was, 1 to 8.
        frames: Pictures in the file.
        is_lossy: Whether the file's compression changes numbers.
    """

    bands: np.ndarray
    palette: np.ndarray | None
    alpha: np.ndarray | None
    format: str
    orientation: int
    frames: int
    is_lossy: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bands.shape[0], self.bands.shape[1]


def read_image(path: str | Path, format: PixelFormat, page: int | None = None) -> np.ndarray:
    """Reads a picture as a model takes it.

    Args:
        page: Number of the picture in a file of several, from 0; None for the only one, or for a
            TIFF whose pages are the channels of one picture.

    Returns:
        (H, W, C) of the format's channels and type.

    Raises:
        DataNotFoundError, DataError: The file is absent, no picture, damaged, too large, or of
            channels or a type that do not fit.
    """
    picture = read_picture(path, page, format.channel_axis)
    return format.accept(pixels_of(picture, str(path)), str(path))


def pixels_of(picture: Picture, source: str) -> np.ndarray:
    """A picture's own numbers as an image: colours for palette indices, 255 for bits.

    Returns:
        (H, W, C) uint8, uint16 or float32.

    Raises:
        DataError: Some are no numbers, or larger than float32 holds.
    """
    bands = picture.bands
    if picture.palette is not None:
        colours = picture.palette[bands[..., 0]]
        grey = np.array_equal(colours[..., :1].repeat(3, axis=2), colours)
        return colours[..., :1] if grey else colours
    if bands.dtype == bool:
        return bands.astype(np.uint8) * np.uint8(255)
    if bands.dtype in (np.uint8, np.uint16):
        return bands
    if bands.dtype.kind not in "iuf":
        raise DataError(
            f"{source} has {bands.dtype} pixels; accepted are whole numbers and fractions; convert "
            "it"
        )
    with np.errstate(over="ignore"):
        pixels = bands.astype(np.float32)
    if not np.isfinite(pixels).all():
        row, column = np.argwhere(~np.isfinite(pixels).all(axis=2))[0]
        raise DataError(
            f"{source} has a pixel that is no finite number (at row {row}, column {column}); "
            "accepted are finite numbers; fill such pixels before"
        )
    return pixels


def read_picture(path: str | Path, page: int | None = None, channel_axis: str = "auto") -> Picture:
    """Decodes a picture whole, so that damage shows here and nowhere else.

    Raises:
        DataNotFoundError, DataError: As `read_image`.
    """
    path = Path(path)
    format = sniff(path)
    if format == "TIFF":
        frame = pages.read_frame(path, page, channel_axis)
        if frame.palette is not None:
            require_palette(path, frame.array, frame.palette)
        bands = turn(frame.array, frame.orientation)
        picture = Picture(
            bands, frame.palette, None, format, frame.orientation, frame.frames, frame.is_lossy
        )
        return _without_alpha(picture) if frame.has_alpha else picture
    with _pillow_errors(path):
        if format == "PNG":
            chunks = _read_chunks(path)
            bits, colour = chunks[0][1][8:10]
            if bits == 16 and colour in (2, 4, 6):  # of which Pillow would keep 8 bits
                return _read_deep_png(path, chunks)
        return _read_with_pillow(path, page, format)


def count_pictures(path: Path, channel_axis: str = "auto") -> int:
    """How many pictures a file holds: pages of a stack, frames of an animation.

    Raises:
        DataNotFoundError, DataError: The file cannot be opened.
    """
    format = sniff(path)
    if format == "TIFF":
        return pages.count_frames(path, channel_axis)
    if format not in ("GIF", "WEBP", "PNG"):
        return 1  # a JPEG's further frames are previews and depth maps
    with _pillow_errors(path), Image.open(path, formats=[format]) as picture:
        return getattr(picture, "n_frames", 1)


def sides(path: Path, format: str) -> tuple[int, int]:
    """(height, width) of a picture as it is stored, from its file's head.

    Args:
        format: As `sniff` tells it.

    Raises:
        DataNotFoundError, DataError: The file cannot be opened.
    """
    with _pillow_errors(path), Image.open(path, formats=[format]) as picture:
        return picture.height, picture.width


def sniff(path: Path) -> str:
    """The format that a file's first bytes name.

    Raises:
        DataNotFoundError, DataError: The file is absent, or of no format that is read here.
    """
    require_file(path)
    with _open_errors(path), open(path, "rb") as file:
        start = file.read(16)
    for signature, format in SIGNATURES.items():
        if start.startswith(signature):
            return format
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    what = "is empty" if not start else "is not a picture that can be read"
    raise DataError(f"{path} {what}; accepted are {', '.join(SUFFIXES_OF)}; replace or remove it")


def require_file(path: Path) -> None:
    """Refuses what has no end or is never there: pipes and devices would be waited for.

    Raises:
        DataNotFoundError, DataError: The file is absent, or something else than a file.
    """
    with _open_errors(path):
        mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise DataError(f"{path} is no file but {what}; accepted are files; rename or remove it")


@contextmanager
def _open_errors(path: Path) -> Iterator[None]:
    """Turns what the system says of a file into errors that name it."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"picture {path} does not exist; accepted is an image file; check the path"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be opened ({getattr(error, 'strerror', None) or error}); accepted are "
            "files that may be read; change its permissions, or remove it"
        ) from error


def _read_with_pillow(path: Path, page: int | None, format: str) -> Picture:
    with Image.open(path, formats=[format]) as picture:
        frames = getattr(picture, "n_frames", 1) if format != "JPEG" else 1
        _require_page(path, page, frames)
        if page:
            picture.seek(page)
        orientation = _orientation(picture)
        picture.load()
        # To people and to the network these are colours, however they are stored.
        if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
            plain = picture.convert("RGB")
        elif picture.mode in ("PA", "La", "RGBa"):
            plain = picture.convert("LA" if picture.mode == "La" else "RGBA")
        else:
            plain = picture
        array = np.asarray(plain)
    palette = None
    if plain.mode == "P":
        palette = np.array(plain.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
    array = array if array.ndim == 3 else array[..., None]
    if palette is not None:
        require_palette(path, array, palette)
    bands = turn(array.astype(array.dtype.newbyteorder("="), copy=False), orientation)
    found = Picture(bands, palette, None, format, orientation, frames, _is_lossy(path, format))
    return _without_alpha(found) if plain.mode in ("LA", "RGBA") else found


def _require_page(path: Path, page: int | None, frames: int) -> None:
    if frames > MAX_FRAMES:
        raise DataError(
            f"{path} has {frames} frames; accepted are up to {MAX_FRAMES}; part the file"
        )
    if page is None and frames > 1:
        raise DataError(
            f"{path} is animated, with {frames} frames; accepted as one picture is one frame; save "
            "the frame that is meant"
        )
    if page is not None and not 0 <= page < frames:
        raise DataError(f"{path} has no frame {page}; accepted are 0 to {frames - 1}; correct it")


def require_palette(path: Path, indices: np.ndarray, palette: np.ndarray) -> None:
    """Refuses indices that have no colour.

    Raises:
        DataError: There are some.
    """
    if indices.shape[2] != 1 or indices.dtype.kind != "u" or indices.max() >= len(palette):
        raise DataError(
            f"{path} has palette indices up to {indices.max()} in {indices.shape[2]} channels; "
            f"accepted is one channel from 0 to {len(palette) - 1}, a colour for each; replace it"
        )


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation, 1 to 8; of an EXIF block that cannot be read nothing is believed."""
    try:
        value = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged block fails in many ways, none of which damages the picture
        return 1
    return value if value in range(1, 9) else 1


def _without_alpha(picture: Picture) -> Picture:
    """Splits the last channel off: opacity says nothing about what stands there."""
    bands, alpha = picture.bands[..., :-1], picture.bands[..., -1]
    return replace(picture, bands=np.ascontiguousarray(bands), alpha=alpha)


def _is_lossy(path: Path, format: str) -> bool:
    """Whether a compression changes numbers.

    Source: RFC 9649, section 2: the chunks of a WebP.
    """
    if format != "WEBP":
        return format == "JPEG"
    with open(path, "rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            kind, length = struct.unpack("<4sL", head)
            if kind == b"VP8 ":  # the other codec, VP8L, is the one without loss
                return True
            # A frame of an animation has 16 bytes of its own, and then chunks like all others.
            file.seek(16 if kind == b"ANMF" else length + length % 2, 1)
    return False


def _read_chunks(path: Path) -> list[tuple[bytes, bytes]]:
    """The critical chunks of a PNG, all of whose checksums are right; Pillow looks at few.

    Source: PNG 1.2, section 5.3: length, kind, content, checksum; a capital makes a kind critical.
    """
    chunks = []
    kind = b""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(8)
        while kind != b"IEND":
            length, kind = struct.unpack(">L4s", file.read(8))
            if file.tell() + length + 4 > size:
                raise OSError(f"{size} bytes, {file.tell() + length + 4} needed")
            content = file.read(length)
            if file.read(4) != struct.pack(">L", zlib.crc32(content, zlib.crc32(kind))):
                raise OSError(f"wrong checksum in chunk {kind!r}")
            if kind[:1].isupper():
                chunks.append((kind, content))
    if chunks[0][0] != b"IHDR":
        raise OSError("no header")
    return chunks


def _read_deep_png(path: Path, chunks: list[tuple[bytes, bytes]]) -> Picture:
    """Colour or opacity of 16 bits, by OpenCV; it would print what it thinks of other chunks."""
    whole = _read_with_pillow(path, None, "PNG")  # finds damage, and the orientation
    parts = [
        struct.pack(">L", len(content)) + kind + content + struct.pack(">L", checksum)
        for kind, content in chunks
        for checksum in [zlib.crc32(content, zlib.crc32(kind))]
    ]
    data = np.frombuffer(b"\x89PNG\r\n\x1a\n" + b"".join(parts), np.uint8)
    array = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise DataError(
            f"{path} cannot be read with its 16 bits a channel; accepted are undamaged PNGs; save "
            "it again, or as TIFF"
        )
    colour = chunks[0][1][9]
    bands = array[..., 2::-1] if colour in (2, 6) else array[..., :1]  # OpenCV has blue first
    alpha = turn(array[..., -1], whole.orientation) if colour in (4, 6) else None
    return Picture(turn(bands, whole.orientation), None, alpha, "PNG", whole.orientation, 1)


@contextmanager
def _pillow_errors(path: Path) -> Iterator[None]:
    """Turns what Pillow raises into errors that name the file."""
    try:
        yield
    except (DataError, DataNotFoundError):
        raise
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"picture {path} does not exist any more; accepted is an image file; restore it"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not a picture that can be read; accepted are {', '.join(SUFFIXES_OF)}; "
            "replace or remove it"
        ) from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path} is too large ({error}); accepted are pictures of up to "
            f"{pages.MAX_PIXELS:,} pixels; cut it into parts"
        ) from error
    except MemoryError as error:
        raise DataError(
            f"{path} does not fit into memory; accepted are smaller pictures; cut it into parts"
        ) from error
    except Exception as error:  # Pillow's decoders let through whatever a wrong number leads to
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(
            f"{path} cannot be read whole ({reason}); accepted are undamaged pictures; replace or "
            "remove it"
        ) from error
