"""Losses on logits that exclude ignored pixels, with class weights, and weighted sums of losses.

Cross-entropy evaluates each pixel by itself; Dice evaluates the overlap of each class, whatever
fraction of the image it fills. Their sum works well for thin and rare classes and keeps the
calibration. Tversky, focal and boundary loss give more weight to missed pixels, to hard pixels, and
to contours.

All arithmetic is in float32, whatever the network's type, with operations that every backend of
Keras has. `balanced_weights` computes class weights from pixel counts, which training provides.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from numbers import Real

import keras
import numpy as np
from keras import KerasTensor, ops

from unetkit.data.scale import IGNORE
from unetkit.errors import ConfigError, did_you_mean

Weights = Sequence[float] | None
BAND = 2  # pixels, chessboard distance: typical error of contours drawn by hand
UNLABELLED_VALUE = -1.0 - IGNORE  # less than every label and its negative
LEAST_TOTAL = 1e-30  # sums of weights below it count as 0, because 1 / sum would overflow
LARGEST_RATIO = 10.0  # of a class weight to that of the median class, or the inverse


@dataclass(frozen=True)
class _Pixels:
    """What every loss needs of a batch, computed once.

    Classes come first: reductions over a last axis of a few classes are several times as slow.

    Args:
        mask: Class indices, or IGNORE, (B, H, W), any type.
        kept: 0 in ignored pixels, else 1, (B, H, W) float32.
        added: Weight of each pixel in addition to that of its class, (B, H, W) float32; None for
            none.
        truth: One-hot truth, 0 in ignored pixels, (K, B, H, W) float32.
        log_probabilities: log p of each class, (K, B, H, W) float32.
        probabilities: p of each class, 0 in ignored pixels, (K, B, H, W) float32.
    """

    mask: KerasTensor
    kept: KerasTensor
    added: KerasTensor | None
    truth: KerasTensor
    log_probabilities: KerasTensor
    probabilities: KerasTensor

    @classmethod
    def of(cls, mask: KerasTensor, logits: KerasTensor) -> "_Pixels":
        added = None
        if len(mask.shape) == len(logits.shape):
            mask, added = mask[..., 0], ops.cast(mask[..., 1], "float32")
        kept = ops.cast(ops.not_equal(ops.cast(mask, "int32"), IGNORE), "float32")
        classes = ops.reshape(ops.arange(logits.shape[-1], dtype="int32"), (-1, 1, 1, 1))
        truth = ops.cast(ops.equal(ops.cast(mask, "int32"), classes), "float32") * kept
        planes = ops.transpose(ops.cast(logits, "float32"), (3, 0, 1, 2))
        shifted = planes - ops.stop_gradient(ops.max(planes, axis=0))
        powers = ops.exp(shifted)
        total = ops.sum(powers, axis=0)
        return cls(mask, kept, added, truth, shifted - ops.log(total), powers * (kept / total))

    def losses(self) -> KerasTensor:
        """-log p of each pixel's label, (B, H, W) float32; 0 in ignored pixels."""
        return -ops.sum(self.truth * self.log_probabilities, axis=0)

    def weights(self, class_weights: Weights) -> KerasTensor:
        """The weight of each pixel: that of its class, or 1, and what is added to it.

        (B, H, W) float32, divided by the largest class weight; 0 in ignored pixels.
        """
        weights, largest = self.kept, 1.0
        if class_weights is not None:
            relative = _relative(class_weights, self.truth.shape[0])
            weights = ops.sum(self.truth * ops.reshape(relative, (-1, 1, 1, 1)), axis=0)
            largest = max(class_weights)
        return weights if self.added is None else weights + self.added / largest * self.kept


def _relative(class_weights: Sequence[float], num_classes: int) -> KerasTensor:
    """Class weights as (K,) float32, scaled to a maximum of 1, since only ratios matter."""
    require_class_weights(class_weights)
    if len(class_weights) != num_classes:
        raise ConfigError(
            f"class_weights has length {len(class_weights)}; accepted is one weight for each of "
            f"the {num_classes} classes"
        )
    weights = np.array(class_weights, np.float64)
    return ops.convert_to_tensor((weights / weights.max()).astype(np.float32))


def _mean(values: KerasTensor, weights: KerasTensor) -> KerasTensor:
    """Weighted mean, sum(w v) / sum(w); 0 if all weights are 0."""
    total = ops.sum(weights)
    return ops.sum(values * weights) / ops.where(total > LEAST_TOTAL, total, 1.0)


