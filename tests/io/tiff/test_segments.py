"""Strips and tiles of TIFF pages, decoded one by one."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests import hostile
from tests.io.tiff.test_pages import written
from unetkit.errors import DataError
from unetkit.io.tiff import segments
from unetkit.io.tiff.segments import grid_of, put_together, segments_of

RNG = np.random.default_rng(3)
ARRAY = RNG.integers(0, 256, (37, 43, 3), np.uint8)


def laid(folder, content):
    (folder / "x.tif").write_bytes(content)
    return folder / "x.tif"


def decoded(path, index, plane=0, page=0):
    """One segment of a page, and the grid that it is in."""
    with tifffile.TiffFile(path) as tif:
        one = segments_of(tif, path, tif.pages[page])
        place = plane * one.grid.count + index
        tif.filehandle.seek(one.page.dataoffsets[place])
        packed = tif.filehandle.read(one.page.databytecounts[place])
        return one.decode([index], [packed])[0], one.grid


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
                match=r"x\.tif cannot be read whole \(2 parts of 8x32 pixels for 24x32\); accepted "
                "are undamaged TIFF files; replace or remove it",
            ),
        ):
            grid_of(path, tif.pages[0])


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

    @pytest.mark.parametrize("compression", [5, 8])
    def test_many_at_once_are_each_alone(self, compression, tmp_path):
        path = laid(tmp_path, written(ARRAY, compression, rows=10))
        with tifffile.TiffFile(path) as tif:
            one = segments_of(tif, path, tif.pages[0])
            packed = []
            for start, count in zip(one.page.dataoffsets, one.page.databytecounts, strict=True):
                tif.filehandle.seek(start)
                packed.append(tif.filehandle.read(count))
            found = one.decode([1, 2, 3], packed[1:])
        assert [len(numbers) for numbers in found] == [10, 10, 7]
        assert np.array_equal(np.concatenate(found), ARRAY[10:])

    def test_pages_are_put_together_in_batches(self, tmp_path, monkeypatch):
        path = laid(tmp_path, written(ARRAY, 5, rows=4))
        monkeypatch.setattr(segments, "BATCH_BYTES", 3 * 4 * 43 * 3)  # three strips
        with tifffile.TiffFile(path) as tif:
            assert np.array_equal(put_together(tif, path, tif.pages[0]), ARRAY)

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
PHOTO[::9, ::7] = RNG.integers(0, 256, (8, 13, 3))


def whole(path):
    with Image.open(path) as picture:
        array = np.asarray(
            picture.convert("RGB") if picture.mode in segments.CONVERTED else picture
        )
    return array if array.ndim == 3 else array[..., None]


class TestPictures:
    """Segments that Pillow decodes, beside what it makes of the whole page."""

    def require_parts(self, path):
        expected = whole(path)
        with tifffile.TiffFile(path) as tif:
            one = segments_of(tif, path, tif.pages[0])
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

    @pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
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

    def test_what_pillow_does_not_know_either(self, tmp_path):
        path = laid(tmp_path, hostile.tiff(bytes(768), {259: 50_002}))
        with (
            tifffile.TiffFile(path) as tif,
            pytest.raises(
                DataError, match=r"8 bits in the compression JPEGXL, which cannot be read"
            ),
        ):
            segments_of(tif, path, tif.pages[0])

    def test_a_codec_that_needs_the_whole_file_is_refused_when_it_decodes(self, tmp_path):
        path = laid(tmp_path, hostile.tiff(bytes(768), {259: 6}))
        with tifffile.TiffFile(path) as tif:
            one = segments_of(tif, path, tif.pages[0])
            with pytest.raises(DataError, match="in the compression OJPEG, which cannot be read"):
                one.decode([0], [b""])


def test_a_picture_s_tags_are_those_of_the_file(tmp_path):
    path = tmp_path / "x.tif"
    write_jpeg_tiles(path, PHOTO, 32, tables=True, byteorder=">", bigtiff=True)
    with tifffile.TiffFile(path) as tif:
        one = segments_of(tif, path, tif.pages[0])
        small = tifffile.TiffFile(BytesIO(segments._file_of([b"x"], one._picture_tags(32), ">")))
        page, original = small.pages[0], tif.pages[0]
        assert (page.imagelength, page.imagewidth, page.rowsperstrip) == (32, 32, 32)
        assert page.jpegtables == original.jpegtables
        for code in (258, 262, 277, 530):
            assert page.tags[code].value == original.tags[code].value
        assert page.databytecounts == (1,)
        assert Path(path).stat().st_size > page.dataoffsets[0]
