"""LabelMe: every kind of shape, by hand arithmetic."""

import numpy as np
import pytest

from tests.data.annotations.examples import (
    GONE,
    HOLE,
    OUTLINE,
    RICH,
    SIZE,
    changed,
    faults,
    labelme,
    pixels,
    png,
    rectangle,
)
from unetkit.data.annotations.polygons import rasterise, rasterise_instances
from unetkit.errors import DataError


class TestLabelme:
    def test_image_is_named_with_forward_slashes(self, read):
        assert read(labelme()).annotations[0].image == "../images/a.png"

    @pytest.mark.parametrize("kind", [None, "", "polygon", "oriented_rectangle", "rectangle"])
    def test_four_corners_are_an_outline(self, read, kind):
        shape = {"shape_type": kind, "points": OUTLINE}
        assert pixels(read(labelme(shape))) == rectangle(slice(1, 3), slice(2, 5))

    def test_rectangle_has_two_opposite_corners(self, read):
        shape = {"shape_type": "rectangle", "points": [[5, 1], [2, 3]]}
        assert pixels(read(labelme(shape))) == rectangle(slice(1, 3), slice(2, 5))

    def test_circle_has_a_centre_and_a_point_on_it(self, read):
        # Centre (3, 3), radius 1.6: of the centres 0.5 and 1.5 away along both axes,
        # hypot(0.5, 1.5) = 1.581 is within, hypot(1.5, 1.5) = 2.121 is not.
        drawn = np.array(
            pixels(read(labelme({"shape_type": "circle", "points": [[3, 3], [3, 4.6]]})))
        )
        assert drawn[1:5, 1:5].tolist() == [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]
        assert drawn.sum() == 12

    @pytest.mark.parametrize("mode", ["L", "1"])
    def test_mask_lies_between_its_two_corner_pixels(self, read, mode):
        # Columns 2 to 4, rows 1 to 2, both ends included.
        picture = png([[255, 0, 255], [0, 255, 0]], mode)
        shape = {"shape_type": "mask", "points": [[2.0, 1.0], [4.0, 2.0]], "mask": picture}
        drawn = np.zeros(SIZE, int)
        drawn[[1, 1, 2], [2, 4, 3]] = 1
        assert pixels(read(labelme(shape))) == drawn.tolist()

    def test_later_shapes_lie_on_earlier_ones(self, read):
        annotations = read(labelme({"points": OUTLINE}, {"points": HOLE, "label": "background"}))
        assert annotations.labels == ("background", "cell")
        drawn = rasterise(annotations.annotations[0], SIZE, {"cell": 5, "background": 0})
        assert drawn[1].tolist() == [0, 0, 5, 0, 5, 0, 0, 0]

    def test_shapes_of_a_group_are_one_object(self, read):
        shapes = [{"points": OUTLINE, "group_id": 4}, {"points": HOLE, "group_id": 4}]
        numbers = rasterise_instances(read(labelme(*shapes)).annotations[0], SIZE)
        assert np.unique(numbers).tolist() == [0, 1]

    def test_file_may_name_neither_image_nor_size(self, read):
        (annotation,) = read({"shapes": []}).annotations
        assert (annotation.image, annotation.size) == ("", None)

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (["imagePath"], [5], r"the image's name is \[5\]; accepted is the name of a file"),
            (["imageHeight"], "6", "imageHeight is '6'; accepted are whole numbers from 1 to"),
            (["shapes"], {}, r"shapes is \{\}; accepted is a list$"),
            (["shapes", 0, "label"], GONE, "shape 1: label is missing; accepted is text"),
            (["shapes", 0, "label"], "a\nb", r"shape 1: the label is 'a\\nb'; accepted are 1 to"),
            (["shapes", 0, "label"], "a" * 201, "shape 1: the label is 'aaa.*; accepted are 1 to"),
            (["shapes", 1, "group_id"], 1.5, "shape 2: group_id is 1.5; accepted is a whole"),
            (["shapes", 0, "shape_type"], "cube", "'cube'; accepted are polygon,.*; redraw or"),
            (["shapes", 0, "points", 1], [1], r"shape 1: a point is \[1\]; accepted is \[x, y\]"),
            (["shapes", 2, "points"], OUTLINE, "shape 3: a circle has 4 points; accepted are 2"),
            (["shapes", 3, "points", 1], [0, 2], "shape 4: mask's width is 0; accepted are whole"),
            (["shapes", 3, "points", 1], [3, 2], r"mask cannot be read \(1 x 2, L\); .* 1 x 3"),
            (["shapes", 3, "mask"], None, "shape 4: mask is missing; accepted is text"),
            (["shapes", 3, "mask"], "?", r"mask cannot be read \(.*\); accepted is a PNG of 1 x 2"),
            (["shapes", 3, "mask"], png([[1, 0]])[:60], r"mask cannot be read .*; redraw or"),
            (["shapes", 3, "mask"], png([[1, 0]], "RGB"), r"cannot be read \(1 x 2, RGB\); .* one"),
        ],
    )
    def test_faults_are_named_with_their_place(self, read, path, value, message):
        with pytest.raises(DataError, match=rf"drawn\.json: .*{message}"):
            read(changed(RICH["labelme"], *path, to=value))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"shape_type": "point"}, "shape 1: it has no area"),
            ({"shape_type": "linestrip"}, "shape 1: it has no area"),
            ({"points": []}, "shape 1: it has no area"),
            ({"points": [[1, 2]]}, "shape 1: its outline of 1 point encloses no area"),
            ({"points": [[1, 2]], "shape_type": "circle"}, "shape 1: it has no area"),
            (
                {"points": [[1, 2], [1, 5]], "shape_type": "rectangle"},
                "shape 1: its outline of 4 points encloses no area",
            ),
        ],
    )
    def test_shapes_without_an_area_are_named_and_left_out(self, read, changes, message):
        file = read(labelme({"points": OUTLINE, **changes}, {"points": OUTLINE}))
        assert faults(file)["shape"] == [message]
        assert pixels(file) == pixels(read(labelme({"points": OUTLINE})))
