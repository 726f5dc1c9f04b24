"""Times one update of several networks, precisions or frameworks, in turn.

    python benchmarks/step_times.py pretrained=.venv/bin/python
        pretrained,mixed_bfloat16=.venv/bin/python pretrained,float32,jax=.jax/bin/python
        smp-lite0=.peers/bin/python smp-lite0,float32,compiled=.peers/bin/python

Each entry is RECIPE[,PRECISION[,BACKEND]]=PYTHON: a preset of unetkit on a Keras backend, or a
peer of `quality_peers.py`, as it is or "compiled" by PyTorch. Each has a process of its own, so
that no two frameworks share one. They make one update after the other, so that other work on the
machine slows them alike; the first two are not counted. Beside the wall time is the processor's,
which such work changes least.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from subject import machine_line

PEERS = ("smp", "smp-lite0", "monai")
COMPILED = "compiled"
WARM_UP = 2
SIZES = {"fast": 128, "notebook": 128}  # input sides of presets for photos; else 192
BATCHES = {"notebook": 32}  # else 16
Update = Callable[[np.ndarray, np.ndarray], float]  # images, masks; to the loss


def worker(recipe: str, precision: str, backend: str) -> None:
    """Makes an update for each line of the input, and writes its wall and processor seconds."""
    side, batch = SIZES.get(recipe, 192), BATCHES.get(recipe, 16)
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (batch, side, side, 3)).astype(np.float32)
    masks = rng.integers(0, 3, (batch, side, side)).astype(np.uint8)
    if recipe in PEERS:
        update = peer_update(recipe, precision, is_compiled=backend == COMPILED)
    else:
        update = own_update(recipe, precision)
    for _ in sys.stdin:
        started = time.perf_counter(), time.process_time()
        update(images, masks)
        wall, used = time.perf_counter() - started[0], time.process_time() - started[1]
        print(wall, used, flush=True)


def own_update(recipe: str, precision: str) -> Update:
    from unetkit.models.encoders import DEPTHWISE_ENCODERS
    from unetkit.models.unet import build_unet, layer_precision, preset_config
    from unetkit.training.config import RECIPES
    from unetkit.training.network import compile_network

    network = preset_config(recipe)
    is_single = network.encoder in DEPTHWISE_ENCODERS  # as on a CPU
    with layer_precision(precision):
        model = build_unet(
            network, num_classes=3, encoder_precision="float32" if is_single else None
        )
    compile_network(model, RECIPES[recipe].training)
    return lambda images, masks: float(
        model.train_on_batch(images, masks, return_dict=True)["loss"]
    )


def peer_update(recipe: str, precision: str, *, is_compiled: bool) -> Update:
    import torch
    from quality_peers import build_network, build_optimizer, combined_loss, to_tensor

    from unetkit.training.config import RECIPES

    torch.set_num_threads(os.cpu_count() or 1)
    network = build_network(recipe, 3, 3).train()
    optimizer = build_optimizer(network, recipe, RECIPES["pretrained"].training)
    run = torch.compile(network) if is_compiled else network
    is_half = precision == "mixed_bfloat16"

    def update(images: np.ndarray, masks: np.ndarray) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            logits = run(to_tensor(images))
        loss = combined_loss(logits, torch.from_numpy(masks).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("entries", nargs="+", metavar="RECIPE[,PRECISION[,BACKEND]]=PYTHON")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    chosen = dict(text.split("=", 1) for text in options.entries)
    workers = {name: start_worker(name, python) for name, python in chosen.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
    for number in range(WARM_UP + options.repeats):
        for name, process in workers.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            wall, used = process.stdout.readline().split()
            if number >= WARM_UP:
                times[name].append((float(wall), float(used)))
    for process in workers.values():
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    print(f"{machine_line()}; {options.repeats} updates each\n")
    print("| network | wall s, median (range) | processor s, median | wall, of the first |")
    print("| --- | --- | --- | --- |")
    first = median(wall for wall, _ in next(iter(times.values())))
    for name, pairs in times.items():
        walls = [wall for wall, _ in pairs]
        middle = median(walls)
        print(
            f"| {name} | {middle:.2f} ({min(walls):.2f} to {max(walls):.2f}) "
            f"| {median(used for _, used in pairs):.2f} | {middle / first:.2f} |"
        )


def start_worker(name: str, python: str) -> "subprocess.Popen[str]":
    """Starts the process of an entry, which waits for lines."""
    given = name.split(",")
    recipe, precision, backend = [*given, *("", "float32", "tensorflow")[len(given) :]]
    return subprocess.Popen(
        [python, __file__, "--worker", recipe, precision, backend],
        env={**os.environ, "KERAS_BACKEND": "torch" if recipe in PEERS else backend},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


if __name__ == "__main__":
    worker(*sys.argv[2:]) if "--worker" in sys.argv else main()
