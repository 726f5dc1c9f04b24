"""A run held against data, environment and files of now: what differs, and what that means."""

import hashlib
import json
import shutil

import pytest
from click.testing import CliRunner

from tests._shared.test_manifest import VALUES, write_split
from tests.conftest import write_pair
from tests.runs.conftest import make_run, shown
from unetkit import verify
from unetkit._shared.display import Display
from unetkit._shared.manifest import data_record, update_manifest, write_manifest
from unetkit._shared.provenance import provenance
from unetkit.cli.main import main
from unetkit.data.splits import read_split_names
from unetkit.errors import DataError, DataNotFoundError
from unetkit.training import backend


def differing(result):
    return {row["what"] for row in result["environment"] if not row["same"]}


def test_a_run_that_has_just_been_trained_is_as_it_was(run):
    result = verify(run)
    assert result["data"]["same"]
    assert result["data"]["sha256"] == data_record(run)["sha256"]
    assert [row for row in result["files"] if row["problem"]] == []
    assert differing(result) <= {"git"}
    assert result["same"]
    (sentence,) = result["conclusions"]
    assert sentence.startswith("The same weights, byte for byte, can be expected from: unetkit")


def test_an_unchanged_run_has_the_command_for_the_same_bytes(made, folder):
    result = verify(made)
    assert result["same"]
    assert result["data"] | {"sha256": None} == {
        "path": str(folder.resolve()),
        "pairs": 12,
        "sha256": None,
        "problem": None,
        "changed": [],
        "missing": [],
        "new": [],
        "moved": [],
        "same": True,
    }
    assert result["conclusions"] == [
        "The same weights, byte for byte, can be expected from: unetkit train "
        f"{folder.resolve()} --config {made / 'config.toml'}"
    ]
    text = shown(result)
    assert "12 pairs in" in text
    assert "versions, machine, threads and device unchanged" in text


