"""Sets of images that `self_configuration.py` trains on: thin, rare, small and many-channelled.

    python benchmarks/synthetic_sets.py vessels OUT

Each set is one difficulty of real data, drawn by rule from a seed:

    vessels   round field of view, branching tubes 1 to 9 pixels wide, the thin ones faint
    spots     one class on 0.5 % of the pixels, among blemishes that resemble it
    nuclei    pictures of several sizes, touching nuclei of about 20 pixels, instance labels
    stains    nuclei of 12 to 50 pixels as three microscopes show them: bright on black, purple on
              pink, dark on grey, in colour files of several sizes, instance labels
    fields    four channels of 16 bits, of which the fourth is needed to tell two classes apart
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tifffile

FINE = 4  # tubes are drawn on a canvas so many times as fine
COUNTS = {"train": 24, "test": 16}

Scene = tuple[np.ndarray, np.ndarray]  # image, (H, W, C), and mask, (H, W)


def draw_vessels(rng: np.random.Generator) -> Scene:
    """RGB (584, 565, 3) uint8, and a mask of 0 and 255."""
    height, width = 584, 565
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    field = np.hypot(rows - height / 2, columns - width / 2) < 0.47 * width
    disc = np.array([height * rng.uniform(0.45, 0.55), width * rng.choice([0.22, 0.78])])
    coverage = np.zeros((FINE * height, FINE * width), np.float32)
    depth = np.zeros_like(coverage)
    for angle in rng.permutation(np.linspace(0, 2 * np.pi, 7)[:-1] + rng.uniform(0, 1)):
        _draw_tube(rng, coverage, depth, disc, angle + rng.normal(0, 0.2), rng.uniform(6, 9))
    coverage, depth = (
        cv2.resize(a, (width, height), None, 0, 0, cv2.INTER_AREA) for a in (coverage, depth)
    )
    light = 0.75 + 0.25 * _smooth(rng, (height, width), 120)
    glow = np.exp(-((rows - disc[0]) ** 2 + (columns - disc[1]) ** 2) / (2 * 32**2))
    blemish = 0.12 * np.clip(_smooth(rng, (height, width), 14) - 0.6, 0, 1)
    base = light * (1 + 0.5 * glow) - blemish
    grey = base * (1 - 0.32 * cv2.GaussianBlur(depth, (0, 0), 0.8))
    image = grey[..., None] * np.float32([200, 110, 60]) * field[..., None]
    image += rng.normal(0, 4, image.shape) * field[..., None] + rng.normal(0, 1, image.shape)
    mask = np.where((coverage > 0.5) & field, 255, 0).astype(np.uint8)
    return np.clip(image, 0, 255).astype(np.uint8), mask


def _draw_tube(
    rng: np.random.Generator,
    coverage: np.ndarray,
    depth: np.ndarray,
    start: np.ndarray,
    angle: float,
    thickness: float,
) -> None:
    """Draws a tube that bends, tapers and branches; the thinner, the fainter."""
    place, bend = np.array(start, float), 0.0
    size = np.array(coverage.shape) / FINE
    while thickness > 0.9 and (place > 0).all() and (place < size).all():
        bend = 0.85 * bend + rng.normal(0, 0.045)
        angle += bend
        after = place + 5 * np.array([np.sin(angle), np.cos(angle)])
        ends = [tuple((FINE * point[::-1]).astype(int).tolist()) for point in (place, after)]
        across = max(1, round(FINE * thickness))
        cv2.line(coverage, *ends, 1.0, across)
        cv2.line(depth, *ends, min(1.0, 0.45 + 0.09 * thickness), across)
        place = after
        thickness *= 0.992
        if rng.random() < 0.035:
            side = rng.choice([-1, 1])
            _draw_tube(
                rng,
                coverage,
                depth,
                place,
                angle + side * rng.uniform(0.5, 1.1),
                thickness * rng.uniform(0.45, 0.8),
            )
            thickness *= 0.93


def draw_spots(rng: np.random.Generator) -> Scene:
    """RGB (480, 640, 3) uint8, and a mask of 0 and 1; about 0.5 % of the pixels are 1."""
    height, width = 480, 640
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    texture = _smooth(rng, (height, width), 30) * 40 + _smooth(rng, (height, width), 4) * 30
    image = texture[..., None] + np.float32([120, 105, 90])
    mask = np.zeros((height, width), np.uint8)
    for kind in ["spot"] * rng.poisson(4) + ["blemish"] * 8:
        y, x = rng.uniform(20, height - 20), rng.uniform(20, width - 20)
        radius = rng.uniform(6, 14)
        turn = np.arctan2(rows - y, columns - x)
        wobble = (
            1
            + 0.2 * np.sin(3 * turn + rng.uniform(0, 6))
            + 0.1 * np.sin(5 * turn + rng.uniform(0, 6))
        )
        level = np.clip((radius * wobble - np.hypot(rows - y, columns - x)) / 3, 0, 1)
        # Both are dark; a spot is reddish with a pale centre.
        image -= level[..., None] * (
            np.float32([25, 55, 55]) if kind == "spot" else np.float32([50, 50, 40])
        )
        if kind == "spot":
            centre = np.clip((radius / 3 - np.hypot(rows - y, columns - x)) / 2, 0, 1)
            image += centre[..., None] * 40
            mask[level > 0.5] = 1
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8), mask


def draw_nuclei(rng: np.random.Generator) -> Scene:
    """Grey (H, W, 1) uint8 of one of several sizes, and instance labels, uint16."""
    sizes = [(256, 256), (256, 320), (360, 360), (520, 696), (512, 640)]
    size = sizes[rng.integers(len(sizes))]
    light, mask = _scatter_nuclei(rng, size, rng.uniform(8, 13))
    image = light * rng.uniform(60, 170) + 12 + 14 * _smooth(rng, size, 60)
    noisy = rng.poisson(np.clip(image, 0, None)) + rng.normal(0, 3, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)[..., None], mask


def draw_stained(rng: np.random.Generator) -> Scene:
    """Colours (H, W, 3) uint8 of one of several sizes and stains, and instance labels, uint16."""
    sizes = [(256, 256), (256, 320), (360, 360), (512, 640), (1040, 1388)]
    size = sizes[rng.choice(len(sizes), p=[0.4, 0.2, 0.2, 0.15, 0.05])]
    density, mask = _scatter_nuclei(rng, size, rng.uniform(6, 20))
    density = density[..., None]
    # A colour without nuclei, and what a full density of them takes away or adds, of each stain.
    ground, full = [
        ((8, 8, 8), (150, 150, 150)),
        ((225, 190, 210), (-130, -140, -80)),
        ((190, 185, 180), (-90, -95, -110)),
    ][rng.choice(3, p=[0.5, 0.3, 0.2])]
    tissue = _smooth(rng, size, 25)[..., None] - 0.5
    image = np.float32(ground) * (1 + 0.25 * tissue) + np.float32(full) * density * rng.uniform(
        0.5, 1
    )
    noisy = rng.poisson(np.clip(image, 0, None)) + rng.normal(0, 2, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), mask


def _scatter_nuclei(
    rng: np.random.Generator, size: tuple[int, int], mean: float
) -> tuple[np.ndarray, np.ndarray]:
    """Density of stain, (H, W) float32, and instance labels, (H, W) uint16, of scattered nuclei.

    Args:
        rng: Random numbers.
        size: (H, W).
        mean: Mean radius of the nuclei, in pixels.
    """
    height, width = size
    best = np.zeros((height, width), np.float32)
    mask = np.zeros((height, width), np.uint16)
    light = np.zeros((height, width), np.float32)
    clusters = rng.uniform(0.1, 0.9, (6, 2)) * (height, width)
    for number in range(1, int(height * width / mean**2 / 14) + 1):
        y, x = rng.uniform(0, 1, 2) * (height, width)
        if rng.random() < 0.5:
            y, x = clusters[rng.integers(6)] + rng.normal(0, 4 * mean, 2)
        radius, turn, stretch = (
            mean * rng.uniform(0.7, 1.3),
            rng.uniform(0, np.pi),
            rng.uniform(1, 1.5),
        )
        brightness = rng.uniform(0.25, 1)
        reach = int(2 * radius) + 1
        top, left = max(0, int(y) - reach), max(0, int(x) - reach)
        bottom, right = min(height, int(y) + reach), min(width, int(x) + reach)
        if top >= bottom or left >= right:
            continue
        here = (slice(top, bottom), slice(left, right))
        rows, columns = np.mgrid[here].astype(np.float32)
        along = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
        across = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
        relief = 1 - np.hypot(along / stretch, across * stretch) / radius
        is_new = (relief > 0) & (relief > best[here])
        best[here][is_new], mask[here][is_new], light[here][is_new] = (
            relief[is_new],
            number,
            brightness,
        )
    return cv2.GaussianBlur(light * (0.8 + 0.4 * _smooth(rng, size, 3)), (0, 0), 1.2), mask


def draw_fields(rng: np.random.Generator) -> Scene:
    """Four channels (320, 320, 4) uint16, and a mask of the classes 0, 1 and 2."""
    height = width = 320
    ground = _smooth(rng, (height, width), 40)
    mask = np.zeros((height, width), np.uint8)
    mask[ground > 0.55] = 1
    mask[(ground > 0.55) & (_smooth(rng, (height, width), 25) > 0.5)] = 2
    # 0 soil, 1 water plants, 2 trees: 1 and 2 differ in the near infrared alone.
    colours = np.float32([[900, 1000, 1200, 1600], [500, 800, 450, 1900], [500, 800, 450, 3400]])
    image = cv2.GaussianBlur(colours[mask], (0, 0), 0.8)
    image *= 1 + 0.35 * (_smooth(rng, (height, width), 5)[..., None] - 0.5)
    image += rng.normal(0, 120, image.shape)
    return np.clip(image, 0, 65535).astype(np.uint16), mask


def _smooth(rng: np.random.Generator, size: tuple[int, int], scale: float) -> np.ndarray:
    """Smooth noise, (H, W) float32 between 0 and 1, with details of about `scale` pixels."""
    coarse = rng.random((int(size[0] / scale) + 3, int(size[1] / scale) + 3)).astype(np.float32)
    fine = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    low, high = fine.min(), fine.max()
    return (fine - low) / (high - low)


SETS: dict[str, Callable[[np.random.Generator], Scene]] = {
    "vessels": draw_vessels,
    "spots": draw_spots,
    "nuclei": draw_nuclei,
    "stains": draw_stained,
    "fields": draw_fields,
}


def write_set(name: str, folder: Path, seed: int = 0) -> Path:
    """Writes a set as PART/images/NUMBER.tif and PART/masks/NUMBER.tif; returns the folder."""
    for part, count in COUNTS.items():
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng((seed, part == "test", number))
            image, mask = SETS[name](rng)
            file = f"{part}-{number:03d}.tif"
            photometric = "rgb" if image.shape[2] == 3 else "minisblack"
            tifffile.imwrite(
                folder / part / "images" / file, image.squeeze(), photometric=photometric
            )
            tifffile.imwrite(folder / part / "masks" / file, mask, photometric="minisblack")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    print(write_set(options.set, options.out))


if __name__ == "__main__":
    main()
