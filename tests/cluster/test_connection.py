"""Where workers listen, and clusters that do not answer or have no worker."""

import os
import sys

import psutil
import pytest

from unetkit._shared.threads import usable_cores
from unetkit.cluster import connection
from unetkit.cluster.connection import connect, describe_workers, local_workers
from unetkit.cluster.predict import predict_on_workers
from unetkit.errors import ConfigError, DataNotFoundError, MissingExtraError
from unetkit.prediction.predictor import Predictor


def test_processes_listen_on_the_loopback_address_alone_and_end():
    with local_workers(1) as client:
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
        cores = usable_cores()
        assert describe_workers(client).startswith(f"1 worker of {cores} thread")
        own = psutil.Process()
        processes = [own, *own.children(recursive=True)]
        assert len(processes) >= 3  # with a nanny and its worker
        listening = {
            one.laddr.ip
            for process in processes
            for one in process.net_connections("inet")
            if one.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        (worker,) = client.run(os.getpid).values()
    assert not psutil.pid_exists(worker)


def test_a_cluster_without_a_worker_is_named(grey_model, tmp_path):
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=0, processes=False, host="127.0.0.1", protocol="tcp", dashboard_address=None
        ) as cluster,
        connect(cluster.scheduler_address) as client,
        pytest.raises(ConfigError, match="the cluster has no worker"),
    ):
        predict_on_workers(client, Predictor(grey_model), [], tmp_path / "out", kinds=["mask"])


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1)
    with (
        pytest.raises(DataNotFoundError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9 "),
        connect("tcp://127.0.0.1:9"),
    ):
        pass


def test_what_is_no_address_is_refused():
    with pytest.raises(ConfigError, match=r"cluster is 'host:1'; .*tcp://HOST"), connect("host:1"):
        pass


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(MissingExtraError, match=r"workers need distributed, .*\[cluster\]"),
        local_workers(1),
    ):
        pass
