"""Networks in whole numbers: what they cost, that tiles are exact, and what is refused."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from tests.conftest import TINY_CONFIG
from unetkit import Predictor, train
from unetkit._shared import run_folder
from unetkit._shared.display import Display
from unetkit.cli.main import main
from unetkit.data.dataset import find_dataset
from unetkit.data.reading import read_pair
from unetkit.data.splits import read_split_names
from unetkit.errors import ConfigError, DataError, DataNotFoundError, ModelFileError
from unetkit.exports.export import export
from unetkit.exports.int8 import CALIBRATION_IMAGES, _replace_up_convolutions, _spread
from unetkit.prediction.tiling import smallest_tile

ANY_LOSS = 1.0


@pytest.fixture(scope="module")
def rounded(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    return export(run, weights="int8", max_loss=ANY_LOSS, out=path)


def quantized(path):
    """Kinds of nodes of a model file, and the types of its weights."""
    graph = onnx.load(path).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    return [node.op_type for node in graph.node], types


class TestFile:
    def test_all_convolutions_but_the_last_are_of_whole_numbers(self, rounded):
        kinds, types = quantized(rounded)
        assert kinds.count("QuantizeLinear") > 2
        convolutions = kinds.count("Conv")
        assert list(types.values()).count(onnx.TensorProto.INT8) >= convolutions - 1
        weights = [
            onnx.numpy_helper.to_array(tensor)
            for tensor in onnx.load(rounded).graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
        ]
        assert max(np.abs(array).max() for array in weights) <= 64  # seven bits
        floats = {
            tensor.name
            for tensor in onnx.load(rounded).graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 4
        }
        assert len(floats) == 1  # of the last convolution

    def test_up_convolutions_are_convolutions_of_whole_numbers(self, run, rounded):
        """ONNX Runtime has no kernel of whole numbers for transposed convolutions."""
        before = [node.op_type for node in onnx.load(run / run_folder.MODEL).graph.node]
        kinds, _ = quantized(rounded)
        assert before.count("ConvTranspose") == kinds.count("DepthToSpace") > 0
        assert "ConvTranspose" not in kinds

    def test_its_description_is_that_of_the_run(self, run, rounded):
        assert Predictor(rounded).spec == Predictor(run).spec
        assert Predictor(rounded).is_checkable

    def test_the_card_has_what_both_networks_score(self, run, rounded):
        """Counted here without the package: intersections and unions of all validation masks."""
        card, original = Predictor(rounded).card, Predictor(run)
        assert card.original == original.digest
        data = find_dataset(run_folder.load_config(run)["data"])
        names = read_split_names(run / run_folder.SPLIT)
        pairs = [pair for pair in data.pairs if pair.name in set(names["validation"])]
        assert card.validation_images == len(pairs)
        assert card.calibration_images == min(CALIBRATION_IMAGES, len(names["train"]))
        classes = original.spec.classes
        for predictor, score in (
            (Predictor(rounded), card.mean_iou),
            (original, card.original_mean_iou),
        ):
            both, either = np.zeros(len(classes)), np.zeros(len(classes))
            for pair in pairs:
                image, truth = read_pair(pair, classes, original.spec.pixels)
                found = predictor(image)
                for k in range(len(classes)):
                    seen = truth != 255
                    both[k] += ((truth == k) & (found == k)).sum()
                    either[k] += (((truth == k) | (found == k)) & seen).sum()
            assert score == pytest.approx(np.mean(both / either))
        image = read_pair(pairs[0], classes, original.spec.pixels)[0]
        assert (Predictor(rounded)(image) == original(image)).mean() > 0.5
        assert card.equal_labels > 0.5

    def test_a_card_that_was_changed_is_refused(self, rounded, tmp_path):
        proto = onnx.load(rounded)
        for entry in proto.metadata_props:
            if entry.key == "unetkit.int8":
                entry.value = json.dumps({**json.loads(entry.value), "mean_iou": 2})
        kept = [entry for entry in proto.metadata_props if entry.key != "unetkit.sha256"]
        del proto.metadata_props[:]
        proto.metadata_props.extend(kept)
        onnx.save(proto, tmp_path / "m.onnx")
        with pytest.raises(ModelFileError, match=r"m\.onnx.*mean_iou.* accepted are models"):
            Predictor(tmp_path / "m.onnx")


def up_convolution(rng, kernel, stride, **attributes):
    """A graph of one transposed convolution, from 5 channels to 3."""
    arrays = {
        "kernel": rng.normal(0, 1, (5, 3, *kernel)).astype(np.float32),
        "bias": rng.normal(0, 1, 3).astype(np.float32),
    }
    node = onnx.helper.make_node(
        "ConvTranspose",
        ["x", *arrays],
        ["y"],
        name="up",
        kernel_shape=kernel,
        strides=[stride, stride],
        **attributes,
    )
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in "xy"
    ]
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph([node], "up", values[:1], values[1:], initializers)
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


class TestUpConvolutions:
    @pytest.mark.parametrize(
        ("kernel", "stride", "pads", "extra"),
        [
            ((2, 2), 2, (0, 0, 0, 0), (0, 0)),
            ((3, 3), 2, (0, 0, 1, 1), (0, 0)),  # as Keras pads
            ((3, 3), 2, (1, 1, 0, 0), (0, 0)),
            ((1, 2), 2, (0, 0, 0, 0), (1, 0)),
            ((5, 4), 2, (2, 1, 1, 1), (0, 0)),
            ((4, 7), 3, (1, 0, 0, 4), (0, 0)),
        ],
    )
    def test_the_sums_are_those_of_the_transposed_convolution(self, kernel, stride, pads, extra):
        """Beside ONNX Runtime's own, and with every border of a small image."""
        rng = np.random.default_rng(0)
        model = up_convolution(rng, kernel, stride, pads=pads, output_padding=extra)
        image = rng.normal(0, 1, (2, 5, 4, 6)).astype(np.float32)
        answers = []
        for replace in (False, True):
            if replace:
                _replace_up_convolutions(model.graph)
                assert [one.op_type for one in model.graph.node] == ["Conv", "DepthToSpace"]
            session = onnxruntime.InferenceSession(model.SerializeToString())
            answers.append(session.run(None, {"x": image})[0])
        assert answers[0].shape == (2, 3, 4 * stride, 6 * stride)
        np.testing.assert_allclose(*answers, atol=1e-5)

    @pytest.mark.parametrize(
        "attributes",
        [
            {"pads": [0, 0, 0, 0]},  # one row and column more than twice the input
            {"pads": [0, 0, 1, 1], "dilations": [2, 2]},
            {"auto_pad": "SAME_UPPER"},
            {"output_shape": [8, 12]},
        ],
    )
    def test_those_of_another_form_stay(self, attributes):
        model = up_convolution(np.random.default_rng(0), (3, 3), 2, **attributes)
        before = model.SerializeToString(deterministic=True)
        _replace_up_convolutions(model.graph)
        assert model.SerializeToString(deterministic=True) == before


