"""Cut-outs: opacity along edges, colours without the background's, the same in any windows."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.data.scale import Scale
from unetkit.io.windows import ArrayWindows
from unetkit.results import matting
from unetkit.results.matting import CutOut, foreground_colours, guided_filter, pixel_side

WHOLE = slice(0, 90), slice(0, 120)


def noisy(size=(90, 120), seed=0):
    """A photo of coarse colours with noise, and an opacity with a soft edge."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[0] // 12 + 1, size[1] // 12 + 1, 3))
    photo = np.kron(coarse, np.ones((12, 12, 1)))[: size[0], : size[1]]
    photo = np.clip(photo + rng.normal(0, 6, photo.shape), 0, 255).astype(np.uint8)
    rows, columns = np.indices(size)
    distance = np.hypot(rows - size[0] / 2, columns - size[1] / 3) - 25
    opacity = np.clip(127 - 20 * distance, 0, 255).astype(np.uint8)
    return photo, opacity[..., None]


def scene(side=240, seed=0):
    """A blob of one texture on another, its opacity, its colours and those of its surroundings."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((side, side)) - side / 2
    angle = np.arctan2(rows, columns)
    distance = np.hypot(rows, columns) - side * (0.3 + 0.03 * np.sin(7 * angle))
    alpha = np.clip(0.5 - distance / 2, 0, 1).astype(np.float32)
    front = np.array([200, 90, 60]) + rng.normal(0, 8, (side, side, 3))
    back = np.array([40, 120, 190]) + rng.normal(0, 8, (side, side, 3))
    photo = alpha[..., None] * front + (1 - alpha[..., None]) * back
    return np.clip(np.rint(photo), 0, 255).astype(np.uint8), alpha, np.array([200, 90, 60])


def coarse_opacity(alpha, step):
    """What a network says whose pixels have `step` of the photo: blurred, and displaced by one."""
    small = cv2.resize(alpha, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(np.roll(small, 1, axis=1), (0, 0), 1.5)
    wide = cv2.resize(small, alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.rint(255 * wide).astype(np.uint8)[..., None]


def cut(photo, opacity, side, **options):
    image = CutOut(ArrayWindows(photo), ArrayWindows(opacity), side, **options)
    return image.read(slice(0, photo.shape[0]), slice(0, photo.shape[1]))


class TestGuidedFilter:
    @pytest.mark.parametrize("radius", [1, 3])
    def test_is_that_of_least_squares(self, radius):
        """Ridge regression of opacity on colour in each neighbourhood, by NumPy's solver."""
        photo, opacity = (part[:11, 20:34] for part in noisy(seed=3))
        opacity = opacity[..., 0]
        opacity[:] = np.random.default_rng(1).integers(0, 256, opacity.shape)
        height, width = opacity.shape
        best = np.empty((height, width, 4))
        around = np.empty((height, width), object)
        for row, column in np.ndindex(height, width):
            place = (
                slice(max(0, row - radius), row + radius + 1),
                slice(max(0, column - radius), column + radius + 1),
            )
            around[row, column] = place
            colours = photo[place].reshape(-1, 3).astype(float)
            values = opacity[place].ravel().astype(float)
            centred = colours - colours.mean(0)
            ridge = centred.T @ centred + len(values) * matting.SMALLEST_VARIANCE * np.eye(3)
            factors = np.linalg.solve(ridge, centred.T @ (values - values.mean()))
            best[row, column] = *factors, values.mean() - factors @ colours.mean(0)
        expected = np.empty_like(best)
        for row, column in np.ndindex(height, width):
            expected[row, column] = best[around[row, column]].reshape(-1, 4).mean(0)
        np.testing.assert_allclose(guided_filter(photo, opacity, radius), expected, atol=2e-4)


