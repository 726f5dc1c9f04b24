"""A trained network for one picture or many: pixel values in, labels or probabilities out.

No training framework is imported here: what only predicts starts in a second and installs small.
A picture goes through the model's stored scale policy; the probabilities come back at the
picture's own size, and only then is the most probable class taken. Of a `native` model, pictures
are shown in tiles that fit into the memory allowed, and the answer is that of one run over all.
"""

import copy
import math
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import numpy as np

from unetkit._shared.threads import in_order
from unetkit.data.scale import scores_from_network
from unetkit.errors import ConfigError, SizeError
from unetkit.io.windows import Windows
from unetkit.models.spec import ModelSpec
from unetkit.prediction import memory as memory_of_models
from unetkit.prediction.engine import Engine, softmax
from unetkit.prediction.sources import Image, Source, open_source
from unetkit.prediction.tiling import (
    Size,
    Tiling,
    apply_tiles,
    choose_tiles,
    cut,
    read_tile,
    smallest_tile,
)

NODATA_LABEL = 255  # in labels, where a picture has no data: no class has this index
ANSWERS = ("labels", "probabilities", "logits")
# Of any network of these presets, 400 MB at the most: so many need no measurement.
FEW_PIXELS = 1 << 20


class Predictor:
    """A trained network, ready to segment pictures of any size, from any number of threads.

    Args:
        model: A run folder or an exported .onnx file.
        threads: Threads of the network; None for one a core.
        memory: That the process may take, such as "2GiB", or bytes; 1.5 GiB by default. Arrays that
            you hand over or are handed count beside it. Of `native` models, larger pictures go
            through the network in tiles that fit.
        tile_pixels: That the network is shown at once, at the most, in place of `memory`.
        margin: Pixels beyond a tile's own that it is shown; None for exact tiles. With less than
            the network's reach, tiles are cheaper, blended, and no longer exact.

    Raises:
        DataNotFoundError: The path does not exist, or the run was not exported.
        ModelFileError: The file is not a model that unetkit exported.
        SizeError: The memory or the pixels do not suffice for the smallest tile.
        ConfigError: `memory` is no amount, or given together with `tile_pixels`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        threads: int | None = None,
        memory: str | int | None = None,
        tile_pixels: int | None = None,
        margin: int | None = None,
    ) -> None:
        if memory is not None and tile_pixels is not None:
            raise ConfigError(
                f"memory {memory!r} is given together with tile_pixels {tile_pixels}; accepted is "
                "one of them; leave the other out"
            )
        self._engine = Engine(model, threads)
        self.path = self._engine.path
        self.spec: ModelSpec = self._engine.spec
        self.digest = self._engine.digest
        self.margin = margin
        self._threads = threads
        if isinstance(memory, str):
            memory = memory_of_models.parse_memory(memory)
        self._memory = memory_of_models.DEFAULT if memory is None else memory
        least = math.prod(self._smallest_tile)
        if tile_pixels is not None and tile_pixels < least:
            raise SizeError(
                f"tile_pixels is {tile_pixels}; accepted are numbers from {least} up, the smallest "
                f"tile of {self.path}; allow more"
            )
        self._most_pixels = tile_pixels
        self._lock = threading.Lock()  # of what is made when it is first needed
        self._single_engine: Engine | None = None
        if memory is not None:  # refused now, not in the midst of the work
            self._most_pixels = self._measured()

    def __call__(self, image: Image) -> np.ndarray:
        """Segments one picture.

        Args:
            image: A file of one picture, its path or an open file; or (H, W, C) or (H, W) pixel
                values of any integer or float type: an array, a memory map, a Zarr array. uint8
                and uint16 are converted into one another so that white stays white; other types
                hold numbers on the scale of the model's own pictures.

        Returns:
            (H, W) uint8 class indices, at the picture's size; `NODATA_LABEL`, 255, where a GeoTIFF says
            that nothing was recorded.

        Raises:
            DataNotFoundError, DataError: The file cannot be read, or a pixel is no number that
                the model's pictures can have.
            SizeError: The array has another type, or channels that the model does not take.
        """
        return self._answer(image, "labels")

    def probabilities(self, image: Image) -> np.ndarray:
        """Probability of each class for each pixel, (H, W, K) float32; arguments as in a call."""
        return self._answer(image, "probabilities")

    def logits(self, image: Image) -> np.ndarray:
        """Logarithms of the probabilities up to a number for each pixel, (H, W, K) float32.

        As the network gives them, where it sees the picture's own pixels.
        """
        return self._answer(image, "logits")

    def map(
        self, images: Iterable[Image], answer: str = "labels", threads: int | None = None
    ) -> Iterator[np.ndarray]:
        """Segments many pictures, each on a thread of its own.

        Args:
            images: As for a call; they may be more than memory holds: taken when they are needed.
            answer: "labels", "probabilities" or "logits".
            threads: Pictures at once; None for one a core.

        Yields:
            Each picture's answer, in order, as soon as it is ready; few wait.

        Raises:
            As a call, in place of the picture's answer.
        """
        if answer not in ANSWERS:
            raise ConfigError(
                f"answer is {answer!r}; accepted are {', '.join(map(repr, ANSWERS))}; choose one"
            )
        one, threads = self.side_by_side(threads or self._threads or os.cpu_count() or 1)
        return in_order(lambda image: one._answer(image, answer), images, threads)

    def side_by_side(self, threads: int) -> "tuple[Predictor, int]":
        """One for pictures that are predicted at once, each on a thread of its own.

        Args:
            threads: That are wanted.

        Returns:
            The predictor, and how many threads it is for: fewer where the memory allowed does not
            suffice for a tile on each.
        """
        with self._lock:
            if self._single_engine is None:
                self._single_engine = self._engine.on_threads(1)
        one = copy.copy(self)
        one._engine = self._single_engine
        scale = self.spec.scale
        if not scale.is_native and threads * scale.height * scale.width <= FEW_PIXELS:
            return one, threads
        least, most = math.prod(self._smallest_tile), self._allowed_pixels()
        threads = max(1, min(threads, most // least))
        one._most_pixels = max(least, most // threads)
        return one, threads

    def _allowed_pixels(self) -> int:
        """That may be shown at once: as asked for, or measured once."""
        with self._lock:
            if self._most_pixels is None:
                self._most_pixels = self._measured()
            return self._most_pixels

    @property
    def most_pixels(self) -> int:
        """That the network is shown at once, as far as that is known by now."""
        return self._most_pixels or FEW_PIXELS

    def tiling(self, size: Size) -> Tiling:
        """In what tiles a picture is shown, whose (height, width) is that at the network's scale.

        Raises:
            SizeError: The memory allowed does not suffice.
        """
        geometry = self.spec.geometry
        if not self.spec.scale.is_native:  # all pictures are of one size, the only one taken
            return cut(size, geometry)
        shown = geometry.input_size(size[0]) * geometry.input_size(size[1])
        if self._most_pixels is None and shown <= FEW_PIXELS:
            return cut(size, geometry)
        return choose_tiles(size, geometry, self._allowed_pixels(), self.margin)

    def _measured(self) -> int:
        memory_use = memory_of_models.measure(self._engine)
        return memory_of_models.require_room(
            memory_use, self._memory, self._smallest_tile, self.path
        )

    @property
    def _smallest_tile(self) -> Size:
        """Of a `resize` model the only one."""
        scale, geometry = self.spec.scale, self.spec.geometry
        if not scale.is_native:
            return geometry.input_size(scale.height), geometry.input_size(scale.width)
        side = smallest_tile(geometry, self.margin)
        return side, side

    def network_probabilities(self, image: Image) -> np.ndarray:
        """Probabilities at the network's scale, letterbox bars included, (h, w, K) float32."""
        with open_source(image, self.spec.pixels) as source:
            return softmax(self._network_logits(source.at_scale(self.spec.scale)))

    def _answer(self, image: Image, answer: str) -> np.ndarray:
        with open_source(image, self.spec.pixels) as source:
            return self.answer(source, answer)

    def answer(self, source: Source, answer: str) -> np.ndarray:
        """As a call, of an opened source; `answer` as for `map`.

        Where the picture has no data, labels are `NODATA_LABEL`, and all else is not a number.
        """
        found = self._whole_answer(source, answer)
        missing = source.missing(slice(0, source.shape[0]), slice(0, source.shape[1]))
        if missing is not None:
            found[missing] = NODATA_LABEL if answer == "labels" else np.nan
        return found

    def _whole_answer(self, source: Source, answer: str) -> np.ndarray:
        shown = source.at_scale(self.spec.scale)
        size = source.shape[:2]
        if self.spec.scale.is_pixel_by_pixel:
            if answer == "labels":
                return self._network_labels(shown)
            logits = self._network_logits(shown)
            return softmax(logits) if answer == "probabilities" else logits
        probabilities = softmax(self._network_logits(shown))
        probabilities = scores_from_network(probabilities, self.spec.scale, size)
        if answer == "labels":
            return labels_of(probabilities)
        if answer == "probabilities":
            return probabilities
        return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))

    def _network_labels(self, shown: Windows) -> np.ndarray:
        """(h, w) uint8, without ever holding the logits of more than a tile."""
        tiling = self.tiling(shown.shape[:2])
        if not tiling.is_exact:
            return labels_of(self._network_logits(shown))
        labels = np.empty(shown.shape[:2], np.uint8)

        def write(number: int, logits: np.ndarray) -> None:
            labels[tiling.kept(number)] = labels_of(logits)

        self.apply(tiling, shown, write)
        return labels

    def _network_logits(self, shown: Windows) -> np.ndarray:
        """(h, w, K) float32, as one run over the whole picture would give them."""
        tiling = self.tiling(shown.shape[:2])
        logits = np.zeros((*shown.shape[:2], len(self.spec.classes)), np.float32)

        def write(number: int, answer: np.ndarray) -> None:
            logits[tiling.kept(number)] += answer  # once for each pixel, unless they are blended

        self.apply(tiling, shown, write)
        return logits

    def apply(
        self,
        tiling: Tiling,
        shown: Windows,
        write: Callable[[int, np.ndarray], object],
        finished: Collection[int] = (),
    ) -> None:
        """Shows the network each tile of a picture; `write` and `finished` as in `tiling`."""
        apply_tiles(tiling, lambda *spans: read_tile(shown, *spans), self._engine, write, finished)

    def release_memory(self) -> None:
        """Gives back what the network keeps for further tiles."""
        side = self.spec.geometry.smallest_input
        scale = self.spec.scale
        size = (
            (side, side) if scale.is_native else self.tiling((scale.height, scale.width)).tile_size
        )
        tile = np.zeros((*size, self.spec.pixels.channels), np.float32)
        self._engine(tile, is_last=True)


def labels_of(scores: np.ndarray) -> np.ndarray:
    """The class of the largest score, (H, W) uint8, from (H, W, K); the first of equals."""
    return scores.argmax(-1).astype(np.uint8)
