"""Every choice of a training run, in one file that people read and that makes the same run again.

A choice is taken from the command, else from the configuration file, else from the preset and the
data. What was chosen stands, complete, in the run folder's config.toml.
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import tomli_w

from unetkit._version import __version__
from unetkit.data.augmentation import (
    MICROSCOPE_AUGMENTATION,
    NO_AUGMENTATION,
    PHOTO_AUGMENTATION,
    Augmentation,
)
from unetkit.data.classes import Classes
from unetkit.data.dataset import Dataset, Sources
from unetkit.data.scale import Scale
from unetkit.data.splits import SplitRule, require_seed
from unetkit.errors import ConfigError, DataNotFoundError, did_you_mean
from unetkit.io.pixel_format import PixelFormat
from unetkit.losses import combined_loss
from unetkit.models.spec import Normalization
from unetkit.models.unet import UNetConfig, preset_config

Kind = TypeVar("Kind")
Overrides = Mapping[str, Any]


OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
PHOTO_SIZE = 128  # pixels a side: what two cores train in minutes
LARGEST_WHOLE = 256  # sets of one size up to this are seen whole
# A look at the validation part costs about as much as five steps; but the best weights are found
# only by looking.
LEAST_STEPS_PER_VALIDATION, MOST_STEPS_PER_VALIDATION = 20, 200


@dataclass(frozen=True)
class TrainingConfig:
    """How the weights are found.

    Args:
        seed: Of initial weights, order, crops and changes of samples, from 0 to 2^32 - 1.
        steps: Updates of the weights in all.
        steps_per_validation: Updates between two looks at the validation part; another look follows
            the last update.
        batch_size: Samples that the network sees at once.
        accumulation: Batches whose gradients make an update together.
        loss: Weights of the losses that are summed, by name: "cross_entropy", "dice", "tversky",
            "focal", "boundary".
        class_weights: How much each class counts in the losses; empty for all alike.
        optimizer: "adamw", "adam" or "sgd".
        learning_rate: The largest one.
        schedule: "cosine" (after a linear warm-up, down to 0) or "constant".
        warmup: Share of the steps in which the learning rate rises.
        weight_decay: Of AdamW.
        momentum: Of SGD.
        clip_norm: Largest norm of all gradients together; larger ones are scaled down. 0 for none.
        averaging: Decay, an update, of the averaged weights that are scored beside the last ones;
            0 for none.
        patience: Looks without a gain in mean IoU after which training stops; 0 for none.
        start: Run folder or model file whose weights training begins with.
        freeze: Beginnings of the names of layers that stay as they are.
        precision: "float32", "mixed_bfloat16" or "mixed_float16"; in the last, as usual, a batch
            whose gradient overflows half precision is skipped.
        deterministic: Whether the same run gives the same bytes again on the same machine.
        checkpoint_minutes: Between two looks a checkpoint is written after so many minutes.

    Raises:
        ConfigError: A value is not accepted.
    """

    seed: int
    steps: int
    steps_per_validation: int
    batch_size: int
    loss: Mapping[str, float]
    optimizer: str
    learning_rate: float
    schedule: str
    accumulation: int = 1
    class_weights: tuple[float, ...] = ()
    warmup: float = 0.05
    weight_decay: float = 1e-3
    momentum: float = 0.99
    clip_norm: float = 0.0
    averaging: float = 0.0
    patience: int = 0
    start: str | None = None
    freeze: tuple[str, ...] = ()
    precision: str = "float32"
    deterministic: bool = True
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        require_seed(self.seed)
        combined_loss(self.loss, self.class_weights)
        for name, accepted in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            value = getattr(self, name)
            if value not in accepted:
                raise ConfigError(
                    f"{name} is {value!r}; accepted are {', '.join(map(repr, accepted))}"
                    f"{did_you_mean(str(value), accepted)}"
                )
        for name in ("steps", "steps_per_validation", "batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; accepted are whole numbers from 1 up; "
                    "use a larger one"
                )
        if not 0 < self.learning_rate < 10 or not 0 <= self.warmup < 1:
            raise ConfigError(
                f"learning_rate is {self.learning_rate} and warmup {self.warmup}; accepted are "
                "rates between 0 and 10 and shares from 0 to below 1; try 0.003 and 0.05"
            )
        if not 0 <= self.weight_decay < 1 or not 0 <= self.momentum < 1:
            raise ConfigError(
                f"weight_decay is {self.weight_decay} and momentum {self.momentum}; accepted are "
                "values from 0 to below 1; try 0.001 and 0.9"
            )
        if not 0 <= self.averaging < 1:
            raise ConfigError(
                f"averaging is {self.averaging}; accepted are values from 0 to below 1; try 0.99, "
                "or 0 for none"
            )
        for name, zero in (
            ("clip_norm", "for none"),
            ("patience", "for none"),
            ("checkpoint_minutes", "for one after every step"),
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; accepted are numbers from 0 up; use 0 {zero}"
                )


@dataclass(frozen=True)
class Recipe:
    """What a preset is trained with, unless told otherwise."""

    training: Mapping[str, Any]
    normalization: Normalization
    augment: bool
    crop_size: int = 256
    steps: int | None = None
    epochs: int | None = None


RECIPES: dict[str, Recipe] = {
    "fast": Recipe(
        training={
            "batch_size": 16,
            "loss": {"cross_entropy": 1.0, "dice": 1.0},
            "optimizer": "adamw",
            "learning_rate": 3e-3,
            "schedule": "cosine",
        },
        normalization=Normalization(multiply=1 / 127.5, add=-1.0),
        augment=True,
        steps=2500,  # about seven minutes on two cores at 128x128
    ),
    # As the notebook trains: plain Adam for 20 epochs, nothing augmented, photos divided by 256.
    "notebook": Recipe(
        training={
            "batch_size": 32,
            "loss": {"cross_entropy": 1.0},
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "schedule": "constant",
            "warmup": 0.0,
            "weight_decay": 0.0,
        },
        normalization=Normalization(multiply=1 / 256, add=0.0),
        augment=False,
        epochs=20,
    ),
    # Ronneberger et al. 2015, section 3: one large tile a step, momentum 0.99.
    "paper": Recipe(
        training={
            "batch_size": 1,
            "loss": {"cross_entropy": 1.0},
            "optimizer": "sgd",
            "learning_rate": 1e-3,
            "schedule": "constant",
            "warmup": 0.0,
            "weight_decay": 0.0,
        },
        normalization=Normalization(multiply=1 / 255, add=0.0),
        augment=True,
        crop_size=388,
        epochs=20,
    ),
}


@dataclass(frozen=True)
class RunConfig:
    """Everything that was chosen for a run."""

    data: str
    preset: str
    sources: Sources
    classes: Classes
    pixels: PixelFormat
    network: UNetConfig
    scale: Scale
    normalization: Normalization
    split: SplitRule
    augmentation: Augmentation
    training: TrainingConfig


SECTIONS: dict[str, type] = {
    "sources": Sources,
    "classes": Classes,
    "pixels": PixelFormat,
    "network": UNetConfig,
    "scale": Scale,
    "normalization": Normalization,
    "split": SplitRule,
    "augmentation": Augmentation,
    "training": TrainingConfig,
}


def read_config(path: str | Path) -> dict[str, Any]:
    """Reads a configuration file, which may leave out whatever it does not decide.

    Raises:
        DataNotFoundError: The file does not exist.
        ConfigError: It is not TOML, or has a key that is unknown.
    """
    path = Path(path)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataNotFoundError(
            f"configuration {path} cannot be read ({error.strerror}); accepted is a TOML file such "
            "as a run folder's config.toml; check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"configuration {path} is not TOML ({error}); accepted is a file such as a run "
            "folder's config.toml; correct the line"
        ) from error
    check_keys(raw, str(path))
    return raw


def with_preset(values: Overrides, preset: str) -> dict[str, Any]:
    """A configuration's keys under a preset, without what belonged to another one's recipe.

    >>> with_preset({"preset": "fast", "data": "photos", "training": {"steps": 9}}, "notebook")
    {'preset': 'notebook', 'data': 'photos'}
    """
    recipe = ("network", "normalization", "augmentation", "training")
    if values.get("preset", preset) != preset:
        values = {key: value for key, value in values.items() if key not in recipe}
    return {**values, "preset": preset}


def check_keys(raw: Overrides, source: str) -> None:
    """Refuses keys that no run has, with a suggestion.

    Raises:
        ConfigError: A key is unknown, or a section is not a table.
    """
    known = [entry.name for entry in fields(RunConfig)]
    for key, value in raw.items():
        _require_known(key, known, source)
        if key in SECTIONS:
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{key} in {source} is {value!r}; accepted is a table; write [{key}] above its "
                    "keys"
                )
            names = [entry.name for entry in fields(SECTIONS[key])]
            for inner in value:
                _require_known(inner, names, f"[{key}] of {source}")
        else:
            _checked(key, value, str, source)


def _require_known(key: str, known: list[str], where: str) -> None:
    if key not in known:
        raise ConfigError(
            f"key {key!r} in {where} is unknown; accepted are {', '.join(known)}"
            f"{did_you_mean(key, known)}"
        )


def config_from_file(path: str | Path) -> RunConfig:
    """Reads the complete configuration of a run.

    Raises:
        DataNotFoundError, ConfigError: As `read_config`, or a key is missing.
    """
    raw = read_config(path)
    missing = [entry.name for entry in fields(RunConfig) if entry.name not in raw]
    if missing:
        raise ConfigError(
            f"{path} lacks {', '.join(missing)}; accepted is a run's complete config.toml; "
            "train the run again"
        )
    sections: dict[str, Any] = {
        name: build(kind, {}, raw[name], str(path)) for name, kind in SECTIONS.items()
    }
    return RunConfig(data=raw["data"], preset=raw["preset"], **sections)


def config_to_toml(config: RunConfig) -> str:
    """The file that `read_config` reads."""
    header = (
        f"# Written by unetkit {__version__}. The same run again:\n"
        "# unetkit train --config config.toml\n\n"
    )
    return header + tomli_w.dumps(_without_none(asdict(config)))


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }


def build(kind: type[Kind], defaults: Any, given: Overrides, source: str) -> Kind:
    """Makes a section's dataclass from defaults and what is given, checking types.

    Args:
        defaults: An instance of `kind`, or a mapping.

    Raises:
        ConfigError: A value has the wrong type, or one that has no default is missing.
    """
    values: dict[str, Any] = dict(defaults) if isinstance(defaults, Mapping) else asdict(defaults)
    values.update(given)
    checked = {}
    for entry in fields(kind):  # type: ignore[arg-type]
        if entry.name in values:
            checked[entry.name] = _checked(entry.name, values[entry.name], entry.type, source)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            raise ConfigError(
                f"{entry.name} is missing in {source}; accepted is a complete [{kind.__name__}]; "
                "add it"
            )
    return kind(**checked)


def _checked(name: str, value: Any, kind: Any, source: str) -> Any:
    """A value from a file as its field's type, if it is one."""
    if isinstance(value, list):
        value = tuple(tuple(inner) if isinstance(inner, list) else inner for inner in value)
    if not _fits(value, kind):
        wanted = kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)
        raise ConfigError(f"{name} in {source} is {value!r}; accepted is {wanted}; correct it")
    return float(value) if kind is float else value


