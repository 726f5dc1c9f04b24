"""Weights of pixels between objects, against their definition pixel by pixel."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from unetkit.errors import ConfigError
from unetkit.objects.border_weights import BorderWeight, border_weights, object_boxes

PAPER = BorderWeight(w0=10.0, sigma=5.0)


def discs(rng, height, width, count, radius):
    """Numbered discs, some of which touch; later ones lie behind earlier ones."""
    objects = np.zeros((height, width), np.int32)
    rows, columns = np.mgrid[:height, :width]
    for number in range(1, count + 1):
        row, column = rng.integers(height), rng.integers(width)
        inside = np.hypot(rows - row, columns - column) < rng.integers(2, radius)
        objects[inside & (objects == 0)] = 3 * number
    return objects


def by_definition(objects, weight):
    numbers = np.unique(objects[objects > 0])
    if len(numbers) < 2:
        return np.zeros(objects.shape)
    distances = np.sort([distance_transform_edt(objects != number) for number in numbers], axis=0)
    weights = weight.w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * weight.sigma**2))
    return weights if weight.everywhere else np.where(objects > 0, 0, weights)


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("sigma", [0.7, 5.0, 20.0])
@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_the_definition(seed, sigma, everywhere):
    objects = discs(np.random.default_rng(seed), 90, 120, 25, 14)
    weight = BorderWeight(w0=10.0, sigma=sigma, everywhere=everywhere)
    found = border_weights(objects, weight)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_definition(objects, weight), rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_without_two_objects_there_are_none(count):
    objects = discs(np.random.default_rng(0), 40, 40, count, 14)
    assert not border_weights(objects, BorderWeight(w0=10.0, everywhere=True)).any()


def test_where_objects_touch_the_weight_is_the_largest_beside_them():
    objects = np.array([[1, 1, 2, 2], [0, 0, 0, 0]])
    weights = border_weights(objects, PAPER)
    assert not weights[0].any()
    assert weights[1].argmax() in (1, 2)
    assert weights.max() == pytest.approx(10 * np.exp(-((1 + 2**0.5) ** 2) / 50), abs=1e-6)


def test_negative_numbers_are_no_objects():
    assert not border_weights(np.array([[-1, 0, 1]]), PAPER).any()


def test_an_object_in_several_pieces_is_one():
    assert not border_weights(np.array([[4, 0, 4]]), PAPER).any()
    assert border_weights(np.array([[4, 0, 5]]), PAPER).any()


def test_weights_of_w0_0_are_0():
    assert not border_weights(np.array([[1, 0, 2]]), BorderWeight()).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"w0": -1.0}, "w0 is -1.0; accepted are numbers of 0 or more; try 10"),
        ({"w0": float("nan")}, "w0 is nan"),
        ({"sigma": 0.0}, "sigma is 0.0; accepted are numbers above 0; try 5"),
        ({"sigma": float("inf")}, "sigma is inf"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        BorderWeight(**values)


def test_boxes_are_those_of_the_pixels():
    objects = discs(np.random.default_rng(5), 60, 70, 12, 12)
    boxes = object_boxes(objects)
    assert list(boxes) == sorted(np.unique(objects[objects > 0]))
    for number, box in boxes.items():
        rows, columns = np.nonzero(objects == number)
        assert box == (
            slice(rows.min(), rows.max() + 1),
            slice(columns.min(), columns.max() + 1),
        )
