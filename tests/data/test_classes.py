"""What masks mean: classes that fit together, their colours, and the file beside the data."""

import json
import tempfile
from operator import itemgetter
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from unetkit.data.classes import (
    CLASS_COLOURS,
    TRIMAP_CLASSES,
    Classes,
    find_class_file,
    parse_value,
    read_class_file,
)
from unetkit.errors import ConfigError, DataError

EXAMPLE = """
kind = "colours"
background = "road side"
border = "edge"
ignore = "#ffffff"

[classes]
"road side" = "#000000"
road = [128, 64, 128]
edge = "#FF00ff"

[colours]
"road side" = "#000000"
road = "#ff0000"
edge = [1, 2, 3]
"""

NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1)


def write(folder: Path, text, name="classes.toml") -> Path:
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


class TestClasses:
    def test_the_number_of_classes_is_that_of_names(self):
        assert len(TRIMAP_CLASSES) == 3

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, "0 sky, 1 road"),
            ({"values": (0, 255)}, "0 sky, 255 road"),
            ({"ignore": 255}, "0 sky, 1 road; 255 ignored"),
            ({"threshold": 127}, "up to 127 sky, above it road"),
            ({"kind": "instances"}, "0 sky, every other value one road"),
            ({"kind": "colours", "values": (0xFF8000, 255)}, "#ff8000 sky, #0000ff road"),
            ({"kind": "colours", "ignore": 0xFFFFFF}, "#000000 sky, #000001 road; #ffffff ignored"),
        ],
    )
    def test_classes_describe_themselves(self, options, expected):
        given = {"values": (0, 1), **options}
        assert Classes(("sky", "road"), **given).describe() == expected

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"values": (0,)}, r"2 names, 1 values and 2 colours; accepted are 2 to 255, and the"),
            ({"names": ("a",), "values": (0,)}, "1 names, 1 values and 1 colours"),
            ({"colours": ((0, 0, 0),)}, "2 names, 2 values and 1 colours"),
            ({"names": ("a", "a")}, r"class names \['a', 'a'\] or values \[0, 1\] repeat"),
            ({"values": (1, 1)}, r"values \[1, 1\] repeat; accepted are different"),
            ({"names": ("a", "")}, "class name '' is empty, too long or has unprintable"),
            ({"names": ("a", "b\n")}, r"class name 'b\\n' is empty, too long"),
            ({"names": ("a", "b" * 201)}, "accepted are 1 to 200 printable ones"),
            ({"values": (0, -1)}, r"class values are \[0, -1\]; accepted are whole numbers from 0"),
            ({"values": (0, 65536)}, "from 0 to 65535"),
            ({"kind": "colours", "values": (0, 1 << 24)}, "from 0 to 16777215"),
            ({"ignore": 65536}, r"class values are \[0, 1, 65536\]"),
            ({"ignore": 1}, "1 is both a class and the value to ignore; accepted is one of them"),
            ({"ignore": 0}, "0 is both a class"),
            ({"kind": "colours", "ignore": 0}, "#000000 is both a class"),
            ({"kind": "instances", "values": (0, 2)}, r"instance masks have the values \[0, 2\]"),
            ({"kind": "colours", "threshold": 9}, "threshold is 9 for 2 colours; accepted are"),
            (
                {"names": ("a", "b", "c"), "values": (0, 1, 2), "threshold": 9},
                "threshold is 9 for 3 classes; accepted are thresholds for two classes",
            ),
            ({"background": 2}, "background is class 2; accepted are indices from 0 to 1; leave"),
            (
                {"labels": ("x",)},
                r"labels are \['x'\] for 2 classes; accepted are labels of the one",
            ),
            ({"border": -1}, "border is class -1; accepted are indices from 0 to 1"),
            ({"colours": ((0, 0, 0), (0, 0, 256))}, "colours are .* three whole numbers from 0 to"),
            ({"colours": ((0, 0, 0), (0, 0))}, "colours are .* per class"),
            ({"kind": "class"}, r"mask kind is 'class'; accepted are .*; did you mean 'classes'\?"),
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, options, expected):
        with pytest.raises(ConfigError, match=expected):
            Classes(**{"names": ("a", "b"), "values": (0, 1), **options})


