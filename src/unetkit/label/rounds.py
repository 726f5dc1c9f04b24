"""Rounds: a network is trained while drawing goes on, suggests masks, and is scored honestly.

Before a round begins, what was drawn since the last ones is compared with what they had suggested
for images that no training had seen: a validation that costs nothing and favours no network. The
work itself is done in a process of its own, by `worker`.
"""

import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.files import read_text, remove, write_text
from unetkit._shared.wording import format_count
from unetkit.errors import ConfigError, DataError, UnetkitError
from unetkit.label.project import PAIRS_TABLE, ImageEntry, write_class_file, write_pairs
from unetkit.label.store import DrawnMasks
from unetkit.label.suggestions import (
    Suggestion,
    count_agreement,
    read_record,
    read_suggestion,
    score_of,
    write_record,
)
from unetkit.label.worker import RoundJob, work

LEAST_IMAGES = 2  # labelled, for training and validation
LEAST_SCORED = 3  # images, for a score that says something
ROUND_GAIN = 0.01  # of the score; less is no gain
LITTLE_CHANGED = 0.02  # fraction of labelled pixels that had to be changed
ROUND_MINUTES = 1.5  # of a training
FEW_UPDATES = 40  # of the network; a round of fewer has hardly learnt
END_SECONDS = 5.0  # for a process to end, before it is killed
ROUNDS_RECORD = "rounds.json"


@dataclass(frozen=True)
class Round:
    """A finished round.

    Args:
        number: Its number, from 1; 0 for suggestions of a given model.
        model: Run folder, or the given model.
        images: Number of labelled images that it was trained on.
        pixels: Number of labelled pixels of these.
        seconds: Time of the training.
        counts: Confusion matrix of its suggestions, (K, K): rows drawn afterwards, columns
            suggested; of images that it had not seen.
        scored: Number of these images.
        updates: Number of updates of the network; 0 if there was none.
    """

    number: int
    model: str
    images: int
    pixels: int
    seconds: float
    counts: tuple[tuple[int, ...], ...] = ()
    scored: int = 0
    updates: int = 0

    @property
    def changed(self) -> float | None:
        """Fraction of the labelled pixels that were drawn otherwise; None without any."""
        counts = np.array(self.counts, np.int64)
        return float(1 - np.trace(counts) / counts.sum()) if counts.sum() else None


@dataclass
class Status:
    """What the page shows of a round.

    Args:
        state: "idle", "preparing", "training" or "suggesting".
        fraction: Part of this state that is done, from 0 to 1.
        words: What is being done.
        problem: Why the last round failed; "" if it did not.
        warnings: Warnings of the training.
    """

    state: str = "idle"
    fraction: float = 0.0
    words: str = ""
    problem: str = ""
    warnings: list[str] = field(default_factory=list)


