"""Training and validation batches: pairs decoded once, then cropped, augmented and stacked.

The decoded images are kept at the network's scale in memory-mapped files, so that a data set may be
larger than memory. A batch is a pure function of (seed, step): it does not depend on the worker
that makes it, or on interruptions of the run.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from unetkit._shared.display import Display
from unetkit._shared.wording import format_count
from unetkit.data.augmentation import (
    NO_AUGMENTATION,
    Augmentation,
    jitter_colour,
    random_window,
    warp,
)
from unetkit.data.classes import Classes
from unetkit.data.pairs import Pair
from unetkit.data.reading import read_in_parallel, read_pair
from unetkit.data.scale import IGNORE, Scale, image_to_network, mask_to_network
from unetkit.data.splits import Split
from unetkit.errors import DataError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.geometry import Geometry
from unetkit.models.spec import Normalization
from unetkit.objects.border_weights import NO_BORDER_WEIGHT, BorderWeight, border_weights
from unetkit.objects.numbering import numbered_objects
from unetkit.objects.separation import NO_OBJECTS, ObjectRule, make_target
from unetkit.training.config import RunConfig

LOADER_THREADS = 4  # each prepares one batch in advance
PLACES = 64  # of each class of an image, around which crops are taken


@dataclass(frozen=True)
class PairCache:
    """Decoded pairs at the network's scale, memory-mapped.

    Args:
        images: Images, (h_i, w_i, C) each, with the dtype of the pixel format.
        masks: Masks, (h_i, w_i) uint8 each, of class indices or IGNORE.
        objects: Numbers of objects, (h_i, w_i) float32 each, 0 outside objects; empty if no weight
            between objects needs them.
    """

    images: list[np.ndarray]
    masks: list[np.ndarray]
    objects: list[np.ndarray] = field(default_factory=list)

    @cached_property
    def places(self) -> list[list[np.ndarray]]:
        """For each image, some pixels of each of its classes but the commonest, (n, 2) int64."""
        return [places_of_classes(mask) for mask in self.masks]

    def __len__(self) -> int:
        return len(self.images)


def build_cache(
    folder: Path,
    pairs: Sequence[Pair],
    classes: Classes,
    pixels: PixelFormat,
    scale: Scale,
    on_done: Callable[[], object] = lambda: None,
    *,
    with_objects: bool = False,
) -> PairCache:
    """Decodes pairs into two files, and maps these into memory.

    Args:
        folder: Folder for the files; is created.
        pairs: Pairs to decode.
        classes: Classes of the masks.
        pixels: Pixel format of the images.
        scale: Scale of the network.
        on_done: Function to call after each pair.
        with_objects: Whether to number the objects of each mask.

    Raises:
        DataError: A pair cannot be read.
    """

    def load(pair: Pair) -> tuple[np.ndarray, ...]:
        image, mask = read_pair(pair, classes, pixels)
        arrays = image_to_network(image, scale), mask_to_network(mask, scale)
        if not with_objects:
            return arrays
        objects = numbered_objects(pair, mask, classes, classes.background).astype(np.float32)
        return *arrays, mask_to_network(objects, scale, fill=0)

    sizes: list[tuple[int, ...]] = []
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.bin" for name in ("images", "masks", "objects")]
    with ExitStack() as stack:
        files = [stack.enter_context(open(path, "wb")) for path in paths[: 2 + with_objects]]
        for arrays in read_in_parallel(load, pairs, on_done):
            for file, array in zip(files, arrays, strict=True):
                file.write(array.tobytes())
            sizes.append(arrays[1].shape)
    return PairCache(
        _map_arrays(paths[0], pixels.dtype, [(*size, pixels.channels) for size in sizes]),
        _map_arrays(paths[1], "uint8", sizes),
        _map_arrays(paths[2], "float32", sizes) if with_objects else [],
    )


def places_of_classes(mask: np.ndarray) -> list[np.ndarray]:
    """Some pixels of each class of a mask but the commonest, evenly spaced in reading order.

    Where most pixels are ignored, as in scribbles, few crops would have one of the commonest class
    by chance: it counts as well.

    >>> places_of_classes(np.array([[0, 0, 0], [0, 1, 255]], np.uint8))
    [array([[1, 1]])]
    """
    counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)[:IGNORE]
    is_scribbled = 2 * counts.sum() < mask.size
    rarer = [k for k in np.flatnonzero(counts) if is_scribbled or k != counts.argmax()]
    places = []
    for k in rarer:
        pixels = np.flatnonzero(mask == k)
        kept = np.linspace(0, len(pixels) - 1, min(PLACES, len(pixels))).astype(int)
        places.append(np.stack(np.unravel_index(pixels[kept], mask.shape), axis=1))
    return places


def build_samplers(
    folder: Path, split: Split, config: RunConfig, display: Display
) -> dict[str, "Sampler"]:
    """Decodes the training and the validation pairs of a run, and makes their samplers.

    Args:
        folder: Folder for the memory-mapped files.
        split: Pairs of the run.
        config: Configuration of the run.
        display: Shows progress.

    Returns:
        The samplers "train" and "validation"; only the first one augments.

    Raises:
        DataError: A pair cannot be read, or every pixel of a split is ignored.
    """
    on_done = display.task("decoding", len(split.train + split.validation))
    caches = {
        name: build_cache(
            folder / name,
            pairs,
            config.classes,
            config.pixels,
            config.scale,
            on_done,
            with_objects=name == "train" and config.needs_objects,
        )
        for name, pairs in (("train", split.train), ("validation", split.validation))
    }
    display.finish()
    for name, cache in caches.items():
        if all((mask == IGNORE).all() for mask in cache.masks):
            raise DataError(
                f"every pixel of the {name} split is ignored "
                f"({format_count(len(cache), 'pair')}); accepted are "
                "splits with labelled pixels; correct the masks or the value to ignore, or split "
                "the pairs with another --seed"
            )
    return {
        name: Sampler(
            cache,
            config.scale,
            config.network.geometry,
            config.pixels,
            config.normalization,
            config.augmentation if name == "train" else NO_AUGMENTATION,
            config.training.seed,
            config.training.class_crops,
            config.border_weight,
            config.objects,
            config.classes.background or 0,
        )
        for name, cache in caches.items()
    }


def _map_arrays(path: Path, dtype: str, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    flat = np.memmap(path, dtype, mode="r")
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    return [
        flat[end - np.prod(shape) : end].reshape(shape)
        for end, shape in zip(ends, shapes, strict=True)
    ]


@dataclass(frozen=True)
class Sampler:
    """Source of training and validation batches from a cache.

    Args:
        cache: Decoded pairs.
        scale: Scale of the network.
        geometry: Valid sizes of the network.
        pixels: Pixel format of the images, which scales their values to 0 to 255.
        normalization: Normalisation of the scaled values.
        augmentation: Augmentation of training samples.
        seed: Seed of order, crops and augmentation.
        class_crops: Fraction of the crops that have a pixel of a rarer class.
        border_weight: Weight of pixels between objects, if the cache has objects.
        objects: How objects are told apart, if the cache has objects.
        background: Index of the background, if the cache has objects.
        part: Which part of each batch is made: its number, of how many.
    """

    cache: PairCache
    scale: Scale
    geometry: Geometry
    pixels: PixelFormat
    normalization: Normalization
    augmentation: Augmentation = NO_AUGMENTATION
    seed: int = 0
    class_crops: float = 0.0
    border_weight: BorderWeight = NO_BORDER_WEIGHT
    objects: ObjectRule = NO_OBJECTS
    background: int = 0
    part: tuple[int, int] = (0, 1)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images of a batch."""
        return (
            self.geometry.input_size(self.scale.height),
            self.geometry.input_size(self.scale.width),
        )

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the masks of a batch: the network's output for `input_size`."""
        height, width = self.input_size
        return self.geometry.output_size(height), self.geometry.output_size(width)

    def batches(
        self, batch_size: int, first_step: int = 0
    ) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        """Yields training batches without end, as `batch` returns them, from a step on."""
        step = first_step
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # more threads would take cores from the network
        try:
            with ThreadPoolExecutor(LOADER_THREADS) as pool:
                waiting = [
                    pool.submit(self.batch, step + i, batch_size) for i in range(LOADER_THREADS)
                ]
                while True:
                    yield waiting.pop(0).result()
                    step += 1
                    waiting.append(pool.submit(self.batch, step + LOADER_THREADS - 1, batch_size))
        finally:
            cv2.setNumThreads(threads)

    def batch(self, step: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """The training batch of a step, or `part` of it.

        Returns:
            Normalised images, (B, H, W, C) float32, and masks, (B, H', W') uint8; with objects,
            (B, H', W', 2) float32 of masks and weights between objects; (B, H', W', 3) with the
            target of the output that tells objects apart.
        """
        number, count = self.part
        first, last = (batch_size * i // count for i in (number, number + 1))
        members = self._members(step, batch_size)[first:last]
        samples = [self._sample(epoch, index) for epoch, index in members]
        images, masks = zip(*samples, strict=True)
        return self.normalization.apply(np.stack(images)), np.stack(masks)

    def indices(self, step: int, batch_size: int) -> list[int]:
        """Indices in the cache of the images in the batch of a step."""
        return [index for _, index in self._members(step, batch_size)]

    def _members(self, step: int, batch_size: int) -> list[tuple[int, int]]:
        """(epoch, index) of each sample of a batch."""
        first, last = step * batch_size, (step + 1) * batch_size - 1
        epochs = range(first // len(self.cache), last // len(self.cache) + 1)
        order = {epoch: self._order(epoch) for epoch in epochs}
        places = [divmod(position, len(self.cache)) for position in range(first, last + 1)]
        return [(epoch, int(order[epoch][place])) for epoch, place in places]

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.cache))

    def _sample(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, 1, epoch, index))
        image, mask = self.cache.images[index], self.cache.masks[index]
        centre = self._random_centre(rng, index)
        window = random_window(rng, self.augmentation, self.input_size, centre)
        warped = self.pixels.scaled(warp(image, window, is_mask=False))
        target = self._cut_mask(mask, window)
        if self.cache.objects:
            target = self._target(target, self._cut_mask(self.cache.objects[index], window))
        return jitter_colour(rng, self.augmentation, warped), target

    def _target(self, mask: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """Classes, weights and further target of a sample, (H', W', 2 or 3) float32."""
        learnt, scores = make_target(mask, objects, self.background, self.objects)
        planes = [learnt, np.zeros(mask.shape, np.float32)]
        if self.border_weight.w0:
            apart = np.where(learnt == self.background, 0, objects)
            planes[1] = border_weights(apart, self.border_weight)
        if scores is not None:
            planes.append(scores)
        return np.stack(planes, axis=-1, dtype=np.float32)

    def _random_centre(self, rng: np.random.Generator, index: int) -> tuple[float, float]:
        """Centre of the window on a whole image, or of a random crop at whole pixels."""
        if not self.scale.is_native:
            return self._centre_of(0, 0)
        size = self.cache.masks[index].shape
        first, last = (
            [0, 0],
            [length - crop for length, crop in zip(size, self.output_size, strict=True)],
        )
        places = self.cache.places[index] if self._is_class_crop(rng) else []
        if places:
            place = rng.choice(places[rng.integers(len(places))])
            first = [
                max(0, at - crop + 1) for at, crop in zip(place, self.output_size, strict=True)
            ]
            last = [min(at, end) for at, end in zip(place, last, strict=True)]
        corners = [
            int(rng.integers(least, max(least, most) + 1))
            for least, most in zip(first, last, strict=True)
        ]
        return self._centre_of(corners[0], corners[1])

    def _is_class_crop(self, rng: np.random.Generator) -> bool:
        return self.class_crops > 0 and rng.random() < self.class_crops

    def _centre_of(self, row: int, column: int) -> tuple[float, float]:
        """Centre of the output window with its upper left corner at (row, column)."""
        height, width = self.output_size
        return row + (height - 1) / 2, column + (width - 1) / 2

    def _cut_mask(self, mask: np.ndarray, window: np.ndarray) -> np.ndarray:
        margin = self.geometry.margin
        inside = window[:, margin : window.shape[1] - margin, margin : window.shape[2] - margin]
        return warp(mask, inside, is_mask=True)

    def _score_mask(self, mask: np.ndarray, window: np.ndarray) -> np.ndarray:
        """A mask as from `_cut_mask`, with IGNORE instead of mirrored pixels beyond the edges."""
        cut = self._cut_mask(mask, window)
        margin = self.geometry.margin
        rows = window[0, margin : margin + cut.shape[0], :1]
        columns = window[1, :1, margin : margin + cut.shape[1]]
        inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
        return np.where(inside, cut, np.uint8(IGNORE))

    def fixed_windows(self, limit: int) -> list[tuple[int, tuple[float, float]]]:
        """Windows for validation, the same each time, as (index of the image, centre).

        With the scale policy `resize`, whole images as in prediction; with `native`, a grid of
        windows that covers each image. At most `limit` are kept, evenly spaced.
        """
        height, width = self.output_size
        windows = [
            (i, self._centre_of(row, column))
            for i, mask in enumerate(self.cache.masks)
            for row in _grid(mask.shape[0], height)
            for column in _grid(mask.shape[1], width)
        ]
        kept = np.linspace(0, len(windows) - 1, min(limit, len(windows))).astype(int)
        return [windows[i] for i in kept]

    def fixed_batches(
        self, batch_size: int, limit: int = 512
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields validation batches without augmentation, as `batch` returns them."""
        windows = self.fixed_windows(limit)
        rng = np.random.default_rng(0)  # without effect, as nothing is augmented
        for start in range(0, len(windows), batch_size):
            images, masks = [], []
            for index, centre in windows[start : start + batch_size]:
                window = random_window(rng, NO_AUGMENTATION, self.input_size, centre)
                images.append(warp(self.cache.images[index], window, is_mask=False))
                masks.append(self._score_mask(self.cache.masks[index], window))
            scaled = self.pixels.scaled(np.stack(images))
            yield self.normalization.apply(scaled), np.stack(masks)


def _grid(length: int, step: int) -> list[int]:
    """Starts of windows that cover a length; the last window ends at the end.

    >>> _grid(512, 200)
    [0, 200, 312]
    """
    last = max(0, length - step)
    return [*range(0, last, step), last]
