"""Training on other frameworks than TensorFlow, each skipped where it is not installed."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import tomli_w

from tests.conftest import TINY_CONFIG
from unetkit.training.checkpoints import checkpoint_files, read_checkpoint

CONFIG = {
    "network": {"filters": [4, 8], "head_filters": 0, "residual": False, "dropout": 0.3},
    "scale": TINY_CONFIG["scale"],
    "training": {
        "steps": 4,
        "steps_per_validation": 2,
        "batch_size": 4,
        "averaging": 0.9,  # of which some frameworks share the memory
        "checkpoint_minutes": 0.0,
    },
}


def train(framework, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "unetkit", "train", *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": framework},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=["jax", "torch"])
def framework(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def test_a_run_trains_and_goes_on(framework, pets, tmp_path):
    (tmp_path / "config.toml").write_text(tomli_w.dumps(CONFIG))
    run = tmp_path / "run"
    said = train(framework, pets, "--config", tmp_path / "config.toml", "--out", run)
    assert f"on {framework}" in said
    assert "KERAS_BACKEND=tensorflow unetkit export" in said
    whole = read_checkpoint(checkpoint_files(run / "checkpoints")[0])

    checkpoint_files(run / "checkpoints")[0].unlink()
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "state": "interrupted"}))
    assert "resumed   at step 3 of 4" in train(framework, "--resume", run)
    again = read_checkpoint(checkpoint_files(run / "checkpoints")[0])
    assert again.state["progress"]["rows"] == whole.state["progress"]["rows"]
    for name, array in whole.arrays.items():
        assert array.tobytes() == again.arrays[name].tobytes(), name
