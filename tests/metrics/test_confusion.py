"""Every figure against scikit-learn, against a count pixel by pixel, and by hand."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as oracle

from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.scale import IGNORE
from unetkit.errors import ConfigError, SizeError
from unetkit.metrics.bootstrap import flatten
from unetkit.metrics.confusion import (
    BORDER_POLICIES,
    compute_metrics,
    confusion_matrix,
    dice_score,
    foreground_counts,
    iou_score,
    mean_over_images,
    mean_score,
    pixel_accuracy,
)

STEADY = settings(derandomize=True, max_examples=80)
PET, BACKGROUND, BORDER = range(3)  # of TRIMAP_CLASSES


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Truth with ignored pixels, prediction, number of classes; often some class is absent."""
    num_classes = draw(st.integers(2, 5))
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    classes = st.sampled_from(range(num_classes))
    truth = draw(arrays.arrays(np.uint8, size, elements=st.one_of(classes, st.just(IGNORE))))
    return truth, draw(arrays.arrays(np.uint8, size, elements=classes)), num_classes


def kept(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return truth[truth != IGNORE], prediction[truth != IGNORE]


class TestConfusionMatrix:
    def test_rows_are_truth_and_columns_prediction(self):
        truth = np.array([[0, 0, 1], [2, 2, 2]])
        prediction = np.array([[0, 1, 1], [0, 0, 2]])
        # truth 0: one right, one as 1. Truth 1: right. Truth 2: two as 0, one right.
        counts = confusion_matrix(truth, prediction, 3)
        assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]
        assert counts.dtype == np.int64

    def test_ignored_pixels_are_not_counted_whatever_is_predicted(self):
        truth = np.array([0, IGNORE, IGNORE, 1], np.uint8)
        assert confusion_matrix(truth, np.array([0, 0, 1, 1], np.uint8), 2).tolist() == [
            [1, 0],
            [0, 1],
        ]

    def test_nothing_but_ignored_pixels_gives_zeros(self):
        truth = np.full((2, 3), IGNORE, np.uint8)
        counts = confusion_matrix(truth, np.zeros((2, 3), np.uint8), 2)
        assert counts.tolist() == [[0, 0], [0, 0]]

    def test_many_classes_in_bytes_do_not_wrap_around(self):
        # 199 * 200 + 198 does not fit into the uint8 that masks have
        truth, prediction = np.array([199, 199], np.uint8), np.array([198, 199], np.uint8)
        counts = confusion_matrix(truth, prediction, 200)
        assert counts[199, 198] == counts[199, 199] == 1
        assert counts.sum() == 2

    @given(case=labelled())
    @STEADY
    def test_agrees_with_scikit_learn(self, case):
        truth, prediction, num_classes = case
        counts = confusion_matrix(truth, prediction, num_classes)
        true, predicted = kept(truth, prediction)
        expected = np.zeros((num_classes, num_classes))
        if true.size:
            expected = oracle.confusion_matrix(true, predicted, labels=range(num_classes))
        assert np.array_equal(counts, expected)

    @given(case=labelled(), seed=st.integers(0, 99))
    @STEADY
    def test_parts_add_up_to_the_whole_in_any_order(self, case, seed):
        truth, prediction, num_classes = case
        whole = confusion_matrix(truth, prediction, num_classes)
        order = np.random.default_rng(seed).permutation(truth.size)
        cut = truth.size // 2
        parts = [
            confusion_matrix(truth.ravel()[part], prediction.ravel()[part], num_classes)
            for part in (order[:cut], order[cut:])
        ]
        assert np.array_equal(parts[0] + parts[1], whole)

    def test_different_shapes_are_refused(self):
        message = "truth is (2, 3) and prediction (3, 2); accepted are equal shapes"
        with pytest.raises(SizeError, match=f"^{re.escape(message)}$"):
            confusion_matrix(np.zeros((2, 3), int), np.zeros((3, 2), int), 2)

    @pytest.mark.parametrize(
        ("truth", "prediction", "message"),
        [
            ([0, 3], [0, 0], "truth has class 3; accepted are 0 to 2, and 255 in the truth for"),
            ([0, -1], [0, 0], "truth has class -1; accepted are 0 to 2, and 255 in the truth for"),
            ([0, 0], [0, 3], "prediction has class 3; accepted are 0 to 2, and 255 in the truth"),
            ([0, 0], [-2, 0], "prediction has class -2; accepted are 0 to 2, and 255 in the"),
            ([0, 0], [0, IGNORE], "prediction has class 255; accepted are 0 to 2, and 255 in the"),
        ],
    )
    def test_class_out_of_range_is_refused(self, truth, prediction, message):
        ending = re.escape("ignored pixels; check the number of classes")
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}.*{ending}$"):
            confusion_matrix(np.array(truth), np.array(prediction), 3)


