"""Charts of a report: one SVG element with a name, in colours of the page, and its values."""

import re
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes

from unetkit.metrics.boundaries import distance_names
from unetkit.metrics.breakdown import (
    MOST_CLASSES_SHOWN,
    MOST_GROUPS,
    ClassBreakdown,
    SubsetMetric,
)
from unetkit.visualization import charts
from unetkit.visualization.charts import (
    FIRST,
    MAX_LABEL,
    SECOND,
    Chart,
    _shorten,
    draw_distance_chart,
    draw_fraction_chart,
    draw_group_chart,
    draw_histogram_chart,
    draw_loss_chart,
    draw_reliability_chart,
    draw_score_chart,
    draw_size_chart,
)

NAN = float("nan")
ROW = {"loss": 1.0, "validation_loss": 2.0, "validation_accuracy": 0.5, "validation_mean_iou": 0.25}
ROWS = [{"step": 20.0, **ROW}, {"step": 40.0, **ROW, "loss": 0.12345}]
SUBSETS = [SubsetMetric("small", 3, 0.5, 0.4, 0.6), SubsetMetric("large", 1, 0.75, NAN, NAN)]
DISTANCES = dict.fromkeys(distance_names()) | {"0": 0.5, "64+": 1.0}
FRACTIONS = ClassBreakdown("cell", tuple(SUBSETS), 0, 0)


@pytest.fixture
def drawn(monkeypatch) -> list[Axes]:
    """The axes of the charts, whose SVG is left empty."""
    from matplotlib.figure import Figure

    found: list[Axes] = []

    def draw(height, name, draw_on):
        found.append(Figure().subplots())
        draw_on(found[-1])
        return ""

    monkeypatch.setattr(charts, "_draw", draw)
    return found


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Leaves the SVG empty, for tests of captions and tables."""
    monkeypatch.setattr(charts, "_draw", lambda *arguments: "")


@pytest.fixture(scope="module")
def losses() -> Chart:
    return draw_loss_chart(ROWS, 20)


def text_of(chart: Chart) -> str:
    return "".join(ElementTree.fromstring(chart.svg).itertext())


def reliability(*bins: tuple[float, float, float], error: float = 0.05) -> Chart:
    return draw_reliability_chart({"bins": list(bins), "error": error})


# SVG


def test_charts_take_their_colours_from_the_page():
    charts = (
        draw_reliability_chart({"bins": [[100, 95, 90]] * 15, "error": 0.05}),
        draw_histogram_chart([0.2]),
    )
    svg = "".join(chart.svg for chart in charts)
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert {"ink", "muted", "grid", "first", "second"} == set(
        re.findall(r"var\(--(\w+)\)", svg)
    ) - {"sans"}


def test_a_name_cannot_break_a_chart():
    rows = [
        SubsetMetric("'DejaVu Sans' \"#0a0b01 <b>", 3, 0.5, 0.4, 0.6),
        SubsetMetric("猫", 2, 0.5, 0.4, 0.6),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = draw_group_chart(rows).svg
    text = "".join(ElementTree.fromstring(svg).itertext())
    assert "'DejaVu Sans' \"#0a0b01 <b> (3)" in text
    assert "猫 (2)" in text


def test_a_formula_in_a_name_is_text():
    assert "$x_1$ (3)" in text_of(draw_size_chart([SubsetMetric("$x_1$", 3, 0.5, 0.4, 0.6)]))


def test_the_name_of_a_chart_cannot_break_its_element():
    breakdown = ClassBreakdown('a "b" <c>', tuple(SUBSETS), 0, 0)
    element = ElementTree.fromstring(draw_fraction_chart(breakdown, 3).svg)
    assert element.get("role") == "img"
    assert element.get("aria-label") == 'IoU of a "b" <c> by its fraction of the image'


def test_a_chart_is_one_element_that_refers_only_to_itself():
    svg = draw_histogram_chart([0.2, 0.4]).svg
    element = ElementTree.fromstring(svg)
    assert element.tag.endswith("}svg")
    assert svg.startswith("<svg ")
    ids = [one.get("id") for one in element.iter() if one.get("id")]
    used = set(re.findall(r"""(?:url\(|href=")#([\w.-]+)""", svg))
    assert used
    assert len(ids) == len(set(ids))
    assert set(ids) == used
    assert not {one.tag.rsplit("}")[-1] for one in element.iter()} & {"metadata", "style", "script"}


