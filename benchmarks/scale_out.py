"""What a million, a hundred million and a billion images take, from rates measured on this machine.

    python benchmarks/scale_out.py PHOTOS [--count 200] [--names 1000000] [--workers 1000]

PHOTOS is a folder of images. Two things are measured by the ordinary commands, in processor time:

- `unetkit predict` with the built-in network on `--count` of the photos with one thread, and the
  same command again, which finds all results finished. Their difference is the images, the second
  one is what each command takes before its first image.
- `--list-missing` and a `--shard` of 64 over `--names` names, all finished: a list of hard links to
  a few small images, with results and records, so that neither disk nor prediction is measured.

Everything else is arithmetic on these, with the assumptions at the top of this file. The last line
is the command of the simulation with these rates.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image
from subject import machine_line

from unetkit import Predictor
from unetkit._shared.files import sha256_of
from unetkit.prediction.sources import image_state, stamp
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.records import RECORDS, FileRecord, ResultRecord, origin_of

SHARDS = 64
LINKS = 40_000  # of one file; ext4 has 65,000
FOLDER = 1000  # images of a folder
SIZES = (10**6, 10**8, 10**9)
GROUP = 64  # images with one object of records
# Assumptions, in dollars: list prices of S3 Standard in us-east-1, 2026; others differ.
GET_PRICE, PUT_PRICE, LIST_PRICE = 0.4e-6, 5e-6, 5e-6  # a request
GIGABYTE_MONTH = 0.023
FAILURE_DAYS = 2.0  # mean time between failures of a worker
LISTED = 1000  # objects in the answer to one request
DAY = 86400


@dataclass(frozen=True)
class Rates:
    """What one image takes, as measured.

    Args:
        seconds: Processor time.
        start: Processor time of a command before its first image.
        read: Bytes of the image.
        written: Bytes of its mask.
        recorded: Bytes of its record.
        listed: Bytes of its name in a CSV.
        parquet: Bytes of its name in Parquet; None without pyarrow.
    """

    seconds: float
    start: float
    read: float
    written: float
    recorded: float
    listed: float
    parquet: float | None = None


def run(*words: object, cwd: Path) -> tuple[float, float]:
    """Processor seconds of a command, and its peak memory in MB."""
    command = [sys.executable, "-m", "unetkit", "predict", *map(str, words)]
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, "
        "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=cwd, check=True, capture_output=True, text=True
    )
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def measure_photos(photos: Path, count: int, folder: Path) -> Rates:
    """Predicts photos by the ordinary command."""
    chosen = sorted(path for path in photos.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    chosen = chosen[:: max(1, len(chosen) // count)][:count]
    (folder / "list.txt").write_text("".join(f"{path.resolve()}\n" for path in chosen))
    first, _ = run("list.txt", "--out", "masks", "--threads", 1, cwd=folder)
    again, _ = run("list.txt", "--out", "masks", "--threads", 1, cwd=folder)
    masks = [path for path in (folder / "masks").iterdir() if path.suffix == ".png"]
    records = next((folder / "masks").glob(f"{RECORDS}*")).stat().st_size
    number = len(masks)
    return Rates(
        (first - again) / number,
        again,
        sum(path.stat().st_size for path in chosen) / number,
        sum(path.stat().st_size for path in masks) / number,
        records / number,
        0.0,
    )


def make_names(count: int, folder: Path) -> list[str]:
    """Makes images, results and records of so many names; returns the names."""
    names = [f"photos/{i // FOLDER:06d}/{i:09d}.png" for i in range(count)]
    for top, shape in (("", (8, 8, 3)), ("out/", (8, 8))):
        content = io.BytesIO()
        Image.fromarray(np.zeros(shape, np.uint8)).save(content, "PNG")
        for i, name in enumerate(names):
            file = folder / f"{top}{name}"
            if i % FOLDER == 0:
                file.parent.mkdir(parents=True)
            if i % LINKS == 0:
                base = file
                base.write_bytes(content.getvalue())
            else:
                os.link(base, file)
    (folder / "list.csv").write_text("image\n" + "".join(f"{name}\n" for name in names))
    origin = origin_of(Predictor(threads=1), ResultOptions())
    image, mask = (sha256_of(folder / f"{top}{names[0]}") for top in ("", "out/"))
    with open(folder / "out" / f"{RECORDS}.jsonl", "w") as lines:
        for i, name in enumerate(names):
            if i % LINKS == 0:  # of which all that follow are links
                size, changed = stamp(folder / "out" / name)
                state = image_state(folder / name)
            files = {name: FileRecord(size, changed, mask)}
            record = ResultRecord(f"../{name}", None, state, image, origin, files)
            lines.write(json.dumps(msgspec.to_builtins(record)) + "\n")
    return names


def measure_names(count: int, folder: Path) -> tuple[str, float, float | None]:
    """Rows of what names take, and bytes of a name in a CSV and in Parquet."""
    names = make_names(count, folder)
    words = ("list.csv", "--recursive", "--out", "out")
    rows = [
        f"| {count:,} names, all finished | processor s | microseconds a name | peak memory, MB |",
        "| --- | --- | --- | --- |",
    ]
    for title, options in (
        ("`--list-missing`", ["--list-missing"]),
        (f"`--list-missing --shard 1/{SHARDS}`", ["--list-missing", "--shard", f"1/{SHARDS}"]),
        (f"`--shard 1/{SHARDS}`", ["--shard", f"1/{SHARDS}"]),
    ):
        seconds, memory = run(*words, *options, cwd=folder)
        rows.append(f"| {title} | {seconds:,.0f} | {1e6 * seconds / count:,.1f} | {memory:,.0f} |")
    listed = (folder / "list.csv").stat().st_size / count
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        return "\n".join(rows), listed, None
    parquet.write_table(pyarrow.table({"image": names}), folder / "list.parquet")
    return "\n".join(rows), listed, (folder / "list.parquet").stat().st_size / count


def sizing(rates: Rates, workers: int) -> str:
    """A table of what numbers of images take."""
    from_parquet = rates.parquet or float("nan")
    rows: list[tuple[str, Callable[[int], str]]] = [
        ("core-days", lambda n: f"{n * rates.seconds / DAY:,.1f}"),
        (
            f"hours on {workers:,} cores, nothing going wrong",
            lambda n: f"{n * rates.seconds / workers / 3600:,.2f}",
        ),
        ("read, GB", lambda n: f"{n * rates.read / 1e9:,.0f}"),
        ("written as masks, GB", lambda n: f"{n * rates.written / 1e9:,.1f}"),
        ("records, GB", lambda n: f"{n * rates.recorded / 1e9:,.1f}"),
        ("list of names as CSV, GB", lambda n: f"{n * rates.listed / 1e9:,.3f}"),
        ("list of names as Parquet, GB", lambda n: f"{n * from_parquet / 1e9:,.3f}"),
        (
            f"storage reads at {workers:,} cores, MB/s",
            lambda n: f"{workers / rates.seconds * rates.read / 1e6:,.0f}",
        ),
        ("requests to read (GET)", lambda n: f"{n:,}"),
        ("requests to write (PUT), records included", lambda n: f"{n + n // GROUP:,}"),
        ("requests to list images and results once", lambda n: f"{2 * n // LISTED:,}"),
        (
            "cost of these requests, $",
            lambda n: (
                f"{n * GET_PRICE + (n + n // GROUP) * PUT_PRICE + 2 * n / LISTED * LIST_PRICE:,.0f}"
            ),
        ),
        (
            "masks and records stored for a month, $",
            lambda n: f"{n * (rates.written + rates.recorded) / 1e9 * GIGABYTE_MONTH:,.0f}",
        ),
        (
            f"failures of {workers:,} workers",
            lambda n: f"{n * rates.seconds / DAY / FAILURE_DAYS:,.0f}",
        ),
    ]
    header = " | ".join(f"10^{len(str(n)) - 1} images" for n in SIZES)
    lines = [f"| | {header} |", f"| --- |{' --- |' * len(SIZES)}"]
    lines += [f"| {name} | {' | '.join(cell(n) for n in SIZES)} |" for name, cell in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=1000)
    options = parser.parse_args()
    print(f"{machine_line()}\n")
    with tempfile.TemporaryDirectory() as folder:
        rates = measure_photos(options.photos, options.count, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        names, listed, parquet = measure_names(options.names, Path(folder))
    rates = replace(rates, listed=listed, parquet=parquet)
    speed = f"{rates.seconds:.3f} ({1 / rates.seconds:.1f})"
    sizes = f"{rates.read:,.0f}, {rates.written:,.0f}, {rates.recorded:,.0f}"
    print("| of one image | measured |\n| --- | --- |")
    print(f"| processor time, s (images a second of a core) | {speed} |")
    print(f"| processor time of a command before its first image, s | {rates.start:.1f} |")
    print(f"| read, written, recorded, bytes | {sizes} |")
    print(f"| name as CSV, as Parquet, bytes | {listed:.0f}, {parquet or float('nan'):.1f} |\n")
    print(f"{names}\n\n{sizing(rates, options.workers)}\n")
    print(
        f"python benchmarks/simulated_cluster.py --rate {1 / rates.seconds:.1f} "
        f"--start {rates.start:.1f} --workers {options.workers}"
    )


if __name__ == "__main__":
    main()
