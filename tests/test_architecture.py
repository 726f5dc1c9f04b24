"""The order of the modules, what they may import, and what the package shows."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unetkit

SOURCE = Path(__file__).parent.parent / "src" / "unetkit"

# From the bottom up: a module imports only what stands before it.
ORDER = [
    "errors",
    "locking",
    "runfolder",
    "provenance",
    "runtime",
    "backend",
    "pace",
    "display",
    "geometry",
    "windows",
    "resampling",
    "scale",
    "classes",
    "pixels",
    "segments",
    "tiff",
    "pictures",
    "tiffbytes",
    "tiffparts",
    "tiffwindows",
    "zarrwindows",
    "documents",
    "drawings",
    "annotations",
    "masks",
    "layout",
    "listing",
    "matching",
    "finding",
    "parallel",
    "reading",
    "looks",
    "duplicates",
    "kinds",
    "splits",
    "findings",
    "maskfindings",
    "checking",
    "augment",
    "pet_surface",
    "pet_animal",
    "pet_coat",
    "pet_scene",
    "datasets",
    "cell_scene",
    "cells",
    "archives",
    "oxford_pets",
    "metrics",
    "calibration",
    "boundaries",
    "bootstrap",
    "summary",
    "results",
    "comparison",
    "breakdown",
    "spec",
    "outputs",
    "levels",
    "omezarr",
    "pyramids",
    "checkpoints",
    "manifest",
    "tiling",
    "modelfile",
    "engine",
    "memory",
    "sources",
    "predictor",
    "tilestore",
    "gigapixels",
    "prediction",
    "loading",
    "losses",
    "model",
    "unet_drawing",
    "config",
    "optimizers",
    "building",
    "exporting",
    "importing",
    "finetuning",
    "plotting",
    "growth",
    "tensorboard",
    "overview",
    "choosing",
    "charts",
    "cautions",
    "cases",
    "reporting",
    "selection",
    "evaluation",
    "alarms",
    "progress",
    "recorder",
    "trainer",
    "training",
    "crossvalidation",
    "demonstration",
    "runs",
    "verification",
    "runtables",
    "tables",
    "console",
    "watching",
    "predicting",
    "options",
    "cli",
]
TRAINING_LIBRARIES = (
    "keras",
    "tensorflow",
    "imageio",
    "jinja2",
    "matplotlib",
    "skimage",
    "sklearn",
    "tomli_w",
    "tf2onnx",
    "onnx",
    "pooch",
    "requests",
    "urllib3",
    "h5py",
    "psutil",
)


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "unetkit":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unetkit."):
            found.add(node.module.split(".")[1])
    return found & set(ORDER)


def run_python(code: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd
    )
    return done.stdout


def test_every_module_has_its_place():
    files = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert files == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_imports_run_downwards(name):
    above = set(ORDER[ORDER.index(name) :])
    assert not imported_modules(SOURCE / f"{name}.py") & above


def test_public_names_exist_and_say_what_they_do():
    for name in unetkit.__all__:
        assert getattr(unetkit, name) is not None
        if name not in ("PRESETS", "__version__"):
            assert getattr(unetkit, name).__doc__
    assert set(unetkit._HOMES) == set(unetkit.__all__) - {"__version__"}


def test_no_module_hides_a_public_name():
    assert not set(unetkit.__all__) & set(ORDER)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = unetkit.trian


def test_importing_the_package_imports_nothing_heavy():
    heavy = (*TRAINING_LIBRARIES, "numpy", "cv2", "onnxruntime", "PIL")
    loaded = run_python("import sys, unetkit; print(*sys.modules)").split()
    assert not set(heavy) & set(loaded)


def test_the_command_line_answers_without_numerical_libraries():
    loaded = run_python("import sys, unetkit.cli; print(*sys.modules)").split()
    assert not {*TRAINING_LIBRARIES, "numpy", "onnxruntime"} & set(loaded)


def test_predicting_imports_no_training_library(run, tmp_path):
    code = f"""
import sys, numpy as np, unetkit
from unetkit.prediction import predict_files, find_images
mask = unetkit.Predictor({str(run)!r})(np.zeros((40, 50, 3), np.uint8))
assert mask.shape == (40, 50)
print(*sys.modules)
"""
    loaded = run_python(code, cwd=tmp_path).split()
    assert not set(TRAINING_LIBRARIES) & set(loaded)


def test_a_missing_extra_is_named_with_the_remedy(tmp_path):
    (tmp_path / "keras.py").write_text("raise ModuleNotFoundError('no keras', name='keras')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import unetkit
try:
    unetkit.train
except unetkit.UnetkitError as error:
    print(error)
"""
    assert 'pip install "unetkit[train]"' in run_python(code)


def test_a_backend_that_is_wanted_and_absent_is_refused(tmp_path):
    (tmp_path / "jax.py").write_text("raise ModuleNotFoundError('no jax', name='jax')")
    code = f"""
import os, sys
os.environ["KERAS_BACKEND"] = "jax"
sys.path.insert(0, {str(tmp_path)!r})
import unetkit
try:
    unetkit.train
except unetkit.UnetkitError as error:
    print(error)
"""
    said = run_python(code)
    assert "the Keras backend is jax" in said
    assert "KERAS_BACKEND=tensorflow" in said
