"""Errors of the library and of the system become one line and an exit code."""

import ast
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.cli.test_main import failure
from tests.conftest import write_pair
from tests.test_architecture import MODULES
from unetkit.cli import options
from unetkit.cli.group import (
    COMMAND_GROUPS,
    OPTION_GROUPS,
    Commands,
    long_name,
    with_options_named,
)
from unetkit.cli.main import main as cli
from unetkit.models.unet import UNetConfig
from unetkit.results.masks import MASK_STYLES
from unetkit.results.polygons import POLYGONS
from unetkit.results.predicted_image import OVERLAY_FORMATS, PROBABILITY_DTYPES
from unetkit.training.config import TrainingConfig

# Keys of a configuration file, which messages name as they stand there.
CONFIG_KEYS = {
    f.name for kind in (UNetConfig, TrainingConfig) for f in dataclasses.fields(kind)
} | {
    "validation_fraction",
    "cross_entropy",
}
# Modules that no command calls with a value of the user.
PYTHON_ONLY = {
    "metrics.confusion",
    "prediction.predictor",
    "prediction.tiling",
    "visualization.animation",
}
# What a message says of Python as such, of arguments of functions, or of keys of LabelMe and VIA.
PYTHON_NAMES = {"predict_files", "in_channels", "num_classes", "include_top"}
PYTHON_NAMES |= {"shape_type", "all_points_x", "all_points_y"}


def every_command(group=cli):
    for command in group.commands.values():
        yield from every_command(command) if isinstance(command, click.Group) else [command]


def message_of(call):
    """Text of an exception, with x in place of values."""
    parts = []
    for argument in call.args:
        values = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
        parts += [str(one.value) if isinstance(one, ast.Constant) else "x" for one in values]
    return "".join(parts) if len(call.args) == 1 else " ".join(parts)


class TestUsage:
    def test_an_unknown_command_gets_a_suggestion(self):
        assert "did you mean 'train'?" in failure("trian", code=2)


class TestFailures:
    def test_data_that_are_not_there(self, tmp_path):
        text = failure("train", tmp_path / "nowhere", code=1, cwd=tmp_path)
        assert re.search(r"^unetkit: error: data folder .*nowhere does not exist; accepted", text)
        assert list(tmp_path.iterdir()) == []

    def test_a_mask_of_another_size(self, folder, tmp_path):
        Image.new("L", (3, 3), 1).save(folder / "masks" / "photo_01.png")
        (folder / "trainval.txt").write_text("\n".join(f"photo_{i:02d}" for i in range(12)))
        text = failure("train", folder, "--out", tmp_path / "run", code=1)
        assert "photo_01.jpg is 20x24 and mask" in text
        assert not (tmp_path / "run").exists()

    def test_a_run_folder_in_use(self, pets, run):
        assert "is not empty" in failure("train", pets, "--out", run, code=1)

    def test_a_model_that_is_none(self, pets, tmp_path):
        (tmp_path / "m.onnx").write_text("no model")
        for command in (["info"], ["evaluate", "--data", pets], ["predict", "x", "--model"]):
            if command[0] == "predict":
                write_pair(tmp_path, "x")
                command[1] = tmp_path / "images"
            assert "is not a model" in failure(*command, tmp_path / "m.onnx", code=1)

    def test_an_output_folder_that_cannot_be_made(self, run, pets, tmp_path):
        (tmp_path / "file").write_text("")
        text = failure(
            "predict", pets / "images", "--model", run, "--out", tmp_path / "file" / "x", code=1
        )
        assert "the system refused" in text

    def test_a_demo_folder_in_use(self, tmp_path):
        (tmp_path / "unetkit-demo").mkdir()
        (tmp_path / "unetkit-demo" / "x").write_text("")
        assert "is not empty" in failure("demo", code=1, cwd=tmp_path)

    def test_an_interrupt_ends_the_progress_line_and_has_its_own_code(self):
        class Shown:
            ended = False

            def finish(self):
                self.ended = True

        @click.group(cls=Commands)
        def main():
            pass

        @main.command("wait")
        @click.pass_context
        def wait(ctx):
            ctx.find_root().obj = shown
            raise KeyboardInterrupt

        shown = Shown()
        done = CliRunner().invoke(main, ["wait"])
        assert (done.exit_code, done.stderr) == (130, "unetkit: error: interrupted\n")
        assert shown.ended


