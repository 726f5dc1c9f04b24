"""Feature maps are listed as the model computes them: presets, and networks written by hand."""

from dataclasses import replace

import keras
from keras import layers

from tests.visualization.unets import small_unet
from unetkit.models.unet import PRESETS, build_unet
from unetkit.visualization.feature_maps import list_feature_maps


def shape_of(model, name, size):
    """Output shape of a layer, as Keras computes it for a model that ends there."""
    shape = (1, *size, model.inputs[0].shape[-1])
    return keras.Model(model.inputs, model.get_layer(name).output).compute_output_shape(shape)


class TestFeatureMaps:
    def test_sizes_and_channels_match_the_model(self, case):
        model, size = case
        maps = list_feature_maps(model, size)
        for one in maps:
            channels = one.channels + one.skip_channels
            assert shape_of(model, one.name, maps[0].size) == (1, *one.size, channels)

    def test_every_convolution_and_pooling_is_listed_except_shortcuts(self, case):
        model, size = case
        kinds = layers.Conv2D | layers.Conv2DTranspose | layers.MaxPooling2D
        expected = {layer.name for layer in model.layers if isinstance(layer, kinds)}
        expected = {name for name in expected if not name.endswith("_shortcut")}
        found = list_feature_maps(model, size)
        # What comes up goes by the name of the layer that lays the skip connection beside it.
        names = {one.name.replace("_concat", "_up") for one in found}
        assert names == expected | {"image"}

    def test_skip_connections_start_at_the_last_map_of_their_level(self, case):
        model, size = case
        maps = list_feature_maps(model, size)
        joined = [one for one in maps if one.skip_channels]
        assert len(joined) == sum(isinstance(one, layers.Concatenate) for one in model.layers)
        for one in joined:
            level = one.name.removeprefix("decoder").removesuffix("_concat")
            assert maps[one.skip_from].name == f"encoder{level}_conv2"
            assert maps[one.skip_from].row == one.row

    def test_shortcuts_start_at_the_input_of_a_block_and_end_at_its_output(self):
        maps = list_feature_maps(build_unet("fast"), 64)
        ends = {one.name: maps[one.shortcut_from].name for one in maps if one.shortcut_from >= 0}
        assert len(ends) == 9
        assert ends["encoder0_conv2"] == "stem"
        assert ends["encoder1_conv2"] == "encoder0_pool"
        assert ends["decoder0_conv2"] == "decoder0_concat"

    def test_rows_increase_to_the_bottleneck_and_decrease_again(self, case):
        model, size = case
        rows = [one.row for one in list_feature_maps(model, size)]
        turn = rows.index(max(rows))
        assert rows[: turn + 1] == sorted(rows[: turn + 1])
        assert rows[turn:] == sorted(rows[turn:], reverse=True)
        assert rows[0] == rows[-1] == 0

    def test_a_stride_of_four_is_two_rows(self):
        config = replace(PRESETS["pretrained"], encoder="convnext_tiny", filters=(2, 2))
        maps = list_feature_maps(build_unet(config), 32)
        (stem,) = [one for one in maps if one.name.endswith("_stem")]
        assert (stem.row, stem.size) == (2, (8, 8))
        assert (maps[-1].row, maps[-1].size) == (0, (32, 32))

    def test_a_strided_depthwise_convolution_is_a_row(self):
        maps = list_feature_maps(build_unet("pretrained"), 96)
        assert max(one.row for one in maps) == 5
        assert all(96 >> one.row == one.size[0] for one in maps)

    def test_a_network_written_by_hand_is_followed_whatever_its_names(self):
        maps = list_feature_maps(small_unet(), 16)
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
