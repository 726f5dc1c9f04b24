"""Time of predicting many photos from files to files, of their results, and of one photo.

    python benchmarks/photos.py MODEL PHOTOS [--count 500] [--repeats 5]

MODEL is a run folder or a model file, PHOTOS a folder of images, which are copied repeatedly as
JPEGs of 500x375. The first table compares the time of all photos, for masks alone and with overlays
and cut-outs, with a lower bound measured in the same run: the times of decoding, network and
writing on one thread, summed and divided by the number of cores; their ratio is the fraction of the
processors that was used. The second table has the time of one thread for a file of each kind,
beside Pillow and NumPy with their defaults. The third compares masks with those of
`plain_predict.py`, a short script of OpenCV and ONNX Runtime, each in a process of its own. The
last has the time and processor time of whole processes, including the start of Python and all
imports: predicting one photo, showing the help, and importing ONNX Runtime only.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from subject import machine_line, peak_mib, quiet_environment

OURS = """
import json, re, sys, time
from pathlib import Path
from unetkit import Predictor
from unetkit.results.files import predict_files
predictor, photos = Predictor(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir())
started, busy = time.perf_counter(), time.process_time()
predict_files(predictor, photos, sys.argv[3])
found = [time.process_time() - busy, time.perf_counter() - started]
peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps([*found, int(peak[1]) >> 10]))
"""
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
        print(measure_files(options.model, photos[:20], Path(folder), options.repeats), flush=True)
        print(measure_peer(options.model, Path(folder), options.repeats), flush=True)
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
    wanted = {"masks": ["mask"], "masks, overlays, cut-outs": ["mask", "overlay", "cutout"]}
    found = {name: ([], [], []) for name in wanted}  # fractions, seconds, stages
    predictor = Predictor(model)
    for repeat in range(repeats):
        for number, (name, kinds) in enumerate(wanted.items()):
            fractions, seconds, stages = found[name]
            stages.append(stage_seconds(model, photos, folder / f"one-{number}-{repeat}", kinds))
            started = time.perf_counter()
            predict_files(predictor, photos, folder / f"all-{number}-{repeat}", kinds=kinds)
            seconds.append(time.perf_counter() - started)
            fractions.append(sum(stages[-1]) / cores / seconds[-1])
    rows = []
    for name, (fractions, seconds, stages) in found.items():
        decode, network, write = (statistics.median(times) for times in zip(*stages, strict=True))
        rows.append(
            f"| {name} | {spread(seconds)} | {len(photos) / statistics.median(seconds):.0f} | "
            f"{decode:.2f}, {network:.2f}, {write:.2f} s | {spread(fractions)} | {peak_mib()} |\n"
        )
    return (
        f"| {len(photos)} photos, files to files | s, median (range) | photos/s | one thread: "
        "decode, network, write | fraction of the processors used, median (range) | peak MiB |\n"
        f"| --- | --- | --- | --- | --- | --- |\n{''.join(rows)}"
    )


def stage_seconds(
    model: str, photos: list[Path], out: Path, kinds: list[str]
) -> tuple[float, float, float]:
    """Returns processor seconds of decoding, network and writing all photos, on one thread."""
    from unetkit import Predictor
    from unetkit.io.images import read_image
    from unetkit.prediction.sources import open_source
    from unetkit.results.outputs import OUTPUTS, write_output
    from unetkit.results.predicted_image import ResultOptions
    from unetkit.results.whole_images import predict_whole

    predictor = Predictor(model, threads=1)
    out.mkdir()
    times = np.zeros(3)
    for photo in photos:
        marks = [time.thread_time()]
        image = read_image(photo, predictor.spec.pixels)
        marks.append(time.thread_time())
        with (
            open_source(image, predictor.spec.pixels) as source,
            predict_whole(predictor, source, kinds, ResultOptions()) as predicted,
        ):
            marks.append(time.thread_time())
            for kind in kinds:
                write_output(kind, out / f"{photo.stem}{OUTPUTS[kind].ending('png')}", predicted)
        marks.append(time.thread_time())
        times += np.diff(marks)
    decode, network, write = times.tolist()
    return decode, network, write


def measure_files(model: str, photos: list[Path], folder: Path, repeats: int) -> str:
    """Returns a table of the time and size of results, beside Pillow and NumPy with defaults."""
    from unetkit import Predictor, cutout, overlay
    from unetkit.io.encoding import write_jpeg, write_npz, write_png

    def save(path: Path, pixels: np.ndarray) -> None:
        Image.fromarray(pixels).save(path, "PNG")

    def store(path: Path, pixels: np.ndarray) -> None:
        write_npz(path, {"probabilities": pixels})

    def zip_floats(path: Path, pixels: np.ndarray) -> None:
        np.savez_compressed(path, probabilities=pixels)

    predictor = Predictor(model)
    classes = predictor.spec.classes
    images = [np.asarray(Image.open(photo)) for photo in photos]
    masks = [predictor(image) for image in images]
    scores = [predictor.probabilities(image) for image in images]
    overlays = [overlay(*pair, classes) for pair in zip(images, masks, strict=True)]
    cutouts = [cutout(*pair, classes) for pair in zip(images, scores, strict=True)]
    bytes_ = [np.rint(255 * array).astype(np.uint8) for array in scores]
    halves = [array.astype(np.float16) for array in scores]
    kinds = {
        "mask, PNG": (masks, lambda path, array: write_png(path, array, is_flat=True), save),
        "overlay, PNG": (overlays, write_png, save),
        "overlay, JPEG": (overlays, write_jpeg, None),
        "cut-out, PNG": (cutouts, write_png, save),
        "probabilities, float32": (scores, store, zip_floats),
        "probabilities, float16": (halves, store, None),
        "probabilities, uint8": (bytes_, store, None),
    }
    file = folder / "result.npz"
    rows = []
    for name, (arrays, own, other) in kinds.items():
        times: dict[bool, list[float]] = {True: [], False: []}
        sizes = {True: 0, False: 0}
        for _ in range(repeats):
            for is_own, write in ((True, own), (False, other)):
                if write is None:
                    continue
                started, sizes[is_own] = time.thread_time(), 0
                for array in arrays:
                    write(file, array)
                    sizes[is_own] += file.stat().st_size
                times[is_own].append(1000 * (time.thread_time() - started) / len(arrays))
        ratio, growth = "", ""
        if other is not None:
            ratio = spread([b / a for a, b in zip(times[True], times[False], strict=True)])
            growth = f"{sizes[True] / sizes[False]:.3f}"
        size = sizes[True] / len(arrays) / 1000
        rows.append(f"| {name} | {spread(times[True])} | {size:.1f} | {ratio} | {growth} |")
    header = (
        "| a file | ms, median (range) | kB | time of Pillow or NumPy with defaults, of ours | "
        "size, of theirs |\n| --- | --- | --- | --- | --- |"
    )
    return "\n".join([header, *rows]) + "\n"


def measure_peer(model: str, folder: Path, repeats: int) -> str:
    """Returns a table of processor time and memory, beside a script that only predicts."""
    from unetkit.prediction.engine import find_model

    plain = [sys.executable, str(Path(__file__).with_name("plain_predict.py"))]
    ours = [sys.executable, "-c", OURS]
    found: dict[str, list[list[float]]] = {"unetkit": [], "plain script": []}
    for repeat in range(repeats):
        for name, command in (("unetkit", ours), ("plain script", plain)):
            out = str(folder / f"{name[:5]}-{repeat}")
            words = [*command, str(find_model(model)), str(folder / "photos"), out]
            done = subprocess.run(words, check=True, capture_output=True, env=quiet_environment())
            found[name].append(json.loads(done.stdout))
    rows = []
    for name, results in found.items():
        ratios = [
            [a / b for a, b in zip(*pair, strict=True)]
            for pair in zip(results, found["plain script"], strict=True)
        ]
        busy, _, peaks = zip(*results, strict=True)
        shares = [spread(column) for column in zip(*ratios, strict=True)]
        rows.append(
            f"| {name} | {spread(busy)} | {shares[0]} | {shares[1]} | "
            f"{statistics.median(peaks):.0f} | {shares[2]} |\n"
        )
    return (
        "| masks | processor s, median (range) | of the script | seconds, of the script | peak MiB "
        f"| of the script |\n| --- | --- | --- | --- | --- | --- |\n{''.join(rows)}"
    )


def measure_processes(model: str, photo: Path, folder: Path, repeats: int) -> str:
    unetkit = [sys.executable, "-m", "unetkit"]
    commands = {
        "`unetkit predict`, one photo": [*unetkit, "predict", photo, "--model", model, "--out"],
        "`unetkit --help`": [*unetkit, "--help"],
        "`import onnxruntime, numpy`": [sys.executable, "-c", "import onnxruntime, numpy"],
        "`python -c pass`": [sys.executable, "-c", "pass"],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for repeat in range(repeats + 1):  # the first fills the file cache of the system
        for name, command in commands.items():
            extra = [folder / f"cold-{repeat}"] if command[-1] == "--out" else []
            started, busy = time.perf_counter(), children_seconds()
            subprocess.run(
                [*map(str, command), *map(str, extra)],
                check=True,
                capture_output=True,
                env=quiet_environment(),
            )
            if repeat:
                times[name].append((time.perf_counter() - started, children_seconds() - busy))
    rows = [
        f"| {name} | " + " | ".join(map(spread, zip(*found, strict=True))) + " |"
        for name, found in times.items()
    ]
    header = "| whole process | s, median (range) | processor s, median (range) |"
    return "\n".join([header, "| --- | --- | --- |", *rows])


def children_seconds() -> float:
    """Returns the processor seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
