"""Decide what the masks of a data set mean, where that is certain; else say which option decides.

    labels of polygons           a class each, and what nothing is drawn on
    colours                      a class each, if they are few
    1, 2, 3                      a trimap: pet, background, border
    0 and 255                    background and foreground
    0, 1, 2 ... without a gap    a class each, 0 the background, unless they look like objects

Whatever the user, a file beside the data or the layout says comes first. A value of 255 beside
others is never taken for anything.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.classes import KINDS, TRIMAP_CLASSES, Classes
from unetkit.errors import ConfigError, DataError, did_you_mean
from unetkit.looks import Look

MOST_CLASSES = 254
FEW_COLOURS = 32  # more are no classes but shades
LISTED = 10  # values named in a message
MOSTLY = 0.9  # share of labels in one piece above which masks look like objects
LEAST_OBJECTS = 3


def choose_classes(
    looks: Sequence[Look],
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
    kind = given.pop("kind", None) or kind
    if kind is not None and kind not in KINDS:
        raise ConfigError(
            f"mask kind is {kind!r}; accepted are {', '.join(map(repr, KINDS))}; "
            f"{did_you_mean(str(kind), KINDS)}"
        )
    values = _values_of(looks, given.get("ignore"))
    names = given.pop("names", None)
    if "values" in given:
        found = Classes(tuple(names), kind=kind or "classes", **given)
        _require_known(looks, where, found)
        return found
    if "threshold" in given:
        return Classes(_named(names, ("background", "foreground")), (0, 255), **_with_0(given))
    if any(look.is_lossy for look in looks):
        raise _lossy(looks, where)
    if any(look.is_drawn for look in looks):
        found = _from_labels(looks, names, kind, given)
    elif kind == "instances":
        if any(look.is_colour for look in looks):
            raise DataError(
                f"masks in {where} have colours, {_example(looks, 'is_colour')} first; accepted "
                "for instances is an integer an object; convert colours to numbers, or say --kind "
                "colours if a colour is a class"
            )
        found = Classes(
            _named(names, ("background", "object")), (0, 1), kind="instances", **_with_0(given)
        )
    elif kind == "colours" or (kind is None and any(look.is_colour for look in looks)):
        found = _from_colours(looks, where, names, given)
    else:
        found = _from_integers(looks, where, values, names, kind, given, is_trimap)
    _require_known(looks, where, found)
    return found


def _with_0(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, with class 0 for the background: 0 is none, in files of these kinds."""
    return {"background": 0, **given}


