"""Processes of a training are started with their numbers, watched, and ended together."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.commands import python
from unetkit.training import processes
from unetkit.training.processes import ADDRESSES, COUNT, INDEX, run_together

NUMBER = f"import os, sys, time; number = int(os.environ[{INDEX!r}])\n"


def run(code, count=3):
    return run_together([sys.executable, "-c", NUMBER + code], count)


def test_each_gets_its_number_their_count_and_one_address(tmp_path):
    code = (
        f"open({str(tmp_path)!r} + f'/{{number}}', 'w').write("
        f"os.environ[{COUNT!r}] + ' ' + os.environ[{ADDRESSES!r}] + ' ' "
        "+ os.environ['KERAS_BACKEND'])"
    )
    assert run(code) == (0, "")
    texts = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert set(texts) == {"0", "1", "2"}
    (text,) = set(texts.values())
    assert text.startswith("3 127.0.0.1:")
    assert text.endswith(" jax")


def test_the_exit_code_is_that_of_the_first():
    assert run("sys.exit(7 * (number == 0))") == (7, "")


def test_how_another_one_ended_is_said():
    code, lost = run("number == 1 and sys.exit('its reason')\nnumber or time.sleep(1)")
    assert code == 0
    assert lost == "process 2 of 3 ended (exit code 1; its reason)"


def test_a_killed_one_is_said_and_none_is_left(monkeypatch):
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.5)
    started = time.monotonic()
    code, lost = run("number == 2 and os.kill(os.getpid(), 9)\ntime.sleep(100)")
    assert time.monotonic() - started < 60
    assert code == 1
    assert lost == "process 3 of 3 ended (signal 9)"


@pytest.mark.skipif(os.name == "nt", reason="has no such signals")
def test_a_signal_to_end_reaches_the_first_alone(tmp_path):
    code = (
        "import signal\n"
        "if number:\n    [time.sleep(0.1) for _ in range(600) if not os.path.exists('end')]\n"
        "else:\n"
        "    signal.signal(signal.SIGTERM, lambda *_: (open('end', 'w').close(), sys.exit(0)))\n"
        "    open('ready', 'w').close()\n"
        "    time.sleep(60)"
    )
    own = (
        "import sys; from unetkit.training.processes import run_together; "
        f"print(run_together([sys.executable, '-c', {NUMBER + code!r}], 2))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", own], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    parent.send_signal(signal.SIGTERM)
    assert parent.communicate(timeout=60)[0] == "(0, '')\n"


def test_without_jax_the_extra_is_named():
    done = python(
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'jax' else find(name)\n"
        "from unetkit.cli.main import main\n"
        "main(['train', 'data', '--processes', '2'])"
    )
    assert done.returncode == 1
    assert "--processes is 2, which needs JAX" in done.stderr
    assert "[jax]" in done.stderr
