"""Provenance of a result: versions, machine, git state, time and command."""

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
)
CPU_FILE = Path("/proc/cpuinfo")
GIB = 1 << 30  # bytes
PROGRAM_TIMEOUT_SECONDS = 5.0  # for the output of another program


def provenance() -> dict[str, Any]:
    """Versions of the package and of its numerical libraries, machine, git, time and command.

    The time is in UTC. The command is None if the package is used from Python. The git state is
    None if the current folder is in no repository, or git cannot be run.
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
    """Versions of the installed libraries in COMPUTING."""
    found = {}
    for name in COMPUTING:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def machine() -> dict[str, str | int | float | None]:
    """Model of the processor, number of cores, and memory in GiB."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
    }


def _processor() -> str:
    """Model name of the processor if the system has it, else its architecture."""
    if sys.platform == "darwin":
        name = _output_of(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"])
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
    """Repository of the current folder: its root, its commit, and whether files differ from it.

    What git does not return in time is None. Untracked files do not count, since the folder of a
    run is often untracked.
    """
    program = shutil.which("git")
    try:
        # Windows searches the current folder first, which may not be trusted.
        if program is None or Path(program).resolve().parent == Path.cwd().resolve():
            return None
    except OSError:  # the current folder was removed
        return None
    folder = _ask_git(program, "rev-parse", "--show-toplevel")
    if not folder:
        return None
    revision = _ask_git(program, "rev-parse", "--verify", "--quiet", "HEAD")
    return {"folder": folder, "revision": revision or None, "dirty": _is_dirty(program)}


def _is_dirty(program: str) -> bool | None:
    # git runs filters to compare files: programs that an untrusted repository may configure.
    filters = _ask_git(
        program,
        "config",
        "--includes",
        "--show-scope",
        "--name-only",
        "--get-regexp",
        r"^filter\..*\.(clean|process)$",
        accepted=(0, 1),  # 1: no filters
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
    # A repository may also configure a program to run at each status, which is disabled.
    options = ["--no-optional-locks", "-c", "core.fsmonitor=false"]
    return _output_of([program, *options, *arguments], accepted)


def _output_of(command: Sequence[str], accepted: Sequence[int] = (0,)) -> str | None:
    """Output of a program without the final newline; None if it fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROGRAM_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if done.returncode not in accepted:
        return None
    return done.stdout.decode("utf-8", errors="replace").rstrip("\r\n")
