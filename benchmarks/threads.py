"""How a network runs on two cores: one tile on both, or one on each; waiting by spinning or sleep.

    python benchmarks/threads.py MODEL [--size 512] [--repeats 5]

MODEL is a run folder or a model file. Each way runs two tiles of SIZE (of a model with a fixed
size, of that), in turn with all others in one process; the first is one thread, to which the
others are related. What scales perfectly takes half of its time and all of its processor time; what
takes more processor time slows other work on the machine.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version

import numpy as np
from subject import machine_line

from unetkit.models.onnx_runtime import onnxruntime
from unetkit.prediction.engine import Engine, find_model
from unetkit.prediction.runtimes import Runtime

RUNS = 2  # of the two tiles, in each turn

Way = Callable[[], None]


def session_way(path: str, batch: np.ndarray, *, spins: bool, is_pinned: bool) -> Way:
    """Both tiles one after the other, each on two threads of ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    cores = sorted(os.sched_getaffinity(0))
    if is_pinned:  # of all threads but the calling one; counted from 1
        options.add_session_config_entry("session.intra_op_thread_affinities", str(cores[1] + 1))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run() -> None:
        if is_pinned:
            os.sched_setaffinity(0, cores[:1])
        for _ in range(2):
            session.run(None, {name: batch})
        if is_pinned:
            os.sched_setaffinity(0, cores)

    return run


def engine_way(engine: Engine, tile: np.ndarray, count: int) -> Way:
    """Both tiles by an engine, `count` at the same time."""
    pool = ThreadPoolExecutor(count)

    def run() -> None:
        if count == 1:
            engine(tile)
            engine(tile)
        else:
            list(pool.map(engine, [tile] * 2))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    path = str(find_model(options.model))
    openvino = Runtime("openvino")
    engines = {
        (runtime, n): Engine(path, n, runtime=runtime)
        for runtime in (Runtime(), openvino)
        for n in (1, 2)
    }
    one = engines[Runtime(), 1]
    size = (options.size,) * 2 if one.spec.scale.is_native else one.load_size
    tile = np.random.default_rng(0).integers(0, 256, (*size, one.spec.pixels.channels))
    batch = tile[None].astype(np.float32)
    of_session = partial(session_way, path, batch)
    ways = {
        "one thread": engine_way(one, tile, 1),
        "two threads, sleeping (unetkit)": engine_way(engines[Runtime(), 2], tile, 1),
        "two threads, spinning": of_session(spins=True, is_pinned=False),
        "two threads, sleeping, pinned": of_session(spins=False, is_pinned=True),
        "two threads, spinning, pinned": of_session(spins=True, is_pinned=True),
        "two tiles side by side, one thread each": engine_way(one, tile, 2),
        "OpenVINO, one thread": engine_way(engines[openvino, 1], tile, 1),
        "OpenVINO, two threads": engine_way(engines[openvino, 2], tile, 1),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for repeat in range(options.repeats + 1):
        for name, run in ways.items():
            started = time.perf_counter(), time.process_time()
            for _ in range(RUNS):
                run()
            if repeat:  # the first one prepares
                found = time.perf_counter() - started[0], time.process_time() - started[1]
                times[name].append((found[0] / RUNS, found[1] / RUNS))
    print(
        f"{machine_line()}, onnxruntime {version('onnxruntime')}, openvino {version('openvino')}; "
        f"two tiles of {size[0]}x{size[1]}, {options.repeats} turns, medians with their range\n"
    )
    print("| way | ms | times as fast as one thread | processor time, of one thread |")
    print("| --- | --- | --- | --- |")
    for name, found in times.items():
        base = times["OpenVINO, one thread" if name.startswith("OpenVINO") else "one thread"]
        wall = [1000 * seconds for seconds, _ in found]
        speed = [a[0] / b[0] for a, b in zip(base, found, strict=True)]
        busy = [b[1] / a[1] for a, b in zip(base, found, strict=True)]
        print(
            f"| {name} | {statistics.median(wall):.1f} | {spread(speed)} | {spread(busy)} |",
            flush=True,
        )


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
