"""How this package is installed, and the command that adds one of its extras."""

import json
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import urlparse
from urllib.request import url2pathname

DISTRIBUTION = "unetkit"


def install_command(extra: str) -> str:
    """The pip command that adds an extra, from where the package was installed.

    pip records the folder, wheel or repository that it installed from; from an index, the name is
    enough.

    >>> install_command("train").startswith('pip install "')
    True
    """
    return f'pip install "{_source().format(f"[{extra}]")}"'


def _source() -> str:
    """What pip installed, with {} in the place of an extra.

    Source: PEP 610, recorded direct URLs.
    """
    plain = DISTRIBUTION + "{}"
    try:
        recorded = distribution(DISTRIBUTION).read_text("direct_url.json")
        url = json.loads(recorded)["url"] if recorded else ""
    except (PackageNotFoundError, ValueError, KeyError, TypeError):
        return plain
    if not url:
        return plain
    if url.startswith("file:"):
        return url2pathname(urlparse(url).path).replace("{", "{{").replace("}", "}}") + "{}"
    kind = json.loads(recorded or "{}").get("vcs_info", {}).get("vcs", "")
    prefix = f"{kind}+" if kind else ""
    return f"{DISTRIBUTION}{{}} @ {prefix}{url}".replace("{{}}", "{}")
