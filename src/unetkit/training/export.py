"""Export of a run's network to a model file that runs without Keras, checked on its images."""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from unetkit._shared import run_folder
from unetkit._shared.manifest import read_manifest, read_split_record, record_files
from unetkit._shared.wording import format_count
from unetkit.data.dataset import find_dataset
from unetkit.data.reading import read_photo
from unetkit.data.splits import Split, read_split_names
from unetkit.datasets.synthetic_pets import synthetic_image
from unetkit.errors import DataNotFoundError, UnetkitError
from unetkit.models.onnx_export import export_onnx
from unetkit.models.spec import Layer, ModelSpec, seen_digests
from unetkit.training import backend
from unetkit.training.config import RunConfig
from unetkit.training.config_file import read_config
from unetkit.training.network import build_network
from unetkit.training.weights import load_weights

CHECK_IMAGES = 4  # on which an exported file is compared with Keras


def require_run(run: Path) -> None:
    """Refuses what is not a run folder with trained weights.

    Raises:
        DataNotFoundError: A file of the run is missing.
    """
    for name in (run_folder.CONFIG, run_folder.WEIGHTS):
        if not (run / name).is_file():
            raise DataNotFoundError(
                f"{run} holds no {name}; accepted is the folder of a training run"
            )


def export_run(run: Path, path: Path, weights: str = "float32") -> str:
    """Exports a run's best network to an ONNX file, and compares it with Keras.

    The comparison uses validation images of the run, or synthetic images if those do not exist.

    Args:
        run: Run folder.
        path: File to write or replace.
        weights: Type in which weights are stored: "float32", or "float16" for half the size.

    Returns:
        The largest difference from Keras, and on which images, in words.

    Raises:
        ModelFileError: The weights do not fit the network, or the output of the file differs from
            that of Keras.
    """
    config = read_config(run / run_folder.CONFIG)
    network = trained_network(run, config)
    images, what = reference_images(run)
    temperature = read_manifest(run).get("temperature") or 1.0
    spec = replace(model_spec(config, network, seen_images(run)), temperature=temperature)
    with backend.full_precision():
        difference = export_onnx(network, spec, path, images, weights)
    if path.resolve() == (run / run_folder.MODEL).resolve():
        record_files(run)
    return (
        f"largest difference from Keras {difference:.1g} on {format_count(images, f'{what} image')}"
    )


def export_best(
    run: Path, config: RunConfig, model: keras.Model, split: Split, temperature: float = 1.0
) -> float:
    """Exports a run's best network to model.onnx.

    Args:
        run: Run folder.
        config: Configuration of the run.
        model: Network with the best weights.
        split: Pairs of the run; some for validation are used to check the exported file.
        temperature: Temperature of the calibration.

    Returns:
        Largest difference of a logit from Keras.
    """
    images = [read_photo(pair, config.pixels) for pair in split.validation[:CHECK_IMAGES]]
    spec = replace(model_spec(config, model, seen_images(run)), temperature=temperature)
    with backend.full_precision():
        return export_onnx(model, spec, run / run_folder.MODEL, images)


def seen_images(run: Path) -> list[str]:
    """Digests of the images that a run was trained or validated on, and of those of its start.

    Raises:
        DataNotFoundError, DataError: The split.json or the manifest of the run is missing or
            damaged.
    """
    before = read_manifest(run).get("seen_before") or []
    used = [pair for pair in read_split_record(run).pairs if pair.part != "test"]
    own = [seen_digests(pair.image_sha256, pair.page, pair.block, before) for pair in used]
    return sorted({*before, *itertools.chain.from_iterable(own)})


def trained_network(run: Path, config: RunConfig) -> keras.Model:
    """Builds a run's network with its best weights, in single precision.

    Raises:
        ModelFileError: The weights are damaged, or do not fit the network.
    """
    network = build_network(config)
    load_weights(network, run / run_folder.WEIGHTS)
    return network


def reference_images(run: Path) -> tuple[list[np.ndarray], str]:
    """Images to compare a run's network on, and of what kind they are.

    Args:
        run: Run folder.

    Returns:
        Images of the run's pixel format, and "validation", or "synthetic" if the data are absent
        or damaged.
    """
    config = read_config(run / run_folder.CONFIG)
    validation = read_split_names(run / run_folder.SPLIT)["validation"]
    try:
        dataset = find_dataset(config.data, config.sources)
        wanted = set(validation[:CHECK_IMAGES])
        pairs = [pair for pair in dataset.pairs if pair.name in wanted]
        images = [read_photo(pair, config.pixels) for pair in pairs]
    except (UnetkitError, OSError):
        images = []
    if images:
        return images, "validation"
    return [synthetic_image(i, config.pixels) for i in range(CHECK_IMAGES)], "synthetic"


def model_spec(config: RunConfig, model: keras.Model, seen: Iterable[str]) -> ModelSpec:
    """Metadata of a trained network.

    Args:
        config: Configuration of the run.
        model: Network of the run.
        seen: Digests of the training and validation images.
    """
    geometry, scale = config.network.geometry, config.scale
    size = geometry.input_size(scale.height), geometry.input_size(scale.width)
    return ModelSpec(
        preset=config.preset,
        pixels=config.pixels,
        classes=config.classes,
        scale=scale,
        normalization=config.normalization,
        geometry=geometry,
        seen=tuple(sorted(seen)),
        layers=_describe_layers(model, size),
        objects=config.objects,
    )


def _describe_layers(model: keras.Model, input_size: tuple[int, int]) -> tuple[Layer, ...]:
    """The network's summary, with output shapes for an input size (height, width)."""
    every = keras.Model(model.input, [layer.output for layer in model.layers])
    probe = keras.KerasTensor((1, *input_size, model.input.shape[-1]))
    shapes = [tensor.shape[1:] for tensor in every.compute_output_spec(probe)]
    return tuple(
        Layer(layer.name, type(layer).__name__, tuple(shape), layer.count_params())
        for layer, shape in zip(model.layers, shapes, strict=True)
    )
