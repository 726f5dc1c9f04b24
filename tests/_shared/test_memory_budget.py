"""One budget of bytes that threads share: waited for, or refused by name."""

import subprocess
import sys
import threading

import pytest

from unetkit._shared import memory_budget
from unetkit._shared.memory_budget import MIB, MemoryBudget, default_limit, resident_bytes
from unetkit._shared.threads import in_order
from unetkit.errors import DataError


@pytest.fixture(autouse=True)
def base(monkeypatch):
    """A process that takes 100 MiB by itself."""
    monkeypatch.setattr(memory_budget, "resident_bytes", lambda: 100 * MIB)


def test_what_is_larger_than_the_budget_is_refused_with_its_need():
    budget = MemoryBudget(400 * MIB)
    words = (
        r"^a\.png needs 2,000 MiB to be read, and the program 100 MiB; accepted are up to 400 MiB "
        r"together; allow more \(--memory 2164MiB\), or cut it into pieces$"
    )
    with pytest.raises(DataError, match=words), budget.taken(2000 * MIB, "a.png"):
        pytest.fail("taken")


def test_what_the_message_names_is_enough():
    with MemoryBudget(2164 * MIB).taken(2000 * MIB, "a.png"):
        pass


def test_threads_wait_for_each_other():
    budget, inside, most = MemoryBudget(400 * MIB), [], []

    def use():
        with budget.taken(200 * MIB, "a.png"):
            inside.append(1)
            most.append(len(inside))
            threading.Event().wait(0.01)
            inside.pop()

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6


def test_what_a_thread_takes_within_what_it_holds_is_part_of_it():
    budget = MemoryBudget(400 * MIB)
    with budget.taken(300 * MIB, "a.png"), budget.taken(200 * MIB, "a.png"):
        pass
    with (
        pytest.raises(DataError, match=r"b\.png needs 301 MiB"),
        budget.taken(1, "a.png"),
        budget.taken(301 * MIB, "b.png"),
    ):
        pytest.fail("taken")


def test_another_limit_holds_for_a_while():
    budget = MemoryBudget(400 * MIB)
    with budget.limited(800 * MIB), budget.taken(700 * MIB, "a.png"):
        pass
    with pytest.raises(DataError, match="up to 400 MiB"), budget.taken(700 * MIB, "a.png"):
        pytest.fail("taken")


def test_the_limit_of_one_thread_is_not_that_of_others():
    budget, said = MemoryBudget(400 * MIB), []

    def use():
        with pytest.raises(DataError, match="up to 400 MiB"), budget.taken(700 * MIB, "a.png"):
            pytest.fail("taken")
        said.append(True)

    with budget.limited(800 * MIB):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert said


def test_what_is_left_is_what_nothing_has_taken():
    budget = MemoryBudget(400 * MIB)
    with budget.taken(200 * MIB, "a.png"):
        assert budget.left == 100 * MIB
    with budget.limited(50 * MIB):
        assert budget.left == 0


def test_the_default_and_the_process_have_sizes_that_exist():
    assert default_limit() >= 3 << 29
    assert 10 * MIB < resident_bytes() < 1 << 40


def test_what_fits_is_held_together():
    budget, together = MemoryBudget(1 << 40), threading.Barrier(2, timeout=10)

    def meet(need):
        with budget.taken(need, "image"):
            return together.wait() >= 0

    assert list(in_order(meet, [4, 6] * 3, 2)) == [True] * 6


def test_an_error_gives_it_back():
    budget = MemoryBudget(1 << 40)
    most = budget.limit - budget.base
    with pytest.raises(ZeroDivisionError), budget.taken(most, "image"):
        raise ZeroDivisionError
    with budget.taken(most, "image"):
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of addresses")
def test_a_process_has_no_more_addresses_than_it_is_limited_to():
    code = (
        "from unetkit._shared.memory_budget import limit_addresses, mapped_bytes\n"
        "limit_addresses(mapped_bytes() + (64 << 20))\n"
        "bytearray(32 << 20)\n"
        "try:\n    bytearray(128 << 20)\nexcept MemoryError:\n    print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
