"""Planes of TIFF images: how each is read, how little of the file, and what is refused."""

import math
import os
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import hostile
from tests.hostile import read_file
from tests.io.tiff.reading import open_tiff_windows, opened_pages, read_frame
from tests.io.tiff.test_pages import packed, written
from tests.io.tiff.test_reader import (
    COLOUR,
    FEW,
    KINDS,
    PHOTO,
    STACK,
    grey,
    noise,
    pages_of,
    require_equal,
    rgb,
    save,
    spans,
)
from unetkit.errors import DataError
from unetkit.io.tiff import file_bytes, planes
from unetkit.io.tiff import reader as tiff_reader
from unetkit.io.tiff.file_bytes import OpenFile
from unetkit.io.tiff.pages import Plane
from unetkit.io.tiff.reader import TiffImage
from unetkit.io.tiff.segments import Grid, Segments

RNG = np.random.default_rng(8)


def refused(path, message, rows=(0, 70), columns=(0, 90)):
    """A window that cannot be read is refused with a message."""
    with pytest.raises(DataError, match=message), open_tiff_windows(path, None) as windows:
        windows.read(slice(*rows), slice(*columns))


def refused_whole(path, message, page=None):
    """An image that cannot be read is refused with a message."""
    with pytest.raises(DataError, match=message):
        read_frame(path, page)


@pytest.fixture
def opened(tmp_path):
    """Opens the planes of one image of a file, which `write` writes first."""
    contexts = []

    def open_planes(write, page=None, axis="auto", is_whole=False):
        path = tmp_path / "x.tif"
        write(path)
        context = opened_pages(path, axis)
        pages = context.__enter__()
        contexts.append(context)
        image = TiffImage(path, pages, page, axis, 1 << 20, is_whole)
        return image._planes, image

    yield open_planes
    for context in contexts:
        context.__exit__(None, None, None)


def read_plane(reader, rows, columns):
    """A window of a plane."""
    size = (rows.stop - rows.start, columns.stop - columns.start, reader.shape[2])
    window = np.empty(size, reader.dtype)
    reader.fill(window, rows, columns)
    return window


def way_of(reader):
    """How a plane is read."""
    return type(reader).__name__ + (", one run" if getattr(reader, "_is_run", False) else "")


# How it is written, page, channel axis, and what each of its planes is.
WAYS = {
    "plain strips": (
        rgb(COLOUR, rowsperstrip=7), None, "auto", [("SegmentReader, one run", (70, 90, 3))],
    ),
    "deflated": (rgb(COLOUR, compression="zlib"), None, "auto", [("SegmentReader", (70, 90, 3))]),
    "plain tiles": (rgb(COLOUR, tile=(16, 16)), None, "auto", [("SegmentReader", (70, 90, 3))]),
    "page of an array": (grey(STACK[0]), 1, "auto", [("SegmentReader, one run", (70, 90, 1))]),
    "pages as channels": (
        pages_of(*STACK[0], compression="zlib"), None, "auto",
        [("SegmentReader", (70, 90, 1))] * 3,
    ),
    "rows on pages": (pages_of(*FEW), None, "auto", [("RowPagesReader", (70, 90, 7))]),
    "a sample": (KINDS["samples that metadata call an axis"][0], 1, "auto",
                 [("SampleReader", (70, 90, 1))] * 3),
    "what Pillow decodes": (
        lambda path: Image.fromarray(PHOTO).convert("YCbCr").save(
            path, "TIFF", compression="tiff_lzw"
        ),
        None, "auto", [("PillowReader", (70, 90, 3))],
    ),
}  # fmt: skip


