"""Images of any type, one or many, to labels, probabilities and logits."""

import copy
import io
import multiprocessing
import pickle
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from unetkit import Predictor
from unetkit._shared.memory_budget import BUDGET
from unetkit.errors import ConfigError, DataError, DataNotFoundError, SizeError
from unetkit.prediction import memory
from unetkit.prediction import predictor as predictor_module
from unetkit.prediction.memory import MemoryUse
from unetkit.prediction.predictor import labels_from_scores
from unetkit.prediction.tiling import smallest_tile


def noise(size=(150, 210), seed=0):
    """Coarse noise, (H, W) uint8, so that predictions differ from place to place."""
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


class TestResults:
    def test_labels_probabilities_and_logits_agree(self, grey):
        image = noise()
        logits, probabilities = grey.logits(image), grey.probabilities(image)
        powers = np.exp(logits.astype(np.float64))
        np.testing.assert_allclose(probabilities, powers / powers.sum(-1, keepdims=True), atol=1e-5)
        assert (labels_from_scores(logits) == grey(image)).all()
        assert len(np.unique(grey(image))) == 2
        assert logits.dtype == probabilities.dtype == np.float32

    @pytest.mark.parametrize("size", [(150, 210), (31, 400), (700, 9)])
    def test_labels_of_few_rows_at_a_time_are_those_of_all(self, half, size, monkeypatch):
        monkeypatch.setattr(predictor_module, "ROWS_VALUES", 2 * 7 * size[1])  # seven rows
        image = noise(size)
        assert (half(image) == half.probabilities(image).argmax(-1)).all()

    @pytest.mark.parametrize("num_classes", [2, 3, 4, 5, 30])
    def test_the_class_is_the_first_of_the_largest_scores(self, num_classes):
        rng = np.random.default_rng(num_classes)
        scores = rng.integers(-2, 3, (40, 50, num_classes)).astype(np.float32)  # with many ties
        labels = labels_from_scores(scores)
        assert labels.dtype == np.uint8
        assert (labels == scores.argmax(-1)).all()

    def test_logits_of_a_scaled_image_are_log_probabilities(self, half):
        image = noise()
        logits, probabilities = half.logits(image), half.probabilities(image)
        np.testing.assert_allclose(np.exp(logits), probabilities, rtol=1e-5)
        assert (labels_from_scores(logits) == half(image)).all()

    def test_tiles_change_nothing(self, grey, tiled):
        image = noise()
        assert len(tiled.tiling((150, 210))) > 4
        assert np.abs(tiled.logits(image) - grey.logits(image)).max() <= 1e-5
        assert (tiled(image) == grey(image)).mean() > 0.9999

    def test_a_smaller_margin_is_blended(self, grey, grey_model):
        least = smallest_tile(grey.spec.geometry) ** 2
        blended = Predictor(grey_model, tile_pixels=least, margin=8)
        image = noise()
        assert not blended.tiling((150, 210)).is_exact
        difference = np.abs(blended.probabilities(image) - grey.probabilities(image))
        assert 1e-4 < difference.max() < 0.5
        assert (blended(image) == labels_from_scores(blended.probabilities(image))).all()

    def test_memory_may_be_released_between_images(self, grey):
        before = grey(noise())
        grey.release_memory()
        assert (grey(noise()) == before).all()


