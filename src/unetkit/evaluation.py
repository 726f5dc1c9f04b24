"""From a trained model and labelled pictures to figures that can be quoted.

The network answers at its own scale; it is scored at the masks' original resolution, where people
use it, and at the training resolution, as the notebook did. Both stand side by side under their
names, next to the protocol. The matrix of each image is kept, so that intervals and reports need
not predict again.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit import __version__, runfolder
from unetkit.data import Dataset, Pair, find_dataset, read_pair
from unetkit.display import Display
from unetkit.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    OutputExistsError,
    did_you_mean,
)
from unetkit.metrics import confusion_matrix, figures, iou_score, mean_over_images, mean_score
from unetkit.plotting import Case, draw_cases
from unetkit.prediction import Predictor, write_whole
from unetkit.scale import mask_to_network, scores_from_network
from unetkit.spec import name_digest

PARTS = ("test", "validation", "train", "all")
RESOLUTIONS = ("original", "training")
RESULT_NAME = "evaluation.json"
PICTURE_NAME = "cases.png"
CASES = 3  # best, median and worst pictures drawn of each


@dataclass(frozen=True)
class Scored:
    """One picture's confusion matrices, (K, K) int64, by resolution."""

    pair: Pair
    size: tuple[int, int]
    counts: dict[str, np.ndarray]

    @property
    def mean_iou(self) -> float:
        return mean_score(iou_score(self.counts["original"]))


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    part: str = "test",
    out: str | Path | None = None,
    overwrite: bool = False,
    display: Display | None = None,
) -> dict[str, Any]:
    """Scores a model on one part of a folder of pairs.

    Args:
        model: A run folder or an exported file.
        data: Folder of pairs.
        part: "test" (the official list, or else every pair whose name training did not look at),
            "all", or, for a run folder, "train" or "validation".
        out: Folder for evaluation.json and cases.png; by default evaluation-DATA within the run
            folder or beside the model's file, with the part's name unless it is "test".
        overwrite: Whether earlier results there may be replaced.
        display: Shows progress.

    Returns:
        What evaluation.json holds: the protocol, figures by resolution ("summed" over the set and
        "mean_over_images"), and the confusion matrix of each image.

    Raises:
        DataNotFoundError, DataError: The data cannot be used, or a listed test pair was trained on.
        ModelFileError: The model cannot be loaded.
        OutputExistsError: Results are there already.
    """
    display = display or Display()
    if part not in PARTS:
        raise ConfigError(
            f"part {part!r} is unknown; accepted are {', '.join(PARTS)}; "
            f"{did_you_mean(part, PARTS)}"
        )
    predictor = Predictor(model)
    dataset = find_dataset(data)
    folder = _choose_out(Path(model), dataset, part, out, overwrite)
    pairs, how = _choose_pairs(predictor, Path(model), dataset, part)
    if not pairs:
        raise DataError(
            f"{dataset.folder} has no {part} pairs ({how}); accepted is a folder with some; name "
            "another folder, or another part with --part"
        )
    display.say(f"{part} part: {len(pairs)} of {len(dataset.pairs)} pairs ({how})")
    on_done = display.task("evaluating", len(pairs))
    scored = []
    for pair in pairs:
        scored.append(_score(predictor, pair))
        on_done()
    result = _summarise(predictor, dataset, part, how, scored)
    folder.mkdir(parents=True, exist_ok=True)
    _draw_extremes(folder / PICTURE_NAME, predictor, scored)
    text = json.dumps(_plain(result))
    write_whole(folder / RESULT_NAME, lambda file: file.write_text(text, encoding="utf-8"))
    display.finish()
    display.say(f"figures in {folder / RESULT_NAME}, pictures in {folder / PICTURE_NAME}")
    return result


def _choose_out(
    model: Path, dataset: Dataset, part: str, out: str | Path | None, overwrite: bool
) -> Path:
    suffix = "" if part == "test" else f"-{part}"
    name = f"evaluation-{dataset.folder.resolve().name}{suffix}"
    if out is not None:
        folder = Path(out)
    elif model.is_dir():
        folder = model / name
    else:
        folder = model.with_name(f"{model.stem}-{name}")
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(
            f"output {folder} is a file; accepted is a folder; name another with --out"
        )
    for file in (folder / RESULT_NAME, folder / PICTURE_NAME):
        if file.exists() and not overwrite:
            raise OutputExistsError(
                f"{file} exists already; accepted is a folder without earlier results; name "
                "another with --out, or allow it with --overwrite"
            )
    return folder


def _choose_pairs(
    predictor: Predictor, model: Path, dataset: Dataset, part: str
) -> tuple[tuple[Pair, ...], str]:
    """The pairs of a part, and how they were told from the others."""
    if part == "all":
        return dataset.pairs, "every pair, whatever it was used for"
    if part == "test":
        return _test_pairs(predictor, dataset)
    names = set(_recorded_names(model, part))
    pairs = tuple(pair for pair in dataset.pairs if pair.name in names)
    return pairs, f"as training recorded it in {runfolder.SPLIT}"


