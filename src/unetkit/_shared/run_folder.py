"""What a run folder holds, by name.

config.toml        every choice; given back with --config it makes the same run
split.json         the data folder, and the names and file hashes in each part
manifest.json      command, versions, machine, device, threads, times; and how it went
log.txt            what was said while it trained, with the time of day
curves.csv, .png   losses and validation scores
checkpoints/       the last two states of the training, to go on from
best.weights.h5    the weights with the best validation mean IoU
model.onnx         the network with these weights, ready to predict
pictures/          validation cases: image, truth, prediction; and how the prediction grew
evaluation-DATA/   figures on a test part, their report, the cases it shows
tensorboard/       the figures once more, where that was asked for
"""

import contextlib
import itertools
import os
import shutil
from pathlib import Path

from unetkit.errors import OutputExistsError

SPLIT_NAMES = ("train", "validation", "test")  # of a split

CONFIG = "config.toml"
SPLIT = "split.json"
MANIFEST = "manifest.json"
LOG = "log.txt"
CURVES = "curves.csv"
CURVES_PICTURE = "curves.png"
CHECKPOINTS = "checkpoints"
WEIGHTS = "best.weights.h5"
MODEL = "model.onnx"
PICTURES = "pictures"
TENSORBOARD = "tensorboard"
PLAN = "plan.json"  # in a folder of folds: what to go on with
CACHE = "cache"  # while it trains
LOCK = ".lock"  # while it trains
EVERYTHING = (
    *(CONFIG, SPLIT, MANIFEST, LOG, CURVES, CURVES_PICTURE, WEIGHTS, MODEL),
    *(CHECKPOINTS, PICTURES, TENSORBOARD, CACHE, LOCK),
)
NOTHING_YET = {LOG, CACHE, LOCK}  # what a process leaves that is killed before it trains


def claim(out: str | Path | None, stem: str) -> tuple[Path, bool]:
    """Makes a run folder.

    Args:
        out: The folder; None for runs/STEM, with a number if that exists.

    Returns:
        The folder, and whether it was not there before.

    Raises:
        OutputExistsError: It holds something.
    """
    if out is None:
        for number in itertools.count(1):
            run = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
            with contextlib.suppress(FileExistsError):
                run.mkdir(parents=True)
                return run, True
    run = Path(out or "")
    try:
        run.mkdir(parents=True)
    except FileExistsError as error:
        if not run.is_dir() or set(os.listdir(run)) - NOTHING_YET:
            raise OutputExistsError(
                f"run folder {run} exists and is not empty; accepted is a new or an empty folder; "
                "name another with --out"
            ) from error
        return run, False
    return run, True


def discard(run: Path, is_new: bool) -> None:
    """Removes what a failed run has written, as far as the system lets go of it: none is of use."""
    if is_new:
        shutil.rmtree(run, ignore_errors=True)
        return
    for name in EVERYTHING:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
