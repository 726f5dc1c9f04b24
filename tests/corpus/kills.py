"""Kills commands at random moments, and runs them again.

    python -m tests.corpus.kills [--kills 100] [--seed 1] [COMMAND ...]

A command is killed, one time in five by SIGTERM, otherwise by SIGKILL, at a moment up to a little
more than it takes. Then the same command is run again; if it refuses, what its message names
(`--resume RUN` or `--overwrite`) is done. Prints a Markdown table:

    ended        the kill came after the end
    same         the same command succeeded
    as said      it refused, and what it said succeeded
    stuck        neither did, or with words that name nothing to do
    left behind  files that are no result are in a folder afterwards
    other bytes  results differ from those of a run that nobody killed
"""

import argparse
import hashlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tomli_w

from tests.commands import Process
from tests.conftest import SMALL_CONFIG
from tests.corpus.__main__ import make_run
from tests.corpus.folders import Given
from tests.loopback import Server, deliver, pack
from unetkit._shared.files import PART
from unetkit.results.records import RECORDS

OUTCOMES = ("ended", "same", "as said", "stuck", "left behind", "other bytes")
LEFTOVERS = (PART, ".lock", ".tiles", "cache")
CONFIG = {
    **SMALL_CONFIG,
    "training": {
        **SMALL_CONFIG["training"],
        "steps": 40,
        "steps_per_validation": 10,
        "checkpoint_minutes": 0.001,
    },
}
DOWNLOAD = """
import sys
from unetkit.datasets.download import Archive, Publication
from unetkit.datasets.oxford_pets import download_oxford_pets
from unetkit.errors import UnetkitError
folder, cache, url, *archives = sys.argv[1:]
parts = [archive.split(":") for archive in archives]
publication = Publication(
    archives=tuple(Archive(name, int(size), md5, 1 << 26) for name, size, md5 in parts),
    mirrors=(url,),
)
try:
    download_oxford_pets(folder, cache=cache, publication=publication)
except UnetkitError as error:
    sys.exit(f"unetkit: error: {error}")
"""


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Args:
        words: Words after the interpreter, from the folder for results and a name in it.
        is_result: Whether a file of its results has the same bytes in every run.
    """

    words: Callable[[Path], list[str]]
    is_result: Callable[[Path], bool] = lambda file: True


def commands(run: Path, data: Path, config: Path, server: Server) -> dict[str, Command]:
    """What is killed, by name."""
    archives = [
        f"{name}:{len(content)}:{hashlib.md5(content).hexdigest()}"
        for name, content in server.files.items()
    ]

    def unetkit(*words: object) -> list[str]:
        return ["-m", "unetkit", *map(str, words)]

    return {
        "train": Command(
            lambda out: unetkit("train", data, "--config", config, "--out", out / "run"),
            lambda file: file.name in ("model.onnx", "best.weights.h5", "curves.csv", "split.json"),
        ),
        "predict": Command(
            lambda out: unetkit(
                "predict", data / "images", "--model", run, "--probabilities", "--overlay",
                "--out", out / "results",
            ),
            lambda file: not file.name.startswith(RECORDS),  # they hold times
        ),
        "export": Command(lambda out: unetkit("export", run, "--out", out / "model.onnx")),
        "evaluate": Command(
            lambda out: unetkit("evaluate", run, "--data", data, "--out", out / "results"),
            lambda file: file.suffix in (".csv", ".png"),
        ),
        "check": Command(lambda out: unetkit("check", data, "--pictures", out / "pictures")),
        "download": Command(
            lambda out: [
                "-c", DOWNLOAD, str(out / "pets"), str(out.parent / f"{out.name}-cache"),
                server.url("/a"), *archives,
            ]
        ),
    }  # fmt: skip


def slowly(handler: object, content: bytes) -> None:
    """Delivers an archive in pieces, so that there is time for a kill."""

    class Slow:
        def write(self, data: bytes) -> None:
            for start in range(0, len(data), 20_000):
                stream.write(data[start : start + 20_000])
                stream.flush()
                time.sleep(0.02)

    stream, handler.wfile = handler.wfile, Slow()
    try:
        deliver(etag='"1"')(handler, content)
    except OSError:  # the client was killed
        pass
    finally:
        handler.wfile = stream


def published() -> dict[str, bytes]:
    """Archives like those of Oxford-IIIT Pet, of a megabyte that cannot be compressed."""
    rng = np.random.default_rng(0)
    names = [f"cat_{number}" for number in range(1, 9)]
    lists = [
        (f"annotations/{part}.txt", "".join(f"{name} 1 1 1\n" for name in names).encode())
        for part in ("trainval", "test", "list")
    ]
    return {
        "annotations.tar.gz": pack(
            *lists, *((f"annotations/trimaps/{name}.png", rng.bytes(20_000)) for name in names)
        ),
        "images.tar.gz": pack(*((f"images/{name}.jpg", rng.bytes(100_000)) for name in names)),
    }


def run_to_end(words: list[str]) -> tuple[int, str, float]:
    """Exit status, what was said, and seconds."""
    started = time.perf_counter()
    process = Process(words)
    out, err = process.communicate()
    return process.poll() or 0, out + err, time.perf_counter() - started


def digests(folder: Path, is_result: Callable[[Path], bool]) -> dict[str, str]:
    """SHA-256 of the results in a folder, by path."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and is_result(file)
    }


