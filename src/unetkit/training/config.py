"""Configuration of a training run: its sections, the presets' recipes, and partly given values.

`RunConfig` is complete and is what a run folder's config.toml holds. `Choices` holds what a user
gave, checked for type, with everything else left open. `config_file` makes both from files and
mappings; `choices` completes the second to the first.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

from unetkit.data.augmentation import Augmentation
from unetkit.data.classes import Classes
from unetkit.data.scale import Scale
from unetkit.data.sources import Sources
from unetkit.data.splits import SplitRule, require_seed
from unetkit.errors import ConfigError, did_you_mean
from unetkit.io.pixel_format import PixelFormat
from unetkit.losses import combined_loss
from unetkit.models.encoders import ENCODER_NORMALIZATION, IMAGENET, RANDOM, WEIGHTS_ENDING
from unetkit.models.spec import Normalization
from unetkit.models.unet import UNetConfig
from unetkit.objects.border_weights import NO_BORDER_WEIGHT, BorderWeight
from unetkit.objects.separation import NO_OBJECTS, ObjectRule

Kind = TypeVar("Kind")

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant")
KEPT_WEIGHTS = ("best", "last")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
LEAST_STEPS_PER_VALIDATION = 20  # a pass takes about as long as five updates
AUTO = "auto"  # leaves a value to the data or the device
AUTOMATIC = ("class_weights", "precision")  # fields of [training] that accept AUTO


@dataclass(frozen=True)
class TrainingConfig:
    """How the weights are trained.

    Args:
        seed: Seed of initial weights, sample order, crops and augmentation, from 0 to 2^32 - 1.
        steps: Number of weight updates in the whole training; 0 if `minutes` decide, until a tenth
            of them has passed.
        steps_per_validation: Number of updates between two validation passes; one more pass follows
            the last update. 0 if it is computed together with `steps`.
        batch_size: Number of samples in a batch.
        class_crops: Fraction of the crops of large images that have a pixel of a class drawn from
            those of the image but its commonest; the others lie anywhere.
        accumulation: Number of batches whose gradients are combined into one update.
        loss: Weight of each loss in the sum that is minimized, by name: "cross_entropy", "dice",
            "tversky", "focal", "boundary".
        class_weights: Weight of each class in the losses; empty for equal weights.
        optimizer: "adamw", "adam" or "sgd".
        learning_rate: Peak learning rate, between 0 and 10.
        schedule: Learning rate schedule: "cosine" (linear warm-up, then cosine decay to 0) or
            "constant".
        warmup: Fraction of the steps with a rising learning rate; used by "cosine" only.
        decay_from: Number of updates before which the learning rate does not decay; used by
            "cosine" only. With `minutes`, those after which `steps` was computed.
        minutes: Time for all updates and validation passes, from which `steps` is computed; 0 if
            `steps` was given.
        weight_decay: Weight decay; used by AdamW only.
        momentum: Momentum; used by SGD only.
        clip_norm: Largest global norm of the gradients; larger ones are scaled down. 0 for no
            clipping.
        averaging: Decay per update of the exponential moving average of the weights, which is
            validated beside the current weights; 0 for no average.
        keep: Which weights are kept: "best", those of the validation pass with the best score; or
            "last", for validation pairs that are too few to choose by.
        patience: Number of validation passes without a better result after which training stops;
            0 to never stop early, as with the last weights.
        start: Run folder or model file with the initial weights; None for random ones.
        encoder_weights: Initial weights of a pretrained encoder: "imagenet", "random", or the path
            of a file in a format of Keras, PATH.h5; used with such an encoder only, and not with
            `start`.
        encoder_rate: Factor of the learning rate of a pretrained encoder, from 0 to 1.
        freeze: Prefixes of the names of layers whose weights are not trained.
        precision: "float32", "mixed_bfloat16" or "mixed_float16"; with the last, a batch whose
            gradients overflow half precision is skipped. Unless given, "pretrained" and "fast" use
            "mixed_bfloat16" on CPUs that have instructions for it.
        deterministic: Whether to compute reproducibly: the same run gives the same bytes on the
            same machine.
        checkpoint_minutes: Largest time between two checkpoints, in minutes; each validation pass
            writes one, too.

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
    class_crops: float = 0.0
    accumulation: int = 1
    class_weights: tuple[float, ...] = ()
    warmup: float = 0.05
    decay_from: int = 0
    minutes: float = 0.0
    weight_decay: float = 1e-3
    momentum: float = 0.99
    clip_norm: float = 0.0
    averaging: float = 0.0
    keep: str = "best"
    patience: int = 0
    start: str | None = None
    encoder_weights: str = IMAGENET
    encoder_rate: float = 1.0
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
            ("keep", KEPT_WEIGHTS),
        ):
            value = getattr(self, name)
            if value not in accepted:
                raise ConfigError(
                    f"{name} is {value!r}; accepted are {', '.join(map(repr, accepted))}"
                    f"{did_you_mean(str(value), accepted)}"
                )
        named = (IMAGENET, RANDOM)
        if self.encoder_weights not in named and not self.encoder_weights.endswith(WEIGHTS_ENDING):
            raise ConfigError(
                f"encoder_weights is {self.encoder_weights!r}; accepted are "
                f"{', '.join(map(repr, named))} and the path of a file, PATH{WEIGHTS_ENDING}"
                f"{did_you_mean(self.encoder_weights, named)}"
            )
        if not 0 <= self.minutes < math.inf or self.decay_from < 0:
            raise ConfigError(
                f"minutes is {self.minutes} and decay_from {self.decay_from}; accepted are numbers "
                "of 0 or more"
            )
        is_open = self.minutes > 0 and self.steps == 0
        for name in ("steps", "steps_per_validation", "batch_size", "accumulation"):
            least = 0 if is_open and name.startswith("steps") else 1
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; accepted are whole numbers of 1 or more"
                )
        # A run by minutes may be shorter than its warm-up.
        most_warmup = math.inf if self.decay_from else 1
        if not 0 < self.learning_rate < 10 or not 0 <= self.warmup < most_warmup:
            raise ConfigError(
                f"learning_rate is {self.learning_rate} and warmup {self.warmup}; accepted are "
                "learning rates between 0 and 10 and warm-up fractions from 0 to below 1; try "
                "0.003 and 0.05"
            )
        if not 0 <= self.weight_decay < 1 or not 0 <= self.momentum < 1:
            raise ConfigError(
                f"weight_decay is {self.weight_decay} and momentum {self.momentum}; accepted are "
                "values from 0 to below 1; try 0.001 and 0.9"
            )
        for name, value in (("encoder_rate", 0.1), ("class_crops", 0.3)):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; accepted are values from 0 to 1; try {value}"
                )
        if not 0 <= self.averaging < 1:
            raise ConfigError(
                f"averaging is {self.averaging}; accepted are values from 0 to below 1; try 0.99, "
                "or 0 for no average"
            )
        if self.patience and self.keep == "last":
            raise ConfigError(
                f"patience is {self.patience} and keep 'last'; accepted is patience with keep "
                "'best' only; leave one of them out"
            )
        for name, zero in (
            ("clip_norm", "for no clipping"),
            ("patience", "to never stop early"),
            ("checkpoint_minutes", "for one after every step"),
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; accepted are numbers of 0 or more; use 0 "
                    f"{zero}"
                )


