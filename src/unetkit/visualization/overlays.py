"""Masks in class colours, overlays and cut-outs.

How they are written to files is left to `io`.
"""

import numpy as np
from PIL import Image

from unetkit.data.classes import Classes

OVERLAY_STRENGTH = 0.5  # weight of the class colour; the photo has the rest
# Foreground probabilities up to which a cut-out is transparent, and from which it is opaque: chosen
# on photos of pets, where higher ones cut into fur and lower ones leave a halo.
TRANSPARENT, OPAQUE = 0.3, 0.6
ROWS = 64  # blended at once, to bound the memory of intermediate arrays


def palette_image(mask: np.ndarray, classes: Classes) -> Image.Image:
    """Returns a mask as an image with a palette: pixels are class indices, viewers show colours.

    Args:
        mask: (H, W) uint8 class indices; others, such as 255, are shown in black.
        classes: Classes with their colours.
    """
    image = Image.fromarray(mask)
    colours = [value for colour in classes.colours for value in colour]
    if mask.max() >= len(classes):  # a short palette would be saved with too few bits a pixel
        colours += [0] * (3 * 256 - len(colours))
    image.putpalette(colours)
    return image


def lay_over(photo: np.ndarray, mask: np.ndarray, classes: Classes) -> np.ndarray:
    """Blends class colours into a photo, except where the mask is background or of no class.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) uint8 class indices; others, such as 255, are of no class.
        classes: Classes with their colours.

    Returns:
        (H, W, 3) uint8.
    """
    # The result for each label, channel and value of the photo.
    table = np.broadcast_to(np.arange(256, dtype=np.uint8), (256, 3, 256)).copy()
    for index, colour in enumerate(classes.colours):
        if index != classes.background:
            mixed = (1 - OVERLAY_STRENGTH) * np.arange(256) + OVERLAY_STRENGTH * np.c_[list(colour)]
            table[index] = np.rint(mixed)
    blended = np.empty_like(photo)
    for start in range(0, len(photo), ROWS):
        rows = slice(start, start + ROWS)
        first = mask[rows].astype(np.int32) * 256
        for channel in range(3):
            places = first + photo[rows, :, channel]
            blended[rows, :, channel] = table[:, channel].ravel().take(places)
    return blended


def opacity(probabilities: np.ndarray, classes: Classes) -> np.ndarray:
    """Opacity by probabilities alone, of a model with a background class; see `results.matting`.

        s = 1 - p_background - p_border / 2
        opacity = 3 t^2 - 2 t^3, t = (s - TRANSPARENT) / (OPAQUE - TRANSPARENT), clipped to [0, 1]

    Probabilities as they are would leave a veil over the background and the animal translucent. A
    border class is drawn around the contour, half of it on either side.

    Args:
        probabilities: (H, W, K) float32; nan is transparent.
        classes: The K classes, one of them the background.

    Returns:
        (H, W, 1) uint8.
    """
    levels = np.empty((*probabilities.shape[:2], 1), np.uint8)
    for start in range(0, len(probabilities), ROWS):
        rows = slice(start, start + ROWS)
        missing = probabilities[rows, :, classes.background]
        if classes.border is not None:
            missing = missing + probabilities[rows, :, classes.border] / 2
        shown = np.fmax(1 - missing, 0)  # 0 of nan
        t = np.clip((shown - TRANSPARENT) / (OPAQUE - TRANSPARENT), 0, 1)
        levels[rows, :, 0] = np.rint(t * t * (3 - 2 * t) * np.float32(255))
    return levels
