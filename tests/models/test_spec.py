"""Metadata of a model are read back unchanged, and refused if damaged or hostile."""

import json
from dataclasses import replace

import numpy as np
import pytest

from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.scale import Scale
from unetkit.errors import ModelFileError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.geometry import unet_geometry
from unetkit.models.spec import (
    Layer,
    ModelSpec,
    Normalization,
    is_seen,
    seen_digests,
    spec_from_json,
)
from unetkit.objects.separation import ObjectRule

SPEC = ModelSpec(
    preset="fast",
    pixels=PixelFormat(3, "uint16", (180.0,), (4000.0,), "first"),
    classes=TRIMAP_CLASSES,
    scale=Scale("resize", 128, 96, fit="letterbox"),
    normalization=Normalization(1 / 127.5, -1.0),
    geometry=unet_geometry(depth=4, stem_stride=2, head=True),
    seen=("0123456789ab",),
    layers=(
        Layer("image", "InputLayer", (128, 96, 3), 0),
        Layer("stem", "Conv2D", (64, 48, 16), 9),
    ),
)

LATER = ("objects", "temperature")  # which files of earlier versions lack


def test_a_spec_comes_back_from_json_as_it_was():
    assert spec_from_json(SPEC.to_json(), "m.onnx") == SPEC


@pytest.mark.parametrize(
    "rule",
    [ObjectRule("ridge", 0.3, 5, 0, 0), ObjectRule("distance", 0.4, 12, 3, 0.1), ObjectRule()],
)
def test_how_objects_are_told_apart_comes_back(rule):
    spec = replace(SPEC, objects=rule)
    assert spec_from_json(spec.to_json(), "m.onnx") == spec
    assert spec.channels == 3 + (rule.method == "distance")


def test_files_from_before_prominence_part_objects_by_the_threshold():
    raw = json.loads(replace(SPEC, objects=ObjectRule("ridge", 0.3, 5, 0)).to_json())
    del raw["objects"]["prominence"]
    assert spec_from_json(json.dumps(raw), "m.onnx").objects == ObjectRule("ridge", 0.3, 5, 0, 0)


def test_files_without_objects_are_of_classes_only():
    raw = json.loads(SPEC.to_json())
    del raw["objects"]
    assert spec_from_json(json.dumps(raw), "m.onnx") == SPEC


def test_files_without_a_temperature_are_not_calibrated():
    raw = json.loads(replace(SPEC, temperature=2.5).to_json())
    assert spec_from_json(json.dumps(raw), "m.onnx").temperature == 2.5
    del raw["temperature"]
    assert spec_from_json(json.dumps(raw), "m.onnx") == SPEC


@pytest.mark.parametrize("value", [0, -1, 21, "1", None])
def test_a_temperature_out_of_bounds_is_refused(value):
    raw = json.loads(SPEC.to_json()) | {"temperature": value}
    with pytest.raises(ModelFileError, match="temperature"):
        spec_from_json(json.dumps(raw), "m.onnx")


@pytest.mark.parametrize(
    "values", [{"method": "magic"}, {"method": "border", "seed": 2}, {"method": "border", "a": 1}]
)
def test_a_rule_that_is_none_is_refused(values):
    raw = {**json.loads(SPEC.to_json()), "objects": values}
    with pytest.raises(ModelFileError, match=r"m\.onnx"):
        spec_from_json(json.dumps(raw), "m.onnx")


@pytest.mark.parametrize(
    "classes",
    [
        Classes(("ground", "cell"), (0, 1), background=0, kind="instances"),
        Classes(("road", "sky"), (0x804080, 0xFFFFFF), kind="colours", ignore=0),
        Classes(("low", "high"), (0, 255), background=0, threshold=127),
        Classes(("a", "b"), (0, 65_535), ignore=255, border=1),
        Classes(("ground", "cell"), (0, 1), background=0, labels=("Tumour",)),
    ],
    ids=["instances", "colours", "threshold", "ignore", "labels"],
)
@pytest.mark.parametrize(
    "pixels",
    [
        PixelFormat(),
        PixelFormat(2, "uint16", (-78.8379, 3.0), (3273.35, 4e3), "first"),
        PixelFormat(256, "float32", (-1e-30,), (1e30,), "last"),
    ],
    ids=["8 bits", "16 bits", "fractions"],
)
def test_every_kind_of_masks_and_pixels_comes_back(classes, pixels):
    spec = replace(SPEC, classes=classes, pixels=pixels)
    assert spec_from_json(spec.to_json(), "m.onnx") == spec


def test_parameters_are_the_sum_over_layers():
    assert SPEC.parameters == 9


def test_normalization_is_linear():
    # 0 * 1/127.5 - 1 = -1; 255 * 1/127.5 - 1 = 1
    pixels = np.array([0, 255], np.uint8)
    assert SPEC.normalization.apply(pixels).tolist() == [-1.0, 1.0]
    assert SPEC.normalization.apply(pixels).dtype == np.float32


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "null", "[" * 100_000, "{}"])
def test_text_that_is_no_specification_is_refused(text):
    with pytest.raises(ModelFileError, match=r"m\.onnx cannot be used \(.*\); .*; export it again"):
        spec_from_json(text, "m.onnx")


