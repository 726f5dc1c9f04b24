"""Write images of any size as TIFF files with overviews, which viewers of slides and maps open.

`pyramid` computes the tiles of all levels in one pass. Threads compress them in this order. Tiles
of the full size are written to the file at once; those of overviews, and of all planes but the
first, wait compressed in a temporary file until all others are written.
"""

import os
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from xml.sax.saxutils import escape

import numpy as np
import tifffile

from unetkit._shared.files import write_atomically
from unetkit.errors import ConfigError
from unetkit.io import pyramid
from unetkit.io.pyramid import (
    Read,
    as_json,
    halve,
    level_sizes,
    require_image,
    require_names,
    walk_tiles,
)
from unetkit.io.tiff.reader import NODATA_TAG

CLASSIC = (1 << 32) - 1  # bytes; largest file with offsets of 32 bits
GDAL_METADATA = 42112  # tag that GDAL defines
ENCODER_THREADS = min(4, os.cpu_count() or 1)
MAX_WAITING_TILES = 4 * ENCODER_THREADS  # tiles, or planes of tiles, being compressed or waiting
RUNS, ANYTHING = 3, 0  # strategies of zlib: Z_RLE, which is fast, and the default


def write_tiff_pyramid(
    path: str | Path,
    shape: tuple[int, int, int],
    dtype: Any,
    read: Read,
    *,
    nearest: bool,
    palette: Sequence[Sequence[int]] | None = None,
    names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    geotags: Mapping[int, tuple[Any, int, Any]] | None = None,
    nodata: float | None = None,
) -> None:
    """Writes an image of any size as one tiled TIFF with overviews, whole or not at all.

    Overviews are further pages that are marked as reduced, the form that GDAL (QGIS), OpenSlide
    (QuPath), libvips and tifffile all take for levels of one image; Bio-Formats, which supports
    levels in OME files only, skips such pages and reads the first one by its tiles.

    Colours (uint8, three channels without names, or four with opacity) are stored pixel by pixel.
    Any other channels, such as probabilities, are stored plane by plane: a viewer that shows one
    class decodes that class only, and the file is a single image with a band for each class.

    The compression is deflate, which every reader supports and tifffile decodes without further
    libraries; it would not undo a predictor for floats, so that there is none. Labels of 8 bits
    have no predictor, all other integers the horizontal one. Offsets have 64 bits (BigTIFF) where
    incompressible pixels would need them.

    Memory: a block of at most `pyramid.BLOCK_BYTES` (or a tile), and half a row of tiles.

    Args:
        path: Path of the file, which is replaced when all is written. Until then a hidden file and
            a temporary file of compressed tiles lie beside it.
        shape: (H, W, C), in pixels.
        dtype: "uint8", "uint16", "uint32", "float16" or "float32".
        read: Returns the pixels of rows and columns, (h, w, C) of `dtype`; called as by
            `walk_tiles`.
        nearest: Whether overviews take every second pixel, as for labels, instead of means.
        palette: (n, 3) from 0 to 255, n up to 256: colour of each label of one uint8 channel.
        names: Names of the channels, shown by QGIS.
        metadata: Is written as JSON into the description of the first page.
        geotags: {code: (type, count, value)} of the first page, as the extratags of tifffile.
        nodata: Value of pixels without data, which means leave out.

    Raises:
        ConfigError: A type, palette, name or piece of metadata is not accepted.
        SizeError: The shape is not accepted, or `read` returns another one.
        OSError: The file cannot be written. After any error nothing is left.

    Source: TIFF 6.0, sections 14 and 15, tags NewSubfileType and Predictor; GDAL, driver GTiff.
    """
    path = Path(path)
    dtype = require_image(path, shape, dtype)
    require_names(path, names, shape[2])
    layout = _layout(path, shape, dtype, palette, nearest, is_photo=names is None)
    first = _first_page(as_json(path, metadata) if metadata else None, names, geotags, nodata)
    tiles = walk_tiles(shape, dtype, read, partial(halve, nearest=nearest, nodata=nodata))
    is_big = _upper_bound(shape, dtype) > CLASSIC
    write_atomically(path, lambda part: _write(part, shape, layout, first, tiles, is_big))


