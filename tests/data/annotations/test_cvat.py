"""CVAT: every kind of shape, layers and groups, by hand arithmetic."""

import numpy as np
import pytest

from tests.data.annotations.examples import POINTS, RICH, SIZE, cvat, element, pixels, rectangle
from unetkit.errors import DataError


class TestCvat:
    def test_labels_are_those_listed_that_can_fill_and_those_used(self, read):
        listed = "".join(
            f"<label><name>{name}</name><type>{kind}</type></label>"
            for name, kind in (("wall", "any"), ("night", "tag"), ("cell", "polygon"))
        )
        extra = element("polygon", points=POINTS, label="air")
        assert read(cvat(extra, labels=listed)).labels == ("wall", "cell", "air")

    def test_box(self, read):
        drawn = pixels(read(cvat(element("box", xtl=2, ytl=1, xbr=5, ybr=3))))
        assert drawn == rectangle(slice(1, 3), slice(2, 5))

    def test_turned_box(self, read):
        # 2 rows and 4 columns about (3, 3): upright, rows 1 to 4 and columns 2 to 3.
        turned = element("box", xtl=1.1, ytl=2.1, xbr=4.9, ybr=3.9, rotation=90)
        assert pixels(read(cvat(turned))) == rectangle(slice(1, 5), slice(2, 4))

    def test_ellipse(self, read):
        # Centre (3, 4), 1.2 rows and 3.2 columns: at 0.5 rows away, columns up to
        # 3.2 * sqrt(1 - (0.5 / 1.2)^2) = 2.909 away, so 0.5, 1.5 and 2.5; at 1.5 rows none.
        drawn = pixels(read(cvat(element("ellipse", cx=4, cy=3, rx=3.2, ry=1.2))))
        assert drawn == rectangle(slice(2, 4), slice(1, 7))

    def test_mask_runs_along_the_rows_of_its_box(self, read):
        # 2 rows of 3 at row 1, column 2: out in in / in out out.
        drawn = np.zeros(SIZE, int)
        drawn[[1, 1, 2], [3, 4, 2]] = 1
        mask = element("mask", rle="1, 3, 2", left=2, top=1, width=3, height=2)
        assert pixels(read(cvat(mask))) == drawn.tolist()

    def test_higher_z_order_is_on_top_and_equal_ones_keep_their_order(self, read):
        names = [("top", 3), ("low", -1), ("first", 0), ("second", 0)]
        shapes = [element("polygon", points=POINTS, label=name, z_order=z) for name, z in names]
        (annotation,) = read(cvat(*shapes)).annotations
        assert [shape.label for shape in annotation.shapes] == ["low", "first", "second", "top"]

    def test_group_0_is_no_group(self, read):
        groups = [element("polygon", points=POINTS, group_id=number) for number in (0, 3)]
        (annotation,) = read(cvat(*groups)).annotations
        assert [shape.group for shape in annotation.shapes] == [None, 3]

    def test_tag_of_the_image_draws_nothing(self, read):
        assert not np.any(pixels(read(cvat('<tag label="night"></tag>'))))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("<image", "<track/><image", "holds the tracks of a video; accepted is CVAT for"),
            ('height="6"', "", "image 1: height is missing; accepted are numbers"),
            ('height="6"', 'height="6.5"', "image 1: height is 6.5; accepted are whole numbers"),
            ('name="a.png"', "", "image 1: the image's name is missing; accepted is the name of"),
            ("<name>cell</name>", "", "the label is missing; accepted are 1 to 200 printable"),
            ("polygon", "polyline", "element 1, 'polyline': the kind is 'polyline'; accepted are"),
            ('label="cell" ', "", "image 1: element 1, 'polygon': the label is missing"),
            (POINTS, "1,2;3", r"element 1, 'polygon': a point is \['3'\]; accepted is \[x, y\]"),
            (POINTS, "1,2;3,inf;5,6", "a coordinate is 'inf'; accepted are numbers from -1000000"),
            (POINTS, "1,2;3,4", "an outline has 2 points; accepted are 3 or more"),
            ('group_id="4"', 'group_id="x"', "element 1, 'polygon': group_id is 'x'; accepted are"),
            ('rotation="30"', 'rotation="nan"', "element 2, 'box': rotation is 'nan'; accepted"),
            ('xtl="2"', "", "element 2, 'box': xtl is missing; accepted are numbers"),
            ('z_order="0"', 'z_order=""', "element 1, 'polygon': z_order is ''; accepted are"),
            ("1, 2, 1", "1, 2", r"element 4, 'mask': .* is \[1, 2\]; .* sum to 2 x 2 = 4; export"),
            ("1, 2, 1", "1, 2.5", "element 4, 'mask': rle is '1, 2.5'; accepted are whole numbers"),
            ('top="2"', 'top="-1"', "top is -1.0; accepted are whole numbers from 0 to 1000000"),
        ],
    )
    def test_faults_are_named_with_their_place(self, read, old, new, message):
        with pytest.raises(DataError, match=rf"drawn\.xml: .*{message}"):
            read(RICH["cvat"].replace(old, new))
