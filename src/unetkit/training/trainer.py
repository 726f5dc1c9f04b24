"""The training loop: updates, looks at the validation part, checkpoints; and what may go wrong.

A loop of our own rather than Keras's, for what has to happen between two updates: an interruption
finishes the step and saves, a loss that is no number stops before anything is kept, and each wait
for data is timed. The network, the optimiser and the step itself are Keras's.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.display import Display, StepReport
from unetkit._shared.manifest import update_manifest
from unetkit._shared.pace import Pace
from unetkit.errors import DivergedError, ModelFileError
from unetkit.training.backend import watching_memory
from unetkit.training.batches import Sampler
from unetkit.training.checkpoints import Checkpoint, Progress, write_checkpoint
from unetkit.training.config import RunConfig
from unetkit.training.network import gradient_norm
from unetkit.training.validation import Recorder, assign, copy_of, values_of
from unetkit.visualization.tensorboard import TensorBoardLog


class Trainer:
    """Trains one network from where it stands to the end.

    Args:
        run: Run folder.
        config: Its configuration.
        model: The compiled network.
        samplers: "train" and "validation".
        files: Paths of the training images, in the order of the sampler's cache.
        display: Shows progress.
        callbacks: Keras callbacks; an epoch is what lies between two looks.
        look_seconds: What a look is expected to take.
    """

    def __init__(
        self,
        run: Path,
        config: RunConfig,
        model: keras.Model,
        samplers: dict[str, Sampler],
        files: Sequence[Path],
        display: Display,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        look_seconds: float = 0.0,
    ) -> None:
        self.run, self.config, self.model, self.display = run, config, model, display
        self.sampler, self.files = samplers["train"], files
        self.look_seconds = look_seconds
        self.started = self.saved = time.monotonic()
        self.sessions: list[dict[str, Any]] = []  # of the manifest; the last is this one
        self.progress = Progress()
        self.log: TensorBoardLog | None = None
        self.recorder = Recorder(run, config, samplers["validation"], self.progress)
        self.callbacks = keras.callbacks.CallbackList(
            list(callbacks),
            model=model,
            epochs=-(-config.training.steps // config.training.steps_per_validation),
            steps=config.training.steps_per_validation,
        )
        model.optimizer.build(model.trainable_variables)

    @property
    def images_per_second(self) -> float:
        """Over the whole run, looks included."""
        training = self.config.training
        images = self.progress.step * training.batch_size * training.accumulation
        return images / max(self.progress.seconds, 1e-9)

    def fit(self) -> None:
        """Trains to the end.

        Raises:
            DivergedError: A loss or gradient is no finite number.
            OutOfMemoryError: A step does not fit into memory.
            KeyboardInterrupt: After the step in which it was asked for, and a checkpoint.
        """
        training, progress = self.config.training, self.progress
        pace = Pace(
            training.steps,
            training.steps_per_validation,
            done=progress.step,
            look_seconds=self.look_seconds,
            drawn_at=self.recorder.drawn_at,
        )
        batches = self.sampler.batches(
            training.batch_size, first_step=progress.step * training.accumulation
        )
        self.callbacks.on_train_begin()
        self.callbacks.on_epoch_begin(len(progress.rows))
        try:
            with interruptions(self.display) as asked:
                while progress.step < training.steps and not progress.is_over:
                    report = self._update(batches, pace)
                    is_look = (
                        progress.step % training.steps_per_validation == 0
                        or progress.step == training.steps
                        or getattr(self.model, "stop_training", False)  # a callback asks for it
                    )
                    minutes = (time.monotonic() - self.saved) / 60
                    if is_look:
                        self._look(report, pace)
                    elif asked.is_set() or minutes >= training.checkpoint_minutes:
                        self.save()
                    if asked.is_set():
                        raise KeyboardInterrupt
        finally:
            with contextlib.suppress(ValueError):  # it may be running, when interrupted twice
                batches.close()
            self.callbacks.on_train_end()
            if self.log is not None:
                self.log.close()

    def _update(self, batches: Generator[Any, None, None], pace: Pace) -> StepReport:
        """One update of the weights, of one batch or of several together."""
        training, progress = self.config.training, self.progress
        started = time.monotonic()
        losses, images_seen, waited = [], 0, 0.0
        self.callbacks.on_train_batch_begin(progress.step)
        for part in range(training.accumulation):
            asked = time.monotonic()
            images, masks = next(batches)
            waited += time.monotonic() - asked
            with watching_memory():
                logs = self.model.train_on_batch(images, masks, return_dict=True)
                loss = float(logs["loss"])  # JAX computes until it is asked for
            self._require_finite(loss, progress.step * training.accumulation + part)
            losses.append(loss)
            images_seen += len(images)
        progress.step += 1
        loss = float(np.mean(losses))
        progress.losses.append(loss)
        if progress.step == 1:
            progress.first_loss = loss
        self.callbacks.on_train_batch_end(progress.step - 1, {"loss": loss})
        progress.seconds += time.monotonic() - started
        progress.waited_seconds += waited
        pace.step(images_seen, waited)
        if pace.advice is not None:
            self.note("waiting", pace.advice)
        report = self._report(pace, loss)
        self.display.training_step(report)
        return report

    def _report(self, pace: Pace, loss: float) -> StepReport:
        return StepReport(
            step=self.progress.step,
            steps=self.config.training.steps,
            images_per_second=pace.images_per_second,
            loss=loss,
            waiting_share=pace.waiting_share,
            seconds_gone=pace.seconds_gone,
            seconds_left=pace.seconds_left,
        )

    def _require_finite(self, loss: float, batch: int) -> None:
        norm = gradient_norm(self.model.optimizer)
        if np.isfinite(loss) and np.isfinite(norm):
            return
        indices = self.sampler.indices(batch, self.config.training.batch_size)
        named = ", ".join(str(self.files[i]) for i in indices)
        what = f"the loss is {loss:g}" if not np.isfinite(loss) else f"the gradient is {norm:g}"
        raise DivergedError(
            f"{what} at step {self.progress.step + 1}, in the batch of {named}; accepted are "
            "finite numbers; look at these files and their masks, and try a tenth of "
            "--learning-rate, or --clip-norm 1"
        )

    def _look(self, report: StepReport, pace: Pace) -> None:
        """Scores, keeps, warns, saves, and finds out whether training is over before its time."""
        progress, training = self.progress, self.config.training
        started = time.monotonic()
        best = progress.best.step
        with watching_memory():
            alarms = self.recorder.look(self.model)
        for code, text in alarms.items():
            self.note(code, text)
        if progress.best.step != best:
            self.recorder.write_best()
        row = progress.rows[-1]
        self.callbacks.on_epoch_end(len(progress.rows) - 1, row)
        self.callbacks.on_epoch_begin(len(progress.rows))
        if self.log is not None:
            self._tell_tensorboard(self.log, row)
        if training.patience and progress.looks_without_gain >= training.patience:
            progress.is_over = True
            self.display.say(
                f"stopped   at step {progress.step}: no gain in mean IoU in the last "
                f"{training.patience} looks (--patience)"
            )
        progress.is_over |= getattr(self.model, "stop_training", False)
        self.save()
        seconds = time.monotonic() - started
        progress.seconds += seconds
        pace.look(seconds, self.recorder.drawing_seconds)
        self.display.validated(
            self._report(pace, report.loss), {**row, "best_mean_iou": progress.best.mean_iou}
        )

    def _tell_tensorboard(self, log: TensorBoardLog, row: dict[str, float]) -> None:
        step = self.progress.step
        log.row(step, {name: value for name, value in row.items() if name != "step"})
        picture = self.recorder.picture_of(step)
        if picture.exists():
            log.picture(step, picture)

    def save(self) -> None:
        """Writes a checkpoint of this moment."""
        arrays = {f"model/{i}": value for i, value in enumerate(values_of(self.model))}
        arrays |= {
            f"optimizer/{name}": copy_of(variable)
            for name, variable in _named(self.model.optimizer).items()
        }
        arrays |= {f"best/{i}": value for i, value in enumerate(self.recorder.best_weights)}
        state = {
            "accumulation": self.config.training.accumulation,
            "progress": self.progress.to_json(),
        }
        write_checkpoint(self.run / run_folder.CHECKPOINTS, self.progress.step, arrays, state)
        update_manifest(self.run, **self.summary())
        self.saved = time.monotonic()

    def note(self, code: str, text: str) -> None:
        """Warns of something, once in a run, and keeps it."""
        if code not in self.progress.warnings:
            self.progress.warnings[code] = text
            self.display.warn(text)

    def summary(self) -> dict[str, Any]:
        """How the run has gone so far, for its manifest."""
        progress = self.progress
        *earlier, this = self.sessions
        seconds = round(time.monotonic() - self.started, 1)
        return {
            "sessions": [*earlier, {**this, "to_step": progress.step, "seconds": seconds}],
            "best": asdict(progress.best),
            "steps_done": progress.step,
            "training_seconds": round(progress.seconds, 1),
            "images_per_second": round(self.images_per_second, 1),
            "waiting_share": round(progress.waited_seconds / max(progress.seconds, 1e-9), 4),
            "warnings": list(progress.warnings.values()),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes everything up again as `save` left it.

        Raises:
            ModelFileError: The checkpoint is of another network or version.
        """
        arrays = checkpoint.arrays
        try:
            progress = Progress.from_json(checkpoint.state["progress"])
            accumulation = self.config.training.accumulation
            is_same = accumulation == checkpoint.state["accumulation"]
            count = len(self.model.variables)
            assign(self.model, [arrays[f"model/{i}"] for i in range(count)])
            for name, variable in _named(self.model.optimizer).items():
                # Where memory has halved the batch since, counters are of other batches.
                if is_same:
                    variable.assign(arrays[f"optimizer/{name}"])
                elif "iteration" in name:
                    variable.assign(progress.step * accumulation)
                elif "gradient_accumulator" not in name:
                    variable.assign(arrays[f"optimizer/{name}"])
            if progress.best.step:
                self.recorder.best_weights = [arrays[f"best/{i}"] for i in range(count)]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"checkpoint {checkpoint.path} does not fit the network in the run's configuration "
                f"({type(error).__name__}: {error}); accepted is what the same version of unetkit "
                "wrote for it; train the run again from its configuration"
            ) from error
        vars(self.progress).update(vars(progress))
        if progress.best.step:
            self.recorder.write_best()


def _named(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """An optimiser's variables by names that do not depend on what was built before.

    The norm of the last gradient is none of them: nothing follows from it, and the order in which
    TensorFlow adds it up shows in its last bit.
    """
    named: dict[str, Any] = {}
    for variable in optimizer.variables:
        name = variable.path.split("/")[-1]
        if name == "gradient_norm":
            continue
        while name in named:
            name += "+"
        named[name] = variable
    return named


@contextlib.contextmanager
def interruptions(display: Display) -> Generator[threading.Event, None, None]:
    """Turns the first Ctrl-C, or SIGTERM, into a request; the second interrupts at once."""
    # Said by another thread: a handler may come while this one is printing.
    saying = threading.Thread(
        target=display.say, args=["finishing this step and saving; once more to stop at once"]
    )
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        saying.start()

    kept = {
        number: signal.signal(number, handle) or signal.SIG_DFL
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