def _fits(value: Any, kind: Any) -> bool:
    if kind is float:
        return type(value) in (int, float)
    if get_origin(kind) is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(v, get_args(kind)[1]) for v in value.values()
        )
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        if inner[-1] is not Ellipsis:
            is_long = isinstance(value, tuple) and len(value) == len(inner)
            return is_long and all(map(_fits, value, inner))
        return isinstance(value, tuple) and all(_fits(v, inner[0]) for v in value)
    if get_args(kind):  # `int | None`
        return any(_fits(value, option) for option in get_args(kind))
    return type(value) is kind


def choose_config(
    dataset: Dataset,
    sizes: Sequence[tuple[int, int]],
    classes: Classes,
    pixels: PixelFormat,
    overrides: Overrides,
    *,
    epochs: int | None = None,
) -> RunConfig:
    """Completes what was asked for with what the preset and the data suggest.

    Args:
        sizes: (height, width) of each training image.
        classes: What the masks mean.
        pixels: What the images are.
        overrides: The keys of a configuration that are decided, as `read_config` or `check_keys`
            accept them.
        epochs: Passes over the training pairs, in place of `training.steps`.

    Raises:
        ConfigError: A key or value is not accepted.
    """
    preset = overrides.get("preset", "fast")
    network = choose_network(overrides)
    recipe = RECIPES[preset]
    scale = build(
        Scale, choose_scale(sizes, network, recipe), overrides.get("scale", {}), "[scale]"
    )
    augmentation = NO_AUGMENTATION
    if recipe.augment:
        augmentation = MICROSCOPE_AUGMENTATION if scale.is_native else PHOTO_AUGMENTATION
    chosen_classes = build(Classes, classes, decided_classes(overrides), "[classes]")
    samples = samples_per_epoch(sizes, scale)
    training = _training(recipe, overrides.get("training", {}), samples, epochs)
    if training.class_weights and len(training.class_weights) != len(chosen_classes):
        raise ConfigError(
            f"class_weights are {len(training.class_weights)} and classes {len(chosen_classes)} "
            f"({', '.join(chosen_classes.names)}); accepted is a weight for each class; correct "
            "them, or leave them to --class-weights auto"
        )
    return RunConfig(
        data=str(dataset.source.resolve()),
        preset=preset,
        sources=choose_sources(overrides),
        classes=chosen_classes,
        pixels=_choose_pixels(pixels, overrides),
        network=network,
        scale=scale,
        normalization=build(
            Normalization,
            recipe.normalization,
            overrides.get("normalization", {}),
            "[normalization]",
        ),
        split=choose_split(overrides),
        augmentation=build(
            Augmentation, augmentation, overrides.get("augmentation", {}), "[augmentation]"
        ),
        training=training,
    )


