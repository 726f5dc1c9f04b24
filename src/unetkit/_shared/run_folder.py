"""Names of the files in a run folder.

config.toml        complete configuration; --config with it makes the same run
split.json         data folder, and names and file hashes of the pairs in each split
manifest.json      command, versions, machine, device, threads, times, and progress
log.txt            messages of the training, with the time of day
curves.csv, .png   losses and validation metrics
checkpoints/       last two states of the training, to resume from
best.weights.h5    weights of the best validation pass
model.onnx         network with these weights, ready to predict
pictures/          validation examples: image, truth, prediction; and their animation
evaluation-DATA/   metrics on a test split, their report, and its examples
tensorboard/       metrics and images for TensorBoard, if wanted
"""

import contextlib
import itertools
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from unetkit._shared.files import LOCK, PART, read_text
from unetkit._shared.records import parse_toml
from unetkit.errors import OutputExistsError

RUNS = "runs"  # folder of the runs for which no other is named
SPLIT_NAMES = ("train", "validation", "test")

CONFIG = "config.toml"
SPLIT = "split.json"
MANIFEST = "manifest.json"
LOG = "log.txt"
CURVES = "curves.csv"
CURVES_IMAGE = "curves.png"
CHECKPOINTS = "checkpoints"
WEIGHTS = "best.weights.h5"
MODEL = "model.onnx"
EXAMPLES = "pictures"
TENSORBOARD = "tensorboard"
PLAN = "plan.json"  # in the folder of a cross-validation, to resume it
FOLD = "fold-{}"  # there, the run folder of each network
FOLDS = "folds.json"  # there, metrics over all folds
CACHE = "cache"  # during training
EVERYTHING = (
    *(CONFIG, SPLIT, MANIFEST, LOG, CURVES, CURVES_IMAGE, WEIGHTS, MODEL),
    *(CHECKPOINTS, EXAMPLES, TENSORBOARD, CACHE, LOCK),
)
NOTHING_YET = {LOG, CACHE, LOCK}  # left by a process that was killed before training


def claim(out: str | Path | None, stem: str) -> tuple[Path, bool]:
    """Creates a run folder.

    Args:
        out: Path of the folder; None for runs/STEM, with a number if that exists.
        stem: Name of the folder if `out` is None.

    Returns:
        The folder, and whether it is new.

    Raises:
        OutputExistsError: `out` exists and is not empty.
    """
    if out is None:
        for number in itertools.count(1):
            run = Path(RUNS) / (stem if number == 1 else f"{stem}-{number}")
            with contextlib.suppress(FileExistsError):
                run.mkdir(parents=True)
                return run, True
    run = Path(out or "")
    try:
        run.mkdir(parents=True)
    except FileExistsError:
        require_unused(run)
        return run, False
    return run, True


def require_unused(run: Path) -> None:
    """Checks that a run folder has no files of an earlier training.

    Raises:
        OutputExistsError: It has, or it is a file.
    """
    names = os.listdir(run) if run.is_dir() else [""]
    if any(name not in NOTHING_YET and not name.startswith(PART) for name in names):
        remedy = "name another with --out"
        if (run / CONFIG).is_file():
            resume = shlex.join(["unetkit", "train", "--resume", str(run)])
            remedy += f", or continue the run in it: {resume}"
        raise OutputExistsError(
            f"run folder {run} exists and is not empty; accepted is a new or an empty folder; "
            f"{remedy}"
        )


def load_config(run: Path) -> dict[str, Any]:
    """Reads a run's config.toml; its keys and values are not checked.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not a file of TOML in UTF-8.
    """
    return parse_toml(read_text(run / CONFIG))


def discard(run: Path, is_new: bool) -> None:
    """Removes the files of a failed run that has no checkpoint, as far as the system permits."""
    if is_new:
        shutil.rmtree(run, ignore_errors=True)
        if run.parent == Path(RUNS):
            with contextlib.suppress(OSError):  # other runs are in it
                run.parent.rmdir()
        return
    for name in EVERYTHING:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
