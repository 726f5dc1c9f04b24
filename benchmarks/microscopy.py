"""The two benchmarks of the U-Net paper that have public labels: EM membranes and DIC-HeLa cells.

    python benchmarks/microscopy.py isbi2012 DATA --minutes 24
    python benchmarks/microscopy.py dic-hela DATA --minutes 60

ISBI 2012: five folds of six contiguous slices of the 30 labelled ones; of the other slices, three
next to the fold choose weights and how objects are found (by their F1), the rest is trained on.
V_Rand and the pixel error are also given as the challenge has them, at the limits that are best on
the slices that are not tested. DIC-HeLa: trained on the
silver truth of one sequence, of which every sixth frame chooses, and tested on the hand-made truth
of the other, both ways. The hidden labels of the challenges, which the paper's figures are of, are
not public: what is measured here can be compared with other figures of this protocol only.

Each part is a process of its own, and a row is appended to the file of `--rows` as soon as it is
known. The same command again goes on with the parts that have no row yet. `--config` changes the
training, for ablations: `--config 'border_weight.w0=0'`. Each network is scored twice: predicting
each image as it is, and, as cells have no upper side, averaged over its eight turns.
"""

import argparse
import csv
import os
import tempfile
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from quality_per_minute import (
    PACKAGES,
    append_row,
    describe_commit,
    describe_config,
    describe_machine,
    describe_versions,
    in_own_process,
)
from skimage.measure import label
from subject import peak_mib

from unetkit import Predictor, evaluate, train
from unetkit._shared.manifest import read_manifest
from unetkit.metrics.instances import rand_scores
from unetkit.objects.components import label_objects
from unetkit.objects.separation import ObjectRule, separation_maps
from unetkit.training.config_file import read_config

ROWS = Path(__file__).with_suffix(".md")
TITLE = f"# Membranes and cells\n\n{__doc__}"
FOLDS = 5
CHOOSING = 3  # slices beside a fold, which choose weights and thresholds
SEEDS, PROMINENCES = (0.5, 0.3, 0.1), (0.0, 0.2, 0.4)  # of objects between membranes
THRESHOLDS = np.linspace(0.05, 0.95, 19)  # of the probability of a cell
PREDICTIONS = (None, "turns")  # of a network, each scored
EVERY = 6  # frame of a sequence, which does
SEQUENCES = ("01", "02")
# Of membranes, the cells between them are the objects.
MEMBRANES: dict[str, Any] = {
    "classes": {"names": ["membrane", "cell"], "values": [0, 255], "background": 0},
    "objects": {"method": "ridge"},
}


@dataclass(frozen=True)
class BenchmarkPart:
    """A training and its test.

    Args:
        name: Name of the part.
        pairs: (image, mask, part of the split) of each pair.
        config: Configuration that the data need.
    """

    name: str
    pairs: list[tuple[Path, Path, str]]
    config: dict[str, Any]


def parts_of_isbi(data: Path) -> Iterator[BenchmarkPart]:
    images = sorted((data / "train" / "images").iterdir())
    labels = sorted((data / "train" / "labels").iterdir())
    size = len(images) // FOLDS
    for fold in range(FOLDS):
        tested = range(fold * size, (fold + 1) * size)
        after = range(tested.stop, tested.stop + CHOOSING)
        choosing = (
            after if after.stop <= len(images) else range(tested.start - CHOOSING, fold * size)
        )
        parts = dict.fromkeys(tested, "test") | dict.fromkeys(choosing, "validation")
        yield BenchmarkPart(
            f"slices {tested.start} to {tested.stop - 1}",
            [
                (image, label, parts.get(place, "train"))
                for place, (image, label) in enumerate(zip(images, labels, strict=True))
            ],
            MEMBRANES,
        )


def parts_of_hela(data: Path) -> Iterator[BenchmarkPart]:
    for one, other in (SEQUENCES, SEQUENCES[::-1]):
        silver = sorted((data / f"{one}_ST" / "SEG").glob("man_seg*.tif"))
        gold = sorted((data / f"{other}_GT" / "SEG").glob("man_seg*.tif"))
        learnt = [
            (_frame(data / one, mask), mask, "validation" if place % EVERY == 3 else "train")
            for place, mask in enumerate(silver)
        ]
        tested = [(_frame(data / other, mask), mask, "test") for mask in gold]
        config = {"classes": {"kind": "instances"}}
        yield BenchmarkPart(f"trained on {one}, tested on {other}", learnt + tested, config)


def _frame(folder: Path, mask: Path) -> Path:
    return folder / f"t{mask.stem.removeprefix('man_seg')}.tif"


BENCHMARKS = {"isbi2012": parts_of_isbi, "dic-hela": parts_of_hela}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=24.0)
    parser.add_argument("--steps", type=int, help="Updates in place of minutes, to compare.")
    parser.add_argument("--preset")
    parser.add_argument("--config", default="", help="TOML, such as border_weight.w0=0.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", type=int, default=FOLDS, help="Number of parts, from the first.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows", type=Path, default=ROWS)
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp(prefix="unetkit-microscopy-"))
    for part in list(BENCHMARKS[options.benchmark](options.data))[: options.parts]:
        if not has_row(options.rows, key_of(part, options, PREDICTIONS[-1])):
            for row in in_own_process(make_rows, part, options, out):
                append_row(options.rows, row, TITLE)


