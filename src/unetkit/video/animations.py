"""GIF, WebP and PNG animations, read and written by Pillow, with durations and repetitions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from unetkit._shared.files import open_input
from unetkit.errors import DataError
from unetkit.io.decoding import open_with_pillow
from unetkit.io.images import ImageFile, pixels_of
from unetkit.video.frames import Frame, Video

# Format of Pillow for each suffix; PNG animations often have the suffix of images.
ANIMATION_FORMATS = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
PNG_ANIMATION = slice(37, 41), b"acTL"  # after signature and header
WEBP_EXTENDED, WEBP_ANIMATION = (slice(12, 16), b"VP8X"), 2  # a flag in the byte at 20
START_OF_IMAGE = 48  # bytes
HELD_BYTES = 12  # for each pixel until the file is written: Pillow holds frames, and copies of them
LOSSY_WEBP = {"quality": 90, "method": 2}
OPAQUE_GIF = 128  # opacity from which a pixel of a GIF is shown, of 255
LEAST_RATE = 1000.0  # frames a second of an animation that names no durations


def is_animation(path: Path) -> bool:
    """Whether a file is an animation, by its suffix and its content."""
    format = ANIMATION_FORMATS.get(path.suffix.lower())
    if format is None or not path.is_file() or path.name.startswith("."):
        return False
    try:
        with open_input(path) as file:
            start = file.read(START_OF_IMAGE)
        if format == "PNG":
            place, name = PNG_ANIMATION
            return start[place] == name
        if format == "WEBP":
            place, name = WEBP_EXTENDED
            return start[place] == name and bool(start[20] & WEBP_ANIMATION)
        with ImageFile(path) as image:
            return image.count > 1
    except (DataError, OSError):  # what cannot be read is an image that cannot be read
        return False


@contextmanager
def open_animation(path: Path) -> Iterator[Video]:
    """Opens an animation.

    Raises:
        DataNotFoundError, DataError: The file is absent, damaged or too large. `Video.frames`
            raises it, too, where a frame is.
    """
    with ImageFile(path) as file:
        with open_with_pillow(path, file.opened, file.format) as image:
            loop = image.info.get("loop")
        count, first = file.count, _read_frame(file, 0)
        size = first.pixels.shape[0], first.pixels.shape[1]
        rate = 1 / first.duration if first.duration else LEAST_RATE
        yield Video(path, file.format, size, rate, None, _frames(file, first), count, loop)


def _frames(file: ImageFile, first: Frame) -> Iterator[Frame]:
    seconds = 0.0
    for number in range(file.count):
        frame = first if number == 0 else _read_frame(file, number)
        if frame.pixels.shape != first.pixels.shape:
            raise DataError(
                f"{file.path} has frames of several sizes; accepted is one size; make it again"
            )
        yield replace(frame, seconds=seconds)
        seconds += frame.duration


def _read_frame(file: ImageFile, number: int) -> Frame:
    image = file.read(number)
    pixels = pixels_of(image, str(file.path))
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        raise DataError(
            f"{file.path} has frames of {pixels.shape[2]} channels of {pixels.dtype}; accepted are "
            "8 bits in grey or colour"
        )
    colours = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    return Frame(number, 0.0, colours, image.duration / 1000)


class AnimationFile:
    """An animation that is being written; all frames are in memory until it is complete.

    Args:
        path: File to write; its suffix decides the format.
        loop: Number of repetitions, 0 without end; None to play it once.
    """

    def __init__(self, path: Path, loop: int | None) -> None:
        self._path, self._loop = path, loop
        self._frames: list[Image.Image] = []
        self._times: list[float] = []

    def write(self, seconds: float, pixels: np.ndarray) -> None:
        """Adds a frame.

        Args:
            seconds: Time from which it is shown.
            pixels: (H, W, 3) uint8; or with opacity (H, W, 4).
        """
        if pixels.shape[2] == 4 and self._path.suffix == ".gif":
            pixels = pixels.copy()
            pixels[..., 3] = np.where(pixels[..., 3] >= OPAQUE_GIF, 255, 0)
        self._frames.append(Image.fromarray(pixels))
        self._times.append(seconds)

    def close(self, end: float) -> None:
        """Writes the file.

        Args:
            end: Time until which the last frame is shown, in seconds.

        Raises:
            OSError: The file cannot be written.
        """
        durations = np.rint(1000 * np.diff([*self._times, end])).astype(int).tolist()
        first, *others = self._frames
        format = ANIMATION_FORMATS[self._path.suffix]
        options = dict(LOSSY_WEBP) if format == "WEBP" else {}
        if self._loop is not None:
            options["loop"] = self._loop
        if first.mode == "RGBA" and format == "GIF":
            options["disposal"] = 2  # what was shown is removed, else it shines through
        elif first.mode == "RGBA" and format == "PNG":
            options["blend"] = 0  # a frame replaces what is below it
        elif first.mode == "RGBA":  # whole frames: differences in opacity alone would be lost
            options |= {"kmin": 1, "kmax": 1}
        first.save(
            self._path,
            format=format,
            save_all=True,
            append_images=others,
            duration=durations,
            **options,
        )

    def abandon(self) -> None:
        """Ends writing, without a file."""
        self._frames.clear()
