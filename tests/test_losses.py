"""Losses against scikit-learn and hand arithmetic; what is ignored counts for nothing."""

import math
import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from unetkit.errors import ConfigError
from unetkit.losses import LOSSES, cross_entropy, cross_entropy_dice, dice_loss, loss_by_name
from unetkit.scale import IGNORE

STEADY = settings(derandomize=True, deadline=None, max_examples=25)
EACH_LOSS = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def logits_of(probabilities: list) -> np.ndarray:
    """One image of one row whose softmax gives these probabilities, (1, 1, W, K)."""
    return np.log(np.array(probabilities, np.float32))[None, None]


def random_case(seed: int, num_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    mask = generator.integers(0, num_classes, (2, 3, 4)).astype(np.uint8)
    return mask, generator.normal(0, 3, (2, 3, 4, num_classes)).astype(np.float32)


def gradient(loss, mask: np.ndarray, logits: np.ndarray) -> np.ndarray:
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(mask, variable)
    return tape.gradient(value, variable).numpy()


class TestCrossEntropy:
    def test_by_hand(self):
        # pixel 0 has 3/4 for its class, pixel 1 has 1/2: (ln 4/3 + ln 2) / 2
        mask = np.array([[[0, 1]]], np.uint8)
        value = cross_entropy(mask, logits_of([[0.75, 0.25], [0.5, 0.5]]))
        assert float(value) == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=1e-6)

    def test_mean_is_over_the_pixels_that_count(self):
        # ln 4/3 of the first pixel alone, not half of it
        mask = np.array([[[0, IGNORE]]], np.uint8)
        value = cross_entropy(mask, logits_of([[0.75, 0.25], [0.5, 0.5]]))
        assert float(value) == pytest.approx(math.log(4 / 3), rel=1e-6)

    def test_all_ignored_gives_zero(self):
        mask, logits = random_case(0)
        assert float(cross_entropy(np.full_like(mask, IGNORE), logits)) == 0

    @given(seed=st.integers(0, 9999), num_classes=st.integers(2, 5), share=st.floats(0, 0.9))
    @STEADY
    def test_agrees_with_scikit_learn(self, seed, num_classes, share):
        mask, logits = random_case(seed, num_classes)
        mask[np.random.default_rng(seed).random(mask.shape) < share] = IGNORE
        kept = mask != IGNORE
        if not kept.any():
            return
        exact = logits[kept].astype(np.float64)
        exact = np.exp(exact - exact.max(1, keepdims=True))
        expected = log_loss(
            mask[kept], exact / exact.sum(1, keepdims=True), labels=range(num_classes)
        )
        assert float(cross_entropy(mask, logits)) == pytest.approx(expected, rel=1e-4)

    def test_huge_logits_stay_finite(self):
        mask = np.array([[[0, 1]]], np.uint8)
        logits = np.array([[[[1e4, -1e4], [1e4, -1e4]]]], np.float32)
        # the second pixel is wrong by 2e4: (0 + 2e4) / 2
        assert float(cross_entropy(mask, logits)) == pytest.approx(1e4)
        assert np.isfinite(gradient(cross_entropy, mask, logits)).all()


class TestDice:
    def test_by_hand(self):
        mask = np.array([[[0, 1]]], np.uint8)
        value = dice_loss(mask, logits_of([[0.75, 0.25], [0.5, 0.5]]))
        # class 0: 2 * 0.75 / (1.25 + 1) = 2/3; class 1: 2 * 0.5 / (0.75 + 1) = 4/7
        assert float(value) == pytest.approx(1 - (2 / 3 + 4 / 7) / 2, rel=1e-6)

    def test_class_that_does_not_occur_is_left_out_of_the_mean(self):
        mask = np.array([[[0, 1]]], np.uint8)
        value = dice_loss(mask, logits_of([[0.75, 0.125, 0.125], [0.25, 0.5, 0.25]]))
        # class 0: 2 * 0.75 / (1 + 1) = 0.75; class 1: 2 * 0.5 / (0.625 + 1) = 8/13; class 2 absent
        assert float(value) == pytest.approx(1 - (0.75 + 8 / 13) / 2, rel=1e-6)

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

    @given(seed=st.integers(0, 9999))
    @STEADY
    def test_lies_between_zero_and_one(self, seed):
        assert 0 <= float(dice_loss(*random_case(seed))) <= 1

    def test_everything_wrong_gives_one(self):
        mask = np.array([[[0, 1]]], np.uint8)
        logits = np.array([[[[-50.0, 50.0], [50.0, -50.0]]]], np.float32)
        assert float(dice_loss(mask, logits)) == pytest.approx(1)


class TestEachLoss:
    @EACH_LOSS
    def test_perfect_prediction_is_near_zero(self, loss):
        mask, _ = random_case(1)
        logits = 40 * (mask[..., None] == np.arange(3)).astype(np.float32)
        assert float(loss(mask, logits)) == pytest.approx(0, abs=1e-5)

    @EACH_LOSS
    @given(seed=st.integers(0, 9999))
    @STEADY
    def test_ignored_pixels_contribute_nothing(self, loss, seed):
        mask, logits = random_case(seed)
        ignored = np.random.default_rng(seed).random(mask.shape) < 0.4
        mask[ignored] = IGNORE
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
    def test_gradient_is_finite_when_everything_is_ignored(self, loss):
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
            assert slopes[place] == pytest.approx(rise / 0.1, abs=2e-5)

    @EACH_LOSS
    @pytest.mark.parametrize("dtype", [np.int32, np.int64])
    def test_type_of_the_mask_does_not_matter(self, loss, dtype):
        mask, logits = random_case(5)
        mask[1, 1] = IGNORE
        assert float(loss(mask.astype(dtype), logits)) == float(loss(mask, logits))


def test_sum_is_both_in_equal_parts():
    mask, logits = random_case(6)
    both = float(cross_entropy(mask, logits)) + float(dice_loss(mask, logits))
    assert float(cross_entropy_dice(mask, logits)) == pytest.approx(both)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("cross_entropy", cross_entropy),
        ("dice", dice_loss),
        ("cross_entropy_dice", cross_entropy_dice),
    ],
)
def test_loss_is_found_by_name(name, loss):
    assert loss_by_name(name) is loss


def test_unknown_loss_is_refused_with_a_suggestion():
    message = (
        "loss 'dyce' is unknown; accepted are 'cross_entropy', 'dice', 'cross_entropy_dice'; "
        "did you mean 'dice'?"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        loss_by_name("dyce")
