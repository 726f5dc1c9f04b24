"""Tasks handed out to workers of Dask, some at a time, and what becomes of workers that fail.

Dask gives the tasks of a worker that ends to another one. What it leaves open is decided here: a
worker that is silent is ended, so is one whose task shows no life any more, and one that cannot
write is given no more tasks.
"""

import logging
import queue
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, TypeVar

from unetkit.errors import DataNotFoundError, UnetkitError

logger = logging.getLogger(__name__)
Item = TypeVar("Item")

AHEAD = 2  # tasks for each thread: one that runs, and one that waits for it
PARTS_PER_THREAD = 4  # of the work, at least, so that all workers end at about the same time
CHECK_SECONDS = 2.0  # between looks at the workers
SILENT_SECONDS = 60.0  # without a heartbeat, after which a worker is ended
RESTART_SECONDS = 30.0
SIGN_SECONDS = 1.0  # between signs of life of a task
STALLED_MINUTES = 30.0


@dataclass(frozen=True)
class Task:
    """A part of the work.

    Args:
        function: Function of a module, called in a worker; its last argument is a function that it
            calls to show life.
        arguments: Its other arguments.
        what: What it works on, for messages.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    what: str


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Args:
        task: The task.
        value: What its function returned.
        fault: Why workers could not do it; None if they did.
    """

    task: Task
    value: Any = None
    fault: str | None = None


@dataclass(frozen=True)
class Unwritten:
    """What a task returns whose worker cannot write.

    Args:
        worker: Address of the worker.
        error: Error of the system.
    """

    worker: str
    error: OSError


@dataclass(frozen=True)
class Sign:
    """A sign of life.

    Args:
        worker: Address of the worker that runs the task.
        seconds: Time on the clock of this process.
    """

    worker: str
    seconds: float


