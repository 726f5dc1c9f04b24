"""How the time and memory of `check` and `evaluate` grow with the number of pairs.

    python benchmarks/growth.py MODEL [--counts 1000 5000] [--side 128] [--repeats 5]

MODEL is a run folder or model file of the three classes of the synthetic pets, which are drawn for
the largest number of pairs; smaller sets are their first pairs. Each command is a process of its
own, for one set after the other, and is counted from its start to its end. Growth is the processor
time of the largest set divided by that of the smallest, without what a command takes for its start
(two pairs); that of a linear command is the ratio of the numbers of pairs.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from photos import spread
from subject import machine_line, quiet_environment

from unetkit.datasets.synthetic_pets import write_synthetic_pets

CLASSES = ("pet", "background", "border")  # of the mask values 1, 2, 3
START = 2  # pairs of the set that shows what the start of a command takes
DRAWN = 200  # scenes; further pairs are crops of them, each with other pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"{machine_line()}, {options.repeats} repeats\n")
    with tempfile.TemporaryDirectory() as folder:
        sets = draw_sets(Path(folder), [START, *options.counts], options.side)
        commands = {
            "check": lambda data, out: ["check", data],
            "evaluate": lambda data, out: [
                *("evaluate", options.model, "--data", data, "--out", out),
                *("--part", "all", "--classes", ",".join(CLASSES)),
            ],
        }
        print(
            "| command | pairs | s, median (range) | processor s, median (range) | peak MiB | "
            "growth of processor time, of the pairs |\n| --- | --- | --- | --- | --- | --- |"
        )
        for name, words in commands.items():
            found: dict[int, list[tuple[float, float, float]]] = {count: [] for count in sets}
            for repeat in range(options.repeats):
                for count, data in sets.items():
                    out = str(Path(folder, f"{name}-{count}-{repeat}"))
                    found[count].append(measure(words(str(data), out)))
                    print(repeat, name, count, *found[count][-1], file=sys.stderr, flush=True)
            print_rows(name, found, options.counts)


def draw_sets(folder: Path, counts: list[int], side: int) -> dict[int, Path]:
    """Writes sets of pairs; returns their folders by number of pairs."""
    import numpy as np
    from PIL import Image

    drawn = write_synthetic_pets(
        folder / "drawn", count=min(DRAWN, max(counts)), height=2 * side, width=2 * side
    )
    scenes = []
    for image in sorted((Path(drawn) / "images").glob("*.jpg")):
        mask = Path(drawn) / "annotations" / "trimaps" / f"{image.stem}.png"
        scenes.append([np.asarray(Image.open(file)) for file in (image, mask)])
    rng = np.random.default_rng(0)
    sets = {count: folder / f"pairs-{count}" for count in counts}
    for target in sets.values():
        for part in ("images", "masks"):
            (target / part).mkdir(parents=True)
    for number in range(max(counts)):
        top, left = rng.integers(0, side, 2)
        window = np.s_[top : top + side, left : left + side]
        image, mask = (array[window] for array in scenes[number % len(scenes)])
        for count, target in sets.items():
            if number < count:
                Image.fromarray(image).save(target / "images" / f"{number:05d}.jpg", quality=90)
                Image.fromarray(mask).save(target / "masks" / f"{number:05d}.png")
    return sets


def measure(words: list[str]) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak MiB of a command, which may find issues."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "unetkit", *words],
        env=quiet_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    message = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(words)} failed:\n{message[-2000:]}")
    seconds = time.perf_counter() - started
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024  # KiB on Linux


def print_rows(
    name: str, found: dict[int, list[tuple[float, float, float]]], counts: list[int]
) -> None:
    least, most = min(counts), max(counts)
    triples = zip(found[START], found[least], found[most], strict=True)
    growths = [(large[1] - start[1]) / (small[1] - start[1]) for start, small, large in triples]
    for count, results in found.items():
        seconds, busy, peaks = zip(*results, strict=True)
        growth = f"{spread(growths)}, of {most / least:g}" if count == most else ""
        print(
            f"| `{name}` | {count:,} | {spread(seconds)} | {spread(busy)} | "
            f"{statistics.median(peaks):,.0f} | {growth} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
