"""How pixel values and features are normalised.

BatchNorm is one fused operation where Keras composes it of many; layer normalisation consists of
operations that a model file holds and that can be read back from it.
"""

import keras
from keras import KerasTensor, layers, ops

# With Keras's default of 0.99, the initial statistics fade over several hundred steps; runs of a
# few minutes have no more than that.
MOMENTUM = 0.9
# What pretrained encoders take as an image: (value - mean) / deviation, from values of 0 to 255.
IMAGE_MEAN = 127.0
IMAGE_DEVIATION = 128.0


@keras.saving.register_keras_serializable(package="unetkit")
class BatchNormalization(layers.BatchNormalization):
    """Keras's BatchNorm over the last axis, with TensorFlow's fused kernel during training.

    Keras 3 normalises by a dozen operations, which read and write the features each; they were
    almost half of the time of an update of `pretrained` (docs/log.md). The results are the same up
    to rounding. In half precision, statistics, scale and shift stay in single precision.
    """

    def __init__(self, **keywords) -> None:
        # The features come in the network's precision; the weights must not be rounded to it.
        super().__init__(**{**keywords, "autocast": False})

    def call(
        self, inputs: KerasTensor, training: bool | None = None, mask: KerasTensor | None = None
    ) -> KerasTensor:
        is_fused = keras.backend.backend() == "tensorflow" and len(inputs.shape) == 4
        if not (training and self.trainable and is_fused and mask is None):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=ops.convert_to_tensor(self.gamma),
            offset=ops.convert_to_tensor(self.beta),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
            exponential_avg_factor=1.0,
        )
        count = ops.cast(tf.size(inputs) // inputs.shape[-1], "float32")
        biased = variance * (1.0 - 1.0 / count)  # the kernel divides by count - 1, Keras by count
        for statistic, new in ((self.moving_mean, mean), (self.moving_variance, biased)):
            statistic.assign(statistic * self.momentum + new * (1.0 - self.momentum))
        return normalized


@keras.saving.register_keras_serializable(package="unetkit")
class LayerNormalization(layers.LayerNormalization):
    """Layer normalisation over the channels of each pixel, in single precision.

    Each pixel has its own statistics, so that the receptive field stays bounded.
    """

    def call(self, inputs: KerasTensor) -> KerasTensor:
        x = ops.cast(inputs, "float32")
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(centred * centred, axis=-1, keepdims=True)
        normalized = centred * ops.rsqrt(variance + self.epsilon)
        scaled = normalized * ops.cast(self.gamma, "float32") + ops.cast(self.beta, "float32")
        return ops.cast(scaled, self.compute_dtype)
