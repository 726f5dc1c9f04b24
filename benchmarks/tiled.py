"""Prediction of an image too large for one run: tiles of unetkit and sliding windows of MONAI.

    python benchmarks/tiled.py [--network notebook] [--size 8192] [--repeats 5]
        [--exact-size 2048] [--peers-python ../peers/bin/python]

Measured is the time from a uint8 image in memory to a uint8 class of each pixel, with the same
weights, in single precision, on all cores. Each measurement runs in a separate process, whose peak
memory includes framework, network, image and output; engines run in turn. MONAI runs the network in
PyTorch, channels last and BatchNorms folded, with windows that overlap by a quarter.

First, on an image that fits into one run, the tiles of each engine are compared with its own single
run: the largest difference of a logit, relative to the range of all logits, and the fraction of
pixels with another class. Then a Markdown row is printed for each engine: both differences, seconds
(median and range), peak memory (median and range), both relative to the first row, a hash of the
labels, and the fraction of pixels of the large image with another class than in the first row.
Below follow the tiling of each engine and the engines that are not installed. Each measurement is
printed to standard error as it is made.

unetkit gets a memory limit; the image and the labels of the caller are not part of it. The memory
of the network was measured before, which is done once per model.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from subject import (
    NETWORKS,
    draw_image,
    machine_line,
    peak_mib,
    prepare,
    quiet_environment,
)

OVERLAP = 0.25
PREPARED_SIZE = 512  # at which the network is exported and checked; it accepts any size
PACKAGES = {"unetkit": ("unetkit", "onnxruntime"), "MONAI": ("monai", "torch")}


def unetkit_predictor(folder: Path, **arguments):
    from unetkit import Predictor

    return Predictor(folder / "network.onnx", **arguments)


class Unetkit:
    """Exact tiles that fit into memory; blended tiles if the margin is too small for exact ones."""

    def __init__(self, folder: Path, memory: str, margin: int | None) -> None:
        self.folder = folder
        self.predictor = unetkit_predictor(folder, memory=memory, margin=margin)

    def describe(self, image: np.ndarray) -> str:
        return self.predictor.tiling(image.shape[:2]).describe()

    def labels(self, image: np.ndarray) -> np.ndarray:
        return self.predictor(image)

    def tiled_logits(self, image: np.ndarray) -> np.ndarray:
        return self.predictor.logits(image)

    def whole_logits(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        return unetkit_predictor(self.folder, tile_pixels=height * width).logits(image)


class Monai:
    """Windows of (side, side), in batches, blended in one of MONAI's modes."""

    def __init__(self, folder: Path, side: int, batch_size: int, mode: str) -> None:
        from monai.inferers import SlidingWindowInferer
        from torch_twin import load_twin

        self.network = load_twin(folder, channels_last=True, fold=True)
        self.windows = SlidingWindowInferer((side, side), batch_size, OVERLAP, mode)

    def describe(self, image: np.ndarray) -> str:
        from monai.data.utils import dense_patch_slices

        size, (side, _) = image.shape[:2], self.windows.roi_size
        steps = (int(side * (1 - OVERLAP)),) * 2
        count = len(dense_patch_slices(size, (side, side), steps))
        work = count * side**2 / (size[0] * size[1])
        return f"{count} windows of {side}x{side}, {work:.2f} times the work of one run"

    def labels(self, image: np.ndarray) -> np.ndarray:
        import torch
        from torch_twin import to_tensor

        with torch.inference_mode():
            logits = self.windows(to_tensor(image), self.network)
            return logits.argmax(1)[0].to(torch.uint8).numpy()

    def tiled_logits(self, image: np.ndarray) -> np.ndarray:
        return self._logits(image, lambda batch: self.windows(batch, self.network))

    def whole_logits(self, image: np.ndarray) -> np.ndarray:
        return self._logits(image, self.network)

    def _logits(self, image: np.ndarray, run) -> np.ndarray:
        import torch
        from torch_twin import to_array, to_tensor

        with torch.inference_mode():
            return to_array(run(to_tensor(image)))


