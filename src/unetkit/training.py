"""From a folder of pairs to a trained run folder.

    look      survey masks and headers; choose what was not asked for; write config.toml
    decode    every pair once, into a memory map at the network's scale
    fit       Keras's fit over batches that are pure functions of (seed, step)
    validate  one confusion matrix over the validation part; the best weights are kept
    export    the best network, checked, as model.onnx

The test part is not read here.
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow starts, or it greets

import keras

from unetkit import __version__, runfolder
from unetkit.augment import NO_AUGMENTATION
from unetkit.config import (
    RunConfig,
    TrainingConfig,
    check_keys,
    choose_config,
    choose_split,
    config_to_toml,
    read_config,
)
from unetkit.data import Dataset, Pair, Split, find_dataset, split_pairs, survey
from unetkit.display import Display
from unetkit.errors import ConfigError, OutputExistsError
from unetkit.exporting import CHECK_IMAGES, export_onnx, model_spec
from unetkit.loading import Cache, Sampler, build_cache
from unetkit.losses import loss_by_name
from unetkit.model import build_unet
from unetkit.pictures import read_image
from unetkit.recorder import Recorder

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

    What is not asked for is chosen from the preset and the data. (Nine arguments where the house
    has eight: each is what somebody sets first.)

    Args:
        data: Folder of pairs; may be left out where `config` names it.
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
    if epochs is not None and minutes is not None:
        raise ConfigError(
            f"epochs is {epochs} and minutes {minutes:g}; accepted is one of them; leave one out"
        )
    for name, value in (("epochs", epochs), ("minutes", minutes)):
        if value is not None and value <= 0:
            raise ConfigError(
                f"{name} is {value:g}; accepted are positive values; use a larger one"
            )
    overrides = _overrides(config, data, preset, size, seed)
    if (epochs or minutes) and "steps" in overrides.get("training", {}):
        overrides["training"].pop("steps")
    if "data" not in overrides:
        raise ConfigError("no data is named; accepted is a folder of images and masks; name one")

    dataset = find_dataset(overrides["data"])
    run = _choose_out(out, dataset, overrides)
    split, chosen = _look(dataset, overrides, epochs, display)
    run.mkdir(parents=True, exist_ok=True)
    try:
        return _train_into(run, dataset, split, chosen, minutes, display)
    except BaseException:
        display.finish()
        if (run / runfolder.WEIGHTS).exists():
            model = run / runfolder.MODEL
            display.say(f"the best weights so far are kept: unetkit export {run} --out {model}")
        else:
            shutil.rmtree(run, ignore_errors=True)  # nothing in it is of use yet
        raise
    finally:
        shutil.rmtree(run / runfolder.CACHE, ignore_errors=True)
        display.finish()


def _overrides(
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
        if preset != values.get("preset", preset):
            values.pop("network", None)  # the file's network is the other preset's
        values["preset"] = preset
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        values.setdefault("scale", {}).update(height=height, width=width)
    if seed is not None:
        values.setdefault("split", {})["seed"] = seed
        values.setdefault("training", {})["seed"] = seed
    return values


def _choose_out(out: str | Path | None, dataset: Dataset, overrides: Mapping[str, Any]) -> Path:
    if out is None:
        stem = f"{dataset.folder.resolve().name}-{overrides.get('preset', 'fast')}"
        candidates = (Path("runs") / f"{stem}{f'-{n}' if n > 1 else ''}" for n in range(1, 10_000))
        return next(path for path in candidates if not path.exists())
    run = Path(out)
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise OutputExistsError(
            f"run folder {run} exists and is not empty; accepted is a new or an empty folder; "
            "name another with --out"
        )
    return run


def _look(
    dataset: Dataset, overrides: Mapping[str, Any], epochs: int | None, display: Display
) -> tuple[Split, RunConfig]:
    """Splits the pairs, surveys those that training may see, and completes the configuration."""
    split = split_pairs(dataset, choose_split(overrides))
    seen = split.train + split.validation
    found = survey(seen, display.task("looking at the masks", len(seen)))
    chosen = choose_config(dataset, found, overrides, train_size=len(split.train), epochs=epochs)
    how = "official lists" if dataset.official else f"seed {chosen.split.seed}"
    counts = ", ".join(f"{len(pairs)} {name}" for name, pairs in split.parts.items())
    display.say(f"data      {dataset.folder}: {len(dataset.pairs)} pairs; {counts} ({how})")
    if dataset.unpaired:
        display.say(
            f"          {len(dataset.unpaired)} files without a counterpart are left out, "
            f"{dataset.unpaired[0]} first"
        )
    display.say(f"classes   {chosen.classes.describe()} (from the masks' values)")
    display.say(f"scale     {chosen.scale.describe()}")
    return split, chosen


def _train_into(
    run: Path,
    dataset: Dataset,
    split: Split,
    config: RunConfig,
    minutes: float | None,
    display: Display,
) -> Path:
    started = time.monotonic()
    seen = split.train + split.validation
    on_done = display.task("decoding", len(seen))
    caches = {
        name: build_cache(
            run / runfolder.CACHE / name,
            pairs,
            config.classes,
            config.in_channels,
            config.scale,
            on_done,
        )
        for name, pairs in (("train", split.train), ("validation", split.validation))
    }
    samplers = _samplers(config, caches)
    if minutes is not None:
        config = _calibrate(config, samplers, minutes, display)
    (run / runfolder.CONFIG).write_text(config_to_toml(config), encoding="utf-8")
    (run / runfolder.SPLIT).write_text(
        json.dumps(
            {"data": config.data}
            | {name: [pair.name for pair in pairs] for name, pairs in split.parts.items()},
            indent=1,
        ),
        encoding="utf-8",
    )
    keras.utils.set_random_seed(config.training.seed)
    model = _build(config)
    display.say(
        f"network   {config.preset}, {model.count_params():,} parameters, "
        f"{config.in_channels} channels in, {len(config.classes)} classes out"
    )
    display.say(f"device    {_device()}")
    display.say(_describe_training(config, caches["train"]))
    recorder = Recorder(run, config, samplers["validation"], display)
    recorder.fit(model, samplers["train"])

    model.load_weights(run / runfolder.WEIGHTS)
    seconds = time.monotonic() - started
    difference = _export_best(run, config, model, split.validation)
    display.say(
        f"export    {run / runfolder.MODEL}: largest difference from Keras {difference:.1g}"
    )
    recorder.draw(model)
    _write_summary(run, recorder, seconds, difference)
    return run


def _samplers(config: RunConfig, caches: Mapping[str, Cache]) -> dict[str, Sampler]:
    return {
        name: Sampler(
            cache,
            config.scale,
            config.network.geometry,
            config.normalization,
            config.augmentation if name == "train" else NO_AUGMENTATION,
            config.training.seed,
        )
        for name, cache in caches.items()
    }


def _build(config: RunConfig) -> keras.Model:
    """A compiled network, ready to fit."""
    model = build_unet(
        config.network, in_channels=config.in_channels, num_classes=len(config.classes)
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
    round_seconds = config.training.steps_per_validation * step_seconds + time.monotonic() - started
    rounds = max(1, round(60 * minutes / round_seconds))
    display.say(
        f"timing    {1000 * step_seconds:.0f} ms a step: {minutes:g} minutes are "
        f"{rounds * config.training.steps_per_validation} steps"
    )
    return replace(
        config,
        training=replace(config.training, steps=rounds * config.training.steps_per_validation),
    )


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


def _export_best(
    run: Path, config: RunConfig, model: keras.Model, pairs: tuple[Pair, ...]
) -> float:
    pictures = [read_image(pair.image, config.in_channels) for pair in pairs[:CHECK_IMAGES]]
    return export_onnx(model, model_spec(config, model), run / runfolder.MODEL, pictures)


def _write_summary(run: Path, recorder: Recorder, seconds: float, difference: float) -> None:
    summary = {
        "unetkit": __version__,
        "best": asdict(recorder.best),
        "training_seconds": round(seconds, 1),
        "images_per_second": round(recorder.images_per_second, 1),
        "export_difference": difference,
        "device": _device(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {
            name: version(name)
            for name in ("keras", "numpy", "onnxruntime", "opencv-python-headless", "scikit-learn")
        },
    }
    (run / runfolder.SUMMARY).write_text(json.dumps(summary, indent=1), encoding="utf-8")
