"""Checked values from JSON and XML files that anyone may have written.

Size, encoding, nesting and types are checked before use, and every fault is a `DataError` that
names the file, the place and the value: `at` puts the place in front of what is raised within it.
"""

import json
import math
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from unetkit.errors import DataError, DataNotFoundError

LARGEST_FILE = 512 * 2**20  # bytes; COCO's own instances_train2017.json has 449 MB
LARGEST_NUMBER = 1_000_000  # of pixels; beyond is another unit, or damage
WORDS = {dict: "an object", list: "a list", str: "text", int: "a whole number"}


@contextmanager
def at(place: str) -> Iterator[None]:
    """Says in front of an error where it is.

    >>> with at("a.json"), at("shape 3"):
    ...     get({"label": 5}, "label", str)
    Traceback (most recent call last):
    unetkit.errors.DataError: a.json: shape 3: label is 5; accepted is text; correct the file
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{place}: {error}") from error.__cause__


def refusal(name: str, value: Any, accepted: str, remedy: str = "correct the file") -> DataError:
    """The error to raise for a value, however long or deep it is."""
    seen = "missing" if value is None else reprlib.repr(value)
    return DataError(f"{name} is {seen}; accepted {accepted}; {remedy}")


def load_document(path: Path) -> Any:
    """A JSON value, or the root element of a file that ends in .xml.

    Raises:
        DataNotFoundError, DataError: The file is absent, too large, not UTF-8, or damaged.
    """
    text = _read_text(path)
    try:
        if path.suffix.lower() != ".xml":
            return json.loads(text)  # NaN too, which QuPath measures; no number below may be it
        if "<!DOCTYPE" in text:  # its entities could expand without end
            raise ValueError("it declares a document type")
        return ElementTree.fromstring(text)
    except (ValueError, ElementTree.ParseError, RecursionError) as error:
        kind = "XML without a document type" if path.suffix.lower() == ".xml" else "JSON"
        raise DataError(
            f"it cannot be read ({error}); accepted is undamaged {kind}; export it again"
        ) from error


def get(record: Any, key: str, *kinds: type) -> Any:
    """A value of a JSON object, of one of some kinds.

    Raises:
        DataError: `record` is no object, or the value is missing or of another kind.
    """
    if not isinstance(record, dict):
        raise refusal("it", record, f"is an object that has {key}")
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise refusal(key, value, f"is {' or '.join(WORDS[kind] for kind in kinds)}")
    return value


def filled_list(value: Any, name: str) -> list:
    """A JSON list that is not empty.

    Raises:
        DataError: It is another value.
    """
    if not isinstance(value, list) or not value:
        raise refusal(name, value, "is a list that is not empty", "complete or remove it")
    return value


def whole(value: Any, name: str, lowest: int = 1) -> int:
    """A whole number from `lowest` to `LARGEST_NUMBER`; 4.0 is one too.

    Raises:
        DataError: It is another value.
    """
    sound = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not sound or not lowest <= value <= LARGEST_NUMBER or value % 1:
        raise refusal(name, value, f"are whole numbers from {lowest} to {LARGEST_NUMBER}")
    return int(value)


def attribute(element: ElementTree.Element, name: str, default: str | None = None) -> float:
    """An attribute of an XML element, as a number; raises as `number`."""
    return number(element.get(name, default), name)


def number(text: str | None, name: str) -> float:
    """A number within `LARGEST_NUMBER` of 0, from text.

    Raises:
        DataError: It is another text, or missing.
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
            return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"{path} does not exist; accepted is a file of JSON or XML; check the path"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"it cannot be read ({error}); accepted are files of UTF-8 text; save it as UTF-8"
        ) from error
    raise DataError(
        f"it is no file, or one of {size:,} bytes; accepted are files of up to {LARGEST_FILE:,} "
        "bytes; save it in parts"
    )
