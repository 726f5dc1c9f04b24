"""Flips single bits in small files, and compares what is read with two readers of each format.

    python -m tests.corpus.flips [--bits 2000] [--seed 1] [FORMAT ...]

prints a Markdown table. Each damaged file is refused or read by us and by both readers:

    refused       by us and by both
    stricter      by us; one reader or both accept it
    equal         read by us with the pixels of a reader that accepts it
    other pixels  those of "equal" that differ from the undamaged file
    wrong         read by us; both readers refuse it, or read other pixels
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from tests.corpus.formats import FORMATS, Format
from unetkit.errors import UnetkitError
from unetkit.io.images import ImageFile

OUTCOMES = ("refused", "stricter", "equal", "other pixels", "wrong")
SCALES = (1, 17, 85, 255)  # from black to white in 8, 4, 2 and 1 bits
EXAMPLES = 5  # of wrong files that are named


def read(path: Path) -> np.ndarray | UnetkitError:
    """The first image of a file as (H, W, C), colors for indices; or why it is refused."""
    try:
        with ImageFile(path) as file:
            image = file.read(0 if file.count > 1 else None)
    except UnetkitError as error:
        return error.with_traceback(None)
    bands = image.bands if image.palette is None else image.palette[image.bands[..., 0]]
    return bands if image.alpha is None else np.concatenate([bands, image.alpha[..., None]], 2)


def read_by(reader, path: Path) -> np.ndarray | Exception:
    """What another reader makes of a file."""
    try:
        return np.asarray(reader(path))
    except Exception as error:
        return error.with_traceback(None)


def is_same(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether pixels are equal, whatever their type; grey may be given in three channels, few bits
    in steps from black to white."""
    ours, theirs = (
        array.astype(np.float64 if array.dtype.kind in "bui" else array.dtype)
        for array in (ours, theirs)
    )
    theirs = theirs if theirs.ndim == 3 else theirs[..., None]
    if ours.ndim != 3 or theirs.ndim != 3 or ours.shape[:2] != theirs.shape[:2]:
        return False
    if {ours.shape[2], theirs.shape[2]} == {1, 3}:
        ours, theirs = np.broadcast_arrays(ours, theirs)
    return ours.shape == theirs.shape and any(
        np.array_equal(ours, theirs * scale, equal_nan=True) for scale in SCALES
    )


def outcome_of(path: Path, format: Format) -> tuple[str, np.ndarray | UnetkitError]:
    """One of "refused", "stricter", "equal" and "wrong", and what was read."""
    ours = read(path)
    theirs = [read_by(reader, path) for reader in format.readers.values()]
    accepted = [found for found in theirs if isinstance(found, np.ndarray)]
    if isinstance(ours, UnetkitError):
        return ("stricter" if accepted else "refused"), ours
    return ("equal" if any(is_same(ours, found) for found in accepted) else "wrong"), ours


def flip(format: Format, bits: int, seed: int) -> tuple[Counter, list[str]]:
    """Flips random bits of a format's file, one in each copy.

    Args:
        format: The format.
        bits: Number of bits.
        seed: Seed of the places.

    Returns:
        Number of copies of each outcome, and some wrong ones in words.
    """
    rng, counts, wrong = np.random.default_rng(seed), Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, format.name)
        path.write_bytes(format.content)
        outcome, whole = outcome_of(path, format)
        if outcome != "equal":
            raise AssertionError(f"{format.name}: the undamaged file is {outcome}: {whole}")
        for place in rng.integers(8 * len(format.content), size=bits):
            damaged = bytearray(format.content)
            damaged[place // 8] ^= 1 << place % 8
            path.write_bytes(damaged)
            outcome, found = outcome_of(path, format)
            counts[outcome] += 1
            if outcome == "equal" and not np.array_equal(found, whole):
                counts["other pixels"] += 1
            if outcome == "wrong" and len(wrong) < EXAMPLES:
                said = [read_by(reader, path) for reader in format.readers.values()]
                words = [s.shape if isinstance(s, np.ndarray) else repr(s)[:80] for s in said]
                wrong.append(f"bit {place % 8} of byte {place // 8}: {found.shape}, {words}")
    return counts, wrong


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help="default: all")
    parser.add_argument("--bits", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    say(f"| format | readers | check value | {' | '.join(OUTCOMES)} |")
    say(f"| --- | --- | --- |{' --- |' * len(OUTCOMES)}")
    for name in options.formats or FORMATS:
        format = FORMATS[name]
        counts, wrong = flip(format, options.bits, options.seed)
        cells = [name, ", ".join(format.readers), "yes" if format.checked else "no"]
        cells += [str(counts[outcome]) for outcome in OUTCOMES]
        say(f"| {' | '.join(cells)} |")
        for words in wrong:
            say(f"  wrong: {words}")


if __name__ == "__main__":
    main()
