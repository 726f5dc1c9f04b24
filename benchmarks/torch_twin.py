"""The U-Net of `unetkit.models.unet` in PyTorch, with the same weights, for benchmarks.

Written as a PyTorch user would write it, for the padded networks of `subject.py`. Padding follows
Keras where it differs from PyTorch's symmetric padding, so that the logits are equal; `load_twin`
checks that. Only PyTorch and NumPy are imported.
"""

import json
from pathlib import Path

import numpy as np
import torch
from subject import check_logits
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

EPSILON = 1e-3  # default of BatchNormalization in Keras

Arrays = dict[str, np.ndarray]


def load_twin(folder: Path, *, channels_last: bool = False, fold: bool = False) -> "Twin":
    """Loads the prepared network and checks its logits for the prepared image.

    Args:
        folder: Folder written by `subject.py`.
        channels_last: Whether to use the channels-last memory format.
        fold: Whether to fold BatchNorms into the convolutions before them.

    Returns:
        The network in evaluation mode.

    Raises:
        ValueError: The logits differ from those of Keras.
    """
    network = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    with np.load(folder / "weights.npz") as file:
        twin = Twin(network["config"], dict(file), *network["normalization"]).eval()
    if fold:
        for module in twin.modules():
            if isinstance(module, Convolution):
                module.fold()
    if channels_last:
        twin = twin.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        check_logits(to_array(twin(to_tensor(np.load(folder / "image.npy")))), folder)
    return twin


def to_tensor(image: np.ndarray, *, channels_last: bool = False) -> torch.Tensor:
    """Converts an image, (H, W, C), to a batch, (1, C, H, W) float32."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return tensor.contiguous(memory_format=layout)


def to_array(logits: torch.Tensor) -> np.ndarray:
    """Converts logits from (1, K, H, W) to (H, W, K)."""
    return logits[0].permute(1, 2, 0).numpy()


class Twin(nn.Module):
    """U-Net from pixels of 0 to 255, (B, C, H, W), to logits, (B, K, H, W).

    Args:
        config: Fields of `UNetConfig`, with "same" padding and linear up-convolutions.
        arrays: Weights of Keras by LAYER/VARIABLE.
        multiply: Factor of the normalisation of pixels.
        add: Offset of the normalisation of pixels.
    """

    def __init__(self, config: dict, arrays: Arrays, multiply: float, add: float) -> None:
        super().__init__()
        if config["padding"] != "same" or config["up_activation"] != "linear":
            raise ValueError("unpadded networks and ReLUs after up-convolutions are not supported")
        self.multiply, self.add = multiply, add
        depth = len(config["filters"]) - 1
        block = ResidualBlock if config["residual"] else Block
        self.stem, self.head_up, self.head = nn.Identity(), nn.Identity(), nn.Identity()
        if config["stem_stride"] == 2:
            self.stem = Convolution(arrays, "stem", stride=2)
            self.head_up = UpConvolution(arrays, "head_up")
        if config["head_filters"]:
            self.head = Convolution(arrays, "head")
        self.encoder = nn.ModuleList(
            nn.Sequential(block(arrays, f"encoder{i}"), normalization(arrays, f"encoder{i}_norm"))
            for i in range(depth + 1)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(UpConvolution(arrays, f"decoder{i}_up") for i in range(depth))
        self.decoder = nn.ModuleList(block(arrays, f"decoder{i}") for i in range(depth))
        self.logits = convolution(arrays, "logits")

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.stem(pixels * self.multiply + self.add)
        skips = []
        for encoder in self.encoder[:-1]:
            skips.append(encoder(x))
            x = self.pool(skips[-1])
        x = self.encoder[-1](x)
        for up, decoder in zip(reversed(self.up), reversed(self.decoder), strict=True):
            x = decoder(torch.cat([up(x), skips.pop()], 1))
        return self.logits(self.head(self.head_up(x)))


class Block(nn.Sequential):
    def __init__(self, arrays: Arrays, name: str) -> None:
        super().__init__(
            Convolution(arrays, f"{name}_conv1"),
            Convolution(arrays, f"{name}_conv2"),
        )


class ResidualBlock(nn.Module):
    def __init__(self, arrays: Arrays, name: str) -> None:
        super().__init__()
        self.first = Convolution(arrays, f"{name}_conv1")
        self.second = Convolution(arrays, f"{name}_conv2", activation=False)
        self.shortcut = nn.Identity()
        if f"{name}_shortcut/kernel" in arrays:
            self.shortcut = Convolution(arrays, f"{name}_shortcut", activation=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.second(self.first(x)) + self.shortcut(x))


class Convolution(nn.Module):
    """Convolution, BatchNorm if the network has one, and ReLU."""

    def __init__(
        self, arrays: Arrays, name: str, *, stride: int = 1, activation: bool = True
    ) -> None:
        super().__init__()
        self.convolution = convolution(arrays, name, stride)
        self.norm = normalization(arrays, f"{name}_norm")
        self.activation = nn.ReLU(inplace=True) if activation else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.norm(self.convolution(x)))

    def fold(self) -> None:
        if isinstance(self.norm, nn.BatchNorm2d):
            inner = self.convolution[-1]
            self.convolution[-1] = fuse_conv_bn_eval(inner, self.norm)
            self.norm = nn.Identity()


class UpConvolution(nn.Module):
    """Transposed convolution with stride 2, cropped to twice the input size, as in Keras."""

    def __init__(self, arrays: Arrays, name: str) -> None:
        super().__init__()
        kernel = arrays[f"{name}/kernel"]  # (h, w, out, in)
        size, _, outputs, inputs = kernel.shape
        self.convolution = nn.ConvTranspose2d(inputs, outputs, size, stride=2)
        copy_weights(self.convolution, kernel.transpose(3, 2, 0, 1), arrays[f"{name}/bias"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x)[..., : 2 * x.shape[-2], : 2 * x.shape[-1]]


def convolution(arrays: Arrays, name: str, stride: int = 1) -> nn.Sequential:
    """Convolution padded like Keras: with stride 2, only at the end of each axis."""
    kernel, bias = arrays[f"{name}/kernel"], arrays.get(f"{name}/bias")
    size, _, inputs, outputs = kernel.shape
    before = nn.ZeroPad2d((0, 1, 0, 1)) if stride == 2 else nn.Identity()
    padding = size // 2 if stride == 1 else 0
    layer = nn.Conv2d(inputs, outputs, size, stride, padding, bias=bias is not None)
    copy_weights(layer, kernel.transpose(3, 2, 0, 1), bias)
    return nn.Sequential(before, layer)


def normalization(arrays: Arrays, name: str) -> nn.Module:
    """BatchNorm, or the identity if the network has none of this name."""
    if f"{name}/gamma" not in arrays:
        return nn.Identity()
    layer = nn.BatchNorm2d(len(arrays[f"{name}/gamma"]), eps=EPSILON)
    copy_weights(layer, arrays[f"{name}/gamma"], arrays[f"{name}/beta"])
    layer.running_mean = torch.from_numpy(arrays[f"{name}/moving_mean"])
    layer.running_var = torch.from_numpy(arrays[f"{name}/moving_variance"])
    return layer


def copy_weights(layer: nn.Module, weight: np.ndarray, bias: np.ndarray | None) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
