"""A network in a file of another kind: which models, which names, and what is never replaced."""

import shutil
import sys

import keras
import numpy as np
import pytest

import unetkit
from tests.test_architecture import TRAINING_LIBRARIES, run_python
from unetkit import Predictor
from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit._shared.files import locked, part_of
from unetkit.cli import options
from unetkit.errors import (
    ConfigError,
    DataNotFoundError,
    MissingExtraError,
    ModelFileError,
    OutputExistsError,
)
from unetkit.exports import export as export_module
from unetkit.exports import keras_formats
from unetkit.exports.export import EXPORT_FORMATS, EXPORT_WEIGHTS, export
from unetkit.models.built_in import BUILT_IN


class Listener(Display):
    def __init__(self):
        self.lines, self.warnings = [], []

    def warn(self, text):
        self.warnings.append(text)

    def say(self, text):
        self.lines.append(text)


def test_the_command_has_the_formats_of_the_library():
    assert options.EXPORT_FORMAT_NAMES == EXPORT_FORMATS
    assert options.WEIGHT_NAMES == EXPORT_WEIGHTS
    assert unetkit.export is export


def test_unknown_weights_are_refused(run, tmp_path):
    words = "weights 'float8' is unknown; accepted are float32, float16, int8; did you mean"
    with pytest.raises(ConfigError, match=words):
        export(run, weights="float8", out=tmp_path / "m.onnx")


