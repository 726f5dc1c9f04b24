"""What names say, without any file: roles, splits, keys, and the patterns shown to people."""

import re
import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetkit.data.filenames import (
    affix_of,
    bare_image_stem,
    bare_mask_stem,
    common_start,
    likely_masks,
    numbered_stem,
    parse_path,
    split_of,
    stem_by,
    stem_role,
    without_splits,
)

NAMES = st.text(
    st.one_of(st.sampled_from("ab01_- .()*é"), st.characters(exclude_characters="/\0")), min_size=1
)
STEMS = st.lists(
    st.sampled_from(
        ["cat", "mask", "gt", "seg", "man_seg", "image", "t", "_", "-", " ", "0", "12"]
    ),
    min_size=1,
    max_size=5,
).map("".join)

OF_IMAGES = (
    "images Images imgs IMG photos raw JPEGImages leftImg8bit imagesTr train_images "
    "trainimages img_dir ISIC2018_Task1-2_Training_Input"
)

OF_MASKS = (
    "masks Labels annotations trimaps trimaps_approx SegmentationClass gtFine labelsTr GT/SEG "
    "01_GT/TRA 02_ST/SEG train_masks trainannot valannot test_labels ann_dir 1st_manual "
    "GroundTruth ground_truth ISIC2018_Task1_Training_GroundTruth"
)

OF_NEITHER = "cats imagine masked unlabelled segovia targeted 01 st testament"


def places(*paths):
    return [parse_path(PurePosixPath(path)) for path in paths]


class TestRoles:
    @pytest.mark.parametrize(
        "folder",
        OF_IMAGES.split(),
    )
    def test_folders_of_images(self, folder):
        assert places(f"{folder}/a.png")[0].role == "image"

    @pytest.mark.parametrize(
        "folder",
        OF_MASKS.split(),
    )
    def test_folders_of_masks(self, folder):
        assert places(f"{folder}/a.png")[0].role == "mask"

    @pytest.mark.parametrize("folder", OF_NEITHER.split())
    def test_folders_that_say_nothing(self, folder):
        assert places(f"{folder}/a.png")[0].role == ""

    def test_two_words_may_stand_for_one(self):
        assert places("Ground Truth/a.png")[0].role == "mask"

    def test_the_innermost_role_counts(self):
        assert places("images/masks/a.png")[0].role == "mask"
        assert places("Kvasir-SEG/images/a.png")[0].role == "image"

    def test_folders_that_all_files_lie_in_can_be_left_out(self):
        path = PurePosixPath("set_with_gt/train/benign/a.png")
        place = parse_path(path, skip=2)
        assert (place.role, place.split, place.full, place.path) == ("", "", ("benign",), path)


class TestSplitWords:
    @pytest.mark.parametrize(
        ("folder", "split"),
        [
            ("train", "train"),
            ("Training", "train"),
            ("train2017", "train"),
            ("stage1_train", "train"),
            ("imagesTr", "train"),
            ("images_val", "validation"),
            ("valid", "validation"),
            ("valannot", "validation"),
            ("test", "test"),
            ("labelsTs", "test"),
            ("trainval", "trainval"),
            ("trainers", ""),
            ("contest", ""),
            ("test_set", "test"),
            ("test_a", "test"),
            ("val_images_v2", "validation"),
            ("test_images_2", "test"),
            ("ISIC2018_Task1-2_Validation_Input", "validation"),
            ("test tubes", ""),
            ("images of test tubes", ""),
            ("training wheels", ""),
        ],
    )
    def test_words_for_splits(self, folder, split):
        assert places(f"{folder}/a.png")[0].split == split

    def test_a_word_that_is_no_split_stays_in_the_key(self):
        assert places("test tubes/a.png")[0].full == ("test tubes",)
        assert places("test tubes masks 1/a.png")[0].full == ("test_tubes_1",)

    def test_split_and_role_leave_no_key(self):
        for path in ("train/images/a.png", "images/train/a.png", "train_images/a.png"):
            assert places(path)[0].full == ()

    def test_polygon_files_tell_a_split_by_folder_or_name(self):
        for path in ("valid/_annotations.coco.json", "annotations/instances_val2017.json"):
            assert split_of(PurePosixPath(path)) == "validation"
        assert split_of(PurePosixPath("person_keypoints_train2017.json")) == "train"
        assert split_of(PurePosixPath("annotations/instances_default.json")) == ""

    def test_polygon_files_of_all_splits_have_one_pattern(self):
        shown = {
            without_splits(PurePosixPath(f"annotations/instances_{split}2017.json"))
            for split in ("train", "val", "test")
        }
        assert shown == {"annotations/instances_*.json"}


