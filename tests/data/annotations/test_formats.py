"""Files of four formats: what they draw by hand arithmetic, and what no file may do."""

import base64
import copy
import io
import json
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unetkit.data.annotations import documents
from unetkit.data.annotations.formats import Annotations, annotation_format, read_annotations
from unetkit.data.annotations.polygons import rasterise, rasterise_instances
from unetkit.errors import DataError, DataNotFoundError, UnetkitError

STEADY = settings(derandomize=True, deadline=None, max_examples=300)
SIZE = (6, 8)
OUTLINE = [[2, 1], [5, 1], [5, 3], [2, 3]]  # x and y: rows 1 and 2, columns 2 to 4
HOLE = [[3, 1], [4, 1], [4, 2], [3, 2]]  # row 1, column 3
GONE = object()


def flat(points: list) -> list:
    return [number for point in points for number in point]


def png(rows: list[list[int]], mode: str = "L") -> str:
    stream = io.BytesIO()
    Image.fromarray(np.array(rows, np.uint8)).convert(mode).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def coco(*segmentations: Any, **more: Any) -> dict:
    """One image; its objects are cells, numbered from 11 on."""
    return {
        "images": [{"id": 1, "file_name": "folder/a.png", "height": 6, "width": 8}],
        "categories": [{"id": 3, "name": "cell"}, {"id": 1, "name": "wall"}],
        "annotations": [
            {"id": 11 + i, "image_id": 1, "category_id": 3, "segmentation": segmentation, **more}
            for i, segmentation in enumerate(segmentations)
        ],
    }


def labelme(*shapes: dict) -> dict:
    return {
        "version": "5.5.0",
        "imagePath": "..\\images\\a.png",
        "imageData": "AAAA",
        "imageHeight": 6,
        "imageWidth": 8,
        "shapes": [{"label": "cell", "group_id": None, **shape} for shape in shapes],
    }


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def collection(*features: dict) -> dict:
    return {"type": "FeatureCollection", "features": list(features)}


def cvat(*elements: str, labels: str = "<label><name>cell</name></label>") -> str:
    image = f'<image id="0" name="a.png" width="8" height="6">{"".join(elements)}</image>'
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return f"<annotations><version>1.1</version>{meta}{image}</annotations>"


def element(kind: str, **attributes: Any) -> str:
    given = {"label": "cell", "occluded": 0, "z_order": 0, **attributes}
    text = " ".join(f'{name}="{value}"' for name, value in given.items())
    return f"<{kind} {text}></{kind}>"


POINTS = ";".join(f"{x}.00,{y}.00" for x, y in OUTLINE)
# Everything that each format can draw, as a start for what may be wrong with it.
RICH = {
    "coco": coco(
        [flat(OUTLINE), [0.5, 0, 3, 0, 1, 4]],
        {"size": [6, 8], "counts": [1, 2, 45]},
        {"size": [6, 8], "counts": "12]1"},  # 1, 2, and 45 = 13 + 32 * 1: characters 93 and 49
        iscrowd=0,
    ),
    "labelme": labelme(
        {"shape_type": "polygon", "points": OUTLINE},
        {"shape_type": "rectangle", "points": [[1, 1], [3, 4]], "group_id": 2},
        {"shape_type": "circle", "points": [[3, 3], [3, 5]]},
        {"shape_type": "mask", "points": [[1, 2], [2, 2]], "mask": png([[1, 0]])},
    ),
    "geojson": collection(
        feature(
            [[*OUTLINE, OUTLINE[0]], HOLE], classification={"name": "cell", "color": [1, 2, 3]}
        ),
        feature([[OUTLINE], [HOLE]], "MultiPolygon", childObjects=[feature([HOLE], name="b")]),
        feature([OUTLINE], classification={"names": ["cell", "b"], "parentClass": {"name": "p"}}),
    ),
    "cvat": cvat(
        element("polygon", points=POINTS, group_id=4),
        element("box", xtl=2, ytl=1, xbr=5, ybr=3, rotation=30),
        element("ellipse", cx=3, cy=3, rx=2, ry=1),
        element("mask", rle="1, 2, 1", left=1, top=2, width=2, height=2),
    ),
}
SUFFIXES = {"coco": ".json", "labelme": ".json", "geojson": ".geojson", "cvat": ".xml"}


