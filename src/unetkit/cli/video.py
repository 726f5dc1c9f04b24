"""`unetkit predict` of videos: progress, and a line or JSON for each video."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unetkit._shared.wording import format_count
from unetkit.cli.console import ConsoleDisplay
from unetkit.cli.terminal import print_json
from unetkit.data.classes import Classes
from unetkit.errors import ConfigError, UnetkitError
from unetkit.prediction.predictor import Predictor
from unetkit.results.plan import find_destination
from unetkit.results.predicted_image import ResultOptions
from unetkit.video.frames import Video
from unetkit.video.predict import VideoPrediction, predict_videos

FRAME_FORMATS = ("auto", "png")  # of masks of frames


def run_videos(
    predictor: Predictor,
    videos: Sequence[Path],
    display: ConsoleDisplay,
    *,
    out: Path,
    kinds: Sequence[str],
    format: str,
    smooth: int,
    overwrite: bool,
    show: bool,
    as_json: bool,
    is_strict: bool,
    options: ResultOptions,
) -> bool:
    """Segments videos with the options of the command.

    Args:
        predictor: The model.
        videos: Paths of the videos.
        display: Where progress is shown.
        out: Folder for the outputs.
        kinds: Kinds of output that are asked for.
        format: Format of the files.
        smooth: Number of frames over which probabilities are averaged.
        overwrite: Whether to replace existing outputs.
        show: Whether masks are to be drawn in the terminal, which is refused.
        as_json: Whether to print one line of JSON for each video.
        is_strict: Whether to raise the error of a video that cannot be predicted.
        options: How results are written.

    Returns:
        Whether all videos could be predicted.

    Raises:
        ConfigError: An option does not fit videos.
    """
    if show:
        raise ConfigError(f"--show draws masks of images, and {videos[0]} is a video; leave it out")
    if format not in FRAME_FORMATS:
        raise ConfigError(
            f"format is {format!r}, and {videos[0]} is a video; accepted for masks of frames is png"
        )
    if find_destination(out, format).mask is not None:
        raise ConfigError(
            f"output {out} names one mask, and {videos[0]} is a video; accepted is a folder; name "
            "one with --out"
        )
    failed = []

    def begin(video: Video, earlier: int) -> Callable[[], object]:
        height, width = video.size
        count = video.declared_frames
        number = "frames" if count is None else f"about {format_count(count, 'frame')}"
        finished = f", {earlier} of them predicted by an earlier run" if earlier else ""
        display.say(f"{video.path.name}: {number} of {height}x{width}{finished}")
        return display.task("frames", count or 1)

    def on_result(result: VideoPrediction) -> None:
        display.finish()
        for note in result.notes:
            display.warn(note)
        if as_json:
            print_json(video_as_json(result, predictor.spec.classes))
        else:
            names = ", ".join(map(str, result.files.values()))
            display.say(f"{result.video.name}: {format_count(result.frames, 'frame')}; {names}")

    def on_finished(video: Path) -> None:
        if not as_json:
            display.say(f"{video.name}: finished before")

    def on_error(video: Path, error: UnetkitError) -> None:
        display.finish()
        failed.append(video)
        if as_json:
            print_json({"video": str(video), "error": str(error)})
        else:
            display.warn(str(error))

    predict_videos(
        predictor,
        videos,
        out,
        kinds=kinds,
        smooth=smooth,
        overwrite=overwrite,
        options=options,
        begin=begin,
        on_result=on_result,
        on_error=None if is_strict else on_error,
        on_finished=on_finished,
    )
    return not failed


def video_as_json(result: VideoPrediction, classes: Classes) -> dict[str, Any]:
    """Returns what `--json` prints of a video."""
    return {
        "video": str(result.video),
        "frames": result.frames,
        "rate": result.rate,
        "height": result.size[0],
        "width": result.size[1],
        "files": {kind: str(file) for kind, file in result.files.items()},
        "pixels": dict(zip(classes.names, result.counts.tolist(), strict=True)),
        "notes": list(result.notes),
    }
