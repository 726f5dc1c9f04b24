"""A U-Net written by hand."""

import keras
from keras import layers


def small_unet(join=layers.Concatenate):
    """A small U-Net written by hand, with the default names of Keras."""
    image = layers.Input((None, None, 3))
    skip = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    below = layers.Conv2D(8, 3, padding="same")(layers.MaxPooling2D(2)(skip))
    up = layers.Conv2DTranspose(4, 2, strides=2)(below)
    return keras.Model(image, layers.Conv2D(2, 1)(join()([skip, up])))
