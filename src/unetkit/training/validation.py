"""Validation during training: metrics, curves, the best weights, figures, and warnings.

If weights are averaged, both the current and the averaged ones are validated, and the better ones
are kept. Files are written completely or not at all.
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
from unetkit._shared.wording import format_count
from unetkit.data.classes import Classes
from unetkit.losses import combined_loss
from unetkit.metrics.bootstrap import flatten
from unetkit.metrics.breakdown import constant_prediction
from unetkit.metrics.confusion import compute_metrics, confusion_matrix, lead_metric
from unetkit.training.batches import Sampler
from unetkit.training.checkpoints import Best, Progress
from unetkit.training.config import RunConfig
from unetkit.training.network import build_network
from unetkit.training.weights import save_weights
from unetkit.visualization.animation import animate, frame_steps
from unetkit.visualization.figures import Example, draw_curves, draw_examples, draw_weights

VALIDATION_EXAMPLES = 4  # in figures of predictions
WEIGHT_EXAMPLES = 4  # in the figure of weights between objects
MOST_FIGURES = 12  # validation passes that draw figures, at most


class Recorder:
    """Validates a network during training, and writes its results to the run folder.

    Args:
        run: Run folder.
        config: Configuration of the run.
        validation: Sampler of the validation pairs.
        progress: Progress of the run, which is updated.
    """

    def __init__(
        self, run: Path, config: RunConfig, validation: Sampler, progress: Progress
    ) -> None:
        self.run, self.config, self.validation, self.progress = run, config, validation, progress
        self.drawing_seconds = 0.0  # of the last pass, for figures
        self._rows_drawn = 0  # in curves.png
        self.best_weights: list[np.ndarray] = []  # all variables of the best network
        # From the network in training, Keras would also save the state of the optimizer.
        self._bare: keras.Model | None = None
        self.drawn_at: set[int] = set()
        self.plan_figures()

    def plan_figures(self) -> None:
        """Chooses the validation passes that draw figures, once the length of the run is known."""
        training = self.config.training
        if training.steps:
            every = training.steps_per_validation
            passes = -(-training.steps // every)
            self.drawn_at = {
                min(number * every, training.steps) for number in frame_steps(passes, MOST_FIGURES)
            }

    def trace(self, model: keras.Model) -> None:
        """Predicts one batch, so that later passes are not slower for the tracing."""
        images, _ = next(self.validation.fixed_batches(self.config.training.batch_size))
        model.predict_on_batch(images)

    def validate(self, model: keras.Model) -> dict[str, str]:
        """Validates the network, keeps its weights if they are the best, and writes curves.

        Returns:
            Warnings by code.
        """
        progress, training = self.progress, self.config.training
        counts, row, score = self._score(model)
        self._keep_if_best(model, score, row["validation_mean_iou"], averaged=False)
        if training.averaging:
            with averaged_weights(model):
                _, other, score = self._score(model)
                row["averaged_mean_iou"] = other["validation_mean_iou"]
                self._keep_if_best(model, score, row["averaged_mean_iou"], averaged=True)
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
            self._draw_examples(model, self.figure_path(progress.step))
            self._draw_curves()
            self.drawing_seconds = time.monotonic() - started
        return find_warnings(
            ValidationResult(
                progress.step,
                training.steps or 10 * progress.step,  # it is fixed after a tenth
                counts,
                progress.best.mean_iou,
                progress.first_loss,
                [row["loss"] for row in progress.rows],
                row["validation_loss"],
            ),
            self.config.classes,
        )

    def _score(self, model: keras.Model) -> tuple[np.ndarray, dict[str, float], float]:
        """Confusion matrix, metrics on the validation split, and the one to compare passes by."""
        counts, loss = self._predict_all(model)
        found = compute_metrics(counts, self.config.classes)
        lead = float(flatten(found)[lead_metric(self.config.classes)])
        mean_iou = float(found["mean_iou"])  # type: ignore[arg-type]
        row = {
            "validation_loss": loss,
            "validation_accuracy": float(found["pixel_accuracy"]),  # type: ignore[arg-type]
            "validation_mean_iou": mean_iou,
        }
        # Without any foreground in truth and prediction, its IoU is not defined.
        return counts, row, lead if math.isfinite(lead) else mean_iou

    def _predict_all(self, model: keras.Model) -> tuple[np.ndarray, float]:
        num_classes = len(self.config.classes)
        training = self.config.training
        loss = combined_loss(
            training.loss,
            training.class_weights,
            has_separation=self.config.objects.channels > 0,
        )
        counts = np.zeros((num_classes, num_classes), np.int64)
        losses, sizes = [], []
        for images, masks in self.validation.fixed_batches(training.batch_size):
            logits = model.predict_on_batch(images)
            counts += confusion_matrix(masks, logits[..., :num_classes].argmax(-1), num_classes)
            losses.append(float(keras.ops.convert_to_numpy(loss(masks, logits))))
            sizes.append(len(images))
        return counts, float(np.average(losses, weights=sizes))

    def _keep_if_best(
        self, model: keras.Model, score: float, mean_iou: float, *, averaged: bool
    ) -> None:
        is_first = self.progress.best.step != self.progress.step  # of this pass
        is_kept = is_first and self.config.training.keep == "last"
        if is_kept or score > self.progress.best.score:
            self.progress.best = Best(self.progress.step, mean_iou, averaged, score)
            self.best_weights = values_of(model)

    def write_best(self) -> None:
        """Writes the best weights so far to the run folder."""
        if self._bare is None:
            self._bare = build_network(self.config)
        assign(self._bare, self.best_weights)
        bare = self._bare
        write_atomically(self.run / run_folder.WEIGHTS, lambda part: save_weights(bare, part))

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
        """Draws the curves, predictions of validation images, and their animation."""
        if self._rows_drawn != len(self.progress.rows):
            self._draw_curves()
        folder = self.run / run_folder.EXAMPLES
        self._draw_examples(model, folder / "validation.png")
        animate(sorted(folder.glob("step-*.png")), folder / "progress.gif")

    def _draw_curves(self) -> None:
        path = self.run / run_folder.CURVES_IMAGE
        draw_curves(path, self.progress.rows, self.progress.best.step)
        self._rows_drawn = len(self.progress.rows)

    def figure_path(self, step: int) -> Path:
        """Path of the figure of predictions after a step."""
        return self.run / run_folder.EXAMPLES / f"step-{step:08d}.png"

    def _draw_examples(self, model: keras.Model, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        images, masks = next(self.validation.fixed_batches(VALIDATION_EXAMPLES))
        logits = model.predict_on_batch(images)[..., : len(self.config.classes)]
        predictions = logits.argmax(-1).astype(np.uint8)
        shown = images_for_people(images, masks.shape[1:], self.config)
        examples = [
            Example(image, mask, prediction, "")
            for image, mask, prediction in zip(shown, masks, predictions, strict=True)
        ]
        progress = self.progress
        title = f"weights of step {progress.best.step:,}, mean IoU {progress.best.mean_iou:.3f}"
        if path == self.figure_path(progress.step):
            iou = progress.rows[-1]["validation_mean_iou"]
            steps = self.config.training.steps
            of_all = f" of {steps:,}" if steps else ""
            title = f"step {progress.step:,}{of_all}, mean IoU {iou:.3f}"
        draw_examples(path, examples, self.config.classes, across=2, title=title)


def images_for_people(images: np.ndarray, size: tuple[int, ...], config: RunConfig) -> np.ndarray:
    """The images of a batch without normalisation, and without the margin of the network.

    Args:
        images: Normalised images, (B, H, W, C) float32.
        size: (height, width) of the network's output.
        config: Configuration of the run.

    Returns:
        (B, height, width, 3) uint8, or (B, height, width, 1) of images with fewer channels.
    """
    margin = config.network.geometry.margin
    pixels = (images - config.normalization.add) / config.normalization.multiply
    inner = pixels[:, margin : margin + size[0], margin : margin + size[1]]
    shown = inner[..., :3] if inner.shape[3] >= 3 else inner[..., :1]
    return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


def draw_border_weights(run: Path, sampler: Sampler, config: RunConfig) -> None:
    """Draws the weights between objects of some training samples into the run folder."""
    path = run / run_folder.EXAMPLES / "border-weights.png"
    path.parent.mkdir(exist_ok=True)
    images, targets = sampler.batch(0, WEIGHT_EXAMPLES)
    shown = images_for_people(images, targets.shape[1:3], config)
    draw_weights(path, shown, targets[..., 1], config.border_weight.w0)


def values_of(model: keras.Model) -> list[np.ndarray]:
    """Copies of all variables of a network: weights, statistics, random generators."""
    return [copy_of(variable) for variable in model.variables]


def copy_of(variable: keras.Variable) -> np.ndarray:
    """A copy of a variable's value."""
    return np.array(variable.numpy())


