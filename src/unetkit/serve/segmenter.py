"""Requests answered by a model: bytes of an image in, bytes of an answer out.

Requests wait in the order in which they came, and processes take them from there: one on each core,
each with one image at a time. A thread waits for each process. Nothing here knows HTTP; `app` does.
"""

import asyncio
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from queue import LifoQueue

from unetkit._shared.memory_budget import BUDGET, MIB, MemoryBudget
from unetkit._shared.threads import usable_cores
from unetkit.errors import SizeError
from unetkit.prediction.memory import RESERVE
from unetkit.prediction.predictor import Predictor
from unetkit.serve.answers import outputs_of
from unetkit.serve.limits import Limits, RefusedError
from unetkit.serve.process import PredictionProcess
from unetkit.serve.worker import IMAGE, THE_IMAGE, Request, Setup, cannot_write

# Of the memory beside programs and networks, for pixels and results of images. The rest is for
# tiles larger than the smallest, and to tell objects apart, where a model does that.
IMAGE_FRACTION = 0.75
FIRST_GUESS_SECONDS = 1.0  # of an answer, until one was given
SMOOTHING = 0.2  # weight of the last answer in the mean


class Segmenter:
    """A model that answers requests, one in each of its processes at the same time.

    Args:
        predictor: The model; its memory limit is that of all processes together.
        limits: Limits of the service.
        processes: Number of processes that predict; None for one on each core, or fewer where they
            would take more than half of the memory.

    Raises:
        SizeError: The memory limit leaves nothing for images.
    """

    def __init__(self, predictor: Predictor, limits: Limits, processes: int | None = None) -> None:
        self.predictor, self.limits = predictor, limits
        self.outputs = outputs_of(predictor)
        # The network is loaded twice, for all cores and for one; images are not read by windows.
        second = predictor.weight_bytes + predictor.least_tile_bytes
        each = predictor.least_memory - RESERVE + second
        room = predictor.memory - limits.held_bytes - BUDGET.base
        self.processes = processes or max(1, min(usable_cores(), room // 2 // each))
        free = room - self.processes * each
        if free < MIB:
            raise SizeError(
                f"memory is {predictor.memory / MIB:,.0f} MiB; accepted to serve {predictor.path} "
                f"with {self.processes} processes are amounts from "
                f"{-(-(predictor.memory - free + MIB) // MIB):,} MiB up; allow more"
            )
        spec = predictor.spec
        takes_more = spec.scale.is_native or spec.objects.finds_objects
        self._most_needed = round(free * (IMAGE_FRACTION if takes_more else 1))
        more = (free - self._most_needed) // self.processes
        self._images = MemoryBudget(BUDGET.base + self._most_needed)
        setup = Setup(
            [str(path.resolve()) for path in predictor.paths],
            predictor.tta,
            predictor.digest,
            limits.pixels,
            memory=predictor.least_memory + more // 2,
            object_bytes=more,
        )
        self.ended: Counter[str] = Counter()  # processes, by what ended them
        self._all = [PredictionProcess(setup, self._count_end) for _ in range(self.processes)]
        # The one that was used last is used first: its memory is warm.
        self._idle: LifoQueue[PredictionProcess] = LifoQueue()
        for process in self._all:
            self._idle.put(process)
        self._pool = ThreadPoolExecutor(self.processes, "predict")
        self._lock = threading.Lock()
        self._pending = 0
        self._mean_seconds = FIRST_GUESS_SECONDS

    def wait_until_ready(self) -> None:
        """Waits for the processes to load the model; requests may also come before.

        Raises:
            ModelFileError: One cannot load it.
        """
        for process in self._all:
            process.wait_until_ready()

    @property
    def pending(self) -> int:
        """Number of requests that wait or are being answered."""
        return self._pending

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a free process."""
        return max(0, self._pending - self.processes)

    @property
    def resident_bytes(self) -> list[int]:
        """Memory of each process that predicts."""
        return [process.resident_bytes for process in self._all]

    def require_room(self) -> None:
        """Refuses a request if too many wait.

        Raises:
            RefusedError: As many wait as may.
        """
        if self._pending >= self.processes + self.limits.waiting:
            raise RefusedError(
                429,
                f"{self.waiting} requests wait already, and accepted are {self.limits.waiting}; "
                "try again later",
                retry_seconds=max(1, round(self._pending * self._mean_seconds / self.processes)),
            )

    async def answer(self, content: bytes, output: str, mask: str = "index") -> bytes:
        """Answers one request.

        Args:
            content: Content of an image file.
            output: Kind of answer, one of `outputs`.
            mask: What pixels of masks are, one of `results.masks.MASK_STYLES`.

        Returns:
            Content of the answer, of the media type `answers.MEDIA_TYPES[output]`.

        Raises:
            RefusedError: Too many requests wait; the content is not an image that the model takes;
                or there is no answer within the limits of time and memory.
        """
        self.require_room()
        with self._lock:
            self._pending += 1
        future = self._pool.submit(self._work, content, output, mask)
        future.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise RefusedError(
                503,
                f"no answer within {self.limits.seconds:g} seconds, the limit of this server; "
                "try again, or send a smaller image",
                retry_seconds=max(1, round(self._mean_seconds)),
            ) from None

    def close(self) -> None:
        """Waits for the requests that are being answered; those that wait are given up."""
        self._pool.shutdown(cancel_futures=True)
        for process in self._all:
            process.close()

    def _done(self, future: "Future[bytes]") -> None:
        with self._lock:
            self._pending -= 1

    def _count_end(self, reason: str) -> None:
        with self._lock:
            self.ended[reason] += 1

    def _work(self, content: bytes, output: str, mask: str) -> bytes:
        started = time.monotonic()
        process = self._idle.get()
        try:
            with tempfile.TemporaryDirectory(
                prefix="unetkit-", ignore_cleanup_errors=True
            ) as folder:
                Path(folder, IMAGE).write_bytes(content)
                request = Request(folder, output, mask, is_alone=self._pending == 1)
                answer = process.answer(request, self.limits.seconds, self._take)
        except OSError as error:
            raise cannot_write(error) from error
        finally:
            self._idle.put(process)
        seconds = time.monotonic() - started
        with self._lock:
            self._mean_seconds += SMOOTHING * (seconds - self._mean_seconds)
        return answer

    def _take(self, need: int) -> AbstractContextManager[None]:
        """Holds memory for an image while it is predicted, waiting until it is free."""
        if need > self._most_needed:
            raise RefusedError(
                422,
                f"the image and this answer need {need / MIB:,.0f} MiB of memory; accepted are up "
                f"to {self._most_needed / MIB:,.0f} MiB",
            )
        return self._images.taken(need, THE_IMAGE)
