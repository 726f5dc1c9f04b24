"""Scores and prediction speed of `quality_per_minute.py`, the same for every recipe.

A network is a function from an image to probabilities at the network's scale. All else, from the
resizing of these to the metrics, is done here, with the functions that `unetkit evaluate` uses.
"""

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unetkit import Predictor
from unetkit._shared import run_folder
from unetkit.data.dataset import find_dataset
from unetkit.data.pairs import Pair
from unetkit.data.reading import file_sha256, read_pair
from unetkit.data.resampling import resample
from unetkit.data.scale import Scale, resize_mask
from unetkit.data.splits import read_split_names
from unetkit.errors import SizeError
from unetkit.metrics.boundaries import boundary_counts
from unetkit.metrics.confusion import compute_metrics, confusion_matrix, mean_over_images
from unetkit.metrics.summary import boundary_metrics, mean_iou_of
from unetkit.models.onnx_export import export_onnx
from unetkit.models.spec import image_digest
from unetkit.training.config import RunConfig
from unetkit.training.config_file import read_config
from unetkit.training.export import model_spec, trained_network

if TYPE_CHECKING:
    from quality_per_minute import Job

Predict = Callable[[np.ndarray], np.ndarray]  # image, (H, W, C), to probabilities, (h, w, K)

FIGURES = ("pixel_accuracy", "mean_iou")
SMALL = (128, 128)  # resolution of the original notebook's figures
TILED_SIDE = 2048  # of the image that is predicted in tiles
TILE_PIXELS = 1 << 21  # half of that image
EXPORTED_SIDE = 256  # at which a network for any size is exported and checked
REPEATS = 20  # of the prediction of a small image
TILED_REPEATS = 3


def score(job: "Job") -> dict[str, str]:
    """Scores a trained network on the pairs of a part; returns cells of its row by their columns.

    Raises:
        ValueError: The network has seen a test image.
    """
    predict, seen, field = load(job)
    config = read_config(job.folder / run_folder.CONFIG)
    dataset = find_dataset(config.data, config.sources)
    test = [pair for pair in dataset.pairs if dataset.splits.get(pair.name) == "test"]
    common = {image_digest(file_sha256(pair.image), pair.page) for pair in test} & seen
    if common:
        raise ValueError(f"{job.folder} has seen {len(common)} of the {len(test)} test images")
    names = read_split_names(job.folder / run_folder.SPLIT)
    chosen = set(names["validation"])
    pairs = test if job.part == "test" else [p for p in dataset.pairs if p.name in chosen]
    files = [file_sha256(file) for pair in pairs for file in (pair.image, pair.mask)]
    digest = hashlib.sha256(" ".join(files).encode()).hexdigest()[:8]
    scale, training = config.scale, config.training
    size = f"{scale.height}x{scale.width}" + " native" * scale.is_native
    batch = training.batch_size * training.accumulation
    tiled = "-" if job.is_peer else measure_tiles(job, config)
    speeds = f"{measure_whole(predict, config):.2f}; {tiled}"
    return {
        "settings": f"{size}, batch {batch}, {training.precision}",
        "part": f"{job.part}: {len(pairs)} pairs of {dataset.label} ({digest}), "
        f"{len(names['train'])} trained on",
        **score_pairs(predict, pairs, config),
        "receptive field: before + after": field,
        "prediction, MP/s: whole; 2048x2048 in exact tiles": speeds,
    }


def load(job: "Job") -> tuple[Predict, frozenset[str], str]:
    """Returns the prediction of a network, digests of the images seen, and the receptive field."""
    if job.is_peer:
        import quality_peers

        return quality_peers.load(job)
    predictor = Predictor(job.folder, threads=job.cores)
    geometry = predictor.spec.geometry
    field = f"{geometry.reach_before} + {geometry.reach_after}"
    return (
        lambda image: next(predictor.network_scores(image)),
        frozenset(predictor.spec.seen),
        field,
    )


def score_pairs(predict: Predict, pairs: Sequence[Pair], config: RunConfig) -> dict[str, str]:
    """Returns the metrics of a network, in the words of the table."""
    classes, count = config.classes, len(config.classes)
    small, original, boundary = [], [], []
    for pair in pairs:
        image, truth = read_pair(pair, classes, config.pixels)
        top, left, height, width = config.scale.inner_box(truth.shape)
        probabilities = predict(image)[top : top + height, left : left + width]
        labels = resample(probabilities, SMALL).argmax(-1)
        small.append(confusion_matrix(resize_mask(truth, *SMALL), labels, count))
        labels = resample(probabilities, truth.shape).argmax(-1).astype(np.uint8)
        original.append(confusion_matrix(truth, labels, count))
        boundary.append(boundary_counts(truth, labels, count))
    measure = partial(compute_metrics, classes=classes)
    at_small, at_original = measure(np.sum(small, 0)), measure(np.sum(original, 0))
    _, low, high = mean_iou_of([{"confusion": {"original": matrix}} for matrix in original])
    foreground = at_original.get("foreground_iou", {}).values()
    columns = {
        "accuracy, mIoU at 128x128": [at_small[name] for name in FIGURES],
        "accuracy, mIoU at original resolution": [at_original[name] for name in FIGURES],
        "95 % interval of this mIoU": [low, high],
        "mIoU, mean over images": [mean_over_images(original, measure)["mean_iou"]],
        "foreground IoU: border as foreground, as background, ignored": foreground,
        "boundary IoU": [boundary_metrics(np.sum(boundary, 0), classes)["mean"]],
    }
    return {name: ", ".join(f"{value:.4f}" for value in cell) for name, cell in columns.items()}


def measure_whole(predict: Predict, config: RunConfig) -> float:
    """Megapixels per second of an image that has the size of the network's input."""
    image = draw_noise((config.scale.height, config.scale.width), config)
    return image[..., 0].size / 1e6 / median_seconds(lambda: predict(image), REPEATS)


def measure_tiles(job: "Job", config: RunConfig) -> str:
    """Megapixels per second of a larger image in exact tiles, at its own scale."""
    config = replace(config, scale=Scale("native", EXPORTED_SIDE, EXPORTED_SIDE))
    image = draw_noise((TILED_SIDE, TILED_SIDE), config)
    network = trained_network(job.folder, config)
    spec = model_spec(config, network, ())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "native.onnx")
        export_onnx(network, spec, file, [image[:EXPORTED_SIDE, :EXPORTED_SIDE]])
        try:
            predictor = Predictor(file, threads=job.cores, tile_pixels=TILE_PIXELS)
        except SizeError:
            return f"no exact tile of {TILE_PIXELS:,} pixels"
        seconds = median_seconds(lambda: predictor(image), TILED_REPEATS)
        tiles = predictor.tiling(image.shape[:2]).describe()
    return f"{image[..., 0].size / 1e6 / seconds:.2f} ({tiles})"


def draw_noise(size: tuple[int, int], config: RunConfig) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (*size, config.pixels.channels))
    return noise.astype(config.pixels.dtype)


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    run()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
