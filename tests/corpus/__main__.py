"""Inputs made by chance, each put before the product in a process with limits of time and memory.

    python -m tests.corpus [--seed 1] [--count 1660] [--run RUN --data DATA] [FAMILY ...]

prints a Markdown table of outcomes by family, and each input that ended in none of the first two:

    accepted       read or used; an image has the pixels of another reader that accepts it
    refused        by an error that names what is wrong, what is accepted, and what to do
    without words  refused by anything else, or with control characters on the terminal
    traceback      a fault of the product
    died           the process ended
    hang           no answer in 20 seconds, twice
    over the bound more than a gibibyte of memory
    other pixels   read, while other readers refuse it or read other pixels

An input is made from the seed, its family and its number, and so can be made again.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.corpus.folders import Given
from tests.corpus.worker import FAMILIES, MEMORY

SECONDS = 20  # of one input
READER_SECONDS = 60  # of the other readers, which is no fault of the product
START_SECONDS = 120  # of a process, on a busy machine
WATCHED_BYTES = 3 * MEMORY  # more than which a process is stopped
OUTCOMES = (
    "accepted", "refused", "without words", "traceback", "died", "hang", "over the bound",
    "other pixels",
)  # fmt: skip
# Inputs of each family in the whole corpus.
COUNTS = {
    "whole files": 260, "cut files": 200, "damaged files": 400, "bombs": 120, "odd names": 60,
    "foreign models": 160, "run folders": 160, "side files": 110, "annotations": 120,
    "archives": 70,
}  # fmt: skip


class Worker:
    """A process that tries inputs one after another; it is started again when one has ended it.

    Args:
        seed: Seed of the inputs.
        given: A finished run and its data.
    """

    def __init__(self, seed: int, given: Given) -> None:
        paths = str(given.run.resolve()), str(given.data.resolve())
        self._words = [sys.executable, "-m", "tests.corpus.worker", str(seed), *paths]
        self._process: subprocess.Popen[bytes] | None = None
        self._pending = b""
        self._cache = tempfile.TemporaryDirectory()  # where verdicts on models are kept

    def try_input(self, family: str, index: int) -> dict[str, Any]:
        """Returns the record of an input: outcome, words, what was made, seconds, mebibytes."""
        found = self._try(family, index)
        if found["outcome"] == "hang":  # another program may have had the machine
            found = self._try(family, index)
        return found | {"family": family, "index": index}

    def _try(self, family: str, index: int) -> dict[str, Any]:
        process = self._running()
        process.stdin.write(f"{family} {index}\n".encode())
        process.stdin.flush()
        begun = self._answer(START_SECONDS)
        if "begun" not in begun:
            return {"what": "?", **begun}
        return {"what": begun["begun"], **self._answer(SECONDS)}

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._pending = b""
            self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "XDG_CACHE_HOME": self._cache.name},
                start_new_session=True,
            )
        return self._process

    def _answer(self, seconds: float) -> dict[str, Any]:
        """The next record; or what became of the process, which is then stopped."""
        process, until = self._process, time.monotonic() + seconds
        while b"\n" not in self._pending:
            ready, _, _ = select.select([process.stdout], [], [], 0.05)
            if ready:
                content = os.read(process.stdout.fileno(), 1 << 16)
                if not content:
                    return self._stopped("died", f"exit status {process.wait()}")
                self._pending += content
            elif resident_bytes(process.pid) > WATCHED_BYTES:
                return self._stopped("over the bound", f"more than {WATCHED_BYTES >> 20} MiB")
            elif time.monotonic() > until:
                return self._stopped("hang", f"no answer in {seconds:.0f} s")
        line, self._pending = self._pending.split(b"\n", 1)
        record: dict[str, Any] = json.loads(line)
        return record

    def _stopped(self, outcome: str, words: str) -> dict[str, Any]:
        self.stop()
        return {"outcome": outcome, "words": words, "seconds": 0.0, "mebibytes": 0}

    def close(self) -> None:
        """Ends the process, and removes its files."""
        self.stop()
        self._cache.cleanup()

    def stop(self) -> None:
        """Ends the process, and those that it has started."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None


def resident_bytes(pid: int) -> int:
    """Memory of a process; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * 4096
    except (OSError, IndexError, ValueError):
        return 0


def counts_for(total: int) -> dict[str, int]:
    """Numbers of inputs of each family, in the proportions of the whole corpus; at least one."""
    whole = sum(COUNTS.values())
    return {family: max(1, round(total * count / whole)) for family, count in COUNTS.items()}


def try_all(
    seed: int, counts: dict[str, int], given: Given, first: int = 0
) -> list[dict[str, Any]]:
    """Tries the inputs of each family from the number `first` on; returns their records."""
    worker = Worker(seed, given)
    try:
        return [
            worker.try_input(family, index)
            for family, count in counts.items()
            for index in range(first, first + count)
        ]
    finally:
        worker.close()


def table(records: list[dict[str, Any]]) -> str:
    """Outcomes by family, as a Markdown table; slowest and largest input of each."""
    lines = [f"| family | inputs | {' | '.join(OUTCOMES)} | most seconds | most MiB |"]
    lines.append("| --- |" + " --- |" * (len(OUTCOMES) + 3))
    for family in FAMILIES:
        rows = [record for record in records if record["family"] == family]
        if not rows:
            continue
        found = Counter(record["outcome"] for record in rows)
        cells = [str(found[outcome]) for outcome in OUTCOMES]
        most = [max(record[key] for record in rows) for key in ("seconds", "mebibytes")]
        lines.append(f"| {family} | {len(rows)} | {' | '.join(cells)} | {most[0]} | {most[1]} |")
    return "\n".join(lines)


def make_run(folder: Path) -> tuple[Path, Path]:
    """Trains a small network; returns its run folder and its data."""
    from tests.conftest import SMALL_CONFIG
    from unetkit import train
    from unetkit.datasets.synthetic_pets import write_synthetic_pets

    data = write_synthetic_pets(folder / "pets", count=12, height=48, width=64)
    return train(data, out=folder / "run", config=SMALL_CONFIG), data


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=sum(COUNTS.values()))
    parser.add_argument("--first", type=int, default=0, help="number of the first of each family")
    parser.add_argument("--list", action="store_true", help="print every input")
    parser.add_argument("--run", type=Path, help="a finished run; default: one is trained")
    parser.add_argument("--data", type=Path, help="its data")
    options = parser.parse_args()
    counts = counts_for(options.count)
    if options.families:
        counts = {family: counts[family] for family in options.families}
    with tempfile.TemporaryDirectory() as name:
        given = Given(options.run, options.data)
        if options.run is None:
            given = Given(*make_run(Path(name)))
        records = try_all(options.seed, counts, given, options.first)
    sys.stdout.write(f"{table(records)}\n")
    for record in records:
        if options.list or record["outcome"] not in ("accepted", "refused"):
            named = f"{record['family']} {record['index']}: {record['outcome']}"
            sys.stdout.write(f"{named} ({record['what']}) {record['words']}\n"[:1200])


if __name__ == "__main__":
    main()
