"""An image and its prediction, read by windows."""

import numpy as np
import pytest

from tests.results.predicted import SPEC, predicted
from unetkit.data.classes import Classes
from unetkit.errors import ConfigError
from unetkit.io.pixel_size import PixelSize
from unetkit.prediction.predictor import NODATA_LABEL
from unetkit.prediction.sources import open_source
from unetkit.results.predicted_image import ImageObjects, PredictedImage, ResultOptions

TWO = Classes(("ground", "cell"), (0, 1), background=0)
LABELS = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)


def test_a_window_is_a_part_of_the_image():
    with predicted(LABELS, TWO) as image:
        assert image.size == (2, 3)
        assert image.window(slice(1, 2), slice(0, 2)).labels.tolist() == [[1, 0]]
        assert image.window(slice(0, 1), slice(1, 3)).photo.shape == (1, 2, 3)


def test_labels_are_those_of_the_largest_probability():
    scores = np.array([[[0.2, 0.8], [0.5, 0.5], [np.nan, np.nan]]], np.float32)
    gaps = np.array([[[3], [3], [0]]], np.uint8)
    with open_source(gaps, SPEC.pixels) as source:
        source.nodata = 0
        image = PredictedImage(source, SPEC, {}, read_scores=lambda r, c: scores[r, c])
        assert image.labels.tolist() == [[1, 0, NODATA_LABEL]]


def test_what_an_output_does_not_declare_is_not_there():
    with predicted(LABELS, TWO) as image:
        with pytest.raises(TypeError, match="does not declare that it needs them"):
            _ = image.probabilities
        with pytest.raises(TypeError, match="does not declare that it needs them"):
            _ = image.object_numbers


def test_a_given_pixel_size_overrules_that_of_the_file():
    with predicted(LABELS, TWO, pixel_size=PixelSize(2.0, "um")) as image:
        assert image.pixel_size == PixelSize(2.0, "um")
    with predicted(LABELS, TWO) as image:
        assert image.pixel_size is None


@pytest.mark.parametrize(("count", "dtype"), [(65535, "uint16"), (65536, "uint32")])
def test_numbers_of_objects_take_the_smallest_type(tmp_path, count, dtype):
    objects = ImageObjects(LABELS.astype(np.uint32), tmp_path / "t.csv", count)
    with predicted(LABELS, TWO, objects=objects) as image:
        assert image.object_numbers.dtype == dtype


@pytest.mark.parametrize(
    ("option", "given", "accepted"),
    [
        ("mask", "grey", "'index', 'palette'"),
        ("overlay", "webp", "'png', 'jpeg'"),
        ("probabilities", "float64", "'float32', 'float16', 'uint8'"),
    ],
)
def test_another_choice_is_refused(option, given, accepted):
    with pytest.raises(ConfigError, match=f"{option} is '{given}'; accepted are {accepted}"):
        ResultOptions(**{option: given})


@pytest.mark.parametrize("bound", [-1.0, float("nan")])
def test_outlines_differ_by_no_less_than_nothing(bound):
    with pytest.raises(ConfigError, match=r"simplify is .*; accepted are numbers of pixels from 0"):
        ResultOptions(simplify=bound)
