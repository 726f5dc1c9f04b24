"""Lists, tables, configurations and records that are pipes or devices stop no command."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.commands import unetkit

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names, of Unix")


def put(path: Path, kind: str) -> None:
    """A pipe or a device in the place of a file."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    "name", ["test.txt", "trainval.txt", "classes.toml", "classes.json", "labelmap.txt"]
)
def test_beside_images_and_masks(folder, name, kind):
    put(folder / name, kind)
    done = unetkit("check", folder, "--json")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    assert f"{name} is no file but a {kind}; accepted are files" in str(json.loads(done.stdout))


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_tables_and_configurations(folder, tmp_path, kind):
    put(tmp_path / "pairs.csv", kind)
    put(tmp_path / "config.toml", kind)
    for words in (
        ["check", tmp_path / "pairs.csv"],
        ["train", folder, "--config", tmp_path / "config.toml", "--out", tmp_path / "run"],
    ):
        done = unetkit(*words)
        assert "Traceback" not in done.stderr
        assert done.returncode in (1, 2)
        assert f"is no file but a {kind}" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    "name", ["manifest.json", "config.toml", "split.json", "curves.csv", "best.weights.h5"]
)
def test_files_of_a_run(run, tmp_path, name, kind):
    copy = shutil.copytree(run, tmp_path / "run")
    put(copy / name, kind)
    for words in (["verify", copy], ["runs", tmp_path], ["export", copy, "--out", tmp_path / "x"]):
        done = unetkit(*words)
        assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_models(tmp_path, kind):
    put(tmp_path / "model.onnx", kind)
    for words in (["info"], ["predict", "x.png", "--model"]):
        done = unetkit(*words, tmp_path / "model.onnx", cwd=tmp_path)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("unetkit: error: ")
