"""Encoders that were trained on ImageNet, by name: their features, receptive field and weights.

EfficientNet-Lite0 is in `efficientnet_lite0`, those of `keras.applications` are in
`keras_encoders`. All take images as ENCODER_NORMALIZATION makes them.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
from keras import KerasTensor

from unetkit._shared.display import Display
from unetkit.errors import ConfigError, DataNotFoundError, did_you_mean
from unetkit.models import efficientnet_lite0 as lite0
from unetkit.models.geometry import Steps
from unetkit.models.keras_encoders import (
    KERAS_ENCODERS,
    channel_shifts,
    fetch_weights,
    keras_features,
    keras_weights,
)
from unetkit.models.normalization import IMAGE_DEVIATION, IMAGE_MEAN
from unetkit.models.spec import Normalization

EFFICIENTNET_LITE0 = "efficientnet_lite0"
ENCODERS = (EFFICIENTNET_LITE0, *KERAS_ENCODERS)
DEPTHWISE_ENCODERS = (EFFICIENTNET_LITE0, "convnext_tiny")  # with depthwise convolutions
ENCODER_LEVELS = 5  # of each of them
ENCODER_NORMALIZATION = Normalization(1 / IMAGE_DEVIATION, -IMAGE_MEAN / IMAGE_DEVIATION)
IMAGENET = "imagenet"
RANDOM = "random"
WEIGHTS_ENDING = ".h5"
# Beginnings of names of backbones, in small letters and digits, with what a part of them does.
WHOLE_IMAGE = {
    "efficientnetlite": None,  # has no squeeze-and-excite
    **dict.fromkeys(
        ("efficientnet", "mobilenetv3", "mobilenet3", "senet", "seresne", "regnety", "mnasnet"),
        "squeeze-and-excite averages over the whole image",
    ),
    "convnextv2": "global response normalization takes its statistics from the whole image",
    **dict.fromkeys(("vit", "swin", "deit", "mit", "segformer"), "attention sees the whole image"),
}


def require_encoder(name: object, accepted: Iterable[str]) -> None:
    """Checks the name of an encoder.

    Raises:
        ConfigError: It is not accepted; the message says whether it cannot be.
    """
    accepted = tuple(accepted)
    if name in accepted:
        return
    plain = re.sub("[^a-z0-9]", "", str(name).lower())
    reason = next((why for begin, why in WHOLE_IMAGE.items() if plain.startswith(begin)), None)
    because = f", whose {reason}, so that exact tiles are impossible" if reason else ""
    raise ConfigError(
        f"encoder is {name!r}{because}; accepted are {', '.join(map(repr, accepted))}"
        f"{did_you_mean(str(name).lower(), accepted)}"
    )


def encoder_features(name: str, image: KerasTensor, depth: int) -> list[KerasTensor | None]:
    """Adds the layers of an encoder to a graph.

    Args:
        name: One of ENCODERS.
        image: Images, (B, H, W, C), as ENCODER_NORMALIZATION makes them.
        depth: Number of levels, from 1 to ENCODER_LEVELS; the last one has the stride 2^depth.

    Returns:
        The features of the levels 1 to `depth`, (B, H / 2^l, W / 2^l, F_l) each; None for a level
        without features.
    """
    if name == EFFICIENTNET_LITE0:
        return [*lite0.efficientnet_lite0(image, depth)]
    return keras_features(name, image, depth)


def encoder_steps(name: str, depth: int) -> list[Steps | None]:
    """Convolutions and pooling of the levels 1 to `depth`; None for a level without features."""
    if name == EFFICIENTNET_LITE0:
        return [*lite0.lite0_steps(depth)]
    return [*KERAS_ENCODERS[name].steps[:depth]]


def encoder_of(layer_names: Iterable[str]) -> str | None:
    """Name of the encoder with these layers; None if they are of no other than the U-Net's own."""
    names = set(layer_names)
    if "encoder1_stem" in names:
        return EFFICIENTNET_LITE0
    found = [re.fullmatch(r"encoder\d_(\w+)_stem", name) for name in names]
    return next((match[1] for match in found if match), None)


