"""Synthetic pets: a data set for learning segmentation that is drawn, not downloaded.

What: `synthetic_pet` draws one picture of a cat or a dog with its trimap; `write_synthetic_pets`
writes a folder of them in the layout of Oxford-IIIT Pet, so that everything that reads the real
set reads this one.

Why this way: an animal is a skeleton of round cones (two spheres and their hull) in three
dimensions, turned, projected along the line of sight and shaded as a relief. One skeleton per
posture thus gives every view of it, the silhouette is known exactly, and fur can follow the limbs.
Coats and surroundings take their colours from one palette and share one fur texture, so colour
and place alone do not find the animal; its shape does.

Geometry is in units of the picture's size: an index shows the same scene at every size. Each
picture has a random generator of its own, seeded with (seed, index): no picture depends on how
many are drawn. Axes of a skeleton: forward, up, towards the animal's left; 1 is a body length and
the ground is at height 0. Axes of a projected one: column, row, towards the viewer, in pixels.

Left to others: reading the folder, splitting off a validation part, resizing and augmenting.
"""

from __future__ import annotations

import functools
import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from unetkit.errors import ConfigError, OutputExistsError

PET, BACKGROUND, BORDER = 1, 2, 3
MIN_SIZE = 16
_SUPERSAMPLING = 2
# Half the width of the border band in picture sizes: with it the band covers about a tenth of the
# area, as in the published trimaps.
_BORDER_REACH = 0.0177
# A depth behind all that is drawn, in pixels.
_OUTSIDE = np.float32(-1e6)

COATS = {
    "cat": ("bicolour", "patched", "plain", "pointed", "spotted", "tabby"),
    "dog": ("bicolour", "brindle", "patched", "plain", "saddled", "spotted"),
}
_README = """\
Synthetic pets
==============
These {count} pictures of {height} x {width} pixels are synthetic: unetkit
(unetkit.datasets.write_synthetic_pets, seed {seed}) drew them by rule. No photograph
and no real animal is in them. Figures measured on this set say how a program learns
it, and nothing about photographs.

Layout and numbers follow the Oxford-IIIT Pet Dataset:
images/NAME.jpg                the picture
annotations/trimaps/NAME.png   1 pet, 2 background, 3 border (a band along the outline)
annotations/trainval.txt       pictures to learn from, lines of NAME CLASS-ID SPECIES BREED-ID
annotations/test.txt           the {test_count} pictures kept for the test
Species 1 is a cat, 2 a dog; a "breed" is the pattern of the coat in the name.
"""
_SPECIES_ID = {"cat": 1, "dog": 2}
_POSES = ("standing", "sitting", "lying", "facing", "portrait")

_PALETTE = np.array(
    [
        (206, 126, 62),  # ginger
        (134, 134, 136),  # grey
        (52, 48, 50),  # black
        (228, 206, 168),  # cream
        (104, 70, 48),  # brown
        (236, 232, 224),  # white
        (190, 156, 112),  # sand
        (150, 84, 50),  # russet
        (180, 180, 178),  # silver
        (98, 104, 114),  # slate
    ],
    np.float32,
)
_TINTS = np.array([(96, 124, 62), (86, 120, 138), (150, 74, 70), (120, 110, 140)], np.float32)

# Regions of an animal; those from _NOSE on have a colour of their own instead of the coat's.
_BODY, _LEG, _PAW, _TAIL, _HEAD, _MUZZLE, _EAR, _CHEST = range(8)
_NOSE, _INNER_EAR, _EYE_RIM, _IRIS, _PUPIL, _GLINT, _MOUTH, _TONGUE = range(8, 16)
_TAIL_RADII = [0.085, 0.07, 0.064, 0.056]

_Point = Sequence[float] | np.ndarray  # three coordinates


class _Animal(NamedTuple):
    """What an index decides before anything is drawn."""

    species: str
    coat: str
    pose: str


class _Camera(NamedTuple):
    """Parallel projection: animal coordinates to (column, row, towards the viewer) in pixels."""

    rotation: np.ndarray
    scale: float
    column: float
    row: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 3) in body lengths to (N, 3) in pixels."""
        moved = points @ self.rotation.T * self.scale + (self.column, self.row, 0.0)
        return np.asarray(moved)

    def unproject(self, points: np.ndarray) -> np.ndarray:
        """The inverse of `project`."""
        turn = np.asarray(self.rotation / self.scale, points.dtype)
        moved = points - np.array((self.column, self.row, 0), points.dtype)
        return np.asarray(moved @ turn)


class _Cone(NamedTuple):
    """A round cone: two spheres and their hull; `offset` continues `along` from the last cone."""

    start: _Point
    end: _Point
    start_radius: float
    end_radius: float
    region: int
    offset: float = 0.0

    def projected(self, camera: _Camera) -> _Cone:
        start, end = camera.project(np.array((self.start, self.end), float))
        first, last = camera.scale * self.start_radius, camera.scale * self.end_radius
        return _Cone(start, end, first, last, self.region, self.offset)


class _Surface(NamedTuple):
    """The nearest surface of some cones over a window of the canvas, each array (h, w)."""

    window: tuple[slice, slice]
    alpha: np.ndarray
    depth: np.ndarray
    normal: np.ndarray  # (h, w, 3): right, down, towards the viewer
    along: np.ndarray  # pixels along the limb
    hair: np.ndarray  # light and dark of single hairs, deviation 1
    region: np.ndarray


def synthetic_pet(
    index: int, *, height: int = 128, width: int = 128, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one synthetic pet and its trimap.

    Args:
        index: Which picture of the set; 0 or more.
        height: Rows, at least 16.
        width: Columns, at least 16.
        seed: Which set; 0 or more. (seed, index) decides the scene, whatever the size.

    Returns:
        Image, (height, width, 3) uint8 RGB, and trimap, (height, width) uint8 of 1 pet,
        2 background and 3 border, each of which occurs. The border lies on both sides of the
        outline; no pet pixel has a background pixel above, below, left or right of it.

    Raises:
        ConfigError: `index` or `seed` is negative, or a side is shorter than 16.

    >>> image, trimap = synthetic_pet(0, height=48, width=64)
    >>> image.shape, image.dtype, trimap.shape
    ((48, 64, 3), dtype('uint8'), (48, 64))
    >>> np.unique(trimap)
    array([1, 2, 3], dtype=uint8)
    """
    _require_at_least("index", index, 0)
    _require_at_least("seed", seed, 0)
    _require_at_least("height", height, MIN_SIZE)
    _require_at_least("width", width, MIN_SIZE)
    rng = np.random.default_rng((seed, index))
    animal = _draw_animal(rng)
    shape = (height * _SUPERSAMPLING, width * _SUPERSAMPLING)
    fur, light = np.roll(_fur_tile(), rng.integers(256, size=2), axis=(0, 1)), _draw_light(rng)
    cones, head_start = _skeleton(animal, rng)
    camera = _aim(animal, cones[head_start:] if animal.pose == "portrait" else cones, shape, rng)
    picture = _surroundings(shape, camera, fur, light, rng)
    _paint_shadow(picture, cones, camera, light)
    surface = _surface([cone.projected(camera) for cone in cones], shape, fur, camera.scale)
    _paint(picture, surface, _coat(animal.coat, surface, camera, rng), light, camera.scale)
    coverage = np.zeros(shape, np.float32)
    coverage[surface.window] = surface.alpha
    _paint_foreground(picture, coverage, fur, light, rng)
    return _expose(picture, (height, width), rng), _trimap(coverage, (height, width))


