"""Networks as a configuration asks for them; layers rest."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from test_finetuning import FAST, make_config
from test_importing import some_network

from unetkit.building import build_network, freeze
from unetkit.errors import ConfigError
from unetkit.losses import cross_entropy
from unetkit.model import build_unet


class TestFreezing:
    """Frozen layers stay as they are, their statistics too; the others learn."""

    def step(self, model):
        """Trains once, and tells which layers changed."""
        images = np.random.default_rng(1).uniform(-1, 1, (2, 16, 24, 3)).astype(np.float32)
        masks = np.random.default_rng(0).integers(0, 3, images.shape[:3]).astype(np.uint8)
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss=cross_entropy)
        before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
        model.train_on_batch(images, masks)
        return {
            name
            for name, weights in before.items()
            if any(
                not np.array_equal(old, new)
                for old, new in zip(weights, model.get_layer(name).get_weights(), strict=True)
            )
        }, set(before)

    @pytest.mark.parametrize("normalization", ["batch", "frozen", "none"])
    def test_only_the_others_learn(self, normalization):
        model = some_network(replace(FAST, normalization=normalization))
        freeze(model, ["encoder", "stem"])
        changed, every = self.step(model)
        assert changed == {name for name in every if not name.startswith(("encoder", "stem"))}

    def test_without_freezing_everything_learns(self):
        changed, every = self.step(some_network(FAST))
        assert changed == every

    def test_the_parameters_that_rest_are_counted(self):
        # stem: 3 x 3 x 3 x 4 weights, 4 gammas and 4 betas; head_up: 2 x 2 x 4 x 4 and 4 biases.
        assert freeze(some_network(FAST), ["stem"]) == 108 + 8
        assert freeze(some_network(FAST), ["head_up"]) == 64 + 4
        assert freeze(some_network(FAST), ["stem", "stem", "head_up"]) == 116 + 68
        assert freeze(some_network(FAST), []) == 0

    def test_a_level_is_a_whole_word(self):
        model = build_unet(replace(FAST, filters=(2,) * 11), num_classes=3)
        freeze(model, ["encoder1"])
        resting = {layer.name for layer in model.layers if not layer.trainable}
        assert resting == {
            f"encoder1_{part}" for part in ("conv1", "conv1_norm", "conv2", "conv2_norm")
        }

    @pytest.mark.parametrize("part", ["encoders", "enc", "encoder7", "", "size_check"])
    def test_a_part_that_names_no_layer_is_refused(self, part):
        with pytest.raises(
            ConfigError,
            match=rf"freeze has '{part}', which begins no layer's name; accepted are stem, "
            "encoder0, encoder1, decoder0, head, logits, 'encoder' or 'decoder' for all",
        ):
            freeze(some_network(FAST), [part])

    def test_freezing_everything_is_refused(self):
        parts = ["stem", "encoder", "decoder", "head", "logits"]
        with pytest.raises(
            ConfigError, match="and nothing would learn; accepted is to freeze some"
        ):
            freeze(some_network(FAST), parts)


def test_half_precision_is_the_network_s_alone():
    config = make_config()
    network = build_network(config, "mixed_bfloat16")
    assert network.get_layer("stem").compute_dtype == "bfloat16"
    assert network.get_layer("logits").compute_dtype == "float32"
    assert build_network(config).get_layer("stem").compute_dtype == "float32"
