"""Tables and COCO files of all images of a folder."""

import csv
import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from tests.results.predicted import predicted
from unetkit.data.classes import Classes
from unetkit.errors import DataError, OutputExistsError
from unetkit.results.collected import collect, require_collectable
from unetkit.results.outputs import OUTPUTS, write_output

TWO = Classes(("ground", "cell"), (0, 1), background=0)
MASKS = {
    "a": np.array([[1, 1, 0], [0, 0, 1]], np.uint8),
    "b_1": np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8),
}


def write(folder, kind, classes=TWO):
    for name, mask in MASKS.items():
        with predicted(mask, classes) as image:
            write_output(kind, folder / f"{name}{OUTPUTS[kind].ending('png')}", image)


def test_coco_files_become_one_with_numbers_of_its_own(tmp_path):
    write(tmp_path, "coco")
    assert collect(tmp_path, ["mask", "coco"], TWO) == [tmp_path / "coco.json"]
    assert collect(tmp_path, ["coco"], TWO)  # again, over its own file
    coco = COCO(str(tmp_path / "coco.json"))
    assert sorted(coco.imgs) == [1, 2]
    assert sorted(coco.anns) == [1, 2, 3]
    for image, mask in zip((1, 2), MASKS.values(), strict=True):
        drawn = sum(coco.annToMask(one) for one in coco.imgToAnns[image])
        assert np.array_equal(drawn, mask)


def test_tables_have_the_names_of_their_images(tmp_path):
    write(tmp_path, "areas")
    collect(tmp_path, ["areas"], TWO)
    with open(tmp_path / "areas.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["image"], row["class"], row["pixels"]) for row in rows] == [
        ("a", "ground", "3"),
        ("a", "cell", "3"),
        ("b_1", "ground", "1"),
        ("b_1", "cell", "8"),
    ]


def test_columns_that_a_table_lacks_are_empty(tmp_path):
    (tmp_path / "a_objects.csv").write_text("label,class,area\n1,cell,5\n")
    (tmp_path / "b_objects.csv").write_text("label,class,area,area_um2\n1,cell,6,1.5\n")
    collect(tmp_path, ["table"], TWO)
    assert (tmp_path / "objects.csv").read_text().splitlines() == [
        "image,label,class,area,area_um2",
        "a,1,cell,5,",
        "b,1,cell,6,1.5",
    ]


def test_names_for_yolo_are_yaml(tmp_path):
    quoted = Classes(("ground: dry", 'a "cell"'), (0, 1), background=0)
    collect(tmp_path, ["yolo"], quoted)
    lines = (tmp_path / "data.yaml").read_text().splitlines()
    assert lines[1:] == ["names:", '  0: "ground: dry"', '  1: "a \\"cell\\""']


def test_results_of_other_classes_are_refused(tmp_path):
    write(tmp_path, "coco")
    with predicted(MASKS["a"], Classes(("ground", "tree"), (0, 1), background=0)) as image:
        write_output("coco", tmp_path / "c_coco.json", image)
    with pytest.raises(OutputExistsError, match=r"c_coco\.json has other classes than"):
        collect(tmp_path, ["coco"], TWO)


@pytest.mark.parametrize("content", ["{}", "[1]", "{", '{"images": [], "annotations": []}'])
def test_a_file_of_another_origin_is_named(tmp_path, content):
    (tmp_path / "my_coco.json").write_text(content)
    with pytest.raises(DataError, match=r"my_coco\.json is not what was predicted for one image"):
        collect(tmp_path, ["coco"], TWO)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("coco", "coco.json"),
        ("areas", "areas.csv"),
        ("table", "objects.csv"),
        ("yolo", "data.yaml"),
    ],
)
def test_what_the_user_has_is_not_replaced(tmp_path, kind, name):
    require_collectable(tmp_path, [kind])
    (tmp_path / name).write_text(json.dumps({"mine": 1}))
    with pytest.raises(OutputExistsError, match="was not written by an earlier prediction"):
        require_collectable(tmp_path, [kind])
    require_collectable(tmp_path, ["mask"])


def test_what_was_collected_may_be_collected_again(tmp_path):
    kinds = ["coco", "areas", "yolo"]
    for kind in kinds[:2]:
        write(tmp_path, kind)
    collect(tmp_path, kinds, TWO)
    require_collectable(tmp_path, kinds)
