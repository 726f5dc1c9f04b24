"""Names of classes from files that other programs write beside their masks.

    labelmap.txt      CVAT: name:red,green,blue:parts:actions
    _classes.csv      Roboflow: Pixel Value, Class
    class_dict.csv    name,r,g,b
    dataset.json      nnU-Net: {"labels": {"background": 0, "liver": 1}}

They are read where neither an option nor a class file of ours (`classes`) names the classes.
"""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unetkit._shared.files import is_present, read_text
from unetkit.data.classes import parse_value
from unetkit.errors import DataError

LARGEST_LIST = 2**20  # bytes
IGNORE_NAME = "ignore"  # of pixels without a class, in nnU-Net
_COLOUR = re.compile(r"\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*")


def find_class_list(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Returns a list of classes in a data folder or the folders in it, and what it says.

    Args:
        folder: Data folder; lists in its folders, one for each split, must be equal.

    Returns:
        Path of the first list, and arguments of `Classes`; None if there is no list.

    Raises:
        DataError: A list is damaged, or two lists differ.
    """
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:  # reported with the files
        return None
    found: list[tuple[Path, dict[str, Any]]] = []
    for place in (folder, *inner):
        for name, parse in PARSERS.items():
            path = place / name
            if is_present(path) and path.stat().st_size <= LARGEST_LIST:
                arguments = _read(path, parse)
                if arguments:
                    found.append((path, arguments))
        if place == folder and found:
            break
    if any(arguments != found[0][1] for _, arguments in found):
        other = next(path for path, arguments in found if arguments != found[0][1])
        raise DataError(
            f"{found[0][0]} and {other} list different classes; accepted are equal lists; correct "
            "one, or list the classes in classes.toml beside the data"
        )
    return found[0] if found else None


def _read(path: Path, parse: Any) -> dict[str, Any]:
    try:
        values: Mapping[str, int | str] = parse(read_text(path, LARGEST_LIST))
    except DataError:
        raise
    except (OSError, ValueError, RecursionError, csv.Error) as error:  # also decoding errors
        raise DataError(
            f"{path} cannot be read as a list of classes ({error}); accepted is what "
            f"{path.name} has in other data sets; correct it or remove it"
        ) from error
    if len(values) < 2:
        return {}
    colours = [value for value in values.values() if isinstance(value, str)]
    found: dict[str, Any] = {"kind": "colours" if colours else "classes"}
    numbers = {name: parse_value(value, str(path)) for name, value in values.items()}
    ignored = next((name for name in numbers if name.lower() == IGNORE_NAME), None)
    if ignored is not None:
        found["ignore"] = numbers.pop(ignored)
    found["names"], found["values"] = tuple(numbers), tuple(numbers.values())
    background = [name for name in numbers if name.lower() == "background"]
    if background:
        found["background"] = found["names"].index(background[0])
    return found


def _parse_labelmap(text: str) -> dict[str, str]:
    """Colours by name, from lines name:red,green,blue:parts:actions."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(":")
            found[name.strip()] = _hexadecimal(rest.partition(":")[0], number)
    return found


def _parse_roboflow(text: str) -> dict[str, int]:
    """Values by name; empty if the columns are others, as for images with a class each."""
    rows = [[field.strip() for field in row] for row in csv.reader(text.splitlines()) if row]
    if not rows or [field.lower() for field in rows[0]] != ["pixel value", "class"]:
        return {}
    return {name: int(value) for value, name in rows[1:]}


def _parse_class_dict(text: str) -> dict[str, str]:
    """Colours by name; empty if the columns are others."""
    rows = [[field.strip() for field in row] for row in csv.reader(text.splitlines()) if row]
    header = [field.lower() for field in rows[0]] if rows else []
    if {"name", "r", "g", "b"} - set(header):
        return {}
    places = [header.index(field) for field in ("name", "r", "g", "b")]
    found = {}
    for number, row in enumerate(rows[1:], 2):
        name, *colour = (row[place] for place in places if place < len(row))
        found[name] = _hexadecimal(",".join(colour), number)
    return found


def _parse_nnunet(text: str) -> dict[str, int]:
    """Values by name; empty if the file has no such labels, or some of several values."""
    content = json.loads(text)
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict):
        return {}
    if all(key.isdecimal() and isinstance(name, str) for key, name in labels.items()):
        return {name: int(key) for key, name in labels.items()}  # of version 1
    if all(type(value) is int for value in labels.values()):
        return labels
    return {}


def _hexadecimal(text: str, line: int) -> str:
    found = _COLOUR.fullmatch(text)
    parts = [int(part) for part in found.groups()] if found else [256]
    if max(parts) > 255:
        raise ValueError(f"line {line} has the colour {text!r}, not three numbers up to 255")
    return "#{:02x}{:02x}{:02x}".format(*parts)


PARSERS = {
    "labelmap.txt": _parse_labelmap,
    "_classes.csv": _parse_roboflow,
    "class_dict.csv": _parse_class_dict,
    "dataset.json": _parse_nnunet,
}
