"""The whole U-Net, from top to bottom: configuration, presets, builder, blocks.

An encoder halves the feature maps at each level while the number of channels grows; a decoder
brings them back to the input size. At each level a skip connection concatenates the encoder's
features, so that the decoder has exact positions as well as context (Ronneberger, Fischer, Brox
2015). Encoders that were trained on ImageNet are in `encoders`.

Normalisation uses learnt statistics (BatchNorm) or none, never those of the current image. The
output at a pixel therefore depends only on the pixels within its receptive field, which is what
makes tiled prediction exact. `geometry` computes input sizes, output sizes and the receptive field.
"""

import contextlib
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace

import keras
from keras import KerasTensor, initializers, layers

from unetkit.errors import ConfigError, did_you_mean
from unetkit.models.encoders import (
    EFFICIENTNET_LITE0,
    ENCODER_LEVELS,
    ENCODERS,
    encoder_features,
    encoder_steps,
    require_encoder,
)
from unetkit.models.geometry import (
    BLOCK,
    Geometry,
    encoder_geometry,
    skip_crops,
    unet_geometry,
)
from unetkit.models.normalization import MOMENTUM, BatchNormalization

# Standard deviation of a standard normal distribution truncated at two standard deviations.
TRUNCATED_DEVIATION = 0.87962566103423978

OWN_ENCODER = "unet"
CHOICES: dict[str, tuple[object, ...]] = {
    "encoder": (OWN_ENCODER, *ENCODERS),
    "padding": ("same", "valid"),
    "normalization": ("none", "batch", "frozen"),
    "initializer": ("he", "gaussian"),
    "up_activation": ("linear", "relu"),
    "stem_stride": (1, 2),
    "up_kernel": (2, 3),
}


@dataclass(frozen=True)
class UNetConfig:
    """Architecture of a U-Net, without its numbers of input channels and classes.

    Args:
        filters: Number of channels of each level, from the input size to the bottleneck; two levels
            or more. With another encoder, of each level of the decoder, from the input size to half
            the resolution of the encoder's last level.
        padding: "same", or "valid" for the paper's unpadded convolutions.
        normalization: "batch" for BatchNorm after each convolution; "frozen" for one BatchNorm at
            the end of each encoder block, whose statistics stay 0 and 1; or "none".
        residual: Whether to add each block's input to its output.
        stem_stride: Stride of a convolution before the first block: 2 for a quarter of the
            computation, 1 for no such convolution.
        up_kernel: Kernel size of the transposed convolutions, 2 or 3.
        up_activation: Activation of the transposed convolutions, "linear" or "relu".
        head_filters: Number of channels of one more 3x3 convolution before the logits; 0 for none.
        dropout: Dropout rate at the end of the two deepest encoder blocks, from 0 to below 1.
        initializer: Initializer of the convolutions: "he" (truncated normal), or "gaussian"
            (untruncated, as in the paper).
        encoder: "unet" for blocks of convolutions with max pooling; or "efficientnet_lite0",
            "resnet50" or "convnext_tiny", whose weights can be those that were trained on ImageNet.
        detail_filters: Number of channels of two 3x3 convolutions between the image and its skip
            connection; 0 for the image itself. Not used with "unet".

    Raises:
        ConfigError: A value is not accepted, or two values exclude each other.
    """

    filters: tuple[int, ...] = (16, 32, 64, 128, 256)
    padding: str = "same"
    normalization: str = "batch"
    residual: bool = True
    stem_stride: int = 2
    up_kernel: int = 2
    up_activation: str = "linear"
    head_filters: int = 16
    dropout: float = 0.0
    initializer: str = "he"
    encoder: str = OWN_ENCODER
    detail_filters: int = 0

    def __post_init__(self) -> None:
        require_encoder(self.encoder, (OWN_ENCODER, *ENCODERS))
        for name, accepted in CHOICES.items():
            value = getattr(self, name)
            if value not in accepted:
                raise ConfigError(
                    f"{name} is {value!r}; accepted are {', '.join(map(repr, accepted))}"
                )
        if len(self.filters) < 2 or min(self.filters) < 1:
            raise ConfigError(
                f"filters is {list(self.filters)}; accepted are at least two positive numbers, one "
                "per level, such as [16, 32, 64]"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; accepted are rates from 0 to below 1")
        for name in ("head_filters", "detail_filters"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; accepted are whole numbers of 0 or more; "
                    "use 0 for no convolution there"
                )
        if self.has_own_encoder:
            self._require_own()
        else:
            self._require_other()

    def _require_own(self) -> None:
        # Each of them pads at the edges of its input, which an unpadded network must not do.
        if self.padding == "valid" and (
            self.residual or self.stem_stride == 2 or self.up_kernel == 3
        ):
            raise ConfigError(
                "padding is 'valid' with residual blocks, a strided stem or 3x3 up-convolutions; "
                "accepted are unpadded networks without them; set residual = false, "
                "stem_stride = 1 and up_kernel = 2"
            )

        if self.detail_filters:
            raise ConfigError(
                f"detail_filters is {self.detail_filters} with the encoder {self.encoder!r}, whose "
                "first block sees the image; accepted is 0"
            )

    def _require_other(self) -> None:
        if len(self.filters) > ENCODER_LEVELS:
            raise ConfigError(
                f"filters is {list(self.filters)} with the encoder {self.encoder!r}; accepted are "
                f"2 to {ENCODER_LEVELS} numbers, such as [16, 32, 48, 64, 96]"
            )
        fixed = {"padding": "same", "stem_stride": 1, "up_kernel": 2}
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r} with the encoder {self.encoder!r}; "
                    f"accepted is {value!r}"
                )

    @property
    def has_own_encoder(self) -> bool:
        """Whether the encoder is made of this module's blocks."""
        return self.encoder == OWN_ENCODER

    @property
    def depth(self) -> int:
        """Number of times that the resolution is halved, the stem aside."""
        return len(self.filters) - 1 if self.has_own_encoder else len(self.filters)

    @property
    def geometry(self) -> Geometry:
        """Valid input sizes, output sizes and receptive field."""
        if not self.has_own_encoder:
            detail = BLOCK if self.detail_filters else ()
            return encoder_geometry(
                encoder_steps(self.encoder, self.depth), detail, self.head_filters > 0
            )
        return unet_geometry(
            self.depth, self.padding, self.stem_stride, self.up_kernel, self.head_filters > 0
        )