@keras.saving.register_keras_serializable(package="unetkit")
def cross_entropy(
    mask: KerasTensor, logits: KerasTensor, class_weights: Weights = None
) -> KerasTensor:
    """Mean cross-entropy over all pixels that are not ignored.

        sum_i w_i (-log p_i) / sum_i w_i, p_i the probability of pixel i's true class

    Args:
        mask: Class indices, or IGNORE, (B, H, W), any integer type; or (B, H, W, 2), any float
            type, of class indices and of weights that are added to w_i, as `border_weights`
            computes them.
        logits: Logits, (B, H, W, K), any float type.
        class_weights: Weight w_i of pixels of each true class, K numbers from 0 up; None for 1.

    Returns:
        A float32 scalar, 0 or more; 0 if all weights are 0.

    Raises:
        ConfigError: `class_weights` has not K values, has an invalid one, or is 0 throughout.
    """
    return _cross_entropy(_Pixels.of(mask, logits), class_weights)


def _cross_entropy(pixels: _Pixels, class_weights: Weights) -> KerasTensor:
    return _mean(pixels.losses(), pixels.weights(class_weights))


@keras.saving.register_keras_serializable(package="unetkit")
def focal_loss(
    mask: KerasTensor, logits: KerasTensor, class_weights: Weights = None, *, gamma: float = 2.0
) -> KerasTensor:
    """Cross-entropy with less weight on pixels that are predicted well.

        sum_i w_i (1 - p_i)^gamma (-log p_i) / sum_i w_i

    Args:
        mask: Class indices, or IGNORE, (B, H, W), any integer type.
        logits: Logits, (B, H, W, K), any float type.
        class_weights: Weight w_i of pixels of each true class, K numbers from 0 up; None for 1.
        gamma: Exponent, 0 or more; 0 gives `cross_entropy`.

    Returns:
        A float32 scalar, 0 or more; 0 if all weights are 0.

    Raises:
        ConfigError: `class_weights` has not K values, has an invalid one, or is 0 throughout.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 4, with a
    softmax over classes, and the mean in place of the sum.
    """
    return _focal_loss(_Pixels.of(mask, logits), class_weights, gamma)


def _focal_loss(pixels: _Pixels, class_weights: Weights, gamma: float = 2.0) -> KerasTensor:
    losses = pixels.losses()
    # Above 0, where powers less than 1 have no finite gradient.
    missing = ops.maximum(-ops.expm1(-losses), 1e-7)
    return _mean(ops.power(missing, gamma) * losses, pixels.weights(class_weights))


@keras.saving.register_keras_serializable(package="unetkit")
def boundary_cross_entropy(
    mask: KerasTensor, logits: KerasTensor, class_weights: Weights = None
) -> KerasTensor:
    """Mean cross-entropy over the pixels within BAND pixels of a pixel of another class.

    Distances are chessboard distances in the mask, on both sides of a contour. Ignored pixels
    belong to no class, so that there is no contour between them and a class.

    Args:
        mask: Class indices, or IGNORE, (B, H, W), any integer type.
        logits: Logits, (B, H, W, K), any float type.
        class_weights: Weight of pixels of each true class, K numbers from 0 up; None for 1.

    Returns:
        A float32 scalar, 0 or more; 0 without a contour.

    Raises:
        ConfigError: `class_weights` has not K values, has an invalid one, or is 0 throughout.
    """
    return _boundary_cross_entropy(_Pixels.of(mask, logits), class_weights)


def _boundary_cross_entropy(pixels: _Pixels, class_weights: Weights) -> KerasTensor:
    near = ops.cast(_near_another_class(pixels.mask), "float32")
    return _mean(pixels.losses(), near * pixels.weights(class_weights))


def _near_another_class(mask: KerasTensor) -> KerasTensor:
    """Whether labels differ within BAND pixels, (B, H, W) bool; ignored pixels have no label.

    The largest label around a pixel and the smallest (the negative of the largest negative) differ
    exactly where two classes meet; this takes two maximum filters for any number of classes.
    """
    labels = ops.cast(mask, "float32")
    ignored = ops.equal(labels, IGNORE)
    largest = _largest_around(ops.where(ignored, UNLABELLED_VALUE, labels))
    return ops.not_equal(largest, -_largest_around(ops.where(ignored, UNLABELLED_VALUE, -labels)))