class TestKeys:
    def test_other_folders_stay_in_the_key(self):
        assert places("images/p1/s2/a.png")[0].full == ("p1", "s2")

    def test_words_beside_a_role_are_in_the_full_key_alone(self):
        (place,) = places("masks_p1/a.png")
        assert (place.full, place.bare) == (("p_1",), ())

    def test_patterns_star_what_differs(self):
        (place,) = places("train/slide 7/masks_v2/a.png")
        assert (place.full_pattern, place.bare_pattern) == ("*/masks_*", "*/masks_v2")

    def test_patterns_are_the_same_for_all_splits(self):
        shown = {place.full_pattern for place in places("trainannot/a.png", "testannot/a.png")}
        assert shown == {"*annot"}

    def test_composed_and_decomposed_letters_are_one_name(self):
        one, other = places("caf\u00e9/caf\u00e9.png", "cafe\u0301/cafe\u0301.png")
        assert (one.full, one.stem) == (other.full, other.stem)

    def test_common_folders_are_counted(self):
        assert common_start([("a", "b", "c"), ("a", "b"), ("a", "b", "d")]) == 2
        assert common_start([("ab",), ("abc",)]) == 0
        assert common_start([]) == 0

    @given(st.lists(NAMES, min_size=1, max_size=4))
    def test_any_path_can_be_read(self, names):
        place = parse_path(PurePosixPath(*(name.replace("..", "-") for name in names)))
        assert len(place.full) <= len(names)
        assert place.role in ("image", "mask", "")


