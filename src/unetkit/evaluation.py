"""From a trained model and labelled pictures to figures that can be quoted.

The network answers at its own scale; it is scored at the masks' original resolution, where people
use it, and at the training resolution, as the notebook did. Both stand side by side under their
names, next to the protocol. The matrix of each image is kept, so that intervals and reports need
not predict again.
"""

import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit import __version__, runfolder
from unetkit.display import Display
from unetkit.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    OutputExistsError,
    did_you_mean,
)
from unetkit.finding import Dataset, Pair, Sources, find_dataset
from unetkit.metrics import confusion_matrix, figures, iou_score, mean_over_images, mean_score
from unetkit.outputs import write_text
from unetkit.plotting import Case, draw_cases
from unetkit.prediction import Predictor
from unetkit.reading import file_sha256, in_parallel, read_pair
from unetkit.scale import mask_to_network, scores_from_network
from unetkit.spec import picture_digest
from unetkit.splits import read_split_names

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
    sources: Sources | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    display: Display | None = None,
) -> dict[str, Any]:
    """Scores a model on one part of a folder or table of pairs.

    Args:
        model: A run folder or an exported file.
        data: Folder or table of pairs.
        part: "test" (of the split file that the run was given; else the official list or folder;
            else every pair whose picture training did not look at), "all", or, for a run folder,
            "train" or "validation".
        sources: Which files are images and which masks; by default as a run folder was trained, on
            the same data.
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
    sources = sources or recorded_sources(Path(model), Path(data))
    dataset = find_dataset(data, sources)
    folder = _choose_out(Path(model), dataset, part, out, overwrite)
    pairs, how = _choose_pairs(predictor, Path(model), dataset, part)
    if not pairs:
        raise DataError(
            f"{dataset.source} has no {part} pairs ({how}); accepted is a folder with some; name "
            "another folder, or another part with --part"
        )
    return score_pairs(
        predictor, dataset, pairs, folder, part=part, how=how, sources=sources, display=display
    )


def score_pairs(
    predictor: Predictor,
    dataset: Dataset,
    pairs: Sequence[Pair],
    folder: Path,
    *,
    part: str,
    how: str,
    sources: Sources,
    display: Display,
) -> dict[str, Any]:
    """Scores a model on these pairs of a data set, and writes the results to a folder.

    Args:
        how: How the pairs were chosen.

    Returns:
        As `evaluate`.

    Raises:
        DataError: None can be read; or, unless bad ones are skipped, one cannot.
    """
    display.say(f"{part} part: {len(pairs)} of {len(dataset.pairs)} pairs ({how})")
    on_done = display.task("evaluating", len(pairs))
    scored, skipped = [], {}
    for pair in pairs:
        try:
            scored.append(_score(predictor, pair))
        except (DataError, DataNotFoundError) as error:
            if not sources.skip_bad:
                raise
            skipped[pair.name] = str(error)
        on_done()
    if not scored:
        raise DataError(
            f"none of the {len(pairs)} pairs can be read ({next(iter(skipped.values()))}); "
            f"accepted are readable pairs; run: unetkit check {dataset.source}"
        )
    if skipped:
        display.say(f"{len(skipped)} pairs cannot be read and are left out, {min(skipped)} first")
    result = _summarise(predictor, dataset, part, how, scored) | {"skipped": skipped}
    folder.mkdir(parents=True, exist_ok=True)
    _draw_extremes(folder / PICTURE_NAME, predictor, scored)
    write_text(folder / RESULT_NAME, json.dumps(plain(result)))
    display.finish()
    display.say(f"figures in {folder / RESULT_NAME}, pictures in {folder / PICTURE_NAME}")
    return result


def _choose_out(
    model: Path, dataset: Dataset, part: str, out: str | Path | None, overwrite: bool
) -> Path:
    suffix = "" if part == "test" else f"-{part}"
    name = f"evaluation-{dataset.label}{suffix}"
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
        chosen = _recorded_test(model, dataset)
        return chosen or _test_pairs(predictor, dataset)
    if not (model / runfolder.SPLIT).is_file():
        raise DataNotFoundError(
            f"{model} holds no {runfolder.SPLIT}; the {part} part is known to a run folder alone; "
            "name the run folder"
        )
    names = set(read_split_names(model / runfolder.SPLIT)[part])
    pairs = tuple(pair for pair in dataset.pairs if pair.name in names)
    return pairs, f"as training recorded it in {runfolder.SPLIT}"


def _test_pairs(predictor: Predictor, dataset: Dataset) -> tuple[tuple[Pair, ...], str]:
    """The official test list, or every pair that training did not look at."""
    has_test = "test" in dataset.parts.values()
    pairs = [p for p in dataset.pairs if not has_test or dataset.parts.get(p.name) == "test"]
    seen = set(predictor.spec.seen)
    is_seen = list(in_parallel(lambda pair: _digest_of(pair) in seen, pairs))
    common = [pair for pair, known in zip(pairs, is_seen, strict=True) if known]
    if not has_test:
        unseen = tuple(pair for pair, known in zip(pairs, is_seen, strict=True) if not known)
        return unseen, f"the {len(common)} pairs whose pictures training looked at are left out"
    if common:
        raise DataError(
            f"{len(common)} of the {len(pairs)} pairs in the test part of {dataset.source} were "
            f"trained on, {common[0].name} first; accepted is a test part that training never saw; "
            "train with these parts, or name another model"
        )
    return tuple(pairs), "the test part that the data name"


def _digest_of(pair: Pair) -> str:
    try:
        return picture_digest(file_sha256(pair.image), pair.page)
    except (DataError, OSError):
        return ""  # whoever reads it says what is wrong with it


def _recorded_test(model: Path, dataset: Dataset) -> tuple[tuple[Pair, ...], str] | None:
    """The test part of the split file that a run was told to use, if this is its data."""
    recorded = _recorded_config(model, dataset.source)
    if "file" not in recorded.get("split", {}):
        return None
    names = set(read_split_names(model / runfolder.SPLIT)["test"])
    pairs = tuple(pair for pair in dataset.pairs if pair.name in names)
    return pairs, f"as the run's split file says, {recorded['split']['file']}"


def recorded_sources(model: Path, data: Path) -> Sources:
    """What training was told of which files are images and masks, if this is its data.

    Args:
        model: A run folder; of other models nothing is known.
    """
    try:
        return Sources(**_recorded_config(model, data).get("sources", {}))
    except TypeError:  # another version's keys
        return Sources()


def _recorded_config(model: Path, data: Path) -> dict[str, Any]:
    """The configuration of a run on these data; empty of a model file, or of other data."""
    try:
        config = tomllib.loads((model / runfolder.CONFIG).read_text(encoding="utf-8"))
        return config if Path(config["data"]) == data.resolve() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # a model file alone, or a run that is not whole


def _score(predictor: Predictor, pair: Pair) -> Scored:
    classes, scale = predictor.spec.classes, predictor.spec.scale
    image, truth = read_pair(pair, classes, predictor.spec.pixels)
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
        "data": str(dataset.source.resolve()),
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
        spec = predictor.spec
        image, truth = read_pair(order[i].pair, spec.classes, spec.pixels)
        caption = f"{label}: {order[i].pair.name}, mean IoU {order[i].mean_iou:.3f}"
        cases.append(Case(spec.pixels.photo(image), truth, predictor(image), caption))
    draw_cases(path, cases, predictor.spec.classes, across=count)


def plain(value: Any) -> Any:
    """A result as JSON takes it, which has no nan: a figure that does not exist is null."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and np.isnan(value):
        return None
    return value
