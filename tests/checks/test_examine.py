"""What is found in a data set: for each finding a folder that provokes it, and nothing else."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit._shared.display import Display
from unetkit.checks.examine import DatasetReport, examine
from unetkit.checks.issues import LEVELS, PROBLEMS, REMEDIES, Issue
from unetkit.checks.mask_issues import class_counts, object_areas
from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import Classes
from unetkit.data.dataset import Pair, Problem, Sources, find_dataset
from unetkit.data.splits import SplitRule
from unetkit.errors import ConfigError

SIZE = (24, 30)
COUNT = 14  # two more than are few


def noise(number: int, size: tuple[int, int] = SIZE, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size, channels), np.uint8)


def squares(*values: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Squares of 3 x 3 pixels of these values on 0, in rows of seven, none touching another."""
    mask = np.zeros(size, np.uint8)
    for place, value in enumerate(values):
        row, column = 4 * (place // 7), 4 * (place % 7)
        mask[row : row + 3, column : column + 3] = value
    return mask


def name_of(number: int) -> str:
    return f"photo_{number:02d}"


def image_path(data: Path, number: int, suffix: str = ".png") -> Path:
    return data / "images" / f"{name_of(number)}{suffix}"


def mask_path(data: Path, number: int, suffix: str = ".png") -> Path:
    return data / "masks" / f"{name_of(number)}{suffix}"


def write(data: Path, number: int, mask: np.ndarray | None = None) -> None:
    for folder in ("images", "masks"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(number)).save(image_path(data, number))
    Image.fromarray(squares(255) if mask is None else mask).save(mask_path(data, number))


@pytest.fixture
def data(tmp_path) -> Path:
    """Pairs of noise, in the masks of which is a square of 255."""
    for number in range(COUNT):
        write(tmp_path / "data", number)
    return tmp_path / "data"


def write_masks(data: Path, *masks: np.ndarray) -> None:
    """Replaces the masks, taking these in turn."""
    for number in range(COUNT):
        Image.fromarray(masks[number % len(masks)]).save(mask_path(data, number))


def write_lists(data: Path, test: int = 3, validation: int = 3, leave_out: int = 0) -> None:
    """The last pairs are for the test, those before them for validation."""
    names = [name_of(number) for number in range(COUNT)]
    first, second = COUNT - test - validation, COUNT - test
    (data / "train.txt").write_text("\n".join(names[leave_out:first]))
    (data / "val.txt").write_text("\n".join(names[first:second]))
    (data / "test.txt").write_text("\n".join(names[second:]))


def look_into(data: Path, rule: SplitRule | None = None, **classes) -> DatasetReport:
    sources = Sources()
    return examine(find_dataset(data, sources), sources, rule or SplitRule(), classes, Display())


def only(found: DatasetReport, code: str, level: str) -> Issue:
    """The one finding that there is."""
    assert [(one.code, one.level) for one in found.issues] == [(code, level)]
    return found.issues[0]


def test_nothing_is_found_in_a_clean_folder(data):
    found = look_into(data)
    assert found.issues == []
    assert found.classes == Classes(("background", "foreground"), (0, 255), background=0)
    assert found.format.channels == 3
    assert sum(map(len, found.split.splits.values())) == COUNT


def test_errors_come_first(data):
    image_path(data, 0).write_bytes(b"")
    Image.fromarray(noise(99)).save(image_path(data, 99))
    Image.fromarray(noise(1)[..., 0]).save(image_path(data, 1))
    found = look_into(data)
    assert [one.level for one in found.issues] == list(LEVELS)
    assert [one.code for one in found.errors] == ["unreadable"]


# Files


def test_images_without_masks_are_found(data):
    Image.fromarray(noise(99)).save(image_path(data, 99))
    issue = only(look_into(data), "unpaired-image", "warning")
    assert issue.names == (str(image_path(data, 99)),)
    assert "nothing, if they are for prediction" in issue.remedy


def test_masks_without_images_are_found(data):
    image_path(data, 13).unlink()
    issue = only(look_into(data), "unpaired-mask", "warning")
    assert issue.names == (str(mask_path(data, 13)),)
    assert issue.text.startswith("1 mask has no image: ")


def test_two_images_of_one_name_are_found(data):
    Image.fromarray(noise(0)).save(image_path(data, 0, ".jpg"))
    found = look_into(data)
    issue = only(found, "several-files", "error")
    assert issue.removable
    assert len(issue.names) == 3
    assert "2 images share a name" in issue.text
    assert list(found.left_out().values()) == [found.dataset.problems[0].text]


def test_stacks_of_unequal_length_are_found(data):
    for number, path in ((3, image_path(data, 99, ".tif")), (2, mask_path(data, 99, ".tif"))):
        tifffile.imwrite(path, np.zeros((number, *SIZE), np.uint8), photometric="minisblack")
    issue = only(look_into(data), "pages", "error")
    assert "has 3 pages and its mask" in issue.text


def test_files_that_a_table_names_in_vain_are_found(data):
    rows = [f"images/{name_of(i)}.png,masks/{name_of(i)}.png" for i in range(COUNT + 1)]
    (data / "pairs.csv").write_text("\n".join(["image,mask", *rows]))
    issue = only(look_into(data / "pairs.csv"), "missing", "error")
    assert issue.removable
    assert set(issue.names) == {str(image_path(data, COUNT)), str(mask_path(data, COUNT))}


def test_damaged_polygon_files_are_found(data):
    (data / "masks" / "photo_99.json").write_text("{")
    only(look_into(data), "stray", "warning")
    Image.fromarray(noise(99)).save(image_path(data, 99))
    found = look_into(data)
    assert [one.code for one in found.issues] == ["polygons", "unpaired-image"]
    assert found.errors[0].removable


def test_folders_that_cannot_be_read_are_found(data):
    problem = Problem("folder", "folder x cannot be read", (Path("x"),))
    dataset = replace(find_dataset(data), problems=(problem,))
    found = examine(dataset, Sources(), SplitRule(), {}, Display())
    assert only(found, "folder", "warning").remedy == "change their permissions"


def test_every_kind_of_problem_is_told():
    for kind, (level, one, many) in PROBLEMS.items():
        assert level in LEVELS
        assert one
        assert many
        assert REMEDIES[kind.replace(" ", "-")]


def test_masks_of_another_size_are_found(data):
    Image.fromarray(squares(255, size=(24, 31))).save(mask_path(data, 4))
    found = look_into(data)
    issue = only(found, "mismatched", "error")
    assert (issue.names, issue.removable) == (("photo_04",), True)
    assert "24x30 and mask" in issue.text
    assert issue.remedy == "draw the mask on this image, or remove the pair"
    assert list(found.skippable()) == ["photo_04"]
    assert len(found.good) == COUNT - 1
    assert "photo_04" not in {p.name for part in found.split.splits.values() for p in part}


def test_files_that_cannot_be_read_are_found(data):
    image_path(data, 4).write_text("no picture")
    mask_path(data, 5).write_bytes(mask_path(data, 6).read_bytes()[:60])
    found = look_into(data)
    issue = only(found, "unreadable", "error")
    assert (issue.names, issue.removable) == (("photo_04", "photo_05"), True)
    assert issue.text.startswith("2 pairs cannot be read: ")
    assert found.left_out().keys() == {"photo_04", "photo_05"}
    assert found.digests()["photo_04"]["mask_sha256"]


def test_pairs_in_no_list_are_found(data):
    write_lists(data, leave_out=1)
    issue = only(look_into(data), "unlisted", "note")
    assert issue.names == ("photo_00",)


def test_few_pairs_are_found(data):
    for number in range(11, COUNT):
        image_path(data, number).unlink()
        mask_path(data, number).unlink()
    assert only(look_into(data), "few-pairs", "warning").text == "11 pairs can be used"


def test_without_a_pair_that_can_be_used_there_is_no_more_to_find(data):
    for number in range(COUNT):
        image_path(data, number).write_bytes(b"")
    found = look_into(data)
    assert [(one.code, one.level) for one in found.issues] == [
        ("unreadable", "error"),
        ("few-pairs", "error"),
    ]
    assert (found.classes, found.split, found.format) == (None, None, None)


# What cannot be decided


def test_masks_of_uncertain_kind_are_found(data):
    write_masks(data, squares(1, 255))
    found = look_into(data)
    issue = only(found, "mask-kind", "error")
    assert not issue.removable
    assert "values that are no class: 255" in issue.text
    assert "--ignore" in issue.remedy
    assert found.classes is None
    assert found.strata() == {}


def test_a_file_beside_the_data_says_what_masks_mean(data):
    (data / "classes.toml").write_text("[classes]\nbackground = 0\ncell = 255\n")
    found = look_into(data)
    assert found.issues == []
    assert found.classes.names == ("background", "cell")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[classes", "cannot be read"),
        ('kind = "colors"', "class file .*classes.toml: mask kind is 'colors'"),
        ("ignore = 255\n[classes]\na = 0\nb = 255", "both a class and the value to ignore"),
    ],
)
def test_a_class_file_in_error_is_found(data, text, message):
    (data / "classes.toml").write_text(text)
    issue = only(look_into(data), "mask-kind", "error")
    assert re.search(message, f"{issue.text}; {issue.remedy}")


