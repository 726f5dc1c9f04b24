"""The whole U-Net, from top to bottom: configuration, presets, builder, blocks.

An encoder halves the image again and again while its features grow, a decoder brings it back to
size, and at each size a skip connection hands over what the encoder saw, so that the decoder
knows where things are as well as what they are (Ronneberger, Fischer, Brox 2015).

Normalisation never looks at the whole image: its statistics are learnt (BatchNorm) or absent, so
what the network says of a pixel depends on the pixels within its reach and on nothing else.
Which sizes fit and how far a pixel looks is computed in `geometry`.
"""

from dataclasses import asdict, dataclass

import keras
from keras import KerasTensor, initializers, layers

from unetkit.errors import ConfigError, did_you_mean
from unetkit.models.geometry import Geometry, skip_crops, unet_geometry

TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal cut off at two deviations

CHOICES: dict[str, tuple[object, ...]] = {
    "padding": ("same", "valid"),
    "normalization": ("none", "batch", "frozen"),
    "initializer": ("he", "gaussian"),
    "up_activation": ("linear", "relu"),
    "stem_stride": (1, 2),
    "up_kernel": (2, 3),
}


@dataclass(frozen=True)
class UNetConfig:
    """What distinguishes one U-Net from another, apart from its channels and classes.

    Args:
        filters: Channels of each level, from the full size to the bottleneck; any number of levels.
        padding: "same", or "valid" for the paper's unpadded convolutions.
        normalization: "batch": BatchNorm after each convolution. "frozen": one at the end of each
            encoder block, whose statistics stay 0 and 1. "none".
        residual: Adds each block's input to its output.
        stem_stride: 2 halves the image once before the first block: a quarter of the work.
        up_kernel: Kernel size of the transposed convolutions, 2 or 3.
        up_activation: "linear" or "relu", after a transposed convolution.
        head_filters: Channels of one more 3x3 convolution before the logits; 0 for none.
        dropout: Share of features dropped at the end of the two deepest encoder blocks.
        initializer: "he": truncated normal; "gaussian": untruncated, as the paper has it.

    Raises:
        ConfigError: A value is not accepted, or two exclude each other.
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

    def __post_init__(self) -> None:
        for name, accepted in CHOICES.items():
            value = getattr(self, name)
            if value not in accepted:
                raise ConfigError(
                    f"{name} is {value!r}; accepted are {', '.join(map(repr, accepted))}"
                )
        if len(self.filters) < 2 or min(self.filters) < 1:
            raise ConfigError(
                f"filters is {list(self.filters)}; accepted are at least two positive numbers, one "
                "a level; name the channels of each level, as in [16, 32, 64]"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(
                f"dropout is {self.dropout}; accepted is a share from 0 to below 1; use 0 for none"
            )
        if self.head_filters < 0:
            raise ConfigError(
                f"head_filters is {self.head_filters}; accepted are whole numbers from 0 up; use 0 "
                "for no convolution before the logits"
            )
        # Each of them would let an unpadded network see where its input ends.
        if self.padding == "valid" and (
            self.residual or self.stem_stride == 2 or self.up_kernel == 3
        ):
            raise ConfigError(
                "padding is 'valid' with residual blocks, a strided stem or 3x3 up-convolutions; "
                "unpadded networks are accepted without; set residual = false, stem_stride = 1 and "
                "up_kernel = 2"
            )

    @property
    def depth(self) -> int:
        """Number of poolings."""
        return len(self.filters) - 1

    @property
    def geometry(self) -> Geometry:
        """Valid sizes, output sizes and reach."""
        return unet_geometry(
            self.depth, self.padding, self.stem_stride, self.up_kernel, self.head_filters > 0
        )


PRESETS: dict[str, UNetConfig] = {
    # Small enough to train well on two cores: the strided stem makes it four times as fast.
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
    """The configuration of a preset.

    Raises:
        ConfigError: There is no preset of this name.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError(
            f"preset {name!r} is unknown; accepted are {', '.join(map(repr, PRESETS))}"
            f"{did_you_mean(str(name), PRESETS)}"
        )
    return PRESETS[name]


