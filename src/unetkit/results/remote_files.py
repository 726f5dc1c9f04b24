"""Images of other machines in, or results out to them: `files` for addresses.

    list -> leave what is finished -> fetch a group -> predict it here -> send its results -> next

A group of images is fetched to a temporary folder while the one before is predicted, read and
predicted by `files` as images of this machine are, with the same bytes, and removed. Of OME-Zarr
images only the chunks that are needed are fetched.
"""

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from unetkit._shared.threads import in_order
from unetkit.errors import ConfigError, OutputExistsError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import image_sha256, is_array_file
from unetkit.prediction.tiling import Tiling
from unetkit.remote.addresses import Location
from unetkit.remote.transfers import fetch
from unetkit.results.files import Prediction, predict_files
from unetkit.results.finished import MADE_AGAIN, ResultState, earlier_result_error
from unetkit.results.inputs import TREE_TOP, InputImage, Shard
from unetkit.results.missing import UNREADABLE, MissingResult, reason_of
from unetkit.results.outputs import default_outputs, require_outputs
from unetkit.results.plan import IMAGE_ERRORS, require_own_names
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.records import RECORDS, ResultRecord, origin_of, read_records, recorded_path
from unetkit.results.remote_inputs import TRANSFERS, RemoteImage
from unetkit.results.remote_results import (
    RemoteDestination,
    RemoteResults,
    version_of_input,
)

GROUP_IMAGES = 64
GROUP_BYTES = 1 << 28  # of a group of several images, on the disk for temporary files
Image = InputImage | RemoteImage


@dataclass(frozen=True)
class RemotePrediction:
    """A prediction, with the names that image and results have where they are.

    Args:
        prediction: The prediction; its own files do not exist any more.
        image: The image.
        files: Result of each kind.
    """

    prediction: Prediction
    image: Location
    files: Mapping[str, Location]


@dataclass(frozen=True)
class _Group:
    """Images that are fetched, predicted and sent together.

    Args:
        folder: Folder of this machine for all of it.
        images: The images as they are on this machine, with what they were.
        failed: Images that could not be fetched, and why.
    """

    folder: Path
    images: Sequence[tuple[InputImage, Image]]
    failed: Sequence[tuple[Image, UnetkitError]]


@dataclass(frozen=True)
class _Reports:
    """What is told of images while they are predicted; see `predict_remote`."""

    on_result: Callable[[RemotePrediction], object] = lambda result: None
    begin: Callable[[Location, Tiling, int], Callable[[], object]] = lambda *_: lambda: None
    on_error: Callable[[Location, UnetkitError], object] | None = None
    on_finished: Callable[[Location], object] = lambda image: None

    @contextmanager
    def going_on(self, image: Image) -> Iterator[None]:
        """Reports an image that cannot be predicted, unless errors are raised."""
        try:
            yield
        except IMAGE_ERRORS as error:
            if self.on_error is None:
                raise
            self.on_error(_location_of(image), error)


def predict_remote(
    predictor: Predictor,
    images: Sequence[Image],
    out: Location,
    *,
    kinds: Sequence[str] | None = None,
    format: str = "auto",
    overwrite: bool = False,
    options: ResultOptions | None = None,
    collected: bool = False,
    shard: Shard | None = None,
    on_result: Callable[[RemotePrediction], object] = lambda result: None,
    begin: Callable[[Location, Tiling, int], Callable[[], object]] = lambda *_: lambda: None,
    on_error: Callable[[Location, UnetkitError], object] | None = None,
    on_finished: Callable[[Location], object] = lambda image: None,
) -> list[Location]:
    """Segments images, and writes outputs named after each of them, here or on other machines.

    Args, Returns and Raises are those of `files.predict_files` but for these.

    Args:
        images: What `find_remote_inputs` found.
        out: Folder for the outputs, or for one image the file of its mask; or its address.
        on_result: Called with each prediction when its results are in their places.
        begin: Called before an image is predicted by windows.
        on_error: Called with an image that cannot be fetched or predicted.
        on_finished: Called with each image whose results an earlier run finished.

    Raises:
        DataError, DataNotFoundError: An image cannot be fetched, or a result not be sent.
        ConfigError: Nothing can be written at such an address.
    """
    images = list({_location_of(image): image for image in images}.values())
    reports = _Reports(on_result, begin, on_error, on_finished)
    collected = collected and shard is None
    written: list[Location] = []
    part = "" if shard is None else shard.part
    results = _results_in(predictor, images, out, kinds, format, options)
    with (
        results.locked(part),
        tempfile.TemporaryDirectory(prefix="unetkit-") as folder,
    ):
        collected = collected and results.destination.mask is None
        if collected:
            results.require_collectable()
        job = _Job(predictor, results, format, overwrite, reports)
        sources = {str(_location_of(image)) for image in images}
        needed = [image for image in images if job.is_needed(image, sources)]

        def fetched(group: Sequence[Image]) -> _Group:
            return _fetch_group(group, Path(tempfile.mkdtemp(dir=folder)))

        # The next group is fetched while one is predicted.
        for group in in_order(fetched, _groups(needed), threads=1, ahead=1):
            written += job.predict(group)
            shutil.rmtree(group.folder)
        if collected:
            is_tree = any(image.subfolder != TREE_TOP for image in images)
            names = results.collect(predictor.spec.classes, is_tree)
            written += [results.destination.below(name) for name in names]
    return written


