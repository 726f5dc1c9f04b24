"""Images mirrored and turned, by windows."""

import numpy as np
import pytest

from unetkit.errors import ConfigError
from unetkit.io.pixel_format import PixelFormat
from unetkit.prediction.orientations import (
    AS_IT_IS,
    AUGMENTATIONS,
    Orientation,
    find_orientations,
    oriented,
)
from unetkit.prediction.sources import open_source

ALL = AUGMENTATIONS["turns"]


def image(height=5, width=7):
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


class TestOrientations:
    def test_the_eight_turns_are_those_of_numpy(self):
        array = image()
        turned = [np.rot90(one, k) for one in (array, array[:, ::-1]) for k in range(4)]
        found = [orientation.apply(array) for orientation in ALL]
        assert len(found) == 8
        for one in found:
            assert sum(one.shape == other.shape and (one == other).all() for other in turned) == 1

    def test_fewer_are_contained_in_more(self):
        assert AUGMENTATIONS["mirror"] == (AS_IT_IS, Orientation(is_mirrored=True))
        assert set(AUGMENTATIONS["mirror"]) < set(AUGMENTATIONS["flips"]) < set(ALL)
        assert len(AUGMENTATIONS["flips"]) == 4
        assert all(orientations[0] == AS_IT_IS for orientations in AUGMENTATIONS.values())

    @pytest.mark.parametrize("orientation", ALL)
    def test_laid_back_an_image_is_itself(self, orientation):
        array = image()
        laid = orientation.apply(array)
        assert laid.shape[:2] == orientation.size((5, 7))
        assert (orientation.undo(laid) == array).all()

    @pytest.mark.parametrize("orientation", ALL)
    def test_windows_are_found_in_both_directions(self, orientation):
        array = image()
        rows, columns = slice(1, 3), slice(2, 6)
        where = orientation.window_of(rows, columns, (5, 7))
        laid = orientation.apply(array)[where]
        assert (orientation.undo(laid) == array[rows, columns]).all()
        assert orientation.window_in_image(*where, (5, 7)) == (rows, columns)

    @pytest.mark.parametrize("orientation", ALL)
    def test_an_open_image_is_read_turned_by_windows(self, orientation):
        with open_source(image(), PixelFormat(3)) as source:
            turned = oriented(source, orientation)
            whole = orientation.apply(image())
            assert turned.shape == whole.shape
            assert turned.dtype == np.uint8
            window = slice(1, 4), slice(2, 5)
            assert (turned.read(*window) == whole[window]).all()

    def test_an_unknown_augmentation_is_refused(self):
        assert find_orientations(None) == (AS_IT_IS,)
        with pytest.raises(
            ConfigError, match=r"tta is 'mirrors'; accepted are 'mirror', 'flips', "
        ):
            find_orientations("mirrors")
