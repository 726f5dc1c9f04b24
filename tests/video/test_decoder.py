"""What the decoding process sends."""

import io
import json
import math

import numpy as np
import pytest

from tests.video.clips import avi_of, moving_frames, write_clip
from unetkit.video import decoder

MEMORY = str(1 << 29)


def messages_of(path, monkeypatch, memory=MEMORY):
    """What `run_decoder` sends, run here without a limit of addresses."""
    out = io.BytesIO()
    monkeypatch.setattr(decoder, "limit_addresses", lambda limit: None)
    monkeypatch.setattr(decoder.sys, "stdout", type("Stream", (), {"buffer": out}))
    decoder.run_decoder(str(path), memory, "1")
    monkeypatch.undo()
    out.seek(0)
    found = []
    while head := out.read(decoder.MESSAGE_HEAD.size):
        kind, length = decoder.MESSAGE_HEAD.unpack(head)
        found.append((kind, out.read(length)))
    return found


def test_a_video_is_sent_whole(tmp_path, monkeypatch):
    frames = moving_frames(3, (21, 27))
    first, *sent, last = messages_of(write_clip(tmp_path / "a.avi", frames, rate=8), monkeypatch)
    assert first[0] == decoder.INFO
    info = json.loads(first[1])
    assert info == {"rate": 8.0, "seconds": 0.375, "height": 21, "width": 27}
    assert [kind for kind, _ in sent] == [decoder.FRAME] * 3
    for number, (frame, (_, content)) in enumerate(zip(frames, sent, strict=True)):
        assert decoder.TIME.unpack_from(content) == (number / 8,)
        assert content[decoder.TIME.size :] == frame.tobytes()
    assert last == (decoder.END, b"")


def test_frames_that_need_more_memory_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    # 64 bytes for each of 8000 x 6000 pixels, and 64 MiB: 2,994 MiB
    path = write_clip(tmp_path / "a.avi", moving_frames(1), size=(6000, 8000))
    ((kind, content),) = messages_of(path, monkeypatch)
    assert kind == decoder.ERROR
    reason, remedy = json.loads(content)
    assert reason == "its frames of 6000x8000 pixels may take 2,994 MiB to decode"
    assert remedy.startswith("accepted is half of the memory limit, 512 MiB; allow more (--memory ")
    need = decoder.DECODER_BASE_BYTES + decoder.DECODER_PIXEL_BYTES * 6000 * 8000
    assert f"--memory {math.ceil(2 * need / 2**20)}MiB" in remedy


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (avi_of([], size=(20, 26)), "no frame can be decoded"),
        (avi_of(moving_frames(2))[:200], "it has no video, or only a part of the file is there"),
    ],
)
def test_what_has_no_frame_is_an_error(tmp_path, monkeypatch, content, reason):
    (tmp_path / "a.avi").write_bytes(content)
    assert messages_of(tmp_path / "a.avi", monkeypatch) == [
        (decoder.ERROR, json.dumps([reason]).encode())
    ]


def test_frames_of_another_size_are_an_error(tmp_path, monkeypatch):
    class Capture:
        """A capture whose second frame is larger, as streams of broadcasts have them."""

        def __init__(self, *_):
            self.sizes = [(4, 6), (8, 6)]

        def isOpened(self):  # noqa: N802 - of OpenCV
            return True

        def get(self, _):
            return 1.0

        def grab(self):
            return False

        def read(self):
            return (True, np.zeros((*self.sizes.pop(0), 3), np.uint8)) if self.sizes else (0, None)

    (tmp_path / "a.avi").touch()
    monkeypatch.setattr(decoder.cv2, "VideoCapture", Capture)
    *_, (kind, content) = messages_of(tmp_path / "a.avi", monkeypatch)
    assert kind == decoder.ERROR
    assert json.loads(content) == ["frame 1 has 8x6 pixels, and those before it have 4x6"]


@pytest.mark.parametrize(
    ("declared", "times", "rate"),
    [
        (25.0, [0, 0.04, 0.08], 25.0),
        (29.97, [0, 0.033, 0.067, 0.1], 29.97),  # milliseconds are rounded
        (6.0, [0, 0.1, 0.2, 1.3, 1.4], 10.0),  # a pause, which the mean counts in
        (0.0, [0, 0.5, 1.0], 2.0),
        (1e6, [0, 0.001, 0.002], 240.0),
        (float("nan"), [0], 25.0),
        (30.0, [0, 0, 0], 30.0),
    ],
)
def test_the_rate_is_that_of_the_frames_where_a_header_is_wrong(declared, times, rate):
    assert decoder.frame_rate(declared, times) == pytest.approx(rate)
