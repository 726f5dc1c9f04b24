"""`unetkit predict`: files, pipes and a watched folder."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image

from unetkit import Predictor
from unetkit._shared.files import writing_into
from unetkit.cli.main import main


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (40, 50)), ("b.png", (64, 30))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(folder / name)
    return folder


def predict(*arguments, code=0):
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    assert code is None or result.exit_code == code, result.output
    return result


class TestJson:
    def test_each_image_is_a_line(self, grey_model, pictures, tmp_path):
        result = predict(pictures, "--model", grey_model, "--out", tmp_path / "out", "--json")
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line["image"] for line in lines] == [str(pictures / n) for n in ("a.png", "b.png")]
        mask = np.asarray(Image.open(lines[0]["files"]["mask"]))
        assert (lines[0]["height"], lines[0]["width"]) == mask.shape == (40, 50)
        counts = np.bincount(mask.ravel(), minlength=2).tolist()
        assert lines[0]["pixels"] == {"class 0": counts[0], "class 1": counts[1]}
        assert lines[0]["exact"] is True

    def test_options_of_certainty(self, grey_model, pictures, tmp_path):
        options = ["--model", grey_model, "--out", tmp_path / "out", "--tta", "flips"]
        result = predict(pictures, *options, "--uncertainty", "--table", "--json")
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        one = Predictor(grey_model, tta="flips")
        for line, name in zip(lines, ("a.png", "b.png"), strict=True):
            expected = one.uncertainty(pictures / name)
            found = cv2.imread(line["files"]["uncertainty"], cv2.IMREAD_UNCHANGED)
            assert np.abs(found / 65534 - expected).max() < 1e-4
            assert line["uncertainty"] == pytest.approx(expected.mean(), abs=1e-4)
            disagreement = one.disagreement(pictures / name)
            assert line["disagreement"] == pytest.approx(disagreement.mean(), abs=1e-4)
        notes = json.loads(Image.open(lines[0]["files"]["mask"]).text["unetkit"])
        assert notes["tta"] == "flips"
        table = (tmp_path / "out" / "areas.csv").read_text()
        assert table.startswith("image,class,pixels,fraction,uncertainty")

    def test_several_models_are_averaged_and_named(
        self, grey_model, half_model, pictures, tmp_path
    ):
        options = ["--model", grey_model, "-m", half_model, "--out", tmp_path / "out"]
        result = predict(pictures, *options, "--uncertainty")
        folder = tmp_path / "out"
        expected = Predictor([grey_model, half_model])
        assert (np.asarray(Image.open(folder / "a.png")) == expected(pictures / "a.png")).all()
        notes = json.loads(Image.open(folder / "a_disagreement.png").text["unetkit"])
        assert notes["models"] == list(expected.digests)
        means = {name: expected.uncertainty(pictures / name).mean() for name in ("a.png", "b.png")}
        first, second = sorted(means, key=means.get, reverse=True)
        assert f"largest: {first} {means[first]:.3f}, {second}" in " ".join(result.output.split())

    def test_an_error_is_a_line(self, grey_model, tmp_path):
        (tmp_path / "a.png").write_bytes(b"no picture")
        result = predict(
            tmp_path / "a.png", "--model", grey_model, "--out", tmp_path / "out", "--json", code=1
        )
        assert "a.png is not an image" in json.loads(result.stdout)["error"]
        assert "unetkit: error:" in result.stderr


def test_counts_agree_with_their_nouns(grey_model, pictures, tmp_path):
    result = predict(pictures / "a.png", "-m", grey_model, "-o", tmp_path / "one")
    assert f"1 image, 1 file in {tmp_path / 'one'}" in result.stdout
    result = predict(pictures, "-m", grey_model, "-o", tmp_path / "two", "--overlay")
    assert f"2 images, 4 files in {tmp_path / 'two'}" in result.stdout


class TestKindsOfFiles:
    def test_overlays_as_jpeg_and_probabilities_of_8_bits(self, grey_model, pictures, tmp_path):
        out = tmp_path / "out"
        kinds = ["--overlay", "--overlay-format", "jpeg"]
        kinds += ["--probabilities", "--probabilities-dtype", "uint8"]
        predict(pictures / "a.png", "-m", grey_model, "-o", out, *kinds)
        with Image.open(out / "a_overlay.jpg") as overlay:
            assert (overlay.format, overlay.size) == ("JPEG", (50, 40))
        assert np.load(out / "a_probabilities.npz")["probabilities"].dtype == np.uint8

    @pytest.mark.parametrize(
        ("option", "value", "needed"),
        [
            ("--overlay-format", "jpeg", "--overlay"),
            ("--probabilities-dtype", "uint8", "--probabilities"),
        ],
    )
    def test_an_option_of_what_is_not_written_is_refused(
        self, grey_model, pictures, tmp_path, option, value, needed
    ):
        result = predict(pictures, "-m", grey_model, "-o", tmp_path / "x", option, value, code=2)
        assert f"{option} is {value} without {needed}; accepted is" in result.stderr
        assert not (tmp_path / "x").exists()


class TestLarge:
    def test_the_tiles_are_printed(self, grey_model, tmp_path):
        image = np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", image, tile=(64, 64))
        arguments = [tmp_path / "a.tif", "--model", grey_model, "--out", tmp_path / "out"]
        result = predict(*arguments, "--format", "tiff")
        assert "a.tif: one run of 200x304" in result.output
        assert (tifffile.imread(tmp_path / "out" / "a.tif") == Predictor(grey_model)(image)).all()

    def test_too_little_memory_is_refused(self, grey_model, pictures, tmp_path):
        result = predict(pictures, "--model", grey_model, "--memory", "10MiB", code=1)
        assert "memory is 10 MiB; accepted are amounts from" in result.stderr

    def test_memory_that_is_not_an_amount_is_refused(self, grey_model, pictures):
        result = predict(pictures, "--model", grey_model, "--memory", "much", code=2)
        assert "memory is 'much'; accepted is an amount such as 2GiB" in result.stderr


def heed_interrupts():
    """In a child process: undoes what a shell does to its jobs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class TestWatch:
    def test_images_or_a_folder_to_watch(self, grey_model, pictures):
        for arguments in ([], [pictures, "--watch", pictures]):
            result = predict(*arguments, "--model", grey_model, code=2)
            assert "images are given together with --watch, or neither is given" in result.stderr

    def test_the_watched_folder_as_output_is_refused(self, grey_model, pictures):
        result = predict("--watch", pictures, "--out", pictures, "--model", grey_model, code=1)
        assert "is the folder that is watched" in result.stderr

    @pytest.mark.skipif(os.name == "nt", reason="interrupts with a signal")
    def test_what_comes_in_is_predicted_until_it_is_interrupted(
        self, grey_model, pictures, tmp_path
    ):
        out = tmp_path / "out"
        (pictures / "broken.png").write_bytes(b"no picture")
        command = [
            sys.executable, "-m", "unetkit", "predict", "--watch", str(pictures),
            "--model", str(grey_model), "--out", str(out), "--json",
        ]  # fmt: skip
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=heed_interrupts,
        )
        guard = threading.Timer(60, process.kill)
        guard.start()
        try:
            lines = self.read_until(process, "b.png")
            Image.new("L", (20, 30)).save(pictures / "late.png")
            lines += self.read_until(process, "late.png")
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate()
        finally:
            guard.cancel()
            process.kill()
        assert (process.returncode, rest) == (0, "")
        assert [os.path.basename(line["image"]) for line in lines] == [
            "a.png", "b.png", "broken.png", "late.png",
        ]  # fmt: skip
        assert "is not an image" in lines[2]["error"]
        assert (out / "late.png").exists()

    def read_until(self, process, name):
        """Lines that the process prints, up to that of an image."""
        lines = []
        for line in process.stdout:
            lines.append(json.loads(line))
            if os.path.basename(lines[-1]["image"]) == name:
                break
        return lines

    def test_two_images_with_one_result_are_refused(
        self, grey_model, pictures, tmp_path, monkeypatch
    ):
        Image.new("L", (20, 30)).save(pictures / "a.bmp")

        def once(folder):
            yield from sorted(folder.iterdir())
            raise KeyboardInterrupt

        monkeypatch.setattr("unetkit.cli.watched_folder.watch", once)
        out = tmp_path / "out"
        result = predict("--watch", pictures, "--model", grey_model, "--out", out, "--json")
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert ["error" in line for line in lines] == [False, True, False]
        assert "would both be written to" in lines[1]["error"]

    def test_each_image_is_a_line(self, grey_model, pictures, tmp_path, monkeypatch):
        def once(folder):
            yield from sorted(folder.iterdir())
            raise KeyboardInterrupt

        monkeypatch.setattr("unetkit.cli.watched_folder.watch", once)
        out = tmp_path / "out"
        predict(pictures / "a.png", "--model", grey_model, "--out", out)
        result = predict("--watch", pictures, "-m", grey_model, "-o", out)
        lines = [line for line in result.stdout.splitlines() if ".png: " in line]
        assert lines[0] == "a.png: finished before"
        assert re.fullmatch(rf"b\.png: {out}/b\.png \(\d+\.\d s\)", lines[1])

    def test_finished_images_are_skipped_and_changed_ones_predicted_again(
        self, grey_model, pictures, tmp_path, monkeypatch
    ):
        out = tmp_path / "out"
        predict(pictures, "--model", grey_model, "--out", out)
        before = (out / "a.png").stat().st_mtime_ns
        Image.new("L", (30, 64)).save(pictures / "b.png")

        def once(folder):
            yield from sorted(folder.iterdir())
            raise KeyboardInterrupt

        monkeypatch.setattr("unetkit.cli.watched_folder.watch", once)
        result = predict("--watch", pictures, "--model", grey_model, "--out", out, "--json")
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line["image"] for line in lines] == [str(pictures / n) for n in ("a.png", "b.png")]
        assert [line.get("finished_before", False) for line in lines] == [True, False]
        assert (out / "a.png").stat().st_mtime_ns == before


