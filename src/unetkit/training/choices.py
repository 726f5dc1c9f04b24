"""Completion of given choices to the configuration of a run.

Arguments and options override the configuration file; open values are taken from the model that
training starts from, the preset and the data. Every pair is examined before training, and an issue
that would spoil the training stops it here.
"""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit._shared.manifest import PairRecord, data_digest, data_record
from unetkit._shared.wording import format_count
from unetkit.checks.examine import DatasetReport, check_sound, examine
from unetkit.checks.report import class_fractions
from unetkit.data.augmentation import (
    MICROSCOPE_AUGMENTATION,
    NO_AUGMENTATION,
    PHOTO_AUGMENTATION,
)
from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.data.pairs import Dataset
from unetkit.data.scale import Scale
from unetkit.data.sources import Sources
from unetkit.data.splits import Split, SplitRule
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.io.pixel_format import PixelFormat
from unetkit.losses import balanced_weights
from unetkit.models.efficientnet_lite0 import has_pretrained_weights
from unetkit.models.encoders import ENCODER_NORMALIZATION, ENCODERS, WEIGHTS_ENDING
from unetkit.models.unet import UNetConfig, preset_config
from unetkit.objects.separation import NO_OBJECTS
from unetkit.training import backend
from unetkit.training.config import (
    AUTO,
    LEAST_STEPS_PER_VALIDATION,
    RECIPES,
    Choices,
    Recipe,
    RunConfig,
    Section,
    TrainingConfig,
)
from unetkit.training.config_file import parse_choices, parse_values, read_choices
from unetkit.training.fine_tuning import read_origin
from unetkit.training.scale_choice import (
    ImageSizes,
    choose_network_for,
    choose_scale,
    image_sizes,
    samples_per_epoch,
    valid_scale,
)

SAID = ("labels", "no-data", "blended", "blocks")  # notes on what is read, which training repeats
DEFAULT_METHOD = "distance"  # to tell objects apart, where masks hold instances (docs/log.md)
MOST_STEPS_PER_VALIDATION = 200  # the best weights are found only by validating


@dataclass(frozen=True)
class TrainingData:
    """Examined pairs of a run.

    Args:
        report: Report on the data set; none of its errors affects the training.
        split: Pairs for training, validation and test.
        reasons: A sentence for each value of the configuration that the data decided.
    """

    report: DatasetReport
    split: Split
    reasons: tuple[str, ...] = ()


def check_length(epochs: int | None, minutes: float | None) -> None:
    """Checks the length of a training.

    Raises:
        ConfigError: Both are given, or one is not above 0.
    """
    if epochs is not None and minutes is not None:
        raise ConfigError(
            f"epochs is {epochs} and minutes {minutes:g}; accepted is one of them; leave one out"
        )
    for name, value in (("epochs", epochs), ("minutes", minutes)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value:g}; accepted are numbers above 0")


def gather_choices(
    config: str | Path | Mapping[str, Any] | Choices | None,
    *,
    data: str | Path | None = None,
    preset: str | None = None,
    size: int | tuple[int, int] | None = None,
    seed: int | None = None,
) -> Choices:
    """Puts arguments and a configuration together; arguments override the configuration.

    Args:
        config: Configuration file, the same keys as nested mappings, or checked choices.
        data: Folder or table of pairs.
        preset: Name of the preset.
        size: Input size of the network in pixels: a side, or (height, width).
        seed: Seed of the split, the weights and the samples.

    Raises:
        DataNotFoundError: The configuration file or the start does not exist.
        ConfigError: A key, type or preset is not accepted, or no data are given.
        ModelFileError: The model to start from is damaged.
    """
    if config is None or isinstance(config, Choices):
        choices = config or Choices()
    elif isinstance(config, Mapping):
        choices = parse_choices(config, "the options")
    else:
        choices = read_choices(config)
    if data is not None:
        choices = replace(choices, data=str(data))
    if preset is not None:
        choices = choices.with_preset(preset)
    if size is not None:
        height, width = size if isinstance(size, tuple | list) else (size, size)
        scale = parse_values(Scale, {"height": height, "width": width}, "size")
        choices = choices.updated(scale=scale)
    if seed is not None:
        value = parse_values(SplitRule, {"seed": seed}, "the options")
        choices = choices.updated(split=value, training=value)
    if choices.data is None:
        raise ConfigError("no data are given; accepted is a folder of images and masks")
    start = choices.training.given.get("start")
    if start is not None:
        choices = _as_origin(choices, Path(start))
    choose_network(choices)  # a wrong preset is refused before the data are read
    return choices


