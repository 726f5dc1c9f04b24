"""What a person sees while something long goes on.

The library speaks through a `Display`; the one here says nothing. The command line brings one that
draws on a terminal or in a notebook and prints plain lines into a pipe. `LoggedDisplay` keeps in a
file what another one shows.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger("unetkit")


@dataclass(frozen=True)
class StepReport:
    """Where a training stands after an update of the weights.

    Args:
        step: Updates so far, from 1 to `steps`.
        steps: Updates in all.
        images_per_second: Of late, without looks; None while nothing can be said.
        loss: Of this update.
        waiting_share: Share of the time that was waiting for data, in [0, 1], or None.
        seconds_gone: Since the session began.
        seconds_left: Estimated for updates and looks to come, or None.
    """

    step: int
    steps: int
    images_per_second: float | None
    loss: float
    waiting_share: float | None
    seconds_gone: float
    seconds_left: float | None


class Display:
    """Says nothing but to the log; the base of those that speak."""

    def say(self, text: str) -> None:
        """One finding or choice, a line of text."""
        logger.info(text)

    def warn(self, text: str) -> None:
        """Something that may spoil the result, and what to do, in plain words."""
        logger.warning(text)

    def task(self, name: str, total: int) -> Callable[[], None]:
        """Begins something of `total` equal parts; call what is returned after each."""
        logger.info("%s: %d", name, total)
        return lambda: None

    def training_step(self, report: StepReport) -> None:
        """Another update of the weights."""

    def validated(self, report: StepReport, figures: Mapping[str, float]) -> None:
        """A look at the validation part is over.

        Args:
            report: Of the last update.
            figures: A row of curves.csv (loss, validation_loss, validation_accuracy,
                validation_mean_iou and, where weights are averaged, averaged_mean_iou), and
                best_mean_iou.
        """
        logger.info(describe(report, figures))

    def finish(self) -> None:
        """Whatever is drawn is complete."""


class LoggedDisplay(Display):
    """Passes everything on, and keeps what is said, warned of and found in looks in a file.

    Args:
        display: Where it is passed on to.
        path: Text file in UTF-8, which is appended to; a line has the time of day in front.
    """

    def __init__(self, display: Display, path: Path) -> None:
        self.display, self.path = display, path

    def say(self, text: str) -> None:
        self.display.say(text)
        self._write(text)

    def warn(self, text: str) -> None:
        self.display.warn(text)
        self._write(warning_line(text))

    def task(self, name: str, total: int) -> Callable[[], None]:
        return self.display.task(name, total)

    def training_step(self, report: StepReport) -> None:
        self.display.training_step(report)

    def validated(self, report: StepReport, figures: Mapping[str, float]) -> None:
        self.display.validated(report, figures)
        self._write(describe(report, figures))

    def finish(self) -> None:
        self.display.finish()

    def _write(self, text: str) -> None:
        # Opened anew for each line: what was said before the process is killed is on the disk.
        # A disk that is full is told by what matters more than this file.
        with (
            contextlib.suppress(OSError),
            open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file,
        ):
            for line in text.splitlines():
                file.write(f"{time.strftime('%H:%M:%S')}  {line}\n")


def warning_line(text: str) -> str:
    """A warning among the lines that are said, each of which begins with a word."""
    return f"warning   {text}"


def describe(report: StepReport, figures: Mapping[str, float]) -> str:
    """Where a training stands, as one line; what is not known is left out.

    >>> describe(StepReport(8, 80, 93.1, 0.7, 0.03, 48.2, 432.0), {"validation_mean_iou": 0.5})
    'step 8/80: loss 0.700, mIoU 0.500; 93 images/s, 3% waiting for data; 0:48 gone, 7:12 left'
    """
    found = [f"loss {figures.get('loss', report.loss):.3f}"]
    for key, name in (
        ("validation_loss", "validation loss"),
        ("validation_accuracy", "accuracy"),
        ("validation_mean_iou", "mIoU"),
        ("averaged_mean_iou", "of averaged weights"),
        ("best_mean_iou", "best"),
    ):
        if key in figures:
            found.append(f"{name} {figures[key]:.3f}")
    speed = []
    if report.images_per_second is not None:
        speed.append(f"{speed_text(report.images_per_second)} images/s")
    if report.waiting_share is not None:
        speed.append(f"{report.waiting_share:.0%} waiting for data")
    times = [f"{clock_text(report.seconds_gone)} gone"]
    if report.seconds_left is not None:
        times.append(f"{clock_text(report.seconds_left)} left")
    parts = "; ".join(", ".join(part) for part in (found, speed, times) if part)
    return f"step {report.step}/{report.steps}: {parts}"


def speed_text(per_second: float) -> str:
    """A speed, with a decimal where it is low."""
    return f"{per_second:.1f}" if per_second < 9.95 else f"{per_second:.0f}"


def clock_text(seconds: float) -> str:
    """Minutes and seconds, and hours where there are any.

    >>> clock_text(48), clock_text(754), clock_text(3723)
    ('0:48', '12:34', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
