"""Integers in masks are judged over the set and file by file; each remedy that is named works."""

import re
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.checks.masks import mask_statistics, scattered
from unetkit.checks.class_inference import choose_classes
from unetkit.checks.statistics import PairStatistics, collect_statistics
from unetkit.data.classes import Classes, read_class_file
from unetkit.data.pairs import Pair
from unetkit.errors import DataError


def choose(statistics: list[PairStatistics], **given: Any) -> Classes:
    return choose_classes(statistics, "data", given)


def error_of(statistics: list[PairStatistics], **given: Any) -> str:
    with pytest.raises(DataError) as error:
        choose(statistics, **given)
    return str(error.value)


def names_in(message: str) -> tuple[str, ...]:
    """The names of `--classes` that a message proposes."""
    return tuple(re.search("--classes '([^']*)'", message)[1].split(","))


def test_half_0_and_1_and_half_0_and_255_are_two_sources(tmp_path):
    masks = [scattered(0, 1), scattered(0, 255), scattered(0, 1), scattered(0, 255)]
    statistics = mask_statistics(tmp_path, *masks)
    message = error_of(statistics)
    assert "come from two sources: 2 have the values 0, 255 (" in message
    assert "1.png first) and 2 have 0, 1 (" in message
    assert "use --threshold 0 if every value above 0 is the same class, --ignore 255" in message
    assert choose(statistics, threshold=0).threshold == 0
    assert choose(statistics, ignore=255).values == (0, 1)


def test_sources_of_more_classes_are_named_too(tmp_path):
    masks = [scattered(0, 1, 2), scattered(0, 128, 255)] * 2
    message = error_of(mask_statistics(tmp_path, *masks))
    assert "2 have the values 0, 128, 255" in message
    assert "2 have 0, 1, 2" in message
    path = tmp_path / "classes.toml"
    path.write_text(re.search("classes = {.*?}", message)[0])
    assert read_class_file(path)["values"] == (0, 1, 2, 128, 255)


def test_values_of_both_kinds_in_a_mask_are_no_two_sources(tmp_path):
    masks = [scattered(0, 1, 255), scattered(0, 1), scattered(0, 255), scattered(0, 1)]
    assert "values that are not classes: 255" in error_of(mask_statistics(tmp_path, *masks))


def test_half_from_0_and_half_from_1_are_two_sources(tmp_path):
    statistics = mask_statistics(tmp_path, *[scattered(0, 1), scattered(0, 1) + 1] * 3)
    message = error_of(statistics)
    assert "come from two sources: 3 have the values 0, 1 (" in message
    assert "and 3 have 1, 2 (" in message
    assert choose(statistics, kind="classes").values == (0, 1, 2)


def test_a_mask_of_all_values_shows_that_they_have_one_meaning(tmp_path):
    masks = [*[scattered(0, 1), scattered(0, 1) + 1] * 3, scattered(0, 1, 2)]
    assert choose(mask_statistics(tmp_path, *masks)).values == (0, 1, 2)


def test_colours_beside_numbers_are_two_sources(tmp_path):
    red = np.zeros((8, 8, 3), np.uint8)
    red[2:5, 2:5, 0] = 255
    statistics = mask_statistics(tmp_path, *[scattered(0, 1), red] * 2)
    message = error_of(statistics)
    assert "come from two sources: 2 have colours (" in message
    assert "and 2 have the numbers 0, 1 (" in message
    assert choose(statistics, kind="colours").values == (0, 0x010101, 0xFF0000)


def test_values_near_the_ends_may_be_thresholded(tmp_path):
    statistics = mask_statistics(tmp_path, scattered(0, 251, 255))
    assert "use --threshold 127 if values near 255 are one class" in error_of(statistics)
    assert choose(statistics, threshold=127).values == (0, 255)


def test_a_value_between_black_and_white_may_be_ignored(tmp_path):
    statistics = mask_statistics(tmp_path, scattered(0, 128, 255))
    assert "--ignore 128 if those of 128 are not" in error_of(statistics)
    assert choose(statistics, ignore=128).values == (0, 255)


@pytest.mark.parametrize("values", [(0, 128, 255), (0, 2, 4), (0, 2)])
def test_names_in_ascending_order_close_a_gap(tmp_path, values):
    statistics = mask_statistics(tmp_path, scattered(*values))
    classes = choose(statistics, names=names_in(error_of(statistics)))
    assert classes.values == values


