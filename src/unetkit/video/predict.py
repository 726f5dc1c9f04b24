"""Videos in, masks and overlays out, in memory that does not grow with their length.

    decoder -> frames -> threads: network, mask, overlay -> encoder

A process of its own decodes, threads predict a frame each, and this thread encodes, all at the same
time; a few frames are between them. Each mask is a file as soon as it is predicted, so that an
interrupted run continues: it decodes and encodes again, and only predicts what is missing.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from unetkit._shared.files import full_disk_named, writing_into
from unetkit._shared.memory_budget import BUDGET
from unetkit._shared.threads import in_order
from unetkit.errors import UnetkitError
from unetkit.prediction.predictor import NODATA_LABEL, Predictor
from unetkit.prediction.sources import stamp
from unetkit.results.masks import mask_table
from unetkit.results.needs import bytes_to_predict
from unetkit.results.outputs import MASK, metadata_of
from unetkit.results.plan import going_on
from unetkit.results.predicted_image import ResultOptions
from unetkit.video.frames import Frame, Video, open_video
from unetkit.video.mask_store import MaskStore, open_mask_store
from unetkit.video.plan import OVERLAY, VideoJob, plan_videos
from unetkit.video.writers import VideoFile
from unetkit.visualization.overlays import lay_over

DECODED_BYTES = 9  # per pixel of a frame: as it comes, in BGR for the encoder, and the overlay
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
    overwrite: bool = False,
    options: ResultOptions | None = None,
    on_result: Callable[[VideoPrediction], object] = lambda result: None,
    begin: Callable[[Video, int], Callable[[], object]] = lambda *_: lambda: None,
    on_error: Callable[[Path, UnetkitError], object] | None = None,
) -> list[Path]:
    """Segments videos, and writes outputs named after each of them.

    NAME_masks is a folder of a PNG for each frame, from 0000000.png: the mask that would be written
    of the frame as an image. NAME_overlay.mp4 shows class colours over the video. Neither is in its
    place before it is complete.

    Args:
        predictor: The model.
        videos: Paths of the videos: MP4, QuickTime, AVI, Matroska or WebM.
        out: Folder for the outputs.
        kinds: Kinds of output: "mask", "overlay". Masks are always written.
        overwrite: Whether to replace existing outputs.
        options: How results are written; None for the defaults.
        on_result: Called with the prediction of each video.
        begin: Called before a video is predicted, with the video and the number of masks of an
            earlier run; returns a function that is called after each frame.
        on_error: Called with a video that cannot be predicted and the reason, before the next one
            is predicted; None to raise the error instead.

    Returns:
        The files and folders written.

    Raises:
        ConfigError: A kind of output is unknown.
        OutputExistsError: An output exists, two videos have the same name, or another process
            writes into the folder.
        DataNotFoundError, DataError: A video cannot be read, and `on_error` is None.
        MissingExtraError: OpenCV reads no videos here.
        OSError: A result cannot be written.
    """
    out, options = Path(out), options or ResultOptions()
    mask_table(options.mask, predictor.spec.classes, NODATA_LABEL)
    written: list[Path] = []
    with writing_into(out):
        for job in plan_videos(videos, out, tuple(dict.fromkeys((MASK, *kinds))), overwrite):
            with going_on(job.video, on_error):
                result = _predict_video(predictor, job, options, overwrite, begin)
                written += result.files.values()
                on_result(result)
    return written


def _predict_video(
    predictor: Predictor,
    job: VideoJob,
    options: ResultOptions,
    overwrite: bool,
    begin: Callable[[Video, int], Callable[[], object]],
) -> VideoPrediction:
    spec = predictor.spec
    with open_video(job.video, predictor.memory // 2) as video, ExitStack() as ending:
        size = video.size
        metadata = metadata_of(predictor, predictor.tiling(spec.scale.network_size(size)))
        has_palette = options.mask == "palette"
        length, changed = stamp(job.video)
        belongs_to = {"video": job.video.name, "bytes": length, "changed": changed}
        belongs_to |= {"model": predictor.digest, "margin": predictor.margin, "tta": predictor.tta}
        store = open_mask_store(
            job.store, spec.classes, metadata, has_palette, belongs_to, overwrite
        )
        on_frame = begin(video, store.count())
        film = None
        if OVERLAY in job.files:
            film = VideoFile(store.finished / job.files[OVERLAY].name, size, video.rate)
            ending.callback(film.abandon)
        one, threads, need = _side_by_side(predictor, video)
        work = partial(_predict_frame, one, store, need, film is not None, str(job.video))
        counts, frames, end = np.zeros(len(spec.classes), np.int64), 0, 0.0
        for frame, found, drawn in in_order(work, video.frames, threads, WAITING):
            if film is not None and drawn is not None:
                film.write(frame.seconds, drawn)
            counts += found
            frames, end = frames + 1, frame.seconds + 1 / video.rate
            on_frame()
        if film is not None:
            film.close()
    _finish(store, job, frames, options)
    notes = _ends_early(video, frames, end)
    return VideoPrediction(job.video, size, frames, video.rate, job.files, counts, notes)


def _side_by_side(predictor: Predictor, video: Video) -> tuple[Predictor, int, int]:
    """A predictor for several threads, their number, and the bytes that each takes.

    Raises:
        DataError: A frame does not fit into the memory of the predictor.
    """
    decoded = DECODED_BYTES * video.size[0] * video.size[1]
    kinds, members = [MASK, OVERLAY], len(predictor.members)
    need = bytes_to_predict(decoded, video.size, predictor.spec, kinds, members)
    with BUDGET.limited(predictor.memory):
        with BUDGET.taken(need + predictor.least_tile_bytes, f"a frame of {video.path}"):
            pass
        room = BUDGET.left - predictor.least_tile_bytes
    threads = max(1, min(os.cpu_count() or 1, (room - WAITING * decoded) // need))
    one, threads = predictor.leaving(need).side_by_side(threads)
    return one, threads, need + predictor.least_tile_bytes


def _predict_frame(
    predictor: Predictor,
    store: MaskStore,
    need: int,
    draws: bool,
    name: str,
    frame: Frame,
) -> tuple[Frame, np.ndarray, np.ndarray | None]:
    """The frame, the number of its pixels of each class, and its overlay, (H, W, 3) uint8."""
    classes = predictor.spec.classes
    with BUDGET.limited(predictor.memory), BUDGET.taken(need, name):
        labels = store.read(frame.number)
        if labels is None or labels.shape != frame.pixels.shape[:2]:
            labels = predictor(predictor.spec.pixels.accept(frame.pixels, name))
            store.write(frame.number, labels)
        counts = np.bincount(labels.ravel(), minlength=len(classes))[: len(classes)]
        return frame, counts, lay_over(frame.pixels, labels, classes) if draws else None


def _finish(store: MaskStore, job: VideoJob, frames: int, options: ResultOptions) -> None:
    """Moves complete results to their places; masks last, and then the store is removed."""
    masks = store.frames
    if options.mask not in ("index", "palette"):
        masks = store.finished / job.files[MASK].name
        masks.mkdir()
        table, _ = mask_table(options.mask, store.classes, NODATA_LABEL)
        with full_disk_named(masks):
            for number in range(frames):
                store.export(number, masks, table)
    for kind, file in job.files.items():
        if kind != MASK:
            (store.finished / file.name).replace(file)
    place = job.files[MASK]
    if place.exists():
        shutil.rmtree(place)
    masks.rename(place)
    store.remove()


def _ends_early(video: Video, frames: int, end: float) -> tuple[str, ...]:
    """What is said of a video that ends before its header says, if it does."""
    declared = video.declared_seconds
    if declared is None or end >= declared - max(MISSING_SECONDS, 0.02 * declared):
        return ()
    return (
        f"{video.path} ends after {end:.1f} of the {declared:.1f} seconds that its header says: it "
        f"was cut, or is damaged there; results have the {frames:,} frames that could be read",
    )
