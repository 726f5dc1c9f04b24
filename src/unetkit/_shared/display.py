"""Display of progress and messages during long computations.

The library reports through a `Display`; the one here only logs. The command line has one that draws
in a terminal or a notebook, and prints plain lines to a pipe (`cli.console`). `LoggedDisplay` also
writes to a file what another display shows.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from unetkit._shared.wording import printable

logger = logging.getLogger("unetkit")


@dataclass(frozen=True)
class StepReport:
    """Progress of a training after an update of the weights.

    Args:
        step: Number of updates so far, from 1 to `steps`.
        steps: Number of updates of the whole training; 0 if it is not known yet.
        images_per_second: Recent training speed without validation passes; None if unknown yet.
        loss: Loss of this update.
        waiting_share: Fraction of the recent time spent waiting for data, in [0, 1]; None if
            unknown yet.
        seconds_gone: Time since the start of the session, in seconds.
        seconds_left: Estimated time for the remaining updates and validation passes, in seconds;
            None if unknown yet.
    """

    step: int
    steps: int
    images_per_second: float | None
    loss: float
    waiting_share: float | None
    seconds_gone: float
    seconds_left: float | None


class Display:
    """A display that only logs; base class of those that show more."""

    def say(self, text: str) -> None:
        """Shows a line of text."""
        logger.info(text)

    def warn(self, text: str) -> None:
        """Shows a warning: what may spoil the result, and what to do."""
        logger.warning(text)

    def waiting(self, text: str) -> None:
        """Shows that something takes time, until a task or training begins, or `finish`."""
        logger.info(text)

    def task(self, name: str, total: int) -> Callable[[], None]:
        """Starts a task of `total` equal parts; returns a function to call after each part."""
        logger.info("%s: %d", name, total)
        return lambda: None

    def training_step(self, report: StepReport) -> None:
        """Shows the progress after an update of the weights."""

    def validated(self, report: StepReport, metrics: Mapping[str, float]) -> None:
        """Shows the metrics of a validation pass.

        Args:
            report: Progress after the last update.
            metrics: Values by column of curves.csv (loss, validation_loss, validation_accuracy,
                validation_mean_iou and, if weights are averaged, averaged_mean_iou), and
                best_mean_iou.
        """
        logger.info(describe(report, metrics))

    def finish(self) -> None:
        """Ends the current task or training, so that nothing is left to draw."""


class LoggedDisplay(Display):
    """A display that also appends messages, warnings and validation metrics to a file.

    Args:
        display: Display that shows everything.
        path: Text file in UTF-8 to append to; each line begins with the time of day.
    """

    def __init__(self, display: Display, path: Path) -> None:
        self.display, self.path = display, path

    def say(self, text: str) -> None:
        self.display.say(text)
        self._write(text)

    def warn(self, text: str) -> None:
        self.display.warn(text)
        self._write(warning_line(text))

    def waiting(self, text: str) -> None:
        self.display.waiting(text)

    def task(self, name: str, total: int) -> Callable[[], None]:
        return self.display.task(name, total)

    def training_step(self, report: StepReport) -> None:
        self.display.training_step(report)

    def validated(self, report: StepReport, metrics: Mapping[str, float]) -> None:
        self.display.validated(report, metrics)
        self._write(describe(report, metrics))

    def finish(self) -> None:
        self.display.finish()

    def _write(self, text: str) -> None:
        # Opened again for each message, so that all of them are in the file if the process is
        # killed. A full disk is reported when a more important file is written.
        with (
            contextlib.suppress(OSError),
            open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file,
        ):
            file.write(f"{time.strftime('%H:%M:%S')}  {printable(text)}\n")


def warning_line(text: str) -> str:
    """A warning in the form of other messages, which begin with a keyword."""
    return f"warning   {text}"


def describe(report: StepReport, metrics: Mapping[str, float]) -> str:
    """Progress and metrics of a training as one line, without unknown values.

    >>> describe(StepReport(8, 80, 93.1, 0.7, 0.03, 48.2, 432.0), {"validation_mean_iou": 0.5})
    'step 8/80: loss 0.700, mIoU 0.500; 93 images/s, 3% waiting for data; 0:48 gone, 7:12 left'
    """
    found = [f"loss {metrics.get('loss', report.loss):.3f}"]
    for key, name in (
        ("validation_loss", "validation loss"),
        ("validation_accuracy", "accuracy"),
        ("validation_mean_iou", "mIoU"),
        ("averaged_mean_iou", "of averaged weights"),
        ("best_mean_iou", "best"),
    ):
        if key in metrics:
            found.append(f"{name} {metrics[key]:.3f}")
    speed = []
    if report.images_per_second is not None:
        speed.append(f"{speed_text(report.images_per_second)} images/s")
    if report.waiting_share is not None:
        speed.append(f"{report.waiting_share:.0%} waiting for data")
    times = [f"{clock_text(report.seconds_gone)} gone"]
    if report.seconds_left is not None:
        times.append(f"{clock_text(report.seconds_left)} left")
    parts = "; ".join(", ".join(part) for part in (found, speed, times) if part)
    of_all = f"/{report.steps}" if report.steps else ""
    return f"step {report.step}{of_all}: {parts}"


def speed_text(per_second: float) -> str:
    """A speed as text, with one decimal if it is below 10."""
    return f"{per_second:.1f}" if per_second < 9.95 else f"{per_second:.0f}"


def clock_text(seconds: float) -> str:
    """A duration as minutes and seconds, with hours if there are any.

    >>> clock_text(48), clock_text(754), clock_text(3723)
    ('0:48', '12:34', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
