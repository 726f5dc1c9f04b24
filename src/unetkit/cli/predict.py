"""What `unetkit predict` does with its options: files, a pipe, a watched folder, tables or JSON."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from unetkit.cli.console import ConsoleDisplay, draw_result, require_colours
from unetkit.errors import ConfigError, DataNotFoundError, OutputExistsError, UnetkitError
from unetkit.prediction.files import (
    Prediction,
    find_images,
    plan_outputs,
    predict_files,
    predict_stream,
)
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import is_image, stamp
from unetkit.prediction.tiling import Tiling

PIPE = "-"


@dataclass(frozen=True)
class Output:
    """Where results go, and what of them is shown.

    Args:
        folder: For the files.
        kinds: Of output.
        format: As for `predict_files`.
        overwrite: Whether earlier results may be replaced.
        show: Whether each is drawn in the terminal.
        as_json: Whether each is one line of JSON on standard output, and nothing else is.
    """

    folder: Path
    kinds: tuple[str, ...]
    format: str
    overwrite: bool
    show: bool
    as_json: bool


def predict_images(
    predictor: Predictor, images: Sequence[str], output: Output, display: ConsoleDisplay
) -> None:
    """Segments files, and says what became of them."""
    if output.show:
        require_colours(display.console)
    files = find_images(images)
    written = _predict(predictor, files, output, display)
    if not output.as_json:
        display.say(f"{len(files)} images, {len(written)} files in {output.folder}")


def predict_pipe(predictor: Predictor, kind: str) -> None:
    """Segments one image from standard input, to standard output."""
    if sys.stdout.isatty():
        raise ConfigError(
            "standard output is a terminal, which shows no pictures; accepted is a file or a pipe; "
            "append > mask.png"
        )
    sys.stdout.buffer.write(predict_stream(predictor, sys.stdin.buffer.read(), kind))


def watch_folder(
    predictor: Predictor, folder: Path, output: Output, display: ConsoleDisplay
) -> None:
    """Segments each image that is put into a folder, until it is interrupted.

    What has results that are newer than itself is left alone. What fails is reported, and the next
    one is looked at.

    Raises:
        OutputExistsError: The results would be put among the images.
    """
    if output.folder.resolve() == folder.resolve():
        raise OutputExistsError(
            f"output {output.folder} is the folder that is watched, where results would be taken "
            "for new images; accepted is another folder; name one with --out"
        )
    display.say(f"watching  {folder}; results go to {output.folder}; Ctrl-C ends")
    again = replace(output, overwrite=True)  # of an image that has changed
    owners: dict[Path, Path] = {}
    for image in watch(folder):
        try:
            plan = plan_outputs(predictor, [image], again.folder, again.kinds, again.format, True)
            files = {file for job in plan for file in job.files.values()}
            _require_free(image, files, owners)
            is_new = image not in owners.values()
            done = all(job.is_finished for job in plan)
            owners |= dict.fromkeys(files, image)
            if output.overwrite or not (is_new and done):
                _predict(predictor, [image], again, display)
        except (UnetkitError, OSError) as error:
            if output.as_json:
                _print_json({"image": str(image), "error": str(error)})
            else:
                display.warn(str(error))


def _require_free(image: Path, files: set[Path], owners: dict[Path, Path]) -> None:
    """Refuses an image whose results would replace those of another.

    Raises:
        OutputExistsError: They would.
    """
    for file in files:
        if owners.get(file, image) != image:
            raise OutputExistsError(
                f"{owners[file]} and {image} would both be written to {file}; accepted are images "
                "of different names; rename one of them"
            )


def _predict(
    predictor: Predictor,
    files: Sequence[Path],
    output: Output,
    display: ConsoleDisplay,
) -> list[Path]:
    on_image = display.task("predicting", len(files)) if len(files) > 1 else lambda: None

    def on_result(result: Prediction) -> None:
        if output.as_json:
            _print_json(as_json(result, predictor))
        elif output.show and result.photo is not None and result.mask is not None:
            classes = predictor.spec.classes
            draw_result(display.console, classes, result.name, result.photo, result.mask)
        if not result.page:
            on_image()

    def begin(image: Path, tiling: Tiling, finished: int) -> Callable[[], object]:
        earlier = f", {finished} of them done by an earlier run" if finished else ""
        display.say(f"{image.name}: {tiling.describe()}{earlier}")
        return display.task("tiles", len(tiling) - finished)

    written = predict_files(
        predictor,
        files,
        output.folder,
        kinds=output.kinds,
        format=output.format,
        overwrite=output.overwrite,
        on_result=on_result,
        begin=begin,
    )
    display.finish()
    return written


def as_json(result: Prediction, predictor: Predictor) -> dict[str, Any]:
    """What became of a picture, for programs."""
    names = predictor.spec.classes.names
    counts = None if result.counts is None else [int(count) for count in result.counts]
    return {
        "image": str(result.image),
        "page": result.page,
        "height": result.size[0],
        "width": result.size[1],
        "files": {kind: str(file) for kind, file in result.files.items()},
        "pixels": None if counts is None else dict(zip(names, counts, strict=True)),
        "exact": result.tiling.is_exact,
        "tiles": len(result.tiling),
        "waste": round(result.tiling.waste, 4),
    }


def _print_json(line: dict[str, Any]) -> None:
    click.echo(json.dumps(line, ensure_ascii=False))


SECONDS = 1.0  # between looks

Stamp = tuple[int, int]  # bytes, time of the last change in nanoseconds


def watch(folder: Path, wait: Callable[[], object] = lambda: time.sleep(SECONDS)) -> Iterator[Path]:
    """Yields images of a folder, without end: those that are there, then those that come.

    An image counts as whole when two looks in a row find it unchanged, and comes again when it has
    changed later. Folders below are not looked into.

    Args:
        wait: Called between two looks.

    Raises:
        DataNotFoundError: The folder does not exist, or no more.
    """
    seen: dict[Path, Stamp] = {}
    given: dict[Path, Stamp] = {}
    while True:
        try:
            now = {path: _stamp(path) for path in sorted(folder.iterdir()) if is_image(path)}
        except OSError as error:
            raise DataNotFoundError(
                f"folder {folder} cannot be watched ({error.strerror}); accepted is an existing "
                "folder; check the path"
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
    except OSError:  # it went while it was looked at
        return 0, 0