# ---- the animal


def _draw_animal(rng: np.random.Generator) -> _Animal:
    species = str(rng.choice(sorted(COATS)))
    coat = str(rng.choice(COATS[species]))
    return _Animal(species, coat, str(rng.choice(_POSES, p=(0.22, 0.24, 0.2, 0.14, 0.2))))


def _chain(points: Sequence[_Point], radii: Sequence[float], region: int) -> list[_Cone]:
    """Cones from point to point; `along` runs on through the whole chain."""
    cones, offset = [], 0.0
    for i, start in enumerate(points[:-1]):
        cones.append(_Cone(start, points[i + 1], radii[i], radii[i + 1], region, offset))
        offset += math.dist(start, points[i + 1])
    return cones


def _skeleton(animal: _Animal, rng: np.random.Generator) -> tuple[list[_Cone], int]:
    """All cones of an animal in body lengths, and the place where those of the head start."""
    dog = animal.species == "dog"
    girth, stride = rng.uniform(0.92, 1.18), rng.uniform(-0.1, 0.1)
    posture = animal.pose
    if posture in ("facing", "portrait"):
        posture = str(rng.choice(["standing", "sitting"]))
    if posture == "standing":
        cones, neck = _standing(dog, girth, stride, rng)
    elif posture == "sitting":
        cones, neck = _sitting(dog, girth, rng)
    else:
        cones, neck = _lying(dog, girth, rng)
    size = rng.uniform(0.19, 0.235) * (0.95 if dog else 1.0)
    lift = rng.uniform(0.2, 0.3) if posture != "lying" else rng.uniform(0.16, 0.26)
    head = np.add(neck, (rng.uniform(0.12, 0.2), lift, 0.0))
    cones += _chain([neck, tuple(head)], [0.17 * girth, size * 0.72], _CHEST)
    head_start = len(cones)
    yaw = {"facing": 0.0, "portrait": rng.uniform(-10, 25)}.get(animal.pose, rng.uniform(0, 60))
    turn = _rotation(yaw, rng.uniform(-16, 8), rng.uniform(-12, 12))
    for cone in _dog_head(rng) if dog else _cat_head(rng):
        start, end = (head + size * turn @ np.array(point) for point in cone[:2])
        cones.append(_Cone(start, end, size * cone[2], size * cone[3], *cone[4:]))
    return cones, head_start


def _rotation(yaw: float, nod: float, tilt: float) -> np.ndarray:
    """Turn by degrees, (3, 3): sideways about the vertical, then nose up, then over to a side."""
    y, n, t = np.radians((yaw, nod, tilt))
    about_up = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_side = np.array([[np.cos(n), -np.sin(n), 0], [np.sin(n), np.cos(n), 0], [0, 0, 1]])
    about_forward = np.array([[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]])
    return np.asarray(about_up @ about_side @ about_forward)


def _standing(
    dog: bool, girth: float, stride: float, rng: np.random.Generator
) -> tuple[list[_Cone], _Point]:
    """Body, legs and tail of a standing or walking animal, and where its neck begins."""
    back = rng.uniform(0.5, 0.62) if dog else rng.uniform(0.44, 0.52)
    body = [(-0.4, back, 0), (0, back - 0.02, 0), (0.34, back, 0)]
    cones = _chain(body, [0.19 * girth, 0.185 * girth, 0.205 * girth], _BODY)
    cones += _chain([(0.36, back - 0.04, 0), (0.45, back + 0.02, 0)], [0.17, 0.15], _CHEST)
    for side in (-1, 1):
        z, swing = 0.115 * side, stride * side
        fore, hind = 0.35 + swing, -0.47 - swing
        leg = [(0.34, back - 0.06, z), (fore, back * 0.5, z), (fore + swing, 0.09, z)]
        cones += _leg(leg, [0.12, 0.085, 0.072])
        knee, hock = (-0.36 - swing, back * 0.55, z), (hind - 0.04, 0.24, z)
        leg = [(-0.38, back - 0.05, z), knee, hock, (hind, 0.08, z)]
        cones += _leg(leg, [0.17, 0.115, 0.08, 0.07])
    up, bend, root = rng.uniform(-0.2, 0.4), rng.uniform(-0.05, 0.3), back + 0.06
    tail = [(-0.52, root, 0), (-0.7, root + 0.4 * up, 0.02), (-0.8, root + up, 0.04)]
    tail.append((-0.84 + bend, root + 0.06 + 1.3 * up, 0.04))
    return cones + _chain(tail, _TAIL_RADII, _TAIL), (0.4, back + 0.06, 0.0)


def _sitting(dog: bool, girth: float, rng: np.random.Generator) -> tuple[list[_Cone], _Point]:
    """Body, legs and tail of a sitting animal, and where its neck begins."""
    top = rng.uniform(0.6, 0.72) if dog else rng.uniform(0.55, 0.64)
    body = [(-0.24, 0.24, 0), (-0.1, 0.42, 0), (0.08, top, 0)]
    cones = _chain(body, [0.245 * girth, 0.225 * girth, 0.18 * girth], _BODY)
    chest = [(0.1, top - 0.12, 0), (0.14, top + 0.02, 0)]
    cones += _chain(chest, [0.17 * girth, 0.155 * girth], _CHEST)
    for side in (-1, 1):
        z = 0.11 * side
        leg = [(0.1, top - 0.08, z), (0.17, 0.32, z), (0.19, 0.09, z)]
        cones += _leg(leg, [0.12, 0.085, 0.075])
        thigh = [(-0.2, 0.22, 0.17 * side), (-0.02, 0.2, 0.21 * side)]
        cones += _chain(thigh, [0.19 * girth, 0.14], _LEG)
        cones += _leg([(-0.02, 0.08, 0.22 * side), (0.05, 0.07, 0.23 * side)], [0.08, 0.075])
    side = rng.choice((-1, 1))
    up = rng.uniform(0.0, 0.25) if dog else rng.uniform(0.0, 0.06)
    tail = [(-0.42, 0.13, 0), (-0.58, 0.08 + up, 0.12 * side), (-0.64, 0.08 + 2 * up, 0.3 * side)]
    tail.append((-0.5, 0.08 + 2.4 * up, 0.44 * side))
    return cones + _chain(tail, _TAIL_RADII, _TAIL), (0.1, top + 0.05, 0.0)


