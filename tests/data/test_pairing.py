"""Which mask belongs to which image, by their names alone."""

import json
import re
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_dataset import coco, kinds, lay, shown
from unetkit.data.dataset import find_dataset
from unetkit.data.pairing import match_masks
from unetkit.data.sources import Sources, sort_files
from unetkit.errors import DataError

STEADY = settings(derandomize=True, max_examples=50)
# Stems that have no word for image, mask or split.
STEMS = st.sets(st.sampled_from(["a", "b", "c", "kx", "ky", "kz"]), min_size=1)


def match(*names, folder=Path("data"), **options):
    """Masks of each image, by the pattern of the masks, as text."""
    sources = Sources(**options)
    found = sort_files(folder, [*map(PurePosixPath, names)], sources, [])
    return {
        pattern: {image.as_posix(): [m.as_posix() for m in masks] for image, masks in group.items()}
        for pattern, group in match_masks(folder, found, sources, []).items()
    }


class TestMatchMasks:
    def test_the_star_of_a_pattern_is_the_stem_in_common(self):
        files = ("x/one-1.png", "y/1-two.png")
        assert match(*files, images="one-*.png", masks="*-two.png") == {
            "*/*-two.png": {"x/one-1.png": ["y/1-two.png"]}
        }

    def test_patterns_name_the_folders_of_the_masks(self):
        files = ("images/a.jpg", "images/b.jpg", "annotations/trimaps/a.png")
        assert match(*files) == {
            "annotations/trimaps": {"images/a.jpg": ["annotations/trimaps/a.png"]}
        }

    def test_an_equal_stem_comes_before_one_without_its_affix(self):
        # Without "_sat" both images are called "cat".
        files = ("images/cat_sat.png", "images/cat.png", "masks/cat.png")
        assert match(*files) == {"masks": {"images/cat.png": ["masks/cat.png"]}}
        assert match(files[0], files[2]) == {"masks": {"images/cat_sat.png": ["masks/cat.png"]}}

    def test_equal_folders_come_before_a_file_elsewhere(self):
        files = ("images/p1/0.png", "images/p2/0.png", "masks/p1/0.png")
        assert match(*files) == {"masks/*": {"images/p1/0.png": ["masks/p1/0.png"]}}

    def test_a_mask_of_another_split_does_not_match(self):
        assert match("train/images/1.png", "test/masks/1.png") == {}
        assert match("train/images/1.png", "masks/1.png") == {
            "masks": {"train/images/1.png": ["masks/1.png"]}
        }

    def test_outer_folders_without_a_known_word_are_ignored_with_a_pattern(self):
        files = ("bilder/s/1.png", "bilder/t/1.png", "masken/s/1.png", "masken/t/1.png")
        assert match(*files) == {}
        assert match(*files, masks="masken/") == {
            "*/*": {
                "bilder/s/1.png": ["masken/s/1.png"],
                "bilder/t/1.png": ["masken/t/1.png"],
            }
        }

    def test_several_kinds_are_counted_in_the_message(self):
        files = ("images/a.png", "images/b.png", "masks/a.png", "trimaps/a.png", "trimaps/b.png")
        expected = (
            "data contains several kinds of masks: 'masks' (1 images), 'trimaps' (2 images); "
            "accepted is one; choose with --masks, as in --masks 'masks'"
        )
        with pytest.raises(DataError, match=f"^{re.escape(expected)}$"):
            match(*files)

    def test_kinds_of_different_images_are_no_conflict(self):
        files = ("images/a.png", "images/b.png", "masks/a.png", "trimaps/b.png")
        assert match(*files) == {
            "masks": {"images/a.png": ["masks/a.png"]},
            "trimaps": {"images/b.png": ["trimaps/b.png"]},
        }

    def test_masks_of_a_kind_that_is_not_chosen_are_forgotten(self):
        files = [*map(PurePosixPath, ("images/a.png", "masks/a.png", "masks_old/a.png"))]
        sources = Sources(masks="masks")
        found = sort_files(Path("data"), files, sources, [])
        assert len(found.masks) == 2
        assert list(match_masks(Path("data"), found, sources, [])) == ["masks"]
        assert list(found.masks) == [PurePosixPath("masks/a.png")]

    @given(STEMS, STEMS, st.sampled_from(["images/{}.png masks/{}.png", "{}.png {}_mask.png"]))
    @STEADY
    def test_plain_stems_match_where_they_are_equal(self, images, masks, layout):
        image, mask = layout.split()
        if "/" not in mask:
            masks = masks & images  # beside an image of another name it is an image itself
        files = [image.format(stem) for stem in images] + [mask.format(stem) for stem in masks]
        found = [pair for group in match(*files).values() for pair in group.items()]
        expected = [(image.format(stem), [mask.format(stem)]) for stem in images & masks]
        assert sorted(found) == sorted(expected)

    @given(
        st.permutations(
            [
                "images/{0}/1.png",
                "images/{0}/2.png",
                "{0}_masks/1_mask.png",
                "images/q/1.png",
                "q_masks/1.png",
                "notes.txt",
            ]
        )
    )
    @STEADY
    def test_the_order_of_the_files_changes_nothing(self, files):
        files = [file.format("p") for file in files]
        assert match(*files) == match(*sorted(files))

    def test_pairs_match_by_stem_and_not_by_order(self, tmp_path):
        lay(tmp_path, *(f"images/{i}.png" for i in "abc"), *(f"masks/{i}.png" for i in "abc"))
        lay(tmp_path, "images/aa.png", "masks/bb.png")  # each shifts the order by one
        found = find_dataset(tmp_path)
        assert shown(found) == {i: (f"images/{i}.png", f"masks/{i}.png") for i in "abc"}
        assert {p.kind: [file.name for file in p.files] for p in found.problems} == {
            "unpaired image": ["aa.png"],
            "unpaired mask": ["bb.png"],
        }
        assert found.problems[0].text.endswith("images/aa.png has no mask")

    def test_composed_and_decomposed_letters_are_one_name(self, tmp_path):
        lay(tmp_path, "images/caf\u00e9/\u00fc.png", "masks/cafe\u0301/u\u0308.png")
        assert [pair.name for pair in find_dataset(tmp_path).pairs] == ["caf\u00e9/\u00fc"]

    def test_a_mask_never_goes_to_another_patient(self, tmp_path):
        lay(tmp_path, "images_p1/0.png", "images_p1/1.png", "masks_p1/0.png")
        lay(tmp_path, "images_p2/0.png", "masks_p2/0.png", "masks_p2/1.png")
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["p_1/0", "p_2/0"]
        assert sorted(kinds(found)) == ["unpaired image", "unpaired mask"]

    def test_a_mask_of_another_kind_is_no_image(self, tmp_path):
        lay(tmp_path, "a.png", "a_mask.png", "a_seg.png")
        assert kinds(find_dataset(tmp_path, Sources(masks="_seg"))) == []

    def test_a_number_that_image_or_mask_may_own_is_ambiguous(self, tmp_path):
        lay(tmp_path, "images/cat.png", "images/cat_1.png", "masks/cat_mask_1.png")
        lay(tmp_path, "images/dog.png", "masks/dog_mask.png")
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["dog"]
        assert set(kinds(found)) == {"several files"}
        assert found.problems[0].text.endswith("cat_mask_1.png: 2 images share a name")

    @pytest.mark.parametrize(
        ("masks", "expected"),
        [
            (("cat_mask", "cat_mask_1"), {"cat": "cat_mask", "cat_1": "cat_mask_1"}),
            (("cat_1_mask", "cat_mask_1"), {"cat": "cat_mask_1", "cat_1": "cat_1_mask"}),
            (("cat_1_mask", "cat_mask", "cat_mask_1"), {}),
        ],
    )
    @pytest.mark.parametrize("layout", ["images/{}.png masks/{}.png", "{}.png {}.png"])
    def test_the_other_masks_may_tell_whose_a_number_is(self, tmp_path, masks, expected, layout):
        image, mask = layout.split()
        lay(tmp_path, *(image.format(name) for name in ("cat", "cat_1", "dog")))
        lay(tmp_path, *(mask.format(name) for name in (*masks, "dog_mask")))
        found = {
            name: PurePosixPath(files[1]).stem
            for name, files in shown(find_dataset(tmp_path)).items()
        }
        assert found == {**expected, "dog": "dog_mask"}


