"""Supervisely: polygons with holes, rectangles and bitmaps, by hand arithmetic."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.data.annotations.examples import (
    HOLE,
    OUTLINE,
    RICH,
    SIZE,
    as_text,
    changed,
    deflated,
    faults,
    pixels,
    rectangle,
    supervisely,
)
from unetkit.data.dataset import find_dataset
from unetkit.errors import DataError


class TestSupervisely:
    def test_interior_is_a_hole(self, read):
        points = {"exterior": OUTLINE, "interior": [HOLE]}
        drawn = np.array(rectangle(slice(1, 3), slice(2, 5)))
        drawn[1, 3] = 0
        document = supervisely({"geometryType": "polygon", "points": points})
        assert pixels(read(document)) == drawn.tolist()
        assert read(document).annotations[0].size == SIZE

    def test_bitmap_lies_at_its_origin(self, read):
        # Column 3 and row 1 are its first; of 2 rows of 2, one pixel is empty.
        bitmap = {"origin": [3, 1], "data": deflated([[255, 0], [255, 255]])}
        drawn = np.zeros(SIZE, int)
        drawn[[1, 2, 2], [3, 3, 4]] = 1
        document = supervisely({"geometryType": "bitmap", "bitmap": bitmap})
        assert pixels(read(document)) == drawn.tolist()

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (["size", "height"], 0, "height is 0; accepted are whole numbers from 1"),
            (["objects", 0, "classTitle"], 5, "object 1: classTitle is 5; accepted is text"),
            (["objects", 0, "geometryType"], "cube", "geometryType is 'cube'; accepted are"),
            (["objects", 1, "points", "exterior"], OUTLINE, "object 2: a rectangle is"),
            (["objects", 2, "bitmap", "data"], "?", "object 3: the bitmap is .*; accepted is a"),
            (["objects", 2, "bitmap", "data"], "QUJD", "object 3: the bitmap is .*; export it"),
        ],
    )
    def test_faults_are_named_with_their_place(self, read, path, value, message):
        with pytest.raises(DataError, match=rf"drawn\.json: .*{message}"):
            read(changed(RICH["supervisely"], *path, to=value))

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (["objects", 0, "geometryType"], "point"),
            (["objects", 0, "points", "exterior"], []),
            (["objects", 1, "points", "exterior"], [[1, 1], [1, 4]]),
        ],
    )
    def test_shapes_without_an_area_are_left_out(self, read, path, value):
        file = read(changed(RICH["supervisely"], *path, to=value))
        (fault,) = faults(file)["shape"]
        assert re.match(r"object \d: (it has|its outline)", fault)


def test_a_file_has_the_whole_name_of_its_image(tmp_path):
    for folder in ("img", "ann"):
        (tmp_path / "ds" / folder).mkdir(parents=True)
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "ds" / "img" / name)
        (tmp_path / "ds" / "ann" / f"{name}.json").write_text(as_text("supervisely"))
    (tmp_path / "meta.json").write_text('{"classes": [], "tags": []}')
    dataset = find_dataset(tmp_path)
    assert [pair.mask.name for pair in dataset.pairs] == ["a.png.json", "b.jpg.json"]
    assert dataset.problems == ()