@dataclass
class Engine:
    """An engine with its arguments and results: one row of the table."""

    name: str
    package: str
    arguments: tuple
    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # processor seconds
    peaks: list[int] = field(default_factory=list)
    hashes: set[str] = field(default_factory=set)
    tiles: str = ""
    exact: dict = field(default_factory=dict)
    left_out: str | None = None


def engines_of(options: argparse.Namespace) -> list[Engine]:
    rows = [Engine(f"unetkit, {memory}", "unetkit", (memory, None)) for memory in options.memory]
    for margin in options.margins:
        name = f"unetkit, {options.memory[0]}, margin {margin}: not exact"
        rows.append(Engine(name, "unetkit", (options.memory[0], margin)))
    for mode in options.modes:
        for batch_size in options.batch_sizes:
            name = f"MONAI, {mode}, {batch_size} x {options.roi}x{options.roi}"
            rows.append(Engine(name, "MONAI", (options.roi, batch_size, mode)))
    return rows


def work(engine: str, folder: Path, arguments: list, image: Path, labels: Path | None) -> None:
    """Runs in an engine's process: segments an image, or compares tiles with a single run."""
    kind = {"unetkit": Unetkit, "MONAI": Monai}[engine]
    try:
        segmenter = kind(folder, *arguments)
    except ModuleNotFoundError as error:
        print(json.dumps({"left_out": f"{error.name} is not installed"}))
        return
    shown = np.load(image)
    if labels is None:
        results = compare(segmenter.tiled_logits(shown), segmenter.whole_logits(shown))
    else:
        started, busy = time.perf_counter(), time.process_time()
        found = segmenter.labels(shown)
        results = {"seconds": time.perf_counter() - started, "peak_mib": peak_mib()}
        results["busy"] = time.process_time() - busy
        results["tiles"] = segmenter.describe(shown)
        results["hash"] = hashlib.sha256(found.tobytes()).hexdigest()[:12]
        np.save(labels, found)
    results["versions"] = {name: version(name) for name in PACKAGES[engine]}
    print(json.dumps(results))


def compare(tiled: np.ndarray, whole: np.ndarray) -> dict:
    return {
        "difference": float(np.abs(tiled - whole).max() / np.ptp(whole)),
        "other_class": float((tiled.argmax(-1) != whole.argmax(-1)).mean()),
    }


