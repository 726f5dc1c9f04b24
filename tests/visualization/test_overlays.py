"""Class colours of masks, overlays and cut-outs against Pillow."""

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.visualization.overlays import (
    ROWS,
    lay_over,
    opacity,
    palette_image,
)

TWO = Classes(("ground", "cell"), (0, 1), background=0, colours=((10, 20, 30), (250, 0, 90)))
BYTES = st.integers(0, 255)


class TestPalette:
    def test_pixels_are_indices_and_shown_in_the_colours_of_the_classes(self):
        mask = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
        image = palette_image(mask, TWO)
        assert image.mode == "P"
        assert (np.asarray(image) == mask).all()
        assert (np.asarray(image.convert("RGB")) == np.array(TWO.colours)[mask]).all()

    @pytest.mark.parametrize("other", [2, 200, 255])
    def test_indices_of_no_class_are_black(self, other):
        image = palette_image(np.array([[0, other]], np.uint8), TWO)
        assert np.asarray(image.convert("RGB")).tolist() == [[[10, 20, 30], [0, 0, 0]]]


class TestOverlay:
    def test_the_background_is_left_unchanged(self):
        photo = np.full((1, 3, 3), 100, np.uint8)
        result = lay_over(photo, np.array([[0, 1, 2]], np.uint8), TRIMAP_CLASSES)
        assert (result[0, 1] == 100).all()
        # half photo, half colour: (100 + 230) / 2, (100 + 159) / 2, (100 + 0) / 2
        assert result[0, 0].tolist() == [165, 130, 50]

    def test_pixels_of_no_class_are_left_unchanged(self):
        photo = np.full((1, 2, 3), 100, np.uint8)
        result = lay_over(photo, np.array([[2, 255]], np.uint8), TWO)
        assert (result == 100).all()

    def test_without_background_every_class_is_blended(self):
        classes = Classes(("a", "b"), (0, 1), colours=((200, 0, 0), (0, 200, 0)))
        photo = np.full((1, 2, 3), 100, np.uint8)
        result = lay_over(photo, np.array([[0, 1]], np.uint8), classes)
        assert result.tolist() == [[[150, 50, 50], [50, 150, 50]]]

    @pytest.mark.parametrize("height", [1, ROWS, ROWS + 1, 2 * ROWS + 5])
    def test_blocks_of_rows_are_blended_as_pillow_blends_the_whole(self, height):
        rng = np.random.default_rng(height)
        photo = rng.integers(0, 256, (height, 7, 3), np.uint8)
        mask = rng.integers(0, 3, (height, 7), np.uint8)
        colours = palette_image(mask, TRIMAP_CLASSES).convert("RGB")
        blended = np.asarray(Image.blend(Image.fromarray(photo), colours, 0.5)).astype(int)
        expected = np.where(mask[..., None] == TRIMAP_CLASSES.background, photo, blended)
        result = lay_over(photo, mask, TRIMAP_CLASSES)
        assert (result.shape, result.dtype) == (photo.shape, np.uint8)
        # Pillow cuts halves off, which are rounded here.
        assert np.abs(result - expected).max() <= 1

    def test_arguments_are_not_changed(self):
        photo, mask = np.full((2, 2, 3), 9, np.uint8), np.ones((2, 2), np.uint8)
        lay_over(photo, mask, TWO)
        assert (photo == 9).all()
        assert (mask == 1).all()


class TestOpacity:
    def test_by_hand(self):
        # Without a border: s = 1 - p_background. Half-way from 0.3 to 0.6, t = 1/2: 3/4 - 2/8.
        # A third of the way, at 0.4: 3/9 - 2/27 = 7/27. Times 255: 66.1, and 127.5, less rounding.
        background = np.array([[1.0, 0.7, 0.6, 0.55, 0.4, 0.0]], np.float32)
        probabilities = np.stack([background, 1 - background], axis=-1)
        found = opacity(probabilities, TWO)
        assert found.dtype == np.uint8
        assert found.shape == (1, 6, 1)
        assert found[..., 0].tolist() == [[0, 0, 66, 127, 255, 255]]

    def test_half_of_a_border_belongs_to_the_animal(self):
        # pet, background, border: certainly border is s = 1/2, t = 2/3: 12/9 - 16/27 = 20/27,
        # times 255: 188.9.
        probabilities = np.array([[[0, 0, 1], [1, 0, 0], [0, 1, 0]]], np.float32)
        assert opacity(probabilities, TRIMAP_CLASSES)[..., 0].tolist() == [[189, 255, 0]]

    def test_no_data_is_transparent(self):
        assert opacity(np.full((1, 1, 2), np.nan, np.float32), TWO).tolist() == [[[0]]]
