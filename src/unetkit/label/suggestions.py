"""Suggestions: masks that a network proposes, how certain each pixel is, and how right they were.

Certainty is one minus the entropy of the probabilities, which are means over the image and its
mirror image: where the two disagree, it is low as well.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from unetkit._shared.files import read_text, write_text
from unetkit.data.scale import IGNORE
from unetkit.errors import DataError
from unetkit.io.images import ImageFile
from unetkit.label.project import Project
from unetkit.metrics.bootstrap import flatten
from unetkit.metrics.confusion import compute_metrics, confusion_matrix, lead_metric
from unetkit.prediction.predictor import Predictor
from unetkit.results.files import Prediction, predict_files
from unetkit.results.masks import LARGEST_16_BITS
from unetkit.results.outputs import MASK, UNCERTAIN, UNCERTAINTY

SUGGESTION_RECORD = "suggestion.json"  # written last
BLOCK_PIXELS = 1 << 22  # that are converted together


@dataclass(frozen=True)
class Suggestion:
    """What a network suggested for an image.

    Args:
        round: Number of the round.
        uncertainty: Mean uncertainty of its pixels, from 0 to 1.
        mask: Name of the file of the mask, in the folder of the suggestion.
        certainty: Name of the file of uncertainties.
        is_unseen: Whether training had no label of the image.
        is_scored: Whether the suggestion was compared with what was drawn afterwards.
    """

    round: int
    uncertainty: float
    mask: str
    certainty: str
    is_unseen: bool
    is_scored: bool = False


def suggest(
    predictor: Predictor, image: Path, folder: Path, round: int, is_unseen: bool
) -> Suggestion:
    """Predicts an image into a folder of its own.

    Args:
        predictor: The network, with test-time augmentation.
        image: Path of the image.
        folder: Folder of the suggestion; is created.
        round: Number of the round.
        is_unseen: Whether training had no label of the image.

    Raises:
        DataError: The image cannot be predicted.
    """
    kind = "objects" if predictor.spec.objects.finds_objects else MASK
    results: list[Prediction] = []
    folder.mkdir(parents=True, exist_ok=True)
    predict_files(
        predictor,
        [image],
        folder,
        kinds=(kind, UNCERTAINTY),
        overwrite=True,
        on_result=results.append,
    )
    files, uncertainty = results[0].files, results[0].uncertainty or 0.0
    found = Suggestion(round, uncertainty, files[kind].name, files[UNCERTAINTY].name, is_unseen)
    write_record(folder, found)
    return found


def write_record(folder: Path, suggestion: Suggestion) -> None:
    """Writes what is known of a suggestion into its folder."""
    write_text(folder / SUGGESTION_RECORD, json.dumps(asdict(suggestion)))


def read_record(folder: Path) -> Suggestion | None:
    """Reads what is known of a suggestion; None if there is none."""
    try:
        return Suggestion(**json.loads(read_text(folder / SUGGESTION_RECORD)))
    except (FileNotFoundError, ValueError, TypeError):  # none, or of another version
        return None


def read_suggestion(
    folder: Path, suggestion: Suggestion, project: Project, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a suggestion.

    Returns:
        The mask, (H, W) of the project's type, and how certain each pixel is, (H, W) uint8 from 0
        to 255.

    Raises:
        DataError: A file is damaged, or the image has another size now.
    """
    files = (folder / suggestion.mask, folder / suggestion.certainty)
    mask, uncertainty = (_read_plane(file) for file in files)
    if mask.shape != size or uncertainty.shape != size:
        raise DataError(
            f"the suggestion in {folder} has {mask.shape[0]}x{mask.shape[1]} pixels and the image "
            f"{size[0]}x{size[1]}; accepted are equal sizes; train again"
        )
    table = np.full(LARGEST_16_BITS + 1, project.unlabelled, project.dtype)
    if project.has_objects:
        table[:] = np.arange(len(table))
    else:  # masks have the indices of classes, whose values may be others in the model's masks
        table[: len(project.classes)] = project.classes.values
    suggested, certainty = np.empty(size, table.dtype), np.empty(size, np.uint8)
    for rows in _blocks(size):
        suggested[rows] = table[np.minimum(mask[rows].astype(np.int64), LARGEST_16_BITS)]
        certain = 1 - np.minimum(uncertainty[rows] / np.float32(UNCERTAIN), 1)
        certainty[rows] = np.rint(255 * certain)
    return suggested, certainty


def _blocks(size: tuple[int, int]) -> Iterator[slice]:
    """Slices of rows, so that what is computed of a large image takes little memory."""
    step = max(1, BLOCK_PIXELS // size[1])
    return (slice(start, start + step) for start in range(0, size[0], step))


def _read_plane(path: Path) -> np.ndarray:
    with ImageFile(path) as file:
        return file.read(as_stored=True).bands[..., 0]


def count_agreement(suggested: np.ndarray, drawn: np.ndarray, project: Project) -> np.ndarray:
    """Counts labelled pixels by drawn and by suggested class; objects are one class.

    Args:
        suggested: Suggested mask, (H, W) values of the project.
        drawn: Drawn mask, likewise.
        project: The project.

    Returns:
        (K, K) int64, rows drawn, columns suggested, in pixels.
    """
    counts = np.zeros((len(project.classes),) * 2, np.int64)
    for rows in _blocks(drawn.shape):
        truth, prediction = (_to_indices(values[rows], project) for values in (drawn, suggested))
        truth[prediction == IGNORE] = IGNORE
        prediction[prediction == IGNORE] = 0
        counts += confusion_matrix(truth, prediction, len(project.classes))
    return counts


def _to_indices(values: np.ndarray, project: Project) -> np.ndarray:
    """Class indices, IGNORE for unlabelled pixels, (H, W) uint8."""
    table = np.full(LARGEST_16_BITS + 1, 1 if project.has_objects else IGNORE, np.uint8)
    for index, value in enumerate(project.classes.values[: 1 if project.has_objects else None]):
        table[value] = index
    table[project.unlabelled] = IGNORE
    return table[values]


def score_of(counts: np.ndarray, project: Project) -> float | None:
    """The metric by which networks are compared, of a confusion matrix; None if not defined.

    It is the IoU of the foreground if there is a background class, else the mean IoU.
    """
    value = float(flatten(compute_metrics(counts, project.classes))[lead_metric(project.classes)])
    return value if np.isfinite(value) else None