def _as_origin(choices: Choices, start: Path) -> Choices:
    """The same choices, with open values of network and input taken from the start."""
    origin = read_origin(start)
    if choices.preset not in (None, origin.preset):
        return choices
    return replace(
        choices,
        preset=origin.preset,
        network=choices.network.over(origin.network),
        normalization=choices.normalization.over(origin.normalization),
        scale=choices.scale.over(origin.scale),
    )


def find_chosen_dataset(choices: Choices) -> Dataset:
    """The pairs of the data that are chosen.

    Raises:
        DataNotFoundError, DataError: The data cannot be used.
        ConfigError: A value of [sources] is not accepted.
    """
    return find_dataset(choices.data or "", choose_sources(choices), for_training=True)


def find_moved_dataset(run: Path, data: str, sources: Sources) -> Dataset:
    """Finds the data of a run that is resumed.

    Raises:
        DataNotFoundError: They are not at this path; the message names the option for another one.
        DataError: They cannot be used.
    """
    if not Path(data).exists():
        command = shlex.join(["unetkit", "train", "--resume", str(run), "--data", "NEW"])
        raise DataNotFoundError(
            f"the data of {run} are not at {data}; accepted is the folder or table that the run "
            f"was started with; if it was moved to NEW, use: {command}"
        )
    return find_dataset(data, sources)


def prepare(
    dataset: Dataset,
    choices: Choices,
    epochs: int | None,
    device: str,
    display: Display,
    started: Path | None = None,
) -> tuple[TrainingData, RunConfig]:
    """Examines the pairs, completes the configuration, and displays both.

    Args:
        dataset: Pairs of the run.
        choices: Choices of `gather_choices`.
        epochs: Number of passes over the training pairs, in place of `training.steps`.
        device: Device of the training.
        display: Shows progress and warnings.
        started: Run folder of a run that is resumed, whose data these have to be; None for a new
            one.

    Raises:
        DataError: An issue would spoil the training, or the data are not those of `started`.
        ConfigError: A key or value is not accepted.
    """
    sources = choose_sources(choices)
    found = examine(dataset, sources, choose_split(choices), choices.classes.given, display)
    if started is not None:
        require_same_data(started, found)
    check_sound(found)
    for issue in found.issues:
        if issue.level != "note" or issue.code in SAID:
            display.warn(f"{issue.text}; {issue.remedy}")
    # No error is left: all three are set.
    split, classes, pixels = found.split, found.classes, found.format
    if split is None or classes is None or pixels is None:
        raise DataError(
            f"{dataset.source} holds no pair that can be used; accepted are pairs of image and "
            f"mask; run: unetkit check {dataset.source}"
        )
    train = {pair.name for pair in split.train}
    config, reasons = choose_config(
        dataset,
        [image_sizes(stats, classes) for stats in found.good if stats.pair.name in train],
        classes,
        pixels,
        _without_auto(choices, found, device),
        epochs=epochs,
    )
    counts = ", ".join(f"{len(pairs)} {name}" for name, pairs in split.splits.items())
    how = config.split.file or (
        "as the data say" if dataset.splits else f"seed {config.split.seed}"
    )
    display.say(
        f"data      {dataset.source}: {format_count(dataset.pairs, 'pair')}; {counts} ({how})"
    )
    display.say(f"masks     {config.classes.kind}: {config.classes.describe()}")
    display.say(f"images    {config.pixels.describe()}")
    display.say(f"scale     {config.scale.describe()}")
    for reason in reasons:
        display.say(f"because   {reason}")
    return TrainingData(found, split, tuple(reasons)), config


def _without_auto(choices: Choices, found: DatasetReport, device: str) -> Choices:
    """The same choices, with values computed from the data or the device in place of AUTO."""
    decided: dict[str, Any] = {}
    reasons = choices.reasons
    given = choices.training.given
    if given.get("class_weights") == AUTO:
        fractions = class_fractions(found)["train"]["classes"]
        decided["class_weights"] = balanced_weights(np.array(list(fractions.values())))
    recipe = RECIPES[choices.preset or default_preset(choices)]
    # On GPUs, half precision gains nothing with so few pixels in a batch (docs/log.md).
    by_default = AUTO if device.startswith(backend.CPU) and not recipe.is_published else None
    if given.get("precision", by_default) == AUTO:
        decided["precision"] = backend.fastest_precision(device)
        if decided["precision"] != recipe.training.precision:
            reasons += (f"precision {decided['precision']}: {device} computes faster in it",)
    return replace(choices.updated(training=decided), reasons=reasons)


