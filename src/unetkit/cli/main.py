"""The command line: parse options, call the library, print.

Each command imports what it needs when it runs, so that help appears at once. Exit codes are in
`group`, long lists of options in `options`, printing in `console` and `tables`.
"""

import importlib.util
import io
import logging
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from unetkit._shared.installation import install_command
from unetkit._version import __version__
from unetkit.cli.datasets import data_group
from unetkit.cli.group import Commands, OneOf, library, open_display, quiet_stderr
from unetkit.cli.label import label_command
from unetkit.cli.options import (
    ANY_LOCATION,
    EXPORT_FORMAT_NAMES,
    PART_NAMES,
    PATH,
    POSITIVE,
    WEIGHT_NAMES,
    choices_from,
    data_options,
    engine_options,
    json_option,
    mask_options,
    out_option,
    parse_size,
    predict_options,
    reading_memory_option,
    refuse_beside_resume,
    take_sections,
    training_options,
    tta_option,
)
from unetkit.cli.serve import serve_command
from unetkit.cli.terminal import echo, gate_logs, print_json
from unetkit.errors import ConfigError, MissingExtraError, UnetkitError


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="unetkit")
def main() -> None:
    """U-Net image segmentation: train on a folder, evaluate honestly, predict anywhere.

    Help on a command: unetkit COMMAND --help

    \b
    To complete commands, options and values with the Tab key, in bash:
    eval "$(_UNETKIT_COMPLETE=bash_source unetkit)"
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its errors are raised as exceptions, too
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    gate_logs()
    _heed_hangup()
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # ours is higher
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # its encoding may lack characters of names
            stream.reconfigure(errors="backslashreplace")


def _heed_hangup() -> None:
    """Makes the end of the terminal an interrupt, as Ctrl-C is, unless `nohup` has it ignored."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)


@main.command("demo")
@out_option("Folder to create (default: unetkit-demo).", "unetkit-demo")
@click.option("--steps", type=POSITIVE, help="Number of weight updates (default: 170).")
def demo_command(out: str, steps: int | None) -> None:
    """Train, evaluate and predict on synthetic pets, in a few minutes."""
    display = open_display()
    options = {} if steps is None else {"steps": steps}
    result = library("demo", display)(out, display=display, **options)
    _print_metrics(result.figures, display)
    display.say(f"results  {result.run / 'evaluation-data' / 'report.html'}")
    display.say(f"         {result.run / 'curves.png'}")
    display.say(f"         {result.predictions}")


main.add_command(data_group)
main.add_command(label_command)
main.add_command(serve_command)


@main.command("check")
@click.argument("data", type=PATH)
@data_options
@json_option
@click.option(
    "--pictures", type=PATH, help="Folder for contact sheets of the pairs (default: none)."
)
@click.option("--write-split", type=PATH, help="File to write the split to (default: none).")
@reading_memory_option
def check_command(data: str, as_json: bool, seed: int | None, **options: Any) -> None:
    """Check the images and masks of DATA before training.

    DATA is a folder or a .csv of pairs. The exit code is 1 if an issue would spoil training.
    """
    sections = take_sections(options)
    from unetkit.data.sources import Sources
    from unetkit.data.splits import SplitRule

    rule = sections.get("split", {}) | ({} if seed is None else {"seed": seed})
    display = open_display(stderr=as_json)
    try:
        report = library("check", display)(
            data,
            sources=Sources(**sections.get("sources", {})),
            rule=SplitRule(**rule),
            classes=sections.get("classes", {}),
            display=display,
            **options,
        )
    except UnetkitError as error:
        if as_json:
            print_json({"data": data, "error": str(error)})
        raise
    display.finish()
    if as_json:
        print_json(report)
    else:
        from unetkit.cli.tables import dataset_table, issues_table

        display.console.print(dataset_table(report))
        display.console.print(issues_table(report))
    if any(issue["level"] == "error" for issue in report["findings"]):
        sys.exit(1)


