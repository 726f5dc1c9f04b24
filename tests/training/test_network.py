"""Networks as a configuration asks for them; layers rest."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.models.test_onnx_import import some_network
from tests.training.test_fine_tuning import FAST, make_config
from unetkit.errors import ConfigError
from unetkit.losses import cross_entropy
from unetkit.models.encoders import DEPTHWISE_ENCODERS, ENCODERS
from unetkit.models.unet import PRESETS, UNetConfig, build_unet, preset_config
from unetkit.training.config import TrainingConfig
from unetkit.training.network import (
    build_network,
    build_optimizer,
    compile_network,
    freeze,
    gradient_norm,
    learning_rate_at,
    set_learning_rate,
)

pytestmark = pytest.mark.contract


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
    def test_a_prefix_of_no_layer_is_refused(self, part):
        with pytest.raises(
            ConfigError,
            match=rf"freeze has '{part}', which is no prefix of a layer name; accepted are stem, "
            "encoder0, encoder1, decoder0, head, logits, 'encoder' or 'decoder' for all",
        ):
            freeze(some_network(FAST), [part])

    def test_freezing_everything_is_refused(self):
        parts = ["stem", "encoder", "decoder", "head", "logits"]
        with pytest.raises(
            ConfigError, match="which leaves no layer to train; accepted is to freeze"
        ):
            freeze(some_network(FAST), parts)


def test_half_precision_is_the_network_s_alone():
    config = make_config()
    network = build_network(config, "mixed_bfloat16")
    assert network.get_layer("stem").compute_dtype == "bfloat16"
    assert network.get_layer("logits").compute_dtype == "float32"
    assert build_network(config).get_layer("stem").compute_dtype == "float32"


@pytest.mark.parametrize(
    ("device", "depthwise"), [("cpu:0", "float32"), ("gpu:0", "bfloat16"), ("tpu:0", "bfloat16")]
)
def test_on_cpus_depthwise_convolutions_stay_in_single_precision(device, depthwise):
    config = replace(make_config(), network=preset_config("pretrained"))
    network = build_network(config, "mixed_bfloat16", device)
    assert network.get_layer("encoder1_block0_depthwise").compute_dtype == depthwise
    assert network.get_layer("decoder0_conv1").compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_every_encoder_with_depthwise_convolutions_is_known():
    for name in ENCODERS:
        network = UNetConfig(
            encoder=name, filters=(8, 8, 8, 8, 8), stem_stride=1, head_filters=0, residual=False
        )
        kinds = {type(layer).__name__ for layer in build_unet(network).layers}
        assert ("DepthwiseConv2D" in kinds) is (name in DEPTHWISE_ENCODERS)


TRAINING = TrainingConfig(
    seed=0,
    steps=10,
    steps_per_validation=5,
    batch_size=2,
    loss={"cross_entropy": 1.0},
    optimizer="sgd",
    learning_rate=0.5,
    schedule="constant",
    warmup=0.0,
    momentum=0.0,
)


def updated(training, *gradients, start=(1.0, 2.0)):
    """A variable after updates along these gradients, and the optimiser."""
    variable = keras.Variable(np.array(start, np.float32))
    optimizer = build_optimizer(training)
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(np.array(gradient, np.float32))], [variable])
    return variable.numpy(), optimizer


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_the_norm_of_the_gradient_is_noted(name):
    _, optimizer = updated(replace(TRAINING, optimizer=name), (3.0, 4.0))
    assert gradient_norm(optimizer) == pytest.approx(5.0)


def test_it_is_over_all_variables_together():
    variables = [keras.Variable(np.zeros(1, np.float32)) for _ in range(2)]
    optimizer = build_optimizer(TRAINING)
    gradients = [np.array([length], np.float32) for length in (3.0, 4.0)]
    optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
    assert gradient_norm(optimizer) == pytest.approx(5.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_shows(bad):
    _, optimizer = updated(TRAINING, (bad, 1.0))
    assert not np.isfinite(gradient_norm(optimizer))


def test_a_long_gradient_is_clipped_and_noted_as_it_was():
    # Length 5 is scaled to 1: (0.6, 0.8), half of which is taken off.
    value, optimizer = updated(replace(TRAINING, clip_norm=1.0), (3.0, 4.0))
    assert value == pytest.approx([1 - 0.3, 2 - 0.4])
    assert gradient_norm(optimizer) == pytest.approx(5.0)


def test_a_short_one_is_not():
    value, _ = updated(replace(TRAINING, clip_norm=6.0), (3.0, 4.0))
    assert value == pytest.approx([1 - 1.5, 2 - 2.0])


def test_batches_are_averaged_before_an_update():
    training = replace(TRAINING, accumulation=2)
    assert updated(training, (1.0, 0.0))[0] == pytest.approx([1.0, 2.0])  # not yet
    value, _ = updated(training, (1.0, 0.0), (3.0, 2.0))  # the mean is (2, 1)
    assert value == pytest.approx([1 - 1.0, 2 - 0.5])


def test_weights_are_averaged_by_the_decay():
    # 1 -> 0.5 -> 0 under two gradients of 1; the average begins with the first and then halves.
    variable = keras.Variable(np.array([1.0], np.float32))
    optimizer = build_optimizer(replace(TRAINING, averaging=0.5))
    for _ in range(2):
        optimizer.apply([keras.ops.convert_to_tensor(np.ones(1, np.float32))], [variable])
    optimizer.finalize_variable_values([variable])
    assert variable.numpy() == pytest.approx([0.25])


class TestLearningRate:
    COSINE = replace(TRAINING, schedule="cosine", learning_rate=0.6, warmup=0.2)

    def test_it_rises_to_its_peak_and_falls_to_zero(self):
        rates = [learning_rate_at(self.COSINE, step) for step in range(11)]
        # Two updates of warm-up: 1/3 and 2/3 of the peak. Half-way from 2 to 10: half of it.
        assert rates[:3] == pytest.approx([0.2, 0.4, 0.6])
        assert rates[6] == pytest.approx(0.3)
        assert rates[10] == pytest.approx(0)
        assert rates[2:] == sorted(rates[2:], reverse=True)

    def test_it_is_constant_on_request(self):
        training = replace(self.COSINE, schedule="constant")
        assert {learning_rate_at(training, step) for step in range(10)} == {0.6}

    def test_it_stays_at_its_peak_until_the_length_is_known(self):
        training = replace(self.COSINE, steps=0, steps_per_validation=0, minutes=1.0)
        assert learning_rate_at(training, 0) == pytest.approx(0.6 / 31)
        assert learning_rate_at(training, 5000) == 0.6

    def test_what_was_used_before_the_length_was_known_follows_from_the_configuration(self):
        before = replace(self.COSINE, steps=0, steps_per_validation=0, minutes=1.0)
        for steps, fixed_at in ((400, 40), (45, 45), (9, 5)):
            after = replace(before, steps=steps, warmup=30 / steps, decay_from=fixed_at,
                            steps_per_validation=20)  # fmt: skip
            for step in range(fixed_at):
                assert learning_rate_at(after, step) == learning_rate_at(before, step)

    def test_an_optimizer_takes_it(self):
        for training in (TRAINING, replace(TRAINING, accumulation=2)):
            optimizer = build_optimizer(training)
            set_learning_rate(optimizer, 0.25)
            assert float(optimizer.learning_rate) == 0.25

    def test_the_encoder_can_have_a_smaller_one(self):
        network = replace(PRESETS["pretrained"], filters=(2, 3))
        config = make_config(network)
        model = build_network(config)
        training = replace(TRAINING, optimizer="adamw", encoder_rate=0.1, weight_decay=0.0)
        compile_network(model, training)
        set_learning_rate(model.optimizer, 0.01)
        before = {weight.path: weight.numpy() for weight in model.trainable_weights}
        rng = np.random.default_rng(0)
        model.train_on_batch(
            rng.normal(size=(2, 8, 8, 3)).astype(np.float32), rng.integers(0, 3, (2, 8, 8))
        )
        for weight in model.trainable_weights:
            # Adam's first update is the rate itself, where the gradient is not about 0.
            moved = np.abs(weight.numpy() - before[weight.path]).max()
            rate = 0.001 if weight.path.startswith("encoder") else 0.01
            assert moved == pytest.approx(rate, rel=0.02), weight.path


def test_neither_biases_nor_norms_decay():
    optimizer = build_optimizer(replace(TRAINING, optimizer="adamw", weight_decay=0.5))
    names = ("kernel", "bias", "gamma", "beta")
    variables = [
        keras.Variable(np.ones(1), name=name) for name in names
    ]  # alive: known by their id
    decays = [optimizer._use_weight_decay(variable) for variable in variables]
    assert decays == [True, False, False, False]
