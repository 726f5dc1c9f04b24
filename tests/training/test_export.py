"""A run's network in a model file: from its weights, checked on its images, with its metadata."""

import hashlib
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest

from tests.conftest import write_disks, write_pair
from tests.models.test_onnx_import import some_network
from tests.training.test_fine_tuning import make_config, write_run
from unetkit import Predictor
from unetkit._shared import run_folder
from unetkit._shared.manifest import write_manifest
from unetkit.data.classes import Classes
from unetkit.data.dataset import find_dataset
from unetkit.data.scale import Scale
from unetkit.data.splits import Split, split_to_json
from unetkit.errors import DataNotFoundError, ModelFileError
from unetkit.io.images import read_image
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.spec import image_digest
from unetkit.models.unet import UNetConfig
from unetkit.training import export as export_module
from unetkit.training.config_file import config_to_toml
from unetkit.training.export import (
    CHECK_IMAGES,
    export_best,
    export_run,
    model_spec,
    require_run,
    seen_images,
    trained_network,
)

DEEP = PixelFormat(1, "uint16", (200.0,), (3000.0,))
BEFORE = "0123456789ab"  # digest of an image that the run's start was trained on


def make_run(folder, data, config):
    """A run folder as after its last update: four pairs for training, six for validation."""
    dataset = find_dataset(data)
    split = Split(dataset.pairs[:4], dataset.pairs[4:10], dataset.pairs[10:])
    config = replace(config, data=str(data))
    model = some_network(config.network, config.pixels.channels)
    run = write_run(folder, model, config)
    digests = {
        pair.name: {
            "image_sha256": hashlib.sha256(pair.image.read_bytes()).hexdigest(),
            "mask_sha256": hashlib.sha256(pair.mask.read_bytes()).hexdigest(),
        }
        for pair in dataset.pairs
    }
    text = split_to_json(split, dataset, digests)
    (run / run_folder.SPLIT).write_text(text, encoding="utf-8")
    write_manifest(run, {"state": "training", "seen_before": [BEFORE]})
    return run, config, model, split


@pytest.fixture(scope="module")
def photos_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(12):
        write_pair(folder / "data", f"photo_{i:02d}")
    return make_run(folder / "run", folder / "data", make_config(scale=Scale("resize", 32, 48)))


@pytest.fixture(scope="module")
def disks_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disks")
    data = write_disks(folder / "data")
    config = make_config(pixels=DEEP, classes=Classes(("ground", "disk", "rim"), (0, 1, 255)))
    return make_run(folder / "run", data, config)


@pytest.fixture
def copied(photos_run, tmp_path):
    """A copy of a run folder, to be damaged."""
    return shutil.copytree(photos_run[0], tmp_path / "run")


@pytest.fixture
def compared(monkeypatch):
    """Images on which a file would be compared; no file is converted."""
    found = []

    def convert(model, spec, path, images, weights="float32"):
        found.extend(images)
        path.write_bytes(b"converted")
        return 1e-6

    monkeypatch.setattr(export_module, "export_onnx", convert)
    return found


class TestExport:
    @pytest.mark.parametrize("kind", ["photos", "disks"])
    def test_a_run_is_exported_and_compared_on_its_validation_images(self, kind, request, tmp_path):
        run, config, model, split = request.getfixturevalue(f"{kind}_run")
        run = shutil.copytree(run, tmp_path / "run")
        assert export_best(run, config, model, split) < 1e-3
        path = tmp_path / "m.onnx"
        line = export_run(run, path)
        assert "largest difference from Keras" in line
        assert f"on {CHECK_IMAGES} validation images" in line
        image = split.test[0].image
        assert (Predictor(path)(image) == Predictor(run)(image)).all()
        assert Predictor(path).spec == Predictor(run).spec == model_spec(
            config, model, seen_images(run)
        )  # fmt: skip

    def test_the_first_validation_images_are_compared_in_the_pixel_format(
        self, disks_run, compared, tmp_path
    ):
        run, config, model, split = disks_run
        expected = [read_image(pair.image, DEEP) for pair in split.validation[:CHECK_IMAGES]]
        export_run(run, tmp_path / "m.onnx")
        copy = shutil.copytree(run, tmp_path / "run")
        assert export_best(copy, config, model, split) == 1e-6
        assert (copy / run_folder.MODEL).read_bytes() == b"converted"
        assert len(compared) == 2 * len(expected)
        for image, same in zip(compared, 2 * expected, strict=True):
            assert image.dtype == np.uint16
            assert np.array_equal(image, same)

    def test_without_the_data_synthetic_images_are_used(self, disks_run, compared, tmp_path):
        run, config, _, _ = disks_run
        run = shutil.copytree(run, tmp_path / "run")
        gone = replace(config, data=str(tmp_path / "gone"))
        (run / run_folder.CONFIG).write_text(config_to_toml(gone), encoding="utf-8")
        assert "on 4 synthetic images" in export_run(run, tmp_path / "m.onnx")
        assert len({image.tobytes() for image in compared}) == CHECK_IMAGES
        assert {image.dtype for image in compared} == {np.dtype(np.uint16)}

    def test_if_one_validation_image_is_damaged_synthetic_images_are_used(
        self, photos_run, compared, monkeypatch, tmp_path
    ):
        monkeypatch.setattr(export_module, "synthetic_image", lambda index, pixels: index)
        run, config, _, split = photos_run
        data = shutil.copytree(config.data, tmp_path / "data")
        (data / "images" / split.validation[3].image.name).write_bytes(b"damage")
        run = shutil.copytree(run, tmp_path / "run")
        config = replace(config, data=str(data))
        (run / run_folder.CONFIG).write_text(config_to_toml(config), encoding="utf-8")
        assert "on 4 synthetic images" in export_run(run, tmp_path / "m.onnx")
        assert compared == [0, 1, 2, 3]


