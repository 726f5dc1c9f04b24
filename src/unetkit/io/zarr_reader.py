"""Read Zarr folders: arrays in chunks, and microscopy images that consist of them (OME-Zarr).

Plain arrays are read, and OME-Zarr up to version 0.5, whose metadata name the axes. As in TIFFs,
channels belong to one image; time, planes of a volume and all other axes make several images.

The zarr library is an extra, and is imported when it is first needed. Whatever it raises for
damaged metadata is converted to one error that names the folder.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.files import require_regular
from unetkit._shared.installation import install_command
from unetkit.errors import DataError, DataNotFoundError, MissingExtraError, UnetkitError
from unetkit.io.pixel_format import MAX_CHANNELS
from unetkit.io.pixel_size import PixelSize, pixel_size, square_size
from unetkit.io.tiff.pages import FEW_CHANNELS
from unetkit.io.windows import require_numbers
from unetkit.remote.addresses import Address, Location
from unetkit.remote.filesystems import errors_named, open_filesystem

ZARR_SUFFIX = ".zarr"
METADATA = ("zarr.json", ".zarray", ".zgroup")  # a Zarr folder holds one of these
MAX_IMAGES = 10_000  # as many as pages of a TIFF
MAX_IMAGE_PIXELS = 1 << 40  # of one image: a million by a million
LARGEST_MEMBER = 1 << 32  # bytes of a chunk, shard or metadata file as it is stored
MAX_CHUNK_BYTES = 1 << 31  # unpacked; a window needs whole chunks
OLD_AXES = "tczyx"  # before version 0.3, which was the first to name them


class ZarrWindows:
    """One image of a Zarr array, read by windows.

    Args:
        path: Path or address of the folder, for errors.
        array: The whole array.
        axes: Name of each axis; "y", "x" and "c" are rows, columns and channels.
        place: Index along every other axis.
        pixel_size: Physical size of a pixel; None if the metadata state none.

    Attributes:
        shape: (height, width, channels).
        dtype: Type of the pixels.
    """

    def __init__(
        self,
        path: Location,
        array: Any,
        axes: tuple[str, ...],
        place: Mapping[str, int],
        pixel_size: PixelSize | None = None,
    ) -> None:
        sizes = dict(zip(axes, array.shape, strict=True))
        self._path, self._array, self._axes = path, array, axes
        self.place, self.pixel_size = dict(place), pixel_size
        self.shape: tuple[int, int, int] = (sizes["y"], sizes["x"], sizes.get("c", 1))
        self.dtype = require_numbers(array.dtype, str(path))

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Reads a window, (h, w, C); pixels of missing chunks have the fill value.

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


def is_zarr(path: str | Location) -> bool:
    """Returns whether a folder holds an array or a group of Zarr; works without the library.

    An address is one by its name alone.
    """
    if isinstance(path, Address):
        return path.suffix.lower() == ZARR_SUFFIX
    path = Path(path)
    return path.is_dir() and any((path / name).is_file() for name in METADATA)


def open_zarr(path: str | Location, channel_axis: str = "auto") -> list[ZarrWindows]:
    """Opens an array or an OME-Zarr image; pixels are not read.

    Args:
        path: Path or address of the folder. Of an address, chunks are fetched as they are needed.
        channel_axis: Axis of the channels of an array of three axes without names: "first", "last",
            or "auto", which takes the last axis if it is short and the others are not.

    Returns:
        The images of the array at full resolution, at least one, in the order of its axes.

    Raises:
        MissingExtraError: zarr is not installed.
        DataNotFoundError: There is no such folder.
        DataError: It is not a Zarr folder, or its metadata are damaged.

    Source: OME-Zarr 0.4 and 0.5, "multiscales" and "axes"; Zarr v2 and v3.
    """
    if not isinstance(path, Address):
        path = Path(path)
        _require_folder(path)
    zarr = require_zarr()
    with _named(path):
        node = zarr.open(store=_store_at(path), mode="r")
        if isinstance(node, zarr.Array):
            array, axes, side = node, _axes_of_array(path, node, channel_axis), None
        else:
            array, axes, side = _full_resolution(path, node, zarr)
        _require_limits(path, array, axes)
        others = {a: n for a, n in zip(axes, array.shape, strict=True) if a not in ("y", "x", "c")}
        places = itertools.product(*(range(size) for size in others.values()))
        return [
            ZarrWindows(path, array, axes, dict(zip(others, place, strict=True)), side)
            for place in places
        ]


def _require_folder(path: Path) -> None:
    if not path.exists():
        raise DataNotFoundError(
            f"Zarr folder {path} does not exist; accepted is a folder with an array or an image"
        )
    if not is_zarr(path):
        raise DataError(
            f"{path} is not a Zarr folder; accepted are folders with one of {', '.join(METADATA)}"
        )


def _store_at(path: Location) -> Any:
    """Zarr's store of a folder, of this machine or of another one."""
    if not isinstance(path, Address):
        return _store_of_files()(path, read_only=True)
    filesystem, inside = open_filesystem(path)
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from zarr.storage import FsspecStore

    # fsspec's own thread makes the requests, and closes what it opened.
    wrapped = AsyncFileSystemWrapper(filesystem, asynchronous=True)
    return FsspecStore(wrapped, path=inside.rstrip("/"), read_only=True)


