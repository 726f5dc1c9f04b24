"""Options of commands set keys of a configuration, or are refused by name."""

import pytest
from click.testing import CliRunner

from unetkit.cli.main import main
from unetkit.cli.options import choices_from, parse_size, take_sections
from unetkit.errors import ConfigError


def given(**options):
    return take_sections(options).get("training", {})


def test_what_is_not_given_decides_nothing():
    assert given(loss=(), freeze=()) == {}


def test_terms_of_the_loss_have_weights():
    assert given(loss=("cross_entropy", "dice=0.5")) == {
        "loss": {"cross_entropy": 1.0, "dice": 0.5}
    }


@pytest.mark.parametrize("value", ["dice=", "dice=half"])
def test_a_weight_that_is_no_number(value):
    with pytest.raises(ConfigError, match="in --loss is not a number; accepted are numbers"):
        given(loss=(value,))


def test_border_weights_are_a_section():
    expected = {"border_weight": {"w0": 10.0, "sigma": 2.5}}
    assert take_sections({"border_weight": 10.0, "border_sigma": 2.5}) == expected
    assert take_sections({"border_weight": None, "border_sigma": None}) == {}


def test_class_weights_are_numbers_or_automatic():
    assert given(class_weights="1,1, 4") == {"class_weights": (1.0, 1.0, 4.0)}
    assert given(class_weights="auto") == {"class_weights": "auto"}
    with pytest.raises(ConfigError, match="'' in --class-weights is not a number"):
        given(class_weights="1,")


def test_a_start_is_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    choices = choices_from(None, None, {"training": given(start="run")})
    assert choices.training.given == {"start": str(tmp_path / "run")}


def test_options_are_taken_by_section():
    options = {"kind": "colours", "ignore": "#ff0000", "split": "s.json", "patience": 3, "out": "x"}
    assert take_sections(options) == {
        "classes": {"kind": "colours", "ignore": 0xFF0000},
        "split": {"file": "s.json"},
        "training": {"patience": 3},
    }
    assert options == {"out": "x"}


def test_options_override_a_configuration_file(tmp_path):
    (tmp_path / "c.toml").write_text("preset = 'fast'\n[training]\nsteps = 4\npatience = 1\n")
    choices = choices_from(str(tmp_path / "c.toml"), None, {"training": {"patience": 3}})
    assert choices.training.given == {"steps": 4, "patience": 3}
    assert choices_from(str(tmp_path / "c.toml"), "paper", {}).to_mapping() == {"preset": "paper"}


def test_a_mask_value_that_is_none_is_an_error_of_usage():
    with pytest.raises(ConfigError, match="--threshold has the value 'red'"):
        take_sections({"threshold": "red"})


def test_what_is_ignored_is_one_value_or_labels():
    options = {"ignore": ("__ignore__", "-1", "Ignore*")}
    assert take_sections(options) == {
        "classes": {"ignore": -1, "ignored_labels": ("__ignore__", "Ignore*")}
    }
    with pytest.raises(ConfigError, match="--ignore is given the values 3, 255; accepted is one"):
        take_sections({"ignore": ("3", "255")})


def test_zero_and_false_are_given():
    assert given(patience=0, deterministic=False, averaging=0.0) == {
        "patience": 0,
        "deterministic": False,
        "averaging": 0.0,
    }


def test_a_size_is_a_side_or_two():
    assert parse_size("128") == 128
    assert parse_size("96x128") == (96, 128)
    with pytest.raises(ConfigError, match="size is '12x'; accepted are a side"):
        parse_size("12x")


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (["--minutes", "5"], "--minutes"),
        (["--fastest"], "--deterministic"),
        (["--seed", "1"], "--seed"),
        (["photos"], "error: DATA"),
    ],
)
def test_nothing_is_chosen_anew_beside_resume(option, named):
    done = CliRunner().invoke(main, ["train", "--resume", "run", *option])
    assert done.exit_code == 2
    assert f"{named} is given with --resume; accepted beside it are --device" in done.output


def test_data_beside_resume_are_moved_by_the_option_that_the_message_names():
    done = CliRunner().invoke(main, ["train", "--resume", "my run", "photos"])
    assert "or use --resume 'my run' --data photos if they were moved" in done.output


def test_moved_data_need_a_run_that_is_resumed():
    done = CliRunner().invoke(main, ["train", "--data", "photos"])
    assert done.exit_code == 2
    assert "--data is 'photos' without --resume; accepted is DATA in its place" in done.output


def test_what_is_to_be_resumed_must_be_a_run(tmp_path):
    done = CliRunner().invoke(main, ["train", "--resume", str(tmp_path)])
    assert done.exit_code == 1
    assert "holds no config.toml; accepted is the folder of a run" in done.output


def test_classes_are_names_alone_or_each_with_its_value():
    assert take_sections({"classes": "sky, road"}) == {"classes": {"names": ("sky", "road")}}
    assert take_sections({"classes": "sky=#0000ff, road = #808080"}) == {
        "classes": {"names": ("sky", "road"), "values": (0x0000FF, 0x808080), "kind": "colours"}
    }
    assert take_sections({"classes": "sky=3,road=7"}) == {
        "classes": {"names": ("sky", "road"), "values": (3, 7)}
    }
    with pytest.raises(ConfigError, match="--classes"):
        take_sections({"classes": "sky=blue,road=7"})
