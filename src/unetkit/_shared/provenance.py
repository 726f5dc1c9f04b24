"""With what, where and by which command something was computed."""

import contextlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from unetkit._version import __version__

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
CPU_FILE = Path("/proc/cpuinfo")
GIB = 1 << 30  # bytes
PATIENCE_SECONDS = 5.0  # for another program's answer


def provenance() -> dict[str, Any]:
    """Version of the package and of what computes, machine, git, time (UTC) and command.

    The command is None where the package is used from Python; git is None where the current folder
    belongs to no repository, or git cannot be asked.
    """
    return {
        "unetkit": __version__,
        "command": _command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": _versions(),
        "machine": machine(),
        "git": git_state(),
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


def machine() -> dict[str, str | int | float | None]:
    """The processor's model, the cores that the system counts, and its memory in GiB."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
    }


def _processor() -> str:
    """As its maker calls it where the system tells, else its kind."""
    if sys.platform == "darwin":
        name = _answer(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"])
    else:
        name = _processor_of_linux()
    return " ".join((name or platform.processor() or platform.machine() or "unknown").split())


def _processor_of_linux() -> str | None:
    with contextlib.suppress(OSError):
        for line in CPU_FILE.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() == "model name" and value.strip():
                return value.strip()
    return None


def git_state() -> dict[str, str | bool | None] | None:
    """The repository of the current folder: its root, its commit, whether files differ from it.

    What git cannot say in time is None. Files that it does not know count for nothing: a run's own
    folder is often one of them.
    """
    program = shutil.which("git")
    try:
        # Windows looks into the current folder first, which may be a stranger's.
        if program is None or Path(program).resolve().parent == Path.cwd().resolve():
            return None
    except OSError:  # the current folder is gone
        return None
    folder = _ask_git(program, "rev-parse", "--show-toplevel")
    if not folder:
        return None
    revision = _ask_git(program, "rev-parse", "--verify", "--quiet", "HEAD")
    return {"folder": folder, "revision": revision or None, "dirty": _is_dirty(program)}


def _is_dirty(program: str) -> bool | None:
    # Files are compared through filters, which are programs that a stranger's repository may name.
    filters = _ask_git(
        program,
        "config",
        "--includes",
        "--show-scope",
        "--name-only",
        "--get-regexp",
        r"^filter\..*\.(clean|process)$",
        accepted=(0, 1),  # 1: there are none
    )
    if filters is None or not all(
        line.startswith(("global", "system")) for line in filters.splitlines()
    ):
        return None
    changes = _ask_git(
        program, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty"
    )
    return None if changes is None else bool(changes)


def _ask_git(program: str, *arguments: str, accepted: Sequence[int] = (0,)) -> str | None:
    # A repository may also name a program to run at each status: that is not asked for.
    options = ["--no-optional-locks", "-c", "core.fsmonitor=false"]
    return _answer([program, *options, *arguments], accepted)


def _answer(command: Sequence[str], accepted: Sequence[int] = (0,)) -> str | None:
    """What a program prints, without the last line's end; None if it fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if done.returncode not in accepted:
        return None
    return done.stdout.decode("utf-8", errors="replace").rstrip("\r\n")
