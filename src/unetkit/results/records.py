"""Which model, image and options each result was made from: a line in a file beside the results.

    {"image": "../photos/cat.jpg", "page": null, "state": [...], "sha256": "...",
     "origin": {"model": "...", "options": "...", "unetkit": "0.1.0"},
     "files": {"cat.png": {"bytes": 5120, "changed": 1767139200000000000, "sha256": "..."}}}

A line is appended when all files of an image are complete and before they get their names, so that
a run that is killed at any moment leaves no result without a record. Lines that are incomplete or
of another form count as none. All kinds of output have records in the same way, and a run reads
those of a million earlier results from one file, without opening any result.

What follows from a record is decided in `finished`.
"""

import errno
import hashlib
import json
import os
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from sys import intern

import msgspec

from unetkit._shared.files import open_input, sha256_of
from unetkit._shared.records import Count, convert
from unetkit._version import __version__
from unetkit.errors import full_disk_named
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import ImageVersion, stamp
from unetkit.results.predicted_image import ResultOptions

RECORDS = ".unetkit-records"  # start of the names of the files of records
LONGEST_LINE = 1 << 20  # bytes


class ResultOrigin(msgspec.Struct, frozen=True):
    """What a result depends on beside its image.

    Args:
        model: Digest of the model.
        options: Digest of all options that change results.
        unetkit: Version of unetkit.
    """

    model: str
    options: str
    unetkit: str


class FileRecord(msgspec.Struct, frozen=True):
    """A file or folder as it was written.

    Args:
        bytes: Size in bytes.
        changed: Time of the last change in nanoseconds.
        sha256: SHA-256 of the content, in hexadecimal digits.
    """

    bytes: Count
    changed: int
    sha256: str


class ResultRecord(msgspec.Struct, frozen=True):
    """What the results of an image were made from.

    Args:
        image: Path of the image from the folder of the results, with forward slashes.
        page: Number of the image in a file of several, or None.
        state: State of the image file, by which it is known again without being read.
        sha256: SHA-256 of the image file.
        origin: Model, options and version of unetkit.
        files: Each result, by its path from the folder of the results.
    """

    image: str
    page: int | None
    state: tuple[int, ...]
    sha256: str
    origin: ResultOrigin
    files: dict[str, FileRecord]


DECODER = msgspec.json.Decoder(ResultRecord)


def origin_of(predictor: Predictor, options: ResultOptions) -> ResultOrigin:
    """Returns what results of this model with these options depend on.

    All fields of `ResultOptions` and all arguments of the predictor but those of time and memory
    count, so that a new option is part of the digest without being named here.
    """
    chosen = {"results": asdict(options), "predictor": predictor.settings}
    text = json.dumps(chosen, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return ResultOrigin(predictor.digest, digest, __version__)


class Records:
    """Records of the results in a folder; results may be added by several threads.

    Args:
        folder: Folder of the results.
        part: End of the name of the file that records are added to, so that processes that write
            into one folder have a file each.
        names: Names of the images, as results begin with them, whose records are kept in memory;
            None for those of all images.
    """

    def __init__(self, folder: Path, part: str = "", names: Collection[str] | None = None) -> None:
        self._folder = folder
        self._file = folder / f"{RECORDS}{part}.jsonl"
        self._descriptor: int | None = None
        self._lock = threading.Lock()
        self._by_file: dict[str, list[ResultRecord]] = defaultdict(list)
        for file in sorted(folder.glob(f"{RECORDS}*.jsonl")):
            for record in read_records(file):
                for name in record.files:
                    if names is None or is_result_of(name, names):
                        self._by_file[name].append(record)

    def close(self) -> None:
        """Closes the file that records are added to."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def find(self, file: Path) -> tuple[ResultRecord, bool] | None:
        """Finds the record of an existing result.

        Size and time of change are compared first; the content of a file that was touched or
        copied is read.

        Args:
            file: A result in the folder.

        Returns:
            The record, and whether the file is what was recorded; None for no record.
        """
        name = self.name_of(file)
        found = self._by_file.get(name)
        if not found:
            return None
        now = stamp(file)
        for record in reversed(found):
            if now == (record.files[name].bytes, record.files[name].changed):
                return record, True
        digest = sha256_of(file)
        for record in reversed(found):
            if digest == record.files[name].sha256:
                return record, True
        return max(found, key=lambda record: record.files[name].changed), False

    def add(
        self,
        image: Path,
        page: int | None,
        version: ImageVersion,
        origin: ResultOrigin,
        files: Mapping[Path, Path],
    ) -> None:
        """Records results that are complete and about to get their names.

        Args:
            image: The image file.
            page: Number of the image in a file of several, or None.
            version: Version of the image file, from before its pixels were read.
            origin: What the results depend on beside the image.
            files: Where each result is now, by the file that it will be.
        """
        written = {}
        for file, part in files.items():
            size, changed = stamp(part)
            written[self.name_of(file)] = FileRecord(size, changed, sha256_of(part))
        path = self.path_of(image)
        record = ResultRecord(path, page, version.state, version.sha256, origin, written)
        line = json.dumps(msgspec.to_builtins(record)).encode() + b"\n"
        with self._lock, full_disk_named(self._file):
            if self._descriptor is None:
                self._descriptor = _open_to_append(self._file)
            if os.write(self._descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def path_of(self, image: Path) -> str:
        """Path of an image from the folder, as it is recorded."""
        return recorded_path(image, self._folder)

    def name_of(self, file: Path) -> str:
        """Path of a result from the folder, as it is recorded."""
        return file.relative_to(self._folder).as_posix()


def is_result_of(file: str, names: Collection[str]) -> bool:
    """Whether a result belongs to one of some images; each ending begins with "." or "_".

    >>> is_result_of("deep/cat_1_p000_overlay.png", {"deep/cat_1"})
    True
    """
    name = file
    while name not in names:
        cut = max(name.rfind("."), name.rfind("_"))
        if cut <= name.rfind("/"):
            return False
        name = name[:cut]
    return True


def recorded_path(image: Path, folder: Path) -> str:
    """Path of an image from a folder of results, as it is recorded there."""
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:  # another drive
        return image.resolve().as_posix()


def _open_to_append(file: Path) -> int:
    """Opens a file for lines at its end; a line that a killed process left incomplete is ended."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    descriptor = os.open(file, flags, 0o666)
    size = os.fstat(descriptor).st_size
    if size:
        os.lseek(descriptor, -1, os.SEEK_END)
        if os.read(descriptor, 1) != b"\n":
            os.write(descriptor, b"\n")
    return descriptor


def read_records(file: Path) -> Iterator[ResultRecord]:
    """Yields the records of a file, without lines that are incomplete or of another form."""
    with open_input(file) as lines:
        while line := lines.readline(LONGEST_LINE):
            with suppress(ValueError, RecursionError):
                record = _parse(line)
                origin = record.origin  # of which a folder has few
                shared = ResultOrigin(
                    intern(origin.model), intern(origin.options), intern(origin.unetkit)
                )
                yield msgspec.structs.replace(record, origin=shared)


def _parse(line: bytes) -> ResultRecord:
    """Parses a line; msgspec's parser is fast, but refuses names that are not Unicode."""
    try:
        return DECODER.decode(line)
    except msgspec.DecodeError:
        return convert(json.loads(line), ResultRecord)
