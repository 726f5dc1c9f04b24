"""Blocks: what is cut, how, and that a block holds the pixels of its place and nothing else."""

import itertools
import json

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unetkit.data.blocks import LEAST_BLOCKS, SIDES, _cuts, gap_fraction, suggest_side
from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.data.reading import read_objects, read_pair
from unetkit.data.sources import Sources
from unetkit.errors import ConfigError, DataError
from unetkit.io.pixel_format import PixelFormat

TWO = Classes(("background", "cell"), (0, 1))
SIZE = (90, 130)


def scene(size=SIZE):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    return image, (rng.random(size) < 0.3).astype(np.uint8)


def write(data, suffix=".tif", size=SIZE, name="scene"):
    image, mask = scene(size)
    for part, pixels in (("images", image), ("masks", mask)):
        (data / part).mkdir(parents=True, exist_ok=True)
        path = data / part / f"{name}{suffix}"
        if suffix == ".tif":
            rgb = {"photometric": "rgb"} if pixels.ndim == 3 else {}
            tifffile.imwrite(path, pixels, tile=(16, 16), **rgb)
        elif suffix == ".npy":
            np.save(path, pixels)
        else:
            Image.fromarray(pixels).save(path)
    return image, mask


@given(st.integers(16, 3000), st.integers(16, 600), st.integers(0, 100))
def test_blocks_cover_a_length_but_for_the_gaps(length, side, gap):
    cuts = _cuts(length, side, gap)
    assert cuts[0][0] == 0
    assert cuts[-1][1] == length
    assert [b[0] - a[1] for a, b in itertools.pairwise(cuts)] == [gap] * (len(cuts) - 1)
    sides = [end - start for start, end in cuts]
    assert max(sides) - min(sides) <= 1


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy"])
def test_each_block_is_its_place_in_the_image_and_the_mask(tmp_path, suffix):
    image, mask = write(tmp_path, suffix)
    dataset = find_dataset(tmp_path, Sources(blocks=40, gap=5))
    # (90 + 5) / 45 and (130 + 5) / 45: 2 x 3 blocks of 42 or 43 rows and 40 columns.
    assert [pair.name for pair in dataset.pairs] == [
        f"scene_r{row:03d}_c{column:03d}" for row in (0, 47) for column in (0, 45, 90)
    ]
    for pair in dataset.pairs:
        block = pair.block
        part, classes = read_pair(pair, TWO, PixelFormat(3))
        assert np.array_equal(part, image[block.rows, block.columns])
        assert np.array_equal(classes, mask[block.rows, block.columns])


def test_a_photo_is_cut_as_it_is_shown(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown upright
    shown = scene((130, 90))[0]
    stored = Image.fromarray(np.rot90(shown).copy())
    stored.save(tmp_path / "images" / "a.png", exif=exif)
    Image.fromarray(scene((130, 90))[1]).save(tmp_path / "masks" / "a.png")
    for pair in find_dataset(tmp_path, Sources(blocks=40, gap=5)).pairs:
        image, mask = read_pair(pair, TWO, PixelFormat(3))
        assert np.array_equal(image, shown[pair.block.rows, pair.block.columns])
        assert np.array_equal(mask, scene((130, 90))[1][pair.block.rows, pair.block.columns])


def test_polygons_and_objects_are_filled_at_their_place(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(scene()[0]).save(tmp_path / "a" / "s.png")
    points = [[30, 20], [100, 20], [100, 70], [30, 70]]  # x and y
    record = {"imagePath": "s.png", "imageHeight": 90, "imageWidth": 130}
    record["shapes"] = [{"label": "cell", "points": points, "shape_type": "polygon"}]
    (tmp_path / "a" / "s.json").write_text(json.dumps(record))
    whole = np.zeros(SIZE, np.uint8)
    whole[20:70, 30:100] = 1
    classes = Classes(("background", "cell"), (0, 1), labels=("cell",), background=0)
    dataset = find_dataset(tmp_path, Sources(blocks=40, gap=5))
    assert len(dataset.pairs) == 6
    for pair in dataset.pairs:
        expected = whole[pair.block.rows, pair.block.columns]
        _, mask = read_pair(pair, classes, PixelFormat(3))
        assert np.array_equal(mask, expected)
        assert np.array_equal(read_objects(pair, mask.shape), expected)


def test_the_fraction_in_gaps_is_that_of_the_pixels_in_no_block(tmp_path):
    write(tmp_path)
    pairs = find_dataset(tmp_path, Sources(blocks=40, gap=5)).pairs
    # 90 x 130 pixels, of which a gap of 5 rows and two of 5 columns are lost: 85 x 120 are left.
    assert gap_fraction([pair.block for pair in pairs]) == pytest.approx(1 - 85 * 120 / (90 * 130))


class TestWhatIsCutByItself:
    def test_a_single_large_image_is_cut_for_a_training(self, tmp_path):
        write(tmp_path, size=(560, 580))
        dataset = find_dataset(tmp_path, for_training=True)
        assert dataset.blocks == (128, 16)
        assert len(dataset.pairs) >= LEAST_BLOCKS
        assert gap_fraction([pair.block for pair in dataset.pairs]) < 1 / 3

    @pytest.mark.parametrize("size", [(900, 1200), (2000, 3000), (450, 1500)])
    def test_the_default_leaves_out_less_than_a_third(self, tmp_path, size):
        write(tmp_path, size=size)
        blocks = [pair.block for pair in find_dataset(tmp_path, for_training=True).pairs]
        assert blocks[0].side in SIDES
        assert gap_fraction(blocks) < 1 / 3

    def test_it_is_read_whole_for_anything_else(self, tmp_path):
        write(tmp_path, size=(560, 580))
        (pair,) = find_dataset(tmp_path).pairs
        assert pair.block is None

    def test_a_small_image_is_not_cut(self, tmp_path):
        write(tmp_path)
        (pair,) = find_dataset(tmp_path, for_training=True).pairs
        assert pair.block is None

    def test_two_images_are_not_cut_unless_asked(self, tmp_path):
        write(tmp_path, ".png", size=(560, 580), name="a")
        write(tmp_path, ".png", size=(560, 580), name="b")
        whole = find_dataset(tmp_path, for_training=True)
        assert len(whole.pairs) == 2
        assert suggest_side(whole) == 128
        cut = find_dataset(tmp_path, Sources(blocks=128))
        assert {pair.image.stem for pair in cut.pairs} == {"a", "b"}
        assert cut.blocks == (128, 16)

    def test_the_splits_of_images_are_those_of_their_blocks(self, tmp_path):
        for part in ("train", "test"):
            write(tmp_path / part, ".png", size=(90, 130), name=part)
        dataset = find_dataset(tmp_path, Sources(blocks=40))
        assert {name.split("/")[0]: part for name, part in dataset.splits.items()} == {
            "train": "train",
            "test": "test",
        }
        assert len(dataset.splits) == len(dataset.pairs)


class TestWhatIsRefused:
    def test_blocks_of_which_an_image_has_only_one(self, tmp_path):
        write(tmp_path)
        with pytest.raises(DataError, match=r"no two blocks of 100 pixels.*use smaller --blocks"):
            find_dataset(tmp_path, Sources(blocks=100))

    @pytest.mark.parametrize("options", [{"blocks": 8}, {"blocks": 40, "gap": -1}])
    def test_sizes_that_make_no_sense(self, options):
        with pytest.raises(ConfigError, match="accepted are blocks of 16 pixels or more"):
            Sources(**options)
