"""Reading pairs: sizes must agree, order is kept, and all failures are told together."""

import json
import threading
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit.data.annotations import formats
from unetkit.data.classes import Classes
from unetkit.data.masks import find_annotation
from unetkit.data.pairs import Pair
from unetkit.data.reading import (
    READERS,
    in_parallel,
    read_in_parallel,
    read_objects,
    read_pair,
    require_same_size,
)
from unetkit.data.scale import IGNORE
from unetkit.errors import DataError
from unetkit.io.pixel_format import PixelFormat

CLASSES = Classes(("ground", "cell"), (0, 255), background=0, ignore=9)
GREY = PixelFormat(1)
MASK = np.array([[0, 255, 9], [255, 0, 0]], np.uint8)


def write_pair(folder, name="a", mask=MASK, image=None):
    pair = Pair(name, folder / f"{name}.png", folder / f"{name}_mask.png")
    Image.fromarray(np.full((2, 3), 7, np.uint8) if image is None else image).save(pair.image)
    Image.fromarray(mask).save(pair.mask)
    return pair


def pairs_named(*names):
    return [Pair(name, f"{name}.png", f"{name}_mask.png") for name in names]


def test_a_pair_is_an_image_and_class_indices(tmp_path):
    image, mask = read_pair(write_pair(tmp_path), CLASSES, GREY)
    assert image.shape == (2, 3, 1)
    assert (image == 7).all()
    assert mask.tolist() == [[0, 1, IGNORE], [1, 0, 0]]
    assert mask.dtype == np.uint8


def test_images_take_the_channels_of_the_model(tmp_path):
    assert read_pair(write_pair(tmp_path), CLASSES, PixelFormat(3))[0].shape == (2, 3, 3)


def test_a_mask_of_another_size_is_refused(tmp_path):
    pair = write_pair(tmp_path, mask=np.zeros((4, 3), np.uint8))
    with pytest.raises(DataError, match=r"a\.png is 2x3 and mask .*a_mask\.png is 4x3 \(height x"):
        read_pair(pair, CLASSES, GREY)


def test_a_mask_drawn_on_the_picture_before_it_was_turned_is_told_so(tmp_path):
    pair = write_pair(tmp_path)
    with pytest.raises(DataError, match=r"is 2x3 \(rotated by its EXIF tag\) and mask"):
        require_same_size(pair, (2, 3), (3, 2))
    require_same_size(pair, (2, 3), (2, 3))


def test_objects_keep_their_numbers(tmp_path):
    pair = write_pair(tmp_path, mask=np.array([[0, 300, 7], [7, 0, 0]], np.uint16))
    assert read_objects(pair, (2, 3)).tolist() == [[0, 300, 7], [7, 0, 0]]


def test_drawn_objects_are_numbered_in_their_order(tmp_path):
    boxes = ([[0, 0], [1, 0], [1, 2], [0, 2]], [[2, 0], [3, 0], [3, 1], [2, 1]])
    shapes = [{"label": "cell", "points": box, "shape_type": "polygon"} for box in boxes]
    pair = Pair("a", tmp_path / "a.png", tmp_path / "a.json")
    pair.mask.write_text(json.dumps({"shapes": shapes, "imagePath": "a.png"}))
    # Column 0 of both rows; and column 2 of row 0.
    assert read_objects(pair, (2, 3)).tolist() == [[1, 0, 2], [1, 0, 0]]


def test_results_come_in_the_order_of_the_pairs():
    """The first waits for the last of the first few, so that they end in another order."""
    last = threading.Event()

    def read(pair):
        if pair.name == "0":
            assert last.wait(10)
        if pair.name == str(READERS - 1):
            last.set()
        return pair.name

    names = [str(number) for number in range(50)]
    done = []
    assert list(in_parallel(read, pairs_named(*names), lambda: done.append(1))) == names
    assert len(done) == 50


def test_only_a_few_pairs_are_read_ahead():
    """Whoever takes results slowly does not find all pictures in memory."""
    started = []
    results = in_parallel(lambda pair: started.append(pair.name), pairs_named(*"abcdefgh" * 20))
    next(results)
    assert len(started) <= READERS + 3
    results.close()
    assert len(started) <= READERS + 3


def test_a_polygon_file_of_many_images_is_read_once(tmp_path, monkeypatch):
    reads = []
    whole = formats.read_annotations

    def slowly(path):
        reads.append(path)
        time.sleep(0.05)  # long enough for all threads to come
        return whole(path)

    monkeypatch.setattr(formats, "read_annotations", slowly)
    box = [[0, 0], [1, 0], [1, 2], [0, 2]]
    shape = {"label": "cell", "points": box, "shape_type": "polygon"}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"shapes": [shape], "imagePath": "a.png"}))
    pairs = [Pair("a", tmp_path / "a.png", path)] * 8
    found = list(in_parallel(lambda pair: find_annotation(pair.source), pairs))
    assert len(found) == 8
    assert reads == [path]


def test_nothing_is_read_of_no_pairs():
    assert list(in_parallel(lambda pair: pair, [])) == []


def test_an_error_ends_the_reading():
    def read(pair):
        raise ValueError(pair.name)

    with pytest.raises(ValueError, match="a"):
        list(in_parallel(read, pairs_named("a", "b")))


def test_all_failures_are_told_together(tmp_path):
    names = [f"{number}" for number in range(8)]

    def read(pair):
        if pair.name != "3":
            raise DataError(f"{pair.name} is bad")
        return pair.name

    with pytest.raises(DataError) as error:
        list(read_in_parallel(read, pairs_named(*names)))
    lines = str(error.value).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "... and 2 more"  # 7 failures, 5 of them shown
    assert list(read_in_parallel(read, pairs_named("3", "3"))) == ["3", "3"]


def test_results_come_before_all_is_read_and_none_after_a_failure():
    started = []

    def read(pair):
        started.append(pair.name)
        if pair.name == "20":
            raise DataError("20 is bad")
        return pair.name

    names = [str(number) for number in range(50)]
    results = read_in_parallel(read, pairs_named(*names))
    assert next(results) == "0"
    assert len(started) <= READERS + 3
    found = []
    with pytest.raises(DataError, match=r"\A20 is bad\Z"):
        found.extend(results)  # keeps what comes before the error
    assert len(started) == 50  # there might have been more failures


def test_a_few_failures_are_told_whole():
    def read(pair):
        raise DataError(f"{pair.name} is bad")

    with pytest.raises(DataError, match=r"\Aa is bad\Z"):
        list(read_in_parallel(read, pairs_named("a")))


@pytest.mark.parametrize(("gap", "nodata"), [(np.nan, "nan"), (-9999, "-9999")])
def test_pixels_without_data_are_ignored_and_black(tmp_path, gap, nodata):
    image = np.array([[0.5, gap], [1.5, 2.5]], np.float32)
    tags = [(42113, "s", 0, nodata, True)]
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", extratags=tags)
    Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).save(tmp_path / "m.png")
    pair = Pair("a", tmp_path / "a.tif", tmp_path / "m.png")
    format = PixelFormat(1, "float32", (0.25,), (3.0,))
    pixels, mask = read_pair(pair, Classes(("ground", "cell"), (0, 1)), format)
    assert pixels[..., 0].tolist() == [[0.5, 0.25], [1.5, 2.5]]
    assert mask.tolist() == [[0, 255], [1, 0]]
