"""A network that starts from another one's weights, and layers of it that stay as they are.

What a network learnt of edges and textures in one set of pictures is worth much in the next one,
where pairs are few. Classes and channels may differ: then the last or the first layer is adapted,
and everything between is taken as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import keras
import numpy as np
from keras import layers

from unetkit._shared import run_folder
from unetkit.data.scale import Scale
from unetkit.errors import ConfigError, DataNotFoundError, ModelFileError
from unetkit.models.onnx_import import read_exported, rebuild
from unetkit.models.spec import Normalization
from unetkit.models.unet import PRESETS, UNetConfig
from unetkit.training.config import RunConfig
from unetkit.training.config_file import read_config
from unetkit.training.export import seen_images, trained_network

FREE = ("dropout", "initializer")  # of a network's fields: they change no weight that is there
HEAD = "logits"


@dataclass(frozen=True)
class Origin:
    """The model that weights come from; `load` builds it, once it is known to be a fitting one.

    Args:
        seen: Reads the digests of the pictures that it, and its own origin, looked at.
    """

    path: Path
    preset: str
    network: UNetConfig
    classes: tuple[str, ...]
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
    """Gives a freshly built network the weights of a trained one.

    At once the network answers as the source does, to rounding. Classes of the same name keep their
    row of the last layer; rows of other classes stay as they were built. Other channels: the first
    convolution is adapted so that a grey picture, the same in all channels, gets the same response.

    An exported file has BatchNorm folded into its convolutions. With `images`, each BatchNorm gets
    the statistics that it has on them, and the gamma and beta which undo that: it answers the same,
    and goes on to do so when training normalises by the batch. Without, it starts as an identity,
    and the first steps throw it off.

    Args:
        model: As `build_unet` made it for `config`.
        source: A run folder or an exported .onnx file; the latter is read, not run.
        config: Of the run that starts: its network, channels, classes, normalisation, scale.
        images: (B, H, W, C) float32 normalised images of its training part.

    Returns:
        A sentence that says what was taken, what is new, what was adapted.

    Raises:
        DataNotFoundError: `source` does not exist, or holds no trained weights.
        ModelFileError: It cannot be read as a unetkit model.
        ConfigError: Its network has another configuration.
    """
    origin = read_origin(Path(source))
    _require_same_network(origin, config)
    trained = origin.load()
    for weight in trained.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise ModelFileError(
                f"{weight.path} of {origin.path} has values that are not finite; accepted are "
                "networks whose training did not diverge; start from another one"
            )
    said = [_take(model, trained, origin, config)]
    if not origin.has_statistics:
        if images is None:
            said.append("its BatchNorm is part of its convolutions, and starts without statistics")
        else:
            _settle(model, images)
            said.append(f"the statistics of BatchNorm are those of {len(images)} training samples")
    return "; ".join([*said, *_differences(origin, config)])


def read_origin(path: Path) -> Origin:
    """What is known of a run folder or an exported file, without building its network.

    Raises:
        DataNotFoundError: It does not exist, or holds no trained weights.
        ModelFileError: It cannot be read as a unetkit model.
    """
    if not path.is_dir():
        exported = read_exported(path)
        spec = exported.spec
        return Origin(
            path,
            spec.preset,
            exported.network,
            spec.classes.names,
            spec.pixels.channels,
            spec.normalization,
            spec.scale,
            exported.network.normalization != "batch",
            lambda: spec.seen,
            lambda: rebuild(exported),
        )
    for name in (run_folder.CONFIG, run_folder.WEIGHTS):
        if not (path / name).is_file():
            raise DataNotFoundError(
                f"{path} holds no {name}; accepted is the folder of a training run that has looked "
                "at its validation part, or an .onnx file; check the path"
            )
    run = read_config(path / run_folder.CONFIG)
    return Origin(
        path,
        run.preset,
        run.network,
        run.classes.names,
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
        remedy = f"train with --preset {presets[0]}, without a [network] of its own"
    elif origin.path.is_dir():
        remedy = f"train with --config {origin.path / run_folder.CONFIG}"
    else:
        remedy = "write its values under [network] in a file for --config"
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
    """Copies what fits, adapts what differs, and says so."""
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
            given, count = _match_classes(given, wanted, origin.classes, config.classes.names)
            taken += count
            said += _describe_classes(origin.classes, config.classes.names)
        elif given[0].shape != wanted[0].shape:
            given = [_match_channels(given[0], wanted[0].shape[2]), *given[1:]]
            taken += sum(array.size for array in given)
            said.append(
                f"{layer.name} is adapted from {origin.channels} channels to {wanted[0].shape[2]}"
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
    """The last layer's kernel and bias, with the rows of classes that have the same name."""
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


def _match_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel for another number of channels that responds alike to what is the same in all.

    Args:
        kernel: (h, w, C, F).

    Returns:
        (h, w, channels, F); its sum over the channels is that of `kernel`.
    """
    share = kernel.sum(axis=2, keepdims=True) / channels
    return np.repeat(share, channels, axis=2)


def _settle(model: keras.Model, images: np.ndarray) -> None:
    """Gives each BatchNorm the statistics of what reaches it, without changing what it answers.

    y = gamma (x - mean) / deviation + beta stays the same line where mean and deviation become
    those of x, gamma / deviation stays, and beta takes up the rest.
    """
    norms = [layer for layer in model.layers if type(layer) is layers.BatchNormalization]
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
    """What reaches the two networks differently."""
    said = []
    if origin.normalization != config.normalization:
        said.append(
            f"its pictures reached it as {_line(origin.normalization)}, these come as "
            f"{_line(config.normalization)}"
        )
    if origin.scale != config.scale:
        said.append(f"its scale was {origin.scale.describe()}, here {config.scale.describe()}")
    return said


def _line(normalization: Normalization) -> str:
    return f"value x {normalization.multiply:.4g} {normalization.add:+.4g}"
