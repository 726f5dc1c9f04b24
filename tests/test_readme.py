"""What the README shows is true: it runs, its tree shows every room, and it stays short."""

import re
import tomllib

import pytest

import unetkit
from tests import snippets
from tests.snippets import README, ROOT
from tests.test_architecture import ROOMS
from unetkit.models.unet import build_unet

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = PROJECT["urls"]["Repository"]
TEXT = README.read_text(encoding="utf-8")
NOTEBOOK = ROOT / "notebooks" / "unet_from_scratch.ipynb"
BLOCKS = snippets.read_blocks(README)


def test_it_runs_from_top_to_bottom(pets, run, tmp_path, monkeypatch):
    snippets.run_page(README, tmp_path, {"pets": pets, "run": run}, monkeypatch)


def test_the_first_commands_are_those_of_a_machine_with_nothing_but_python_and_git():
    lines = [" ".join(block.text.split()) for block in BLOCKS if block.language == "bash"]
    assert lines[:2] == [
        f"git clone {ADDRESS} && cd unetkit "
        "python3 -m venv .venv && source .venv/bin/activate "
        'pip install ".[train]" && unetkit demo',
        'pip install ".[notebook]" jupyter lab notebooks/unet_from_scratch.ipynb',
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


def test_every_mention_of_the_repository_has_its_one_address():
    """To move it, change the line in pyproject.toml; this test names the other places."""
    pages = [*snippets.pages(), *ROOT.glob("*.md"), ROOT / "CITATION.cff", NOTEBOOK]
    address = re.compile(rf"https?://[^\s\"'`)\\<>]*/{PROJECT['name']}\b[^\s\"'`)\\<>]*")
    found = {page: address.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert all(found[page] for page in (README, ROOT / "CITATION.cff", NOTEBOOK))
    wrong = {page.name: set(links) - {ADDRESS} for page, links in found.items()}
    assert {name: links for name, links in wrong.items() if links} == {}


def test_the_numbers_of_parameters_are_those_of_the_networks():
    for name, channels, classes in (("paper", 1, 2), ("notebook", 3, 3)):
        network = build_unet(name, in_channels=channels, num_classes=classes)
        assert f"{network.count_params():,}" in TEXT


def test_what_must_be_installed_is_what_the_project_says():
    assert f"Python {PROJECT['requires-python'].removeprefix('>=')} or later" in TEXT
    extras = set(re.findall(r'"\.\[(\w+)\]"', TEXT))
    assert extras <= PROJECT["optional-dependencies"].keys()
    assert any(
        need.startswith("jupyterlab>") for need in PROJECT["optional-dependencies"]["notebook"]
    )


def test_the_tutorial_and_the_text_have_the_figures_that_the_demo_prints():
    """Both pages show one run, and sentences quote it rounded."""
    (shown,) = (block.text for block in BLOCKS if block.text.startswith("to quote"))
    pets = (snippets.DOCS / "pets.md").read_text(encoding="utf-8")
    assert shown in pets
    figures = dict(re.findall(r"^  (\w.*?) {2,}([\d.]+)", shown, flags=re.MULTILINE))
    foreground = re.search(r"foreground IoU is ([\d.]+), ([\d.]+) and", TEXT)
    assert float(foreground[1]) == round(float(figures["foreground IoU"]), 3)
    pet, background, border = map(
        float, re.findall(r"(?:pet is|background|border)\s+(0\.\d+)", pets.split(shown)[1])
    )
    assert pet == float(foreground[2])  # border as background
    assert (pet + background + border) / 3 == pytest.approx(float(figures["mean IoU"]), abs=6e-4)
    best = re.findall(r"^step .* best ([\d.]+);", pets, flags=re.MULTILINE)
    assert max(best) == best[-1]


def test_the_changelog_and_the_citation_name_this_version():
    assert f"version: {unetkit.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert "[Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_installation_page_lists_every_extra_and_agrees_on_sizes():
    page = (snippets.DOCS / "installation.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `pip install (\S+)` \|.*\| (.*\|.*\|.*) \|$", page, re.MULTILINE))
    extras = {f'".[{extra}]"' for extra in PROJECT["optional-dependencies"]}
    assert rows.keys() == extras | {"."}
    for command in (".", '".[train]"'):
        _, download, on_disk = rows[command].split(" | ")
        assert download in TEXT
        assert on_disk in TEXT