PRESETS: dict[str, UNetConfig] = {
    # Begins with features of ImageNet; whatever it is trained on, the first minutes gain most.
    "pretrained": UNetConfig(
        filters=(16, 32, 48, 64, 96),
        residual=False,
        stem_stride=1,
        head_filters=0,
        encoder=EFFICIENTNET_LITE0,
    ),
    # Small enough to train on two cores: the strided stem makes it four times as fast.
    "fast": UNetConfig(),
    # The TensorFlow notebook's graph: 8,643,779 parameters at 3 channels and 3 classes.
    "notebook": UNetConfig(
        filters=(32, 64, 128, 256, 512),
        normalization="frozen",
        residual=False,
        stem_stride=1,
        up_kernel=3,
        head_filters=32,
        dropout=0.3,
    ),
    # Ronneberger et al. 2015, figure 1: 31,030,658 parameters at 1 channel and 2 classes.
    "paper": UNetConfig(
        filters=(64, 128, 256, 512, 1024),
        padding="valid",
        normalization="none",
        residual=False,
        stem_stride=1,
        up_activation="relu",
        head_filters=0,
        dropout=0.5,
        initializer="gaussian",
    ),
}


def preset_config(name: str) -> UNetConfig:
    """The architecture of a preset.

    Raises:
        ConfigError: No preset has this name.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError(
            f"preset {name!r} is unknown; accepted are {', '.join(map(repr, PRESETS))}"
            f"{did_you_mean(str(name), PRESETS)}"
        )
    return PRESETS[name]


# Filters of full resolution where objects may be a few pixels wide.
DETAIL_FILTERS = 16


def fitted_network(preset: str, *, is_native: bool, is_thin: bool) -> UNetConfig:
    """The network of a preset that fits images and what is marked in them.

    Args:
        preset: Name of the preset.
        is_native: Whether images keep their own scale and are predicted in tiles. With all of its
            levels, the receptive field of `pretrained` would make exact tiles several times as
            expensive.
        is_thin: Whether structures are a few pixels wide. They need features at full resolution,
            and no convolution with a stride before these.
    """
    network = preset_config(preset)
    if not network.has_own_encoder:
        if is_native:
            network = replace(network, filters=network.filters[:4])
        if is_native or is_thin:
            network = replace(network, detail_filters=DETAIL_FILTERS)
    elif is_thin and network.stem_stride == 2:
        filters = (network.filters[0] // 2, *network.filters)
        network = replace(network, filters=filters, stem_stride=1, head_filters=0)
    return network


def build_unet(
    config: UNetConfig | str = "fast",
    *,
    in_channels: int = 3,
    num_classes: int = 2,
    encoder_precision: str | None = None,
) -> keras.Model:
    """Builds a U-Net for images of any valid size.

    Args:
        config: Architecture, or the name of a preset.
        in_channels: Number of image channels, 1 or more.
        num_classes: Number of classes with the background, 2 or more.
        encoder_precision: Keras dtype policy of a pretrained encoder; None for Keras's own, which
            all other layers have.

    Returns:
        A Keras model from normalised images, (B, H, W, in_channels) float32, to logits,
        (B, H', W', num_classes) float32. H' and W' equal H and W with padding, else they are
        smaller by twice the margin of `config.geometry`.

    Raises:
        ConfigError: The preset is unknown, or there is no channel or only one class.
        SizeError: The model is called with images of an invalid size.

    Source: Ronneberger, Fischer, Brox, MICCAI 2015.

    >>> build_unet("paper", in_channels=1, num_classes=2).count_params()
    31030658
    """
    if isinstance(config, str):
        config = preset_config(config)
    if in_channels < 1 or num_classes < 2:
        raise ConfigError(
            f"in_channels is {in_channels} and num_classes {num_classes}; accepted are at least 1 "
            "and 2; count the background as a class"
        )
    image = layers.Input((None, None, in_channels), name="image")
    x = SizeCheck(asdict(config.geometry), name="size_check")(image)  # (B, H, W, C)
    skips, x = _encode(x, config, encoder_precision)

    crops = skip_crops(config.depth, config.padding)
    for level in reversed(range(config.depth)):
        # From (B, h, w, C) to (B, 2h, 2w, F).
        x = _up_convolution(x, config.filters[level], config, f"decoder{level}_up")
        skip = skips[level]
        if crops[level]:
            skip = layers.Cropping2D(crops[level], name=f"decoder{level}_crop")(skip)
        if skip is not None:
            x = layers.Concatenate(name=f"decoder{level}_concat")([x, skip])
        x = _block(x, config.filters[level], config, f"decoder{level}")

    if config.stem_stride == 2:
        x = _up_convolution(x, config.filters[0], config, "head_up")  # (B, H, W, F0)
    if config.head_filters:
        x = _convolution(x, config.head_filters, config, "head")
    # Glorot, not He: no ReLU follows the last layer. Single precision also where the other layers
    # have half precision: the loss needs it.
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)  # (B, H', W', K)
    return keras.Model(image, logits, name="unet")


@contextlib.contextmanager
def layer_precision(policy: str | None) -> Generator[None, None, None]:
    """A context in which new layers have a Keras dtype policy; None for the current one."""
    kept = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy or kept)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(kept)


def _encode(
    x: KerasTensor, config: UNetConfig, precision: str | None
) -> tuple[list[KerasTensor | None], KerasTensor]:
    """The features of each level for the skip connections, and those of the bottleneck.

    A level has None if the encoder has no features there.
    """
    if not config.has_own_encoder:
        with layer_precision(precision):
            *skips, bottleneck = encoder_features(config.encoder, x, config.depth)
        for number in (1, 2) if config.detail_filters else ():
            x = _convolution(x, config.detail_filters, config, f"detail_conv{number}")
        return [x, *skips], bottleneck
    skips = []
    if config.stem_stride == 2:
        x = _convolution(x, config.filters[0], config, "stem", strides=2)  # (B, H/2, W/2, F0)
    for level, filters in enumerate(config.filters):
        dropout = config.dropout if level >= config.depth - 1 else 0.0
        x = _encoder_block(x, filters, dropout, config, f"encoder{level}")
        if level < config.depth:
            skips.append(x)
            x = layers.MaxPooling2D(2, name=f"encoder{level}_pool")(x)  # (B, H/2, W/2, F)
    return skips, x


@keras.saving.register_keras_serializable(package="unetkit")
class SizeCheck(layers.Layer):
    """Passes images on unchanged, or raises SizeError with the valid sizes.

    Without this layer, a wrong size fails in the decoder with an error of `Concatenate`.

    Args:
        geometry: Fields of the network's `Geometry`.
    """

    def __init__(self, geometry: dict[str, int], **keywords) -> None:
        super().__init__(**keywords)
        self.geometry = geometry

    def call(self, images):
        self.compute_output_shape(images.shape)
        return images

    def compute_output_shape(self, input_shape):
        for size in input_shape[1:3]:
            if size is not None:
                Geometry(**self.geometry).output_size(size)
        return input_shape

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "geometry": dict(self.geometry)}


@keras.saving.register_keras_serializable(package="unetkit")
class FrozenBatchNormalization(layers.BatchNormalization):
    """BatchNorm with trainable scale and shift, whose statistics stay 0 and 1.

    The notebook calls the layer with training=False. Keras 3's functional models override that
    argument during training, so the layer sets it in its own `call`.
    """

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


def _encoder_block(
    x: KerasTensor, filters: int, dropout: float, config: UNetConfig, name: str
) -> KerasTensor:
    x = _block(x, filters, config, name)
    if config.normalization == "frozen":
        x = FrozenBatchNormalization(name=f"{name}_norm")(x)
    if dropout:
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return x


def _block(x: KerasTensor, filters: int, config: UNetConfig, name: str) -> KerasTensor:
    """Two 3x3 convolutions; if `residual`, the block's input is added before the last ReLU."""
    if not config.residual:
        x = _convolution(x, filters, config, f"{name}_conv1")
        return _convolution(x, filters, config, f"{name}_conv2")
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = _convolution(x, filters, config, f"{name}_shortcut", kernel=1, activation=False)
    x = _convolution(x, filters, config, f"{name}_conv1")
    x = _convolution(x, filters, config, f"{name}_conv2", activation=False)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)


