"""What is recorded of how something was computed."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import psutil
import pytest

from unetkit._shared import provenance as module
from unetkit._shared.provenance import git_state, machine, provenance


def test_versions_and_machine_are_those_of_this_process():
    found = provenance()
    assert found["python"] == platform.python_version()
    assert found["versions"]["numpy"] == version("numpy")
    assert found["machine"] == machine()
    age = datetime.now(UTC) - datetime.fromisoformat(str(found["date"]))
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["/usr/bin/unetkit", "train", "my photos"], "unetkit train 'my photos'"),
        (["/lib/unetkit/__main__.py", "check", "a"], "unetkit check a"),
        (["C:/Scripts/unetkit.exe", "demo"], "unetkit demo"),
        (["notebook.py", "-f", "x"], None),
        ([""], None),
    ],
)
def test_the_command_is_known_where_there_is_one(monkeypatch, arguments, command):
    monkeypatch.setattr(sys, "argv", arguments)
    assert provenance()["command"] == command


class TestMachine:
    def test_cores_and_memory_are_those_of_the_system(self):
        found = machine()
        assert found["cores"] == os.cpu_count()
        assert found["memory_gib"] == pytest.approx(psutil.virtual_memory().total / 2**30, abs=0.06)
        assert found["processor"]

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("processor\t: 0\nmodel name\t: AMD  EPYC 7B13\nflags\t: fpu\n", "AMD EPYC 7B13"),
            ("Processor\t: rev 4\nModel Name\t: ARMv7 rev 4 (v7l)\n", "ARMv7 rev 4 (v7l)"),
            ("model name\t: \n", "the system's word"),
            ("processor\t: 0\nCPU part\t: 0xd0c\n", "the system's word"),
            (None, "the system's word"),
        ],
    )
    def test_the_processor_has_its_maker_s_name_or_the_system_s(
        self, monkeypatch, tmp_path, text, name
    ):
        monkeypatch.setattr(module, "CPU_FILE", tmp_path / "cpuinfo")
        monkeypatch.setattr(platform, "processor", lambda: "the system's word")
        monkeypatch.setattr(sys, "platform", "linux")
        if text is not None:
            (tmp_path / "cpuinfo").write_text(text)
        assert machine()["processor"] == name

    def test_a_mac_is_asked_for_it(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(
            subprocess,
            "run",
            lambda command, **_: subprocess.CompletedProcess(command, 0, b"Apple M3\n"),
        )
        assert machine()["processor"] == "Apple M3"

    def test_a_processor_without_any_name_is_unknown(self, monkeypatch, tmp_path):
        monkeypatch.setattr(module, "CPU_FILE", tmp_path / "none")
        monkeypatch.setattr(platform, "processor", lambda: "")
        monkeypatch.setattr(platform, "machine", lambda: "")
        assert machine()["processor"] == "unknown"


def git(folder, *arguments):
    name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *name, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
class TestGit:
    @pytest.fixture
    def repository(self, tmp_path, monkeypatch):
        """A repository of one commit, within which we are, in a folder with an odd name."""
        root = tmp_path / "$(touch hacked) 猫"
        (root / "inner").mkdir(parents=True)
        git(root, "init", "--quiet")
        (root / "known.txt").write_text("one")
        git(root, "add", ".")
        git(root, "commit", "--quiet", "-m", "first")
        monkeypatch.chdir(root / "inner")
        return root

    def test_root_commit_and_state_are_recorded(self, repository):
        found = git_state()
        assert os.path.samefile(found["folder"], repository)
        assert found["revision"] == git(repository, "rev-parse", "HEAD")
        assert found["dirty"] is False
        (repository / "known.txt").write_text("two")
        assert git_state()["dirty"] is True
        assert not (repository / "inner" / "hacked").exists()

    def test_files_that_it_does_not_know_do_not_count(self, repository):
        (repository / "runs").mkdir()
        (repository / "runs" / "log.txt").touch()
        assert git_state()["dirty"] is False

    def test_a_repository_without_a_commit_has_no_revision(self, tmp_path, monkeypatch):
        git(tmp_path, "init", "--quiet")
        monkeypatch.chdir(tmp_path)
        assert git_state()["revision"] is None

    def test_programs_that_a_repository_names_are_not_run(self, repository, tmp_path):
        spy = tmp_path / "spy"
        spy.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\ncat\n")
        spy.chmod(0o755)
        (repository / ".gitattributes").write_text("* filter=spy\n")
        git(repository, "config", "core.fsmonitor", str(spy))
        git(repository, "config", "filter.spy.clean", str(spy))
        os.utime(repository / "known.txt", (1, 1))
        assert git_state()["dirty"] is None
        assert git_state()["revision"]
        assert not (tmp_path / "ran").exists()

    def test_outside_a_repository_there_is_none(self, tmp_path, monkeypatch):
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        monkeypatch.chdir(tmp_path)
        assert git_state() is None
        assert provenance()["git"] is None


class TestNoGit:
    def test_without_the_program_there_is_none(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert git_state() is None

    def test_a_program_in_the_current_folder_is_not_run(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / f"{name}.exe"))
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was run"))
        assert git_state() is None

    def test_a_current_folder_that_is_gone_is_no_error(self, monkeypatch):
        def gone():
            raise FileNotFoundError

        monkeypatch.setattr(os, "getcwd", gone)
        assert git_state() is None

    @pytest.mark.skipif(os.name == "nt", reason="needs a script as a program")
    def test_one_that_hangs_fails_or_talks_nonsense_is_not_waited_for(self, monkeypatch, tmp_path):
        monkeypatch.setattr(module, "PROGRAM_TIMEOUT_SECONDS", 0.2)
        for script in ("sleep 20", "exit 3", "printf '\\377\\376\\n'; sleep 20"):
            program = tmp_path / "bin" / "git"
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/sh\nexec /bin/sh -c {script!r}\n")
            program.chmod(0o755)
            monkeypatch.setattr(shutil, "which", lambda _, found=program: str(found))
            started = time.monotonic()
            assert git_state() is None
            assert time.monotonic() - started < 5
