"""Checkpoint files: undamaged or refused, and never more than two."""

import io
import json
import zipfile

import numpy as np
import pytest

from unetkit.errors import ModelFileError
from unetkit.training.checkpoints import (
    Best,
    Progress,
    checkpoint_files,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)

ARRAYS = {
    "model/0": np.random.default_rng(0).normal(size=(3, 3, 4, 8)).astype(np.float32),
    "model/1": np.array([7, 9], np.uint32),
    "optimizer/iteration": np.array(12, np.int64),
    "best/0": np.zeros(0, np.float32),
}
STATE = {"progress": {"step": 12, "losses": [0.1, 1 / 3, float("nan")]}, "accumulation": 1}


def test_it_gives_back_every_bit(tmp_path):
    found = read_checkpoint(write_checkpoint(tmp_path / "c", 12, ARRAYS, STATE))
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
    assert found.state["progress"]["losses"][:2] == [0.1, 1 / 3]
    assert np.isnan(found.state["progress"]["losses"][2])


def test_the_last_two_are_kept_in_the_order_of_steps(tmp_path):
    for step in (9, 10, 99, 1_000_000):
        write_checkpoint(tmp_path, step, ARRAYS, STATE)
    names = [path.name for path in checkpoint_files(tmp_path)]
    assert names == ["step-01000000.npz", "step-00000099.npz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_disk_that_is_full_leaves_the_ones_before(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, 1, ARRAYS, STATE)
    write_checkpoint(tmp_path, 2, ARRAYS, STATE)

    def full(file, **arrays):
        file.write(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path, 3, ARRAYS, STATE)
    assert [path.name for path in checkpoint_files(tmp_path)] == [
        "step-00000002.npz",
        "step-00000001.npz",
    ]
    assert len(list(tmp_path.iterdir())) == 2


def test_no_folder_is_no_checkpoint(tmp_path):
    assert newest_checkpoint(tmp_path / "none") == (None, [])


class TestDamage:
    """Whatever is changed in a file, it is refused or read as before."""

    @pytest.fixture
    def whole(self, tmp_path):
        return write_checkpoint(tmp_path / "c", 12, ARRAYS, STATE).read_bytes()

    def read(self, tmp_path, content):
        path = tmp_path / "damaged.npz"
        path.write_bytes(content)
        return read_checkpoint(path)

    @pytest.mark.parametrize("length", [0, 1, 100, 0.3, 0.9, -1])
    def test_cut_off(self, tmp_path, whole, length):
        size = int(length * len(whole)) if isinstance(length, float) else length
        with pytest.raises(
            ModelFileError, match=r"damaged\.npz is damaged .*accepted is a file as"
        ):
            self.read(tmp_path, whole[:size])

    def test_a_bit_flipped_anywhere(self, tmp_path, whole):
        rng = np.random.default_rng(1)
        refused = 0
        for place in rng.choice(len(whole), 400, replace=False):
            content = bytearray(whole)
            content[place] ^= 1 << int(rng.integers(8))
            try:
                found = self.read(tmp_path, bytes(content))
            except ModelFileError:
                refused += 1
                continue
            for name, array in ARRAYS.items():
                if name in found.arrays:  # a changed name is missed by whoever asks for it
                    assert found.arrays[name].tobytes() == array.tobytes()
            assert found.state["progress"]["step"] == 12
        assert refused > 300

    def test_arrays_that_differ_from_their_digest(self, tmp_path):
        """Though every checksum of the archive is right."""
        path = write_checkpoint(tmp_path, 12, ARRAYS, STATE)
        assert read_checkpoint(path).has_digest
        with np.load(path) as archive:
            members = {name: archive[name] for name in archive.files}
        members["model/1"] = members["model/1"] + np.uint32(1)
        np.savez(path, **members)
        with pytest.raises(ModelFileError, match="its arrays differ from the SHA-256 in it"):
            read_checkpoint(path)
        del members["sha256"]  # as earlier versions wrote it
        np.savez(path, **members)
        assert not read_checkpoint(path).has_digest

    @pytest.mark.parametrize(
        "state", [b"[1]", b"3", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000, b""]
    )
    def test_a_state_that_is_none(self, state, tmp_path):
        np.savez(tmp_path / "damaged.npz", state=np.frombuffer(state, np.uint8))
        with pytest.raises(ModelFileError, match=r"damaged\.npz is damaged \("):
            read_checkpoint(tmp_path / "damaged.npz")

    def test_an_array_in_place_of_an_archive(self, tmp_path):
        with open(tmp_path / "damaged.npz", "wb") as file:
            np.save(file, np.zeros(3))
        with pytest.raises(ModelFileError, match=r"damaged\.npz is damaged \("):
            read_checkpoint(tmp_path / "damaged.npz")

    def test_compressed_arrays_are_refused_before_they_are_unpacked(self, tmp_path):
        path = tmp_path / "damaged.npz"
        np.savez_compressed(path, numbers=np.zeros(1 << 20))
        with pytest.raises(ModelFileError, match=r"numbers\.npy is compressed\); accepted"):
            read_checkpoint(path)

    @pytest.mark.parametrize("size", [3, 1 << 60])
    def test_an_array_of_another_size_than_its_header_says(self, size, tmp_path):
        path, content = tmp_path / "damaged.npz", io.BytesIO()
        np.lib.format.write_array_header_1_0(
            content, {"descr": "<f4", "fortran_order": False, "shape": (size,)}
        )
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("numbers.npy", content.getvalue() + bytes(8))
        with pytest.raises(ModelFileError, match=r"an array of .* has 136 bytes of "):
            read_checkpoint(path)

    def test_only_older_ones_are_read(self, tmp_path):
        old = write_checkpoint(tmp_path, 1, ARRAYS, {"step": 1})
        new = write_checkpoint(tmp_path, 2, ARRAYS, {"step": 2})
        assert newest_checkpoint(tmp_path, before=new)[0].path == old
        assert newest_checkpoint(tmp_path, before=old) == (None, [])

    def test_no_object_is_ever_unpickled(self, tmp_path):
        path = tmp_path / "hostile.npz"
        np.savez(path, state=np.array([{"a": 1}], object))
        with pytest.raises(ModelFileError, match="is damaged"):
            read_checkpoint(path)

    def test_the_one_before_is_used(self, tmp_path):
        write_checkpoint(tmp_path, 1, ARRAYS, {"step": 1})
        newer = write_checkpoint(tmp_path, 2, ARRAYS, {"step": 2})
        newer.write_bytes(newer.read_bytes()[:500])
        found, damaged = newest_checkpoint(tmp_path)
        assert found.state == {"step": 1}
        assert damaged == [newer]

    def test_none_is_left(self, tmp_path):
        for step in (1, 2):
            write_checkpoint(tmp_path, step, ARRAYS, {}).write_bytes(b"")
        with pytest.raises(ModelFileError, match=r"every checkpoint in .* is damaged \(step-0"):
            newest_checkpoint(tmp_path)


def test_it_survives_json_to_the_last_bit():
    progress = Progress(
        step=7,
        losses=[0.1, 1 / 3],
        first_loss=2 / 3,
        rows=[{"step": 4, "loss": 0.1 + 0.2}],
        best=Best(4, 1 / 7, averaged=True),
        looks_without_gain=2,
        seconds=1.5,
        waited_seconds=0.25,
        warnings={"constant": "text"},
        is_over=True,
    )
    assert Progress.from_json(json.loads(json.dumps(progress.to_json()))) == progress


def test_a_run_begins_with_nothing():
    assert Progress().step == 0
    assert Progress().best.mean_iou < 0  # any score is better
    assert Progress().rows is not Progress().rows
