"""Figures of a model on a part of a folder, against an independent computation."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import write_pair
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

from unetkit import Predictor, evaluate, evaluation
from unetkit.classes import TRIMAP_CLASSES
from unetkit.errors import ConfigError, DataError, DataNotFoundError, OutputExistsError
from unetkit.evaluation import Scored
from unetkit.finding import Pair, find_dataset
from unetkit.masks import read_mask
from unetkit.pixels import PixelFormat
from unetkit.scale import resize_mask
from unetkit.splits import SplitRule, split_pairs


@pytest.fixture(scope="module")
def result(run, pets):
    return evaluate(run, pets)


def test_figures_agree_with_scikit_learn_at_both_resolutions(result, run, pets):
    predictor = Predictor(run)
    pairs = split_pairs(find_dataset(pets), SplitRule()).test
    assert result["pairs"] == len(pairs) > 0
    truths = {"original": [], "training": []}
    answers = {"original": [], "training": []}
    for pair in pairs:
        truth = read_mask(pair.source, TRIMAP_CLASSES, (48, 64))
        truths["original"].append(truth.ravel())
        answers["original"].append(predictor(pair.image).ravel())
        truths["training"].append(resize_mask(truth, 32, 48).ravel())
        answers["training"].append(predictor.network_probabilities(pair.image).argmax(-1).ravel())
    for resolution in ("original", "training"):
        truth = np.concatenate(truths[resolution])
        answer = np.concatenate(answers[resolution])
        figures = result["figures"][resolution]["summed"]
        assert figures["pixel_accuracy"] == pytest.approx(accuracy_score(truth, answer))
        scores = jaccard_score(truth, answer, labels=[0, 1, 2], average=None)
        assert list(figures["iou"].values()) == pytest.approx(scores.tolist())
        foreground = jaccard_score(truth != 1, answer != 1)
        assert figures["foreground_iou"]["border_as_foreground"] == pytest.approx(foreground)
        by_image = [
            accuracy_score(t, a)
            for t, a in zip(truths[resolution], answers[resolution], strict=True)
        ]
        mean = result["figures"][resolution]["mean_over_images"]["pixel_accuracy"]
        assert mean == pytest.approx(np.mean(by_image))


def test_the_file_keeps_the_matrix_of_each_image(result, run, pets):
    written = json.loads((run / "evaluation-pets" / "evaluation.json").read_text())
    assert (
        written["figures"]["original"]["confusion"]
        == np.sum([image["confusion"]["original"] for image in written["images"]], axis=0).tolist()
    )
    for image in written["images"]:
        assert np.sum(image["confusion"]["original"]) == np.prod(image["size"])
    assert {image["name"] for image in written["images"]} == {
        pair.name for pair in split_pairs(find_dataset(pets), SplitRule()).test
    }


def test_the_picture_can_be_opened(result, run):
    picture = np.asarray(Image.open(run / "evaluation-pets" / "cases.png").convert("L"))
    assert picture.std() > 5


def test_results_are_not_replaced_unless_asked(result, run, pets):
    with pytest.raises(OutputExistsError, match=r"evaluation\.json exists already"):
        evaluate(run, pets)
    again = evaluate(run, pets, overwrite=True)
    assert again["figures"] == result["figures"]


def test_an_exported_file_gives_the_same_figures(result, run, pets, tmp_path):
    shutil.copy(run / "model.onnx", tmp_path / "m.onnx")
    assert evaluate(tmp_path / "m.onnx", pets)["figures"] == result["figures"]
    assert (tmp_path / "m-evaluation-pets" / "evaluation.json").is_file()


def test_other_parts_can_be_named(run, pets, tmp_path):
    parts = split_pairs(find_dataset(pets), SplitRule()).parts
    for part in ("validation", "train"):
        assert evaluate(run, pets, part=part, out=tmp_path / part)["pairs"] == len(parts[part])
    assert evaluate(run, pets, part="all", out=tmp_path / "all")["pairs"] == 20


def test_an_unknown_part_gets_a_suggestion(run, pets):
    with pytest.raises(ConfigError, match=r"part 'tests' is unknown; .*did you mean 'test'\?"):
        evaluate(run, pets, part="tests")


def test_listed_test_pairs_that_were_trained_on_are_refused(run, pets, tmp_path):
    shutil.copytree(pets, tmp_path / "pets")
    lists = tmp_path / "pets" / "annotations"
    trained = json.loads((run / "split.json").read_text())["train"][0]["name"]
    text = (lists / "trainval.txt").read_text()
    line = next(line for line in text.splitlines() if line.startswith(trained))
    (lists / "trainval.txt").write_text(text.replace(line + "\n", ""))
    (lists / "test.txt").write_text((lists / "test.txt").read_text() + line + "\n")
    for model in (run, run / "model.onnx"):
        with pytest.raises(DataError, match=rf"1 of the 5 pairs .* trained on, {trained} first"):
            evaluate(model, tmp_path / "pets", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_lists_every_pair_that_training_did_not_look_at_is_a_test(run, pets, tmp_path):
    data = tmp_path / "moved"
    shutil.copytree(pets, data)
    (data / "annotations" / "trainval.txt").unlink()
    (data / "annotations" / "test.txt").unlink()
    for part, name in (("images", "new.jpg"), ("annotations/trimaps", "new.png")):
        old = next((data / part).iterdir())
        shutil.copy(old, data / part / name)
    split = json.loads((run / "split.json").read_text())
    result = evaluate(run / "model.onnx", data, out=tmp_path / "out")
    assert {image["name"] for image in result["images"]} == {
        "new",
        *(entry["name"] for entry in split["test"]),
    }
    assert result["protocol"]["split"] == (
        "the 16 pairs whose names training looked at are left out"
    )


def test_a_foreign_folder_is_scored_whole(run, folder, tmp_path):
    assert evaluate(run, folder, out=tmp_path / "out")["pairs"] == 12


def test_parts_of_training_are_known_to_the_run_folder_alone(run, pets, tmp_path):
    with pytest.raises(DataNotFoundError, match=r"the train part is known to a run folder alone"):
        evaluate(run / "model.onnx", pets, part="train", out=tmp_path / "out")


def test_a_damaged_split_file_is_named(run, pets, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "split.json").write_text("[]")
    with pytest.raises(DataError, match=r"split\.json cannot be used \(TypeError"):
        evaluate(tmp_path / "run", pets, part="train", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("count", "labels"),
    [(1, "b"), (2, "bw"), (3, "bmw"), (5, "bmw"), (6, "bbmmww"), (12, "bbbmmmwww")],
)
def test_each_case_is_drawn_once_with_its_rank(monkeypatch, count, labels):
    drawn = []
    monkeypatch.setattr(evaluation, "read_pair", lambda pair, *_: (np.zeros((2, 2, 3)), pair))
    monkeypatch.setattr(
        evaluation, "draw_cases", lambda path, cases, classes, across: drawn.extend(cases)
    )
    scored = [
        Scored(Pair(f"{i:02d}", None, None), (2, 2), {"original": np.diag([1, 1, i + 1]) + i})
        for i in range(count)
    ]
    predictor = SimpleNamespace(spec=SimpleNamespace(classes=None, pixels=PixelFormat()))
    evaluation._draw_extremes(None, _Answering(predictor), scored)
    assert "".join(case.caption[0] for case in drawn) == labels
    names = [case.caption.split()[1] for case in drawn]
    assert len(set(names)) == len(names)


class _Answering:
    def __init__(self, predictor):
        self.spec = predictor.spec

    def __call__(self, image):
        return image


def test_a_mask_value_that_training_never_saw_is_named(run, tmp_path):
    for name in "abcde":
        write_pair(tmp_path / "data", name, values=(1, 2, 9))
    with pytest.raises(DataError, match=r"\.png has the value 9 .*accepted are 1 pet"):
        evaluate(run, tmp_path / "data", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_without_a_pair_that_training_did_not_look_at_are_told(run, pets, tmp_path):
    shutil.copytree(pets, tmp_path / "pets")
    (tmp_path / "pets" / "annotations" / "test.txt").unlink()  # its pairs then stand in no list
    with pytest.raises(DataError, match=r"has no test pairs \(the 16 pairs whose names training"):
        evaluate(run, tmp_path / "pets", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_figure_that_does_not_exist_is_null_in_the_file(run, tmp_path):
    for name in "abcde":
        write_pair(tmp_path / "data", name, values=(2, 2), masks="trimaps")
    result = evaluate(run, tmp_path / "data", part="all", out=tmp_path / "out")
    text = (tmp_path / "out" / "evaluation.json").read_text()
    assert "NaN" not in text
    truth_only_background = json.loads(text)["figures"]["original"]["summed"]["iou"]
    assert truth_only_background.keys() == result["figures"]["original"]["summed"]["iou"].keys()
