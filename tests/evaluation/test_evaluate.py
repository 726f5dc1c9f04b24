"""Metrics of a model on a split of a folder, against an independent computation."""

import csv
import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
from PIL import Image
from sklearn.metrics import accuracy_score, average_precision_score, jaccard_score, roc_auc_score

import unetkit
from tests.conftest import SMALL_CONFIG, write_disks, write_pair
from unetkit import Predictor, Sources, evaluate, train
from unetkit._shared.files import writing_into
from unetkit._shared.records import plain
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.data.dataset import find_dataset
from unetkit.data.masks import read_mask
from unetkit.data.scale import resize_mask
from unetkit.data.splits import SplitRule, split_pairs
from unetkit.datasets.synthetic_cells import write_synthetic_cells
from unetkit.datasets.synthetic_pets import synthetic_pet
from unetkit.errors import ConfigError, DataError, OutputExistsError
from unetkit.evaluation.report import report
from unetkit.evaluation.results import read_evaluation
from unetkit.metrics.boundaries import boundary_counts, distance_counts
from unetkit.metrics.calibration import confidence_counts
from unetkit.metrics.instances import COUNTS, count_objects, find_overlaps, object_metrics
from unetkit.results.files import predict_files


@pytest.fixture(scope="module")
def run(run, tmp_path_factory):
    """A run folder of this module's own, into which it evaluates."""
    return shutil.copytree(run, tmp_path_factory.mktemp("evaluated") / "tiny")


@pytest.fixture(scope="module")
def result(run, pets):
    """With all its files, as it is made before what follows takes effect."""
    return evaluate(run, pets)


@pytest.fixture(autouse=True)
def without_reports(monkeypatch):
    """Reports have tests of their own."""
    monkeypatch.setattr("unetkit.evaluation.evaluate.write_report", lambda folder, out: out)


def test_metrics_agree_with_scikit_learn_at_both_resolutions(result, run, pets):
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
        answers["training"].append(next(predictor.network_scores(pair.image)).argmax(-1).ravel())
    for resolution in ("original", "training"):
        truth = np.concatenate(truths[resolution])
        answer = np.concatenate(answers[resolution])
        metrics = result["figures"][resolution]["summed"]
        assert metrics["pixel_accuracy"] == pytest.approx(accuracy_score(truth, answer))
        scores = jaccard_score(truth, answer, labels=[0, 1, 2], average=None)
        assert list(metrics["iou"].values()) == pytest.approx(scores.tolist())
        foreground = jaccard_score(truth != 1, answer != 1)
        assert metrics["foreground_iou"]["border_as_foreground"] == pytest.approx(foreground)
        by_image = [
            accuracy_score(t, a)
            for t, a in zip(truths[resolution], answers[resolution], strict=True)
        ]
        mean = result["figures"][resolution]["mean_over_images"]["pixel_accuracy"]
        assert mean == pytest.approx(np.mean(by_image))


class TestTestTimeAugmentation:
    def test_what_predict_writes_is_scored(self, run, pets, tmp_path):
        predictor = Predictor(run, tta="flips")
        found = evaluate(run, pets, tta="flips", out=tmp_path / "scores")
        alone = Predictor(run)
        assert found["tta"] == "flips"
        differ = 0
        for record in found["images"]:
            pair = next(p for p in find_dataset(pets).pairs if p.name == record["name"])
            truth = read_mask(pair.source, TRIMAP_CLASSES, (48, 64))
            answer = predictor(pair.image)
            counts = np.bincount((3 * truth + answer).ravel(), minlength=9).reshape(3, 3)
            assert record["confusion"]["original"] == counts.tolist()
            differ += (answer != alone(pair.image)).sum()
        assert differ > 0

    def test_quarter_turns_need_a_square_scale(self, run, pets, tmp_path):
        with pytest.raises(ConfigError, match="'turns', and the model's images are 32x48; turned"):
            evaluate(run, pets, tta="turns", out=tmp_path / "scores")
        assert not (tmp_path / "scores").exists()

    def test_an_unknown_one_is_refused(self, run, pets):
        with pytest.raises(ConfigError, match="tta is 'flip'; accepted are"):
            evaluate(run, pets, tta="flip")


def test_the_file_has_the_matrix_of_each_image(result, run, pets):
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


