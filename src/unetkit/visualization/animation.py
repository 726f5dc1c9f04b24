"""How a prediction grew while its network trained, as one moving picture.

The frames are the pictures that a run draws at some of its looks. All of them share one small set
of colours, so that what doesn't change from frame to frame takes no room in the file.
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
LAST_FRAMES = 6  # for which the last picture stays, so that the end can be read
LARGEST_FILE = 3_000_000  # bytes; what a README or a mail takes
# Longest side and colours, from the finest on: the first whose file is small enough is kept. GIF
# has 256 colours, of which one marks what doesn't change.
QUALITIES = ((1000, 255), (1000, 128), (800, 128), (800, 64), (640, 64), (480, 48), (320, 32))
PALETTE_PICTURES = 6  # frames that the common colours are taken from


def frame_steps(looks: int, most: int = 24) -> tuple[int, ...]:
    """The looks that get a picture: evenly spread, the first and the last included.

    Args:
        looks: How many looks there are in all, 0 or more.
        most: The largest number of pictures, 2 or more.

    Returns:
        Numbers of looks, counted from 1, rising.

    Raises:
        ConfigError: `most` is too small.

    >>> frame_steps(3), frame_steps(100, most=5)
    ((1, 2, 3), (1, 26, 51, 75, 100))
    """
    if most < 2:
        raise ConfigError(
            f"most is {most}; accepted are whole numbers from 2 up, for the first and the last "
            "picture; use a larger one"
        )
    if looks <= most:
        return tuple(range(1, looks + 1))
    gaps = most - 1
    return tuple(1 + (2 * i * (looks - 1) + gaps) // (2 * gaps) for i in range(most))  # rounded


def animate(pictures: Sequence[Path], out: Path, seconds_a_frame: float = 0.4) -> None:
    """Makes a GIF that shows pictures one after the other, again and again, the last one longer.

    Of more than 60 pictures, 60 are shown. The file has fewer colours than the pictures, and fewer
    pixels where it would else be larger than 3 MB; it is written whole or not at all.

    Args:
        pictures: Files of one size, in their order.
        out: The file to write; one that exists is replaced.
        seconds_a_frame: How long a picture stays, from 0.02.

    Raises:
        DataNotFoundError: A picture does not exist.
        DataError: There is none, one cannot be read, or they differ in size.
        ConfigError: `seconds_a_frame` is shorter than viewers show.
    """
    if not 0.02 <= seconds_a_frame <= 60:
        raise ConfigError(f"seconds_a_frame is {seconds_a_frame}; accepted are 0.02 to 60; try 0.4")
    if not pictures:
        raise DataError(
            f"there are no pictures for {out}; accepted is at least one; name those that a run "
            "drew, as in pictures/step-000100.png"
        )
    shown = [pictures[number - 1] for number in frame_steps(len(pictures), MOST_FRAMES)]
    frames = _read(shown)
    milliseconds = [round(1000 * seconds_a_frame)] * len(frames)
    milliseconds[-1] *= LAST_FRAMES
    for side, colours in QUALITIES:
        film = _encode(_with_common_colours(_shrink(frames, side), colours), milliseconds)
        if len(film) <= LARGEST_FILE:
            break
    write_atomically(out, lambda part: part.write_bytes(film))


def _read(pictures: Sequence[Path]) -> list[Image.Image]:
    """All pictures as RGB, no larger than they can be shown."""
    frames, sizes = [], []
    for path in pictures:
        try:
            pixels = imageio.imread(path, plugin="pillow", mode="RGB")
        except FileNotFoundError as error:
            raise DataNotFoundError(
                f"picture {path} does not exist; accepted are pictures that a run drew; check the "
                "path"
            ) from error
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(
                f"picture {path} cannot be read ({error}); accepted are whole PNG files; remove it"
            ) from error
        sizes.append(pixels.shape[:2])
        frames += _shrink([Image.fromarray(pixels)], QUALITIES[0][0])
    for (one, size), (other, other_size) in pairwise(zip(pictures, sizes, strict=True)):
        if size != other_size:
            raise DataError(
                f"{one} is {size[0]}x{size[1]} and {other} {other_size[0]}x{other_size[1]}; "
                "accepted are pictures of one size; leave out those of another run"
            )
    return frames


def _shrink(frames: Sequence[Image.Image], side: int) -> list[Image.Image]:
    """Frames whose longer side is at most `side`."""
    width, height = frames[0].size
    share = min(1.0, side / max(width, height))
    size = max(1, round(share * width)), max(1, round(share * height))
    if size == frames[0].size:
        return list(frames)
    return [frame.resize(size, Image.Resampling.LANCZOS) for frame in frames]


def _with_common_colours(frames: Sequence[Image.Image], colours: int) -> np.ndarray:
    """(N, H, W, 3) uint8 of few different colours, the same ones in all frames."""
    numbers = frame_steps(len(frames), PALETTE_PICTURES)
    sheet = Image.fromarray(np.concatenate([np.asarray(frames[n - 1]) for n in numbers]))
    palette = sheet.quantize(colours, Image.Quantize.MEDIANCUT)
    # Dithering would scatter other dots in each frame, and the file would grow by them.
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
        optimize=True,  # leaves out what is as in the frame before
    )
