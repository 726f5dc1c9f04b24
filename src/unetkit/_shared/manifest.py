"""The manifest of a run, which records how it was trained, and the pairs it was trained on.

The manifest is written when training begins and updated until it ends, always as a whole file. It
may have been written by another version or by someone else, so `records` checks it when it is read.
Every key but `schema` and `state` may be missing or null, which means unknown.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec

from unetkit._shared import run_folder
from unetkit._shared.files import open_input, write_text
from unetkit._shared.records import (
    Count,
    Number,
    RecordError,
    convert,
    plain,
    read_json,
    refusing,
    shorten,
)
from unetkit._shared.run_folder import SPLIT_NAMES
from unetkit.errors import DataNotFoundError

SCHEMA = 1
STATES = ("training", "interrupted", "finished", "failed")
NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]
REMEDY = (
    "accepted is what this version of unetkit train wrote; restore it from a copy, or train the "
    "run again"
)


class _Machine(TypedDict, total=False):
    processor: str | None
    cores: Count | None
    memory_gib: Number | None


class _Git(TypedDict, total=False):
    folder: str | None
    revision: str | None
    dirty: bool | None


class _Data(TypedDict, total=False):
    path: str | None
    pairs: Count | None
    sha256: str | None


class _Session(TypedDict, total=False):
    command: str | None
    date: str | None
    from_step: Count | None
    to_step: Count | None
    seconds: Number | None


class _Best(TypedDict, total=False):
    step: Count | None
    mean_iou: Number | None
    averaged: bool | None


class _Issue(TypedDict, total=False):
    level: str | None
    code: str | None
    text: str | None
    remedy: str | None


class _Manifest(TypedDict, total=False):
    """Types of the known keys; any of them may be missing or null, and others may be there."""

    unetkit: str | None
    command: str | None
    date: str | None
    platform: str | None
    python: str | None
    versions: dict[str, str | None] | None
    machine: _Machine | None
    device: str | None
    backend: str | None
    threads: dict[str, Count | None] | None
    deterministic: bool | None
    git: _Git | None
    data: _Data | None
    configuration: dict[str, Any] | None
    sessions: list[_Session] | None
    best: _Best | None
    steps_done: Count | None
    training_seconds: Number | None
    images_per_second: Number | None
    waiting_share: Number | None
    export_difference: Number | None
    temperature: Number | None
    parts: dict[str, Any] | None
    findings: list[_Issue] | None
    warnings: list[str] | None
    seen_before: list[str] | None
    variables: dict[str, str | None] | None
    files: dict[str, str | None] | None


class _Pair(msgspec.Struct):
    name: NonEmpty
    image_sha256: NonEmpty
    mask_sha256: NonEmpty
    page: Count | None = None
    block: dict[str, Count] | None = None


class _Skipped(msgspec.Struct):
    name: str


class _Split(msgspec.Struct):
    data: str
    train: list[_Pair]
    validation: list[_Pair]
    test: list[_Pair]
    skipped: list[_Skipped] | None = None


@dataclass(frozen=True)
class PairRecord:
    """A pair as it was when a run was trained.

    Args:
        part: Split of the pair: "train", "validation" or "test".
        name: Name of the pair, unique within the data.
        image_sha256: SHA-256 of the image file, in hexadecimal.
        mask_sha256: SHA-256 of the mask file, in hexadecimal.
        page: Index of the image in a file of several; None for the only one.
        block: Place of the block of the image, and how it was cut; None for a whole image.
    """

    part: str
    name: str
    image_sha256: str
    mask_sha256: str
    page: int | None = None
    block: Mapping[str, int] | None = None


@dataclass(frozen=True)
class SplitRecord:
    """Content of a run's split.json.

    Args:
        data: Path of the data folder or table.
        pairs: Pairs of all splits.
        skipped: Names of pairs and files that were left out.
    """

    data: str
    pairs: tuple[PairRecord, ...]
    skipped: frozenset[str]


def write_manifest(run: Path, values: Mapping[str, Any]) -> None:
    """Writes a run's manifest as a whole file; numbers that are not finite become null."""
    text = json.dumps(plain({"schema": SCHEMA, **values}), indent=1, allow_nan=False)
    write_text(run / run_folder.MANIFEST, text)


