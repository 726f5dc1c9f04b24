"""What goes wrong in silence while a network trains, and what to try: warnings in plain words.

Each alarm is a function of what a look at the validation part found. None stops a run; what must
stop one (a loss that is no number) is the trainer's matter.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unetkit.breakdown import constant_answer
from unetkit.classes import Classes

DOMINANT = 0.99  # share of all predictions
EARLY = 0.1  # of the run, in which a network may still say the same of every pixel
THIRD = 1 / 3
ROUNDING = 1e-9
CLEARLY = 1.1  # times the first loss, for the noise of single batches
LOOKS_RISING = 2  # looks whose training loss lies above the first before it means something


@dataclass(frozen=True)
class Look:
    """What is known after a look at the validation part.

    Args:
        step: Updates so far.
        steps: Updates in all.
        confusion: (K, K) pixel counts of the validation part, rows truth, columns prediction.
        best_mean_iou: The best so far on the validation part.
        first_loss: Training loss of the first update, before it had an effect.
        losses: Mean training loss between looks, one a look.
        validation_loss: Of this look.
    """

    step: int
    steps: int
    confusion: np.ndarray
    best_mean_iou: float
    first_loss: float
    losses: Sequence[float]
    validation_loss: float


def raise_alarms(look: Look, classes: Classes) -> dict[str, str]:
    """Alarms that hold, by code, as sentences with what to try."""
    found = {code: alarm(look, classes) for code, alarm in ALARMS.items()}
    return {code: text for code, text in found.items() if text is not None}


def _one_class(look: Look, classes: Classes) -> str | None:
    total = max(1, look.confusion.sum())
    predicted, true = look.confusion.sum(0) / total, look.confusion.sum(1) / total
    index = int(predicted.argmax())
    if look.step < EARLY * look.steps or predicted[index] <= DOMINANT or true[index] > DOMINANT:
        return None
    return (
        f"of the validation part {predicted[index]:.1%} of the pixels are called "
        f"{classes.names[index]}, and {true[index]:.1%} are: the network gives one answer; try "
        "--loss cross_entropy --loss dice, --class-weights auto, a longer run, or another "
        "--learning-rate"
    )


def _constant(look: Look, classes: Classes) -> str | None:
    constant = constant_answer(look.confusion, classes)
    occurring = np.count_nonzero(look.confusion.sum(1))
    gain = look.best_mean_iou - constant["mean_iou"]
    if look.step < THIRD * look.steps or gain > ROUNDING or occurring < 2:
        return None
    return (
        f"after {look.step} of {look.steps} steps the best validation mean IoU is "
        f"{look.best_mean_iou:.3f}, and the constant answer “{constant['class']}” has "
        f"{constant['mean_iou']:.3f}: nothing has been learnt yet; look at the masks with unetkit "
        "check --pictures, or try another --learning-rate"
    )


def _rising(look: Look, classes: Classes) -> str | None:
    if len(look.losses) < LOOKS_RISING or min(look.losses) <= CLEARLY * look.first_loss:
        return None
    return (
        f"the training loss began at {look.first_loss:.3f} and has been well above it since, "
        f"{look.losses[-1]:.3f} now: the learning rate only ever raises it; try a tenth of "
        "--learning-rate, or --clip-norm 1"
    )


def _not_finite(look: Look, classes: Classes) -> str | None:
    if math.isfinite(look.validation_loss):
        return None
    return (
        f"the validation loss is {look.validation_loss:g} after {look.step} steps, though the "
        "training loss is finite: the statistics of BatchNorm are off; try a tenth of "
        "--learning-rate, or --clip-norm 1"
    )


ALARMS: dict[str, Callable[[Look, Classes], str | None]] = {
    "one-class": _one_class,
    "constant": _constant,
    "rising-loss": _rising,
    "validation-loss": _not_finite,
}
