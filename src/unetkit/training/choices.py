"""What a training is to be: what was asked for, completed by what the data say, or refused.

Every pair is looked at before anything is trained; what would spoil the training stops it here.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.display import Display
from unetkit.checks.examine import DatasetReport, examine
from unetkit.checks.report import class_fractions
from unetkit.data.dataset import SHOWN, Dataset
from unetkit.errors import ConfigError, DataError
from unetkit.losses import balanced_weights
from unetkit.training import backend
from unetkit.training.config import (
    RunConfig,
    check_keys,
    choose_config,
    choose_network,
    choose_sources,
    choose_split,
    decided_classes,
    read_config,
    with_preset,
)
from unetkit.training.fine_tuning import read_origin

AUTO = "auto"  # in an option: left to the data or the device


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
    start = values.get("training", {}).get("start")
    if start is not None:
        if not isinstance(start, str | Path):
            raise ConfigError(
                f"start is {start!r}; accepted is the path of a run folder or model file; correct "
                "it"
            )
        values["training"]["start"] = str(Path(start).resolve())
        values = _as_origin(values, Path(start))
    choose_network(values)  # a mistyped preset shows before the data are read
    return values


def _as_origin(values: dict[str, Any], start: Path) -> dict[str, Any]:
    """The same keys; what they leave open of the network and its input is as the start has it."""
    origin = read_origin(start)
    if values.get("preset", origin.preset) != origin.preset:
        return values
    taken = {
        name: {**asdict(getattr(origin, name)), **values.get(name, {})}
        for name in ("network", "normalization", "scale")
    }
    return {**values, **taken, "preset": origin.preset}


def survey(
    dataset: Dataset,
    overrides: Mapping[str, Any],
    epochs: int | None,
    device: str,
    display: Display,
) -> tuple[DatasetReport, RunConfig]:
    """Examines the pairs, completes the configuration, and says so.

    Args:
        overrides: What was asked for, as `overrides_from` gives it.
        epochs: Passes over the training pairs, in place of `training.steps`.
        device: What it will be trained on.

    Raises:
        DataError: Something would spoil a training.
        ConfigError: A key or value is not accepted.
    """
    found = examine(
        dataset,
        choose_sources(overrides),
        choose_split(overrides),
        decided_classes(overrides),
        display,
    )
    check_sound(found, skip_bad=choose_sources(overrides).skip_bad)
    for issue in found.issues:
        if issue.level != "note":
            left_out = "left out: " if issue.level == "error" else ""
            display.warn(f"{left_out}{issue.text}; {issue.remedy}")
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
        _with_automatic(overrides, found, device),
        epochs=epochs,
    )
    counts = ", ".join(f"{len(pairs)} {name}" for name, pairs in split.splits.items())
    how = chosen.split.file or (
        "as the data say" if dataset.splits else f"seed {chosen.split.seed}"
    )
    display.say(f"data      {dataset.source}: {len(dataset.pairs)} pairs; {counts} ({how})")
    display.say(f"masks     {chosen.classes.kind}: {chosen.classes.describe()}")
    display.say(f"images    {chosen.pixels.describe()}")
    display.say(f"scale     {chosen.scale.describe()}")
    return found, chosen


def _with_automatic(
    overrides: Mapping[str, Any], found: DatasetReport, device: str
) -> dict[str, Any]:
    """The same keys, with numbers or names where "auto" leaves them to the data or the device."""
    training = dict(overrides.get("training", {}))
    if training.get("class_weights") == AUTO:
        shares = class_fractions(found)["train"]["classes"]
        training["class_weights"] = balanced_weights(np.array(list(shares.values())))
    if training.get("precision") == AUTO:
        training["precision"] = backend.fastest_precision(device)
    return {**overrides, "training": training}


def check_sound(found: DatasetReport, *, skip_bad: bool) -> None:
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
