"""What is made of a prediction in Python: overlays, cut-outs, polygons and tables of arrays."""

from typing import Any

import numpy as np

from unetkit.data.annotations.writers import AnnotatedImage, Drawn, geojson_of
from unetkit.data.classes import Classes
from unetkit.data.scale import Scale
from unetkit.errors import SizeError
from unetkit.io.pixel_size import PixelSize, parse_pixel_size
from unetkit.io.windows import ArrayWindows
from unetkit.objects.outlines import find_regions
from unetkit.objects.outlines import simplify as simplified
from unetkit.prediction.predictor import NODATA_LABEL
from unetkit.results.areas import area_rows
from unetkit.results.matting import CutOut, pixel_side
from unetkit.visualization import overlays


def overlay(photo: np.ndarray, mask: np.ndarray, classes: Classes) -> np.ndarray:
    """Blends class colours into a photo, except where the mask is background or of no class.

    Args:
        photo: (H, W, 3) or (H, W) uint8.
        mask: Class indices, (H, W) uint8, as a `Predictor` returns them.
        classes: Classes of the model, `predictor.spec.classes`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        SizeError: The arrays have other shapes or types, or differ in size.
    """
    photo = _require_photo(photo, mask)
    return overlays.lay_over(photo, _require_mask(mask), classes)


def cutout(
    photo: np.ndarray, probabilities: np.ndarray, classes: Classes, scale: Scale | None = None
) -> np.ndarray:
    """Makes the background of a photo transparent.

    Opacity follows the edges of the photo, whose colours are freed from those of the background.

    Args:
        photo: (H, W, 3) or (H, W) uint8.
        probabilities: (H, W, K) float32, as `Predictor.probabilities` returns them.
        classes: Classes of the model, `predictor.spec.classes`, one of them the background.
        scale: Scale of the model, `predictor.spec.scale`, which says how coarse the probabilities
            are; None for as fine as the photo.

    Returns:
        (H, W, 4) uint8: red, green, blue and opacity.

    Raises:
        SizeError: The arrays have other shapes or types, or differ in size; or no class is the
            background.
    """
    photo = _require_photo(photo, probabilities)
    if probabilities.ndim != 3 or probabilities.shape[2] != len(classes):
        raise SizeError(
            f"probabilities are {probabilities.shape} {probabilities.dtype}; accepted is "
            f"(H, W, {len(classes)}), as Predictor.probabilities returns them"
        )
    if classes.background is None:
        raise SizeError(
            f"classes {', '.join(classes.names)} have no background, which would be transparent; "
            "accepted are classes with one; use overlay"
        )
    size = photo.shape[0], photo.shape[1]
    cut_out = CutOut(
        ArrayWindows(photo),
        ArrayWindows(overlays.opacity(probabilities, classes)),
        1.0 if scale is None else pixel_side(scale, size),
        is_small=scale is not None and not scale.is_native,
        missing=lambda rows, columns: np.isnan(probabilities[rows, columns, 0]),
    )
    return cut_out.read(slice(0, size[0]), slice(0, size[1]))


def polygons(mask: np.ndarray, classes: Classes, *, simplify: float = 0.0) -> dict[str, Any]:
    """Finds the outlines of the regions of each class but the background.

    Args:
        mask: Class indices, (H, W) uint8; 255 is of no class.
        classes: Classes of the model, `predictor.spec.classes`.
        simplify: Largest distance in pixels by which outlines may differ from the exact ones.

    Returns:
        GeoJSON: a FeatureCollection with a Polygon for each region, in pixels, x to the right and y
        down from the upper left corner of the first pixel. Filled at the centres of pixels, they
        give the mask back exactly, unless simplified.

    Raises:
        SizeError: `mask` has another shape or type.

    >>> classes = Classes(("ground", "cell"), (0, 1), background=0)
    >>> found = polygons(np.array([[0, 1, 1]], np.uint8), classes)
    >>> found["features"][0]["geometry"]["coordinates"]
    [[[1, 0], [3, 0], [3, 1], [1, 1], [1, 0]]]
    """
    mask = _require_mask(mask)
    size = mask.shape[0], mask.shape[1]
    background = classes.background
    skipped = {NODATA_LABEL} if background is None else {NODATA_LABEL, background}
    regions = find_regions(
        lambda rows, columns: mask[rows, columns],
        size,
        skipped,
        band_rows=mask.shape[0],
    )
    shapes = (
        Drawn(region.label, [[simplified(ring, simplify) for ring in region.rings]])
        for region in regions
    )
    head, lists = geojson_of(AnnotatedImage("", size, classes.names, classes.colours, {}), shapes)
    return head | {name: list(items) for name, items in lists.items()}


def table(
    mask: np.ndarray, classes: Classes, *, pixel_size: str | PixelSize | None = None
) -> list[dict[str, str | int | float]]:
    """Counts the pixels of each class.

    Args:
        mask: Class indices, (H, W) uint8; 255 is of no class.
        classes: Classes of the model, `predictor.spec.classes`.
        pixel_size: Side of a pixel, such as "0.65um"; None for no areas in physical units.

    Returns:
        A row for each class: "class" (name), "pixels", "fraction" of the pixels that have a class
        and, with a pixel size, "area_um2" or the like.

    Raises:
        SizeError: `mask` has another shape or type.
        ConfigError: `pixel_size` is no length.

    >>> classes = Classes(("ground", "cell"), (0, 1), background=0)
    >>> table(np.array([[0, 1, 1, 1]], np.uint8), classes, pixel_size="2um")[1]
    {'class': 'cell', 'pixels': 3, 'fraction': 0.75, 'area_um2': 12.0}
    """
    counts = np.bincount(_require_mask(mask).ravel(), minlength=256)[: len(classes)]
    size = parse_pixel_size(pixel_size) if isinstance(pixel_size, str) else pixel_size
    return area_rows(counts, classes, size)


def _require_mask(mask: np.ndarray) -> np.ndarray:
    if mask.ndim != 2 or mask.dtype != np.uint8 or not mask.size:
        raise SizeError(
            f"mask is {mask.shape} {mask.dtype}; accepted is (H, W) uint8, as a Predictor gives it"
        )
    return mask


def _require_photo(photo: np.ndarray, beside: np.ndarray) -> np.ndarray:
    if photo.ndim == 2:
        photo = np.repeat(photo[..., None], 3, axis=2)
    is_photo = photo.ndim == 3 and photo.shape[2] == 3 and photo.dtype == np.uint8
    if not is_photo or photo.shape[:2] != beside.shape[:2]:
        raise SizeError(
            f"photo is {photo.shape} {photo.dtype} for a prediction of {beside.shape[:2]} pixels; "
            "accepted is (H, W, 3) or (H, W) uint8 of the same size"
        )
    return photo
