"""Runs that are stopped and go on: the end is the same, to the bit, as if nothing had happened.

UNETKIT_KILLS sets how often a real process is killed here.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tomli_w

from tests.commands import Process
from tests.conftest import SMALL_CONFIG
from unetkit import build_unet, resume, train
from unetkit._shared.display import Display
from unetkit.errors import DataError, DataNotFoundError, ModelFileError
from unetkit.training import train as training
from unetkit.training.checkpoints import checkpoint_files, read_checkpoint
from unetkit.training.config_file import read_config
from unetkit.training.export import trained_network
from unetkit.training.validation import Recorder

KILLS = int(os.environ.get("UNETKIT_KILLS", "3"))
# Dropout draws random numbers; averages, BatchNorm and Adam keep state between steps.
CONFIG = {
    **SMALL_CONFIG,
    "network": {**SMALL_CONFIG["network"], "normalization": "batch", "dropout": 0.3},
    "training": {
        "optimizer": "adamw",
        "steps": 24,
        "steps_per_validation": 6,
        "batch_size": 2,
        "accumulation": 2,
        "averaging": 0.9,
        "checkpoint_minutes": 0.0,  # after every step
    },
}


def fingerprint(run: Path) -> dict[str, str]:
    """Hashes of everything that a resumed run must share with an uninterrupted one."""
    newest = read_checkpoint(checkpoint_files(run / "checkpoints")[0])
    progress = newest.state["progress"]
    found = {name: hashlib.sha256(a.tobytes()).hexdigest() for name, a in newest.arrays.items()}
    found["progress"] = json.dumps(
        {k: v for k, v in progress.items() if k != "warnings" and not k.endswith("seconds")},
        sort_keys=True,
    )
    for file in ("curves.csv", "split.json", "config.toml"):
        found[file] = hashlib.sha256((run / file).read_bytes()).hexdigest()
    network = trained_network(run, read_config(run / "config.toml"))
    for i, weight in enumerate(network.weights):
        found[f"best weight {i}"] = hashlib.sha256(weight.numpy().tobytes()).hexdigest()
    return found


class StopAt(Display):
    """Fails, or is interrupted, at a step; hears what is said."""

    def __init__(self, step, error=KeyboardInterrupt):
        self.at, self.error, self.lines = step, error, []

    def say(self, text):
        self.lines.append(text)

    warn = say

    def training_step(self, report):
        if report.step == self.at:
            raise self.error("on purpose")


@pytest.fixture(scope="module", autouse=True)
def without_pictures():
    """What is drawn and exported at the end takes longer than these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "export_best", lambda *arguments: 0.0)
        patch.setattr(training, "choose_temperature", lambda *arguments: 1.0)
        for name in ("draw", "_draw_curves", "_draw_examples"):
            patch.setattr(Recorder, name, lambda *arguments: None)
        yield


