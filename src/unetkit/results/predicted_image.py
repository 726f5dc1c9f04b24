"""A predicted image, or a window of it: labels, probabilities, objects and photo, computed on use.

An image in memory and one larger than memory look the same to outputs, which read it by windows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.classes import Classes
from unetkit.errors import ConfigError
from unetkit.io.pixel_size import PixelSize
from unetkit.io.pyramid import Read
from unetkit.models.spec import ModelSpec
from unetkit.objects.separation import SeparationMaps, separation_maps
from unetkit.prediction.certainty import entropy
from unetkit.prediction.predictor import NODATA_LABEL, labels_from_scores
from unetkit.prediction.sources import Source
from unetkit.results.masks import MASK_STYLES

OVERLAY_FORMATS = ("png", "jpeg")
PROBABILITY_DTYPES = ("float32", "float16", "uint8")
LARGEST_16_BITS = (1 << 16) - 1  # objects that label images of 16 bits hold


@dataclass(frozen=True)
class ResultOptions:
    """How results are written.

    Args:
        mask: What pixels of masks are, one of `MASK_STYLES`: "index" (class indices, grey),
            "palette" (class indices that viewers show in colours), "binary" (0 in the background,
            255 elsewhere) or "values" (as in the masks that the model learnt from).
        pixel_size: Physical size of a pixel, for further columns of tables; None for that of each
            file, if it has one.
        simplify: Distance in pixels by which outlines in polygons may differ from the exact ones.
        overlay: Format of overlays of images whose results are PNGs, one of `OVERLAY_FORMATS`.
        probabilities: Type of probabilities, one of `PROBABILITY_DTYPES`; "uint8" has 255 for 1,
            and 0 in all classes where the image has no data.
    """

    mask: str = "index"
    pixel_size: PixelSize | None = None
    simplify: float = 0.0
    overlay: str = "png"
    probabilities: str = "float32"

    def __post_init__(self) -> None:
        for name, given, accepted in (
            ("mask", self.mask, MASK_STYLES),
            ("overlay", self.overlay, OVERLAY_FORMATS),
            ("probabilities", self.probabilities, PROBABILITY_DTYPES),
        ):
            if given not in accepted:
                raise ConfigError(
                    f"{name} is {given!r}; accepted are {', '.join(map(repr, accepted))}"
                )
        if not self.simplify >= 0:
            raise ConfigError(
                f"simplify is {self.simplify}; accepted are numbers of pixels from 0; use 1"
            )


@dataclass(frozen=True)
class ImageObjects:
    """The objects of an image.

    Args:
        labels: Number of the object at each pixel, (H, W) uint32, 0 outside objects: an array or a
            memory map.
        table: File of the table, CSV with a row for each object.
        count: Number of objects.
        classes: Index of the class of each object, in the order of their numbers; empty where only
            pixels are written.
    """

    labels: np.ndarray
    table: Path
    count: int
    classes: tuple[int, ...] = ()

    @property
    def dtype(self) -> str:
        """Smallest type of label images that holds all numbers."""
        return "uint16" if self.count <= LARGEST_16_BITS else "uint32"


@dataclass(frozen=True)
class PredictedImage:
    """An image, or a window of it, and its prediction.

    Labels, probabilities and photo are computed on first use, and kept.

    Args:
        source: The image.
        spec: Description of the model.
        metadata: How the prediction was made; stored in every file.
        options: How results are written.
        path: Path of the image file, relative to the folder of the results if it can be.
        most_bytes: Memory for what is computed of the whole image; None for any.
        read_labels: Reads (h, w) uint8 class indices, `NODATA_LABEL` where the image has no data;
            None to compute them from the probabilities.
        read_scores: Reads probabilities, (h, w, K) float32, or (h, w, K + 1) of a model with an
            output that tells objects apart, nan where the image has no data; None where no output
            needs probabilities.
        read_disagreement: Reads how far several predictions disagree, (h, w) float32, nan where the
            image has no data; None where no output needs it.
        has_uncertainty: Whether tables have a column of uncertainty.
        objects: Objects of the whole image; None where no output needs them.
        rows: Rows of the window; None for all.
        columns: Columns of the window; None for all.
    """

    source: Source
    spec: ModelSpec
    metadata: Mapping[str, Any]
    options: ResultOptions = field(default_factory=ResultOptions)
    path: str = "image"
    most_bytes: int | None = None
    read_labels: Read | None = None
    read_scores: Read | None = None
    read_disagreement: Read | None = None
    has_uncertainty: bool = False
    objects: ImageObjects | None = None
    rows: slice | None = None
    columns: slice | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the whole image, in pixels."""
        return self.source.shape[0], self.source.shape[1]

    @property
    def pixel_size(self) -> PixelSize | None:
        """Physical size of a pixel: the given one, else that of the file; None if it has none."""
        return self.options.pixel_size or self.source.pixel_size

    @property
    def has_gaps(self) -> bool:
        """Whether there may be pixels without data."""
        return self.source.has_gaps

    @property
    def classes(self) -> Classes:
        return self.spec.classes

    def window(self, rows: slice, columns: slice) -> "PredictedImage":
        """A window of the image."""
        return replace(self, rows=rows, columns=columns)

    @cached_property
    def labels(self) -> np.ndarray:
        """(h, w) uint8 class indices; `NODATA_LABEL` where the image has no data."""
        if self.read_labels is not None:
            return self.read_labels(*self.spans)
        labels = labels_from_scores(self.probabilities)
        if self.has_gaps:
            labels[np.isnan(self.probabilities[..., 0])] = NODATA_LABEL
        return labels

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(h, w, K) float32; nan where the image has no data."""
        return self.scores[..., : len(self.classes)]

    @cached_property
    def scores(self) -> np.ndarray:
        """Probabilities, and that of the output that tells objects apart, if any; float32."""
        if self.read_scores is None:
            raise TypeError("an output uses probabilities but does not declare that it needs them")
        return self.read_scores(*self.spans)

    @property
    def uncertainty(self) -> np.ndarray:
        """(h, w) float32 in [0, 1], entropy of the probabilities; nan where there is no data."""
        return entropy(self.probabilities)

    @property
    def disagreement(self) -> np.ndarray:
        """(h, w) float32 in [0, 1]; nan where the image has no data."""
        if self.read_disagreement is None:
            raise TypeError("an output uses disagreement but does not declare that it needs it")
        return self.read_disagreement(*self.spans)

    @property
    def separation_maps(self) -> SeparationMaps:
        """Maps of the window in which objects are found."""
        labels, background = self.labels, self.classes.background or 0
        is_object = (labels != background) & (labels != NODATA_LABEL)
        return separation_maps(is_object, self.scores, self.spec.objects, background)

    @property
    def object_numbers(self) -> np.ndarray:
        """(h, w) uint16 or uint32 numbers of objects; 0 outside objects."""
        if self.objects is None:
            raise TypeError("an output uses objects but does not declare that it needs them")
        return self.objects.labels[self.spans].astype(self.objects.dtype)

    @cached_property
    def photo(self) -> np.ndarray:
        """(h, w, 3) uint8."""
        return self.spec.pixels.photo(self.source.read(*self.spans))

    @property
    def spans(self) -> tuple[slice, slice]:
        """Rows and columns of the window."""
        height, width = self.size
        return self.rows or slice(0, height), self.columns or slice(0, width)
