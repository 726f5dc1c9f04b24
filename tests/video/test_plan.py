"""Names of the results of videos, checked before anything is predicted."""

import os

import pytest

from unetkit.errors import ConfigError, OutputExistsError
from unetkit.video.plan import plan_videos

BOTH = ("mask", "overlay")


@pytest.fixture
def films(tmp_path):
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / name for name in ("a.mp4", "b.avi")]
    for path in paths:
        path.touch()
        os.utime(path, (1, 1))
    return paths


def finish(job):
    for kind, file in job.files.items():
        file.parent.mkdir(exist_ok=True)
        file.mkdir() if kind == "mask" else file.touch()


def test_results_are_named_after_videos(films, tmp_path):
    first, second = plan_videos([*films, films[0]], tmp_path / "out", BOTH, False)
    assert first.files == {
        "mask": tmp_path / "out" / "a_masks",
        "overlay": tmp_path / "out" / "a_overlay.mp4",
    }
    assert second.store == tmp_path / "out" / "b_masks.frames"


def test_an_output_that_exists_is_refused_or_replaced(films, tmp_path):
    (job, _) = plan_videos(films, tmp_path / "out", BOTH, False)
    finish(job)
    with pytest.raises(OutputExistsError, match="a_masks exists already"):
        plan_videos(films, tmp_path / "out", BOTH, False)
    assert len(plan_videos(films, tmp_path / "out", BOTH, True)) == 2


def test_after_an_interruption_finished_videos_are_left_out(films, tmp_path):
    first, second = plan_videos(films, tmp_path / "out", BOTH, False)
    finish(first)
    second.store.mkdir()
    assert plan_videos(films, tmp_path / "out", BOTH, False) == [second]


def test_two_videos_of_one_name_are_refused(films, tmp_path):
    (tmp_path / "in" / "a.mov").touch()
    with pytest.raises(OutputExistsError, match=r"a\.mp4 and .*a\.mov would both be written to"):
        plan_videos([films[0], tmp_path / "in" / "a.mov"], tmp_path / "out", BOTH, True)


def test_a_folder_of_other_files_is_never_replaced(films, tmp_path):
    (tmp_path / "out" / "a_masks").mkdir(parents=True)
    (tmp_path / "out" / "a_masks" / "thesis.tex").touch()
    with pytest.raises(OutputExistsError, match="a_masks holds other files than masks of frames"):
        plan_videos(films, tmp_path / "out", BOTH, True)


def test_a_video_is_never_replaced(tmp_path):
    for name in ("a.mp4", "a_overlay.mp4"):
        (tmp_path / name).touch()
    with pytest.raises(OutputExistsError, match=r"a_overlay\.mp4 is one of the videos"):
        plan_videos([tmp_path / "a.mp4", tmp_path / "a_overlay.mp4"], tmp_path, BOTH, True)


def test_other_outputs_are_refused(films, tmp_path):
    with pytest.raises(ConfigError, match="kind is 'objects'; accepted for videos are 'mask'"):
        plan_videos(films, tmp_path, ("objects",), False)


def test_a_file_in_place_of_the_folder_is_refused(films):
    with pytest.raises(OutputExistsError, match=r"a\.mp4 is a file; accepted is a folder"):
        plan_videos(films, films[0], BOTH, False)
