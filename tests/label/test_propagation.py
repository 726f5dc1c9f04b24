"""Propagated strokes: they stop at edges, and are used only where hidden ones are found again."""

import csv

import numpy as np
import pytest
from PIL import Image

from tests.label.conftest import entry_of
from unetkit.label import propagation
from unetkit.label.project import open_project, write_class_file, write_pairs
from unetkit.label.propagation import (
    count_found,
    is_reliable,
    is_scribbled,
    propagate,
    propagate_table,
    reduce_scribble,
)

FREE = 255


def two_halves(shape=(60, 80), middle=30):
    """An image that is dark on the left and bright on the right, and strokes in both halves."""
    image = np.full((*shape, 3), 40, np.uint8)
    image[:, middle:] = 200
    mask = np.full(shape, FREE, np.uint8)
    for row in (10, 30, 50):
        mask[row, 5:12] = 3
        mask[row, -12:-5] = 7
    return image, mask


def noise(shape=(60, 80)):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    return image, two_halves(shape)[1]


def test_strokes_fill_their_region_up_to_the_edge():
    image, mask = two_halves()
    found = propagate(reduce_scribble(image, mask, FREE), mask, FREE)
    expected = np.where(np.arange(80) < 30, 3, 7) * np.ones((60, 1), int)
    labelled = found != FREE
    assert labelled.mean() > 0.9
    assert np.array_equal(found[labelled], expected[labelled])


def test_what_is_drawn_stays_even_on_the_wrong_side():
    image, mask = two_halves()
    mask[20:23, 60:63] = 3
    found = propagate(reduce_scribble(image, mask, FREE), mask, FREE)
    assert np.array_equal(found[mask != FREE], mask[mask != FREE])


@pytest.mark.parametrize("shape", [(500, 333), (33, 900), (1, 7)])
def test_a_large_or_narrow_image_is_reduced_and_none_of_its_classes_is_lost(shape):
    image, mask = np.zeros((*shape, 1), np.uint8), np.full(shape, 65535, np.uint16)
    mask[0, 0], mask[-1, -1] = 300, 9
    scribble = reduce_scribble(image, mask, 65535)
    assert max(scribble.seeds.shape) <= propagation.WALK_SIDE
    assert scribble.values == (9, 300)
    assert (scribble.seeds[0, 0], scribble.seeds[-1, -1]) == (2, 1)
    assert propagate(scribble, mask, 65535).shape == shape


def test_of_classes_within_a_pixel_one_is_left():
    mask = np.full((4 * propagation.WALK_SIDE, 8), FREE, np.uint8)
    mask[:4, :4] = 1
    mask[0, 0] = 0
    mask[-1, -1] = 2
    scribble = reduce_scribble(np.zeros((*mask.shape, 1), np.uint8), mask, FREE)
    assert len(scribble.values) == scribble.seeds.max() == 2


def test_hidden_strokes_are_found_where_colours_tell_classes_apart():
    scribble = reduce_scribble(*two_halves(), FREE)
    right, found, hidden = count_found(scribble)
    assert right == found == hidden == 14  # the second of three strokes of 7 pixels, of two classes
    assert is_reliable([scribble])


def test_strokes_across_classes_are_not_reliable():
    image, mask = two_halves()
    mask[30, 5:12], mask[30, -12:-5] = 7, 3  # the second stroke of each half: as the other one
    assert not is_reliable([reduce_scribble(image, mask, FREE)])


def test_nothing_found_is_not_reliable():
    assert not is_reliable([])
    assert not is_reliable([reduce_scribble(*noise(), FREE)])
    image, mask = two_halves()
    mask[20:] = FREE  # a single stroke of each class: none to hide
    assert not is_reliable([reduce_scribble(image, mask, FREE)])


def test_full_masks_and_single_classes_are_not_scribbled():
    _, mask = two_halves()
    assert is_scribbled(mask, FREE)
    assert not is_scribbled(np.where(mask == 7, FREE, mask), FREE)
    assert not is_scribbled(np.full((8, 8), FREE, np.uint8), FREE)
    assert not is_scribbled(np.arange(64).reshape(8, 8) % 2, FREE)


class TestTable:
    @pytest.fixture
    def job(self, tmp_path):
        """Two scribbled images and one with a whole mask, as a round has them."""
        folder = tmp_path / "images"
        folder.mkdir()
        for name in ("a.png", "b.png", "whole.png"):
            Image.fromarray(two_halves()[0]).save(folder / name)
        project = open_project(folder, classes={"names": ("dark", "bright"), "values": (3, 7)})
        project.out.mkdir()
        for entry in project.entries.values():
            Image.fromarray(two_halves()[1]).save(entry.mask)
        whole = np.where(two_halves()[0][..., 0] == 40, 3, 7).astype(np.uint8)
        Image.fromarray(whole).save(entry_of(project, "whole.png").mask)
        place = project.state / "001"
        place.mkdir(parents=True)
        write_class_file(project, place)
        write_pairs(project, place / "pairs.csv")
        return project, place / "pairs.csv"

    def test_scribbled_masks_are_replaced_and_others_stay(self, job):
        project, table = job
        before = {path: path.read_bytes() for path in project.out.glob("*.png")}
        made = propagate_table(table)
        assert {path: path.read_bytes() for path in project.out.glob("*.png")} == before
        with open(made, newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["name"] for row in rows] == ["a", "b", "whole"]
        masks = [np.asarray(Image.open(made.parent / row["mask"])) for row in rows]
        assert all(set(np.unique(mask)) <= {3, 7, FREE} for mask in masks)
        assert [np.mean(mask != FREE) > 0.9 for mask in masks] == [True] * 3
        whole = (made.parent / rows[2]["mask"]).resolve()
        assert whole == entry_of(project, "whole.png").mask.resolve()

    def test_unreliable_ones_are_left_as_they_are(self, job):
        project, table = job
        for entry in project.entries.values():
            Image.fromarray(noise()[0]).save(entry.path)
        assert propagate_table(table) == table

    def test_objects_are_left_as_they_are(self, job):
        _, table = job
        classes = table.parent / "classes.toml"
        classes.write_text(classes.read_text().replace('"classes"', '"instances"'))
        assert propagate_table(table) == table
