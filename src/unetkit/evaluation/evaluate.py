"""`evaluate`: metrics of a model on images with masks, and their protocol.

The network predicts at its own scale. Metrics are computed at the masks' original resolution, at
which predictions are used, and at the training resolution, as the original notebook did; both are
stored under their names, with the protocol. The counts of each image are stored too, so that
intervals, comparisons and reports need no second prediction. Which pairs are evaluated is left to
`selection`, the metrics to the room `metrics`, the HTML page to `report`.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit._shared.files import PART, write_text, writing_into
from unetkit._shared.memory_budget import BUDGET
from unetkit._shared.provenance import provenance
from unetkit._shared.records import plain
from unetkit._shared.threads import in_order
from unetkit._shared.wording import format_count
from unetkit.checks.examine import check_sound, examine_files
from unetkit.checks.label_inference import describe_labels
from unetkit.data.dataset import find_dataset
from unetkit.data.pairs import Dataset, Pair
from unetkit.data.reading import read_objects
from unetkit.data.scale import IGNORE, mask_to_network, scores_from_network
from unetkit.data.sources import Sources
from unetkit.errors import ConfigError, DataError, DataNotFoundError, OutputExistsError
from unetkit.evaluation.examples import (
    EXAMPLES_FOLDER,
    EXAMPLES_IMAGE,
    choose_examples,
    replace_examples,
    require_own_examples,
    write_examples,
)
from unetkit.evaluation.field_of_view import find_field_of_view
from unetkit.evaluation.object_errors import ObjectErrors
from unetkit.evaluation.report import REPORT_NAME, write_report
from unetkit.evaluation.results import RESULT_NAME, TABLE_NAME, run_record
from unetkit.evaluation.selection import (
    choose_pairs,
    count_seen,
    recorded_config,
    recorded_groups,
    recorded_sources,
    require_split_name,
)
from unetkit.evaluation.tables import metrics_csv
from unetkit.evaluation.truth import Truth, choose_truth, truth_as_trained
from unetkit.metrics.bootstrap import COVERAGE, RESAMPLES
from unetkit.metrics.boundaries import WIDTH_OF_DIAGONAL, boundary_counts, distance_counts
from unetkit.metrics.calibration import confidence_counts, log_loss_sum
from unetkit.metrics.confusion import confusion_matrix, iou_score, mean_score
from unetkit.metrics.instances import Overlaps, count_objects, find_overlaps, rand_scores
from unetkit.metrics.objects import LEAST_OBJECT, object_areas, object_sizes
from unetkit.metrics.ranking import PROBABILITY_BINS, ranking_counts
from unetkit.metrics.summary import classes_to_json, summarise_metrics
from unetkit.models.spec import ModelSpec
from unetkit.objects.components import label_objects
from unetkit.objects.numbering import numbered_objects, renumbered
from unetkit.objects.separation import separation_maps
from unetkit.prediction.certainty import MeanScores, calibrated
from unetkit.prediction.predictor import Predictor, labels_from_scores
from unetkit.visualization.figures import Example

# Bytes for each pixel of a mask while it is scored, measured: of arrays, and of each output, of
# which the sum over orientations takes as many again.
BYTES_A_PIXEL, BYTES_AN_OUTPUT = 60, 12


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    part: str = "test",
    sources: Sources | None = None,
    classes: Mapping[str, Any] | None = None,
    field_of_view: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    tta: str | None = None,
    engine: str = "onnxruntime",
    device: str = "cpu",
    display: Display | None = None,
) -> dict[str, Any]:
    """Evaluates a model on one split of a data set.

    Args:
        model: Run folder or model file.
        data: Folder with images and masks, or table of pairs.
        part: Split to evaluate. "test" is the test split of the split file that the run used;
            otherwise the official test list or folder; otherwise all pairs whose image was not
            used in training. "all" is all pairs; "train" and "validation" need a run folder.
        sources: Which files are images and which are masks; by default those of the run, if it was
            trained on the same data.
        classes: Known arguments of the `Classes` of the masks. Without any, those of a class file
            beside the data, else the model's own if the masks have their values, else those that
            the masks let infer. They are matched with the model's by name.
        field_of_view: Folder with a mask for each image, of its name; pixels that are 0 in it are
            not scored, as if their class were to be ignored. None scores all pixels.
        out: Folder for evaluation.json, metrics.csv, report.html, cases.png and cases/; by default
            evaluation-DATA in the run folder or beside the model file, followed by the name of the
            split unless it is "test".
        overwrite: Whether to replace results of an earlier evaluation in this folder.
        tta: Test-time augmentation, "mirror", "flips" or "turns", as in `Predictor`.
        engine: Library that runs the network: "onnxruntime", or "openvino" (extra `openvino`).
        device: Where it runs: "cpu" or "gpu".
        display: Display for progress.

    Returns:
        Content of evaluation.json: the protocol, the metrics to quote ("headline"), metrics by
        resolution ("summed" over all pixels and "mean_over_images"), boundary IoU, calibration,
        intervals of all of them, ROC AUC and average precision ("ranking"), and the counts of each
        image.

    Raises:
        ConfigError: `part` is not a split, `tta` is unknown or has turns that the model's scale
            has not, or `model` holds several models.
        DataNotFoundError: `data` or `field_of_view` does not exist, or a model file has no "train"
            or "validation".
        DataError: The split has no pairs, a pair cannot be read, an image has no mask in
            `field_of_view`, a test image was used in training, or the classes of the masks are
            ambiguous or not the model's.
        ModelFileError: The model cannot be loaded.
        OutputExistsError: The folder has results, and `overwrite` is false; or another process
            writes into it.
    """
    display = display or Display()
    require_split_name(part)
    predictor = Predictor(model, tta=tta, engine=engine, device=device)
    if len(predictor.paths) > 1:
        raise ConfigError(
            f"{model} holds {len(predictor.paths)} models, of the folds of a cross-validation; "
            f"accepted is one, such as {predictor.path.parent}; {run_folder.FOLDS} has the metrics "
            "of all"
        )
    sources = sources or recorded_sources(Path(model), Path(data))
    dataset = find_dataset(data, sources)
    folder = _choose_out(Path(model), dataset, part, out, overwrite)
    pairs, how = choose_pairs(predictor.spec, Path(model), dataset, part)
    if not pairs:
        raise DataError(
            f"{dataset.source} has no {part} pairs ({how}); accepted are data with pairs in this "
            "split; use other data, or another split with --part"
        )
    is_own = bool(recorded_config(Path(model), Path(data)))
    truth = _examine(predictor, dataset, pairs, sources, classes or {}, is_own, display)
    if field_of_view is not None:
        field = find_field_of_view(field_of_view, pairs, dataset.folder)
        truth = replace(truth, field=field)
        masks = format_count(len(field.masks), "mask")
        display.say(f"field of view: {masks} in {field.folder}; pixels that are 0 are not scored")
    with writing_into(folder):
        _choose_out(Path(model), dataset, part, out, overwrite)  # written by another meanwhile
        result, _ = score_pairs(
            predictor,
            dataset,
            pairs,
            folder,
            part=part,
            how=how,
            sources=sources,
            display=display,
            truth=truth,
        )
    return result


def _examine(
    predictor: Predictor,
    dataset: Dataset,
    pairs: Sequence[Pair],
    sources: Sources,
    classes: Mapping[str, Any],
    is_own: bool,
    display: Display,
) -> Truth:
    """Decides how the masks are read, after all files have been, so that nothing is half done."""
    found = examine_files(replace(dataset, pairs=tuple(pairs)), sources, display)
    if found.good or not sources.skip_bad:
        check_sound(found)
    if not found.good:
        reason = next(iter(found.skippable().values()))
        raise DataError(
            f"none of the {len(pairs)} pairs can be read ({reason}); accepted are readable pairs; "
            f"run: unetkit check {dataset.source}"
        )
    model = predictor.spec.classes
    truth = choose_truth(found.good, dataset, model, classes, is_own=is_own)
    display.say(f"masks: {truth.describe()}")
    for sentence in describe_labels(truth.classes, found.good):
        display.say(f"labels: {sentence}")
    return truth


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
    truth: Truth | None = None,
) -> tuple[dict[str, Any], np.ndarray]:
    """Evaluates a model on given pairs of a data set, and writes the results to a folder.

    Args:
        predictor: Predictor of the model.
        dataset: Data set of the pairs.
        pairs: Pairs to evaluate.
        folder: Folder for the results; those of an earlier evaluation are replaced.
        part: Name of the split.
        how: Description of how the pairs were chosen, for the protocol.
        sources: Options of the data set; `skip_bad` decides whether unreadable pairs are skipped.
        display: Display for progress.
        truth: How the masks are read, and where images are scored; None for as in training.

    Returns:
        Content of evaluation.json, as returned by `evaluate`; and the counts of `ranking_counts`,
        summed over the images.

    Raises:
        DataError: A pair cannot be read, or, if bad pairs are skipped, none can be read.
    """
    name = "all splits" if part == "all" else f"{part} split"
    display.say(f"{name}: {len(pairs)} of {format_count(dataset.pairs, 'pair')} ({how})")
    truth = truth or truth_as_trained(predictor.spec.classes)
    on_done = display.task("evaluating", len(pairs))
    groups = recorded_groups(predictor.path.parent, dataset)
    scored: list[Pair] = []
    records: list[dict[str, Any]] = []
    ranking = np.zeros((len(predictor.spec.classes), PROBABILITY_BINS, 2), np.int64)
    skipped, errors = {}, ObjectErrors()
    one, threads = predictor, 1
    if len(pairs) > 1:
        one, threads = predictor.side_by_side(min(len(pairs), predictor.threads))

    def score(pair: Pair) -> _Scored | DataError | DataNotFoundError:
        try:
            return _score(one, pair, truth, groups.get(pair.name))
        except (DataError, DataNotFoundError) as error:  # of images before it come first
            return error

    for pair, outcome in zip(pairs, in_order(score, pairs, threads), strict=True):
        if isinstance(outcome, _Scored):
            records.append(outcome.record)
            ranking += outcome.ranking
            if outcome.objects is not None:
                errors.add(pair.name, *outcome.objects)
            scored.append(pair)
        elif sources.skip_bad:
            skipped[pair.name] = str(outcome)
        else:
            raise outcome
        on_done()
    if not scored:
        raise DataError(
            f"none of the {format_count(pairs, 'pair')} can be read "
            f"({next(iter(skipped.values()))}); "
            f"accepted are readable pairs; run: unetkit check {dataset.source}"
        )
    if skipped:
        text = format_count(
            skipped, "pair cannot be read and is skipped", "pairs cannot be read and are skipped"
        )
        display.say(f"{text}, {min(skipped)} first")
    result = {
        **_describe(predictor, dataset, part, how, len(scored), truth),
        **summarise_metrics(records, predictor.spec.classes, ranking),
        "images": records,
        "skipped": skipped,
    }
    if part == "all":
        result["seen"] = count_seen(predictor.spec, scored)
    scores = [record["mean_iou"] for record in records]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=PART) as temporary:
        result["cases"] = _write_examples_of(
            Path(temporary) / "new", predictor, truth, scored, scores
        )
        result["object_errors"] = errors.write(Path(temporary) / "new", EXAMPLES_FOLDER)
        replace_examples(Path(temporary) / "new", folder)
    write_text(folder / RESULT_NAME, json.dumps(plain(result)))
    write_text(folder / TABLE_NAME, metrics_csv(result))
    report = write_report(folder, folder / REPORT_NAME)
    display.finish()
    display.say(f"metrics are in {folder / RESULT_NAME}, the report is in {report}")
    return result, ranking


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
    require_own_examples(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(
            f"output {folder} is a file; accepted is a folder; choose another with --out"
        )
    for file in (
        folder / name
        for name in (RESULT_NAME, TABLE_NAME, EXAMPLES_IMAGE, REPORT_NAME, EXAMPLES_FOLDER)
    ):
        if file.exists() and not overwrite:
            raise OutputExistsError(
                f"{file} exists already; accepted is a folder without earlier results; name "
                "another with --out, or allow it with --overwrite"
            )
    return folder


@dataclass(frozen=True)
class _Scored:
    """What is counted in an image.

    Args:
        record: Its entry in evaluation.json, counts from which metrics are computed.
        ranking: Counts of `ranking_counts`, which are too many to be stored.
        objects: The photo, its true and found objects, and their overlaps, for `ObjectErrors`.
    """

    record: dict[str, Any]
    ranking: np.ndarray
    objects: tuple[np.ndarray, np.ndarray, np.ndarray, Overlaps] | None = None


def _score(predictor: Predictor, pair: Pair, truth_of: Truth, group: str | None) -> _Scored:
    """Predicts an image, and counts how it agrees with its mask."""
    image, truth = truth_of.read(pair, predictor.spec.pixels)
    outputs = len(predictor.spec.classes) + predictor.spec.objects.channels
    bytes_of_outputs = outputs * BYTES_AN_OUTPUT * (2 if predictor.tta else 1)
    with BUDGET.taken(truth.size * (BYTES_A_PIXEL + bytes_of_outputs), pair.name):
        return _count(predictor, pair, image, truth, truth_of, group)


def _count(
    predictor: Predictor,
    pair: Pair,
    image: np.ndarray,
    truth: np.ndarray,
    truth_of: Truth,
    group: str | None,
) -> _Scored:
    classes, scale = predictor.spec.classes, predictor.spec.scale
    scores, full_scores, resized = _mean_scores(predictor, image, truth.shape)
    probabilities = scores[..., : len(classes)]
    small_truth = mask_to_network(truth, scale)
    before = full_scores[..., : len(classes)]
    prediction = labels_from_scores(resized)
    original = confusion_matrix(truth, prediction, len(classes))
    training = confusion_matrix(small_truth, labels_from_scores(probabilities), len(classes))
    record = {
        "name": pair.name,
        "size": list(truth.shape),
        "group": group,
        "mean_iou": mean_score(iou_score(original)),
        "confusion": {"original": original.tolist(), "training": training.tolist()},
        "confidence": confidence_counts(truth, resized).round(3).tolist(),
        "log_loss": _log_losses(truth, resized, before),
        "boundary": boundary_counts(truth, prediction, len(classes)).tolist(),
        "distance": distance_counts(truth, prediction).tolist(),
        "objects": _count_objects(predictor, pair, truth),
    }
    if predictor.spec.temperature != 1:
        record["confidence_before"] = confidence_counts(truth, before).round(3).tolist()
    objects = None
    if predictor.spec.objects.finds_objects:
        found = _found_objects(predictor.spec, prediction, full_scores)
        found = renumbered(np.where(truth == IGNORE, 0, found))
        true = numbered_objects(pair, truth, truth_of.classes, classes.background)
        overlaps = find_overlaps(true, found)
        objects = predictor.spec.pixels.photo(image), true, found, overlaps
        record["instances"] = count_objects(overlaps).tolist()
        record["rand"] = list(rand_scores(true, found))
    return _Scored(record, ranking_counts(truth, resized), objects)


def _mean_scores(
    predictor: Predictor, image: np.ndarray, size: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of an image, averaged over its orientations.

    Returns:
        Scores at the network's scale, and at the size of the image; class probabilities there,
        calibrated: a view of the second if the model is not.
    """
    scale, temperature = predictor.spec.scale, predictor.spec.temperature
    num_classes = len(predictor.spec.classes)
    small, full, resized = (MeanScores(num_classes) for _ in range(3))
    for scores in predictor.network_scores(image):
        small.add(scores)
        large = scores_from_network(scores, scale, (size[0], size[1]))
        full.add(large)
        if temperature != 1:
            resized.add(calibrated(large[..., :num_classes], num_classes, temperature))
    before = full.scores()
    after = before[..., :num_classes] if temperature == 1 else resized.scores()
    return small.scores(), before, after