def test_the_figure_of_examples_can_be_opened(result, run):
    picture = np.asarray(Image.open(run / "evaluation-pets" / "cases.png").convert("L"))
    assert picture.std() > 5


def test_the_file_has_the_counts_of_each_image(result, run, pets):
    predictor = Predictor(run)
    pair = split_pairs(find_dataset(pets), SplitRule()).test[0]
    truth = read_mask(pair.source, TRIMAP_CLASSES, (48, 64))
    probabilities = predictor.probabilities(pair.image)
    image = result["images"][0]
    assert image["name"] == pair.name
    assert image["group"] == find_dataset(pets).categories[pair.name]
    assert np.array(image["confidence"]) == pytest.approx(
        confidence_counts(truth, probabilities), abs=1e-3
    )
    answer = probabilities.argmax(-1).astype(np.uint8)
    assert image["boundary"] == boundary_counts(truth, answer, 3).tolist()
    assert image["distance"] == distance_counts(truth, answer).tolist()


def test_ranking_agrees_with_scikit_learn(result, run, pets):
    predictor = Predictor(run)
    pairs = split_pairs(find_dataset(pets), SplitRule()).test
    truth = np.concatenate([read_mask(p.source, TRIMAP_CLASSES, (48, 64)).ravel() for p in pairs])
    scores = np.concatenate([predictor.probabilities(p.image).reshape(-1, 3) for p in pairs])
    for metric, oracle in (
        ("roc_auc", roc_auc_score),
        ("average_precision", average_precision_score),
    ):
        found = result["ranking"][metric]
        # hardly trained, and calibrated: many pixels have probabilities of one bin
        assert 0 <= found["error"] < 0.1
        for index, name in enumerate(TRIMAP_CLASSES.names):
            expected = oracle(truth == index, scores[:, index])
            assert found["classes"][name] == pytest.approx(expected, abs=found["error"])


def test_sizes_of_objects_are_those_at_the_network_s_scale(result):
    # Pets of 48x64 photos are larger than 8 pixels at 32x48.
    assert all(
        objects >= 1 and small == 0 for objects, small in (i["objects"] for i in result["images"])
    )


def test_all_metrics_are_a_table_of_values(result, run):
    lines = (run / "evaluation-pets" / "metrics.csv").read_text().splitlines()
    rows = {tuple(row[:4]): row[4:] for row in csv.reader(lines[1:])}
    value, low, high = map(float, rows["mean_iou", "", "original", "summed"])
    assert value == result["figures"]["original"]["summed"]["mean_iou"]
    assert [low, high] == result["intervals"]["original"]["summed"]["mean_iou"]
    assert (
        float(rows["roc_auc", "pet", "original", "summed"][0])
        == result["ranking"]["roc_auc"]["classes"]["pet"]
    )


def test_the_evaluation_has_its_provenance(result):
    assert result["unetkit"] == unetkit.__version__
    assert result["versions"].keys() >= {"numpy", "onnxruntime"}
    assert result["command"] is None  # from Python
    assert result["listed"] == result["pairs"]


def test_report_and_examples_are_beside_the_metrics(result, run):
    folder = run / "evaluation-pets"
    assert (folder / "report.html").is_file()
    kept = {f"cases/{path.name}" for path in (folder / "cases").iterdir()}
    named = {case[kind] for case in result["cases"] for kind in ("image", "truth", "prediction")}
    assert kept == named
    assert [case["label"] for case in result["cases"]] == ["best", "median", "worst", "worst"]


def test_results_are_replaced_only_with_overwrite(result, run, pets):
    with pytest.raises(OutputExistsError, match=r"evaluation\.json exists already"):
        evaluate(run, pets)
    again = evaluate(run, pets, overwrite=True)
    assert again["figures"] == result["figures"]


def test_one_process_at_a_time_evaluates_into_a_folder(run, pets, tmp_path):
    out = tmp_path / "e"
    with writing_into(out), pytest.raises(OutputExistsError, match="another process writes into"):
        evaluate(run, pets, out=out)
    assert not out.exists()


def test_results_that_another_process_wrote_meanwhile_are_kept(run, pets, tmp_path, monkeypatch):
    @contextmanager
    def after_another(folder):
        folder.mkdir()
        (folder / "evaluation.json").write_text("of another process")
        yield

    monkeypatch.setattr("unetkit.evaluation.evaluate.writing_into", after_another)
    with pytest.raises(OutputExistsError, match=r"evaluation\.json exists already"):
        evaluate(run, pets, out=tmp_path / "e")


