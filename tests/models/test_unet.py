"""Every preset keeps one contract; stride and reach are measured on networks themselves."""

import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from tests.gradients import gradients
from unetkit.errors import ConfigError, SizeError
from unetkit.losses import cross_entropy
from unetkit.models.encoders import load_pretrained
from unetkit.models.normalization import BatchNormalization
from unetkit.models.unet import (
    CHOICES,
    PRESETS,
    FrozenBatchNormalization,
    UNetConfig,
    build_unet,
    preset_config,
)

TINY = {name: replace(config, filters=(2, 3, 4)) for name, config in PRESETS.items()}
TINY["pretrained"] = replace(PRESETS["pretrained"], filters=(2, 3))
VARIANTS: dict[str, tuple[UNetConfig, int, int]] = {  # configuration, channels, classes
    **{name: (config, 3, 3) for name, config in TINY.items()},
    "pretrained, five levels": (replace(TINY["pretrained"], filters=(2, 3, 2, 3, 2)), 3, 2),
    "pretrained, details, head, residual": (
        replace(TINY["pretrained"], detail_filters=3, head_filters=2, residual=True),
        1,
        2,
    ),
    "resnet50, grey": (replace(TINY["pretrained"], encoder="resnet50"), 1, 2),
    "convnext_tiny, three levels, details": (
        replace(TINY["pretrained"], filters=(2, 3, 2), encoder="convnext_tiny", detail_filters=3),
        3,
        2,
    ),
    "fast, grey": (TINY["fast"], 1, 2),
    "fast, 5 channels, 7 classes": (replace(TINY["fast"], filters=(2, 4)), 5, 7),
    "fast, four levels": (replace(TINY["fast"], filters=(2, 2, 3, 2)), 2, 2),
    "fast, no stem, no head": (replace(TINY["fast"], stem_stride=1, head_filters=0), 3, 2),
    "fast, three taps": (replace(TINY["fast"], up_kernel=3, up_activation="relu"), 3, 2),
    "notebook, one pooling": (replace(TINY["notebook"], filters=(2, 3)), 3, 3),
    "notebook, unpadded": (replace(TINY["notebook"], padding="valid", up_kernel=2), 1, 2),
    "paper, padded": (replace(TINY["paper"], padding="same"), 1, 2),
    "paper, one pooling, batch norm": (
        replace(TINY["paper"], filters=(3, 2), normalization="batch"),
        2,
        4,
    ),
}


def tiny(**changes) -> UNetConfig:
    plain = {"residual": False, "stem_stride": 1, "normalization": "none", "head_filters": 0}
    return UNetConfig(**{"filters": (1, 2), **plain, **changes})


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def apply(model: keras.Model, images: np.ndarray, training: bool = False) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images, training=training))


def layers_of(model: keras.Model, kind: type) -> list:
    return [layer for layer in model.layers if type(layer) is kind]


def layers_after(layer: keras.Layer) -> list[keras.Layer]:
    return [node.operation for node in layer._outbound_nodes]


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(request):
    config, in_channels, num_classes = request.param
    keras.utils.set_random_seed(0)
    model = build_unet(config, in_channels=in_channels, num_classes=num_classes)
    return config, model, in_channels, num_classes


