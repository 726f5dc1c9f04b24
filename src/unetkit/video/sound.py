"""Sound of a video, copied by an FFmpeg of the user's own into the video that was made of it.

OpenCV neither reads nor writes sound. Without `ffmpeg` on the PATH a result has none, which is said
if the video seems to have any.
"""

import shutil
import subprocess
from pathlib import Path

from unetkit._shared.files import open_input

PROGRAM = "ffmpeg"
TIMEOUT_SOUND = 600.0  # seconds, of copying or encoding it
ENDS_BYTES = 1 << 20  # at the start and the end of a file, in which its streams are described
SOUND_MARKS = {"mov": b"soun", "avi": b"auds", "matroska": b"A_"}  # of a stream of sound
# As it is, or, where an MP4 does not take its codec, encoded.
SOUND_CODECS = (("copy",), ("aac", "-b:a", "192k"))


def seems_to_have_sound(video: Path, container: str) -> bool:
    """Whether a video describes a stream of sound, by the names that containers have for it.

    Args:
        video: Path of the video.
        container: Name of the container; see `containers.container_of`.
    """
    with open_input(video) as file:
        size = file.seek(0, 2)
        ends = []
        for start in (0, max(0, size - ENDS_BYTES)):
            file.seek(start)
            ends.append(file.read(ENDS_BYTES))
    return any(SOUND_MARKS[container] in end for end in ends)


def add_sound(film: Path, video: Path, container: str) -> str | None:
    """Adds the sound of a video to a video that was made of it.

    Args:
        film: Video without sound, MP4; replaced by one with the sound.
        video: The video with the sound.
        container: Name of its container.

    Returns:
        Why the sound is missing; None if it is there, or if there is none.
    """
    if not seems_to_have_sound(video, container):
        return None
    program = shutil.which(PROGRAM)
    missing = f"{film.name} has no sound"
    if program is None:
        return (
            f"{missing}: {PROGRAM}, which copies it, is not on the PATH; install it to keep sound"
        )
    part = film.with_name(f"sound-{film.name[-40:]}")
    reason = ""
    for way in SOUND_CODECS:
        command = [program, "-v", "error", "-nostdin", "-y", "-i", str(film)]
        # The format is given, so that a file is not read as a list of others.
        command += ["-protocol_whitelist", "file", "-f", container, "-i", str(video.resolve())]
        command += ["-map", "0:v:0", "-map", "1:a", "-map_metadata", "-1", "-c:v", "copy"]
        command += ["-c:a", *way, str(part)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SOUND, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = type(error).__name__
        else:
            if done.returncode == 0:
                part.replace(film)
                return None
            reason = (done.stderr.decode("utf-8", "replace").strip() or "?").splitlines()[-1][:200]
        part.unlink(missing_ok=True)
    return f"{missing}: {PROGRAM} could not copy it ({reason})"
