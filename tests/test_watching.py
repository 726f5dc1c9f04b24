"""A folder that images come into, looked at step by step."""

import os
from contextlib import suppress

import pytest
from PIL import Image

from unetkit.errors import DataNotFoundError
from unetkit.watching import watch


class Looks:
    """Runs one step before each look, and ends when there are no more."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def __call__(self):
        if not self.steps:
            raise KeyboardInterrupt
        self.steps.pop(0)()


def names(folder, *steps):
    found = []
    with suppress(KeyboardInterrupt):
        found.extend(path.name for path in watch(folder, Looks(*steps)))
    return found


def nothing():
    pass


def put(path, content=b"whole"):
    return lambda: path.write_bytes(content)


def test_what_is_there_comes_once(tmp_path):
    for name in ("b.png", "a.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert names(tmp_path, nothing, nothing, nothing) == ["a.jpg", "b.png"]


def test_what_grows_waits_until_it_stands_still(tmp_path):
    path = tmp_path / "a.png"
    seen = []

    def grow(size):
        return lambda: path.write_bytes(b"x" * size)

    steps = [grow(1), grow(2), grow(3), lambda: seen.append("still"), nothing]
    assert names(tmp_path, *steps) == ["a.png"]
    assert seen == ["still"]


def test_what_changes_comes_again(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"first")

    def change():
        path.write_bytes(b"second, and longer")

    assert names(tmp_path, nothing, change, nothing, nothing) == ["a.png", "a.png"]


def test_other_files_hidden_ones_and_empty_ones_do_not_come(tmp_path):
    for name, content in (("a.txt", b"text"), (".part.png", b"half"), ("b.png", b"")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "c.png").mkdir()
    assert names(tmp_path, nothing, nothing) == []


def test_what_goes_away_is_no_error(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"whole")
    assert names(tmp_path, lambda: os.remove(path), nothing) == []


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"gone cannot be watched \(No such file"):
        next(watch(tmp_path / "gone"))