@dataclass(frozen=True)
class _Layout:
    """How tiles are stored.

    Args:
        dtype: Type of the stored pixels, little-endian.
        planes: Number of planes of a tile, which are stored separately.
        predictor: Whether each value is stored as its difference from the one to its left.
        strategy: Strategy of zlib.
        options: Options of tifffile for every page.
    """

    dtype: np.dtype
    planes: int
    predictor: bool
    strategy: int
    options: dict[str, Any]


def _layout(
    path: Path,
    shape: tuple[int, int, int],
    dtype: np.dtype,
    palette: Sequence[Sequence[int]] | None,
    nearest: bool,
    is_photo: bool,
) -> _Layout:
    channels = shape[2]
    options: dict[str, Any] = {"photometric": "minisblack"}
    planes = 1
    if palette is not None:
        options = {"photometric": "palette", "colormap": _colormap(path, palette, channels, dtype)}
    elif is_photo and dtype == np.uint8 and channels in (3, 4):
        options = {"photometric": "rgb", "planarconfig": "contig"}
        if channels == 4:
            options["extrasamples"] = ["unassalpha"]
    elif channels > 1:
        planes = channels
        options["planarconfig"] = "separate"
        options["extrasamples"] = ["unspecified"] * (channels - 1)
    predictor = dtype.kind == "u" and not (nearest and dtype == np.uint8)
    options["predictor"] = 2 if predictor else None
    # Differences of integers repeat byte by byte, which Z_RLE finds four times as fast; floats
    # repeat in groups of four bytes.
    strategy = RUNS if dtype.kind == "u" else ANYTHING
    return _Layout(dtype.newbyteorder("<"), planes, predictor, strategy, options)


def _colormap(
    path: Path, palette: Sequence[Sequence[int]], channels: int, dtype: np.dtype
) -> np.ndarray:
    """The palette as TIFF stores it, (3, 256) of 16 bits; indices beyond it are black."""
    colours = np.asarray(palette)
    is_table = colours.ndim == 2 and colours.shape[1] == 3 and 1 <= len(colours) <= 256
    if not is_table or colours.min() < 0 or colours.max() > 255:
        raise ConfigError(
            f"the palette for {path} has the shape {colours.shape}; accepted are up to 256 colours "
            "of three numbers from 0 to 255"
        )
    if channels != 1 or dtype != np.uint8:
        raise ConfigError(
            f"a palette is given for {channels} channels of {dtype} for {path}; accepted is one "
            "channel of uint8; leave it out"
        )
    colormap = np.zeros((3, 256), np.uint16)
    colormap[:, : len(colours)] = colours.T * 257
    return colormap


def _first_page(
    description: str | None,
    names: Sequence[str] | None,
    geotags: Mapping[int, tuple[Any, int, Any]] | None,
    nodata: float | None,
) -> dict[str, Any]:
    """Options of tifffile for the first page only, which has the full size."""
    tags = [(code, *rest, True) for code, rest in (geotags or {}).items()]
    if names is not None:
        items = (
            f'<Item name="DESCRIPTION" sample="{place}" role="description">{name}</Item>'
            # GDAL itself escapes twice.
            for place, name in enumerate(escape(escape(name)) for name in names)
        )
        text = f"<GDALMetadata>{''.join(items)}</GDALMetadata>".encode()
        tags.append((GDAL_METADATA, 2, len(text), text, True))
    if nodata is not None:
        tags.append((NODATA_TAG, 2, 0, str(nodata), True))
    return {"description": description or None, "extratags": tags}