def fetch_pretrained(name: str, weights: str, display: Display) -> Path | None:
    """Path of a file with the weights of an encoder, after a download if necessary.

    Args:
        name: Name of the encoder.
        weights: "imagenet", "random", or the path of a file in a format of Keras.
        display: Shows that a file is downloaded.

    Returns:
        The path; None if there is no file of its own.

    Raises:
        DataNotFoundError: The file does not exist, or cannot be downloaded.
        ConfigError: The encoder takes no weights from a file.
    """
    if not weights.endswith(WEIGHTS_ENDING):
        is_published = weights == IMAGENET and name in KERAS_ENCODERS
        return fetch_weights(name, display) if is_published else None
    if name not in KERAS_ENCODERS:
        raise ConfigError(
            f"encoder_weights is {weights!r} with the encoder {name!r}; accepted are files for "
            f"{', '.join(map(repr, KERAS_ENCODERS))}; leave encoder_weights out"
        )
    path = Path(weights)
    if not path.is_file():
        raise DataNotFoundError(
            f"encoder_weights is {weights!r}, which does not exist; accepted is a file with the "
            f"weights of keras.applications.{KERAS_ENCODERS[name].constructor}, {IMAGENET!r} or "
            f"{RANDOM!r}"
        )
    return path


def load_pretrained(
    model: keras.Model, name: str, weights: str = IMAGENET, display: Display | None = None
) -> int:
    """Sets the encoder's weights to those that were trained on ImageNet, or to those of a file.

    The first convolution is adapted to the number of channels, so that an image with equal channels
    has the features of a grey photo.

    Args:
        model: Network of `build_unet` with this encoder.
        name: One of ENCODERS.
        weights: "imagenet", or the path of a file in a format of Keras.
        display: Shows that a file is downloaded.

    Returns:
        The number of weights that were set.

    Raises:
        MissingExtraError: The distribution with the weights is not installed.
        DataNotFoundError: The file does not exist, or cannot be downloaded.
        ModelFileError: The file is not the one that is expected.
    """
    path = fetch_pretrained(name, weights, display or Display())
    values = lite0.pretrained_weights() if path is None else keras_weights(name, path)
    count = 0
    for layer in model.layers:
        if layer.name.startswith("encoder") and layer.weights:
            arrays = values[layer.name]
            if layer.name.endswith("_stem"):
                arrays = match_stem(name, arrays, layer.kernel.shape[2])
            layer.set_weights(arrays)
            count += layer.count_params()
    return count


def match_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel for another number of channels, with the same response to equal channels.

    Args:
        kernel: Trained kernel, (h, w, C, F).
        channels: New number of channels.

    Returns:
        Kernel (h, w, channels, F), with the same sum over the channels; `kernel` itself if it has
        this number.
    """
    if kernel.shape[2] == channels:
        return kernel
    mean = kernel.sum(axis=2, keepdims=True) / channels
    return np.repeat(mean, channels, axis=2)


def match_stem(name: str, arrays: list[np.ndarray], channels: int) -> list[np.ndarray]:
    """The weights of an encoder's first convolution, for another number of channels.

    Args:
        name: One of ENCODERS.
        arrays: Kernel, (h, w, C, F), and bias, (F,), if it has one.
        channels: New number of channels.

    Returns:
        Kernel, (h, w, channels, F), and bias. Images with equal channels have the same features, at
        their edges up to the differences between the means of red, green and blue.
    """
    kernel, *bias = arrays
    matched = match_channels(kernel, channels)
    if name == EFFICIENTNET_LITE0 or matched is kernel:
        return [matched, *bias]
    # The shifts of the channels, which differ from colour to colour, as the convolution sums them.
    before, after = (
        np.einsum("hwcf,c->f", each, channel_shifts(name, each.shape[2]))
        for each in (kernel, matched)
    )
    return [matched, bias[0] + (before - after)]
