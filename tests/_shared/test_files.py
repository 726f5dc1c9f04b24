"""What is read is a file of limited size; what is written is whole; one process at a time."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from unetkit._shared import files
from unetkit._shared.files import (
    locked,
    open_input,
    part_of,
    read_bytes,
    read_text,
    remove_leftovers,
    require_regular,
    write_atomically,
    writing_into,
)
from unetkit.errors import DataError, OutputExistsError


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


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_again(tmp_path, monkeypatch):
    """As by a process that held it when this one opened the file."""
    lock, removed = tmp_path / ".lock", []
    is_of = files._is_of

    def check(guard, path):
        if not removed:
            removed.append(path.unlink())
        return is_of(guard, path)

    monkeypatch.setattr(files, "_is_of", check)
    with locked(lock, "x"):
        assert lock.exists()
        monkeypatch.setattr(files, "_is_of", is_of)
        with pytest.raises(OutputExistsError, match="another process x"):
            locked(lock, "x").__enter__()


class TestFolders:
    def test_one_process_at_a_time_writes_into_a_folder(self, tmp_path):
        out = tmp_path / "out"
        message = r"another process writes into .*out; accepted is a folder that no other process"
        with writing_into(out), pytest.raises(OutputExistsError, match=message):
            writing_into(out).__enter__()
        assert not out.exists()  # it stayed empty

    def test_what_was_there_stays_and_what_a_kill_left_goes(self, tmp_path):
        (tmp_path / "mine.txt").touch()
        part_of(tmp_path / "a.png").write_bytes(b"half")
        (tmp_path / ".part-x_1 2" / "new").mkdir(parents=True)
        (tmp_path / ".lock").touch()
        with writing_into(tmp_path):
            (tmp_path / "b.png").touch()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "mine.txt"]

    def test_an_empty_folder_of_the_user_stays(self, tmp_path):
        with writing_into(tmp_path):
            pass
        assert tmp_path.exists()


class TestLeftovers:
    def test_those_of_a_file_are_removed_and_no_others(self, tmp_path):
        part_of(tmp_path / "m.onnx").write_bytes(b"half")
        part_of(tmp_path / "m.onnx").mkdir()
        other = part_of(tmp_path / "n.onnx")
        other.write_bytes(b"half")
        remove_leftovers(tmp_path / "m.onnx")
        assert list(tmp_path.iterdir()) == [other]

    def test_the_name_of_a_part_is_never_too_long(self, tmp_path):
        for name in ("x" * 250 + ".png", "\u00e4" * 120 + ".png"):
            part_of(tmp_path / name).touch()

    def test_a_folder_that_is_not_there_has_none(self, tmp_path):
        remove_leftovers(tmp_path / "nowhere" / "m.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names, of Unix")
class TestDoor:
    @pytest.fixture
    def odd(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "folder").mkdir()
        (tmp_path / "device").symlink_to("/dev/zero")
        (tmp_path / "link").symlink_to(tmp_path / "pipe")
        there = Path.cwd()
        os.chdir(tmp_path)  # a socket's path has a limit
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
            os.chdir(there)
            yield tmp_path

    @pytest.mark.parametrize("name", ["pipe", "folder", "device", "socket", "link"])
    @pytest.mark.parametrize("read", [open_input, read_bytes, read_text, require_regular])
    def test_only_files_are_let_in(self, odd, name, read):
        what = {"link": "pipe"}.get(name, name)
        text = f"{name} is no file but a {what}; accepted are files; rename or remove it$"
        with pytest.raises(DataError, match=text):
            read(odd / name)

    def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(self, odd, monkeypatch):
        monkeypatch.setattr(files, "require_regular", lambda path, largest: None)
        with pytest.raises(DataError, match="pipe is no file but a pipe"):
            open_input(odd / "pipe")

    def test_a_link_to_a_file_is_one(self, tmp_path):
        (tmp_path / "file").write_bytes(b"\xef\xbb\xbfa\r\nb\rc")
        (tmp_path / "link").symlink_to(tmp_path / "file")
        assert read_bytes(tmp_path / "link") == b"\xef\xbb\xbfa\r\nb\rc"
        assert read_text(tmp_path / "link") == "a\nb\nc"

    def test_what_is_too_large(self, tmp_path):
        (tmp_path / "file").write_bytes(b"12345")
        assert read_bytes(tmp_path / "file", 5) == b"12345"
        text = "file has 5 bytes; accepted are files of up to 4 bytes; split or remove it"
        for read in (read_bytes, read_text, open_input):
            with pytest.raises(DataError, match=text):
                read(tmp_path / "file", 4)

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="files of Linux")
    def test_what_is_larger_than_it_says(self):
        with pytest.raises(DataError, match="status has more than 9 bytes; accepted are files of"):
            read_bytes(Path("/proc/self/status"), 9)

    def test_what_is_absent_stays_an_error_of_the_system(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            open_input(tmp_path / "nothing")
