"""Probabilities averaged over neighbouring frames, so that masks flicker less.

    p'_t = mean of p_s for s from t - r to t + r, in the same shot as t

A centred window adds no delay, and a frame depends on few others, so that an interrupted run
continues with the same bytes; an exponential mean would depend on all frames before. At a cut, and
at the ends of a video, the window is shorter.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from unetkit.errors import ConfigError
from unetkit.video.frames import Frame

MOST_SMOOTHED = 31  # frames of a window
COMPARED_SIDE = 16  # pixels of a side of the frames that are compared
# Mean difference of two frames, in levels of 255, from which they belong to two shots: any two of
# 400 photos differ by more, frames of a camera that pans by 2 % of its width by less (docs/log.md).
CUT_LEVELS = 28.0


@dataclass(frozen=True)
class ScoredFrame:
    """A frame and its probabilities.

    Args:
        frame: The frame.
        probabilities: (H, W, K) float32; None if they are not needed.
    """

    frame: Frame
    probabilities: np.ndarray | None


def radius_of(smoothed: int) -> int:
    """Number of frames on each side of the middle of a window.

    Raises:
        ConfigError: `smoothed`, the number of frames of the window, has no middle or is too large.
    """
    if smoothed % 2 == 0 or not 1 <= smoothed <= MOST_SMOOTHED:
        raise ConfigError(
            f"smooth is {smoothed}; accepted are odd numbers of frames from 1 (no smoothing) to "
            f"{MOST_SMOOTHED}, of which the frame itself is the middle"
        )
    return smoothed // 2


def windows_of(
    frames: Iterable[ScoredFrame], radius: int
) -> Iterator[tuple[Frame, list[np.ndarray]]]:
    """Yields each frame with the probabilities of its window, as soon as all are known.

    Args:
        frames: All frames, in order.
        radius: Number of frames on each side.
    """
    # Frames from `radius` before the next one to be yielded, with the number of their shot.
    held: deque[tuple[ScoredFrame, int]] = deque()
    shot, before, place = 0, None, 0

    def window(middle: int) -> tuple[Frame, list[np.ndarray]]:
        chosen = list(held)[max(0, middle - radius) : middle + radius + 1]
        own = held[middle][1]
        found = [one.probabilities for one, number in chosen if number == own]
        return held[middle][0].frame, [one for one in found if one is not None]

    for one in frames:
        small = thumbnail(one.frame.pixels)
        shot += before is not None and is_cut(before, small)
        before = small
        held.append((one, shot))
        if len(held) > place + radius:
            yield window(place)
            place += 1
        if place > radius:
            held.popleft()
            place -= 1
    while place < len(held):
        yield window(place)
        place += 1


def mean_of(window: list[np.ndarray]) -> np.ndarray:
    """Mean of arrays of the same shape, summed in order so that it is repeatable."""
    total = window[0].copy()
    for other in window[1:]:
        total += other
    total /= np.float32(len(window))
    return total


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A frame, (H, W, 3) uint8, at `COMPARED_SIDE` x `COMPARED_SIDE` pixels."""
    return cv2.resize(pixels, (COMPARED_SIDE, COMPARED_SIDE), interpolation=cv2.INTER_AREA)


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether another shot begins between two frames, given as thumbnails."""
    difference = np.abs(before.astype(np.float32) - after)
    return float(difference.mean()) > CUT_LEVELS
