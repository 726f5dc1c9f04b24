"""Decide what the masks of a data set mean, where that is certain; else say which option decides.

    labels of polygons           a class each, and what nothing is drawn on
    colours                      a class each, if they are few
    1, 2, 3 in every mask        a trimap: pet, background, border
    0 and 255                    background and foreground
    0, 1, 2 ... without a gap    a class each, 0 the background, unless they look like objects

Whatever the user, a file beside the data or the layout says comes first. A value of 255 beside
others is never taken for anything.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import MASK_KINDS, TRIMAP_CLASSES, Classes
from unetkit.data.masks import BACKGROUND
from unetkit.errors import ConfigError, DataError, did_you_mean

MOST_CLASSES = 254
FEW_COLOURS = 32  # more are no classes but shades
LISTED = 10  # values named in a message
MOSTLY = 0.9  # share of labels in one piece above which masks look like objects
LEAST_OBJECTS = 3
MINORITY = 0.1  # share of the masks below which another kind is a slip


def choose_classes(
    looks: Sequence[PairStatistics],
    where: str,
    given: Mapping[str, Any],
    *,
    kind: str | None = None,
    is_trimap: bool = False,
) -> Classes:
    """What the masks mean.

    Args:
        looks: At pairs that can be read.
        where: What to call the masks in an error.
        given: Arguments of `Classes` that are decided: by the user or a file beside the data.
            "names" alone are in the order of the values.
        kind: Kind that the layout tells.
        is_trimap: Whether the layout says so.

    Raises:
        DataError: What they mean is not certain, or not what is given.
        ConfigError: What is given cannot be.
    """
    given = dict(given)
    asked = given.pop("kind", None)
    kind = asked or kind
    if kind is not None and kind not in MASK_KINDS:
        raise ConfigError(
            f"mask kind is {kind!r}; accepted are {', '.join(map(repr, MASK_KINDS))}"
            f"{did_you_mean(str(kind), MASK_KINDS)}"
        )
    if "values" not in given:
        _require_one_sort(looks, where)
    names = given.pop("names", None)
    if "threshold" not in given and any(look.is_lossy for look in looks):
        raise _lossy(looks, where)
    if "values" in given:
        names = map(str, given["values"]) if names is None else names
        found = Classes(tuple(names), kind=kind or "classes", **given)
    elif "threshold" in given:
        if asked not in (None, "classes"):
            raise ConfigError(
                f"threshold is {given['threshold']} and kind {asked!r}; accepted are thresholds "
                "for two classes; leave one of them out"
            )
        given = _with_background(given, names)
        found = Classes(_named(names, ("background", "foreground")), (0, 255), **given)
    elif any(look.is_drawn for look in looks):
        found = _from_labels(looks, where, names, kind, given)
    elif kind == "instances":
        default = ("background", "object")
        found = Classes(_named(names, default), (0, 1), **_of_instances(given))
    elif kind == "colours" or (kind is None and any(look.is_colour for look in looks)):
        found = _from_colours(looks, where, names, given)
    else:
        found = _from_integers(looks, where, names, kind, given, is_trimap)
    if "labels" not in given:
        found = _with_renamed_label(looks, found)
    _require_known(looks, where, found)
    return found


def _require_one_sort(looks: Sequence[PairStatistics], where: str) -> None:
    """Refuses polygon files beside pictures, whose numbers have no labels."""
    drawn = [look.pair.mask for look in looks if look.is_drawn]
    pictures = [look.pair.mask for look in looks if not look.is_drawn]
    if drawn and pictures:
        raise DataError(
            f"masks in {where} are polygons for {len(drawn)} of {len(looks)} images, as in "
            f"{drawn[0]}, and pictures for {len(pictures)}, as {pictures[0]}, and nothing says "
            "which label is which number; accepted is one of both; choose it with --masks, or "
            "give each class its name and value in classes.toml beside the data"
        )


def _labels_of(looks: Sequence[PairStatistics]) -> list[str]:
    """Labels of all polygon files but the background's, in order."""
    labels = {value for look in looks for value in look.values if isinstance(value, str)}
    return sorted(labels - {BACKGROUND})


def _with_renamed_label(looks: Sequence[PairStatistics], classes: Classes) -> Classes:
    """Two classes may call the only label that there is what they like; of several, none."""
    labels = _labels_of(looks)
    is_renamed = len(labels) == 1 and labels[0] not in classes.names
    if not is_renamed or len(classes) != 2 or classes.background is None:
        return classes
    return classes if classes.kind == "instances" else replace(classes, labels=tuple(labels))


def _of_instances(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"background": 0, **given, "kind": "instances"}


