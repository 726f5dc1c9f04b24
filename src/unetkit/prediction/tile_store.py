"""Finished tiles of a large picture, each in a file of its own, until all are there.

A run that is interrupted leaves whole tiles and nothing else that counts: a tile is written beside
its place and moved there. What the tiles belong to (model, picture, cut) stands in a plan beside
them, so that the same command goes on, and another one does not mix two pictures.
"""

import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0

from unetkit._shared.files import write_atomically, write_text
from unetkit._version import __version__
from unetkit.errors import DataError, OutputExistsError
from unetkit.models.geometry import Geometry
from unetkit.prediction.tiling import Span, Tiling

FORMAT = 1
PLAN = "plan.json"
TILE = r"\d{7}\.npy"
RESULT = "result"  # folder of the results while they are written
LARGEST_PLAN = 1 << 26  # bytes: spans of a million tiles along an axis


@dataclass(frozen=True)
class TileStore:
    """Tiles of one picture on the disk.

    Args:
        folder: Where they lie.
        tiling: Whose tiles they are.
        channels: Numbers for each pixel.
        dtype: "uint8" for labels, "float32" for logits, which are added up where tiles overlap.
    """

    folder: Path
    tiling: Tiling
    channels: int
    dtype: str

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*self.tiling.size, self.channels)

    def finished(self) -> set[int]:
        """Numbers of the tiles that are there, whole."""
        found = set()
        for path in self.folder.iterdir():
            if re.fullmatch(TILE, path.name):
                number = int(path.stem)
                if number < len(self.tiling) and path.stat().st_size == self._file_size(number):
                    found.add(number)
        return found

    def write(self, number: int, answer: np.ndarray) -> None:
        """Keeps a tile's (h, w, channels) answer."""

        array = np.ascontiguousarray(answer, self.dtype)

        def save(part: Path) -> None:
            with open(part, "wb") as file:  # numpy.save would not say that the disk is full
                write_array_header_1_0(file, header_data_from_array_1_0(array))
                file.write(array.data)

        write_atomically(self._file(number), save)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """What all tiles say of a part of the picture, (h, w, channels).

        Raises:
            DataError: A tile is not there, or damaged.
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
        """Removes the tiles, and last of all what says whose they are."""
        _clear(self.folder)
        (self.folder / PLAN).unlink(missing_ok=True)
        self.folder.rmdir()

    def _load(self, number: int) -> np.ndarray:
        path = self._file(number)
        try:
            tile = np.load(path, mmap_mode="r", allow_pickle=False)
            if tile.shape != self._tile_shape(number) or tile.dtype != self.dtype:
                raise ValueError(f"{tile.shape} {tile.dtype}")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} is no whole tile ({error}); accepted are those that this version wrote; "
                "remove it and run the same command again"
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
    """Begins a store, or goes on with the one that is there; as it was cut, whatever `tiling` is.

    Args:
        folder: Where the tiles shall lie.
        belongs_to: What makes this picture's answer what it is: model, file, version of the file.
        most_pixels: That the network may be shown at once.
        overwrite: Whether the tiles of another run may be removed.

    Raises:
        OutputExistsError: What is there is of another version, or belongs to something else.
    """
    plan = folder / PLAN
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
            _require_room(folder, begun, max(most_pixels, math.prod(tiling.tile_size)))
            _clear(folder, keep=TILE)
            return TileStore(folder, begun, channels, dtype)
    if folder.exists():
        _clear(folder)  # what an interruption left before there was a plan, or after
    if folder.exists() and any(folder.iterdir()):
        raise OutputExistsError(
            f"{folder} exists and holds no {PLAN}; accepted is a new folder, or one of tiles that "
            "an interrupted run left; move it away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    cut = {"rows": [asdict(s) for s in tiling.rows], "columns": [asdict(s) for s in tiling.columns]}
    content = {"format": FORMAT, "unetkit": __version__, "belongs_to": wanted, **cut}
    write_text(plan, json.dumps(content))
    return TileStore(folder, tiling, channels, dtype)


def _clear(folder: Path, keep: str | None = None) -> None:
    """Removes what a store writes, but for its plan and what is to be kept, and nothing else."""
    for path in folder.iterdir():
        if keep is not None and re.fullmatch(keep, path.name):
            continue
        if re.fullmatch(TILE, path.name):
            path.unlink()
        elif path.name.startswith(".part-") or path.name == RESULT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _require_room(folder: Path, begun: Tiling, most_pixels: int) -> None:
    """Refuses to go on in tiles that are larger than what is allowed now.

    Raises:
        OutputExistsError: They are.
    """
    if math.prod(begun.tile_size) > most_pixels:
        height, width = begun.tile_size
        raise OutputExistsError(
            f"{folder} was begun in tiles of {height}x{width}, for which the memory allowed does "
            "not suffice; accepted is the memory that it was begun with; allow more with --memory, "
            "or remove the folder to begin anew"
        )


def _begun_tiling(plan: Path, wanted: Mapping[str, Any], geometry: Geometry) -> Tiling:
    """The tiles of a run that was begun.

    Raises:
        OutputExistsError: It is another one, or cannot be understood.
    """
    begun = _read_plan(plan)
    others = [name for name, value in wanted.items() if begun["belongs_to"].get(name) != value]
    if others:
        raise OutputExistsError(
            f"{plan.parent} holds tiles of another run ({', '.join(others)} differ); accepted are "
            "those of the same model, picture and options; finish that run, remove the folder, or "
            "allow it with --overwrite"
        )
    return _tiling_of(begun, geometry, plan)


def _read_plan(plan: Path) -> dict[str, Any]:
    try:
        if plan.stat().st_size > LARGEST_PLAN:
            raise ValueError(f"{plan.stat().st_size} bytes")
        begun = json.loads(plan.read_text(encoding="utf-8"))
        found = begun["format"]
        if found == FORMAT and isinstance(begun["belongs_to"], dict):
            return dict(begun)
        reason = f"it is of format {found!r}, written by unetkit {begun.get('unetkit')!r}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"it cannot be read: {error!r:.100}"
    raise OutputExistsError(
        f"{plan} is not a plan of this version ({reason}); accepted is format {FORMAT}; finish "
        "that run with the version that began it, or remove the folder"
    )


def _tiling_of(begun: dict[str, Any], geometry: Geometry, plan: Path) -> Tiling:
    """The tiles of a plan, which has to cover the picture as any cut does."""
    size = begun["belongs_to"]["picture"]
    try:
        rows, columns = (
            tuple(
                Span(int(s["start"]), int(s["size"]), (int(s["kept"][0]), int(s["kept"][1])))
                for s in begun[name]
            )
            for name in ("rows", "columns")
        )
        for spans, side in ((rows, size[0]), (columns, size[1])):
            _require_cover(spans, side, geometry)
    except (ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise OutputExistsError(
            f"{plan} holds no cut of a picture ({error!r:.100}); accepted is what this version "
            "wrote; remove the folder"
        ) from error
    return Tiling(geometry, (size[0], size[1]), rows, columns, not begun["belongs_to"]["blended"])


def _require_cover(spans: tuple[Span, ...], side: int, geometry: Geometry) -> None:
    ends = [0, *(span.kept[1] for span in spans)]
    for span, end in zip(spans, ends, strict=False):
        first, last = span.kept
        shown = span.start + geometry.margin, span.start + span.size - geometry.margin
        if not (shown[0] <= first <= end < last <= min(shown[1], side)):
            raise ValueError(f"a tile of {first} to {last}")
        if span.size != geometry.valid_size(span.size) or span.size != spans[0].size:
            raise ValueError(f"a tile of {span.size}")
    if ends[-1] != side:
        raise ValueError(f"tiles up to {ends[-1]} of {side}")


def _overlapping(spans: tuple[Span, ...], part: slice) -> list[tuple[int, Span]]:
    return [
        (number, span)
        for number, span in enumerate(spans)
        if span.kept[0] < part.stop and part.start < span.kept[1]
    ]


def _common(span: Span, part: slice) -> tuple[slice, slice]:
    """Rows that a tile and a part share, in the part and in the tile."""
    first, last = max(span.kept[0], part.start), min(span.kept[1], part.stop)
    return (
        slice(first - part.start, last - part.start),
        slice(first - span.kept[0], last - span.kept[0]),
    )
