"""Windows of TIFF images: each is the whole image, cut; and little is read for it."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import hostile
from tests.hostile import read_file
from tests.io.tiff.reading import open_tiff_windows, read_frame
from tests.io.tiff.test_pages import COMPRESSIONS, packed, written
from tests.io.tiff.test_segments import write_jpeg_tiles
from unetkit.errors import DataError, DataNotFoundError, SizeError
from unetkit.io.images import ImageFile
from unetkit.io.tiff import pages

RNG = np.random.default_rng(5)
SHAPE = (70, 90)
ROWS, COLUMNS = np.mgrid[: SHAPE[0], : SHAPE[1]]
PHOTO = np.stack([ROWS * 3, COLUMNS * 2, 250 - ROWS - COLUMNS], 2).astype(np.uint8)
LAW = settings(derandomize=True, max_examples=25)


def noise(dtype, channels=1):
    """(70, 90, channels) of any type, with both of its ends."""
    if dtype is bool:
        return RNG.random((*SHAPE, channels)) < 0.5
    if np.dtype(dtype).kind == "f":
        return RNG.normal(0, 1e3, (*SHAPE, channels)).astype(dtype)
    ends = np.iinfo(dtype)
    return RNG.integers(ends.min, ends.max, (*SHAPE, channels), dtype, endpoint=True)


def save(path, array, **options):
    tifffile.imwrite(path, array, **{"metadata": None} | options)


def pillow(image, **options):
    def write(path):
        image.save(path, "TIFF", **options)

    return write


def rgb(array, **options):
    return lambda path: save(path, array, photometric="rgb", **options)


def grey(array, **options):
    return lambda path: save(path, array, photometric="minisblack", **options)


def laid(*args, **options):
    return lambda path: path.write_bytes(written(*args, **options))


def pages_of(*arrays, **options):
    def write(path):
        with tifffile.TiffWriter(path) as tif:
            for array in arrays:
                tif.write(array, contiguous=False, metadata=None, **options)

    return write


def oriented(write, orientation):
    def turned(path):
        write(path)
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages[0].tags[274].overwrite(orientation)

    return turned


def marked(orientation, array, **options):
    return rgb(array, extratags=[(274, 3, 1, orientation, True)], **options)


STACK = RNG.integers(0, 65536, (2, 3, *SHAPE), np.uint16)
COLOUR, DEEP, FEW = noise("u1", 3), noise("u2", 3), noise("u1", 7)
LINES = Image.fromarray(PHOTO[..., 0]).convert("1")
# Of each kind how it is written, and the page and the channel axis that it is read with.
KINDS = {
    **{f"strips of {n} rows": (rgb(COLOUR, rowsperstrip=n), None, "auto") for n in (1, 7, 70)},
    **{
        f"deflated strips of {n} rows": (
            rgb(COLOUR, rowsperstrip=n, compression="zlib"), None, "auto",
        )
        for n in (1, 7, 70)
    },
    **{
        f"tiles of {n}, {how}": (rgb(COLOUR, tile=(n, n), compression=how), None, "auto")
        for n in (16, 64, 256)
        for how in (None, "zlib")
    },
    "tiles that are wide": (rgb(COLOUR, tile=(16, 48), compression="zlib"), None, "auto"),
    "predicted tiles": (
        rgb(DEEP, tile=(32, 32), compression="zlib", predictor=2), None, "auto",
    ),
    "predicted strips, big-endian": (
        rgb(DEEP, rowsperstrip=7, compression="zlib", predictor=2, byteorder=">"), None, "auto",
    ),
    "BigTIFF, big-endian": (rgb(DEEP, bigtiff=True, byteorder=">", tile=(32, 32)), None, "auto"),
    "planes": (grey(np.moveaxis(FEW, 2, 0), planarconfig="separate"), None, "auto"),
    "planes in tiles": (
        grey(np.moveaxis(FEW, 2, 0), planarconfig="separate", tile=(32, 16), compression="zlib"),
        None, "auto",
    ),
    "seven channels in strips": (
        grey(FEW, planarconfig="contig", rowsperstrip=5), None, "auto",
    ),
    "opacity": (rgb(noise("u1", 4), extrasamples=[2], compression="zlib"), None, "auto"),
    "a fourth channel": (rgb(noise("u1", 4), tile=(32, 32)), None, "last"),
    **{
        f"{np.dtype(dtype).name} in {where}": (
            grey(noise(dtype)[..., 0], **options), None, "auto",
        )
        for dtype in ("u1", "u2", "i4", "f2", "f4", "f8", "i1")
        for where, options in {
            "strips": {"rowsperstrip": 9},
            "deflated tiles": {"tile": (32, 32), "compression": "zlib"},
        }.items()
    },
    **{
        f"bits in {where}": (grey(noise(bool)[..., 0], **options), None, "auto")
        for where, options in {
            "one strip": {},
            "strips": {"rowsperstrip": 9},
            "deflated tiles": {"tile": (32, 32), "compression": "zlib"},
        }.items()
    },
    "white is zero": (
        lambda path: save(path, COLOUR[..., 0], photometric="miniswhite", tile=(32, 32)),
        None, "auto",
    ),
    "bits whose white is zero": (
        lambda path: save(path, noise(bool)[..., 0], photometric="miniswhite"), None, "auto",
    ),
    "a palette": (pillow(Image.fromarray(PHOTO).quantize(64)), None, "auto"),
    "a palette in LZW": (
        pillow(Image.fromarray(PHOTO).quantize(64), compression="tiff_lzw", tiffinfo={278: 9}),
        None, "auto",
    ),
    **{
        f"{how} of {mode}": (
            pillow(Image.fromarray(PHOTO).convert(mode), compression=how, tiffinfo={278: 16}),
            None, "auto",
        )
        for how in ("tiff_lzw", "packbits", "zstd", "lzma", "jpeg")
        for mode in ("RGB", "L", "CMYK")
    },
    "fax": (pillow(LINES, compression="group4", tiffinfo={278: 16}), None, "auto"),
    "JPEG in tiles": (lambda path: write_jpeg_tiles(path, PHOTO, 32, tables=True), None, "auto"),
    "JPEG in tiles, upside down": (
        lambda path: write_jpeg_tiles(path, PHOTO, 32, extra=[(274, 3, 1, 6, True)]), None, "auto",
    ),
    **{
        f"orientation {i}": (
            marked(i, COLOUR, rowsperstrip=7, compression="zlib"), None, "auto",
        )
        for i in range(1, 9)
    },
    **{
        f"orientation {i} of plain numbers": (marked(i, DEEP), None, "auto") for i in (4, 5, 8)
    },
    **{
        f"{kind} of {axes}, {how}": (
            lambda path, kind=kind, axes=axes, how=how: tifffile.imwrite(
                path, STACK, metadata={"axes": axes}, compression=how, **{kind: True}
            ),
            page, "auto",
        )
        for kind, how in (("imagej", None), ("ome", None), ("ome", "zlib"))
        for axes, page in (("TCYX", 1), ("ZCYX", 0) if kind == "imagej" else ("CZYX", 2))
    },
    "samples that metadata call an axis": (
        lambda path: tifffile.imwrite(
            path, STACK, photometric="rgb", planarconfig="separate", metadata={"axes": "TCYX"},
            compression="zlib",
        ),
        1, "auto",
    ),
    "samples that metadata call an axis, plain": (
        lambda path: tifffile.imwrite(
            path, STACK, photometric="rgb", planarconfig="separate", metadata={"axes": "TCYX"}
        ),
        1, "auto",
    ),
    "a page of a stack": (grey(STACK[0], compression="zlib"), 2, "auto"),
    "a page of a plain stack": (
        lambda path: tifffile.imwrite(path, STACK[0], photometric="minisblack"), 2, "auto",
    ),
    "pages as channels": (pages_of(*STACK[0], compression="zlib"), None, "auto"),
    "plain pages as channels": (pages_of(*STACK[0], rowsperstrip=9), None, "first"),
    "colour pages as channels": (pages_of(COLOUR, PHOTO, compression="zlib"), None, "auto"),
    "pages of several types as channels": (
        pages_of(noise("u1")[..., 0], noise("u2")[..., 0], noise(bool)[..., 0]), None, "auto",
    ),
    "channels last in one array": (
        lambda path: tifffile.imwrite(path, FEW, photometric="minisblack"), None, "auto",
    ),
    "rows on pages": (pages_of(*FEW), None, "auto"),
    "rows on deflated pages": (pages_of(*FEW, compression="zlib"), None, "auto"),
}  # fmt: skip


def spans(size):
    """A start and a larger stop, from 0 to a size."""
    return st.tuples(st.integers(0, size), st.integers(0, size)).filter(lambda p: p[0] != p[1])


def require_equal(path, whole, window, frame=None, axis="auto", **options):
    """One window of an image is what it is in the whole."""
    (top, bottom), (left, right) = map(sorted, window)
    with open_tiff_windows(path, frame, axis, **options) as windows:
        found = windows.read(slice(top, bottom), slice(left, right))
    expected = whole[top:bottom, left:right]
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


class TestTheLaw:
    @pytest.mark.parametrize("name", KINDS)
    def test_a_window_is_the_whole_cut(self, name, tmp_path):
        write, frame, axis = KINDS[name]
        path = tmp_path / "x.tif"
        write(path)
        image = read_frame(path, frame, axis)
        whole = image.array
        height, width, _ = whole.shape
        with open_tiff_windows(path, frame, axis, cache_bytes=20_000) as windows:
            assert windows.shape == whole.shape
            assert windows.dtype == whole.dtype
            assert windows.has_alpha is image.has_alpha
            assert np.array_equal(windows.palette, image.palette)

            @LAW
            @given(spans(height), spans(width))
            def check(rows, columns):
                (top, bottom), (left, right) = sorted(rows), sorted(columns)
                found = windows.read(slice(top, bottom), slice(left, right))
                expected = whole[top:bottom, left:right]
                assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
                assert found.tobytes() == expected.tobytes()

            check()
            assert np.array_equal(windows.read(slice(0, height), slice(0, width)), whole)

    @settings(derandomize=True, max_examples=150)
    @given(
        dtype=st.sampled_from(("u1", "u2", "u4", "i2", "i4", "f2", "f4", "f8")),
        channels=st.sampled_from((1, 3, 4, 7)),
        compression=st.sampled_from(sorted(COMPRESSIONS.values())),
        predictor=st.sampled_from((1, 2, 3)),
        planar=st.booleans(),
        tiled=st.booleans(),
        order=st.sampled_from("<>"),
        rows=st.integers(1, 70),
        window=st.tuples(spans(70), spans(90)),
    )
    def test_every_inner_form(
        self, tmp_path_factory, dtype, channels, compression, predictor, planar, tiled, order,
        rows, window,
    ):  # fmt: skip
        if compression == 1 or (predictor == 3 and dtype[0] != "f"):
            predictor = 1
        array = noise(dtype, channels)
        path = tmp_path_factory.getbasetemp() / "window.tif"
        path.write_bytes(written(array, compression, predictor, planar, tiled, order, rows))
        require_equal(path, array, window)

    def test_images_and_their_windows_are_turned_alike(self, tmp_path):
        path = tmp_path / "x.tif"
        for orientation in range(1, 9):
            marked(orientation, COLOUR)(path)
            with open_tiff_windows(path, None) as windows:
                assert windows.orientation == orientation
                height, width, _ = windows.shape
                found = windows.read(slice(0, height), slice(0, width))
            assert np.array_equal(found, read_file(path).bands)


class TestOpening:
    def test_nothing_stays_open(self, tmp_path):
        path = tmp_path / "x.tif"
        save(path, STACK[0], photometric="minisblack")
        with open_tiff_windows(path, 1) as windows:
            windows.read(slice(0, 2), slice(0, 2))
        windows.close()  # again
        folder = Path("/proc/self/fd")
        if folder.is_dir():
            assert str(path) not in [os.path.realpath(link) for link in folder.iterdir()]

    def test_pages_of_a_stack_are_listed_once(self, tmp_path, monkeypatch):
        path = tmp_path / "x.tif"
        save(path, STACK[0], photometric="minisblack")
        pages.forget_stacks()
        listed = []
        whole = pages._list_images
        monkeypatch.setattr(
            pages, "_list_images", lambda *of: listed.append(of[1].name) or whole(*of)
        )
        for page in range(3):
            with open_tiff_windows(path, page) as windows:
                assert np.array_equal(windows.read(slice(0, 9), slice(0, 9))[..., 0],
                                      STACK[0, page, :9, :9])  # fmt: skip
        assert listed == ["x.tif"]
        pages.forget_stacks()

    def test_two_at_once_are_each_their_own(self, tmp_path):
        path = tmp_path / "x.tif"
        save(path, STACK[0], photometric="minisblack")
        with open_tiff_windows(path, 0) as first, open_tiff_windows(path, 1) as second:
            rows = slice(0, 70), slice(0, 90)
            first.close()
            assert np.array_equal(second.read(*rows)[..., 0], STACK[0, 1])

    def test_what_is_read_after_closing_is_refused(self, tmp_path):
        path = tmp_path / "x.tif"
        save(path, PHOTO, photometric="rgb")
        with open_tiff_windows(path, None) as windows:
            pass
        message = r"x\.tif was closed; accepted are windows of an open image; open it again"
        with pytest.raises(DataError, match=message):
            windows.read(slice(0, 1), slice(0, 1))
        with pytest.raises(DataError, match=message):
            _ = windows.geotags

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"x\.tif does not exist any more"):
            open_tiff_windows(tmp_path / "x.tif", None).__enter__()

    def test_a_page_that_is_not_there(self, tmp_path):
        path = tmp_path / "x.tif"
        save(path, STACK[0], photometric="minisblack")
        with pytest.raises(DataError, match=r"x\.tif has no page 3; accepted are 0 to 2"):
            open_tiff_windows(path, 3).__enter__()

    def test_something_else_than_a_tiff(self, tmp_path):
        (tmp_path / "x.tif").write_bytes(hostile.PLAIN["PNG"])
        with pytest.raises(DataError, match=r"x\.tif cannot be read whole \(not a TIFF file"):
            open_tiff_windows(tmp_path / "x.tif", None).__enter__()

    def test_pages_of_several_sizes(self, tmp_path):
        path = tmp_path / "x.tif"
        pages_of(PHOTO[..., 0], PHOTO[:60, :, 0])(path)
        message = (
            r"x\.tif has pages of 60x90 and 70x90 pixels; accepted as one image are pages of one "
            "size; name a page, or split the file"
        )
        with pytest.raises(DataError, match=message):
            open_tiff_windows(path, None).__enter__()
        with open_tiff_windows(path, 1) as windows:
            assert windows.shape == (60, 90, 1)

    def test_more_columns_than_are_counted(self, tmp_path):
        path = tmp_path / "x.tif"
        path.write_bytes(hostile.tiff(bytes(99), {256: 1 << 31}))
        with pytest.raises(DataError, match=r"too large \(24x2147483648 pixels\); accepted are"):
            open_tiff_windows(path, None).__enter__()

    @pytest.mark.parametrize(
        ("rows", "columns", "message"),
        [
            (slice(0, 71), slice(0, 9), r"rows 0 to 71 with the step None are not inside .*x\.tif; "
             "accepted are a start and a larger stop from 0 to 70, without a step"),
            (slice(0, 9), slice(-1, 9), "columns -1 to 9 with the step None"),
            (slice(4, 4), slice(0, 9), "rows 4 to 4"),
            (slice(None, 4), slice(0, 9), "rows None to 4"),
            (slice(0, None), slice(0, 9), "rows 0 to None"),
            (slice(0, 4, 2), slice(0, 9), "rows 0 to 4 with the step 2"),
        ],
    )  # fmt: skip
    def test_windows_that_are_none(self, rows, columns, message, tmp_path):
        path = tmp_path / "x.tif"
        save(path, PHOTO, photometric="rgb")
        with open_tiff_windows(path, None) as windows, pytest.raises(SizeError, match=message):
            windows.read(rows, columns)


class TestDamage:
    def refused(self, path, message, rows=(0, 70), columns=(0, 90)):
        with pytest.raises(DataError, match=message), open_tiff_windows(path, None) as windows:
            windows.read(slice(*rows), slice(*columns))

    def cut(self, path, count):
        os.truncate(path, path.stat().st_size - count)

    @pytest.mark.parametrize("compression", [5, 8, 32773])
    def test_a_file_that_ends_in_a_strip(self, compression, tmp_path):
        path = tmp_path / "x.tif"
        path.write_bytes(written(COLOUR, compression, rows=10))
        self.cut(path, 100)
        message = (
            r"x\.tif cannot be read whole \(1 of 7 strips or tiles of page 0 are not among its \d+ "
            r"bytes\); accepted are undamaged TIFF files; replace or remove it"
        )
        self.refused(path, message)
        self.refused(path, message, rows=(0, 60))  # also where only others are needed

    @pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}])
    def test_plain_numbers_that_end_early(self, options, tmp_path):
        path = tmp_path / "x.tif"
        save(path, COLOUR, photometric="rgb", **options)
        self.cut(path, 9 * 90 * 3 + 5)
        self.refused(path, "1 of [19] strips or tiles of page 0 are not among its")

    def test_a_plain_tile_that_says_it_is_short(self, tmp_path):
        path = tmp_path / "x.tif"
        save(path, COLOUR, photometric="rgb", tile=(32, 32))
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages[0].tags[325].overwrite([3072] * 4 + [96] + [3072] * 4)
        self.refused(path, "tile 5 of 9: 96 bytes, 3,072 needed", (32, 64), (32, 64))
        require_equal(path, COLOUR, ((0, 33), (0, 90)))  # one row of it is there

    @pytest.mark.parametrize("change", ["absent", "a fraction"])
    def test_numbers_without_a_meaning(self, change, tmp_path):
        path = tmp_path / "x.tif"
        content = hostile.tiff(bytes(768), {262: None} if change == "absent" else {})
        tag = b"\6\1\4\0"  # 262, a whole number
        path.write_bytes(content.replace(tag, b"\6\1\x0b\0"))
        message = (
            r"x\.tif does not say what its numbers mean \(tag PhotometricInterpretation\); "
            "accepted are TIFF files with this tag; save it again"
        )
        self.refused(path, message, (0, 9), (0, 9))

    @pytest.mark.parametrize("what", ["bits", "zeros"])
    def test_a_corrupt_tile(self, what, tmp_path):
        path = tmp_path / "x.tif"
        save(path, COLOUR, photometric="rgb", tile=(32, 32), compression="zlib")
        with tifffile.TiffFile(path) as tif:
            start, count = tif.pages[0].dataoffsets[4], tif.pages[0].databytecounts[4]
        content = bytearray(path.read_bytes())
        middle = slice(start + count // 2, start + count // 2 + 9)
        content[middle] = bytes(9) if what == "zeros" else bytes(255 - b for b in content[middle])
        path.write_bytes(content)
        self.refused(path, r"\(tile 5 of 9: Error -3 while decompressing data: incorrect data")
        require_equal(path, COLOUR, ((0, 32), (0, 90)))

    @pytest.mark.parametrize("compression", [5, 7, 34925, 50000])
    def test_a_strip_of_garbage(self, compression, tmp_path):
        path = tmp_path / "x.tif"
        data = b"garbage" * 99
        tags = {259: compression, 278: 12, 273: [-1, -1], 279: [len(data)] * 2}
        path.write_bytes(hostile.tiff(data, tags))
        self.refused(path, r"x\.tif cannot be read whole \(strip 1 of 2: ", (0, 9), (0, 9))
        self.refused(path, r"x\.tif cannot be read whole \(strip 2 of 2: ", (12, 20), (0, 9))

    def test_a_strip_that_is_too_short_or_missing(self, tmp_path):
        path = tmp_path / "x.tif"
        data = packed(bytes(300), 8)
        tags = {259: 8, 278: 12, 273: [-1, 0], 279: [len(data), 0]}
        path.write_bytes(hostile.tiff(data, tags))
        self.refused(path, "strip 1 of 2: 300 bytes in a strip, 384 needed", (0, 9), (0, 9))
        self.refused(path, "strip 2 of 2: bytes 0 to 0 are not among its", (12, 20), (0, 9))

    def test_damage_on_another_page_names_it(self, tmp_path):
        path = tmp_path / "x.tif"
        pages_of(PHOTO, PHOTO, compression="zlib", rowsperstrip=10)(path)
        with tifffile.TiffFile(path) as tif:
            start = tif.pages[1].dataoffsets[2]
        content = bytearray(path.read_bytes())
        content[start] ^= 255
        path.write_bytes(content)
        self.refused(path, r"\(strip 3 of 7 of page 1: Error -3")

    @pytest.mark.parametrize("name", [n for n in hostile.KINDS if "TIFF" in n and "page" not in n])
    def test_hostile_files_are_read_alike_or_refused(self, name, tmp_path):
        path = tmp_path / hostile.KINDS[name].name
        hostile.KINDS[name].write(path)
        try:
            whole = read_frame(path, None)
        except DataError:
            whole = None
        try:
            with open_tiff_windows(path, None) as windows:
                height, width, _ = windows.shape
                rows, columns = slice(0, min(height, 999)), slice(0, min(width, 999))
                found = windows.read(rows, columns)
        except DataError as error:
            assert whole is None, name
            assert str(path) in str(error)  # noqa: PT017
        else:
            if whole is not None:
                assert np.array_equal(
                    found, whole.array[rows, columns], equal_nan=found.dtype.kind == "f"
                )


class TestGeotags:
    TAGS = (
        (33550, 12, 3, (0.5, 0.5, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 440_720.5, 3_751_320.25, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
        (34736, 12, 2, (6_378_137.0, 298.257223563), True),
        (34737, 2, 8, "WGS 84|", True),
        (42113, 2, 6, "-9999", True),
    )

    def test_they_are_written_again_as_they_were(self, tmp_path):
        first, second = tmp_path / "first.tif", tmp_path / "second.tif"
        save(first, PHOTO, photometric="rgb", extratags=self.TAGS)
        with open_tiff_windows(first, None) as windows:
            tags = windows.geotags
            assert windows.nodata == -9999
        assert set(tags) == {33550, 33922, 34735, 34736, 34737, 42113}
        assert tags[34735] == (3, 8, (1, 1, 0, 1, 1024, 0, 1, 1))
        save(second, PHOTO[..., 0], extratags=[(code, *tag, True) for code, tag in tags.items()])
        with open_tiff_windows(second, None) as windows:
            assert windows.geotags == tags

    def test_each_page_has_its_own(self, tmp_path):
        path = tmp_path / "x.tif"
        with tifffile.TiffWriter(path) as tif:
            for scale in (1.0, 2.0, 3.0):
                extra = [(33550, 12, 3, (scale, scale, 0.0), True)]
                tif.write(PHOTO[..., 0], contiguous=False, metadata=None, extratags=extra)
        for page in range(3):
            with open_tiff_windows(path, page) as windows:
                assert windows.geotags[33550][2] == (page + 1.0, page + 1.0, 0.0)

    def test_there_are_none(self, tmp_path):
        path = tmp_path / "x.tif"
        for array, options in ((PHOTO, {"photometric": "rgb"}), (STACK[0], {"imagej": True})):
            tifffile.imwrite(path, array, **options)
            with open_tiff_windows(path, 0) as windows:
                assert windows.geotags == {}
                assert windows.nodata is None

    @pytest.mark.parametrize(
        ("text", "value"), [("0", 0.0), (" 255 ", 255.0), ("-3.4e+38", -3.4e38), (" ", None)]
    )
    def test_no_data_is_a_number(self, text, value, tmp_path):
        path = tmp_path / "x.tif"
        save(path, PHOTO, photometric="rgb", extratags=[(42113, 2, len(text) + 1, text, True)])
        with open_tiff_windows(path, None) as windows:
            assert windows.nodata == value

    def test_no_data_may_be_nan(self, tmp_path):
        path = tmp_path / "x.tif"
        save(path, noise("f4")[..., 0], extratags=[(42113, 2, 4, "nan", True)])
        with open_tiff_windows(path, None) as windows:
            assert np.isnan(windows.nodata)

    def test_no_data_that_is_no_number(self, tmp_path):
        path = tmp_path / "x.tif"
        save(path, PHOTO, photometric="rgb", extratags=[(42113, 2, 6, "black", True)])
        message = (
            r"x\.tif has the no-data value 'black' \(tag 42113\); accepted is a number; correct "
            "the tag, or remove it"
        )
        with open_tiff_windows(path, None) as windows, pytest.raises(DataError, match=message):
            _ = windows.nodata


class TestMaskInTheFile:
    """A page that says where the image has data is no image (GDAL's internal masks)."""

    PIXELS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    VALID = np.arange(48) >= np.full((40, 1), 10)

    def write(self, path, overviews=False, extratags=()):
        with tifffile.TiffWriter(path) as tif:
            options = {"tile": (16, 16), "metadata": None}
            tif.write(self.PIXELS, photometric="rgb", extratags=extratags, **options)
            tif.write(self.VALID, subfiletype=4, photometric=4, compression="zlib", **options)
            if overviews:
                tif.write(self.PIXELS[::2, ::2], subfiletype=1, photometric="rgb", **options)
                tif.write(self.VALID[::2, ::2], subfiletype=5, photometric=4, **options)
        return path

    @pytest.mark.parametrize("overviews", [False, True])
    def test_it_says_where_there_is_no_data(self, tmp_path, overviews):
        with ImageFile(self.write(tmp_path / "a.tif", overviews)) as file:
            assert file.count == 1
            image = file.read()
        assert np.array_equal(image.bands, self.PIXELS)
        assert np.array_equal(image.missing, ~self.VALID)

    def test_a_window_has_the_gaps_of_its_place(self, tmp_path):
        with ImageFile(self.write(tmp_path / "a.tif")) as file:
            image = file.read(window=(slice(5, 20), slice(4, 30)))
        assert np.array_equal(image.missing, ~self.VALID[5:20, 4:30])

    def test_a_file_without_one_has_no_gaps(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", self.PIXELS, photometric="rgb")
        with ImageFile(tmp_path / "a.tif") as file:
            assert file.read().missing is None

    def test_pages_that_are_no_masks_stay_images(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
            tif.write(self.PIXELS, photometric="rgb", metadata=None)
            tif.write(self.VALID, photometric="minisblack", metadata=None)
        with ImageFile(tmp_path / "a.tif") as file:
            assert file.count == 2


class TestOpacityOfMaps:
    def write(self, path, is_map):
        pixels = np.full((20, 24, 4), 200, np.uint8)
        pixels[:, :6, 3] = 0
        tags = [(33550, "d", 3, (1.0, 1.0, 0.0), True)] if is_map else []
        tifffile.imwrite(
            path, pixels, photometric="rgb", extrasamples=["unassalpha"], extratags=tags
        )
        return path

    def test_where_a_map_is_transparent_there_is_no_data(self, tmp_path):
        with ImageFile(self.write(tmp_path / "a.tif", True)) as file:
            missing = file.read().missing
        assert missing[:, :6].all()
        assert not missing[:, 6:].any()

    def test_other_transparency_says_nothing_of_data(self, tmp_path):
        with ImageFile(self.write(tmp_path / "a.tif", False)) as file:
            image = file.read()
        assert image.missing is None
        assert image.is_transparent
