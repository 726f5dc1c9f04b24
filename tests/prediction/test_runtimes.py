"""Networks in each library: the same answers, alone, side by side and in tiles; and refusals."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from PIL import Image

from unetkit import Predictor
from unetkit.cli import options
from unetkit.cli.main import main
from unetkit.errors import ConfigError, MissingExtraError
from unetkit.models.built_in import BUILT_IN
from unetkit.prediction import memory, runtimes
from unetkit.prediction.engine import Engine
from unetkit.prediction.runtimes import DEVICES, ENGINES, Runtime
from unetkit.prediction.tiling import smallest_tile

TOLERANCE = 1e-5  # of the range of the logits
PHOTO = np.random.default_rng(0).integers(0, 256, (120, 150, 3), dtype=np.uint8)


def test_the_command_has_the_choices_of_the_library():
    assert options.ENGINE_NAMES == ENGINES
    assert options.DEVICE_NAMES == DEVICES


class TestAnswers:
    @pytest.mark.parametrize("name", ["colour_model", "half_model", None])
    def test_they_are_those_of_onnx_runtime(self, request, name):
        model = BUILT_IN if name is None else request.getfixturevalue(name)
        image = PHOTO if name != "half_model" else PHOTO[..., 0]
        one, other = (Predictor(model, engine=engine) for engine in ENGINES)
        expected, found = one.logits(image), other.logits(image)
        spread = expected.max() - expected.min()
        assert np.abs(found - expected).max() <= TOLERANCE * spread
        assert not (found == 0).all()

    def test_tiles_are_exact(self, colour_model):
        whole = Predictor(colour_model, engine="openvino")
        least = smallest_tile(whole.spec.geometry) ** 2
        tiled = Predictor(colour_model, engine="openvino", tile_pixels=least)
        expected = whole.logits(PHOTO)
        assert len(tiled.tiling(PHOTO.shape[:2])) > 1
        spread = expected.max() - expected.min()
        assert np.abs(tiled.logits(PHOTO) - expected).max() <= TOLERANCE * spread

    def test_threads_that_call_at_the_same_time_have_their_own_answers(self, colour_model):
        predictor = Predictor(colour_model, engine="openvino")
        images = [np.roll(PHOTO, 7 * i, axis=1) for i in range(8)]
        expected = [predictor.logits(image) for image in images]
        with ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                for found, wanted in zip(pool.map(predictor.logits, images), expected, strict=True):
                    assert np.allclose(found, wanted, atol=1e-5 * np.ptp(wanted))
        mapped = list(predictor.map(images, "logits"))
        for found, wanted in zip(mapped, expected, strict=True):
            assert np.allclose(found, wanted, atol=1e-5 * np.ptp(wanted))

    def test_memory_that_was_released_is_taken_again(self, colour_model):
        predictor = Predictor(colour_model, engine="openvino")
        before = predictor.logits(PHOTO)
        predictor.release_memory()
        assert np.allclose(predictor.logits(PHOTO), before, atol=1e-5 * np.ptp(before))


class TestMemory:
    def test_it_is_measured_in_the_library_that_runs(self, colour_model, tmp_path, monkeypatch):
        monkeypatch.setattr(memory.platformdirs, "user_cache_dir", lambda _: str(tmp_path))
        engine = Engine(colour_model, runtime=Runtime("openvino"))
        found = memory.measure(engine, 1 << 30)
        assert found.per_pixel > 0
        (record,) = tmp_path.rglob("*.json")
        assert "openvino-cpu-" in record.name
        assert memory.measure(engine, 1 << 30) == found

    def test_the_limit_cuts_images_into_tiles(self, colour_model):
        predictor = Predictor(colour_model, engine="openvino", memory="600MiB")
        assert len(predictor.tiling((4000, 4000))) > 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"engine": "tensorrt"}, "engine is 'tensorrt'; accepted are 'onnxruntime', 'openv"),
            ({"device": "tpu"}, "device is 'tpu'; accepted are 'cpu', 'gpu'"),
        ],
    )
    def test_unknown_names(self, colour_model, given, words):
        with pytest.raises(ConfigError, match=words):
            Predictor(colour_model, **given)

    def test_a_library_that_is_not_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "unetkit.models.openvino_runtime", None)
        with pytest.raises(MissingExtraError, match=r"engine 'openvino' needs .*; pip install"):
            Runtime("openvino")

    def test_a_gpu_that_onnx_runtime_cannot_use(self, monkeypatch):
        monkeypatch.setattr(
            runtimes.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"]
        )
        words = r"ONNX Runtime 1\..* has CPUExecutionProvider only; accepted is 'cpu'; for a GPU"
        with pytest.raises(ConfigError, match=words):
            Runtime(device="gpu")

    @pytest.mark.skipif(
        "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has a GPU"
    )
    def test_a_provider_that_fails_is_not_replaced_by_the_processor(
        self, colour_model, monkeypatch
    ):
        names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(runtimes.onnxruntime, "get_available_providers", lambda: names)
        with (
            pytest.warns(UserWarning, match="CUDAExecutionProvider"),
            pytest.raises(ConfigError, match="CUDAExecutionProvider of ONNX Runtime cannot"),
        ):
            Predictor(colour_model, device="gpu")


def test_results_name_the_library(colour_model, tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    out = tmp_path / "out"
    words = ["predict", str(tmp_path / "a.png"), "-m", str(colour_model), "-o", str(out)]
    result = CliRunner().invoke(main, [*words, "--engine", "openvino"])
    assert result.exit_code == 0, result.output
    with Image.open(out / "a.png") as mask:
        assert json.loads(mask.text["unetkit"])["engine"] == Runtime("openvino").describe()
        assert (np.asarray(mask) == Predictor(colour_model)(PHOTO)).mean() > 0.999
