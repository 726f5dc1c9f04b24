"""What `unetkit train DATA --minutes N` alone chooses and reaches on sets of every kind.

    python benchmarks/self_configuration.py vessels spots nuclei stains ../cells --minutes 6

A set is the name of one of `synthetic_sets.py`, which is drawn first, or a folder. Each training is
a process of its own, and a row is appended to the file of `--rows` as soon as it is known: the
choices with their reasons, IoU and Dice of each class, AUC of the foreground, and F1 of objects at
IoU 0.5 and over 0.5 to 0.95, at the masks' own resolution, on the test part; on the validation part
where there is none.
"""

import argparse
import os
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from quality_per_minute import (
    PACKAGES,
    append_row,
    describe_commit,
    describe_config,
    describe_machine,
    describe_versions,
    in_own_process,
)
from sklearn.metrics import roc_auc_score
from subject import peak_mib
from synthetic_sets import SETS, write_set

from unetkit import Predictor, evaluate, train
from unetkit._shared.manifest import read_manifest
from unetkit.data.dataset import find_dataset
from unetkit.data.reading import read_pair
from unetkit.data.scale import IGNORE
from unetkit.data.splits import read_split_names
from unetkit.training.config import RunConfig
from unetkit.training.config_file import read_config, read_reasons

ROWS = Path(__file__).with_suffix(".md")
TITLE = "# Sets of every kind\n\nWritten by `benchmarks/self_configuration.py`."
AUC_PIXELS = 1 << 20  # a sample of all pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--steps", type=int, help="Updates in place of minutes, to compare.")
    parser.add_argument("--preset")
    parser.add_argument("--config", default="", help="TOML, such as training.class_crops=0.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows", type=Path, default=ROWS)
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp(prefix="unetkit-sets-"))
    for name in options.sets:
        data = Path(name)
        if name in SETS:
            data = out / "data" / name
            if not data.exists():
                write_set(name, data)
        append_row(options.rows, in_own_process(make_row, data, options, out), TITLE)


def make_row(data: Path, options: argparse.Namespace, out: Path) -> dict[str, str]:
    """Trains on a set and scores; returns the cells of its row."""
    config: dict[str, Any] = tomllib.loads(options.config.replace(";", "\n"))
    words = describe_config(config)
    if options.steps:
        config.setdefault("training", {})["steps"] = options.steps
    folder = out / f"{data.name}-{time.time_ns()}"
    started = time.monotonic()
    run = train(
        data,
        out=folder,
        preset=options.preset,
        minutes=None if options.steps else options.minutes,
        config=config,
        seed=options.seed,
    )
    minutes = (time.monotonic() - started) / 60
    chosen = read_config(run / "config.toml")
    part = "test" if "test" in find_dataset(data, chosen.sources).splits.values() else "validation"
    result = evaluate(run, data, part=part, out=folder / "scores")
    figures = result["figures"]["original"]["summed"]
    network, scale, training = chosen.network, chosen.scale, chosen.training
    found = read_manifest(run)
    by_class = "; ".join(
        f"{name} {figures['iou'][name]:.3f}, {figures['dice'][name]:.3f}" for name in figures["iou"]
    )
    return {
        "set": f"{data.name}, {result['pairs']} {part} images",
        "chosen": f"{chosen.preset} {'-'.join(map(str, network.filters))}, {scale.describe()}, "
        f"batch {training.batch_size}{words}",
        "because": "; ".join(read_reasons(run / "config.toml")),
        "minutes, whole process": f"{minutes:.1f}",
        "updates": f"{found['steps_done']}",
        "training images/s": f"{found['images_per_second']:.1f}",
        "peak MiB": f"{peak_mib():,}",
        "IoU, Dice by class": by_class,
        "mean IoU": f"{figures['mean_iou']:.4f}",
        "AUC of what is not background": measure_auc(run, part, chosen),
        "F1 of objects": describe_objects(result),
        "machine": describe_machine(os.cpu_count() or 1),
        "versions": describe_versions(PACKAGES),
        "commit": describe_commit(ROWS),
    }


def describe_objects(result: dict[str, Any]) -> str:
    """F1 of objects at an IoU of 0.5 and over 0.5 to 0.95, and their errors."""
    if "instances" not in result:
        return "-"
    objects, counts = result["instances"]["metrics"], result["instances"]["counts"]
    errors = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{objects['f1']:.4f}, {objects['mean_f1']:.4f}; {errors}"


def measure_auc(run: Path, part: str, config: RunConfig) -> str:
    """Area under the ROC curve of one minus the background's probability, on a sample of pixels."""
    if config.classes.background is None:
        return "-"
    predictor = Predictor(run)
    dataset = find_dataset(config.data, config.sources)
    chosen = set(read_split_names(run / "split.json")[part])
    pairs = [pair for pair in dataset.pairs if pair.name in chosen]
    scores, truths = [], []
    for pair in pairs:
        image, truth = read_pair(pair, config.classes, config.pixels)
        background = predictor.probabilities(image)[..., config.classes.background]
        known = np.flatnonzero(truth.ravel() != IGNORE)
        kept = known[:: max(1, len(known) * len(pairs) // AUC_PIXELS)]
        scores.append(1 - background.ravel()[kept].astype(np.float64))
        truths.append(truth.ravel()[kept] != config.classes.background)
    return f"{roc_auc_score(np.concatenate(truths), np.concatenate(scores)):.4f}"


if __name__ == "__main__":
    main()
