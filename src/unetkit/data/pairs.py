"""Pairs of image and mask, as found in a folder or a table.

They name files and read nothing: `dataset` makes them, and `reading` reads their files.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from unetkit.data.masks import MaskPart, MaskSource
from unetkit.data.sources import Problem
from unetkit.io.parts import Block


@dataclass(frozen=True)
class Pair:
    """One image with its mask.

    Args:
        name: Common name of both: the stem, with folders if stems repeat.
        image: Path of the image file.
        mask: Path of the mask image or polygon file.
        page: Index of the page in files of several pages; None for files of one.
        parts: Files of a mask that consists of several, `mask` first; empty for one file.
        is_alpha: Whether the opacity of the mask file is the mask.
        block: The part of the image and of its mask that is read; None for all of both.
        runs: Order and number of the first pixel of run lengths; None for other masks.
    """

    name: str
    image: Path
    mask: Path
    page: int | None = None
    parts: tuple[MaskPart, ...] = ()
    is_alpha: bool = False
    block: Block | None = None
    runs: tuple[str, int] | None = None

    @property
    def block_record(self) -> dict[str, int] | None:
        """Place of the block, as runs record it; None for a whole image."""
        return None if self.block is None else self.block.record()

    @property
    def source(self) -> MaskSource:
        """Location of the mask."""
        return MaskSource(
            self.mask,
            self.page,
            self.image.name,
            self.parts,
            self.is_alpha,
            self.block,
            self.runs,
        )


@dataclass(frozen=True)
class Dataset:
    """The pairs of a folder or a table.

    Args:
        source: Path of the data folder, or of the table of pairs.
        pairs: Pairs, sorted by name.
        masks: Pattern of the paths of the masks.
        splits: Split of each pair ("train", "validation", "trainval" or "test") by the pair's
            name, from lists, folders or a column of the table; empty if there are none.
        categories: Category (such as a breed) by the pair's name, for stratified splits; empty if
            there are none.
        groups: Group by the pair's name, from a column of the table, whose pairs must stay in one
            split; empty if there are none.
        kind: Kind of the masks if their names determine it, else None.
        problems: Files that do not form a pair.
        unlisted: Names of pairs that are in none of the official lists.
        listed: Number of names in the official lists by split, whether or not a pair of that name
            exists; empty without lists.
        blocks: Side in pixels of the blocks that images are cut into, and the gap between them;
            None if images are read whole.
    """

    source: Path
    pairs: tuple[Pair, ...]
    masks: str
    splits: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    kind: str | None = None
    problems: tuple[Problem, ...] = ()
    unlisted: tuple[str, ...] = ()
    listed: dict[str, int] = field(default_factory=dict)
    blocks: tuple[int, int] | None = None

    @property
    def folder(self) -> Path:
        """The data folder, or the folder of the table."""
        return self.source.parent if self.source.is_file() else self.source

    @property
    def mask_folder(self) -> Path | None:
        """The innermost folder that holds all masks; None without pairs, or outside `folder`."""
        parents = {os.path.abspath(pair.mask.parent) for pair in self.pairs}
        try:
            inner = Path(os.path.commonpath(parents))
        except ValueError:  # there are none, or they are on several drives
            return None
        return inner if inner.is_relative_to(os.path.abspath(self.folder)) else None

    @property
    def label(self) -> str:
        """Name of the data set in runs and results."""
        return self.source.resolve().stem if self.source.is_file() else self.source.resolve().name