def _results_in(
    predictor: Predictor,
    images: Sequence[Image],
    out: Location,
    kinds: Sequence[str] | None,
    format: str,
    options: ResultOptions | None,
) -> RemoteResults:
    """Checks what is asked for; the folder of the results is not listed yet."""
    kinds = default_outputs(predictor.spec) if kinds is None else kinds
    options = options or ResultOptions()
    require_outputs(predictor, kinds, format, options)
    destination = RemoteDestination.of(out, format)
    if destination.mask is not None and len(images) != 1:
        raise ConfigError(
            f"output {out} names one file, and there are {len(images)} images; accepted for "
            "several results is a folder; name one with --out"
        )
    require_own_names([(image.name, _location_of(image)) for image in images], out)
    return RemoteResults(destination, kinds, format, options, origin_of(predictor, options))


def find_remote_missing(
    predictor: Predictor,
    images: Sequence[Image],
    out: Location,
    kinds: Sequence[str],
    format: str,
    options: ResultOptions,
) -> list[MissingResult]:
    """Returns the images without finished results, each with the reason.

    Nothing is fetched but the list of results and their records: an image that was changed where
    its server names no version counts as finished. Args and Raises are those of `predict_remote`.
    """
    results = _results_in(predictor, images, out, kinds, format, options)
    results.refresh()
    missing = []
    for image in images:
        location = _location_of(image)
        if isinstance(image, RemoteImage) and image.fault is not None:
            missing.append(MissingResult(location, None, UNREADABLE, str(image.fault)))
            continue
        state, place = results.state_of(image)
        if state is not ResultState.FINISHED:
            missing.append(MissingResult(location, None, state.value, reason_of(state, place)))
    return missing


