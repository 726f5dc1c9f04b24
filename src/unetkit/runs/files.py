"""Checks of the files in a run folder: which of them are damaged, changed or missing.

Each check returns the problem of one file, or None. What a problem means for the run is left to
`verification`.
"""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.manifest import data_digest, read_split_record
from unetkit.data.splits import read_split_names
from unetkit.errors import ModelFileError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.training.checkpoints import checkpoint_files, read_checkpoint

H5_DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError)


def check_files(run: Path, manifest: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Checks the files of a run.

    Args:
        run: Run folder.
        manifest: Its manifest, as `read_manifest` returns it.

    Returns:
        The name of each file or folder and its problem, or None.
    """
    return [{"name": name, "problem": check(run, manifest)} for name, check in CHECKS.items()]


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
    most = file.stat().st_size
    problems: list[str] = []

    def read(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.nbytes > most:
            problems.append(f"{name} is declared larger than the file")
        elif np.issubdtype(item.dtype, np.number) and not np.isfinite(item[()]).all():
            problems.append(f"{name} has values that are not finite")

    try:
        with h5py.File(file) as weights:
            weights.visititems(read)
    except H5_DAMAGE as error:
        return f"it cannot be read ({error})"
    return problems[0] if problems else None


def _check_model(run: Path, manifest: Mapping[str, Any]) -> str | None:
    if not (run / run_folder.MODEL).is_file():
        # Backends other than TensorFlow do not export.
        return None if manifest.get("export_difference") is None else "it is missing"
    try:
        Predictor(run / run_folder.MODEL)
    except UnetkitError as error:
        return str(error)
    return None


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
