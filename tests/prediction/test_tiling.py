"""Tiles that cover every pixel once, and give what one run over the whole picture gives."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from threading import Event

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from tests.models.test_onnx_import import export_to
from unetkit import Predictor
from unetkit.errors import ConfigError, SizeError
from unetkit.io.windows import ArrayWindows
from unetkit.models.geometry import Geometry, unet_geometry
from unetkit.models.keras_encoders import KERAS_ENCODERS
from unetkit.models.unet import PRESETS, UNetConfig, build_unet
from unetkit.prediction.tiling import (
    Span,
    apply_tiles,
    choose_tiles,
    cut,
    mirrored_indices,
    read_tile,
    smallest_tile,
)

tf = pytest.importorskip("tensorflow")

PAPER = unet_geometry(depth=4, padding="valid")
GEOMETRIES = {
    "fast": unet_geometry(4, "same", 2, 2, True),
    "notebook": unet_geometry(4, "same", 1, 3, True),
    "paper": PAPER,
    "one pooling": unet_geometry(1, "same"),
    "two, stem": unet_geometry(2, "same", 2, 3),
    "one, unpadded": unet_geometry(1, "valid"),
    "two, unpadded, head": unet_geometry(2, "valid", head=True),
}
STEADY = settings(derandomize=True, max_examples=100)


@st.composite
def cuttings(draw, largest=700):
    """A geometry, a size, and a tile size that it permits."""
    geometry = draw(st.sampled_from(list(GEOMETRIES.values())))
    size = draw(st.integers(1, largest))
    least = smallest_tile(geometry)
    tile = least + draw(st.integers(0, largest // geometry.stride)) * geometry.stride
    return geometry, size, tile


class TestMargins:
    def test_of_the_presets_at_the_edge_of_a_tile(self):
        # By walking back from row 0 and from row stride - 1, as in test_geometry.
        edges = {name: (g.tile_before, g.tile_after) for name, g in GEOMETRIES.items()}
        assert edges["fast"] == (188, 189)
        assert edges["notebook"] == (110, 94)
        assert edges["paper"] == (0, 0)

    def test_one_pooling_by_hand(self):
        # Rows 0 and 1 of a stride of 2: see test_geometry for one: -8 ... 9 and -8 ... 9.
        geometry = GEOMETRIES["one pooling"]
        assert (geometry.tile_before, geometry.tile_after) == (8, 8)

    def test_the_smallest_tile(self):
        # 192 on either side and a stride of 32; 112 before, 96 after and 16.
        assert smallest_tile(GEOMETRIES["fast"]) == 192 + 192 + 32
        assert smallest_tile(GEOMETRIES["notebook"]) == 112 + 96 + 16
        assert smallest_tile(PAPER) == 204  # outputs of 20, of which a stride of 16 is stepped


class TestCutting:
    def test_the_papers_tiles_step_by_384(self):
        tiling = cut((388 + 384, 388), PAPER, (572, 572))
        assert tiling.rows == (Span(-92, 572, (0, 384)), Span(384 - 92, 572, (384, 772)))
        assert tiling.columns == (Span(-92, 572, (0, 388)),)
        assert tiling.tile_size == (572, 572)

    def test_a_padded_network_by_hand(self):
        # 8 rows are lost where a tile ends inside: tiles of 32 step by 16.
        tiling = cut((64, 1), GEOMETRIES["one pooling"], (32, 2))
        assert tiling.rows == (
            Span(0, 32, (0, 24)),
            Span(16, 32, (24, 40)),
            Span(32, 32, (40, 64)),
        )
        assert tiling.waste == 3 * 32 / 64

    def test_as_many_smaller_tiles_are_preferred(self):
        # Tiles of 60 step by 44: two of them would cover 104 of 64, two of 40 (step 24) just do.
        assert cut((64, 2), GEOMETRIES["one pooling"], (60, 2)).tile_size == (40, 2)

    def test_a_tile_that_covers_all_is_one_run(self):
        tiling = cut((100, 70), GEOMETRIES["fast"])
        assert len(tiling) == 1
        assert tiling.tile_size == (128, 96)
        assert tiling.waste == 1
        assert tiling.describe() == "one run of 128x96"

    def test_the_description_names_the_waste(self):
        tiling = cut((64, 1), GEOMETRIES["one pooling"], (32, 2))
        assert tiling.describe() == "3 tiles of 32x2, 1.50 times the work of one run"

    @given(cuttings())
    @STEADY
    def test_every_row_is_kept_once_and_is_exact(self, cutting):
        geometry, size, tile = cutting
        spans = cut((size, 1), geometry, (tile, tile)).rows
        assert [span.kept[0] for span in spans] == [0, *(span.kept[1] for span in spans[:-1])]
        assert spans[-1].kept[1] == size
        assert len({span.size for span in spans}) == 1
        whole = geometry.input_size(size)
        for span in spans:
            shown = span.start + geometry.margin, span.start + geometry.margin + span.size
            assert shown[0] % geometry.stride == 0
            assert 0 <= shown[0] < shown[1] <= whole
            assert geometry.output_size(span.size)
            first, last = shown[0], shown[1] - 2 * geometry.margin
            assert first == 0 or span.kept[0] >= first + geometry.tile_before
            assert shown[1] == whole or span.kept[1] <= last - geometry.tile_after
            assert span.kept[0] < span.kept[1]

    @given(cuttings())
    @STEADY
    def test_one_tile_less_is_not_enough(self, cutting):
        geometry, size, tile = cutting
        spans = cut((size, 1), geometry, (tile, tile)).rows
        if len(spans) > 1:
            least = spans[0].size - geometry.stride  # a smaller tile
            fewer = len(spans)
            if least >= smallest_tile(geometry):
                assert len(cut((size, 1), geometry, (least, tile)).rows) > fewer
            assert all(before.start < after.start for before, after in pairwise(spans))

    @pytest.mark.parametrize(
        ("tile", "words"),
        [
            (400, r"tile size 384 is too small .*accepted are sizes from 416 up"),
            (401, r"input size 401 does not fit this network; .*the nearest are 384 and 416"),
        ],
    )
    def test_an_impossible_tile_is_refused(self, tile, words):
        tile -= 16 if tile == 400 else 0
        with pytest.raises(SizeError, match=words):
            cut((1000, 1000), GEOMETRIES["fast"], (tile, 1024))


class TestChoosing:
    @pytest.mark.parametrize("name", GEOMETRIES)
    @pytest.mark.parametrize("size", [(1, 1), (300, 5000), (4000, 1100)])
    def test_no_tile_is_larger_than_allowed_and_more_memory_wastes_no_more(self, name, size):
        wastes = []
        for most_pixels in (1 << 18, 1 << 20, 1 << 22):
            tiling = choose_tiles(size, GEOMETRIES[name], most_pixels)
            height, width = tiling.tile_size
            assert height * width <= most_pixels
            wastes.append(tiling.waste)
        assert wastes == sorted(wastes, reverse=True)

    def test_it_finds_the_smallest_waste(self):
        geometry = GEOMETRIES["two, stem"]
        best = min(
            cut((500, 333), geometry, (height, width)).waste
            for height in range(smallest_tile(geometry), 520, geometry.stride)
            for width in range(smallest_tile(geometry), 360, geometry.stride)
            if height * width <= 20_000
        )
        assert choose_tiles((500, 333), geometry, 20_000).waste == best

    def test_strips_waste_less_than_squares(self):
        tiling = choose_tiles((8192, 1024), GEOMETRIES["notebook"], 1 << 20)
        assert tiling.tile_size[1] == 1024
        assert len(tiling.columns) == 1
        assert tiling.waste < 1.3

    def test_too_few_pixels_are_refused_with_the_smallest_number(self):
        with pytest.raises(SizeError, match=r"most_pixels is 999; accepted are .*from 173056 up"):
            choose_tiles((5000, 5000), GEOMETRIES["fast"], 999)
        assert choose_tiles((5000, 5000), GEOMETRIES["fast"], 416 * 416).tile_size == (416, 416)
        with pytest.raises(SizeError, match=r"accepted are numbers from 13312 up"):
            choose_tiles((5000, 20), GEOMETRIES["fast"], 999)  # 416 x 32


class TestMirroring:
    @given(st.integers(1, 30), st.integers(0, 100), st.integers(0, 100))
    @STEADY
    def test_it_is_numpys(self, size, before, after):
        expected = np.pad(np.arange(size), (before, after), mode="reflect")
        span = Span(-before, before + size + after, (0, size))
        assert mirrored_indices(span, size).tolist() == expected.tolist()


def stitch(network, image, tiling):
    """(H, W, K): a network's answer to (H, W, C), in tiles; without blending each pixel once."""
    found, times = None, np.zeros(image.shape[:2], int)

    def write(number, answer):
        nonlocal found
        if found is None:
            found = np.zeros((*image.shape[:2], answer.shape[2]), np.float32)
        found[tiling.kept(number)] += answer
        times[tiling.kept(number)] += 1

    picture = ArrayWindows(image)
    apply_tiles(tiling, lambda *spans: read_tile(picture, *spans), network, write)
    assert (times >= 1).all()
    assert (times == 1).all() or not tiling.is_exact
    return found


