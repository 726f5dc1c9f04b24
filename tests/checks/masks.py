"""Masks for the tests of checks, and their statistics."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unetkit.checks.statistics import PairStatistics, collect_statistics
from unetkit.data.pairs import Pair

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def mask_statistics(
    folder: Path, *masks: Any, suffix: str = ".png", **save: Any
) -> list[PairStatistics]:
    """Writes masks, each with a black image of its size, and collects their statistics."""
    pairs = []
    for number, mask in enumerate(masks):
        array = np.array(mask, np.uint8) if isinstance(mask, list) else mask
        image = mask if isinstance(mask, Image.Image) else Image.fromarray(array)
        pair = Pair(f"{number}", folder / f"{number}_image.png", folder / f"{number}{suffix}")
        Image.new("L", image.size).save(pair.image)
        image.save(pair.mask, **save)
        pairs.append(pair)
    statistics = collect_statistics(pairs)
    assert not any(one.problem for one in statistics)
    return statistics


def scattered(*values: int, dtype: Any = np.uint8, repeat: int = 4) -> np.ndarray:
    """Rows of single pixels of each value in turn: every value has many regions."""
    row = np.tile(np.array(values, dtype), repeat)
    return np.stack([row, np.zeros_like(row)] * 4)


def palette_mask() -> Image.Image:
    """Indices 0 and 1, shown in red and green."""
    mask = Image.fromarray(np.array([[0, 1, 0, 1]] * 4, np.uint8))
    mask.putpalette([*RED, *GREEN])
    return mask


def blocks(count: int, dtype: Any = np.uint16) -> np.ndarray:
    """Squares of 2 x 2, numbered from 1, with a gap between."""
    mask = np.zeros((2, 3 * count), dtype)
    for number in range(count):
        mask[:, 3 * number : 3 * number + 2] = number + 1
    return mask
