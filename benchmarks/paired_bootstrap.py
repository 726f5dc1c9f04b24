"""False positive rate of `compare` for two equal networks, by the number of images.

    python benchmarks/paired_bootstrap.py [--pairs 400]

Two networks of equal skill are simulated: on each image both predict about the same fraction of
each class correctly, with independent noise. A 95 % interval should exclude 0 for 5 % of such pairs
of networks; with few images it does so more often. Prints a Markdown row for each number of images.
"""

import argparse
import platform
from datetime import UTC, datetime

import numpy as np

from unetkit import __version__
from unetkit.metrics import bootstrap
from unetkit.metrics.confusion import iou_score, mean_score

IMAGES = (5, 10, 20, 30, 60, 120)
CONCENTRATION = (3.0, 6.0, 1.2)  # Dirichlet parameters of pet, background and border
PIXELS = 10_000
NOISE = 0.05  # standard deviation of the fraction that is correct, independent per network


def simulate(count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Simulates confusion matrices, (count, 3, 3), of two networks on the same images."""
    truth = rng.dirichlet(CONCENTRATION, count) * PIXELS
    ease = rng.beta(5, 2, (count, 1))
    networks = []
    for _ in range(2):
        correct = np.clip(ease + rng.normal(0, NOISE, (count, 3)), 0.02, 0.98)
        counts = np.zeros((count, 3, 3))
        for index in range(3):
            counts[:, index, index] = truth[:, index] * correct[:, index]
            counts[:, index, (index + 1) % 3] = truth[:, index] * (1 - correct[:, index])
        networks.append(counts)
    return networks


def false_positive_rate(count: int, pairs: int) -> float:
    """Returns the fraction of pairs of equal networks whose interval excludes 0."""
    rng = np.random.default_rng(count)
    excluded = 0
    for _ in range(pairs):
        one, other = (
            mean_score(iou_score(bootstrap.resampled_sums(counts)))
            for counts in simulate(count, rng)
        )
        low, high = bootstrap.interval(one - other)
        excluded += not low <= 0 <= high
    return excluded / pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pairs", type=int, default=400, help="Simulated pairs of networks per row (default: 400)."
    )
    pairs = parser.parse_args().pairs
    print(
        f"unetkit {__version__}, NumPy {np.__version__}, {platform.machine()}, "
        f"{datetime.now(UTC):%Y-%m-%d}, {pairs} pairs per row\n"
    )
    print("| images | interval excludes 0 (nominal 5 %) |\n| --- | --- |")
    for count in IMAGES:
        print(f"| {count} | {false_positive_rate(count, pairs):.1%} |", flush=True)


if __name__ == "__main__":
    main()
