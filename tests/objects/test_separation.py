"""Targets by hand, and maps from which the same objects come back."""

import numpy as np
import pytest

from unetkit.data.scale import IGNORE
from unetkit.datasets.synthetic_cells import synthetic_cells
from unetkit.errors import ConfigError
from unetkit.objects.components import label_objects
from unetkit.objects.separation import (
    HALO,
    ObjectRule,
    borders,
    make_target,
    relative_distances,
    separation_maps,
    with_ridges,
)

METHODS = ("ridge", "border", "distance")


class TestTargets:
    def test_ridges_are_two_pixels_wide(self):
        objects = np.array([[0, 1, 1, 1, 2, 2, 2, 0, 3]])
        mask = (objects > 0).astype(np.uint8)
        assert with_ridges(mask, objects, 0).tolist() == [[0, 1, 1, 0, 0, 1, 1, 0, 1]]

    def test_ignored_pixels_make_no_ridge_and_keep_their_value(self):
        mask = np.array([[1, 1, IGNORE, 1, 1]], np.uint8)
        objects = np.array([[1, 1, 0, 2, 2]])
        assert with_ridges(mask, objects, 0).tolist() == mask.tolist()

    def test_background_may_be_any_class(self):
        mask = np.array([[0, 0, 0, 0, 3]], np.uint8)
        assert with_ridges(mask, np.array([[1, 1, 2, 2, 0]]), 3).tolist() == [[0, 3, 3, 0, 3]]

    def test_borders_reach_two_pixels_to_each_side(self):
        objects = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 0]])
        assert borders(objects).tolist() == [[0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]]

    def test_background_between_near_objects_is_border(self):
        objects = np.array([[1, 1, 0, 0, 2, 2]])
        assert borders(objects).tolist() == [[0, 0, 1, 1, 0, 0]]

    def test_distances_by_hand(self):
        objects = np.zeros((7, 9), int)
        objects[1:6, 1:6], objects[3, 7] = 1, 5
        found = relative_distances(objects)
        assert found[3].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0, 1, 0])
        assert found.max() == 1

    def test_objects_go_on_beyond_the_edge(self):
        objects = np.ones((3, 5), int)
        objects[:, 4] = 0
        assert relative_distances(objects)[0].tolist() == [1, 0.75, 0.5, 0.25, 0]

    def test_numbers_may_be_floats_and_large(self):
        objects = np.array([[70000, 70000, 70001, 70001]], np.float32)
        assert borders(objects).tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("index", range(4))
def test_objects_come_back_from_a_perfect_prediction(method, index):
    """Of synthetic cells, many of which touch: each is found where it is."""
    _, objects = synthetic_cells(index, height=192, width=160)
    rule = ObjectRule(method, seed=0.5)
    mask = (objects > 0).astype(np.uint8)
    labels, scores = make_target(mask, objects, 0, rule)
    planes = [labels == 0, labels == 1, *([] if scores is None else [scores])]
    maps = separation_maps(labels == 1, np.stack(planes, axis=-1).astype(np.float32), rule, 0)
    found = label_objects(maps, rule)
    count = found.max()
    matched = 0
    numbers = np.unique(objects)[1:]
    for number in numbers:
        inside = objects == number
        values, counts = np.unique(found[inside], return_counts=True)
        best = values[counts.argmax()]
        union = (inside | (found == best)).sum()
        matched += bool(best) and counts.max() / union > 0.5
    assert matched >= 0.9 * len(numbers)
    assert 0.9 * len(numbers) <= count <= 1.2 * len(numbers)


@pytest.mark.parametrize("method", METHODS)
def test_maps_depend_on_the_neighbourhood_only(method):
    rng = np.random.default_rng(0)
    scores = rng.random((40, 50, 3)).astype(np.float32)
    foreground = scores[..., 0] < 0.6
    rule = ObjectRule(method)
    whole = separation_maps(foreground, scores, rule, 0)
    window = slice(10, 30), slice(7, 33)
    outer = tuple(slice(side.start - HALO, side.stop + HALO) for side in window)
    part = separation_maps(foreground[outer], scores[outer], rule, 0)
    part = part.window(*(slice(HALO, HALO + side.stop - side.start) for side in window))
    for name in ("foreground", "seeds", "landscape"):
        assert np.array_equal(getattr(part, name), getattr(whole.window(*window), name))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "watershed"}, "method is 'watershed'; accepted are 'none', 'ridge', 'border'"),
        ({"seed": 0.0}, "seed is 0.0; accepted are numbers between 0 and 1; try 0.5"),
        ({"smallest": -1}, "smallest is -1; accepted are whole numbers of 0 or more"),
        ({"largest_hole": -2}, "largest_hole is -2; accepted are whole numbers"),
    ],
)
def test_values_that_are_not_accepted(values, message):
    with pytest.raises(ConfigError) as error:
        ObjectRule(**values)
    assert message in str(error.value)
