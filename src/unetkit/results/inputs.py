"""The images that a prediction is asked for: files, folders, patterns, lists and tables of paths.

Each image has a folder below that of the results, so that the tree of a folder can be kept, and a
name by which it falls into one of several shards, on every machine and in every order of listing.
"""

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unetkit._shared.installation import install_command
from unetkit.data.tables import COLUMNS, read_table_text
from unetkit.errors import ConfigError, DataError, DataNotFoundError, MissingExtraError
from unetkit.prediction.sources import SUFFIXES, is_array_file, is_image
from unetkit.remote.addresses import Address, Location

TABLES = (".csv", ".parquet")
LISTS = (".txt", *TABLES)
WILD = "*?["  # signs of patterns
HASH_BYTES = 8
TREE_TOP = PurePosixPath()


@dataclass(frozen=True)
class InputImage:
    """An image to predict.

    Args:
        path: Path of the image file.
        subfolder: Folder of its results, from the folder of all results.
        address: Where the file was fetched from; or the address of an OME-Zarr image, whose chunks
            are fetched when they are read. None for a file of this machine.
    """

    path: Path
    subfolder: PurePosixPath = TREE_TOP
    address: Address | None = None

    @property
    def name(self) -> str:
        """What its results are named after, with their subfolder: the name without a suffix."""
        return (self.subfolder / self.path.stem.removesuffix(".ome")).as_posix()

    @property
    def source(self) -> Location:
        """What its pixels are read from."""
        is_read_there = self.address is not None and is_array_file(self.address)
        return self.address if self.address is not None and is_read_there else self.path


def as_input(image: Path | InputImage) -> InputImage:
    """An image file whose results are in no subfolder, or what `find_inputs` found."""
    return image if isinstance(image, InputImage) else InputImage(image)


