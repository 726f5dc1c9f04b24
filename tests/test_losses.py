"""Losses against scikit-learn, NumPy and hand arithmetic; what is ignored counts for nothing."""

import math
import re
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from tests import gradients
from unetkit.data.scale import IGNORE
from unetkit.errors import ConfigError
from unetkit.losses import (
    LOSSES,
    balanced_weights,
    boundary_cross_entropy,
    combined_loss,
    cross_entropy,
    dice_loss,
    focal_loss,
    require_class_weights,
    require_terms,
    separation_loss,
    tversky_loss,
)

pytestmark = pytest.mark.contract
STEADY = settings(derandomize=True, max_examples=25)
ALL_TERMS = {name: 0.5 + index for index, name in enumerate(LOSSES)}
WEIGHTS = (0.5, 2.0, 1.0)
PLAIN = {**LOSSES, "sum": combined_loss(ALL_TERMS)}
WEIGHTED = {
    f"weighted {name}": partial(loss, class_weights=WEIGHTS) for name, loss in LOSSES.items()
}
WEIGHTED["weighted sum"] = combined_loss(ALL_TERMS, WEIGHTS)
VARIANTS = PLAIN | WEIGHTED
EACH_LOSS = pytest.mark.parametrize("loss", VARIANTS.values(), ids=VARIANTS.keys())
EACH_TERM = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
PIXEL_LOSSES = pytest.mark.parametrize("loss", [cross_entropy, focal_loss, boundary_cross_entropy])
OVERLAP_LOSSES = pytest.mark.parametrize("loss", [dice_loss, tversky_loss])
TWO_PIXELS = np.array([[[0, 1]]], np.uint8)
NAMES = "'cross_entropy', 'dice', 'tversky', 'focal', 'boundary'"


def logits_of(probabilities: list) -> np.ndarray:
    """One image of one row whose softmax gives these probabilities, (1, 1, W, K)."""
    return np.log(np.array(probabilities, np.float32))[None, None]


def random_case(
    seed: int, num_classes: int = 3, ignored: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    mask = generator.integers(0, num_classes, (2, 3, 4)).astype(np.uint8)
    mask[np.random.default_rng(seed).random(mask.shape) < ignored] = IGNORE
    return mask, generator.normal(0, 3, (2, 3, 4, num_classes)).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    exact = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return exact / exact.sum(-1, keepdims=True)


def gradient(loss, mask: np.ndarray, logits) -> np.ndarray:
    return gradients.gradient(partial(loss, mask), logits)


class TestCrossEntropy:
    def test_by_hand(self):
        # pixel 0 has 3/4 for its class, pixel 1 has 1/2: (ln 4/3 + ln 2) / 2
        value = cross_entropy(TWO_PIXELS, logits_of([[0.75, 0.25], [0.5, 0.5]]))
        assert float(value) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=1e-6)

    def test_class_weights_by_hand(self):
        # (3 ln 4/3 + 1 ln 2) / (3 + 1)
        value = cross_entropy(TWO_PIXELS, logits_of([[0.75, 0.25], [0.5, 0.5]]), (3, 1))
        assert float(value) == pytest.approx((3 * math.log(4 / 3) + math.log(2)) / 4, rel=1e-6)

    def test_weights_that_sum_to_less_than_one_still_give_a_mean(self):
        # 0.1 ln 4/3 / 0.1, of the first pixel alone
        mask = np.array([[[0, IGNORE]]], np.uint8)
        value = cross_entropy(mask, logits_of([[0.75, 0.25], [0.5, 0.5]]), (0.1, 10))
        assert float(value) == pytest.approx(math.log(4 / 3), rel=1e-6)

    def test_added_weights_by_hand(self):
        # weights (3 + 1 and 1 + 0): (4 ln 4/3 + ln 2) / 5, whatever an ignored pixel has
        target = np.array([[[[0, 1], [1, 0], [IGNORE, 9]]]], np.float32)
        logits = logits_of([[0.75, 0.25], [0.5, 0.5], [0.5, 0.5]])
        value = cross_entropy(target, logits, (3, 1))
        assert float(value) == pytest.approx((4 * math.log(4 / 3) + math.log(2)) / 5, rel=1e-6)

    def test_mean_is_over_the_pixels_that_count(self):
        # ln 4/3 of the first pixel alone, not half of it
        mask = np.array([[[0, IGNORE]]], np.uint8)
        value = cross_entropy(mask, logits_of([[0.75, 0.25], [0.5, 0.5]]))
        assert float(value) == pytest.approx(math.log(4 / 3), rel=1e-6)

    @given(
        seed=st.integers(0, 9999),
        num_classes=st.integers(2, 5),
        share=st.floats(0, 0.9),
        is_weighted=st.booleans(),
    )
    @STEADY
    def test_agrees_with_scikit_learn(self, seed, num_classes, share, is_weighted):
        mask, logits = random_case(seed, num_classes, share)
        kept = mask != IGNORE
        if not kept.any():
            return
        weights = np.random.default_rng(seed).uniform(0.1, 10, num_classes)
        expected = log_loss(
            mask[kept],
            softmax(logits)[kept],
            labels=range(num_classes),
            sample_weight=weights[mask[kept]] if is_weighted else None,
        )
        value = cross_entropy(mask, logits, weights.tolist() if is_weighted else None)
        assert float(value) == pytest.approx(expected, rel=1e-4)

    def test_huge_logits_stay_finite(self):
        logits = np.array([[[[1e4, -1e4], [1e4, -1e4]]]], np.float32)
        # the second pixel is wrong by 2e4: (0 + 2e4) / 2
        assert float(cross_entropy(TWO_PIXELS, logits)) == pytest.approx(1e4)


