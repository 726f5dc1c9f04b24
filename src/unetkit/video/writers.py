"""Video files out of frames, by OpenCV: MPEG-4 in MP4, at a constant frame rate.

Of the encoders in OpenCV's wheel, this one takes the least time by far (docs/log.md). OpenCV
reports no error while it writes, so a file is checked when it is complete.
"""

import errno
import os
import shutil
from pathlib import Path

import cv2
import numpy as np

from unetkit._shared.files import open_input

SUFFIX = ".mp4"
FOURCC = "mp4v"
LONGEST_FRAME_SECONDS = 600.0  # that a frame is shown for; more is a wrong time
FULL_DISK_BYTES = 1 << 20  # of a disk that has less is said that it is full


class VideoFile:
    """A video that is being written.

    Frames are shown at their times, to within half of the distance between two: a frame that stays
    for longer is repeated, and one that is replaced before its turn is left out.

    Args:
        path: File to write, `SUFFIX` at its end.
        size: (height, width) of the frames. The encoder takes even sides: an odd one is completed
            by repeating the edge.
        rate: Frames a second.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int], rate: float) -> None:
        self._path, self._rate = path, rate
        height, width = size
        self._odd = height % 2, width % 2
        even = width + self._odd[1], height + self._odd[0]
        fourcc = cv2.VideoWriter.fourcc(*FOURCC)
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, rate, even)
        if not self._writer.isOpened():
            raise self._failure()
        self._waiting: np.ndarray | None = None
        self._seconds = self._tick = 0.0
        self._written = 0

    def write(self, seconds: float, pixels: np.ndarray) -> None:
        """Adds a frame.

        Args:
            seconds: Time from which it is shown; that of the first frame is the start.
            pixels: (H, W, 3) uint8, red, green and blue.
        """
        if self._waiting is not None:
            step = seconds - self._seconds
            # Times that go backwards, or far ahead, are damaged: the next frame simply follows.
            self._tick += step * self._rate if 0 <= step <= LONGEST_FRAME_SECONDS else 1.0
            self._repeat(round(self._tick) - self._written)
        bottom, right = self._odd
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        if bottom or right:
            pixels = cv2.copyMakeBorder(pixels, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        self._waiting, self._seconds = pixels, seconds

    def close(self, end: float) -> None:
        """Completes the file.

        Args:
            end: Time until which the last frame is shown, in seconds.

        Raises:
            OSError: It could not be written whole, such as on a full disk.
        """
        step = end - self._seconds
        if 0 <= step <= LONGEST_FRAME_SECONDS:
            self._tick += step * self._rate
        self._repeat(max(1, round(self._tick) - self._written))
        self._writer.release()
        if not _has_index(self._path) or _count_frames(self._path) != self._written:
            raise self._failure()

    def abandon(self) -> None:
        """Ends writing, without a complete file."""
        self._writer.release()

    def _repeat(self, times: int) -> None:
        if self._waiting is not None:
            for _ in range(times):
                self._writer.write(self._waiting)
                self._written += 1

    def _failure(self) -> OSError:
        folder = self._path.parent
        is_full = folder.exists() and shutil.disk_usage(folder).free < FULL_DISK_BYTES
        number = errno.ENOSPC if is_full else errno.EIO
        return OSError(number, os.strerror(number), str(self._path))


def _has_index(path: Path) -> bool:
    """Whether an MP4 ends with a complete index, which is written last.

    Source: ISO 14496-12, section 4.2: the length and the name of a box.
    """
    left = path.stat().st_size
    with open_input(path) as file:
        while head := file.read(8):
            length, name = int.from_bytes(head[:4], "big"), head[4:]
            if length == 1:
                length = int.from_bytes(file.read(8), "big")
                file.seek(-8, os.SEEK_CUR)
            if length < 8 or length > left:
                return False
            if name == b"moov":
                return True
            left -= length
            file.seek(length - 8, os.SEEK_CUR)
    return False


def _count_frames(path: Path) -> int:
    """Number of frames in a video, not decoded."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    count = 0
    while capture.grab():
        count += 1
    return count
