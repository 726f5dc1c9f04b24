"""Issues of images that are cut into blocks: what is lost in gaps, and what lies on both sides."""

import math
from collections.abc import Sequence

import numpy as np

from unetkit._shared.wording import format_count
from unetkit.checks.issues import Issue
from unetkit.checks.statistics import PairStatistics
from unetkit.data.blocks import gap_fraction
from unetkit.data.pairs import Dataset

MOST_OF_OBJECTS = 90  # percentile of their widths that a gap is compared with


def find_block_issues(dataset: Dataset, good: Sequence[PairStatistics]) -> list[Issue]:
    """Returns a note on how images are cut; empty if they are not.

    Args:
        dataset: All pairs.
        good: Statistics of the pairs that can be used.
    """
    blocks = [pair.block for pair in dataset.pairs if pair.block is not None]
    if dataset.blocks is None or not blocks:
        return []
    side, gap = dataset.blocks
    images = list(dict.fromkeys(pair.image for pair in dataset.pairs if pair.block is not None))
    heights = sorted(block.height for block in blocks)
    widths = sorted(block.width for block in blocks)
    middle = len(blocks) // 2
    which = str(images[0]) if len(images) == 1 else format_count(images, "image")
    text = (
        f"{which} {'is' if len(images) == 1 else 'are'} cut into "
        f"{format_count(blocks, 'block')} of about {heights[middle]}x{widths[middle]} pixels "
        f"(height x width) with gaps of {gap} between them, in which {gap_fraction(blocks):.0%} of "
        "the pixels are left out; "
        f"{'the splits are parts of one image' if len(images) == 1 else 'splits share images'}"
    )
    remedy = "use other sizes with --blocks and --gap, and test on another image if you can"
    needed = _typical_width(good)
    if gap < needed <= side / 2:
        remedy += f"; some objects are {needed} pixels wide: --gap {needed} keeps each in one split"
    names = tuple(pair.name for pair in dataset.pairs if pair.block is not None)
    return [Issue("note", "blocks", text, names, remedy)]


def _typical_width(good: Sequence[PairStatistics]) -> int:
    """Diameter in pixels of discs as large as the larger regions; 0 without regions."""
    areas = np.concatenate([stats.regions[:, 1] for stats in good] or [np.zeros(0)])
    if not len(areas):
        return 0
    return math.ceil(2 * math.sqrt(np.percentile(areas, MOST_OF_OBJECTS) / math.pi))
