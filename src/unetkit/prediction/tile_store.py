"""Predicted tiles of a large image, each in a file of its own, until all are finished.

Tiles are written completely or not at all, so that an interrupted run leaves only finished ones. A
file beside them, the plan, holds the model, the image and the tiling that they belong to: the same
command continues with these tiles, another one is refused.

What the tiles hold and when they are removed is left to `large_images`.
"""

import json
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0

from unetkit._shared.files import write_atomically, write_text
from unetkit._shared.records import RecordError, convert, read_json, refusing, shorten
from unetkit._version import __version__
from unetkit.errors import DataError, OutputExistsError
from unetkit.models.geometry import Geometry
from unetkit.prediction.tiling import Span, Tiling

PLAN_FORMAT = 1
PLAN_NAME = "plan.json"
TILE_NAME = r"\d{7}\.npy"
MEMBER_FOLDER = "member-{:02d}"  # in the store, for tiles of further models and orientations
MEMBER_NAME = r"member-\d{2,}"
OUTPUT_FOLDER = "result"  # in the store, for outputs while they are written
LARGEST_PLAN_BYTES = 1 << 26  # spans of a million tiles along an axis
PLAN_REMEDY = "accepted are plans of this version; remove the folder"


@dataclass(frozen=True)
class TileStore:
    """Predicted tiles of one image on disk.

    Args:
        folder: Folder of the tile files.
        tiling: Tiling of the image.
        channels: Number of values per pixel.
        dtype: "uint8" for labels; "float32" for logits, which are summed where tiles overlap.
    """

    folder: Path
    tiling: Tiling
    channels: int
    dtype: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the image at the network's scale."""
        return (*self.tiling.size, self.channels)

    def finished(self) -> set[int]:
        """Returns the numbers of the finished tiles."""
        found = set()
        for path in self.folder.iterdir():
            if re.fullmatch(TILE_NAME, path.name):
                number = int(path.stem)
                if number < len(self.tiling) and path.stat().st_size == self._file_size(number):
                    found.add(number)
        return found

    def has(self, number: int) -> bool:
        """Whether a tile is finished."""
        try:
            return self._file(number).stat().st_size == self._file_size(number)
        except FileNotFoundError:
            return False

    def write(self, number: int, output: np.ndarray) -> None:
        """Writes the output of a tile.

        Args:
            number: Number of the tile.
            output: Labels or weighted logits, (h, w, channels).
        """
        array = np.ascontiguousarray(output, self.dtype)

        def save(part: Path) -> None:
            with open(part, "wb") as file:  # numpy.save does not report a full disk
                write_array_header_1_0(file, header_data_from_array_1_0(array))
                file.write(array.data)

        write_atomically(self._file(number), save)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Reads a window of the image, (h, w, channels), from all tiles that it overlaps.

        Raises:
            DataError: A tile is missing or damaged.
        """
        found = np.zeros((rows.stop - rows.start, columns.stop - columns.start, self.channels))
        found = found.astype(self.dtype)
        for down, row in _overlapping(self.tiling.rows, rows):
            for across, column in _overlapping(self.tiling.columns, columns):
                tile = self._load(down * len(self.tiling.columns) + across)
                (into_rows, from_rows), (into_columns, from_columns) = (
                    _common(row, rows),
                    _common(column, columns),
                )
                found[into_rows, into_columns] += tile[from_rows, from_columns]
        return found

    def remove(self) -> None:
        """Removes the tiles, then the plan and the folder."""
        _clear(self.folder)
        (self.folder / PLAN_NAME).unlink(missing_ok=True)
        self.folder.rmdir()

    def _load(self, number: int) -> np.ndarray:
        path = self._file(number)
        try:
            tile = np.load(path, mmap_mode="r", allow_pickle=False)
            if tile.shape != self._tile_shape(number) or tile.dtype != self.dtype:
                raise ValueError(f"{tile.shape} {tile.dtype}")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} is missing or damaged ({error}); accepted are complete tiles; remove it "
                "and run the same command again"
            ) from error
        return tile

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:07d}.npy"

    def _tile_shape(self, number: int) -> tuple[int, int, int]:
        rows, columns = self.tiling.kept(number)
        return rows.stop - rows.start, columns.stop - columns.start, self.channels

    def _file_size(self, number: int) -> int:
        header = 128  # bytes, for every shape of three numbers of up to six digits
        return header + int(np.prod(self._tile_shape(number))) * np.dtype(self.dtype).itemsize


def open_store(
    folder: Path,
    tiling: Tiling,
    channels: int,
    dtype: str,
    belongs_to: Mapping[str, Any],
    most_pixels: int,
    overwrite: bool = False,
) -> TileStore:
    """Creates a store, or opens the one that an interrupted run left.

    The tiling of an existing store is kept, even if it differs from `tiling`.

    Args:
        folder: Folder for the tiles.
        tiling: Tiling of a new store.
        channels: Number of values per pixel.
        dtype: "uint8" for labels, "float32" for logits.
        belongs_to: Whatever determines the prediction: model, image file, version of the file.
        most_pixels: Largest number of pixels of a tile.
        overwrite: Whether to remove tiles that belong to something else.

    Raises:
        OutputExistsError: `folder` holds tiles of another version, model or image, or tiles of more
            than `most_pixels`, or is not a tile store.
    """
    plan = folder / PLAN_NAME
    wanted = {"picture": list(tiling.size), "channels": channels, "dtype": dtype, **belongs_to}
    wanted |= {"blended": not tiling.is_exact, "unetkit": __version__}
    if plan.exists():
        try:
            begun = _begun_tiling(plan, wanted, tiling.geometry)
        except OutputExistsError:
            if not overwrite:
                raise
            _clear(folder)
            plan.unlink()
        else:
            _require_tiles_fit(folder, begun, max(most_pixels, math.prod(tiling.tile_size)))
            _clear(folder, keep=f"{TILE_NAME}|{MEMBER_NAME}")
            return TileStore(folder, begun, channels, dtype)
    if folder.exists():
        _clear(folder)  # interrupted before the plan was written or after it was removed
    if folder.exists() and any(folder.iterdir()):
        raise OutputExistsError(
            f"{folder} exists and holds no {PLAN_NAME}; accepted is a new folder, or the tiles of "
            "an interrupted run; move it elsewhere"
        )
    folder.mkdir(parents=True, exist_ok=True)
    cut = {"rows": [asdict(s) for s in tiling.rows], "columns": [asdict(s) for s in tiling.columns]}
    content = {"format": PLAN_FORMAT, "unetkit": __version__, "belongs_to": wanted, **cut}
    write_text(plan, json.dumps(content))
    return TileStore(folder, tiling, channels, dtype)


def _clear(folder: Path, keep: str | None = None) -> None:
    """Removes files that a store wrote, except the plan and names that match `keep`."""
    for path in folder.iterdir():
        if keep is not None and re.fullmatch(keep, path.name):
            continue
        if re.fullmatch(TILE_NAME, path.name):
            path.unlink()
        elif path.name.startswith(".part-") or re.fullmatch(
            f"{OUTPUT_FOLDER}|{MEMBER_NAME}", path.name
        ):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _require_tiles_fit(folder: Path, begun: Tiling, most_pixels: int) -> None:
    """Refuses tiles of an earlier run that are larger than allowed now.

    Raises:
        OutputExistsError: Tiles have more than `most_pixels` pixels.
    """
    if math.prod(begun.tile_size) > most_pixels:
        height, width = begun.tile_size
        raise OutputExistsError(
            f"{folder} holds tiles of {height}x{width}, too large for the memory limit; accepted "
            "is the limit of the run that began them; allow more with --memory, or remove the "
            "folder to start again"
        )


class _Plan(msgspec.Struct):
    """The plan of a store, as it is read back."""

    belongs_to: dict[str, Any]
    rows: list[Span]
    columns: list[Span]


def _begun_tiling(plan: Path, wanted: Mapping[str, Any], geometry: Geometry) -> Tiling:
    """Tiling of the run that an existing plan describes.

    Raises:
        OutputExistsError: The plan is of another run or version, or damaged.
    """
    with refusing(plan, PLAN_REMEDY, OutputExistsError):
        raw = convert(read_json(plan, largest=LARGEST_PLAN_BYTES), dict[str, Any])
        if raw.get("format") != PLAN_FORMAT:
            raise RecordError(
                f"its format is {shorten(raw.get('format'))}, of unetkit "
                f"{shorten(raw.get('unetkit'))}; accepted is format {PLAN_FORMAT}"
            )
        begun = convert(raw, _Plan)
        others = [name for name, value in wanted.items() if begun.belongs_to.get(name) != value]
    if others:
        raise OutputExistsError(
            f"{plan.parent} holds tiles of another run ({', '.join(others)} differ); accepted are "
            "those of the same model, image and options; finish that run, remove the folder, or "
            "replace it with --overwrite"
        )
    height, width = wanted["picture"]
    with refusing(plan, PLAN_REMEDY, OutputExistsError):
        _require_cover(begun.rows, height, geometry)
        _require_cover(begun.columns, width, geometry)
    is_exact = not wanted["blended"]
    return Tiling(geometry, (height, width), tuple(begun.rows), tuple(begun.columns), is_exact)


def _require_cover(spans: Sequence[Span], side: int, geometry: Geometry) -> None:
    """Refuses tiles that do not cover a side of the image, or that the network does not accept."""
    ends = [0, *(span.kept[1] for span in spans)]
    for span, end in zip(spans, ends, strict=False):
        first, last = span.kept
        covered = span.start + geometry.margin, span.start + span.size - geometry.margin
        if not (covered[0] <= first <= end < last <= min(covered[1], side)):
            raise RecordError(f"a tile keeps {first} to {last} of {side}")
        if span.size != geometry.valid_size(span.size) or span.size != spans[0].size:
            raise RecordError(f"a tile has {span.size} pixels per side")
    if ends[-1] != side:
        raise RecordError(f"its tiles end at {ends[-1]} of {side}")


def _overlapping(spans: tuple[Span, ...], window: slice) -> list[tuple[int, Span]]:
    return [
        (number, span)
        for number, span in enumerate(spans)
        if span.kept[0] < window.stop and window.start < span.kept[1]
    ]


def _common(span: Span, window: slice) -> tuple[slice, slice]:
    """Rows that a tile and a window have in common, counted in the window and in the tile."""
    first, last = max(span.kept[0], window.start), min(span.kept[1], window.stop)
    return (
        slice(first - window.start, last - window.start),
        slice(first - span.kept[0], last - span.kept[0]),
    )