class Rounds:
    """The rounds of a project; for several threads.

    Args:
        masks: The masks that are drawn.
    """

    def __init__(self, masks: DrawnMasks) -> None:
        self.masks, self.project = masks, masks.project
        self.folder = self.project.state / "rounds"
        self.suggestions = self.project.state / "suggestions"
        self.status = Status()
        self.finished: list[Round] = self._read()
        self.known: dict[str, Suggestion] = {}
        self.failures: dict[str, str] = {}  # why images have no suggestion, by their id
        for id in self.project.entries:
            found = read_record(self.suggestions / id)
            if found is not None:
                self.known[id] = found
        self._starting = threading.Lock()
        self._lock = threading.RLock()  # never held while a thread or process is waited for
        self._thread: threading.Thread | None = None
        self._process: Any = None
        self._is_stopped = False

    def start(self, minutes: float = ROUND_MINUTES) -> None:
        """Begins a round with all images that are labelled.

        Args:
            minutes: Time of the training.

        Raises:
            ConfigError: A round is being trained already, or the time is out of range.
            DataError: Too few images are labelled.
        """
        if not 0 < minutes <= 24 * 60:
            raise ConfigError(f"minutes is {minutes}; accepted are numbers above 0, up to 1440")
        with self._starting:
            if self.status.state in ("preparing", "training"):
                raise ConfigError("a network is being trained; accepted is one at a time")
            self.stop()  # suggestions of the last one
            self.masks.write_all()
            labelled = self._labelled()
            if len(labelled) < LEAST_IMAGES:
                raise DataError(
                    f"{len(labelled)} images are labelled; accepted to train are {LEAST_IMAGES} or "
                    "more: one of them calibrates the network; draw on another image"
                )
            self._begin(self._prepare, minutes, labelled)

    def suggest_with(self, model: Path) -> None:
        """Suggests masks for all images with a given model.

        Raises:
            DataNotFoundError, ModelFileError: It is not a model.
            DataError: It has other classes than the project.
        """
        from unetkit.prediction.predictor import Predictor

        names = Predictor(model).spec.classes.names
        if names != self.project.classes.names:
            raise DataError(
                f"{model} has the classes {', '.join(names)}, and the masks "
                f"{', '.join(self.project.classes.names)}; accepted are the same; leave --model "
                "out, or label with the classes of the model in another --out"
            )
        with self._starting:
            self._begin(self._prepare_given, model)

    def stop(self) -> None:
        """Ends the process of a round; suggestions that were made stay."""
        with self._lock:
            thread, process = self._thread, self._process
            self._is_stopped = True
        if process is not None and process.is_alive():
            process.terminate()
            process.join(END_SECONDS)
            if process.is_alive():
                process.kill()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def describe(self) -> dict[str, Any]:
        """What the page asks for: the state, the rounds with their scores, the uncertainties."""
        with self._lock:
            rounds = [
                {
                    "number": one.number,
                    "images": one.images,
                    "pixels": one.pixels,
                    "seconds": round(one.seconds),
                    "scored": one.scored,
                    "score": score_of(np.array(one.counts), self.project) if one.scored else None,
                    "changed": one.changed,
                    "updates": one.updates,
                }
                for one in self.finished
            ]
            return {
                **asdict(self.status),
                "rounds": rounds,
                "advice": advise(rounds),
                "uncertainties": {id: one.uncertainty for id, one in self.known.items()},
                "failures": dict(self.failures),
            }

    def read(self, entry: ImageEntry) -> tuple[np.ndarray, np.ndarray, int] | None:
        """The suggestion for an image: mask, certainties and round; None if there is none."""
        found = self.known.get(entry.id)
        if found is None:
            return None
        size = self.masks.images.get(entry).size
        folder = self.suggestions / entry.id
        return (*read_suggestion(folder, found, self.project, size), found.round)

    def _begin(self, prepare: Callable[..., tuple[RoundJob, Round]], *arguments: Any) -> None:
        self.status = Status("preparing", words="reading the masks")
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, args=(prepare, *arguments), daemon=True)
        self._thread.start()

    def _run(self, prepare: Callable[..., tuple[RoundJob, Round]], *arguments: Any) -> None:
        try:
            job, record = prepare(*arguments)
            self._follow(job, record)
        except (UnetkitError, OSError) as error:
            self.status.problem = str(error)
        finally:
            self.status.state, self.status.words = "idle", ""

    def _labelled(self) -> dict[str, int]:
        """Number of labelled pixels of each image that has some, by its id."""
        found = {}
        for entry in self.project.entries.values():
            if self.masks.has_mask(entry) and (count := self.masks.count_labelled(entry)):
                found[entry.id] = count
        return found

    def _prepare(self, minutes: float, labelled: Mapping[str, int]) -> tuple[RoundJob, Round]:
        self._score(labelled)
        number = max((one.number for one in self.finished), default=0) + 1
        place = self.folder / f"{number:03d}"
        if place.exists():
            remove(place)  # of a round that did not end
        place.mkdir(parents=True)
        table = place / PAIRS_TABLE
        write_pairs(self.project, table, labelled)
        write_class_file(self.project, place)
        before = [one for one in self.finished if Path(one.model).exists()]
        job = RoundJob(
            number,
            None,
            table,
            place / "run",
            minutes,
            Path(before[-1].model) if before else None,
            self.suggestions,
            self._images(labelled),
            frozenset(self.project.entries) - labelled.keys(),
        )
        total = sum(labelled.values())
        return job, Round(number, str(job.run), len(labelled), total, 0.0)

    def _prepare_given(self, model: Path) -> tuple[RoundJob, Round]:
        labelled = self._labelled()
        job = RoundJob(
            0,
            model,
            Path(),
            Path(),
            0.0,
            None,
            self.suggestions,
            self._images(labelled),
            frozenset(self.project.entries) - labelled.keys(),
        )
        return job, Round(0, str(model.resolve()), 0, 0, 0.0)

    def _images(self, labelled: Mapping[str, int]) -> tuple[tuple[str, Path], ...]:
        """Id and path of every image, those without labels first."""
        order = sorted(self.project.entries, key=labelled.__contains__)
        return tuple((id, self.project.entries[id].path) for id in order)

    def _score(self, labelled: Mapping[str, int]) -> None:
        """Compares suggestions with what was drawn afterwards, once for each image."""
        for id in labelled:
            found = self.known.get(id)
            if found is None or not found.is_unseen or found.is_scored:
                continue
            entry, folder = self.project.entries[id], self.suggestions / id
            with self.masks.opened(entry) as mask:
                suggested, _ = read_suggestion(folder, found, self.project, mask.file.pixels.shape)
                counts = count_agreement(suggested, mask.file.pixels, self.project)
            with self._lock:
                self.known[id] = replace(found, is_scored=True)
                write_record(folder, self.known[id])
                for place, one in enumerate(self.finished):
                    if one.number == found.round:
                        summed = counts + np.array(one.counts or 0, np.int64)
                        self.finished[place] = replace(
                            one,
                            counts=tuple(map(tuple, summed.tolist())),
                            scored=one.scored + 1,
                        )
                self._write()

    def _follow(self, job: RoundJob, record: Round) -> None:
        """Starts the process of a job, and takes its messages until it ends."""
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        with self._lock:
            if self._is_stopped:
                return
            self._process = context.Process(target=work, args=(job, sender), daemon=True)
            self._process.start()
        sender.close()
        started = time.monotonic()
        if job.model is not None:
            self._keep(record)
            self._take({"state": "suggesting", "words": "loading the libraries"})
        try:
            while True:
                message = receiver.recv()
                if message.get("state") == "trained":
                    seconds, updates = time.monotonic() - started, message["updates"]
                    self._keep(replace(record, seconds=seconds, updates=updates))
                elif self._take(message):
                    return
        except EOFError:
            self._process.join()
            if not self._is_stopped:
                self.status.problem = (
                    f"the process ended with code {self._process.exitcode} and without a word; "
                    "memory may have run out; close other programs, or train in another window "
                    f"with: unetkit train {job.table}"
                )
        finally:
            receiver.close()

    def _take(self, message: dict[str, Any]) -> bool:
        """Takes a message; returns whether it is the last one."""
        with self._lock:
            if "suggestion" in message:
                self.known[message["image"]] = message["suggestion"]
                self.failures.pop(message["image"], None)
            elif "image" in message:
                self.failures[message["image"]] = message["problem"]
            elif message.get("state") == "failed":
                self.status.problem = message["problem"]
                return True
            elif message.get("state") == "finished":
                return True
            elif "warned" in message:
                self.status.warnings.append(message["warned"])
            elif "state" in message:
                for name in ("state", "fraction", "words"):
                    setattr(self.status, name, message.get(name, getattr(self.status, name)))
        return False

    def _keep(self, record: Round) -> None:
        with self._lock:
            self.finished = [one for one in self.finished if one.number != record.number]
            self.finished.append(record)
            self._write()

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / ROUNDS_RECORD, json.dumps([asdict(one) for one in self.finished]))

    def _read(self) -> list[Round]:
        try:
            found = json.loads(read_text(self.folder / ROUNDS_RECORD))
            return [Round(**{**one, "counts": tuple(map(tuple, one["counts"]))}) for one in found]
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # none, or another version
            return []