@dataclass(frozen=True)
class Shard:
    """One of several parts of all images.

    An image belongs to a shard by a hash of its name, so that the others need not be known.

    Args:
        number: Number of the shard, from 1.
        count: Number of shards.
        attempt: Mark of one of several processes that may predict the same shard; empty for the
            only one.

    >>> shards = [Shard(number, 3) for number in (1, 2, 3)]
    >>> [shard.has("a/0001") for shard in shards]
    [True, False, False]
    """

    number: int
    count: int
    attempt: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ConfigError(
                f"shard is {self}; accepted are a number from 1 and the number of shards, as in "
                "3/64; use 1/64 for the first"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def part(self) -> str:
        """End of the names of its lock and its records."""
        attempt = f"-{self.attempt}" if self.attempt else ""
        return f"-{self.number}-of-{self.count}{attempt}"

    def has(self, name: str) -> bool:
        """Whether an image of this name belongs to the shard."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=HASH_BYTES)
        return int.from_bytes(digest.digest()) % self.count == self.number - 1


def parse_shard(text: str) -> Shard:
    """Parses a shard, such as "3/64".

    Raises:
        ConfigError: The text is something else.

    >>> parse_shard("3/64")
    Shard(number=3, count=64, attempt='')
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise ConfigError(
            f"shard is {text!r}; accepted are a number from 1 and the number of shards; use 3/64"
        )
    return Shard(int(number), int(count))


def find_inputs(
    inputs: Iterable[str | Path],
    *,
    recursive: bool = False,
    shard: Shard | None = None,
    skip: Path | None = None,
) -> list[InputImage]:
    """Expands files, folders, patterns and lists to images, without duplicates.

    Args:
        inputs: Paths of image files, folders, lists (.txt) and tables (.csv or .parquet) of paths,
            and glob patterns.
        recursive: Whether to take the images of all subfolders, too, and keep their tree.
        shard: Which part of the images is taken; None for all.
        skip: Folder that is passed over below others, such as that of the results.

    Raises:
        DataNotFoundError: An input does not exist, or a folder, pattern or list has no image.
        DataError: A list or table cannot be read.
        MissingExtraError: A table is Parquet, and pyarrow is not installed.
    """
    found: dict[Path, InputImage] = {}
    for item in inputs:
        is_empty = True
        for image in _expand(item, recursive, skip):
            is_empty = False
            if shard is None or shard.has(image.name):
                found.setdefault(image.path, image)
        if is_empty:
            raise DataNotFoundError(
                f"{item} names no image; accepted are image files, a folder of them, a pattern "
                f"such as 'photos/*.jpg', or a list of paths ({', '.join((*SUFFIXES, *LISTS))})"
            )
    return list(found.values())


def list_folder(
    folder: Path, *, recursive: bool = False, skip: Path | None = None
) -> Iterator[Path]:
    """Yields what a folder holds, in the order of names, without hidden files and folders.

    Args:
        folder: The folder.
        recursive: Whether to yield what subfolders hold instead of the subfolders. Links to folders
            are not followed.
        skip: Folder that is passed over.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if recursive and path.is_dir() and not path.is_symlink() and not is_array_file(path):
            if skip is None or not (skip.exists() and path.samefile(skip)):
                yield from list_folder(path, recursive=True, skip=skip)
        else:
            yield path


def _expand(item: str | Path, recursive: bool, skip: Path | None) -> Iterator[InputImage]:
    path = Path(item)
    if path.is_dir() and not is_array_file(path):
        for file in list_folder(path, recursive=recursive, skip=skip):
            if is_image(file):
                yield InputImage(file, _subfolder(file.relative_to(path), recursive))
    elif path.suffix.lower() in LISTS and path.is_file():
        for text in _read_entries(path):
            entry = PurePosixPath(text)
            yield InputImage(path.parent / text, _subfolder(entry, recursive))
    elif path.exists():
        yield InputImage(path)
    elif any(sign in str(item) for sign in WILD):
        anchor = Path(path.anchor)
        pattern = path.relative_to(anchor) if path.anchor else path
        fixed = _fixed_part(pattern)
        for file in sorted(anchor.glob(str(pattern))):
            if is_image(file):
                inside = Path(os.path.relpath(file, anchor / fixed))
                yield InputImage(file, _subfolder(inside, recursive))


def _fixed_part(pattern: Path) -> Path:
    """The folders of a pattern before the first sign of a pattern."""
    fixed = Path()
    for part in pattern.parts[:-1]:
        if any(sign in part for sign in WILD):
            break
        fixed /= part
    return fixed


def _subfolder(inside: Path | PurePosixPath, recursive: bool) -> PurePosixPath:
    """Folder for the results of an image, from its path inside of what was named."""
    if not recursive:
        return TREE_TOP
    parent = PurePosixPath(inside.as_posix()).parent
    if parent.is_absolute() or ".." in parent.parts:
        return PurePosixPath(*(part for part in parent.parts if part not in ("..", parent.anchor)))
    return parent


def _read_entries(path: Path) -> list[str]:
    """The paths in a list or table, with forward slashes."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        entries: Sequence[str] = _read_parquet(path)
    else:
        lines = read_table_text(path).splitlines()
        if suffix == ".txt":
            entries = [line for line in lines if not line.startswith("#")]
        else:
            entries = _read_csv(path, lines)
    return [entry.strip().replace("\\", "/") for entry in entries if entry.strip()]


def _read_csv(path: Path, lines: Sequence[str]) -> list[str]:
    try:
        reader = csv.DictReader(lines)
        column = _image_column(path, reader.fieldnames or ())
        return [row[column] or "" for row in reader]
    except csv.Error as error:
        raise DataError(f"table {path} cannot be read ({error}); accepted is CSV") from error


def _read_parquet(path: Path) -> list[str]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{path} is read by pyarrow, which is not installed; install it with "
            f"{install_command('cluster')}, or give the table as CSV"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            column = _image_column(path, file.schema_arrow.names)
            values = file.read([column]).column(0).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"table {path} cannot be read ({error}); accepted is Parquet with a column image"
        ) from error
    if not all(isinstance(value, str) for value in values):
        raise DataError(
            f"column {column} of {path} has values that are no text; accepted are paths"
        )
    return list(values)


def _image_column(path: Path, header: Sequence[str]) -> str:
    """Name of the column with the paths of images."""
    by_name = {name.strip().lower(): name for name in header}
    for alias in COLUMNS["image"]:
        if alias in by_name:
            return by_name[alias]
    raise DataError(
        f"table {path} has the columns {', '.join(header) or '(none)'}; accepted are "
        f"{', '.join(COLUMNS['image'])}; add such a name in the first line"
    )