@contextmanager
def averaged_weights(model: keras.Model) -> Generator[None, None, None]:
    """Context in which a network has its averaged weights instead of the current ones."""
    own = values_of(model)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    assign(model, values_of(model))  # JAX shares the memory of the averages, and frees it
    try:
        yield
    finally:
        assign(model, own)


def assign(model: keras.Model, values: list[np.ndarray]) -> None:
    """Sets all variables of a network."""
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)


DOMINANT = 0.99  # fraction of all predictions
EARLY = 0.1  # fraction of the run in which predicting a single class is normal
THIRD = 1 / 3
ROUNDING = 1e-9
CLEARLY = 1.1  # times the first loss; less may be noise of single batches
PASSES_RISING = 2  # validation passes with a loss above the first, before a warning


@dataclass(frozen=True)
class ValidationResult:
    """Results of a validation pass.

    Args:
        step: Number of updates so far.
        steps: Number of updates of the whole run.
        confusion: Confusion matrix of the validation split, (K, K) in pixels, rows truth, columns
            prediction.
        best_mean_iou: Best mean IoU on the validation split so far.
        first_loss: Training loss of the first update, computed before the update.
        losses: Mean training loss before each validation pass so far.
        validation_loss: Loss on the validation split.
    """

    step: int
    steps: int
    confusion: np.ndarray
    best_mean_iou: float
    first_loss: float
    losses: Sequence[float]
    validation_loss: float


