"""Which files are videos: their names, and what their first bytes say.

A name alone is not enough: FFmpeg, by which OpenCV reads videos, also takes lists of other files
and addresses for videos. Files of the containers below are let in, and nothing else.
"""

from pathlib import Path

from unetkit._shared.files import open_input
from unetkit.errors import DataError, DataNotFoundError

# Container, by suffix; each by the name that FFmpeg has for it.
CONTAINER_OF_SUFFIX = {
    ".mp4": "mov",
    ".m4v": "mov",
    ".mov": "mov",
    ".avi": "avi",
    ".mkv": "matroska",
    ".webm": "matroska",
}
VIDEO_SUFFIXES = tuple(CONTAINER_OF_SUFFIX)
ATOMS = (
    b"ftyp",
    b"moov",
    b"mdat",
    b"free",
    b"skip",
    b"wide",
    b"pnot",
)  # that a QuickTime begins with
EBML = b"\x1a\x45\xdf\xa3"  # of Matroska
START_BYTES = 12


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name, and not hidden."""
    return (
        path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def container_of(path: Path) -> str:
    """Returns the container of a video by its first bytes: "mov", "avi" or "matroska".

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: It is no regular file, or begins in another way.

    Source: ISO 14496-12, section 4.2, the RIFF of AVI, and RFC 8794, section 11.2.1.
    """
    try:
        with open_input(path) as file:
            start = file.read(START_BYTES)
    except FileNotFoundError as error:
        raise DataNotFoundError(f"video {path} does not exist; accepted is an existing file") from (
            error
        )
    except OSError as error:
        raise DataError(
            f"video {path} cannot be opened ({error.strerror}); accepted is a file that you may "
            "read"
        ) from error
    if start[4:8] in ATOMS:
        return "mov"
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "avi"
    if start[:4] == EBML:
        return "matroska"
    what = "is empty" if not start else "does not begin as a video does"
    raise DataError(
        f"{path} {what}; accepted are MP4, QuickTime, AVI, Matroska and WebM files; convert it: "
        "ffmpeg -i FILE film.mp4"
    )
