"""The synthetic pets: repeatable, well-formed, and not solved by colour and place alone."""

import re

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from tests.models.test_onnx_export import FORMATS
from unetkit.datasets import synthetic_pets
from unetkit.datasets.synthetic_pets import (
    BACKGROUND,
    BORDER,
    COATS,
    PET,
    synthetic_image,
    synthetic_pet,
    write_synthetic_pets,
)
from unetkit.errors import ConfigError, OutputExistsError

SIZES = [(16, 16), (16, 17), (17, 16), (33, 65), (128, 128), (200, 300), (300, 200), (16, 120)]


@pytest.fixture(scope="module")
def pets():
    """Ninety pictures with their trimaps, of the size people learn from."""
    return [synthetic_pet(index) for index in range(90)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_synthetic_pets(
        tmp_path_factory.mktemp("data") / "pets", count=11, height=32, width=40, seed=3
    )


def read_list(folder, part):
    lines = (folder / "annotations" / f"{part}.txt").read_text("utf-8").splitlines()
    return [line.split(" ") for line in lines]


class TestOnePicture:
    def test_the_same_seed_and_index_give_the_same_bytes(self):
        first, again = (synthetic_pet(4, height=48, width=64, seed=9) for _ in range(2))
        assert first[0].tobytes() == again[0].tobytes()
        assert first[1].tobytes() == again[1].tobytes()

    @pytest.mark.parametrize(("index", "seed"), [(5, 9), (4, 10), (9, 4)])
    def test_another_seed_or_index_gives_another_picture(self, index, seed):
        image, trimap = synthetic_pet(4, height=48, width=64, seed=9)
        other_image, other_trimap = synthetic_pet(index, height=48, width=64, seed=seed)
        assert (image != other_image).mean() > 0.5
        assert (trimap != other_trimap).any()

    def test_a_picture_does_not_depend_on_those_drawn_before_it(self):
        alone = synthetic_pet(7, height=32, width=32)[0]
        for index in range(7):
            synthetic_pet(index, height=32, width=32)
        np.testing.assert_array_equal(synthetic_pet(7, height=32, width=32)[0], alone)

    def test_numpy_global_generator_plays_no_part(self):
        np.random.seed(1)
        first = synthetic_pet(2, height=32, width=32)[0]
        np.random.seed(2)
        np.testing.assert_array_equal(synthetic_pet(2, height=32, width=32)[0], first)

    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_every_size_gives_an_image_and_all_three_classes(self, height, width):
        for index in range(4):
            image, trimap = synthetic_pet(index, height=height, width=width)
            assert image.shape == (height, width, 3)
            assert image.dtype == np.uint8
            assert trimap.shape == (height, width)
            assert trimap.dtype == np.uint8
            assert set(np.unique(trimap)) == {PET, BACKGROUND, BORDER}

    @pytest.mark.parametrize(("height", "width"), [(16, 8192), (8192, 16)])
    def test_the_longest_side_that_is_accepted_can_be_drawn(self, height, width):
        _, trimap = synthetic_pet(0, height=height, width=width)
        assert trimap.shape == (height, width)
        assert set(np.unique(trimap)) == {PET, BACKGROUND, BORDER}

    def test_the_smallest_pictures_keep_all_three_classes(self):
        for index in range(150):
            _, trimap = synthetic_pet(index, height=16, width=16)
            assert set(np.unique(trimap)) == {1, 2, 3}

    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_no_pet_pixel_touches_a_background_pixel(self, height, width):
        for index in range(4):
            trimap = synthetic_pet(index, height=height, width=width)[1].astype(int)
            # 1 beside 2 is the only pair of neighbours whose product is 2.
            assert (trimap[1:] * trimap[:-1] != PET * BACKGROUND).all()
            assert (trimap[:, 1:] * trimap[:, :-1] != PET * BACKGROUND).all()

    def test_a_scene_is_the_same_at_twice_the_size(self):
        for index in range(6):
            small = synthetic_pet(index, height=64, width=80)[1]
            large = synthetic_pet(index, height=128, width=160)[1]
            inside, outside = large[::2, ::2] == PET, large[::2, ::2] == BACKGROUND
            assert (small[inside] != BACKGROUND).mean() > 0.97
            assert (small[outside] != PET).mean() > 0.97

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"height": 15},
                "height is 15; accepted are whole numbers from 16 to 8192; give height=16 or more",
            ),
            (
                {"height": 8193},
                "height is 8193; accepted are whole numbers from 16 to 8192; "
                "give height=8192 or less",
            ),
            (
                {"width": 100_000},
                "width is 100000; accepted are whole numbers from 16 to 8192; "
                "give width=8192 or less",
            ),
            (
                {"width": 0},
                "width is 0; accepted are whole numbers from 16 to 8192; give width=16 or more",
            ),
            ({"width": 64.0}, "width is 64.0; accepted are whole numbers from 16 to 8192"),
            ({"seed": -1}, "seed is -1; accepted are whole numbers from 0; give seed=0 or more"),
            ({"index": -2}, "index is -2; accepted are whole numbers from 0"),
        ],
    )
    def test_a_number_out_of_range_is_refused(self, arguments, message):
        with pytest.raises(ConfigError, match=re.escape(message)):
            synthetic_pet(**{"index": 0, **arguments})


