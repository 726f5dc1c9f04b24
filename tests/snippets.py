"""Run what the documentation shows, each page from top to bottom in one folder, as a reader would.

    python tests/snippets.py        how many blocks and command lines of each page are under test

Commands of unetkit run through the command line in this process, so that TensorFlow loads once;
Python blocks of a page share their names; a block of TOML whose first line is a file's name is
saved there. What would take minutes or needs the internet is replaced as SUBSTITUTES says, and by
nothing else.
"""

import doctest
import functools
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import pytest
from click.testing import CliRunner

import unetkit
from tests.loopback import Server, pack, stay_on_loopback
from tests.video.clips import moving_frames, write_clip
from unetkit.cli.main import main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"

# What a page takes as given; all others begin in an empty folder.
GIVEN: dict[str, tuple[str, ...]] = {
    "README.md": ("photos", "new"),
    "docs/cluster.md": ("photos", "model.onnx"),
    "docs/data.md": ("photos",),
    "docs/export.md": ("run",),
    "docs/figures.md": ("pets", "run"),
    "docs/photos.md": ("photos", "new"),
    "docs/prediction.md": ("run", "new"),
    "docs/report.md": ("pets", "run"),
    "docs/scale.md": ("run",),
    "docs/remote.md": ("photos.zip", "model.onnx"),
    "docs/training.md": ("photos",),
    "docs/troubleshooting.md": ("photos", "run", "new"),
    "docs/video.md": ("run", "clip.avi"),
}
# Programs that pages name and that are not run here, and why.
NOT_RUN = {
    "cd": "enters the clone, which is where the tests are",
    "git": "clones from an address that has a test of its own",
    "jupyter": "would start a server; the notebook has a test of its own",
    "pip": "installs; its extras are held against pyproject.toml, and CI installs them",
    "pytest": "would run this",
    "python3": "makes a virtual environment",
    "source": "enters it",
    "sphinx-build": "has a test of its own",
}
# Small enough to be traced and trained in three seconds.
TINY: dict[str, dict[str, Any]] = {
    "network": {
        "filters": [2, 4],
        "head_filters": 0,
        "residual": False,
        "normalization": "none",
        "stem_stride": 1,
        "up_kernel": 2,
    },
    "scale": {"height": 32, "width": 48},
    "training": {
        "steps": 2,
        "steps_per_validation": 2,
        "batch_size": 4,
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.9,
    },
}
TINY_SET = {"count": 20, "height": 48, "width": 64}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the line of the page it begins at."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    return [README, *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read_blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order; those within lists are moved to the margin."""
    blocks = []
    lines = page.read_text(encoding="utf-8").splitlines()
    place = 0
    while place < len(lines):
        opened = re.match(r"( *)(`{3,})(\S*)", lines[place])
        place += 1
        if opened is None:
            continue
        indent, fence, language = opened.groups()
        first = place
        while lines[place].strip() != fence:
            place += 1
        text = "\n".join(line.removeprefix(indent) for line in lines[first:place]) + "\n"
        blocks.append(Block(name_of(page), first + 1, language, text))
        place += 1
    return blocks


def inline_commands(page: Path) -> list[str]:
    """Commands in sentences and table cells, up to the closing backquote, and indented lines."""
    text = re.sub(r"^ *(`{3,}).*?^ *\1$", "", page.read_text("utf-8"), flags=re.M | re.S)
    indented = re.findall(r"^    (unetkit .+)$", text, flags=re.M)
    found = re.findall(r"`(unetkit [^`]+)`", text)
    return [" ".join(command.replace(r"\|", "|").split()) for command in indented + found]


def commands_of(block: Block) -> list[list[str]]:
    """The words of each command line of a block; of a console's, those after the prompt."""
    text = block.text.replace("\\\n", " ")
    if block.language == "console":
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    lines = text.replace("&&", "\n").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def is_shell(block: Block) -> bool:
    return block.language in ("bash", "console")


def parse_command(line: str) -> None:
    """Refuses a command line that unetkit would refuse; the name alone of a command is fine."""
    command: click.Command = main
    words = shlex.split(line)[1:]
    context = click.Context(main, info_name="unetkit")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"no command {name!r} in {line!r}"
        command = command.commands[name]
        context = click.Context(command, info_name=name, parent=context)
    if words:
        with context:
            command.parse_args(context, words)