class TestForegroundColours:
    def test_are_those_of_the_formula(self):
        photo, _ = (part[:9, :13] for part in noisy(seed=5))
        alpha = np.random.default_rng(2).choice([0, 90, 255], (9, 13)).astype(np.uint8)
        found = foreground_colours(photo, alpha, radius=2)
        for row, column in np.ndindex(9, 13):
            place = slice(max(0, row - 2), row + 3), slice(max(0, column - 2), column + 3)
            shown = alpha[place][..., None] / 255
            front = (photo[place] * shown).sum((0, 1)) / shown.sum()
            back = (photo[place] * (1 - shown)).sum((0, 1)) / (1 - shown).sum()
            a, colour = alpha[row, column] / 255, photo[row, column].astype(float)
            expected = np.clip(front + a * (colour - a * front - (1 - a) * back), 0, 255)
            assert np.abs(found[row, column] - expected).max() < 0.51

    def test_opaque_pixels_stay_and_empty_ones_are_0(self):
        photo, _ = noisy()
        alpha = np.zeros((90, 120), np.uint8)
        alpha[:, :30] = 255
        found = foreground_colours(photo, alpha, radius=3)
        assert (found[:, :30] == photo[:, :30]).all()
        assert not found[:, 33:].any()
        assert found[:, 30:33].any()  # so that no colour of the background shows when it is scaled


class TestCutOut:
    @pytest.mark.parametrize("step", [1, 3, 8])
    def test_comes_nearer_to_opacity_and_colours_that_are_known(self, step):
        photo, alpha, colour = scene()
        opacity = coarse_opacity(alpha, step)
        found = cut(photo, opacity, float(step))
        before = np.square(opacity[..., 0] / 255 - alpha).mean()
        after = np.square(found[..., 3] / 255 - alpha).mean()
        assert after < before / 3
        for background in ([255] * 3, [0] * 3, [0, 255, 0]):
            background = np.array(background)
            wanted = alpha[..., None] * colour + (1 - alpha[..., None]) * background
            edge = cv2.dilate(((alpha > 0) & (alpha < 1)).astype(np.uint8), np.ones((9, 9))) > 0

            def error(colours, shown, background=background, wanted=wanted, edge=edge):
                shown = shown[..., None] / 255
                return np.abs(colours * shown + (1 - shown) * background - wanted)[edge].mean()

            assert error(found[..., :3], found[..., 3]) < 0.6 * error(photo, opacity[..., 0])

    def test_is_opaque_inside_and_empty_outside(self):
        photo, alpha, _ = scene()
        found = cut(photo, coarse_opacity(alpha, 3), 3.0)
        inside, outside = (
            cv2.erode((alpha == level).astype(np.uint8), np.ones((41, 41))) > 0 for level in (1, 0)
        )
        assert (found[inside, 3] == 255).all()
        assert (found[inside, :3] == photo[inside]).all()
        assert not found[outside].any()

    @settings(max_examples=25)
    @given(
        rows=st.tuples(st.integers(0, 89), st.integers(1, 90)),
        columns=st.tuples(st.integers(0, 119), st.integers(1, 120)),
        side=st.sampled_from([0.7, 1.0, 1.6, 4.3]),
        is_small=st.booleans(),
        block=st.sampled_from([17, 64, 256]),
    )
    def test_windows_have_the_bytes_of_the_whole(self, rows, columns, side, is_small, block):
        photo, opacity = map(ArrayWindows, noisy())
        window = tuple(slice(min(a, b - 1), max(a + 1, b)) for a, b in (rows, columns))
        whole = CutOut(photo, opacity, side).read(*WHOLE)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matting, "BLOCK", block)
            found = CutOut(photo, opacity, side, is_small=is_small).read(*window)
        assert (found == whole[window]).all()

    def test_certain_opacity_stays_where_all_around_is_certain(self):
        photo, _ = noisy()
        for level in (0, 255):
            found = cut(photo, np.full((90, 120, 1), level, np.uint8), 2.0)
            assert (found[..., 3] == level).all()
            assert (found[..., :3] == (photo if level else 0)).all()

    def test_where_data_are_missing_it_is_empty(self):
        photo, opacity = noisy()
        gaps = np.zeros((90, 120), bool)
        gaps[20:60, 30:50] = True
        found = cut(photo, opacity, 1.0, missing=lambda rows, columns: gaps[rows, columns])
        assert not found[gaps, 3].any()
        assert found[..., 3].any()

    @pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2)])
    def test_images_of_any_size(self, size):
        photo, opacity = (part[: size[0], : size[1]] for part in noisy())
        for side in (0.1, 1.0, 30.0):
            assert cut(photo, opacity, side).shape == (*size, 4)


def test_the_side_of_a_pixel_of_the_network():
    assert pixel_side(Scale("resize", 128, 128), (256, 512)) == pytest.approx(8**0.5)
    assert pixel_side(Scale("native", 64, 64, factor=0.5), (100, 100)) == pytest.approx(2)
