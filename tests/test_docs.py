"""What the documentation says is true: its commands parse, its lists of codes are complete."""

import re
import shlex
from pathlib import Path

import click
import pytest

from unetkit.classes import read_class_file
from unetkit.cli import main
from unetkit.findings import REMEDIES

ROOT = Path(__file__).parent.parent
DATA_PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def commands():
    """Commands in indented lines and in table cells, up to the closing backquote."""
    indented = re.findall(r"^    (unetkit .+)$", DATA_PAGE, flags=re.MULTILINE)
    return indented + re.findall(r"`(unetkit [^`]+)`", DATA_PAGE)


def documented_codes():
    rows = re.findall(r"^\| (error|warning|note) \| (.+) \|$", DATA_PAGE, flags=re.MULTILINE)
    return {code for _, cells in rows for code in re.findall(r"`([a-z-]+)`", cells)}


def test_there_are_commands_to_check():
    assert len(commands()) >= 8


@pytest.mark.parametrize("line", commands())
def test_commands_are_accepted_by_the_command_line(line):
    command: click.Command = main
    arguments = shlex.split(line)[1:]
    while isinstance(command, click.Group):
        command = command.commands[arguments.pop(0)]
    if not arguments or arguments == ["DATA"]:
        return  # the command's name alone, in a sentence
    with click.Context(command) as context:
        command.parse_args(context, arguments)


def test_every_finding_is_documented_and_none_is_made_up():
    assert documented_codes() == REMEDIES.keys()


def test_the_class_file_shown_is_read(tmp_path):
    (block,) = re.findall(r"```toml\n(.*?)```", DATA_PAGE, flags=re.DOTALL)
    path = tmp_path / "classes.toml"
    path.write_text(block, encoding="utf-8")
    assert read_class_file(path) == {
        "names": ("street side", "road"),
        "values": (0x000000, 0x804080),
        "kind": "colours",
        "background": 0,
        "ignore": 0xFFFFFF,
        "colours": ((0x20, 0x20, 0x20), (0xFF, 0x80, 0x00)),
    }
