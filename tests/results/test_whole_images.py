"""A prediction in memory has what its outputs need, and nothing else."""

import numpy as np
import pytest

from unetkit.models.built_in import BUILT_IN
from unetkit.prediction.predictor import Predictor
from unetkit.prediction.sources import open_source
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.whole_images import predict_whole

PHOTO = np.random.default_rng(3).integers(0, 256, (40, 56, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictor():
    return Predictor(BUILT_IN)


def test_masks_need_labels_only(predictor):
    with (
        open_source(PHOTO, predictor.spec.pixels) as source,
        predict_whole(predictor, source, ["mask", "overlay"], ResultOptions()) as image,
    ):
        assert (image.labels == predictor(PHOTO)).all()
        assert image.metadata["model"] == predictor.digest
        with pytest.raises(TypeError, match="does not declare that it needs them"):
            _ = image.probabilities


def test_cutouts_need_probabilities(predictor):
    with (
        open_source(PHOTO, predictor.spec.pixels) as source,
        predict_whole(predictor, source, ["cutout"], ResultOptions()) as image,
    ):
        assert (image.probabilities == predictor.probabilities(PHOTO)).all()
        assert (image.labels == predictor(PHOTO)).all()
        assert image.objects is None
