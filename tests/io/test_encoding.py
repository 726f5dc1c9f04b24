"""PNG, JPEG and NPZ files against Pillow, OpenCV, imagecodecs and NumPy, which read them."""

import json

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.io import encoding
from unetkit.io.encoding import METADATA_NAME, write_jpeg, write_npz, write_png
from unetkit.io.images import ImageFile

TWO = Classes(("ground", "cell"), (0, 1), background=0, colours=((10, 20, 30), (250, 0, 90)))
MANY = Classes(tuple(f"class {i}" for i in range(255)), tuple(range(255)))
METADATA = {"exact": True, "classes": ["cell", "Zelle ü"], "size": [3, 4]}
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]))
PHOTO = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def smooth(height, width, channels):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([(rows * (k + 1) + columns) % 256 for k in range(channels)], -1).astype(
        np.uint8
    )


class TestPng:
    @given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)), st.booleans())
    def test_three_readers_return_the_pixels(self, tmp_path_factory, pixels, is_flat):
        file = tmp_path_factory.mktemp("png") / "a.png"
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        write_png(file, pixels, is_flat=is_flat)
        with Image.open(file) as image:
            assert (np.asarray(image) == pixels).all()
        assert (imagecodecs.imread(file) == pixels).all()
        found = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if pixels.ndim == 3:
            found[..., :3] = found[..., 2::-1]
        assert (found == pixels).all()

    @pytest.mark.parametrize("is_flat", [False, True])
    def test_numbers_of_16_bits_come_back(self, tmp_path, is_flat):
        pixels = np.array([[0, 1, 255], [256, 40_000, 65_535]], np.uint16)
        write_png(tmp_path / "a.png", pixels, is_flat=is_flat)
        found = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
        assert found.dtype == np.uint16
        assert (found == pixels).all()
        with Image.open(tmp_path / "a.png") as image:
            assert (np.asarray(image) == pixels).all()

    @pytest.mark.parametrize("part", [np.s_[::2, ::3], np.s_[:, 10:20], np.s_[::-1]])
    def test_views_of_arrays_come_back(self, tmp_path, part):
        write_png(tmp_path / "a.png", PHOTO[part])
        with Image.open(tmp_path / "a.png") as image:
            assert (np.asarray(image) == PHOTO[part]).all()

    def test_all_checksums_are_right(self, tmp_path):
        """The reader of the package verifies that of every chunk."""
        write_png(tmp_path / "a.png", PHOTO.astype(np.uint16)[..., 0] * 257, METADATA)
        with ImageFile(tmp_path / "a.png") as file:
            assert (file.read().bands[..., 0] == PHOTO[..., 0] * np.uint16(257)).all()

    @pytest.mark.parametrize("classes", [TWO, TRIMAP_CLASSES, MANY], ids=len)
    @pytest.mark.parametrize("other", [0, 3, 255])
    def test_a_palette_shows_numbers_in_colours(self, classes, other, tmp_path):
        mask = np.arange(len(classes), dtype=np.uint8)[None]
        mask[0, -1] = other
        write_png(tmp_path / "a.png", mask, palette=classes.colours, is_flat=True)
        colours = np.zeros((256, 3), np.uint8)  # of no class: black
        colours[: len(classes)] = classes.colours
        with Image.open(tmp_path / "a.png") as image:
            assert image.mode == "P"
            assert (np.asarray(image) == mask).all()
            assert (np.asarray(image.convert("RGB")) == colours[mask]).all()

    def test_it_has_its_metadata(self, tmp_path):
        write_png(tmp_path / "a.png", PHOTO, METADATA)
        with Image.open(tmp_path / "a.png") as image:
            assert (image.format, image.size) == ("PNG", (40, 30))
            assert json.loads(image.text[METADATA_NAME.decode()]) == METADATA

    def test_without_metadata_it_has_no_text(self, tmp_path):
        write_png(tmp_path / "a.png", PHOTO)
        with Image.open(tmp_path / "a.png") as image:
            assert image.text == {}

    def test_the_format_does_not_depend_on_the_suffix(self, tmp_path):
        write_png(tmp_path / "a.jpg", PHOTO)
        with Image.open(tmp_path / "a.jpg") as image:
            assert image.format == "PNG"

    @pytest.mark.parametrize("channels", [3, 4])
    def test_photos_are_packed_in_few_bytes(self, tmp_path, channels):
        write_png(tmp_path / "a.png", smooth(200, 300, channels))
        assert (tmp_path / "a.png").stat().st_size < 200 * 300 * channels / 20

    def test_an_existing_file_is_replaced_and_no_other_is_left(self, tmp_path):
        for value in (1, 2):
            write_png(tmp_path / "a.png", np.full((1, 1), value, np.uint8))
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
        with Image.open(tmp_path / "a.png") as image:
            assert image.getpixel((0, 0)) == 2

    def test_a_failed_write_keeps_the_earlier_file(self, tmp_path, monkeypatch):
        write_png(tmp_path / "a.png", np.full((1, 1), 7, np.uint8))

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(encoding.zlib, "crc32", fail)  # after the signature was written
        with pytest.raises(OSError, match=r"a\.png"):
            write_png(tmp_path / "a.png", np.full((1, 1), 8, np.uint8))
        monkeypatch.undo()
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
        with Image.open(tmp_path / "a.png") as image:
            assert image.getpixel((0, 0)) == 7


class TestJpeg:
    def test_it_is_near_the_pixels_at_full_resolution_of_colours(self, tmp_path):
        pixels = np.full((16, 32, 3), 90, np.uint8)
        pixels[:, 9:, 0] = 200  # an edge of colour within a block
        write_jpeg(tmp_path / "a.jpg", pixels, METADATA)
        with Image.open(tmp_path / "a.jpg") as image:
            assert image.format == "JPEG"
            assert json.loads(image.info["comment"]) == METADATA
            assert np.abs(np.asarray(image).astype(int) - pixels).max() < 25
            assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3

    def test_without_metadata_it_has_no_comment(self, tmp_path):
        write_jpeg(tmp_path / "a.jpg", PHOTO)
        with Image.open(tmp_path / "a.jpg") as image:
            assert "comment" not in image.info


class TestNpz:
    def test_arrays_come_back_unchanged_without_pickle(self, tmp_path):
        rng = np.random.default_rng(0)
        given = {
            "probabilities": rng.random((3, 4, 2), np.float32),
            "halves": rng.random((3, 4, 2)).astype(np.float16),
            "bytes": rng.integers(0, 256, (3, 4), np.uint8),
            "classes": np.array(["ground", "Zelle ü"]),
        }
        write_npz(tmp_path / "a.npz", given)
        with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
            assert set(found) == set(given)
            for name, array in given.items():
                assert found[name].dtype == array.dtype
                assert (found[name] == array).all()
        assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]

    def test_bytes_are_packed_and_floats_are_not(self, tmp_path):
        write_npz(tmp_path / "a.npz", {"a": np.zeros((100, 100), np.uint8)})
        write_npz(tmp_path / "b.npz", {"a": np.zeros((100, 100), np.float32)})
        assert (tmp_path / "a.npz").stat().st_size < 1_000
        assert (tmp_path / "b.npz").stat().st_size > 40_000

    def test_the_same_arrays_are_the_same_bytes_at_any_time(self, tmp_path, monkeypatch):
        import time

        for name, seconds in (("a", 1e9), ("b", 1.5e9)):
            monkeypatch.setattr(time, "time", lambda seconds=seconds: seconds)
            write_npz(tmp_path / f"{name}.npz", {"a": PHOTO})
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