@pytest.mark.contract
class TestContract:
    """What holds for each preset and variant."""

    def test_output_has_the_size_of_the_geometry(self, variant):
        config, model, in_channels, num_classes = variant
        geometry = config.geometry
        small, middle, large = (geometry.smallest_input + k * geometry.stride for k in range(3))
        for height, width in [(small, small), (middle, middle), (small, large), (large, middle)]:
            logits = apply(model, pixels(2, height, width, in_channels))
            assert logits.shape == (
                2,
                geometry.output_size(height),
                geometry.output_size(width),
                num_classes,
            )
            assert logits.dtype == np.float32
            assert np.isfinite(logits).all()

    def test_logits_are_not_rectified(self, variant):
        config, model, in_channels, _ = variant
        size = config.geometry.smallest_input + 2 * config.geometry.stride
        logits = apply(model, pixels(4, size, size, in_channels))
        assert logits.min() < 0

    def test_images_of_a_batch_do_not_affect_each_other(self, variant):
        config, model, in_channels, _ = variant
        size = config.geometry.smallest_input + config.geometry.stride
        images = pixels(3, size, size, in_channels)
        alone = np.concatenate([apply(model, images[i : i + 1]) for i in range(3)])
        assert np.allclose(apply(model, images), alone, atol=1e-5)

    def test_every_weight_that_learns_reaches_the_logits(self, variant):
        config, model, in_channels, _ = variant
        size = config.geometry.smallest_input + 2 * config.geometry.stride
        images = pixels(2, size, size, in_channels)
        _, *slopes = gradients(
            model,
            images,
            lambda logits: keras.ops.sum(keras.ops.multiply(logits, pixels(*logits.shape, seed=1))),
        )
        assert len(slopes) == len(model.trainable_variables)
        assert all(np.isfinite(slope).all() for slope in slopes)

    def test_saves_and_reloads_in_safe_mode_bit_equal(self, variant, tmp_path):
        config, model, in_channels, _ = variant
        size = config.geometry.smallest_input + config.geometry.stride
        images = pixels(1, size, size, in_channels)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
        for weight, same in zip(model.weights, loaded.weights, strict=True):
            assert np.array_equal(weight.numpy(), same.numpy())
        assert np.array_equal(apply(loaded, images), apply(model, images))
        kinds = [type(layer) for layer in loaded.layers]
        assert kinds == [type(layer) for layer in model.layers]  # frozen stays frozen

    def test_same_seed_gives_the_same_weights(self, variant):
        config, model, in_channels, num_classes = variant
        keras.utils.set_random_seed(0)
        again = build_unet(config, in_channels=in_channels, num_classes=num_classes)
        for weight, same in zip(model.weights, again.weights, strict=True):
            assert np.array_equal(weight.numpy(), same.numpy())


class TestParameterCounts:
    def test_notebook_preset_has_the_notebooks(self):
        assert build_unet("notebook", in_channels=3, num_classes=3).count_params() == 8_643_779

    def test_paper_by_hand(self):
        # Blocks have 9 in out + out + 9 out out + out weights, up-convolutions 4 in out + out.
        def block(before: int, after: int) -> int:
            return 9 * before * after + after + 9 * after * after + after

        filters = [64, 128, 256, 512, 1024]
        count = block(1, 64) + sum(block(f, 2 * f) for f in filters[:-1])
        count += sum(4 * 2 * f * f + f + block(2 * f, f) for f in filters[:-1])
        count += 64 * 2 + 2
        assert count == 31_030_658
        assert build_unet("paper", in_channels=1, num_classes=2).count_params() == count

    def test_one_level_by_hand(self):
        # 3 -> 2: 56 + 38; 2 -> 4: 76 + 148; up 4 -> 2: 34; 4 -> 2: 74 + 38; logits 2 -> 3: 9
        model = build_unet(tiny(filters=(2, 4)), in_channels=3, num_classes=3)
        assert model.count_params() == 56 + 38 + 76 + 148 + 34 + 74 + 38 + 9


def constant_network(config: UNetConfig) -> keras.Model:
    """Positive kernels let every path through: an output changes if, and only if, it looks."""
    model = build_unet(config, in_channels=1, num_classes=2)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
            layer.kernel.assign(np.ones(layer.kernel.shape))
    return model


def measure_reach(config: UNetConfig, axis: int) -> tuple[int, int]:
    """Furthest input that any output row (axis 0) or column (axis 1) looks back and ahead.

    One row after the other is lit in a dark image, over one full stride in its middle: the pattern
    repeats from stride to stride, so these positions stand for all.
    """
    geometry = config.geometry
    reach = geometry.reach_before + geometry.reach_after
    length = geometry.input_size(reach + 8 * geometry.stride)  # room for much more than is claimed
    shape = [geometry.stride, geometry.smallest_input, geometry.smallest_input, 1]
    shape[1 + axis] = length
    images = np.zeros(shape, np.float32)
    lit = length // 2 + np.arange(geometry.stride)
    for image, position in zip(images, lit, strict=True):
        np.moveaxis(image, axis, 0)[position] = 1
    logits = apply(constant_network(config), images)
    assert np.isfinite(logits).all()
    changed = (logits != 0).any(axis=(2 - axis, 3))
    assert not changed[:, [0, -1]].any()  # the image was long enough to see it end
    seen = [np.flatnonzero(row) + geometry.margin for row in changed]
    before = max(int(places[-1] - position) for places, position in zip(seen, lit, strict=True))
    after = max(int(position - places[0]) for places, position in zip(seen, lit, strict=True))
    return before, after


