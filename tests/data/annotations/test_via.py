"""VGG Image Annotator: every kind of region, and where its label is, by hand arithmetic."""

import numpy as np
import pytest

from tests.data.annotations.examples import RICH, SIZE, changed, faults, pixels, rectangle, via

POLYGON = {"name": "polygon", "all_points_x": [2, 5, 5, 2], "all_points_y": [1, 1, 3, 3]}
REGION = ("a.png123", "regions", 0)


class TestVia:
    def test_polygon_and_rectangle(self, read):
        drawn = rectangle(slice(1, 3), slice(2, 5))
        assert pixels(read(via(POLYGON))) == drawn
        rect = {"name": "rect", "x": 2, "y": 1, "width": 3, "height": 2}
        assert pixels(read(via(rect))) == drawn

    def test_ellipse_and_circle(self, read):
        # As in the tests of CVAT: columns 0.5 and 1.5 and 2.5 from the centre, rows 0.5.
        drawn = rectangle(slice(2, 4), slice(1, 7))
        assert (
            pixels(read(via({"name": "ellipse", "cx": 4, "cy": 3, "rx": 3.2, "ry": 1.2}))) == drawn
        )
        turned = {"name": "ellipse", "cx": 4, "cy": 3, "rx": 1.2, "ry": 3.2, "theta": np.pi / 2}
        assert pixels(read(via(turned))) == drawn
        circle = {"name": "circle", "cx": 4, "cy": 3, "r": 1}  # centres at 0.71 are inside
        assert pixels(read(via(circle))) == rectangle(slice(2, 4), slice(3, 5))

    def test_a_saved_project_has_the_same_images(self, read):
        project = {"_via_settings": {}, "_via_img_metadata": via(POLYGON)}
        assert pixels(read(project)) == pixels(read(via(POLYGON)))

    def test_regions_of_version_1_are_an_object(self, read):
        document = via(POLYGON)
        regions = document["a.png123"]["regions"]
        document["a.png123"]["regions"] = {"0": regions[0]}
        assert pixels(read(document)) == pixels(read(via(POLYGON)))

    @pytest.mark.parametrize(
        ("attributes", "label"),
        [
            ({"label": "cell", "quality": "good"}, "cell"),
            ({"quality": "good", "Class": "cell"}, "cell"),
            ({"species": "cell"}, "cell"),
            ({"type": {"cell": True, "wall": False}}, "cell"),
            ({"label": ""}, "unclassified"),
        ],
    )
    def test_label_is_a_known_attribute_or_the_only_one(self, read, attributes, label):
        assert read(via(POLYGON, **attributes)).labels == (label,)

    def test_a_region_without_attributes_has_no_class(self, read):
        document = changed(via(POLYGON), *REGION, "region_attributes", to={})
        assert read(document).labels == ("unclassified",)

    @pytest.mark.parametrize(
        ("path", "value", "cost", "message"),
        [
            (("a.png123", "filename"), 5, "nothing", "image 1: filename is 5; accepted is text"),
            (("a.png123", "regions"), 5, "image", "image 1: regions is 5; accepted is a list or"),
            ((*REGION, "shape_attributes", "name"), "cube", "image", "the kind is 'cube'"),
            ((*REGION, "shape_attributes", "all_points_y"), [1], "image", r"all_points_y is \[1\]"),
            ((*REGION, "region_attributes"), {"a": "x", "b": "y"}, "image", "the label is"),
            ((*REGION, "shape_attributes", "name"), "point", "shape", "region 1: it has no area"),
            (
                (*REGION, "shape_attributes", "name"),
                "polyline",
                "shape",
                "region 1: it has no area",
            ),
            ((*REGION, "shape_attributes", "all_points_y"), [1] * 4, "shape", "encloses no area"),
        ],
    )
    def test_faults_cost_no_more_than_they_must(self, read, path, value, cost, message):
        document = changed(RICH["via"], *path, to=value)
        document["b.png5"] = {"filename": "b.png", "regions": []}
        file = read(document)
        (fault,) = faults(file)[cost]
        assert message.replace("\\", "") in fault
        assert file.annotations[-1].image == "b.png"
        assert not file.annotations[-1].problems


def test_sizes_are_those_of_the_images(read):
    assert read(via(POLYGON)).annotations[0].size is None
    assert len(SIZE) == 2