class TestTypes:
    @pytest.mark.parametrize(
        "dtype",
        ["int8", "int16", "int32", "int64", "uint32", "uint64", ">i4", "float64", "float16"],
    )
    def test_values_of_any_type_are_on_the_scale_of_the_model(self, grey, dtype):
        image = noise() // 2  # up to 127
        expected = grey.probabilities(image)
        np.testing.assert_allclose(grey.probabilities(image.astype(dtype)), expected, atol=1e-6)

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_floats_from_0_to_1_are_refused_instead_of_black(self, grey, tmp_path, dtype):
        image = (noise() / 255).astype(dtype)
        words = r"has floats from 0 to 1; accepted are values from 0 to 255, .* multiply by 255"
        with pytest.raises(DataError, match=words):
            grey(image)
        np.save(tmp_path / "a.npy", image)
        for large in (np.load(tmp_path / "a.npy", mmap_mode="r"), tmp_path / "a.npy"):
            with pytest.raises(DataError, match=words):
                grey(large)

    def test_black_floats_are_black(self, grey):
        black = np.zeros((8, 9))
        assert np.array_equal(grey(black), grey(black.astype(np.uint8)))

    def test_fractions_stay_fractions(self, grey):
        image = noise().astype(np.float32) * np.float32(0.99)
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
    def test_a_value_out_of_range_is_refused(self, grey, dtype, value, shown):
        image = np.zeros((5, 6), dtype)
        image[2, 3] = value
        words = rf"image has the value {shown} \(at row 2, column 3\); accepted .* from 0 to 255"
        with pytest.raises(DataError, match=words):
            grey(image)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite_are_refused(self, grey, value):
        image = np.zeros((5, 6))
        image[2, 3] = value
        with pytest.raises(DataError, match="image has pixels that are not finite numbers"):
            grey(image)

    @pytest.mark.parametrize("dtype", ["bool", "complex64", "<U3", "object"])
    def test_arrays_that_are_not_numeric_are_refused(self, grey, dtype):
        with pytest.raises(SizeError, match=r"accepted is \(H, W, 1\) of integers"):
            grey(np.zeros((4, 4), dtype))

    def test_an_object_that_is_not_an_image_is_refused(self, grey):
        with pytest.raises(SizeError, match="image is a int; accepted are a path, an open file"):
            grey(3)

    def test_a_memory_map_is_read_by_windows(self, tiled, tmp_path):
        image = noise()
        np.save(tmp_path / "a.npy", image)
        mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
        assert (tiled(mapped) == tiled(image)).all()
        assert (tiled(tmp_path / "a.npy") == tiled(image)).all()

    def test_a_zarr_array_is_read_by_windows(self, tiled, half, tmp_path):
        zarr = pytest.importorskip("zarr")
        image = noise()
        array = zarr.create_array(
            tmp_path / "a.zarr", shape=image.shape, chunks=(64, 64), dtype="u1"
        )
        array[:] = image
        assert (tiled(array) == tiled(image)).all()
        assert (tiled(tmp_path / "a.zarr") == tiled(image)).all()
        assert (half.probabilities(array) == half.probabilities(image)).all()

    def test_a_bad_value_in_a_memory_map_is_refused_when_it_is_read(self, tiled, tmp_path):
        image = noise().astype(np.int32)
        image[140, 200] = 300
        np.save(tmp_path / "a.npy", image)
        with pytest.raises(DataError, match="has the value 300"):
            tiled(np.load(tmp_path / "a.npy", mmap_mode="r"))

    def test_open_files(self, grey, tmp_path):
        Image.fromarray(noise()).save(tmp_path / "a.png")
        expected = grey(noise())
        with open(tmp_path / "a.png", "rb") as file:
            assert (grey(file) == expected).all()
        assert (grey(io.BytesIO((tmp_path / "a.png").read_bytes())) == expected).all()

    def test_an_open_file_that_is_not_an_image_is_refused(self, grey):
        with pytest.raises(DataError, match="the open file is not an image that can be read"):
            grey(io.BytesIO(b"nothing"))
        with pytest.raises(DataError, match=r"the open file gives str; .* 'rb'"):
            grey(io.StringIO("text"))

    def test_a_damaged_array_file_is_refused(self, grey, tmp_path):
        (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00")
        with pytest.raises(DataError, match=r"a\.npy is not an array that can be read"):
            grey(tmp_path / "a.npy")


class TestMany:
    def test_results_come_in_order(self, grey):
        images = [noise((40 + 7 * i, 50), seed=i) for i in range(12)]
        for answer, image in zip(grey.map(images, threads=3), images, strict=True):
            assert (answer == grey(image)).all()

    @pytest.mark.parametrize("answer", ["probabilities", "logits"])
    def test_every_kind_of_result(self, grey, answer):
        (found,) = grey.map([noise()], answer)
        np.testing.assert_allclose(found, getattr(grey, answer)(noise()), atol=1e-5)

    def test_an_unknown_kind_of_result_is_refused(self, grey):
        with pytest.raises(ConfigError, match="answer is 'mask'; accepted are 'labels'"):
            grey.map([noise()], "mask")

    def test_images_are_taken_as_needed(self, grey):
        taken = []

        def images():
            for number in range(1000):
                taken.append(number)
                yield noise((20, 20), seed=number)

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

    def test_files_are_decoded_within_its_memory(self, grey_model, tmp_path, monkeypatch):
        monkeypatch.setattr(BUDGET, "limit", 1 << 40)  # of the process
        monkeypatch.setattr(memory, "measure", lambda *_: MemoryUse(1 << 27, 300.0))
        path = tmp_path / "large.png"
        Image.new("RGB", (9000, 9000)).save(path, compress_level=1)
        predictor = Predictor(grey_model, memory="500MiB")
        for answer in (predictor, lambda image: list(predictor.map([image]))):
            with pytest.raises(DataError, match=r"large\.png needs .* up to 500 MiB together"):
                answer(path)

    def test_many_threads_share_one_predictor(self, grey):
        """Runs at the same time never see each other's pixels."""
        images = [noise((64, 64), seed=i) for i in range(8)]
        expected = [grey(image) for image in images]
        together = threading.Barrier(4, timeout=30)

        def predict(number):
            together.wait()
            return grey(images[number % 8])

        with ThreadPoolExecutor(4) as pool:
            for number, answer in enumerate(pool.map(predict, range(32))):
                assert (answer == expected[number % 8]).all()


class TestImagesOfPillow:
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
    def test_each_mode_is_as_it_is_shown(self, grey, mode):
        image = Image.fromarray(noise())
        if mode == "I;16":
            image = Image.fromarray(noise().astype(np.uint16) * 257)
            assert image.mode == mode
        else:
            image = image.convert(mode)
        shown = np.asarray(Image.fromarray(noise()).convert("1" if mode == "1" else "L"))
        expected = grey(shown.astype(np.uint8) * (255 if mode == "1" else 1))
        assert (grey(image) != expected).mean() < 0.01

    def test_it_is_not_turned_by_its_exif(self, grey):
        """Pillow shows it as it is stored; whoever turns it has a turned image."""
        image = Image.fromarray(noise((20, 30)))
        image.getexif()[0x0112] = 6
        assert grey(image).shape == (20, 30)


def test_the_content_of_a_file_is_an_image(grey, tmp_path):
    content = io.BytesIO()
    Image.fromarray(noise()).save(content, "PNG")
    expected = grey(noise())
    for given in (content.getvalue(), bytearray(content.getvalue()), content.getbuffer()):
        assert np.array_equal(grey(given), expected)
    with pytest.raises(DataError, match="the open file is not an image that can be read"):
        grey(b"no image")


class TestCopies:
    def test_a_copy_shares_the_network(self, grey):
        other = copy.copy(grey)
        assert other._engine is grey._engine
        assert np.array_equal(other(noise()), grey(noise()))

    @pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_what_was_pickled_predicts_the_same(self, grey_model, again):
        predictor = Predictor(grey_model, threads=1, memory="900MiB", margin=9)
        other = again(predictor)
        assert other is not predictor
        assert (other.memory, other.margin) == (predictor.memory, 9)
        assert np.array_equal(other.logits(noise()), predictor.logits(noise()))

    def test_it_works_in_another_process(self, grey):
        images = [noise(seed=seed) for seed in range(2)]
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(grey, images))
        assert all(map(np.array_equal, found, map(grey, images)))

    def test_a_relative_path_is_kept(self, grey_model, monkeypatch, tmp_path):
        monkeypatch.chdir(grey_model.parent)
        packed = pickle.dumps(Predictor(grey_model.name))
        monkeypatch.chdir(tmp_path)
        assert np.array_equal(pickle.loads(packed)(noise()), Predictor(grey_model)(noise()))

    def test_a_model_that_changed_is_refused(self, grey_model, half_model, tmp_path):
        path = tmp_path / "m.onnx"
        shutil.copy(grey_model, path)
        packed = pickle.dumps(Predictor(path))
        shutil.copy(half_model, path)
        with pytest.raises(DataError, match="has changed since a predictor of it was pickled"):
            pickle.loads(packed)
        path.unlink()
        with pytest.raises(DataNotFoundError):
            pickle.loads(packed)
