"""Time to draw synthetic pets, and accuracy of classifiers that use only colour and position.

    python benchmarks/synthetic_pets.py

Fits scikit-learn's LogisticRegression on pixels of the trainval split, with the features red,
green, blue, row and column (`linear`) and also their squares and products (`quadratic`), and prints
one row of a Markdown table for each: foreground IoU over all pixels of the test split with the
border counted as foreground, as background, and ignored. `constant` predicts foreground everywhere:
its IoU is the fraction of the foreground.
"""

import argparse
import platform
import resource
import statistics
import time
from datetime import date

import cv2
import numpy as np
import sklearn
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from unetkit.datasets.synthetic_pets import BACKGROUND, BORDER, PET, synthetic_pet

RUNS = 5
MODELS = {
    "constant": lambda: DummyClassifier(strategy="constant", constant=True),
    "linear": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
    "quadratic": lambda: make_pipeline(
        StandardScaler(),
        PolynomialFeatures(2, include_bias=False),
        LogisticRegression(max_iter=500),
    ),
}
BORDER_POLICIES = ("foreground", "background", "ignored")


def draw(
    count: int, height: int, width: int, seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[float]]:
    """Draws images; returns them and the milliseconds per image in each of RUNS equal groups."""
    synthetic_pet(0, height=height, width=width, seed=seed)  # fills the cache of the fur textures
    pets, milliseconds = [], []
    for indices in np.array_split(np.arange(count), RUNS):
        start = time.perf_counter()
        pets += [synthetic_pet(int(i), height=height, width=width, seed=seed) for i in indices]
        milliseconds.append(1e3 * (time.perf_counter() - start) / len(indices))
    return pets, milliseconds


def sample_pixels(
    pets: list[tuple[np.ndarray, np.ndarray]], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns features, (N, 5), and trimap values, (N,), of `count` random pixels per image."""
    features, values = [], []
    for image, trimap in pets:
        chosen = rng.choice(trimap.size, min(count, trimap.size), replace=False)
        rows, columns = np.unravel_index(chosen, trimap.shape)
        features.append(np.column_stack((image[rows, columns].astype(float), rows, columns)))
        values.append(trimap[rows, columns])
    return np.concatenate(features), np.concatenate(values)


def foreground_iou(
    model: str,
    policy: str,
    trainval: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> float:
    """Returns the IoU on the test pixels of a model fitted on the trainval pixels."""
    splits = []
    for features, values in (trainval, test):
        kept = values != BORDER if policy == "ignored" else np.ones(len(values), bool)
        foreground = (values == PET) | ((values == BORDER) & (policy == "foreground"))
        splits.append((features[kept], foreground[kept]))
    (train_features, train_truth), (test_features, truth) = splits
    predicted = MODELS[model]().fit(train_features, train_truth).predict(test_features)
    return float((predicted & truth).sum() / (predicted | truth).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--count", type=int, default=500, help="Number of images; a fifth is the test split."
    )
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pixels", type=int, default=400, help="Pixels from each trainval image.")
    options = parser.parse_args()
    cv2.setNumThreads(1)

    pets, milliseconds = draw(options.count, options.height, options.width, options.seed)
    test_count = max(round(options.count * 0.2), 1)
    rng = np.random.default_rng(0)
    trainval = sample_pixels(pets[:-test_count], options.pixels, rng)
    test = sample_pixels(pets[-test_count:], options.height * options.width, rng)
    areas = ", ".join(
        f"{name} {100 * np.mean([(trimap == value).mean() for _, trimap in pets]):.1f} %"
        for name, value in (("pet", PET), ("background", BACKGROUND), ("border", BORDER))
    )
    low, middle, high = min(milliseconds), statistics.median(milliseconds), max(milliseconds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    print("| features | IoU, border foreground | IoU, border background | IoU, border ignored |")
    print("| --- | --- | --- | --- |")
    for model in MODELS:
        scores = [foreground_iou(model, policy, trainval, test) for policy in BORDER_POLICIES]
        print(f"| {model} | " + " | ".join(f"{score:.3f}" for score in scores) + " |")
    print()
    print("| images | ms per image, median (range of 5 runs) | areas | peak memory | on |")
    print("| --- | --- | --- | --- | --- |")
    print(
        f"| {options.count} of {options.height} x {options.width}, seed {options.seed} | "
        f"{middle:.1f} ({low:.1f} to {high:.1f}) | {areas} | {memory:.0f} MiB | "
        f"{platform.machine()}, 1 thread, Python {platform.python_version()}, NumPy "
        f"{np.__version__}, OpenCV {cv2.__version__}, scikit-learn {sklearn.__version__}, "
        f"{date.today()} |"
    )


if __name__ == "__main__":
    main()
