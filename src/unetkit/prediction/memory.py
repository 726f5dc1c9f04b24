"""Memory that a network needs for a tile, and the largest tile that fits into a memory limit.

The memory depends on the layers of the network and on how ONNX Runtime reuses and rounds its
blocks. So it is measured: a separate process predicts tiles of two shapes and reports its peak.
That takes some seconds, once per model: the result is kept in the user's cache folder.

How an image is cut into tiles of the allowed size is left to `tiling`.
"""

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from unetkit._shared.files import read_text, write_text
from unetkit._shared.memory_budget import MIB, limit_addresses
from unetkit.errors import ConfigError, ModelFileError, SizeError
from unetkit.prediction.engine import Engine
from unetkit.prediction.runtimes import Runtime

RESERVE = 128 << 20  # bytes, for reading and writing a large image by windows
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
PROBE_PIXELS = 1 << 20
PROBE_SHAPES = (1, 4)  # square, and four times as wide as high
PROBE_OPERATIONS = 2 * 10**11  # some seconds of two slow cores
TIMEOUT_SECONDS = 300
REFUSED = "refused"  # key of a record in the cache
LIBRARIES = 3 << 30  # bytes of addresses, most never used, that libraries and threads reserve

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MemoryUse:
    """Memory of a process that predicts with a model.

    Args:
        base: Bytes used before the first tile, by the program, its libraries and the weights.
        per_pixel: Bytes used for each pixel of a tile.
    """

    base: int
    per_pixel: float

    def needed(self, pixels: int) -> int:
        """Returns the bytes that tiles of `pixels` pixels need in all."""
        return RESERVE + self.base + round(self.per_pixel * pixels)

    def most_pixels(self, memory: int) -> int:
        """Returns the pixels of the largest tile for `memory` bytes; 0 or less if none fits."""
        return int((memory - RESERVE - self.base) // self.per_pixel)


def parse_memory(text: str) -> int:
    """Returns the bytes of an amount of memory such as "2GiB".

    Args:
        text: Number with an optional unit: K, M, G or T (powers of 1000), Ki, Mi, Gi or Ti (powers
            of 1024), each with or without B; upper and lower case mean the same.

    Raises:
        ConfigError: `text` is not an amount of memory.

    >>> parse_memory("2GiB"), parse_memory("1.5 GB"), parse_memory("800M")
    (2147483648, 1500000000, 800000000)
    """
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?i?)B?\s*", text, re.IGNORECASE)
    unit = match.group(2).capitalize() if match else ""
    if match is None or unit not in UNITS | BINARY_UNITS:
        raise ConfigError(
            f"memory is {text!r}; accepted is an amount such as 2GiB, 800MB or 1500000000"
        )
    return round(float(match.group(1)) * (UNITS | BINARY_UNITS)[unit])


