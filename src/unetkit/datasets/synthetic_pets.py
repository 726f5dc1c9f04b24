"""Synthetic pets: a data set for segmentation that is generated, not downloaded.

`synthetic_pet` draws one image of a cat or a dog with its trimap; `write_synthetic_pets` writes a
folder of them in the layout of Oxford-IIIT Pet, so that everything that reads the real set reads
this one.

An animal is a skeleton of round cones in three dimensions, turned, projected along
the line of sight and shaded as a relief, so its silhouette, and with it the trimap, is exact.
Coats and surroundings have one palette and one fur texture in common, so colour and position alone
do not find the animal; its shape does.

Each image has its own random generator, seeded with (seed, index): no image depends on the number
of images. Geometry is in units of the image's size: an index gives the same scene at every size.

The animal is in `pets/animal`, its surface in `pets/surface`, its colours are in `pets/coat`, its
surroundings in `pets/scene`.
"""

import contextlib
import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from unetkit._shared.distances import squared_distances
from unetkit.datasets.pets.animal import COATS, aim_camera, build_skeleton, draw_animal
from unetkit.datasets.pets.coat import colour_coat, draw_light, paint_surface
from unetkit.datasets.pets.scene import paint_foreground, paint_shadow, paint_surroundings
from unetkit.datasets.pets.surface import find_surface, fur_tile
from unetkit.errors import ConfigError, OutputExistsError
from unetkit.io.pixel_format import PixelFormat

PET, BACKGROUND, BORDER = 1, 2, 3
MIN_SIZE = 16
# OpenCV's remap accepts less than 32,767 rows or columns, and the canvas has two for each of the
# image; this is the largest power of two.
MAX_SIZE = 8192
_SUPERSAMPLING = 2
# Half the width of the border, relative to the size of the image: the border covers about a tenth
# of the area, as in the published trimaps.
_BORDER_REACH = 0.0177

_SPECIES_ID = {"cat": 1, "dog": 2}
_README = """\
Synthetic pets
==============
These {count} images of {height} x {width} pixels are synthetic: unetkit
(unetkit.write_synthetic_pets, seed {seed}) drew them by rule. No photograph
and no real animal is in them. Figures measured on this set say how a program learns
it, and nothing about photographs.

Layout and numbers follow the Oxford-IIIT Pet Dataset:
images/NAME.jpg                the image
annotations/trimaps/NAME.png   1 pet, 2 background, 3 border (a band along the outline)
annotations/trainval.txt       images to learn from, lines of NAME CLASS-ID SPECIES BREED-ID
annotations/test.txt           the {test_count} images kept for the test
Species 1 is a cat, 2 a dog; a "breed" is the pattern of the coat in the name.
"""


