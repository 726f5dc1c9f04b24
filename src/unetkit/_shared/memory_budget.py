"""Budget of bytes of this process, which everything that reads images draws from.

What an image needs is computed from its header before it is decoded. Threads wait until what they
need is free; what is larger than the whole budget is refused, with its name and its need. What
Python and its libraries take is part of the budget: it is measured where the system tells it. What
a larger process holds besides is not.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unetkit.errors import DataError

MIB = 1 << 20
DEFAULT_MEMORY = 3 << 29  # bytes, 1.5 GiB: less than half of the smallest computers on sale
USUAL_BASE = 256 * MIB  # largest of a process that only predicts
MOST_MAPPED = 128 * MIB  # of files that the system may drop from memory at any time


class MemoryBudget:
    """Limit of bytes that several threads share.

    Args:
        limit: Bytes of the whole process.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._in_use = 0
        self._base: int | None = None  # of the process when it first took something
        self._changed = threading.Condition()
        self._of_thread = threading.local()  # bytes held, and a limit of its own

    @contextmanager
    def limited(self, limit: int) -> Iterator[None]:
        """Sets another limit for a while, for what this thread takes."""
        before = getattr(self._of_thread, "limit", None)
        self._of_thread.limit = limit
        try:
            yield
        finally:
            self._of_thread.limit = before

    @property
    def _limit_here(self) -> int:
        own: int | None = getattr(self._of_thread, "limit", None)
        return self.limit if own is None else own

    @property
    def base(self) -> int:
        """Bytes that the process took by itself when this was first asked, up to a bound.

        More is what a program that calls this one holds, such as arrays or a training framework.
        """
        if self._base is None:
            self._base = min(resident_bytes(), USUAL_BASE)
        return self._base

    @property
    def left(self) -> int:
        """Bytes that nothing has taken."""
        return max(0, self._limit_here - self.base - self._in_use)

    @contextmanager
    def taken(self, need: int, name: str) -> Iterator[None]:
        """Waits until bytes are free, and holds them.

        What a thread takes while it holds some is part of those, and not counted again.

        Args:
            need: Number of bytes.
            name: Name of the image, for the error.

        Raises:
            DataError: The whole budget is less.
        """
        held = getattr(self._of_thread, "bytes", 0)
        if held:
            self._require(max(need, held), name)
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._in_use or self._fits(need))
            self._require(need, name)
            self._in_use += need
        self._of_thread.bytes = need
        try:
            yield
        finally:
            self._of_thread.bytes = 0
            with self._changed:
                self._in_use -= need
                self._changed.notify_all()

    def _fits(self, need: int) -> bool:
        return self.base + self._in_use + need <= self._limit_here

    def _require(self, need: int, name: str) -> None:
        least = self.base + need
        if least > self._limit_here:
            raise DataError(
                f"{name} needs {need / MIB:,.0f} MiB to be read, and the program "
                f"{self.base / MIB:,.0f} MiB; accepted are up to {self._limit_here / MIB:,.0f} MiB "
                f"together; allow more (--memory {-(-least // MIB) + 64}MiB), or cut it into pieces"
            )


def resident_bytes(process: int | str = "self") -> int:
    """Returns the memory of a process now; a usual value where the system does not tell it.

    Args:
        process: Its number; this one by default.
    """
    try:
        record = Path("/proc", str(process), "statm")
        _, resident, shared = record.read_text(encoding="ascii").split()[:3]
    except (OSError, ValueError):
        return USUAL_BASE
    page = os.sysconf("SC_PAGE_SIZE")
    own = (int(resident) - int(shared)) * page
    return own + min(int(shared) * page, MOST_MAPPED)


def mapped_bytes() -> int | None:
    """Returns the addresses that this process has in use; None where the system does not tell."""
    try:
        record = Path("/proc/self/statm")
        mapped = int(record.read_text(encoding="ascii").split()[0])
        return mapped * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def limit_addresses(limit: int) -> None:
    """Limits the addresses of this process, and so its memory, where the system can do that.

    Args:
        limit: Most bytes, from now on.
    """
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):
        pass  # Windows, and systems that refuse


def default_limit() -> int:
    """Returns half of the machine's memory, or 1.5 GiB if that is more or not known."""
    try:
        half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return DEFAULT_MEMORY
    return max(DEFAULT_MEMORY, half)


BUDGET = MemoryBudget(default_limit())
