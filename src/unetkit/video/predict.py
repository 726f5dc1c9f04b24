"""Videos in, masks and overlays out, in memory that does not grow with their length.

    decoder -> frames -> threads: network, mask, overlay -> encoder

A process of its own decodes, threads predict a frame each, and this thread encodes, all at the same
time; a few frames are between them. Each mask is a file as soon as it is predicted, so that an
interrupted run continues: it decodes and encodes again, and only predicts what is missing.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from unetkit._shared.files import full_disk_named, writing_into
from unetkit._shared.memory_budget import BUDGET
from unetkit._shared.threads import in_order
from unetkit.errors import OutputExistsError, UnetkitError
from unetkit.prediction.predictor import NODATA_LABEL, Predictor, labels_from_scores
from unetkit.prediction.sources import ImageVersion, image_version
from unetkit.results.finished import Finder
from unetkit.results.from_arrays import cutout
from unetkit.results.masks import mask_table
from unetkit.results.needs import bytes_to_predict
from unetkit.results.outputs import MASK, metadata_of, require_outputs
from unetkit.results.plan import going_on
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.records import Records, ResultOrigin, origin_of
from unetkit.video.animations import HELD_BYTES, AnimationFile, open_animation
from unetkit.video.containers import container_of
from unetkit.video.frames import Frame, Video, open_video
from unetkit.video.mask_store import MaskStore, open_mask_store
from unetkit.video.plan import CUTOUT, OVERLAY, VIDEO_KINDS, VideoJob, plan_videos
from unetkit.video.smoothing import ScoredFrame, mean_of, radius_of, windows_of
from unetkit.video.sound import add_sound
from unetkit.video.writers import VideoFile
from unetkit.visualization.overlays import lay_over

DECODED_BYTES = 9  # per pixel of a frame: as it comes, in BGR for the encoder, and the overlay
PROBABILITY_BYTES = 4  # of a probability
WAITING = 2  # frames that wait between the network and the encoder, beside those in threads
MISSING_SECONDS = 0.5  # at the end of a video, more of which are reported


@dataclass(frozen=True)
class VideoPrediction:
    """The prediction of a video, written to files.

    Args:
        video: Path of the video.
        size: (height, width) of its frames, in pixels.
        frames: Number of its frames.
        rate: Frames a second.
        files: File or folder written for each kind of output.
        counts: Number of pixels of each class in all frames, (K,) int64.
        notes: What is to be known of the results, such as that the video ends early.
    """

    video: Path
    size: tuple[int, int]
    frames: int
    rate: float
    files: Mapping[str, Path]
    counts: np.ndarray
    notes: tuple[str, ...]


def predict_videos(
    predictor: Predictor,
    videos: Sequence[Path],
    out: str | Path,
    *,
    kinds: Sequence[str] = (MASK,),
    smooth: int = 1,
    overwrite: bool = False,
    options: ResultOptions | None = None,
    on_result: Callable[[VideoPrediction], object] = lambda result: None,
    begin: Callable[[Video, int], Callable[[], object]] = lambda *_: lambda: None,
    on_error: Callable[[Path, UnetkitError], object] | None = None,
    on_finished: Callable[[Path], object] = lambda video: None,
) -> list[Path]:
    """Segments videos and animations, and writes outputs named after each of them.

    NAME_masks is a folder of a PNG for each frame, from 0000000.png: the mask that would be written
    of the frame as an image. NAME_overlay.mp4 shows class colours over the video; of an animation
    it is an animation of the same format. None is in its place before it is complete, and results
    that an earlier run finished are left as they are.

    Args:
        predictor: The model.
        videos: Paths of the videos: MP4, QuickTime, AVI, Matroska or WebM; or animations: GIF, WebP
            or PNG.
        out: Folder for the outputs.
        kinds: Kinds of output: "mask", "overlay" and, of animations, "cutout". Masks are always
            written.
        smooth: Number of frames over which probabilities are averaged; 1 for none. See `smoothing`.
        overwrite: Whether to replace existing outputs of other models, options or origin.
        options: How results are written; None for the defaults.
        on_result: Called with the prediction of each video.
        begin: Called before a video is predicted, with the video and the number of masks of an
            earlier run; returns a function that is called after each frame.
        on_error: Called with a video that cannot be predicted, or has results that must not be
            replaced, and the reason, before the next one is predicted; None to raise the error.
        on_finished: Called with each video whose results an earlier run finished.

    Returns:
        The files and folders written.

    Raises:
        ConfigError: A kind of output is unknown, or `smooth` is not an odd number of frames.
        OutputExistsError: An output of other origin exists, and `on_error` is None; two videos have
            the same name, or another process writes into the folder.
        DataNotFoundError, DataError: A video cannot be read, and `on_error` is None; or a cut-out
            needs a background class that the model does not have.
        MissingExtraError: OpenCV reads no videos here.
        OSError: A result cannot be written.
    """
    out, options, radius = Path(out), options or ResultOptions(), radius_of(smooth)
    if out.exists() and not out.is_dir():
        raise OutputExistsError(
            f"output {out} is a file; accepted is a folder; choose another with --out"
        )
    kinds = tuple(dict.fromkeys((MASK, *kinds)))
    require_outputs(predictor, [k for k in kinds if k in VIDEO_KINDS], "png", options)
    origin = _origin_of(predictor, options, radius)
    written: list[Path] = []
    with writing_into(out), closing(Records(out)) as records, BUDGET.limited(predictor.memory):
        plan = plan_videos(
            videos,
            out,
            kinds,
            overwrite,
            Finder(records, origin),
            lambda job: on_finished(job.image),
            on_error,
        )
        for job in plan:
            with going_on(job.image, on_error):
                run = _Run(predictor, job, options, radius, origin, records)
                result = run.predict(overwrite, begin)
                written += result.files.values()
                on_result(result)
    return written


def _origin_of(predictor: Predictor, options: ResultOptions, radius: int) -> ResultOrigin:
    """What results depend on beside the video; smoothing is one of the options."""
    origin = origin_of(predictor, options)
    smoothed = hashlib.sha256(f"{origin.options} {radius}".encode()).hexdigest()
    return msgspec.structs.replace(origin, options=smoothed) if radius else origin


@dataclass(frozen=True)
class _Run:
    """The prediction of a video.

    Args:
        predictor: The model.
        job: The video and its results.
        options: How results are written.
        radius: Frames on each side that probabilities are averaged with.
        origin: What results depend on beside the video.
        records: Records of the folder of the results.
    """

    predictor: Predictor
    job: VideoJob
    options: ResultOptions
    radius: int
    origin: ResultOrigin
    records: Records

    def predict(
        self, overwrite: bool, begin: Callable[[Video, int], Callable[[], object]]
    ) -> VideoPrediction:
        """Predicts the frames that an earlier run did not, and writes all results."""
        job, spec = self.job, self.predictor.spec
        if not job.is_animation:
            container_of(job.image)  # refuses what is no video before it is read
        version = image_version(job.image)
        with ExitStack() as ending:
            video = ending.enter_context(self._open())
            tiling = self.predictor.tiling(spec.scale.network_size(video.size))
            store = open_mask_store(
                job.store,
                spec.classes,
                metadata_of(self.predictor, tiling),
                self.options.mask == "palette",
                {"video": job.image.name, "sha256": version.sha256, **_as_dict(self.origin)},
                overwrite,
            )
            ending.push(partial(_discard_if_empty, store))
            results = self._results(video, store)
            on_frame = begin(video, len(store.numbers()))
            films = {}
            for kind in job.files.keys() - {MASK}:
                films[kind] = self._film(video, store.finished / job.files[kind].name)
                ending.callback(films[kind].abandon)
            counts, frames, end = np.zeros(len(spec.classes), np.int64), 0, 0.0
            for result in results:
                for kind, film in films.items():
                    film.write(result.frame.seconds, result.drawn[kind])
                counts += result.counts
                end = result.frame.seconds + (result.frame.duration or 1 / video.rate)
                frames += 1
                on_frame()
            for film in films.values():
                film.close(end)
        notes = _ends_early(video, frames, end)
        if OVERLAY in films and not job.is_animation:
            missing = add_sound(
                store.finished / job.files[OVERLAY].name, job.image, video.container
            )
            notes += () if missing is None else (missing,)
        self._give_places(store, frames, version)
        return VideoPrediction(job.image, video.size, frames, video.rate, job.files, counts, notes)

    def _open(self) -> AbstractContextManager[Video]:
        if self.job.is_animation:
            return open_animation(self.job.image)
        return open_video(self.job.image, self.predictor.memory // 2)

    def _film(self, video: Video, path: Path) -> VideoFile | AnimationFile:
        if video.count is not None:
            return AnimationFile(path, video.loop)
        return VideoFile(path, video.size, video.rate)

    def _results(self, video: Video, store: MaskStore) -> "Iterator[_Result]":
        one, threads, need = self._side_by_side(video)
        name, kinds = str(video.path), tuple(self.job.files)
        work = _FrameWork(one, name, store, need, kinds, self.radius, store.numbers())
        if not self.radius:
            return in_order(
                lambda frame: work.finish(*work.alone(frame)), video.frames, threads, WAITING
            )
        scored = in_order(work.score, video.frames, threads, WAITING)
        windows = windows_of(scored, self.radius)
        return in_order(lambda window: work.finish(*window), windows, threads, WAITING)

    def _side_by_side(self, video: Video) -> tuple[Predictor, int, int]:
        """A predictor for several threads, their number, and the bytes that each takes.

        Raises:
            DataError: The frames do not fit into the memory of the predictor.
        """
        predictor, (height, width) = self.predictor, video.size
        decoded = DECODED_BYTES * height * width
        kinds, members = [MASK, *self.job.files], len(predictor.members)
        need = bytes_to_predict(decoded, video.size, predictor.spec, kinds, members)
        waiting = WAITING * decoded
        if video.count is not None:  # an animation that is written is in memory as a whole
            waiting += HELD_BYTES * video.count * height * width * (len(self.job.files) - 1)
        if self.radius:
            scores = PROBABILITY_BYTES * len(predictor.spec.classes) * height * width
            need += 2 * scores
            waiting += (2 * self.radius + 1 + 2 * WAITING) * (scores + decoded)
        least = predictor.least_tile_bytes
        with BUDGET.taken(waiting + need + least, str(video.path)):
            pass
        threads = max(1, min(predictor.threads, (BUDGET.left - least - waiting) // need))
        one, threads = predictor.leaving(waiting + need).side_by_side(threads)
        return one, threads, need + least

    def _give_places(self, store: MaskStore, frames: int, version: ImageVersion) -> None:
        """Records complete results and moves them to their places; then removes the store."""
        files, masks = self.job.files, store.frames
        if self.options.mask not in ("index", "palette"):
            masks = store.finished / files[MASK].name
            masks.mkdir()
            table, _ = mask_table(self.options.mask, store.classes, NODATA_LABEL)
            with full_disk_named(masks):
                for number in range(frames):
                    store.export(number, masks, table)
        parts = {files[kind]: store.finished / files[kind].name for kind in files if kind != MASK}
        parts[files[MASK]] = masks  # last, as a run that is killed here needs them again
        self.records.add(self.job.image, None, version, self.origin, parts)
        for file, part in parts.items():
            if file.is_dir():
                shutil.rmtree(file)
            part.replace(file)
        store.remove()


def _discard_if_empty(store: MaskStore, kind: object, *_: object) -> None:
    """Removes a store without masks after an error."""
    if kind is not None and not store.numbers():
        store.remove()


def _as_dict(origin: ResultOrigin) -> dict[str, str]:
    found: dict[str, str] = msgspec.to_builtins(origin)
    return found


@dataclass(frozen=True)
class _Result:
    """What was made of a frame.

    Args:
        frame: The frame.
        counts: Number of pixels of each class, (K,) int64.
        drawn: Pixels of each output that is a video, (H, W, 3 or 4) uint8.
    """

    frame: Frame
    counts: np.ndarray
    drawn: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class _FrameWork:
    """What threads do with a frame.

    Args:
        predictor: The model, for one of several threads.
        name: Path of the video, for errors.
        store: Masks of frames.
        need: Bytes that a frame takes meanwhile.
        kinds: Kinds of output.
        radius: Frames on each side that probabilities are averaged with.
        stored: Numbers of the masks of an earlier run.
    """

    predictor: Predictor
    name: str
    store: MaskStore
    need: int
    kinds: tuple[str, ...]
    radius: int
    stored: frozenset[int]

    def alone(self, frame: Frame) -> tuple[Frame, list[np.ndarray]]:
        """The frame as a window of its own, with its probabilities if they are needed."""
        if CUTOUT not in self.kinds:
            return frame, []
        probabilities = self.score(frame).probabilities
        return frame, [] if probabilities is None else [probabilities]

    def score(self, frame: Frame) -> ScoredFrame:
        """The frame with its probabilities, if these are needed for a mask that is missing."""
        near = range(frame.number - self.radius, frame.number + self.radius + 1)
        if CUTOUT not in self.kinds and self.stored.issuperset(n for n in near if n >= 0):
            return ScoredFrame(frame, None)
        with self._memory():
            return ScoredFrame(frame, self.predictor.probabilities(self._pixels(frame)))

    def finish(self, frame: Frame, window: list[np.ndarray]) -> _Result:
        """Writes the mask of a frame, and draws the other outputs."""
        classes = self.predictor.spec.classes
        with self._memory():
            probabilities = mean_of(window) if window else None
            if frame.number in self.stored:
                labels = self.store.read(frame.number)
            else:
                if probabilities is None:
                    labels = self.predictor(self._pixels(frame))
                else:
                    labels = labels_from_scores(probabilities)
                self.store.write(frame.number, labels)
            drawn = {}
            if OVERLAY in self.kinds:
                drawn[OVERLAY] = lay_over(frame.pixels, labels, classes)
            if CUTOUT in self.kinds and probabilities is not None:
                drawn[CUTOUT] = cutout(
                    frame.pixels, probabilities, classes, scale=self.predictor.spec.scale
                )
            counts = np.bincount(labels.ravel(), minlength=len(classes))[: len(classes)]
            return _Result(frame, counts, drawn)

    @contextmanager
    def _memory(self) -> Iterator[None]:
        with BUDGET.limited(self.predictor.memory), BUDGET.taken(self.need, self.name):
            yield

    def _pixels(self, frame: Frame) -> np.ndarray:
        """The frame as the model takes it, as it would take an image file of it."""
        return self.predictor.spec.pixels.accept(frame.pixels, self.name)


def _ends_early(video: Video, frames: int, end: float) -> tuple[str, ...]:
    """What is said of a video that ends before its header says, if it does."""
    declared = video.declared_seconds
    if declared is None or end >= declared - max(MISSING_SECONDS, 0.02 * declared):
        return ()
    return (
        f"{video.path} ends after {end:.1f} of the {declared:.1f} seconds that its header says: it "
        f"was cut, or is damaged there; results have the {frames:,} frames that could be read",
    )