def synthetic_pet(
    index: int, *, height: int = 128, width: int = 128, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one synthetic pet and its trimap.

    Args:
        index: Index of the image in the data set, 0 or more.
        height: Number of rows, 16 to 8192.
        width: Number of columns, 16 to 8192.
        seed: Seed of the data set, 0 or more. Seed and index determine the scene at every size.

    Returns:
        Image, (height, width, 3) uint8 RGB, and trimap, (height, width) uint8: 1 for pet, 2 for
        background and 3 for border, each of which occurs. The border is on both sides of the
        outline; no pet pixel has a background pixel above, below, left or right of it.

    Raises:
        ConfigError: `index` or `seed` is negative, or a side is not from 16 to 8192.

    >>> image, trimap = synthetic_pet(0, height=48, width=64)
    >>> image.shape, image.dtype, trimap.shape
    ((48, 64, 3), dtype('uint8'), (48, 64))
    >>> np.unique(trimap)
    array([1, 2, 3], dtype=uint8)
    """
    require_within("index", index, 0)
    require_drawable(height, width, seed)
    rng = np.random.default_rng((seed, index))
    animal = draw_animal(rng)
    shape = (height * _SUPERSAMPLING, width * _SUPERSAMPLING)
    fur, light = np.roll(fur_tile(), rng.integers(256, size=2), axis=(0, 1)), draw_light(rng)
    cones, head_start = build_skeleton(animal, rng)
    framed = cones[head_start:] if animal.pose == "portrait" else cones
    camera = aim_camera(animal, framed, shape, rng)
    image = paint_surroundings(shape, camera, fur, light, rng)
    paint_shadow(image, cones, camera, light)
    surface = find_surface([cone.projected(camera) for cone in cones], shape, fur, camera.scale)
    albedo = colour_coat(animal.coat, surface, camera, rng)
    paint_surface(image, surface, albedo, light, camera.scale)
    coverage = np.zeros(shape, np.float32)
    coverage[surface.window] = surface.alpha
    paint_foreground(image, coverage, fur, light, rng)
    return _expose(image, (height, width), rng), _trimap(coverage, (height, width))


def _expose(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Adds uneven light, reduces the size, and adds blur and noise; (H, W, 3) uint8."""
    height, width = size
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.28)
    glow = 1 + slope * (np.cos(angle) * columns + np.sin(angle) * rows)
    glow -= rng.uniform(0, 0.16) * (columns**2 + rows**2)
    cast = rng.uniform(0.86, 1.14) * rng.normal(1, 0.035, 3)
    image *= (glow[:, :, None] * cast).astype(np.float32)
    blur = rng.uniform(0, 0.7)
    if blur > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    noise = np.float32(rng.uniform(1.5, 6)) * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.clip(np.rint(image + noise), 0, 255), np.uint8)


