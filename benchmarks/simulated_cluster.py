"""A thousand workers that predict a billion images, simulated: stragglers, failures, slow storage.

    python benchmarks/simulated_cluster.py [--images 1e9] [--workers 1000] [--rate 4]

A discrete-event simulation, with a heap of events. A task is a shard: its images are predicted in
order by one worker. Workers differ in speed; each fails now and then and is replaced; at times the
storage is slow for all. What a failed task had recorded is left out when it is tried again, the
rest is done again. Records are of each image (as `predict` writes them to a file system), of each
group of 64 (as to an object store), or of a whole task (as a scheduler alone knows it). Near the
end, idle workers may run a second copy of the tasks that are expected to end last.

It answers: how many images a task should have, whether copies pay, and what records of each image
are worth. No part of it knows how fast a network is: rates are arguments, see `scale_out.py`.
"""

import argparse
import heapq
from bisect import bisect_right
from dataclasses import dataclass, field, replace

import numpy as np

HOUR, DAY = 3600.0, 86400.0
SEED = 0


@dataclass(frozen=True)
class Cluster:
    """What is simulated; all times in seconds.

    Args:
        images: Number of images.
        workers: Number of workers, each a process.
        rate: Images that a worker of median speed predicts in a second.
        batch: Images of a task.
        start: Time that a task takes before its first image, apart from names.
        folder: Images in one list and one folder of results, whose names and records each task
            reads.
        name_seconds: Time that a task takes for each of them.
        recorded: Images between two records; 0 for one record of a whole task.
        copies: Whether idle workers run copies of tasks.
        speed_spread: Standard deviation of the logarithm of workers' speeds.
        slow_workers: Fraction of workers that run at a quarter of their speed.
        failure: Mean time between failures of a worker.
        restart: Time until a worker that failed is replaced.
        slow_every: Mean time between the ends and beginnings of slow storage.
        slow_for: Mean time for which the storage is slow.
        slow_factor: Factor by which images take longer meanwhile.
    """

    images: int = 10**9
    workers: int = 1000
    rate: float = 4.0
    batch: int = 100_000
    start: float = 2.0
    folder: int = 10**6
    name_seconds: float = 16e-6
    recorded: int = 1
    copies: bool = True
    speed_spread: float = 0.15
    slow_workers: float = 0.03
    failure: float = 2 * DAY
    restart: float = 300.0
    slow_every: float = 12 * HOUR
    slow_for: float = 900.0
    slow_factor: float = 5.0

    @property
    def before(self) -> float:
        """Time that a task takes before its first image."""
        return self.start + min(self.folder, self.images) * self.name_seconds


@dataclass
class Outcome:
    """What happened.

    Args:
        seconds: Time until the last image was done.
        finished: First image and number of images of each part that was done and recorded.
        failures: Failures of workers that had a task.
        repeated: Images that were predicted more than once.
        started: Tasks that were started, copies and further tries included.
    """

    seconds: float = 0.0
    finished: list[tuple[int, int]] = field(default_factory=list)
    failures: int = 0
    repeated: int = 0
    started: int = 0


class Storage:
    """The work that can be done in a time: less while the storage is slow."""

    def __init__(self, cluster: Cluster, random: np.random.Generator, until: float) -> None:
        times, done = [0.0], [0.0]
        while times[-1] < until:
            for mean, speed in (
                (cluster.slow_every, 1.0),
                (cluster.slow_for, 1 / cluster.slow_factor),
            ):
                span = random.exponential(mean)
                times.append(times[-1] + span)
                done.append(done[-1] + span * speed)
        self._times, self._done = times, done

    def work_until(self, time: float) -> float:
        """Seconds of full speed until a time."""
        return _between(self._times, self._done, time)

    def time_of(self, work: float) -> float:
        """The time at which so many seconds of full speed are reached."""
        return _between(self._done, self._times, work)


