"""Counts agree with their nouns."""

import pytest

from unetkit._shared.wording import format_count


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
