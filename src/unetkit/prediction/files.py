"""From pictures in files to masks, overlays, cut-outs and probabilities in files.

Ordinary pictures are predicted side by side, one to a thread, and written as PNG; large ones one
after another by windows (`gigapixels`), and written as TIFF with overviews or as OME-Zarr.
"""

import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.threads import Share, in_order
from unetkit.errors import ConfigError, DataError, DataNotFoundError, OutputExistsError
from unetkit.io.zarr_reader import require_zarr
from unetkit.prediction.large_images import predict_large_image, store_beside
from unetkit.prediction.outputs import (
    FORMATS,
    OUTPUTS,
    WHOLE_FORMAT,
    PredictedImage,
    metadata_of,
    write_output,
)
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import (
    SUFFIXES,
    WHOLE_PIXELS,
    count_sources,
    is_array_file,
    is_image,
    look,
    open_source,
    require_one_picture,
    stamp,
)
from unetkit.prediction.tiling import Tiling

STANDARD_INPUT = "standard input"


@dataclass(frozen=True)
class Job:
    """One picture, and what is to be written of it.

    Args:
        image: Its file.
        page: Its number in a file of several, or None.
        pixels: How many it has.
        format: Format of the files.
        files: Kind of output and the file to write.
    """

    image: Path
    page: int | None
    pixels: int
    format: str
    files: Mapping[str, Path]

    @property
    def is_whole(self) -> bool:
        """Whether the image is held in memory."""
        return self.format == WHOLE_FORMAT

    @property
    def is_interrupted(self) -> bool:
        """Whether an earlier run left tiles of it."""
        return store_beside(self.files).exists()

    @property
    def is_finished(self) -> bool:
        """Whether all results are there, whole, and newer than the image."""
        changed = stamp(self.image)[1]
        return not self.is_interrupted and all(
            file.exists() and file.stat().st_mtime_ns >= changed for file in self.files.values()
        )


@dataclass(frozen=True)
class Prediction:
    """What became of one picture.

    Args:
        image: Its file.
        page: Its number in a file of several, or None.
        size: (height, width) in pixels.
        files: Kind of output and the file written.
        counts: (K,) pixels of each class; None where no mask was asked for.
        tiling: How the network was shown it.
        photo: (H, W, 3) uint8, for people's eyes; None of a picture larger than memory.
        mask: (H, W) uint8 class indices likewise.
    """

    image: Path
    page: int | None
    size: tuple[int, int]
    files: Mapping[str, Path]
    counts: np.ndarray | None
    tiling: Tiling
    photo: np.ndarray | None = None
    mask: np.ndarray | None = None

    @property
    def name(self) -> str:
        return self.image.name if self.page is None else f"{self.image.name}, page {self.page}"


