"""Gradients on whatever backend Keras has."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

Score = Callable[[Any], Any]  # of a tensor, a scalar


def gradient(score: Score, values: Any) -> np.ndarray:
    """Gradient of a scalar function at `values`, an array or a tensor, in the type of `values`."""
    tensor = keras.ops.convert_to_tensor(values)
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(score)(tensor))
    if keras.backend.backend() == "torch":
        tensor = tensor.detach().clone().requires_grad_(True)
        score(tensor).backward()
        return keras.ops.convert_to_numpy(tensor.grad)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = score(tensor)
    return tape.gradient(value, tensor).numpy()


def gradients(
    model: keras.Model, images: np.ndarray, score: Score, *, training: bool = False
) -> list[np.ndarray]:
    """Gradients of a score of the output: of the images, then of each weight that learns."""
    tensor = keras.ops.convert_to_tensor(images)
    weights = [variable.value for variable in model.trainable_variables]
    if keras.backend.backend() == "jax":
        import jax

        fixed = [variable.value for variable in model.non_trainable_variables]

        def total(images, weights):
            return score(model.stateless_call(weights, fixed, images, training=training)[0])

        first, rest = jax.grad(total, (0, 1))(tensor, weights)
        return [np.asarray(slope) for slope in (first, *rest)]
    if keras.backend.backend() == "torch":
        tensor = tensor.detach().clone().requires_grad_(True)
        for weight in weights:
            weight.grad = None
        score(model(tensor, training=training)).backward()
        return [keras.ops.convert_to_numpy(value.grad) for value in (tensor, *weights)]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensor)
        value = score(model(tensor, training=training))
    return [slope.numpy() for slope in tape.gradient(value, [tensor, *weights])]
