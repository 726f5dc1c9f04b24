"""A watched folder: its images, and those that are added or changed, are predicted."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from unetkit.cli.console import ConsoleDisplay
from unetkit.cli.prediction_run import OutputOptions, PredictionRun
from unetkit.cli.terminal import print_json
from unetkit.errors import ConfigError, DataNotFoundError, OutputExistsError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import is_image, stamp
from unetkit.results.inputs import InputImage
from unetkit.results.plan import find_destination, plan_outputs

POLL_SECONDS = 1.0

Stamp = tuple[int, int]  # bytes, time of the last change in nanoseconds


def watch(
    folder: Path, wait: Callable[[], object] = lambda: time.sleep(POLL_SECONDS)
) -> Iterator[Path]:
    """Yields the images in a folder, then each that is added or changed, without end.

    An image is yielded once it is unchanged between two listings of the folder, so that it is
    complete; and again after it has changed. Subfolders are ignored.

    Args:
        folder: The folder.
        wait: Called between two listings.

    Raises:
        DataNotFoundError: The folder does not exist, or not any more.
    """
    seen: dict[Path, Stamp] = {}
    given: dict[Path, Stamp] = {}
    while True:
        try:
            now = {path: _stamp(path) for path in sorted(folder.iterdir()) if is_image(path)}
        except OSError as error:
            raise DataNotFoundError(
                f"folder {folder} cannot be watched ({error.strerror}); accepted is an existing "
                "folder"
            ) from error
        for path, state in now.items():
            if state[0] and seen.get(path) == state and given.get(path) != state:
                given[path] = state
                yield path
        seen = now
        wait()


def _stamp(path: Path) -> Stamp:
    try:
        return stamp(path)
    except OSError:  # removed since the folder was listed
        return 0, 0


def watch_folder(
    predictor: Predictor, folder: Path, output: OutputOptions, display: ConsoleDisplay
) -> None:
    """Segments each image that is put into a folder, until interrupted.

    Images whose results are finished are skipped. An image that fails is reported, and the next one
    is predicted.

    Raises:
        OutputExistsError: The outputs would be written into the watched folder.
        DataNotFoundError: The folder does not exist.
    """
    if find_destination(output.out, output.format).mask is not None:
        raise ConfigError(
            f"output {output.out} names one file, and --watch predicts many images; accepted is a "
            "folder; name one with --out"
        )
    if output.out.resolve() == folder.resolve():
        raise OutputExistsError(
            f"output {output.out} is the folder that is watched, where results would be taken "
            "for new images; accepted is another folder; choose one with --out"
        )
    display.say(f"watching  {folder}; results go to {output.out}; Ctrl-C ends")
    owners: dict[Path, Path] = {}
    for image in watch(folder):
        try:
            plan = plan_outputs(
                predictor,
                [InputImage(image)],
                output.out,
                output.kinds,
                output.format,
                output.overwrite,
                options=output.options,
            )
            files = {file for job in plan for file in job.files.values()}
            _require_free(image, files, owners)
            owners |= dict.fromkeys(files, image)
            started = time.monotonic()
            run = PredictionRun(predictor, output, display, 1)
            written = run.predict([image], True)
            if not output.as_json:
                shown = ", ".join(map(str, written))
                took = f"{shown} ({time.monotonic() - started:.1f} s)"
                display.say(f"{image.name}: {took if written else 'finished before'}")
        except (UnetkitError, OSError) as error:
            if output.as_json:
                print_json({"image": str(image), "error": str(error)})
            else:
                display.warn(str(error))


def _require_free(image: Path, files: set[Path], owners: dict[Path, Path]) -> None:
    """Refuses an image whose outputs would replace those of another.

    Raises:
        OutputExistsError: One of `files` was written for another image.
    """
    for file in files:
        if owners.get(file, image) != image:
            raise OutputExistsError(
                f"{owners[file]} and {image} would both be written to {file}; accepted are images "
                "of different names; rename one of them"
            )
