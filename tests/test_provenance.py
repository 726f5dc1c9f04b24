"""What is recorded of how something was computed."""

import platform
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest

from unetkit.provenance import provenance


def test_versions_and_machine_are_those_of_this_process():
    found = provenance()
    assert found["python"] == platform.python_version()
    assert found["versions"]["numpy"] == version("numpy")
    age = datetime.now(UTC) - datetime.fromisoformat(str(found["date"]))
    assert timedelta(0) <= age < timedelta(minutes=1)


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