@main.command("train")
@click.argument("data", required=False, type=PATH)
@data_options
@training_options
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    help="Number of networks to train and test in a cross-validation (default: one network).",
)
@click.option(
    "--config", type=PATH, help="Configuration file, as config.toml of a run (default: none)."
)
@out_option("Run folder to create (default: runs/DATA-PRESET).")
@click.option(
    "--resume", type=PATH, help="Run folder to resume, with its own configuration (default: none)."
)
@click.option(
    "--data",
    "moved",
    help="Folder or .csv to which the data of a resumed run were moved (default: as recorded).",
)
@click.option(
    "--device",
    help="Device to train on: cpu, gpu, one of several as in gpu:1, or all, which needs Keras on "
    "JAX (default: the first GPU, else the CPU).",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of processes that train together, each with a part of each batch; more than one "
    "needs the extra jax.",
)
@click.option("--tensorboard", is_flag=True, help="Write metrics and images for TensorBoard.")
@reading_memory_option
@click.pass_context
def train_command(
    ctx: click.Context,
    data: str | None,
    preset: str | None,
    size: str | None,
    folds: int | None,
    config: str | None,
    resume: str | None,
    moved: str | None,
    processes: int,
    **options: Any,
) -> None:
    """Train a U-Net on the images and masks of DATA.

    DATA is a folder or a .csv of pairs.

    Ctrl-C finishes the current step and saves; --resume RUN continues from there, and --resume RUN
    --data NEW where the data were moved.
    """
    if processes > 1:
        _train_together(processes)
        return
    session = {name: options.pop(name) for name in ("device", "tensorboard")}
    if resume is not None:
        refuse_beside_resume(ctx)
        from unetkit._shared.run_folder import PLAN

        display = open_display()
        if Path(resume, PLAN).exists():
            resume_folds = library("resume_folds", display)
            _print_metrics(resume_folds(resume, data=moved, display=display, **session), display)
        else:
            run = library("resume", display)(resume, data=moved, display=display, **session)
            _print_run(run, display)
        return
    if moved is not None:
        raise ConfigError(
            f"--data is {moved!r} without --resume; accepted is DATA in its place, as in unetkit "
            f"train {shlex.quote(moved)}; leave out --data"
        )
    sections = take_sections(options)  # leaves epochs, minutes, seed and out
    display = open_display()
    run_training = library("train" if folds is None else "cross_validate", display)
    choices = choices_from(config, preset, sections)
    options |= {"size": parse_size(size), "config": choices, "display": display, **session}
    if folds is None:
        _print_run(run_training(data, **options), display)
        return
    name = Path(data or choices.data or "data").resolve().stem
    options["out"] = options["out"] or f"runs/{name}-folds"
    _print_metrics(run_training(data, folds=folds, **options), display)


def _train_together(processes: int) -> None:
    """Runs this command in several processes."""
    if importlib.util.find_spec("jax") is None:
        raise MissingExtraError(
            f"--processes is {processes}, which needs JAX, and it is not installed; it is part of "
            f"the extra jax; in a new environment: {install_command('jax')}"
        )
    from unetkit.training.processes import run_together

    arguments = [*sys.argv[1:], "--processes", "1"]  # the last one counts
    code, lost = run_together([sys.executable, "-m", "unetkit", *arguments], processes)
    if lost:
        echo(lost, err=True)
    if code or lost:
        raise SystemExit(code if code > 0 else 1)


def _print_run(run: Path, display: Any) -> None:
    from unetkit._shared.run_folder import load_config

    command = shlex.join(["unetkit", "evaluate", str(run), "--data", load_config(run)["data"]])
    display.say(f"done      {run}; next: {command}")


def _print_metrics(result: Mapping[str, Any], display: Any) -> None:
    from unetkit.cli.tables import metrics_table, metrics_to_quote

    for line in metrics_to_quote(result):
        display.say(line)
    display.console.print(metrics_table(result))


