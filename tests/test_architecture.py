"""Which way imports run between the rooms, what the package shows, and where its tests are."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import unetkit
from unetkit._shared.installation import install_command

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "unetkit"

# From the bottom up: a room imports only itself and the rooms before it.
ROOMS = (
    "_version",
    "errors",
    "_shared",
    "remote",
    "io",
    "data",
    "objects",
    "models",
    "losses",
    "datasets",
    "metrics",
    "visualization",
    "checks",
    "prediction",
    "results",
    "video",
    "evaluation",
    "training",
    "exports",
    "runs",
    "serve",
    "label",
    "cluster",
    "cli",
)
TRAINING_LIBRARIES = (
    "keras",
    "tensorflow",
    "imageio",
    "jinja2",
    "matplotlib",
    "skimage",
    "sklearn",
    "tomli_w",
    "onnx",
    "requests",
    "urllib3",
    "h5py",
    "psutil",
)


def name_of(path: Path) -> str:
    """Dotted name of a file's module, without the name of the package."""
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


# Every module but those that only name a package, by its dotted name.
MODULES = {
    name_of(path): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.stem not in ("__init__", "__main__")
}


@cache
def imported_modules(name: str) -> frozenset[str]:
    """Modules of the package that a module imports, wherever in its file."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unetkit"):
            home = (node.module or "").removeprefix("unetkit").removeprefix(".")
            found |= {home, *(f"{home}.{alias.name}".lstrip(".") for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("unetkit.") for alias in node.names}
    return frozenset(found & MODULES.keys())


def room_of(name: str) -> str:
    return name.split(".")[0]


def run_python(code: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd
    )
    return done.stdout


def test_every_module_is_in_a_room():
    assert {room_of(name) for name in MODULES} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_one_way(room):
    above = ROOMS[ROOMS.index(room) + 1 :]
    wrong = [
        f"{name} imports {other}"
        for name in MODULES
        if room_of(name) == room
        for other in imported_modules(name)
        if room_of(other) in above
    ]
    assert wrong == []


def test_no_imports_go_in_a_circle():
    try:
        TopologicalSorter({name: imported_modules(name) for name in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_the_files_that_name_a_package_are_empty():
    for path in SOURCE.rglob("__init__.py"):
        assert path.parent == SOURCE or path.read_text(encoding="utf-8") == ""


def path_of_tests(name: str) -> Path:
    """The test file of a module, in the place that mirrors that of the module."""
    *rooms, module = name.split(".")
    return TESTS.joinpath(*rooms, f"test_{module}.py")


def test_every_module_has_a_test_file_of_its_name():
    missing = [name for name in MODULES if not path_of_tests(name).is_file()]
    assert [name for name in missing if name != "_version"] == []


def test_every_test_file_in_a_room_is_that_of_a_module():
    found = {path for path in TESTS.rglob("test_*.py") if path.parent != TESTS}
    strays = found - {path_of_tests(name) for name in MODULES}
    assert sorted(str(path.relative_to(TESTS)) for path in strays) == []


def test_public_names_exist_and_say_what_they_do():
    for name in unetkit.__all__:
        assert getattr(unetkit, name) is not None
        if name not in ("PRESETS", "__version__"):
            assert getattr(unetkit, name).__doc__
    assert set(unetkit._MODULE_OF) == set(unetkit.__all__) - {"__version__"}


def test_no_room_hides_a_public_name():
    assert not set(unetkit.__all__) & set(ROOMS)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = unetkit.trian


def test_importing_the_package_imports_nothing_heavy():
    heavy = (*TRAINING_LIBRARIES, "numpy", "cv2", "onnxruntime", "PIL")
    loaded = run_python("import sys, unetkit; print(*sys.modules)").split()
    assert not set(heavy) & set(loaded)


def test_the_command_line_answers_without_numerical_libraries():
    loaded = run_python("import sys, unetkit.cli.main; print(*sys.modules)").split()
    assert not {*TRAINING_LIBRARIES, "numpy", "onnxruntime"} & set(loaded)


def test_predicting_imports_no_training_library(run, tmp_path):
    code = f"""
import sys, numpy as np, unetkit
from unetkit.results.files import predict_files
from unetkit.results.inputs import find_inputs
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
    assert install_command("train") in run_python(code)


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
    assert install_command("gpu") in said
    assert "KERAS_BACKEND=tensorflow" in said


