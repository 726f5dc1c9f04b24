"""Metrics and images of a run as event files for TensorBoard.

The files are written with TensorFlow's protocol buffers rather than `tf.summary`, which needs the
tensorboard package; that is needed only to view them. TensorFlow's runtime is not started: with
another Keras backend it would reserve the GPU's memory.
"""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from unetkit.errors import DataError, MissingExtraError

FILE_VERSION = "brain.Event:2"  # TensorBoard handles restarts from this version on
IMAGE_TAG = "validation"
CHANNELS_OF_MODE = {"L": 1, "RGB": 3, "RGBA": 4}


class TensorBoardLog:
    """Event file in a folder, written event by event, so that TensorBoard can follow it.

    Args:
        folder: Folder of the event files; made if it is missing. All sessions of a run, the first
            and the resumed ones, write to the same folder.
        from_step: Step from which a resumed run continues. TensorBoard then drops later steps of
            an interrupted session, because they are trained again.

    Raises:
        MissingExtraError: TensorFlow is not installed.

    Source: tensorflow/core/util/event.proto; TensorBoard's event_accumulator, for restarts.
    """

    def __init__(self, folder: Path, from_step: int = 0) -> None:
        try:
            import tensorflow as tf
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "files for TensorBoard are written by TensorFlow, which is not installed; accepted "
                "is an environment with it, whatever the backend; pip install tensorflow, or train "
                "without these files: curves.csv has the same metrics"
            ) from error
        self._proto = tf.compat.v1
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names, which have the time.
        now, host = time.time_ns(), socket.gethostname()
        name = f"events.out.tfevents.{now // 10**9}.{host}.{os.getpid()}.{now % 10**9:09d}"
        self._file = tf.io.TFRecordWriter(os.fspath(folder / name))
        self._write(self._proto.Event(file_version=FILE_VERSION))
        start = self._proto.SessionLog(status=self._proto.SessionLog.START)
        first = from_step + 1 if from_step else 0
        self._write(self._proto.Event(step=first, session_log=start))

    def write_row(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds one point to the curve of each metric.

        Args:
            step: Training step.
            metrics: Value of each metric by name.
        """
        values = [
            self._proto.Summary.Value(tag=name, simple_value=float(value))
            for name, value in metrics.items()
        ]
        self._write(self._proto.Event(step=step, summary=self._proto.Summary(value=values)))

    def write_image(self, step: int, path: Path) -> None:
        """Adds a PNG file, unchanged.

        Args:
            step: Training step.
            path: PNG file, grey, RGB or RGBA.

        Raises:
            DataError: The file is not a PNG of 8 bits in grey, RGB or RGBA.
        """
        try:
            with Image.open(path, formats=["PNG"]) as opened:
                (width, height), mode = opened.size, opened.mode
            image = self._proto.Summary.Image(
                height=height,
                width=width,
                colorspace=CHANNELS_OF_MODE[mode],
                encoded_image_string=path.read_bytes(),
            )
        except (OSError, KeyError) as error:
            raise DataError(
                f"image {path} cannot be added ({error}); accepted are PNG files in grey or RGB"
            ) from error
        value = self._proto.Summary.Value(tag=IMAGE_TAG, image=image)
        self._write(self._proto.Event(step=step, summary=self._proto.Summary(value=[value])))

    def close(self) -> None:
        """Closes the file; calling it again has no effect."""
        self._file.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._file.write(event.SerializeToString())
        self._file.flush()