def test_an_exported_file_gives_the_same_metrics(result, run, pets, tmp_path):
    shutil.copy(run / "model.onnx", tmp_path / "m.onnx")
    assert evaluate(tmp_path / "m.onnx", pets)["figures"] == result["figures"]
    assert (tmp_path / "m-evaluation-pets" / "evaluation.json").is_file()


def test_other_splits_can_be_evaluated(run, pets, tmp_path):
    splits = split_pairs(find_dataset(pets), SplitRule()).splits
    for name in ("validation", "train"):
        assert evaluate(run, pets, part=name, out=tmp_path / name)["pairs"] == len(splits[name])
    assert evaluate(run, pets, part="all", out=tmp_path / "all")["pairs"] == 20


def test_an_unknown_split_gets_a_suggestion(run, pets):
    with pytest.raises(ConfigError, match=r"split 'tests' is unknown; .*did you mean 'test'\?"):
        evaluate(run, pets, part="tests")


def test_listed_test_pairs_that_were_used_in_training_are_refused(run, pets, tmp_path):
    shutil.copytree(pets, tmp_path / "pets")
    lists = tmp_path / "pets" / "annotations"
    trained = json.loads((run / "split.json").read_text())["train"][0]["name"]
    text = (lists / "trainval.txt").read_text()
    line = next(line for line in text.splitlines() if line.startswith(trained))
    (lists / "trainval.txt").write_text(text.replace(line + "\n", ""))
    (lists / "test.txt").write_text((lists / "test.txt").read_text() + line + "\n")
    for model in (run, run / "model.onnx"):
        with pytest.raises(DataError, match=rf"1 of the 5 pairs .* in training, {trained} first"):
            evaluate(model, tmp_path / "pets", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_lists_every_pair_that_was_not_used_in_training_is_a_test(run, pets, tmp_path):
    data = tmp_path / "moved"
    shutil.copytree(pets, data)
    (data / "annotations" / "trainval.txt").unlink()
    (data / "annotations" / "test.txt").unlink()
    split = json.loads((run / "split.json").read_text())
    seen = split["train"][0]["name"]  # images are identified by their content, not their name
    shutil.copy(data / "images" / f"{seen}.jpg", data / "images" / "copy.jpg")
    shutil.copy(
        data / "annotations" / "trimaps" / f"{seen}.png", data / "annotations/trimaps/copy.png"
    )
    image, trimap = synthetic_pet(100, height=48, width=64)
    Image.fromarray(image).save(data / "images" / "new.jpg")
    Image.fromarray(trimap).save(data / "annotations" / "trimaps" / "new.png")
    result = evaluate(run / "model.onnx", data, out=tmp_path / "out")
    assert {image["name"] for image in result["images"]} == {
        "new",
        *(entry["name"] for entry in split["test"]),
    }
    assert result["protocol"]["split"] == (
        "the 17 pairs whose pictures training looked at are left out"
    )


def test_the_same_images_under_other_names_are_not_test_images(run, pets, tmp_path):
    names = [entry["name"] for entry in json.loads((run / "split.json").read_text())["train"]]
    rows = [
        f"renamed_{i},{pets}/images/{name}.jpg,{pets}/annotations/trimaps/{name}.png"
        for i, name in enumerate(names)
    ]
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(["name,image,mask", *rows]))
    with pytest.raises(DataError, match="no test pairs"):
        evaluate(run, table, out=tmp_path / "out")


def test_all_pairs_of_another_folder_are_evaluated(run, folder, tmp_path):
    assert evaluate(run, folder, out=tmp_path / "out")["pairs"] == 12


