"""Values from JSON and XML are checked before use, and each fault is named with its place."""

import json
import math
import re
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.data.annotations import documents
from unetkit.data.annotations.documents import (
    LARGEST_NUMBER,
    at,
    attribute,
    filled_list,
    get,
    load_document,
    number,
    refusal,
    whole,
)
from unetkit.errors import DataError, DataNotFoundError

STEADY = settings(derandomize=True, max_examples=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def refused(message: str):
    """Expects a `DataError` of exactly this message."""
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


class TestLoadDocument:
    @given(JSON, st.booleans())
    @STEADY
    def test_json_comes_back(self, value, byte_order_mark):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.json"
            text = json.dumps(value, ensure_ascii=False)
            try:
                raw = text.encode("utf-8-sig" if byte_order_mark else "utf-8")
            except UnicodeEncodeError:  # half of a surrogate pair
                raw = json.dumps(value).encode()
            path.write_bytes(raw)
            assert load_document(path) == value

    def test_nan_is_read_and_left_to_the_checks_of_values(self, tmp_path):
        (tmp_path / "a.json").write_text("[NaN]")
        assert math.isnan(load_document(tmp_path / "a.json")[0])

    @pytest.mark.parametrize("suffix", [".xml", ".XML"])
    def test_xml_gives_its_root(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b'\xef\xbb\xbf<?xml version="1.0"?><a b="\xc3\xbc"><c/></a>')
        root = load_document(path)
        assert (root.tag, root.get("b"), [child.tag for child in root]) == ("a", "ü", ["c"])

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.json", b'{"shapes": [', r"cannot be read \(Expecting .*; accepted is undamaged"),
            ("a.json", b"", "accepted is undamaged JSON; export it again"),
            ("a.json", b"[" * 10**6, "cannot be read .*recursion.*; accepted is undamaged JSON"),
            ("a.json", b'{"shapes": ' + b"9" * 5000 + b"}", "cannot be read .*4300 digits"),
            ("a.json", b'{"shapes": "\xfc"}', "cannot be read .*; accepted are files of UTF-8"),
            ("a.json", '{"shapes": []}'.encode("utf-16"), "UTF-8 text; save it as UTF-8"),
            ("a.xml", b"<annotations>", r"cannot be read \(no element found.*; accepted is"),
            ("a.xml", b"<annotations>\0</annotations>", "accepted is undamaged XML without a"),
            ("a.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "it declares a document type"),
            ("a.xml", b"<a>&b;</a>", "cannot be read .*undefined entity"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_damaged_files_are_refused(self, tmp_path, name, content, message):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"^it .*{message}"):
            load_document(path)

    def test_declared_encoding_cannot_smuggle_a_document_type(self, tmp_path):
        smuggled = '<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE a><annotations/>'
        (tmp_path / "a.xml").write_text(smuggled)
        with pytest.raises(DataError, match=r"cannot be read \("):
            load_document(tmp_path / "a.xml")

    def test_absent_file_is_named(self, tmp_path):
        with pytest.raises(
            DataNotFoundError, match=r"b.json does not exist; accepted is a JSON or XML file$"
        ):
            load_document(tmp_path / "b.json")

    def test_folder_is_no_file(self, tmp_path):
        (tmp_path / "a.json").mkdir()
        with pytest.raises(
            DataError,
            match=r"^it is not a file, or has [\d,]+ bytes; accepted are files of up to "
            "536,870,912 bytes; split it$",  # 512 times 1024 squared
        ):
            load_document(tmp_path / "a.json")

    def test_huge_file_is_refused_unread(self, tmp_path, monkeypatch):
        monkeypatch.setattr(documents, "LARGEST_FILE", 10)
        (tmp_path / "a.json").write_text('{"shapes": []}')
        with pytest.raises(
            DataError, match=r"or has 14 bytes; accepted are files of up to 10 bytes"
        ):
            load_document(tmp_path / "a.json")
        (tmp_path / "a.json").write_text("[        ]")
        assert load_document(tmp_path / "a.json") == []  # 10 bytes

    def test_a_path_that_the_system_refuses_is_a_fault_of_the_data(self):
        with pytest.raises(DataError, match=r"^it cannot be read \(.*null.*; save it as UTF-8$"):
            load_document(Path("a\0.json"))


class TestPlaces:
    def test_outer_places_come_first(self):
        with refused("a.json: shape 3: it is wrong"), at("a.json"), at("shape 3"):
            raise DataError("it is wrong")

    def test_the_cause_is_kept(self):
        cause = ValueError("9")
        with pytest.raises(DataError) as caught, at("a.json"):
            raise DataError("it is wrong") from cause
        assert caught.value.__cause__ is cause

    @pytest.mark.parametrize("error", [DataNotFoundError("gone"), ValueError("other")])
    def test_other_errors_pass_unchanged(self, error):
        with pytest.raises(type(error)) as caught, at("a.json"):
            raise error
        assert caught.value is error

    def test_nothing_happens_without_an_error(self):
        with at("a.json"):
            assert whole(4, "height") == 4


class TestRefusal:
    def test_value_and_remedy_are_named(self):
        error = refusal("size", [1, "a"], "is a number", "export it again")
        assert str(error) == "size is [1, 'a']; accepted is a number; export it again"

    def test_none_is_missing(self):
        assert str(refusal("size", None, "is a number")) == "size is missing; accepted is a number"

    @given(st.text(min_size=200, max_size=300) | st.integers(10**200, 10**300))
    @STEADY
    def test_long_values_are_shortened(self, value):
        # 5 characters before the value, 15 after it, and at most 40 of it
        assert len(str(refusal("a", value, "is b"))) <= 60


class TestGet:
    @pytest.mark.parametrize(
        ("value", "kinds"),
        [({}, [dict]), ([], [list]), ("", [str]), (0, [int]), (5, [str, int]), ("5", [str, int])],
    )
    def test_a_value_of_an_accepted_type_is_returned(self, value, kinds):
        assert get({"key": value}, "key", *kinds) is value

    @pytest.mark.parametrize(
        ("value", "kinds", "message"),
        [
            (5, [dict], "key is 5; accepted is an object"),
            ({}, [list], "key is {}; accepted is a list"),
            ([], [str], "key is []; accepted is text"),
            (1.0, [int], "key is 1.0; accepted is a whole number"),
            (True, [int], "key is True; accepted is a whole number"),  # a bool is an int in Python
            (None, [int, str], "key is missing; accepted is a whole number or text"),
        ],
    )
    def test_a_value_of_another_type_is_refused(self, value, kinds, message):
        with refused(message):
            get({"key": value}, "key", *kinds)

    def test_an_absent_key_is_missing(self):
        with refused("key is missing; accepted is text"):
            get({"other": "a"}, "key", str)

    @pytest.mark.parametrize(
        ("record", "seen"), [(5, "5"), ([], "[]"), (None, "missing"), ("key", "'key'")]
    )
    def test_a_record_must_be_an_object(self, record, seen):
        with refused(f"it is {seen}; accepted is an object that has key"):
            get(record, "key", str)


class TestFilledList:
    def test_a_list_is_returned_as_it_is(self):
        value = [None]
        assert filled_list(value, "an outline") is value

    @pytest.mark.parametrize(
        ("value", "seen"), [([], "[]"), ((1,), "(1,)"), ("ab", "'ab'"), (None, "missing")]
    )
    def test_anything_else_is_refused(self, value, seen):
        with refused(
            f"an outline is {seen}; accepted is a list that is not empty; complete or remove it"
        ):
            filled_list(value, "an outline")


class TestWhole:
    @pytest.mark.parametrize("value", [1, 4, 4.0, LARGEST_NUMBER, float(LARGEST_NUMBER)])
    def test_whole_numbers_become_int(self, value):
        result = whole(value, "height")
        assert (result, type(result)) == (value, int)

    def test_the_lowest_number_may_be_another(self):
        assert whole(0, "top", lowest=0) == 0
        with refused("top is 1; accepted are whole numbers from 2 to 1000000"):
            whole(1, "top", lowest=2)

    @pytest.mark.parametrize(
        ("value", "seen"),
        [
            (0, "0"),
            (-1, "-1"),
            (LARGEST_NUMBER + 1, "1000001"),
            (1.5, "1.5"),
            (True, "True"),
            ("4", "'4'"),
            ([4], "[4]"),
            (None, "missing"),
            (math.nan, "nan"),
            (math.inf, "inf"),
        ],
    )
    def test_anything_else_is_refused(self, value, seen):
        with refused(f"height is {seen}; accepted are whole numbers from 1 to 1000000"):
            whole(value, "height")

    @given(st.integers() | st.floats())
    @STEADY
    def test_a_number_comes_back_or_is_refused(self, value):
        accepted = math.isfinite(value) and 1 <= value <= LARGEST_NUMBER and value == int(value)
        if accepted:
            assert whole(value, "height") == value
        else:
            with pytest.raises(
                DataError, match=r"^height is .*; accepted are whole numbers from 1"
            ):
                whole(value, "height")


class TestNumber:
    @pytest.mark.parametrize(
        ("text", "value"), [("4", 4), ("-2.5", -2.5), ("1e3", 1000), (" 7 ", 7), ("1000000", 10**6)]
    )
    def test_text_becomes_a_number(self, text, value):
        assert number(text, "x") == value

    @given(st.floats(-LARGEST_NUMBER, LARGEST_NUMBER))
    @STEADY
    def test_a_printed_number_comes_back(self, value):
        assert number(repr(value), "x") == value

    @pytest.mark.parametrize("text", ["", "a", "nan", "inf", "-inf", "1e7", "-1000001", "1,5"])
    def test_other_text_is_refused(self, text):
        with refused(f"x is {text!r}; accepted are numbers from -1000000 to 1000000"):
            number(text, "x")

    def test_an_attribute_is_a_number_or_its_default(self):
        element = ElementTree.fromstring('<box left="2.5" top=""/>')
        assert attribute(element, "left") == 2.5
        assert attribute(element, "left", "7") == 2.5
        assert attribute(element, "rotation", "0") == 0
        with refused("rotation is missing; accepted are numbers from -1000000 to 1000000"):
            attribute(element, "rotation")
        with refused("top is ''; accepted are numbers from -1000000 to 1000000"):
            attribute(element, "top", "0")
