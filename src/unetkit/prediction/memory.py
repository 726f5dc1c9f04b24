"""How much memory a network takes for a tile, and what tiles fit into the memory allowed.

What a network takes follows from its layers, but also from how the runtime reuses and rounds its
blocks. So it is measured: a process of its own shows the network tiles of two shapes and reports
its peak. That takes some seconds, once a model: the figures are remembered in the user's cache.
"""

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import platformdirs

from unetkit._shared.files import write_text
from unetkit.errors import ConfigError, ModelFileError, SizeError
from unetkit.models.onnx_runtime import onnxruntime
from unetkit.prediction.engine import Engine

DEFAULT = 3 << 29  # bytes, 1.5 GiB: less than half of the smallest computers that are sold
# What else stands in memory while a large picture is read, written and decoded by windows.
RESERVE = 128 << 20
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
MIB = 1 << 20
PROBE_PIXELS = 1 << 20
PROBE_SHAPES = (1, 4)  # square, and four times as wide as high
TIMEOUT_SECONDS = 600

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MemoryUse:
    """What a process that predicts with a model takes.

    Args:
        base: Bytes before the first tile: program, libraries, weights.
        per_pixel: Bytes for each pixel that the network is shown at once.
    """

    base: int
    per_pixel: float

    def needed(self, pixels: int) -> int:
        """Bytes in all for tiles of so many pixels."""
        return RESERVE + self.base + round(self.per_pixel * pixels)

    def most_pixels(self, memory: int) -> int:
        """Pixels that may be shown at once within so many bytes; 0 or less where none."""
        return int((memory - RESERVE - self.base) // self.per_pixel)


def parse_memory(text: str) -> int:
    """Bytes from an amount as people write it.

    Raises:
        ConfigError: It is none.

    >>> parse_memory("2GiB"), parse_memory("1.5 GB"), parse_memory("800M")
    (2147483648, 1500000000, 800000000)
    """
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?i?)B?\s*", text, re.IGNORECASE)
    unit = match.group(2).capitalize() if match else ""
    if match is None or unit not in UNITS | BINARY_UNITS:
        raise ConfigError(
            f"memory is {text!r}; accepted is an amount such as 2GiB, 800MB or 1500000000; correct "
            "it"
        )
    return round(float(match.group(1)) * (UNITS | BINARY_UNITS)[unit])


def require_room(memory_use: MemoryUse, memory: int, smallest: tuple[int, int], model: Path) -> int:
    """The most pixels that may be shown to a network at once.

    Args:
        smallest: (height, width) of the smallest tile.

    Raises:
        SizeError: Not even that fits; the least memory that suffices is named.
    """
    height, width = smallest
    most = memory_use.most_pixels(memory)
    if most < height * width:
        least = -(-memory_use.needed(height * width) // MIB)
        raise SizeError(
            f"memory is {memory / MIB:,.0f} MiB; accepted are amounts from {least:,} MiB up, which "
            f"one tile of {height}x{width} of {model} takes; allow at least {least}MiB"
        )
    return most


def measure(engine: Engine) -> MemoryUse:
    """What an engine's model takes, measured once and remembered.

    Raises:
        ModelFileError: The process that measures fails.
    """
    remembered = _memory_file(engine)
    try:
        found = json.loads(remembered.read_text(encoding="utf-8"))
        memory_use = MemoryUse(int(found["base"]), float(found["per_pixel"]))
        if memory_use.base > 0 and 0 < memory_use.per_pixel < np.inf:
            return memory_use
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        pass  # nothing is remembered, or nothing that can be used
    logger.info("measuring the memory that %s takes, once", engine.path)
    memory_use = _ask_another_process(engine.path)
    try:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        write_text(remembered, json.dumps(asdict(memory_use)))
    except OSError as error:
        logger.warning("cannot remember the memory that a model takes: %s", error)
    return memory_use


def _memory_file(engine: Engine) -> Path:
    cache = Path(platformdirs.user_cache_dir("unetkit"), "memory")
    return cache / f"{engine.digest[:32]}-{onnxruntime.__version__}.json"


def _ask_another_process(model: Path) -> MemoryUse:
    """Runs `_report` where nothing else has been in memory before."""
    code = "import sys; from unetkit.prediction.memory import _report; _report(sys.argv[1])"
    reason = ""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, str(model)],  # -P: no module of the current folder
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        reason = done.stderr.decode("utf-8", "replace").strip()
        base, per_pixel = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError, OSError, subprocess.SubprocessError) as error:
        reason = (reason or str(error)).splitlines()[-1][:200]
        raise ModelFileError(
            f"the memory that {model} takes cannot be measured ({reason}); accepted is a model "
            "that runs on a million pixels; free memory, or name tile_pixels in place of memory"
        ) from error
    return MemoryUse(base, per_pixel)


def _report(model: str) -> None:
    """Shows a network tiles of some shapes, and writes what the process took to its output."""
    engine = Engine(model)
    spec = engine.spec
    base = _peak_bytes()
    per_pixel = 0.0
    for ratio in PROBE_SHAPES:
        height = spec.geometry.input_size(round((PROBE_PIXELS / ratio) ** 0.5))
        width = spec.geometry.input_size(ratio * height)
        if not spec.scale.is_native:  # its file takes one size only
            height, width = (
                spec.geometry.input_size(side) for side in (spec.scale.height, spec.scale.width)
            )
        tile = np.zeros((height, width, spec.pixels.channels), spec.pixels.dtype)
        for _ in range(2):
            engine(tile)
        per_pixel = max(per_pixel, (_peak_bytes() - base) / (height * width))
    # Beside the network: the tiles before and after it, and what becomes of its logits.
    waiting = 2 * spec.pixels.channels * np.dtype(spec.pixels.dtype).itemsize
    per_pixel += waiting + 4 * 4 * len(spec.classes)
    sys.stdout.write(json.dumps([base, per_pixel]) + "\n")


def _peak_bytes() -> int:
    """The most memory that this process has had so far.

    Where Linux says it of the process itself, that is asked: the usual figure is inherited from
    whoever started it.
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
