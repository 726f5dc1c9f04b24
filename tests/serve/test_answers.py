"""Which answer a client gets, and what the summary counts."""

import json
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.conftest import export_untrained
from tests.serving import photo_bytes, serving
from unetkit.io.pixel_format import PixelFormat
from unetkit.objects.separation import ObjectRule
from unetkit.prediction.predictor import Predictor
from unetkit.serve.answers import MEDIA_TYPES, choose_output, kinds_of, outputs_of
from unetkit.serve.limits import RefusedError

OFFERED = ("mask", "cutout", "probabilities", "summary")


@pytest.mark.parametrize(
    ("accept", "output"),
    [
        (None, "mask"),
        ("*/*", "mask"),
        ("image/*", "mask"),
        ("application/json", "summary"),
        ("APPLICATION/JSON", "summary"),
        ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", "mask"),
        ("application/x-npz;q=0.4, application/json;q=0.5", "summary"),
        ("image/png;q=0, application/json", "summary"),
        ("application/json;q=high, image/png", "mask"),
        ("application/json; charset=utf-8", "summary"),
    ],
)
def test_the_preferred_media_type_is_answered(accept, output):
    assert choose_output(None, accept, OFFERED) == output


def test_a_name_is_preferred_to_media_types():
    assert choose_output("cutout", "application/json", OFFERED) == "cutout"


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(RefusedError, match=r"output is 'objects'; accepted .* are mask, cutout"):
        choose_output("objects", None, OFFERED)


@pytest.mark.parametrize("accept", ["text/html", "image/png;q=0", ",;,", "image"])
def test_media_types_that_are_not_offered_are_refused(accept):
    with pytest.raises(RefusedError, match="media types of this model's answers are image/png"):
        choose_output(None, accept, OFFERED)


def test_a_model_without_objects_offers_none(built_in):
    offered = outputs_of(built_in)
    assert set(MEDIA_TYPES) - set(offered) == {"objects", "table"}
    assert kinds_of("summary", has_objects=False) == ("mask",)
    assert kinds_of("cutout", has_objects=False) == ("cutout",)


def test_a_summary_counts_the_pixels_of_the_mask(service, built_in):
    content = photo_bytes()
    summary = service.post(content, "/v1/predict?output=summary").json()
    mask = np.asarray(Image.open(BytesIO(service.post(content, "/v1/predict").content)))
    assert (summary["height"], summary["width"]) == mask.shape == (40, 56)
    assert [record["name"] for record in summary["classes"]] == list(built_in.spec.classes.names)
    assert [record["pixels"] for record in summary["classes"]] == np.bincount(
        mask.ravel(), minlength=3
    ).tolist()
    assert sum(record["fraction"] for record in summary["classes"]) == pytest.approx(1)
    assert summary["pixels_without_data"] == 0
    assert summary["prediction"]["model"] == built_in.digest


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    path = tmp_path_factory.mktemp("objects") / "cells.onnx"
    export_untrained(path, PixelFormat(1), objects=ObjectRule("distance", 0.5, 1, 1))
    with serving(Predictor(path, memory=2 << 30)) as running:
        yield running


class TestObjects:
    def test_their_measures_are_in_the_summary_and_the_table(self, cells):
        content = photo_bytes()
        summary = cells.post(content, "/v1/predict?output=summary").json()
        table = cells.post(content, Accept="text/csv").text.splitlines()
        assert len(summary["objects"]) == len(table) - 1 > 0
        assert list(summary["objects"][0]) == table[0].split(",")
        assert [str(record["label"]) for record in summary["objects"]] == [
            line.split(",")[0] for line in table[1:]
        ]
        assert isinstance(summary["objects"][0]["area"], int)
        assert isinstance(summary["objects"][0]["row"], float | int)

    def test_their_numbers_are_a_tiff(self, cells, tmp_path):
        (tmp_path / "o.tif").write_bytes(
            cells.post(photo_bytes(), "/v1/predict?output=objects").content
        )
        numbers = tifffile.imread(tmp_path / "o.tif")
        summary = cells.post(photo_bytes(), Accept="application/json").json()
        assert numbers.max() == len(summary["objects"])


def test_a_summary_is_json_that_names_the_map_of_classes(service):
    response = service.post(photo_bytes(), Accept="application/json")
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.content)["classes"][0]["colour"].startswith("#")