def _upper_bound(shape: tuple[int, int, int], dtype: np.dtype) -> int:
    """Largest size of the file in bytes: deflate adds 5 to each 16 KiB that it cannot compress."""
    total = 1 << 20  # tags
    for height, width in level_sizes(shape[:2]):
        tiles = -(-height // pyramid.TILE) * -(-width // pyramid.TILE)
        each = pyramid.TILE * pyramid.TILE * dtype.itemsize
        total += tiles * shape[2] * (each + each // 1024 + 64)
    return total


def _write(
    part: Path,
    shape: tuple[int, int, int],
    layout: _Layout,
    first: dict[str, Any],
    tiles: Iterator[tuple[int, int, int, np.ndarray]],
    is_big: bool,
) -> None:
    with (
        tempfile.TemporaryFile(dir=part.parent) as spare,
        ThreadPoolExecutor(ENCODER_THREADS) as pool,
        tifffile.TiffWriter(part, bigtiff=is_big, byteorder="<") as tif,
    ):
        spool = _Spool(spare)
        packed = _packed(tiles, layout, pool)
        for level, size in enumerate(level_sizes(shape[:2])):
            planes = [(level, plane) for plane in range(layout.planes)]
            stored = (*size, shape[2]) if shape[2] > 1 else size
            tif.write(
                _fill(packed, spool, planes) if level == 0 else _take(spool, planes),
                shape=(shape[2], *size) if layout.planes > 1 else stored,
                dtype=layout.dtype,
                tile=(pyramid.TILE, pyramid.TILE),
                compression="zlib",
                subfiletype=1 if level else 0,
                software="unetkit" if level == 0 else False,
                metadata=None,
                **layout.options,
                **(first if level == 0 else {}),
            )
            for plane, content in packed:  # tiles after the last one of the full size
                spool.put(plane, content)


class _Spool:
    """Compressed tiles that are written later, in a temporary file.

    Args:
        file: The empty file, which the caller closes.
    """

    def __init__(self, file: BinaryIO | Any) -> None:
        self._file = file
        self._end = 0
        self._places: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def put(self, plane: tuple[int, int], packed: bytes) -> None:
        self._file.seek(self._end)
        self._file.write(packed)
        self._places.setdefault(plane, []).append((self._end, len(packed)))
        self._end += len(packed)

    def take(self, plane: tuple[int, int]) -> Iterator[bytes]:
        for start, length in self._places.pop(plane):
            self._file.seek(start)
            yield self._file.read(length)


def _fill(
    packed: Iterator[tuple[tuple[int, int], bytes]], spool: _Spool, planes: list[tuple[int, int]]
) -> Iterator[bytes]:
    """The tiles of the full size, in order; all others go to the spool."""
    for plane, content in packed:
        if plane == planes[0]:
            yield content
        else:
            spool.put(plane, content)
    yield from _take(spool, planes[1:])


def _take(spool: _Spool, planes: list[tuple[int, int]]) -> Iterator[bytes]:
    for plane in planes:
        yield from spool.take(plane)


def _packed(
    tiles: Iterator[tuple[int, int, int, np.ndarray]], layout: _Layout, pool: ThreadPoolExecutor
) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Level and plane of each tile, and its compressed bytes, in the order of the tiles."""
    pending: deque[tuple[tuple[int, int], Future[bytes]]] = deque()
    for level, _, _, tile in tiles:
        for plane in range(layout.planes):
            content = tile[..., plane : plane + 1] if layout.planes > 1 else tile
            pending.append(((level, plane), pool.submit(_pack, content, layout)))
            if len(pending) > MAX_WAITING_TILES:
                place, future = pending.popleft()
                yield place, future.result()
    for place, future in pending:
        yield place, future.result()


def _pack(tile: np.ndarray, layout: _Layout) -> bytes:
    """Compresses a tile; one at an edge of the image is padded with zeros."""
    height, width, channels = tile.shape
    full = np.zeros((pyramid.TILE, pyramid.TILE, channels), layout.dtype)
    full[:height, :width] = tile
    if layout.predictor:
        full[:, 1:] -= full[:, :-1].copy()  # modulo the range of the type
    packer = zlib.compressobj(1, strategy=layout.strategy)
    return packer.compress(full.tobytes()) + packer.flush()
