"""The networks that `network.py` and `tiled.py` measure, prepared once for every engine.

    python benchmarks/subject.py notebook 512 FOLDER

Weights are random: speed does not depend on them. Biases and normalisations are random too, so that
an engine that leaves one out does not agree. The folder gets:

    network.onnx        the file that `unetkit export` would write, of a `native` model
    network.weights.h5  for Keras
    weights.npz         arrays named LAYER/VARIABLE, for everyone else
    picture.npy         (SIZE, SIZE, 3) uint8
    logits.npy          (SIZE, SIZE, 3) float32, what Keras answers to the picture
    network.json        the configuration, the normalisation, and the multiply-adds of one run

It is a process of its own: a child inherits the peak memory of the process that starts it, so the
benchmarks, which measure those of engines, must never load a network themselves.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np

NETWORKS = ("notebook", "plain", "fast")
NORMALIZATION = (1 / 127.5, -1.0)  # times, plus
TOLERANCE = 1e-3  # of the largest logit, as exports are checked
BLOCK = 32  # pixels of one tone, roughly, in a picture


def prepare(name: str, size: int, folder: Path) -> dict:
    """Prepares a network in a process of its own; returns the content of network.json."""
    command = [sys.executable, __file__, name, str(size), str(folder)]
    done = subprocess.run(command, env=quiet_environment(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} was not prepared:\n{done.stderr[-3000:]}")
    return json.loads((folder / "network.json").read_text(encoding="utf-8"))


def quiet_environment() -> dict[str, str]:
    """Of engines' processes: no log of TensorFlow, no reports of ONNX Runtime to its maker."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "ORT_DISABLE_TELEMETRY": "1"}


def network_config(name: str):
    """A preset, or "plain": the U-Net of most repositories, BatchNorm after each convolution."""
    from unetkit.models.unet import UNetConfig, preset_config

    if name != "plain":
        return preset_config(name)
    return UNetConfig(
        filters=(32, 64, 128, 256, 512),
        normalization="batch",
        residual=False,
        stem_stride=1,
        up_kernel=2,
        head_filters=0,
    )


def draw_picture(size: int) -> np.ndarray:
    """Blocks of a tone with noise on them, (size, size, 3) uint8."""
    rng = np.random.default_rng(0)
    count = -(-size // BLOCK)
    tones = rng.integers(0, 224, (count, count, 3), dtype=np.uint8)
    picture = tones.repeat(BLOCK, 0).repeat(BLOCK, 1)[:size, :size]
    return picture + rng.integers(0, 32, (size, size, 3), dtype=np.uint8)


def check_logits(found: np.ndarray, folder: Path) -> None:
    """Refuses an engine whose answer to the picture is another than Keras's."""
    expected = np.load(folder / "logits.npy")
    if found.shape != expected.shape:
        raise ValueError(f"logits are {found.shape}; {expected.shape} are expected")
    difference, largest = np.abs(found - expected).max(), np.abs(expected).max()
    if not difference <= TOLERANCE * largest:
        raise ValueError(f"logits of up to {largest:.3g} differ from Keras by {difference:.2g}")


def machine_line() -> str:
    """Date, processor and cores, and what else the machine was busy with."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0].partition(":")[2].strip() if models else name
    load = os.getloadavg()[0]
    return f"{date.today()}, {platform.machine()} ({name}), {os.cpu_count()} cores, load {load:.1f}"


def peak_mib() -> int:
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # KiB on Linux


def _randomise(model) -> None:
    rng = np.random.default_rng(0)
    for layer in model.layers:
        frozen = type(layer).__name__.startswith("Frozen")
        for variable in layer.variables:
            kind = variable.name
            if kind in ("bias", "beta") or (kind == "moving_mean" and not frozen):
                variable.assign(rng.normal(0, 0.1, variable.shape))
            elif kind == "gamma" or (kind == "moving_variance" and not frozen):
                variable.assign(rng.uniform(0.8, 1.2, variable.shape))


def _multiply_adds(model, size: int) -> int:
    """Of all convolutions on one picture.

        convolution: output pixels x kernel x channels in x channels out
        transposed:   input pixels x kernel x channels in x channels out

    Products with padding count, and so do those of which a transposed convolution cuts the sum off.
    Biases, normalisations, ReLUs and poolings do not: together they are below one in a hundred.
    """
    import keras

    every = keras.Model(model.input, [layer.output for layer in model.layers])
    outputs = every.compute_output_spec(keras.KerasTensor((1, size, size, 3)))
    total = 0
    for layer, output in zip(model.layers, outputs, strict=True):
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            pixels = output.shape[1] * output.shape[2]
            if isinstance(layer, keras.layers.Conv2DTranspose):
                pixels //= layer.strides[0] * layer.strides[1]
            total += pixels * int(np.prod(layer.kernel.shape))
    return total


def _write(name: str, size: int, folder: Path) -> None:
    import keras

    from unetkit.data.classes import TRIMAP_CLASSES
    from unetkit.data.scale import Scale
    from unetkit.io.pixel_format import PixelFormat
    from unetkit.models.onnx_export import export_onnx
    from unetkit.models.spec import ModelSpec, Normalization
    from unetkit.models.unet import build_unet

    config = network_config(name)
    config.geometry.output_size(size)  # or it is refused
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    model = build_unet(config, in_channels=3, num_classes=3)
    _randomise(model)
    spec = ModelSpec(
        preset=name if name != "plain" else "fast",
        pixels=PixelFormat(),
        classes=TRIMAP_CLASSES,
        scale=Scale("native", size, size),
        normalization=Normalization(*NORMALIZATION),
        geometry=config.geometry,
        seen=(),
        layers=(),
    )
    picture = draw_picture(size)
    export_onnx(model, spec, folder / "network.onnx", [picture])
    model.save_weights(folder / "network.weights.h5")
    arrays = {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in model.layers
        for variable in layer.variables
        if not variable.name.startswith("seed")
    }
    np.savez(folder / "weights.npz", **arrays)
    np.save(folder / "picture.npy", picture)
    shown = spec.normalization.apply(picture[None])
    np.save(folder / "logits.npy", keras.ops.convert_to_numpy(model(shown))[0])
    content = {
        "name": name,
        "config": asdict(config),
        "normalization": NORMALIZATION,
        "parameters": model.count_params(),
        "multiply_adds": _multiply_adds(model, size),
    }
    (folder / "network.json").write_text(json.dumps(content), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("size", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    _write(options.network, options.size, options.folder)


if __name__ == "__main__":
    main()
