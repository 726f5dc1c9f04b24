"""Images come back number for number, and as a model takes them; other files are refused."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from tests import hostile
from tests.hostile import GREY, PHOTO, PLAIN, read_file
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.decoding import SUFFIXES_OF, DecodedImage
from unetkit.io.images import (
    IMAGE_SUFFIXES,
    ImageFile,
    pixels_of,
    read_image,
    require_file,
)
from unetkit.io.pixel_format import PixelFormat

STEADY = settings(derandomize=True, max_examples=100)
SIDES = st.integers(1, 12)


def lay(folder, content, name="x.png"):
    (folder / name).write_bytes(content)
    return folder / name


def format_of(path):
    with ImageFile(path) as file:
        return file.format


def made(bands, **options):
    """An image in memory."""
    return DecodedImage(
        np.asarray(bands), options.pop("palette", None), None, "PNG", 1, 1, **options
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A path for the files of tests that write many."""
    return tmp_path_factory.mktemp("images") / "x"


class TestRoundTrips:
    @STEADY
    @given(st.data(), st.sampled_from(("u1", "u2", "f4")), st.integers(1, 7))
    def test_what_is_written_as_tiff_is_read(self, place, data, dtype, channels):
        shape = data.draw(st.tuples(SIDES, SIDES))
        finite = st.floats(-1e9, 1e9, width=32) if dtype == "f4" else None
        array = data.draw(arrays.arrays(dtype, (*shape, channels), elements=finite))
        written = array[..., 0] if channels == 1 else array
        tifffile.imwrite(
            place,
            written,
            photometric="rgb" if channels == 3 else "minisblack",
            planarconfig="contig" if channels > 1 else None,
            compression=data.draw(st.sampled_from((None, "zlib"))),
            byteorder=data.draw(st.sampled_from("<>")),
        )
        image = read_file(place)
        assert image.bands.dtype == array.dtype
        assert np.array_equal(image.bands, array)
        assert np.array_equal(read_image(place, PixelFormat(channels, str(array.dtype))), array)

    @STEADY
    @given(st.data(), st.sampled_from((np.uint8, np.uint16)), st.sampled_from((1, 3, 4)))
    def test_what_is_written_as_png_is_read(self, place, data, dtype, channels):
        shape = data.draw(st.tuples(SIDES, SIDES))
        array = data.draw(arrays.arrays(dtype, (*shape, channels)))
        place.write_bytes(hostile.opencv_bytes(array, ".png"))
        image = read_file(place)
        assert image.bands.dtype == dtype
        assert np.array_equal(image.bands, array[..., :3])
        assert (image.alpha is None) == (channels != 4)
        if channels == 4:
            assert np.array_equal(image.alpha, array[..., 3])

    @pytest.mark.parametrize("format", ["BMP", "GIF", "PNG", "TIFF", "WEBP"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_formats_without_loss(self, format, channels, tmp_path):
        array = PHOTO[..., :channels]
        if format == "GIF":
            array = np.where(array > 99, np.uint8(200), np.uint8(30))  # few colours
        path = lay(tmp_path, hostile.encode(array, format, lossless=True))
        assert np.array_equal(read_image(path, PixelFormat(channels)), array)


class TestPixels:
    @pytest.mark.parametrize("dtype", ["u1", "u2"])
    def test_whole_numbers_are_kept(self, dtype):
        bands = np.arange(6, dtype=dtype).reshape(1, 2, 3)
        assert pixels_of(made(bands), "x.png") is bands

    def test_bits_are_black_and_white(self):
        pixels = pixels_of(made([[[False], [True]]]), "x.png")
        assert (pixels.dtype, pixels.ravel().tolist()) == (np.uint8, [0, 255])

    @pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "u4", "i8", "f2", "f4", "f8"])
    def test_others_become_fractions(self, dtype):
        pixels = pixels_of(made(np.array([[[3], [100]]], dtype)), "x.png")
        assert (pixels.dtype, pixels.ravel().tolist()) == (np.float32, [3, 100])

    def test_a_palette_is_replaced_by_its_colours(self):
        palette = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
        image = made(np.array([[[1], [0]]], np.uint8), palette=palette)
        assert pixels_of(image, "x.png").tolist() == [[[4, 5, 6], [1, 2, 3]]]

    def test_a_palette_of_greys_is_grey(self):
        palette = np.array([[9, 9, 9], [7, 7, 7]], np.uint8)
        image = made(np.array([[[1], [0]]], np.uint8), palette=palette)
        assert pixels_of(image, "x.png").tolist() == [[[7], [9]]]

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
    def test_numbers_that_are_not_finite_are_refused_with_their_place(self, value):
        bands = np.zeros((4, 5, 2))
        bands[2, 3, 1] = bands[3, 0, 0] = value
        message = (
            r"x\.tif has a pixel that is not a finite number \(at row 2, column 3\); accepted are "
            "finite numbers; replace such pixels"
        )
        with pytest.raises(DataError, match=message):
            pixels_of(made(bands), "x.tif")

    def test_complex_numbers_are_refused(self):
        message = r"x\.tif has complex64 pixels; accepted are integers and floats; convert it"
        with pytest.raises(DataError, match=message):
            pixels_of(made(np.zeros((1, 1, 1), np.complex64)), "x.tif")


