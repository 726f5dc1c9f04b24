"""Looks at the validation part while a network trains: figures, curves, the best weights, pictures.

Where weights are averaged, both are scored, and the better ones kept. Whatever is written is
written whole or not at all.
"""

import csv
import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.files import write_atomically
from unetkit.data.classes import Classes
from unetkit.losses import combined_loss
from unetkit.metrics.breakdown import constant_prediction
from unetkit.metrics.confusion import compute_metrics, confusion_matrix
from unetkit.training.batches import Sampler
from unetkit.training.checkpoints import Best, Progress
from unetkit.training.config import RunConfig
from unetkit.training.network import build_network
from unetkit.visualization.animation import animate, frame_steps
from unetkit.visualization.figures import Example, draw_curves, draw_examples

VALIDATION_CASES = 4  # shown in the run's pictures
PICTURES = 12  # looks at which they are drawn, at most


class Recorder:
    """Scores a network on the validation part, and keeps what is worth keeping.

    Args:
        run: Run folder.
        config: Its configuration.
        validation: Samples of the validation part.
        progress: What has been found so far; is brought up to date.
    """

    def __init__(
        self, run: Path, config: RunConfig, validation: Sampler, progress: Progress
    ) -> None:
        self.run, self.config, self.validation, self.progress = run, config, validation, progress
        self.drawing_seconds = 0.0  # of the last look, for pictures
        self.best_weights: list[np.ndarray] = []  # all variables of the network at the best look
        # Of the network that trains, Keras would write what its optimiser remembers, too.
        self._bare: keras.Model | None = None
        training = config.training
        every = training.steps_per_validation
        looks = -(-training.steps // every)
        self.drawn_at = {min(look * every, training.steps) for look in frame_steps(looks, PICTURES)}

    def look(self, model: keras.Model) -> dict[str, str]:
        """Scores the network, keeps it if it is the best so far, and writes curves and pictures.

        Returns:
            Alarms, by code.
        """
        progress, training = self.progress, self.config.training
        counts, row = self._score(model)
        self._keep_if_best(model, row["validation_mean_iou"], averaged=False)
        if training.averaging:
            with averaged_weights(model):
                _, other = self._score(model)
                row["averaged_mean_iou"] = other["validation_mean_iou"]
                self._keep_if_best(model, row["averaged_mean_iou"], averaged=True)
        progress.rows.append(
            {"step": progress.step, "loss": float(np.mean(progress.losses)), **row}
        )
        progress.losses = []
        progress.looks_without_gain += 1
        if progress.best.step == progress.step:
            progress.looks_without_gain = 0
        self._write_curves()
        self.drawing_seconds = 0.0
        if progress.step in self.drawn_at:
            started = time.monotonic()
            self._draw_cases(model, self.picture_of(progress.step))
            self._draw_curves()
            self.drawing_seconds = time.monotonic() - started
        return raise_alarms(
            ValidationResult(
                progress.step,
                training.steps,
                counts,
                progress.best.mean_iou,
                progress.first_loss,
                [row["loss"] for row in progress.rows],
                row["validation_loss"],
            ),
            self.config.classes,
        )

    def _score(self, model: keras.Model) -> tuple[np.ndarray, dict[str, float]]:
        """Confusion matrix and figures over the validation part."""
        counts, loss = self._validate(model)
        found = compute_metrics(counts, self.config.classes)
        return counts, {
            "validation_loss": loss,
            "validation_accuracy": float(found["pixel_accuracy"]),  # type: ignore[arg-type]
            "validation_mean_iou": float(found["mean_iou"]),  # type: ignore[arg-type]
        }

    def _validate(self, model: keras.Model) -> tuple[np.ndarray, float]:
        num_classes = len(self.config.classes)
        training = self.config.training
        loss = combined_loss(training.loss, training.class_weights)
        counts = np.zeros((num_classes, num_classes), np.int64)
        losses, sizes = [], []
        for images, masks in self.validation.fixed_batches(training.batch_size):
            logits = model.predict_on_batch(images)
            counts += confusion_matrix(masks, logits.argmax(-1), num_classes)
            losses.append(float(keras.ops.convert_to_numpy(loss(masks, logits))))
            sizes.append(len(images))
        return counts, float(np.average(losses, weights=sizes))

    def _keep_if_best(self, model: keras.Model, mean_iou: float, *, averaged: bool) -> None:
        if mean_iou > self.progress.best.mean_iou:
            self.progress.best = Best(self.progress.step, mean_iou, averaged)
            self.best_weights = values_of(model)

    def write_best(self) -> None:
        """Writes the best weights so far."""
        if self._bare is None:
            self._bare = build_network(self.config)
        assign(self._bare, self.best_weights)
        write_atomically(self.run / run_folder.WEIGHTS, self._bare.save_weights)

    def _write_curves(self) -> None:
        def write(part: Path) -> None:
            with open(part, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.progress.rows[0].keys())
                writer.writeheader()
                writer.writerows(
                    {k: v if k == "step" else round(v, 6) for k, v in row.items()}
                    for row in self.progress.rows
                )

        write_atomically(self.run / run_folder.CURVES, write)

    def draw(self, model: keras.Model) -> None:
        """Draws the curves, validation pictures with their predictions, and how these grew."""
        self._draw_curves()
        folder = self.run / run_folder.PICTURES
        self._draw_cases(model, folder / "validation.png")
        animate(sorted(folder.glob("step-*.png")), folder / "progress.gif")

    def _draw_curves(self) -> None:
        path = self.run / run_folder.CURVES_PICTURE
        draw_curves(path, self.progress.rows, self.progress.best.step)

    def picture_of(self, step: int) -> Path:
        """Where the validation cases after a step are drawn, if they are."""
        return self.run / run_folder.PICTURES / f"step-{step:08d}.png"

    def _draw_cases(self, model: keras.Model, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        images, masks = next(self.validation.fixed_batches(VALIDATION_CASES))
        predictions = model.predict_on_batch(images).argmax(-1).astype(np.uint8)
        margin = self.config.network.geometry.margin
        normalization = self.config.normalization
        pixels = (images - normalization.add) / normalization.multiply
        shown = pixels[:, margin : margin + masks.shape[1], margin : margin + masks.shape[2]]
        shown = shown[..., :3] if shown.shape[3] >= 3 else shown[..., :1]
        cases = [
            Example(np.clip(np.rint(image), 0, 255).astype(np.uint8), mask, prediction, "")
            for image, mask, prediction in zip(shown, masks, predictions, strict=True)
        ]
        progress = self.progress
        title = f"weights of step {progress.best.step:,}, mean IoU {progress.best.mean_iou:.3f}"
        if path == self.picture_of(progress.step):
            iou = progress.rows[-1]["validation_mean_iou"]
            title = f"step {progress.step:,} of {self.config.training.steps:,}, mean IoU {iou:.3f}"
        draw_examples(path, cases, self.config.classes, across=2, title=title)


def values_of(model: keras.Model) -> list[np.ndarray]:
    """Copies of all variables of a network: weights, statistics, states of random generators."""
    return [copy_of(variable) for variable in model.variables]


def copy_of(variable: keras.Variable) -> np.ndarray:
    """A variable's value, which stays as it is when the variable changes."""
    return np.array(variable.numpy())


@contextmanager
def averaged_weights(model: keras.Model) -> Generator[None, None, None]:
    """The network with the averages of its weights, and afterwards with its own."""
    own = values_of(model)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    assign(model, values_of(model))  # JAX shares the averages' memory, and gives it away
    try:
        yield
    finally:
        assign(model, own)


def assign(model: keras.Model, values: list[np.ndarray]) -> None:
    """Sets all variables of a network."""
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)


DOMINANT = 0.99  # share of all predictions
EARLY = 0.1  # of the run, in which a network may still say the same of every pixel
THIRD = 1 / 3
ROUNDING = 1e-9
CLEARLY = 1.1  # times the first loss, for the noise of single batches
LOOKS_RISING = 2  # looks whose training loss lies above the first before it means something


@dataclass(frozen=True)
class ValidationResult:
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


def raise_alarms(look: ValidationResult, classes: Classes) -> dict[str, str]:
    """Alarms that hold, by code, as sentences with what to try."""
    found = {code: alarm(look, classes) for code, alarm in ALARMS.items()}
    return {code: text for code, text in found.items() if text is not None}


def _one_class(look: ValidationResult, classes: Classes) -> str | None:
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


def _constant(look: ValidationResult, classes: Classes) -> str | None:
    constant = constant_prediction(look.confusion, classes)
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


def _rising(look: ValidationResult, classes: Classes) -> str | None:
    if len(look.losses) < LOOKS_RISING or min(look.losses) <= CLEARLY * look.first_loss:
        return None
    return (
        f"the training loss began at {look.first_loss:.3f} and has been well above it since, "
        f"{look.losses[-1]:.3f} now: the learning rate only ever raises it; try a tenth of "
        "--learning-rate, or --clip-norm 1"
    )


def _not_finite(look: ValidationResult, classes: Classes) -> str | None:
    if math.isfinite(look.validation_loss):
        return None
    return (
        f"the validation loss is {look.validation_loss:g} after {look.step} steps, though the "
        "training loss is finite: the statistics of BatchNorm are off; try a tenth of "
        "--learning-rate, or --clip-norm 1"
    )


ALARMS: dict[str, Callable[[ValidationResult, Classes], str | None]] = {
    "one-class": _one_class,
    "constant": _constant,
    "rising-loss": _rising,
    "validation-loss": _not_finite,
}