def _largest_around(values: KerasTensor) -> KerasTensor:
    """Maximum filter over BAND pixels in each direction, (B, H, W); faster on CPU than pooling."""
    sides = (BAND, BAND)
    padded = ops.pad(values, ((0, 0), sides, sides), constant_values=UNLABELLED_VALUE)
    moves = [slice(first, first - 2 * BAND or None) for first in range(2 * BAND + 1)]
    columns = reduce(ops.maximum, [padded[:, move] for move in moves])
    return reduce(ops.maximum, [columns[:, :, move] for move in moves])


def _one_minus_mean(scores: KerasTensor, truth: KerasTensor, class_weights: Weights) -> KerasTensor:
    """1 minus the weighted mean of scores, (K,), over the classes that occur in the truth."""
    weights = ops.cast(ops.any(truth > 0, axis=(1, 2, 3)), "float32")
    if class_weights is not None:
        weights = weights * _relative(class_weights, truth.shape[0])
    return 1 - _mean(scores, weights)


@keras.saving.register_keras_serializable(package="unetkit")
def dice_loss(mask: KerasTensor, logits: KerasTensor, class_weights: Weights = None) -> KerasTensor:
    """1 minus the mean soft Dice score of the classes that occur in the batch.

        dice_k = 2 sum(p_k t_k) / (sum(p_k) + sum(t_k)), sums over all pixels of the batch

    Args:
        mask: Class indices, or IGNORE, (B, H, W), any integer type.
        logits: Logits, (B, H, W, K), any float type.
        class_weights: Weight of each class in the mean, K numbers from 0 up; None for 1.

    Returns:
        A float32 scalar in [0, 1]; 1, without a gradient, if no class with a weight occurs.

    Raises:
        ConfigError: `class_weights` has not K values, has an invalid one, or is 0 throughout.

    Source: Milletari, Navab, Ahmadi 2016, section 3, without the squares.
    """
    return _dice_loss(_Pixels.of(mask, logits), class_weights)


def _dice_loss(pixels: _Pixels, class_weights: Weights) -> KerasTensor:
    truth, probabilities, axes = pixels.truth, pixels.probabilities, (1, 2, 3)
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
    """1 minus the mean Tversky index of the classes that occur in the batch.

        tversky_k = tp_k / (tp_k + alpha fp_k + beta fn_k)
        tp_k = sum(p_k t_k), fp_k = sum(p_k (1 - t_k)), fn_k = sum((1 - p_k) t_k)

    Sums are over all pixels of the batch. With alpha = beta = 0.5 it equals `dice_loss`.

    Args:
        mask: Class indices, or IGNORE, (B, H, W), any integer type.
        logits: Logits, (B, H, W, K), any float type.
        class_weights: Weight of each class in the mean, K numbers from 0 up; None for 1.
        alpha: Weight of false positives.
        beta: Weight of false negatives.

    Returns:
        A float32 scalar in [0, 1]; 1, without a gradient, if no class with a weight occurs.

    Raises:
        ConfigError: `class_weights` has not K values, has an invalid one, or is 0 throughout.

    Source: Salehi, Erdogmus, Gholipour 2017, section 2; the defaults are their best values.
    """
    return _tversky_loss(_Pixels.of(mask, logits), class_weights, alpha, beta)


def _tversky_loss(
    pixels: _Pixels, class_weights: Weights, alpha: float = 0.3, beta: float = 0.7
) -> KerasTensor:
    truth, probabilities, axes = pixels.truth, pixels.probabilities, (1, 2, 3)
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
_TERMS: dict[str, Callable[[_Pixels, Weights], KerasTensor]] = {  # the same, of prepared pixels
    "cross_entropy": _cross_entropy,
    "dice": _dice_loss,
    "tversky": _tversky_loss,
    "focal": _focal_loss,
    "boundary": _boundary_cross_entropy,
}


