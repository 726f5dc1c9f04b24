"""The command line: parse, call, print. Exit codes: 0 done, 1 failure, 2 usage.

Each command imports its own part of the library, so that help answers at once.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from unetkit import __version__
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe may lack the letters of a file's name
            stream.reconfigure(errors="backslashreplace")


def _display() -> Any:
    from unetkit.console import ConsoleDisplay, make_console

    display = ConsoleDisplay(make_console())
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
    """Train, evaluate and predict on built-in synthetic pets, in about two minutes."""
    display = _display()
    options = {} if steps is None else {"steps": steps}
    result = _library("demo")(out, display=display, **options)
    from unetkit.console import figures_table

    display.console.print(figures_table(result.figures))
    display.say(f"look at  {result.run / 'evaluation-data' / 'cases.png'}")
    display.say(f"         {result.run / 'curves.png'}")
    display.say(f"         {result.predictions}")


@main.command()
@click.argument("data", required=False)
@click.option("--preset", help="fast (default), notebook or paper.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training part.")
@click.option("--minutes", type=float, help="Time for training, turned into steps by a trial.")
@click.option("--size", help="What the network sees: a side, or HEIGHTxWIDTH, in pixels.")
@click.option("--classes", help="Names of the classes in the order of their values: a,b,c.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Samples an update.")
@click.option("--seed", type=click.IntRange(min=0), help="Of split, weights and samples.")
@click.option("--config", help="A run's config.toml, or a part of one.")
@click.option("--out", help="Run folder to make.  [default: runs/DATA-PRESET]")
def train(
    data: str | None,
    preset: str | None,
    size: str | None,
    classes: str | None,
    batch_size: int | None,
    config: str | None,
    **options: Any,
) -> None:
    """Train a U-Net on the images and masks of the folder DATA."""
    run_training = _library("train")
    overrides: dict[str, Any] = {}
    from unetkit.config import read_config, with_preset

    if config is not None:
        overrides = read_config(config)
    if preset is not None:
        overrides = with_preset(overrides, preset)
    if classes is not None:
        overrides["classes"] = {"names": [name.strip() for name in classes.split(",")]}
    if batch_size is not None:
        overrides.setdefault("training", {})["batch_size"] = batch_size
    display = _display()
    run = run_training(data, size=_parse_size(size), config=overrides, display=display, **options)
    display.say(f"done      {run}; next: unetkit evaluate {run} --data DATA")


def _parse_size(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(
            f"size is {text!r}; accepted are a side, as in 128, or a height and a width, as in "
            "96x128; correct it"
        )
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


@main.command()
@click.argument("model")
@click.option("--data", required=True, help="Folder of images and masks.")
@click.option("--part", default="test", show_default=True, help="test, validation, train or all.")
@click.option("--out", help="Folder for the results.")
@click.option("--overwrite", is_flag=True, help="Replace earlier results.")
def evaluate(model: str, **options: Any) -> None:
    """Score MODEL, a run folder or an exported file, on the test part of a folder."""
    display = _display()
    result = _library("evaluate")(model, display=display, **options)
    from unetkit.console import figures_table

    display.console.print(figures_table(result))


@main.command()
@click.argument("images", nargs=-1, required=True)
@click.option("--model", help=MODEL_HELP)
@click.option("--out", default="predictions", show_default=True, help="Folder for the results.")
@click.option("--overlay", is_flag=True, help="Also write the classes laid over the photo.")
@click.option("--cutout", is_flag=True, help="Also write the photo with transparent background.")
@click.option("--probabilities", is_flag=True, help="Also write class probabilities (NPZ).")
@click.option("--overwrite", is_flag=True, help="Replace earlier results.")
def predict(
    images: tuple[str, ...], model: str | None, out: str, overwrite: bool, **kinds: bool
) -> None:
    """Segment IMAGES: files, folders, or patterns such as 'photos/*.jpg'."""
    if model is None:
        raise ConfigError(
            "no model is named; accepted is a run folder or an .onnx file; name one with --model"
        )
    from unetkit.prediction import Predictor, find_images, predict_files

    display = _display()
    files = find_images(images)
    predictor = Predictor(model)
    written = predict_files(
        predictor,
        files,
        out,
        kinds=("mask", *(name for name, wanted in kinds.items() if wanted)),
        overwrite=overwrite,
        on_done=display.task("predicting", len(files)),
    )
    display.finish()
    display.say(f"{len(files)} images, {len(written)} files in {out}")


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
    from unetkit.console import describe_model, layers_table, make_console
    from unetkit.prediction import Predictor

    predictor = Predictor(model)
    console = make_console()
    size = Path(predictor.path).stat().st_size
    console.print(describe_model(predictor.spec, str(predictor.path), size))
    if layers:
        console.print(layers_table(predictor.spec))
