"""Workers of Dask: processes of this machine that are started for a command, or a running cluster.

Processes of this machine listen on the loopback address alone, and talk to each other with
certificates that are made for the command: whoever could connect might run code as its user.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

from unetkit._shared.installation import install_command
from unetkit._shared.threads import usable_cores
from unetkit._shared.wording import format_count
from unetkit.errors import ConfigError, DataNotFoundError, MissingExtraError

LOOPBACK = "127.0.0.1"
CONNECT_SECONDS = 10
START_SECONDS = 120
PROTOCOLS = ("tcp://", "tls://", "ws://", "wss://", "ucx://")


def describe_workers(client: Any) -> str:
    """How many workers there are, and where their dashboard is, in one line."""
    counts = client.nthreads()
    threads = sum(counts.values())
    found = f"{format_count(len(counts), 'worker')} of {format_count(threads, 'thread')} in all"
    # Without bokeh, the dashboard is a page that says so.
    return f"{found}; dashboard {client.dashboard_link}" if find_spec("bokeh") else found


@contextmanager
def local_workers(count: int) -> Iterator[Any]:
    """Starts workers on this machine, which end with the block; yields a client of Dask.

    Args:
        count: Number of processes; each has its part of the cores.

    Raises:
        MissingExtraError: Dask is not installed.
    """
    require_dask()
    from distributed import Client, LocalCluster

    with TemporaryDirectory() as folder:
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=max(1, usable_cores() // count),
            processes=True,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            security=True,
            memory_limit=None,  # each process keeps to its own
            silence_logs=logging.CRITICAL,
            local_directory=folder,
        )
        with cluster, Client(cluster, timeout=START_SECONDS) as client:
            yield client


@contextmanager
def connect(address: str) -> Iterator[Any]:
    """Connects to a running cluster; yields a client of Dask.

    Args:
        address: Address of the scheduler, such as "tcp://10.0.0.1:8786".

    Raises:
        ConfigError: `address` is no address.
        DataNotFoundError: No scheduler answers.
        MissingExtraError: Dask is not installed.
    """
    if not address.startswith(PROTOCOLS):
        raise ConfigError(
            f"cluster is {address!r}; accepted are addresses of a scheduler of Dask; use "
            "tcp://HOST:8786"
        )
    require_dask()
    from distributed import Client
    from distributed.utils import silence_logging_cmgr

    # What a lost connection means is said by whoever notices it.
    with silence_logging_cmgr(logging.CRITICAL):
        try:
            client = Client(address, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise DataNotFoundError(
                f"no scheduler answers at {address} ({type(error).__name__}); accepted is that of "
                "a running cluster; start one: dask scheduler"
            ) from error
        with client:
            yield client


def require_dask() -> None:
    """Raises an error if Dask is not installed.

    Raises:
        MissingExtraError: It is not.
    """
    try:
        import cryptography  # noqa: F401 - for certificates
        import distributed  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"workers need {error.name}, which is not installed; {install_command('cluster')}"
        ) from error
