"""Tiles on disk: complete, of one run, in any order."""

import json

import numpy as np
import pytest

from unetkit.errors import DataError, OutputExistsError
from unetkit.models.geometry import unet_geometry
from unetkit.prediction import tile_store
from unetkit.prediction.tile_store import PLAN_FORMAT, PLAN_NAME, open_store
from unetkit.prediction.tiling import cut

GEOMETRY = unet_geometry(1, "same")  # tiles of 32 step by 16
TILING = cut((64, 50), GEOMETRY, (32, 32))
OF = {"image": "a.tif", "model": "abc"}


def begin(folder, tiling=TILING, channels=2, dtype="float32", of=OF, most=10**9, **options):
    return open_store(folder, tiling, channels, dtype, of, most, **options)


@pytest.fixture
def store(tmp_path):
    return begin(tmp_path / "tiles")


def answers(tiling, channels=2):
    """An image of distinct values, and the weighted part of it that each tile keeps."""
    size = (*tiling.size, channels)
    whole = np.arange(np.prod(size), dtype=np.float32).reshape(size)
    parts = []
    for number in range(len(tiling)):
        weights = tiling.weights(number)
        part = whole[tiling.kept(number)]
        parts.append(part if weights is None else part * weights)
    return whole, parts


def fill(store):
    whole, parts = answers(store.tiling)
    for number, part in enumerate(parts):
        store.write(number, part)
    return whole


class TestTiles:
    def test_any_window_is_read_back(self, store):
        whole = fill(store)
        assert store.finished() == set(range(len(TILING)))
        rng = np.random.default_rng(0)
        for _ in range(50):
            top, left = rng.integers(0, (64, 50))
            bottom, right = rng.integers((top + 1, left + 1), (65, 51))
            part = store.read(slice(top, bottom), slice(left, right))
            assert np.array_equal(part, whole[top:bottom, left:right])

    def test_blended_tiles_are_summed(self, tmp_path):
        tiling = cut((64, 50), GEOMETRY, (32, 32), margin=4)
        store = begin(tmp_path / "tiles", tiling)
        whole = fill(store)
        np.testing.assert_allclose(store.read(slice(0, 64), slice(0, 50)), whole, rtol=1e-5)

    def test_a_missing_tile_is_reported_by_name(self, store):
        fill(store)
        (store.folder / "0000002.npy").unlink()
        with pytest.raises(DataError, match=r"0000002\.npy is missing or damaged .*same command"):
            store.read(slice(0, 64), slice(0, 50))

    def test_a_tile_that_was_cut_short_is_not_finished(self, store):
        fill(store)
        path = store.folder / "0000001.npy"
        path.write_bytes(path.read_bytes()[:-1])
        assert store.finished() == set(range(len(TILING))) - {1}

    def test_a_full_disk_leaves_the_finished_tiles(self, store, monkeypatch):
        _, parts = answers(TILING)
        store.write(0, parts[0])

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(tile_store, "write_array_header_1_0", full)
        with pytest.raises(OSError, match="No space left") as caught:
            store.write(1, parts[1])
        assert caught.value.filename.endswith("0000001.npy")
        assert store.finished() == {0}
        assert not list(store.folder.glob(".part-*"))


class TestContinuing:
    def test_existing_tiles_are_finished(self, store):
        _, parts = answers(TILING)
        store.write(3, parts[3])
        again = begin(store.folder)
        assert again.finished() == {3}

    def test_the_tiling_of_the_first_run_is_kept(self, store):
        other = cut((64, 50), GEOMETRY, (64, 50))
        again = begin(store.folder, other)
        assert again.tiling == TILING

    def test_tiles_too_large_for_the_memory_limit_are_refused(self, store):
        small = cut((64, 50), GEOMETRY, (20, 20))
        with pytest.raises(OutputExistsError, match=r"tiles holds tiles of 32x28, .*--memory"):
            begin(store.folder, small, most=400)
        assert begin(store.folder, small, most=1024).tiling == TILING

    @pytest.mark.parametrize("left", [[], ["0000001.npy"], [".part-12plan.json", ".part-1.npy"]])
    def test_leftovers_without_a_plan_are_removed(self, left, store):
        (store.folder / PLAN_NAME).unlink()
        for name in left:
            (store.folder / name).write_bytes(b"left")
        assert begin(store.folder).finished() == set()

    def test_removing_leaves_nothing(self, store):
        fill(store)
        store.remove()
        assert not store.folder.exists()

    def test_incomplete_files_are_removed(self, store):
        (store.folder / ".part-1234abcd0000001.npy").write_bytes(b"half")
        begin(store.folder)
        assert sorted(path.name for path in store.folder.iterdir()) == [PLAN_NAME]

    @pytest.mark.parametrize(
        ("other", "named"),
        [({"model": "def"}, "model"), ({"image": "b.tif"}, "image"), ({"more": 1}, "more")],
    )
    def test_another_run_s_tiles_are_refused(self, store, other, named):
        with pytest.raises(
            OutputExistsError, match=rf"tiles holds tiles of another run \({named} differ\)"
        ):
            begin(store.folder, of={**OF, **other})

    def test_tiles_of_another_run_are_removed_with_overwrite(self, store):
        fill(store)
        again = begin(store.folder, channels=1, dtype="uint8", overwrite=True)
        assert again.finished() == set()

    @pytest.mark.parametrize(
        "change",
        [
            {"format": PLAN_FORMAT + 1},
            {"format": None},
            {"belongs_to": []},
            {"rows": []},
            {"rows": [{"start": 0, "size": 32, "kept": [0, 24]}]},
            {"columns": [{"start": 0, "size": 64, "kept": [0, 50]}, "x"]},
            {"columns": [{"start": 0, "size": 50, "kept": [0, 10**30]}]},
        ],
    )
    def test_a_plan_of_another_version_or_a_damaged_one_is_refused(self, store, change):
        plan = store.folder / PLAN_NAME
        plan.write_text(json.dumps({**json.loads(plan.read_text()), **change}))
        with pytest.raises(OutputExistsError, match=r"plan\.json .*accepted .*remove the folder"):
            begin(store.folder)

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"3"])
    def test_a_file_that_is_not_a_plan_is_refused(self, store, content):
        (store.folder / PLAN_NAME).write_bytes(content)
        with pytest.raises(
            OutputExistsError, match=r"plan\.json cannot be used .*; remove the folder"
        ):
            begin(store.folder)

    def test_another_folder_is_not_touched(self, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(OutputExistsError, match=rf"exists and holds no {PLAN_NAME}"):
            begin(tmp_path, overwrite=True)
        assert (tmp_path / "mine.txt").read_text() == "mine"