class TestScores:
    # truth 0: 6 right, 2 as 1; truth 1: 1 as 0, 3 right; truth 2: 4 as 0, none right
    COUNTS = np.array([[6, 2, 0], [1, 3, 0], [4, 0, 0]])

    def test_by_hand(self):
        # 16 pixels, 9 of them right
        assert pixel_accuracy(self.COUNTS) == 9 / 16
        # 0: tp 6, fp 1 + 4, fn 2: 6 / 13; 1: tp 3, fp 2, fn 1: 3 / 6; 2: tp 0, fp 0, fn 4: 0
        assert iou_score(self.COUNTS).tolist() == [6 / 13, 3 / 6, 0.0]
        # 0: 12 / (12 + 5 + 2); 1: 6 / (6 + 2 + 1); 2: 0
        assert dice_score(self.COUNTS).tolist() == [12 / 19, 6 / 9, 0.0]

    def test_absent_class_is_nan(self):
        counts = np.array([[3, 0, 1], [0, 0, 0], [0, 0, 2]])
        assert np.isnan(iou_score(counts)).tolist() == [False, True, False]
        assert np.isnan(dice_score(counts)).tolist() == [False, True, False]

    def test_class_that_is_only_predicted_scores_zero(self):
        counts = np.array([[3, 1], [0, 0]])
        assert iou_score(counts)[1] == dice_score(counts)[1] == 0

    def test_absent_class_is_left_out_of_the_mean(self):
        # (1 + 0.5) / 2, not / 3
        assert mean_score(np.array([1.0, np.nan, 0.5])) == 0.75

    def test_no_pixel_is_nan_without_a_warning(self):
        empty = np.zeros((2, 2), np.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.isnan(pixel_accuracy(empty))
            assert np.isnan(iou_score(empty)).all()
            assert np.isnan(dice_score(empty)).all()
            assert np.isnan(mean_score(iou_score(empty)))

    @given(case=labelled())
    @STEADY
    def test_agree_with_scikit_learn(self, case):
        truth, prediction, num_classes = case
        counts = confusion_matrix(truth, prediction, num_classes)
        true, predicted = kept(truth, prediction)
        if not true.size:
            return
        present = np.union1d(true, predicted)
        kwargs = {"labels": present, "average": None}
        iou, dice = iou_score(counts), dice_score(counts)
        assert np.allclose(iou[present], oracle.jaccard_score(true, predicted, **kwargs))
        assert np.allclose(dice[present], oracle.f1_score(true, predicted, **kwargs))
        assert np.isclose(pixel_accuracy(counts), oracle.accuracy_score(true, predicted))
        absent = np.setdiff1d(np.arange(num_classes), present)
        assert np.isnan(iou[absent]).all()
        assert np.isnan(dice[absent]).all()
        assert np.isclose(
            mean_score(iou), oracle.jaccard_score(true, predicted, labels=present, average="macro")
        )

    @given(case=labelled())
    @STEADY
    def test_dice_follows_from_iou(self, case):
        counts = confusion_matrix(*case)
        iou = iou_score(counts)
        assert np.allclose(dice_score(counts), 2 * iou / (1 + iou), equal_nan=True)

    def test_many_matrices_at_once_give_what_each_gives(self):
        many = np.random.default_rng(0).integers(0, 9, (4, 5, 3, 3))
        many[0, 0] = 0
        many[1, 1, 2] = many[1, 1, :, 2] = 0  # the last class is absent
        together = flatten(compute_metrics(many, TRIMAP_CLASSES))
        for place in np.ndindex(4, 5):
            for path, value in flatten(compute_metrics(many[place], TRIMAP_CLASSES)).items():
                assert isinstance(value, float)
                assert np.allclose(together[path][place], value, equal_nan=True)

    @pytest.mark.parametrize("measure", [pixel_accuracy, iou_score, dice_score])
    @pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 2, 3)])
    def test_matrix_that_is_not_square_is_refused(self, measure, shape):
        message = (
            f"confusion matrix has shape {shape}; accepted is (K, K), rows truth and columns "
            "prediction; use confusion_matrix"
        )
        with pytest.raises(SizeError, match=f"^{re.escape(message)}$"):
            measure(np.ones(shape, np.int64))


