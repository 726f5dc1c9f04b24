"""Which files are videos, and what is written of each, checked before anything is predicted."""

from types import SimpleNamespace

import pytest
from PIL import Image

from unetkit.errors import ConfigError, OutputExistsError
from unetkit.results.finished import ResultState
from unetkit.video.plan import plan_videos, separate_videos

BOTH = ("mask", "overlay")


def finder(state=ResultState.MISSING):
    """Tells one state of all results."""
    return SimpleNamespace(state_of=lambda job: (state, job.files["mask"]))


@pytest.fixture
def films(tmp_path):
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / name for name in ("a.mp4", "b.avi")]
    for path in paths:
        path.touch()
    return paths


def animate(path):
    frames = [Image.new("RGB", (4, 4), (level, 0, 0)) for level in (10, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def test_videos_are_separated_from_images(tmp_path):
    mixed, films, images = (tmp_path / name for name in ("mixed", "films", "images"))
    for folder in (mixed, films, images):
        folder.mkdir()
    for file in (mixed / "a.MP4", mixed / "b.png", films / "c.avi", films / ".hidden.mp4"):
        file.touch()
    (images / "d.png").touch()
    (tmp_path / "e.mov").touch()
    moving = animate(mixed / "f.gif")
    inputs = [mixed, films, images, f"{tmp_path}/*.mov", f"{images}/*.png", tmp_path / "e.mov"]
    videos, others = separate_videos([*inputs, moving, "no.mp4"])
    assert videos == [mixed / "a.MP4", moving, films / "c.avi", tmp_path / "e.mov"]
    assert others == [mixed, images, f"{images}/*.png", "no.mp4"]
    (films / "deeper").mkdir()
    assert separate_videos([films], recursive=False)[1] == []
    assert separate_videos([films], recursive=True)[1] == [films]


def test_results_are_named_after_videos(films, tmp_path):
    first, second = plan_videos([*films, films[0]], tmp_path / "out", BOTH, False, finder())
    assert first.files == {
        "mask": tmp_path / "out" / "a_masks",
        "overlay": tmp_path / "out" / "a_overlay.mp4",
    }
    assert second.store == tmp_path / "out" / "b_masks.frames"
    assert not second.is_interrupted


def test_results_of_an_animation_have_its_format(tmp_path):
    kinds = (*BOTH, "cutout")
    (job,) = plan_videos([animate(tmp_path / "a.gif")], tmp_path / "out", kinds, False, finder())
    assert [file.name for file in job.files.values()] == [
        "a_masks",
        "a_overlay.gif",
        "a_cutout.gif",
    ]


def test_a_cutout_of_a_video_file_is_refused(films, tmp_path):
    with pytest.raises(ConfigError, match=r"cut-out of .*a\.mp4 is asked for"):
        plan_videos(films, tmp_path, ("mask", "cutout"), False, finder())


def test_finished_results_are_left_and_reported(films, tmp_path):
    finished = []
    done = finder(ResultState.FINISHED)
    for overwrite in (False, True):
        assert plan_videos(films, tmp_path / "out", BOTH, overwrite, done, finished.append) == []
    assert [job.image for job in finished] == films * 2


def test_results_of_other_origin_are_left_unless_they_may_be_replaced(films, tmp_path):
    other, failed = finder(ResultState.OTHER_MODEL), []
    with pytest.raises(OutputExistsError, match="a_masks exists already and is of another model"):
        plan_videos(films, tmp_path / "out", BOTH, False, other)
    plan = plan_videos(
        films, tmp_path / "out", BOTH, False, other, on_error=lambda video, _: failed.append(video)
    )
    assert (plan, failed) == ([], films)
    assert len(plan_videos(films, tmp_path / "out", BOTH, True, other)) == 2


def test_two_videos_of_one_name_are_refused(films, tmp_path):
    (tmp_path / "in" / "a.mov").touch()
    videos = [films[0], tmp_path / "in" / "a.mov"]
    with pytest.raises(OutputExistsError, match=r"a\.mp4 and .*a\.mov would both be written to"):
        plan_videos(videos, tmp_path / "out", BOTH, True, finder())


def test_a_folder_of_other_files_is_never_replaced(films, tmp_path):
    (tmp_path / "out" / "a_masks").mkdir(parents=True)
    (tmp_path / "out" / "a_masks" / "thesis.tex").touch()
    with pytest.raises(OutputExistsError, match="a_masks holds other files than masks of frames"):
        plan_videos(films, tmp_path / "out", BOTH, True, finder())


def test_a_video_is_never_replaced(tmp_path):
    videos = [tmp_path / name for name in ("a.mp4", "a_overlay.mp4")]
    for video in videos:
        video.touch()
    with pytest.raises(OutputExistsError, match=r"a_overlay\.mp4 is one of the videos"):
        plan_videos(videos, tmp_path, BOTH, True, finder())


def test_other_outputs_are_refused(films, tmp_path):
    with pytest.raises(ConfigError, match="kind is 'objects'; accepted for videos are 'mask'"):
        plan_videos(films, tmp_path, ("objects",), False, finder())
