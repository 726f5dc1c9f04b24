"""Cut-outs beside a truth: opacity and colours of synthetic pets, before and after edges are used.

    python benchmarks/cutouts.py

Eight pets of 450x600 are drawn without noise, so that the opacity of each pixel, and its colour on
any background, are known. In place of a network's answer there is that opacity at a third of the
size, blurred, and displaced by about one pixel of that size. Prints Markdown rows: mean squared
error of opacity and of its gradients (Gaussian derivatives of 1.4 pixels), and mean absolute
error of colours of composites in levels of 8 bits, in a band of 10 pixels around edges; as drawn,
and with noise (standard deviation 4) after JPEG of quality 85.
"""

from unittest import mock

import cv2
import numpy as np

from unetkit.datasets import synthetic_pets
from unetkit.io.windows import ArrayWindows
from unetkit.results.matting import CutOut

HEIGHT, WIDTH, STEP = 450, 600, 3
BACKGROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "green": (0, 255, 0)}


def draw(index):
    """Image, (H, W, 3) uint8; opacity, (H, W); and the pet on black, (H, W, 3) float32."""
    found = {}

    def expose(image, size, rng):
        return np.clip(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), 0, 255)

    def trimap(coverage, size):
        found["alpha"] = np.clip(
            cv2.resize(coverage, size[::-1], interpolation=cv2.INTER_AREA), 0, 1
        )
        return np.zeros(size, np.uint8)

    paint = synthetic_pets.paint_surroundings
    with (
        mock.patch.object(synthetic_pets, "_expose", expose),
        mock.patch.object(synthetic_pets, "_trimap", trimap),
        mock.patch.object(synthetic_pets, "paint_foreground", return_value=None),
    ):
        image, _ = synthetic_pets.synthetic_pet(index, height=HEIGHT, width=WIDTH)
        with mock.patch.object(synthetic_pets, "paint_surroundings", lambda *a: 0 * paint(*a)):
            on_black, _ = synthetic_pets.synthetic_pet(index, height=HEIGHT, width=WIDTH)
    return np.rint(image).astype(np.uint8), found["alpha"], on_black


def coarse(alpha, index):
    """What a network of a third of the size may say: blurred and displaced, (H, W) float32."""
    size = WIDTH // STEP, HEIGHT // STEP
    small = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    moves = np.random.default_rng(index).normal(0, 1.2, (8, 10, 2)).astype(np.float32)
    moves = cv2.resize(moves, size, interpolation=cv2.INTER_CUBIC)
    rows, columns = np.indices(size[::-1]).astype(np.float32)
    border = {"borderMode": cv2.BORDER_REPLICATE}
    where = columns + moves[..., 0], rows + moves[..., 1]
    small = cv2.GaussianBlur(cv2.remap(small, *where, cv2.INTER_LINEAR, **border), (0, 0), 1.6)
    return cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)


def with_noise(image, rng):
    noisy = np.clip(image + 4 * rng.normal(0, 1, image.shape), 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], 1)


def gradients(alpha):
    smooth = cv2.GaussianBlur(alpha, (0, 0), 1.4)
    return np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))


def errors(cut_out, alpha, on_black):
    """Errors of an RGBA image in the band around edges that are known."""
    is_edge = (alpha > 0.01) & (alpha < 0.99)
    band = cv2.dilate(is_edge.astype(np.uint8), np.ones((21, 21))) > 0
    found = cut_out[..., 3].astype(np.float32) / 255
    row = [
        np.square(found - alpha)[band].mean(),
        np.square(gradients(found) - gradients(alpha))[band].mean(),
    ]
    for background in BACKGROUNDS.values():
        expected = on_black + (1 - alpha[..., None]) * background
        shown = cut_out[..., :3] * found[..., None] + (1 - found[..., None]) * background
        row.append(np.abs(shown - expected)[band].mean())
    return row


def main():
    pets = [draw(index) for index in range(1, 9)]
    rng = np.random.default_rng(0)
    print(f"| image | cut-out | opacity | gradients | {' | '.join(BACKGROUNDS)} |")
    print("| --- " * (4 + len(BACKGROUNDS)) + "|")
    for name, change in (
        ("as drawn", lambda image: image),
        ("noise", lambda i: with_noise(i, rng)),
    ):
        before, after = [], []
        for index, (image, alpha, on_black) in enumerate(pets, start=1):
            photo = change(image)
            t = np.clip((coarse(alpha, index) - 0.3) / 0.3, 0, 1)
            opacity = np.rint(255 * t * t * (3 - 2 * t)).astype(np.uint8)[..., None]
            cut_out = CutOut(ArrayWindows(photo), ArrayWindows(opacity), STEP)
            before.append(errors(np.dstack([photo, opacity]), alpha, on_black))
            refined = cut_out.read(slice(0, HEIGHT), slice(0, WIDTH))
            after.append(errors(refined, alpha, on_black))
        for what, rows in (("probabilities alone", before), ("along edges", after)):
            means = np.mean(rows, axis=0)
            shown = [f"{value:.4f}" for value in means[:2]] + [
                f"{value:.1f}" for value in means[2:]
            ]
            print(f"| {name} | {what} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
