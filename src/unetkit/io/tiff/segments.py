"""Decode the strips and tiles of a TIFF page, which tifffile calls segments, one by one.

The codecs are those of imagecodecs, as tifffile chooses them. Compressions of bytes (deflate, LZW,
...) are unpacked to bytes, which `Segments.numbers` converts to pixels; compressions of images
(JPEG, JPEG 2000, WebP, ...) are decoded into an array of the expected size, so that a stream that
claims more pixels is refused before memory is taken for them. tifffile's own `TiffPage.decode` does
not know the size before (measured in docs/log.md, 2026-11-30). What is left, such as the first form
of JPEG in TIFF, is decoded by Pillow, a page at a time (see `planes`).
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from unetkit.errors import DataError
from unetkit.io.tiff.streams import inflate, unpack_lzma

MAX_BYTES = 1 << 31  # of one image, all channels together
MORE_BYTES = 1 << 20  # by which a stream may be longer than twice its pixels
UNCOMPRESSED = 1
DEFLATE = {8, 32946, 50013}
LZMA = 34925
BYTES = {UNCOMPRESSED, *DEFLATE, 5, 32773, LZMA, 34926, 50000}  # LZW, PackBits, Zstandard
JPEG = {7, 33007, 34892}
JPEG_2000 = {33003, 33004, 33005, 34712}
APERIO_YCBCR = 33003  # JPEG 2000 whose components are YCbCr, whatever the photometric tag is
WEBP = {34927, 50001}
LERC = 34887
PNG, JPEG_XR, JPEG_XL = {34933}, {22610, 34934}, {50002, 52546}
FAX = {2, 3, 4}
IMAGES = {*JPEG, *JPEG_2000, *WEBP, LERC, *PNG, *JPEG_XL, *FAX}
LERC_PARAMETERS, T4_OPTIONS = 50674, 292  # tags
HORIZONTAL, FLOATING = 2, 3  # predictors
COLOUR, PALETTE, SEPARATED, YCBCR, CIELAB = 2, 3, 5, 6, 8  # photometric interpretations
AS_THEY_ARE = {0, 1, COLOUR, PALETTE, 4, 32803, 34892}  # samples are kept: grey, RGB, mask, raw
# Modes of Pillow from which colours are converted to RGB, by photometric interpretation.
CONVERTED = {SEPARATED: ("CMYK", 4), CIELAB: ("LAB", 3), YCBCR: ("YCbCr", 3)}
UNCONVERTED, YCC, RGB = 0, 3, 2  # color spaces of libjpeg


@dataclass(frozen=True)
class Grid:
    """How each plane of a page is divided into strips or tiles, which are counted row by row.

    Args:
        height: Height of the page.
        width: Width of the page.
        rows: Rows of a segment; the last strip may have fewer.
        columns: Columns of a segment.
        planes: 1, or the number of samples where these are stored separately.
        depth: Samples of a pixel in one plane.
        row_bytes: Size of a row of a segment in bytes, unpacked.
        is_tiled: Whether segments are tiles, which may extend beyond the page.
    """

    height: int
    width: int
    rows: int
    columns: int
    planes: int
    depth: int
    row_bytes: int
    is_tiled: bool

    @property
    def across(self) -> int:
        """Number of segments side by side."""
        return -(-self.width // self.columns)

    @property
    def count(self) -> int:
        """Number of segments of one plane."""
        return -(-self.height // self.rows) * self.across

    def corner(self, index: int) -> tuple[int, int]:
        """Row and column of the page where a segment begins."""
        down, right = divmod(index, self.across)
        return down * self.rows, right * self.columns

    def rows_of(self, index: int) -> int:
        """Number of rows that are stored of a segment."""
        return self.rows if self.is_tiled else min(self.rows, self.height - index * self.rows)

    def name(self, plane: int, index: int) -> str:
        """A segment in words, such as "strip 17 of 300"."""
        kind = "tile" if self.is_tiled else "strip"
        return f"{kind} {plane * self.count + index + 1} of {self.planes * self.count}"


def grid_of(path: Path, page: Any) -> Grid:
    """Returns how a page is divided.

    Raises:
        DataError: The page has more or fewer segments than its size needs, or tiles of more than
            `MAX_BYTES` that are larger than the page; or its samples are in an unknown order.

    Source: TIFF 6.0, sections 3 and 15.
    """
    keyframe = page.keyframe
    if int(keyframe.planarconfig) not in (1, 2):
        raise DataError(
            f"{path} stores its samples in the order {int(keyframe.planarconfig)} "
            "(PlanarConfiguration); accepted are 1 and 2; replace it"
        )
    height, width = keyframe.imagelength, keyframe.imagewidth
    samples = max(1, keyframe.samplesperpixel)  # other readers also take 0 for 1
    planes = samples if keyframe.planarconfig == 2 else 1
    depth = samples // planes
    rows, columns = min(keyframe.rowsperstrip, height), width
    if keyframe.is_tiled:
        rows, columns = keyframe.tilelength, keyframe.tilewidth
    row_bytes = -(-columns * depth * keyframe.bitspersample // 8)
    grid = Grid(height, width, rows, columns, planes, depth, row_bytes, keyframe.is_tiled)
    found = {len(page.dataoffsets), len(page.databytecounts)}
    is_hostile = rows * row_bytes > MAX_BYTES and rows * columns > 2 * height * width
    if found != {planes * grid.count} or is_hostile:
        raise DataError(
            f"{path} cannot be read whole ({max(found)} strips or tiles of {rows}x{columns} pixels "
            f"for {height}x{width}); accepted are undamaged TIFF files; replace or remove it"
        )
    return grid


class Segments:
    """The strips or tiles of one page, and how they are decoded; any thread may decode them.

    Args:
        path: Path of the file, for errors.
        page: Page of tifffile.
        grid: How the page is divided; None to find out.

    Attributes:
        path: Path of the file.
        page: Page of tifffile.
        grid: How the page is divided.
        dtype: Type of the numbers.
        channels: Channels of the page, after conversion.
        compression: Value of the tag.
        pixel_bytes: Size of a stored pixel; 0 where only whole rows can be converted.

    Raises:
        DataError: There are more or fewer segments than needed, or their pixels have a type that
            is not accepted. No segment is decoded.
    """

    def __init__(self, path: Path, page: Any, grid: Grid | None = None) -> None:
        keyframe = page.keyframe
        self.path, self.page = path, page
        self.dtype, self._mode = _dtype_of(path, keyframe), _mode_of(keyframe)
        self.grid = grid or grid_of(path, page)
        self.channels = 3 if self._mode else self.grid.planes * self.grid.depth
        self.compression, self._photometric = int(keyframe.compression), int(keyframe.photometric)
        self._bits, self._predictor = keyframe.bitspersample, int(keyframe.predictor)
        is_cut = self._bits >= 8 and self._predictor == 1
        self.pixel_bytes = self.grid.depth * self._bits // 8 if is_cut else 0
        self._stored = self.dtype
        if self._predictor != FLOATING:  # which has an order of bytes of its own
            self._stored = self.dtype.newbyteorder(page.parent.byteorder)
        # Values of tags may be read from the file, which is not for several threads.
        self._t4_options, self._unwrap = 0, None
        if self.compression == 3:
            self._t4_options = keyframe.tags.valueof(T4_OPTIONS, default=0)
        elif self.compression == LERC:
            packing = keyframe.tags.valueof(LERC_PARAMETERS, default=(4, 0))[1:2]
            wraps = {(1,): inflate, (2,): _unpack_zstandard}
            self._unwrap = wraps.get(packing)

    def decode(self, index: int, packed: bytes) -> np.ndarray:
        """Decodes one segment.

        Args:
            index: Number of the segment in its plane.
            packed: Its bytes in the file.

        Returns:
            (rows, columns, depth) of `dtype`; a tile at an edge of the page may be stored without
            what lies beyond the edge.

        Raises:
            DataError: The codec is not installed.
            Exception: The segment is damaged; codecs raise errors of many types.
        """
        rows = self.grid.rows_of(index)
        size = rows * self.grid.row_bytes
        try:
            if self.compression in IMAGES:
                return self._converted(self._decode_image(index, packed))
            unpacked = self._unpack(packed, size)
        except ImportError:  # builds of imagecodecs may lack codecs
            raise refused_codec(self.path, self.page.keyframe) from None
        if len(unpacked) < size:
            raise OSError(f"{len(unpacked)} bytes in a strip, {size} needed")
        return self.numbers(np.frombuffer(unpacked, np.uint8, size).reshape(rows, -1),
                            self.grid.columns)  # fmt: skip

    def numbers(self, unpacked: np.ndarray, columns: int) -> np.ndarray:
        """Converts the bytes of rows to pixels; predictors are undone.

        Args:
            unpacked: (rows, bytes) uint8.
            columns: Number of columns that these are.

        Returns:
            (rows, columns, depth) of `dtype`.

        Source: TIFF 6.0, section 14; Adobe, TIFF technical note 3.
        """
        bits, shape = self._bits, (len(unpacked), columns, self.grid.depth)
        if bits < 8:
            samples = imagecodecs.packints_decode(
                unpacked.tobytes(), np.uint8, bits, runlen=columns * self.grid.depth
            ).reshape(shape)
            if bits == 1:
                return samples.astype(bool)
            # As in PNG: few bits are coarse steps from black to white.
            is_index = self._photometric == PALETTE
            return samples if is_index else samples * np.uint8(255 // (2**bits - 1))
        numbers = np.ascontiguousarray(unpacked).view(self._stored).reshape(shape)
        numbers = numbers.astype(self.dtype, copy=False)
        if self._predictor == HORIZONTAL:
            steps = numbers.view(f"u{bits // 8}")
            numbers = imagecodecs.delta_decode(steps, axis=1).view(self.dtype)
        elif self._predictor == FLOATING:
            numbers = imagecodecs.floatpred_decode(numbers, axis=1)
        return self._converted(numbers)

    def _unpack(self, packed: bytes, size: int) -> bytes:
        """Unpacks a segment, which holds `size` bytes, or all rows though it is the last strip."""
        packed = msb_first(packed, self.page.keyframe)
        if self.compression == UNCOMPRESSED:
            return packed
        most = self.grid.rows * self.grid.row_bytes  # some writers fill up the last strip
        if self.compression in DEFLATE:
            unpacked = inflate(packed, most, size)
        elif self.compression == LZMA:
            unpacked = unpack_lzma(packed, most)
        else:
            decompress = tifffile.TIFF.DECOMPRESSORS[self.compression]
            try:  # LZW stops here: some writers end it with a code of another length
                unpacked = decompress(packed, out=size)
            except Exception:  # of another size, or damaged
                unpacked = decompress(packed, out=most)
        if size < len(unpacked) != most:
            raise OSError(f"its data go on beyond {size:,} bytes")
        return unpacked

    def _decode_image(self, index: int, packed: bytes) -> np.ndarray:
        """Decodes a segment that is an image of its own into an array of the size it must have.

        The last strip may be stored with all rows, a tile without what lies beyond the page.
        """
        grid, depth = self.grid, self.grid.depth
        if self.compression in JPEG_2000:
            self._require_jpeg_2000_size(index, packed)
        decode = tifffile.TIFF.DECOMPRESSORS[self.compression]
        stored, (row, column) = grid.rows_of(index), grid.corner(index)
        inner = min(grid.rows, grid.height - row), min(grid.columns, grid.width - column)
        sizes = (stored, grid.columns), (grid.rows, grid.columns), inner, (inner[0], grid.columns)
        for rows, columns in dict.fromkeys(sizes):
            shape = (rows, columns, depth) if depth > 1 else (rows, columns)
            out = np.empty(shape, np.uint8 if self.dtype == bool else self.dtype)
            unwrapped, options = self._codec_input(packed, out)
            try:
                found = decode(unwrapped, out=out, **options)
            except ValueError:  # another size or type
                continue
            return found.reshape(rows, columns, depth)[:stored].astype(self.dtype, copy=False)
        raise self._another_size(index)

    def _codec_input(self, packed: bytes, out: np.ndarray) -> tuple[bytes, dict[str, Any]]:
        """The bytes and the options that a codec of images takes."""
        compression, (rows, columns) = self.compression, out.shape[:2]
        options: dict[str, Any] = {}
        if compression in JPEG:
            options = {"tables": self.page.jpegtables, "shape": (rows, columns)}
            options |= {"header": getattr(self.page.keyframe, "jpegheader", None)}
            is_jfif = packed[6:10] == b"JFIF"
            if self._photometric == YCBCR:
                options |= {"colorspace": YCC, "outcolorspace": RGB}
            elif not (self._photometric == COLOUR and is_jfif):  # as is found in slides of Aperio
                options |= {"colorspace": UNCONVERTED, "outcolorspace": UNCONVERTED}
        elif compression in WEBP:
            options = {"hasalpha": self.grid.depth == 4}
        elif compression in FAX:
            packed = msb_first(packed, self.page.keyframe)
            options = {"height": rows, "width": columns}
            if compression == 3:
                options["t4options"] = self._t4_options
        elif self._unwrap:
            packed = bytes(self._unwrap(packed, 2 * out.nbytes + MORE_BYTES))
        return packed, options

    def _require_jpeg_2000_size(self, index: int, packed: bytes) -> None:
        """Refuses a JPEG 2000 stream of more pixels than its segment: it is decoded before it is
        compared with the size.

        Source: ISO/IEC 15444-1, annex A.5.1: the marker segment SIZ.
        """
        start = packed.find(b"\xff\x4f\xff\x51")
        if start >= 0 and len(packed) >= start + 42:
            right, low, left, top = struct.unpack(">4L", packed[start + 8 : start + 24])
            (components,) = struct.unpack(">H", packed[start + 40 : start + 42])
            grid = self.grid
            if max(right - left, 0) * max(low - top, 0) * components <= (
                grid.rows * grid.columns * grid.depth
            ):
                return
        raise self._another_size(index)

    def _another_size(self, index: int) -> OSError:
        rows, columns, depth = self.grid.rows_of(index), self.grid.columns, self.grid.depth
        return OSError(f"not an image of {rows}x{columns} pixels of {self.dtype}, {depth} channels")

    def _converted(self, array: np.ndarray) -> np.ndarray:
        """Converts colours to RGB where they are stored in another color space."""
        if not self._mode:
            return array
        size = (array.shape[1], array.shape[0])
        return np.asarray(Image.frombytes(self._mode, size, array.tobytes()).convert("RGB"))


def is_decoded_here(keyframe: Any) -> bool:
    """Whether the segments of a page are decoded in this file, not the page by Pillow."""
    compression, photometric = int(keyframe.compression), int(keyframe.photometric)
    is_known = compression in {*BYTES, *IMAGES}
    if not is_known or compression not in tifffile.TIFF.DECOMPRESSORS:
        return False
    if photometric == YCBCR:
        is_whole = keyframe.planarconfig != 2
        return is_whole and compression in {*JPEG, *JPEG_2000, *WEBP, *JPEG_XL}
    return photometric in AS_THEY_ARE or bool(_mode_of(keyframe))


def _mode_of(keyframe: Any) -> str:
    """The mode of Pillow from which colours are converted to RGB, or ""."""
    compression, photometric = int(keyframe.compression), int(keyframe.photometric)
    if compression == APERIO_YCBCR:
        photometric = YCBCR
    elif photometric == YCBCR:  # which these codecs convert themselves
        return ""
    mode, samples = CONVERTED.get(photometric, ("", 0))
    is_usual = (keyframe.bitspersample, keyframe.samplesperpixel) == (8, samples)
    return mode if is_usual and keyframe.planarconfig != 2 else ""


def _unpack_zstandard(packed: bytes, most: int) -> bytes:
    return bytes(imagecodecs.zstd_decode(packed, out=most))


def msb_first(packed: bytes, keyframe: Any) -> bytes:
    """Bytes whose first bit is the highest, whichever order the file has.

    Source: TIFF 6.0, section 8, FillOrder.
    """
    if int(keyframe.fillorder) != 2:
        return packed
    return bytes(imagecodecs.bitorder_decode(packed))


def refused_codec(path: Path, keyframe: Any) -> DataError:
    """The error for a compression that cannot be decoded."""
    name = getattr(keyframe.compression, "name", keyframe.compression)
    is_unsafe = int(keyframe.compression) in JPEG_XR
    reason = (
        "whose decoder can crash on damaged files" if is_unsafe else "which cannot be read here"
    )
    return DataError(
        f"{path} has {keyframe.samplesperpixel} channels of {keyframe.bitspersample} bits in "
        f"the compression {name}, {reason}; accepted are none, deflate, LZW and "
        "those that the installed imagecodecs decodes; save it with one of these"
    )


def _dtype_of(path: Path, keyframe: Any) -> np.dtype:
    bits, predictor = keyframe.bitspersample, int(keyframe.predictor)
    compression = int(keyframe.compression)
    if compression in IMAGES:
        if keyframe.dtype is not None and (bits == 1) == (compression in FAX):
            return np.dtype(keyframe.dtype)
    elif bits < 8:
        if predictor == 1 and 8 % bits == 0:
            return np.dtype(bool if bits == 1 else np.uint8)
    elif (
        keyframe.dtype is not None
        and np.dtype(keyframe.dtype).itemsize * 8 == bits
        and predictor <= FLOATING
    ):
        return np.dtype(keyframe.dtype)
    raise DataError(
        f"{path} has {bits} bits a sample with predictor {predictor}; accepted are 1, 2, 4, 8, "
        "16, 32 and 64 bits and predictors up to 3; save it again"
    )