class TestStitching:
    @given(cuttings(largest=120), st.integers(1, 120))
    @STEADY
    def test_a_network_whose_output_is_known(self, cutting, width):
        geometry, height, tile = cutting
        image = np.random.default_rng(0).random((height, width, 2)).astype(np.float32)
        margin = geometry.margin

        def add_one(tile):
            return tile[margin : len(tile) - margin, margin : tile.shape[1] - margin] + 1

        tiling = cut((height, width), geometry, (tile, tile))
        assert np.array_equal(stitch(add_one, image, tiling), image + 1)

    def test_the_next_tile_is_read_before_the_last_is_written(self):
        tiling = cut((64, 1), GEOMETRIES["one pooling"], (32, 2))
        events = []
        reading_ahead = Event()

        def read(rows, columns):
            events.append(("read", rows.start))
            if rows.start == 16:
                reading_ahead.set()
            return np.zeros((rows.size, columns.size, 1))

        def network(tile):
            assert reading_ahead.wait(10)  # else nothing would be read while the network works
            return tile

        apply_tiles(tiling, read, network, lambda number, _: events.append(("write", number)))
        assert [e for e in events if e[0] == "read"] == [("read", 0), ("read", 16), ("read", 32)]
        assert [e for e in events if e[0] == "write"] == [("write", n) for n in range(3)]

    def test_finished_tiles_are_skipped(self):
        tiling = cut((64, 1), GEOMETRIES["one pooling"], (32, 2))
        written = []

        def read(rows, columns):
            return np.zeros((rows.size, columns.size, 1))

        apply_tiles(tiling, read, lambda tile: tile, lambda n, _: written.append(n), [1])
        assert written == [1]
        apply_tiles(tiling, read, lambda tile: tile, lambda n, _: written.append(n), [])
        assert written == [1]

    @pytest.mark.parametrize("where", ["read", "network", "write"])
    def test_an_error_in_any_thread_is_raised(self, where):
        tiling = cut((64, 1), GEOMETRIES["one pooling"], (32, 2))
        calls = {"read": 0, "network": 0, "write": 0}

        def step(name, result):
            calls[name] += 1
            if name == where and calls[name] == 2:
                raise OSError(28, "No space left on device")
            return result

        def read(rows, columns):
            return step("read", np.zeros((rows.size, columns.size, 1)))

        with pytest.raises(OSError, match="No space left"):
            apply_tiles(
                tiling, read, lambda tile: step("network", tile), lambda *_: step("write", None)
            )


