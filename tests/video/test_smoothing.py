"""Means over windows of frames, which end at cuts."""

from itertools import pairwise

import numpy as np
import pytest

from unetkit.errors import ConfigError
from unetkit.video.frames import Frame
from unetkit.video.smoothing import ScoredFrame, is_cut, mean_of, radius_of, thumbnail, windows_of


def scored(levels):
    """Frames of one grey level each, whose probabilities are their numbers."""
    return [
        ScoredFrame(
            Frame(number, number / 10, np.full((20, 30, 3), level, np.uint8)),
            np.full((1, 1, 2), number, np.float32),
        )
        for number, level in enumerate(levels)
    ]


def numbers_of(frames, radius):
    """Numbers of the frames in each window."""
    found = list(windows_of(iter(frames), radius))
    assert [frame.number for frame, _ in found] == list(range(len(frames)))
    return [[int(one[0, 0, 0]) for one in window] for _, window in found]


def test_windows_are_centred_and_shorter_at_the_ends():
    assert numbers_of(scored([10] * 5), 1) == [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4]]
    assert numbers_of(scored([10] * 3), 4) == [[0, 1, 2]] * 3
    assert numbers_of(scored([10] * 2), 0) == [[0], [1]]
    assert numbers_of([], 2) == []


def test_windows_end_at_a_cut():
    # Levels 0 and 1, then a cut to 200 and 201, and one back.
    assert numbers_of(scored([0, 1, 200, 201, 0]), 2) == [[0, 1], [0, 1], [2, 3], [2, 3], [4]]


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_windows_are_those_of_a_plain_loop(radius):
    rng = np.random.default_rng(radius)
    levels = np.repeat(rng.permutation([0, 60, 120, 180, 240]), rng.integers(1, 7, 5)).tolist()
    shots = np.cumsum([0, *(abs(a - b) > 28 for a, b in pairwise(levels))])
    wanted = [
        [n for n in range(len(levels)) if abs(n - t) <= radius and shots[n] == shots[t]]
        for t in range(len(levels))
    ]
    assert numbers_of(scored(levels), radius) == wanted


def test_a_window_is_yielded_as_soon_as_it_is_complete():
    taken = []
    frames = (taken.append(one.frame.number) or one for one in scored([10] * 9))
    assert next(windows_of(frames, 2))[0].number == 0
    assert taken == [0, 1, 2]


def test_frames_without_probabilities_are_left_out():
    frames = [ScoredFrame(one.frame, None) for one in scored([10] * 3)]
    assert numbers_of(frames, 1) == [[], [], []]


def test_the_mean_is_that_of_numpy_and_changes_nothing():
    window = list(np.random.default_rng(0).random((3, 4, 5, 2), np.float32))
    before = [one.copy() for one in window]
    assert mean_of(window) == pytest.approx(np.mean(np.float64(window), axis=0), abs=1e-6)
    assert np.array_equal(window, before)


def test_a_moving_camera_is_no_cut():
    photo = np.random.default_rng(0).integers(0, 255, (8, 10, 3), np.uint8)
    photo = photo.repeat(40, 0).repeat(40, 1)
    one, other = (thumbnail(photo[:, at : at + 300]) for at in (0, 6))
    assert not is_cut(one, other)
    assert is_cut(one, thumbnail(255 - photo[:, :300]))


@pytest.mark.parametrize("smooth", [0, 2, -3, 33])
def test_windows_without_a_middle_or_too_large_are_refused(smooth):
    message = rf"smooth is {smooth}; accepted are odd numbers of frames from 1 .* to 31"
    with pytest.raises(ConfigError, match=message):
        radius_of(smooth)
    assert radius_of(5) == 2