def _lying(dog: bool, girth: float, rng: np.random.Generator) -> tuple[list[_Cone], _Point]:
    """Body, legs and tail of an animal lying on its belly, and where its neck begins."""
    body = [(-0.4, 0.21, 0), (-0.02, 0.22, 0), (0.3, 0.25, 0)]
    cones = _chain(body, [0.205 * girth, 0.215 * girth, 0.2 * girth], _BODY)
    cones += _chain([(0.34, 0.2, 0), (0.42, 0.27, 0)], [0.17 * girth, 0.155 * girth], _CHEST)
    for side in (-1, 1):
        reach, z = rng.uniform(0.6, 0.72) + (0.06 if dog else 0.0), 0.14 * side
        leg = [(0.3, 0.16, z), (0.42, 0.08, z * 1.2), (reach, 0.07, z)]
        cones += _leg(leg, [0.12, 0.08, 0.072])
        thigh = [(-0.36, 0.19, 0.13 * side), (-0.16, 0.15, 0.2 * side)]
        cones += _chain(thigh, [0.19 * girth, 0.12], _LEG)
        cones += _leg([(-0.18, 0.07, 0.24 * side), (-0.1, 0.07, 0.25 * side)], [0.075, 0.072])
    side = rng.choice((-1, 1))
    tail = [(-0.55, 0.14, 0), (-0.74, 0.08, 0.1 * side), (-0.8, 0.07, 0.28 * side)]
    tail.append((-0.66, 0.07, 0.42 * side))
    return cones + _chain(tail, _TAIL_RADII, _TAIL), (0.34, 0.3, 0.0)


def _leg(points: Sequence[_Point], radii: Sequence[float]) -> list[_Cone]:
    """A leg from the top down, with a paw that points forward."""
    x, _, z = points[-1]
    paw = [(x, 0.065, z), (x + 0.075, 0.053, z)]
    return _chain(points, radii, _LEG) + _chain(paw, [0.077, 0.063], _PAW)


def _cat_head(rng: np.random.Generator) -> list[_Cone]:
    """A cat's head in units of its radius, the middle of the skull at the origin."""
    cones = [
        _Cone((0, 0, -0.16), (0, 0, 0.16), 0.92, 0.92, _HEAD),
        _Cone((0.7, 0.02, 0), (0.86, -0.2, 0), 0.24, 0.15, _HEAD),
        _Cone((0.62, -0.56, 0), (0.68, -0.56, 0), 0.26, 0.24, _MUZZLE),
        _Cone((0.98, -0.2, -0.05), (0.98, -0.2, 0.05), 0.1, 0.1, _NOSE),
        _Cone((0.99, -0.26, 0), (0.99, -0.42, 0), 0.045, 0.045, _MOUTH),
    ]
    ear = rng.uniform(1.3, 1.55)
    for side in (-1, 1):
        cones += [
            _Cone((0.2, -0.32, 0.42 * side), (0.3, -0.36, 0.38 * side), 0.58, 0.5, _HEAD),
            _Cone((0.7, -0.36, 0.2 * side), (0.74, -0.36, 0.2 * side), 0.29, 0.28, _MUZZLE),
            _Cone((-0.06, 0.56, 0.55 * side), (-0.08, ear, 0.8 * side), 0.4, 0.05, _EAR),
            _Cone((0.2, 0.68, 0.57 * side), (0.06, ear - 0.15, 0.77 * side), 0.2, 0.03, _INNER_EAR),
        ]
        cones += _eye(np.array((0.69, 0.12, 0.43 * side)), 0.21, side)
    return cones


def _dog_head(rng: np.random.Generator) -> list[_Cone]:
    """A dog's head in units of its radius, the middle of the skull at the origin."""
    snout = rng.uniform(1.15, 1.5)
    cones = [
        _Cone((0, 0.02, -0.1), (0, 0.02, 0.1), 0.9, 0.9, _HEAD),
        _Cone((0.45, -0.22, 0), (snout, -0.34, 0), 0.52, 0.34, _MUZZLE),
        _Cone((0.4, -0.5, 0), (snout - 0.15, -0.62, 0), 0.38, 0.22, _MUZZLE),
        _Cone((snout + 0.24, -0.2, -0.05), (snout + 0.24, -0.2, 0.05), 0.17, 0.17, _NOSE),
        _Cone((snout + 0.31, -0.3, 0), (snout + 0.26, -0.56, 0), 0.05, 0.05, _MOUTH),
    ]
    floppy, tongue = rng.random() < 0.6, rng.random() < 0.35
    tip = rng.uniform(1.3, 1.5)
    for side in (-1, 1):
        if floppy:
            cones += _chain(
                [(-0.1, 0.6, 0.66 * side), (-0.02, 0.05, 1.02 * side), (0.08, -0.5, 1.0 * side)],
                [0.26, 0.36, 0.25],
                _EAR,
            )
        else:
            cones += [
                _Cone((-0.1, 0.56, 0.52 * side), (-0.12, tip, 0.66 * side), 0.38, 0.07, _EAR),
            ]
            inner = [(0.16, 0.7, 0.54 * side), (0.02, tip - 0.15, 0.65 * side)]
            cones += _chain(inner, [0.18, 0.04], _INNER_EAR)
        cones += _eye(np.array((0.7, 0.22, 0.37 * side)), 0.175, side)
    if tongue:
        cones.append(_Cone((snout, -0.78, 0), (snout + 0.08, -1.02, 0), 0.15, 0.14, _TONGUE))
    return cones


def _eye(centre: np.ndarray, radius: float, side: int) -> list[_Cone]:
    """Rim, iris, pupil and glint, each a ball that stands a little before the last."""
    outward = np.array((0.86, 0.0, 0.5 * side))
    parts = [(0.0, 1.0, _EYE_RIM), (0.2, 0.85, _IRIS), (0.55, 0.56, _PUPIL), (0.85, 0.26, _GLINT)]
    balls = []
    for forward, share, region in parts:
        point = centre + radius * forward * outward
        if region == _GLINT:
            point = point + radius * np.array((0.1, 0.34, -0.2 * side))
        balls.append(_Cone(point, point, radius * share, radius * share, region))
    return balls


def _aim(
    animal: _Animal, cones: list[_Cone], shape: tuple[int, int], rng: np.random.Generator
) -> _Camera:
    """Turn the animal and place it so that `cones` cover a drawn share of the canvas."""
    low, high = {"standing": (-20, 40), "lying": (-15, 45), "sitting": (0, 70)}.get(
        animal.pose, (50, 90)
    )
    yaw, pitch, roll = rng.uniform(low, high), rng.uniform(3, 17), rng.normal(0, 3)
    # Rows count downwards, and half of the animals face left.
    flip = np.diag((rng.choice((-1.0, 1.0)), -1.0, 1.0))
    camera = _Camera(flip @ _rotation(0, roll, pitch) @ _rotation(yaw, 0, 0), 1.0, 0.0, 0.0)
    centres = camera.project(np.array([p for cone in cones for p in cone[:2]]))[:, :2]
    radii = np.array([r for cone in cones for r in cone[2:4]])[:, None]
    top_left, bottom_right = (centres - radii).min(0), (centres + radii).max(0)
    extent = bottom_right - top_left
    canvas = np.array(shape[::-1], float)
    portrait = animal.pose == "portrait"
    share = rng.uniform(0.2, 0.52) if portrait else rng.uniform(0.18, 0.52)
    filled = 0.7 if portrait else 0.55
    scale = math.sqrt(share * canvas.prod() / (extent.prod() * filled))
    scale = min(scale, float((canvas * (1.0 if portrait else 1.08) / extent).min()))
    spare = canvas - extent * scale
    # Up to a twelfth of the animal may lie outside the picture.
    slack = np.maximum(spare / 2 + extent * scale / 12, 0)
    centre = canvas / 2 + rng.uniform(-1, 1, 2) * slack
    column, row = centre - scale * (top_left + extent / 2)
    return _Camera(camera.rotation, scale, float(column), float(row))


