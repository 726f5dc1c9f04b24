"""What goes wrong outside the package ends in words and an exit code, never in a traceback."""

import os
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from unetkit._shared.display import Display
from unetkit.cli.group import TRACEBACK, Commands
from unetkit.training.trainer import interruptions

UNIX = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of Unix")


def group_that(raises):
    @click.group(cls=Commands)
    def main():
        pass

    @main.command("fail")
    def fail():
        raise raises

    return main


class TestUnexpected:
    def test_memory_that_runs_out(self):
        done = CliRunner().invoke(group_that(MemoryError()), ["fail"])
        assert done.exit_code == 1
        assert done.stderr.startswith("unetkit: error: memory ran out; accepted is what fits into")

    def test_a_fault_is_one_line_that_says_how_to_report_it(self, monkeypatch):
        monkeypatch.delenv(TRACEBACK, raising=False)
        done = CliRunner().invoke(group_that(KeyError("x\x1b")), ["fail"])
        assert done.exit_code == 1
        assert done.stderr.startswith("unetkit: error: KeyError: ")
        assert done.stderr.endswith(f"after export {TRACEBACK}=1\n")
        assert done.stderr.count("\n") == 1

    def test_its_traceback_is_shown_on_demand(self, monkeypatch):
        monkeypatch.setenv(TRACEBACK, "1")
        done = CliRunner().invoke(group_that(KeyError("x")), ["fail"])
        assert isinstance(done.exception, KeyError)

    @pytest.mark.parametrize("error", [click.exceptions.Exit(3), click.UsageError("no", None)])
    def test_errors_of_click_keep_their_codes(self, error):
        assert CliRunner().invoke(group_that(error), ["fail"]).exit_code in (2, 3)

    @pytest.mark.skipif(sys.platform != "linux", reason="limits of address space, of Linux")
    def test_too_little_address_space(self, grey_model, tmp_path):
        Image.new("L", (64, 64)).save(tmp_path / "a.png")
        command = (
            f"ulimit -v 700000; exec {sys.executable} -m unetkit predict a.png -m {grey_model}"
        )
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "memory" in done.stderr


@UNIX
class TestClosedStreams:
    @pytest.mark.parametrize(("closed", "name"), [("<&-", "input"), ("</dev/null >&-", "output")])
    def test_a_pipe_that_is_closed(self, grey_model, closed, name):
        command = f"exec {sys.executable} -m unetkit predict - -m {grey_model} {closed}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr == (
            f"unetkit: error: standard {name} is closed; accepted are a file or a pipe; use: "
            "unetkit predict - < image.png > mask.png\n"
        )


@UNIX
class TestHangup:
    def watch(self, tmp_path, model, before=""):
        (tmp_path / "in").mkdir()
        command = f"{before} exec {sys.executable} -m unetkit predict --watch in -m {model} -o out"
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for line in process.stdout:
            if line.startswith(b"watching"):
                return process
        raise AssertionError("it does not watch")

    def test_it_ends_as_ctrl_c_does(self, tmp_path, grey_model):
        process = self.watch(tmp_path, grey_model)
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0  # the way to end it

    def test_where_it_is_ignored_it_stays_so(self, tmp_path, grey_model):
        process = self.watch(tmp_path, grey_model, "trap '' HUP;")
        process.send_signal(signal.SIGHUP)
        Image.new("L", (64, 64)).save(tmp_path / "in" / "a.png")
        assert b"a.png" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0

    def test_a_training_saves_first_unless_it_is_ignored(self):
        kept = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            with interruptions(Display()) as asked:
                os.kill(os.getpid(), signal.SIGHUP)
                assert asked.wait(10)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            with interruptions(Display()) as asked:
                os.kill(os.getpid(), signal.SIGHUP)
                assert not asked.is_set()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGHUP, kept)
