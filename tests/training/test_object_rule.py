"""Values by which objects are told apart: the best on validation pairs, unless they are given."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.data.scale import Scale
from unetkit.io.pixel_format import PixelFormat
from unetkit.objects.separation import ObjectRule, borders
from unetkit.training import object_rule
from unetkit.training.object_rule import choose_rule

CLASSES = Classes(("background", "cell"), (0, 1), background=0, kind="instances")


def draw_cells() -> np.ndarray:
    """Rows of cells of 12 x 10 pixels, in pairs that touch."""
    objects = np.zeros((80, 100), np.uint16)
    for row in range(5):
        for column in range(4):
            top, left = 3 + 16 * row, 3 + 24 * column
            objects[top : top + 12, left : left + 10] = 1 + 8 * row + 2 * column
            objects[top : top + 12, left + 10 : left + 20] = 2 + 8 * row + 2 * column
    return objects


@pytest.fixture
def pairs(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for name in "ab":
        tifffile.imwrite(tmp_path / "masks" / f"{name}.tif", draw_cells())
        Image.fromarray(np.zeros((80, 100), np.uint8)).save(tmp_path / "images" / f"{name}.png")
    return find_dataset(tmp_path).pairs


def predict_with(monkeypatch, rule: ObjectRule, labels: np.ndarray, scores=None) -> None:
    """A model that predicts these labels and scores of every image."""
    planes = [1.0 * (labels == 0), 1.0 * (labels == 1), *([] if scores is None else [scores])]
    spec = SimpleNamespace(
        pixels=PixelFormat(1), scale=Scale("native", 32, 32), objects=rule, classes=CLASSES
    )
    found = np.stack(planes, axis=-1)
    predictor = SimpleNamespace(spec=spec, scores=lambda source: (found, None))
    monkeypatch.setattr(object_rule, "Predictor", lambda model: predictor)


def test_the_threshold_at_which_objects_part(monkeypatch, pairs):
    """Borders have a probability of 0.35 only; elsewhere it is 0.15."""
    scores = np.where(borders(draw_cells()) > 0, 0.35, 0.15).astype(np.float32)
    predict_with(monkeypatch, ObjectRule("border"), (draw_cells() > 0).astype(int), scores)
    rule, f1 = choose_rule(ObjectRule("border", prominence=0), "model", pairs, CLASSES)
    assert rule.seed in (0.2, 0.3)
    assert f1 == 1


def test_objects_that_no_threshold_parts(monkeypatch, pairs):
    """Half of the objects reach 0.4, with 0.2 where they meet; the others 0.9, with 0.6."""
    cells = draw_cells()
    is_high = (cells - 1) // 8 % 2 == 0  # every other row
    meets = borders(cells) > 0
    scores = np.where(is_high, np.where(meets, 0.6, 0.9), np.where(meets, 0.2, 0.4))
    scores = np.where(cells > 0, scores, 0).astype(np.float32)
    predict_with(monkeypatch, ObjectRule("distance"), (cells > 0).astype(int), scores)
    rule, f1 = choose_rule(ObjectRule("distance"), "model", pairs, CLASSES)
    assert (rule.prominence > 0, f1) == (True, 1)
    _, worse = choose_rule(ObjectRule("distance", prominence=0), "model", pairs, CLASSES)
    assert worse < 0.8


def test_specks_are_smaller_than_the_smallest_object(monkeypatch, pairs):
    labels = (draw_cells() > 0).astype(int)
    labels[1::16, ::9] = 1  # a single pixel each
    predict_with(monkeypatch, ObjectRule("border"), labels, borders(draw_cells()))
    rule, f1 = choose_rule(ObjectRule("border"), "model", pairs, CLASSES)
    assert 1 < rule.smallest <= 60
    assert f1 == 1
    given, worse = choose_rule(ObjectRule("border", smallest=0), "model", pairs, CLASSES)
    assert given.smallest == 0
    assert worse < 0.8


def test_holes_are_filled_if_objects_have_none(monkeypatch, pairs):
    labels = (draw_cells() > 0).astype(int)
    for left in range(5, 100, 24):
        for top in range(5, 80, 16):  # in the left cell of each pair, of 120 pixels
            labels[top : top + 3, left : left + 4] = 0
    predict_with(monkeypatch, ObjectRule("border"), labels, borders(draw_cells()))
    rule, f1 = choose_rule(ObjectRule("border"), "model", pairs, CLASSES)
    assert rule.largest_hole >= 12
    assert f1 == 1


def test_without_objects_the_usual_values_are_taken(monkeypatch, tmp_path):
    predict_with(monkeypatch, ObjectRule("border"), np.zeros((80, 100), int), np.zeros((80, 100)))
    rule, f1 = choose_rule(ObjectRule("border"), "model", [], CLASSES)
    assert rule == ObjectRule("border", 0.5, 0, 0, 0.1)
    assert np.isnan(f1)