class TestColours:
    def test_the_background_is_black_and_the_others_are_of_the_palette(self):
        classes = Classes(("a", "b", "c"), (0, 1, 2), background=1)
        assert classes.colours == (CLASS_COLOURS[0], (0, 0, 0), CLASS_COLOURS[1])

    def test_classes_of_colours_are_shown_as_they_are_drawn(self):
        classes = Classes(("a", "b"), (0x000000, 0x804020), kind="colours")
        assert classes.colours == ((0, 0, 0), (128, 64, 32))

    def test_colours_that_are_given_stand(self):
        assert Classes(("a", "b"), (0, 1), colours=((9, 9, 9), (8, 8, 8))).colours[0] == (9, 9, 9)

    @given(st.integers(2, 255), st.booleans())
    def test_many_classes_have_colours_of_their_own(self, count, has_background):
        names = tuple(f"c{i}" for i in range(count))
        classes = Classes(names, tuple(range(count)), background=0 if has_background else None)
        assert len(set(classes.colours)) == count


class TestClassFiles:
    @pytest.mark.parametrize("name", ["classes.toml", "classes.json"])
    def test_the_file_beside_the_data_is_found(self, tmp_path, name):
        assert find_class_file(tmp_path) is None
        path = write(tmp_path, "", name)
        assert find_class_file(tmp_path) == path

    def test_two_files_are_not_chosen_between(self, tmp_path):
        for name in ("classes.toml", "classes.json"):
            write(tmp_path, "", name)
        with pytest.raises(DataError, match=r"classes\.json both exist; accepted is one; remove"):
            find_class_file(tmp_path)

    def test_all_keys_at_once(self, tmp_path):
        found = read_class_file(write(tmp_path, EXAMPLE))
        assert found == {
            "kind": "colours",
            "names": ("road side", "road", "edge"),
            "values": (0, 0x804080, 0xFF00FF),
            "background": 0,
            "border": 2,
            "ignore": 0xFFFFFF,
            "colours": ((0, 0, 0), (255, 0, 0), (1, 2, 3)),
        }
        assert Classes(**found).describe().startswith("#000000 road side, #804080 road")

    def test_json_says_the_same(self, tmp_path):
        text = {"classes": {"sky": 0, "road": 7}, "background": "sky", "ignore": 255}
        assert read_class_file(write(tmp_path, text, "classes.json")) == {
            "names": ("sky", "road"),
            "values": (0, 7),
            "background": 0,
            "ignore": 255,
        }

    def test_a_file_may_decide_one_thing(self, tmp_path):
        assert read_class_file(write(tmp_path, "threshold = 127")) == {"threshold": 127}
        assert read_class_file(write(tmp_path, 'kind = "instances"')) == {"kind": "instances"}
        assert read_class_file(write(tmp_path, "")) == {}

    def test_a_class_called_background_is_it(self, tmp_path):
        assert (
            read_class_file(write(tmp_path, "[classes]\nx = 1\nbackground = 0"))["background"] == 1
        )

    @pytest.mark.parametrize(
        ("value", "kind"),
        [("7", None), ('"7"', None), ('"#000007"', "colours"), ("[0, 0, 7]", "colours")],
    )
    def test_colours_tell_the_kind_and_numbers_do_not(self, tmp_path, value, kind):
        found = read_class_file(write(tmp_path, f"[classes]\na = 0\nb = {value}"))
        assert (found.get("kind"), found["values"]) == (kind, (0, 7))

    def test_files_of_a_windows_editor_are_read(self, tmp_path):
        assert read_class_file(write(tmp_path, "\ufeffthreshold = 9")) == {"threshold": 9}

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "treshold = 1",
                r"the key 'treshold'; accepted is kind, .*; did you mean 'threshold'\?",
            ),
            ("classes = 3", r"classes = 3; accepted is a table; write \[classes\] above it"),
            ("[classes]\na = 1.5", "has the value 1.5; accepted are whole numbers and colours"),
            ("[classes]\na = true", "has the value True"),
            ("[classes]\na = 1.5", "has the value 1.5; accepted are"),
            ("blended = 1", "has blended = 1; accepted is true or false"),
            ("[classes]\na = [1, 2]", r"has the value \[1, 2\]"),
            ("[classes]\na = [0, 300, 0]", r"has the value \[0, 300, 0\]"),
            ("[classes]\na = [0, 0, true]", "has the value"),
            ("ignore = []", r"has the value \[\]"),
            ('background = "sky"', "background = 'sky'; accepted is the name of a class"),
            ("border = 1\n[classes]\na = 0", "border = 1; accepted is a; use the name of a class"),
            ("[colours]\na = 1", r"\[colours\] for 'a'; accepted is a colour of a class"),
            (
                "[classes]\na = 0\n[colours]\nb = 1",
                r"\[colours\] for 'b'; accepted is a; add it to",
            ),
            (
                "[classes]\na = 0\nb = 1\n[colours]\na = 1",
                r"\[colours\] without 'b'; accepted is a",
            ),
            ("threshold = ", r"cannot be read \(.*\); accepted is TOML or JSON"),
        ],
    )
    def test_faults_are_named_with_the_file(self, tmp_path, text, expected):
        with pytest.raises(DataError, match=rf"classes\.toml.* {expected}"):
            read_class_file(write(tmp_path, text))

    @pytest.mark.parametrize("text", ["[1]", "3", "[" * 100_000, "{'a': 1}"])
    def test_json_that_is_no_table_is_refused(self, tmp_path, text):
        with pytest.raises(DataError, match=r"classes\.json (has a|cannot be read)"):
            read_class_file(write(tmp_path, text, "classes.json"))

    def test_another_encoding_is_refused(self, tmp_path):
        path = tmp_path / "classes.toml"
        path.write_bytes('[classes]\n"café" = 1'.encode("latin-1"))
        with pytest.raises(DataError, match=r"cannot be read .* accepted is TOML or JSON in UTF-8"):
            read_class_file(path)

    @given(
        st.lists(
            st.tuples(NAMES, st.integers(0, 65535)),
            min_size=2,
            unique_by=(itemgetter(0), itemgetter(1)),
        ),
        st.sampled_from(["toml", "json"]),
    )
    def test_names_and_values_come_back_in_their_order(self, classes, ending):
        table = {"classes": dict(classes)}
        with tempfile.TemporaryDirectory() as folder:
            text = tomli_w.dumps(table) if ending == "toml" else table
            found = read_class_file(write(Path(folder), text, f"classes.{ending}"))
        assert list(zip(found["names"], found["values"], strict=True)) == classes


