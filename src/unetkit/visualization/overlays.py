"""Masks, overlays and cut-outs, and how any result gets into its file: whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unetkit._shared.files import write_atomically
from unetkit.data.classes import Classes

METADATA_KEY = "unetkit"  # of what a PNG says of how it was made
OVERLAY_STRENGTH = 0.5  # share of the class colour over the photo
ROWS = 64  # at once, where a pixel takes many bytes for a while


def palette_image(mask: np.ndarray, classes: Classes) -> Image.Image:
    """A mask as a picture whose pixels are class indices, and which any viewer shows in colour."""
    picture = Image.fromarray(mask)
    colours = [value for colour in classes.colours for value in colour]
    if mask.max() >= len(classes):  # of no class: few colours would be saved with too few bits
        colours += [0] * (3 * 256 - len(colours))
    picture.putpalette(colours)
    return picture


def overlay(photo: np.ndarray, mask: np.ndarray, classes: Classes) -> np.ndarray:
    """Class colours over a photo; the background stays as it is, and what is of no class.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) uint8 class indices, or others.

    Returns:
        (H, W, 3) uint8.
    """
    strengths = np.zeros(256, np.float32)
    strengths[: len(classes)] = OVERLAY_STRENGTH
    if classes.background is not None:
        strengths[classes.background] = 0
    colours = np.zeros((256, 3), np.float32)
    colours[: len(classes)] = classes.colours
    laid_over = np.empty_like(photo)
    for start in range(0, len(photo), ROWS):
        rows = slice(start, start + ROWS)
        strength = strengths[mask[rows]][..., None]
        mixed = photo[rows] * (1 - strength) + colours[mask[rows]] * strength
        laid_over[rows] = np.rint(mixed)
    return laid_over


def cutout(photo: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """A photo with an opacity, (H, W, 4) uint8.

    Args:
        photo: (H, W, 3) uint8.
        alpha: (H, W) float32 in [0, 1].
    """
    opacity = np.rint(np.clip(alpha, 0, 1) * 255).astype(np.uint8)
    return np.dstack([photo, opacity])


def write_png(
    file: Path, picture: Image.Image, metadata: Mapping[str, object] | None = None
) -> None:
    """Writes a PNG beside its place and moves it there, so that none is ever half-written.

    Args:
        metadata: Is kept as JSON in a text chunk named `METADATA_KEY`.
    """
    notes = PngInfo()
    if metadata is not None:
        notes.add_text(METADATA_KEY, json.dumps(metadata))
    write_atomically(file, lambda part: picture.save(part, format="PNG", pnginfo=notes))


def write_probabilities(
    file: Path,
    probabilities: np.ndarray,
    classes: Classes,
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Writes an NPZ of `probabilities`, the names of the `classes`, and `metadata` as JSON."""
    arrays = {"probabilities": probabilities, "classes": np.array(classes.names)}
    if metadata is not None:
        arrays["metadata"] = np.array(json.dumps(metadata))
    write_atomically(file, lambda part: np.savez_compressed(part, **arrays))  # type: ignore[arg-type]
