"""Which images of a watched folder are yielded, and when."""

import os
from contextlib import suppress

import pytest
from PIL import Image

from unetkit.cli.watched_folder import watch
from unetkit.errors import DataNotFoundError


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


def test_an_existing_image_is_yielded_once(tmp_path):
    for name in ("b.png", "a.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert names(tmp_path, nothing, nothing, nothing) == ["a.jpg", "b.png"]


def test_a_growing_file_is_yielded_when_it_is_complete(tmp_path):
    path = tmp_path / "a.png"
    seen = []

    def grow(size):
        return lambda: path.write_bytes(b"x" * size)

    steps = [grow(1), grow(2), grow(3), lambda: seen.append("still"), nothing]
    assert names(tmp_path, *steps) == ["a.png"]
    assert seen == ["still"]


def test_a_changed_image_is_yielded_again(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"first")

    def change():
        path.write_bytes(b"second, and longer")

    assert names(tmp_path, nothing, change, nothing, nothing) == ["a.png", "a.png"]


def test_other_hidden_and_empty_files_are_ignored(tmp_path):
    for name, content in (("a.txt", b"text"), (".part.png", b"half"), ("b.png", b"")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "c.png").mkdir()
    assert names(tmp_path, nothing, nothing) == []


def test_a_removed_file_is_no_error(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"whole")
    assert names(tmp_path, lambda: os.remove(path), nothing) == []


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(DataNotFoundError, match=r"gone cannot be watched \(No such file"):
        next(watch(tmp_path / "gone"))
