"""The demonstration: its steps in order, its folders, and a folder in use that is left alone."""

from pathlib import Path

import pytest

from unetkit._shared.display import Display
from unetkit.errors import OutputExistsError
from unetkit.runs import demo as demo_module
from unetkit.runs.demo import PAIRS, PREDICTED, STEPS, Demonstration, demo


class Listener(Display):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.fixture
def calls(monkeypatch):
    """The calls of the public functions; none of them computes anything."""
    found = []
    result = {"images": [{"name": f"cat_{i}"} for i in range(PREDICTED + 4)]}

    def replaced(name, result_of):
        def call(*arguments, **options):
            found.append((name, arguments, options))
            return result_of(*arguments, **options)

        monkeypatch.setattr(demo_module, name, call)

    replaced("write_synthetic_pets", lambda folder, count: folder)
    replaced("train", lambda data, out, **options: out)
    replaced("evaluate", lambda run, data, **options: result)
    replaced("Predictor", lambda run: f"predictor of {run.name}")
    replaced("predict_files", lambda *arguments, **options: None)
    return found


def test_it_creates_trains_evaluates_and_predicts_in_one_folder(calls, tmp_path):
    out, display = tmp_path / "demo", Listener()
    result = demo(out, steps=9, display=display)
    data, run, predictions = out / "data", out / "run", out / "predictions"
    images = [data / "images" / f"cat_{i}.jpg" for i in range(6)]  # of ten test images
    kinds = ("mask", "overlay", "cutout")
    assert calls == [
        ("write_synthetic_pets", (data,), {"count": 500}),
        ("train", (data,), {"out": run, "config": {"training": {"steps": 9}}, "display": display}),
        ("evaluate", (run, data), {"display": display}),
        ("Predictor", (run,), {}),
        ("predict_files", ("predictor of run", images, predictions), {"kinds": kinds}),
    ]
    assert isinstance(result, Demonstration)
    assert (result.run, result.predictions) == (run, predictions)
    assert len(result.figures["images"]) == 10
    assert display.lines == [
        f"creating {PAIRS} synthetic pets in {data}",
        f"masks, overlays and cut-outs of 6 of them in {predictions}",
    ]


def test_fewer_test_images_than_are_predicted_are_all_of_them(calls, tmp_path, monkeypatch):
    few = {"images": [{"name": "cat_0"}, {"name": "dog_1"}]}
    monkeypatch.setattr(demo_module, "evaluate", lambda *arguments, **options: few)
    display = Listener()
    demo(tmp_path / "demo", display=display)
    assert [path.name for path in calls[-1][1][1]] == ["cat_0.jpg", "dog_1.jpg"]
    assert "cut-outs of 2 of them" in display.lines[-1]


def test_folder_and_steps_have_defaults(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert demo().run == Path("unetkit-demo") / "run"
    assert calls[1][2]["config"] == {"training": {"steps": STEPS}}
    assert isinstance(calls[1][2]["display"], Display)


def test_an_empty_folder_is_accepted(calls, tmp_path):
    assert demo(str(tmp_path)).predictions == tmp_path / "predictions"
    assert len(calls) == 5


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_already_is_left_alone(kind, calls, tmp_path):
    out = tmp_path / "demo"
    if kind == "folder":
        out.mkdir()
    file = out / "mine.txt" if kind == "folder" else out
    file.write_text("mine")
    words = r"folder .*demo exists and is not empty; accepted is a new or an empty folder; .*--out"
    with pytest.raises(OutputExistsError, match=words):
        demo(out)
    assert calls == []
    assert file.read_text() == "mine"
