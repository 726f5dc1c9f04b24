"""Inference time of the network alone: unetkit, PyTorch, TensorFlow and OpenVINO.

    python benchmarks/network.py [--networks notebook plain fast] [--size 512] [--repeats 5]
        [--peers-python ../peers/bin/python]

Every engine runs the same weights on the same image, in single precision, on all cores, in a
separate process that is idle while others run. Before the measurement its logits are compared with
those of Keras. Engines run in turn, so that other load on the machine affects all of them alike. In
a turn an engine runs once for warm-up, then repeatedly for half a second; the result is the median.

Printed for each network is a Markdown row per engine: the median of its turns (range), the rate of
its multiplications and additions, the fraction of the fastest matrix product that NumPy or PyTorch
computed between the turns, the time relative to the fastest PyTorch row, the processor time of a
run, which other work on the machine changes least, and the peak memory of the process including its
framework. Engines that are not installed or fail are listed below the table.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from subject import (
    NETWORKS,
    check_logits,
    machine_line,
    peak_mib,
    prepare,
    quiet_environment,
)

Run = Callable[[], np.ndarray]  # runs the network once and returns (H, W, K) logits

TURN_SECONDS = 0.5
PAUSE_SECONDS = 0.2  # until threads of the previous engine stop spinning
MATRIX_SIDES = (2048, 3072, 4096)
REFERENCE = "PyTorch"  # prefix of the engines whose fastest is the reference


def unetkit_run(folder: Path) -> Run:
    from unetkit.prediction.engine import Engine  # what a Predictor runs for each tile

    engine, image = Engine(folder / "network.onnx"), np.load(folder / "image.npy")
    return lambda: engine(image)


def onnxruntime_run(folder: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        folder / "network.onnx", providers=["CPUExecutionProvider"]
    )
    (entry,) = session.get_inputs()
    batch = pixels(folder)[None]
    return lambda: session.run(None, {entry.name: batch})[0][0]


def torch_run(
    folder: Path, *, channels_last: bool = False, fold: bool = False, compiled: bool = False
) -> Run:
    import torch
    from torch_twin import load_twin, to_array, to_tensor

    network = load_twin(folder, channels_last=channels_last, fold=fold)
    batch = to_tensor(np.load(folder / "image.npy"), channels_last=channels_last)
    if compiled:
        from torch._inductor import config

        config.freezing = True  # constant weights: BatchNorms are folded, kernel layouts optimised
        network = torch.compile(network)

    @torch.inference_mode()
    def run() -> np.ndarray:
        return to_array(network(batch))

    return run


def tensorflow_run(folder: Path) -> Run:
    import tensorflow as tf

    from unetkit.models.unet import UNetConfig, build_unet

    network = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    model = build_unet(UNetConfig(**network["config"]), in_channels=3, num_classes=3)
    model.load_weights(folder / "network.weights.h5")
    multiply, add = network["normalization"]
    batch = tf.constant(pixels(folder)[None])

    @tf.function(input_signature=[tf.TensorSpec(batch.shape)])
    def predict(image):
        return model(image * multiply + add, training=False)

    return lambda: predict(batch).numpy()[0]


def openvino_run(folder: Path) -> Run:
    import openvino

    core = openvino.Core()
    network = core.read_model(folder / "network.onnx")
    batch = pixels(folder)[None]
    network.reshape(batch.shape)
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(network, "CPU", hints).create_infer_request()

    def run() -> np.ndarray:
        request.infer([batch], share_inputs=True, share_outputs=True)
        return request.get_output_tensor().data[0]

    return run


def pixels(folder: Path) -> np.ndarray:
    """Returns the image, (H, W, C) float32, 0 to 255: every engine normalises it itself."""
    return np.load(folder / "image.npy").astype(np.float32)


ENGINES: dict[str, Callable[[Path], Run]] = {
    "unetkit": unetkit_run,
    "ONNX Runtime, its defaults": onnxruntime_run,
    "PyTorch": torch_run,
    "PyTorch, channels last": partial(torch_run, channels_last=True),
    "PyTorch, channels last, BatchNorm folded": partial(torch_run, channels_last=True, fold=True),
    "PyTorch, compiled": partial(torch_run, compiled=True),
    "PyTorch, compiled, channels last": partial(torch_run, channels_last=True, compiled=True),
    "TensorFlow, tf.function": tensorflow_run,
    "OpenVINO": openvino_run,
}
PRODUCTS = {"np.matmul": "numpy", "torch.mm": "torch"}  # matrix products and their packages
PACKAGES = ("unetkit", "numpy", "onnxruntime", "torch", "tensorflow", "keras", "openvino")


def matrix_rate(package: str) -> float:
    """Measures operations per second of the fastest of several matrix products in float32."""
    rates = []
    for side in MATRIX_SIDES:
        one, other = np.ones((2, side, side), np.float32)
        multiply = np.matmul
        if package == "torch":
            import torch

            one, other, multiply = torch.from_numpy(one), torch.from_numpy(other), torch.mm
        started = time.perf_counter()
        multiply(one, other)
        rates.append(2 * side**3 / (time.perf_counter() - started))
    return max(rates)


def take_turn(run: Run) -> tuple[float, float]:
    """Returns the median seconds of a run, and the median processor seconds."""
    run()
    taken: list[tuple[float, float]] = []
    while sum(seconds for seconds, _ in taken) < TURN_SECONDS:
        started, busy = time.perf_counter(), time.process_time()
        run()
        taken.append((time.perf_counter() - started, time.process_time() - busy))
    seconds, busy_seconds = zip(*taken, strict=True)
    return statistics.median(seconds), statistics.median(busy_seconds)


def work(name: str, folder: Path) -> None:
    """Runs in an engine's process: prints its versions, then a measurement for each input line."""
    try:
        if name in PRODUCTS:
            measure = partial(matrix_rate, PRODUCTS[name])
            measure()
        else:
            run = ENGINES[name](folder)
            check_logits(run(), folder)
            measure = partial(take_turn, run)
    except Exception as error:  # any failure is reported; the other engines are measured
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        send({"missing": missing, "left_out": f"{type(error).__name__}: {str(error)[:300]}"})
        return
    loaded = [name for name in PACKAGES if name in sys.modules]
    send({"versions": {name: package_version(name) for name in loaded}})
    for _ in sys.stdin:
        send({"result": measure(), "peak_mib": peak_mib()})


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # the distribution may have another name: tensorflow-cpu
        return sys.modules[name].__version__


