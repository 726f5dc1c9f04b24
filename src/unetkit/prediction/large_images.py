"""Pictures larger than memory: read by windows, predicted in tiles, written with overviews.

    source -> windows at the network's scale -> tiles -> tile store -> results, a row at a time

What stands between the two halves is the store on the disk. It holds labels where nothing else is
asked for, and logits otherwise; an interrupted run goes on with the tiles that it has.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.files import locked
from unetkit._version import __version__
from unetkit.data.scale import windows_from_network
from unetkit.io.ome_zarr_writer import write_ome_zarr
from unetkit.io.pyramid import Read
from unetkit.io.tiff.writer import write_tiff_pyramid
from unetkit.io.windows import Windows
from unetkit.prediction.engine import softmax
from unetkit.prediction.predictor import NODATA, Predictor, labels_of
from unetkit.prediction.sources import Source
from unetkit.prediction.tile_store import RESULT, TileStore, open_store
from unetkit.prediction.tiling import Tiling
from unetkit.visualization.overlays import cutout, overlay

PART_BYTES = 1 << 25  # that a part of a result takes while it is made, of which
LEAST_BYTES = 40  # for each pixel, as an overlay does,
BYTES_PER_CLASS = 12  # and for each class of a pixel: logits, powers, probabilities


def predict_windows(
    predictor: Predictor,
    source: Source,
    files: Mapping[str, Path],
    store: Path,
    *,
    belongs_to: Mapping[str, Any],
    overwrite: bool = False,
    begin: Callable[[Tiling, int], Callable[[], object]] = lambda tiling, done: lambda: None,
) -> tuple[np.ndarray | None, Tiling]:
    """Segments a picture of any size and writes what is asked for, in bounded memory.

    Args:
        source: The picture.
        files: Kind of output ("mask", "overlay", "cutout", "probabilities") and its file: TIFF, or
            OME-Zarr where it ends so.
        store: Folder for finished tiles; removed when all files are written.
        belongs_to: Of what file and version of it the tiles are.
        overwrite: Whether tiles of another run may be removed; files that exist are replaced.
        begin: Told the tiles and how many of them an earlier run left; what it returns is called
            after each.

    Returns:
        (K,) int64, pixels of each class, or None where no mask is asked for; and the tiles.

    Raises:
        DataError: The picture cannot be read.
        OutputExistsError: The store is another run's, or another process is at it.
        SizeError: The memory allowed does not suffice.
    """
    scale, classes = predictor.spec.scale, predictor.spec.classes
    shown = source.at_scale(scale)
    tiling = predictor.tiling(shown.shape[:2])
    labels_only = (
        not {"cutout", "probabilities"} & set(files) and scale.is_pixel_by_pixel and tiling.is_exact
    )
    with locked(store.with_name(f"{store.name}.lock"), f"writes into {store}"):
        tiles = open_store(
            store,
            tiling,
            1 if labels_only else len(classes),
            "uint8" if labels_only else "float32",
            {**belongs_to, "model": predictor.digest, "margin": predictor.margin},
            predictor.most_pixels,
            overwrite,
        )
        _fill(predictor, shown, tiles, begin)
        result = _Result(predictor, source, tiles)
        metadata = metadata_of(predictor, tiles.tiling)
        for kind, file in files.items():
            part = store / RESULT / file.name  # whatever happens, it is removed with the tiles
            part.parent.mkdir(exist_ok=True)
            _write(kind, part, result, metadata)
            _give_name(part, file)
        tiles.remove()
    return (result.counts if "mask" in files else None), tiles.tiling


def store_beside(files: Mapping[str, Path]) -> Path:
    """Where the tiles of a picture lie while its results are made, beside the first of them."""
    first = next(iter(files.values()))
    return first.with_name(f"{first.name}.tiles")


def metadata_of(predictor: Predictor, tiling: Tiling) -> dict[str, Any]:
    """What a result says of how it was made."""
    return {
        "unetkit": __version__,
        "model": predictor.digest,
        "preset": predictor.spec.preset,
        "classes": list(predictor.spec.classes.names),
        "exact": tiling.is_exact,
        "tiles": tiling.describe(),
    }


def _fill(
    predictor: Predictor,
    shown: Windows,
    tiles: TileStore,
    begin: Callable[[Tiling, int], Callable[[], object]],
) -> None:
    finished = tiles.finished()
    on_tile = begin(tiles.tiling, len(finished))

    def write(number: int, logits: np.ndarray) -> None:
        tiles.write(number, labels_of(logits)[..., None] if tiles.dtype == "uint8" else logits)
        on_tile()

    predictor.apply(tiles.tiling, shown, write, finished)
    predictor.release_memory()


class _Result:
    """Labels and probabilities at the picture's size, by windows; counts what it has given."""

    def __init__(self, predictor: Predictor, source: Source, tiles: TileStore) -> None:
        self.source = source
        self.predictor = predictor
        self.classes = predictor.spec.classes
        self._tiles = tiles
        if tiles.dtype == "float32":
            size = source.shape[:2]
            self._scores = windows_from_network(_Probabilities(tiles), predictor.spec.scale, size)
        self.counts = np.zeros(len(self.classes), np.int64)

    def probabilities(self, rows: slice, columns: slice) -> np.ndarray:
        """(h, w, K) float32; nan where the picture has no data."""
        found = self._scores.read(rows, columns)
        missing = self.source.missing(rows, columns)
        return found if missing is None else np.where(missing[..., None], np.float32(np.nan), found)

    def labels(self, rows: slice, columns: slice) -> np.ndarray:
        """(h, w, 1) uint8; `NODATA` where the picture has no data."""
        if self._tiles.dtype == "uint8":
            found = self._tiles.read(rows, columns)
        else:
            found = labels_of(self._scores.read(rows, columns))[..., None]
        missing = self.source.missing(rows, columns)
        return found if missing is None else np.where(missing[..., None], np.uint8(NODATA), found)

    def mask(self, rows: slice, columns: slice) -> np.ndarray:
        """As `labels`, each pixel counted."""
        found = self.labels(rows, columns)
        counts = np.bincount(found.ravel(), minlength=NODATA + 1)
        self.counts += counts[: len(self.classes)]
        return found

    def photo(self, rows: slice, columns: slice) -> np.ndarray:
        return self.predictor.spec.pixels.photo(self.source.read(rows, columns))

    def overlay(self, rows: slice, columns: slice) -> np.ndarray:
        """(h, w, 3) uint8; the photo alone where the picture has no data."""
        labels = self.labels(rows, columns)[..., 0]
        return overlay(self.photo(rows, columns), labels, self.classes)

    def cutout(self, rows: slice, columns: slice) -> np.ndarray:
        """(h, w, 4) uint8; transparent where the picture has no data."""
        alpha = 1 - self._scores.read(rows, columns)[..., self.classes.background]
        missing = self.source.missing(rows, columns)
        if missing is not None:
            alpha[missing] = 0
        return cutout(self.photo(rows, columns), alpha)


