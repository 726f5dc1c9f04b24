"""What holds on every backend of Keras, and for weights that go from one to another.

Run with another one, these tests are its contract, with others that are marked `contract`:

    KERAS_BACKEND=jax pytest -m contract
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.backends.weights import IMAGES, NETWORKS, STORED, differences, logits, write
from tests.conftest import TINY_CONFIG
from tests.models.test_onnx_import import answers, export_to
from tests.test_resume import StopAt
from tests.training.test_fine_tuning import TRAINING, make_config
from unetkit import Predictor, resume, train
from unetkit._shared import run_folder
from unetkit.data.classes import Classes
from unetkit.models.unet import PRESETS, FrozenBatchNormalization
from unetkit.prediction.engine import softmax
from unetkit.training.checkpoints import checkpoint_files, read_checkpoint
from unetkit.training.config_file import config_to_toml, read_config
from unetkit.training.export import trained_network
from unetkit.training.fine_tuning import start_from
from unetkit.training.network import build_network, compile_network, freeze
from unetkit.training.validation import averaged_weights

pytestmark = pytest.mark.contract
BACKEND = keras.backend.backend()
BACKENDS = ("tensorflow", "jax", "torch")
CLOSE = 1e-4  # of a logit
TWO_CLASSES = Classes(("ground", "object"), (0, 1))
TINY = {
    name: replace(config, filters=(2, 3), dropout=0.0, head_filters=min(2, config.head_filters))
    for name, config in PRESETS.items()
}
UPDATES = replace(
    TRAINING,
    loss={"cross_entropy": 1.0, "dice": 1.0},
    optimizer="adamw",
    learning_rate=0.02,
    averaging=0.5,
)


def losses(model, updates, config):
    """Losses of updates with one batch, whose objects are its bright pixels."""
    geometry = config.network.geometry
    side = geometry.input_size(24)
    images = np.random.default_rng(0).normal(0, 1, (2, side, side, 3)).astype(np.float32)
    bright = (images.sum(-1) > 0).astype(np.uint8)
    rows = slice(geometry.margin, side - geometry.margin)
    return [
        float(model.train_on_batch(images, bright[:, rows, rows], return_dict=True)["loss"])
        for _ in range(updates)
    ]


def values(model, part=""):
    return {w.path: w.numpy().copy() for w in model.weights if w.path.startswith(part)}


@pytest.mark.parametrize("preset", TINY)
def test_updates_reduce_the_loss(preset):
    keras.utils.set_random_seed(0)
    config = make_config(TINY[preset], TWO_CLASSES)
    model = build_network(config)
    compile_network(model, UPDATES)
    before = values(model)
    found = losses(model, 20, config)
    assert np.mean(found[-3:]) < 0.9 * found[0]
    changed = {path for path, value in values(model).items() if (value != before[path]).any()}
    still = {
        weight.path
        for layer in model.layers
        if isinstance(layer, FrozenBatchNormalization)
        for weight in (layer.moving_mean, layer.moving_variance)
    }
    assert changed == before.keys() - still  # the statistics of other BatchNorm are learnt, too


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_trains_weights_in_single_precision(precision):
    keras.utils.set_random_seed(0)
    config = make_config(TINY["fast"], TWO_CLASSES)
    model = build_network(config, precision)
    compile_network(model, UPDATES)
    found = losses(model, 20, config)
    assert np.mean(found[-3:]) < 0.9 * found[0]
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}
    assert logits(model).dtype == np.float32
    own = values(model)
    with averaged_weights(model):
        averaged = values(model)
    assert any((averaged[path] != value).any() for path, value in own.items())
    for path, value in values(model).items():
        assert np.array_equal(value, own[path]), path


def test_frozen_layers_rest_and_the_encoder_is_slower():
    config = make_config(TINY["pretrained"], TWO_CLASSES)
    model = build_network(config)
    freeze(model, ["encoder1"])
    compile_network(model, replace(UPDATES, encoder_rate=0.1, weight_decay=0.0, averaging=0.0))
    before = values(model)
    losses(model, 1, config)
    moved = {path: np.abs(value - before[path]).max() for path, value in values(model).items()}
    assert not any(distance for path, distance in moved.items() if path.startswith("encoder1"))
    kernels = {path: distance for path, distance in moved.items() if path.endswith("kernel")}
    for path, distance in kernels.items():
        if not path.startswith("encoder1"):
            # Adam's first update is the rate itself, where the gradient is not about 0.
            rate = UPDATES.learning_rate * (0.1 if path.startswith("encoder") else 1.0)
            assert distance == pytest.approx(rate, rel=0.02), path


def test_a_run_has_a_model_file_with_its_output(run):
    manifest = json.loads((run / run_folder.MANIFEST).read_text())
    assert manifest["backend"] == BACKEND
    assert manifest["export_difference"] < CLOSE
    config = read_config(run / run_folder.CONFIG)
    size = config.scale.height, config.scale.width
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    normalized = config.normalization.apply(image[None].astype(np.float32))
    expected = keras.ops.convert_to_numpy(trained_network(run, config)(normalized))[0]
    predictor = Predictor(run)
    tempered = softmax(expected / predictor.spec.temperature)
    np.testing.assert_allclose(predictor.probabilities(image), tempered, atol=CLOSE)


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(run, pets, tmp_path):
    stopped = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(pets, out=stopped, config=TINY_CONFIG, display=StopAt(3))
    resume(stopped)
    one, other = (
        read_checkpoint(checkpoint_files(folder / run_folder.CHECKPOINTS)[0])
        for folder in (run, stopped)
    )
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_allclose(other.arrays[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
    if BACKEND == "torch":
        pytest.skip("PyTorch does not promise the same bytes; the values agree")
    for name, array in one.arrays.items():
        assert array.tobytes() == other.arrays[name].tobytes(), name


class TestWeightsFromElsewhere:
    """Files of the other backends, which this one reads."""

    def test_all_have_the_output_that_they_were_trained_to(self):
        found = differences(STORED)
        assert {name.split(".")[0] for name in found} == {f"own-{name}" for name in BACKENDS}
        assert max(found.values()) < CLOSE, found

    @pytest.mark.parametrize("origin", BACKENDS)
    def test_a_training_starts_from_them_and_exports_them(self, origin, tmp_path):
        config = make_config(NETWORKS["own"], TWO_CLASSES)
        (tmp_path / run_folder.CONFIG).write_text(config_to_toml(config), encoding="utf-8")
        shutil.copy(STORED / f"own-{origin}.weights.h5", tmp_path / run_folder.WEIGHTS)
        model = build_network(config)
        assert "parameters start as those of" in start_from(model, tmp_path, config)
        expected = np.load(STORED / f"own-{origin}.npy")
        np.testing.assert_allclose(logits(model), expected, atol=CLOSE)
        file = export_to(tmp_path / "m.onnx", model, config.network)
        np.testing.assert_allclose(answers(file, IMAGES), expected, atol=CLOSE)

    @pytest.mark.parametrize("other", BACKENDS)
    def test_they_go_to_and_fro(self, other, tmp_path):
        if other == BACKEND:
            pytest.skip("this is the backend of the tests")
        if importlib.util.find_spec(other) is None:
            pytest.skip(f"{other} is not installed")
        folders = [tmp_path / "here", tmp_path / "there"]
        for folder in folders:
            folder.mkdir()
        run_on(other, "write", folders[1], *NETWORKS)
        for network in NETWORKS:
            write(folders[0], network)
        found = differences(folders[1]) | json.loads(run_on(other, "compare", folders[0]))
        assert len(found) == 4 * len(NETWORKS)  # two formats, both ways
        assert max(found.values()) < CLOSE, found


def run_on(backend, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tests.backends.weights", *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": backend},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