@pytest.fixture(scope="session")
def read(tmp_path_factory):
    """Reads what is written into a file."""
    path = tmp_path_factory.mktemp("annotations") / "drawn"

    def write_and_read(content: Any, suffix: str | None = None) -> Annotations:
        if suffix is None:
            suffix = ".xml" if isinstance(content, str) else ".json"
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        file = path.with_suffix(suffix)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_annotations(file)

    return write_and_read


def pixels(annotations: Annotations) -> list[list[int]]:
    """The first drawing as rows of 0 and 1."""
    values = dict.fromkeys(annotations.labels, 1)
    return rasterise(annotations.drawings[0], SIZE, values).tolist()


def rectangle(rows: slice, columns: slice) -> list[list[int]]:
    drawn = np.zeros(SIZE, int)
    drawn[rows, columns] = 1
    return drawn.tolist()


def changed(document: Any, *path: Any, to: Any = GONE) -> Any:
    """A copy with another value at a path, or without one."""
    result = copy.deepcopy(document)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    if to is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return result


class TestAllFormats:
    @pytest.mark.parametrize(
        ("format", "content"),
        [
            ("coco", coco([flat(OUTLINE)])),
            ("labelme", labelme({"shape_type": "polygon", "points": OUTLINE})),
            ("geojson", collection(feature([[*OUTLINE, OUTLINE[0]]], label="cell"))),
            ("geojson", feature([OUTLINE], label="cell")),
            ("geojson", [feature([OUTLINE], label="cell")]),
            ("cvat", cvat(element("polygon", points=POINTS))),
        ],
    )
    def test_the_same_outline_fills_the_same_pixels(self, read, format, content):
        annotations = read(content)
        assert annotations.format == format
        assert pixels(annotations) == rectangle(slice(1, 3), slice(2, 5))
        assert annotations.drawings[0].size == (None if format == "geojson" else SIZE)

    @pytest.mark.parametrize("format", RICH)
    def test_every_kind_of_shape_is_read(self, read, format):
        annotations = read(RICH[format])
        numbers = {"coco": 3, "labelme": 4, "geojson": 4, "cvat": 4}
        assert len(annotations.drawings[0].shapes) == numbers[format]
        assert rasterise_instances(annotations.drawings[0], SIZE).any()

    @pytest.mark.parametrize("format", RICH)
    def test_a_byte_order_mark_does_not_matter(self, read, format):
        content = RICH[format] if format == "cvat" else json.dumps(RICH[format])
        assert read(b"\xef\xbb\xbf" + content.encode(), SUFFIXES[format]).format == format

    @pytest.mark.parametrize(
        ("content", "suffix", "format"),
        [
            ("{}", ".json", None),
            ("5", ".json", None),
            ("[]", ".json", None),
            ("[]", ".geojson", "geojson"),
            ('[{"type": "Point"}]', ".json", None),
            ('{"images": [], "annotations": []}', ".JSON", "coco"),
            ('{"shapes": []}', ".json", "labelme"),
            ("<annotations><image/></annotations>", ".xml", "cvat"),
            ("<annotations/>", ".xml", None),
            ("<annotation><object/></annotation>", ".xml", None),
        ],
    )
    def test_content_tells_the_format(self, tmp_path, content, suffix, format):
        path = tmp_path / f"a{suffix}"
        path.write_text(content)
        assert annotation_format(path) == format
        if format is None:
            with pytest.raises(DataError, match=r"is of no known format; accepted are COCO .*; ex"):
                read_annotations(path)

    def test_messages_of_a_fill_name_the_file(self, read):
        with pytest.raises(
            DataError, match=r"drawn.json: image 'folder/a.png': label 'cell' is no"
        ):
            rasterise(read(coco([flat(OUTLINE)])).drawings[0], SIZE, {"wall": 1})


