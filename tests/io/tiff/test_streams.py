"""Streams whose check value is verified, wherever they end."""

import lzma
import zlib

import pytest

from unetkit.io.tiff.streams import inflate, unpack_lzma

RAW = bytes(range(256)) * 20  # 5120 bytes


class TestInflating:
    @pytest.mark.parametrize("size", [0, 5000, 5120, 6000])
    def test_the_expected_size_changes_nothing(self, size):
        assert inflate(zlib.compress(RAW), 6000, size) == RAW

    @pytest.mark.parametrize("size", [0, 5000, 5120, 6000])
    @pytest.mark.parametrize("place", range(1, 5))
    def test_every_byte_of_the_checksum_counts(self, place, size):
        packed = bytearray(zlib.compress(RAW))
        packed[-place] ^= 1
        with pytest.raises(zlib.error, match="incorrect data check"):
            inflate(bytes(packed), 6000, size)

    @pytest.mark.parametrize("size", [0, 5120])
    def test_it_may_hold_as_much_as_is_allowed(self, size):
        assert inflate(zlib.compress(RAW), 5120, size) == RAW
        with pytest.raises(OSError, match=r"^its data go on beyond 5,119 bytes$"):
            inflate(zlib.compress(RAW), 5119, size and 5119)

    def test_little_memory_is_taken_for_a_bomb(self):
        with pytest.raises(OSError, match="its data go on beyond 100 bytes"):
            inflate(zlib.compress(bytes(1 << 26)), 100, 100)

    @pytest.mark.parametrize("missing", [1, 3, 4, 40])
    def test_a_stream_that_is_cut_off(self, missing):
        with pytest.raises(OSError, match=r"^its data are cut off after \d,?\d+ bytes$"):
            inflate(zlib.compress(RAW)[:-missing], 5120, 5120)

    @pytest.mark.parametrize("size", [0, 5120])
    def test_up_to_three_zeros_may_follow(self, size):
        assert inflate(zlib.compress(RAW) + bytes(3), 5120, size) == RAW
        for rest in (bytes(4), b"\1", b"\0\0\1"):
            message = rf"^{len(rest)} bytes follow the end of its data$"
            with pytest.raises(OSError, match=message):
                inflate(zlib.compress(RAW) + rest, 5120, size)

    def test_a_stream_that_is_followed_by_its_own_checksum(self):
        """The last four bytes are right, and do not belong to the stream."""
        packed = zlib.compress(RAW)
        with pytest.raises(OSError, match="4 bytes follow"):
            inflate(packed + packed[-4:], 5120, 0)


class TestLzma:
    @pytest.mark.parametrize("check", [lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256])
    def test_a_flipped_bit_of_the_data_is_found(self, check):
        packed = bytearray(lzma.compress(RAW, check=check))
        assert unpack_lzma(bytes(packed), 5120) == RAW
        for place in range(12, len(packed), 7):
            flipped = packed.copy()
            flipped[place] ^= 16
            with pytest.raises((lzma.LZMAError, OSError)):
                unpack_lzma(bytes(flipped), 5120)

    def test_it_may_hold_as_much_as_is_allowed(self):
        with pytest.raises(OSError, match="its data go on beyond 5,119 bytes"):
            unpack_lzma(lzma.compress(RAW), 5119)

    def test_what_follows_or_is_missing(self):
        packed = lzma.compress(RAW)
        assert unpack_lzma(packed + bytes(3), 5120) == RAW
        with pytest.raises(OSError, match="5 bytes follow the end of its data"):
            unpack_lzma(packed + b"extra", 5120)
        with pytest.raises(OSError, match="its data are cut off after 5,120 bytes"):
            unpack_lzma(packed[:-1], 5120)
