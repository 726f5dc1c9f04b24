"""Infer the classes of masks with integers from their values, where these are unambiguous.

Values are judged over the set and file by file: a set may be put together of two sources, which
write the same classes in different ways. Every error names an option for each possible meaning.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unetkit._shared.wording import format_count
from unetkit.checks.label_inference import MAX_CLASSES, MAX_LISTED
from unetkit.checks.mask_values import is_instance_like, value_to_colour
from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.errors import ConfigError, DataError

FULL_SCALE = (255, 65535)  # largest values of 8 and 16 bits, which beside 0 mean a foreground
VOID = 255  # of 8-bit masks, often pixels that are not labelled
FEW_MASKS = 3  # of one source
NEARLY_BLACK, NEARLY_WHITE = 16, 239
TWO_TONES = 0.9  # fraction of pixels that are nearly black or white in masks of two classes


def classes_from_integers(
    statistics: Sequence[PairStatistics],
    where: str,
    names: Sequence[str] | None,
    kind: str | None,
    given: dict[str, Any],
    is_trimap: bool,
) -> Classes:
    """Infers the classes of masks with integers.

    Args:
        statistics: Statistics of the pairs that can be read.
        where: Name of the masks in error messages.
        names: Class names that the user has given, in ascending order of the values, or None.
        kind: "classes" if the user or the folder layout says so, or None.
        given: Other arguments of `Classes` that the user has given.
        is_trimap: Whether the masks are trimaps according to the folder layout.

    Raises:
        DataError: The values are ambiguous, or do not match the names.
        ConfigError: The arguments in `given` are invalid.
    """
    require_grey(statistics, where)
    values = _collect_values(statistics, given.get("ignore"))
    present = set(values)
    every = {value for stats in statistics for value in stats.values}
    if every == {1, 2, 3} or (is_trimap and present and every <= {1, 2, 3}):
        return _classes_from_trimap(statistics, where, names, given, is_trimap)
    if names is None and 0 in present and "ignore" not in given:
        _require_data_at_zero(statistics, where, values)
    if names is None and kind is None:
        _require_one_start(statistics, where, given.get("ignore"))
    if present <= {0}:
        raise _single_value_error(statistics, where)
    is_two = len(present) == 2 and 0 in present and max(present) in FULL_SCALE
    if is_two or (names is not None and len(names) == len(present) == 2):
        default = ("background", "foreground")
        given = with_background(given, names)
        return Classes(choose_names(names, default), tuple(sorted(present)), **given)
    if kind is None and names is None and is_instance_like(statistics, given.get("ignore")):
        raise DataError(
            f"masks in {where} may be instances or classes: nearly every value is one connected "
            f"region, or values run from 1 up in each mask ({list_values(values)}); accepted is "
            "either, if it is given; use --kind instances if each value is an object, --kind "
            "classes if each value is a class"
        )
    count = len(names) if names is not None else max(present) + 1
    unknown = sorted(present - set(range(count))) if names else _beyond_gap(present)
    if unknown:
        if names is None or len(names) != len(present) or _may_be_void(values):
            raise _unknown_values_error(statistics, where, values, unknown, names)
        return Classes(tuple(names), tuple(sorted(present)), **with_background(given, names))
    if count > MAX_CLASSES:
        raise DataError(
            f"the masks in {where} have {count} values; accepted are up to {MAX_CLASSES} classes; "
            "use --kind instances if values are objects"
        )
    numbered = ("background", *(f"class {i}" for i in range(1, count)))
    return Classes(tuple(names or numbered), tuple(range(count)), **with_background(given, names))


def _unknown_values_error(
    statistics: Sequence[PairStatistics],
    where: str,
    values: Mapping[int, Path],
    unknown: Sequence[int],
    names: Sequence[str] | None,
) -> DataError:
    """The error for values after a gap, with an option for each meaning that they may have."""
    _require_one_source(statistics, where, values, unknown)
    if _are_two_tones(statistics):
        return DataError(
            f"masks in {where} have {len(values)} values, nearly all of them close to 0 or to 255 "
            f"({list_values(values)}), as compression or resizing leaves of two; accepted are "
            "two values; export the masks again from their source, or use --threshold 127"
        )
    examples = [_name_for(value, names) for value in values]
    meanings = []
    if _are_near_ends(values) and not _may_be_void(values):
        meanings.append("--threshold 127 if values near 255 are one class and those near 0 another")
    if len(values) > 2:  # the rest are two classes or more
        meanings.append(f"--ignore {unknown[-1]} if pixels of {unknown[-1]} are not to be scored")
        if 0 in values and len(values) == 3 and unknown[1:] == [VOID]:  # 128 often means uncertain
            meanings.append(f"--ignore {unknown[0]} if those of {unknown[0]} are not")
    if len(values) <= MAX_LISTED and _may_be_void(values):
        table = ", ".join(f'"{name}" = {v}' for name, v in zip(examples, values, strict=True))
        meanings.append(
            f"classes = {{ {table} }} in classes.toml beside the data if each value is a class"
        )
    elif len(values) <= MAX_LISTED and all(value >= 0 for value in values):
        meanings.append(f"--classes '{','.join(examples)}' if each value is a class")
    meanings.append(
        "--kind instances if each value is an object, or list the classes in classes.toml beside "
        "the data"
    )
    return DataError(
        f"masks in {where} have values that are not classes: {list_values(unknown)} "
        f"({unknown[0]} in {values[unknown[0]]}); accepted are 0, 1, 2 ... without a gap, 0 and "
        "255, a trimap's 1, 2, 3, or one class name for each value in ascending order "
        f"({list_values(values)}); use {', '.join(meanings)}"
    )


def _name_for(value: int, names: Sequence[str] | None) -> str:
    if names is not None and 0 <= value < len(names):
        return names[value]
    return "background" if value == 0 else f"class {value}"


def _may_be_void(values: Mapping[int, Path]) -> bool:
    """Whether 255 comes after so few other values that it may mean pixels without a label."""
    others = [value for value in values if value != VOID]
    return VOID in values and bool(others) and max(others) < len(values)


def _require_one_source(
    statistics: Sequence[PairStatistics],
    where: str,
    values: Mapping[int, Path],
    unknown: Sequence[int],
) -> None:
    """Raises DataError if values after a gap occur only in masks without any value before it."""
    before = set(values) - set(unknown) - {0}
    with_unknown = [s for s in statistics if not s.values.keys().isdisjoint(unknown)]
    with_before = [s for s in statistics if not s.values.keys().isdisjoint(before)]
    mixed = {s.pair.name for s in with_unknown} & {s.pair.name for s in with_before}
    if not before or mixed or len(with_unknown) < 2 or len(with_before) < 2:
        return
    listed = list_values([0, *unknown]), list_values([0, *sorted(before)])
    meanings = []
    if before == {1} and len(unknown) == 1:
        meanings.append("use --threshold 0 if every value above 0 is the same class")
    elif len(values) <= MAX_LISTED:
        table = ", ".join(f'"{_name_for(v, None)}" = {v}' for v in values)
        meanings.append(
            f"write classes = {{ {table} }} in classes.toml beside the data if each value is a "
            "class of its own"
        )
    meanings.append(f"--ignore {unknown[-1]} if pixels of {unknown[-1]} are not to be scored")
    raise DataError(
        f"masks in {where} come from two sources: {len(with_unknown)} have the values {listed[0]} "
        f"({with_unknown[0].pair.mask} first) and {len(with_before)} have {listed[1]} "
        f"({with_before[0].pair.mask} first), and none has values of both; accepted is one way of "
        f"writing the classes; {', '.join(meanings)}"
    )


def _require_one_start(
    statistics: Sequence[PairStatistics], where: str, ignore: int | None
) -> None:
    """Raises DataError if some masks count classes from 0 and all others the same ones from 1."""
    by_start: dict[bool, list[PairStatistics]] = {True: [], False: []}
    for stats in statistics:
        by_start[0 in stats.values].append(stats)
    zero, one = by_start[True], by_start[False]
    if min(len(zero), len(one)) < FEW_MASKS:
        return
    from_zero, from_one = (_collect_values(masks, ignore).keys() for masks in (zero, one))
    if from_zero == set(range(len(from_zero))) and from_one == {v + 1 for v in from_zero}:
        raise DataError(
            f"masks in {where} come from two sources: {len(zero)} have the values "
            f"{list_values([*from_zero])} ({zero[0].pair.mask} first) and {len(one)} have "
            f"{list_values([*from_one])} ({one[0].pair.mask} first), as if some counted the "
            "classes from 0 and others from 1; accepted is one way of writing the classes; write "
            "the masks of one source again, or use --kind classes if each value is a class"
        )


def _are_near_ends(values: Mapping[int, Path]) -> bool:
    """Whether all values are nearly black or nearly white, and both occur."""
    is_black = [value <= NEARLY_BLACK for value in values]
    near = [0 <= v <= NEARLY_BLACK or NEARLY_WHITE <= v <= VOID for v in values]
    return all(near) and any(is_black) and not all(is_black)


def _are_two_tones(statistics: Sequence[PairStatistics]) -> bool:
    """Whether nearly all pixels of 8-bit masks are nearly black or nearly white, and both occur."""
    counts: dict[int, int] = {}
    for stats in statistics:
        for value, count in stats.values.items():
            if isinstance(value, int):
                counts[value] = counts.get(value, 0) + count
    if not 0 <= min(counts) <= max(counts) <= 255:
        return False
    black = [n for value, n in counts.items() if value <= NEARLY_BLACK]
    white = [n for value, n in counts.items() if value >= NEARLY_WHITE]
    is_spread = len(black) > 1 and len(white) > 1  # single values are classes
    return is_spread and sum(black + white) >= TWO_TONES * sum(counts.values())


def _require_data_at_zero(
    statistics: Sequence[PairStatistics], where: str, values: Mapping[int, Path]
) -> None:
    """Raises DataError if 0 is declared to be no data, and may be the background all the same."""
    declared = [stats.pair.mask for stats in statistics if stats.is_zero_nodata]
    if not declared:
        return
    names = ",".join(_name_for(value, None) for value in values)
    raise DataError(
        f"{len(declared)} of {len(statistics)} masks in {where} declare 0 to be no data, "
        f"{declared[0]} first, and 0 may be the background; accepted is either meaning, if it is "
        f"given; use --ignore 0 if these pixels are not to be scored, --classes '{names}' if they "
        "are a class"
    )


def _single_value_error(statistics: Sequence[PairStatistics], where: str) -> DataError:
    missing = sum(stats.missing for stats in statistics)
    beside = f" beside {missing:,} pixels that are declared to be no data" if missing else ""
    return DataError(
        f"the masks in {where} contain only the value 0{beside}; accepted are at least two values; "
        "check that these are the right masks"
    )


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
            f"{list_values(_collect_values([few], None))}: a trimap's pet, background and border, "
            "or three classes; accepted without class names are masks that each have all three, or "
            "are in a folder named trimaps; use --classes with three names in the order of the "
            "values, such as --classes pet,background,border, or list the classes in classes.toml "
            "beside the data"
        )
    kept = [i for i, value in enumerate(TRIMAP_CLASSES.values) if value != given.get("ignore")]
    default = tuple(TRIMAP_CLASSES.names[i] for i in kept)
    # Three classes of other names have neither a background nor a border.
    roles = roles_in(default if names is None or is_trimap else names, "background", "border")
    values = tuple(TRIMAP_CLASSES.values[i] for i in kept)
    return Classes(choose_names(names, default), values, **{**roles, **given})


def require_one_palette(statistics: Sequence[PairStatistics], where: str) -> None:
    """Refuses masks in which one number has different colours, unless their kind is given.

    Raises:
        DataError: The palettes of two masks differ in a number that both contain.
    """
    first: dict[int, tuple[int, Path]] = {}
    for stats in statistics:
        if stats.palette is None:
            continue
        for value in stats.values:
            if not isinstance(value, int):
                continue
            colour = value_to_colour(stats, value)
            known, path = first.setdefault(value, (colour, stats.pair.mask))
            if known != colour:
                raise DataError(
                    f"masks in {where} have palettes that differ: {value} is #{known:06x} in "
                    f"{path} and #{colour:06x} in {stats.pair.mask}; accepted is either meaning, "
                    "if it is given; use --kind colours if each colour is a class, --kind classes "
                    "if each number is a class"
                )


def require_grey(statistics: Sequence[PairStatistics], where: str) -> None:
    """Refuses colour images among masks of class numbers.

    Raises:
        DataError: A mask has colours.
    """
    coloured = next((stats.pair.mask for stats in statistics if stats.is_colour), None)
    if coloured is not None:
        raise DataError(
            f"masks in {where} have colours, {coloured} first; accepted for classes are integers; "
            "use --kind colours if each colour is a class, --kind instances if each is an object"
        )


def require_no_numbers(statistics: Sequence[PairStatistics], where: str) -> None:
    """Refuses grey masks of numbers, such as 0 and 1, beside colour images of no given kind.

    Grey masks of black and white may be those of a class that is white.

    Raises:
        DataError: Some masks have colours, and others numbers.
    """
    coloured = [stats for stats in statistics if stats.is_colour]
    grey = [stats for stats in statistics if not stats.is_colour and stats.palette is None]
    numbers = _collect_values(grey, None)
    if coloured and not numbers.keys() <= {0, VOID}:
        raise DataError(
            f"masks in {where} come from two sources: {len(coloured)} have colours "
            f"({coloured[0].pair.mask} first) and {len(grey)} have the numbers "
            f"{list_values(numbers)} ({grey[0].pair.mask} first); accepted is one way of writing "
            "the classes; write the masks of one source again, or use --kind colours if each grey "
            "is a class, as each colour is"
        )


def with_background(given: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    """Completes arguments with a background: the class of that name, otherwise class 0."""
    return {"background": 0} | roles_in(names, "background") | dict(given)


def roles_in(names: Sequence[str] | None, *roles: str) -> dict[str, Any]:
    """Returns the index of each class that is named like one of the roles."""
    known = list(names or ())
    return {role: known.index(role) for role in roles if role in known}


def choose_names(names: Sequence[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the given names, otherwise the default ones.

    Raises:
        ConfigError: There are more or fewer names than classes.
    """
    if names is not None and len(names) != len(default):
        raise ConfigError(
            f"{format_count(names, 'class name is', 'class names are')} given "
            f"({', '.join(names)}); accepted are {len(default)}, as in {', '.join(default)}"
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


def _beyond_gap(present: set[int]) -> list[int]:
    """Returns the values outside 0, 1, 2 ... up to the first gap."""
    gap = next(value for value in itertools.count() if value not in present)
    return sorted(value for value in present if value < 0 or value > gap)


def list_values(values: Sequence[int] | Mapping[int, Path]) -> str:
    """Returns the first values as text."""
    listed = ", ".join(map(str, list(values)[:MAX_LISTED]))
    return listed + (" ..." if len(values) > MAX_LISTED else "")
