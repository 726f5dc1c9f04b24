"""Counts agree with their nouns, and text from outside is on one line."""

import pytest

from unetkit._shared.wording import format_count, printable


@pytest.mark.parametrize(
    ("items", "words", "text"),
    [
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (0, ("image",), "0 images"),
        (1, ("class", "classes"), "1 class"),
        (3, ("class", "classes"), "3 classes"),
        (["a"], ("mask is", "masks are"), "1 mask is"),
        (12_345, ("pair",), "12,345 pairs"),
    ],
)
def test_a_count_has_its_noun_in_singular_or_plural(items, words, text):
    assert format_count(items, *words) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("a\nb\r", "a\\nb\\r"),
        ("\x1b[31m\x9b", "\\x1b[31m\\x9b"),
        ("\u202eabc\u2069", "\\u202eabc\\u2069"),
        ("bytes \udc80", "bytes \\udc80"),
        ("細胞\u3000\xa0😀", "細胞\u3000\xa0😀"),
    ],
)
def test_what_is_not_visible_is_escaped(text, expected):
    assert printable(text) == expected
