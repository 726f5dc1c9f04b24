"""How this package is installed, and the command that adds one of its extras."""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

DISTRIBUTION = "unetkit"


def install_command(extra: str) -> str:
    """The pip command that adds an extra, from where the package was installed.

    pip records the folder, wheel or repository that it installed from; from an index, the name is
    enough. A folder or wheel that no longer exists, and a package that is used without being
    installed, have the clone that it runs from or else the address of the repository.

    >>> install_command("train").startswith('pip install ')
    True
    """
    return f"pip install {_target(f'[{extra}]')}"


def _target(extras: str) -> str:
    """What pip is to install, in quotes, after -e where the clone was installed so.

    Source: PEP 610, recorded direct URLs.
    """
    record: dict[str, Any] = {"url": ""}
    try:
        recorded = distribution(DISTRIBUTION).read_text("direct_url.json")
        record = json.loads(recorded) if recorded else record
        url = str(record["url"])
    except PackageNotFoundError:
        return _fallback(extras)
    except (ValueError, KeyError, TypeError):
        url = ""
    if not url:
        return f'"{DISTRIBUTION}{extras}"'
    if url.startswith("file:"):
        path = url2pathname(urlparse(url).path)
        if not Path(path).exists():
            return _fallback(extras)
        editable = "-e " if record.get("dir_info", {}).get("editable") else ""
        return f'{editable}"{path}{extras}"'
    return f'"{DISTRIBUTION}{extras} @ {_address(url, record)}"'


def _address(url: str, record: dict[str, Any]) -> str:
    """A recorded URL as pip takes it: with its program, revision and folder."""
    vcs = record.get("vcs_info", {})
    if "vcs" in vcs:
        url = f"{vcs['vcs']}+{url}"
    if "requested_revision" in vcs:
        url += f"@{vcs['requested_revision']}"
    if "subdirectory" in record:
        url += f"#subdirectory={record['subdirectory']}"
    return url


def _fallback(extras: str) -> str:
    """The clone that this file is in, or else the repository that the package names."""
    clone = Path(__file__).parents[3]
    if (clone / "pyproject.toml").is_file() and (clone / "src" / DISTRIBUTION).is_dir():
        return f'-e "{clone}{extras}"'
    try:
        addresses = distribution(DISTRIBUTION).metadata.get_all("Project-URL") or []
    except PackageNotFoundError:
        addresses = []
    for entry in addresses:
        label, _, address = entry.partition(", ")
        if label == "Repository":
            return f'"{DISTRIBUTION}{extras} @ git+{address}"'
    return f'"{DISTRIBUTION}{extras}"'
