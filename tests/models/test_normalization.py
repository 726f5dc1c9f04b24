"""BatchNorm by the fused kernel has the values of Keras's, in training and in prediction."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from unetkit.models.normalization import BatchNormalization

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
    ours, theirs = both(momentum=0.9)
    found = []
    for layer in (ours, theirs):
        images = tf.constant(IMAGES)
        with tf.GradientTape() as tape:
            tape.watch(images)
            output = layer(images, training=training)
            loss = tf.reduce_sum(output * tf.sin(output))
        slopes = tape.gradient(loss, [images, *[w.value for w in layer.trainable_weights]])
        found.append([output, *slopes, *layer.get_weights()])
    for one, other in zip(*found, strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-4)
    assert np.allclose(ours.moving_variance, theirs.moving_variance, rtol=1e-6)


def test_statistics_by_hand():
    # Two pixels, 0 and 2: mean 1, variance ((0 - 1)^2 + (2 - 1)^2) / 2 = 1, not / 1 = 2.
    layer = BatchNormalization(momentum=0.5)
    layer(np.array([0, 2], np.float32).reshape(1, 1, 2, 1), training=True)
    assert np.allclose(layer.moving_mean, 0.5)  # 0.5 * 0 + 0.5 * 1
    assert np.allclose(layer.moving_variance, 1.0)  # 0.5 * 1 + 0.5 * 1


def test_frozen_it_keeps_its_statistics():
    ours, theirs = both()
    before = ours.get_weights()
    for layer in (ours, theirs):
        layer.trainable = False
    assert np.allclose(ours(IMAGES, training=True), theirs(IMAGES, training=True), atol=1e-5)
    for weight, same in zip(before, ours.get_weights(), strict=True):
        assert np.array_equal(weight, same)


def test_in_half_precision_the_weights_are_not_rounded():
    layer = BatchNormalization(dtype="mixed_bfloat16")
    layer.build(IMAGES.shape)
    layer.gamma.assign(np.full(7, 1.001))  # between two numbers of bfloat16, 1 and 1.0078
    single = BatchNormalization()
    single.build(IMAGES.shape)
    single.gamma.assign(layer.gamma)
    found = layer(tf.cast(IMAGES, tf.bfloat16), training=True)
    assert found.dtype == tf.bfloat16
    wanted = single(tf.cast(tf.cast(IMAGES, tf.bfloat16), tf.float32), training=True)
    assert np.allclose(tf.cast(found, tf.float32), wanted, atol=2e-2)  # of the output alone
    assert np.allclose(layer.moving_variance, single.moving_variance, rtol=1e-6)


def test_it_is_saved_and_loaded_by_name(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 2)), BatchNormalization(name="norm")])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    assert type(loaded.get_layer("norm")) is BatchNormalization
