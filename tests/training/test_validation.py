"""Warnings of a validation pass: each is given by its cause, and by nothing else."""

from types import SimpleNamespace

import numpy as np
import pytest

from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.training import validation
from unetkit.training.checkpoints import Best, Progress
from unetkit.training.validation import Recorder, ValidationResult, find_warnings

# Rows truth, columns prediction: pet, background, border.
GOOD = np.array([[280, 20, 0], [20, 560, 10], [10, 20, 80]])
ALL_BACKGROUND = np.array([[0, 300, 0], [0, 600, 0], [0, 100, 0]])


def result_with(**changes):
    values = {
        "step": 500,
        "steps": 1000,
        "confusion": GOOD,
        "best_mean_iou": 0.7,
        "first_loss": 1.1,
        "losses": [0.9, 0.6, 0.5],
        "validation_loss": 0.6,
    }
    return ValidationResult(**{**values, **changes})


def warnings_of(**changes):
    return find_warnings(result_with(**changes), TRIMAP_CLASSES)


def test_a_run_that_goes_well_has_no_warning():
    assert warnings_of() == {}


class TestOneClass:
    def test_the_class_is_named_with_its_predicted_and_true_fraction(self):
        text = warnings_of(confusion=ALL_BACKGROUND)["one-class"]
        assert "100.0% of the validation pixels are predicted as background, but 60.0% are" in text
        assert "--class-weights auto" in text

    def test_the_first_tenth_of_a_run_has_no_warning(self):
        assert "one-class" not in warnings_of(confusion=ALL_BACKGROUND, step=99)
        assert "one-class" in warnings_of(confusion=ALL_BACKGROUND, step=100)

    def test_the_warning_begins_above_99_percent(self):
        almost = np.array([[10, 300, 0], [0, 600, 0], [0, 90, 0]])  # 990 of 1000
        assert "one-class" not in warnings_of(confusion=almost)
        assert "one-class" in warnings_of(
            confusion=almost + np.array([[-1, 1, 0], [0, 0, 0], [0, 0, 0]])
        )

    def test_a_data_set_of_one_dominant_class_has_no_warning(self):
        rare = np.array([[0, 5, 0], [0, 995, 0], [0, 0, 0]])
        assert "one-class" not in warnings_of(confusion=rare)


class TestConstantPrediction:
    """Predicting background for all pixels: IoU 0.6 for background, 0 for two: mean 0.2."""

    def test_no_better_mean_iou_after_a_third_of_the_run(self):
        text = warnings_of(confusion=ALL_BACKGROUND, step=334, best_mean_iou=0.2)["constant"]
        assert "after 334 of 1,000 steps the best validation mean IoU is 0.200" in text
        assert "predicting “background” for all pixels, 0.200" in text

    @pytest.mark.parametrize("changes", [{"step": 333}, {"best_mean_iou": 0.201}])
    def test_before_that_or_with_a_better_one_there_is_no_warning(self, changes):
        values = {"confusion": ALL_BACKGROUND, "step": 334, "best_mean_iou": 0.2, **changes}
        assert "constant" not in warnings_of(**values)

    def test_a_validation_split_of_one_class_has_no_warning(self):
        only = np.array([[0, 0, 0], [0, 100, 0], [0, 0, 0]])
        assert "constant" not in warnings_of(confusion=only, best_mean_iou=1.0)


class TestRisingLoss:
    def test_every_loss_above_the_first(self):
        text = warnings_of(losses=[1.3, 1.4, 4.0])["rising-loss"]
        assert "the training loss was 1.100 at first and is 4.000 now" in text
        assert "a tenth of the learning rate" in text

    @pytest.mark.parametrize("losses", [[1.3], [1.3, 1.2, 4.0], [1.0, 0.9]])
    def test_a_loss_below_it_or_too_few_losses(self, losses):
        assert "rising-loss" not in warnings_of(losses=losses)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_validation_loss_that_is_not_finite(loss):
    text = warnings_of(validation_loss=loss)["validation-loss"]
    assert f"the validation loss is {loss:g} after 500 steps" in text


class TestChoiceOfWeights:
    """Of two classes, the pass with the best foreground wins, not that with the best mean."""

    def recorder(self, keep="best"):
        recorder = Recorder.__new__(Recorder)
        recorder.config = SimpleNamespace(training=SimpleNamespace(keep=keep))
        recorder.progress = Progress(step=1)
        recorder.best_weights = []
        return recorder

    def test_passes_are_compared_by_their_score(self, monkeypatch):
        monkeypatch.setattr(validation, "values_of", lambda model: [model])
        recorder = self.recorder()
        recorder._keep_if_best("first", 0.5, 0.80, averaged=False)
        recorder.progress.step = 2
        recorder._keep_if_best("second", 0.4, 0.85, averaged=False)
        assert recorder.best_weights == ["first"]
        assert recorder.progress.best == Best(1, 0.80, False, 0.5)

    def test_the_last_weights_are_kept_if_that_is_wished(self, monkeypatch):
        monkeypatch.setattr(validation, "values_of", lambda model: [model])
        recorder = self.recorder("last")
        recorder._keep_if_best("first", 0.5, 0.80, averaged=False)
        recorder.progress.step = 2
        recorder._keep_if_best("second", 0.4, 0.85, averaged=False)
        recorder._keep_if_best("its average", 0.3, 0.70, averaged=True)
        assert recorder.best_weights == ["second"]
        assert recorder.progress.best == Best(2, 0.85, False, 0.4)
        recorder.progress.step = 3
        recorder._keep_if_best("third", 0.3, 0.70, averaged=False)
        recorder._keep_if_best("average of the third", 0.35, 0.75, averaged=True)
        assert recorder.best_weights == ["average of the third"]

    @pytest.mark.parametrize(
        ("classes", "counts", "score"),
        [
            # Foreground IoU: 60 / (60 + 40 + 20) = 0.5.
            (Classes(("background", "cell"), (0, 1), background=0), [[880, 20], [40, 60]], 0.5),
            # Two classes without a background: the mean of 880 / 940 and 60 / 120.
            (Classes(("a", "b"), (0, 1)), [[880, 20], [40, 60]], (880 / 940 + 0.5) / 2),
        ],
    )
    def test_the_score_is_the_metric_that_is_quoted(self, classes, counts, score):
        recorder = self.recorder()
        recorder.config = SimpleNamespace(classes=classes)
        recorder._predict_all = lambda model: (np.array(counts), 0.3)
        assert recorder._score(None)[2] == pytest.approx(score)
