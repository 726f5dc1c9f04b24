"""A cat or a dog as a skeleton of round cones, and its camera.

`draw_animal` chooses species, coat and pose; `build_skeleton` returns the cones of such an
animal; `aim_camera` rotates and places it so that it covers a random fraction of the image.

One skeleton per posture, in three dimensions, gives every view of it, so a new
posture is one function of points and radii. Numbers are in body lengths, and in head radii within
a head: an index shows the same scene at every size.

The surface of cones is in `surface`, colours are in `coat`, and the numbers of species and coats in
a data set in `synthetic_pets`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unetkit.datasets.pets.surface import Camera, Cone, Point3D, chain

COATS = {
    "cat": ("bicolour", "patched", "plain", "pointed", "spotted", "tabby"),
    "dog": ("bicolour", "brindle", "patched", "plain", "saddled", "spotted"),
}
_POSES = ("standing", "sitting", "lying", "facing", "portrait")

# Regions of an animal; those from NOSE on have a colour of their own instead of the coat's.
BODY, LEG, PAW, TAIL, HEAD, MUZZLE, EAR, CHEST = range(8)
NOSE, INNER_EAR, EYE_RIM, IRIS, PUPIL, GLINT, MOUTH, TONGUE = range(8, 16)
_TAIL_RADII = [0.085, 0.07, 0.064, 0.056]


class Animal(NamedTuple):
    """Species, coat and pose of an animal."""

    species: str
    coat: str
    pose: str


def draw_animal(rng: np.random.Generator) -> Animal:
    """Returns a random animal, from the first numbers of the generator of an image."""
    species = str(rng.choice(sorted(COATS)))
    coat = str(rng.choice(COATS[species]))
    return Animal(species, coat, str(rng.choice(_POSES, p=(0.22, 0.24, 0.2, 0.14, 0.2))))


def build_skeleton(animal: Animal, rng: np.random.Generator) -> tuple[list[Cone], int]:
    """Returns the cones of an animal.

    Args:
        animal: Animal, of which species and pose are used.
        rng: Generator of build, gait and direction of the head.

    Returns:
        Cones in body lengths, and the number of cones before those of the head.
    """
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
    cones += chain([neck, tuple(head)], [0.17 * girth, size * 0.72], CHEST)
    head_start = len(cones)
    yaw = {"facing": 0.0, "portrait": rng.uniform(-10, 25)}.get(animal.pose, rng.uniform(0, 60))
    turn = _rotation(yaw, rng.uniform(-16, 8), rng.uniform(-12, 12))
    for cone in _dog_head(rng) if dog else _cat_head(rng):
        start, end = (head + size * turn @ np.array(point) for point in cone[:2])
        cones.append(Cone(start, end, size * cone[2], size * cone[3], *cone[4:]))
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
) -> tuple[list[Cone], Point3D]:
    """Body, legs and tail of a standing or walking animal, and where its neck begins."""
    back = rng.uniform(0.5, 0.62) if dog else rng.uniform(0.44, 0.52)
    body = [(-0.4, back, 0), (0, back - 0.02, 0), (0.34, back, 0)]
    cones = chain(body, [0.19 * girth, 0.185 * girth, 0.205 * girth], BODY)
    cones += chain([(0.36, back - 0.04, 0), (0.45, back + 0.02, 0)], [0.17, 0.15], CHEST)
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
    return cones + chain(tail, _TAIL_RADII, TAIL), (0.4, back + 0.06, 0.0)


def _sitting(dog: bool, girth: float, rng: np.random.Generator) -> tuple[list[Cone], Point3D]:
    """Body, legs and tail of a sitting animal, and where its neck begins."""
    top = rng.uniform(0.6, 0.72) if dog else rng.uniform(0.55, 0.64)
    body = [(-0.24, 0.24, 0), (-0.1, 0.42, 0), (0.08, top, 0)]
    cones = chain(body, [0.245 * girth, 0.225 * girth, 0.18 * girth], BODY)
    chest = [(0.1, top - 0.12, 0), (0.14, top + 0.02, 0)]
    cones += chain(chest, [0.17 * girth, 0.155 * girth], CHEST)
    for side in (-1, 1):
        z = 0.11 * side
        leg = [(0.1, top - 0.08, z), (0.17, 0.32, z), (0.19, 0.09, z)]
        cones += _leg(leg, [0.12, 0.085, 0.075])
        thigh = [(-0.2, 0.22, 0.17 * side), (-0.02, 0.2, 0.21 * side)]
        cones += chain(thigh, [0.19 * girth, 0.14], LEG)
        cones += _leg([(-0.02, 0.08, 0.22 * side), (0.05, 0.07, 0.23 * side)], [0.08, 0.075])
    side = rng.choice((-1, 1))
    up = rng.uniform(0.0, 0.25) if dog else rng.uniform(0.0, 0.06)
    tail = [(-0.42, 0.13, 0), (-0.58, 0.08 + up, 0.12 * side), (-0.64, 0.08 + 2 * up, 0.3 * side)]
    tail.append((-0.5, 0.08 + 2.4 * up, 0.44 * side))
    return cones + chain(tail, _TAIL_RADII, TAIL), (0.1, top + 0.05, 0.0)


def _lying(dog: bool, girth: float, rng: np.random.Generator) -> tuple[list[Cone], Point3D]:
    """Body, legs and tail of an animal lying on its belly, and where its neck begins."""
    body = [(-0.4, 0.21, 0), (-0.02, 0.22, 0), (0.3, 0.25, 0)]
    cones = chain(body, [0.205 * girth, 0.215 * girth, 0.2 * girth], BODY)
    cones += chain([(0.34, 0.2, 0), (0.42, 0.27, 0)], [0.17 * girth, 0.155 * girth], CHEST)
    for side in (-1, 1):
        reach, z = rng.uniform(0.6, 0.72) + (0.06 if dog else 0.0), 0.14 * side
        leg = [(0.3, 0.16, z), (0.42, 0.08, z * 1.2), (reach, 0.07, z)]
        cones += _leg(leg, [0.12, 0.08, 0.072])
        thigh = [(-0.36, 0.19, 0.13 * side), (-0.16, 0.15, 0.2 * side)]
        cones += chain(thigh, [0.19 * girth, 0.12], LEG)
        cones += _leg([(-0.18, 0.07, 0.24 * side), (-0.1, 0.07, 0.25 * side)], [0.075, 0.072])
    side = rng.choice((-1, 1))
    tail = [(-0.55, 0.14, 0), (-0.74, 0.08, 0.1 * side), (-0.8, 0.07, 0.28 * side)]
    tail.append((-0.66, 0.07, 0.42 * side))
    return cones + chain(tail, _TAIL_RADII, TAIL), (0.34, 0.3, 0.0)


def _leg(points: Sequence[Point3D], radii: Sequence[float]) -> list[Cone]:
    """A leg from the top down, with a paw that points forward."""
    x, _, z = points[-1]
    paw = [(x, 0.065, z), (x + 0.075, 0.053, z)]
    return chain(points, radii, LEG) + chain(paw, [0.077, 0.063], PAW)


def _cat_head(rng: np.random.Generator) -> list[Cone]:
    """A cat's head in units of its radius, the middle of the skull at the origin."""
    cones = [
        Cone((0, 0, -0.16), (0, 0, 0.16), 0.92, 0.92, HEAD),
        Cone((0.7, 0.02, 0), (0.86, -0.2, 0), 0.24, 0.15, HEAD),
        Cone((0.62, -0.56, 0), (0.68, -0.56, 0), 0.26, 0.24, MUZZLE),
        Cone((0.98, -0.2, -0.05), (0.98, -0.2, 0.05), 0.1, 0.1, NOSE),
        Cone((0.99, -0.26, 0), (0.99, -0.42, 0), 0.045, 0.045, MOUTH),
    ]
    ear = rng.uniform(1.3, 1.55)
    for side in (-1, 1):
        cones += [
            Cone((0.2, -0.32, 0.42 * side), (0.3, -0.36, 0.38 * side), 0.58, 0.5, HEAD),
            Cone((0.7, -0.36, 0.2 * side), (0.74, -0.36, 0.2 * side), 0.29, 0.28, MUZZLE),
            Cone((-0.06, 0.56, 0.55 * side), (-0.08, ear, 0.8 * side), 0.4, 0.05, EAR),
            Cone((0.2, 0.68, 0.57 * side), (0.06, ear - 0.15, 0.77 * side), 0.2, 0.03, INNER_EAR),
        ]
        cones += _eye(np.array((0.69, 0.12, 0.43 * side)), 0.21, side)
    return cones


