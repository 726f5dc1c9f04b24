"""Kaggle's run lengths: down the columns, from 1, a line an object, by hand arithmetic."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.data.annotations.examples import RICH, SIZE, faults
from unetkit.data.annotations.polygons import rasterise, rasterise_instances
from unetkit.data.dataset import find_dataset
from unetkit.data.masks import find_annotation
from unetkit.errors import DataError


class TestRunLengths:
    def test_runs_go_down_the_columns_from_1(self, read):
        # Of 6 rows: pixel 8 is row 1 of column 1; 2 of them. Pixel 14 is row 1 of column 2.
        drawn = np.zeros(SIZE, int)
        drawn[[1, 2, 1], [1, 1, 2]] = 1
        (found,) = read("ImageId,EncodedPixels\na.png,8 2 14 1\n", ".csv").annotations
        annotation = found.counted("column", 1)
        assert rasterise(annotation, SIZE, {"object": 1}).tolist() == drawn.tolist()

    def test_runs_along_the_rows_from_0_are_counted_so(self, read):
        # Of 8 columns: pixel 9 is column 1 of row 1; 2 of them.
        drawn = np.zeros(SIZE, int)
        drawn[1, 1:3] = 1
        (found,) = read("ImageId,EncodedPixels\na.png,9 2\n", ".csv").annotations
        annotation = found.counted("row", 0)
        assert rasterise(annotation, SIZE, {"object": 1}).tolist() == drawn.tolist()

    def test_a_line_is_an_object_and_an_empty_one_none(self, read):
        first, second = read(RICH["kaggle"], ".csv").annotations
        assert rasterise_instances(first, SIZE).max() == 2
        assert (second.image, second.shapes) == ("b.png", ())

    @pytest.mark.parametrize(
        ("text", "labels"),
        [
            ("ImageId,ClassId,EncodedPixels\na.png,3,1 2\n", ("3",)),
            ("ImageId_ClassId,EncodedPixels\na.png_4,1 2\n", ("4",)),
            ("Image_Label,EncodedPixels\na.png_Fish,1 2\na.png_Sugar,\n", ("Fish",)),
            ("id,rle_mask\na,1 2\n", ("object",)),
            ("img,rle_mask\na.png,\n", ()),
            ('"ImageId","EncodedPixels"\na.png,-1\n', ()),
        ],
    )
    def test_columns_of_competitions(self, read, text, labels):
        file = read(text, ".csv")
        assert file.labels == labels
        assert file.annotations[0].image in ("a.png", "a")

    @pytest.mark.parametrize(
        ("runs", "message"),
        [
            ("1 2 3", "line 2: the list of runs is '1 2 3'; accepted are pairs of a first pixel"),
            ("x", "line 2: the list of runs is 'x'"),
            ("1 3 2 2", "accepted are runs within the image that do not overlap"),
            ("9 0", "accepted are runs within the image that do not overlap"),
            ("9" * 20 + " 1", "line 2: the list of runs is "),
        ],
    )
    def test_damaged_runs_cost_their_image(self, read, runs, message):
        file = read(f"ImageId,EncodedPixels\na.png,{runs}\nb.png,1 1\n", ".csv")
        assert re.search(re.escape(message), file.annotations[0].problems[0])
        assert not file.annotations[1].problems

    def test_a_line_without_an_image_is_named(self, read):
        file = read("ImageId,EncodedPixels\n,1 2\nb.png,1 1\n", ".csv")
        assert faults(file)["nothing"] == [
            "line 2: the image is ''; accepted is the name of a file"
        ]

    def test_runs_beyond_the_image_are_refused(self, read):
        (found,) = read("ImageId,EncodedPixels\na.png,48 2\n", ".csv").annotations
        annotation = found.counted("column", 1)
        message = r"drawn\.csv: image 'a.png': the end of the last run is 49; accepted is at most 6"
        with pytest.raises(DataError, match=message):
            rasterise(annotation, SIZE, {"object": 1})


def test_images_are_found_without_their_suffix(tmp_path):
    (tmp_path / "train").mkdir()
    for name in ("a", "b"):
        Image.new("L", SIZE[::-1]).save(tmp_path / "train" / f"{name}.png")
    (tmp_path / "train.csv").write_text("id,rle_mask\na,1 2 7 2\nb,\n")
    (tmp_path / "depths.csv").write_text("id,z\na,5\n")
    pairs = find_dataset(tmp_path).pairs
    assert [len(find_annotation(pair.source).shapes) for pair in pairs] == [1, 0]
