"""Finding pairs: every layout that people have, what is ambiguous, and what makes no pair."""

import io
import json
import os
import re
import tempfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unetkit.data.dataset import find_dataset
from unetkit.data.filenames import bare_image_stem, bare_mask_stem, numbered_stem
from unetkit.data.pairs import Pair
from unetkit.data.sources import Sources, sort_files
from unetkit.errors import ConfigError, DataError, DataNotFoundError

REAL = Path(__file__).parents[3] / "shared" / "data"
_buffer = io.BytesIO()
Image.new("L", (4, 4)).save(_buffer, "PNG")
PICTURE = _buffer.getvalue()
LABELME = {"imagePath": "", "imageHeight": 4, "imageWidth": 4, "shapes": []}


def lay(folder, *paths):
    """Makes files: pictures by default, else what their ending says."""
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".json":
            file.write_text(json.dumps(LABELME))
        else:
            file.write_bytes(PICTURE)
    return folder


def coco(path, *names):
    record = [{"id": i, "file_name": name, "height": 4, "width": 4} for i, name in enumerate(names)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": record, "annotations": [], "categories": []}))


def stack(path, pages):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.new("L", (4, 4), page) for page in range(pages)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:])


def shown(dataset):
    """Image and mask within the data folder, by name."""
    return {
        pair.name: tuple(
            path.relative_to(dataset.folder).as_posix() for path in (pair.image, pair.mask)
        )
        for pair in dataset.pairs
    }


def kinds(dataset):
    return [problem.kind for problem in dataset.problems]


