"""BatchNorm by the fused kernel has the values of Keras's, in training and in prediction."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.gradients import gradients
from unetkit.models.normalization import BatchNormalization

pytestmark = pytest.mark.contract

IMAGES = np.random.default_rng(0).normal(3, 2, (4, 5, 6, 7)).astype(np.float32)


def both(**keywords):
    rng = np.random.default_rng(1)
    ours, theirs = BatchNormalization(**keywords), layers.BatchNormalization(**keywords)
    for layer in (ours, theirs):
        layer.build(IMAGES.shape)
    weights = [rng.uniform(0.5, 2, w.shape).astype(np.float32) for w in ours.weights]
    for layer in (ours, theirs):
        layer.set_weights(weights)
    return ours, theirs


@pytest.mark.parametrize("training", [True, False])
def test_output_gradients_and_statistics_are_those_of_keras(training):
    found = []
    for layer in both(momentum=0.9):
        model = keras.Sequential([keras.Input(IMAGES.shape[1:]), layer])
        slopes = gradients(
            model,
            IMAGES,
            lambda output: keras.ops.sum(output * keras.ops.sin(output)),
            training=training,
        )
        before = layer.get_weights()
        output = keras.ops.convert_to_numpy(layer(IMAGES, training=training))
        found.append([output, *slopes, *before, *layer.get_weights()])
    for one, other in zip(*found, strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-4)
    assert np.allclose(found[0][-1], found[1][-1], rtol=1e-6)  # the variance


def test_statistics_by_hand():
    # Two pixels, 0 and 2: mean 1, variance ((0 - 1)^2 + (2 - 1)^2) / 2 = 1, not / 1 = 2.
    layer = BatchNormalization(momentum=0.5)
    layer(np.array([0, 2], np.float32).reshape(1, 1, 2, 1), training=True)
    assert np.allclose(layer.moving_mean.numpy(), 0.5)  # 0.5 * 0 + 0.5 * 1
    assert np.allclose(layer.moving_variance.numpy(), 1.0)  # 0.5 * 1 + 0.5 * 1


def test_frozen_it_keeps_its_statistics():
    ours, theirs = both()
    before = ours.get_weights()
    for layer in (ours, theirs):
        layer.trainable = False
    one, other = (keras.ops.convert_to_numpy(x(IMAGES, training=True)) for x in (ours, theirs))
    assert np.allclose(one, other, atol=1e-5)
    for weight, same in zip(before, ours.get_weights(), strict=True):
        assert np.array_equal(weight, same)


def test_in_half_precision_the_weights_are_not_rounded():
    layer = BatchNormalization(dtype="mixed_bfloat16")
    layer.build(IMAGES.shape)
    layer.gamma.assign(np.full(7, 1.001))  # between two numbers of bfloat16, 1 and 1.0078
    single = BatchNormalization()
    single.build(IMAGES.shape)
    single.gamma.assign(layer.gamma)
    half = keras.ops.cast(IMAGES, "bfloat16")
    found = layer(half, training=True)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    wanted = single(keras.ops.cast(half, "float32"), training=True)
    one, other = (keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in (found, wanted))
    assert np.allclose(one, other, atol=2e-2)  # of the output alone
    assert np.allclose(layer.moving_variance.numpy(), single.moving_variance.numpy(), rtol=1e-6)


def test_it_is_saved_and_loaded_by_name(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 2)), BatchNormalization(name="norm")])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    assert type(loaded.get_layer("norm")) is BatchNormalization
