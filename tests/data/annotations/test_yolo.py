"""YOLO segmentation: fractions of the image, names of classes, by hand arithmetic."""

import pytest

from tests.data.annotations.examples import SIZE, faults, rectangle
from unetkit.data.annotations.formats import annotation_format, read_annotations
from unetkit.data.annotations.polygons import rasterise, rasterise_instances
from unetkit.data.dataset import find_dataset
from unetkit.data.masks import find_annotation
from unetkit.errors import DataError

# Of 6 rows and 8 columns: columns 2 to 4, rows 1 and 2.
OUTLINE = "0.25 0.166667 0.625 0.166667 0.625 0.5 0.25 0.5"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class TestYolo:
    def test_coordinates_are_fractions_of_width_and_height(self, read):
        (annotation,) = read(f"3 {OUTLINE}", ".txt").annotations
        drawn = rasterise(annotation, SIZE, {"class 3": 1})
        assert drawn.tolist() == rectangle(slice(1, 3), slice(2, 5))
        # At twice the size, twice the rows and columns.
        drawn = rasterise(annotation, (12, 16), {"class 3": 1})
        assert drawn.sum() == 4 * 6
        assert drawn[2:6, 4:10].all()

    def test_a_line_is_an_object(self, read):
        (annotation,) = read(f"0 {OUTLINE}\n\n1 0 0 0.2 0 0 0.2\n", ".txt").annotations
        assert rasterise_instances(annotation, SIZE).max() == 2

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("data.yaml", "path: .\nnames:\n  0: blue\n  1: red\n"),
            ("data.yaml", "nc: 2\nnames: ['blue', 'red']\n"),
            ("parts.yml", "names:\n- blue\n- red\n"),
            ("classes.txt", "blue\nred\n"),
            ("labels/classes.txt", "blue\nred\n"),
        ],
    )
    def test_names_are_in_a_file_above(self, tmp_path, name, text):
        write(tmp_path / name, text)
        path = write(tmp_path / "labels" / "train" / "a.txt", f"1 {OUTLINE}\n0 {OUTLINE}")
        assert read_annotations(path).labels == ("blue", "red")
        assert [s.label for s in read_annotations(path).annotations[0].shapes] == ["red", "blue"]

    def test_other_yaml_files_do_not_matter(self, tmp_path):
        write(tmp_path / "hyp.yaml", "lr0: 0.01\n")
        write(tmp_path / "own.yaml", "names: [cell]\n")
        path = write(tmp_path / "labels" / "a.txt", f"0 {OUTLINE}")
        assert read_annotations(path).labels == ("cell",)

    @pytest.mark.parametrize(
        ("names", "line", "message"),
        [
            ("names: [blue]", "1", "a.txt: the class is '1'; accepted are those with a name, 0$"),
            ("names: {0: [}", "0", r"data.yaml cannot be read \(.*\); accepted is YAML in UTF-8"),
            ("names: {x: blue}", "0", "the number of a class is 'x'; accepted are whole numbers"),
            ("names: ['']", "0", "data.yaml: class 0: the label is ''; accepted are 1 to 200"),
        ],
    )
    def test_faults_of_names_are_named(self, tmp_path, names, line, message):
        write(tmp_path / "data.yaml", names)
        path = write(tmp_path / "labels" / "a.txt", f"{line} {OUTLINE}")
        with pytest.raises(DataError, match=message):
            read_annotations(path)

    def test_boxes_and_lines_are_left_out_by_number(self, read):
        file = read(f"0 0.5 0.5 0.2 0.2\n0 0.1 0.1 0.2 0.2 0.4 0.4\n0 {OUTLINE}", ".txt")
        assert faults(file)["shape"] == [
            "line 1: it has a box and no outline",
            "line 2: its outline of 3 points encloses no area",
        ]
        assert len(file.annotations[0].shapes) == 1

    @pytest.mark.parametrize(
        "text", ["0 0.1 0.1 0.9", "0 0.1 0.1 0.9 0.1 0.5", "x 0.1 0.1 0.9 0.1"]
    )
    def test_other_lines_are_no_objects(self, tmp_path, text):
        assert annotation_format(write(tmp_path / "a.txt", f"0 {OUTLINE}\n{text}\n")) is None


def test_images_without_objects_have_an_empty_file(tmp_path):
    from PIL import Image

    for name, text in (("a", f"0 {OUTLINE}"), ("b", "")):
        for part in ("train", "val"):
            write(tmp_path / "labels" / part / f"{name}.txt", text)
            (tmp_path / "images" / part).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 6)).save(tmp_path / "images" / part / f"{name}.png")
    write(tmp_path / "data.yaml", "names: [cell]")
    write(tmp_path / "notes.txt", "")
    dataset = find_dataset(tmp_path)
    assert sorted(pair.name for pair in dataset.pairs) == [
        f"{part}/{name}" for part in ("train", "validation") for name in "ab"
    ]
    assert dataset.problems == ()
    counts = [len(find_annotation(pair.source).shapes) for pair in dataset.pairs]
    assert sorted(counts) == [0, 0, 1, 1]
