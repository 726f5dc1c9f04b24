"""Read the polygons of YOLO segmentation: a text file for each image, with a line for each object.

    0 0.25 0.10 0.75 0.10 0.50 0.90

A line is the number of the class and the outline, in fractions of the image's width and height.
Names of classes are in data.yaml, or another YAML file with `names`, in a folder above; or in
classes.txt, one a line.

Source: docs.ultralytics.com, "Instance segmentation datasets".
"""

import re
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from unetkit._shared.files import is_present, read_bytes, read_text
from unetkit.data.annotations.documents import OutlineError, at, refusal
from unetkit.data.annotations.polygons import ImageAnnotation, Shape, ShapeCollector
from unetkit.data.annotations.values import to_label, to_ring
from unetkit.errors import DataError

FOLDERS_ABOVE = 4  # in which a file of names is searched for
LARGEST_NAMES_FILE = 2**20  # bytes
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LINE = re.compile(rf"\d+((?:\s+{_NUMBER})+)\s*")
BOX = 4  # numbers of a line with a box and no outline


def is_yolo(document: Any, suffix: str) -> bool:
    """Whether a text is a YOLO label file; an empty one is of an image without objects."""
    if suffix != ".txt" or not isinstance(document, str):
        return False
    return all(_is_object(line) for line in document.splitlines() if line.strip())


def _is_object(line: str) -> bool:
    found = _LINE.fullmatch(line.strip())
    numbers = [float(text) for text in found[1].split()] if found else []
    is_outline = len(numbers) >= BOX and len(numbers) % 2 == 0
    # An outline may reach a little beyond the image; whole numbers are something else.
    return is_outline and all(-0.5 <= number <= 1.5 for number in numbers)


def read_yolo(document: str) -> tuple[list[str], list[ImageAnnotation]]:
    """Returns the numbers of the classes that occur, and the annotation of the image."""
    collector = ShapeCollector()
    for place, line in enumerate(document.splitlines(), 1):
        number, *coordinates = line.split() or [""]
        if number:
            with collector.reading(f"line {place}"):
                if len(coordinates) <= BOX:
                    raise OutlineError("it has a box and no outline")
                ring = to_ring([float(text) for text in coordinates])
                collector.add(Shape(str(int(number)), ((ring,),)))
    labels = sorted({shape.label for shape in collector.shapes}, key=int)
    return labels, [collector.collected("", None, is_relative=True)]


def find_yolo_names(path: Path) -> dict[str, str]:
    """Returns the name of each class by its number, for a label file; empty if there are none.

    Raises:
        DataError: The file of names is damaged.
    """
    for folder in islice(path.resolve().parents, FOLDERS_ABOVE):
        try:
            names = _names_in(folder, folder.stat().st_mtime_ns)
        except OSError:  # a folder that may not be read
            return {}
        if names:
            return names
    return {}


@lru_cache(maxsize=64)
def _names_in(folder: Path, version: int) -> dict[str, str]:
    """Names in a file of a folder; `version` distinguishes states of the folder."""
    del version
    files = [path for path in folder.iterdir() if path.suffix.lower() in (".yaml", ".yml")]
    for path in sorted(files, key=lambda path: (path.stem != "data", path.name)):
        names = _read_yaml_names(path)
        if names:
            return names
    path = folder / "classes.txt"
    if is_present(path) and path.stat().st_size <= LARGEST_NAMES_FILE:
        lines = read_bytes(path).decode("utf-8-sig", errors="replace").splitlines()
        return _checked(path, dict(enumerate(line.strip() for line in lines if line.strip())))
    return {}


def _read_yaml_names(path: Path) -> dict[str, str]:
    import yaml  # of the `train` extra, without which data are not read

    if not is_present(path) or path.stat().st_size > LARGEST_NAMES_FILE:
        return {}
    try:
        content = yaml.safe_load(read_text(path, LARGEST_NAMES_FILE))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read ({reason}); accepted is YAML in UTF-8") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    return _checked(path, names) if isinstance(names, dict) else {}


def _checked(path: Path, names: dict) -> dict[str, str]:
    found = {}
    for number, name in names.items():
        if not str(number).isdecimal():
            accepted = "are whole numbers from 0"
            raise DataError(f"{path}: {refusal('the number of a class', number, accepted)}")
        with at(f"{path}: class {number}"):
            found[str(int(number))] = to_label(name if isinstance(name, str) else str(name))
    return found