# What opens files without the door of `_shared/files.py`, and why it may. Each is (module, call).
OTHER_DOORS = {
    ("_shared.memory_budget", "record.read_text"): "of the system",
    ("_shared.files", "open"): "the door, and what is written",
    ("_shared.installation", "distribution(DISTRIBUTION).read_text"): "of the installed package",
    ("_shared.provenance", "CPU_FILE.read_text"): "of the system",
    ("_shared.threads", "QUOTA.read_text"): "of the system",
    ("prediction.memory", "Path('/proc/self/status').read_text"): "of the system",
    ("training.backend", "Path(description).read_text"): "of the system",
    ("models.built_in", "(BUILT_IN.parent / 'README.md').read_text"): "of the package",
    ("models.built_in", "(BUILT_IN.parent / 'LICENSE').read_text"): "of the package",
    ("exports.keras_formats", "tf.saved_model.load"): "written a moment before",
    ("exports.web_page", "file.read_text"): "of the package",
    ("exports.web_page", "file.read_bytes"): "of the package",
    ("prediction.tile_store", "np.load"): "a tile in a locked folder of this process",
    ("results.objects", "np.memmap"): "made by this process",
    ("results.finished", "Image.open"): "of an open file",
    ("results.finished", "zipfile.ZipFile"): "of an open file",
    ("results.records", "os.open"): "to append, after reading it through the door",
    ("results.files", "file.read_bytes"): "written a moment before",
    ("training.batches", "np.memmap"): "made by this process",
    ("training.checkpoints", "np.load"): "from memory",
    ("training.checkpoints", "os.open"): "a folder, to flush it",
    ("video.mask_store", "Image.open"): "from a file of the door",
    ("visualization.tensorboard", "Image.open"): "drawn a moment before",
    ("visualization.tensorboard", "path.read_bytes"): "drawn a moment before",
    ("visualization.animation", "imageio.imread"): "drawn a moment before",
    ("evaluation.report", "Image.open"): "drawn by the evaluation",
    ("training.weights", "h5py.File"): "after `require_regular`",
    ("training.checkpoints", "zipfile.ZipFile"): "of bytes that were read",
    ("training.checkpoints", "archive.open"): "of bytes that were read",
    ("datasets.oxford_pets", "Image.open"): "unpacked a moment before, as a regular file",
    ("io.decoding", "Image.open"): "of an open file",
    ("io.arrays", "archive.open"): "a member of an open file",
    ("io.zarr_reader", "zarr.open"): "of a store that asks `require_regular`",
    ("io.tiff.planes", "Image.open"): "of a file that is open already",
    ("data.annotations.supervisely", "Image.open"): "from memory",
    ("data.annotations.labelme", "Image.open"): "from memory",
    ("prediction.sources", "np.memmap"): "made by this process",
    ("serve.page", "(folder / name).read_text"): "of the package",
    ("label.page", "(folder / name).read_text"): "of the package",
    ("serve.answers", "open"): "written a moment before",
    ("serve.process", "result.read_bytes"): "written a moment before",
    ("prediction.sources", "image.open"): "an open file's image",
    ("_shared.files", "os.open"): "the door",
    ("io.arrays", "zipfile.ZipFile"): "of an open file",
    ("datasets.unpacking", "tarfile.TarFile"): "of an open file",
    ("cli.group", "os.open"): "the null device, to discard output",
    ("exports.bioimageio_format", "zipfile.ZipFile"): "what was written a moment before",
}
OPENERS = {"open", "read_text", "read_bytes", "load", "memmap", "fromfile", "loadtxt", "File"}
OPENERS |= {"imread", "genfromtxt", "ZipFile", "TarFile", "gzip_open", "open_memmap"}
MODES_OF_WRITING = re.compile(r"[wax]b?|rb\+")
NOT_OF_FILES = {"image.load", "origin.load", "_Unpickler(stream).load"}


def opened_in(path: Path) -> set[str]:
    """Calls that open a file to read it, as they are written without their arguments."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        if name not in OPENERS or (isinstance(node.func, ast.Name) and name != "open"):
            continue
        parts = [part for argument in node.args for part in ast.walk(argument)]
        words = [part.value for part in parts if isinstance(part, ast.Constant)]
        if not any(isinstance(word, str) and MODES_OF_WRITING.fullmatch(word) for word in words):
            found.add(ast.unparse(node.func))
    return found


def test_what_is_read_comes_through_one_door():
    """So that a pipe, a device or a file of gigabytes stops nothing: `_shared.files.open_input`."""
    found = {(m, call) for m, path in MODULES.items() for call in opened_in(path)}
    found = {(module, call) for module, call in found if call not in NOT_OF_FILES}
    assert found - OTHER_DOORS.keys() == set()
    assert OTHER_DOORS.keys() - found == set()