class TestBlending:
    """Margins smaller than exact ones."""

    @given(cuttings(), st.integers(0, 200))
    @STEADY
    def test_weights_sum_to_one_at_each_pixel(self, cutting, margin):
        geometry, size, tile = cutting
        tiling = cut((size, 37), geometry, (tile, geometry.input_size(37)), margin)
        total = np.zeros((size, 37, 1))
        for number in range(len(tiling)):
            weights = tiling.weights(number)
            total[tiling.kept(number)] += 1 if weights is None else weights
        np.testing.assert_allclose(total, 1, atol=1e-6)

    @given(cuttings(largest=120), st.integers(1, 120), st.integers(0, 60))
    @STEADY
    def test_blending_does_not_change_a_network_of_single_pixels(self, cutting, width, margin):
        geometry, height, tile = cutting
        image = np.random.default_rng(0).random((height, width, 2)).astype(np.float32)
        lost = geometry.margin

        def add_one(tile):
            return tile[lost : len(tile) - lost, lost : tile.shape[1] - lost] + 1

        tiling = cut((height, width), geometry, (tile, tile), margin)
        np.testing.assert_allclose(stitch(add_one, image, tiling), image + 1, atol=1e-5)

    def test_a_smaller_margin_is_cheaper_and_not_exact(self):
        exact = choose_tiles((5000, 5000), GEOMETRIES["fast"], 1 << 20)
        blended = choose_tiles((5000, 5000), GEOMETRIES["fast"], 1 << 20, margin=64)
        assert exact.is_exact
        assert not blended.is_exact
        assert blended.waste < exact.waste / 1.5
        assert blended.describe().endswith(", blended and not exact")

    def test_the_exact_margin_and_more_is_exact(self):
        geometry = GEOMETRIES["fast"]  # 188 before, 189 after
        for margin in (189, 192, 5000):
            assert choose_tiles((5000, 900), geometry, 1 << 20, margin).is_exact
        assert not choose_tiles((5000, 900), geometry, 1 << 20, 188).is_exact
        assert choose_tiles((5000, 900), PAPER, 1 << 20, 0).is_exact  # it loses its own margin

    def test_weights_by_hand(self):
        # Tiles of 32 with a margin of 4 on either side step by 24: rows 0 to 31 and 24 to 55. In
        # the 8 rows that both show, the first one falls from 7.5 / 8 to 0.5 / 8.
        tiling = cut((56, 1), GEOMETRIES["one pooling"], (32, 2), margin=4)
        first, second = (tiling.weights(n)[:, 0, 0] for n in range(2))
        falling = np.arange(7.5, 0, -1) / 8
        np.testing.assert_allclose(first, [*np.ones(24), *falling], atol=1e-6)
        np.testing.assert_allclose(second, [*falling[::-1], *np.ones(24)], atol=1e-6)

    def test_a_negative_margin_is_refused(self):
        with pytest.raises(ConfigError, match="margin is -1; accepted are whole numbers from 0"):
            cut((100, 100), GEOMETRIES["fast"], margin=-1)


