"""A round of training and the suggestions after it, in a process of their own.

The page goes on while it works: the process has low priority, ignores Ctrl-C, which is its
parent's, and ends when its parent does. What it does is said over a pipe.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from unetkit._shared.display import Display, StepReport
from unetkit._shared.manifest import read_manifest
from unetkit._shared.memory_budget import BUDGET
from unetkit.errors import UnetkitError, without_remedy
from unetkit.label.propagation import propagate_table
from unetkit.label.suggestions import suggest

LOWER_PRIORITY = 5  # added to the niceness; 10 starves on a busy machine
SAY_SECONDS = 0.5  # between two messages about progress
VALIDATION_OF_FEW = 0.2  # of few images
SETTINGS: dict[str, dict[str, Any]] = {
    "split": {"test_fraction": 0.0, "validation_fraction": VALIDATION_OF_FEW},
    # A class may be drawn on few images, or on none yet.
    "sources": {"accept": ["absent-class"]},
    # Most pixels of scribbled masks are ignored: every crop has one that is not, and the strokes of
    # few images say little about which weights are best.
    "training": {"class_crops": 1.0, "keep": "last", "deterministic": False},
}


@dataclass(frozen=True)
class RoundJob:
    """What a process has to do.

    Args:
        number: Number of the round.
        model: Model file to suggest with; None to train one.
        table: Table of labelled images.
        run: Folder of the run.
        minutes: Time of the training.
        start: Run folder or model file whose weights training begins with; None for those of the
            preset.
        suggestions: Folder of the suggestions.
        images: Id and path of each image that gets a suggestion, in this order.
        unseen: Ids of those that training does not see.
    """

    number: int
    model: Path | None
    table: Path
    run: Path
    minutes: float
    start: Path | None
    suggestions: Path
    images: tuple[tuple[str, Path], ...]
    unseen: frozenset[str]


def work(job: RoundJob, connection: Connection) -> None:
    """Does a job; the end is a message with "state" "finished" or "failed"."""
    _stand_back()

    def send(**message: Any) -> None:
        connection.send(message)

    try:
        with suppress(BrokenPipeError):  # the parent has ended
            model = job.model or _train(job, send)
            _suggest(job, model, send)
            send(state="finished")
    except UnetkitError as error:  # its advice is for other commands
        wrong = without_remedy(error)
        send(state="failed", problem=f"{wrong}; to see more, run: unetkit check {job.table}")
    except (MemoryError, OSError) as error:
        send(state="failed", problem=f"the round failed ({str(error) or 'memory ran out'})")


def _stand_back() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(LOWER_PRIORITY)


def _train(job: RoundJob, send: Callable[..., None]) -> Path:
    from unetkit.training.train import train

    send(state="training", fraction=0.0, words="propagating the strokes")
    table = propagate_table(job.table)
    send(state="training", fraction=0.0, words="loading the libraries")
    training = {**SETTINGS["training"], **({"start": str(job.start)} if job.start else {})}
    run = train(
        table,
        out=job.run,
        minutes=job.minutes,
        config={**SETTINGS, "training": training},
        display=PipeDisplay(send),
    )
    send(state="trained", updates=read_manifest(run)["steps_done"])
    return run


def _suggest(job: RoundJob, model: Path, send: Callable[..., None]) -> None:
    from unetkit.prediction.predictor import Predictor

    predictor = Predictor(model, tta="mirror", memory=BUDGET.limit)
    for done, (id, image) in enumerate(job.images):
        send(state="suggesting", fraction=done / len(job.images), words="")
        try:
            found = suggest(predictor, image, job.suggestions / id, job.number, id in job.unseen)
        except UnetkitError as error:
            send(image=id, problem=without_remedy(error))
        else:
            send(image=id, suggestion=found)


class PipeDisplay(Display):
    """A display that says over a pipe how far a training is.

    Args:
        send: Sends a message.
    """

    def __init__(self, send: Callable[..., None]) -> None:
        self._send, self._last = send, 0.0

    def say(self, text: str) -> None:
        self._send(state="training", said=text)

    def warn(self, text: str) -> None:
        self._send(state="training", warned=text)

    def waiting(self, text: str) -> None:
        self._send(state="training", words=" ".join(text.split()))

    def training_step(self, report: StepReport) -> None:
        if time.monotonic() - self._last < SAY_SECONDS:
            return
        self._last = time.monotonic()
        whole = report.seconds_gone + (report.seconds_left or 0.0)
        fraction = report.seconds_gone / whole if report.seconds_left and whole else 0.0
        self._send(state="training", fraction=fraction, words=f"step {report.step}")
