"""Which files are written for which image: names are planned and checked before any prediction."""

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unetkit.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    OutputExistsError,
    SizeError,
    UnetkitError,
)
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import InputFile
from unetkit.remote.addresses import Address, Location
from unetkit.results.inputs import InputImage
from unetkit.results.large_images import lock_of, store_beside
from unetkit.results.needs import bytes_to_predict
from unetkit.results.outputs import (
    MASK,
    OUTPUTS,
    WHOLE_FORMAT,
    choose_output_format,
    require_jpeg_size,
)
from unetkit.results.predicted_image import ResultOptions

IMAGE_ERRORS = (DataError, DataNotFoundError, OutputExistsError, SizeError)  # of a single image
LONGEST_FILE_NAME = 255  # bytes, on the file systems in use
MOST_OPEN = 64  # image files that stay open from the plan to their prediction
FORMAT_OF_SUFFIX = {".png": "png", ".tif": "tiff", ".tiff": "tiff", ".zarr": "zarr"}
NO_MASKS = (".jpg", ".jpeg", ".jpe", ".jp2", ".gif", ".bmp", ".webp", ".avif", ".heic", ".npy")


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
        source: The image file, which may be open; or the location of a file of several images.
        address: Where the image was fetched from; None for a file of this machine.
    """

    image: Path
    page: int | None
    pixels: int
    needed: int
    format: str
    files: Mapping[str, Path]
    source: InputFile | Location
    address: Address | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the image is predicted in memory."""
        return self.format == WHOLE_FORMAT

    @property
    def path_in_results(self) -> str:
        """Path of the image from the folder of its results, with forward slashes; or address."""
        if self.address is not None:
            return str(self.address)
        folder = next(iter(self.files.values())).parent
        try:
            path = Path(os.path.relpath(self.image, folder))
        except ValueError:  # another drive
            path = self.image.resolve()
        return path.as_posix()

    @property
    def is_interrupted(self) -> bool:
        """Whether an earlier run left tiles of the image."""
        return not self.is_whole and store_beside(self.files).exists()


@dataclass(frozen=True)
class Destination:
    """Where results are written.

    Args:
        folder: Folder for the results.
        format: Format of the files, one of `OUTPUT_FORMATS`.
        mask: File of the mask of the only image, whose name those of its other results begin with;
            None to name results after images.
    """

    folder: Path
    format: str
    mask: Path | None = None

    @property
    def stem(self) -> str | None:
        """What names of results begin with."""
        return None if self.mask is None else self.mask.stem.removesuffix(".ome")


def find_destination(out: Path, format: str) -> Destination:
    """Decides whether results go into a folder or, for one image, into a named file.

    Args:
        out: A folder, or a file with a suffix of `FORMAT_OF_SUFFIX`.
        format: Format of the files, one of `OUTPUT_FORMATS`.

    Raises:
        ConfigError: Masks are not written in files with this suffix, or the format is another one.
        OutputExistsError: The folder is a file.
    """
    suffix = out.suffix.lower()
    if suffix in FORMAT_OF_SUFFIX and (suffix == ".zarr" or not out.is_dir()):
        own = FORMAT_OF_SUFFIX[suffix]
        if format not in ("auto", own):
            raise ConfigError(
                f"output {out} is given together with format {format!r}; accepted is a name that "
                "ends as files of the format do; leave one of them out"
            )
        return Destination(out.parent, own, out)
    if suffix in NO_MASKS and not out.is_dir():
        raise ConfigError(
            f"output {out} is no folder, and masks are not written as {suffix}; accepted for the "
            f"mask of one image are names that end with {', '.join(FORMAT_OF_SUFFIX)}"
        )
    if out.exists() and not out.is_dir():
        raise OutputExistsError(
            f"output {out} is a file; accepted is a folder; choose another with --out"
        )
    return Destination(out, format)


@contextmanager
def going_on(
    image: Path, on_error: Callable[[Path, UnetkitError], object] | None
) -> Iterator[None]:
    """Reports an image that cannot be predicted, unless errors are raised."""
    try:
        yield
    except IMAGE_ERRORS as error:
        if on_error is None:
            raise
        on_error(image, error)


