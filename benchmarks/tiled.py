"""A picture too large for one run: unetkit's tiles beside MONAI's sliding windows.

    python benchmarks/tiled.py [--network notebook] [--size 8192] [--repeats 5]
        [--exact-size 2048] [--peers-python ../peers/bin/python]

From a uint8 picture in memory to a uint8 class for each pixel, with the same weights, in single
precision, on all cores. Each measurement is a process of its own, of which the peak memory is that
of frameworks, network, picture and answer together; engines take turns. MONAI runs the network in
PyTorch, channels last and BatchNorms folded, with windows that overlap by a quarter.

First, on a picture that still fits into one run, each engine's tiles are compared with its own one
run over all: the largest difference of a logit, as a share of the range of all, and the share of
pixels whose class differs. Then a Markdown row an engine: these two, seconds (median and range),
peak memory (likewise), both relative to the first row, a hash of the labels, and the share of the
large picture's pixels whose class is another than in the first row. Below, how the picture was cut,
and which engines are not installed. Standard error tells each measurement as it is made.

unetkit is told the memory that it may take; picture and labels, which the caller holds, come on
top. What the network takes was measured before, as it is once for each model.
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
    draw_picture,
    machine_line,
    peak_mib,
    prepare,
    quiet_environment,
)

OVERLAP = 0.25
PREPARED_SIZE = 512  # at which the network is converted and checked; it takes any
PACKAGES = {"unetkit": ("unetkit", "onnxruntime"), "MONAI": ("monai", "torch")}


def unetkit_predictor(folder: Path, **arguments):
    from unetkit import Predictor

    return Predictor(folder / "network.onnx", **arguments)


class Unetkit:
    """Exact tiles that fit into the memory; with a margin that is too small for that, blended."""

    def __init__(self, folder: Path, memory: str, margin: int | None) -> None:
        self.folder = folder
        self.predictor = unetkit_predictor(folder, memory=memory, margin=margin)

    def describe(self, picture: np.ndarray) -> str:
        return self.predictor.tiling(picture.shape[:2]).describe()

    def labels(self, picture: np.ndarray) -> np.ndarray:
        return self.predictor(picture)

    def tiled_logits(self, picture: np.ndarray) -> np.ndarray:
        return self.predictor.logits(picture)

    def whole_logits(self, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        return unetkit_predictor(self.folder, tile_pixels=height * width).logits(picture)


class Monai:
    """Windows of (side, side), so many at once, blended in one of MONAI's modes."""

    def __init__(self, folder: Path, side: int, batch_size: int, mode: str) -> None:
        from monai.inferers import SlidingWindowInferer
        from torch_twin import load_twin

        self.network = load_twin(folder, channels_last=True, fold=True)
        self.windows = SlidingWindowInferer((side, side), batch_size, OVERLAP, mode)

    def describe(self, picture: np.ndarray) -> str:
        from monai.data.utils import dense_patch_slices

        size, (side, _) = picture.shape[:2], self.windows.roi_size
        steps = (int(side * (1 - OVERLAP)),) * 2
        count = len(dense_patch_slices(size, (side, side), steps))
        waste = count * side**2 / (size[0] * size[1])
        return f"{count} windows of {side}x{side}, {waste:.2f} times the work of one run"

    def labels(self, picture: np.ndarray) -> np.ndarray:
        import torch
        from torch_twin import to_tensor

        with torch.inference_mode():
            logits = self.windows(to_tensor(picture), self.network)
            return logits.argmax(1)[0].to(torch.uint8).numpy()

    def tiled_logits(self, picture: np.ndarray) -> np.ndarray:
        return self._logits(picture, lambda batch: self.windows(batch, self.network))

    def whole_logits(self, picture: np.ndarray) -> np.ndarray:
        return self._logits(picture, self.network)

    def _logits(self, picture: np.ndarray, run) -> np.ndarray:
        import torch
        from torch_twin import to_array, to_tensor

        with torch.inference_mode():
            return to_array(run(to_tensor(picture)))


@dataclass
class Engine:
    """One row: whose it is, what it is called with, and what was found."""

    name: str
    package: str
    arguments: tuple
    seconds: list[float] = field(default_factory=list)
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