def _dog_head(rng: np.random.Generator) -> list[Cone]:
    """A dog's head in units of its radius, the middle of the skull at the origin."""
    snout = rng.uniform(1.15, 1.5)
    cones = [
        Cone((0, 0.02, -0.1), (0, 0.02, 0.1), 0.9, 0.9, HEAD),
        Cone((0.45, -0.22, 0), (snout, -0.34, 0), 0.52, 0.34, MUZZLE),
        Cone((0.4, -0.5, 0), (snout - 0.15, -0.62, 0), 0.38, 0.22, MUZZLE),
        Cone((snout + 0.24, -0.2, -0.05), (snout + 0.24, -0.2, 0.05), 0.17, 0.17, NOSE),
        Cone((snout + 0.31, -0.3, 0), (snout + 0.26, -0.56, 0), 0.05, 0.05, MOUTH),
    ]
    floppy, tongue = rng.random() < 0.6, rng.random() < 0.35
    tip = rng.uniform(1.3, 1.5)
    for side in (-1, 1):
        if floppy:
            cones += chain(
                [(-0.1, 0.6, 0.66 * side), (-0.02, 0.05, 1.02 * side), (0.08, -0.5, 1.0 * side)],
                [0.26, 0.36, 0.25],
                EAR,
            )
        else:
            cones += [
                Cone((-0.1, 0.56, 0.52 * side), (-0.12, tip, 0.66 * side), 0.38, 0.07, EAR),
            ]
            inner = [(0.16, 0.7, 0.54 * side), (0.02, tip - 0.15, 0.65 * side)]
            cones += chain(inner, [0.18, 0.04], INNER_EAR)
        cones += _eye(np.array((0.7, 0.22, 0.37 * side)), 0.175, side)
    if tongue:
        cones.append(Cone((snout, -0.78, 0), (snout + 0.08, -1.02, 0), 0.15, 0.14, TONGUE))
    return cones


