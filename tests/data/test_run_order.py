"""How runs of pixels are counted: found from the runs, or asked."""

import numpy as np
import pytest
from PIL import Image

from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.data.reading import read_pair
from unetkit.data.sources import Sources
from unetkit.errors import ConfigError, DataError
from unetkit.io.pixel_format import PixelFormat

TWO = Classes(("background", "object"), (0, 1), background=0)


def disks(number: int, size: tuple[int, int], at_edge: bool) -> np.ndarray:
    """Two disks, one of which may be cut by the upper and the left edge."""
    rows, columns = np.indices(size)
    mask = np.hypot(rows - 20 - number, columns - 25) < 8
    if at_edge:
        mask |= np.hypot(rows - 2, columns - 3 - number) < 6
    return mask


def runs_of(mask: np.ndarray, order: str, first: int) -> str:
    """Runs of a mask, written as other programs do."""
    flat = mask.ravel("F" if order == "column" else "C").astype(int)
    changes = np.flatnonzero(np.diff(flat, prepend=0, append=0))
    return " ".join(f"{a + first} {b - a}" for a, b in changes.reshape(-1, 2))


def write(data, order, first, size=(40, 64), at_edge=True):
    (data / "images").mkdir()
    lines = ["ImageId,EncodedPixels"]
    for i in range(4):
        Image.new("L", size[::-1], 90).save(data / "images" / f"p{i}.png")
        lines.append(f"p{i}.png,{runs_of(disks(i, size, at_edge), order, first)}")
    (data / "train.csv").write_text("\n".join(lines) + "\n")
    return data


def masks_of(data, sources=None):
    pairs = find_dataset(data, sources).pairs
    return [read_pair(pair, TWO, PixelFormat(1))[1].astype(bool) for pair in pairs]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("order", ["column", "row"])
def test_order_and_first_pixel_are_found(tmp_path, order, first):
    write(tmp_path, order, first)
    assert all(
        np.array_equal(mask, disks(i, (40, 64), True)) for i, mask in enumerate(masks_of(tmp_path))
    )
    ways = {"column": "down the columns", "row": "along the rows"}
    assert find_dataset(tmp_path).masks.endswith(
        f"(runs {ways[order]}, the first pixel is {first})"
    )


def test_without_an_object_at_an_edge_pixels_are_counted_as_kaggle_does(tmp_path):
    write(tmp_path, "column", 1, at_edge=False)
    assert np.array_equal(masks_of(tmp_path)[0], disks(0, (40, 64), False))


@pytest.mark.parametrize("order", ["column", "row"])
def test_runs_of_square_images_are_asked_about(tmp_path, order):
    write(tmp_path, order, 1, size=(48, 48))
    with pytest.raises(DataError, match=r"use --run-order column .* or --run-order row"):
        find_dataset(tmp_path)
    found = masks_of(tmp_path, Sources(run_order=order))
    assert np.array_equal(found[1], disks(1, (48, 48), True))


def test_the_first_pixel_may_be_given(tmp_path):
    write(tmp_path, "row", 0, at_edge=False)
    found = masks_of(tmp_path, Sources(first_pixel=0))
    assert np.array_equal(found[2], disks(2, (40, 64), False))


def test_a_run_before_the_first_pixel_is_refused(tmp_path):
    write(tmp_path, "row", 0)
    text = (tmp_path / "train.csv").read_text()
    (tmp_path / "train.csv").write_text(text + "q.png,0 5\n")
    Image.new("L", (64, 40)).save(tmp_path / "images" / "q.png")
    pair = find_dataset(tmp_path, Sources(first_pixel=1)).pairs[-1]
    with pytest.raises(DataError, match="first pixel of a run is 0; accepted are numbers from 1"):
        read_pair(pair, TWO, PixelFormat(1))


@pytest.mark.parametrize("options", [{"run_order": "diagonal"}, {"first_pixel": 2}])
def test_other_ways_to_count_are_refused(options):
    with pytest.raises(ConfigError, match="accepted are column and row, and 0 and 1"):
        Sources(**options)
