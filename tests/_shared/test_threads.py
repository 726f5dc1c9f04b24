"""Work on several threads, in order."""

import threading
import time
from itertools import count

import pytest

from unetkit._shared.threads import Budget, in_order


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


class TestBudget:
    def test_no_more_is_in_use_than_there_is(self):
        share, lock = Budget(10), threading.Lock()
        in_use, most = 0, 0

        def use(amount):
            nonlocal in_use, most
            with share.taken(amount):
                with lock:
                    in_use += amount
                    most = max(most, in_use)
                time.sleep(0.002)
                with lock:
                    in_use -= amount

        list(in_order(use, [3, 4, 5, 6, 7] * 6, 4))
        assert most <= 10
        assert in_use == 0

    def test_what_fits_works_together(self):
        share, together = Budget(10), threading.Barrier(2, timeout=10)

        def meet(amount):
            with share.taken(amount):
                return together.wait() >= 0

        assert list(in_order(meet, [4, 6] * 3, 2)) == [True] * 6

    def test_what_needs_more_than_all_is_alone(self):
        share, alone = Budget(10), threading.Event()

        def use(amount):
            with share.taken(amount):
                if amount > 10:
                    alone.set()
                    time.sleep(0.01)
                    alone.clear()
                return alone.is_set()

        assert not any(list(in_order(use, [1, 20, 1, 1, 20, 1] * 3, 3)))

    def test_an_error_gives_it_back(self):
        share = Budget(10)
        with pytest.raises(ZeroDivisionError), share.taken(10):
            raise ZeroDivisionError
        with share.taken(10):
            pass