class TestGoingOn:
    """An image that cannot be predicted does not keep the others from it."""

    @pytest.fixture
    def mixed(self, pictures):
        (pictures / "a2.png").write_bytes(b"no picture")
        Image.new("RGB", (9, 9)).save(pictures / "c.png")
        damaged = (pictures / "b.png").read_bytes()
        (pictures / "b2.png").write_bytes(damaged[:-300])
        (pictures / "notes.txt").touch()
        return pictures

    def test_the_others_are_predicted_and_the_exit_code_is_1(self, grey_model, mixed, tmp_path):
        out = tmp_path / "out"
        result = predict(mixed, "--model", grey_model, "--out", out, code=1)
        assert sorted(path.name for path in out.glob("[!.]*")) == ["a.png", "b.png", "c.png"]
        said = " ".join(result.output.split())
        assert "a2.png is not an image that can be read" in said
        assert "b2.png cannot be read whole" in said
        assert f"3 of 5 images, 3 files in {out}" in said
        assert "passed over: 1 .txt (no images)" in said
        names = [str(mixed / name) for name in ("a2.png", "b2.png")]
        assert said.endswith(f"2 images not predicted: {' '.join(names)}")

    def test_results_of_other_origin_are_named_and_left(self, grey_model, mixed, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.png").write_text("mine")
        options = ("--model", grey_model, "--out", tmp_path / "out")
        said = " ".join(predict(mixed, *options, code=1).output.split())
        assert "a.png exists already and is without a record" in said
        assert "2 of 5 images, 2 files in" in said
        assert said.endswith(
            "1 image with results of other origin, left as they are; --overwrite replaces these: "
            f"{mixed / 'a.png'}"
        )
        assert (tmp_path / "out" / "a.png").read_text() == "mine"
        again = " ".join(predict(mixed, *options, "--overwrite", code=1).output.split())
        assert "1 of 5 images, 2 finished before, 1 file in" in again

    def test_each_error_is_a_line_of_json(self, grey_model, mixed, tmp_path):
        options = ("--model", grey_model, "--out", tmp_path / "out", "--json")
        result = predict(mixed, *options, code=1)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        failed = {line["image"] for line in lines if "error" in line}
        assert failed == {str(mixed / "a2.png"), str(mixed / "b2.png")}
        assert len(lines) == 5

    def test_it_stops_at_the_first_one_if_told_to(self, grey_model, mixed, tmp_path):
        options = ("--model", grey_model, "--out", tmp_path / "out", "--fail-fast")
        result = predict(mixed, *options, code=1)
        assert "unetkit: error:" in result.output
        assert not (tmp_path / "out").exists()

    def test_an_error_of_windows_does_not_stop_it_either(self, grey_model, tmp_path):
        folder = tmp_path / "maps"
        folder.mkdir()
        tags = [(42113, "s", 0, "0", True)]
        for name in ("a.tif", "b.tif"):
            array = np.full((40, 50), 9, np.uint8)
            tifffile.imwrite(folder / name, array, compression="zlib", extratags=tags)
        content = bytearray((folder / "a.tif").read_bytes())
        start = tifffile.TiffFile(folder / "a.tif").pages[0].dataoffsets[0]
        content[start : start + 8] = bytes(8)
        (folder / "a.tif").write_bytes(content)
        out = tmp_path / "out"
        result = predict(folder, "--model", grey_model, "--out", out, code=1)
        assert "1 of 2 images" in result.output
        assert (out / "b.tif").is_file()


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    rng = np.random.default_rng(0)
    for number in range(24):
        path = folder / f"day{number % 3}" / f"{number // 3}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (60, 50), dtype=np.uint8)).save(path)
    return folder


def contents(folder):
    """Content of each visible file of a tree."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("[!.]*")
        if path.is_file()
    }


class TestRecursive:
    def test_the_tree_is_kept_and_tables_are_those_of_all(self, grey_model, tree, tmp_path):
        out = tree / "out"  # below the images: results are not taken for images
        options = ("-m", grey_model, "-o", out, "--recursive", "--table", "--polygons", "coco")
        for _ in range(2):
            predict(tree, *options)
        written = contents(out)
        assert len(written) == 3 * 24 + 2
        assert {"day0/0.png", "day2/7_areas.csv", "areas.csv", "coco.json"} <= written.keys()
        table = written["areas.csv"].decode().splitlines()
        assert table[1].startswith("day0/0,class 0,")
        assert len(table) == 1 + 24 * 2
        names = {image["file_name"] for image in json.loads(written["coco.json"])["images"]}
        assert "../day1/3.png" in names
        assert all((out / name).is_file() for name in names)

    def test_nothing_is_left_of_folders_without_results(self, grey_model, tree, tmp_path):
        for path in (tree / "day1").iterdir():
            path.write_bytes(b"no picture")
        predict(tree, "-m", grey_model, "-o", tmp_path / "out", "--recursive", code=1)
        assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {"day0", "day2"}

    def test_the_images_are_not_replaced(self, grey_model, tree):
        options = ("--recursive", "--overwrite", "--out", tree)
        result = predict(f"{tree}/day0", "-m", grey_model, *options)  # day0/0.png to 0.png
        before = contents(tree)
        result = predict(tree, "-m", grey_model, *options, code=1)
        assert "is the folder of one of the images" in result.stderr
        assert contents(tree) == before


class TestShards:
    def start(self, model, tree, out, shard, *more):
        command = [
            *(sys.executable, "-m", "unetkit", "predict", str(tree), "--recursive"),
            *("--model", str(model), "--out", str(out), "--shard", shard, "--overlay", *more),
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def test_shards_at_the_same_time_make_what_one_command_makes(self, grey_model, tree, tmp_path):
        out, options = tmp_path / "out", ("-m", grey_model, "--recursive", "--overlay", "--table")
        shards = [
            self.start(grey_model, tree, out, f"{number}/3", "--table") for number in (1, 2, 3)
        ]
        said = [shard.communicate(timeout=120)[0].decode() for shard in shards]
        assert [shard.returncode for shard in shards] == [0, 0, 0], said
        assert all("the same command without --shard" in text for text in said)
        assert not (out / "areas.csv").exists()
        names = {path.name for path in out.glob(".*")}
        assert names == {f".unetkit-records-{number}-of-3.jsonl" for number in (1, 2, 3)}
        listed = predict(tree, "--out", out, *options, "--list-missing")
        assert (listed.stdout, "24 images, all finished" in listed.stderr) == ("", True)
        assert "24 finished before" in predict(tree, "--out", out, *options).stdout
        predict(tree, "--out", tmp_path / "one", *options)
        assert contents(out) == contents(tmp_path / "one")

    @pytest.mark.skipif(os.name == "nt", reason="kills with a signal")
    def test_a_killed_shard_is_finished_by_the_same_command(self, grey_model, tree, tmp_path):
        out, options = tmp_path / "out", ("-m", grey_model, "--recursive", "--overlay")
        shard = self.start(grey_model, tree, out, "1/2")
        deadline = time.monotonic() + 60
        while len(list(out.rglob("[!.]*.png"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.002)
        shard.send_signal(signal.SIGKILL)
        shard.communicate()
        (out / "day0" / ".part-of-another-shard.png").touch()
        predict(tree, "--out", out, *options, "--shard", "2/2")
        listed = predict(tree, "--out", out, *options, "--list-missing", code=None)
        missing = listed.stdout.splitlines()
        again = predict(tree, "--out", out, *options, "--shard", "1/2")
        assert "images of shard 1/2, " in again.stdout
        assert listed.exit_code == bool(missing)
        assert (out / "day0" / ".part-of-another-shard.png").exists()
        assert predict(tree, "--out", out, *options, "--list-missing").stdout == ""
        predict(tree, "--out", tmp_path / "one", *options)
        assert contents(out) == contents(tmp_path / "one")

    def test_what_is_missing_is_a_list_for_predict(self, grey_model, tree, tmp_path):
        out, options = tmp_path / "out", ("-m", grey_model, "--recursive")
        predict(tree, "--out", out, *options)
        (out / "day1" / "2.png").unlink()
        os.truncate(out / "day2" / "3.png", 40)
        listed = predict(tree, "--out", out, *options, "--list-missing", code=1)
        wanted = [str(tree / "day1" / "2.png"), str(tree / "day2" / "3.png")]
        assert listed.stdout.splitlines() == wanted
        assert "2 of 24 images: 1 missing, 1 damaged" in listed.stderr
        lines = predict(tree, "--out", out, *options, "--list-missing", "--json", code=1).stdout
        reasons = [json.loads(line)["reason"] for line in lines.splitlines()]
        assert reasons == [f"{out}/day1/2.png is missing", f"{out}/day2/3.png is damaged"]

    def test_one_shard_twice_at_the_same_time_is_refused(self, grey_model, tree, tmp_path):
        out = tmp_path / "out"
        with writing_into(out, "-1-of-2"):
            for shard in ((), ("--shard", "1/2")):
                result = predict(tree, "-m", grey_model, "-o", out, "--recursive", *shard, code=1)
                assert "another process writes into" in result.stderr
            predict(tree, "-m", grey_model, "-o", out, "--recursive", "--shard", "2/2")

    def test_a_shard_without_images_is_done(self, grey_model, pictures, tmp_path):
        said = [
            predict(pictures, "-m", grey_model, "-o", tmp_path / "out", "--shard", f"{n}/9").stdout
            for n in range(1, 10)
        ]
        assert sum("0 images of shard" in text for text in said) in (7, 8)

    def test_other_commands_have_no_shards(self, grey_model, pictures):
        result = predict("--watch", pictures, "-m", grey_model, "--shard", "1/2", code=2)
        assert "--watch is given together with --recursive, --shard or" in result.stderr
        result = predict("-", "-m", grey_model, "--list-missing", code=2)
        assert "standard input, together with --list-missing" in result.stderr
        result = predict(pictures, "-m", grey_model, "--shard", "0/2", code=2)
        assert "shard is 0/2; accepted are a number from 1" in result.stderr


class TestWorkers:
    def test_results_and_lines_are_those_of_one_process(self, grey_model, pictures, tmp_path):
        (pictures / "c.png").write_bytes(b"nothing")
        found = []
        for name, options in (("one", ()), ("two", ("--workers", "1"))):
            arguments = [pictures, "--model", grey_model, "--out", tmp_path / name, "--json"]
            result = predict(*arguments, *options, code=1)
            text = result.stdout.replace(str(tmp_path / name), "OUT")
            found.append(sorted(map(json.loads, text.splitlines()), key=lambda line: line["image"]))
        assert found[0] == found[1]
        masks = [(tmp_path / name / "a.png").read_bytes() for name in ("one", "two")]
        assert masks[0] == masks[1]

    def test_a_time_for_workers_needs_workers(self, grey_model, pictures):
        options = ("--model", grey_model, "--stalled-minutes", "5")
        result = predict(pictures / "a.png", *options, code=2)
        assert "--stalled-minutes is 5 without workers; accepted is it together" in result.output

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--cluster", "tcp://h:1"], "--workers is 2 together with --cluster tcp://h:1"),
            (
                ["--threads", "2"],
                "together with --shard, --watch, --list-missing, --show, --threads",
            ),
            (["--shard", "1/2"], "--workers or --cluster is given together with --shard"),
            (["--show"], "is given together with --shard, --watch, --list-missing, --show"),
            (["--out", "mask.png"], "output mask.png names one file; accepted for workers"),
        ],
    )
    def test_what_workers_do_not_take_is_refused(self, grey_model, pictures, options, message):
        result = predict(
            pictures / "a.png", "--model", grey_model, "--workers", "2", *options, code=2
        )
        assert message in result.output


def test_objects_in_and_out(objects, grey_model, tmp_path):
    bucket = f"s3://{objects.bucket()}"
    for number in range(3):
        pixels = np.full((20, 30 + number), 60 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        objects.put(f"{bucket}/photos/{number}.png", (tmp_path / f"{number}.png").read_bytes())
    words = [f"{bucket}/photos", "--model", grey_model, "--out", f"{bucket}/results"]
    missing = predict(*words, "--list-missing", code=1)
    assert missing.stdout.split() == [f"{bucket}/photos/{number}.png" for number in range(3)]
    done = predict(*words, "--json")
    first = json.loads(done.stdout.splitlines()[0])
    assert first["image"] == f"{bucket}/photos/0.png"
    assert first["files"] == {"mask": f"{bucket}/results/0.png"}
    again = predict(*words)
    assert f"0 of 3 images, 3 finished before, 0 files in {bucket}/results" in again.stdout
    predict(*tmp_path.glob("*.png"), "--model", grey_model, "--out", tmp_path / "o")
    wanted = {path.name: path.read_bytes() for path in (tmp_path / "o").glob("*.png")}
    assert objects.contents(f"{bucket}/results") == wanted
    objects.put(f"{bucket}/photos/bad.png", b"<html>")
    bad = predict(*words, code=1)
    assert f"1 image not predicted:\n  {bucket}/photos/bad.png" in bad.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["s3://b/a.png", "--show"], "an address is given together with --watch, --workers"),
        (["s3://b/a.png", "--workers", "2"], "an address is given together with --watch"),
        (["s3://b/a.mp4"], "s3://b/a.mp4 is a video; accepted as addresses"),
        (["HERE", "--out", "https://me:secret@h/o?x=secret"], "https://h/o cannot be written"),
        (["foo://b/a.png"], "which fsspec does not know"),
    ],
)
def test_addresses_beside_others_are_refused(grey_model, words, message, pictures):
    words = [word.replace("HERE", str(pictures)) for word in words]
    done = predict(*words, "--model", grey_model, code=2)
    assert message in " ".join(done.output.split())
    assert "secret" not in done.output


@pytest.mark.parametrize(
    "command", [["check"], ["train"], ["info"], ["evaluate", "run", "--data"], ["label"]]
)
def test_commands_that_take_paths_refuse_addresses(command):
    done = CliRunner().invoke(main, [*command, "https://me:secret@host/photos?key=secret"])
    assert done.exit_code == 2
    text = " ".join(done.output.split())
    assert "is https://host/photos, an address; accepted here are paths of this machine" in text
    assert "copy it to this machine first" in text
    assert "secret" not in text
