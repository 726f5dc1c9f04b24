"""Work on several threads, in order."""

import os
import subprocess
import sys
import threading
import time
from itertools import count

import pytest

from unetkit._shared import threads
from unetkit._shared.threads import in_order, usable_cores


def test_results_come_in_order_whatever_takes_longest():
    def slow_first(number):
        time.sleep(0.05 if number == 0 else 0)
        return number * 2

    assert list(in_order(slow_first, range(20), 4)) == [2 * n for n in range(20)]


def test_no_more_are_taken_than_are_needed_soon():
    taken = []
    results = in_order(lambda n: n, (taken.append(n) or n for n in count()), 2, ahead=1)
    assert next(results) == 0
    assert len(taken) <= 4  # three to begin with, and one for the one that was handed out
    results.close()


def test_so_many_work_at_once():
    together = threading.Barrier(3, timeout=10)
    assert list(in_order(lambda n: together.wait() >= 0, range(6), 3)) == [True] * 6


def test_an_error_comes_in_its_place():
    def fail_at_two(number):
        if number == 2:
            raise ValueError("two")
        return number

    results = in_order(fail_at_two, range(9), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_an_error_of_the_source_comes_after_what_came_before_it():
    def source():
        yield from range(5)
        raise ValueError("the source")

    results = in_order(lambda n: n, source(), 2)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="the source"):
        next(results)


def test_a_slow_source_does_not_keep_back_what_is_ready():
    def source():
        yield 0
        time.sleep(0.2)  # the first is ready by now
        yield 1
        pytest.fail("asked for more than was needed")

    results = in_order(lambda n: n, source(), 2)
    assert next(results) == 0
    results.close()


def test_nothing_gives_nothing():
    assert list(in_order(lambda n: n, [], 2)) == []


class TestUsableCores:
    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity of Linux")
    def test_they_are_those_of_the_affinity(self):
        core = min(os.sched_getaffinity(0))
        code = (
            f"import os; os.sched_setaffinity(0, [{core}]);"
            "from unetkit._shared.threads import usable_cores; print(usable_cores())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert done.stdout.strip() == b"1"

    @pytest.mark.parametrize(
        ("quota", "cores"),
        [("250000 100000", 3), ("50000 100000", 1), ("6400000 100000", 8), ("max 100000", 8)],
    )
    def test_a_quota_of_a_container_is_rounded_up(self, monkeypatch, tmp_path, quota, cores):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
        monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
        assert usable_cores() == cores

    def test_without_a_quota(self, monkeypatch, tmp_path):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 7}, raising=False)
        monkeypatch.setattr(threads, "QUOTA", tmp_path / "absent")
        assert usable_cores() == 3
