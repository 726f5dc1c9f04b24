"""Configuration of Sphinx: sphinx-build -W -b html docs site.

The site loads nothing from other hosts, so that it works from a folder without a network: no fonts,
no scripts, no formulas rendered by a script.
"""

import re
import shutil
from pathlib import Path

import unetkit

HERE = Path(__file__).parent
NOTEBOOK = HERE.parent / "notebooks" / "unet_from_scratch.ipynb"

project = "unetkit"
author = "The unetkit developers"
copyright = author
version = release = unetkit.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]

# Pages are Markdown; headings are link targets by their words, as on GitHub.
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # the notebook is run when it is written, and by a test
nb_render_markdown_format = "myst"  # with tables, which "commonmark" lacks
nb_ipywidgets_js = {}  # widgets would be loaded from another host

# Docstrings: single backquotes are code; types are in the signature only.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"unetkit {version}"
html_static_path = ["_static"]
html_css_files = ["unetkit.css"]
html_copy_source = False
html_show_sphinx = False

# Sphinx reads pages of this folder only, so the notebook is copied here; git ignores the copy.
shutil.copyfile(NOTEBOOK, HERE / NOTEBOOK.name)


# The navigation. It stands here because a code host would show it on the first page as code.
CONTENTS = {
    "Learn": ("installation", "unet_from_scratch", "pets", "photos", "label"),
    "Understand": (
        "training",
        "losses",
        "objects",
        "figures",
        "report",
        "scale",
        "prediction",
        "video",
        "cluster",
        "scale-out",
        "remote",
        "serve",
        "export",
        "original-notebook",
    ),
    "Reference": (
        "troubleshooting",
        "data",
        "reference/command-line",
        "reference/configuration",
        "reference/python",
    ),
    "Contribute": ("code", "contributing", "log", "changelog"),
}
# Pages that are files of the repository's root; their own text is a link to it.
ROOT_FILES = {"contributing": "CONTRIBUTING.md", "changelog": "CHANGELOG.md"}


def read_source(app, docname, source):
    """Makes pages of the site out of pages that read well on a code host."""
    if docname in ROOT_FILES:
        source[0] = (HERE.parent / ROOT_FILES[docname]).read_text(encoding="utf-8")
    source[0] = re.sub(r"\]\((?:\.\./)+notebooks/", "](/", source[0])  # to the copy
    if docname == "index":
        for caption, pages in CONTENTS.items():
            lines = ["", "", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"]
            source[0] += "\n".join(lines)


def escape_stars(app, ctx, lines):
    """Escapes asterisks of help texts, which are plain; `**` is markup of sphinx-click."""
    lines[:] = [re.sub(r"(?<![*])[*](?![*])", r"\\*", line) for line in lines]


def prepare_docstring(app, what, name, thing, options, lines):
    """Adapts docstrings before napoleon parses them.

    Under "Returns:" the text before a colon is not a type, because types are in the signature; and
    an indented block is shown verbatim.
    """
    adapted: list[str] = []
    section = before = ""
    for line in lines:
        is_indented = line.startswith("    ")
        if line and not is_indented:
            section = line if re.fullmatch(r"[A-Z][a-z]+:", line) else ""
        if is_indented and section == "Returns:" and before == section:
            adapted[-1] = f":returns: {line.strip()}"
        else:
            if is_indented and not section and not before:
                adapted += ["::", ""]
            adapted.append(line)
        before = line if line or section else ""
    lines[:] = adapted


def setup(app):
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=100)
    for part in ("description", "options", "arguments"):
        app.connect(f"sphinx-click-process-{part}", escape_stars)
