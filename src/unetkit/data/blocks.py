"""Cut large images into blocks that are pairs of their own, with gaps between them.

A single large image has no other images to validate and test on, so its blocks take their place:
training, validation and test get some each. Neighbouring pixels are alike, and an object may lie on
both sides of a cut; so the pixels of a gap around each block belong to no split. Blocks are read by
themselves: no network, neither in training nor in evaluation, sees anything beyond the edges of the
block that it is given.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from unetkit.data.pairs import Dataset, Pair
from unetkit.data.sources import Sources
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.images import ImageFile
from unetkit.io.parts import Block, size_of

SMALL_SIDES = (96, 64, 48, 32, 24, 16)  # of blocks that are only suggested
SIDES = (512, 384, 256, 192, 128)  # pixels of a block, of which the largest that suffices is chosen
LEAST_BLOCKS = 12  # that a choice makes of an image, so that each split has some
GAP_FRACTION = 8  # a gap is this part of a block; then a fifth of the pixels is in gaps


def choose_blocks(dataset: Dataset, sources: Sources) -> tuple[int, int] | None:
    """Returns side and gap of the blocks that the images of a data set are cut into, in pixels.

    Args:
        dataset: Pairs of whole images.
        sources: What the user says of blocks. If that is nothing, a single image that is large
            enough is cut, unless lists or folders name its split.

    Returns:
        Side and gap; None if images are not cut.
    """
    side = sources.blocks
    if side is None and len(dataset.pairs) == 1 and not dataset.splits:
        side = suggest_side(dataset)
    if side is None:
        return None
    return side, side // GAP_FRACTION if sources.gap is None else sources.gap


def suggest_side(dataset: Dataset, sides: Sequence[int] = SIDES) -> int | None:
    """Returns the largest side of blocks of which the smallest image has enough.

    Args:
        dataset: Pairs of whole images.
        sides: Sides to choose from, the largest first.

    Returns:
        One of `sides`; None if an image is too small, or cannot be read.
    """
    try:
        sizes = [_size_of(pair) for pair in dataset.pairs]
    except (DataError, DataNotFoundError):
        return None
    for side in sides:
        gap = side // GAP_FRACTION
        if sizes and all(
            _count(height, side, gap) * _count(width, side, gap) >= LEAST_BLOCKS
            for height, width in sizes
        ):
            return side
    return None


def cut_into_blocks(dataset: Dataset, side: int, gap: int) -> Dataset:
    """Returns the data set with each pair replaced by its blocks.

    The blocks of an image are of nearly equal sizes near `side`, so that they and the gaps between
    them cover it to its edges. Split, category and group of an image are those of its blocks.

    Args:
        dataset: Pairs of whole images.
        side: Side of a block in pixels, roughly.
        gap: Pixels between neighbouring blocks.

    Raises:
        DataError: No image has two blocks of this size.
    """
    pairs: list[Pair] = []
    of_whole: dict[str, list[str]] = {}
    for pair in dataset.pairs:
        blocks = [pair]
        with suppress(DataError, DataNotFoundError):  # reading the pair will raise the error
            blocks = _blocks_of(pair, side, gap)
        of_whole[pair.name] = [block.name for block in blocks]
        pairs += blocks
    if pairs and len(pairs) == len(dataset.pairs) and all(pair.block for pair in pairs):
        height, width = pairs[0].block.image_size if pairs[0].block else (0, 0)
        raise DataError(
            f"the images of {dataset.source}, such as {pairs[0].image} of {height}x{width} (height "
            f"x width), have no two blocks of {side} pixels with a gap of {gap}; accepted are "
            "blocks that fit several times; use smaller --blocks"
        )
    return replace(
        dataset,
        pairs=tuple(pairs),
        splits=_of_blocks(dataset.splits, of_whole),
        categories=_of_blocks(dataset.categories, of_whole),
        groups=_of_blocks(dataset.groups, of_whole),
        blocks=(side, gap),
    )


def gap_fraction(blocks: Sequence[Block]) -> float:
    """Fraction of the pixels of the images that are in no block.

    Args:
        blocks: All blocks of some images.
    """
    kept = sum(block.height * block.width for block in blocks)
    # Each image has one block in its upper left corner.
    whole = [block.image_size for block in blocks if (block.row, block.column) == (0, 0)]
    return 1 - kept / max(1, sum(height * width for height, width in whole))


def _size_of(pair: Pair) -> tuple[int, int]:
    with ImageFile(pair.image) as file:
        return size_of(file, pair.page)


def _count(length: int, side: int, gap: int) -> int:
    """Number of blocks along a length, so that their mean side is near `side`."""
    return max(1, round((length + gap) / (side + gap)))


def _blocks_of(pair: Pair, side: int, gap: int) -> list[Pair]:
    size = _size_of(pair)
    rows, columns = (_cuts(length, side, gap) for length in size)
    digits = len(str(max(size) - 1))
    return [
        replace(
            pair,
            name=f"{pair.name}_r{top:0{digits}d}_c{left:0{digits}d}",
            block=Block(top, left, bottom - top, right - left, size, side, gap),
        )
        for top, bottom in rows
        for left, right in columns
    ]


def _cuts(length: int, side: int, gap: int) -> list[tuple[int, int]]:
    """First and last + 1 pixel of each block along a length.

    >>> _cuts(100, 30, 5)
    [(0, 30), (35, 65), (70, 100)]
    """
    count = _count(length, side, gap)
    covered = length - (count - 1) * gap
    ends = [round(covered * i / count) for i in range(count + 1)]
    return [(ends[i] + i * gap, ends[i + 1] + i * gap) for i in range(count)]


def _of_blocks(values: dict[str, str], of_whole: dict[str, list[str]]) -> dict[str, str]:
    return {
        name: values[whole]
        for whole, names in of_whole.items()
        if whole in values
        for name in names
    }
