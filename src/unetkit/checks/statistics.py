"""Statistics of each pair of image and mask: sizes, types, mask values, regions, a thumbnail.

Every pair is read once, in parallel, before it is decided what its values mean. Reading a pair
never raises: what is wrong with it is stored in `PairStatistics.problem`. Of the pixels only a
thumbnail and a sample are kept, so that the statistics of thousands of pairs fit into memory. What
mask values mean is left to `class_inference`, and what is wrong with the data set to `issues`.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np

from unetkit._shared.memory_budget import BUDGET
from unetkit.data.annotations.polygons import ImageAnnotation, rasterise
from unetkit.data.labels import is_ignore_label
from unetkit.data.masks import fill_objects, find_annotation, read_raw_mask
from unetkit.data.pairs import Pair
from unetkit.data.reading import file_sha256, in_parallel, mask_sha256, require_same_size
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.decoding import SUFFIXES_OF, is_nodata
from unetkit.io.images import ImageFile, pixels_of, suffix_of
from unetkit.io.parts import read_part
from unetkit.io.pixel_format import luma

THUMBNAIL = 32  # pixels per side
INTERMEDIATE = 1024  # pixels per side of the first of two reductions to a thumbnail
SAMPLE_PIXELS = 512  # pixels of an image from which black and white levels are estimated
MAX_VALUES = 4096  # different values of a mask that are counted separately
MAX_COLOURS = 300  # the same for colours; more than there can be classes
MAX_LOSSY_COLOURS = 1024  # the same for JPEGs; the rarest are too few to matter
MAX_LABELLED_PIXELS = 1 << 26  # of a mask whose regions are found
REGION_BYTES = 16  # for each of its pixels, beside image and mask (docs/log.md, 2026-12-01)
MAX_REGIONS = 20_000  # regions of a mask whose areas are kept, the largest first
MAX_WIDTHS = 16  # mask values whose widths are measured; masks with more number their objects
NO_PIXELS = np.zeros((0, 1), np.uint16)
NO_REGIONS = np.zeros((0, 2), np.int64)


@dataclass(frozen=True, eq=False)
class PairStatistics:
    """Statistics of one pair of image and mask.

    Args:
        pair: Image and mask that were read.
        problem: Reason why the pair cannot be used; "" if it can.
        is_mismatched: Whether the pair cannot be used because image and mask differ in size.
        image_sha256: SHA-256 of the image file, in hexadecimal; "" if it cannot be read.
        mask_sha256: SHA-256 of the mask file, in hexadecimal; "" if it cannot be read.
        size: (height, width) of the image as displayed.
        channels: Number of channels of the image, without alpha.
        dtype: Data type of the image: "uint8", "uint16" or "float32".
        format: Format of the image file, detected from its content.
        has_odd_suffix: Whether the image file has the suffix of another format.
        orientation: EXIF orientation of the image, 1 to 8.
        is_transparent: Whether some pixels are not opaque, which is ignored.
        largest: Largest pixel value of the image.
        missing: Number of pixels that a GeoTIFF, image or mask, declares to be without data. They
            belong to no other statistics.
        sample: Sample of the image's pixels, (n, C); used for black and white levels.
        thumbnail: Grey thumbnail with stretched contrast, (32, 32) uint8.
        is_flat: Whether all pixels of the image are equal.
        values: Number of pixels of each mask value: an integer, 0xRRGGBB for a colour mask, a label
            for polygons.
        num_values: Number of different mask values, including those that are not in `values`.
        is_colour: Whether the mask is a colour image.
        palette: Palette of a palette mask, (n, 3) uint8; None for other masks.
        is_lossy: Whether the mask is a JPEG.
        is_zero_nodata: Whether the mask is a GeoTIFF that declares 0 to be no data.
        regions: Value and area in pixels of each connected region of one value other than 0,
            (n, 2) int64; for polygons of each object.
        crowd: Number of pixels of polygons that outline several objects together.
        widths: Mean width in pixels of what each mask value marks; empty if there are many values.
        left_out: Descriptions of shapes without an area, which are left out.
        overlap: Number of pixels that objects in several mask files have in common.
    """

    pair: Pair
    problem: str = ""
    is_mismatched: bool = False
    image_sha256: str = ""
    mask_sha256: str = ""
    size: tuple[int, int] = (0, 0)
    channels: int = 0
    dtype: str = ""
    format: str = ""
    has_odd_suffix: bool = False
    orientation: int = 1
    is_transparent: bool = False
    largest: float = 0.0
    missing: int = 0
    sample: np.ndarray = field(default_factory=lambda: NO_PIXELS)
    thumbnail: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    is_flat: bool = False
    values: dict[int | str, int] = field(default_factory=dict)
    num_values: int = 0
    is_colour: bool = False
    palette: np.ndarray | None = None
    is_lossy: bool = False
    is_zero_nodata: bool = False
    regions: np.ndarray = field(default_factory=lambda: NO_REGIONS)
    crowd: int = 0
    widths: dict[int | str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    overlap: int = 0

    @property
    def is_drawn(self) -> bool:
        """Whether the mask is read as shapes: a polygon file, or several files."""
        return self.pair.source.has_shapes


def collect_statistics(
    pairs: Sequence[Pair],
    channel_axis: str = "auto",
    on_done: Callable[[], object] = lambda: None,
) -> list[PairStatistics]:
    """Computes the statistics of pairs, in parallel.

    Args:
        pairs: Pairs to read.
        channel_axis: Position of the channels in image files: "auto", "first" or "last".
        on_done: Function that is called after each pair, to show progress.

    Returns:
        Statistics of each pair, in the order of `pairs`.
    """
    # One array for all: thousands of small arrays, each allocated between the large ones of images,
    # keep the memory of the large ones from being reused (70 kB per pair).
    thumbnails = np.zeros((len(pairs), THUMBNAIL, THUMBNAIL), np.uint8)
    samples = np.zeros((len(pairs), 2 * SAMPLE_PIXELS, 3), np.uint8)  # images of up to 3 channels
    statistics: list[PairStatistics] = []
    read = partial(compute_pair_statistics, channel_axis=channel_axis)
    found = in_parallel(read, pairs, on_done)
    for thumbnail, buffer, stats in zip(thumbnails, samples, found, strict=True):
        if stats.thumbnail.size:
            thumbnail[:] = stats.thumbnail
        sample = stats.sample
        if sample.dtype == np.uint8 and sample.shape[1] <= buffer.shape[1]:
            sample = buffer[: sample.shape[0], : sample.shape[1]]
            sample[:] = stats.sample
        statistics.append(replace(stats, thumbnail=thumbnail, sample=sample))
    return statistics


def compute_pair_statistics(pair: Pair, channel_axis: str = "auto") -> PairStatistics:
    """Reads one pair completely and computes its statistics."""
    stats = PairStatistics(pair)
    try:
        with ExitStack() as opened:
            image = opened.enter_context(ImageFile(pair.image, channel_axis))
            stats = replace(stats, image_sha256=file_sha256(image))
            mask: ImageFile | None = None
            if not stats.is_drawn:
                mask = opened.enter_context(ImageFile(pair.mask, role="mask"))
            stats = replace(stats, mask_sha256=file_sha256(mask) if mask else mask_sha256(pair))
            if pair.block is None:  # of a block no more is read than itself
                need = image.needed_bytes(pair.page) + (mask.needed_bytes() if mask else 0)
                need += REGION_BYTES * min(math.prod(image.size(pair.page)), MAX_LABELLED_PIXELS)
                opened.enter_context(BUDGET.taken(need, str(pair.image)))
            stats, missing = _with_image_statistics(stats, image)
            return _with_mask_statistics(stats, mask, missing)
    except (DataError, DataNotFoundError) as error:
        return replace(_with_hashes(stats), problem=str(error))
    except OSError as error:  # a file that vanished, or may not be read
        return replace(
            stats,
            problem=f"{error.filename or pair.image} cannot be read ({error.strerror}); accepted "
            "are readable files; restore it, or remove the pair",
        )
    except MemoryError:
        return replace(
            stats,
            problem=f"{pair.image} with {pair.mask} does not fit into memory; accepted are smaller "
            "images; cut both into tiles",
        )


def _with_hashes(stats: PairStatistics) -> PairStatistics:
    """Adds the hashes of files that are not images; those of files that cannot be read stay ""."""
    with suppress(DataError, DataNotFoundError, OSError):
        stats = replace(stats, image_sha256=stats.image_sha256 or file_sha256(stats.pair.image))
        stats = replace(stats, mask_sha256=stats.mask_sha256 or mask_sha256(stats.pair))
    return stats


def _with_image_statistics(
    stats: PairStatistics, file: ImageFile
) -> tuple[PairStatistics, np.ndarray | None]:
    """Adds the statistics of the image; returns also where it has no data, (H, W) bool or None."""
    pair = stats.pair
    image = read_part(file, pair.page, pair.block)
    pixels = pixels_of(image, str(pair.image))
    flat = pixels.reshape(-1, pixels.shape[2])
    whole = flat
    if image.gaps is not None:
        whole = flat[~image.gaps.reshape(-1)]
        flat = whole if len(whole) else flat
    if image.nodata is not None:
        # A pixel that lacks only some channels has data, but no typical ones.
        lacking = is_nodata(image.bands, image.nodata).any(axis=2)
        lacking = lacking if image.gaps is None else lacking | image.gaps
        whole = pixels.reshape(-1, pixels.shape[2])[~lacking.reshape(-1)]
        flat = whole if len(whole) else flat
    step = max(1, len(flat) // SAMPLE_PIXELS)
    stats = replace(
        stats,
        size=image.size,
        channels=pixels.shape[2],
        dtype=str(pixels.dtype),
        format=image.format,
        has_odd_suffix=suffix_of(pair.image) not in SUFFIXES_OF[image.format],
        orientation=image.orientation,
        is_transparent=image.is_transparent and image.gaps is None and not pair.is_alpha,
        largest=float(flat.max()),
        # An odd step, so that the samples of successive rows are in different columns. A copy: a
        # view would keep the whole image in memory.
        sample=whole[:: step | 1].copy(),
        thumbnail=_thumbnail(pixels),
        is_flat=bool((flat == flat[:1]).all()),
    )
    return stats, image.missing


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    # In two steps: converting the whole of a large image to float would take four times its memory.
    middle = min(pixels.shape[1], INTERMEDIATE), min(pixels.shape[0], INTERMEDIATE)
    reduced = pixels if pixels.shape[2] == 3 else np.ascontiguousarray(pixels[..., 0])
    reduced = cv2.resize(reduced, middle, interpolation=cv2.INTER_AREA)
    grey = luma(reduced) if reduced.ndim == 3 else reduced
    small = cv2.resize(
        grey.astype(np.float32), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA
    )
    low, high = small.min(), small.max()
    return np.rint((small - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def _with_mask_statistics(
    stats: PairStatistics, file: ImageFile | None, missing: np.ndarray | None
) -> PairStatistics:
    pair = stats.pair
    if file is None:
        annotation = find_annotation(pair.source)
        try:
            return _with_annotation_statistics(stats, annotation, missing)
        except DataError as error:
            whole = pair.block.image_size if pair.block else stats.size
            other_size = annotation.size not in (None, whole)
            return replace(stats, problem=str(error), is_mismatched=other_size)
    raw = read_raw_mask(file, pair.page, pair.is_alpha, pair.block)
    try:
        require_same_size(pair, stats.size, raw.values.shape)
    except DataError as error:
        return replace(stats, problem=str(error), is_mismatched=True)
    if raw.missing is not None:
        missing = raw.missing if missing is None else missing | raw.missing
    present = raw.values if missing is None else raw.values[~missing]
    values, counts = _count_values(present)
    most = MAX_COLOURS if raw.is_colour else MAX_VALUES
    if raw.is_lossy:
        most = MAX_LOSSY_COLOURS
    order = np.argsort(-counts, kind="stable")[:most]
    stats = replace(
        stats,
        values={int(values[i]): int(counts[i]) for i in sorted(order)},
        num_values=len(values),
        is_colour=raw.is_colour,
        palette=raw.palette,
        is_lossy=raw.is_lossy,
        is_zero_nodata=raw.is_zero_nodata,
        missing=raw.values.size - present.size,
    )
    is_photo = raw.is_lossy or (raw.is_colour and len(values) > MAX_COLOURS)
    if is_photo or raw.values.size > MAX_LABELLED_PIXELS:
        return stats  # its regions would be meaningless, or take too much memory
    mask = raw.values if missing is None else np.where(missing, 0, raw.values)
    if len(values) <= MAX_WIDTHS:
        known = np.ones(mask.shape, bool) if missing is None else ~missing
        widths: dict[int | str, float] = {
            int(value): mean_width((mask == value) & known) for value in values
        }
        stats = replace(stats, widths=widths)
    return _with_regions(stats, mask)


def mean_width(marked: np.ndarray) -> float:
    """Mean width of the strips and spots that a mask marks: 4 times the distance to their edges.

    Across a strip of width w, the distance to the nearer edge is w / 4 on average; over a disc, it
    is a sixth of the diameter. Large areas weigh more than small ones.

    Args:
        marked: Marked pixels, (H, W) bool; at least one is. If all are, the width is the shorter
            side.

    >>> strip = np.zeros((20, 30), bool)
    >>> strip[:, 10:16] = True
    >>> round(mean_width(strip), 1)
    6.0
    """
    if marked.all():
        return float(min(marked.shape))
    # From centre to centre of pixels: the edge is half a pixel nearer than the next centre.
    distances = cv2.distanceTransform(marked.astype(np.uint8), cv2.DIST_L2, 5)[marked]
    return 4 * (float(distances.mean()) - 0.5)


def _count_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values that occur, in ascending order, and the number of pixels of each."""
    if values.dtype in (np.uint8, np.uint16):
        counts = np.bincount(values.ravel())
        present = np.flatnonzero(counts)
        return present, counts[present]
    return np.unique(values, return_counts=True)


