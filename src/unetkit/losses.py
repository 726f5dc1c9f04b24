"""Losses on logits that leave ignored pixels out, each with class weights, and sums of them.

Cross-entropy judges each pixel by itself; Dice judges each class by its overlap, whatever its
share of the picture. Their sum trains well on thin and rare classes without losing calibration.
Tversky, focal and boundary loss move the weight to what is missed, what is hard, and contours.

All arithmetic is float32, whatever the network computes in, with operations that every backend of
Keras has. `balanced_weights` proposes class weights; who counts pixels and asks for them is left to
training.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from numbers import Real

import keras
import numpy as np
from keras import KerasTensor, ops

from unetkit.data.scale import IGNORE
from unetkit.errors import ConfigError, did_you_mean

Weights = Sequence[float] | None
BAND = 2  # pixels at the network's scale, chessboard distance: contours drawn by hand err so far
NOBODY = -1.0 - IGNORE  # below every label and its negative
LEAST_TOTAL = 1e-30  # of weights; sums below count as 0, before 1 / sum overflows
MOST_TIMES = 10.0  # the median class's weight, and a tenth of it


def _labels_and_weights(
    mask: KerasTensor, logits: KerasTensor, class_weights: Weights
) -> tuple[KerasTensor, KerasTensor]:
    """Labels with ignored pixels set to class 0, and weights that are 0 there.

    Other pixels have their true class's weight, else 1; both (B, H, W), int32 and float32.
    """
    labels = ops.cast(mask, "int32")
    kept = ops.not_equal(labels, IGNORE)
    labels, weights = ops.where(kept, labels, 0), ops.cast(kept, "float32")
    if class_weights is not None:
        weights = weights * ops.take(_relative(class_weights, logits.shape[-1]), labels, axis=0)
    return labels, weights


def _relative(class_weights: Sequence[float], num_classes: int) -> KerasTensor:
    """Class weights as (K,) float32 whose largest is 1, since only their ratios matter."""
    require_class_weights(class_weights)
    if len(class_weights) != num_classes:
        raise ConfigError(
            f"class_weights has length {len(class_weights)}; accepted is one weight for each of "
            f"the {num_classes} classes; give {num_classes}, or none"
        )
    weights = np.array(class_weights, np.float64)
    return ops.convert_to_tensor((weights / weights.max()).astype(np.float32))


def _mean(values: KerasTensor, weights: KerasTensor) -> KerasTensor:
    """sum(w v) / sum(w); 0 where nothing has a weight."""
    total = ops.sum(weights)
    return ops.sum(values * weights) / ops.where(total > LEAST_TOTAL, total, 1.0)


def _pixel_losses(labels: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """-log p of each pixel's label, (B, H, W) float32."""
    logits = ops.cast(logits, "float32")
    return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


@keras.saving.register_keras_serializable(package="unetkit")
def cross_entropy(
    mask: KerasTensor, logits: KerasTensor, class_weights: Weights = None
) -> KerasTensor:
    """Mean cross-entropy over the pixels that count.

        sum_i w_i (-log p_i) / sum_i w_i, p_i the probability of pixel i's true class

    Args:
        mask: (B, H, W) integer class indices, or IGNORE.
        logits: (B, H, W, K), of any float type.
        class_weights: K numbers from 0 up: w_i of each true class. None for 1.

    Returns:
        A float32 scalar, 0 or more; 0 where no pixel counts.

    Raises:
        ConfigError: `class_weights` is not accepted, or not of length K.
    """
    labels, weights = _labels_and_weights(mask, logits, class_weights)
    return _mean(_pixel_losses(labels, logits), weights)


@keras.saving.register_keras_serializable(package="unetkit")
def focal_loss(
    mask: KerasTensor, logits: KerasTensor, class_weights: Weights = None, *, gamma: float = 2.0
) -> KerasTensor:
    """Cross-entropy in which pixels that are right already count for little.

        sum_i w_i (1 - p_i)^gamma (-log p_i) / sum_i w_i

    Arguments, value and errors as `cross_entropy`'s, which it is for a gamma of 0.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 4, over the
    classes of a softmax and with a mean in place of their sum.
    """
    labels, weights = _labels_and_weights(mask, logits, class_weights)
    losses = _pixel_losses(labels, logits)
    # Kept above 0, where a power below 1 would have no finite gradient.
    missing = ops.maximum(-ops.expm1(-losses), 1e-7)
    return _mean(ops.power(missing, gamma) * losses, weights)