class TestStems:
    @pytest.mark.parametrize(
        ("stem", "bare", "affix"),
        [
            ("cat_mask", "cat", "*_mask"),
            ("cat-Labels", "cat", "*-Labels"),
            ("cat.seg", "cat", "*.seg"),
            ("7gt", "7", "*gt"),
            ("mask_a", "a", "mask_*"),
            ("seg7", "7", "seg*"),
            ("man_seg002", "002", "man_seg*"),
            ("benign (1)_mask", "benign (1)", "*_mask"),
            ("benign (1)_mask_1", "benign (1)", "*_mask"),
            ("21_manual1", "21", "*_manual"),
            ("a_000_gtFine_labelIds", "a_000", "*_gtFine_labelIds"),
            ("a_000_gtFine_color", "a_000", "*_gtFine_color"),
            ("cat", "cat", ""),
            ("masked", "masked", ""),
            ("mask", "mask", ""),
            ("damask", "damask", ""),
        ],
    )
    def test_additions_of_masks(self, stem, bare, affix):
        assert (bare_mask_stem(stem), affix_of(stem)) == (bare, affix)

    @pytest.mark.parametrize(
        ("stem", "numbered"),
        [
            ("cat_mask_1", "cat_1"),
            ("cat_mask1", "cat_1"),
            ("cat-mask 07", "cat 07"),
            ("s_label_001", "s_001"),
            ("7gt2", "72"),
            ("cat_mask", ""),
            ("cat_1_mask", ""),
            ("cat_1", ""),
            ("mask_1", ""),
        ],
    )
    def test_numbers_of_masks_may_be_those_of_images(self, stem, numbered):
        assert numbered_stem(stem) == numbered

    @pytest.mark.parametrize(
        ("stem", "role"),
        [
            ("image", "image"),
            ("IMG", "image"),
            ("mask", "mask"),
            ("Ground Truth", "mask"),
            ("image_1", ""),
            ("cat_mask", ""),
            ("cat", ""),
            ("train", ""),
            ("_", ""),
        ],
    )
    def test_stems_that_are_words_for_roles(self, stem, role):
        assert stem_role(stem) == role

    @pytest.mark.parametrize(
        ("stem", "bare"),
        [
            ("t002", "002"),
            ("t2a", "t2a"),
            ("image_7", "7"),
            ("img7", "7"),
            ("5_sat", "5"),
            ("21_training", "21"),
            ("train-volume", "train"),
            ("case_003_0000", "case_003"),
            ("case_003_0001", "case_003"),
            ("case_003_0010", "case_003_0010"),
            ("a_000_leftImg8bit", "a_000"),
            ("imagine", "imagine"),
            ("tiger", "tiger"),
        ],
    )
    def test_additions_of_images(self, stem, bare):
        assert bare_image_stem(stem) == bare

    @given(STEMS)
    def test_an_addition_and_the_rest_make_the_stem(self, stem):
        bare, affix = bare_mask_stem(stem), affix_of(stem)
        assert bare
        if affix:
            # The number of one mask of several is in neither.
            assert re.fullmatch(re.escape(affix.replace("*", bare, 1)) + r"([-_ ]?\d{1,3})?", stem)
        else:
            assert bare == stem

    @pytest.mark.parametrize(
        ("pattern", "name", "stem"),
        [
            ("*_L.png", "cat_L.png", "cat"),
            ("labels/*_L", "cat_L.png", "cat"),
            ("labels/man_*", "man_7.png", "7"),
            ("_L", "cat_L.png", "cat"),
            ("1stHO", "cat_1stHO.png", "cat"),
            ("*", "cat.png", "cat"),
            ("*.png", "cat.png", "cat"),
            ("labels/", "cat.png", ""),
            ("GT/SEG", "cat.png", ""),
            ("*_R", "cat_L.png", ""),
            ("*a*", "cat.png", ""),
            ("", "cat.png", ""),
            ("*_L", "_L.png", ""),
            ("caf\u00e9_*", "cafe\u0301_1.png", "1"),
        ],
    )
    def test_the_star_of_a_pattern_tells_the_stem(self, pattern, name, stem):
        assert stem_by(pattern, name) == stem

    @given(st.sampled_from(["", "x_", "\u00e9"]), st.from_regex(r"[\w-]+", fullmatch=True))
    def test_the_star_is_all_between_its_neighbours(self, before, stem):
        stem = unicodedata.normalize("NFC", stem)
        assert stem_by(f"{before}*_L.png", f"{before}{stem}_L.png") == stem


class TestSuggestions:
    def test_what_is_beyond_the_image_stem_makes_a_pattern(self):
        images = places("a/cat.jpg", "a/dog.jpg")
        masks = places("b/cat_L.png", "b/dog_L.png", "b/HO_cat.png")
        assert likely_masks(images, masks) == ["*_L.png", "HO_*.png"]

    def test_names_that_occur_again_make_folders(self):
        files = places("x/1.png", "x/2.png", "y/2.png", "y/1.png", "y/3.png")
        assert likely_masks(files, files) == ["x/", "y/"]

    def test_equal_stems_beside_each_other_make_endings(self):
        files = places("a.jpg", "a.png")
        assert likely_masks(files, files) == ["*.jpg", "*.png"]

    def test_numbers_that_begin_alike_suggest_nothing(self):
        files = places(*(f"x/{i}.png" for i in range(1, 120)))
        assert likely_masks(files, files) == []

    def test_words_that_begin_alike_suggest_nothing(self):
        files = places("cat.png", "catalogue.png")
        assert likely_masks(files, files) == []
