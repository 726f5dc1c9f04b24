"""Seeds of a watershed: peaks that rise far enough above the passes to higher ones.

A threshold has to suit all objects of an image: where it is low, objects that touch are one; where
it is high, some have no seed. How far a peak stands out, its prominence, does not depend on how
high its object reaches. Heights are cut at `HEIGHT_LEVELS` levels, from the top down: a region
without a peak is a new one, a region with one grows, and where regions meet, a peak that does not
stand out is given up.
"""

import math

import cv2
import numpy as np

HEIGHT_LEVELS = 40


def find_basins(heights: np.ndarray, inside: np.ndarray, prominence: float) -> np.ndarray:
    """Numbers prominent peaks, each with the pixels around it that no other one reaches first.

    Args:
        heights: Heights from 0 to 1, highest in the middle of objects, (H, W) float32.
        inside: Where peaks are looked for, (H, W) bool.
        prominence: Least height of a peak above the pass to a higher one, above 0; the highest peak
            of a region counts whatever its height.

    Returns:
        (H, W) int32: numbers of peaks, not all of which are used; 0 elsewhere. No region, without
        diagonals, has pixels of two numbers.

    Source: Grimaud, A new measure of contrast: the dynamics, SPIE 1769, 1992.

    >>> row = np.array([[0.9, 0.8, 0.5, 0.6, 0.2, 0.7]], np.float32)
    >>> find_basins(row, np.ones((1, 6), bool), 0.3)
    array([[1, 1, 1, 1, 0, 2]], dtype=int32)
    """
    numbers = np.zeros(heights.shape, np.int32)
    if not inside.any():
        return numbers
    levels = np.floor(heights * HEIGHT_LEVELS).astype(np.int32)
    least = math.ceil(prominence * HEIGHT_LEVELS - 1e-6)
    peaks = np.zeros(1, np.int32)  # the level of each number
    within = levels[inside]
    for level in range(int(within.max()), int(within.min()) - 1, -1):
        above = inside & (levels >= level)
        count, regions = cv2.connectedComponents(above.astype(np.uint8), connectivity=4)
        owners, is_new, is_given_up = _owners(numbers, regions, count, peaks, level + least)
        numbers[is_given_up[numbers]] = 0
        owners[is_new] = np.arange(len(peaks), len(peaks) + is_new.sum())
        peaks = np.append(peaks, np.full(is_new.sum(), level, np.int32))
        numbers = np.where(numbers == 0, owners[regions], numbers).astype(np.int32)
    return numbers


def _owners(
    numbers: np.ndarray, regions: np.ndarray, count: int, peaks: np.ndarray, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decides which peak the free pixels of each region are given to.

    Args:
        numbers: Numbers of peaks so far, (H, W) int32.
        regions: Numbers of regions, (H, W) int32; each number of a peak lies in one of them.
        count: Number of regions, with the outside.
        peaks: Level of each peak, (P,) int32.
        least: Level that a peak beside a higher one must have.

    Returns:
        For each region, the number of its only peak or 0, int32, and whether it has none, bool;
        and for each peak whether it is given up, bool.
    """
    places = np.flatnonzero(numbers)
    found = regions.ravel()[places].astype(np.int64) * len(peaks) + numbers.ravel()[places]
    region_of, number_of = np.divmod(np.unique(found), len(peaks))
    order = np.lexsort((number_of, -peaks[number_of], region_of))
    region_of, number_of = region_of[order], number_of[order]
    is_highest = np.diff(region_of, prepend=-1) != 0
    is_kept = is_highest | (peaks[number_of] >= least)
    kept = np.bincount(region_of[is_kept], minlength=count)
    owners = np.zeros(count, np.int32)
    owners[region_of[is_highest]] = number_of[is_highest]
    owners[kept > 1] = 0
    is_new = kept == 0
    is_new[0] = False
    is_given_up = np.zeros(len(peaks), bool)
    is_given_up[number_of[~is_kept]] = True
    return owners, is_new, is_given_up
