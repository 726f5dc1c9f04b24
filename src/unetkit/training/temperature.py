"""The temperature by which the probabilities of a finished run are calibrated.

It is fitted on pixels of the validation pairs, predicted as a user would predict them, at the size
of their masks. What a temperature does is left to `prediction.certainty`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unetkit.data.classes import Classes
from unetkit.data.pairs import Pair
from unetkit.data.reading import read_pair
from unetkit.data.scale import IGNORE
from unetkit.metrics.calibration import LEAST_PROBABILITY, fit_temperature
from unetkit.models.spec import TEMPERATURES
from unetkit.prediction.predictor import Predictor

MOST_PAIRS = 100
MOST_PREDICTED = 1 << 24  # pixels of images
MOST_FITTED = 1 << 18  # pixels
TEMPERATURE_DIGITS = (
    3  # of a temperature, so that rounding of the network does not change the model file
)


def choose_temperature(model: Path, pairs: Sequence[Pair], classes: Classes) -> float:
    """Fits the temperature of a model to masks.

    Args:
        model: Exported network of the run, not calibrated.
        pairs: Validation pairs.
        classes: Classes of the masks.

    Returns:
        The temperature; 1 if no pixel of the pairs has a class.

    Raises:
        DataError: A pair cannot be read.
    """
    predictor, predicted = Predictor(model), 0
    pairs = pairs[:: max(1, -(-len(pairs) // MOST_PAIRS))]
    of_each = max(1, MOST_FITTED // max(1, len(pairs)))
    logs, truths = [np.zeros((0, len(classes)))], [np.zeros(0, np.uint8)]
    for pair in pairs:
        image, mask = read_pair(pair, classes, predictor.spec.pixels)
        places = np.flatnonzero(mask.ravel() != IGNORE)
        places = places[:: max(1, -(-len(places) // of_each))]
        found = predictor.probabilities(image).reshape(-1, len(classes))[places]
        logs.append(np.log(np.maximum(found.astype(np.float64), LEAST_PROBABILITY)))
        truths.append(mask.ravel()[places])
        predicted += mask.size
        if predicted >= MOST_PREDICTED:
            break
    temperature = fit_temperature(np.concatenate(logs), np.concatenate(truths), TEMPERATURES)
    return round(float(np.clip(temperature, *TEMPERATURES)), TEMPERATURE_DIGITS)