class TestFocal:
    def test_by_hand(self):
        value = focal_loss(TWO_PIXELS, logits_of([[0.75, 0.25], [0.5, 0.5]]))
        # (1/4)^2 ln 4/3 and (1/2)^2 ln 2
        expected = (math.log(4 / 3) / 16 + math.log(2) / 4) / 2
        assert float(value) == pytest.approx(expected, rel=1e-6)

    def test_class_weights_by_hand(self):
        value = focal_loss(TWO_PIXELS, logits_of([[0.75, 0.25], [0.5, 0.5]]), (3, 1))
        expected = (3 * math.log(4 / 3) / 16 + math.log(2) / 4) / 4
        assert float(value) == pytest.approx(expected, rel=1e-6)

    @given(seed=st.integers(0, 9999), gamma=st.floats(0, 5), share=st.floats(0, 0.9))
    @STEADY
    def test_agrees_with_the_formula(self, seed, gamma, share):
        mask, logits = random_case(seed, ignored=share)
        kept = mask != IGNORE
        if not kept.any():
            return
        p = np.take_along_axis(softmax(logits)[kept], mask[kept][:, None], 1)
        expected = np.mean((1 - p) ** gamma * -np.log(p))
        value = float(focal_loss(mask, logits, gamma=gamma))
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-6)

    def test_gamma_of_zero_is_cross_entropy(self):
        case = random_case(7)
        assert float(focal_loss(*case, gamma=0)) == pytest.approx(float(cross_entropy(*case)))

    @pytest.mark.parametrize("gamma", [0, 0.5, 2])
    def test_pixel_that_is_wholly_right_has_a_finite_gradient(self, gamma):
        logits = np.array([[[[1e4, -1e4], [-1e4, 1e4]]]], np.float32)
        assert (gradient(partial(focal_loss, gamma=gamma), TWO_PIXELS, logits) == 0).all()


