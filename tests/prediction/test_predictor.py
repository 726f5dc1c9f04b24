"""One picture or many, of whatever type, to labels, probabilities and logits."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from unetkit import Predictor
from unetkit.errors import ConfigError, DataError, SizeError
from unetkit.prediction.predictor import labels_of
from unetkit.prediction.tiling import smallest_tile


def picture(size=(150, 210), seed=0):
    """Smooth noise, so that answers differ from place to place; (H, W) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8), np.uint8))[: size[0], : size[1]]


@pytest.fixture(scope="module")
def grey(grey_model):
    return Predictor(grey_model)


@pytest.fixture(scope="module")
def tiled(grey_model):
    least = smallest_tile(Predictor(grey_model).spec.geometry) ** 2
    return Predictor(grey_model, tile_pixels=least)


@pytest.fixture(scope="module")
def half(half_model):
    return Predictor(half_model)


class TestAnswers:
    def test_labels_probabilities_and_logits_agree(self, grey):
        image = picture()
        logits, probabilities = grey.logits(image), grey.probabilities(image)
        powers = np.exp(logits.astype(np.float64))
        np.testing.assert_allclose(probabilities, powers / powers.sum(-1, keepdims=True), atol=1e-5)
        assert (labels_of(logits) == grey(image)).all()
        assert len(np.unique(grey(image))) == 2
        assert logits.dtype == probabilities.dtype == np.float32

    def test_logits_of_a_resized_picture_are_of_its_probabilities(self, half):
        image = picture()
        logits, probabilities = half.logits(image), half.probabilities(image)
        np.testing.assert_allclose(np.exp(logits), probabilities, rtol=1e-5)
        assert (labels_of(logits) == half(image)).all()

    def test_tiles_change_nothing(self, grey, tiled):
        image = picture()
        assert len(tiled.tiling((150, 210))) > 4
        assert np.abs(tiled.logits(image) - grey.logits(image)).max() <= 1e-5
        assert (tiled(image) == grey(image)).mean() > 0.9999

    def test_a_smaller_margin_is_blended(self, grey, grey_model):
        least = smallest_tile(grey.spec.geometry) ** 2
        blended = Predictor(grey_model, tile_pixels=least, margin=8)
        image = picture()
        assert not blended.tiling((150, 210)).is_exact
        difference = np.abs(blended.probabilities(image) - grey.probabilities(image))
        assert 1e-4 < difference.max() < 0.5
        assert (blended(image) == labels_of(blended.probabilities(image))).all()

    def test_memory_is_given_back_between_pictures(self, grey):
        before = grey(picture())
        grey.release_memory()
        assert (grey(picture()) == before).all()