def _with_background(given: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """What is given, with the class called background, or else class 0, as the background."""
    return {"background": 0} | _named_roles(names, "background") | dict(given)


def _named_roles(names: Sequence[str] | None, *roles: str) -> dict[str, Any]:
    """Index of the class that bears a role's name, of those roles that one does."""
    known = list(names or ())
    return {role: known.index(role) for role in roles if role in known}


def _named(names: Sequence[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    if names is not None and len(names) != len(default):
        raise ConfigError(
            f"{len(names)} class names are given ({', '.join(names)}); accepted are "
            f"{len(default)}, as {', '.join(default)}; correct --classes"
        )
    return tuple(names) if names is not None else default


def _values_of(looks: Sequence[PairStatistics], ignore: int | None) -> dict[int, Path]:
    """Each integer in the masks but the ignored one, ascending, and a mask that holds it."""
    found: dict[int, Path] = {}
    for look in looks:
        for value in look.values:
            if isinstance(value, int) and value != ignore:
                found.setdefault(value, look.pair.mask)
    return dict(sorted(found.items()))


def _example(looks: Sequence[PairStatistics], attribute: str) -> Path:
    return next(look.pair.mask for look in looks if getattr(look, attribute))


def _lossy(looks: Sequence[PairStatistics], where: str) -> DataError:
    count = sum(look.is_lossy for look in looks)
    return DataError(
        f"{count} of {len(looks)} masks in {where} are JPEGs, {_example(looks, 'is_lossy')} first, "
        "whose compression changes class values; accepted are PNG, TIFF, BMP and GIF; save them "
        "so from their source, or, if they have two classes, say --threshold 127"
    )


def _from_labels(
    looks: Sequence[PairStatistics],
    where: str,
    names: Sequence[str] | None,
    kind: str | None,
    given: dict[str, Any],
) -> Classes:
    if kind == "colours":
        raise DataError(
            f"masks in {where} are polygon files, which have labels and no colours; accepted kinds "
            "are classes and instances; correct --kind"
        )
    labels = _labels_of(looks)
    if not labels:
        raise DataError(
            f"the polygon files in {where} draw nothing but background; accepted is at least one "
            "labelled shape; check that these are the right files"
        )
    if kind == "instances":
        default = ("background", labels[0] if len(labels) == 1 else "object")
        return Classes(_named(names, default), (0, 1), **_of_instances(given))
    if names is None:
        _require_few(labels, where)
    classes = tuple(labels if names is None else names)
    if "background" not in given and BACKGROUND not in classes and set(classes) <= set(labels):
        classes = (BACKGROUND, *classes)  # where nothing is drawn
    return Classes(classes, tuple(range(len(classes))), **_with_background(given, classes))


def _require_few(labels: Sequence[str], where: str) -> None:
    """Refuses more labels than classes can be, as a fault of the data."""
    if len(labels) >= MOST_CLASSES:
        raise DataError(
            f"the polygon files in {where} have {len(labels)} labels, {labels[0]!r} first; "
            f"accepted are up to {MOST_CLASSES} classes with the background; say --kind instances "
            "if every shape is an object, or rename labels that mean the same"
        )


def _from_colours(
    looks: Sequence[PairStatistics], where: str, names: Sequence[str] | None, given: dict[str, Any]
) -> Classes:
    shares = colour_shares(looks)
    shares.pop(given.get("ignore", -1), None)
    many = max(look.num_values for look in looks)
    if len(shares) > FEW_COLOURS or many > FEW_COLOURS:
        common = sorted(shares, key=lambda colour: -shares[colour])[:LISTED]
        listed = ", ".join(f"#{colour:06x} {shares[colour]:.1%}" for colour in common)
        raise DataError(
            f"masks in {where} have {max(len(shares), many)} colours, the commonest {listed}; "
            f"accepted without further word are up to {FEW_COLOURS}; more come from blurred "
            "edges or lossy files: save the masks without them, or list the true colours in "
            "classes.toml beside the data"
        )
    colours = tuple(sorted(shares))
    if len(colours) < 2:
        only = ", ".join(f"#{colour:06x}" for colour in colours) or "none but the ignored one"
        raise DataError(
            f"the masks in {where} have one colour ({only}); accepted are at least two; check that "
            "these are the right masks, or list all classes in classes.toml beside the data"
        )
    default = tuple(f"#{colour:06x}" for colour in colours)
    given = _named_roles(names, "background") | given
    return Classes(_named(names, default), colours, kind="colours", **given)


def colour_shares(looks: Sequence[PairStatistics]) -> dict[int, float]:
    """Share of all mask pixels of each colour; grey and palette masks as the colours they show."""
    counts: dict[int, int] = {}
    for look in looks:
        for value, count in look.values.items():
            if isinstance(value, int):
                colour = as_colour(look, value)
                counts[colour] = counts.get(colour, 0) + count
    total = max(1, sum(counts.values()))
    return {colour: count / total for colour, count in counts.items()}


def odd_masks(
    looks: Sequence[PairStatistics], given: Mapping[str, Any], kind: str | None
) -> dict[int, str]:
    """Places of the few masks of another kind than the rest, and why each cannot be used.

    Args:
        looks: At pairs that can be read.
        given: As for `choose_classes`.
        kind: Kind that the layout tells.
    """
    masks = [place for place, look in enumerate(looks) if not look.is_drawn]
    found: dict[int, str] = {}
    if "threshold" not in given:
        for place in _few([p for p in masks if looks[p].is_lossy], masks):
            found[place] = (
                f"mask {looks[place].pair.mask} is a JPEG, unlike most others, whose compression "
                "changes class values; accepted are PNG, TIFF, BMP and GIF; save it so from its "
                "source, or leave the pair out"
            )
    if _are_numbers(looks, given, kind):
        for place in _few([p for p in masks if looks[p].is_colour], masks):
            found.setdefault(
                place,
                f"mask {looks[place].pair.mask} has colours, and most others have numbers; "
                "accepted is one kind in all masks; convert it to numbers, or leave the pair out",
            )
    return found


def _few(places: Sequence[int], of: Sequence[int]) -> Sequence[int]:
    """These places, if they are a small part of all."""
    return places if len(places) < MINORITY * len(of) else ()


def _are_numbers(
    looks: Sequence[PairStatistics], given: Mapping[str, Any], kind: str | None
) -> bool:
    """Whether masks without colours are numbers, and no black and white beside colours."""
    kind = given.get("kind") or kind
    if kind is not None or "threshold" in given or "values" in given:
        return kind != "colours"
    grey = [look for look in looks if not (look.is_drawn or look.is_colour or look.is_lossy)]
    values = {value for look in grey if look.palette is None for value in look.values}
    return not values <= {0, 255}


def as_colour(look: PairStatistics, value: int) -> int:
    """The colour 0xRRGGBB that a value of a mask is shown in."""
    if look.is_colour:
        return value
    if look.palette is not None:
        red, green, blue = map(int, look.palette[min(value, len(look.palette) - 1)])
        return red << 16 | green << 8 | blue
    return min(value, 255) * 0x010101


def _from_integers(
    looks: Sequence[PairStatistics],
    where: str,
    names: Sequence[str] | None,
    kind: str | None,
    given: dict[str, Any],
    is_trimap: bool,
) -> Classes:
    _require_grey(looks, where, "classes")
    values = _values_of(looks, given.get("ignore"))
    present = set(values)
    every = {value for look in looks for value in look.values}
    if every == {1, 2, 3} or (is_trimap and present and every <= {1, 2, 3}):
        return _from_trimap(looks, where, names, given, is_trimap)
    if present == {0, 255} or (names is not None and len(names) == len(present) == 2):
        default = ("background", "foreground")
        given = _with_background(given, names)
        return Classes(_named(names, default), tuple(sorted(present)), **given)
    if present <= {0}:
        raise DataError(
            f"the masks in {where} hold only the value 0; accepted are at least two values; check "
            "that these are the right masks"
        )
    if kind is None and names is None and looks_like_objects(looks, given.get("ignore")):
        raise DataError(
            f"masks in {where} look like instances, an integer an object ({_describe(values)}, "
            "nearly every value in one piece), and could be classes; accepted is a decision; say "
            "--kind instances or --kind classes"
        )
    count = len(names) if names is not None else max(present) + 1
    strange = sorted(present - set(range(count))) if names else _beyond_gap(present)
    if strange:
        example = values[strange[0]]
        raise DataError(
            f"masks in {where} have values that are no class: {_describe(strange)} ({strange[0]} "
            f"in {example}); accepted are 0, 1, 2 ... without a gap, 0 and 255, or a trimap's 1, "
            "2, 3; name the value with --ignore if its pixels are not to be scored, say --kind "
            "instances if values are objects, or list the classes in classes.toml beside the data"
        )
    if count > MOST_CLASSES:
        raise DataError(
            f"the masks in {where} hold {count} values; accepted are up to {MOST_CLASSES} classes; "
            "say --kind instances if values are objects"
        )
    numbered = ("background", *(f"class {i}" for i in range(1, count)))
    given = _with_background(given, names)
    return Classes(tuple(names or numbered), tuple(range(count)), **given)


def _from_trimap(
    looks: Sequence[PairStatistics],
    where: str,
    names: Sequence[str] | None,
    given: dict[str, Any],
    is_trimap: bool,
) -> Classes:
    few = next((look for look in looks if len(look.values) < len(TRIMAP_CLASSES)), None)
    if names is None and not is_trimap and few is not None:
        raise DataError(
            f"masks in {where} have the values 1, 2 and 3, and {few.pair.mask} has only "
            f"{_describe(_values_of([few], None))}: a trimap's pet, background and border, or "
            "three classes; accepted are masks that each have all three, or lie in a folder "
            "trimaps; say --classes with three names in the order of the values, such as "
            "--classes pet,background,border, or list the classes in classes.toml beside the data"
        )
    kept = [i for i, value in enumerate(TRIMAP_CLASSES.values) if value != given.get("ignore")]
    default = tuple(TRIMAP_CLASSES.names[i] for i in kept)
    # Three classes of other names are no trimap.
    roles = _named_roles(default if names is None or is_trimap else names, "background", "border")
    values = tuple(TRIMAP_CLASSES.values[i] for i in kept)
    return Classes(_named(names, default), values, **{**roles, **given})


def _beyond_gap(present: set[int]) -> list[int]:
    """Values that do not count up from 0 without a gap."""
    gap = next(value for value in itertools.count() if value not in present)
    return sorted(value for value in present if value > gap)


def _describe(values: Sequence[int] | Mapping[int, Path]) -> str:
    listed = ", ".join(map(str, list(values)[:LISTED]))
    return listed + (" ..." if len(values) > LISTED else "")


def looks_like_objects(looks: Sequence[PairStatistics], ignore: int | None = None) -> bool:
    """Whether masks of integers look as if each value stood for one object.

    A class comes in many pieces, or in all pictures; an object's number is one piece, and how many
    there are differs from picture to picture.
    """
    pieces, labels = 0, 0
    numbers: set[int] = set()
    most = 0
    for look in looks:
        regions = look.regions[look.regions[:, 0] != (-1 if ignore is None else ignore)]
        if not len(regions):
            continue
        present = np.unique(regions[:, 0])
        labels += len(present)
        pieces += len(regions)
        numbers.add(len(present))
        most = max(most, len(present))
    return labels > 0 and most >= LEAST_OBJECTS and len(numbers) > 1 and labels >= MOSTLY * pieces


def _require_known(looks: Sequence[PairStatistics], where: str, classes: Classes) -> None:
    """Refuses classes that leave some pixel without one."""
    if classes.kind != "colours":
        _require_grey(looks, where, classes.kind)
    if classes.kind != "instances":
        _require_labels(looks, where, classes)
    if classes.kind == "instances" or classes.threshold is not None:
        return
    accepted = {*classes.values, classes.ignore}
    for look in looks:
        if look.is_drawn and classes.background is None and look.values.get(0):
            raise DataError(
                f"{look.pair.mask} in {where} leaves pixels undrawn, and no class is named "
                f"background; accepted are {classes.describe()}; add a class background"
            )
        for value in look.values:
            if look.is_drawn or isinstance(value, str):
                continue
            shown = as_colour(look, value) if classes.kind == "colours" else value
            if shown not in accepted:
                raise DataError(
                    f"mask {look.pair.mask} in {where} has {classes.show(value)}, which is no "
                    f"class; accepted are {classes.describe()}; correct the masks or the classes, "
                    "or name the value with --ignore"
                )


def _require_labels(looks: Sequence[PairStatistics], where: str, classes: Classes) -> None:
    """Refuses labels that are no class, all at once."""
    known = classes.indices_of_labels()
    strange: dict[str, Path] = {}
    for look in looks:
        for value in look.values:
            if isinstance(value, str) and value not in known:
                strange.setdefault(value, look.pair.mask)
    if strange:
        labels = sorted(strange)
        listed = ", ".join(labels[:LISTED]) + (" ..." if len(labels) > LISTED else "")
        raise DataError(
            f"polygon files in {where} have labels that are no class: {listed} ({labels[0]} in "
            f"{strange[labels[0]]}); accepted are {', '.join(known)}; name every label with "
            "--classes, rename labels in the files where they mean the same, or say --kind "
            "instances if every shape is an object"
        )


def _require_grey(looks: Sequence[PairStatistics], where: str, kind: str) -> None:
    """Refuses colours where numbers are meant."""
    if any(look.is_colour for look in looks):
        raise DataError(
            f"masks in {where} have colours, {_example(looks, 'is_colour')} first; accepted for "
            f"{kind} are whole numbers; convert colours to numbers, or say --kind "
            "colours if a colour is a class"
        )