def require_known_extras(words: list[str]) -> None:
    """Refuses an installation of other packages than this one, or of extras that it has not.

    It must also work: the package is on no index, so the name alone is not enough.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wheel = f"dist/unetkit-{unetkit.__version__}-py3-none-any.whl"
    address = f"git+{project['urls']['Repository']}"
    for target in (word for word in words[2:] if not word.startswith("-")):
        parts = re.fullmatch(r"([\w./-]+)(?:\[([\w,]+)\])?(?: @ (\S+))?", target)
        assert parts is not None, target
        name, extras, source = parts.groups()
        assert (name, source) in ((".", None), (wheel, None), ("unetkit", address)), target
        assert set((extras or "train").split(",")) <= project["optional-dependencies"].keys()


def run_page(
    page: Path, folder: Path, fixtures: Mapping[str, Path], patch: pytest.MonkeyPatch
) -> None:
    """Runs all blocks of a page, in order, in `folder`.

    Args:
        fixtures: `pets`, a data set, and `run`, a run on it.
    """
    for given in GIVEN.get(name_of(page), ()):
        PROVIDERS[given](folder / given, fixtures)
    patch.chdir(folder)
    names: dict[str, Any] = {"__name__": "__main__"}
    with substituted(fixtures, patch):
        for block in read_blocks(page):
            if is_shell(block):
                for words in commands_of(block):
                    run_command(words, block)
            elif block.language == "python":
                # As many empty lines before, so that a traceback names the page's own.
                code = "\n" * (block.line - 1) + block.text
                exec(compile(code, str(ROOT / block.page), "exec"), names)
            elif block.language == "pycon":
                run_session(block, names)
            elif block.language == "toml":
                save_toml(block)


def run_command(words: list[str], block: Block) -> str:
    if words[:2] == ["pip", "install"]:
        require_known_extras(words)
    if words[0] in NOT_RUN:
        return ""
    assert words[0] == "unetkit", f"{block}: nobody runs {words[0]!r}: see NOT_RUN"
    done = CliRunner().invoke(main, words[1:], prog_name="unetkit")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError(f"{block}: {shlex.join(words)}") from done.exception
    assert done.exit_code == 0, f"{block}: {shlex.join(words)}\n{done.output}"
    return done.output


def run_session(block: Block, names: dict[str, Any]) -> None:
    """Runs a Python session, whose answers must be those shown."""
    test = doctest.DocTestParser().get_doctest(block.text, names, str(block), None, block.line)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    said: list[str] = []
    runner.run(test, out=said.append, clear_globs=False)
    assert runner.failures == 0, "".join(said)
    names.update(test.globs)


def save_toml(block: Block) -> None:
    tomllib.loads(block.text)
    name = re.match(r"# ([\w-]+\.toml)\n", block.text)
    if name is not None:
        Path(name[1]).write_text(block.text, encoding="utf-8")


def _copy_photos(folder: Path, fixtures: Mapping[str, Path]) -> None:
    pets = fixtures["pets"]
    shutil.copytree(pets / "images", folder / "images")
    shutil.copytree(pets / "annotations" / "trimaps", folder / "masks")


def _copy_new(folder: Path, fixtures: Mapping[str, Path]) -> None:
    folder.mkdir(parents=True)
    photos = sorted((fixtures["pets"] / "images").iterdir())
    for name, photo in zip(("cat.jpg", "dog.jpg"), photos, strict=False):
        shutil.copy(photo, folder / name)


def _zip_photos(file: Path, fixtures: Mapping[str, Path]) -> None:
    with TemporaryDirectory() as folder:
        _copy_new(Path(folder, "photos", "images"), fixtures)
        shutil.make_archive(str(file.with_suffix("")), "zip", Path(folder, "photos"))


# How what pages take as given is made from the fixtures.
PROVIDERS: dict[str, Callable[[Path, Mapping[str, Path]], object]] = {
    "pets": lambda folder, fixtures: shutil.copytree(fixtures["pets"], folder),
    "photos": _copy_photos,
    "new": _copy_new,
    "photos.zip": _zip_photos,
    "run": lambda folder, fixtures: shutil.copytree(
        fixtures["run"], folder, ignore=shutil.ignore_patterns("evaluation-*", "*.html")
    ),
    "clip.avi": lambda file, fixtures: write_clip(file, moving_frames(3)),
    "model.onnx": lambda file, fixtures: shutil.copy(fixtures["run"] / "model.onnx", file),
    "pets.onnx": lambda file, fixtures: shutil.copy(fixtures["run"] / "model.onnx", file),
}


def shrunk(config: Any) -> dict[str, Any]:
    """A page's own configuration, read as it is, with what takes time made tiny."""
    files = import_module("unetkit.training.config_file")
    if isinstance(config, str | Path):
        config = files.read_choices(config)
    elif config is None or isinstance(config, Mapping):
        config = files.parse_choices(config or {}, "the page")
    return config.with_options(files.parse_choices(TINY, "tests/snippets.py")).to_mapping()