def count_foreground(truth: np.ndarray, prediction: np.ndarray, policy: str) -> list[list[int]]:
    """The policies again, pixel by pixel."""
    counts = [[0, 0], [0, 0]]
    for true, predicted in zip(truth.ravel(), prediction.ravel(), strict=True):
        if true == IGNORE or (policy == "border_ignored" and true == BORDER):
            continue
        animal = {PET} if policy == "border_as_background" else {PET, BORDER}
        counts[int(true in animal)][int(predicted in animal)] += 1
    return counts


class TestForeground:
    # Rows truth, columns prediction, in the order pet, background, border.
    COUNTS = np.array([[50, 3, 5], [4, 80, 6], [7, 8, 20]])

    @pytest.mark.parametrize(
        ("policy", "expected"),
        [
            # background row: background 80, animal 4 + 6; animal rows: background 3 + 8,
            # animal 50 + 5 + 7 + 20
            ("border_as_foreground", [[80, 10], [11, 82]]),
            # pet row: pet 50, rest 3 + 5; rest rows: pet 4 + 7, rest 80 + 6 + 8 + 20
            ("border_as_background", [[114, 11], [8, 50]]),
            # without the border row: background 80, animal 4 + 6; pet: background 3, animal 50 + 5
            ("border_ignored", [[80, 10], [3, 55]]),
        ],
    )
    def test_border_policies_by_hand(self, policy, expected):
        assert foreground_counts(self.COUNTS, TRIMAP_CLASSES, policy).tolist() == expected

    @pytest.mark.parametrize("policy", BORDER_POLICIES)
    @given(
        pixels=st.lists(
            st.tuples(st.sampled_from([PET, BACKGROUND, BORDER, IGNORE]), st.integers(0, 2)),
            max_size=40,
        )
    )
    @STEADY
    def test_border_policies_agree_with_a_count_pixel_by_pixel(self, policy, pixels):
        truth, prediction = np.array(pixels, int).reshape(-1, 2).T
        counts = confusion_matrix(truth, prediction, 3)
        pair = foreground_counts(counts, TRIMAP_CLASSES, policy)
        assert pair.tolist() == count_foreground(truth, prediction, policy)
        assert pair.dtype == np.int64

    def test_policies_agree_without_a_border_class(self):
        classes = Classes(("sky", "cat", "dog"), (0, 1, 2), background=0)
        # Foreground is cat and dog; confusing them is no error: [[50, 3 + 5], [4 + 7, 80+6+8+20]]
        for policy in BORDER_POLICIES:
            pair = foreground_counts(self.COUNTS, classes, policy)
            assert pair.tolist() == [[50, 8], [11, 114]]

    def test_unknown_policy_is_refused_with_a_suggestion(self):
        message = (
            "border policy 'border_ignore' is unknown; accepted are border_as_foreground, "
            "border_as_background, border_ignored; did you mean 'border_ignored'?"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            foreground_counts(self.COUNTS, TRIMAP_CLASSES, "border_ignore")

    def test_classes_without_background_are_refused(self):
        classes = Classes(("cat", "dog", "cow"), (0, 1, 2))
        message = (
            "classes ['cat', 'dog', 'cow'] have no background; foreground metrics need one; set "
            "the background class"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            foreground_counts(self.COUNTS, classes, "border_ignored")


class TestFigures:
    def test_trimap_by_hand(self):
        result = compute_metrics(TestForeground.COUNTS, TRIMAP_CLASSES)
        # 183 pixels, 50 + 80 + 20 right
        assert result["pixel_accuracy"] == pytest.approx(150 / 183)
        # pet: fp 4 + 7, fn 3 + 5; background: fp 3 + 8, fn 4 + 6; border: fp 5 + 6, fn 7 + 8
        iou = {"pet": 50 / 69, "background": 80 / 101, "border": 20 / 46}
        dice = {"pet": 100 / 119, "background": 160 / 181, "border": 40 / 66}
        assert result["iou"] == pytest.approx(iou)
        assert result["dice"] == pytest.approx(dice)
        assert result["mean_iou"] == pytest.approx(sum(iou.values()) / 3)
        assert result["mean_dice"] == pytest.approx(sum(dice.values()) / 3)
        assert result["foreground_iou"] == pytest.approx(
            {
                "border_as_foreground": 82 / (82 + 10 + 11),
                "border_as_background": 50 / (50 + 11 + 8),
                "border_ignored": 55 / (55 + 10 + 3),
            }
        )
        assert result["foreground_dice"] == pytest.approx(
            {
                "border_as_foreground": 164 / (164 + 10 + 11),
                "border_as_background": 100 / (100 + 11 + 8),
                "border_ignored": 110 / (110 + 10 + 3),
            }
        )
        assert len(result) == 7

    def test_without_border_there_is_one_foreground_figure(self):
        classes = Classes(("background", "cell"), (0, 255), background=0)
        result = compute_metrics(np.array([[5, 1], [2, 4]]), classes)
        assert result["foreground_iou"] == {"all": pytest.approx(4 / 7)}
        assert result["foreground_dice"] == {"all": pytest.approx(8 / 11)}

    def test_without_background_there_is_no_foreground_figure(self):
        result = compute_metrics(np.array([[5, 1], [2, 4]]), Classes(("cat", "dog"), (0, 1)))
        assert set(result) == {"pixel_accuracy", "mean_iou", "mean_dice", "iou", "dice"}

    def test_figures_are_plain_floats(self):
        result = compute_metrics(TestForeground.COUNTS, TRIMAP_CLASSES)
        flat = [result["pixel_accuracy"], result["mean_iou"], result["mean_dice"]]
        for name in ("iou", "dice", "foreground_iou", "foreground_dice"):
            flat += result[name].values()
        assert {type(value) for value in flat} == {float}


class TestMeanOverImages:
    CLASSES = Classes(("background", "cell"), (0, 1), background=0)

    def measure(self, counts: np.ndarray) -> dict[str, object]:
        return compute_metrics(counts, self.CLASSES)

    def test_each_image_weighs_the_same_whatever_its_size(self):
        small, large = np.array([[1, 1], [0, 2]]), np.array([[100, 0], [0, 300]])
        result = mean_over_images([small, large], self.measure)
        # cell: 2 / 3 and 1, so (2/3 + 1) / 2; summed first it would be 302 / 303
        assert result["iou"]["cell"] == pytest.approx((2 / 3 + 1) / 2)
        assert result["pixel_accuracy"] == pytest.approx((3 / 4 + 1) / 2)
        assert result["foreground_iou"]["all"] == pytest.approx((2 / 3 + 1) / 2)

    def test_image_without_the_class_is_left_out(self):
        empty, full = np.array([[4, 0], [0, 0]]), np.array([[2, 1], [0, 1]])
        result = mean_over_images([empty, full], self.measure)
        assert result["iou"]["cell"] == pytest.approx(1 / 2)  # of the second alone
        assert result["iou"]["background"] == pytest.approx((1 + 2 / 3) / 2)

    def test_class_of_no_image_is_nan(self):
        result = mean_over_images([np.array([[4, 0], [0, 0]])] * 2, self.measure)
        assert np.isnan(result["iou"]["cell"])
        assert result["iou"]["background"] == 1

    def test_one_image_has_its_own_figures(self):
        counts = np.array([[5, 1], [2, 4]])
        assert mean_over_images([counts], self.measure) == self.measure(counts)