def test_what_the_user_says_of_classes_is_for_the_user_to_correct(data):
    (data / "classes.toml").write_text("ignore = 9")
    with pytest.raises(ConfigError, match="mask kind is 'colors'"):
        look_into(data, kind="colors")


def test_pairs_that_cannot_be_split_are_found(data):
    found = look_into(data, SplitRule(group_by="patient"))
    issue = only(found, "split", "error")
    assert "finds no group" in issue.text
    assert issue.remedy == "correct --group-by"
    assert found.split is None


def test_images_that_do_not_go_together_are_found(data):
    image_path(data, 2).unlink()
    tifffile.imwrite(image_path(data, 2, ".tif"), noise(2).astype(np.float32), photometric="rgb")
    found = look_into(data)
    issue = only(found, "image-kind", "error")
    assert (issue.names, issue.removable) == (("photo_02",), True)
    assert "has float32 pixels, and most others uint8" in issue.text
    assert list(found.skippable()) == ["photo_02"]
    assert found.format.dtype == "uint8"


def test_images_of_two_kinds_are_found_with_an_example(data):
    for number in (2, 5):  # of 14: more than a tenth
        pixels = noise(number, channels=2)
        image_path(data, number).unlink()
        tifffile.imwrite(
            image_path(data, number, ".tif"),
            pixels,
            photometric="minisblack",
            planarconfig="contig",
        )
    found = look_into(data)
    issue = only(found, "image-kind", "error")
    assert not issue.removable
    assert "2, 3 channels (2 of 14 2, " in issue.text
    assert "photo_02.tif first)" in issue.text
    assert found.format is None


