"""`export`: a trained network in a file of another kind, to run it elsewhere.

An ONNX file is written from the weights of a run, everything else from a model file. Each is opened
and compared with the model file before it takes its place; a web page holds the model file itself.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit._shared.files import locked, part_of, remove, remove_leftovers, write_atomically
from unetkit._shared.installation import install_command
from unetkit.datasets.synthetic_pets import synthetic_image
from unetkit.errors import (
    ConfigError,
    DataNotFoundError,
    MissingExtraError,
    ModelFileError,
    OutputExistsError,
    did_you_mean,
)
from unetkit.exports.bioimageio_format import limits, read_package, write_package
from unetkit.exports.comparison import Comparison, Network, compare_networks
from unetkit.exports.web_page import require_web, write_web_page
from unetkit.models.built_in import BUILT_IN
from unetkit.prediction.engine import Engine

EXPORT_SUFFIXES = {  # of files and folders, for each format
    "onnx": ".onnx",
    "web": ".html",
    "keras": ".keras",
    "savedmodel": "-savedmodel",
    "litert": ".tflite",
    "openvino": "-openvino",
    "bioimageio": "-bioimageio.zip",
}
ALL = "all"
INT8 = "int8"  # weights, and numbers that the network computes with
EXPORT_WEIGHTS = ("float32", "float16", INT8)
EXPORT_FORMATS = (*EXPORT_SUFFIXES, ALL)
SYNTHETIC = 4  # images to compare on where there are none of a run
LOCK_NAME = 60  # characters of a file's name that its lock has, of up to four bytes each


@dataclass(frozen=True)
class ExportedFile:
    """An exported file or folder.

    Args:
        path: Path of it.
        comparison: How it compares with the model file; None for a file that holds the model file
            itself.
    """

    path: Path
    comparison: Comparison | None

    @property
    def megabytes(self) -> float:
        """Size of the file, or of all files of the folder."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def export(
    model: str | Path | None = None,
    *,
    format: str = "onnx",
    weights: str = "float32",
    max_loss: float = 0.01,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    display: Display | None = None,
) -> Path:
    """Exports a network to a file that runs without unetkit, and compares it with the original.

    "onnx" is a model file, written from the best weights of a run. All other formats are made from
    a model file: "web", a web page that segments images in a browser; "keras", a model for Keras 3;
    "savedmodel", a folder for TensorFlow; "litert", a file for TensorFlow Lite, which takes images
    of a single size; "openvino", a folder for OpenVINO; "bioimageio", a package of the BioImage
    Model Zoo, with one of the images below as its example. "all" is a folder with every format that
    can be written here.

    Networks are compared on validation images of the run, or on synthetic images if those do not
    exist. A web page holds the model file itself.

    Args:
        model: Run folder; for other formats than "onnx" also a model file, or None for the built-in
            network.
        format: Format of the file: one of the above.
        weights: Type in which weights are stored in an ONNX file: "float32"; "float16" for half
            the size; or "int8" for a quarter, with which the network also computes, faster, and
            which needs the data of the run. Other formats have those of their model file.
        max_loss: Largest accepted loss of mean IoU on the validation images of the run by "int8".
        data: Folder or table of the run's data for "int8"; None for the path in the run.
        out: Path of the file or folder; by default in the current folder, named after the model.
        overwrite: Whether to replace an existing file, or folder of an export.
        display: Shows progress.

    Returns:
        The path of the file or folder.

    Raises:
        ConfigError: `format` or `weights` is unknown, or they do not go together.
        DataNotFoundError: `model` does not exist or has no trained weights, or the folder of `out`
            does not exist.
        OutputExistsError: The file exists, or another process exports to it.
        ModelFileError: The weights do not fit the network, the output of the file differs from
            that of the original, or the format cannot hold the model.
        MissingExtraError: The format needs an extra that is not installed.
    """
    display = display or Display()
    if format not in EXPORT_FORMATS:
        raise ConfigError(
            f"format {format!r} is unknown; accepted are {', '.join(EXPORT_FORMATS)}"
            f"{did_you_mean(format, EXPORT_FORMATS)}"
        )
    if weights not in EXPORT_WEIGHTS:
        raise ConfigError(
            f"weights {weights!r} is unknown; accepted are {', '.join(EXPORT_WEIGHTS)}"
            f"{did_you_mean(weights, EXPORT_WEIGHTS)}"
        )
    name = "pets" if model is None else _name(Path(model))
    suffix = EXPORT_SUFFIXES.get(format, "-exports")
    path = Path(out) if out is not None else Path(f"{name}{suffix}")
    if format == "onnx":
        _export_onnx(
            model, path, weights, max_loss, None if data is None else Path(data), overwrite, display
        )
        return path
    if weights != "float32":
        raise ConfigError(
            f"weights are {weights!r} with format {format!r}; accepted are those of the model "
            f"file; export to ONNX with weights {weights!r} first, and name that file as the model"
        )
    engine = Engine(BUILT_IN if model is None else model)
    if format == ALL:
        _export_all(engine, model, name, path, overwrite, display)
        return path
    exported = _export_model(engine, model, name, format, path, overwrite, display)
    if exported.comparison is None:
        display.say(
            f"{path}: {exported.megabytes:.1f} MB; open it in a browser; it needs no other file "
            "and no network"
        )
    else:
        display.say(f"{path}: {exported.megabytes:.1f} MB, {exported.comparison.describe()}")
    return path


