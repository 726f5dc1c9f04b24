"""Numbers of pixels against hand arithmetic: levels, types, channels, and how a set decides."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from unetkit.errors import ConfigError, DataError
from unetkit.io.pixel_format import (
    LUMA,
    MAX_CHANNELS,
    PixelFormat,
    choose_format,
    luma,
    odd_images,
)

DEEP = PixelFormat(1, "uint16", (100.0,), (200.0,))
TWO = PixelFormat(2, "float32", (0.0, -1.0), (1.0, 3.0))


def pixel(*values, dtype="uint8"):
    """An image of one pixel."""
    return np.array([[values]], dtype)


class TestFormat:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"channels": 0}, "channels is 0; accepted are 1 to 256"),
            ({"channels": 257}, "channels is 257; accepted are 1 to 256"),
            (
                {"dtype": "int8"},
                "dtype is 'int8'; accepted are 'uint8', 'uint16', 'float32'",
            ),
            (
                {"channel_axis": "middle"},
                "channel_axis is 'middle'; accepted are 'auto', 'first', 'last'",
            ),
            (
                {"low": (0.0, 1.0)},
                r"low is \[0.0, 1.0\] and high \[255.0\]; accepted is one number, or one for each "
                "of 3 channels, low below high",
            ),
            ({"low": (255.0,)}, r"low is \[255.0\] and high \[255.0\]"),
            ({"low": (0.0, 9.0, 0.0), "high": (1.0, 9.0, 1.0)}, "low below high"),
            ({"high": (float("nan"),)}, r"high \[nan\]"),
            ({"high": (float("inf"),)}, r"high \[inf\]"),
            ({"low": (), "high": ()}, r"low is \[\]"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, options, message):
        with pytest.raises(ConfigError, match=message):
            PixelFormat(**options)

    def test_the_largest_number_of_channels(self):
        assert PixelFormat(MAX_CHANNELS).channels == 256

    def test_eight_bits_are_on_the_common_scale(self):
        assert PixelFormat().is_common_scale
        scaled = PixelFormat().scaled(pixel(0, 127, 255))
        assert scaled.dtype == np.float32
        assert scaled.tolist() == [[[0, 127, 255]]]

    def test_other_types_are_not_even_with_the_same_levels(self):
        format = PixelFormat(1, "uint16")
        assert not format.is_common_scale
        assert format.scaled(pixel(300, dtype="uint16")).item() == 255  # cut off
        assert format.photo(pixel(300, dtype="uint16")).tolist() == [[[255] * 3]]

    def test_factors(self):
        # 255 / (200 - 100) = 2.55
        low, multiply = DEEP.factors()
        assert (low.dtype, multiply.dtype) == (np.float32, np.float32)
        assert low.tolist() == [100]
        assert multiply.tolist() == pytest.approx([2.55])

    def test_factors_of_each_channel(self):
        # 255 / 1 and 255 / 4.
        low, multiply = TWO.factors()
        assert low.tolist() == [0, -1]
        assert multiply.tolist() == [255, 63.75]

    def test_fractions_far_from_0_keep_their_differences(self):
        format = PixelFormat(1, "float32", (1e6,), (1e6 + 10,))
        values = np.array([[[1e6], [1e6 + 5], [1e6 + 10]]], np.float32)
        assert format.scaled(values).ravel().tolist() == [0, 127.5, 255]

    def test_levels_become_0_and_255_and_the_rest_is_cut_off(self):
        values = np.array([[[50], [100], [150], [200], [65535]]], np.uint16)
        # (150 - 100) * 2.55 = 127.5
        assert DEEP.scaled(values).ravel().tolist() == pytest.approx([0, 0, 127.5, 255, 255])

    def test_each_channel_has_its_own_levels(self):
        assert TWO.scaled(pixel(0.5, 1, dtype="float32")).tolist() == [[[127.5, 127.5]]]

    @given(arrays.arrays(np.uint16, (2, 3, 4, 1)))
    def test_a_pixel_never_depends_on_the_others_of_its_image(self, images):
        together = DEEP.scaled(images.reshape(-1, 4, 1)).reshape(images.shape)
        for image, expected in zip(images, together, strict=True):
            assert (DEEP.scaled(image) == expected).all()

    @given(arrays.arrays(np.float32, (5, 2), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
    def test_scaled_pixels_stay_on_the_scale(self, values):
        scaled = TWO.scaled(values)
        assert ((scaled >= 0) & (scaled <= 255)).all()


class TestPhoto:
    def test_grey_is_repeated(self):
        assert PixelFormat(1).photo(pixel(7)).tolist() == [[[7, 7, 7]]]

    def test_colours_stay(self):
        assert PixelFormat(3).photo(pixel(1, 2, 3)).tolist() == [[[1, 2, 3]]]

    def test_of_many_channels_the_first_three_are_shown(self):
        assert PixelFormat(5).photo(pixel(1, 2, 3, 4, 5)).tolist() == [[[1, 2, 3]]]

    def test_of_two_channels_the_first_is_shown(self):
        # 0.5 * 255 = 127.5, rounded to even.
        photo = TWO.photo(pixel(0.5, 3, dtype="float32"))
        assert photo.dtype == np.uint8
        assert photo.tolist() == [[[128, 128, 128]]]

    def test_levels_apply_to_each_channel(self):
        format = PixelFormat(3, "uint16", (0.0, 0.0, 100.0), (255.0, 510.0, 355.0))
        assert format.photo(pixel(10, 20, 130, dtype="uint16")).tolist() == [[[10, 10, 30]]]


class TestAccept:
    def test_what_fits_is_returned_as_it_is(self):
        image = pixel(1, 2, 3)
        assert PixelFormat().accept(image, "x.png") is image

    def test_grey_becomes_colour(self):
        assert PixelFormat(3).accept(pixel(9), "x.png").tolist() == [[[9, 9, 9]]]

    def test_colour_becomes_grey(self):
        # 0.299 * 255 = 76.245
        assert PixelFormat(1).accept(pixel(255, 0, 0), "x.png").tolist() == [[[76]]]

    @pytest.mark.parametrize(("eight", "sixteen"), [(0, 0), (1, 257), (128, 32896), (255, 65535)])
    def test_8_and_16_bits_go_into_one_another(self, eight, sixteen):
        wide = PixelFormat(1, "uint16").accept(pixel(eight), "x.png")
        assert (wide.dtype, wide.item()) == (np.uint16, sixteen)
        assert PixelFormat(1).accept(wide, "x.png").item() == eight

    @pytest.mark.parametrize(("sixteen", "eight"), [(128, 0), (129, 1), (65406, 254), (65407, 255)])
    def test_16_bits_are_rounded(self, sixteen, eight):
        # 128 / 257 = 0.498, 129 / 257 = 0.502; 65406 / 257 = 254.498, 65407 / 257 = 254.502.
        narrow = PixelFormat(1).accept(pixel(sixteen, dtype="uint16"), "x.png")
        assert (narrow.dtype, narrow.item()) == (np.uint8, eight)

    def test_type_and_channels_at_once(self):
        found = PixelFormat(3, "uint16").accept(pixel(1), "x.png")
        assert found.tolist() == [[[257, 257, 257]]]

    @pytest.mark.parametrize(("have", "want"), [(2, 3), (4, 3), (3, 4), (1, 2), (5, 1)])
    def test_other_channels_are_refused(self, have, want):
        message = (
            rf"x\.tif has {have} channels; accepted are {want}, as in the other images of the "
            "data set or the model; convert it, or name the axis of its channels in its metadata"
        )
        with pytest.raises(DataError, match=message):
            PixelFormat(want).accept(pixel(*range(have)), "x.tif")

    @pytest.mark.parametrize(
        ("have", "want"), [("float32", "uint8"), ("uint8", "float32"), ("uint16", "float32")]
    )
    def test_fractions_and_whole_numbers_are_not_compared(self, have, want):
        message = rf"x\.tif has {have} pixels; accepted are {want}, as in the other .*; convert it"
        with pytest.raises(DataError, match=message):
            PixelFormat(1, want).accept(pixel(1, dtype=have), "x.tif")


class TestLuma:
    def test_the_weights_add_up(self):
        assert LUMA.sum() == pytest.approx(1)

    @pytest.mark.parametrize("dtype", ["uint8", "uint16"])
    def test_white_stays_white(self, dtype):
        most = np.iinfo(dtype).max
        grey = luma(pixel(most, most, most, dtype=dtype))
        assert (grey.dtype, grey.item()) == (dtype, most)

    def test_whole_numbers_are_rounded(self):
        # 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 2.99 + 11.74 + 3.42 = 18.15
        assert luma(pixel(10, 20, 30)).item() == 18

    def test_fractions_are_not(self):
        grey = luma(pixel(10, 20, 30, dtype="float32"))
        assert (grey.dtype, grey.shape) == (np.float32, (1, 1, 1))
        assert grey.item() == pytest.approx(18.15)


class TestChoice:
    def test_eight_bits_need_no_statistics(self):
        samples = [np.array([[3], [4]], np.uint8)]  # however dark
        assert choose_format([(1, "uint8")], samples) == PixelFormat(1)

    def test_16_bits_take_the_levels_of_the_whole_set(self):
        # 0 to 1000 in two images: 0.1 % of 1000 steps are 1, so levels are 1 and 999, and are
        # widened by a tenth of their distance: 99.8.
        values = np.arange(1001, dtype=np.uint16)[:, None]
        found = choose_format([(1, "uint16")] * 2, [values[:300], values[300:]], "first")
        assert found.low == pytest.approx((-98.8,))
        assert found.high == pytest.approx((1098.8,))
        assert (found.channels, found.dtype, found.channel_axis) == (1, "uint16", "first")

    def test_the_order_of_images_does_not_matter(self):
        rng = np.random.default_rng(0)
        samples = [rng.integers(0, high, (99, 2), np.uint16) for high in (9, 900, 60_000)]
        kinds = [(2, "uint16")] * 3
        assert choose_format(kinds, samples) == choose_format(kinds, samples[::-1])

    def test_each_channel_has_its_own_levels(self):
        values = np.stack([np.linspace(0, 1, 1001), np.linspace(-5, 5, 1001)], 1)
        found = choose_format([(2, "float32")], [values.astype(np.float32)])
        # 0.001 - 0.0998 and -4.99 - 0.998
        assert found.low == pytest.approx((-0.0988, -5.988), abs=1e-5)
        assert found.high == pytest.approx((1.0988, 5.988), abs=1e-5)

    def test_a_set_without_contrast(self):
        found = choose_format([(1, "float32")], [np.full((9, 1), 7, np.float32)])
        assert (found.low, found.high) == ((6.5,), (7.5,))

    def test_levels_far_from_zero_stay_apart(self):
        values = np.linspace(1e7, 1e7 + 3, 1001)[:, None].astype(np.float32)
        found = choose_format([(1, "float32")], [values])
        # 1e7 to 1e7 + 3, widened by a tenth of 3
        assert (found.low, found.high) == ((9_999_999.7,), (10_000_003.3,))

    @pytest.mark.parametrize("number", [0, 1e7, 1e30, -1e30, 1e-30])
    def test_a_set_without_contrast_has_levels_whatever_its_number(self, number):
        found = choose_format([(1, "float32")], [np.full((9, 1), number, np.float32)])
        assert found.low[0] < number < found.high[0]

    def test_grey_and_colour_go_together_as_colour(self):
        samples = [np.zeros((9, 1), np.uint8), np.zeros((9, 3), np.uint8)]
        assert choose_format([(1, "uint8"), (3, "uint8")], samples) == PixelFormat(3)

    def test_8_and_16_bits_go_together_as_16(self):
        samples = [np.array([[0], [255]], np.uint8), np.array([[0], [65535]], np.uint16)]
        found = choose_format([(1, "uint8"), (1, "uint16")], samples)
        assert found.dtype == "uint16"
        # Black and white of both are the same two numbers: a tenth of 65535 beyond on each side.
        assert found.low == pytest.approx((-6553.5,), rel=1e-3)
        assert found.high == pytest.approx((72088.5,), rel=1e-3)

    def test_channels_in_common_are_asked_for(self):
        message = (
            r"images have 1, 2, 3 channels; accepted is one number for all \(grey and colour can "
            r"be mixed\); separate them, or name the axis of their channels with --channel-axis"
        )
        with pytest.raises(DataError, match=message):
            choose_format([(1, "uint8"), (3, "uint8"), (2, "uint8")], [])

    def test_an_image_of_the_rarest_kind_is_named(self):
        files = [Path("a.png"), Path("b.png"), Path("c.tif")]
        with pytest.raises(DataError, match=r"have 2, 3 channels \(1 of 3 2, c\.tif first\); acc"):
            choose_format([(3, "uint8")] * 2 + [(2, "uint8")], [], files=files)
        with pytest.raises(DataError, match=r"uint8 pixels \(1 of 3 float32, c\.tif first\); acc"):
            choose_format([(3, "uint8")] * 2 + [(3, "float32")], [], files=files)

    def test_a_few_images_that_do_not_fit_are_odd(self):
        usual = [(3, "uint8")] * 19
        assert odd_images([*usual, (1, "uint16")]) == {}
        assert odd_images([*usual, (5, "uint8")]) == {19: "5 channels, and most others 3"}
        assert odd_images([*usual, (3, "float32")]) == {19: "float32 pixels, and most others uint8"}
        assert odd_images([*usual[:9], (5, "uint8")]) == {}  # a tenth are not few

    @pytest.mark.parametrize("other", ["uint8", "uint16"])
    def test_floats_and_integers_are_not_mixed(self, other):
        message = (
            f"images have float32, {other} pixels; accepted are integers or floats, not both; "
            "convert some"
        )
        with pytest.raises(DataError, match=message):
            choose_format([(1, other), (1, "float32")], [])
