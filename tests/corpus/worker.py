"""A process that makes inputs and puts them before the product, one after another.

    python -m tests.corpus.worker SEED RUN DATA

reads lines "FAMILY INDEX" and answers each with JSON lines: what was made, before it is tried; what
the product did, with time and memory; and, after a comparison with other readers, the outcome. A
process that stops in between has been stopped by the input that it has named.
"""

import contextlib
import functools
import json
import os
import re
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.corpus import folders, images
from tests.corpus.flips import is_same, read, read_by
from tests.corpus.folders import Given, Trial
from tests.corpus.formats import Format
from unetkit._shared.memory_budget import BUDGET
from unetkit.errors import UnetkitError

MIB = 1 << 20
MEMORY = 1024 * MIB  # that everything in one input may take; the product is told so
ADDRESSES = 40 << 30  # bytes that the process may reserve; TensorFlow alone reserves 15
FAMILIES: dict[str, Callable[..., Trial | tuple[str, Format]]] = {
    "whole files": images.a_file,
    "cut files": lambda rng: _changed(rng, images.cut),
    "damaged files": lambda rng: _changed(rng, images.damage),
    "bombs": lambda rng: ("bomb", images.a_bomb(rng)),
    "odd names": folders.odd_names,
    "foreign models": folders.a_model,
    "run folders": folders.a_run,
    "side files": folders.a_side_file,
    "annotations": folders.an_annotation,
    "archives": folders.an_archive,
}
TRAINED = ("check", "train", "evaluate", "export", "verify")  # commands that import TensorFlow
OF_IMAGES = ("whole files", "cut files", "damaged files", "bombs")
# Control characters, and those that change the order of reading or break lines.
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)

# An error, a warning of one image among others, and what `check` and `verify` find.
SAID = re.compile(r"^(unetkit: error: |Error: |warning )|\b(error|damaged)\b", re.MULTILINE)


def _changed(rng: images.Rng, change: Callable[..., tuple[str, bytes]]) -> tuple[str, Format]:
    kind, format = images.a_file(rng)
    what, content = change(rng, format.content)
    return f"{kind}: {what}", Format(format.name, content, format.readers)


def try_image(what: str, format: Format, folder: Path) -> None:
    """Reads an image, and compares it with what other readers make of it."""
    path = folder / format.name
    path.write_bytes(format.content)
    with measured(what) as found:
        ours = read(path)
        if isinstance(ours, UnetkitError):
            found["outcome"] = "refused" if has_words(str(ours), path) else "without words"
            found["words"] = str(ours)
    if found.get("outcome") == "accepted":
        theirs = [read_by(reader, path) for reader in format.readers.values()]
        if format.readers and not any(
            isinstance(other, np.ndarray) and is_same(ours, other) for other in theirs
        ):
            shapes = [t.shape if isinstance(t, np.ndarray) else repr(t)[:80] for t in theirs]
            found |= {"outcome": "other pixels", "words": f"{ours.shape}, others {shapes}"}
    say(found)


@functools.cache
def start_tensorflow() -> None:
    """Starts it before anything is measured: it takes seconds, and half a gibibyte."""
    import tensorflow as tf

    import unetkit.evaluation.evaluate
    import unetkit.runs.verification
    import unetkit.training.train  # noqa: F401

    tf.zeros(1).numpy()


def has_words(text: str, path: Path) -> bool:
    """Whether an error names the file, what is accepted, and what to do."""
    return str(path) in text and "; accepted" in text and text.count("; ") >= 2


def try_command(trial: Trial, folder: Path) -> None:
    """Runs a command in this process, as a shell would run it."""
    from unetkit.cli.main import main

    if trial.command and trial.command[0] in TRAINED:
        start_tensorflow()
    with measured(trial.what) as found, captured(folder / "output") as output:
        if trial.call is not None:
            try:
                trial.call()
            except UnetkitError as error:
                is_said = "; accepted" in str(error)
                found["outcome"] = "refused" if is_said else "without words"
                found["words"] = str(error)
        else:
            try:
                main(list(trial.command), prog_name="unetkit")
                status: Any = 0
            except SystemExit as error:
                status = error.code or 0
            said = output()
            found["words"] = f"{trial.command[0]}: {said[-400:].strip()}"
            if status:
                found["outcome"] = "refused" if SAID.search(said) else "without words"
            if CONTROL.search(said):
                found["outcome"] = "without words"
    say(found)


@contextlib.contextmanager
def captured(file: Path) -> Any:
    """Sends both outputs of this process to a file; yields what returns its text."""
    kept = [os.dup(number) for number in (1, 2)]
    target = os.open(file, os.O_WRONLY | os.O_CREAT)
    for number in (1, 2):
        os.dup2(target, number)
    sys.stdout, before = open(1, "w", encoding="utf-8", closefd=False), sys.stdout  # noqa: SIM115
    sys.stderr, error_before = open(2, "w", encoding="utf-8", closefd=False), sys.stderr  # noqa: SIM115

    def output() -> str:
        sys.stdout.flush()
        sys.stderr.flush()
        return file.read_text(encoding="utf-8", errors="replace")

    try:
        yield output
    finally:
        with contextlib.suppress(ValueError, OSError):
            output()
        for number, one in zip((1, 2), kept, strict=True):
            os.dup2(one, number)
            os.close(one)
        os.close(target)
        sys.stdout, sys.stderr = before, error_before


@contextlib.contextmanager
def measured(what: str) -> Any:
    """Yields the record of an input, and adds what went wrong, time and memory."""
    say({"begun": what})
    found: dict[str, Any] = {"outcome": "accepted", "words": ""}
    before, started = resident("VmRSS"), time.perf_counter()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    try:
        yield found
    except BaseException as error:
        import traceback

        place = traceback.extract_tb(error.__traceback__)[-1]
        found |= {"outcome": "traceback"}
        where = f"{place.filename[-40:]}:{place.lineno}"
        found["words"] = f"{type(error).__name__}: {str(error)[:200]} ({where})"
    found["seconds"] = round(time.perf_counter() - started, 2)
    found["mebibytes"] = (resident("VmHWM") - before) // MIB
    if found["mebibytes"] * MIB > MEMORY:
        found["outcome"] = "over the bound"


def resident(key: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(key)) << 10


def say(record: dict[str, Any]) -> None:
    os.write(ANSWERS, f"{json.dumps(record)}\n".encode())


def try_input(seed: int, family: str, index: int, given: Given) -> None:
    """Makes the input of an index, and tries it."""
    rng = np.random.default_rng([seed, zlib.crc32(family.encode()), index])
    with tempfile.TemporaryDirectory(prefix="corpus-") as name:
        folder = Path(name)
        os.chdir(folder)
        try:
            if family in OF_IMAGES:
                what, format = FAMILIES[family](rng)
                try_image(what, format, folder)
            else:
                try_command(FAMILIES[family](rng, folder, given), folder)
        finally:
            os.chdir("/")


ANSWERS = 1


def main() -> None:
    import resource

    global ANSWERS
    ANSWERS = os.dup(1)
    seed, run, data = sys.argv[1:]
    os.environ["UNETKIT_TRACEBACK"] = "1"
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    BUDGET.limit = MEMORY
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # of the other readers; the product has limits of its own
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    for line in sys.stdin:
        family, index = line.rsplit(" ", 1)
        try_input(int(seed), family, int(index), Given(Path(run), Path(data)))


if __name__ == "__main__":
    main()