def send(message: dict) -> None:
    print(json.dumps(message), flush=True)


class Worker:
    """Process of an engine."""

    def __init__(self, name: str, folder: Path, pythons: list[str]) -> None:
        self.name = name
        self.results: list[float] = []  # seconds of a run, or operations per second
        self.busy: list[float] = []  # processor seconds of a run
        self.peak_mib = 0
        for python in pythons:
            self.process = subprocess.Popen(
                [python, __file__, "--worker", name, "--folder", str(folder)],
                env=quiet_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self.about = self._read()
            if (
                self.about.get("missing") is None
            ):  # a missing package may be in the other environment
                break

    @property
    def left_out(self) -> str | None:
        """Reason why the engine is not measured; None if it is."""
        return self.about.get("left_out")

    def measure(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        reply = self._read()
        if "left_out" in reply:
            self.about = reply
            return
        result = reply["result"]
        seconds, *busy = result if isinstance(result, list) else [result]
        self.results.append(seconds)
        self.busy += busy
        self.peak_mib = reply["peak_mib"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict:
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        return {"left_out": f"its process exited with {self.process.wait()}"}


def measure_network(name: str, options: argparse.Namespace, folder: Path) -> None:
    network = prepare(name, options.size, folder)
    pythons = list(dict.fromkeys([sys.executable, options.peers_python or sys.executable]))
    workers = [Worker(name, folder, pythons) for name in (*options.engines, *PRODUCTS)]
    running = [worker for worker in workers if worker.left_out is None]
    for turn in range(options.repeats):
        for worker in running[turn:] + running[:turn]:  # engines run in varying order
            if worker.left_out is None:
                time.sleep(PAUSE_SECONDS)
                worker.measure()
    for worker in running:
        worker.close()
    print_table(network, options, workers)


def print_table(network: dict, options: argparse.Namespace, workers: list[Worker]) -> None:
    measured = [worker for worker in workers if worker.left_out is None]
    versions = {name: v for worker in measured for name, v in worker.about["versions"].items()}
    engines = {worker.name: worker for worker in measured if worker.name in ENGINES}
    rates = {worker.name: worker.results for worker in measured if worker.name in PRODUCTS}
    best_rate = max(max(results) for results in rates.values())
    medians = {name: statistics.median(worker.results) for name, worker in engines.items()}
    peers = [seconds for name, seconds in medians.items() if name.startswith(REFERENCE)]
    busy = {name: statistics.median(worker.busy) for name, worker in engines.items()}
    busy_peers = [seconds for name, seconds in busy.items() if name.startswith(REFERENCE)]
    operations = 2 * network["multiply_adds"]
    print(
        f"{machine_line()}, Python {sys.version.split()[0]}, "
        + ", ".join(f"{name} {v}" for name, v in sorted(versions.items()))
    )
    print(
        f"{network['name']}, {network['parameters']:,} parameters, {options.size}x{options.size}: "
        f"{network['multiply_adds']:,} multiply-adds; {options.repeats} turns; matrix products at "
        + ", ".join(
            f"{min(results) / 1e9:.0f} to {max(results) / 1e9:.0f} GFLOP/s ({name})"
            for name, results in rates.items()
        )
        + "\n"
    )
    print(
        "| engine | ms per run: median (range) | GFLOP/s | of the matrix product | time, fastest "
        f"{REFERENCE} = 1 | processor ms per run: median | least {REFERENCE} = 1 | peak MiB |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for name, worker in engines.items():
        seconds, rate = medians[name], operations / medians[name]
        print(
            f"| {name} | {1e3 * seconds:.1f} ({1e3 * min(worker.results):.1f} to "
            f"{1e3 * max(worker.results):.1f}) | {rate / 1e9:.0f} | {rate / best_rate:.0%} | "
            + (f"{seconds / min(peers):.2f}" if peers else "-")
            + f" | {1e3 * busy[name]:.1f} | "
            + (f"{busy[name] / min(busy_peers):.2f}" if peers else "-")
            + f" | {worker.peak_mib:,} |"
        )
    left_out = [worker for worker in workers if worker.left_out is not None]
    for worker in left_out:
        print(f"\nNot measured: {worker.name} ({worker.left_out})")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5, help="Turns of each engine (default: 5).")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--peers-python", help="Python of an environment with other engines.")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        work(options.worker, options.folder)
        return
    for name in options.networks:
        with tempfile.TemporaryDirectory(prefix="unetkit-network-") as folder:
            measure_network(name, options, Path(folder))


if __name__ == "__main__":
    main()
