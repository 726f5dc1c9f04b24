"""Zarr folders: arrays in chunks, and the images of microscopy that are made of them (OME-Zarr).

Read are plain arrays, and OME-Zarr up to version 0.5, which says what the axes are. As in TIFFs,
channels make up one picture; moments, planes of a volume and all other axes make many.

Written is OME-Zarr 0.5: an array a level of the pyramid, compressed chunks of one tile and channel.

The zarr library is an extra. It is imported where it is first needed; and whatever a wrong number
in the metadata makes it stumble over becomes one error that names the folder.
"""

import itertools
import json
import math
import re
import shutil
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit import levels
from unetkit.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    MissingExtraError,
    OutputExistsError,
    UnetkitError,
    full_disk_named,
)
from unetkit.levels import (
    Read,
    as_json,
    halve,
    level_sizes,
    require_names,
    require_picture,
    walk_tiles,
)
from unetkit.pixels import MAX_CHANNELS
from unetkit.tiff import FEW
from unetkit.windows import require_numbers

VERSION = "0.5"  # of OME-Zarr, as written
METADATA = ("zarr.json", ".zarray", ".zgroup")  # one of which makes a folder Zarr's
MAX_PICTURES = 10_000  # as of pages in a TIFF
MAX_PIXELS = 1 << 40  # of one picture: a million by a million
MAX_CHUNK_BYTES = 1 << 31  # unpacked, which every window that touches one needs
OLD_AXES = "tczyx"  # before version 0.3, which was the first to name them
COMPRESSION = 3  # of Zstandard, its own default
COLOURS = ("FF0000", "00FF00", "0000FF")  # in which viewers add up a photo
PHOTO = ("red", "green", "blue", "opacity")
WORKERS = 2  # that pack and write chunks, beside the library's own threads
WAITING = 8  # tiles that are being written


class ZarrPicture:
    """One picture of a Zarr array, read by windows.

    Args:
        path: Of the folder, for messages.
        array: The whole array.
        axes: A letter or name each.
        place: Index along every axis that is not "y", "x" or "c".
    """

    def __init__(
        self, path: Path, array: Any, axes: tuple[str, ...], place: Mapping[str, int]
    ) -> None:
        sizes = dict(zip(axes, array.shape, strict=True))
        self._path, self._array, self._axes = path, array, axes
        self.place = dict(place)
        self.shape: tuple[int, int, int] = (sizes["y"], sizes["x"], sizes.get("c", 1))
        self.dtype = require_numbers(array.dtype, str(path))

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """The pixels of a window, (h, w, C); those of chunks that are missing have the fill value.

        Raises:
            DataError: A chunk is damaged.
        """
        wanted: dict[str, Any] = {"y": rows, "x": columns, "c": slice(None), **self.place}
        with _named(self._path):
            window = np.asarray(self._array[tuple(wanted[axis] for axis in self._axes)])
        kept = [axis for axis in self._axes if axis not in self.place]
        window = window.transpose([kept.index(axis) for axis in "yxc" if axis in kept])
        window = window if window.ndim == 3 else window[..., None]
        return np.ascontiguousarray(window, self.dtype)


@dataclass(frozen=True, eq=False)
class ZarrImage(Sequence[ZarrPicture]):
    """The pictures of a Zarr array, in the order of its axes; as a sequence, the pictures.

    Args:
        array: At full resolution, a `zarr.Array`.
        axes: Name of each axis; "y", "x" and "c" are rows, columns and channels.
        pictures: One or more.
    """

    array: Any
    axes: tuple[str, ...]
    pictures: tuple[ZarrPicture, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: Any) -> Any:
        return self.pictures[index]


def is_zarr(path: str | Path) -> bool:
    """Whether a folder holds an array or a group of Zarr; the library is not needed for this."""
    path = Path(path)
    return path.is_dir() and any((path / name).is_file() for name in METADATA)


def open_zarr(path: str | Path, channel_axis: str = "auto") -> ZarrImage:
    """Opens an array or an OME-Zarr image, whose pixels are read later.

    Args:
        path: The folder.
        channel_axis: Of an array of three axes that names none: "first", "last", or "auto", which
            takes the last for channels if it is short and the others are not.

    Raises:
        MissingExtraError: zarr is not installed.
        DataNotFoundError: There is no such folder.
        DataError: It holds something else, or what it says of itself makes no sense.

    Source: OME-Zarr 0.4 and 0.5, "multiscales" and "axes"; Zarr v2 and v3.
    """
    path = Path(path)
    if not path.exists():
        raise DataNotFoundError(
            f"Zarr folder {path} does not exist; accepted is a folder with an array or an image; "
            "check the path"
        )
    if not is_zarr(path):
        raise DataError(
            f"{path} is no Zarr folder; accepted are folders with one of {', '.join(METADATA)}; "
            "name one of these"
        )
    zarr = require_zarr()
    with _named(path):
        node = zarr.open(store=zarr.storage.LocalStore(path, read_only=True), mode="r")
        if isinstance(node, zarr.Array):
            array, axes = node, _axes_of_array(path, node, channel_axis)
        else:
            array, axes = _full_resolution(path, node, zarr)
        _require_sense(path, array, axes)
        others = {a: n for a, n in zip(axes, array.shape, strict=True) if a not in ("y", "x", "c")}
        places = itertools.product(*(range(size) for size in others.values()))
        pictures = tuple(
            ZarrPicture(path, array, axes, dict(zip(others, place, strict=True)))
            for place in places
        )
    return ZarrImage(array, axes, pictures)


