"""Formats that are passed over: which they are, and what is said of them."""

from pathlib import PurePath

import pytest

from unetkit.io.decoding import IMAGE_SUFFIXES
from unetkit.io.other_formats import (
    OTHER_IMAGES,
    TIFF_SUFFIXES,
    count_other_images,
    other_image_kind,
)


def test_no_format_that_is_read_is_passed_over():
    assert not set(IMAGE_SUFFIXES) & {*OTHER_IMAGES, *TIFF_SUFFIXES}


@pytest.mark.parametrize("name", ["a.CZI", "b.mat", "c.nd2"])
def test_formats_that_are_not_read_are_to_be_converted(name):
    assert "convert them" in other_image_kind(PurePath(name))


def test_slides_are_tiffs_under_another_name():
    assert "rename them to .tif" in other_image_kind(PurePath("a/slide.svs"))


def test_what_holds_no_image_is_none_of_them():
    assert other_image_kind(PurePath("notes.txt")) is None
    assert other_image_kind(PurePath("a.png")) is None


def test_files_are_counted_by_reason_and_suffix():
    paths = [PurePath(name) for name in ("a.czi", "b.CZI", "c.mat", "d.svs", "e.png")]
    counts = count_other_images(paths)
    assert sorted(sorted(count.items()) for count in counts.values()) == [
        [(".czi", 2), (".mat", 1)],
        [(".svs", 1)],
    ]
