"""Which files are let in as videos."""

import os

import pytest

from tests.video.clips import avi_of, moving_frames
from unetkit.errors import DataError, DataNotFoundError
from unetkit.video.containers import container_of

# Lists of other files and addresses, which FFmpeg would open.
PLAYLIST = b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:1/secret.ts\n"
CONCATENATION = b"ffconcat version 1.0\nfile /etc/passwd\n"


@pytest.mark.parametrize(
    ("start", "container"),
    [
        (b"\0\0\0\x20ftypisom", "mov"),
        (b"\0\0\0\x08wide\0\0\0\0", "mov"),
        (avi_of(moving_frames(1)), "avi"),
        (b"\x1a\x45\xdf\xa3" + bytes(20), "matroska"),
    ],
)
def test_the_first_bytes_tell_the_container(tmp_path, start, container):
    (tmp_path / "x.mp4").write_bytes(start)
    assert container_of(tmp_path / "x.mp4") == container


@pytest.mark.parametrize("content", [PLAYLIST, CONCATENATION, b"RIFF\0\0\0\0WAVE", bytes(50)])
def test_what_is_no_video_is_refused_whatever_its_name(tmp_path, content):
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.mp4 does not begin as a video does; accepted are MP4"):
        container_of(tmp_path / "x.mp4")


def test_an_empty_file_and_one_that_is_absent_are_named(tmp_path):
    (tmp_path / "x.mp4").touch()
    with pytest.raises(DataError, match=r"x\.mp4 is empty"):
        container_of(tmp_path / "x.mp4")
    with pytest.raises(DataNotFoundError, match=r"video .*y\.mp4 does not exist"):
        container_of(tmp_path / "y.mp4")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_a_pipe_without_a_writer_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.mp4")
    with pytest.raises(DataError, match=r"x\.mp4 is no file but a pipe"):
        container_of(tmp_path / "x.mp4")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "x.mp4").touch(mode=0)
    with pytest.raises(DataError, match=r"x\.mp4 cannot be opened"):
        container_of(tmp_path / "x.mp4")
