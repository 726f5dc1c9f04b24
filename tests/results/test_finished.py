"""The same command again: what is left, what is made again, and what is never replaced."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.found import find_images
from unetkit import Predictor
from unetkit.errors import OutputExistsError
from unetkit.prediction import sources
from unetkit.results import records as records_module
from unetkit.results.files import predict_files
from unetkit.results.finished import is_readable
from unetkit.results.predicted_image import ResultOptions

KINDS = ("mask", "overlay", "probabilities", "areas", "geojson")


@pytest.fixture(scope="module")
def grey(grey_model):
    return Predictor(grey_model)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(folder / name)
    return find_images([folder])


def again(predictor, images, out, **options):
    """Images that are predicted when the command runs again, finished ones, and errors."""
    predicted, finished, errors = [], [], {}
    predict_files(
        predictor,
        images,
        out,
        on_result=lambda result: predicted.append(result.image.name),
        on_finished=lambda job: finished.append(job.image.name),
        on_error=lambda image, error: errors.update({image.name: str(error)}),
        **options,
    )
    return predicted, finished, errors


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()}


class TestFinished:
    @pytest.mark.parametrize("format", ["png", "tiff"])
    def test_the_same_command_leaves_everything(self, grey, images, tmp_path, format):
        out, options = tmp_path / "out", {"kinds": KINDS, "format": format}
        predict_files(grey, images, out, **options)
        before = {path: path.stat().st_mtime_ns for path in out.glob("[!.]*")}
        assert len(before) == 3 * len(KINDS)
        for overwrite in (False, True):
            done = again(grey, images, out, overwrite=overwrite, **options)
            assert done == ([], ["a.png", "b.png", "c.png"], {})
        assert {path: path.stat().st_mtime_ns for path in out.glob("[!.]*")} == before

    def test_zarr_is_left_and_made_again_where_a_chunk_is_gone(self, grey, images, tmp_path):
        pytest.importorskip("zarr")
        out = tmp_path / "out"
        predict_files(grey, images, out, format="zarr")
        assert again(grey, images, out, format="zarr")[1] == ["a.png", "b.png", "c.png"]
        chunk = next(p for p in (out / "b.ome.zarr").rglob("*") if p.is_file() and "c" in p.parts)
        chunk.unlink()
        assert again(grey, images, out, format="zarr")[0] == ["b.png"]
        assert again(grey, images, out, format="zarr")[0] == []

    def test_a_further_kind_of_output_is_added(self, grey, images, tmp_path):
        out = tmp_path / "out"
        predict_files(grey, images, out)
        masks = contents(out)
        assert again(grey, images, out, kinds=("mask", "overlay"))[0] == ["a.png", "b.png", "c.png"]
        assert contents(out).items() >= masks.items()
        assert len(contents(out)) == 6

    def test_results_and_images_may_move_together(self, grey, images, tmp_path):
        predict_files(grey, images, tmp_path / "out")
        (tmp_path / "moved").mkdir()
        for name in ("images", "out"):
            shutil.copytree(tmp_path / name, tmp_path / "moved" / name)  # with new times
        moved = find_images([tmp_path / "moved" / "images"])
        assert again(grey, moved, tmp_path / "moved" / "out")[1] == ["a.png", "b.png", "c.png"]

    def test_a_touched_image_is_the_same_one(self, grey, images, tmp_path):
        predict_files(grey, images, tmp_path / "out")
        os.utime(images[1])
        assert again(grey, images, tmp_path / "out")[1] == ["a.png", "b.png", "c.png"]


class TestMadeAgain:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("kept", [0.0, 0.6])
    def test_a_file_that_is_cut_off(self, grey, images, tmp_path, kind, kept):
        out = tmp_path / "out"
        predict_files(grey, images, out, kinds=KINDS)
        (file,) = predict_files(grey, images[:1], tmp_path / "one", kinds=[kind])
        whole = (out / file.name).read_bytes()
        (out / file.name).write_bytes(whole[: int(kept * len(whole))])
        assert again(grey, images, out, kinds=KINDS) == (["a.png"], ["b.png", "c.png"], {})
        if kind != "probabilities":  # NPZ files contain the time
            assert (out / file.name).read_bytes() == whole

    def test_a_tiff_that_is_cut_off(self, grey, images, tmp_path):
        written = predict_files(grey, images, tmp_path / "out", format="tiff")
        os.truncate(written[2], written[2].stat().st_size - 10)
        assert again(grey, images, tmp_path / "out", format="tiff")[0] == ["c.png"]

    def test_a_file_that_is_gone(self, grey, images, tmp_path):
        written = predict_files(grey, images, tmp_path / "out", kinds=("mask", "overlay"))
        written[3].unlink()  # overlay of b.png
        done = again(grey, images, tmp_path / "out", kinds=("mask", "overlay"))
        assert done == (["b.png"], ["a.png", "c.png"], {})

    def test_an_image_that_has_changed(self, grey, images, tmp_path):
        predict_files(grey, images, tmp_path / "out")
        Image.new("L", (50, 40), 9).save(images[0])
        assert again(grey, images, tmp_path / "out") == (["a.png"], ["b.png", "c.png"], {})

    @pytest.mark.skipif(os.name == "nt", reason="kills with a signal")
    def test_a_killed_run_is_finished_by_the_same_command(self, grey_model, grey, tmp_path):
        folder, out = tmp_path / "images", tmp_path / "out"
        folder.mkdir()
        rng = np.random.default_rng(1)
        for number in range(60):
            pixels = rng.integers(0, 256, (160, 160), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02}.png")
        code = (
            "from unetkit import Predictor;"
            "from unetkit.results.files import predict_files;"
            "from unetkit.results.inputs import find_inputs;"
            f"predict_files(Predictor({str(grey_model)!r}), find_inputs([{str(folder)!r}]),"
            f" {str(out)!r}, kinds=('mask', 'overlay'))"
        )
        process = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 60
        while len(list(out.glob("[!.]*"))) < 9 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        images = find_images([folder])
        predicted, finished, errors = again(grey, images, out, kinds=("mask", "overlay"))
        assert errors == {}
        assert len(finished) >= 4
        assert len(predicted) + len(finished) == 60
        predict_files(grey, images, tmp_path / "fresh", kinds=("mask", "overlay"))
        assert contents(out) == contents(tmp_path / "fresh")


class TestLeft:
    """What has other origin is named and stays, unless it may be replaced."""

    def left(self, predictor, images, out, words, **options):
        before = contents(out)
        predicted, _, errors = again(predictor, images, out, **options)
        assert predicted == []
        assert {name for name, error in errors.items() if words in error} == errors.keys()
        assert contents(out) == before
        with pytest.raises(OutputExistsError, match=words):
            predict_files(predictor, images, out, **options)
        names = sorted(errors)
        assert again(predictor, images, out, overwrite=True, **options)[0] == names
        assert again(predictor, images, out, **options) == ([], [i.name for i in images], {})
        return names

    def test_results_of_another_model(self, grey, half_model, images, tmp_path):
        predict_files(grey, images[:2], tmp_path / "out")
        predict_files(Predictor(half_model), images[2:], tmp_path / "out")
        names = self.left(grey, images, tmp_path / "out", "is of another model")
        assert names == ["c.png"]

    def test_results_of_other_options(self, grey, images, tmp_path):
        predict_files(grey, images, tmp_path / "out", options=ResultOptions("binary"))
        self.left(grey, images, tmp_path / "out", "is of other options")

    def test_results_of_another_version(self, grey, images, tmp_path, monkeypatch):
        monkeypatch.setattr(records_module, "__version__", "0.0.1")
        predict_files(grey, images, tmp_path / "out")
        monkeypatch.undo()
        self.left(grey, images, tmp_path / "out", "is of another version of unetkit")

    def test_results_of_another_image_of_the_same_name(self, grey, images, tmp_path):
        other = tmp_path / "other" / "a.png"
        other.parent.mkdir()
        Image.new("L", (50, 40)).save(other)
        predict_files(grey, [other], tmp_path / "out")
        names = self.left(grey, images[:1], tmp_path / "out", "is of another image")
        assert names == ["a.png"]

    def test_results_without_a_record(self, grey, images, tmp_path):
        predict_files(grey, images, tmp_path / "out")
        (tmp_path / "out" / ".unetkit-records.jsonl").unlink()
        self.left(grey, images, tmp_path / "out", "is without a record of what made it")

    def test_a_result_that_someone_has_changed(self, grey, images, tmp_path):
        written = predict_files(grey, images, tmp_path / "out", kinds=KINDS)
        for file, content in ((written[0], None), (written[3], b"class,pixels\na,1\n")):
            if content is None:
                Image.new("L", (50, 40), 1).save(file)
            else:
                file.write_bytes(content)
            names = self.left(
                grey, images, tmp_path / "out", "is changed since it was predicted", kinds=KINDS
            )
            assert names == ["a.png"]

    def test_a_corrected_mask_of_an_image_that_has_changed(self, grey, images, tmp_path):
        (mask, *_) = predict_files(grey, images, tmp_path / "out")
        Image.new("L", (50, 40), 1).save(mask)
        Image.new("L", (50, 40), 9).save(images[0])
        self.left(grey, images, tmp_path / "out", "is changed since it was predicted")

    def test_a_damaged_result_of_another_image(self, grey, images, tmp_path):
        other = tmp_path / "other" / "a.png"
        other.parent.mkdir()
        Image.new("L", (50, 40)).save(other)
        (mask,) = predict_files(grey, [other], tmp_path / "out")
        os.truncate(mask, 40)
        self.left(grey, images[:1], tmp_path / "out", "is of another image")

    def test_the_others_are_predicted(self, grey, images, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "b.png").write_text("mine")
        predicted, _, errors = again(grey, images, tmp_path / "out")
        assert predicted == ["a.png", "c.png"]
        assert list(errors) == ["b.png"]


def test_a_changed_tiff_is_readable_and_an_empty_list_is_not_damaged(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((40, 50), np.uint8))
    assert is_readable(tmp_path / "a.tif", 10**9)
    (tmp_path / "a.txt").touch()  # as YOLO has it of an image without objects
    assert is_readable(tmp_path / "a.txt", 0)
    assert not is_readable(tmp_path / "a.txt", 5)


class TestGoneMeanwhile:
    """Images that vanish, or that the system cannot read, do not keep the others from it."""

    @pytest.mark.parametrize("pages", [1, 2])
    def test_an_image_that_is_removed_after_it_was_opened(self, grey, images, tmp_path, pages):
        stack = tmp_path / "images" / "s.tif"
        frames = [Image.new("L", (9, 8), shade) for shade in range(pages)]
        frames[0].save(stack, save_all=True, append_images=frames[1:])
        errors, finished = {}, []
        predict_files(grey, images[:1], tmp_path / "out")

        def remove(job):  # called while further images are opened
            finished.append(job)
            os.remove(images[1])

        predict_files(
            grey,
            [images[0], *images[1:], stack],
            tmp_path / "out",
            on_finished=remove,
            on_error=lambda image, error: errors.update({image.name: str(error)}),
        )
        assert len(finished) == 1
        assert errors.keys() == {"b.png"}
        assert len(list((tmp_path / "out").glob("[!.]*"))) == 2 + pages

    def test_an_error_of_the_system_while_an_image_is_read(
        self, grey, images, tmp_path, monkeypatch
    ):
        read = sources.file_sha256

        def broken(file):
            if file.path.name == "b.png":
                raise OSError(5, "Input/output error")
            return read(file)

        monkeypatch.setattr(sources, "file_sha256", broken)
        predicted, _, errors = again(grey, images, tmp_path / "out")
        assert predicted == ["a.png", "c.png"]
        assert list(errors) == ["b.png"]
        assert "cannot be read any more (Input/output error); accepted are" in errors["b.png"]
