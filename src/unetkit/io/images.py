"""Read image files, in the same way for training, evaluation and prediction.

An `ImageFile` is opened once. Its first bytes decide its format, not its suffix. Pixels are kept as
they are (8 bits, 16 bits or floats), upright, without opacity; `pixel_format` describes what they
mean to a model. A file that cannot be read whole is refused by its name. What the pixels of a mask
mean is left to `data.masks`.
"""

import hashlib
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.pixel_format import PixelFormat
from unetkit.io.tiff.file_bytes import OpenFile
from unetkit.io.tiff.pages import Pages, keep_pages, open_pages, turn
from unetkit.io.tiff.reader import CACHE_BYTES, MAX_PIXELS, TiffImage

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif")
MAX_FRAMES = 10_000  # of an animation
ORIENTATION = 0x0112  # EXIF tag
CHUNK_BYTES = 1 << 20  # hashed at a time
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
        format: "JPEG", "PNG", "TIFF", "GIF", "BMP" or "WEBP".
        orientation: EXIF orientation of the stored image, 1 to 8.
        frames: Number of images in the file.
        is_lossy: Whether the compression of the file changes pixels.
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


class ImageFile:
    """An image file that is opened once; for one thread at a time.

    Args:
        path: Path of the file.
        channel_axis: Where a TIFF without metadata has its channels: "auto", "first" or "last".

    Attributes:
        path: Path of the file.
        format: "JPEG", "PNG", "TIFF", "GIF", "BMP" or "WEBP", by its first bytes.
        version: Times of change, size and inode, by which versions of the file are told apart.

    Raises:
        DataNotFoundError, DataError: The file is absent, not a regular file, or of another format.

    >>> with ImageFile("photo.png") as file:  # doctest: +SKIP
    ...     file.format, file.size(), file.count
    ('PNG', (480, 640), 1)
    """

    def __init__(self, path: str | Path, channel_axis: str = "auto") -> None:
        self.path, self.channel_axis = Path(path), channel_axis
        require_file(self.path)
        self._pages: Pages | None = None
        with _open_errors(self.path):
            self._file = OpenFile(self.path)
            try:
                start = self._file.read(16)
            except BaseException:
                self._file.close()
                raise
        self.version = self._file.version
        try:
            self.format = _format_of(self.path, start)
        except DataError:
            self._file.close()
            raise

    @cached_property
    def count(self) -> int:
        """Number of images in the file: pages of a stack, frames of an animation.

        Raises:
            DataError: The file is damaged.
        """
        if self.format == "TIFF":
            return len(self._tiff.images)
        if self.format not in ("GIF", "WEBP", "PNG"):
            return 1  # further frames of a JPEG are previews and depth maps
        with self._opened() as image:
            return getattr(image, "n_frames", 1)

    def size(self, page: int | None = None) -> tuple[int, int]:
        """Returns (height, width) without decoding; of a JPEG or PNG before it is turned upright.

        Args:
            page: Index of the image; None for the only one, or for pages that are channels.

        Raises:
            DataError: The file is damaged, or has no such image.
        """
        if self.format == "TIFF":
            height, width, _ = self.windows(page).shape
            return height, width
        with self._opened() as image:
            return image.height, image.width

    def windows(self, page: int | None = None, cache_bytes: int = CACHE_BYTES) -> TiffImage:
        """Returns an image of a TIFF file that is read by windows, while this file is open.

        Args:
            page: Index of the image; None for the only one, or for pages that are channels.
            cache_bytes: Size of the cache of decoded strips and tiles.

        Raises:
            DataError: The file is damaged, or has no such image.
        """
        return TiffImage(self.path, self._tiff, page, self.channel_axis, cache_bytes)

    def read(self, page: int | None = None) -> DecodedImage:
        """Decodes an image whole, so that any damage is found.

        Args:
            page: Number of the image from 0; None for the only one, or for a TIFF whose pages are
                the channels of one image.

        Raises:
            DataError: The file is damaged or too large, or has no such image.
        """
        if self.format == "TIFF":
            return self._read_tiff(page)
        with _pillow_errors(self.path):
            if self.format == "PNG":
                chunks = self._read_chunks()
                bits, colour = chunks[0][1][8:10]
                if bits == 16 and colour in (2, 4, 6):  # of which Pillow would keep 8 bits
                    return self._read_deep_png(chunks)
            return self._read_with_pillow(page)

    def sha256(self) -> str:
        """Returns the SHA-256 of the content, in hexadecimal.

        Raises:
            OSError: The file cannot be read.
        """
        found = hashlib.sha256()
        self._file.seek(0)
        while content := self._file.read(CHUNK_BYTES):
            found.update(content)
        return found.hexdigest()

    def close(self) -> None:
        """Closes the file; a second call does nothing."""
        if self._file.is_closed:
            return
        if self._pages is not None:
            keep_pages(self._pages)
        self._file.close()

    def __enter__(self) -> "ImageFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _tiff(self) -> Pages:
        if self._pages is None:
            self._pages = open_pages(self.path, self._file, self.channel_axis)
        return self._pages

    @contextmanager
    def _opened(self) -> Iterator[Image.Image]:
        """The file as Pillow sees it; pixels are not decoded yet."""
        with _pillow_errors(self.path):
            self._file.seek(0)
            with Image.open(self._file.handle, formats=[self.format]) as image:
                yield image

    def _read_tiff(self, page: int | None) -> DecodedImage:
        tiff = TiffImage(self.path, self._tiff, page, self.channel_axis, 0, is_whole=True)
        try:
            bands = tiff.read_whole()
        finally:
            tiff.close()
        if tiff.palette is not None:
            require_palette(self.path, bands, tiff.palette)
        image = DecodedImage(
            bands, tiff.palette, None, "TIFF", tiff.orientation, tiff.count, tiff.is_lossy
        )
        return _without_alpha(image) if tiff.has_alpha else image

    def _read_with_pillow(self, page: int | None) -> DecodedImage:
        with self._opened() as image:
            frames = getattr(image, "n_frames", 1) if self.format != "JPEG" else 1
            _require_page(self.path, page, frames)
            if page:
                image.seek(page)
            orientation = _orientation(image)
            image.load()
            # People and networks see colours, whatever color space these are stored in.
            if image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
                plain = image.convert("RGB")
            elif image.mode in ("PA", "La", "RGBa"):
                plain = image.convert("LA" if image.mode == "La" else "RGBA")
            else:
                plain = image
            array = np.asarray(plain)
        palette = None
        if plain.mode == "P":
            palette = np.array(plain.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
        array = array if array.ndim == 3 else array[..., None]
        if palette is not None:
            require_palette(self.path, array, palette)
        bands = turn(array.astype(array.dtype.newbyteorder("="), copy=False), orientation)
        is_lossy = self.format == "JPEG" or (self.format == "WEBP" and self._is_lossy_webp())
        found = DecodedImage(bands, palette, None, self.format, orientation, frames, is_lossy)
        return _without_alpha(found) if plain.mode in ("LA", "RGBA") else found

    def _is_lossy_webp(self) -> bool:
        """Whether the compression changes pixels.

        Source: RFC 9649, section 2: the chunks of a WebP.
        """
        file = self._file
        file.seek(12)
        while len(head := file.read(8)) == 8:
            kind, length = struct.unpack("<4sL", head)
            if kind == b"VP8 ":  # the other codec, VP8L, is lossless
                return True
            # A frame of an animation begins with 16 bytes, and consists of chunks like all others.
            file.seek(16 if kind == b"ANMF" else length + length % 2, 1)
        return False

    def _read_chunks(self) -> list[tuple[bytes, bytes]]:
        """The critical chunks of a PNG, all checksums verified; Pillow verifies few of them.

        Source: PNG 1.2, section 5.3: length, kind, content, checksum; a capital makes a kind
        critical.
        """
        chunks = []
        kind = b""
        file, size = self._file, self._file.size
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

    def _read_deep_png(self, chunks: list[tuple[bytes, bytes]]) -> DecodedImage:
        """Colour or opacity of 16 bits, by OpenCV, which is given the critical chunks only: it
        would print warnings about others.
        """
        whole = self._read_with_pillow(None)  # finds damage, and the orientation
        parts = [
            struct.pack(">L", len(content)) + kind + content + struct.pack(">L", checksum)
            for kind, content in chunks
            for checksum in [zlib.crc32(content, zlib.crc32(kind))]
        ]
        data = np.frombuffer(b"\x89PNG\r\n\x1a\n" + b"".join(parts), np.uint8)
        array = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if array is None or array.dtype != np.uint16:
            raise DataError(
                f"{self.path} cannot be read with its 16 bits a channel; accepted are undamaged "
                "PNGs; save it again, or as TIFF"
            )
        colour = chunks[0][1][9]
        bands = array[..., 2::-1] if colour in (2, 6) else array[..., :1]  # OpenCV has blue first
        alpha = turn(array[..., -1], whole.orientation) if colour in (4, 6) else None
        bands = turn(bands, whole.orientation)
        return DecodedImage(bands, None, alpha, "PNG", whole.orientation, 1)


def read_image(
    file: ImageFile | str | Path, format: PixelFormat, page: int | None = None
) -> np.ndarray:
    """Reads an image as a model takes it.

    Args:
        file: The open file; or its path, from which it is opened and closed.
        format: Pixel format of the model.
        page: Index of the image; None for the only one, or for pages that are channels.

    Returns:
        (H, W, C) of the format's channels and type.

    Raises:
        DataNotFoundError, DataError: The file is absent, damaged, too large, or of channels or a
            type that do not fit.
    """
    if not isinstance(file, ImageFile):
        with ImageFile(file, format.channel_axis) as opened:
            return read_image(opened, format, page)
    name = str(file.path)
    return format.accept(pixels_of(file.read(page), name), name)


def pixels_of(image: DecodedImage, source: str) -> np.ndarray:
    """Returns colours for palette indices, 0 and 255 for bits, and all other pixels as they are.

    Args:
        image: The image.
        source: Name of the image in an error.

    Returns:
        (H, W, C) uint8, uint16 or float32.

    Raises:
        DataError: Some pixels are not numbers, or larger than float32 holds.
    """
    bands = image.bands
    if image.palette is not None:
        colours = image.palette[bands[..., 0]]
        grey = np.array_equal(colours[..., :1].repeat(3, axis=2), colours)
        return colours[..., :1] if grey else colours
    if bands.dtype == bool:
        return bands.astype(np.uint8) * np.uint8(255)
    if bands.dtype in (np.uint8, np.uint16):
        return bands
    if bands.dtype.kind not in "iuf":
        raise DataError(
            f"{source} has {bands.dtype} pixels; accepted are integers and floats; convert it"
        )
    with np.errstate(over="ignore"):
        pixels = bands.astype(np.float32)
    if not np.isfinite(pixels).all():
        row, column = np.argwhere(~np.isfinite(pixels).all(axis=2))[0]
        raise DataError(
            f"{source} has a pixel that is not a finite number (at row {row}, column {column}); "
            "accepted are finite numbers; replace such pixels"
        )
    return pixels


def require_file(path: Path) -> None:
    """Refuses pipes and devices: reading them may never end.

    Raises:
        DataNotFoundError, DataError: The file is absent, or not a regular file.
    """
    with _open_errors(path):
        mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise DataError(f"{path} is no file but {what}; accepted are files; rename or remove it")


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


def _format_of(path: Path, start: bytes) -> str:
    """The format that the first bytes of a file belong to."""
    for signature, format in SIGNATURES.items():
        if start.startswith(signature):
            return format
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    what = "is empty" if not start else "is not an image that can be read"
    raise DataError(f"{path} {what}; accepted are {', '.join(SUFFIXES_OF)}; replace or remove it")


@contextmanager
def _open_errors(path: Path) -> Iterator[None]:
    """Converts errors of the operating system to errors that name the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"image {path} does not exist; accepted is an image file; check the path"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be opened ({getattr(error, 'strerror', None) or error}); accepted are "
            "files that may be read; change its permissions, or remove it"
        ) from error


def _require_page(path: Path, page: int | None, frames: int) -> None:
    if frames > MAX_FRAMES:
        raise DataError(
            f"{path} has {frames} frames; accepted are up to {MAX_FRAMES}; split the file"
        )
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


def _without_alpha(image: DecodedImage) -> DecodedImage:
    """Separates the last channel: opacity is not part of what an image shows."""
    bands, alpha = image.bands[..., :-1], image.bands[..., -1]
    return replace(image, bands=np.ascontiguousarray(bands), alpha=alpha)


@contextmanager
def _pillow_errors(path: Path) -> Iterator[None]:
    """Converts what Pillow raises to errors that name the file."""
    try:
        yield
    except (DataError, DataNotFoundError):
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
