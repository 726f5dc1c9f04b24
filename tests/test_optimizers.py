"""Optimisers: what a configuration asks for, and the norm of the gradient."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from unetkit.config import TrainingConfig
from unetkit.optimizers import build_optimizer, gradient_norm

TRAINING = TrainingConfig(
    seed=0,
    steps=10,
    steps_per_validation=5,
    batch_size=2,
    loss={"cross_entropy": 1.0},
    optimizer="sgd",
    learning_rate=0.5,
    schedule="constant",
    warmup=0.0,
    momentum=0.0,
)


def updated(training, *gradients, start=(1.0, 2.0)):
    """A variable after updates along these gradients, and the optimiser."""
    variable = keras.Variable(np.array(start, np.float32))
    optimizer = build_optimizer(training)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(np.array(gradient, np.float32))], [variable])
    return variable.numpy(), optimizer


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_norm_of_the_gradient_is_noted(name):
    _, optimizer = updated(replace(TRAINING, optimizer=name), (3.0, 4.0))
    assert gradient_norm(optimizer) == pytest.approx(5.0)


def test_it_is_over_all_variables_together():
    variables = [keras.Variable(np.zeros(1, np.float32)) for _ in range(2)]
    optimizer = build_optimizer(TRAINING)
    gradients = [np.array([length], np.float32) for length in (3.0, 4.0)]
    optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
    assert gradient_norm(optimizer) == pytest.approx(5.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_shows(bad):
    _, optimizer = updated(TRAINING, (bad, 1.0))
    assert not np.isfinite(gradient_norm(optimizer))


def test_a_long_gradient_is_clipped_and_noted_as_it_was():
    # Length 5 is scaled to 1: (0.6, 0.8), half of which is taken off.
    value, optimizer = updated(replace(TRAINING, clip_norm=1.0), (3.0, 4.0))
    assert value == pytest.approx([1 - 0.3, 2 - 0.4])
    assert gradient_norm(optimizer) == pytest.approx(5.0)


def test_a_short_one_is_not():
    value, _ = updated(replace(TRAINING, clip_norm=6.0), (3.0, 4.0))
    assert value == pytest.approx([1 - 1.5, 2 - 2.0])


def test_batches_are_averaged_before_an_update():
    training = replace(TRAINING, accumulation=2)
    assert updated(training, (1.0, 0.0))[0] == pytest.approx([1.0, 2.0])  # not yet
    value, _ = updated(training, (1.0, 0.0), (3.0, 2.0))  # the mean is (2, 1)
    assert value == pytest.approx([1 - 1.0, 2 - 0.5])


def test_weights_are_averaged_by_the_decay():
    # 1 -> 0.5 -> 0 under two gradients of 1; the average begins with the first and then halves.
    variable = keras.Variable(np.array([1.0], np.float32))
    optimizer = build_optimizer(replace(TRAINING, averaging=0.5))
    for _ in range(2):
        optimizer.apply([keras.ops.convert_to_tensor(np.ones(1, np.float32))], [variable])
    optimizer.finalize_variable_values([variable])
    assert variable.numpy() == pytest.approx([0.25])


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_rate_rises_and_falls_with_the_updates(accumulation):
    training = replace(TRAINING, schedule="cosine", warmup=0.2, accumulation=accumulation)
    rates = []
    variable = keras.Variable(np.zeros(1, np.float32))
    optimizer = build_optimizer(training)
    for _ in range(10):
        rates.append(float(optimizer.learning_rate))
        for _ in range(accumulation):
            optimizer.apply([keras.ops.convert_to_tensor(np.ones(1, np.float32))], [variable])
    assert rates[0] == 0
    assert max(rates) == rates[2] == pytest.approx(0.5)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_neither_biases_nor_norms_decay():
    optimizer = build_optimizer(replace(TRAINING, optimizer="adamw", weight_decay=0.5))
    for name, decays in (("kernel", True), ("bias", False), ("gamma", False), ("beta", False)):
        assert optimizer._use_weight_decay(keras.Variable(np.ones(1), name=name)) is decays