class TestIgnoredPixels:
    def test_they_are_in_no_metric(self, disks, disks_run, tmp_path):
        result = evaluate(disks_run, disks, part="all", out=tmp_path / "out")
        predictor = Predictor(disks_run)
        truths, answers = [], []
        for pair in find_dataset(disks).pairs:
            truth = np.asarray(Image.open(pair.mask))
            truths.append(truth[truth != 255])
            answers.append(predictor(pair.image)[truth != 255])
        truth, answer = np.concatenate(truths), np.concatenate(answers)
        assert len(truth) < 12 * 48 * 64
        metrics = result["figures"]["original"]
        assert np.sum(metrics["confusion"]) == len(truth)
        assert metrics["summed"]["pixel_accuracy"] == pytest.approx(accuracy_score(truth, answer))
        scores = jaccard_score(truth, answer, labels=[0, 1], average=None)
        assert list(metrics["summed"]["iou"].values()) == pytest.approx(scores.tolist())
        for image, one in zip(result["images"], truths, strict=True):
            assert np.sum(image["confusion"]["original"]) == len(one)

    def test_an_image_with_only_ignored_pixels_has_no_score(self, disks, disks_run, tmp_path):
        shutil.copytree(disks, tmp_path / "data")
        mask = tmp_path / "data" / "masks" / "disk_00.png"
        Image.fromarray(np.full((48, 64), 255, np.uint8)).save(mask)
        result = evaluate(disks_run, tmp_path / "data", part="all", out=tmp_path / "out")
        text = (tmp_path / "out" / "evaluation.json").read_text()
        assert "NaN" not in text
        assert json.loads(text)["images"][0]["mean_iou"] is None
        assert 0 <= result["figures"]["original"]["mean_over_images"]["mean_iou"] <= 1
        assert (tmp_path / "out" / "cases.png").is_file()

    def test_255_in_a_mask_is_refused_if_the_model_does_not_ignore_it(self, run, tmp_path):
        for name in "abc":
            write_pair(tmp_path / "data", name, values=(1, 2, 255))
        with pytest.raises(
            DataError, match=r"has 255, which is not a class; .* use --ignore '255' if"
        ):
            evaluate(run, tmp_path / "data", out=tmp_path / "out")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Data with two kinds of masks, and a run that was trained on one of them."""
    data = write_disks(tmp_path_factory.mktemp("two") / "data", count=6)
    shutil.copytree(data / "masks", data / "labels")
    for path in (data / "labels").iterdir():
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(path)
    config = {
        **SMALL_CONFIG,
        "classes": {"ignore": 255},
        "sources": {"masks": "masks/", "skip_bad": True},
    }
    return data, train(data, out=data.parent / "run", config=config)


class TestSources:
    """Options that choose images and masks in a folder with several kinds."""

    def test_sources_of_a_run_are_used_for_its_own_data(self, trained, tmp_path):
        data, run = trained
        split = json.loads((run / "split.json").read_text())
        result = evaluate(run, data, out=tmp_path / "out")
        assert [image["name"] for image in result["images"]] == [split["test"][0]["name"]]
        # 1 occurs only in masks/; labels/ has 0
        assert np.sum(result["figures"]["original"]["confusion"], axis=1)[1] > 0

    def test_sources_are_used_for_any_path_to_the_data(self, trained, tmp_path, monkeypatch):
        data, run = trained
        monkeypatch.chdir(data)
        assert evaluate(run, ".", out=tmp_path / "out")["pairs"] == 1

    def test_sources_of_a_run_are_not_used_for_other_data(self, trained, tmp_path):
        data, run = trained
        shutil.copytree(data, tmp_path / "copy")
        for model, where in ((run, tmp_path / "copy"), (run / "model.onnx", data)):
            with pytest.raises(DataError, match=r"contains several kinds of masks: .*--masks"):
                evaluate(model, where, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_given_sources_override_those_of_the_run(self, trained, tmp_path):
        data, run = trained
        result = evaluate(run, data, sources=Sources(masks="labels/"), out=tmp_path / "out")
        assert np.sum(result["figures"]["original"]["confusion"], axis=1)[1] == 0


class TestSkipBad:
    @pytest.fixture
    def damaged(self, folder):
        photo = folder / "images" / "photo_03.jpg"
        photo.write_bytes(photo.read_bytes()[:-200])
        Image.new("L", (3, 3), 1).save(folder / "masks" / "photo_05.png")
        return folder

    def test_a_pair_that_cannot_be_read_is_named(self, run, damaged, tmp_path):
        with pytest.raises(DataError, match=r"photo_03\.jpg cannot be read whole"):
            evaluate(run, damaged, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_it_is_skipped_with_skip_bad_and_listed(self, run, damaged, tmp_path):
        result = evaluate(run, damaged, sources=Sources(skip_bad=True), out=tmp_path / "out")
        assert result["pairs"] == len(result["images"]) == 10
        assert result["skipped"].keys() == {"photo_03", "photo_05"}
        assert "cannot be read whole" in result["skipped"]["photo_03"]
        assert "is 20x24 and mask" in result["skipped"]["photo_05"]
        written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
        assert written["skipped"] == result["skipped"]

    def test_no_pair_of_good_data_is_skipped(self, result):
        assert result["skipped"] == {}

    def test_there_is_no_result_if_no_pair_can_be_read(self, run, folder, tmp_path):
        for path in (folder / "images").iterdir():
            path.write_bytes(b"broken")
        with pytest.raises(DataError, match=r"none of the 12 pairs can be read \(.*unetkit check"):
            evaluate(run, folder, sources=Sources(skip_bad=True), out=tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestTables:
    def test_the_evaluation_of_a_table_has_its_name(self, run, folder, tmp_path):
        shutil.copy(run / "model.onnx", tmp_path / "m.onnx")
        rows = [f"images/photo_{i:02d}.jpg,masks/photo_{i:02d}.png,cat{i}" for i in range(3)]
        (folder / "some.csv").write_text("\n".join(["image,mask,name", *rows]))
        result = evaluate(tmp_path / "m.onnx", folder / "some.csv")
        assert [image["name"] for image in result["images"]] == ["cat0", "cat1", "cat2"]
        assert result["data"] == str(folder / "some.csv")
        assert (tmp_path / "m-evaluation-some" / "evaluation.json").is_file()

    def test_the_test_split_of_a_table_is_evaluated(self, run, folder, tmp_path):
        rows = [
            f"images/photo_{i:02d}.jpg,masks/photo_{i:02d}.png,{'test' if i < 4 else 'train'}"
            for i in range(12)
        ]
        (folder / "some.csv").write_text("\n".join(["image,mask,part", *rows]))
        result = evaluate(run, folder / "some.csv", out=tmp_path / "out")
        names = [image["name"] for image in result["images"]]
        assert names == [f"images/photo_{i:02d}" for i in range(4)]
        assert result["protocol"]["split"] == "the test part that the data name"


def test_an_unknown_mask_value_is_refused(run, tmp_path):
    for name in "abcde":
        write_pair(tmp_path / "data", name, values=(1, 2, 9))
    with pytest.raises(DataError, match=r"has 9, which is not a class; accepted are 1 pet"):
        evaluate(run, tmp_path / "data", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_without_unused_pairs_are_refused(run, pets, tmp_path):
    shutil.copytree(pets, tmp_path / "pets")
    (tmp_path / "pets" / "annotations" / "test.txt").unlink()  # then its pairs are in no list
    with pytest.raises(
        DataError, match=r"has no test pairs \(the 16 pairs whose pictures training"
    ):
        evaluate(run, tmp_path / "pets", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_undefined_metric_is_null_in_the_file(run, tmp_path):
    for name in "abcde":
        write_pair(tmp_path / "data", name, values=(2, 2), masks="trimaps")
    result = evaluate(run, tmp_path / "data", part="all", out=tmp_path / "out")
    text = (tmp_path / "out" / "evaluation.json").read_text()
    assert "NaN" not in text
    truth_only_background = json.loads(text)["figures"]["original"]["summed"]["iou"]
    assert truth_only_background.keys() == result["figures"]["original"]["summed"]["iou"].keys()


def test_the_split_file_of_a_run_defines_its_test_split(folder, tmp_path):
    names = [f"photo_{i:02d}" for i in range(12)]
    split = {"train": names[:6], "validation": names[6:8], "test": names[8:10]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    config = {**SMALL_CONFIG, "split": {"file": str(tmp_path / "split.json")}}
    run = train(folder, out=tmp_path / "run", config=config)
    result = evaluate(run, folder)
    assert [image["name"] for image in result["images"]] == names[8:10]
    assert "split file" in result["protocol"]["split"]
    # A model file has no split file: all pairs that were not used in training are tested.
    assert evaluate(run / "model.onnx", folder, out=tmp_path / "out")["pairs"] == 4

    # Whoever begins with these weights cannot be tested on what they have seen.
    turned = {"train": names[6:12], "validation": names[4:6], "test": names[:4]}
    (tmp_path / "turned.json").write_text(json.dumps(turned))
    config = {
        "split": {"file": str(tmp_path / "turned.json")},
        "training": {**SMALL_CONFIG["training"], "start": str(run)},
    }
    again = train(folder, out=tmp_path / "again", config=config)
    with pytest.raises(
        DataError, match=r"4 of the 4 pairs in the test split of .* used in training"
    ):
        evaluate(again, folder)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells") / "cells"
    return write_synthetic_cells(folder, count=14, height=64, width=64)


@pytest.fixture(scope="module")
def cells_run(cells, tmp_path_factory):
    config = {**SMALL_CONFIG, "objects": {"smallest": 4, "seed": 0.45, "largest_hole": 2}}
    return train(cells, out=tmp_path_factory.mktemp("runs") / "cells", config=config)


class TestObjects:
    """Of a model that tells objects apart, objects are scored, too."""

    def test_they_are_those_of_the_label_images(self, cells, cells_run, tmp_path):
        result = evaluate(cells_run, cells)
        pairs = split_pairs(find_dataset(cells), SplitRule()).test
        total = np.zeros(len(COUNTS))
        for pair, image in zip(pairs, result["images"], strict=True):
            files = predict_files(
                Predictor(cells_run), [pair.image], tmp_path / "out", kinds=["objects"]
            )
            truth = tifffile.imread(pair.mask).astype(int)
            counts = count_objects(find_overlaps(truth, tifffile.imread(files[0]).astype(int)))
            assert image["instances"] == pytest.approx(counts.tolist())
            total += counts
        expected = {name: float(value) for name, value in object_metrics(total).items()}
        rand = [image["rand"] for image in result["images"]]
        expected["v_rand"], expected["v_info"] = np.mean(rand, axis=0)
        assert result["instances"]["metrics"] == pytest.approx(expected)
        assert result["instances"]["counts"]["true"] == total[0] > 20
        assert [row["metric"] for row in result["headline"][:3]] == [
            "object_f1", "object_panoptic_quality", "object_seg",
        ]  # fmt: skip
        low, high = result["intervals"]["instances"]["seg"]
        assert low <= expected["seg"] <= high

    def test_files_of_results_are_read_back(self, cells, cells_run, tmp_path):
        for name in "ab":
            evaluate(cells_run, cells, out=tmp_path / name)
        read, _ = read_evaluation(tmp_path / "a")
        assert read["instances"]["counts"]["true"] > 20
        with open(tmp_path / "a" / "metrics.csv", newline="", encoding="utf-8") as file:
            rows = {row["metric"]: row["value"] for row in csv.DictReader(file)}
        assert float(rows["object_f1"]) == read["instances"]["metrics"]["f1"]
        assert int(rows["objects_true"]) == read["instances"]["counts"]["true"]
        page = report(tmp_path / "a", out=tmp_path / "page.html")[0].read_text(encoding="utf-8")
        assert "Errors of objects" in page
        strips = read["object_errors"]
        assert strips
        assert page.count('<figure class="strip">') == len(strips)
        assert "panoptic quality" in page
        compared = unetkit.compare([tmp_path / "a", tmp_path / "b"])
        assert compared["differences"][0]["figures"]["object_f1"]["value"] == 0

    def test_ignored_pixels_are_no_objects(self, cells, cells_run, tmp_path):
        other = tmp_path / "cells"
        shutil.copytree(cells, other)
        for mask in (other / "masks").iterdir():
            numbers = tifffile.imread(mask)
            numbers[:32] = 65535
            tifffile.imwrite(mask, numbers)
        whole = evaluate(cells_run, cells, part="all", out=tmp_path / "whole")
        half = evaluate(
            cells_run, other, part="all", out=tmp_path / "half", classes={"ignore": 65535}
        )
        counts = [found["instances"]["counts"] for found in (half, whole)]
        assert 0 < counts[0]["true"] < counts[1]["true"]
        assert counts[0]["found"] <= counts[1]["found"]


def test_the_result_does_not_depend_on_the_number_of_cores(run, pets, tmp_path, monkeypatch):
    texts = []
    for cores in (1, 4):
        monkeypatch.setattr("unetkit.prediction.predictor.usable_cores", lambda cores=cores: cores)
        result = evaluate(run, pets, part="all", out=tmp_path / f"{cores}")
        names = [record["name"] for record in result["images"]]
        assert names == sorted(names)
        del result["date"], result["machine"]
        texts.append(json.dumps(plain(result)))
    assert texts[0] == texts[1]
