"""Folds: each pair is tested once, by a network that did not see it; figures over all of them."""

import json
import shutil

import numpy as np
import pytest

from tests.conftest import SMALL_CONFIG, write_pair
from unetkit import cross_validate, resume_folds
from unetkit._shared.display import Display
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.data.splits import read_split_names
from unetkit.errors import ConfigError, DataError, OutputExistsError
from unetkit.metrics.confusion import compute_metrics

COUNT = 12
CONFIG = {**SMALL_CONFIG, "split": {"group_by": r"photo_(\d)"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve pairs in four groups of three, one of which cannot be read; and a stray image."""
    folder = tmp_path_factory.mktemp("folds") / "data"
    for number in range(COUNT):
        write_pair(folder, f"photo_{number % 4}_{number // 4}")
    (folder / "masks" / "photo_1_2.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    """Two networks of a few steps."""
    out = tmp_path_factory.mktemp("out") / "folds"
    config = {**CONFIG, "sources": {"skip_bad": True}}
    pooled = cross_validate(data, folds=2, out=out, config=config, seed=1)
    return out, pooled


def names_of(out, number):
    return read_split_names(out / f"split-{number}.json")


def test_each_usable_pair_is_tested_once(result):
    out, pooled = result
    tested = [image["name"] for image in pooled["images"]]
    expected = {f"photo_{i % 4}_{i // 4}" for i in range(COUNT)} - {"photo_1_2"}
    assert len(tested) == pooled["pairs"] == COUNT - 1
    assert set(tested) == expected
    assert sorted(names_of(out, 1)["test"] + names_of(out, 2)["test"]) == sorted(expected)


def test_no_fold_is_tested_on_what_it_was_trained_on(result):
    out, _ = result
    for number in (1, 2):
        parts = names_of(out, number)
        every = [name for members in parts.values() for name in members]
        assert len(every) == len(set(every)) == COUNT - 1
        assert all(parts.values())


def test_groups_are_never_torn(result):
    out, _ = result
    for number in (1, 2):
        groups = [
            {name.split("_")[1] for name in members} for members in names_of(out, number).values()
        ]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 4


@pytest.mark.parametrize("resolution", ["original", "training"])
def test_the_pooled_confusion_is_the_sum_over_folds(result, resolution):
    out, pooled = result
    evaluations = [
        json.loads((out / f"fold-{number}" / "evaluation-data" / "evaluation.json").read_text())
        for number in (1, 2)
    ]
    parts = [np.array(one["figures"][resolution]["confusion"]) for one in evaluations]
    total = np.array(pooled["figures"][resolution]["confusion"])
    assert (total == sum(parts)).all()
    if resolution == "original":
        assert total.sum() == (COUNT - 1) * 20 * 24  # every pixel of every pair
    summed = pooled["figures"][resolution]["summed"]
    assert summed == compute_metrics(total, TRIMAP_CLASSES)
    assert [fold[resolution] for fold in pooled["folds"]] == [
        one["figures"][resolution]["summed"] for one in evaluations
    ]


def test_the_mean_over_images_is_over_all_folds(result):
    _, pooled = result
    matrices = [np.array(image["confusion"]["original"]) for image in pooled["images"]]
    accuracies = [matrix.trace() / matrix.sum() for matrix in matrices]
    mean = pooled["figures"]["original"]["mean_over_images"]["pixel_accuracy"]
    assert mean == pytest.approx(np.mean(accuracies))


def test_the_result_is_a_file(result):
    out, pooled = result
    record = json.loads((out / "folds.json").read_text())
    assert record["part"] == pooled["part"] == "out-of-fold"
    assert record["pairs"] == COUNT - 1
    assert record["figures"]["original"]["confusion"] == pooled["figures"]["original"]["confusion"]


def test_what_was_left_out_stands_in_each_split(result):
    out, _ = result
    for path in (out / "split-1.json", out / "fold-2" / "split.json"):
        skipped = json.loads(path.read_text())["skipped"]
        assert [entry["name"] for entry in skipped] == ["photo_1_2"]


def test_each_fold_is_a_run_of_its_own(result):
    out, _ = result
    for number in (1, 2):
        run = out / f"fold-{number}"
        assert (run / "model.onnx").is_file()
        assert names_of(out, number) == read_split_names(run / "split.json")
    assert (out / "fold-1" / "config.toml").read_text() != (
        out / "fold-2" / "config.toml"
    ).read_text()


def refuse_training(*_, **__):
    raise AssertionError("nothing should be trained")


@pytest.fixture
def untrained(monkeypatch):
    monkeypatch.setattr("unetkit.training.cross_validation.train", refuse_training)


def test_bad_pairs_stop_it_before_it_starts(data, tmp_path, untrained):
    with pytest.raises(DataError, match="to go on without these files: --skip-bad"):
        cross_validate(data, folds=2, out=tmp_path / "folds", config=CONFIG)
    assert not (tmp_path / "folds").exists()


def test_a_folder_in_use_is_refused(data, tmp_path, untrained):
    (tmp_path / "mine").write_text("mine")
    for out in (tmp_path, tmp_path / "mine"):
        with pytest.raises(OutputExistsError, match=r"exists and is not empty; .* with --out"):
            cross_validate(data, folds=2, out=out, config=CONFIG)


def test_folds_do_not_begin_with_weights_that_have_seen_them(pets, run, tmp_path, untrained):
    config = {"training": {"start": str(run)}}
    with pytest.raises(
        ConfigError, match=r"was trained on 16 of these images, .* leave out --from"
    ):
        cross_validate(pets, folds=2, out=tmp_path / "folds", config=config)
    assert not (tmp_path / "folds").exists()


def test_data_must_be_named(tmp_path, untrained):
    with pytest.raises(ConfigError, match="no data are given"):
        cross_validate(folds=2, out=tmp_path / "folds")


def test_a_split_file_and_folds_are_too_much(data, tmp_path, untrained):
    config = {"split": {"file": "split.json"}}
    with pytest.raises(ConfigError, match=r"a split file, .*split\.json, is given for cross"):
        cross_validate(data, folds=2, out=tmp_path / "folds", config=config)


@pytest.mark.parametrize(
    ("folds", "error", "message"),
    [
        (1, ConfigError, "folds is 1; accepted are 2 to 100"),
        (5, DataError, "has 4 groups for 5 folds"),
    ],
)
def test_folds_must_fit_the_data(data, tmp_path, untrained, folds, error, message):
    config = {**CONFIG, "sources": {"skip_bad": True}}
    with pytest.raises(error, match=message):
        cross_validate(data, folds=folds, out=tmp_path / "folds", config=config)
    assert not (tmp_path / "folds").exists()


def test_listed_test_pairs_are_in_no_fold(data, tmp_path, monkeypatch):
    """The first training shows how all is cut; more is not needed."""

    class Enough(Exception):  # noqa: N818
        pass

    def stop(**_):
        raise Enough

    monkeypatch.setattr("unetkit.training.cross_validation.train", stop)
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    names = [f"photo_{i % 4}_{i // 4}" for i in range(COUNT)]
    (folder / "masks" / "photo_1_2.png").unlink()
    (folder / "trainval.txt").write_text("\n".join(n for n in names if not n.startswith("photo_3")))
    (folder / "test.txt").write_text("\n".join(n for n in names if n.startswith("photo_3")))
    said = []

    class Heard(Display):
        def say(self, text):
            said.append(text)

    with pytest.raises(Enough):
        cross_validate(folder, folds=3, out=tmp_path / "out", config=CONFIG, display=Heard())
    parts = names_of(tmp_path / "out", 1)
    assert not any(n.startswith("photo_3") for members in parts.values() for n in members)
    assert said[-1] == "fold 1 of 3"


@pytest.mark.parametrize(
    "options",
    [{"preset": "fats"}, {"epochs": 1, "minutes": 1.0}, {"minutes": -1.0}],
    ids=["preset", "both lengths", "minutes"],
)
def test_what_cannot_be_leaves_no_folder(folder, tmp_path, options):
    with pytest.raises(ConfigError):
        cross_validate(folder, folds=2, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


class StopInSecondFold(Display):
    """Is interrupted after the first step of the second network."""

    def __init__(self):
        self.fold = ""

    def say(self, text):
        if text.startswith("fold "):
            self.fold = text

    def training_step(self, report):
        if self.fold == "fold 2 of 2":
            raise KeyboardInterrupt


def test_interrupted_folds_go_on_and_end_as_if_nothing_had_happened(
    result, data, tmp_path, monkeypatch
):
    out, pooled = result
    config = {**CONFIG, "sources": {"skip_bad": True}}
    config["training"] = {**config["training"], "checkpoint_minutes": 0.0}
    monkeypatch.setattr("unetkit.evaluation.evaluate.write_report", lambda folder, out: out)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(
            data, folds=2, out=tmp_path, config=config, seed=1, display=StopInSecondFold()
        )
    assert not (tmp_path / "folds.json").exists()
    again = resume_folds(tmp_path)
    assert again["figures"] == pooled["figures"]
    assert (tmp_path / "folds.json").exists()
    for number in (1, 2):
        curves = (f / f"fold-{number}" / "curves.csv" for f in (out, tmp_path))
        assert len({path.read_text() for path in curves}) == 1


def test_a_folder_without_a_plan_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"plan\.json is missing; accepted is a folder of"):
        resume_folds(tmp_path)
    plan = {"folds": 2, "epochs": None, "minutes": None, "config": {"data": "x"}}
    for changes, words in (
        ({"config": {}}, r"\$\.config has no key 'data'"),
        ({"config": {"data": 3}}, r"data in .*plan\.json is 3; accepted is str"),
        ({"config": {"data": "x", "training": {"step": 3}}}, "key 'step' in .* is unknown"),
        ({"config": []}, r"\$\.config is \[\]; accepted is an object"),
        ({"folds": True}, r"\$\.folds is True; accepted is a whole number"),
        ({"minutes": "1"}, r"\$\.minutes is '1'; accepted is a number or null"),
    ):
        (tmp_path / "plan.json").write_text(json.dumps(plan | changes))
        with pytest.raises(DataError, match=rf"plan\.json cannot be used \({words}.*; accepted is"):
            resume_folds(tmp_path)


def test_folds_of_other_data_do_not_go_on(result, data, tmp_path):
    out, _ = result
    shutil.copytree(out, tmp_path / "folds")
    shutil.copytree(data, tmp_path / "data")
    plan = json.loads((out / "plan.json").read_text())
    assert plan["config"]["data"] == str(data)
    plan["config"]["data"] = str(tmp_path / "data")
    (tmp_path / "folds" / "plan.json").write_text(json.dumps(plan))
    write_pair(tmp_path / "data", "photo_0_9")
    with pytest.raises(DataError, match=r"the files that .*folds was started with: split-1"):
        resume_folds(tmp_path / "folds")
