"""The training loop: what stops it, what it warns of, what it does when memory ends."""

import json
import os
import signal
import threading
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from tests.conftest import SMALL_CONFIG, TINY_CONFIG
from unetkit import resume, train
from unetkit._shared.display import Display
from unetkit._shared.pace import Pace
from unetkit.errors import ConfigError, DataError, DivergedError
from unetkit.training import trainer, validation
from unetkit.training.config_file import read_config
from unetkit.training.trainer import interruptions
from unetkit.training.validation import Recorder


def small(**training):
    return {**SMALL_CONFIG, "training": {**SMALL_CONFIG["training"], "steps": 4, **training}}


class Listener(Display):
    def __init__(self):
        self.lines, self.warnings, self.looks, self.reports = [], [], [], []

    def say(self, text):
        self.lines.append(text)

    def warn(self, text):
        self.warnings.append(text)

    def training_step(self, report):
        self.reports.append(report)

    def validated(self, report, figures):
        self.looks.append((report, figures))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What is drawn and exported at the end has tests of its own."""
    from unetkit.training import train as training

    monkeypatch.setattr(training, "export_best", lambda *arguments: 0.0)
    monkeypatch.setattr(training, "choose_temperature", lambda *arguments: 1.0)
    for name in ("draw", "_draw_curves", "_draw_examples"):
        monkeypatch.setattr(Recorder, name, lambda *arguments: None)


def manifest(run):
    return json.loads((run / "manifest.json").read_text())


class TestNumbersThatAreNone:
    def test_a_rate_that_is_far_too_high_stops_the_run(self, pets, tmp_path):
        config = small(
            steps=40, optimizer="sgd", learning_rate=9.9, momentum=0.999, warmup=0.0,
            schedule="constant", loss={"cross_entropy": 1e14}, steps_per_validation=40,
        )  # fmt: skip
        with pytest.raises(
            DivergedError, match=r"at step \d+, in the batch of .*\.jpg, .*; accepted are finite"
        ):
            train(pets, out=tmp_path / "run", config=config)
        assert not (tmp_path / "run").exists()  # nothing in it was of use

    def test_a_gradient_of_its_own_accord(self, pets, tmp_path, monkeypatch):
        norms = iter([1.0, 2.0, float("inf")])
        monkeypatch.setattr(trainer, "gradient_norm", lambda optimizer: next(norms))
        with pytest.raises(DivergedError, match=r"the gradient is inf at step 3, in the batch of"):
            train(pets, out=tmp_path / "run", config=small())
        assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == [
            "step-00000002.npz"
        ]


class TestMemory:
    def test_a_batch_is_halved_until_it_fits(self, pets, tmp_path, monkeypatch):
        real = keras.Model.train_on_batch

        def with_little_memory(self, images, masks, **options):
            if len(images) > 1:
                raise MemoryError("no room")
            return real(self, images, masks, **options)

        monkeypatch.setattr(keras.Model, "train_on_batch", with_little_memory)
        listener = Listener()
        run = train(pets, out=tmp_path / "run", config=small(), display=listener)
        chosen = read_config(run / "config.toml").training
        assert (chosen.batch_size, chosen.accumulation, chosen.steps) == (1, 4, 4)
        assert manifest(run)["configuration"]["training"]["accumulation"] == 4
        halvings = [text for text in listener.warnings if "does not fit into memory" in text]
        assert len(halvings) == 2
        assert "a batch of 4 samples does not fit into memory" in halvings[0]
        assert "continuing with 2 samples and 2 batches per update" in halvings[0]

    @pytest.mark.parametrize("late", [False, True])
    def test_in_the_middle_it_goes_on_from_the_checkpoint(self, pets, tmp_path, monkeypatch, late):
        real, calls = keras.Model.train_on_batch, []

        class Unfinished:
            """A number that is computed when it is asked for, as JAX has them."""

            def __float__(self):
                raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

        def full(self, images, masks, **options):
            calls.append(len(images))
            if len(calls) == 4:
                return {"loss": Unfinished() if late else float(Unfinished())}
            return real(self, images, masks, **options)

        monkeypatch.setattr(keras.Model, "train_on_batch", full)
        listener = Listener()
        run = train(pets, out=tmp_path / "run", config=small(), display=listener)
        assert "resumed   at step 2 of 4" in listener.lines
        assert calls == [4, 4, 4, 4, 2, 2, 2, 2]
        assert manifest(run)["steps_done"] == 4

    def test_one_sample_that_does_not_fit_is_an_error(self, pets, tmp_path, monkeypatch):
        def never(self, images, masks, **options):
            raise MemoryError

        monkeypatch.setattr(keras.Model, "train_on_batch", never)
        with pytest.raises(
            ConfigError, match=r"a batch of 1 sample of 32x48 does not fit .*--size"
        ):
            train(pets, out=tmp_path / "run", config=small())
        assert not (tmp_path / "run").exists()

    def test_halves_follow_the_same_samples(self, pets, tmp_path):
        """Without BatchNorm and dropout, two halves give the update of the whole."""
        weights = []
        for parts in ({"batch_size": 4}, {"batch_size": 2, "accumulation": 2}):
            training = {"loss": {"cross_entropy": 1.0}, "optimizer": "sgd", "momentum": 0.9}
            config = small(**training, **parts, precision="float32")
            run = train(pets, out=tmp_path / f"run-{len(weights)}", config=config)
            with np.load(run / "checkpoints" / "step-00000004.npz") as archive:
                weights.append([archive[n] for n in archive.files if n.startswith("model/")])
        for one, other in zip(*weights, strict=True):
            assert np.abs(one - other).max() < 1e-5


class TestWarnings:
    def test_they_are_shown_once_and_kept(self, pets, tmp_path):
        listener = Listener()
        config = small(
            steps=6, steps_per_validation=2, learning_rate=9.0, optimizer="sgd", warmup=0.0,
            schedule="constant", momentum=0.9,
        )  # fmt: skip
        run = train(pets, out=tmp_path / "run", config=config, display=listener)
        assert sum("the network predicts a single class" in text for text in listener.warnings) == 1
        assert manifest(run)["warnings"] == [
            text for text in listener.warnings if text in manifest(run)["warnings"]
        ]
        log = (run / "log.txt").read_text()
        assert "warning   " in log
        assert "step 2/6" in log

    def test_a_class_that_training_lacks(self, folder, tmp_path):
        names = [f"photo_{i:02d}" for i in range(12)]
        for name in names[:8]:
            mask = folder / "masks" / f"{name}.png"
            Image.fromarray(np.minimum(np.asarray(Image.open(mask)), 2)).save(mask)
        split = {"train": names[:8], "validation": names[8:10], "test": names[10:]}
        (tmp_path / "split.json").write_text(json.dumps(split))
        listener = Listener()
        config = {
            **small(),
            "split": {"file": str(tmp_path / "split.json")},
            "classes": {"names": ["a", "b", "c"]},
        }
        with pytest.raises(DataError, match="class 'c' occurs in no training mask"):
            train(folder, out=tmp_path / "run", config=config, display=listener)
        assert not (tmp_path / "run").exists()
        config["sources"] = {"accept": ["absent-class"]}
        train(folder, out=tmp_path / "run", config=config, display=listener)
        assert any("class 'c' occurs in" in text for text in listener.warnings)

    def test_a_device_that_is_absent_refuses_the_run(self, pets, tmp_path):
        with pytest.raises(ConfigError, match="device 'tpu' does not exist"):
            train(pets, out=tmp_path / "run", config=small(), device="tpu")
        assert not (tmp_path / "run").exists()


class TestChoices:
    def test_patience_ends_a_run_early(self, pets, tmp_path):
        listener = Listener()
        config = small(steps=20, steps_per_validation=1, patience=2, learning_rate=1e-9, warmup=0.0)
        run = train(pets, out=tmp_path / "run", config=config, display=listener)
        done = manifest(run)
        assert done["steps_done"] == done["best"]["step"] + 2 < 20
        assert done["state"] == "finished"
        assert any("no better result in the last 2 validation" in line for line in listener.lines)

    def test_averaged_weights_are_kept_where_they_are_better(self, pets, tmp_path, monkeypatch):
        scores = iter([0.1, 0.2, 0.3, 0.25])  # own, averaged; own, averaged
        real = Recorder._score

        def scored(self, model):
            counts, row, _ = real(self, model)
            score = next(scores)
            return counts, {**row, "validation_mean_iou": score}, score

        monkeypatch.setattr(Recorder, "_score", scored)
        kept = []
        monkeypatch.setattr(Recorder, "write_best", lambda self: kept.append(self.progress.best))
        with pytest.raises(Exception, match=r"best\.weights\.h5"):  # none was written
            train(pets, out=tmp_path / "run", config=small(averaging=0.5))
        assert [(best.step, best.mean_iou, best.averaged) for best in kept] == [
            (2, 0.2, True),
            (4, 0.3, False),
        ]

    def test_callbacks_are_called_for_steps_and_validations(self, pets, tmp_path):
        heard = []
        callback = keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: heard.append("begin"),
            on_train_batch_end=lambda batch, logs: heard.append(("step", batch, "loss" in logs)),
            on_epoch_end=lambda epoch, logs: heard.append(("look", epoch, logs["step"])),
            on_train_end=lambda logs: heard.append("end"),
        )
        train(pets, out=tmp_path / "run", config=small(), callbacks=[callback])
        steps = [("step", i, True) for i in range(4)]
        expected = ["begin", *steps[:2], ("look", 0, 2), *steps[2:], ("look", 1, 4), "end"]
        assert heard == expected

    def test_a_callback_may_end_a_run(self, pets, tmp_path):
        class Halt(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.stop_training = True

        run = train(pets, out=tmp_path / "run", config=small(), callbacks=[Halt()])
        assert manifest(run)["steps_done"] == 2

    def test_weights_come_from_another_run_whose_images_are_recorded(self, pets, run, tmp_path):
        listener = Listener()
        config = {
            "network": TINY_CONFIG["network"],
            "scale": TINY_CONFIG["scale"],
            "split": {"seed": 5, "test_fraction": 0.5},
            "training": {**TINY_CONFIG["training"], "start": str(run), "freeze": ["encoder"]},
        }
        again = train(pets, out=tmp_path / "run", config=config, display=listener)
        assert any(line.startswith("start     ") for line in listener.lines)
        assert any("parameters are not trained" in line for line in listener.lines)
        from unetkit.training.export import seen_images

        assert set(seen_images(run)) <= set(seen_images(again))
        with np.load(sorted((again / "checkpoints").iterdir())[-1]) as archive:
            assert archive["model/0"].shape

    def test_what_a_start_leaves_open_comes_from_it(self, pets, run, tmp_path):
        chosen = {"start": str(run), "steps": 2, "steps_per_validation": 2, "batch_size": 4}
        again = train(pets, out=tmp_path / "run", config={"training": chosen})
        theirs, ours = (read_config(r / "config.toml") for r in (run, again))
        assert theirs.network == ours.network
        assert theirs.scale == ours.scale
        assert theirs.normalization == ours.normalization

    def test_class_weights_are_counted(self, pets, tmp_path):
        run = train(pets, out=tmp_path / "run", config=small(class_weights="auto"))
        weights = read_config(run / "config.toml").training.class_weights
        shares = list(manifest(run)["parts"]["train"]["classes"].values())
        assert len(weights) == 3
        assert np.argmax(weights) == np.argmin(shares)

    def test_class_weights_for_other_classes_are_refused(self, pets, tmp_path):
        with pytest.raises(ConfigError, match=r"class_weights has 2 values for 3 classes \(pet"):
            train(pets, out=tmp_path / "run", config=small(class_weights=[1.0, 2.0]))

    def test_half_precision_trains_with_logits_in_single_precision(self, pets, tmp_path):
        config = {**small(precision="mixed_bfloat16"), "network": TINY_CONFIG["network"]}
        run = train(pets, out=tmp_path / "run", config=config)
        from unetkit.training.export import trained_network

        network = trained_network(run, read_config(run / "config.toml"))
        assert {layer.compute_dtype for layer in network.layers} == {"float32"}
        assert keras.config.dtype_policy().name == "float32"


class TestReports:
    def test_speed_waiting_and_time_left_are_displayed(self, pets, tmp_path):
        listener = Listener()
        train(pets, out=tmp_path / "run", config=small(steps=8), display=listener)
        assert [report.step for report in listener.reports] == list(range(1, 9))
        last = listener.reports[-1]
        assert last.images_per_second > 0
        assert 0 <= last.waiting_share <= 1
        assert listener.looks[-1][0].seconds_left == 0
        assert {"loss", "validation_mean_iou", "best_mean_iou"} <= listener.looks[0][1].keys()


class TestInterruptions:
    """One request finishes the step, a second one stops at once."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_is_a_request_and_the_second_stops(self, number):
        before = signal.getsignal(number)
        listener = Listener()
        with interruptions(listener) as asked:
            assert not asked.is_set()
            os.kill(os.getpid(), number)
            assert asked.wait(5)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is before
        assert listener.lines == ["finishing this step and saving; interrupt again to stop at once"]

    def test_another_thread_than_the_main_one_asks_for_nothing(self):
        found = []

        def run():
            with interruptions(Listener()) as asked:
                found.append(asked.is_set())

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert found == [False]

    def test_sigterm_ends_a_training_with_a_checkpoint(self, pets, tmp_path):
        class Terminating(Listener):
            def training_step(self, report):
                if report.step == 3:
                    os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(KeyboardInterrupt):
            train(pets, out=tmp_path / "run", config=small(steps=8), display=Terminating())
        names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
        assert "step-00000003.npz" in names
        assert manifest(tmp_path / "run")["state"] == "interrupted"