def _eye(centre: np.ndarray, radius: float, side: int) -> list[Cone]:
    """Rim, iris, pupil and glint, each a ball that stands a little before the last."""
    outward = np.array((0.86, 0.0, 0.5 * side))
    parts = [(0.0, 1.0, EYE_RIM), (0.2, 0.85, IRIS), (0.55, 0.56, PUPIL), (0.85, 0.26, GLINT)]
    balls = []
    for forward, size, region in parts:
        point = centre + radius * forward * outward
        if region == GLINT:
            point = point + radius * np.array((0.1, 0.34, -0.2 * side))
        balls.append(Cone(point, point, radius * size, radius * size, region))
    return balls


def aim_camera(
    animal: Animal, cones: list[Cone], shape: tuple[int, int], rng: np.random.Generator
) -> Camera:
    """Rotates and places the animal so that some cones cover a random fraction of the canvas.

    Args:
        animal: Animal, whose pose decides the range of directions.
        cones: Cones that must be visible, in body lengths: the head for a portrait, else all.
        shape: (height, width) of the canvas in pixels.
        rng: Generator of direction, size and position.
    """
    low, high = {"standing": (-20, 40), "lying": (-15, 45), "sitting": (0, 70)}.get(
        animal.pose, (50, 90)
    )
    yaw, pitch, roll = rng.uniform(low, high), rng.uniform(3, 17), rng.normal(0, 3)
    # Rows count downwards, and half of the animals face left.
    flip = np.diag((rng.choice((-1.0, 1.0)), -1.0, 1.0))
    camera = Camera(flip @ _rotation(0, roll, pitch) @ _rotation(yaw, 0, 0), 1.0, 0.0, 0.0)
    centres = camera.project(np.array([p for cone in cones for p in cone[:2]]))[:, :2]
    radii = np.array([r for cone in cones for r in cone[2:4]])[:, None]
    top_left, bottom_right = (centres - radii).min(0), (centres + radii).max(0)
    extent = bottom_right - top_left
    canvas = np.array(shape[::-1], float)
    portrait = animal.pose == "portrait"
    fraction = rng.uniform(0.2, 0.52) if portrait else rng.uniform(0.18, 0.52)
    filled = 0.7 if portrait else 0.55
    scale = math.sqrt(fraction * canvas.prod() / (extent.prod() * filled))
    scale = min(scale, float((canvas * (1.0 if portrait else 1.08) / extent).min()))
    spare = canvas - extent * scale
    # Up to a twelfth of the animal may be outside the image.
    slack = np.maximum(spare / 2 + extent * scale / 12, 0)
    centre = canvas / 2 + rng.uniform(-1, 1, 2) * slack
    column, row = centre - scale * (top_left + extent / 2)
    return Camera(camera.rotation, scale, float(column), float(row))
