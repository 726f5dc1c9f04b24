"""Whatever an image comes from, in the numbers that a model takes."""

import re
from contextlib import closing

import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit.data.scale import Scale
from unetkit.errors import DataError, DataNotFoundError, SizeError
from unetkit.io.pixel_format import PixelFormat
from unetkit.io.windows import ArrayWindows
from unetkit.prediction import sources
from unetkit.prediction.sources import InputFile, is_image, open_source
from unetkit.remote.addresses import Address

GREY, COLOUR = PixelFormat(1), PixelFormat(3)
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)


def everything(image, format, page=None):
    with open_source(image, format, page) as source:
        found = source.read(slice(0, source.shape[0]), slice(0, source.shape[1]))
        assert found.shape == source.shape
        assert found.dtype == source.dtype
        return found


def count_of(path, format):
    with closing(InputFile(path, format)) as file:
        return file.count


def size_of(path, format, page=None):
    """(height, width), and whether it is a map."""
    with closing(InputFile(path, format)) as file:
        return *file.size(page), file.is_map(page)


@pytest.fixture
def large(monkeypatch):
    """Every image counts as large."""
    monkeypatch.setattr(sources, "WHOLE_PIXELS", 0)


class TestImages:
    @pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.npy"])
    def test_files_of_every_kind(self, name, tmp_path):
        if name == "a.npy":
            np.save(tmp_path / name, PIXELS)
        else:
            Image.fromarray(PIXELS).save(tmp_path / name)
        assert (everything(tmp_path / name, GREY)[..., 0] == PIXELS).all()
        assert (everything(tmp_path / name, COLOUR) == PIXELS[..., None]).all()
        assert size_of(tmp_path / name, GREY) == (40, 50, False)
        assert count_of(tmp_path / name, GREY) is None

    @pytest.mark.parametrize(
        "array", [PIXELS, np.stack([PIXELS] * 3, 2), PIXELS.astype(np.uint16) * 257, PIXELS > 90]
    )
    def test_a_large_tiff_is_what_a_small_one_is(self, array, tmp_path, large, monkeypatch):
        tifffile.imwrite(tmp_path / "a.tif", array, tile=(16, 16))
        for format in (GREY, COLOUR):
            by_windows = everything(tmp_path / "a.tif", format)
            with monkeypatch.context() as patch:
                patch.setattr(sources, "WHOLE_PIXELS", 10**9)
                assert np.array_equal(everything(tmp_path / "a.tif", format), by_windows)

    def test_a_large_tiff_of_another_type_is_named(self, tmp_path, large):
        tifffile.imwrite(tmp_path / "a.tif", PIXELS.astype(np.float32))
        with pytest.raises(DataError, match=r"a\.tif has float32 pixels; accepted are uint8"):
            everything(tmp_path / "a.tif", GREY)

    def test_a_large_tiff_of_other_channels_is_named(self, tmp_path, large):
        tifffile.imwrite(tmp_path / "a.tif", np.stack([PIXELS] * 4), photometric="minisblack")
        with pytest.raises(DataError, match=r"a\.tif holds 4 images"):
            everything(tmp_path / "a.tif", GREY)
        with pytest.raises(DataError, match=r"a\.tif has 1 channels; accepted are 7"):
            everything(tmp_path / "a.tif", PixelFormat(7), page=0)

    def test_pages_by_number(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.stack([PIXELS, 255 - PIXELS]))
        assert count_of(tmp_path / "a.tif", GREY) == 2
        assert (everything(tmp_path / "a.tif", GREY, 1)[..., 0] == 255 - PIXELS).all()

    def test_pages_of_a_zarr_image(self, tmp_path):
        zarr = pytest.importorskip("zarr")
        array = zarr.create_array(
            tmp_path / "a.zarr", shape=(2, 40, 50), chunks=(1, 16, 16), dtype="u1",
            dimension_names=("t", "y", "x"),
        )  # fmt: skip
        array[:] = np.stack([PIXELS, 255 - PIXELS])
        assert count_of(tmp_path / "a.zarr", GREY) == 2
        assert (everything(tmp_path / "a.zarr", GREY, 1)[..., 0] == 255 - PIXELS).all()
        assert size_of(tmp_path / "a.zarr", GREY, 0) == (40, 50, False)
        with pytest.raises(DataError, match=r"a\.zarr holds 2 images"):
            everything(tmp_path / "a.zarr", GREY)

    def test_arrays_of_other_channels_are_refused(self):
        with pytest.raises(SizeError, match=r"image is \(40, 50, 5\) uint8; accepted is \(H"):
            everything(np.zeros((40, 50, 5), np.uint8), COLOUR)

    def test_windows_of_somebody_else(self):
        assert (everything(ArrayWindows(PIXELS), GREY)[..., 0] == PIXELS).all()

    @pytest.mark.parametrize("name", ["gone.tif", "gone.npy", "gone.zarr", "gone.png"])
    def test_what_is_not_there(self, name, tmp_path):
        with pytest.raises(DataNotFoundError, match=rf"{name} does not exist"):
            everything(tmp_path / name, GREY)


