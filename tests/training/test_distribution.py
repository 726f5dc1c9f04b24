"""Several processes and several devices train as one does; a lost process ends the run with words.

What needs JAX runs with it alone: CONTRIBUTING.md has the command.
"""

import csv
import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tomli_w
from PIL import Image

from tests.conftest import SMALL_CONFIG
from unetkit.datasets.synthetic_pets import synthetic_pet
from unetkit.errors import ConfigError
from unetkit.training.batches import Sampler
from unetkit.training.checkpoints import checkpoint_files, read_checkpoint
from unetkit.training.distribution import (
    ALONE,
    Group,
    broadcast,
    choose_devices,
    join,
    require_divisible,
    require_jax,
)
from unetkit.training.processes import COUNT

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None or keras.backend.backend() != "jax",
    reason="Keras does not run on JAX here",
)
# Dropout draws random numbers; averages, BatchNorm and Adam keep state between steps.
CONFIG = {
    **SMALL_CONFIG,
    "network": {**SMALL_CONFIG["network"], "normalization": "batch", "dropout": 0.3},
    "training": {
        "optimizer": "adamw",
        "steps": 12,
        "steps_per_validation": 4,
        "batch_size": 4,
        "accumulation": 2,
        "averaging": 0.9,
    },
}
ROUNDING = 2e-4  # of losses near 1, after 12 updates


@pytest.mark.contract
@needs_jax
class TestTraining:
    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("distribution")
        for name in ("images", "masks"):
            (folder / "data" / name).mkdir(parents=True)
        for seed in range(24):
            for name, pixels in zip(
                ("images", "masks"), synthetic_pet(seed, height=48, width=64), strict=True
            ):
                Image.fromarray(pixels).save(folder / "data" / name / f"{seed}.png")
        file = folder / "config.toml"
        file.write_text(tomli_w.dumps({**CONFIG, "data": str(folder / "data")}))
        return file

    @pytest.fixture(scope="class")
    @classmethod
    def alone(cls, config):
        run = config.parent / "alone"
        done = train("--config", config, "--out", run)
        assert done.returncode == 0, done.stderr
        return run

    def test_two_processes_train_as_one(self, config, alone):
        run = config.parent / "two"
        done = train("--config", config, "--out", run, "--processes", 2)
        assert done.returncode == 0, done.stderr
        assert "2 devices of 2 processes, 2 samples each" in done.stdout + done.stderr
        assert "ms a step on 2 devices" in done.stdout + done.stderr
        require_same(run, alone)

    def test_two_devices_of_one_process_train_as_one(self, config, alone):
        run = config.parent / "devices"
        flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
        done = train("--config", config, "--out", run, "--device", "all", **flags)
        assert done.returncode == 0, done.stderr
        assert "2 devices of 1 process, 2 samples each" in done.stdout + done.stderr
        require_same(run, alone)

    def test_a_run_of_two_processes_is_continued_by_one(self, config, alone):
        run = config.parent / "stopped"
        with started("--config", config, "--out", run, "--processes", 2) as process:
            wait_for(lambda: len(curves(run)) >= 1, process)
            process.send_signal(signal.SIGTERM)
            process.wait(120)
        assert 1 <= len(curves(run)) < 3
        done = train("--resume", run)
        assert done.returncode == 0, done.stderr
        require_same(run, alone)

    def test_a_killed_process_ends_the_run_with_words_and_a_checkpoint(self, config, alone):
        run = config.parent / "killed"
        with started("--config", config, "--out", run, "--processes", 2) as process:
            wait_for(lambda: checkpoint_files(run / "checkpoints"), process)
            os.kill(second_of(process.pid), signal.SIGKILL)
            out, _ = process.communicate(timeout=150)
        assert process.returncode == 1
        assert "another process of this training has ended" in out
        assert "process 2 of 2 ended (signal 9)" in out
        assert "Traceback" not in out
        done = train("--resume", run, "--processes", 2)
        assert done.returncode == 0, done.stderr
        require_same(run, alone)

    def test_a_batch_that_cannot_be_shared_is_refused(self, config):
        run = config.parent / "odd"
        done = train("--config", config, "--out", run, "--batch-size", 3, "--processes", 2)
        assert done.returncode != 0
        assert "--batch-size is 3 on 2 devices; accepted are multiples of 2" in done.stderr
        assert not run.exists()


def words_of(arguments):
    return [sys.executable, "-m", "unetkit", "train", *map(str, arguments)]


def train(*arguments, **environment):
    return subprocess.run(
        words_of(arguments),
        env={**os.environ, "KERAS_BACKEND": "jax", **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def started(*arguments):
    return subprocess.Popen(
        words_of(arguments),
        env={**os.environ, "KERAS_BACKEND": "jax"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def second_of(parent):
    """Number of the second of the processes that a process has started."""
    path = f"/proc/{parent}/task/{parent}/children"
    with open(path) as file:
        return int(file.read().split()[1])


def wait_for(condition, process):
    end = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.05)


def curves(run):
    try:
        with open(run / "curves.csv", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def require_same(run, alone):
    assert (run / "split.json").read_text() == (alone / "split.json").read_text()
    for here, there in zip(curves(run), curves(alone), strict=True):
        assert here["step"] == there["step"]
        for name in ("loss", "validation_loss"):
            assert float(here[name]) == pytest.approx(float(there[name]), abs=ROUNDING)
    ends = [read_checkpoint(checkpoint_files(one / "checkpoints")[0]) for one in (run, alone)]
    assert ends[0].arrays.keys() == ends[1].arrays.keys()
    for name, value in ends[0].arrays.items():
        if not name.startswith("best"):
            np.testing.assert_allclose(value, ends[1].arrays[name], atol=5e-3, err_msg=name)


def test_parts_of_a_batch_are_the_whole(monkeypatch):
    sampler = Sampler(
        *(None,) * 4, normalization=SimpleNamespace(apply=np.asarray), augmentation=None
    )
    monkeypatch.setattr(
        Sampler, "_members", lambda self, step, size: [(step, i) for i in range(size)]
    )
    monkeypatch.setattr(
        Sampler, "_sample", lambda self, epoch, i: (np.array([epoch, i]), np.array(i))
    )
    whole = sampler.batch(5, 7)
    parts = [replace(sampler, part=(number, 3)).batch(5, 7) for number in range(3)]
    for made, expected in zip(zip(*parts, strict=True), whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(made), expected)


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv(COUNT, raising=False)
    assert join() is ALONE
    values = [np.ones(2)]
    assert broadcast(values, ALONE) is values
    assert len(choose_devices("cpu", ALONE)) == 1


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this is the backend that is accepted")
def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setenv(COUNT, "2")
    for refused in (join, lambda: choose_devices("all", ALONE), lambda: require_jax("device")):
        with pytest.raises(ConfigError, match=r"accepted is Keras on JAX: set KERAS_BACKEND=jax"):
            refused()
    with pytest.raises(ConfigError, match="2 processes with Keras on"):
        choose_devices(None, Group(0, 2))


def test_a_batch_must_be_a_multiple_of_the_devices():
    config = SimpleNamespace(training=SimpleNamespace(batch_size=6))
    require_divisible(config, ["cpu:0", "cpu:1", "cpu:2"])
    with pytest.raises(ConfigError, match="batch_size is 6 on 4 devices; accepted are multiples"):
        require_divisible(config, ["cpu:0"] * 4)