def _log_losses(truth: np.ndarray, after: np.ndarray, before: np.ndarray) -> list[float]:
    """Number of pixels, and the sum of their log-loss after and before calibration, in nats."""
    total, pixels = log_loss_sum(truth, after)
    return [pixels, round(total, 3), round(log_loss_sum(truth, before)[0], 3)]


def _found_objects(spec: ModelSpec, prediction: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Numbers of the objects that are found in an image, (H, W) int32; 0 outside objects."""
    height, width = prediction.shape
    background = spec.classes.background or 0
    maps = separation_maps(prediction != background, scores, spec.objects, background)
    return label_objects(maps, spec.objects, spec.scale.pixel_area((height, width)))


def _count_objects(predictor: Predictor, pair: Pair, truth: np.ndarray) -> list[int]:
    """Number of objects in the truth, and of those that are too small at the network's scale."""
    classes, scale = predictor.spec.classes, predictor.spec.scale
    size = (truth.shape[0], truth.shape[1])
    if classes.kind == "instances":
        objects = read_objects(pair, size)
        areas = np.unique(objects[(objects > 0) & (truth != IGNORE)], return_counts=True)[1]
    else:
        areas = object_areas(truth, (classes.background, classes.border, IGNORE))
    sizes = object_sizes(areas) / np.sqrt(scale.pixel_area(size))
    return [len(sizes), int(np.count_nonzero(sizes < LEAST_OBJECT))]


def _describe(
    predictor: Predictor, dataset: Dataset, part: str, how: str, pairs: int, truth: Truth
) -> dict[str, Any]:
    """Returns the entries of evaluation.json on model, data and protocol."""
    spec = predictor.spec
    return {
        **provenance(),
        "model": str(predictor.path.resolve()),
        "tta": predictor.tta,
        "engine": predictor.runtime.describe(),
        "preset": spec.preset,
        "parameters": spec.parameters,
        "scale": spec.scale.describe(),
        "temperature": spec.temperature,
        "data": str(dataset.source.resolve()),
        "part": part,
        "pairs": pairs,
        "listed": dataset.listed.get(part) if part == "test" else None,
        "seen": None,
        "run": run_record(predictor.path),
        "protocol": {
            "split": how,
            "masks": truth.describe(),
            "original": "probabilities resized linearly to the mask's size, then the most "
            "probable class; scored against the mask as it is",
            "training": f"{spec.scale.describe()}; scored against the mask resized by nearest "
            "neighbour",
            "field_of_view": "all pixels of the images"
            if truth.field is None
            else f"only pixels that are not 0 in the masks of {truth.field.folder.resolve()}",
            "summed": "one confusion matrix summed over all pixels of the part",
            "mean_over_images": "mean of each image's figure; classes absent from an image's "
            "truth and prediction are left out",
            "boundary_iou": f"boundaries {WIDTH_OF_DIAGONAL:.0%} of the image's diagonal wide, "
            "at the mask's size, summed over the part",
            "roc_auc": "each class against the rest, over all pixels, from the probabilities in "
            f"{PROBABILITY_BINS:,} bins of log-odds; average precision likewise",
            "intervals": f"{COVERAGE:.0%} bootstrap over images, percentiles of {RESAMPLES} draws",
        },
        "classes": classes_to_json(spec.classes),
    }


def _write_examples_of(
    folder: Path,
    predictor: Predictor,
    truth_of: Truth,
    pairs: Sequence[Pair],
    scores: Sequence[float],
) -> list[dict[str, Any]]:
    """Predicts the worst, median and best images again, and writes them as examples."""
    choices = choose_examples(scores)
    spec = predictor.spec

    def examples() -> Iterator[Example]:
        for choice in choices:
            pair = pairs[choice.index]
            image, truth = truth_of.read(pair, spec.pixels)
            caption = f"{choice.label}: {pair.name}, mean IoU {scores[choice.index]:.3f}"
            yield Example(spec.pixels.photo(image), truth, predictor(image), caption)

    rows = write_examples(folder, choices, examples(), spec.classes)
    return [
        {"name": pairs[choice.index].name, **row} for choice, row in zip(choices, rows, strict=True)
    ]
