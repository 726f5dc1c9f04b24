"""Strips and tiles of TIFF pages, decoded one by one."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests import hostile
from tests.io.tiff.reading import open_tiff_windows, read_frame
from tests.io.tiff.test_pages import written
from unetkit.errors import DataError
from unetkit.io.tiff.segments import Segments, grid_of

RNG = np.random.default_rng(3)
ARRAY = RNG.integers(0, 256, (37, 43, 3), np.uint8)
PACKED = {
    5: imagecodecs.lzw_encode,
    8: imagecodecs.zlib_encode,
    32773: imagecodecs.packbits_encode,
    34925: imagecodecs.lzma_encode,
    50000: imagecodecs.zstd_encode,
}


def laid(folder, content):
    (folder / "x.tif").write_bytes(content)
    return folder / "x.tif"


def decoded(path, index, plane=0, page=0):
    """One segment of a page, and the grid that it is in."""
    with tifffile.TiffFile(path) as tif:
        one = Segments(path, tif.pages[page])
        place = plane * one.grid.count + index
        tif.filehandle.seek(one.page.dataoffsets[place])
        packed = tif.filehandle.read(one.page.databytecounts[place])
        return one.decode(index, packed), one.grid


class TestGrids:
    def test_strips_of_which_the_last_is_shorter(self, tmp_path):
        path = laid(tmp_path, written(ARRAY, 8, rows=10))
        with tifffile.TiffFile(path) as tif:
            grid = grid_of(path, tif.pages[0])
        assert (grid.rows, grid.columns, grid.across, grid.count) == (10, 43, 1, 4)
        assert [grid.rows_of(i) for i in range(4)] == [10, 10, 10, 7]  # of 37
        assert [grid.corner(i) for i in range(4)] == [(0, 0), (10, 0), (20, 0), (30, 0)]
        assert grid.row_bytes == 43 * 3
        assert grid.name(0, 3) == "strip 4 of 4"

    def test_tiles_in_planes(self, tmp_path):
        path = laid(tmp_path, written(ARRAY, 8, planar=True, tiled=True))
        with tifffile.TiffFile(path) as tif:
            grid = grid_of(path, tif.pages[0])
        # 37 rows are 3 tiles of 16, 43 columns as many.
        assert (grid.planes, grid.depth, grid.across, grid.count) == (3, 1, 3, 9)
        assert grid.corner(5) == (16, 32)
        assert grid.rows_of(8) == 16
        assert grid.name(2, 8) == "tile 27 of 27"

    def test_fewer_segments_than_needed(self, tmp_path):
        tags = {259: 8, 278: 8, 273: [122] * 2, 279: [9] * 2}
        path = laid(tmp_path, hostile.tiff(bytes(99), tags))
        with (
            tifffile.TiffFile(path) as tif,
            pytest.raises(
                DataError,
                match=r"x\.tif cannot be read whole \(2 strips or tiles of 8x32 pixels for "
                r"24x32\); accepted are undamaged TIFF files; replace or remove it",
            ),
        ):
            grid_of(path, tif.pages[0])

    @pytest.mark.parametrize("order", [0, 3])
    def test_an_unknown_order_of_samples(self, order, tmp_path):
        tags = {259: 8, 284: order}
        path = laid(tmp_path, hostile.tiff(hostile.zlib.compress(bytes(768)), tags))
        message = rf"x\.tif stores its samples in the order {order} \(PlanarConfiguration\); accept"
        with pytest.raises(DataError, match=message):
            read_frame(path, None)


class TestDecoding:
    @pytest.mark.parametrize("compression", [1, 5, 8, 32773])
    @pytest.mark.parametrize("planar", [False, True])
    def test_a_tile_is_its_place_of_the_page(self, compression, planar, tmp_path):
        path = laid(
            tmp_path, written(ARRAY, compression, 2 if compression > 1 else 1, planar, True)
        )
        plane = 2 if planar else 0
        numbers, grid = decoded(path, 4, plane)
        assert numbers.shape == (16, 16, grid.depth)
        channels = slice(2, 3) if planar else slice(0, 3)
        assert np.array_equal(numbers, ARRAY[16:32, 16:32, channels])

    def test_the_last_strip_has_the_rows_that_are_left(self, tmp_path):
        numbers, _ = decoded(laid(tmp_path, written(ARRAY, 5, rows=10)), 3)
        assert np.array_equal(numbers, ARRAY[30:])

    @pytest.mark.parametrize("compression", [1, 8])
    def test_bits_that_begin_at_the_other_end_of_a_byte(self, compression, tmp_path):
        bits = np.arange(64).reshape(4, 16) % 3 == 0
        raw = np.packbits(bits, axis=1, bitorder="little").tobytes()
        if compression == 8:  # the whole stream is turned, as libtiff does it
            raw = hostile.zlib.compress(np.packbits(bits, axis=1).tobytes())
            raw = np.packbits(
                np.unpackbits(np.frombuffer(raw, np.uint8)), bitorder="little"
            ).tobytes()
        tags = {256: 16, 257: 4, 258: 1, 259: compression, 266: 2, 278: 4}
        numbers, _ = decoded(laid(tmp_path, hostile.tiff(raw, tags)), 0)
        assert np.array_equal(numbers[..., 0], bits)

    @pytest.mark.parametrize("order", "<>")
    def test_complex_numbers_of_either_byte_order(self, order, tmp_path):
        array = (RNG.normal(size=(5, 6)) + 1j * RNG.normal(size=(5, 6))).astype(np.complex64)
        path = tmp_path / "x.tif"
        tifffile.imwrite(path, array, byteorder=order, compression="zlib")
        numbers, _ = decoded(path, 0)
        assert np.array_equal(numbers[..., 0], array)


def jpeg_of(array, tables=False, **options):
    """A tile as a JPEG stream; or its tables and the stream without them, as TIFF keeps them."""
    data = hostile.encode(array, "JPEG", **options)
    if not tables:
        return b"", data
    kept, own, place = b"\xff\xd8", b"\xff\xd8", 2
    while data[place + 1] != 0xDA:
        size = 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] in (0xDB, 0xC4):  # quantisation and Huffman tables
            kept += data[place : place + size]
        elif data[place + 1] != 0xE0:  # what JFIF says is in the tags
            own += data[place : place + size]
        place += size
    return kept + b"\xff\xd9", own + data[place:]


def write_jpeg_tiles(path, array, side, tables=False, subsampling=(2, 2), extra=(), **options):
    """A tiled TIFF of JPEGs, as no library here writes one."""
    height, width = array.shape[:2]
    edges = ((0, -height % side), (0, -width % side), (0, 0))
    padded = np.pad(array, edges, mode="edge")
    grey = array.shape[2] == 1
    encoding = {"quality": 90} | ({} if grey else {"subsampling": 2 if subsampling[0] == 2 else 0})
    tiles = [
        jpeg_of(padded[i : i + side, j : j + side], tables, **encoding)
        for i in range(0, height, side)
        for j in range(0, width, side)
    ]
    extra = [*extra, *([(347, 7, len(tiles[0][0]), tiles[0][0], True)] if tables else [])]
    tifffile.imwrite(
        path, iter([stream for _, stream in tiles]), shape=array.shape[:2] if grey else array.shape,
        dtype=np.uint8, tile=(side, side), compression="zlib", metadata=None,
        photometric="minisblack" if grey else "rgb",
        extratags=extra if grey else [*extra, (530, 3, 2, subsampling, True)], **options,
    )  # fmt: skip
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags[259].overwrite(7)
        tif.pages[0].tags[262].overwrite(1 if grey else 6)


ROWS, COLUMNS = np.mgrid[:70, :90]
PHOTO = np.stack([ROWS * 3, COLUMNS * 2, 250 - ROWS - COLUMNS], 2).astype(np.uint8)
SMOOTH = PHOTO.copy()
PHOTO[::9, ::7] = RNG.integers(0, 256, (8, 13, 3))


def whole(path):
    with Image.open(path) as image:
        array = np.asarray(
            image.convert("RGB") if image.mode in ("CMYK", "LAB", "YCbCr") else image
        )
    return array if array.ndim == 3 else array[..., None]


class TestImages:
    """Segments that Pillow decodes, beside what it makes of the whole page."""

    def require_parts(self, path):
        expected = whole(path)
        with tifffile.TiffFile(path) as tif:
            one = Segments(path, tif.pages[0])
        assert one.grid.count > 1
        assert (one.dtype, one.channels) == (expected.dtype, expected.shape[2])
        for index in range(one.grid.count):
            numbers, grid = decoded(path, index)
            row, column = grid.corner(index)
            place = expected[row : row + grid.rows, column : column + grid.columns]
            assert np.array_equal(numbers[: place.shape[0], : place.shape[1]], place)

    @pytest.mark.parametrize("tables", [False, True])
    @pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
    @pytest.mark.parametrize("order", "<>")
    def test_tiles_of_jpeg(self, tables, subsampling, order, tmp_path):
        path = tmp_path / "x.tif"
        write_jpeg_tiles(path, PHOTO, 32, tables, subsampling, byteorder=order)
        with tifffile.TiffFile(path) as tif:
            assert (tif.pages[0].jpegtables is not None) is tables
        assert np.abs(whole(path).astype(int) - PHOTO)[1:8, 1:6].max() < 60  # it is that photo
        self.require_parts(path)

    @pytest.mark.parametrize("tables", [False, True])
    def test_grey_tiles_of_jpeg(self, tables, tmp_path):
        path = tmp_path / "x.tif"
        write_jpeg_tiles(path, PHOTO[..., :1], 32, tables, bigtiff=True)
        self.require_parts(path)

    @pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
    def test_strips_of_jpeg(self, mode, tmp_path):
        image = Image.fromarray(PHOTO).convert(mode)
        content = hostile.encode(image, "TIFF", compression="jpeg", tiffinfo={278: 16})
        self.require_parts(laid(tmp_path, content))

    @pytest.mark.parametrize("mode", ["CMYK", "LAB"])
    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "raw"])
    def test_colours_that_are_converted(self, mode, compression, tmp_path):
        image = Image.fromarray(PHOTO)
        image = Image.frombytes("LAB", image.size, image.tobytes()) if mode == "LAB" else image
        options = {"compression": compression, "tiffinfo": {278: 16}}
        content = hostile.encode(image.convert(mode), "TIFF", **options)
        self.require_parts(laid(tmp_path, content))

    @pytest.mark.parametrize("how", ["group3", "group4"])
    def test_lines_of_fax(self, how, tmp_path):
        image = Image.fromarray(PHOTO[..., 0]).convert("1")
        content = hostile.encode(image, "TIFF", compression=how, tiffinfo={278: 16})
        self.require_parts(laid(tmp_path, content))


def lossless(folder, array, compression, **options):
    """A TIFF of tiles, as tifffile writes it with the codecs of imagecodecs."""
    path = folder / "x.tif"
    colours = array.ndim == 3 and array.shape[2] in (3, 4)
    photometric = "rgb" if colours else "minisblack"
    tifffile.imwrite(
        path, array, tile=(32, 32), compression=compression, photometric=photometric,
        metadata=None, **options,
    )  # fmt: skip
    return path


REVERSIBLE = {"reversible": True, "level": 0}
CODECS = {  # name in tifffile, options that lose nothing, types of pixels
    "JPEG 2000": ("jpeg2000", REVERSIBLE, ("u1", "u2")),
    "WebP": ("webp", {"lossless": True}, ("u1",)),
    "JPEG XL": ("jpegxl", {"lossless": True}, ("u1", "u2", "f4")),
    "PNG": ("png", {}, ("u1", "u2")),
    "LERC": ("lerc", {}, ("u1", "u2", "f4", "f8")),
    "LERC, deflated": ("lerc", {"compression": "deflate"}, ("u2", "f4")),
    "LERC in Zstandard": ("lerc", {"compression": "zstd"}, ("u2", "f4")),
    "LZMA": ("lzma", {}, ("u1", "u2", "f4", "i8")),
    "Zstandard": ("zstd", {}, ("u1", "u2", "f4", "i8")),
}


class TestCodecs:
    """Compressions that tifffile writes, beside the pixels that it was given."""

    @pytest.mark.parametrize(
        ("name", "dtype"),
        [(name, dtype) for name, (*_, types) in CODECS.items() for dtype in types],
    )
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_they_are_read_whole_and_by_windows(self, name, dtype, channels, tmp_path):
        compression, options, _ = CODECS[name]
        if compression == "webp" and channels == 1:
            pytest.skip("WebP knows colours only")
        high = 256 if dtype == "u1" else 60_000
        array = RNG.integers(0, high, (70, 90, channels)).astype(dtype)
        array = array[..., 0] if channels == 1 else array
        path = lossless(tmp_path, array, compression, compressionargs=options)
        whole = read_frame(path, None, "last").array
        assert whole.dtype == array.dtype
        assert np.array_equal(whole, array.reshape(70, 90, channels))
        with open_tiff_windows(path, None) as windows:
            found = windows.read(slice(20, 50), slice(30, 70))
        assert np.array_equal(found, whole[20:50, 30:70])

    @pytest.mark.parametrize("compression", ["jpeg2000", "webp", "jpegxl"])
    def test_with_loss_they_are_near_and_known_as_lossy(self, compression, tmp_path):
        path = lossless(tmp_path, SMOOTH, compression, compressionargs={"level": 90})
        frame = read_frame(path, None)
        assert frame.is_lossy
        assert np.abs(frame.array.astype(int) - SMOOTH).mean() < 4

    def test_strips_of_jpeg_2000(self, tmp_path):
        path = tmp_path / "x.tif"
        tifffile.imwrite(
            path, SMOOTH, compression="jpeg2000", compressionargs=REVERSIBLE, rowsperstrip=16,
            photometric="rgb",
        )  # fmt: skip
        assert np.array_equal(read_frame(path, None).array, SMOOTH)

    def test_jpeg_2000_of_slides_is_converted_from_ycbcr(self, tmp_path):
        image = Image.fromarray(SMOOTH)
        components = np.asarray(image.convert("YCbCr"))
        path = lossless(
            tmp_path, components, "jpeg2000", compressionargs={**REVERSIBLE, "mct": False}
        )
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages[0].tags[259].overwrite(33003)
        expected = np.asarray(Image.fromarray(components, "YCbCr").convert("RGB"))
        assert np.array_equal(read_frame(path, None).array, expected)

    @pytest.mark.parametrize("compression", ["jpeg2000", "webp", "jpegxl", "png", "lerc", "jpeg"])
    def test_a_stream_of_more_pixels_than_its_tile_is_refused(self, compression, tmp_path):
        path = lossless(tmp_path, np.zeros((64, 64, 3), np.uint8), compression)
        name = "jpeg8" if compression == "jpeg" else compression.replace("jpeg2000", "jpeg2k")
        large = getattr(imagecodecs, f"{name}_encode")(np.zeros((2000, 2000, 3), np.uint8))
        content = path.read_bytes()
        with tifffile.TiffFile(path, mode="r+") as tif:
            offsets, counts = list(tif.pages[0].dataoffsets), list(tif.pages[0].databytecounts)
            offsets[0], counts[0] = len(content), len(large)
            tif.pages[0].tags[324].overwrite(offsets)
            tif.pages[0].tags[325].overwrite(counts)
        with open(path, "ab") as file:
            file.write(large)
        with (
            open_tiff_windows(path, None) as windows,
            pytest.raises(
                DataError, match=r"\(tile 1 of 4: not an image of 32x32 pixels of uint8, 3 channels"
            ),
        ):
            windows.read(slice(0, 9), slice(0, 9))

    @pytest.mark.parametrize("compression", ["jpeg2000", "webp", "zstd", "png"])
    def test_a_damaged_tile_is_refused(self, compression, tmp_path):
        path = lossless(tmp_path, PHOTO, compression)
        with tifffile.TiffFile(path) as tif:
            start, count = tif.pages[0].dataoffsets[1], tif.pages[0].databytecounts[1]
        content = bytearray(path.read_bytes())
        content[start : start + count // 2] = bytes(count // 2)
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.tif cannot be read whole \(tile 2 of 9: "):
            read_frame(path, None)

    @pytest.mark.parametrize("compression", ["webp", "zstd"])
    def test_a_codec_that_is_not_installed_is_named(self, compression, tmp_path, monkeypatch):
        path = lossless(tmp_path, PHOTO, compression)

        def absent(*_, **__):
            raise ImportError("could not import name")

        number = {"webp": 50001, "zstd": 50000}[compression]
        monkeypatch.setitem(tifffile.TIFF.DECOMPRESSORS._codecs, number, absent)
        message = (
            rf"x\.tif has 3 channels of 8 bits in the compression {compression.upper()}, which "
            "cannot be read here; accepted are none, deflate, LZW and those that the installed "
            "imagecodecs decodes; save it with one of these"
        )
        with pytest.raises(DataError, match=message):
            read_frame(path, None)

    @pytest.mark.parametrize(("compression", "bits"), [(7, 1), (34712, 1), (4, 8)])
    def test_bits_that_a_codec_does_not_make_are_refused(self, compression, bits, tmp_path):
        path = laid(tmp_path, hostile.tiff(bytes(99), {258: bits, 259: compression}))
        with pytest.raises(DataError, match=rf"x\.tif has {bits} bits a sample"):
            read_frame(path, None)

    @pytest.mark.parametrize("compression", [8, 32773, 34925, 50000])
    def test_data_that_go_on_beyond_their_rows_are_refused(self, compression, tmp_path):
        packed = PACKED[compression](hostile.GREY.tobytes() + bytes(100))
        path = laid(tmp_path, hostile.tiff(packed, {259: compression}))
        with pytest.raises(DataError, match=r"x\.tif cannot be read whole \(strip 1 of 1: "):
            read_frame(path, None)

    @pytest.mark.parametrize("compression", [5, 8, 32773, 34925, 50000])
    def test_a_last_strip_may_have_all_rows(self, compression, tmp_path):
        """As some writers fill it up: of 24 rows in strips of 10, the third has 4."""
        raw = hostile.GREY.tobytes() + bytes(6 * 32)
        strips = [PACKED[compression](raw[i : i + 320]) for i in range(0, len(raw), 320)]
        starts = [-1, -1 - len(strips[0]), -1 - len(strips[0] + strips[1])]
        tags = {259: compression, 278: 10, 273: starts, 279: [len(strip) for strip in strips]}
        path = laid(tmp_path, hostile.tiff(b"".join(strips), tags))
        assert np.array_equal(read_frame(path, None).array, hostile.GREY)

    @pytest.mark.parametrize("size", [700, 768, 800])
    @pytest.mark.parametrize("compression", [8, 34925])
    def test_a_wrong_check_value_is_found_wherever_the_data_end(self, compression, size, tmp_path):
        data = bytearray(PACKED[compression](bytes(size)))
        data[-1 if compression == 8 else len(data) - 30] ^= 4
        path = laid(tmp_path, hostile.tiff(bytes(data), {259: compression}))
        with pytest.raises(DataError, match=r"x\.tif cannot be read whole"):
            read_frame(path, None)

    def test_lzw_may_end_with_a_code_of_another_length(self, tmp_path):
        """As some writers end it, whose last code is then read as some bytes more."""
        packed = imagecodecs.lzw_encode(hostile.GREY.tobytes() + bytes(3))
        path = laid(tmp_path, hostile.tiff(packed, {259: 5}))
        assert np.array_equal(read_frame(path, None).array, hostile.GREY)

    def test_lzw_with_the_lowest_bit_first(self, tmp_path):
        """The form of 1988, before the revision of TIFF 5.0."""
        raw = hostile.GREY.tobytes()
        codes = [code for i in range(0, len(raw), 200) for code in (256, *raw[i : i + 200])]
        bits = sum(code << (9 * i) for i, code in enumerate([*codes, 257]))
        data = bits.to_bytes(9 * (len(codes) + 1) // 8 + 1, "little")
        path = laid(tmp_path, hostile.tiff(data, {259: 5}))
        assert np.array_equal(read_frame(path, None).array, hostile.GREY)


class TestWholePages:
    """What only Pillow decodes, a page at a time."""

    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
    @pytest.mark.parametrize("orientation", [1, 6])
    def test_they_are_what_pillow_reads(self, compression, orientation, tmp_path):
        options = {"compression": compression, "tiffinfo": {278: 16, 274: orientation}}
        image = Image.fromarray(PHOTO).convert("YCbCr")
        path = laid(tmp_path, hostile.encode(image, "TIFF", **options))
        expected = whole(path)
        assert np.array_equal(read_frame(path, None).array, expected)
        with open_tiff_windows(path, None) as windows:
            assert windows.shape == expected.shape
            found = windows.read(slice(20, 50), slice(30, 60))
        assert np.array_equal(found, expected[20:50, 30:60])


def test_a_codec_that_can_crash_is_refused_by_name(tmp_path):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), compression="jpegxr")
    text = r"the compression JPEGXR\w*, whose decoder can crash on damaged files; accepted are none"
    with pytest.raises(DataError, match=text):
        read_frame(path, None)
