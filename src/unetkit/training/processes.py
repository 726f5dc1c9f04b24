"""Several processes of one training on this machine, started and watched.

Each is the same command in the environment of `keras.distribution`; the first one talks to the user
and writes the run. Here no framework is loaded, so that this process can say what became of the
others, however they end.
"""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO

# Read by `keras.distribution.initialize`; another launcher sets them, too.
ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
COUNT = "KERAS_DISTRIBUTION_NUM_PROCESSES"
INDEX = "KERAS_DISTRIBUTION_PROCESS_ID"
GRACE_SECONDS = 60.0  # for the others to end, once one has
WATCH_SECONDS = 0.2
SHOWN_LINES, SHOWN_CHARACTERS = 3, 200  # of what a process said last


def run_together(command: Sequence[str], count: int) -> tuple[int, str]:
    """Runs a command in several processes until all have ended.

    Interrupts are left to the first process, which finishes its step and stops the others.

    Args:
        command: Program and arguments.
        count: Number of processes.

    Returns:
        Exit code of the first process, and how another one ended before it; "" if none did.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "KERAS_BACKEND": "jax", ADDRESSES: address, COUNT: str(count)}
    with ExitStack() as opened:
        logs = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(1, count)]
        return _run(command, count, environment, logs)


def _run(
    command: Sequence[str], count: int, environment: dict[str, str], logs: Sequence[IO[bytes]]
) -> tuple[int, str]:
    processes: list[subprocess.Popen[bytes]] = []
    handled = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for index in range(count):
            output = {"stdout": logs[index - 1], "stderr": logs[index - 1]} if index else {}
            processes.append(
                subprocess.Popen(
                    command,
                    env={**environment, INDEX: str(index)},
                    start_new_session=index > 0,  # an interrupt is for the first one
                    **output,  # type: ignore[call-overload]
                )
            )
        first = processes[0]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it has reached the first one, too
        signal.signal(signal.SIGTERM, lambda *_: first.send_signal(signal.SIGTERM))
        code, failed = _wait(processes)
        said = [
            f"process {i + 1} of {count} ended ({_how_it_ended(processes[i], logs[i - 1])})"
            for i in failed
        ]
        return code, "; ".join(said)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for number, handler in handled.items():
            signal.signal(number, handler)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> tuple[int, list[int]]:
    """Waits for all; returns the exit code of the first, and which others failed before it."""
    first, *others = processes
    ends: float | None = None
    failed: list[int] = []
    while any(process.poll() is None for process in processes):
        if first.poll() is None:
            failed = [i for i, one in enumerate(others, 1) if one.poll() not in (None, 0)]
        if ends is None and (failed or first.poll() is not None):
            ends = time.monotonic() + GRACE_SECONDS
        if ends is not None and time.monotonic() > ends:
            break
        time.sleep(WATCH_SECONDS)
    code = first.poll()
    return 1 if code is None else code, failed


def _how_it_ended(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    code = process.wait()
    if code < 0:
        return f"signal {-code}"
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()[-SHOWN_LINES:]
    return "; ".join([f"exit code {code}", *(line[:SHOWN_CHARACTERS] for line in lines)])
