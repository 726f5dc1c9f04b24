"""From pictures in files to masks, overlays, cut-outs and probabilities in files.

Ordinary pictures are predicted side by side, one to a thread, and written as PNG; large ones one
after another by windows (`gigapixels`), and written as TIFF with overviews or as OME-Zarr.
"""

import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unetkit._shared.threads import Share, in_order
from unetkit.errors import ConfigError, DataError, DataNotFoundError, OutputExistsError
from unetkit.io.zarr_reader import require_zarr
from unetkit.prediction.large_images import metadata_of, predict_windows, store_beside
from unetkit.prediction.predictor import NODATA, Predictor, labels_of
from unetkit.prediction.sources import (
    SUFFIXES,
    WHOLE_PIXELS,
    InputFile,
    is_array_file,
    is_image,
    open_source,
    stamp,
)
from unetkit.prediction.tiling import Tiling
from unetkit.visualization.overlays import (
    cutout,
    overlay,
    palette_image,
    write_png,
    write_probabilities,
)

STANDARD_INPUT = "standard input"
MOST_OPEN = 64  # image files that stay open from the plan to their prediction
FORMATS = ("auto", "png", "tiff", "zarr")
KINDS = {  # kind of output: how its file's name ends, before the format's suffix
    "mask": "",
    "overlay": "_overlay",
    "cutout": "_cutout",
    "probabilities": "_probabilities",
}
SUFFIX_OF = {"png": ".png", "tiff": ".tif", "zarr": ".ome.zarr"}


@dataclass(frozen=True)
class Job:
    """One picture, and what is to be written of it.

    Args:
        image: Its file.
        page: Its number in a file of several, or None.
        pixels: How many it has.
        files: Kind of output and the file to write.
        source: The image file, which may still be open; or the path of a file of several images.
    """

    image: Path
    page: int | None
    pixels: int
    files: Mapping[str, Path]
    source: InputFile | Path

    @property
    def is_ordinary(self) -> bool:
        """Whether it is held in memory whole."""
        return all(file.suffix in (".png", ".npz") for file in self.files.values())

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
    with ExitStack() as opened:
        plan = plan_outputs(predictor, images, out, kinds, format, overwrite, opened)
        return _predict_plan(predictor, plan, out, overwrite, on_result, begin)


def _predict_plan(
    predictor: Predictor,
    plan: Sequence[Job],
    out: Path,
    overwrite: bool,
    on_result: Callable[[Prediction], object],
    begin: Callable[[Path, Tiling, int], Callable[[], object]],
) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    ordinary = [job for job in plan if job.is_ordinary]
    large = [job for job in plan if not job.is_ordinary]
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
    for name, given, accepted in (("kind", kinds, tuple(KINDS)), ("format", [format], FORMATS)):
        for one in given:
            if one not in accepted:
                raise ConfigError(
                    f"{name} is {one!r}; accepted are {', '.join(map(repr, accepted))}; choose one"
                )
    if format == "zarr":
        require_zarr()
    if "cutout" in kinds and predictor.spec.classes.background is None:
        raise DataError(
            f"{predictor.path} has no background class; a cut-out needs one; ask for an overlay"
        )


def _predict_whole(predictor: Predictor, job: Job) -> Prediction:
    classes, files = predictor.spec.classes, job.files
    with open_source(job.source, predictor.spec.pixels, job.page) as source:
        size = source.shape[:2]
        pixels = source.read(slice(0, size[0]), slice(0, size[1]))
        tiling = predictor.tiling(predictor.spec.scale.network_size(size))
        if {"cutout", "probabilities"} & set(files):
            probabilities = predictor.answer(source, "probabilities")
            missing = np.isnan(probabilities[..., 0])
            mask = np.where(missing, np.uint8(NODATA), labels_of(probabilities))
        else:
            mask = predictor.answer(source, "labels")
    photo = predictor.spec.pixels.photo(pixels)
    metadata = metadata_of(predictor, tiling)
    for kind, file in files.items():
        if kind == "mask":
            write_png(file, palette_image(mask, classes), metadata)
        elif kind == "overlay":
            write_png(file, Image.fromarray(overlay(photo, mask, classes)), metadata)
        elif kind == "cutout":
            alpha = 1 - np.nan_to_num(probabilities[..., classes.background], nan=1)
            write_png(file, Image.fromarray(cutout(photo, alpha)), metadata)
        else:
            write_probabilities(file, probabilities, classes, metadata)
    counts = np.bincount(mask.ravel(), minlength=len(classes))[: len(classes)]
    return Prediction(job.image, job.page, size, files, counts, tiling, photo, mask)


def _predict_large(
    predictor: Predictor,
    job: Job,
    overwrite: bool,
    begin: Callable[[Path, Tiling, int], Callable[[], object]],
) -> Prediction:
    with open_source(job.source, predictor.spec.pixels, job.page) as source:
        counts, tiling = predict_windows(
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
    """What would be written of each picture of a file; `opened` closes the file."""
    file = opened.enter_context(closing(InputFile(image, predictor.spec.pixels)))
    count = file.count
    pages: Iterable[int | None] = [None] if count is None else range(count)
    stem = image.stem.removesuffix(".ome")
    for page in pages:
        name = stem if page is None else f"{stem}_p{page:03d}"
        height, width = file.size(page)
        is_map = file.is_map(page)
        suffix = SUFFIX_OF[_choose_format(image, (height, width), is_map, format)]
        files = {kind: out / f"{name}{KINDS[kind]}{_suffix(kind, suffix)}" for kind in kinds}
        yield Job(image, page, height * width, files, file if count is None else image)
    if count is not None:  # each page is read by itself, some at the same time
        file.close()


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
    opened: ExitStack | None = None,
) -> list[Job]:
    """Returns what would be written for each image; arguments and errors as `predict_files`.

    Args:
        opened: Closes image files that stay open for the prediction; None to close all at once.
    """
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
    plan: list[Job] = []
    for image in images:
        with ExitStack() as closing_now:
            keep = closing_now if opened is None or len(plan) >= MOST_OPEN else opened
            plan += _plan(predictor, image, out, kinds, format, keep)
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


def _suffix(kind: str, suffix: str) -> str:
    return ".npz" if (kind, suffix) == ("probabilities", ".png") else suffix