class TestData:
    def test_each_changed_missing_and_new_file_is_named(self, made, folder):
        parts = {name: part for part, names in read(made).items() for name in names}
        (folder / "images" / "photo_01.jpg").write_bytes(b"no longer a picture")
        mask = folder / "masks" / "photo_02.png"
        mask.write_bytes(mask.read_bytes() + b"\0")
        (folder / "masks" / "photo_03.png").unlink()
        for kind in ("images", "masks"):
            next((folder / kind).glob("photo_04.*")).unlink()
        write_pair(folder, "photo_90")
        result = verify(made)
        data = result["data"]
        assert [(row["name"], row["what"]) for row in data["changed"]] == [
            ("photo_01", "image"),
            ("photo_02", "mask"),
        ]
        assert data["changed"][0] == {
            "name": "photo_01",
            "part": parts["photo_01"],
            "file": str(folder.resolve() / "images" / "photo_01.jpg"),
            "what": "image",
        }
        assert [row["name"] for row in data["missing"]] == ["photo_03", "photo_04"]
        assert data["missing"][0]["why"].endswith("photo_03.jpg has no mask")
        assert data["missing"][1]["why"].endswith("has no pair of this name")
        assert data["new"] == [
            {"name": "photo_90", "file": str(folder.resolve() / "images" / "photo_90.jpg")}
        ]
        assert not result["same"]
        assert result["conclusions"] == [
            "The data have changed: neither the bytes nor the metrics of this run can be "
            "reproduced."
        ]
        text = shown(result)
        for words in ("changed", "missing  photo_03", "photo_03.jpg has no mask", "new   "):
            assert words in text

    def test_of_many_differences_ten_are_shown_and_all_are_returned(self, made, folder):
        for path in (folder / "masks").iterdir():
            path.write_bytes(path.read_bytes() + b"\0")
        result = verify(made)
        assert len(result["data"]["changed"]) == 12
        text = shown(result)
        assert text.count("changed  ") == 10
        assert "... and 2 more; --json lists all" in text

    def test_data_may_lie_elsewhere_now(self, made, folder, tmp_path):
        shutil.move(folder, tmp_path / "moved data")
        result = verify(made)
        assert not result["same"]
        assert "does not exist" in result["data"]["problem"]
        assert result["data"]["problem"].endswith("name the place with --data")
        assert "name the place with --data" in shown(result)
        result = verify(made, tmp_path / "moved data")
        assert result["same"]
        assert f"unetkit train '{tmp_path / 'moved data'}' --config" in result["conclusions"][0]

    def test_a_place_that_is_named_and_is_none_is_an_error(self, made, tmp_path):
        with pytest.raises(DataNotFoundError, match="nowhere does not exist"):
            verify(made, tmp_path / "nowhere")

    def test_lists_that_move_a_pair_into_another_split_are_found(self, folder, tmp_path):
        names = [f"photo_{i:02d}" for i in range(12)]
        (folder / "train.txt").write_text("\n".join(names[:9]))
        (folder / "test.txt").write_text("\n".join(names[9:]))
        made = make_run(tmp_path / "run", folder)
        assert verify(made)["same"]  # what is cut for validation is of the list for training
        (folder / "train.txt").write_text("\n".join(names[1:9]))
        (folder / "test.txt").write_text("\n".join([names[0], *names[9:]]))
        result = verify(made)
        then = next(part for part, found in read(made).items() if "photo_00" in found)
        moved = {"name": "photo_00", "then": then, "now": "test"}
        assert result["data"]["moved"] == [moved]
        assert f"photo_00: {then} then, test now" in shown(result)

    def test_with_a_split_file_only_its_pairs_count(self, made, folder, tmp_path):
        given = tmp_path / "given.json"
        shutil.copy(made / "split.json", given)
        other = make_run(tmp_path / "other", folder, split=str(given))
        write_pair(folder, "photo_90")
        assert not verify(made)["same"]
        assert verify(other)["same"]
        parts = read(other)
        name = parts["test"].pop()
        parts["train"].append(name)
        given.write_text(json.dumps(parts))
        moved = {"name": name, "then": "test", "now": "train"}
        assert verify(other)["data"]["moved"] == [moved]
        given.unlink()
        result = verify(other)
        assert result["data"]["same"]
        (problem,) = (row["problem"] for row in result["files"] if row["problem"])
        assert "given.json does not exist" in problem
        assert f"--split {other / 'split.json'}" in problem

    def test_the_sources_of_the_run_are_used(self, folder, tmp_path):
        shutil.copytree(folder / "masks", folder / "other_masks")
        write_split(tmp_path / "run", folder, masks="other_masks")
        (tmp_path / "run" / "config.toml").write_text("[sources]\nmasks = 'other_masks'\n")
        write_manifest(tmp_path / "run", VALUES)
        assert verify(tmp_path / "run")["data"]["same"]
        for text in ("sources = 3", "[sources]\nmask = 'x'", "[sources]\nchannel_axis = 'x'"):
            (tmp_path / "run" / "config.toml").write_text(text)
            assert verify(tmp_path / "run")["data"]["problem"]  # several masks, and no word of it

    def test_progress_is_shown(self, made):
        class Counting(Display):
            total = done = 0

            def task(self, name, total):
                self.total = total
                return self.count

            def count(self):
                self.done += 1

        display = Counting()
        verify(made, display=display)
        assert display.done == display.total == 12


def read(run):
    return read_split_names(run / "split.json")


