"""The synthetic cells: repeatable, well-formed, touching, and not solved by a threshold."""

import re
import tomllib

import cv2
import numpy as np
import pytest
from PIL import Image

from unetkit.datasets import synthetic_cells as cells
from unetkit.datasets.cell_scene import DISHES, OFFSET, WHITE
from unetkit.datasets.synthetic_cells import synthetic_cells, write_synthetic_cells
from unetkit.errors import ConfigError, OutputExistsError

SIZES = [(16, 16), (16, 17), (17, 16), (16, 150), (150, 16), (64, 64), (100, 260), (256, 256)]


@pytest.fixture(scope="module")
def fields():
    """Eight pictures of each dish with their labels, of the size people learn from."""
    return [synthetic_cells(index) for index in range(8 * DISHES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_synthetic_cells(
        tmp_path_factory.mktemp("data") / "cells", count=9, height=48, width=56, bits=16, seed=3
    )


def contacts(labels):
    """Pairs of numbers of cells that share a side of a pixel, smaller first."""
    sides = [(labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])]
    pairs = np.concatenate([np.stack((a.ravel(), b.ravel()), 1) for a, b in sides])
    pairs = pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs > 0).all(1)]
    return np.unique(np.sort(pairs, 1), axis=0)


def best_threshold(image, labels):
    """Foreground IoU of the grey value that parts cells and background best, and what it finds."""
    cell = labels > 0
    found = {value: image >= value for value in range(1, 256)}
    scores = {value: (cell & mask).sum() / (cell | mask).sum() for value, mask in found.items()}
    best = max(scores, key=scores.__getitem__)
    return scores[best], found[best]


def share_of_cells_found(objects, labels):
    """Cells that an object covers with an IoU above one half, by all cells."""
    both = np.zeros((objects.max() + 1, int(labels.max()) + 1))
    np.add.at(both, (objects.ravel(), labels.ravel()), 1)
    either = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    return ((both / either)[1:, 1:].max(0) > 0.5).mean()


