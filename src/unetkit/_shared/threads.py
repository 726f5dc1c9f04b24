"""Work on many items by a few threads, with results in order and a bound on those waiting.

As many threads as cores that the process may use: a job of a cluster or a container often has a few
of a machine's many.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container, on Linux: microseconds, and their period


def usable_cores() -> int:
    """Returns the number of cores that this process may use, by its affinity and by quota."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    try:
        used, period = map(int, QUOTA.read_text().split())
    except (OSError, ValueError):  # another system, or "max"
        return cores
    return max(1, min(cores, math.ceil(used / period)))


def in_order(
    work: Callable[[T], R], items: Iterable[T], threads: int, ahead: int = 2
) -> Iterator[R]:
    """Applies a function to items on several threads, and yields the results in order.

    An error of an item is raised at its place among the results, and ends the iteration. Finished
    results are yielded before further items are taken, so that a slow iterable does not delay them.

    Args:
        work: Function of an item.
        items: Items, which are taken one by one; may be endless.
        threads: Number of items processed at the same time.
        ahead: Number of further results that may wait to be consumed.
    """
    source = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        is_over = False
        try:
            while True:
                while not is_over and len(waiting) < threads + ahead:
                    if waiting and waiting[0].done():
                        break
                    try:
                        item = next(source)
                    except StopIteration:
                        is_over = True
                    except Exception as error:  # raised after the results of earlier items
                        is_over = True
                        failed: Future[R] = Future()
                        failed.set_exception(error)
                        waiting.append(failed)
                    else:
                        waiting.append(pool.submit(work, item))
                if not waiting:
                    return
                yield waiting.popleft().result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interruption does not wait for other items
            raise
