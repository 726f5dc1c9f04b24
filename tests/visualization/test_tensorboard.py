"""What is logged can be read back, by TensorFlow's own protocol, number for number."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from unetkit.errors import DataError
from unetkit.visualization.tensorboard import TensorBoardLog

tf = pytest.importorskip("tensorflow")


def events_in(folder):
    """All events of a folder, in TensorBoard's order of its files."""
    records = [
        bytes(record)
        for path in sorted(folder.iterdir())
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    return [tf.compat.v1.Event.FromString(record) for record in records]


def shown_scalars(folder):
    """(step, value) of each tag once restarts are heeded: what TensorBoard shows.

    As its event accumulator does it: a session that starts at a step discards what was logged of
    this step and later ones.
    """
    points = {}
    for event in events_in(folder):
        if event.session_log.status == tf.compat.v1.SessionLog.START:
            points = {tag: [p for p in those if p[0] < event.step] for tag, those in points.items()}
        for value in event.summary.value:
            points.setdefault(value.tag, []).append((event.step, value.simple_value))
    return points


@pytest.fixture
def png(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "step-000002.png")
    return tmp_path / "step-000002.png", pixels


def test_metrics_are_stored_with_their_steps(tmp_path):
    log = TensorBoardLog(tmp_path / "deep" / "tensorboard")
    log.write_row(2, {"loss": 0.75, "validation_mean_iou": 0.25})
    log.write_row(4, {"loss": float("nan"), "validation_mean_iou": 0.5})
    log.close()
    points = shown_scalars(tmp_path / "deep" / "tensorboard")
    assert points["validation_mean_iou"] == [(2, 0.25), (4, 0.5)]
    assert points["loss"][0] == (2, 0.75)
    assert np.isnan(points["loss"][1][1])


def test_each_row_can_be_read_at_once(tmp_path):
    log = TensorBoardLog(tmp_path)
    log.write_row(1, {"loss": 0.5})
    assert shown_scalars(tmp_path) == {"loss": [(1, 0.5)]}
    log.close()
    log.close()


def test_files_have_their_version_and_their_start(tmp_path):
    TensorBoardLog(tmp_path).close()
    first, second = events_in(tmp_path)
    assert first.file_version == "brain.Event:2"
    assert second.session_log.status == tf.compat.v1.SessionLog.START
    assert 0 <= second.wall_time - first.wall_time < 60


def test_an_image_is_stored_unchanged(tmp_path, png):
    path, pixels = png
    log = TensorBoardLog(tmp_path / "log")
    log.write_image(2, path)
    log.close()
    event = events_in(tmp_path / "log")[-1]
    (value,) = event.summary.value
    assert (event.step, value.tag) == (2, "validation")
    assert (value.image.height, value.image.width, value.image.colorspace) == (20, 30, 3)
    assert np.array_equal(tf.io.decode_png(value.image.encoded_image_string), pixels)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGBA", 4)])
def test_the_number_of_channels_is_stored(tmp_path, mode, channels):
    Image.new(mode, (3, 2)).save(tmp_path / "a.png")
    log = TensorBoardLog(tmp_path / "log")
    log.write_image(1, tmp_path / "a.png")
    log.close()
    (value,) = events_in(tmp_path / "log")[-1].summary.value
    assert value.image.colorspace == channels


def test_a_file_that_is_not_a_png_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    Image.new("CMYK", (3, 2)).save(tmp_path / "b.jpg")
    log = TensorBoardLog(tmp_path / "log")
    for name in ("a.png", "b.jpg", "missing.png"):
        with pytest.raises(DataError, match=rf"{name} cannot be added .*; accepted are PNG"):
            log.write_image(1, tmp_path / name)
    log.close()


def test_a_resumed_run_has_each_step_once(tmp_path):
    first = TensorBoardLog(tmp_path)
    for step in (2, 4, 6):
        first.write_row(step, {"loss": 1 / step})
    first.close()
    resumed = TensorBoardLog(tmp_path, from_step=4)  # its checkpoint; what came after is done again
    for step in (6, 8):
        resumed.write_row(step, {"loss": 10.0})
    resumed.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert shown_scalars(tmp_path)["loss"] == [(2, 0.5), (4, 0.25), (6, 10.0), (8, 10.0)]


def test_a_restarted_run_drops_earlier_steps(tmp_path):
    for value in (1.0, 2.0):
        log = TensorBoardLog(tmp_path)
        log.write_row(0, {"loss": value})
        log.close()
    assert shown_scalars(tmp_path)["loss"] == [(0, 2.0)]


def test_without_tensorflow_the_error_has_a_remedy(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ModuleNotFoundError(name='tensorflow')")
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(tmp_path)!r})
from unetkit.errors import MissingExtraError
from unetkit.visualization.tensorboard import TensorBoardLog
try:
    TensorBoardLog(Path({str(tmp_path / "log")!r}))
except MissingExtraError as error:
    print(error, Path({str(tmp_path / "log")!r}).exists())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "which is not installed; " in done.stdout
    assert "pip install tensorflow" in done.stdout
    assert done.stdout.rstrip().endswith("False")  # nothing was written
