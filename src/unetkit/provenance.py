"""With what, where and by which command something was computed."""

import contextlib
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from unetkit import __version__

COMPUTING = (
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "torch",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scikit-image",
    "scikit-learn",
    "tifffile",
    "onnx",
    "onnxruntime",
    "tf2onnx",
)


def provenance() -> dict[str, object]:
    """Version of the package and of what computes, platform, time (UTC) and command.

    The command is None where the package is used from Python.
    """
    return {
        "unetkit": __version__,
        "command": _command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": _versions(),
    }


def _command() -> str | None:
    program, *arguments = sys.argv
    path = Path(program)
    if path.stem == "unetkit" or path.parts[-2:] == ("unetkit", "__main__.py"):
        return shlex.join(["unetkit", *arguments])
    return None


def _versions() -> dict[str, str]:
    """Of what is installed of it."""
    found = {}
    for name in COMPUTING:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
