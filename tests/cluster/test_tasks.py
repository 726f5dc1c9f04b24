"""Tasks on real workers that end, hang, are stopped, or cannot write."""

import logging
import os
import signal
import sys
import threading
import time
from collections import deque

import pytest

from unetkit.cluster import tasks
from unetkit.cluster.connection import connect, local_workers
from unetkit.cluster.tasks import Task, Workers, cut_parts
from unetkit.errors import DataNotFoundError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture(scope="module")
def client():
    with local_workers(2) as client:
        yield client


def outcomes(workers, functions):
    """Hands out a task for each function; returns values, or faults, by their names."""
    waiting = deque(Task(function, (), name) for name, function in functions.items())
    found = workers.hand_out(lambda: waiting.popleft() if waiting else None)
    return {one.task.what: one.fault or one.value for one in found}


def number(value):
    def square(show_life):  # within another function, so that it is sent whole
        return value**2

    return square


@pytest.mark.parametrize(
    ("count", "threads", "parts"), [(1, 4, 1), (10, 1, 4), (10_000, 2, 157), (10**6, 8, 512)]
)
def test_parts_are_of_about_one_size_in_order(count, threads, parts):
    found = cut_parts(range(count), 64, threads, most=512)
    assert len(found) == parts
    assert [item for part in found for item in part] == list(range(count))
    sizes = [len(part) for part in found]
    assert max(sizes) - min(sizes) <= 1


def test_few_tasks_wait_at_a_time(client):
    workers, taken, done = Workers(client), [], []

    def take():
        if len(taken) == 50:
            return None
        taken.append(1)
        assert len(taken) - len(done) <= tasks.AHEAD * workers.threads
        return Task(number(len(taken)), (), "a number")

    for outcome in workers.hand_out(take):
        done.append(outcome.value)
    assert sorted(done) == [value**2 for value in range(1, 51)]


def test_errors_of_a_task_are_raised(client):
    def fail(show_life):
        raise KeyError("seven")

    with pytest.raises(KeyError, match="seven"):
        outcomes(Workers(client), {"a": fail})


def test_a_task_that_ends_its_workers_is_named_and_the_rest_is_done():
    def end(show_life):
        os._exit(1)

    with local_workers(2) as client:
        functions = {f"{n}": number(n) for n in range(6)}
        found = outcomes(Workers(client), {"bad": end, **functions})
    assert found.pop("bad").startswith("workers that began it ended, at last tls://127.0.0.1:")
    assert found == {f"{n}": n**2 for n in range(6)}


def test_a_task_that_never_returns_is_given_up_and_the_rest_is_done(monkeypatch):
    monkeypatch.setattr(tasks, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(tasks, "RESTART_SECONDS", 20)

    def hang(show_life):
        time.sleep(1000)

    def go_on(show_life):
        for _ in range(8):
            time.sleep(0.5)
            show_life()
        return "slow"

    with local_workers(2) as client:
        functions = {f"{n}": number(n) for n in range(6)}
        workers = Workers(client, stalled_minutes=3 / 60)
        found = outcomes(workers, {"bad": hang, "slow": go_on, **functions})
        # Its worker was ended: no process of it is left, and another one has its place.
        assert len(client.nthreads()) >= 1
    fault = found.pop("bad")
    assert fault.startswith("worker tls://127.0.0.1:")
    assert fault.endswith(" began it and did not go on for 0.05 minutes")
    assert found == {"slow": "slow", **{f"{n}": n**2 for n in range(6)}}


def test_a_worker_without_a_nanny_that_holds_a_task_is_left_out(scheduler, monkeypatch):
    monkeypatch.setattr(tasks, "CHECK_SECONDS", 0.2)

    def hang(show_life):
        time.sleep(1000)

    scheduler.start()
    scheduler.start_worker("--no-nanny")
    with connect(scheduler.address) as client:
        (alone,) = client.nthreads()
        workers = Workers(client, stalled_minutes=3 / 60)
        waiting = deque([Task(hang, (), "bad"), *(Task(number(n), (), f"{n}") for n in range(6))])
        found = {}
        another = threading.Timer(1, scheduler.start_worker)
        another.start()
        for one in workers.hand_out(lambda: waiting.popleft() if waiting else None):
            found[one.task.what] = one.fault or one.value
        another.join()
        assert alone not in client.nthreads()
    assert found.pop("bad").startswith(f"worker {alone} began it and did not go on")
    assert found == {f"{n}": n**2 for n in range(6)}


def test_a_worker_that_is_stopped_is_ended_and_others_do_its_tasks(monkeypatch, caplog, tmp_path):
    """The first worker that begins the task is stopped by it, the next one does it."""
    monkeypatch.setattr(tasks, "CHECK_SECONDS", 0.5)
    monkeypatch.setattr(tasks, "SILENT_SECONDS", 5.0)
    mark = tmp_path / "stopped"

    def stop(show_life):
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return "done"
        time.sleep(0.5)  # until the sign of life is sent
        os.kill(os.getpid(), signal.SIGSTOP)
        return None

    with local_workers(2) as client, caplog.at_level(logging.WARNING, "unetkit"):
        found = outcomes(Workers(client), {"a.png": stop, "b.png": number(3)})
    assert found == {"a.png": "done", "b.png": 9}
    (message,) = [one.getMessage() for one in caplog.records if one.name.startswith("unetkit")]
    assert message.startswith("worker tls://127.0.0.1:")
    assert "has not answered for 5 seconds, at a.png; it is ended, and others go on" in message


def test_a_worker_that_cannot_write_is_named_and_others_do_its_tasks(caplog, tmp_path):
    """A limit on the size of files in one worker is as a full disk."""

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def write(show_life):
        time.sleep(0.1)  # so that both workers have some
        path = tmp_path / f"{time.monotonic_ns()}-{os.getpid()}"
        path.write_bytes(bytes(1000))
        return os.getpid()

    with local_workers(2) as client, caplog.at_level(logging.WARNING, "unetkit"):
        full, other = client.nthreads()
        client.run(limit, workers=[full])
        pids = client.run(os.getpid)
        workers = Workers(client)
        found = outcomes(workers, {f"{n}.png": write for n in range(12)})
        assert set(found.values()) == {pids[other]}
        assert len(found) == 12
        (message,) = [one.getMessage() for one in caplog.records if "cannot write" in one.message]
        assert message.startswith(f"worker {full} cannot write ([Errno 27] ")
        assert message.endswith(".png; others go on with its tasks")
        client.run(limit, workers=[other])
        with pytest.raises(OSError, match="File too large"):
            outcomes(workers, {f"{n}.png": write for n in range(12)})


def test_a_scheduler_that_ends_is_named(scheduler):
    def wait(show_life):
        time.sleep(1)

    done = []

    def kill_after_one(workers):
        for outcome in workers.hand_out(lambda: Task(wait, (), "a")):
            done.append(outcome)
            scheduler.kill()

    scheduler.start()
    scheduler.start_worker()
    words = f"the scheduler at {scheduler.address} does not answer any more; what is finished is"
    with connect(scheduler.address) as client, pytest.raises(DataNotFoundError, match=words):
        kill_after_one(Workers(client))
    assert len(done) == 1
