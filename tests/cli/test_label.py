"""`unetkit label` as a user runs it: what it says, writes and refuses."""

import json
import os
import re
import signal
import stat
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.commands import Process, python
from unetkit._shared.installation import install_command
from unetkit.cli.main import main

KEY = "ab" * 16


def run(*arguments):
    return CliRunner().invoke(main, ["label", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.new("RGB", (30, 20)).save(tmp_path / "images" / f"{number}.png")
    return tmp_path / "images"


class Started:
    """The command in a process of its own, and requests to the address that it printed."""

    def __init__(self, *arguments):
        self.process = Process(["-m", "unetkit", "label", *map(str, arguments), "--port", "0"])
        self.out = Path(self.process._files[0])
        ends = time.monotonic() + 60
        while "http://" not in self.said() and time.monotonic() < ends:
            time.sleep(0.05)
        self.address, self.token = re.search(r"(http://\S+/)#(\S+)", self.said()).groups()

    def said(self):
        return self.out.read_text() if self.out.exists() else ""

    def ask(self, method, path, **options):
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=self.address, timeout=20, trust_env=False) as client:
            return client.request(method, path, headers=headers, **options).json()

    def end(self, by):
        os.kill(self.process.pid, by)
        return self.process.communicate()

    def draw(self, value):
        """Gives all pixels of the first image a value."""
        id = self.ask("GET", "/v1/project")["entries"][0]["id"]
        runs = np.array([[0, 600, value]], "<u4").tobytes()
        return self.ask("POST", f"/v1/images/{id}/changes?base=0&key={KEY}", content=runs)


@pytest.mark.skipif(os.name == "nt", reason="has no such signals")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_masks_are_and_its_end_writes_them(folder, end):
    started = Started(folder, "--classes", "background,leaf")
    words = " ".join(started.said().split())
    assert f"{folder}: 3 images, 0 with a mask" in words
    assert f"{folder.parent / 'masks'}: 0 background, 1 leaf; 255 ignored" in words
    assert started.draw(1)["revision"] == 1
    started.end(end)
    assert (np.asarray(Image.open(folder.parent / "masks" / "0.png")) == 1).all()
    assert "leaf = 1" in (folder.parent / "masks" / "classes.toml").read_text()
    done = CliRunner().invoke(main, ["check", str(folder.parent), "--json"])
    names = [found["name"] for found in json.loads(done.output)["classes"]]
    assert names == ["background", "leaf", "(ignored)"]


@pytest.mark.skipif(os.name == "nt", reason="has no such signals")
def test_a_killed_process_is_followed_by_one_that_says_what_it_recovered(folder):
    started = Started(folder, "--classes", "background,leaf")
    started.draw(1)
    started.end(signal.SIGKILL)
    again = Started(folder)
    assert "0.png: 1 change recovered from the journal" in again.said()
    assert again.token == started.token  # a page that is open goes on
    again.end(signal.SIGINT)
    assert (np.asarray(Image.open(folder.parent / "masks" / "0.png")) == 1).all()


@pytest.mark.skipif(os.name == "nt", reason="permissions of another kind")
def test_the_token_is_for_its_user_alone(folder):
    started = Started(folder)
    file = folder.parent / "masks" / ".label" / "token"
    assert file.read_text() == started.token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    second = run(folder, "--port", "0")
    assert second.exit_code == 1
    assert "another process writes into" in second.output
    started.end(signal.SIGINT)


def test_what_cannot_be_labelled_is_said_and_nothing_is_left(folder, tmp_path):
    done = run(tmp_path / "absent", "--port", "0")
    assert done.exit_code == 1
    assert "absent is no folder; accepted is a folder of images" in done.output
    done = run(folder, "--classes", "a,a", "--port", "0")
    assert done.exit_code == 2
    assert "repeat" in done.output
    assert not (tmp_path / "masks").exists()


def test_without_the_extra_it_is_named(tmp_path, folder):
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('no fastapi', name='fastapi')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
sys.modules.pop("fastapi", None)
from unetkit.cli.main import main
main(["label", {str(folder)!r}])
"""
    done = python(code)
    assert done.returncode == 1
    assert "unetkit label needs fastapi, which is not installed; it is part of the extra" in (
        done.stderr
    )
    assert install_command("label") in done.stderr
