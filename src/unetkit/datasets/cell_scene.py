"""Fields of synthetic cells: the dish, cells that touch, light and camera.

`draw_dish` chooses the common properties of the fields of a dish; `draw_field` draws one field and
numbers its cells.

Each cell is a function that is 1 at its centre and 0 at its outline, an ellipse deformed by a few
harmonics; a pixel belongs to the cell with the largest value. So neighbours have borders in common,
flatten each other, and never overlap. Because of uneven light, haze, debris, dim lines between
cells and noise, brightness alone neither finds nor separates the cells.

The magnification is fixed: a larger image shows more cells, not larger ones.

`synthetic_cells` chooses dishes and random generators, and writes files.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

DISHES = 4
# The camera: 12 bits, in counts. A dark pixel reads 200; one count is 0.4 electrons.
OFFSET = 200
WHITE = 4095
_ELECTRONS_PER_COUNT = 0.4
_READ_NOISE = 12.0
_DEBRIS = 0.0175  # pieces on an area of one squared cell radius
# Cells shrink in images with a shorter side than five of them, and grow where at the usual size
# there would be more of them than a uint16 can number.
_RADIUS_PER_SIDE = 0.2
_SIDES_PER_RADIUS = 360


class Dish(NamedTuple):
    """Common properties of the fields of a dish; lengths in pixels, light in counts."""

    occupancy: float  # fraction of the lattice points that have a cell
    radius: float
    nucleus: float  # stain relative to the rest of the cell: below 0 darker, above 0 brighter
    background: float
    vignette: float  # ratio of light at the centre and in the corners, minus 1
    gradient: complex  # logarithm of the ratio of light at edge and centre: right + down * 1j
    blur: float


class _Cell(NamedTuple):
    """One cell; positions are complex, column + row * 1j."""

    centre: complex
    radius: float
    stretch: float  # ratio of long axis to radius, and of radius to short axis
    turn: complex  # rotates the long axis to the columns
    bends: np.ndarray  # harmonics 2, 3 and 4 of the outline, complex
    nucleus: complex  # its centre, in units of the cell
    nucleus_radius: float
    brightness: float


class _Relief(NamedTuple):
    """Values of the cells in each pixel; arrays are (H, W)."""

    labels: np.ndarray  # int32
    height: np.ndarray  # largest value, 0 to 1
    second: np.ndarray  # second largest value
    nucleus: np.ndarray  # 0 outside of nuclei to 1 within
    windows: list[tuple[slice, slice]]  # rows and columns that may belong to each cell


def draw_dish(number: int, seed: int) -> Dish:
    """Chooses the common properties of the fields of a dish.

    Each property has four levels, one for each dish, so that dishes differ.

    Args:
        number: Index of the dish, 0 to 3.
        seed: Seed of the data set, 0 or more.
    """
    # The third number makes this generator differ from those of the images.
    rng = np.random.default_rng((seed, 0, 1))

    def level(*levels: float) -> float:
        return float(rng.permutation(levels)[number] * rng.uniform(0.96, 1.04, DISHES)[number])

    angle = rng.uniform(0, 2 * math.pi) + number * math.pi / 2
    return Dish(
        occupancy=level(0.34, 0.48, 0.62, 0.8),
        radius=level(13, 15, 17, 19.5),
        nucleus=level(-0.5, -0.3, 0.35, 0.7),
        background=level(560, 680, 810, 950),
        vignette=level(0.4, 0.55, 0.7, 0.85),
        gradient=level(0.28, 0.36, 0.44, 0.52) * complex(math.cos(angle), math.sin(angle)),
        blur=level(0.6, 0.75, 0.9, 1.05),
    )


def draw_field(
    shape: tuple[int, int], dish: Dish, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one field of a dish, in counts of the camera, and numbers its cells.

    Args:
        shape: (height, width) in pixels, each 16 or more.
        dish: Properties from `draw_dish`.
        rng: Generator of all other random numbers.

    Returns:
        Counts, (H, W) float32, whole numbers from 0 to 4095, and labels, (H, W) uint16: 0 for the
        background, 1 to n for the cells, at least one; each cell is 4-connected.
    """
    radius = min(dish.radius, _RADIUS_PER_SIDE * min(shape))
    radius = max(radius, math.sqrt(math.prod(shape)) / _SIDES_PER_RADIUS)
    cells = _place_cells(shape, radius, dish, rng)
    relief = _raise_hills(shape, cells, radius, rng)
    labels, kept = _tidy_labels(relief, radius)
    light = _stain_cells(relief, labels, [cells[number] for number in kept], dish, rng)
    light += _blur_beyond_focus(light, radius, rng)
    light = (light + dish.background) * _illuminate(shape, dish, rng)
    return _expose(light, dish.blur * rng.uniform(0.85, 1.2), rng), labels


