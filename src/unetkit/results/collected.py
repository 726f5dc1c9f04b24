"""One file for a folder of results: the tables, and the COCO files, of all its images.

Each image has files of its own, so that a run may be interrupted and a folder may grow. What is
collected is made from these anew after each run; only one of them is in memory.
"""

import csv
import json
import posixpath
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from unetkit._shared.files import LARGEST_TABLE, read_bytes, read_text, write_atomically
from unetkit._shared.records import RecordError, read_json
from unetkit.data.annotations.writers import write_json
from unetkit.data.classes import Classes
from unetkit.errors import DataError, OutputExistsError
from unetkit.remote.addresses import is_address
from unetkit.results.outputs import OUTPUTS

# First bytes of each collected file, by which it is known again.
BEGINNINGS = {
    "coco": b'{"info": {"description": "predicted by unetkit"',
    "areas": b"image,class,pixels,",
    "table": b"image,label,class,",
    "yolo": b"# Classes of the predicted polygons",
}
COLLECTED = {"coco": "coco.json", "areas": "areas.csv", "table": "objects.csv", "yolo": "data.yaml"}


def require_collectable(folder: Path, kinds: Collection[str]) -> None:
    """Refuses a folder where a file of another origin has the name of a collected one.

    Raises:
        OutputExistsError: There is such a file.
    """
    for kind, name in COLLECTED.items():
        file = folder / name
        if kind not in kinds or not file.exists():
            continue
        with suppress(DataError, UnicodeDecodeError):
            if read_bytes(file, LARGEST_TABLE).startswith(BEGINNINGS[kind]):
                continue
        raise OutputExistsError(
            f"{file} exists already, and was not written by an earlier prediction; accepted is a "
            "folder without such a file; choose another with --out"
        )


def collect(
    folder: Path, kinds: Collection[str], classes: Classes, is_tree: bool = False
) -> list[Path]:
    """Writes the file of a folder for each kind of output that has one.

    Args:
        folder: Folder of the results.
        kinds: Kinds of output, keys of `outputs.OUTPUTS`.
        classes: Classes of the model.
        is_tree: Whether there are results in subfolders, too.

    Returns:
        The files written.

    Raises:
        OutputExistsError: The folder holds results of models with other classes.
    """
    written = []
    for kind, name in COLLECTED.items():
        if kind not in kinds:
            continue
        ending = OUTPUTS[kind].ending("png")
        parts = sorted(folder.rglob(f"*{ending}") if is_tree else folder.glob(f"*{ending}"))
        if kind == "yolo":
            _write_names(folder / name, classes)
        elif kind == "coco":
            _collect_coco(folder / name, parts)
        else:
            _collect_tables(folder / name, parts, ending)
        written.append(folder / name)
    return written


def _collect_tables(file: Path, parts: Sequence[Path], ending: str) -> None:
    """Writes the rows of all tables below one header, after the name of each image."""
    columns: dict[str, None] = {"image": None}
    for part in parts:
        columns |= dict.fromkeys(_rows_of(part).fieldnames or [])

    def write(unfinished: Path) -> None:
        with open(unfinished, "w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(columns), lineterminator="\n")
            writer.writeheader()
            for part in parts:
                name = part.relative_to(file.parent).as_posix().removesuffix(ending)
                writer.writerows({"image": name, **row} for row in _rows_of(part))

    write_atomically(file, write)


def _rows_of(table: Path) -> "csv.DictReader[str]":
    return csv.DictReader(read_text(table, LARGEST_TABLE).splitlines())


def _collect_coco(file: Path, parts: Sequence[Path]) -> None:
    """Writes the images and annotations of all files, numbered anew."""
    images: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    for part in parts:
        document = _coco_of(part)
        first = first or document
        if document["categories"] != first["categories"]:
            raise OutputExistsError(
                f"{part} has other classes than {parts[0]}, which a model of other classes wrote; "
                "accepted in one folder are results of models with the same classes; choose "
                "another folder with --out"
            )
        inside = part.parent.relative_to(file.parent).as_posix()
        for image in document["images"]:
            path = image["file_name"]
            if not is_address(path):
                path = posixpath.normpath(posixpath.join(inside, path))
            images.append({**image, "id": len(images) + 1, "file_name": path})

    def annotations() -> Iterator[dict[str, Any]]:
        number = 0
        for image, part in enumerate(parts, start=1):
            for annotation in _coco_of(part)["annotations"]:
                number += 1
                yield {**annotation, "id": number, "image_id": image}

    head = {"info": first.get("info"), "categories": first.get("categories"), "images": images}
    write_json(file, head, {"annotations": annotations()})


def _coco_of(part: Path) -> dict[str, Any]:
    """The content of the COCO file of one image.

    Raises:
        DataError: It is another file.
    """
    try:
        document: dict[str, Any] = read_json(part)
        (image,) = document["images"]
        if "file_name" in image and {"categories", "annotations"} <= document.keys():
            return document
    except (RecordError, KeyError, TypeError, AttributeError, ValueError):
        pass
    raise DataError(
        f"{part} is not what was predicted for one image; accepted beside {COLLECTED['coco']} are "
        "the files that it is made of; rename or remove it, or choose another folder with --out"
    )


def _write_names(file: Path, classes: Classes) -> None:
    """Writes the names of classes as YOLO's data.yaml has them; JSON's strings are YAML."""
    names = "".join(f"  {index}: {json.dumps(name)}\n" for index, name in enumerate(classes.names))
    text = f"{BEGINNINGS['yolo'].decode()}\nnames:\n{names}"
    write_atomically(file, lambda part: part.write_text(text, encoding="utf-8"))
