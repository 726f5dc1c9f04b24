"""The command line: parse, call, print. Exit codes: 0 done, 1 failure, 2 usage.

Each command imports its own part of the library, so that help answers at once.
"""

import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from unetkit._version import __version__
from unetkit.cli.options import (
    data_options,
    data_overrides,
    parse_sides,
    parse_size,
    refuse_beside_resume,
    training_options,
    training_overrides,
)
from unetkit.errors import ConfigError, UnetkitError, did_you_mean

MODEL_HELP = "A run folder or an exported .onnx file."


class _Commands(click.Group):
    """Suggests the command that was meant, and turns the library's errors into exit codes."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            names = self.list_commands(ctx)
            ctx.fail(
                f"no command {args[0]!r}; accepted are {', '.join(names)}; "
                f"{did_you_mean(args[0], names)}"
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UnetkitError as error:
            _finish(ctx)
            _complain(str(error))
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        except OSError as error:
            _finish(ctx)
            name = f" {error.filename}" if error.filename else ""
            _complain(
                f"the system refused{name}: {error.strerror or error}; free space or change "
                "permissions, and try again"
            )
            sys.exit(1)
        except KeyboardInterrupt:
            _finish(ctx)
            _complain("interrupted")
            sys.exit(130)


def _finish(ctx: click.Context) -> None:
    """Takes down a bar that an error left standing, and shows the cursor again."""
    if ctx.obj is not None:
        ctx.obj.finish()


def _complain(text: str) -> None:
    click.echo(f"unetkit: error: {text}", err=True)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="unetkit")
def main() -> None:
    """U-Net image segmentation: train on a folder, evaluate honestly, predict anywhere."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its errors are raised as well
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # ours is higher
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe may lack the letters of a file's name
            stream.reconfigure(errors="backslashreplace")


def _display(*, stderr: bool = False) -> Any:
    from unetkit.cli.console import ConsoleDisplay, make_console

    display = ConsoleDisplay(make_console(stderr=stderr))
    click.get_current_context().find_root().obj = display
    return display


