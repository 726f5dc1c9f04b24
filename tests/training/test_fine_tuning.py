"""A network starts as the trained one answers; what differs is adapted and said; layers rest."""

import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.models.test_onnx_import import NOTEBOOK, answer, export_to, images_for, some_network
from unetkit._shared import run_folder
from unetkit.data.augmentation import NO_AUGMENTATION
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.scale import Scale
from unetkit.data.sources import Sources
from unetkit.data.splits import SplitRule
from unetkit.errors import ConfigError, DataNotFoundError, ModelFileError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.spec import Normalization
from unetkit.models.unet import UNetConfig, build_unet, preset_config
from unetkit.training.config import RunConfig, TrainingConfig
from unetkit.training.config_file import config_to_toml, read_config
from unetkit.training.fine_tuning import start_from

FAST = UNetConfig(filters=(4, 8), head_filters=4)
CLASSES = Classes(("pet", "background", "border"), (1, 2, 3))
TRAINING = TrainingConfig(
    seed=0,
    steps=4,
    steps_per_validation=2,
    batch_size=2,
    loss={"cross_entropy": 1.0},
    optimizer="adam",
    learning_rate=1e-3,
    schedule="constant",
)


def make_config(network=FAST, classes=CLASSES, channels=3, **changes):
    config = RunConfig(
        data="data",
        preset="fast",
        sources=Sources(),
        classes=classes,
        pixels=PixelFormat(channels),
        network=network,
        scale=Scale("native", 32, 40),
        normalization=Normalization(1 / 127.5, -1.0),
        split=SplitRule(),
        augmentation=NO_AUGMENTATION,
        training=TRAINING,
    )
    return replace(config, **changes)


def fresh(config):
    """A network as a run builds it."""
    return build_unet(
        config.network,
        in_channels=config.pixels.channels,
        num_classes=len(config.classes),
    )


def write_run(folder, model, config):
    folder.mkdir()
    (folder / run_folder.CONFIG).write_text(config_to_toml(config), encoding="utf-8")
    model.save_weights(folder / run_folder.WEIGHTS)
    return folder


