"""Commands as a user runs them: each in a process of its own.

Importing TensorFlow takes longer than most of these commands. So the processes are forked, where
the system allows it, from one that has imported the package and computed nothing; with
`fresh=True` an interpreter is started instead, as a shell would.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def unetkit(
    *arguments: Any, cwd: Path | None = None, fresh: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end.

    Args:
        arguments: Command, arguments and options.
        cwd: Working folder; None for the present one.
        fresh: Whether to start an interpreter.

    Returns:
        Exit status, and standard output and standard error as text.
    """
    words = [str(argument) for argument in arguments]
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    if fresh or not sys.platform.startswith("linux"):
        return subprocess.run(
            [sys.executable, "-m", "unetkit", *words],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=environment,
            check=False,
        )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.commands", "unetkit.runs.demo"])
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        process = context.Process(target=_run, args=(words, cwd, environment, files))
        process.start()
        process.join()
        out, err = (Path(file).read_text(encoding="utf-8") for file in files)
    return subprocess.CompletedProcess(words, process.exitcode or 0, out, err)


def _run(words: list[str], cwd: Path | None, environment: dict[str, str], files: list[str]) -> None:
    """The command, in the forked process."""
    os.environ.clear()
    os.environ.update(environment)
    if cwd is not None:
        os.chdir(cwd)
    for number, file in enumerate(files, start=1):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdout, sys.stderr = (
        open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  as long as the process
        for number in (1, 2)
    )
    sys.argv = ["unetkit", *words]
    runpy.run_module("unetkit", run_name="__main__", alter_sys=True)
