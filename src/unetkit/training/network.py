"""The network of a run: built from its configuration, partly frozen, and compiled."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from unetkit._shared.wording import format_count
from unetkit.errors import ConfigError, did_you_mean
from unetkit.evaluation.results import loss_text
from unetkit.losses import combined_loss
from unetkit.models.encoders import DEPTHWISE_ENCODERS
from unetkit.models.unet import build_unet, layer_precision
from unetkit.training import backend
from unetkit.training.batches import PairCache
from unetkit.training.config import RunConfig, TrainingConfig

WARMUP_STEPS = 30  # with a rising learning rate, while the number of steps is not known


def build_network(
    config: RunConfig, precision: str = "float32", device: str = backend.CPU
) -> keras.Model:
    """Builds the network of a configuration, with initial weights.

    Args:
        config: Configuration of the run.
        precision: Keras dtype policy of the layers. On CPUs, encoders with depthwise convolutions
            have single precision: there are no kernels for such convolutions in bfloat16.
        device: Device of the network.
    """
    is_single = device.startswith(backend.CPU) and config.network.encoder in DEPTHWISE_ENCODERS
    with layer_precision(precision):
        return build_unet(
            config.network,
            in_channels=config.pixels.channels,
            num_classes=len(config.classes) + config.objects.channels,
            encoder_precision="float32" if is_single else None,
        )


def freeze(model: keras.Model, parts: Sequence[str]) -> int:
    """Excludes layers from training; their BatchNorm keeps its statistics, too.

    Must be called before the network is compiled.

    Args:
        model: U-Net.
        parts: Prefixes of layer names, up to a word or number: "encoder" (all levels), "encoder0",
            "stem", "decoder2_up".

    Returns:
        The number of parameters that are no longer trained.

    Raises:
        ConfigError: A prefix matches no layer, or no trainable layer is left.
    """
    weighted = [layer for layer in model.layers if layer.weights]
    before = _count_trainable(model)
    for part in parts:
        named = [layer for layer in weighted if _begins(layer.name, part)]
        if not named:
            accepted = list(dict.fromkeys(layer.name.split("_")[0] for layer in weighted))
            raise ConfigError(
                f"freeze has {part!r}, which is no prefix of a layer name; accepted are "
                f"{', '.join(accepted)}, 'encoder' or 'decoder' for all of their levels, and whole "
                f"layer names{did_you_mean(part, accepted)}"
            )
        for layer in named:
            layer.trainable = False
    if not _count_trainable(model):
        raise ConfigError(
            f"freeze is {list(parts)}, which leaves no layer to train; accepted is to freeze some "
            "layers, but not 'logits'"
        )
    return before - _count_trainable(model)


def _begins(name: str, part: str) -> bool:
    """Whether a prefix ends with a word or number: "encoder1" fits encoder1_conv1, not encoder10.

    >>> _begins("encoder1_conv1", "encoder1"), _begins("encoder10_conv1", "encoder1")
    (True, False)
    """
    rest = name.removeprefix(part)
    if not part or rest == name:
        return False
    return not rest or rest[0] == "_" or (rest[0].isdigit() and not part[-1].isdigit())


def _count_trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def compile_network(
    model: keras.Model, training: TrainingConfig, *, has_separation: bool = False
) -> None:
    """Compiles a network with the optimizer and the loss of a configuration."""
    optimizer = build_optimizer(training)
    if training.encoder_rate != 1:
        slow = {
            id(weight)
            for layer in model.layers
            if _begins(layer.name, "encoder")
            for weight in layer.trainable_weights
        }
        optimizer.rates = [
            training.encoder_rate if id(weight) in slow else 1.0
            for weight in model.trainable_weights
        ]
    model.compile(
        optimizer=optimizer,
        loss=combined_loss(training.loss, training.class_weights, has_separation=has_separation),
        # On CPUs, TensorFlow's own kernels train this network 1.4 times as fast as XLA.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


def halve_batch(config: RunConfig, shortage: str) -> tuple[RunConfig, str]:
    """Halves the batch and doubles the accumulation, so that updates see the same samples.

    Args:
        config: Configuration that needs too much memory.
        shortage: Error message of the framework.

    Returns:
        The changed configuration, and a sentence about the change.

    Raises:
        ConfigError: The batch size is odd.
    """
    training = config.training
    if training.batch_size % 2:
        raise ConfigError(
            f"a batch of {format_count(training.batch_size, 'sample')} of {config.scale.height}x"
            f"{config.scale.width} does not fit into memory ({shortage[:200]}); an even batch "
            "would be halved; use a smaller --size, or another --batch-size"
        )
    half = replace(
        training, batch_size=training.batch_size // 2, accumulation=2 * training.accumulation
    )
    note = (
        f"a batch of {format_count(training.batch_size, 'sample')} does not fit into memory: "
        "continuing with "
        f"{format_count(half.batch_size, 'sample')} and {half.accumulation} batches per update, "
        "which sees the "
        "same samples"
    )
    return replace(config, training=half), note


def describe_training(config: RunConfig, cache: PairCache) -> str:
    """One line for people about the length, the optimizer and the loss of a training."""
    training = config.training
    samples = training.batch_size * training.accumulation
    seen = training.steps * samples * config.scale.height * config.scale.width
    epochs = seen / sum(mask.size for mask in cache.masks)
    steps = format_count(training.steps, "step")
    length = f"{steps} of {format_count(samples, 'sample')} ({epochs:.1f} epochs)"
    if not training.steps:
        minutes = f"{training.minutes:g} minute{'s' * (training.minutes != 1)}"
        length = f"{minutes} in steps of {format_count(samples, 'sample')}"
    return (
        f"training  {length}, "
        f"{training.optimizer} {training.learning_rate:g} {training.schedule}, "
        f"{loss_text(training.loss)}, seed {training.seed}"
    )


class _Measured:
    """An optimizer with a factor of the learning rate for each variable, by default 1.

    It also has a variable `gradient_norm`: the norm of the last batch's gradients, before clipping.
    """

    rates: Sequence[float] = ()  # in the order of the trained variables

    def update_step(self, gradient: KerasTensor, variable: Any, learning_rate: Any) -> None:
        if self.rates:
            # As Keras's own optimizers find their state: TensorFlow passes its own variables.
            place = self._get_variable_index(variable)  # type: ignore[attr-defined]
            learning_rate = learning_rate * self.rates[place]
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]

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
    """AdamW with a variable for the norm of its gradients."""


class MeasuredAdam(_Measured, keras.optimizers.Adam):
    """Adam with a variable for the norm of its gradients."""


class MeasuredSGD(_Measured, keras.optimizers.SGD):
    """SGD with a variable for the norm of its gradients."""


def learning_rate_at(training: TrainingConfig, step: int) -> float:
    """Learning rate of an update.

    With "cosine", it rises linearly to its peak, stays there until `decay_from`, and decays:

        peak (1 + cos(pi (step - start) / (steps - start))) / 2

    Args:
        training: Configuration of the training.
        step: Number of updates before this one.
    """
    peak = training.learning_rate
    if training.schedule == "constant":
        return peak
    warmup = round(training.warmup * training.steps) if training.steps else WARMUP_STEPS
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    start = max(warmup, training.decay_from)
    if step < start or not training.steps:
        return peak
    return peak * (1 + math.cos(math.pi * (step - start) / max(1, training.steps - start))) / 2


def build_optimizer(training: TrainingConfig) -> keras.optimizers.Optimizer:
    """Builds the optimizer of a configuration; `set_learning_rate` sets that of each update."""
    rate = training.learning_rate
    common: dict[str, Any] = {
        "global_clipnorm": training.clip_norm or None,
        "use_ema": training.averaging > 0,
        # Keras averages after each batch, even if several batches make an update.
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


def set_learning_rate(optimizer: keras.optimizers.Optimizer, rate: float) -> None:
    """Sets the learning rate of the next updates."""
    getattr(optimizer, "inner_optimizer", optimizer).learning_rate = rate


def gradient_norm(optimizer: keras.optimizers.Optimizer) -> float:
    """Global norm of the gradients of the last batch."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)  # if the loss is scaled
    return float(ops.convert_to_numpy(inner.gradient_norm))