def reach_configs() -> list[UNetConfig]:
    configs = []
    for depth in (1, 2, 3):
        filters = (1, 2, 1, 2)[: depth + 1]
        for up_kernel in (2, 3):
            for head in (0, 1):
                kinds = {"filters": filters, "up_kernel": up_kernel, "head_filters": head}
                if up_kernel == 2:
                    configs.append(tiny(padding="valid", **kinds))
                configs.append(tiny(residual=True, normalization="batch", **kinds))
                configs.append(tiny(stem_stride=2, normalization="frozen", **kinds))
    configs.append(tiny(filters=(2, 1, 1), residual=True, stem_stride=2, head_filters=2))
    configs.append(tiny(filters=(1, 1, 1), padding="valid", up_activation="relu"))
    return configs


def describe(config: UNetConfig) -> str:
    return (
        f"depth{config.depth}-{config.padding}-stem{config.stem_stride}-up{config.up_kernel}"
        f"-head{config.head_filters}-{'residual' if config.residual else config.up_activation}"
    )


class TestReachOfTheNetworkItself:
    @pytest.mark.parametrize("config", reach_configs(), ids=describe)
    def test_furthest_pixels_that_matter_lie_exactly_at_the_reach(self, config):
        geometry = config.geometry
        claimed = (geometry.reach_before, geometry.reach_after)
        assert measure_reach(config, axis=0) == claimed
        assert measure_reach(config, axis=1) == claimed

    @pytest.mark.parametrize("name", TINY)
    def test_output_far_from_a_change_stays_bit_equal(self, name):
        config = TINY[name]
        geometry = config.geometry
        length = geometry.input_size(geometry.reach_before + geometry.reach_after + 40)
        images = pixels(1, geometry.smallest_input, length, 3)
        place = length // 2
        changed = images.copy()
        changed[:, :, place] += 1e3
        model = build_unet(config, in_channels=3, num_classes=2)
        differs = (apply(model, images) != apply(model, changed)).any(axis=(0, 1, 3))
        columns = np.flatnonzero(differs) + geometry.margin
        assert columns.size
        assert columns.min() >= place - geometry.reach_after
        assert columns.max() <= place + geometry.reach_before


