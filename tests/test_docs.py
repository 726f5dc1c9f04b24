"""What the documentation says is true: it runs, it names what exists, and the site is whole.

`snippets.py` says how a page is run, and what is replaced while it is.
"""

import ast
import re
import runpy
import subprocess
import sys
import tomllib
from dataclasses import fields
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import unetkit
from tests import snippets
from tests.conftest import write_pair
from tests.snippets import DOCS, ROOT
from tests.test_architecture import MODULES, ROOMS, SOURCE, imported_modules
from unetkit.checks.issues import REMEDIES
from unetkit.cli.main import main
from unetkit.data.classes import read_class_file
from unetkit.training.config import SECTIONS

PAGES = [page for page in snippets.pages() if page != snippets.README]  # which has its own test
DATA_PAGE = (DOCS / "data.md").read_text(encoding="utf-8")
TROUBLE_PAGE = DOCS / "troubleshooting.md"
LEAST_BLOCKS, LEAST_RUN, LEAST_PARSED = 30, 30, 20


@pytest.fixture(scope="session", autouse=True)
def build(tmp_path_factory):
    """Begins to build the site, by the one command, while pages run on the other core."""
    root = tmp_path_factory.mktemp("documentation")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    process = subprocess.Popen(
        [*command, "-d", root / "doctrees", DOCS, root / "site"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process, root / "site"
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def site(build):
    """The site; warnings are errors."""
    process, folder = build
    _, said = process.communicate()
    assert process.returncode == 0, said
    return folder


@pytest.fixture(scope="session")
def small_run(pets, tmp_path_factory):
    """A run on the synthetic pets, of the smallest network that there is."""
    return unetkit.train(pets, out=tmp_path_factory.mktemp("runs") / "small", config=snippets.TINY)


class TestSnippets:
    def test_count(self, capsys):
        counts = [snippets.count(page) for page in snippets.pages()]
        with capsys.disabled():
            print("\n" + snippets.count_table())  # noqa: T201
        for name, least in (
            ("blocks", LEAST_BLOCKS),
            ("commands run", LEAST_RUN),
            ("commands parsed", LEAST_PARSED),
        ):
            assert sum(count[name] for count in counts) >= least

    @pytest.mark.parametrize(
        "page",
        [page for page in PAGES if snippets.count(page)["blocks"]],
        ids=snippets.name_of,
    )
    def test_page_runs_from_top_to_bottom(self, page, pets, small_run, tmp_path, monkeypatch):
        snippets.run_page(page, tmp_path, {"pets": pets, "run": small_run}, monkeypatch)

    @pytest.mark.parametrize("page", snippets.pages(), ids=snippets.name_of)
    def test_commands_in_sentences_are_accepted_by_the_command_line(self, page):
        for line in snippets.inline_commands(page):
            snippets.parse_command(line)

    def test_every_block_has_a_language(self):
        blocks = [block for page in PAGES for block in snippets.read_blocks(page)]
        assert [str(block) for block in blocks if not block.language] == []

    def test_what_is_given_and_replaced_exists(self):
        assert {ROOT / name for name in snippets.GIVEN} <= set(snippets.pages())
        assert {g for given in snippets.GIVEN.values() for g in given} <= set(snippets.PROVIDERS)
        assert set(snippets.SUBSTITUTES) <= set(unetkit.__all__)


class TestRunner:
    """What would make a page's test pass without having run it."""

    def block(self, language, text):
        return snippets.Block("docs/page.md", 7, language, text)

    def test_blocks_are_found_with_their_lines(self, tmp_path, monkeypatch):
        monkeypatch.setattr(snippets, "ROOT", tmp_path)
        page = tmp_path / "page.md"
        page.write_text("Text\n\n```bash\nunetkit demo\n```\n\n- item\n\n  ```python\n  1\n  ```\n")
        assert snippets.read_blocks(page) == [
            snippets.Block("page.md", 4, "bash", "unetkit demo\n"),
            snippets.Block("page.md", 10, "python", "1\n"),
        ]

    def test_lines_are_joined_parted_and_stripped_of_comments(self):
        text = "unetkit info \\\n  run && unetkit demo  # two minutes\n# nothing\n"
        words = [["unetkit", "info", "run"], ["unetkit", "demo"]]
        assert snippets.commands_of(self.block("bash", text)) == words

    def test_of_a_console_only_what_follows_the_prompt_is_a_command(self):
        text = "$ unetkit info run\nfile  run/model.onnx\n"
        assert snippets.commands_of(self.block("console", text)) == [["unetkit", "info", "run"]]

    def test_a_command_that_fails_fails(self, tmp_path):
        with pytest.raises(AssertionError, match=r"(?s)page\.md:7: unetkit info .*does not exist"):
            snippets.run_command(["unetkit", "info", str(tmp_path / "no")], self.block("bash", ""))

    def test_an_unknown_program_fails(self):
        with pytest.raises(AssertionError, match="nobody runs 'curl'"):
            snippets.run_command(["curl", "x"], self.block("bash", ""))

    def test_a_wrong_answer_fails(self):
        with pytest.raises(AssertionError, match="Expected:"):
            snippets.run_session(self.block("pycon", ">>> 1 + 1\n3\n"), {})

    def test_names_outlive_their_block(self):
        names = {}
        snippets.run_session(self.block("pycon", ">>> two = 2\n"), names)
        assert names["two"] == 2

    @pytest.mark.parametrize(
        "line", ["unetkit trian x", "unetkit train x --minuts 3", "unetkit info"]
    )
    def test_a_command_in_a_sentence_may_lack_its_arguments_but_nothing_else(self, line):
        if line == "unetkit info":
            return snippets.parse_command(line)
        with pytest.raises((AssertionError, click.UsageError)):
            snippets.parse_command(line)
        return None

    @pytest.mark.parametrize(
        "target",
        [
            ".[trian]",
            "keras",
            ".[train,gpu9]",
            "unetkit[train]",  # on no index
            "unetkit[train] @ git+https://other.org/unetkit",
            "dist/unetkit-0.0.0-py3-none-any.whl",
        ],
    )
    def test_an_installation_that_does_not_work_fails(self, target):
        with pytest.raises(AssertionError):
            snippets.require_known_extras(["pip", "install", target])

    @pytest.mark.parametrize("target", [".", ".[train]", ".[train,formats]"])
    def test_an_installation_from_the_clone_is_accepted(self, target):
        snippets.require_known_extras(["pip", "install", "-e", target])

    def test_a_configuration_is_made_tiny_and_keeps_the_rest(self):
        small = snippets.shrunk({"scale": {"policy": "native", "height": 512}, "preset": "paper"})
        assert small["scale"] == {"policy": "native", "height": 32, "width": 48}
        assert small["preset"] == "paper"


class TestDataPage:
    def test_every_finding_is_documented_and_none_is_made_up(self):
        rows = re.findall(r"^\| (error|warning|note) \| (.+) \|$", DATA_PAGE, flags=re.MULTILINE)
        codes = {code for _, cells in rows for code in re.findall(r"`([a-z-]+)`", cells)}
        assert codes == REMEDIES.keys()

    def test_the_class_file_shown_is_read(self, tmp_path):
        (block,) = [b for b in snippets.read_blocks(DOCS / "data.md") if b.language == "toml"]
        path = tmp_path / "classes.toml"
        path.write_text(block.text, encoding="utf-8")
        assert read_class_file(path) == {
            "names": ("street side", "road"),
            "values": (0x000000, 0x804080),
            "kind": "colours",
            "background": 0,
            "ignore": 0xFFFFFF,
            "colours": ((0x20, 0x20, 0x20), (0xFF, 0x80, 0x00)),
        }


def quoted_messages():
    """Messages of the troubleshooting page, a line each, and what `check` says on other pages."""
    lines = [
        line
        for block in snippets.read_blocks(TROUBLE_PAGE)
        if block.language == "none"
        for line in block.text.splitlines()
        if line
    ]
    table = (DOCS / "photos.md").read_text("utf-8").split("| it says | do |")[1].split("\n\n")[0]
    return lines + re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)


EDGES = " ,;:()'"


@cache
def texts_of_the_source() -> list[str]:
    """Every string of the package, with … for what is filled in."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return [" ".join(text.split()) for text in found]


@cache
def parts_of_the_source() -> set[str]:
    """What stands between two … of these strings."""
    return {part.strip(EDGES) for text in texts_of_the_source() for part in text.split("…")} - {""}


def stands_in_the_source(piece: str) -> bool:
    """Whether it is within one string, or put together of whole parts."""
    if any(piece in text for text in texts_of_the_source()):
        return True
    heads = [part for part in parts_of_the_source() if f"{piece} ".startswith(part)]
    rests = [f"{piece} "[len(head) :] for head in heads]
    return any(
        not rest.strip(EDGES) or stands_in_the_source(rest.strip(EDGES))
        for rest in rests
        if rest[0] in EDGES  # parts are whole words
    )


class TestTroubleshooting:
    @pytest.mark.parametrize("message", quoted_messages())
    def test_a_quoted_message_stands_in_the_source(self, message):
        """Each piece between two ellipses, word for word."""
        pieces = [piece.strip(EDGES) for piece in message.split("…")]
        telling = [piece for piece in pieces if len(piece.split()) >= 2]
        assert telling
        assert [piece for piece in telling if not stands_in_the_source(piece)] == []

    def test_a_message_that_nobody_says_would_be_found(self):
        assert stands_in_the_source("occurs in no training mask")
        assert not stands_in_the_source("occurs in no training galosh")
        assert not stands_in_the_source("the masks in hold only the value 7")

    # What a user does, and the beginning of what the page quotes for it.
    @pytest.mark.parametrize(
        ("values", "options", "beginning"),
        [
            ((0, 1, 128), (), "masks in … have values that are not classes"),
            ((0, 1, 2, 255), (), "masks in … have values that are not classes"),
            ((0,), (), "the masks in … contain only the value 0"),
            ((0, 1), ("--group-by", "photo"), "… has too few groups"),
            ((0, 1), ("--masks", "other"), "… contains no masks"),
        ],
    )
    def test_a_message_is_what_the_command_line_says(self, tmp_path, values, options, beginning):
        for number in range(4):
            write_pair(tmp_path, f"photo_{number}", values=values, seed=number)
        said = self.check(tmp_path, options)
        self.require_said(beginning, said)

    def test_masks_as_jpeg_are_named(self, tmp_path):
        write_pair(tmp_path, "photo", values=(0, 255))
        png = tmp_path / "masks" / "photo.png"
        Image.open(png).save(png.with_suffix(".jpg"))
        png.unlink()
        said = self.check(tmp_path)
        self.require_said("… of … masks in … are JPEGs, … first, whose compression", said)

    def test_masks_in_soft_colours_are_named(self, tmp_path):
        write_pair(tmp_path, "photo")
        soft = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(soft).save(tmp_path / "masks" / "photo.png")
        said = self.check(tmp_path)
        self.require_said("masks in … have … colours, the most frequent …", said)

    def test_masks_of_another_size_are_named(self, tmp_path):
        write_pair(tmp_path, "photo")
        Image.new("L", (10, 10)).save(tmp_path / "masks" / "photo.png")
        said = self.check(tmp_path)
        self.require_said("image … is …x… and mask … is …x… (height x width)", said)

    def test_a_second_run_in_a_folder_is_refused(self, small_run, pets):
        said = CliRunner().invoke(main, ["train", str(pets), "--out", str(small_run)]).output
        self.require_said("run folder … exists and is not empty", said)

    @staticmethod
    def check(folder, options=()):
        return CliRunner().invoke(main, ["check", str(folder), *options]).output

    @staticmethod
    def require_said(beginning, said):
        """What is said has this line of the page, with anything for each ellipsis."""
        assert any(line.startswith(beginning) for line in quoted_messages())
        said = " ".join(re.sub(r"[│┃]", " ", said).split())
        pattern = ".*?".join(re.escape(piece) for piece in beginning.split("…"))
        # A table wraps its cells, within which words of other cells come between.
        pattern = pattern.replace(r"\ ", r"\s(?:.*?\s)?")
        assert re.search(pattern, said), said


class TestReference:
    def test_every_public_name_has_its_entry(self):
        text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
        entries = re.findall(r"^\.\. (?:auto\w+|py:data):: unetkit\.(\w+)$", text, re.MULTILINE)
        assert sorted(entries) == sorted(set(unetkit.__all__) - {"__version__"})

    def test_presets_are_all_described(self):
        text = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
        assert all(f"`{preset}`" in text or f'"{preset}"' in text for preset in unetkit.PRESETS)


class TestConfigurationPage:
    PAGE = DOCS / "reference" / "configuration.md"

    def test_it_is_what_its_script_writes(self):
        made = runpy.run_path(str(DOCS / "make_configuration.py"))["make_page"]()
        assert self.PAGE.read_text(encoding="utf-8") == made

    def test_every_key_has_a_meaning_and_every_option_a_key(self):
        lines = [line for line in self.PAGE.read_text("utf-8").splitlines() if line[:3] == "| `"]
        rows = [
            (cells[0].strip("`"), cells[1], cells[-1])
            for cells in (line[2:-2].split(" | ") for line in lines)
        ]
        keys = [entry.name for kind in SECTIONS.values() for entry in fields(kind)]
        assert [key for key, _, _ in rows] == ["data", "preset", *keys]
        assert all(len(meaning) > 10 for _, meaning, _ in rows)
        named = set(re.findall(r"`(--[\w-]+)`", " ".join(option for _, _, option in rows)))
        others = {"--config", "--data", "--device", "--folds", "--memory", "--out", "--resume"}
        others |= {"--processes", "--tensorboard"}
        offered = {o for p in main.commands["train"].params for o in p.opts if o.startswith("--")}
        assert offered - named == others


@cache
def needs_keras(name: str) -> bool:
    """Whether a module imports Keras, or another one that does."""
    text = MODULES[name].read_text(encoding="utf-8")
    if re.search(r"^(?:import|from) keras\b", text, flags=re.MULTILINE):
        return True
    return any(map(needs_keras, imported_modules(name)))


class TestCodePage:
    PAGE = (DOCS / "code.md").read_text(encoding="utf-8")
    DRAWING = (DOCS / "pictures" / "code.svg").read_text(encoding="utf-8")

    def test_every_room_is_described(self):
        rows = re.findall(r"^\| `(\w+)(?:/|\.py)`", self.PAGE, flags=re.MULTILINE)
        assert set(rows) == set(ROOMS) - {"_version"}

    def test_no_file_is_named_that_does_not_exist(self):
        folders = (SOURCE, ROOT)
        named = set(re.findall(r"`([\w/]+\.py)`", self.PAGE))
        assert len(named) >= 20
        assert [n for n in named if not any((folder / n).is_file() for folder in folders)] == []

    def test_the_drawing_names_every_room(self):
        drawn = re.findall(r'class="title files"[^>]*>(\w+)<', self.DRAWING)
        assert sorted(drawn) == sorted(set(ROOMS) - {"_version", "errors", "_shared"})

    def test_a_thick_rim_is_what_needs_keras(self):
        for part in self.DRAWING.split("<rect ")[1:]:
            for room in re.findall(r'class="title files"[^>]*>(\w+)<', part):
                if room == "cli":  # each command imports what it calls
                    continue
                files = [name for name in MODULES if name.split(".")[0] == room]
                is_thick = part.startswith('class="files keras"')
                assert any(map(needs_keras, files)) == is_thick, room

    def test_the_drawing_is_what_its_script_draws(self, tmp_path):
        script = DOCS / "draw_code.py"
        file = tmp_path / "code.svg"
        subprocess.run([sys.executable, script, file], check=True)
        assert file.read_text(encoding="utf-8") == self.DRAWING


class Links(HTMLParser):
    """What a page loads by itself, what it links to, and which of its places can be linked to."""

    LOADING = frozenset(
        {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
    )

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.places: set[str] = set()
        self.untold: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.places |= {given["id"]} if given.get("id") else set()
        self.loaded += [given[key] for name, key in self.LOADING if name == tag and given.get(key)]
        self.linked += [given["href"]] if tag == "a" and given.get("href") else []
        alt = given.get("alt") or ""
        is_told = alt and Path(alt).name != Path(given.get("src", "")).name  # Sphinx's own default
        self.untold += [given.get("src", "")] if tag == "img" and not is_told else []


class TestSite:
    def pages_of(self, site):
        return {page: Links(page) for page in sorted(site.rglob("*.html"))}

    def test_it_holds_every_page(self, site):
        built = {page.relative_to(site).with_suffix("") for page in site.rglob("*.html")}
        assert {page.relative_to(DOCS).with_suffix("") for page in PAGES} <= built
        assert Path("unet_from_scratch") in built

    def test_no_page_loads_anything_from_another_host(self, site):
        for page, links in self.pages_of(site).items():
            away = [link for link in links.loaded if urlsplit(link).netloc or ":" in link[:8]]
            assert [link for link in away if not link.startswith("data:")] == [], page
        for sheet in site.rglob("*.css"):
            assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", sheet.read_text("utf-8"))

    def test_local_links_and_pictures_lead_somewhere(self, site):
        pages = self.pages_of(site)
        for page, links in pages.items():
            for link in links.loaded + links.linked:
                parts = urlsplit(link)
                if parts.scheme or parts.netloc:
                    continue
                target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
                assert target.exists(), (page, link)
                if parts.fragment and target in pages:
                    assert unquote(parts.fragment) in pages[target].places, (page, link)

    def test_pictures_say_what_they_show(self, site):
        pages = self.pages_of(site)
        del pages[site / "unet_from_scratch.html"]  # whose pictures come out of its code
        for page, links in pages.items():
            assert links.untold == [], page

    def test_tables_of_the_notebook_are_tables(self, site):
        text = (site / "unet_from_scratch.html").read_text(encoding="utf-8")
        shown = re.sub(r"<pre.*?</pre>", "", text, flags=re.S)
        assert shown.count("<thead>") >= 6
        assert "---" not in shown
        assert shown.count("</tbody>") == shown.count("<thead>")

    def test_every_picture_is_shown_somewhere(self):
        texts = [page.read_text(encoding="utf-8") for page in snippets.pages()]
        for picture in (DOCS / "pictures").iterdir():
            assert any(f"pictures/{picture.name}" in text for text in texts), picture

    def test_no_path_of_this_machine_is_in_it(self, site):
        for page in site.rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            assert str(ROOT) not in text, page
            assert str(Path.home()) + "/" not in text, page

    def test_the_reference_has_every_command_and_option(self, site):
        text = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
        text = re.sub(r"<[^>]+>", "", text)

        def require(command, path):
            assert path in text, path
            for option in (o for p in command.params for o in p.opts if o.startswith("--")):
                assert option in text, (path, option)
            for name, inner in getattr(command, "commands", {}).items():
                require(inner, f"{path} {name}")

        require(main, "unetkit")


def test_the_documents_extra_builds_the_site():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert any(need.startswith("sphinx>") for need in project["optional-dependencies"]["docs"])
    how = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert 'pip install -e ".[docs]"' in how or 'pip install ".[docs]"' in how
    assert "sphinx-build -W -b html docs site" in how
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/site/", "/jupyter_execute/"} <= set(ignored)  # the latter by myst-nb, beside the site


class TestFind:
    """The table of words that people search for, on the first page."""

    TEXT = (DOCS / "index.md").read_text(encoding="utf-8").split("\n## Find\n")[1]
    ROWS = re.findall(r"^\| (.+) \| \[.+\]\((.+)\) \|$", TEXT, flags=re.MULTILINE)

    def test_it_has_the_words_that_people_search_for(self):
        words = {word.lower() for row, _ in self.ROWS for word in row.split(", ")}
        assert len(self.ROWS) >= 50
        assert words >= {
            "16-bit",
            "augmentation",
            "binary segmentation",
            "class imbalance",
            "colab",
            "dice",
            "docker",
            "export",
            "fine-tuning",
            "gpu",
            "macos",
            "multiclass segmentation",
            "onnx",
            "out of memory in training",
            "overfitting",
            "pretrained weights",
            "quick start",
            "transfer learning",
            "tutorial",
            "video",
            "windows",
        }

    def test_it_is_in_alphabetical_order(self):
        words = [row.lower() for row, _ in self.ROWS if not row[0].isdigit()]
        assert words == sorted(words)

    def test_the_page_that_a_row_names_speaks_of_it(self):
        """At least one of the row's words, or its beginning, stands in the section or page."""
        for row, link in self.ROWS:
            if link.startswith("../"):
                continue  # the notebook
            page = (DOCS / (link.partition("#")[0] or "index.md")).read_text(encoding="utf-8")
            stems = [w.lower()[:5] for word in row.split(", ") for w in word.split() if len(w) > 2]
            assert any(stem in page.lower() for stem in stems), row