class TestFilesOfManyImages:
    def test_equal_names_go_to_the_folder_of_the_file(self, tmp_path):
        for split in ("train", "valid", "test"):
            lay(tmp_path, f"{split}/a.jpg")
            coco(tmp_path / split / "_annotations.coco.json", "a.jpg")
        assert shown(find_dataset(tmp_path)) == {
            f"{name}/a": (f"{split}/a.jpg", f"{split}/_annotations.coco.json")
            for name, split in (("train", "train"), ("validation", "valid"), ("test", "test"))
        }

    def test_equal_names_go_to_the_split_of_the_file(self, tmp_path):
        for split in ("train", "val"):
            lay(tmp_path, f"{split}/a.jpg")
            coco(tmp_path / "annotations" / f"{split}.json", "a.jpg")
        masks = {name: mask for name, (_, mask) in shown(find_dataset(tmp_path)).items()}
        assert masks == {
            "train/a": "annotations/train.json",
            "validation/a": "annotations/val.json",
        }

    def test_a_name_that_several_images_bear_is_a_problem(self, tmp_path):
        lay(tmp_path, "p1/a.jpg", "p2/a.jpg", "p2/b.jpg")
        coco(tmp_path / "all.json", "a.jpg", "b.jpg")
        found = find_dataset(tmp_path)
        assert shown(found) == {"p2/b": ("p2/b.jpg", "all.json")}
        (problem,) = (problem for problem in found.problems if problem.kind == "several files")
        assert re.search(
            r"names 'a\.jpg', which may be any of .*p1/a\.jpg, .*p2/a\.jpg", problem.text
        )

    def test_folders_in_the_file_tell_equal_names_apart(self, tmp_path):
        lay(tmp_path, "p1/a.jpg", "p2/a.jpg")
        coco(tmp_path / "all.json", "p1/a.jpg", "p2\\a.jpg")
        assert list(shown(find_dataset(tmp_path))) == ["p1/a", "p2/a"]

    def test_a_name_of_no_image_is_ignored(self, tmp_path):
        lay(tmp_path, "a.jpg")
        coco(tmp_path / "all.json", "a.jpg", "gone.jpg")
        assert match("a.jpg", "all.json", folder=tmp_path) == {"all.json": {"a.jpg": ["all.json"]}}

    def test_entries_that_belong_to_no_image_are_a_problem_of_their_own(self, tmp_path):
        record = {"images": [{"id": 1, "file_name": "a.jpg"}], "categories": []}
        record["annotations"] = [{"id": 3, "image_id": 2, "category_id": 1}]
        lay(tmp_path, "a.jpg")
        (tmp_path / "all.json").write_text(json.dumps(record))
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["a"]
        (problem,) = found.problems
        assert problem.kind == "unplaced"
        assert re.search(r"all\.json: annotation 3: image_id is 2; accepted", problem.text)

    def test_a_file_that_cannot_be_read_to_its_end_is_a_problem(self, tmp_path):
        record = {"id": 1, "file_name": "a.jpg", "height": 5, "width": 4}
        text = json.dumps({"images": [record], "annotations": [], "categories": 5})
        (tmp_path / "all.json").write_text(text)
        found = sort_files(
            tmp_path, [PurePosixPath("a.jpg"), PurePosixPath("all.json")], Sources(), []
        )
        problems = []
        assert match_masks(tmp_path, found, Sources(), problems) == {}
        (problem,) = problems
        assert problem.kind == "polygons"
        assert re.search(r"all\.json: categories is 5; accepted is a list", problem.text)


