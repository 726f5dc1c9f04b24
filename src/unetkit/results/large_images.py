"""Prediction of images larger than memory: read by windows, predicted in tiles kept on disk.

    source -> windows at the network's scale -> tiles -> tile store -> outputs, read by windows

Each half needs only a few tiles in memory. The tile store between them holds labels where no output
needs more, and logits otherwise; an interrupted run continues with the tiles that it has. Each of
several models, and each orientation of the image, has a store of its own; they are averaged when
they are read.

Other processes may do a part of each half, as `Helpers`: tiles by their numbers, and outputs by
blocks. They call the same functions, which need nothing but files that all of them see.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unetkit._shared.files import locked
from unetkit.data.scale import windows_from_network
from unetkit.errors import DataError
from unetkit.io.pyramid import Read
from unetkit.prediction.certainty import MeanScores, calibrated
from unetkit.prediction.engine import scores_from_logits
from unetkit.prediction.orientations import Orientation, oriented
from unetkit.prediction.predictor import NODATA_LABEL, Predictor, labels_from_scores
from unetkit.prediction.sources import Source
from unetkit.prediction.tile_store import (
    MEMBER_FOLDER,
    OUTPUT_FOLDER,
    TileStore,
    open_store,
)
from unetkit.prediction.tiling import Tiling
from unetkit.results.objects import with_found_objects, with_objects
from unetkit.results.outputs import (
    DISAGREEMENT,
    UNCERTAINTY,
    create_output,
    figure_of,
    has_blocks,
    metadata_of,
    needs_objects,
    needs_probabilities,
    write_output,
)
from unetkit.results.predicted_image import PredictedImage, ResultOptions


@dataclass(frozen=True)
class TiledImage:
    """What processes that share the work on an image know of it.

    Args:
        size: (height, width) in pixels.
        stores: Tiles of each model and orientation.
        folder: Folder for outputs while they are written.
        kinds: Kinds of output.
        options: How they are written.
        path: Path of the image file, as outputs name it.
        objects: Number of objects, once they are found; None until then, or for none.
    """

    size: tuple[int, int]
    stores: tuple[TileStore, ...]
    folder: Path
    kinds: tuple[str, ...]
    options: ResultOptions
    path: str
    objects: int | None = None


class Helpers(Protocol):
    """Other processes that do parts of the work on an image."""

    def predict_tiles(
        self, image: TiledImage, member: int, numbers: Sequence[int], on_tile: Callable[[], object]
    ) -> None:
        """Has tiles predicted as by `predict_tiles`; `on_tile` is called for each."""

    def write_blocks(self, image: TiledImage, kind: str, folder: Path) -> np.ndarray:
        """Has all pixels of an output written as by `write_output_block`; returns the sums."""


def predict_large_image(
    predictor: Predictor,
    source: Source,
    files: Mapping[str, Path],
    store: Path,
    *,
    identity: Callable[[], Mapping[str, Any]],
    overwrite: bool = False,
    options: ResultOptions | None = None,
    path: str = "image",
    helpers: Helpers | None = None,
    begin: Callable[[Tiling, int], Callable[[], object]] = lambda tiling, done: lambda: None,
    on_complete: Callable[[Mapping[str, Path]], object] = lambda parts: None,
) -> tuple[dict[str, Any], int | None, Tiling]:
    """Segments an image of any size and writes its outputs, in bounded memory.

    Args:
        predictor: The model.
        source: The image.
        files: File to write for each kind of output, TIFF or OME-Zarr; existing ones are replaced.
        store: Folder for finished tiles; removed when all files are written.
        identity: Returns name and version of the image file; tiles of another one are not reused.
        overwrite: Whether to remove tiles that another run left in `store`.
        options: How outputs are written; None for the defaults.
        path: Path of the image file, as outputs name it.
        helpers: Processes that do parts of the work; None to do all of it here.
        begin: Called with the tiles and the number of those that an earlier run finished, for each
            model and orientation; returns a function that is called after each further tile.
        on_complete: Called with the files of all outputs, before these are moved to their places.

    Returns:
        What `write_output` found, by kind of output; number of objects, or None if none are
        written; and the tiles.

    Raises:
        DataError: The image cannot be read, or its file has changed meanwhile.
        OutputExistsError: `store` holds tiles of another run, or another process writes into it.
        SizeError: The allowed memory is too small for one tile.
    """
    scale, members = predictor.spec.scale, predictor.members
    tiling = predictor.tiling(scale.network_size(source.shape[:2]))
    needs_scores = needs_probabilities(files, predictor.spec) or len(members) > 1
    labels_only = not needs_scores and scale.is_pixel_by_pixel and tiling.is_exact
    belongs_to = identity()
    with locked(lock_of(store), f"writes into {store}"):
        options_of_run = {"margin": predictor.margin, "tta": predictor.tta}
        stores = []
        for number, (one, orientation) in enumerate(members):
            size = one.spec.scale.network_size(orientation.size(source.shape[:2]))
            stores.append(
                open_store(
                    store / MEMBER_FOLDER.format(number) if number else store,
                    one.tiling(size),
                    1 if labels_only else predictor.spec.channels,
                    "uint8" if labels_only else "float32",
                    {**belongs_to, "model": predictor.digest, **options_of_run},
                    one.most_pixels,
                    overwrite,
                )
            )
        tiles, folder = stores[0], store / OUTPUT_FOLDER
        options = options or ResultOptions()
        tiled = TiledImage(source.shape[:2], tuple(stores), folder, tuple(files), options, path)
        for number in range(len(stores)):
            _fill(predictor, source, tiled, number, helpers, begin)
        image = predicted_image(predictor, source, tiled)
        folder.mkdir(exist_ok=True)
        if needs_objects(files, predictor.spec):
            image = with_objects(image, folder, predictor.memory, on_disk=True)
        if image.objects is not None:
            tiled = replace(tiled, objects=image.objects.count)
        # Removed with the tiles if the run fails.
        parts = {kind: folder / file.name for kind, file in files.items()}
        written = {}
        for kind, part in parts.items():
            if helpers is not None and has_blocks(kind, part):
                create_output(kind, part, image)
                written[kind] = figure_of(kind, helpers.write_blocks(tiled, kind, part))
            else:
                written[kind] = write_output(kind, part, image)
        if identity() != belongs_to:
            tiles.remove()
            raise DataError(
                f"{belongs_to['image']} changed while it was read; accepted are files that "
                "stay as they are; predict it again"
            )
        on_complete(parts)
        for kind, part in parts.items():
            _move(part, files[kind])
        tiles.remove()
    found = None if image.objects is None else image.objects.count
    return written, found, tiles.tiling


def store_beside(files: Mapping[str, Path]) -> Path:
    """Folder for the tiles of an image with these output files, beside the first of them."""
    first = next(iter(files.values()))
    return first.with_name(f"{first.name}.tiles")


def lock_of(store: Path) -> Path:
    """Lock file of a folder for tiles."""
    return store.with_name(f"{store.name}.lock")


def _fill(
    predictor: Predictor,
    source: Source,
    image: TiledImage,
    member: int,
    helpers: Helpers | None,
    begin: Callable[[Tiling, int], Callable[[], object]],
) -> None:
    """Predicts the tiles that are not in a store yet."""
    tiles = image.stores[member]
    finished = tiles.finished()
    numbers = [number for number in range(len(tiles.tiling)) if number not in finished]
    on_tile = begin(tiles.tiling, len(finished))
    if helpers is not None:
        helpers.predict_tiles(image, member, numbers, on_tile)
    else:
        predict_tiles(predictor, source, tiles, member, numbers, on_tile)
        predictor.members[member][0].release_memory()


def predict_tiles(
    predictor: Predictor,
    source: Source,
    tiles: TileStore,
    member: int,
    numbers: Sequence[int],
    on_tile: Callable[[], object] = lambda: None,
) -> None:
    """Predicts tiles of an image into a store.

    Args:
        predictor: The model.
        source: The image.
        tiles: The store.
        member: Number of the model and orientation that the store is for.
        numbers: Numbers of the tiles.
        on_tile: Called after each.

    Raises:
        DataError: The image cannot be read.
    """
    one, orientation = predictor.members[member]
    scaled = oriented(source, orientation).at_scale(one.spec.scale)
    num_classes = len(one.spec.classes)

    def write(number: int, logits: np.ndarray) -> None:
        if tiles.dtype == "uint8":
            logits = labels_from_scores(logits[..., :num_classes])[..., None]
        tiles.write(number, logits)
        on_tile()

    one.apply(tiles.tiling, scaled, write, numbers)


@dataclass(frozen=True)
class _Member:
    """One prediction of an image: a model, the orientation of the image, and the tiles."""

    predictor: Predictor
    orientation: Orientation
    tiles: TileStore

    def scores(self, size: tuple[int, int]) -> Read:
        """Reads scores of a window of the image, whose (height, width) is `size`."""
        spec, laid = self.predictor.spec, self.orientation
        scores = _Scores(self.tiles, len(spec.classes))
        windows = windows_from_network(scores, spec.scale, laid.size(size))

        def read(rows: slice, columns: slice) -> np.ndarray:
            found = laid.undo(windows.read(*laid.window_of(rows, columns, size)))
            return calibrated(found, len(spec.classes), spec.temperature)

        return read


def predicted_image(predictor: Predictor, source: Source, tiled: TiledImage) -> PredictedImage:
    """The prediction at the size of the image, read from the tiles.

    Args:
        predictor: The model.
        source: The image.
        tiled: Its tiles, and what outputs are written of it.
    """
    image = PredictedImage(
        source,
        predictor.spec,
        metadata_of(predictor, tiled.stores[0].tiling),
        tiled.options,
        tiled.path,
        predictor.memory,
        has_uncertainty=UNCERTAINTY in tiled.kinds,
    )
    image = _with_readers(image, predictor, tiled)
    if tiled.objects is not None:
        image = with_found_objects(image, tiled.folder, tiled.objects)
    return image


def _with_readers(image: PredictedImage, predictor: Predictor, tiled: TiledImage) -> PredictedImage:
    """The image with what reads windows of its prediction."""
    source = image.source
    if tiled.stores[0].dtype == "uint8":
        tiles = tiled.stores[0]

        def read_labels(rows: slice, columns: slice) -> np.ndarray:
            labels = tiles.read(rows, columns)[..., 0]
            missing = source.missing(rows, columns)
            return labels if missing is None else np.where(missing, np.uint8(NODATA_LABEL), labels)

        return replace(image, read_labels=read_labels)

    members = [
        _Member(*one, tiles) for one, tiles in zip(predictor.members, tiled.stores, strict=True)
    ]
    readers = [member.scores((source.shape[0], source.shape[1])) for member in members]

    def mean_of(rows: slice, columns: slice, measures_disagreement: bool) -> MeanScores:
        mean = MeanScores(len(predictor.spec.classes), measures_disagreement)
        for read in readers:
            mean.add(read(rows, columns))
        return mean

    def with_gaps(found: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        missing = source.missing(rows, columns)
        if missing is not None:
            found[missing] = np.nan
        return found

    def read_scores(rows: slice, columns: slice) -> np.ndarray:
        is_one = len(readers) == 1
        found = readers[0](rows, columns) if is_one else mean_of(rows, columns, False).scores()
        return with_gaps(found, rows, columns)

    def read_disagreement(rows: slice, columns: slice) -> np.ndarray:
        return with_gaps(mean_of(rows, columns, True).disagreement(), rows, columns)

    if DISAGREEMENT in tiled.kinds:
        image = replace(image, read_disagreement=read_disagreement)
    return replace(image, read_scores=read_scores)


class _Scores:
    """Windows of probabilities at the network's scale, from tiles of logits."""

    def __init__(self, tiles: TileStore, num_classes: int) -> None:
        self._tiles, self._num_classes = tiles, num_classes
        self.shape, self.dtype = tiles.shape, np.dtype(np.float32)

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        return scores_from_logits(self._tiles.read(rows, columns), self._num_classes)


def _move(part: Path, file: Path) -> None:
    """Moves a finished output to its place; a Zarr folder that it replaces goes with the store."""
    if part.is_dir() and file.is_dir():
        file.rename(part.with_name(f"before-{file.name[-12:]}"))
    elif part.is_file():
        with open(part, "rb+") as opened:  # before the tiles are removed
            os.fsync(opened.fileno())
    part.replace(file)