def _place_cells(
    shape: tuple[int, int], radius: float, dish: Dish, rng: np.random.Generator
) -> list[_Cell]:
    """Cells on the dense regions of a perturbed lattice; the first is well inside the image."""
    height, width = shape
    spacing = 1.7 * radius
    reach = math.ceil(math.hypot(height, width) / spacing / 0.86) + 1
    steps = np.arange(-reach, reach + 1)
    lattice = (steps[:, None] + np.exp(1j * math.pi / 3) * steps).ravel()
    lattice *= spacing * np.exp(1j * rng.uniform(0, 2 * math.pi))
    lattice += complex(rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height)
    first = lattice[lattice.size // 2]
    beyond = np.maximum(
        abs(lattice.real - (width - 1) / 2) - width / 2,
        abs(lattice.imag - (height - 1) / 2) - height / 2,
    )
    lattice = lattice[(beyond < 1.2 * radius) & (lattice != first)]
    # A sum of waves is smooth, so that dense and empty regions are large.
    waves = 2 * math.pi / rng.uniform(6, 18, 16) * np.exp(1j * rng.uniform(0, 2 * math.pi, 16))
    phases = rng.uniform(0, 2 * math.pi, 16)
    density = np.cos((lattice[:, None] / radius * waves).real + phases).sum(1)
    occupancy = min(dish.occupancy * rng.uniform(0.85, 1.15), 0.92)
    lattice = lattice[np.argsort(-density)[: round(occupancy * lattice.size)]]
    lattice = lattice + rng.normal(0, 0.17 * spacing, (lattice.size, 2)) @ (1, 1j)
    return _draw_cells(np.concatenate(([first], lattice)), radius, rng)


def _draw_cells(places: np.ndarray, radius: float, rng: np.random.Generator) -> list[_Cell]:
    """Size, outline, nucleus and brightness of the cell at each place."""
    count = places.size
    rounded = rng.random(count) < 0.05  # about to divide: small, round and bright
    radii = radius * np.clip(rng.lognormal(0, 0.2, count), 0.6, 1.6) * np.where(rounded, 0.75, 1)
    stretch = np.where(rounded, 1, np.exp(abs(rng.normal(0, 0.2, count)).clip(0, 0.5)))
    turn = np.exp(1j * rng.uniform(0, 2 * math.pi, count))
    bends = rng.normal(0, (0.06, 0.05, 0.03), (count, 2, 3)).clip(-0.13, 0.13)
    bends = (bends[:, 0] + 1j * bends[:, 1]) * np.where(rounded, 0.3, 1)[:, None]
    nucleus = rng.uniform(0, 0.22, count) * np.exp(1j * rng.uniform(0, 2 * math.pi, count))
    nucleus_radius = rng.uniform(0.36, 0.5, count)
    brightness = rng.lognormal(0, 0.45, count).clip(0.4, 2.6) * np.where(rounded, 1.8, 1)
    columns = (places, radii, stretch, turn, bends, nucleus, nucleus_radius, brightness)
    return [_Cell(*row) for row in zip(*columns, strict=True)]


def _raise_hills(
    shape: tuple[int, int], cells: list[_Cell], radius: float, rng: np.random.Generator
) -> _Relief:
    """Largest and second largest value in each pixel, and the cell of the largest."""
    height, width = shape
    plane = np.empty(shape, np.complex64)
    plane.real, plane.imag = np.arange(width), np.arange(height)[:, None]
    # Deforms the whole image, so that outlines are not star-shaped.
    plane.real += 0.13 * radius * _smooth_noise(shape, 0.9 * radius, rng)
    plane.imag += 0.13 * radius * _smooth_noise(shape, 0.9 * radius, rng)
    labels, nuclei = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    highest, second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    windows = []
    for number, cell in enumerate(cells, 1):
        reach = cell.radius * cell.stretch * (1 + abs(cell.bends).sum()) + 0.5 * radius
        top, left = (max(math.floor(x - reach), 0) for x in (cell.centre.imag, cell.centre.real))
        bottom, right = (math.ceil(x + reach) for x in (cell.centre.imag, cell.centre.real))
        window = np.s_[top : max(bottom, 0), left : max(right, 0)]
        windows.append(window)
        hill, nucleus = _raise_hill(plane[window], cell)
        best = highest[window]
        higher = hill > best
        np.maximum(second[window], np.minimum(hill, best), out=second[window])
        np.maximum(best, hill, out=best)
        labels[window][higher] = number
        nuclei[window][higher] = nucleus[higher]
    return _Relief(labels, highest, second, nuclei, windows)


def _raise_hill(plane: np.ndarray, cell: _Cell) -> tuple[np.ndarray, np.ndarray]:
    """Values of a cell, 1 at its centre and below 0 outside, and of its nucleus; (h, w) each."""
    place = (plane - np.complex64(cell.centre)) * np.complex64(cell.turn / cell.radius)
    place.real /= cell.stretch
    place.imag *= cell.stretch
    distance = np.abs(place)
    way = place / np.maximum(distance, np.float32(1e-3))
    two, three, four = cell.bends.astype(np.complex64)
    outline = 1 + (way * way * (two + way * (three + way * four))).real
    inside = 1 - np.abs(place - np.complex64(cell.nucleus)) / np.float32(cell.nucleus_radius)
    return 1 - distance / outline, np.clip(4 * inside, 0, 1)


def _tidy_labels(relief: _Relief, radius: float) -> tuple[np.ndarray, list[int]]:
    """Keeps the largest component of each cell unless it is tiny, and numbers them from 1.

    Returns:
        Labels, (H, W) uint16, and the index of the cell of each label.
    """
    labels, kept = np.zeros(relief.labels.shape, np.uint16), []
    tiny = max(4.0, 0.15 * math.pi * radius**2)
    for number, window in enumerate(relief.windows):
        mine = (relief.labels[window] == number + 1).astype(np.uint8)
        if not mine.any():
            continue
        _, pieces, stats, _ = cv2.connectedComponentsWithStats(mine, connectivity=4)
        largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        # The first cell is always kept, so that no image is empty.
        if stats[largest, cv2.CC_STAT_AREA] >= tiny or number == 0:
            kept.append(number)
            labels[window][pieces == largest] = len(kept)
    return labels, kept


def _stain_cells(
    relief: _Relief, labels: np.ndarray, cells: list[_Cell], dish: Dish, rng: np.random.Generator
) -> np.ndarray:
    """Light of the cells in counts, (H, W) float32."""
    shape, size = labels.shape, dish.radius
    brightness = np.array([0, *(720 * cell.brightness for cell in cells)], np.float32)
    seams = np.append(0, rng.uniform(0.3, 0.7, len(cells))).astype(np.float32)
    light = brightness[labels]
    # Thinner towards the free edge, and a dim line of random strength where two cells meet.
    light *= 1 - np.exp(relief.height * np.float32(-7))
    light *= 1 - seams[labels] * np.exp((relief.height - relief.second) * np.float32(-11))
    light *= 1 + np.float32(dish.nucleus) * relief.nucleus
    grain = _smooth_noise(shape, 0.13 * size, rng)
    light *= 1 + 0.14 * grain + 0.2 * _smooth_noise(shape, 0.45 * size, rng)
    # Vesicles: bright grains in the cytoplasm.
    light += 240 * np.maximum(grain - 1.3, 0) * (labels > 0) * (1 - relief.nucleus)
    return light


def _blur_beyond_focus(light: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Haze around the cells and debris, in counts, (H, W) float32."""
    # A quarter of the resolution is enough for blurred light.
    height, width = (math.ceil(side / 4) for side in light.shape)
    haze = cv2.resize(light, (width, height), interpolation=cv2.INTER_AREA)
    haze = 0.3 * cv2.GaussianBlur(haze, (0, 0), 0.35 * radius)
    debris = np.zeros((height, width), np.float32)
    for _ in range(rng.poisson(_DEBRIS * light.size / radius**2)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = [max(round(float(a) * radius / 4), 1) for a in rng.uniform(0.3, 1.1, 2)]
        cv2.ellipse(debris, centre, axes, rng.uniform(0, 180), 0, 360, rng.uniform(250, 1300), -1)
    debris = cv2.GaussianBlur(debris, (0, 0), 0.11 * radius)
    return np.asarray(cv2.resize(haze + debris, light.shape[::-1]))


def _illuminate(shape: tuple[int, int], dish: Dish, rng: np.random.Generator) -> np.ndarray:
    """Illumination, about 1 at the centre, (H, W) float32."""
    columns = np.linspace(-1, 1, shape[1], dtype=np.float32) + np.float32(rng.normal(0, 0.1))
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None] + np.float32(rng.normal(0, 0.1))
    slope = np.complex64(dish.gradient * rng.uniform(0.85, 1.15))
    vignette = 1 + np.float32(0.5 * dish.vignette) * (columns**2 + rows**2)
    return np.exp(slope.real * columns + slope.imag * rows) / vignette


def _expose(light: np.ndarray, blur: float, rng: np.random.Generator) -> np.ndarray:
    """Counts of the camera, whole numbers from 0 to 4095, (H, W) float32."""
    light = np.asarray(cv2.GaussianBlur(light, (0, 0), blur))
    # Shot noise is Poisson; above 20 electrons a normal law of the same variance hardly differs.
    deviation = np.sqrt(light / np.float32(_ELECTRONS_PER_COUNT) + np.float32(_READ_NOISE**2))
    counts = OFFSET + light + deviation * rng.standard_normal(light.shape, np.float32)
    return np.clip(np.rint(counts), 0, WHITE)


def _smooth_noise(shape: tuple[int, int], grain: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise with a grain size in pixels and a deviation of about 1.1, (H, W) float32."""
    grain = max(grain, 1.0)
    height, width = (math.ceil(side / grain) + 3 for side in shape)
    coarse = rng.standard_normal((height, width), np.float32)
    enlarged = (math.ceil(width * grain), math.ceil(height * grain))
    fine = np.asarray(cv2.resize(coarse, enlarged, interpolation=cv2.INTER_CUBIC))
    top, left = (int(start) for start in rng.integers(math.ceil(grain), size=2))
    return 1.35 * fine[top : top + shape[0], left : left + shape[1]]