class TestValues:
    @given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
    def test_a_colour_may_be_written_in_two_ways(self, red, green, blue):
        value = red * 65536 + green * 256 + blue
        assert parse_value(f"#{red:02x}{green:02X}{blue:02x}", "here") == value
        assert parse_value([red, green, blue], "here") == value

    @pytest.mark.parametrize(
        "value", ["#fff", "ff8000", "#ff80001", "--1", "1.0", "", None, 1.0, {}]
    )
    def test_anything_else_is_refused_with_its_source(self, value):
        with pytest.raises(DataError, match="--ignore has the value"):
            parse_value(value, "--ignore")


class TestLabels:
    def test_a_class_file_names_the_labels_of_classes(self, tmp_path):
        text = """
            ignore = ["__ignore__", "Ignore*"]
            [classes]
            ground = 0
            cell = ["cell", "Cell", "Zelle"]
            wall = "Wand"
        """
        found = read_class_file(write(tmp_path, text, "classes.toml"))
        assert found == {
            "names": ("ground", "cell", "wall"),
            "values": (0, 1, 2),
            "aliases": {"Cell": "cell", "Zelle": "cell", "Wand": "wall"},
            "ignored_labels": ("__ignore__", "Ignore*"),
        }
        classes = Classes(**found, background=0)
        assert classes.indices_of_labels() == {
            **{"ground": 0, "cell": 1, "wall": 2},
            **{"Cell": 1, "Zelle": 1, "Wand": 2},
        }

    def test_an_ignored_label_is_no_class(self):
        classes = Classes(("ground", "cell"), (0, 1), ignored_labels=("cell",))
        assert classes.indices_of_labels() == {"ground": 0}

    @pytest.mark.parametrize(
        "options",
        [{"aliases": {"Zelle": "cel"}}, {"aliases": {"a": "cell"}, "ignored_labels": ("a",)}],
    )
    def test_a_label_belongs_to_one_class(self, options):
        with pytest.raises(ConfigError, match=r"belongs to .*; accepted is one of ground, cell"):
            Classes(("ground", "cell"), (0, 1), **options)

    def test_blends_are_of_colours(self):
        with pytest.raises(ConfigError, match="blended is true for classes; accepted is that for"):
            Classes(("ground", "cell"), (0, 1), blended=True)


def test_a_class_file_beside_the_masks_goes_before_that_of_the_data(tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    assert find_class_file(tmp_path, masks) is None
    (tmp_path / "classes.toml").write_text("")
    assert find_class_file(tmp_path, masks) == tmp_path / "classes.toml"
    (masks / "classes.json").write_text("{}")
    assert find_class_file(tmp_path, masks) == masks / "classes.json"
