"""A process that decodes a video, and sends its frames through a pipe.

Decoders of videos are large programs in C, and videos come from anywhere: what a file makes them do
(crash, hang, take memory) happens in this process, whose memory is limited where the system can do
that, and not in the one that predicts. `frames` starts it, and reads what it sends: messages of a
letter, the number of bytes that follow, and these bytes.
"""

import json
import struct
import sys
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from unetkit._shared.memory_budget import MIB, limit_addresses, mapped_bytes
from unetkit.errors import DataError, without_remedy
from unetkit.video.uncompressed import find_bitmap

MESSAGE_HEAD = struct.Struct("<cQ")
TIME = struct.Struct("<d")  # seconds, before the pixels of a frame
INFO, FRAME, ERROR, END = b"I", b"F", b"E", b"."
DECODER_PIXEL_BYTES = 64  # for each pixel: 16 frames that a codec refers to, and copies in RGB
DECODER_BASE_BYTES = 64 * MIB  # of a decoder, however small its frames
PROBED = 32  # frames whose times tell the frame rate
RATES = (0.01, 240.0)  # frames a second that headers are believed
USUAL_RATE = 25.0
BURST = 1.2  # a rate that is higher by this factor than the header's is taken from the times


class _RefusedError(Exception):
    """What is wrong with a video, and what to do, if it is not what `frames` says of all."""


def run_decoder(path: str, memory: str, threads: str) -> None:
    """Decodes the video at a path.

    Args:
        path: Path of the file.
        memory: Bytes that decoding may take.
        threads: Number of threads that decode.
    """
    out = sys.stdout.buffer
    try:
        mapped = mapped_bytes()
        if mapped is not None:
            limit_addresses(mapped + int(memory))
        _send_video(out, path, int(memory), int(threads))
    except BrokenPipeError:  # who reads has enough
        pass
    except DataError as error:
        _send(out, ERROR, json.dumps([without_remedy(error).removeprefix(f"{path} ")]).encode())
    except _RefusedError as error:
        _send(out, ERROR, json.dumps(error.args).encode())
    except (MemoryError, cv2.error) as error:
        is_short = isinstance(error, MemoryError) or error.code == cv2.Error.STS_NO_MEM
        reason = "it takes more memory than it may" if is_short else str(error)
        _send(out, ERROR, json.dumps([reason]).encode())


def _send(
    out: BinaryIO, kind: bytes, content: bytes = b"", pixels: np.ndarray | None = None
) -> None:
    out.write(MESSAGE_HEAD.pack(kind, len(content) + (0 if pixels is None else pixels.nbytes)))
    out.write(content)
    if pixels is not None:
        out.write(pixels.data)
    out.flush()


def _send_video(out: BinaryIO, path: str, memory: int, threads: int) -> None:
    bitmap = find_bitmap(Path(path))
    capture = _open(path, threads, is_raw=bitmap is not None)
    _require_memory(capture, memory)
    info = _describe(capture)
    capture = _open(path, threads, is_raw=bitmap is not None)
    size: tuple[int, ...] | None = None
    number = 0
    while True:
        is_there, read = capture.read()
        if not is_there:
            break
        frame = bitmap.decode(read) if bitmap else cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
        if frame is None:  # the file ends within it
            break
        if size is None:
            size = frame.shape[:2]
            _send(out, INFO, json.dumps({**info, "height": size[0], "width": size[1]}).encode())
        if frame.shape[:2] != size:
            raise _RefusedError(
                f"frame {number} has {frame.shape[0]}x{frame.shape[1]} pixels, and those before it "
                f"have {size[0]}x{size[1]}"
            )
        seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        _send(out, FRAME, TIME.pack(seconds), frame)
        number += 1
    if number == 0:
        code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        codec = struct.pack("<I", code).decode("ascii", "replace")
        of_codec = f" of its codec {codec.strip()!r}" if codec.isprintable() else ""
        raise _RefusedError(f"no frame{of_codec} can be decoded")
    _send(out, END)


def _require_memory(capture: cv2.VideoCapture, memory: int) -> None:
    """Refuses frames that may need more: with too little, a decoder may show a wrong frame."""
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    need = DECODER_BASE_BYTES + DECODER_PIXEL_BYTES * width * height
    if need > memory:
        raise _RefusedError(
            f"its frames of {height}x{width} pixels may take {need / MIB:,.0f} MiB to decode",
            f"accepted is half of the memory limit, {memory / MIB:,.0f} MiB; allow more "
            f"(--memory {-(-2 * need // MIB)}MiB)",
        )


def _describe(capture: cv2.VideoCapture) -> dict[str, float | None]:
    """Frame rate and declared duration; some frames are taken from the capture."""
    times: list[float] = []
    while len(times) < PROBED and capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    is_known = RATES[0] <= rate <= RATES[1] and count > 0
    return {"rate": frame_rate(rate, times), "seconds": count / rate if is_known else None}


def _open(path: str, threads: int, is_raw: bool = False) -> cv2.VideoCapture:
    options = [cv2.CAP_PROP_FORMAT, -1] if is_raw else [cv2.CAP_PROP_N_THREADS, threads]
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, options)
    if not capture.isOpened():
        raise _RefusedError("it has no video, or only a part of the file is there")
    return capture


def frame_rate(declared: float, times: list[float]) -> float:
    """Returns the frames a second of a video, at which hardly any of its frames is left out.

    A header has the mean rate, which is too low where pauses lie between frames.

    Args:
        declared: Rate of the header, which may be wrong.
        times: Times of the first frames, in seconds.

    >>> frame_rate(6.0, [0, 0.1, 0.2, 0.3, 1.3, 1.4, 1.5])
    10.0
    >>> frame_rate(90000.0, [0, 0.5, 1.0]), frame_rate(29.97, [0, 0.033, 0.067])
    (2.0, 29.97)
    """
    steps = np.diff(times)
    steps = steps[steps > 0]
    seen = round(1 / float(np.median(steps)), 3) if len(steps) else 0.0
    if not RATES[0] <= declared <= RATES[1]:
        return min(max(seen, RATES[0]), RATES[1]) if seen else USUAL_RATE
    return min(seen, RATES[1]) if seen > BURST * declared else declared


def is_available() -> bool:
    """Whether OpenCV reads and writes videos here."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG))


def command(path: Path, memory: int, threads: int) -> list[str]:
    """Returns the command that starts `run_decoder` in a process of its own."""
    code = "import sys; from unetkit.video import decoder; decoder.run_decoder(*sys.argv[1:])"
    # -P: import nothing from the current folder
    return [sys.executable, "-P", "-c", code, str(path.resolve()), str(memory), str(threads)]
