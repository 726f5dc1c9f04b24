"""What a worker does: it loads a model once, and predicts batches of images into the results.

A batch is a shard of `predict_files`: with records of its own, in a folder into which other workers
write at the same time. A batch that is predicted again, after its worker died, leaves what is
finished.
"""

import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from unetkit.errors import UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.results.files import Prediction, predict_files
from unetkit.results.inputs import InputImage, Shard
from unetkit.results.predicted_image import ResultOptions

_loading = threading.Lock()


@dataclass(frozen=True)
class PredictionTask:
    """What is predicted, and how; the same for all batches.

    Args:
        predictor: The model, pickled: its paths, digests and arguments.
        out: Folder for the outputs.
        kinds: Kinds of output.
        format: Format of the files.
        overwrite: Whether to replace existing outputs of other origin.
        options: How results are written.
    """

    predictor: bytes
    out: Path
    kinds: tuple[str, ...]
    format: str
    overwrite: bool
    options: ResultOptions


@dataclass(frozen=True)
class FinishedResult:
    """Results of an image that an earlier run finished.

    Args:
        image: Image file.
        page: Number of the image in a file of several, or None.
        files: File of each kind of output.
    """

    image: Path
    page: int | None
    files: dict[str, Path]


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch.

    Args:
        predictions: Predictions, without pixels.
        finished: Results that an earlier run finished.
        failed: Each image that could not be predicted, and the reason.
    """

    predictions: tuple[Prediction, ...]
    finished: tuple[FinishedResult, ...]
    failed: tuple[tuple[Path, UnetkitError], ...]


def predict_batch(
    task: PredictionTask,
    images: Sequence[InputImage],
    shard: Shard,
    show_life: Callable[[], object] = lambda: None,
) -> BatchResult:
    """Predicts some images in a worker.

    Args:
        task: What is predicted, and how.
        images: The images.
        shard: Number of the batch, and the number of batches.
        show_life: Called after each image, and each tile of a large one.

    Raises:
        UnetkitError: The model cannot be loaded here, or a result not be written.
    """
    predictor = load(task.predictor)
    predictions: list[Prediction] = []
    finished: list[FinishedResult] = []
    failed: list[tuple[Path, UnetkitError]] = []

    def keep(one: Prediction) -> None:
        predictions.append(replace(one, photo=None, mask=None))
        show_life()

    def begin(*_: object) -> Callable[[], object]:
        show_life()
        return show_life

    predict_files(
        predictor,
        images,
        task.out,
        kinds=task.kinds,
        format=task.format,
        overwrite=task.overwrite,
        options=task.options,
        # Of a worker that hangs, another one cannot take over the lock and the records.
        shard=replace(shard, attempt=uuid4().hex[:8]),
        on_result=keep,
        begin=begin,
        on_error=lambda image, error: failed.append((image, error)),
        on_finished=lambda job: finished.append(
            FinishedResult(job.image, job.page, dict(job.files))
        ),
    )
    return BatchResult(tuple(predictions), tuple(finished), tuple(failed))


def load(predictor: bytes, threads: int = 1) -> Predictor:
    """Loads a pickled predictor, once in each process.

    Args:
        predictor: The predictor, of one thread.
        threads: Number of threads of its network.
    """
    with _loading:  # of several threads, one loads
        return _load(predictor, threads)


@lru_cache(maxsize=4)
def _load(predictor: bytes, threads: int) -> Predictor:
    if threads > 1:
        return _load(predictor, 1).on_threads(threads)
    found: Predictor = pickle.loads(predictor)
    return found


def find_fault(predictor: bytes) -> str | None:
    """Why a worker cannot predict with a model; None if it can."""
    try:
        load(predictor)
    except UnetkitError as error:
        return str(error)
    return None
