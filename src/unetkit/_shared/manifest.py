"""What a run folder says of how it came about: its manifest, and the pairs that it was made from.

The manifest is written when training begins and kept up to date until it ends, always whole. Who
reads it back may be another version or a stranger's folder, so types and numbers are checked before
they are believed. Anything but `schema` and `state` may be missing or null: then it is not known.
"""

import hashlib
import json
import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit._shared import run_folder
from unetkit._shared.files import write_text
from unetkit._shared.run_folder import SPLIT_NAMES
from unetkit.errors import DataError, DataNotFoundError

SCHEMA = 1
STATES = ("training", "interrupted", "finished", "failed")
LARGEST_FILE = 1 << 28  # bytes; a split of a million pairs has less
LIMIT = 1e15  # of any number
ANY = "*"  # whatever the key is
# Of what kind each value is: int for counts, float for any finite number.
SHAPE: dict[str, Any] = {
    "unetkit": str,
    "command": str,
    "date": str,
    "platform": str,
    "python": str,
    "versions": {ANY: str},
    "machine": {"processor": str, "cores": int, "memory_gib": float},
    "device": str,
    "backend": str,
    "threads": {ANY: int},
    "deterministic": bool,
    "git": {"folder": str, "revision": str, "dirty": bool},
    "data": {"path": str, "pairs": int, "sha256": str},
    "configuration": {},
    "sessions": [{"command": str, "date": str, "from_step": int, "to_step": int, "seconds": float}],
    "best": {"step": int, "mean_iou": float, "averaged": bool},
    "steps_done": int,
    "training_seconds": float,
    "images_per_second": float,
    "waiting_share": float,
    "export_difference": float,
    "parts": {},
    "findings": [{"level": str, "code": str, "text": str, "remedy": str}],
    "warnings": [str],
    "seen_before": [str],
    "variables": {ANY: str},
}
NAMES = {str: "text", bool: "true or false", int: "a whole number from 0 up", float: "a number"}
PAIR = {"name": str, "image_sha256": str, "mask_sha256": str, "page": int}


@dataclass(frozen=True)
class PairRecord:
    """A pair as training saw it.

    Args:
        part: "train", "validation" or "test".
        name: Of the pair, within its data.
        image_sha256: Of the image's file, in hexadecimal.
        mask_sha256: Of the mask's file.
        page: Number of the picture in files of several; None for the only one.
    """

    part: str
    name: str
    image_sha256: str
    mask_sha256: str
    page: int | None = None


@dataclass(frozen=True)
class SplitRecord:
    """What a run's split.json holds.

    Args:
        data: The data folder or table.
        pairs: In every part.
        skipped: Pairs and files that were left out.
    """

    data: str
    pairs: tuple[PairRecord, ...]
    skipped: frozenset[str]


def write_manifest(run: Path, values: Mapping[str, Any]) -> None:
    """Writes a run's manifest, whole or not at all; numbers that are not finite become null."""
    text = json.dumps(_finite({"schema": SCHEMA, **values}), indent=1, allow_nan=False)
    write_text(run / run_folder.MANIFEST, text)


def update_manifest(run: Path, **changes: Any) -> None:
    """Replaces some values of a run's manifest.

    Raises:
        DataNotFoundError, DataError: As `read_manifest`.
    """
    write_manifest(run, read_manifest(run) | changes)


def read_manifest(run: Path) -> dict[str, Any]:
    """What a run's manifest holds: every value null, or of the kind that SHAPE says.

    Raises:
        DataNotFoundError: There is no run, or no manifest in it.
        DataError: It was written by another version, or is damaged.
    """
    if not run.is_dir():
        raise DataNotFoundError(
            f"run {run} {'is a file' if run.exists() else 'does not exist'}; accepted is the "
            "folder of a training run; check the path"
        )
    file = run / run_folder.MANIFEST
    try:
        values = _read(file)
        if values.get("schema") != SCHEMA or isinstance(values["schema"], bool):
            raise ValueError(f"its schema is {_short(values.get('schema'))}, not {SCHEMA}")
        if values.get("state") not in STATES:
            raise ValueError(f"state is {_short(values.get('state'))}, none of {', '.join(STATES)}")
        _check(values, SHAPE, "")
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"{run} holds no {run_folder.MANIFEST}; accepted is the folder of a training run; "
            "check the path"
        ) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{file} cannot be used ({error}); accepted is what this version of unetkit train "
            "wrote; restore it from a copy, or train the run again"
        ) from error
    return values