class TestCoco:
    def test_labels_are_all_categories_in_the_order_of_the_file(self, read):
        assert read(coco()).labels == ("cell", "wall")

    def test_two_categories_of_one_name_are_one_label(self, read):
        annotations = read(changed(coco([flat(OUTLINE)]), "categories", 1, "name", to="cell"))
        assert annotations.labels == ("cell",)

    def test_image_without_objects_has_an_empty_drawing(self, read):
        (drawing,) = read(coco()).drawings
        assert (drawing.image, drawing.size, drawing.shapes) == ("folder/a.png", SIZE, ())

    def test_parts_unite_and_leave_no_hole(self, read):
        assert pixels(read(coco([flat(OUTLINE), flat(HOLE)]))) == pixels(
            read(coco([flat(OUTLINE)]))
        )

    @pytest.mark.parametrize("counts", [[1, 2, 4, 1, 40], "124OT1"])
    def test_runs_go_down_the_columns(self, read, counts):
        # 1 out; 2 in: rows 1, 2 of column 0; 4 out: to row 0 of column 1; 1 in: its row 1; 40 out.
        # Compressed: 1, 2, 4, then 1 - 2 = -1, which is 31 in 5 bits, the character 48 + 31; then
        # 40 - 4 = 36 = 4 + 32 * 1, the characters 48 + 32 + 4 and 48 + 1.
        drawn = np.zeros(SIZE, int)
        drawn[[1, 2, 1], [0, 0, 1]] = 1
        assert pixels(read(coco({"size": [6, 8], "counts": counts}))) == drawn.tolist()

    def test_mask_gives_the_size_that_the_image_lacks(self, read):
        document = coco({"size": [6, 8], "counts": [48]})
        for key in ("height", "width"):
            document = changed(document, "images", 0, key)
        assert read(document).drawings[0].size == SIZE

    def test_crowds_lie_below_single_objects(self, read):
        document = coco([flat(OUTLINE)], [flat(OUTLINE)])
        crowd = changed(document, "annotations", 1, "iscrowd", to=1)
        numbers = rasterise_instances(read(crowd).drawings[0], SIZE)
        assert np.unique(numbers).tolist() == [0, 1]
        alone = coco([flat(OUTLINE)], iscrowd=1)
        assert np.unique(rasterise_instances(read(alone).drawings[0], SIZE)).tolist() == [-1, 0]

    def test_objects_go_to_their_images(self, read):
        document = coco([flat(OUTLINE)])
        document["images"].append({"id": "b", "file_name": "b.png", "height": 2, "width": 3})
        document["annotations"].append({**document["annotations"][0], "id": 99, "image_id": "b"})
        assert [len(drawing.shapes) for drawing in read(document).drawings] == [1, 1]

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (["images"], 5, "images is 5; accepted is a list; correct the file"),
            (["categories"], GONE, "categories is missing; accepted is a list"),
            (["images", 0], 5, "entry 1 of images: it is 5; accepted is an object that has id"),
            (["images", 0, "id"], 1.5, "entry 1 of images: id is 1.5; accepted is a whole number"),
            (["images", 0, "file_name"], GONE, "image 1: the image's name is missing; accepted"),
            (["images", 0, "file_name"], "a\0", r"image 1: the image's name is 'a\\x00'"),
            (["images", 0, "height"], 0, "image 1: height is 0; accepted are whole numbers from 1"),
            (["images", 0, "width"], 1e9, "image 1: width is 1000000000.0; accepted are whole"),
            (["images", 0, "width"], None, "image 1: width is missing; accepted are whole numbers"),
            (["categories", 1, "id"], 3, "entry 2 of categories: id is 3; accepted is one that no"),
            (["categories", 1, "name"], "", "category 1: the label is ''; accepted are 1 to 200"),
            (["annotations", 1, "id"], 11, "entry 2 of annotations: id is 11; accepted is one"),
            (["annotations", 0, "image_id"], 7, r"annotation 11: image_id is 7; .* listed, \[1\]"),
            (["annotations", 0, "category_id"], 7, r"category_id is 7; .* listed, \[3, 1\]"),
            (["annotations", 0, "iscrowd"], 2, "annotation 11: iscrowd is 2; accepted are 0 and 1"),
            (["annotations", 0, "segmentation"], GONE, "segmentation is missing; accepted is a"),
            (["annotations", 0, "segmentation"], [], r"segmentation is \[\]; .*; complete or"),
            (["annotations", 0, "segmentation"], [5], "an outline is 5; accepted is a list of x"),
            (["annotations", 0, "segmentation", 0], [1, 2, 3], r"an outline is \[1, 2, 3\]"),
            (["annotations", 0, "segmentation", 0], [1, 2] * 3, "outline has 2 points; accepted"),
            (["annotations", 0, "segmentation", 0, 2], "5", "a coordinate is '5'; accepted are"),
            (["annotations", 0, "segmentation", 0, 2], None, "a coordinate is missing; accepted"),
            (["annotations", 0, "segmentation", 0, 2], True, "a coordinate is True; accepted"),
            (["annotations", 0, "segmentation", 0, 2], float("nan"), "a coordinate is nan"),
            (["annotations", 0, "segmentation", 0, 2], -1e7, "-10000000.0; accepted are .*"),
            (["annotations", 0, "segmentation", 0, 2], 10**400, r"a coordinate is 1000.*"),
            (["annotations", 1, "segmentation", "size"], [8, 6], r"mask is \(8, 6\); .* \(6, 8\)"),
            (["annotations", 1, "segmentation", "size"], [6], r"the size of a mask is \(6,\);"),
            (["annotations", 1, "segmentation", "counts"], [47], r"is \[47\]; .* 6 x 8 = 48"),
            (["annotations", 1, "segmentation", "counts"], "0 ", "annotation 12: counts is '0 '"),
        ],
    )
    def test_faults_are_named_with_their_place(self, read, path, value, message):
        with pytest.raises(DataError, match=rf"drawn\.json: .*{message}"):
            read(changed(RICH["coco"], *path, to=value))

    def test_image_may_not_occur_twice(self, read):
        document = coco()
        document["images"].append({**document["images"][0], "id": 2})
        with pytest.raises(DataError, match=r"image 'folder/a.png' has 2 entries; accepted is one"):
            read(document)


