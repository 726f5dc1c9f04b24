"""What earlier versions wrote is still read: run folders, model files, folds, a run to be resumed.

`old_runs/make.py` says what is in each archive, and makes one of another version. Each test has a
copy of its own. Weights are loaded and exported once for each kind of network, and one run is
trained to its end.
"""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unetkit
from tests import commands
from unetkit.prediction.certainty import calibrated

ARCHIVES = {
    path.name.removesuffix(".tar.xz"): path
    for path in sorted((Path(__file__).parent / "old_runs").glob("*.tar.xz"))
}
PLACE = "/old/"  # where all of it lies, as the files say
TEXTS = (".json", ".toml", ".txt")
FINISHED = ("fast", "notebook", "paper", "cells-run")
PRESETS = {"fast": "fast", "notebook": "notebook", "paper": "paper", "cells-run": "fast"}
STEPS = {"fast": 24, "notebook": 60, "paper": 100, "cells-run": 32}
TOLERANCE = 1e-4  # of probabilities, which are kept to 1e-5
AFTER_TRAINING = 1e-3  # likewise, where half the training was done here; without the state 5e-2


@pytest.fixture(params=ARCHIVES)
def old(request, tmp_path):
    """The folder with all that a version left, as if it had been made there."""
    folder = tmp_path.resolve() / "old"
    with tarfile.open(ARCHIVES[request.param]) as packed:
        packed.extractall(folder, filter="data")
    for file in folder.rglob("*"):
        if file.suffix in TEXTS and PLACE in (text := file.read_text("utf-8")):
            file.write_text(text.replace(PLACE, f"{folder.as_posix()}/"), "utf-8")
    return folder


