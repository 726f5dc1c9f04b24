"""An exported network beside the model file that it was made from, on the same tiles of images."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from unetkit._shared.wording import format_count
from unetkit.data.scale import image_to_network
from unetkit.errors import ModelFileError
from unetkit.io.windows import ArrayWindows
from unetkit.models.spec import ModelSpec
from unetkit.prediction.engine import Engine
from unetkit.prediction.tiling import Span, read_tile

LOGIT_TOLERANCE = 1e-3  # largest accepted difference of a logit, relative to the largest one
METADATA_FILE = "unetkit.json"  # metadata of the model, in or beside what is exported
REPEATS = 3  # of each tile, after a first run that is not timed

Network = Callable[[np.ndarray], np.ndarray]  # (1, h, w, C) pixel values in, logits out


@dataclass(frozen=True)
class Comparison:
    """An exported network beside its model file.

    Args:
        difference: Largest difference between two logits.
        seconds: Median time of the exported network for a tile.
        model_seconds: The same of the model file.
        size: (height, width) of the tiles that were timed, the larger ones of two sizes.
        images: Number and kind of the images, in words.
    """

    difference: float
    seconds: float
    model_seconds: float
    size: tuple[int, int]
    images: str

    def describe(self) -> str:
        """Returns difference and time in one line."""
        height, width = self.size
        return (
            f"largest difference from the model file {self.difference:.1g} on {self.images}; "
            f"{1000 * self.seconds:.0f} ms for {height}x{width} pixels, the model file "
            f"{1000 * self.model_seconds:.0f} ms"
        )


def tiles_of(images: Sequence[np.ndarray], spec: ModelSpec, any_size: bool) -> list[np.ndarray]:
    """Tiles of images as a network takes them.

    Args:
        images: Images of the model's pixel format, (H, W, C) each.
        spec: Metadata of the model.
        any_size: Whether the network takes tiles of several sizes; if it does, each image gives
            one that is smaller and one that is larger than those of the training.

    Returns:
        (1, h, w, C) float32 each: the top left corner of an image at the network's scale, mirrored
        at its edges.
    """
    scale, geometry = spec.scale, spec.geometry
    changes = (-geometry.stride, geometry.stride) if any_size and scale.is_native else (0,)
    found = []
    for image in images:
        scaled = ArrayWindows(image_to_network(image, scale))
        for change in changes:
            sides = (max(1, side + change) for side in (scale.height, scale.width))
            rows, columns = (
                Span(-geometry.margin, geometry.input_size(side), (0, side)) for side in sides
            )
            found.append(read_tile(scaled, rows, columns)[None].astype(np.float32))
    return found


def compare_networks(
    network: Network, engine: Engine, images: Sequence[np.ndarray], kind: str, any_size: bool
) -> Comparison:
    """Compares an exported network with its model file.

    Args:
        network: The exported network.
        engine: The model file.
        images: Images of the model's pixel format.
        kind: Kind of the images, such as "validation".
        any_size: Whether the network takes tiles of several sizes.

    Raises:
        ModelFileError: The difference is larger than rounding explains.
    """
    worst, largest = 0.0, 1.0
    seconds: dict[str, list[float]] = {"network": [], "model": []}
    tiles = tiles_of(images, engine.spec, any_size)
    for tile in tiles:
        found, expected = network(tile)[0], engine(tile[0])
        worst = float(np.maximum(worst, np.abs(found - expected).max()))  # nan stays nan
        largest = max(largest, float(np.abs(expected).max()))
        for _ in range(REPEATS if tile.shape == tiles[-1].shape else 0):
            seconds["network"].append(_timed(partial(network, tile)))
            seconds["model"].append(_timed(partial(engine, tile[0])))
    if not worst <= LOGIT_TOLERANCE * largest:
        raise ModelFileError(
            f"the exported network differs from {engine.path} by {worst:.2g} in logits of up to "
            f"{largest:.2g}; accepted is {LOGIT_TOLERANCE:g} of the largest; please report this as "
            "a bug"
        )
    return Comparison(
        worst,
        statistics.median(seconds["network"]),
        statistics.median(seconds["model"]),
        tiles[-1].shape[1:3],
        format_count(images, f"{kind} image"),
    )


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
