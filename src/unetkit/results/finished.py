"""Which results of an earlier run are finished, which are made again, and which are left alone.

A result is finished if its record names the same model, options, version of unetkit and image, and
the file is what was recorded. It is made again if the image has changed since, or if the file is
damaged. Whatever else has its name is left as it is: it may be wanted, and only the user knows.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

import tifffile
from PIL import Image

from unetkit._shared.files import open_input, read_bytes
from unetkit._shared.records import read_json
from unetkit.errors import OutputExistsError
from unetkit.prediction.sources import image_sha256, image_state, stamp
from unetkit.remote.addresses import Location
from unetkit.results.records import Records, ResultOrigin, ResultRecord


class Recorded(Protocol):
    """Something with results: an image of `plan.Job`, or a video."""

    @property
    def image(self) -> Path:
        """The file that results are made of."""

    @property
    def page(self) -> int | None:
        """Number of the image in a file of several, or None."""

    @property
    def files(self) -> Mapping[str, Path]:
        """File or folder of each kind of output."""

    @property
    def is_interrupted(self) -> bool:
        """Whether an earlier run left parts of the results."""


class ResultState(Enum):
    """What is known of a result; the value completes "the file is ..."."""

    MISSING = "missing"
    FINISHED = "finished"
    DAMAGED = "damaged"
    OUTDATED = "of an earlier version of the image"
    OTHER_IMAGE = "of another image"
    OTHER_MODEL = "of another model"
    OTHER_OPTIONS = "of other options"
    OTHER_VERSION = "of another version of unetkit"
    CHANGED = "changed since it was predicted"
    UNRECORDED = "without a record of what made it"


# Errors of readers of damaged files.
DAMAGES = (
    *(OSError, ValueError, SyntaxError, EOFError, KeyError),
    *(tifffile.TiffFileError, zipfile.BadZipFile, zlib.error),
)
# Results that are made again: nothing is lost with them.
MADE_AGAIN = {ResultState.MISSING, ResultState.DAMAGED, ResultState.OUTDATED}


@dataclass(frozen=True)
class Finder:
    """Tells the state of results.

    Args:
        records: Records of the folder of the results.
        origin: What results of this run depend on beside their images.
    """

    records: Records
    origin: ResultOrigin

    def state_of(self, job: Recorded) -> tuple[ResultState, Path]:
        """Returns the state of the results of an image, and the file that decides it.

        Files that are left alone decide before those that are made again, and those before
        finished ones.
        """
        with_states = [(self._state_of_file(file, job), file) for file in job.files.values()]
        for state, file in with_states:
            if state is not ResultState.FINISHED and state not in MADE_AGAIN:
                return state, file
        if job.is_interrupted:  # its tiles are there, and perhaps some of its files
            return ResultState.MISSING, with_states[0][1]
        for state, file in with_states:
            if state in MADE_AGAIN:
                return state, file
        return with_states[0]

    def _state_of_file(self, file: Path, job: Recorded) -> ResultState:
        if not file.exists():
            return ResultState.MISSING
        found = self.records.find(file)
        if found is None:
            return ResultState.UNRECORDED
        record, is_whole = found
        origin = record.origin
        if origin.model != self.origin.model:
            return ResultState.OTHER_MODEL
        if origin.unetkit != self.origin.unetkit:
            return ResultState.OTHER_VERSION
        if origin.options != self.origin.options:
            return ResultState.OTHER_OPTIONS
        is_current = self._is_of(record, job)
        if not is_current and record.image != self.records.path_of(job.image):
            return ResultState.OTHER_IMAGE
        if is_whole:
            return ResultState.FINISHED if is_current else ResultState.OUTDATED
        is_damaged = not is_readable(file, record.files[self.records.name_of(file)].bytes)
        return ResultState.DAMAGED if is_damaged else ResultState.CHANGED

    def _is_of(self, record: ResultRecord, job: Recorded) -> bool:
        """Whether a record is that of the image as it is now; the file is read where it must be."""
        if record.page != job.page:
            return False
        is_same_path = record.image == self.records.path_of(job.image)
        if is_same_path and record.state == image_state(job.image):
            return True
        return record.sha256 == image_sha256(job.image)


def is_readable(file: Path, recorded_bytes: int) -> bool:
    """Whether a result that is not what was recorded can be read to its end.

    What can be read was changed by someone, who may want to keep it; what cannot was cut off.

    Args:
        file: A file, or the folder of an OME-Zarr image.
        recorded_bytes: Size in bytes when it was written.
    """
    size, _ = stamp(file)
    if file.is_dir() or size == 0:
        return size >= recorded_bytes
    read = READERS_OF_RESULTS.get(file.suffix.lower(), _read_image)
    try:
        read(file)
    except DAMAGES:
        return False
    return True


def _read_image(file: Path) -> None:
    with open_input(file) as opened, Image.open(opened) as image:
        image.load()


def _read_tiff(file: Path) -> None:
    """Requires that no strip or tile ends beyond the end of the file."""
    with open_input(file) as opened, tifffile.TiffFile(opened) as tiff:
        pages = [level.keyframe for series in tiff.series for level in series.levels]
        ends = [
            offset + count
            for page in pages
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
        if max(ends) > tiff.filehandle.size:
            raise ValueError("it is cut off")


def _read_arrays(file: Path) -> None:
    with open_input(file) as opened, zipfile.ZipFile(opened) as archive:
        if archive.testzip() is not None:
            raise ValueError("a member is damaged")


def _read_lines(file: Path) -> None:
    if not read_bytes(file).endswith(b"\n"):
        raise ValueError("the last line is cut off")


READERS_OF_RESULTS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys((".tif", ".tiff"), _read_tiff),
    ".npz": _read_arrays,
    **dict.fromkeys((".csv", ".txt"), _read_lines),
    **dict.fromkeys((".json", ".geojson"), read_json),
}


def earlier_result_error(file: Location, state: ResultState) -> OutputExistsError:
    """The error about a result that is left as it is."""
    return OutputExistsError(
        f"{file} exists already and is {state.value}; accepted are results of the same image, "
        "model and options; name another folder with --out, or replace it with --overwrite"
    )