class TestImages:
    def test_a_model_gets_its_channels_and_type(self, tmp_path):
        path = lay(tmp_path, hostile.encode(GREY, "PNG"))
        found = read_image(path, PixelFormat(3, "uint16"))
        assert np.array_equal(found, np.repeat(GREY, 3, axis=2).astype(np.uint16) * 257)

    def test_opacity_is_left_out(self, tmp_path):
        array = np.concatenate([PHOTO, hostile.OPACITY], 2)
        path = lay(tmp_path, hostile.encode(array, "PNG"))
        assert np.array_equal(read_image(path, PixelFormat(3)), PHOTO)
        assert np.array_equal(read_file(path).alpha, hostile.OPACITY[..., 0])

    @pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
    def test_other_colour_spaces_become_red_green_and_blue(self, mode, tmp_path):
        image = Image.new("RGB", (8, 8), (200, 100, 50)).convert(mode)
        path = lay(tmp_path, hostile.encode(image, "TIFF"))
        assert np.abs(read_image(path, PixelFormat(3)).astype(int) - (200, 100, 50)).max() <= 2

    def test_what_does_not_fit_is_refused_by_its_name(self, tmp_path):
        path = tmp_path / "x.tif"
        tifffile.imwrite(path, np.zeros((40, 50, 5), np.uint8), photometric="minisblack")
        with pytest.raises(DataError, match=r"x\.tif has 5 channels; accepted are 3"):
            read_image(path, PixelFormat(3))

    def test_where_channels_are_is_passed_on(self, tmp_path):
        stack = np.stack([GREY[..., 0]] * 5)
        tifffile.imwrite(tmp_path / "x.tif", stack, photometric="minisblack")
        format = PixelFormat(5, channel_axis="first")
        assert read_image(tmp_path / "x.tif", format, 0).shape == (24, 32, 5)

    def test_a_page_is_chosen_by_its_number(self, tmp_path):
        pages = np.stack([GREY[..., 0], 255 - GREY[..., 0]])
        tifffile.imwrite(tmp_path / "x.tif", pages, photometric="minisblack")
        found = read_image(tmp_path / "x.tif", PixelFormat(1), 1)
        assert np.array_equal(found[..., 0], 255 - GREY[..., 0])


class TestSniffing:
    @pytest.mark.parametrize("format", PLAIN)
    def test_the_first_bytes_decide(self, format, tmp_path):
        assert format_of(lay(tmp_path, PLAIN[format], "x.txt")) == format

    @pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
    def test_every_order_and_size_of_tiff(self, start, tmp_path):
        assert format_of(lay(tmp_path, start)) == "TIFF"

    def test_every_ending_belongs_to_a_format(self):
        assert {*IMAGE_SUFFIXES} == {end for ends in SUFFIXES_OF.values() for end in ends}
        assert {*PLAIN} <= {*SUFFIXES_OF}

    @pytest.mark.parametrize(
        ("content", "what"), [(b"", "is empty"), (b"RIFF\0\0\0\0WAVE", "is not an image")]
    )
    def test_anything_else_is_refused_with_the_formats(self, content, what, tmp_path):
        message = rf"x\.png {what}.*; accepted are JPEG, PNG, TIFF, .*; replace or remove it"
        with pytest.raises(DataError, match=message):
            format_of(lay(tmp_path, content))

    def test_a_file_that_is_not_there(self, tmp_path):
        message = r"image .*x\.png does not exist; accepted is an image file; check the path"
        with pytest.raises(DataNotFoundError, match=message):
            format_of(tmp_path / "x.png")

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(
            DataError, match="is no file but a folder; accepted are files; rename or remove it"
        ):
            require_file(tmp_path)

    def test_a_name_that_no_system_takes(self, tmp_path):
        message = (
            r"cannot be opened \(File name too long\); accepted are files that may be read; change "
            "its permissions, or remove it"
        )
        with pytest.raises(DataError, match=message):
            format_of(tmp_path / ("n" * 300))
        with pytest.raises(DataError, match=r"cannot be opened \(embedded null byte\)"):
            format_of(tmp_path / "a\0b")
