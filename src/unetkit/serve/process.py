"""A process that predicts, as the server sees it: started, asked, ended, and replaced.

What it does is in `worker`. Its answers are lines of JSON and files, and never objects that could
run code here.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, cast

from unetkit._shared.memory_budget import resident_bytes
from unetkit.errors import ModelFileError
from unetkit.serve.limits import RefusedError
from unetkit.serve.worker import Request, Setup

CODE = "from unetkit.serve.worker import run; run()"
REASONS = ("crash", "timeout")  # why a process is replaced
END_SECONDS = 5.0  # for a process without work to end


class PredictionProcess:
    """A process that answers one request at a time; for one thread at a time.

    Args:
        setup: What it is told when it starts.
        on_end: Called with one of `REASONS` before it is replaced.
    """

    def __init__(self, setup: Setup, on_end: Callable[[str], object] = lambda reason: None) -> None:
        self._setup, self._on_end = setup, on_end
        self._start()

    def _start(self) -> None:
        self._is_ready = self._is_late = False
        self._process = subprocess.Popen(
            # -P: import nothing from the current folder
            [sys.executable, "-P", "-c", CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # an interrupt in a terminal is for the server alone
        )
        self._input = cast(IO[bytes], self._process.stdin)
        self._output = cast(IO[bytes], self._process.stdout)
        with suppress(OSError):  # it has ended, which is noticed when its answer is read
            self._send(asdict(self._setup))

    def wait_until_ready(self) -> None:
        """Waits for the model to be loaded.

        Raises:
            ModelFileError: It cannot be loaded any more.
        """
        if self._is_ready:
            return
        try:
            self._receive()
        except (RefusedError, EOFError, OSError) as error:
            ended = self._how_it_ended()
            reason = error.sentence if isinstance(error, RefusedError) else ended
            raise ModelFileError(
                f"a process that predicts cannot load the model ({reason}); accepted is the model "
                "file with which the server began; start the server anew"
            ) from error
        self._is_ready = True

    def answer(
        self, request: Request, seconds: float, take: Callable[[int], AbstractContextManager[None]]
    ) -> bytes:
        """Answers one request.

        Args:
            request: The request.
            seconds: Seconds after which the process is ended, and replaced.
            take: Holds a number of bytes for the image, or raises a RefusedError.

        Returns:
            Content of the answer.

        Raises:
            RefusedError: The image is not accepted, or the process has ended.
            OSError: The result cannot be read.
        """
        self._replace_if_ended()  # while it waited for requests, by the system
        try:
            self.wait_until_ready()
        except ModelFileError as error:
            raise RefusedError(503, str(error)) from error
        timer = threading.Timer(seconds, self._end_late)
        timer.start()
        try:
            return self._ask(request, take)
        except (EOFError, BrokenPipeError) as error:
            sentence = (
                f"the image took more than {seconds:g} seconds, the limit of this server"
                if self._is_late
                else f"the process that read this image ended ({self._how_it_ended()}); it is "
                "replaced; accepted are images that can be read"
            )
            raise RefusedError(503, sentence) from error
        finally:
            timer.cancel()
            timer.join()
            with suppress(OSError):  # tried again with the next request
                self._replace_if_ended()

    def _ask(self, request: Request, take: Callable[[int], AbstractContextManager[None]]) -> bytes:
        self._send(asdict(request))
        need = self._receive()["need"]
        try:
            held = take(need)
        except RefusedError:
            self._send(False)
            raise
        with held:
            self._send(True)
            result = Path(request.folder, self._receive()["file"])
        return result.read_bytes()

    def _send(self, message: Any) -> None:
        self._input.write(json.dumps(message).encode() + b"\n")
        self._input.flush()

    def _receive(self) -> dict[str, Any]:
        line = self._output.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        message: dict[str, Any] = json.loads(line)
        if "status" in message:
            raise RefusedError(**message)
        return message

    def _end_late(self) -> None:
        self._is_late = True
        self._process.kill()

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _replace_if_ended(self) -> None:
        if self._is_late:
            self._process.wait()
        if self._process.poll() is None:
            return
        self._on_end("timeout" if self._is_late else "crash")
        self._close_pipes()
        self._start()

    def _close_pipes(self) -> None:
        for pipe in (self._input, self._output):
            with suppress(OSError):  # what was still to be written
                pipe.close()

    @property
    def resident_bytes(self) -> int:
        """Memory of the process now."""
        return resident_bytes(self._process.pid)

    def close(self) -> None:
        """Ends the process."""
        with suppress(OSError):
            self._input.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close_pipes()