def grey(config, channels):
    """Normalised images whose channels are all the same."""
    one = images_for(config.network, 1)
    return np.repeat(one, channels, axis=-1)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A trained network, its run folder, and the file exported from it."""
    folder = tmp_path_factory.mktemp("source")
    config, model = make_config(), some_network(FAST)
    path = export_to(folder / "m.onnx", model, FAST)
    return model, write_run(folder / "run", model, config), path


class TestStart:
    """What every source has in common."""

    @pytest.fixture(params=["run", "file"])
    def trained(self, request, source):
        model, run, file = source
        return model, run if request.param == "run" else file

    def test_the_network_has_the_output_of_the_source(self, trained):
        original, path = trained
        config = make_config()
        model = fresh(config)
        images = images_for(FAST)
        said = start_from(model, path, config)
        found, wanted = answer(model, images), answer(original, images)
        assert np.allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
        assert said.startswith(f"all {model.count_params():,} parameters start as those of {path}")
        assert "adapted" not in said
        assert "new in" not in said
        assert "normali" not in said

    def test_other_classes_get_a_new_last_layer_and_known_ones_keep_their_row(self, trained):
        original, path = trained
        config = make_config(classes=Classes(("border", "cat", "pet", "dog"), (0, 1, 2, 3)))
        model = fresh(config)
        built = model.get_layer("logits").get_weights()
        images = images_for(FAST)
        said = start_from(model, path, config)
        found, wanted = answer(model, images), answer(original, images)
        close = 1e-5 * np.abs(wanted).max()
        assert np.allclose(found[..., 0], wanted[..., 2], atol=close)  # border
        assert np.allclose(found[..., 2], wanted[..., 0], atol=close)  # pet
        kernel, bias = model.get_layer("logits").get_weights()
        for place in (1, 3):
            assert np.array_equal(kernel[..., place], built[0][..., place])
            assert bias[place] == 0
        # Two rows of four weights and a bias are new.
        total = model.count_params()
        assert f"{total - 2 * 5:,} of {total:,} parameters" in said
        assert (
            "new in the last layer: cat, dog; kept there: border, pet; left out: background" in said
        )

    def test_the_same_classes_in_another_order_are_all_kept(self, trained):
        original, path = trained
        config = make_config(classes=Classes(("border", "pet", "background"), (0, 1, 2)))
        model = fresh(config)
        images = images_for(FAST)
        said = start_from(model, path, config)
        found, wanted = answer(model, images), answer(original, images)[..., [2, 0, 1]]
        assert np.allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
        assert said.startswith("all ")

    @pytest.mark.parametrize("channels", [1, 2, 5])
    def test_a_grey_image_gives_the_same_output_with_other_channels(self, trained, channels):
        original, path = trained
        config = make_config(channels=channels)
        model = fresh(config)
        said = start_from(model, path, config)
        found = answer(model, grey(config, channels))
        wanted = answer(original, grey(config, 3))
        assert np.allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
        assert f"stem is adapted from 3 channels to {channels}" in said

    def test_another_normalisation_and_scale_are_described(self, trained):
        config = make_config(
            normalization=Normalization(1 / 256, 0.0), scale=Scale("resize", 32, 32)
        )
        said = start_from(fresh(config), trained[1], config)
        assert (
            "its input was normalised as value x 0.007843 -1, here as value x 0.003906 +0" in said
        )
        assert "its scale was native: the picture's own pixels, trained on 32x40, here" in said
        assert "here resize: whole picture to 32x32 (squash)" in said

    def test_another_network_is_refused_by_field(self, trained):
        config = make_config(replace(FAST, filters=(4, 6), head_filters=0, dropout=0.5))
        model = fresh(config)
        before = model.get_weights()
        with pytest.raises(
            ConfigError,
            match=r"has filters \[4, 8\], head_filters 4, that of this run filters \[4, 6\], "
            r"head_filters 0; accepted is the same network; (train with|set its values)",
        ):
            start_from(model, trained[1], config)
        for weight, same in zip(before, model.get_weights(), strict=True):
            assert np.array_equal(weight, same)

    def test_dropout_and_initialiser_may_differ(self, trained):
        config = make_config(replace(FAST, dropout=0.5, initializer="gaussian"))
        said = start_from(fresh(config), trained[1], config)
        assert said.startswith("all ")


def test_where_the_image_goes_to_two_convolutions_both_are_adapted(tmp_path):
    network = replace(FAST, stem_stride=1)
    original = some_network(network)
    run = write_run(tmp_path / "run", original, make_config(network))
    config = make_config(network, channels=1)
    model = fresh(config)
    said = start_from(model, run, config)
    wanted = answer(original, grey(config, 3))
    found = answer(model, grey(config, 1))
    assert np.allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())
    assert "encoder0_conv1 is adapted" in said
    assert "encoder0_shortcut is adapted" in said


def test_a_layer_that_the_source_lacks_is_new(tmp_path):
    network = replace(FAST, stem_stride=1)  # four channels in, four out: no shortcut convolution
    run = write_run(tmp_path / "run", some_network(network, 4), make_config(network, channels=4))
    config = make_config(network, channels=3)
    said = start_from(fresh(config), run, config)
    assert "encoder0_shortcut is new; encoder0_shortcut_norm is new" in said


def test_the_remedy_is_the_preset_where_the_source_has_one(tmp_path):
    network = preset_config("notebook")
    small = make_config(network)
    run = write_run(tmp_path / "run", build_unet(network, num_classes=3), small)
    with pytest.raises(ConfigError, match="train with --preset notebook and without a"):
        start_from(fresh(make_config()), run, make_config())


def test_the_remedy_is_else_the_configuration_of_the_run(source):
    config = make_config(NOTEBOOK)
    with pytest.raises(ConfigError, match=r"train with --config .*run.config\.toml"):
        start_from(fresh(config), source[1], config)


def training_answer(model, images):
    """What the network says of a batch while it trains: BatchNorm looks at the batch."""
    return keras.ops.convert_to_numpy(model(images, training=True))


def test_with_images_the_output_of_a_file_is_kept_in_training(source):
    config, images = make_config(), images_for(FAST)
    settled, bare = fresh(config), fresh(config)
    said = start_from(settled, source[2], config, images)
    assert "the statistics of BatchNorm are those of 2 training samples" in said
    said = start_from(bare, source[2], config)
    assert "its BatchNorm is part of its convolutions and starts without statistics" in said
    wanted = answer(source[0], images)
    largest = np.abs(wanted).max()
    assert np.allclose(answer(settled, images), wanted, atol=1e-4 * largest)
    # Normalised by the very batch that the statistics are of, it says the same again.
    assert np.allclose(training_answer(settled, images), wanted, atol=1e-3 * largest)
    assert np.abs(training_answer(bare, images) - wanted).max() > 0.1 * largest


def test_a_run_folder_keeps_the_statistics_that_it_has(source):
    config, model = make_config(), fresh(make_config())
    said = start_from(model, source[1], config, images_for(FAST))
    assert "BatchNorm" not in said
    for weight, same in zip(source[0].get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(weight, same)


def test_a_file_without_batch_norm_needs_no_statistics(tmp_path):
    path = export_to(tmp_path / "m.onnx", some_network(NOTEBOOK), NOTEBOOK, "resize")
    config = make_config(NOTEBOOK, scale=Scale("resize", 32, 40))
    said = start_from(fresh(config), path, config, images_for(NOTEBOOK))
    assert "BatchNorm" not in said
    assert "scale" not in said


def test_a_folder_that_is_no_run(source, tmp_path):
    config = make_config()
    with pytest.raises(DataNotFoundError, match=r"holds no config\.toml; accepted is the folder"):
        start_from(fresh(config), tmp_path, config)
    shutil.copy(source[1] / run_folder.CONFIG, tmp_path)
    with pytest.raises(DataNotFoundError, match=r"holds no best\.weights\.h5; accepted is"):
        start_from(fresh(config), tmp_path, config)


def test_a_source_that_does_not_exist(tmp_path):
    config = make_config()
    with pytest.raises(DataNotFoundError, match="gone does not exist; accepted is a run folder or"):
        start_from(fresh(config), tmp_path / "gone", config)


def test_a_source_that_diverged_is_refused(tmp_path):
    broken = some_network(FAST)
    broken.get_layer("head").set_weights([np.full((3, 3, 4, 4), np.nan)])
    run = write_run(tmp_path / "run", broken, make_config())
    with pytest.raises(
        ModelFileError, match=r"head/kernel of .*run has values that are not finite"
    ):
        start_from(fresh(make_config()), run, make_config())


def test_a_run_that_trained_is_a_source(run):
    config = read_config(run / run_folder.CONFIG)
    assert config.classes.names == TRIMAP_CLASSES.names
    images = images_for(config.network)
    from_run, from_file = fresh(config), fresh(config)
    start_from(from_run, run, config)
    start_from(from_file, run / run_folder.MODEL, config, images)
    wanted = answer(from_run, images)
    assert np.allclose(answer(from_file, images), wanted, atol=1e-4 * np.abs(wanted).max())
