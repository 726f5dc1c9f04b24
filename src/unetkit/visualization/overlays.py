"""Masks, overlays and cut-outs as pixels of files; PNG and NPZ files, written whole or not at all.

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
from unetkit.errors import DataError

PNG_TEXT_KEY = "unetkit"  # text chunk of a PNG that holds the metadata
OVERLAY_STRENGTH = 0.5  # weight of the class colour; the photo has the rest
# Foreground probabilities up to which a cut-out is transparent, and from which it is opaque: chosen
# on photos of pets, where higher ones cut into fur and lower ones leave a halo.
TRANSPARENT, OPAQUE = 0.3, 0.6
MASK_STYLES = ("index", "palette", "binary", "values")
LARGEST_8_BITS, LARGEST_16_BITS = 255, 65535
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
                "accepted for it are 'index', 'palette' and 'values'; choose with --mask"
            )
        table = np.full((256, 1), LARGEST_8_BITS, np.uint8)
        table[[classes.background, nodata]] = 0
        return table, None
    values, gap = list(classes.values), classes.ignore
    if classes.kind == "colours":
        if has_gaps and gap is None:
            raise DataError(
                "the image has pixels without data, and the masks that the model learnt from have "
                "no colour that is ignored; accepted is --mask index, where they are 255"
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
            "learnt from; accepted is --mask index, where 255 is no class"
        )
    table = np.zeros((256, 1), np.uint8 if largest == LARGEST_8_BITS else np.uint16)
    table[: len(values), 0] = values
    table[nodata] = gap
    return table, gap


def overlay(photo: np.ndarray, mask: np.ndarray, classes: Classes) -> np.ndarray:
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


def cutout(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
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
