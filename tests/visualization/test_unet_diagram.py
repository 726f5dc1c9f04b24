"""A drawn U-Net says what the model is: the presets, and networks by other hands."""

from itertools import combinations

import keras
import pytest
from keras import layers
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle

from unetkit.errors import ConfigError, SizeError
from unetkit.models.unet import UNetConfig, build_unet
from unetkit.visualization.unet_diagram import draw_unet, feature_maps

CASES = {  # configuration, channels, classes, size
    "fast": ("fast", 3, 3, 128),
    "notebook": ("notebook", 3, 3, 128),
    "paper": ("paper", 1, 2, 572),
    "not square": ("fast", 1, 2, (96, 160)),
    "two levels": (UNetConfig(filters=(4, 8), stem_stride=1, head_filters=0), 3, 2, 20),
    "two levels, unpadded": (
        UNetConfig(
            filters=(2, 3),
            padding="valid",
            normalization="none",
            residual=False,
            stem_stride=1,
            head_filters=0,
        ),
        1,
        2,
        40,
    ),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def case(request):
    config, in_channels, num_classes, size = request.param
    return build_unet(config, in_channels=in_channels, num_classes=num_classes), size


def texts_of(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def shape_of(model, name, size):
    """What a layer gives, by Keras's own account of a model that ends there."""
    shape = (1, *size, model.inputs[0].shape[-1])
    return keras.Model(model.inputs, model.get_layer(name).output).compute_output_shape(shape)


def small_unet(join=layers.Concatenate):
    """A U-Net as a reader might write it, with names of Keras's own."""
    image = layers.Input((None, None, 3))
    skip = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    below = layers.Conv2D(8, 3, padding="same")(layers.MaxPooling2D(2)(skip))
    up = layers.Conv2DTranspose(4, 2, strides=2)(below)
    return keras.Model(image, layers.Conv2D(2, 1)(join()([skip, up])))


class TestFeatureMaps:
    def test_sizes_and_channels_are_those_of_the_model(self, case):
        model, size = case
        maps = feature_maps(model, size)
        for one in maps:
            channels = one.channels + one.skip_channels
            assert shape_of(model, one.name, maps[0].size) == (1, *one.size, channels)

    def test_every_convolution_and_pooling_is_there_but_those_of_shortcuts(self, case):
        model, size = case
        kinds = layers.Conv2D | layers.Conv2DTranspose | layers.MaxPooling2D
        expected = {layer.name for layer in model.layers if isinstance(layer, kinds)}
        expected = {name for name in expected if not name.endswith("_shortcut")}
        found = feature_maps(model, size)
        # What comes up goes by the name of the layer that lays the skip connection beside it.
        names = {one.name.replace("_concat", "_up") for one in found}
        assert names == expected | {"image"}

    def test_skip_connections_come_from_the_last_map_of_their_level(self, case):
        model, size = case
        maps = feature_maps(model, size)
        joined = [one for one in maps if one.skip_channels]
        assert len(joined) == sum(isinstance(one, layers.Concatenate) for one in model.layers)
        for one in joined:
            level = one.name.removeprefix("decoder").removesuffix("_concat")
            assert maps[one.skip_from].name == f"encoder{level}_conv2"
            assert maps[one.skip_from].row == one.row

    def test_shortcuts_lead_from_the_input_of_a_block_to_its_end(self):
        maps = feature_maps(build_unet("fast"), 64)
        ends = {one.name: maps[one.shortcut_from].name for one in maps if one.shortcut_from >= 0}
        assert len(ends) == 9
        assert ends["encoder0_conv2"] == "stem"
        assert ends["encoder1_conv2"] == "encoder0_pool"
        assert ends["decoder0_conv2"] == "decoder0_concat"

    def test_rows_go_down_to_the_bottleneck_and_come_back(self, case):
        model, size = case
        rows = [one.row for one in feature_maps(model, size)]
        turn = rows.index(max(rows))
        assert rows[: turn + 1] == sorted(rows[: turn + 1])
        assert rows[turn:] == sorted(rows[turn:], reverse=True)
        assert rows[0] == rows[-1] == 0

    def test_a_network_by_another_hand_is_followed_whatever_its_names(self):
        maps = feature_maps(small_unet(), 16)
        steps = [(one.step, one.size[0], one.channels, one.skip_channels) for one in maps]
        assert steps == [
            ("image", 16, 3, 0),
            ("convolution", 16, 4, 0),
            ("pooling", 8, 4, 0),
            ("convolution", 8, 8, 0),
            ("up", 16, 4, 4),
            ("pointwise", 16, 2, 0),
        ]
        assert maps[4].skip_from == 1


class TestDrawing:
    def test_every_size_and_channel_is_written(self, case):
        model, size = case
        texts = texts_of(draw_unet(model, size))
        for one in feature_maps(model, size):
            skip = f"{one.skip_channels} + " if one.skip_channels else ""
            assert f"{skip}{one.channels}" in texts
            height, width = one.size
            written = f"{height}²" if height == width else f"{height}x{width}"
            assert any(text.split("\n")[0] == written for text in texts)

    def test_labels_do_not_collide_and_stay_within_the_drawing(self, case):
        model, size = case
        figure = draw_unet(model, size)
        renderer = FigureCanvasAgg(figure).get_renderer()
        places = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
        for one, other in combinations(places, 2):
            assert not one.overlaps(other)
        for place in places:
            assert figure.bbox.x0 <= place.x0 < place.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= place.y0 < place.y1 <= figure.bbox.y1

    def test_boxes_do_not_touch_but_where_a_skip_connection_is_laid_beside(self, case):
        model, size = case
        figure = draw_unet(model, size)
        boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
        for one, other in combinations(boxes, 2):
            meet = one.get_bbox().overlaps(other.get_bbox())
            assert not meet or bool(one.get_hatch()) != bool(other.get_hatch())

    def test_the_title_counts_parameters(self):
        model = build_unet("notebook", num_classes=3)
        texts = texts_of(draw_unet(model, 64))
        assert (
            "8,643,779 parameters: image of 64x64 with 3 channels in, 64x64 with 3 classes out"
            in texts
        )

    def test_arrows_are_explained_as_the_network_has_them(self):
        paper = texts_of(draw_unet(build_unet("paper", in_channels=1), 572))
        assert "skip connection: cut to size, laid beside" in paper
        assert "cut to 56²" in paper
        assert "2x2 transposed convolution" in paper
        assert not any("shortcut" in text or "steps of 2" in text for text in paper)
        fast = texts_of(draw_unet(build_unet("fast"), 64))
        assert {"3x3 convolution in steps of 2", "shortcut of a block: added"} <= set(fast)
        assert "skip connection: laid beside" in fast

    def test_it_can_be_written_as_a_picture(self, tmp_path):
        draw_unet(small_unet(), (8, 16)).savefig(tmp_path / "u.png", dpi=50)
        assert (tmp_path / "u.png").stat().st_size > 1000


class TestErrors:
    def test_a_size_that_does_not_fit_is_refused_in_the_networks_own_words(self):
        with pytest.raises(SizeError, match=r"^input size 100 does not fit .* 32 k; the nearest"):
            draw_unet(build_unet("fast"), 100)

    def test_a_size_that_another_hands_network_does_not_take_is_refused(self):
        message = "image size 15x16 does not fit model .*; accepted are sizes .*; try a multiple"
        with pytest.raises(SizeError, match=message):
            draw_unet(small_unet(), (15, 16))

    @pytest.mark.parametrize(
        ("model", "why"),
        [
            (small_unet(join=layers.Add), "no transposed convolution that is joined"),
            (keras.Sequential([layers.Conv2D(2, 1)]), "do not say how they are connected"),
            ("run.keras", "do not say how they are connected"),
            (
                keras.Model(image := layers.Input((8,)), layers.Dense(2)(image)),
                "takes no images",
            ),
            (
                keras.Model(image := layers.Input((8, 8, 3)), small_unet()(image)),
                "is itself a model",
            ),
        ],
    )
    def test_what_is_no_u_is_refused(self, model, why):
        with pytest.raises(ConfigError, match=rf"cannot be drawn as a U: .*{why}.*; accepted are"):
            draw_unet(model, 16)
