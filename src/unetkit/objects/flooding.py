"""Watershed from seeds: each pixel is given to the seed from which it is reached first.

The result is that of `skimage.segmentation.watershed`, ties between seeds apart, which go to the
pixel that comes first in reading order. It needs neither SciPy nor scikit-image, and only visits
pixels outside of seeds, which are few where objects touch.
"""

import heapq

import cv2
import numpy as np


def flood(seeds: np.ndarray, landscape: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Grows seeds over a landscape, lowest pixels first, until they meet.

    Args:
        seeds: Numbers of seeds, (H, W) integers; 0 outside seeds.
        landscape: Heights, (H, W) float32.
        inside: Where seeds may grow, to all eight neighbours of a pixel, (H, W) bool.

    Returns:
        (H, W) int32: the number of a seed at each pixel; 0 outside, and where no seed reaches.

    Source: Meyer, 1991; scikit-image.

    >>> row = np.array([[1, 0, 0, 0, 2]])
    >>> flood(row, np.array([[0, 1, 5, 3, 0]], np.float32), np.ones((1, 5), bool))
    array([[1, 1, 1, 2, 2]], dtype=int32)
    """
    padded = np.pad(seeds.astype(np.int32), 1)
    is_open = np.pad(inside, 1) & (padded == 0)
    width = padded.shape[1]
    numbers, free = padded.ravel().tolist(), bytearray(is_open.ravel().tobytes())
    heights = np.pad(landscape, 1).ravel()
    steps = (-width, -1, 1, width, -width - 1, 1 - width, width - 1, width + 1)
    beside_open = cv2.dilate(is_open.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    starts = np.flatnonzero((beside_open & (padded > 0)).ravel())
    # Entries are (height, age, pixel): of equal heights, older ones come first.
    heap = [
        (height, 0, start)
        for height, start in zip(heights[starts].tolist(), starts.tolist(), strict=True)
    ]
    heapq.heapify(heap)
    height_of = heights.tolist()
    age, pop, push = 0, heapq.heappop, heapq.heappush
    while heap:
        _, _, pixel = pop(heap)
        number = numbers[pixel]
        for step in steps:
            neighbour = pixel + step
            if free[neighbour]:
                free[neighbour] = 0
                numbers[neighbour] = number
                age += 1
                push(heap, (height_of[neighbour], age, neighbour))
    found = np.array(numbers, np.int32).reshape(padded.shape)[1:-1, 1:-1]
    return np.where(inside | (seeds > 0), found, 0).astype(np.int32)
