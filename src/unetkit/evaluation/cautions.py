"""Cautions for the reader of an evaluation: limits of its metrics that a reviewer would ask about.

Each caution is a fact with its number, and advice. None is an error: the metrics are correct for
the images that they were computed from. How cautions are shown is left to `report`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unetkit._shared.wording import format_count
from unetkit.data.classes import Classes
from unetkit.metrics.bootstrap import flatten
from unetkit.metrics.breakdown import constant_prediction
from unetkit.metrics.confusion import lead_metric, metric_name
from unetkit.metrics.objects import LEAST_OBJECT, SMALLEST_TENTH

FEW_IMAGES = 30  # with fewer, bootstrap percentiles are inaccurate; docs/log.md has a measurement
FEW_VALIDATION_IMAGES = 20
FEW_GROUPS = 5
WIDE_INTERVAL = 0.02  # of mean IoU
FEW_WITH_CLASS = 10  # images in which a class occurs
LARGE_FRACTION = 0.2  # of all pixels in one image
RARE_CLASS = 0.002  # fraction of the pixels
POOR_CALIBRATION = 0.05  # expected calibration error
MIN_GAIN = 1.1  # of mean IoU over that of a constant prediction
OVERFITTING = 1.2  # last validation loss over the lowest
SHIFT = 2.0  # ratio of a class's fractions in two splits
SEEN_SPLITS = {
    "validation": "the weights were chosen on these images, so the metrics are too high",
    "train": "the network was trained on these images, so the metrics are too high",
}


@dataclass(frozen=True)
class Caution:
    """A limit of an evaluation that the reader of its metrics should know.

    Args:
        text: The fact, as a sentence.
        advice: What to do or to conclude, as a sentence.
    """

    text: str
    advice: str


def find_cautions(result: Mapping[str, Any], classes: Classes) -> list[Caution]:
    """Lists all cautions about an evaluation, the most serious kinds first.

    Args:
        result: Evaluation as returned by `read_evaluation`.
        classes: Classes of the model.
    """
    return [
        *_find_split_cautions(result),
        *_find_issue_cautions(result),
        *_find_constant_cautions(result, classes),
        *_find_size_cautions(result, classes),
        *_find_pixel_cautions(result),
        *_find_class_cautions(result, classes),
        *_find_calibration_cautions(result),
        *_find_training_cautions(result["run"]),
    ]


def _find_split_cautions(result: Mapping[str, Any]) -> Iterator[Caution]:
    split, count = result["part"], result["pairs"]
    if split in SEEN_SPLITS:
        yield Caution(
            f"This is the {split} split: {SEEN_SPLITS[split]}.", "Quote metrics of a test split."
        )
    if result["seen"]:
        yield Caution(
            f"{result['seen']:,} of these {format_count(count, 'image')} were used in training.",
            "The metrics are too high: quote those of a test split.",
        )
    if (result["listed"] or 0) > count + len(result["skipped"]):
        yield Caution(
            f"The official list of the data set has {result['listed']:,} {split} images; {count:,} "
            "of them were evaluated.",
            "Describe the images as a subset: these are not metrics on the published set.",
        )
    if result["skipped"]:
        yield Caution(
            format_count(
                result["skipped"],
                "image of this split could not be read and was skipped.",
                "images of this split could not be read and were skipped.",
            ),
            "Repair them, or state this beside the metrics.",
        )


def _find_issue_cautions(result: Mapping[str, Any]) -> Iterator[Caution]:
    """Yields cautions about issues of these data that training recorded."""
    run = result["run"]
    for issue in run["findings"] if run and run["data"] == result["data"] else ():
        if issue["code"] in ("duplicate", "near-duplicate") and issue["level"] == "warning":
            yield Caution(
                f"Found before training: {issue['text']}.",
                "Keep copies within one split, or remove them, and train again.",
            )
        if issue["code"] == "blocks":
            yield Caution(
                f"Training and test used blocks of the same images: {issue['text']}.",
                "The metrics say nothing about other images: evaluate on one that was not cut.",
            )
        if issue["code"] == "folders":
            yield Caution(
                f"Found before training: {issue['text']}.",
                "If images of one folder resemble each other, train again with "
                "unetkit train DATA --group-by PATTERN.",
            )


def _find_constant_cautions(result: Mapping[str, Any], classes: Classes) -> Iterator[Caution]:
    metrics = result["figures"]["original"]
    constant = constant_prediction(metrics["confusion"], classes)
    iou = metrics["summed"]["mean_iou"]
    occurring = sum(any(row) for row in metrics["confusion"])
    if iou is not None and occurring > 1 and iou <= constant["mean_iou"] * MIN_GAIN:
        yield Caution(
            f"Predicting “{constant['class']}” for every pixel has a mean IoU of "
            f"{constant['mean_iou']:.3f}, and the network {iou:.3f}.",
            "The network has hardly learnt anything yet: train longer, and check the masks with "
            "unetkit check.",
        )


def _find_size_cautions(result: Mapping[str, Any], classes: Classes) -> Iterator[Caution]:
    count, bounds = result["pairs"], result["intervals"]
    if count < FEW_IMAGES:
        yield Caution(
            f"There {'is' if count == 1 else 'are'} {format_count(count, 'image')} in this split.",
            "Intervals from so few are themselves uncertain; cross-validation tests on every "
            "image once: unetkit train DATA --folds 5.",
        )
    if bounds:
        path = lead_metric(classes)
        name = metric_name(path)
        low, high = flatten(bounds["original"]["summed"])[path]
        if low is not None and high - low > WIDE_INTERVAL:
            yield Caution(
                f"The interval of {name} is {high - low:.3f} wide, from {low:.3f} to {high:.3f}.",
                f"Another run with a {name} within it may be equally good. unetkit compare "
                "compares two runs image by image and detects smaller differences.",
            )
    groups = Counter(image["group"] for image in result["images"] if image["group"] is not None)
    if 0 < len(groups) < FEW_GROUPS and count > 2 * len(groups):
        yield Caution(
            f"The {format_count(count, 'image')} come from {format_count(groups, 'group')} "
            f"({', '.join(sorted(groups))}).",
            "Images of one group resemble each other: the intervals, which assume independent "
            "images, are too narrow.",
        )


def _find_pixel_cautions(result: Mapping[str, Any]) -> Iterator[Caution]:
    """Yields cautions about what metrics of pixels do not show."""
    pixels = np.array([np.sum(image["confusion"]["original"]) for image in result["images"]])
    fractions = pixels / max(1, pixels.sum())
    largest = int(fractions.argmax())
    if len(pixels) > 1 and fractions[largest] > max(LARGE_FRACTION, 2 / (len(pixels) + 1)):
        yield Caution(
            f"{result['images'][largest]['name']} has {fractions[largest]:.0%} of all pixels.",
            "Metrics over all pixels depend on this image far more than on others: quote the means "
            "over images beside them.",
        )
    if result["classes"].get("kind") == "instances" and not result.get("instances"):
        yield Caution(
            "The masks have a number for each object, and only pixels are scored.",
            "Two objects that are merged into one, or one cut in two, hardly change these metrics: "
            "count the objects as well where their number matters.",
        )
    counts = [image["objects"] for image in result["images"] if "objects" in image]
    objects, small = np.sum(counts, axis=0).tolist() if counts else (0, 0)
    if objects and small >= SMALLEST_TENTH / 100 * objects:
        yield Caution(
            f"{small:,} of {format_count(objects, 'object')} are smaller than {LEAST_OBJECT:g} px "
            "at the "
            f"network's scale ({result['scale']}).",
            "The network hardly sees them: train with a larger size (unetkit train DATA --size "
            "SIDE), or with policy = “native” under [scale] in a configuration file.",
        )


def _find_class_cautions(result: Mapping[str, Any], classes: Classes) -> Iterator[Caution]:
    truth = np.sum([image["confusion"]["original"] for image in result["images"]], axis=2)
    total = max(1, int(truth.sum()))
    splits = result["run"]["parts"] if result["run"] else {}
    train_fractions = splits.get("train", {}).get("classes", {})
    for index, name in enumerate(classes.names):
        fraction, in_train = truth[:, index].sum() / total, train_fractions.get(name)
        images = int(np.count_nonzero(truth[:, index]))
        if not images:
            yield Caution(
                f"No pixel of this split is {name}.",
                "Its IoU is 0 if it is predicted anywhere, otherwise undefined; the mean is over "
                "the other classes.",
            )
        elif images < FEW_WITH_CLASS and images < result["pairs"]:
            yield Caution(
                f"{name} occurs in {format_count(images, 'image')}.",
                "Its IoU depends on few images, with the same weight in the mean as any other.",
            )
        elif fraction < RARE_CLASS:
            yield Caution(
                f"{name} covers {fraction:.2%} of the pixels.",
                "Its IoU depends on few pixels, with the same weight in the mean as any other.",
            )
        elif in_train == 0:
            yield Caution(
                f"{name} covers {fraction:.1%} of the pixels here and does not occur in training.",
                "The network cannot have learnt it: add images with this class.",
            )
        elif in_train and not 1 / SHIFT < fraction / in_train < SHIFT:
            yield Caution(
                f"{name} covers {fraction:.1%} of the pixels here and {in_train:.1%} of the "
                "training pixels.",
                "The splits differ: these images are of another kind than the training images.",
            )


def _find_calibration_cautions(result: Mapping[str, Any]) -> Iterator[Caution]:
    error = result["calibration"]["error"]
    if error is not None and error > POOR_CALIBRATION:
        yield Caution(
            f"The calibration error is {error:.3f}: the mean difference of confidence and "
            "accuracy.",
            "Do not use the probabilities as such where a decision depends on them.",
        )


def _find_training_cautions(run: Mapping[str, Any] | None) -> Iterator[Caution]:
    if run is None:
        yield Caution(
            "The model was evaluated as a file, without its run folder.",
            "This report does not show what it was trained on, and how; evaluate the run folder.",
        )
        return
    count = run["parts"].get("validation", {}).get("images")
    if count is not None and count < FEW_VALIDATION_IMAGES:
        yield Caution(
            f"The weights were chosen on {format_count(count, 'image')}.",
            "With so few the choice is partly random; another split may choose other weights.",
        )
    rows = run["curves"]
    if not rows:
        return
    lowest, last = min(rows, key=lambda row: row["validation_loss"]), rows[-1]
    if last["validation_loss"] > OVERFITTING * lowest["validation_loss"] and last is not lowest:
        yield Caution(
            f"The validation loss was lowest at step {lowest['step']:.0f} "
            f"({lowest['validation_loss']:.3f}) and rose to {last['validation_loss']:.3f}.",
            "The network overfits the training images: more images or more augmentation would help "
            "more than more steps.",
        )
    if len(rows) > 2 and run["best_step"] == rows[-1]["step"]:
        yield Caution(
            "The weights of the last validation pass were the best.",
            "Longer training may improve the metrics.",
        )