def leftovers(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.startswith(PART) or path.name.endswith(LEFTOVERS[1:])
    ]


def remedy(words: list[str], said: str, out: Path) -> list[str] | None:
    """The command that a refusal names."""
    if "--resume" in said:
        return ["-m", "unetkit", "train", "--resume", str(out / "run")]
    return [*words, "--overwrite"] if "--overwrite" in said else None


def kill_once(
    command: Command, out: Path, delay: float, number: signal.Signals, expected: dict[str, str]
) -> tuple[str, str]:
    """Kills a command after some seconds, and runs it again; the outcome and what was said."""
    words = command.words(out)
    process = Process(words)
    time.sleep(delay)
    has_ended = process.poll() is not None
    if not has_ended:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # it is no group of its own yet
            os.kill(process.pid, number)
    process.communicate()
    if has_ended:
        return "ended", ""
    outcome = "same"
    status, said, _ = run_to_end(words)
    if status:
        again = remedy(words, said, out)
        if again is None:
            return "stuck", said
        outcome = "as said"
        status, more, _ = run_to_end(again)
        if status:
            return "stuck", said + more
    if left := leftovers(out):
        return "left behind", ", ".join(left)
    found = digests(out, command.is_result)
    if found != expected:
        names = {name for name in {*found, *expected} if found.get(name) != expected.get(name)}
        return "other bytes", ", ".join(sorted(names))
    return outcome, ""


def kill_all(
    kills: int, seed: int, names: list[str], folder: Path, given: Given
) -> tuple[dict[str, Counter], list[str]]:
    """Kills commands at random moments.

    Args:
        kills: Number of kills, of all commands together.
        seed: Seed of the moments.
        names: Names of the commands; all if there are none.
        folder: Folder for all results.
        given: A finished run and its data.

    Returns:
        Number of kills of each outcome, by command; and those that should not be, in words.
    """
    rng, faults = np.random.default_rng(seed), list[str]()
    config = folder / "wanted.toml"
    config.write_text(tomli_w.dumps(CONFIG), encoding="utf-8")
    outcomes: dict[str, Counter] = {}
    with Server(published()) as server:
        server.answers = {("/a", name): [slowly] for name in server.files}
        known = commands(given.run, given.data, config, server)
        for name in names or list(known):
            command, outcomes[name] = known[name], Counter()
            whole = folder / f"{name}-whole"
            whole.mkdir()
            run_to_end(command.words(whole))  # the first of each has more to import
            whole = folder / f"{name}-again"
            whole.mkdir()
            status, said, seconds = run_to_end(command.words(whole))
            if status:
                raise AssertionError(f"{name} ends with {status}: {said}")
            expected = digests(whole, command.is_result)
            for number in range(kills // len(names or known)):
                out = folder / f"{name}-{number}"
                out.mkdir()
                delay = float(rng.uniform(0, 1.05 * seconds))
                how = signal.SIGTERM if rng.integers(5) == 0 else signal.SIGKILL
                outcome, words = kill_once(command, out, delay, how, expected)
                outcomes[name][outcome] += 1
                if outcome not in OUTCOMES[:3]:
                    moment = f"{delay:.2f} of {seconds:.2f} s"
                    faults.append(f"{name} {number} after {moment}: {outcome}: {words}")
    return outcomes, faults


def table(outcomes: dict[str, Counter]) -> str:
    """Outcomes by command, as a Markdown table."""
    lines = [f"| command | kills | {' | '.join(OUTCOMES)} |", "| --- |" + " --- |" * 7]
    for name, found in outcomes.items():
        cells = " | ".join(str(found[outcome]) for outcome in OUTCOMES)
        lines.append(f"| {name} | {found.total()} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help="default: all six")
    parser.add_argument("--kills", type=int, default=102)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = Given(*make_run(folder))
        outcomes, faults = kill_all(options.kills, options.seed, options.commands, folder, given)
    sys.stdout.write("\n".join([table(outcomes), *faults, ""]))


if __name__ == "__main__":
    main()