class TestOnePicture:
    def test_the_same_seed_and_index_give_the_same_bytes(self):
        first, again = (synthetic_cells(4, height=48, width=64, seed=9) for _ in range(2))
        assert first[0].tobytes() == again[0].tobytes()
        assert first[1].tobytes() == again[1].tobytes()

    @pytest.mark.parametrize(("index", "seed"), [(5, 9), (8, 9), (4, 10), (9, 4)])
    def test_another_seed_or_index_gives_another_picture(self, index, seed):
        image, labels = synthetic_cells(4, height=48, width=64, seed=9)
        other_image, other_labels = synthetic_cells(index, height=48, width=64, seed=seed)
        assert (image != other_image).mean() > 0.5
        assert ((labels > 0) != (other_labels > 0)).mean() > 0.1

    def test_a_picture_does_not_depend_on_those_drawn_before_it(self):
        alone = synthetic_cells(7, height=32, width=32)[0]
        for index in range(7):
            synthetic_cells(index, height=32, width=32)
        np.testing.assert_array_equal(synthetic_cells(7, height=32, width=32)[0], alone)

    def test_numpy_global_generator_plays_no_part(self):
        np.random.seed(1)
        first = synthetic_cells(2, height=32, width=32)[0]
        np.random.seed(2)
        np.testing.assert_array_equal(synthetic_cells(2, height=32, width=32)[0], first)

    @pytest.mark.parametrize(("height", "width"), SIZES)
    @pytest.mark.parametrize("bits", [8, 16])
    def test_every_size_gives_an_image_and_labels_of_their_types(self, height, width, bits):
        for index in range(DISHES):
            image, labels = synthetic_cells(index, height=height, width=width, bits=bits)
            assert image.shape == labels.shape == (height, width)
            assert image.dtype == {8: np.uint8, 16: np.uint16}[bits]
            assert labels.dtype == np.uint16

    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_labels_are_consecutive_and_each_is_one_connected_piece(self, height, width):
        for index in range(DISHES):
            labels = synthetic_cells(index, height=height, width=width)[1]
            numbers = np.unique(labels)
            assert labels.max() >= 1
            np.testing.assert_array_equal(numbers[numbers > 0], np.arange(1, labels.max() + 1))
            for number in numbers[numbers > 0]:
                mine = (labels == number).astype(np.uint8)
                # OpenCV counts the background as a component too.
                assert cv2.connectedComponents(mine, connectivity=4)[0] == 2

    def test_the_smallest_pictures_hold_a_cell_and_some_background(self):
        for index in range(200):
            labels = synthetic_cells(index, height=16, width=16)[1]
            assert labels.max() >= 1
            assert (labels == 0).any()

    @pytest.mark.parametrize(("height", "width"), [(16, 8192), (8192, 16)])
    def test_the_longest_side_that_is_accepted_can_be_drawn(self, height, width):
        image, labels = synthetic_cells(0, height=height, width=width)
        assert image.shape == labels.shape == (height, width)
        assert labels.max() > 500

    def test_a_larger_picture_shows_more_cells_of_the_same_size(self):
        small, large = (synthetic_cells(1, height=h, width=h)[1] for h in (256, 768))
        areas = [np.median(np.bincount(labels.ravel())[1:]) for labels in (small, large)]
        # 9 times the area
        assert 6 < large.max() / small.max() < 12
        assert 0.7 < areas[1] / areas[0] < 1.4

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"height": 15},
                "height is 15; accepted are whole numbers from 16 to 8192; give height=16 or more",
            ),
            (
                {"width": 8193},
                "width is 8193; accepted are whole numbers from 16 to 8192; "
                "give width=8192 or less",
            ),
            ({"width": 64.0}, "width is 64.0; accepted are whole numbers from 16 to 8192"),
            ({"bits": 12}, "bits is 12; accepted are 8 and 16"),
            ({"bits": "8"}, "bits is '8'; accepted are 8 and 16"),
            ({"seed": -1}, "seed is -1; accepted are whole numbers from 0; give seed=0 or more"),
            ({"index": -2}, "index is -2; accepted are whole numbers from 0"),
        ],
    )
    def test_an_argument_out_of_range_is_refused(self, arguments, message):
        with pytest.raises(ConfigError, match=re.escape(message)):
            synthetic_cells(**{"index": 0, **arguments})


class TestTheCamera:
    def test_8_and_16_bits_show_the_same_counts_and_labels(self):
        for index in range(DISHES):
            shallow, labels = synthetic_cells(index, height=64, width=80)
            deep, same_labels = synthetic_cells(index, height=64, width=80, bits=16)
            np.testing.assert_array_equal(labels, same_labels)
            # The rule is fixed: 4095 is white whatever the picture's own maximum.
            np.testing.assert_array_equal(shallow, np.rint(deep * (255 / WHITE)))

    def test_16_bits_hold_12_and_few_pixels_are_white(self):
        for index in range(2 * DISHES):
            image = synthetic_cells(index, bits=16)[0]
            assert image.max() <= WHITE
            assert image.min() > OFFSET // 2
            assert (image == WHITE).mean() < 0.01
            assert np.quantile(image, 0.99) > WHITE / 3


