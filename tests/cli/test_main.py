"""The command line in a process of its own, with its output and exit codes."""

import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.commands import python, unetkit
from tests.conftest import write_disks
from unetkit import __version__
from unetkit.cli.main import main
from unetkit.models.unet import PRESETS
from unetkit.training.config_file import read_config

COMMANDS = (
    ["check"],
    ["compare"],
    ["data", "oxford-pets"],
    ["data", "synthetic-cells"],
    ["data", "synthetic-pets"],
    ["demo"],
    ["evaluate"],
    ["export"],
    ["info"],
    ["label"],
    ["predict"],
    ["report"],
    ["runs"],
    ["serve"],
    ["train"],
    ["verify"],
)
TINY = (
    "[network]\nfilters = [4, 8]\n[scale]\nheight = 32\nwidth = 48\n"
    "[training]\nsteps = 4\nsteps_per_validation = 2\nbatch_size = 4\n"
)
SMALL = (
    "[network]\nfilters = [2, 4]\nnormalization = 'none'\nresidual = false\nstem_stride = 1\n"
    "head_filters = 0\n[scale]\nheight = 32\nwidth = 48\n"
    "[training]\nsteps = 2\nsteps_per_validation = 2\nbatch_size = 4\n"
)
# Where a command takes a preset as it is, its network is replaced by a small one.
SMALL_PRESETS = """
import dataclasses

import unetkit.runs.demo
from unetkit.cli.main import main
from unetkit.models.unet import PRESETS

for name, config in PRESETS.items():
    PRESETS[name] = dataclasses.replace(config, filters=(2, 4), head_filters=0)
"""


def failure(*arguments, code, cwd=None):
    done = unetkit(*arguments, cwd=cwd)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_version():
    assert unetkit("--version").stdout.split() == ["unetkit,", "version", __version__]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command):
    done = unetkit(*command, "--help")
    assert done.returncode == 0
    assert "--" in done.stdout


def test_no_command_is_forgotten():
    names = [
        [name, *inner]
        for name, command in main.commands.items()
        for inner in ([[key] for key in command.commands] if name == "data" else [[]])
    ]
    assert sorted(names) == sorted(COMMANDS)


def test_help_names_every_preset():
    assert all(preset in unetkit("train", "--help").stdout for preset in PRESETS)


