"""What a prediction shows: how many images were predicted, and what became of the others."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from unetkit import Predictor
from unetkit.cli.console import ConsoleDisplay
from unetkit.cli.prediction_run import MOST_LISTED, OutputOptions, PredictionRun
from unetkit.errors import DataError
from unetkit.results.inputs import parse_shard


@pytest.fixture
def display():
    return ConsoleDisplay(Console(file=io.StringIO(), width=500))


def shown(display):
    return display.console.file.getvalue()


def run_of(model, folder, display, total, **options):
    output = OutputOptions(
        out=folder / "out",
        kinds=("mask",),
        format="auto",
        overwrite=False,
        show=False,
        as_json=options.pop("as_json", False),
    )
    return PredictionRun(Predictor(model), output, display, total, **options)


def write_images(folder, count):
    rng = np.random.default_rng(0)
    images = [folder / f"{number}.png" for number in range(count)]
    for image in images:
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(image)
    return images


def test_images_that_fail_are_counted_and_named(grey_model, tmp_path, display):
    images = write_images(tmp_path, 3)
    images[1].write_bytes(b"no image")
    run = run_of(grey_model, tmp_path, display, 3)
    written = run.predict(images, is_strict=False)
    assert [file.name for file in written] == ["0.png", "2.png"]
    assert run.describe() == "2 of 3 images"
    assert list(run.failed) == [images[1]]
    run.list_failed()
    assert f"1 image not predicted:\n  {images[1]}" in shown(display)


def test_a_strict_run_raises_the_first_error(grey_model, tmp_path, display):
    images = write_images(tmp_path, 2)
    images[0].write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0\.png"):
        run_of(grey_model, tmp_path, display, 2).predict(images, is_strict=True)


def test_what_an_earlier_run_finished_is_told_from_what_is_new(grey_model, tmp_path, display):
    images = write_images(tmp_path, 3)
    run_of(grey_model, tmp_path, display, 2).predict(images[:2], is_strict=True)
    run = run_of(grey_model, tmp_path, display, 3)
    run.predict(images, is_strict=True)
    assert run.describe() == "1 of 3 images, 2 finished before"


def test_a_shard_is_named(grey_model, tmp_path, display):
    shard = parse_shard("2/5")
    assert run_of(grey_model, tmp_path, display, 0, shard=shard).describe() == (
        "0 images of shard 2/5"
    )


def test_results_of_other_origin_are_told_from_images_that_fail(grey_model, tmp_path, display):
    images = write_images(tmp_path, 2)
    images[1].write_bytes(b"no image")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/0.png").write_bytes(b"mine")
    run = run_of(grey_model, tmp_path, display, 2)
    assert run.predict(images, is_strict=False) == []
    run.list_failed()
    assert "1 image not predicted:" in shown(display)
    assert "1 image with results of other origin, left as they are" in shown(display)
    assert (tmp_path / "out/0.png").read_bytes() == b"mine"


def test_a_long_list_of_failures_is_cut(grey_model, tmp_path, display):
    images = [tmp_path / f"{number}.png" for number in range(MOST_LISTED + 5)]
    for image in images:
        image.write_bytes(b"no image")
    run = run_of(grey_model, tmp_path, display, len(images))
    run.predict(images, is_strict=False)
    run.list_failed()
    listed = shown(display).split("images not predicted:\n")[1]
    assert len(listed.splitlines()) == MOST_LISTED + 1
    assert listed.endswith("  and 5 more, named above\n")


def test_each_image_is_a_line_of_json(grey_model, tmp_path, display, capsys):
    images = write_images(tmp_path, 2)
    images[1].write_bytes(b"no image")
    run_of(grey_model, tmp_path, display, 2, as_json=True).predict(images, is_strict=False)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    second, first = sorted(lines, key=lambda line: "files" in line)
    mask = np.asarray(Image.open(tmp_path / "out/0.png"))
    assert first["files"] == {"mask": str(tmp_path / "out/0.png")}
    assert sum(first["pixels"].values()) == first["height"] * first["width"] == mask.size
    assert second["image"] == str(images[1])
    assert str(images[1]) in second["error"]