@keras.saving.register_keras_serializable(package="unetkit")
def boundary_cross_entropy(
    mask: KerasTensor, logits: KerasTensor, class_weights: Weights = None
) -> KerasTensor:
    """Mean cross-entropy over the pixels near a pixel of another class.

    Near is within BAND pixels of the mask, by chessboard distance and on either side of the
    contour. Ignored pixels belong to no class: a border between one class and them is no contour.

    Arguments and errors as `cross_entropy`'s.

    Returns:
        A float32 scalar, 0 or more; 0 where there is no contour.
    """
    labels, weights = _labels_and_weights(mask, logits, class_weights)
    weights = weights * ops.cast(_near_another_class(mask), "float32")
    return _mean(_pixel_losses(labels, logits), weights)


def _near_another_class(mask: KerasTensor) -> KerasTensor:
    """Whether labels differ within BAND pixels, (B, H, W) bool; ignored pixels have no label.

    The largest label around a pixel and the smallest (the largest negative) differ just where two
    classes meet: two maps to look at, however many classes there are.
    """
    labels = ops.cast(mask, "float32")
    ignored = ops.equal(labels, IGNORE)
    largest = _largest_around(ops.where(ignored, NOBODY, labels))
    return ops.not_equal(largest, -_largest_around(ops.where(ignored, NOBODY, -labels)))


def _largest_around(values: KerasTensor) -> KerasTensor:
    """The largest within BAND pixels of each, (B, H, W); faster on a processor than pooling."""
    sides = (BAND, BAND)
    padded = ops.pad(values, ((0, 0), sides, sides), constant_values=NOBODY)
    moves = [slice(first, first - 2 * BAND or None) for first in range(2 * BAND + 1)]
    columns = reduce(ops.maximum, [padded[:, move] for move in moves])
    return reduce(ops.maximum, [columns[:, :, move] for move in moves])


def _truth_and_probabilities(
    mask: KerasTensor, logits: KerasTensor
) -> tuple[KerasTensor, KerasTensor]:
    """Both (B, H, W, K) float32, and 0 where the pixel is ignored."""
    labels, weights = _labels_and_weights(mask, logits, None)
    weights = ops.expand_dims(weights, -1)
    truth = ops.one_hot(labels, logits.shape[-1], dtype="float32") * weights
    return truth, ops.softmax(ops.cast(logits, "float32")) * weights


def _one_minus_mean(scores: KerasTensor, truth: KerasTensor, class_weights: Weights) -> KerasTensor:
    """One minus the weighted mean of (K,) scores over the classes that occur in the truth."""
    weights = ops.cast(ops.any(truth > 0, axis=(0, 1, 2)), "float32")
    if class_weights is not None:
        weights = weights * _relative(class_weights, truth.shape[-1])
    return 1 - _mean(scores, weights)


@keras.saving.register_keras_serializable(package="unetkit")
def dice_loss(mask: KerasTensor, logits: KerasTensor, class_weights: Weights = None) -> KerasTensor:
    """One minus the mean soft Dice of the classes that occur in the batch.

        dice_k = 2 sum(p_k t_k) / (sum(p_k) + sum(t_k)), sums over all pixels of the batch

    Args:
        mask: (B, H, W) integer class indices, or IGNORE.
        logits: (B, H, W, K), of any float type.
        class_weights: K numbers from 0 up, which the mean over classes is weighted by. None for 1.

    Returns:
        A float32 scalar in [0, 1]; 1, without a gradient, where no class that counts occurs.

    Raises:
        ConfigError: `class_weights` is not accepted, or not of length K.

    Source: Milletari, Navab, Ahmadi 2016, section 3, without the squares.
    """
    truth, probabilities = _truth_and_probabilities(mask, logits)
    axes = (0, 1, 2)
    overlap = ops.sum(probabilities * truth, axis=axes)
    total = ops.sum(probabilities, axis=axes) + ops.sum(truth, axis=axes)
    return _one_minus_mean(2 * overlap / ops.maximum(total, 1e-7), truth, class_weights)


@keras.saving.register_keras_serializable(package="unetkit")
def tversky_loss(
    mask: KerasTensor,
    logits: KerasTensor,
    class_weights: Weights = None,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
) -> KerasTensor:
    """One minus the mean Tversky index of the classes that occur in the batch.

        tversky_k = tp_k / (tp_k + alpha fp_k + beta fn_k)
        tp_k = sum(p_k t_k), fp_k = sum(p_k (1 - t_k)), fn_k = sum((1 - p_k) t_k)

    Sums, arguments, value and errors as `dice_loss`'s, which it is for alpha and beta of 0.5.

    Source: Salehi, Erdogmus, Gholipour 2017, section 2; the defaults are what served them best.
    """
    truth, probabilities = _truth_and_probabilities(mask, logits)
    axes = (0, 1, 2)
    hit = ops.sum(probabilities * truth, axis=axes)
    false = ops.sum(probabilities * (1 - truth), axis=axes)
    missed = ops.sum((1 - probabilities) * truth, axis=axes)
    index = hit / ops.maximum(hit + alpha * false + beta * missed, 1e-7)
    return _one_minus_mean(index, truth, class_weights)


