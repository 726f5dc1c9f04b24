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

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unetkit.checks.mask_values import colour_fractions, is_instance_like, value_to_colour
from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import MASK_KINDS, TRIMAP_CLASSES, Classes
from unetkit.data.masks import BACKGROUND
from unetkit.errors import ConfigError, DataError, did_you_mean

MAX_CLASSES = 254
MAX_COLOUR_CLASSES = 32  # more colours are shades rather than classes
MAX_LISTED = 10  # values listed in a message


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
    names = given.pop("names", None)
    if "threshold" not in given and any(stats.is_lossy for stats in statistics):
        raise _lossy_masks_error(statistics, where)
    if "values" in given:
        names = map(str, given["values"]) if names is None else names
        found = Classes(tuple(names), kind=kind or "classes", **given)
    elif "threshold" in given:
        if given_kind not in (None, "classes"):
            raise ConfigError(
                f"threshold is {given['threshold']} and kind {given_kind!r}; a threshold makes two "
                "classes, which have kind 'classes'; leave one of them out"
            )
        given = _with_background(given, names)
        found = Classes(_choose_names(names, ("background", "foreground")), (0, 255), **given)
    elif any(stats.is_drawn for stats in statistics):
        found = _classes_from_labels(statistics, where, names, kind, given)
    elif kind == "instances":
        default = ("background", "object")
        found = Classes(_choose_names(names, default), (0, 1), **_instance_arguments(given))
    elif kind == "colours" or (kind is None and any(stats.is_colour for stats in statistics)):
        found = _classes_from_colours(statistics, where, names, given)
    else:
        found = _classes_from_integers(statistics, where, names, kind, given, is_trimap)
    if "labels" not in given:
        found = _with_renamed_label(statistics, found)
    _require_known_values(statistics, where, found)
    return found


def _require_one_kind(statistics: Sequence[PairStatistics], where: str) -> None:
    """Raises DataError if some masks are polygon files and others are images."""
    drawn = [stats.pair.mask for stats in statistics if stats.is_drawn]
    images = [stats.pair.mask for stats in statistics if not stats.is_drawn]
    if drawn and images:
        raise DataError(
            f"masks in {where} are polygon files for {len(drawn)} of {len(statistics)} pairs "
            f"({drawn[0]} first) and images for {len(images)} ({images[0]} first), and the value "
            "of each label is not given; accepted are masks of one kind; choose them with --masks, "
            "or list name and value of each class in classes.toml beside the data"
        )


def _collect_labels(statistics: Sequence[PairStatistics]) -> list[str]:
    """Returns the labels of all polygon files except background, sorted."""
    labels = {value for stats in statistics for value in stats.values if isinstance(value, str)}
    return sorted(labels - {BACKGROUND})


def _with_renamed_label(statistics: Sequence[PairStatistics], classes: Classes) -> Classes:
    """Assigns the only label of the polygon files to the foreground, whatever its name."""
    labels = _collect_labels(statistics)
    is_renamed = len(labels) == 1 and labels[0] not in classes.names
    if not is_renamed or len(classes) != 2 or classes.background is None:
        return classes
    return classes if classes.kind == "instances" else replace(classes, labels=tuple(labels))


def _instance_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"background": 0, **given, "kind": "instances"}


