"""Configuration files: written and read back, and refused where a key or a type is wrong."""

import tomllib

import pytest
import tomli_w

from tests.training.test_choices import DEEP, FRAMES, PHOTOS, choose, complete
from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.data.sources import Sources
from unetkit.errors import ConfigError, DataNotFoundError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.unet import PRESETS
from unetkit.training.config_file import (
    config_to_toml,
    parse_choices,
    read_choices,
    read_config,
    read_reasons,
)


@pytest.fixture
def dataset(folder):
    return find_dataset(folder)


class TestFile:
    @pytest.mark.parametrize("preset", PRESETS)
    def test_a_configuration_comes_back_from_its_file(self, dataset, tmp_path, preset):
        config = choose(dataset, PHOTOS, {"preset": preset})
        path = tmp_path / "config.toml"
        path.write_text(config_to_toml(config), encoding="utf-8")
        assert read_config(path) == config
        # and as given choices it decides everything, whatever the data look like
        assert complete(dataset, FRAMES, read_choices(path)) == config

    def test_files_of_versions_without_border_weights_are_complete(self, dataset, tmp_path):
        config = choose(dataset, PHOTOS)
        path = tmp_path / "config.toml"
        text = config_to_toml(config)
        start, end = text.index("[border_weight]"), len(text)
        if (following := text.find("\n[", start + 1)) > 0:
            end = following + 1
        path.write_text(text[:start] + text[end:], encoding="utf-8")
        assert read_config(path) == config

    def test_sources_split_and_pixel_format_come_back(self, dataset, tmp_path):
        classes = Classes(
            ("ground", "cell"),
            (0, 1),
            background=0,
            kind="instances",
            colours=((0, 0, 0), (9, 8, 7)),
        )
        given = {
            "sources": {
                "images": "raw",
                "masks": "*_seg",
                "channel_axis": "first",
                "skip_bad": True,
            },
            "split": {"group_by": r"(dish\d)", "file": str(tmp_path / "s.json")},
        }
        config = choose(dataset, ([(64, 64)], classes, DEEP), given)
        path = tmp_path / "config.toml"
        path.write_text(config_to_toml(config), encoding="utf-8")
        assert read_config(path) == config
        assert config.pixels == DEEP
        assert config.sources == Sources("raw", "*_seg", "first", True)

    @pytest.mark.parametrize(
        ("kind", "values", "special"),
        [
            ("colours", (0x804080, 0xFFFFFF), {"ignore": 0}),
            ("classes", (0, 7), {"ignore": 255}),
            ("classes", (0, 255), {"threshold": 127}),
        ],
    )
    def test_every_kind_of_mask_comes_back(self, dataset, tmp_path, kind, values, special):
        classes = Classes(("a", "b"), values, kind=kind, **special)
        config = choose(dataset, ([(64, 64)], classes, PixelFormat()))
        path = tmp_path / "config.toml"
        path.write_text(config_to_toml(config), encoding="utf-8")
        assert read_config(path).classes == classes

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"none\.toml cannot be read"):
            read_choices(tmp_path / "none.toml")

    def test_a_file_that_is_no_toml_is_named(self, tmp_path):
        (tmp_path / "c.toml").write_text("seed : 1")
        with pytest.raises(ConfigError, match=r"c\.toml is not TOML .*line 1"):
            read_choices(tmp_path / "c.toml")

    def test_an_unknown_key_gets_a_suggestion(self, tmp_path):
        (tmp_path / "c.toml").write_text("[training]\nlearning_rat = 0.1\n")
        with pytest.raises(
            ConfigError,
            match=r"'learning_rat' in \[training\] of .*c\.toml is unknown; .*'learning_rate'\?",
        ):
            read_choices(tmp_path / "c.toml")

    def test_an_unknown_section_gets_a_suggestion(self, tmp_path):
        (tmp_path / "c.toml").write_text("[trainin]\nseed = 1\n")
        with pytest.raises(ConfigError, match=r"key 'trainin' .*did you mean 'training'\?"):
            read_choices(tmp_path / "c.toml")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("in_channels = 3", "key 'in_channels' in .* is unknown; accepted are data, preset"),
            ("data = 5", "data in .* is 5; accepted is str"),
            ("preset = ['fast']", "preset in .*; accepted is str"),
        ],
    )
    def test_top_level_values_of_the_wrong_kind(self, tmp_path, line, message):
        (tmp_path / "c.toml").write_text(line)
        with pytest.raises(ConfigError, match=message):
            read_choices(tmp_path / "c.toml")

    def test_a_value_where_a_table_belongs(self, tmp_path):
        (tmp_path / "c.toml").write_text("scale = 3\n")
        with pytest.raises(ConfigError, match=r"scale in .* is 3; accepted is a table"):
            read_choices(tmp_path / "c.toml")

    def test_an_incomplete_configuration_is_not_that_of_a_run(self, tmp_path):
        (tmp_path / "c.toml").write_text("preset = 'fast'\n")
        with pytest.raises(ConfigError, match=r"lacks data, sources, classes, pixels"):
            read_config(tmp_path / "c.toml")

    @pytest.mark.parametrize("key", ["seed", "loss", "learning_rate"])
    def test_a_missing_value_is_named(self, dataset, tmp_path, key):
        text = config_to_toml(choose(dataset, PHOTOS))
        table = tomllib.loads(text)
        del table["training"][key]
        (tmp_path / "c.toml").write_text(tomli_w.dumps(table))
        with pytest.raises(ConfigError, match=rf"\[training\] of .*c\.toml lacks {key}; accepted"):
            read_config(tmp_path / "c.toml")

    def test_nesting_without_end_is_refused_in_words(self, tmp_path):
        (tmp_path / "c.toml").write_text("data = " + "[" * 9999)
        with pytest.raises(ConfigError, match=r"c\.toml is not TOML"):
            read_choices(tmp_path / "c.toml")


