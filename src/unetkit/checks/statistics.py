"""Look at every pair once: what its files hold, before it is decided what that means.

A look never fails: what is wrong with a pair is part of it. Nothing of a picture's pixels is kept
but a thumbnail and a sample, so that thousands of looks stay small.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np

from unetkit.data.annotations.polygons import ImageAnnotation, rasterise
from unetkit.data.dataset import Pair
from unetkit.data.masks import RawMask, fill_objects, find_annotation, read_raw_mask
from unetkit.data.reading import file_sha256, in_parallel, require_same_size
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.images import SUFFIXES_OF, ImageFile, pixels_of
from unetkit.io.pixel_format import luma

THUMBNAIL = 32  # pixels a side
MIDDLE = 1024  # pixels a side, on the way to a thumbnail
SAMPLE = 512  # pixels of a picture that levels are found from
MOST_VALUES = 4096  # different values of a mask that are counted apart
MOST_COLOURS = 300  # the same of colours; more than classes can be
LARGEST_LABELLED = 1 << 26  # pixels of a mask whose regions are found; it takes 20 bytes each
MOST_REGIONS = 20_000  # of a mask whose sizes are kept
NO_PIXELS = np.zeros((0, 1), np.uint16)
NO_REGIONS = np.zeros((0, 2), np.int64)


@dataclass(frozen=True, eq=False)
class PairStatistics:
    """What a pair's files hold.

    Args:
        pair: The pair.
        problem: Why it cannot be used, or "".
        is_mismatched: Whether that is because image and mask differ in size.
        image_sha256: Of the image's file, in hexadecimal; "" if it cannot be read.
        mask_sha256: Of the mask's file.
        size: (height, width) as displayed.
        channels: Of the image, without opacity.
        dtype: Of the image: "uint8", "uint16" or "float32".
        format: Of the image's file, as its first bytes say.
        has_odd_suffix: Whether the file's name ends with another format's ending.
        orientation: EXIF orientation, 1 to 8.
        has_alpha: Whether the image has opacity, which is left out.
        largest: Largest number in the image.
        sample: (n, C) some of the image's pixels, for the levels of a set.
        thumbnail: (32, 32) uint8, grey, contrast stretched.
        is_flat: Whether all pixels of the image are equal.
        values: Pixels of each value in the mask, 0xRRGGBB for colours, labels for polygons.
        num_values: Number of different values, also where not all are counted apart.
        is_colour: Whether the mask has colours.
        palette: (n, 3) uint8 of a palette mask, or None.
        is_lossy: Whether the mask is a JPEG.
        regions: (n, 2) int64: value and area in pixels of connected regions of one value other than
            0; for polygons of objects.
        num_regions: Their number, also where not all are kept.
        crowd: Pixels of polygons that stand for several objects at once; no single object's.
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
    has_alpha: bool = False
    largest: float = 0.0
    sample: np.ndarray = field(default_factory=lambda: NO_PIXELS)
    thumbnail: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    is_flat: bool = False
    values: dict[int | str, int] = field(default_factory=dict)
    num_values: int = 0
    is_colour: bool = False
    palette: np.ndarray | None = None
    is_lossy: bool = False
    regions: np.ndarray = field(default_factory=lambda: NO_REGIONS)
    num_regions: int = 0
    crowd: int = 0

    @property
    def is_drawn(self) -> bool:
        """Whether the mask is a polygon file."""
        return self.pair.source.is_polygon_file


def look_at(
    pairs: Sequence[Pair],
    channel_axis: str = "auto",
    on_done: Callable[[], object] = lambda: None,
) -> list[PairStatistics]:
    """Looks at pairs, in parallel.

    Args:
        on_done: Called after each pair, to show progress.
    """
    # One array for all: thousands of small ones, each allocated between the large ones of pictures,
    # keep the memory of these from being used again (70 kB a pair).
    thumbnails = np.zeros((len(pairs), THUMBNAIL, THUMBNAIL), np.uint8)
    samples = np.zeros((len(pairs), 2 * SAMPLE, 3), np.uint8)  # of the usual pictures
    looks: list[PairStatistics] = []
    read = partial(look_at_pair, channel_axis=channel_axis)
    found = in_parallel(read, pairs, on_done)
    for thumbnail, room, look in zip(thumbnails, samples, found, strict=True):
        if look.thumbnail.size:
            thumbnail[:] = look.thumbnail
        sample = look.sample
        if sample.dtype == np.uint8 and sample.shape[1] <= room.shape[1]:
            sample = room[: sample.shape[0], : sample.shape[1]]
            sample[:] = look.sample
        looks.append(replace(look, thumbnail=thumbnail, sample=sample))
    return looks


def look_at_pair(pair: Pair, channel_axis: str = "auto") -> PairStatistics:
    """Reads one pair whole."""
    look = PairStatistics(pair)
    try:
        with ExitStack() as opened:
            image = opened.enter_context(ImageFile(pair.image, channel_axis))
            look = replace(look, image_sha256=file_sha256(image))
            mask: ImageFile | None = None
            if not look.is_drawn:
                mask = opened.enter_context(ImageFile(pair.mask))
            look = replace(look, mask_sha256=file_sha256(mask or pair.mask))
            look = _look_at_image(look, image)
            return _look_at_mask(look, mask)
    except (DataError, DataNotFoundError) as error:
        return replace(_with_hashes(look), problem=str(error))
    except OSError as error:  # a file that vanished, or may not be read
        return replace(
            look,
            problem=f"{error.filename or pair.image} cannot be read ({error.strerror}); accepted "
            "are files that may be read; restore it, or remove the pair",
        )
    except MemoryError:
        return replace(
            look,
            problem=f"{pair.image} with {pair.mask} does not fit into memory; accepted are smaller "
            "pictures; cut them into parts",
        )