class TestScale:
    @pytest.mark.parametrize(
        "scale",
        [Scale("native", 64, 64, factor=0.6), Scale("resize", 32, 48, fit="letterbox")],
    )
    def test_by_windows_as_of_the_whole(self, scale, tmp_path):
        np.save(tmp_path / "a.npy", PIXELS)
        found = []
        for image in (PIXELS, tmp_path / "a.npy"):
            with open_source(image, GREY) as source:
                shown = source.at_scale(scale)
                found.append(shown.read(slice(0, shown.shape[0]), slice(0, shown.shape[1])))
        assert np.array_equal(*found)


def test_which_names_are_images(tmp_path):
    for name in ("a.png", "b.NPY", "c.txt", ".d.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "e.zarr").mkdir()
    (tmp_path / "f.zarr").mkdir()
    (tmp_path / "f.zarr" / "zarr.json").write_text("{}")
    assert sorted(path.name for path in tmp_path.iterdir() if is_image(path)) == [
        "a.png",
        "b.NPY",
        "f.zarr",
    ]


def test_a_mask_in_a_tiff_says_where_there_is_no_data(tmp_path):
    pixels = np.full((20, 24, 3), 90, np.uint8)
    valid = np.ones((20, 24), bool)
    valid[:, :7] = False
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(pixels, photometric="rgb", metadata=None)
        tif.write(valid, subfiletype=4, photometric=4, metadata=None)
    with open_source(tmp_path / "a.tif", PixelFormat(3)) as source:
        assert source.has_gaps
        missing = source.missing(slice(3, 9), slice(4, 20))
    assert np.array_equal(missing, ~valid[3:9, 4:20])


def test_address_is_an_image(web, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    web.files |= {"a.png": (tmp_path / "a.png").read_bytes(), "page.png": b"<html>log in</html>"}
    np.testing.assert_array_equal(
        everything(web.url("a.png") + "?signature=secret", GREY), everything(PIXELS, GREY)
    )
    with pytest.raises(DataError, match=re.escape(web.url("page.png"))) as raised:
        everything(web.url("page.png") + "?signature=secret", GREY)
    assert "secret" not in str(raised.value)
    with pytest.raises(DataNotFoundError, match="does not exist"):
        everything(web.url("none.png"), GREY)


def test_only_ome_zarr_is_an_open_file_at_an_address():
    with pytest.raises(DataError, match=r"s3://b/a\.png is not an OME-Zarr image"):
        size_of(Address("s3://b/a.png"), GREY)


def test_path_with_a_colon_is_no_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PIXELS).save("s3:a.png")
    assert everything("s3:a.png", GREY).shape == (40, 50, 1)
