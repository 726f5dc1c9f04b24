"""Numbers of objects and of connected regions."""

import numpy as np
from skimage.measure import label

from unetkit.objects.numbering import regions_of_classes, renumbered


def test_numbers_become_consecutive():
    objects = np.array([[0, 900_000, 7], [-1, 7, 12]])
    assert renumbered(objects).tolist() == [[0, 3, 1], [0, 1, 2]]
    assert renumbered(np.full((2, 2), 9)).tolist() == [[1, 1], [1, 1]]
    assert not renumbered(np.zeros((2, 2), np.int64)).any()


def test_regions_are_those_of_each_class():
    mask = np.random.default_rng(0).choice(3, (40, 50), p=[0.7, 0.15, 0.15]).astype(np.uint8)
    objects = regions_of_classes(mask)
    assert (objects == 0).tolist() == (mask == 0).tolist()
    expected = label(mask, background=0, connectivity=1)
    pairs = np.unique(np.stack([objects.ravel(), expected.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    assert objects.max() == expected.max()


def test_any_class_can_be_the_background():
    mask = np.array([[0, 1, 2, 1, 0]], np.uint8)
    assert regions_of_classes(mask, background=1).tolist() == [[1, 0, 3, 0, 2]]