def _named(names: Sequence[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    if names is not None and len(names) != len(default):
        raise ConfigError(
            f"{len(names)} class names are given ({', '.join(names)}); accepted are "
            f"{len(default)}, as {', '.join(default)}; correct --classes"
        )
    return tuple(names) if names is not None else default


def _values_of(looks: Sequence[Look], ignore: int | None) -> dict[int, Path]:
    """Each integer in the masks but the ignored one, ascending, and a mask that holds it."""
    found: dict[int, Path] = {}
    for look in looks:
        for value in look.values:
            if isinstance(value, int) and value != ignore:
                found.setdefault(value, look.pair.mask)
    return dict(sorted(found.items()))


def _example(looks: Sequence[Look], attribute: str) -> Path:
    return next(look.pair.mask for look in looks if getattr(look, attribute))


def _lossy(looks: Sequence[Look], where: str) -> DataError:
    count = sum(look.is_lossy for look in looks)
    return DataError(
        f"{count} of {len(looks)} masks in {where} are JPEGs, {_example(looks, 'is_lossy')} first, "
        "whose compression changes class values; accepted are PNG, TIFF, BMP and GIF; save them "
        "so from their source, or, if they have two classes, say --threshold 127"
    )


def _from_labels(
    looks: Sequence[Look], names: Sequence[str] | None, kind: str | None, given: dict[str, Any]
) -> Classes:
    labels = sorted({str(v) for look in looks for v in look.values if not isinstance(v, int)})
    if kind == "instances":
        default = ("background", labels[0] if len(labels) == 1 else "object")
        return Classes(_named(names, default), (0, 1), kind="instances", **_with_0(given))
    if not labels:
        raise DataError(
            "the polygon files draw nothing; accepted is at least one labelled shape; check that "
            "these are the right files"
        )
    classes = tuple(names) if names is not None else ("background", *labels)
    if names is None and "background" in labels:
        classes = ("background", *(label for label in labels if label != "background"))
    return Classes(classes, tuple(range(len(classes))), **_with_0(given))


def _from_colours(
    looks: Sequence[Look], where: str, names: Sequence[str] | None, given: dict[str, Any]
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
    default = tuple(f"#{colour:06x}" for colour in colours)
    return Classes(_named(names, default), colours, kind="colours", **given)


def colour_shares(looks: Sequence[Look]) -> dict[int, float]:
    """Share of all mask pixels of each colour; grey and palette masks as the colours they show."""
    counts: dict[int, int] = {}
    for look in looks:
        for value, count in look.values.items():
            if isinstance(value, int):
                colour = as_colour(look, value)
                counts[colour] = counts.get(colour, 0) + count
    total = max(1, sum(counts.values()))
    return {colour: count / total for colour, count in counts.items()}


def as_colour(look: Look, value: int) -> int:
    """The colour 0xRRGGBB that a value of a mask is shown in."""
    if look.is_colour:
        return value
    if look.palette is not None:
        red, green, blue = map(int, look.palette[min(value, len(look.palette) - 1)])
        return red << 16 | green << 8 | blue
    return min(value, 255) * 0x010101


def _from_integers(
    looks: Sequence[Look],
    where: str,
    values: Mapping[int, Path],
    names: Sequence[str] | None,
    kind: str | None,
    given: dict[str, Any],
    is_trimap: bool,
) -> Classes:
    present = set(values)
    if present == {1, 2, 3} or (is_trimap and present and present <= {1, 2, 3}):
        trimap = _named(names, TRIMAP_CLASSES.names)
        return Classes(trimap, (1, 2, 3), **{"background": 1, "border": 2, **given})
    if present == {0, 255} or (names is not None and len(names) == len(present) == 2):
        default = ("background", "foreground")
        return Classes(_named(names, default), tuple(sorted(present)), **_with_0(given))
    if present <= {0}:
        raise DataError(
            f"the masks in {where} hold only the value 0; accepted are at least two values; check "
            "that these are the right masks"
        )
    if kind is None and names is None and looks_like_objects(looks):
        raise DataError(
            f"masks in {where} look like instances, an integer an object ({_describe(values)}, "
            "nearly every value in one piece), and could be classes; accepted is a decision; say "
            "--kind instances or --kind classes"
        )
    count = len(names) if names is not None else max(present) + 1
    strange = sorted(present - set(range(count))) if names else _beyond_gap(present)
    if strange:
        example = values[strange[0]]
        advice = "name the value with --ignore if its pixels are not to be scored, "
        raise DataError(
            f"masks in {where} have values that are no class: {_describe(strange)} ({strange[0]} "
            f"in {example}); accepted are 0, 1, 2 ... without a gap, 0 and 255, or a trimap's 1, "
            f"2, 3; {advice}say --kind instances if values are objects, or list the classes in "
            "classes.toml beside the data"
        )
    if count > MOST_CLASSES:
        raise DataError(
            f"the masks in {where} hold {count} values; accepted are up to {MOST_CLASSES} classes; "
            "say --kind instances if values are objects"
        )
    numbered = ("background", *(f"class {i}" for i in range(1, count)))
    return Classes(tuple(names or numbered), tuple(range(count)), **_with_0(given))


def _beyond_gap(present: set[int]) -> list[int]:
    """Values that do not count up from 0 without a gap."""
    return sorted(value for value in present if not set(range(value)) <= present)


def _describe(values: Sequence[int] | Mapping[int, Path]) -> str:
    listed = ", ".join(map(str, list(values)[:LISTED]))
    return listed + (" ..." if len(values) > LISTED else "")


def looks_like_objects(looks: Sequence[Look]) -> bool:
    """Whether masks of integers look as if each value stood for one object.

    A class comes in many pieces, or in all pictures; an object's number is one piece, and how many
    there are differs from picture to picture.
    """
    pieces, labels = 0, 0
    numbers: set[int] = set()
    most = 0
    for look in looks:
        if not len(look.regions):
            continue
        present = np.unique(look.regions[:, 0])
        labels += len(present)
        pieces += look.num_regions
        numbers.add(len(present))
        most = max(most, len(present))
    return labels > 0 and most >= LEAST_OBJECTS and len(numbers) > 1 and labels >= MOSTLY * pieces


def _require_known(looks: Sequence[Look], where: str, classes: Classes) -> None:
    """Refuses classes that leave some pixel without one."""
    if classes.kind == "instances" or classes.threshold is not None:
        return
    accepted = {*classes.values, classes.ignore}
    for look in looks:
        for value in look.values:
            if isinstance(value, str):
                known = value in classes.names or len(classes) == 2
            elif look.is_drawn:
                known = True  # where nothing is drawn
            else:
                shown = as_colour(look, value) if classes.kind == "colours" else value
                known = shown in accepted and (classes.kind == "colours" or not look.is_colour)
            if not known:
                what = value if isinstance(value, str) else classes.show(value)
                raise DataError(
                    f"mask {look.pair.mask} in {where} has {what}, which is no class; accepted are "
                    f"{classes.describe()}; correct the masks or the classes, or name the value "
                    "with --ignore"
                )
