"""Polygons of predictions: regions, objects, maps; and read by the package as masks again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.results.predicted import predicted
from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.data.reading import read_pair
from unetkit.io.pixel_format import PixelFormat
from unetkit.prediction.predictor import NODATA_LABEL
from unetkit.results.outputs import OUTPUTS, write_output
from unetkit.results.polygons import POLYGONS, find_shapes, place_of
from unetkit.results.predicted_image import ImageObjects

THREE = Classes(("background", "cell", "nucleus"), (0, 1, 2), background=0)
RANDOM = np.random.default_rng(3)
NOISE = ((RANDOM.random((30, 41)) > 0.4) * RANDOM.integers(1, 3, (30, 41))).astype(np.uint8)


@pytest.mark.parametrize("kind", POLYGONS)
def test_the_package_reads_the_same_mask_again(tmp_path, kind):
    for name in ("a", "b"):
        Image.fromarray(np.zeros(NOISE.shape, np.uint8)).save(tmp_path / f"{name}.png")
        with predicted(NOISE, THREE) as image:
            file = tmp_path / f"{name}{OUTPUTS[kind].ending('png')}"
            write_output(kind, file, replace(image, path=f"{name}.png"))
    if kind == "coco":
        (tmp_path / "b_coco.json").unlink()
    if kind == "yolo":
        (tmp_path / "data.yaml").write_text("names: [background, cell, nucleus]\n")
    pair = find_dataset(tmp_path).pairs[0]
    format = PixelFormat(1, "uint8", (0,), (255,))
    assert np.array_equal(read_pair(pair, THREE, format)[1], NOISE)


def test_background_and_pixels_without_data_have_no_shapes():
    labels = np.array([[0, 1, NODATA_LABEL, 2]], np.uint8)
    with predicted(labels, THREE) as image:
        assert [shape.category for shape in find_shapes(image)] == [1, 2]
    without = Classes(("a", "b", "c"), (0, 1, 2))
    with predicted(labels, without) as image:
        assert [shape.category for shape in find_shapes(image)] == [0, 1, 2]


def test_objects_are_shapes_of_their_own(tmp_path):
    numbers = np.array([[1, 0, 2], [0, 1, 2]], np.uint32)  # the first in two parts
    objects = ImageObjects(numbers, tmp_path / "t.csv", 2, (2, 1))
    with predicted(np.ones((2, 3), np.uint8), THREE, objects=objects) as image:
        first, second = find_shapes(image)
    assert (first.number, first.category, len(first.polygons)) == (1, 2, 2)
    assert (second.number, second.category, len(second.polygons)) == (2, 1, 1)


def test_outlines_are_simplified_by_the_bound():
    steps = np.tril(np.ones((30, 30), np.uint8))
    with predicted(steps, THREE) as image:
        (exact,) = find_shapes(image)
    with predicted(steps, THREE, simplify=0.75) as image:
        (simple,) = find_shapes(image)
    assert len(simple.polygons[0][0]) < 8 < len(exact.polygons[0][0])


KEYS = (3, 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633))


def tags(raster_type=1, **more):
    keys = list(KEYS[2])
    keys[11] = raster_type
    scale, ties = (12, 3, (2.0, 2.0, 0.0)), (12, 6, (0, 0, 0, 500_000.0, 4_000_000.0, 0))
    return {33550: scale, 33922: ties, 34735: (3, 16, tuple(keys)), **more}


class TestPlace:
    def test_a_scale_and_a_tie_point_say_where_pixels_are(self):
        place = place_of(tags())
        assert place.matrix.tolist() == [[2, 0, 500_000], [0, -2, 4_000_000]]
        assert place.epsg == 32633

    def test_points_are_the_centres_of_pixels(self):
        place = place_of(tags(raster_type=2))
        assert place.matrix[:, 2].tolist() == [499_999, 4_000_001]

    def test_a_matrix_is_taken_as_it_is(self):
        matrix = (0.5, 0.1, 0, 7, 0.1, -0.5, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1)
        place = place_of({34264: (12, 16, matrix)})
        assert place.matrix.tolist() == [[0.5, 0.1, 7], [0.1, -0.5, 9]]
        assert place.epsg is None

    def test_without_tags_an_image_is_no_map(self):
        assert place_of({}) is None

    def test_polygons_of_a_geotiff_are_in_its_coordinates(self, tmp_path):
        extra = [(code, *value, True) for code, value in tags().items()]
        tifffile.imwrite(tmp_path / "m.tif", np.zeros((2, 2), np.uint8), extratags=extra)
        labels = np.array([[0, 1], [0, 0]], np.uint8)
        with predicted(labels, THREE, tmp_path / "m.tif") as image:
            write_output("geojson", tmp_path / "m.geojson", image)
        document = json.loads((tmp_path / "m.geojson").read_text())
        (ring,) = document["features"][0]["geometry"]["coordinates"]
        assert {tuple(point) for point in ring} == {
            (x, y) for x in (500_002, 500_004) for y in (4_000_000, 3_999_998)
        }
        assert document["crs"]["properties"]["name"].endswith("EPSG::32633")
