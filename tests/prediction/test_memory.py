"""Amounts of memory, and the memory that a network needs."""

import hashlib
import json

import numpy as np
import pytest

from tests.conftest import export_untrained
from unetkit import Predictor
from unetkit._shared.memory_budget import DEFAULT_MEMORY
from unetkit.errors import ConfigError, ModelFileError, SizeError
from unetkit.models.known_models import remember
from unetkit.prediction import memory
from unetkit.prediction.engine import Engine
from unetkit.prediction.memory import MemoryUse, largest_tile, measure, parse_memory

MIB = 1 << 20


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    return tmp_path / "cache" / "memory"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GiB", 2**31),
        ("2 gib", 2**31),
        ("800M", 800_000_000),
        ("1.5GB", 1_500_000_000),
        ("1000000", 1_000_000),
        ("64KiB", 65536),
        ("1TiB", 2**40),
    ],
)
def test_an_amount_is_parsed_to_bytes(text, expected):
    assert parse_memory(text) == expected


@pytest.mark.parametrize("text", ["", "two", "2 GiBs", "-1GB", "1e9", "2G i B", "GiB", "i", "5i"])
def test_text_that_is_not_an_amount_is_refused(text):
    with pytest.raises(ConfigError, match=r"memory is .*accepted is an amount such as 2GiB"):
        parse_memory(text)


