"""Find pictures that occur twice: the same file, or nearly the same picture.

Nearly the same: thumbnails of 32 x 32 pixels, each with mean 0 and length 1, whose inner product
(their correlation) is close to 1. It sees through another size, format, quality or brightness; it
does not see crops and mirror images.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unetkit.checks.statistics import PairStatistics

NEAR = 0.97  # correlation of thumbnails; see docs/log.md for how it was found
BLOCK = 1024  # pictures compared with all others at a time
MOST_NEAR = 100_000  # near pairs that are kept


@dataclass(frozen=True)
class Duplicates:
    """Pictures that occur more than once, as places in the looks.

    Args:
        exact: Groups whose image files are equal to the byte.
        near: Groups of nearly equal pictures, each connected by likenesses, exact ones included.
    """

    exact: tuple[tuple[int, ...], ...]
    near: tuple[tuple[int, ...], ...]


def find_duplicates(looks: Sequence[PairStatistics]) -> Duplicates:
    """Compares all pictures with one another."""
    by_bytes: dict[tuple[str, int | None], list[int]] = defaultdict(list)
    for place, look in enumerate(looks):
        by_bytes[look.image_sha256, look.pair.page].append(place)
    exact = [tuple(places) for places in by_bytes.values() if len(places) > 1]
    links = [(group[0], other) for group in exact for other in group[1:]]
    return Duplicates(tuple(exact), _groups(len(looks), [*links, *_near(looks)]))


def _near(looks: Sequence[PairStatistics]) -> list[tuple[int, int]]:
    places = np.array([i for i, look in enumerate(looks) if not look.is_flat], np.int64)
    if len(places) < 2:
        return []
    prints = np.stack([looks[i].thumbnail.ravel() for i in places]).astype(np.float32)
    prints -= prints.mean(axis=1, keepdims=True)
    prints /= np.maximum(np.linalg.norm(prints, axis=1, keepdims=True), 1e-6)
    found: list[tuple[int, int]] = []
    for start in range(0, len(prints), BLOCK):
        likeness = prints[start : start + BLOCK] @ prints[start:].T
        rows, columns = np.nonzero(likeness >= NEAR)
        after = rows < columns
        # Of a film that stands still, all are near all: cut before they become Python's numbers.
        first, second = (
            places[start + side[after][: MOST_NEAR - len(found)]] for side in (rows, columns)
        )
        found += zip(first.tolist(), second.tolist(), strict=True)
        if len(found) >= MOST_NEAR:
            break
    return found


def _groups(count: int, links: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Places that links connect, directly or through others."""
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for one, other in links:
        parent[root(other)] = root(one)
    members: dict[int, list[int]] = defaultdict(list)
    for place in range(count):
        members[root(place)].append(place)
    return tuple(tuple(group) for group in members.values() if len(group) > 1)