# Name, image and mask of each pair, by what the layout is called.
LAYOUTS = {
    "folders": [("a", "images/a.jpg", "masks/a.png"), ("b", "images/b.jpg", "masks/b.png")],
    "other words": [("a", "photos/a.jpeg", "Labels/a.bmp")],
    "trimaps": [("a", "images/a.jpg", "trimaps/a.png")],
    "approximate trimaps": [("a", "images/a.jpg", "trimaps_approx/a.png")],
    "annotations": [("a", "images/a.jpg", "annotations/trimaps/a.png")],
    "notebook": [("a", "images/original/a.jpg", "images/masks/a.png")],
    "masks in a folder": [("a", "a.jpg", "masks/a.png")],
    "two words": [("1", "Original/1.tif", "Ground Truth/1.tif")],
    "suffix": [("a", "a.jpg", "a_mask.png"), ("b", "b.jpg", "b_mask.png")],
    "prefix": [("a", "a.jpg", "mask_a.png"), ("b", "b.jpg", "mask_b.png")],
    "both bear a suffix": [
        ("1_sat", "1_sat.jpg", "1_mask.png"),
        ("2_sat", "2_sat.jpg", "2_mask.png"),
    ],
    "both bear a prefix": [("img1", "img1.png", "seg1.png"), ("img2", "img2.png", "seg2.png")],
    "suffix in folders": [
        ("p1/1", "p1/1.tif", "p1/1_mask.tif"),
        ("p2/1", "p2/1.tif", "p2/1_mask.tif"),
    ],
    "Carvana": [
        ("train/0c_01", "train/0c_01.jpg", "train_masks/0c_01_mask.gif"),
        ("train/0c_02", "train/0c_02.jpg", "train_masks/0c_02_mask.gif"),
    ],
    "Carvana of Kaggle": [
        ("train/0c_01", "train/train/0c_01.jpg", "train_masks/train_masks/0c_01_mask.gif"),
    ],
    "nnU-Net": [
        ("train/case_001_0000", "imagesTr/case_001_0000.png", "labelsTr/case_001.png"),
        ("test/case_002_0000", "imagesTs/case_002_0000.png", "labelsTs/case_002.png"),
    ],
    "Cityscapes": [
        (
            f"{split}/{city}/{city}_000_leftImg8bit",
            f"leftImg8bit/{folder}/{city}/{city}_000_leftImg8bit.png",
            f"gtFine/{folder}/{city}/{city}_000_gtFine_labelIds.png",
        )
        for folder, split in (("train", "train"), ("val", "validation"))
        for city in ("aachen", "bremen")
    ],
    "CamVid": [
        ("train/1", "train/1.png", "trainannot/1.png"),
        ("validation/1", "val/1.png", "valannot/1.png"),
        ("test/1", "test/1.png", "testannot/1.png"),
    ],
    "ADE20K": [
        ("train/1", "images/training/1.jpg", "annotations/training/1.png"),
        ("validation/1", "images/validation/1.jpg", "annotations/validation/1.png"),
    ],
    "MMSegmentation": [
        ("train/dir/1", "img_dir/train/1.jpg", "ann_dir/train/1.png"),
        ("validation/dir/1", "img_dir/val/1.jpg", "ann_dir/val/1.png"),
    ],
    "splits outside": [
        ("train/1", "train/images/1.png", "train/masks/1.png"),
        ("test/1", "test/images/1.png", "test/masks/1.png"),
    ],
    "splits inside": [
        ("train/1", "images/train/1.png", "masks/train/1.png"),
        ("test/1", "images/test/1.png", "masks/test/1.png"),
    ],
    "splits in one word": [
        ("train/1", "train_images/1.png", "train_labels/1.png"),
        ("validation/1", "val_images/1.png", "val_labels/1.png"),
    ],
    "splits of the images alone": [
        ("train/1", "train/1.png", "masks/1.png"),
        ("validation/2", "val/2.png", "masks/2.png"),
    ],
    "patients outside": [
        ("p1/0", "p1/images/0.png", "p1/masks/0.png"),
        ("p2/0", "p2/images/0.png", "p2/masks/0.png"),
    ],
    "patients inside": [
        ("p1/0", "images/p1/0.png", "masks/p1/0.png"),
        ("p2/0", "images/p2/0.png", "masks/p2/0.png"),
    ],
    "patients in one word": [
        ("p_1/0", "images_p1/0.png", "masks_p1/0.png"),
        ("p_2/0", "images_p2/0.png", "masks_p2/0.png"),
    ],
    "patients of the images alone": [
        ("p1/1_0", "images/p1/1_0.png", "masks/1_0.png"),
        ("p2/2_0", "images/p2/2_0.png", "masks/2_0.png"),
    ],
    "patients in one word beside their images": [
        ("p1/0", "p1/0.png", "p1_masks/0.png"),
        ("p2/0", "p2/0.png", "p2_masks/0.png"),
    ],
    "Potsdam": [
        (
            "2_Ortho_RGB/top_2_10_RGB",
            "2_Ortho_RGB/top_2_10_RGB.tif",
            "5_Labels_all/top_2_10_label.tif",
        ),
    ],
    "LoveDA": [
        ("train/Urban/png/0", "Train/Urban/images_png/0.png", "Train/Urban/masks_png/0.png"),
        ("train/Rural/png/0", "Train/Rural/images_png/0.png", "Train/Rural/masks_png/0.png"),
        ("validation/Rural/png/1", "Val/Rural/images_png/1.png", "Val/Rural/masks_png/1.png"),
    ],
    "GlaS": [
        ("testA_1", "testA_1.bmp", "testA_1_anno.bmp"),
        ("train_1", "train_1.bmp", "train_1_anno.bmp"),
    ],
    "ISIC 2018": [
        (
            "train/isic_2018_task_1_2/ISIC_7",
            "ISIC2018_Task1-2_Training_Input/ISIC_7.jpg",
            "ISIC2018_Task1_Training_GroundTruth/ISIC_7_segmentation.png",
        ),
        (
            "validation/isic_2018_task_1_2/ISIC_8",
            "ISIC2018_Task1-2_Validation_Input/ISIC_8.jpg",
            "ISIC2018_Task1_Validation_GroundTruth/ISIC_8_segmentation.png",
        ),
    ],
    "one folder around all": [
        ("normal/1", "Dataset_BUSI_with_GT/normal/1.png", "Dataset_BUSI_with_GT/normal/1_mask.png"),
        ("benign/1", "Dataset_BUSI_with_GT/benign/1.png", "Dataset_BUSI_with_GT/benign/1_mask.png"),
    ],
    "a telling folder around all": [("a", "Kvasir-SEG/images/a.jpg", "Kvasir-SEG/masks/a.jpg")],
    "LabelMe": [("a", "a.jpg", "a.json"), ("b", "b.jpg", "b.json")],
    "LabelMe in folders": [("a", "set/images/a.jpg", "set/labels/a.json")],
    "dots and letters": [("v1.2 ümläut", "images/v1.2 ümläut.jpg", "masks/v1.2 ümläut.png")],
    "numbers behind the word": [
        ("s_001", "s_001.png", "s_label_001.png"),
        ("s_002", "s_002.png", "s_label_002.png"),
    ],
    "numbers behind the word in folders": [("s_001", "images/s_001.png", "masks/s_label_001.png")],
    "a folder a sample": [
        ("p1", "p1/image.png", "p1/mask.png"),
        ("p2", "p2/image.png", "p2/mask.png"),
    ],
    "a folder a sample of a hospital": [
        ("a/p1", "a/p1/img.tif", "a/p1/label.png"),
        ("b/p1", "b/p1/img.tif", "b/p1/label.png"),
    ],
    "a folder for each sample of a split": [
        ("train/p1", "train/p1/image.png", "train/p1/mask.png"),
        ("test/p2", "test/p2/image.png", "test/p2/mask.png"),
    ],
    "one sample alone": [("image", "p1/image.png", "p1/mask.png")],
    "test tubes": [
        ("test tubes/1", "test tubes/images/1.png", "test tubes/masks/1.png"),
        ("flasks/1", "flasks/images/1.png", "flasks/masks/1.png"),
    ],
    "words for masks in stems": [("label_1", "images/label_1.png", "masks/label_1.png")],
}


