"""The values by which objects are told apart, chosen on the validation pairs of a finished run.

A network is trained to predict classes and, say, borders. From which probability on a border parts
two objects, and which objects are too small to be any, is found afterwards: the values with the
best F1 of objects, averaged over IoU from 0.5 to 0.95, on the validation pairs become part of the
model.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.classes import Classes
from unetkit.data.pairs import Pair
from unetkit.data.reading import read_pair
from unetkit.metrics.instances import (
    COUNTS,
    count_objects,
    find_overlaps,
    object_metrics,
)
from unetkit.objects.components import label_objects
from unetkit.objects.numbering import numbered_objects
from unetkit.objects.separation import USUAL_PROMINENCE, USUAL_SEED, ObjectRule, separation_maps
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import open_source

SIDE = 512  # pixels; of an image, a square of at most this side is taken from the middle
MOST_PIXELS = 3 << 19  # of all of these
SEEDS = (0.1, 0.3, 0.7, 0.9)
SEED_STEP = 0.1  # from the best of these
PROMINENCES = (0.05, 0.15, 0.2, 0.3, 0.4)
HOLE_SIZES = 2  # the largest of the sizes
FRACTIONS = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4)  # of the median area of a true object
LEAST_GAIN = 0.002  # a better F1 by less than this is chance: the earlier value is kept


@dataclass(frozen=True)
class ValidationImage:
    """A predicted validation image.

    Args:
        foreground: Where an object is predicted, (h, w) bool.
        scores: Probabilities, (h, w, K) or (h, w, K + 1) float32.
        truth: Numbers of the true objects, (h, w) integers; 0 outside objects.
        pixel_area: Number of pixels of the image for each pixel of the network's scale.
    """

    foreground: np.ndarray
    scores: np.ndarray
    truth: np.ndarray
    pixel_area: float


def choose_rule(
    rule: ObjectRule, model: Path, pairs: Sequence[Pair], classes: Classes
) -> tuple[ObjectRule, float]:
    """Completes a rule with the values that find objects best.

    Args:
        rule: Rule of the run; values that are given are kept.
        model: Exported network of the run.
        pairs: Validation pairs.
        classes: Classes of the masks.

    Returns:
        The complete rule, and the F1 of objects at an IoU of 0.5 on the pairs; nan without objects.

    Raises:
        DataError: A pair cannot be read.
    """
    samples = list(_samples(model, pairs, classes))
    areas = np.concatenate(
        [np.unique(s.truth[s.truth > 0], return_counts=True)[1] / s.pixel_area for s in samples]
        or [np.zeros(0)]
    )
    usual = float(np.median(areas)) if len(areas) else 0.0
    sizes = list(dict.fromkeys(round(fraction * usual) for fraction in FRACTIONS))
    background = classes.background or 0
    begin = {
        "seed": USUAL_SEED,
        "prominence": USUAL_PROMINENCE,
        "smallest": sizes[len(sizes) // 2],
        "largest_hole": 0,
    }
    open_names = [name for name in begin if getattr(rule, name) is None]
    best = _with(rule, {name: begin[name] for name in open_names})
    metrics = _metrics(samples, best, background)

    def try_values(name: str, values: Sequence[float]) -> None:
        nonlocal best, metrics
        for value in values if name in open_names else ():
            other = _with(best, {name: value})
            found = _metrics(samples, other, background)
            if found["mean_f1"] > metrics["mean_f1"] + LEAST_GAIN:
                best, metrics = other, found

    try_values("prominence", PROMINENCES)
    try_values("seed", SEEDS)
    if best.seed is not None:
        near = (round(best.seed + change, 2) for change in (-SEED_STEP, SEED_STEP))
        try_values("seed", [value for value in near if 0 < value < 1])
    if "prominence" in open_names:
        try_values("prominence", (0.0,))
    try_values("smallest", sizes)
    try_values("largest_hole", sizes[-HOLE_SIZES:])
    return best, metrics["f1"]


def _with(rule: ObjectRule, values: Mapping[str, Any]) -> ObjectRule:
    """A rule with other values."""
    return replace(rule, **values)


def _samples(model: Path, pairs: Sequence[Pair], classes: Classes) -> Iterator[ValidationImage]:
    predictor = Predictor(model)
    spec, pixels = predictor.spec, 0
    for pair in pairs:
        image, mask = read_pair(pair, classes, spec.pixels)
        height, width = mask.shape
        middle = tuple(
            slice((side - min(side, SIDE)) // 2, (side + min(side, SIDE)) // 2)
            for side in (height, width)
        )
        with open_source(image, spec.pixels) as source:
            scores = predictor.scores(source)[0][middle]
        labels = scores[..., : len(classes)].argmax(-1)
        yield ValidationImage(
            labels != (classes.background or 0),
            scores,
            numbered_objects(pair, mask, classes, classes.background)[middle],
            spec.scale.pixel_area((height, width)),
        )
        pixels += labels.size
        if pixels >= MOST_PIXELS:
            return


def _metrics(
    samples: Sequence[ValidationImage], rule: ObjectRule, background: int
) -> dict[str, float]:
    counts = np.zeros(len(COUNTS))
    for sample in samples:
        maps = separation_maps(sample.foreground, sample.scores, rule, background)
        found = label_objects(maps, rule, sample.pixel_area)
        counts += count_objects(find_overlaps(sample.truth, found))
    return {name: float(value) for name, value in object_metrics(counts).items()}