class TestWhatTheSetIsLike:
    def test_classes_cover_about_the_area_of_the_published_trimaps(self, pets):
        pet, background, border = (
            np.mean([(trimap == value).mean() for _, trimap in pets])
            for value in (PET, BACKGROUND, BORDER)
        )
        assert 0.25 < pet < 0.35
        assert 0.08 < border < 0.13
        assert 0.55 < background < 0.67

    def test_the_border_widens_with_the_picture(self):
        shares = [
            np.mean([(synthetic_pet(i, height=h, width=h)[1] == BORDER).mean() for i in range(12)])
            for h in (96, 192)
        ]
        # A band of constant width in pixels would halve its share.
        assert shares[1] > 0.75 * shares[0]

    def test_animals_stand_in_different_places(self, pets):
        centres = np.array([np.argwhere(trimap == PET).mean(0) for _, trimap in pets]) / 128
        assert (centres.std(0) > 0.07).all()

    def test_size_of_the_animals_varies(self, pets):
        shares = np.array([(trimap == PET).mean() for _, trimap in pets])
        assert shares.min() < 0.15
        assert shares.max() > 0.42

    def test_mean_colours_of_animal_and_background_overlap(self, pets):
        # Brighter than the background about as often as darker, so brightness tells nothing.
        brighter = [
            image[trimap == PET].mean() > image[trimap == BACKGROUND].mean()
            for image, trimap in pets
        ]
        assert 0.25 < np.mean(brighter) < 0.8

    @pytest.mark.parametrize("degree", [1, 2])
    @pytest.mark.parametrize("border", ["foreground", "background", "ignored"])
    def test_colour_and_place_of_a_pixel_do_not_find_the_animal(self, pets, degree, border):
        rng = np.random.default_rng(0)
        train = [sample_pixels(*pet, 250, border, rng) for pet in pets[:60]]
        test = [sample_pixels(*pet, 2000, border, rng) for pet in pets[60:]]
        (features, truth), (unseen, unseen_truth) = (
            [np.concatenate(parts) for parts in zip(*pairs, strict=True)] for pairs in (train, test)
        )
        model = make_pipeline(
            StandardScaler(),
            PolynomialFeatures(degree, include_bias=False),
            LogisticRegression(max_iter=300),
        ).fit(features, truth)
        found = model.predict(unseen)
        iou = (found & unseen_truth).sum() / (found | unseen_truth).sum()
        assert iou < 0.5


def sample_pixels(image, trimap, count, border, rng):
    """Red, green, blue, row and column of random pixels, (N, 5), and whether each is foreground."""
    places = np.indices(trimap.shape).reshape(2, -1).T
    features = np.hstack([image.reshape(-1, 3), places]).astype(float)
    values = trimap.ravel()
    kept = np.flatnonzero(values != BORDER) if border == "ignored" else np.arange(values.size)
    chosen = rng.choice(kept, count, replace=False)
    foreground = values == PET
    if border == "foreground":
        foreground |= values == BORDER
    return features[chosen], foreground[chosen]