class TestLayouts:
    @pytest.mark.parametrize("name", LAYOUTS)
    def test_pairs_are_found_in(self, tmp_path, name):
        lay(tmp_path, *(path for _, *files in LAYOUTS[name] for path in files))
        found = find_dataset(tmp_path)
        assert shown(found) == {pair: (image, mask) for pair, image, mask in LAYOUTS[name]}
        assert found.problems == ()
        splits = {pair: pair.split("/")[0] for pair, _, _ in LAYOUTS[name]}
        has_splits = bool({"test", "validation"} & set(splits.values()))
        assert found.splits == (splits if has_splits else {})

    def test_pascal_voc_with_its_lists(self, tmp_path):
        lay(tmp_path, *(f"VOC2012/JPEGImages/{i}.jpg" for i in range(5)))
        lay(tmp_path, *(f"VOC2012/SegmentationClass/{i}.png" for i in range(3)))
        lists = {"Segmentation": ("0", "1\n2"), "Main": ("1\n3", "0\n2\n4")}
        for task, (train, val) in lists.items():
            folder = tmp_path / "VOC2012" / "ImageSets" / task
            folder.mkdir(parents=True)
            for name, text in (("train", train), ("val", val), ("trainval", f"{train}\n{val}")):
                (folder / f"{name}.txt").write_text(text)
        (tmp_path / "VOC2012" / "Annotations").mkdir()
        text = "<annotation><object/></annotation>"
        (tmp_path / "VOC2012" / "Annotations" / "0.xml").write_text(text)
        found = find_dataset(tmp_path)
        assert found.splits == {"0": "train", "1": "validation", "2": "validation"}
        assert found.masks == "SegmentationClass"
        assert kinds(found) == ["unpaired image"] * 2

    def test_the_kaggle_copy_of_oxford_pets(self, tmp_path):
        trimaps = "annotations/annotations/trimaps"
        lay(tmp_path, "images/images/x.jpg", "images/images/y.jpg", "images/images/._x.jpg")
        lay(tmp_path, f"{trimaps}/x.png", f"{trimaps}/._x.png", f"{trimaps}/y.png")
        for split, name in (("trainval", "x"), ("test", "y")):
            text = f"{name} 1 1 1\ngone 2 1 1\n" if split == "test" else f"{name} 1 1 1\n"
            (tmp_path / f"annotations/annotations/{split}.txt").write_text(text)
        found = find_dataset(tmp_path)
        assert shown(found)["x"] == ("images/images/x.jpg", f"{trimaps}/x.png")
        assert found.splits == {"x": "trainval", "y": "test"}
        assert found.categories == {"x": "1", "y": "1", "gone": "2"}
        assert found.problems == ()

    def test_the_cell_tracking_challenge_holds_objects(self, tmp_path):
        for film in ("01", "02"):
            lay(tmp_path, f"{film}/t000.tif", f"{film}/t001.tif", f"{film}_GT/SEG/man_seg001.tif")
        found = find_dataset(tmp_path)
        assert shown(found) == {
            f"{film}/t001": (f"{film}/t001.tif", f"{film}_GT/SEG/man_seg001.tif")
            for film in ("01", "02")
        }
        assert found.kind == "instances"
        assert kinds(found) == ["unpaired image"] * 2

    def test_masks_of_german_people_are_no_objects(self, tmp_path):
        lay(tmp_path, "images/a.png", "german_masks/a.png")
        found = find_dataset(tmp_path)
        assert (found.kind, found.masks) == (None, "german_masks")

    def test_an_image_called_test_is_no_test_split(self, tmp_path):
        lay(tmp_path, "images/test.png", "images/a.png", "masks/test.png", "masks/a.png")
        assert find_dataset(tmp_path).splits == {}


