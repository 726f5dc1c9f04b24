"""Write PNG, JPEG and NPZ files of images in memory, whole or not at all.

PNGs are put together here, from pixels that libdeflate has compressed: Pillow and OpenCV compress
with zlib, which takes a multiple of the time for files of the same size (docs/log.md, 2026-12-01).
Readers of PNG differ in nothing else. Files larger than memory are left to `tiff.writer` and
`ome_zarr_writer`.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from unetkit._shared.files import write_atomically
from unetkit.io.decoding import PNG_SIGNATURE

METADATA_NAME = b"unetkit"  # keyword of the text chunk of a PNG that holds the metadata
PNG_COLOURS = {1: 0, 3: 2, 4: 6}  # colour type of a PNG for each number of channels
PNG_PALETTE = 3  # colour type
NO_FILTER, UP = 0, 2  # filters of rows
# Levels of libdeflate: a photo is 5 % larger than at the highest level of zlib that Pillow uses by
# default, in a tenth of the time; areas of one colour as small as there, in a quarter.
PHOTO_LEVEL, FLAT_LEVEL = 1, 5
LOSSY_QUALITY = 92  # of JPEGs
JPEG_LARGEST_SIDE = 65_500  # of libjpeg
JPEG_LARGEST_COMMENT = 65_533  # bytes
NPZ_LEVEL = 1  # of zlib


def write_png(
    file: Path,
    pixels: np.ndarray,
    metadata: Mapping[str, Any] | None = None,
    *,
    palette: Sequence[Sequence[int]] | None = None,
    is_flat: bool = False,
) -> None:
    """Writes a PNG under another name and renames it, so that no file is ever incomplete.

    Args:
        file: File to write or replace.
        pixels: (H, W) uint8 or uint16, or (H, W, C) uint8 of 3 or, with opacity, 4 channels.
        metadata: Stored as JSON in a text chunk named `METADATA_NAME`; None for no chunk.
        palette: (n, 3) from 0 to 255, n up to 256: colour in which each value of uint8 pixels is
            shown, others in black; None for grey.
        is_flat: Whether the pixels form areas of one value, as in masks.

    Raises:
        OSError: The file cannot be written.

    Source: PNG (third edition), sections 5, 9 and 11.
    """
    height, width = pixels.shape[:2]
    colours = PNG_COLOURS[1 if pixels.ndim == 2 else pixels.shape[2]]
    bits = 8 * pixels.dtype.itemsize
    chunks = []
    if palette is not None:
        colours = PNG_PALETTE
        table = np.zeros((max(len(palette), int(pixels.max()) + 1), 3), np.uint8)
        table[: len(palette)] = palette
        chunks.append((b"PLTE", table.tobytes()))
    if metadata is not None:
        chunks.append((b"tEXt", METADATA_NAME + b"\0" + json.dumps(metadata).encode("latin-1")))
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    packed = _pack_rows(pixels, is_flat)
    chunks = [(b"IHDR", header), *chunks, (b"IDAT", packed), (b"IEND", b"")]

    def write(part: Path) -> None:
        with open(part, "wb") as opened:
            opened.write(PNG_SIGNATURE)
            for kind, content in chunks:
                checksum = zlib.crc32(content, zlib.crc32(kind))
                opened.write(struct.pack(">I", len(content)) + kind)
                opened.write(content)
                opened.write(struct.pack(">I", checksum))

    write_atomically(file, write)


def _pack_rows(pixels: np.ndarray, is_flat: bool) -> bytes:
    """Compresses the rows of an image, each with its filter in front."""
    rows = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">"))
    rows = rows.view(np.uint8).reshape(len(rows), -1)
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = NO_FILTER if is_flat else UP
    if is_flat:
        filtered[:, 1:] = rows
    else:  # differences from the row above, modulo 256
        filtered[0, 1:] = rows[0]
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    level = FLAT_LEVEL if is_flat else PHOTO_LEVEL
    return bytes(imagecodecs.deflate_encode(filtered, level=level))  # type: ignore[arg-type]


def write_jpeg(file: Path, pixels: np.ndarray, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes a JPEG under another name and renames it; colours have full resolution.

    Args:
        file: File to write or replace.
        pixels: (H, W, 3) uint8, sides of up to `JPEG_LARGEST_SIDE` pixels.
        metadata: Stored as JSON in the comment, at most `JPEG_LARGEST_COMMENT` bytes; None for no
            comment.

    Raises:
        OSError: The file cannot be written.
    """
    comment = {} if metadata is None else {"comment": json.dumps(metadata).encode("ascii")}
    options = {"quality": LOSSY_QUALITY, "subsampling": "4:4:4", **comment}
    write_atomically(file, lambda part: Image.fromarray(pixels).save(part, "JPEG", **options))


def write_npz(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an archive of arrays under another name and renames it.

    Arrays of 8 bits are compressed. Floats are not: deflate takes forty times as long as writing
    them, and leaves nine tenths of float32 (docs/log.md, 2026-12-01).

    Args:
        file: File to write or replace.
        arrays: Each array by its name.

    Raises:
        OSError: The file cannot be written.
    """

    def write(part: Path) -> None:
        with zipfile.ZipFile(part, "w") as archive:
            for name, array in arrays.items():
                content = io.BytesIO()
                np.lib.format.write_array(content, array, allow_pickle=False)
                is_packed = array.dtype.itemsize == 1
                method = zipfile.ZIP_DEFLATED if is_packed else zipfile.ZIP_STORED
                entry = zipfile.ZipInfo(f"{name}.npy")  # of no date, so that bytes repeat
                archive.writestr(entry, content.getbuffer(), method, NPZ_LEVEL)

    write_atomically(file, write)