# Files, the number of pairs that each listed pattern gives, and the names of the pairs.
AMBIGUOUS = {
    "two folders of masks": (
        ["images/a.png", "masks/a.png", "trimaps/a.png"],
        {"masks": ["a"], "trimaps": ["a"]},
    ),
    "a folder whose name holds the other's": (
        ["images/a.png", "masks/a.png", "masks_old/a.png"],
        {"masks": ["a"], "masks_old": ["a"]},
    ),
    "a folder and a suffix in it": (
        ["images/a.png", "masks/a.png", "masks/a_mask.png"],
        {"masks": ["a"], "masks/*_mask": ["a"]},
    ),
    "two suffixes beside": (
        ["a.png", "a_mask.png", "a_seg.png", "b.png", "b_mask.png"],
        {"*_mask": ["a", "b"], "*_seg": ["a"]},
    ),
    "polygons beside masks": (
        ["a.jpg", "a_mask.png", "a.json"],
        {"*_mask": ["a"], "*.json": ["a"]},
    ),
    "Pascal VOC": (
        ["JPEGImages/a.jpg", "SegmentationClass/a.png", "SegmentationObject/a.png"],
        {"SegmentationClass": ["a"], "SegmentationObject": ["a"]},
    ),
    "Cityscapes": (
        [
            path
            for split in ("train", "val")
            for path in (
                f"leftImg8bit/{split}/ulm/u_0_leftImg8bit.png",
                *(f"gtFine/{split}/ulm/u_0_gtFine_{k}.png" for k in ("color", "labelIds")),
            )
        ],
        {
            f"gtFine/*/*_gtFine_{k}": [
                "train/ulm/u_0_leftImg8bit",
                "validation/ulm/u_0_leftImg8bit",
            ]
            for k in ("color", "labelIds")
        },
    ),
    "Cell Tracking Challenge": (
        [
            path
            for film in ("01", "02")
            for path in (
                f"{film}/t000.tif",
                f"{film}/t001.tif",
                f"{film}_GT/SEG/man_seg001.tif",
                f"{film}_GT/TRA/man_track000.tif",
                f"{film}_GT/TRA/man_track001.tif",
            )
        ],
        {
            "*_GT/SEG/man_seg*": ["01/t001", "02/t001"],
            "*_GT/TRA/man_track*": ["01/t000", "01/t001", "02/t000", "02/t001"],
        },
    ),
    "DRIVE": (
        [
            path
            for split, name in (("training", "21"), ("test", "01"))
            for path in (
                f"DRIVE/{split}/images/{name}_{split}.tif",
                f"DRIVE/{split}/1st_manual/{name}_manual1.gif",
                f"DRIVE/{split}/mask/{name}_{split}_mask.gif",
            )
        ],
        {
            "1st_manual/*_manual": ["test/01_test", "train/21_training"],
            "mask/*_mask": ["test/01_test", "train/21_training"],
        },
    ),
}


