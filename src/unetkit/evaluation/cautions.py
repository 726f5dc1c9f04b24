"""What a careful reviewer would ask about an evaluation, raised before the reviewer does.

Each caution is a fact with its number, and what follows from it. None is an error: the figures are
right for what they are of.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unetkit.data.classes import Classes
from unetkit.metrics.breakdown import constant_prediction

FEW_IMAGES = 30  # with fewer, percentiles of resampled images are rough
FEW_CHOSEN_ON = 20  # images that the weights were chosen on
FEW_GROUPS = 5
WIDE = 0.02  # of an interval of mean IoU
FEW_WITH_CLASS = 10  # images in which a class occurs
RARE = 0.002  # share of the pixels
POOR_CALIBRATION = 0.05
LITTLE = 1.1  # times the constant answer's mean IoU
RISE = 1.2  # of the validation loss over its least
SHIFT = 2.0  # between a class's shares in two parts
SEEN_PARTS = {
    "validation": "the weights were chosen on these images, so the figures flatter the network",
    "train": "the network was trained on these images, so the figures say how well it remembers",
}


@dataclass(frozen=True)
class Caution:
    """Something that the reader of figures should know.

    Args:
        text: The fact.
        advice: What follows from it.
    """

    text: str
    advice: str


def find_cautions(result: Mapping[str, Any], classes: Classes) -> list[Caution]:
    """All cautions about an evaluation, the gravest kinds first.

    Args:
        result: As `read_evaluation` returns it.
    """
    return [
        *_about_part(result),
        *_about_issues(result),
        *_about_constant_answer(result, classes),
        *_about_number(result),
        *_about_classes(result, classes),
        *_about_calibration(result),
        *_about_training(result["run"]),
    ]


def _about_part(result: Mapping[str, Any]) -> Iterator[Caution]:
    part, count = result["part"], result["pairs"]
    if part in SEEN_PARTS:
        yield Caution(
            f"This is the {part} part: {SEEN_PARTS[part]}.", "Quote figures of a test part."
        )
    if result["seen"]:
        yield Caution(
            f"Training looked at {result['seen']:,} of these {_images(count)}.",
            "The figures flatter the network: quote those of a test part.",
        )
    if (result["listed"] or 0) > count + len(result["skipped"]):
        yield Caution(
            f"The data's own list names {result['listed']:,} {part} images; {count:,} of them are "
            "here.",
            "Call it a subset: it is not a score on the published set.",
        )
    if result["skipped"]:
        yield Caution(
            f"{_images(len(result['skipped']))} of this part could not be read and were left out.",
            "Mend them, or say so beside the figures.",
        )


def _about_issues(result: Mapping[str, Any]) -> Iterator[Caution]:
    """What was found of these data before training; of other data nothing is known."""
    run = result["run"]
    for issue in run["findings"] if run and run["data"] == result["data"] else ():
        if issue["code"] in ("duplicate", "near-duplicate") and issue["level"] == "warning":
            yield Caution(
                f"Found before training: {issue['text']}.",
                "Keep copies within one part, or remove them, and train again.",
            )
        if issue["code"] == "folders":
            yield Caution(
                f"Found before training: {issue['text']}.",
                "If images of a folder resemble each other, train again with --group-by.",
            )


def _about_constant_answer(result: Mapping[str, Any], classes: Classes) -> Iterator[Caution]:
    figures = result["figures"]["original"]
    constant = constant_prediction(figures["confusion"], classes)
    iou = figures["summed"]["mean_iou"]
    occurring = sum(any(row) for row in figures["confusion"])
    if iou is not None and occurring > 1 and iou <= constant["mean_iou"] * LITTLE:
        yield Caution(
            f"The answer “{constant['class']}” for every pixel has a mean IoU of "
            f"{constant['mean_iou']:.3f}, and the network {iou:.3f}.",
            "The network has learnt next to nothing yet: train longer, and look at the masks with "
            "unetkit check.",
        )


def _about_number(result: Mapping[str, Any]) -> Iterator[Caution]:
    count, bounds = result["pairs"], result["intervals"]
    if count < FEW_IMAGES:
        yield Caution(
            f"There {'is' if count == 1 else 'are'} {_images(count)} in this part.",
            "Intervals from so few are themselves uncertain; cross-validation (--folds 5) uses "
            "every image as a test once.",
        )
    if bounds:
        low, high = bounds["original"]["summed"]["mean_iou"]
        if low is not None and high - low > WIDE:
            yield Caution(
                f"The interval of mean IoU is {high - low:.3f} wide, from {low:.3f} to {high:.3f}.",
                "By itself another run's score within it says nothing. unetkit compare takes two "
                "runs image by image, and can tell smaller differences.",
            )
    groups = Counter(image["group"] for image in result["images"] if image["group"] is not None)
    if 0 < len(groups) < FEW_GROUPS and count > 2 * len(groups):
        yield Caution(
            f"The {_images(count)} come from {len(groups)} group{'s' * (len(groups) > 1)} "
            f"({', '.join(sorted(groups))}).",
            "Images of a group resemble each other: the intervals, which take images one by one, "
            "are too narrow.",
        )


def _about_classes(result: Mapping[str, Any], classes: Classes) -> Iterator[Caution]:
    truth = np.sum([image["confusion"]["original"] for image in result["images"]], axis=2)
    total = max(1, int(truth.sum()))
    parts = result["run"]["parts"] if result["run"] else {}
    learnt = parts.get("train", {}).get("classes", {})
    for index, name in enumerate(classes.names):
        share, before = truth[:, index].sum() / total, learnt.get(name)
        images = int(np.count_nonzero(truth[:, index]))
        if not images:
            yield Caution(
                f"No pixel of this part is {name}.",
                "Its IoU is 0 if it is predicted anywhere, and else does not exist; the mean is "
                "over the other classes.",
            )
        elif images < FEW_WITH_CLASS and images < result["pairs"]:
            yield Caution(
                f"{name} occurs in {_images(images)}.",
                "Its IoU hangs on few images and weighs as much in the mean as any other.",
            )
        elif share < RARE:
            yield Caution(
                f"{name} fills {share:.2%} of the pixels.",
                "Its IoU hangs on few pixels and weighs as much in the mean as any other.",
            )
        elif before == 0:
            yield Caution(
                f"{name} fills {share:.1%} of the pixels here and does not occur in training.",
                "The network cannot know it: add images that show it.",
            )
        elif before and not 1 / SHIFT < share / before < SHIFT:
            yield Caution(
                f"{name} fills {share:.1%} of the pixels here and {before:.1%} of those trained "
                "on.",
                "The parts differ: these images are of another kind than the training images.",
            )


def _about_calibration(result: Mapping[str, Any]) -> Iterator[Caution]:
    error = result["calibration"]["error"]
    if error is not None and error > POOR_CALIBRATION:
        yield Caution(
            f"The calibration error is {error:.3f}: confidence and accuracy differ by that much.",
            "Do not take the probabilities at their word where a decision hangs on them.",
        )


def _about_training(run: Mapping[str, Any] | None) -> Iterator[Caution]:
    if run is None:
        yield Caution(
            "The model was evaluated as a file alone, without its run folder.",
            "What it was trained on, and how, is not in this report; evaluate the run folder.",
        )
        return
    chosen_on = run["parts"].get("validation", {}).get("images")
    if chosen_on is not None and chosen_on < FEW_CHOSEN_ON:
        yield Caution(
            f"The weights were chosen on {_images(chosen_on)}.",
            "With so few the choice is partly luck; another split may choose other weights.",
        )
    rows = run["curves"]
    if not rows:
        return
    least = min(rows, key=lambda row: row["validation_loss"])
    if rows[-1]["validation_loss"] > RISE * least["validation_loss"] and rows[-1] is not least:
        yield Caution(
            f"The validation loss was least at step {least['step']:.0f} "
            f"({least['validation_loss']:.3f}) and rose to {rows[-1]['validation_loss']:.3f}.",
            "The network began to learn its images by heart: more images or more augmentation "
            "would help more than more steps.",
        )
    if len(rows) > 2 and run["best_step"] == rows[-1]["step"]:
        yield Caution(
            "The weights of the last look were the best.", "Longer training may do better still."
        )


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