class TestLabelme:
    def test_image_is_named_with_forward_slashes(self, read):
        assert read(labelme()).drawings[0].image == "../images/a.png"

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
        drawn = rasterise(annotations.drawings[0], SIZE, {"cell": 5, "background": 0})
        assert drawn[1].tolist() == [0, 0, 5, 0, 5, 0, 0, 0]

    def test_shapes_of_a_group_are_one_object(self, read):
        shapes = [{"points": OUTLINE, "group_id": 4}, {"points": HOLE, "group_id": 4}]
        numbers = rasterise_instances(read(labelme(*shapes)).drawings[0], SIZE)
        assert np.unique(numbers).tolist() == [0, 1]

    def test_file_may_name_neither_image_nor_size(self, read):
        (drawing,) = read({"shapes": []}).drawings
        assert (drawing.image, drawing.size) == ("", None)

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (["imagePath"], [5], r"the image's name is \[5\]; accepted is the name of a file"),
            (["imageHeight"], "6", "imageHeight is '6'; accepted are whole numbers from 1 to"),
            (["shapes"], {}, r"shapes is \{\}; accepted is a list; correct the file"),
            (["shapes", 0, "label"], GONE, "shape 1: label is missing; accepted is text"),
            (["shapes", 0, "label"], "a\nb", r"shape 1: the label is 'a\\nb'; accepted are 1 to"),
            (["shapes", 0, "label"], "a" * 201, "shape 1: the label is 'aaa.*; accepted are 1 to"),
            (["shapes", 1, "group_id"], 1.5, "shape 2: group_id is 1.5; accepted is a whole"),
            (["shapes", 0, "shape_type"], "line", "shape_type is 'line'; accepted are polygon,"),
            (["shapes", 0, "shape_type"], "points", "shape_type is 'points'; .*; redraw or remove"),
            (["shapes", 0, "points"], GONE, "shape 1: an outline is missing; accepted is a list"),
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


