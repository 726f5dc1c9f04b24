"""The command that adds an extra names what the package was installed from."""

import json
from importlib.metadata import PackageNotFoundError

import pytest

from unetkit._shared import installation
from unetkit._shared.installation import install_command


class Recorded:
    def __init__(self, text):
        self.text = text

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.text


@pytest.mark.parametrize(
    ("recorded", "command"),
    [
        (None, 'pip install "unetkit[train]"'),  # from an index
        ("no JSON", 'pip install "unetkit[train]"'),
        ("{}", 'pip install "unetkit[train]"'),
        ({"url": "file:///home/me/unetkit"}, 'pip install "/home/me/unetkit[train]"'),
        ({"url": "file:///a%20b/%7Bc%7D"}, 'pip install "/a b/{c}[train]"'),
        (
            {"url": "file:///tmp/unetkit-1.0-py3-none-any.whl"},
            'pip install "/tmp/unetkit-1.0-py3-none-any.whl[train]"',
        ),
        (
            {"url": "https://host/unetkit.git", "vcs_info": {"vcs": "git"}},
            'pip install "unetkit[train] @ git+https://host/unetkit.git"',
        ),
        (
            {"url": "https://host/unetkit.zip"},
            'pip install "unetkit[train] @ https://host/unetkit.zip"',
        ),
    ],
)
def test_the_command_names_the_source(monkeypatch, recorded, command):
    text = json.dumps(recorded) if isinstance(recorded, dict) else recorded
    monkeypatch.setattr(installation, "distribution", lambda name: Recorded(text))
    assert install_command("train") == command


def test_a_package_that_is_not_installed_has_its_name(monkeypatch):
    def distribution(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(installation, "distribution", distribution)
    assert install_command("zarr") == 'pip install "unetkit[zarr]"'
