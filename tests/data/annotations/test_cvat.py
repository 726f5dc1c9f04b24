"""CVAT: every kind of shape, layers and groups, by hand arithmetic."""

import re

import numpy as np
import pytest

from tests.data.annotations.examples import (
    POINTS,
    RICH,
    SIZE,
    cvat,
    element,
    faults,
    pixels,
    rectangle,
)
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
        ("old", "new", "cost", "message"),
        [
            ("<image", "<track/><image", "file", "holds the tracks of a video; accepted is CVAT"),
            ("<name>cell</name>", "", "file", "the label is missing; accepted are 1 to 200"),
            ('name="a.png"', "", "nothing", "image 1: the image's name is missing; accepted is"),
            ('height="6"', "", "image", "image 1: height is missing; accepted are numbers"),
            ('height="6"', 'height="6.5"', "image", "image 1: height is 6.5; accepted are whole"),
            ('label="cell" ', "", "image", "image 1: element 1, 'polygon': the label is missing"),
            (POINTS, "1,2;3", "image", r"element 1, 'polygon': a point is \['3'\]; accepted is"),
            (POINTS, "1,2;3,inf;5,6", "image", "a coordinate is 'inf'; accepted are numbers from"),
            ('group_id="4"', 'group_id="x"', "image", "'polygon': group_id is 'x'; accepted are"),
            ('rotation="30"', 'rotation="nan"', "image", "'box': rotation is 'nan'; accepted"),
            ('xtl="2"', "", "image", "element 2, 'box': xtl is missing; accepted are numbers"),
            ('z_order="0"', 'z_order=""', "image", "'polygon': z_order is ''; accepted are"),
            ("1, 2, 1", "1, 2", "image", r"'mask': .* is \[1, 2\]; .* sum to 2 x 2 = 4; export"),
            ("1, 2, 1", "1, 2.5", "image", "'mask': rle is '1, 2.5'; accepted are whole numbers"),
            ('top="2"', 'top="-1"', "image", "top is -1.0; accepted are whole numbers from 0"),
            ("ellipse", "circle", "image", "element 3, 'circle': the kind is 'circle'; accepted"),
            ("ellipse", "polyline", "shape", "element 3, 'polyline': it has no area"),
            ("ellipse", "points", "shape", "element 3, 'points': it has no area"),
            (POINTS, "1,2;3,4", "shape", "'polygon': its outline of 2 points encloses no area"),
            (POINTS, "1,1;3,1;7,1", "shape", "'polygon': its outline of 3 points encloses no"),
            (POINTS, "", "shape", "element 1, 'polygon': it has no outline"),
            ('xtl="2"', 'xtl="5"', "shape", "'box': its outline of 4 points encloses no area"),
        ],
    )
    def test_faults_cost_no_more_than_they_must(self, read, old, new, cost, message):
        document = RICH["cvat"].replace(old, new)
        other = cvat(element("polygon", points=POINTS)).partition("<image")[2]
        document = document.replace("</annotations>", f"<image{other}").replace("a.png", "b.png")
        document = document.replace("b.png", "a.png", 1)
        if cost == "file":
            with pytest.raises(DataError, match=rf"drawn\.xml: .*{message}"):
                read(document)
            return
        file = read(document)
        fault = faults(file)[cost][0]
        assert re.search(message, fault)
        assert len(file.annotations[-1].shapes) == 1
        assert not file.annotations[-1].problems
        if cost == "shape":
            assert len(file.annotations[0].shapes) == 3
