"""Masks of an evaluation are read in the model's classes, whatever values they are written in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unetkit.checks.statistics import collect_statistics
from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.errors import DataError
from unetkit.evaluation.truth import Truth, choose_truth
from unetkit.io.pixel_format import PixelFormat

TWO = Classes(("background", "cell"), (0, 255), background=0)
THREE = Classes(("ground", "cat", "dog"), (0, 1, 2), background=0)
INDICES = np.array([[0, 1, 2, 0], [2, 1, 0, 0]], np.uint8)


def truth_of(
    folder: Path, values: Any, model: Classes, text: str = "", is_own: bool = False, **given: Any
) -> Truth:
    """How masks are read in which these values stand for 0, 1 and 2."""
    for part in ("images", "masks"):
        (folder / part).mkdir(exist_ok=True)
    for name in "ab":
        Image.new("L", (4, 2)).save(folder / "images" / f"{name}.png")
        mask = np.array(values, np.uint8)[INDICES]
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    if text:
        (folder / "classes.toml").write_text(text)
    dataset = find_dataset(folder)
    statistics = collect_statistics(dataset.pairs)
    return choose_truth(statistics, dataset, model, given, is_own=is_own)


def read(folder: Path, truth: Truth) -> list[list[int]]:
    return truth.read(find_dataset(folder).pairs[0], PixelFormat(1))[1].tolist()


def test_values_of_the_training_are_read_as_trained(tmp_path):
    truth = truth_of(tmp_path, (0, 1, 2), THREE)
    assert truth.classes == THREE
    assert read(tmp_path, truth) == INDICES.tolist()


def test_a_class_file_tells_the_order(tmp_path):
    text = "[classes]\ndog = 1\ncat = 2\nground = 0\n"
    truth = truth_of(tmp_path, (0, 2, 1), THREE, text)
    assert read(tmp_path, truth) == INDICES.tolist()


def test_the_class_file_of_the_training_data_is_in_the_model(tmp_path):
    text = "[classes]\ndog = 1\ncat = 2\nground = 0\n"
    assert truth_of(tmp_path, (0, 1, 2), THREE, text, is_own=True).classes == THREE


def test_options_name_the_classes(tmp_path):
    truth = truth_of(tmp_path, (0, 100, 200), THREE, names=("ground", "cat", "dog"))
    assert read(tmp_path, truth) == INDICES.tolist()


def test_names_match_whatever_their_case(tmp_path):
    truth = truth_of(tmp_path, (0, 100, 200), THREE, names=("Ground", "CAT", "dog "))
    assert read(tmp_path, truth) == INDICES.tolist()


def test_a_background_and_one_other_class_need_no_names(tmp_path):
    truth = truth_of(tmp_path, (0, 1, 1), TWO)
    assert read(tmp_path, truth) == np.minimum(INDICES, 1).tolist()
    turned = Classes(("cell", "background"), (7, 9), background=1)
    assert read(tmp_path, truth_of(tmp_path, (0, 1, 1), turned)) == [[1, 0, 0, 1], [0, 0, 1, 1]]


def test_a_threshold_makes_two_classes(tmp_path):
    truth = truth_of(tmp_path, (3, 200, 250), TWO, threshold=127)
    assert read(tmp_path, truth) == np.minimum(INDICES, 1).tolist()


def test_colours_need_names_and_the_named_remedy_works(tmp_path):
    colours = ((0, 0, 0), (0, 0, 255), (255, 0, 0))
    with pytest.raises(DataError, match="values #000000, #0000ff, #ff0000, and nothing names") as e:
        truth_of(tmp_path, colours, THREE, kind="colours")
    assert "--classes 'ground,cat,dog', if that is their order" in str(e.value)
    truth = truth_of(tmp_path, colours, THREE, kind="colours", names=("ground", "cat", "dog"))
    assert read(tmp_path, truth) == INDICES.tolist()


def test_a_class_that_the_model_lacks_may_be_ignored(tmp_path):
    text = "[classes]\nbackground = 0\ncell = 1\nwall = 2\n"
    with pytest.raises(DataError, match=r"does not have 'wall'; .* with --ignore 'wall'"):
        truth_of(tmp_path, (0, 1, 2), TWO, text)
    truth = truth_of(tmp_path, (0, 1, 2), TWO, text, ignored_labels=("wall",))
    assert read(tmp_path, truth) == [[0, 1, 255, 0], [255, 1, 0, 0]]
    (tmp_path / "classes.toml").unlink()
    with pytest.raises(DataError, match=r"does not have 'wall'; .* with --ignore '2'"):
        truth_of(tmp_path, (0, 1, 2), TWO, names=("background", "cell", "wall"))


def test_more_classes_than_the_model_has_may_be_one(tmp_path):
    with pytest.raises(DataError, match="or use --threshold 0 if every value above 0 is 'cell'"):
        truth_of(tmp_path, (0, 1, 2), TWO)
    truth = truth_of(tmp_path, (0, 1, 2), TWO, threshold=0)
    assert read(tmp_path, truth) == np.minimum(INDICES, 1).tolist()


def test_ambiguous_masks_are_asked_about(tmp_path):
    with pytest.raises(DataError, match=r"values that are not classes: .*; use --ignore 9 if"):
        truth_of(tmp_path, (0, 4, 9), TWO)


def test_a_further_value_may_be_ignored_where_a_class_does_not_occur(tmp_path):
    with pytest.raises(DataError, match=r"has 9, which is not a class; .* use --ignore '9' if"):
        truth_of(tmp_path, (0, 1, 9), THREE)
    truth = truth_of(tmp_path, (0, 1, 9), THREE, ignore=9)
    assert read(tmp_path, truth) == [[0, 1, 255, 0], [255, 1, 0, 0]]