def _test_pairs(predictor: Predictor, dataset: Dataset) -> tuple[tuple[Pair, ...], str]:
    """The official test list, or every pair that training did not look at."""
    seen = set(predictor.spec.seen)
    unseen = tuple(pair for pair in dataset.pairs if name_digest(pair.name) not in seen)
    if not dataset.official:
        skipped = len(dataset.pairs) - len(unseen)
        return unseen, f"the {skipped} pairs whose names training looked at are left out"
    listed = tuple(pair for pair in dataset.pairs if dataset.official[pair.name] == "test")
    common = sorted(set(listed) - set(unseen), key=lambda pair: pair.name)
    if common:
        raise DataError(
            f"{len(common)} of the {len(listed)} pairs in the test list of {dataset.folder} were "
            f"trained on, {common[0].name} first; accepted is a test part that training never saw; "
            "train with these lists, or name another model"
        )
    return listed, "official test list"


def _recorded_names(model: Path, part: str) -> list[str]:
    path = model / runfolder.SPLIT
    if not path.is_file():
        raise DataNotFoundError(
            f"{model} holds no {runfolder.SPLIT}; the {part} part is known to a run folder alone; "
            "name the run folder"
        )
    try:
        return [str(name) for name in json.loads(path.read_text(encoding="utf-8"))[part]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); accepted is the file that training wrote; restore it"
        ) from error


def _score(predictor: Predictor, pair: Pair) -> Scored:
    classes, scale = predictor.spec.classes, predictor.spec.scale
    image, truth = read_pair(pair, classes, predictor.spec.in_channels)
    scores = predictor.network_probabilities(image)
    small_truth = mask_to_network(truth, scale)
    resized = scores_from_network(scores, scale, truth.shape)
    return Scored(
        pair,
        truth.shape,
        {
            "original": confusion_matrix(truth, resized.argmax(-1), len(classes)),
            "training": confusion_matrix(small_truth, scores.argmax(-1), len(classes)),
        },
    )


def _summarise(
    predictor: Predictor, dataset: Dataset, part: str, how: str, scored: list[Scored]
) -> dict[str, Any]:
    spec = predictor.spec
    measure: Callable[[np.ndarray], dict[str, Any]] = partial(figures, classes=spec.classes)
    figures_by_resolution = {}
    for resolution in RESOLUTIONS:
        counts = [one.counts[resolution] for one in scored]
        total = np.sum(counts, axis=0)
        figures_by_resolution[resolution] = {
            "summed": measure(total),
            "mean_over_images": mean_over_images(counts, measure),
            "confusion": total.tolist(),
        }
    return {
        "unetkit": __version__,
        "model": str(predictor.path.resolve()),
        "preset": spec.preset,
        "data": str(dataset.folder.resolve()),
        "part": part,
        "pairs": len(scored),
        "protocol": {
            "split": how,
            "original": "probabilities resized linearly to the mask's size, then the most "
            "probable class; scored against the mask as it is",
            "training": f"{spec.scale.describe()}; scored against the mask resized by nearest "
            "neighbour",
            "summed": "one confusion matrix summed over all pixels of the part",
            "mean_over_images": "mean of each image's figure; classes absent from an image's "
            "truth and prediction are left out",
        },
        "classes": list(spec.classes.names),
        "figures": figures_by_resolution,
        "images": [
            {
                "name": one.pair.name,
                "size": list(one.size),
                "mean_iou": one.mean_iou,
                "confusion": {name: matrix.tolist() for name, matrix in one.counts.items()},
            }
            for one in scored
        ],
    }


def _draw_extremes(path: Path, predictor: Predictor, scored: list[Scored]) -> None:
    """Draws the best, the median and the worst cases by mean IoU."""
    order = sorted(scored, key=lambda one: one.mean_iou, reverse=True)
    count = max(1, min(CASES, len(order) // 3))
    middle = (len(order) - count) // 2
    wanted = {
        "best": range(count),
        "worst": range(len(order) - count, len(order)),
        "median": range(middle, middle + count),
    }
    chosen: dict[int, str] = {}
    for label, places in wanted.items():
        for i in places:
            chosen.setdefault(i, label)
    cases = []
    for i, label in sorted(chosen.items()):
        image, truth = read_pair(order[i].pair, predictor.spec.classes, predictor.spec.in_channels)
        caption = f"{label}: {order[i].pair.name}, mean IoU {order[i].mean_iou:.3f}"
        cases.append(Case(image, truth, predictor(image), caption))
    draw_cases(path, cases, predictor.spec.classes, across=count)


def _plain(value: Any) -> Any:
    """JSON has no nan: a figure that does not exist is null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and np.isnan(value):
        return None
    return value