class TestManyImagesAFile:
    def test_coco_with_all_its_tasks(self, tmp_path):
        lay(tmp_path, "train2017/1.jpg", "val2017/2.jpg", "val2017/3.jpg")
        for task in ("instances", "person_keypoints"):
            coco(tmp_path / "annotations" / f"{task}_train2017.json", "1.jpg")
            coco(tmp_path / "annotations" / f"{task}_val2017.json", "2.jpg", "3.jpg")
        with pytest.raises(
            DataError, match=r"'annotations/instances_\*\.json' \(3 images\), .*key"
        ):
            find_dataset(tmp_path)
        found = find_dataset(tmp_path, Sources(masks="instances_"))
        assert found.splits == {
            "train/2017/1": "train",
            "validation/2017/2": "validation",
            "validation/2017/3": "validation",
        }
        assert found.pairs[0].mask.name == "instances_train2017.json"
        assert found.pairs[0].source.image == "1.jpg"

    def test_files_for_each_split_and_images_in_one_folder(self, tmp_path):
        lay(tmp_path, "images/1.jpg", "images/2.jpg")
        coco(tmp_path / "train.json", "1.jpg")
        coco(tmp_path / "val.json", "images/2.jpg")
        assert find_dataset(tmp_path).splits == {"train/1": "train", "validation/2": "validation"}

    def test_images_that_would_share_a_name_are_a_problem(self, tmp_path):
        lay(tmp_path, "a.jpg", "a.png", "b.jpg")
        coco(tmp_path / "all.json", "a.jpg", "a.png", "b.jpg")
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["b"]
        assert "2 pairs share the name 'a'" in found.problems[0].text

    def test_a_damaged_file_is_a_problem_and_not_the_end(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png")
        (tmp_path / "masks" / "b.json").write_text("{")
        coco(tmp_path / "masks" / "captions.json", "a.png")
        broken = {"images": [{"id": 1, "file_name": "c.png"}], "annotations": [{"caption": "x"}]}
        (tmp_path / "masks" / "captions.json").write_text(json.dumps(broken))
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["a"]
        assert kinds(found) == ["stray", "stray"]

    def test_a_damaged_file_counts_where_an_image_has_no_mask(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png", "images/b.png")
        (tmp_path / "masks" / "b.json").write_text("{")
        assert sorted(kinds(find_dataset(tmp_path))) == ["polygons", "unpaired image"]

    def test_a_log_in_json_lines_is_astray(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png")
        (tmp_path / "log.json").write_text('{"step": 1}\n{"step": 2}\n')
        found = find_dataset(tmp_path)
        assert kinds(found) == ["stray"]
        assert "log.json" in found.problems[0].text

    def test_a_damaged_file_alone_is_the_reason_given(self, tmp_path):
        lay(tmp_path, "images/a.png")
        (tmp_path / "labels.json").write_text("{")
        with pytest.raises(DataNotFoundError, match=r"contains no masks \(.*labels\.json: it can"):
            find_dataset(tmp_path)


class TestAmbiguity:
    @pytest.mark.parametrize(
        ("files", "options"),
        [
            (["a.jpg", "a.png"], {"*.jpg", "*.png"}),
            (["x/1.png", "x/2.png", "y/1.png", "y/2.png"], {"x/", "y/"}),
            (["bilder/s/1.png", "masken/s/1.png"], {"bilder/", "masken/"}),
            (["x/s/1.png", "x/t/1.png", "y/s/1.png", "y/t/1.png"], {"x/", "y/"}),
            (["0L.jpg", "0L_1stHO.png", "0L_2ndHO.png"], {"*_1stHO.png", "*_2ndHO.png"}),
            (["701_StillsRaw_full/1.png", "LabeledApproved_full/1_L.png"], {"*_L.png"}),
            (["train/1.png", "train_labels/1_L.png"], {"*_L.png"}),
            (["img/1.png", "ann/x-1.png"], {"x-*.png"}),
        ],
    )
    def test_unknown_names_suggest_options_and_each_works(self, tmp_path, files, options):
        lay(tmp_path, *files)
        with pytest.raises((DataError, DataNotFoundError), match="perhaps --masks") as caught:
            find_dataset(tmp_path)
        assert set(re.findall("--masks '([^']+)'", str(caught.value))) == options
        for option in options:
            pairs = find_dataset(tmp_path, Sources(masks=option)).pairs
            assert len(pairs) == len(files) // 2
            assert all(pair.image != pair.mask for pair in pairs)

    def test_both_options_decide_where_one_does_not(self, tmp_path):
        lay(tmp_path, "x/1.png", "y/1.png", "z/1.png")
        with pytest.raises(
            DataError, match=r"x/1\.png, .*z/1\.png: 2 images share a name.*--images"
        ):
            find_dataset(tmp_path, Sources(masks="y/"))
        found = find_dataset(tmp_path, Sources(images="x/", masks="y/"))
        assert list(shown(found).values()) == [("x/1.png", "y/1.png")]

    def test_several_channels_of_one_image_are_not_chosen_between(self, tmp_path):
        lay(tmp_path, *(f"imagesTr/c_000{i}.png" for i in range(3)), "labelsTr/c.png")
        with pytest.raises(DataError, match="3 images share a name"):
            find_dataset(tmp_path)
        found = find_dataset(tmp_path, Sources(images="*_0001.png"))
        assert [pair.image.name for pair in found.pairs] == ["c_0001.png"]

    def test_an_option_that_fits_nothing_says_so(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png")
        with pytest.raises(
            DataNotFoundError,
            match=r"contains no masks whose path contains 'labels'; .* of the masks with --masks",
        ):
            find_dataset(tmp_path, Sources(masks="labels"))
        with pytest.raises(
            DataNotFoundError, match=r"no images whose path contains '.*'; .*--images"
        ):
            find_dataset(tmp_path, Sources(images="photos"))


class TestWhatMakesNoPair:
    def test_two_images_of_one_name(self, tmp_path):
        lay(tmp_path, "images/a.jpg", "images/a.png", "masks/a.png", "images/b.jpg", "masks/b.png")
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["b"]
        assert "images/a.png, " in found.problems[0].text
        assert found.problems[0].text.endswith(": 2 images share a name")

    def test_several_masks_of_one_image(self, tmp_path):
        lay(tmp_path, "benign (1).png", "benign (1)_mask.png", "benign (1)_mask_1.png")
        lay(tmp_path, "benign (2).png", "benign (2)_mask.png")
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["benign (2)"]
        (problem,) = found.problems
        assert (problem.kind, len(problem.files)) == ("several files", 3)
        assert problem.text.endswith("benign (1)_mask_1.png: 2 masks share a name")

    def test_a_sample_folder_that_lacks_a_file_is_told(self, tmp_path):
        lay(tmp_path, "p1/image.png", "p1/mask.png", "p2/image.png", "p3/mask.png")
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["p1"]
        assert kinds(found) == ["unpaired image", "unpaired mask"]
        assert found.masks == "*/mask"
        assert shown(find_dataset(tmp_path, Sources(masks="*/mask"))) == shown(found)

    def test_empty_masks_of_several_files_are_asked_for(self, tmp_path):
        for i in ("0f", "1c"):
            lay(tmp_path, f"stage1_train/{i}/images/{i}.png")
            lay(tmp_path, *(f"stage1_train/{i}/masks/{i}{k}e.png" for k in range(3)))
        expected = "no image in .* has a mask: 2 .*; use --mask-files objects if each file is an ob"
        with pytest.raises(DataError, match=expected):
            find_dataset(tmp_path)

    def test_one_mask_for_images_of_several_patients(self, tmp_path):
        lay(tmp_path, "images/p1/0.png", "images/p2/0.png", "masks/0.png")
        with pytest.raises(
            DataError, match=r"no image in .* has exactly one mask \(.*2 images share a name"
        ):
            find_dataset(tmp_path)

    def test_names_without_any_match_are_shown(self, tmp_path):
        lay(tmp_path, "images/cat.png", "masks/dog.png")
        with pytest.raises(DataError, match=r"1 \(images/cat\.png first\) images, 1 \(masks/dog"):
            find_dataset(tmp_path)

    @pytest.mark.parametrize("missing", ["images", "masks"])
    def test_empty_folders_say_what_is_accepted(self, tmp_path, missing):
        (tmp_path / "images").mkdir()
        (tmp_path / "masks").mkdir()
        if missing == "masks":
            lay(tmp_path, "images/a.png")
        with pytest.raises(
            DataNotFoundError, match=f"contains no {missing}; accepted is a folder wi"
        ):
            find_dataset(tmp_path)

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(DataNotFoundError, match="nowhere does not exist; accepted is a folder"):
            find_dataset(tmp_path / "nowhere")

    def test_a_file_instead_of_a_folder(self, tmp_path):
        lay(tmp_path, "x.jpg")
        with pytest.raises(DataNotFoundError, match=r"x\.jpg is a file; accepted is a folder"):
            find_dataset(tmp_path / "x.jpg")


class TestWalking:
    def test_hidden_files_and_folders_are_passed_over(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png", ".cache/masks/a.png", "masks/._b.png")
        assert find_dataset(tmp_path).problems == ()

    def test_links_in_circles_end(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png")
        (tmp_path / "images" / "up").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "self").symlink_to("self")
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["a"]
        assert found.problems == ()

    def test_links_to_folders_elsewhere_are_followed(self, tmp_path):
        lay(tmp_path / "disk", "1/a.png", "2/a.png")
        (tmp_path / "data").mkdir()
        for link, target in (("images", "1"), ("masks", "2")):
            (tmp_path / "data" / link).symlink_to(tmp_path / "disk" / target)
        assert list(shown(find_dataset(tmp_path / "data"))) == ["a"]

    def test_a_folder_goes_by_its_own_name_and_not_by_a_link(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png")
        (tmp_path / "backup").symlink_to(tmp_path / "images")
        assert shown(find_dataset(tmp_path)) == {"a": ("images/a.png", "masks/a.png")}

    def test_a_folder_that_cannot_be_read_is_reported(self, tmp_path, monkeypatch):
        lay(tmp_path, "images/a.png", "masks/a.png", "images/locked/b.png")
        scandir = os.scandir

        def guarded(path):
            if Path(path).name == "locked":
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        found = find_dataset(tmp_path)
        assert list(shown(found)) == ["a"]
        (problem,) = found.problems
        assert problem.kind == "folder"
        assert re.search(r"locked cannot be read \(Permission denied\); its files", problem.text)

    def test_far_too_many_files_are_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr("unetkit.data.dataset.MAX_FILES", 3)
        lay(tmp_path, *(f"images/{i}.png" for i in range(4)))
        with pytest.raises(DataError, match="more than 3 files; accepted are fewer; give the"):
            find_dataset(tmp_path)


class TestStacks:
    def test_pages_become_pairs(self, tmp_path):
        stack(tmp_path / "train-volume.tif", 16)
        stack(tmp_path / "train-labels.tif", 16)
        stack(tmp_path / "test-volume.tif", 2)
        found = find_dataset(tmp_path)
        assert len(found.pairs) == 16
        assert found.pairs[10] == Pair(
            "train-volume_p010", tmp_path / "train-volume.tif", tmp_path / "train-labels.tif", 10
        )
        assert kinds(found) == ["unpaired image"]

    def test_another_number_of_pages_is_a_problem(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png")
        for folder, pages in (("images", 3), ("masks", 2)):
            stack(tmp_path / folder / "b.tif", pages)
        found = find_dataset(tmp_path)
        assert [pair.name for pair in found.pairs] == ["a"]
        assert re.search(r"b\.tif has 3 pages and its mask .* has 2", found.problems[0].text)

    def test_pages_may_be_channels_of_one_image(self, tmp_path):
        stack(tmp_path / "images" / "b.tif", 4)
        lay(tmp_path, "masks/b.png")
        (pair,) = find_dataset(tmp_path).pairs
        assert pair.page is None

    def test_a_page_that_has_another_images_name_is_a_problem(self, tmp_path):
        for folder in ("images", "masks"):
            stack(tmp_path / folder / "b.tif", 2)
            lay(tmp_path, f"{folder}/b_p001.png")
        found = find_dataset(tmp_path)
        assert [pair.name for pair in found.pairs] == ["b_p000"]
        assert kinds(found) == ["several files"]

    def test_a_damaged_picture_stays_a_pair_for_whoever_reads_it(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png")
        (tmp_path / "images" / "a.png").write_bytes(b"")
        assert [pair.name for pair in find_dataset(tmp_path).pairs] == ["a"]


class TestListsAndTables:
    def test_lists_decide_the_splits_and_what_they_leave_out_is_named(self, tmp_path):
        lay(tmp_path, *(f"{f}/{i}.png" for f in ("images", "masks") for i in "abcd"))
        (tmp_path / "train.txt").write_text("a\nb\n")
        (tmp_path / "test.txt").write_text("c\n")
        found = find_dataset(tmp_path)
        assert found.splits == {"a": "train", "b": "train", "c": "test"}
        assert [pair.name for pair in found.pairs] == ["a", "b", "c"]
        assert found.unlisted == ("d",)

    def test_lists_come_before_folders(self, tmp_path):
        lay(
            tmp_path,
            *(f"{split}/{f}/1.png" for split in ("train", "test") for f in ("images", "gt")),
        )
        (tmp_path / "val.txt").write_text("test/1\n")
        (tmp_path / "train.txt").write_text("train/1\n")
        assert find_dataset(tmp_path).splits == {"test/1": "validation", "train/1": "train"}

    def test_folders_of_train_alone_are_no_splits(self, tmp_path):
        lay(tmp_path, "train/images/1.png", "train/masks/1.png", "test/images/2.png")
        assert find_dataset(tmp_path).splits == {}

    @pytest.mark.parametrize("split", ["test", "val"])
    def test_beside_a_folder_of_test_or_validation_alone_all_is_for_training(self, tmp_path, split):
        lay(
            tmp_path, "images/1.png", "masks/1.png", f"{split}/images/1.png", f"{split}/masks/1.png"
        )
        found = find_dataset(tmp_path)
        whole = "validation" if split == "val" else split
        assert found.splits == {"1": "train", f"{whole}/1": whole}
        assert found.unlisted == ()

    def test_beside_folders_of_train_and_test_the_rest_is_in_no_split(self, tmp_path):
        for split in ("train/", "test/", ""):
            lay(tmp_path, f"{split}images/1.png", f"{split}masks/1.png")
        assert find_dataset(tmp_path).unlisted == ("1",)

    def test_beside_a_test_list_alone_all_is_for_training(self, tmp_path):
        lay(tmp_path, *(f"{f}/{i}.png" for f in ("images", "masks") for i in "abc"))
        (tmp_path / "test.txt").write_text("c\n")
        found = find_dataset(tmp_path)
        assert found.splits == {"a": "train", "b": "train", "c": "test"}
        assert found.unlisted == ()

    @pytest.mark.parametrize("option", ["images", "masks"])
    def test_options_for_a_folder_are_refused_with_a_table(self, tmp_path, option):
        lay(tmp_path, "x/1.png", "y/1.png")
        table = tmp_path / "pairs.csv"
        table.write_text("image,mask\nx/1.png,y/1.png\n")
        with pytest.raises(
            ConfigError,
            match=rf"--{option} is 'y/', but .*pairs\.csv is a table, .*"
            "; with a table, neither --images nor --masks is accepted; leave them out",
        ):
            find_dataset(table, Sources(**{option: "y/"}))
        assert len(find_dataset(table, Sources(channel_axis="last", skip_bad=True)).pairs) == 1

    def test_a_table_decides_everything(self, tmp_path):
        lay(tmp_path, "x/1.png", "y/one.png", "x/2.png", "y/two.png")
        stack(tmp_path / "x" / "3.tif", 2)
        stack(tmp_path / "y" / "3.tif", 2)
        table = tmp_path / "pairs.csv"
        table.write_text(
            "image,mask,name,split,group\nx/1.png,y/one.png,cat,train,p1\nx/2.png,y/two.png,,test,\n"
            "x/3.tif,y/3.tif,film,val,p2\nx/4.png,y/3.tif,,,\n"
        )
        found = find_dataset(table)
        assert (found.source, found.folder, found.label) == (table, tmp_path, "pairs")
        assert [pair.name for pair in found.pairs] == ["cat", "film_p000", "film_p001", "x/2"]
        assert found.splits == {
            "cat": "train",
            "film_p000": "validation",
            "film_p001": "validation",
            "x/2": "test",
        }
        assert found.groups == {"cat": "p1", "film_p000": "p2", "film_p001": "p2"}
        (problem,) = found.problems
        assert problem.kind == "missing"
        assert problem.text.endswith("x/4.png, which does not exist")

    @pytest.mark.parametrize("image", ["gone.png", "x" * 5000, "..", "a\0b"])
    def test_a_table_without_a_pair_is_refused(self, tmp_path, image):
        table = tmp_path / "pairs.tsv"
        table.write_text(f"image\tmask\n{image}\tmask.png\n")
        with pytest.raises(DataError, match=r"names no pair of existing files \(1 rows\)"):
            find_dataset(table)

    def test_a_table_that_does_not_exist(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"pairs\.csv does not exist"):
            find_dataset(tmp_path / "pairs.csv")


STEMS = st.lists(
    st.text("abgt01_- ()é", min_size=1, max_size=6).filter(lambda stem: stem.strip() == stem),
    min_size=1,
    max_size=8,
    unique=True,
)
FEW = settings(max_examples=60)


def empty_files(folder, paths):
    """Files without content: only their names matter."""
    for path in paths:
        file = Path(folder, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def found_or_refused(folder):
    """Names, images and masks of the pairs, and all files that make none."""
    try:
        found = find_dataset(folder)
    except (DataError, DataNotFoundError):
        return None
    return shown(found), {str(file) for problem in found.problems for file in problem.files}


class TestLaws:
    @FEW
    @given(
        STEMS,
        STEMS,
        st.sampled_from([("images/{}.png", "masks/{}.png"), ("{}.png", "{}_mask.png")]),
    )
    def test_different_stems_never_pair_and_no_file_is_lost(self, images, masks, layout):
        with tempfile.TemporaryDirectory() as folder:
            paths = {layout[0].format(stem) for stem in images}
            paths |= {layout[1].format(stem) for stem in masks}
            empty_files(folder, paths)
            result = found_or_refused(folder)
            if result is None:
                return
            pairs, left = result
            for image, mask in pairs.values():
                stem, other = PurePosixPath(image).stem, PurePosixPath(mask).stem
                assert {stem, bare_image_stem(stem)} & {
                    *(other, bare_mask_stem(other), numbered_stem(other))
                }
            used = {path for pair in pairs.values() for path in pair}
            assert len(used) == 2 * len(pairs)
            assert {str(Path(folder, path)) for path in paths - used} == left

    @FEW
    @given(STEMS, st.randoms())
    def test_order_and_new_names_change_nothing(self, stems, random):
        order = random.sample(range(len(stems)), len(stems))
        renamed = {f"x{order[i]}y": f"x{i}y" for i in range(len(stems))}
        results = []
        for names in (list(renamed), list(renamed.values())[::-1]):
            with tempfile.TemporaryDirectory() as folder:
                empty_files(folder, [f"images/{name}.jpg" for name in names])
                empty_files(folder, [f"masks/{name}.png" for name in reversed(names)])
                results.append(shown(find_dataset(folder)))
        assert results[0] == results[1]
        assert {renamed[name] for name in results[0]} == set(results[1])

    @FEW
    @given(
        st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), min_size=1),
        st.sets(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), min_size=1),
        st.sampled_from(
            [
                ("images/{}", "masks/{}"),
                ("{}/images", "{}/masks"),
                ("images_{}", "masks_{}"),
                ("{}_images", "{}_masks"),
                ("{}", "{}_masks"),
                ("{}", "masks/{}"),
                ("train/images/{}", "train/masks/{}"),
            ]
        ),
    )
    def test_patients_are_never_mixed(self, images, masks, layout):
        files = {f"{layout[0]}/{i}.png".format(f"p{p}"): (p, i) for p, i in images}
        files |= {f"{layout[1]}/{i}.png".format(f"p{p}"): (p, i) for p, i in masks}
        with tempfile.TemporaryDirectory() as folder:
            empty_files(folder, files)
            pairs, _ = found_or_refused(folder) or ({}, None)
        # A single folder of each may be of one patient whose name was written in two ways.
        alone = len({p for p, _ in images}) == len({p for p, _ in masks}) == 1
        if alone and "_" in layout[1]:
            return
        assert all(files[image] == files[mask] for image, mask in pairs.values())
        assert {files[image] for image, _ in pairs.values()} == images & masks


class TestRealData:
    """Folders beside the repository, as their users have them."""

    def find(self, name, **options):
        if not (REAL / name).is_dir():
            pytest.skip(f"{name} does not lie beside the repository")
        return find_dataset(REAL / name, Sources(**options))

    def test_pets(self):
        found = self.find("pets")
        counts = np.unique(list(found.splits.values()), return_counts=True)
        assert dict(zip(*map(list, counts), strict=True)) == {"test": 275, "trainval": 377}
        assert found.masks == "trimaps"
        assert found.problems == ()

    def test_approximate_pets(self):
        found = self.find("pets_extra")
        assert (len(found.pairs), found.masks, found.problems) == (250, "trimaps_approx", ())

    def test_membranes(self):
        found = self.find("isbi2012")
        assert (len(found.pairs), found.splits) == (30, {})
        assert kinds(found) == ["unpaired image"] * 30

    def test_cells_need_one_option(self):
        with pytest.raises(DataError, match=r"'\*_GT/SEG/man_seg\*' \(18 images\)"):
            self.find("dic-hela")
        found = self.find("dic-hela", masks="GT/SEG")
        assert (len(found.pairs), found.kind) == (18, "instances")
        assert len(self.find("dic-hela", masks="ST/SEG").pairs) == 168


def test_formats_that_are_not_read_are_named(tmp_path):
    for name in ("images/a.mat", "images/b.mat", "masks/a.czi"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    both = r"holds images that cannot be read \(2 \.mat; .*a\.mat first\) and masks that cannot be"
    with pytest.raises(DataNotFoundError, match=both):
        find_dataset(tmp_path)
    lay(tmp_path, "masks/a.png")
    with pytest.raises(DataNotFoundError, match=r"cannot be read \(2 \.mat; .* first\); accepted"):
        find_dataset(tmp_path)


def test_json_files_of_no_known_format_are_mentioned(tmp_path):
    lay(tmp_path, "images/a.png")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataNotFoundError, match=r"no masks \(but 1 \.json of no known format\)"):
        find_dataset(tmp_path)


def test_three_pages_with_one_mask_are_not_guessed(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for name, pages in (("a", 3), ("b", 5)):
        image = np.zeros((pages, 40, 44), np.uint8)
        tifffile.imwrite(tmp_path / f"images/{name}.tif", image, photometric="minisblack")
        tifffile.imwrite(tmp_path / f"masks/{name}.tif", np.zeros((40, 44), np.uint8))
    found = find_dataset(tmp_path)
    assert [(pair.name, pair.page) for pair in found.pairs] == [("b", None)]
    (problem,) = found.problems
    assert "has 3 pages and its mask" in problem.text
    assert "--channel-axis first" in problem.text
    decided = find_dataset(tmp_path, Sources(channel_axis="first"))
    assert [(pair.name, pair.page) for pair in decided.pairs] == [("a", None), ("b", None)]


class TestFormatsOfImages:
    def test_an_archive_of_numpy_is_a_pair(self, tmp_path):
        for name in "ab":
            np.savez(tmp_path / f"{name}.npz", image=np.ones((9, 9)), mask=np.zeros((9, 9), int))
        found = find_dataset(tmp_path)
        assert shown(found) == {name: (f"{name}.npz", f"{name}.npz") for name in "ab"}
        assert found.problems == ()

    @pytest.mark.parametrize(("pages", "is_pair"), [(np.eye(5)[0], True), (np.ones(5), False)])
    def test_pages_of_a_mask_are_its_classes_if_one_is_set_in_each_pixel(
        self, tmp_path, pages, is_pair
    ):
        lay(tmp_path, "images/a.png", "images/b.png", "masks/b.png")
        planes = np.tile(pages.astype(np.uint8)[:, None, None], (1, 4, 4))
        planes[:, 0, 0] = np.roll(planes[:, 0, 0], 1)
        with tifffile.TiffWriter(tmp_path / "masks" / "a.tif") as file:
            for plane in planes:
                file.write(plane, photometric="minisblack")
        found = find_dataset(tmp_path)
        assert ("a" in shown(found)) == is_pair
        assert kinds(found) == ([] if is_pair else ["pages"])

    def test_the_suffix_of_nifti_has_two_parts(self, tmp_path):
        files = [PurePosixPath("imagesTr/a_0000.nii.gz"), PurePosixPath("labelsTr/a.nii.gz")]
        found = sort_files(tmp_path, files, Sources(), [])
        assert next(iter(found.images.values())).stem == "a_0000"
        assert next(iter(found.masks.values())).stem == "a"

    def test_the_side_that_cannot_be_read_is_named(self, tmp_path):
        lay(tmp_path, "images/a.mat", "masks/a.png")
        with pytest.raises(DataNotFoundError, match=r"images that cannot be read \(1 \.mat; "):
            find_dataset(tmp_path)


class TestFormatsThatAreNotRead:
    def test_they_are_counted_by_kind(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/a.png")
        for name in ("images/b.czi", "images/c.czi", "images/d.mat", "images/e.svs"):
            (tmp_path / name).write_bytes(b"")
        (problem,) = find_dataset(tmp_path).problems
        assert problem.kind == "passed over"
        assert problem.text == (
            "2 .czi, 1 .mat (formats that are not read: convert them to TIFF or PNG); 1 .svs "
            "(TIFFs under another name: rename them to .tif)"
        )
        assert len(problem.files) == 4

    def test_they_are_not_the_reason_why_nothing_is_paired(self, tmp_path):
        lay(tmp_path, "images/a.png", "masks/b.png")
        (tmp_path / "images" / "c.czi").write_bytes(b"")
        with pytest.raises(DataError, match=r"no image in .* has a mask"):
            find_dataset(tmp_path)


def test_images_that_are_transparent_may_be_masks_themselves(tmp_path):
    for name in ("a", "b"):
        Image.new("RGBA", (4, 4), (9, 9, 9, 0)).save(tmp_path / f"{name}.png")
    with pytest.raises(DataNotFoundError, match="use --alpha-masks if the opacity of the images"):
        find_dataset(tmp_path)
    assert len(find_dataset(tmp_path, Sources(alpha_masks=True)).pairs) == 2
