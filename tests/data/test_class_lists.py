"""Lists of classes that other programs write beside their masks."""

import pytest

from unetkit.data.class_lists import find_class_list
from unetkit.data.classes import Classes
from unetkit.errors import DataError

LABELMAP = "# label:color_rgb:parts:actions\ncat:48,112,32::\nbackground:0,0,0::\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text", "kind", "values", "background"),
    [
        ("labelmap.txt", LABELMAP, "colours", {"cat": 0x307020, "background": 0}, 1),
        (
            "labelmap.txt",
            "\ufeffcat:1,2,3\ndog: 4, 5,6",
            "colours",
            {"cat": 0x010203, "dog": 0x040506},
            None,
        ),
        (
            "_classes.csv",
            "Pixel Value, Class\n0, background\n1, car\n",
            "classes",
            {"background": 0, "car": 1},
            0,
        ),
        (
            "class_dict.csv",
            "name,r,g,b\nroad,255,0,0\n\nsky,0,0,255\n",
            "colours",
            {"road": 0xFF0000, "sky": 0x0000FF},
            None,
        ),
        (
            "class_dict.csv",
            "r,g,b,name\n1,2,3,Background\n0,0,9,b\n",
            "colours",
            {"Background": 0x010203, "b": 9},
            0,
        ),
        (
            "dataset.json",
            '{"labels": {"background": 0, "liver": 2}}',
            "classes",
            {"background": 0, "liver": 2},
            0,
        ),
        (
            "dataset.json",
            '{"labels": {"0": "background", "1": "liver"}}',
            "classes",
            {"background": 0, "liver": 1},
            0,
        ),
    ],
)
def test_each_program_has_its_list(tmp_path, name, text, kind, values, background):
    path = write(tmp_path / name, text)
    found, arguments = find_class_list(tmp_path)
    assert found == path
    classes = Classes(**arguments)
    assert dict(zip(classes.names, classes.values, strict=True)) == values
    assert (classes.kind, classes.background) == (kind, background)


def test_the_label_ignore_of_nnunet_is_ignored(tmp_path):
    write(tmp_path / "dataset.json", '{"labels": {"background": 0, "liver": 1, "ignore": 2}}')
    arguments = find_class_list(tmp_path)[1]
    assert Classes(**arguments).ignore == 2
    assert arguments["names"] == ("background", "liver")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("_classes.csv", "filename,cat,dog\na.jpg,1,0\n"),
        ("class_dict.csv", "name,index\ncat,0\n"),
        ("dataset.json", '{"labels": {"whole": [1, 2], "core": 1}}'),
        ("dataset.json", '{"labels": [1]}'),
        ("dataset.json", "[]"),
        ("labels.txt", LABELMAP),
        ("labelmap.txt", ""),
    ],
)
def test_files_of_other_content_are_no_lists(tmp_path, name, text):
    write(tmp_path / name, text)
    assert find_class_list(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("labelmap.txt", "cat:48,112", "line 1 has the colour '48,112', not three numbers up to"),
        ("labelmap.txt", "cat:48,112,256::", "line 1 has the colour '48,112,256', not three"),
        ("_classes.csv", "Pixel Value, Class\nx, car\n", "invalid literal"),
        ("_classes.csv", "Pixel Value, Class\n1\n", "not enough values"),
        ("class_dict.csv", "name,r,g,b\nroad,255,0\n", "line 2 has the colour '255,0', not three"),
        ("dataset.json", "{", "Expecting property name"),
    ],
)
def test_a_damaged_list_is_refused_by_name(tmp_path, name, text, reason):
    write(tmp_path / name, text)
    message = rf"{name} cannot be read as a list of classes \({reason}.*\); accepted is what"
    with pytest.raises(DataError, match=message):
        find_class_list(tmp_path)


def test_the_lists_of_splits_must_be_equal(tmp_path):
    text = "Pixel Value, Class\n0, background\n1, car\n"
    write(tmp_path / "train" / "_classes.csv", text)
    write(tmp_path / "valid" / "_classes.csv", text)
    assert find_class_list(tmp_path)[0] == tmp_path / "train" / "_classes.csv"
    write(tmp_path / "valid" / "_classes.csv", text.replace("car", "bus"))
    with pytest.raises(DataError, match=r"train/_classes\.csv and .*valid/_classes\.csv list diff"):
        find_class_list(tmp_path)


def test_the_list_of_the_data_folder_comes_first(tmp_path):
    write(tmp_path / "labelmap.txt", LABELMAP)
    write(tmp_path / "train" / "_classes.csv", "Pixel Value, Class\n0, a\n1, b\n")
    assert find_class_list(tmp_path)[0].name == "labelmap.txt"