def cut_parts(
    items: Sequence[Item], size: int, threads: int, most: int | None = None
) -> list[Sequence[Item]]:
    """Cuts work into parts of about the same size, in order.

    Args:
        items: Pieces of the work.
        size: Largest number of items of a part.
        threads: Number of threads that work.
        most: Largest number of parts, which may then be larger; None for any.
    """
    parts = max(-(-len(items) // size), PARTS_PER_THREAD * threads)
    parts = max(1, min(parts, most or parts, len(items)))
    ends = [len(items) * number // parts for number in range(parts + 1)]
    return [items[first:end] for first, end in pairwise(ends)]


class Workers:
    """The workers of a cluster, for one command.

    Args:
        client: A client of Dask.
        stalled_minutes: Time without a sign of life after which a task is given up.
    """

    def __init__(self, client: Any, stalled_minutes: float = STALLED_MINUTES) -> None:
        self.client, self._stalled_minutes = client, stalled_minutes
        self._topic = f"unetkit-{uuid.uuid4().hex}"
        self._signs: dict[int, Sign] = {}  # by the number of the task
        self._numbers = count()
        self._unable: dict[str, OSError] = {}  # workers that cannot write
        self._next_check = 0.0
        self._threads: dict[str, int] = {}
        self._count_threads()
        client.subscribe_topic(self._topic, self._on_sign)

    @property
    def threads(self) -> int:
        """Number of threads of all workers that can write."""
        return sum(n for worker, n in self._threads.items() if worker not in self._unable)

    def hand_out(self, take: Callable[[], Task | None]) -> Iterator[Outcome]:
        """Hands out tasks, and yields what became of each, in the order of their ends.

        Args:
            take: Returns the next task, None if there is none at the moment; called as workers have
                room, and after each outcome.

        Raises:
            DataNotFoundError: The scheduler ends.
            OSError: No worker can write.
        """
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        running: dict[Any, tuple[int, Task]] = {}

        def submit(task: Task) -> None:
            number = next(self._numbers)
            able = [worker for worker in self._threads if worker not in self._unable]
            if self._unable and not able:
                raise next(iter(self._unable.values()))
            with named_if_lost(self.client):
                future = self.client.submit(
                    run_task,
                    self._topic,
                    number,
                    task.function,
                    task.arguments,
                    key=f"{task.function.__name__}-{uuid.uuid4().hex}",
                    workers=able if self._unable else None,
                    allow_other_workers=bool(self._unable),  # when those have ended
                    retries=1,
                )
            running[future] = number, task
            future.add_done_callback(ended.put)

        try:
            while True:
                while len(running) < AHEAD * max(1, self.threads):
                    task = take()
                    if task is None:
                        break
                    submit(task)
                if not running:
                    return
                try:
                    future = ended.get(timeout=CHECK_SECONDS)
                except queue.Empty:
                    future = None
                if future in running:  # not given up meanwhile
                    number, task = running.pop(future)
                    outcome = self._outcome(future, task)
                    self._signs.pop(number, None)
                    if isinstance(outcome.value, Unwritten):
                        self._set_aside(outcome.value, task)
                        submit(task)
                    else:
                        yield outcome
                for future in self._check(running):
                    number, task = running.pop(future)
                    yield Outcome(task, fault=self._give_up(future, self._signs.pop(number)))
        finally:
            with suppress(OSError, CancelledError, RuntimeError):  # the scheduler may have ended
                if running:
                    self.client.cancel(list(running))

    def _on_sign(self, event: tuple[float, dict[str, Any]]) -> None:
        _, sign = event
        self._signs[sign["task"]] = Sign(sign["worker"], time.monotonic())

    def _count_threads(self) -> None:
        with named_if_lost(self.client):
            self._threads = dict(self.client.nthreads())

    def _outcome(self, future: Any, task: Task) -> Outcome:
        from distributed import KilledWorker

        try:
            return Outcome(task, future.result())
        except KilledWorker as error:
            last = error.last_worker.address
            return Outcome(task, fault=f"workers that began it ended, at last {last}")
        except CancelledError as error:
            raise lost(self.client) from error

    def _set_aside(self, found: Unwritten, task: Task) -> None:
        """Gives a worker that cannot write no more tasks."""
        if found.worker not in self._unable:
            self._unable[found.worker] = found.error
            logger.warning(
                "worker %s cannot write (%s), at %s; others go on with its tasks",
                *(found.worker, found.error, task.what),
            )

    def _check(self, running: dict[Any, tuple[int, Task]]) -> list[Any]:
        """Looks at the workers from time to time; returns tasks that show no life."""
        now = time.monotonic()
        if now < self._next_check:
            return []
        self._next_check = now + CHECK_SECONDS
        self._count_threads()
        for worker in self._silent_workers():
            at = [task.what for n, task in running.values() if self._worker_of(n) == worker]
            logger.warning(
                "worker %s has not answered for %g seconds, at %s; it is ended, and others go on "
                "with its tasks",
                *(worker, SILENT_SECONDS, "; ".join(at) or "no task"),
            )
            self._end(worker)
        latest = now - 60 * self._stalled_minutes
        return [
            future
            for future, (number, _) in running.items()
            if number in self._signs and self._signs[number].seconds < latest and not future.done()
        ]

    def _worker_of(self, number: int) -> str | None:
        sign = self._signs.get(number)
        return None if sign is None else sign.worker

    def _silent_workers(self) -> list[str]:
        def find(seconds: float, dask_scheduler: Any) -> list[str]:  # sent whole to the scheduler
            import time

            return [
                address
                for address, one in dask_scheduler.workers.items()
                if time.time() - one.last_seen > seconds
            ]

        with named_if_lost(self.client):
            found: list[str] = self.client.run_on_scheduler(find, SILENT_SECONDS)
        return found

    def _give_up(self, future: Any, sign: Sign) -> str:
        """Ends the worker of a task that shows no life; returns why."""
        self.client.cancel([future])  # or Dask would give it to another worker
        self._end(sign.worker)
        return (
            f"worker {sign.worker} began it and did not go on for {self._stalled_minutes:g} minutes"
        )

    def _end(self, worker: str) -> None:
        """Ends the process of a worker; where it has a nanny, this starts another one."""
        with named_if_lost(self.client):
            try:
                self.client.restart_workers([worker], RESTART_SECONDS, raise_for_error=False)
            except ValueError:  # it has none
                self.client.retire_workers([worker])
            except (KeyError, TimeoutError):  # it ended meanwhile
                pass


def run_task(
    topic: str, number: int, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """Runs a task in a worker, and shows its life.

    Args:
        topic: Topic of signs of life.
        number: Number of the task.
        function: Function of the task.
        arguments: Its arguments but the last.

    Returns:
        What the function returns; `Unwritten` if the worker cannot write.
    """
    from distributed import get_worker

    worker, latest = get_worker(), -SIGN_SECONDS

    def show_life() -> None:
        nonlocal latest
        if time.monotonic() - latest >= SIGN_SECONDS:
            latest = time.monotonic()
            worker.log_event(topic, {"task": number, "worker": worker.address})

    show_life()
    try:
        return function(*arguments, show_life)
    except OSError as error:
        if isinstance(error, UnetkitError):
            raise
        return Unwritten(worker.address, error)


@contextmanager
def named_if_lost(client: Any) -> Iterator[None]:
    """Turns errors of a lost connection into one that names the scheduler.

    Raises:
        DataNotFoundError: The scheduler does not answer.
    """
    try:
        yield
    except (OSError, CancelledError, RuntimeError) as error:
        raise lost(client) from error


def lost(client: Any) -> DataNotFoundError:
    """The error about a scheduler that ended."""
    return DataNotFoundError(
        f"the scheduler at {client.scheduler.address} does not answer any more; what is finished "
        "is kept; start it again, and then the same command"
    )
