"""The command that adds an extra names what the package was installed from."""

import json
from importlib.metadata import PackageNotFoundError

import pytest

from unetkit._shared import installation
from unetkit._shared.installation import install_command


class Recorded:
    """An installed distribution, as importlib.metadata describes it."""

    def __init__(self, record, addresses=()):
        self.text = json.dumps(record) if isinstance(record, dict) else record
        self.addresses = list(addresses)

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.text

    @property
    def metadata(self):
        return self

    def get_all(self, name):
        assert name == "Project-URL"
        return self.addresses


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Sets what is recorded; the package itself lies in no clone."""

    def record(*args):
        monkeypatch.setattr(installation, "distribution", lambda name: Recorded(*args))

    monkeypatch.setattr(installation, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    return record


@pytest.mark.parametrize("record", [None, "no JSON", "{}", "[]"])
def test_from_an_index_the_name_is_enough(installed, record):
    installed(record)
    assert install_command("train") == 'pip install "unetkit[train]"'


@pytest.mark.parametrize("name", ["unetkit", "a b", "{c}", "unetkit-1.0-py3-none-any.whl"])
def test_a_folder_or_wheel_is_named(installed, tmp_path, name):
    path = tmp_path / name
    path.mkdir()
    installed({"url": path.as_uri(), "dir_info": {}})
    assert install_command("train") == f'pip install "{path}[train]"'


def test_a_clone_that_can_be_edited_stays_so(installed, tmp_path):
    installed({"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    assert install_command("train") == f'pip install -e "{tmp_path}[train]"'


@pytest.mark.parametrize(
    ("record", "target"),
    [
        ({"vcs_info": {"vcs": "git"}}, "git+https://host/unetkit"),
        (
            {"vcs_info": {"vcs": "git", "requested_revision": "v1"}, "subdirectory": "a"},
            "git+https://host/unetkit@v1#subdirectory=a",
        ),
        ({"archive_info": {}}, "https://host/unetkit"),
    ],
)
def test_a_repository_or_archive_is_named(installed, record, target):
    installed({"url": "https://host/unetkit"} | record)
    assert install_command("train") == f'pip install "unetkit[train] @ {target}"'


def test_in_place_of_a_wheel_that_is_gone_stands_the_repository(installed, tmp_path):
    record = {"url": (tmp_path / "gone.whl").as_uri()}
    installed(record, ["Issues, https://host/issues", "Repository, https://host/unetkit"])
    assert install_command("zarr") == 'pip install "unetkit[zarr] @ git+https://host/unetkit"'
    installed(record)
    assert install_command("zarr") == 'pip install "unetkit[zarr]"'


class TestNotInstalled:
    @pytest.fixture(autouse=True)
    def _not_installed(self, monkeypatch):
        def distribution(name):
            raise PackageNotFoundError(name)

        monkeypatch.setattr(installation, "distribution", distribution)

    def test_the_clone_that_it_runs_from_is_named(self, monkeypatch, tmp_path):
        clone = tmp_path / "clone"
        module = clone / "src" / "unetkit" / "_shared" / "installation.py"
        module.parent.mkdir(parents=True)
        (clone / "pyproject.toml").touch()
        monkeypatch.setattr(installation, "__file__", str(module))
        assert install_command("zarr") == f'pip install -e "{clone}[zarr]"'

    def test_without_a_clone_it_has_its_name(self, monkeypatch, tmp_path):
        monkeypatch.setattr(installation, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
        assert install_command("zarr") == 'pip install "unetkit[zarr]"'
