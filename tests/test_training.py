"""Training as a whole: what a run folder holds, and what stops a run before it starts."""

import csv
import json
import shutil

import keras
import numpy as np
import pytest
from conftest import TINY_CONFIG, write_pair
from PIL import Image

from unetkit import Predictor, train
from unetkit.config import config_from_file
from unetkit.display import Display
from unetkit.errors import ConfigError, DataError, DataNotFoundError, OutputExistsError
from unetkit.finding import find_dataset
from unetkit.pixels import PixelFormat
from unetkit.splits import SplitRule, split_pairs
from unetkit.training import overrides_from

RUN_FILES = {
    "best.weights.h5",
    "config.toml",
    "curves.csv",
    "curves.png",
    "model.onnx",
    "pictures",
    "split.json",
    "training.json",
}


class Listener(Display):
    def __init__(self):
        self.lines, self.steps, self.validations = [], [], []

    def say(self, text):
        self.lines.append(text)

    def training_step(self, step, total, images, loss):
        self.steps.append((step, total))

    def validated(self, step, total, figures):
        self.validations.append(step)


def tiny(**sections):
    return {**TINY_CONFIG, **{k: {**TINY_CONFIG.get(k, {}), **v} for k, v in sections.items()}}


class TestRunFolder:
    def test_it_holds_what_is_documented_and_nothing_else(self, run):
        assert {path.name for path in run.iterdir() if "evaluation" not in path.name} == RUN_FILES

    def test_the_curves_have_a_row_for_each_validation(self, run):
        with open(run / "curves.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["step"] for row in rows] == ["2", "4"]
        best = max(rows, key=lambda row: float(row["validation_mean_iou"]))
        summary = json.loads((run / "training.json").read_text())
        assert summary["best"]["step"] == int(best["step"])
        assert summary["best"]["mean_iou"] == pytest.approx(
            float(best["validation_mean_iou"]), abs=1e-6
        )

    def test_the_split_file_names_the_parts(self, run, pets):
        written = json.loads((run / "split.json").read_text())
        split = split_pairs(find_dataset(pets), SplitRule())
        for name, pairs in split.parts.items():
            assert [entry["name"] for entry in written[name]] == [pair.name for pair in pairs]

    def test_pictures_can_be_opened(self, run):
        for path in (run / "curves.png", run / "pictures" / "validation.png"):
            assert np.asarray(Image.open(path).convert("L")).std() > 5

    def test_the_exported_network_has_the_best_weights(self, run, pets):
        from unetkit import build_unet

        config = config_from_file(run / "config.toml")
        network = build_unet(config.network, in_channels=3, num_classes=3)
        network.load_weights(run / "best.weights.h5")
        image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
        logits = network(config.normalization.apply(image[None]))
        expected = keras.ops.convert_to_numpy(keras.ops.softmax(logits))[0]
        np.testing.assert_allclose(Predictor(run).probabilities(image), expected, atol=1e-4)


class TestTraining:
    def test_the_display_hears_of_every_step_and_choice(self, pets, tmp_path):
        listener = Listener()
        train(pets, out=tmp_path / "run", config=TINY_CONFIG, display=listener)
        assert listener.steps == [(step, 4) for step in (1, 2, 3, 4)]
        assert listener.validations == [2, 4]
        said = "\n".join(listener.lines)
        for word in (
            "as the data say",
            "1 pet, 2 background, 3 border",
            "resize",
            "device",
            "seed",
        ):
            assert word in said

    def test_a_last_look_follows_the_last_step(self, pets, tmp_path):
        listener = Listener()
        config = tiny(training={"steps": 5, "steps_per_validation": 2})
        train(pets, out=tmp_path / "run", config=config, display=listener)
        assert listener.validations == [2, 4, 5]

    def test_another_preset_brings_its_own_recipe(self, run, tmp_path):
        overrides = overrides_from(run / "config.toml", None, "notebook", None, None)
        assert overrides["preset"] == "notebook"
        assert not {"network", "normalization", "augmentation", "training"} & overrides.keys()
        assert "scale" in overrides

    def test_its_own_configuration_makes_the_same_run(self, run, tmp_path):
        again = train(config=run / "config.toml", out=tmp_path / "again")
        assert (again / "config.toml").read_bytes() == (run / "config.toml").read_bytes()
        assert (again / "split.json").read_bytes() == (run / "split.json").read_bytes()

    def test_minutes_become_steps_that_stand_in_the_file(self, pets, tmp_path, monkeypatch):
        monkeypatch.setattr("unetkit.training.CALIBRATION_SECONDS", 0.01)
        run = train(pets, out=tmp_path / "run", minutes=0.01, config=TINY_CONFIG)
        training = config_from_file(run / "config.toml").training
        with open(run / "curves.csv", newline="", encoding="utf-8") as file:
            assert int(list(csv.DictReader(file))[-1]["step"]) == training.steps

    def test_a_grey_set_of_large_frames_trains_on_crops(self, tmp_path):
        rng = np.random.default_rng(0)
        for i in range(4):
            for part in ("images", "masks"):
                (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            frame = rng.integers(0, 256, (300, 260), dtype=np.uint8)
            Image.fromarray(frame).save(tmp_path / f"data/images/{i}.png")
            Image.fromarray((frame > 99).astype(np.uint8) * 255).save(
                tmp_path / f"data/masks/{i}.png"
            )
        config = {
            "network": {"filters": [4, 4]},
            "scale": {"height": 64, "width": 64},
            "training": {"steps": 2, "steps_per_validation": 2, "batch_size": 2},
        }
        run = train(tmp_path / "data", out=tmp_path / "run", config=config)
        chosen = config_from_file(run / "config.toml")
        assert chosen.scale.policy == "native"
        assert chosen.pixels == PixelFormat(1)
        predictor = Predictor(run)
        assert predictor(tmp_path / "data/images/0.png").shape == (300, 260)

    def test_the_unpadded_network_trains_and_predicts_any_size(self, pets, tmp_path):
        config = {
            "preset": "paper",
            "network": {"filters": [4, 4, 4]},
            "scale": {"height": 20, "width": 24},
            "training": {"steps": 2, "steps_per_validation": 1, "batch_size": 2},
        }
        run = train(pets, out=tmp_path / "run", config=config)
        assert Predictor(run)(np.zeros((37, 51, 3), np.uint8)).shape == (37, 51)

    def test_letterboxed_pictures_train_and_keep_their_size(self, pets, tmp_path):
        run = train(pets, out=tmp_path / "run", config=tiny(scale={"fit": "letterbox"}))
        assert Predictor(run)(np.zeros((90, 20, 3), np.uint8)).shape == (90, 20)

    def test_the_network_learns_what_is_easy(self, tmp_path):
        # Bright squares on dark ground: a few dozen steps suffice.
        rng = np.random.default_rng(0)
        for i in range(16):
            image = rng.integers(0, 90, (32, 32, 3), dtype=np.uint8)
            mask = np.zeros((32, 32), np.uint8)
            row, column = rng.integers(0, 16, 2)
            mask[row : row + 14, column : column + 14] = 1
            image[mask == 1] += 140
            for part, array in (("images", image), ("masks", mask)):
                (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(tmp_path / f"data/{part}/{i}.png")
        config = tiny(
            scale={"height": 32, "width": 32},
            training={"steps": 80, "steps_per_validation": 20, "learning_rate": 0.01},
        )
        run = train(tmp_path / "data", out=tmp_path / "run", config=config)
        assert json.loads((run / "training.json").read_text())["best"]["mean_iou"] > 0.9


class TestRefusals:
    def test_a_run_folder_in_use_is_left_alone(self, pets, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "mine.txt").write_text("keep")
        with pytest.raises(OutputExistsError, match=r"run folder .*run exists and is not empty"):
            train(pets, out=tmp_path / "run", config=TINY_CONFIG)
        assert (tmp_path / "run" / "mine.txt").read_text() == "keep"

    def test_no_data(self):
        with pytest.raises(ConfigError, match="no data is named"):
            train()

    def test_data_that_is_not_there_leaves_no_run(self, tmp_path):
        with pytest.raises(DataNotFoundError):
            train(tmp_path / "nowhere", out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_broken_photo_stops_the_run_before_it_starts(self, folder, tmp_path):
        photo = folder / "images" / "photo_03.jpg"
        photo.write_bytes(photo.read_bytes()[:-200])
        lists = "\n".join(f"photo_{i:02d}" for i in range(12))
        (folder / "trainval.txt").write_text(lists)
        with pytest.raises(DataError, match=r"photo_03\.jpg cannot be read whole"):
            train(folder, out=tmp_path / "run", config=TINY_CONFIG)
        assert not (tmp_path / "run").exists()

    def test_one_image_is_too_few(self, tmp_path):
        write_pair(tmp_path / "data", "only")
        with pytest.raises(DataError, match="has 1 pairs"):
            train(tmp_path / "data", out=tmp_path / "run")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"epochs": 1, "minutes": 1}, "epochs is 1 and minutes 1; accepted is one"),
            ({"minutes": -1}, "minutes is -1; accepted are positive"),
            ({"epochs": 0}, "epochs is 0; accepted are positive"),
            ({"minutes": float("nan")}, "minutes is nan; accepted are positive"),
            ({"seed": 1 << 40}, "seed is 1099511627776; accepted are"),
            ({"config": {"sed": 1}}, "key 'sed' in the options is unknown"),
            ({"preset": "notebok"}, "did you mean 'notebook'"),
        ],
    )
    def test_options_that_are_not_accepted(self, pets, tmp_path, options, message):
        with pytest.raises(ConfigError, match=message):
            train(pets, out=tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()

    def test_a_folder_that_was_there_stays_when_the_run_fails(self, folder, tmp_path):
        (folder / "images" / "photo_00.jpg").write_bytes(b"broken")
        (tmp_path / "run").mkdir()
        (folder / "trainval.txt").write_text("\n".join(f"photo_{i:02d}" for i in range(12)))
        with pytest.raises(DataError):
            train(folder, out=tmp_path / "run", config=TINY_CONFIG)
        assert list((tmp_path / "run").iterdir()) == []

    def test_an_interrupted_run_without_weights_is_removed(self, pets, tmp_path):
        class Interrupting(Listener):
            def training_step(self, step, total, images, loss):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(pets, out=tmp_path / "run", config=TINY_CONFIG, display=Interrupting())
        assert not (tmp_path / "run").exists()

    def test_an_interrupted_run_keeps_its_best_weights(self, pets, tmp_path):
        class Interrupting(Listener):
            def training_step(self, step, total, images, loss):
                if step == 3:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(pets, out=tmp_path / "run", config=TINY_CONFIG, display=Interrupting())
        kept = {path.name for path in (tmp_path / "run").iterdir()}
        assert kept == {"best.weights.h5", "config.toml", "curves.csv", "split.json"}

    def test_the_default_run_folder_is_numbered(self, pets, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        shutil.copytree(pets, tmp_path / "pets")
        for expected in ("runs/pets-fast", "runs/pets-fast-2"):
            assert train("pets", config=TINY_CONFIG).as_posix() == expected
