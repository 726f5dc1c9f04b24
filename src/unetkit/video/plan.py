"""Which files are written for which video: names are planned and checked before any prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unetkit.errors import ConfigError, OutputExistsError
from unetkit.prediction.sources import stamp
from unetkit.results.outputs import MASK
from unetkit.video.mask_store import is_mask_folder
from unetkit.video.writers import SUFFIX

OVERLAY = "overlay"
VIDEO_OUTPUTS = {MASK: "_masks", OVERLAY: f"_overlay{SUFFIX}"}  # ends of names


@dataclass(frozen=True)
class VideoJob:
    """A video and what is written of it.

    Args:
        video: Path of the video.
        files: File or folder to write for each kind of output.
    """

    video: Path
    files: Mapping[str, Path]

    @property
    def store(self) -> Path:
        """Folder for the masks of an unfinished run."""
        masks = self.files[MASK]
        return masks.with_name(f"{masks.name}.frames")

    @property
    def is_interrupted(self) -> bool:
        """Whether an earlier run left masks of some frames."""
        return self.store.exists()

    @property
    def is_finished(self) -> bool:
        """Whether all outputs exist, are complete, and are newer than the video."""
        changed = stamp(self.video)[1]
        return not self.is_interrupted and all(
            file.exists() and file.stat().st_mtime_ns >= changed for file in self.files.values()
        )


def plan_videos(
    videos: Sequence[Path], out: Path, kinds: Sequence[str], overwrite: bool
) -> list[VideoJob]:
    """Returns the job of each video, after all names have been checked.

    If an earlier run was interrupted, the videos that it finished are left out.

    Args:
        videos: Paths of the videos.
        out: Folder for the outputs.
        kinds: Kinds of output, keys of `VIDEO_OUTPUTS`.
        overwrite: Whether to replace existing outputs.

    Raises:
        ConfigError: A kind of output is unknown.
        OutputExistsError: An output exists, or two videos have the same name.
    """
    for kind in kinds:
        if kind not in VIDEO_OUTPUTS:
            raise ConfigError(
                f"kind is {kind!r}; accepted for videos are "
                f"{', '.join(map(repr, VIDEO_OUTPUTS))}; predict single frames for others: "
                "ffmpeg -i FILE frames/%06d.png"
            )
    if out.exists() and not out.is_dir():
        raise OutputExistsError(
            f"output {out} is a file; accepted is a folder; choose another with --out"
        )
    plan = [
        VideoJob(video, {kind: out / f"{video.stem}{VIDEO_OUTPUTS[kind]}" for kind in kinds})
        for video in dict.fromkeys(videos)
    ]
    if not overwrite and any(job.is_interrupted for job in plan):
        plan = [job for job in plan if not job.is_finished]
    owners: dict[Path, Path] = {}
    sources = {video.resolve() for video in videos}
    for job in plan:
        may_replace = overwrite or job.is_interrupted
        for kind, file in job.files.items():
            owner = owners.setdefault(file, job.video)
            if owner != job.video:
                raise OutputExistsError(
                    f"{owner} and {job.video} would both be written to {file}; accepted are videos "
                    "of different names; predict them into two folders"
                )
            if not file.exists():
                continue
            if file.resolve() in sources:
                raise OutputExistsError(
                    f"{file} is one of the videos; results never replace them; choose another "
                    "folder with --out"
                )
            if not may_replace:
                raise OutputExistsError(
                    f"{file} exists already; accepted is a folder without earlier results; name "
                    "another with --out, or allow it with --overwrite"
                )
            if kind == MASK and not is_mask_folder(file):
                raise OutputExistsError(
                    f"{file} holds other files than masks of frames; results replace masks only; "
                    "move it elsewhere, or choose another folder with --out"
                )
    return plan
