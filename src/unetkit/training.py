"""From a folder of pairs to a trained run folder.

    look      every pair once (`checking`); choose what was not asked for; write config.toml
    decode    every pair once, into a memory map at the network's scale
    fit       Keras's fit over batches that are pure functions of (seed, step)
    validate  one confusion matrix over the validation part; the best weights are kept
    export    the best network, checked, as model.onnx

The test part is looked at, for what is wrong with it; nothing is learnt or chosen from it.
"""

import contextlib
import itertools
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras

from unetkit import runfolder
from unetkit.augment import NO_AUGMENTATION
from unetkit.checking import Examination, examine
from unetkit.config import (
    RunConfig,
    TrainingConfig,
    check_keys,
    choose_config,
    choose_network,
    choose_sources,
    choose_split,
    config_to_toml,
    decided_classes,
    read_config,
    with_preset,
)
from unetkit.display import Display
from unetkit.errors import ConfigError, DataError, OutputExistsError
from unetkit.exporting import CHECK_IMAGES, export_onnx, model_spec
from unetkit.finding import SHOWN, Dataset, find_dataset
from unetkit.loading import Cache, Sampler, build_cache
from unetkit.losses import loss_by_name
from unetkit.model import build_unet
from unetkit.overview import class_shares
from unetkit.pictures import read_image
from unetkit.provenance import provenance
from unetkit.recorder import Recorder
from unetkit.scale import IGNORE
from unetkit.spec import picture_digest
from unetkit.splits import Split, split_to_json

WARM_UP_STEPS = 3  # the first steps also trace the graph and fill caches
CALIBRATION_SECONDS = 6.0


def train(
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    preset: str | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    size: int | tuple[int, int] | None = None,
    seed: int | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    display: Display | None = None,
) -> Path:
    """Trains a U-Net on a folder of images and masks.

    What is not asked for is chosen from the preset and the data.

    Args:
        data: Folder or table of pairs; may be left out where `config` names it.
        out: Run folder to make; by default runs/DATA-PRESET, with a number if that exists.
        preset: "fast" (default), "notebook" or "paper".
        epochs: Passes over the training part.
        minutes: Time for training, which a short calibration turns into a fixed number of steps.
        size: Pixels of what the network sees: a side, or (height, width).
        seed: Of the split, the weights and the samples; 0 by default.
        config: A run's config.toml, or the same keys as nested mappings; any may be left out.
        display: Shows progress.

    Returns:
        The run folder: config.toml, split.json, training.json, curves.csv and .png,
        best.weights.h5, model.onnx and pictures/.

    Raises:
        DataNotFoundError, DataError: The data cannot be used.
        ConfigError: An option or key is not accepted.
        OutputExistsError: `out` is in use.
    """
    display = display or Display()
    check_length(epochs, minutes)
    overrides = overrides_from(config, data, preset, size, seed)
    if epochs or minutes:
        overrides.get("training", {}).pop("steps", None)
    dataset = find_dataset(overrides["data"], choose_sources(overrides))
    run, is_new = _claim(out, dataset, overrides)
    try:
        found, chosen = _look(dataset, overrides, epochs, display)
        return _train_into(run, found, chosen, minutes, display)
    except BaseException:
        display.finish()
        shutil.rmtree(run / runfolder.CACHE, ignore_errors=True)
        if (run / runfolder.WEIGHTS).exists():
            model = run / runfolder.MODEL
            display.say(f"the best weights so far are kept: unetkit export {run} --out {model}")
        else:
            _discard(run, is_new)
        raise
    finally:
        shutil.rmtree(run / runfolder.CACHE, ignore_errors=True)
        display.finish()


