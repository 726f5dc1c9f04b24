"""Sound that is copied by an FFmpeg of the user's own."""

import shutil
import stat
import subprocess
import sys

import numpy as np
import pytest

from tests.video.clips import moving_frames, write_clip
from unetkit.video import sound
from unetkit.video.sound import add_sound, seems_to_have_sound
from unetkit.video.writers import VideoFile

FFMPEG = shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed")


def film_in(folder):
    film = VideoFile(folder / "film.mp4", (32, 48), 10)
    for number in range(10):
        film.write(number / 10, np.full((32, 48, 3), 9 * number, np.uint8))
    film.close(1.0)
    return folder / "film.mp4"


def streams_of(path):
    command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type", "-of", "csv=p=0"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.split()


def video_with_sound(folder, name, *codec):
    film = film_in(folder)
    command = [FFMPEG, "-v", "error", "-y", "-i", film, "-f", "lavfi", "-i", "sine=d=1"]
    subprocess.run([*command, "-c:v", "copy", *codec, folder / name], check=True)
    return folder / name


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("a.mp4", ["-c:a", "aac"], "mov"),
        ("a.mkv", ["-c:a", "libvorbis"], "matroska"),
        ("a.avi", ["-c:a", "pcm_s16le"], "avi"),  # which an MP4 does not take: encoded
    ],
)
def test_sound_is_copied_or_encoded(tmp_path, name, codec, container):
    video, film = video_with_sound(tmp_path, name, *codec), film_in(tmp_path)
    assert seems_to_have_sound(video, container)
    assert add_sound(film, video, container) is None
    assert streams_of(film) == ["video", "audio"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "film.mp4"])


def test_a_silent_video_needs_no_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setattr(sound.shutil, "which", lambda name: None)
    video = write_clip(tmp_path / "a.avi", moving_frames(2))
    assert add_sound(tmp_path / "film.mp4", video, "avi") is None


def test_without_ffmpeg_it_is_said_that_sound_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(sound.shutil, "which", lambda name: None)
    (tmp_path / "a.avi").write_bytes(b"RIFF....AVI strhauds")
    note = add_sound(tmp_path / "film.mp4", tmp_path / "a.avi", "avi")
    assert note == (
        "film.mp4 has no sound: ffmpeg, which copies it, is not on the PATH; install it to keep "
        "sound"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a script as a program")
def test_an_ffmpeg_that_fails_leaves_the_film_and_is_named(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\nfor last; do :; done\necho part > $last\necho no codec >&2\nexit 1\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sound.shutil, "which", lambda name: str(program))
    (tmp_path / "a.avi").write_bytes(b"RIFF....AVI strhauds")
    (tmp_path / "film.mp4").write_bytes(b"film")
    note = add_sound(tmp_path / "film.mp4", tmp_path / "a.avi", "avi")
    assert note == "film.mp4 has no sound: ffmpeg could not copy it (no codec)"
    assert (tmp_path / "film.mp4").read_bytes() == b"film"
    assert len(list(tmp_path.iterdir())) == 3