class TestMemoryUse:
    def test_pixels_and_bytes_are_inverse(self):
        memory_use = MemoryUse(base=100 * MIB, per_pixel=300.0)
        # 1024 MiB - 128 for reading and writing - 100 = 796 MiB, 300 bytes each
        assert memory_use.most_pixels(1024 * MIB) == 796 * MIB // 300
        assert memory_use.needed(796 * MIB // 300) <= 1024 * MIB

    def test_too_little_memory_is_refused_with_the_smallest_amount(self, tmp_path):
        memory_use = MemoryUse(base=100 * MIB, per_pixel=300.0)
        # 416 * 416 * 300 = 49.5 MiB, and 228
        words = rf"memory is 270 MiB; accepted are .*from 278 MiB up, .* 416x416 tile of {tmp_path}"
        with pytest.raises(SizeError, match=words):
            largest_tile(memory_use, 270 * MIB, (416, 416), tmp_path)
        assert largest_tile(memory_use, 278 * MIB, (416, 416), tmp_path) >= 416 * 416


class TestMeasuring:
    def test_it_has_the_size_of_the_feature_maps_and_is_cached(self, run, cache, monkeypatch):
        engine = Engine(run)
        found = measure(engine, 1 << 30)
        assert 30 * MIB < found.base < 2000 * MIB
        # The input alone takes 12 bytes per pixel.
        assert 12 < found.per_pixel < 100_000
        (file,) = cache.iterdir()
        assert json.loads(file.read_text())["base"] == found.base
        monkeypatch.setattr(memory, "_measure_in_process", lambda *args: pytest.fail("twice"))
        assert measure(engine, 1 << 30) == found

    @pytest.mark.parametrize(
        "content",
        ["", "{}", "[1]", '{"refused": 3, "memory": 1e12}', '{"base": -1, "per_pixel": 3}', "\0"],
    )
    def test_a_damaged_cache_file_is_measured_again(self, content, run, cache, monkeypatch):
        monkeypatch.setattr(memory, "_measure_in_process", lambda *args: MemoryUse(5, 6.0))
        engine = Engine(run)
        measure(engine, 1 << 30)
        (file,) = cache.iterdir()
        file.write_text(content)
        monkeypatch.setattr(memory, "_measure_in_process", lambda *args: MemoryUse(7, 8.0))
        assert measure(engine, 1 << 30) == MemoryUse(7, 8.0)

    def test_a_cache_that_cannot_be_written_is_no_error(self, run, cache, monkeypatch):
        cache.parent.write_text("a file in the way")
        monkeypatch.setattr(memory, "_measure_in_process", lambda *args: MemoryUse(5, 6.0))
        assert measure(Engine(run), 1 << 30) == MemoryUse(5, 6.0)

    def test_a_refusal_is_kept_for_the_same_file_under_any_name(self, run, tmp_path, monkeypatch):
        engine = Engine(run)
        refusal = f"{engine.path} answers with values that are not finite"
        monkeypatch.setattr(memory, "_measure_in_process", lambda *args: refusal)
        with pytest.raises(ModelFileError, match="not finite"):
            measure(engine, 1 << 30)
        monkeypatch.setattr(memory, "_measure_in_process", lambda *args: pytest.fail("twice"))
        engine.path = tmp_path / "other.onnx"
        with pytest.raises(ModelFileError, match=f"^{tmp_path}/other.onnx answers with values"):
            measure(engine, 1 << 30)

    def test_a_refusal_under_less_memory_is_measured_again(self, run, monkeypatch):
        engine = Engine(run)
        monkeypatch.setattr(memory, "_measure_in_process", lambda *args: "it failed")
        with pytest.raises(ModelFileError, match="it failed"):
            measure(engine, 1 << 30)
        monkeypatch.setattr(memory, "_measure_in_process", lambda *args: MemoryUse(5, 6.0))
        assert measure(engine, 1 << 31) == MemoryUse(5, 6.0)

    def test_a_failed_measurement_is_reported(self, run, tmp_path):
        engine = Engine(run)
        engine.path = tmp_path / "gone.onnx"
        with pytest.raises(ModelFileError, match=r"gone\.onnx needs cannot be measured .*gone"):
            measure(engine, 1 << 30)


class TestPredictor:
    def test_too_little_memory_is_refused_when_the_predictor_is_made(self, run):
        with pytest.raises(SizeError, match="memory is 100 MiB; accepted are amounts from"):
            Predictor(run, memory="100MiB")

    def test_memory_and_tile_pixels_together_are_refused(self, run):
        with pytest.raises(ConfigError, match="memory '1GiB' is given together with tile_pixels"):
            Predictor(run, memory="1GiB", tile_pixels=1 << 20)

    def test_more_memory_gives_larger_tiles(self, grey_model, monkeypatch):
        monkeypatch.setattr(
            memory, "_measure_in_process", lambda *args: MemoryUse(100 * MIB, 300.0)
        )
        small, large = (Predictor(grey_model, memory=amount) for amount in ("500MiB", "1GiB"))
        assert small.tiling((4000, 4000)).waste > large.tiling((4000, 4000)).waste
        height, width = large.tiling((4000, 4000)).tile_size
        assert height * width * 300 + 228 * MIB <= 1024 * MIB

    def test_an_image_of_few_pixels_needs_no_measurement_by_a_model_made_here(
        self, grey_model, monkeypatch
    ):
        remember(hashlib.sha256(grey_model.read_bytes()).hexdigest())
        monkeypatch.setattr(memory, "_measure_in_process", lambda *args: pytest.fail("measured"))
        assert Predictor(grey_model)(np.zeros((300, 200), np.uint8)).shape == (300, 200)

    @pytest.mark.parametrize("size", [(40, 50), (300, 200)])
    def test_a_model_of_unknown_origin_is_measured_before_it_runs(
        self, size, grey_model, monkeypatch
    ):
        asked = []

        def refuse(engine, limit):
            asked.append(limit)
            raise ModelFileError("it needs more")

        monkeypatch.setattr(memory, "_measure_in_process", refuse)
        predictor = Predictor(grey_model)  # reading its description needs no measurement
        with pytest.raises(ModelFileError, match="it needs more"):
            predictor(np.zeros(size, np.uint8))
        assert asked == [DEFAULT_MEMORY]

    def test_a_model_of_one_size_and_unknown_origin_is_measured_in_any_thread(
        self, tmp_path, monkeypatch
    ):
        path = export_untrained(tmp_path / "resize.onnx", policy="resize", height=32, width=48)
        (tmp_path / "cache" / "exported-models.txt").unlink()
        monkeypatch.setattr(
            memory, "_measure_in_process", lambda *args: MemoryUse(4000 * MIB, 10.0)
        )
        with pytest.raises(SizeError, match=r"memory is 1,536 MiB; accepted are .* 4,129 MiB up"):
            list(Predictor(path).map([np.zeros((9, 9), np.uint8)] * 3))