def test_one_image_of_other_channels_can_be_left_out(data):
    image_path(data, 2).unlink()
    pixels = noise(2, channels=2)
    tifffile.imwrite(
        image_path(data, 2, ".tif"), pixels, photometric="minisblack", planarconfig="contig"
    )
    found = look_into(data)
    assert only(found, "image-kind", "error").removable
    assert "photo_02.tif has 2 channels, and most others 3" in found.left_out()["photo_02"]
    assert found.format.channels == 3


def test_one_jpeg_among_the_masks_can_be_left_out(data):
    mask_path(data, 2).unlink()
    Image.fromarray(squares(255)).save(mask_path(data, 2, ".jpg"))
    found = look_into(data)
    issue = only(found, "mask-kind", "error")
    assert (issue.names, issue.removable) == (("photo_02",), True)
    assert "photo_02.jpg is a JPEG, unlike most others" in issue.text
    assert found.classes.values == (0, 255)
    assert "photo_02" not in {p.name for part in found.split.splits.values() for p in part}


def test_one_coloured_mask_among_numbers_can_be_left_out(data):
    write_masks(data, squares(1, 2, 1, 2))
    Image.fromarray(noise(2)).save(mask_path(data, 2))
    issue = only(look_into(data), "mask-kind", "error")
    assert (issue.names, issue.removable) == (("photo_02",), True)
    assert "has colours, and most others have numbers" in issue.text


def test_black_masks_among_coloured_ones_are_no_numbers(data):
    write_masks(data, squares())
    mask = np.repeat(squares(255)[..., None], 3, axis=2) * np.array([1, 0, 0], np.uint8)
    Image.fromarray(mask).save(mask_path(data, 2))
    found = look_into(data)
    assert found.errors == []
    assert found.classes.values == (0, 0xFF0000)


# Images


def test_endings_of_other_formats_are_found(data):
    Image.fromarray(noise(2)).save(image_path(data, 2), format="BMP")
    issue = only(look_into(data), "odd-suffix", "note")
    assert issue.names == ("photo_02",)


