"""What pixels of mask files stand for: class numbers, two values, or those of the training masks.

Palettes are lost on most readers of PNG (docs/prediction.md has the measurement), so that masks are
grey unless another style is asked for.
"""

import numpy as np

from unetkit.data.classes import Classes
from unetkit.errors import DataError

MASK_STYLES = ("index", "palette", "binary", "values")
LARGEST_8_BITS, LARGEST_16_BITS = 255, 65535


def mask_table(
    style: str, classes: Classes, nodata: int, *, has_gaps: bool = False
) -> tuple[np.ndarray, int | None]:
    """Returns what stands for each class in mask files of a style.

    Args:
        style: "index" or "palette" for class indices; "binary" for 0 in the background and 255
            elsewhere; "values" for the numbers or colours of the masks that a model learnt from.
        classes: The K classes.
        nodata: Index of pixels without data.
        has_gaps: Whether there may be pixels without data.

    Returns:
        Pixel values of each index, (256, C) uint8 or uint16, and the one that stands for no data.
        C is 3 for colours, else 1; the latter is None in masks that have no other value.

    Raises:
        DataError: "binary" without a background class, or "values" without one for pixels without
            data.
    """
    if style in ("index", "palette"):
        return np.arange(256, dtype=np.uint8)[:, None], nodata
    if style == "binary":
        if classes.background is None:
            raise DataError(
                "masks of two values need a background class, which the model does not have; "
                "accepted for it are 'index', 'palette' and 'values'"
            )
        table = np.full((256, 1), LARGEST_8_BITS, np.uint8)
        table[[classes.background, nodata]] = 0
        return table, None
    values, gap = list(classes.values), classes.ignore
    if classes.kind == "colours":
        if has_gaps and gap is None:
            raise DataError(
                "the image has pixels without data, and the masks that the model learnt from have "
                "no colour that is ignored; accepted is the style 'index', where they are 255"
            )
        table = np.zeros((256, 3), np.uint8)
        for index, value in [*enumerate(values), (nodata, gap or 0)]:
            table[index] = value >> 16, value >> 8 & 255, value & 255
        return table, None
    largest = LARGEST_8_BITS if max(values) <= LARGEST_8_BITS else LARGEST_16_BITS
    if gap is None or not 0 <= gap <= largest:
        gap = largest
    if has_gaps and gap in values:
        raise DataError(
            f"the image has pixels without data, and {gap} is a class in the masks that the model "
            "learnt from; accepted is the style 'index', where 255 is no class"
        )
    table = np.zeros((256, 1), np.uint8 if largest == LARGEST_8_BITS else np.uint16)
    table[: len(values), 0] = values
    table[nodata] = gap
    return table, gap


def describe_masks(classes: Classes, style: str) -> str:
    """What pixels of the masks are that were written, in one line.

    >>> classes = Classes(("ground", "cell"), (0, 255), background=0)
    >>> describe_masks(classes, "index")
    'masks are grey: 0 ground, 1 cell (nearly black; --mask palette shows colours)'
    >>> describe_masks(classes, "values")
    'masks have the values that the model learnt from: 0 ground, 255 cell'
    """
    numbers = ", ".join(f"{index} {name}" for index, name in enumerate(classes.names))
    return {
        "index": f"masks are grey: {numbers} (nearly black; --mask palette shows colours)",
        "palette": f"masks have a palette: {numbers} (some programs read colours instead; "
        "--mask index)",
        "binary": f"masks are 0 in {classes.names[classes.background or 0]} and 255 elsewhere",
        "values": f"masks have the values that the model learnt from: {classes.describe()}",
    }[style]
