"""The tiles of an image of any size and of its overviews, for every file format.

A viewer that shows a whole slide or map on one screen reads an overview: the image at a half, a
quarter, an eighth ... of its size. All levels are cut into tiles of one size. They are computed in
one pass over the image: four tiles, halved, are one tile of the next level, which is completed as
soon as its fourth quarter exists. So at most half a row of tiles is held at any time, each pixel is
read once, and no level is read again.

`tiff.writer` and `ome_zarr_writer` write the files; what both refuse is refused here.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.errors import ConfigError, SizeError

Read = Callable[[slice, slice], np.ndarray]  # rows, columns -> (h, w, C)

TILE = 512  # rows and columns of a tile
LONGEST = 1024  # longest side of the smallest overview, about a screen
BLOCK_BYTES = 1 << 26  # read at once, unless a single tile is larger
PYRAMID_DTYPES = ("uint8", "uint16", "uint32", "float16", "float32")


def level_sizes(size: tuple[int, int], levels: int | None = None) -> list[tuple[int, int]]:
    """Returns the sizes of an image and its overviews, each half of the one before, rounded up.

    The last one fits a screen, or its shorter side cannot be halved; unless their number is given.

    >>> level_sizes((5001, 3000))
    [(5001, 3000), (2501, 1500), (1251, 750), (626, 375)]
    """
    sizes = [size]
    while (
        len(sizes) < levels
        if levels is not None
        else max(sizes[-1]) > LONGEST and min(sizes[-1]) > 1
    ):
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes


def halve(block: np.ndarray, nearest: bool, nodata: float | None = None) -> np.ndarray:
    """Returns a block at half its size, rounded up.

    Args:
        block: (h, w, C), starting at an even row and column of its level.
        nearest: Whether to take every second pixel, as for labels; otherwise the mean of two by
            two pixels, fewer at the edge, is taken.
        nodata: Value of pixels that means leave out; the mean of only such pixels is this value.

    Returns:
        (ceil(h / 2), ceil(w / 2), C) of the same type; means of integers are rounded, halves
        upwards.

    >>> halve(np.array([[[1], [3], [7]]], np.uint8), nearest=False)[..., 0]
    array([[2, 7]], dtype=uint8)
    """
    if nearest:
        return np.ascontiguousarray(block[::2, ::2])
    height, width = block.shape[:2]
    if height % 2 or width % 2:  # repeating the edge does not change the mean
        block = np.pad(block, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    four = [block[row::2, column::2] for row in (0, 1) for column in (0, 1)]
    if nodata is not None:
        return _mean_of_valid(np.stack(four), nodata)
    if block.dtype.kind == "f":
        quarter = block.dtype.type(0.25)
        return sum((part * quarter for part in four[1:]), four[0] * quarter)
    wide = np.dtype(np.uint32 if block.dtype.itemsize < 4 else np.uint64)
    total = sum((part.astype(wide) for part in four[1:]), four[0].astype(wide))
    return ((total + 2) // 4).astype(block.dtype)


def _mean_of_valid(four: np.ndarray, nodata: float) -> np.ndarray:
    valid = ~np.isnan(four) if np.isnan(nodata) else four != nodata
    count = valid.sum(axis=0)
    mean = np.where(valid, four, 0).sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
    if four.dtype.kind != "f":
        mean = np.floor(mean + 0.5)
    return np.where(count > 0, mean, nodata).astype(four.dtype)


def walk_tiles(
    shape: tuple[int, int, int],
    dtype: np.dtype,
    read: Read,
    half: Callable[..., np.ndarray],
    levels: int | None = None,
) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Yields the tiles of an image and of its overviews; the image is read once.

    Args:
        shape: (H, W, C) of the image, in pixels.
        dtype: Type of the pixels that `read` returns.
        read: Returns the pixels of rows and columns, (h, w, C). It is called for blocks of `TILE`
            rows from the top, from left to right, of whole tiles and about `BLOCK_BYTES` at most.
        half: Halves a tile: (h, w, C) -> (ceil(h / 2), ceil(w / 2), C).
        levels: Number of levels, the image itself included; None for those of `level_sizes`.

    Yields:
        Level, row and column of the tile in its level, and the tile, (h, w, C), smaller than
        others at the right and lower edge. The tiles of each level come row by row.

    Raises:
        SizeError: `read` returns another shape or type.
    """
    sizes = level_sizes(shape[:2], levels)
    grids = [(-(-height // TILE), -(-width // TILE)) for height, width in sizes]
    waiting: list[dict[tuple[int, int], dict[tuple[int, int], np.ndarray]]] = [{} for _ in sizes]

    def complete(level: int, row: int, column: int, tile: np.ndarray) -> Iterator[Any]:
        yield level, row, column, tile
        if level + 1 == len(sizes):
            return
        above = row // 2, column // 2
        parts = waiting[level + 1].setdefault(above, {})
        parts[row % 2, column % 2] = half(tile)
        down, across = (
            min(2, count - 2 * place) for count, place in zip(grids[level], above, strict=True)
        )
        if len(parts) == down * across:
            del waiting[level + 1][above]
            whole = [
                np.concatenate([parts[r, c] for c in range(across)], axis=1) for r in range(down)
            ]
            yield from complete(level + 1, *above, np.concatenate(whole))

    for rows, columns, block in _blocks(shape, dtype, read):
        for start in range(0, block.shape[1], TILE):
            tile = block[:, start : start + TILE]
            yield from complete(0, rows.start // TILE, (columns.start + start) // TILE, tile)


def _blocks(
    shape: tuple[int, int, int], dtype: np.dtype, read: Read
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    height, width, channels = shape
    tiles = max(1, BLOCK_BYTES // (TILE * TILE * channels * dtype.itemsize))
    for top in range(0, height, TILE):
        rows = slice(top, min(top + TILE, height))
        for left in range(0, width, tiles * TILE):
            columns = slice(left, min(left + tiles * TILE, width))
            block = np.asarray(read(rows, columns))
            expected = rows.stop - rows.start, columns.stop - columns.start, channels
            if block.shape != expected or block.dtype != dtype:
                raise SizeError(
                    f"rows {rows.start} to {rows.stop} and columns {columns.start} to "
                    f"{columns.stop} were read as {block.dtype} of shape {block.shape}; accepted "
                    f"is {dtype} of shape {expected}"
                )
            yield rows, columns, block


def require_image(path: Path, shape: tuple[int, int, int], dtype: Any) -> np.dtype:
    """Refuses a shape or a type that cannot be written; returns the type in native byte order.

    Raises:
        SizeError: `shape` is not (H, W, C), each at least 1.
        ConfigError: `dtype` is not one of `PYRAMID_DTYPES`.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise SizeError(
            f"the image for {path} has the shape {tuple(shape)}; accepted are height, width and "
            "channels, each at least 1"
        )
    if np.dtype(dtype).name not in PYRAMID_DTYPES:
        raise ConfigError(
            f"the image for {path} has {np.dtype(dtype)} pixels; accepted are "
            f"{', '.join(PYRAMID_DTYPES)}; convert them"
        )
    return np.dtype(dtype).newbyteorder("=")


def require_names(path: Path, names: Sequence[str] | None, channels: int) -> None:
    """Refuses more or fewer names than channels.

    Raises:
        ConfigError: `names` has not `channels` names.
    """
    if names is not None and len(names) != channels:
        raise ConfigError(
            f"{len(names)} names are given for the {channels} channels of {path}; accepted is one "
            "for each, or no names"
        )


def as_json(path: Path, metadata: Mapping[str, Any] | None) -> str:
    """Returns the metadata of an image as JSON.

    Raises:
        ConfigError: `metadata` holds what JSON cannot represent.
    """
    try:
        # The space before the colon: tifffile takes '"shape":' for its own metadata.
        return json.dumps(dict(metadata or {}), separators=(", ", " : "), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"metadata for {path} cannot be written ({error}); accepted are strings, finite "
            "numbers, and lists and dicts of them"
        ) from error