def advise(rounds: Sequence[dict[str, Any]]) -> str:
    """Says whether more labelling pays, from the scores of the rounds; "" if that is not known.

    Args:
        rounds: Rounds in their order, with "scored", "score", "changed" and "updates".

    >>> advise([{"scored": 5, "score": 0.9, "changed": 0.01, "updates": 200}])
    'Of the last suggestions you changed 1.0 % of the pixels: little is left to be learnt.'
    """
    if rounds and 0 < rounds[-1]["updates"] < FEW_UPDATES:
        return (
            f"Only {format_count(rounds[-1]['updates'], 'update')} of the network fitted into the "
            "time, which is few: learn for longer, or close other programs."
        )
    known = [one for one in rounds if one["scored"] >= LEAST_SCORED and one["score"] is not None]
    if known and known[-1]["changed"] is not None and known[-1]["changed"] < LITTLE_CHANGED:
        return (
            f"Of the last suggestions you changed {100 * known[-1]['changed']:.1f} % of the "
            "pixels: little is left to be learnt."
        )
    if len(known) < 3:
        return ""
    best = max(one["score"] for one in known[:-2])
    if max(one["score"] for one in known[-2:]) < best + ROUND_GAIN:
        return (
            "The last two rounds were not better than those before: more labels of this kind no "
            "longer pay. Label the images of highest uncertainty, or train for longer."
        )
    return "The suggestions are still getting better: more labels pay."
