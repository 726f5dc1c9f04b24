"""Find images that occur more than once: identical files, and nearly identical images.

Two images are nearly identical if the correlation of their thumbnails (32 x 32 pixels, each
normalised to mean 0 and norm 1) is close to 1, and stays so without what all images of the set have
in common, such as the round field of view of an eye's photo or the border of a slide. This finds
copies of another size, format, quality or brightness, but neither crops nor mirror images.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unetkit.checks.statistics import PairStatistics

NEAR_CORRELATION = 0.97  # correlation of thumbnails; docs/log.md has the measurement
OWN_CORRELATION = 0.95  # the same without the mean thumbnail of the set
SAME_CORRELATION = 0.999  # hardly anything differs, as in the frames of a still video
LEAST_SET = 8  # images whose mean tells what they have in common
BLOCK_SIZE = 1024  # images that are compared with all others at a time
MAX_NEAR_PAIRS = 100_000  # pairs of similar images that are kept


@dataclass(frozen=True)
class Duplicates:
    """Images that occur more than once, as groups of indices.

    Args:
        exact: Groups of identical image files.
        near: Groups of nearly identical images, identical ones included; within a group, images are
            linked directly or through others.
    """

    exact: tuple[tuple[int, ...], ...]
    near: tuple[tuple[int, ...], ...]


def find_duplicates(statistics: Sequence[PairStatistics]) -> Duplicates:
    """Compares all images with one another.

    Args:
        statistics: Statistics of the pairs that can be read.

    Returns:
        Groups of indices in `statistics`.
    """
    by_bytes: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for index, stats in enumerate(statistics):
        by_bytes[stats.image_sha256, stats.pair.page, stats.pair.block].append(index)
    exact = [tuple(indices) for indices in by_bytes.values() if len(indices) > 1]
    links = [(group[0], other) for group in exact for other in group[1:]]
    links += [pair for pair in _find_near(statistics) if not _are_blocks_of_one(statistics, *pair)]
    return Duplicates(tuple(exact), _groups(len(statistics), links))


def _are_blocks_of_one(statistics: Sequence[PairStatistics], one: int, other: int) -> bool:
    """Whether two images are blocks of one image, which may be alike, but are no copies."""
    first, second = statistics[one], statistics[other]
    is_same = (first.image_sha256, first.pair.page) == (second.image_sha256, second.pair.page)
    return is_same and first.pair.block != second.pair.block


def _find_near(statistics: Sequence[PairStatistics]) -> list[tuple[int, int]]:
    indices = np.array([i for i, stats in enumerate(statistics) if not stats.is_flat], np.int64)
    if len(indices) < 2:
        return []
    vectors = np.stack([statistics[i].thumbnail.ravel() for i in indices]).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    own = vectors - vectors.mean(axis=0) if len(vectors) >= LEAST_SET else vectors
    own = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-6)
    found: list[tuple[int, int]] = []
    for start in range(0, len(vectors), BLOCK_SIZE):
        stop = start + BLOCK_SIZE
        correlation = vectors[start:stop] @ vectors[start:].T
        near = correlation >= SAME_CORRELATION
        near |= (correlation >= NEAR_CORRELATION) & (
            own[start:stop] @ own[start:].T >= OWN_CORRELATION
        )
        rows, columns = np.nonzero(near)
        after = rows < columns
        # All frames of a still video are similar: limit the number before making Python integers.
        first, second = (
            indices[start + side[after][: MAX_NEAR_PAIRS - len(found)]] for side in (rows, columns)
        )
        found += zip(first.tolist(), second.tolist(), strict=True)
        if len(found) >= MAX_NEAR_PAIRS:
            break
    return found


def _groups(count: int, links: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Returns the groups of indices that links connect, directly or through others."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for one, other in links:
        parent[root(other)] = root(one)
    members: dict[int, list[int]] = defaultdict(list)
    for index in range(count):
        members[root(index)].append(index)
    return tuple(tuple(group) for group in members.values() if len(group) > 1)
