"""Sizes against the paper, against hand derivation and against a layer-by-layer count."""

from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.errors import SizeError
from unetkit.models.geometry import Geometry, encoder_geometry, skip_crops, unet_geometry

STEADY = settings(derandomize=True, max_examples=60)
PADDED = [
    unet_geometry(depth, "same", stem_stride, up_kernel, head)
    for depth, stem_stride, up_kernel, head in product((1, 2, 4), (1, 2), (2, 3), (False, True))
]
UNPADDED = [
    unet_geometry(depth, "valid", 1, up_kernel, head)
    for depth, up_kernel, head in product((1, 2, 4), (2, 3), (False, True))
]
PAPER = unet_geometry(depth=4, padding="valid")


def count_layer_by_layer(
    size: int, depth: int, padding: str, head: bool = False
) -> tuple[int, list[int]] | None:
    """Output size and crops of each level; None where a pooling or a crop does not come out even,
    or a convolution has nothing left to look at."""
    lost = 4 if padding == "valid" else 0
    skips = []
    for _ in range(depth):
        size -= lost
        skips.append(size)
        if size < 2 or size % 2:
            return None
        size //= 2
    size -= lost
    crops = []
    for skip in reversed(skips):
        if size < 1 or (skip - 2 * size) % 2:
            return None
        crops.append((skip - 2 * size) // 2)
        size = 2 * size - lost
    size -= 2 if head and padding == "valid" else 0
    return (size, crops[::-1]) if size > 0 else None


class TestPaper:
    """Ronneberger et al. 2015, figure 1."""

    def test_tile_of_572_gives_388(self):
        # down: 572-4=568, 284-4=280, 140-4=136, 68-4=64, 32-4=28
        # up:   2*28-4=52, 2*52-4=100, 2*100-4=196, 2*196-4=388
        assert PAPER.output_size(572) == 388

    def test_margin_is_half_of_what_a_tile_loses(self):
        assert PAPER.margin == (572 - 388) // 2 == 92

    def test_smallest_size_leaves_four_pixels(self):
        # Up from a lowest map of 3 rows: 2*3-4=2, 2*2-4=0, nothing left. Of 4 rows: 2*4-4=4, and
        # so on: 4 all the way. Down to those 4 rows, backwards: 4+4=8, 2*8+4=20, 2*20+4=44,
        # 2*44+4=92, 2*92+4=188.
        assert PAPER.smallest_input == 188
        assert PAPER.output_size(188) == 4

    def test_sizes_come_in_steps_of_sixteen(self):
        assert PAPER.stride == 2**4
        assert [PAPER.output_size(188 + 16 * k) for k in range(3)] == [4, 20, 36]

    def test_crops_are_half_the_difference_of_the_feature_maps_in_the_figure(self):
        # Figure 1: 568 to 392, 280 to 200, 136 to 104, 64 to 56.
        by_hand = [(568 - 392) // 2, (280 - 200) // 2, (136 - 104) // 2, (64 - 56) // 2]
        assert by_hand == [88, 40, 16, 4]
        assert skip_crops(depth=4, padding="valid") == by_hand


class TestOutputSize:
    def test_size_between_two_valid_ones_is_refused_with_both(self):
        # 188 + 16 * 23 = 556, and 572 is the next
        with pytest.raises(
            SizeError,
            match=r"^input size 570 does not fit this network; accepted are 188 \+ 16 k; "
            r"the nearest are 556 and 572$",
        ):
            PAPER.output_size(570)

    def test_size_below_the_smallest_is_refused_with_the_smallest(self):
        with pytest.raises(
            SizeError,
            match=r"^input size 172 does not fit this network; accepted are 188 \+ 16 k; "
            r"the nearest is 188$",
        ):
            PAPER.output_size(172)  # 188 - 16: on the grid, yet nothing would come out

    @pytest.mark.parametrize("size", [0, -32])
    def test_an_empty_image_is_refused(self, size):
        with pytest.raises(SizeError, match=rf"input size {size} .* the nearest is 32"):
            unet_geometry(depth=4, stem_stride=2).output_size(size)

    def test_padded_size_off_the_grid_is_refused_with_both(self):
        with pytest.raises(SizeError, match=r"input size 100 .* the nearest are 96 and 128"):
            unet_geometry(depth=4, stem_stride=2).output_size(100)

    @pytest.mark.parametrize("geometry", PADDED)
    def test_padded_network_returns_the_size_it_is_given(self, geometry):
        for size in range(geometry.stride, 5 * geometry.stride, geometry.stride):
            assert geometry.output_size(size) == size
        assert geometry.margin == 0

    @pytest.mark.parametrize("padding", ["same", "valid"])
    @pytest.mark.parametrize("head", [False, True])
    @pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
    def test_takes_exactly_the_sizes_that_come_out_even_at_every_layer(self, depth, head, padding):
        geometry = unet_geometry(depth, padding, head=head)
        for size in range(1, 520):
            counted = count_layer_by_layer(size, depth, padding, head)
            if counted is None:
                with pytest.raises(SizeError):
                    geometry.output_size(size)
            else:
                assert geometry.output_size(size) == counted[0]

    def test_head_takes_one_more_pixel_a_side_of_an_unpadded_network(self):
        with_head = unet_geometry(depth=4, padding="valid", head=True)
        assert with_head.margin == PAPER.margin + 1
        assert with_head.output_size(572) == 386


class TestInputSize:
    @given(geometry=st.sampled_from(PADDED + UNPADDED), wanted=st.integers(1, 300))
    @STEADY
    def test_is_the_smallest_valid_size_that_covers_the_output(
        self, geometry: Geometry, wanted: int
    ):
        def covers(size: int) -> bool:
            try:
                return geometry.output_size(size) >= wanted
            except SizeError:
                return False

        first = next(size for size in range(1, 2000) if covers(size))
        assert geometry.input_size(wanted) == first

    @given(geometry=st.sampled_from(PADDED + UNPADDED), steps=st.integers(0, 50))
    @STEADY
    def test_undoes_output_size(self, geometry: Geometry, steps: int):
        size = geometry.smallest_input + steps * geometry.stride
        assert geometry.input_size(geometry.output_size(size)) == size

    def test_one_pixel_more_takes_one_step_more(self):
        assert PAPER.input_size(388) == 572
        assert PAPER.input_size(389) == 572 + 16


class TestSkipCrops:
    @pytest.mark.parametrize("depth", range(1, 8))
    def test_unpadded_crops_agree_with_a_count_layer_by_layer(self, depth):
        size = unet_geometry(depth, "valid").smallest_input + 2**depth
        counted = count_layer_by_layer(size, depth, "valid")
        assert counted is not None
        assert skip_crops(depth, "valid") == counted[1]

    @pytest.mark.parametrize("depth", range(1, 8))
    def test_padded_network_crops_nothing(self, depth):
        assert skip_crops(depth, "same") == [0] * depth

    def test_deeper_network_keeps_the_crops_of_the_lower_levels(self):
        for shallow, deep in pairwise(skip_crops(depth, "valid") for depth in range(1, 8)):
            assert deep[1:] == shallow


class TestReach:
    """By hand here; against networks in test_model."""

    def test_one_level_by_hand(self):
        # Output row o needs o-2 ... o+2 of the merged map (two 3x3 convolutions), hence rows
        # (o-2)//2 ... (o+2)//2 below; two more convolutions there: -2, +2; un-pooled, i becomes
        # 2i ... 2i+1; the first block adds two more on each side.
        # o = 0: -1 ... 1, -3 ... 3, -6 ... 7, -8 ... 9: 8 back and 9 ahead
        # o = 1: -1 ... 1, the same input rows:        9 back and 8 ahead
        geometry = unet_geometry(depth=1, padding="same", up_kernel=2)
        assert (geometry.reach_before, geometry.reach_after) == (9, 9)

    def test_one_level_with_three_tap_up_convolution_by_hand(self):
        # An up-convolution of 3 taps lets o see rows (o-1)//2 ... o//2, one more behind.
        # o = 0: -2 ... 2, below (-2-1)//2 ... 2//2 = -2 ... 1, -4 ... 3, -8 ... 7, -10 ... 9
        # o = 1: -1 ... 3, below -1 ... 1, -3 ... 3, -6 ... 7, -8 ... 9: 9 back and 8 ahead
        geometry = unet_geometry(depth=1, padding="same", up_kernel=3)
        assert (geometry.reach_before, geometry.reach_after) == (10, 9)

    @pytest.mark.parametrize("up_kernel", [2, 3])
    @pytest.mark.parametrize("depth", [1, 2, 3, 4])
    def test_padding_changes_nothing(self, depth, up_kernel):
        padded = unet_geometry(depth, "same", up_kernel=up_kernel)
        unpadded = unet_geometry(depth, "valid", up_kernel=up_kernel)
        assert padded.reach_before == unpadded.reach_before
        assert padded.reach_after == unpadded.reach_after

    @pytest.mark.parametrize("stem_stride", [1, 2])
    @pytest.mark.parametrize("depth", [1, 2, 3, 4])
    def test_a_head_extends_the_receptive_field_by_one_pixel(self, depth, stem_stride):
        without = unet_geometry(depth, "same", stem_stride)
        with_head = unet_geometry(depth, "same", stem_stride, head=True)
        assert with_head.reach_before == without.reach_before + 1
        assert with_head.reach_after == without.reach_after + 1

    @pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
    def test_unpadded_output_depends_on_its_tile_only(self, depth):
        # The first output row lies `margin` rows into the tile, so it looks back `margin` at most;
        # one further in looks back as far from its own place, or less than a stride further.
        geometry = unet_geometry(depth, "valid")
        assert geometry.margin <= geometry.reach_before < geometry.margin + geometry.stride
        assert geometry.margin <= geometry.reach_after < geometry.margin + geometry.stride


class TestEncoderGeometry:
    def test_padding_of_its_own_moves_the_receptive_field(self):
        # Two 3x3 convolutions of the decoder: 2 rows on each side. Rows 0 and 1 see -2 to 3, or
        # rows -1 to 1 at half the size. A 7x7 convolution with a stride of 2 sees of row i the
        # rows 2i - 3 to 2i + 3 if 3 are padded, 2i - 2 to 2i + 4 with Keras's "same".
        own, same = (encoder_geometry([step]) for step in (((7, 2, 3),), ((7, 2),)))
        assert (own.tile_before, own.tile_after) == (5, 4)  # -2 - 3, and 2 + 3 - 1
        assert (same.tile_before, same.tile_after) == (4, 5)

    def test_a_level_without_features_is_passed(self):
        # 4x4 with a stride of 4. Rows 0 to 3: decoder -2 to 5, at half the size -1 to 2, its block
        # -3 to 4, at a quarter -2 to 2, of the image -8 to 11.
        found = encoder_geometry([None, ((4, 4),)])
        assert (found.stride, found.tile_before, found.tile_after) == (4, 8, 8)