def build_unet(
    config: UNetConfig | str = "fast", *, in_channels: int = 3, num_classes: int = 2
) -> keras.Model:
    """Builds a U-Net that takes images of any valid size.

    Args:
        config: A configuration, or the name of a preset.
        in_channels: Channels of the image, 1 or more.
        num_classes: Classes, 2 or more.

    Returns:
        A Keras model from normalised images, (B, H, W, in_channels) float32, to logits,
        (B, H', W', num_classes) float32; H' and W' are H and W when padded, else smaller by
        twice the margin of `config.geometry`.

    Raises:
        ConfigError: An unknown preset, or fewer than 1 channel or 2 classes.
        SizeError: From the model, when it is called with images of a size that it does not take.

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
    if config.stem_stride == 2:
        x = _convolution(x, config.filters[0], config, "stem", strides=2)  # (B, H/2, W/2, F0)

    skips = []
    for level, filters in enumerate(config.filters):
        dropout = config.dropout if level >= config.depth - 1 else 0.0
        x = _encoder_block(x, filters, dropout, config, f"encoder{level}")
        if level < config.depth:
            skips.append(x)
            x = layers.MaxPooling2D(2, name=f"encoder{level}_pool")(x)  # half the size

    crops = skip_crops(config.depth, config.padding)
    for level in reversed(range(config.depth)):
        x = _up_convolution(x, config.filters[level], config, f"decoder{level}_up")  # twice it
        skip = skips[level]
        if crops[level]:
            skip = layers.Cropping2D(crops[level], name=f"decoder{level}_crop")(skip)
        x = layers.Concatenate(name=f"decoder{level}_concat")([x, skip])
        x = _block(x, config.filters[level], config, f"decoder{level}")

    if config.stem_stride == 2:
        x = _up_convolution(x, config.filters[0], config, "head_up")  # (B, H, W, F0)
    if config.head_filters:
        x = _convolution(x, config.head_filters, config, "head")
    # Glorot, not He: nothing is rectified after the last layer. Whole precision also where the rest
    # has half of it: the loss needs it.
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)  # (B, H', W', K)
    return keras.Model(image, logits, name="unet")


@keras.saving.register_keras_serializable(package="unetkit")
class SizeCheck(layers.Layer):
    """Hands images on unchanged, or says which sizes the network takes.

    Without it a wrong size shows deep in the decoder, as two arrays that cannot be concatenated.

    Args:
        geometry: The fields of the network's `Geometry`.
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
    """BatchNorm whose scale and shift learn while its statistics stay 0 and 1.

    The notebook calls the layer with training=False. Keras 3's functional models override that
    argument when they train, so the layer itself has to insist.
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
    """Two 3x3 convolutions; with `residual`, the block's input is added before the last ReLU."""
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
        use_bias=not batch_norm,  # BatchNorm shifts anyway
        kernel_initializer=_initializer(config, fan_in=kernel * kernel * x.shape[-1]),
        name=name,
    )(x)
    if batch_norm:
        # Keras's momentum of 0.99 needs several hundred steps to forget its start; runs of a few
        # minutes have no more than that.
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if activation else x


def _up_convolution(x: KerasTensor, filters: int, config: UNetConfig, name: str) -> KerasTensor:
    rectified = config.up_activation == "relu"
    x = layers.Conv2DTranspose(
        filters,
        config.up_kernel,
        strides=2,
        padding="same",
        # Each output pixel of a 2x2 kernel sees each input channel once.
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
    # As Keras's HeNormal, which would mistake a transposed convolution's outputs for its inputs.
    return initializers.TruncatedNormal(stddev=deviation / TRUNCATED_DEVIATION)
