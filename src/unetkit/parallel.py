"""Work on many things on a few threads, whose results come in order and never pile up."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R], things: Iterable[T], threads: int, ahead: int = 2
) -> Iterator[R]:
    """Applies `work` to each thing on some threads; an error comes in its place, and ends it.

    Args:
        things: Taken one by one, so that they may be without end.
        threads: That work at once.
        ahead: Further results that may wait for who takes them.
    """
    source = iter(things)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for thing in islice(source, threads + ahead):
                waiting.append(pool.submit(work, thing))
            while waiting:
                result = waiting.popleft().result()
                for thing in islice(source, 1):
                    waiting.append(pool.submit(work, thing))
                yield result
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interruption does not wait for all the others
            raise
