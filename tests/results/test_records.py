"""What results record, and what of it survives a killed process."""

import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from unetkit import Predictor
from unetkit._version import __version__
from unetkit.io.pixel_size import PixelSize
from unetkit.results import records as records_module
from unetkit.results.files import predict_files
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.records import RECORDS, Records, is_result_of, origin_of


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture(scope="module")
def grey(grey_model):
    return Predictor(grey_model)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestLine:
    def test_it_has_the_digests_of_model_image_options_and_files(self, grey, image, tmp_path):
        kinds = ("mask", "overlay", "probabilities")
        written = predict_files(grey, [image], tmp_path / "out", kinds=kinds)
        (line,) = (tmp_path / "out" / f"{RECORDS}.jsonl").read_text().splitlines()
        record = json.loads(line)
        assert record["image"] == "../a.png"
        assert record["sha256"] == sha256(image)
        assert record["origin"]["model"] == grey.digest
        assert record["origin"]["unetkit"] == __version__
        assert record["files"] == {
            file.name: {
                "bytes": file.stat().st_size,
                "changed": file.stat().st_mtime_ns,
                "sha256": sha256(file),
            }
            for file in written
        }

    def test_each_page_has_its_own(self, grey, tmp_path):
        frames = [Image.new("L", (9, 8), shade) for shade in (0, 200)]
        frames[0].save(tmp_path / "s.tif", save_all=True, append_images=frames[1:])
        predict_files(grey, [tmp_path / "s.tif"], tmp_path / "out")
        lines = (tmp_path / "out" / f"{RECORDS}.jsonl").read_text().splitlines()
        assert sorted(json.loads(line)["page"] for line in lines) == [0, 1]

    def test_it_is_there_before_the_files_have_their_names(
        self, grey, image, tmp_path, monkeypatch
    ):
        """A process that is killed in between leaves no result without a record."""
        seen = []
        add = Records.add

        def watched(self, path, page, version, origin, files):
            seen.append([file.exists() for file in files])
            add(self, path, page, version, origin, files)

        monkeypatch.setattr(Records, "add", watched)
        predict_files(grey, [image], tmp_path / "out", kinds=("mask", "overlay"))
        predict_files(grey, [image], tmp_path / "tiff", kinds=("mask", "overlay"), format="tiff")
        assert seen == [[False, False]] * 2

    def test_nothing_is_recorded_of_an_image_that_cannot_be_read(self, grey, tmp_path):
        (tmp_path / "a.png").write_bytes(b"no picture")
        errors = []
        predict_files(
            grey,
            [tmp_path / "a.png"],
            tmp_path / "out",
            on_error=lambda *error: errors.append(error),
        )
        assert len(errors) == 1
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("room", [0, 20])
    def test_a_full_disk_leaves_no_result(self, grey, image, tmp_path, monkeypatch, room):
        def full(descriptor, line):
            if room == 0:
                raise OSError(28, "No space left on device")
            return write(descriptor, line[:room])

        out, write = tmp_path / "out", os.write
        monkeypatch.setattr(records_module.os, "write", full)
        with pytest.raises(OSError, match="No space left") as caught:
            predict_files(grey, [image], out)
        monkeypatch.undo()
        assert caught.value.filename == str(out / f"{RECORDS}.jsonl")
        assert list(out.glob("[!.]*")) == []
        assert predict_files(grey, [image], out) == [out / "a.png"]
        assert Records(out).find(out / "a.png")[1]


class TestOrigin:
    def test_every_field_of_the_options_counts(self, grey):
        plain = ResultOptions()
        others = [
            replace(plain, mask="palette"),
            replace(plain, pixel_size=PixelSize(0.5, "um")),
            replace(plain, simplify=1.0),
        ]
        digests = {origin_of(grey, options).options for options in (plain, *others)}
        assert len(digests) == 1 + len(others)

    def test_threads_and_memory_do_not_but_a_margin_does(self, grey_model):
        def digest(**arguments):
            return origin_of(Predictor(grey_model, **arguments), ResultOptions()).options

        plain = digest()
        assert digest(threads=1) == digest(memory="2GiB") == digest(tile_pixels=1 << 20) == plain
        assert digest(margin=8) != plain
        assert digest(margin=8, tile_pixels=1 << 20) != digest(margin=8)  # tiles are blended


class TestReading:
    @pytest.mark.parametrize(
        "line",
        [
            b'{"image": "../b.png", "page": nul',  # cut off
            b"[]",
            b"\xff\xfe",
            b'{"image": 3}',
            b"[" * 100_000,
            b"x" * 3_000_000,
        ],
    )
    def test_lines_of_another_form_are_none(self, grey, image, tmp_path, line):
        out = tmp_path / "out"
        out.mkdir()
        file = out / f"{RECORDS}.jsonl"
        file.write_bytes(line)
        predict_files(grey, [image], out)  # ends the line that was cut off
        assert Records(out).find(out / "a.png") is not None
        assert file.read_bytes().startswith(line + b"\n")

    def test_a_copied_or_touched_result_is_known_by_its_content(self, grey, image, tmp_path):
        (mask,) = predict_files(grey, [image], tmp_path / "out")
        os.utime(mask, ns=(1, 1))
        assert Records(tmp_path / "out").find(mask)[1]
        mask.write_bytes(mask.read_bytes()[:-1])
        assert not Records(tmp_path / "out").find(mask)[1]

    def test_only_touched_results_are_read(self, grey, image, tmp_path, monkeypatch):
        (mask,) = predict_files(grey, [image], tmp_path / "out")

        def refuse(path):
            raise AssertionError("read")

        records = Records(tmp_path / "out")
        monkeypatch.setattr(records_module, "sha256_of", refuse)
        assert records.find(mask)[1]
        os.utime(mask, ns=(1, 1))
        with pytest.raises(AssertionError, match="read"):
            records.find(mask)

    def test_of_several_records_that_of_the_file_counts(self, grey, image, tmp_path):
        """Not the last one: its process may have been killed before the file got its name."""
        out = tmp_path / "out"
        (mask,) = predict_files(grey, [image], out)
        first = mask.read_bytes()
        style = ResultOptions("binary")
        predict_files(grey, [image], out, options=style, overwrite=True)
        record, is_whole = Records(out).find(mask)
        assert (record.origin, is_whole) == (origin_of(grey, style), True)
        mask.write_bytes(first)
        record, is_whole = Records(out).find(mask)
        assert (record.origin, is_whole) == (origin_of(grey, ResultOptions()), True)


def test_shards_keep_records_of_their_own_images_only(grey_model, tmp_path):
    for name in ("cat", "cat_1", "dog"):
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / f"{name}.png")
    predictor = Predictor(grey_model)
    kinds = ("mask", "overlay")
    images = [tmp_path / f"{name}.png" for name in ("cat", "cat_1", "dog")]
    predict_files(predictor, images, tmp_path / "out", kinds=kinds)
    records = Records(tmp_path / "out", names={"cat_1"})
    found = {
        path.name for path in (tmp_path / "out").glob("*.png") if records.find(path) is not None
    }
    assert found == {"cat_1.png", "cat_1_overlay.png"}


@pytest.mark.parametrize(
    ("file", "names", "belongs"),
    [
        ("a.b/cat.ome.zarr", {"a.b/cat"}, True),
        ("a.b/cat.png", {"a", "a.b"}, False),
        ("cat_1.png", {"cat"}, True),  # perhaps its page: kept rather than lost
        ("cats.png", {"cat"}, False),
        ("cat", {"cat"}, True),
    ],
)
def test_results_belong_to_names(file, names, belongs):
    assert is_result_of(file, names) == belongs
