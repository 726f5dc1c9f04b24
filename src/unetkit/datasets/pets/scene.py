"""Surroundings of an animal: a room or a garden, objects on the ground, shadow and foreground.

`paint_surroundings` makes the background image; `paint_shadow` darkens the ground below the animal;
`paint_foreground` adds leaves or a toy in front of it.

Surroundings have the palette and the fur of the coats, and objects on the ground are as round and
as hairy as an animal, so that neither colour nor texture alone finds it. Distant shapes are drawn
in 8 bits and blurred once.

Surfaces are computed in `surface` and shaded in `coat`; `synthetic_pets` makes classes of what
covers the animal.
"""

import math

import cv2
import numpy as np

from unetkit.datasets.pets.animal import BODY, CHEST, LEG, PAW, TAIL
from unetkit.datasets.pets.coat import COAT_PALETTE, paint_surface, smooth_step
from unetkit.datasets.pets.surface import Camera, Cone, Surface, chain, find_surface, sample_tile

_TINTS = np.array([(96, 124, 62), (86, 120, 138), (150, 74, 70), (120, 110, 140)], np.float32)


def paint_surroundings(
    shape: tuple[int, int],
    camera: Camera,
    fur: np.ndarray,
    light: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Paints a room or a garden with objects in it.

    Args:
        shape: (height, width) of the canvas in pixels.
        camera: Camera of the animal, which determines the ground.
        fur: Texture from `fur_tile`, perhaps rolled.
        light: Direction from `draw_light`.
        rng: Generator of all random numbers.

    Returns:
        (H, W, 3) float32, 0 to about 300; `synthetic_pets` clips.
    """
    height, width = shape
    unit = math.sqrt(height * width)
    behind = max(camera.row - rng.uniform(0.12, 0.45) * unit, 0.15 * height)
    horizon = int(min(behind, rng.uniform(0.5, 0.9) * height))
    canvas = np.zeros((height, width, 3), np.uint8)
    indoors = rng.random() < 0.6
    (_room if indoors else _garden)(canvas, horizon, unit, rng)
    far = rng.uniform(0.002, 0.01) * unit
    image = cv2.GaussianBlur(canvas, (0, 0), max(far, 0.5)).astype(np.float32)
    _weave(image, horizon, unit, fur, rng)
    # Objects much nearer than the feet would have to cover them.
    front = min(height + 0.08 * unit, camera.row + 0.05 * unit)
    feet = np.sort(rng.uniform(horizon, max(horizon, front), rng.integers(1, 5)))
    places = [(rng.uniform(0, width), foot) for foot in feet.tolist()]
    sizes = (rng.uniform(0.07, 0.17, len(places)) * unit).tolist()
    shade = np.ones(shape, np.float32)
    for (column, foot), size in zip(places, sizes, strict=True):
        _darken(shade, (column - 0.3 * light[0] * size, foot), (2.0 * size, 0.5 * size), 0.5)
    image *= shade[:, :, None]
    for place, size in zip(places, sizes, strict=True):
        _paint_thing(image, place, size, fur, light, rng)
    return image


def _weave(
    image: np.ndarray, horizon: int, unit: float, fur: np.ndarray, rng: np.random.Generator
) -> None:
    """Adds the texture of hairs to wall and floor, in random directions and strengths."""
    height, width = image.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    for rows, most in ((slice(0, horizon), 0.05), (slice(horizon, height), 0.13)):
        # Wallpaper is upright; a carpet has any direction.
        angle = rng.integers(2) * np.pi / 2 if rows.start == 0 else rng.uniform(0, np.pi)
        tiles = rng.uniform(80, 220) / unit
        c, s = np.float32(np.cos(angle) * tiles), np.float32(np.sin(angle) * tiles)
        hair = sample_tile(fur, c * x + s * y[rows], c * y[rows] - s * x)
        image[rows] *= (1 + np.float32(rng.uniform(0, most)) * hair)[:, :, None]


def _room(canvas: np.ndarray, horizon: int, unit: float, rng: np.random.Generator) -> None:
    """Draws a floor, a wall with wallpaper, and furniture."""
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
    """Draws windows and framed paintings on the wall."""
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
    """Fills the canvas with carpet, or boards or tiles in perspective, and perhaps a rug."""
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
    """Draws a chest of drawers, a shelf or a sofa at the wall."""
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
    for level in range(3):
        upper = int(top + (level / 3) * tall) + edge
        lower = int(top + ((level + 1) / 3) * tall) - edge
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
    """Draws sky, leaves and perhaps a fence above the horizon, and grass below."""
    height, width = canvas.shape[:2]
    canvas[:] = _shift(_tone(rng, tint=0.6), 1.1)
    hedge = _tone(rng, tint=0.7)
    crown = rng.uniform(0.0, 0.9) * horizon
    for brightness in np.linspace(0.55, 1.2, 110):
        # Bright leaves come last and are higher, as if lit from above.
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
    image: np.ndarray,
    place: tuple[float, float],
    size: float,
    fur: np.ndarray,
    light: np.ndarray,
    rng: np.random.Generator,
) -> Surface:
    """Paints a ball, a cushion, a bolster or a blanket on the ground, with fur."""
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
        cones += chain(ends, [radius, radius], BODY)
    height, width = image.shape[:2]
    surface = find_surface(cones, (height, width), fur, 5 * size)
    first, second = (np.array(_tone(rng), np.float32) for _ in range(2))
    albedo = np.broadcast_to(first, (*surface.alpha.shape, 3)).copy()
    if rng.random() < 0.5:
        wave = np.sin(surface.along * (2 * np.pi / (rng.uniform(0.4, 0.9) * size)))
        albedo += (second - albedo) * smooth_step(wave, 0.0, 0.4)[:, :, None]
    paint_surface(image, surface, albedo, light, 5 * size)
    return surface


def paint_shadow(image: np.ndarray, cones: list[Cone], camera: Camera, light: np.ndarray) -> None:
    """Darkens the ground below an animal, most where it touches the ground, in place.

    Args:
        image: Image, (H, W, 3) float32.
        cones: Cones of the animal, in body lengths; those of the head cast no shadow.
        camera: Camera of the animal.
        light: Direction from `draw_light`.
    """
    shade = np.ones(image.shape[:2], np.float32)
    for cone in cones:
        if cone.region not in (BODY, LEG, PAW, TAIL, CHEST):
            continue
        middle = (np.asarray(cone.start) + np.asarray(cone.end)) / 2
        radius = 0.5 * math.dist(cone.start, cone.end) + max(cone[2:4])
        column, row, _ = camera.project(middle * np.array((1, 0, 1)))
        column -= 0.6 * light[0] * middle[1] * camera.scale
        reach = camera.scale * (radius + 0.4 * middle[1])
        _darken(shade, (column, row), (1.2 * reach, 0.45 * reach), 0.3 / (1 + 6 * middle[1]))
    image *= shade[:, :, None]


def _darken(
    shade: np.ndarray, centre: tuple[float, float], axes: tuple[float, float], strength: float
) -> None:
    """Darkens `shade`, (H, W), in a soft ellipse; centre and half axes are (column, row)."""
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


def paint_foreground(
    image: np.ndarray,
    coverage: np.ndarray,
    fur: np.ndarray,
    light: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Paints leaves or a toy in front of the animal in some images, in place.

    Args:
        image: Image, (H, W, 3) float32, 0 to 255.
        coverage: Fraction of each pixel that the animal covers, (H, W) float32; reduced where
            something is in front of it.
        fur: Texture from `fur_tile`, perhaps rolled.
        light: Direction from `draw_light`.
        rng: Generator of all random numbers.
    """
    height, width = coverage.shape
    unit = math.sqrt(height * width)
    foot = int(np.flatnonzero(coverage.max(1) > 0.5).max(initial=0) + 0.04 * unit)
    place = (rng.uniform(0.1, 0.9) * width, min(foot, height + int(0.02 * unit)))
    chance = rng.random()
    if chance < 0.12:
        surface = _paint_thing(image, place, rng.uniform(0.05, 0.08) * unit, fur, light, rng)
        coverage[surface.window] *= 1 - surface.alpha
    elif chance < 0.36:
        _paint_leaves(image, coverage, place, rng.uniform(0.12, 0.26) * unit, rng)


def _paint_leaves(
    image: np.ndarray,
    coverage: np.ndarray,
    place: tuple[float, float],
    tall: float,
    rng: np.random.Generator,
) -> None:
    """Paints a fan of leaves that grows from a point on the ground."""
    colour = _tone(rng, tint=0.7)
    layer, mask = np.zeros(image.shape, np.uint8), np.zeros(coverage.shape, np.uint8)
    for angle in rng.permutation(np.linspace(-0.9, 0.9, int(rng.integers(6, 11)))).tolist():
        half = tall * rng.uniform(0.35, 0.55)
        middle = (int(place[0] + math.sin(angle) * half), int(place[1] - math.cos(angle) * half))
        axes, turn = (int(0.13 * tall) + 1, int(half) + 1), math.degrees(angle)
        leaf = _shift(colour, rng.uniform(0.65, 1.2))
        cv2.ellipse(layer, middle, axes, turn, 0, 360, leaf, -1, cv2.LINE_8)
        cv2.ellipse(mask, middle, axes, turn, 0, 360, 255, -1, cv2.LINE_8)
    opacity = cv2.GaussianBlur(mask, (0, 0), 0.7).astype(np.float32) / 255
    image += (layer - image) * opacity[:, :, None]
    coverage *= 1 - opacity


def _tone(rng: np.random.Generator, tint: float = 0.3) -> tuple[int, int, int]:
    """A random colour of the palette, sometimes tinted, for cv2."""
    colour = COAT_PALETTE[rng.integers(len(COAT_PALETTE))] * rng.uniform(0.7, 1.08)
    if rng.random() < tint:
        weight = rng.uniform(0.25, 0.6)
        colour = (1 - weight) * colour + weight * _TINTS[rng.integers(len(_TINTS))]
    red, green, blue = np.clip(colour + rng.normal(0, 6, 3), 8, 248).astype(int).tolist()
    return red, green, blue


def _shift(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    red, green, blue = (int(min(max(channel * factor, 0), 255)) for channel in colour)
    return red, green, blue