def _between(known: list[float], wanted: list[float], value: float) -> float:
    place = min(bisect_right(known, value), len(known) - 1)
    left, right = known[place - 1], known[place]
    part = (value - left) / (right - left)
    return wanted[place - 1] + part * (wanted[place] - wanted[place - 1])


@dataclass
class Task:
    """Images that are not recorded yet, from `first` on."""

    first: int
    count: int
    attempts: dict[int, tuple[float, float]] = field(default_factory=dict)  # start, end by worker


def simulate(cluster: Cluster, seed: int = SEED) -> Outcome:
    """Runs a cluster until all images are done.

    Raises:
        ValueError: A number is not positive, so that it would never end.
    """
    if min(cluster.images, cluster.workers, cluster.batch, cluster.rate, cluster.failure) <= 0:
        raise ValueError(f"{cluster} would never end; accepted are positive numbers")
    random = np.random.default_rng(seed)
    speeds = cluster.rate * np.exp(random.normal(0, cluster.speed_spread, cluster.workers))
    speeds[random.random(cluster.workers) < cluster.slow_workers] /= 4
    ideal = cluster.images / speeds.sum()
    storage = Storage(cluster, random, 20 * ideal + 100 * DAY)
    return _Run(cluster, speeds.tolist(), storage, random).run()


class _Run:
    def __init__(
        self,
        cluster: Cluster,
        speeds: list[float],
        storage: Storage,
        random: np.random.Generator,
    ) -> None:
        self.cluster, self.speeds, self.storage, self.random = cluster, speeds, storage, random
        self.outcome = Outcome()
        self.next_image = 0
        self.again: list[Task] = []  # of workers that failed
        self.running: dict[int, Task] = {}  # by worker
        self.idle: set[int] = set()
        self.events: list[tuple[float, int, str]] = []  # time, worker, what
        self.due = random.exponential(cluster.failure, cluster.workers).tolist()

    def run(self) -> Outcome:
        left = self.cluster.images
        for worker in range(self.cluster.workers):
            self._assign(worker, 0.0)
        while left:
            time, worker, what = heapq.heappop(self.events)
            task = self.running.get(worker)
            if what == "back":
                self._assign(worker, time)
            elif task is None or task.attempts[worker][1] != time:
                continue  # a copy was faster
            elif what == "end":
                self._record(task, task.count)
                left -= self.outcome.finished[-1][1]
                for other in [*task.attempts]:
                    del self.running[other]
                    if other != worker:
                        self.outcome.repeated += self._done_by(task, other, time)
                for other in [*task.attempts]:
                    self._assign(other, time)
            else:
                left -= self._fail(worker, task, time)
            self.outcome.seconds = time
        return self.outcome

    def _take(self) -> Task | None:
        if self.again:
            return self.again.pop()
        count = min(self.cluster.batch, self.cluster.images - self.next_image)
        if count <= 0:
            return self._slowest() if self.cluster.copies else None
        task = Task(self.next_image, count)
        self.next_image += count
        return task

    def _slowest(self) -> Task | None:
        """The task that is expected to end last and has no copy."""
        alone = [task for task in self.running.values() if len(task.attempts) == 1]
        return max(alone, key=lambda task: max(task.attempts.values())[1], default=None)

    def _assign(self, worker: int, time: float) -> None:
        if time >= self.due[worker]:  # it failed while it was idle
            self.due[worker] = time + self.random.exponential(self.cluster.failure)
        task = self._take()
        if task is None:
            self.idle.add(worker)
            return
        work = self.cluster.before + task.count / self.speeds[worker]
        end = self.storage.time_of(self.storage.work_until(time) + work)
        if task.attempts and end >= max(one[1] for one in task.attempts.values()):
            self.idle.add(worker)  # its copy would end later
            return
        failure = self.due[worker]
        stop, what = (failure, "failure") if failure < end else (end, "end")
        task.attempts[worker] = (time, stop)
        self.running[worker] = task
        self.outcome.started += 1
        heapq.heappush(self.events, (stop, worker, what))

    def _done_by(self, task: Task, worker: int, time: float) -> int:
        """Images of its task that a worker has done until a time."""
        begun = self.storage.work_until(task.attempts[worker][0]) + self.cluster.before
        work = max(self.storage.work_until(time) - begun, 0.0)
        return min(int(work * self.speeds[worker]), task.count)

    def _fail(self, worker: int, task: Task, time: float) -> int:
        """Ends what a worker does; returns how many images are recorded of it."""
        done = self._done_by(task, worker, time)
        every = self.cluster.recorded
        kept = done - done % every if every else 0
        self.outcome.failures += 1
        del self.running[worker], task.attempts[worker]
        self.due[worker] = (
            time + self.cluster.restart + self.random.exponential(self.cluster.failure)
        )
        heapq.heappush(self.events, (time + self.cluster.restart, worker, "back"))
        if task.attempts:  # the copy goes on
            self.outcome.repeated += done
            return 0
        self.outcome.repeated += done - kept
        if kept:
            self._record(task, kept)
        if task.count:
            self.again.append(task)
            for other in [*self.idle][:1]:
                self.idle.discard(other)
                self._assign(other, time)
        return kept

    def _record(self, task: Task, count: int) -> None:
        self.outcome.finished.append((task.first, count))
        task.first, task.count = task.first + count, task.count - count


