"""Alarms: each is raised by what it is about, and by nothing else."""

import numpy as np
import pytest

from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.training.validation import ValidationResult, raise_alarms

# Rows truth, columns prediction: pet, background, border.
GOOD = np.array([[280, 20, 0], [20, 560, 10], [10, 20, 80]])
ALL_BACKGROUND = np.array([[0, 300, 0], [0, 600, 0], [0, 100, 0]])


def look(**changes):
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


def alarms(**changes):
    return raise_alarms(look(**changes), TRIMAP_CLASSES)


def test_a_run_that_goes_well_raises_none():
    assert alarms() == {}


class TestOneClass:
    def test_it_is_named_with_its_share_and_its_true_share(self):
        text = alarms(confusion=ALL_BACKGROUND)["one-class"]
        assert "100.0% of the pixels are called background, and 60.0% are" in text
        assert "--class-weights auto" in text

    def test_the_first_tenth_of_a_run_may_do_so(self):
        assert "one-class" not in alarms(confusion=ALL_BACKGROUND, step=99)
        assert "one-class" in alarms(confusion=ALL_BACKGROUND, step=100)

    def test_it_begins_above_99_in_100(self):
        almost = np.array([[10, 300, 0], [0, 600, 0], [0, 90, 0]])  # 990 of 1000
        assert "one-class" not in alarms(confusion=almost)
        assert "one-class" in alarms(
            confusion=almost + np.array([[-1, 1, 0], [0, 0, 0], [0, 0, 0]])
        )

    def test_a_set_that_is_so_itself_raises_none(self):
        rare = np.array([[0, 5, 0], [0, 995, 0], [0, 0, 0]])
        assert "one-class" not in alarms(confusion=rare)


class TestConstantAnswer:
    """ALL_BACKGROUND's constant answer: IoU 0.6 for background, 0 for two: 0.2 in the mean."""

    def test_no_gain_on_it_after_a_third_of_the_run(self):
        text = alarms(confusion=ALL_BACKGROUND, step=334, best_mean_iou=0.2)["constant"]
        assert "after 334 of 1000 steps the best validation mean IoU is 0.200" in text
        assert "“background” has 0.200" in text

    @pytest.mark.parametrize("changes", [{"step": 333}, {"best_mean_iou": 0.201}])
    def test_before_that_or_with_a_gain_there_is_none(self, changes):
        values = {"confusion": ALL_BACKGROUND, "step": 334, "best_mean_iou": 0.2, **changes}
        assert "constant" not in alarms(**values)

    def test_a_validation_part_of_one_class_says_nothing(self):
        only = np.array([[0, 0, 0], [0, 100, 0], [0, 0, 0]])
        assert "constant" not in alarms(confusion=only, best_mean_iou=1.0)


class TestRisingLoss:
    def test_every_look_above_the_start(self):
        text = alarms(losses=[1.3, 1.4, 4.0])["rising-loss"]
        assert "began at 1.100 and has been well above it since, 4.000 now" in text
        assert "a tenth of --learning-rate" in text

    @pytest.mark.parametrize("losses", [[1.3], [1.3, 1.2, 4.0], [1.0, 0.9]])
    def test_one_look_below_it_or_too_few(self, losses):
        assert "rising-loss" not in alarms(losses=losses)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_validation_loss_that_is_no_number(loss):
    text = alarms(validation_loss=loss)["validation-loss"]
    assert f"the validation loss is {loss:g} after 500 steps" in text
