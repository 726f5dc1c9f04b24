"""Many photos from files to files, and one photo in a fresh process, beside what bounds them.

    python benchmarks/photos.py MODEL PHOTOS [--count 500] [--repeats 5]

MODEL is a run folder or an exported file, PHOTOS a folder of pictures, which are copied as JPEGs of
500x375 as often as it takes. The first row says what share of the processors' time was used: the
time that decoding, network and writing take one after another on one thread, summed and divided by
the cores, is the least that all of it can take; it is measured in the same run. The second row is
the whole process of one photo, with Python's start and all imports, beside that of importing
ONNX Runtime alone; the third that of `unetkit --help`.
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

SIZE = (500, 375)  # width, height, as most photos of Oxford-IIIT Pet have them


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
        print(many_row(options.model, photos, Path(folder), options.repeats), flush=True)
        print(cold_rows(options.model, photos[0], Path(folder), options.repeats))


def copy_photos(source: Path, folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    files = sorted(source.glob("*.jpg")) or sorted(source.glob("*.png"))
    photos = []
    for number in range(count):
        photos.append(folder / f"{number:04d}.jpg")
        with Image.open(files[number % len(files)]) as picture:
            picture.convert("RGB").resize(SIZE).save(photos[-1], quality=90)
    return photos


def many_row(model: str, photos: list[Path], folder: Path, repeats: int) -> str:
    from unetkit import Predictor
    from unetkit.prediction.files import predict_files

    cores = os.cpu_count() or 1
    shares, seconds, stages = [], [], []
    predictor = Predictor(model)
    for repeat in range(repeats):
        stages.append(stage_seconds(model, photos, folder / f"one-{repeat}"))
        started = time.perf_counter()
        predict_files(predictor, photos, folder / f"all-{repeat}")
        seconds.append(time.perf_counter() - started)
        shares.append(sum(stages[-1]) / cores / seconds[-1])
    decode, network, write = (statistics.median(times) for times in zip(*stages, strict=True))
    return (
        f"| {len(photos)} photos | s, median (range) | photos/s | one thread: decode, network, "
        "write | share of the processors used, median (range) | peak MiB |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        f"| files to files | {spread(seconds)} | {len(photos) / statistics.median(seconds):.0f} "
        f"| {decode:.2f}, {network:.2f}, {write:.2f} s | {spread(shares)} | {peak_mib()} |\n"
    )


def stage_seconds(model: str, photos: list[Path], out: Path) -> tuple[float, float, float]:
    """Processor time of all decoding, all network and all writing, on one thread."""
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


def cold_rows(model: str, photo: Path, folder: Path, repeats: int) -> str:
    unetkit = [sys.executable, "-m", "unetkit"]
    commands = {
        "`unetkit predict`, one photo": [*unetkit, "predict", photo, "--model", model, "--out"],
        "`unetkit --help`": [*unetkit, "--help"],
        "`import onnxruntime, numpy`": [sys.executable, "-c", "import onnxruntime, numpy"],
        "`python -c pass`": [sys.executable, "-c", "pass"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(repeats + 1):  # the first brings files into the system's cache
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
