"""Sockets and their addresses, deadlines of connections, and the end of a service."""

import json
import socket
import threading
import time

import pytest

from tests.serving import photo_bytes, read_all, read_response, serving
from unetkit.errors import ConfigError
from unetkit.serve.limits import Limits
from unetkit.serve.process import PredictionProcess
from unetkit.serve.server import BoundedProtocol, address_of, bind, hosts_of, is_loopback


class TestBind:
    def test_a_taken_port_is_said(self):
        with bind("127.0.0.1", 0) as first:
            port = first.getsockname()[1]
            with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken"):
                bind("127.0.0.1", port)

    def test_an_address_of_another_machine_is_refused(self):
        with pytest.raises(ConfigError, match=r"host is '192.0.2.1', where this machine cannot"):
            bind("192.0.2.1", 0)

    def test_a_name_that_does_not_exist_is_refused(self, monkeypatch):
        def fail(*_args, **_options):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        with pytest.raises(ConfigError, match=r"cannot serve .Name or service not known"):
            bind("nowhere.invalid", 0)

    def test_the_address_and_its_hosts_are_those_of_the_socket(self):
        with bind("127.0.0.1", 0) as bound:
            port = bound.getsockname()[1]
            assert address_of(bound) == f"http://127.0.0.1:{port}/"
            assert address_of(bound, "/a") == f"http://127.0.0.1:{port}/a/"
            assert hosts_of(bound) == (f"127.0.0.1:{port}", f"localhost:{port}")

    def test_every_address_is_shown_as_loopback(self):
        with bind("0.0.0.0", 0) as bound:
            port = bound.getsockname()[1]
            assert hosts_of(bound) == (f"127.0.0.1:{port}", f"localhost:{port}")

    @pytest.mark.parametrize(
        ("host", "is_own"),
        [("127.1.2.3", True), ("::1", True), ("LOCALHOST", True), ("::", False), ("a.b", False)],
    )
    def test_loopback_is_recognised(self, host, is_own):
        assert is_loopback(host) == is_own


class TestConnections:
    def test_a_head_that_does_not_arrive_is_not_awaited(self, built_in, monkeypatch):
        monkeypatch.setattr(BoundedProtocol, "head_seconds", 0.2)
        with serving(built_in) as running:
            silent, slow = running.connect(), running.connect()
            slow.sendall(b"POST /v1/predict HTTP/1.1\r\nHost:")
            assert read_all(silent) == read_all(slow) == b""
            silent.close()
            slow.close()
            assert running.post(photo_bytes()).status_code == 200

    def test_a_second_head_that_does_not_arrive_is_not_awaited(self, built_in, monkeypatch):
        monkeypatch.setattr(BoundedProtocol, "head_seconds", 0.2)
        with serving(built_in) as running, running.connect() as connection:
            connection.sendall(f"GET /health HTTP/1.1\r\nHost: {running.host}\r\n\r\nGET".encode())
            assert read_response(connection)[0] == 200
            connection.sendall(b" /health")
            assert read_all(connection) == b""

    def test_an_answer_that_is_not_taken_is_not_awaited(self, built_in, monkeypatch):
        monkeypatch.setattr(BoundedProtocol, "send_seconds", 0.2)
        content = photo_bytes("JPEG", (900, 900))
        with serving(built_in) as running:
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", running.port))
            path = "/v1/predict?output=probabilities"
            connection.sendall(running.head(len(content), path) + content)
            assert running.post(photo_bytes()).status_code == 200
            end = time.monotonic() + 30
            while "unetkit_held_bytes 0.0" not in running.get("/metrics").text:
                assert time.monotonic() < end
                time.sleep(0.05)
            connection.close()

    def test_beyond_the_limit_connections_are_refused(self, built_in):
        with serving(built_in, Limits(connections=3)) as running:
            first = [running.connect() for _ in range(3)]
            first[0].sendall(f"GET /health HTTP/1.1\r\nHost: {running.host}\r\n\r\n".encode())
            assert read_response(first[0])[0] == 200
            with running.connect() as other:
                status, headers, body = read_response(other)
            assert status == 503
            assert headers["retry-after"] == "1"
            assert headers["unetkit-model"] == built_in.digest
            assert "more than 3 connections" in json.loads(body)["error"]
            for connection in first:
                connection.close()
            end = time.monotonic() + 20
            while True:
                with running.connect() as again:
                    again.sendall(f"GET /health HTTP/1.1\r\nHost: {running.host}\r\n\r\n".encode())
                    if read_response(again)[0] == 200:
                        break
                assert time.monotonic() < end


@pytest.mark.parametrize("head", [b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + bytes(100_000)])
def test_what_is_not_http_is_refused_as_json(service, built_in, head):
    with service.connect() as connection:
        connection.sendall(head)
        status, headers, body = read_response(connection)
    assert status == 400
    assert headers["unetkit-model"] == built_in.digest
    assert "not HTTP, or its head is longer than 64 KiB" in json.loads(body)["error"]


def test_requests_that_have_begun_are_finished_at_the_end(built_in, monkeypatch):
    begun, opened = threading.Event(), threading.Event()
    original = PredictionProcess.answer

    def answer(*args):
        begun.set()
        assert opened.wait(30)
        return original(*args)

    monkeypatch.setattr(PredictionProcess, "answer", answer)
    content = photo_bytes()
    with serving(built_in) as running:
        connection = running.connect()
        connection.sendall(running.head(len(content)) + content)
        assert begun.wait(30)
        threading.Timer(0.3, opened.set).start()
    with connection:  # the service has been told to end, and has ended
        status, _, body = read_response(connection)
        assert status == 200
        assert body.startswith(b"\x89PNG")
        assert read_all(connection) == b""