def require_same_data(run: Path, found: DatasetReport) -> None:
    """Refuses to resume a run with other data than it was started with.

    Raises:
        DataError: The pairs, their files' contents or their splits differ.
    """
    if not (run / run_folder.SPLIT).exists():
        return
    digests = found.digests()
    digest = data_digest(
        PairRecord(part, pair.name, **digests[pair.name])
        for part, pairs in (found.split.splits.items() if found.split else ())
        for pair in pairs
    )
    if digest != data_record(run)["sha256"]:
        source = found.dataset.source
        verify = shlex.join(["unetkit", "verify", str(run), "--data", str(source)])
        raise DataError(
            f"{source} no longer holds the files that {run} was started with; accepted are the "
            f"same files in the same splits; see what has changed with {verify} and restore it, or "
            f"train a new run: {shlex.join(['unetkit', 'train', str(source)])}"
        )


def choose_config(
    dataset: Dataset,
    images: Sequence[ImageSizes],
    classes: Classes,
    pixels: PixelFormat,
    choices: Choices,
    *,
    epochs: int | None = None,
) -> tuple[RunConfig, list[str]]:
    """Completes the choices from the preset and the data.

    Args:
        dataset: Pairs of the run.
        images: Sizes of each training image and of its objects.
        classes: Classes of the masks.
        pixels: Pixel format of the images.
        choices: Given values, without AUTO.
        epochs: Number of passes over the training pairs, in place of `training.steps`.

    Returns:
        The configuration, and a sentence for each choice that the data decided.

    Raises:
        ConfigError: A value is not accepted.
    """
    reasons = list(choices.reasons)
    preset = choices.preset or default_preset(choices)
    network = choose_network(choices)
    recipe = RECIPES[preset]
    chosen_classes = choices.classes.complete(classes)
    method = DEFAULT_METHOD if chosen_classes.kind == "instances" else NO_OBJECTS.method
    objects = choices.objects.complete(replace(NO_OBJECTS, method=method))
    fitting, why = choose_scale(images, network, recipe, tells_apart=objects.finds_objects)
    scale = choices.scale.complete(fitting)
    if "policy" not in choices.scale.given:
        reasons.append(f"scale {scale.policy}: {why}")
    if choices.preset is None:
        reasons.append(f"preset {preset}: {_why_preset(choices)}")
    if "filters" not in choices.network.given:
        fitting_network, why_network = choose_network_for(images, scale, preset)
        network = choices.network.complete(fitting_network)
        reasons += why_network
    valid = valid_scale(scale, network)
    if valid != scale:
        reasons.append(
            f"size {scale.height}x{scale.width} becomes {valid.height}x{valid.width}: the network "
            f"takes multiples of {network.geometry.stride}"
        )
        scale = valid
    augmentation = NO_AUGMENTATION
    if recipe.augment:
        augmentation = MICROSCOPE_AUGMENTATION if scale.is_native else PHOTO_AUGMENTATION
    samples = samples_per_epoch([image.size for image in images], scale)
    if scale.is_native and recipe.crop_batch:
        by_crops = replace(recipe.training, batch_size=recipe.crop_batch)
        recipe = replace(recipe, training=by_crops)
    training = _choose_training(recipe, choices.training, samples, epochs)
    if training.class_weights and len(training.class_weights) != len(chosen_classes):
        raise ConfigError(
            f"class_weights has {format_count(training.class_weights, 'value')} for "
            f"{len(chosen_classes)} "
            f"classes ({', '.join(chosen_classes.names)}); accepted is one weight per class, or "
            "--class-weights auto"
        )
    has_instances = chosen_classes.kind == "instances" or any(
        pair.source.has_shapes for pair in dataset.pairs
    )
    if "method" not in choices.objects.given and objects.finds_objects:
        reasons.append(f"objects are told apart by {objects.method}: the masks hold instances")
    of_recipe = recipe.border_weight
    if objects.method == "ridge" and not of_recipe.w0:
        of_recipe = RECIPES["paper"].border_weight
    border_weight = choices.border_weight.complete(of_recipe)
    if border_weight.w0 and not has_instances:
        reasons.append(
            "weights between objects: the masks hold no instances, so connected regions of each "
            "class serve as objects"
        )
    config = RunConfig(
        data=str(dataset.source.resolve()),
        preset=preset,
        sources=_with_blocks(choose_sources(choices), dataset),
        classes=chosen_classes,
        pixels=_choose_pixels(pixels, choices),
        network=network,
        scale=scale,
        normalization=choices.normalization.complete(
            recipe.normalization if network.has_own_encoder else ENCODER_NORMALIZATION
        ),
        split=choose_split(choices),
        augmentation=choices.augmentation.complete(augmentation),
        training=training,
        border_weight=border_weight,
        objects=objects,
    )
    return config, reasons