def _with_background(given: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """Completes arguments with a background: the class of that name, otherwise class 0."""
    return {"background": 0} | _roles_in(names, "background") | dict(given)


def _roles_in(names: Sequence[str] | None, *roles: str) -> dict[str, Any]:
    """Returns the index of each class that is named like one of the roles."""
    known = list(names or ())
    return {role: known.index(role) for role in roles if role in known}


def _choose_names(names: Sequence[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    if names is not None and len(names) != len(default):
        raise ConfigError(
            f"{len(names)} class names are given ({', '.join(names)}); accepted are "
            f"{len(default)}, as in {', '.join(default)}"
        )
    return tuple(names) if names is not None else default


def _collect_values(statistics: Sequence[PairStatistics], ignore: int | None) -> dict[int, Path]:
    """Returns each integer in the masks except `ignore`, ascending, with a mask that has it."""
    found: dict[int, Path] = {}
    for stats in statistics:
        for value in stats.values:
            if isinstance(value, int) and value != ignore:
                found.setdefault(value, stats.pair.mask)
    return dict(sorted(found.items()))


def _first_mask_with(statistics: Sequence[PairStatistics], attribute: str) -> Path:
    return next(stats.pair.mask for stats in statistics if getattr(stats, attribute))


def _lossy_masks_error(statistics: Sequence[PairStatistics], where: str) -> DataError:
    count = sum(stats.is_lossy for stats in statistics)
    return DataError(
        f"{count} of {len(statistics)} masks in {where} are JPEGs, "
        f"{_first_mask_with(statistics, 'is_lossy')} first, whose compression changes class "
        "values; accepted are PNG, TIFF, BMP and GIF; export them again from their source, or, for "
        "two classes, use --threshold 127"
    )


def _classes_from_labels(
    statistics: Sequence[PairStatistics],
    where: str,
    names: Sequence[str] | None,
    kind: str | None,
    given: dict[str, Any],
) -> Classes:
    if kind == "colours":
        raise DataError(
            f"masks in {where} are polygon files, which have labels and no colours; accepted kinds "
            "are classes and instances; use one of these with --kind"
        )
    labels = _collect_labels(statistics)
    if not labels:
        raise DataError(
            f"the polygon files in {where} contain only background; accepted is at least one shape "
            "with another label; check that these are the right files"
        )
    if kind == "instances":
        default = ("background", labels[0] if len(labels) == 1 else "object")
        return Classes(_choose_names(names, default), (0, 1), **_instance_arguments(given))
    if names is None:
        _require_few_labels(labels, where)
    classes = tuple(labels if names is None else names)
    if "background" not in given and BACKGROUND not in classes and set(classes) <= set(labels):
        classes = (BACKGROUND, *classes)  # pixels where nothing is drawn
    return Classes(classes, tuple(range(len(classes))), **_with_background(given, classes))


def _require_few_labels(labels: Sequence[str], where: str) -> None:
    """Raises DataError if there are more labels than classes can be."""
    if len(labels) >= MAX_CLASSES:
        raise DataError(
            f"the polygon files in {where} have {len(labels)} labels, {labels[0]!r} first; "
            f"accepted are up to {MAX_CLASSES} classes with the background; use --kind instances "
            "if every shape is an object, or rename labels that mean the same"
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
            "the class colours in classes.toml beside the data"
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
    given = _roles_in(names, "background") | given
    return Classes(_choose_names(names, default), colours, kind="colours", **given)


def _classes_from_integers(
    statistics: Sequence[PairStatistics],
    where: str,
    names: Sequence[str] | None,
    kind: str | None,
    given: dict[str, Any],
    is_trimap: bool,
) -> Classes:
    _require_grey(statistics, where, "classes")
    values = _collect_values(statistics, given.get("ignore"))
    present = set(values)
    every = {value for stats in statistics for value in stats.values}
    if every == {1, 2, 3} or (is_trimap and present and every <= {1, 2, 3}):
        return _classes_from_trimap(statistics, where, names, given, is_trimap)
    if present == {0, 255} or (names is not None and len(names) == len(present) == 2):
        default = ("background", "foreground")
        given = _with_background(given, names)
        return Classes(_choose_names(names, default), tuple(sorted(present)), **given)
    if present <= {0}:
        raise DataError(
            f"the masks in {where} contain only the value 0; accepted are at least two values; "
            "check that these are the right masks"
        )
    if kind is None and names is None and is_instance_like(statistics, given.get("ignore")):
        raise DataError(
            f"masks in {where} may be instances or classes: nearly every value is one connected "
            f"region ({_list_values(values)}); accepted is either, if it is given; use --kind "
            "instances if each value is an object, --kind classes if each value is a class"
        )
    count = len(names) if names is not None else max(present) + 1
    unknown = sorted(present - set(range(count))) if names else _beyond_gap(present)
    if unknown:
        example = values[unknown[0]]
        raise DataError(
            f"masks in {where} have values that are not classes: {_list_values(unknown)} "
            f"({unknown[0]} in {example}); accepted are 0, 1, 2 ... without a gap, 0 and 255, or a "
            "trimap's 1, 2, 3; use --ignore VALUE if these pixels are not to be scored, --kind "
            "instances if values are objects, or list the classes in classes.toml beside the data"
        )
    if count > MAX_CLASSES:
        raise DataError(
            f"the masks in {where} have {count} values; accepted are up to {MAX_CLASSES} classes; "
            "use --kind instances if values are objects"
        )
    numbered = ("background", *(f"class {i}" for i in range(1, count)))
    given = _with_background(given, names)
    return Classes(tuple(names or numbered), tuple(range(count)), **given)


def _classes_from_trimap(
    statistics: Sequence[PairStatistics],
    where: str,
    names: Sequence[str] | None,
    given: dict[str, Any],
    is_trimap: bool,
) -> Classes:
    few = next((stats for stats in statistics if len(stats.values) < len(TRIMAP_CLASSES)), None)
    if names is None and not is_trimap and few is not None:
        raise DataError(
            f"masks in {where} have the values 1, 2 and 3, and {few.pair.mask} has only "
            f"{_list_values(_collect_values([few], None))}: a trimap's pet, background and border, "
            "or three classes; accepted without class names are masks that each have all three, or "
            "are in a folder named trimaps; use --classes with three names in the order of the "
            "values, such as --classes pet,background,border, or list the classes in classes.toml "
            "beside the data"
        )
    kept = [i for i, value in enumerate(TRIMAP_CLASSES.values) if value != given.get("ignore")]
    default = tuple(TRIMAP_CLASSES.names[i] for i in kept)
    # Three classes of other names have neither a background nor a border.
    roles = _roles_in(default if names is None or is_trimap else names, "background", "border")
    values = tuple(TRIMAP_CLASSES.values[i] for i in kept)
    return Classes(_choose_names(names, default), values, **{**roles, **given})


def _beyond_gap(present: set[int]) -> list[int]:
    """Returns the values above the first gap in 0, 1, 2 ..."""
    gap = next(value for value in itertools.count() if value not in present)
    return sorted(value for value in present if value > gap)


def _list_values(values: Sequence[int] | Mapping[int, Path]) -> str:
    listed = ", ".join(map(str, list(values)[:MAX_LISTED]))
    return listed + (" ..." if len(values) > MAX_LISTED else "")


def _require_known_values(
    statistics: Sequence[PairStatistics], where: str, classes: Classes
) -> None:
    """Raises DataError if some pixel belongs to none of the classes."""
    if classes.kind != "colours":
        _require_grey(statistics, where, classes.kind)
    if classes.kind != "instances":
        _require_labels(statistics, where, classes)
    if classes.kind == "instances" or classes.threshold is not None:
        return
    accepted = {*classes.values, classes.ignore}
    for stats in statistics:
        if stats.is_drawn and classes.background is None and stats.values.get(0):
            raise DataError(
                f"{stats.pair.mask} in {where} has pixels outside all shapes, and no class is the "
                f"background; accepted are {classes.describe()}; add a class background"
            )
        for value in stats.values:
            if stats.is_drawn or isinstance(value, str):
                continue
            shown = value_to_colour(stats, value) if classes.kind == "colours" else value
            if shown not in accepted:
                raise DataError(
                    f"mask {stats.pair.mask} in {where} has {classes.show(value)}, which is not a "
                    f"class; accepted are {classes.describe()}; correct the masks or the classes, "
                    "or use --ignore for this value"
                )


def _require_labels(statistics: Sequence[PairStatistics], where: str, classes: Classes) -> None:
    """Raises DataError if polygons have labels that are not classes; lists all of them."""
    known = classes.indices_of_labels()
    unknown: dict[str, Path] = {}
    for stats in statistics:
        for value in stats.values:
            if isinstance(value, str) and value not in known:
                unknown.setdefault(value, stats.pair.mask)
    if unknown:
        labels = sorted(unknown)
        listed = ", ".join(labels[:MAX_LISTED]) + (" ..." if len(labels) > MAX_LISTED else "")
        raise DataError(
            f"polygon files in {where} have labels that are not classes: {listed} ({labels[0]} in "
            f"{unknown[labels[0]]}); accepted are {', '.join(known)}; list every label with "
            "--classes, rename labels that mean the same in the files, or use --kind instances if "
            "every shape is an object"
        )


def _require_grey(statistics: Sequence[PairStatistics], where: str, kind: str) -> None:
    """Raises DataError if masks are colour images but their kind has integers."""
    if any(stats.is_colour for stats in statistics):
        raise DataError(
            f"masks in {where} have colours, {_first_mask_with(statistics, 'is_colour')} first; "
            f"accepted for {kind} are integers; convert the colours to integers, or use --kind "
            "colours if each colour is a class"
        )
