"""A run's figures and pictures as files that TensorBoard shows.

TensorFlow writes them; the tensorboard package, which `tf.summary.scalar` asks for, is needed only
by who looks at them. Nothing of TensorFlow's runtime is started: under another backend it would
take the GPU's memory for itself.
"""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from unetkit.errors import DataError, MissingExtraError

FILE_VERSION = "brain.Event:2"  # TensorBoard looks for restarts in files from this version on
TAG = "validation"  # of the pictures
COLOUR_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}


class TensorBoardLog:
    """Writes what is shown to a new file in a folder, so that it can be watched as it grows.

    Args:
        folder: Is made where it is missing. All sessions of a run write into the same one.
        from_step: The step that a resumed run goes on from. What an interrupted session wrote of
            later steps is shown no more, as these steps come again.

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
                "without them: curves.csv has the same figures"
            ) from error
        self._proto = tf.compat.v1
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder by name, which begins with the time of day.
        now, host = time.time_ns(), socket.gethostname()
        name = f"events.out.tfevents.{now // 10**9}.{host}.{os.getpid()}.{now % 10**9:09d}"
        self._file = tf.io.TFRecordWriter(os.fspath(folder / name))
        self._write(self._proto.Event(file_version=FILE_VERSION))
        start = self._proto.SessionLog(status=self._proto.SessionLog.START)
        first = from_step + 1 if from_step else 0
        self._write(self._proto.Event(step=first, session_log=start))

    def row(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds one point to the curve of each figure."""
        values = [
            self._proto.Summary.Value(tag=name, simple_value=float(value))
            for name, value in figures.items()
        ]
        self._write(self._proto.Event(step=step, summary=self._proto.Summary(value=values)))

    def picture(self, step: int, path: Path) -> None:
        """Adds a PNG, as it is.

        Raises:
            DataError: The file is not a PNG of grey or colour.
        """
        try:
            with Image.open(path, formats=["PNG"]) as picture:
                (width, height), mode = picture.size, picture.mode
            image = self._proto.Summary.Image(
                height=height,
                width=width,
                colorspace=COLOUR_CHANNELS[mode],
                encoded_image_string=path.read_bytes(),
            )
        except (OSError, KeyError) as error:
            raise DataError(
                f"picture {path} cannot be shown ({error}); accepted are PNG files of grey or RGB; "
                "save it as one"
            ) from error
        value = self._proto.Summary.Value(tag=TAG, image=image)
        self._write(self._proto.Event(step=step, summary=self._proto.Summary(value=[value])))

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        self._file.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._file.write(event.SerializeToString())
        self._file.flush()