def far_sighted(config: UNetConfig, tap: int) -> keras.Model:
    """Looks as far as it can to one side: each kernel takes its first or its last neighbour."""
    rng = np.random.default_rng(4)
    model = build_unet(config, in_channels=1, num_classes=2)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2DTranspose):
            layer.kernel.assign(np.full(layer.kernel.shape, 1 / layer.kernel.shape[3]))
        elif isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            kernel = np.zeros(layer.kernel.shape)
            is_depthwise = isinstance(layer, layers.DepthwiseConv2D)
            kernel[tap, tap] = 1 if is_depthwise else 1 / kernel.shape[2]
            is_mixed = config.encoder in KERAS_ENCODERS and layer.name.startswith("encoder")
            if is_mixed and not is_depthwise:
                # Layer normalisation removes equal channels; and a block is to give more than the
                # shortcut around it, which sees less far.
                kernel[tap, tap] = rng.normal(0, 3 * kernel.shape[2] ** -0.5, kernel.shape[2:])
            if layer.name == "encoder1_stem":  # nine sums double it, and none may reach 6
                kernel /= 200
            features = layer.kernel.shape[3]
            if not config.has_own_encoder and layer.name.startswith("decoder"):
                kernel[tap, tap] = 0  # of many channels of skip connections, which see less far
                kernel[tap, tap, :features] = 1 / features
            layer.kernel.assign(kernel)
    return model


def ordinary(config: UNetConfig) -> keras.Model:
    """Random weights, and statistics as after a training."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(3)
    model = build_unet(config, in_channels=1, num_classes=2)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
        elif isinstance(layer, layers.Conv2D) and layer.bias is not None:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    return model


def difference(model, geometry: Geometry, size, tile_size, seed=0) -> float:
    """Largest difference of a logit between tiles and one run, relative to the logits' range."""
    image = np.random.default_rng(seed).uniform(0.5, 1, (*size, 1)).astype(np.float32)

    def answer(tile):
        return np.asarray(model(tile[None], training=False))[0]

    whole = stitch(answer, image, cut(size, geometry))
    tiled = stitch(answer, image, cut(size, geometry, tile_size))
    return float(np.abs(tiled - whole).max() / max(np.ptp(whole), 1e-6))


NETWORKS = {
    **{
        name: replace(config, filters=(2,) * 5, head_filters=2 * bool(config.head_filters))
        for name, config in PRESETS.items()
    },
    "plain": UNetConfig((2,) * 5, residual=False, stem_stride=1, head_filters=0),
    "two levels": replace(PRESETS["fast"], filters=(2, 2, 2), head_filters=2),
    "two levels, three taps": replace(PRESETS["notebook"], filters=(2, 2, 2), head_filters=0),
    **{
        name: replace(PRESETS["pretrained"], filters=(2, 2, 2), encoder=name)
        for name in KERAS_ENCODERS
    },
    "one level, unpadded": replace(PRESETS["paper"], filters=(2, 2)),
}
PADDED = [name for name, config in NETWORKS.items() if config.padding == "same"]
LEVELS = [name for name in NETWORKS if "level" in name]


@cache
def network(name: str, kind: str) -> keras.Model:
    config = NETWORKS[name]
    return (
        ordinary(config)
        if kind == "ordinary"
        else far_sighted(config, {"first": 0, "last": -1}[kind])
    )


