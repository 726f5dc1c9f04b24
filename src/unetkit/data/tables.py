"""Read lists of names for each split, and tables of pairs.

Lists are `trainval.txt` and `test.txt` as in Oxford-IIIT Pet (`NAME CLASS SPECIES BREED`), or any
`train.txt`, `val.txt`, `test.txt` with one name per line. Tables are .csv or .tsv.
"""

import csv
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from unetkit._shared.files import LARGEST_TABLE, read_text
from unetkit.data.filenames import SPLIT_WORDS, parse_path, stem_of
from unetkit.errors import DataError, did_you_mean
from unetkit.io.images import is_image_name, suffix_of

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
    "split": ("part", "split", "subset", "set"),
    "group": ("group",),
}


@dataclass(frozen=True)
class Listing:
    """Content of the lists of a data set.

    Args:
        splits: Split by the name of the pair.
        categories: Category by the name of the pair, if the lists have one.
    """

    splits: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TableRow:
    """A row of a table of pairs.

    Args:
        name: Name of the pair.
        image: Path of the image.
        mask: Path of the mask.
        split: "train", "validation", "trainval" or "test"; "" if the table names none.
        group: Group of pairs that must stay in one split; "" if the table names none.
    """

    name: str
    image: Path
    mask: Path
    split: str
    group: str


def read_lists(folder: Path, files: Sequence[PurePosixPath], names: Sequence[str]) -> Listing:
    """Reads the lists of splits among the files of a folder.

    A line begins with the name of a pair, the last component of this name, or the path of the
    image; names may contain spaces.

    Args:
        folder: Data folder.
        files: All files in it, relative to it.
        names: Names of the pairs in the folder.

    Raises:
        DataError: A list cannot be read, a name is in two splits, or no list has the name of a
            pair.
    """
    lists = [path for path in files if path.name.lower() in LIST_NAMES]
    if not lists:
        return Listing()
    known = _aliases(names)
    splits: dict[str, str] = {}
    sources: dict[str, PurePosixPath] = {}
    categories: dict[str, str] = {}
    # Pascal VOC has lists for each of its tasks: ImageSets/Segmentation beside ImageSets/Main.
    lists = [path for path in lists if parse_path(path).role == "mask"] or lists
    # Where all three exist, trainval.txt repeats train.txt and val.txt, which take precedence.
    lists.sort(key=lambda path: (path.name.lower() == "trainval.txt", path.as_posix()))
    for path in lists:
        split = LIST_NAMES[path.name.lower()]
        for line in _read_lines(folder / path):
            name, category = _read_line(line, known)
            earlier = splits.setdefault(name, split)
            source = sources.setdefault(name, path)
            is_finer = split == "trainval" and earlier in ("train", "validation")
            if earlier != split and not is_finer:
                raise DataError(
                    f"{folder / path} names {name!r}, which {folder / source} names too; accepted "
                    "are lists without common names; remove the name from one of them, or move "
                    "lists that should not be used out of the folder"
                )
            if category:
                categories[name] = category
    if not splits.keys() & set(names):
        raise DataError(
            f"none of the pairs in {folder} is named in its lists ({lists[0]} first); accepted "
            "are lists whose lines begin with the name of an image; correct or remove the lists"
        )
    return Listing(splits, categories)


def _aliases(names: Sequence[str]) -> dict[str, str]:
    """Maps each name, and its last component if that is unique, to the name."""
    last: dict[str, list[str]] = {}
    for name in names:
        last.setdefault(name.rsplit("/", 1)[-1], []).append(name)
    known = {alias: found[0] for alias, found in last.items() if len(found) == 1}
    return known | {name: name for name in names}


def _read_line(line: str, known: dict[str, str]) -> tuple[str, str]:
    """Name and category of a line `NAME CLASS SPECIES BREED`, or of a line with a name only."""
    for fields in ([line], line.rsplit(maxsplit=3), line.split()):
        path = PurePosixPath(fields[0])
        stem = stem_of(path) if is_image_name(path) else path.name
        for name in (fields[0], (path.parent / stem).as_posix(), stem):
            if name in known:
                return known[name], fields[1] if len(fields) == 4 else ""
    fields = line.split()
    return fields[0], fields[1] if len(fields) == 4 else ""


def _read_lines(path: Path) -> list[str]:
    text = unicodedata.normalize("NFC", read_table_text(path))
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_table_text(path: Path) -> str:
    """Reads a list or table as text in UTF-8.

    Raises:
        DataError: It cannot be read, or is other text.
    """
    try:
        return read_text(path, LARGEST_TABLE)
    except UnicodeDecodeError as error:
        raise DataError(
            f"list {path} is not UTF-8 ({error.reason} at byte {error.start}); accepted is UTF-8 "
            "text; save it as UTF-8"
        ) from error
    except OSError as error:
        raise DataError(
            f"list {path} cannot be read ({error.strerror}); accepted is a text file; change its "
            "permissions"
        ) from error


def read_table(path: Path) -> list[TableRow]:
    """Reads a table of pairs with the columns image and mask, and perhaps name, split and group.

    Args:
        path: Path of a .csv or .tsv file; paths in it are relative to its folder.

    Raises:
        DataError: The file cannot be read or lacks a column, or a row is incomplete, repeats a name
            or names an unknown split.
    """
    lines = read_table_text(path).splitlines()
    first = lines[0] if lines else ""
    # Spreadsheet programs write semicolons in locales with a decimal comma.
    commas = ";" if ";" in first and "," not in first else ","
    delimiter = "\t" if path.suffix.lower() == ".tsv" else commas
    reader = csv.DictReader(lines, delimiter=delimiter)
    try:
        table = [(reader.line_num, fields) for fields in reader]
    except csv.Error as error:
        raise DataError(
            f"table {path} cannot be read ({error}); accepted is text with the columns image and "
            "mask"
        ) from error
    columns = _columns(path, reader.fieldnames or ())
    rows: list[TableRow] = []
    seen: dict[str, int] = {}
    for number, fields in table:
        values = {key: (fields.get(column) or "").strip() for key, column in columns.items()}
        if not values["image"] or not values["mask"]:
            raise DataError(
                f"row {number} of {path} has no image or no mask; accepted are rows with both; "
                "complete or remove it"
            )
        image, mask = (values[key].replace("\\", "/") for key in ("image", "mask"))
        suffix = suffix_of(PurePosixPath(image))
        default = image[: len(image) - len(suffix)]
        name = unicodedata.normalize("NFC", values.get("name") or default)
        if name in seen:
            raise DataError(
                f"rows {seen[name]} and {number} of {path} have the name {name!r}; accepted are "
                "unique names; remove one row"
            )
        seen[name] = number
        split = _parse_split(path, number, values.get("split", ""))
        group = values.get("group", "")
        rows.append(TableRow(name, path.parent / image, path.parent / mask, split, group))
    return rows


def _columns(path: Path, header: Sequence[str]) -> dict[str, str]:
    """Header of each known column."""
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
                f"table {path} has the columns {', '.join(header) or '(none)'}, none of them "
                f"{key}; accepted are {', '.join(COLUMNS[key])}; add such a name in the first line"
            )
    return found


def _parse_split(path: Path, number: int, text: str) -> str:
    if text and text.lower() not in SPLIT_WORDS:
        raise DataError(
            f"row {number} of {path} has the split {text!r}; accepted are "
            f"{', '.join(SPLIT_WORDS)}{did_you_mean(text.lower(), SPLIT_WORDS)}"
        )
    return SPLIT_WORDS.get(text.lower(), "")
