"""Images are decoded upright and opaque, frame by frame, or are refused with a reason."""

import struct

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import GifImagePlugin, Image, ImageOps

from tests import hostile
from tests.hostile import DEEP, PHOTO, PLAIN, count_images, read_file
from tests.io.test_images import SIDES, STEADY, lay
from unetkit.errors import DataError
from unetkit.io import decoding
from unetkit.io.images import ImageFile

UPRIGHT = range(1, 9)  # values of EXIF orientation


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A path for the files of tests that write many."""
    return tmp_path_factory.mktemp("decoding") / "x"


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
        monkeypatch.setattr(decoding, "MAX_FRAMES", 2)
        message = r"x\.png has 3 frames; accepted are up to 2; split the file"
        with pytest.raises(DataError, match=message):
            read_file(self.animation(tmp_path, "GIF"), 0)


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
        self.refused(lay(tmp_path, PLAIN["PNG"][:8] + PLAIN["PNG"][33:]), r"is not an image that")

    def test_a_png_of_16_bits_that_opencv_refuses(self, tmp_path, monkeypatch):
        monkeypatch.setattr(decoding.cv2, "imdecode", lambda *_: None)
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

        monkeypatch.setattr(decoding, "turn", fail)
        self.refused(
            lay(tmp_path, PLAIN["PNG"]),
            r"x\.png does not fit into memory; accepted are smaller images; cut it into pieces",
        )

    def test_an_error_without_words(self, tmp_path, monkeypatch):
        def fail(*_):
            raise ZeroDivisionError

        monkeypatch.setattr(decoding, "turn", fail)
        self.refused(lay(tmp_path, PLAIN["BMP"]), r"cannot be read whole \(ZeroDivisionError\); ac")


class TestJpeg2000:
    @pytest.mark.parametrize(
        ("dtype", "channels", "largest"),
        [("uint8", 1, 255), ("uint8", 3, 255), ("uint16", 1, 4095), ("uint16", 3, 65535)],
    )
    @pytest.mark.parametrize("container", ["jp2", "j2k"])
    def test_every_depth_is_read_as_it_is(self, tmp_path, dtype, channels, largest, container):
        numbers = np.random.default_rng(0).integers(0, largest, (40, 30, channels))
        array = numbers.astype(dtype)
        path = tmp_path / "a.jp2"
        content = imagecodecs.jpeg2k_encode(
            array.squeeze(), level=0, codecformat=container, reversible=True
        )
        path.write_bytes(content)
        with ImageFile(path) as file:
            image = file.read()
            assert file.size() == (40, 30)
        np.testing.assert_array_equal(image.bands, array)
        assert (image.format, image.is_lossy) == ("JPEG2000", False)

    def test_the_irreversible_transform_is_lossy(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (40, 30), np.uint8)
        Image.fromarray(noise).save(tmp_path / "a.jp2", irreversible=True)
        with ImageFile(tmp_path / "a.jp2") as file:
            assert file.read().is_lossy


class TestPnm:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"P5\n3 1\n3\n\0\1\3", [[0, 1, 3]]),
            (b"P5 # a note\n3 1 # width, height\n255\n\0\1\xff", [[0, 1, 255]]),
            (b"P5\n2 1\n4095\n\x0f\xff\0\1", [[4095, 1]]),
            (b"P2\n3 1\n2\n0 1 2\n", [[0, 1, 2]]),
            (b"P6\n1 1\n255\n\1\2\3", [[[1, 2, 3]]]),
            (b"P3\n1 1\n7\n1 2 7\n", [[[1, 2, 7]]]),
            (b"P1\n2 1\n1 0\n", [[False, True]]),
            (b"P4\n8 1\n\x80", [[False, *[True] * 7]]),
        ],
    )
    def test_numbers_are_those_of_the_file(self, tmp_path, content, expected):
        (tmp_path / "a.pnm").write_bytes(content)
        with ImageFile(tmp_path / "a.pnm") as file:
            image = file.read()
        bands = image.bands if image.bands.shape[2] > 1 else image.bands[..., 0]
        assert bands.tolist() == expected
        assert image.format == "PPM"

    def test_every_number_of_every_largest_one_comes_back(self, tmp_path):
        for largest in range(1, 256):
            numbers = bytes(range(largest + 1))
            (tmp_path / "a.pgm").write_bytes(b"P5\n%d 1\n%d\n" % (largest + 1, largest) + numbers)
            with ImageFile(tmp_path / "a.pgm") as file:
                assert file.read().bands.tobytes() == numbers


def gif_of(frames):
    """An animation of one pixel."""
    start = b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\0\0\0\0\0\xff\xff\xff"
    frame = b"\x21\xf9\x04\0\0\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"
    return start + frame * frames + b"\x3b"


class TestAnimations:
    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
    def test_frames_are_the_same_in_any_order(self, tmp_path, format):
        rng = np.random.default_rng(3)
        frames = [Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)) for _ in range(6)]
        path = tmp_path / f"a.{format.lower()}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        with Image.open(path) as image:
            expected = []
            for number in range(6):
                image.seek(number)
                expected.append(np.asarray(image.convert("RGB")))
        for number in (0, 1, 2, 5, 4, 1, 3, 0, 5):
            with ImageFile(path) as file:
                image = file.read(number)
            colours = image.bands if image.palette is None else image.palette[image.bands[..., 0]]
            np.testing.assert_array_equal(colours[..., :3], expected[number])

    def test_each_frame_is_decoded_once(self, tmp_path, monkeypatch):
        (tmp_path / "a.gif").write_bytes(gif_of(200))
        seeks = []
        seek = GifImagePlugin.GifImageFile._seek

        def counted(self, frame, update_image=True):
            seeks.append(frame)
            return seek(self, frame, update_image)

        monkeypatch.setattr(GifImagePlugin.GifImageFile, "_seek", counted)
        for number in range(200):
            with ImageFile(tmp_path / "a.gif") as file:
                file.read(number)
        assert len(seeks) < 200 * 6  # 20,000 if each began at the first

    def test_too_many_frames_are_refused_when_they_are_counted(self, tmp_path):
        (tmp_path / "a.gif").write_bytes(gif_of(10_001))
        with (
            ImageFile(tmp_path / "a.gif") as file,
            pytest.raises(DataError, match=r"has 10,001 frames; accepted are up to 10,000; split"),
        ):
            file.count  # noqa: B018

    def test_a_file_that_has_changed_is_read_anew(self, tmp_path):
        path = tmp_path / "a.gif"
        for level in (10, 200):
            frames = [Image.new("L", (4, 4), level + k) for k in range(3)]
            frames[0].save(path, save_all=True, append_images=frames[1:])
            for number in (0, 1):
                with ImageFile(path) as file:
                    image = file.read(number)
                values = (
                    image.bands if image.palette is None else image.palette[image.bands[..., 0]]
                )
                assert values.max() == level + number