def command(folder, *arguments):
    """What the command line prints, called in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        done = commands.unetkit(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def data_of(name):
    return "cells" if name == "cells-run" else "pets"


def picture_of(old, name):
    return old / ("cells.tif" if name == "cells-run" else "pets.png")


def expected_of(old, name):
    with np.load(old / "expected.npz") as arrays:
        return arrays[f"{name}-mask"], arrays[f"{name}-probabilities"]


def require_as_before(old, name, model):
    """The model sees in the picture that it never saw what the run saw in it."""
    predictor, picture = unetkit.Predictor(model), picture_of(old, name)
    mask, probabilities = expected_of(old, name)
    np.testing.assert_array_equal(predictor(picture), mask)
    np.testing.assert_allclose(predictor.probabilities(picture), probabilities, atol=TOLERANCE)


def evaluation_of(run):
    (file,) = run.glob("evaluation-*/evaluation.json")
    return json.loads(file.read_text("utf-8"))


def mean_iou(result):
    return result["figures"]["original"]["summed"]["mean_iou"]


def problems_of(verified):
    return [row for row in verified["files"] if row["problem"] is not None]


def test_there_is_an_archive():
    assert "0.1.0" in ARCHIVES


@pytest.mark.parametrize("name", FINISHED)
class TestEachModel:
    def test_the_run_predicts_what_it_did(self, old, name):
        require_as_before(old, name, old / name)

    def test_the_exported_file_predicts_what_it_did(self, old, name):
        require_as_before(old, name, old / f"{name}.onnx")

    def test_the_command_predicts_what_it_did_with_the_file_alone(self, old, name, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        for file in (old / f"{name}.onnx", picture_of(old, name)):
            shutil.copy(file, tmp_path / "elsewhere")
        picture = picture_of(old, name)
        options = ["--model", f"{name}.onnx", "--out", "masks", "--probabilities"]
        command(tmp_path / "elsewhere", "predict", picture.name, *options)
        mask, probabilities = expected_of(old, name)
        masks = tmp_path / "elsewhere" / "masks"
        with Image.open(masks / f"{picture.stem}.png") as found:
            np.testing.assert_array_equal(np.asarray(found), mask)
        with np.load(masks / f"{picture.stem}_probabilities.npz") as found:
            np.testing.assert_allclose(found["probabilities"], probabilities, atol=TOLERANCE)

    def test_info_says_what_run_and_file_are(self, old, name):
        said = command(old, "info", name).splitlines()
        assert said[1].split() == ["preset", PRESETS[name]]
        classes = {"pets": "0 pet, 1 background, 2 border", "cells": "0 background, 1 cell"}
        assert said[4].split(maxsplit=1)[1].strip() == classes[data_of(name)]
        layers = command(old, "info", f"{name}.onnx", "--layers").splitlines()
        assert layers[1 : len(said)] == said[1:]
        assert len(layers) > len(said) + 10
        assert said[-1].split()[:3] == ["SHA-256", "not", "checkable"]

    def test_its_report_is_written(self, old, name):
        folder = old / name / f"evaluation-{data_of(name)}"
        assert unetkit.report(old / name) == [folder / "report.html"]
        page = (folder / "report.html").read_text("utf-8")
        assert f"{mean_iou(evaluation_of(old / name)):.3f}" in page
        assert page.count("data:image/jpeg;base64,") == len(list(folder.glob("cases/*.jpg")))

    def test_it_is_evaluated_to_the_same_figures(self, old, name, tmp_path):
        before = evaluation_of(old / name)
        again = unetkit.evaluate(old / name, old / data_of(name), out=tmp_path / "again")
        assert [image["name"] for image in again["images"]] == [
            image["name"] for image in before["images"]
        ]
        assert [image["group"] for image in again["images"]] == [
            image["group"] for image in before["images"]
        ]
        assert mean_iou(again) == pytest.approx(mean_iou(before), abs=1e-3)
        assert again["intervals"].keys() == before["intervals"].keys()
        assert again["run"] == before["run"]

    def test_verify_finds_data_and_files_whole_and_tells_what_else_differs(self, old, name):
        result = unetkit.verify(old / name)
        assert result["state"] == "finished"
        assert result["data"]["same"]
        assert result["data"]["pairs"] == {"pets": 14, "cells": 8}[data_of(name)]
        assert problems_of(result) == []
        manifest = json.loads((old / name / "manifest.json").read_text("utf-8"))
        recorded = manifest["versions"] | {key: manifest[key] for key in ("unetkit", "python")}
        rows = {row["what"]: row for row in result["environment"]}
        assert {key: rows[key]["then"] for key in recorded} == recorded
        assert result["same"] == all(row["same"] or not row["effect"] for row in rows.values())

    def test_verify_finds_data_that_were_moved(self, old, name):
        data = (old / data_of(name)).rename(old / "moved")
        assert "name the place with --data" in unetkit.verify(old / name)["data"]["problem"]
        assert unetkit.verify(old / name, data)["data"]["same"]

    def test_it_is_exported_again_to_the_same_network(self, old, name, tmp_path):
        file = unetkit.export(old / name, out=tmp_path / "again.onnx")
        require_as_before(old, name, file)


class TestInterrupted:
    def test_it_is_whole_and_says_how_to_go_on(self, old):
        result = unetkit.verify(old / "interrupted")
        assert result["state"] == "interrupted"
        assert result["data"]["same"]
        assert problems_of(result) == []
        assert any("unetkit train --resume" in sentence for sentence in result["conclusions"])

    def test_it_is_resumed_to_its_end(self, old):
        run = unetkit.resume(old / "interrupted")
        manifest = json.loads((run / "manifest.json").read_text("utf-8"))
        assert manifest["state"] == "finished"
        assert [session["from_step"] for session in manifest["sessions"]] == [0, 13]
        assert manifest["steps_done"] == 24
        mine, its = ((old / n / "curves.csv").read_text().split() for n in (run.name, "fast"))
        assert mine[:2] == its[:2]  # what was looked at before
        assert [row.split(",")[0] for row in mine] == ["step", "8", "16", "24"]
        found = unetkit.Predictor(run).probabilities(old / "pets.png")
        _, probabilities = expected_of(old, "fast")  # which was never interrupted, nor calibrated
        probabilities = calibrated(probabilities, probabilities.shape[-1], manifest["temperature"])
        np.testing.assert_allclose(found, probabilities, atol=AFTER_TRAINING)


class TestAll:
    def test_every_run_is_listed(self, old):
        found = {
            Path(run["run"]).relative_to(old).as_posix(): run for run in unetkit.list_runs(old)
        }
        assert found.keys() == {*FINISHED, "interrupted", "folds/fold-1", "folds/fold-2"}
        assert {run["problem"] for run in found.values()} == {None}
        for name in FINISHED:
            run = found[name]
            assert (run["state"], run["preset"]) == ("finished", PRESETS[name])
            assert (run["steps_done"], run["steps"]) == (STEPS[name], STEPS[name])
            (evaluation,) = run["evaluations"]
            assert evaluation["mean_iou"] == mean_iou(evaluation_of(old / name))
        stopped = found["interrupted"]
        assert (stopped["state"], stopped["steps_done"]) == ("interrupted", 13)

    def test_their_evaluations_are_compared(self, old):
        result = unetkit.compare([old / "fast", old / "notebook"])
        assert len(result["conclusions"]) >= 1

    def test_finished_folds_are_pooled_again(self, old):
        before = json.loads((old / "folds" / "folds.json").read_text("utf-8"))
        pooled = unetkit.resume_folds(old / "folds")
        assert pooled["pairs"] == before["pairs"] == 11
        assert mean_iou(pooled) == pytest.approx(mean_iou(before), abs=1e-3)

    def test_a_finished_run_is_left_as_it_is(self, old):
        before = {path: path.stat().st_mtime_ns for path in (old / "fast").rglob("*")}
        assert unetkit.resume(old / "fast") == old / "fast"
        assert {path: path.stat().st_mtime_ns for path in (old / "fast").rglob("*")} == before