class TestOpening:
    """Each plane is read in the way that reads least."""

    @pytest.mark.parametrize("name", WAYS)
    def test_planes_are_read_as_they_are_stored(self, name, opened, tmp_path):
        write, page, axis, expected = WAYS[name]
        readers, _ = opened(write, page, axis)
        found = [(way_of(reader), reader.shape) for reader in readers]
        assert found == expected
        whole = read_frame(tmp_path / "x.tif", page, axis).array
        window = np.concatenate(
            [read_plane(reader, slice(3, 40), slice(5, 61)) for reader in readers], axis=2
        )
        assert np.array_equal(window, whole[3:40, 5:61])
        assert {reader.is_final for reader in readers} == {"PillowReader" in found[0]}
        for reader in readers:
            reader.close()
            reader.close()

    def test_after_closing_a_plane_is_read_again(self, opened):
        (reader,), _ = opened(WAYS["what Pillow decodes"][0])
        window = read_plane(reader, slice(0, 9), slice(0, 9))
        reader.close()
        assert np.array_equal(read_plane(reader, slice(0, 9), slice(0, 9)), window)

    def test_the_pages_that_were_opened_are_listed(self, opened):
        _, image = opened(pages_of(*STACK[0], compression="zlib"))
        assert [page.index for page in image._stored] == [0, 1, 2]

    def test_strips_with_a_gap_between_them_are_not_one_run(self, opened):
        rows = COLOUR[:24, :32, 0].tobytes()
        half = len(rows) // 2
        for gap, kind in ((b"", "SegmentReader, one run"), (b"gap", "SegmentReader")):
            # The second strip begins after the gap; place -1 is that of the first.
            tags = {278: 12, 273: [-1, -1 - half - len(gap)], 279: [half, half]}
            content = hostile.tiff(rows[:half] + gap + rows[half:], tags)
            (reader,), _ = opened(lambda path, content=content: path.write_bytes(content))
            assert way_of(reader) == kind
            window = read_plane(reader, slice(10, 14), slice(0, 32))
            assert np.array_equal(window, COLOUR[10:14, :32, :1])

    def test_a_page_that_metadata_name_and_the_file_lacks_is_refused(self, opened, tmp_path):
        _, image = opened(grey(PHOTO[..., 0]))
        message = r"x\.tif lacks a page; accepted are whole files; replace it"
        with pytest.raises(DataError, match=message):
            image._open_plane(Plane(SimpleNamespace(pages=[None]), 0))

    def test_images_of_which_pillow_leaves_channels_out(self, tmp_path, monkeypatch):
        path = tmp_path / "x.tif"
        path.write_bytes(hostile.encode(hostile.PHOTO, "TIFF", compression="jpeg"))
        grey = Image.new("L", (32, 24))
        monkeypatch.setattr(tiff_reader, "is_decoded_here", lambda keyframe: False)
        monkeypatch.setattr(Image, "open", lambda path: grey)
        refused_whole(
            path, r"x\.tif has 3 channels of 8 bits in the compression JPEG, which cannot"
        )

    def test_compressed_volumes(self, tmp_path):
        volume = RNG.integers(0, 256, (2, 48, 64), np.uint8)
        tifffile.imwrite(
            tmp_path / "x.tif", volume, volumetric=True, tile=(2, 16, 16), compression="zlib"
        )
        refused_whole(
            tmp_path / "x.tif",
            "compressed volumes; accepted are planes; save it without compression",
            page=0,
        )


