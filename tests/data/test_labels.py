"""Labels mean background or ignored pixels by themselves; spellings of one label are found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetkit.data.labels import (
    find_spellings,
    is_background_label,
    is_ignore_label,
    spelling_of,
)


@pytest.mark.parametrize("label", ["background", "_background_", "Background", " BACKGROUND "])
def test_labels_of_the_background(label):
    assert is_background_label(label)
    assert not is_ignore_label(label)


@pytest.mark.parametrize(
    "label",
    ["__ignore__", "Ignore*", "Ignored", "void", "unlabelled", "Tumour: Ignore*", "don't care"],
)
def test_labels_of_ignored_pixels(label):
    assert is_ignore_label(label)
    assert not is_background_label(label)


@pytest.mark.parametrize("label", ["cell", "backgrounds", "ignorance", "a*b", "voids"])
def test_other_labels_mean_nothing_by_themselves(label):
    assert not is_background_label(label)
    assert not is_ignore_label(label)


@given(st.text(), st.integers(0, 9))
def test_case_and_spaces_do_not_change_the_spelling(label, place):
    other = f" {label[:place]} {label[place:]}\t"
    assert spelling_of(other) == spelling_of(label)


def test_labels_that_differ_by_more_are_no_spellings():
    assert find_spellings(["box", "boxes", "b-ox"]) == []
    assert find_spellings(["disc", "box ", "Box", "box", "box"]) == [["Box", "box", "box "]]
