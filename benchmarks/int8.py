"""Time, size and quality of a model file in whole numbers of 8 bits, beside its original.

    python benchmarks/int8.py RUN INT8.onnx [--engines] [--repeats 5]

RUN is a run folder or model file, INT8.onnx what `unetkit export RUN --int8` made of it. Both are
run in turn on the same tile, of the size of the training, on one thread; the time is that of the
processor. With --engines, OpenVINO runs both, too. Which instructions a processor has decides what
whole numbers gain, so they are named.
"""

import argparse
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from subject import machine_line

from unetkit.prediction.engine import Engine
from unetkit.prediction.runtimes import ENGINES, Runtime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("int8")
    parser.add_argument("--engines", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"{machine_line()}, onnxruntime {version('onnxruntime')}\n")
    runtimes = ENGINES if options.engines else ENGINES[:1]
    networks = {
        (runtime, Path(model).name): Engine(model, 1, runtime=Runtime(runtime))
        for runtime in runtimes
        for model in (options.run, options.int8)
    }
    first = next(iter(networks.values()))
    tile = np.random.default_rng(0).integers(0, 256, (*first.load_size, first.spec.pixels.channels))
    seconds = {key: [] for key in networks}
    for repeat in range(4 * options.repeats + 1):
        for key, network in networks.items():
            started = time.process_time()
            network(tile)
            if repeat:  # the first one prepares
                seconds[key].append(time.process_time() - started)
    own = next(iter(seconds.values()))
    print("| engine | file | MB | ms, median (range) | times as fast |")
    print("| --- | --- | --- | --- | --- |")
    for (runtime, name), found in seconds.items():
        ratios = [a / b for a, b in zip(own, found, strict=True)]
        size = networks[runtime, name].path.stat().st_size / 1e6
        ms = [1000 * value for value in found]
        print(
            f"| {runtime} | {name} | {size:.1f} | {statistics.median(ms):.1f} ({min(ms):.1f} to "
            f"{max(ms):.1f}) | {statistics.median(ratios):.2f} |"
        )
    card = next((network.card for network in networks.values() if network.card), None)
    print(f"\n{card.describe() if card else 'no file is of whole numbers'}")


if __name__ == "__main__":
    main()