@pytest.fixture(scope="module")
def uninterrupted(pets, tmp_path_factory):
    return train(pets, out=tmp_path_factory.mktemp("whole") / "run", config=CONFIG)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory, pets):
    """A run that was interrupted after its 13th checkpoint, on a copy of the pets."""
    folder = tmp_path_factory.mktemp("stopped")
    shutil.copytree(pets, folder / "pets")
    display = StopAt(14)
    with pytest.raises(KeyboardInterrupt):
        train(folder / "pets", out=folder / "run", config=CONFIG, display=display)
    return folder, display.lines


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A copy of it."""
    shutil.copytree(stopped_once[0], tmp_path / "copy")
    run = tmp_path / "copy" / "run"
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace(str(stopped_once[0]), str(tmp_path / "copy")))
    return run


def checkpoints(run):
    return checkpoint_files(run / "checkpoints")


class TestDamagedCheckpoints:
    """Of any kind: the one before is used, and that is said."""

    def lose_array(self, members):
        del members["model/0"]

    def reshape(self, members):
        members["model/0"] = members["model/0"].ravel()

    def lose_progress(self, members):
        members["state"] = np.frombuffer(b'{"accumulation": 1}', np.uint8)

    @pytest.mark.parametrize("change", ["lose_array", "reshape", "lose_progress", None])
    def test_the_one_before_is_used(self, change, stopped, uninterrupted):
        newest = checkpoints(stopped)[0]
        if change is None:
            newest.write_bytes(b"PK\3\4 and nothing more")
        else:
            with np.load(newest) as archive:
                members = {name: archive[name] for name in archive.files}
            members.pop("sha256")  # else that finds it
            getattr(self, change)(members)
            np.savez(newest, **members)
        display = StopAt(None)
        resume(stopped, display=display)
        assert f"checkpoint {newest} is damaged: the previous one is used" in " ".join(
            display.lines
        )
        found, expected = fingerprint(stopped), fingerprint(uninterrupted)
        assert {k for k in expected if found[k] != expected[k]} <= {"config.toml", "split.json"}

    def test_none_that_fits_is_an_error_and_none_is_removed(self, stopped):
        files = checkpoints(stopped)
        for file in files:
            np.savez(file, state=np.frombuffer(b"{}", np.uint8))
        with pytest.raises(ModelFileError, match="does not fit the network"):
            resume(stopped)
        assert checkpoints(stopped) == files


class TestExactness:
    def test_the_configuration_makes_the_same_bytes_again(self, uninterrupted, tmp_path):
        again = train(config=uninterrupted / "config.toml", out=tmp_path / "again")
        assert fingerprint(again) == fingerprint(uninterrupted)

    def test_stopped_again_and_again_it_ends_the_same(self, uninterrupted, pets, tmp_path):
        run = tmp_path / "run"
        with pytest.raises(KeyboardInterrupt):
            train(pets, out=run, config=CONFIG, display=StopAt(3))
        (run / "checkpoints" / ".part-0a1b2c3d00000005.npz").write_bytes(b"half")
        (run / "evaluation-x" / ".part-abc" / "new").mkdir(parents=True)
        (run / "cache").mkdir()
        (run / "cache" / "images.bin").write_bytes(b"old")
        for step in (4, 12, 13, 24):
            with pytest.raises(KeyboardInterrupt):
                resume(run, display=StopAt(step))
        assert resume(run) == run
        assert fingerprint(run) == fingerprint(uninterrupted)
        sessions = json.loads((run / "manifest.json").read_text())["sessions"]
        assert [session["from_step"] for session in sessions] == [0, 2, 3, 11, 12, 23]
        assert sessions[-1]["to_step"] == 24
        assert not list(run.rglob(".part-*"))
        assert not (run / "cache").exists()

    def test_dropout_draws_on_where_it_stopped(self, uninterrupted):
        config = read_config(uninterrupted / "config.toml")
        network = build_unet(config.network, in_channels=3, num_classes=3)
        states = [f"model/{i}" for i, v in enumerate(network.variables) if "seed" in v.path]
        assert len(states) == 2  # in the two deepest blocks
        newest, before = map(read_checkpoint, checkpoints(uninterrupted))
        for name in states:
            assert not np.array_equal(newest.arrays[name], before.arrays[name])

    def test_neither_of_keras_s_files_keeps_that_state(self, tmp_path):
        """Why checkpoints are files of our own."""
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dropout(0.5)])
        ones = np.ones((2, 4), np.float32)
        model(ones, training=True)
        state = np.array(model.layers[0].seed_generator.state.numpy())
        model.save_weights(tmp_path / "m.weights.h5")
        model.save(tmp_path / "m.keras")
        model(ones, training=True)
        model.load_weights(tmp_path / "m.weights.h5")
        loaded = keras.saving.load_model(tmp_path / "m.keras")
        for network in (model, loaded):
            assert not np.array_equal(network.layers[0].seed_generator.state.numpy(), state)


class TestFiles:
    def test_a_damaged_checkpoint_is_said_and_the_one_before_is_used(self, uninterrupted, stopped):
        newest, before = checkpoints(stopped)
        newest.write_bytes(newest.read_bytes()[:-400])
        listener = StopAt(None)
        resume(stopped, display=listener)
        said = "\n".join(listener.lines)
        assert f"checkpoint {newest} is damaged: the previous one is used" in said
        assert f"resumed   at step {int(before.stem[5:])} of 24" in said
        expected = fingerprint(uninterrupted)
        found = fingerprint(stopped)
        for name in ("split.json", "config.toml"):  # the data lie elsewhere
            del expected[name], found[name]
        assert found == expected

    def test_all_damaged_is_an_error_and_changes_nothing(self, stopped):
        for path in checkpoints(stopped):
            path.write_bytes(b"PK")
        before = sorted(path.name for path in stopped.rglob("*"))
        with pytest.raises(ModelFileError, match=r"every checkpoint in .* is damaged"):
            resume(stopped)
        assert sorted(path.name for path in stopped.rglob("*")) == before

    def test_a_checkpoint_of_another_network_is_refused(self, stopped):
        text = (stopped / "config.toml").read_text()
        (stopped / "config.toml").write_text(text.replace("head_filters = 0", "head_filters = 2"))
        with pytest.raises(ModelFileError, match="does not fit the network in the run's config"):
            resume(stopped)

    def test_other_data_are_refused(self, stopped):
        one, other, *_ = sorted((stopped.parent / "pets" / "images").iterdir())
        shutil.copy(other, one)
        with pytest.raises(DataError, match=r"no longer holds the files that .* unetkit verify"):
            resume(stopped)

    def test_data_that_were_moved_are_named_by_the_option_of_the_message(
        self, uninterrupted, stopped
    ):
        (stopped.parent / "pets").rename(stopped.parent / "moved")
        with pytest.raises(DataNotFoundError, match=r"train --resume .*run --data NEW$"):
            resume(stopped)
        resume(stopped, data=stopped.parent / "moved")
        expected, found = fingerprint(uninterrupted), fingerprint(stopped)
        for name in ("split.json", "config.toml"):  # the data lie elsewhere
            del expected[name], found[name]
        assert found == expected
        for name in ("split.json", "config.toml"):
            assert str(stopped.parent / "moved") in (stopped / name).read_text()

    def test_other_data_are_refused_wherever_they_are(self, stopped, pets, tmp_path):
        shutil.copytree(pets, tmp_path / "other")
        one, other, *_ = sorted((tmp_path / "other" / "images").iterdir())
        shutil.copy(other, one)
        before = (stopped / "split.json").read_bytes()
        with pytest.raises(DataError, match=r"no longer holds .* unetkit verify .* --data .*other"):
            resume(stopped, data=tmp_path / "other")
        assert (stopped / "split.json").read_bytes() == before

    def test_it_says_how_to_go_on(self, stopped_once):
        folder, lines = stopped_once
        assert lines[-1] == f"saved     to continue: unetkit train --resume {folder / 'run'}"
        assert json.loads((folder / "run" / "manifest.json").read_text())["state"] == "interrupted"

    def test_a_finished_run_is_left_as_it_is(self, uninterrupted):
        before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
        listener = StopAt(None)
        assert resume(uninterrupted, display=listener) == uninterrupted
        assert listener.lines == [f"{uninterrupted} is finished: nothing to resume"]
        assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")} == before

    def test_a_folder_that_is_no_run(self, tmp_path):
        with pytest.raises(
            DataNotFoundError, match=r"holds no config\.toml; accepted is the folder"
        ):
            resume(tmp_path)

    def test_a_full_disk_keeps_the_last_good_checkpoint(
        self, uninterrupted, pets, tmp_path, monkeypatch
    ):
        real, calls = np.savez, []

        def fills_up(file, **arrays):
            calls.append(1)
            if len(calls) > 5:
                file.write(b"half")
                raise OSError(28, "No space left on device")
            real(file, **arrays)

        run = tmp_path / "run"
        monkeypatch.setattr(np, "savez", fills_up)
        with pytest.raises(OSError, match="No space left"):
            train(pets, out=run, config=CONFIG)
        monkeypatch.setattr(np, "savez", real)
        assert json.loads((run / "manifest.json").read_text())["state"] == "failed"
        assert [path.name for path in checkpoints(run)] == [
            "step-00000005.npz",
            "step-00000004.npz",
        ]
        resume(run)
        assert fingerprint(run) == fingerprint(uninterrupted)


# Like CONFIG, but as files that a command reads, and long enough to be killed in the middle.
LONG = {"steps": 75, "steps_per_validation": 25, "checkpoint_minutes": 0.0005}


def begin(folder, *arguments):
    return Process(["-m", "unetkit", "train", *arguments], cwd=folder)


@pytest.fixture(scope="module")
def folder(pets, tmp_path_factory):
    """Where `whole` is a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("killed")
    config = {**CONFIG, "training": {**CONFIG["training"], **LONG}, "data": str(pets)}
    (folder / "wanted.toml").write_text(tomli_w.dumps(config))
    process = begin(folder, "--config", "wanted.toml", "--out", "whole")
    said = process.communicate()
    assert process.poll() == 0, said
    return folder