@main.command("evaluate")
@click.argument("model", type=PATH)
@click.option("--data", type=PATH, required=True, help="Folder or .csv of images and masks.")
@mask_options
@click.option(
    "--part",
    type=OneOf(PART_NAMES),
    default="test",
    help="Split to evaluate on (default: test).",
)
@click.option(
    "--field-of-view",
    type=PATH,
    help="Folder with a mask for each image, of its name; pixels that are 0 in it are not scored "
    "(default: all pixels are scored).",
)
@tta_option
@engine_options
@out_option("Folder for the results (default: evaluation-DATA in the run folder).")
@click.option("--overwrite", is_flag=True, help="Replace earlier results.")
@reading_memory_option
def evaluate_command(model: str, **options: Any) -> None:
    """Evaluate MODEL on the test split of a folder.

    MODEL is a run folder or a model file. Masks may have other values than those of the training:
    the classes are matched by name. Options that are not given are as in training for the data of
    the training, and as for check otherwise.
    """
    sections = take_sections(options)
    given = sections.get("sources", {})
    display = open_display()
    run_evaluation = library("evaluate", display)
    from unetkit.evaluation.selection import recorded_sources

    sources = replace(recorded_sources(Path(model), Path(options["data"])), **given)
    classes = sections.get("classes", {})
    result = run_evaluation(model, sources=sources, classes=classes, display=display, **options)
    _print_metrics(result, display)


@main.command("report")
@click.argument("run", type=PATH)
@out_option("HTML file to write, for a single evaluation (default: report.html in its folder).")
@click.option("--overwrite", is_flag=True, help="Replace an existing file at --out.")
def report_command(run: str, **options: Any) -> None:
    """Write the report of each evaluation of RUN as an HTML file.

    The file needs no other file and no network. RUN is a run folder, or the folder of one
    evaluation.
    """
    display = open_display(stderr=True)  # standard output has the paths alone
    display.waiting("writing   the report")
    paths = library("report")(run, **options)
    display.finish()
    for path in paths:
        echo(str(path))


@main.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", type=PATH)
@json_option
def compare_command(runs: tuple[str, ...], as_json: bool) -> None:
    """Compare runs on the images that all were evaluated on.

    Each run is compared with the first.
    """
    display = open_display(stderr=as_json)
    display.waiting("comparing the runs")
    result = library("compare")(runs)
    display.finish()
    if as_json:
        from unetkit._shared.records import plain

        print_json(plain(result))
        return
    from unetkit.cli.tables import comparison_table

    display.console.print(comparison_table(result))
    for sentence in result["conclusions"]:
        display.say(sentence)


@main.command()
@click.argument("images", nargs=-1, type=ANY_LOCATION)
@predict_options
@engine_options
@click.pass_context
def predict(ctx: click.Context, images: tuple[str, ...], **options: Any) -> None:
    """Segment IMAGES: files, folders, patterns or lists.

    They name images and videos. A pattern such as 'photos/*.jpg' stands for all files that match
    it, a .txt, .csv or .parquet file for the paths in it.

    IMAGES and --out may be addresses, such as s3://bucket/photos, https://host/a.jpg or
    'zip://*.jpg::photos.zip' (extra remote); nothing else is ever fetched.

    Images may be larger than memory: TIFF, Zarr and NumPy files are predicted in tiles, with the
    result of one run over the whole image.

    The same command again leaves results that are finished, and predicts the others.

    Of a video (MP4, QuickTime, AVI, Matroska, WebM) or an animation (GIF, WebP, PNG), a folder of
    masks is written, one for each frame; and with --overlay, a video or an animation.

    With - for IMAGES, one image is read from standard input, and its mask (or, with one of the
    options, its overlay, cut-out or probabilities) is written to standard output.

    Without --model, the built-in network segments cats and dogs in photos.
    """
    from unetkit.cli.predict import run_prediction

    run_prediction(ctx, images, **options)


