"""An image file is opened once to be predicted, and once more to be listed in a check."""

import os
import sys
from collections import Counter

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.found import find_images
from unetkit.checks.statistics import collect_statistics
from unetkit.data.dataset import find_dataset
from unetkit.io.pixel_format import PixelFormat
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import open_source
from unetkit.results import plan
from unetkit.results.files import predict_files

PHOTO = np.random.default_rng(4).integers(0, 256, (32, 48, 3), np.uint8)
SUFFIXES = ("jpg", "png", "tif", "bmp", "webp", "gif")


@pytest.fixture(scope="module")
def colour_predictor(colour_model):
    return Predictor(colour_model)


class Opens:
    """Counts how often files of a folder are opened, by name."""

    def __init__(self):
        self.folder = None
        self.counts = Counter()
        sys.addaudithook(self._hook)  # for good; it counts nothing without a folder

    def _hook(self, event, arguments):
        if event != "open" or not self.folder or arguments[1] is None:
            return  # without a mode, it is the second event of a file with an opener
        if isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if os.path.dirname(path) == self.folder:
                self.counts[os.path.basename(path)] += 1


OPENS = Opens()


@pytest.fixture
def opens():
    def start(folder):
        OPENS.counts.clear()
        OPENS.folder = os.path.realpath(folder)
        return OPENS.counts

    yield start
    OPENS.folder = None


def write_images(folder, suffixes=SUFFIXES):
    folder.mkdir(parents=True)
    for suffix in suffixes:
        Image.fromarray(PHOTO).save(folder / f"{suffix}.{suffix}")
    return folder


def test_an_image_is_opened_once_to_be_predicted(opens, tmp_path, colour_predictor):
    folder = write_images(tmp_path / "images")
    tifffile.imwrite(folder / "tiled.tif", PHOTO, tile=(16, 16), compression="zlib")
    counts = opens(folder)
    predict_files(colour_predictor, find_images([folder]), tmp_path / "out")
    assert counts == dict.fromkeys([*(f"{s}.{s}" for s in SUFFIXES), "tiled.tif"], 1)


def test_beyond_a_number_of_files_they_are_opened_again(
    opens, tmp_path, colour_predictor, monkeypatch
):
    folder = write_images(tmp_path / "images", ("jpg", "png", "tif"))
    monkeypatch.setattr(plan, "MOST_OPEN", 1)
    counts = opens(folder)
    predict_files(colour_predictor, find_images([folder]), tmp_path / "out")
    assert sorted(counts.values()) == [1, 2, 2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_path_is_opened_once(suffix, opens, tmp_path):
    folder = write_images(tmp_path / "images", [suffix])
    counts = opens(folder)
    with open_source(folder / f"{suffix}.{suffix}", PixelFormat()) as source:
        assert source.shape == (32, 48, 3)
    assert list(counts.values()) == [1]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_check_opens_images_to_list_them_and_to_read_and_hash_them(suffix, opens, tmp_path):
    images = write_images(tmp_path / "images", [suffix])
    (tmp_path / "masks").mkdir()
    Image.fromarray(PHOTO[..., 0] // 128).save(tmp_path / "masks" / f"{suffix}.png")
    for folder in (images, tmp_path / "masks"):
        counts = opens(folder)
        (found,) = collect_statistics(find_dataset(tmp_path).pairs)
        assert found.problem == ""
        assert len(found.image_sha256) == len(found.mask_sha256) == 64
        assert list(counts.values()) == [2]


def test_no_image_stays_open(tmp_path, colour_predictor):
    folder = write_images(tmp_path / "images")
    predict_files(colour_predictor, find_images([folder]), tmp_path / "out")
    links = "/proc/self/fd"
    if os.path.isdir(links):
        opened = [os.path.realpath(os.path.join(links, link)) for link in os.listdir(links)]
        assert not [path for path in opened if path.startswith(os.path.realpath(folder))]