def _with_regions(stats: PairStatistics, mask: np.ndarray) -> PairStatistics:
    # Imported here: scikit-image belongs to the `train` extra, prediction runs without it.
    from skimage.measure import label

    regions = label(mask, background=0, connectivity=2)
    areas = np.bincount(regions.ravel())[1:]
    values = np.zeros(len(areas) + 1, np.int64)
    values[regions] = mask  # all pixels of a region have the same value
    return _keep_regions(stats, values[1:], areas)


def _keep_regions(stats: PairStatistics, values: np.ndarray, areas: np.ndarray) -> PairStatistics:
    kept = np.sort(np.argsort(-areas, kind="stable")[:MAX_REGIONS])
    return replace(stats, regions=np.stack([values[kept], areas[kept].astype(np.int64)], axis=1))


def _with_annotation_statistics(
    stats: PairStatistics, annotation: ImageAnnotation, missing: np.ndarray | None
) -> PairStatistics:
    labels = sorted({shape.label for shape in annotation.shapes})
    drawn = rasterise(annotation, stats.size, {name: i + 1 for i, name in enumerate(labels)})
    present = slice(None) if missing is None else ~missing
    counts = np.bincount(drawn[present].ravel(), minlength=len(labels) + 1)
    values: dict[int | str, int] = {0: int(counts[0])}
    values |= {name: int(counts[i + 1]) for i, name in enumerate(labels)}
    objects = fill_objects(annotation, stats.size)
    areas = np.bincount(objects[objects > 0])[1:]
    areas = areas[areas > 0]
    ignored = [i + 1 for i, name in enumerate(labels) if is_ignore_label(name)]
    crowd = int(((objects < 0) & ~np.isin(drawn, ignored))[present].sum())
    widths: dict[int | str, float] = {}
    if len(labels) <= MAX_WIDTHS:
        widths = {name: mean_width(drawn == i + 1) for i, name in enumerate(labels) if values[name]}
    stats = replace(
        stats,
        values=values,
        num_values=len(values),
        crowd=crowd,
        widths=widths,
        overlap=annotation.overlap,
        left_out=tuple(f"{annotation.source}: {text}" for text in annotation.left_out),
        missing=0 if missing is None else int(missing.sum()),
    )
    return _keep_regions(stats, np.ones(len(areas), np.int64), areas)