def read_split_record(run: Path) -> SplitRecord:
    """The pairs that a run was made from, as its split.json says.

    Raises:
        DataNotFoundError: There is no such file.
        DataError: It is damaged.
    """
    file = run / run_folder.SPLIT
    try:
        values = _read(file)
        shape = {"data": str, "skipped": [{"name": str}], **{part: [PAIR] for part in SPLIT_NAMES}}
        _check(values, shape, "")
        pairs = tuple(
            PairRecord(
                part,
                entry["name"],
                entry["image_sha256"],
                entry["mask_sha256"],
                entry.get("page"),
            )
            for part in SPLIT_NAMES
            for entry in values[part]
        )
        if not all(pair.name and pair.image_sha256 and pair.mask_sha256 for pair in pairs):
            raise ValueError("the name or a hash of a pair is null")
        if len({pair.name for pair in pairs}) < len(pairs):
            raise ValueError("a name is there twice")
        skipped = frozenset(str(entry["name"]) for entry in values.get("skipped") or [])
        return SplitRecord(str(values["data"]), pairs, skipped)
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"{run} holds no {run_folder.SPLIT}; accepted is the folder of a training run; check "
            "the path, or restore the file from a copy"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise DataError(
            f"{file} cannot be used ({what}); accepted is what this version of unetkit train "
            "wrote; restore it from a copy, or train the run again"
        ) from error


def data_record(run: Path) -> dict[str, Any]:
    """The manifest's `data`: where they are, how many pairs, one hash of all that split.json holds.

    Raises:
        DataNotFoundError, DataError: As `read_split_record`.
    """
    split = read_split_record(run)
    return {
        "path": split.data,
        "pairs": len(split.pairs),
        "sha256": data_digest(split.pairs),
    }


def data_digest(pairs: Iterable[PairRecord]) -> str:
    """One SHA-256 over part, name, page and file hashes of all pairs, whatever their order.

    >>> one, two = PairRecord("train", "a", "00", "01"), PairRecord("test", "b", "02", "03")
    >>> data_digest([one, two]) == data_digest([two, one]) != data_digest([one])
    True
    """
    found = hashlib.sha256()
    for pair in sorted(pairs, key=lambda pair: (pair.part, pair.name)):
        line = [pair.part, pair.name, pair.page, pair.image_sha256, pair.mask_sha256]
        found.update(json.dumps(line).encode() + b"\n")
    return found.hexdigest()


def _read(file: Path) -> dict[str, Any]:
    if file.stat().st_size > LARGEST_FILE:
        raise ValueError(f"it has {file.stat().st_size:,} bytes")
    values = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
    if not isinstance(values, dict):
        raise TypeError(f"it is {_short(values)}, no table")
    return values


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _check(value: Any, shape: Any, where: str) -> None:
    """Refuses what is neither null nor of its kind."""
    if value is None:
        return
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise TypeError(f"{where} is {_short(value)}, no table")
        for key, inner in value.items():
            if (kind := shape.get(key, shape.get(ANY))) is not None:
                _check(inner, kind, f"{where}.{key:.60}" if where else f"{key:.60}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise TypeError(f"{where} is {_short(value)}, no list")
        for number, inner in enumerate(value):
            if inner is None:
                raise TypeError(f"{where}[{number}] is null")
            _check(inner, shape[0], f"{where}[{number}]")
    elif not _is(value, shape):
        raise TypeError(f"{where} is {_short(value)}, not {NAMES[shape]}")


def _is(value: Any, kind: type) -> bool:
    if kind in (int, float):
        is_number = type(value) is int or (type(value) is float and kind is float)
        return is_number and abs(value) < LIMIT and (kind is float or value >= 0)
    return type(value) is kind


def _short(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # a number of thousands of digits
        return "a number too long to be shown"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
