"""One image predicted by many workers: tiles as tasks, then blocks of its outputs as tasks.

The command plans the tiles, finds objects and writes the smallest overviews; workers predict tiles
into the store and write blocks, by the functions that one machine uses. No two tasks write into one
file: a tile is a file, and a block is whole chunks of OME-Zarr.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.memory_budget import BUDGET
from unetkit.cluster.tasks import Task, Workers, cut_parts
from unetkit.cluster.worker import load
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.ome_zarr_writer import cut_blocks, write_overviews
from unetkit.io.pyramid import level_sizes
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import WHOLE_PIXELS, InputFile, Source, open_source
from unetkit.results.large_images import TiledImage, predict_tiles, predicted_image
from unetkit.results.outputs import write_output_block

TILES = 8  # of a task: while the network runs on one, the next is read
MOST_BLOCK_LEVELS = 3  # overviews in which a block is whole chunks: 4096 pixels a side
READ_BY_WINDOWS = ("TIFF", "ZARR", "NPY")

# Of a worker: one tile at a time, which may take all of its memory, on all of its threads.
_network = threading.Lock()


@dataclass(frozen=True)
class ImagePart:
    """What a worker needs to know of an image.

    Args:
        predictor: The model, pickled.
        image: Image file.
        page: Number of the image in a file of several, or None.
        tiled: Its tiles and outputs.
    """

    predictor: bytes
    image: Path
    page: int | None
    tiled: TiledImage


def can_be_shared(image: Path, predictor: Predictor) -> bool:
    """Whether an image is worth several workers, and each can read a part of it.

    An image that cannot be opened is left to the worker that predicts it alone, and names it.
    """
    file = InputFile(image, predictor.spec.pixels)
    try:
        if file.format not in READ_BY_WINDOWS:
            return False
        pages = [None] if file.count is None else range(file.count)
        return any(np.prod(file.size(page)) > WHOLE_PIXELS for page in pages)
    except (DataError, DataNotFoundError):
        return False
    finally:
        file.close()


class ImageWorkers:
    """Workers that predict one image; `Helpers` of `results.large_images`.

    Args:
        workers: The workers.
        predictor: The model, pickled.
        image: Image file, the same for all workers.
        page: Number of the image in a file of several, or None.
    """

    def __init__(self, workers: Workers, predictor: bytes, image: Path, page: int | None) -> None:
        self._workers, self._predictor, self._image, self._page = workers, predictor, image, page

    def predict_tiles(
        self, image: TiledImage, member: int, numbers: Sequence[int], on_tile: Callable[[], object]
    ) -> None:
        """Has workers predict tiles into their store.

        Raises:
            DataError: The image cannot be read, or workers cannot predict some tiles.
        """
        parts = cut_parts(numbers, TILES, self._workers.threads) if numbers else []
        for task, _ in self._all(image, predict_some, [(member, part) for part in parts], "tiles"):
            for _ in task.arguments[-1]:
                on_tile()

    def write_blocks(self, image: TiledImage, kind: str, folder: Path) -> np.ndarray:
        """Has workers write an output, and writes its smallest overviews.

        Returns:
            What was counted.

        Raises:
            DataError: Workers cannot write a block.
        """
        size = image.size
        levels = min(MOST_BLOCK_LEVELS, len(level_sizes(size)) - 1)
        while levels and len(cut_blocks(size, levels)) < 4 * self._workers.threads:
            levels -= 1
        blocks = [(kind, folder.name, block, levels) for block in cut_blocks(size, levels)]
        sums = sum(value for _, value in self._all(image, write_one_block, blocks, kind))
        write_overviews(folder, levels)
        return np.asarray(sums)

    def _all(
        self,
        image: TiledImage,
        function: Callable[..., Any],
        arguments: Sequence[tuple[Any, ...]],
        what: str,
    ) -> Iterator[tuple[Task, Any]]:
        """Has a function called with the image and each of some arguments."""
        part = ImagePart(self._predictor, self._image, self._page, image)
        name = f"{what} of {self._image}"
        tasks = (Task(function, (part, *one), name) for one in arguments)
        for outcome in self._workers.hand_out(lambda: next(tasks, None)):
            if outcome.fault is not None:
                raise DataError(
                    f"{name}: {outcome.fault}; what is finished is kept; the same command again "
                    "finishes the rest, without --workers and --cluster on this machine alone"
                )
            yield outcome.task, outcome.value


@contextmanager
def _opened(part: ImagePart, threads: int = 1) -> Iterator[tuple[Predictor, Source]]:
    predictor = load(part.predictor, threads)
    with (
        BUDGET.limited(predictor.memory),
        open_source(part.image, predictor.spec.pixels, part.page) as source,
    ):
        yield predictor, source


def predict_some(
    part: ImagePart, member: int, numbers: Sequence[int], show_life: Callable[[], object]
) -> None:
    """Predicts tiles in a worker; those that a worker before it finished are left."""
    from distributed import get_worker

    store, threads = part.tiled.stores[member], get_worker().state.nthreads
    with _opened(part, threads) as (predictor, source), _network:
        left = [number for number in numbers if not store.has(number)]
        predict_tiles(predictor, source, store, member, left, show_life)


def write_one_block(
    part: ImagePart,
    kind: str,
    name: str,
    block: tuple[slice, slice],
    levels: int,
    show_life: Callable[[], object],
) -> np.ndarray:
    """Writes a block of an output in a worker; returns what was counted."""
    show_life()
    with _opened(part) as (predictor, source):
        image = predicted_image(predictor, source, part.tiled)
        return write_output_block(kind, part.tiled.folder / name, image, block, levels)
