"""The code speaks the vocabulary of the field: words that it left behind do not come back.

Names of files, options, JSON keys and the public API stay as they were; they are listed here.
"""

import ast
import io
import re
import tokenize
from collections import defaultdict

import click
import pytest

from tests.test_architecture import MODULES
from unetkit.cli.main import main

# Word in names: the field's word for it.
REPLACED_IN_NAMES = {
    "picture": "image",
    "look": "statistics, validation",
    "finding": "issue",
    "share": "fraction",
    "examination": "report",
    "survey": "report",
    "appetite": "memory use",
    "nobody": "",
    "stranger": "",
}
REPLACED_IN_TEXT = {
    "picture": "image",
    "finding": "issue",
    "examination": "report",
    "survey": "report",
    "appetite": "memory use",
    "nobody": "",
    "stranger": "",
}
# Names that are kept: saved in files, printed as JSON, or public.
KEPT = {
    "pictures",  # folder of a run, and key of `check --json`
    "findings",  # key of a manifest and of `check --json`
    "waiting_share",  # key of a manifest
    "looks_without_gain",  # key of a checkpoint
    "picture",  # key of an interrupted prediction, and a word in folder names of users
}
# Texts that are saved in evaluation.json.
KEPT_TEXTS = re.compile(
    r"'?resize: whole picture to|native: the picture's own pixels|"
    r"pairs? whose pictures? training looked at|\|photo\|picture\|"
)
# Ends of messages that help nobody.
FILLER = re.compile(r"; (correct it|correct the file|choose one of them|name it)[\"']*$")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def names_of(name: str) -> dict[str, int]:
    """Names that a module's code uses, with the first line of each."""
    text = MODULES[name].read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    found: dict[str, int] = {}
    for token in tokens:
        if token.type == tokenize.NAME:
            found.setdefault(token.string, token.start[0])
    return found


def texts_of(name: str) -> list[tuple[int, str]]:
    """Comments and strings of a module with their lines, without quoted names and keys."""
    text = MODULES[name].read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    found = []
    for token in tokens:
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            words = re.sub(r"`[^`]*`|\"[a-z_]+\"|--[\w-]+|\w+/|\{[^{}]*\}", " ", token.string)
            words = re.sub(r"^ +\w+: ", " ", words, flags=re.MULTILINE)  # names of arguments
            found.append((token.start[0], KEPT_TEXTS.sub(" ", words)))
    return found


def is_key(text: str) -> bool:
    return text.strip("rbfRBF\"'") in KEPT or not text.strip()


@pytest.mark.parametrize("name", MODULES)
def test_names_are_in_the_field_s_words(name):
    wrong = [
        f"line {line}: {found}"
        for found, line in names_of(name).items()
        if found not in KEPT
        for word in WORD.findall(found)
        if word.lower().removesuffix("s") in REPLACED_IN_NAMES
    ]
    assert wrong == []


@pytest.mark.parametrize("name", MODULES)
def test_comments_docstrings_and_messages_are_in_the_field_s_words(name):
    pattern = re.compile(rf"\b({'|'.join(REPLACED_IN_TEXT)})s?\b", re.IGNORECASE)
    wrong = [
        f"line {line}: {match.group()}"
        for line, text in texts_of(name)
        if not is_key(text)
        for match in pattern.finditer(text)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", MODULES)
def test_messages_end_without_filler(name):
    assert [text for _, text in texts_of(name) if FILLER.search(text)] == []


def commands(group: click.Group = main, prefix: str = "") -> dict[str, click.Command]:
    found = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
        else:
            found[prefix + name] = command
    return found


@pytest.mark.parametrize("name", commands())
def test_each_option_s_help_reads_alone(name):
    for parameter in commands()[name].params:
        if not isinstance(parameter, click.Option):
            continue
        said = parameter.help or ""
        assert len(said.split()) >= 3, parameter.name
        assert said.rstrip().endswith((".", "]")), parameter.name
        first = said.split()[0]
        assert first[0].isupper(), parameter.name
        assert first not in ("Of", "That", "As", "Which", "With", "In", "From"), parameter.name


def test_no_two_public_things_share_a_name():
    places = defaultdict(set)
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(module)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_constant_has_two_values():
    values = defaultdict(dict)
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if name.isupper() and not name.startswith("_"):
                    values[name][module] = ast.unparse(node.value)
    clashes = {name: found for name, found in values.items() if len(set(found.values())) > 1}
    assert clashes == {}
