"""Time of predicting many photos from files to files, and one photo in a new process.

    python benchmarks/photos.py MODEL PHOTOS [--count 500] [--repeats 5]

MODEL is a run folder or a model file, PHOTOS a folder of images, which are copied repeatedly as
JPEGs of 500x375. The first table compares the time of all photos with a lower bound measured in the
same run: the times of decoding, network and writing on one thread, summed and divided by the number
of cores; their ratio is the fraction of the processors that was used. The second table has the time
of whole processes, including the start of Python and all imports: predicting one photo, showing the
help, and importing ONNX Runtime only.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from subject import machine_line, peak_mib, quiet_environment

SIZE = (500, 375)  # width, height of most photos of Oxford-IIIT Pet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("photos")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    packages = ("unetkit", "onnxruntime", "numpy", "pillow", "opencv-python-headless")
    print(f"{machine_line()}, " + ", ".join(f"{name} {version(name)}" for name in packages) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        photos = copy_photos(Path(options.photos), Path(folder, "photos"), options.count)
        print(measure_many(options.model, photos, Path(folder), options.repeats), flush=True)
        print(measure_processes(options.model, photos[0], Path(folder), options.repeats))


def copy_photos(source: Path, folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    files = sorted(source.glob("*.jpg")) or sorted(source.glob("*.png"))
    photos = []
    for number in range(count):
        photos.append(folder / f"{number:04d}.jpg")
        with Image.open(files[number % len(files)]) as image:
            image.convert("RGB").resize(SIZE).save(photos[-1], quality=90)
    return photos


def measure_many(model: str, photos: list[Path], folder: Path, repeats: int) -> str:
    from unetkit import Predictor
    from unetkit.results.files import predict_files

    cores = os.cpu_count() or 1
    fractions, seconds, stages = [], [], []
    predictor = Predictor(model)
    for repeat in range(repeats):
        stages.append(stage_seconds(model, photos, folder / f"one-{repeat}"))
        started = time.perf_counter()
        predict_files(predictor, photos, folder / f"all-{repeat}")
        seconds.append(time.perf_counter() - started)
        fractions.append(sum(stages[-1]) / cores / seconds[-1])
    decode, network, write = (statistics.median(times) for times in zip(*stages, strict=True))
    return (
        f"| {len(photos)} photos | s, median (range) | photos/s | one thread: decode, network, "
        "write | fraction of the processors used, median (range) | peak MiB |\n| --- | --- | --- | "
        f"--- | --- | --- |\n| files to files | {spread(seconds)} | "
        f"{len(photos) / statistics.median(seconds):.0f} | {decode:.2f}, {network:.2f}, "
        f"{write:.2f} s | {spread(fractions)} | {peak_mib()} |\n"
    )


def stage_seconds(model: str, photos: list[Path], out: Path) -> tuple[float, float, float]:
    """Returns processor seconds of decoding, network and writing all photos, on one thread."""
    from unetkit import Predictor
    from unetkit.io.images import read_image
    from unetkit.visualization.overlays import palette_image, write_png

    predictor = Predictor(model, threads=1)
    out.mkdir()
    times = np.zeros(3)
    for photo in photos:
        marks = [time.thread_time()]
        image = read_image(photo, predictor.spec.pixels)
        marks.append(time.thread_time())
        mask = predictor(image)
        marks.append(time.thread_time())
        write_png(out / f"{photo.stem}.png", palette_image(mask, predictor.spec.classes))
        marks.append(time.thread_time())
        times += np.diff(marks)
    decode, network, write = times.tolist()
    return decode, network, write


def measure_processes(model: str, photo: Path, folder: Path, repeats: int) -> str:
    unetkit = [sys.executable, "-m", "unetkit"]
    commands = {
        "`unetkit predict`, one photo": [*unetkit, "predict", photo, "--model", model, "--out"],
        "`unetkit --help`": [*unetkit, "--help"],
        "`import onnxruntime, numpy`": [sys.executable, "-c", "import onnxruntime, numpy"],
        "`python -c pass`": [sys.executable, "-c", "pass"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(repeats + 1):  # the first fills the file cache of the system
        for name, command in commands.items():
            extra = [folder / f"cold-{repeat}"] if command[-1] == "--out" else []
            started = time.perf_counter()
            subprocess.run(
                [*map(str, command), *map(str, extra)],
                check=True,
                capture_output=True,
                env=quiet_environment(),
            )
            if repeat:
                times[name].append(time.perf_counter() - started)
    rows = [f"| {name} | {spread(found)} |" for name, found in times.items()]
    return "\n".join(["| whole process | s, median (range) |", "| --- | --- |", *rows])


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