def _tiny_training(train: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(train)
    def trained(data=None, *, epochs=None, minutes=None, size=None, config=None, **options):
        assert epochs is None or minutes is None
        return train(data, config=shrunk(config), **options)

    return trained


def _two_folds(cross_validate: Callable[..., Any]) -> Callable[..., Any]:
    train = _tiny_training(cross_validate)

    @functools.wraps(cross_validate)
    def validated(data=None, *, folds=5, **options):
        return train(data, folds=min(folds, 2), **options)

    return validated


def _tiny_demo(demo: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(demo)
    def demonstrated(out="unetkit-demo", **options):
        demonstration = import_module("unetkit.runs.demo")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(demonstration, "train", _tiny_training(demonstration.train))
            patch.setattr(
                demonstration,
                "write_synthetic_pets",
                _tiny_set(demonstration.write_synthetic_pets),
            )
            return demo(out, **options)

    return demonstrated


def _tiny_set(write: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(write)
    def written(folder, **options):
        return write(folder, **(options | TINY_SET))

    return written


def _from_loopback(download: Callable[..., Any], server: Server) -> Callable[..., Any]:
    @functools.wraps(download)
    def downloaded(folder, **options):
        options |= {"cache": Path("cache"), "publication": server.publication("/a")}
        return download(folder, **options)

    return downloaded


# What is replaced, in the command line and in Python alike, by what, and why.
SUBSTITUTES: dict[str, tuple[Callable[..., Any], str]] = {
    "train": (_tiny_training, "minutes of training; now two steps of a network of 6 filters"),
    "cross_validate": (_two_folds, "the same for each fold; now two folds"),
    "demo": (_tiny_demo, "two minutes; now 20 pictures, two steps"),
    "write_synthetic_pets": (_tiny_set, "500 pictures; now 20 small ones"),
    "write_synthetic_cells": (_tiny_set, "40 pictures; now 20 small ones"),
    "download_oxford_pets": (_from_loopback, "800 MB from the internet; now 20 pets from loopback"),
}


DRAWS = 50  # of pictures for an interval, in place of 2000


@contextmanager
def substituted(fixtures: Mapping[str, Path], patch: pytest.MonkeyPatch) -> Iterator[None]:
    stay_on_loopback(patch)
    for name in ("RESAMPLES", "CHUNK"):
        patch.setattr(import_module("unetkit.metrics.bootstrap"), name, DRAWS)
    with Server(_archives(fixtures["pets"])) as server:
        for name, (substitute, _) in SUBSTITUTES.items():
            extra = (server,) if substitute is _from_loopback else ()
            patch.setattr(unetkit, name, substitute(getattr(unetkit, name), *extra))
        yield


@functools.cache
def _archives(pets: Path) -> dict[str, bytes]:
    """A data set's files as the two archives that Oxford-IIIT Pet is published in."""
    files = {path.relative_to(pets).as_posix(): path for path in sorted(pets.rglob("*.*"))}
    return {
        f"{name}.tar.gz": pack(
            *((key, path.read_bytes()) for key, path in files.items() if key.startswith(name))
        )
        for name in ("annotations", "images")
    }


def count(page: Path) -> dict[str, int]:
    """How much of a page is under test."""
    blocks = read_blocks(page)
    return {
        "blocks": sum(block.language in ("bash", "console", "python", "pycon") for block in blocks),
        "commands run": sum(
            words[0] == "unetkit" for b in blocks if is_shell(b) for words in commands_of(b)
        ),
        "commands parsed": len(inline_commands(page)),
        "toml": sum(block.language == "toml" for block in blocks),
    }


def count_table() -> str:
    """The counts of all pages, a page a row."""
    rows = {name_of(page): count(page) for page in pages()}
    heads = list(next(iter(rows.values())))
    rows["all"] = {head: sum(row[head] for row in rows.values()) for head in heads}
    lines = [f"{'page':32}" + "".join(f"{head:>17}" for head in heads)]
    lines += [f"{n:32}" + "".join(f"{row[h]:17}" for h in heads) for n, row in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(count_table() + "\n")
