"""Options that several commands share, and what they mean: keys of a configuration.

An option that is not given decides nothing: what it would say is then left to the configuration's
file, the preset and the data.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from unetkit.errors import ConfigError, DataError

# Options that say what data are, by section of a configuration: option to key.
CLASS_OPTIONS = {"kind": "kind", "classes": "names", "ignore": "ignore", "threshold": "threshold"}
SOURCE_OPTIONS = {"images": "images", "masks": "masks", "channel_axis": "channel_axis"}
SPLIT_OPTIONS = {"group_by": "group_by", "test_fraction": "test_fraction", "split": "file"}


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what a folder's files are: the same for checking and training."""
    for option in reversed(
        [
            click.option("--images", help="Part of the path of images, * for anything."),
            click.option("--masks", help="Part of the path of masks, such as 'GT/SEG'."),
            click.option("--kind", help="What masks hold: classes, colours or instances."),
            click.option("--classes", help="Names of the classes in the order of their values."),
            click.option("--ignore", help="Value (or colour #rrggbb) that is not scored."),
            click.option("--threshold", help="Of two classes, the largest value of the first."),
            click.option("--channel-axis", help="Of TIFFs that do not say: first or last."),
            click.option("--group-by", help="Pattern in the path of what stays in one part."),
            click.option("--test-fraction", type=float, help="Share of the test part; 0 for none."),
            click.option("--split", help="Split file, such as a run's split.json."),
            click.option("--seed", type=click.IntRange(min=0), help="Of split, weights, samples."),
        ]
    ):
        command = option(command)
    return command


def data_overrides(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the data options out of a command's options, in the shape of a configuration."""
    from unetkit.data.classes import parse_value

    taken = {name: options.pop(name) for name in (*CLASS_OPTIONS, *SOURCE_OPTIONS, *SPLIT_OPTIONS)}
    if taken["classes"] is not None:
        taken["classes"] = tuple(name.strip() for name in taken["classes"].split(","))
    for name in ("ignore", "threshold"):
        if taken[name] is not None:
            try:
                taken[name] = parse_value(taken[name], f"--{name}")
            except DataError as error:  # of an option: a matter of usage
                raise ConfigError(str(error)) from error
    sections = {}
    for section, names in (
        ("classes", CLASS_OPTIONS),
        ("sources", SOURCE_OPTIONS),
        ("split", SPLIT_OPTIONS),
    ):
        given = {key: taken[name] for name, key in names.items() if taken[name] is not None}
        if given:
            sections[section] = given
    return sections


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say how the weights are found."""
    for option in reversed(
        [
            click.option("--preset", help="fast (default), notebook or paper."),
            click.option("--epochs", type=click.IntRange(min=1), help="Passes over the images."),
            click.option("--minutes", type=float, help="Time, turned into steps by a trial."),
            click.option("--size", help="What the network sees: a side, or HEIGHTxWIDTH."),
            click.option("--batch-size", type=click.IntRange(min=1), help="Samples at once."),
            click.option("--accumulation", type=click.IntRange(min=1), help="Batches an update."),
            click.option("--loss", multiple=True, help="NAME or NAME=WEIGHT; several are summed."),
            click.option("--class-weights", help="auto, or a number for each class: 1,1,4."),
            click.option("--learning-rate", type=float, help="The largest one."),
            click.option("--clip-norm", type=float, help="Largest norm of the gradient."),
            click.option("--averaging", type=float, help="Decay of averaged weights."),
            click.option("--patience", type=click.IntRange(min=0), help="Looks without gain."),
            click.option("--from", "start", help="Begin with the weights of this model."),
            click.option("--freeze", multiple=True, help="Layers that stay: encoder, encoder0 ..."),
            click.option("--precision", help="auto, float32, mixed_bfloat16 or mixed_float16."),
            click.option(
                "--deterministic/--fastest",
                default=None,
                help="The same bytes each time (default), or whatever is fastest.",
            ),
        ]
    ):
        command = option(command)
    return command


def training_overrides(options: dict[str, Any]) -> dict[str, Any]:
    """Takes the keys of [training] out of a command's options."""
    names = (
        "batch_size",
        "accumulation",
        "loss",
        "class_weights",
        "learning_rate",
        "clip_norm",
        "averaging",
        "patience",
        "start",
        "freeze",
        "precision",
        "deterministic",
    )
    taken = {name: options.pop(name) for name in names}
    given = {name: value for name, value in taken.items() if value is not None and value != ()}
    if "loss" in given:
        given["loss"] = dict(map(_parse_term, given["loss"]))
    if given.get("class_weights", "auto") != "auto":
        numbers = given["class_weights"].split(",")
        given["class_weights"] = tuple(_parse_number(n, "--class-weights") for n in numbers)
    if "start" in given:
        given["start"] = str(Path(given["start"]).resolve())
    return given


def _parse_term(text: str) -> tuple[str, float]:
    name, equals, weight = text.partition("=")
    return name, _parse_number(weight, "--loss") if equals else 1.0


def _parse_number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} in {option} is no number; accepted are numbers such as 0.5; correct it"
        ) from error


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(
            f"size is {text!r}; accepted are a side, as in 128, or a height and a width, as in "
            "96x128; correct it"
        )
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


def parse_sides(text: str) -> tuple[int, int]:
    size = parse_size(text)
    return size if isinstance(size, tuple) else (size or 0, size or 0)


def refuse_beside_resume(ctx: click.Context) -> None:
    """A run goes on as it was begun: no other choice has a meaning beside --resume."""
    allowed = ("resume", "device", "tensorboard")
    for name in ctx.params:
        source = ctx.get_parameter_source(name)
        if name not in allowed and source == click.core.ParameterSource.COMMANDLINE:
            option = next(p.opts[0] for p in ctx.command.params if p.name == name)  # or argument
            raise ConfigError(
                f"{option} is given with --resume; accepted beside it are --device and "
                "--tensorboard: a run goes on as it was begun; leave it out, or train anew"
            )