class TestGeojson:
    def test_inner_ring_is_a_hole(self, read):
        drawn = np.array(rectangle(slice(1, 3), slice(2, 5)))
        drawn[1, 3] = 0
        assert pixels(read(feature([OUTLINE, HOLE]))) == drawn.tolist()

    def test_polygons_of_a_multipolygon_unite(self, read):
        # The second one lies in the hole of the first, and fills it.
        multi = feature([[OUTLINE, HOLE], [HOLE]], "MultiPolygon")
        assert pixels(read(multi)) == rectangle(slice(1, 3), slice(2, 5))
        numbers = rasterise_instances(read(multi).drawings[0], SIZE)
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
            ({"objectType": "annotation"}, "object"),
        ],
    )
    def test_label_is_the_class_or_else_a_name(self, read, properties, label):
        assert read(feature([OUTLINE], **properties)).labels == (label,)

    def test_properties_may_be_null_and_measurements_no_numbers(self, read):
        assert read(changed(feature([OUTLINE]), "properties", to=None)).labels == ("object",)
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
        (drawing,) = read(collection(*features)).drawings
        assert [shape.label for shape in drawing.shapes] == ["parent", "child", "grandchild", "b"]

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
            (["features", 0, "geometry", "type"], "Point", "the geometry is 'Point'; accepted are"),
            (["features", 0, "geometry", "type"], "GeometryCollection", ".*; redraw or remove the"),
            (["features", 0, "geometry", "coordinates"], [], r"coordinates is \[\]; accepted is a"),
            (["features", 1, "geometry", "coordinates"], [[]], r"a polygon is \[\]; accepted is a"),
            (["features", 0, "geometry", "coordinates", 1], [[1, 2]], "an outline has 1 points"),
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
        (drawing,) = read(cvat(*shapes)).drawings
        assert [shape.label for shape in drawing.shapes] == ["low", "first", "second", "top"]

    def test_group_0_is_no_group(self, read):
        groups = [element("polygon", points=POINTS, group_id=number) for number in (0, 3)]
        (drawing,) = read(cvat(*groups)).drawings
        assert [shape.group for shape in drawing.shapes] == [None, 3]

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


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.json", b'{"shapes": [', r"cannot be read \(Expecting .*; accepted is undamaged"),
            ("a.json", b"", "accepted is undamaged JSON; export it again"),
            ("a.json", b"[" * 10**6, "cannot be read .*recursion.*; accepted is undamaged JSON"),
            ("a.json", b'{"shapes": ' + b"9" * 5000 + b"}", "cannot be read .*4300 digits"),
            ("a.json", b'{"shapes": "\xfc"}', "cannot be read .*; accepted are files of UTF-8"),
            ("a.json", '{"shapes": []}'.encode("utf-16"), "UTF-8 text; save it as UTF-8"),
            ("a.xml", b"<annotations>", r"cannot be read \(no element found.*; accepted is"),
            ("a.xml", b"<annotations>\0</annotations>", "accepted is undamaged XML without a"),
            ("a.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "it declares a document type"),
            ("a.xml", b"<a>&b;</a>", "cannot be read .*undefined entity"),
            ("a.txt", b"", "the suffix is '.txt'; accepted are .json, .geojson, .xml; export it"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_damaged_files_are_refused_by_name(self, tmp_path, name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        for function in (annotation_format, read_annotations):
            with pytest.raises(DataError, match=rf"{name}: .*{message}"):
                function(path)

    def test_declared_encoding_cannot_smuggle_a_document_type(self, read):
        smuggled = '<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE a><annotations/>'
        with pytest.raises(DataError, match=r"cannot be read \("):
            read(smuggled)

    def test_deep_xml_is_read_or_refused(self, read):
        depth = 10**5
        with pytest.raises(DataError, match="image 1: height is missing"):
            read("<annotations>" + "<image>" * depth + "</image>" * depth + "</annotations>")

    def test_absent_file_is_named(self, tmp_path):
        with pytest.raises(
            DataNotFoundError, match=r"b.json does not exist; accepted is a file of"
        ):
            read_annotations(tmp_path / "b.json")

    def test_folder_is_no_file(self, tmp_path):
        (tmp_path / "a.json").mkdir()
        with pytest.raises(
            DataError, match=r"a.json: it is no file, or one of [\d,]+ bytes; accept"
        ):
            read_annotations(tmp_path / "a.json")

    def test_huge_file_is_refused_unread(self, tmp_path, monkeypatch):
        monkeypatch.setattr(documents, "LARGEST_FILE", 10)
        (tmp_path / "a.json").write_text('{"shapes": []}')
        with pytest.raises(
            DataError, match=r"one of 14 bytes; accepted are files of up to 10 bytes"
        ):
            read_annotations(tmp_path / "a.json")


def all_places(document: Any) -> list[tuple]:
    keys = []
    if isinstance(document, dict):
        keys = list(document)
    elif isinstance(document, list):
        keys = list(range(len(document)))
    return [(key, *rest) for key in keys for rest in [(), *all_places(document[key])]]


STRANGE = st.one_of(
    st.sampled_from([GONE, None, True, "", "0", [], {}, 0, -1, 10**400, 1e308, float("nan")]),
    st.sampled_from([float("inf"), [[]], [[[]]], [None], {"a": 1}, "\ud800", "\0", "x" * 300]),
    st.integers(-(10**7), 10**7),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-5, 5), max_size=8),
)


def require_result_or_error(read, content: Any, suffix: str) -> None:
    try:
        annotations = read(content, suffix)
    except UnetkitError:
        return
    for drawing in annotations.drawings:
        size = drawing.size or SIZE
        if size[0] * size[1] < 10**5:
            drawn = rasterise(drawing, size, dict.fromkeys(annotations.labels, 1))
            assert ((rasterise_instances(drawing, size) != 0) == (drawn != 0)).all()


class TestHostileChanges:
    """A sound file with anything changed anywhere gives a result or an error of ours."""

    @given(st.sampled_from(["coco", "labelme", "geojson"]), st.data())
    @STEADY
    def test_values_of_json(self, read, format, data):
        document = RICH[format]
        for _ in range(data.draw(st.integers(1, 3))):
            places = all_places(document)
            if places:
                path = data.draw(st.sampled_from(places))
                document = changed(document, *path, to=data.draw(STRANGE))
        require_result_or_error(read, document, SUFFIXES[format])

    @given(st.data())
    @STEADY
    def test_tags_and_attributes_of_xml(self, read, data):
        root = ElementTree.fromstring(RICH["cvat"])
        for _ in range(data.draw(st.integers(1, 3))):
            one = data.draw(st.sampled_from(list(root.iter())))
            text = data.draw(
                st.sampled_from(["", "nan", "-1", "1e400", "9" * 20, "mask", "track", "0"])
            )
            if one.attrib and data.draw(st.booleans()):
                one.set(data.draw(st.sampled_from(sorted(one.attrib))), text)
            elif one is not root and text and text.isalpha():
                one.tag = text
            else:
                one.clear()
        require_result_or_error(read, ElementTree.tostring(root), ".xml")

    @given(st.sampled_from(sorted(RICH)), st.data())
    @STEADY
    def test_bytes(self, read, format, data):
        content = RICH[format] if format == "cvat" else json.dumps(RICH[format])
        raw = bytearray(content.encode())
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(raw) - 1))
            raw[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        if data.draw(st.booleans()):
            del raw[data.draw(st.integers(1, len(raw))) :]
        require_result_or_error(read, bytes(raw), SUFFIXES[format])

    @given(st.binary(max_size=12), st.integers(0, 80))
    @STEADY
    def test_bytes_of_a_mask(self, read, noise, place):
        raw = bytearray(base64.b64decode(png([[1, 0]])))
        raw[place : place + len(noise)] = noise
        path = ("shapes", 3, "mask")
        document = changed(RICH["labelme"], *path, to=base64.b64encode(raw).decode())
        require_result_or_error(read, document, ".json")
