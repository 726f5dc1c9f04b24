"""Bytes of files: read at an offset by many threads, as rows, inflated, and cached."""

import os
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.io.tiff import file_bytes
from unetkit.io.tiff.file_bytes import Cache, InflatedFile, OpenFile, Rows, version_of

CONTENT = bytes(range(100))


@pytest.fixture
def path(tmp_path):
    (tmp_path / "x.bin").write_bytes(CONTENT)
    return tmp_path / "x.bin"


@pytest.fixture
def file(path):
    opened = OpenFile(path)
    yield opened
    opened.close()


def reader(content, asked=None):
    """Reads from bytes; notes offset and count of each reading."""

    def read(start, count):
        assert 0 <= start <= start + count <= len(content)
        if asked is not None:
            asked.append((start, count))
        return content[start : start + count]

    return read


class TestOpenFile:
    def test_it_is_a_file_object_for_reading(self, file, path):
        assert file.name == str(path)
        assert file.size == 100
        assert file.read(3) == CONTENT[:3]
        assert file.seek(-2, os.SEEK_END) == file.tell() == 98
        assert file.read() == CONTENT[98:]
        buffer = bytearray(5)
        file.seek(10)
        assert file.readinto(buffer) == 5
        assert buffer == CONTENT[10:15]

    def test_bytes_are_read_from_an_offset(self, file):
        assert file.read_at(8, 92) == CONTENT[8:]
        assert file.read_at(99, 1) == CONTENT[99:]

    @pytest.mark.parametrize(
        ("start", "count", "words"),
        [
            (7, 4, "bytes 7 to 11 are not among its 100"),  # in the header of 8 bytes
            (8, 0, "bytes 8 to 8 are"),
            (8, -3, "bytes 8 to 5 are"),
            (99, 2, "bytes 99 to 101 are"),
            (5000, 1, "bytes 5,000 to 5,001 are"),
        ],
    )
    def test_bytes_that_are_not_in_the_file_are_refused(self, start, count, words, file):
        with pytest.raises(OSError, match=words):
            file.read_at(start, count)

    def test_a_file_that_was_cut_meanwhile_is_noticed(self, file, path):
        os.truncate(path, 50)
        with pytest.raises(OSError, match=r"^50 bytes, 60 needed$"):
            file.read_at(40, 20)

    def test_a_closed_file_is_refused(self, file):
        assert not file.is_closed
        file.close()
        file.close()
        assert file.is_closed
        for read in (file.read, file.tell, lambda: file.seek(0), lambda: file.read_at(8, 1)):
            with pytest.raises(OSError, match="the file was closed"):
                read()
        with pytest.raises(OSError, match="the file was closed"), file.reserved():
            pytest.fail("reserved")

    def test_a_file_that_does_not_exist_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            OpenFile(tmp_path / "none.bin")

    def test_threads_do_not_move_one_another(self, file):
        starts = np.random.default_rng(0).integers(8, 90, 300).tolist()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda start: file.read_at(start, 10), starts))
        assert found == [CONTENT[start : start + 10] for start in starts]

    def test_nothing_is_read_while_the_file_is_reserved(self, file):
        with ThreadPoolExecutor(1) as pool:
            with file.reserved():
                file.seek(20)
                waiting = pool.submit(file.read_at, 50, 10)
                assert not waiting.done()
                assert file.read(5) == CONTENT[20:25]
            assert waiting.result(timeout=10) == CONTENT[50:60]

    def test_the_handle_of_another_object_is_adopted(self, path):
        first, second = OpenFile(path), OpenFile(path)
        own = first.handle
        first.adopt(second)
        assert first.handle is second.handle
        own.close()
        assert first.read_at(8, 3) == CONTENT[8:11]
        second.close()

    def test_versions_differ_when_the_file_changes(self, file, path):
        assert file.version == version_of(file.handle)
        with open(path, "ab") as other:
            other.write(b"!")
        assert version_of(file.handle) != file.version
        with open(path, "rb") as again:
            assert version_of(again) == version_of(file.handle)


def as_pixels(unpacked, columns):
    """Rows of bytes as pixels of three of them."""
    assert unpacked.dtype == np.uint8
    return unpacked.reshape(len(unpacked), columns, 3)


