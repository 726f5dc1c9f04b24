"""What is kept of a run while it trains: figures, curves, the best weights, pictures.

Keras calls the recorder after each step; every so many it looks at the validation part, writes
what is new whole or not at all, and tells the display.
"""

import contextlib
import csv
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from unetkit import runfolder
from unetkit.config import RunConfig
from unetkit.display import Display
from unetkit.loading import Sampler
from unetkit.losses import loss_by_name
from unetkit.metrics import confusion_matrix, figures
from unetkit.outputs import write_whole
from unetkit.plotting import Case, draw_cases, draw_curves

VALIDATION_CASES = 4  # shown in the run's picture


@dataclass
class Best:
    """The step whose weights are kept, and their mean IoU on the validation part."""

    step: int = 0
    mean_iou: float = -1.0


class Recorder(keras.callbacks.Callback):
    """Validates every so many steps, keeps curves and the best weights, tells the display."""

    def __init__(self, run: Path, config: RunConfig, validation: Sampler, display: Display) -> None:
        super().__init__()
        self.run, self.config, self.validation, self.display = run, config, validation, display
        self.rows: list[dict[str, float]] = []
        self.best = Best()
        self.step = 0
        self.images_per_second = 0.0

    def fit(self, model: keras.Model, sampler: Sampler) -> None:
        training = self.config.training
        batches = sampler.batches(training.batch_size)
        started = time.monotonic()
        try:
            model.fit(
                batches,
                steps_per_epoch=training.steps,
                callbacks=[self],
                shuffle=False,  # the batches come in their order
                verbose=0,
            )
        finally:
            with contextlib.suppress(ValueError):  # Keras may be fetching from it at this moment
                batches.close()
        self.images_per_second = self.step * training.batch_size / (time.monotonic() - started)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        training = self.config.training
        self.display.training_step(self.step, training.steps, training.batch_size, logs["loss"])
        if self.step % training.steps_per_validation == 0 or self.step == training.steps:
            self._look(logs["loss"])
            self.model.reset_metrics()  # Keras's loss is a mean since this

    def _look(self, training_loss: float) -> None:
        counts, loss = self._validate(self.model)
        found = figures(counts, self.config.classes)
        iou = float(found["mean_iou"])  # type: ignore[arg-type]
        accuracy = float(found["pixel_accuracy"])  # type: ignore[arg-type]
        self.rows.append(
            {
                "step": self.step,
                "loss": float(training_loss),
                "validation_loss": loss,
                "validation_accuracy": accuracy,
                "validation_mean_iou": iou,
            }
        )
        if iou > self.best.mean_iou:
            self.best = Best(self.step, iou)
            write_whole(self.run / runfolder.WEIGHTS, self.model.save_weights)
        self._write_curves()
        self.display.validated(
            self.step,
            self.config.training.steps,
            {**self.rows[-1], "best_mean_iou": self.best.mean_iou},
        )

    def _validate(self, model: keras.Model) -> tuple[np.ndarray, float]:
        """Confusion matrix and mean loss over the validation part."""
        num_classes = len(self.config.classes)
        loss = loss_by_name(self.config.training.loss)
        counts = np.zeros((num_classes, num_classes), np.int64)
        losses, sizes = [], []
        for images, masks in self.validation.fixed_batches(self.config.training.batch_size):
            logits = model.predict_on_batch(images)
            counts += confusion_matrix(masks, logits.argmax(-1), num_classes)
            losses.append(float(keras.ops.convert_to_numpy(loss(masks, logits))))
            sizes.append(len(images))
        return counts, float(np.average(losses, weights=sizes))

    def _write_curves(self) -> None:
        def write(part: Path) -> None:
            with open(part, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.rows[0].keys())
                writer.writeheader()
                writer.writerows(
                    {k: v if k == "step" else round(v, 6) for k, v in row.items()}
                    for row in self.rows
                )

        write_whole(self.run / runfolder.CURVES, write)

    def draw(self, model: keras.Model) -> None:
        """Draws the curves and some validation pictures with their predictions."""
        draw_curves(self.run / runfolder.CURVES_PICTURE, self.rows, self.best.step)
        (self.run / runfolder.PICTURES).mkdir(exist_ok=True)
        images, masks = next(self.validation.fixed_batches(VALIDATION_CASES))
        predictions = model.predict_on_batch(images).argmax(-1).astype(np.uint8)
        margin = self.config.network.geometry.margin
        normalization = self.config.normalization
        pixels = (images - normalization.add) / normalization.multiply
        shown = pixels[:, margin : margin + masks.shape[1], margin : margin + masks.shape[2]]
        shown = shown[..., :3] if shown.shape[3] >= 3 else shown[..., :1]
        cases = [
            Case(np.clip(np.rint(image), 0, 255).astype(np.uint8), mask, prediction, "validation")
            for image, mask, prediction in zip(shown, masks, predictions, strict=True)
        ]
        path = self.run / runfolder.PICTURES / "validation.png"
        draw_cases(path, cases, self.config.classes, across=2)
