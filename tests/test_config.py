"""What is chosen for a run, and the file that makes the same run again."""

import dataclasses
from pathlib import Path

import pytest
from conftest import TINY_CONFIG, write_pair

from unetkit.augment import MICROSCOPE_AUGMENTATION, NO_AUGMENTATION, PHOTO_AUGMENTATION
from unetkit.config import (
    RECIPES,
    choose_config,
    config_from_file,
    config_to_toml,
    read_config,
)
from unetkit.data import Survey, find_dataset, survey
from unetkit.errors import ConfigError, DataNotFoundError
from unetkit.model import PRESETS

MASK = Path("m.png")
PHOTOS = Survey(sizes=((20, 24), (30, 40)), values=dict.fromkeys((1, 2, 3), MASK), grey=False)
FRAMES = Survey(sizes=((512, 512),) * 4, values=dict.fromkeys((0, 255), MASK), grey=True)


@pytest.fixture
def dataset(folder):
    return find_dataset(folder)


def choose(dataset, found, overrides=None, **options):
    return choose_config(dataset, found, overrides or {}, **{"train_size": 100, **options})


class TestChoices:
    def test_photos_of_many_sizes_are_resized(self, dataset):
        config = choose(dataset, PHOTOS)
        assert (config.scale.policy, config.scale.height, config.scale.width) == (
            "resize",
            128,
            128,
        )
        assert config.augmentation == PHOTO_AUGMENTATION
        assert config.in_channels == 3

    def test_large_frames_of_one_size_keep_their_pixels(self, dataset):
        config = choose(dataset, FRAMES)
        assert (config.scale.policy, config.scale.height, config.scale.width) == (
            "native",
            256,
            256,
        )
        assert config.augmentation == MICROSCOPE_AUGMENTATION
        assert config.in_channels == 1

    def test_small_pictures_of_one_size_are_seen_whole(self, dataset):
        small = dataclasses.replace(PHOTOS, sizes=((100, 130),) * 4)
        scale = choose(dataset, small).scale
        # the next multiples of the stride of 32
        assert (scale.policy, scale.height, scale.width) == ("resize", 128, 160)

    def test_the_paper_takes_its_own_tile(self, dataset):
        scale = choose(dataset, FRAMES, {"preset": "paper"}).scale
        assert (scale.height, scale.width) == (388, 388)

    def test_every_preset_has_a_recipe(self):
        assert RECIPES.keys() == PRESETS.keys()

    def test_the_notebook_trains_as_the_notebook_does(self, dataset):
        config = choose(dataset, PHOTOS, {"preset": "notebook"})
        assert config.augmentation == NO_AUGMENTATION
        assert config.normalization.multiply == 1 / 256
        training = config.training
        assert (training.optimizer, training.loss, training.batch_size) == (
            "adam",
            "cross_entropy",
            32,
        )
        # 20 times 100 samples are 63 steps of 32; 5 epochs of 4 steps are the least between looks
        assert (training.steps, training.steps_per_validation) == (63, 20)

    def test_epochs_are_passes_over_the_training_part(self, dataset):
        training = choose(dataset, PHOTOS, {"training": {"batch_size": 4}}, epochs=3).training
        # 100 / 4 = 25 steps a pass
        assert (training.steps, training.steps_per_validation) == (75, 25)

    def test_an_epoch_of_crops_covers_the_frames(self, dataset):
        training = choose(dataset, FRAMES, {"training": {"batch_size": 4}}, epochs=1).training
        # 512 * 512 / (256 * 256) = 4 crops a frame, 100 frames: 400 samples are 100 steps of 4
        assert training.steps == 100

    def test_few_samples_are_not_seen_more_often_than_asked(self, dataset):
        training = choose(dataset, PHOTOS, train_size=20, epochs=1).training
        assert training.steps == 2  # of 16 samples

    def test_steps_are_taken_as_they_are(self, dataset):
        asked = {"training": {"steps": 31, "steps_per_validation": 10}}
        assert choose(dataset, PHOTOS, asked).training.steps == 31

    def test_validation_is_not_put_off_for_large_sets(self, dataset):
        assert choose(dataset, PHOTOS, train_size=100_000).training.steps_per_validation == 200

    def test_what_is_asked_for_wins(self, dataset):
        overrides = {
            "scale": {"fit": "letterbox"},
            "training": {"learning_rate": 1, "loss": "dice"},
            "network": {"filters": [4, 8]},
            "classes": {"names": ["a", "b", "c"], "values": [1, 2, 3], "background": 1},
        }
        config = choose(dataset, PHOTOS, overrides)
        assert config.scale.fit == "letterbox"
        assert config.training.learning_rate == 1.0
        assert config.network.filters == (4, 8)
        assert config.classes.names == ("a", "b", "c")


