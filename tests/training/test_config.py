"""Configurations of runs: values that are refused, values given for some fields, and recipes."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.test_fine_tuning import TRAINING, make_config
from unetkit.data.classes import Classes
from unetkit.data.scale import Scale
from unetkit.data.splits import SplitRule
from unetkit.errors import ConfigError
from unetkit.models.unet import PRESETS, preset_config
from unetkit.training.config import (
    AUTOMATIC,
    KEYS,
    RECIPES,
    SECTIONS,
    Choices,
    RunConfig,
    Section,
    TrainingConfig,
)
from unetkit.training.config_file import parse_choices

NAN, INF = float("nan"), float("inf")


class TestTrainingConfig:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"optimizer": "adma"}, r"optimizer is 'adma'; accepted are 'adamw', 'adam', 'sgd'; "
             r"did you mean 'adam'\?"),
            ({"schedule": "step"}, "schedule is 'step'; accepted are 'cosine', 'constant'$"),
            ({"precision": "float64"}, "precision is 'float64'; accepted are 'float32', "
             "'mixed_bfloat16', 'mixed_float16'"),
            ({"encoder_weights": "imagnet"}, "encoder_weights is 'imagnet'; accepted are "
             r"'imagenet', 'random' and the path of a file, PATH\.h5; did you mean 'imagenet'\?"),
            ({"steps": 0}, "steps is 0; accepted are whole numbers of 1 or more"),
            ({"steps_per_validation": 0}, "steps_per_validation is 0; accepted are whole numbers"),
            ({"batch_size": 0}, "batch_size is 0; accepted are whole numbers"),
            ({"accumulation": -1}, "accumulation is -1; accepted are whole numbers"),
            ({"learning_rate": -1.0}, r"learning_rate is -1\.0 and warmup 0\.05; accepted are "
             "learning rates between 0 and 10 and warm-up fractions from 0 to below 1; try "
             r"0\.003 and 0\.05"),
            ({"learning_rate": 0.0}, r"learning_rate is 0\.0 and"),
            ({"learning_rate": 10.0}, r"learning_rate is 10\.0 and"),
            ({"learning_rate": NAN}, "learning_rate is nan and"),
            ({"warmup": 1.0}, r"and warmup 1\.0; accepted"),
            ({"warmup": NAN}, "and warmup nan; accepted"),
            ({"weight_decay": NAN}, r"weight_decay is nan and momentum 0\.99; accepted are values "
             r"from 0 to below 1; try 0\.001 and 0\.9"),
            ({"weight_decay": 1.0}, r"weight_decay is 1\.0 and"),
            ({"momentum": -5.0}, r"momentum -5\.0; accepted are values from 0"),
            ({"momentum": 1.0}, r"momentum 1\.0; accepted"),
            ({"averaging": 1.0}, r"averaging is 1\.0; accepted are values from 0 to below 1; try "
             r"0\.99, or 0 for no average"),
            ({"averaging": NAN}, "averaging is nan; accepted"),
            ({"clip_norm": -0.5}, r"clip_norm is -0\.5; accepted are numbers of 0 or more; use 0 "
             "for no clipping"),
            ({"clip_norm": INF}, "clip_norm is inf; accepted"),
            ({"patience": -1}, "patience is -1; accepted are .*; use 0 to never stop early"),
            ({"keep": "lats"}, "keep is 'lats'; accepted are 'best', 'last'; did you mean 'last'"),
            ({"keep": "last", "patience": 3}, "patience is 3 and keep 'last'; accepted is patience "
             "with keep 'best' only; leave one of them out"),
            ({"checkpoint_minutes": NAN}, "checkpoint_minutes is nan; accepted are .*; use 0 for "
             "one after every step"),
            ({"seed": -1}, "seed is -1; accepted are whole numbers from 0"),
            ({"loss": {"dise": 1.0}}, r"loss 'dise' is unknown; .*did you mean 'dice'\?"),
        ],
    )  # fmt: skip
    def test_a_value_that_is_not_accepted_is_named(self, values, message):
        with pytest.raises(ConfigError, match=message):
            replace(TRAINING, **values)

    def test_the_ends_of_each_range_are_accepted(self):
        lowest = {
            "steps": 1, "steps_per_validation": 1, "batch_size": 1, "accumulation": 1,
            "learning_rate": 1e-12, "warmup": 0.0, "weight_decay": 0.0, "momentum": 0.0,
            "clip_norm": 0.0, "averaging": 0.0, "patience": 0, "checkpoint_minutes": 0.0, "seed": 0,
        }  # fmt: skip
        config = replace(TRAINING, **lowest)
        assert {name: getattr(config, name) for name in lowest} == lowest
        below_one = dict.fromkeys(("warmup", "weight_decay", "momentum", "averaging"), 1 - 1e-9)
        config = replace(TRAINING, learning_rate=9.99, **below_one)
        assert config.averaging == 1 - 1e-9


def test_the_fields_of_a_run_are_two_texts_and_sections():
    assert tuple(field.name for field in fields(RunConfig)) == KEYS
    assert set(KEYS) - SECTIONS.keys() == {"data", "preset"}
    assert SECTIONS["training"] is TrainingConfig
    assert {field.name for field in fields(Choices)} == {*KEYS, "reasons"}


def test_automatic_values_are_fields_of_the_training():
    assert set(AUTOMATIC) <= {field.name for field in fields(TrainingConfig)}


class TestSection:
    def test_open_fields_are_taken_from_the_defaults(self):
        section = Section(Scale, {"height": 64, "fit": "letterbox"})
        scale = section.complete(Scale("resize", 128, 160))
        assert scale == Scale("resize", 64, 160, fit="letterbox")

    def test_a_given_value_that_is_not_accepted_is_refused_on_completion(self):
        with pytest.raises(ConfigError, match="policy is 'crop'"):
            Section(Scale, {"policy": "crop"}).complete(Scale("resize", 128, 160))

    def test_defaults_become_given_unless_others_are(self):
        section = Section(SplitRule, {"seed": 5}).over(SplitRule(seed=1, group_by="(dish)"))
        assert section.given == {**vars(SplitRule(group_by="(dish)")), "seed": 5}

    def test_further_values_replace_earlier_ones_and_leave_the_section_as_it_was(self):
        section = Section(Scale, {"height": 64, "width": 96})
        assert section.updated({"width": 32, "fit": "letterbox"}).given == {
            "height": 64, "width": 32, "fit": "letterbox",
        }  # fmt: skip
        assert section.without("height").given == {"width": 96}
        assert section.without("fit") == section
        assert section.given == {"height": 64, "width": 96}

    VALUES = st.fixed_dictionaries(
        {},
        optional={
            "height": st.integers(16, 512),
            "width": st.integers(16, 512),
            "fit": st.sampled_from(("squash", "letterbox")),
        },
    )

    @settings(max_examples=50)
    @given(VALUES, VALUES)
    def test_the_last_of_two_updates_wins(self, first, second):
        defaults = Scale("resize", 128, 160)
        whole = Section(Scale).updated(first).updated(second).complete(defaults)
        assert whole == Section(Scale, second).complete(Section(Scale, first).complete(defaults))
        assert whole == Section(Scale, second).over(
            Section(Scale, first).complete(defaults)
        ).complete(defaults)


class TestChoices:
    def test_choices_are_mappings_again(self):
        given = {
            "data": "x",
            "preset": "paper",
            "scale": {"height": 9},
            "network": {"filters": [4, 8]},
        }
        choices = parse_choices(given, "x")
        assert choices.to_mapping() == {**given, "network": {"filters": (4, 8)}}
        assert parse_choices(choices.to_mapping(), "x") == choices

    def test_options_override_a_file(self):
        file = {"data": "x", "training": {"steps": 9, "seed": 1}, "classes": {"ignore": 3}}
        options = {"training": {"seed": 2}, "classes": {"threshold": 5}}
        choices = parse_choices(file, "x").with_options(parse_choices(options, "y"))
        assert choices.training.given == {"steps": 9, "seed": 2}
        assert choices.classes.given == {"ignore": 3, "threshold": 5}
        assert choices.data == "x"

    @pytest.mark.parametrize("option", [{"kind": "colours"}, {"names": ["a", "b"]}])
    def test_options_for_other_classes_make_those_of_a_file_void(self, option):
        file = parse_choices({"classes": {"ignore": 3, "values": [1, 2]}}, "x")
        choices = file.with_options(parse_choices({"classes": option}, "y"))
        assert set(choices.classes.given) == set(option)

    def test_a_channel_axis_applies_to_the_pixel_format_of_a_file(self):
        option = parse_choices({"sources": {"channel_axis": "last"}}, "y")
        file = parse_choices({"pixels": {"channels": 2, "channel_axis": "first"}}, "x")
        assert file.with_options(option).pixels.given == {"channels": 2, "channel_axis": "last"}
        assert parse_choices({}, "x").with_options(option).pixels.given == {}

    def test_another_preset_makes_the_recipe_of_a_file_void(self):
        file = parse_choices({"preset": "fast", "data": "x", "training": {"steps": 9}}, "x")
        assert file.with_preset("notebook").to_mapping() == {"data": "x", "preset": "notebook"}
        assert file.with_preset("fast") == file

    def test_every_value_of_a_configuration_may_be_given(self):
        config = make_config()
        choices = Choices.of(config)
        assert (choices.data, choices.preset) == (config.data, config.preset)
        for name, kind in SECTIONS.items():
            section = getattr(choices, name)
            assert section.kind is kind
            assert kind(**section.given) == getattr(config, name)

    def test_without_any_choice_the_mapping_is_empty(self):
        assert Choices().to_mapping() == {}

    def test_further_values_replace_earlier_ones_of_the_same_name(self):
        choices = Choices(data="x").updated(training={"steps": 9, "seed": 1}, split={"seed": 1})
        choices = choices.updated(training={"seed": 2})
        assert choices.to_mapping() == {
            "data": "x", "split": {"seed": 1}, "training": {"steps": 9, "seed": 2},
        }  # fmt: skip

    def test_data_and_preset_of_options_override_those_of_a_file(self):
        file, options = Choices(data="x", preset="fast"), Choices(data="y")
        assert file.with_options(options) == Choices(data="y", preset="fast")
        assert file.with_options(Choices(preset="paper")) == Choices(data="x", preset="paper")

    def test_a_first_preset_keeps_the_recipe_that_is_given(self):
        choices = Choices().updated(training={"steps": 9}, network={"filters": (4, 8)})
        assert choices.with_preset("paper") == replace(choices, preset="paper")

    def test_another_preset_leaves_what_is_no_part_of_a_recipe(self):
        choices = Choices.of(make_config()).with_preset("paper")
        emptied = {name for name in SECTIONS if not getattr(choices, name).given}
        recipe = {"network", "normalization", "augmentation", "training", "border_weight"}
        assert emptied == recipe
        assert choices.classes.complete(Classes(("a", "b"), (0, 1))) == make_config().classes


class TestRecipes:
    def test_every_preset_has_a_recipe(self):
        assert RECIPES.keys() == PRESETS.keys()

    @pytest.mark.parametrize(
        ("preset", "value", "expected"),
        [
            ("fast", 0, -1.0), ("fast", 255, 1.0),  # 255 / 127.5 - 1
            ("notebook", 128, 0.5), ("notebook", 255, 255 / 256),
            ("paper", 0, 0.0), ("paper", 255, 1.0),
        ],
    )  # fmt: skip
    def test_pixel_values_are_normalized_as_the_preset_says(self, preset, value, expected):
        found = RECIPES[preset].normalization
        assert value * found.multiply + found.add == pytest.approx(expected)

    def test_the_paper_trains_on_one_large_tile_a_step_with_its_momentum(self):
        # Ronneberger et al. 2015: 572x572 pixels in, 388x388 out; batches of one, momentum 0.99.
        recipe = RECIPES["paper"]
        assert recipe.crop_size == 388
        assert preset_config("paper").geometry.input_size(388) == 572
        training = recipe.training
        assert (training.batch_size, training.optimizer, training.momentum) == (1, "sgd", 0.99)
        assert recipe.augment

    def test_only_presets_of_published_trainings_count_epochs(self):
        assert {name: recipe.epochs for name, recipe in RECIPES.items()} == {
            "pretrained": None, "fast": None, "notebook": 20, "paper": 20,
        }  # fmt: skip
