"""The page of a service: one file, made of the sources in the folder `web` and what pages share.

Only its own style and script may run in it, by their SHA-256, and it may reach only its server.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from unetkit._version import __version__
from unetkit.exports.web_page import fill_page, read_source
from unetkit.serve.limits import ACCEPTED_FORMATS


@dataclass(frozen=True)
class Page:
    """A page and the policy under which a browser shows it.

    Args:
        content: HTML.
        policy: Value of the header Content-Security-Policy.
    """

    content: str
    policy: str


def make_page() -> Page:
    """Returns the page; it asks the server for everything about the model."""
    folder = resources.files(__package__) / "web"
    page, style, zipping, script = (
        (folder / name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "zip.js", "page.js")
    )
    parts = {
        "version": __version__,
        "types": ",".join(f"image/{format.lower()}" for format in ACCEPTED_FORMATS),
        "style": read_source("page.css") + style,
        "script": read_source("entry.js") + zipping + script,
    }
    return assemble_page(page, parts)


def assemble_page(page: str, parts: Mapping[str, str]) -> Page:
    """Returns a page with its parts in their places, and the policy that allows these alone.

    Args:
        page: HTML that names its parts, as in [[ style ]].
        parts: Text of each part by its name; "style" and "script" are the only ones of their kind.
    """
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"connect-src 'self'; img-src data: blob:; style-src {_source_of(parts['style'])}; "
        f"script-src {_source_of(parts['script'])}"
    )
    return Page(fill_page(page, parts), policy)


def _source_of(text: str) -> str:
    """An inline style or script in a policy.

    Source: Content Security Policy Level 3, section 2.3.1.
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
