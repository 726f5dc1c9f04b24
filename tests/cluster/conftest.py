"""A scheduler of Dask and its workers, each a command that a user starts."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from distributed import Client

START_SECONDS = 120


class SchedulerProcess:
    """A scheduler that can be killed and started again at the same address."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._folder, self._processes = folder, []
        self._scheduler = None

    def start(self):
        self._scheduler = self._run(
            "dask_scheduler", "--host", "127.0.0.1", "--port", self.port, "--no-dashboard"
        )
        end = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < end
            time.sleep(0.1)

    def start_worker(self, *options):
        """Starts a worker of one thread, with a nanny, and waits until there is one."""
        self._run(
            "dask_worker", self.address, "--host", "127.0.0.1", "--nthreads", 1, "--no-dashboard",
            "--local-directory", self._folder, *options,
        )  # fmt: skip
        with Client(self.address, timeout=START_SECONDS) as client:
            client.wait_for_workers(1, timeout=START_SECONDS)

    def kill(self):
        """Kills the scheduler, unless it is killed already."""
        if self._scheduler.poll() is None:
            os.kill(self._scheduler.pid, signal.SIGKILL)
            self._scheduler.wait()

    def close(self):
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _run(self, name, *options):
        words = [sys.executable, "-m", f"distributed.cli.{name}", *map(str, options)]
        log = open(self._folder / f"{len(self._processes)}.log", "wb")  # noqa: SIM115
        process = subprocess.Popen(words, stdout=log, stderr=log)
        self._processes.append(process)
        return process


@pytest.fixture
def scheduler(tmp_path):
    folder = tmp_path / "dask"
    folder.mkdir()
    one = SchedulerProcess(folder)
    yield one
    one.close()