def run_engine(engine: Engine, python: str, folder: Path, image: Path, labels: Path | None) -> dict:
    """Runs an engine in a separate process and returns its results."""
    work = {
        "engine": engine.package,
        "folder": str(folder),
        "arguments": engine.arguments,
        "image": str(image),
        "labels": labels and str(labels),
    }
    done = subprocess.run(
        [python, __file__, "--work", json.dumps(work)],
        env=quiet_environment(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        return {"left_out": f"its process exited with {done.returncode}: {' '.join(last)[:300]}"}
    return json.loads(done.stdout.splitlines()[-1])


def other_labels(one: Path, other: Path) -> float:
    """Returns the fraction of pixels that differ between two label files, read row by row."""
    first, second = np.load(one, mmap_mode="r"), np.load(other, mmap_mode="r")
    differing = sum(int((a != b).sum()) for a, b in zip(first, second, strict=True))
    return differing / first.size


def measure(options: argparse.Namespace, folder: Path) -> None:
    network = prepare(options.network, PREPARED_SIZE, folder)
    small, large = folder / "small.npy", folder / "large.npy"
    for size, path in ((options.exact_size, small), (options.size, large)):
        # In a separate process, like the network.
        subprocess.run([sys.executable, __file__, "--draw", str(size), str(path)], check=True)
    engines, versions = engines_of(options), {}
    pythons = {"unetkit": sys.executable, "MONAI": options.peers_python or sys.executable}
    for engine in engines:
        results = run_engine(engine, pythons[engine.package], folder, small, None)
        engine.left_out, engine.exact = results.get("left_out"), results
        versions |= results.get("versions", {})
    files = {engine.name: folder / f"labels{i}.npy" for i, engine in enumerate(engines)}
    for turn in range(options.repeats):
        for engine in engines[turn:] + engines[:turn]:
            if engine.left_out is not None:
                continue
            results = run_engine(engine, pythons[engine.package], folder, large, files[engine.name])
            engine.left_out = results.get("left_out")
            if engine.left_out is None:
                engine.seconds.append(results["seconds"])
                engine.busy.append(results["busy"])
                engine.peaks.append(results["peak_mib"])
                engine.hashes.add(results["hash"])
                engine.tiles = results["tiles"]
                seen = f"{results['seconds']:.1f} s, {results['peak_mib']:,} MiB"
                print(f"turn {turn + 1}: {engine.name}: {seen}", file=sys.stderr, flush=True)
    print_table(network, options, engines, versions, files)


def print_table(
    network: dict,
    options: argparse.Namespace,
    engines: list[Engine],
    versions: dict[str, str],
    files: dict[str, Path],
) -> None:
    print(
        f"{machine_line()}, Python {sys.version.split()[0]}, "
        + ", ".join(f"{name} {v}" for name, v in sorted(versions.items()))
    )
    print(
        f"{network['name']}, {options.size}x{options.size}, {options.repeats} turns; compared with "
        f"a single run at {options.exact_size}x{options.exact_size}\n"
    )
    print(
        "| engine | largest difference of a logit from a single run | pixels of another class | "
        "seconds: median (range) | relative to the first | processor seconds: median | relative to "
        "the first | peak MiB: median (range) | relative to "
        "the first | hash of labels | other than the first |\n| --- | --- | --- | --- | --- | --- "
        "| --- | --- | --- | --- | --- |"
    )
    measured = [engine for engine in engines if engine.left_out is None]
    for engine in measured:
        seconds, peak = statistics.median(engine.seconds), statistics.median(engine.peaks)
        first = measured[0]
        cells = [
            engine.name,
            f"{engine.exact['difference']:.1e}",
            f"{engine.exact['other_class']:.4%}",
            f"{seconds:.1f} ({min(engine.seconds):.1f} to {max(engine.seconds):.1f})",
            f"{seconds / statistics.median(first.seconds):.2f}",
            f"{statistics.median(engine.busy):.1f}",
            f"{statistics.median(engine.busy) / statistics.median(first.busy):.2f}",
            f"{peak:,.0f} ({min(engine.peaks):,} to {max(engine.peaks):,})",
            f"{peak / statistics.median(first.peaks):.2f}",
            " or ".join(sorted(engine.hashes)),
            f"{other_labels(files[first.name], files[engine.name]):.4%}",
        ]
        print("| " + " | ".join(cells) + " |")
    print()
    for engine in measured:
        print(f"{engine.name}: {engine.tiles}")
    for engine in engines:
        if engine.left_out is not None:
            print(f"\nNot measured: {engine.name} ({engine.left_out})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="notebook")
    parser.add_argument("--size", type=int, default=8192, help="Side of the large image in pixels.")
    parser.add_argument(
        "--exact-size", type=int, default=2048, help="Side of the image of a single run."
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--memory", nargs="+", default=["2GiB", "512MiB"], help="Memory limits of unetkit."
    )
    parser.add_argument(
        "--margins", nargs="*", type=int, default=[64], help="Margins of blended tiles."
    )
    parser.add_argument("--roi", type=int, default=512, help="Side of MONAI's windows.")
    parser.add_argument("--modes", nargs="*", default=["gaussian", "constant"])
    parser.add_argument("--batch-sizes", nargs="*", type=int, default=[1, 4])
    parser.add_argument("--peers-python", help="Python of an environment with MONAI.")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--draw", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        paths = {name: Path(options.work[name]) for name in ("folder", "image")}
        labels = options.work["labels"]
        work(**{**options.work, **paths, "labels": labels and Path(labels)})
    elif options.draw is not None:
        np.save(options.draw[1], draw_image(int(options.draw[0])))
    else:
        with tempfile.TemporaryDirectory(prefix="unetkit-tiled-") as folder:
            measure(options, Path(folder))


if __name__ == "__main__":
    main()
