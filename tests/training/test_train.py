"""Training as a whole: the files of a run folder, and what stops a run before it starts."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

from tests.conftest import SMALL_CONFIG, TINY_CONFIG, write_disks, write_pair
from unetkit import Predictor, evaluate, resume, train, verify
from unetkit._shared.display import Display
from unetkit.data.dataset import find_dataset
from unetkit.data.scale import IGNORE
from unetkit.data.sources import Sources
from unetkit.data.splits import SplitRule, split_pairs
from unetkit.datasets.synthetic_cells import write_synthetic_cells
from unetkit.errors import ConfigError, DataError, DataNotFoundError, OutputExistsError
from unetkit.io.pixel_format import PixelFormat
from unetkit.losses import LOSSES
from unetkit.models.spec import image_digest
from unetkit.results.files import predict_files
from unetkit.training.batches import Sampler, build_cache
from unetkit.training.choices import gather_choices
from unetkit.training.config_file import read_config
from unetkit.training.validation import Recorder

RUN_FILES = {
    "best.weights.h5",
    "checkpoints",
    "config.toml",
    "curves.csv",
    "curves.png",
    "log.txt",
    "manifest.json",
    "model.onnx",
    "pictures",
    "split.json",
}


LEARNING = {"steps_per_validation": 20, "batch_size": 4, "learning_rate": 0.01}


class Listener(Display):
    def __init__(self):
        self.lines, self.steps, self.validations = [], [], []

    def say(self, text):
        self.lines.append(text)

    warn = say

    def training_step(self, report):
        self.steps.append((report.step, report.steps))

    def validated(self, report, figures):
        self.validations.append(report.step)


@pytest.fixture
def without_pictures(monkeypatch):
    """For runs whose figures nobody looks at."""
    for name in ("draw", "_draw_curves", "_draw_examples"):
        monkeypatch.setattr(Recorder, name, lambda *arguments: None)


def small(**sections):
    return {**SMALL_CONFIG, **{k: {**SMALL_CONFIG.get(k, {}), **v} for k, v in sections.items()}}


class TestRunFolder:
    def test_it_holds_what_is_documented_and_nothing_else(self, run):
        assert {path.name for path in run.iterdir() if "evaluation" not in path.name} == RUN_FILES

    def test_the_curves_have_a_row_for_each_validation(self, run):
        with open(run / "curves.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["step"] for row in rows] == ["2", "4"]
        best = max(rows, key=lambda row: float(row["validation_mean_iou"]))
        summary = json.loads((run / "manifest.json").read_text())
        assert summary["best"]["step"] == int(best["step"])
        assert summary["best"]["mean_iou"] == pytest.approx(
            float(best["validation_mean_iou"]), abs=1e-6
        )

    def test_the_manifest_has_versions_command_and_data(self, run, pets):
        summary = json.loads((run / "manifest.json").read_text())
        assert summary["command"] is None  # from Python
        assert summary["versions"].keys() >= {"keras", "numpy", "onnx"}
        split = split_pairs(find_dataset(pets), SplitRule())
        for name, pairs in split.splits.items():
            locked = summary["parts"][name]
            assert locked["images"] == len(pairs)
            masks = [np.asarray(Image.open(pair.mask)).ravel() for pair in pairs]
            values = np.bincount(np.concatenate(masks), minlength=4)[1:]
            shares = dict(zip(("pet", "background", "border"), values / values.sum(), strict=True))
            assert locked["classes"] == pytest.approx(shares)
        assert all(issue["level"] != "error" for issue in summary["findings"])

    def test_the_split_file_lists_the_splits(self, run, pets):
        written = json.loads((run / "split.json").read_text())
        split = split_pairs(find_dataset(pets), SplitRule())
        for name, pairs in split.splits.items():
            assert [entry["name"] for entry in written[name]] == [pair.name for pair in pairs]

    def test_the_split_file_has_the_sha256_of_each_file(self, run, pets):
        written = json.loads((run / "split.json").read_text())
        assert written["data"] == str(pets.resolve())
        assert written["skipped"] == []
        pairs = {pair.name: pair for pair in find_dataset(pets).pairs}
        entries = [entry for part in ("train", "validation", "test") for entry in written[part]]
        assert len(entries) == len(pairs) == 20
        for entry in entries:
            pair = pairs[entry["name"]]
            for key, path in (("image_sha256", pair.image), ("mask_sha256", pair.mask)):
                assert entry[key] == hashlib.sha256(path.read_bytes()).hexdigest()

    @pytest.mark.parametrize("which", ["run", "disks_run"])
    def test_figures_can_be_opened(self, which, request):
        run = request.getfixturevalue(which)
        for path in (run / "curves.png", run / "pictures" / "validation.png"):
            assert np.asarray(Image.open(path).convert("L")).std() > 5

    def test_the_best_weights_are_without_what_the_optimiser_remembers(self, run):
        with h5py.File(run / "best.weights.h5") as file:
            assert "layers" in file
            assert "optimizer" not in file

    def test_the_exported_network_has_the_best_weights(self, run, pets):
        from unetkit import build_unet

        config = read_config(run / "config.toml")
        network = build_unet(config.network, in_channels=3, num_classes=3)
        network.load_weights(run / "best.weights.h5")
        image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
        logits = network(config.normalization.apply(image[None]))
        predictor = Predictor(run)
        tempered = keras.ops.softmax(logits / predictor.spec.temperature)
        expected = keras.ops.convert_to_numpy(tempered)[0]
        np.testing.assert_allclose(predictor.probabilities(image), expected, atol=1e-4)


@pytest.mark.usefixtures("without_pictures")
class TestTraining:
    def test_the_display_hears_of_every_step_and_choice(self, pets, tmp_path):
        listener = Listener()
        train(pets, out=tmp_path / "run", config=small(training={"steps": 4}), display=listener)
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

    def test_a_last_validation_follows_the_last_step(self, pets, tmp_path):
        listener = Listener()
        config = small(training={"steps": 5, "steps_per_validation": 2})
        train(pets, out=tmp_path / "run", config=config, display=listener)
        assert listener.validations == [2, 4, 5]

    def test_another_preset_brings_its_own_recipe(self, run, tmp_path):
        given = gather_choices(run / "config.toml", preset="notebook").to_mapping()
        assert given["preset"] == "notebook"
        assert not {"network", "normalization", "augmentation", "training"} & given.keys()
        assert "scale" in given

    @pytest.mark.parametrize("which", ["run", "disks_run"])
    def test_its_own_configuration_makes_the_same_run(self, which, request, tmp_path):
        run = request.getfixturevalue(which)
        again = train(config=run / "config.toml", out=tmp_path / "again")
        assert (again / "config.toml").read_bytes() == (run / "config.toml").read_bytes()
        assert (again / "split.json").read_bytes() == (run / "split.json").read_bytes()

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
            "network": SMALL_CONFIG["network"],
            "scale": {"height": 64, "width": 64},
            "training": {"steps": 2, "steps_per_validation": 2, "batch_size": 2},
        }
        run = train(tmp_path / "data", out=tmp_path / "run", config=config)
        chosen = read_config(run / "config.toml")
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

    def test_letterboxed_images_train_and_keep_their_size(self, pets, tmp_path):
        run = train(pets, out=tmp_path / "run", config=small(scale={"fit": "letterbox"}))
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
        config = {
            "network": TINY_CONFIG["network"],
            "scale": {**TINY_CONFIG["scale"], "width": 32},
            "training": {**LEARNING, "steps": 80},
        }
        run = train(tmp_path / "data", out=tmp_path / "run", config=config)
        assert json.loads((run / "manifest.json").read_text())["best"]["mean_iou"] > 0.9


class TestDeepPictures:
    """16 bits, fractions and many channels, from the file to the prediction."""

    def test_levels_come_from_all_training_images_and_go_into_the_file(self, disks_run):
        pixels = read_config(disks_run / "config.toml").pixels
        assert (pixels.channels, pixels.dtype) == (1, "uint16")
        # The disks use 200 to 3000; a tenth of that on either side is 280.
        assert -120 < pixels.low[0] < 0
        assert 3200 < pixels.high[0] < 3320
        assert Predictor(disks_run).spec.pixels == pixels

    @pytest.mark.parametrize(
        ("dtype", "low", "high", "channels"),
        [("float32", -1.5, 0.25, 2), ("uint16", 100, 60_000, 5)],
    )
    def test_any_type_and_number_of_channels_trains(self, tmp_path, dtype, low, high, channels):
        data = write_disks(
            tmp_path / "data", dtype=dtype, low=low, high=high, channels=channels, count=6
        )
        config = small(classes={"ignore": 255}, training={"steps": 2, "batch_size": 2})
        run = train(data, out=tmp_path / "run", config=config)
        pixels = read_config(run / "config.toml").pixels
        assert (pixels.channels, pixels.dtype) == (channels, dtype)
        assert len(pixels.low) == channels
        assert all(bottom < low for bottom in pixels.low)
        assert all(top > high for top in pixels.high)
        predictor = Predictor(run)
        assert predictor(data / "images" / "disk_00.tif").shape == (48, 64)
        assert evaluate(run, data)["pairs"] == 1
        picture = np.asarray(Image.open(run / "pictures" / "validation.png").convert("L"))
        assert picture.std() > 5

    def test_a_network_learns_from_16_bits_of_which_few_are_used(self, tmp_path, without_pictures):
        data = write_disks(tmp_path / "data", low=30, high=60, count=16)
        config = {
            "scale": TINY_CONFIG["scale"],
            "training": {**LEARNING, "steps": 40},
            "classes": {"ignore": 255},
            "augmentation": {"rotation": 0.0, "zoom": 0.0},
            "network": {**TINY_CONFIG["network"], "filters": [4, 8, 8]},
        }
        run = train(data, out=tmp_path / "run", config=config)
        assert json.loads((run / "manifest.json").read_text())["best"]["mean_iou"] > 0.8

    def test_a_stack_is_as_many_pairs(self, tmp_path, without_pictures):
        from tests.results.test_files import write_pages

        data = write_disks(tmp_path / "data", count=6)
        for part in ("images", "masks"):
            files = sorted((data / part).iterdir())
            write_pages(data / part / "film.tif", *(np.asarray(Image.open(f)) for f in files))
            for file in files:
                file.unlink()
        run = train(data, out=tmp_path / "run", config=small(classes={"ignore": 255}))
        written = json.loads((run / "split.json").read_text())
        names = [
            entry["name"] for part in ("train", "validation", "test") for entry in written[part]
        ]
        assert sorted(names) == [f"film_p{page:03d}" for page in range(6)]
        assert evaluate(run, data)["pairs"] == len(written["test"])


class TestIgnoredPixels:
    """Pixels whose value is named by `classes.ignore` have no part in anything."""

    def test_the_loss_of_a_batch_leaves_them_out(self, disks, disks_run, tmp_path):
        config = read_config(disks_run / "config.toml")
        pairs = find_dataset(disks).pairs[:4]
        cache = build_cache(tmp_path / "c", pairs, config.classes, config.pixels, config.scale)
        sampler = Sampler(
            cache,
            config.scale,
            config.network.geometry,
            config.pixels,
            config.normalization,
            config.augmentation,
        )
        _, masks = sampler.batch(0, 4)
        counted = masks != IGNORE
        assert 0 < counted.mean() < 1
        assert set(np.unique(masks[counted])) == {0, 1}
        logits = np.random.default_rng(0).normal(size=(*masks.shape, 2)).astype(np.float32)
        powers = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        of_truth = np.take_along_axis(powers, (masks == 1)[..., None].astype(int), -1)[..., 0]
        loss = LOSSES["cross_entropy"](masks, logits)
        assert float(loss) == pytest.approx(-np.log(of_truth)[counted].mean(), rel=1e-5)

    def test_validation_counts_leave_them_out(self, disks, disks_run, tmp_path):
        again = evaluate(disks_run, disks, part="validation", out=tmp_path / "out")
        figures = again["figures"]["training"]
        summary = json.loads((disks_run / "manifest.json").read_text())
        assert figures["summed"]["mean_iou"] == pytest.approx(summary["best"]["mean_iou"], abs=1e-3)
        config = read_config(disks_run / "config.toml")
        names = {image["name"] for image in again["images"]}
        pairs = [pair for pair in find_dataset(disks).pairs if pair.name in names]
        cache = build_cache(tmp_path / "c", pairs, config.classes, config.pixels, config.scale)
        counted = sum(int((mask != IGNORE).sum()) for mask in cache.masks)
        assert np.sum(figures["confusion"]) == counted < len(pairs) * 32 * 48

    def test_an_undeclared_255_stops_the_run(self, disks, tmp_path):
        with pytest.raises(DataError, match=r"values that are not classes: 255 .*use --ignore"):
            train(disks, out=tmp_path / "run", config=SMALL_CONFIG)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("part", ["train", "validation"])
    def test_a_split_with_ignored_pixels_only_is_refused(self, disks, disks_run, tmp_path, part):
        shutil.copytree(disks, tmp_path / "data")
        for entry in json.loads((disks_run / "split.json").read_text())[part]:
            mask = tmp_path / "data" / "masks" / f"{entry['name']}.png"
            Image.fromarray(np.full((48, 64), 255, np.uint8)).save(mask)
        config = small(classes={"ignore": 255}, split={"file": str(disks_run / "split.json")})
        # A training split without any object is refused before anything is decoded.
        message = rf"every pixel of the {part} split is ignored|every object is ignored"
        with pytest.raises(DataError, match=message):
            train(tmp_path / "data", out=tmp_path / "run", config=config)
        assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_pictures")
class TestBadPairs:
    """Files that cannot be used stop a run before it starts, or are left out if asked."""

    @pytest.fixture
    def damaged(self, folder):
        """Twelve pairs: a cut-off photo, a mask of another size, a name with two masks."""
        photo = folder / "images" / "photo_03.jpg"
        photo.write_bytes(photo.read_bytes()[:-200])
        Image.new("L", (3, 3), 1).save(folder / "masks" / "photo_05.png")
        shutil.copy(folder / "masks" / "photo_07.png", folder / "masks" / "photo_07.bmp")
        return folder

    BAD = ("photo_03", "photo_05", "photo_07")

    def test_all_of_them_are_named_with_what_to_do(self, damaged, tmp_path):
        with pytest.raises(DataError) as caught:
            train(damaged, out=tmp_path / "run", config=SMALL_CONFIG)
        *lines, advice = str(caught.value).split("\n")
        for name in self.BAD:
            assert sum(name in line for line in lines) == 1
        assert advice == (
            f"all issues: unetkit check {damaged}; to go on without these files: --skip-bad"
        )
        assert not (tmp_path / "run").exists()

    def test_a_run_without_them_warns_of_it(self, damaged, tmp_path):
        listener = Listener()
        config = small(sources={"skip_bad": True})
        run = train(damaged, out=tmp_path / "run", config=config, display=listener)
        said = "\n".join(listener.lines)
        assert all(f"{name}" in said for name in self.BAD)
        written = json.loads((run / "split.json").read_text())
        left = {Path(entry["name"]).stem: entry["why"] for entry in written["skipped"]}
        assert left.keys() == set(self.BAD)
        assert "cannot be read whole" in left["photo_03"]
        assert "is 20x24 and mask" in left["photo_05"]
        assert "2 masks share a name" in left["photo_07"]
        names = [
            entry["name"] for part in ("train", "validation", "test") for entry in written[part]
        ]
        assert sorted(names) == [
            f"photo_{i:02d}" for i in range(12) if f"photo_{i:02d}" not in self.BAD
        ]
        expected = {
            image_digest(entry["image_sha256"], None)
            for part in ("train", "validation")
            for entry in written[part]
        }
        assert set(Predictor(run).spec.seen) == expected
        assert read_config(run / "config.toml").sources == Sources(skip_bad=True)

    def test_what_cannot_be_left_out_stops_the_run_all_the_same(self, damaged, tmp_path):
        Image.fromarray(np.full((20, 24), 9, np.uint8)).save(damaged / "masks" / "photo_01.png")
        with pytest.raises(DataError, match="values that are not classes: 1, 2, 3, 9") as caught:
            train(damaged, out=tmp_path / "run", config=small(sources={"skip_bad": True}))
        assert "--skip-bad" not in str(caught.value)
        assert not (tmp_path / "run").exists()

    def test_too_few_good_pairs_stop_the_run(self, folder, tmp_path):
        for i in range(2, 12):
            (folder / "images" / f"photo_{i:02d}.jpg").write_bytes(b"broken")
        with pytest.raises(DataError, match="has 2 pairs of image and mask for 3 splits"):
            train(folder, out=tmp_path / "run", config=small(sources={"skip_bad": True}))
        assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_pictures")
class TestSplits:
    def write_split(self, path, names, **extra):
        parts = {"train": names[:6], "validation": names[6:8], "test": names[8:11], **extra}
        path.write_text(json.dumps(parts))
        return {name: sorted(parts[name]) for name in ("train", "validation", "test")}

    def names_in(self, run):
        written = json.loads((run / "split.json").read_text())
        return {
            part: sorted(entry["name"] for entry in written[part])
            for part in ("train", "validation", "test")
        }

    def test_a_split_file_decides_and_stands_in_the_configuration_as_a_whole_path(
        self, folder, tmp_path, monkeypatch
    ):
        names = [f"photo_{i:02d}" for i in reversed(range(12))]
        expected = self.write_split(tmp_path / "mine.json", names)
        monkeypatch.chdir(tmp_path)
        run = train(folder, out="run", config=small(split={"file": "mine.json"}))
        assert self.names_in(run) == expected
        assert read_config(run / "config.toml").split.file == str(tmp_path / "mine.json")
        assert len(Predictor(run).spec.seen) == 8

    def test_names_that_are_no_pairs_leave_no_run(self, folder, tmp_path):
        self.write_split(tmp_path / "s.json", [f"photo_{i:02d}" for i in range(12)], test=["cat"])
        config = small(split={"file": str(tmp_path / "s.json")})
        with pytest.raises(DataError, match=r"split file .*s\.json names 'cat', no pair of"):
            train(folder, out=tmp_path / "run", config=config)
        assert not (tmp_path / "run").exists()

    def test_a_split_file_that_is_not_there_leaves_no_run(self, folder, tmp_path):
        config = small(split={"file": str(tmp_path / "none.json")})
        with pytest.raises(DataNotFoundError, match=r"split file .*none\.json does not exist"):
            train(folder, out=tmp_path / "run", config=config)
        assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_pictures")
class TestTables:
    def test_a_table_of_pairs_is_trained_on_and_scored(self, folder, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        parts = ["train"] * 7 + ["val"] * 2 + ["test"] * 3
        rows = [f"images/photo_{i:02d}.jpg,masks/photo_{i:02d}.png,{parts[i]}" for i in range(12)]
        table = folder / "pairs.csv"
        table.write_text("\n".join(["image,mask,split", *rows]))
        run = train(table, config=SMALL_CONFIG)
        assert run.as_posix() == "runs/pairs-fast"
        written = json.loads((run / "split.json").read_text())
        assert written["data"] == str(table)
        counts = {part: len(written[part]) for part in ("train", "validation", "test")}
        assert counts == {"train": 7, "validation": 2, "test": 3}
        result = evaluate(run, table)
        assert {image["name"] for image in result["images"]} == {
            entry["name"] for entry in written["test"]
        }
        assert result["protocol"]["split"] == "the test part that the data name"
        assert (run / "evaluation-pairs" / "evaluation.json").is_file()
        assert read_config(run / "config.toml").data == str(table)


class TestRefusals:
    def test_a_run_folder_in_use_is_left_alone(self, pets, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "mine.txt").write_text("keep")
        with pytest.raises(OutputExistsError, match=r"run folder .*run exists and is not empty"):
            train(pets, out=tmp_path / "run", config=SMALL_CONFIG)
        assert (tmp_path / "run" / "mine.txt").read_text() == "keep"

    def test_no_data(self):
        with pytest.raises(ConfigError, match="no data are given"):
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
            train(folder, out=tmp_path / "run", config=SMALL_CONFIG)
        assert not (tmp_path / "run").exists()

    def test_one_image_is_too_few(self, tmp_path):
        write_pair(tmp_path / "data", "only")
        with pytest.raises(DataError, match="has 1 pair of"):
            train(tmp_path / "data", out=tmp_path / "run")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"epochs": 1, "minutes": 1}, "epochs is 1 and minutes 1; accepted is one"),
            ({"minutes": -1}, "minutes is -1; accepted are numbers above 0"),
            ({"epochs": 0}, "epochs is 0; accepted are numbers above 0"),
            ({"minutes": float("nan")}, "minutes is nan; accepted are numbers above 0"),
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
            train(folder, out=tmp_path / "run", config=SMALL_CONFIG)
        assert list((tmp_path / "run").iterdir()) == []

    def test_an_interrupted_run_without_weights_is_removed(self, pets, tmp_path):
        class Interrupting(Listener):
            def training_step(self, report):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(pets, out=tmp_path / "run", config=SMALL_CONFIG, display=Interrupting())
        assert not (tmp_path / "run").exists()

    def test_an_interrupted_run_keeps_its_best_weights(self, pets, tmp_path):
        class Interrupting(Listener):
            def training_step(self, report):
                if report.step == 3:
                    raise KeyboardInterrupt

        config = small(training={"steps": 4})
        with pytest.raises(KeyboardInterrupt):
            train(pets, out=tmp_path / "run", config=config, display=Interrupting())
        kept = {path.name for path in (tmp_path / "run").iterdir()}
        assert kept == RUN_FILES - {"model.onnx"}

    def test_the_default_run_folder_is_numbered(
        self, pets, tmp_path, monkeypatch, without_pictures
    ):
        monkeypatch.chdir(tmp_path)
        shutil.copytree(pets, tmp_path / "pets")
        config = small(training={"steps": 1, "steps_per_validation": 1})
        for expected in ("runs/pets-fast", "runs/pets-fast-2"):
            assert train("pets", config=config).as_posix() == expected


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return write_synthetic_cells(
        tmp_path_factory.mktemp("cells") / "cells", count=10, height=64, width=64
    )


class TestObjects:
    def test_a_run_on_instances_tells_objects_apart(self, cells, tmp_path):
        run = train(cells, out=tmp_path / "run", config=small())
        rule = read_config(run / "config.toml").objects
        assert rule.method == "distance"
        assert rule.is_complete
        predictor = Predictor(run)
        assert predictor.spec.objects == rule
        written = predict_files(
            predictor, [cells / "images" / "dish1_field001.tif"], tmp_path / "out"
        )
        assert [path.suffix for path in written] == [".png", ".tif", ".csv"]
        # what the configuration file fixes is not chosen again
        again = train(cells, out=tmp_path / "again", config=run / "config.toml")
        assert (again / "config.toml").read_bytes() == (run / "config.toml").read_bytes()
        assert (again / "best.weights.h5").read_bytes() == (run / "best.weights.h5").read_bytes()

    def test_weights_between_objects_are_drawn(self, cells, tmp_path):
        config = small(objects={"method": "ridge"})
        run = train(cells, out=tmp_path / "run", config=config)
        assert Image.open(run / "pictures" / "border-weights.png").width > 400
        assert read_config(run / "config.toml").border_weight.w0 == 10
        assert not any(path.name.startswith("border") for path in cells.rglob("*"))

    def test_a_run_goes_on_from_one_of_classes(self, cells, tmp_path, without_pictures):
        config = small(objects={"method": "none"})
        first = train(cells, out=tmp_path / "first", config=config)
        config = small(training={"start": str(first)})
        second = train(cells, out=tmp_path / "second", config=config)
        assert "new in the last layer: distance of objects" in (second / "log.txt").read_text()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    data = tmp_path_factory.mktemp("scene") / "data"
    rng = np.random.default_rng(0)
    mask = np.zeros((560, 580), np.uint8)
    for row, column in rng.integers(0, 540, (150, 2)):
        mask[row : row + 12, column : column + 12] = 1
    image = np.clip(60 + 120 * mask + rng.normal(0, 9, mask.shape), 0, 255).astype(np.uint8)
    for part, pixels in (("images", image), ("masks", mask)):
        (data / part).mkdir(parents=True)
        Image.fromarray(pixels).save(data / part / "scene.png")
    return data


@pytest.fixture(scope="module")
def run_of_blocks(scene, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    heard = Listener()
    train(scene, out=run, config=CROPS, display=heard)
    assert any("left out" in line and "16 blocks" in line for line in heard.lines)
    return run


CROPS = {**SMALL_CONFIG, "scale": {"policy": "native", "height": 32, "width": 32}}


class TestBlocksOfOneImage:
    """One large picture with one mask: check, train, evaluate, report and resume, by blocks."""

    def test_the_run_folder_says_which_blocks_are_in_which_split(self, run_of_blocks):
        assert read_config(run_of_blocks / "config.toml").sources.blocks == 128
        assert read_config(run_of_blocks / "config.toml").sources.gap == 16
        split = json.loads((run_of_blocks / "split.json").read_text())
        assert [len(split[part]) for part in ("train", "validation", "test")] == [11, 2, 3]
        blocks = [entry["block"] for part in ("train", "test") for entry in split[part]]
        assert all(block["side"] == 128 and block["gap"] == 16 for block in blocks)

    def test_only_the_blocks_of_the_test_split_are_evaluated(self, run_of_blocks, scene):
        result = evaluate(run_of_blocks, scene, out=run_of_blocks / "a")
        split = json.loads((run_of_blocks / "split.json").read_text())
        names = [image["name"] for image in result["images"]]
        assert names == [entry["name"] for entry in split["test"]]
        report = (run_of_blocks / "a" / "report.html").read_text()
        assert "blocks of the same images" in report

    def test_blocks_cut_in_another_way_are_not_taken_for_unseen_ones(self, run_of_blocks, scene):
        for sources in (Sources(blocks=100), Sources()):
            with pytest.raises(DataError, match="has no test pairs"):
                evaluate(run_of_blocks, scene, sources=sources, out=run_of_blocks / "b")

    def test_it_is_resumed_with_the_same_blocks(self, scene, tmp_path, without_pictures):
        class Stop(Listener):
            def training_step(self, report):
                if report.step == 3:
                    raise KeyboardInterrupt

        config = {**CROPS, "training": {**CROPS["training"], "steps": 4, "steps_per_validation": 1}}
        with pytest.raises(KeyboardInterrupt):
            train(scene, out=tmp_path / "run", config=config, display=Stop())
        resume(tmp_path / "run")
        assert json.loads((tmp_path / "run" / "manifest.json").read_text())["state"] == "finished"

    def test_it_verifies(self, run_of_blocks):
        assert verify(run_of_blocks)["data"]["same"]