def require_zarr() -> Any:
    """The library.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Zarr folders are read and written by zarr, which is not installed; the bare install "
            'goes without; pip install "unetkit[zarr]"'
        ) from error
    return zarr


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns whatever damage makes the library raise into an error that names the folder."""
    try:
        yield
    except UnetkitError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{path} has chunks that do not fit into memory; accepted are smaller ones; cut it "
            "into smaller chunks"
        ) from error
    except Exception as error:  # each codec has errors of its own
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(
            f"{path} cannot be read ({reason}); accepted are undamaged Zarr folders; replace it"
        ) from error


def _axes_of_array(path: Path, array: Any, channel_axis: str) -> tuple[str, ...]:
    names = tuple(getattr(array.metadata, "dimension_names", None) or ())
    if names[-2:] == ("y", "x") and all(names):
        return _known_axes(path, names)
    if array.ndim == 2:
        return "y", "x"
    if array.ndim == 3 and channel_axis == "first":
        return "c", "y", "x"
    if array.ndim == 3:
        rows, columns, last = array.shape
        if channel_axis == "last" or (last <= FEW and min(rows, columns) >= 2 * FEW):
            return "y", "x", "c"
    raise DataError(
        f"{path} has the shape {array.shape} and does not say which axes these are; accepted are "
        f"(rows, columns), (rows, columns, up to {FEW} channels), and with the channel axis "
        '"first" (channels, rows, columns); say the channel axis, or save it as OME-Zarr'
    )


def _full_resolution(path: Path, group: Any, zarr: Any) -> tuple[Any, tuple[str, ...]]:
    """The largest array of an image, and the names of its axes."""
    attributes = group.attrs.asdict()
    ome = attributes.get("ome", attributes)  # version 0.5, and those before
    scales = ome.get("multiscales") if isinstance(ome, Mapping) else None
    if not scales:
        members = ", ".join(sorted(name for name, _ in itertools.islice(group.members(), 20)))
        raise DataError(
            f"{path} is a Zarr group without an image ({members or 'it is empty'}); accepted are "
            "arrays, and groups with OME-Zarr's multiscales; name one of what it holds"
        )
    try:
        name, axes = scales[0]["datasets"][0]["path"], scales[0].get("axes")
        named = [axis if isinstance(axis, str) else _name(axis) for axis in axes or ()]
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"{path} has multiscales that name no array or axes; accepted are datasets with a "
            "path, and axes with a name; correct its metadata"
        ) from error
    # Releases of the library before 3.1 follow names that lead out of the group.
    leads_out = not isinstance(name, str) or ".." in re.split(r"[/\\]", name)
    array = None if leads_out else group[name]
    if not isinstance(array, zarr.Array):
        raise DataError(
            f"{path} names {name!r:.60} as its pixels, which is no array; accepted is an array in "
            "it; correct its metadata"
        )
    if not named and array.ndim == len(OLD_AXES):
        named = list(OLD_AXES)
    return array, _known_axes(path, tuple(named))


def _name(axis: Mapping[str, Any]) -> str:
    return "c" if axis.get("type") == "channel" else str(axis["name"])


