"""Checks of the files in a run folder: which of them are damaged, changed or missing.

Each check returns the problem of one file, or None. What a problem means for the run is left to
`verification`.
"""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unetkit._shared import run_folder
from unetkit._shared.manifest import data_digest, file_digest, read_split_record
from unetkit.data.splits import read_split_names
from unetkit.errors import ModelFileError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.training.checkpoints import checkpoint_files, read_checkpoint
from unetkit.training.weights import first_not_finite, require_whole_weights


def check_files(run: Path, manifest: Mapping[str, Any]) -> list[dict[str, str | bool | None]]:
    """Checks the files of a run.

    Args:
        run: Run folder.
        manifest: Its manifest, as `read_manifest` returns it.

    Returns:
        The name of each file or folder; its problem, or None; and whether it was compared with a
        hash ("checkable"), which earlier versions do not store: None if it is damaged or absent.
    """
    found: list[dict[str, str | bool | None]] = []
    for name, check in CHECKS.items():
        problem = check(run, manifest)
        checkable = None if problem else _is_checkable(run, name, manifest)
        found.append({"name": name, "problem": problem, "checkable": checkable})
    return found


def chosen_split_file(config: Mapping[str, Any]) -> str | None:
    """The split file that a configuration names; its keys and types may be wrong."""
    rule = config.get("split")
    file = rule.get("file") if isinstance(rule, Mapping) else None
    return None if file is None else str(file)


def _check_config(run: Path, manifest: Mapping[str, Any]) -> str | None:
    try:
        now = run_folder.load_config(run)
    except (OSError, ValueError) as error:
        return f"it cannot be read ({error})"
    then = _without_null(manifest.get("configuration"))
    if then is not None and then != now:
        places = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
        return f"it differs from the configuration in the manifest: {', '.join(places)}"
    file = chosen_split_file(now)
    try:
        if file is not None:
            read_split_names(file)
    except UnetkitError as error:
        split = shlex.quote(str(run / run_folder.SPLIT))
        return f"{error}; to use the split of the run instead: unetkit train DATA --split {split}"
    return None


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}
    return value


def _check_split(run: Path, manifest: Mapping[str, Any]) -> str | None:
    try:
        digest = data_digest(read_split_record(run).pairs)
    except UnetkitError as error:
        return str(error)
    recorded = (manifest.get("data") or {}).get("sha256")
    if recorded is not None and digest != recorded:
        return "its names, splits or hashes differ from the hash in the manifest"
    return None


def _check_weights(run: Path, manifest: Mapping[str, Any]) -> str | None:
    file = run / run_folder.WEIGHTS
    if not file.is_file():
        has_best = (manifest.get("best") or {}).get("step")
        return "it is missing" if has_best or manifest["state"] == "finished" else None
    try:
        require_whole_weights(file)
        name = first_not_finite(file)
    except ModelFileError as error:
        return str(error)
    if name is not None:
        return f"{name} has values that are not finite"
    return _compare_digest(file, manifest)


def _check_model(run: Path, manifest: Mapping[str, Any]) -> str | None:
    file = run / run_folder.MODEL
    if not file.is_file():
        # Backends other than TensorFlow do not export.
        return None if manifest.get("export_difference") is None else "it is missing"
    try:
        Predictor(file)
    except UnetkitError as error:
        return str(error)
    return _compare_digest(file, manifest)


def _compare_digest(file: Path, manifest: Mapping[str, Any]) -> str | None:
    recorded = _recorded(file, manifest)
    if recorded is not None and recorded != file_digest(file):
        return "it differs from its SHA-256 in the manifest"
    return None


def _recorded(file: Path, manifest: Mapping[str, Any]) -> str | None:
    """SHA-256 of a file in the manifest; None if it lists none."""
    return (manifest.get("files") or {}).get(file.name)


def _check_checkpoints(run: Path, manifest: Mapping[str, Any]) -> str | None:
    files = checkpoint_files(run / run_folder.CHECKPOINTS)
    if not files and manifest["state"] == "interrupted" and manifest.get("steps_done"):
        return "there are none, so the run cannot be resumed"
    for file in files:
        try:
            read_checkpoint(file)
        except ModelFileError as error:
            return str(error)
    return None


CHECKS: dict[str, Callable[[Path, Mapping[str, Any]], str | None]] = {
    run_folder.CONFIG: _check_config,
    run_folder.SPLIT: _check_split,
    run_folder.WEIGHTS: _check_weights,
    run_folder.MODEL: _check_model,
    run_folder.CHECKPOINTS: _check_checkpoints,
}


def _is_checkable(run: Path, name: str, manifest: Mapping[str, Any]) -> bool | None:
    """Whether a SHA-256 of an undamaged file is known; None if there is no such file."""
    file = run / name
    if name == run_folder.CONFIG:
        return manifest.get("configuration") is not None
    if name == run_folder.SPLIT:
        return (manifest.get("data") or {}).get("sha256") is not None
    if name == run_folder.CHECKPOINTS:
        files = checkpoint_files(file)
        return all(read_checkpoint(one).has_digest for one in files) if files else None
    if not file.is_file():
        return None
    if _recorded(file, manifest) is not None:
        return True
    return (
        require_whole_weights(file) if name == run_folder.WEIGHTS else Predictor(file).is_checkable
    )
