"""A folder of results, where images or results are on other machines: what is there, what is sent.

Results have the records of `records`, with the address of the image in place of its path. An object
cannot be appended to: each group of images has an object of records of its own, which is sent
before its results, so that none is without a record.
"""

import json
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from unetkit._shared.files import writing_into
from unetkit.data.classes import Classes
from unetkit.prediction.sources import image_state
from unetkit.remote.addresses import Address, Location
from unetkit.remote.transfers import Sender, sizes_below, version_of_folder
from unetkit.results.collected import COLLECTED, collect, require_collectable
from unetkit.results.finished import ResultState
from unetkit.results.inputs import InputImage
from unetkit.results.outputs import FORMAT_SUFFIXES, MASK, OUTPUTS
from unetkit.results.plan import find_destination
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.records import (
    RECORDS,
    FileRecord,
    ResultOrigin,
    ResultRecord,
    read_records,
    recorded_path,
)
from unetkit.results.remote_inputs import TRANSFERS, RemoteImage

FIRST_PAGE = "_p000"


@dataclass(frozen=True)
class RemoteDestination:
    """Where results are written.

    Args:
        folder: Folder of the results.
        mask: Name of the mask of the only image; None to name results after images.
    """

    folder: Location
    mask: str | None

    @classmethod
    def of(cls, out: Location, format: str) -> "RemoteDestination":
        """Decides between a folder and a file as `plan.find_destination` does.

        Raises:
            ConfigError, OutputExistsError: See there.
        """
        if isinstance(out, Path):
            found = find_destination(out, format)
            return cls(found.folder, None if found.mask is None else found.mask.name)
        found = find_destination(Path("results", out.name), format)
        return cls(out, None) if found.mask is None else cls(out.parent, found.mask.name)

    def below(self, name: str) -> Location:
        """Location of a result, by its path from the folder."""
        return self.folder / name