def separation_loss(target: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Cross-entropy and Dice loss of the output that tells objects apart; ignored pixels count 0.

        mean of -(t log p + (1 - t) log(1 - p)) + 1 - 2 sum p t / (sum p^2 + sum t^2)

    with p = 1 / (1 + exp(-logit)). Both are least where p = t. Borders take up few pixels, and
    cross-entropy alone hardly learns them. The second part is 0 if t is 0 everywhere.

    Args:
        target: (B, H, W, 3): class indices or IGNORE, weights, and t from 0 to 1.
        logits: Logits, (B, H, W), any float type.

    Returns:
        A float32 scalar, 0 or more.

    Source: Milletari, Navab and Ahmadi, 3DV 2016 (Dice loss with squares).
    """
    logits, truth = ops.cast(logits, "float32"), ops.cast(target[..., 2], "float32")
    kept = ops.cast(ops.not_equal(ops.cast(target[..., 0], "int32"), IGNORE), "float32")
    losses = ops.maximum(logits, 0) - logits * truth + ops.log1p(ops.exp(-ops.abs(logits)))
    found, wanted = kept * ops.sigmoid(logits), kept * truth
    common, true_area = ops.sum(found * wanted), ops.sum(wanted * wanted)
    total = ops.where(true_area > LEAST_TOTAL, ops.sum(found * found) + true_area, 1.0)
    dice = ops.where(true_area > LEAST_TOTAL, 1 - 2 * common / total, 0.0)
    return _mean(losses, kept) + dice


def combined_loss(
    terms: Mapping[str, float], class_weights: Sequence[float] = (), *, has_separation: bool = False
) -> Callable[[KerasTensor, KerasTensor], KerasTensor]:
    """Returns a weighted sum of losses, for `Model.compile`.

    Args:
        terms: Weight of each term, above 0, by its name in LOSSES.
        class_weights: Class weights of every term, K numbers from 0 up; empty for none.
        has_separation: Whether the last logit of each pixel tells objects apart and belongs to no
            class.

    Returns:
        A function of mask, (B, H, W), and logits, (B, H, W, K). With a mask of (B, H, W, 2), the
        weights in its second plane are added to those of the classes in the terms that weigh
        pixels: cross-entropy, focal and boundary loss. With `has_separation`, logits are
        (B, H, W, K + 1), and with a mask of (B, H, W, 3), `separation_loss` is added.

    Raises:
        ConfigError: A term is unknown, or a weight is out of range.

    >>> loss = combined_loss({"cross_entropy": 1.0, "dice": 0.5})
    >>> round(float(loss(np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2)))), 3)  # ln 2 + 0.5 (1 - 0.5)
    0.943
    """
    require_terms(terms)
    require_class_weights(class_weights)
    shared = tuple(class_weights) or None
    # In this module's order, so that the order in a file does not affect rounding.
    chosen = [(term, float(terms[name])) for name, term in _TERMS.items() if name in terms]

    def loss(mask: KerasTensor, logits: KerasTensor) -> KerasTensor:
        pixels = _Pixels.of(mask, logits[..., :-1] if has_separation else logits)
        total = sum(weight * term(pixels, shared) for term, weight in chosen)
        if has_separation and len(mask.shape) == len(logits.shape):
            total += separation_loss(mask, logits[..., -1])
        return total

    return loss


def require_terms(terms: Mapping[str, float]) -> None:
    """Raises an error for an invalid weighted sum of losses.

    Raises:
        ConfigError: There is no term, a term is unknown, or a weight is not finite and above 0.
    """
    accepted = ", ".join(map(repr, LOSSES))
    if not terms:
        raise ConfigError(
            f"loss has no term; accepted are {accepted}, each with its weight; give at least one, "
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
    """Raises an error for invalid class weights; an empty sequence is accepted.

    Raises:
        ConfigError: A weight is negative or not finite, or all are 0.
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
    """Returns class weights that give rare and frequent classes similar influence on a loss.

        w_k = median of all n / n_k, clipped to [0.1, 10]; then divided by their mean

    Without the bounds, a class of a few pixels would have a weight thousands of times that of
    others, and one wrong label of it would dominate an update. The mean of 1 is for readability:
    losses divide by the sum of the weights. A class that does not occur gets 1, and is left out of
    the median and the mean.

    Args:
        pixels: Number of pixels n_k of each class in all training masks, (K,).

    Returns:
        K weights above 0, with mean 1 over the classes that occur.

    Source: Eigen and Fergus, ICCV 2015 (median frequency balancing), who divide n_k by the number
    of pixels of images with the class; here it is the number of all pixels, for which counts
    suffice.

    >>> balanced_weights(np.array([600, 300, 200, 0]))
    (0.5, 1.0, 1.5, 1.0)
    """
    pixels = np.asarray(pixels, np.float64)
    weights = np.ones(pixels.shape)
    occurs = pixels > 0
    if occurs.any():
        raw = np.median(pixels[occurs]) / pixels[occurs]
        bounded = np.clip(raw, 1 / LARGEST_RATIO, LARGEST_RATIO)
        weights[occurs] = bounded / bounded.mean()
    return tuple(map(float, weights))
