"""What the README shows is true: it runs, its tree shows every room, and it stays short."""

import re
import tomllib

import unetkit
from tests import snippets
from tests.snippets import README, ROOT
from tests.test_architecture import ROOMS
from unetkit.models.unet import build_unet

TEXT = README.read_text(encoding="utf-8")
BLOCKS = snippets.read_blocks(README)


def test_it_runs_from_top_to_bottom(pets, run, tmp_path, monkeypatch):
    snippets.run_page(README, tmp_path, {"pets": pets, "run": run}, monkeypatch)


def test_the_two_commands_are_those_of_a_machine_with_nothing_but_python():
    lines = [" ".join(block.text.split()) for block in BLOCKS if block.language == "bash"]
    assert lines[:2] == [
        'pip install ".[train]" && unetkit demo',
        'pip install ".[test]" && pytest',
    ]


def test_ten_lines_of_python_and_four_of_command_line_are_enough():
    (python,) = (block.text for block in BLOCKS if block.language == "python")
    assert len([line for line in python.splitlines() if line]) <= 10
    shell = [snippets.commands_of(block) for block in BLOCKS if block.language == "bash"]
    own = [words for commands in shell[2:] for words in commands]
    assert [words[1] for words in own] == ["check", "train", "evaluate", "predict"]


def test_the_tree_shows_every_room():
    rows = re.findall(r"^ {6}(\w+)(?:/|\.py) +(.+)$", TEXT, flags=re.MULTILINE)
    assert [name for name, _ in rows] == [room for room in ROOMS if room != "_version"]


def test_what_it_points_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert len(links) >= 12
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_numbers_of_parameters_are_those_of_the_networks():
    for name, channels, classes in (("paper", 1, 2), ("notebook", 3, 3)):
        network = build_unet(name, in_channels=channels, num_classes=classes)
        assert f"{network.count_params():,}" in TEXT


def test_what_must_be_installed_is_what_the_project_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')} or later" in TEXT
    extras = set(re.findall(r'"\.\[(\w+)\]"', TEXT))
    assert extras <= project["optional-dependencies"].keys()


def test_the_changelog_and_the_citation_name_this_version():
    assert f"version: {unetkit.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert "[Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
