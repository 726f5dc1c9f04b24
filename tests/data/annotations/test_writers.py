"""Shapes in four formats: read again, here and by other programs, they fill the same pixels."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools.coco import COCO

from unetkit.data.annotations.writers import (
    AnnotatedImage,
    Drawn,
    Place,
    joined,
    run_lengths,
    write_coco,
    write_geojson,
    write_labelme,
    write_yolo,
)
from unetkit.objects.outlines import find_regions, simplify

WRITERS = {
    "geojson": (write_geojson, ".geojson"),
    "coco": (write_coco, ".json"),
    "yolo": (write_yolo, ".txt"),
    "labelme": (write_labelme, ".json"),
}
NAMES = ("ground", "cell", "nucleus")
MASKS = arrays.arrays(
    np.int64, st.tuples(st.integers(1, 10), st.integers(1, 10)), elements=st.integers(0, 2)
)
SEED = np.random.default_rng(5)
LARGE = (SEED.random((40, 56)) > 0.45) * SEED.integers(1, 3, (40, 56))


def shapes_of(mask, bound=0.0):
    regions = find_regions(lambda r, c: mask[r, c], mask.shape, {0}, band_rows=7)
    return [
        Drawn(region.label, [[simplify(ring, bound) for ring in region.rings]])
        for region in regions
    ]


def annotated(size, place=None):
    colours = ((0, 0, 0), (230, 159, 0), (86, 180, 233))
    return AnnotatedImage("images/a.png", size, NAMES, colours, {"model": "m"}, place)


def write(folder, format, mask, bound=0.0, place=None):
    function, suffix = WRITERS[format]
    file = folder / f"a{suffix}"
    function(file, annotated(mask.shape, place), shapes_of(mask, bound))
    return file


def at_centres(geometry, shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    return shapely.contains_xy(geometry, columns, rows)


def by_winding(ring, shape):
    """Filled by the even-odd rule, by counting crossings to the left of each centre."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (rows > min(y0, y1)) & (rows < max(y0, y1))
            inside ^= crosses & (x0 + (rows - y0) * (x1 - x0) / (y1 - y0) < columns)
    return inside


def filled(file, format, shape, is_exact=True):
    """The mask that a file gives, by programs other than this one."""
    mask = np.zeros(shape, np.int64)
    if format == "coco":
        coco = COCO(str(file))
        for annotation in coco.loadAnns(coco.getAnnIds()):
            inside = coco.annToMask(annotation) > 0
            assert not is_exact or annotation["area"] == inside.sum()
            mask[inside] = annotation["category_id"]
    elif format == "geojson":
        for feature in json.loads(file.read_text())["features"]:
            geometry = shapely.from_geojson(json.dumps(feature["geometry"]))
            assert not is_exact or geometry.is_valid
            index = NAMES.index(feature["properties"]["classification"]["name"])
            mask[at_centres(geometry, shape)] = index
    elif format == "labelme":
        for record in json.loads(file.read_text())["shapes"]:
            inside = by_winding(np.array(record["points"]), shape)
            mask[inside] = NAMES.index(record["label"])
    else:
        for line in file.read_text().splitlines():
            index, *numbers = line.split()
            points = np.reshape(np.array(numbers, float), (-1, 2)) * (shape[1], shape[0])
            mask[by_winding(points, shape)] = int(index)
    return mask


@pytest.mark.parametrize("format", WRITERS)
class TestRoundTrip:
    @settings(max_examples=60)
    @given(mask=MASKS)
    def test_the_mask_comes_back_bit_for_bit(self, tmp_path_factory, format, mask):
        file = write(tmp_path_factory.mktemp("a"), format, mask)
        assert np.array_equal(filled(file, format, mask.shape), mask)

    def test_so_does_a_noisy_one(self, tmp_path, format):
        file = write(tmp_path, format, LARGE)
        assert np.array_equal(filled(file, format, LARGE.shape), LARGE)

    def test_what_is_simplified_is_written_too(self, tmp_path, format):
        mask = np.pad(np.tril(np.ones((30, 30), np.int64)), 2)
        exact = write(tmp_path, format, mask).stat().st_size
        file = write(tmp_path, format, mask, bound=1.0)
        assert file.stat().st_size < exact / 2
        again = filled(file, format, mask.shape, is_exact=False)
        assert (again != mask).mean() < 0.06


@settings(max_examples=100)
@given(MASKS)
def test_run_lengths_are_those_of_the_mask(mask):
    rings = [ring for shape in shapes_of(mask > 0) for ring in shape.polygons[0]]
    counts = run_lengths(rings, mask.shape) if rings else [mask.size]
    values = np.repeat(np.arange(len(counts)) % 2, counts)
    assert np.array_equal(values.reshape(mask.shape[::-1]).T, mask > 0)
    assert all(counts[1:])


def test_parts_of_an_object_belong_together(tmp_path):
    parts = [[np.array([[0, 0], [0, 1], [1, 1], [1, 0]]) + shift] for shift in (0, 2)]
    shape = [Drawn(1, parts, number=7)]
    write_geojson(tmp_path / "a.geojson", annotated((3, 3)), shape)
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert feature["properties"]["number"] == 7
    assert feature["properties"]["objectType"] == "detection"
    write_labelme(tmp_path / "a.json", annotated((3, 3)), shape)
    records = json.loads((tmp_path / "a.json").read_text())["shapes"]
    assert [record["group_id"] for record in records] == [7, 7]
    write_coco(tmp_path / "c.json", annotated((3, 3)), shape)
    (annotation,) = json.loads((tmp_path / "c.json").read_text())["annotations"]
    assert (annotation["area"], annotation["bbox"]) == (2, [0, 0, 3, 3])
    assert len(annotation["segmentation"]) == 2
    write_yolo(tmp_path / "a.txt", annotated((3, 3)), shape)
    assert filled(tmp_path / "a.txt", "yolo", (3, 3)).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_a_map_has_its_own_coordinates(tmp_path):
    place = Place(np.array([[2.0, 0, 500_000], [0, -2.0, 4_000_000]]), 32633)
    mask = np.array([[0, 1], [0, 1]])
    file = write(tmp_path, "geojson", mask, place=place)
    document = json.loads(file.read_text())
    assert document["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    geometry = shapely.from_geojson(json.dumps(document["features"][0]["geometry"]))
    assert geometry.bounds == (500_002, 3_999_996, 500_004, 4_000_000)
    assert geometry.exterior.is_ccw
    assert "crs" not in json.loads(write(tmp_path, "geojson", mask).read_text())


def test_a_bridge_to_a_hole_encloses_nothing():
    outer = np.array([[0, 0], [0, 9], [9, 9], [9, 0]])
    hole = np.array([[3, 3], [6, 3], [6, 6], [3, 6]])
    ring = joined([outer, hole])
    assert len(ring) == len(outer) + len(hole) + 2
    inside = by_winding(ring[:, ::-1], (9, 9))
    assert inside.sum() == 81 - 9
    assert not inside[3:6, 3:6].any()