def test_the_whole_way_from_a_folder_to_masks(pets, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    done = unetkit("train", pets, "--config", "tiny.toml", "--out", "run", cwd=tmp_path, fresh=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "step 4/4: loss" in done.stdout
    assert "device" in done.stdout

    done = unetkit("evaluate", "run", "--data", pets, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pixel accuracy" in done.stdout
    figures = json.loads((tmp_path / "run/evaluation-pets/evaluation.json").read_text())
    assert f"{figures['figures']['original']['summed']['pixel_accuracy']:.4f}" in done.stdout
    assert figures["command"] == f"unetkit evaluate run --data {pets}"
    low, high = figures["intervals"]["original"]["summed"]["mean_iou"]
    value = figures["figures"]["original"]["summed"]["mean_iou"]
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert f"mean IoU {value:.4f} {low:.4f} to {high:.4f}" in lines

    page = tmp_path / "run/evaluation-pets/report.html"
    assert "unetkit train" in page.read_text()
    page.unlink()
    done = unetkit("report", "run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "run/evaluation-pets/report.html\n"
    assert page.is_file()

    done = unetkit("compare", "run", "run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "have the same mean IoU" in done.stdout
    assert "+0.0000 to +0.0000" in done.stdout
    done = unetkit("compare", "run", "run", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["images"] == 4

    done = unetkit("export", "run", "--out", "m.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    photo = next((pets / "images").iterdir())
    shutil.copy(photo, tmp_path / "photo.jpg")
    done = unetkit(
        "predict", "photo.jpg", "--model", "m.onnx", "--out", "masks", "--overlay", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "masks").glob("[!.]*")} == {
        "photo.png",
        "photo_overlay.png",
    }
    assert Image.open(tmp_path / "masks/photo.png").size == Image.open(photo).size

    done = unetkit("info", "m.onnx", "--layers", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"scale +resize: whole picture to 32x48 \(squash\)", done.stdout)
    assert re.search(r"logits .*Conv2D .*\(32, 48, 3\) .* 51", done.stdout)  # 16 * 3 + 3


def test_options_win_over_another_preset_s_configuration(run, pets, tmp_path):
    done = python(
        f"{SMALL_PRESETS}\nmain()",
        *("train", pets, "--config", run / "config.toml", "--preset", "notebook"),
        *("--batch-size", 3, "--epochs", 1, "--size", "16x16", "--out", tmp_path / "run"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "run" / "config.toml").read_text()
    assert 'optimizer = "adam"' in written
    assert "batch_size = 3" in written


class TestData:
    """Options that say what data are, on their way from check to train to evaluate."""

    @pytest.fixture
    def mixed(self, tmp_path):
        """Disks with two kinds of masks and one broken picture."""
        data = write_disks(tmp_path / "mixed", count=10)
        shutil.copytree(data / "masks", data / "labels")
        (data / "images" / "disk_04.tif").write_bytes(b"II*\0broken")
        (tmp_path / "tiny.toml").write_text(SMALL)
        return data

    def test_check_lists_what_to_decide(self, mixed, tmp_path):
        text = failure("check", mixed, code=1)
        assert "contains several kinds of masks" in text
        assert "choose with --masks, as in --masks 'labels'" in text

        done = unetkit("check", mixed, "--masks", "masks/", "--json")
        assert done.returncode == 1
        report = json.loads(done.stdout)
        codes = {f["code"] for f in report["findings"] if f["level"] == "error"}
        assert codes == {"unreadable", "mask-kind"}

        done = unetkit("check", mixed, "--masks", "masks/", "--ignore", 255)
        assert done.returncode == 1
        assert "unreadable" in done.stdout or "cannot be read" in done.stdout
        (mixed / "images" / "disk_04.tif").unlink()
        done = unetkit(
            *("check", mixed, "--masks", "masks/", "--ignore", 255, "--json"),
            *("--write-split", tmp_path / "split.json"),
        )
        assert done.returncode == 0, done.stdout
        assert json.loads((tmp_path / "split.json").read_text())["train"]

    def test_train_and_evaluate_take_the_same_words(self, mixed, tmp_path):
        words = ["train", mixed, "--config", "tiny.toml", "--out", "run", "--masks", "masks/"]
        words += ["--ignore", "255", "--classes", "ground, disk", "--channel-axis", "first"]
        words += ["--group-by", r"(disk_\d\d)", "--test-fraction", "0.3", "--seed", "3"]
        text = failure(*words, code=1, cwd=tmp_path)
        assert "1 pair cannot be read: " in text
        assert "disk_04.tif" in text
        assert "to go on without these files: --skip-bad" in text
        assert not (tmp_path / "run").exists()

        done = unetkit(*words, "--skip-bad", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        config = read_config(tmp_path / "run" / "config.toml")
        assert (config.sources.masks, config.sources.skip_bad) == ("masks/", True)
        assert (config.classes.names, config.classes.ignore) == (("ground", "disk"), 255)
        assert config.pixels.channel_axis == "first"
        assert (config.split.group_by, config.split.test_fraction) == (r"(disk_\d\d)", 0.3)
        assert (config.split.seed, config.training.seed) == (3, 3)
        split = json.loads((tmp_path / "run" / "split.json").read_text())
        assert [entry["name"] for entry in split["skipped"]] == ["disk_04"]

        # What is not said again still holds: the masks that were chosen for training.
        for part, options in (("test", []), ("validation", ["--skip-bad"])):
            done = unetkit(
                *("evaluate", "run", "--data", mixed, "--part", part, *options), cwd=tmp_path
            )
            assert done.returncode == 0, done.stderr
            assert "pixel accuracy" in done.stdout
        done = unetkit("info", "run", cwd=tmp_path)
        assert "0 ground, 1 disk; 255 ignored" in done.stdout
        assert re.search(r"pixels +1 channel, uint16, -?\d", done.stdout)

    def test_a_table_and_a_split_file(self, folder, tmp_path):
        rows = [f"images/photo_{i:02d}.jpg,masks/photo_{i:02d}.png,{i}" for i in range(8)]
        (folder / "t.csv").write_text("\n".join(["image,mask,name", *rows]))
        parts = {"train": ["0", "1", "2", "3"], "validation": ["4", "5"], "test": ["6"]}
        (tmp_path / "s.json").write_text(json.dumps(parts))
        (tmp_path / "tiny.toml").write_text(SMALL)
        done = unetkit(
            *("train", folder / "t.csv", "--split", "s.json", "--config", "tiny.toml"), cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        split = json.loads((tmp_path / "runs/t-fast/split.json").read_text())
        assert {part: [e["name"] for e in split[part]] for part in parts} == parts

    def test_cells_are_drawn_in_16_bits_and_checked(self, tmp_path):
        done = unetkit(
            *("data", "synthetic-cells", tmp_path / "cells", "--count", 12),
            *("--size", "48x64", "--bits", 16),
        )
        assert done.returncode == 0, done.stderr
        done = unetkit("check", tmp_path / "cells", "--group-by", r"(dish\d)", "--json")
        assert done.returncode == 0, done.stdout
        report = json.loads(done.stdout)
        assert report["kind"] == "instances"
        assert report["images"]["dtypes"] == {"uint16": 12}

    def test_folds_are_trained_and_pooled(self, folder, tmp_path):
        (tmp_path / "tiny.toml").write_text(SMALL)
        done = unetkit("train", folder, "--folds", 2, "--config", "tiny.toml", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "12 out-of-fold pairs" in done.stdout
        made = {path.name for path in (tmp_path / "runs" / "data-folds").iterdir()}
        assert made == {
            "folds.json",
            "fold-1",
            "fold-2",
            "split-1.json",
            "split-2.json",
            "plan.json",
        }


def test_info_lists_the_notebook_s_summary(run):
    stdout = unetkit("info", run, "--layers").stdout
    assert re.search(r"encoder0_conv1 .*Conv2D .*\(16, 24, 4\)", stdout)


def test_names_that_look_like_markup_are_shown_as_they_are(run, tmp_path):
    shutil.copytree(run, tmp_path / "[old] [/]")
    stdout = unetkit("info", tmp_path / "[old] [/]").stdout
    assert "[old] [/]" in stdout.replace("\n", "")


class TestUsage:
    def test_an_unknown_option_gets_a_suggestion(self):
        assert "Did you mean '--epochs'?" in failure("train", "x", "--epoch", 3, code=2)

    def test_a_size_that_is_none(self, pets):
        assert "size is '12xx'" in failure("train", pets, "--size", "12xx", code=2)

    def test_a_preset_that_is_none(self, pets):
        assert "did you mean 'fast'?" in failure("train", pets, "--preset", "fats", code=2)

    def test_a_kind_of_mask_that_is_none(self, folder):
        assert "did you mean 'classes'?" in failure("train", folder, "--kind", "class", code=2)

    def test_a_channel_axis_that_is_none(self, folder):
        for command in ("check", "train"):
            text = failure(command, folder, "--channel-axis", "middle", code=2)
            assert "--channel-axis is 'middle'; accepted are auto, first, last" in text

    def test_a_test_fraction_that_is_none(self, folder):
        for command in ("check", "train"):
            text = failure(command, folder, "--test-fraction", 1, code=2)
            assert "--test-fraction 1.0; accepted are fractions between 0 and 1" in text

    def test_a_value_to_ignore_that_is_none(self, folder):
        text = failure("check", folder, "--ignore", "white", code=2)
        assert "pixels to ignore are 'white', and the masks are images; accepted is one" in text

    def test_train_asks_for_data(self):
        assert "no data are given" in failure("train", code=2)


class TestPipe:
    """unetkit predict - < image > mask"""

    def pipe(self, content, *arguments):
        command = [sys.executable, "-m", "unetkit", "predict", *map(str, arguments)]
        return subprocess.run(command, input=content, capture_output=True, check=False)

    def test_a_mask_and_nothing_else_comes_out(self, run, pets):
        photo = sorted((pets / "images").iterdir())[0]
        done = self.pipe(photo.read_bytes(), "-", "--model", run)
        assert done.returncode == 0
        assert done.stderr == b""
        with Image.open(io.BytesIO(done.stdout)) as mask, Image.open(photo) as picture:
            assert mask.format == "PNG"
            assert mask.size == picture.size
            assert mask.mode == "L"

    def test_another_kind_takes_its_place(self, run, pets):
        photo = sorted((pets / "images").iterdir())[0]
        done = self.pipe(photo.read_bytes(), "-", "--model", run, "--cutout")
        assert Image.open(io.BytesIO(done.stdout)).mode == "RGBA"

    def test_input_that_is_no_image_has_no_output(self, run):
        done = self.pipe(b"no picture", "-", "--model", run)
        assert done.returncode == 1
        assert done.stdout == b""
        assert b"unetkit: error: standard input" in done.stderr

    @pytest.mark.parametrize(
        "more", [["x.jpg"], ["--out", "x"], ["--show"], ["--overwrite"], ["--overlay", "--cutout"]]
    )
    def test_what_does_not_go_together_is_refused(self, run, more):
        done = self.pipe(b"", "-", "--model", run, *more)
        assert done.returncode == 2
        assert b"IMAGES is -, standard input, together with" in done.stderr


def test_the_demo_leaves_data_run_and_predictions(tmp_path):
    # Of fewer pets than the command draws: .ci/run runs the command as it is.
    code = f"{SMALL_PRESETS}\nunetkit.runs.demo.PAIRS = 60\nmain()"
    done = python(code, "demo", "--steps", 4, "--out", "demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "synthetic" in done.stdout
    assert "pixel accuracy" in done.stdout
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {"data", "run", "predictions"}
    assert (tmp_path / "demo/run/evaluation-data/cases.png").is_file()
    assert len(list((tmp_path / "demo/predictions").glob("[!.]*"))) == 18


def test_bad_files_stop_check_and_evaluate_unless_they_are_left_out(run, pets, tmp_path):
    data = shutil.copytree(pets, tmp_path / "pets")
    image = sorted((data / "images").iterdir())[0]
    image.write_bytes(image.read_bytes()[:50])
    for words in (["check", data], ["evaluate", run, "--data", data, "--part", "all"]):
        out = ["--out", tmp_path / "out"] if words[0] == "evaluate" else []
        done = unetkit(*words, *out)
        assert done.returncode == 1
        assert "cannot be read" in done.stdout + done.stderr
        assert not (tmp_path / "out").exists()
        done = unetkit(*words, *out, "--skip-bad")
        assert done.returncode == 0, done.stderr


def test_a_test_set_of_other_values_is_evaluated_by_the_options_of_check(run, pets, tmp_path):
    data = shutil.copytree(pets, tmp_path / "pets")
    for mask in (data / "annotations" / "trimaps").glob("*.png"):
        Image.fromarray(np.array([0, 10, 20, 30], np.uint8)[np.array(Image.open(mask))]).save(mask)
    words = ["evaluate", run, "--data", data, "--part", "all", "--out"]
    done = unetkit(*words, tmp_path / "a")
    assert done.returncode == 1
    assert "name the classes in this order with --classes" in done.stderr or (
        "values that are not classes" in done.stderr
    )
    assert not (tmp_path / "a").exists()
    done = unetkit(*words, tmp_path / "b", "--classes", "pet,background,border")
    assert done.returncode == 0, done.stderr
    assert "10 pet, 20 background, 30 border" in done.stdout
    assert unetkit("evaluate", run, "--data", pets, *words[4:], tmp_path / "c").returncode == 0
    figures = [
        json.loads((tmp_path / name / "evaluation.json").read_text())["figures"] for name in "bc"
    ]
    assert figures[0] == figures[1]


def test_a_class_in_no_mask_stops_a_training_unless_its_code_is_accepted(pets, tmp_path):
    data = shutil.copytree(pets, tmp_path / "pets")
    text = "[classes]\npet = 1\nbackground = 2\nborder = 3\ntail = 4\n"
    (data / "classes.toml").write_text(text)
    done = unetkit("check", data)
    assert done.returncode == 1
    assert "absent-class" in done.stdout
    said = failure("train", data, "--out", tmp_path / "run", code=1)
    assert "class 'tail' occurs in no mask" in said
    assert "--accept absent-class" in said
    assert not (tmp_path / "run").exists()
    assert unetkit("check", data, "--accept", "absent-class").returncode == 0
    said = failure("check", data, "--accept", "unreadable", code=2)
    assert "the code to accept is 'unreadable'; accepted are absent-class, all-ignored" in said