class TestRows:
    IMAGE = np.random.default_rng(1).integers(0, 256, (11, 13, 3), np.uint8)

    @settings(max_examples=60)
    @given(
        rows=st.tuples(st.integers(0, 10), st.integers(1, 11)),
        columns=st.tuples(st.integers(0, 12), st.integers(1, 13)),
        pixel_bytes=st.sampled_from((0, 3)),
        short=st.sampled_from((1, 1000)),
        at_a_time=st.sampled_from((1, 50, 1000)),
    )
    def test_a_window_is_the_image_cut(self, rows, columns, pixel_bytes, short, at_a_time):
        (top, bottom), (left, right) = sorted(rows), sorted(columns)
        bottom, right = max(bottom, top + 1), max(right, left + 1)
        out = np.zeros((bottom - top, right - left, 3), np.uint8)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file_bytes, "SHORT_ROW", short)
            patch.setattr(file_bytes, "READ_BYTES", at_a_time)
            stored = Rows(reader(self.IMAGE.tobytes()), 39, pixel_bytes, as_pixels)
            stored.fill(out, slice(top, bottom), slice(left, right), 13)
        assert np.array_equal(out, self.IMAGE[top:bottom, left:right])

    @pytest.mark.parametrize(
        ("pixel_bytes", "short", "at_a_time", "expected"),
        [
            (3, 10, 1 << 23, [(84, 6), (123, 6)]),  # rows 2 and 3 of 39 bytes, pixels 2 and 3
            (3, 1000, 1 << 23, [(78, 78)]),  # a short row is read whole
            (3, 1000, 50, [(78, 39), (117, 39)]),  # one row at a time
            (0, 10, 1 << 23, [(78, 78)]),  # pixels cannot be cut from a row
        ],
    )
    def test_little_more_than_the_window_is_read(
        self, pixel_bytes, short, at_a_time, expected, monkeypatch
    ):
        monkeypatch.setattr(file_bytes, "SHORT_ROW", short)
        monkeypatch.setattr(file_bytes, "READ_BYTES", at_a_time)
        asked = []
        out = np.zeros((2, 2, 3), np.uint8)
        stored = Rows(reader(self.IMAGE.tobytes(), asked), 39, pixel_bytes, as_pixels)
        stored.fill(out, slice(2, 4), slice(2, 4), 13)
        assert asked == expected
        assert np.array_equal(out, self.IMAGE[2:4, 2:4])

    def test_numbers_are_converted_to_the_type_of_the_window(self):
        values = np.arange(12, dtype=">u2").reshape(3, 4)

        def convert(unpacked, columns):
            return np.ascontiguousarray(unpacked).view(">u2").reshape(-1, columns, 1)

        out = np.zeros((2, 2, 1), np.float32)
        Rows(reader(values.tobytes()), 8, 2, convert).fill(out, slice(1, 3), slice(1, 3), 4)
        assert out[..., 0].tolist() == [[5, 6], [9, 10]]