class TestSeveralKinds:
    @pytest.mark.parametrize("name", AMBIGUOUS)
    def test_kinds_of_masks_are_listed_and_each_can_be_chosen(self, tmp_path, name):
        files, patterns = AMBIGUOUS[name]
        lay(tmp_path, *files)
        with pytest.raises(
            DataError, match=r"contains several kinds of masks: .* --masks"
        ) as caught:
            find_dataset(tmp_path)
        listed = re.findall(r"'([^']+)' \((\d+) images\)", str(caught.value))
        assert {pattern: int(n) for pattern, n in listed} == {
            p: len(n) for p, n in patterns.items()
        }
        for pattern, names in patterns.items():
            found = find_dataset(tmp_path, Sources(masks=pattern))
            assert list(shown(found)) == names
            assert found.masks == pattern
            assert set(kinds(found)) <= {"unpaired image"}


class TestNumbers:
    @pytest.mark.parametrize(
        ("image", "mask"),
        [("{:03d}", "{}"), ("{}", "{:04d}"), ("img_{:03d}", "mask_{}"), ("day {:02d}", "day {}")],
    )
    def test_leading_zeros_do_not_matter(self, tmp_path, image, mask):
        for number in (1, 2, 10):
            lay(tmp_path, f"images/{image.format(number)}.png", f"masks/{mask.format(number)}.png")
        found = shown(find_dataset(tmp_path))
        assert sorted(found.values()) == sorted(
            (f"images/{image.format(n)}.png", f"masks/{mask.format(n)}.png") for n in (1, 2, 10)
        )

    @pytest.mark.parametrize(
        "files",
        [
            ["images/001.png", "images/01.png", "masks/1.png", "masks/2.png"],
            ["images/001.png", "images/002.png", "masks/1.png", "masks/3.png"],
            ["images/a/001.png", "images/b/002.png", "masks/a/1.png", "masks/a/2.png"],
            ["images/cat 01.png", "images/cat 02.png", "masks/dog 1.png", "masks/dog 2.png"],
        ],
    )
    def test_other_numbers_are_not_guessed(self, tmp_path, files):
        lay(tmp_path, *files)
        with pytest.raises(DataError, match=r"no image in .* has a mask"):
            find_dataset(tmp_path)

    @pytest.mark.parametrize(
        ("image", "mask", "options"),
        [
            ("x_{:04d}", "y_{:04d}", "--images 'x_*.png' --masks 'y_*.png'"),
            ("cat{}-red", "dog{}-blue", "--images 'cat*-red.png' --masks 'dog*-blue.png'"),
            ("{}_pre", "{}_post", "--images '*_pre.png' --masks '*_post.png'"),
        ],
    )
    def test_patterns_are_proposed_that_work(self, tmp_path, image, mask, options):
        for number in (1, 2, 10):
            lay(tmp_path, f"images/{image.format(number)}.png", f"masks/{mask.format(number)}.png")
        with pytest.raises(DataError, match=re.escape(f", perhaps {options}")):
            find_dataset(tmp_path)
        images, masks = re.findall("'([^']+)'", options)
        assert len(find_dataset(tmp_path, Sources(images=images, masks=masks)).pairs) == 3