class TestRefusals:
    def test_a_folder_that_is_no_run(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"holds no config\.toml; accepted is the fold"):
            require_run(tmp_path)

    def test_a_run_without_trained_weights(self, copied):
        (copied / run_folder.WEIGHTS).unlink()
        with pytest.raises(DataNotFoundError, match=r"run holds no best\.weights\.h5"):
            require_run(copied)

    def test_damaged_weights_are_named(self, copied, tmp_path):
        (copied / run_folder.WEIGHTS).write_bytes(b"damage")
        with pytest.raises(ModelFileError, match=r"best\.weights\.h5 cannot be loaded"):
            export_run(copied, tmp_path / "m.onnx")
        assert not (tmp_path / "m.onnx").exists()

    @pytest.mark.filterwarnings("ignore:Skipping nested container")
    @pytest.mark.parametrize("filters", [(6, 8), (4, 8, 8)], ids=["wider", "deeper"])
    def test_weights_of_another_network_are_named(self, filters, photos_run, copied):
        other = replace(photos_run[1], network=UNetConfig(filters=filters, head_filters=4))
        words = r"best\.weights\.h5 cannot be loaded \(.*\); accepted are the weights of the netw"
        with pytest.raises(ModelFileError, match=f"(?s){words}"):
            trained_network(copied, other)


class TestSeenImages:
    def write(self, run, **before):
        pairs = {
            part: [{"name": name, "image_sha256": f"{name}{name}", "mask_sha256": "0", **page}]
            for part, name, page in (
                ("train", "a", {"page": 7}), ("validation", "b", {}), ("test", "c", {}),
            )
        }  # fmt: skip
        text = json.dumps({"data": "data", **pairs})
        (run / run_folder.SPLIT).write_text(text, encoding="utf-8")
        write_manifest(run, {"state": "finished", **before})

    def test_images_for_training_and_validation_count_and_those_for_the_test_do_not(self, tmp_path):
        self.write(tmp_path)
        expected = {image_digest("aa", 7), image_digest("bb", None)}
        assert seen_images(tmp_path) == sorted(expected)

    def test_images_of_the_start_count_once(self, tmp_path):
        self.write(tmp_path, seen_before=[BEFORE, image_digest("bb", None)])
        expected = {image_digest("aa", 7), image_digest("bb", None), BEFORE}
        assert seen_images(tmp_path) == sorted(expected)


class TestTrainedNetwork:
    def test_it_has_the_weights_of_the_run_in_single_precision(self, photos_run):
        run, config, model, _ = photos_run
        half = replace(config, training=replace(config.training, precision="mixed_bfloat16"))
        network = trained_network(run, half)
        assert {layer.compute_dtype for layer in network.layers} == {"float32"}
        assert keras.config.dtype_policy().name == "float32"
        for found, expected in zip(network.get_weights(), model.get_weights(), strict=True):
            assert np.array_equal(found, expected)


class TestModelSpec:
    def test_it_describes_the_run(self, disks_run):
        _, config, model, _ = disks_run
        spec = model_spec(config, model, ["b" * 12, "a" * 12])
        for name in ("preset", "pixels", "classes", "scale", "normalization"):
            assert getattr(spec, name) == getattr(config, name)
        assert spec.geometry == config.network.geometry
        assert spec.seen == ("a" * 12, "b" * 12)

    def test_its_layers_are_those_of_the_network_at_the_scale(self, photos_run):
        _, config, model, _ = photos_run
        layers = model_spec(config, model, []).layers
        assert [layer.name for layer in layers] == [layer.name for layer in model.layers]
        assert sum(layer.parameters for layer in layers) == model.count_params()
        assert layers[0].output_shape == (32, 48, 3)
        assert layers[-1].output_shape == (32, 48, 3)  # three classes

    def test_an_input_without_padding_is_larger_than_the_scale(self):
        network = UNetConfig(filters=(4, 6), padding="valid", stem_stride=1, residual=False)
        config = make_config(network, channels=1, scale=Scale("native", 32, 40))
        layers = model_spec(config, some_network(network, 1), []).layers
        height, width = network.geometry.input_size(32), network.geometry.input_size(40)
        margin = 2 * network.geometry.margin
        assert layers[0].output_shape == (height, width, 1)
        assert layers[-1].output_shape == (height - margin, width - margin, 3)
        assert height - margin >= 32
        assert width - margin >= 40
