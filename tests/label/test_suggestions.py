"""Suggestions: what a network predicts, how certain, and how that compares with what is drawn."""

from dataclasses import replace

import numpy as np
import pytest

from tests.label.conftest import entry_of
from unetkit.errors import DataError
from unetkit.label import suggestions as module
from unetkit.label.project import open_project
from unetkit.label.suggestions import (
    count_agreement,
    read_record,
    read_suggestion,
    score_of,
    suggest,
    write_record,
)
from unetkit.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor(run, tta="mirror")


@pytest.fixture(params=[1 << 22, 130, 1], ids=["whole", "two rows", "a row"])
def block(request, monkeypatch):
    """Number of pixels that are converted together."""
    monkeypatch.setattr(module, "BLOCK_PIXELS", request.param)


@pytest.fixture
def found(predictor, project, tmp_path):
    entry = entry_of(project, "a.png")
    return suggest(predictor, entry.path, tmp_path / "suggestion", 3, True)


def test_a_suggestion_is_what_the_network_predicts_with_its_certainty(
    predictor, project, tmp_path, found, block
):
    image = entry_of(project, "a.png").path
    given = {"names": predictor.spec.classes.names, "values": (7, 0, 9)}  # other ones in the model
    project = open_project(project.images, classes=given)
    mask, certainty = read_suggestion(tmp_path / "suggestion", found, project, (40, 60))
    assert np.array_equal(mask, np.array([7, 0, 9])[predictor(image)])
    expected = 255 * (1 - predictor.uncertainty(image))
    assert abs(certainty - expected).max() <= 0.51
    assert found.uncertainty == pytest.approx(predictor.uncertainty(image).mean(), abs=1e-4)
    assert (found.round, found.is_unseen, found.is_scored) == (3, True, False)


def test_an_image_of_another_size_is_refused(project, tmp_path, found):
    with pytest.raises(DataError, match="has 40x60 pixels and the image 9x9"):
        read_suggestion(tmp_path / "suggestion", found, project, (9, 9))


def test_what_is_known_of_it_is_read_again(tmp_path, found):
    assert read_record(tmp_path / "suggestion") == found
    write_record(tmp_path / "suggestion", replace(found, is_scored=True))
    assert read_record(tmp_path / "suggestion") == replace(found, is_scored=True)


@pytest.mark.parametrize("content", ["", "[]", '{"round": 1}'])
def test_a_damaged_record_is_none(tmp_path, content):
    assert read_record(tmp_path) is None
    (tmp_path / "suggestion.json").write_text(content)
    assert read_record(tmp_path) is None


def test_unlabelled_pixels_are_not_counted(project):
    drawn = np.array([[0, 0, 1, 1, 255, 255]], np.uint8)
    suggested = np.array([[0, 1, 1, 255, 0, 1]], np.uint8)
    counts = count_agreement(suggested, drawn, project)
    assert counts.tolist() == [[1, 1], [0, 1]]
    assert score_of(counts, project) == 0.5  # 1 pixel of pet in both, 2 in one of them
    assert score_of(np.zeros((2, 2), np.int64), project) is None


def test_counts_of_a_large_image_are_those_of_its_pixels(project, block):
    drawn, suggested = np.random.default_rng(0).choice([0, 1, 255], (2, 40, 60)).astype(np.uint8)
    counts = [[((drawn == i) & (suggested == j)).sum() for j in (0, 1)] for i in (0, 1)]
    assert count_agreement(suggested, drawn, project).tolist() == counts


def test_objects_count_as_one_class(folder):
    project = open_project(folder, classes={"kind": "instances"})
    drawn = np.array([[0, 5, 6, 7, 65535]], np.uint16)
    suggested = np.array([[0, 1, 0, 9, 3]], np.uint16)
    assert count_agreement(suggested, drawn, project).tolist() == [[1, 0], [1, 2]]
