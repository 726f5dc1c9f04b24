"""What all formats have in common, and what no annotation file may do."""

import base64
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.annotations.examples import (
    GONE,
    OUTLINE,
    POINTS,
    RICH,
    SIZE,
    SUFFIXES,
    as_text,
    changed,
    coco,
    collection,
    cvat,
    element,
    feature,
    flat,
    labelme,
    pixels,
    png,
    rectangle,
    supervisely,
)
from unetkit.data.annotations.formats import annotation_format, read_annotations
from unetkit.data.annotations.polygons import rasterise, rasterise_instances
from unetkit.errors import DataError, UnetkitError

STEADY = settings(derandomize=True, max_examples=300)


_POLYGON = {"geometryType": "polygon"}


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
            ("supervisely", supervisely({**_POLYGON, "points": {"exterior": OUTLINE}})),
        ],
    )
    def test_the_same_outline_fills_the_same_pixels(self, read, format, content):
        annotations = read(content)
        assert annotations.format == format
        assert pixels(annotations) == rectangle(slice(1, 3), slice(2, 5))
        assert annotations.annotations[0].size == (None if format == "geojson" else SIZE)

    @pytest.mark.parametrize("format", RICH)
    def test_every_kind_of_shape_is_read(self, read, format):
        annotations = read(RICH[format], SUFFIXES[format])
        numbers = {"coco": 3, "supervisely": 3, "yolo": 2, "kaggle": 2}
        assert len(annotations.annotations[0].shapes) == numbers.get(format, 4)
        assert rasterise_instances(annotations.annotations[0], SIZE).any()

    @pytest.mark.parametrize("format", RICH)
    def test_a_byte_order_mark_does_not_matter(self, read, format):
        assert read(b"\xef\xbb\xbf" + as_text(format).encode(), SUFFIXES[format]).format == format

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
            ('{"_via_img_metadata": {}}', ".json", "via"),
            ('{"size": {}, "objects": []}', ".json", "supervisely"),
            ("0 0.1 0.1 0.9 0.1 0.5 0.9", ".txt", "yolo"),
            ("cat_1 1 1 1\n", ".txt", None),
            ("0 100 100 300 100 200 300", ".txt", None),
            ("ImageId,EncodedPixels\n", ".csv", "kaggle"),
            ("image,mask\na.png,b.png\n", ".csv", None),
        ],
    )
    def test_content_tells_the_format(self, tmp_path, content, suffix, format):
        path = tmp_path / f"a{suffix}"
        path.write_text(content)
        assert annotation_format(path) == format
        if format is None:
            with pytest.raises(
                DataError, match=r"is of no known format; accepted are GeoJSON .*; exp"
            ):
                read_annotations(path)

    def test_messages_of_a_fill_name_the_file(self, read):
        with pytest.raises(
            DataError, match=r"drawn.json: image 'folder/a.png': label 'cell' is no"
        ):
            rasterise(read(coco([flat(OUTLINE)])).annotations[0], SIZE, {"wall": 1})


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.json", b'{"shapes": [', r"cannot be read \(Expecting .*; accepted is undamaged"),
            (
                "a.doc",
                b"",
                "suffix is '.doc'; accepted are .json, .geojson, .xml, .txt, .csv",
            ),
        ],
    )
    def test_damaged_files_are_refused_by_name(self, tmp_path, name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        for function in (annotation_format, read_annotations):
            with pytest.raises(DataError, match=rf"{name}: .*{message}"):
                function(path)

    def test_deep_xml_is_read_or_refused(self, read):
        depth = 10**5
        file = read("<annotations>" + "<image>" * depth + "</image>" * depth + "</annotations>")
        assert file.unplaced[0].startswith("image 1: the image's name is missing")


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
    for annotation in annotations.annotations:
        size = annotation.size or SIZE
        if size[0] * size[1] < 10**5:
            drawn = rasterise(annotation, size, dict.fromkeys(annotations.labels, 1))
            assert ((rasterise_instances(annotation, size) != 0) == (drawn != 0)).all()


class TestHostileChanges:
    """A sound file with anything changed anywhere gives a result or an error of ours."""

    @given(st.sampled_from(["coco", "labelme", "geojson", "via", "supervisely"]), st.data())
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
        raw = bytearray(as_text(format).encode())
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