class TestWhatTheSetIsLike:
    def test_cells_touch_in_nearly_all_pictures(self, fields):
        touching = [len(np.unique(contacts(labels))) / labels.max() for _, labels in fields]
        assert np.mean(np.array(touching) > 0.5) > 0.9
        assert np.mean(touching) > 0.8

    def test_cells_differ_in_size_and_brightness(self, fields):
        for image, labels in fields:
            areas = np.bincount(labels.ravel())[1:]
            light = np.bincount(labels.ravel(), image.ravel())[1:] / areas
            assert areas.std() > 0.25 * areas.mean()
            assert light.std() > 0.1 * light.mean()

    def test_some_cells_are_cut_by_the_edge(self, fields):
        for _, labels in fields:
            edge = np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1]))
            assert len(np.unique(edge[edge > 0])) >= 2

    def test_cells_stand_everywhere(self, fields):
        share = np.mean([labels > 0 for _, labels in fields], axis=0)
        blocks = share.reshape(4, 64, 4, 64).mean((1, 3))
        assert blocks.min() > 0.25
        assert blocks.max() < 0.8

    def test_the_best_threshold_of_each_picture_misses_the_foreground(self, fields):
        scores = [best_threshold(*field)[0] for field in fields]
        assert np.mean(scores) < 0.8

    def test_a_threshold_merges_cells(self, fields):
        found = []
        for image, labels in fields:
            mask = best_threshold(image, labels)[1].astype(np.uint8)
            objects = cv2.connectedComponents(mask, connectivity=4)[1]
            found.append(share_of_cells_found(objects, labels))
        assert np.mean(found) < 0.3

    def test_even_the_true_foreground_does_not_part_the_cells(self, fields):
        for _, labels in fields:
            pieces = cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=4)[0] - 1
            assert pieces < 0.6 * labels.max()

    def test_bright_background_outshines_dim_cells_in_most_pictures(self, fields):
        outshone = []
        for image, labels in fields:
            areas = np.bincount(labels.ravel())[1:]
            light = np.bincount(labels.ravel(), image.ravel())[1:] / areas
            # Noise averages out over 16 x 16 pixels without a cell.
            bare = cv2.erode((labels == 0).astype(np.uint8), np.ones((16, 16), np.uint8)) > 0
            background = cv2.blur(image.astype(np.float32), (16, 16))[bare].max()
            outshone.append((light < background).sum())
        assert np.mean(np.array(outshone) >= 2) > 0.85


class TestTheDishes:
    def test_fields_of_one_dish_resemble_each_other_more_than_those_of_another(self, fields):
        # Light from 4 x 4 places, cell size and coverage: the nearest other field, by dish.
        def describe(image, labels):
            light = image.reshape(4, 64, 4, 64).transpose(0, 2, 1, 3).reshape(16, -1)
            area = np.median(np.bincount(labels.ravel())[1:])
            return [*np.log(np.quantile(light, 0.1, axis=1)), np.log(area), (labels > 0).mean()]

        features = np.array([describe(*field) for field in fields])
        features = (features - features.mean(0)) / features.std(0)
        distance = np.linalg.norm(features[:, None] - features[None], axis=2)
        np.fill_diagonal(distance, np.inf)
        dishes = np.arange(len(fields)) % DISHES
        assert (dishes[distance.argmin(1)] == dishes).mean() > 0.8


