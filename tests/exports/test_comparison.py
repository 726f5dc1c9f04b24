"""What an exported network is compared on, and what is refused."""

import re

import numpy as np
import pytest

from tests.conftest import export_untrained
from unetkit.data.scale import Scale, image_to_network
from unetkit.errors import ModelFileError
from unetkit.exports.comparison import REPEATS, Comparison, compare_networks, tiles_of
from unetkit.prediction.engine import Engine

IMAGES = [np.random.default_rng(i).integers(0, 256, (70, 90, 3), np.uint8) for i in range(2)]


class TestTiles:
    def test_a_native_network_is_given_smaller_and_larger_ones_than_in_training(self, colour_model):
        spec = Engine(colour_model).spec  # trained on 64x64, with a stride of 8
        found = tiles_of(IMAGES, spec, any_size=True)
        assert [tile.shape[1:3] for tile in found] == 2 * [(56, 56), (72, 72)]
        assert np.array_equal(found[0][0], IMAGES[0][:56, :56])
        # The image has 70 rows; the others are mirrored.
        assert np.array_equal(
            found[1][0], np.pad(IMAGES[0], ((0, 2), (0, 0), (0, 0)), "reflect")[:, :72]
        )

    def test_a_network_of_one_size_is_given_that(self, colour_model, tmp_path):
        spec = Engine(colour_model).spec
        assert [tile.shape for tile in tiles_of(IMAGES, spec, any_size=False)] == 2 * [
            (1, 64, 64, 3)
        ]
        resized = export_untrained(tmp_path / "m.onnx", spec.pixels, policy="resize", width=96)
        (tile, _) = tiles_of(IMAGES, Engine(resized).spec, any_size=True)
        expected = image_to_network(IMAGES[0], Scale("resize", 64, 96))
        assert np.array_equal(tile[0], expected)


class TestComparison:
    def test_the_difference_is_the_largest_one(self, colour_model):
        engine = Engine(colour_model)

        def network(tile):
            found = engine(tile[0])[None].copy()
            found[0, 3, 5, 1] += 1e-4
            return found

        found = compare_networks(network, engine, IMAGES, "own", any_size=True)
        assert found.difference == pytest.approx(1e-4, rel=0.01)
        assert found.size == (72, 72)
        assert found.images == "2 own images"

    def test_only_tiles_of_one_size_are_timed(self, colour_model):
        engine, sizes = Engine(colour_model), []

        def network(tile):
            sizes.append(tile.shape[1])
            return engine(tile[0])[None]

        compare_networks(network, engine, IMAGES, "own", any_size=True)
        assert sizes.count(56) == 2
        assert sizes.count(72) == 2 * (1 + REPEATS)

    @pytest.mark.parametrize("wrong", [0.01, np.nan])
    def test_more_than_rounding_is_refused(self, wrong, colour_model):
        engine = Engine(colour_model)
        words = rf"differs from {re.escape(str(colour_model))} by .* in logits of up to"
        with pytest.raises(ModelFileError, match=words):
            compare_networks(
                lambda tile: engine(tile[0])[None] + np.float32(wrong), engine, IMAGES, "own", True
            )

    def test_it_is_described_in_one_line(self):
        found = Comparison(2.4e-6, 0.0354, 0.02, (64, 96), "4 validation images").describe()
        assert found == (
            "largest difference from the model file 2e-06 on 4 validation images; 35 ms for 64x96 "
            "pixels, the model file 20 ms"
        )