class _Probabilities:
    """Of tiles of logits, at the network's scale."""

    def __init__(self, tiles: TileStore) -> None:
        self._tiles = tiles
        self.shape, self.dtype = tiles.shape, np.dtype(np.float32)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        return softmax(self._tiles.read(rows, columns))


def _give_name(part: Path, file: Path) -> None:
    """Moves a result to its place; a Zarr folder that it replaces goes with the store."""
    if part.is_dir() and file.is_dir():
        file.rename(part.with_name(f"before-{file.name[-12:]}"))
    elif part.is_file():
        with open(part, "rb+") as opened:  # before the tiles go
            os.fsync(opened.fileno())
    part.replace(file)


def _by_parts(read: Read, channels: int, dtype: str, classes: int) -> Read:
    """Asks for so many pixels at once as take `PART_BYTES` until they are a result."""
    most = PART_BYTES // max(LEAST_BYTES, BYTES_PER_CLASS * classes)

    def parts(rows: slice, columns: slice) -> np.ndarray:
        height, width = rows.stop - rows.start, columns.stop - columns.start
        found = np.empty((height, width, channels), dtype)
        step = max(1, most // height)
        for left in range(0, width, step):
            span = slice(columns.start + left, columns.start + min(left + step, width))
            found[:, left : left + step] = read(rows, span)
        return found

    return parts


def _write(kind: str, file: Path, result: _Result, metadata: dict[str, Any]) -> None:
    height, width, _ = result.source.shape
    classes = result.classes
    has_gaps = result.source.nodata is not None
    channels, dtype, read, nodata = {
        "mask": (1, "uint8", result.mask, NODATA),
        "overlay": (3, "uint8", result.overlay, None),
        "cutout": (4, "uint8", result.cutout, None),
        "probabilities": (len(classes), "float32", result.probabilities, float("nan")),
    }[kind]
    shape = height, width, channels
    by_parts = _by_parts(read, channels, dtype, len(classes))
    if file.suffix == ".zarr":
        write_ome_zarr(
            file,
            shape,
            dtype,
            by_parts,
            nearest=kind == "mask",
            names=classes.names if kind in ("mask", "probabilities") else None,
            colours=classes.colours if kind == "mask" else None,
            metadata=metadata,
            overwrite=True,  # what may not be replaced was refused before
        )
        return
    write_tiff_pyramid(
        file,
        shape,
        dtype,
        by_parts,
        nearest=kind == "mask",
        palette=classes.colours if kind == "mask" else None,
        names=classes.names if kind == "probabilities" else None,
        metadata=metadata,
        geotags=result.source.geotags,
        nodata=nodata if has_gaps else None,
    )
