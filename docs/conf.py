"""How these pages become a static site: sphinx-build -W -b html docs site.

The site asks nothing of other hosts, so that it works from a folder without a network: no fonts,
no scripts, no formulas drawn by a script.
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

# Pages are Markdown; a heading is a link's target by its words, as on GitHub.
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # the notebook is run when it is written, and by its own test
nb_ipywidgets_js = {}  # they would come from another host

# Docstrings: one backquote is code; types stand in the signature.
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

# Sphinx takes pages from this folder alone, so it gets a copy of the notebook, which git ignores.
shutil.copyfile(NOTEBOOK, HERE / NOTEBOOK.name)


def escape_stars(app, ctx, lines):
    """Help is plain text, where a star is a star; sphinx-click's own marks are doubled."""
    lines[:] = [re.sub(r"(?<![*])[*](?![*])", r"\\*", line) for line in lines]


def prepare_docstring(app, what, name, thing, options, lines):
    """What the house's docstrings mean and napoleon does not: before it reads them.

    Under "Returns:" a colon parts no type from a text, since types stand in the signature; and an
    indented block is shown as it stands.
    """
    found: list[str] = []
    section = before = ""
    for line in lines:
        is_indented = line.startswith("    ")
        if line and not is_indented:
            section = line if re.fullmatch(r"[A-Z][a-z]+:", line) else ""
        if is_indented and section == "Returns:" and before == section:
            found[-1] = f":returns: {line.strip()}"
        else:
            if is_indented and not section and not before:
                found += ["::", ""]
            found.append(line)
        before = line if line or section else ""
    lines[:] = found


def setup(app):
    app.connect("autodoc-process-docstring", prepare_docstring, priority=100)
    for part in ("description", "options", "arguments"):
        app.connect(f"sphinx-click-process-{part}", escape_stars)
