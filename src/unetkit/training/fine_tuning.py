"""Fine-tuning: a network that starts from the weights of a trained one.

Features that were learnt on one data set help on another one with few pairs. Classes and channels
may differ: then the last or the first layer is adapted, and all other layers are copied.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import keras
import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.wording import format_count
from unetkit.data.scale import Scale
from unetkit.errors import ConfigError, DataNotFoundError, ModelFileError
from unetkit.models.encoders import match_channels, match_stem
from unetkit.models.normalization import BatchNormalization
from unetkit.models.onnx_import import read_exported, rebuild
from unetkit.models.spec import Normalization
from unetkit.models.unet import PRESETS, UNetConfig
from unetkit.training.config import RunConfig
from unetkit.training.config_file import read_config
from unetkit.training.export import seen_images, trained_network

FREE = ("dropout", "initializer")  # fields of UNetConfig that may differ: they change no weight
HEAD = "logits"


@dataclass(frozen=True)
class Origin:
    """A trained model that training starts from; `load` builds it.

    Args:
        path: Run folder or model file.
        preset: Name of the preset.
        network: Architecture of the network.
        outputs: Names of the classes, and of the output that tells objects apart, if any.
        channels: Number of input channels.
        normalization: Normalisation of the input.
        scale: Scale of the input.
        has_statistics: Whether the weights include the statistics of BatchNorm.
        seen: Function that returns digests of the images that the model was trained on, with those
            of the model that it started from.
        load: Function that builds the network with its weights.
    """

    path: Path
    preset: str
    network: UNetConfig
    outputs: tuple[str, ...]
    channels: int
    normalization: Normalization
    scale: Scale
    has_statistics: bool
    seen: Callable[[], Sequence[str]]
    load: Callable[[], keras.Model]


def start_from(
    model: keras.Model,
    source: str | Path,
    config: RunConfig,
    images: np.ndarray | None = None,
) -> str:
    """Sets the weights of a new network to those of a trained one.

    Afterwards the output equals that of the source, up to rounding. Classes with the same name keep
    their row of the last layer; rows of other classes keep their initial weights. For another
    number of channels, the first convolution is adapted so that an image with equal channels gives
    the same response.

    An exported file has BatchNorm folded into its convolutions. If `images` are given, each
    BatchNorm gets their statistics, with gamma and beta that compensate for these: the output is
    the same, and stays so when training normalises by batch. Otherwise BatchNorm starts as the
    identity, and the output changes with the first step.

    Args:
        model: New network of `build_unet` for `config`.
        source: Run folder or exported .onnx file; the graph of the file is not run.
        config: Configuration of the new run.
        images: Normalised training images, (B, H, W, C) float32; None for none.

    Returns:
        A sentence about copied, new and adapted layers.

    Raises:
        DataNotFoundError: `source` does not exist, or has no trained weights.
        ModelFileError: `source` is not a unetkit model, or has weights that are not finite.
        ConfigError: The network of `source` has another architecture.
    """
    origin = read_origin(Path(source))
    _require_same_network(origin, config)
    trained = origin.load()
    for weight in trained.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise ModelFileError(
                f"{weight.path} of {origin.path} has values that are not finite; accepted are "
                "networks with finite weights"
            )
    said = [_take(model, trained, origin, config)]
    if not origin.has_statistics:
        if images is None:
            said.append("its BatchNorm is part of its convolutions and starts without statistics")
        else:
            _set_statistics(model, images)
            said.append(
                "the statistics of BatchNorm are those of "
                f"{format_count(images, 'training sample')}"
            )
    return "; ".join([*said, *_differences(origin, config)])


def read_origin(path: Path) -> Origin:
    """Reads what training needs of a run folder or an exported file; the network is not built.

    Raises:
        DataNotFoundError: The path does not exist, or has no trained weights.
        ModelFileError: The path is not a unetkit model.
    """
    if not path.is_dir():
        exported = read_exported(path)
        spec = exported.spec
        return Origin(
            path,
            spec.preset,
            exported.network,
            (*spec.classes.names, *spec.objects.outputs),
            spec.pixels.channels,
            spec.normalization,
            spec.scale,
            exported.network.normalization != "batch" and exported.network.has_own_encoder,
            lambda: spec.seen,
            lambda: rebuild(exported),
        )
    for name in (run_folder.CONFIG, run_folder.WEIGHTS):
        if not (path / name).is_file():
            raise DataNotFoundError(
                f"{path} holds no {name}; accepted is the folder of a training run after its first "
                "validation pass, or an .onnx file"
            )
    run = read_config(path / run_folder.CONFIG)
    return Origin(
        path,
        run.preset,
        run.network,
        (*run.classes.names, *run.objects.outputs),
        run.pixels.channels,
        run.normalization,
        run.scale,
        True,
        lambda: seen_images(path),
        lambda: trained_network(path, run),
    )


def _require_same_network(origin: Origin, config: RunConfig) -> None:
    theirs, ours = _decided(origin.network), _decided(config.network)
    differing = [name for name in theirs if theirs[name] != ours[name]]
    if not differing:
        return
    presets = [name for name, network in PRESETS.items() if _decided(network) == theirs]
    if presets:
        remedy = f"train with --preset {presets[0]} and without a [network] section"
    elif origin.path.is_dir():
        remedy = f"train with --config {origin.path / run_folder.CONFIG}"
    else:
        remedy = "set its values under [network] in a --config file"
    one, other = (
        ", ".join(f"{name} {_plain(values[name])}" for name in differing)
        for values in (theirs, ours)
    )
    raise ConfigError(
        f"the network of {origin.path} has {one}, that of this run {other}; accepted is the same "
        f"network; {remedy}"
    )


def _decided(network: UNetConfig) -> dict[str, object]:
    names = [entry.name for entry in fields(network) if entry.name not in FREE]
    return {name: getattr(network, name) for name in names}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _take(model: keras.Model, trained: keras.Model, origin: Origin, config: RunConfig) -> str:
    """Copies weights, adapts those that differ, and describes that."""
    sources = {layer.name: layer.get_weights() for layer in trained.layers}
    taken, said = 0, []
    for layer in model.layers:
        wanted = layer.get_weights()
        given = sources.get(layer.name, [])
        if not wanted:
            continue
        if not given:
            said.append(f"{layer.name} is new")
            continue
        if layer.name == HEAD:
            outputs = *config.classes.names, *config.objects.outputs
            given, count = _match_classes(given, wanted, origin.outputs, outputs)
            taken += count
            said += _describe_classes(origin.outputs, outputs)
        elif given[0].shape != wanted[0].shape:
            if not config.network.has_own_encoder and layer.name.startswith("encoder"):
                given = match_stem(config.network.encoder, given, config.pixels.channels)
            else:
                # The image may follow features of the decoder, whose number is the same.
                features = given[0].shape[2] - origin.channels
                image = match_channels(given[0][:, :, features:], config.pixels.channels)
                given = [np.concatenate([given[0][:, :, :features], image], axis=2), *given[1:]]
            taken += sum(array.size for array in given)
            said.append(
                f"{layer.name} is adapted from {format_count(origin.channels, 'channel')} to "
                f"{wanted[0].shape[2]}"
            )
        else:
            taken += sum(array.size for array in given)
        layer.set_weights(given)
    total = model.count_params()
    what = f"all {total:,}" if taken == total else f"{taken:,} of {total:,}"
    return "; ".join([f"{what} parameters start as those of {origin.path}", *said])


def _match_classes(
    given: list[np.ndarray], wanted: list[np.ndarray], old: Sequence[str], new: Sequence[str]
) -> tuple[list[np.ndarray], int]:
    """Kernel and bias of the last layer, with the trained rows of classes with the same name."""
    kernel, bias = (array.copy() for array in wanted)
    kept = [(old.index(name), place) for place, name in enumerate(new) if name in old]
    for source, place in kept:
        kernel[..., place] = given[0][..., source]
        bias[place] = given[1][source]
    return [kernel, bias], len(kept) * (kernel[..., 0].size + 1)


def _describe_classes(old: Sequence[str], new: Sequence[str]) -> list[str]:
    fresh = [name for name in new if name not in old]
    kept = [name for name in new if name in old]
    left = [name for name in old if name not in new]
    said = []
    if fresh:
        said.append(f"new in the last layer: {', '.join(fresh)}")
    if kept and (fresh or left):
        said.append(f"kept there: {', '.join(kept)}")
    if left:
        said.append(f"left out: {', '.join(left)}")
    return said


def _set_statistics(model: keras.Model, images: np.ndarray) -> None:
    """Sets the statistics of each BatchNorm to those of its input, without changing its output.

    y = gamma (x - mean) / deviation + beta stays the same function of x if mean and deviation
    become those of x, gamma / deviation is kept, and beta is adjusted.
    """
    norms = [layer for layer in model.layers if isinstance(layer, BatchNormalization)]
    inside = keras.Model(model.input, [norm.input for norm in norms])
    for norm, features in zip(norms, inside(images, training=False), strict=True):
        gamma, beta, mean, variance = (array.astype(np.float64) for array in norm.get_weights())
        values = keras.ops.convert_to_numpy(features).astype(np.float64)
        slope = gamma / np.sqrt(variance + norm.epsilon)
        offset = beta - slope * mean
        mean, variance = values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))
        gamma = slope * np.sqrt(variance + norm.epsilon)
        norm.set_weights([gamma, offset + slope * mean, mean, variance])


def _differences(origin: Origin, config: RunConfig) -> list[str]:
    """Sentences about differences between the inputs of both networks."""
    said = []
    if origin.normalization != config.normalization:
        said.append(
            f"its input was normalised as {_line(origin.normalization)}, here as "
            f"{_line(config.normalization)}"
        )
    if origin.scale != config.scale:
        said.append(f"its scale was {origin.scale.describe()}, here {config.scale.describe()}")
    return said


def _line(normalization: Normalization) -> str:
    return f"value x {normalization.multiply:.4g} {normalization.add:+.4g}"
