"""The diagram of a U-Net matches the model: presets, and networks written by hand."""

from itertools import combinations

import keras
import pytest
from keras import layers
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle

from tests.visualization.unets import small_unet
from unetkit.errors import ConfigError, SizeError
from unetkit.models.unet import build_unet
from unetkit.visualization.feature_maps import list_feature_maps
from unetkit.visualization.unet_diagram import draw_unet


def texts_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


class TestDrawing:
    def test_every_size_and_number_of_channels_is_drawn(self, case):
        model, size = case
        texts = texts_of(draw_unet(model, size))
        for one in list_feature_maps(model, size):
            skip = f"{one.skip_channels} + " if one.skip_channels else ""
            assert f"{skip}{one.channels}" in texts
            height, width = one.size
            written = f"{height}²" if height == width else f"{height}x{width}"
            assert any(text.split("\n")[0] == written for text in texts)

    def test_labels_do_not_overlap_and_stay_within_the_diagram(self, case):
        model, size = case
        figure = draw_unet(model, size)
        renderer = FigureCanvasAgg(figure).get_renderer()
        places = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
        for one, other in combinations(places, 2):
            assert not one.overlaps(other)
        for place in places:
            assert figure.bbox.x0 <= place.x0 < place.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= place.y0 < place.y1 <= figure.bbox.y1

    def test_boxes_touch_only_where_a_skip_connection_is_concatenated(self, case):
        model, size = case
        figure = draw_unet(model, size)
        boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
        for one, other in combinations(boxes, 2):
            meet = one.get_bbox().overlaps(other.get_bbox())
            assert not meet or bool(one.get_hatch()) != bool(other.get_hatch())

    def test_the_title_has_the_number_of_parameters(self):
        model = build_unet("notebook", num_classes=3)
        texts = texts_of(draw_unet(model, 64))
        title = "8,643,779 parameters; input: 64x64, 3 channels; output: 64x64, 3 classes"
        assert title in texts

    def test_the_legend_has_the_arrows_of_the_network(self):
        paper = texts_of(draw_unet(build_unet("paper", in_channels=1), 572))
        assert "skip connection: cropped and concatenated" in paper
        assert "cropped to 56²" in paper
        assert "2x2 transposed convolution" in paper
        assert not any("shortcut" in text or "strided" in text for text in paper)
        fast = texts_of(draw_unet(build_unet("fast"), 64))
        assert {"3x3 strided convolution", "residual shortcut: added"} <= set(fast)
        assert "skip connection: concatenated" in fast

    def test_a_pretrained_encoder_is_drawn_with_its_strided_depthwise_convolutions(self):
        texts = texts_of(draw_unet(build_unet("pretrained", num_classes=3), 96))
        assert {"96²\nimage", "48²", "24²", "12²", "6²", "3²"} <= set(texts)
        assert {"3x3, 5x5 strided convolution", "1x1 convolution", "112 + 96"} <= set(texts)

    def test_the_diagram_can_be_saved(self, tmp_path):
        draw_unet(small_unet(), (8, 16)).savefig(tmp_path / "u.png", dpi=50)
        assert (tmp_path / "u.png").stat().st_size > 1000


class TestErrors:
    def test_a_size_that_does_not_fit_is_refused_with_the_error_of_the_network(self):
        with pytest.raises(SizeError, match=r"^input size 100 does not fit .* 32 k; the nearest"):
            draw_unet(build_unet("fast"), 100)

    def test_a_size_that_a_network_written_by_hand_does_not_take_is_refused(self):
        message = (
            "image size 15x16 does not fit model .*; accepted are two integers .*; use a multiple"
        )
        with pytest.raises(SizeError, match=message):
            draw_unet(small_unet(), (15, 16))

    @pytest.mark.parametrize(
        ("model", "why"),
        [
            (small_unet(join=layers.Add), "no transposed convolution followed by a skip"),
            (keras.Sequential([layers.Conv2D(2, 1)]), "it is not a functional model"),
            ("run.keras", "it is not a functional model"),
            (
                keras.Model(image := layers.Input((8,)), layers.Dense(2)(image)),
                "its input is not an image",
            ),
            (
                keras.Model(image := layers.Input((8, 8, 3)), small_unet()(image)),
                "is itself a model",
            ),
        ],
    )
    def test_a_model_that_is_not_a_unet_is_refused(self, model, why):
        with pytest.raises(
            ConfigError, match=rf"cannot be drawn as a U-Net: .*{why}.*; accepted are"
        ):
            draw_unet(model, 16)