def test_equal_values_give_equal_charts_and_other_names_other_ids(losses):
    assert draw_loss_chart(ROWS, 20) == losses
    other = draw_score_chart(ROWS, 20).svg
    ids, other_ids = (set(re.findall(r' id="([\w.-]+)"', svg)) for svg in (losses.svg, other))
    assert ids
    assert other_ids
    assert ids.isdisjoint(other_ids)


def test_text_stays_text(losses):
    text = text_of(losses)
    for words in ("training", "validation", "kept: step 20", "loss", "step"):
        assert words in text


# Curves


def test_losses_are_drawn_against_the_step(drawn):
    chart = draw_loss_chart(ROWS, 20)
    first, second, kept = drawn[0].lines
    assert (list(first.get_xdata()), list(first.get_ydata())) == ([20, 40], [1.0, 0.12345])
    assert list(second.get_ydata()) == [2.0, 2.0]
    assert (first.get_color(), second.get_color()) == (FIRST, SECOND)
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_marker() != second.get_marker()
    assert list(kept.get_xdata()) == [20, 20]
    assert chart.head == ("step", "training", "validation")
    assert chart.rows == (("20", "1.0000", "2.0000"), ("40", "0.1235", "2.0000"))
    assert chart.caption.startswith("Loss. ")


def test_scores_are_drawn_against_the_step_from_0_to_1(drawn):
    chart = draw_score_chart(ROWS, 20)
    assert drawn[0].get_ylim() == (0, 1)
    assert chart.head == ("step", "pixel accuracy", "mean IoU")
    assert chart.rows[0] == ("20", "0.5000", "0.2500")
    assert "The kept step was chosen by mean IoU." in chart.caption


@pytest.mark.parametrize(("count", "every"), [(1, 1), (8, 1), (15, 1), (16, 2), (80, 10)])
def test_long_curves_have_about_eight_markers(count, every, drawn):
    draw_loss_chart([{"step": float(step), **ROW} for step in range(count)], 0)
    assert drawn[0].lines[0].get_markevery() == every


# Reliability


def test_accuracy_and_confidence_of_a_bin_are_means_over_its_pixels(drawn):
    """30 pixels with a sum of confidences of 24 (24 / 30 = 0.8), of which 21 are correct (0.7)."""
    chart = reliability((30, 24, 21), (0, 0, 0), (10, 9.5, 10), error=0.0125)
    assert chart.head == ("confidence", "accuracy", "fraction of pixels")
    # Fractions of the 40 pixels: 30 / 40 and 10 / 40. The bin without pixels is left out.
    assert chart.rows == (("0.800", "0.700", "75.0%"), ("0.950", "1.000", "25.0%"))
    assert chart.caption.endswith("Expected calibration error 0.013.")
    ideal, network = drawn[0].lines
    assert list(ideal.get_xdata()) == list(ideal.get_ydata()) == [0, 1]
    assert list(network.get_ydata()) == [0.7, 1.0]


@pytest.mark.parametrize(("correct", "start"), [(95, 0.5), (20, 0.2)])
def test_the_axes_begin_at_a_half_or_at_the_lowest_value(correct, start, drawn):
    reliability((100, 90, correct))
    assert drawn[0].get_xlim() == drawn[0].get_ylim() == (start - 0.03, 1.03)


# Distance


def test_distances_without_pixels_are_left_out(drawn):
    chart = draw_distance_chart(DISTANCES, {"0": [0.4, 0.6], "64+": [None, None]})
    assert [label.get_text() for label in drawn[0].get_xticklabels()] == ["0", "64+"]
    assert chart.head == ("distance in pixels", "accuracy", "interval")
    assert chart.rows == (("0", "0.500", "0.400 to 0.600"), ("64+", "1.000", ""))


def test_distances_may_have_no_interval():
    chart = draw_distance_chart(DISTANCES, {})
    assert [row[-1] for row in chart.rows] == ["", ""]
    assert "64+" in text_of(chart)


