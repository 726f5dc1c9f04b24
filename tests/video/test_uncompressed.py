"""Uncompressed frames, whose bytes are written by hand."""

import struct

import numpy as np
import pytest

from tests.video.clips import avi_of, moving_frames, write_clip
from unetkit.errors import DataError
from unetkit.video.uncompressed import find_bitmap

FRAME = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)  # red, green, blue


def bitmap(tmp_path, bits, *, height=2, kind=0, palette=b"", used=0):
    """The bitmap of a header of 2 x 3 pixels of so many bits."""
    content = avi_of([FRAME])
    place = content.index(b"strf") + 8
    header = struct.pack("<IiiHHIIiiII", 40, 3, height, 1, bits, kind, 0, 0, 0, used, 0)
    changed = content[:place] + header + palette + content[place + 40 + len(palette) :]
    (tmp_path / "a.avi").write_bytes(changed)
    return find_bitmap(tmp_path / "a.avi")


def packet(*rows):
    return np.frombuffer(b"".join(rows), np.uint8)


def test_the_header_of_a_whole_file_is_found(tmp_path):
    found = find_bitmap(write_clip(tmp_path / "a.avi", moving_frames(1, (21, 27)), upwards=True))
    assert (found.size, found.bits, found.goes_up) == ((21, 27), 24, True)


def test_24_bits_are_blue_green_red_in_rows_of_multiples_of_4(tmp_path):
    rows = [
        bytes([2, 1, 0, 5, 4, 3, 8, 7, 6, 99, 99, 99]),
        bytes([11, 10, 9, 14, 13, 12, 17, 16, 15, 9, 9, 9]),
    ]
    assert np.array_equal(bitmap(tmp_path, 24).decode(packet(*rows[::-1])), FRAME)
    assert np.array_equal(bitmap(tmp_path, 24, height=-2).decode(packet(*rows)), FRAME)


def test_of_32_bits_the_last_is_left_out(tmp_path):
    rows = [
        bytes([2, 1, 0, 99, 5, 4, 3, 99, 8, 7, 6, 99]),
        bytes([11, 10, 9, 99, 14, 13, 12, 99, 17, 16, 15, 99]),
    ]
    assert np.array_equal(bitmap(tmp_path, 32).decode(packet(*rows[::-1])), FRAME)


def test_8_bits_are_indices_of_the_palette(tmp_path):
    palette = bytes([30, 20, 10, 0, 60, 50, 40, 0])  # blue, green, red, unused
    found = bitmap(tmp_path, 8, palette=palette, used=2)
    decoded = found.decode(packet(bytes([0, 0, 1, 9]), bytes([1, 0, 7, 9])))
    # What is beyond the palette of two colours stays grey.
    assert decoded.tolist() == [
        [[40, 50, 60], [10, 20, 30], [7, 7, 7]],
        [[10, 20, 30], [10, 20, 30], [40, 50, 60]],
    ]


def test_a_frame_that_is_cut_off_is_none(tmp_path):
    assert bitmap(tmp_path, 24).decode(packet(bytes(23))) is None


def test_other_depths_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.avi has uncompressed frames of 16 bits a pixel"):
        bitmap(tmp_path, 16)


def test_other_videos_have_none(tmp_path):
    assert bitmap(tmp_path, 24, kind=struct.unpack("<I", b"MJPG")[0]) is None
    for content in (
        b"",
        b"RIFF....AVI ",
        b"RIFF....AVI vids strf",
        bytes(99),
        avi_of([FRAME])[:180],
    ):
        (tmp_path / "b.avi").write_bytes(content)
        assert find_bitmap(tmp_path / "b.avi") is None