def _trimap(coverage: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Classes from the fraction of each pixel that the animal covers; (H, W) uint8."""
    height, width = size
    fraction = cv2.resize(coverage, (width, height), interpolation=cv2.INTER_AREA)
    pet = (fraction > 0.5).astype(np.uint8)
    if not pet[1:-1, 1:-1].any() or pet.mean() > 0.95:
        # At the smallest sizes an animal can vanish; all three classes must occur.
        pet[:] = 0
        pet[2:-4, 2:-4] = 1
    inside, outside = (np.sqrt(squared_distances(pet == side)) for side in (1, 0))
    # Neighbours across the outline have a distance of 1, so that 1 separates the classes.
    band = max(min(_BORDER_REACH * math.sqrt(height * width), 0.1 * min(size)), 1.0)
    trimap = np.full(size, BORDER, np.uint8)
    # A small animal in an elongated image keeps its innermost pixels.
    trimap[inside > min(band, inside.max() - 1e-3)] = PET
    trimap[outside > min(band, outside.max() - 1e-3)] = BACKGROUND
    return trimap


def write_synthetic_pets(
    folder: str | Path,
    *,
    count: int = 500,
    height: int = 128,
    width: int = 128,
    seed: int = 0,
    test_fraction: float = 0.2,
) -> Path:
    """Writes synthetic pets in the layout of Oxford-IIIT Pet.

    The folder is created complete or not at all:

        images/NAME.jpg             RGB, JPEG quality 95
        annotations/trimaps/NAME.png    1 pet, 2 background, 3 border
        annotations/trainval.txt    lines of NAME CLASS-ID SPECIES BREED-ID
        annotations/test.txt        the same, for test images
        README.txt                  description of the data set

    Species is 1 for a cat and 2 for a dog; a breed is a pattern of the coat.

    Args:
        folder: Path of a new or empty folder.
        count: Number of images, 2 or more.
        height: Number of rows of each image, 16 to 8192.
        width: Number of columns of each image, 16 to 8192.
        seed: Seed of the data set, 0 or more.
        test_fraction: Fraction of the images in the test list, in (0, 1); both lists have at least
            one image.

    Returns:
        Path of the folder.

    Raises:
        ConfigError: A number is out of range.
        OutputExistsError: `folder` is a file, or is not empty.
    """
    folder = Path(folder)
    require_within("count", count, 2)
    require_drawable(height, width, seed)
    if not 0 < test_fraction < 1:
        raise ConfigError(
            f"test_fraction is {test_fraction}; accepted are numbers above 0 and below 1; "
            "give the fraction of test images, such as 0.2"
        )
    with whole_folder(folder) as unfinished:
        _write_set(unfinished, count, (height, width), seed, test_fraction)
    return folder


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder, which becomes `folder` unless an error is raised.

    Args:
        folder: Path of a new or empty folder; missing parents are created.

    Raises:
        OutputExistsError: `folder` is a file, or is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError(
            f"{folder} exists and is not an empty folder; accepted is a new or an empty folder; "
            "give another name, or remove it first"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_set(
    folder: Path, count: int, size: tuple[int, int], seed: int, test_fraction: float
) -> None:
    height, width = size
    trimaps = folder / "annotations" / "trimaps"
    trimaps.mkdir(parents=True)
    (folder / "images").mkdir()
    lines = []
    for index in range(count):
        image, trimap = synthetic_pet(index, height=height, width=width, seed=seed)
        name, ids = _label(index, seed)
        Image.fromarray(image).save(folder / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(trimap).save(trimaps / f"{name}.png")
        lines.append(f"{name} {ids}\n")
    test_count = min(max(round(count * test_fraction), 1), count - 1)
    # The last images are the test split: scenes are random, so that no further draw is needed.
    (folder / "annotations" / "trainval.txt").write_text("".join(lines[:-test_count]), "utf-8")
    (folder / "annotations" / "test.txt").write_text("".join(lines[-test_count:]), "utf-8")
    (folder / "README.txt").write_text(
        _README.format(count=count, height=height, width=width, seed=seed, test_count=test_count),
        "utf-8",
    )


def _label(index: int, seed: int) -> tuple[str, str]:
    """Name of an image, and its class, species and breed numbers, each from 1."""
    animal = draw_animal(np.random.default_rng((seed, index)))
    breeds = [(species, coat) for species in sorted(COATS) for coat in COATS[species]]
    class_id = breeds.index((animal.species, animal.coat)) + 1
    breed_id = COATS[animal.species].index(animal.coat) + 1
    name = f"synthetic_{animal.coat}_{animal.species}_{index:04d}"
    return name, f"{class_id} {_SPECIES_ID[animal.species]} {breed_id}"


def require_drawable(height: int, width: int, seed: int) -> None:
    """Raises an error unless images of this size can be drawn with this seed.

    Raises:
        ConfigError: A side is not from MIN_SIZE to MAX_SIZE, or `seed` is negative.
    """
    require_within("height", height, MIN_SIZE, MAX_SIZE)
    require_within("width", width, MIN_SIZE, MAX_SIZE)
    require_within("seed", seed, 0)


def require_within(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raises an error unless a value is a whole number within a range.

    Args:
        name: Name of the parameter, for the message.
        value: Value of the parameter.
        least: Smallest accepted value.
        most: Largest accepted value; None for no limit.

    Raises:
        ConfigError: `value` is not a whole number, or is out of range.
    """
    whole = isinstance(value, int | np.integer)
    if whole and value >= least and (most is None or value <= most):
        return
    accepted = f"from {least}" if most is None else f"from {least} to {most}"
    too_large = whole and value >= least
    advice = f"{name}={most} or less" if too_large else f"{name}={least} or more"
    raise ConfigError(f"{name} is {value!r}; accepted are whole numbers {accepted}; give {advice}")


def synthetic_image(index: int, format: PixelFormat) -> np.ndarray:
    """Draws an image with the channels, type and levels of a pixel format, to try a network on.

    Args:
        index: Number of the image.
        format: Pixel format.

    Returns:
        (256, 256, C) of the format's type.
    """
    image = synthetic_pet(index, height=256, width=256)[0].astype(np.float32)
    bands = np.take(image, np.arange(format.channels) % 3, axis=2)
    low, multiply = format.factors()
    pixels = bands / multiply + low
    if format.dtype != "float32":  # levels are a little wider than the range of the dtype
        pixels = np.clip(np.rint(pixels), 0, np.iinfo(format.dtype).max)
    return pixels.astype(format.dtype)