class TestHelp:
    def test_commands_are_in_groups_and_no_description_is_cut(self):
        text = CliRunner().invoke(cli, ["--help"]).output
        for heading in COMMAND_GROUPS:
            assert f"\n{heading}:\n" in text
        assert {name for names in COMMAND_GROUPS.values() for name in names} == set(cli.commands)
        text += CliRunner().invoke(cli, ["data", "--help"]).output
        assert not re.search(r"\w\.\.\.$", text, flags=re.MULTILINE)

    def test_options_are_in_groups_that_name_no_option_twice(self):
        text = CliRunner().invoke(cli, ["train", "--help"]).output
        headings = re.findall(r"^(\w.*):$", text, flags=re.MULTILINE)
        own = {parameter.name for parameter in cli.commands["train"].params}
        expected = [heading for heading, names in OPTION_GROUPS.items() if own & set(names)]
        assert len(expected) == 7
        assert headings == [*expected, "Other options"]
        for parameter in cli.commands["train"].params:
            if isinstance(parameter, click.Option):
                rows = re.findall(rf"^  (?:-\w, )?{long_name(parameter)}\b", text, re.MULTILINE)
                assert len(rows) == 1

    def test_every_group_has_options_that_exist(self):
        known = {parameter.name for command in every_command() for parameter in command.params}
        assert {name for names in OPTION_GROUPS.values() for name in names} <= known

    def test_every_option_with_a_value_shows_its_default_or_is_required(self):
        for command in every_command():
            for parameter in command.params:
                if isinstance(parameter, click.Option) and not parameter.is_flag:
                    shown = parameter.required or parameter.show_default
                    assert shown or "(default: " in parameter.help, parameter.name

    def test_choices_are_those_of_the_library(self):
        from unetkit.data.classes import MASK_KINDS
        from unetkit.evaluation.selection import SPLIT_CHOICES
        from unetkit.io.pixel_format import CHANNEL_AXES
        from unetkit.losses import LOSSES
        from unetkit.models.unet import PRESETS
        from unetkit.objects.separation import METHODS
        from unetkit.prediction.orientations import AUGMENTATIONS
        from unetkit.training.config import PRECISIONS

        assert set(options.PRESET_NAMES) == set(PRESETS)
        assert options.SEPARATION_NAMES == METHODS
        assert set(options.MASK_KIND_NAMES) == set(MASK_KINDS)
        assert set(options.CHANNEL_AXIS_NAMES) == set(CHANNEL_AXES)
        assert options.MASK_STYLE_NAMES == MASK_STYLES
        assert options.OVERLAY_FORMAT_NAMES == OVERLAY_FORMATS
        assert options.PROBABILITY_DTYPE_NAMES == PROBABILITY_DTYPES
        assert tuple(AUGMENTATIONS) == options.AUGMENTATION_NAMES
        assert tuple(POLYGONS) == options.POLYGON_NAMES
        assert set(options.LOSS_NAMES) == set(LOSSES)
        assert set(options.PRECISION_NAMES) == {"auto", *PRECISIONS}
        assert set(options.PART_NAMES) == set(SPLIT_CHOICES)

    def test_outputs_have_a_short_option(self):
        for command in every_command():
            for parameter in command.params:
                if "--out" in parameter.opts:
                    assert "-o" in parameter.opts
                if "--model" in parameter.opts:
                    assert "-m" in parameter.opts


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ("unetkit tr", "plain,train"),
            ("unetkit data sy", "plain,synthetic-pets"),
            ("unetkit train x --pre", "plain,--preset"),
            ("unetkit train x --preset no", "plain,notebook"),
            ("unetkit train x --loss bou", "plain,boundary"),
            ("unetkit predict -o res", "file,res"),
            ("unetkit check ph", "file,ph"),
        ],
    )
    def test_commands_options_values_and_paths_are_completed(self, words, found):
        environment = {
            "_UNETKIT_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        done = CliRunner().invoke(cli, [], prog_name="unetkit", env=environment)
        assert done.exit_code == 0
        assert any(line.startswith(found) for line in done.output.splitlines()), done.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
class TestOutput:
    """What happens if standard output cannot be written, or nothing reads it any more."""

    def run(self, *arguments, out):
        command = [sys.executable, "-m", "unetkit", *map(str, arguments)]
        return subprocess.run(
            command, stdout=out, stderr=subprocess.PIPE, text=True, check=False, timeout=300
        )

    @pytest.mark.parametrize(
        "arguments",
        [["--help"], ["--version"], ["info"], ["runs", ".", "--json"], ["data", "--help"]],
    )
    def test_a_full_disk_is_one_line_and_a_failure(self, arguments):
        with open("/dev/full", "w") as full:
            done = self.run(*arguments, out=full)
        assert done.returncode == 1
        assert done.stderr == (
            "unetkit: error: standard output cannot be written (No space left on device); free "
            "space there, or send it elsewhere\n"
        )

    def test_a_closed_pipe_ends_quietly(self, grey_model, tmp_path):
        for name in "abcdef":
            Image.new("L", (20, 20)).save(tmp_path / f"{name}.png")
        reading, writing = os.pipe()
        os.close(reading)
        for extra in ([], ["--json"]):
            done = self.run(
                *("predict", tmp_path, "-m", grey_model, "-o", tmp_path / f"out{len(extra)}"),
                *extra,
                out=writing,
            )
            assert done.returncode != 0
            assert done.stderr == ""
        os.close(writing)


class TestOptionNames:
    """Messages of the library name options where a command prints them."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("test_fraction is 3; accepted are fractions", "--test-fraction is 3; accepted are f"),
            ("memory is 10 MiB; accepted are", "--memory is 10 MiB; accepted are"),
            ("class_weights has length 2", "--class-weights has length 2"),
            ("start is 'x'", "--from is 'x'"),
            ("field memory is full", "field memory is full"),
            ("/data/test_fraction/a.png is bad", "/data/test_fraction/a.png is bad"),
            ("a.test_fraction is bad", "a.test_fraction is bad"),
            ("memory of the device is short", "memory of the device is short"),
        ],
    )
    def test_only_names_are_replaced(self, text, expected):
        parameters = [
            click.Option([f"--{name}"])
            for name in ("test-fraction", "memory", "class-weights", "device")
        ]
        parameters.append(click.Option(["--from", "start"]))
        assert with_options_named(text, parameters).startswith(expected)

    def test_no_message_has_the_name_of_a_python_argument(self):
        """All messages that the library raises, as the commands print them."""
        parameters = [p for command in every_command() for p in command.params]
        known = CONFIG_KEYS | PYTHON_NAMES
        wrong = []
        for module, path in MODULES.items():
            if module in PYTHON_ONLY:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    text = with_options_named(message_of(node.exc), parameters)
                    names = re.findall(r"(?<![-\w./'\"\[])[a-z]+_[a-z_]+\b(?![\w./(\"'])", text)
                    wrong += [(module, name) for name in names if name not in known]
        assert wrong == []

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["train", "data", "--test-fraction", 2], "--test-fraction"),
            (["check", "data", "--group-by", "("], "--group-by is '('"),
            (
                ["train", "data", "--class-weights", "1"],
                "--class-weights has 1 value for 3 classes",
            ),
            (["train", "data", "--learning-rate", 99], "--learning-rate is 99"),
            (
                ["train", "data", "--channel-axis", "mid"],
                "--channel-axis is 'mid'; accepted",
            ),
            (["evaluate", "x", "--data", "data", "--part", "tests"], "--part is 'tests'; accepted"),
        ],
    )
    def test_a_refused_value_is_that_of_its_option(self, folder, arguments, words, monkeypatch):
        monkeypatch.chdir(folder.parent)
        done = CliRunner().invoke(cli, list(map(str, arguments)))
        assert done.exit_code == 2, done.output
        assert words in done.stderr