class TestTheFolder:
    def test_it_has_the_layout_of_the_published_set(self, folder):
        assert sorted(p.name for p in folder.iterdir()) == ["README.txt", "annotations", "images"]
        assert sorted(p.name for p in (folder / "annotations").iterdir()) == [
            "test.txt",
            "trainval.txt",
            "trimaps",
        ]

    def test_every_image_has_its_trimap_by_name(self, folder):
        images = {path.stem for path in (folder / "images").glob("*.jpg")}
        trimaps = {path.stem for path in (folder / "annotations" / "trimaps").glob("*.png")}
        assert len(images) == 11
        assert images == trimaps

    def test_the_lists_share_no_name_and_leave_none_out(self, folder):
        trainval, test = ({row[0] for row in read_list(folder, p)} for p in ("trainval", "test"))
        # round(11 * 0.2) = 2
        assert (len(trainval), len(test)) == (9, 2)
        assert not trainval & test
        assert trainval | test == {path.stem for path in (folder / "images").iterdir()}

    def test_lines_give_class_species_and_breed_that_fit_the_name(self, folder):
        breeds = [("cat", coat) for coat in COATS["cat"]] + [("dog", coat) for coat in COATS["dog"]]
        for name, class_id, species, breed in (
            row for part in ("trainval", "test") for row in read_list(folder, part)
        ):
            found = re.fullmatch(r"synthetic_([a-z]+)_(cat|dog)_\d{4}", name)
            assert found is not None
            coat, kind = found.groups()
            assert breeds[int(class_id) - 1] == (kind, coat)
            assert species == {"cat": "1", "dog": "2"}[kind]
            assert COATS[kind][int(breed) - 1] == coat

    def test_files_hold_what_synthetic_pet_draws(self, folder):
        for path in (folder / "annotations" / "trimaps").iterdir():
            image, trimap = synthetic_pet(int(path.stem[-4:]), height=32, width=40, seed=3)
            np.testing.assert_array_equal(np.asarray(Image.open(path)), trimap)
            photo = np.asarray(Image.open(folder / "images" / f"{path.stem}.jpg")).astype(int)
            # JPEG halves the resolution of colour and rounds; a wrong picture differs by 50.
            assert np.abs(photo - image).mean() < 10

    def test_the_readme_says_that_the_set_is_synthetic_and_names_the_seed(self, folder):
        text = (folder / "README.txt").read_text("utf-8")
        assert "synthetic" in text
        assert "unetkit" in text
        assert "seed 3" in text

    def test_a_longer_set_begins_with_the_same_pictures(self, folder, tmp_path):
        longer = write_synthetic_pets(tmp_path / "more", count=13, height=32, width=40, seed=3)
        for path in (folder / "images").iterdir():
            assert (longer / "images" / path.name).read_bytes() == path.read_bytes()

    def test_both_lists_get_a_picture_whatever_the_fraction(self, tmp_path):
        for fraction in (0.01, 0.99):
            made = write_synthetic_pets(
                tmp_path / str(fraction), count=2, height=16, width=16, test_fraction=fraction
            )
            assert len(read_list(made, "trainval")) == len(read_list(made, "test")) == 1

    def test_an_empty_folder_is_filled_and_missing_parents_are_made(self, tmp_path):
        (tmp_path / "empty").mkdir()
        for target in (tmp_path / "empty", tmp_path / "a" / "b"):
            assert write_synthetic_pets(target, count=2, height=16, width=16) == target
            assert (target / "README.txt").is_file()

    def test_a_folder_with_something_in_it_is_refused_and_untouched(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine", "utf-8")
        message = (
            f"{tmp_path} exists and is not an empty folder; accepted is a new or an empty folder; "
            "give another name, or remove it first"
        )
        with pytest.raises(OutputExistsError, match=re.escape(message)):
            write_synthetic_pets(tmp_path, count=2)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_a_file_in_the_folders_place_is_refused(self, tmp_path):
        (tmp_path / "pets").write_text("mine", "utf-8")
        with pytest.raises(OutputExistsError, match="pets exists and is not an empty folder"):
            write_synthetic_pets(tmp_path / "pets", count=2)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"count": 1},
                "count is 1; accepted are whole numbers from 2; give count=2 or more",
            ),
            ({"height": 8}, "height is 8; accepted are whole numbers from 16 to 8192"),
            ({"width": 8}, "width is 8; accepted are whole numbers from 16 to 8192"),
            (
                {"height": 8193},
                "height is 8193; accepted are whole numbers from 16 to 8192; "
                "give height=8192 or less",
            ),
            (
                {"width": 8193},
                "width is 8193; accepted are whole numbers from 16 to 8192; "
                "give width=8192 or less",
            ),
            ({"seed": -1}, "seed is -1; accepted are whole numbers from 0"),
            (
                {"test_fraction": 1.0},
                "test_fraction is 1.0; accepted are numbers above 0 and below 1; "
                "give the fraction of test images, such as 0.2",
            ),
        ],
    )
    def test_a_number_out_of_range_is_refused_before_anything_is_written(
        self, tmp_path, arguments, message
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            write_synthetic_pets(tmp_path / "pets", **{"count": 2, **arguments})
        assert not list(tmp_path.iterdir())

    def test_a_failure_on_the_way_leaves_nothing_behind(self, tmp_path, monkeypatch):
        def fail_at_the_third(index, **size):
            if index == 2:
                raise OSError("the disk is full")
            return synthetic_pet(index, **size)

        monkeypatch.setattr(synthetic_pets, "synthetic_pet", fail_at_the_third)
        with pytest.raises(OSError, match="the disk is full"):
            write_synthetic_pets(tmp_path / "pets", count=4, height=16, width=16)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_synthetic_images_are_spread_over_the_levels(name):
    pixels = FORMATS[name]
    image = synthetic_image(0, pixels)
    assert image.shape == (256, 256, pixels.channels)
    assert image.dtype == pixels.dtype
    photo = synthetic_pet(0, height=256, width=256)[0][..., np.arange(pixels.channels) % 3]
    # Levels may reach beyond the type's range, by 78.5 / 3078.5 of 255 at most: 6.5.
    assert np.abs(pixels.scaled(image) - photo).max() < 7
