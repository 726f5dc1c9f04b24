"""What is made of arrays in Python is what `predict` writes."""

import json

import numpy as np
import pytest
import shapely

import unetkit
from tests.results.predicted import predicted
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.errors import SizeError
from unetkit.results.outputs import write_output
from unetkit.visualization import overlays

THREE = Classes(("ground", "cell", "nucleus"), (0, 1, 2), background=0)
RANDOM = np.random.default_rng(8)
PHOTO = RANDOM.integers(0, 256, (9, 12, 3), np.uint8)
MASK = RANDOM.integers(0, 3, (9, 12)).astype(np.uint8)


def test_an_overlay_is_the_one_that_is_written():
    expected = overlays.lay_over(PHOTO, MASK, THREE)
    assert np.array_equal(unetkit.overlay(PHOTO, MASK, THREE), expected)
    grey = PHOTO[..., 0]
    assert np.array_equal(
        unetkit.overlay(grey, MASK, THREE), unetkit.overlay(np.dstack([grey] * 3), MASK, THREE)
    )


def test_a_cutout_is_transparent_where_the_background_is_certain():
    photo = np.random.default_rng(0).integers(0, 256, (30, 60, 3), dtype=np.uint8)
    probabilities = np.zeros((30, 60, 3), np.float32)
    probabilities[:, :30, 0] = 1
    probabilities[:, 30:, 1] = 1
    found = unetkit.cutout(photo, probabilities, THREE)
    assert np.array_equal(found[:, 40:, :3], photo[:, 40:])
    assert not found[:, :20].any()
    assert (found[:, 40:, 3] == 255).all()
    probabilities[:, 50:] = np.nan
    assert not unetkit.cutout(photo, probabilities, THREE)[:, 50:, 3].any()


def test_polygons_are_those_of_the_file(tmp_path):
    with predicted(MASK, THREE) as image:
        write_output("geojson", tmp_path / "a.geojson", image)
    found = unetkit.polygons(MASK, THREE)
    written = json.loads((tmp_path / "a.geojson").read_text())
    assert json.loads(json.dumps(found["features"])) == written["features"]
    areas = sum(shapely.geometry.shape(one["geometry"]).area for one in found["features"])
    assert areas == (MASK > 0).sum()


def test_polygons_may_be_simplified():
    steps = np.tril(np.ones((20, 20), np.uint8))
    (exact,) = unetkit.polygons(steps, THREE)["features"]
    (simple,) = unetkit.polygons(steps, THREE, simplify=1)["features"]
    assert len(simple["geometry"]["coordinates"][0]) < len(exact["geometry"]["coordinates"][0]) / 4


def test_classes_without_a_background_all_have_polygons():
    names = {
        feature["properties"]["classification"]["name"]
        for feature in unetkit.polygons(MASK, Classes(("a", "b", "c"), (0, 1, 2)))["features"]
    }
    assert names == {"a", "b", "c"}


def test_a_table_leaves_pixels_without_a_class_out():
    mask = np.array([[0, 1, 1, 255]], np.uint8)
    rows = unetkit.table(mask, TRIMAP_CLASSES, pixel_size="2mm")
    assert [row["pixels"] for row in rows] == [1, 2, 0]
    assert [row["area_mm2"] for row in rows] == [4, 8, 0]
    assert sum(row["fraction"] for row in rows) == pytest.approx(1, abs=2e-6)


@pytest.mark.parametrize(
    "mask", [MASK.astype(int), MASK[..., None], MASK[:0]], ids=["int64", "3 axes", "empty"]
)
def test_another_array_is_no_mask(mask):
    for function in (unetkit.polygons, unetkit.table):
        with pytest.raises(SizeError, match=r"mask is .*; accepted is \(H, W\) uint8"):
            function(mask, THREE)


def test_photo_and_prediction_are_of_one_size():
    for photo in (PHOTO[:4], PHOTO / 255, PHOTO[..., :2]):
        with pytest.raises(SizeError, match=r"photo is .* for a prediction of \(9, 12\) pixels"):
            unetkit.overlay(photo, MASK, THREE)
    with pytest.raises(SizeError, match=r"probabilities are .*; accepted is \(H, W, 3\)"):
        unetkit.cutout(PHOTO, np.zeros((9, 12, 2), np.float32), THREE)


def test_a_cutout_needs_a_background():
    with pytest.raises(SizeError, match="a, b have no background, which would be transparent"):
        unetkit.cutout(PHOTO, np.zeros((9, 12, 2), np.float32), Classes(("a", "b"), (0, 1)))