@dataclass(frozen=True)
class RunConfig:
    """Complete configuration of a run."""

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
    border_weight: BorderWeight = NO_BORDER_WEIGHT
    objects: ObjectRule = NO_OBJECTS

    @property
    def needs_objects(self) -> bool:
        """Whether objects have to be numbered for training."""
        return self.border_weight.w0 > 0 or self.objects.finds_objects


KEYS = tuple(entry.name for entry in fields(RunConfig))
SECTIONS: dict[str, type] = {
    entry.name: entry.type
    for entry in fields(RunConfig)
    if isinstance(entry.type, type) and is_dataclass(entry.type)
}


@dataclass(frozen=True)
class Section(Generic[Kind]):
    """Values given for some fields of a section; all others are open.

    Args:
        kind: Dataclass of the complete section.
        given: Given values by field name, each of its field's type, or AUTO for the fields in
            AUTOMATIC.
    """

    kind: type[Kind]
    given: Mapping[str, Any] = field(default_factory=dict)

    def complete(self, defaults: Kind) -> Kind:
        """The section with every open field taken from `defaults`.

        Raises:
            ConfigError: A value is not accepted.
        """
        return replace(defaults, **self.given)  # type: ignore[type-var]

    def over(self, defaults: Kind) -> "Section[Kind]":
        """The section with the values of `defaults` as given, unless others are."""
        return Section(self.kind, {**vars(defaults), **self.given})

    def updated(self, values: Mapping[str, Any]) -> "Section[Kind]":
        return Section(self.kind, {**self.given, **values})

    def without(self, name: str) -> "Section[Kind]":
        return Section(self.kind, {k: v for k, v in self.given.items() if k != name})


