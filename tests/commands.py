"""Commands and Python code as a user runs them: each in a process of its own.

Importing TensorFlow takes longer than most of what runs here. So the processes are forked, where
the system allows it, from one that has imported the package and computed nothing; with
`fresh=True` an interpreter is started instead, as a shell would.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PRELOADED = ("tests.commands", "unetkit.runs.demo", "unetkit.cli.main")


class Process:
    """A process that was started, in a session of its own, so that it can be killed as a group.

    Args:
        words: What stands after the name of the interpreter: "-m", "unetkit" and a command, or
            "-c", code and arguments.
        cwd: Working folder; None for the present one.
        fresh: Whether to start an interpreter.
    """

    def __init__(self, words: list[Any], *, cwd: Path | None = None, fresh: bool = False) -> None:
        words = [str(word) for word in words]
        environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
        self._folder = tempfile.TemporaryDirectory()
        self._files = [os.path.join(self._folder.name, name) for name in ("stdout", "stderr")]
        self._process: Any
        if fresh or not sys.platform.startswith("linux"):
            with open(self._files[0], "wb") as out, open(self._files[1], "wb") as err:
                self._process = subprocess.Popen(
                    [sys.executable, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=cwd,
                    env=environment,
                    start_new_session=True,
                )
        else:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(list(PRELOADED))
            self._process = context.Process(
                target=_run, args=(words, cwd, environment, self._files)
            )
            self._process.start()
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while the process runs."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        return self._process.exitcode

    def communicate(self) -> tuple[str, str]:
        """Waits for the end; standard output and standard error as text."""
        if isinstance(self._process, subprocess.Popen):
            self._process.wait()
        else:
            self._process.join()
        files = map(Path, self._files)  # a process that was killed may have made none
        out, err = (file.read_text(encoding="utf-8") if file.exists() else "" for file in files)
        self._folder.cleanup()
        return out, err


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
    return _ended(Process(["-m", "unetkit", *arguments], cwd=cwd, fresh=fresh), arguments)


def python(code: str, *arguments: Any, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs code to its end, in a process where the package may be imported already."""
    return _ended(Process(["-c", code, *arguments], cwd=cwd), arguments)


def _ended(process: Process, words: Any) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.poll() or 0, out, err)


def _run(words: list[str], cwd: Path | None, environment: dict[str, str], files: list[str]) -> None:
    """What was asked for, in the forked process."""
    gc.freeze()  # what was imported stays
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever shell began the tests
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
    flag, what, *arguments = words
    if flag == "-c":
        sys.argv = ["-c", *arguments]
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [what, *arguments]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
