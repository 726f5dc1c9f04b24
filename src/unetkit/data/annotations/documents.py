"""Checked values from annotation files of other programs, in JSON or XML.

Such files are not trusted: size, encoding, nesting and types are checked before use. Each fault is
a `DataError` that names the file, the place and the value; `at` puts the place in front.
"""

import json
import math
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from unetkit._shared.files import read_bytes
from unetkit.errors import DataError, DataNotFoundError

LARGEST_FILE = 512 * 2**20  # bytes; COCO's own instances_train2017.json has 449 MB
LARGEST_NUMBER = 1_000_000  # pixels; larger values are in another unit, or damaged
WORDS = {dict: "an object", list: "a list", str: "text", int: "a whole number"}


class OutlineError(DataError):
    """A shape without an area, which fills no pixel: a stray click, a line, an empty outline."""


@contextmanager
def at(place: str) -> Iterator[None]:
    """Puts a place in front of the message of a `DataError`.

    >>> with at("a.json"), at("shape 3"):
    ...     get({"label": 5}, "label", str)
    Traceback (most recent call last):
    unetkit.errors.DataError: a.json: shape 3: label is 5; accepted is text
    """
    try:
        yield
    except DataError as error:
        raised = OutlineError if isinstance(error, OutlineError) else DataError
        raise raised(f"{place}: {error}") from error.__cause__


def refusal(name: str, value: Any, accepted: str, remedy: str = "") -> DataError:
    """Returns the error for a value; long values are shortened.

    Args:
        name: Name of the value.
        value: The value; None if it is missing.
        accepted: Verb and accepted values, such as "is text".
        remedy: What to do, where that does not follow from `accepted`.
    """
    seen = "missing" if value is None else reprlib.repr(value)
    ending = f"; {remedy}" if remedy else ""
    return DataError(f"{name} is {seen}; accepted {accepted}{ending}")


def load_document(path: Path) -> Any:
    """Returns a JSON value, the root element of an .xml file, or the text of a .txt or .csv file.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The file is too large, not UTF-8, or damaged.
    """
    text = _read_text(path)
    if path.suffix.lower() in (".txt", ".csv"):
        return text
    try:
        if path.suffix.lower() != ".xml":
            return json.loads(text)  # also NaN, which QuPath writes; `number` and `whole` refuse it
        if "<!DOCTYPE" in text:  # its entities could expand without limit
            raise ValueError("it declares a document type")
        return ElementTree.fromstring(text)
    except (ValueError, ElementTree.ParseError, RecursionError) as error:
        kind = "XML without a document type" if path.suffix.lower() == ".xml" else "JSON"
        raise DataError(
            f"it cannot be read ({error}); accepted is undamaged {kind}; export it again"
        ) from error


def get(record: Any, key: str, *kinds: type) -> Any:
    """Returns a value of a JSON object.

    Args:
        record: JSON object.
        key: Key of the value.
        kinds: Accepted types.

    Raises:
        DataError: `record` is not an object, or the value is missing or of another type.
    """
    if not isinstance(record, dict):
        raise refusal("it", record, f"is an object that has {key}")
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise refusal(key, value, f"is {' or '.join(WORDS[kind] for kind in kinds)}")
    return value


def filled_list(value: Any, name: str) -> list:
    """Returns a JSON list that is not empty.

    Raises:
        DataError: `value` is something else.
    """
    if not isinstance(value, list) or not value:
        raise refusal(name, value, "is a list that is not empty", "complete or remove it")
    return value


def whole(value: Any, name: str, lowest: int = 1) -> int:
    """Returns a whole number from `lowest` to `LARGEST_NUMBER`; 4.0 is accepted as 4.

    Raises:
        DataError: `value` is something else.
    """
    sound = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not sound or not lowest <= value <= LARGEST_NUMBER or value % 1:
        raise refusal(name, value, f"are whole numbers from {lowest} to {LARGEST_NUMBER}")
    return int(value)


def attribute(element: ElementTree.Element, name: str, default: str | None = None) -> float:
    """Returns an attribute of an XML element as a number.

    Raises:
        DataError: The attribute is missing, or is not a number within `LARGEST_NUMBER` of 0.
    """
    return number(element.get(name, default), name)


def number(text: str | None, name: str) -> float:
    """Returns a number within `LARGEST_NUMBER` of 0, from text.

    Raises:
        DataError: `text` is None, or is not such a number.
    """
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST_NUMBER:
        raise refusal(name, text, f"are numbers from -{LARGEST_NUMBER} to {LARGEST_NUMBER}")
    return value


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if path.is_file() and size <= LARGEST_FILE:
            return read_bytes(path, LARGEST_FILE).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataNotFoundError(f"{path} does not exist; accepted is a JSON or XML file") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"it cannot be read ({error}); accepted are files of UTF-8 text; save it as UTF-8"
        ) from error
    raise DataError(
        f"it is not a file, or has {size:,} bytes; accepted are files of up to {LARGEST_FILE:,} "
        "bytes; split it"
    )