def require_zarr() -> Any:
    """Imports and returns the zarr library.

    Raises:
        MissingExtraError: zarr is not installed.
    """
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Zarr folders are read and written by zarr, which is not installed; install it with "
            f"{install_command('zarr')}"
        ) from error
    return zarr


@cache
def _store_of_files() -> type:
    """Zarr's store of a folder, which reads metadata and chunks through the door of all files."""
    from zarr.storage import LocalStore

    class FilesOnly(LocalStore):
        def _require(self, key: str, *rest: Any) -> None:
            with suppress(OSError):  # a chunk that is absent has the fill value
                if not (self.root / key).is_dir():
                    require_regular(self.root / key, LARGEST_MEMBER)

        async def get(self, key: str, *arguments: Any, **named: Any) -> Any:
            self._require(key)
            return await super().get(key, *arguments, **named)

        def get_sync(self, key: str, *arguments: Any, **named: Any) -> Any:
            self._require(key)
            return super().get_sync(key, *arguments, **named)

        async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
            ranges = list(key_ranges)
            for key, *_ in ranges:
                self._require(key)
            return await super().get_partial_values(prototype, ranges)

    return FilesOnly


@contextmanager
def _named(path: Location) -> Iterator[None]:
    """Converts whatever the library raises to an error that names the folder."""
    try:
        if isinstance(path, Address):
            with errors_named(path):
                yield
        else:
            yield
    except UnetkitError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{path} has chunks that do not fit into memory; save it in smaller chunks"
        ) from error
    except Exception as error:  # codecs raise errors of many types
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(
            f"{path} cannot be read ({reason}); accepted are undamaged Zarr folders; replace it"
        ) from error


def _axes_of_array(path: Location, array: Any, channel_axis: str) -> tuple[str, ...]:
    names = tuple(getattr(array.metadata, "dimension_names", None) or ())
    if names[-2:] == ("y", "x") and all(names):
        return _known_axes(path, names)
    if array.ndim == 2:
        return "y", "x"
    if array.ndim == 3 and channel_axis == "first":
        return "c", "y", "x"
    if array.ndim == 3:
        rows, columns, last = array.shape
        is_short = last <= FEW_CHANNELS and min(rows, columns) >= 2 * FEW_CHANNELS
        if channel_axis == "last" or is_short:
            return "y", "x", "c"
    raise DataError(
        f"{path} has the shape {array.shape} and has no names of axes; accepted are "
        f"(rows, columns), (rows, columns, up to {FEW_CHANNELS} channels), and with the channel "
        'axis "first" (channels, rows, columns); give the channel axis, or save it as OME-Zarr'
    )


