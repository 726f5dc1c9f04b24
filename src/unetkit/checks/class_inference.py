"""Infer the classes of a data set from its mask values, where they are unambiguous.

    labels of polygons           one class per label, and background where nothing is drawn
    colours                      one class per colour, if there are few
    1, 2, 3 in every mask        a trimap: pet, background, border
    0 and 255                    background and foreground
    0, 1, 2 ... without a gap    one class per value, 0 the background, unless the values look like
                                 object numbers

Options of the user, `classes.toml` beside the data and the folder layout take precedence. Where
values are ambiguous, an error names the option that decides; nothing is guessed. The value 255
beside other values is never given a meaning. How values are summarised over a data set is left to
`mask_values`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.wording import format_count
from unetkit.checks.integer_inference import (
    choose_names,
    classes_from_integers,
    require_grey,
    require_no_numbers,
    require_one_palette,
    roles_in,
    with_background,
)
from unetkit.checks.label_inference import MAX_LISTED, classes_from_labels, with_labels
from unetkit.checks.mask_values import (
    COUNTED_OBJECTS,
    are_certain_objects,
    colour_fractions,
    is_instance_like,
    value_to_colour,
)
from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import MASK_KINDS, Classes
from unetkit.data.colours import LOSSY_TOLERANCE, TOLERANCE, closest_pair, is_blend, is_near
from unetkit.errors import ConfigError, DataError, did_you_mean

MAX_COLOUR_CLASSES = 32  # more colours are shades rather than classes
EDGE_FRACTION = 0.02  # of the pixels; a colour of more may be a class that is not listed


def choose_classes(
    statistics: Sequence[PairStatistics],
    where: str,
    given: Mapping[str, Any],
    *,
    kind: str | None = None,
    is_trimap: bool = False,
) -> Classes:
    """Infers the classes of a data set from the statistics of its masks.

    Args:
        statistics: Statistics of the pairs that can be read.
        where: Name of the masks in error messages.
        given: Arguments of `Classes` from options or `classes.toml`. If "names" is given without
            "values", the names are in ascending order of the values.
        kind: Kind of the masks according to the folder layout; None if it is not known.
        is_trimap: Whether the masks are trimaps according to the folder layout.

    Returns:
        The classes; every value of the masks belongs to one of them or is ignored.

    Raises:
        DataError: The values are ambiguous, or do not match `given`.
        ConfigError: The arguments in `given` are invalid.
    """
    given = dict(given)
    given_kind = given.pop("kind", None)
    kind = given_kind or kind
    if kind is not None and kind not in MASK_KINDS:
        raise ConfigError(
            f"mask kind is {kind!r}; accepted are {', '.join(map(repr, MASK_KINDS))}"
            f"{did_you_mean(str(kind), MASK_KINDS)}"
        )
    if "values" not in given:
        _require_one_kind(statistics, where)
    is_drawn = any(stats.is_drawn for stats in statistics)
    if not is_drawn:
        given = _with_ignored_class(given)
    names = given.pop("names", None)
    if kind is None and not is_drawn and not {"values", "threshold"} & given.keys():
        is_colour = any(stats.is_colour for stats in statistics)
        is_sure = are_certain_objects(statistics, given.get("ignore"))
        kind = "instances" if is_sure and not is_colour and len(names or ()) in (0, 2) else None
    if given.get("threshold") is None and any(stats.is_lossy for stats in statistics):
        _require_listed_colours(statistics, where, kind, given)
    if "values" in given:
        names = map(str, given["values"]) if names is None else names
        found = Classes(tuple(names), kind=kind or "classes", **given)
    elif "threshold" in given:
        if given_kind not in (None, "classes"):
            raise ConfigError(
                f"threshold is {given['threshold']} and kind {given_kind!r}; a threshold makes two "
                "classes, which have kind 'classes'; leave one of them out"
            )
        given = with_background(given, names)
        found = Classes(choose_names(names, ("background", "foreground")), (0, 255), **given)
    elif is_drawn:
        default, kind = classes_from_labels(statistics, where, names, kind, given)
        if kind == "instances":
            arguments = _instance_arguments(given)
            found = Classes(choose_names(names, default), (0, 1), **arguments)
        else:
            given = with_background(given, default)
            found = Classes(default, tuple(range(len(default))), **given)
    elif kind == "instances":
        default = ("background", "object")
        found = Classes(choose_names(names, default), (0, 1), **_instance_arguments(given))
    elif kind == "colours" or (kind is None and any(stats.is_colour for stats in statistics)):
        if kind is None:
            require_no_numbers(statistics, where)
            _require_no_objects(statistics, where, names, given.get("ignore"))
        found = _classes_from_colours(statistics, where, names, given)
    else:
        if kind is None:
            require_one_palette(statistics, where)
        found = classes_from_integers(statistics, where, names, kind, given, is_trimap)
    found = with_labels(statistics, where, found, given)
    if found.kind == "colours" and "values" in given:
        found = _with_blends(statistics, where, found)
    _require_known_values(statistics, where, found)
    return found


def _with_ignored_class(given: dict[str, Any]) -> dict[str, Any]:
    """Replaces the name of a class that is ignored by its value."""
    if not given.get("ignored_labels"):
        return given
    given = dict(given)
    ignored = given.pop("ignored_labels")
    names, values = given.get("names", ()), given.get("values", ())
    is_named = len(ignored) == 1 and ignored[0] in names[: len(values)]
    if not is_named or given.get("ignore") is not None:
        accepted = f", or the name of a class ({', '.join(names)})" if values else ""
        raise ConfigError(
            f"pixels to ignore are {', '.join(map(repr, ignored))}, and the masks are images; "
            f"accepted is one value or #rrggbb colour{accepted}; give it with --ignore"
        )
    place = names.index(ignored[0])
    given["ignore"] = values[place]
    for key in ("names", "values", "colours"):
        if key in given:
            given[key] = (*given[key][:place], *given[key][place + 1 :])
    for key in ("background", "border"):
        if (index := given.get(key)) is not None:
            given[key] = None if index == place else index - (index > place)
    return given


def _with_blends(statistics: Sequence[PairStatistics], where: str, classes: Classes) -> Classes:
    """Reads colours between those of the classes as the nearest, if they look like blurred edges.

    A single colour of many pixels is not taken for an edge: it may be a class that is not listed.
    """
    fractions = colour_fractions(statistics)
    known = [*classes.values, *([] if classes.ignore is None else [classes.ignore])]
    others = np.array([colour for colour in fractions if colour not in known], np.int64)
    if any(stats.is_lossy for stats in statistics):
        _require_near_colours(statistics, where, classes, fractions)
        return replace(classes, blended=True)
    if classes.blended or not len(others) or not is_blend(others, known).all():
        return classes
    is_rare = max(fractions[int(colour)] for colour in others) < EDGE_FRACTION
    return replace(classes, blended=True) if is_rare else classes


def _require_near_colours(
    statistics: Sequence[PairStatistics],
    where: str,
    classes: Classes,
    fractions: Mapping[int, float],
) -> None:
    """Raises DataError if a frequent colour of JPEGs is none of the listed ones but for noise."""
    known = [*classes.values, *([] if classes.ignore is None else [classes.ignore])]
    colours = np.array(sorted(fractions, key=lambda colour: -fractions[colour]), np.int64)
    far = [int(colour) for colour in colours[~is_near(colours, known)]]
    if far and fractions[far[0]] >= EDGE_FRACTION:
        raise DataError(
            f"masks in {where} are JPEGs, and {fractions[far[0]]:.1%} of the pixels have "
            f"#{far[0]:06x}, which is not near one of the listed colours; accepted are "
            f"{classes.describe()}; list all colours with --classes or in classes.toml beside the "
            f"data, or use --ignore '#{far[0]:06x}' if these pixels are not to be scored"
        )


def _require_one_kind(statistics: Sequence[PairStatistics], where: str) -> None:
    """Raises DataError if some masks are polygon files and others are images."""
    drawn = [stats.pair.mask for stats in statistics if stats.is_drawn]
    images = [stats.pair.mask for stats in statistics if not stats.is_drawn]
    if drawn and images:
        raise DataError(
            f"masks in {where} are polygon files for {len(drawn)} of "
            f"{format_count(statistics, 'pair')} "
            f"({drawn[0]} first) and images for {len(images)} ({images[0]} first), and the value "
            "of each label is not given; accepted are masks of one kind; choose them with --masks, "
            "or list name and value of each class in classes.toml beside the data"
        )


def _instance_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"background": 0, **given, "kind": "instances"}


def _first_mask_with(statistics: Sequence[PairStatistics], attribute: str) -> Path:
    return next(stats.pair.mask for stats in statistics if getattr(stats, attribute))


def _require_listed_colours(
    statistics: Sequence[PairStatistics], where: str, kind: str | None, given: Mapping[str, Any]
) -> None:
    """Raises DataError if some masks are JPEGs, and the colours of the classes are not listed.

    With them, the nearest colour is the class; two that noise would mix up are refused.
    """
    count = sum(stats.is_lossy for stats in statistics)
    which = (
        f"{count} of {len(statistics)} masks in {where} are JPEGs, "
        f"{_first_mask_with(statistics, 'is_lossy')} first, whose compression changes"
    )
    if "values" not in given or kind != "colours":
        fractions = colour_fractions(statistics)
        raise DataError(
            f"{which} class values; accepted are PNG, TIFF, BMP and GIF, and JPEGs of listed "
            f"colours; export them again from their source, list the colours, as in "
            f"--classes {_example_of(fractions)}, so that the nearest is taken, or, for two "
            "classes, use --threshold 127"
        )
    known = [*given["values"], *([] if given.get("ignore") is None else [given["ignore"]])]
    close = closest_pair(known)
    if close is not None:
        raise DataError(
            f"{which} colours, and the classes have #{close[0]:06x} and #{close[1]:06x}, which "
            "differ by less; accepted in JPEGs are colours that differ clearly; export the masks "
            "as PNG from their source"
        )


def _example_of(fractions: Mapping[int, float]) -> str:
    """The most frequent colours as a value of --classes, with names to be replaced."""
    groups: dict[int, float] = {}
    for colour in sorted(fractions, key=lambda colour: -fractions[colour]):
        like = next((one for one in groups if closest_pair([one, colour])), colour)
        groups[like] = groups.get(like, 0) + fractions[colour]
        if len(groups) > MAX_LISTED:
            break
    many = [colour for colour in groups if groups[colour] >= EDGE_FRACTION] or [*groups][:2]
    return "'" + ",".join(f"class {i}=#{colour:06x}" for i, colour in enumerate(many)) + "'"


def _require_no_objects(
    statistics: Sequence[PairStatistics],
    where: str,
    names: Sequence[str] | None,
    ignore: int | None,
) -> None:
    """Raises DataError if each colour may be an object, and no classes are named."""
    if names is None and is_instance_like(statistics, ignore, COUNTED_OBJECTS):
        raise DataError(
            f"masks in {where} may be instances or classes: nearly every colour is one connected "
            "region; accepted is either, if it is given; use --kind instances if each colour is an "
            "object, --kind colours if each colour is a class"
        )


def _classes_from_colours(
    statistics: Sequence[PairStatistics],
    where: str,
    names: Sequence[str] | None,
    given: dict[str, Any],
) -> Classes:
    fractions = colour_fractions(statistics)
    fractions.pop(given.get("ignore", -1), None)
    many = max(stats.num_values for stats in statistics)
    if len(fractions) > MAX_COLOUR_CLASSES or many > MAX_COLOUR_CLASSES:
        common = sorted(fractions, key=lambda colour: -fractions[colour])[:MAX_LISTED]
        listed = ", ".join(f"#{colour:06x} {fractions[colour]:.1%}" for colour in common)
        raise DataError(
            f"masks in {where} have {max(len(fractions), many)} colours, the most frequent "
            f"{listed}; accepted are up to {MAX_COLOUR_CLASSES} that are not listed as classes; "
            "more come from blurred edges or lossy files: export the masks without them, or list "
            f"the class colours, as in --classes {_example_of(fractions)}, so that the nearest is "
            "taken"
        )
    colours = tuple(sorted(fractions))
    if len(colours) < 2:
        only = ", ".join(f"#{colour:06x}" for colour in colours) or "only the ignored one"
        raise DataError(
            f"the masks in {where} have fewer than two colours ({only}); accepted are at least "
            "two; check that these are the right masks, or list all classes in classes.toml beside "
            "the data"
        )
    default = tuple(f"#{colour:06x}" for colour in colours)
    given = roles_in(names, "background") | given
    return Classes(choose_names(names, default), colours, kind="colours", **given)


def _require_known_values(
    statistics: Sequence[PairStatistics], where: str, classes: Classes
) -> None:
    """Raises DataError if some pixel belongs to none of the classes."""
    if classes.kind == "classes":
        require_grey(statistics, where)
    if classes.kind == "instances" or classes.threshold is not None:
        return
    accepted = {*classes.values, classes.ignore}
    between = _blends_of(statistics, classes)
    for stats in statistics:
        if stats.is_drawn and classes.background is None and stats.values.get(0):
            raise DataError(
                f"{stats.pair.mask} in {where} has pixels outside all shapes, and no class is the "
                f"background; accepted are {classes.describe()}; add a class background"
            )
        for value in sorted(stats.values, key=lambda one: -stats.values[one]):
            if stats.is_drawn or isinstance(value, str):
                continue
            shown = value_to_colour(stats, value) if classes.kind == "colours" else value
            if shown in accepted or shown in between:
                continue
            edges = ""
            if classes.kind == "colours" and _is_between(shown, classes):
                edges = ", or write blended = true in classes.toml if it comes from blurred edges"
            raise DataError(
                f"mask {stats.pair.mask} in {where} has {classes.show(shown)}, which is not a "
                f"class; accepted are {classes.describe()}; correct the masks or the classes, "
                f"or use --ignore '{classes.show(shown)}' if these pixels are not to be "
                f"scored{edges}"
            )


def _blends_of(statistics: Sequence[PairStatistics], classes: Classes) -> set[int]:
    """Colours that are read as the nearest class."""
    if not classes.blended:
        return set()
    known = [*classes.values, *([] if classes.ignore is None else [classes.ignore])]
    colours = np.array(sorted(colour_fractions(statistics)), np.int64)
    tolerance = LOSSY_TOLERANCE if any(stats.is_lossy for stats in statistics) else TOLERANCE
    return set(colours[is_blend(colours, known, tolerance)].tolist())


def _is_between(colour: int, classes: Classes) -> bool:
    known = [*classes.values, *([] if classes.ignore is None else [classes.ignore])]
    return bool(is_blend(np.array([colour]), known)[0])
