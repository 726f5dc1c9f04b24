"""One process at a time."""

import subprocess
import sys

import filelock
import pytest

from unetkit._shared.files import locked, write_atomically
from unetkit.errors import OutputExistsError


def test_one_at_a_time(tmp_path):
    lock = tmp_path / ".lock"
    with (
        locked(lock, "trains in x"),
        pytest.raises(OutputExistsError, match="another process trai"),
    ):
        locked(lock, "trains in x").__enter__()
    with locked(lock, "trains in x"):
        assert lock.exists()
    assert not lock.exists()


def test_another_process_is_refused_and_then_let_in(tmp_path):
    code = f"""
from pathlib import Path
from unetkit.errors import OutputExistsError
from unetkit._shared.files import locked
try:
    with locked(Path({str(tmp_path / ".lock")!r}), "trains here"):
        print("held")
except OutputExistsError as error:
    print(error)
"""
    with locked(tmp_path / ".lock", "trains in here"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("another process trains here; accepted is a folder")
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert again.stdout == "held\n"
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_held_is_free_when_it_has_ended(tmp_path):
    lock = tmp_path / ".lock"
    code = (
        "import os; from pathlib import Path; from unetkit._shared.files import locked;"
        f"guard = locked(Path({str(lock)!r}), 'x'); guard.__enter__(); os._exit(1)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 1
    assert lock.exists()
    with locked(lock, "x"):
        pass


def test_a_file_system_without_locks_locks_nothing(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        (tmp_path / ".lock").touch()
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with locked(tmp_path / ".lock", "x"), locked(tmp_path / ".lock", "x"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_no_file(tmp_path):
    def fail(part):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "x.png", fail)
    assert list(tmp_path.iterdir()) == []
