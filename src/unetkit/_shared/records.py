"""JSON records from files of unknown origin: parsed within limits, and checked against a type.

Such a file may come from another version, another program or an untrusted source. Its size,
encoding, syntax, nesting and types are checked here before use. Callers check the rest, such as
names that repeat or sizes that do not fit together, and raise the same `RecordError`; `refusing`
turns it into the caller's own error, with the name of the file and what to do.

The standard library parses, since msgspec's parser refuses unpaired surrogates, which stand for
undecodable bytes in file names; msgspec checks the types.
"""

import json
import math
import re
import reprlib
import sys
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from unetkit._shared.files import LARGEST_TABLE, read_bytes
from unetkit.errors import ConfigError, DataError, UnetkitError

Kind = TypeVar("Kind")

LARGEST_COUNT = 10**15  # no data set has as many pixels
DEEPEST = 100  # levels of nested lists and objects
MOST_DOTS = 32  # in a key of TOML
LARGEST_INTEGER = (1 << 64) - 1
Count = Annotated[int, msgspec.Meta(ge=0, lt=LARGEST_COUNT)]
Number = Annotated[float, msgspec.Meta(gt=-1.0 * LARGEST_COUNT, lt=1.0 * LARGEST_COUNT)]
Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
TYPE_WORDS = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "an object",
    "str": "text",
}


class RecordError(ValueError):
    """A record has another syntax, type or content than expected."""


@contextmanager
def refusing(
    source: str | Path, remedy: str, error: type[UnetkitError] = DataError
) -> Generator[None, None, None]:
    """Turns errors of reading and checking a record into one error with the name of the file.

    Args:
        source: Name of the file.
        remedy: What is accepted, and what to do.
        error: Class of the error to raise.

    Raises:
        UnetkitError: The record cannot be read, or is refused; an instance of `error`.
        FileNotFoundError: The file does not exist.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (RecordError, ConfigError, OSError) as caught:
        raise error(f"{source} cannot be used ({caught}); {remedy}") from caught


def read_json(file: Path, *, largest: int = LARGEST_TABLE) -> Any:
    """Reads a JSON file in UTF-8.

    Args:
        file: Path of the file.
        largest: Largest accepted size in bytes.

    Raises:
        RecordError: It is no file, is too large, or is not strict JSON.
        OSError: The system cannot read the file.
    """
    try:
        return parse_json(read_bytes(file, largest).decode("utf-8-sig"))
    except DataError as error:
        raise RecordError(f"it {str(error).removeprefix(f'{file} ')}") from error
    except UnicodeDecodeError as error:
        raise RecordError(f"it is not UTF-8 text: {error}") from error


def parse_json(text: str) -> Any:
    """Parses strict JSON: no NaN or Infinity, no key twice, at most `DEEPEST` levels.

    Raises:
        RecordError: The text is something else.
    """
    try:
        raw = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError as error:
        raise RecordError(f"it is nested deeper than {DEEPEST} levels") from error
    except ValueError as error:
        raise error if isinstance(error, RecordError) else RecordError(str(error)) from error
    _require_shallow(raw)
    return raw


def parse_toml(text: str) -> dict[str, Any]:
    """Parses TOML within limits: keys of `MOST_DOTS`, `DEEPEST` levels, whole numbers of 64 bits.

    Raises:
        RecordError: The text is something else.

    >>> parse_toml("[network]\\nfilters = [16, 32]")
    {'network': {'filters': [16, 32]}}
    """
    # tomllib's time and memory grow with the square of a key's dots.
    bare = re.sub(r"\"(?:\\\\.|[^\"\\\\\n])*\"|'[^'\n]*'|#.*", "", text)
    for number, line in enumerate(bare.split("\n"), start=1):
        if len(re.findall(r"\.(?!\d)", line)) > MOST_DOTS:
            raise RecordError(f"line {number} has a key of more than {MOST_DOTS} parts")
    try:
        raw = tomllib.loads(text)
    except RecursionError as error:
        raise RecordError(f"it is nested deeper than {DEEPEST} levels") from error
    except ValueError as error:
        is_long = not isinstance(error, tomllib.TOMLDecodeError)
        reason = "a whole number has thousands of digits" if is_long else str(error)
        raise RecordError(reason) from error
    _require_shallow(raw)
    return raw


def _require_shallow(raw: Any) -> None:
    """Refuses nested values that are too deep, and whole numbers beyond 64 bits."""
    level, depth = [raw] if isinstance(raw, dict | list) else [], 0
    while level:
        for outer in level:
            for inner in outer.values() if isinstance(outer, dict) else outer:
                if isinstance(inner, int) and not -LARGEST_INTEGER <= inner <= LARGEST_INTEGER:
                    raise RecordError(f"{shorten(inner)} is too large a number")
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        depth += 1
        if depth > DEEPEST:
            raise RecordError(f"it is nested deeper than {DEEPEST} levels")


def _refuse_constant(word: str) -> None:
    raise RecordError(f"{word} is not a number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RecordError(f"the key {shorten(twice)} occurs twice in an object")
    return found


def convert(raw: Any, kind: type[Kind]) -> Kind:
    """Converts parsed JSON to a type: built-in types, dataclasses, msgspec structs, TypedDicts.

    Whole numbers are accepted for float, true and false for bool only.

    Raises:
        RecordError: A value has another type or is out of bounds; the message has the place, the
            value and the type.

    >>> convert({"classes": [1, 2, "x"]}, dict[str, list[int]])
    Traceback (most recent call last):
    unetkit._shared.records.RecordError: $.classes[2] is 'x'; accepted is a whole number
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise RecordError(_describe(raw, kind, str(error))) from error
    except (RecursionError, UnicodeError, OverflowError) as error:
        raise RecordError(f"{type(error).__name__}: {error}") from error


