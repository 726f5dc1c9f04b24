"""A prediction of images on the command line: what it shows meanwhile, and what became of each.

Where its images come from is left to `predict`, for all three places where they are predicted:
this machine, its workers, and addresses.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unetkit._shared.wording import format_count
from unetkit.cli.console import ConsoleDisplay, draw_result
from unetkit.cli.terminal import print_json
from unetkit.cluster.connection import describe_workers
from unetkit.cluster.predict import predict_on_workers
from unetkit.cluster.tasks import STALLED_MINUTES
from unetkit.cluster.worker import FinishedResult
from unetkit.errors import ConfigError, OutputExistsError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.tiling import Tiling
from unetkit.remote.addresses import Location
from unetkit.results.files import Prediction, predict_files
from unetkit.results.inputs import InputImage, Shard
from unetkit.results.masks import describe_masks
from unetkit.results.outputs import ResultOptions
from unetkit.results.plan import Job, find_destination
from unetkit.results.remote_files import predict_remote
from unetkit.results.remote_inputs import RemoteImage

Connect = Callable[[], AbstractContextManager[Any]]  # to workers: yields a client of Dask
MOST_LISTED = 100  # images that were not predicted, at the end
LISTED = 3  # images that are named because they are the most uncertain


@dataclass(frozen=True)
class OutputOptions:
    """Where outputs are written, and what is printed.

    Args:
        out: Folder for the outputs, or file of the mask of one image.
        kinds: Kinds of output; see `predict_files`.
        format: Format of the files; see `predict_files`.
        overwrite: Whether to replace existing outputs.
        show: Whether to draw each mask in the terminal.
        as_json: Whether to print one line of JSON for each image to standard output, and nothing
            else.
        fail_fast: Whether to stop at the first image that cannot be predicted.
        stalled_minutes: Time after which an image that a worker does not finish is given up.
        options: How results are written.
    """

    out: Path
    kinds: tuple[str, ...]
    format: str
    overwrite: bool
    show: bool
    as_json: bool
    fail_fast: bool = False
    stalled_minutes: float = STALLED_MINUTES
    options: ResultOptions = field(default_factory=ResultOptions)


class PredictionRun:
    """Prediction of some images.

    Args:
        predictor: The model.
        output: Where outputs are written, and what is printed.
        display: Where progress is shown.
        total: Number of image files.
        shard: Part of all images that these files are; None for all.
    """

    def __init__(
        self,
        predictor: Predictor,
        output: OutputOptions,
        display: ConsoleDisplay,
        total: int,
        shard: Shard | None = None,
    ) -> None:
        self._predictor, self._output, self._display = predictor, output, display
        self._total, self._shard = total, shard
        self._predicted: set[Location] = set()
        self._finished_before: set[Location] = set()
        self.failed: dict[Location, UnetkitError] = {}  # the first error of each image
        self.uncertainties: list[tuple[float, str]] = []  # with the name of each image
        self._advance: Callable[[], object] | None = None

    def predict(self, files: Sequence[Path | InputImage], is_strict: bool) -> list[Path]:
        """Predicts image files, and returns the files written.

        Args:
            files: Image files.
            is_strict: Whether to raise the first error, instead of going on.
        """
        if self._total > 1:
            self._display.waiting(f"opening   {self._total} images")
        written = predict_files(
            self._predictor,
            files,
            self._output.out,
            **self._arguments(is_strict),
            collected=True,
            shard=self._shard,
        )
        self._display.finish()
        return written

    def predict_on(
        self, connected: Connect, files: Sequence[InputImage], is_strict: bool
    ) -> list[Path]:
        """Predicts image files on workers, and returns the files written.

        Args:
            connected: Connects to the workers.
            files: Image files.
            is_strict: Whether to raise the first error, instead of going on.
        """
        output = self._output
        if find_destination(output.out, output.format).mask is not None:
            raise ConfigError(
                f"output {output.out} names one file; accepted for workers is a folder; name one "
                "with --out"
            )
        self._display.waiting("starting  workers")
        with connected() as client:
            self._display.finish()
            self._display.say(describe_workers(client))
            written = predict_on_workers(
                client,
                self._predictor,
                files,
                output.out,
                **self._arguments(is_strict),
                stalled_minutes=output.stalled_minutes,
            )
            self._display.finish()
        return written

    def predict_remote(
        self, files: Sequence[InputImage | RemoteImage], out: Location, is_strict: bool
    ) -> list[Location]:
        """Predicts images of other machines, or to another one, and returns the files written.

        Args:
            files: The images.
            out: Where results are written.
            is_strict: Whether to raise the first error, instead of going on.
        """
        arguments = self._arguments(is_strict) | {
            "on_result": lambda one: self._on_result(one.prediction, one.image, one.files),
            "on_finished": self._on_finished_image,
        }
        written = predict_remote(
            self._predictor, files, out, **arguments, collected=True, shard=self._shard
        )
        self._display.finish()
        return written

    def _arguments(self, is_strict: bool) -> dict[str, Any]:
        """What all three ways to predict take alike."""
        output = self._output
        return {
            "kinds": output.kinds,
            "format": output.format,
            "overwrite": output.overwrite,
            "options": output.options,
            "on_result": self._on_result,
            "begin": self._begin,
            "on_error": None if is_strict else self._on_error,
            "on_finished": self._on_finished,
        }

    def summarise(self, written: Sequence[Location], where: Location) -> None:
        """Prints how many images have how many new files, what masks are, and how uncertain."""
        self._display.say(f"{self.describe()}, {format_count(len(written), 'file')} in {where}")
        if written:
            self._display.say(
                describe_masks(self._predictor.spec.classes, self._output.options.mask)
            )
        if self.uncertainties:
            self._display.say(describe_uncertainties(self.uncertainties))

    def describe(self) -> str:
        """How many images were predicted, and how many an earlier run had finished."""
        every = format_count(self._total, "image")
        if self._shard is not None:
            every += f" of shard {self._shard}"
        before = len(self._finished_before - self._predicted - self.failed.keys())
        done = len(self._predicted - self.failed.keys())
        number = every if done == self._total else f"{done} of {every}"
        return f"{number}, {before} finished before" if before else number

    def list_failed(self) -> None:
        """Prints the images that were not predicted."""
        earlier = [i for i, error in self.failed.items() if isinstance(error, OutputExistsError)]
        bad = [image for image in self.failed if image not in earlier]
        for images, what in (
            (bad, "not predicted"),
            (earlier, "with results of other origin, left as they are; --overwrite replaces these"),
        ):
            if images:
                self._display.say(f"{format_count(len(images), 'image')} {what}:")
                for image in images[:MOST_LISTED]:
                    self._display.say(f"  {image}")
                if len(images) > MOST_LISTED:
                    self._display.say(f"  and {len(images) - MOST_LISTED} more, named above")

    def _on_finished(self, job: Job | FinishedResult) -> None:
        self._finished_before.add(job.image)
        if self._output.as_json:
            print_json({**_files_as_json(job.image, job.page, job.files), "finished_before": True})

    def _on_finished_image(self, image: Location) -> None:
        self._finished_before.add(image)
        if self._output.as_json:
            print_json({"image": str(image), "finished_before": True})

    def _on_error(self, image: Location, error: UnetkitError) -> None:
        self.failed.setdefault(image, error)
        if self._output.as_json:
            print_json({"image": str(image), "error": str(error)})
        else:
            self._display.warn(str(error))
        if self._advance is not None:
            self._advance()

    def _on_result(
        self,
        result: Prediction,
        image: Location | None = None,
        files: Mapping[str, Location] | None = None,
    ) -> None:
        """Shows a prediction; `image` and `files` say where it is, if not in `result`."""
        output = self._output
        image = result.image if image is None else image
        if output.as_json:
            print_json(prediction_as_json(result, self._predictor, image, files or result.files))
        elif output.show and result.photo is not None and result.mask is not None:
            classes = self._predictor.spec.classes
            draw_result(self._display.console, classes, result.name, result.photo, result.mask)
        if result.uncertainty is not None:
            self.uncertainties.append((result.uncertainty, result.name))
        is_new = image not in self._predicted
        self._predicted.add(image)
        if is_new and self._total > 1:
            if self._advance is None:  # all others are known to be finished, or not to be predicted
                left = self._total - len(self._finished_before | self.failed.keys())
                self._advance = self._display.task("predicting", max(left, 1))
            self._advance()

    def _begin(self, image: Location, tiling: Tiling, finished: int) -> Callable[[], object]:
        earlier = f", {finished} of them finished by an earlier run" if finished else ""
        done = len(self._predicted | self._finished_before | self.failed.keys())
        number = f" ({min(done + 1, self._total)} of {self._total})" if self._total > 1 else ""
        self._display.say(f"{image.name}{number}: {tiling.describe()}{earlier}")
        self._advance = lambda: None  # tiles show the progress instead of images
        return self._display.task("tiles", len(tiling) - finished)


def describe_uncertainties(uncertainties: Sequence[tuple[float, str]]) -> str:
    """Says in one line how uncertain images are, and which of them most.

    >>> describe_uncertainties([(0.1, "a.png"), (0.4, "b.png"), (0.1, "c.png")])
    'mean uncertainty 0.200, from 0 to 1; largest: b.png 0.400, a.png 0.100, c.png 0.100'
    """
    mean = sum(value for value, _ in uncertainties) / len(uncertainties)
    largest = sorted(uncertainties, key=lambda one: (-one[0], one[1]))[:LISTED]
    named = ", ".join(f"{name} {value:.3f}" for value, name in largest)
    return f"mean uncertainty {mean:.3f}, from 0 to 1; largest: {named}"


def prediction_as_json(
    result: Prediction, predictor: Predictor, image: Location, files: Mapping[str, Location]
) -> dict[str, Any]:
    """Returns what `--json` prints of an image.

    Args:
        result: Its prediction.
        predictor: The model.
        image: Where the image is.
        files: Where its results are, by their kinds.
    """
    names = predictor.spec.classes.names
    counts = None if result.counts is None else [int(count) for count in result.counts]
    return {
        **_files_as_json(image, result.page, files),
        "height": result.size[0],
        "width": result.size[1],
        "objects": result.objects,
        "uncertainty": result.uncertainty,
        "disagreement": result.disagreement,
        "pixels": None if counts is None else dict(zip(names, counts, strict=True)),
        "exact": result.tiling.is_exact,
        "tiles": len(result.tiling),
        "waste": round(result.tiling.waste, 4),
    }


def _files_as_json(
    image: Location, page: int | None, files: Mapping[str, Location]
) -> dict[str, Any]:
    named = {kind: str(file) for kind, file in files.items()}
    return {"image": str(image), "page": page, "files": named}
