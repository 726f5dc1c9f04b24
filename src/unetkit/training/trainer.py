"""The training loop: updates, validation passes, checkpoints, interruptions.

The loop is our own rather than Keras's `fit`, for what happens between two updates: an interruption
finishes the step and saves a checkpoint, a loss that is not finite stops the training before
anything is saved, and the time spent waiting for data is measured. The network, the optimizer and
the update itself are Keras's.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.display import Display, StepReport, clock_text
from unetkit._shared.files import write_text
from unetkit._shared.manifest import update_manifest
from unetkit._shared.pace import Pace
from unetkit._shared.wording import format_count
from unetkit.errors import DivergedError, ModelFileError
from unetkit.training.backend import watching_memory
from unetkit.training.batches import Sampler
from unetkit.training.checkpoints import Checkpoint, Progress, write_checkpoint
from unetkit.training.config import LEAST_STEPS_PER_VALIDATION, RunConfig
from unetkit.training.config_file import config_to_toml, read_reasons
from unetkit.training.distribution import LostProcessError, Replicas
from unetkit.training.network import (
    WARMUP_STEPS,
    gradient_norm,
    learning_rate_at,
    set_learning_rate,
)
from unetkit.training.validation import MOST_FIGURES, Recorder, assign, copy_of, values_of
from unetkit.visualization.tensorboard import TensorBoardLog

PLANNED_AFTER = 0.1  # fraction of `minutes` after which the number of updates is fixed
VALIDATION_FRACTION = 0.1  # of the time of updates that validation passes may take
LEAST_PASSES = 4  # in a run that is long enough for them


class Trainer:
    """Trains a network from its current state to the end.

    Args:
        run: Run folder.
        config: Configuration of the run.
        model: Compiled network.
        samplers: Samplers "train" and "validation".
        files: Paths of the training images, in the order of the sampler's cache.
        display: Shows progress and warnings.
        callbacks: Keras callbacks; an epoch ends with each validation pass.
        replicas: Copies of the network on several devices, which are trained in its place; their
            state is copied to it before it is used.
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
        replicas: Replicas | None = None,
    ) -> None:
        self.run, self.config, self.model, self.display = run, config, model, display
        self.sampler, self.files = samplers["train"], files
        self.replicas, self._is_copied = replicas, True
        self.started = self.saved = time.monotonic()
        self.sessions: list[dict[str, Any]] = []  # as in the manifest; the last is the current one
        self.progress = Progress()
        self.log: TensorBoardLog | None = None
        self.recorder = Recorder(run, config, samplers["validation"], self.progress)
        self.callbacks = keras.callbacks.CallbackList(
            list(callbacks),
            model=model,
            epochs=-(-config.training.steps // max(1, config.training.steps_per_validation)),
            steps=config.training.steps_per_validation,
        )
        model.optimizer.build(model.trainable_variables)

    @property
    def images_per_second(self) -> float:
        """Speed over the whole run, with validation passes."""
        training = self.config.training
        images = self.progress.step * training.batch_size * training.accumulation
        return images / max(self.progress.seconds, 1e-9)

    def fit(self) -> None:
        """Trains to the end.

        Raises:
            DivergedError: A loss or gradient is not finite.
            OutOfMemoryError: A step does not fit into memory.
            KeyboardInterrupt: Training was interrupted; raised after the step and a checkpoint.
        """
        training, progress = self.config.training, self.progress
        pace = Pace(
            training.steps,
            training.steps_per_validation,
            done=progress.step,
            drawn_at=self.recorder.drawn_at,
            budget_seconds=60 * training.minutes - progress.seconds,
        )
        sampler = self.sampler if self.replicas is None else self.replicas.sampler
        batches = sampler.batches(
            training.batch_size, first_step=progress.step * training.accumulation
        )
        self.display.waiting("building  the graph of the first update")
        if self.replicas is not None:
            self.replicas.begin(self.model)
            if not progress.step:
                self.save()  # whatever happens to the other processes, there is one
        self.callbacks.on_train_begin()
        self.callbacks.on_epoch_begin(len(progress.rows))
        try:
            with interruptions(self.display) as asked:
                while not self._is_over():
                    report = self._update(batches, pace)
                    minutes = (time.monotonic() - self.saved) / 60
                    if self._is_to_be_planned(pace):
                        self._plan(report, pace)
                    elif self._is_to_be_validated():
                        self._validate(report, pace)
                    elif asked.is_set() or minutes >= training.checkpoint_minutes:
                        self.save()
                    if asked.is_set():
                        raise KeyboardInterrupt
        except LostProcessError:
            self.replicas = None  # none of them is told anything any more
            raise
        finally:
            with contextlib.suppress(ValueError):  # it may be running, after a second interruption
                batches.close()
            if self.replicas is not None:
                self.replicas.stop()
            self.callbacks.on_train_end()
            if self.log is not None:
                self.log.close()
        if training.minutes:
            wanted = 60 * training.minutes
            self.display.say(
                f"time      {clock_text(progress.seconds)} of {clock_text(wanted)} "
                f"({progress.seconds / wanted - 1:+.0%})"
            )

    def _is_over(self) -> bool:
        steps = self.config.training.steps
        return self.progress.is_over or (steps > 0 and self.progress.step >= steps)

    def _is_to_be_validated(self) -> bool:
        training, step = self.config.training, self.progress.step
        if self._is_stopped:
            return True
        if not training.steps:
            return False
        # With `minutes`, the first pass was the one that was timed.
        is_due = step % training.steps_per_validation == 0 and step > training.decay_from
        return is_due or step in (training.steps, training.decay_from)

    @property
    def _is_stopped(self) -> bool:
        """Whether a callback has stopped the training."""
        return getattr(self.model, "stop_training", False)

    def _is_to_be_planned(self, pace: Pace) -> bool:
        training, seconds = self.config.training, self.progress.seconds
        if training.steps or self._is_stopped:
            return False
        wanted = 60 * training.minutes
        return seconds >= (wanted if pace.step_seconds is None else PLANNED_AFTER * wanted)

    def _plan(self, report: StepReport, pace: Pace) -> None:
        """Fixes the number of updates, from the times of updates and of a validation pass."""
        training, progress = self.config.training, self.progress
        started = time.monotonic()
        with watching_memory():
            self.recorder.trace(self.model)  # so that the pass is as fast as the later ones
        progress.seconds += time.monotonic() - started
        self.recorder.drawn_at = {progress.step}
        started = time.monotonic()
        self._validate(report, pace)
        drawing = self.recorder.drawing_seconds
        validation = time.monotonic() - started - drawing
        left = 60 * training.minutes - progress.seconds - validation - MOST_FIGURES * drawing
        # After a single step, which has taken all of the time, none was timed.
        step_seconds = pace.step_seconds or progress.seconds / progress.step
        every = training.steps_per_validation
        if not every:
            cheap = math.ceil(validation / (VALIDATION_FRACTION * step_seconds))
            often = math.ceil(left / (LEAST_PASSES * step_seconds))
            every = max(LEAST_STEPS_PER_VALIDATION, min(cheap, often))
        steps = progress.step + max(0, int(left / (step_seconds + validation / every)))
        planned = replace(
            training,
            steps=steps,
            steps_per_validation=every,
            decay_from=progress.step,
            warmup=WARMUP_STEPS / steps if training.schedule == "cosine" else training.warmup,
        )
        self.config = self.recorder.config = replace(self.config, training=planned)
        self.recorder.plan_figures()
        pace.plan(steps, every, self.recorder.drawn_at)
        path = self.run / run_folder.CONFIG
        write_text(path, config_to_toml(self.config, read_reasons(path)))
        update_manifest(self.run, configuration=asdict(self.config))
        minutes = training.minutes
        length = "1 minute is" if minutes == 1 else f"{minutes:g} minutes are"
        self.display.say(
            f"length    {length} {format_count(steps, 'step')}: "
            f"{1000 * step_seconds:.0f} ms each, and {validation:.1f} s for a "
            f"validation pass after every {every}"
        )

    def _update(self, batches: Generator[Any, None, None], pace: Pace) -> StepReport:
        """Updates the weights once, from one batch or several."""
        training, progress = self.config.training, self.progress
        started = time.monotonic()
        losses, waited = [], 0.0
        rate = learning_rate_at(training, progress.step)
        self.callbacks.on_train_batch_begin(progress.step)
        for number in range(training.accumulation):
            asked = time.monotonic()
            images, masks = next(batches)
            waited += time.monotonic() - asked
            batch = progress.step * training.accumulation + number
            loss = self._train(batch, images, masks, rate)
            self._require_finite(loss, batch)
            losses.append(loss)
        progress.step += 1
        loss = float(np.mean(losses))
        progress.losses.append(loss)
        if progress.step == 1:
            progress.first_loss = loss
        self.callbacks.on_train_batch_end(progress.step - 1, {"loss": loss})
        progress.seconds += time.monotonic() - started
        progress.waited_seconds += waited
        pace.step(training.batch_size * training.accumulation, waited)
        if pace.advice is not None:
            self.note("waiting", pace.advice)
        report = self._report(pace, loss)
        self.display.training_step(report)
        return report

    def _train(self, batch: int, images: np.ndarray, masks: np.ndarray, rate: float) -> float:
        """Trains on one batch, or on this process's part of it; returns the loss."""
        if self.replicas is None:
            set_learning_rate(self.model.optimizer, rate)
            with watching_memory():
                logs = self.model.train_on_batch(images, masks, return_dict=True)
                return float(logs["loss"])  # waits for JAX, which computes asynchronously
        self._is_copied = False
        loss = self.replicas.update(batch, images, masks, rate)
        measured = self.replicas.compare(self.model)
        if measured is not None:
            self.display.say(measured)
        return loss

    def _copy(self) -> None:
        """Gives the network the state of its copies on other devices."""
        if self.replicas is not None and not self._is_copied:
            self.replicas.copy_to(self.model)
            self._is_copied = True

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
        trained = self.model if self.replicas is None else self.replicas.model
        norm = gradient_norm(trained.optimizer)
        if np.isfinite(loss) and np.isfinite(norm):
            return
        indices = self.sampler.indices(batch, self.config.training.batch_size)
        named = ", ".join(str(self.files[i]) for i in indices)
        what = f"the loss is {loss:g}" if not np.isfinite(loss) else f"the gradient is {norm:g}"
        raise DivergedError(
            f"{what} at step {self.progress.step + 1}, in the batch of {named}; accepted are "
            "finite numbers; check these images and their masks, or train a new run with a tenth "
            "of the learning rate, or with --clip-norm 1"
        )

    def _validate(self, report: StepReport, pace: Pace) -> None:
        """Validates the network, warns, saves a checkpoint, and checks for early stopping."""
        progress, training = self.progress, self.config.training
        started = time.monotonic()
        self._copy()
        best = progress.best.step
        with watching_memory():
            warnings = self.recorder.validate(self.model)
        for code, text in warnings.items():
            self.note(code, text)
        if progress.best.step != best:
            self.recorder.write_best()
        row = progress.rows[-1]
        self.callbacks.on_epoch_end(len(progress.rows) - 1, row)
        self.callbacks.on_epoch_begin(len(progress.rows))
        if self.log is not None:
            self._write_tensorboard(self.log, row)
        if training.patience and progress.looks_without_gain >= training.patience:
            progress.is_over = True
            self.display.say(
                f"stopped   at step {progress.step}: no better result in the last "
                f"{format_count(training.patience, 'validation pass', 'validation passes')} "
                "(--patience)"
            )
        progress.is_over |= self._is_stopped
        self.save()
        seconds = time.monotonic() - started
        progress.seconds += seconds
        pace.validation(seconds, self.recorder.drawing_seconds)
        self.display.validated(
            self._report(pace, report.loss), {**row, "best_mean_iou": progress.best.mean_iou}
        )

    def _write_tensorboard(self, log: TensorBoardLog, row: dict[str, float]) -> None:
        step = self.progress.step
        log.write_row(step, {name: value for name, value in row.items() if name != "step"})
        figure = self.recorder.figure_path(step)
        if figure.exists():
            log.write_image(step, figure)

    def save(self) -> None:
        """Writes a checkpoint of the current state."""
        self._copy()
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
        """Shows a warning, unless one with this code was shown in this run."""
        if code not in self.progress.warnings:
            self.progress.warnings[code] = text
            self.display.warn(text)

    def summary(self) -> dict[str, Any]:
        """Progress and results so far, for the manifest."""
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
        """Restores the state that `save` wrote.

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
                # If the batch was halved since for lack of memory, counters refer to other batches.
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
    """Variables of an optimizer, by names that do not depend on what was built before.

    The learning rate is left out, which is set before each update; and the norm of the last
    gradient: no result depends on it, and its last bit depends on the order in which TensorFlow
    adds.
    """
    named: dict[str, Any] = {}
    for variable in optimizer.variables:
        name = variable.path.split("/")[-1]
        if name in ("gradient_norm", "learning_rate"):
            continue
        while name in named:
            name += "+"
        named[name] = variable
    return named


@contextlib.contextmanager
def interruptions(display: Display) -> Generator[threading.Event, None, None]:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a request; a second one interrupts at once.

    SIGHUP stays ignored where it is, as under `nohup`.
    """
    # Shown by another thread: the handler may run while this one is printing.
    notice = threading.Thread(
        target=display.say,
        args=["finishing this step and saving; interrupt again to stop at once"],
    )
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        notice.start()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    kept = {number: signal.signal(number, handle) or signal.SIG_DFL for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
