"""Figures: painted masks by hand, and what contact sheets, examples and curves show."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.scale import IGNORE
from unetkit.visualization import figures
from unetkit.visualization.figures import (
    BLUE,
    DPI,
    MAX_ASPECT,
    MAX_CAPTION,
    MAX_SHOWN,
    ORANGE,
    PAGE_INCHES,
    SHEET_COLUMNS,
    SHEET_DPI,
    Example,
    Sample,
    _outline,
    _shorten,
    _subsample,
    draw_curves,
    draw_examples,
    draw_samples,
    draw_weights,
    paint,
)

TWO = Classes(("ground", "cell"), (0, 1), background=0, colours=((0, 0, 0), (200, 100, 50)))
ROW = {"loss": 1.0, "validation_loss": 2.0, "validation_accuracy": 0.5, "validation_mean_iou": 0.25}


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that are drawn, which are not written."""
    found: list[Figure] = []
    monkeypatch.setattr(figures, "_save", lambda figure, path, dpi=0: found.append(figure))
    return found


def images_of(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def legend_of(figure: Figure) -> dict[str, str]:
    """Colours of the legend by their names."""
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    colours = [to_hex(patch.get_facecolor()) for patch in legend.get_patches()]
    return dict(zip(texts, colours, strict=True))


def sample(caption="", shape=(4, 6), **options) -> Sample:
    return Sample(np.full((*shape, 3), 90, np.uint8), np.ones(shape, np.uint8), caption, **options)


def example(shape=(4, 6), channels=3, caption="") -> Example:
    image = np.full((*shape, channels), 90, np.uint8)
    return Example(image, np.zeros(shape, np.uint8), np.ones(shape, np.uint8), caption)


# Painted masks and captions


def test_colours_are_mixed_with_the_image_in_grey():
    image = np.array([[[30, 60, 90], [30, 60, 90], [30, 60, 90]]], np.uint8)
    mask = np.array([[0, 1, IGNORE]], np.uint8)
    # The grey value is (30 + 60 + 90) / 3 = 60, with a weight of 0.4; the colour has 0.6:
    # 24 + 0, then 24 + 120, 24 + 60 and 24 + 30; ignored pixels are 60.
    assert paint(image, mask, TWO).tolist() == [[[24, 24, 24], [144, 84, 54], [60, 60, 60]]]


def test_grey_images_of_one_channel_are_painted_like_rgb():
    mask = np.array([[0, 1], [IGNORE, 1]], np.uint8)
    grey = np.array([[[9], [50]], [[200], [255]]], np.uint8)
    assert (paint(grey, mask, TWO) == paint(grey.repeat(3, axis=2), mask, TWO)).all()


@settings(max_examples=30)
@given(arrays(np.uint8, (2, 3, 3)), st.integers(0, 2))
def test_brighter_images_are_painted_brighter(image, index):
    mask = np.full((2, 3), index, np.uint8)
    brighter = np.maximum(image, 128)
    dark, bright = paint(image, mask, TRIMAP_CLASSES), paint(brighter, mask, TRIMAP_CLASSES)
    assert dark.dtype == np.uint8
    assert (dark <= bright).all()


def test_objects_are_separated_by_lines():
    painted = np.full((3, 6, 3), 200, np.uint8)
    objects = np.array([[1, 1, 1, 2, 2, 2]] * 3)
    # The line is of two pixels: the last of one object and the first of the other.
    assert _outline(painted, objects)[0, :, 0].tolist() == [200, 200, 0, 0, 200, 200]
    assert _outline(painted, objects.T[:3, :1].repeat(6, axis=1))[:, 0, 0].tolist() == [200] * 3


def test_long_captions_keep_both_ends():
    name = "slide_" + "x" * 80 + "_field_07"
    assert len(_shorten(name)) <= MAX_CAPTION
    assert _shorten(name).startswith("slide_")
    assert _shorten(name).endswith("field_07")
    assert _shorten("cat") == "cat"


def test_sheets_are_drawn_whatever_names_and_shapes_are(tmp_path):
    """Names in other letters, formulas and long ones; very tall and very wide images."""
    captions = ("猫", "$x_1$\n$", "a" * 300, "b\n" + "c, " * 100)
    shapes = ((300, 4), (4, 300), (1, 1), (40, 50))
    samples = [
        Sample(np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8), caption)
        for shape, caption in zip(shapes, captions, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_samples(tmp_path / "sheet.png", samples, Classes(("a", "b"), (0, 1)))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height > 100


# Reduction


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_large_images_are_reduced_and_small_ones_are_not(height, width):
    # A view of one value, so that no test allocates a large array.
    reduced = _subsample(np.broadcast_to(np.uint8(0), (height, width)))
    assert max(reduced.shape) <= MAX_SHOWN
    if max(height, width) <= MAX_SHOWN:
        assert reduced.shape == (height, width)
    else:
        assert max(reduced.shape) > MAX_SHOWN / 2 - 1


def test_every_n_th_pixel_is_kept(monkeypatch):
    """Of 7 columns at most 3 are kept: every third, which are 0, 3 and 6."""
    array = np.arange(14).reshape(2, 7)
    monkeypatch.setattr("unetkit.visualization.figures.MAX_SHOWN", 3)
    assert _subsample(array).tolist() == [[0, 3, 6]]


# Contact sheets


def test_each_image_of_a_sheet_is_beside_its_painted_mask(drawn, tmp_path):
    samples = [sample(f"pair {i}") for i in range(SHEET_COLUMNS + 1)]
    draw_samples(tmp_path / "a.png", samples, TWO)
    (figure,) = drawn
    panels = images_of(figure)
    assert len(panels) == 2 * len(samples)
    for shown in panels[::2]:
        assert (shown == samples[0].image).all()
    for shown in panels[1::2]:
        assert (shown == paint(samples[0].image, samples[0].mask, TWO)).all()
    assert len(figure.axes) == 2 * 2 * SHEET_COLUMNS  # two rows, the second with empty cells
    titles = [axes.get_title(loc="left") for axes in figure.axes[: 2 * SHEET_COLUMNS : 2]]
    assert titles == ["pair 0", "pair 1", "pair 2", "pair 3"]
    assert legend_of(figure) == {"ground": "#000000", "cell": "#c86432"}


def test_each_line_of_a_caption_is_shortened(drawn, tmp_path):
    draw_samples(tmp_path / "a.png", [sample("a" * 99 + "\nissue")], TWO)
    first, second = drawn[0].axes[0].get_title(loc="left").split("\n")
    assert (len(first) <= MAX_CAPTION, second) == (True, "issue")


def test_touching_objects_of_a_sheet_are_separated(drawn, tmp_path):
    objects = np.array([[1, 1, 1, 2, 2, 2]] * 4)
    draw_samples(tmp_path / "a.png", [sample(objects=objects)], TWO)
    assert (images_of(drawn[0])[1][0] == 0).all(axis=1).tolist() == [0, 0, 1, 1, 0, 0]


def test_a_sheet_is_a_png_as_wide_as_a_page(tmp_path):
    draw_samples(tmp_path / "a.png", [sample()], TWO)
    with Image.open(tmp_path / "a.png") as sheet:
        assert (sheet.format, sheet.width) == ("PNG", PAGE_INCHES * SHEET_DPI)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# Examples


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_beside_its_weights(drawn, tmp_path, channels):
    images = np.full((2, 8, 9, channels), 77, np.uint8)
    weights = np.random.default_rng(0).uniform(0, 10, (2, 8, 9))
    draw_weights(tmp_path / "weights.png", images, weights, 10.0)
    panels = [axes.images[0] for axes in drawn[-1].axes if axes.images]
    assert len(panels) == 4
    for place in range(2):
        assert (np.asarray(panels[2 * place].get_array()) == 77).all()
        assert np.allclose(panels[2 * place + 1].get_array(), weights[place])
        assert panels[2 * place + 1].get_clim() == (0, 10)


def test_truth_and_prediction_of_an_example_are_beside_its_image(drawn, tmp_path):
    one = example(caption="IoU 0.5")
    draw_examples(tmp_path / "a.png", [one], TWO)
    (figure,) = drawn
    image, truth, prediction = images_of(figure)
    assert (image == one.image).all()
    assert (truth == paint(one.image, one.truth, TWO)).all()
    assert (prediction == paint(one.image, one.prediction, TWO)).all()
    assert [axes.get_title() for axes in figure.axes] == ["image", "truth", "prediction"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "IoU 0.5", ""]
    assert list(legend_of(figure)) == ["ground", "cell"]


def test_grey_examples_are_drawn_in_grey(drawn, tmp_path):
    draw_examples(tmp_path / "a.png", [example(channels=1)], TWO)
    assert (images_of(drawn[0])[0] == np.full((4, 6, 3), 90)).all()


def test_examples_are_drawn_in_rows_under_a_title(drawn, tmp_path):
    draw_examples(tmp_path / "a.png", [example()] * 3, TWO, across=2, title="step 4")
    (figure,) = drawn
    assert len(images_of(figure)) == 9
    assert len(figure.axes) == 12  # two rows of two examples; the last is empty
    assert figure.get_suptitle() == "step 4"
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["image", "truth", "prediction"] * 2 + [""] * 6


@pytest.mark.parametrize("shape", [(3000, 2), (2, 3000)])
def test_figures_of_very_tall_and_very_wide_examples_fit_on_a_page(shape, drawn, tmp_path):
    draw_examples(tmp_path / "a.png", [example(shape)], TWO)
    width, height = drawn[0].get_size_inches()
    assert width == PAGE_INCHES
    # A panel is a third as wide as the page; 0.9 inches are for text.
    assert 0.9 <= height <= MAX_ASPECT * PAGE_INCHES / 3 + 0.9 + 1e-9


def test_a_figure_of_examples_is_a_png_as_wide_as_a_page(tmp_path):
    draw_examples(tmp_path / "a.png", [example()], TWO)
    with Image.open(tmp_path / "a.png") as figure:
        assert (figure.format, figure.width) == ("PNG", PAGE_INCHES * DPI)


# Curves


def test_curves_have_the_losses_at_the_left_and_the_scores_at_the_right(drawn, tmp_path):
    rows = [{"step": 2, **ROW}, {"step": 4, **ROW, "loss": 0.5}]
    draw_curves(tmp_path / "a.png", rows, best_step=4)
    left, right = drawn[0].axes
    for axes, names in (
        (left, {"training": [1.0, 0.5], "validation": [2.0, 2.0]}),
        (right, {"pixel accuracy": [0.5, 0.5], "mean IoU": [0.25, 0.25]}),
    ):
        first, second, kept = axes.lines
        assert {line.get_label(): list(line.get_ydata()) for line in (first, second)} == names
        assert [line.get_color() for line in (first, second)] == [BLUE, ORANGE]
        assert first.get_linestyle() != second.get_linestyle()
        assert list(first.get_xdata()) == [2, 4]
        assert (kept.get_label(), list(kept.get_xdata())) == ("kept weights", [4, 4])
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "validation score")
    assert right.get_ylim() == (0, 1)


@pytest.mark.parametrize(("steps", "marker"), [([3], "o"), ([3, 6], "None")])
def test_a_curve_of_one_step_is_a_dot(steps, marker, drawn, tmp_path):
    draw_curves(tmp_path / "a.png", [{"step": step, **ROW} for step in steps], best_step=3)
    markers = {line.get_marker() for axes in drawn[0].axes for line in axes.lines[:2]}
    assert markers == {marker}


def test_curves_with_an_undefined_score_are_drawn(tmp_path):
    rows = [{"step": step, **ROW, "validation_mean_iou": float("nan")} for step in (1, 2)]
    draw_curves(tmp_path / "a.png", rows, best_step=1)
    with Image.open(tmp_path / "a.png") as figure:
        assert (figure.format, figure.size) == ("PNG", (9 * DPI, round(3.4 * DPI)))


def test_a_figure_is_laid_out_as_matplotlib_would_when_it_saves_it(tmp_path):
    def figure():
        drawn = Figure(figsize=(4, 3), layout="constrained")
        for axes in drawn.subplots(1, 2):
            axes.imshow(np.eye(5))
            axes.set_title("a title")
            axes.set_ylabel("a label")
        drawn.legend(handles=[Patch(label="a name")], loc="outside lower center")
        return drawn

    figures._save(figure(), tmp_path / "one.png", 150)
    figure().savefig(tmp_path / "other.png", dpi=150)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
