"""A message never names an option that the command that prints it lacks.

Messages are found in the source, and so are the functions that each command reaches: a name that is
used, in a call or anywhere else, may be run. Two things are looked at more closely:

- In a command line within a message, such as "unetkit check DATA --pictures FOLDER", the options
  are those of the command that it names.
- Errors that pass through `without_remedy` lose whatever they advise, and those that are caught and
  never looked at are not printed.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import click
import pytest

import unetkit
from tests.test_architecture import MODULES
from unetkit.cli.main import main

OPTION = re.compile(r"(?<![\w(-])--[a-z][a-z0-9-]*[a-z0-9](?![\w=]*_)")
OTHER_PROGRAM = re.compile(r"(pip|git) [^;]*")
COMMAND_LINE = re.compile(r"unetkit ([a-z]+)((?: (?!unetkit)[^;,:]*)?)")
# What it trains on is its own, so that no message on data is ever printed; and data that a training
# has read, on which `exports.int8` replaces all advice.
WITHOUT_OWN_DATA = {"demo", "export"}

Place = tuple[str, str]  # module, and a name at its top level


@dataclass
class Part:
    """What stands at the top level of a module under one name."""

    mentions: set[str] = field(default_factory=set)
    lines: list[tuple[str, str]] = field(default_factory=list)  # command, option
    uses: set[Place] = field(default_factory=set)


def commands_in(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_in(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands_in(main))


def options_of(command: click.Command) -> set[str]:
    own = {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)}
    return own | {"--help"}


def names_in(tree: ast.Module) -> dict[str, list[ast.stmt]]:
    """Statements by the names that they define at the top level."""
    found: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, []).append(node)
    return found


def imports_in(tree: ast.AST) -> dict[str, Place | str]:
    """What each imported name stands for: a name in a module, or a whole module."""
    found: dict[str, Place | str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unetkit"):
            home = (node.module or "").removeprefix("unetkit").removeprefix(".")
            for alias in node.names:
                inner = f"{home}.{alias.name}".lstrip(".")
                found[alias.asname or alias.name] = (
                    inner if inner in MODULES else (home, alias.name)
                )
    return found


def silences(handler: ast.ExceptHandler) -> bool:
    """Whether errors of data, which are caught here, lose their advice or are not printed."""
    caught = "" if handler.type is None else ast.unparse(handler.type)
    text = "\n".join(map(ast.unparse, handler.body))
    is_unseen = handler.name is None and "raise" not in text
    return bool(re.search("UnetkitError|DataError", caught)) and (
        is_unseen or "without_remedy" in text
    )


class Walker(ast.NodeVisitor):
    """Collects what a part mentions and uses."""

    def __init__(self, part: Part, module: str, local: set[str], imports: dict) -> None:
        self.part, self.module, self.local, self.imports = part, module, local, imports

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node = type(node)(**{**vars(node), "body": body[1:]})  # without its docstring
        super().visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func)
        if called == "click.option" or called.startswith("logger."):
            return
        if called == "library" and isinstance(node.args[0], ast.Constant):
            name = str(node.args[0].value)
            self.part.uses.add((unetkit._MODULE_OF[name].removeprefix("unetkit."), name))
        elif called == "library":
            for each in ast.walk(node.args[0]):
                if isinstance(each, ast.Constant) and each.value in unetkit._MODULE_OF:
                    name = str(each.value)
                    home = unetkit._MODULE_OF[name].removeprefix("unetkit.")
                    self.part.uses.add((home, name))
        self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        is_silent = any(map(silences, node.handlers))
        for each in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(each)
        for each in () if is_silent else node.body:
            self.visit(each)

    def visit_List(self, node: ast.List) -> None:
        words = [each.value for each in node.elts if isinstance(each, ast.Constant)]
        if len(words) > 1 and words[0] == "unetkit":
            command = str(words[1])
            self.part.lines += [(command, w) for w in words if OPTION.fullmatch(str(w))]
            for each in node.elts:
                if not isinstance(each, ast.Constant):
                    self.visit(each)
            return
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
        self.read("".join(map(str, parts)))
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self.visit(value.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.read(node.value)

    def read(self, text: str) -> None:
        for command, rest in COMMAND_LINE.findall(text):
            self.part.lines += [(command, option) for option in OPTION.findall(rest)]
        text = OTHER_PROGRAM.sub(" ", COMMAND_LINE.sub(" ", text))
        found = set(OPTION.findall(text))
        if " " not in text:  # a word by itself, which may be another program's
            found &= {option for command in COMMANDS.values() for option in options_of(command)}
        self.part.mentions |= found

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name):
            home = self.imports.get(node.value.id)
            if isinstance(home, str):
                self.part.uses.add((home, node.attr))
                return
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        target = self.imports.get(node.id)
        if isinstance(target, tuple):
            self.part.uses.add(target)
        elif node.id in self.local:
            self.part.uses.add((self.module, node.id))


@cache
def parts() -> dict[Place, Part]:
    """Every part of the package."""
    found: dict[Place, Part] = {}
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        local = names_in(tree)
        imports = imports_in(tree)
        for name, nodes in local.items():
            part = found.setdefault((module, name), Part())
            for node in nodes:
                Walker(part, module, set(local), imports).visit(node)
    return found


def reached_from(start: Place) -> set[Place]:
    reached, waiting = set(), [start]
    while waiting:
        place = waiting.pop()
        if place in reached or place not in parts():
            continue
        reached.add(place)
        waiting += parts()[place].uses
    return reached


def start_of(command: click.Command) -> Place:
    function = command.callback
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function.__module__.removeprefix("unetkit."), function.__name__


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT_OWN_DATA))
def test_a_command_names_only_options_that_it_has(name):
    known = options_of(COMMANDS[name])
    foreign = {
        (*place, option)
        for place in reached_from(start_of(COMMANDS[name]))
        for option in parts()[place].mentions - known
    }
    assert sorted(foreign) == []


def test_command_lines_in_messages_have_the_options_that_they_name():
    wrong = {
        (*place, command, option)
        for place, part in parts().items()
        for command, option in part.lines
        if command not in COMMANDS or option not in options_of(COMMANDS[command])
    }
    assert sorted(wrong) == []


def test_messages_are_found_where_they_are():
    """What would make the tests above pass without having looked at a message."""
    assert "--skip-bad" in parts()["checks.examine", "check_sound"].mentions
    assert ("check", "--pictures") in parts()["checks.issues", "CHECK_COMMAND"].lines
    for name in ("check", "train", "evaluate"):
        reached = reached_from(start_of(COMMANDS[name]))
        assert ("checks.integer_inference", "_unknown_values_error") in reached
        assert ("data.dataset", "_no_pairs") in reached
    assert ("io.pixel_format", "PixelFormat") in reached_from(start_of(COMMANDS["predict"]))
