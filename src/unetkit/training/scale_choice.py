"""Choice of scale and network from the sizes of images and the sizes and widths of objects.

Photos show a subject that fills them at any resolution: `resize`. Images of one size above 256
pixels, as from a microscope, keep their pixels: `native`. So do images of several sizes if resizing
would squash their objects: the smallest tenth must keep `LEAST_OBJECT` pixels, and what is thin
`LEAST_WIDTH`. Objects that are told apart keep `GOOD_INSTANCE` pixels; larger ones are reduced, so
that the network sees a whole one and its neighbours.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import Classes
from unetkit.data.scale import Scale
from unetkit.metrics.objects import LEAST_OBJECT, SMALLEST_TENTH, object_sizes
from unetkit.models.unet import UNetConfig, fitted_network, preset_config
from unetkit.training.config import Recipe

LARGEST_WHOLE = 256  # largest side of images of equal size that are not cropped
GOOD_OBJECT = 16.0  # above, objects need no more pixels
GOOD_INSTANCE = 40.0  # likewise, where touching ones are told apart (docs/log.md, 2026-12-01)
LEAST_WIDTH = 3.0  # pixels at the network's scale
THIN = 6.0  # below, a structure needs features at full resolution


@dataclass(frozen=True)
class ImageSizes:
    """Sizes of a training image and of the objects in it.

    Args:
        size: (height, width) of the image in pixels.
        objects: Square roots of the areas of its objects, (n,) float64, in pixels.
        widths: Mean width in pixels, and number of pixels, of each class that is not the background
            or a border, by its mask value.
    """

    size: tuple[int, int]
    objects: np.ndarray
    widths: Mapping[int | str, tuple[float, int]] = field(default_factory=dict)


def image_sizes(statistics: PairStatistics, classes: Classes) -> ImageSizes:
    """Sizes of an image and of its objects, as found when the pair was examined."""
    if classes.threshold is not None or not len(statistics.regions):
        # Regions were found by equal values; those of a thresholded mask are not objects.
        return ImageSizes(statistics.size, np.zeros(0))
    if classes.kind != "instances" and _is_scribbled(statistics, classes):
        return ImageSizes(statistics.size, np.zeros(0))  # regions are strokes, not objects
    values, areas = statistics.regions.T
    left_out: list[int | str] = [] if classes.ignore is None else [classes.ignore]
    if not statistics.is_drawn and classes.kind != "instances":
        indices = (index for index in (classes.background, classes.border) if index is not None)
        left_out += [classes.values[index] for index in indices]
    areas = areas[~np.isin(values, left_out)]
    widths = {}
    others = _other_labels(classes)
    if classes.kind != "instances":
        widths = {
            value: (width, statistics.values[value])
            for value, width in statistics.widths.items()
            if value not in left_out and value not in others
        }
    return ImageSizes(statistics.size, object_sizes(areas), widths)


def _is_scribbled(statistics: PairStatistics, classes: Classes) -> bool:
    """Whether most of a mask is ignored, as where a few strokes label a pixel here and there."""
    height, width = statistics.size
    return classes.ignore is not None and (
        2 * statistics.values.get(classes.ignore, 0) > height * width
    )


def _other_labels(classes: Classes) -> set[str]:
    """Labels of polygons of the background and of ignored pixels."""
    if classes.background is None:
        return set(classes.ignored_labels)
    name = classes.names[classes.background]
    aliases = {label for label, of in classes.aliases.items() if of == name}
    return {name, *aliases, *classes.ignored_labels}


def thinnest(images: Iterable[ImageSizes], factors: Iterable[float]) -> float:
    """Mean width of the thinnest class over all images; infinity if none was measured.

    Args:
        images: Sizes of the training images.
        factors: Network pixels per pixel of each image.
    """
    sums: dict[int | str, np.ndarray] = {}
    for image, factor in zip(images, factors, strict=True):
        for value, (width, count) in image.widths.items():
            sums.setdefault(value, np.zeros(2))
            sums[value] += factor * width * count, count
    return float(min((total / count for total, count in sums.values()), default=np.inf))


def network_factors(images: Iterable[ImageSizes], scale: Scale) -> list[float]:
    """Network pixels per pixel of each image, as the mean of both axes."""
    if scale.is_native:
        return [scale.factor for _ in images]
    area = scale.height * scale.width
    return [float(np.sqrt(area / np.prod(image.size))) for image in images]


def choose_scale(
    images: Collection[ImageSizes],
    network: UNetConfig,
    recipe: Recipe,
    *,
    tells_apart: bool = False,
) -> tuple[Scale, str]:
    """The scale policy for training images, and the reason for it in one sentence.

    Args:
        images: Sizes of the training images and of their objects.
        network: The network, whose stride sizes are multiples of.
        recipe: Recipe of the preset.
        tells_apart: Whether the network is to tell objects apart.
    """
    step = network.geometry.stride
    sizes = [image.size for image in images]
    height, width = np.min(sizes, axis=0)
    found = [image.objects for image in images]
    own = _smallest_tenth(found)
    if tells_apart and max(height, width) > LARGEST_WHOLE and GOOD_INSTANCE < own < np.inf:
        factor = _reduction(GOOD_INSTANCE, own)
        crop = [min(recipe.crop_size, round(factor * side)) for side in (height, width)]
        return Scale("native", crop[0], crop[1], factor=factor), (
            f"the smallest tenth of the objects has {own:.0f} pixels a side, of which "
            f"{GOOD_INSTANCE:.0f} are enough to tell them apart"
        )
    if len(set(sizes)) == 1:
        height, width = sizes[0]
        if max(height, width) <= LARGEST_WHOLE:
            scale = Scale("resize", -(-height // step) * step, -(-width // step) * step)
            return scale, f"all images are small and of one size, {height}x{width}"
        scale = Scale("native", min(recipe.crop_size, height), min(recipe.crop_size, width))
        return scale, f"all images are of one size, {height}x{width}, as from a microscope"
    side = recipe.photo_size
    resized = [
        objects * side / np.sqrt(image.size[0] * image.size[1])
        for image, objects in zip(images, found, strict=True)
    ]
    smallest = _smallest_tenth(resized)
    width = thinnest(images, network_factors(images, Scale("resize", side, side)))
    if smallest >= LEAST_OBJECT and width < LEAST_WIDTH:
        thin = thinnest(images, [1.0] * len(images))
        scale = Scale("native", recipe.crop_size, recipe.crop_size)
        return scale, (
            f"resized to {side}x{side}, what is thin would be {width:.1f} pixels wide; at its own "
            f"scale it is {thin:.1f}"
        )
    if smallest >= LEAST_OBJECT and not (tells_apart and own < np.inf):
        about = "" if np.isinf(smallest) else f", where small objects have {smallest:.0f} pixels"
        return Scale("resize", side, side), f"the images have several sizes{about}"
    factor = 1.0 if tells_apart else _reduction(GOOD_OBJECT, own)
    return Scale("native", recipe.crop_size, recipe.crop_size, factor=factor), (
        f"resized to {side}x{side}, the smallest tenth of the objects would have {smallest:.1f} "
        f"pixels a side; at their own scale it has {own:.0f}"
    )


def _smallest_tenth(objects: Sequence[np.ndarray]) -> float:
    """Largest size among the smallest tenth of all objects, in pixels; infinity without any."""
    every = np.concatenate(objects)
    return float(np.percentile(every, SMALLEST_TENTH)) if len(every) else np.inf


def _reduction(enough: float, size: float) -> float:
    """The factor of a scale by which objects keep enough pixels; at most 1."""
    return float(round(min(1.0, enough / size), 2))


def choose_network_for(
    images: Collection[ImageSizes], scale: Scale, preset: str
) -> tuple[UNetConfig, list[str]]:
    """The network of a preset that fits the images, and the reasons if it is not the usual one."""
    width = thinnest(images, network_factors(images, scale))
    usual = preset_config(preset)
    network = fitted_network(preset, is_native=scale.is_native, is_thin=width < THIN)
    if network == usual:
        return network, []
    thin = f": what is thin is {width:.1f} pixels wide" if width < THIN else ""
    reason = f"features at full resolution{thin}"
    if network.depth < usual.depth:
        reason = (
            f"{network.depth} levels: images are predicted in tiles, whose margins grow with each "
            f"level; {reason}"
        )
    return network, [reason]


def valid_scale(scale: Scale, network: UNetConfig) -> Scale:
    """The scale with sizes that the network takes, the nearest ones; unpadded networks take any."""
    if network.padding != "same":
        return scale
    step = network.geometry.stride
    height, width = (
        max(step, int(side / step + 0.5) * step) for side in (scale.height, scale.width)
    )
    return replace(scale, height=height, width=width)


def samples_per_epoch(sizes: Sequence[tuple[int, int]], scale: Scale) -> int:
    """Number of samples that together have about as many pixels as the training images."""
    if not scale.is_native:
        return len(sizes)
    windows = [
        max(1.0, height * width * scale.factor**2 / (scale.height * scale.width))
        for height, width in sizes
    ]
    return round(sum(windows))
