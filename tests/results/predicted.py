"""Predicted images without a network, for the tests of what is written of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from unetkit.data.classes import Classes
from unetkit.data.scale import Scale
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.spec import ModelSpec, Normalization
from unetkit.models.unet import UNetConfig
from unetkit.prediction.sources import open_source
from unetkit.results.predicted_image import ImageObjects, PredictedImage, ResultOptions

SPEC = ModelSpec(
    preset="fast",
    pixels=PixelFormat(1, "uint8", (0,), (255,)),
    classes=Classes(("ground", "cell"), (0, 1), background=0),
    scale=Scale("native", 32, 32),
    normalization=Normalization(1 / 127.5, -1.0),
    geometry=UNetConfig(filters=(4, 8)).geometry,
    seen=(),
    layers=(),
)


@contextmanager
def predicted(
    labels: np.ndarray,
    classes: Classes,
    image: Any = None,
    objects: ImageObjects | None = None,
    **options: Any,
) -> Iterator[PredictedImage]:
    """An image of these class indices, (H, W) uint8, with `ResultOptions`."""
    spec = replace(SPEC, classes=classes)
    with open_source(
        np.zeros(labels.shape, np.uint8) if image is None else image, spec.pixels
    ) as source:
        yield PredictedImage(
            source,
            spec,
            {"model": "m"},
            ResultOptions(**options),
            read_labels=lambda rows, columns: labels[rows, columns],
            objects=objects,
        )
