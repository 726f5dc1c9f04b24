"""Write images of any size as OME-Zarr 0.5: a folder with overviews, written tile by tile.

Each level of the pyramid is an array; each tile of a channel is a compressed chunk.
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
    dtype = require_image(path, shape, dtype)
    has_labels = nearest and shape[2] == 1 and dtype.kind == "u"
    if not has_labels:
        require_names(path, names, shape[2])
    _require_colours(path, colours, names, None if has_labels else shape[2])
    own = json.loads(as_json(path, metadata))
    zarr = require_zarr()
    _require_place(path, overwrite)
    sizes = level_sizes(shape[:2])
    ome: dict[str, Any] = {
        "version": VERSION,
        "multiscales": [_multiscale(path.name, shape, sizes, nearest)],
    }
    if has_labels:
        ome["image-label"] = _labels(names, colours)
    else:
        ome["omero"] = {"channels": _channels(shape[2], dtype, names, colours)}
    part = part_of(path)
    try:
        with full_disk_named(path):
            _write(zarr, part, {"ome": ome, "unetkit": own}, shape, dtype, read, nearest)
            _move(part, path, overwrite)
    finally:
        shutil.rmtree(part, ignore_errors=True)


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


def _write(
    zarr: Any,
    part: Path,
    attributes: dict[str, Any],
    shape: tuple[int, int, int],
    dtype: np.dtype,
    read: Read,
    nearest: bool,
) -> None:
    group = zarr.create_group(store=zarr.storage.LocalStore(part), attributes=attributes)
    channels = (shape[2],) if shape[2] > 1 else ()
    arrays = [
        group.create_array(
            str(level),
            shape=(*channels, *size),
            dtype=dtype,
            chunks=(*(1 for _ in channels), pyramid.TILE, pyramid.TILE),
            compressors=zarr.codecs.ZstdCodec(level=COMPRESSION),
            fill_value=0,
            dimension_names=(*("c" for _ in channels), "y", "x"),
        )
        for level, size in enumerate(level_sizes(shape[:2]))
    ]
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(WRITER_THREADS) as pool:
        for level, row, column, tile in walk_tiles(
            shape, dtype, read, partial(halve, nearest=nearest)
        ):
            pending.append(pool.submit(_put, arrays[level], row, column, tile))
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
