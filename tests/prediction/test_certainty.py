"""Entropy, mean and disagreement of predictions."""

import numpy as np
import pytest
import scipy.stats
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import export_untrained
from tests.prediction.test_predictor import noise
from unetkit import Predictor
from unetkit.prediction.certainty import MeanScores, calibrated, entropy
from unetkit.results.files import predict_files


def probabilities(seed, shape=(4, 5, 3)):
    drawn = np.random.default_rng(seed).dirichlet([0.3] * shape[-1], shape[:-1])
    return drawn.astype(np.float32)


class TestEntropy:
    @given(st.integers(0, 1000), st.integers(2, 6))
    def test_is_that_of_scipy(self, seed, num_classes):
        found = probabilities(seed, (4, 5, num_classes))
        expected = scipy.stats.entropy(found.astype(float), axis=-1, base=num_classes)
        np.testing.assert_allclose(entropy(found), expected, atol=1e-6)

    def test_of_certain_equal_and_missing_probabilities(self):
        found = np.array([[0, 1, 0], [1 / 3] * 3, [np.nan] * 3], np.float32)
        values = entropy(found)
        assert values[:2].tolist() == [0, 1]
        assert np.isnan(values[2])


class TestCalibrated:
    @given(st.integers(0, 1000), st.floats(0.1, 10))
    def test_divides_logarithms_and_keeps_the_order(self, seed, temperature):
        found = calibrated(probabilities(seed), 3, temperature)
        powers = probabilities(seed).astype(float) ** (1 / temperature)
        expected = powers / powers.sum(-1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert (found.argmax(-1) == probabilities(seed).argmax(-1)).all()

    def test_a_further_output_and_a_temperature_of_1_change_nothing(self):
        scores = np.concatenate([probabilities(1), np.full((4, 5, 1), 0.3)], axis=-1)
        assert calibrated(scores, 3, 1.0) is scores
        assert (calibrated(scores.astype(np.float32), 3, 2.0)[..., 3] == np.float32(0.3)).all()

    def test_missing_and_certain_pixels(self):
        found = calibrated(np.array([[np.nan, np.nan], [0, 1]], np.float32), 2, 2.0)
        assert np.isnan(found[0]).all()
        assert found[1].tolist() == pytest.approx([0, 1], abs=1e-6)

    @pytest.mark.parametrize("scale", [{}, {"factor": 0.7}, {"policy": "resize"}])
    def test_a_model_is_calibrated_at_the_size_of_the_image(self, scale, tmp_path):
        plain = Predictor(export_untrained(tmp_path / "plain.onnx", num_classes=3, **scale))
        model = export_untrained(tmp_path / "hot.onnx", num_classes=3, temperature=3.0, **scale)
        hot = Predictor(model)
        assert hot.spec.temperature == 3
        before, after = plain.probabilities(noise()), hot.probabilities(noise())
        np.testing.assert_allclose(after, calibrated(before, 3, 3.0), atol=1e-6)
        assert (plain(noise()) == hot(noise())).all()
        assert (hot.uncertainty(noise()) >= plain.uncertainty(noise())).mean() > 0.99
        powers = np.exp(hot.logits(noise()).astype(float))
        np.testing.assert_allclose(after, powers / powers.sum(-1, keepdims=True), atol=1e-5)
        tifffile.imwrite(tmp_path / "a.tif", noise())
        kinds = ["mask", "probabilities"]
        files = predict_files(hot, [tmp_path / "a.tif"], tmp_path, kinds=kinds, format="zarr")
        zarr = pytest.importorskip("zarr")
        windows = zarr.open(files[1])["0"][:].transpose(1, 2, 0)
        np.testing.assert_allclose(windows, after, atol=1e-6)
        assert (zarr.open(files[0])["0"][:] == plain(noise())).mean() > 0.9999


class TestMeanScores:
    def test_mean_and_disagreement_by_hand(self):
        # Two predictions, each certain of another class: the mean is even, with entropy 1, and
        # each has entropy 0. Then two that agree: the mean is as uncertain as each of them.
        mean = MeanScores(2, measures_disagreement=True)
        mean.add(np.array([[[1, 0], [0.5, 0.5]]], np.float32))
        mean.add(np.array([[[0, 1], [0.5, 0.5]]], np.float32))
        assert mean.scores().tolist() == [[[0.5, 0.5], [0.5, 0.5]]]
        assert mean.disagreement().tolist() == [[1, 0]]

    def test_disagreement_is_mutual_information(self):
        several = [probabilities(seed) for seed in range(4)]
        mean = MeanScores(3, measures_disagreement=True)
        for one in several:
            mean.add(one)
        stacked = np.stack(several).astype(float)
        # I(class; prediction) = sum_m 1/M KL(p_m || mean of p)
        divergence = scipy.stats.entropy(stacked, stacked.mean(0)[None], axis=-1, base=3).mean(0)
        np.testing.assert_allclose(mean.disagreement(), divergence, atol=1e-6)

    def test_a_further_output_is_averaged_but_not_counted_as_a_class(self):
        scores = np.concatenate([probabilities(1, (2, 2, 2)), np.full((2, 2, 1), 0.2)], axis=-1)
        mean = MeanScores(2, measures_disagreement=True)
        for last in (0.2, 0.8):
            scores[..., -1] = last
            mean.add(scores.astype(np.float32))
        np.testing.assert_allclose(mean.scores()[..., -1], 0.5)
        assert not mean.disagreement().any()

    def test_what_is_added_is_not_changed(self):
        one, other = probabilities(1), probabilities(2)
        before = one.copy()
        mean = MeanScores(3)
        mean.add(one)
        mean.add(other)
        np.testing.assert_allclose(mean.scores(), (one + other) / 2, atol=1e-7)
        assert (one == before).all()

    def test_nothing_to_ask_for(self):
        mean = MeanScores(2)
        with pytest.raises(TypeError, match="no prediction was added"):
            mean.scores()
        mean.add(probabilities(1, (2, 2, 2)))
        with pytest.raises(TypeError, match="was not measured"):
            mean.disagreement()