@cache
def traced(name: str, kind: str) -> Callable[..., tf.Tensor]:
    """The same as one graph for every size: faster where it has many tiles to answer."""
    model = network(name, kind)
    signature = [tf.TensorSpec((None, None, None, 1), tf.float32)]
    graph = tf.function(lambda tile: model(tile, training=False), input_signature=signature)
    return lambda tile, training: graph(tile)


def long_image(geometry: Geometry) -> tuple[tuple[int, int], int]:
    """A size of some tiles, wide enough for what shifts to stay inside; and the side of a tile."""
    tile = smallest_tile(geometry) + 3 * geometry.stride
    shift = max(geometry.reach_before, geometry.reach_after)
    return (2 * tile - 5, max(8 * geometry.stride, shift + geometry.stride) - 3), tile


class TestNetworks:
    """Real ones, of every preset, in float32."""

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            (name, kind)
            for name in NETWORKS
            for kind in ("ordinary", "first", "last")
            if kind != "ordinary" or name not in KERAS_ENCODERS  # large, and seen far by the others
        ],
    )
    def test_tiles_equal_one_run(self, name, kind):
        geometry = NETWORKS[name].geometry
        size, tile = long_image(geometry)
        for turned in (size, size[::-1]):
            assert difference(network(name, kind), geometry, turned, (tile, tile)) <= 1e-5

    @pytest.mark.parametrize(("side", "kind"), [("before", "first"), ("after", "last")])
    @pytest.mark.parametrize("name", PADDED)
    def test_a_margin_one_stride_smaller_is_not_exact(self, name, side, kind):
        geometry = NETWORKS[name].geometry
        margin = -(-getattr(geometry, f"tile_{side}") // geometry.stride) * geometry.stride
        smaller = replace(geometry, **{f"tile_{side}": margin - geometry.stride})
        size, tile = long_image(geometry)
        for turned in (size, size[::-1]):
            assert difference(network(name, kind), smaller, turned, (tile, tile)) > 1e-3

    @given(
        name=st.sampled_from(LEVELS),
        kind=st.sampled_from(["ordinary", "first", "last"]),
        size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
        more=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    )
    @settings(derandomize=True, max_examples=30)
    def test_any_size_in_any_tiles(self, name, kind, size, more):
        geometry = NETWORKS[name].geometry
        least = smallest_tile(geometry)
        tile_size = (least + more[0] * geometry.stride, least + more[1] * geometry.stride)
        assert difference(traced(name, kind), geometry, size, tile_size) <= 1e-5


class TestPredictor:
    """Exported networks, as a user predicts with them."""

    @pytest.mark.parametrize("name", ["fast", "notebook", "paper"])
    def test_tiles_give_the_result_of_one_run(self, name, tmp_path):
        config = replace(NETWORKS[name], filters=(2, 2, 3))
        keras.utils.set_random_seed(4)
        model = build_unet(config, in_channels=3, num_classes=3)
        path = export_to(tmp_path / "model.onnx", model, config)
        picture = np.random.default_rng(5).integers(0, 256, (301, 187, 3), dtype=np.uint8)
        whole = Predictor(path, tile_pixels=1 << 20).probabilities(picture)
        least = smallest_tile(config.geometry) ** 2
        tiled = Predictor(path, tile_pixels=least).probabilities(picture)
        assert len(choose_tiles((301, 187), config.geometry, least)) > 4
        assert np.abs(tiled - whole).max() <= 1e-5
        assert (tiled.argmax(-1) == whole.argmax(-1)).mean() > 0.9999  # ties may fall either way

    def test_a_tile_that_is_too_small_is_refused_before_anything_is_read(self, tmp_path):
        config = NETWORKS["two levels"]
        model = build_unet(config, in_channels=3, num_classes=3)
        path = export_to(tmp_path / "model.onnx", model, config)
        least = smallest_tile(config.geometry) ** 2
        with pytest.raises(
            SizeError, match=rf"tile_pixels is 100; accepted are .* from {least} up"
        ):
            Predictor(path, tile_pixels=100)

    def test_an_image_resized_to_one_size_is_one_run(self, tmp_path):
        config = NETWORKS["two levels"]
        model = build_unet(config, in_channels=3, num_classes=3)
        path = export_to(tmp_path / "model.onnx", model, config, policy="resize")
        least = smallest_tile(config.geometry) ** 2
        black = np.zeros((500, 500, 3), np.uint8)
        assert Predictor(path)(black).shape == (500, 500)
        assert Predictor(path, tile_pixels=least)(black).shape == (500, 500)
