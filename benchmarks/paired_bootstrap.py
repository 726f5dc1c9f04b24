"""How often `compare` would call two equal networks different, by the number of images.

    python benchmarks/paired_bootstrap.py [--pairs 400]

Two networks of the same skill are simulated: on each image both get about the same share of each
class right, apart by noise of their own. An interval of 95 % should leave out 0 in 5 % of such
pairs; it does so more often where images are few. Prints a Markdown row for each number.
"""

import argparse
import platform
from datetime import UTC, datetime

import numpy as np

from unetkit import __version__
from unetkit.metrics import bootstrap
from unetkit.metrics.confusion import iou_score, mean_score

IMAGES = (5, 10, 20, 30, 60, 120)
SHARES = (3.0, 6.0, 1.2)  # of pet, background and border in an image, as a Dirichlet's weights
PIXELS = 10_000
NOISE = 0.05  # of a network's own, in the share that is right


def simulate(count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Confusion matrices, (count, 3, 3), of two networks on the same images."""
    truth = rng.dirichlet(SHARES, count) * PIXELS
    easy = rng.beta(5, 2, (count, 1))
    networks = []
    for _ in range(2):
        right = np.clip(easy + rng.normal(0, NOISE, (count, 3)), 0.02, 0.98)
        counts = np.zeros((count, 3, 3))
        for index in range(3):
            counts[:, index, index] = truth[:, index] * right[:, index]
            counts[:, index, (index + 1) % 3] = truth[:, index] * (1 - right[:, index])
        networks.append(counts)
    return networks


def share_called_different(count: int, pairs: int) -> float:
    """Of so many pairs of equal networks, the share whose interval leaves out 0."""
    rng = np.random.default_rng(count)
    called = 0
    for _ in range(pairs):
        one, other = (
            mean_score(iou_score(bootstrap.resampled_sums(counts)))
            for counts in simulate(count, rng)
        )
        low, high = bootstrap.interval(one - other)
        called += not low <= 0 <= high
    return called / pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=400, help="pairs of networks a row")
    pairs = parser.parse_args().pairs
    print(
        f"unetkit {__version__}, NumPy {np.__version__}, {platform.machine()}, "
        f"{datetime.now(UTC):%Y-%m-%d}, {pairs} pairs a row\n"
    )
    print("| images | called different, where 5 % would be right |\n| --- | --- |")
    for count in IMAGES:
        print(f"| {count} | {share_called_different(count, pairs):.1%} |", flush=True)


if __name__ == "__main__":
    main()