def row(name: str, cluster: Cluster, seeds: int) -> str:
    """A row of Markdown: medians over seeds."""
    found = [simulate(cluster, seed) for seed in range(seeds)]
    ideal = cluster.images / (cluster.workers * cluster.rate)

    def median(values: list[float]) -> float:
        return float(np.median(values))

    cells = (
        f"{median([one.seconds for one in found]) / HOUR:,.1f}",
        f"{100 * (median([one.seconds for one in found]) / ideal - 1):.0f} %",
        f"{median([one.failures for one in found]):,.0f}",
        f"{median([one.repeated for one in found]):,.0f}",
        f"{100 * median([one.repeated for one in found]) / cluster.images:.3f} %",
        f"{median([one.started for one in found]):,.0f}",
    )
    return f"| {name} | {' | '.join(cells)} |"


def table(base: Cluster, seeds: int) -> str:
    """The decisions, a row each."""
    lines = [
        "| images of a task, records, copies | hours | above ideal | failures | done twice "
        "| of all | tasks started |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    words = {1: "each image", 64: "groups of 64", 0: "whole tasks"}
    for batch in (1_000, 10_000, 100_000, 1_000_000):
        cluster = replace(base, batch=batch)
        lines.append(row(f"{batch:,}, each image, copies", cluster, seeds))
    for batch, recorded, copies in (
        (10_000, 1, False),
        (100_000, 1, False),
        (10_000, 64, True),
        (100_000, 64, True),
        (10_000, 0, True),
        (100_000, 0, True),
        (1_000_000, 0, True),
        (1_000_000, 0, False),
    ):
        cluster = replace(base, batch=batch, recorded=recorded, copies=copies)
        name = f"{batch:,}, {words[recorded]}, {'copies' if copies else 'none'}"
        lines.append(row(name, cluster, seeds))
    one = replace(base, batch=100_000, folder=base.images)
    lines.append(row("100,000, each image, copies; one folder of all images", one, seeds))
    calm = replace(base, slow_every=1e9, failure=1e9, slow_workers=0.0, speed_spread=0.0)
    lines.append(row("100,000, nothing goes wrong", replace(calm, batch=100_000), 1))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=float, default=1e9)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=4.0, help="images a second of a worker")
    parser.add_argument("--start", type=float, default=2.0, help="seconds before a task's first")
    parser.add_argument("--name-seconds", type=float, default=16e-6, help="seconds for each name")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    base = Cluster(
        images=int(options.images),
        workers=options.workers,
        rate=options.rate,
        start=options.start,
        name_seconds=options.name_seconds,
    )
    print(table(base, options.seeds))


if __name__ == "__main__":
    main()
