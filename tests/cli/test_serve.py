"""`unetkit serve` as a user runs it, and what it refuses to start."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from tests.commands import Process, python
from tests.serving import photo_bytes
from unetkit._shared.installation import install_command
from unetkit.cli.main import main


def run(*arguments):
    return CliRunner().invoke(main, ["serve", *arguments])


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_other_addresses_need_a_token(host):
    done = run("--host", host)
    assert done.exit_code == 2
    assert f"--host is '{host}', which other machines reach, without a token" in done.output
    assert "--insecure-no-token" in done.output


def test_a_short_token_is_refused():
    done = run("--token", "short")
    assert done.exit_code == 2
    assert "token has 5 characters; accepted are 16 or more" in done.output


def test_a_path_of_a_proxy_begins_with_a_slash():
    done = run("--root-path", "segment")
    assert done.exit_code == 2
    assert "--root-path is 'segment'; accepted is a path such as /segment" in done.output


def test_a_taken_port_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("--port", str(taken.getsockname()[1]))
    assert done.exit_code == 2
    assert re.search(r"port \d+ of 127.0.0.1 is taken by another program", done.output)
    assert "choose another with --port" in done.output


def test_processes_that_do_not_fit_into_the_memory_are_refused():
    done = run("--port", "0", "--memory", "1GiB", "--processes", "40")
    assert done.exit_code == 1
    assert re.search(r"with 40 processes are amounts from [0-9,]+ MiB up; allow more", done.output)


def test_an_absent_model_is_said():
    done = run("nowhere.onnx", "--port", "0")
    assert done.exit_code == 1
    assert "model nowhere.onnx does not exist" in done.output


def test_without_the_extra_it_is_named(tmp_path):
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('no fastapi', name='fastapi')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
sys.modules.pop("fastapi", None)
from unetkit.cli.main import main
main(["serve"])
"""
    done = python(code)
    assert done.returncode == 1
    assert (
        "unetkit serve needs fastapi, which is not installed; it is part of the extra"
        in done.stderr
    )
    assert install_command("serve") in done.stderr


def start() -> tuple[Process, str]:
    """A service in a process of its own, and its address."""
    process = Process(["-m", "unetkit", "serve", "--port", "0"])
    out = Path(process._files[0])
    limit = time.monotonic() + 60
    while not (
        found := re.search(r"http://127\.0\.0\.1:\d+/", out.read_text() if out.exists() else "")
    ):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    return process, found.group()


@pytest.mark.skipif(os.name == "nt", reason="has no such signals")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_prints_one_address_serves_and_ends(end):
    process, address = start()
    with httpx.Client(trust_env=False, timeout=30) as client:
        assert client.post(f"{address}v1/predict", content=photo_bytes()).status_code == 200
    os.kill(process.pid, end)
    out_text, err_text = process.communicate()
    assert process.poll() in (0, -end)
    assert out_text.count("http://") == 1
    assert err_text == ""


@pytest.mark.skipif(os.name == "nt", reason="has no such signals")
def test_a_second_interrupt_ends_it_at_once_without_a_traceback():
    process, address = start()
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port))) as unfinished:
        unfinished.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: " + f"{host}:{port}".encode())
        unfinished.sendall(b"\r\nContent-Length: 100\r\n\r\n")
        time.sleep(0.5)
        for _ in range(2):
            os.kill(process.pid, signal.SIGINT)
            time.sleep(0.2)
        _, err_text = process.communicate()
    assert process.poll() in (0, -signal.SIGINT)
    assert err_text == ""