def work(engine: str, folder: Path, arguments: list, picture: Path, labels: Path | None) -> None:
    """An engine's process: segments a picture, or compares its tiles with one run over all."""
    kind = {"unetkit": Unetkit, "MONAI": Monai}[engine]
    try:
        segmenter = kind(folder, *arguments)
    except ModuleNotFoundError as error:
        print(json.dumps({"left_out": f"{error.name} is not installed"}))
        return
    shown = np.load(picture)
    if labels is None:
        answer = compare(segmenter.tiled_logits(shown), segmenter.whole_logits(shown))
    else:
        started = time.perf_counter()
        found = segmenter.labels(shown)
        answer = {"seconds": time.perf_counter() - started, "peak_mib": peak_mib()}
        answer["tiles"] = segmenter.describe(shown)
        answer["hash"] = hashlib.sha256(found.tobytes()).hexdigest()[:12]
        np.save(labels, found)
    answer["versions"] = {name: version(name) for name in PACKAGES[engine]}
    print(json.dumps(answer))


def compare(tiled: np.ndarray, whole: np.ndarray) -> dict:
    return {
        "difference": float(np.abs(tiled - whole).max() / np.ptp(whole)),
        "other_class": float((tiled.argmax(-1) != whole.argmax(-1)).mean()),
    }


def run_engine(
    engine: Engine, python: str, folder: Path, picture: Path, labels: Path | None
) -> dict:
    """The answer of a process of this engine."""
    work = {
        "engine": engine.package,
        "folder": str(folder),
        "arguments": engine.arguments,
        "picture": str(picture),
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
        return {"left_out": f"its process ended with {done.returncode}: {' '.join(last)[:300]}"}
    return json.loads(done.stdout.splitlines()[-1])


def other_labels(one: Path, other: Path) -> float:
    """Share of pixels of two label files that differ, read in parts."""
    first, second = np.load(one, mmap_mode="r"), np.load(other, mmap_mode="r")
    differing = sum(int((a != b).sum()) for a, b in zip(first, second, strict=True))
    return differing / first.size


def measure(options: argparse.Namespace, folder: Path) -> None:
    network = prepare(options.network, PREPARED_SIZE, folder)
    small, large = folder / "small.npy", folder / "large.npy"
    for size, path in ((options.exact_size, small), (options.size, large)):
        # In a process of its own, as the network is.
        subprocess.run([sys.executable, __file__, "--draw", str(size), str(path)], check=True)
    engines, versions = engines_of(options), {}
    pythons = {"unetkit": sys.executable, "MONAI": options.peers_python or sys.executable}
    for engine in engines:
        answer = run_engine(engine, pythons[engine.package], folder, small, None)
        engine.left_out, engine.exact = answer.get("left_out"), answer
        versions |= answer.get("versions", {})
    files = {engine.name: folder / f"labels{i}.npy" for i, engine in enumerate(engines)}
    for turn in range(options.repeats):
        for engine in engines[turn:] + engines[:turn]:
            if engine.left_out is not None:
                continue
            answer = run_engine(engine, pythons[engine.package], folder, large, files[engine.name])
            engine.left_out = answer.get("left_out")
            if engine.left_out is None:
                engine.seconds.append(answer["seconds"])
                engine.peaks.append(answer["peak_mib"])
                engine.hashes.add(answer["hash"])
                engine.tiles = answer["tiles"]
                seen = f"{answer['seconds']:.1f} s, {answer['peak_mib']:,} MiB"
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
        f"one run over all at {options.exact_size}x{options.exact_size}\n"
    )
    print(
        "| engine | largest difference of a logit from one run | pixels of another class | "
        "seconds: median (range) | of the first | peak MiB: median (range) | of the first | "
        "labels | other than the first |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
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
            print(f"\nLeft out: {engine.name} ({engine.left_out})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="notebook")
    parser.add_argument("--size", type=int, default=8192, help="side of the picture")
    parser.add_argument("--exact-size", type=int, default=2048, help="side of what fits one run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", nargs="+", default=["2GiB", "512MiB"], help="unetkit's rows")
    parser.add_argument("--margins", nargs="*", type=int, default=[64], help="and blended ones")
    parser.add_argument("--roi", type=int, default=512, help="side of MONAI's windows")
    parser.add_argument("--modes", nargs="*", default=["gaussian", "constant"])
    parser.add_argument("--batch-sizes", nargs="*", type=int, default=[1, 4])
    parser.add_argument("--peers-python", help="of an environment with MONAI")
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--draw", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        paths = {name: Path(options.work[name]) for name in ("folder", "picture")}
        labels = options.work["labels"]
        work(**{**options.work, **paths, "labels": labels and Path(labels)})
    elif options.draw is not None:
        np.save(options.draw[1], draw_picture(int(options.draw[0])))
    else:
        with tempfile.TemporaryDirectory(prefix="unetkit-tiled-") as folder:
            measure(options, Path(folder))


if __name__ == "__main__":
    main()
