"""Optimisers that know the size of the gradient that they follow.

A gradient that is no number spoils every weight at once, and a step later nothing tells any more
where it came from. So each update notes the norm of all gradients together before it is applied.
"""

from typing import Any

import keras
from keras import KerasTensor, ops

from unetkit.config import TrainingConfig


class _Measured:
    """Adds to an optimiser the variable `gradient_norm`, of the last batch, before clipping."""

    def build(self, variables: list[Any]) -> None:
        super().build(variables)  # type: ignore[misc]
        self.gradient_norm = self.add_variable(  # type: ignore[attr-defined]
            shape=(), name="gradient_norm"
        )

    def apply(self, grads: list[KerasTensor], trainable_variables: Any = None) -> None:
        squares = [ops.sum(ops.square(ops.cast(g, "float32"))) for g in grads if g is not None]
        if not self.built:  # type: ignore[attr-defined]
            self.build(trainable_variables)
        self.gradient_norm.assign(ops.sqrt(sum(squares)))
        super().apply(grads, trainable_variables)  # type: ignore[misc]


class MeasuredAdamW(_Measured, keras.optimizers.AdamW):
    """AdamW that notes its gradient's norm."""


class MeasuredAdam(_Measured, keras.optimizers.Adam):
    """Adam that notes its gradient's norm."""


class MeasuredSGD(_Measured, keras.optimizers.SGD):
    """SGD that notes its gradient's norm."""


class _PerUpdate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule by updates; Keras hands in the number of batches, several of which make one."""

    def __init__(self, schedule: Any, accumulation: int) -> None:
        super().__init__()
        self.schedule, self.accumulation = schedule, accumulation

    def __call__(self, step: KerasTensor) -> KerasTensor:
        return self.schedule(ops.floor_divide(step, self.accumulation))


def build_optimizer(training: TrainingConfig) -> keras.optimizers.Optimizer:
    """The optimiser that a configuration asks for, with its schedule."""
    rate: Any = training.learning_rate
    warmup = round(training.warmup * training.steps)
    if training.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            max(1, training.steps - warmup),
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
        if training.accumulation > 1:
            rate = _PerUpdate(rate, training.accumulation)
    common: dict[str, Any] = {
        "global_clipnorm": training.clip_norm or None,
        "use_ema": training.averaging > 0,
        # Keras averages after each batch, also where several make an update.
        "ema_momentum": training.averaging ** (1 / training.accumulation),
        "gradient_accumulation_steps": training.accumulation if training.accumulation > 1 else None,
    }
    if training.optimizer == "sgd":
        return MeasuredSGD(rate, momentum=training.momentum, **common)
    if training.optimizer == "adam":
        return MeasuredAdam(rate, **common)
    optimizer = MeasuredAdamW(rate, weight_decay=training.weight_decay, **common)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def gradient_norm(optimizer: keras.optimizers.Optimizer) -> float:
    """Norm of all gradients of the last batch together."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # where the loss is scaled
    return float(ops.convert_to_numpy(inner.gradient_norm))
