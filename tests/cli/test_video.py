"""`unetkit predict` of videos."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_predict import predict
from tests.video.clips import moving_frames, write_clip


@pytest.fixture
def film(tmp_path):
    return write_clip(tmp_path / "a.avi", moving_frames(4, (40, 56)))


def test_masks_and_an_overlay_are_written(grey_model, film, tmp_path):
    out = tmp_path / "out"
    result = predict(film, "--model", grey_model, "--out", out, "--overlay")
    assert "a.avi: about 4 frames of 40x56" in result.stdout
    assert f"a.avi: 4 frames; {out / 'a_masks'}, {out / 'a_overlay.mp4'}" in result.stdout
    assert "image" not in result.stdout
    assert len(list((out / "a_masks").iterdir())) == 4


def test_a_video_is_a_line_of_json(grey_model, film, tmp_path):
    result = predict(film, "--model", grey_model, "--out", tmp_path / "out", "--json")
    line = json.loads(result.stdout)
    masks = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "out" / "a_masks").iterdir())]
    counts = np.bincount(np.array(masks).ravel(), minlength=2).tolist()
    assert line == {
        "video": str(film),
        "frames": 4,
        "rate": 10.0,
        "height": 40,
        "width": 56,
        "files": {"mask": str(tmp_path / "out" / "a_masks")},
        "pixels": {"class 0": counts[0], "class 1": counts[1]},
        "notes": [],
    }


def test_the_same_command_again_says_what_is_finished(grey_model, film, tmp_path):
    for words in ("a.avi: 4 frames; ", "a.avi: finished before"):
        result = predict(film, "--model", grey_model, "--out", tmp_path / "out", "--smooth", "3")
        assert words in result.stdout


def test_smoothing_without_a_video_is_refused(grey_model, tmp_path):
    Image.fromarray(moving_frames(1)[0]).save(tmp_path / "b.png")
    result = predict(tmp_path / "b.png", "--model", grey_model, "--smooth", "3", code=2)
    assert "--smooth is 3 without a video" in result.stderr


def test_videos_and_images_of_a_folder_are_both_predicted(grey_model, film, tmp_path):
    first, *others = map(Image.fromarray, moving_frames(3))
    first.save(tmp_path / "b.png")
    first.save(tmp_path / "d.gif", save_all=True, append_images=others)
    (tmp_path / "c.avi").write_bytes(b"nothing")
    result = predict(tmp_path, "--model", grey_model, "--out", tmp_path / "out", code=1)
    assert "c.avi does not begin as a video does" in result.output
    shown = [p.name for p in (tmp_path / "out").iterdir() if not p.name.startswith(".")]
    assert sorted(shown) == ["a_masks", "b.png", "d_masks"]


def test_an_error_of_a_video_among_others_is_a_line(grey_model, film, tmp_path):
    (tmp_path / "c.avi").write_bytes(b"nothing")
    videos = [film, tmp_path / "c.avi"]
    result = predict(*videos, "-m", grey_model, "-o", tmp_path / "out", "--json", code=1)
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["video"], second["video"]) == tuple(map(str, videos))
    assert "does not begin as a video does" in second["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--show"], "--show draws masks of images, and"),
        (["--format", "zarr"], "format is 'zarr', and .*accepted for masks of frames is png"),
        (["--out", "mask.png"], "mask.png names one mask"),
        (["--polygons", "geojson"], "kind is 'geojson'; accepted for videos are 'mask', 'overlay'"),
    ],
)
def test_options_of_images_are_refused(grey_model, film, tmp_path, options, message):
    result = predict(film, "--model", grey_model, "--out", tmp_path / "out", *options, code=2)
    assert re.search(message, result.output), result.output
    assert not (tmp_path / "out").exists()
