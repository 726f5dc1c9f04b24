"""Synthetic cells: touching objects with instance labels, generated, not downloaded.

`synthetic_cells` draws one image of stained cells in a culture dish, with a number for each cell;
`write_synthetic_cells` writes a folder of them. The scene is drawn in `cell_scene`.

Each image has its own random generator, seeded with (seed, index): no image depends on the number
of images. Four successive images are of four different dishes. 8 and 16 bits show the same counts.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from unetkit.datasets.cell_scene import DISHES, WHITE, draw_dish, draw_field
from unetkit.datasets.synthetic_pets import require_drawable, require_within, whole_folder
from unetkit.errors import ConfigError

BITS = (8, 16)
_CLASSES = """\
kind = "instances"

[classes]
background = 0
cell = 1
"""
_README = """\
Synthetic cells
===============
These {count} images of {height} x {width} pixels in {bits} bits are synthetic: unetkit
(unetkit.write_synthetic_cells, seed {seed}) drew them by rule. No microscope and
no real cell is in them. Figures measured on this set say how a program learns it,
and nothing about micrographs.

images/NAME.tif   the image, one channel of {bits} bits: counts of a 12-bit camera, dark at
                  200 and white at 4095, in 16 bits; the same times 255 / 4095 in 8
masks/NAME.tif    the cells, 16 bits: 0 background, 1 to n one number a cell
classes.toml      what the numbers stand for

NAME is dishD_fieldF: field F of dish D, and dishes 1 to 4 take turns. They differ in
light, background, stain, and in number and size of cells. Fields of one dish resemble
each other, so keep each dish whole when you split the set.
"""


def synthetic_cells(
    index: int, *, height: int = 256, width: int = 256, bits: int = 8, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one field of synthetic cells, and its instance labels.

    The dish, with its illumination, stain, and number and size of cells, is `index` mod 4.

    Args:
        index: Index of the image in the data set, 0 or more.
        height: Number of rows, 16 to 8192.
        width: Number of columns, 16 to 8192.
        bits: 16 for the counts of a 12-bit camera in a 16-bit image, with an offset of about 200
            and a maximum of 4095; 8 for the same counts times 255 / 4095, rounded.
        seed: Seed of the data set, 0 or more.

    Returns:
        Image, (height, width) uint8 or uint16, and labels, (height, width) uint16: 0 for the
        background, 1 to n for the cells. n is 1 or more, every number occurs, and each cell is
        4-connected.

    Raises:
        ConfigError: `index` or `seed` is negative, a side is not from 16 to 8192, or `bits` is
            neither 8 nor 16.

    >>> image, labels = synthetic_cells(0, height=48, width=64, bits=16)
    >>> image.shape, image.dtype, labels.shape, labels.dtype
    ((48, 64), dtype('uint16'), (48, 64), dtype('uint16'))
    >>> np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    True
    """
    require_within("index", index, 0)
    require_drawable(height, width, seed)
    _require_bits(bits)
    rng = np.random.default_rng((seed, index))
    counts, labels = draw_field((height, width), draw_dish(index % DISHES, seed), rng)
    if bits == 8:
        return np.rint(counts * np.float32(255 / WHITE)).astype(np.uint8), labels
    return counts.astype(np.uint16), labels


def write_synthetic_cells(
    folder: str | Path,
    *,
    count: int = 40,
    height: int = 256,
    width: int = 256,
    bits: int = 8,
    seed: int = 0,
) -> Path:
    """Writes synthetic cells as a folder of images with instance labels.

    The folder is created complete or not at all:

        images/NAME.tif   8 or 16 bits, one channel
        masks/NAME.tif    16 bits: 0 background, 1 to n the cells
        classes.toml      kind = "instances"
        README.txt        description of the data set

    NAME is dishD_fieldF: images 0, 1, 2, 3, 4 are dish1_field001, dish2_field001,
    dish3_field001, dish4_field001, dish1_field002. Fields of a dish are similar, so all fields
    of a dish should be in one split.

    Args:
        folder: Path of a new or empty folder.
        count: Number of images, 1 or more.
        height: Number of rows of each image, 16 to 8192.
        width: Number of columns of each image, 16 to 8192.
        bits: Bits per pixel, 8 or 16, as in `synthetic_cells`.
        seed: Seed of the data set, 0 or more.

    Returns:
        Path of the folder.

    Raises:
        ConfigError: A number is out of range.
        OutputExistsError: `folder` is a file, or is not empty.
    """
    folder = Path(folder)
    require_within("count", count, 1)
    require_drawable(height, width, seed)
    _require_bits(bits)
    with whole_folder(folder) as unfinished:
        (unfinished / "images").mkdir()
        (unfinished / "masks").mkdir()
        for index in range(count):
            arrays = synthetic_cells(index, height=height, width=width, bits=bits, seed=seed)
            name = f"dish{index % DISHES + 1}_field{index // DISHES + 1:03d}.tif"
            for kind, pixels in zip(("images", "masks"), arrays, strict=True):
                image = Image.fromarray(pixels)
                image.save(unfinished / kind / name, compression="tiff_adobe_deflate")
        (unfinished / "classes.toml").write_text(_CLASSES, "utf-8")
        text = _README.format(count=count, height=height, width=width, bits=bits, seed=seed)
        (unfinished / "README.txt").write_text(text, "utf-8")
    return folder


def _require_bits(bits: int) -> None:
    if bits not in BITS:
        raise ConfigError(f"bits is {bits!r}; accepted are 8 and 16")
