"""The manifest: written completely, read back unchanged, and refused by name if damaged."""

import copy
import json
from dataclasses import replace

import pytest

from unetkit._shared.display import Display
from unetkit._shared.files import LARGEST_TABLE
from unetkit._shared.manifest import (
    PairRecord,
    data_digest,
    data_record,
    read_manifest,
    read_split_record,
    update_manifest,
    write_manifest,
)
from unetkit.checks.examine import examine
from unetkit.data.dataset import find_dataset
from unetkit.data.sources import Sources
from unetkit.data.splits import SplitRule, split_to_json
from unetkit.errors import DataError, DataNotFoundError

PAIR = {"name": "a", "image_sha256": "0", "mask_sha256": "0"}
VALUES = {
    "state": "finished",
    "unetkit": "0.1.0",
    "command": "unetkit train photos",
    "date": "2026-11-26T08:00:00+00:00",
    "platform": "Linux-6.1-x86_64-with-glibc2.36",
    "python": "3.11.7",
    "versions": {"numpy": "2.4.6", "keras": "3.15.1"},
    "machine": {"processor": "AMD EPYC", "cores": 2, "memory_gib": 23.5},
    "device": "cpu:0 (2 cores), Keras 3.15.1 on tensorflow",
    "backend": "tensorflow",
    "threads": {"inter_op": 1, "intra_op": 0, "loader": 2},
    "deterministic": True,
    "git": {"folder": "/home/me/work", "revision": "ab" * 20, "dirty": False},
    "data": {"path": "/data/photos", "pairs": 12, "sha256": "00" * 32},
    "configuration": {"data": "/data/photos", "training": {"steps": 4, "start": None}},
    "sessions": [
        {
            "command": None,
            "date": "2026-11-26T08:00:00+00:00",
            "from_step": 0,
            "to_step": 4,
            "seconds": 90.0,
        }
    ],
    "best": {"step": 4, "mean_iou": 0.75, "averaged": False},
    "steps_done": 4,
    "training_seconds": 90.0,
    "images_per_second": 31.5,
    "waiting_share": 0.01,
    "export_difference": None,
    "parts": {"train": {"images": 8, "classes": {"pet": 0.3}}},
    "findings": [{"level": "note", "code": "dark", "text": "a", "remedy": "b"}],
    "warnings": ["nothing has been learnt yet"],
}


def write_split(run, data, **options):
    """A run's split.json for a folder of pairs, as training writes it; and the examination."""
    sources = Sources(**options)
    found = examine(find_dataset(data, sources), sources, SplitRule(), {}, Display())
    run.mkdir(parents=True, exist_ok=True)
    text = split_to_json(found.split, found.dataset, found.digests(), found.left_out())
    (run / "split.json").write_text(text)
    return found


class TestWriteAndRead:
    def test_what_is_written_is_read(self, tmp_path):
        write_manifest(tmp_path, VALUES)
        assert read_manifest(tmp_path) == {"schema": 1, **VALUES}
        assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]

    def test_an_update_replaces_what_it_names_and_nothing_else(self, tmp_path):
        write_manifest(tmp_path, VALUES)
        update_manifest(tmp_path, state="interrupted", steps_done=2)
        expected = {"schema": 1, **VALUES, "state": "interrupted", "steps_done": 2}
        assert read_manifest(tmp_path) == expected

    def test_a_write_that_fails_leaves_the_old_one(self, tmp_path):
        write_manifest(tmp_path, VALUES)
        with pytest.raises(TypeError):
            write_manifest(tmp_path, {**VALUES, "state": object()})
        assert read_manifest(tmp_path)["state"] == "finished"
        assert len([*tmp_path.iterdir()]) == 1

    def test_numbers_that_are_not_finite_are_not_known(self, tmp_path):
        best = {"step": 4, "mean_iou": float("nan")}
        write_manifest(tmp_path, {**VALUES, "best": best, "warnings": (float("inf"),)})
        text = (tmp_path / "manifest.json").read_text()
        assert json.loads(text)["best"] == {"step": 4, "mean_iou": None}
        assert json.loads(text)["warnings"] == [None]
        assert not {"NaN", "Infinity"} & set(text.split())

    def test_names_that_are_no_unicode_can_be_written(self, tmp_path):
        path = b"/data/\xff".decode("utf-8", "surrogateescape")
        write_manifest(tmp_path, {**VALUES, "command": f"unetkit train {path} 猫"})
        assert read_manifest(tmp_path)["command"].endswith(f"{path} 猫")

    def test_a_run_that_has_only_begun_is_read(self, tmp_path):
        write_manifest(tmp_path, {"state": "training"})
        assert read_manifest(tmp_path) == {"schema": 1, "state": "training"}

    def test_keys_of_later_versions_are_kept(self, tmp_path):
        write_manifest(tmp_path, {**VALUES, "mood": ["good"]})
        update_manifest(tmp_path, steps_done=3)
        assert read_manifest(tmp_path)["mood"] == ["good"]


