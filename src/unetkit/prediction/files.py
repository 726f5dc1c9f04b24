"""Image files in, files of masks, overlays, cut-outs and probabilities out.

All names are planned and checked before anything is written. Images whose outputs are PNG are
predicted in memory, several at the same time; all others one after another through `large_images`.

What the outputs look like is left to `outputs`.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.files import writing_into
from unetkit._shared.memory_budget import BUDGET
from unetkit._shared.threads import in_order
from unetkit.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    OutputExistsError,
    SizeError,
    UnetkitError,
)
from unetkit.io.pixel_size import PixelSize
from unetkit.prediction.large_images import lock_of, predict_large_image, store_beside
from unetkit.prediction.needs import bytes_to_predict
from unetkit.prediction.objects import with_objects
from unetkit.prediction.outputs import (
    OUTPUTS,
    WHOLE_FORMAT,
    PredictedImage,
    choose_output_format,
    default_outputs,
    metadata_of,
    require_outputs,
    write_output,
)
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import (
    SUFFIXES,
    InputFile,
    is_array_file,
    is_image,
    open_source,
    stamp,
)
from unetkit.prediction.tiling import Tiling

IMAGE_ERRORS = (DataError, DataNotFoundError, SizeError)  # of a single image
STANDARD_INPUT = "standard input"
LONGEST_FILE_NAME = 255  # bytes, on the file systems in use
MOST_OPEN = 64  # image files that stay open from the plan to their prediction


@dataclass(frozen=True)
class Job:
    """An image and the files to write.

    Args:
        image: Image file.
        page: Number of the image in a file of several, or None.
        pixels: Number of pixels of the image.
        needed: Bytes that the image and its results take, if it is predicted in memory.
        format: Format of the files, a key of `outputs.FORMAT_SUFFIXES`.
        files: File to write for each kind of output.
        source: The image file, which may be open; or the path of a file of several images.
    """

    image: Path
    page: int | None
    pixels: int
    needed: int
    format: str
    files: Mapping[str, Path]
    source: InputFile | Path

    @property
    def is_whole(self) -> bool:
        """Whether the image is predicted in memory."""
        return self.format == WHOLE_FORMAT

    @property
    def is_interrupted(self) -> bool:
        """Whether an earlier run left tiles of the image."""
        return not self.is_whole and store_beside(self.files).exists()

    @property
    def is_finished(self) -> bool:
        """Whether all files exist, are complete, and are newer than the image."""
        changed = stamp(self.image)[1]
        return not self.is_interrupted and all(
            file.exists() and file.stat().st_mtime_ns >= changed for file in self.files.values()
        )


@dataclass(frozen=True)
class Prediction:
    """The prediction of an image, written to files.

    Args:
        image: Image file.
        page: Number of the image in a file of several, or None.
        size: (height, width) in pixels.
        files: File written for each kind of output.
        counts: Number of pixels of each class, (K,) int64; None if no mask was written.
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
    photo: np.ndarray | None = None
    mask: np.ndarray | None = None

    @property
    def name(self) -> str:
        """Name of the image file, and its page if it has several."""
        return self.image.name if self.page is None else f"{self.image.name}, page {self.page}"


