"""`unetkit predict`: image files, a pipe or a watched folder in, files and text or JSON out."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from unetkit._shared.wording import format_count
from unetkit.cli.console import ConsoleDisplay, draw_result, require_colours
from unetkit.cli.group import open_display
from unetkit.cli.terminal import echo, print_json
from unetkit.cli.video import run_videos
from unetkit.cli.watched_folder import watch
from unetkit.cluster.connection import connect, describe_workers, local_workers, require_dask
from unetkit.cluster.predict import predict_on_workers
from unetkit.cluster.tasks import STALLED_MINUTES
from unetkit.cluster.worker import FinishedResult
from unetkit.errors import ConfigError, OutputExistsError, UnetkitError
from unetkit.io.pixel_size import parse_pixel_size
from unetkit.models.built_in import NOTICE
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.tiling import Tiling
from unetkit.remote.addresses import Address, Location, as_location, is_address
from unetkit.results.collected import COLLECTED
from unetkit.results.files import (
    Prediction,
    predict_files,
    predict_stream,
)
from unetkit.results.inputs import InputImage, Shard, find_inputs, parse_shard
from unetkit.results.masks import describe_masks
from unetkit.results.missing import MissingResult, find_missing
from unetkit.results.outputs import (
    DISAGREEMENT,
    MASK,
    UNCERTAINTY,
    ResultOptions,
    default_outputs,
)
from unetkit.results.passed_over import describe_passed_over, find_passed_over
from unetkit.results.plan import Job, find_destination, plan_outputs
from unetkit.results.remote_files import find_remote_missing, predict_remote
from unetkit.results.remote_inputs import RemoteImage, find_remote_inputs
from unetkit.video.containers import VIDEO_SUFFIXES
from unetkit.video.plan import separate_videos

PIPE = "-"
Connect = Callable[[], AbstractContextManager[Any]]  # to workers: yields a client of Dask
MOST_LISTED = 100  # images that were not predicted, at the end
LISTED = 3  # images that are named because they are the most uncertain


@dataclass(frozen=True)
class Selection:
    """Which images are predicted.

    Args:
        items: Files, folders, patterns, lists and tables of paths.
        recursive: Whether to take the images of subfolders, too, and keep their tree.
        shard: Part of the images; None for all.
        without: Files that are predicted in another way: animations.
    """

    items: Sequence[str | Path]
    recursive: bool = False
    shard: Shard | None = None
    without: frozenset[Path] = frozenset()

    def find(self, out: Path) -> list[InputImage]:
        """Returns the images, without those in the folder of the results."""
        found = find_inputs(self.items, recursive=self.recursive, shard=self.shard, skip=out)
        return [image for image in found if image.path not in self.without]

    def find_remote(self, out: Location) -> list[InputImage | RemoteImage]:
        """Returns the images, of this machine and others."""
        return find_remote_inputs(self.items, recursive=self.recursive, shard=self.shard, skip=out)


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


def run_prediction(
    ctx: click.Context,
    images: Sequence[str],
    *,
    models: Sequence[str],
    tta: str | None,
    smooth: int | None,
    out: str | None,
    format: str,
    memory: str | None,
    threads: int | None,
    margin: int | None,
    engine: str,
    device: str,
    watch: str | None,
    as_json: bool,
    show: bool,
    overwrite: bool,
    fail_fast: bool,
    pixel_size: str | None,
    mask: str,
    recursive: bool,
    shard: str | None,
    list_missing: bool,
    workers: int | None,
    cluster: str | None,
    stalled_minutes: float | None,
    polygons: str | None,
    simplify: float | None,
    table: bool,
    overlay_format: str | None,
    probabilities_dtype: str | None,
    **outputs: bool,
) -> None:
    """Runs the command with its options; `outputs` says which are wanted beside the default."""
    wanted = [name for name, is_wanted in outputs.items() if is_wanted]
    size = None if pixel_size is None else parse_pixel_size(pixel_size)
    if simplify is not None and polygons is None:
        raise ConfigError(
            f"--simplify is {simplify} without --polygons; accepted is it for outlines; add "
            "--polygons geojson"
        )
    for option, given, needed in (
        ("--overlay-format", overlay_format, "overlay"),
        ("--probabilities-dtype", probabilities_dtype, "probabilities"),
    ):
        if given is not None and not outputs[needed]:
            raise ConfigError(
                f"{option} is {given} without --{needed}; accepted is it together with that; add "
                f"--{needed}"
            )
    options = ResultOptions(
        mask, size, simplify or 0.0, overlay_format or "png", probabilities_dtype or "float32"
    )
    wanted += [*(["areas"] if table else []), *([polygons] if polygons else [])]
    arguments: dict[str, Any] = {
        "tta": tta,
        "memory": memory,
        "threads": threads,
        "margin": margin,
        "engine": engine,
        "device": device,
    }
    if PIPE in images:
        _refuse_beside_pipe(ctx, len(images) + len(wanted[1:]))
        if not models:
            echo(NOTICE, err=True)
        predictor = Predictor(models or None, **arguments)
        kind = wanted[0] if wanted else MASK
        if kind == "areas" and predictor.spec.objects.finds_objects:
            kind = "table"
        predict_pipe(predictor, kind, options)
        return
    if bool(images) == (watch is not None):
        raise ConfigError(
            "images are given together with --watch, or neither is given; accepted are IMAGES or "
            "--watch FOLDER"
        )
    is_remote = any(map(is_address, (*images, out)))
    if is_remote:
        _refuse_beside_addresses(
            images, recursive, show or watch or workers is not None or cluster is not None
        )
    videos, others = ([], list(images)) if is_remote else separate_videos(images, recursive)
    if smooth is not None and not videos:
        raise ConfigError(
            f"--smooth is {smooth} without a video; accepted is it for videos and animations; "
            "leave it out"
        )
    if watch is not None and (recursive or shard is not None or list_missing):
        raise ConfigError(
            "--watch is given together with --recursive, --shard or --list-missing; accepted is "
            "--watch for the images of one folder; leave out the others"
        )
    selection = Selection(images, recursive, None if shard is None else parse_shard(shard))
    others_given = shard or watch or list_missing or show or threads is not None
    connected = _require_workers(workers, cluster, others_given, videos)
    if stalled_minutes is not None and connected is None:
        raise ConfigError(
            f"--stalled-minutes is {stalled_minutes:g} without workers; accepted is it together "
            "with --workers or --cluster; leave it out"
        )
    if connected is not None:
        arguments["threads"] = 1  # a worker has an image on each of its threads
    display = open_display(stderr=as_json or list_missing)
    if not models:
        display.say(NOTICE)
    folder = Path(out or "predictions")
    kinds = tuple(wanted)
    output = OutputOptions(
        folder,
        kinds,
        format,
        overwrite,
        show,
        as_json,
        fail_fast,
        stalled_minutes or STALLED_MINUTES,
        options,
    )
    try:
        display.waiting("loading   the network")
        predictor = Predictor(models or None, **arguments)
        display.finish()
        if UNCERTAINTY in wanted and len(predictor.members) > 1:
            output = replace(output, kinds=(*output.kinds, DISAGREEMENT))
        all_kinds = dict.fromkeys((*default_outputs(predictor.spec), *output.kinds))
        output = replace(output, kinds=tuple(all_kinds))
        if watch is None:
            if videos and (shard is not None or list_missing):
                raise ConfigError(
                    f"{videos[0]} is a video; accepted with --shard and --list-missing are images; "
                    "predict videos in a command of their own"
                )
            if is_remote:
                place = as_location(out or folder)
                if list_missing:
                    print_remote_missing(predictor, selection, place, output, display)
                else:
                    predict_remote_images(predictor, selection, place, output, display)
                return
            is_strict = fail_fast or len(videos) + len(others) == 1
            if videos:
                good = run_videos(
                    predictor,
                    videos,
                    display,
                    out=folder,
                    kinds=wanted,
                    format=format,
                    smooth=smooth or 1,
                    overwrite=overwrite,
                    show=show,
                    as_json=as_json,
                    is_strict=is_strict,
                    options=options,
                )
            if others:
                chosen = replace(selection, items=others, without=frozenset(videos))
                if list_missing:
                    print_missing(predictor, chosen, output, display)
                else:
                    predict_images(predictor, chosen, output, display, connected)
            if videos and not good:
                sys.exit(1)
            return
        with suppress(KeyboardInterrupt):  # the way to end it
            watch_folder(predictor, Path(watch), output, display)
    except (UnetkitError, OSError) as error:
        if as_json:
            print_json({"error": str(error)})
        raise


def _require_workers(
    workers: int | None, cluster: str | None, others: object, videos: Sequence[Path]
) -> Connect | None:
    """Returns what connects to workers, if they are asked for; refuses what they do not take."""
    if workers is not None and cluster is not None:
        raise ConfigError(
            f"--workers is {workers} together with --cluster {cluster}; accepted is one of them; "
            "leave --workers out for those of a cluster"
        )
    found: Connect
    if workers is not None:
        found = partial(local_workers, workers)
    elif cluster is not None:
        found = partial(connect, cluster)
    else:
        return None
    if others or videos:
        raise ConfigError(
            "--workers or --cluster is given together with --shard, --watch, --list-missing, "
            "--show, --threads or a video; accepted are images alone; leave out the others"
        )
    require_dask()
    return found


def _refuse_beside_addresses(images: Sequence[str], recursive: bool, others_given: object) -> None:
    """Refuses what is read and written on this machine only."""
    if others_given:
        raise ConfigError(
            "an address is given together with --watch, --workers, --cluster or --show; accepted "
            "beside addresses are other images and --shard; leave out the others"
        )
    here = [image for image in images if not is_address(image)]
    remote = [Address(image) for image in images if is_address(image)]
    videos: list[Location] = [one for one in remote if one.suffix.lower() in VIDEO_SUFFIXES]
    videos += separate_videos(here, recursive)[0]
    if videos:
        raise ConfigError(
            f"{videos[0]} is a video; accepted as addresses, and beside them, are images; copy it "
            "to this machine, and predict it in a command of its own"
        )


def _refuse_beside_pipe(ctx: click.Context, count: int) -> None:
    """Refuses options that do not fit one image from standard input and one result."""
    given = [
        name
        for name in (
            *("as_json", "format", "list_missing", "out", "overwrite"),
            *("cluster", "recursive", "shard", "show", "smooth", "stalled_minutes", "watch"),
            "workers",
        )
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given or count > 1:
        others = ", ".join(given) or "other images or several kinds of output"
        raise ConfigError(
            f"IMAGES is -, standard input, together with {others}; accepted is - alone, with one "
            "of --overlay, --cutout, --probabilities, --table and --polygons at most: "
            "unetkit predict - --model MODEL > FILE"
        )


def predict_images(
    predictor: Predictor,
    selection: Selection,
    output: OutputOptions,
    display: ConsoleDisplay,
    connected: Connect | None = None,
) -> None:
    """Segments image files, and prints a summary.

    An image that cannot be predicted is reported, and the next one is predicted; the exit status
    is then 1. A single image, or `fail_fast`, raises the error instead.
    """
    if output.show:
        require_colours(display.console)
    files, shard = selection.find(output.out), selection.shard
    is_strict = output.fail_fast or (len(files) == 1 and shard is None)
    run = _Run(predictor, output, display, len(files), shard)
    if connected is None:
        written = run.predict(files, is_strict)
    else:
        written = run.predict_on(connected, files, is_strict)
    if not output.as_json:
        where = find_destination(output.out, output.format).folder
        display.say(f"{run.describe()}, {format_count(len(written), 'file')} in {where}")
        if written:
            display.say(describe_masks(predictor.spec.classes, output.options.mask))
        if run.uncertainties:
            display.say(describe_uncertainties(run.uncertainties))
        if shard is None:
            found = find_passed_over(
                selection.items, recursive=selection.recursive, skip=output.out
            )
            if found:
                display.say(describe_passed_over(found))
        elif COLLECTED.keys() & set(output.kinds):
            display.say("tables of all images: the same command without --shard, at the end")
        run.list_failed()
    if run.failed:
        sys.exit(1)


def print_missing(
    predictor: Predictor, selection: Selection, output: OutputOptions, display: ConsoleDisplay
) -> None:
    """Prints the images without finished results; the exit status is 1 if there are any.

    Standard output has one path a line, which `predict` takes as a list; or JSON with the reasons.
    """
    files = selection.find(output.out)
    display.waiting(f"opening   {format_count(len(files), 'image')}")
    missing = find_missing(
        predictor, files, output.out, output.kinds, output.format, output.options
    )
    display.finish()
    _print_missing(missing, len(files), output, display)


def _print_missing(
    missing: Sequence[MissingResult], total: int, output: OutputOptions, display: ConsoleDisplay
) -> None:
    names = dict.fromkeys(str(one.image) for one in missing)
    if output.as_json:
        for one in missing:
            print_json({"image": str(one.image), "page": one.page, "reason": one.reason})
    else:
        for name in names:
            echo(name)
    counts = Counter(one.state for one in missing)
    reasons = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    every = format_count(total, "image")
    display.say(f"{len(names)} of {every}: {reasons}" if missing else f"{every}, all finished")
    if missing:
        sys.exit(1)


def predict_remote_images(
    predictor: Predictor,
    selection: Selection,
    out: Location,
    output: OutputOptions,
    display: ConsoleDisplay,
) -> None:
    """Segments images of other machines, or to other machines, and prints a summary.

    Errors are reported as by `predict_images`.
    """
    display.waiting("listing   images")
    files = selection.find_remote(out)
    display.finish()
    is_strict = output.fail_fast or (len(files) == 1 and selection.shard is None)
    run = _Run(predictor, output, display, len(files), selection.shard)
    written = run.predict_remote(files, out, is_strict)
    if not output.as_json:
        display.say(f"{run.describe()}, {format_count(len(written), 'file')} in {out}")
        if written:
            display.say(describe_masks(predictor.spec.classes, output.options.mask))
        if run.uncertainties:
            display.say(describe_uncertainties(run.uncertainties))
        run.list_failed()
    if run.failed:
        sys.exit(1)


def print_remote_missing(
    predictor: Predictor,
    selection: Selection,
    out: Location,
    output: OutputOptions,
    display: ConsoleDisplay,
) -> None:
    """Prints the images without finished results as `print_missing` does, without fetching any."""
    display.waiting("listing   images and results")
    files = selection.find_remote(out)
    missing = find_remote_missing(
        predictor, files, out, output.kinds, output.format, output.options
    )
    display.finish()
    _print_missing(missing, len(files), output, display)


def predict_pipe(predictor: Predictor, kind: str, options: ResultOptions) -> None:
    """Segments one image from standard input, to standard output."""
    if sys.stdin is None or sys.stdout is None:
        name = "input" if sys.stdin is None else "output"
        raise ConfigError(
            f"standard {name} is closed; accepted are a file or a pipe; use: unetkit predict - "
            "< image.png > mask.png"
        )
    if sys.stdout.isatty():
        raise ConfigError(
            "standard output is a terminal, which cannot show an image file; accepted is a file or "
            "a pipe; append > mask.png"
        )
    content = sys.stdin.buffer.read()
    sys.stdout.buffer.write(predict_stream(predictor, content, kind, options))


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
            run = _Run(predictor, output, display, 1)
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


class _Run:
    """Prediction of some image files: what it shows meanwhile, and what became of each.

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
        output = self._output
        if self._total > 1:
            self._display.waiting(f"opening   {self._total} images")
        written = predict_files(
            self._predictor,
            files,
            output.out,
            kinds=output.kinds,
            format=output.format,
            overwrite=output.overwrite,
            options=output.options,
            collected=True,
            shard=self._shard,
            on_result=self._on_result,
            begin=self._begin,
            on_error=None if is_strict else self._on_error,
            on_finished=self._on_finished,
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
                kinds=output.kinds,
                format=output.format,
                overwrite=output.overwrite,
                options=output.options,
                stalled_minutes=output.stalled_minutes,
                on_result=self._on_result,
                begin=self._begin,
                on_error=None if is_strict else self._on_error,
                on_finished=self._on_finished,
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
        output = self._output
        written = predict_remote(
            self._predictor,
            files,
            out,
            kinds=output.kinds,
            format=output.format,
            overwrite=output.overwrite,
            options=output.options,
            collected=True,
            shard=self._shard,
            on_result=lambda one: self._on_result(one.prediction, one.image, one.files),
            begin=self._begin,
            on_error=None if is_strict else self._on_error,
            on_finished=self._on_finished_image,
        )
        self._display.finish()
        return written

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