def largest_tile(memory_use: MemoryUse, memory: int, smallest: tuple[int, int], model: Path) -> int:
    """Returns the number of pixels of the largest tile that fits into a memory limit.

    Args:
        memory_use: Memory that the network needs.
        memory: Memory limit in bytes.
        smallest: (height, width) of the smallest tile that the network can predict.
        model: Path of the model, for the error.

    Raises:
        SizeError: Not even the smallest tile fits; the message names the memory that it needs.
    """
    height, width = smallest
    most = memory_use.most_pixels(memory)
    if most < height * width:
        least = -(-memory_use.needed(height * width) // MIB)
        raise SizeError(
            f"memory is {memory / MIB:,.0f} MiB; accepted are amounts from {least:,} MiB up, the "
            f"need of one {height}x{width} tile of {model}; allow at least {least}MiB"
        )
    return most


def measure(engine: Engine, memory: int) -> MemoryUse:
    """Returns the memory that a model needs, measured once and then read from the cache.

    Args:
        engine: The loaded model.
        memory: Memory limit in bytes, which the measurement keeps to.

    Raises:
        ModelFileError: The process that measures fails, needs far more than was computed, or
            refuses the model, as it did before.
    """
    cached = _memory_file(engine)
    found = _kept(cached, engine, memory)
    if found is None:
        logger.info("measuring the memory that %s needs (once per model)", engine.path)
        found = _measure_in_process(engine, memory)
        record = asdict(found) if isinstance(found, MemoryUse) else _refusal(found, engine, memory)
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            write_text(cached, json.dumps(record))
        except OSError as error:
            logger.warning("cannot cache the memory that a model needs: %s", error)
    if isinstance(found, str):
        raise ModelFileError(found)
    return found


def _kept(cached: Path, engine: Engine, memory: int) -> MemoryUse | str | None:
    """What was measured before; None without a sound record, or if less memory was allowed then."""
    try:
        record = json.loads(read_text(cached))
        if REFUSED in record:
            is_enough = int(record["memory"]) >= memory
            return str(engine.path).join(record[REFUSED]) if is_enough else None
        memory_use = MemoryUse(int(record["base"]), float(record["per_pixel"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    is_sound = memory_use.base > 0 and 0 < memory_use.per_pixel < np.inf
    return memory_use if is_sound else None


def _refusal(words: str, engine: Engine, memory: int) -> dict[str, Any]:
    """A record of why a model is refused, without its name, which may be another one later."""
    return {REFUSED: words.split(str(engine.path)), "memory": memory}


def _memory_file(engine: Engine) -> Path:
    cache = Path(platformdirs.user_cache_dir("unetkit"), "memory")
    runtime = engine.runtime
    other = "" if runtime == Runtime() else f"{runtime.engine}-{runtime.device}-"
    return cache / f"{engine.digest[:32]}-{other}{runtime.version}.json"


def probe_sizes(engine: Engine, memory: int) -> list[tuple[int, int]]:
    """Returns the (height, width) of the tiles that are measured: as large as limits allow.

    Args:
        engine: The loaded model.
        memory: Memory limit in bytes.
    """
    if not engine.spec.scale.is_native:  # the file takes tiles of one size only
        return [engine.load_size]
    return [_probe_size(engine, ratio, memory - RESERVE) for ratio in PROBE_SHAPES]


def _probe_size(engine: Engine, ratio: int, memory: int) -> tuple[int, int]:
    geometry, pixels = engine.spec.geometry, PROBE_PIXELS
    while True:
        height = geometry.input_size(round((pixels / ratio) ** 0.5))
        size = height, geometry.input_size(ratio * height)
        cost = engine.cost(size)
        if cost.bytes <= memory and cost.operations <= PROBE_OPERATIONS:
            return size
        if pixels <= ratio:  # the smallest tile of this shape, or of any
            return size if cost.bytes <= memory else engine.load_size
        pixels //= 2


def _measure_in_process(engine: Engine, memory: int) -> MemoryUse | str:
    """Runs `_print_needs` in a new process, whose peak memory is that of the model alone.

    Returns what it measured, or why it refuses the model.

    Where the system can limit the addresses of a process, that process has twice what was computed
    for its tiles, and `LIBRARIES`.
    """
    code = "import sys; from unetkit.prediction import memory; memory._print_needs(*sys.argv[1:])"
    sizes = probe_sizes(engine, memory)
    limit = LIBRARIES + 2 * max(engine.cost(size).bytes for size in sizes)
    words = str(limit), engine.runtime.engine, engine.runtime.device
    reason = ""
    try:
        done = subprocess.run(
            # -P: import nothing from the current folder
            [
                sys.executable,
                "-P",
                "-c",
                code,
                str(engine.path),
                json.dumps(sizes),
                *words,
            ],
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        reason = done.stderr.decode("utf-8", "replace").strip()
        base, per_pixel, refusal = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError, OSError, subprocess.SubprocessError) as error:
        reason = (reason or str(error)).splitlines()[-1][:200]
        raise ModelFileError(
            f"the memory that {engine.path} needs cannot be measured ({reason}); accepted is a "
            f"model that can predict a tile of {sizes[0][0]}x{sizes[0][1]} pixels; close other "
            "programs, or predict on a machine with more memory"
        ) from error
    return str(refusal) or MemoryUse(base, per_pixel)


def _print_needs(model: str, sizes: str, limit: str, engine: str, device: str) -> None:
    """Predicts tiles of some sizes; prints bytes before the first, bytes per pixel, and why the
    file is refused, if it is.
    """
    limit_addresses(int(limit))
    try:
        found = [
            *_needs(Engine(model, None, int(limit), Runtime(engine, device)), json.loads(sizes)),
            "",
        ]
    except ModelFileError as error:
        found = [0, 0, str(error)]
    sys.stdout.write(json.dumps(found))


def _needs(engine: Engine, sizes: list[list[int]]) -> list[float]:
    """Bytes of this process before the first tile, and bytes per pixel of a tile."""
    spec = engine.spec
    base = _peak_bytes()
    per_pixel = 0.0
    for height, width in sizes:
        tile = np.zeros((height, width, spec.pixels.channels), spec.pixels.dtype)
        for _ in range(2):
            engine(tile)
        per_pixel = max(per_pixel, (_peak_bytes() - base) / (height * width))
    # In addition: two tiles that wait for the network, and four arrays of float32 logits.
    waiting = 2 * spec.pixels.channels * np.dtype(spec.pixels.dtype).itemsize
    per_pixel += waiting + 4 * 4 * spec.channels
    return [base, per_pixel]


def _peak_bytes() -> int:
    """Returns the peak memory of this process so far.

    On Linux it is read from /proc: what `getrusage` returns includes the process that started it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(re.search(r"VmHWM:\s*(\d+) kB", status).group(1)) << 10  # type: ignore[union-attr]
    except (OSError, AttributeError):
        pass
    if os.name == "nt":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