class TestEnvironment:
    @pytest.mark.parametrize(
        ("change", "what", "words"),
        [
            ({"unetkit": "0.0.1"}, "unetkit", "Another version of unetkit"),
            ({"python": "3.9.0"}, "python", "the bytes cannot be reproduced, and the metrics only"),
            (
                {"platform": "Plan9-4"},
                "system",
                "metrics only within the variation",
            ),
            ({"backend": "jax"}, "backend", "metrics only within the variation"),
            (
                {"device": "gpu:7, Keras"},
                "device",
                "metrics only within the variation",
            ),
            ({"device": "cpu:0 (99 cores), Keras"}, "device", "metrics only within the variation"),
            ({"machine": {"processor": "Z80"}}, "processor", "metrics only within the variation"),
            (
                {"threads": {"inter_op": 1, "intra_op": 9}},
                "intra-op threads",
                "metrics only within",
            ),
            (
                {"threads": {"inter_op": 0, "intra_op": 0}},
                "inter-op threads",
                "metrics only within",
            ),
        ],
    )
    def test_what_differs_is_named_with_what_it_means(self, made, change, what, words):
        update_manifest(made, **change)
        result = verify(made)
        assert what in differing(result)
        assert not result["same"]
        assert words in result["conclusions"][0]
        assert not any("byte for byte" in sentence for sentence in result["conclusions"])
        assert f"{what}: " in shown(result)

    @pytest.mark.parametrize(
        ("package", "words"),
        [
            ("numpy", "the bytes cannot be reproduced, and the metrics only"),
            ("scikit-learn", "use the split of this run: unetkit train"),
            ("scikit-image", "the weights do not depend on it."),
            ("onnxruntime", "but model.onnx may have other bytes."),
        ],
    )
    def test_a_package_is_reported_with_its_effect(self, made, package, words):
        versions = {**provenance()["versions"], package: "0.1"}
        update_manifest(made, versions=versions)
        result = verify(made)
        assert differing(result) == {package}
        assert words.format(run=made) in result["conclusions"][0]
        assert f"{package}: 0.1 then, {provenance()['versions'][package]} now" in shown(result)
        # Only what computes takes the promise of the same weights away.
        assert (len(result["conclusions"]) == 2) == (package != "numpy")

    def test_a_package_that_is_gone_or_new_is_a_difference(self, made):
        versions = provenance()["versions"]
        del versions["pillow"]
        update_manifest(made, versions={**versions, "torch": "2.0"})
        result = verify(made)
        assert differing(result) >= {"pillow", "torch"}
        assert "pillow: none then, " in shown(result)

    def test_differences_without_effect_are_reported_only(self, made):
        machine = {**provenance()["machine"], "memory_gib": 1.5}
        git = {"folder": "/x", "revision": "0123456789abcdef", "dirty": True}
        update_manifest(made, machine=machine, git=git)
        result = verify(made)
        assert differing(result) == {"memory_gib", "git"}
        assert result["same"]
        text = shown(result)
        assert "memory_gib: 1.5 then" in text
        assert "git: 0123456789ab, with changes then, " in text
        assert text.count("(without effect)") == 2

    def test_the_device_of_then_is_asked_for_where_a_better_one_is_there(self, made, monkeypatch):
        monkeypatch.setattr(backend, "choose_device", lambda wanted: wanted or "gpu:0")
        result = verify(made)
        assert result["same"]
        assert result["conclusions"][0].endswith("--device cpu:0")

    def test_a_run_that_was_not_deterministic_promises_nothing(self, made):
        update_manifest(made, deterministic=False, threads={"inter_op": backend.inter_op_threads()})
        (sentence,) = [s for s in verify(made)["conclusions"] if "training.deterministic" in s]
        assert "even on the same machine the bytes cannot be reproduced" in sentence

    def test_what_was_not_recorded_is_not_the_same(self, made):
        write_manifest(made, {"state": "finished"})
        result = verify(made)
        assert not result["same"]
        assert {"unetkit", "python", "device", "processor", "backend"} <= differing(result)


class TestCommand:
    def test_the_exit_code_is_1_if_something_has_changed(self, made, folder):
        done = CliRunner().invoke(main, ["verify", str(made)])
        assert done.exit_code == 0, done.output
        assert "unchanged" in done.output
        assert "byte for byte" in done.output
        (folder / "images" / "photo_01.jpg").write_bytes(b"")
        done = CliRunner().invoke(main, ["verify", str(made)])
        assert done.exit_code == 1
        assert "photo_01.jpg" in done.output
        assert "The data have changed" in done.output

    def test_json_is_all_that_is_printed(self, made, folder):
        done = CliRunner().invoke(main, ["verify", str(made), "--data", str(folder), "--json"])
        assert json.loads(done.stdout) == json.loads(json.dumps(verify(made, folder)))

    def test_a_folder_that_is_no_run_is_refused(self, tmp_path):
        done = CliRunner().invoke(main, ["verify", str(tmp_path)])
        assert done.exit_code == 1
        assert "holds no manifest.json; accepted is the folder of a training run" in done.stderr

    def test_orders_to_the_terminal_in_a_file_are_not_obeyed(self, made):
        update_manifest(made, python="\x1b[2J3.11")
        done = CliRunner().invoke(main, ["verify", str(made)])
        assert "\x1b[2J" not in done.output
        assert "[2J3.11 then" in done.output


def test_nothing_is_written(made, folder):
    def state():
        files = [path for root in (made, folder) for path in root.rglob("*") if path.is_file()]
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = state()
    verify(made)
    assert state() == before


@pytest.mark.parametrize("text", ["[]", '{"schema": 1, "state": "finished", "machine": 3}'])
def test_a_damaged_manifest_is_named(made, text):
    (made / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json cannot be used"):
        verify(made)