@main.command("export")
@click.argument("model", required=False, type=PATH)
@click.option(
    "--format",
    type=OneOf(EXPORT_FORMAT_NAMES),
    default="onnx",
    help="Format of the file, or all of them (default: onnx).",
)
@click.option(
    "--weights",
    type=OneOf(WEIGHT_NAMES),
    default="float32",
    help="Type in which weights are stored; float16 takes half the space, int8 a quarter, and is "
    "faster (default: float32).",
)
@click.option("--int8", is_flag=True, help="The same as --weights int8.")
@click.option(
    "--max-loss",
    type=click.FloatRange(min=0),
    default=0.01,
    help="Largest loss of mean IoU by int8 on validation images (default: 0.01).",
)
@click.option(
    "--data",
    type=PATH,
    help="Folder or .csv of the data of the run, for int8 (default: the path in the run).",
)
@out_option("File or folder to write (default: named after MODEL, in the current folder).")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.pass_context
def export_command(ctx: click.Context, model: str | None, int8: bool, **options: Any) -> None:
    """Export the network of MODEL to a file that runs without Keras.

    onnx is a model file; MODEL is a run folder. All other formats are made from a run folder or a
    model file, or without MODEL from the built-in network: web is a page that segments images in a
    browser, without a network; keras is for Keras 3, savedmodel a folder for TensorFlow, litert for
    TensorFlow Lite, openvino a folder for OpenVINO, bioimageio a package of the BioImage Model Zoo;
    all is a folder with each of them.

    With --int8, an ONNX file computes with whole numbers of 8 bits, whose ranges come from training
    images; it is scored on the validation images, and refused if it loses too much.
    """
    if int8:
        is_given = ctx.get_parameter_source("weights") is ParameterSource.COMMANDLINE
        if is_given and options["weights"] != "int8":
            raise ConfigError(
                f"--int8 is given together with --weights {options['weights']}; accepted is one of "
                "them"
            )
        options["weights"] = "int8"
    display = open_display()
    function = library("export", display)
    display.waiting(f"exporting {model or 'the built-in network'}")
    with quiet_stderr():
        function(model, display=display, **options)
    display.finish()


@main.command("info")
@click.argument("model", required=False, type=PATH)
@click.option("--layers", is_flag=True, help="List the layers with output shapes and parameters.")
def info_command(model: str | None, layers: bool) -> None:
    """Describe MODEL, or without it the built-in network.

    MODEL is a run folder, the folder of a cross-validation, or a model file.
    """
    from rich.markdown import Markdown

    from unetkit.cli.console import make_console
    from unetkit.cli.tables import describe_model, layers_table
    from unetkit.models.built_in import built_in_card
    from unetkit.prediction.predictor import Predictor

    predictor = Predictor(model)
    console = make_console()
    for one, _ in predictor.members:  # of the folder of a cross-validation, several
        size = one.path.stat().st_size
        console.print(describe_model(one.spec, str(one.path), size, one.is_checkable, one.card))
    if layers:
        console.print(layers_table(predictor.spec))
    if model is None:
        console.print()
        console.print(Markdown(built_in_card()))


@main.command("verify")
@click.argument("run", type=PATH)
@click.option(
    "--data", type=PATH, help="Folder or .csv of the data now (default: the path in the run)."
)
@json_option
def verify_command(run: str, data: str | None, as_json: bool) -> None:
    """Check whether RUN can be reproduced here.

    Its data, versions, machine and files are compared with those of the training. The exit code is
    1 if something that matters has changed.
    """
    display = open_display(stderr=as_json)
    result = library("verify", display)(run, data, display=display)
    display.finish()
    if as_json:
        print_json(result)
    else:
        from unetkit.cli.tables import verification_table

        display.console.print(verification_table(result))
        for sentence in result["conclusions"]:
            display.say(sentence)
    if not result["same"]:
        sys.exit(1)


@main.command("runs")
@click.argument("folder", default="runs", type=PATH)
@json_option
def runs_command(folder: str, as_json: bool) -> None:
    """List all runs in FOLDER and its subfolders, the newest first.

    Without FOLDER, those in the folder runs.
    """
    found = library("list_runs")(folder)
    if as_json:
        print_json(found)
        return
    display = open_display()
    if not found:
        display.say(f"no runs in {folder}; to train one: unetkit train DATA")
        return
    from unetkit.cli.tables import problems_of, runs_table

    display.console.print(runs_table(found))
    for problem in problems_of(found):
        display.say(problem)
