"""What the README shows is true: its code runs, its commands parse, its tree is complete."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from test_architecture import ORDER

import unetkit
from unetkit.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    lines = "\n".join(blocks("bash")).replace("&&", "\n").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("unetkit")]


def test_there_are_commands_to_check():
    assert len(commands()) == 6


@pytest.mark.parametrize("line", commands())
def test_commands_are_accepted_by_the_command_line(line):
    name, *arguments = shlex.split(line)[1:]
    command = main.commands[name]
    with click.Context(command) as context:
        command.parse_args(context, arguments)


def test_the_python_code_runs(run, pets, tmp_path, monkeypatch):
    (code,) = blocks("python")
    shutil.copytree(pets, tmp_path / "photos")
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation-*"))
    (tmp_path / "new").mkdir()
    shutil.copy(next((pets / "images").iterdir()), tmp_path / "new" / "cat.jpg")
    monkeypatch.chdir(tmp_path)
    # Twenty minutes of training are replaced by a run that is there already.
    monkeypatch.setattr(unetkit, "train", lambda data, minutes: Path("run"), raising=False)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["mask"].shape == names["probabilities"].shape[:2]
    assert names["network"].count_params() == 8_643_779


def test_the_tree_lists_every_module():
    listed = re.findall(r"^ {6}(\w+)\.py ", README, flags=re.MULTILINE)
    assert listed == ORDER


def test_pictures_exist():
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_the_changelog_and_the_citation_name_this_version():
    assert f"version: {unetkit.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert "[Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
