"""Animation of the predictions of a network during training, as a GIF.

The frames are the images that a run draws at some of its validation passes. All frames share one
small palette without dithering, so that pixels that do not change take no space in the file.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from PIL import Image

from unetkit._shared.files import write_atomically
from unetkit.errors import ConfigError, DataError, DataNotFoundError

MOST_FRAMES = 60
LAST_FRAMES = 6  # durations of the last frame, so that its text can be read
MAX_GIF_BYTES = 3_000_000  # suits a README or an e-mail
# Longest side and number of colours, the best first: the first one whose file is small enough is
# used. GIF has 256 colours, of which one marks unchanged pixels.
QUALITIES = ((1000, 255), (1000, 128), (800, 128), (800, 64), (640, 64), (480, 48), (320, 32))
PALETTE_FRAMES = 6  # frames from which the palette is computed


def frame_steps(count: int, most: int = 24) -> tuple[int, ...]:
    """Chooses evenly spaced frames, including the first and the last.

    Args:
        count: Number of available frames, such as validation passes, 0 or more.
        most: Largest number of frames to choose, 2 or more.

    Returns:
        Numbers of the chosen frames, from 1, ascending.

    Raises:
        ConfigError: `most` is less than 2.

    >>> frame_steps(3), frame_steps(100, most=5)
    ((1, 2, 3), (1, 26, 51, 75, 100))
    """
    if most < 2:
        raise ConfigError(
            f"most is {most}; accepted are integers from 2 up, for the first and the last frame"
        )
    if count <= most:
        return tuple(range(1, count + 1))
    gaps = most - 1
    return tuple(1 + (2 * i * (count - 1) + gaps) // (2 * gaps) for i in range(most))  # rounded


def animate(images: Sequence[Path], out: Path, seconds_a_frame: float = 0.4) -> None:
    """Writes images as an endlessly repeated GIF, whose last frame is shown longer.

    Of more than 60 images, 60 are used. The number of colours is reduced, and the size as well if
    the file would otherwise be larger than 3 MB. The file is written completely or not at all.

    Args:
        images: Image files of one size, in the order of the frames.
        out: File to write; an existing one is replaced.
        seconds_a_frame: Duration of a frame in seconds, 0.02 to 60.

    Raises:
        DataNotFoundError: An image does not exist.
        DataError: There are no images, one cannot be read, or they differ in size.
        ConfigError: `seconds_a_frame` is not between 0.02 and 60.
    """
    if not 0.02 <= seconds_a_frame <= 60:
        raise ConfigError(f"seconds_a_frame is {seconds_a_frame}; accepted are 0.02 to 60")
    if not images:
        raise DataError(
            f"there are no images for {out}; accepted is at least one; use those of a run, such as "
            "pictures/step-000100.png"
        )
    shown = [images[number - 1] for number in frame_steps(len(images), MOST_FRAMES)]
    frames = _read(shown)
    milliseconds = [round(1000 * seconds_a_frame)] * len(frames)
    milliseconds[-1] *= LAST_FRAMES
    for side, colours in QUALITIES:
        content = _encode(_with_common_colours(_shrink(frames, side), colours), milliseconds)
        if len(content) <= MAX_GIF_BYTES:
            break
    write_atomically(out, lambda path: path.write_bytes(content))


def _read(images: Sequence[Path]) -> list[Image.Image]:
    """Reads images as RGB, reduced to the largest size of a frame."""
    frames, sizes = [], []
    for path in images:
        try:
            pixels = imageio.imread(path, plugin="pillow", mode="RGB")
        except FileNotFoundError as error:
            raise DataNotFoundError(
                f"image {path} does not exist; accepted are images that a run drew"
            ) from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(
                f"image {path} cannot be read ({error}); accepted are undamaged PNG files; remove "
                "it"
            ) from error
        sizes.append(pixels.shape[:2])
        frames += _shrink([Image.fromarray(pixels)], QUALITIES[0][0])
    for (one, size), (other, other_size) in pairwise(zip(images, sizes, strict=True)):
        if size != other_size:
            raise DataError(
                f"{one} is {size[0]}x{size[1]} and {other} {other_size[0]}x{other_size[1]}; "
                "accepted are images of one size; leave out those of other runs"
            )
    return frames


def _shrink(frames: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """Returns frames whose longer side is at most `side` pixels."""
    width, height = frames[0].size
    factor = min(1.0, side / max(width, height))
    size = max(1, round(factor * width)), max(1, round(factor * height))
    if size == frames[0].size:
        return list(frames)
    return [frame.resize(size, Image.Resampling.LANCZOS) for frame in frames]


def _with_common_colours(frames: Sequence[Image.Image], colours: int) -> np.ndarray:
    """Returns the frames, (N, H, W, 3) uint8, with one palette of a few colours for all."""
    numbers = frame_steps(len(frames), PALETTE_FRAMES)
    sheet = Image.fromarray(np.concatenate([np.asarray(frames[n - 1]) for n in numbers]))
    palette = sheet.quantize(colours, Image.Quantize.MEDIANCUT)
    # Dithering would change pixels from frame to frame, which makes the file larger.
    reduced = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    return np.stack([np.asarray(frame.convert("RGB")) for frame in reduced])


def _encode(frames: np.ndarray, milliseconds: list[int]) -> bytes:
    return imageio.imwrite(
        "<bytes>",
        frames,
        plugin="pillow",
        extension=".gif",
        is_batch=True,
        duration=milliseconds if len(frames) > 1 else milliseconds[0],
        loop=0,
        optimize=True,  # omits pixels that are equal to the frame before
    )
