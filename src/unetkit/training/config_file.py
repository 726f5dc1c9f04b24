"""Configuration files and mappings: read, checked key by key, and written.

A TOML file, a mapping or the options of a command are checked here once, for unknown keys and wrong
types. Whether a value is accepted is checked by the dataclass of its section, when the section is
complete.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, get_origin

import msgspec
import tomli_w

from unetkit._shared.files import read_text
from unetkit._shared.records import RecordError, parse_toml
from unetkit._version import __version__
from unetkit.errors import ConfigError, DataNotFoundError, did_you_mean
from unetkit.training.config import AUTO, AUTOMATIC, KEYS, SECTIONS, Choices, RunConfig, Section

WRITTEN_BY = "# Written by unetkit "
HEADER_LINES = 2
ADDED = ("border_weight", "objects")  # sections that files of earlier versions lack


def read_choices(path: str | Path) -> Choices:
    """Reads a configuration file, in which any key may be left out.

    Raises:
        DataNotFoundError: The file does not exist or cannot be read.
        ConfigError: The file is not TOML, or has an unknown key or a value of a wrong type.
    """
    path = Path(path)
    try:
        text = read_text(path)
        raw = parse_toml(text)
    except OSError as error:
        raise DataNotFoundError(
            f"configuration {path} cannot be read ({error.strerror}); accepted is a TOML file such "
            "as the config.toml of a run folder"
        ) from error
    except (RecordError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"configuration {path} is not TOML ({error}); accepted is a file such as the "
            "config.toml of a run folder"
        ) from error
    return replace(parse_choices(raw, str(path)), reasons=tuple(_reasons_in(text)))


def parse_choices(raw: Mapping[str, Any], source: str) -> Choices:
    """Checks nested mappings with the keys of a configuration file.

    Args:
        raw: Values by key, and mappings of values by section; any may be left out.
        source: Name of their origin for error messages.

    Raises:
        ConfigError: A key is unknown, a value has a wrong type, or a section is not a table.
    """
    found: dict[str, Any] = {}
    for key, value in raw.items():
        _require_known(key, KEYS, source)
        if key not in SECTIONS:
            found[key] = _converted(key, value, str, source)
        elif isinstance(value, Mapping):
            given = parse_values(SECTIONS[key], value, f"[{key}] of {source}")
            found[key] = Section(SECTIONS[key], given)
        else:
            raise ConfigError(
                f"{key} in {source} is {value!r}; accepted is a table; write [{key}] above its keys"
            )
    return Choices(**found)


def parse_values(kind: type, raw: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Checks some values of a section, and converts lists to tuples and numbers to float.

    Args:
        kind: Dataclass of the section.
        raw: Values by field name.
        source: Name of their origin for error messages.

    Raises:
        ConfigError: A key is unknown, or a value has a wrong type.
    """
    types = {entry.name: entry.type for entry in fields(kind)}
    found = {}
    for name, value in raw.items():
        _require_known(name, list(types), source)
        if name == "start":
            value = _start(value)
        elif name == "loss" and isinstance(value, str):
            value = {value: 1.0}
        if name in AUTOMATIC and value == AUTO:
            found[name] = AUTO
        else:
            found[name] = _converted(name, value, types[name], source)
    return found


def _require_known(key: str, known: Sequence[str], where: str) -> None:
    if key not in known:
        raise ConfigError(
            f"key {key!r} in {where} is unknown; accepted are {', '.join(known)}"
            f"{did_you_mean(str(key), known)}"
        )


def _start(value: Any) -> str | None:
    """An absolute path, so that the configuration makes the same run from any folder."""
    if not isinstance(value, str | Path | None):
        raise ConfigError(f"start is {value!r}; accepted is the path of a run folder or model file")
    return value if value is None else str(Path(value).resolve())


def _converted(name: str, value: Any, kind: Any, source: str) -> Any:
    """A value of a field's type; whole numbers are accepted for float, lists for tuples.

    Whole numbers within tuples and tables stay whole, so that a file is written as it was read.
    """
    if isinstance(value, list):
        value = tuple(tuple(inner) if isinstance(inner, list) else inner for inner in value)
    try:
        if isinstance(value, set | frozenset):  # which msgspec takes for a list
            raise msgspec.ValidationError("a set has no order")
        converted = msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError, UnicodeError) as error:
        wanted = kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)
        raise ConfigError(f"{name} in {source} is {value!r}; accepted is {wanted}") from error
    return converted if kind is float else value


def read_config(path: str | Path) -> RunConfig:
    """Reads the complete configuration of a run.

    Raises:
        DataNotFoundError: The file does not exist or cannot be read.
        ConfigError: The file is not TOML, lacks a key, or holds one that is not accepted.
    """
    choices = read_choices(path)
    given = choices.to_mapping()
    if missing := [name for name in KEYS if name not in given and name not in ADDED]:
        raise ConfigError(
            f"{path} lacks {', '.join(missing)}; accepted is the complete config.toml of a run; "
            "train the run again"
        )
    given = {**{name: {} for name in ADDED}, **given}
    for name, kind in SECTIONS.items():
        for entry in fields(kind):
            has_default = entry.default is not MISSING or entry.default_factory is not MISSING
            if not has_default and entry.name not in given[name]:
                raise ConfigError(
                    f"[{name}] of {path} lacks {entry.name}; accepted is the complete config.toml "
                    "of a run; train the run again"
                )
    sections = {name: kind(**given[name]) for name, kind in SECTIONS.items()}
    return RunConfig(data=given["data"], preset=given["preset"], **sections)


def config_to_toml(config: RunConfig, reasons: Sequence[str] = ()) -> str:
    """Text of a configuration file, as `read_config` reads it.

    Args:
        config: Complete configuration.
        reasons: Sentences about choices, for comments.
    """
    header = (  # of HEADER_LINES
        f"{WRITTEN_BY}{__version__}. The same run again:\n# unetkit train --config config.toml\n"
    )
    header += "".join(f"# {reason}\n" for reason in reasons) + "\n"
    return header + tomli_w.dumps(_without_none(asdict(config)))


def read_reasons(path: Path) -> list[str]:
    """The sentences that `config_to_toml` wrote as comments; none if it did not write the file."""
    return _reasons_in(read_text(path))


def _reasons_in(text: str) -> list[str]:
    first, *lines = text.splitlines() or [""]
    if not first.startswith(WRITTEN_BY):
        return []
    comments = takewhile(lambda line: line.startswith("# "), lines[HEADER_LINES - 1 :])
    return [line.removeprefix("# ") for line in comments]


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }
