"""Boxes by hand, masks by brute force, and scores there and back."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from unetkit.data.scale import (
    IGNORE,
    Scale,
    image_to_network,
    mask_to_network,
    resize_mask,
    scores_from_network,
    windows_from_network,
    windows_to_network,
)
from unetkit.errors import ConfigError
from unetkit.io.windows import ArrayWindows

STEADY = settings(derandomize=True, max_examples=60)
SIDES = st.integers(1, 40)
SIZES = st.tuples(SIDES, SIDES)
RESIZES = st.builds(
    Scale, st.just("resize"), SIDES, SIDES, fit=st.sampled_from(["squash", "letterbox"])
)
SCALES = st.one_of(
    RESIZES,
    st.builds(Scale, st.just("native"), SIDES, SIDES, factor=st.sampled_from([0.3, 0.5, 1, 2, 3])),
)


def windows(size: tuple[int, int]) -> st.SearchStrategy[tuple[slice, slice]]:
    spans = (
        st.sets(st.integers(0, side), min_size=2, max_size=2).map(lambda ends: slice(*sorted(ends)))
        for side in size
    )
    return st.tuples(*spans)


def masks(sides: st.SearchStrategy[tuple[int, int]] = SIZES) -> st.SearchStrategy[np.ndarray]:
    return arrays.arrays(np.uint8, sides, elements=st.integers(0, 254))


class TestBoxes:
    def test_squash_fills_everything(self):
        scale = Scale("resize", 128, 96)
        assert scale.network_size((300, 400)) == (128, 96)
        assert scale.inner_box((300, 400)) == (0, 0, 128, 96)

    def test_wide_picture_gets_bars_above_and_below(self):
        # min(128/300, 128/400) = 0.32: 300 * 0.32 = 96 high, 128 wide; (128 - 96) / 2 = 16 above
        assert Scale("resize", 128, 128, fit="letterbox").inner_box((300, 400)) == (16, 0, 96, 128)

    def test_tall_picture_gets_bars_left_and_right(self):
        # min(128/400, 128/200) = 0.32: 128 high, 200 * 0.32 = 64 wide; (128 - 64) / 2 = 32 left
        assert Scale("resize", 128, 128, fit="letterbox").inner_box((400, 200)) == (0, 32, 128, 64)

    def test_odd_rest_goes_right_and_below(self):
        # min(10/5, 11/2) = 2: 10 high, 2 * 2 = 4 wide; of the other 7 columns 3 lie to the left
        assert Scale("resize", 10, 11, fit="letterbox").inner_box((5, 2)) == (0, 3, 10, 4)
        assert Scale("resize", 11, 10, fit="letterbox").inner_box((2, 5)) == (3, 0, 4, 10)

    def test_very_thin_picture_keeps_one_pixel(self):
        # 1 * 32/1000 = 0.03 rounds to nothing
        assert Scale("resize", 32, 32, fit="letterbox").inner_box((1, 1000)) == (15, 0, 1, 32)

    def test_native_picture_keeps_its_size(self):
        scale = Scale("native", 256, 256)
        assert scale.network_size((301, 77)) == (301, 77)
        assert scale.inner_box((301, 77)) == (0, 0, 301, 77)

    def test_only_native_pictures_at_their_own_size_are_shown_pixel_by_pixel(self):
        assert Scale("native", 256, 256).is_pixel_by_pixel
        assert not Scale("native", 256, 256, factor=0.5).is_pixel_by_pixel
        assert not Scale("resize", 256, 256).is_pixel_by_pixel

    def test_native_factor_multiplies_both_sides(self):
        # 100 * 0.25 = 25, 30 * 0.25 = 7.5, rounded to the even 8; 1 * 0.25 never below one pixel
        scale = Scale("native", 256, 256, factor=0.25)
        assert scale.network_size((100, 30)) == (25, 8)
        assert scale.network_size((1, 1)) == (1, 1)

    @given(scale=SCALES, size=SIZES)
    @STEADY
    def test_box_lies_within_and_in_the_middle(self, scale: Scale, size: tuple[int, int]):
        full = scale.network_size(size)
        top, left, height, width = scale.inner_box(size)
        assert height >= 1
        assert width >= 1
        assert full[0] - height - 2 * top in (0, 1)
        assert full[1] - width - 2 * left in (0, 1)

    @given(scale=RESIZES, size=SIZES)
    @STEADY
    def test_letterbox_touches_two_sides(self, scale: Scale, size: tuple[int, int]):
        full = scale.network_size(size)
        _, _, height, width = scale.inner_box(size)
        assert height == full[0] or width == full[1]

    @given(size=st.tuples(st.integers(20, 400), st.integers(20, 400)))
    @STEADY
    def test_letterbox_keeps_the_aspect_ratio_to_half_a_pixel(self, size: tuple[int, int]):
        _, _, height, width = Scale("resize", 128, 96, fit="letterbox").inner_box(size)
        if height == 128:
            assert abs(width - 128 * size[1] / size[0]) <= 0.5
        else:
            assert abs(height - 96 * size[0] / size[1]) <= 0.5


class TestResizeMask:
    def test_takes_the_pixel_under_each_centre(self):
        # 5 to 2: centres 0.5 * 2.5 = 1.25 and 1.5 * 2.5 = 3.75 lie in pixels 1 and 3
        row = np.array([[10, 11, 12, 13, 14]], np.uint8)
        assert resize_mask(row, 1, 2).tolist() == [[11, 13]]
        # 2 to 5: centres 0.2, 0.6, 1.0, 1.4, 1.8: two pixels of the first, three of the second
        assert resize_mask(row[:, :2].T, 5, 1).T.tolist() == [[10, 10, 11, 11, 11]]

    def test_equal_size_copies(self):
        mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
        assert np.array_equal(resize_mask(mask, 3, 4), mask)

    @given(mask=masks(), height=SIDES, width=SIDES)
    @STEADY
    def test_labels_out_are_a_subset_of_labels_in(self, mask: np.ndarray, height: int, width: int):
        resized = resize_mask(mask, height, width)
        assert resized.shape == (height, width)
        assert resized.dtype == mask.dtype
        assert set(np.unique(resized)) <= set(np.unique(mask))

    @given(mask=masks(), height=SIDES, width=SIDES)
    @STEADY
    def test_agrees_with_brute_force_where_centres_lie_inside_a_pixel(
        self, mask: np.ndarray, height: int, width: int
    ):
        def sources(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
            doubled = (2 * np.arange(wanted) + 1) * length  # centres, in units of 1 / (2 wanted)
            return doubled // (2 * wanted), doubled % (2 * wanted) != 0

        rows, rows_clear = sources(mask.shape[0], height)
        columns, columns_clear = sources(mask.shape[1], width)
        clear = np.ix_(rows_clear, columns_clear)  # on an edge either neighbour is as near
        expected = mask[np.ix_(rows, columns)]
        assert np.array_equal(resize_mask(mask, height, width)[clear], expected[clear])

    def test_ignored_pixels_stay_so_and_reach_no_other(self):
        mask = np.array([[0, IGNORE, 1, 1]], np.uint8)
        assert resize_mask(mask, 2, 8).tolist() == [[0, 0, IGNORE, IGNORE, 1, 1, 1, 1]] * 2

    @given(mask=masks(), times=st.integers(1, 6))
    @STEADY
    def test_whole_enlargement_and_back_is_exact(self, mask: np.ndarray, times: int):
        height, width = mask.shape
        enlarged = resize_mask(mask, times * height, times * width)
        assert np.array_equal(enlarged, np.kron(mask, np.ones((times, times), np.uint8)))
        assert np.array_equal(resize_mask(enlarged, height, width), mask)


class TestToNetwork:
    def test_letterbox_bars_of_a_mask_are_ignored(self):
        mask = np.array([[1, 2]], np.uint8)
        letterboxed = mask_to_network(mask, Scale("resize", 4, 4, fit="letterbox"))
        assert letterboxed.tolist() == [
            [IGNORE, IGNORE, IGNORE, IGNORE],
            [1, 1, 2, 2],
            [1, 1, 2, 2],
            [IGNORE, IGNORE, IGNORE, IGNORE],
        ]

    def test_letterbox_bars_of_an_image_repeat_its_edge(self):
        image = np.array([[[10], [20]], [[30], [40]]], np.uint8)
        letterboxed = image_to_network(image, Scale("resize", 4, 2, fit="letterbox"))
        assert letterboxed[..., 0].tolist() == [[10, 20], [10, 20], [30, 40], [30, 40]]

    def test_squashed_mask_has_no_ignored_pixel(self):
        mask = np.zeros((7, 3), np.uint8)
        assert (mask_to_network(mask, Scale("resize", 16, 16)) == 0).all()

    def test_shrunk_image_holds_the_mean_of_what_each_pixel_covers(self):
        # 4 columns each: (0 + 100 + 200 + 100) / 4 = 100 and (4 + 8 + 12 + 16) / 4 = 10
        image = np.array([[0, 100, 200, 100, 4, 8, 12, 16]], np.uint8)[..., None]
        assert image_to_network(image, Scale("resize", 1, 2)).tolist() == [[[100], [10]]]
        stacked = np.ascontiguousarray(image.swapaxes(0, 1))
        assert image_to_network(stacked, Scale("resize", 2, 1)).tolist() == [[[100]], [[10]]]

    def test_enlarged_image_is_interpolated_linearly(self):
        # centres of 4 pixels in 2: -0.25, 0.25, 0.75, 1.25, held at the ends
        image = np.array([[[0], [100]]], np.uint8)
        enlarged = image_to_network(image, Scale("resize", 1, 4))
        assert enlarged[0, :, 0].tolist() == [0, 25, 75, 100]

    @given(scale=SCALES, size=SIZES, channels=st.sampled_from([1, 3]))
    @STEADY
    def test_image_and_mask_have_the_network_size(
        self, scale: Scale, size: tuple[int, int], channels: int
    ):
        image = np.full((*size, channels), 77, np.uint8)
        mask = np.full(size, 3, np.uint8)
        shown = image_to_network(image, scale)
        labels = mask_to_network(mask, scale)
        assert shown.shape == (*scale.network_size(size), channels)
        assert shown.dtype == np.uint8
        assert (shown == 77).all()
        assert labels.shape == scale.network_size(size)
        assert set(np.unique(labels)) <= {3, IGNORE}

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    @pytest.mark.parametrize("channels", [1, 2, 5, 130])
    @pytest.mark.parametrize("size", [(4, 5), (20, 30), (9, 40)])
    def test_each_channel_is_resized_as_if_alone(self, dtype, channels, size):
        numbers = np.random.default_rng(0).random((11, 13, channels)) * 250
        image = numbers.astype(dtype)
        scale = Scale("resize", *size, fit="letterbox")
        shown = image_to_network(image, scale)
        assert shown.shape == (*size, channels)
        assert shown.dtype == dtype
        for k in {0, channels // 2, channels - 1}:
            alone = image_to_network(image[..., k : k + 1], scale)
            np.testing.assert_allclose(shown[..., k : k + 1], alone, atol=1 if k else 1e-3)

    @pytest.mark.parametrize("dtype", [np.uint16, np.float32])
    def test_numbers_beyond_8_bits_are_averaged_as_they_are(self, dtype):
        # (1000 + 3000) / 2 = 2000 and (60000 + 50000) / 2 = 55000
        image = np.array([[1000, 3000, 60_000, 50_000]], dtype)[..., None]
        shown = image_to_network(image, Scale("resize", 1, 2))
        assert shown[..., 0].tolist() == [[2000, 55_000]]

    @given(mask=masks(), scale=RESIZES)
    @STEADY
    def test_mask_is_ignored_outside_the_box_and_nowhere_else(self, mask: np.ndarray, scale: Scale):
        top, left, height, width = scale.inner_box(mask.shape)
        inside = np.zeros(scale.network_size(mask.shape), bool)
        inside[top : top + height, left : left + width] = True
        assert np.array_equal(mask_to_network(mask, scale) != IGNORE, inside)

    @pytest.mark.parametrize("scale", [Scale("native", 64, 64), Scale("resize", 5, 9)])
    def test_equal_size_changes_nothing(self, scale):
        generator = np.random.default_rng(0)
        image = generator.integers(0, 256, (5, 9, 3), dtype=np.uint8)
        mask = generator.integers(0, 4, (5, 9), dtype=np.uint8)
        assert np.array_equal(image_to_network(image, scale), image)
        assert np.array_equal(mask_to_network(mask, scale), mask)


class TestScoresFromNetwork:
    @given(scale=SCALES, size=SIZES)
    @STEADY
    def test_constant_stays_constant_at_the_pictures_own_size(
        self, scale: Scale, size: tuple[int, int]
    ):
        constant = np.array([0.125, 0.625, 0.25], np.float32)
        scores = np.broadcast_to(constant, (*scale.network_size(size), 3)).copy()
        back = scores_from_network(scores, scale, size)
        assert back.shape == (*size, 3)
        assert back.dtype == np.float32
        assert np.allclose(back, constant, atol=1e-6)

    @given(scale=SCALES, size=SIZES, seed=st.integers(0, 99))
    @STEADY
    def test_probabilities_still_add_up_to_one(
        self, scale: Scale, size: tuple[int, int], seed: int
    ):
        network_size = scale.network_size(size)
        scores = np.random.default_rng(seed).dirichlet([0.3] * 4, network_size).astype(np.float32)
        back = scores_from_network(scores, scale, size)
        assert np.allclose(back.sum(-1), 1, atol=1e-5)
        assert back.min() >= 0

    @pytest.mark.parametrize("scale", [Scale("native", 64, 64), Scale("resize", 6, 7)])
    def test_equal_size_is_exact(self, scale):
        scores = np.random.default_rng(0).random((6, 7, 2), np.float32)
        assert np.array_equal(scores_from_network(scores, scale, (6, 7)), scores)

    def test_letterbox_bars_are_cut_off(self):
        # 2x4 into 8x8 is 4 high, from row 2 to row 5
        scale = Scale("resize", 8, 8, fit="letterbox")
        scores = np.zeros((8, 8, 2), np.float32)
        scores[2:6] = [0.25, 0.75]
        scores[:2], scores[6:] = 99, 99
        back = scores_from_network(scores, scale, (2, 4))
        assert np.allclose(back, [0.25, 0.75])

    def test_interpolates_linearly_between_pixel_centres(self):
        # centres of 4 pixels in 2: -0.25, 0.25, 0.75, 1.25, held at the ends
        scores = np.array([[[0.0], [1.0]]], np.float32)
        back = scores_from_network(scores, Scale("resize", 1, 2), (1, 4))
        assert back[0, :, 0].tolist() == [0.0, 0.25, 0.75, 1.0]

    @pytest.mark.parametrize("fit", ["squash", "letterbox"])
    def test_labels_return_to_where_they_came_from(self, fit):
        mask = np.zeros((30, 50), np.uint8)
        mask[10:20, 5:25], mask[22:, 30:] = 1, 2
        scale = Scale("resize", 96, 128, fit=fit)
        labels = mask_to_network(mask, scale)
        scores = (labels[..., None] == np.arange(3)).astype(np.float32)
        back = scores_from_network(scores, scale, mask.shape).argmax(-1)
        assert (back != mask).mean() <= 0.02  # half a pixel along the contours

    def test_more_classes_than_opencv_resizes_at_once_come_back(self):
        scores = np.random.default_rng(0).random((4, 4, 9), np.float32)
        back = scores_from_network(scores, Scale("resize", 4, 4), (8, 8))
        alone = scores_from_network(scores[..., 7:8], Scale("resize", 4, 4), (8, 8))
        assert back.shape == (8, 8, 9)
        assert np.array_equal(back[..., 7], alone[..., 0])


class TestWindows:
    @given(scale=SCALES, size=SIZES, dtype=st.sampled_from(["u1", "u2", "f4"]), data=st.data())
    @STEADY
    def test_window_of_a_picture_is_that_of_the_whole_bit_for_bit(
        self, scale: Scale, size: tuple[int, int], dtype: str, data: st.DataObject
    ):
        image = (np.random.default_rng(0).random((*size, 3)) * 255).astype(dtype)
        whole = image_to_network(image, scale)
        shown = windows_to_network(ArrayWindows(image), scale)
        assert shown.shape == whole.shape
        assert shown.dtype == whole.dtype
        window = data.draw(windows(whole.shape[:2]))
        assert shown.read(*window).tobytes() == whole[window].tobytes()

    @given(scale=SCALES, size=SIZES, data=st.data())
    @STEADY
    def test_window_of_scores_is_that_of_the_whole_bit_for_bit(
        self, scale: Scale, size: tuple[int, int], data: st.DataObject
    ):
        scores = np.random.default_rng(0).random((*scale.network_size(size), 3), np.float32)
        whole = scores_from_network(scores, scale, size)
        back = windows_from_network(ArrayWindows(scores), scale, size)
        assert back.shape == whole.shape == (*size, 3)
        assert back.dtype == np.float32
        window = data.draw(windows(size))
        assert back.read(*window).tobytes() == whole[window].tobytes()

    def test_window_within_a_bar_repeats_the_pictures_edge(self):
        # 1x2 into 4x4 is 2 high, from row 1 to row 2
        image = ArrayWindows(np.array([[[10], [30]]], np.uint8))
        shown = windows_to_network(image, Scale("resize", 4, 4, fit="letterbox"))
        assert shown.read(slice(0, 1), slice(0, 4))[..., 0].tolist() == [[10, 15, 25, 30]]
        assert shown.read(slice(3, 4), slice(1, 3))[..., 0].tolist() == [[15, 25]]

    def test_own_pixels_are_read_as_they_are(self):
        picture = ArrayWindows(np.zeros((5, 9, 3), np.uint8))
        for scale in (Scale("native", 64, 64), Scale("resize", 5, 9)):
            assert windows_to_network(picture, scale) is picture
            assert windows_from_network(picture, scale, (5, 9)) is picture


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (
                {"policy": "crop"},
                "scale policy is 'crop'; accepted are 'resize', 'native'",
            ),
            (
                {"fit": "stretch"},
                "scale fit is 'stretch'; accepted are 'squash', 'letterbox'",
            ),
            (
                {"height": 0},
                "scale size is 0x8; accepted are sides from 1 to 65536 pixels",
            ),
            ({"width": 65537}, "scale size is 8x65537; accepted are sides from 1 to 65536 pixels"),
            (
                {"factor": 0.0},
                "scale factor is 0.0; accepted are factors from 0.01 to 8; "
                "use 1.0 for the image's own pixels",
            ),
            ({"factor": 8.1}, "scale factor is 8.1; accepted are factors from 0.01 to 8; "),
            ({"factor": float("nan")}, "scale factor is nan; accepted are factors from 0.01 "),
        ],
    )
    def test_value_outside_what_is_accepted_is_named(self, values, message):
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
            Scale(**{"policy": "resize", "height": 8, "width": 8, **values})

    def test_largest_and_smallest_values_are_accepted(self):
        assert Scale("native", 1, 65536, factor=0.01).width == 65536
        assert Scale("native", 65536, 1, factor=8).height == 65536


class TestDescribe:
    def test_native_factor_is_named_unless_it_is_one(self):
        assert Scale("native", 256, 128).describe() == (
            "native: the picture's own pixels, trained on 256x128"
        )
        assert Scale("native", 256, 128, factor=0.5).describe() == (
            "native: the picture's own pixels times 0.5, trained on 256x128"
        )
