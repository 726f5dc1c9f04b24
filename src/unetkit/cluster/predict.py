"""Images predicted by workers of Dask, in batches, with the results of one machine.

The command lists images and hands out batches, a few for each thread of a worker, so that neither a
graph of all images exists nor a worker waits. What a worker finishes is on the disk with its
records. Dask gives the batch of a worker that dies to another one, which predicts what is missing.
"""

import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unetkit._shared.files import writing_into
from unetkit._version import __version__
from unetkit.cluster.large_images import ImageWorkers, can_be_shared
from unetkit.cluster.tasks import STALLED_MINUTES, Task, Workers, cut_parts
from unetkit.cluster.worker import (
    BatchResult,
    FinishedResult,
    PredictionTask,
    find_fault,
    predict_batch,
)
from unetkit.errors import ConfigError, DataError, OutputExistsError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.tiling import Tiling
from unetkit.results.collected import COLLECTED, collect, require_collectable
from unetkit.results.files import Prediction, predict_files
from unetkit.results.inputs import TREE_TOP, InputImage, Shard
from unetkit.results.outputs import require_outputs
from unetkit.results.plan import Job, require_own_names
from unetkit.results.predicted_image import ResultOptions

BATCH = 64  # images of a task: seconds of work, beside which its milliseconds do not count
MOST_BATCHES = 512  # each reads the records of all results once
PART_OF_COMMAND = "-workers"  # which no other command holds at the same time


def predict_on_workers(
    client: Any,
    predictor: Predictor,
    images: Sequence[InputImage],
    out: Path,
    *,
    kinds: Sequence[str],
    format: str = "auto",
    overwrite: bool = False,
    options: ResultOptions | None = None,
    stalled_minutes: float = STALLED_MINUTES,
    on_result: Callable[[Prediction], object] = lambda result: None,
    begin: Callable[[Path, Tiling, int], Callable[[], object]] = lambda *_: lambda: None,
    on_error: Callable[[Path, UnetkitError], object] | None = None,
    on_finished: Callable[[FinishedResult], object] = lambda result: None,
) -> list[Path]:
    """Segments image files on workers, and writes outputs named after each of them.

    Paths of images, model and outputs must be the same on all workers. What a run that was
    interrupted finished is left as it is, as by `predict_files`. An image of more than
    `WHOLE_PIXELS` pixels is shared by all workers if its outputs are OME-Zarr and it is read by
    windows; any other is predicted by one worker.

    Args:
        client: A client of Dask; see `connection`.
        predictor: The model, of one thread: a worker has a batch on each of its threads.
        images: The images.
        out: Folder for the outputs, not the file of one mask.
        kinds: Kinds of output.
        format: Format of the files.
        overwrite: Whether to replace existing outputs of other models, options or origin.
        options: How results are written; None for the defaults.
        stalled_minutes: Minutes after which an image, or a tile of a large one, that a worker has
            begun and not finished is given up.
        on_result: Called with each prediction, without pixels, in the order of the batches' ends.
        begin: Called before an image is shared by all workers; see `predict_files`.
        on_error: Called with an image that cannot be predicted, or has results that must not be
            replaced, and the reason; None to raise the error instead.
        on_finished: Called with results that an earlier run finished.

    Returns:
        The files written.

    Raises:
        ConfigError: There is no worker, or one has another version of unetkit.
        DataError: An image cannot be read, ends its workers or holds one, and `on_error` is None;
            or a worker has another model.
        DataNotFoundError: The scheduler ends.
        OutputExistsError: An output of other origin exists, and `on_error` is None; two images
            share a name, or the outputs would be among the images.
        OSError: No worker can write results.
    """
    options = options or ResultOptions()
    require_outputs(predictor, kinds, format, options)
    folder = out.absolute()
    given = {image.path.absolute(): image.path for image in images}
    images = [InputImage(path, one.subfolder) for path, one in zip(given, images, strict=True)]
    require_own_names([(image.name, image.path) for image in images], folder)
    _require_apart(images, folder)
    task = PredictionTask(pickle.dumps(predictor), folder, tuple(kinds), format, overwrite, options)
    _require_fitting_workers(client, task)
    workers = Workers(client, stalled_minutes)
    shared = [one for one in images if format == "zarr" and can_be_shared(one.path, predictor)]
    alone = [one for one in images if one not in shared]
    folder_is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def named(files: Mapping[str, Path]) -> dict[str, Path]:
        return {kind: out / file.relative_to(folder) for kind, file in files.items()}

    def keep(one: Prediction) -> None:
        files = named(one.files)
        written.extend(files.values())
        on_result(replace(one, image=given[one.image], files=files))

    def keep_finished(one: FinishedResult | Job) -> None:
        on_finished(FinishedResult(given[one.image], one.page, named(one.files)))

    def report(image: Path, error: UnetkitError) -> None:
        if on_error is None:
            raise error
        on_error(given[image], error)

    with ExitStack() as ending:
        if folder_is_new:
            ending.callback(_remove_if_empty, folder)
        require_collectable(folder, kinds)
        with writing_into(folder, PART_OF_COMMAND):
            for result in _results(workers, task, alone):
                for finished in result.finished:
                    keep_finished(finished)
                for prediction in result.predictions:
                    keep(prediction)
                for image, error in result.failed:
                    report(image, error)
        if shared:
            predict_files(
                predictor,
                shared,
                folder,
                kinds=kinds,
                format=format,
                overwrite=overwrite,
                options=options,
                find_helpers=partial(ImageWorkers, workers, task.predictor),
                begin=lambda image, *tiles: begin(given[image], *tiles),
                on_result=keep,
                on_error=None if on_error is None else report,
                on_finished=keep_finished,
            )
        if COLLECTED.keys() & set(kinds):
            is_tree = any(image.subfolder != TREE_TOP for image in images)
            with writing_into(folder):
                written += collect(folder, kinds, predictor.spec.classes, is_tree)
    return written


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _require_apart(images: Sequence[InputImage], folder: Path) -> None:
    """Refuses results that might replace images, before any batch is handed out."""
    for image in images:
        if image.path.parent.resolve() == (folder / image.subfolder).resolve():
            raise OutputExistsError(
                f"output {folder} is the folder of {image.path}, where results might replace "
                "images; accepted is another folder; choose one with --out"
            )


