"""Pairs: what a pair says of its mask, and a data set of its folder and name."""

from pathlib import Path

from unetkit.data.masks import MaskPart
from unetkit.data.pairs import Dataset, Pair
from unetkit.io.parts import Block

BLOCK = Block(0, 40, 30, 32, (60, 80), 32, 8)


def test_the_mask_of_a_block_is_read_at_the_place_of_the_block():
    part = MaskPart(Path("m/a_1.png"), "object")
    pair = Pair("a_r00_c40", Path("i/a.png"), Path("m/a_1.png"), 3, (part,), True, BLOCK)
    source = pair.source
    assert (source.path, source.page, source.image) == (Path("m/a_1.png"), 3, "a.png")
    assert (source.parts, source.is_alpha, source.block) == ((part,), True, BLOCK)


def test_the_record_of_a_block_says_how_the_image_was_cut():
    pair = Pair("a", Path("a.png"), Path("b.png"), block=BLOCK)
    assert pair.block_record == {
        "row": 0,
        "column": 40,
        "height": 30,
        "width": 32,
        "side": 32,
        "gap": 8,
    }
    assert Pair("a", Path("a.png"), Path("b.png")).block_record is None


def test_a_table_gives_its_folder_and_its_stem(tmp_path):
    table = tmp_path / "cells.csv"
    table.write_text("image,mask\n")
    assert Dataset(table, (), "cells.csv").folder == tmp_path
    assert Dataset(table, (), "cells.csv").label == "cells"
    assert Dataset(tmp_path, (), "masks").folder == tmp_path
    assert Dataset(tmp_path, (), "masks").label == tmp_path.name


def test_the_folder_of_the_masks_is_the_innermost_one_within_the_data(tmp_path, monkeypatch):
    def folder_of(*masks, source=tmp_path):
        pairs = tuple(Pair(str(mask), Path("a.png"), Path(mask)) for mask in masks)
        return Dataset(source, pairs, "masks").mask_folder

    assert folder_of(tmp_path / "m/a/1.png", tmp_path / "m/b/2.png") == tmp_path / "m"
    assert folder_of(tmp_path / "m/1.png", tmp_path / "2.png") == tmp_path
    assert folder_of("/elsewhere/m/1.png") is None
    assert folder_of() is None
    monkeypatch.chdir(tmp_path)
    assert folder_of("m/1.png", tmp_path / "m/2.png", source=Path(".")) == tmp_path / "m"
