"""Frames of videos, through the process that decodes them."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.video.clips import avi_of, moving_frames, write_clip
from unetkit.errors import DataError, MissingExtraError
from unetkit.video import decoder
from unetkit.video import frames as frames_module
from unetkit.video.frames import open_video

MEMORY = 1 << 29


@pytest.mark.parametrize("upwards", [True, False])
def test_frames_come_as_they_are_stored(tmp_path, upwards):
    wanted = moving_frames(5, (21, 27))
    path = write_clip(tmp_path / "ä ö.avi", wanted, upwards=upwards)
    with open_video(path, MEMORY) as video:
        assert (video.container, video.size, video.rate) == ("avi", (21, 27), 10.0)
        assert video.declared_frames == 5
        found = list(video.frames)
    assert [frame.number for frame in found] == [0, 1, 2, 3, 4]
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    for frame, pixels in zip(found, wanted, strict=True):
        assert np.array_equal(frame.pixels, pixels)


@pytest.mark.parametrize("declared", [3, 500])
def test_the_number_of_frames_in_the_header_is_not_believed(tmp_path, declared):
    path = write_clip(tmp_path / "a.avi", moving_frames(7), declared=declared)
    with open_video(path, MEMORY) as video:
        assert (video.declared_frames, len(list(video.frames))) == (declared, 7)


def test_the_process_ends_when_the_video_is_left(tmp_path, monkeypatch):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(frames_module.subprocess, "Popen", Recorded)
    with open_video(write_clip(tmp_path / "a.avi", moving_frames(50, (300, 400))), MEMORY) as video:
        assert next(video.frames).number == 0
        assert started[0].poll() is None
    assert started[0].poll() is not None


def test_a_part_of_a_file_has_the_frames_that_are_there(tmp_path):
    content = avi_of(moving_frames(10))
    (tmp_path / "a.avi").write_bytes(content[: len(content) // 2])
    with open_video(tmp_path / "a.avi", MEMORY) as video:
        assert 3 <= len(list(video.frames)) <= 5
        assert video.declared_frames == 10


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", "the decoder was ended by signal 6"),
        ("import sys; sys.exit(3)", "the decoder was ended with exit code 3"),
        ("import time; time.sleep(60)", "the decoder sent nothing for 1 seconds"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_decoder_that_fails_is_an_error(tmp_path, monkeypatch, code, reason):
    monkeypatch.setattr(decoder, "command", lambda *_: [sys.executable, "-c", code])
    monkeypatch.setattr(frames_module, "SECONDS_PER_FRAME", 1.0)
    path = write_clip(tmp_path / "a.avi", moving_frames(1))
    with pytest.raises(DataError, match=reason), open_video(path, MEMORY):
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of addresses")
def test_the_memory_of_the_decoder_is_limited(tmp_path, monkeypatch):
    code = (
        "from unetkit._shared.memory_budget import limit_addresses, mapped_bytes\n"
        "from unetkit.video import decoder\n"
        "decoder._send_video = lambda *_: bytearray(1 << 28)\n"
        "import sys; decoder.run_decoder(*sys.argv[1:])"
    )
    real = decoder.command
    monkeypatch.setattr(decoder, "command", lambda *a: [sys.executable, "-c", code, *real(*a)[4:]])
    path = write_clip(tmp_path / "a.avi", moving_frames(1))
    message = r"cannot be read \(it takes more memory than it may\)"
    with pytest.raises(DataError, match=message), open_video(path, 1 << 27):
        pass


def test_an_opencv_without_ffmpeg_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(decoder, "is_available", lambda: False)
    path = write_clip(tmp_path / "a.avi", moving_frames(1))
    message = "OpenCV was built without FFmpeg, by which it reads videos"
    with pytest.raises(MissingExtraError, match=message), open_video(path, MEMORY):
        pass