def _full_resolution(
    path: Location, group: Any, zarr: Any
) -> tuple[Any, tuple[str, ...], PixelSize | None]:
    """The largest array of an image, the names of its axes, and the size of its pixels."""
    attributes = group.attrs.asdict()
    ome = attributes.get("ome", attributes)  # version 0.5, and those before
    scales = ome.get("multiscales") if isinstance(ome, Mapping) else None
    if not scales:
        members = ", ".join(sorted(name for name, _ in itertools.islice(group.members(), 20)))
        raise DataError(
            f"{path} is a Zarr group without an image ({members or 'it is empty'}); accepted are "
            "arrays, and groups with the multiscales of OME-Zarr; name one of its members"
        )
    try:
        name, axes = scales[0]["datasets"][0]["path"], scales[0].get("axes")
        named = [axis if isinstance(axis, str) else _name(axis) for axis in axes or ()]
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"{path} has multiscales without an array or axes; accepted are datasets with a "
            "path, and axes with a name; correct its metadata"
        ) from error
    # zarr before 3.1 follows names that lead out of the group.
    leads_out = not isinstance(name, str) or ".." in re.split(r"[/\\]", name)
    array = None if leads_out else group[name]
    if not isinstance(array, zarr.Array):
        raise DataError(
            f"{path} names {name!r:.60} as its pixels, which is not an array; accepted is an "
            "array in the folder; correct its metadata"
        )
    if not named and array.ndim == len(OLD_AXES):
        named = list(OLD_AXES)
    return array, _known_axes(path, tuple(named)), _pixel_size(scales[0])


def _pixel_size(scales: Mapping[str, Any]) -> PixelSize | None:
    """The size of the pixels of the largest array; None if they have none, or are not square.

    Source: OME-Zarr 0.5, "coordinateTransformations" of datasets, then of the multiscales.
    """
    try:
        of_array, of_all = (
            [move["scale"] for move in one.get("coordinateTransformations", ()) if "scale" in move]
            for one in (scales["datasets"][0], scales)
        )
        sizes = [
            pixel_size(str(math.prod(scale[place] for scale in of_array + of_all)), axis["unit"])
            for place, axis in list(enumerate(scales["axes"]))[-2:]
            if of_array
        ]
    except (AttributeError, KeyError, IndexError, TypeError):
        return None
    return square_size(*sizes) if sizes else None


def _name(axis: Mapping[str, Any]) -> str:
    return "c" if axis.get("type") == "channel" else str(axis["name"])


def _known_axes(path: Location, names: Sequence[str]) -> tuple[str, ...]:
    axes = tuple(name.lower() if name.lower() in ("y", "x", "c") else name for name in names)
    if axes[-2:] != ("y", "x") or len(set(axes)) < len(axes):
        raise DataError(
            f"{path} has the axes {list(axes)!r:.200}; accepted are different ones that end in y "
            "and x; save it in another order"
        )
    return axes


def _require_limits(path: Location, array: Any, axes: tuple[str, ...]) -> None:
    """Refuses shapes that take too long or too much memory, and chunks that run programs."""
    if len(axes) != array.ndim:
        raise DataError(
            f"{path} names {len(axes)} axes for an array of {array.ndim}; accepted is one name for "
            "each; correct its metadata"
        )
    sizes = dict(zip(axes, array.shape, strict=True))
    images = math.prod(size for axis, size in sizes.items() if axis not in ("y", "x", "c"))
    pixels, channels = sizes["y"] * sizes["x"], sizes.get("c", 1)
    if not 0 < pixels <= MAX_IMAGE_PIXELS or not 0 < images <= MAX_IMAGES:
        raise DataError(
            f"{path} has the shape {array.shape} of axes {', '.join(axes)}; accepted are up to "
            f"{MAX_IMAGES:,} images of up to {MAX_IMAGE_PIXELS:,} pixels each; split it"
        )
    if not 0 < channels <= MAX_CHANNELS:
        raise DataError(f"{path} has {channels} channels; accepted are 1 to {MAX_CHANNELS}")
    chunk = math.prod(array.chunks) * require_numbers(array.dtype, str(path)).itemsize
    if chunk > MAX_CHUNK_BYTES:
        raise DataError(
            f"{path} has chunks of {chunk:,} bytes; accepted are up to {MAX_CHUNK_BYTES:,}; save "
            "it in smaller chunks"
        )
    stored = {key: value for key, value in array.metadata.to_dict().items() if key != "attributes"}
    if "pickle" in json.dumps(stored, default=str).lower():  # unpickling a chunk would run code
        raise DataError(
            f"{path} is encoded by pickle, which can run programs; save it with another codec"
        )
