"""What records of results cost: of the first run over many photos, and of the same command again.

    python benchmarks/records.py PHOTOS [--model MODEL] [--count 300] [--repeats 5]

PHOTOS is a folder of images, which are copied repeatedly as JPEGs of 500x375; MODEL is a run folder
or a model file, by default the built-in network. All times are processor seconds, on one thread.
Hashing photos and results, writing and finding records are timed within the first run, whose other
time is that of a run without records. The second run finds all results finished.
"""

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from photos import copy_photos, spread
from subject import machine_line

from unetkit import Predictor
from unetkit.prediction.sources import InputFile
from unetkit.results.files import predict_files
from unetkit.results.finished import Finder
from unetkit.results.records import Records

PARTS = ((InputFile, "version"), (Records, "__init__"), (Records, "add"), (Finder, "state_of"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos")
    parser.add_argument("--model")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"{machine_line()}, {options.repeats} repeats\n")
    predictor = Predictor(options.model, threads=1)
    firsts, shares, seconds, ratios = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        photos = copy_photos(Path(options.photos), Path(folder, "photos"), options.count)
        predict_files(predictor, photos[:10], Path(folder, "warm-up"))
        for repeat in range(options.repeats):
            out = Path(folder, f"out-{repeat}")
            first, records = measure_first(predictor, photos, out)
            started = time.process_time()
            predict_files(predictor, photos, out)
            second = time.process_time() - started
            firsts.append(first)
            shares.append(100 * records / (first - records))
            seconds.append(second)
            ratios.append(100 * second / first)
    header = "first run, s | records, % of all else | again, s | again, % of first"
    print(f"| {options.count} photos | {header} |")
    print("| --- | --- | --- | --- | --- |")
    row = " | ".join(map(spread, (firsts, shares, seconds, ratios)))
    print(f"| median (range) | {row} |")


def measure_first(predictor: Predictor, photos: list[Path], out: Path) -> tuple[float, float]:
    """Processor seconds of a first run, and those of its records."""
    spent = 0.0

    def timed(function):
        def measured(*arguments):
            nonlocal spent
            started = time.thread_time()
            try:
                return function(*arguments)
            finally:
                spent += time.thread_time() - started

        return measured

    with ExitStack() as patches:
        for owner, name in PARTS:
            patches.enter_context(patch.object(owner, name, timed(getattr(owner, name))))
        started = time.process_time()
        predict_files(predictor, photos, out)
        return time.process_time() - started, spent


if __name__ == "__main__":
    main()
