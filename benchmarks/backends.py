"""Times one update of a network on each Keras backend, in turn.

    python benchmarks/backends.py tensorflow=.venv/bin/python jax=.jax/bin/python torch=python

Each backend has a Python of its own, so that no two frameworks share a process. Each makes one
update after the other, so that other work on the machine slows them alike; the first two are not
counted. Beside the wall time is the time of the processor, which such work changes least.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from statistics import median

PRESET, SIDE, BATCH = "pretrained", 192, 16
WARM_UP, REPEATS = 2, 5


def worker() -> None:
    """Makes an update for each line of the input, and writes its wall and processor seconds."""
    import keras
    import numpy as np

    from unetkit.models.unet import build_unet
    from unetkit.training.config import TrainingConfig
    from unetkit.training.network import compile_network

    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (BATCH, SIDE, SIDE, 3)).astype(np.float32)
    masks = rng.integers(0, 3, (BATCH, SIDE, SIDE)).astype(np.uint8)
    model = build_unet(PRESET, in_channels=3, num_classes=3)
    training = TrainingConfig(
        seed=0,
        steps=100,
        steps_per_validation=100,
        batch_size=BATCH,
        loss={"cross_entropy": 1.0, "dice": 1.0},
        optimizer="adamw",
        learning_rate=1e-3,
        schedule="constant",
    )
    compile_network(model, training)
    for _ in sys.stdin:
        started = time.perf_counter(), time.process_time()
        float(model.train_on_batch(images, masks, return_dict=True)["loss"])
        wall, used = time.perf_counter() - started[0], time.process_time() - started[1]
        print(keras.backend.backend(), wall, used, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("backends", nargs="+", metavar="BACKEND=PYTHON")
    chosen = dict(text.split("=", 1) for text in parser.parse_args().backends)
    workers = {
        name: subprocess.Popen(
            [python, __file__, "--worker"],
            env={**os.environ, "KERAS_BACKEND": name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, python in chosen.items()
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
    for number in range(WARM_UP + REPEATS):
        for name, process in workers.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            found, wall, used = process.stdout.readline().split()
            assert found == name
            if number >= WARM_UP:
                times[name].append((float(wall), float(used)))
    for process in workers.values():
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    print(f"{PRESET}, {BATCH} x {SIDE}x{SIDE}, {REPEATS} updates; {platform.machine()}, ", end="")
    print(f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}\n")
    print("| backend | wall s, median (range) | processor s, median | wall, of the first |")
    print("| --- | --- | --- | --- |")
    first = median(wall for wall, _ in next(iter(times.values())))
    for name, pairs in times.items():
        walls = [wall for wall, _ in pairs]
        middle = median(walls)
        print(
            f"| {name} | {middle:.2f} ({min(walls):.2f} to {max(walls):.2f}) "
            f"| {median(used for _, used in pairs):.2f} | {middle / first:.2f} |"
        )


if __name__ == "__main__":
    worker() if "--worker" in sys.argv else main()