def test_rotations_are_found(data):
    image_path(data, 2).unlink()
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(noise(2)).save(image_path(data, 2, ".jpg"), exif=exif)
    issue = only(look_into(data), "rotated", "note")
    assert issue.names == ("photo_02",)
    assert "upright picture" in issue.remedy


def test_transparency_is_found(data):
    Image.fromarray(noise(2, channels=4)).save(image_path(data, 2))
    assert only(look_into(data), "transparency", "note").names == ("photo_02",)


def test_flat_images_are_found(data):
    Image.new("RGB", SIZE[::-1], (9, 8, 7)).save(image_path(data, 2))
    assert only(look_into(data), "flat", "warning").names == ("photo_02",)


def deep(number: int, largest: int) -> Image.Image:
    pixels = noise(number, channels=1)[..., 0].astype(np.float64)
    return Image.fromarray((pixels / pixels.max() * largest).astype(np.uint16))


def test_images_of_two_depths_are_found(data):
    for number in range(COUNT):
        Image.fromarray(noise(number)[..., 0]).save(image_path(data, number))
    deep(2, 65535).save(image_path(data, 2))
    issue = only(look_into(data), "mixed-depth", "warning")
    assert issue.names == ("photo_02",)
    assert f"1 image of {COUNT} has uint16 pixels" in issue.text


def test_levels_are_known_though_the_only_deep_image_is_for_the_test(data):
    write_lists(data)
    for number in range(COUNT):
        Image.fromarray(noise(number)[..., 0]).save(image_path(data, number))
    deep(COUNT - 1, 65535).save(image_path(data, COUNT - 1))
    found = look_into(data)
    only(found, "mixed-depth", "warning")
    assert (found.format.dtype, found.format.high > (60_000,)) == ("uint16", True)