@dataclass(frozen=True)
class Choices:
    """What options, arguments or a configuration file give for a run; everything else is open.

    The fields are those of `RunConfig`; None is an open one.
    """

    data: str | None = None
    preset: str | None = None
    sources: Section[Sources] = Section(Sources)
    classes: Section[Classes] = Section(Classes)
    pixels: Section[PixelFormat] = Section(PixelFormat)
    network: Section[UNetConfig] = Section(UNetConfig)
    scale: Section[Scale] = Section(Scale)
    normalization: Section[Normalization] = Section(Normalization)
    split: Section[SplitRule] = Section(SplitRule)
    augmentation: Section[Augmentation] = Section(Augmentation)
    training: Section[TrainingConfig] = Section(TrainingConfig)
    border_weight: Section[BorderWeight] = Section(BorderWeight)
    objects: Section[ObjectRule] = Section(ObjectRule)
    reasons: tuple[str, ...] = ()  # comments of the file that a run wrote

    @classmethod
    def of(cls, config: RunConfig) -> "Choices":
        """Every value of a complete configuration, as given."""
        sections: dict[str, Any] = {
            name: Section(kind, vars(getattr(config, name))) for name, kind in SECTIONS.items()
        }
        return cls(config.data, config.preset, **sections)

    def with_preset(self, preset: str) -> "Choices":
        """The same choices under a preset, without those that belong to another preset's recipe."""
        kept = self
        if self.preset not in (None, preset):
            recipe = ("network", "normalization", "augmentation", "training", "border_weight")
            sections: dict[str, Any] = {name: Section(SECTIONS[name]) for name in recipe}
            kept = replace(self, **sections, reasons=())
        return replace(kept, preset=preset)

    def updated(self, **sections: Mapping[str, Any]) -> "Choices":
        """The same choices with further values, which replace earlier ones of the same name."""
        changed = {name: getattr(self, name).updated(new) for name, new in sections.items()}
        # Reasons explain the values of a run; with others, they may not hold.
        return replace(self, **changed, reasons=() if any(sections.values()) else self.reasons)

    def with_options(self, options: "Choices") -> "Choices":
        """The choices of a file, overridden by those of command line options.

        A kind or names of classes make all that the file gives for other classes void. A channel
        axis applies to the pixel format of the file, too.
        """
        kept = self
        if {"kind", "names"} & options.classes.given.keys():
            kept = replace(kept, classes=Section(Classes))
        sections = {name: getattr(options, name).given for name in SECTIONS}
        if "channel_axis" in options.sources.given and kept.pixels.given:
            sections["pixels"] = {"channel_axis": options.sources.given["channel_axis"]}
        return replace(
            kept.updated(**sections),
            data=options.data or kept.data,
            preset=options.preset or kept.preset,
        )

    def to_mapping(self) -> dict[str, Any]:
        """The given values as nested dictionaries, as a configuration file holds them."""
        own = {name: getattr(self, name) for name in ("data", "preset")}
        given = {name: dict(getattr(self, name).given) for name in SECTIONS}
        return {name: value for name, value in {**own, **given}.items() if value}


@dataclass(frozen=True)
class Recipe:
    """Default training of a preset.

    Args:
        training: Defaults of [training].
        normalization: Default of [normalization].
        augment: Whether to augment the training samples.
        crop_size: Side of crops from large images, in pixels.
        crop_batch: Number of crops in a batch; None for `training.batch_size`.
        photo_size: Side of photos of different sizes, in pixels.
        epochs: Number of passes over the training pairs; None for `training.steps` updates.
        border_weight: Default of [border_weight].
        is_published: Whether it reproduces a published training, in single precision.
    """

    training: TrainingConfig
    normalization: Normalization
    augment: bool
    crop_size: int = 256
    crop_batch: int | None = None
    photo_size: int = 128
    epochs: int | None = None
    border_weight: BorderWeight = NO_BORDER_WEIGHT
    is_published: bool = False


RECIPES: dict[str, Recipe] = {
    "pretrained": Recipe(
        training=TrainingConfig(
            seed=0,
            steps=600,
            steps_per_validation=1,  # as below, replaced by a number of whole epochs
            batch_size=16,
            loss={"cross_entropy": 1.0, "dice": 1.0},
            optimizer="adamw",
            learning_rate=3e-3,
            schedule="cosine",
            class_crops=1 / 3,
            encoder_rate=0.1,
        ),
        normalization=ENCODER_NORMALIZATION,
        augment=True,
        crop_size=192,
        crop_batch=8,  # crops of one image differ less than photos: more updates do more
        photo_size=192,
    ),
    "fast": Recipe(
        training=TrainingConfig(
            seed=0,
            steps=2500,  # about seven minutes on two cores at 128x128
            steps_per_validation=1,
            batch_size=16,
            loss={"cross_entropy": 1.0, "dice": 1.0},
            optimizer="adamw",
            learning_rate=3e-3,
            schedule="cosine",
            class_crops=1 / 3,
        ),
        normalization=Normalization(multiply=1 / 127.5, add=-1.0),
        augment=True,
    ),
    # As the notebook trains: plain Adam for 20 epochs, no augmentation, pixels divided by 256.
    "notebook": Recipe(
        training=TrainingConfig(
            seed=0,
            steps=1,
            steps_per_validation=1,
            batch_size=32,
            loss={"cross_entropy": 1.0},
            optimizer="adam",
            learning_rate=1e-3,
            schedule="constant",
            warmup=0.0,
            weight_decay=0.0,
        ),
        normalization=Normalization(multiply=1 / 256, add=0.0),
        augment=False,
        epochs=20,
        is_published=True,
    ),
    # Ronneberger et al. 2015, section 3: one large tile per step, momentum 0.99.
    "paper": Recipe(
        training=TrainingConfig(
            seed=0,
            steps=1,
            steps_per_validation=1,
            batch_size=1,
            loss={"cross_entropy": 1.0},
            optimizer="sgd",
            learning_rate=1e-3,
            schedule="constant",
            warmup=0.0,
            weight_decay=0.0,
        ),
        normalization=Normalization(multiply=1 / 255, add=0.0),
        augment=True,
        crop_size=388,
        border_weight=BorderWeight(w0=10.0, sigma=5.0),
        epochs=20,
        is_published=True,
    ),
}
