"""The page on which masks are drawn: one file, made of the sources in the folder `web`."""

from importlib import resources

from unetkit.exports.web_page import read_source
from unetkit.serve.page import Page, assemble_page

SCRIPTS = (
    "connection",
    "shapes",
    "mask",
    "view",
    "objects",
    "tools",
    "learning",
    "page",
)  # in this order


def labelling_page() -> Page:
    """Returns the page; it asks the server for everything about images and masks."""
    folder = resources.files(__package__) / "web"

    names = ("page.html", "page.css", *(f"{name}.js" for name in SCRIPTS))
    page, style, *scripts = ((folder / name).read_text(encoding="utf-8") for name in names)
    parts = {
        "style": read_source("page.css") + style,
        "script": '"use strict";\n' + "".join(scripts),
    }
    return assemble_page(page, parts)
