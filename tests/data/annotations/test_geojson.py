"""GeoJSON: holes, classes of QuPath and hierarchies, by hand arithmetic."""

import numpy as np
import pytest

from tests.data.annotations.examples import (
    GONE,
    HOLE,
    OUTLINE,
    RICH,
    SIZE,
    changed,
    collection,
    faults,
    feature,
    pixels,
    rectangle,
)
from unetkit.data.annotations.polygons import rasterise_instances
from unetkit.errors import DataError


class TestGeojson:
    def test_inner_ring_is_a_hole(self, read):
        drawn = np.array(rectangle(slice(1, 3), slice(2, 5)))
        drawn[1, 3] = 0
        assert pixels(read(feature([OUTLINE, HOLE]))) == drawn.tolist()

    def test_polygons_of_a_multipolygon_unite(self, read):
        # The second one lies in the hole of the first, and fills it.
        multi = feature([[OUTLINE, HOLE], [HOLE]], "MultiPolygon")
        assert pixels(read(multi)) == rectangle(slice(1, 3), slice(2, 5))
        numbers = rasterise_instances(read(multi).annotations[0], SIZE)
        assert np.unique(numbers).tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("properties", "label"),
        [
            ({"classification": {"name": "Tumor", "colorRGB": -3}, "name": "x"}, "Tumor"),
            ({"classification": {"names": ["Tumor", "Positive"]}}, "Tumor: Positive"),
            ({"classification": {"name": "Pos", "parentClass": {"name": "Tumor"}}}, "Tumor: Pos"),
            ({"classification": "Stroma"}, "Stroma"),
            ({"classification": {}, "name": "x"}, "x"),
            ({"classification": None, "class": 4, "name": "x"}, "4"),
            ({"label": "a", "class": "b", "name": "c"}, "a"),
            ({"label": "", "name": "c"}, "c"),
            ({"objectType": "annotation"}, "unclassified"),
        ],
    )
    def test_label_is_the_class_or_else_a_name(self, read, properties, label):
        assert read(feature([OUTLINE], **properties)).labels == (label,)

    def test_properties_may_be_null_and_measurements_no_numbers(self, read):
        assert read(changed(feature([OUTLINE]), "properties", to=None)).labels == ("unclassified",)
        measured = feature([OUTLINE], measurements={"area": float("nan")})
        assert pixels(read(measured)) == rectangle(slice(1, 3), slice(2, 5))

    def test_children_lie_on_their_parent_and_below_the_next(self, read):
        child = feature(
            [OUTLINE], name="child", childObjects=[feature([OUTLINE], name="grandchild")]
        )
        features = [
            feature([OUTLINE], name="parent", childObjects=[child]),
            feature([HOLE], name="b"),
        ]
        (annotation,) = read(collection(*features)).annotations
        assert [shape.label for shape in annotation.shapes] == [
            "parent",
            "child",
            "grandchild",
            "b",
        ]

    def test_height_above_ground_is_dropped(self, read):
        raised = feature([[[x, y, 40.5] for x, y in OUTLINE]])
        assert pixels(read(raised)) == rectangle(slice(1, 3), slice(2, 5))

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (["features"], GONE, "features is missing; accepted is a list"),
            (["features", 1], 5, "feature 2: it is 5; accepted is an object that has type"),
            (["features", 1, "type"], "Topology", "feature 2: type is 'Topology'; accepted is"),
            (["features", 0, "geometry"], None, "feature 1: geometry is missing; accepted is an"),
            (["features", 0, "geometry", "type"], "GeometryCollection", ".*; redraw or remove the"),
            (["features", 0, "geometry", "coordinates"], 5, r"coordinates is 5; accepted is a"),
            (["features", 1, "geometry", "coordinates"], [[]], r"a polygon is \[\]; accepted is a"),
            (["features", 0, "geometry", "coordinates", 1, 0], [1, "2"], "a coordinate is '2'"),
            (["features", 0, "properties"], [], r"feature 1: properties is \[\]; accepted is an"),
            (["features", 0, "properties", "classification"], 1.5, "the label is 1.5; accepted"),
            (["features", 2, "properties", "classification", "names"], [5], "the label is 5"),
            (["features", 1, "properties", "childObjects"], 5, "feature 2: childObjects is 5"),
        ],
    )
    def test_faults_are_named_with_their_place(self, read, path, value, message):
        with pytest.raises(DataError, match=rf"drawn\.json: .*{message}"):
            read(changed(RICH["geojson"], *path, to=value))

    def test_shapes_without_an_area_are_named_and_left_out(self, read):
        point = feature([3, 3], "Point", childObjects=[feature([OUTLINE])])
        file = read(collection(point, feature([[[1, 2], [3, 4]]]), feature([OUTLINE, HOLE[:1]])))
        assert faults(file)["shape"] == [
            "feature 1: it has no area",
            "feature 3: its outline of 2 points encloses no area",
            "feature 4: its outline of 1 point encloses no area",
        ]
        assert [len(shape.parts[0]) for shape in file.annotations[0].shapes] == [1, 1]