class TestWindows:
    @given(
        size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
        segment=st.tuples(st.integers(1, 12), st.integers(1, 12)),
        data=st.data(),
    )
    def test_a_window_touches_the_segments_whose_pixels_it_has(self, size, segment, data):
        (height, width), (rows, columns) = size, segment
        grid = Grid(height, width, rows, columns, 1, 1, columns, True)
        top, bottom = sorted(data.draw(spans(height)))
        left, right = sorted(data.draw(spans(width)))
        # The number of the segment of each pixel, counted row by row.
        down, right_of = np.indices(size) // np.array(segment).reshape(2, 1, 1)
        numbers = down * math.ceil(width / columns) + right_of
        window = slice(top, bottom), slice(left, right)
        found = list(planes._touched(grid, *window))
        assert found == sorted(set(numbers[window].ravel().tolist()))
        out = np.full((bottom - top, right - left, 1), -1)
        for index in found:  # each segment is full of its number
            planes._place(out, np.full((rows, columns, 1), index), grid.corner(index), *window)
        assert np.array_equal(out[..., 0], numbers[window])

    @settings(derandomize=True, max_examples=40)
    @given(
        dtype=st.sampled_from(("u1", "u2", "f4")),
        predictor=st.sampled_from((1, 2, 3)),
        planar=st.booleans(),
        rows=st.sampled_from((9, 70)),
        windows=st.lists(st.tuples(spans(70), spans(90)), min_size=1, max_size=3),
    )
    def test_strips_that_are_unpacked_to_files(
        self, tmp_path_factory, dtype, predictor, planar, rows, windows
    ):
        predictor = 2 if predictor == 3 and dtype[0] != "f" else predictor
        array = noise(dtype, 3)
        path = tmp_path_factory.getbasetemp() / "stream.tif"
        path.write_bytes(written(array, 8, predictor, planar, rows=rows))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(planes, "SEGMENT_BYTES", 500)
            patch.setattr(planes, "INFLATED_FILES", 2)
            for name in ("READ_BYTES", "PACKED_BYTES", "SHORT_ROW"):
                patch.setattr(file_bytes, name, 100)
            with open_tiff_windows(path, None) as opened:
                for window in windows:
                    (top, bottom), (left, right) = map(sorted, window)
                    found = opened.read(slice(top, bottom), slice(left, right))
                    assert np.array_equal(found, array[top:bottom, left:right])

    @settings(derandomize=True, max_examples=40)
    @given(
        dtype=st.sampled_from(("u1", "u2")),
        planar=st.booleans(),
        window=st.tuples(spans(70), spans(90)),
        short=st.sampled_from((10, 1000)),
    )
    def test_rows_that_are_read_a_part_at_a_time(
        self, tmp_path_factory, dtype, planar, window, short
    ):
        array = noise(dtype, 3)
        path = tmp_path_factory.getbasetemp() / "rows.tif"
        path.write_bytes(written(array, 1, planar=planar, order=">"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file_bytes, "READ_BYTES", 1000)
            patch.setattr(file_bytes, "SHORT_ROW", short)
            require_equal(path, array, window)


@pytest.fixture
def decoded(monkeypatch):
    """Indices of the segments that were decoded."""
    found = []
    decode = Segments.decode

    def counted(self, index, packed):
        found.append(index)
        return decode(self, index, packed)

    monkeypatch.setattr(Segments, "decode", counted)
    return found


@pytest.fixture
def fetched(monkeypatch):
    """Bytes of each reading."""
    found = []
    read = OpenFile.read_at

    def counted(self, start, count):
        found.append(count)
        return read(self, start, count)

    monkeypatch.setattr(OpenFile, "read_at", counted)
    return found


class TestBounds:
    def test_only_the_tiles_of_a_window_are_decoded(self, decoded, fetched, tmp_path):
        path = tmp_path / "x.tif"
        array = RNG.integers(0, 256, (512, 512), np.uint8)
        save(path, array, tile=(32, 32), compression="zlib")
        with open_tiff_windows(path, None) as windows:
            assert not fetched
            found = windows.read(slice(30, 70), slice(64, 90))
            # Rows 30 to 69 are in tiles 0, 1 and 2 of 16 beside one another; columns in tile 2.
            assert decoded == [2, 18, 34]
            assert sum(fetched) < 4 * 32 * 32
            assert np.array_equal(found[..., 0], array[30:70, 64:90])
            windows.read(slice(0, 96), slice(64, 96))
            assert decoded == [2, 18, 34]  # they were kept

    @pytest.mark.parametrize(("kept", "times"), [(1 << 16, 4), (2000, 13)])
    def test_strips_are_decoded_once_if_they_are_kept(self, kept, times, decoded, tmp_path):
        path = tmp_path / "x.tif"
        save(path, PHOTO, photometric="rgb", rowsperstrip=10, compression="zlib")
        with open_tiff_windows(path, None, cache_bytes=kept) as windows:
            for left in range(0, 80, 20):
                windows.read(slice(0, 40), slice(left, left + 20))
        # Of four strips, 2700 bytes each, the last one is there in any case: 4 + 3 * 3.
        assert len(decoded) == times

    def test_the_latest_strip_is_kept_whatever_its_size(self, decoded, tmp_path):
        path = tmp_path / "x.tif"
        save(path, PHOTO, photometric="rgb", rowsperstrip=70, compression="zlib")
        with open_tiff_windows(path, None, cache_bytes=0) as windows:
            for left in range(0, 80, 20):
                windows.read(slice(0, 40), slice(left, left + 20))
        assert decoded == [0]

    def test_of_plain_numbers_only_the_window_is_read(self, fetched, tmp_path):
        path = tmp_path / "x.tif"
        array = RNG.integers(0, 65536, (50, 4000), np.uint16)
        save(path, array)
        with open_tiff_windows(path, None) as windows:
            found = windows.read(slice(20, 30), slice(3000, 3100))
        assert sum(fetched) == 10 * 100 * 2
        assert np.array_equal(found[..., 0], array[20:30, 3000:3100])

    def test_a_strip_is_unpacked_to_a_file_once_and_as_far_as_needed(
        self, fetched, monkeypatch, tmp_path
    ):
        array = RNG.integers(0, 256, (200, 1000), np.uint8)
        path = tmp_path / "x.tif"
        save(path, array, rowsperstrip=200, compression="zlib")
        monkeypatch.setattr(planes, "SEGMENT_BYTES", 100_000)
        monkeypatch.setattr(file_bytes, "PACKED_BYTES", 20_000)
        with open_tiff_windows(path, None) as windows:
            windows.read(slice(0, 50), slice(0, 1000))
            # Noise is as long as before, so 50 rows of 1000 are in the first 3 of 20 000.
            assert fetched == [20_000] * 3
            for left in (0, 500):
                found = windows.read(slice(190, 200), slice(left, left + 500))
                assert np.array_equal(found[..., 0], array[190:, left : left + 500])
            assert sum(fetched) <= path.stat().st_size

    @pytest.mark.parametrize(
        ("gap", "times"),
        [(0, 1), (50, 1), (5000, 7)],  # 7 strips of 10 rows, about 3 KB each
    )
    def test_strips_side_by_side_are_read_at_once(self, gap, times, fetched, tmp_path):
        path = tmp_path / "x.tif"
        path.write_bytes(written(COLOUR, 8, rows=10))
        with tifffile.TiffFile(path) as tif:
            page = tif.pages[0]
            tif.filehandle.seek(0)
            content = tif.filehandle.read()
            strips = [
                content[start : start + count]
                for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)
            ]
        offsets = [len(content) + sum(len(strip) + gap for strip in strips[:i]) for i in range(7)]
        path.write_bytes(content + b"".join(strip + bytes(gap) for strip in strips))
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages[0].tags[273].overwrite(offsets)
        with open_tiff_windows(path, None) as windows:
            assert np.array_equal(windows.read(slice(0, 70), slice(0, 90)), COLOUR)
        assert len(fetched) == times

    def test_a_far_corner_of_a_strip_of_more_than_two_gigabytes(self, tmp_path):
        side = 50_000
        path = tmp_path / "x.tif"
        head = hostile.tiff(b"", {256: side, 257: side, 278: side, 279: side * side})
        corner = RNG.integers(0, 256, (3, 4), np.uint8)
        with open(path, "wb") as file:
            file.write(head)
            try:
                file.truncate(len(head) + side * side)
            except OSError:
                pytest.skip("no room for a file of 2.5 GB")
            for row in range(3):
                file.seek(len(head) + (side - 3 + row) * side + side - 4)
                file.write(corner[row].tobytes())
        if os.name == "posix" and path.stat().st_blocks * 512 > 1 << 26:
            pytest.skip("files have no holes here")
        with pytest.raises(DataError, match="too large"):
            read_file(path)
        with open_tiff_windows(path, None) as windows:
            assert windows.shape == (side, side, 1)
            found = windows.read(slice(side - 4, side), slice(side - 5, side))
        expected = np.zeros((4, 5), np.uint8)
        expected[1:, 1:] = corner
        assert np.array_equal(found[..., 0], expected)

    def test_a_deflated_strip_of_more_than_is_unpacked_in_memory(self, tmp_path):
        rows, columns = 14_000, 10_000  # 140 MB, 2**27 is 134
        packer = zlib.compressobj(1)
        line = (np.arange(columns) % 251).astype(np.uint8).tobytes()
        data = b"".join(packer.compress(line * 100) for _ in range(rows // 100)) + packer.flush()
        path = tmp_path / "x.tif"
        path.write_bytes(hostile.tiff(data, {256: columns, 257: rows, 259: 8, 278: rows}))
        with open_tiff_windows(path, None) as windows:
            found = windows.read(slice(rows - 2, rows), slice(9000, 9003))
        # 9000 = 35 * 251 + 215
        assert found[..., 0].tolist() == [[215, 216, 217]] * 2

    def test_few_temporary_files_are_kept(self, opened, monkeypatch):
        monkeypatch.setattr(planes, "SEGMENT_BYTES", 100)
        monkeypatch.setattr(planes, "INFLATED_FILES", 2)
        (reader,), _ = opened(rgb(COLOUR, rowsperstrip=7, compression="zlib"))
        for row in (0, 30, 60, 3):
            window = read_plane(reader, slice(row, row + 1), slice(0, 90))
            assert np.array_equal(window, COLOUR[row : row + 1])
        assert list(reader._inflated) == [8, 0]  # rows 60 and 3 are in strips 8 and 0 of 7 rows
        kept = list(reader._inflated.values())
        reader.close()
        assert not reader._inflated
        assert all(inflated._file is None for inflated in kept)

    def test_a_strip_of_an_image_that_is_read_whole_is_decoded_in_memory(
        self, opened, decoded, monkeypatch
    ):
        monkeypatch.setattr(planes, "SEGMENT_BYTES", 1000)
        (reader,), _ = opened(
            lambda path: path.write_bytes(written(COLOUR, 5, rows=70)), is_whole=True
        )
        assert np.array_equal(read_plane(reader, slice(0, 70), slice(0, 90)), COLOUR)
        assert decoded == [0]


class TestThreads:
    @pytest.mark.parametrize("name", ["deflated strips of 7 rows", "strips of 7 rows"])
    @pytest.mark.parametrize("segment_bytes", [1 << 27, 100])
    def test_many_read_at_once(self, name, segment_bytes, tmp_path, monkeypatch):
        monkeypatch.setattr(planes, "SEGMENT_BYTES", segment_bytes)
        monkeypatch.setattr(planes, "INFLATED_FILES", 2)
        path = tmp_path / "x.tif"
        KINDS[name][0](path)
        starts = RNG.integers(0, (50, 70), (200, 2)).tolist()
        with open_tiff_windows(path, None, cache_bytes=10_000) as windows:

            def read(start):
                row, column = start
                return windows.read(slice(row, row + 20), slice(column, column + 20))

            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(read, starts))
        for (row, column), window in zip(starts, found, strict=True):
            assert np.array_equal(window, COLOUR[row : row + 20, column : column + 20])

    @settings(derandomize=True, max_examples=60)
    @given(
        compression=st.sampled_from((5, 8, 32773)),
        planar=st.booleans(),
        tiled=st.booleans(),
        rows=st.sampled_from((1, 7, 30)),
        batch=st.sampled_from((1, 2000, 9000)),
        kept=st.sampled_from((0, 5000, 1 << 20)),
        windows=st.lists(st.tuples(spans(70), spans(90)), min_size=1, max_size=4),
    )
    def test_one_window_is_decoded_by_several(
        self, tmp_path_factory, compression, planar, tiled, rows, batch, kept, windows
    ):
        path = tmp_path_factory.getbasetemp() / "batches.tif"
        path.write_bytes(written(COLOUR, compression, 2, planar, tiled, rows=rows))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(planes, "THREADS", 3)
            patch.setattr(planes, "BATCH_BYTES", batch)
            with open_tiff_windows(path, None, cache_bytes=kept) as opened:
                for window in windows:
                    (top, bottom), (left, right) = map(sorted, window)
                    found = opened.read(slice(top, bottom), slice(left, right))
                    assert np.array_equal(found, COLOUR[top:bottom, left:right])

    @pytest.mark.parametrize(("most", "is_threaded"), [(1 << 20, True), (1000, False)])
    def test_small_strips_only_are_decoded_at_the_same_time(
        self, most, is_threaded, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(planes, "THREADS", 3)
        monkeypatch.setattr(planes, "BATCH_BYTES", 1)
        monkeypatch.setattr(planes, "READ_BYTES", most)  # a strip has 10 * 90 * 3 = 2700
        names = set()
        decode = Segments.decode

        def noted(self, index, packed):
            names.add(threading.current_thread().name)
            return decode(self, index, packed)

        monkeypatch.setattr(Segments, "decode", noted)
        path = tmp_path / "x.tif"
        path.write_bytes(written(COLOUR, 5, rows=10))
        assert np.array_equal(read_frame(path, None).array, COLOUR)
        assert (names != {threading.current_thread().name}) is is_threaded


class TestRefusals:
    @pytest.mark.parametrize("flaw", ["short", "checksum"])
    def test_a_stream_that_is_unpacked_to_a_file(self, flaw, tmp_path, monkeypatch):
        monkeypatch.setattr(planes, "SEGMENT_BYTES", 100)
        monkeypatch.setattr(file_bytes, "READ_BYTES", 100)  # three rows of 32
        raw = hostile.GREY.tobytes()
        data = bytearray(packed(raw[:600] if flaw == "short" else raw, 8))
        if flaw == "checksum":
            data[-1] ^= 1
        path = tmp_path / "x.tif"
        path.write_bytes(hostile.tiff(bytes(data), {259: 8}))
        message = r"600 bytes, \d+ needed" if flaw == "short" else "Error -3 while decompressing"
        refused(path, rf"x\.tif cannot be read whole \(strip 1 of 1: {message}", (0, 24), (0, 32))
        with open_tiff_windows(path, None) as windows:
            for _ in range(2):  # what is before can be read, also after an error
                assert np.array_equal(windows.read(slice(0, 2), slice(0, 32)), hostile.GREY[:2])
                with pytest.raises(DataError, match=message):
                    windows.read(slice(20, 24), slice(0, 32))

    @pytest.mark.parametrize("batch", [1, 6000, 1 << 20])
    def test_of_several_damaged_strips_the_first_is_named(self, batch, tmp_path, monkeypatch):
        monkeypatch.setattr(planes, "THREADS", 4)
        monkeypatch.setattr(planes, "BATCH_BYTES", batch)
        path = tmp_path / "x.tif"
        path.write_bytes(written(COLOUR, 8, rows=7))
        with tifffile.TiffFile(path) as tif:
            starts = tif.pages[0].dataoffsets
        content = bytearray(path.read_bytes())
        for index in (8, 3, 5):
            content[starts[index]] ^= 255
        path.write_bytes(content)
        for _ in range(5):
            refused(path, r"x\.tif cannot be read whole \(strip 4 of 10: Error -3")
        require_equal(path, COLOUR, ((28, 35), (0, 90)))  # strip 5 is whole

    def test_strips_that_can_be_unpacked_in_memory_only(self, tmp_path, monkeypatch):
        monkeypatch.setattr(planes, "SEGMENT_BYTES", 1000)
        path = tmp_path / "x.tif"
        path.write_bytes(written(COLOUR, 5, rows=70))
        refused(
            path,
            r"x\.tif has strips or tiles of 70x90 pixels in the compression LZW; accepted are up "
            "to 1,000 bytes each, or pixels that are deflated or not compressed; save it in tiles",
        )

    def test_what_only_whole_pages_are_read_of(self, tmp_path):
        path = tmp_path / "x.tif"
        path.write_bytes(hostile.tiff(packed(bytes(2000), 8), {258: 12, 259: 8}))
        refused(path, "has 12 bits a sample with predictor 1; accepted", (0, 9), (0, 9))
        path.write_bytes(hostile.tiff(bytes(768), {259: 6}))
        refused(path, "the compression OJPEG, which cannot be read here", (0, 9), (0, 9))
