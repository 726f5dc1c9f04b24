"""Areas of classes, counted by windows."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from tests.results.predicted import predicted
from unetkit.data.classes import Classes
from unetkit.io.pixel_size import PixelSize
from unetkit.prediction.predictor import NODATA_LABEL
from unetkit.results import areas
from unetkit.results.areas import count_classes, write_areas

THREE = Classes(("ground", "cell", "nucleus"), (0, 1, 2), background=0)
# 5 of ground, 3 of cells, none of nuclei, 2 without data
LABELS = np.array([[0, 0, 1, 1, 255], [0, 0, 0, 1, 255]], np.uint8)


def rows_of(path):
    with open(path, newline="") as lines:
        return list(csv.DictReader(lines))


def test_pixels_without_data_are_no_part_of_the_whole(tmp_path):
    with predicted(LABELS, THREE) as image:
        write_areas(tmp_path / "a.csv", image)
    assert rows_of(tmp_path / "a.csv") == [
        {"class": "ground", "pixels": "5", "fraction": "0.625"},
        {"class": "cell", "pixels": "3", "fraction": "0.375"},
        {"class": "nucleus", "pixels": "0", "fraction": "0.0"},
    ]


def test_areas_are_in_the_units_of_the_pixel_size(tmp_path):
    with predicted(LABELS, THREE, pixel_size=PixelSize(0.5, "um")) as image:
        write_areas(tmp_path / "a.csv", image)
    assert [row["area_um2"] for row in rows_of(tmp_path / "a.csv")] == ["1.25", "0.75", "0.0"]


def test_an_image_without_any_data_has_no_areas(tmp_path):
    with predicted(np.full((2, 2), NODATA_LABEL, np.uint8), THREE) as image:
        write_areas(tmp_path / "a.csv", image)
    assert {row["fraction"] for row in rows_of(tmp_path / "a.csv")} == {"0.0"}


@pytest.mark.parametrize("band", [1, 7, 1000])
def test_windows_change_no_count(monkeypatch, band):
    monkeypatch.setattr(areas, "COUNTED_PIXELS", band)
    with predicted(LABELS, THREE) as image:
        assert count_classes(image).tolist() == [5, 3, 0]


def test_the_mean_uncertainty_of_each_class(tmp_path, monkeypatch):
    # The first row is certain, the second even: of ground, 2 pixels at 0 and 3 at 1; of cells, 2 at
    # 0 and 1 at 1.
    probabilities = np.zeros((2, 5, 3), np.float32)
    probabilities[0, :2, 0] = probabilities[0, 2:, 1] = 1
    probabilities[1] = 1 / 3
    with predicted(LABELS, THREE) as image:
        image = replace(
            image,
            read_scores=lambda rows, columns: probabilities[rows, columns],
            has_uncertainty=True,
        )
        write_areas(tmp_path / "a.csv", image)
        monkeypatch.setattr(areas, "COUNTED_PIXELS", 1)
        write_areas(tmp_path / "b.csv", image)
    rows = rows_of(tmp_path / "a.csv")
    assert [row["uncertainty"] for row in rows] == ["0.6", "0.333333", ""]
    assert rows_of(tmp_path / "b.csv") == rows
