"""Small videos whose pixels are known exactly: uncompressed AVI, written byte by byte."""

import struct
from pathlib import Path

import numpy as np


def moving_frames(count: int, size: tuple[int, int] = (20, 26), seed: int = 0) -> list[np.ndarray]:
    """Frames of noise with a square that moves, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        frame = rng.integers(0, 90, (*size, 3), np.uint8)
        frame[4:12, number % size[1] : number % size[1] + 8] = 200
        frames.append(frame)
    return frames


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def avi_of(
    frames: list[np.ndarray],
    rate: int = 10,
    declared: int | None = None,
    size: tuple[int, int] | None = None,
    upwards: bool = False,
) -> bytes:
    """An AVI of uncompressed frames, of which the header may lie.

    Args:
        frames: (H, W, 3) uint8, red, green and blue.
        rate: Frames a second.
        declared: Number of frames in the header; None for the true one.
        size: (height, width) in the header; None for the true one.
        upwards: Whether rows run upwards, as they do in most files of this kind.

    Source: Microsoft, AVI RIFF File Reference; rows have multiples of 4 bytes, and a negative
    height says that they run downwards.
    """
    height, width = size or frames[0].shape[:2]
    count = len(frames) if declared is None else declared
    rows = []
    for frame in frames:
        lines = (frame[::-1] if upwards else frame)[..., ::-1].reshape(len(frame), -1)
        rows.append(np.pad(lines, ((0, 0), (0, -lines.shape[1] % 4))).tobytes())
    length = height * ((3 * width + 3) // 4 * 4) & 0xFFFFFFFF
    main = struct.pack(
        "<14I", 1_000_000 // rate, 0, 0, 0x10, count, 0, 1, length, width, height, 0, 0, 0, 0
    )
    stream = struct.pack(
        "<4s4sIHHIIIIIIIIhhhh",
        *(b"vids", b"DIB ", 0, 0, 0, 0, 1, rate, 0, count, length, 0, 0, 0, 0, 0, 0),
    )
    sign = 1 if upwards else -1
    bitmap = struct.pack("<IiiHHIIiiII", 40, width, sign * height, 1, 24, 0, length, 0, 0, 0, 0)
    one = _chunk(b"LIST", b"strl" + _chunk(b"strh", stream) + _chunk(b"strf", bitmap))
    head = _chunk(b"LIST", b"hdrl" + _chunk(b"avih", main) + one)
    chunks = [_chunk(b"00db", row) for row in rows]
    movie = _chunk(b"LIST", b"movi" + b"".join(chunks))
    index, place = b"", 4
    for chunk, row in zip(chunks, rows, strict=True):
        index += struct.pack("<4sIII", b"00db", 0x10, place, len(row))
        place += len(chunk)
    return _chunk(b"RIFF", b"AVI " + head + movie + _chunk(b"idx1", index))


def write_clip(path: Path, frames: list[np.ndarray], **options: object) -> Path:
    """Writes such a video; `options` are those of `avi_of`."""
    path.write_bytes(avi_of(frames, **options))  # type: ignore[arg-type]
    return path
