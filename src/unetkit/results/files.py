"""Image files in, files of masks, overlays, cut-outs and probabilities out.

`plan` names and checks all files before anything is written. Images whose outputs are PNG are
predicted in memory, several at the same time; all others one after another through `large_images`.

What the outputs look like is left to `outputs`.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.files import remove_leftovers, writing_into, written_together
from unetkit._shared.memory_budget import BUDGET
from unetkit._shared.threads import in_order
from unetkit.errors import ConfigError, DataError, SizeError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import (
    ImageVersion,
    InputFile,
    image_version,
    open_source,
    stamp,
)
from unetkit.prediction.tiling import Tiling
from unetkit.results.collected import collect, require_collectable
from unetkit.results.finished import (
    MADE_AGAIN,
    Finder,
    ResultState,
    earlier_result_error,
)
from unetkit.results.inputs import TREE_TOP, InputImage, Shard, as_input
from unetkit.results.large_images import Helpers, predict_large_image, store_beside
from unetkit.results.outputs import (
    DISAGREEMENT,
    MASK,
    UNCERTAINTY,
    default_outputs,
    require_outputs,
    write_output,
)
from unetkit.results.plan import IMAGE_ERRORS, Job, find_destination, going_on, plan_outputs
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.records import Records, ResultOrigin, origin_of
from unetkit.results.whole_images import predict_whole

STANDARD_INPUT = "standard input"
FindHelpers = Callable[[Path, int | None], Helpers | None]


@dataclass(frozen=True)
class Prediction:
    """The prediction of an image, written to files.

    Args:
        image: Image file.
        page: Number of the image in a file of several, or None.
        size: (height, width) in pixels.
        files: File written for each kind of output.
        counts: Number of pixels of each class, (K,) int64; None if no mask was written.
        uncertainty: Mean uncertainty, from 0 to 1; None if it was not written.
        disagreement: Mean disagreement, from 0 to 1; None if it was not written.
        tiling: Tiles in which the image was predicted.
        objects: Number of objects; None if they were not written.
        photo: The image, (H, W, 3) uint8; None if it was not predicted in memory.
        mask: Class indices, (H, W) uint8; None if the image was not predicted in memory.
    """

    image: Path
    page: int | None
    size: tuple[int, int]
    files: Mapping[str, Path]
    counts: np.ndarray | None
    tiling: Tiling
    objects: int | None = None
    uncertainty: float | None = None
    disagreement: float | None = None
    photo: np.ndarray | None = None
    mask: np.ndarray | None = None

    @property
    def name(self) -> str:
        """Name of the image file, and its page if it has several."""
        return self.image.name if self.page is None else f"{self.image.name}, page {self.page}"


def predict_files(
    predictor: Predictor,
    images: Sequence[Path | InputImage],
    out: str | Path,
    *,
    kinds: Sequence[str] | None = None,
    format: str = "auto",
    overwrite: bool = False,
    options: ResultOptions | None = None,
    collected: bool = False,
    shard: Shard | None = None,
    find_helpers: FindHelpers = lambda image, page: None,
    on_result: Callable[[Prediction], object] = lambda result: None,
    begin: Callable[[Path, Tiling, int], Callable[[], object]] = lambda *_: lambda: None,
    on_error: Callable[[Path, UnetkitError], object] | None = None,
    on_finished: Callable[[Job], object] = lambda job: None,
) -> list[Path]:
    """Segments image files and writes outputs named after each of them.

    The outputs of a file of several images are named NAME_p000, NAME_p001 and so on. Nothing is
    written before all names have been checked. What an earlier run finished with the same model,
    options and image is left as it is; see `finished`.

    Args:
        predictor: The model.
        images: Image files, or what `find_inputs` found.
        out: Folder for the outputs; or, for one image, the file of its mask, PNG, TIFF or
            OME-Zarr, whose name those of its other outputs begin with.
        kinds: Kinds of output, keys of `outputs.OUTPUTS`: "mask" (class indices),
            "overlay" (class colours over the photo), "cutout" (the photo with its background
            transparent), "probabilities", "uncertainty" and "disagreement" (from 0 to 65534, 65535
            where there is no data), "objects" (numbers of objects), "table" (measures of
            objects); None for masks, and for objects and tables if the model tells objects apart.
        format: "png" (NPZ for probabilities); "tiff", tiled, with overviews; "zarr", OME-Zarr; or
            "auto": PNG, but TIFF for GeoTIFFs and images of more than `WHOLE_PIXELS` pixels.
        overwrite: Whether to replace existing outputs of other models, options or origin. Images
            are never replaced.
        options: How results are written; None for the defaults.
        collected: Whether tables and COCO files of all images in the folder are put together, too;
            never those of a shard.
        shard: The part of a job that `images` are, which allows other processes to predict other
            parts into the same folder at the same time; None for all of a job.
        find_helpers: Called with an image that is predicted by windows, and its page; returns the
            processes that do parts of the work, or None.
        on_result: Called with each prediction: first those of images predicted in memory, in order,
            then all others.
        begin: Called before an image is predicted by windows, with its file, its tiles and the
            number of tiles that an earlier run finished; returns a function that is called after
            each further tile.
        on_error: Called with an image that cannot be predicted, or has results that must not be
            replaced, and the reason, before the next one is predicted; None to raise the error
            instead.
        on_finished: Called with each image whose results an earlier run finished, before any
            image is predicted.

    Returns:
        The files written.

    Raises:
        OutputExistsError: An output of another model, other options or unknown origin exists, and
            `on_error` is None; two images share a name, an output would replace an image, or
            another process writes into the folder.
        ConfigError: A kind of output or a format is unknown, or PNG is asked for an image of more
            than `WHOLE_PIXELS` pixels.
        DataError: An image cannot be read, or its name is too long for a result, and `on_error` is
            None; or a kind of output needs a
            background class that the model does not have.
        SizeError: The memory limit of the predictor is too small for one tile.
    """
    out = Path(out)
    kinds = default_outputs(predictor.spec) if kinds is None else kinds
    options = options or ResultOptions()
    require_outputs(predictor, kinds, format, options)
    destination = find_destination(out, format)
    folder = destination.folder
    collected = collected and destination.mask is None and shard is None
    part = "" if shard is None else shard.part
    inputs = [as_input(image) for image in images]
    with ExitStack() as opened:
        # Planned under the lock, as another process may have written the same files until now.
        opened.enter_context(writing_into(folder, part))
        if collected:
            require_collectable(folder, kinds)
        names = None if shard is None else {image.name for image in inputs}
        records = opened.enter_context(closing(Records(folder, part, names)))
        finder = Finder(records, origin_of(predictor, options))

        def is_needed(job: Job) -> bool:
            state, file = finder.state_of(job)
            if state is ResultState.FINISHED:
                on_finished(job)
                return False
            if overwrite or state in MADE_AGAIN:
                return True
            with going_on(job.image, on_error):
                raise earlier_result_error(file, state)
            return False

        plan = plan_outputs(
            predictor, inputs, out, kinds, format, overwrite, opened, on_error, is_needed, options
        )
        opened.enter_context(_subfolders(folder, plan, keep=shard is not None))
        remove_leftovers(*(file for job in plan for file in job.files.values()))
        keeper = _Keeper(records, finder.origin, overwrite, options, find_helpers)
        is_tree = any(image.subfolder != TREE_TOP for image in inputs)
        with BUDGET.limited(predictor.memory):
            written = _predict_plan(predictor, plan, keeper, on_result, begin, on_error)
        if collected:
            written += collect(folder, kinds, predictor.spec.classes, is_tree)
        return written


@contextmanager
def _subfolders(folder: Path, plan: Sequence[Job], keep: bool) -> Iterator[None]:
    """Makes the folders of results below that of all, and removes those that stay empty.

    They are kept where another process may be about to write into them.
    """
    parents = {file.parent for job in plan for file in job.files.values()}
    below = {path for one in parents for path in (one, *one.parents) if folder in path.parents}
    for path in sorted(below):
        path.mkdir(exist_ok=True)
    try:
        yield
    finally:
        for path in [] if keep else sorted(below, reverse=True):
            with suppress(OSError):
                path.rmdir()


@dataclass(frozen=True)
class _Keeper:
    """How results are written and recorded.

    Args:
        records: Records of the folder.
        origin: What results depend on beside their images.
        overwrite: Whether to replace existing outputs of other origin.
        options: How outputs are written.
        find_helpers: Finds processes that do parts of the work on an image.
    """

    records: Records
    origin: ResultOrigin
    overwrite: bool
    options: ResultOptions
    find_helpers: FindHelpers

    def record(self, job: Job, version: ImageVersion, parts: Mapping[str, Path]) -> None:
        """Records complete results, each in a part that is about to be renamed."""
        files = {job.files[kind]: part for kind, part in parts.items()}
        self.records.add(job.image, job.page, version, self.origin, files)


def _predict_plan(
    predictor: Predictor,
    plan: Sequence[Job],
    keeper: _Keeper,
    on_result: Callable[[Prediction], object],
    begin: Callable[[Path, Tiling, int], Callable[[], object]],
    on_error: Callable[[Path, UnetkitError], object] | None,
) -> list[Path]:
    written: list[Path] = []
    ordinary = [job for job in plan if job.is_whole]
    large = [job for job in plan if not job.is_whole]
    room = predictor.memory - BUDGET.base - predictor.least_tile_bytes
    needs = [job.needed for job in ordinary if job.needed <= room]
    one, threads = predictor.leaving(max(needs, default=0)), 1
    if len(needs) > 1:
        one, threads = one.side_by_side(min(len(needs), predictor.threads))

    def predict_ordinary(job: Job) -> tuple[Job, Prediction | UnetkitError]:
        need = job.needed + predictor.least_tile_bytes
        try:
            with BUDGET.limited(predictor.memory), BUDGET.taken(need, str(job.image)):
                return job, _predict_whole(one, job, keeper)
        except IMAGE_ERRORS as error:  # reported by the thread that takes the results
            return job, _of_image(error, job.image)

    def keep(result: Prediction | UnetkitError) -> None:
        if isinstance(result, UnetkitError):
            raise result
        written.extend(result.files.values())
        on_result(result)

    for job, result in in_order(predict_ordinary, ordinary, threads):
        with going_on(job.image, on_error):
            keep(result)
    if ordinary and large:
        one.release_memory()
    for job in large:
        with going_on(job.image, on_error):
            try:
                result = _predict_large(predictor, job, keeper, begin)
            except SizeError as error:
                raise _of_image(error, job.image) from error
            keep(result)
    return written


def _of_image(error: UnetkitError, image: Path) -> UnetkitError:
    """An error that names the image, as those of what is too large for memory do not."""
    return SizeError(f"{image}: {error}") if isinstance(error, SizeError) else error


def _predict_whole(predictor: Predictor, job: Job, keeper: _Keeper) -> Prediction:
    options, version = keeper.options, _version_of(job)
    with open_source(job.source, predictor.spec.pixels, job.page) as source:
        size = source.shape[:2]
        tiling = predictor.tiling(predictor.spec.scale.network_size(size))
        with (
            predict_whole(predictor, source, job.files, options, job.path_in_results) as image,
            written_together(job.files, partial(keeper.record, job, version)) as parts,
        ):
            written = {kind: write_output(kind, part, image) for kind, part in parts.items()}
        photo, mask = image.photo, image.labels
    objects = None if image.objects is None else image.objects.count
    return Prediction(
        job.image,
        job.page,
        size,
        job.files,
        tiling=tiling,
        objects=objects,
        photo=photo,
        mask=mask,
        **_figures(written),
    )


def _version_of(job: Job) -> ImageVersion:
    """Version of an image file; taken before its pixels are read, so that it is never newer."""
    if isinstance(job.source, InputFile):
        return job.source.version()
    return image_version(job.image)


def _predict_large(
    predictor: Predictor,
    job: Job,
    keeper: _Keeper,
    begin: Callable[[Path, Tiling, int], Callable[[], object]],
) -> Prediction:
    version, before = _version_of(job), _identity(job.image)

    def identity() -> dict[str, Any]:
        with suppress(FileNotFoundError):  # a file that was removed stays as it is while it is open
            return {**_identity(job.image), "page": job.page}
        return {**before, "page": job.page}

    with open_source(job.source, predictor.spec.pixels, job.page) as source:
        written, objects, tiling = predict_large_image(
            predictor,
            source,
            job.files,
            store_beside(job.files),
            identity=identity,
            overwrite=keeper.overwrite,
            options=keeper.options,
            path=job.path_in_results,
            helpers=keeper.find_helpers(job.image, job.page),
            begin=partial(begin, job.image),
            on_complete=partial(keeper.record, job, version),
        )
        size = source.shape[:2]
    return Prediction(
        job.image,
        job.page,
        size,
        job.files,
        tiling=tiling,
        objects=objects,
        **_figures(written),
    )


def _figures(written: Mapping[str, Any]) -> dict[str, Any]:
    """What was counted while outputs were written, by the names of `Prediction`."""
    return {
        "counts": written.get(MASK),
        UNCERTAINTY: written.get(UNCERTAINTY),
        DISAGREEMENT: written.get(DISAGREEMENT),
    }


def _identity(image: Path) -> dict[str, Any]:
    """Name and version of an image file, which tiles of an interrupted run belong to."""
    size, changed = stamp(image)
    return {"image": image.name, "bytes": size, "changed": changed}


def predict_stream(
    predictor: Predictor, content: bytes, kind: str = MASK, options: ResultOptions | None = None
) -> bytes:
    """Segments the content of an image file, such as one that comes through a pipe.

    Args:
        predictor: The model.
        content: Content of a file of a single image.
        kind: Kind of output, a key of `outputs.OUTPUTS`.
        options: How it is written; None for the defaults.

    Returns:
        Content of the output file: PNG, NPZ for probabilities, or what `options` say.

    Raises:
        ConfigError: `kind` is unknown, or the image has more than `WHOLE_PIXELS` pixels.
        DataError: The content is not an image that can be read, or holds several images.
    """
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image")
        image.write_bytes(content)
        try:
            with closing(InputFile(image, predictor.spec.pixels)) as source:
                source.require_one_image()
            (file,) = predict_files(
                predictor,
                [image],
                Path(folder, "results"),
                kinds=[kind],
                format="png",
                options=options,
            )
        except (DataError, ConfigError) as error:
            raise type(error)(str(error).replace(str(image), STANDARD_INPUT)) from error
        return file.read_bytes()
