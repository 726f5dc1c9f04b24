"""Several mask files of one image: layouts, names of files, and what is certain."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.data.masks import find_annotation, read_mask
from unetkit.data.reading import mask_sha256, read_objects
from unetkit.data.sources import Sources
from unetkit.errors import ConfigError, DataError

SIZE = (6, 12)


def write(data: Path, name: str, *columns: int, value: int = 255) -> None:
    """Writes a mask of these columns, or an image if there are none."""
    array = np.full(SIZE, 0 if columns else 77, np.uint8)
    array[:, list(columns)] = value
    (data / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(data / name)


def labels(data: Path, **sources) -> dict[str, list[str]]:
    """Labels of the files of each pair, by the pair's name."""
    pairs = find_dataset(data, Sources(**sources)).pairs
    return {pair.name: [part.label for part in pair.parts] for pair in pairs}


# Masks of the images "a" and "b", with the columns that they fill.
CLASSES = {
    "endings": {"masks/{}_car.png": [1, 2], "masks/{}_road.png": [4]},
    "endings with a common word": {"masks/{}_class_car.png": [1], "masks/{}_class_road.png": [4]},
    "beginnings": {"masks/car_{}.png": [1], "masks/road_{}.png": [4]},
    "folders in the folder of masks": {"masks/car/{}.png": [1], "masks/road/{}.png": [4]},
    "folders of masks": {"car_masks/{}.png": [1], "road_masks/{}.png": [4]},
    "folders and a word for mask": {"masks/car/{}_mask.png": [1], "masks/road/{}_mask.png": [4]},
}