def check_length(epochs: int | None, minutes: float | None) -> None:
    """Refuses what is no length of a training.

    Raises:
        ConfigError: Both are given, or one is not above 0.
    """
    if epochs is not None and minutes is not None:
        raise ConfigError(
            f"epochs is {epochs} and minutes {minutes:g}; accepted is one of them; leave one out"
        )
    for name, value in (("epochs", epochs), ("minutes", minutes)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(
                f"{name} is {value:g}; accepted are positive numbers; use a larger one"
            )


def overrides_from(
    config: str | Path | Mapping[str, Any] | None,
    data: str | Path | None,
    preset: str | None,
    size: int | tuple[int, int] | None,
    seed: int | None,
) -> dict[str, Any]:
    """What was asked for, in the shape of a configuration file; arguments win over the file."""
    if config is None or isinstance(config, Mapping):
        values = dict(config or {})
        check_keys(values, "the options")
    else:
        values = read_config(config)
    values = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    if data is not None:
        values["data"] = str(data)
    if preset is not None:
        values = with_preset(values, preset)
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        values.setdefault("scale", {}).update(height=height, width=width)
    if seed is not None:
        values.setdefault("split", {})["seed"] = seed
        values.setdefault("training", {})["seed"] = seed
    if "data" not in values:
        raise ConfigError("no data is named; accepted is a folder of images and masks; name one")
    choose_network(values)  # a mistyped preset shows before the data are read
    return values


def _claim(
    out: str | Path | None, dataset: Dataset, overrides: Mapping[str, Any]
) -> tuple[Path, bool]:
    """Makes the run folder, so that no other run takes it; and whether it was not there before."""
    if out is None:
        stem = f"{dataset.label}-{overrides.get('preset', 'fast')}"
        for number in itertools.count(1):
            run = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
            with contextlib.suppress(FileExistsError):
                run.mkdir(parents=True)
                return run, True
    run = Path(out or "")
    try:
        run.mkdir(parents=True)
    except FileExistsError as error:
        if not run.is_dir() or any(run.iterdir()):
            raise OutputExistsError(
                f"run folder {run} exists and is not empty; accepted is a new or an empty folder; "
                "name another with --out"
            ) from error
        return run, False
    return run, True


def _discard(run: Path, is_new: bool) -> None:
    """Removes what a failed run has written, as far as the system lets go of it: none is of use."""
    if is_new:
        shutil.rmtree(run, ignore_errors=True)
        return
    for path in run.iterdir():
        with contextlib.suppress(OSError):
            path.unlink()


def _look(
    dataset: Dataset, overrides: Mapping[str, Any], epochs: int | None, display: Display
) -> tuple[Examination, RunConfig]:
    """Examines the pairs, completes the configuration, and says so."""
    found = examine(
        dataset,
        choose_sources(overrides),
        choose_split(overrides),
        decided_classes(overrides),
        display,
    )
    check_sound(found, skip_bad=choose_sources(overrides).skip_bad)
    for finding in found.findings:
        if finding.level != "note":
            display.say(f"{finding.level:9} {finding.text}; {finding.remedy}")
    # No error is left: all three are known.
    split, classes, pixels = found.split, found.classes, found.format
    if split is None or classes is None or pixels is None:
        raise DataError(
            f"{dataset.source} holds no pair that can be used; accepted are pairs of image and "
            f"mask; run: unetkit check {dataset.source}"
        )
    train = {pair.name for pair in split.train}
    chosen = choose_config(
        dataset,
        [look.size for look in found.good if look.pair.name in train],
        classes,
        pixels,
        overrides,
        epochs=epochs,
    )
    counts = ", ".join(f"{len(pairs)} {name}" for name, pairs in split.parts.items())
    how = chosen.split.file or ("as the data say" if dataset.parts else f"seed {chosen.split.seed}")
    display.say(f"data      {dataset.source}: {len(dataset.pairs)} pairs; {counts} ({how})")
    display.say(f"masks     {chosen.classes.kind}: {chosen.classes.describe()}")
    display.say(f"images    {chosen.pixels.describe()}")
    display.say(f"scale     {chosen.scale.describe()}")
    return found, chosen


def check_sound(found: Examination, *, skip_bad: bool) -> None:
    """Stops a training before it starts, where something would spoil it.

    Raises:
        DataError: Something would.
    """
    errors = [e for e in found.errors if not (skip_bad and e.removable)]
    if not errors:
        return
    lines = [f"{error.text}; {error.remedy}" for error in errors[:SHOWN]]
    if len(errors) > SHOWN:
        lines.append(f"... and {len(errors) - SHOWN} more")
    advice = f"all findings: unetkit check {found.dataset.source}"
    if all(error.removable for error in errors):
        advice += "; to go on without these files: --skip-bad"
    raise DataError("\n".join([*lines, advice]))


def _train_into(
    run: Path,
    found: Examination,
    config: RunConfig,
    minutes: float | None,
    display: Display,
) -> Path:
    started = time.monotonic()
    split = found.split or Split((), (), ())
    seen = split.train + split.validation
    on_done = display.task("decoding", len(seen))
    caches = {
        name: build_cache(
            run / runfolder.CACHE / name,
            pairs,
            config.classes,
            config.pixels,
            config.scale,
            on_done,
        )
        for name, pairs in (("train", split.train), ("validation", split.validation))
    }
    display.finish()
    _require_truth(caches)
    samplers = _samplers(config, caches)
    if minutes is not None:
        config = _calibrate(config, samplers, minutes, display)
    (run / runfolder.CONFIG).write_text(config_to_toml(config), encoding="utf-8")
    (run / runfolder.SPLIT).write_text(
        split_to_json(split, found.dataset, found.digests(), found.left_out()), encoding="utf-8"
    )
    keras.utils.set_random_seed(config.training.seed)
    model = _build(config)
    display.say(
        f"network   {config.preset}, {model.count_params():,} parameters, "
        f"channels in: {config.pixels.channels}, classes out: {len(config.classes)}"
    )
    display.say(f"device    {_device()}")
    display.say(_describe_training(config, caches["train"]))
    recorder = Recorder(run, config, samplers["validation"], display)
    recorder.fit(model, samplers["train"])

    model.load_weights(run / runfolder.WEIGHTS)
    seconds = time.monotonic() - started
    difference = None
    if keras.backend.backend() == "tensorflow":
        difference = _export_best(run, config, model, found)
        path = run / runfolder.MODEL
        display.say(f"export    {path}: largest difference from Keras {difference:.1g}")
    else:
        display.say("export    left out: ONNX files are made with KERAS_BACKEND=tensorflow")
    recorder.draw(model)
    _write_summary(run, recorder, found, seconds, difference)
    return run


def _require_truth(caches: Mapping[str, Cache]) -> None:
    """Refuses a part in which every pixel is ignored.

    Raises:
        DataError: There is one.
    """
    for name, cache in caches.items():
        if all((mask == IGNORE).all() for mask in cache.masks):
            raise DataError(
                f"every pixel of the {name} part is ignored ({len(cache)} pairs); accepted are "
                "parts with pixels of some class; correct the masks or the value to ignore, or cut "
                "the parts with another --seed"
            )


def _samplers(config: RunConfig, caches: Mapping[str, Cache]) -> dict[str, Sampler]:
    return {
        name: Sampler(
            cache,
            config.scale,
            config.network.geometry,
            config.pixels,
            config.normalization,
            config.augmentation if name == "train" else NO_AUGMENTATION,
            config.training.seed,
        )
        for name, cache in caches.items()
    }


def _build(config: RunConfig) -> keras.Model:
    """A compiled network, ready to fit."""
    model = build_unet(
        config.network, in_channels=config.pixels.channels, num_classes=len(config.classes)
    )
    model.compile(
        optimizer=_optimizer(config.training),
        loss=loss_by_name(config.training.loss),
        # On CPUs TensorFlow's own kernels train this network 1.4 times as fast as XLA's.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    return model


def _optimizer(training: TrainingConfig) -> keras.optimizers.Optimizer:
    rate: Any = training.learning_rate
    warmup = round(training.warmup * training.steps)
    if training.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            max(1, training.steps - warmup),
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    if training.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=training.momentum)
    if training.optimizer == "adam":
        return keras.optimizers.Adam(rate)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=training.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _calibrate(
    config: RunConfig, samplers: Mapping[str, Sampler], minutes: float, display: Display
) -> RunConfig:
    """Turns minutes into steps by timing a network that is thrown away afterwards."""
    model = _build(config)
    batches = samplers["train"].batches(config.training.batch_size)
    for _ in range(WARM_UP_STEPS):
        model.train_on_batch(*next(batches))
    steps, started = 0, time.monotonic()
    while time.monotonic() - started < CALIBRATION_SECONDS or steps < 2:
        model.train_on_batch(*next(batches))
        steps += 1
    step_seconds = (time.monotonic() - started) / steps
    batches.close()
    started = time.monotonic()
    for images, _ in samplers["validation"].fixed_batches(config.training.batch_size):
        model.predict_on_batch(images)
    look_seconds = time.monotonic() - started
    per_validation = config.training.steps_per_validation
    steps = max(1, round(60 * minutes / (step_seconds + look_seconds / per_validation)))
    display.say(
        f"timing    {1000 * step_seconds:.0f} ms a step: {minutes:g} minutes are {steps} steps"
    )
    return replace(config, training=replace(config.training, steps=steps))


def _describe_training(config: RunConfig, cache: Cache) -> str:
    training = config.training
    seen = training.steps * training.batch_size * config.scale.height * config.scale.width
    epochs = seen / sum(mask.size for mask in cache.masks)
    return (
        f"training  {training.steps} steps of {training.batch_size} samples ({epochs:.1f} epochs), "
        f"{training.optimizer} {training.learning_rate:g} {training.schedule}, {training.loss}, "
        f"seed {training.seed}"
    )


def _device() -> str:
    backend = keras.backend.backend()
    devices = ", ".join(keras.distribution.list_devices()) or "cpu"
    return f"{devices} ({os.cpu_count()} cores), Keras {keras.__version__} on {backend}"


def _export_best(run: Path, config: RunConfig, model: keras.Model, found: Examination) -> float:
    split = found.split or Split((), (), ())
    checked = split.validation[:CHECK_IMAGES]
    pictures = [read_image(pair.image, config.pixels, pair.page) for pair in checked]
    names = {pair.name for pair in split.train + split.validation}
    seen = [
        picture_digest(look.image_sha256, look.pair.page)
        for look in found.looks
        if look.pair.name in names
    ]
    spec = model_spec(config, model, seen)
    return export_onnx(model, spec, run / runfolder.MODEL, pictures)


def _write_summary(
    run: Path,
    recorder: Recorder,
    found: Examination,
    seconds: float,
    difference: float | None,
) -> None:
    summary = {
        **provenance(),
        "best": asdict(recorder.best),
        "training_seconds": round(seconds, 1),
        "images_per_second": round(recorder.images_per_second, 1),
        "export_difference": difference,
        "device": _device(),
        "parts": class_shares(found),
        "findings": [
            {"level": f.level, "code": f.code, "text": f.text, "remedy": f.remedy}
            for f in found.findings
        ],
    }
    (run / runfolder.SUMMARY).write_text(json.dumps(summary, indent=1), encoding="utf-8")
