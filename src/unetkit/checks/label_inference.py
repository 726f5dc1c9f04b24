"""Infer the classes of polygons from their labels, where these are unambiguous.

    listed                 in `--classes`, in classes.toml or with `--ignore`: as the user says
    background, ignored    labels that mean this by themselves (`data.labels`)
    unclassified           a class of its own if no other label is one, else ignored
    all others             one class per label; spellings of one label are asked about

Masks with numbers or colours are left to `class_inference`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import Classes
from unetkit.data.labels import (
    BACKGROUND,
    OBJECT,
    UNCLASSIFIED,
    find_spellings,
    is_background_label,
    is_ignore_label,
    spelling_of,
)
from unetkit.errors import DataError, did_you_mean

MAX_CLASSES = 254
MAX_LISTED = 10  # labels listed in a message


@dataclass(frozen=True)
class Labels:
    """What the labels of a data set mean.

    Args:
        classes: Labels of objects, sorted.
        background: Labels that mean background by themselves.
        ignored: Labels of pixels that are ignored.
    """

    classes: tuple[str, ...]
    background: tuple[str, ...]
    ignored: tuple[str, ...]


def classes_from_labels(
    statistics: Sequence[PairStatistics],
    where: str,
    names: Sequence[str] | None,
    kind: str | None,
    given: Mapping[str, Any],
) -> tuple[tuple[str, ...], str]:
    """Infers names and kind of the classes of polygon files.

    Args:
        statistics: Statistics of the pairs that can be read.
        where: Name of the masks in error messages.
        names: Class names that the user has given, or None.
        kind: "classes", "instances", or None.
        given: Other arguments of `Classes` that the user has given.

    Returns:
        The names, the background first where no shape has it as its label; and the kind.

    Raises:
        DataError: The labels are ambiguous, or none is that of an object.
    """
    if kind == "colours":
        raise DataError(
            f"masks in {where} are polygon files, which have labels and no colours; accepted kinds "
            "are classes and instances; use one of these with --kind"
        )
    labels = find_labels(statistics, names or (), {**given, "kind": kind})
    if not labels.classes:
        raise DataError(
            f"the polygon files in {where} contain only {_others(labels)}; accepted is at least "
            "one shape with another label; check that these are the right files, or name the label "
            "of a class in classes.toml beside the data, as in classes = { background = 0, object "
            f'= "{(*labels.ignored, *labels.background, OBJECT)[0]}" }}'
        )
    shown = tuple(OBJECT if label == UNCLASSIFIED else label for label in labels.classes)
    if kind == "instances":
        return (BACKGROUND, shown[0] if len(shown) == 1 else OBJECT), "instances"
    if names is None:
        _require_one_spelling(labels.classes, where)
        _require_few_labels(labels.classes, where)
    classes = tuple(shown if names is None else names)
    all_labels = _all_labels(statistics)
    if (
        "background" not in given
        and BACKGROUND not in classes
        and set(classes)
        <= {
            *all_labels,
            OBJECT,
        }
    ):
        classes = (BACKGROUND, *classes)  # pixels where nothing is drawn
    return classes, "classes"


def find_labels(
    statistics: Sequence[PairStatistics], names: Sequence[str], given: Mapping[str, Any]
) -> Labels:
    """Sorts the labels of polygon files by what they mean.

    Args:
        statistics: Statistics of the pairs that can be read.
        names: Class names that the user has given; these labels are classes whatever they mean.
        given: Arguments of `Classes`: "aliases" and "ignored_labels" are what the user says.
    """
    said = {*names, *given.get("aliases", {})}
    named = set(given.get("ignored_labels", ()))
    if "ignore" in given:
        named.add(str(given["ignore"]))  # a label that is a number
    labels = set(_all_labels(statistics))
    ignored = labels & named
    rest = labels - ignored - said
    background = {label for label in rest if is_background_label(label)}
    ignored |= {label for label in rest if is_ignore_label(label)} - {UNCLASSIFIED}
    classes = labels - ignored - background
    if given.get("kind") != "instances" and UNCLASSIFIED in rest and classes != {UNCLASSIFIED}:
        classes.discard(UNCLASSIFIED)
        ignored.add(UNCLASSIFIED)
    return Labels(*(tuple(sorted(part)) for part in (classes, background, ignored)))


def with_labels(
    statistics: Sequence[PairStatistics], where: str, classes: Classes, given: Mapping[str, Any]
) -> Classes:
    """Completes classes by the class of each label of polygon files, or that it is ignored.

    Args:
        statistics: Statistics of the pairs that can be read; without polygon files, nothing is
            changed.
        where: Name of the masks in error messages.
        classes: Classes.
        given: Arguments of `Classes` that the user has given.

    Raises:
        DataError: A label belongs to no class.
    """
    if not any(stats.is_drawn for stats in statistics):
        return classes
    labels = find_labels(statistics, classes.names, {**given, "kind": classes.kind})
    aliases, only = dict(classes.aliases), classes.labels
    if classes.background is not None:
        aliases |= dict.fromkeys(labels.background, classes.names[classes.background])
    if classes.kind != "instances":
        aliases |= _by_spelling(labels.classes, classes.names, aliases)
        new = [label for label in labels.classes if label not in {*classes.names, *aliases}]
        # The only label of a set belongs to the only object, whatever its name.
        is_only = len(labels.classes) == len(new) == 1 and len(classes) == 2
        if is_only and classes.background is not None and not only:
            only = tuple(new)
    kept = {k: v for k, v in aliases.items() if k != v and k not in labels.ignored}
    ignored = tuple(sorted({*labels.ignored, *given.get("ignored_labels", ())}))
    found = replace(classes, labels=only, aliases=kept, ignored_labels=ignored)
    if found.kind != "instances":
        _require_known_labels(statistics, where, found)
    return found


def describe_labels(classes: Classes, statistics: Sequence[PairStatistics]) -> list[str]:
    """Returns a sentence part for labels that are read as background, as ignored, or as a class."""
    present = set(_all_labels(statistics))
    names = [] if classes.background is None else [classes.names[classes.background]]
    parts = [
        (f"as the class {name!r}", [k for k, v in classes.aliases.items() if v == name])
        for name in classes.names
        if name not in names
    ]
    background = [k for k, v in classes.aliases.items() if v in names]
    parts = [("as background", background), *parts]
    parts.append(("as pixels to ignore", list(classes.ignored_labels)))
    return [
        f"{', '.join(map(repr, sorted(set(labels) & present)))} {what}"
        for what, labels in parts
        if set(labels) & present
    ]


def _all_labels(statistics: Sequence[PairStatistics]) -> list[str]:
    return sorted({v for stats in statistics for v in stats.values if isinstance(v, str)})


def _others(labels: Labels) -> str:
    ignored = f" and pixels to ignore ({', '.join(labels.ignored)})" if labels.ignored else ""
    return f"{BACKGROUND}{ignored}"


def _by_spelling(
    labels: Sequence[str], names: Sequence[str], known: Mapping[str, str]
) -> dict[str, str]:
    """The class of each label that differs by case or spaces from the name of one class only."""
    found = {}
    for label in labels:
        same = [name for name in names if spelling_of(name) == spelling_of(label)]
        if label not in names and label not in known and len(same) == 1:
            found[label] = same[0]
    return found


def _require_one_spelling(labels: Sequence[str], where: str) -> None:
    """Raises DataError if some labels differ only by case or spaces."""
    groups = find_spellings(labels)
    if not groups:
        return
    merged = [label for label in labels if not any(label in group[1:] for group in groups)]
    merged = [next((g[0] for g in groups if label in g), label).strip() for label in merged]
    listed = "; ".join(", ".join(map(repr, group)) for group in groups[:MAX_LISTED])
    keys = ", ".join(
        f"{json.dumps(label, ensure_ascii=False)} = {i}"
        for i, label in enumerate((BACKGROUND, *labels))
    )
    own = f"list each in classes.toml beside the data: classes = {{{keys}}}"
    if all(label == label.strip() and "," not in label for label in labels):
        own = f"use --classes '{','.join((BACKGROUND, *labels))}'"
    raise DataError(
        f"polygon files in {where} have labels that differ only by case or spaces: {listed}; "
        f"accepted is either meaning, if it is given; if they are one class, use --classes "
        f"'{','.join((BACKGROUND, *merged))}', and if each is a class of its own, {own}"
    )


def _require_few_labels(labels: Sequence[str], where: str) -> None:
    """Raises DataError if there are more labels than classes can be."""
    if len(labels) >= MAX_CLASSES:
        raise DataError(
            f"the polygon files in {where} have {len(labels)} labels, {labels[0]!r} first; "
            f"accepted are up to {MAX_CLASSES} classes with the background; use --kind instances "
            "if every shape is an object, or rename labels that mean the same"
        )


def _require_known_labels(
    statistics: Sequence[PairStatistics], where: str, classes: Classes
) -> None:
    """Raises DataError if polygons have labels that are not classes; lists all of them."""
    known = {*classes.indices_of_labels(), *classes.ignored_labels}
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
            f"{unknown[labels[0]]}); accepted are {', '.join(classes.names)}"
            f"{did_you_mean(labels[0], classes.names)}; list every label with --classes, leave "
            f"pixels of a label out with --ignore '{labels[0]}', name the class of a label in "
            "classes.toml beside the data, or use --kind instances if every shape is an object"
        )
