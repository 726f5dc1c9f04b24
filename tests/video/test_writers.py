"""Video files that are written: their frames, times and sizes, and what a full disk does."""

import errno
import subprocess
import sys

import cv2
import numpy as np
import pytest

from unetkit.video import writers
from unetkit.video.writers import VideoFile


def plain_frames(count, size=(32, 48)):
    """Frames of one colour each, which the encoder keeps nearly as they are."""
    return [np.full((*size, 3), (200, 20 * number, 60), np.uint8) for number in range(count)]


def read_back(path):
    """Frames of a file, (N, H, W, 3) in red, green and blue, and its rate, as OpenCV reads them."""
    capture = cv2.VideoCapture(str(path))
    rate, frames = capture.get(cv2.CAP_PROP_FPS), []
    while (answer := capture.read())[0]:
        frames.append(answer[1][..., ::-1])
    return np.array(frames), rate


def greens(frames):
    """Number of the plain frame that each frame shows."""
    return np.rint(frames[..., 1].mean((1, 2)) / 20).astype(int).tolist()


def write(path, times, rate=10.0, size=(32, 48)):
    film = VideoFile(path, size, rate)
    for seconds, frame in zip(times, plain_frames(len(times), size), strict=True):
        film.write(seconds, frame)
    film.close(times[-1] + 1 / rate)
    return read_back(path)


def test_frames_are_kept_nearly_as_they_are(tmp_path):
    frames, rate = write(tmp_path / "a.mp4", [0, 0.1, 0.2, 0.3])
    assert rate == 10
    difference = np.abs(frames.astype(int) - np.array(plain_frames(4)))
    assert difference.max() <= 6


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        ([0, 0.1, 0.5, 0.6], [0, 1, 1, 1, 1, 2, 3]),  # a pause: the frame before it stays
        ([7.0, 7.1, 7.2], [0, 1, 2]),  # the first frame is the start
        ([0, 0.1, 0.12, 0.2], [0, 2, 3]),  # 0.12 s is nearest to 0.1 s, where it replaces 1
        ([0, 0.099, 0.201, 0.3], [0, 1, 2, 3]),  # times that are rounded
        ([0, 0.1, 5000.0, 5000.1], [0, 1, 2, 3]),  # a time that is wrong
        ([0, 0.1, -3.0, -2.9], [0, 1, 2, 3]),
    ],
)
def test_frames_are_shown_at_their_times(tmp_path, times, shown):
    frames, _ = write(tmp_path / "a.mp4", times)
    assert greens(frames) == shown


def test_the_last_frame_stays_until_the_end(tmp_path):
    film = VideoFile(tmp_path / "a.mp4", (32, 48), 10)
    for number, frame in enumerate(plain_frames(2)):
        film.write(number / 10, frame)
    film.close(0.5)
    assert greens(read_back(tmp_path / "a.mp4")[0]) == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("size", [(33, 49), (32, 49), (33, 48)])
def test_odd_sides_are_completed_by_the_edge(tmp_path, size):
    film = VideoFile(tmp_path / "a.mp4", size, 10)
    frame = np.zeros((*size, 3), np.uint8)
    frame[:, 24:] = 255
    frame[20:, :] = 255
    film.write(0, frame)
    film.close(0.1)
    (found,), _ = read_back(tmp_path / "a.mp4")
    assert found.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert found[-1].min() > 230
    assert found[:, -1].min() > 230
    assert found[2:16, 2:20].max() < 25


def test_a_file_that_cannot_be_created_is_an_error(tmp_path):
    with pytest.raises(OSError, match=r"absent.a\.mp4") as caught:
        VideoFile(tmp_path / "absent" / "a.mp4", (32, 48), 10)
    assert caught.value.errno == errno.EIO


@pytest.mark.parametrize(("free", "number"), [(0, errno.ENOSPC), (1 << 30, errno.EIO)])
@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes")
def test_a_file_that_was_cut_is_an_error(tmp_path, free, number):
    """Encoders report nothing: here the system refuses more than 16 KiB, as a full disk does."""
    code = f"""
import errno, resource, shutil, signal, sys
from types import SimpleNamespace
import numpy as np
from unetkit.video import writers
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, resource.RLIM_INFINITY))
writers.shutil.disk_usage = lambda folder: SimpleNamespace(free={free})
film = writers.VideoFile(writers.Path(sys.argv[1]), (64, 96), 10)
for number in range(60):
    film.write(number / 10, np.random.default_rng(number).integers(0, 255, (64, 96, 3), np.uint8))
try:
    film.close(6)
except OSError as error:
    print(error.errno, error.filename)
"""
    path = tmp_path / "a.mp4"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(number), str(path)]
    assert done.stderr == ""


def test_a_file_that_lacks_frames_is_an_error(tmp_path, monkeypatch):
    film = VideoFile(tmp_path / "a.mp4", (32, 48), 10)
    film.write(0, plain_frames(1)[0])
    monkeypatch.setattr(writers, "_count_frames", lambda path: 0)
    with pytest.raises(OSError, match=r"a\.mp4"):
        film.close(0.1)