@dataclass(frozen=True)
class _Job:
    """How images are predicted.

    Args:
        predictor: The model.
        results: Folder of the results.
        format: Format of the files.
        overwrite: Whether to replace existing outputs of other origin.
        reports: What is told of images.
    """

    predictor: Predictor
    results: RemoteResults
    format: str
    overwrite: bool
    reports: _Reports

    def is_needed(self, image: Image, sources: Collection[str]) -> bool:
        """Whether an image is to be predicted, as far as is known before it is fetched.

        Args:
            image: The image.
            sources: All images, by their locations as text.
        """
        with self.reports.going_on(image):
            if isinstance(image, RemoteImage) and image.fault is not None:
                raise image.fault
            state, place = self.results.state_of(image)
            if state is ResultState.FINISHED:
                self.reports.on_finished(_location_of(image))
                return False
            for file in self.results.places_of(image):
                if str(file) in sources:
                    raise OutputExistsError(
                        f"{file} is one of the images; results never replace images; choose "
                        "another folder with --out"
                    )
            if self.overwrite or state in MADE_AGAIN:
                return True
            raise earlier_result_error(place, state)
        return False

    def predict(self, group: _Group) -> list[Location]:
        """Predicts images that were fetched, sends their results, and returns these."""
        for image, error in group.failed:
            with self.reports.going_on(image):
                raise error
        needed = [one for one in group.images if not self._is_finished(*one)]
        by_path = {local.path: image for local, image in needed}
        failed: set[Path] = set()
        done: list[Prediction] = []

        def on_error(path: Path, error: UnetkitError) -> None:
            failed.add(path)
            with self.reports.going_on(by_path[path]):
                raise self._named(error, group.folder, by_path)

        def begin(path: Path, tiling: Tiling, finished: int) -> Callable[[], object]:
            return self.reports.begin(_location_of(by_path[path]), tiling, finished)

        def keep(prediction: Prediction) -> None:  # the pixels of many images are too much
            done.append(replace(prediction, photo=None, mask=None))

        folder = group.folder / "results"
        mask = self.results.destination.mask
        stopped: UnetkitError | None = None
        try:
            predict_files(
                self.predictor,
                [local for local, _ in needed],
                folder if mask is None else folder / mask,
                kinds=self.results.kinds,
                format=self.format,
                options=self.results.options,
                on_result=keep,
                begin=begin,
                on_error=on_error,
            )
        except UnetkitError as error:  # what was finished before is sent
            stopped = error
        records = self._records(folder, by_path, failed)
        done = [one for one in done if one.image not in failed]
        names = self.results.send(folder, records)
        below = self.results.destination.below
        for one in done:
            files = {k: below(f.relative_to(folder).as_posix()) for k, f in one.files.items()}
            location = _location_of(by_path[one.image])
            self.reports.on_result(RemotePrediction(one, location, files))
        if stopped is not None:
            raise stopped
        return [below(name) for name in names]

    def _is_finished(self, local: InputImage, image: Image) -> bool:
        """Whether the content of an image shows that an earlier run finished its results."""
        if is_array_file(local.source) or not self.results.has_results(image):
            return False
        state, _ = self.results.state_of(image, image_sha256(local.path))
        if state is ResultState.FINISHED:
            self.reports.on_finished(_location_of(image))
        return state is ResultState.FINISHED

    def _records(
        self, folder: Path, by_path: Mapping[Path, Image], failed: Collection[Path]
    ) -> list[ResultRecord]:
        """Records of the results, with what the images are where they come from."""
        if not folder.exists():
            return []
        images = {recorded_path(path, folder): path for path in by_path}
        found = []
        for file in folder.glob(f"{RECORDS}*"):
            for record in read_records(file):
                path = images[record.image]
                image = by_path[path]
                if path in failed:
                    continue
                is_file = isinstance(image, RemoteImage) and not image.is_zarr
                state = version_of_input(image) if is_file else record.state
                name = self.results.name_of(image)
                found.append(msgspec.structs.replace(record, image=name, state=state))
        return found

    def _named(
        self, error: UnetkitError, folder: Path, by_path: Mapping[Path, Image]
    ) -> UnetkitError:
        """An error with the locations of images and results in place of temporary files."""
        text = str(error)
        for path, image in by_path.items():
            text = text.replace(str(path), str(_location_of(image)))
        text = text.replace(str(folder / "results"), str(self.results.destination.folder))
        return type(error)(text)


def _location_of(image: Image) -> Location:
    return image.address if isinstance(image, RemoteImage) else image.path


def _groups(images: Sequence[Image]) -> Iterator[list[Image]]:
    """Groups of images of limited number and size, in order; a larger one is alone."""
    group: list[Image] = []
    size = 0
    for image in images:
        own = (image.file.size or 0) if isinstance(image, RemoteImage) else 0
        if group and (len(group) == GROUP_IMAGES or size + own > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(image)
        size += own
    if group:
        yield group


def _fetch_group(images: Sequence[Image], folder: Path) -> _Group:
    """Fetches images, some at the same time."""

    def fetch_one(number: int) -> tuple[InputImage, Image, UnetkitError | None]:
        image = images[number]
        if isinstance(image, InputImage):
            return image, image, None
        own = folder / str(number)
        own.mkdir()
        local = image.local(own)
        try:
            if image.is_zarr:
                local.path.mkdir()  # has its name here; it is read by its address
            else:
                fetch(image.file, local.path)
        except IMAGE_ERRORS as error:
            return local, image, error
        return local, image, None

    with ThreadPoolExecutor(TRANSFERS) as pool:
        found = list(pool.map(fetch_one, range(len(images))))
    return _Group(
        folder,
        [(local, image) for local, image, error in found if error is None],
        [(image, error) for _, image, error in found if error is not None],
    )
