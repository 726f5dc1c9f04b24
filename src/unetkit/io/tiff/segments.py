"""Decode the strips and tiles of a TIFF page, which tifffile calls segments, one by one.

tifffile unpacks few compressions without a library of codecs that is larger than all else here.
Deflate is unpacked by Python, LZW and its like by the library inside Pillow, which is handed the
segments as grey pixels: bytes in, bytes out. What the bytes mean is then read here. Segments that
are pictures themselves (JPEG), or whose colours are converted (CMYK), are handed to Pillow as
pictures, with the tags that say how they are packed.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from unetkit.errors import DataError

MAX_BYTES = 1 << 31  # of one picture, all channels together
BATCH_BYTES = 1 << 24  # decoded at once: few calls of Pillow, each of half a millisecond
UNCOMPRESSED = 1
DEFLATE = {8, 32946}
UNPACKED = {5, 32773, 34925, 50000}  # LZW, PackBits, LZMA, Zstandard
OLD_JPEG = 6
HORIZONTAL, FLOATING = 2, 3  # predictors
PALETTE = 3  # a photometric interpretation
AS_THEY_ARE = {0, 1, 2, 3, 32803, 34892}  # those whose samples need no conversion: grey, RGB, ...
CONVERTED = ("CMYK", "YCbCr", "LAB", "HSV")  # modes of Pillow, which people see as colours
REVERSE = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # the last bit first
JPEG_TABLES = 347
# Of a page, what a codec needs: bits, colour space, order of bits, samples, options of fax, colours
# of indices, inks, opacity, kinds of samples, and how colour is split from brightness.
CODEC_TAGS = {258, 262, 266, 277, 292, 293, 320, 332, 338, 339, JPEG_TABLES, *range(529, 533)}

_Tags = dict[int, tuple[int, int, bytes]]  # type, count and value of each, in the file's byte order


@dataclass(frozen=True)
class Grid:
    """How each plane of a page is cut into strips or tiles, which are counted along the rows.

    Args:
        height: Of the page.
        width: Of the page.
        rows: Of a segment; the last strip may have fewer.
        columns: Of a segment.
        planes: 1, or one for each sample where these are stored apart.
        depth: Samples of a pixel in one plane.
        row_bytes: Of a segment, unpacked.
        is_tiled: Whether these are tiles, which reach beyond the page at its ends.
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
        """Segments beside one another."""
        return -(-self.width // self.columns)

    @property
    def count(self) -> int:
        """Segments of one plane."""
        return -(-self.height // self.rows) * self.across

    def corner(self, index: int) -> tuple[int, int]:
        """Row and column of the page where a segment begins."""
        down, right = divmod(index, self.across)
        return down * self.rows, right * self.columns

    def rows_of(self, index: int) -> int:
        """Rows that are stored of a segment."""
        return self.rows if self.is_tiled else min(self.rows, self.height - index * self.rows)

    def name(self, plane: int, index: int) -> str:
        """A segment in words, as "strip 17 of 300"."""
        kind = "tile" if self.is_tiled else "strip"
        return f"{kind} {plane * self.count + index + 1} of {self.planes * self.count}"


def grid_of(path: Path, page: Any) -> Grid:
    """How a page is cut.

    Raises:
        DataError: It has more or fewer segments than that.

    Source: TIFF 6.0, sections 3 and 15.
    """
    keyframe = page.keyframe
    height, width = keyframe.imagelength, keyframe.imagewidth
    samples = max(1, keyframe.samplesperpixel)  # of none there is one, as other readers have it
    planes = samples if keyframe.planarconfig == 2 else 1
    depth = samples // planes
    rows, columns = min(keyframe.rowsperstrip, height), width
    if keyframe.is_tiled:
        rows, columns = keyframe.tilelength, keyframe.tilewidth
    row_bytes = -(-columns * depth * keyframe.bitspersample // 8)
    grid = Grid(height, width, rows, columns, planes, depth, row_bytes, keyframe.is_tiled)
    found = {len(page.dataoffsets), len(page.databytecounts)}
    if found != {planes * grid.count}:
        raise _not_whole(path, grid, max(found))
    return grid


@dataclass(frozen=True)
class Segments:
    """The strips or tiles of one page, and what their bytes mean.

    Args:
        path: The file, for errors.
        page: tifffile's page.
        grid: How it is cut.
        order: "<" or ">", of the file.
        dtype: Of the numbers.
        channels: Of the page.
        tags: What Pillow needs where it decodes segments as pictures; else None.
        refusal: Why segments cannot be decoded here, though whole pages may be; or None.
    """

    path: Path
    page: Any
    grid: Grid
    order: Literal["<", ">"]
    dtype: np.dtype
    channels: int
    tags: _Tags | None = None
    refusal: str | None = None

    def decode(self, indices: Sequence[int], packed: Sequence[bytes]) -> list[np.ndarray]:
        """Numbers of some segments of one plane.

        Args:
            indices: In the plane, ascending: the last strip may have fewer rows.
            packed: What the file holds of each.

        Returns:
            Of each segment (rows, columns, depth).

        Raises:
            DataError, OSError, zlib.error: They are damaged.
        """
        if self.refusal is not None:
            raise DataError(self.refusal)
        if self.tags is not None:
            return [
                self._decode_picture(index, part)
                for index, part in zip(indices, packed, strict=True)
            ]
        rows = [self.grid.rows_of(index) for index in indices]
        shape = (sum(rows), self.grid.row_bytes)
        unpacked = _unpack(packed, self.page.keyframe, shape, self.grid.rows)
        whole = self.numbers(unpacked, self.grid.columns)
        return [whole[end - count : end] for count, end in zip(rows, accumulate(rows), strict=True)]

    def numbers(self, unpacked: np.ndarray, columns: int) -> np.ndarray:
        """Numbers, (rows, columns, depth), from the bytes of each row; predictors are undone.

        Source: TIFF 6.0, section 14; Adobe, TIFF technical note 3.
        """
        keyframe, depth = self.page.keyframe, self.grid.depth
        bits, predictor = keyframe.bitspersample, int(keyframe.predictor)
        shape = (len(unpacked), columns, depth)
        if bits < 8:
            shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
            samples = (unpacked[..., None] >> shifts & (2**bits - 1)).reshape(len(unpacked), -1)
            samples = samples[:, : columns * depth].reshape(shape)
            if bits == 1:
                return samples.astype(bool)
            white = 255 // (2**bits - 1)  # as in PNG: few bits are coarse steps from black to white
            return samples if int(keyframe.photometric) == PALETTE else samples * np.uint8(white)
        if predictor == FLOATING:
            steps = unpacked.reshape(len(unpacked), -1, depth)
            sums = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(len(unpacked), bits // 8, -1)
            whole = np.ascontiguousarray(sums.swapaxes(1, 2)).view(f">u{bits // 8}")
            return whole.astype(f"=u{bits // 8}").reshape(shape).view(self.dtype)
        stored = np.ascontiguousarray(unpacked).view(self.dtype.newbyteorder(self.order))
        numbers = stored.astype(self.dtype, copy=False).reshape(shape)
        if predictor == HORIZONTAL:
            steps = numbers.view(f"u{bits // 8}")
            numbers = np.cumsum(steps, axis=1, dtype=steps.dtype).view(self.dtype)
        return numbers

    def _decode_picture(self, index: int, packed: bytes) -> np.ndarray:
        rows = self.grid.rows_of(index)
        with Image.open(BytesIO(_file_of([packed], self._picture_tags(rows), self.order))) as found:
            numbers = numbers_of(self.path, self.page.keyframe, found, self.grid.planes)
        if numbers.dtype != self.dtype or numbers.shape[:2] != (rows, self.grid.columns):
            raise OSError(f"{numbers.dtype} {numbers.shape}, {self.dtype} needed")
        return numbers

    def _picture_tags(self, rows: int) -> _Tags:
        sizes = {256: self.grid.columns, 257: rows, 278: rows}
        compression = int(self.page.keyframe.compression)
        return (
            dict(self.tags or {})
            | {tag: (4, 1, struct.pack(f"{self.order}L", size)) for tag, size in sizes.items()}
            | {259: (3, 1, struct.pack(f"{self.order}H", compression))}
        )


def segments_of(tif: tifffile.TiffFile, path: Path, page: Any) -> Segments:
    """Learns how the segments of a page are decoded, without any of them.

    Raises:
        DataError: They are not as many as needed, or not known here.
    """
    keyframe, order = page.keyframe, tif.byteorder
    grid = grid_of(path, page)
    if is_plain(keyframe):
        dtype, refusal = _dtype_of(path, keyframe)
        channels = grid.planes * grid.depth
        return Segments(path, page, grid, order, dtype, channels, refusal=refusal)
    if int(keyframe.compression) == OLD_JPEG or (
        grid.planes > 1 and int(keyframe.photometric) not in AS_THEY_ARE
    ):
        dtype, refusal = np.dtype(np.uint8), str(refused_codec(path, keyframe))
        return Segments(path, page, grid, order, dtype, keyframe.samplesperpixel, refusal=refusal)
    tags = _codec_tags(tif, page, grid.planes > 1)
    segments = Segments(path, page, grid, order, np.dtype(bool), 0, tags)
    try:  # what Pillow makes of such tags is known before any pixel is there
        with Image.open(BytesIO(_file_of([b"\0"], segments._picture_tags(1), order))) as picture:
            sample = numbers_of(path, keyframe, Image.new(picture.mode, (1, 1)), grid.planes)
    except UnidentifiedImageError:
        raise refused_codec(path, keyframe) from None
    return replace(segments, dtype=sample.dtype, channels=sample.shape[2] * grid.planes)


def is_plain(keyframe: Any) -> bool:
    """Whether the numbers of a page are unpacked here, not decoded as a picture by Pillow."""
    known = int(keyframe.compression) in {UNCOMPRESSED, *DEFLATE, *UNPACKED}
    return known and int(keyframe.photometric) in AS_THEY_ARE


def straight(packed: bytes, keyframe: Any) -> bytes:
    """Bytes of a file with the first bit first; libtiff does this itself.

    Source: TIFF 6.0, section 8, FillOrder.
    """
    is_ours = int(keyframe.compression) in {UNCOMPRESSED, *DEFLATE}
    return packed.translate(REVERSE) if is_ours and int(keyframe.fillorder) == 2 else packed


def numbers_of(path: Path, keyframe: Any, picture: Image.Image, planes: int = 1) -> np.ndarray:
    """A picture of Pillow's as (H, W, C), colours for what is meant as colours.

    Raises:
        DataError: It lacks channels.
    """
    # Pillow converts what it can, and says so of the rest.
    colours = picture.mode in CONVERTED
    array = np.asarray(picture.convert("RGB") if colours else picture)
    array = array if array.ndim == 3 else array[..., None]
    if not array.size or (not colours and array.shape[2] * planes != keyframe.samplesperpixel):
        raise refused_codec(path, keyframe)
    return array


def refused_codec(path: Path, keyframe: Any) -> DataError:
    """The error for pixels that nobody here decodes."""
    name = getattr(keyframe.compression, "name", keyframe.compression)
    return DataError(
        f"{path} has {keyframe.samplesperpixel} channels of {keyframe.bitspersample} bits in "
        f"the compression {name}, which cannot be read here; accepted are none, deflate and "
        "LZW; save it with one of these"
    )


def put_together(tif: tifffile.TiffFile, path: Path, page: Any) -> np.ndarray:
    """A page, (H, W, C), from its strips or tiles.

    Raises:
        DataError: They are too large, or what they hold is not known here.
    """
    segments = segments_of(tif, path, page)
    if segments.refusal is not None:
        raise DataError(segments.refusal)
    grid = segments.grid
    rows = grid.rows * grid.count if grid.is_tiled else grid.height
    if rows * grid.row_bytes > MAX_BYTES:
        raise _not_whole(path, grid, grid.planes * grid.count)
    whole = np.empty((grid.height, grid.width, segments.channels), segments.dtype)
    each = max(1, BATCH_BYTES // (grid.rows * grid.row_bytes))
    for plane in range(grid.planes):
        channels = slice(plane * grid.depth, (plane + 1) * grid.depth)
        for start in range(0, grid.count, each):
            indices = range(start, min(start + each, grid.count))
            packed = []
            for index in indices:
                tif.filehandle.seek(page.dataoffsets[plane * grid.count + index])
                count = page.databytecounts[plane * grid.count + index]
                packed.append(tif.filehandle.read(count))
            for index, numbers in zip(indices, segments.decode(indices, packed), strict=True):
                row, column = grid.corner(index)
                place = whole[row : row + grid.rows, column : column + grid.columns, channels]
                place[:] = numbers[: place.shape[0], : place.shape[1]]
    return whole


def _not_whole(path: Path, grid: Grid, parts: int) -> DataError:
    return DataError(
        f"{path} cannot be read whole ({parts} parts of {grid.rows}x{grid.columns} pixels for "
        f"{grid.height}x{grid.width}); accepted are undamaged TIFF files; replace or remove it"
    )


def _dtype_of(path: Path, keyframe: Any) -> tuple[np.dtype, str | None]:
    bits, predictor = keyframe.bitspersample, int(keyframe.predictor)
    if bits < 8 and predictor == 1 and 8 % bits == 0:
        return np.dtype(bool if bits == 1 else np.uint8), None
    if keyframe.dtype is None or keyframe.dtype.itemsize * 8 != bits or predictor > FLOATING:
        return np.dtype(keyframe.dtype or np.uint8), (
            f"{path} has {bits} bits a sample with predictor {predictor}; accepted are 1, 2, 4, 8, "
            "16, 32 and 64 bits and predictors up to 3; save it again"
        )
    return np.dtype(keyframe.dtype), None


def _unpack(parts: Sequence[bytes], keyframe: Any, shape: tuple[int, int], rows: int) -> np.ndarray:
    """Bytes of each row, `shape`, of segments of so many rows; never more, whatever they hold."""
    compression = int(keyframe.compression)
    if compression in UNPACKED:
        # A library that knows few types is told that the bytes are grey pixels.
        sizes = {256: shape[1], 257: shape[0], 258: 8, 262: 1, 277: 1, 278: rows}
        sizes |= {259: compression, 266: int(keyframe.fillorder)}
        tags = {tag: (4, 1, struct.pack("<L", size)) for tag, size in sizes.items()}
        with Image.open(BytesIO(_file_of(parts, tags, "<"))) as picture:
            return np.asarray(picture)
    found = np.empty(shape, np.uint8)
    for number, part in enumerate(parts):
        segment = found[number * rows : (number + 1) * rows].reshape(-1)
        unpacked = straight(part, keyframe)
        if compression in DEFLATE:
            inflater = zlib.decompressobj()
            unpacked = inflater.decompress(unpacked, segment.size)
            inflater.decompress(inflater.unconsumed_tail, 1)  # its checksum, if this is the end
        if len(unpacked) < segment.size:
            raise OSError(f"{len(unpacked)} bytes in a strip, {segment.size} needed")
        segment[:] = np.frombuffer(unpacked, np.uint8, segment.size)
    return found


def _codec_tags(tif: tifffile.TiffFile, page: Any, is_planar: bool) -> _Tags:
    """What the file says of how its pixels are packed, as it says it."""
    keyframe = page.keyframe
    tags: _Tags = {}
    for tag in keyframe.tags:
        if tag.code in CODEC_TAGS:
            tif.filehandle.seek(tag.valueoffset)
            tags[tag.code] = (int(tag.dtype), tag.count, tif.filehandle.read(tag.valuebytecount))
    tables = page.jpegtables
    if tables is not None:
        tags[JPEG_TABLES] = (7, len(tables), tables)
    if is_planar:  # each segment is then a picture of one channel
        white_is_zero = int(keyframe.photometric) == 0
        short = {258: keyframe.bitspersample, 262: 0 if white_is_zero else 1, 277: 1}
        tags |= {c: (3, 1, struct.pack(f"{tif.byteorder}H", v)) for c, v in short.items()}
        tags = {code: value for code, value in tags.items() if code not in (338, 339)}
    return tags


def _file_of(parts: Sequence[bytes], tags: _Tags, order: str) -> bytes:
    """A TIFF of one page with these strips, one after another."""
    counts = [len(part) for part in parts]
    tags = tags | {279: (4, len(parts), struct.pack(f"{order}{len(parts)}L", *counts))}
    end = 8 + 2 + 12 * (len(tags) + 1) + 4
    sizes = [len(value) for _, _, value in (*tags.values(), tags[279])]  # as many as 273
    start = end + sum(size + size % 2 for size in sizes if size > 4)
    starts = [start + before for before in accumulate(counts[:-1], initial=0)]
    tags[273] = (4, len(parts), struct.pack(f"{order}{len(parts)}L", *starts))
    table, long = b"", b""
    for code, (kind, count, value) in sorted(tags.items()):
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack(f"{order}L", end + len(long))
            long += value + bytes(len(value) % 2)
        table += struct.pack(f"{order}HHL", code, kind, count) + place
    magic = b"II*\0" if order == "<" else b"MM\0*"
    header = magic + struct.pack(f"{order}LH", 8, len(tags))
    return b"".join((header, table, bytes(4), long, *parts))
