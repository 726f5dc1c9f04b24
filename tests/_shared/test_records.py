"""JSON of others: parsed within limits, refused with place, value and accepted type."""

from typing import Annotated, Literal, TypedDict

import msgspec
import pytest

from unetkit._shared.records import (
    DEEPEST,
    Count,
    Number,
    RecordError,
    convert,
    parse_json,
    parse_toml,
    plain,
    read_json,
    refusing,
    shorten,
)
from unetkit.errors import DataError, ModelFileError


class Pair(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    page: Count | None = None


class Run(TypedDict):
    steps: Count
    loss: dict[str, Number]


class TestParse:
    def test_json_is_parsed(self):
        assert parse_json('{"a": [1, 2.5, null, true, "x"]}') == {"a": [1, 2.5, None, True, "x"]}

    def test_undecodable_bytes_of_file_names_survive(self):
        assert parse_json('"\\udcff"') == "\udcff"

    @pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
    def test_numbers_that_are_not_finite_are_refused(self, word):
        with pytest.raises(RecordError, match=f"^{word} is not a number of JSON$"):
            parse_json(f'{{"a": {word}}}')

    def test_a_key_that_occurs_twice_is_refused(self):
        with pytest.raises(RecordError, match=r"^the key 'a' occurs twice in an object$"):
            parse_json('{"b": {"a": 1, "a": 2}}')

    @pytest.mark.parametrize("depth", [DEEPEST + 1, 100_000])
    @pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")])
    def test_deep_nesting_is_refused(self, depth, start, end):
        with pytest.raises(RecordError, match=f"^it is nested deeper than {DEEPEST} levels$"):
            parse_json(start * depth + "1" + end * depth)

    def test_nesting_up_to_the_limit_is_accepted(self):
        assert parse_json("[" * DEEPEST + "]" * DEEPEST)

    @pytest.mark.parametrize("text", ["", "{", "nonsense", "[1,]", "9" * 9999])
    def test_other_text_is_refused(self, text):
        with pytest.raises(RecordError):
            parse_json(text)

    def test_a_large_file_is_refused_unread(self, tmp_path):
        (tmp_path / "a.json").write_text("[1, 2, 3]")
        assert read_json(tmp_path / "a.json", largest=9) == [1, 2, 3]
        with pytest.raises(
            RecordError, match=r"^it has 9 bytes; accepted are files of up to 8 bytes"
        ):
            read_json(tmp_path / "a.json", largest=8)

    def test_another_encoding_is_refused(self, tmp_path):
        (tmp_path / "a.json").write_bytes(b'"caf\xe9"')
        with pytest.raises(RecordError, match=r"^it is not UTF-8 text: "):
            read_json(tmp_path / "a.json")

    def test_a_byte_order_mark_is_skipped(self, tmp_path):
        (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
        assert read_json(tmp_path / "a.json") == [1]


class TestConvert:
    def test_a_struct_is_made(self):
        raw = [{"name": "a"}, {"name": "b", "page": 3}]
        assert convert(raw, list[Pair]) == [Pair("a"), Pair("b", 3)]

    @pytest.mark.parametrize(
        ("raw", "kind", "message"),
        [
            (3, dict[str, int], "$ is 3; accepted is an object"),
            ([], Pair, "$ is []; accepted is an object"),
            ([{"name": "a"}, 3], list[Pair], "$[1] is 3; accepted is an object"),
            ([{"name": 3}], list[Pair], "$[0].name is 3; accepted is text"),
            ([{"page": 3}], list[Pair], "$[0] has no key 'name'"),
            ([{"name": "a", "x": 3}], list[Pair], "$[0] has the unknown key 'x'"),
            (
                {"name": "a", "page": "3"},
                Pair,
                "$.page is '3'; accepted is a whole number or null",
            ),
            ({"name": "a", "page": True}, Pair, "$.page is True; accepted is a whole number or"),
            ({"name": "a", "page": -1}, Pair, "$.page is -1; accepted is a whole number >= 0"),
            ({"name": "a", "page": 1.5}, Pair, "$.page is 1.5; accepted is a whole number or null"),
            (10**400, Count, f"$ is {str(10**400)[:18]}"),
            ("x" * 999, int, "$ is 'xxxxxxxxxxxx...xxxxxxxxxxxxx'; accepted is a whole number"),
            (float("nan"), Number, "$ is nan; accepted is a number > -1"),
            (float("inf"), Number, "$ is inf; accepted is a number < 1"),
            (10**400, Number, "; accepted is a smaller number"),
            (True, Number, "$ is True; accepted is a number"),
            (1, bool, "$ is 1; accepted is true or false"),
            ([1, 2], Annotated[list[int], msgspec.Meta(min_length=3)], "accepted is a list of"),
            ("c", Literal["a", "b"], "$ is 'c', none of the accepted values"),
            ({"steps": 1}, Run, "$ has no key 'loss'"),
            ({"steps": 1, "loss": {"a": 1, "b": None, "c": "x"}}, Run, "$.loss.b is None; accept"),
        ],
    )
    def test_a_refusal_has_place_value_and_type(self, raw, kind, message):
        with pytest.raises(RecordError) as caught:
            convert(raw, kind)
        assert message in str(caught.value)

    @pytest.mark.parametrize("key", [*"abcdefg", "a.b", "x[3]", "", "`"])
    def test_the_key_of_a_refused_value_in_a_mapping_is_found(self, key):
        raw = {"a": dict.fromkeys((*"abcdefg", "a.b", "x[3]", "", "`"), 1), "b": {"c": 2}}
        raw["a"][key] = "wrong"
        with pytest.raises(RecordError) as caught:
            convert(raw, dict[str, dict[str, int]])
        assert str(caught.value) == f"$.a.{key} is 'wrong'; accepted is a whole number"

    def test_of_several_refused_values_the_first_is_named(self):
        raw = [{"a": 1}, {"a": 1, "b": {}, "c": "x"}]
        with pytest.raises(RecordError, match=r"^\$\[1\]\.b is \{\}; accepted is a whole number$"):
            convert(raw, list[dict[str, int]])

    def test_keys_that_are_no_unicode_are_refused_in_words(self):
        with pytest.raises(RecordError, match="UnicodeEncodeError"):
            convert({"name": "a", "\udcff": 1}, Pair)


class TestRefusing:
    def test_the_file_and_the_remedy_are_named(self):
        for error in (DataError, ModelFileError):
            with (
                pytest.raises(error, match=r"^a\.json cannot be used \(it is empty\); restore it$"),
                refusing("a.json", "restore it", error),
            ):
                raise RecordError("it is empty")

    def test_a_missing_file_is_left_to_the_caller(self, tmp_path):
        with pytest.raises(FileNotFoundError), refusing("a.json", "restore it"):
            read_json(tmp_path / "a.json")

    def test_a_folder_is_refused_in_words(self, tmp_path):
        with pytest.raises(DataError, match="cannot be used"), refusing(tmp_path, "restore it"):
            read_json(tmp_path)


def test_long_values_are_shortened():
    assert len(shorten("x" * 10_000)) < 40
    assert shorten(10**5000) == "a number too long to be shown"


def test_what_does_not_exist_is_null_in_json():
    assert plain({"a": [float("nan"), (1.0, "x"), -float("inf")]}) == {
        "a": [None, [1.0, "x"], None]
    }


class TestToml:
    def test_values_of_all_kinds(self):
        text = 'a.b = "x.y.z" # 1.2.3\nc = [0.25, 1e3, 0x10]\n[d]\nf = {g = true}'
        assert parse_toml(text) == {
            **{"a": {"b": "x.y.z"}, "c": [0.25, 1000.0, 16]},
            "d": {"f": {"g": True}},
        }

    def test_long_lists_of_numbers_and_texts_with_dots_are_no_keys(self):
        text = f"a = [{', '.join(['0.5'] * 500)}]\nb = '{'x.' * 500}'\nc = \"{'y.' * 500}\""
        assert len(parse_toml(text)["a"]) == 500

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (".".join("a" * 50_000) + " = 1", "line 1 has a key of more than 32 parts"),
            ("\n[" + " . ".join("a" * 9_000) + "]", "line 2 has a key of more than 32 parts"),
            ("a = {" + ".".join(['"b"'] * 9_000) + " = 1}", "line 1 has a key of more than 32"),
            ("a = " + "[" * 50_000 + "]" * 50_000, "it is nested deeper than 100 levels"),
            ("a = " + "[" * 150 + "]" * 150, "it is nested deeper than 100 levels"),
            ("a = " + "9" * 5000, "a whole number has thousands of digits"),
            ("a = 0x" + "f" * 5000, "is too large a number"),
            ("a = [[1, 99999999999999999999999]]", "99999999999999999999999 is too large a number"),
            ("a = ", "Invalid value"),
        ],
    )
    def test_what_is_deep_or_large(self, text, words):
        with pytest.raises(RecordError, match=words):
            parse_toml(text)
