"""An image predicted in memory, whole, from which its outputs are written."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from unetkit._shared.memory_budget import BUDGET
from unetkit.prediction.objects import with_objects
from unetkit.prediction.outputs import OUTPUTS, PredictedImage, ResultOptions, metadata_of
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import Source


@contextmanager
def predict_whole(
    predictor: Predictor,
    source: Source,
    kinds: Collection[str],
    options: ResultOptions,
) -> Iterator[PredictedImage]:
    """Predicts an open image.

    Args:
        predictor: The model.
        source: The image, as the model takes it.
        kinds: Kinds of output that will be written, keys of `outputs.OUTPUTS`.
        options: How they will be written.

    Yields:
        The image with its prediction; the table of its objects, if any, exists until the end.

    Raises:
        DataError: The image is damaged.
        SizeError: A connected region of objects does not fit into memory.
    """
    wanted = [OUTPUTS[kind] for kind in kinds]
    needs_scores = any(output.needs_probabilities for output in wanted)
    tiling = predictor.tiling(predictor.spec.scale.network_size(source.shape[:2]))
    found = predictor.answer(source, "scores" if needs_scores else "labels")

    def read(rows: slice, columns: slice) -> np.ndarray:
        return found[rows, columns]

    image = PredictedImage(
        source,
        predictor.spec,
        metadata_of(predictor, tiling),
        options,
        read_labels=None if needs_scores else read,
        read_scores=read if needs_scores else None,
    )
    with ExitStack() as closing_folder:
        if any(output.needs_objects for output in wanted):
            folder = closing_folder.enter_context(tempfile.TemporaryDirectory())
            image = with_objects(image, Path(folder), min(predictor.memory, BUDGET.left))
        yield image
