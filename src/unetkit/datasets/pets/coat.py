"""Colours of fur, and shading.

`colour_coat` returns the unlit colour of an animal's surface from the pattern of its coat;
`draw_light` chooses the direction of light; `paint_surface` shades a surface and blends it into an
image.

Markings are functions of the position on the animal, not of the pixel, so that stripes run round a
limb and patches move with the body. Coats and surroundings have their colours from COAT_PALETTE, so
that colour alone does not find the animal.

The surface is computed in `surface`, regions are in `animal`, colours of rooms in `scene`.
"""

import cv2
import numpy as np

from unetkit.datasets.pets.animal import (
    BODY,
    CHEST,
    EAR,
    EYE_RIM,
    GLINT,
    INNER_EAR,
    IRIS,
    LEG,
    MOUTH,
    MUZZLE,
    NOSE,
    PAW,
    PUPIL,
    TAIL,
    TONGUE,
)
from unetkit.datasets.pets.surface import Camera, Surface

COAT_PALETTE = np.array(
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


def smooth_step(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns 0 below `low`, 1 above `high`, and smooth values between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def colour_coat(
    coat: str, surface: Surface, camera: Camera, rng: np.random.Generator
) -> np.ndarray:
    """Returns the unlit colour of the fur.

    Args:
        coat: Pattern of the coat, from `animal.COATS`.
        surface: Surface of the projected animal.
        camera: Camera of the projection, which gives positions on the animal.
        rng: Generator of colours and markings.

    Returns:
        (h, w, 3) float32, 0 to about 300, over the window of `surface`; `synthetic_pets` clips.
    """
    colours = _coat_colours(coat, rng)
    top, left = surface.window[0].start, surface.window[1].start
    rows, columns = np.nonzero(surface.alpha > 0)
    depth, region = surface.depth[rows, columns], surface.region[rows, columns]
    seen = np.column_stack((columns + left, rows + top, depth)).astype(np.float32)
    points = camera.unproject(seen)
    up = surface.normal[rows, columns] @ camera.rotation[:, 1].astype(np.float32)
    along = surface.along[rows, columns] / camera.scale
    noise = _solid_noise(points, 5, rng)
    albedo = np.tile(colours[0], (region.size, 1))
    for colour, opacity in _markings(coat, region, points, up, along, noise, rng):
        albedo += (colours[colour] - albedo) * opacity.astype(np.float32)[:, None]
    albedo *= (1 + 0.1 * noise - 0.14 * (region == EAR))[:, None]
    _paint_details(albedo, region, colours[1], rng)
    canvas = np.zeros((*surface.alpha.shape, 3), np.float32)
    canvas[rows, columns] = albedo
    # Fur blends from one marking to the next within a few hairs.
    return cv2.GaussianBlur(canvas, (0, 0), max(0.005 * camera.scale, 0.4))


def _markings(
    coat: str,
    region: np.ndarray,
    points: np.ndarray,
    up: np.ndarray,
    along: np.ndarray,
    noise: np.ndarray,
    rng: np.random.Generator,
) -> list[tuple[int, np.ndarray]]:
    """Layers over the main colour, in order: 1 for marking or 2 for light, and opacity, (N,)."""
    layers: list[tuple[int, np.ndarray]] = []
    pale = np.isin(region, (CHEST, MUZZLE, PAW))
    if coat in ("tabby", "brindle"):
        wave = np.sin(along * (2 * np.pi / 0.13) + 1.6 * noise)
        layers.append((1, 0.75 * smooth_step(wave, 0.1, 0.7) * np.where(pale, 0.15, 1)))
    elif coat == "spotted":
        layers.append((1, 0.9 * smooth_step(_solid_noise(points, 17, rng), 0.35, 0.6)))
    elif coat == "patched":
        layers.append((1, smooth_step(noise, 0.05, 0.2)))
        layers.append((2, smooth_step(_solid_noise(points, 4, rng), 0.25, 0.4)))
    elif coat == "pointed":
        dark = {LEG: 0.55, PAW: 1, TAIL: 1, MUZZLE: 0.95, EAR: 1}
        layers.append((1, np.array([dark.get(i, 0) for i in range(16)])[region]))
    elif coat == "saddled":
        back = np.isin(region, (BODY, TAIL)) * smooth_step(up + 0.3 * noise, -0.15, 0.15)
        layers.append((1, np.maximum(back, 0.8 * (region == EAR))))
    if coat == "bicolour" or rng.random() < 0.3:
        belly = (region == BODY) * smooth_step(0.25 * noise - up, 0.2, 0.45)
        socks = (region == LEG) * smooth_step(0.06 * noise - points[:, 1], -0.2, -0.14)
        layers.append((2, np.maximum.reduce([pale, belly, socks])))
    layers.append((2, 0.45 * smooth_step(-up, 0.2, 0.9)))
    return layers


def _coat_colours(coat: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Main colour, markings and light parts, each (3,) float32 in 0 to 255."""
    choice = int(rng.integers(len(COAT_PALETTE)))
    main = COAT_PALETTE[choice] * rng.uniform(0.88, 1.08) + rng.normal(0, 6, 3)
    if coat == "pointed":
        main = COAT_PALETTE[int(rng.choice((3, 5, 6, 8)))] * rng.uniform(0.9, 1.0)
    marking = main * rng.uniform(0.38, 0.55)
    if main.mean() < 70:
        marking = main * 0.5 + rng.uniform(0.3, 0.5) * COAT_PALETTE[0]
    if coat in ("patched", "saddled"):
        dark = [
            i for i in range(len(COAT_PALETTE)) if abs(COAT_PALETTE[i].mean() - main.mean()) > 35
        ]
        marking = COAT_PALETTE[int(rng.choice(dark))] * rng.uniform(0.9, 1.05)
    light = np.array((242, 236, 226)) * rng.uniform(0.85, 1.0)
    return tuple(np.clip(colour, 12, 250).astype(np.float32) for colour in (main, marking, light))


def _paint_details(
    albedo: np.ndarray, region: np.ndarray, marking: np.ndarray, rng: np.random.Generator
) -> None:
    """Paints eyes, nose, mouth, tongue and the inside of the ears over the coat."""
    irises = np.array([(196, 160, 60), (110, 150, 70), (92, 56, 30), (96, 150, 186)])
    noses = np.array([(40, 34, 36), (196, 124, 118), (90, 58, 50)])
    colours = np.zeros((16, 3), np.float32)
    colours[NOSE] = noses[rng.integers(3)]
    colours[INNER_EAR] = 0.45 * np.array((214, 150, 140)) + 0.4 * marking
    colours[EYE_RIM] = (28, 24, 26)
    colours[IRIS] = irises[rng.integers(4)]
    colours[PUPIL] = (12, 10, 12)
    colours[GLINT] = (255, 255, 255)
    colours[MOUTH] = (58, 40, 40)
    colours[TONGUE] = (214, 112, 116)
    details = np.flatnonzero(region >= NOSE)
    albedo[details] = colours[region[details]]


def _solid_noise(points: np.ndarray, frequency: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise at points in space, (N, 3) to (N,), about -1 to 1: a sum of random waves."""
    waves = rng.normal(0, frequency, (7, 3)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, (7, 1)).astype(np.float32)
    return np.asarray(np.cos(waves @ points.T + phases).sum(0) / 2.6)


def draw_light(rng: np.random.Generator) -> np.ndarray:
    """Returns a random direction to the light, (3,) float32 of length 1: right, down, to viewer."""
    light = np.array((rng.choice((-1, 1)) * rng.uniform(0.3, 0.8), -0.75, rng.uniform(0.4, 0.8)))
    return np.asarray(light / np.linalg.norm(light), np.float32)


def paint_surface(
    image: np.ndarray,
    surface: Surface,
    albedo: np.ndarray,
    light: np.ndarray,
    scale: float,
) -> None:
    """Shades a surface and blends it into an image, in place.

    Args:
        image: Image, (H, W, 3) float32, 0 to 255.
        surface: Surface whose window is inside the image.
        albedo: Unlit colours in this window, (h, w, 3) float32, 0 to 255.
        light: Direction from `draw_light`.
        scale: Pixels per body length, for the size of shadows.
    """
    lit = smooth_step(surface.normal @ light, -0.55, 1.0)
    # Hair is shorter on the head, and absent on eyes and nose.
    length = np.array((1, 1, 0.7, 1, 0.55, 0.5, 0.7, 1, *(0.1,) * 8), np.float32)[surface.region]
    # Legs and ears on the far side are shaded by the rest.
    box = 2 * int(0.1 * scale) + 1
    near = cv2.blur(surface.depth, (box, box))
    hollow = np.clip((near - surface.depth) / (0.2 * scale), 0, 1)
    rim = smooth_step(surface.normal[:, :, 2], 0.55, 0.1)
    shade = (0.42 + 0.68 * lit) * (1 - 0.4 * hollow) * (1 - 0.35 * rim * (1 - lit))
    shade *= 1 + 0.1 * surface.hair * length
    colour = albedo * shade[:, :, None] + (26 * rim * lit * length)[:, :, None]
    under = image[surface.window]
    under += (colour - under) * surface.alpha[:, :, None]
