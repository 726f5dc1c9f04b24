"""Summaries of mask values over a data set: colours, instances, masks unlike the others.

These functions only describe; what the values mean is decided in `class_inference`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unetkit.checks.statistics import PairStatistics

MINORITY_FRACTION = 0.1  # of the masks; a kind that fewer have is a mistake in the data
MIN_QUANTITIES = 4  # different numbers of objects, with which objects may be in pieces
ONE_PIECE_FRACTION = 0.9  # of the values; if more are one region each, they look like objects
MIN_OBJECTS = 3  # in the mask with the most values
CERTAIN_OBJECTS = 25  # the same; no image has so many classes, each of them in one piece
COUNTED_OBJECTS = 8  # the same, where the values of each mask run from 1 to their number


def value_to_colour(stats: PairStatistics, value: int) -> int:
    """Returns the colour 0xRRGGBB in which a value of a mask is displayed."""
    if stats.is_colour:
        return value
    if stats.palette is not None:
        red, green, blue = map(int, stats.palette[min(max(value, 0), len(stats.palette) - 1)])
        return red << 16 | green << 8 | blue
    return min(max(value, 0), 255) * 0x010101


def colour_fractions(statistics: Sequence[PairStatistics]) -> dict[int, float]:
    """Returns each colour's fraction of all mask pixels; grey and palette values as colours."""
    counts: dict[int, int] = {}
    for stats in statistics:
        for value, count in stats.values.items():
            if isinstance(value, int):
                colour = value_to_colour(stats, value)
                counts[colour] = counts.get(colour, 0) + count
    total = max(1, sum(counts.values()))
    return {colour: count / total for colour, count in counts.items()}


def is_instance_like(
    statistics: Sequence[PairStatistics], ignore: int | None = None, least: int = MIN_OBJECTS
) -> bool:
    """Whether the values of integer masks look like object numbers rather than classes.

    The pixels of a class form many regions, or the class occurs in every image; an object is one
    region, and the number of objects differs between images. Objects of several pieces are told by
    their numbers, which run from 1 up in each mask.

    Args:
        statistics: Statistics of the pairs that can be read.
        ignore: Mask value that is left out; None for no value.
        least: Number of values that the mask with the most of them has at least.
    """
    num_regions, num_values = 0, 0
    values_per_mask: set[int] = set()
    run_from_one = True
    for stats in statistics:
        regions = stats.regions[stats.regions[:, 0] != (-1 if ignore is None else ignore)]
        if not len(regions):
            continue
        present = np.unique(regions[:, 0])
        run_from_one &= bool(present[-1] == len(present))
        num_values += len(present)
        num_regions += len(regions)
        values_per_mask.add(len(present))
    return (
        len(values_per_mask) > 1
        and max(values_per_mask) >= least
        and (
            num_values >= ONE_PIECE_FRACTION * num_regions
            or (run_from_one and len(values_per_mask) >= MIN_QUANTITIES)
        )
    )


def are_certain_objects(statistics: Sequence[PairStatistics], ignore: int | None = None) -> bool:
    """Whether the values of integer masks can hardly be anything but object numbers.

    Each is in one piece, and there are more than an image has classes; or fewer, but in each mask
    they run from 1 to a number that differs between masks: of classes, a mask would then never
    lack one and have the next.

    Args:
        statistics: Statistics of the pairs that can be read.
        ignore: Mask value that is left out; None for no value.
    """
    if is_instance_like(statistics, ignore, CERTAIN_OBJECTS):
        return True
    values = [np.unique(s.regions[s.regions[:, 0] != ignore, 0]) for s in statistics]
    values = [one for one in values if len(one)]
    return (
        is_instance_like(statistics, ignore, COUNTED_OBJECTS)
        and all(one[-1] == len(one) for one in values)
        and len({len(one) for one in values}) >= MIN_QUANTITIES
    )


def find_odd_masks(
    statistics: Sequence[PairStatistics], given: Mapping[str, Any], kind: str | None
) -> dict[int, str]:
    """Finds the few masks of another kind than most, such as JPEGs among PNGs.

    Args:
        statistics: Statistics of the pairs that can be read.
        given: Arguments of `Classes` from options or `classes.toml`.
        kind: Kind of the masks according to the folder layout; None if it is not known.

    Returns:
        For the index of each such pair in `statistics`, the reason why it cannot be used.
    """
    masks = [index for index, stats in enumerate(statistics) if not stats.is_drawn]
    found: dict[int, str] = {}
    if "threshold" not in given:
        for index in _minority([p for p in masks if statistics[p].is_lossy], masks):
            found[index] = (
                f"mask {statistics[index].pair.mask} is a JPEG, unlike most others, and JPEG "
                "compression changes class values; accepted are PNG, TIFF, BMP and GIF; export it "
                "again from its source, or remove the pair"
            )
    if _are_numbers(statistics, given, kind):
        for index in _minority([p for p in masks if statistics[p].is_colour], masks):
            found.setdefault(
                index,
                f"mask {statistics[index].pair.mask} has colours, and most others have integers; "
                "accepted is one kind for all masks; convert it to integers, or remove the pair",
            )
    return found


def _minority(indices: Sequence[int], of: Sequence[int]) -> Sequence[int]:
    """Returns the indices if they are a small fraction of all, otherwise none."""
    return indices if len(indices) < MINORITY_FRACTION * len(of) else ()


def _are_numbers(
    statistics: Sequence[PairStatistics], given: Mapping[str, Any], kind: str | None
) -> bool:
    """Whether grey masks have class numbers, rather than the colours black and white."""
    kind = given.get("kind") or kind
    if kind is not None or "threshold" in given or "values" in given:
        return kind != "colours"
    grey = [
        stats for stats in statistics if not (stats.is_drawn or stats.is_colour or stats.is_lossy)
    ]
    values = {value for stats in grey if stats.palette is None for value in stats.values}
    return not values <= {0, 255}
