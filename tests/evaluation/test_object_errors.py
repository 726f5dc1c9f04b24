"""The worst objects of each kind of error are kept, cut out and outlined."""

import numpy as np
from PIL import Image

from unetkit.evaluation.object_errors import (
    ERROR_KINDS,
    FOUND_COLOUR,
    GAP,
    SHOWN_EACH,
    TILE,
    TRUE_COLOUR,
    ObjectErrors,
)
from unetkit.metrics.instances import find_overlaps
from unetkit.objects.numbering import renumbered

PHOTO = np.full((120, 160, 3), 90, np.uint8)


def boxes(*places: tuple[int, int, int, int]) -> np.ndarray:
    objects = np.zeros(PHOTO.shape[:2], int)
    for number, (top, left, bottom, right) in enumerate(places, start=1):
        objects[top:bottom, left:right] = number
    return objects


def collected(truth: np.ndarray, found: np.ndarray, name="a") -> ObjectErrors:
    errors = ObjectErrors()
    truth, found = renumbered(truth), renumbered(found)
    errors.add(name, PHOTO, truth, found, find_overlaps(truth, found))
    return errors


TRUTH = boxes((5, 5, 25, 25), (5, 25, 25, 45), (60, 5, 100, 45), (10, 100, 20, 110))
FOUND = boxes((5, 5, 25, 45), (60, 5, 80, 45), (80, 5, 100, 45), (90, 120, 110, 150))


def test_each_kind_is_found():
    kept = collected(TRUTH, FOUND).kept
    assert {kind: [error.area for error in errors] for kind, errors in kept.items()} == {
        "merged": [800],
        "split": [1600],
        "missed": [1600, 100],  # neither half of the split one has more than half of it
        "invented": [600],
    }


def test_a_tile_shows_the_object_with_both_outlines():
    (error,) = collected(TRUTH, FOUND).kept["merged"]
    assert error.tile.shape == (TILE, TILE, 3)
    colours = {tuple(colour) for colour in error.tile.reshape(-1, 3).tolist()}
    assert {TRUE_COLOUR, FOUND_COLOUR, (90, 90, 90)} <= colours


def test_the_largest_of_all_images_are_kept():
    errors = ObjectErrors()
    for number in range(1, 2 * SHOWN_EACH):
        truth = renumbered(boxes((10, 10, 10 + 4 * number, 20)))
        errors.add(f"{number}", PHOTO, truth, 0 * truth, find_overlaps(truth, 0 * truth))
    names = [error.name for error in errors.kept["missed"]]
    assert names == [f"{2 * SHOWN_EACH - 1 - place}" for place in range(SHOWN_EACH)]


def test_objects_at_the_edge_and_larger_than_the_image():
    truth = np.ones(PHOTO.shape[:2], int)
    (error,) = collected(truth, 0 * truth).kept["missed"]
    assert error.tile.shape == (TILE, TILE, 3)
    corner = boxes((0, 157, 2, 160))
    assert len(collected(0 * corner, corner).kept["invented"]) == 1


def test_strips_are_written_of_the_kinds_that_occur(tmp_path):
    (tmp_path / "cases").mkdir()
    rows = collected(TRUTH, FOUND, "photo").write(tmp_path, "cases")
    assert [row["kind"] for row in rows] == list(ERROR_KINDS)
    for row in rows:
        with Image.open(tmp_path / row["file"]) as strip:
            assert [strip.height, strip.width] == row["size"]
            count = len(row["names"])
            assert strip.width == count * TILE + (count - 1) * GAP <= 640
    assert collected(TRUTH, TRUTH).write(tmp_path, "cases") == []
