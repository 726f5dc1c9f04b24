"""A trained model applied to images: pixel values in, labels or probabilities out.

No training framework is imported here, so that prediction starts in a second. An image is brought
to the model's scale; probabilities are scaled back to the image's own size before the most probable
class is taken. A `native` model predicts tiles that fit into the memory limit; the result is that
of one run over the whole image. Several models, and several orientations of the image, are averaged
at its own size.

Images whose result does not fit into memory are left to `large_images`, files to `files`.
"""

import hashlib
import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.memory_budget import BUDGET, DEFAULT_MEMORY
from unetkit._shared.threads import in_order, usable_cores
from unetkit.data.scale import scores_from_network, windows_from_network
from unetkit.errors import ConfigError, DataError, SizeError
from unetkit.io.windows import ArrayWindows, Windows
from unetkit.models.built_in import BUILT_IN, NOTICE
from unetkit.models.spec import ModelSpec
from unetkit.prediction import memory as memory_of_models
from unetkit.prediction.certainty import MeanScores, calibrated, entropy
from unetkit.prediction.engine import (
    Engine,
    require_fitting,
    scores_from_logits,
    softmax,
)
from unetkit.prediction.ensemble import find_models, require_alike
from unetkit.prediction.orientations import Orientation, find_orientations, oriented
from unetkit.prediction.runtimes import Runtime
from unetkit.prediction.sources import Image, Source, open_source
from unetkit.prediction.tiling import (
    Tiling,
    apply_tiles,
    choose_tiles,
    cut,
    read_tile,
    smallest_tile,
)

logger = logging.getLogger(__name__)

NODATA_LABEL = 255  # label of pixels without data; no class has this index
COST_ARGUMENTS = {"threads", "memory", "tile_pixels"}  # results do not depend on them
ANSWERS = ("labels", "probabilities", "logits", "uncertainty", "disagreement")
WEIGHT_COPIES = 3  # bytes that a loaded network keeps for each of its file
# Any network of our presets needs at most 400 MB for so many pixels, which needs no measurement.
FEW_PIXELS = 1 << 20
FEW_CLASSES = 4
ROWS_VALUES = 1 << 18  # scores of rows of an image that are resized at once