def _library(name: str) -> Callable[..., Any]:
    """A public function of the package; a missing extra is a worded error."""
    import unetkit

    with _quiet_stderr():
        function: Callable[..., Any] = getattr(unetkit, name)
    return function


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """TensorFlow greets from C++ while it loads, before any setting can stop it."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@main.command()
@click.option("--out", default="unetkit-demo", show_default=True, help="Folder to make.")
@click.option("--steps", type=click.IntRange(min=1), help="Updates of the weights.")
def demo(out: str, steps: int | None) -> None:
    """Train, evaluate and predict on built-in synthetic pets, in some minutes."""
    display = _display()
    options = {} if steps is None else {"steps": steps}
    result = _library("demo")(out, display=display, **options)
    from unetkit.cli.tables import metrics_table

    display.console.print(metrics_table(result.figures))
    display.say(f"look at  {result.run / 'evaluation-data' / 'report.html'}")
    display.say(f"         {result.run / 'curves.png'}")
    display.say(f"         {result.predictions}")


@main.group()
def data() -> None:
    """Get data: Oxford-IIIT Pet, or synthetic sets."""


@data.command("oxford-pets")
@click.argument("folder")
@click.option("--archives", help="Folder where both archives lie already.")
@click.option("--cache", help="Where downloaded archives are kept.")
def oxford_pets(folder: str, **options: Any) -> None:
    """Download, verify and unpack Oxford-IIIT Pet (about 800 MB) into FOLDER."""
    display = _display()
    _library("download_oxford_pets")(folder, display=display, **options)
    display.say(f"next: unetkit check {folder}")


@data.command("synthetic-pets")
@click.argument("folder")
@click.option("--count", type=click.IntRange(min=2), default=500, show_default=True)
@click.option("--size", default="128", show_default=True, help="A side, or HEIGHTxWIDTH.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def synthetic_pets(folder: str, count: int, size: str, seed: int) -> None:
    """Draw pets with trimaps into FOLDER."""
    height, width = parse_sides(size)
    _library("write_synthetic_pets")(folder, count=count, height=height, width=width, seed=seed)
    click.echo(f"{count} synthetic pets in {folder}")


@data.command("synthetic-cells")
@click.argument("folder")
@click.option("--count", type=click.IntRange(min=1), default=40, show_default=True)
@click.option("--size", default="256", show_default=True, help="A side, or HEIGHTxWIDTH.")
@click.option("--bits", type=click.Choice(["8", "16"]), default="8", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def synthetic_cells(folder: str, count: int, size: str, bits: str, seed: int) -> None:
    """Draw touching cells with instance labels into FOLDER."""
    height, width = parse_sides(size)
    write = _library("write_synthetic_cells")
    write(folder, count=count, height=height, width=width, bits=int(bits), seed=seed)
    click.echo(f"{count} pictures of synthetic cells in {folder}")


@main.command()
@click.argument("data")
@data_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
@click.option("--pictures", help="Folder for contact sheets with masks laid over.")
@click.option("--write-split", help="File for the split.")
def check(data: str, as_json: bool, seed: int | None, **options: Any) -> None:
    """Look at the images and masks of DATA before training.

    DATA is a folder or a .csv of pairs. Exit code 1 if something was found that spoils training.
    """
    overrides = data_overrides(options)
    from unetkit.data.dataset import Sources
    from unetkit.data.splits import SplitRule

    rule = overrides.get("split", {}) | ({} if seed is None else {"seed": seed})
    display = _display(stderr=as_json)
    try:
        report = _library("check")(
            data,
            sources=Sources(**overrides.get("sources", {})),
            rule=SplitRule(**rule),
            classes=overrides.get("classes", {}),
            display=display,
            **options,
        )
    except UnetkitError as error:
        if as_json:
            click.echo(json.dumps({"data": data, "error": str(error)}))
        raise
    display.finish()
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        from unetkit.cli.tables import dataset_table, issues_table

        display.console.print(dataset_table(report))
        display.console.print(issues_table(report))
    if any(issue["level"] == "error" for issue in report["findings"]):
        sys.exit(1)


@main.command()
@click.argument("data", required=False)
@data_options
@training_options
@click.option("--skip-bad", is_flag=True, help="Go on without files that cannot be used.")
@click.option("--folds", type=click.IntRange(min=2), help="Train and test so many networks.")
@click.option("--config", help="A run's config.toml, or a part of one.")
@click.option("--out", help="Run folder to make.  [default: runs/DATA-PRESET]")
@click.option("--resume", help="Go on with this run folder, as it was begun.")
@click.option("--device", help="cpu, gpu, or one of several as in gpu:1.")
@click.option("--tensorboard", is_flag=True, help="Write figures for TensorBoard, too.")
@click.pass_context
def train(
    ctx: click.Context,
    data: str | None,
    preset: str | None,
    size: str | None,
    skip_bad: bool,
    folds: int | None,
    config: str | None,
    resume: str | None,
    **options: Any,
) -> None:
    """Train a U-Net on the images and masks of DATA, a folder or a .csv of pairs.

    Ctrl-C finishes the step and saves; --resume goes on from there.
    """
    session = {name: options.pop(name) for name in ("device", "tensorboard")}
    if resume is not None:
        refuse_beside_resume(ctx)
        from unetkit._shared.run_folder import PLAN

        display = _display()
        if Path(resume, PLAN).exists():
            _print_folds(_library("resume_folds")(resume, display=display, **session), display)
            return
        run = _library("resume")(resume, display=display, **session)
        display.say(f"done      {run}; next: unetkit evaluate {run} --data DATA")
        return
    given = data_overrides(options)
    training = training_overrides(options)
    run_training = _library("train" if folds is None else "cross_validate")
    overrides: dict[str, Any] = {}
    from unetkit.training.config import read_config, with_preset

    if config is not None:
        overrides = read_config(config)
    if preset is not None:
        overrides = with_preset(overrides, preset)
    if {"kind", "names"} & given.get("classes", {}).keys():
        overrides.pop("classes", None)  # what a configuration says of other classes is void
    if skip_bad:
        given.setdefault("sources", {})["skip_bad"] = True
    if training:
        given["training"] = training
    if "channel_axis" in given.get("sources", {}) and "pixels" in overrides:
        given["pixels"] = {"channel_axis": given["sources"]["channel_axis"]}
    for section, values in given.items():
        overrides[section] = {**overrides.get(section, {}), **values}
    display = _display()
    options |= {"size": parse_size(size), "config": overrides, "display": display, **session}
    if folds is None:
        run = run_training(data, **options)
        display.say(f"done      {run}; next: unetkit evaluate {run} --data DATA")
        return
    name = Path(data or overrides.get("data", "data")).resolve().stem
    options["out"] = options["out"] or f"runs/{name}-folds"
    _print_folds(run_training(data, folds=folds, **options), display)


def _print_folds(pooled: dict[str, Any], display: Any) -> None:
    from unetkit.cli.tables import metrics_table

    display.console.print(metrics_table(pooled))


@main.command()
@click.argument("model")
@click.option("--data", required=True, help="Folder or .csv of images and masks.")
@click.option("--images", help="Part of the path of images, * for anything.")
@click.option("--masks", help="Part of the path of masks, such as 'GT/SEG'.")
@click.option("--skip-bad", is_flag=True, help="Go on without pairs that cannot be read.")
@click.option("--part", default="test", show_default=True, help="test, validation, train or all.")
@click.option("--out", help="Folder for the results.")
@click.option("--overwrite", is_flag=True, help="Replace earlier results.")
def evaluate(
    model: str, images: str | None, masks: str | None, skip_bad: bool, **options: Any
) -> None:
    """Score MODEL, a run folder or an exported file, on the test part of a folder."""
    given: dict[str, Any] = {"images": images, "masks": masks, "skip_bad": skip_bad or None}
    given = {name: value for name, value in given.items() if value is not None}
    run_evaluation = _library("evaluate")
    from unetkit.cli.tables import metrics_table
    from unetkit.evaluation.selection import recorded_sources

    # Of what is not said here, what training was told still holds.
    sources = replace(recorded_sources(Path(model), Path(options["data"])), **given)
    display = _display()
    result = run_evaluation(model, sources=sources, display=display, **options)
    display.console.print(metrics_table(result))
    if result["intervals"]:
        low, high = result["intervals"]["original"]["summed"]["mean_iou"]
        display.say(f"mean IoU over all pixels, 95 % interval over images: {low:.4f} to {high:.4f}")


@main.command()
@click.argument("run")
@click.option(
    "--out", help="The file, of one evaluation.  [default: report.html beside its figures]"
)
@click.option("--overwrite", is_flag=True, help="Replace the file that --out names.")
def report(run: str, **options: Any) -> None:
    """Write the report of each evaluation of RUN, one HTML file that needs nothing else.

    RUN is a run folder, or the folder of one evaluation.
    """
    for path in _library("report")(run, **options):
        click.echo(path)


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def compare(runs: tuple[str, ...], as_json: bool) -> None:
    """Say whether evaluated runs differ, on the images that all were scored on.

    Each run is compared with the first.
    """
    result = _library("compare")(runs)
    if as_json:
        from unetkit.metrics.summary import plain

        click.echo(json.dumps(plain(result), ensure_ascii=False))
        return
    from unetkit.cli.tables import comparison_table

    display = _display()
    display.console.print(comparison_table(result))
    for sentence in result["conclusions"]:
        display.say(sentence)


@main.command()
@click.argument("images", nargs=-1)
@click.option("--model", help=MODEL_HELP)
@click.option("--out", help="Folder for the results.  [default: predictions]")
@click.option("--overlay", is_flag=True, help="Also write the photo blended with class colours.")
@click.option("--cutout", is_flag=True, help="Also write the photo with transparent background.")
@click.option("--probabilities", is_flag=True, help="Also write the probability of each class.")
@click.option(
    "--format",
    default="auto",
    show_default=True,
    help="png, tiff, zarr, or auto: tiff for large images and GeoTIFFs, png for others.",
)
@click.option("--memory", help="Memory limit, such as 800MiB.  [default: 1.5GiB]")
@click.option(
    "--margin",
    type=click.IntRange(min=0),
    help="Pixels around each tile that the network also sees; few are faster, but not exact."
    "  [default: as many as exact tiles need]",
)
@click.option("--watch", help="Predict images that are put into this folder, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each image.")
@click.option("--show", is_flag=True, help="Draw each mask in the terminal.")
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@click.pass_context
def predict(
    ctx: click.Context,
    images: tuple[str, ...],
    model: str | None,
    out: str | None,
    format: str,
    memory: str | None,
    margin: int | None,
    watch: str | None,
    as_json: bool,
    show: bool,
    overwrite: bool,
    **kinds: bool,
) -> None:
    """Segment IMAGES: files, folders, or patterns such as 'photos/*.jpg'.

    Images may be larger than memory: TIFF, Zarr and NumPy files are predicted in tiles, with the
    result of one run over the whole image. An interrupted run continues.

    With - for IMAGES, one image is read from standard input, and its mask (or, with one of the
    options, its overlay, cut-out or probabilities) is written to standard output.
    """
    if model is None:
        raise ConfigError(
            "no model is named; accepted is a run folder or an .onnx file; name one with --model"
        )
    from unetkit.cli import predict as predicting
    from unetkit.prediction.predictor import Predictor

    wanted = [name for name, is_wanted in kinds.items() if is_wanted]
    if predicting.PIPE in images:
        beside = {"out", "format", "watch", "as_json", "show", "overwrite"}
        _refuse_beside_pipe(ctx, beside, len(images) + len(wanted[1:]))
        predictor = Predictor(model, memory=memory, margin=margin)
        predicting.predict_pipe(predictor, *(wanted or ["mask"]))
        return
    if bool(images) == (watch is not None):
        raise ConfigError(
            "images are given together with --watch, or neither is given; accepted are IMAGES or "
            "--watch FOLDER"
        )
    display = _display(stderr=as_json)
    folder = Path(out or "predictions")
    output = predicting.OutputOptions(folder, ("mask", *wanted), format, overwrite, show, as_json)
    try:
        predictor = Predictor(model, memory=memory, margin=margin)
        if watch is None:
            predicting.predict_images(predictor, images, output, display)
            return
        with suppress(KeyboardInterrupt):  # the way to end it
            predicting.watch_folder(predictor, Path(watch), output, display)
    except (UnetkitError, OSError) as error:
        if as_json:
            click.echo(json.dumps({"error": str(error)}, ensure_ascii=False))
        raise


def _refuse_beside_pipe(ctx: click.Context, names: set[str], count: int) -> None:
    """Refuses options that do not fit one image from standard input and one result."""
    given = [n for n in sorted(names) if ctx.get_parameter_source(n) is ParameterSource.COMMANDLINE]
    if given or count > 1:
        others = ", ".join(given) or "other images or several kinds of output"
        raise ConfigError(
            f"IMAGES is -, standard input, together with {others}; accepted is - alone, with one "
            "of --overlay, --cutout and --probabilities at most: "
            "unetkit predict - --model MODEL > FILE"
        )


@main.command()
@click.argument("model")
@click.option("--format", default="onnx", show_default=True, help="onnx.")
@click.option("--out", help="The file.  [default: RUN.onnx]")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def export(model: str, **options: Any) -> None:
    """Write the network of the run folder MODEL as one file that runs without Keras."""
    _library("export")(model, display=_display(), **options)


@main.command()
@click.argument("model")
@click.option("--layers", is_flag=True, help="List the layers with output shapes and parameters.")
def info(model: str, layers: bool) -> None:
    """Say what MODEL, a run folder or an exported file, is."""
    from unetkit.cli.console import make_console
    from unetkit.cli.tables import describe_model, layers_table
    from unetkit.prediction.predictor import Predictor

    predictor = Predictor(model)
    console = make_console()
    size = Path(predictor.path).stat().st_size
    console.print(describe_model(predictor.spec, str(predictor.path), size))
    if layers:
        console.print(layers_table(predictor.spec))


@main.command()
@click.argument("run")
@click.option("--data", help="Where its data lie now, if not where they were.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def verify(run: str, data: str | None, as_json: bool) -> None:
    """Say whether RUN could be repeated here: its data, versions, machine and files.

    Exit code 1 if something that matters is not as it was.
    """
    display = _display(stderr=as_json)
    result = _library("verify")(run, data, display=display)
    display.finish()
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        from unetkit.cli.tables import printable, verification_table

        display.console.print(verification_table(result))
        for sentence in result["conclusions"]:
            display.say(printable(sentence))
    if not result["same"]:
        sys.exit(1)


@main.command()
@click.argument("folder", default="runs")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def runs(folder: str, as_json: bool) -> None:
    """List every run below FOLDER ("runs" if left out), the newest first."""
    found = _library("list_runs")(folder)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    display = _display()
    if not found:
        display.say(f"no run below {folder}; to make one: unetkit train DATA")
        return
    from unetkit.cli.tables import problems_of, runs_table

    display.console.print(runs_table(found))
    for problem in problems_of(found):
        display.say(problem)
