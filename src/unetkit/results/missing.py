"""Which images have no finished results, over all shards of a job; nothing is written."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from unetkit.errors import UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.remote.addresses import Location
from unetkit.results.finished import MADE_AGAIN, Finder, ResultState, earlier_result_error
from unetkit.results.inputs import InputImage
from unetkit.results.outputs import require_outputs
from unetkit.results.plan import Job, find_destination, plan_outputs
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.records import Records, origin_of

UNREADABLE = "unreadable"  # state of an image, beside those of results


@dataclass(frozen=True)
class MissingResult:
    """An image without finished results.

    Args:
        image: Image file, or its address.
        page: Number of the image in a file of several, or None.
        state: What is known of its results, a value of `ResultState`; or `UNREADABLE`.
        reason: The same as a sentence with the name of the file.
    """

    image: Location
    page: int | None
    state: str
    reason: str


def find_missing(
    predictor: Predictor,
    images: Sequence[InputImage],
    out: Path,
    kinds: Sequence[str],
    format: str,
    options: ResultOptions,
) -> list[MissingResult]:
    """Returns the images without finished results, each with the reason.

    Args and Raises are those of `predict_files`.
    """
    require_outputs(predictor, kinds, format, options)
    missing: list[MissingResult] = []

    def note(job: Job) -> bool:
        state, file = finder.state_of(job)
        if state is not ResultState.FINISHED:
            missing.append(MissingResult(job.image, job.page, state.value, reason_of(state, file)))
        return False

    def on_error(image: Path, error: UnetkitError) -> None:
        missing.append(MissingResult(image, None, UNREADABLE, str(error)))

    destination = find_destination(out, format)
    names = None if destination.mask else {image.name for image in images}
    with closing(Records(destination.folder, names=names)) as records:
        finder = Finder(records, origin_of(predictor, options))
        plan_outputs(
            predictor,
            images,
            out,
            kinds,
            format,
            overwrite=False,
            on_error=on_error,
            is_needed=note,
            options=options,
        )
    return missing


def reason_of(state: ResultState, file: Location) -> str:
    """What is known of a result, as a sentence with its name."""
    if state in MADE_AGAIN:
        return f"{file} is {state.value}"
    return str(earlier_result_error(file, state))
