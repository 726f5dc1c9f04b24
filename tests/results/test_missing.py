"""Which images of a job have no finished results."""

import os

import numpy as np
import pytest
from PIL import Image

from unetkit import Predictor
from unetkit.results.files import predict_files
from unetkit.results.inputs import find_inputs
from unetkit.results.missing import UNREADABLE, find_missing
from unetkit.results.predicted_image import ResultOptions


@pytest.fixture(scope="module")
def grey(grey_model):
    return Predictor(grey_model)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in "abcdef":
        pixels = rng.integers(0, 256, (20, 30), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return find_inputs([folder])


def missing(predictor, images, out, **options):
    found = find_missing(predictor, images, out, ["mask"], "auto", ResultOptions(**options))
    return [(one.image.name, one.state) for one in found]


def test_all_are_missing_before_the_first_run_and_none_after(grey, images, tmp_path):
    out = tmp_path / "out"
    assert missing(grey, images, out) == [(f"{name}.png", "missing") for name in "abcdef"]
    assert not out.exists()
    predict_files(grey, images, out)
    assert missing(grey, images, out) == []


def test_each_has_its_reason(grey, images, tmp_path):
    out = tmp_path / "out"
    masks = predict_files(grey, images, out)
    os.truncate(masks[0], 30)
    masks[1].unlink()
    Image.new("L", (30, 20)).save(masks[2])
    Image.new("L", (30, 20)).save(images[3].path)
    images[4].path.write_bytes(b"no picture")
    found = find_missing(grey, images, out, ["mask"], "auto", ResultOptions())
    assert [(one.image.name, one.state) for one in found] == [
        ("a.png", "damaged"),
        ("b.png", "missing"),
        ("c.png", "changed since it was predicted"),
        ("d.png", "of an earlier version of the image"),
        ("e.png", UNREADABLE),
    ]
    assert found[0].reason == f"{masks[0]} is damaged"
    assert "--overwrite" in found[2].reason
    assert "is not an image that can be read" in found[4].reason
    others = {state for _, state in missing(grey, images[5:], out, mask="palette")}
    assert others == {"of other options"}


def test_a_page_is_named(grey, tmp_path):
    frames = [Image.new("L", (9, 8), shade) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / "s.tif", save_all=True, append_images=frames[1:])
    stack = find_inputs([tmp_path / "s.tif"])
    masks = predict_files(grey, stack, tmp_path / "out")
    masks[1].unlink()
    (found,) = find_missing(grey, stack, tmp_path / "out", ["mask"], "auto", ResultOptions())
    assert (found.image, found.page) == (tmp_path / "s.tif", 1)
