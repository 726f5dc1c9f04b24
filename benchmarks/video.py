"""Benchmark of predicting videos: frames a second beside the network alone, memory, smoothing.

    python benchmarks/video.py MODEL PHOTOS [--frames 150] [--repeats 5]

MODEL is a run folder or a model file, PHOTOS a folder of JPEGs. A clip of 640x480 pans over some of
them. The first table compares whole predictions of the clip, from file to files, with the network
on the same frames in memory (`Predictor.map`), all in turn: wall time, and processor time with that
of the decoding process. The second has the peak memory of a process for the clip and for one of
four times its length. With --masks, a folder of trimaps of the photos, the third compares masks of
noisy frames, smoothed over some, with the truth: how many pixels change from one frame to the next,
and how many are right, for a camera that stands and one that moves.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from subject import machine_line, quiet_environment

SIZE = (480, 640)
SHOT = 30  # frames of each photo
NOISE = 25  # standard deviation, in levels
WINDOWS = (1, 3, 5, 9)  # frames
CHILD = """
import re, sys
from pathlib import Path
from unetkit import Predictor
from unetkit.video.predict import predict_videos
predict_videos(Predictor(sys.argv[1]), [Path(sys.argv[2])], sys.argv[3], kinds=["overlay"])
peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
print(int(peak[1]) >> 10)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("photos")
    parser.add_argument("--masks")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    packages = ("unetkit", "onnxruntime", "numpy", "opencv-python-headless")
    print(f"{machine_line()}, " + ", ".join(f"{name} {version(name)}" for name in packages) + "\n")
    photos = sorted(Path(options.photos).glob("*.jpg"))
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder, "clip.mp4"), photos, options.frames)
        print(measure_speed(options.model, clip, Path(folder), options.repeats), flush=True)
        longer = write_clip(Path(folder, "longer.mp4"), photos, 4 * options.frames)
        print(measure_memory(options.model, [clip, longer], Path(folder)), flush=True)
    if options.masks:
        print(measure_smoothing(options.model, photos, Path(options.masks)))


def pan(photo: np.ndarray, frames: int, step: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Frames of a camera that moves by `step` pixels over a photo, or its mask."""
    height, width = size
    whole = cv2.resize(
        photo, (width + step * frames, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    for number in range(frames):
        yield whole[:, step * number : step * number + width]


def write_clip(path: Path, photos: list[Path], frames: int) -> Path:
    film = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25, SIZE[::-1]
    )
    for number in range(-(-frames // SHOT)):
        for frame in pan(cv2.imread(str(photos[number % len(photos)])), SHOT, 2, SIZE):
            film.write(frame)
    film.release()
    return path


def processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure_speed(model: str, clip: Path, folder: Path, repeats: int) -> str:
    from unetkit import Predictor
    from unetkit.video.frames import open_video
    from unetkit.video.predict import predict_videos

    predictor, outs = Predictor(model), iter(range(1000))
    with open_video(clip, 1 << 30) as video:
        frames = [predictor.spec.pixels.accept(frame.pixels, "frame") for frame in video.frames]

    def predict(**options: object) -> Callable[[], object]:
        return lambda: predict_videos(predictor, [clip], folder / str(next(outs)), **options)

    ways: dict[str, Callable[[], object]] = {
        "the network alone, frames in memory": lambda: list(predictor.map(frames)),
        "masks": predict(),
        "masks and an overlay": predict(kinds=["overlay"]),
        "masks smoothed over 5 frames": predict(smooth=5),
    }
    walls: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, run in ways.items():
            started, before = time.perf_counter(), processor_seconds()
            run()
            if number:  # the first round loads libraries
                walls[name].append(time.perf_counter() - started)
                busy[name].append(processor_seconds() - before)
    base, *_ = (statistics.median(found) for found in busy.values())
    base_wall, *_ = (statistics.median(found) for found in walls.values())
    lines = [
        f"{len(frames)} frames of {SIZE[1]}x{SIZE[0]}, median (smallest to largest) of {repeats}\n",
        "| prediction | frames a second | of the network's | of its processor time |",
        "| --- | --- | --- | --- |",
    ]
    for name in ways:
        rates = sorted(len(frames) / seconds for seconds in walls[name])
        lines.append(
            f"| {name} | {statistics.median(rates):.1f} ({rates[0]:.1f} to {rates[-1]:.1f}) "
            f"| {base_wall / statistics.median(walls[name]):.2f} "
            f"| {statistics.median(busy[name]) / base:.2f} |"
        )
    return "\n".join(lines) + "\n"


def measure_memory(model: str, clips: list[Path], folder: Path) -> str:
    peaks = []
    for clip in clips:
        command = [sys.executable, "-c", CHILD, model, str(clip), str(folder / f"m-{clip.stem}")]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=quiet_environment()
        )
        peaks.append(int(done.stdout))
    one, four = peaks
    return f"peak memory of the predicting process: {one} MiB, of 4 times the length: {four} MiB\n"


def measure_smoothing(model: str, photos: list[Path], masks: Path) -> str:
    from unetkit import Predictor
    from unetkit.video.smoothing import mean_of

    predictor, rng = Predictor(model), np.random.default_rng(0)
    background = predictor.spec.classes.background
    lines = [
        "| camera | frames | pixels that change | pixels that are right |",
        "| --- | --- | --- | --- |",
    ]
    for name, step in (("stands", 0), ("moves by 4 pixels a frame", 4), ("by 16", 16)):
        changes: dict[int, list[float]] = {n: [] for n in WINDOWS}
        right: dict[int, list[float]] = {n: [] for n in WINDOWS}
        for photo in photos[:: max(1, len(photos) // 12)][:12]:
            image = cv2.imread(str(photo))[..., ::-1].copy()
            mask = cv2.imread(str(masks / f"{photo.stem}.png"), cv2.IMREAD_UNCHANGED)
            truths = list(pan(mask, 12, step, (240, 320)))
            noisy = [
                np.clip(frame + rng.normal(0, NOISE, frame.shape), 0, 255).astype(np.uint8)
                for frame in pan(image, 12, step, (240, 320))
            ]
            scores = [predictor.probabilities(frame) for frame in noisy]
            for window in WINDOWS:
                r = window // 2
                found = [
                    mean_of(scores[max(0, t - r) : t + r + 1]).argmax(-1) != background
                    for t in range(len(scores))
                ]
                for t, truth in enumerate(truths):
                    counted = truth != 3  # the border of trimaps
                    right[window].append(float((found[t] == (truth == 1))[counted].mean()))
                    if t:  # moved back, so that only the masks differ
                        one, other = found[t - 1], found[t]
                        same = (one[:, step:] != other[:, : other.shape[1] - step]).mean()
                        changes[window].append(float(same))
        for window in WINDOWS:
            change, correct = np.mean(changes[window]), np.mean(right[window])
            lines.append(f"| {name} | {window} | {change:.2%} | {correct:.2%} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