def test_255_after_few_values_is_no_class_by_its_order(tmp_path):
    """It may be the value of pixels without a label, with the third class in no mask."""
    statistics = mask_statistics(tmp_path, scattered(0, 1, 255))
    message = error_of(statistics, names=("a", "b", "c"))
    assert "use --ignore 255 if pixels of 255 are not to be scored" in message
    path = tmp_path / "classes.toml"
    path.write_text(re.search("classes = {.*?}", message)[0])
    assert choose(statistics, **read_class_file(path)).values == (0, 1, 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_0_and_the_largest_value_are_two_classes(tmp_path, dtype):
    largest = 65535 if dtype == np.uint16 else 255
    statistics = tiffs(tmp_path, np.array([[0, largest]], dtype))
    assert choose(statistics).names == ("background", "foreground")


def test_values_below_zero_may_be_ignored(tmp_path):
    statistics = tiffs(tmp_path, np.array([[0, 1, -1]], np.int16))
    assert "use --ignore -1" in error_of(statistics)
    assert choose(statistics, ignore=-1).ignore == -1


def test_nearly_two_values_are_thresholded(tmp_path):
    mask = np.repeat(np.array([[0, 1, 2, 9, 246, 254, 255, 255]], np.uint8), 4, axis=0)
    statistics = mask_statistics(tmp_path, mask)
    message = error_of(statistics)
    assert "have 7 values, nearly all of them close to 0 or to 255" in message
    assert message.endswith("or use --threshold 127")
    assert choose(statistics, threshold=127).values == (0, 255)


def test_palettes_that_differ_are_asked_about(tmp_path):
    masks = []
    for order in ([0, 1], [1, 0]):
        colours = np.array([[0, 0, 0], [220, 20, 60]], np.uint8)[order]
        image = Image.fromarray(np.array([[0, 1, 1, 0]], np.uint8))
        image.putpalette(colours.ravel().tolist())
        masks.append(image)
    statistics = mask_statistics(tmp_path, *masks)
    message = error_of(statistics)
    assert "palettes that differ: 0 is #000000 in" in message
    assert "use --kind colours if each colour is a class, --kind classes if each number" in message
    assert choose(statistics, kind="colours").values == (0x000000, 0xDC143C)
    assert choose(statistics, kind="classes").values == (0, 1)


def test_palettes_that_differ_in_what_no_mask_contains_are_the_same(tmp_path):
    masks = []
    for last in (7, 9):
        image = Image.fromarray(np.array([[0, 1, 1, 0]], np.uint8))
        image.putpalette([0, 0, 0, 255, 0, 0, last, last, last])
        masks.append(image)
    assert choose(mask_statistics(tmp_path, *masks)).values == (0, 1)


def tiffs(folder, mask: np.ndarray, nodata: str | None = None) -> list[PairStatistics]:
    pair = Pair("a", folder / "image.png", folder / "mask.tif")
    Image.new("L", mask.shape[::-1]).save(pair.image)
    tags = [] if nodata is None else [(42113, "s", 0, nodata, True)]
    tifffile.imwrite(pair.mask, mask, extratags=tags)
    statistics = collect_statistics([pair])
    assert not statistics[0].problem
    return statistics


def test_zero_as_no_data_is_asked_about(tmp_path):
    statistics = tiffs(tmp_path, np.array([[0, 1, 2]], np.uint8), nodata="0")
    message = error_of(statistics)
    assert "1 of 1 masks in data declare 0 to be no data" in message
    assert "use --ignore 0 if these pixels are not to be scored" in message
    assert choose(statistics, names=names_in(message)).values == (0, 1, 2)
    ignored = choose(statistics, ignore=0, names=("a", "b"))
    assert (ignored.values, ignored.ignore) == ((1, 2), 0)


def test_declared_no_data_is_no_value(tmp_path):
    statistics = tiffs(tmp_path, np.array([[0, 1, 255]], np.uint8), nodata="255")
    assert choose(statistics).values == (0, 1)
    assert statistics[0].missing == 1


def test_a_value_is_not_to_be_ignored_if_only_one_would_be_left(tmp_path):
    masks = [np.tile(np.array([[1, 2]], np.uint8), (8, 8))] * 2  # values 1 and 2, without 0
    message = error_of(mask_statistics(tmp_path, *masks))
    assert "values that are not classes: 1, 2" in message
    assert "--ignore" not in message
    assert choose(mask_statistics(tmp_path, *masks), names=names_in(message)).values == (1, 2)
