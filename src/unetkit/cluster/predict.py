"""Images predicted by workers of Dask, in batches, with the results of one machine.

The command lists images and hands out batches, a few for each thread of a worker, so that neither a
graph of all images exists nor a worker waits. What a worker finishes is on the disk with its
records. Dask gives the batch of a worker that dies to another one, which predicts what is missing.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from unetkit._shared.files import writing_into
from unetkit._version import __version__
from unetkit.cluster.worker import (
    BatchResult,
    FinishedResult,
    PredictionTask,
    find_fault,
    predict_batch,
)
from unetkit.errors import ConfigError, DataError, OutputExistsError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.results.collected import COLLECTED, collect, require_collectable
from unetkit.results.files import Prediction
from unetkit.results.inputs import TREE_TOP, InputImage, Shard
from unetkit.results.outputs import require_outputs
from unetkit.results.predicted_image import ResultOptions

BATCH = 64  # images of a task: seconds of work, beside which its milliseconds do not count
BATCHES_PER_THREAD = 4  # at least, so that all workers end at about the same time
MOST_BATCHES = 512  # each reads the records of all results once
AHEAD = 2  # batches for each thread: one that runs, and one that waits for it


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
    on_result: Callable[[Prediction], object] = lambda result: None,
    on_error: Callable[[Path, UnetkitError], object] | None = None,
    on_finished: Callable[[FinishedResult], object] = lambda result: None,
) -> list[Path]:
    """Segments image files on workers, and writes outputs named after each of them.

    Paths of images, model and outputs must be the same on all workers. What a run that was
    interrupted finished is left as it is, as by `predict_files`.

    Args:
        client: A client of Dask; see `connection`.
        predictor: The model, of one thread: a worker has a batch on each of its threads.
        images: The images.
        out: Folder for the outputs, not the file of one mask.
        kinds: Kinds of output.
        format: Format of the files.
        overwrite: Whether to replace existing outputs of other models, options or origin.
        options: How results are written; None for the defaults.
        on_result: Called with each prediction, without pixels, in the order of the batches' ends.
        on_error: Called with an image that cannot be predicted, or has results that must not be
            replaced, and the reason; None to raise the error instead.
        on_finished: Called with results that an earlier run finished.

    Returns:
        The files written.

    Raises:
        ConfigError: There is no worker, or one has another version of unetkit.
        DataError: An image cannot be read, and `on_error` is None; a batch ends its workers; or a
            worker has another model.
        OutputExistsError: An output of other origin exists, and `on_error` is None; two images
            share a name, or the outputs would be among the images.
        OSError: A worker cannot write a result.
    """
    options = options or ResultOptions()
    require_outputs(predictor, kinds, format, options)
    folder = out.absolute()
    given = {image.path.absolute(): image.path for image in images}
    images = [InputImage(path, one.subfolder) for path, one in zip(given, images, strict=True)]
    _require_own_names(images, folder)
    task = PredictionTask(pickle.dumps(predictor), folder, tuple(kinds), format, overwrite, options)
    threads = _require_fitting_workers(client, task)
    folder_is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []

    def named(file: Path) -> Path:
        return out / file.relative_to(folder)

    with ExitStack() as ending:
        if folder_is_new:
            ending.callback(_remove_if_empty, folder)
        require_collectable(folder, kinds)
        for result in _results(client, task, images, threads):
            for one in result.finished:
                files = {kind: named(file) for kind, file in one.files.items()}
                on_finished(replace(one, image=given[one.image], files=files))
            for prediction in result.predictions:
                files = {kind: named(file) for kind, file in prediction.files.items()}
                written += files.values()
                on_result(replace(prediction, image=given[prediction.image], files=files))
            for image, error in result.failed:
                if on_error is None:
                    raise error
                on_error(given[image], error)
        if COLLECTED.keys() & set(kinds):
            is_tree = any(image.subfolder != TREE_TOP for image in images)
            with writing_into(folder):
                written += collect(folder, kinds, predictor.spec.classes, is_tree)
    return written


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _require_own_names(images: Sequence[InputImage], folder: Path) -> None:
    """Refuses results that would replace images, or one another, before any batch is handed out."""
    owners: dict[str, Path] = {}
    for image in images:
        owner = owners.setdefault(image.name.casefold(), image.path)
        if owner != image.path:
            raise OutputExistsError(
                f"{owner} and {image.path} would have results of one name in {folder}; accepted "
                "are images of different names; predict them into two folders"
            )
        if image.path.parent.resolve() == (folder / image.subfolder).resolve():
            raise OutputExistsError(
                f"output {folder} is the folder of {image.path}, where results might replace "
                "images; accepted is another folder; choose one with --out"
            )


def _require_fitting_workers(client: Any, task: PredictionTask) -> int:
    """Compares versions and the model with those of all workers.

    Returns:
        Number of threads of all workers.

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
    threads = sum(client.nthreads().values())
    if threads == 0:
        raise ConfigError(
            "the cluster has no worker; accepted is one or more; start one: dask worker ADDRESS"
        )
    return int(threads)


def _results(
    client: Any, task: PredictionTask, images: Sequence[InputImage], threads: int
) -> Iterator[BatchResult]:
    """Hands out batches, some at a time, and yields what became of each."""
    from distributed import KilledWorker, as_completed

    batches = _batches(images, threads)
    waiting: dict[Any, Sequence[InputImage]] = {}

    def submit(number: int, batch: Sequence[InputImage]) -> Any:
        shard = Shard(number, len(batches))
        future = client.submit(predict_batch, task, batch, shard, pure=False, retries=1)
        waiting[future] = batch
        return future

    numbered = iter(enumerate(batches, start=1))
    running = as_completed([submit(*one) for one in islice(numbered, AHEAD * threads)])
    try:
        for future in running:
            batch = waiting.pop(future)
            try:
                yield future.result()
            except KilledWorker as error:
                raise DataError(
                    f"the worker of {batch[0].path} and the {len(batch) - 1} images after it ended "
                    f"several times ({type(error).__name__}); accepted are images that do not end "
                    "it; predict these on one machine to find which does"
                ) from error
            for one in islice(numbered, 1):
                running.add(submit(*one))
    finally:
        client.cancel(list(waiting))


def _batches(images: Sequence[InputImage], threads: int) -> list[Sequence[InputImage]]:
    """Parts of the images of about the same size, in order."""
    count = max(-(-len(images) // BATCH), BATCHES_PER_THREAD * threads)
    count = max(1, min(count, MOST_BATCHES, len(images)))
    ends = [len(images) * number // count for number in range(count + 1)]
    return [images[first:end] for first, end in pairwise(ends)]
