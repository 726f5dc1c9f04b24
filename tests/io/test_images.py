"""Images come back number for number, upright and opaque, or are refused with a reason."""

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps

from tests import hostile
from tests.hostile import DEEP, GREY, PHOTO, PLAIN, count_images, read_file
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io import images
from unetkit.io.images import (
    IMAGE_SUFFIXES,
    SUFFIXES_OF,
    DecodedImage,
    ImageFile,
    pixels_of,
    read_image,
    require_file,
)
from unetkit.io.pixel_format import PixelFormat

STEADY = settings(derandomize=True, deadline=None, max_examples=100)
SIDES = st.integers(1, 12)
UPRIGHT = range(1, 9)  # values of EXIF orientation


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


class TestOrientation:
    @STEADY
    @given(arrays.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))), st.sampled_from(UPRIGHT))
    def test_it_is_what_pillow_makes_of_it(self, place, array, orientation):
        place.write_bytes(hostile.encode(array, "PNG", exif=hostile.exif_block(orientation)[6:]))
        image = read_file(place)
        with Image.open(place) as plain:
            expected = np.asarray(ImageOps.exif_transpose(plain))
        assert image.orientation == orientation
        assert image.size == expected.shape[:2]
        assert np.array_equal(image.bands, expected)

    @pytest.mark.parametrize("orientation", UPRIGHT)
    @pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF"])
    def test_in_every_format_that_has_it(self, format, orientation, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = lay(tmp_path, hostile.encode(PHOTO, format, exif=exif, lossless=True))
        with Image.open(path) as plain:
            expected = np.asarray(ImageOps.exif_transpose(plain))
        assert np.array_equal(read_file(path).bands, expected)

    def test_16_bits_and_opacity_turn_along(self, tmp_path):
        array = np.concatenate([DEEP, DEEP[..., :1] // 2], 2)
        rows = hostile.rows_of(array.astype(">u2"))
        exif = hostile.chunk(b"eXIf", hostile.exif_block(6)[6:])
        image = read_file(lay(tmp_path, hostile.png(rows, bits=16, colour=6, extra=exif)))
        turned = np.rot90(array, -1)  # clockwise
        assert np.array_equal(image.bands, turned[..., :3])
        assert np.array_equal(image.alpha, turned[..., 3])

    def test_a_palette_turns_along(self, tmp_path):
        exif = hostile.exif_block(3)[6:]
        path = lay(tmp_path, hostile.encode(hostile.palette_image(), "PNG", exif=exif))
        assert np.array_equal(read_file(path).bands, hostile.INDICES[::-1, ::-1])


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


class TestLoss:
    @pytest.mark.parametrize(
        ("format", "options", "lossy"),
        [
            ("JPEG", {}, True),
            ("PNG", {}, False),
            ("WEBP", {"lossless": True}, False),
            ("WEBP", {"lossless": True, "exif": hostile.exif_block(1)}, False),
            ("WEBP", {"lossless": True, "icc_profile": bytes(501)}, False),  # an odd length
            ("WEBP", {"quality": 90}, True),
            ("WEBP", {"quality": 90, "icc_profile": bytes(501)}, True),
            ("WEBP", {"quality": 90, "icc_profile": b"VP8L" * 9}, True),
            ("WEBP", {"quality": 90, "exif": hostile.exif_block(1)}, True),
            ("TIFF", {"compression": "jpeg"}, True),
            ("TIFF", {"compression": "tiff_lzw"}, False),
        ],
    )
    def test_it_is_known_from_the_file(self, format, options, lossy, tmp_path):
        path = lay(tmp_path, hostile.encode(PHOTO, format, **options))
        assert read_file(path).is_lossy is lossy

    @pytest.mark.parametrize("lossless", [True, False])
    def test_frames_of_an_animation_have_compressions_of_their_own(self, lossless, tmp_path):
        options = {"save_all": True, "append_images": [Image.fromarray(PHOTO // 2)]}
        options |= {"lossless": lossless, "icc_profile": bytes(501)}
        path = lay(tmp_path, hostile.encode(PHOTO, "WEBP", **options))
        assert read_file(path, 1).is_lossy is not lossless


class TestFrames:
    def animation(self, folder, format, frames=3):
        others = [Image.fromarray(PHOTO // (i + 2)) for i in range(frames - 1)]
        options = {"save_all": True, "append_images": others, "lossless": True}
        return lay(folder, hostile.encode(PHOTO, format, **options))

    @pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
    def test_they_are_counted(self, format, tmp_path):
        assert count_images(self.animation(tmp_path, format)) == 3

    @pytest.mark.parametrize("format", PLAIN)
    def test_most_files_hold_one(self, format, tmp_path):
        assert count_images(lay(tmp_path, PLAIN[format])) == 1

    def test_a_preview_is_no_image(self, tmp_path):
        path = self.animation(tmp_path, "MPO")
        assert count_images(path) == 1
        assert read_file(path).frames == 1

    @pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
    def test_one_is_chosen_by_its_number(self, format, tmp_path):
        path = self.animation(tmp_path, format)
        image = read_file(path, 2)
        assert np.array_equal(image.bands, PHOTO // 3)
        assert image.frames == 3

    @pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
    def test_an_animation_is_no_image(self, format, tmp_path):
        message = (
            r"x\.png is animated, with 3 frames; accepted as one image is one frame; save the "
            "frame that is meant"
        )
        with pytest.raises(DataError, match=message):
            read_file(self.animation(tmp_path, format))

    @pytest.mark.parametrize("page", [-1, 3])
    def test_a_frame_that_is_not_there(self, page, tmp_path):
        path = self.animation(tmp_path, "GIF")
        with pytest.raises(DataError, match=rf"no frame {page}; accepted are 0 to 2"):
            read_file(path, page)

    def test_too_many(self, tmp_path, monkeypatch):
        monkeypatch.setattr(images, "MAX_FRAMES", 2)
        message = r"x\.png has 3 frames; accepted are up to 2; split the file"
        with pytest.raises(DataError, match=message):
            read_file(self.animation(tmp_path, "GIF"), 0)


class TestSniffing:
    @pytest.mark.parametrize("format", PLAIN)
    def test_the_first_bytes_decide(self, format, tmp_path):
        assert format_of(lay(tmp_path, PLAIN[format], "x.txt")) == format

    @pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
    def test_every_order_and_size_of_tiff(self, start, tmp_path):
        assert format_of(lay(tmp_path, start)) == "TIFF"

    def test_every_ending_belongs_to_a_format(self):
        assert {*IMAGE_SUFFIXES} == {end for ends in SUFFIXES_OF.values() for end in ends}
        assert {*SUFFIXES_OF} == {*PLAIN}

    @pytest.mark.parametrize(
        ("content", "what"), [(b"", "is empty"), (b"RIFF\0\0\0\0WAVE", "is not an image")]
    )
    def test_anything_else_is_refused_with_the_formats(self, content, what, tmp_path):
        message = (
            rf"x\.png {what}.*; accepted are JPEG, PNG, TIFF, GIF, BMP, WEBP; replace or remove it"
        )
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


class TestDamage:
    def refused(self, path, message):
        with pytest.raises(DataError, match=message):
            read_file(path)

    @pytest.mark.parametrize("place", range(33, 2000, 197))
    def test_one_bit_of_a_png(self, place, tmp_path):
        data = bytearray(PLAIN["PNG"])
        data[place + 8] ^= 1
        self.refused(
            lay(tmp_path, data), r"cannot be read whole \(wrong checksum in chunk b'IDAT'\); accept"
        )

    def test_a_png_without_its_end(self, tmp_path):
        size = len(PLAIN["PNG"])
        self.refused(
            lay(tmp_path, PLAIN["PNG"][:-4]),
            rf"x\.png cannot be read whole \({size - 4} bytes, {size} needed\); accepted are "
            "undamaged images; replace or remove it",
        )

    def test_a_png_without_a_header(self, tmp_path):
        self.refused(lay(tmp_path, PLAIN["PNG"][:8] + PLAIN["PNG"][33:]), r"\(no header\)")

    def test_a_png_of_16_bits_that_opencv_refuses(self, tmp_path, monkeypatch):
        monkeypatch.setattr(images.cv2, "imdecode", lambda *_: None)
        self.refused(
            lay(tmp_path, hostile.opencv_bytes(DEEP, ".png")),
            r"x\.png cannot be read with its 16 bits a channel; accepted are undamaged PNGs; save "
            "it again, or as TIFF",
        )

    def test_an_index_beyond_the_palette(self, tmp_path):
        palette = hostile.chunk(b"PLTE", bytes(9))
        data = hostile.png(hostile.rows_of(hostile.INDICES), colour=3, extra=palette)
        self.refused(
            lay(tmp_path, data),
            r"x\.png has palette indices up to 3 in 1 channels; accepted is one channel from 0 to "
            "2, a colour for each; replace it",
        )

    def test_an_image_that_pillow_does_not_know(self, tmp_path):
        self.refused(
            lay(tmp_path, b"GIF89a"),
            r"x\.png is not an image that can be read; accepted are JPEG, PNG, .*; replace or",
        )

    def test_more_pixels_than_fit(self, tmp_path):
        self.refused(
            lay(tmp_path, hostile.png(b"", 60_000, 60_000)),
            r"x\.png is too large \(Image size \(3600000000 pixels\) exceeds .*\); accepted are "
            "images of up to 178,956,970 pixels; cut it into pieces",
        )

    def test_memory_that_is_not_there(self, tmp_path, monkeypatch):
        def fail(*_):
            raise MemoryError

        monkeypatch.setattr(images, "turn", fail)
        self.refused(
            lay(tmp_path, PLAIN["PNG"]),
            r"x\.png does not fit into memory; accepted are smaller images; cut it into pieces",
        )

    def test_an_error_without_words(self, tmp_path, monkeypatch):
        def fail(*_):
            raise ZeroDivisionError

        monkeypatch.setattr(images, "turn", fail)
        self.refused(lay(tmp_path, PLAIN["BMP"]), r"cannot be read whole \(ZeroDivisionError\); ac")
