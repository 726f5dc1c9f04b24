"""Work on many things on a few threads, whose results come in order and never pile up."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    work: Callable[[T], R], things: Iterable[T], threads: int, ahead: int = 2
) -> Iterator[R]:
    """Applies `work` to each thing on some threads; an error comes in its place, and ends it.

    What is ready is handed on before more is taken, so that a slow source delays nothing else.

    Args:
        things: Taken one by one, so that they may be without end.
        threads: That work at once.
        ahead: Further results that may wait for who takes them.
    """
    source = iter(things)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        is_over = False
        try:
            while True:
                while not is_over and len(waiting) < threads + ahead:
                    if waiting and waiting[0].done():
                        break
                    try:
                        thing = next(source)
                    except StopIteration:
                        is_over = True
                    except Exception as error:  # comes after the results of what came before it
                        is_over = True
                        failed: Future[R] = Future()
                        failed.set_exception(error)
                        waiting.append(failed)
                    else:
                        waiting.append(pool.submit(work, thing))
                if not waiting:
                    return
                yield waiting.popleft().result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interruption does not wait for all the others
            raise


class Share:
    """What threads may use together of something, such as memory.

    Args:
        most: Of it in use at once, unless one thread alone needs more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_use = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Waits until so much is free, or nobody else uses any."""
        with self._changed:
            self._changed.wait_for(lambda: not self._in_use or self._in_use + amount <= self._most)
            self._in_use += amount
        try:
            yield
        finally:
            with self._changed:
                self._in_use -= amount
                self._changed.notify_all()