def test_another_metadata_format_is_named():
    with pytest.raises(ModelFileError, match="its metadata has the format 99, not 3"):
        spec_from_json(json.dumps({"format": 99}), "m.onnx")


def test_endless_metadata_is_refused_unread():
    with pytest.raises(ModelFileError, match="its metadata has 20000000 characters"):
        spec_from_json(" " * 20_000_000, "m.onnx")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("pixels",), 3),
        (("pixels", "channels"), 0),
        (("pixels", "channels"), "3"),
        (("pixels", "channels"), True),
        (("pixels", "channels"), 257),
        (("pixels", "dtype"), "int8"),
        (("pixels", "dtype"), 16),
        (("pixels", "low"), 180.0),
        (("pixels", "low"), ["180"]),
        (("pixels", "low"), [float("nan")]),
        (("pixels", "low"), [180, 190]),
        (("pixels", "high"), [180]),
        (("pixels", "high"), [float("inf")]),
        (("pixels", "high"), []),
        (("pixels", "channel_axis"), "middle"),
        (("pixels", "extra"), 1),
        (("preset",), 5),
        (("preset",), "x" * 500),
        (("preset",), "line\nbreak\x1b[31m"),
        (("scale", "height"), 10**9),
        (("scale", "policy"), "stretch"),
        (("scale", "factor"), float("inf")),
        (("scale", "extra"), 1),
        (("normalization", "multiply"), None),
        (("normalization", "multiply"), float("nan")),
        (("geometry", "stride"), 0),
        (("geometry", "margin"), -1),
        (("geometry", "smallest_input"), 0),
        (("classes", "names"), ["one"]),
        (("classes", "names"), ["a", "a", "b"]),
        (("classes", "colours"), [[0, 0], [1, 1, 1], [2, 2, 2]]),
        (("classes", "colours"), [[0, 0, 256], [1, 1, 1], [2, 2, 2]]),
        (("classes", "background"), 3),
        (("classes", "kind"), "polygons"),
        (("classes", "kind"), None),
        (("classes", "ignore"), 1),
        (("classes", "ignore"), -32769),
        (("classes", "aliases"), {"cell": 1}),
        (("classes", "ignored_labels"), "void"),
        (("classes", "blended"), 1),
        (("classes", "ignore"), True),
        (("classes", "ignore"), 70_000),
        (("classes", "threshold"), 127),
        (("classes", "values"), [1, 2, 70_000]),
        (("classes", "values"), [1, 2, "3"]),
        (("seen",), ["short"]),
        (("seen",), [123456789012]),
        (("layers",), [{"name": "a"}]),
        (("layers",), 3),
    ],
)
def test_a_value_out_of_bounds_is_refused(path, value):
    raw = json.loads(SPEC.to_json())
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ModelFileError, match=r"m\.onnx cannot be used"):
        spec_from_json(json.dumps(raw), "m.onnx")


@pytest.mark.parametrize("key", [key for key in json.loads(SPEC.to_json()) if key not in LATER])
def test_a_missing_key_is_refused(key):
    raw = json.loads(SPEC.to_json())
    del raw[key]
    with pytest.raises(ModelFileError, match=r"m\.onnx cannot be used"):
        spec_from_json(json.dumps(raw), "m.onnx")


ONE = {"row": 0, "column": 0, "height": 9, "width": 9, "side": 9, "gap": 1}
OTHER = {**ONE, "column": 10}
OTHER_GRID = {**ONE, "side": 5}


class TestSeenImages:
    def test_an_image_that_was_used_whole_is_seen_with_all_of_its_blocks(self):
        seen = seen_digests("aa", None, None)
        assert is_seen(seen, "aa", None, None)
        assert is_seen(seen, "aa", None, ONE)
        assert not is_seen(seen, "bb", None, None)
        assert not is_seen(seen, "aa", 1, None)

    def test_of_an_image_in_blocks_the_other_blocks_are_unseen(self):
        seen = seen_digests("aa", None, ONE)
        assert is_seen(seen, "aa", None, ONE)
        assert not is_seen(seen, "aa", None, OTHER)
        assert is_seen(seen, "aa", None, None)

    def test_blocks_that_were_cut_in_another_way_may_overlap_those_that_were_used(self):
        assert is_seen(seen_digests("aa", None, ONE), "aa", None, OTHER_GRID)

    def test_after_trainings_on_two_grids_no_block_is_unseen(self):
        before = seen_digests("aa", None, ONE)
        seen = {*before, *seen_digests("aa", None, OTHER_GRID, before)}
        assert is_seen(seen, "aa", None, OTHER)
        assert is_seen(seen, "aa", None, {**OTHER_GRID, "column": 6})