def find_warnings(result: ValidationResult, classes: Classes) -> dict[str, str]:
    """Warnings about a validation pass by code, with what to try."""
    found = {code: check(result, classes) for code, check in WARNINGS.items()}
    return {code: text for code, text in found.items() if text is not None}


def _one_class(result: ValidationResult, classes: Classes) -> str | None:
    total = max(1, result.confusion.sum())
    predicted, true = result.confusion.sum(0) / total, result.confusion.sum(1) / total
    index = int(predicted.argmax())
    if result.step < EARLY * result.steps or predicted[index] <= DOMINANT or true[index] > DOMINANT:
        return None
    return (
        f"{predicted[index]:.1%} of the validation pixels are predicted as {classes.names[index]}, "
        f"but {true[index]:.1%} are: the network predicts a single class; try --loss cross_entropy "
        "--loss dice, --class-weights auto, a longer run, or another --learning-rate"
    )


def _constant(result: ValidationResult, classes: Classes) -> str | None:
    constant = constant_prediction(result.confusion, classes)
    occurring = np.count_nonzero(result.confusion.sum(1))
    gain = result.best_mean_iou - constant["mean_iou"]
    if result.step < THIRD * result.steps or gain > ROUNDING or occurring < 2:
        return None
    return (
        f"after {result.step} of {format_count(result.steps, 'step')} the best validation mean "
        "IoU is "
        f"{result.best_mean_iou:.3f}, not above that of predicting “{constant['class']}” for all "
        f"pixels, {constant['mean_iou']:.3f}: nothing has been learnt yet; check the masks with "
        "unetkit check --pictures, or try another --learning-rate"
    )


def _rising(result: ValidationResult, classes: Classes) -> str | None:
    if len(result.losses) < PASSES_RISING or min(result.losses) <= CLEARLY * result.first_loss:
        return None
    return (
        f"the training loss was {result.first_loss:.3f} at first and is {result.losses[-1]:.3f} "
        "now: training does not reduce it; try a tenth of the learning rate, or --clip-norm 1"
    )


def _not_finite(result: ValidationResult, classes: Classes) -> str | None:
    if math.isfinite(result.validation_loss):
        return None
    return (
        f"the validation loss is {result.validation_loss:g} after "
        f"{format_count(result.step, 'step')}, although "
        "the training loss is finite: the statistics of BatchNorm are wrong; try a tenth of the "
        "learning rate, or --clip-norm 1"
    )


WARNINGS: dict[str, Callable[[ValidationResult, Classes], str | None]] = {
    "one-class": _one_class,
    "constant": _constant,
    "rising-loss": _rising,
    "validation-loss": _not_finite,
}
