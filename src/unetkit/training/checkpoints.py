"""Checkpoints: everything from which a run goes on as if nothing had happened.

Each is one NumPy archive: arrays by name, and whatever else there is as JSON. Every array in it
has a checksum, so a damaged file is known when it is read. It is written beside its place, brought
to the disk, and renamed; the last two are kept.
"""

import contextlib
import io
import json
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np

from unetkit._shared.files import write_atomically
from unetkit._shared.records import convert
from unetkit.errors import ModelFileError

KEPT = 2
STATE = "state"  # the member that holds JSON
PATTERN = "step-*.npz"
# What NumPy and zipfile raise on an archive that is cut off or changed.
DAMAGE = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Args:
        path: The file.
        arrays: Any NumPy arrays by name.
        state: JSON.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


def write_checkpoint(
    folder: Path, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]
) -> Path:
    """Writes the checkpoint of a step, and removes all but the last two."""
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step:08d}.npz"
    members: dict[str, Any] = {STATE: np.frombuffer(json.dumps(state).encode(), np.uint8), **arrays}

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
    """Brings a rename to the disk, where the system has a way to: before the old file goes."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    return sorted(folder.glob(PATTERN), reverse=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads one file.

    Raises:
        ModelFileError: It is damaged.
        OSError: The system cannot read it.
    """
    content = io.BytesIO(path.read_bytes())
    try:
        with np.load(content, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        state = json.loads(arrays.pop(STATE).tobytes())
    except DAMAGE as error:
        raise ModelFileError(
            f"checkpoint {path} is damaged ({type(error).__name__}: {error}); accepted is a file "
            "as training wrote it; remove it, and the one before is used"
        ) from error
    return Checkpoint(path, arrays, state)


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[Path]]:
    """The newest checkpoint that is whole, and the damaged ones that are newer.

    Raises:
        ModelFileError: There are files, and every one is damaged.
    """
    damaged: list[Path] = []
    for path in checkpoint_files(folder):
        try:
            return read_checkpoint(path), damaged
        except ModelFileError:
            damaged.append(path)
    if damaged:
        raise ModelFileError(
            f"every checkpoint in {folder} is damaged ({', '.join(p.name for p in damaged)}); "
            "accepted is one that is whole; train the run again from its configuration"
        )
    return None, []


@dataclass
class Best:
    """The look whose weights are kept.

    Args:
        step: Updates before it.
        mean_iou: On the validation part.
        averaged: Whether it is the averaged weights that are kept.
    """

    step: int = 0
    mean_iou: float = -1.0
    averaged: bool = False


@dataclass
class Progress:
    """What a run has done and found so far.

    Args:
        step: Updates of the weights.
        losses: Of the updates since the last look.
        first_loss: Of the first update, before it had an effect.
        rows: Of curves.csv, one a look.
        best: The best look.
        looks_without_gain: Since the best one.
        seconds: Of training, over all sessions.
        waited_seconds: Of these, for data.
        warnings: Alarms that were raised, by code.
        is_over: Whether there is nothing left to do but to finish.
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
        return cls(**{**values, "best": Best(**values["best"])})


class _BestRecord(msgspec.Struct, forbid_unknown_fields=True):
    step: int
    mean_iou: float
    averaged: bool


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