class TestFiles:
    def test_a_run_becomes_a_model_file(self, run, tmp_path):
        listener = Listener()
        path = export(run, out=tmp_path / "m.onnx", display=listener)
        (line,) = listener.lines
        assert "m.onnx: " in line
        assert "largest difference from Keras" in line
        assert Predictor(path).spec == Predictor(run).spec

    @pytest.mark.parametrize(("format", "name"), [("onnx", "my.run.onnx"), ("web", "my.run.html")])
    def test_the_file_is_named_after_the_run(self, format, name, run, tmp_path, monkeypatch):
        copy = shutil.copytree(run, tmp_path / "my.run")
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        assert export(copy, format=format).name == name
        assert [path.name for path in (tmp_path / "empty").iterdir()] == [name]

    def test_a_page_is_named_after_the_model_file(self, run, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        shutil.copy(run / run_folder.MODEL, tmp_path / "mine.onnx")
        assert export("mine.onnx", format="web").name == "mine.html"

    def test_one_process_at_a_time_exports_to_a_file(self, run, tmp_path):
        path = tmp_path / "x.html"
        part_of(path).write_bytes(b"half")  # of a killed process
        part_of(tmp_path / "y.html").write_bytes(b"half")
        with (
            locked(tmp_path / ".x.html.lock", "exports"),
            pytest.raises(OutputExistsError, match=r"another process exports .*x\.html; accepted"),
        ):
            export(run, format="web", out=path)
        assert export(run, format="web", out=path) == path
        left = [p.name for p in tmp_path.iterdir() if p.is_file()]
        assert len(left) == 2  # the export, and what belongs to the other name

    @pytest.mark.parametrize("format", ["onnx", "web"])
    def test_existing_files_are_not_replaced_unless_asked(self, format, run, tmp_path):
        (tmp_path / "m").write_text("mine")
        with pytest.raises(OutputExistsError, match=r"m exists already; .*--overwrite"):
            export(run, format=format, out=tmp_path / "m")
        assert (tmp_path / "m").read_text() == "mine"
        export(run, format=format, out=tmp_path / "m", overwrite=True)
        assert (tmp_path / "m").stat().st_size > 1000


class TestRefusals:
    def test_an_unknown_format(self, run):
        words = r"format 'onx' is unknown; accepted are onnx, .*, all; did you mean 'onnx'\?"
        with pytest.raises(ConfigError, match=words):
            export(run, format="onx")

    def test_a_folder_that_is_no_run(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"holds no config\.toml; accepted is the fold"):
            export(tmp_path)
        with pytest.raises(
            DataNotFoundError, match=r"holds no model\.onnx; accepted is the folder"
        ):
            export(tmp_path, format="web")

    @pytest.mark.parametrize("format", ["onnx", "web", "keras", "litert"])
    def test_a_folder_that_does_not_exist(self, format, run, tmp_path):
        words = "deep does not exist; accepted is a file in an existing folder"
        with pytest.raises(DataNotFoundError, match=words):
            export(run, format=format, out=tmp_path / "deep" / "m.onnx")

    def test_the_built_in_network_is_a_model_file_already(self):
        with pytest.raises(ConfigError, match=r"without a model; .* already, .*pets\.onnx"):
            export()

    @pytest.mark.parametrize("format", ["web", "litert", "all"])
    def test_a_file_made_from_a_model_file_has_its_weights(self, format):
        words = f"weights are 'float16' with format '{format}'; accepted are those of the model f"
        with pytest.raises(ConfigError, match=words):
            export(format=format, weights="float16")

    def test_what_is_no_model_file(self, tmp_path):
        (tmp_path / "m.onnx").write_text("no")
        with pytest.raises(ModelFileError, match=r"m\.onnx"):
            export(tmp_path / "m.onnx", format="web", out=tmp_path / "m.html")
        assert not (tmp_path / "m.html").exists()

    @pytest.mark.parametrize("format", ["onnx", "keras", "openvino"])
    def test_without_its_library_the_extra_is_named(self, format, run, monkeypatch):
        for module in ("training.export", "exports.keras_formats", "exports.openvino_format"):
            monkeypatch.setitem(sys.modules, f"unetkit.{module}", None)
        for name in ("keras_formats", "openvino_format"):
            monkeypatch.delattr(f"unetkit.exports.{name}", raising=False)
        with pytest.raises(MissingExtraError, match=rf"export to {format} needs .*, which is not"):
            export(run, format=format)

    def test_another_backend_of_keras(self, colour_model, tmp_path, monkeypatch):
        monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
        for format in ("savedmodel", "litert"):
            words = f"format is '{format}' with Keras on jax; accepted is TensorFlow"
            with pytest.raises(ConfigError, match=words):
                export(colour_model, format=format, out=tmp_path / "m")
        assert list(tmp_path.iterdir()) == []


class TestConverted:
    @pytest.mark.parametrize("format", ["keras", "savedmodel", "litert"])
    def test_it_is_compared_with_the_model_file(self, format, run, tmp_path):
        listener = Listener()
        path = export(run, format=format, out=tmp_path / "out", display=listener)
        line = listener.lines[-1]
        assert line.startswith(f"{path}: ")
        assert "largest difference from the model file" in line
        assert " validation images" in line  # as the data of the run exist
        assert [one.name for one in tmp_path.iterdir() if one.name != ".out.lock"] == ["out"]

    def test_what_differs_is_not_written(self, listed_model, tmp_path, monkeypatch):
        wrong = lambda path: lambda tile: np.ones((*tile.shape[:3], 3), np.float32)  # noqa: E731
        monkeypatch.setattr(keras_formats, "read_keras", wrong)
        (tmp_path / "m.keras").write_text("mine")
        with pytest.raises(ModelFileError, match=r"the exported network differs from .* report"):
            export(listed_model, format="keras", out=tmp_path / "m.keras", overwrite=True)
        assert (tmp_path / "m.keras").read_text() == "mine"

    def test_a_file_of_one_size_says_so_before_it_is_written(self, listed_model, tmp_path):
        class Early(Listener):
            def say(self, text):
                self.lines.append((text, (tmp_path / "m.tflite").exists()))

        listener = Early()
        export(listed_model, format="litert", out=tmp_path / "m.tflite", display=listener)
        (text, exists), _ = listener.lines
        assert text.startswith("m.tflite takes inputs of 32x40 only")
        assert not exists


class TestAll:
    def test_every_format_is_in_one_folder_and_one_table(self, listed_model, tmp_path, monkeypatch):
        refused = MissingExtraError("no TensorFlow")

        def refuse(format):
            raise refused

        def refuse_openvino():
            raise MissingExtraError("no OpenVINO")

        monkeypatch.setattr(keras_formats, "require_tensorflow", refuse)
        monkeypatch.setattr(export_module, "_openvino", refuse_openvino)
        listener = Listener()
        folder = export(listed_model, format="all", out=tmp_path / "all", display=listener)
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert names == {f"listed{end}" for end in (".onnx", ".html", ".keras", "-bioimageio.zip")}
        assert (folder / "listed.onnx").read_bytes() == listed_model.read_bytes()
        refusals = ["savedmodel: no TensorFlow", "litert: no TensorFlow", "openvino: no OpenVINO"]
        assert listener.warnings == refusals
        table = [line.split()[0] for line in listener.lines if "listed-bio" not in line[:20]]
        assert table == ["format", "onnx", "web", "keras", "bioimageio"]
        with pytest.raises(OutputExistsError, match="all exists already"):
            export(listed_model, format="all", out=folder)


def test_a_page_needs_no_training_library(tmp_path):
    code = f"""
import sys, unetkit
unetkit.export(format="web", out={str(tmp_path / "page.html")!r})
print(*sys.modules)
"""
    loaded = run_python(code, cwd=tmp_path).split()
    assert not set(TRAINING_LIBRARIES) & set(loaded)
    assert (tmp_path / "page.html").stat().st_size > BUILT_IN.stat().st_size
