"""Which files of a folder are images and which are masks, by their names alone."""

import os
import re
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_dataset import coco, lay, shown
from unetkit.data.dataset import find_dataset
from unetkit.data.sources import SHOWN, Sources, list_some, sort_files
from unetkit.errors import ConfigError, DataError

STEADY = settings(derandomize=True, max_examples=50)


def sort(*names, folder=Path("data"), **options):
    """Images, masks and polygon files of many images, as text, and the problems."""
    problems = []
    found = sort_files(folder, [*map(PurePosixPath, names)], Sources(**options), problems)
    groups = (found.images, found.masks, found.documents)
    return *([path.as_posix() for path in group] for group in groups), problems


class TestOptions:
    def test_a_word_for_channels_that_is_none(self):
        with pytest.raises(ConfigError, match="channel_axis is 'middle'; accepted are auto, first"):
            Sources(channel_axis="middle")


class TestSortFiles:
    def test_words_in_folders_decide(self):
        images, masks, documents, problems = sort("readme.txt", "images/a.jpg", "labels/a.png")
        assert (images, masks) == (["images/a.jpg"], ["labels/a.png"])
        assert (documents, problems) == ([], [])

    def test_files_without_a_word_are_images_unless_others_are_named_so(self):
        assert sort("x/1.png", "2.png")[:2] == (["x/1.png", "2.png"], [])
        assert sort("images/1.png", "2.png")[:2] == (["images/1.png"], [])

    def test_a_word_in_a_folder_around_all_files_does_not_count(self):
        images, masks, *_ = sort("set_with_gt/a.png", "set_with_gt/a_mask.png")
        assert (images, masks) == (["set_with_gt/a.png"], ["set_with_gt/a_mask.png"])

    @pytest.mark.parametrize("mask", ["a_mask", "mask_a", "a-GT", "a_mask_1"])
    def test_a_mask_beside_its_image_is_known_by_its_affix(self, mask):
        assert sort("a.png", f"{mask}.png")[:2] == (["a.png"], [f"{mask}.png"])

    def test_a_name_with_an_affix_whose_image_is_absent_is_an_image(self):
        assert sort("a.png", "b_mask.png")[:2] == (["a.png", "b_mask.png"], [])

    def test_a_mask_alone_in_the_folder_of_a_sample_is_a_mask(self):
        images, masks, *_ = sort("p1/image.png", "p1/mask.png", "p2/mask.png")
        assert (images, masks) == (["p1/image.png"], ["p1/mask.png", "p2/mask.png"])

    def test_the_folder_of_a_sample_gives_its_name_to_both_files(self):
        files = [f"{sample}/{name}.png" for sample in ("p1", "p2") for name in ("image", "mask")]
        found = sort_files(Path("data"), [*map(PurePosixPath, files)], Sources(), [])
        places = [*found.images.values(), *found.masks.values()]
        assert [(place.stem, place.full) for place in places] == [("p1", ()), ("p2", ())] * 2

    def test_patterns_choose_before_words(self):
        files = ("labels/a_raw.png", "labels/a_seg.png", "images/b.png")
        assert sort(*files, images="_raw", masks="_seg")[:2] == (
            ["labels/a_raw.png"],
            ["labels/a_seg.png"],
        )

    def test_a_pattern_has_one_wildcard_and_heeds_the_case(self):
        files = ("m[1]/a.png", "m1/a.png", "M[1]/a.png")
        assert sort(*files, masks="m[1]/")[1] == ["m[1]/a.png"]
        assert sort(*files, masks="m?/")[1] == []
        assert sort(*files, masks="m*/")[1] == ["m[1]/a.png", "m1/a.png"]

    def test_polygon_files_of_one_image_are_masks_and_of_many_are_documents(self, tmp_path):
        lay(tmp_path, "a.jpg", "a.json")
        coco(tmp_path / "all.json", "a.jpg")
        (tmp_path / "log.json").write_text("{}")
        files = ("a.jpg", "a.json", "all.json", "log.json")
        images, masks, documents, problems = sort(*files, folder=tmp_path)
        assert (images, masks, documents) == (["a.jpg"], ["a.json"], ["all.json"])
        assert problems == []

    def test_a_damaged_polygon_file_is_a_problem_unless_the_pattern_excludes_it(self, tmp_path):
        (tmp_path / "b.json").write_text("{")
        (problem,) = sort("a.png", "b.json", folder=tmp_path)[3]
        assert (problem.kind, problem.files) == ("polygons", (tmp_path / "b.json",))
        assert problem.text.startswith(f"{tmp_path / 'b.json'}: it cannot be read")
        assert sort("a.png", "b.json", folder=tmp_path, masks="_mask")[3] == []

    @pytest.mark.parametrize("name", ["caf\udce9/a.png", "images/caf\udce9.png"])
    def test_a_name_that_is_not_utf_8_is_refused(self, name):
        expected = (
            f"data contains {name!a}, a name that is not UTF-8; accepted are UTF-8 names; "
            "rename the file or its folder"
        )
        with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
            sort("images/b.png", name)

    def test_a_name_in_another_encoding_is_refused(self, tmp_path):
        try:
            lay(tmp_path, os.fsdecode(b"images/caf\xe9.png"))
        except OSError:
            pytest.skip("this file system has names in UTF-8 alone")
        with pytest.raises(
            DataError, match=r"caf\\udce9\.png', a name that is not UTF-8; accepted"
        ):
            find_dataset(tmp_path)

    def test_a_class_file_is_no_mask(self, tmp_path):
        lay(tmp_path, "classes.jpg", "classes_mask.png", "classes.json")
        assert shown(find_dataset(tmp_path)) == {"classes": ("classes.jpg", "classes_mask.png")}

    def test_loose_files_at_the_root_are_no_images_beside_a_folder_of_them(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png", "logo.png", "preview_mask.png")
        (tmp_path / "README.md").write_text("masks")
        (tmp_path / "dataset.json").write_text('{"labels": {"background": 0}}')
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["a"]
        assert found.problems == ()

    def test_signs_of_shells_stand_for_themselves(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks [1]/a.png", "masks [2]/a.png")
        found = find_dataset(tmp_path, Sources(masks="masks [2]"))
        assert found.pairs[0].mask.parent.name == "masks [2]"

    def test_images_and_masks_of_one_folder_of_masks_can_be_told_apart(self, tmp_path):
        lay(tmp_path, "labels/a_raw.png", "labels/a_seg.png", "labels/a_edge.png", "x/readme.txt")
        found = find_dataset(tmp_path, Sources(images="_raw", masks="_seg"))
        assert list(shown(found).values()) == [("labels/a_raw.png", "labels/a_seg.png")]
        assert found.problems == ()


class TestLists:
    def test_names_up_to_the_limit_are_all_shown(self):
        assert list_some([]) == ""
        assert list_some(["a", Path("b") / "c"]) == f"a, {Path('b') / 'c'}"
        assert list_some("abcde") == "a, b, c, d, e"

    def test_further_names_are_counted(self):
        # 7 names less the 5 shown
        assert list_some("abcdefg") == "a, b, c, d, e and 2 more"

    @given(st.integers(SHOWN + 1, 50))
    @STEADY
    def test_shown_and_counted_names_are_all_names(self, count):
        text = list_some(range(count))
        shown_names, more = text.split(" and ")
        assert len(shown_names.split(", ")) + int(more.split()[0]) == count


def test_texts_and_tables_of_other_content_are_no_polygons(tmp_path):
    (tmp_path / "notes.txt").write_bytes("für später".encode("latin-1"))
    (tmp_path / "list.csv").write_text("image,mask\n")
    problems = []
    paths = [PurePosixPath("notes.txt"), PurePosixPath("list.csv")]
    found = sort_files(tmp_path, paths, Sources(), problems)
    assert (found.documents, found.masks, problems) == ([], {}, [])
