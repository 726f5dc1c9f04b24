"""Colours between those of the classes are the nearest; all others stay as they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetkit.data.classes import Classes
from unetkit.data.colours import closest_pair, is_blend, is_near, nearest_colours

BLACK, RED, BLUE, GREEN = 0x000000, 0xFF0000, 0x0000FF, 0x00FF00
THREE = Classes(("ground", "red", "blue"), (BLACK, RED, BLUE), kind="colours")


def mixture(fractions):
    """Colour of black, red and blue in these fractions."""
    total = sum(fractions) or 1
    return round(255 * fractions[1] / total) << 16 | round(255 * fractions[2] / total)


@given(st.tuples(*[st.integers(0, 100)] * 3).filter(any))
def test_a_mixture_of_three_is_the_nearest_of_them(fractions):
    colour = mixture(fractions)
    rgb = np.array([colour >> 16, colour >> 8 & 255, colour & 255])
    squares = [((rgb - (v >> 16, v >> 8 & 255, v & 255)) ** 2).sum() for v in THREE.values]
    found = int(nearest_colours(np.array([colour]), THREE)[0])
    assert squares[THREE.values.index(found)] == min(squares)


@pytest.mark.parametrize("colour", [GREEN, 0xFFFFFF, 0x808000, 0xFFFF00])
def test_another_colour_is_no_mixture(colour):
    assert not is_blend(np.array([colour]), THREE.values)[0]
    assert nearest_colours(np.array([[colour]]), THREE).tolist() == [[colour]]


def test_two_colours_are_joined_by_a_line():
    assert is_blend(np.array([0x800000, 0x801000, 0x808080]), (BLACK, RED)).tolist() == [
        True,
        True,  # 16 away from the line
        False,  # 181 away from it
    ]


def test_the_ignored_colour_is_one_of_them():
    classes = Classes(("ground", "red"), (BLACK, RED), kind="colours", ignore=0xFFFFFF)
    assert nearest_colours(np.array([0xF0F0F0, 0x101010]), classes).tolist() == [0xFFFFFF, BLACK]


def test_colours_that_noise_would_mix_up_are_found():
    assert closest_pair([BLACK, 0x140000, BLUE]) == (BLACK, 0x140000)
    assert closest_pair([BLACK, RED, BLUE]) is None
    assert closest_pair([BLACK]) is None


def test_noise_is_near_and_an_edge_is_not():
    # 10 away from black; half way to red.
    assert is_near(np.array([0x0A0000, 0x800000]), (BLACK, RED)).tolist() == [True, False]


def test_a_larger_tolerance_takes_what_overshoots():
    colour = np.array([0x804040])  # 91 = 64 * sqrt(2) away from the line from black to red
    assert not is_blend(colour, (BLACK, RED))[0]
    assert is_blend(colour, (BLACK, RED), 96)[0]