def _require_fitting_workers(client: Any, task: PredictionTask) -> None:
    """Compares versions and the model with those of all workers.

    Raises:
        ConfigError: There is no worker, or one has another version of unetkit.
        DataError: A worker cannot load the model, or has another one.
    """

    def version() -> str:  # a function within another is sent whole, so that any version runs it
        try:
            from unetkit._version import __version__
        except ImportError:
            return "none"
        return __version__

    for worker, found in client.run(version).items():
        if found != __version__:
            raise ConfigError(
                f"worker {worker} has unetkit {found}, and this command {__version__}; accepted "
                "are workers of the same version; install it there"
            )
    for worker, fault in client.run(find_fault, task.predictor).items():
        if fault is not None:
            raise DataError(f"worker {worker}: {fault}")
    if not client.nthreads():
        raise ConfigError(
            "the cluster has no worker; accepted is one or more; start one: dask worker ADDRESS"
        )


def _results(
    workers: Workers, task: PredictionTask, images: Sequence[InputImage]
) -> Iterator[BatchResult]:
    """Hands out batches, some at a time, and yields what became of each.

    The images of a batch that ends or holds its worker are handed out one by one, so that the one
    that does so is known, and the others are predicted.
    """
    parts = cut_parts(images, BATCH, workers.threads, MOST_BATCHES) if images else []
    batches: deque[Task] = deque(
        _batch(task, part, Shard(number, len(parts))) for number, part in enumerate(parts, start=1)
    )
    for outcome in workers.hand_out(lambda: batches.popleft() if batches else None):
        _, batch, shard = outcome.task.arguments
        if outcome.fault is None:
            yield outcome.value
        elif len(batch) > 1:
            batches.extend(_batch(task, [image], shard) for image in batch)
        else:
            path = batch[0].path
            error = DataError(
                f"{path}: {outcome.fault}; accepted are images that neither end nor hold a worker; "
                "predict it alone, on one machine, to see why"
            )
            yield BatchResult((), (), ((path, error),))


def _batch(task: PredictionTask, images: Sequence[InputImage], shard: Shard) -> Task:
    others = f" and the {len(images) - 1} images after it" if len(images) > 1 else ""
    return Task(predict_batch, (task, images, shard), f"{images[0].path}{others}")