def find_images(inputs: Iterable[str | Path]) -> list[Path]:
    """Expands files, folders and glob patterns to image files, each once.

    Raises:
        DataNotFoundError: One of them names no image.
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
                f"such as 'photos/*.jpg' ({', '.join(SUFFIXES)}); check the path"
            )
        found += matches
    return list(dict.fromkeys(found))


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    out: str | Path,
    *,
    kinds: Sequence[str] = ("mask",),
    format: str = "auto",
    overwrite: bool = False,
    on_result: Callable[[Prediction], object] = lambda result: None,
    begin: Callable[[Path, Tiling, int], Callable[[], object]] = lambda *_: lambda: None,
) -> list[Path]:
    """Segments files and writes what is asked for, named after each image.

    A file of several pictures gives results NAME_p000, NAME_p001 and so on. Nothing is written
    before all names are known to be free. Where an earlier run was interrupted in a large picture,
    what it had finished is left as it is.

    Args:
        kinds: Of "mask" (class indices, with a palette), "overlay" (classes over the photo),
            "cutout" (the photo, its background transparent), "probabilities".
        format: "png" (and NPZ for probabilities); "tiff", tiled, with overviews; "zarr", OME-Zarr;
            or "auto": PNG, but TIFF of pictures of more than `WHOLE_PIXELS` and of GeoTIFFs.
        overwrite: Whether results that exist already may be replaced. Images never are.
        on_result: Called with what became of each picture, in order but for large ones, which come
            last.
        begin: Called before a large picture with its file, its tiles, and how many of them an
            earlier run left; what it returns is called after each tile.

    Returns:
        The files written.

    Raises:
        OutputExistsError: A result exists, two images share a name, or a result would replace an
            image.
        DataError: An image cannot be read, or a cut-out is asked of a model without background.
        SizeError: The memory allowed does not suffice.
    """
    out = Path(out)
    _require_outputs(predictor, kinds, format)
    plan = plan_outputs(predictor, images, out, kinds, format, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    ordinary = [job for job in plan if job.is_whole]
    large = [job for job in plan if not job.is_whole]
    one, threads = predictor, 1
    if len(ordinary) > 1:
        one, threads = predictor.side_by_side(min(len(ordinary), os.cpu_count() or 1))
    together = Share(WHOLE_PIXELS)

    def predict_ordinary(job: Job) -> Prediction:
        with together.taken(job.pixels):
            return _predict_whole(one, job)

    for result in in_order(predict_ordinary, ordinary, threads):
        written += result.files.values()
        on_result(result)
    if one is not predictor and large:
        one.release_memory()
    for job in large:
        result = _predict_large(predictor, job, overwrite, begin)
        written += result.files.values()
        on_result(result)
    return written


def _require_outputs(predictor: Predictor, kinds: Sequence[str], format: str) -> None:
    for name, given, accepted in (("kind", kinds, tuple(OUTPUTS)), ("format", [format], FORMATS)):
        for one in given:
            if one not in accepted:
                raise ConfigError(
                    f"{name} is {one!r}; accepted are {', '.join(map(repr, accepted))}; choose one"
                )
    if format == "zarr":
        require_zarr()
    if predictor.spec.classes.background is None:
        for kind in kinds:
            if OUTPUTS[kind].needs_background:
                raise DataError(
                    f"{predictor.path} has no background class, which the output {kind!r} needs; "
                    f"accepted are the other outputs, such as 'overlay'"
                )


def _predict_whole(predictor: Predictor, job: Job) -> Prediction:
    spec, files = predictor.spec, job.files
    needs_probabilities = any(OUTPUTS[kind].needs_probabilities for kind in files)
    with open_source(job.image, spec.pixels, job.page) as source:
        size = source.shape[:2]
        tiling = predictor.tiling(spec.scale.network_size(size))
        found = predictor.answer(source, "probabilities" if needs_probabilities else "labels")

        def read(rows: slice, columns: slice) -> np.ndarray:
            return found[rows, columns]

        image = PredictedImage(
            source,
            spec,
            metadata_of(predictor, tiling),
            read_labels=None if needs_probabilities else read,
            read_probabilities=read if needs_probabilities else None,
        )
        counts = {kind: write_output(kind, file, image) for kind, file in files.items()}
        photo, mask = image.photo, image.labels
    return Prediction(job.image, job.page, size, files, counts.get("mask"), tiling, photo, mask)


def _predict_large(
    predictor: Predictor,
    job: Job,
    overwrite: bool,
    begin: Callable[[Path, Tiling, int], Callable[[], object]],
) -> Prediction:
    with open_source(job.image, predictor.spec.pixels, job.page) as source:
        counts, tiling = predict_large_image(
            predictor,
            source,
            job.files,
            store_beside(job.files),
            belongs_to={**_identity(job.image), "page": job.page},
            overwrite=overwrite,
            begin=partial(begin, job.image),
        )
        size = source.shape[:2]
    return Prediction(job.image, job.page, size, job.files, counts, tiling)


def _identity(image: Path) -> dict[str, Any]:
    """A file and its version."""
    size, changed = stamp(image)
    return {"image": image.name, "bytes": size, "changed": changed}


def predict_stream(predictor: Predictor, content: bytes, kind: str = "mask") -> bytes:
    """Segments the content of one image file, such as what comes through a pipe.

    Args:
        content: Of a file of one picture.
        kind: As for `predict_files`.

    Returns:
        The content of the result's file: PNG, or NPZ of probabilities.

    Raises:
        DataError: It is no image that can be read, or holds several pictures.
    """
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image")
        image.write_bytes(content)
        try:
            require_one_picture(image, predictor.spec.pixels)
            (file,) = predict_files(
                predictor, [image], Path(folder, "results"), kinds=[kind], format="png"
            )
        except (DataError, ConfigError) as error:
            raise type(error)(str(error).replace(str(image), STANDARD_INPUT)) from error
        return file.read_bytes()


def _plan(
    predictor: Predictor, image: Path, out: Path, kinds: Sequence[str], format: str
) -> Iterator[Job]:
    """What would be written of each picture of a file."""
    count = count_sources(image, predictor.spec.pixels)
    pages: Iterable[int | None] = [None] if count is None else range(count)
    stem = image.stem.removesuffix(".ome")
    for page in pages:
        name = stem if page is None else f"{stem}_p{page:03d}"
        height, width, is_map = look(image, predictor.spec.pixels, page)
        chosen = _choose_format(image, (height, width), is_map, format)
        files = {kind: out / f"{name}{OUTPUTS[kind].ending(chosen)}" for kind in kinds}
        yield Job(image, page, height * width, chosen, files)


def _choose_format(image: Path, size: tuple[int, int], is_map: bool, format: str) -> str:
    """The format of a picture's results.

    Raises:
        ConfigError: PNG is asked for, of more pixels than a PNG is written with.
    """
    is_large = math.prod(size) > WHOLE_PIXELS
    if is_large and format == "png":
        raise ConfigError(
            f"format is 'png' and {image} has {size[0]}x{size[1]} pixels; accepted are up to "
            f"{WHOLE_PIXELS:,} pixels as PNG; use tiff or zarr"
        )
    if format == "auto":
        return "tiff" if is_large or is_map else "png"
    return format


def plan_outputs(
    predictor: Predictor,
    images: Sequence[Path],
    out: Path,
    kinds: Sequence[str],
    format: str,
    overwrite: bool,
) -> list[Job]:
    """What would be written of each picture; arguments and errors as `predict_files`."""
    if out.exists() and not out.is_dir():
        raise OutputExistsError(
            f"output {out} is a file; accepted is a folder; name another with --out"
        )
    images = list(dict.fromkeys(images))
    resolved = [image.resolve() for image in images]
    sources = {_key(image) for image in resolved}
    if overwrite and _key(out.resolve()) in {_key(image.parent) for image in resolved}:
        raise OutputExistsError(
            f"output {out} is a folder of the images, where --overwrite might replace other "
            "pictures; accepted is another folder; name one with --out"
        )
    plan = [job for image in images for job in _plan(predictor, image, out, kinds, format)]
    if not overwrite and any(job.is_interrupted for job in plan):
        # An interrupted run goes on with what it has not finished.
        plan = [job for job in plan if not job.is_finished]
    owners: dict[str, Path] = {}
    for job in plan:
        # Of an interrupted picture some results may be whole; it writes them again.
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
                    f"{file} is one of the images; results never replace images; name another "
                    "folder with --out"
                )
            if not may_replace:
                raise OutputExistsError(
                    f"{file} exists already; accepted is a folder without earlier results; name "
                    "another with --out, or allow it with --overwrite"
                )
    return plan


def _key(path: Path) -> str:
    """What two names of one file have in common: on some systems case makes no difference."""
    return str(path).casefold() if sys.platform in ("win32", "darwin") else str(path)