def _export_model(
    engine: Engine,
    model: str | Path | None,
    name: str,
    format: str,
    path: Path,
    overwrite: bool,
    display: Display,
) -> ExportedFile:
    """Writes one format that is made from a model file."""
    if format == "web":
        require_web(engine)
        with _writing(path, overwrite):
            write_web_page(engine, name, path)
        return ExportedFile(path, None)
    images, kind = _reference_images(engine, model)
    write: Callable[[Path, Path], None]
    read: Callable[[Path], Network]
    if format == "bioimageio":
        for sentence in limits(engine.spec):
            display.say(f"{path.name}: {sentence}")
        display.say(f"{path.name} holds one {kind} image and its prediction as the example")
        write, read = partial(_write_package, engine, name, images[0]), read_package
    else:
        write, read = _converter(format)
    any_size = format != "litert"
    if engine.spec.scale.is_native and not any_size:
        height, width = (
            engine.spec.geometry.input_size(side)
            for side in (engine.spec.scale.height, engine.spec.scale.width)
        )
        display.say(
            f"{path.name} takes inputs of {height}x{width} only, whereas the model takes images of "
            "any size: cut larger ones into such tiles"
        )
    with _writing(path, overwrite):
        part = part_of(path)
        try:
            part.mkdir()
            content = part / f"model{EXPORT_SUFFIXES[format]}"  # libraries insist on endings
            write(engine.path, content)
            comparison = compare_networks(read(content), engine, images, kind, any_size)
            remove(path)
            content.replace(path)
        finally:
            remove(part)
    return ExportedFile(path, comparison)


def _write_package(engine: Engine, name: str, image: np.ndarray, model: Path, path: Path) -> None:
    write_package(engine, name, image, path)


def _export_all(
    engine: Engine,
    model: str | Path | None,
    name: str,
    folder: Path,
    overwrite: bool,
    display: Display,
) -> None:
    _require_new(folder, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [("format", "MB", "ms", "model ms", "difference", "file")]
    for format, suffix in EXPORT_SUFFIXES.items():
        path = folder / f"{name}{suffix}"
        try:
            if format == "onnx":
                with _writing(path, overwrite):
                    write_atomically(path, lambda part: shutil.copyfile(engine.path, part))
                exported = ExportedFile(path, None)
            else:
                exported = _export_model(engine, model, name, format, path, overwrite, display)
        except (ConfigError, MissingExtraError, ModelFileError) as error:
            display.warn(f"{format}: {error}")
            continue
        found = exported.comparison
        figures = ("", "", "the model file")
        if found is not None:
            times = f"{1000 * found.seconds:.0f}", f"{1000 * found.model_seconds:.0f}"
            figures = (*times, f"{found.difference:.1g}")
        rows.append((format, f"{exported.megabytes:.1f}", *figures, path.name))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        display.say("  ".join(cells).rstrip())


def _converter(format: str) -> tuple[Callable[[Path, Path], None], Callable[[Path], Network]]:
    """How a format is written from a model file, and how it is opened.

    Raises:
        MissingExtraError: It needs Keras or OpenVINO, which is not installed.
        ConfigError: It needs another backend of Keras.
    """
    if format == "openvino":
        return _openvino()
    try:
        from unetkit.exports import keras_formats as formats
    except ModuleNotFoundError as error:
        raise _missing(format, error) from error
    if format == "keras":
        return formats.write_keras, formats.read_keras
    formats.require_tensorflow(format)
    if format == "litert":
        return formats.write_litert, formats.read_litert
    return formats.write_saved_model, formats.read_saved_model


def _openvino() -> tuple[Callable[[Path, Path], None], Callable[[Path], Network]]:
    try:
        from unetkit.exports import openvino_format
    except ModuleNotFoundError as error:
        raise _missing("openvino", error, "openvino") from error
    return openvino_format.write_openvino, openvino_format.read_openvino


def _missing(format: str, error: ModuleNotFoundError, extra: str = "train") -> MissingExtraError:
    return MissingExtraError(
        f"export to {format} needs {error.name}, which is not installed; the bare install exports "
        f"model files to web pages; {install_command(extra)}"
    )


def _reference_images(engine: Engine, model: str | Path | None) -> tuple[list[np.ndarray], str]:
    """Images to compare on, and their kind: those of the run, or synthetic ones."""
    if model is not None and (Path(model) / run_folder.CONFIG).is_file():
        try:
            from unetkit.training.export import reference_images
        except ModuleNotFoundError:  # OpenVINO needs no Keras
            pass
        else:
            return reference_images(Path(model))
    return [synthetic_image(i, engine.spec.pixels) for i in range(SYNTHETIC)], "synthetic"


def _export_onnx(
    model: str | Path | None,
    path: Path,
    weights: str,
    max_loss: float,
    data: Path | None,
    overwrite: bool,
    display: Display,
) -> None:
    if model is None:
        raise ConfigError(
            "format 'onnx' is wanted without a model; accepted is the folder of a training run; "
            f"the built-in network is such a file already, {BUILT_IN}"
        )
    try:
        from unetkit.training.export import export_run, require_run
    except ModuleNotFoundError as error:
        raise _missing("onnx", error) from error
    run = Path(model)
    require_run(run)
    with _writing(path, overwrite):
        if weights == INT8:
            from unetkit.exports.int8 import export_int8

            found = export_int8(run, path, max_loss, data, display).describe()
        else:
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