def _plan(
    predictor: Predictor,
    image: InputImage,
    destination: Destination,
    kinds: Sequence[str],
    file: InputFile,
    options: ResultOptions,
) -> Iterator[Job]:
    """Yields the job of each image of a file."""
    out, format = destination.folder / image.subfolder, destination.format
    path, count = image.path, file.count
    pages: Iterable[int | None] = [None] if count is None else range(count)
    stem = destination.stem or PurePosixPath(image.name).name
    if destination.mask is not None and count is not None:
        raise ConfigError(
            f"output {destination.mask} names one file, and {path} has {count} pages; accepted "
            "for several results is a folder"
        )
    for page in pages:
        name = stem if page is None else f"{stem}_p{page:03d}"
        height, width = file.size(page)
        chosen = choose_output_format(path, (height, width), file.is_map(page), format)
        ends = {kind: OUTPUTS[kind].of_options(kind, options).ending(chosen) for kind in kinds}
        if ends.get("overlay", "").endswith(".jpg"):
            require_jpeg_size(path, (height, width))
        files = {kind: out / f"{name}{end}" for kind, end in ends.items()}
        if destination.mask is not None and MASK in files:
            files[MASK] = destination.mask
        source = file if count is None else image.source
        needed = 0
        if chosen == WHOLE_FORMAT:
            decoding = file.needed_bytes(page)
            needed = bytes_to_predict(
                decoding, (height, width), predictor.spec, kinds, len(predictor.members)
            )
        job = Job(path, page, height * width, needed, chosen, files, source, image.address)
        _require_short_names(job)
        yield job
    if count is not None:  # each page is read by itself, some at the same time
        file.close()


def plan_outputs(
    predictor: Predictor,
    images: Sequence[InputImage],
    out: Path,
    kinds: Sequence[str],
    format: str,
    overwrite: bool,
    opened: ExitStack | None = None,
    on_error: Callable[[Path, UnetkitError], object] | None = None,
    is_needed: Callable[[Job], bool] = lambda job: True,
    options: ResultOptions | None = None,
) -> list[Job]:
    """Returns the job of each image, after all file names have been checked.

    Further Args and Raises are those of `predict_files`, which `plan_outputs` is a part of.

    Args:
        opened: Closes image files that stay open for the prediction; None to close each at once.
        on_error: Called with an image that cannot be opened; None to raise the error.
        is_needed: Whether results of a job are to be made; those of others are left as they are.
    """
    images = list({image.path: image for image in images}.values())
    options = options or ResultOptions()
    destination = find_destination(out, format)
    if destination.mask is not None and len(images) != 1:
        raise ConfigError(
            f"output {out} names one file, and there are {len(images)} images; accepted for "
            "several results is a folder; name one with --out"
        )
    resolved = [image.path.resolve() for image in images]
    sources = {_key(image) for image in resolved}
    targets = {_key((out / subfolder).resolve()) for subfolder in {i.subfolder for i in images}}
    if (
        overwrite
        and destination.mask is None
        and not targets.isdisjoint(_key(image.parent) for image in resolved)
    ):
        raise OutputExistsError(
            f"output {out} is the folder of one of the images, where --overwrite might replace "
            "images; accepted is another folder; choose one with --out"
        )
    plan: list[Job] = []
    owners: dict[str, Path] = {}
    for image in images:
        jobs: list[Job] = []
        with ExitStack() as closing_file:
            file = closing_file.enter_context(
                closing(InputFile(image.source, predictor.spec.pixels))
            )
            with going_on(image.path, on_error):
                jobs = list(
                    _plan(predictor, image, destination, kinds, file, options or ResultOptions())
                )
            for job in jobs:
                _require_own_files(job, owners, sources)
            with going_on(image.path, on_error):
                needed = [job for job in jobs if is_needed(job)]
                if needed and opened is not None and len(plan) < MOST_OPEN:
                    opened.callback(closing_file.pop_all().close)
                plan += needed
    return plan


def require_own_names(images: Iterable[tuple[str, Location]], out: Location) -> None:
    """Refuses results of one name of two images, before any of them is opened.

    Args:
        images: Name of the results of each image, whose case does not count, and where it is.
        out: Folder of the results.

    Raises:
        OutputExistsError: Two images share a name.
    """
    owners: dict[str, Location] = {}
    for name, location in images:
        owner = owners.setdefault(name.casefold(), location)
        if owner != location:
            raise OutputExistsError(
                f"{owner} and {location} would have results of one name in {out}; accepted are "
                "images of different names; predict them into two folders"
            )


def _require_own_files(job: Job, owners: dict[str, Path], sources: Collection[str]) -> None:
    """Refuses results that would replace images, or those of another image.

    Args:
        job: The image and its files.
        owners: Image of each file so far, by its key; those of `job` are added.
        sources: Keys of all images.
    """
    for file in job.files.values():
        owner = owners.setdefault(_key(file), job.image)
        if owner != job.image:
            raise OutputExistsError(
                f"{owner} and {job.image} would both be written to {file}; accepted are images "
                "of different names; predict them into two folders"
            )
        if file.exists() and _key(file.resolve()) in sources:
            raise OutputExistsError(
                f"{file} is one of the images; results never replace images; choose another "
                "folder with --out"
            )


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
