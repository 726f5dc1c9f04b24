"""What is said of images that are cut into blocks."""

from pathlib import Path

import numpy as np

from unetkit.checks.block_issues import find_block_issues
from unetkit.checks.statistics import PairStatistics
from unetkit.data.pairs import Dataset, Pair
from unetkit.io.parts import Block

NO_REGIONS = np.zeros((0, 2), np.int64)


def blocks_of(image: str, gap: int = 10) -> list[Pair]:
    """An image of 50 x 110 pixels: two blocks of 50 x 50 and a gap of 10."""
    places = (0, 50 + gap)
    return [
        Pair(f"{image}_{c}", Path(image), Path("m"), block=Block(0, c, 50, 50, (50, 110), 50, gap))
        for c in places
    ]


def statistics(pairs, areas=()):
    regions = np.array([[1, area] for area in areas], np.int64).reshape(-1, 2)
    return [PairStatistics(pair, regions=regions) for pair in pairs]


def test_whole_images_are_no_issue():
    pair = Pair("a", Path("a.png"), Path("m.png"))
    assert find_block_issues(Dataset(Path("d"), (pair,), "m"), statistics([pair])) == []


def test_the_fraction_that_is_lost_is_said():
    pairs = blocks_of("a.tif")
    (issue,) = find_block_issues(
        Dataset(Path("d"), tuple(pairs), "m", blocks=(50, 10)), statistics(pairs)
    )
    assert issue.level == "note"
    # 10 of 110 columns are in the gap: 9 %.
    assert issue.text == (
        "a.tif is cut into 2 blocks of about 50x50 pixels (height x width) with gaps of 10 between "
        "them, in which 9% of the pixels are left out; the splits are parts of one image"
    )
    assert "--gap" in issue.remedy


def test_objects_wider_than_the_gap_name_the_gap_that_parts_them():
    pairs = blocks_of("a.tif")
    # Discs of 314 pixels have a radius of 10 (314 = 3.14 x 10^2), so they are 20 pixels wide.
    (issue,) = find_block_issues(
        Dataset(Path("d"), tuple(pairs), "m", blocks=(50, 10)), statistics(pairs, [314, 314])
    )
    assert issue.remedy.endswith(
        "some objects are 20 pixels wide: --gap 20 keeps each in one split"
    )


def test_regions_larger_than_blocks_are_no_objects_to_part():
    pairs = blocks_of("a.tif")
    (issue,) = find_block_issues(
        Dataset(Path("d"), tuple(pairs), "m", blocks=(50, 10)), statistics(pairs, [2400, 2400])
    )
    assert "wide" not in issue.remedy


def test_several_images_share_splits():
    pairs = [*blocks_of("a.tif"), *blocks_of("b.tif")]
    (issue,) = find_block_issues(
        Dataset(Path("d"), tuple(pairs), "m", blocks=(50, 10)), statistics(pairs)
    )
    assert issue.text.startswith("2 images are cut into 4 blocks")
    assert issue.text.endswith("splits share images")
