"""Issues of a data set: for each issue, a folder that has it and no other."""

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
from unetkit.checks.issues import LEVELS, Issue
from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.data.sources import Problem, Sources
from unetkit.data.splits import SplitRule
from unetkit.errors import ConfigError

SIZE = (24, 30)
COUNT = 14  # two more than are few


def noise(number: int, size: tuple[int, int] = SIZE, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size, channels), np.uint8)


def squares(*values: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Squares of 3 x 3 pixels of these values on 0, in rows of seven, none touching another."""
    mask = np.zeros(size, np.uint8)
    for index, value in enumerate(values):
        row, column = 4 * (index // 7), 4 * (index % 7)
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


def examine_folder(
    data: Path, rule: SplitRule | None = None, sources: Sources | None = None, **classes
) -> DatasetReport:
    sources = sources or Sources()
    return examine(find_dataset(data, sources), sources, rule or SplitRule(), classes, Display())


def only(found: DatasetReport, code: str, level: str) -> Issue:
    """Returns the only issue."""
    assert [(one.code, one.level) for one in found.issues] == [(code, level)]
    return found.issues[0]


def test_a_clean_folder_has_no_issues(data):
    found = examine_folder(data)
    assert found.issues == []
    assert found.classes == Classes(("background", "foreground"), (0, 255), background=0)
    assert found.format.channels == 3
    assert sum(map(len, found.split.splits.values())) == COUNT


def test_errors_come_first(data):
    image_path(data, 0).write_bytes(b"")
    Image.fromarray(noise(99)).save(image_path(data, 99))
    Image.fromarray(noise(1)[..., 0]).save(image_path(data, 1))
    found = examine_folder(data)
    assert [one.level for one in found.issues] == list(LEVELS)
    assert [one.code for one in found.errors] == ["unreadable"]


# Files


def test_images_without_masks_are_an_issue(data):
    Image.fromarray(noise(99)).save(image_path(data, 99))
    issue = only(examine_folder(data), "unpaired-image", "warning")
    assert issue.names == (str(image_path(data, 99)),)
    assert "nothing, if they are for prediction" in issue.remedy


def test_masks_without_images_are_an_issue(data):
    image_path(data, 13).unlink()
    issue = only(examine_folder(data), "unpaired-mask", "warning")
    assert issue.names == (str(mask_path(data, 13)),)
    assert issue.text.startswith("1 mask has no image: ")


def test_two_images_of_one_name_are_an_issue(data):
    Image.fromarray(noise(0)).save(image_path(data, 0, ".jpg"))
    found = examine_folder(data)
    issue = only(found, "several-files", "error")
    assert issue.removable
    assert len(issue.names) == 3
    assert "2 images share a name" in issue.text
    assert list(found.left_out().values()) == [found.dataset.problems[0].text]


def test_stacks_of_unequal_length_are_an_issue(data):
    for number, path in ((3, image_path(data, 99, ".tif")), (2, mask_path(data, 99, ".tif"))):
        tifffile.imwrite(path, np.zeros((number, *SIZE), np.uint8), photometric="minisblack")
    issue = only(examine_folder(data), "pages", "error")
    assert "has 3 pages and its mask" in issue.text


def test_missing_files_of_a_table_are_an_issue(data):
    rows = [f"images/{name_of(i)}.png,masks/{name_of(i)}.png" for i in range(COUNT + 1)]
    (data / "pairs.csv").write_text("\n".join(["image,mask", *rows]))
    issue = only(examine_folder(data / "pairs.csv"), "missing", "error")
    assert issue.removable
    assert set(issue.names) == {str(image_path(data, COUNT)), str(mask_path(data, COUNT))}


def test_damaged_polygon_files_are_an_issue(data):
    (data / "masks" / "photo_99.json").write_text("{")
    only(examine_folder(data), "stray", "warning")
    Image.fromarray(noise(99)).save(image_path(data, 99))
    found = examine_folder(data)
    assert [one.code for one in found.issues] == ["polygons", "unpaired-image"]
    assert found.errors[0].removable


def test_unreadable_folders_are_an_issue(data):
    problem = Problem("folder", "folder x cannot be read", (Path("x"),))
    dataset = replace(find_dataset(data), problems=(problem,))
    found = examine(dataset, Sources(), SplitRule(), {}, Display())
    assert only(found, "folder", "warning").remedy == "change the permissions of these folders"


def test_masks_of_another_size_are_an_issue(data):
    Image.fromarray(squares(255, size=(24, 31))).save(mask_path(data, 4))
    found = examine_folder(data)
    issue = only(found, "mismatched", "error")
    assert (issue.names, issue.removable) == (("photo_04",), True)
    assert "24x30 and mask" in issue.text
    assert issue.remedy == "draw the mask on this image, or remove the pair"
    assert list(found.skippable()) == ["photo_04"]
    assert len(found.good) == COUNT - 1
    assert "photo_04" not in {p.name for part in found.split.splits.values() for p in part}


def test_unreadable_files_are_an_issue(data):
    image_path(data, 4).write_text("no picture")
    mask_path(data, 5).write_bytes(mask_path(data, 6).read_bytes()[:60])
    found = examine_folder(data)
    issue = only(found, "unreadable", "error")
    assert (issue.names, issue.removable) == (("photo_04", "photo_05"), True)
    assert issue.text.startswith("2 pairs cannot be read: ")
    assert found.left_out().keys() == {"photo_04", "photo_05"}
    assert found.digests()["photo_04"]["mask_sha256"]


def test_pairs_in_no_list_are_an_issue(data):
    write_lists(data, leave_out=1)
    issue = only(examine_folder(data), "unlisted", "note")
    assert issue.names == ("photo_00",)


def test_few_pairs_are_an_issue(data):
    for number in range(11, COUNT):
        image_path(data, number).unlink()
        mask_path(data, number).unlink()
    assert only(examine_folder(data), "few-pairs", "warning").text == "11 pairs can be used"


def test_without_usable_pairs_only_the_files_have_issues(data):
    for number in range(COUNT):
        image_path(data, number).write_bytes(b"")
    found = examine_folder(data)
    assert [(one.code, one.level) for one in found.issues] == [
        ("unreadable", "error"),
        ("few-pairs", "error"),
    ]
    assert (found.classes, found.split, found.format) == (None, None, None)


# What cannot be decided


def test_ambiguous_masks_are_an_issue(data):
    write_masks(data, squares(1, 255))
    found = examine_folder(data)
    issue = only(found, "mask-kind", "error")
    assert not issue.removable
    assert "values that are not classes: 255" in issue.text
    assert "--ignore" in issue.remedy
    assert found.classes is None
    assert found.strata() == {}


def test_a_class_file_defines_the_classes(data):
    (data / "classes.toml").write_text("[classes]\nbackground = 0\ncell = 255\n")
    found = examine_folder(data)
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
def test_an_invalid_class_file_is_an_issue(data, text, message):
    (data / "classes.toml").write_text(text)
    issue = only(examine_folder(data), "mask-kind", "error")
    assert re.search(message, f"{issue.text}; {issue.remedy}")


def test_invalid_class_options_raise_a_config_error(data):
    (data / "classes.toml").write_text("ignore = 9")
    with pytest.raises(ConfigError, match="mask kind is 'colors'"):
        examine_folder(data, kind="colors")


def test_pairs_that_cannot_be_split_are_an_issue(data):
    found = examine_folder(data, SplitRule(group_by="patient"))
    issue = only(found, "split", "error")
    assert "finds no group" in issue.text
    assert issue.remedy == "correct --group-by"
    assert found.split is None


def test_images_without_a_common_format_are_an_issue(data):
    image_path(data, 2).unlink()
    tifffile.imwrite(image_path(data, 2, ".tif"), noise(2).astype(np.float32), photometric="rgb")
    found = examine_folder(data)
    issue = only(found, "image-kind", "error")
    assert (issue.names, issue.removable) == (("photo_02",), True)
    assert "has float32 pixels, and most others uint8" in issue.text
    assert list(found.skippable()) == ["photo_02"]
    assert found.format.dtype == "uint8"


def test_images_of_two_kinds_are_an_issue_with_an_example(data):
    for number in (2, 5):  # of 14: more than a tenth
        pixels = noise(number, channels=2)
        image_path(data, number).unlink()
        tifffile.imwrite(
            image_path(data, number, ".tif"),
            pixels,
            photometric="minisblack",
            planarconfig="contig",
        )
    found = examine_folder(data)
    issue = only(found, "image-kind", "error")
    assert not issue.removable
    assert "2, 3 channels (2 of 14 2, " in issue.text
    assert "photo_02.tif first)" in issue.text
    assert found.format is None


def test_one_image_with_other_channels_can_be_skipped(data):
    image_path(data, 2).unlink()
    pixels = noise(2, channels=2)
    tifffile.imwrite(
        image_path(data, 2, ".tif"), pixels, photometric="minisblack", planarconfig="contig"
    )
    found = examine_folder(data)
    assert only(found, "image-kind", "error").removable
    assert "photo_02.tif has 2 channels, and most others 3" in found.left_out()["photo_02"]
    assert found.format.channels == 3


def test_one_jpeg_among_the_masks_can_be_skipped(data):
    mask_path(data, 2).unlink()
    Image.fromarray(squares(255)).save(mask_path(data, 2, ".jpg"))
    found = examine_folder(data)
    issue = only(found, "mask-kind", "error")
    assert (issue.names, issue.removable) == (("photo_02",), True)
    assert "photo_02.jpg is a JPEG, unlike most others" in issue.text
    assert found.classes.values == (0, 255)
    assert "photo_02" not in {p.name for part in found.split.splits.values() for p in part}


def test_one_colour_mask_among_integer_masks_can_be_skipped(data):
    write_masks(data, squares(1, 2, 1, 2))
    Image.fromarray(noise(2)).save(mask_path(data, 2))
    issue = only(examine_folder(data), "mask-kind", "error")
    assert (issue.names, issue.removable) == (("photo_02",), True)
    assert "has colours, and most others have integers" in issue.text


def test_black_masks_among_colour_masks_are_colours(data):
    write_masks(data, squares())
    mask = np.repeat(squares(255)[..., None], 3, axis=2) * np.array([1, 0, 0], np.uint8)
    Image.fromarray(mask).save(mask_path(data, 2))
    found = examine_folder(data)
    assert found.errors == []
    assert found.classes.values == (0, 0xFF0000)


# Images


def test_suffixes_of_other_formats_are_an_issue(data):
    Image.fromarray(noise(2)).save(image_path(data, 2), format="BMP")
    issue = only(examine_folder(data), "odd-suffix", "note")
    assert issue.names == ("photo_02",)


def test_exif_rotations_are_an_issue(data):
    image_path(data, 2).unlink()
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(noise(2)).save(image_path(data, 2, ".jpg"), exif=exif)
    issue = only(examine_folder(data), "rotated", "note")
    assert issue.names == ("photo_02",)
    assert "drawn on the upright image" in issue.remedy


def test_transparency_is_an_issue(data):
    Image.fromarray(noise(2, channels=4)).save(image_path(data, 2))
    assert only(examine_folder(data), "transparency", "note").names == ("photo_02",)


def test_flat_images_are_an_issue(data):
    Image.new("RGB", SIZE[::-1], (9, 8, 7)).save(image_path(data, 2))
    assert only(examine_folder(data), "flat", "warning").names == ("photo_02",)


def deep(number: int, largest: int) -> Image.Image:
    pixels = noise(number, channels=1)[..., 0].astype(np.float64)
    return Image.fromarray((pixels / pixels.max() * largest).astype(np.uint16))


def test_images_of_two_bit_depths_are_an_issue(data):
    for number in range(COUNT):
        Image.fromarray(noise(number)[..., 0]).save(image_path(data, number))
    deep(2, 65535).save(image_path(data, 2))
    issue = only(examine_folder(data), "mixed-depth", "warning")
    assert issue.names == ("photo_02",)
    assert f"1 image of {COUNT} has uint16 pixels" in issue.text


def test_levels_are_known_even_if_the_only_16_bit_image_is_in_the_test_split(data):
    write_lists(data)
    for number in range(COUNT):
        Image.fromarray(noise(number)[..., 0]).save(image_path(data, number))
    deep(COUNT - 1, 65535).save(image_path(data, COUNT - 1))
    found = examine_folder(data)
    only(found, "mixed-depth", "warning")
    assert (found.format.dtype, found.format.high > (60_000,)) == ("uint16", True)


def test_levels_come_from_all_training_images_and_no_others(data):
    write_lists(data)
    for number in range(COUNT):
        Image.fromarray(noise(number)[..., 0] // 2).save(image_path(data, number))
    deep(0, 9_000).save(image_path(data, 0))
    expected = examine_folder(data).format
    # Numbers up to 127 times 257 = 32,639, not 9000; a tenth beyond.
    assert expected.high[0] == pytest.approx(1.1 * 32_639, rel=0.01)
    deep(COUNT - 1, 65_535).save(image_path(data, COUNT - 1))  # for the test
    assert examine_folder(data).format == expected


def test_grey_images_among_colour_images_are_an_issue(data):
    Image.fromarray(noise(2)[..., 0]).save(image_path(data, 2))
    assert only(examine_folder(data), "mixed-colour", "note").names == ("photo_02",)


def test_16_bit_images_that_look_black_are_an_issue(data):
    for number in range(COUNT):
        deep(number, 4095).save(image_path(data, number))
    issue = only(examine_folder(data), "dark", "note")
    assert "have values up to only 4095" in issue.text
    for number in range(COUNT):
        deep(number, 60000).save(image_path(data, number))
    assert examine_folder(data).issues == []


# Masks


@pytest.mark.parametrize(("empty", "level"), [(1, "note"), (7, "note"), (8, "warning")])
def test_empty_masks_are_an_issue(data, empty, level):
    for number in range(empty):
        Image.fromarray(squares()).save(mask_path(data, number))
    issue = only(examine_folder(data), "empty-mask", level)
    assert issue.names == tuple(name_of(number) for number in range(empty))


def test_masks_of_classes_without_background_are_never_empty(data):
    Image.fromarray(squares()).save(mask_path(data, 0))
    assert examine_folder(data, names=("a", "b"), values=(0, 255)).issues == []


def test_classes_that_occur_in_no_mask_are_an_issue(data):
    write_masks(data, squares(1))
    issue = only(examine_folder(data, names=("ground", "a", "b")), "absent-class", "error")
    assert issue.text == "class 'b' occurs in no mask"
    assert issue.remedy.endswith("to train all the same: --accept absent-class")
    accepted = Sources(accept=("absent-class",))
    found = examine(
        find_dataset(data), accepted, SplitRule(), {"names": ("ground", "a", "b")}, Display()
    )
    assert only(found, "absent-class", "warning").remedy == "accepted as it is"


def test_classes_that_occur_in_no_training_mask_are_an_issue(data):
    write_lists(data)
    write_masks(data, squares(1))
    Image.fromarray(squares(1, 2)).save(mask_path(data, COUNT - 1))
    found = examine_folder(data, names=("ground", "a", "b"))
    issue = only(found, "absent-class", "error")
    assert issue.text == "class 'b' occurs in no training mask"
    assert "--seed" in issue.remedy
    found = examine_folder(
        data, names=("ground", "a", "b"), sources=Sources(accept=("absent-class",))
    )
    assert only(found, "absent-class", "warning").remedy == "accepted as it is"


def test_rare_classes_are_an_issue(data):
    """One pixel of 24 x 30 = 720 in every second mask: 1 of 1440, less than a thousandth."""
    rare = squares(1, 1)
    rare[-1, -1] = 2
    write_masks(data, rare, squares(1, 1))
    issue = only(examine_folder(data, kind="classes"), "rare-class", "warning")
    assert issue.text == "class 'class 2' covers 0.069% of the pixels"


@pytest.mark.parametrize(("width", "level"), [(0, "note"), (8, "warning")])
def test_thresholded_jpeg_masks_are_an_issue(data, width, level):
    """Blocks of 8 x 8 stay sharp; `width` of 32 columns are neither black nor white."""
    mask = np.zeros((16, 32), np.uint8)
    mask[:, 16:] = 255
    mask[:, 16 : 16 + width] = 120
    for number in range(COUNT):
        mask_path(data, number).unlink()
        Image.fromarray(noise(number, (16, 32))).save(image_path(data, number))
        Image.fromarray(mask).save(mask_path(data, number, ".jpg"), quality=95)
    issue = only(examine_folder(data, threshold=127), "thresholded", level)
    text = f"{COUNT} masks are thresholded at 127 ({COUNT} JPEGs); {width / 32:.1%} of the pixels"
    assert text in issue.text
    assert "export the masks as PNG" in issue.remedy


def test_blurred_masks_of_any_format_are_an_issue(data):
    """72 of 24 x 30 pixels, a tenth, are grey in every second mask."""
    blurred = squares(255)
    blurred[-3:, -24:] = 120
    write_masks(data, blurred, squares(255))
    issue = only(examine_folder(data, threshold=127), "thresholded", "note")
    assert f"{COUNT} masks are thresholded at 127 (0 JPEGs); 5.0% of the pixels" in issue.text
    assert len(issue.names) == COUNT // 2
    write_masks(data, squares(255))
    assert examine_folder(data, threshold=127).issues == []


def test_an_inferred_trimap_is_an_issue(data):
    trimap = np.where(squares(2) == 2, 2, 1).astype(np.uint8)
    trimap[-1] = 3
    write_masks(data, trimap)
    issue = only(examine_folder(data), "trimap", "note")
    assert issue.text == "values 1, 2 and 3 are read as a trimap: pet, background, border"
    assert examine_folder(data, names=("pet", "background", "border")).issues == []
    (data / "masks").rename(data / "trimaps")
    assert examine_folder(data).issues == []


def test_an_ignored_value_that_occurs_in_no_mask_is_an_issue(data):
    issue = only(examine_folder(data, ignore=254), "ignore-absent", "note")
    assert issue.text == "the ignored value, 254, occurs in no mask"
    Image.fromarray(squares(255, 254)).save(mask_path(data, 3))
    assert examine_folder(data, ignore=254).issues == []


def test_too_many_labels_are_an_issue(data):
    for number in range(COUNT):
        mask_path(data, number).unlink()
        shapes = [
            {"label": f"{i}", "points": [[0, 0], [4, 4]], "shape_type": "rectangle"}
            for i in range(300)
        ]
        document = {"shapes": shapes, "imagePath": f"{name_of(number)}.png"}
        mask_path(data, number, ".json").write_text(json.dumps(document))
    assert "have 300 labels" in only(examine_folder(data), "mask-kind", "error").text


def test_instances_that_look_like_classes_are_an_issue(data):
    """Four pieces for two numbers: more than one and a half times as many."""
    write_masks(data, squares(1, 2, 1, 2))
    issue = only(examine_folder(data, kind="instances"), "suspect-kind", "warning")
    assert (
        issue.text == f"the masks have {2 * COUNT} object numbers for {4 * COUNT} separate regions"
    )
    assert "--kind classes" in issue.remedy


def test_classes_that_look_like_instances_are_an_issue(data):
    write_masks(data, squares(1, 2, 3), squares(1, 2, 3, 4))
    issue = only(examine_folder(data, kind="classes"), "suspect-kind", "warning")
    assert "--kind instances" in issue.remedy


def test_an_ignored_value_does_not_make_instances_suspect(data):
    write_masks(data, squares(1, 2, 255, 255, 255, 255))
    assert examine_folder(data, kind="instances", ignore=255).issues == []


def test_tiny_objects_are_an_issue(data):
    mask = squares(1, 2, 3)
    mask[-1, -8:] = 4  # 8 pixels; the others have 9
    write_masks(data, mask)
    issue = only(examine_folder(data, kind="instances"), "tiny-objects", "note")
    assert issue.text == f"{COUNT} regions of objects have fewer than 9 pixels"


def test_images_with_few_objects_are_an_issue(data):
    """The median is 6; 1 is less than a third of it, 2 is not, and none is an empty mask."""
    write_masks(data, squares(1, 2, 3, 4, 5, 6))
    Image.fromarray(squares(7)).save(mask_path(data, 3))
    Image.fromarray(squares(1, 2)).save(mask_path(data, 4))
    issue = only(examine_folder(data, kind="instances"), "few-objects", "note")
    assert issue.names == ("photo_03",)
    assert "less than a third of the median number of objects, 6: photo_03" in issue.text
    Image.fromarray(squares()).save(mask_path(data, 3))
    assert only(examine_folder(data, kind="instances"), "empty-mask", "note").names == ("photo_03",)


def test_polygon_files_with_few_objects_are_an_issue(data):
    for number in range(COUNT):
        mask_path(data, number).unlink()
        corners = range(4) if number else range(1)
        shapes = [
            {"label": "cell", "points": [[5 * i, 0], [5 * i + 4, 4]], "shape_type": "rectangle"}
            for i in corners
        ]
        document = {"shapes": shapes, "imagePath": f"{name_of(number)}.png"}
        mask_path(data, number, ".json").write_text(json.dumps(document))
    issue = only(examine_folder(data, kind="instances"), "few-objects", "note")
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
            index = data / folder / below / parent if below else data / parent / folder
            index.mkdir(parents=True, exist_ok=True)
            path.rename(index / path.name)


def test_folders_that_a_random_split_ignores_are_an_issue(data):
    into_folders(data, "01", "02", "03")
    issue = only(examine_folder(data), "folders", "note")
    assert "pairs are in 3 folders (01, 02, 03)" in issue.text
    assert issue.remedy.endswith("--group-by '^([^/]+)/'")
    assert examine_folder(data, SplitRule(group_by="^([^/]+)/")).issues == []


def test_nested_folders_are_an_issue_with_a_matching_pattern(data):
    into_folders(data, "x", "y", "z", below="a")
    issue = only(examine_folder(data), "folders", "note")
    assert issue.remedy.endswith("--group-by '^(.+)/'")
    assert examine_folder(data, SplitRule(group_by="^(.+)/")).issues == []


def test_folders_of_one_pair_each_are_not_an_issue(data):
    into_folders(data, *[f"{number}" for number in range(COUNT)])
    assert examine_folder(data).issues == []


def test_folders_that_are_splits_are_not_an_issue(data):
    into_folders(data, "train", "train", "val", "test")
    found = examine_folder(data)
    assert found.issues == []
    assert len(found.split.train) == 8  # numbers 0, 1, 4, 5, 8, 9, 12 and 13


def test_folders_are_not_an_issue_with_a_split_file(data, tmp_path):
    into_folders(data, "01", "02")
    names = [pair.name for pair in find_dataset(data).pairs]
    parts = {"train": names[:8], "validation": names[8:10], "test": names[10:]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    assert examine_folder(data, SplitRule(file=str(tmp_path / "split.json"))).issues == []


# Duplicates


def copy_image(data: Path, source: int, target: int) -> None:
    image_path(data, target).write_bytes(image_path(data, source).read_bytes())


def shade_image(data: Path, source: int, target: int) -> None:
    Image.fromarray((noise(source) * 0.7 + 30).astype(np.uint8)).save(image_path(data, target))


COPIES = [
    (copy_image, "duplicate", "identical"),
    (shade_image, "near-duplicate", "nearly identical"),
]


@pytest.mark.parametrize(("copy", "code", "text"), COPIES)
def test_duplicates_in_different_splits_are_a_warning(data, copy, code, text):
    write_lists(data)
    copy(data, 0, COUNT - 1)
    issue = only(examine_folder(data), code, "warning")
    assert issue.names == ("photo_00", "photo_13")
    assert f"1 group of images is {text}" in issue.text
    assert (
        "and in different splits, which makes metrics too high: photo_00 = photo_13" in issue.text
    )
    assert "--group-by" in issue.remedy


@pytest.mark.parametrize(("copy", "code", "text"), COPIES)
def test_duplicates_within_a_split_are_a_note(data, copy, code, text):
    write_lists(data)
    copy(data, 0, 1)
    issue = only(examine_folder(data), code, "note")
    assert issue.names == ("photo_00", "photo_01")
    assert f"1 group of images is {text}" in issue.text


def test_a_copy_in_no_split_is_not_in_a_different_split(data, tmp_path):
    names = [name_of(number) for number in range(COUNT - 1)]
    parts = {"train": names[:8], "validation": names[8:10], "test": names[10:]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    copy_image(data, 0, COUNT - 1)
    found = examine_folder(data, SplitRule(file=str(tmp_path / "split.json")))
    assert [(one.code, one.level, one.names) for one in found.issues] == [
        ("unlisted", "note", ("photo_13",)),
        ("duplicate", "note", ("photo_00", "photo_13")),
    ]


def test_only_some_of_many_duplicates_are_listed(data):
    for number in range(0, COUNT, 2):
        copy_image(data, number, number + 1)
    found = examine_folder(data, SplitRule(group_by=r"(\d)"))  # groups: photo_0, photo_1
    text = " ".join(one.text for one in found.issues if one.code == "duplicate")
    assert text.count(" = ") == 5
    assert text.endswith(" ...")


# Strata


def test_strata_are_the_values_that_occur(data):
    write_masks(data, squares(255), squares())
    found = examine_folder(data)
    assert found.strata()["photo_00"] == "0,255"
    assert found.strata()["photo_01"] == "0"
    assert examine_folder(data, kind="instances").strata() == {}


def write_coco(data, *segmentations):
    """An image and an annotation, numbered from 0, for each segmentation."""
    document = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "box"}]}
    for i, segmentation in enumerate(segmentations):
        (data / "images").mkdir(exist_ok=True)
        Image.fromarray(noise(i)).save(image_path(data, i))
        document["images"].append({"id": i, "file_name": image_path(data, i).name})
        record = {"id": i, "image_id": i, "category_id": 1, "segmentation": segmentation}
        document["annotations"].append(record)
    (data / "all.json").write_text(json.dumps(document))


@pytest.mark.parametrize("bad", [[[7.0, 7.0]], [], [[]], [2, 2, 9, 2, 9, 9], [[1, 1, 3, 3, 7, 7]]])
def test_a_shape_without_an_area_costs_itself_or_if_wanted_its_image(tmp_path, bad):
    write_coco(tmp_path, *[[[2, 2, 9, 2, 9, 9]]] * 12, bad)
    report = examine_folder(tmp_path)
    assert len(report.good) == 13
    (issue,) = (one for one in report.issues if one.code == "shapes")
    assert issue.level == "warning"
    assert "all.json: annotation 12: " in issue.text
    assert issue.names == ("photo_12",)
    assert not report.errors
    report = examine_folder(tmp_path, sources=Sources(strict_annotations=True))
    assert len(report.good) == 12
    assert "all.json: annotation 12: " in only(report, "incomplete", "warning").text
    assert not report.errors


def test_a_list_of_another_program_names_the_classes(data):
    write_masks(data, squares(1), squares(2, 1))
    (data / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, car\n2, road\n")
    assert examine_folder(data).classes.names == ("background", "car", "road")
    # Options come first, and so do instances, which have no names.
    assert examine_folder(data, names=("a", "b", "c")).classes.names == ("a", "b", "c")
    assert examine_folder(data, kind="instances").classes.names == ("background", "object")
    write_masks(data, squares(1), squares(3, 1))
    issue = next(one for one in examine_folder(data).issues if one.code == "mask-kind")
    assert "with the classes of _classes.csv, has 3, which is not a class" in issue.text


def cut_out(path, number):
    """The image of a number, of which only a square is opaque."""
    image = Image.fromarray(noise(number))
    image.putalpha(Image.fromarray(squares(255)))
    image.save(path)


def test_cutouts_are_masks_if_their_opacity_is_taken(data):
    for number in range(COUNT):
        cut_out(mask_path(data, number), number)
    assert "use --alpha-masks if the opacity is the mask" in examine_folder(data).issues[0].remedy
    found = examine_folder(data, sources=Sources(alpha_masks=True))
    assert found.issues == []
    assert found.classes.values == (0, 255)
    assert [stats.values[255] for stats in found.good] == [9] * COUNT


def test_a_folder_of_cutouts_is_enough(tmp_path):
    for number in range(COUNT):
        cut_out(tmp_path / f"{name_of(number)}.png", number)
    found = examine_folder(tmp_path, sources=Sources(alpha_masks=True))
    assert len(found.good) == COUNT
    assert found.classes.names == ("background", "foreground")
    assert not found.errors
