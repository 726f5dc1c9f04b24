"""Masks in class colours, overlays and cut-outs; PNG and NPZ files, written whole or not at all.

Files larger than memory are written in `io`.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unetkit._shared.files import write_atomically
from unetkit.data.classes import Classes

PNG_TEXT_KEY = "unetkit"  # text chunk of a PNG that holds the metadata
OVERLAY_STRENGTH = 0.5  # weight of the class colour; the photo has the rest
# Foreground probabilities up to which a cut-out is transparent, and from which it is opaque: chosen
# on photos of pets, where higher ones cut into fur and lower ones leave a halo.
TRANSPARENT, OPAQUE = 0.3, 0.6
ROWS = 64  # blended at once, to bound the memory of float32 intermediates


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
    strengths = np.zeros(256, np.float32)
    strengths[: len(classes)] = OVERLAY_STRENGTH
    if classes.background is not None:
        strengths[classes.background] = 0
    colours = np.zeros((256, 3), np.float32)
    colours[: len(classes)] = classes.colours
    blended = np.empty_like(photo)
    for start in range(0, len(photo), ROWS):
        rows = slice(start, start + ROWS)
        strength = strengths[mask[rows]][..., None]
        mixed = photo[rows] * (1 - strength) + colours[mask[rows]] * strength
        blended[rows] = np.rint(mixed)
    return blended


def opacity(probabilities: np.ndarray, classes: Classes) -> np.ndarray:
    """Opacity of a cut-out, from the probabilities of a model with a background class.

        s = 1 - p_background - p_border / 2
        opacity = 3 t^2 - 2 t^3, t = (s - TRANSPARENT) / (OPAQUE - TRANSPARENT), clipped to [0, 1]

    Probabilities as they are would leave a veil over the background and the animal translucent. A
    border class is drawn around the contour, half of it on either side.

    Args:
        probabilities: (H, W, K) float32; nan is transparent.
        classes: The K classes, one of them the background.

    Returns:
        (H, W) float32 in [0, 1].
    """
    missing = probabilities[..., classes.background]
    if classes.border is not None:
        missing = missing + probabilities[..., classes.border] / 2
    shown = 1 - np.nan_to_num(missing, nan=1)
    t = np.clip((shown - TRANSPARENT) / (OPAQUE - TRANSPARENT), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def add_opacity(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Adds an opacity channel to a photo.

    Args:
        photo: (H, W, 3) uint8.
        alpha: Opacity, (H, W) float32 in [0, 1].

    Returns:
        (H, W, 4) uint8.
    """
    opacity = np.rint(np.clip(alpha, 0, 1) * 255).astype(np.uint8)
    return np.dstack([photo, opacity])


def write_png(file: Path, image: Image.Image, metadata: Mapping[str, object] | None = None) -> None:
    """Writes a PNG under another name and renames it, so that no file is ever incomplete.

    Args:
        file: File to write or replace.
        image: The image.
        metadata: Stored as JSON in a text chunk named `PNG_TEXT_KEY`; None for no chunk.
    """
    notes = PngInfo()
    if metadata is not None:
        notes.add_text(PNG_TEXT_KEY, json.dumps(metadata))
    write_atomically(file, lambda part: image.save(part, format="PNG", pnginfo=notes))


def write_probabilities(
    file: Path,
    probabilities: np.ndarray,
    classes: Classes,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Writes an NPZ file of the arrays `probabilities`, `classes` (names) and `metadata` (JSON).

    Args:
        file: File to write or replace.
        probabilities: (H, W, K) float32.
        classes: The K classes.
        metadata: How the prediction was made; None to leave the array out.
    """
    arrays = {"probabilities": probabilities, "classes": np.array(classes.names)}
    if metadata is not None:
        arrays["metadata"] = np.array(json.dumps(metadata))
    write_atomically(file, lambda part: np.savez_compressed(part, **arrays))  # type: ignore[arg-type]
