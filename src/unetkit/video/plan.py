"""Which files are written for which video: names are planned and checked before any prediction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unetkit.errors import ConfigError, OutputExistsError, UnetkitError
from unetkit.prediction.sources import is_image
from unetkit.results.finished import MADE_AGAIN, Finder, ResultState, earlier_result_error
from unetkit.results.outputs import MASK
from unetkit.results.plan import going_on
from unetkit.video.animations import is_animation
from unetkit.video.containers import VIDEO_SUFFIXES, is_video
from unetkit.video.mask_store import is_mask_folder
from unetkit.video.writers import SUFFIX

OVERLAY, CUTOUT = "overlay", "cutout"
VIDEO_KINDS = (MASK, OVERLAY, CUTOUT)


def separate_videos(
    inputs: Iterable[str | Path], recursive: bool = False
) -> tuple[list[Path], list[str | Path]]:
    """Separates videos and animations from images among what is to be predicted.

    Args:
        inputs: Paths of files or folders, and glob patterns.
        recursive: Whether the other inputs are searched with their subfolders.

    Returns:
        The videos, also those directly in folders and of patterns, without duplicates; and the
        other inputs, without folders and patterns that hold videos and no image.
    """
    videos: list[Path] = []
    others: list[str | Path] = []
    for item in inputs:
        path = Path(item)
        is_named = path.suffix.lower() in VIDEO_SUFFIXES and path.exists() and not path.is_dir()
        if is_named or is_animation(path):
            videos.append(path)
            continue
        if path.is_dir():
            listed = sorted(path.iterdir())
        elif not path.exists() and any(sign in str(item) for sign in "*?["):
            anchor = Path(path.anchor)
            listed = sorted(anchor.glob(str(path.relative_to(anchor) if path.anchor else path)))
        else:
            listed = []
        found = [file for file in listed if is_video(file) or is_animation(file)]
        videos += found
        left = [file for file in listed if file not in found]
        if not found or any(is_image(file) or (recursive and file.is_dir()) for file in left):
            others.append(item)
    return list(dict.fromkeys(videos)), others


@dataclass(frozen=True)
class VideoJob:
    """A video and what is written of it.

    Args:
        image: Path of the video or animation.
        is_animation: Whether the file is an animation; results are animations of its format.
        files: File or folder to write for each kind of output.
    """

    image: Path
    is_animation: bool
    files: Mapping[str, Path]
    page: int | None = None

    @property
    def store(self) -> Path:
        """Folder for the masks of an unfinished run."""
        masks = self.files[MASK]
        return masks.with_name(f"{masks.name}.frames")

    @property
    def is_interrupted(self) -> bool:
        """Whether an earlier run left masks of some frames."""
        return self.store.exists()


def plan_videos(
    videos: Sequence[Path],
    out: Path,
    kinds: Sequence[str],
    overwrite: bool,
    finder: Finder,
    on_finished: Callable[[VideoJob], object] = lambda job: None,
    on_error: Callable[[Path, UnetkitError], object] | None = None,
) -> list[VideoJob]:
    """Returns the job of each video whose results are to be made, after all names were checked.

    Args:
        videos: Paths of the videos.
        out: Folder for the outputs.
        kinds: Kinds of output, of `VIDEO_KINDS`.
        overwrite: Whether to replace results of other models, options or origin.
        finder: Tells which results are finished.
        on_finished: Called with each video whose results an earlier run finished.
        on_error: Called with a video whose results must not be replaced; None to raise the error.

    Raises:
        ConfigError: A kind of output is unknown, or a video cannot hold it.
        OutputExistsError: A result would replace something, or two videos have the same name.
    """
    for kind in kinds:
        if kind not in VIDEO_KINDS:
            raise ConfigError(
                f"kind is {kind!r}; accepted for videos are "
                f"{', '.join(map(repr, VIDEO_KINDS))}; predict single frames for others: "
                "ffmpeg -i FILE frames/%06d.png"
            )
    plan = []
    owners: dict[Path, Path] = {}
    sources = {video.resolve() for video in videos}
    for video in dict.fromkeys(videos):
        job = _job_of(video, out, kinds)
        _require_own_results(job, owners, sources)
        with going_on(video, on_error):
            state, file = finder.state_of(job)
            if state is ResultState.FINISHED:
                on_finished(job)
            elif overwrite or state in MADE_AGAIN:
                plan.append(job)
            else:
                raise earlier_result_error(file, state)
    return plan


def _job_of(video: Path, out: Path, kinds: Sequence[str]) -> VideoJob:
    is_moving = is_animation(video)
    suffix = video.suffix.lower() if is_moving else SUFFIX
    if CUTOUT in kinds and not is_moving:
        raise ConfigError(
            f"a cut-out of {video} is asked for, and video files have no opacity; accepted are "
            "animations (GIF, WebP, PNG); predict single frames: ffmpeg -i FILE frames/%06d.png"
        )
    names = {MASK: "_masks", OVERLAY: f"_overlay{suffix}", CUTOUT: f"_cutout{suffix}"}
    files = {kind: out / f"{video.stem}{names[kind]}" for kind in kinds}
    return VideoJob(video, is_moving, files)


def _require_own_results(job: VideoJob, owners: dict[Path, Path], sources: set[Path]) -> None:
    """Refuses results that would replace videos, other files, or those of another video.

    Args:
        job: The video and its results.
        owners: Video of each result so far; those of `job` are added.
        sources: All videos.
    """
    for kind, file in job.files.items():
        owner = owners.setdefault(file, job.image)
        if owner != job.image:
            raise OutputExistsError(
                f"{owner} and {job.image} would both be written to {file}; accepted are videos of "
                "different names; predict them into two folders"
            )
        if file.exists() and file.resolve() in sources:
            raise OutputExistsError(
                f"{file} is one of the videos; results never replace them; choose another folder "
                "with --out"
            )
        if kind == MASK and file.exists() and not is_mask_folder(file):
            raise OutputExistsError(
                f"{file} holds other files than masks of frames; results replace masks only; move "
                "it elsewhere, or choose another folder with --out"
            )