class RemoteResults:
    """The results in a folder, of this machine or of another one.

    What is there is listed once: by `locked`, or by `refresh`.

    Args:
        destination: Where results are written.
        kinds: Kinds of output that are wanted.
        format: Format of the files.
        options: How results are written.
        origin: What results of this run depend on beside their images.
    """

    def __init__(
        self,
        destination: RemoteDestination,
        kinds: Sequence[str],
        format: str,
        options: ResultOptions,
        origin: ResultOrigin,
    ) -> None:
        self.destination, self.kinds, self.options = destination, kinds, options
        self._formats = tuple(FORMAT_SUFFIXES) if format == "auto" else (format,)
        self._origin = origin
        folder = destination.folder
        if isinstance(folder, Path):
            folder = Address(f"file://{folder.resolve().as_posix()}")
        self._sender = Sender(folder)
        self._sizes: dict[str, int] = {}
        self._by_image: dict[str, list[ResultRecord]] = defaultdict(list)
        self._by_file: dict[str, list[ResultRecord]] = defaultdict(list)

    @contextmanager
    def locked(self, part: str) -> Iterator[None]:
        """Lists the folder; one of this machine is locked until the end, as by `writing_into`.

        Args:
            part: Name of the part of a job that this process writes.
        """
        with ExitStack() as held:
            if isinstance(self.destination.folder, Path):
                held.enter_context(writing_into(self.destination.folder, part))
            self.refresh()
            yield

    def refresh(self) -> None:
        """Reads which results there are, and their records."""
        for name, size in sizes_below(self._sender.find()).items():
            self._add_size(name, size)
        self._read_records()

    def name_of(self, image: InputImage | RemoteImage) -> str:
        """How records name an image: its address, or its path from the folder if both are here."""
        if isinstance(image, RemoteImage):
            return str(image.address)
        folder = self.destination.folder
        if isinstance(folder, Path):
            return recorded_path(image.path, folder)
        return image.path.resolve().as_posix()

    def state_of(
        self, image: InputImage | RemoteImage, sha256: str | None = None
    ) -> tuple[ResultState, Location]:
        """Returns the state of the results of an image, and the one that decides it.

        Args:
            image: The image.
            sha256: SHA-256 of its content, which decides where versions are not known; None before
                it was read.
        """
        name, version = self.name_of(image), version_of_input(image)
        own = [
            record
            for record in self._by_image.get(name, [])
            if record.origin == self._origin
            and (record.sha256 == sha256 or (version != () and record.state == version))
        ]
        found = {file: record for record in own for file in record.files}
        expected = self._expected_names(image)
        has_pages = any(record.page is not None for record in own)
        for names in expected:
            files = found if has_pages else names
            if found.keys() >= names and all(self._is_whole(file, found) for file in files):
                return ResultState.FINISHED, self.destination.below(min(names))
        there = sorted(file for names in expected for file in names if file in self._sizes)
        for file in there:
            state = self._state_of_file(file, name)
            if state is not ResultState.OUTDATED:
                return state, self.destination.below(file)
        state = ResultState.OUTDATED if there else ResultState.MISSING
        return state, self.destination.below(there[0] if there else min(expected[0]))

    def has_results(self, image: InputImage | RemoteImage) -> bool:
        """Whether there are records of results of an image of this name."""
        return self.name_of(image) in self._by_image

    def places_of(self, image: InputImage | RemoteImage) -> list[Location]:
        """Locations that results of an image may have."""
        names = set().union(*self._expected_names(image))
        return [self.destination.below(name) for name in sorted(names)]

    def send(self, folder: Path, records: Iterable[ResultRecord]) -> list[str]:
        """Sends results with their records.

        Args:
            folder: Folder of this machine with the results.
            records: Their records.

        Returns:
            Paths of the results from the folder of all.

        Raises:
            DataError: They cannot be written.
        """
        records = [_with_sizes(record, folder) for record in records]
        names = [name for record in records for name in record.files]
        if not names:
            return []
        lines = [json.dumps(msgspec.to_builtins(record)) + "\n" for record in records]
        name = f"{RECORDS}-{time.time_ns()}-{uuid.uuid4().hex[:8]}.jsonl"
        (folder / name).write_text("".join(lines), encoding="utf-8")
        self._sender.send(folder / name, name)
        replaced = [name for name in names if (folder / name).is_dir() and name in self._sizes]
        for name in replaced:  # its chunks may be others
            self._sender.remove(name)
        with ThreadPoolExecutor(TRANSFERS) as pool:
            list(pool.map(lambda name: self._sender.send(folder / name, name), names))
        return names

    def require_collectable(self) -> None:
        """Refuses files of other origin in the places of tables of all images.

        Raises:
            OutputExistsError: There is one.
        """
        names = [
            name for kind, name in COLLECTED.items() if kind in self.kinds and name in self._sizes
        ]
        with tempfile.TemporaryDirectory(prefix="unetkit-") as folder:
            self._sender.read(names, Path(folder))
            require_collectable(Path(folder), self.kinds)

    def collect(self, classes: Classes, is_tree: bool) -> list[str]:
        """Puts tables and COCO files of all images together, and sends them.

        Returns:
            Names of the files.
        """
        wanted = [kind for kind in COLLECTED if kind in self.kinds]
        if not wanted:
            return []
        endings = tuple(OUTPUTS[kind].ending("png") for kind in wanted)
        names = [
            name
            for name in sizes_below(self._sender.find())
            if name.endswith(endings) and (is_tree or "/" not in name)
        ]
        with tempfile.TemporaryDirectory(prefix="unetkit-") as folder:
            self._sender.read(names, Path(folder))
            written = collect(Path(folder), wanted, classes, is_tree)
            for file in written:
                self._sender.send(file, file.name)
        return [file.name for file in written]

    def _add_size(self, name: str, size: int) -> None:
        """Counts a file, and what it adds to the folders of OME-Zarr that it is in."""
        self._sizes[name] = size
        parts = name.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if above.endswith(FORMAT_SUFFIXES["zarr"]) or above == self.destination.mask:
                self._sizes[above] = self._sizes.get(above, 0) + size

    def _read_records(self) -> None:
        names = [name for name in self._sizes if name.startswith(RECORDS) and "/" not in name]
        with tempfile.TemporaryDirectory(prefix="unetkit-") as folder:
            with ThreadPoolExecutor(TRANSFERS) as pool:
                read = pool.map(lambda name: self._sender.read([name], Path(folder)), sorted(names))
                files = [file for (file,) in read]
            for file in files:
                for record in read_records(file):
                    self._by_image[record.image].append(record)
                    for name in record.files:
                        self._by_file[name].append(record)

    def _is_whole(self, file: str, found: Mapping[str, ResultRecord]) -> bool:
        return self._sizes.get(file) == found[file].files[file].bytes

    def _state_of_file(self, file: str, image: str) -> ResultState:
        """State of a result that is there and not finished."""
        records = self._by_file.get(file)
        if not records:
            return ResultState.UNRECORDED
        size = self._sizes[file]
        record = next((one for one in records[::-1] if one.files[file].bytes == size), None)
        if record is None:
            return ResultState.CHANGED
        for mine, other, state in (
            (self._origin.model, record.origin.model, ResultState.OTHER_MODEL),
            (self._origin.unetkit, record.origin.unetkit, ResultState.OTHER_VERSION),
            (self._origin.options, record.origin.options, ResultState.OTHER_OPTIONS),
            (image, record.image, ResultState.OTHER_IMAGE),
        ):
            if mine != other:
                return state
        return ResultState.OUTDATED

    def _expected_names(self, image: InputImage | RemoteImage) -> list[set[str]]:
        """Names of the results for each format, of one image and of the first of several."""
        mask = self.destination.mask
        stem = image.name if mask is None else Path(mask).stem.removesuffix(".ome")
        expected = []
        for format in self._formats:
            for page in ("", FIRST_PAGE):
                ends = {
                    k: OUTPUTS[k].of_options(k, self.options).ending(format) for k in self.kinds
                }
                names = {kind: f"{stem}{page}{end}" for kind, end in ends.items()}
                if mask is not None and MASK in names:
                    names[MASK] = mask
                expected.append(set(names.values()))
        return expected


def version_of_input(image: InputImage | RemoteImage) -> tuple[int, ...]:
    """What changes with the file of an image; empty if it is not known."""
    if isinstance(image, InputImage):
        return image_state(image.path)
    return version_of_folder(image.file) if image.is_zarr else image.file.version


def _with_sizes(record: ResultRecord, folder: Path) -> ResultRecord:
    """A record in which the size of a folder is that of its files, as object stores count."""

    def sized(name: str, file: FileRecord) -> FileRecord:
        inside = [path for path in (folder / name).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in inside) if inside else file.bytes
        return msgspec.structs.replace(file, bytes=size)

    files = {name: sized(name, file) for name, file in record.files.items()}
    return msgspec.structs.replace(record, files=files)