def find_images(inputs: Iterable[str | Path]) -> list[Path]:
    """Expands files, folders and glob patterns to image files, without duplicates.

    Args:
        inputs: Paths of image files or folders, and glob patterns.

    Raises:
        DataNotFoundError: An input does not exist, or a folder or pattern has no image.
    """
    found: list[Path] = []
    for item in inputs:
        path = Path(item)
        if path.is_dir() and not is_array_file(path):
            matches = sorted(p for p in path.iterdir() if is_image(p))
        elif path.exists():
            matches = [path]
        elif any(sign in str(item) for sign in "*?["):
            anchor = Path(path.anchor)
            pattern = str(path.relative_to(anchor)) if path.anchor else str(path)
            matches = sorted(p for p in anchor.glob(pattern) if is_image(p))
        else:
            matches = []
        if not matches:
            raise DataNotFoundError(
                f"{item} names no image; accepted are image files, a folder of them, or a pattern "
                f"such as 'photos/*.jpg' ({', '.join(SUFFIXES)})"
            )
        found += matches
    return list(dict.fromkeys(found))


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    out: str | Path,
    *,
    kinds: Sequence[str] | None = None,
    format: str = "auto",
    overwrite: bool = False,
    pixel_size: PixelSize | None = None,
    on_result: Callable[[Prediction], object] = lambda result: None,
    begin: Callable[[Path, Tiling, int], Callable[[], object]] = lambda *_: lambda: None,
    on_error: Callable[[Path, UnetkitError], object] | None = None,
) -> list[Path]:
    """Segments image files and writes outputs named after each of them.

    The outputs of a file of several images are named NAME_p000, NAME_p001 and so on. Nothing is
    written before all names have been checked. If an earlier run was interrupted, the files that it
    finished are left as they are.

    Args:
        predictor: The model.
        images: Image files.
        out: Folder for the outputs.
        kinds: Kinds of output, keys of `outputs.OUTPUTS`: "mask" (class indices with a palette),
            "overlay" (class colours over the photo), "cutout" (the photo with its background
            transparent), "probabilities", "objects" (numbers of objects), "table" (measures of
            objects); None for masks, and for objects and tables if the model tells objects apart.
        format: "png" (NPZ for probabilities); "tiff", tiled, with overviews; "zarr", OME-Zarr; or
            "auto": PNG, but TIFF for GeoTIFFs and images of more than `WHOLE_PIXELS` pixels.
        overwrite: Whether to replace existing outputs. Images are never replaced.
        pixel_size: Physical size of a pixel, for further columns in tables of objects; None for
            that of each file, if it has one.
        on_result: Called with each prediction: first those of images predicted in memory, in order,
            then all others.
        begin: Called before an image is predicted by windows, with its file, its tiles and the
            number of tiles that an earlier run finished; returns a function that is called after
            each further tile.
        on_error: Called with an image that cannot be predicted and the reason, before the next one
            is predicted; None to raise the error instead.

    Returns:
        The files written.

    Raises:
        OutputExistsError: An output exists, two images share a name, an output would replace an
            image, or another process writes into the folder.
        ConfigError: A kind of output or a format is unknown, or PNG is asked for an image of more
            than `WHOLE_PIXELS` pixels.
        DataError: An image cannot be read, or its name is too long for a result, and `on_error` is
            None; or a kind of output needs a
            background class that the model does not have.
        SizeError: The memory limit of the predictor is too small for one tile.
    """
    out = Path(out)
    kinds = default_outputs(predictor.spec) if kinds is None else kinds
    require_outputs(predictor, kinds, format)
    _require_folder(out)
    with ExitStack() as opened:
        # Planned under the lock, as another process may have written the same files until now.
        opened.enter_context(writing_into(out))
        plan = plan_outputs(predictor, images, out, kinds, format, overwrite, opened, on_error)
        with BUDGET.limited(predictor.memory):
            return _predict_plan(predictor, plan, overwrite, pixel_size, on_result, begin, on_error)


def _require_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputExistsError(
            f"output {out} is a file; accepted is a folder; choose another with --out"
        )