class TestInflatedFile:
    RAW = np.random.default_rng(2).integers(0, 256, 5000, np.uint8).tobytes()

    @pytest.fixture(autouse=True)
    def small_steps(self, monkeypatch):
        monkeypatch.setattr(file_bytes, "READ_BYTES", 300)
        monkeypatch.setattr(file_bytes, "PACKED_BYTES", 200)

    def opened(self, packed, size=5000, asked=None, most=0):
        return InflatedFile(reader(packed, asked), len(packed), size, most)

    def test_bytes_are_those_of_zlib_in_any_order(self):
        inflated = self.opened(zlib.compress(self.RAW))
        for start, count in ((4000, 10), (0, 5000), (4999, 1), (17, 600)):
            assert inflated.read(start, count) == self.RAW[start : start + count]
        inflated.close()

    def test_the_stream_is_read_once_and_as_far_as_needed(self):
        asked = []
        inflated = self.opened(zlib.compress(self.RAW, 0), asked=asked)  # 2 + 5 + 5000 + 4 bytes
        inflated.read(0, 500)
        # Noise is as long as before: 500 bytes are in the first three of 200.
        assert asked == [(0, 200), (200, 200), (400, 200)]
        inflated.read(100, 400)
        assert len(asked) == 3
        inflated.read(0, 5000)
        assert asked == [(200 * i, 200) for i in range(25)] + [(5000, 11)]

    def test_after_closing_it_begins_again(self):
        asked = []
        inflated = self.opened(zlib.compress(self.RAW), asked=asked)
        inflated.close()  # before anything was read
        first = inflated.read(0, 100)
        inflated.close()
        assert inflated.read(0, 100) == first == self.RAW[:100]
        assert asked == [(0, 200)] * 2

    def test_a_stream_that_is_too_short_is_refused_each_time(self):
        inflated = self.opened(zlib.compress(self.RAW[:700]))
        for _ in range(2):
            assert inflated.read(0, 300) == self.RAW[:300]
            with pytest.raises(OSError, match=r"^700 bytes, 1,000 needed$"):
                inflated.read(0, 1000)

    def test_a_stream_that_was_cut_is_refused(self):
        inflated = self.opened(zlib.compress(self.RAW, 0)[:1000])
        with pytest.raises(OSError, match=r"^\d+ bytes, 5,000 needed$"):
            inflated.read(0, 5000)

    def test_a_wrong_checksum_is_refused_at_the_end_only(self):
        packed = bytearray(zlib.compress(self.RAW))
        packed[-1] ^= 1
        inflated = self.opened(bytes(packed))
        assert inflated.read(0, 4000) == self.RAW[:4000]
        with pytest.raises(zlib.error, match="incorrect data check"):
            inflated.read(0, 5000)

    def test_a_stream_that_goes_on_is_refused_and_inflated_no_further(self):
        asked = []
        inflated = self.opened(zlib.compress(self.RAW + bytes(1 << 20), 0), asked=asked)
        assert inflated.read(0, 4000) == self.RAW[:4000]
        with pytest.raises(OSError, match=r"^its data go on beyond 5,000 bytes$"):
            inflated.read(0, 5000)
        assert sum(count for _, count in asked) < 7000

    def test_a_last_strip_may_be_filled_up(self):
        packed = zlib.compress(self.RAW + bytes(100), 0)
        assert self.opened(packed, most=5100).read(0, 5000) == self.RAW
        with pytest.raises(OSError, match="go on beyond 5,099 bytes"):
            self.opened(packed, most=5099).read(0, 5000)

    def test_bytes_after_the_stream_are_refused(self):
        packed = zlib.compress(self.RAW)
        assert self.opened(packed + bytes(3)).read(0, 5000) == self.RAW
        for rest in (bytes(4), b"\1", bytes(1 << 12)):
            with pytest.raises(OSError, match=r"^[\d,]+ bytes follow the end of its data$"):
                self.opened(packed + rest).read(0, 5000)

    def test_a_missing_checksum_is_refused(self):
        with pytest.raises(OSError, match=r"^its data are cut off after 5,000 bytes$"):
            self.opened(zlib.compress(self.RAW)[:-1]).read(0, 5000)

    def test_garbage_is_refused(self):
        with pytest.raises(zlib.error, match="incorrect header check"):
            self.opened(b"garbage" * 9).read(0, 10)


class TestCache:
    def test_what_was_used_last_is_kept(self):
        cache = Cache(20)
        arrays = {key: np.full(10, key, np.uint8) for key in range(3)}
        cache.put(0, arrays[0])
        cache.put(1, arrays[1])
        assert cache.get(0) is arrays[0]  # now 1 was used longest ago
        cache.put(2, arrays[2])
        assert cache.get(1) is None
        assert cache.get(0) is arrays[0]
        assert cache.get(2) is arrays[2]

    def test_the_latest_one_is_kept_whatever_its_size(self):
        cache = Cache(0)
        cache.put("a", np.zeros(5))
        cache.put("b", np.ones(1000))
        assert cache.get("a") is None
        assert cache.get("b").sum() == 1000

    def test_the_first_of_two_threads_counts(self):
        cache, first = Cache(100), np.zeros(3)
        cache.put("a", first)
        cache.put("a", np.ones(3))
        assert cache.get("a") is first

    def test_it_is_empty_after_clearing_and_has_all_its_room(self):
        cache = Cache(20)
        cache.put("a", np.zeros(20, np.uint8))
        cache.clear()
        assert cache.get("a") is None
        for key in "bc":
            cache.put(key, np.zeros(10, np.uint8))
        assert cache.get("b") is not None
        assert cache.get("c") is not None

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=30))
    def test_its_size_is_bounded_and_values_are_never_mixed_up(self, puts):
        cache, sizes = Cache(20), {}
        for key, size in puts:
            if cache.get(key) is None:
                sizes[key] = size
            cache.put(key, np.full(size, key, np.uint8))
            kept = {k: found for k in range(6) if (found := cache.get(k)) is not None}
            assert sum(array.nbytes for array in kept.values()) <= 20
            for k, array in kept.items():
                assert array.tolist() == [k] * sizes[k]
            assert key in kept