class TestTheFolder:
    def test_it_has_the_layout_of_a_data_folder(self, folder):
        names = ["README.txt", "classes.toml", "images", "masks"]
        assert sorted(path.name for path in folder.iterdir()) == names

    def test_consecutive_pictures_are_spread_over_the_dishes(self, folder):
        expected = [f"dish{d}_field00{f}.tif" for d in range(1, 5) for f in (1, 2)]
        expected.insert(2, "dish1_field003.tif")
        for part in ("images", "masks"):
            assert sorted(path.name for path in (folder / part).iterdir()) == expected

    def test_files_hold_what_synthetic_cells_draws(self, folder):
        for path in (folder / "images").iterdir():
            dish, field = (int(text) for text in re.findall(r"\d+", path.stem))
            image, labels = synthetic_cells(
                4 * (field - 1) + dish - 1, height=48, width=56, bits=16, seed=3
            )
            for file, pixels in ((path, image), (folder / "masks" / path.name, labels)):
                stored = np.asarray(Image.open(file))
                assert stored.dtype == np.uint16
                np.testing.assert_array_equal(stored, pixels)

    def test_tifffile_reads_them_as_well(self, folder):
        tifffile = pytest.importorskip("tifffile")
        labels = synthetic_cells(0, height=48, width=56, seed=3)[1]
        stored = tifffile.imread(folder / "masks" / "dish1_field001.tif")
        assert stored.dtype == np.uint16
        np.testing.assert_array_equal(stored, labels)

    def test_8_bit_pictures_are_8_bit_files(self, tmp_path):
        made = write_synthetic_cells(tmp_path / "cells", count=1, height=16, width=20)
        image = Image.open(made / "images" / "dish1_field001.tif")
        assert (image.mode, image.size) == ("L", (20, 16))
        np.testing.assert_array_equal(image, synthetic_cells(0, height=16, width=20)[0])

    def test_masks_are_deflated(self, folder):
        path = folder / "masks" / "dish1_field001.tif"
        assert Image.open(path).info["compression"] == "tiff_adobe_deflate"
        assert path.stat().st_size < 48 * 56

    def test_classes_are_those_of_instances(self, folder):
        text = (folder / "classes.toml").read_text("utf-8")
        assert text == 'kind = "instances"\n\n[classes]\nbackground = 0\ncell = 1\n'
        assert tomllib.loads(text)["classes"] == {"background": 0, "cell": 1}

    def test_the_readme_says_that_the_set_is_synthetic_and_names_the_seed(self, folder):
        text = (folder / "README.txt").read_text("utf-8")
        for words in ("synthetic", "unetkit", "seed 3", "9 images of 48 x 56", "16 bits"):
            assert words in text

    def test_a_longer_set_begins_with_the_same_pictures(self, folder, tmp_path):
        longer = write_synthetic_cells(
            tmp_path / "more", count=11, height=48, width=56, bits=16, seed=3
        )
        for path in (folder / "images").iterdir():
            assert (longer / "images" / path.name).read_bytes() == path.read_bytes()

    def test_an_empty_folder_is_filled_and_missing_parents_are_made(self, tmp_path):
        (tmp_path / "empty").mkdir()
        for target in (tmp_path / "empty", tmp_path / "a" / "b"):
            assert write_synthetic_cells(str(target), count=1, height=16, width=16) == target
            assert (target / "README.txt").is_file()

    def test_a_folder_with_something_in_it_is_refused_and_untouched(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine", "utf-8")
        message = (
            f"{tmp_path} exists and is not an empty folder; accepted is a new or an empty folder; "
            "give another name, or remove it first"
        )
        with pytest.raises(OutputExistsError, match=re.escape(message)):
            write_synthetic_cells(tmp_path, count=1)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"count": 0}, "count is 0; accepted are whole numbers from 1; give count=1 or more"),
            ({"height": 8}, "height is 8; accepted are whole numbers from 16 to 8192"),
            ({"width": 8193}, "width is 8193; accepted are whole numbers from 16 to 8192"),
            ({"bits": 32}, "bits is 32; accepted are 8 and 16"),
            ({"seed": -1}, "seed is -1; accepted are whole numbers from 0"),
        ],
    )
    def test_an_argument_out_of_range_is_refused_before_anything_is_written(
        self, tmp_path, arguments, message
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            write_synthetic_cells(tmp_path / "cells", **{"count": 2, **arguments})
        assert not list(tmp_path.iterdir())

    def test_a_failure_on_the_way_leaves_nothing_behind(self, tmp_path, monkeypatch):
        def fail_at_the_third(index, **options):
            if index == 2:
                raise OSError("the disk is full")
            return synthetic_cells(index, **options)

        monkeypatch.setattr(cells, "synthetic_cells", fail_at_the_third)
        with pytest.raises(OSError, match="the disk is full"):
            write_synthetic_cells(tmp_path / "cells", count=4, height=16, width=16)
        assert not list(tmp_path.iterdir())
