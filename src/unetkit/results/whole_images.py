"""An image predicted in memory, whole, from which its outputs are written."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from unetkit._shared.memory_budget import BUDGET
from unetkit.io.pyramid import Read
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import Source
from unetkit.results.objects import with_objects
from unetkit.results.outputs import (
    DISAGREEMENT,
    UNCERTAINTY,
    metadata_of,
    needs_objects,
    needs_probabilities,
)
from unetkit.results.predicted_image import PredictedImage, ResultOptions


@contextmanager
def predict_whole(
    predictor: Predictor,
    source: Source,
    kinds: Collection[str],
    options: ResultOptions,
    path: str = "image",
) -> Iterator[PredictedImage]:
    """Predicts an open image.

    Args:
        predictor: The model.
        source: The image, as the model takes it.
        kinds: Kinds of output that will be written, keys of `outputs.OUTPUTS`.
        options: How they will be written.
        path: Path of the image file, as results name it.

    Yields:
        The image with its prediction; the table of its objects, if any, exists until the end.

    Raises:
        DataError: The image is damaged.
        SizeError: A connected region of objects does not fit into memory.
    """
    needs_scores = needs_probabilities(kinds, predictor.spec)
    tiling = predictor.tiling(predictor.spec.scale.network_size(source.shape[:2]))
    disagreement = None
    if needs_scores:
        found, disagreement = predictor.scores(source, DISAGREEMENT in kinds)
    else:
        found = predictor.answer(source, "labels")

    def reader(array: np.ndarray) -> Read:
        return lambda rows, columns: array[rows, columns]

    image = PredictedImage(
        source,
        predictor.spec,
        metadata_of(predictor, tiling),
        options,
        path,
        predictor.memory,
        read_labels=None if needs_scores else reader(found),
        read_scores=reader(found) if needs_scores else None,
        read_disagreement=None if disagreement is None else reader(disagreement),
        has_uncertainty=UNCERTAINTY in kinds,
    )
    with ExitStack() as closing_folder:
        if needs_objects(kinds, predictor.spec):
            folder = closing_folder.enter_context(tempfile.TemporaryDirectory())
            image = with_objects(image, Path(folder), min(predictor.memory, BUDGET.left))
        yield image
