"""`unetkit predict`: image files, a pipe or a watched folder in, files and text or JSON out."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from unetkit._shared.wording import format_count
from unetkit.cli.console import ConsoleDisplay, require_colours
from unetkit.cli.group import open_display
from unetkit.cli.prediction_run import (
    Connect,
    OutputOptions,
    PredictionRun,
)
from unetkit.cli.terminal import echo, print_json
from unetkit.cli.video import run_videos
from unetkit.cli.watched_folder import watch_folder
from unetkit.cluster.connection import connect, local_workers, require_dask
from unetkit.cluster.tasks import STALLED_MINUTES
from unetkit.errors import ConfigError, UnetkitError
from unetkit.io.pixel_size import parse_pixel_size
from unetkit.models.built_in import NOTICE
from unetkit.prediction.predictor import Predictor
from unetkit.remote.addresses import Address, Location, as_location, is_address
from unetkit.results.collected import COLLECTED
from unetkit.results.files import (
    predict_stream,
)
from unetkit.results.inputs import InputImage, Shard, find_inputs, parse_shard
from unetkit.results.missing import MissingResult, find_missing
from unetkit.results.outputs import (
    DISAGREEMENT,
    MASK,
    UNCERTAINTY,
    ResultOptions,
    default_outputs,
)
from unetkit.results.passed_over import describe_passed_over, find_passed_over
from unetkit.results.plan import find_destination
from unetkit.results.remote_files import find_remote_missing
from unetkit.results.remote_inputs import RemoteImage, find_remote_inputs
from unetkit.video.containers import VIDEO_SUFFIXES
from unetkit.video.plan import separate_videos

PIPE = "-"


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
    run = PredictionRun(predictor, output, display, len(files), shard)
    if connected is None:
        written = run.predict(files, is_strict)
    else:
        written = run.predict_on(connected, files, is_strict)
    if not output.as_json:
        run.summarise(written, find_destination(output.out, output.format).folder)
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
    run = PredictionRun(predictor, output, display, len(files), selection.shard)
    written = run.predict_remote(files, out, is_strict)
    if not output.as_json:
        run.summarise(written, out)
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