class TestTypes:
    @pytest.mark.parametrize(
        "dtype",
        ["int8", "int16", "int32", "int64", "uint32", "uint64", ">i4", "float64", "float16"],
    )
    def test_any_type_holds_the_model_s_numbers(self, grey, dtype):
        image = picture() // 2  # up to 127
        expected = grey.probabilities(image)
        np.testing.assert_allclose(grey.probabilities(image.astype(dtype)), expected, atol=1e-6)

    def test_fractions_stay_fractions(self, grey):
        image = picture().astype(np.float32) * np.float32(0.99)
        between = np.rint(image)
        assert not np.array_equal(grey.probabilities(image), grey.probabilities(between))
        np.testing.assert_allclose(
            grey.probabilities(image), grey.probabilities(between), atol=0.02
        )

    @pytest.mark.parametrize(
        ("dtype", "value", "shown"),
        [("int64", 256, "256"), ("int8", -1, "-1"), ("float64", 255.5, "255.5"),
         ("float64", 1e30, r"1e\+30")],
    )  # fmt: skip
    def test_a_number_that_such_pictures_cannot_have(self, grey, dtype, value, shown):
        image = np.zeros((5, 6), dtype)
        image[2, 3] = value
        words = rf"image has the value {shown} \(at row 2, column 3\); accepted .* from 0 to 255"
        with pytest.raises(DataError, match=words):
            grey(image)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_what_is_not_finite_is_refused(self, grey, value):
        image = np.zeros((5, 6))
        image[2, 3] = value
        with pytest.raises(DataError, match="image has pixels that are not finite numbers"):
            grey(image)

    @pytest.mark.parametrize("dtype", ["bool", "complex64", "<U3", "object"])
    def test_what_is_no_number_is_refused(self, grey, dtype):
        with pytest.raises(SizeError, match=r"accepted is \(H, W, 1\) of integers"):
            grey(np.zeros((4, 4), dtype))

    def test_what_is_no_picture_at_all(self, grey):
        with pytest.raises(SizeError, match="image is a int; accepted are a path, an open file"):
            grey(3)

    def test_a_memory_map_is_read_by_windows(self, tiled, tmp_path):
        image = picture()
        np.save(tmp_path / "a.npy", image)
        mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
        assert (tiled(mapped) == tiled(image)).all()
        assert (tiled(tmp_path / "a.npy") == tiled(image)).all()

    def test_a_zarr_array_is_read_by_windows(self, tiled, half, tmp_path):
        zarr = pytest.importorskip("zarr")
        image = picture()
        array = zarr.create_array(
            tmp_path / "a.zarr", shape=image.shape, chunks=(64, 64), dtype="u1"
        )
        array[:] = image
        assert (tiled(array) == tiled(image)).all()
        assert (tiled(tmp_path / "a.zarr") == tiled(image)).all()
        assert (half.probabilities(array) == half.probabilities(image)).all()

    def test_a_bad_number_in_a_memory_map_shows_where_it_is_read(self, tiled, tmp_path):
        image = picture().astype(np.int32)
        image[140, 200] = 300
        np.save(tmp_path / "a.npy", image)
        with pytest.raises(DataError, match="has the value 300"):
            tiled(np.load(tmp_path / "a.npy", mmap_mode="r"))

    def test_open_files(self, grey, tmp_path):
        Image.fromarray(picture()).save(tmp_path / "a.png")
        expected = grey(picture())
        with open(tmp_path / "a.png", "rb") as file:
            assert (grey(file) == expected).all()
        assert (grey(io.BytesIO((tmp_path / "a.png").read_bytes())) == expected).all()

    def test_an_open_file_that_is_no_picture(self, grey):
        with pytest.raises(DataError, match="the open file is not an image that can be read"):
            grey(io.BytesIO(b"nothing"))
        with pytest.raises(DataError, match=r"the open file gives str; .* 'rb'"):
            grey(io.StringIO("text"))

    def test_an_array_file_that_is_none(self, grey, tmp_path):
        (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00")
        with pytest.raises(DataError, match=r"a\.npy is not an array that can be read"):
            grey(tmp_path / "a.npy")


class TestMany:
    def test_answers_come_in_order(self, grey):
        images = [picture((40 + 7 * i, 50), seed=i) for i in range(12)]
        for answer, image in zip(grey.map(images, threads=3), images, strict=True):
            assert (answer == grey(image)).all()

    @pytest.mark.parametrize("answer", ["probabilities", "logits"])
    def test_of_any_kind(self, grey, answer):
        (found,) = grey.map([picture()], answer)
        np.testing.assert_allclose(found, getattr(grey, answer)(picture()), atol=1e-5)

    def test_of_no_other_kind(self, grey):
        with pytest.raises(ConfigError, match="answer is 'mask'; accepted are 'labels'"):
            grey.map([picture()], "mask")

    def test_a_long_list_is_taken_bit_by_bit(self, grey):
        taken = []

        def images():
            for number in range(1000):
                taken.append(number)
                yield picture((20, 20), seed=number)

        answers = grey.map(images(), threads=2)
        next(answers)
        assert len(taken) < 10
        answers.close()

    def test_memory_is_shared_among_the_threads(self, grey_model):
        predictor = Predictor(grey_model, tile_pixels=1 << 16)
        one, threads = predictor.side_by_side(4)
        assert threads == 4
        height, width = one.tiling((1000, 1000)).tile_size
        assert height * width <= 1 << 14
        one, threads = predictor.side_by_side(64)  # of whom six have room for a tile of 104x104
        assert threads == (1 << 16) // 104**2
        assert len(one.tiling((1000, 1000))) > 4

    def test_many_threads_share_one_predictor(self, grey):
        """Runs at the same time never see each other's pixels."""
        images = [picture((64, 64), seed=i) for i in range(8)]
        expected = [grey(image) for image in images]
        together = threading.Barrier(4, timeout=30)

        def predict(number):
            together.wait()
            return grey(images[number % 8])

        with ThreadPoolExecutor(4) as pool:
            for number, answer in enumerate(pool.map(predict, range(32))):
                assert (answer == expected[number % 8]).all()