def places(value, path=()):
    """Every place within nested tables and lists."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


class TestRefusals:
    def test_a_value_of_another_kind_is_named(self, tmp_path):
        free = ("configuration", "parts")  # checked by who uses them
        tried = 0
        for path in places(VALUES):
            if path[0] in free and len(path) > 1:
                continue
            for wrong in ([[]], {"a": {}}, "x", -1, 1e300, True, 10**400, 0.5):
                damaged = copy.deepcopy({"schema": 1, **VALUES})
                inner = damaged
                for key in path[:-1]:
                    inner = inner[key]
                right = inner[path[-1]]
                is_number = type(right) in (int, float) or path[-1] == "export_difference"
                if type(wrong) is type(right) is not int and (not is_number or wrong == 0.5):
                    continue  # another text, flag, list or table may be right
                if is_number and wrong in (-1, 0.5) and path[-1] not in ("step", "cores"):
                    continue
                if wrong == "x" and path[-1] == "command":
                    continue
                inner[path[-1]] = wrong
                (tmp_path / "manifest.json").write_text(json.dumps(damaged))
                tried += 1
                with pytest.raises(DataError, match=r"manifest\.json cannot be used \(.+\); acc"):
                    read_manifest(tmp_path)
        assert tried > 250

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "Expecting value"),
            ("[]", r"\$ is \[\]; accepted is an object"),
            ("3", r"\$ is 3; accepted is an object"),
            ("{}", "schema is None, not 1"),
            ('{"schema": 2, "state": "finished"}', "schema is 2, not 1"),
            ('{"schema": true, "state": "finished"}', "schema is True, not 1"),
            ('{"schema": [1]}', r"schema is \[1\], not 1"),
            ('{"schema": 1}', "state is None, none of training, interrupted, finished, failed"),
            ('{"schema": 1, "state": "done"}', "state is 'done', none of"),
            ('{"schema": 1, "state": ["finished"]}', r"state is \['finished'\], none of"),
            ('{"schema": 1, "state": "failed", "steps_done": NaN}', "NaN is not a number of JSON"),
            (
                '{"schema": 1, "state": "failed", "steps_done": -Infinity}',
                "-Infinity is not a",
            ),
            (
                '{"schema": 1, "state": "failed", "training_seconds": 1e999}',
                r"seconds is inf; accepted",
            ),
            (f'{{"schema": 1, "state": "failed", "steps_done": {"9" * 9999}}}', "digit"),
            (
                '{"schema": 1, "state": "failed", "versions": {"a": 3}}',
                r"\$\.versions\.a is 3; acc",
            ),
            (
                '{"schema": 1, "state": "failed", "warnings": [null]}',
                r"\$\.warnings\[0\] is None; accepted is text",
            ),
            (
                '{"schema": 1, "state": "failed", "best": [1]}',
                r"\$\.best is \[1\]; accepted",
            ),
            (
                '{"schema": 1, "state": "failed", "findings": {}}',
                r"\$\.findings is \{\}; accepted is a list",
            ),
            ("[" * 99999, "nested deeper than 100 levels"),
        ],
    )
    def test_what_is_no_manifest_is_named(self, tmp_path, text, words):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(DataError, match=rf"manifest\.json cannot be used \(.*{words}"):
            read_manifest(tmp_path)

    def test_bytes_that_are_no_text_and_folders_are_named(self, tmp_path):
        (tmp_path / "manifest.json").write_bytes(b"\xff\xfe{}")
        with pytest.raises(DataError, match=r"cannot be used \(it is not UTF-8 text: "):
            read_manifest(tmp_path)
        (tmp_path / "manifest.json").unlink()
        (tmp_path / "manifest.json").mkdir()
        with pytest.raises(DataError, match=r"cannot be used \(.*restore it from a copy, or train"):
            read_manifest(tmp_path)

    def test_a_huge_file_is_not_read(self, tmp_path):
        with open(tmp_path / "manifest.json", "wb") as file:
            file.truncate(LARGEST_TABLE + 1)  # takes no room on the disk
        with pytest.raises(DataError, match=r"cannot be used \(it has 268,435,457 bytes; accepted"):
            read_manifest(tmp_path)

    def test_what_is_not_there_is_named(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"none does not exist; accepted is the folder"):
            read_manifest(tmp_path / "none")
        (tmp_path / "file").touch()
        with pytest.raises(DataNotFoundError, match="file is a file; accepted is the folder of a"):
            read_manifest(tmp_path / "file")
        with pytest.raises(DataNotFoundError, match=r"holds no manifest\.json; accepted is the"):
            update_manifest(tmp_path, state="failed")


class TestData:
    def test_the_record_holds_the_pairs_of_split_json(self, folder, tmp_path):
        found = write_split(tmp_path / "run", folder)
        split = read_split_record(tmp_path / "run")
        names = {part: [p.name for p in pairs] for part, pairs in found.split.splits.items()}
        assert names == {part: [p.name for p in split.pairs if p.part == part] for part in names}
        look = next(look for look in found.statistics if look.pair.name == split.pairs[0].name)
        assert split.pairs[0].image_sha256 == look.image_sha256
        assert split.pairs[0].mask_sha256 == look.mask_sha256
        record = data_record(tmp_path / "run")
        assert record == {
            "path": str(folder.resolve()),
            "pairs": 12,
            "sha256": data_digest(split.pairs),
        }

    def test_the_digest_changes_with_all_that_a_pair_is_and_not_with_the_order(self):
        one = PairRecord("train", "a", "00", "01")
        two = PairRecord("train", "b", "00", "01", page=3)
        digest = data_digest([one, two])
        assert digest == data_digest([two, one])
        for changed in (
            replace(two, part="test"),
            replace(two, name="c"),
            replace(two, image_sha256="02"),
            replace(two, mask_sha256="02"),
            replace(two, page=None),
        ):
            assert data_digest([one, changed]) != digest
        assert len({digest, data_digest([one]), data_digest([])}) == 3

    def test_pairs_that_were_left_out_are_known(self, folder, tmp_path):
        (folder / "images" / "photo_03.jpg").write_bytes(b"no picture")
        write_split(tmp_path / "run", folder, skip_bad=True)
        split = read_split_record(tmp_path / "run")
        assert split.skipped == {"photo_03"}
        assert len(split.pairs) == 11

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"train": {}}, r"\$\.train is \{\}; accepted is a list"),
            ({"train": None}, r"\$\.train is None; accepted is a list"),
            ({"train": ["photo_00"]}, r"\$\.train\[0\] is 'photo_00'; accepted is an object"),
            (
                {"train": [{"name": "a", "image_sha256": "0"}]},
                r"train\[0\] has no key 'mask_sha256'",
            ),
            (
                {"train": [{**PAIR, "name": 3}]},
                r"\$\.train\[0\]\.name is 3; accepted is text",
            ),
            (
                {"train": [{**PAIR, "name": None}]},
                r"\.name is None; accepted",
            ),
            (
                {"train": [{**PAIR, "mask_sha256": ""}]},
                "is ''; accepted is text of len",
            ),
            (
                {"train": 2 * [{"name": "a", "image_sha256": "0", "mask_sha256": "0"}]},
                "a name occurs twice",
            ),
            ({"test": [{**PAIR, "page": "1"}]}, r"\$\.test\[0\]\.page is '1'; accepted is a whole"),
            ({"skipped": ["a"]}, r"\$\.skipped\[0\] is 'a'; accepted is an object"),
            ({"data": 3}, r"\$\.data is 3; accepted is text"),
        ],
    )
    def test_a_damaged_split_is_named(self, tmp_path, change, words):
        record = {"data": "/d", "train": [], "validation": [], "test": [], "skipped": [], **change}
        (tmp_path / "split.json").write_text(json.dumps(record))
        with pytest.raises(DataError, match=rf"split\.json cannot be used \(.*{words}"):
            data_record(tmp_path)

    def test_a_missing_split_is_named(self, tmp_path):
        (tmp_path / "split.json").write_text('{"data": "/d", "train": []}')
        with pytest.raises(DataError, match=r"\(\$ has no key 'validation'\); accepted is"):
            read_split_record(tmp_path)

    def test_a_split_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(
            DataNotFoundError, match=r"holds no split\.json; accepted is the folder"
        ):
            data_record(tmp_path)