class TestStrideOfTheNetworkItself:
    CONFIGS = pytest.mark.parametrize(
        "config",
        [*TINY.values(), tiny(up_kernel=3), tiny(filters=(2, 1, 2), stem_stride=2, residual=True)],
        ids=describe,
    )

    @staticmethod
    def difference_after_a_move(config: UNetConfig, move: int) -> float:
        """Largest difference between the moved output and the output of the moved image, where
        neither sees an edge of its image; in units of the output's own spread."""
        geometry = config.geometry
        length = geometry.input_size(
            geometry.reach_before + geometry.reach_after + 6 * geometry.stride
        )
        keras.utils.set_random_seed(1)
        model = build_unet(config, in_channels=1, num_classes=2)
        if not config.has_own_encoder:  # whose blocks leave little of random features
            load_pretrained(model, config.encoder)
        scene = pixels(1, geometry.smallest_input, length + move, 1)
        first = apply(model, scene[:, :, :length])
        second = apply(model, scene[:, :, move:])
        outer_before = max(0, geometry.reach_before - geometry.margin)
        outer_after = max(0, geometry.reach_after - geometry.margin)
        width = first.shape[2]
        one = first[:, :, outer_before + move : width - outer_after]
        other = second[:, :, outer_before : width - outer_after - move]
        assert one.size
        return float(np.abs(one - other).max() / one.std())

    @CONFIGS
    def test_move_by_the_stride_moves_the_output(self, config):
        assert self.difference_after_a_move(config, config.geometry.stride) < 1e-4

    @CONFIGS
    def test_move_by_half_the_stride_does_not(self, config):
        assert self.difference_after_a_move(config, config.geometry.stride // 2) > 1e-2


@pytest.fixture(scope="module")
def fitted():
    keras.utils.set_random_seed(0)
    config = replace(PRESETS["notebook"], filters=(4, 5, 6), head_filters=4, dropout=0.0)
    model = build_unet(config, in_channels=3, num_classes=3)
    model.compile(keras.optimizers.SGD(0.05), cross_entropy)
    masks = np.random.default_rng(0).integers(0, 3, (4, 16, 16)).astype(np.uint8)
    model.fit(pixels(4, 16, 16, 3) + 2, masks, batch_size=2, epochs=2, verbose=0)
    return model


@pytest.mark.contract
class TestFrozenNormalization:
    def test_each_encoder_block_ends_in_one(self, fitted):
        frozen = layers_of(fitted, FrozenBatchNormalization)
        assert [layer.name for layer in frozen] == [f"encoder{level}_norm" for level in range(3)]
        assert not layers_of(fitted, layers.BatchNormalization)

    def test_statistics_stay_while_scale_and_shift_learn(self, fitted):
        for layer in layers_of(fitted, FrozenBatchNormalization):
            assert (layer.moving_mean.numpy() == 0).all()
            assert (layer.moving_variance.numpy() == 1).all()
            assert (layer.gamma.numpy() != 1).any()
            assert (layer.beta.numpy() != 0).any()

    def test_training_mode_predicts_the_same(self, fitted):
        images = pixels(2, 16, 16, 3, seed=5)
        still, training = apply(fitted, images), apply(fitted, images, training=True)
        assert np.array_equal(still, training)

    def test_what_it_computes_by_hand(self):
        layer = FrozenBatchNormalization(epsilon=0.25)
        layer.build((None, None, None, 1))
        layer.gamma.assign([3.0])
        layer.beta.assign([1.0])
        # (x - 0) / sqrt(1 + 0.25) * 3 + 1
        batch = np.array([0.0, 5.0], np.float32).reshape(2, 1, 1, 1)
        expected = batch * 3 / np.sqrt(1.25) + 1
        for training in (False, True):
            found = keras.ops.convert_to_numpy(layer(batch, training=training))
            assert np.allclose(found, expected, atol=1e-6)

    def test_after_reloading_it_still_insists(self, fitted, tmp_path):
        fitted.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
        images = pixels(2, 16, 16, 3, seed=6)
        assert np.array_equal(apply(loaded, images), apply(loaded, images, training=True))


@pytest.fixture(scope="module")
def fast():
    return build_unet(TINY["fast"], in_channels=3, num_classes=3)


class TestFastPreset:
    def test_batch_norm_follows_each_convolution_directly(self, fast):
        convolutions = [x for x in layers_of(fast, layers.Conv2D) if x.name != "logits"]
        # stem, head; encoder: 2 + 2 + 2 and a shortcut each where the channels change (3 -> 2 is
        # the stem's, so 2 of 3 blocks); decoder: 2 + 2 and 2 shortcuts
        assert len(convolutions) == 2 + 6 + 2 + 4 + 2
        for layer in convolutions:
            followers = layers_after(layer)
            assert [type(follower) for follower in followers] == [BatchNormalization]
            assert not layer.use_bias

    def test_other_convolutions_have_a_bias_and_no_norm(self, fast):
        others = [*layers_of(fast, layers.Conv2DTranspose), fast.get_layer("logits")]
        assert len(others) == 4  # two decoder levels, the way back from the stem, the logits
        for layer in others:
            assert layer.use_bias
            assert not any(isinstance(x, layers.BatchNormalization) for x in layers_after(layer))

    def test_statistics_are_learnt(self):
        keras.utils.set_random_seed(0)
        model = build_unet(replace(TINY["fast"], filters=(2, 3)), in_channels=1, num_classes=2)
        model.compile("sgd", cross_entropy)
        masks = np.random.default_rng(0).integers(0, 2, (4, 8, 8)).astype(np.uint8)
        model.fit(pixels(4, 8, 8, 1) + 2, masks, batch_size=2, verbose=0)
        for layer in layers_of(model, layers.BatchNormalization):
            assert (layer.moving_mean.numpy() != 0).any()
            assert (layer.moving_variance.numpy() != 1).all()

    def test_block_adds_its_input_to_its_output(self):
        model = build_unet(tiny(filters=(3, 2), residual=True), in_channels=3, num_classes=2)
        model.get_layer("encoder0_conv2").kernel.assign(np.zeros((3, 3, 3, 3)))
        block = keras.Model(model.input, model.get_layer("encoder0_relu").output)
        images = pixels(1, 4, 6, 3)
        assert np.array_equal(apply(block, images), np.maximum(images, 0))


@pytest.fixture(scope="module")
def paper():
    keras.utils.set_random_seed(0)
    return build_unet("paper", in_channels=1, num_classes=2)


class TestPaperPreset:
    def test_tile_of_572_gives_388(self, paper):
        assert paper.compute_output_shape((1, 572, 572, 1)) == (1, 388, 388, 2)

    def test_initial_kernels_have_the_papers_deviation(self, paper):
        # sqrt(2 / N), N input values a neuron: section 3 of the paper
        kernels = layers_of(paper, layers.Conv2D) + layers_of(paper, layers.Conv2DTranspose)
        checked = 0
        for layer in kernels:
            if layer.name == "logits":
                continue
            kernel = layer.kernel.numpy()
            if isinstance(layer, layers.Conv2DTranspose):  # (2, 2, out, in), without overlap
                count = kernel.shape[3]
            else:
                count = 9 * kernel.shape[2]
            wanted = np.sqrt(2 / count)
            assert kernel.std() == pytest.approx(wanted, rel=4 / np.sqrt(2 * kernel.size))
            checked += 1
        assert checked == 18 + 4

    def test_initial_kernels_are_not_truncated(self, paper):
        for layer in layers_of(paper, layers.Conv2DTranspose):
            kernel = layer.kernel.numpy()
            assert np.abs(kernel).max() > 3.5 * kernel.std()

    def test_up_convolutions_are_rectified_and_nothing_is_normalised(self, paper):
        for layer in layers_of(paper, layers.Conv2DTranspose):
            assert [type(x) for x in layers_after(layer)] == [layers.ReLU]
        assert not [x for x in paper.layers if isinstance(x, layers.BatchNormalization)]


class TestOptions:
    def test_he_kernels_are_truncated_and_have_hes_deviation(self):
        keras.utils.set_random_seed(0)
        model = build_unet(tiny(filters=(64, 64)), in_channels=3, num_classes=2)
        kernel = model.get_layer("encoder1_conv1").kernel.numpy()
        wanted = np.sqrt(2 / (9 * 64))
        assert kernel.std() == pytest.approx(wanted, rel=0.03)
        # Cut at two deviations of a normal that is 1 / 0.8796 as wide
        assert np.abs(kernel).max() <= 2 * wanted / 0.8796 + 1e-6

    @pytest.mark.parametrize("initializer", ["he", "gaussian"])
    def test_rectified_up_convolution_has_hes_deviation(self, initializer):
        # Each output pixel of a 2x2 kernel sees each of the 64 input channels once.
        keras.utils.set_random_seed(0)
        config = tiny(filters=(32, 64), up_activation="relu", initializer=initializer)
        kernel = build_unet(config, in_channels=3).get_layer("decoder0_up").kernel.numpy()
        assert kernel.std() == pytest.approx(np.sqrt(2 / 64), rel=0.05)

    def test_dropout_stands_at_the_end_of_the_two_deepest_encoder_blocks(self):
        config = tiny(filters=(1, 2, 1, 2), dropout=0.3)
        dropped = layers_of(build_unet(config), layers.Dropout)
        assert [layer.name for layer in dropped] == ["encoder2_dropout", "encoder3_dropout"]
        assert {layer.rate for layer in dropped} == {0.3}

    def test_without_dropout_there_is_no_such_layer(self):
        assert not layers_of(build_unet(tiny()), layers.Dropout)

    def test_linear_up_convolution_is_not_rectified(self):
        model = build_unet(tiny(up_activation="linear"))
        kinds = [type(layer) for layer in layers_after(model.get_layer("decoder0_up"))]
        assert kinds == [layers.Concatenate]

    def test_stem_halves_the_image_before_the_first_block(self):
        model = build_unet(tiny(filters=(2, 3), stem_stride=2), in_channels=1)
        stem = keras.Model(model.input, model.get_layer("encoder0_conv1").output)
        assert stem.compute_output_shape((1, 16, 24, 1)) == (1, 8, 12, 2)

    def test_head_stands_before_the_logits(self):
        model = build_unet(tiny(head_filters=5))
        assert model.get_layer("logits").kernel.shape == (1, 1, 5, 2)


class TestRefusals:
    @pytest.mark.parametrize("name", CHOICES)
    def test_value_that_is_no_choice_is_refused_with_all_choices(self, name):
        accepted = ", ".join(map(repr, CHOICES[name]))
        message = f"{name} is 'cubic'; accepted are {accepted}"
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            UNetConfig(**{name: "cubic"})

    def test_stem_stride_of_three_is_refused(self):
        with pytest.raises(ConfigError, match=r"^stem_stride is 3; accepted are 1, 2$"):
            UNetConfig(stem_stride=3)

    @pytest.mark.parametrize("filters", [(), (16,), (16, 0), (16, -32, 64)])
    def test_filters_that_make_no_network_are_refused(self, filters):
        message = (
            f"filters is {list(filters)}; accepted are at least two positive numbers, one per "
            "level, such as [16, 32, 64]"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            UNetConfig(filters=filters)

    @pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
    def test_dropout_out_of_range_is_refused(self, dropout):
        message = f"dropout is {dropout}; accepted are rates from 0 to below 1"
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            UNetConfig(dropout=dropout)

    def test_negative_head_filters_are_refused(self):
        with pytest.raises(ConfigError, match=r"^head_filters is -1; accepted "):
            UNetConfig(head_filters=-1)

    @pytest.mark.parametrize(
        "changes",
        [
            {"stem_stride": 1},
            {"residual": False},
            {},
            {"stem_stride": 1, "residual": False, "up_kernel": 3},
        ],
        ids=["residual", "stem", "both", "three taps"],
    )
    def test_unpadded_network_that_would_see_its_edge_is_refused(self, changes):
        message = (
            "padding is 'valid' with residual blocks, a strided stem or 3x3 up-convolutions; "
            "accepted are unpadded networks without them; set residual = false, stem_stride = 1 "
            "and up_kernel = 2"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            UNetConfig(padding="valid", **changes)

    @pytest.mark.parametrize("ask", [preset_config, build_unet])
    def test_unknown_preset_is_refused_with_a_suggestion(self, ask):
        message = (
            "preset 'papr' is unknown; accepted are 'pretrained', 'fast', 'notebook', 'paper'; did "
            "you mean 'paper'?"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            ask("papr")

    @pytest.mark.parametrize(("in_channels", "num_classes"), [(0, 2), (3, 1), (-1, 0)])
    def test_too_few_channels_or_classes_are_refused(self, in_channels, num_classes):
        message = (
            f"in_channels is {in_channels} and num_classes {num_classes}; accepted are at least 1 "
            "and 2; count the background as a class"
        )
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            build_unet(tiny(), in_channels=in_channels, num_classes=num_classes)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_found_by_name(name):
    assert preset_config(name) is PRESETS[name]


class TestSizes:
    @pytest.mark.parametrize("name", TINY)
    @pytest.mark.parametrize("axis", [0, 1])
    def test_an_image_that_does_not_fit_is_refused_with_the_nearest_sizes(self, name, axis):
        geometry = TINY[name].geometry
        size = [geometry.smallest_input, geometry.smallest_input]
        size[axis] += 1
        nearest = f"{geometry.smallest_input} and {geometry.smallest_input + geometry.stride}"
        message = rf"input size {size[axis]} does not fit this network; .*nearest are {nearest}"
        with pytest.raises(SizeError, match=message):
            build_unet(TINY[name], in_channels=1)(np.zeros((1, *size, 1), np.float32))
