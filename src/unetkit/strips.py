"""Put the compressed strips and tiles of a TIFF page together, for any type and number of channels.

tifffile unpacks few compressions without a library of codecs that is larger than all else here.
Deflate is unpacked by Python, LZW and its like by the library inside Pillow, which is handed the
strips as grey pixels: bytes in, bytes out. What the bytes mean is then read here.
"""

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from unetkit.errors import DataError

MAX_BYTES = 1 << 31  # of one picture, all channels together
UNCOMPRESSED = 1
DEFLATE = {8, 32946}
UNPACKED = {5, 32773, 34925, 50000}  # LZW, PackBits, LZMA, Zstandard
HORIZONTAL, FLOATING = 2, 3  # predictors
PALETTE = 3  # a photometric interpretation


def put_together(tif: tifffile.TiffFile, path: Path, page: Any) -> np.ndarray:
    """A page, (H, W, C), from its strips or tiles.

    Source: TIFF 6.0, sections 3, 10, 14, 15.
    """
    keyframe = page.keyframe
    height, width = keyframe.imagelength, keyframe.imagewidth
    planes = keyframe.samplesperpixel if keyframe.planarconfig == 2 else 1
    depth = keyframe.samplesperpixel // planes
    rows, columns = min(keyframe.rowsperstrip, height), width
    total = height
    if keyframe.is_tiled:
        rows, columns = keyframe.tilelength, keyframe.tilewidth
        total = -(-height // rows) * -(-width // columns) * rows
    parts = []
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        tif.filehandle.seek(offset)
        parts.append(tif.filehandle.read(count))
    row_bytes = -(-columns * depth * keyframe.bitspersample // 8)
    if total * row_bytes > MAX_BYTES or planes * -(-total // rows) != len(parts):
        raise DataError(
            f"{path} cannot be read whole ({len(parts)} parts of {rows}x{columns} pixels for "
            f"{height}x{width}); accepted are undamaged TIFF files; replace or remove it"
        )
    each = len(parts) // planes
    found = []
    for plane in range(planes):
        packed = parts[plane * each : (plane + 1) * each]
        unpacked = _unpack(packed, keyframe, (total, row_bytes), rows)
        numbers = _numbers(path, unpacked, keyframe, tif.byteorder, columns, depth)
        if keyframe.is_tiled:
            down, across = -(-height // rows), -(-width // columns)
            numbers = numbers.reshape(down, across, rows, columns, depth).swapaxes(1, 2)
            numbers = numbers.reshape(down * rows, across * columns, depth)[:height, :width]
        found.append(numbers)
    return np.concatenate(found, axis=2)


def _unpack(parts: Sequence[bytes], keyframe: Any, shape: tuple[int, int], rows: int) -> np.ndarray:
    """Bytes of each row, `shape`, of strips of so many rows; never more, whatever they hold."""
    compression = int(keyframe.compression)
    if compression in UNPACKED:
        with Image.open(BytesIO(_grey_tiff(parts, keyframe, shape, rows))) as picture:
            return np.asarray(picture)
    found = np.empty(shape, np.uint8)
    for number, part in enumerate(parts):
        strip = found[number * rows : (number + 1) * rows].reshape(-1)
        unpacked = part[: strip.size]
        if compression in DEFLATE:
            inflater = zlib.decompressobj()
            unpacked = inflater.decompress(part, strip.size)
            inflater.decompress(inflater.unconsumed_tail, 1)  # its checksum, if this is the end
        if len(unpacked) < strip.size:
            raise OSError(f"{len(unpacked)} bytes in a strip, {strip.size} needed")
        strip[:] = np.frombuffer(unpacked, np.uint8)
    return found


def _grey_tiff(parts: Sequence[bytes], keyframe: Any, shape: tuple[int, int], rows: int) -> bytes:
    """A TIFF whose grey pixels are the bytes of strips, for a library that knows few types."""
    first = 8 + 2 + 10 * 12 + 4
    data = first + (8 * len(parts) if len(parts) > 1 else 0)
    counts = np.array([len(part) for part in parts], "<u4")
    starts = (data + np.cumsum(counts, dtype="<u8") - counts).astype("<u4")
    places = (first, first + 4 * len(parts)) if len(parts) > 1 else (starts[0], counts[0])
    tags = (
        (256, 1, shape[1]), (257, 1, shape[0]), (258, 1, 8), (259, 1, int(keyframe.compression)),
        (262, 1, 1), (266, 1, int(keyframe.fillorder)), (273, len(parts), places[0]), (277, 1, 1),
        (278, 1, rows), (279, len(parts), places[1]),
    )  # fmt: skip
    entries = b"".join(struct.pack("<HHLL", tag, 4, count, value) for tag, count, value in tags)
    header = b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4)
    lists = starts.tobytes() + counts.tobytes() if len(parts) > 1 else b""
    return b"".join((header, lists, *parts))


def _numbers(
    path: Path, unpacked: np.ndarray, keyframe: Any, order: str, columns: int, depth: int
) -> np.ndarray:
    """Numbers, (rows, columns, depth), from the bytes of each row, with the predictor undone."""
    bits, predictor = keyframe.bitspersample, int(keyframe.predictor)
    shape = (len(unpacked), columns, depth)
    if bits < 8 and predictor == 1 and 8 % bits == 0:
        shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
        samples = (unpacked[..., None] >> shifts & (2**bits - 1)).reshape(len(unpacked), -1)
        samples = samples[:, : columns * depth].reshape(shape)
        if bits == 1:
            return samples.astype(bool)
        white = 255 // (2**bits - 1)  # as in PNG: few bits are coarse steps from black to white
        return samples if int(keyframe.photometric) == PALETTE else samples * np.uint8(white)
    if keyframe.dtype is None or keyframe.dtype.itemsize * 8 != bits or predictor > FLOATING:
        raise DataError(
            f"{path} has {bits} bits a sample with predictor {predictor}; accepted are 1, 2, 4, 8, "
            "16, 32 and 64 bits and predictors up to 3; save it again"
        )
    if predictor == FLOATING:
        steps = unpacked.reshape(len(unpacked), -1, depth)
        sums = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(len(unpacked), bits // 8, -1)
        whole = np.ascontiguousarray(sums.swapaxes(1, 2)).view(f">u{bits // 8}")
    else:
        whole = np.ascontiguousarray(unpacked).view(f"{order}u{bits // 8}")
    numbers = whole.astype(f"=u{bits // 8}").reshape(shape)
    if predictor == HORIZONTAL:
        numbers = np.cumsum(numbers, axis=1, dtype=numbers.dtype)
    return numbers.view(keyframe.dtype)
