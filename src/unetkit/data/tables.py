"""Lists that come with data: which names are for training and which for the test, and tables.

`trainval.txt` and `test.txt` as Oxford-IIIT Pet has them (`NAME CLASS SPECIES BREED`), or any
`train.txt`, `val.txt`, `test.txt` with a name a line; tables of pairs as .csv or .tsv.
"""

import csv
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from unetkit.data.filenames import SPLIT_WORDS, place_of
from unetkit.errors import DataError, did_you_mean
from unetkit.io.images import IMAGE_SUFFIXES

LIST_NAMES = {
    "trainval.txt": "trainval",
    "train.txt": "train",
    "val.txt": "validation",
    "valid.txt": "validation",
    "validation.txt": "validation",
    "test.txt": "test",
}
TABLE_SUFFIXES = (".csv", ".tsv")
COLUMNS = {
    "image": ("image", "images", "img", "image_path", "image_file", "filename", "file", "photo"),
    "mask": ("mask", "masks", "label", "mask_path", "mask_file", "label_path", "annotation"),
    "name": ("name", "id"),
    "part": ("part", "split", "subset", "set"),
    "group": ("group",),
}


@dataclass(frozen=True)
class Listing:
    """What official lists say: part by name, and category by name where they have one."""

    parts: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A row of a table of pairs."""

    name: str
    image: Path
    mask: Path
    part: str
    group: str


def read_lists(folder: Path, files: Sequence[PurePosixPath], names: Sequence[str]) -> Listing:
    """Reads the official lists among the files of a folder.

    A line begins with a pair's name, its last part, or its image's path; names may hold spaces.

    Raises:
        DataError: A name stands in two parts, or in no list stands the name of a pair.
    """
    lists = [path for path in files if path.name.lower() in LIST_NAMES]
    if not lists:
        return Listing()
    known = _aliases(names)
    parts: dict[str, str] = {}
    sources: dict[str, PurePosixPath] = {}
    categories: dict[str, str] = {}
    # Pascal VOC has lists for each of its tasks: ImageSets/Segmentation beside ImageSets/Main.
    lists = [path for path in lists if place_of(path).role == "mask"] or lists
    # trainval.txt is the sum of train.txt and val.txt where all three exist: the finer one stands.
    lists.sort(key=lambda path: (path.name.lower() == "trainval.txt", path.as_posix()))
    for path in lists:
        part = LIST_NAMES[path.name.lower()]
        for line in _read_lines(folder / path):
            name, category = _read_line(line, known)
            earlier = parts.setdefault(name, part)
            source = sources.setdefault(name, path)
            if earlier != part and not (part == "trainval" and earlier in ("train", "validation")):
                raise DataError(
                    f"{folder / path} names {name!r}, which {folder / source} names too; accepted "
                    "are lists without a common name; remove it from one of them, or move away "
                    "the lists that are not meant"
                )
            if category:
                categories[name] = category
    if not parts.keys() & set(names):
        raise DataError(
            f"none of the pairs in {folder} is named in its lists ({lists[0]} first); accepted "
            "are lists whose lines begin with the image's name; correct or remove the lists"
        )
    return Listing(parts, categories)


def _aliases(names: Sequence[str]) -> dict[str, str]:
    """Each name, and its last part where that is unique, to the name."""
    last: dict[str, list[str]] = {}
    for name in names:
        last.setdefault(name.rsplit("/", 1)[-1], []).append(name)
    known = {alias: found[0] for alias, found in last.items() if len(found) == 1}
    return known | {name: name for name in names}


def _read_line(line: str, known: dict[str, str]) -> tuple[str, str]:
    """Name and category of a line `NAME CLASS SPECIES BREED`, or of a name alone."""
    for fields in ([line], line.rsplit(maxsplit=3), line.split()):
        path = PurePosixPath(fields[0])
        stem = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
        for name in (fields[0], (path.parent / stem).as_posix(), stem):
            if name in known:
                return known[name], fields[1] if len(fields) == 4 else ""
    fields = line.split()
    return fields[0], fields[1] if len(fields) == 4 else ""


def _read_lines(path: Path) -> list[str]:
    lines = (unicodedata.normalize("NFC", line.strip()) for line in _read_text(path).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"list {path} is not UTF-8 ({error.reason} at byte {error.start}); accepted is UTF-8 "
            "text; save it as such"
        ) from error
    except OSError as error:
        raise DataError(
            f"list {path} cannot be read ({error.strerror}); accepted is a text file; change its "
            "permissions"
        ) from error


def read_table(path: Path) -> list[Row]:
    """Reads a table of pairs: columns image and mask, and perhaps name, part and group.

    Raises:
        DataError: It is no such table, or a row is incomplete or repeats a name.
    """
    lines = _read_text(path).splitlines()
    first = lines[0] if lines else ""
    # Spreadsheets of countries with a decimal comma write semicolons.
    commas = ";" if ";" in first and "," not in first else ","
    delimiter = "\t" if path.suffix.lower() == ".tsv" else commas
    reader = csv.DictReader(lines, delimiter=delimiter)
    try:
        table = [(reader.line_num, fields) for fields in reader]
    except csv.Error as error:
        raise DataError(
            f"table {path} cannot be read ({error}); accepted is text with the columns image and "
            "mask; correct it"
        ) from error
    columns = _columns(path, reader.fieldnames or ())
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for number, fields in table:
        values = {key: (fields.get(column) or "").strip() for key, column in columns.items()}
        if not values["image"] or not values["mask"]:
            raise DataError(
                f"row {number} of {path} has no image or no mask; accepted are rows with both; "
                "fill it in or remove it"
            )
        image, mask = (values[key].replace("\\", "/") for key in ("image", "mask"))
        default = image.removesuffix(PurePosixPath(image).suffix)
        name = unicodedata.normalize("NFC", values.get("name") or default)
        if name in seen:
            raise DataError(
                f"rows {seen[name]} and {number} of {path} have the name {name!r}; accepted is "
                "each image once; remove one"
            )
        seen[name] = number
        part = _part(path, number, values.get("part", ""))
        group = values.get("group", "")
        rows.append(Row(name, path.parent / image, path.parent / mask, part, group))
    return rows


def _columns(path: Path, header: Sequence[str]) -> dict[str, str]:
    """Name in the header of each column that is known."""
    by_name = {name.strip().lower(): name for name in header}
    found = {
        key: by_name[alias]
        for key, aliases in COLUMNS.items()
        for alias in reversed(aliases)
        if alias in by_name
    }
    for key in ("image", "mask"):
        if key not in found:
            raise DataError(
                f"table {path} has the columns {', '.join(header) or 'of no header'}, none of them "
                f"{key}; accepted are {', '.join(COLUMNS[key])}; name a column so in the first line"
            )
    return found


def _part(path: Path, number: int, text: str) -> str:
    if text and text.lower() not in SPLIT_WORDS:
        raise DataError(
            f"row {number} of {path} has the part {text!r}; accepted are "
            f"{', '.join(SPLIT_WORDS)}{did_you_mean(text.lower(), SPLIT_WORDS)}"
        )
    return SPLIT_WORDS.get(text.lower(), "")
