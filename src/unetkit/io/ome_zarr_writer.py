"""Write images of any size as OME-Zarr 0.5: a folder with overviews, written tile by tile.

Each level of the pyramid is an array; each tile of a channel is a compressed chunk, a file of its
own. One process writes an image with `write_ome_zarr`. Several processes write it in blocks: one
calls `create_ome_zarr`, each `write_block` writes chunks that belong to no other block, in all
levels where such chunks exist, and at the end `write_overviews` adds the levels above.
"""

import json
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.files import part_of
from unetkit.errors import ConfigError, OutputExistsError, full_disk_named
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
from unetkit.io.zarr_reader import is_zarr, require_zarr

VERSION = "0.5"  # version of OME-Zarr
COMPRESSION = 3  # level of Zstandard, its default
COLOURS = ("FF0000", "00FF00", "0000FF")  # of the channels of a photo in viewers
PHOTO = ("red", "green", "blue", "opacity")
WRITER_THREADS = 2  # threads that compress and write chunks, beside those of the library
MAX_WAITING_BLOCKS = 8  # tiles that are being written
UNFINISHED = ".partial"  # end of the names under which zarr writes a file


def write_ome_zarr(
    path: str | Path,
    shape: tuple[int, int, int],
    dtype: Any,
    read: Read,
    *,
    nearest: bool,
    names: Sequence[str] | None = None,
    colours: Sequence[Sequence[int]] | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes an image of any size as OME-Zarr with overviews, whole or not at all.

    An image of one channel has the axes y, x, any other c, y, x. A chunk is a tile of one channel,
    compressed by Zstandard; chunks of zeros are left out.

    Memory: a block of at most `pyramid.BLOCK_BYTES` (or a tile), and half a row of tiles.

    Args:
        path: Path of the new folder. It exists when all is written; until then a hidden folder
            beside it does.
        shape: (H, W, C), in pixels.
        dtype: "uint8", "uint16", "uint32", "float16" or "float32".
        read: Returns the pixels of rows and columns, (h, w, C) of `dtype`; called as by
            `walk_tiles`.
        nearest: Whether overviews take every second pixel, as for labels, instead of means.
        names: Names of the labels 0, 1, 2 ... if `nearest` and there is one channel; otherwise
            names of the channels.
        colours: (n, 3) from 0 to 255, or (n, 4) with opacity, of the labels or channels.
        metadata: Is written as "unetkit" into the attributes.
        overwrite: Whether to replace a Zarr folder of that name, once all is written.

    Raises:
        MissingExtraError: zarr is not installed.
        OutputExistsError: `path` exists, or with `overwrite`, is not a Zarr folder.
        ConfigError: A type, name, colour or piece of metadata is not accepted.
        SizeError: The shape is not accepted, or `read` returns another one.
        OSError: The folder cannot be written. After any error nothing is left or lost.

    Source: OME-Zarr 0.5, "multiscales", "omero", "image-label".
    """
    path = Path(path)
    _require_place(path, overwrite)
    part = part_of(path)
    try:
        with full_disk_named(path):
            create_ome_zarr(
                part,
                shape,
                dtype,
                nearest=nearest,
                name=path.name,
                names=names,
                colours=colours,
                metadata=metadata,
            )
            whole = slice(0, shape[0]), slice(0, shape[1])
            write_block(part, *whole, len(level_sizes(shape[:2])) - 1, read)
            _move(part, path, overwrite)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def create_ome_zarr(
    folder: Path,
    shape: tuple[int, int, int],
    dtype: Any,
    *,
    nearest: bool,
    name: str,
    names: Sequence[str] | None = None,
    colours: Sequence[Sequence[int]] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Creates an image without pixels, whose blocks are written later.

    Args and Raises are those of `write_ome_zarr`, and:

    Args:
        folder: The new folder.
        name: Name of the image.
    """
    path = folder.with_name(name)  # of which errors speak
    dtype = require_image(path, shape, dtype)
    has_labels = nearest and shape[2] == 1 and dtype.kind == "u"
    if not has_labels:
        require_names(path, names, shape[2])
    _require_colours(path, colours, names, None if has_labels else shape[2])
    own = json.loads(as_json(path, metadata))
    zarr = require_zarr()
    sizes = level_sizes(shape[:2])
    ome: dict[str, Any] = {
        "version": VERSION,
        "multiscales": [_multiscale(name, shape, sizes, nearest)],
    }
    if has_labels:
        ome["image-label"] = _labels(names, colours)
    else:
        ome["omero"] = {"channels": _channels(shape[2], dtype, names, colours)}
    attributes = {"ome": ome, "unetkit": own}
    group = zarr.create_group(store=zarr.storage.LocalStore(folder), attributes=attributes)
    channels = (shape[2],) if shape[2] > 1 else ()
    for level, size in enumerate(sizes):
        group.create_array(
            str(level),
            shape=(*channels, *size),
            dtype=dtype,
            chunks=(*(1 for _ in channels), pyramid.TILE, pyramid.TILE),
            compressors=zarr.codecs.ZstdCodec(level=COMPRESSION),
            fill_value=0,
            dimension_names=(*("c" for _ in channels), "y", "x"),
        )


def cut_blocks(size: tuple[int, int], levels: int) -> list[tuple[slice, slice]]:
    """Cuts an image into blocks, of which each is whole chunks in the image and its overviews.

    Args:
        size: (height, width) of the image.
        levels: Number of overviews in which a block is whole chunks.

    >>> cut_blocks((2000, 512), 1)
    [(slice(0, 1024, None), slice(0, 512, None)), (slice(1024, 2000, None), slice(0, 512, None))]
    """
    side = pyramid.TILE << levels
    rows, columns = (
        [slice(start, min(start + side, length)) for start in range(0, length, side)]
        for length in size
    )
    return [(row, column) for row in rows for column in columns]


def write_block(folder: Path, rows: slice, columns: slice, levels: int, read: Read) -> None:
    """Writes the chunks of a block, and of its part of some overviews.

    A block that is written again has the same chunks, so that nothing of a process that ended in
    its midst remains.

    Args:
        folder: The folder that `create_ome_zarr` made.
        rows: Rows of the block; one of those of `cut_blocks`, or all.
        columns: Its columns.
        levels: Number of overviews, as for `cut_blocks`.
        read: Returns the pixels of rows and columns of the image.

    Raises:
        SizeError: `read` returns another shape.
        OSError: The folder cannot be written.
    """
    arrays, nearest = _open(folder)

    def read_block(inner_rows: slice, inner_columns: slice) -> np.ndarray:
        return read(_moved(inner_rows, rows.start), _moved(inner_columns, columns.start))

    size = rows.stop - rows.start, columns.stop - columns.start
    origin = rows.start // pyramid.TILE, columns.start // pyramid.TILE
    _write(arrays[: levels + 1], size, origin, read_block, nearest)


def write_overviews(folder: Path, levels: int) -> None:
    """Writes the overviews of an image that no block could write, once all blocks are written.

    Args:
        folder: The folder that `create_ome_zarr` made.
        levels: Number of overviews that the blocks have written.
    """
    for left in folder.rglob(f"*{UNFINISHED}"):  # of processes that ended while they wrote
        left.unlink(missing_ok=True)
    arrays, nearest = _open(folder)
    written = arrays[levels]

    def read(rows: slice, columns: slice) -> np.ndarray:
        pixels = np.asarray(written[..., rows, columns])
        return np.moveaxis(pixels, 0, -1) if pixels.ndim > 2 else pixels[..., None]

    _write(arrays[levels:], written.shape[-2:], (0, 0), read, nearest, first=1)


def _require_place(path: Path, overwrite: bool) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise OutputExistsError(
            f"{path} exists already; accepted is a new folder; name another, or pass overwrite=True"
        )
    if path.is_symlink() or not is_zarr(path):
        raise OutputExistsError(
            f"{path} exists and is not a Zarr folder; only Zarr folders are replaced; name "
            "another, or move it away"
        )


def _move(part: Path, path: Path, overwrite: bool) -> None:
    """Gives the new folder its name; the old one is removed only after that."""
    _require_place(path, overwrite)
    aside = part_of(path)
    if path.exists():
        path.rename(aside)
    try:
        part.rename(path)
    except OSError:
        if aside.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _require_colours(
    path: Path,
    colours: Sequence[Sequence[int]] | None,
    names: Sequence[str] | None,
    channels: int | None,
) -> None:
    if colours is None:
        return
    table = np.asarray(colours)
    counts = {len(table), len(names or table), channels or len(table)}
    is_table = table.ndim == 2 and table.shape[1] in (3, 4) and len(table) > 0
    if not is_table or len(counts) > 1 or table.min() < 0 or table.max() > 255:
        raise ConfigError(
            f"the colours for {path} have the shape {table.shape}; accepted are three or four "
            "numbers from 0 to 255 for each name or channel"
        )


def _multiscale(
    name: str, shape: tuple[int, int, int], sizes: list[tuple[int, int]], nearest: bool
) -> dict[str, Any]:
    """The metadata `multiscales`: how coordinates of the levels correspond.

    Coordinates are those of pixel centres: a mean of two by two lies between its pixels, a pixel
    that is taken for its neighbours keeps its coordinates.
    """
    axes = [{"name": axis, "type": "space"} for axis in "yx"]
    channel = [{"name": "c", "type": "channel"}] if shape[2] > 1 else []
    datasets = []
    for level in range(len(sizes)):
        step, ones = float(1 << level), [1.0] * len(channel)
        moves: list[dict[str, Any]] = [{"type": "scale", "scale": [*ones, step, step]}]
        if level and not nearest:
            shift = (step - 1) / 2
            zeros = [0.0] * len(channel)
            moves.append({"type": "translation", "translation": [*zeros, shift, shift]})
        datasets.append({"path": str(level), "coordinateTransformations": moves})
    how = "every second pixel" if nearest else "mean of two by two pixels"
    return {
        "name": name,
        "axes": channel + axes,
        "datasets": datasets,
        "type": "nearest" if nearest else "mean",
        "metadata": {"description": how},
    }


def _labels(names: Sequence[str] | None, colours: Sequence[Sequence[int]] | None) -> dict[str, Any]:
    found: dict[str, Any] = {"version": VERSION}
    if colours is not None:
        found["colors"] = [
            {"label-value": value, "rgba": [*map(int, colour), 255][:4]}
            for value, colour in enumerate(colours)
        ]
    if names is not None:
        found["properties"] = [
            {"label-value": value, "name": name} for value, name in enumerate(names)
        ]
    return found


def _channels(
    channels: int,
    dtype: np.dtype,
    names: Sequence[str] | None,
    colours: Sequence[Sequence[int]] | None,
) -> list[dict[str, Any]]:
    """The metadata `omero`: name, colour and range of each channel in viewers."""
    is_photo = dtype == np.uint8 and channels in (3, 4) and names is None and colours is None
    shown = ["FFFFFF"] * channels
    if is_photo:
        names = PHOTO
        shown = [*COLOURS, "FFFFFF"]
    elif colours is not None:
        shown = ["{:02X}{:02X}{:02X}".format(*map(int, colour[:3])) for colour in colours]
    largest = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    window = {"min": 0.0, "max": largest, "start": 0.0, "end": largest}
    return [
        {
            "label": names[place] if names is not None else str(place),
            "color": shown[place],
            "window": window,
            "active": place < 3 if is_photo else place == 0,
        }
        for place in range(channels)
    ]


def _open(folder: Path) -> tuple[list[Any], bool]:
    """The arrays of an image that is being written, and whether overviews take single pixels."""
    zarr = require_zarr()
    group = zarr.open_group(store=zarr.storage.LocalStore(folder), mode="r+")
    (multiscale,) = group.attrs["ome"]["multiscales"]
    arrays = [group[dataset["path"]] for dataset in multiscale["datasets"]]
    return arrays, multiscale["type"] == "nearest"


def _moved(span: slice, distance: int) -> slice:
    return slice(span.start + distance, span.stop + distance)


def _write(
    arrays: Sequence[Any],
    size: tuple[int, int],
    origin: tuple[int, int],
    read: Read,
    nearest: bool,
    first: int = 0,
) -> None:
    """Writes tiles into the arrays of some levels.

    Args:
        arrays: The array of each level.
        size: (height, width) of the block in the first of them.
        origin: Row and column of its first tile there.
        read: Returns pixels of the block.
        nearest: Whether overviews take every second pixel.
        first: Number of the first level that is written.
    """
    channels = arrays[0].shape[0] if arrays[0].ndim > 2 else 1
    tiles = walk_tiles(
        (*size, channels), arrays[0].dtype, read, partial(halve, nearest=nearest), len(arrays)
    )
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(WRITER_THREADS) as pool:
        for level, row, column, tile in tiles:
            if level < first:
                continue
            place = row + (origin[0] >> level), column + (origin[1] >> level)
            pending.append(pool.submit(_put, arrays[level], *place, tile))
            if len(pending) > MAX_WAITING_BLOCKS:
                pending.popleft().result()
        for future in pending:
            future.result()


def _put(array: Any, row: int, column: int, tile: np.ndarray) -> None:
    """Writes a tile, which is a whole chunk of each channel, so that no chunk is read."""
    height, width, channels = tile.shape
    top, left = row * pyramid.TILE, column * pyramid.TILE
    content = np.moveaxis(tile, -1, 0) if channels > 1 else tile[..., 0]
    array[..., top : top + height, left : left + width] = content