def choose_network(overrides: Overrides) -> UNetConfig:
    """The network that is asked for.

    Raises:
        ConfigError: An unknown preset, or a value that is not accepted.
    """
    preset = preset_config(overrides.get("preset", "fast"))
    return build(UNetConfig, preset, overrides.get("network", {}), "[network]")


def choose_split(overrides: Overrides) -> SplitRule:
    """The rule by which pairs are cut into parts.

    Raises:
        ConfigError: A value is not accepted.
    """
    rule = build(SplitRule, SplitRule(), overrides.get("split", {}), "[split]")
    # As a whole path, so that a run's configuration makes the same run from any folder.
    return rule if rule.file is None else replace(rule, file=str(Path(rule.file).resolve()))


def _choose_pixels(pixels: PixelFormat, overrides: Overrides) -> PixelFormat:
    """The pixel format of the data, but for what is decided; one rule says where channels are."""
    chosen = build(PixelFormat, pixels, overrides.get("pixels", {}), "[pixels]")
    axis = choose_sources(overrides).channel_axis
    if chosen.channel_axis != axis:
        raise ConfigError(
            f"channel_axis is {axis!r} in [sources] and {chosen.channel_axis!r} in [pixels]; "
            "accepted is the same in both; correct one of them"
        )
    return chosen


