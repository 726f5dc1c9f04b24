"""What pixels of mask files are, and how eight readers of PNG read them."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import imagecodecs
import imageio.v3 as imageio
import keras
import numpy as np
import pytest
import skimage.io
import tensorflow as tf
import tifffile
from matplotlib import pyplot
from PIL import Image

from tests.results.predicted import predicted
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.errors import DataError
from unetkit.prediction.predictor import NODATA_LABEL
from unetkit.results.masks import MASK_STYLES, mask_table
from unetkit.results.outputs import write_output

LABELS = np.array([[0, 1, 2, 1], [2, 2, 0, 0]], np.uint8)
COLOURS = Classes(
    ("sky", "road", "car"), (0x0000FF, 0x808080, 0xFF0000), kind="colours", ignore=0x00FF00
)
TENS = Classes(("ground", "cell", "nucleus"), (0, 300, 700), background=0)
DOCS = Path(__file__).parents[2] / "docs" / "prediction.md"


def written(path, classes, style="index"):
    with predicted(LABELS, classes, mask=style) as image:
        counts = write_output("mask", path, image)
    assert counts.tolist() == np.bincount(LABELS.ravel(), minlength=3).tolist()
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
class TestStyles:
    def test_indices_are_grey(self, tmp_path, suffix):
        path = written(tmp_path / f"mask{suffix}", TRIMAP_CLASSES)
        with Image.open(path) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), LABELS)

    def test_a_palette_shows_indices_in_the_colours_of_the_classes(self, tmp_path, suffix):
        path = written(tmp_path / f"mask{suffix}", TRIMAP_CLASSES, "palette")
        with Image.open(path) as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), LABELS)
            assert image.getpalette()[:9] == [v for c in TRIMAP_CLASSES.colours for v in c]

    def test_two_values_are_black_and_white(self, tmp_path, suffix):
        path = written(tmp_path / f"mask{suffix}", TRIMAP_CLASSES, "binary")
        expected = np.where(TRIMAP_CLASSES.background == LABELS, 0, 255)
        assert np.array_equal(np.asarray(Image.open(path)), expected)

    def test_values_are_those_of_the_training_masks(self, tmp_path, suffix):
        path = written(tmp_path / f"trimap{suffix}", TRIMAP_CLASSES, "values")
        assert np.array_equal(np.asarray(Image.open(path)), LABELS + 1)
        path = written(tmp_path / f"tens{suffix}", TENS, "values")
        assert np.array_equal(np.asarray(Image.open(path)), np.array([0, 300, 700])[LABELS])

    def test_values_may_be_colours(self, tmp_path, suffix):
        path = written(tmp_path / f"mask{suffix}", COLOURS, "values")
        colours = np.array([[0, 0, 255], [128, 128, 128], [255, 0, 0]], np.uint8)
        assert np.array_equal(np.asarray(Image.open(path)), colours[LABELS])


class TestPixelsWithoutData:
    @pytest.mark.parametrize(
        ("style", "classes", "value", "nodata"),
        [
            ("index", TENS, 255, 255),
            ("palette", TENS, 255, 255),
            ("binary", TENS, 0, None),
            ("values", TENS, 65535, 65535),
            ("values", TRIMAP_CLASSES, 255, 255),
            ("values", replace(TENS, ignore=9), 9, 9),
            ("values", replace(TENS, ignore=-1), 65535, 65535),
        ],
    )
    def test_they_have_a_value_of_their_own_where_there_is_one(self, style, classes, value, nodata):
        table, declared = mask_table(style, classes, NODATA_LABEL, has_gaps=True)
        assert (int(table[NODATA_LABEL, 0]), declared) == (value, nodata)

    def test_colours_have_that_of_ignored_pixels(self):
        table, _ = mask_table("values", COLOURS, NODATA_LABEL, has_gaps=True)
        assert table[NODATA_LABEL].tolist() == [0, 255, 0]

    def test_without_a_free_value_they_are_refused(self):
        two = Classes(("ground", "cell"), (0, 255), background=0)
        mask_table("values", two, NODATA_LABEL)
        with pytest.raises(
            DataError, match=r"255 is a class in the masks .* accepted is the style"
        ):
            mask_table("values", two, NODATA_LABEL, has_gaps=True)
        with pytest.raises(
            DataError, match="no colour that is ignored; accepted is the style 'index'"
        ):
            mask_table("values", replace(COLOURS, ignore=None), NODATA_LABEL, has_gaps=True)


def test_two_values_need_a_background():
    with pytest.raises(DataError, match="masks of two values need a background class"):
        mask_table("binary", COLOURS, NODATA_LABEL)


READERS = {
    "Pillow, `Image.open`": lambda path: np.asarray(Image.open(path)),
    "OpenCV, `imread(..., IMREAD_UNCHANGED)`": lambda path: cv2.imread(
        str(path), cv2.IMREAD_UNCHANGED
    ),
    "OpenCV, `imread`": lambda path: cv2.imread(str(path)),
    "scikit-image, `io.imread`": skimage.io.imread,
    "imageio, `v3.imread`": imageio.imread,
    "Matplotlib, `pyplot.imread`": pyplot.imread,
    "TensorFlow, `io.decode_png`": lambda path: tf.io.decode_png(path.read_bytes()).numpy(),
    'Keras, `load_img(..., color_mode="grayscale")`': lambda path: np.asarray(
        keras.utils.load_img(path, color_mode="grayscale")
    ),
    "imagecodecs, `imread`": imagecodecs.imread,
}


def shown(pixels):
    """What a reader gives for the class 1, and the shape of the whole."""
    value = np.atleast_1d(np.round(pixels[0, 1].astype(np.float64), 4))
    numbers = ", ".join(f"{number:g}" for number in value)
    return f"{numbers} ({'H, W' if pixels.ndim == 2 else f'H, W, {pixels.shape[2]}'})"


def test_the_table_of_readers_is_what_they_read(tmp_path):
    """Each row of the table in the documentation, measured."""
    rows = dict(
        re.findall(r"^\| ((?:Pillow|OpenCV|scikit|image|Matplot|Tensor|Keras).*?) \| (.*) \|$",
                   DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    )  # fmt: skip
    assert rows.keys() == READERS.keys()
    styles = [style for style in MASK_STYLES if style != "values"]
    ground = Classes(("ground", "cell", "nucleus"), (0, 1, 2), background=0)
    paths = [written(tmp_path / f"{style}.png", ground, style) for style in styles]
    for name, read in READERS.items():
        assert rows[name] == " | ".join(shown(np.asarray(read(path))) for path in paths), name


def test_grey_indices_are_exact_in_every_reader(tmp_path):
    path = written(tmp_path / "mask.png", TENS)
    for name, read in READERS.items():
        pixels = np.asarray(read(path))
        if pixels.dtype.kind == "f":  # Matplotlib divides by 255
            pixels = np.rint(pixels * 255)
        assert (pixels.reshape(*LABELS.shape, -1) == LABELS[..., None]).all(), name


def test_tiffs_of_both_styles_have_the_same_numbers(tmp_path):
    for style in ("index", "palette"):
        path = written(tmp_path / f"{style}.tif", TENS, style)
        assert np.array_equal(tifffile.imread(path), LABELS)