# ---- from cones to pixels


@functools.cache
def _fur_tile() -> np.ndarray:
    """A tile of hairs that lie along the columns, (256, 256) float32, mean 0, deviation 1."""
    noise = np.random.default_rng(0).standard_normal((256, 256), np.float32)
    noise = np.pad(noise, 32, mode="wrap")
    fine = cv2.GaussianBlur(noise, (0, 0), sigmaX=5, sigmaY=0.8)[32:-32, 32:-32]
    coarse = cv2.GaussianBlur(noise, (0, 0), sigmaX=8, sigmaY=3)[32:-32, 32:-32]
    tile = fine / fine.std() + 0.8 * coarse / coarse.std()
    return np.asarray((tile - tile.mean()) / tile.std(), np.float32)


def _sample(tile: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The tile, repeated without end, at float coordinates."""
    return cv2.remap(
        tile,
        columns.astype(np.float32, copy=False),
        rows.astype(np.float32, copy=False),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )


def _surface(cones: list[_Cone], shape: tuple[int, int], fur: np.ndarray, scale: float) -> _Surface:
    """What is nearest to the viewer in each pixel, with a slightly hairy outline.

    Args:
        cones: Projected, in pixels.
        shape: (height, width) of the canvas.
        fur: From `_fur_tile`.
        scale: Pixels in a body length, the measure of hairs and roundings.
    """
    soft = max(0.012 * scale, 0.6)
    table, low, high = _cone_table(cones, shape, scale, 3.4 * soft + 2)
    (left, top), (right, bottom) = low.min(0), high.max(0)
    columns = np.arange(left, right, dtype=np.float32)[None, :]
    rows = np.arange(top, bottom, dtype=np.float32)[:, None]
    winner = np.zeros((bottom - top, right - left), np.uint8)
    depth = np.full(winner.shape, -1e9, np.float32)
    distance = np.full(winner.shape, 1e6, np.float32)
    for i in np.flatnonzero((low < high).all(1)).tolist():
        box = (slice(low[i, 1] - top, high[i, 1] - top), slice(low[i, 0] - left, high[i, 0] - left))
        spot = columns[:, box[1]], rows[box[0]]
        _lay_cone(i, table[i], *spot, winner[box], depth[box], distance[box])

    x0, y0, z0, dx, dy, dz, r0, dr, down, right_, slant, offset, region = table.T[:, winner]
    x, y = columns - x0, rows - y0
    along, across = offset + (x * right_ + y * down) * slant, x * down - y * right_
    t = _place(x, y, dx, dy)
    x, y = x - t * dx, y - t * dy
    depth = np.where(depth < _OUTSIDE / 2, z0 + t * dz, depth)
    radius = np.maximum(r0 + t * dr, np.sqrt(x * x + y * y))
    # Blurring rounds the creases where cones meet.
    planar = cv2.GaussianBlur(np.dstack((x / radius, y / radius)), (0, 0), soft * 1.25)
    towards = np.sqrt(np.clip(1 - planar[..., 0] ** 2 - planar[..., 1] ** 2, 0.01, 1))
    edge = cv2.GaussianBlur(distance, (0, 0), soft)
    # Hairs keep their size in the picture when a portrait brings the animal nearer.
    fine = min(scale, 0.75 * math.sqrt(shape[0] * shape[1]))
    hair = _sample(fur, along * (130 / fine), across * (130 / fine))
    alpha = np.clip(0.5 - edge + 0.005 * fine * hair, 0, 1)
    window, normal = (slice(top, bottom), slice(left, right)), np.dstack((planar, towards))
    return _Surface(window, alpha, depth, normal, along, hair, region.astype(np.uint8))


def _cone_table(
    cones: list[_Cone], shape: tuple[int, int], scale: float, margin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cones as rows of numbers, and the first and past-the-last (column, row) each can touch.

    Returns:
        (N, 13) float32: start (3), end less start (3), radius and its growth, direction of the
        hairs (row, column), their stretch and offset, region; and two (N, 2) int64.
    """
    start, end = (np.array([cone[i] for cone in cones], np.float32) for i in (0, 1))
    radii = np.array([cone[2:4] for cone in cones], np.float32)
    axis, length = end - start, np.linalg.norm(end - start, axis=1)
    flat = np.hypot(axis[:, 0], axis[:, 1])[:, None]
    # Hairs follow the limb even where only its end shows; a ball's hang down.
    way = np.where(flat > 0.03, axis[:, 1::-1] / (flat + 1e-6), (1, 0))
    slant = np.clip(length[:, None] / (flat + 1e-6), 1, 2)
    # Seen almost end-on, a cone's nearer sphere hides the rest of it.
    for i in np.flatnonzero(length > 2 * flat[:, 0]):
        near = int(axis[i, 2] > 0)
        start[i] = end[i] = (start[i], end[i])[near]
        radii[i] = radii[i, near]
    reach = radii.max(1)[:, None] + margin
    low = np.floor(np.minimum(start, end)[:, :2] - reach).astype(int)
    high = np.ceil(np.maximum(start, end)[:, :2] + reach).astype(int) + 1
    low, high = (np.clip(corner, 0, shape[::-1]) for corner in (low, high))
    rest = np.array([(cone.offset * scale, cone.region) for cone in cones])
    growth = radii[:, 1:] - radii[:, :1]
    columns = (start, end - start, radii[:, :1], growth, way, slant, rest)
    return np.hstack(columns).astype(np.float32), low, high


def _place(x: np.ndarray, y: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Where along an axis the nearest point lies, 0 at its start to 1 at its end."""
    t = (x * dx + y * dy) / (dx * dx + dy * dy + np.float32(1e-3))
    return np.asarray(np.minimum(np.maximum(t, 0), 1))


def _lay_cone(
    number: int,
    cone: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    winner: np.ndarray,
    depth: np.ndarray,
    distance: np.ndarray,
) -> None:
    """Enter one cone into the arrays of its box wherever it is nearer than what is there."""
    x0, y0, z0, dx, dy, dz, r0, dr = cone[:8]
    x, y = x - x0, y - y0
    t = _place(x, y, dx, dy)
    x, y = x - t * dx, y - t * dy
    squared = x * x + y * y
    radius = r0 + t * dr
    edge = np.sqrt(squared) - radius
    np.minimum(distance, edge, out=distance)
    front = z0 + t * dz + np.sqrt(np.maximum(radius * radius - squared, 0))
    # Outside all cones the closest outline wins, whatever its depth.
    front = np.where(edge < 0, front, _OUTSIDE - edge)
    nearer = front > depth
    np.copyto(depth, front, where=nearer)
    np.copyto(winner, np.uint8(number), where=nearer)


def _solid_noise(points: np.ndarray, frequency: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in space, about -1 to 1: waves of random directions. (N, 3) to (N,)."""
    waves = rng.normal(0, frequency, (7, 3)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, (7, 1)).astype(np.float32)
    return np.asarray(np.cos(waves @ points.T + phases).sum(0) / 2.6)


def _step(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _coat(coat: str, surface: _Surface, camera: _Camera, rng: np.random.Generator) -> np.ndarray:
    """Colour of the unlit fur, (h, w, 3) float32 in 0 to 255."""
    colours = _coat_colours(coat, rng)
    top, left = surface.window[0].start, surface.window[1].start
    rows, columns = np.nonzero(surface.alpha > 0)
    depth, part = surface.depth[rows, columns], surface.region[rows, columns]
    seen = np.column_stack((columns + left, rows + top, depth)).astype(np.float32)
    points = camera.unproject(seen)
    up = surface.normal[rows, columns] @ camera.rotation[:, 1].astype(np.float32)
    along = surface.along[rows, columns] / camera.scale
    noise = _solid_noise(points, 5, rng)
    albedo = np.tile(colours[0], (part.size, 1))
    for colour, share in _markings(coat, part, points, up, along, noise, rng):
        albedo += (colours[colour] - albedo) * share.astype(np.float32)[:, None]
    albedo *= (1 + 0.1 * noise - 0.14 * (part == _EAR))[:, None]
    _paint_details(albedo, part, colours[1], rng)
    canvas = np.zeros((*surface.alpha.shape, 3), np.float32)
    canvas[rows, columns] = albedo
    # Fur blends from one marking to the next within a few hairs.
    return cv2.GaussianBlur(canvas, (0, 0), max(0.005 * camera.scale, 0.4))


def _markings(
    coat: str,
    part: np.ndarray,
    points: np.ndarray,
    up: np.ndarray,
    along: np.ndarray,
    noise: np.ndarray,
    rng: np.random.Generator,
) -> list[tuple[int, np.ndarray]]:
    """What is painted on the main colour, in order: 1 marking or 2 light, and where, (N,) to 1."""
    layers: list[tuple[int, np.ndarray]] = []
    pale = np.isin(part, (_CHEST, _MUZZLE, _PAW))
    if coat in ("tabby", "brindle"):
        wave = np.sin(along * (2 * np.pi / 0.13) + 1.6 * noise)
        layers.append((1, 0.75 * _step(wave, 0.1, 0.7) * np.where(pale, 0.15, 1)))
    elif coat == "spotted":
        layers.append((1, 0.9 * _step(_solid_noise(points, 17, rng), 0.35, 0.6)))
    elif coat == "patched":
        layers.append((1, _step(noise, 0.05, 0.2)))
        layers.append((2, _step(_solid_noise(points, 4, rng), 0.25, 0.4)))
    elif coat == "pointed":
        dark = {_LEG: 0.55, _PAW: 1, _TAIL: 1, _MUZZLE: 0.95, _EAR: 1}
        layers.append((1, np.array([dark.get(i, 0) for i in range(16)])[part]))
    elif coat == "saddled":
        back = np.isin(part, (_BODY, _TAIL)) * _step(up + 0.3 * noise, -0.15, 0.15)
        layers.append((1, np.maximum(back, 0.8 * (part == _EAR))))
    if coat == "bicolour" or rng.random() < 0.3:
        belly = (part == _BODY) * _step(0.25 * noise - up, 0.2, 0.45)
        socks = (part == _LEG) * _step(0.06 * noise - points[:, 1], -0.2, -0.14)
        layers.append((2, np.maximum.reduce([pale, belly, socks])))
    layers.append((2, 0.45 * _step(-up, 0.2, 0.9)))
    return layers


def _coat_colours(coat: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Main colour, markings and light parts, each (3,) float32 in 0 to 255."""
    choice = int(rng.integers(len(_PALETTE)))
    main = _PALETTE[choice] * rng.uniform(0.88, 1.08) + rng.normal(0, 6, 3)
    if coat == "pointed":
        main = _PALETTE[int(rng.choice((3, 5, 6, 8)))] * rng.uniform(0.9, 1.0)
    marking = main * rng.uniform(0.38, 0.55)
    if main.mean() < 70:
        marking = main * 0.5 + rng.uniform(0.3, 0.5) * _PALETTE[0]
    if coat in ("patched", "saddled"):
        dark = [i for i in range(len(_PALETTE)) if abs(_PALETTE[i].mean() - main.mean()) > 35]
        marking = _PALETTE[int(rng.choice(dark))] * rng.uniform(0.9, 1.05)
    light = np.array((242, 236, 226)) * rng.uniform(0.85, 1.0)
    return tuple(np.clip(colour, 12, 250).astype(np.float32) for colour in (main, marking, light))


def _paint_details(
    albedo: np.ndarray, part: np.ndarray, marking: np.ndarray, rng: np.random.Generator
) -> None:
    """Paint eyes, nose, mouth, tongue and the inside of the ears over the coat."""
    irises = np.array([(196, 160, 60), (110, 150, 70), (92, 56, 30), (96, 150, 186)])
    noses = np.array([(40, 34, 36), (196, 124, 118), (90, 58, 50)])
    colours = np.zeros((16, 3), np.float32)
    colours[_NOSE] = noses[rng.integers(3)]
    colours[_INNER_EAR] = 0.45 * np.array((214, 150, 140)) + 0.4 * marking
    colours[_EYE_RIM] = (28, 24, 26)
    colours[_IRIS] = irises[rng.integers(4)]
    colours[_PUPIL] = (12, 10, 12)
    colours[_GLINT] = (255, 255, 255)
    colours[_MOUTH] = (58, 40, 40)
    colours[_TONGUE] = (214, 112, 116)
    details = np.flatnonzero(part >= _NOSE)
    albedo[details] = colours[part[details]]


def _draw_light(rng: np.random.Generator) -> np.ndarray:
    """Direction to the light, (3,) float32 of length 1: right, down, towards the viewer."""
    light = np.array((rng.choice((-1, 1)) * rng.uniform(0.3, 0.8), -0.75, rng.uniform(0.4, 0.8)))
    return np.asarray(light / np.linalg.norm(light), np.float32)


def _paint(
    picture: np.ndarray,
    surface: _Surface,
    albedo: np.ndarray,
    light: np.ndarray,
    scale: float,
) -> None:
    """Light a surface and lay it over the picture, (H, W, 3) float32 in 0 to 255, in place."""
    lit = _step(surface.normal @ light, -0.55, 1.0)
    # Hair is shorter on the head, and there is none on eyes and nose.
    length = np.array((1, 1, 0.7, 1, 0.55, 0.5, 0.7, 1, *(0.1,) * 8), np.float32)[surface.region]
    # Legs and ears on the far side lie in the shade of the rest.
    box = 2 * int(0.1 * scale) + 1
    near = cv2.blur(surface.depth, (box, box))
    hollow = np.clip((near - surface.depth) / (0.2 * scale), 0, 1)
    rim = _step(surface.normal[:, :, 2], 0.55, 0.1)
    shade = (0.42 + 0.68 * lit) * (1 - 0.4 * hollow) * (1 - 0.35 * rim * (1 - lit))
    shade *= 1 + 0.1 * surface.hair * length
    colour = albedo * shade[:, :, None] + (26 * rim * lit * length)[:, :, None]
    under = picture[surface.window]
    under += (colour - under) * surface.alpha[:, :, None]


# ---- what stands around it


def _tone(rng: np.random.Generator, tint: float = 0.3) -> tuple[int, int, int]:
    """A colour of the coats' palette, now and then tinted, as cv2 takes it."""
    colour = _PALETTE[rng.integers(len(_PALETTE))] * rng.uniform(0.7, 1.08)
    if rng.random() < tint:
        share = rng.uniform(0.25, 0.6)
        colour = (1 - share) * colour + share * _TINTS[rng.integers(len(_TINTS))]
    red, green, blue = np.clip(colour + rng.normal(0, 6, 3), 8, 248).astype(int).tolist()
    return red, green, blue


def _shift(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    red, green, blue = (int(min(max(channel * factor, 0), 255)) for channel in colour)
    return red, green, blue


def _surroundings(
    shape: tuple[int, int],
    camera: _Camera,
    fur: np.ndarray,
    light: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """A room or a garden with things in it, (H, W, 3) float32 in 0 to 255."""
    height, width = shape
    unit = math.sqrt(height * width)
    behind = max(camera.row - rng.uniform(0.12, 0.45) * unit, 0.15 * height)
    horizon = int(min(behind, rng.uniform(0.5, 0.9) * height))
    canvas = np.zeros((height, width, 3), np.uint8)
    indoors = rng.random() < 0.6
    (_room if indoors else _garden)(canvas, horizon, unit, rng)
    far = rng.uniform(0.002, 0.01) * unit
    picture = cv2.GaussianBlur(canvas, (0, 0), max(far, 0.5)).astype(np.float32)
    _weave(picture, horizon, unit, fur, rng)
    # What lies much nearer than the feet would have to cover them.
    front = min(height + 0.08 * unit, camera.row + 0.05 * unit)
    feet = np.sort(rng.uniform(horizon, max(horizon, front), rng.integers(1, 5)))
    places = [(rng.uniform(0, width), foot) for foot in feet.tolist()]
    sizes = (rng.uniform(0.07, 0.17, len(places)) * unit).tolist()
    shade = np.ones(shape, np.float32)
    for (column, foot), size in zip(places, sizes, strict=True):
        _darken(shade, (column - 0.3 * light[0] * size, foot), (2.0 * size, 0.5 * size), 0.5)
    picture *= shade[:, :, None]
    for place, size in zip(places, sizes, strict=True):
        _paint_thing(picture, place, size, fur, light, rng)
    return picture


def _weave(
    picture: np.ndarray, horizon: int, unit: float, fur: np.ndarray, rng: np.random.Generator
) -> None:
    """Lay the coats' hairs over wall and floor, each its own way and strength."""
    height, width = picture.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    for part, most in ((slice(0, horizon), 0.05), (slice(horizon, height), 0.13)):
        # Paper hangs straight; a carpet lies as it likes.
        angle = rng.integers(2) * np.pi / 2 if part.start == 0 else rng.uniform(0, np.pi)
        tiles = rng.uniform(80, 220) / unit
        c, s = np.float32(np.cos(angle) * tiles), np.float32(np.sin(angle) * tiles)
        hair = _sample(fur, c * x + s * y[part], c * y[part] - s * x)
        picture[part] *= (1 + np.float32(rng.uniform(0, most)) * hair)[:, :, None]


def _room(canvas: np.ndarray, horizon: int, unit: float, rng: np.random.Generator) -> None:
    """A floor, a papered wall, and furniture along it."""
    width = canvas.shape[1]
    _floor(canvas, horizon, unit, rng)
    wall = _tone(rng)
    canvas[:horizon] = wall
    pattern = rng.choice(["plain", "stripes", "panels", "dots"])
    step = max(int(rng.uniform(0.05, 0.16) * unit), 4)
    paper = _shift(wall, rng.uniform(0.78, 1.2))
    for column in range(int(rng.uniform(-1, 0) * step), width, step):
        if pattern == "stripes":
            cv2.rectangle(canvas, (column, 0), (column + step // 2, horizon), paper, -1)
        elif pattern == "panels":
            cv2.line(canvas, (column, 0), (column, horizon), paper, max(step // 12, 1))
        elif pattern == "dots":
            for row in range(step // 2, horizon, step):
                cv2.circle(canvas, (column, row), step // 5, paper, -1, cv2.LINE_AA)
    _hang(canvas, horizon, unit, rng)
    skirting = (horizon - int(rng.uniform(0, 0.06) * unit), horizon)
    canvas[skirting[0] : skirting[1]] = _tone(rng)
    for _ in range(rng.integers(0, 3)):
        _furniture(canvas, horizon, unit, rng)


def _hang(canvas: np.ndarray, horizon: int, unit: float, rng: np.random.Generator) -> None:
    """A window with curtains, or pictures, on the wall."""
    width = canvas.shape[1]
    for _ in range(rng.integers(0, 3)):
        size = rng.uniform(0.15, 0.4, 2) * unit
        left, top = rng.uniform(-0.1, 0.9) * width, rng.uniform(-0.1, 0.5) * horizon
        corner = (int(left), int(top))
        opposite = (int(left + size[0]), int(min(top + size[1], 0.85 * horizon)))
        frame, edge = _tone(rng), max(int(0.016 * unit), 1)
        inside = _shift(_tone(rng, tint=0.7), 1.15)
        cv2.rectangle(canvas, corner, opposite, inside, -1)
        if rng.random() < 0.5:
            middle = (corner[0] + opposite[0]) // 2
            cv2.line(canvas, (middle, corner[1]), (middle, opposite[1]), frame, edge)
        else:
            centre = ((corner[0] + opposite[0]) // 2, (corner[1] + opposite[1]) // 2)
            cv2.circle(canvas, centre, int(size.min() * 0.25), _tone(rng), -1, cv2.LINE_AA)
        cv2.rectangle(canvas, corner, opposite, frame, edge)


def _floor(canvas: np.ndarray, horizon: int, unit: float, rng: np.random.Generator) -> None:
    """Carpet, boards or tiles that run to a vanishing point, perhaps a rug; fills the canvas."""
    height, width = canvas.shape[:2]
    canvas[:] = floor = _tone(rng)
    kind, joint = rng.choice(["carpet", "boards", "tiles"]), _shift(floor, rng.uniform(0.7, 0.9))
    thick = max(int(0.007 * unit), 1)
    vanish = (int(rng.uniform(0, 1) * width), int(horizon - 0.5 * unit))
    gap = rng.uniform(0.12, 0.25) * unit
    if kind != "carpet":
        for foot in np.arange(-2 * width, 3 * width, gap):
            cv2.line(canvas, vanish, (int(foot), height), joint, thick, cv2.LINE_AA)
    if kind == "tiles":
        for step in range(1, 9):
            row = int(horizon + (height - horizon) * (step / 8) ** 1.7)
            cv2.line(canvas, (0, row), (width, row), joint, thick)
    if rng.random() < 0.5:
        centre = (int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(horizon, 1.05 * height)))
        axes = rng.uniform((0.3, 0.1), (0.6, 0.22)) * unit
        colours = [_tone(rng) for _ in range(3)]
        for ring in range(int(rng.integers(2, 5))):
            size = (axes * (1 - 0.22 * ring)).astype(int).tolist()
            cv2.ellipse(canvas, centre, size, 0, 0, 360, colours[ring % 3], -1, cv2.LINE_AA)


def _furniture(canvas: np.ndarray, horizon: int, unit: float, rng: np.random.Generator) -> None:
    """A chest of drawers, a shelf or a sofa against the wall."""
    width = canvas.shape[1]
    wide, tall = rng.uniform(0.22, 0.65) * unit, rng.uniform(0.15, 0.5) * unit
    left, foot = int(rng.uniform(-0.2, 0.9) * width), int(horizon + rng.uniform(0, 0.05) * unit)
    right, top = int(left + wide), int(foot - tall)
    colour, edge = _tone(rng), max(int(0.012 * unit), 1)
    cv2.rectangle(canvas, (left, top), (right, foot), colour, -1)
    kind = rng.choice(["drawers", "shelf", "sofa"])
    if kind == "sofa":
        arm = int(0.22 * tall)
        for column in (left, right):
            corners = (column - arm, top + 2 * arm), (column + arm, foot)
            cv2.rectangle(canvas, *corners, _shift(colour, 0.86), -1)
            cv2.circle(canvas, (column, top + 2 * arm), arm, _shift(colour, 0.92), -1, cv2.LINE_AA)
        cv2.rectangle(canvas, (left, top), (right, top + edge), _shift(colour, 1.15), -1)
        return
    for part in range(3):
        upper = int(top + (part / 3) * tall) + edge
        lower = int(top + ((part + 1) / 3) * tall) - edge
        inside = _shift(colour, 1.1) if kind == "drawers" else _shift(colour, 0.55)
        cv2.rectangle(canvas, (left + edge, upper), (right - edge, max(lower, upper)), inside, -1)
        if kind == "drawers":
            knob = ((left + right) // 2, (upper + lower) // 2)
            cv2.circle(canvas, knob, edge, _shift(colour, 0.5), -1, cv2.LINE_AA)
            continue
        book = left + 2 * edge
        while book < right - 4 * edge:
            thick = int(rng.uniform(1.5, 4) * edge)
            rise = int(upper + rng.uniform(0.1, 0.5) * max(lower - upper, 1))
            cv2.rectangle(canvas, (book, rise), (book + thick, max(lower, rise)), _tone(rng), -1)
            book += thick + int(rng.uniform(0, 2) * edge) + 1


def _garden(canvas: np.ndarray, horizon: int, unit: float, rng: np.random.Generator) -> None:
    """Sky, leaves or a fence above; grass or gravel below."""
    height, width = canvas.shape[:2]
    canvas[:] = _shift(_tone(rng, tint=0.6), 1.1)
    hedge = _tone(rng, tint=0.7)
    crown = rng.uniform(0.0, 0.9) * horizon
    for brightness in np.linspace(0.55, 1.2, 110):
        # The bright leaves come last and lie higher up, as if lit from above.
        drop = rng.uniform(0, 1.25 - 0.6 * brightness)
        centre = (int(rng.uniform(0, width)), int(crown + drop * (horizon - crown)))
        axes = [int(size * unit) for size in rng.uniform(0.015, 0.06, 2)]
        leaf, turn = _shift(hedge, brightness * rng.uniform(0.9, 1.1)), rng.uniform(0, 180)
        cv2.ellipse(canvas, centre, axes, turn, 0, 360, leaf, -1, cv2.LINE_AA)
    if rng.random() < 0.4:
        slat, post = max(int(rng.uniform(0.04, 0.1) * unit), 3), _tone(rng)
        top = int(horizon - rng.uniform(0.15, 0.5) * unit)
        for column in range(int(rng.uniform(-1, 0) * slat), width, int(slat * 1.35) + 1):
            colour = _shift(post, rng.uniform(0.85, 1.1))
            cv2.rectangle(canvas, (column, top), (column + slat, horizon), colour, -1)
    lawn = _tone(rng, tint=0.7)
    canvas[horizon:] = lawn
    length, thick = rng.uniform(0.02, 0.07) * unit, max(int(0.006 * unit), 1)
    for depth in np.sort(rng.random(260)).tolist():
        foot, root = horizon + depth * (height + length - horizon), rng.uniform(0, width)
        tall = length * (0.25 + depth)
        tip = (int(root + rng.normal(0, 0.3) * tall), int(foot - tall))
        blade = _shift(lawn, rng.uniform(0.75, 1.25))
        cv2.line(canvas, (int(root), int(foot)), tip, blade, thick, cv2.LINE_AA)


def _paint_thing(
    picture: np.ndarray,
    place: tuple[float, float],
    size: float,
    fur: np.ndarray,
    light: np.ndarray,
    rng: np.random.Generator,
) -> _Surface:
    """A ball, a cushion, a bolster or a folded blanket on the ground, as furry as an animal."""
    column, foot = place
    kind = rng.choice(["ball", "bolster", "cushion", "blanket"])
    if kind == "ball":
        rows = [(foot - size, 0.0, size)]
    elif kind == "bolster":
        rows = [(foot - 0.6 * size, 1.2 * size, 0.6 * size)]
    elif kind == "cushion":
        rows = [(foot - level * size, 0.75 * size, 0.42 * size) for level in (0.4, 0.8, 1.2, 1.6)]
    else:
        rows = [(foot - level * size, 1.3 * size, 0.3 * size) for level in (0.25, 0.75, 1.2)]
    lean = rng.uniform(-0.25, 0.25)
    cones = []
    for row, half, radius in rows:
        ends = [(column + way * half, row + way * lean * half, 0) for way in (-1, 1)]
        cones += _chain(ends, [radius, radius], _BODY)
    height, width = picture.shape[:2]
    surface = _surface(cones, (height, width), fur, 5 * size)
    first, second = (np.array(_tone(rng), np.float32) for _ in range(2))
    albedo = np.broadcast_to(first, (*surface.alpha.shape, 3)).copy()
    if rng.random() < 0.5:
        wave = np.sin(surface.along * (2 * np.pi / (rng.uniform(0.4, 0.9) * size)))
        albedo += (second - albedo) * _step(wave, 0.0, 0.4)[:, :, None]
    _paint(picture, surface, albedo, light, 5 * size)
    return surface


def _darken(
    shade: np.ndarray, centre: tuple[float, float], axes: tuple[float, float], strength: float
) -> None:
    """Lower `shade`, (H, W), by a soft ellipse at (column, row) of half axes (columns, rows)."""
    height, width = shade.shape
    (x, y), (a, b) = centre, axes
    left, right = max(int(x - a), 0), min(int(x + a) + 1, width)
    top, bottom = max(int(y - b), 0), min(int(y + b) + 1, height)
    if left >= right or top >= bottom:
        return
    columns = ((np.arange(left, right, dtype=np.float32) - x) / a) ** 2
    rows = ((np.arange(top, bottom, dtype=np.float32) - y) / b) ** 2
    soft = np.maximum(1 - columns[None, :] - rows[:, None], 0)
    shade[top:bottom, left:right] *= 1 - strength * soft


def _paint_shadow(
    picture: np.ndarray, cones: list[_Cone], camera: _Camera, light: np.ndarray
) -> None:
    """Darken the ground below an animal, most where it touches."""
    shade = np.ones(picture.shape[:2], np.float32)
    for cone in cones:
        if cone.region not in (_BODY, _LEG, _PAW, _TAIL, _CHEST):
            continue
        middle = (np.asarray(cone.start) + np.asarray(cone.end)) / 2
        radius = 0.5 * math.dist(cone.start, cone.end) + max(cone[2:4])
        column, row, _ = camera.project(middle * np.array((1, 0, 1)))
        column -= 0.6 * light[0] * middle[1] * camera.scale
        reach = camera.scale * (radius + 0.4 * middle[1])
        _darken(shade, (column, row), (1.2 * reach, 0.45 * reach), 0.3 / (1 + 6 * middle[1]))
    picture *= shade[:, :, None]


def _paint_foreground(
    picture: np.ndarray,
    coverage: np.ndarray,
    fur: np.ndarray,
    light: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Now and then leaves or a toy before the animal; they take their pixels from `coverage`."""
    height, width = coverage.shape
    unit = math.sqrt(height * width)
    foot = int(np.flatnonzero(coverage.max(1) > 0.5).max(initial=0) + 0.04 * unit)
    place = (rng.uniform(0.1, 0.9) * width, min(foot, height + int(0.02 * unit)))
    chance = rng.random()
    if chance < 0.12:
        surface = _paint_thing(picture, place, rng.uniform(0.05, 0.08) * unit, fur, light, rng)
        coverage[surface.window] *= 1 - surface.alpha
    elif chance < 0.36:
        _paint_leaves(picture, coverage, place, rng.uniform(0.12, 0.26) * unit, rng)


def _paint_leaves(
    picture: np.ndarray,
    coverage: np.ndarray,
    place: tuple[float, float],
    tall: float,
    rng: np.random.Generator,
) -> None:
    """A fan of leaves that grows from a place on the ground."""
    colour = _tone(rng, tint=0.7)
    layer, mask = np.zeros(picture.shape, np.uint8), np.zeros(coverage.shape, np.uint8)
    for angle in rng.permutation(np.linspace(-0.9, 0.9, int(rng.integers(6, 11)))).tolist():
        half = tall * rng.uniform(0.35, 0.55)
        middle = (int(place[0] + math.sin(angle) * half), int(place[1] - math.cos(angle) * half))
        axes, turn = (int(0.13 * tall) + 1, int(half) + 1), math.degrees(angle)
        leaf = _shift(colour, rng.uniform(0.65, 1.2))
        cv2.ellipse(layer, middle, axes, turn, 0, 360, leaf, -1, cv2.LINE_8)
        cv2.ellipse(mask, middle, axes, turn, 0, 360, 255, -1, cv2.LINE_8)
    share = cv2.GaussianBlur(mask, (0, 0), 0.7).astype(np.float32) / 255
    picture += (layer - picture) * share[:, :, None]
    coverage *= 1 - share


# ---- from canvas to picture and trimap


def _expose(picture: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Light the scene unevenly, shrink it, and add what a camera adds; (H, W, 3) uint8."""
    height, width = size
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.28)
    glow = 1 + slope * (np.cos(angle) * columns + np.sin(angle) * rows)
    glow -= rng.uniform(0, 0.16) * (columns**2 + rows**2)
    cast = rng.uniform(0.86, 1.14) * rng.normal(1, 0.035, 3)
    picture *= (glow[:, :, None] * cast).astype(np.float32)
    blur = rng.uniform(0, 0.7)
    if blur > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    noise = np.float32(rng.uniform(1.5, 6)) * rng.standard_normal(picture.shape, np.float32)
    return np.asarray(np.clip(np.rint(picture + noise), 0, 255), np.uint8)


def _trimap(coverage: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Classes from the animal's share of each pixel of the canvas; (H, W) uint8."""
    height, width = size
    share = cv2.resize(coverage, (width, height), interpolation=cv2.INTER_AREA)
    pet = (share > 0.5).astype(np.uint8)
    if not pet[1:-1, 1:-1].any() or pet.mean() > 0.95:
        # At the smallest sizes an animal can vanish; the promise of three classes holds.
        pet[:] = 0
        pet[2:-4, 2:-4] = 1
    inside = cv2.distanceTransform(pet, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform(1 - pet, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Neighbours across the outline are one pixel apart, so a reach of one parts the classes.
    reach = max(min(_BORDER_REACH * math.sqrt(height * width), 0.1 * min(size)), 1.0)
    trimap = np.full(size, BORDER, np.uint8)
    # A small animal in a long picture keeps its innermost pixels.
    trimap[inside > min(reach, inside.max() - 1e-3)] = PET
    trimap[outside > min(reach, outside.max() - 1e-3)] = BACKGROUND
    return trimap


# ---- the folder


def write_synthetic_pets(
    folder: str | Path,
    *,
    count: int = 500,
    height: int = 128,
    width: int = 128,
    seed: int = 0,
    test_fraction: float = 0.2,
) -> Path:
    """Write synthetic pets in the layout of Oxford-IIIT Pet.

    The folder appears complete or not at all:

        images/NAME.jpg             RGB, JPEG quality 95
        annotations/trimaps/NAME.png    1 pet, 2 background, 3 border
        annotations/trainval.txt    lines of NAME CLASS-ID SPECIES BREED-ID
        annotations/test.txt        the same, for the pictures kept for the test
        README.txt                  what this is

    Species is 1 for a cat and 2 for a dog; a breed is a pattern of the coat.

    Args:
        folder: Does not exist yet, or is empty.
        count: How many pictures; 2 or more.
        height: Rows of each, at least 16.
        width: Columns of each, at least 16.
        seed: Which set; 0 or more.
        test_fraction: Share of the pictures in the test list, above 0 and below 1; both lists
            get at least one.

    Returns:
        The folder.

    Raises:
        ConfigError: A number is outside its range.
        OutputExistsError: `folder` is a file, or has something in it.
    """
    folder = Path(folder)
    _require_at_least("count", count, 2)
    _require_at_least("height", height, MIN_SIZE)
    _require_at_least("width", width, MIN_SIZE)
    _require_at_least("seed", seed, 0)
    if not 0 < test_fraction < 1:
        raise ConfigError(
            f"test_fraction is {test_fraction}; accepted are numbers above 0 and below 1; "
            "give the share of the pictures to keep for the test, such as 0.2"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError(
            f"{folder} exists and is not an empty folder; accepted is a new or an empty folder; "
            "give another name, or remove it first"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_set(unfinished, count, (height, width), seed, test_fraction)
        unfinished.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


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
    # The last ones are the test: an index has no order among scenes, and the rule needs no draw.
    (folder / "annotations" / "trainval.txt").write_text("".join(lines[:-test_count]), "utf-8")
    (folder / "annotations" / "test.txt").write_text("".join(lines[-test_count:]), "utf-8")
    (folder / "README.txt").write_text(
        _README.format(count=count, height=height, width=width, seed=seed, test_count=test_count),
        "utf-8",
    )


def _label(index: int, seed: int) -> tuple[str, str]:
    """Name of a picture, and its class, species and breed numbers, each from 1."""
    animal = _draw_animal(np.random.default_rng((seed, index)))
    breeds = [(species, coat) for species in sorted(COATS) for coat in COATS[species]]
    class_id = breeds.index((animal.species, animal.coat)) + 1
    breed_id = COATS[animal.species].index(animal.coat) + 1
    name = f"synthetic_{animal.coat}_{animal.species}_{index:04d}"
    return name, f"{class_id} {_SPECIES_ID[animal.species]} {breed_id}"


def _require_at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int | np.integer) or value < least:
        raise ConfigError(
            f"{name} is {value!r}; accepted are whole numbers from {least}; "
            f"give {name}={least} or more"
        )