class Clock:
    """A clock that only updates and validation passes move."""

    def __init__(self, monkeypatch, step_seconds, validation_seconds):
        self.now, self.step_seconds = 0.0, step_seconds
        for module in (trainer, validation):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(trainer, "Pace", partial(Pace, clock=lambda: self.now))
        train_on_batch, validate = keras.Model.train_on_batch, Recorder.validate

        def slow_step(*arguments, **keywords):
            self.now += self.step_seconds
            return train_on_batch(*arguments, **keywords)

        def slow_pass(*arguments):
            self.now += validation_seconds
            return validate(*arguments)

        monkeypatch.setattr(keras.Model, "train_on_batch", slow_step)
        monkeypatch.setattr(Recorder, "validate", slow_pass)
        monkeypatch.setattr(Recorder, "_draw_curves", lambda self: None)


def open_config(**training):
    config = small(**training)
    for name in ("steps", "steps_per_validation"):
        if name not in training:
            del config["training"][name]
    return config


class TestMinutes:
    """The number of updates is fixed once, after a tenth of the time, from the speed until then."""

    def test_steps_and_passes_fill_the_time(self, pets, tmp_path, monkeypatch):
        clock = Clock(monkeypatch, step_seconds=2.0, validation_seconds=6.0)
        listener = Listener()
        run = train(pets, out=tmp_path / "run", config=open_config(), minutes=8, display=listener)
        training = read_config(run / "config.toml").training
        # A tenth of 480 s are 24 updates; with a pass of 6 s after them and one at the end, 420 s
        # are left. A pass may cost a tenth of the updates between two: 6 / (0.1 * 2) = 30 of them.
        # So there are 420 / (2 + 6 / 30) = 190 more updates.
        assert training.decay_from == 24
        assert training.steps_per_validation == 30
        assert training.steps == 24 + 190
        assert clock.now == pytest.approx(480, rel=0.05)
        assert [report.step for report, _ in listener.looks] == [24, *range(30, 214, 30), 214]
        assert "length    8 minutes are 214 steps: 2000 ms each, and 6.0 s for a" in "|".join(
            listener.lines
        )
        assert any(line.startswith("time      8:02 of 8:00 (+0%)") for line in listener.lines)

    def test_what_was_given_is_kept(self, pets, tmp_path, monkeypatch):
        Clock(monkeypatch, step_seconds=2.0, validation_seconds=6.0)
        config = open_config(steps_per_validation=7)
        run = train(pets, out=tmp_path / "run", config=config, minutes=2)
        assert read_config(run / "config.toml").training.steps_per_validation == 7

    def test_the_speed_before_counts_whatever_comes_later(self, pets, tmp_path, monkeypatch):
        clock = Clock(monkeypatch, step_seconds=4.0, validation_seconds=0.0)

        class Faster(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                clock.step_seconds = 2.0

        run = train(pets, out=tmp_path / "run", config=open_config(), minutes=8,
                    callbacks=[Faster()])  # fmt: skip
        assert read_config(run / "config.toml").training.steps == 120

    def test_a_single_step_may_take_all_of_it(self, pets, tmp_path, monkeypatch):
        Clock(monkeypatch, step_seconds=90.0, validation_seconds=1.0)
        run = train(pets, out=tmp_path / "run", config=open_config(), minutes=1)
        training = read_config(run / "config.toml").training
        assert (training.steps, training.decay_from) == (1, 1)
        assert manifest(run)["state"] == "finished"

    def test_the_configuration_makes_the_same_weights_again(self, pets, tmp_path, monkeypatch):
        Clock(monkeypatch, step_seconds=2.0, validation_seconds=6.0)
        run = train(pets, out=tmp_path / "run", config=open_config(), minutes=1.5)
        again = train(config=run / "config.toml", out=tmp_path / "again")
        assert read_config(again / "config.toml") == read_config(run / "config.toml")
        assert (again / "curves.csv").read_bytes() == (run / "curves.csv").read_bytes()

    def test_interrupted_before_it_is_fixed_it_is_fixed_later(self, pets, tmp_path, monkeypatch):
        Clock(monkeypatch, step_seconds=2.0, validation_seconds=6.0)

        class Stop(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if batch == 5:
                    os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            train(pets, out=tmp_path / "run", config=open_config(), minutes=8, callbacks=[Stop()])
        assert read_config(tmp_path / "run" / "config.toml").training.steps == 0
        resume(tmp_path / "run")
        training = read_config(tmp_path / "run" / "config.toml").training
        assert (training.steps, training.decay_from) == (214, 24)
        assert manifest(tmp_path / "run")["steps_done"] == 214

    def test_other_lengths_replace_it(self, pets, tmp_path, monkeypatch):
        Clock(monkeypatch, step_seconds=2.0, validation_seconds=6.0)
        run = train(pets, out=tmp_path / "run", config=open_config(), minutes=1)
        again = train(config=run / "config.toml", epochs=1, out=tmp_path / "again")
        training = read_config(again / "config.toml").training
        assert (training.minutes, training.decay_from, training.warmup) == (0, 0, 0.05)
