"""Cost of repeatable training and of checkpoints, and whether the weights are equal to the bit.

    python benchmarks/repeatability.py [--preset fast] [--size 128] [--batch-size 16] [--repeats 5]
        [--clip-norm 0.1]

Each setting trains the same steps on the same batch, in separate processes and in turn, so that
other load on the machine affects all settings alike. Prints the number of different final weights,
images per second (median and range) and the ratio to the first setting; then the time of a
checkpoint.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import date
from pathlib import Path

SETTINGS = {
    "fastest": (),
    "deterministic operations": ("operations",),
    "one inter-op thread": ("inter",),
    "both": ("operations", "inter"),
    "one intra-op thread": ("operations", "inter", "intra"),
}
WARM_UP = 3


def train(
    settings: list[str], preset: str, size: int, batch_size: int, steps: int, clip_norm: float
) -> dict:
    """Trains in this process; returns seconds per step, a hash of the weights, checkpoint time."""
    import keras
    import numpy as np
    import tensorflow as tf

    from unetkit import build_unet
    from unetkit.losses import combined_loss
    from unetkit.training.checkpoints import write_checkpoint

    if "operations" in settings:
        tf.config.experimental.enable_op_determinism()
    if "inter" in settings:
        tf.config.threading.set_inter_op_parallelism_threads(1)
    if "intra" in settings:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    model = build_unet(preset, in_channels=3, num_classes=3)
    loss = combined_loss({"cross_entropy": 1.0, "dice": 1.0})
    model.compile(keras.optimizers.AdamW(1e-3, global_clipnorm=clip_norm), loss, jit_compile=False)
    rng = np.random.default_rng(0)
    images = rng.random((batch_size, size, size, 3)).astype(np.float32)
    masks = rng.integers(0, 3, (batch_size, size, size)).astype(np.uint8)
    for _ in range(WARM_UP):
        model.train_on_batch(images, masks)
    started = time.perf_counter()
    for _ in range(steps):
        model.train_on_batch(images, masks)
    seconds = (time.perf_counter() - started) / steps
    weights = {f"model/{i}": np.array(v) for i, v in enumerate(model.variables)}
    content = b"".join(array.tobytes() for array in weights.values())
    moments = {f"optimizer/{i}": np.array(v) for i, v in enumerate(model.optimizer.variables)}
    best = {f"best/{i}": array for i, array in enumerate(weights.values())}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        path = write_checkpoint(Path(folder), 1, weights | moments | best, {})
        written = time.perf_counter() - started
        size_mb = path.stat().st_size / 1e6
    return {
        "seconds": seconds,
        "hash": hashlib.sha256(content).hexdigest()[:12],
        "checkpoint_seconds": written,
        "checkpoint_mb": size_mb,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--clip-norm", type=float, help="Largest norm of the gradient (default: no limit)."
    )
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = (options.preset, options.size, options.batch_size, options.steps, options.clip_norm)
    if options.setting is not None:
        print(json.dumps(train(options.setting.split(), *sizes)))
        return
    found = defaultdict(list)
    for _ in range(options.repeats):
        for name in options.only:
            command = [sys.executable, *sys.argv, "--setting", " ".join(SETTINGS[name])]
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            found[name].append(json.loads(done.stdout))
    print(
        f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, {options.preset}, "
        f"{options.batch_size} x {options.size}x{options.size}, {options.steps} steps\n"
    )
    print("| setting | different weights | images per second (median, range) | of the first |")
    print("| --- | --- | --- | --- |")
    first = None
    for name, runs in found.items():
        speeds = [options.batch_size / run["seconds"] for run in runs]
        median = statistics.median(speeds)
        first = first or median
        hashes = len({run["hash"] for run in runs})
        print(
            f"| {name} | {hashes} of {len(runs)} | {median:.1f} ({min(speeds):.1f} to "
            f"{max(speeds):.1f}) | {median / first:.2f} |"
        )
    every = [run for runs in found.values() for run in runs]
    seconds = statistics.median(run["checkpoint_seconds"] for run in every)
    print(f"\nA checkpoint: {seconds:.2f} s, {every[0]['checkpoint_mb']:.0f} MB")


if __name__ == "__main__":
    main()
