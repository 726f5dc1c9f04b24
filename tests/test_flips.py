"""Files with a flipped bit are refused, or read with the pixels of another reader."""

import numpy as np
import pytest

pytest.importorskip("nibabel")
from tests.corpus.flips import OUTCOMES, flip, is_same
from tests.corpus.formats import FORMATS


def test_ten_formats_and_more_are_tried_each_with_two_readers():
    assert len(FORMATS) > 20
    assert {len(format.readers) for format in FORMATS.values()} == {2}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", FORMATS)
def test_no_flipped_bit_gives_pixels_that_nobody_else_reads(name):
    counts, wrong = flip(FORMATS[name], 60, seed=3)
    assert wrong == []
    assert sum(counts[outcome] for outcome in OUTCOMES if outcome != "other pixels") == 60
    if FORMATS[name].checked:
        assert counts["other pixels"] == 0


def test_pixels_are_compared_by_value():
    grey = np.array([[[0], [255]]], np.uint8)
    assert is_same(grey, grey[..., 0])
    assert is_same(grey, np.repeat(grey, 3, axis=2))
    assert is_same(grey, grey[..., 0] > 0)  # bits
    assert not is_same(grey, 255 - grey)
    assert not is_same(grey, grey[:, :1])