def key_of(part: BenchmarkPart, options: argparse.Namespace, tta: str | None) -> dict[str, str]:
    """The cells that tell a training from others."""
    config = tomllib.loads(options.config.replace(";", "\n"))
    length = f"{options.steps} updates" if options.steps else f"{options.minutes:g} minutes"
    return {
        "part": f"{options.benchmark}, {part.name}",
        "training": f"{options.preset or 'default'}, {length}, seed {options.seed}"
        f"{describe_config(config)}",
        "predicted": tta or "as it is",
    }


def has_row(rows: Path, key: dict[str, str]) -> bool:
    """Whether an earlier run has written the row of a training."""
    beginning = "| " + " | ".join(key.values()) + " |"
    return rows.exists() and beginning in rows.read_text(encoding="utf-8")


def make_rows(part: BenchmarkPart, options: argparse.Namespace, out: Path) -> list[dict[str, str]]:
    """Trains and tests a part; returns the cells of its rows, one for each way to predict."""
    folder = out / f"{options.benchmark}-{time.time_ns()}"
    folder.mkdir(parents=True)
    table = folder / "pairs.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mask", "part"])
        writer.writerows(
            (image.resolve(), mask.resolve(), name) for image, mask, name in part.pairs
        )
    given: dict[str, Any] = tomllib.loads(options.config.replace(";", "\n"))
    config = {name: dict(section) for name, section in part.config.items()}
    for name, section in given.items():
        config.setdefault(name, {}).update(section)
    if options.steps:
        config.setdefault("training", {})["steps"] = options.steps
    started = time.monotonic()
    run = train(
        table,
        out=folder / "run",
        preset=options.preset,
        minutes=None if options.steps else options.minutes,
        config=config,
        seed=options.seed,
    )
    minutes = (time.monotonic() - started) / 60
    chosen, found = read_config(run / "config.toml"), read_manifest(run)
    trained = {
        "network": f"{chosen.preset} {'-'.join(map(str, chosen.network.filters))}, "
        f"{chosen.scale.describe()}, batch {chosen.training.batch_size}, "
        f"{chosen.objects.describe()}",
        "minutes of training": f"{minutes:.1f}",
        "updates": f"{found['steps_done']}",
        "peak MiB": f"{peak_mib():,}",
    }
    measured = {
        "machine": describe_machine(os.cpu_count() or 1),
        "versions": describe_versions(PACKAGES),
        "commit": describe_commit(options.rows),
    }
    return [
        {
            **key_of(part, options, tta),
            **trained,
            **scores_of(run, table, part, tta, folder / f"scores-{tta}"),
            **measured,
        }
        for tta in PREDICTIONS
    ]


def scores_of(
    run: Path, table: Path, part: BenchmarkPart, tta: str | None, out: Path
) -> dict[str, str]:
    """Returns the metrics of a network on the test pairs, in the words of the table."""
    result = evaluate(run, table, tta=tta, out=out)
    objects, counts = result["instances"]["metrics"], result["instances"]["counts"]
    accuracy = result["figures"]["original"]["summed"]["pixel_accuracy"]
    return {
        "V_Rand": f"{objects['v_rand']:.4f}",
        "V_Info": f"{objects['v_info']:.4f}",
        "pixel error": f"{1 - accuracy:.4f}",
        **scores_at_chosen(run, part, tta),
        "SEG": f"{objects['seg']:.4f}",
        "F1 at 0.5, 0.5 to 0.95": f"{objects['f1']:.4f}, {objects['mean_f1']:.4f}",
        "objects": ", ".join(f"{count} {name}" for name, count in counts.items()),
    }


def scores_at_chosen(run: Path, part: BenchmarkPart, tta: str | None) -> dict[str, str]:
    """V_Rand and pixel error as the challenge has them, with limits from slices not tested.

    Of several seeds and prominences of objects, and thresholds of a cell, those with the best mean
    over the slices that train or choose are taken for the test slices.
    """
    names = ["V_Rand at chosen seeds", "pixel error at the chosen threshold"]
    classes = read_config(run / "config.toml").classes
    if classes.kind != "classes":
        return dict.fromkeys(names, "-")
    predictor = Predictor(run, tta=tta)
    rules = [
        replace(predictor.spec.objects, seed=seed, prominence=prominence)
        for seed, prominence in product(SEEDS, PROMINENCES)
    ]
    rand: dict[bool, list[list[float]]] = {True: [], False: []}  # by whether it is tested
    errors: dict[bool, list[list[float]]] = {True: [], False: []}
    for image, mask, name in part.pairs:
        scores = predictor.probabilities(image)
        truth = np.asarray(Image.open(mask)) == classes.values[1]
        cells = label(truth, connectivity=1)
        rand[name == "test"].append([rand_score(scores, cells, rule) for rule in rules])
        wrong = [float(((scores[..., 1] > limit) != truth).mean()) for limit in THRESHOLDS]
        errors[name == "test"].append(wrong)
    rule = int(np.mean(rand[False], axis=0).argmax())
    limit = int(np.mean(errors[False], axis=0).argmin())
    v_rand, error = np.mean(rand[True], axis=0)[rule], np.mean(errors[True], axis=0)[limit]
    chosen = f"{rules[rule].seed:g}, prominence {rules[rule].prominence:g}"
    found = [f"{v_rand:.4f} at {chosen}", f"{error:.4f} at {THRESHOLDS[limit]:.2f}"]
    return dict(zip(names, found, strict=True))


def rand_score(scores: np.ndarray, cells: np.ndarray, rule: ObjectRule) -> float:
    """V_Rand of the objects that a rule finds, against numbered cells."""
    maps = separation_maps(scores[..., 1] > scores[..., 0], scores, rule, 0)
    return rand_scores(cells, label_objects(maps, rule, 1.0))[0]


if __name__ == "__main__":
    main()
