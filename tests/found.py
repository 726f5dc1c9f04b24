"""Image files as `predict` finds them."""

from collections.abc import Iterable
from pathlib import Path

from unetkit.results.inputs import find_inputs


def find_images(inputs: Iterable[str | Path]) -> list[Path]:
    """Paths of the images in files, folders, lists and patterns."""
    return [image.path for image in find_inputs(inputs)]
