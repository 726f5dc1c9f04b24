"""Frames of a video, one after another, as a process of their own decodes them (`decoder`)."""

import json
import math
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from unetkit._shared.threads import usable_cores
from unetkit._shared.wording import format_count
from unetkit.errors import DataError, MissingExtraError
from unetkit.video import decoder
from unetkit.video.containers import container_of

SECONDS_PER_FRAME = 120.0  # until a decoder that sends nothing is taken to hang
MOST_DECODING_THREADS = 4
DEMUXERS = "mov,avi,matroska"  # FFmpeg's names of the containers
VIDEO_REMEDY = (
    "accepted are complete videos that FFmpeg decodes; convert it: ffmpeg -i FILE film.mp4"
)


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Args:
        number: Number of the frame, from 0.
        seconds: When it is shown, in seconds from the start of the video.
        pixels: (H, W, 3) uint8, red, green and blue, upright.
        duration: Seconds for which it is shown; 0 if only the next frame tells.
    """

    number: int
    seconds: float
    pixels: np.ndarray
    duration: float = 0.0


class Video:
    """A video or an animation that is being decoded.

    Args:
        path: Path of the file.
        container: Name of the container; see `containers.container_of`. Of an animation, its
            format.
        size: (height, width) of its frames, in pixels.
        rate: Frames a second.
        declared_seconds: Duration by the header; None if it says none.
        frames: The frames, each decoded when it is asked for.
        count: Number of frames of an animation; None for a video, whose header may be wrong.
        loop: Number of repetitions of an animation, 0 without end; None to play it once.
    """

    def __init__(
        self,
        path: Path,
        container: str,
        size: tuple[int, int],
        rate: float,
        declared_seconds: float | None,
        frames: Iterator[Frame],
        count: int | None = None,
        loop: int | None = None,
    ) -> None:
        self.path, self.container, self.size, self.rate = path, container, size, rate
        self.declared_seconds, self.frames = declared_seconds, frames
        self.count, self.loop = count, loop

    @property
    def declared_frames(self) -> int | None:
        """Number of frames by the header, which may be wrong; None if it says none."""
        if self.count is not None:
            return self.count
        return None if self.declared_seconds is None else round(self.declared_seconds * self.rate)


@contextmanager
def open_video(path: Path, memory: int) -> Iterator[Video]:
    """Opens a video.

    Args:
        path: Path of the file.
        memory: Bytes that decoding may take.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: It is no video, or no frame of it can be decoded. `Video.frames` raises it, too,
            where decoding stops before the end.
        MissingExtraError: OpenCV reads no videos here.
    """
    container = container_of(path)
    if not decoder.is_available():
        raise MissingExtraError(
            f"{path} is a video, and OpenCV was built without FFmpeg, by which it reads videos; "
            "accepted is OpenCV from its wheel: pip install --force-reinstall "
            "opencv-python-headless"
        )
    threads = min(MOST_DECODING_THREADS, usable_cores())
    # Libraries print what they think of a file; quiet, as the reason comes as a message.
    quiet = {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8", "MALLOC_ARENA_MAX": "2"}
    quiet["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"protocol_whitelist;file|format_whitelist;{DEMUXERS}"
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            decoder.command(path, memory, threads),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **quiet},
        )
        try:
            messages = _Messages(path, process, process.stdout)  # type: ignore[arg-type]
            kind, content = messages.read()
            if kind != decoder.INFO:
                raise messages.failure(kind, content)
            info = json.loads(content)
            size = info["height"], info["width"]
            frames = _frames(messages, size)
            yield Video(path, container, size, info["rate"], info["seconds"], frames)
        finally:
            process.kill()
            process.communicate()


class _Messages:
    """Messages of a decoding process; one that sends nothing for long is ended."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes], pipe: BufferedReader) -> None:
        self._path, self._process, self._pipe = path, process, pipe
        self._hangs = False

    def read(self) -> tuple[bytes, bytearray]:
        """Waits for the next message: its kind, and what it holds; no kind if the process ended."""
        timer = threading.Timer(SECONDS_PER_FRAME, self._end)
        timer.daemon = True
        timer.start()
        try:
            head = self._pipe.read(decoder.MESSAGE_HEAD.size)
            if len(head) < decoder.MESSAGE_HEAD.size:
                return b"", bytearray()
            kind, length = decoder.MESSAGE_HEAD.unpack(head)
            content = bytearray(length)
            if self._pipe.readinto(content) < length:
                return b"", bytearray()
            return kind, content
        finally:
            timer.cancel()

    def _end(self) -> None:
        self._hangs = True
        self._process.kill()

    def failure(self, kind: bytes, content: bytearray, number: int | None = None) -> DataError:
        """The error that the end of the process, or its message, stands for."""
        where = "" if number is None else f" after {format_count(number, 'frame')}"
        remedy = VIDEO_REMEDY
        if kind == decoder.ERROR:
            reason, *others = json.loads(content)
            remedy = others[0] if others else VIDEO_REMEDY
        elif self._hangs:
            reason = f"the decoder sent nothing for {SECONDS_PER_FRAME:.0f} seconds"
        else:
            code = self._process.wait()
            what = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            reason = f"the decoder was ended {what}"
        return DataError(f"{self._path} cannot be read{where} ({reason}); {remedy}")


def _frames(messages: _Messages, size: tuple[int, int]) -> Iterator[Frame]:
    number, start = 0, decoder.TIME.size
    while True:
        kind, content = messages.read()
        if kind == decoder.END:
            return
        if kind != decoder.FRAME or len(content) != start + 3 * math.prod(size):
            raise messages.failure(kind, content, number)
        (seconds,) = decoder.TIME.unpack_from(content)
        pixels = np.frombuffer(content, np.uint8, offset=start).reshape(*size, 3)
        yield Frame(number, seconds, pixels)
        number += 1