def near_another_class(mask: np.ndarray) -> np.ndarray:
    """By brute force: which kept pixels see another class in the 5x5 pixels around them."""
    near = np.zeros(mask.shape, bool)
    for b, row, column in np.argwhere(mask != IGNORE):
        window = mask[b, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        near[b, row, column] = ((window != IGNORE) & (window != mask[b, row, column])).any()
    return near


class TestBoundary:
    def test_two_pixels_on_either_side_by_hand(self):
        # 0 0 0 | 1 1 1 1: pixels 1 to 4 lie within 2 of the other class
        mask = np.array([[[0, 0, 0, 1, 1, 1, 1]]], np.uint8)
        of_truth = np.array([0.1, 0.5, 0.25, 0.75, 0.5, 0.2, 0.3])
        of_class_0 = np.where(mask[0, 0] == 0, of_truth, 1 - of_truth)
        logits = logits_of(np.stack([of_class_0, 1 - of_class_0], -1))
        expected = -np.log([0.5, 0.25, 0.75, 0.5]).mean()
        assert float(boundary_cross_entropy(mask, logits)) == pytest.approx(expected, rel=1e-5)

    def test_class_weights_by_hand(self):
        # The four pixels near the contour: weights 3, 3, 1, 1.
        mask = np.array([[[0, 0, 0, 1, 1, 1, 1]]], np.uint8)
        of_class_0 = np.array([0.9, 0.5, 0.25, 0.25, 0.5, 0.1, 0.1])
        logits = logits_of(np.stack([of_class_0, 1 - of_class_0], -1))
        expected = -(3 * np.log(0.5) + 3 * np.log(0.25) + np.log(0.75) + np.log(0.5)) / 8
        value = boundary_cross_entropy(mask, logits, (3, 1))
        assert float(value) == pytest.approx(expected, rel=1e-5)

    def test_ignored_pixels_make_no_contour(self):
        # Over one ignored pixel, the pixels at its sides are 2 apart; over two of them, 3.
        logits = np.random.default_rng(0).normal(size=(1, 1, 8, 2)).astype(np.float32)
        gap = np.array([[[0, 0, 0, IGNORE, 1, 1, 1, 1]]], np.uint8)
        slopes = np.abs(gradient(boundary_cross_entropy, gap, logits)).sum(-1)
        assert np.flatnonzero(slopes).tolist() == [2, 4]
        gap[..., 4] = IGNORE
        assert float(boundary_cross_entropy(gap, logits)) == 0

    @pytest.mark.parametrize("label", [0, 1, 2, IGNORE])
    def test_picture_of_one_class_gives_zero_without_a_gradient(self, label):
        mask, logits = random_case(8)
        mask[:] = label
        mask[0, 0, :2] = IGNORE
        assert float(boundary_cross_entropy(mask, logits)) == 0
        assert (gradient(boundary_cross_entropy, mask, logits) == 0).all()

    def test_pictures_of_a_batch_do_not_touch(self):
        mask = np.stack([np.zeros((3, 4)), np.ones((3, 4))]).astype(np.uint8)
        assert float(boundary_cross_entropy(mask, random_case(9)[1])) == 0

    @given(
        seed=st.integers(0, 9999),
        num_classes=st.integers(2, 4),
        cell=st.integers(1, 6),
        share=st.sampled_from([0, 0.1, 0.6]),
    )
    @STEADY
    def test_agrees_with_brute_force(self, seed, num_classes, cell, share):
        generator = np.random.default_rng(seed)
        blocks = generator.integers(0, num_classes, (2, 4, 3)).astype(np.uint8)
        mask = np.kron(blocks, np.ones((1, cell, cell), np.uint8))
        ignored = generator.random((2, 4, 3)) < share
        mask[np.kron(ignored, np.ones((1, cell, cell), bool))] = IGNORE
        logits = generator.normal(0, 3, (*mask.shape, num_classes)).astype(np.float32)
        near = near_another_class(mask)
        # The same losses, taken as cross-entropy over a mask in which all else is ignored.
        expected = float(cross_entropy(np.where(near, mask, IGNORE), logits))
        value = float(boundary_cross_entropy(mask, logits))
        assert value == pytest.approx(expected, rel=1e-5)
        assert (gradient(boundary_cross_entropy, mask, logits)[~near] == 0).all()

    def test_highest_class_index_is_a_class_and_not_ignored(self):
        mask = np.array([[[254, 0, IGNORE]]], np.uint8)
        value = float(boundary_cross_entropy(mask, np.zeros((1, 1, 3, 255), np.float32)))
        assert value == pytest.approx(math.log(255), rel=1e-5)


class TestDice:
    def test_by_hand(self):
        value = dice_loss(TWO_PIXELS, logits_of([[0.75, 0.25], [0.5, 0.5]]))
        # class 0: 2 * 0.75 / (1.25 + 1) = 2/3; class 1: 2 * 0.5 / (0.75 + 1) = 4/7
        assert float(value) == pytest.approx(1 - (2 / 3 + 4 / 7) / 2, rel=1e-6)

    def test_class_weights_by_hand(self):
        value = dice_loss(TWO_PIXELS, logits_of([[0.75, 0.25], [0.5, 0.5]]), (3, 1))
        assert float(value) == pytest.approx(1 - (3 * 2 / 3 + 4 / 7) / 4, rel=1e-6)

    def test_sums_run_over_the_whole_batch(self):
        # Class 1 occurs in the second image only. Summed: 2 * 0.5 / (0.25 + 0.5 + 1) = 4/7 and
        # class 0: 2 * 0.75 / (0.75 + 0.5 + 1) = 2/3, as if both were one image.
        mask = np.array([[[0]], [[1]]], np.uint8)
        logits = logits_of([[0.75, 0.25], [0.5, 0.5]]).reshape(2, 1, 1, 2)
        assert float(dice_loss(mask, logits)) == pytest.approx(1 - (2 / 3 + 4 / 7) / 2, rel=1e-6)

    def test_ignored_pixel_is_in_no_sum(self):
        mask = np.array([[[0, 1, IGNORE]]], np.uint8)
        value = dice_loss(mask, logits_of([[0.75, 0.25], [0.5, 0.5], [0.9, 0.1]]))
        assert float(value) == pytest.approx(1 - (2 / 3 + 4 / 7) / 2, rel=1e-6)


class TestTversky:
    def test_by_hand(self):
        value = tversky_loss(TWO_PIXELS, logits_of([[0.75, 0.25], [0.5, 0.5]]))
        # class 0: tp 0.75, fp 0.5, fn 0.25: 0.75 / (0.75 + 0.15 + 0.175)
        # class 1: tp 0.5, fp 0.25, fn 0.5: 0.5 / (0.5 + 0.075 + 0.35)
        assert float(value) == pytest.approx(1 - (0.75 / 1.075 + 0.5 / 0.925) / 2, rel=1e-6)

    def test_class_weights_by_hand(self):
        value = tversky_loss(TWO_PIXELS, logits_of([[0.75, 0.25], [0.5, 0.5]]), (3, 1))
        assert float(value) == pytest.approx(1 - (3 * 0.75 / 1.075 + 0.5 / 0.925) / 4, rel=1e-6)

    def test_missing_costs_more_than_a_false_alarm(self):
        mask = np.array([[[0] * 8 + [1] * 2]], np.uint8)
        sure = np.where(mask[..., None] == np.arange(2), 9.0, -9.0).astype(np.float32)
        missed, false = sure.copy(), sure.copy()
        missed[0, 0, 8] = sure[0, 0, 0]  # one pixel of class 1 is called 0
        false[0, 0, 0] = sure[0, 0, 8]  # one pixel of class 0 is called 1
        # Of class 1 (weights 0, 1): 1 / (1 + 0.7) against 2 / (2 + 0.3).
        for logits, index in ((missed, 1 / 1.7), (false, 2 / 2.3)):
            value = float(tversky_loss(mask, logits, (0, 1)))
            assert value == pytest.approx(1 - index, abs=1e-5)

    @given(seed=st.integers(0, 9999), share=st.floats(0, 0.9))
    @STEADY
    def test_equal_parts_are_dice(self, seed, share):
        case = random_case(seed, ignored=share)
        value = float(tversky_loss(*case, alpha=0.5, beta=0.5))
        assert value == pytest.approx(float(dice_loss(*case)), rel=1e-5)

    @given(seed=st.integers(0, 9999), alpha=st.floats(0.1, 1), share=st.floats(0, 0.8))
    @STEADY
    def test_agrees_with_the_formula(self, seed, alpha, share):
        mask, logits = random_case(seed, ignored=share)
        kept = mask != IGNORE
        p, weights, indices = softmax(logits)[kept], [], []
        for k in np.unique(mask[kept]):
            t = mask[kept] == k
            hit, false, missed = p[t, k].sum(), p[~t, k].sum(), (1 - p[t, k]).sum()
            indices.append(hit / (hit + alpha * false + (1 - alpha) * missed))
            weights.append(WEIGHTS[k])
        if indices:
            value = float(tversky_loss(mask, logits, WEIGHTS, alpha=alpha, beta=1 - alpha))
            assert value == pytest.approx(1 - np.average(indices, weights=weights), rel=1e-4)


class TestOverlapLosses:
    @OVERLAP_LOSSES
    def test_class_that_does_not_occur_is_left_out_of_the_mean(self, loss):
        value = loss(TWO_PIXELS, logits_of([[0.75, 0.125, 0.125], [0.25, 0.5, 0.25]]))
        if loss is dice_loss:
            # class 0: 2 * 0.75 / (1 + 1); class 1: 2 * 0.5 / (0.625 + 1)
            indices = [0.75, 8 / 13]
        else:
            # class 0: tp 0.75, fp 0.25, fn 0.25; class 1: tp 0.5, fp 0.125, fn 0.5
            indices = [0.75 / (0.75 + 0.25), 0.5 / (0.5 + 0.0375 + 0.35)]
        assert float(value) == pytest.approx(1 - np.mean(indices), rel=1e-6)

    @OVERLAP_LOSSES
    @given(seed=st.integers(0, 9999))
    @STEADY
    def test_lies_between_zero_and_one(self, loss, seed):
        assert 0 <= float(loss(*random_case(seed))) <= 1

    @OVERLAP_LOSSES
    def test_everything_wrong_gives_one(self, loss):
        logits = np.array([[[[-50.0, 50.0], [50.0, -50.0]]]], np.float32)
        assert float(loss(TWO_PIXELS, logits)) == pytest.approx(1)

    @OVERLAP_LOSSES
    def test_nothing_that_counts_gives_one(self, loss):
        mask, logits = random_case(0)
        assert float(loss(np.full_like(mask, IGNORE), logits)) == 1
        assert float(loss(np.zeros_like(mask), logits, (0, 1, 1))) == 1


class TestPixelLosses:
    @PIXEL_LOSSES
    def test_nothing_that_counts_gives_zero(self, loss):
        mask, logits = random_case(0)
        assert float(loss(np.full_like(mask, IGNORE), logits)) == 0
        assert float(loss(np.zeros_like(mask), logits, (0, 1, 1))) == 0

    @PIXEL_LOSSES
    def test_pixels_of_a_class_without_weight_have_no_gradient(self, loss):
        mask, logits = random_case(2)
        slopes = np.abs(gradient(partial(loss, class_weights=(1, 0, 1)), mask, logits)).sum(-1)
        assert ((slopes > 0) == (mask != 1)).all()

    @PIXEL_LOSSES
    def test_a_weight_of_two_is_a_pixel_that_occurs_twice(self, loss):
        mask, logits = random_case(3)
        twice = np.concatenate([mask, mask], axis=2)
        whole = loss(twice, np.concatenate([logits, logits], axis=2))
        added = np.stack([mask, np.ones_like(mask)], axis=-1).astype(np.float32)
        if loss is not boundary_cross_entropy:  # which would find a contour at the seam
            assert float(loss(added, logits)) == pytest.approx(float(whole), rel=1e-5)
        assert float(loss(added, logits)) == pytest.approx(float(loss(mask, logits)), rel=1e-5)

    @PIXEL_LOSSES
    def test_added_weights_move_the_mean_towards_their_pixels(self, loss):
        mask = np.array([[[0, 1, 1]]], np.uint8)
        logits = logits_of([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
        heavy = np.stack([mask, [[[0, 10, 0]]]], axis=-1).astype(np.float32)
        each = [float(loss(np.where(np.arange(3) == i, mask, IGNORE), logits)) for i in range(3)]
        if loss is not boundary_cross_entropy:
            expected = (each[0] + 11 * each[1] + each[2]) / 13
            assert float(loss(heavy, logits)) == pytest.approx(expected, rel=1e-5)
        assert float(loss(heavy, logits)) > float(loss(mask, logits))


class TestOverlapLossesAndAddedWeights:
    @OVERLAP_LOSSES
    def test_they_weigh_no_pixels(self, loss):
        mask, logits = random_case(4)
        added = np.stack([mask, 5 * np.ones_like(mask)], axis=-1).astype(np.float32)
        assert float(loss(added, logits)) == pytest.approx(float(loss(mask, logits)), rel=1e-6)


class TestEachLoss:
    @EACH_LOSS
    def test_perfect_prediction_is_near_zero(self, loss):
        mask, _ = random_case(1)
        logits = 40 * (mask[..., None] == np.arange(3)).astype(np.float32)
        assert float(loss(mask, logits)) == pytest.approx(0, abs=1e-5)

    @EACH_LOSS
    @given(seed=st.integers(0, 9999))
    @settings(STEADY, max_examples=8)
    def test_ignored_pixels_contribute_nothing(self, loss, seed):
        mask, logits = random_case(seed, ignored=0.4)
        ignored = mask == IGNORE
        changed = logits.copy()
        changed[ignored] += np.random.default_rng(seed + 1).normal(0, 50, changed[ignored].shape)
        assert float(loss(mask, changed)) == float(loss(mask, logits))

    @EACH_LOSS
    def test_gradient_of_ignored_pixels_is_zero_and_of_others_is_not(self, loss):
        mask, logits = random_case(2)
        mask[0] = IGNORE
        slopes = gradient(loss, mask, logits)
        assert (slopes[0] == 0).all()
        assert (np.abs(slopes[1]).sum(-1) > 0).all()

    @EACH_LOSS
    def test_gradient_is_zero_when_everything_is_ignored(self, loss):
        mask, logits = random_case(3)
        assert (gradient(loss, np.full_like(mask, IGNORE), logits) == 0).all()

    @EACH_LOSS
    def test_gradient_agrees_with_finite_differences(self, loss):
        mask, logits = random_case(4)
        logits = logits / 3
        mask[0, 0, 0] = IGNORE
        slopes = gradient(loss, mask, logits)
        for place in [(0, 0, 0, 1), (0, 1, 2, 0), (1, 2, 3, 2)]:
            step = np.zeros_like(logits)
            step[place] = 0.05
            rise = float(loss(mask, logits + step)) - float(loss(mask, logits - step))
            assert slopes[place] == pytest.approx(rise / 0.1, rel=2e-3, abs=2e-5)

    @EACH_LOSS
    @pytest.mark.parametrize("sign", [1, -1], ids=["right", "wrong"])
    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    def test_saturated_logits_stay_finite(self, loss, sign, dtype):
        mask, _ = random_case(5, ignored=0.2)
        logits = np.where(mask[..., None] == np.arange(3), sign * 1e4, -sign * 1e4)
        logits = keras.ops.convert_to_tensor(logits.astype(np.float32), dtype)
        assert np.isfinite(float(loss(mask, logits)))
        assert np.isfinite(gradient(loss, mask, logits).astype(np.float32)).all()

    @EACH_LOSS
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_floats_are_computed_in_float32(self, loss, dtype):
        mask, logits = random_case(6, ignored=0.2)
        half = keras.ops.convert_to_tensor(logits, dtype)
        value = loss(mask, half)
        assert keras.backend.standardize_dtype(value.dtype) == "float32"
        assert float(value) == float(loss(mask, keras.ops.cast(half, "float32")))
        assert gradient(loss, mask, half).dtype == keras.ops.convert_to_numpy(half).dtype

    @EACH_LOSS
    @pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32])
    def test_type_of_the_mask_does_not_matter(self, loss, dtype):
        mask, logits = random_case(5)
        mask[1, 1] = IGNORE
        assert float(loss(mask.astype(dtype), logits)) == float(loss(mask, logits))

    @EACH_TERM
    @pytest.mark.parametrize("scale", [1e-300, 1.0, 7.0, 1e300])
    def test_only_ratios_of_class_weights_matter(self, loss, scale):
        mask, logits = random_case(6, ignored=0.2)
        value = float(loss(mask, logits, [scale * weight for weight in WEIGHTS]))
        assert value == pytest.approx(float(loss(mask, logits, WEIGHTS)), rel=1e-6)
        equal = float(loss(mask, logits, [scale] * 3))
        assert equal == float(loss(mask, logits))

    @EACH_TERM
    def test_class_weights_of_another_length_are_refused(self, loss):
        message = "class_weights has length 2; accepted is one weight for each of the 3 classes"
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            loss(*random_case(0), (1.0, 1.0))

    @EACH_TERM
    def test_it_can_be_saved_with_a_model(self, loss):
        assert keras.losses.deserialize(keras.losses.serialize(loss)) is loss


class TestCombinedLoss:
    @pytest.mark.parametrize("class_weights", [(), WEIGHTS])
    def test_sum_by_hand(self, class_weights):
        case = random_case(6)
        parts = [
            weight * float(LOSSES[name](*case, class_weights or None))
            for name, weight in ALL_TERMS.items()
        ]
        assert float(combined_loss(ALL_TERMS, class_weights)(*case)) == pytest.approx(sum(parts))

    @pytest.mark.parametrize("name", LOSSES)
    def test_single_term_of_weight_one_is_the_loss_itself(self, name):
        mask, logits = random_case(6, ignored=0.2)
        loss = combined_loss({name: 1})
        assert float(loss(mask, logits)) == float(LOSSES[name](mask, logits))
        slopes = gradient(LOSSES[name], mask, logits)
        assert np.array_equal(gradient(loss, mask, logits), slopes)

    def test_order_of_the_terms_changes_no_bit(self):
        mask, logits = random_case(6)
        turned = combined_loss(dict(reversed(ALL_TERMS.items())))
        assert float(turned(mask, logits)) == float(combined_loss(ALL_TERMS)(mask, logits))

    @pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
    def test_a_model_trains_on_it(self, policy):
        keras.utils.set_random_seed(0)
        layer = keras.layers.Conv2D(3, 1, dtype=policy)
        model = keras.Sequential([keras.Input((3, 4, 3)), layer])
        loss = combined_loss(ALL_TERMS, WEIGHTS)
        model.compile(keras.optimizers.SGD(0.02), loss, jit_compile=False)
        mask, _ = random_case(1, ignored=0.2)
        images = (mask[..., None] == np.arange(3)).astype(np.float32)
        values = [float(model.train_on_batch(images, mask)) for _ in range(10)]
        expected = float(loss(mask, model(images)))
        assert float(model.test_on_batch(images, mask)) == pytest.approx(expected, rel=1e-3)
        assert np.isfinite(values).all()
        assert values[-1] < values[0]

    @pytest.mark.parametrize("require", [require_terms, combined_loss])
    def test_unknown_term_is_refused_with_a_suggestion(self, require):
        message = f"loss 'dyce' is unknown; accepted are {NAMES}; did you mean 'dice'?"
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            require({"cross_entropy": 1.0, "dyce": 1.0})

    @pytest.mark.parametrize("require", [require_terms, combined_loss])
    def test_no_term_is_refused(self, require):
        message = (
            f"loss has no term; accepted are {NAMES}, each with its weight; give at least one, "
            "such as cross_entropy = 1.0"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            require({})

    @pytest.mark.parametrize("require", [require_terms, combined_loss])
    @pytest.mark.parametrize("weight", [0, -1.0, math.inf, math.nan, "1", True, None])
    def test_weight_that_is_no_weight_is_refused(self, require, weight):
        message = (
            f"weight of loss 'dice' is {weight!r}; accepted are finite numbers above 0; use 1.0, "
            "or leave the term out"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            require({"dice": weight})

    @pytest.mark.parametrize("require", [require_class_weights, partial(combined_loss, ALL_TERMS)])
    @pytest.mark.parametrize("weight", [-0.5, math.inf, math.nan, "1", True, None])
    def test_class_weight_that_is_no_weight_is_refused(self, require, weight):
        message = (
            f"class_weights is {weight!r} for class 1; accepted are finite numbers from 0 up; use "
            "0 for a class whose pixels should not count"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            require((1.0, weight, 1.0))

    @pytest.mark.parametrize("require", [require_class_weights, partial(combined_loss, ALL_TERMS)])
    def test_class_weights_that_are_all_zero_are_refused(self, require):
        message = (
            "class_weights is 0 for every class; accepted is at least one number above 0; use 1 "
            "for the classes that should count"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            require((0, 0.0))

    def test_numbers_of_numpy_are_numbers(self):
        require_terms({"dice": np.float32(0.5)})
        require_class_weights(np.array([1.0, 0.0]))


class TestBalancedWeights:
    def test_by_hand(self):
        # median 300: 300 / 600, 300 / 300, 300 / 200 = 0.5, 1, 1.5, whose mean is 1
        assert balanced_weights(np.array([600, 300, 200])) == pytest.approx((0.5, 1, 1.5))

    def test_median_of_two_is_between_them(self):
        # median 200: 200 / 300 and 200 / 100, divided by their mean, 4/3
        assert balanced_weights(np.array([300, 100])) == pytest.approx((0.5, 1.5))

    def test_class_that_never_occurs_weighs_one_and_changes_no_other(self):
        weights = balanced_weights(np.array([0, 600, 300, 0, 200]))
        assert weights == pytest.approx((1, 0.5, 1, 1, 1.5))

    def test_bounds_are_ten_times_and_a_tenth(self):
        # median 1000: 0.001 and 1000 become 0.1 and 10; their mean with 1 is 3.7
        weights = balanced_weights(np.array([10**6, 1000, 1]))
        assert weights == pytest.approx((0.1 / 3.7, 1 / 3.7, 10 / 3.7))

    def test_nothing_at_all_weighs_one(self):
        assert balanced_weights(np.zeros(3, np.int64)) == (1, 1, 1)

    @given(pixels=st.lists(st.integers(0, 10**12), min_size=1, max_size=9))
    @STEADY
    def test_mean_is_one_and_rarer_classes_weigh_no_less(self, pixels):
        weights = np.array(balanced_weights(np.array(pixels)))
        occurs = np.array(pixels) > 0
        assert (weights[~occurs] == 1).all()
        if occurs.any():
            assert weights[occurs].mean() == pytest.approx(1)
            assert weights[occurs].max() <= weights[occurs].min() * 100 * (1 + 1e-9)
            order = np.argsort(np.array(pixels)[occurs])
            assert (np.diff(weights[occurs][order]) <= 0).all()

    def test_they_are_accepted_as_class_weights(self):
        weights = balanced_weights(np.array([10**9, 1, 0]))
        assert all(type(weight) is float for weight in weights)
        require_class_weights(weights)


class TestSeparation:
    """The last logit of each pixel tells objects apart."""

    TARGET = np.array([[[[0, 0, 1], [1, 0, 0], [1, 0, 0.5], [IGNORE, 0, 1]]]], np.float32)
    LOGITS = np.array([[[[2, 0, 3], [0, 2, 0], [0, 2, -1], [0, 0, 9]]]], np.float32)

    def test_by_hand(self):
        expected = -(
            math.log(1 / (1 + math.exp(-3)))
            + math.log(1 / 2)
            + 0.5 * math.log(1 / (1 + math.exp(1)))
            + 0.5 * math.log(1 - 1 / (1 + math.exp(1)))
        )
        p = 1 / (1 + np.exp(-self.LOGITS[0, 0, :3, 2].astype(float)))
        dice = 1 - 2 * (p[0] + p[2] / 2) / ((p**2).sum() + 1 + 0.25)
        value = separation_loss(self.TARGET, self.LOGITS[..., 2])
        assert float(value) == pytest.approx(expected / 3 + dice, rel=1e-5)

    def test_without_anything_to_tell_apart_it_is_cross_entropy(self):
        target = self.TARGET * [1, 1, 0]
        value = separation_loss(target, self.LOGITS[..., 2])
        expected = np.log1p(np.exp(self.LOGITS[0, 0, :3, 2])).mean()
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert float(separation_loss(np.full_like(target, IGNORE), self.LOGITS[..., 2])) == 0

    def test_it_is_least_where_the_target_is_met(self):
        target = np.array([[[[1, 0, t] for t in (0.1, 0.4, 0.9)]]], np.float32)
        met = np.log(target[..., 2] / (1 - target[..., 2]))
        least = float(separation_loss(target, met))
        for change in 0.3 * np.vstack([np.eye(3), -np.eye(3)]).astype(np.float32):
            assert float(separation_loss(target, met + change)) > least

    def test_it_is_added_to_the_terms_of_the_classes(self):
        loss = combined_loss(ALL_TERMS, WEIGHTS[:2], has_separation=True)
        classes = combined_loss(ALL_TERMS, WEIGHTS[:2])(self.TARGET[..., :2], self.LOGITS[..., :2])
        other = separation_loss(self.TARGET, self.LOGITS[..., 2])
        value = loss(self.TARGET, self.LOGITS)
        assert float(value) == pytest.approx(float(classes) + float(other), rel=1e-5)

    def test_of_a_mask_alone_only_the_classes_count(self):
        loss = combined_loss(ALL_TERMS, has_separation=True)
        mask = self.TARGET[..., 0].astype(np.uint8)
        expected = combined_loss(ALL_TERMS)(mask, self.LOGITS[..., :2])
        assert float(loss(mask, self.LOGITS)) == pytest.approx(float(expected), rel=1e-6)

    def test_large_logits_stay_finite(self):
        value = separation_loss(self.TARGET, 1e4 * self.LOGITS[..., 2])
        assert float(value) == pytest.approx(5000 / 3, rel=1e-3)  # of the third pixel, but for 1
