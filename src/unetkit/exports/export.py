"""`export`: a trained network in a file of another kind, to run it elsewhere.

A web page is made from a model file, without a training framework; an ONNX file from the weights
of a run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unetkit._shared.display import Display
from unetkit._shared.files import locked, remove_leftovers
from unetkit._shared.installation import install_command
from unetkit.errors import (
    ConfigError,
    DataNotFoundError,
    MissingExtraError,
    OutputExistsError,
    did_you_mean,
)
from unetkit.exports.web_page import require_web, write_web_page
from unetkit.models.built_in import BUILT_IN
from unetkit.prediction.engine import Engine

EXPORT_SUFFIXES = {"onnx": ".onnx", "web": ".html"}  # of files, for each format
EXPORT_FORMATS = tuple(EXPORT_SUFFIXES)
LOCK_NAME = 60  # characters of a file's name that its lock has, of up to four bytes each


def export(
    model: str | Path | None = None,
    *,
    format: str = "onnx",
    weights: str = "float32",
    out: str | Path | None = None,
    overwrite: bool = False,
    display: Display | None = None,
) -> Path:
    """Exports a network to a file that runs without Keras.

    "onnx" is a model file, written from the best weights of a run and compared with Keras on
    validation images of the run, or on synthetic images if those do not exist. "web" is a web page
    that holds the model file as it is, and segments images in a browser.

    Args:
        model: Run folder; for "web" also a model file, or None for the built-in network.
        format: Format of the file: "onnx" or "web".
        weights: Type in which weights are stored in an ONNX file: "float32", or "float16" for half
            the size. A web page has those of its model file.
        out: Path of the file; by default MODEL.onnx or MODEL.html in the current folder.
        overwrite: Whether to replace an existing file.
        display: Shows progress.

    Returns:
        The path of the file.

    Raises:
        ConfigError: `format` or `weights` is unknown, or they do not go together.
        DataNotFoundError: `model` does not exist or has no trained weights, or the folder of `out`
            does not exist.
        OutputExistsError: The file exists, or another process exports to it.
        ModelFileError: The weights do not fit the network, the output of the file differs from
            that of Keras, or the format cannot hold the model.
        MissingExtraError: The format needs Keras, which is not installed.
    """
    display = display or Display()
    if format not in EXPORT_FORMATS:
        raise ConfigError(
            f"format {format!r} is unknown; accepted are {', '.join(EXPORT_FORMATS)}"
            f"{did_you_mean(format, EXPORT_FORMATS)}"
        )
    name = "pets" if model is None else _name(Path(model))
    path = Path(out) if out is not None else Path(f"{name}{EXPORT_SUFFIXES[format]}")
    if format == "web":
        _export_page(model, name, path, weights, overwrite, display)
    else:
        _export_onnx(model, path, weights, overwrite, display)
    return path


def _export_page(
    model: str | Path | None, name: str, path: Path, weights: str, overwrite: bool, display: Display
) -> None:
    if weights != "float32":
        raise ConfigError(
            f"weights are {weights!r} with format 'web'; accepted are those of the model file; "
            f"export to ONNX with weights {weights!r} first, and make the page from that file"
        )
    engine = Engine(BUILT_IN if model is None else model)
    require_web(engine)
    with _writing(path, overwrite):
        write_web_page(engine, name, path)
    display.say(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser; it needs no other file "
        "and no network"
    )


def _export_onnx(
    model: str | Path | None, path: Path, weights: str, overwrite: bool, display: Display
) -> None:
    if model is None:
        raise ConfigError(
            "format 'onnx' is wanted without a model; accepted is the folder of a training run; "
            f"the built-in network is such a file already, {BUILT_IN}"
        )
    try:
        from unetkit.training.export import export_run, require_run
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"export to ONNX needs {error.name}, which is not installed; the bare install exports "
            f"model files to web pages; {install_command('train')}"
        ) from error
    run = Path(model)
    require_run(run)
    with _writing(path, overwrite):
        found = export_run(run, path, weights)
    display.say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {found}")


@contextmanager
def _writing(path: Path, overwrite: bool) -> Iterator[None]:
    """Holds the lock of a file that is to be written, and that does not exist unless allowed."""
    _require_new(path, overwrite)
    if not path.parent.is_dir():
        raise DataNotFoundError(
            f"folder {path.parent} does not exist; accepted is a file in an existing folder"
        )
    with locked(path.with_name(f".{path.name[:LOCK_NAME]}.lock"), f"exports {path}"):
        _require_new(path, overwrite)  # written by another process meanwhile
        remove_leftovers(path)
        yield


def _require_new(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputExistsError(
            f"{path} exists already; accepted is a new file; name another with --out, or allow it "
            "with --overwrite"
        )


def _name(model: Path) -> str:
    """Name of a model: that of its run folder, or of its file."""
    path = model.resolve()
    return path.name if path.is_dir() else path.stem