def _describe(raw: Any, kind: Any, message: str) -> str:
    """A sentence with place, value and accepted type, from msgspec's message."""
    what, _, path = message.partition(" - at `")
    place, value = _locate(raw, kind, path.removesuffix("`").removeprefix("$"))
    if found := re.fullmatch(r"Object missing required field `(.*)`", what, re.S):
        return f"{place} has no key {shorten(found[1])}"
    if found := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.S):
        return f"{place} has the unknown key {shorten(found[1])}"
    if what.startswith("Invalid enum value"):
        return f"{place} is {shorten(value)}, none of the accepted values"
    what = what.replace("Number out of range", "a smaller number")
    accepted = re.sub(r", got `.*`$", "", what.removeprefix("Expected "))
    accepted = re.sub(r"`([^`]*)`", lambda match: _in_words(match[1]), accepted)
    return f"{place} is {shorten(value)}; accepted is {accepted}"


def _in_words(types: str) -> str:
    return " or ".join(TYPE_WORDS.get(name, name) for name in types.split(" | "))


def _locate(raw: Any, kind: Any, path: str) -> tuple[str, Any]:
    """The place of a refused value, and the value; msgspec writes [...] for a key of a mapping."""
    trail: list[Any] = []
    place, value, rest = "$", raw, path
    while rest:
        if rest.startswith("[...]"):
            key: Any = _refused_key(raw, kind, path, trail, value)
            raw = _with_value(raw, trail, {key: value[key]})
            rest = rest[5:]
        elif isinstance(value, list) and (index := re.match(r"\[(\d+)\]", rest)):
            key, rest = int(index[1]), rest[index.end() :]
        else:
            known = [name for name in value if rest.startswith(f".{name}")]
            if not known:
                return place + rest, None
            key = max(known, key=len)
            rest = rest[len(key) + 1 :]
        place += f"[{key}]" if isinstance(key, int) else f".{key:.60}"
        value = value[key]
        trail.append(key)
    return place, value


def _refused_key(raw: Any, kind: Any, path: str, trail: list[Any], mapping: dict[str, Any]) -> str:
    """The first key of the mapping at `trail` whose value is refused at `path`, by bisection."""
    keys = list(mapping)
    while len(keys) > 1:
        half = keys[: len(keys) // 2]
        try:
            msgspec.convert(_with_value(raw, trail, {key: mapping[key] for key in half}), kind)
            is_in_half = False
        except msgspec.ValidationError as error:
            is_in_half = str(error).endswith(f" - at `${path}`")
        keys = half if is_in_half else keys[len(half) :]
    return keys[0]


def _with_value(raw: Any, trail: list[Any], value: Any) -> Any:
    """A copy of `raw` with another value at `trail`."""
    if not trail:
        return value
    copy = raw.copy()
    copy[trail[0]] = _with_value(raw[trail[0]], trail[1:], value)
    return copy


def plain(value: Any) -> Any:
    """A nested result for JSON, with None in place of numbers that are not finite.

    >>> plain({"a": [float("nan"), (1.0, "x")]})
    {'a': [None, [1.0, 'x']]}
    """
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shorten(value: Any) -> str:
    """A value as text of limited length, however long or deep it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # a number of thousands of digits
        return "a number too long to be shown"
