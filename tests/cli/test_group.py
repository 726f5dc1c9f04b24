"""Errors of the library and of the system become one line and an exit code."""

import json
import re

import click
from click.testing import CliRunner
from PIL import Image

from tests.cli.test_main import failure
from tests.conftest import write_pair
from unetkit.cli.group import Commands, print_json


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


def test_json_is_one_line_that_keeps_names_readable(capsys):
    print_json({"image": "Füße.png", "pages": [1, None]})
    text = capsys.readouterr().out
    assert text == '{"image": "Füße.png", "pages": [1, null]}\n'
    assert json.loads(text) == {"image": "Füße.png", "pages": [1, None]}
