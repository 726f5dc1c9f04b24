"""Model files in ONNX Runtime: found, loaded or refused by name, and run on tiles."""

import hashlib
import itertools
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper
from scipy import special

from tests.conftest import export_untrained
from unetkit import Predictor
from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.errors import DataNotFoundError, ModelFileError, SizeError
from unetkit.io.pixel_format import PixelFormat
from unetkit.models.spec import METADATA_KEY
from unetkit.prediction import runtimes
from unetkit.prediction.engine import Engine, find_model, softmax

OTHER_SHAPE = (
    r"m\.onnx has an input or output whose shape differs from its metadata; accepted are models "
    "that unetkit exported; export it again from its run folder"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with the model file of a network that takes colour images of 32x48 pixels."""
    folder = tmp_path_factory.mktemp("run")
    scale = {"policy": "resize", "height": 32, "width": 48}
    export_untrained(folder / "model.onnx", PixelFormat(3), num_classes=3, **scale)
    return folder


@pytest.fixture(scope="module")
def engine(run):
    return Engine(run)


@pytest.fixture(scope="module")
def grey(grey_model):
    """Takes grey images of many sizes."""
    return Engine(grey_model)


def rewritten(run, path, spec=None, change=lambda model: None):
    """A copy of a model file with other metadata or another graph, and without its SHA-256."""
    model = onnx.load(run / "model.onnx")
    entries = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(entries)
    if spec is not None:
        entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
        entry.value = spec.to_json()
    change(model)
    onnx.save(model, path)
    return path


def tile_of(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


class TestFinding:
    def test_a_run_folder_stands_for_its_model_file(self, run):
        assert find_model(run) == find_model(str(run)) == run / "model.onnx"
        assert find_model(run / "model.onnx") == run / "model.onnx"

    def test_a_missing_model_is_reported(self, tmp_path):
        words = r"model .*nothing\.onnx does not exist; accepted is a run folder or an \.onnx file"
        for open_model in (find_model, Engine, Predictor):
            with pytest.raises(DataNotFoundError, match=words):
                open_model(tmp_path / "nothing.onnx")

    def test_a_folder_without_a_model_is_refused(self, tmp_path):
        words = r"holds no model\.onnx; accepted is the folder of a finished run, or .* file$"
        for open_model in (find_model, Engine, Predictor):
            with pytest.raises(DataNotFoundError, match=words):
                open_model(tmp_path)

    def test_a_run_without_its_model_is_exported_or_resumed(self, tmp_path):
        (tmp_path / "config.toml").touch()
        with pytest.raises(DataNotFoundError, match=r"; run: unetkit train --resume [^ ]+$"):
            find_model(tmp_path)
        (tmp_path / "best.weights.h5").touch()
        with pytest.raises(DataNotFoundError, match=r"export [^ ]+ --out [^ ]+model\.onnx$"):
            find_model(tmp_path)


class TestLoading:
    def test_the_digest_is_that_of_the_file(self, engine, run):
        content = (run / "model.onnx").read_bytes()
        assert engine.digest == hashlib.sha256(content).hexdigest()
        assert engine.path == run / "model.onnx"

    @pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07" * 50])
    def test_a_file_that_is_not_a_model_is_refused(self, tmp_path, content):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(ModelFileError, match=r"m\.onnx is not a model that can be loaded"):
            Predictor(tmp_path / "m.onnx")

    def test_a_truncated_model_is_refused(self, run, tmp_path):
        whole = (run / "model.onnx").read_bytes()
        (tmp_path / "m.onnx").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ModelFileError, match=r"m\.onnx is not a model that can be loaded"):
            Predictor(tmp_path / "m.onnx")

    def test_a_graph_that_the_runtime_refuses_is_reported_in_one_line(self, run, tmp_path):
        def confuse(model):
            node = next(node for node in model.graph.node if node.op_type == "Conv")
            node.op_type = "Relu"  # which has one input
            del node.attribute[:]

        path = rewritten(run, tmp_path / "m.onnx", change=confuse)
        words = (
            r"m\.onnx is not a model that can be loaded \([^\n]{1,200}\); accepted is a run folder "
            r"or an \.onnx file that unetkit exported; export it again$"
        )
        with pytest.raises(ModelFileError, match=words):
            Engine(path)

    def test_a_graph_whose_memory_cannot_be_computed_is_refused(self, run, tmp_path):
        def disconnect(model):
            model.graph.node[0].input[0] = "missing"

        path = rewritten(run, tmp_path / "m.onnx", change=disconnect)
        words = (
            r"^the memory that .*m\.onnx needs cannot be computed \(a node \w+ reads 'missing', "
            r"which nothing makes\); accepted is a run folder or .* export it again$"
        )
        with pytest.raises(ModelFileError, match=words):
            Engine(path)

    @pytest.mark.parametrize("kind", ["constant", "feature"])
    def test_a_small_file_that_needs_much_memory_is_refused_before_it_is_loaded(
        self, kind, run, tmp_path, monkeypatch
    ):
        def double(model):
            graph = model.graph
            start = graph.initializer[0].name if kind == "constant" else graph.input[0].name
            names = [start, *(f"doubled {i}" for i in range(30))]
            for place, (before, after) in enumerate(itertools.pairwise(names)):
                graph.node.insert(place, helper.make_node("Concat", [before] * 2, [after], axis=-1))

        path = rewritten(run, tmp_path / "m.onnx", change=double)
        monkeypatch.setattr(
            "unetkit.prediction.runtimes.onnxruntime.InferenceSession",
            lambda *args: pytest.fail("loaded"),
        )
        words = (
            r"^memory is 1,536 MiB; accepted are amounts from [\d,]{5,} MiB up, the need of one "
        )
        with pytest.raises(SizeError, match=words + r"32x48 tile of .*m\.onnx; allow more memory"):
            Engine(path)

    def test_a_tile_that_would_take_hours_is_refused(self, run, monkeypatch):
        monkeypatch.setattr("unetkit.prediction.engine.MOST_OPERATIONS", 1000)
        words = (
            r"model\.onnx multiplies [\d,]+ times for one 32x48 tile; accepted are up to 1,000; "
        )
        with pytest.raises(ModelFileError, match=words):
            Engine(run)

    @pytest.mark.parametrize(
        ("part", "values"),
        [
            ("scale", {"policy": "resize", "height": 30000, "width": 30000}),
            ("geometry", {"smallest_input": 65536}),
            ("geometry", {"margin": 20000, "smallest_input": 40001}),
            ("geometry", {"stride": 50000}),
        ],
    )
    def test_metadata_that_ask_for_large_tiles_are_refused(self, part, values, run, tmp_path):
        def claim(model):
            (entry,) = model.metadata_props
            raw = json.loads(entry.value)
            raw[part] |= values
            entry.value = json.dumps(raw)

        path = rewritten(run, tmp_path / "m.onnx", change=claim)
        with pytest.raises(SizeError, match=r"memory is 1,536 MiB; accepted are amounts from"):
            Predictor(path)

    def test_a_model_of_another_tool_is_refused(self, run, tmp_path):
        def forget(model):
            del model.metadata_props[:]

        path = rewritten(run, tmp_path / "m.onnx", change=forget)
        words = r"m\.onnx was not exported by unetkit: its metadata has no entry 'unetkit'"
        with pytest.raises(ModelFileError, match=words):
            Predictor(path)

    @pytest.mark.parametrize(
        "changes",
        [
            {"pixels": PixelFormat(1)},
            {"classes": replace(TRIMAP_CLASSES, names=("a", "b"), values=(1, 2), background=1,
                                border=None, colours=TRIMAP_CLASSES.colours[:2])},
        ],
        ids=["channels", "classes"],
    )  # fmt: skip
    def test_metadata_of_another_network_are_refused(self, changes, engine, run, tmp_path):
        path = rewritten(run, tmp_path / "m.onnx", replace(engine.spec, **changes))
        with pytest.raises(ModelFileError, match=OTHER_SHAPE):
            Predictor(path)

    def test_a_second_output_is_refused(self, run, tmp_path):
        def publish(model):
            inner = model.graph.node[0].output[0]
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(inner))

        path = rewritten(run, tmp_path / "m.onnx", change=publish)
        with pytest.raises(ModelFileError, match=OTHER_SHAPE):
            Engine(path)


class TestRunning:
    def test_logits_are_those_of_the_file_in_another_session(self, engine, run):
        tile = tile_of(32, 48)
        session = onnxruntime.InferenceSession(run / "model.onnx")
        (expected,) = session.run(None, {"image": tile[None].astype(np.float32)})
        logits = engine(tile)
        assert logits.dtype == np.float32
        assert logits.shape == (32, 48, 3)
        np.testing.assert_allclose(logits, expected[0], atol=1e-5)

    @pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
    def test_pixels_of_any_type_are_numbers(self, engine, dtype):
        tile = tile_of(32, 48)
        assert np.array_equal(engine(tile.astype(dtype)), engine(tile))

    def test_the_last_tile_changes_nothing_but_memory(self, grey):
        first, second = tile_of(64, 64, 1), tile_of(96, 64, 1, seed=1)
        expected = grey(first), grey(second)
        for tile, logits in zip((first, second), expected, strict=True):
            assert np.array_equal(grey(tile, is_last=True), logits)
        assert np.array_equal(grey(first), expected[0])

    def test_another_number_of_threads_does_not_read_the_file_again(self, grey, tmp_path):
        path = shutil.copy(grey.path, tmp_path / "m.onnx")
        one = Engine(path, threads=1)
        (tmp_path / "m.onnx").unlink()
        two = one.on_threads(2)
        assert two is not one
        assert (two.digest, two.spec, two.path) == (one.digest, one.spec, one.path)
        np.testing.assert_allclose(two(tile_of(64, 64, 1)), one(tile_of(64, 64, 1)), atol=1e-5)

    def test_the_same_number_of_threads_is_the_same_network(self, grey, monkeypatch):
        monkeypatch.setattr("unetkit.prediction.engine.usable_cores", lambda: 3)
        engine = Engine(grey.path)
        assert engine.on_threads(3) is engine
        assert engine.on_threads(1) is not engine

    @pytest.mark.parametrize(("asked", "given_to_runtime"), [(None, 0), (1, 1), (3, 3)])
    def test_the_runtime_uses_the_number_of_threads(
        self, asked, given_to_runtime, grey, monkeypatch
    ):
        found = []
        start = onnxruntime.InferenceSession

        def noted(content, options, **more):
            found.append(options.intra_op_num_threads)
            return start(content, options, **more)

        monkeypatch.setattr(runtimes.onnxruntime, "InferenceSession", noted)
        Engine(grey.path, threads=asked)
        assert found == [given_to_runtime]  # 0 is one thread a core

    def test_many_threads_call_one_network(self, grey):
        tiles = [tile_of(64, 64, 1, seed) for seed in range(6)]
        expected = [grey(tile) for tile in tiles]
        with ThreadPoolExecutor(3) as pool:
            for found, logits in zip(pool.map(grey, tiles), expected, strict=True):
                np.testing.assert_allclose(found, logits, atol=1e-5)

    def test_a_run_that_fails_is_reported(self, engine, run, tmp_path):
        words = (
            r"model\.onnx failed on 64x48 pixels at the network's scale \([^\n]{1,200}\); accepted "
            "are tiles that fit into memory; allow less memory, .*, or export the model again"
        )
        with pytest.raises(ModelFileError, match=words):
            engine(tile_of(64, 48))
        higher = replace(engine.spec.scale, height=64)  # the file takes 32 rows only
        path = rewritten(run, tmp_path / "m.onnx", replace(engine.spec, scale=higher))
        with pytest.raises(ModelFileError, match=r"m\.onnx failed on 64x48 pixels"):
            Predictor(path)(np.zeros((9, 9, 3), np.uint8))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_an_answer_that_is_not_finite_is_refused(self, value, run, tmp_path):
        def spoil(model):
            last = model.graph.node[-1]  # adds a value to the first class only
            values = onnx.numpy_helper.from_array(np.array([value, 0, 0], np.float32), "spoilt")
            model.graph.initializer.append(values)
            add = onnx.helper.make_node("Add", ["before", "spoilt"], [last.output[0]])
            last.output[0] = "before"
            model.graph.node.append(add)

        path = rewritten(run, tmp_path / "m.onnx", change=spoil)
        words = (
            r"m\.onnx answers with values that are not finite, so that no class can be told; "
            "accepted are models with finite weights; train again, or restore the file from a copy"
        )
        with pytest.raises(ModelFileError, match=words):
            Engine(path)(tile_of(32, 48))

    @pytest.mark.parametrize(("kind", "options"), [
        ("Concat", {"axis": 0}),  # two answers for one tile
        ("Slice", {}),  # none
    ])  # fmt: skip
    def test_an_answer_of_another_batch_is_refused(self, kind, options, run, tmp_path):
        def change(model):
            last = model.graph.node[-1]
            inputs = ["before", "before"]
            if kind == "Slice":
                zero = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "zero")
                model.graph.initializer.append(zero)
                inputs = ["before", "zero", "zero"]
            add = onnx.helper.make_node(kind, inputs, [last.output[0]], **options)
            last.output[0] = "before"
            model.graph.node.append(add)

        path = rewritten(run, tmp_path / "m.onnx", change=change)
        with pytest.raises(ModelFileError, match=OTHER_SHAPE):
            Engine(path)(tile_of(32, 48))

    def test_metadata_that_are_not_text_are_refused(self, run, tmp_path):
        content = rewritten(run, tmp_path / "m.onnx").read_bytes()
        (tmp_path / "m.onnx").write_bytes(content.replace(b'"preset"', b'"pres\xff\xfe"'))
        with pytest.raises(
            ModelFileError, match=r"m\.onnx is not a model that can be loaded \('utf"
        ):
            Engine(tmp_path / "m.onnx")

    def test_an_output_of_another_size_is_refused(self, engine, run, tmp_path):
        geometry = replace(engine.spec.geometry, margin=1)
        path = rewritten(run, tmp_path / "m.onnx", replace(engine.spec, geometry=geometry))
        with pytest.raises(ModelFileError, match=OTHER_SHAPE):
            Engine(path)(tile_of(32, 48))


class TestSoftmax:
    def test_two_equal_logits_are_halves(self):
        # exp(0) = 1 and exp(log 3) = 3: a quarter and three quarters.
        logits = np.array([[0, 0], [0, np.log(3)]], np.float32)
        np.testing.assert_allclose(softmax(logits), [[0.5, 0.5], [0.25, 0.75]], rtol=1e-6)

    @given(
        st.integers(1, 5).flatmap(
            lambda k: arrays(np.float32, (2, 3, k), elements=st.floats(-1e4, 1e4, width=32))
        )
    )
    def test_it_is_that_of_scipy(self, logits):
        kept = logits.copy()
        found = softmax(logits)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, special.softmax(logits.astype("f8"), -1), atol=1e-6)
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
        assert np.array_equal(logits, kept)

    def test_huge_logits_do_not_overflow(self):
        logits = np.array([3e38, -3e38, 3e38], np.float32)
        with np.errstate(over="ignore"):  # of the difference, whose power is 0
            assert softmax(logits).tolist() == [0.5, 0.0, 0.5]
