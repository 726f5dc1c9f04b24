"""Networks that `network.py` and `tiled.py` measure, prepared once for every engine.

    python benchmarks/subject.py notebook 512 FOLDER

Weights are random: speed does not depend on them. Biases and normalisations are random too, so that
an engine that omits one computes different logits. The files in FOLDER are:

    network.onnx        model file as `unetkit export` writes it, with a `native` scale
    network.weights.h5  weights for Keras
    weights.npz         weights for other engines, arrays named LAYER/VARIABLE
    image.npy           image, (SIZE, SIZE, 3) uint8
    logits.npy          logits of Keras for the image, (SIZE, SIZE, 3) float32
    network.json        configuration, normalisation, and number of multiply-adds of one run

This runs in a separate process: a child process inherits the peak memory of its parent, so the
benchmarks, which measure the peak memory of engines, must not load a network themselves.
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
NORMALIZATION = (1 / 127.5, -1.0)  # factor, offset
TOLERANCE = 1e-3  # relative to the largest logit, as for exports
BLOCK = 32  # side in pixels of blocks of about one colour


def prepare(name: str, size: int, folder: Path) -> dict:
    """Prepares a network in a separate process; returns the content of network.json."""
    command = [sys.executable, __file__, name, str(size), str(folder)]
    done = subprocess.run(command, env=quiet_environment(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} was not prepared:\n{done.stderr[-3000:]}")
    return json.loads((folder / "network.json").read_text(encoding="utf-8"))


def quiet_environment() -> dict[str, str]:
    """Returns the environment of engines: no TensorFlow log, no telemetry of ONNX Runtime."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "ORT_DISABLE_TELEMETRY": "1"}


def network_config(name: str):
    """Returns a preset, or "plain": a common U-Net with BatchNorm after each convolution."""
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


def draw_image(size: int) -> np.ndarray:
    """Draws blocks of one colour with noise, (size, size, 3) uint8."""
    rng = np.random.default_rng(0)
    count = -(-size // BLOCK)
    colours = rng.integers(0, 224, (count, count, 3), dtype=np.uint8)
    image = colours.repeat(BLOCK, 0).repeat(BLOCK, 1)[:size, :size]
    return image + rng.integers(0, 32, (size, size, 3), dtype=np.uint8)


def check_logits(found: np.ndarray, folder: Path) -> None:
    """Raises ValueError if the logits of an engine differ from those of Keras."""
    expected = np.load(folder / "logits.npy")
    if found.shape != expected.shape:
        raise ValueError(f"shape of logits is {found.shape}; expected is {expected.shape}")
    difference, largest = np.abs(found - expected).max(), np.abs(expected).max()
    if not difference <= TOLERANCE * largest:
        raise ValueError(f"logits of up to {largest:.3g} differ from Keras by {difference:.2g}")


def machine_line() -> str:
    """Returns date, processor, instruction sets, number of cores and load of the machine."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0].partition(":")[2].strip() if models else name
    load = os.getloadavg()[0]
    return (
        f"{date.today()}, {platform.machine()} ({name}; {instruction_sets()}), {os.cpu_count()} "
        f"cores, load {load:.1f}"
    )


def instruction_sets() -> str:
    """Returns the instruction sets of the processor that decide how fast networks run."""
    names = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    return " ".join(name for name in names if name in flags) or "instruction sets unknown"


def peak_mib() -> int:
    """Returns the peak memory of this process in MiB."""
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
    """Returns the number of multiply-adds of all convolutions for one image.

        convolution: output pixels x kernel x channels in x channels out
        transposed:   input pixels x kernel x channels in x channels out

    Products with padding, and those that a transposed convolution crops, are counted. Biases,
    normalisations, ReLUs and pooling, together below one per cent, are not.
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
    config.geometry.output_size(size)  # raises SizeError if the size does not fit
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
    image = draw_image(size)
    export_onnx(model, spec, folder / "network.onnx", [image])
    model.save_weights(folder / "network.weights.h5")
    arrays = {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in model.layers
        for variable in layer.variables
        if not variable.name.startswith("seed")
    }
    np.savez(folder / "weights.npz", **arrays)
    np.save(folder / "image.npy", image)
    shown = spec.normalization.apply(image[None])
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