def test_a_folder_of_masks_with_the_name_of_the_image(tmp_path):
    for image, count in (("a1", 2), ("b2", 3), ("c", 1)):
        write(tmp_path, f"images/{image}.png")
        for number in range(count):
            write(tmp_path, f"masks/{image}/{number}.png", 3 * number)
    assert labels(tmp_path) == {
        "a1": ["object"] * 2, "b2": ["object"] * 3, "c": ["object"],
    }  # fmt: skip
    dataset = find_dataset(tmp_path)
    assert (dataset.kind, dataset.masks) == ("instances", "one file per object")
    objects = read_objects(dataset.pairs[1], SIZE)
    assert [objects[0, 3 * number] for number in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("files", CLASSES.values(), ids=CLASSES)
def test_words_that_recur_are_classes(tmp_path, files):
    for image in ("a1", "b2"):
        write(tmp_path, f"images/{image}.png")
        for name, columns in files.items():
            write(tmp_path, name.format(image), *columns)
    dataset = find_dataset(tmp_path)
    assert labels(tmp_path) == {"a1": ["car", "road"], "b2": ["car", "road"]}
    assert dataset.masks == "one file per class: car, road"
    assert dataset.kind is None
    assert dataset.problems == ()
    classes = Classes(("background", "car", "road"), (0, 1, 2), background=0)
    mask = read_mask(dataset.pairs[0].source, classes, SIZE)
    assert mask[0, 1] == 1
    assert mask[0, 4] == 2
    assert mask[0, 6] == 0


def test_a_class_may_be_absent_from_an_image(tmp_path):
    for image, names in (("a", ("car", "road")), ("b", ("car",)), ("c", ("road", "car"))):
        write(tmp_path, f"images/{image}.png")
        for place, name in enumerate(names):
            write(tmp_path, f"masks/{image}_{name}.png", place)
    assert labels(tmp_path)["b"] == ["car"]


@pytest.mark.parametrize(
    "names",
    [
        {"a": ["{0}/masks/4f2a", "{0}/masks/77c1"], "b": ["{0}/masks/9c01"]},
        {"a": ["{0}/masks/cell1", "{0}/masks/cell2"], "b": ["{0}/masks/cell1"]},
        {"a": ["masks/{0}_1", "masks/{0}_2"], "b": ["masks/{0}_1"]},
        {"a": ["masks/{0}_mask", "masks/{0}_mask_1"], "b": ["masks/{0}_mask"]},
    ],
)
def test_numbers_and_names_that_occur_once_are_objects(tmp_path, names):
    for image, masks in names.items():
        inside = f"{image}/images/{image}.png" if "{0}/" in masks[0] else f"images/{image}.png"
        write(tmp_path, inside)
        for place, mask in enumerate(masks):
            write(tmp_path, f"{mask.format(image)}.png", 2 * place, 2 * place + 1, value=place + 1)
    dataset = find_dataset(tmp_path)
    assert dataset.kind == "instances"
    assert dataset.masks == "one file per object"
    objects = [np.unique(read_objects(pair, SIZE)).tolist() for pair in dataset.pairs]
    assert objects == [[0, 1, 2], [0, 1]]


def test_pixels_that_objects_have_in_common_are_counted(tmp_path):
    for image, columns in (("a", ([1, 2, 3], [3, 4])), ("b", ([1],))):
        write(tmp_path, f"{image}/images/{image}.png")
        for number, inside in enumerate(columns):
            write(tmp_path, f"{image}/masks/{image}{number}.png", *inside)
    pair = find_dataset(tmp_path).pairs[0]
    assert find_annotation(pair.source).overlap == SIZE[0]  # column 3
    assert read_objects(pair, SIZE)[0, 3] == 2  # of the last file


class TestUncertain:
    """What may be several things is asked for, with an option that decides."""

    def make(self, data: Path, masks: dict[str, list[int]]) -> None:
        for image in ("a1", "b2"):
            write(data, f"images/{image}.png")
            for name, columns in masks.items():
                write(data, name.format(image), *columns)

    def test_as_many_numbers_in_each_image(self, tmp_path):
        self.make(tmp_path, {"masks/{}_1.png": [1], "masks/{}_2.png": [4]})
        message = (
            "use --mask-files objects if each file is an object, --mask-files classes if each "
            "file is a class$"
        )
        with pytest.raises(DataError, match=message):
            find_dataset(tmp_path)
        assert labels(tmp_path, mask_files="classes")["a1"] == ["1", "2"]
        assert labels(tmp_path, mask_files="objects")["a1"] == ["object", "object"]

    def test_classes_that_overlap_are_refused_by_name(self, tmp_path):
        self.make(tmp_path, {"masks/car/{}.png": [1, 2], "masks/road/{}.png": [2, 3]})
        with pytest.raises(DataError, match=r"; use --mask-files classes if each file is a class$"):
            find_dataset(tmp_path)
        pair = find_dataset(tmp_path, Sources(mask_files="classes")).pairs[0]
        message = (
            r"car/a1\.png and .*road/a1\.png overlap \(at row 0, column 2\): a pixel would be both "
            "'car' and 'road'; accepted is one class per pixel"
        )
        with pytest.raises(DataError, match=message):
            find_annotation(pair.source)

    def test_files_of_several_values_are_neither(self, tmp_path):
        self.make(tmp_path, {"masks/{}_car.png": [1], "masks/{}_road.png": [4]})
        write(tmp_path, "masks/a1_car.png", 1)
        Image.fromarray(np.arange(72, dtype=np.uint8).reshape(SIZE)).save(
            tmp_path / "masks/a1_car.png"
        )
        with pytest.raises(DataError, match=r"no image in .* has a mask"):
            find_dataset(tmp_path)
        pair = find_dataset(tmp_path, Sources(mask_files="classes")).pairs[0]
        with pytest.raises(DataError, match=r"a1_car\.png has the values 1 and 2, and is one of"):
            find_annotation(pair.source)

    def test_two_readers_in_folders_are_asked_for(self, tmp_path):
        self.make(tmp_path, {"1st_manual/{}.png": [1, 2], "2nd_manual/{}.png": [1]})
        with pytest.raises(DataError, match="several kinds of masks: '1st_manual'"):
            find_dataset(tmp_path)

    def test_one_ending_is_a_pattern_and_no_class(self, tmp_path):
        self.make(tmp_path, {"masks/{}_pixels0.png": [1]})
        with pytest.raises(DataError, match=re.escape("perhaps --masks '*_pixels0.png'")):
            find_dataset(tmp_path)


def test_a_number_of_an_image_is_no_object(tmp_path):
    for image in ("cat", "cat_1"):
        write(tmp_path, f"images/{image}.png")
    for mask in ("cat_mask", "cat_mask_1"):
        write(tmp_path, f"masks/{mask}.png", 1)
    assert labels(tmp_path) == {"cat": [], "cat_1": []}


def test_sizes_of_the_files_are_compared(tmp_path):
    for image in ("a1", "b2"):
        write(tmp_path, f"images/{image}.png")
        write(tmp_path, f"masks/{image}_car.png", 1)
        write(tmp_path, f"masks/{image}_road.png", 3)
    pair = find_dataset(tmp_path).pairs[0]
    Image.new("L", (5, 5)).save(pair.parts[1].path)
    with pytest.raises(DataError, match=r"a1_road\.png is 5x5 and .*a1_car\.png is 6x12"):
        find_annotation(pair.source)


def test_the_hash_depends_on_every_file_and_its_class(tmp_path):
    for image in ("a1", "b2"):
        write(tmp_path, f"images/{image}.png")
        write(tmp_path, f"masks/{image}_car.png", 1)
        write(tmp_path, f"masks/{image}_road.png", 3)
    pair = find_dataset(tmp_path).pairs[0]
    before = mask_sha256(pair)
    write(tmp_path, "masks/a1_road.png", 4)
    assert mask_sha256(pair) != before


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="mask_files is 'x'; accepted are objects and classes"):
        Sources(mask_files="x")


def test_a_folder_of_each_sample_holds_an_image_and_a_file_of_each_class(tmp_path):
    for i in range(3):
        folder = tmp_path / f"p{i}"
        folder.mkdir()
        Image.new("L", (8, 6), 90).save(folder / "image.png")
        for column, name in enumerate(("tumor", "vessel")):
            mask = np.zeros((6, 8), np.uint8)
            mask[2, 2 * column + i] = 255
            Image.fromarray(mask).save(folder / f"{name}.png")
    dataset = find_dataset(tmp_path)
    assert [pair.image.name for pair in dataset.pairs] == ["image.png"] * 3
    assert [[part.label for part in pair.parts] for pair in dataset.pairs] == [
        ["tumor", "vessel"]
    ] * 3