def _convolution(
    x: KerasTensor,
    filters: int,
    config: UNetConfig,
    name: str,
    kernel: int = 3,
    strides: int = 1,
    activation: bool = True,
) -> KerasTensor:
    batch_norm = config.normalization == "batch"
    x = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding=config.padding,
        use_bias=not batch_norm,  # BatchNorm has a bias of its own
        kernel_initializer=_initializer(config, fan_in=kernel * kernel * x.shape[-1]),
        name=name,
    )(x)
    if batch_norm:
        x = BatchNormalization(momentum=MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activation else x


def _up_convolution(x: KerasTensor, filters: int, config: UNetConfig, name: str) -> KerasTensor:
    rectified = config.up_activation == "relu"
    x = layers.Conv2DTranspose(
        filters,
        config.up_kernel,
        strides=2,
        padding="same",
        # With a 2x2 kernel, each output pixel depends on each input channel once.
        kernel_initializer=(
            _initializer(config, fan_in=x.shape[-1]) if rectified else "glorot_uniform"
        ),
        name=name,
    )(x)
    return layers.ReLU(name=f"{name}_relu")(x) if rectified else x


def _initializer(config: UNetConfig, fan_in: int) -> initializers.Initializer:
    deviation = (2.0 / fan_in) ** 0.5  # Ronneberger et al., section 3
    if config.initializer == "gaussian":
        return initializers.RandomNormal(stddev=deviation)
    # As Keras's HeNormal, which takes the outputs of a transposed convolution for its inputs.
    return initializers.TruncatedNormal(stddev=deviation / TRUNCATED_DEVIATION)