def choose_network(choices: Choices) -> UNetConfig:
    """Configuration of the network.

    Raises:
        ConfigError: The preset is unknown, or a value is not accepted.
    """
    return choices.network.complete(preset_config(choices.preset or default_preset(choices)))


def default_preset(choices: Choices) -> str:
    """The preset for choices without one.

    It is "pretrained" if [network] has a pretrained encoder; or if the weights of the preset's own
    encoder are installed, and no value of [network], which would belong to a network from scratch,
    is given; else "fast".
    """
    if "encoder" in choices.network.given:
        return "pretrained" if choices.network.given["encoder"] in ENCODERS else "fast"
    is_pretrained = has_pretrained_weights() and not choices.network.given
    return "pretrained" if is_pretrained else "fast"


def _why_preset(choices: Choices) -> str:
    if choices.network.given.get("encoder") in ENCODERS:
        return f"the encoder {choices.network.given['encoder']} is a pretrained one"
    if choices.network.given:
        return "[network] describes a network from scratch"
    if has_pretrained_weights():
        return "weights of ImageNet are installed"
    return "weights of ImageNet are not installed"


def choose_sources(choices: Choices) -> Sources:
    """Rules for which files are images and which are masks.

    Raises:
        ConfigError: A value is not accepted.
    """
    return choices.sources.complete(Sources())


def _with_blocks(sources: Sources, dataset: Dataset) -> Sources:
    """The same rules, with the blocks that were chosen."""
    if dataset.blocks is None:
        return sources
    return replace(sources, blocks=dataset.blocks[0], gap=dataset.blocks[1])


def choose_split(choices: Choices) -> SplitRule:
    """Rule for the split, with an absolute path of its file.

    Raises:
        ConfigError: A value is not accepted.
    """
    rule = choices.split.complete(SplitRule())
    return rule if rule.file is None else replace(rule, file=str(Path(rule.file).resolve()))


def _choose_pixels(pixels: PixelFormat, choices: Choices) -> PixelFormat:
    """The pixel format of the data, completed; only one channel axis may be given."""
    chosen = choices.pixels.complete(pixels)
    axis = choose_sources(choices).channel_axis
    if chosen.channel_axis != axis:
        raise ConfigError(
            f"channel_axis is {axis!r} in [sources] and {chosen.channel_axis!r} in [pixels]; "
            "accepted is the same in both"
        )
    return chosen


def _choose_training(
    recipe: Recipe, section: Section[TrainingConfig], samples: int, epochs: int | None
) -> TrainingConfig:
    asked = section.complete(recipe.training)
    samples_per_step = asked.batch_size * asked.accumulation
    steps_per_epoch = -(-samples // samples_per_step)
    steps = asked.steps
    if epochs is None:
        epochs = recipe.epochs
    if "steps" not in section.given:
        if asked.minutes:
            steps = 0
        elif epochs is not None:
            steps = -(-epochs * samples // samples_per_step)
    per_validation = asked.steps_per_validation
    if "steps_per_validation" not in section.given and not steps:
        per_validation = 0
    elif "steps_per_validation" not in section.given:
        whole_epochs = -(-LEAST_STEPS_PER_VALIDATION // steps_per_epoch) * steps_per_epoch
        per_validation = min(whole_epochs, MOST_STEPS_PER_VALIDATION)
    weights = asked.encoder_weights
    if weights.endswith(WEIGHTS_ENDING):
        weights = str(Path(weights).resolve())
    return replace(asked, steps=steps, steps_per_validation=per_validation, encoder_weights=weights)