def _known_axes(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    axes = tuple(name.lower() if name.lower() in ("y", "x", "c") else name for name in names)
    if axes[-2:] != ("y", "x") or len(set(axes)) < len(axes):
        raise DataError(
            f"{path} has the axes {list(axes)!r:.200}; accepted are different ones that end in y "
            "and x; save it in another order"
        )
    return axes


def _require_sense(path: Path, array: Any, axes: tuple[str, ...]) -> None:
    """Refuses what could be opened, and would never end or never fit."""
    if len(axes) != array.ndim:
        raise DataError(
            f"{path} names {len(axes)} axes for an array of {array.ndim}; accepted is a name each; "
            "correct its metadata"
        )
    sizes = dict(zip(axes, array.shape, strict=True))
    pictures = math.prod(size for axis, size in sizes.items() if axis not in ("y", "x", "c"))
    pixels, channels = sizes["y"] * sizes["x"], sizes.get("c", 1)
    if not 0 < pixels <= MAX_PIXELS or not 0 < pictures <= MAX_PICTURES:
        raise DataError(
            f"{path} has the shape {array.shape} of axes {', '.join(axes)}; accepted are up to "
            f"{MAX_PICTURES:,} pictures of up to {MAX_PIXELS:,} pixels, and one or more; part it"
        )
    if not 0 < channels <= MAX_CHANNELS:
        raise DataError(
            f"{path} has {channels} channels; accepted are 1 to {MAX_CHANNELS}; choose from them"
        )
    chunk = math.prod(array.chunks) * require_numbers(array.dtype, str(path)).itemsize
    if chunk > MAX_CHUNK_BYTES:
        raise DataError(
            f"{path} has chunks of {chunk:,} bytes; accepted are up to {MAX_CHUNK_BYTES:,}; cut it "
            "into smaller ones"
        )
    stored = {key: value for key, value in array.metadata.to_dict().items() if key != "attributes"}
    if "pickle" in json.dumps(stored, default=str).lower():  # would run what a chunk says
        raise DataError(
            f"{path} is packed with pickle, which can run programs; accepted are compressions; "
            "save it with one of these"
        )


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
    """Writes a picture of any size as an OME-Zarr image with overviews, whole or not at all.

    A picture of one channel has the axes y, x, any other c, y, x. A chunk is a tile of one channel,
    packed with Zstandard; those that hold nothing but 0 are left out.

    Memory: a block of at most `levels.BLOCK_BYTES` (or a tile), and half a row of tiles.

    Args:
        path: A folder, which is there when all is written. Until then a hidden one lies beside it.
        shape: (H, W, C), in pixels.
        dtype: "uint8", "uint16", "uint32" or "float32".
        read: Rows, columns -> (h, w, C) of `dtype`, each asked for once, as `walk_tiles` says.
        nearest: Overviews of labels: every second pixel. Otherwise means.
        names: Of the labels 0, 1, 2 ... if `nearest` and there is one channel; else of the
            channels.
        colours: (n, 3) from 0 to 255, or (n, 4) with opacity, likewise.
        metadata: Stands under "unetkit" in the attributes.
        overwrite: Whether a Zarr folder of that name is replaced, once all is written.

    Raises:
        MissingExtraError: zarr is not installed.
        OutputExistsError: Something stands there, or, if `overwrite`, something but Zarr.
        ConfigError: A type, name, colour or piece of metadata is not accepted.
        SizeError: The shape is not accepted, or `read` returns another one.
        OSError: It cannot be written. Whatever is raised, nothing is left or lost.

    Source: OME-Zarr 0.5, "multiscales", "omero", "image-label".
    """
    path = Path(path)
    dtype = require_picture(path, shape, dtype)
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
    part = path.with_name(f".part-{uuid.uuid4().hex[:8]}{path.name[-12:]}")
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
            f"{path} exists already; accepted is a new folder; name another, or allow it with "
            "overwrite=True"
        )
    if path.is_symlink() or not is_zarr(path):
        raise OutputExistsError(
            f"{path} exists and is no Zarr folder; accepted to be replaced are Zarr folders; name "
            "another, or move it away"
        )


def _move(part: Path, path: Path, overwrite: bool) -> None:
    """Gives the new folder its name; the old one goes only after that."""
    _require_place(path, overwrite)
    aside = part.with_name(part.name.replace(".part-", ".old-", 1))
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
            "numbers from 0 to 255 for each name or channel; correct them"
        )


def _multiscale(
    name: str, shape: tuple[int, int, int], sizes: list[tuple[int, int]], nearest: bool
) -> dict[str, Any]:
    """What the levels are to one another.

    Coordinates are those of pixel centres: the mean of two by two stands between them, the pixel
    that stands for its neighbours stays where it is.
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
    """How viewers name the channels, in which colour they show each, and from what to what."""
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
            chunks=(*(1 for _ in channels), levels.TILE, levels.TILE),
            compressors=zarr.codecs.ZstdCodec(level=COMPRESSION),
            fill_value=0,
            dimension_names=(*("c" for _ in channels), "y", "x"),
        )
        for level, size in enumerate(level_sizes(shape[:2]))
    ]
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        for level, row, column, tile in walk_tiles(
            shape, dtype, read, partial(halve, nearest=nearest)
        ):
            pending.append(pool.submit(_put, arrays[level], row, column, tile))
            if len(pending) > WAITING:
                pending.popleft().result()
        for future in pending:
            future.result()


def _put(array: Any, row: int, column: int, tile: np.ndarray) -> None:
    """Writes a tile, which is a whole chunk of each channel: nothing is read for it."""
    height, width, channels = tile.shape
    top, left = row * levels.TILE, column * levels.TILE
    content = np.moveaxis(tile, -1, 0) if channels > 1 else tile[..., 0]
    array[..., top : top + height, left : left + width] = content