class Predictor:
    """Segments images of any size with a trained model, from any number of threads.

    Args:
        model: Run folder, folder of a cross-validation, or exported .onnx file; or several of
            them, whose probabilities are averaged; None for the built-in network, which segments
            cats and dogs in photos.
        tta: Test-time augmentation: the image is also predicted "mirror" (left and right
            exchanged), in all four "flips", or in all eight "turns" (flips and quarter turns), and
            probabilities are averaged; None for the image as it is.
        threads: Number of threads that the network uses; None for one per core.
        memory: Memory limit of the process, such as "2GiB", or in bytes; 1.5 GiB by default.
            Arrays passed in and returned are not counted. A `native` model predicts images that
            need more in tiles.
        tile_pixels: Largest number of pixels of a tile, instead of `memory`.
        margin: Number of pixels by which the input of a tile extends beyond its own pixels on each
            side; None for as many as exact tiles need. With fewer, tiles are cheaper, blended where
            they overlap, and not exact.
        engine: Library that runs the network: "onnxruntime", or "openvino" (extra `openvino`).
        device: Where it runs: "cpu" or "gpu".

    Raises:
        DataNotFoundError: `model` does not exist, or the run folder holds no exported model.
        ModelFileError: The file is not a model that unetkit exported.
        SizeError: `memory` or `tile_pixels` is too small for the smallest tile.
        MissingExtraError: `engine` is not installed.
        ConfigError: `engine` or `device` is unknown, or the engine finds no GPU.
        ConfigError: `memory` is not an amount of memory, or is given together with `tile_pixels`;
            `tta` is unknown; or models have other classes, channels or objects than the first.
    """

    path: Path  # of the model file; of several, the first
    spec: ModelSpec
    digest: str  # SHA-256 of the model file; of several, that of their digests
    digests: tuple[str, ...]
    is_checkable: bool

    def __init__(
        self,
        model: str | Path | Sequence[str | Path] | None = None,
        *,
        tta: str | None = None,
        threads: int | None = None,
        memory: str | int | None = None,
        tile_pixels: int | None = None,
        margin: int | None = None,
        engine: str = "onnxruntime",
        device: str = "cpu",
    ) -> None:
        if memory is not None and tile_pixels is not None:
            raise ConfigError(
                f"memory {memory!r} is given together with tile_pixels {tile_pixels}; accepted is "
                "one of them"
            )
        if model is None:
            logger.info(NOTICE)
        self._arguments = {
            "tta": tta,
            "threads": threads,
            "memory": memory,
            "tile_pixels": tile_pixels,
            "margin": margin,
            "engine": engine,
            "device": device,
        }
        self.runtime = Runtime(engine, device)
        if isinstance(memory, str):
            memory = memory_of_models.parse_memory(memory)
        self._memory = DEFAULT_MEMORY if memory is None else memory
        self._orientations = find_orientations(tta)
        self.tta = tta
        self.margin = margin
        self._threads, self._tile_pixels = threads, tile_pixels
        self._is_measured = memory is not None
        self._reserved = 0
        self.paths = tuple(find_models(BUILT_IN if model is None else model))
        sizes = [path.stat().st_size for path in self.paths]
        self._others: tuple[Predictor, ...] = ()
        self._load(self.paths[0], sum(sizes) - sizes[0])
        self._others = tuple(
            self.__copy__()._load(path, sum(sizes) - size)
            for path, size in zip(self.paths[1:], sizes[1:], strict=True)
        )
        if self._others:
            every = (self, *self._others)
            require_alike([one.spec for one in every], self.paths)
            self._describe_together(every)

    def _describe_together(self, every: "Sequence[Predictor]") -> None:
        """Makes metadata and digest those of all models."""
        # No image that any of them was trained on is a test image.
        seen = sorted({digest for one in every for digest in one.spec.seen})
        self.spec = replace(self.spec, seen=tuple(seen))
        self.digests = tuple(one.digest for one in every)
        self.digest = hashlib.sha256("".join(self.digests).encode()).hexdigest()
        self.is_checkable = all(one.is_checkable for one in every)

    def _load(self, path: Path, other_bytes: int) -> "Predictor":
        """Loads a model, beside others whose files have so many bytes."""
        self._engine = Engine(path, self._threads, self._memory, self.runtime)
        self.path = self._engine.path
        self.spec = self._engine.spec
        self.digest = self._engine.digest
        self.digests = (self.digest,)
        self.is_checkable = self._engine.is_checkable
        self.card = self._engine.card
        self._other_bytes = WEIGHT_COPIES * other_bytes
        require_fitting(self._engine, self._smallest_tile, self._memory)
        least, most = math.prod(self._smallest_tile), self._tile_pixels
        if most is not None and most < least:
            raise SizeError(
                f"tile_pixels is {most}; accepted are numbers from {least} up, the size of "
                f"the smallest tile of {self.path}"
            )
        self._most_pixels = most
        self._lock = threading.Lock()  # for `_single_engine` and `_most_pixels`, set on first use
        self._single_engine: Engine | None = None
        if self._is_measured:  # so that too little memory is refused before any work
            self._most_pixels = self._measured()
        return self

    def __copy__(self) -> "Predictor":
        """A predictor that shares the loaded network."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __reduce__(self) -> tuple[Callable[..., "Predictor"], tuple[Any, ...]]:
        """Pickles the paths of the models and the arguments; the networks are loaded again."""
        paths = [path.resolve() for path in self.paths]
        return _load_again, (paths, self.digests, self._arguments)

    @property
    def threads(self) -> int:
        """Number of cores that are used."""
        return self._threads or usable_cores()

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that results depend on: all but those that decide time and memory only.

        Tiles with a smaller margin are blended, so that their sizes count, too.
        """
        spared = COST_ARGUMENTS if self.margin is None else {"threads"}
        return {name: value for name, value in self._arguments.items() if name not in spared}

    def __call__(self, image: Image) -> np.ndarray:
        """Segments an image.

        Args:
            image: Path of an image file, an open file or its content in bytes, of a single image;
                an image of Pillow, as it is shown; or pixel values, (H, W) or (H, W, C), of any
                integer or float type: an array, a memory map, a Zarr array. uint8 and uint16 are
                converted into one another so that white stays white; values of other types are
                taken to be on the scale of the model's own images.

        Returns:
            Class indices, (H, W) uint8, at the size of the image; 255 (`NODATA_LABEL`) where a
            GeoTIFF has no data.

        Raises:
            DataNotFoundError: The file does not exist.
            DataError: The file cannot be read, or a pixel value is out of the range of the model's
                images; or floats are from 0 to 1, and the model's images are integers.
            SizeError: The array is not of numbers, or has channels that the model does not accept.
        """
        return self._predict(image, "labels")

    def probabilities(self, image: Image) -> np.ndarray:
        """Returns the probability of each class for each pixel, (H, W, K) float32.

        Args and Raises are those of `__call__`.
        """
        return self._predict(image, "probabilities")

    def logits(self, image: Image) -> np.ndarray:
        """Returns the logits of each class for each pixel, (H, W, K) float32.

        These are the network's output, divided by the temperature of its calibration, if it is
        applied to the image's own pixels, and logarithms of the probabilities if images are scaled.
        Args and Raises are those of `__call__`.
        """
        return self._predict(image, "logits")

    def uncertainty(self, image: Image) -> np.ndarray:
        """Returns the entropy of the probabilities of each pixel, relative to the largest.

        Args and Raises are those of `__call__`.

        Returns:
            (H, W) float32, from 0 (one class is certain) to 1 (all are equally probable); nan where
            a GeoTIFF has no data.
        """
        return self._predict(image, "uncertainty")

    def disagreement(self, image: Image) -> np.ndarray:
        """Returns how far the models, or the orientations of the image, disagree at each pixel.

        It is the part of the uncertainty that comes from their differences: the mutual information
        of the class and the prediction. Args and Raises are those of `__call__`.

        Returns:
            (H, W) float32, from 0 (all have the same probabilities) to 1; nan where a GeoTIFF has
            no data.

        Raises:
            ConfigError: There is one model, and no test-time augmentation.
        """
        self.require_several()
        return self._predict(image, "disagreement")

    def require_several(self) -> None:
        """Refuses a single model without test-time augmentation.

        Raises:
            ConfigError: There is nothing that could disagree.
        """
        if len(self.members) == 1:
            raise ConfigError(
                f"disagreement is asked for of {self.path} alone; accepted are several models, or "
                'test-time augmentation: tta="flips"'
            )

    @property
    def members(self) -> "tuple[tuple[Predictor, Orientation], ...]":
        """Predictor of each model, and each orientation of the image: their mean is predicted."""
        models = (self, *self._others)
        return tuple((one, laid) for one in models for laid in self._orientations)

    def map(
        self, images: Iterable[Image], answer: str = "labels", threads: int | None = None
    ) -> Iterator[np.ndarray]:
        """Segments many images, several at the same time.

        Args:
            images: Images, each as for `__call__`. They are taken from the iterable as needed, so
                that they may be more than fit into memory.
            answer: Kind of result: "labels", "probabilities", "logits", "uncertainty" or
                "disagreement".
            threads: Number of images predicted at the same time; None for one per core.

        Yields:
            Result of each image, in order, as soon as it is ready.

        Raises:
            ConfigError: `answer` is not a kind of result, or is "disagreement" of a single model.
            DataNotFoundError, DataError, SizeError: An image cannot be read or predicted; raised in
                place of its result.
        """
        if answer not in ANSWERS:
            raise ConfigError(f"answer is {answer!r}; accepted are {', '.join(map(repr, ANSWERS))}")
        if answer == "disagreement":
            self.require_several()
        one, threads = self.side_by_side(threads or self.threads)
        return in_order(lambda image: one._predict(image, answer), images, threads)

    def side_by_side(self, threads: int) -> "tuple[Predictor, int]":
        """Returns a predictor to be called by several threads, each with an image of its own.

        Args:
            threads: Number of images predicted at the same time.

        Returns:
            The predictor, and the number of threads that may call it: fewer than `threads` if the
            memory limit is too small for one tile per thread.
        """
        others = []
        for other in self._others:
            other, threads = other.side_by_side(threads)
            others.append(other)
        with self._lock:
            if self._single_engine is None:
                self._single_engine = self._engine.on_threads(1)
        one = self.__copy__()
        one._others = tuple(others)
        one._engine = self._single_engine
        scale = self.spec.scale
        is_small = not scale.is_native and threads * scale.height * scale.width <= FEW_PIXELS
        if is_small and self._engine.is_known:
            return one, threads
        least, most = math.prod(self._smallest_tile), self._allowed_pixels()
        threads = max(1, min(threads, most // least))
        one._most_pixels = max(least, most // threads)
        return one, threads

    def on_threads(self, threads: int) -> "Predictor":
        """Returns a predictor whose network uses another number of threads."""
        one = self.__copy__()
        one._threads = threads
        one._engine = self._engine.on_threads(threads)
        one._others = tuple(other.on_threads(threads) for other in self._others)
        return one

    def leaving(self, reserved: int) -> "Predictor":
        """Returns a predictor whose tiles leave bytes of the memory limit to something else."""
        one = self.__copy__()
        one._reserved = reserved
        one._others = tuple(other.leaving(reserved) for other in self._others)
        if self._most_pixels is not None and self._tile_pixels is None and reserved:
            one._most_pixels = one._measured()
        return one

    @property
    def least_tile_bytes(self) -> int:
        """Bytes of one run over the smallest tile, computed from the graph; the most of a model."""
        own = self._engine.cost(self._smallest_tile).bytes
        return max([own, *(other.least_tile_bytes for other in self._others)])

    @property
    def least_memory(self) -> int:
        """Smallest memory limit with which the model predicts, in bytes, as measured."""
        own = self._memory_use().needed(math.prod(self._smallest_tile))
        return max([own, *(other.least_memory for other in self._others)])

    @property
    def weight_bytes(self) -> int:
        """Bytes of the model files together."""
        return sum(path.stat().st_size for path in self.paths)

    def _allowed_pixels(self) -> int:
        """Largest number of pixels of a tile, measured if it is not known yet."""
        with self._lock:
            if self._most_pixels is None:
                self._most_pixels = self._measured()
            return self._most_pixels

    @property
    def memory(self) -> int:
        """Memory limit of the process, in bytes."""
        return self._memory

    @property
    def most_pixels(self) -> int:
        """Largest number of pixels of a tile; a lower bound as long as it is not measured."""
        return self._most_pixels or FEW_PIXELS

    def tiling(self, size: tuple[int, int]) -> Tiling:
        """Returns the tiles in which an image is predicted.

        Args:
            size: (height, width) of the image at the network's scale.

        Raises:
            SizeError: The memory limit is too small for the smallest tile.
        """
        geometry = self.spec.geometry
        is_whole = not self.spec.scale.is_native  # the model file takes one size only
        pixels = geometry.input_size(size[0]) * geometry.input_size(size[1])
        if is_whole or (self._most_pixels is None and pixels <= FEW_PIXELS):
            if self._most_pixels is not None or self._engine.is_known:
                return cut(size, geometry)
            self._allowed_pixels()  # measured before a model of unknown origin runs here
        if is_whole:
            return cut(size, geometry)
        return choose_tiles(size, geometry, self._allowed_pixels(), self.margin)

    def _memory_use(self) -> memory_of_models.MemoryUse:
        alone = memory_of_models.measure(self._engine, self._memory)
        return replace(alone, base=alone.base + self._other_bytes)

    def _measured(self) -> int:
        memory_use, smallest = self._memory_use(), self._smallest_tile
        most = memory_of_models.largest_tile(memory_use, self._memory, smallest, self.path)
        # Reading an image whole takes the place of the reserve for windows.
        left = self._memory - max(0, self._reserved - memory_of_models.RESERVE)
        return max(math.prod(smallest), min(most, memory_use.most_pixels(left)))

    @property
    def _smallest_tile(self) -> tuple[int, int]:
        """(height, width); a `resize` model has one tile size only."""
        scale, geometry = self.spec.scale, self.spec.geometry
        if not scale.is_native:
            return geometry.input_size(scale.height), geometry.input_size(scale.width)
        side = smallest_tile(geometry, self.margin)
        return side, side

    def network_scores(self, image: Image) -> Iterator[np.ndarray]:
        """Yields probabilities at the network's scale, with letterbox bars, not calibrated.

        One for each orientation of the image, laid back, (h, w, K) float32, or (h, w, K + 1) of a
        model with an output that tells objects apart.

        Raises:
            ConfigError: There are several models, or turns of an image at a scale that is not
                square, which have no scale in common.
        """
        if len(self.paths) > 1:
            raise ConfigError(
                f"{len(self.paths)} models have no scale in common; accepted is one; evaluate the "
                "models one by one"
            )
        scale = self.spec.scale
        is_turned = any(laid.is_transposed for laid in self._orientations)
        if is_turned and not scale.is_native and scale.height != scale.width:
            raise ConfigError(
                f"tta is {self.tta!r}, and the model's images are {scale.height}x{scale.width}; "
                "turned images are accepted at a square scale; use 'flips'"
            )
        with BUDGET.limited(self._memory), open_source(image, self.spec.pixels) as source:
            for laid in self._orientations:
                logits = self._network_logits(oriented(source, laid).at_scale(scale))
                yield laid.undo(scores_from_logits(logits, len(self.spec.classes)))

    def _predict(self, image: Image, answer: str) -> np.ndarray:
        with BUDGET.limited(self._memory), open_source(image, self.spec.pixels) as source:
            return self.answer(source, answer)

    def answer(self, source: Source, answer: str) -> np.ndarray:
        """Predicts an opened image.

        Args:
            source: The image.
            answer: Kind of result, one of `ANSWERS`.

        Returns:
            (H, W) uint8 labels, `NODATA_LABEL` where the image has no data; (H, W, K) float32
            probabilities or logits, nan there; or (H, W) float32 uncertainty or disagreement.
        """
        found = self._predict_source(source, answer)
        missing = source.missing(slice(0, source.shape[0]), slice(0, source.shape[1]))
        if missing is not None:
            found[missing] = NODATA_LABEL if answer == "labels" else np.nan
        return found

    def scores(
        self, source: Source, measures_disagreement: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Predicts an opened image: all that results are made of.

        Args:
            source: The image.
            measures_disagreement: Whether the disagreement is returned, too.

        Returns:
            Probabilities, (H, W, K) float32, or (H, W, K + 1) with that of the output that tells
            objects apart; and the disagreement, (H, W) float32, or None. Both are nan where the
            image has no data.
        """
        scores, disagreement = self._mean_scores(source, measures_disagreement)
        missing = source.missing(slice(0, source.shape[0]), slice(0, source.shape[1]))
        if missing is not None:
            scores[missing] = np.nan
            if disagreement is not None:
                disagreement[missing] = np.nan
        return scores, disagreement

    def _predict_source(self, source: Source, answer: str) -> np.ndarray:
        num_classes = len(self.spec.classes)
        if len(self.members) == 1 and self.spec.scale.is_pixel_by_pixel:
            if answer == "labels":
                return self._network_labels(source.at_scale(self.spec.scale))
            if answer == "logits":
                logits = self._network_logits(source.at_scale(self.spec.scale))[..., :num_classes]
                return logits / np.float32(self.spec.temperature)
        elif len(self.members) == 1 and answer == "labels":
            return self._resized_labels(source)
        scores, disagreement = self._mean_scores(source, answer == "disagreement")
        if disagreement is not None:
            return disagreement
        probabilities = scores[..., :num_classes]
        if answer == "labels":
            return labels_from_scores(probabilities)
        if answer == "probabilities":
            return probabilities
        if answer == "uncertainty":
            return entropy(probabilities)
        return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))

    def _mean_scores(
        self, source: Source, measures_disagreement: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Scores at the size of the image, averaged over models and orientations."""
        if len(self.members) == 1:
            return self._own_scores(source), None
        mean = MeanScores(len(self.spec.classes), measures_disagreement)
        for one, orientation in self.members:
            mean.add(orientation.undo(one._own_scores(oriented(source, orientation))))
        return mean.scores(), mean.disagreement() if measures_disagreement else None

    def _own_scores(self, source: Source) -> np.ndarray:
        """Scores of this model alone, of the image as it is, at its size."""
        logits = self._network_logits(source.at_scale(self.spec.scale))
        num_classes = len(self.spec.classes)
        scores = scores_from_logits(logits, num_classes)
        if not self.spec.scale.is_pixel_by_pixel:
            scores = scores_from_network(scores, self.spec.scale, source.shape[:2])
        return calibrated(scores, num_classes, self.spec.temperature)

    def _resized_labels(self, source: Source) -> np.ndarray:
        """Labels at the size of the image, (H, W) uint8, from few rows of scores at a time."""
        num_classes = len(self.spec.classes)
        logits = self._network_logits(source.at_scale(self.spec.scale))
        scores = ArrayWindows(softmax(logits[..., :num_classes]))
        height, width = source.shape[:2]
        resized = windows_from_network(scores, self.spec.scale, (height, width))
        labels = np.empty((height, width), np.uint8)
        step = max(1, ROWS_VALUES // (width * num_classes))
        for top in range(0, height, step):
            rows = slice(top, min(top + step, height))
            labels[rows] = labels_from_scores(resized.read(rows, slice(0, width)))
        return labels

    def _network_labels(self, scaled: Windows) -> np.ndarray:
        """Labels, (h, w) uint8; if tiles are exact, only the logits of one tile are in memory."""
        tiling, num_classes = self.tiling(scaled.shape[:2]), len(self.spec.classes)
        if not tiling.is_exact:
            return labels_from_scores(self._network_logits(scaled)[..., :num_classes])
        labels = np.empty(scaled.shape[:2], np.uint8)

        def write(number: int, logits: np.ndarray) -> None:
            labels[tiling.kept(number)] = labels_from_scores(logits[..., :num_classes])

        self.apply(tiling, scaled, write)
        return labels

    def _network_logits(self, scaled: Windows) -> np.ndarray:
        """All outputs of the network, (h, w, `spec.channels`) float32."""
        tiling = self.tiling(scaled.shape[:2])
        logits = np.zeros((*scaled.shape[:2], self.spec.channels), np.float32)

        def write(number: int, output: np.ndarray) -> None:
            logits[tiling.kept(number)] += output  # only blended tiles overlap

        self.apply(tiling, scaled, write)
        return logits

    def apply(
        self,
        tiling: Tiling,
        scaled: Windows,
        write: Callable[[int, np.ndarray], object],
        numbers: Sequence[int] | None = None,
    ) -> None:
        """Runs the network on each tile of an image; see `tiling.apply_tiles`."""
        # Of several networks, none keeps memory that the next one needs.
        network = partial(self._engine, is_last=self._other_bytes > 0)
        apply_tiles(tiling, lambda *spans: read_tile(scaled, *spans), network, write, numbers)

    def release_memory(self) -> None:
        """Releases the memory that the network keeps for further tiles."""
        if self._other_bytes:  # none is kept
            return
        side = self.spec.geometry.smallest_input
        scale = self.spec.scale
        size = (
            (side, side) if scale.is_native else self.tiling((scale.height, scale.width)).tile_size
        )
        tile = np.zeros((*size, self.spec.pixels.channels), np.float32)
        self._engine(tile, is_last=True)


def _load_again(
    paths: Sequence[Path], digests: Sequence[str], arguments: dict[str, Any]
) -> Predictor:
    """A predictor that was pickled, or copied with all that it holds.

    Raises:
        DataNotFoundError, ModelFileError: A model is not there any more.
        DataError: It has changed.
    """
    predictor = Predictor(paths, **arguments)
    for path, found, digest in zip(paths, predictor.digests, digests, strict=True):
        if found != digest:
            raise DataError(
                f"{path} has changed since a predictor of it was pickled; accepted is the same "
                "model; restore it, or make a new Predictor"
            )
    return predictor


def labels_from_scores(scores: np.ndarray) -> np.ndarray:
    """Returns the class of the largest score, (H, W) uint8, the first of equals, from (H, W, K).

    Few classes are compared one by one: NumPy takes five times as long to reduce an axis of three.
    """
    num_classes = scores.shape[-1]
    if num_classes > FEW_CLASSES:
        return scores.argmax(-1).astype(np.uint8)
    most, labels = scores[..., 0], np.zeros(scores.shape[:-1], np.uint8)
    for index in range(1, num_classes):
        is_more = (scores[..., index] > most).view(np.uint8)
        np.maximum(labels, is_more * np.uint8(index), out=labels)
        most = np.maximum(most, scores[..., index])
    return labels
