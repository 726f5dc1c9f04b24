"""Losses on logits that leave ignored pixels out.

Cross-entropy judges each pixel by itself; Dice judges each class by its overlap, whatever its
share of the picture. Their sum trains well on thin and rare classes without losing calibration.
"""

import keras
from keras import KerasTensor, ops

from unetkit.errors import ConfigError, did_you_mean
from unetkit.scale import IGNORE


def _labels_and_weights(mask: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """Labels with ignored pixels set to class 0, and weights that are 0 there and else 1."""
    labels = ops.cast(mask, "int32")
    kept = ops.not_equal(labels, IGNORE)
    return ops.where(kept, labels, 0), ops.cast(kept, "float32")


@keras.saving.register_keras_serializable(package="unetkit")
def cross_entropy(mask: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Mean cross-entropy over the pixels that count.

    Args:
        mask: (B, H, W) integer class indices, or IGNORE.
        logits: (B, H, W, K) float32.

    Returns:
        A scalar, 0 or more; 0 where every pixel is ignored.
    """
    labels, weights = _labels_and_weights(mask)
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)


@keras.saving.register_keras_serializable(package="unetkit")
def dice_loss(mask: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """One minus the mean soft Dice of the classes that occur in the batch.

        dice_k = 2 sum(p_k t_k) / (sum(p_k) + sum(t_k)), sums over all pixels of the batch

    Args:
        mask: (B, H, W) integer class indices, or IGNORE.
        logits: (B, H, W, K) float32.

    Returns:
        A scalar in [0, 1]; 1, without a gradient, where every pixel is ignored.

    Source: Milletari, Navab, Ahmadi 2016, section 3, without the squares.
    """
    labels, weights = _labels_and_weights(mask)
    weights = ops.expand_dims(weights, -1)
    truth = ops.one_hot(labels, logits.shape[-1], dtype="float32") * weights
    probabilities = ops.softmax(ops.cast(logits, "float32")) * weights
    axes = (0, 1, 2)
    overlap = ops.sum(probabilities * truth, axis=axes)
    total = ops.sum(probabilities, axis=axes) + ops.sum(truth, axis=axes)
    present = ops.cast(ops.any(truth > 0, axis=axes), "float32")
    dice = 2 * overlap / ops.maximum(total, 1e-7)
    return 1 - ops.sum(dice * present) / ops.maximum(ops.sum(present), 1.0)


@keras.saving.register_keras_serializable(package="unetkit")
def cross_entropy_dice(mask: KerasTensor, logits: KerasTensor) -> KerasTensor:
    """Cross-entropy plus Dice loss, in equal parts; arguments as theirs."""
    return cross_entropy(mask, logits) + dice_loss(mask, logits)


LOSSES = {
    "cross_entropy": cross_entropy,
    "dice": dice_loss,
    "cross_entropy_dice": cross_entropy_dice,
}


def loss_by_name(name: str):
    """The loss of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in LOSSES:
        raise ConfigError(
            f"loss {name!r} is unknown; accepted are {', '.join(map(repr, LOSSES))}; "
            f"{did_you_mean(name, LOSSES)}"
        )
    return LOSSES[name]