class TestParse:
    def test_a_type_is_refused_with_file_and_section(self, tmp_path):
        (tmp_path / "c.toml").write_text("[training]\nbatch_size = '4'\n")
        expected = r"batch_size in \[training\] of .*c\.toml is '4'; accepted is int"
        with pytest.raises(ConfigError, match=expected):
            read_choices(tmp_path / "c.toml")

    def test_colours_that_are_no_numbers_are_a_worded_error(self):
        colours = [["a", "b", "c"], ["d", "e", "f"]]
        with pytest.raises(ConfigError, match=r"colours in \[classes\] of x is .*; accepted is"):
            parse_choices({"classes": {"colours": colours}}, "x")

    def test_a_start_is_an_absolute_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for start in ("run", tmp_path / "run"):
            choices = parse_choices({"training": {"start": start}}, "x")
            assert choices.training.given == {"start": str(tmp_path / "run")}
        with pytest.raises(ConfigError, match="start is 5; accepted is the path of a run folder"):
            parse_choices({"training": {"start": 5}}, "x")

    def test_values_that_the_data_decide_are_automatic(self):
        given = {"class_weights": "auto", "precision": "auto"}
        assert parse_choices({"training": given}, "x").training.given == given
        with pytest.raises(ConfigError, match=r"class_weights in .* is 'even'; accepted is tuple"):
            parse_choices({"training": {"class_weights": "even"}}, "x")

    def test_a_key_that_is_no_text_is_refused(self):
        with pytest.raises(ConfigError, match="key 3 in x is unknown; accepted are data, preset"):
            parse_choices({3: 4}, "x")


def test_reasons_are_comments_that_can_be_read_back(dataset, tmp_path):
    path, config = tmp_path / "c.toml", choose(dataset, PHOTOS)
    reasons = ["scale resize: the images have several sizes", "preset pretrained: é"]
    path.write_text(config_to_toml(config, reasons), encoding="utf-8")
    assert "\n# scale resize: the images have several sizes\n" in path.read_text(encoding="utf-8")
    assert read_reasons(path) == reasons
    assert read_config(path) == config
    given = read_choices(path)
    assert given.reasons == tuple(reasons)
    assert given.updated(training={}).reasons == tuple(reasons)
    assert given.updated(training={"steps": 3}).reasons == ()  # they may not hold any more
    assert given.with_preset("notebook").reasons == ()


def test_comments_of_others_are_no_reasons(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("# my recipe\n# of today\n# because\npreset = 'fast'\n", encoding="utf-8")
    assert read_reasons(path) == []
    assert read_choices(path).reasons == ()
