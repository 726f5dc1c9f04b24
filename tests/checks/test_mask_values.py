"""Summaries of mask values, counted by hand."""

import numpy as np

from tests.checks.masks import BLUE, RED, blocks, mask_statistics, palette_mask, scattered
from unetkit.checks.mask_values import (
    are_certain_objects,
    colour_fractions,
    is_instance_like,
    value_to_colour,
)


def test_values_in_many_regions_are_not_instance_like(tmp_path):
    assert not is_instance_like(
        mask_statistics(tmp_path, scattered(0, 1, 2, 3), scattered(0, 1, 2))
    )


def test_the_same_number_of_values_in_each_mask_is_not_instance_like(tmp_path):
    assert not is_instance_like(mask_statistics(tmp_path, blocks(3), blocks(3)))


def test_two_values_are_too_few_to_be_instance_like(tmp_path):
    assert not is_instance_like(mask_statistics(tmp_path, blocks(1), blocks(2)))


def test_empty_masks_are_not_instance_like(tmp_path):
    assert not is_instance_like(mask_statistics(tmp_path, np.zeros((4, 4), np.uint8)))


def test_the_ignored_value_is_left_out_of_the_instance_test(tmp_path):
    """Outlines of 255 have many regions; without them there are 3 and 4 objects."""
    outlined = [np.where(np.arange(3 * n) % 3 == 2, 255, blocks(n)) for n in (3, 4)]
    statistics = mask_statistics(tmp_path, *(mask.astype(np.uint8) for mask in outlined))
    assert is_instance_like(statistics, ignore=255)
    assert not is_instance_like(statistics)  # 7 + 2 values in 7 + 3 + 4 regions


def test_fractions_of_colours_are_of_all_pixels(tmp_path):
    statistics = mask_statistics(tmp_path, palette_mask(), np.array([[RED, BLUE]] * 4, np.uint8))
    # 8 red and 8 green of 16 pixels; 4 red and 4 blue of 8: 12, 8 and 4 of 24.
    assert colour_fractions(statistics) == {0xFF0000: 12 / 24, 0x00FF00: 8 / 24, 0x0000FF: 4 / 24}
    assert value_to_colour(statistics[0], 1) == 0x00FF00


def test_objects_in_pieces_run_from_one_up_in_each_mask(tmp_path):
    """Each object is in two pieces, as blocks of n values occur twice in a row."""
    masks = [np.concatenate([blocks(n), blocks(n)], axis=-1) for n in (3, 4, 5, 6)]
    assert is_instance_like(mask_statistics(tmp_path, *masks))
    assert not is_instance_like(mask_statistics(tmp_path, *masks[:3]))  # may be chance
    other = [np.where(mask == 2, 9, mask) for mask in masks]  # a number is missing
    assert not is_instance_like(mask_statistics(tmp_path, *other))


class TestCertainObjects:
    def test_many_values_in_one_piece(self, tmp_path):
        assert are_certain_objects(mask_statistics(tmp_path, 2 * blocks(25), 2 * blocks(24)))

    def test_fewer_that_run_from_one_to_many_ends(self, tmp_path):
        assert are_certain_objects(mask_statistics(tmp_path, *(blocks(n) for n in (8, 5, 6, 7))))

    def test_three_ends_may_be_chance(self, tmp_path):
        assert not are_certain_objects(
            mask_statistics(tmp_path, *(blocks(n) for n in (8, 6, 7, 7)))
        )

    def test_seven_may_be_classes(self, tmp_path):
        assert not are_certain_objects(
            mask_statistics(tmp_path, *(blocks(n) for n in (7, 6, 5, 4)))
        )

    def test_classes_of_which_a_mask_lacks_one(self, tmp_path):
        masks = [blocks(n) for n in (8, 5, 6, 7)]
        masks[0][masks[0] == 3] = 0
        assert not are_certain_objects(mask_statistics(tmp_path, *masks))

    def test_masks_without_objects_say_nothing(self, tmp_path):
        masks = [np.zeros((4, 4), np.uint8), *(blocks(n) for n in (8, 5, 6, 7))]
        assert are_certain_objects(mask_statistics(tmp_path, *masks))
