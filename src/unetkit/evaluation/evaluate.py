"""From a trained model and labelled pictures to figures that can be quoted.

The network answers at its own scale; it is scored at the masks' original resolution, where people
use it, and at the training resolution, as the notebook did. Both stand side by side under their
names, next to the protocol. The counts of each image are kept, so that intervals, comparisons and
reports need not predict again.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.display import Display
from unetkit._shared.files import write_text
from unetkit._shared.provenance import provenance
from unetkit.data.dataset import Dataset, Pair, Sources, find_dataset
from unetkit.data.reading import read_pair
from unetkit.data.scale import mask_to_network, scores_from_network
from unetkit.errors import DataError, DataNotFoundError, OutputExistsError
from unetkit.evaluation.examples import (
    FOLDER,
    PICTURE,
    choose_examples,
    put_in_place,
    require_own,
    write_examples,
)
from unetkit.evaluation.report import REPORT_NAME, write_report
from unetkit.evaluation.results import RESULT_NAME, run_record
from unetkit.evaluation.selection import (
    choose_pairs,
    count_seen,
    recorded_groups,
    recorded_sources,
    require_part,
)
from unetkit.metrics.bootstrap import COVERAGE, RESAMPLES
from unetkit.metrics.boundaries import WIDTH_OF_DIAGONAL, boundary_counts, distance_counts
from unetkit.metrics.calibration import confidence_counts
from unetkit.metrics.confusion import confusion_matrix, iou_score, mean_score
from unetkit.metrics.summary import classes_to_json, plain, summarise_metrics
from unetkit.prediction.predictor import Predictor
from unetkit.visualization.figures import Example


@dataclass(frozen=True)
class Scored:
    """What is counted of one picture.

    Args:
        counts: Confusion matrices, (K, K) int64, by resolution.
        confidence: As `confidence_counts`; like all below at the mask's resolution.
        boundary: As `boundary_counts`.
        distance: As `distance_counts`.
    """

    pair: Pair
    size: tuple[int, int]
    counts: dict[str, np.ndarray]
    confidence: np.ndarray
    boundary: np.ndarray
    distance: np.ndarray

    @property
    def mean_iou(self) -> float:
        return mean_score(iou_score(self.counts["original"]))

    def record(self, group: str | None) -> dict[str, Any]:
        """As evaluation.json keeps it."""
        return {
            "name": self.pair.name,
            "size": list(self.size),
            "group": group,
            "mean_iou": self.mean_iou,
            "confusion": {name: matrix.tolist() for name, matrix in self.counts.items()},
            "confidence": self.confidence.round(3).tolist(),
            "boundary": self.boundary.tolist(),
            "distance": self.distance.tolist(),
        }


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
        out: Folder for evaluation.json, report.html, cases.png and cases/; by default
            evaluation-DATA within the run folder or beside the model's file, with the part's name
            unless it is "test".
        overwrite: Whether earlier results there may be replaced.
        display: Shows progress.

    Returns:
        What evaluation.json holds: the protocol, figures by resolution ("summed" over the set and
        "mean_over_images"), boundary IoU, calibration, intervals of all of them, and the counts of
        each image.

    Raises:
        DataNotFoundError, DataError: The data cannot be used, or a listed test pair was trained on.
        ModelFileError: The model cannot be loaded.
        OutputExistsError: Results are there already.
    """
    display = display or Display()
    require_part(part)
    predictor = Predictor(model)
    sources = sources or recorded_sources(Path(model), Path(data))
    dataset = find_dataset(data, sources)
    folder = _choose_out(Path(model), dataset, part, out, overwrite)
    pairs, how = choose_pairs(predictor.spec, Path(model), dataset, part)
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
    groups = recorded_groups(predictor.path.parent, dataset)
    records = [one.record(groups.get(one.pair.name)) for one in scored]
    result = {
        **_describe(predictor, dataset, part, how, len(scored)),
        **summarise_metrics(records, predictor.spec.classes),
        "images": records,
        "skipped": skipped,
    }
    if part == "all":
        result["seen"] = count_seen(predictor.spec, [one.pair for one in scored])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as made:
        result["cases"] = _keep_cases(Path(made) / "new", predictor, scored)
        put_in_place(Path(made) / "new", folder)
    write_text(folder / RESULT_NAME, json.dumps(plain(result)))
    report = write_report(folder, folder / REPORT_NAME)
    display.finish()
    display.say(f"figures in {folder / RESULT_NAME}, the report in {report}")
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
    require_own(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(
            f"output {folder} is a file; accepted is a folder; name another with --out"
        )
    for file in (folder / name for name in (RESULT_NAME, PICTURE, REPORT_NAME, FOLDER)):
        if file.exists() and not overwrite:
            raise OutputExistsError(
                f"{file} exists already; accepted is a folder without earlier results; name "
                "another with --out, or allow it with --overwrite"
            )
    return folder


def _score(predictor: Predictor, pair: Pair) -> Scored:
    classes, scale = predictor.spec.classes, predictor.spec.scale
    image, truth = read_pair(pair, classes, predictor.spec.pixels)
    scores = predictor.network_probabilities(image)
    small_truth = mask_to_network(truth, scale)
    resized = scores_from_network(scores, scale, truth.shape)
    prediction = resized.argmax(-1).astype(np.uint8)
    return Scored(
        pair,
        truth.shape,
        {
            "original": confusion_matrix(truth, prediction, len(classes)),
            "training": confusion_matrix(small_truth, scores.argmax(-1), len(classes)),
        },
        confidence_counts(truth, resized),
        boundary_counts(truth, prediction, len(classes)),
        distance_counts(truth, prediction),
    )


def _describe(
    predictor: Predictor, dataset: Dataset, part: str, how: str, pairs: int
) -> dict[str, Any]:
    """What was scored, with what, and how."""
    spec = predictor.spec
    return {
        **provenance(),
        "model": str(predictor.path.resolve()),
        "preset": spec.preset,
        "parameters": spec.parameters,
        "scale": spec.scale.describe(),
        "data": str(dataset.source.resolve()),
        "part": part,
        "pairs": pairs,
        "listed": dataset.listed.get(part) if part == "test" else None,
        "seen": None,
        "run": run_record(predictor.path),
        "protocol": {
            "split": how,
            "original": "probabilities resized linearly to the mask's size, then the most "
            "probable class; scored against the mask as it is",
            "training": f"{spec.scale.describe()}; scored against the mask resized by nearest "
            "neighbour",
            "summed": "one confusion matrix summed over all pixels of the part",
            "mean_over_images": "mean of each image's figure; classes absent from an image's "
            "truth and prediction are left out",
            "boundary_iou": f"boundaries {WIDTH_OF_DIAGONAL:.0%} of the image's diagonal wide, "
            "at the mask's size, summed over the part",
            "intervals": f"{COVERAGE:.0%} bootstrap over images, percentiles of {RESAMPLES} draws",
        },
        "classes": classes_to_json(spec.classes),
    }


def _keep_cases(
    folder: Path, predictor: Predictor, scored: Sequence[Scored]
) -> list[dict[str, Any]]:
    """Predicts the worst, the median and the best pictures once more, and keeps them."""
    places = choose_examples([one.mean_iou for one in scored])
    spec = predictor.spec

    def cases() -> Iterator[Example]:
        for place in places:
            one = scored[place.index]
            image, truth = read_pair(one.pair, spec.classes, spec.pixels)
            caption = f"{place.label}: {one.pair.name}, mean IoU {one.mean_iou:.3f}"
            yield Example(spec.pixels.photo(image), truth, predictor(image), caption)

    rows = write_examples(folder, places, cases(), spec.classes)
    names = [scored[place.index].pair.name for place in places]
    return [{"name": name, **row} for name, row in zip(names, rows, strict=True)]
