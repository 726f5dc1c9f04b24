"""Checkpoints: the complete state of a training, from which it can be resumed exactly.

Each is a NumPy archive of arrays by name, and of all other values as JSON, with a SHA-256 of all of
them, by which damage is detected when it is read. It is written to a temporary file,
flushed to the disk, and renamed; the last two are kept.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from unetkit._shared.files import read_bytes, write_atomically
from unetkit._shared.records import convert
from unetkit.errors import ModelFileError
from unetkit.io.arrays import require_array_size

LARGEST_CHECKPOINT = 1 << 34  # bytes; the network of the paper and its optimizer have 0.4 GB

KEPT = 2
STATE = "state"  # name of the member with JSON
DIGEST = "sha256"  # name of the member with the SHA-256 of all others; older files have none
PATTERN = "step-*.npz"


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint file.

    Args:
        path: Path of the file.
        arrays: NumPy arrays by name.
        state: All other values, as parsed JSON.
        has_digest: Whether the file has a SHA-256, which was right.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]
    has_digest: bool = False


def write_checkpoint(
    folder: Path, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]
) -> Path:
    """Writes the checkpoint of a step, removes all but the last two, and returns its path."""
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step:08d}.npz"
    members: dict[str, Any] = {STATE: np.frombuffer(json.dumps(state).encode(), np.uint8), **arrays}
    members[DIGEST] = np.frombuffer(bytes.fromhex(_digest(members)), np.uint8)

    def write(part: Path) -> None:
        with open(part, "wb") as file:
            np.savez(file, **members)
            file.flush()
            os.fsync(file.fileno())

    write_atomically(path, write)
    _flush_names(folder)
    for old in checkpoint_files(folder)[KEPT:]:
        old.unlink()
    return path


def _flush_names(folder: Path) -> None:
    """Flushes a rename to the disk, if the system can, before the old file is removed."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def checkpoint_files(folder: Path) -> list[Path]:
    """Paths of the checkpoints in a folder, the newest first."""
    return sorted(folder.glob(PATTERN), reverse=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint file.

    Raises:
        ModelFileError: The file is damaged.
        OSError: The system cannot read the file.
    """
    content = io.BytesIO(read_bytes(path, LARGEST_CHECKPOINT))
    try:
        _require_stored(content)
        with np.load(content, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        recorded = arrays.pop(DIGEST, None)
        if recorded is not None and recorded.tobytes().hex() != _digest(arrays):
            raise ValueError("its arrays differ from the SHA-256 in it")
        state = convert(json.loads(arrays.pop(STATE).tobytes()), dict[str, Any])
    except Exception as error:  # an archive that was changed fails in many ways
        raise ModelFileError(
            f"checkpoint {path} is damaged ({type(error).__name__}: {error}); accepted is a file "
            "as training wrote it; remove it to use the previous one"
        ) from error
    return Checkpoint(path, arrays, state, recorded is not None)


def _require_stored(content: io.BytesIO) -> None:
    """Refuses compressed arrays, as a small file can hold any number of them, and too short ones.

    Raises:
        ValueError: There is one.
    """
    with zipfile.ZipFile(content) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed")
            with archive.open(entry) as member:
                require_array_size(member, entry.file_size)
    content.seek(0)


def _digest(members: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over name, type, shape and values of arrays, in hexadecimal."""
    found = hashlib.sha256()
    for name in sorted(members):
        array = np.ascontiguousarray(members[name])
        found.update(json.dumps([name, array.dtype.str, np.shape(members[name])]).encode())
        found.update(array.tobytes())
    return found.hexdigest()


def newest_checkpoint(
    folder: Path, before: Path | None = None
) -> tuple[Checkpoint | None, list[Path]]:
    """The newest undamaged checkpoint, and the paths of newer, damaged ones.

    Args:
        folder: Folder of the checkpoints.
        before: A checkpoint; only older ones are read.

    Raises:
        ModelFileError: Every checkpoint that is read is damaged.
    """
    damaged: list[Path] = []
    for path in checkpoint_files(folder):
        if before is not None and path >= before:
            continue
        try:
            return read_checkpoint(path), damaged
        except ModelFileError:
            damaged.append(path)
    if damaged:
        raise ModelFileError(
            f"every checkpoint in {folder} is damaged ({', '.join(p.name for p in damaged)}); "
            "accepted is at least one undamaged file; train the run again from its configuration"
        )
    return None, []


@dataclass
class Best:
    """The validation pass whose weights are kept: that with the best score, or the last one.

    Args:
        step: Number of updates before it.
        mean_iou: Mean IoU on the validation split.
        averaged: Whether the kept weights are the averaged ones.
        score: Metric that passes are compared by: the IoU of the foreground if there is one class
            beside the background, else the mean IoU.
    """

    step: int = 0
    mean_iou: float = -1.0
    averaged: bool = False
    score: float = -1.0


@dataclass
class Progress:
    """Progress and results of a run so far; saved in checkpoints.

    Args:
        step: Number of weight updates.
        losses: Losses of the updates since the last validation pass.
        first_loss: Loss of the first update, computed before the update.
        rows: Rows of curves.csv, one per validation pass.
        best: The best validation pass.
        looks_without_gain: Number of validation passes since the best one.
        seconds: Training time of all sessions, in seconds.
        waited_seconds: Part of it that was spent waiting for data, in seconds.
        warnings: Warnings that were displayed, by code.
        is_over: Whether training has stopped and only the results are to be written.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    first_loss: float = math.nan
    rows: list[dict[str, float]] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    looks_without_gain: int = 0
    seconds: float = 0.0
    waited_seconds: float = 0.0
    warnings: dict[str, str] = field(default_factory=dict)
    is_over: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Progress":
        """Reads values that `to_json` returned.

        Raises:
            RecordError: A value is missing or has a wrong type.
        """
        convert(values, _ProgressRecord)
        best = {"score": values["best"]["mean_iou"], **values["best"]}  # of an earlier version
        return cls(**{**values, "best": Best(**best)})


class _BestRecord(msgspec.Struct, forbid_unknown_fields=True):
    step: int
    mean_iou: float
    averaged: bool
    score: float = -1.0


class _ProgressRecord(msgspec.Struct, forbid_unknown_fields=True):
    step: int
    losses: list[float]
    first_loss: float
    rows: list[dict[str, float]]
    best: _BestRecord
    looks_without_gain: int
    seconds: float
    waited_seconds: float
    warnings: dict[str, str]
    is_over: bool