def update_manifest(run: Path, **changes: Any) -> None:
    """Replaces some values of a run's manifest.

    Raises:
        DataNotFoundError, DataError: The manifest is missing or damaged.
    """
    write_manifest(run, read_manifest(run) | changes)


def record_files(run: Path) -> None:
    """Lists the SHA-256 of the run's weights and model in its manifest, as `files`.

    Raises:
        DataNotFoundError, DataError: The manifest is missing or damaged.
    """
    names = (run_folder.WEIGHTS, run_folder.MODEL)
    files = {name: file_digest(run / name) for name in names if (run / name).is_file()}
    update_manifest(run, files=files)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open_input(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(run: Path) -> dict[str, Any]:
    """Reads the manifest of a run; every known key is missing, null or of its type.

    Raises:
        DataNotFoundError: The run folder or its manifest does not exist.
        DataError: The manifest is damaged, or written by another version.
    """
    if not run.is_dir():
        raise DataNotFoundError(
            f"run {run} {'is a file' if run.exists() else 'does not exist'}; accepted is the "
            "folder of a training run"
        )
    file = run / run_folder.MANIFEST
    try:
        with refusing(file, REMEDY):
            values: dict[str, Any] = convert(read_json(file), dict[str, Any])
            if values.get("schema") != SCHEMA or isinstance(values["schema"], bool):
                raise RecordError(f"schema is {shorten(values.get('schema'))}, not {SCHEMA}")
            if values.get("state") not in STATES:
                state = shorten(values.get("state"))
                raise RecordError(f"state is {state}, none of {', '.join(STATES)}")
            convert(values, _Manifest)
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"{run} holds no {run_folder.MANIFEST}; accepted is the folder of a training run"
        ) from error
    return values


def read_split_record(run: Path) -> SplitRecord:
    """Reads the pairs that a run was trained on from its split.json.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The file is damaged.
    """
    file = run / run_folder.SPLIT
    try:
        with refusing(file, REMEDY):
            record = convert(read_json(file), _Split)
            pairs = tuple(
                PairRecord(
                    part, pair.name, pair.image_sha256, pair.mask_sha256, pair.page, pair.block
                )
                for part in SPLIT_NAMES
                for pair in getattr(record, part)
            )
            if len({pair.name for pair in pairs}) < len(pairs):
                raise RecordError("a name occurs twice")
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"{run} holds no {run_folder.SPLIT}; accepted is the folder of a training run; restore "
            "the file from a copy"
        ) from error
    return SplitRecord(record.data, pairs, frozenset(entry.name for entry in record.skipped or []))


def data_record(run: Path) -> dict[str, Any]:
    """The manifest's `data`: path, number of pairs, and one hash of all pairs in split.json.

    Raises:
        DataNotFoundError, DataError: The split.json of the run is missing or damaged.
    """
    split = read_split_record(run)
    return {
        "path": split.data,
        "pairs": len(split.pairs),
        "sha256": data_digest(split.pairs),
    }


def data_digest(pairs: Iterable[PairRecord]) -> str:
    """SHA-256 over split, name, page, block and hashes of all pairs, independent of their order.

    >>> one, two = PairRecord("train", "a", "00", "01"), PairRecord("test", "b", "02", "03")
    >>> data_digest([one, two]) == data_digest([two, one]) != data_digest([one])
    True
    """
    found = hashlib.sha256()
    for pair in sorted(pairs, key=lambda pair: (pair.part, pair.name)):
        line: list[Any] = [pair.part, pair.name, pair.page, pair.image_sha256, pair.mask_sha256]
        if pair.block is not None:
            line.append(sorted(pair.block.items()))
        found.update(json.dumps(line).encode() + b"\n")
    return found.hexdigest()
