"""`runs`: a list of all runs in a folder, with their progress and metrics.

Only small text files are read. A damaged run is listed with its problem, so that it does not hide
the others.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec

from unetkit._shared import run_folder
from unetkit._shared.manifest import read_manifest
from unetkit._shared.records import LARGEST_COUNT, convert, read_json, refusing
from unetkit.errors import DataNotFoundError, UnetkitError
from unetkit.evaluation.results import RESULT_NAME

# Subfolders of a run that contain no other runs.
OWN_FOLDERS = (
    run_folder.CACHE,
    run_folder.CHECKPOINTS,
    run_folder.EXAMPLES,
    run_folder.TENSORBOARD,
)
EVALUATIONS = "evaluation-*"
# Any of these files shows that a config.toml is that of a run.
OWN_FILES = (run_folder.SPLIT, run_folder.CURVES, run_folder.WEIGHTS, run_folder.MODEL)
# Files that change during training.
CHANGING_FILES = (
    run_folder.MANIFEST,
    run_folder.LOG,
    run_folder.CURVES,
    run_folder.CONFIG,
    run_folder.CHECKPOINTS,
)


def list_runs(folder: str | Path) -> list[dict[str, Any]]:
    """Lists all run folders in a folder and its subfolders, with folds, the newest first.

    Args:
        folder: Folder to search; links to folders are not followed.

    Returns:
        For each run: `run` (its path), `date`, `preset`, `data`, `state` ("finished",
        "interrupted", "failed" or "training"), `steps_done`, `steps`, `minutes`, `best_step`,
        `best_mean_iou` (on the validation split), `last_change` (time of the last change of a
        file), `evaluations` (folder, split, data and mean IoU over all pixels of each), and
        `problem`. Values that are unknown or do not exist are None.

    Raises:
        DataNotFoundError: The folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataNotFoundError(
            f"folder {folder} {'is a file' if folder.exists() else 'does not exist'}; accepted is "
            "a folder with runs below it"
        )
    found = sorted((_describe(run) for run in _find(folder)), key=lambda run: run["run"])
    return sorted(found, key=lambda run: run["date"] or "", reverse=True)


def _find(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        path = Path(root)
        is_run = run_folder.CONFIG in files and _is_run(path, files)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and not (is_run and (name in OWN_FOLDERS or Path(name).match(EVALUATIONS)))
        )
        if is_run:
            yield path


def _is_run(path: Path, files: list[str]) -> bool:
    """Whether a folder with a config.toml is a run; true if the file cannot be read."""
    if run_folder.MANIFEST in files or not set(OWN_FILES).isdisjoint(files):
        return True
    try:
        return {"data", "preset"} <= run_folder.load_config(path).keys()
    except (OSError, ValueError):
        return True


def _describe(run: Path) -> dict[str, Any]:
    problems: list[str] = []
    choices = _read_choices(run, problems)
    manifest: dict[str, Any] = {}
    try:
        manifest = read_manifest(run)
    except DataNotFoundError:
        problems.append(
            f"{run} holds no {run_folder.MANIFEST}: training has not begun, or was done by another "
            "version"
        )
    except UnetkitError as error:
        problems.append(str(error))
    changed = _last_change(run)
    best = manifest.get("best") or {}
    has_best = bool(best.get("step"))
    evaluations = sorted(run.glob(f"{EVALUATIONS}/{RESULT_NAME}"))
    return {
        "run": str(run),
        "date": _date(manifest.get("date")) or changed,
        "preset": _text(choices.get("preset")),
        "data": _text(choices.get("data")),
        "state": manifest.get("state"),
        "steps_done": manifest.get("steps_done"),
        "steps": _steps(choices),
        "minutes": _minutes(manifest),
        "best_step": best["step"] if has_best else None,
        "best_mean_iou": best.get("mean_iou") if has_best else None,
        "last_change": changed,
        "evaluations": [_read_evaluation(file) for file in evaluations],
        "problem": "; ".join(problems) or None,
    }


def _read_choices(run: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return run_folder.load_config(run)
    except (OSError, ValueError) as error:
        problems.append(f"{run / run_folder.CONFIG} cannot be read ({error})")
        return {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _steps(choices: Mapping[str, Any]) -> int | None:
    training = choices.get("training")
    steps = training.get("steps") if isinstance(training, dict) else None
    return steps if type(steps) is int and 0 < steps < LARGEST_COUNT else None


def _minutes(manifest: Mapping[str, Any]) -> float | None:
    seconds = manifest.get("training_seconds")
    if seconds is None:
        known = [session.get("seconds") for session in manifest.get("sessions") or []]
        seconds = sum(some for some in known if some is not None) if any(known) else None
    return None if seconds is None else round(seconds / 60, 1)


def _date(text: str | None) -> str | None:
    """A time in ISO format and UTC; None if the text is not a time."""
    try:
        moment = datetime.fromisoformat(text or "")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        return None


def _last_change(run: Path) -> str | None:
    times = []
    for name in CHANGING_FILES:
        try:
            times.append((run / name).stat().st_mtime)
        except OSError:  # it does not exist
            continue
    try:
        return datetime.fromtimestamp(max(times), UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


class _Summed(TypedDict):
    mean_iou: Annotated[float, msgspec.Meta(ge=0, le=1)] | None


class _Resolution(TypedDict):
    summed: _Summed


class _Figures(TypedDict):
    original: _Resolution


class _Evaluation(TypedDict):
    """The keys of evaluation.json that a list shows."""

    part: str
    data: str
    figures: _Figures


def _read_evaluation(file: Path) -> dict[str, Any]:
    """Folder, split and mean IoU over all pixels of an evaluation, and what is wrong with it."""
    row: dict[str, Any] = {"folder": file.parent.name, "part": None, "data": None}
    row |= {"mean_iou": None, "problem": None}
    try:
        with refusing(file, "run unetkit evaluate again with --overwrite"):
            result = convert(read_json(file), _Evaluation)
        value = result["figures"]["original"]["summed"]["mean_iou"]
        row |= {"part": result["part"], "data": result["data"], "mean_iou": value}
    except (UnetkitError, FileNotFoundError) as error:
        row["problem"] = str(error)
    return row
