"""Uncompressed AVIs, as ImageJ and cameras in laboratories write them, decoded here.

Their rows run upwards. OpenCV hands such frames to a function that does not expect it, so that
pixels are wrong, or the process crashes (docs/log.md). It still finds the frames in the file.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unetkit._shared.files import open_input
from unetkit.errors import DataError

HEADER_BYTES = 1 << 16  # of an AVI, in which its streams are described
BITMAP_HEADER = struct.Struct("<IiiHHIIiiII")  # BITMAPINFOHEADER
NOT_COMPRESSED = 0  # BI_RGB


@dataclass(frozen=True)
class Bitmap:
    """How the pixels of an uncompressed frame are stored.

    Args:
        size: (height, width) in pixels.
        bits: Bits of a pixel: 8, indices of a palette; 24 or 32, blue, green and red.
        goes_up: Whether the first row is the lowest one.
        palette: (256, 3) uint8, red, green and blue, for 8 bits.
    """

    size: tuple[int, int]
    bits: int
    goes_up: bool
    palette: np.ndarray

    def decode(self, packet: np.ndarray) -> np.ndarray | None:
        """Returns a frame, (H, W, 3) uint8 in red, green and blue; None if it is cut off.

        Args:
            packet: Its bytes, uint8: rows of multiples of 4 bytes.
        """
        (height, width), channels = self.size, self.bits // 8
        row = (width * channels + 3) // 4 * 4
        if packet.size < height * row:
            return None
        rows = packet.ravel()[: height * row].reshape(height, row)[:, : width * channels]
        rows = rows[::-1] if self.goes_up else rows
        pixels = rows.reshape(height, width, channels)
        if self.bits == 8:
            return np.ascontiguousarray(self.palette[pixels[..., 0]])
        return np.ascontiguousarray(pixels[..., 2::-1])


def find_bitmap(path: Path) -> Bitmap | None:
    """Returns how frames of an uncompressed AVI are stored; None for any other video.

    Raises:
        DataError: Its pixels are of a kind that is not read.

    Source: Microsoft, AVI RIFF File Reference and BITMAPINFOHEADER.
    """
    with open_input(path) as file:
        start = file.read(HEADER_BYTES)
    if start[:4] != b"RIFF":
        return None
    place = start.find(b"strf", start.find(b"vids")) + 8
    if place < 8 or b"vids" not in start or len(start) < place + BITMAP_HEADER.size:
        return None
    length, width, height, _, bits, kind, *_ = BITMAP_HEADER.unpack_from(start, place)
    if kind != NOT_COMPRESSED or width < 1 or height == 0:
        return None
    if bits not in (8, 24, 32):
        raise DataError(
            f"{path} has uncompressed frames of {bits} bits a pixel; accepted are 8, 24 and 32; "
            "convert it: ffmpeg -i FILE film.mp4"
        )
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    if bits == 8:
        used = BITMAP_HEADER.unpack_from(start, place)[9] or 256
        stored = np.frombuffer(
            start[place + length : place + length + 4 * min(used, 256)], np.uint8
        )
        entries = stored[: len(stored) // 4 * 4].reshape(-1, 4)
        palette[: len(entries)] = entries[:, 2::-1]
    return Bitmap((abs(height), width), bits, height > 0, palette)