LOSSES: dict[str, Callable[..., KerasTensor]] = {
    "cross_entropy": cross_entropy,
    "dice": dice_loss,
    "tversky": tversky_loss,
    "focal": focal_loss,
    "boundary": boundary_cross_entropy,
}


def combined_loss(
    terms: Mapping[str, float], class_weights: Sequence[float] = ()
) -> Callable[[KerasTensor, KerasTensor], KerasTensor]:
    """A weighted sum of losses, as a model is compiled with.

    Args:
        terms: The weight of each term, above 0, by its name in LOSSES.
        class_weights: K numbers from 0 up, which every term takes; empty for none.

    Returns:
        A function of mask and logits, as theirs.

    Raises:
        ConfigError: As `require_terms` and `require_class_weights`.

    >>> loss = combined_loss({"cross_entropy": 1.0, "dice": 0.5})
    >>> round(float(loss(np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2)))), 3)  # ln 2 + 0.5 (1 - 0.5)
    0.943
    """
    require_terms(terms)
    require_class_weights(class_weights)
    shared = tuple(class_weights) or None
    # In the order of LOSSES, so that the order in a file does not change how sums are rounded.
    chosen = [(term, float(terms[name])) for name, term in LOSSES.items() if name in terms]

    def loss(mask: KerasTensor, logits: KerasTensor) -> KerasTensor:
        return sum(weight * term(mask, logits, shared) for term, weight in chosen)

    return loss


def require_terms(terms: Mapping[str, float]) -> None:
    """Refuses a sum of losses that has no term, one that does not exist, or a weight that is none.

    Raises:
        ConfigError: As said.
    """
    accepted = ", ".join(map(repr, LOSSES))
    if not terms:
        raise ConfigError(
            f"loss has no term; accepted are {accepted}, each with its weight; name at least one, "
            "such as cross_entropy = 1.0"
        )
    for name, weight in terms.items():
        if name not in LOSSES:
            raise ConfigError(
                f"loss {name!r} is unknown; accepted are {accepted}{did_you_mean(name, LOSSES)}"
            )
        if not (_is_number(weight) and 0 < weight < math.inf):
            raise ConfigError(
                f"weight of loss {name!r} is {weight!r}; accepted are finite numbers above 0; use "
                "1.0, or leave the term out"
            )


def require_class_weights(class_weights: Sequence[float]) -> None:
    """Refuses class weights that no mean can be taken with; none at all are fine.

    Raises:
        ConfigError: One is negative or no finite number, or all are 0.
    """
    for index, weight in enumerate(class_weights):
        if not (_is_number(weight) and 0 <= weight < math.inf):
            raise ConfigError(
                f"class_weights is {weight!r} for class {index}; accepted are finite numbers from "
                "0 up; use 0 for a class whose pixels should not count"
            )
    if len(class_weights) and not any(class_weights):
        raise ConfigError(
            "class_weights is 0 for every class; accepted is at least one number above 0; use 1 "
            "for the classes that should count"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def balanced_weights(pixels: np.ndarray) -> tuple[float, ...]:
    """Class weights by which rare classes count about as much as common ones.

        w_k = median of all n / n_k, from a tenth to ten times; then divided by their mean

    Without the bounds, a class of a few pixels would weigh thousands of times as much as the
    others, and one wrong label of it would decide a step. The mean of 1 is for the reader: losses
    divide by the sum of the weights. A class that never occurs has no frequency to balance and no
    part in the median or the mean; it gets 1.

    Args:
        pixels: (K,) n_k, pixels of each class in all masks that are trained on.

    Returns:
        K weights above 0, whose mean over the classes that occur is 1.

    Source: Eigen and Fergus, ICCV 2015 (median frequency balancing), who divide n_k by the pixels
    of the pictures that the class occurs in; here it is all pixels, so that counts suffice.

    >>> balanced_weights(np.array([600, 300, 200, 0]))
    (0.5, 1.0, 1.5, 1.0)
    """
    pixels = np.asarray(pixels, np.float64)
    weights = np.ones(pixels.shape)
    occurs = pixels > 0
    if occurs.any():
        raw = np.median(pixels[occurs]) / pixels[occurs]
        bounded = np.clip(raw, 1 / MOST_TIMES, MOST_TIMES)
        weights[occurs] = bounded / bounded.mean()
    return tuple(map(float, weights))
