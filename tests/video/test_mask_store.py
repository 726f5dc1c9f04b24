"""Masks of frames that outlive an interruption."""

import json

import numpy as np
import pytest
from PIL import Image

from unetkit.data.classes import TRIMAP_CLASSES
from unetkit.errors import DataError, OutputExistsError
from unetkit.video.mask_store import is_mask_folder, open_mask_store

LABELS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
VIDEO = {"video": "a.mp4", "model": "abc"}


def open_here(folder, *, has_palette=False, overwrite=False, **belongs_to):
    whole = {**VIDEO, **belongs_to}
    return open_mask_store(folder / "s", TRIMAP_CLASSES, {"m": 1}, has_palette, whole, overwrite)


@pytest.mark.parametrize("has_palette", [False, True])
def test_masks_are_read_as_they_were_written(tmp_path, has_palette):
    store = open_here(tmp_path, has_palette=has_palette)
    assert store.numbers() == set()
    store.write(3, LABELS)
    assert np.array_equal(store.read(3), LABELS)
    assert store.numbers() == {3}
    with Image.open(store.frames / "0000003.png") as image:
        assert image.mode == ("P" if has_palette else "L")
        assert json.loads(image.text["unetkit"]) == {"m": 1}


def test_the_same_run_goes_on(tmp_path):
    store = open_here(tmp_path)
    store.write(0, LABELS)
    (store.finished / "a_overlay.mp4").touch()
    (store.frames / ".part-1234.png").touch()  # of a killed process
    again = open_here(tmp_path)
    assert [path.name for path in again.frames.iterdir()] == ["0000000.png"]
    assert np.array_equal(again.read(0), LABELS)
    assert list(again.finished.iterdir()) == []


def test_another_run_is_refused_or_replaces(tmp_path):
    open_here(tmp_path).write(0, LABELS)
    with pytest.raises(OutputExistsError, match=r"s holds masks of another run \(model differ\)"):
        open_here(tmp_path, model="other")
    assert open_here(tmp_path).numbers() == {0}
    assert open_here(tmp_path, model="other", overwrite=True).numbers() == set()


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").touch()
    with pytest.raises(OutputExistsError, match=r"s exists and holds no plan\.json"):
        open_here(tmp_path, overwrite=True)
    assert (tmp_path / "s" / "mine.txt").exists()


def test_a_damaged_plan_is_named(tmp_path):
    open_here(tmp_path)
    (tmp_path / "s" / "plan.json").write_text("{")
    with pytest.raises(OutputExistsError, match=r"plan\.json cannot be used"):
        open_here(tmp_path)


def test_a_damaged_mask_counts_as_none(tmp_path):
    store = open_here(tmp_path)
    store.write(0, LABELS)
    content = (store.frames / "0000000.png").read_bytes()
    (store.frames / "0000000.png").write_bytes(content[:60])
    assert store.numbers() == set()
    with pytest.raises(DataError, match=r"0000000\.png is missing or damaged"):
        store.read(0)
    with pytest.raises(DataError, match=r"0000001\.png is missing or damaged"):
        store.read(1)
    with pytest.raises(DataError, match=r"0000000\.png is missing or damaged"):
        store.export(0, tmp_path, np.arange(256, dtype=np.uint8)[:, None])


def test_masks_are_exported_in_other_values(tmp_path):
    store = open_here(tmp_path)
    store.write(5, LABELS)
    store.export(5, tmp_path, np.arange(256, dtype=np.uint16)[:, None] * 300)
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "0000005.png")), LABELS.astype(int) * 300
    )


def test_only_a_folder_of_masks_is_one(tmp_path):
    (tmp_path / "0000000.png").touch()
    assert is_mask_folder(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert not is_mask_folder(tmp_path)


def test_nothing_is_left_when_it_is_removed(tmp_path):
    store = open_here(tmp_path)
    store.write(0, LABELS)
    store.remove()
    assert list(tmp_path.iterdir()) == []