def _predict_plan(
    predictor: Predictor,
    plan: Sequence[Job],
    overwrite: bool,
    pixel_size: PixelSize | None,
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
        one, threads = one.side_by_side(min(len(needs), os.cpu_count() or 1))

    def predict_ordinary(job: Job) -> tuple[Job, Prediction | UnetkitError]:
        need = job.needed + predictor.least_tile_bytes
        try:
            with BUDGET.limited(predictor.memory), BUDGET.taken(need, str(job.image)):
                return job, _predict_whole(one, job, pixel_size)
        except IMAGE_ERRORS as error:  # reported by the thread that takes the results
            return job, _of_image(error, job.image)

    def keep(result: Prediction | UnetkitError) -> None:
        if isinstance(result, UnetkitError):
            raise result
        written.extend(result.files.values())
        on_result(result)

    for job, result in in_order(predict_ordinary, ordinary, threads):
        with _going_on(job.image, on_error):
            keep(result)
    if ordinary and large:
        one.release_memory()
    for job in large:
        with _going_on(job.image, on_error):
            try:
                result = _predict_large(predictor, job, overwrite, pixel_size, begin)
            except SizeError as error:
                raise _of_image(error, job.image) from error
            keep(result)
    return written


def _of_image(error: UnetkitError, image: Path) -> UnetkitError:
    """An error that names the image, as those of what is too large for memory do not."""
    return SizeError(f"{image}: {error}") if isinstance(error, SizeError) else error


@contextmanager
def _going_on(
    image: Path, on_error: Callable[[Path, UnetkitError], object] | None
) -> Iterator[None]:
    """Reports an image that cannot be predicted, unless errors are raised."""
    try:
        yield
    except IMAGE_ERRORS as error:
        if on_error is None:
            raise
        on_error(image, error)


def _predict_whole(predictor: Predictor, job: Job, pixel_size: PixelSize | None) -> Prediction:
    spec, files = predictor.spec, job.files
    needs_probabilities = any(OUTPUTS[kind].needs_probabilities for kind in files)
    with open_source(job.source, spec.pixels, job.page) as source:
        size = source.shape[:2]
        tiling = predictor.tiling(spec.scale.network_size(size))
        found = predictor.answer(source, "scores" if needs_probabilities else "labels")

        def read(rows: slice, columns: slice) -> np.ndarray:
            return found[rows, columns]

        image = PredictedImage(
            source,
            spec,
            metadata_of(predictor, tiling),
            read_labels=None if needs_probabilities else read,
            read_scores=read if needs_probabilities else None,
        )
        with ExitStack() as closing_folder:
            if any(OUTPUTS[kind].needs_objects for kind in files):
                folder = closing_folder.enter_context(tempfile.TemporaryDirectory())
                image = with_objects(image, Path(folder), predictor.memory, pixel_size=pixel_size)
            counts = {kind: write_output(kind, file, image) for kind, file in files.items()}
        photo, mask = image.photo, image.labels
    objects = None if image.objects is None else image.objects.count
    pixels = counts.get("mask")
    return Prediction(job.image, job.page, size, files, pixels, tiling, objects, photo, mask)


def _predict_large(
    predictor: Predictor,
    job: Job,
    overwrite: bool,
    pixel_size: PixelSize | None,
    begin: Callable[[Path, Tiling, int], Callable[[], object]],
) -> Prediction:
    before = _identity(job.image)

    def identity() -> dict[str, Any]:
        with suppress(FileNotFoundError):  # a file that was removed stays as it is while it is open
            return {**_identity(job.image), "page": job.page}
        return {**before, "page": job.page}

    with open_source(job.source, predictor.spec.pixels, job.page) as source:
        counts, objects, tiling = predict_large_image(
            predictor,
            source,
            job.files,
            store_beside(job.files),
            identity=identity,
            overwrite=overwrite,
            pixel_size=pixel_size,
            begin=partial(begin, job.image),
        )
        size = source.shape[:2]
    return Prediction(job.image, job.page, size, job.files, counts, tiling, objects)


def _identity(image: Path) -> dict[str, Any]:
    """Name and version of an image file, which tiles of an interrupted run belong to."""
    size, changed = stamp(image)
    return {"image": image.name, "bytes": size, "changed": changed}


def predict_stream(predictor: Predictor, content: bytes, kind: str = "mask") -> bytes:
    """Segments the content of an image file, such as one that comes through a pipe.

    Args:
        predictor: The model.
        content: Content of a file of a single image.
        kind: Kind of output, a key of `outputs.OUTPUTS`.

    Returns:
        Content of the output file: PNG, or NPZ for probabilities.

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
                predictor, [image], Path(folder, "results"), kinds=[kind], format="png"
            )
        except (DataError, ConfigError) as error:
            raise type(error)(str(error).replace(str(image), STANDARD_INPUT)) from error
        return file.read_bytes()


def _plan(
    predictor: Predictor,
    image: Path,
    out: Path,
    kinds: Sequence[str],
    format: str,
    opened: ExitStack,
) -> Iterator[Job]:
    """Yields the job of each image of a file; `opened` closes the file."""
    file = opened.enter_context(closing(InputFile(image, predictor.spec.pixels)))
    count = file.count
    pages: Iterable[int | None] = [None] if count is None else range(count)
    stem = image.stem.removesuffix(".ome")
    for page in pages:
        name = stem if page is None else f"{stem}_p{page:03d}"
        height, width = file.size(page)
        chosen = choose_output_format(image, (height, width), file.is_map(page), format)
        files = {kind: out / f"{name}{OUTPUTS[kind].ending(chosen)}" for kind in kinds}
        source = file if count is None else image
        needed = 0
        if chosen == WHOLE_FORMAT:
            decoding = file.needed_bytes(page)
            needed = bytes_to_predict(decoding, (height, width), predictor.spec, kinds)
        job = Job(image, page, height * width, needed, chosen, files, source)
        _require_short_names(job)
        yield job
    if count is not None:  # each page is read by itself, some at the same time
        file.close()


def plan_outputs(
    predictor: Predictor,
    images: Sequence[Path],
    out: Path,
    kinds: Sequence[str],
    format: str,
    overwrite: bool,
    opened: ExitStack | None = None,
    on_error: Callable[[Path, UnetkitError], object] | None = None,
) -> list[Job]:
    """Returns the job of each image, after all file names have been checked.

    Further Args and Raises are those of `predict_files`, which `plan_outputs` is a part of.

    Args:
        opened: Closes image files that stay open for the prediction; None to close each at once.
        on_error: Called with an image that cannot be opened; None to raise the error.
    """
    _require_folder(out)
    images = list(dict.fromkeys(images))
    resolved = [image.resolve() for image in images]
    sources = {_key(image) for image in resolved}
    if overwrite and _key(out.resolve()) in {_key(image.parent) for image in resolved}:
        raise OutputExistsError(
            f"output {out} is the folder of one of the images, where --overwrite might replace "
            "images; accepted is another folder; choose one with --out"
        )
    plan: list[Job] = []
    for image in images:
        with _going_on(image, on_error), ExitStack() as closing_now:
            keep = closing_now if opened is None or len(plan) >= MOST_OPEN else opened
            plan += _plan(predictor, image, out, kinds, format, keep)
    if not overwrite and any(job.is_interrupted for job in plan):
        # An interrupted run continues: what it finished is left out.
        plan = [job for job in plan if not job.is_finished]
    owners: dict[str, Path] = {}
    for job in plan:
        # Some outputs of an interrupted image may be complete; they are written again.
        may_replace = overwrite or job.is_interrupted
        for file in job.files.values():
            owner = owners.setdefault(_key(file), job.image)
            if owner != job.image:
                raise OutputExistsError(
                    f"{owner} and {job.image} would both be written to {file}; accepted are images "
                    "of different names; predict them into two folders"
                )
            if not file.exists():
                continue
            if _key(file.resolve()) in sources:
                raise OutputExistsError(
                    f"{file} is one of the images; results never replace images; choose another "
                    "folder with --out"
                )
            if not may_replace:
                raise OutputExistsError(
                    f"{file} exists already; accepted is a folder without earlier results; name "
                    "another with --out, or allow it with --overwrite"
                )
    return plan


def _require_short_names(job: Job) -> None:
    """Refuses results whose names, or that of the folder for their tiles, no file can have."""
    names = [file.name for file in job.files.values()]
    if not job.is_whole:
        names.append(lock_of(store_beside(job.files)).name)
    size = max(len(os.fsencode(name)) for name in names)
    if size > LONGEST_FILE_NAME:
        raise DataError(
            f"a result of {job.image} would have a name of {size} bytes; accepted are up to "
            f"{LONGEST_FILE_NAME}; give the image a shorter name"
        )


def _key(path: Path) -> str:
    """The path as text, in lower case on systems that ignore the case of file names."""
    return str(path).casefold() if sys.platform in ("win32", "darwin") else str(path)
