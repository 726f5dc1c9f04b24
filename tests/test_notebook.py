"""The notebook runs from top to bottom by itself, and the copy in the repository is such a run.

The run here is a short one: it replaces the parameters cell, and nothing else, by smaller values.
"""

import ast
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbclient, which brings it, is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")

ROOT = Path(__file__).parent.parent
PATH = ROOT / "notebooks" / "unet_from_scratch.ipynb"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORK = "unetkit-notebook"
SHORT = """
COUNT = 20
SIZE, EPOCHS, BATCH, FILTERS = 32, 1, 8, 8
PHOTO_SIZE, PHOTO_EPOCHS, PHOTO_BATCH, PHOTO_FILTERS = 32, 1, 8, 8
MINUTES = 1
SEED = 0
PETS = "no-such-folder"
DOWNLOAD = False
"""


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(PATH, as_version=4)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """The notebook after a short run, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("notebook")
    for name in ("here", "temporary"):
        (folder / name).mkdir()
    notebook = nbformat.read(PATH, as_version=4)
    parameters_of(notebook).source = SHORT
    client = nbclient.NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder / "here")}},
    )
    client.execute(env={**os.environ, "TMPDIR": str(folder / "temporary")})
    return notebook, folder


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parameters_of(notebook):
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    return cell


def names_set_in(source):
    stores = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)]
    return {node.id for node in stores if isinstance(node.ctx, ast.Store)}


def texts_of(notebook):
    """Everything that a reader reads: sources, and outputs as text."""
    texts = [cell.source for cell in notebook.cells]
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        texts.append(output.get("text", ""))
        texts += [v for k, v in output.get("data", {}).items() if not k.startswith("image/")]
    return texts


def pictures_of(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return [k for o in outputs for k in o.get("data", {}) if k.startswith("image/")]


def ran_in_order_without_a_fault(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type in ("error", "stream")]


def assertions_ran(notebook):
    """What the cells with assertions show after them."""
    text = "\n".join(texts_of(notebook))
    assert "Same parameters: 8,643,779. Same weights, same output" in text
    assert "Nearest neighbour invents none" in text
    assert re.search(r"\d+ for train, \d+ for validation, \d+ for test", text)
    assert "keras | no\ntensorflow | no" in text
    assert "The same mask, in" in text


class TestShortRun:
    def test_every_cell_runs_and_none_complains(self, short_run):
        ran_in_order_without_a_fault(short_run[0])

    def test_its_assertions_ran(self, short_run):
        assertions_ran(short_run[0])

    def test_it_shows_the_same_pictures_as_the_committed_copy(self, short_run, committed):
        assert pictures_of(short_run[0]) == pictures_of(committed)

    def test_nothing_is_written_but_in_its_own_folder(self, short_run):
        folder = short_run[1]
        assert [path.name for path in (folder / "here").iterdir()] == [WORK]
        assert list((folder / "temporary").iterdir()) == []
        assert not (PATH.parent / WORK).exists()

    def test_it_leaves_a_run_and_a_report_behind(self, short_run):
        run = short_run[1] / "here" / WORK / "run"
        assert (run / "model.onnx").is_file()
        assert (run / "evaluation-drawn-pets" / "report.html").is_file()


class TestCommittedCopy:
    def test_it_was_run_from_top_to_bottom_without_a_fault(self, committed):
        ran_in_order_without_a_fault(committed)
        assertions_ran(committed)

    def test_it_was_run_with_its_own_parameters_on_drawn_pets(self, committed):
        values = {}
        exec(parameters_of(committed).source, values)
        assert values["DOWNLOAD"] is False
        assert any(
            f"**The data are {values['COUNT']} drawn pets**" in t for t in texts_of(committed)
        )

    def test_the_short_run_sets_every_parameter(self, committed):
        assert names_set_in(SHORT) == names_set_in(parameters_of(committed).source)

    def test_it_is_small(self):
        assert PATH.stat().st_size < 3_000_000

    def test_no_path_of_a_machine_is_in_it(self, committed):
        text = "\n".join(texts_of(committed))
        assert not re.findall(r".*(?:/work|/tmp/|/root|/opt/|/home/|/Users/|C:\\).*", text)

    def test_it_asks_for_the_usual_kernel_and_keeps_no_times(self, committed):
        assert committed.metadata.kernelspec.name == "python3"
        assert not [cell for cell in committed.cells if "execution" in cell.metadata]

    def test_every_part_of_the_story_is_there_in_order(self, committed):
        cells = [cell.source for cell in committed.cells if cell.cell_type == "markdown"]
        headings = re.findall(r"^## (\d)\. ", "\n".join(cells), flags=re.MULTILINE)
        assert headings == ["1", "2", "3", "4", "5", "6"]
        assert len(pictures_of(committed)) >= 15

    def test_the_networks_keep_outlines(self, committed):
        """What a U-Net is known for; better than the wide border of a coarse network."""
        rows = re.findall(
            r"^(.+?) \| (0\.\d+(?: \| 0\.\d+){5})$", "\n".join(texts_of(committed)), re.M
        )
        border = {name: float(values.split(" | ")[4]) for name, values in rows}
        assert border["the network from scratch"] > 0.2
        assert border["`pretrained`, same minutes"] > 0.45

    def test_code_that_only_draws_is_folded(self, committed):
        """For notebooks and for the site, which each have their own mark for it."""
        cells = code_cells(committed)
        folded = [cell for cell in cells if cell.metadata.get("jupyter", {}).get("source_hidden")]
        assert folded == [cell for cell in cells if "hide-input" in cell.metadata.get("tags", [])]
        assert len(folded) >= 12
        for cell in cells:
            if cell not in folded:
                assert "plt.subplots" not in cell.source
                assert len(cell.source.splitlines()) <= 45

    def test_the_sources_are_named(self, committed):
        last = committed.cells[-1].source
        for name in ("1505.04597", "Cats and Dogs", "1411.4038", "Neuronal"):
            assert name in last


class TestInstallCell:
    """The first code cell, with pip and the search for packages replaced."""

    @pytest.fixture
    def asked(self, committed, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)

        def run(*present):
            commands = []
            monkeypatch.setattr(
                importlib.util,
                "find_spec",
                lambda name: SimpleNamespace() if name in present else None,
            )
            monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
            monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
            exec(code_cells(committed)[0].source, {})
            assert all(command[1:5] == ["-m", "pip", "install", "--quiet"] for command in commands)
            return [command[5:] for command in commands]

        return run

    def test_where_unetkit_is_there_nothing_is_installed(self, asked):
        assert asked("unetkit", "tensorflow") == []
        assert asked("unetkit") == []

    def test_in_a_clone_the_clone_is_installed(self, asked, monkeypatch):
        monkeypatch.chdir(PATH.parent)
        assert asked() == [[f"{ROOT}[train]"]]
        monkeypatch.chdir(ROOT)
        assert asked() == [[f"{ROOT}[train]"]]

    def test_beside_a_clone_too(self, asked, tmp_path):
        (tmp_path / "unetkit" / "src" / "unetkit").mkdir(parents=True)
        assert asked() == [[f"{tmp_path / 'unetkit'}[train]"]]

    def test_without_a_clone_the_repository_is_installed(self, asked):
        address = PROJECT["urls"]["Repository"]
        assert asked() == [[f"unetkit[train] @ git+{address}"]]

    def test_where_tensorflow_is_there_no_second_one_is_installed(self, asked):
        address = PROJECT["urls"]["Repository"]
        assert asked("tensorflow") == [[f"unetkit[keras] @ git+{address}"]]
        extras = PROJECT["optional-dependencies"]
        names = {re.split(r"[<>=!~]", requirement)[0] for requirement in extras["keras"]}
        assert {
            "keras",
            "matplotlib",
            "scikit-image",
            "scikit-learn",
            "imageio",
            "onnx",
        } <= names
        assert not [name for name in names if name.startswith(("tensorflow", "unetkit"))]