class TestFile:
    @pytest.mark.parametrize("preset", PRESETS)
    def test_a_configuration_comes_back_from_its_file(self, dataset, tmp_path, preset):
        config = choose(dataset, PHOTOS, {"preset": preset})
        path = tmp_path / "config.toml"
        path.write_text(config_to_toml(config), encoding="utf-8")
        assert config_from_file(path) == config
        # and given as overrides it decides everything, whatever the data look like
        assert choose(dataset, FRAMES, read_config(path)) == config

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"none\.toml cannot be read"):
            read_config(tmp_path / "none.toml")

    def test_a_file_that_is_no_toml_is_named(self, tmp_path):
        (tmp_path / "c.toml").write_text("seed : 1")
        with pytest.raises(ConfigError, match=r"c\.toml is not TOML .*line 1"):
            read_config(tmp_path / "c.toml")

    def test_an_unknown_key_gets_a_suggestion(self, tmp_path):
        (tmp_path / "c.toml").write_text("[training]\nlearning_rat = 0.1\n")
        with pytest.raises(
            ConfigError,
            match=r"'learning_rat' in \[training\] of .*c\.toml is unknown; .*'learning_rate'\?",
        ):
            read_config(tmp_path / "c.toml")

    def test_an_unknown_section_gets_a_suggestion(self, tmp_path):
        (tmp_path / "c.toml").write_text("[trainin]\nseed = 1\n")
        with pytest.raises(ConfigError, match=r"key 'trainin' .*did you mean 'training'\?"):
            read_config(tmp_path / "c.toml")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("in_channels = 2", "in_channels in .* is 2; accepted are 1"),
            ("in_channels = 3.0", "in_channels in .* is 3.0; accepted is int"),
            ("data = 5", "data in .* is 5; accepted is str"),
            ("preset = ['fast']", "preset in .*; accepted is str"),
        ],
    )
    def test_top_level_values_of_the_wrong_kind(self, tmp_path, line, message):
        (tmp_path / "c.toml").write_text(line)
        with pytest.raises(ConfigError, match=message):
            read_config(tmp_path / "c.toml")

    def test_a_value_where_a_table_belongs(self, tmp_path):
        (tmp_path / "c.toml").write_text("scale = 3\n")
        with pytest.raises(ConfigError, match=r"scale in .* is 3; accepted is a table"):
            read_config(tmp_path / "c.toml")

    def test_a_part_of_a_configuration_is_not_a_run_s(self, tmp_path):
        (tmp_path / "c.toml").write_text("preset = 'fast'\n")
        with pytest.raises(ConfigError, match=r"lacks data, in_channels, classes"):
            config_from_file(tmp_path / "c.toml")

    @pytest.mark.parametrize(
        ("section", "values", "message"),
        [
            ("training", {"batch_size": "4"}, "batch_size in .* is '4'; accepted is int"),
            ("training", {"batch_size": 0}, "batch_size is 0; accepted are whole numbers"),
            ("training", {"learning_rate": True}, "learning_rate in .* is True; accepted is float"),
            ("training", {"learning_rate": -1.0}, "learning_rate is -1.0"),
            ("training", {"optimizer": "adma"}, "optimizer is 'adma'; .*did you mean 'adam'"),
            ("training", {"loss": "dise"}, "loss 'dise' is unknown; .*did you mean 'dice'"),
            ("training", {"schedule": "step"}, "schedule is 'step'; accepted are 'cosine'"),
            ("network", {"filters": [1.5, 2]}, "filters in .* is"),
            ("network", {"filters": [4]}, r"filters is \[4\]; accepted are at least two"),
            ("network", {"padding": "full"}, "padding is 'full'; accepted are 'same', 'valid'"),
            ("scale", {"policy": "crop"}, "policy is 'crop'; accepted are 'resize', 'native'"),
            ("augmentation", {"rotation": -3}, "rotation is -3.0; accepted are values from 0"),
            ("training", {"seed": -1}, "seed is -1; accepted are whole numbers from 0"),
            ("training", {"weight_decay": float("nan")}, "weight_decay is nan"),
            ("training", {"momentum": -5}, "momentum -5.0; accepted are values from 0"),
            ("split", {"seed": 5_000_000_000}, "seed is 5000000000"),
            ("normalization", {"multiply": 0.0}, "times 0.0, plus -1.0; accepted are finite"),
            ("network", {"filters": 16}, "filters in .* is 16; accepted is tuple"),
            ("classes", {"names": 5}, "names in .* is 5; accepted is tuple"),
            ("classes", {"names": ["a", "b"]}, "values that are no class"),
            ("classes", {"background": 7}, "background is class 7; accepted are indices"),
            ("classes", {"colours": [[1, 2, 999]] * 3}, "colours are .*; accepted are three whole"),
            ("classes", {"names": ["a", "b", "c\x00"]}, "unprintable characters"),
        ],
    )
    def test_values_that_are_not_accepted(self, dataset, section, values, message):
        found = survey(dataset.pairs)
        with pytest.raises(ValueError, match=message):
            choose(dataset, found, {section: values})

    def test_an_unknown_preset_gets_a_suggestion(self, dataset):
        with pytest.raises(ConfigError, match=r"preset 'fats' is unknown; .*did you mean 'fast'\?"):
            choose(dataset, PHOTOS, {"preset": "fats"})

    def test_the_tiny_configuration_of_the_tests_is_accepted(self, dataset, tmp_path):
        write_pair(tmp_path, "a")
        assert choose(dataset, PHOTOS, TINY_CONFIG).training.steps == 4
