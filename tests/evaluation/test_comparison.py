"""Two runs on the same images: differences, their intervals, and conclusions."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from unetkit._shared.records import plain
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.evaluation.comparison import compare
from unetkit.metrics.confusion import compute_metrics
from unetkit.metrics.summary import classes_to_json, summarise_metrics

IMAGES = 60


def records(skill, seed=0, count=IMAGES, noise=0.02):
    """Images of varying difficulty; the fraction of correct pixels increases with the skill."""
    rng = np.random.default_rng(7)
    difficulty = rng.uniform(0, 0.5, count)
    own = np.random.default_rng(seed).normal(0, noise, count)
    rows = []
    for i in range(count):
        right = np.clip(skill - difficulty[i] + own[i], 0.02, 0.98)
        truth = np.array([3000, 6000, 1000])
        confusion = np.diag(np.rint(truth * right).astype(int))
        missing = truth - np.diag(confusion)
        confusion[[0, 1, 2], [1, 0, 1]] += missing
        rows.append(
            {
                "name": f"pet_{i}",
                "size": [100, 100],
                "group": None,
                "mean_iou": 0.5,
                "confusion": {"original": confusion.tolist(), "training": confusion.tolist()},
                "confidence": [[10000 / 15, 300.0, 200.0]] * 15,
                "boundary": [[int(100 * right), 200]] * 3,
                "distance": [[1000, int(1000 * right)]] * 8,
            }
        )
    return rows


def write_run(folder, rows, *, part="test", name="evaluation-pets", classes=TRIMAP_CLASSES):
    texts = ("unetkit", "date", "platform", "python", "model", "preset", "scale", "data")
    result = {
        **dict.fromkeys(texts, "x"),
        **dict.fromkeys(("command", "listed", "seen", "run")),
        **{key: {} for key in ("protocol", "versions", "skipped")},
        "part": part,
        "pairs": len(rows),
        "parameters": 3,
        "classes": classes_to_json(classes),
        **summarise_metrics(rows, TRIMAP_CLASSES),
        "images": rows,
        "cases": [],
    }
    if classes.names != TRIMAP_CLASSES.names:
        text = json.dumps(plain(result)).replace('"pet"', f'"{classes.names[0]}"')
        result = json.loads(text)
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "evaluation.json").write_text(json.dumps(plain(result)))
    return folder


@pytest.fixture
def one(tmp_path):
    return write_run(tmp_path / "one", records(0.8))


def test_a_small_but_consistent_difference_is_detected_within_wide_intervals(one, tmp_path):
    better = write_run(tmp_path / "better", records(0.82, seed=1))
    result = compare([one, better])
    first, second = (run["figures"]["mean_iou"] for run in result["runs"])
    difference = result["differences"][0]["figures"]["mean_iou"]
    assert difference["value"] == pytest.approx(second["value"] - first["value"])
    assert first["interval"][1] > second["interval"][0]  # the intervals overlap
    assert difference["interval"][0] > 0  # and yet
    (sentence,) = result["conclusions"]
    assert sentence.startswith(f"On these {IMAGES} images better has a mean IoU 0.0")
    assert "better is better than one on images of this kind" in sentence


def test_the_interval_matches_scipys_paired_bootstrap(one, tmp_path):
    rows = [records(0.8), records(0.83, seed=2)]
    other = write_run(tmp_path / "other", rows[1])
    counts = [np.array([r["confusion"]["original"] for r in some]) for some in rows]

    def difference(places):
        values = [compute_metrics(c[places].sum(0), TRIMAP_CLASSES)["mean_iou"] for c in counts]
        return values[1] - values[0]

    oracle = scipy.stats.bootstrap(
        (np.arange(IMAGES),),
        difference,
        n_resamples=2000,
        method="percentile",
        vectorized=False,
        rng=np.random.default_rng(0),
    ).confidence_interval
    low, high = compare([one, other])["differences"][0]["figures"]["mean_iou"]["interval"]
    assert [low, high] == pytest.approx([oracle.low, oracle.high], abs=0.1 * (high - low))


def test_a_difference_within_chance_is_not_a_conclusion(one, tmp_path):
    twin = write_run(tmp_path / "twin", records(0.8, seed=9, noise=0.05))
    (sentence,) = compare([one, twin])["conclusions"]
    assert "this may be chance" in sentence


def test_a_run_does_not_differ_from_itself(one):
    result = compare([one, one])
    assert result["differences"][0]["figures"]["mean_iou"] == {"value": 0, "interval": [0, 0]}


def test_equal_metrics_are_reported_as_equal(one):
    (sentence,) = compare([one, one])["conclusions"]
    assert sentence.endswith("have the same mean IoU.")


def test_few_images_allow_no_conclusion(tmp_path):
    runs = [write_run(tmp_path / str(skill), records(skill, count=12)) for skill in (0.8, 0.4)]
    (sentence,) = compare(runs)["conclusions"]
    assert "12 images are too few for a conclusion, whatever the interval" in sentence


def test_few_groups_allow_no_conclusion(tmp_path):
    runs = []
    for skill in (0.8, 0.4):
        rows = [{**row, "group": f"film {i % 3}"} for i, row in enumerate(records(skill))]
        runs.append(write_run(tmp_path / str(skill), rows))
    assert "images of 3 groups are too few" in compare(runs)["conclusions"][0]


def test_a_split_used_in_training_is_mentioned(tmp_path):
    runs = [
        write_run(tmp_path / str(skill), records(skill), part="validation") for skill in (0.8, 0.6)
    ]
    assert (
        "the validation split has images that were used in training"
        in compare(runs)["conclusions"][0]
    )


def test_images_without_mean_iou_allow_no_conclusion(tmp_path):
    empty = [
        {**row, "confusion": dict.fromkeys(("original", "training"), np.zeros((3, 3)).tolist())}
        for row in records(0.8)
    ]
    runs = [write_run(tmp_path / name, empty) for name in "ab"]
    assert compare(runs)["conclusions"] == [
        "b and a cannot be compared: mean IoU is undefined on these images."
    ]


def test_a_worse_run_is_reported_as_worse(one, tmp_path):
    worse = write_run(tmp_path / "worse", records(0.6))
    (sentence,) = compare([one, worse])["conclusions"]
    assert "below that of one" in sentence
    assert "one is better than worse" in sentence


def test_each_run_is_compared_with_the_first(one, tmp_path):
    others = [write_run(tmp_path / name, records(0.7, seed=3)) for name in ("b", "c")]
    result = compare([one, *others])
    assert [(row["run"], row["against"]) for row in result["differences"]] == [
        ("b", "one"),
        ("c", "one"),
    ]
    assert len(result["conclusions"]) == 2


def test_only_common_images_count(one, tmp_path):
    some = write_run(tmp_path / "some", records(0.8)[:25])
    result = compare([one, some])
    assert (result["images"], result["left_out"]) == (25, IMAGES - 25)
    assert result["differences"][0]["figures"]["mean_iou"]["value"] == 0


def test_runs_of_one_name_are_distinguished_by_their_folders(tmp_path):
    runs = [write_run(tmp_path / name / "run", records(0.8)) for name in ("a", "b")]
    assert [run["run"] for run in compare(runs)["runs"]] == ["a/run", "b/run"]


def test_of_several_common_evaluations_the_test_split_is_compared(one, tmp_path):
    other = write_run(tmp_path / "other", records(0.7))
    for run in (one, other):
        write_run(run, records(0.9), part="validation", name="evaluation-pets-validation")
    assert compare([one, other])["part"] == "test"
    folders = [run / "evaluation-pets-validation" for run in (one, other)]
    assert compare(folders)["part"] == "validation"


class TestRefusals:
    def test_one_run(self, one):
        with pytest.raises(ConfigError, match=r"number of runs is 1; accepted are two or more"):
            compare([one])

    def test_a_run_that_was_not_evaluated(self, one, tmp_path):
        (tmp_path / "new").mkdir()
        with pytest.raises(DataNotFoundError, match=r"has no evaluation; .*unetkit evaluate"):
            compare([one, tmp_path / "new"])

    def test_other_classes(self, one, tmp_path):
        classes = replace(TRIMAP_CLASSES, names=("cat", "background", "border"))
        other = write_run(tmp_path / "other", records(0.8), classes=classes)
        with pytest.raises(DataError, match=r"one has the classes .* and other \['cat'"):
            compare([one, other])

    def test_other_splits(self, one, tmp_path):
        other = write_run(
            tmp_path / "other", records(0.8), part="train", name="evaluation-pets-train"
        )
        with pytest.raises(
            DataError, match=r"different splits \(test, train\); accepted is the same"
        ):
            compare([one, other])

    def test_a_path_that_does_not_exist(self, one, tmp_path):
        with pytest.raises(
            DataNotFoundError, match=r"run .*none does not exist; accepted is a run folder"
        ):
            compare([one, tmp_path / "none"])

    def test_other_images(self, one, tmp_path):
        rows = [{**row, "name": f"x{row['name']}"} for row in records(0.8)]
        other = write_run(tmp_path / "other", rows)
        with pytest.raises(DataError, match=r"were evaluated on 0 common images; accepted are at"):
            compare([one, other])

    def test_other_masks(self, one, tmp_path):
        rows = records(0.8)
        rows[3]["confusion"]["original"][0][0] += 1
        other = write_run(tmp_path / "other", rows)
        with pytest.raises(DataError, match=r"the mask of pet_3 is not the same for one, other"):
            compare([one, other])

    def test_no_evaluation_in_common(self, one, tmp_path):
        write_run(one, records(0.8), name="evaluation-b")
        other = write_run(tmp_path / "other", records(0.8), name="evaluation-c")
        write_run(other, records(0.8), name="evaluation-d")
        with pytest.raises(DataError, match=r"have 0 evaluations in common \(.*give the folders"):
            compare([one, other])

    def test_a_damaged_evaluation(self, one, tmp_path):
        other = write_run(tmp_path / "other", records(0.8))
        (other / "evaluation-pets" / "evaluation.json").write_text("{}")
        with pytest.raises(
            DataError, match=r"evaluation\.json cannot be used \(\$ has no key 'classes'\)"
        ):
            compare([one, other])