class TestTiles:
    @pytest.mark.parametrize("filters", [[4, 8], [6, 8, 12]])
    def test_tiles_are_exact_beside_one_run(self, disks, filters, tmp_path):
        """The features of a tile are rounded to the same numbers as those of the whole image."""
        scale = {"policy": "native", "height": 32, "width": 32}
        network = {**TINY_CONFIG["network"], "filters": filters}
        config = {**TINY_CONFIG, "scale": scale, "network": network, "classes": {"ignore": 255}}
        run = train(disks, out=tmp_path / "run", config=config)
        path = export(run, weights="int8", max_loss=ANY_LOSS, out=tmp_path / "m.onnx")
        whole = Predictor(path)
        assert whole.spec.scale.is_native
        tiled = Predictor(path, tile_pixels=smallest_tile(whole.spec.geometry) ** 2)
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 65_536, (40, 50), dtype=np.uint16)
        image = np.kron(coarse, np.ones((8, 8), np.uint16))
        assert len(tiled.tiling(image.shape)) > 4
        assert len(whole.tiling(image.shape)) == 1
        expected = whole.logits(image)
        spread = expected.max() - expected.min()
        assert spread > 0
        assert np.abs(tiled.logits(image) - expected).max() <= 1e-5 * spread
        assert (tiled(image) == whole(image)).all()


class TestRefusals:
    def test_a_loss_beyond_the_limit(self, run, tmp_path):
        words = r"loses -?0\.\d+ of mean IoU on its validation .*; accepted is a loss of up to -1"
        with pytest.raises(ModelFileError, match=words):
            export(run, weights="int8", max_loss=-1.0, out=tmp_path / "m.onnx")
        assert list(tmp_path.glob("*.onnx")) == []

    def test_a_run_without_its_data(self, run, tmp_path):
        copy = shutil.copytree(run, tmp_path / "run")
        words = r"the data of .* are not at .*none; accepted .* a run with its data: its training"
        with pytest.raises(DataNotFoundError, match=words):
            export(copy, weights="int8", data=tmp_path / "none", out=tmp_path / "m.onnx")

    def test_other_data(self, run, disks, tmp_path):
        with pytest.raises(DataError, match=r"has none of the \d+ train pairs; accepted"):
            export(run, weights="int8", data=disks, out=tmp_path / "m.onnx")

    def test_advice_on_damaged_data_is_that_of_this_command(self, pets, run, tmp_path):
        data = shutil.copytree(pets, tmp_path / "data")
        for mask in data.rglob("*.png"):
            mask.write_bytes(b"damage")
        words = r"[^;]*; accepted for whole numbers of 8 bits are the data of .* with --data$"
        with pytest.raises(DataError, match=words):
            export(run, weights="int8", max_loss=1.0, data=data, out=tmp_path / "m.onnx")
        assert list(tmp_path.glob("*.onnx")) == []

    def test_a_model_file(self, rounded, tmp_path):
        with pytest.raises(DataNotFoundError, match="accepted is the folder of a training run"):
            export(rounded, weights="int8", out=tmp_path / "m.onnx")

    def test_another_type_beside_int8(self, run, tmp_path):
        words = ["export", str(run), "--int8", "--weights", "float16", "-o", str(tmp_path / "m")]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 2
        assert "--int8 is given together with --weights float16; accepted is one" in result.output

    def test_other_formats(self, run, tmp_path):
        with pytest.raises(ConfigError, match="weights are 'int8' with format 'web'"):
            export(run, format="web", weights="int8", out=tmp_path / "m.html")


def test_the_command_says_what_it_costs(run, tmp_path):
    out = tmp_path / "m.onnx"
    words = ["export", str(run), "--int8", "--max-loss", "1", "-o", str(out)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    assert "of the original" in shown
    assert "% of labels are equal" in shown
    info = CliRunner().invoke(main, ["info", str(out)])
    assert "rounded from" in info.output


def test_images_are_spread_over_all():
    assert _spread(3, 64) == [0, 1, 2]
    assert _spread(11, 3) == [0, 5, 10]


def test_progress_is_shown(run, tmp_path):
    class Listener(Display):
        def __init__(self):
            self.said = []

        def waiting(self, text):
            self.said.append(text)

    listener = Listener()
    export(run, weights="int8", max_loss=1.0, out=tmp_path / "m.onnx", display=listener)
    assert any("calibrating on" in text for text in listener.said)
