"""What workers of Dask cost on one machine: many photos, and one large image.

    unshare --net python benchmarks/cluster.py PHOTOS [--count 200] [--size 8704]
        [--repeats 3] [--only photos image tasks]

PHOTOS is a folder of images, which are copied repeatedly as JPEGs of 500x375 and predicted by the
built-in network. The large image is a tiled TIFF, predicted by the network of the preset `fast`
with random weights, into OME-Zarr. Commands run in turn, each on as many cores as the row says
(`taskset`): `predict` alone, workers of one thread each, and shards of one thread, by GNU parallel.
A row has the processor seconds and the seconds of the whole command with its start,
medians and ranges; `predict` on the same cores as a fraction of these processor seconds; and the
bytes that it sent over the loopback device, which are its own if it has the network to itself
(`unshare --net`, as root). Then tasks that do nothing show what one costs.
"""

import argparse
import fcntl
import hashlib
import os
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import tifffile
from photos import copy_photos, spread
from subject import draw_image, machine_line, prepare

from unetkit.cluster.connection import local_workers
from unetkit.cluster.tasks import Task, Workers

PARTS = ("photos", "image", "tasks")
EMPTY_TASKS = 2000
SHARDS = 8
PREPARED_SIZE = 512  # at which the network is exported and checked
SET_FLAGS, IS_UP = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP of Linux
PREDICT = [sys.executable, "-m", "unetkit", "predict"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, default=8704)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    options = parser.parse_args()
    raise_loopback()
    print(f"{machine_line()}, {options.repeats} repeats\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "photos" in options.only:
            copy_photos(Path(options.photos), folder / "photos", options.count)
            words = [*PREDICT, folder / "photos"]
            shards = ["parallel", "--jobs", "2", *words, "--threads", "1"]
            shards += ["--shard", f"{{}}/{SHARDS}", "--out", "OUT", ":::"]
            shards += map(str, range(1, SHARDS + 1))
            commands = commands_of(words)
            commands[f"{SHARDS} shards, two at a time, two cores"] = "0,1", shards
            measure_commands(f"{options.count} photos", commands, folder, options.repeats)
        if "image" in options.only:
            prepare("fast", PREPARED_SIZE, folder / "network")
            image = draw_image(options.size)
            tifffile.imwrite(folder / "large.tif", image, tile=(512, 512), compression="zlib")
            del image
            model = folder / "network" / "network.onnx"
            words = [*PREDICT, folder / "large.tif", "--model", model, "--format", "zarr"]
            side = options.size
            measure_commands(
                f"one image of {side}x{side}", commands_of(words), folder, options.repeats
            )
    if "tasks" in options.only:
        measure_empty_tasks()


def commands_of(words: list) -> dict[str, tuple[str, list]]:
    """The cores of each way to predict, and its command."""
    return {
        "`predict`, one core": ("0", words),
        "1 worker, one core": ("0", [*words, "--workers", "1"]),
        "`predict`, two cores": ("0,1", words),
        "2 workers, two cores": ("0,1", [*words, "--workers", "2"]),
        "4 workers, two cores": ("0,1", [*words, "--workers", "4"]),
    }


def raise_loopback() -> None:
    """Starts the loopback device, which is off in a new network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, suppress(OSError):
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh", b"lo", IS_UP))


def sent_bytes() -> int:
    """Bytes sent over the loopback device so far."""
    (line,) = [one for one in Path("/proc/net/dev").read_text().splitlines() if "lo:" in one]
    return int(line.partition(":")[2].split()[8])


def measure_commands(
    what: str, commands: dict[str, tuple[str, list]], folder: Path, repeats: int
) -> None:
    """Prints a row for each command, and requires that all write the same bytes."""
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in commands}
    digests = set()
    for repeat in range(repeats):
        for number, (name, (cores, words)) in enumerate(commands.items()):
            out = str(folder / f"out-{repeat}-{number}-{len(words)}")
            words = [out if word == "OUT" else word for word in words]
            words = [*words, "--out", out] if out not in words else words
            before, sent, started = used_seconds(), sent_bytes(), time.perf_counter()
            subprocess.run(["taskset", "-c", cores, *words], check=True, capture_output=True)
            seconds = time.perf_counter() - started
            found[name].append((used_seconds() - before, seconds, sent_bytes() - sent))
            print(f"{what}: {name}: {found[name][-1]}", file=sys.stderr)
            digests.add(digest_of(Path(out)))
            shutil.rmtree(out)
    if len(digests) > 1:
        raise RuntimeError(f"{what}: the commands wrote different results")
    print(f"| {what} | processor, s | seconds | `predict` / this, processor | sent, MB |")
    print("| --- | --- | --- | --- | --- |")
    for name, rows in found.items():
        alone = found["`predict`, one core" if "one core" in name else "`predict`, two cores"]
        busy, seconds, sent = zip(*rows, strict=True)
        shares = [one[0] / other for one, other in zip(alone, busy, strict=True)]
        moved = f"{statistics.median(sent) / 1e6:.2f}"
        print(f"| {name} | {spread(busy)} | {spread(seconds)} | {spread(shares)} | {moved} |")
    print(flush=True)


def digest_of(folder: Path) -> str:
    """Digest of the names and contents of all results in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def used_seconds() -> float:
    """Processor seconds of all commands that have ended, with the processes that they started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_empty_tasks() -> None:
    """Prints what a task costs that does nothing, on two workers."""

    def nothing(show_life: Callable[[], object]) -> None:
        pass

    with local_workers(2) as client:
        workers = Workers(client)
        tasks = iter([Task(nothing, (), "nothing")] * EMPTY_TASKS)
        before, sent, started = os.times(), sent_bytes(), time.perf_counter()
        for _ in workers.hand_out(lambda: next(tasks, None)):
            pass
        seconds = (time.perf_counter() - started) / EMPTY_TASKS
        after, sent = os.times(), (sent_bytes() - sent) / EMPTY_TASKS
    busy = (after.user + after.system - before.user - before.system) / EMPTY_TASKS
    print(
        f"an empty task: {1000 * seconds:.1f} ms, {1000 * busy:.1f} ms of processor time in the "
        f"command and its scheduler, {sent / 1000:.1f} kB sent"
    )


if __name__ == "__main__":
    main()
