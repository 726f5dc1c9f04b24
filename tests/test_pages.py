"""Every page reads well on a code host: links have words and lead somewhere, images are shown.

A code host shows Markdown as it is, without the builder of the site. What only the builder
understands, such as a directive or a link that takes its words from its target, leaves a hole.
"""

import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.snippets import DOCS, ROOT

NOTEBOOK = ROOT / "notebooks" / "unet_from_scratch.ipynb"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.rglob("*.md")),
    *sorted((ROOT / "src").rglob("*.md")),
    NOTEBOOK,
]
# Entries that the builder makes from docstrings; the pages say so.
GENERATED = {DOCS / "reference" / "command-line.md", DOCS / "reference" / "python.md"}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]*(?:\([^()]*\))?[^()\s]*)\)")
FENCE = re.compile(r"^( *)(`{3,}|~{3,})(.*)$")


@cache
def text_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def parted(text: str) -> tuple[str, list[str]]:
    """The text outside of fenced blocks, and what stands after the opening fence of each."""
    lines, opened, languages = [], "", []
    for line in text.splitlines():
        fence = FENCE.match(line)
        if opened:
            opened = "" if line.strip() == opened else opened
        elif fence:
            opened = fence[2]
            languages.append(fence[3].strip())
        else:
            lines.append(line)
    assert not opened, "a fenced block without an end"
    return "\n".join(lines), languages


def prose_of(page: Path) -> str:
    """Text without blocks and code."""
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "code", parted(text_of(page))[0], flags=re.S)


def slug(heading: str) -> str:
    """The anchor that code hosts, and the site, give a heading."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")


@cache
def anchors_of(page: Path) -> set[str]:
    found: dict[str, int] = {}
    anchors = set()
    for heading in re.findall(r"^#{1,6} +(.+)$", parted(text_of(page))[0], flags=re.MULTILINE):
        name = slug(heading)
        anchors.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return anchors


def local_links(page: Path) -> list[str]:
    links = [target for _, _, target in LINK.findall(prose_of(page))]
    return [link for link in links if not re.match(r"[a-z]+:", link)]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_every_page_is_looked_at():
    assert len(PAGES) >= 25
    assert sum(len(local_links(page)) for page in PAGES) >= 100


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_images_have_words(page):
    untold = [target for _, words, target in LINK.findall(prose_of(page)) if not words.strip()]
    assert untold == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings_of_the_repository(page):
    wrong = []
    for link in local_links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / unquote(path)).resolve() if path else page
        is_there = target.exists() and ROOT in target.parents
        if not is_there or (anchor and anchor not in anchors_of(target)):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_is_written_for_the_builder_only(page):
    text, languages = parted(text_of(page))
    directives = [language for language in languages if language.startswith("{")]
    assert directives == (["{eval-rst}"] * len(directives) if page in GENERATED else [])
    assert re.findall(r"\{[a-z:]+\}`", text) == []  # roles
    assert re.findall(r"^(?:\([\w-]+\)=|:{3,}|%|\+\+\+)", text, flags=re.MULTILINE) == []
    assert re.findall(r"^: ", text, flags=re.MULTILINE) == []  # definitions


@pytest.mark.parametrize("page", sorted(GENERATED), ids=name_of)
def test_pages_with_generated_entries_say_where_else_to_read_them(page):
    assert "on a code host" in " ".join(text_of(page).split())


@pytest.mark.parametrize("page", [page for page in PAGES if page != NOTEBOOK], ids=name_of)
def test_headings_of_a_page_have_anchors_of_their_own(page):
    headings = re.findall(r"^#{1,4} +(.+)$", parted(text_of(page))[0], flags=re.MULTILINE)
    if page.name == "CHANGELOG.md" or page.name == "log.md":
        return  # the same headings under each version or date
    assert len({slug(heading) for heading in headings}) == len(headings)


class TestReading:
    """What would make the tests above pass without having seen a link."""

    def test_links_are_found_and_code_is_not(self, tmp_path):
        page = tmp_path / "page.md"
        page.write_text(
            "[a](b.md#c) ![d\ne](f.png) [](g.md) `[x](y)` [`h`](i.md)\n```text\n[x](y)\n```\n"
        )
        found = [(words, target) for _, words, target in LINK.findall(prose_of(page))]
        assert found == [("a", "b.md#c"), ("d\ne", "f.png"), ("", "g.md"), ("code", "i.md")]

    @pytest.mark.parametrize(
        ("heading", "anchor"),
        [
            ("1. Choose the images", "1-choose-the-images"),
            ("Does unetkit contain GPL code?", "does-unetkit-contain-gpl-code"),
            ("AUC and `x_y`", "auc-and-x_y"),
            ("Foreground, and three", "foreground-and-three"),
        ],
    )
    def test_anchors_are_those_of_code_hosts(self, heading, anchor):
        assert slug(heading) == anchor

    def test_equal_headings_are_counted(self, tmp_path):
        page = tmp_path / "page.md"
        page.write_text("# A\n## B\n```toml\n# C\n```\n## B\n")
        assert anchors_of(page) == {"a", "b", "b-1"}