# Histogram


def test_images_are_counted_in_bins_of_a_twentieth(drawn):
    chart = draw_histogram_chart([0.0, 0.04, 0.05, 0.99, 1.0])
    assert chart.head == ("mean IoU", "images")
    # The last bin includes 1; bins without images are left out.
    assert chart.rows == (("0.00 to 0.05", "2"), ("0.05 to 0.10", "1"), ("0.95 to 1.00", "2"))
    # Quartiles of five values are the second and the fourth.
    assert chart.caption.endswith("half of them are between 0.040 and 0.990.")
    (median,) = drawn[0].lines
    assert (list(median.get_xdata()), median.get_label()) == ([0.05, 0.05], "median 0.050")


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=20)
def test_each_image_is_in_one_bin(scores):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "_draw", lambda *arguments: "")
        rows = draw_histogram_chart(scores).rows
    assert sum(int(number) for _, number in rows) == len(scores)


# Subsets


def test_subsets_are_drawn_from_the_top_with_their_intervals(drawn):
    chart = draw_size_chart(SUBSETS)
    axes = drawn[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["small (3)", "large (1)"]
    assert axes.get_yticks().tolist() == [1, 0]
    first, second, dots = axes.lines
    assert list(first.get_xdata()) == [0.4, 0.6]
    assert np.isnan(second.get_xdata()).all()
    assert list(dots.get_xdata()) == [0.5, 0.75]
    assert chart.head == ("", "images", "mean IoU", "interval")
    assert chart.rows == (("small", "3", "0.500", "0.400 to 0.600"), ("large", "1", "0.750", ""))


def test_subsets_without_a_score_are_left_out():
    chart = draw_group_chart([SubsetMetric("none", 2, NAN, NAN, NAN), *SUBSETS])
    assert [row[0] for row in chart.rows] == ["small", "large"]
    assert "none" not in text_of(chart)
    assert draw_group_chart([SubsetMetric("none", 2, NAN, NAN, NAN)]).rows == ()


@pytest.mark.parametrize("count", [MOST_GROUPS - 1, MOST_GROUPS])
def test_the_caption_tells_that_only_some_groups_are_shown(count, undrawn):
    caption = draw_group_chart([SUBSETS[0]] * count).caption
    expected = f"lines are intervals. Only the {MOST_GROUPS} worst are shown."
    assert caption.endswith(expected) == (count == MOST_GROUPS)


def test_the_caption_tells_of_false_alarms(undrawn):
    assert draw_fraction_chart(FRACTIONS, 2).caption == "IoU of cell by its fraction of the image."
    some = ClassBreakdown("cell", tuple(SUBSETS), without=5, false_alarms=2)
    assert draw_fraction_chart(some, 2).caption == (
        "IoU of cell by its fraction of the image. It is predicted in 2 of 5 images without it."
    )


def test_the_caption_tells_that_only_some_classes_are_shown(undrawn):
    """The background has no chart, so that one class more than are shown is no limit."""
    most = MOST_CLASSES_SHOWN + 1
    assert "worst" not in draw_fraction_chart(FRACTIONS, most).caption
    expected = f" Only the {MOST_CLASSES_SHOWN} worst of {most + 1} classes are shown."
    assert draw_fraction_chart(FRACTIONS, most + 1).caption.endswith(expected)


def test_long_labels_are_shortened_in_the_chart_and_whole_in_the_table(drawn):
    name = "patient_" + "x" * 40 + "_left"
    chart = draw_group_chart([SubsetMetric(name, 3, 0.5, 0.4, 0.6)])
    (label,) = drawn[0].get_yticklabels()
    assert label.get_text() == f"{_shorten(name)} (3)"
    assert chart.rows[0][0] == name


@given(st.text("abcdefgh ", max_size=60))
@settings(max_examples=40)
def test_a_shortened_label_keeps_both_ends(text):
    short = _shorten(text)
    assert len(short) <= MAX_LABEL
    assert short == text or (text.startswith(short[:12]) and text.endswith(short[-12:]))
    assert (short == text) or len(text) > MAX_LABEL