def _with_hashes(look: PairStatistics) -> PairStatistics:
    """Adds the hashes of files that are not images; those of files that cannot be read stay ""."""
    with suppress(DataError, DataNotFoundError, OSError):
        look = replace(look, image_sha256=look.image_sha256 or file_sha256(look.pair.image))
        look = replace(look, mask_sha256=look.mask_sha256 or file_sha256(look.pair.mask))
    return look


def _look_at_image(look: PairStatistics, file: ImageFile) -> PairStatistics:
    pair = look.pair
    picture = file.read(pair.page)
    pixels = pixels_of(picture, str(pair.image))
    flat = pixels.reshape(-1, pixels.shape[2])
    step = max(1, len(flat) // SAMPLE)
    return replace(
        look,
        size=picture.size,
        channels=pixels.shape[2],
        dtype=str(pixels.dtype),
        format=picture.format,
        has_odd_suffix=pair.image.suffix.lower() not in SUFFIXES_OF[picture.format],
        orientation=picture.orientation,
        has_alpha=picture.alpha is not None,
        largest=float(pixels.max()),
        # An odd step, so that a picture's rows are not met at the same columns. A copy: a view
        # would keep the whole picture.
        sample=flat[:: step | 1].copy(),
        thumbnail=_thumbnail(pixels),
        is_flat=bool((pixels == pixels[:1, :1]).all()),
    )


def _thumbnail(pixels: np.ndarray) -> np.ndarray:
    # By way of a size in between: a large picture in fractions would take four times its room.
    middle = min(pixels.shape[1], MIDDLE), min(pixels.shape[0], MIDDLE)
    shown = pixels if pixels.shape[2] == 3 else np.ascontiguousarray(pixels[..., 0])
    shown = cv2.resize(shown, middle, interpolation=cv2.INTER_AREA)
    grey = luma(shown) if shown.ndim == 3 else shown
    small = cv2.resize(
        grey.astype(np.float32), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA
    )
    low, high = small.min(), small.max()
    return np.rint((small - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def _look_at_mask(look: PairStatistics, file: ImageFile | None) -> PairStatistics:
    pair = look.pair
    if file is None:
        annotation = find_annotation(pair.source)
        try:
            return _look_at_annotation(look, annotation)
        except DataError as error:
            other_size = annotation.size not in (None, look.size)
            return replace(look, problem=str(error), is_mismatched=other_size)
    raw = read_raw_mask(file, pair.page)
    try:
        require_same_size(pair, look.size, raw.values.shape)
    except DataError as error:
        return replace(look, problem=str(error), is_mismatched=True)
    values, counts = _count_values(raw.values)
    most = MOST_COLOURS if raw.is_colour else MOST_VALUES
    order = np.argsort(-counts, kind="stable")[:most]
    look = replace(
        look,
        values={int(values[i]): int(counts[i]) for i in sorted(order)},
        num_values=len(values),
        is_colour=raw.is_colour,
        palette=raw.palette,
        is_lossy=raw.is_lossy,
    )
    is_photo = raw.is_lossy or (raw.is_colour and len(values) > MOST_COLOURS)
    if is_photo or raw.values.size > LARGEST_LABELLED:
        return look  # its regions would say nothing, or take too much room
    return _with_regions(look, raw)


def _count_values(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values that occur, ascending, and the pixels of each."""
    if values.dtype in (np.uint8, np.uint16):
        counts = np.bincount(values.ravel())
        present = np.flatnonzero(counts)
        return present, counts[present]
    return np.unique(values, return_counts=True)


def _with_regions(look: PairStatistics, raw: RawMask) -> PairStatistics:
    # scikit-image belongs to the `train` extra; what only predicts does without.
    from skimage.measure import label

    regions = label(raw.values, background=0, connectivity=2)
    areas = np.bincount(regions.ravel())[1:]
    values = np.zeros(len(areas) + 1, np.int64)
    values[regions] = raw.values  # one value, however often it is written
    return _keep_regions(look, values[1:], areas)


def _keep_regions(look: PairStatistics, values: np.ndarray, areas: np.ndarray) -> PairStatistics:
    kept = np.sort(np.argsort(-areas, kind="stable")[:MOST_REGIONS])
    regions = np.stack([values[kept], areas[kept].astype(np.int64)], axis=1)
    return replace(look, regions=regions, num_regions=len(areas))


def _look_at_annotation(look: PairStatistics, annotation: ImageAnnotation) -> PairStatistics:
    labels = sorted({shape.label for shape in annotation.shapes})
    drawn = rasterise(annotation, look.size, {name: i + 1 for i, name in enumerate(labels)})
    counts = np.bincount(drawn.ravel(), minlength=len(labels) + 1)
    values: dict[int | str, int] = {0: int(counts[0])}
    values |= {name: int(counts[i + 1]) for i, name in enumerate(labels)}
    objects = fill_objects(annotation, look.size)
    areas = np.bincount(objects[objects > 0])[1:]
    areas = areas[areas > 0]
    crowd = int((objects < 0).sum())
    look = replace(look, values=values, num_values=len(values), crowd=crowd)
    return _keep_regions(look, np.ones(len(areas), np.int64), areas)