class TestRealProcesses:
    def test_killed_at_random_moments_it_ends_with_the_same_bytes(self, folder):
        expected = fingerprint(folder / "whole")
        rng = random.Random(0)
        run, arguments = folder / "killed", ("--config", "wanted.toml", "--out", "killed")
        kills = 0
        while True:
            process = begin(folder, *arguments)
            newest = checkpoints(run)[:1]
            while process.poll() is None and kills < KILLS:
                if checkpoints(run)[:1] != newest:
                    time.sleep(rng.uniform(0, 0.3))
                    os.killpg(process.pid, signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.005)
            said = process.communicate()
            if process.poll() == 0:
                break
            assert process.poll() == -signal.SIGKILL, said
            arguments = ("--resume", "killed")
        assert kills == KILLS
        assert fingerprint(run) == expected

    def test_one_ctrl_c_finishes_the_step_and_saves(self, folder):
        process = begin(folder, "--config", "wanted.toml", "--out", "stopped")
        while not checkpoints(folder / "stopped"):
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        said = "".join(process.communicate())
        assert process.poll() == 130
        assert "finishing this step and saving; interrupt again to stop at once" in said
        assert "to continue: unetkit train --resume stopped" in said
        assert int(checkpoints(folder / "stopped")[0].stem[5:]) < LONG["steps"]
        resumed = begin(folder, "--resume", "stopped")
        said = resumed.communicate()
        assert resumed.poll() == 0, said
        assert fingerprint(folder / "stopped") == fingerprint(folder / "whole")