def test_levels_are_those_of_all_training_images_and_of_no_other(data):
    write_lists(data)
    for number in range(COUNT):
        Image.fromarray(noise(number)[..., 0] // 2).save(image_path(data, number))
    deep(0, 9_000).save(image_path(data, 0))
    expected = look_into(data).format
    # Numbers up to 127 times 257 = 32,639, not 9000; a tenth beyond.
    assert expected.high[0] == pytest.approx(1.1 * 32_639, rel=0.01)
    deep(COUNT - 1, 65_535).save(image_path(data, COUNT - 1))  # for the test
    assert look_into(data).format == expected


def test_grey_images_among_coloured_ones_are_found(data):
    Image.fromarray(noise(2)[..., 0]).save(image_path(data, 2))
    assert only(look_into(data), "mixed-colour", "note").names == ("photo_02",)


def test_deep_images_that_look_black_are_found(data):
    for number in range(COUNT):
        deep(number, 4095).save(image_path(data, number))
    issue = only(look_into(data), "dark", "note")
    assert "use numbers up to 4095 alone" in issue.text
    for number in range(COUNT):
        deep(number, 60000).save(image_path(data, number))
    assert look_into(data).issues == []


# Masks


@pytest.mark.parametrize(("empty", "level"), [(1, "note"), (7, "note"), (8, "warning")])
def test_empty_masks_are_found(data, empty, level):
    for number in range(empty):
        Image.fromarray(squares()).save(mask_path(data, number))
    issue = only(look_into(data), "empty-mask", level)
    assert issue.names == tuple(name_of(number) for number in range(empty))


def test_masks_of_classes_without_background_are_never_empty(data):
    Image.fromarray(squares()).save(mask_path(data, 0))
    assert look_into(data, names=("a", "b"), values=(0, 255)).issues == []


def test_classes_that_occur_nowhere_are_found(data):
    write_masks(data, squares(1))
    issue = only(look_into(data, names=("ground", "a", "b")), "absent-class", "warning")
    assert issue.text == "class 'b' occurs in no mask"


def test_classes_that_training_does_not_see_are_found(data):
    write_lists(data)
    write_masks(data, squares(1))
    Image.fromarray(squares(1, 2)).save(mask_path(data, COUNT - 1))
    found = look_into(data, names=("ground", "a", "b"))
    assert only(found, "absent-class", "warning").text == "class 'b' occurs in no training mask"


def test_rare_classes_are_found(data):
    """One pixel of 24 x 30 = 720 in every second mask: 1 of 1440, less than a thousandth."""
    rare = squares(1, 1)
    rare[-1, -1] = 2
    write_masks(data, rare, squares(1, 1))
    issue = only(look_into(data, kind="classes"), "rare-class", "warning")
    assert issue.text == "class 'class 2' covers 0.069% of the pixels"


@pytest.mark.parametrize(("width", "level"), [(0, "note"), (8, "warning")])
def test_jpeg_masks_are_found(data, width, level):
    """Blocks of 8 x 8 stay sharp; `width` of 32 columns are neither black nor white."""
    mask = np.zeros((16, 32), np.uint8)
    mask[:, 16:] = 255
    mask[:, 16 : 16 + width] = 120
    for number in range(COUNT):
        mask_path(data, number).unlink()
        Image.fromarray(noise(number, (16, 32))).save(image_path(data, number))
        Image.fromarray(mask).save(mask_path(data, number, ".jpg"), quality=95)
    issue = only(look_into(data, threshold=127), "thresholded", level)
    text = f"{COUNT} masks are thresholded at 127 ({COUNT} JPEGs); {width / 32:.1%} of the pixels"
    assert text in issue.text
    assert "save masks as PNG" in issue.remedy


def test_blurred_masks_are_found_in_any_format(data):
    """72 of 24 x 30 pixels, a tenth, are grey in every second mask."""
    blurred = squares(255)
    blurred[-3:, -24:] = 120
    write_masks(data, blurred, squares(255))
    issue = only(look_into(data, threshold=127), "thresholded", "note")
    assert f"{COUNT} masks are thresholded at 127 (0 JPEGs); 5.0% of the pixels" in issue.text
    assert len(issue.names) == COUNT // 2
    write_masks(data, squares(255))
    assert look_into(data, threshold=127).issues == []


def test_a_guessed_trimap_is_told(data):
    trimap = np.where(squares(2) == 2, 2, 1).astype(np.uint8)
    trimap[-1] = 3
    write_masks(data, trimap)
    issue = only(look_into(data), "trimap", "note")
    assert issue.text == "values 1, 2 and 3 are taken for a trimap's pet, background and border"
    assert look_into(data, names=("pet", "background", "border")).issues == []
    (data / "masks").rename(data / "trimaps")
    assert look_into(data).issues == []


def test_a_value_to_ignore_that_occurs_nowhere_is_found(data):
    issue = only(look_into(data, ignore=254), "ignore-absent", "note")
    assert issue.text == "the value to ignore, 254, occurs in no mask"
    Image.fromarray(squares(255, 254)).save(mask_path(data, 3))
    assert look_into(data, ignore=254).issues == []


def test_very_many_labels_are_found(data):
    for number in range(COUNT):
        mask_path(data, number).unlink()
        shapes = [
            {"label": f"{i}", "points": [[0, 0], [4, 4]], "shape_type": "rectangle"}
            for i in range(300)
        ]
        document = {"shapes": shapes, "imagePath": f"{name_of(number)}.png"}
        mask_path(data, number, ".json").write_text(json.dumps(document))
    assert "have 300 labels" in only(look_into(data), "mask-kind", "error").text


def test_classes_taken_for_objects_are_found(data):
    """Four pieces for two numbers: more than one and a half times as many."""
    write_masks(data, squares(1, 2, 1, 2))
    issue = only(look_into(data, kind="instances"), "suspect-kind", "warning")
    assert issue.text == f"{2 * COUNT} numbers of objects stand for {4 * COUNT} separate pieces"
    assert "--kind classes" in issue.remedy


def test_objects_taken_for_classes_are_found(data):
    write_masks(data, squares(1, 2, 3), squares(1, 2, 3, 4))
    issue = only(look_into(data, kind="classes"), "suspect-kind", "warning")
    assert "--kind instances" in issue.remedy


def test_an_ignored_value_makes_no_suspicion(data):
    write_masks(data, squares(1, 2, 255, 255, 255, 255))
    assert look_into(data, kind="instances", ignore=255).issues == []


def test_tiny_objects_are_found(data):
    mask = squares(1, 2, 3)
    mask[-1, -8:] = 4  # 8 pixels; the others have 9
    write_masks(data, mask)
    issue = only(look_into(data, kind="instances"), "tiny-objects", "note")
    assert issue.text == f"{COUNT} pieces of objects have fewer than 9 pixels"


def test_images_with_few_objects_are_found(data):
    """The median is 6; 1 is less than a third of it, 2 is not, and none is an empty mask."""
    write_masks(data, squares(1, 2, 3, 4, 5, 6))
    Image.fromarray(squares(7)).save(mask_path(data, 3))
    Image.fromarray(squares(1, 2)).save(mask_path(data, 4))
    issue = only(look_into(data, kind="instances"), "few-objects", "note")
    assert issue.names == ("photo_03",)
    assert "less than a third of the usual 6 objects: photo_03" in issue.text
    Image.fromarray(squares()).save(mask_path(data, 3))
    assert only(look_into(data, kind="instances"), "empty-mask", "note").names == ("photo_03",)


def test_drawn_objects_may_be_few_too(data):
    for number in range(COUNT):
        mask_path(data, number).unlink()
        corners = range(4) if number else range(1)
        shapes = [
            {"label": "cell", "points": [[5 * i, 0], [5 * i + 4, 4]], "shape_type": "rectangle"}
            for i in corners
        ]
        document = {"shapes": shapes, "imagePath": f"{name_of(number)}.png"}
        mask_path(data, number, ".json").write_text(json.dumps(document))
    issue = only(look_into(data, kind="instances"), "few-objects", "note")
    assert issue.names == ("photo_00",)


# Folders


def into_folders(data: Path, *parents: str, below: str = "") -> None:
    """Moves the pairs into folders in turn: PARENT/images, or images/BELOW/PARENT."""
    for number in range(COUNT):
        parent = parents[number % len(parents)]
        for path, folder in (
            (image_path(data, number), "images"),
            (mask_path(data, number), "masks"),
        ):
            place = data / folder / below / parent if below else data / parent / folder
            place.mkdir(parents=True, exist_ok=True)
            path.rename(place / path.name)


def test_folders_that_a_seeded_split_tears_apart_are_found(data):
    into_folders(data, "01", "02", "03")
    issue = only(look_into(data), "folders", "note")
    assert "pairs lie in 3 folders (01, 02, 03)" in issue.text
    assert issue.remedy.endswith("--group-by '^([^/]+)/'")
    assert look_into(data, SplitRule(group_by="^([^/]+)/")).issues == []


def test_folders_below_are_found_with_a_pattern_that_finds_them(data):
    into_folders(data, "x", "y", "z", below="a")
    issue = only(look_into(data), "folders", "note")
    assert issue.remedy.endswith("--group-by '^(.+)/'")
    assert look_into(data, SplitRule(group_by="^(.+)/")).issues == []


def test_folders_of_one_pair_each_say_nothing(data):
    into_folders(data, *[f"{number}" for number in range(COUNT)])
    assert look_into(data).issues == []


def test_folders_that_are_parts_are_no_finding(data):
    into_folders(data, "train", "train", "val", "test")
    found = look_into(data)
    assert found.issues == []
    assert len(found.split.train) == 8  # numbers 0, 1, 4, 5, 8, 9, 12 and 13


def test_a_split_file_leaves_nothing_to_say_of_folders(data, tmp_path):
    into_folders(data, "01", "02")
    names = [pair.name for pair in find_dataset(data).pairs]
    parts = {"train": names[:8], "validation": names[8:10], "test": names[10:]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    assert look_into(data, SplitRule(file=str(tmp_path / "split.json"))).issues == []


# Duplicates


def copy_image(data: Path, source: int, target: int) -> None:
    image_path(data, target).write_bytes(image_path(data, source).read_bytes())


def shade_image(data: Path, source: int, target: int) -> None:
    Image.fromarray((noise(source) * 0.7 + 30).astype(np.uint8)).save(image_path(data, target))


COPIES = [
    (copy_image, "duplicate", "the same to the byte"),
    (shade_image, "near-duplicate", "near"),
]


@pytest.mark.parametrize(("copy", "code", "text"), COPIES)
def test_duplicates_across_parts_are_found(data, copy, code, text):
    write_lists(data)
    copy(data, 0, COUNT - 1)
    issue = only(look_into(data), code, "warning")
    assert issue.names == ("photo_00", "photo_13")
    assert f"1 group of images is {text}" in issue.text
    assert "in different parts, so that figures flatter: photo_00 = photo_13" in issue.text
    assert "--group-by" in issue.remedy


@pytest.mark.parametrize(("copy", "code", "text"), COPIES)
def test_duplicates_within_a_part_are_found(data, copy, code, text):
    write_lists(data)
    copy(data, 0, 1)
    issue = only(look_into(data), code, "note")
    assert issue.names == ("photo_00", "photo_01")
    assert f"1 group of images is {text}" in issue.text


def test_a_copy_that_no_part_takes_is_in_no_different_part(data, tmp_path):
    names = [name_of(number) for number in range(COUNT - 1)]
    parts = {"train": names[:8], "validation": names[8:10], "test": names[10:]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    copy_image(data, 0, COUNT - 1)
    found = look_into(data, SplitRule(file=str(tmp_path / "split.json")))
    assert [(one.code, one.level, one.names) for one in found.issues] == [
        ("unlisted", "note", ("photo_13",)),
        ("duplicate", "note", ("photo_00", "photo_13")),
    ]


def test_many_duplicates_are_listed_in_part(data):
    for number in range(0, COUNT, 2):
        copy_image(data, number, number + 1)
    found = look_into(data, SplitRule(group_by=r"(\d)"))  # one group: photo_0, and one: photo_1
    text = " ".join(one.text for one in found.issues if one.code == "duplicate")
    assert text.count(" = ") == 5
    assert text.endswith(" ...")


# Counts

PAIR = Pair("a", Path("a.png"), Path("a_mask.png"))
DRAWN = Pair("a", Path("a.png"), Path("a.json"))


def counts(values: dict, classes: Classes, pair: Pair = PAIR, **more) -> list[int]:
    return class_counts([PairStatistics(pair, values=values, **more)], classes)[0].tolist()


def test_pixels_are_counted_by_class_with_the_ignored_ones_last():
    classes = Classes(("a", "b", "c"), (0, 1, 7), ignore=255)
    assert counts({0: 10, 7: 3, 255: 2}, classes) == [10, 0, 3, 2]


def test_objects_are_counted_together():
    classes = Classes(("ground", "cell"), (0, 1), kind="instances", ignore=9)
    assert counts({0: 10, 1: 3, 2: 4, 9: 5}, classes) == [10, 7, 5]


def test_crowds_of_objects_are_ignored():
    """Of 6 drawn pixels 2 are of a crowd, in which no object is told from another."""
    classes = Classes(("ground", "cell"), (0, 1), kind="instances")
    assert counts({0: 10, "cell": 6}, classes, DRAWN, crowd=2) == [10, 4, 2]
    plain = Classes(("ground", "cell"), (0, 1), background=0)
    assert counts({0: 10, "cell": 6}, plain, DRAWN, crowd=2) == [10, 6, 0]


def test_a_threshold_counts_two_classes_and_the_ignored_value():
    classes = Classes(("a", "b"), (0, 255), threshold=127, ignore=128)
    assert counts({0: 5, 127: 2, 128: 1, 200: 4}, classes) == [7, 4, 1]


def test_labels_are_counted_by_name_or_as_what_they_are_renamed_to():
    three = Classes(("wall", "ground", "cell"), (0, 1, 2), background=1)
    assert counts({0: 4, "wall": 3, "cell": 2}, three, DRAWN) == [3, 4, 2, 0]
    two = Classes(("cell", "ground"), (0, 1), background=1, labels=("Tumour",))
    assert counts({0: 4, "Tumour": 3}, two, DRAWN) == [3, 4, 0]


def test_palette_masks_are_counted_by_colour():
    palette = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    classes = Classes(("b", "r"), (0x0000FF, 0xFF0000), kind="colours")
    assert counts({0: 3, 1: 2}, classes, palette=palette) == [2, 3, 0]


def test_areas_of_objects_leave_out_what_is_ignored():
    look = PairStatistics(PAIR, values={0: 10, 3: 4, 5: 6, 65535: 9})
    classes = Classes(("ground", "cell"), (0, 1), kind="instances", ignore=65535)
    assert object_areas(look, classes).tolist() == [4, 6]


def test_strata_are_the_values_that_occur(data):
    write_masks(data, squares(255), squares())
    found = look_into(data)
    assert found.strata()["photo_00"] == "0,255"
    assert found.strata()["photo_01"] == "0"
    assert look_into(data, kind="instances").strata() == {}