def choose_sources(overrides: Overrides) -> Sources:
    """Which files are images and which masks.

    Raises:
        ConfigError: A value is not accepted.
    """
    return build(Sources, Sources(), overrides.get("sources", {}), "[sources]")


def decided_classes(overrides: Overrides) -> dict[str, Any]:
    """What the configuration says of the classes, as arguments of `Classes`.

    Raises:
        ConfigError: A value has the wrong type.
    """
    types = {entry.name: entry.type for entry in fields(Classes)}
    return {
        name: _checked(name, value, types[name], "[classes]")
        for name, value in overrides.get("classes", {}).items()
    }


def choose_scale(sizes: Sequence[tuple[int, int]], network: UNetConfig, recipe: Recipe) -> Scale:
    """The scale policy that suits pictures of these sizes.

    Pictures of many sizes are photos: `resize`. Pictures of one size are seen whole if that is
    small, and else cropped at their own scale: `native`.
    """
    step = network.geometry.stride
    if len(set(sizes)) > 1:
        return Scale("resize", PHOTO_SIZE, PHOTO_SIZE)
    height, width = sizes[0]
    if max(height, width) <= LARGEST_WHOLE:
        return Scale("resize", -(-height // step) * step, -(-width // step) * step)
    return Scale("native", min(recipe.crop_size, height), min(recipe.crop_size, width))


def samples_per_epoch(sizes: Sequence[tuple[int, int]], scale: Scale) -> int:
    """Samples that together cover about every pixel of the training pairs once."""
    if not scale.is_native:
        return len(sizes)
    windows = [
        max(1.0, height * width * scale.factor**2 / (scale.height * scale.width))
        for height, width in sizes
    ]
    return round(sum(windows))


def _training(recipe: Recipe, given: Overrides, samples: int, epochs: int | None) -> TrainingConfig:
    defaults = {"seed": 0, "steps": 1, "steps_per_validation": 1, **recipe.training}
    if isinstance(given.get("loss"), str):
        given = {**given, "loss": {given["loss"]: 1.0}}
    asked = build(TrainingConfig, defaults, given, "[training]")
    samples_per_step = asked.batch_size * asked.accumulation
    steps_per_epoch = -(-samples // samples_per_step)
    if epochs is None and recipe.steps is None:
        epochs = recipe.epochs
    steps = recipe.steps or 1
    if "steps" in given:
        steps = asked.steps
    elif epochs is not None:
        steps = -(-epochs * samples // samples_per_step)
    per_validation = asked.steps_per_validation
    if "steps_per_validation" not in given:
        whole_epochs = -(-LEAST_STEPS_PER_VALIDATION // steps_per_epoch) * steps_per_epoch
        per_validation = min(whole_epochs, MOST_STEPS_PER_VALIDATION)
    return replace(asked, steps=steps, steps_per_validation=per_validation)
