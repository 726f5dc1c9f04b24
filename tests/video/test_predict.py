"""Masks and overlays of videos, against the predictions of their frames as images."""

import dataclasses
import os
import signal
import sys
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.commands import Process
from tests.video.clips import avi_of, moving_frames, write_clip
from unetkit.errors import DataError, DataNotFoundError, OutputExistsError
from unetkit.prediction.predictor import Predictor
from unetkit.results.files import predict_files
from unetkit.results.predicted_image import ResultOptions
from unetkit.video import predict as predict_module
from unetkit.video.predict import predict_videos
from unetkit.visualization.overlays import lay_over

SIZE = (20, 26)


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor(run)


def frame_masks(predictor, frames, folder, options=None):
    """Content of the masks that are written of the frames as images, each in a PNG."""
    (folder / "frames").mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / "frames" / f"{number:07d}.png")
    images = sorted((folder / "frames").iterdir())
    written = predict_files(predictor, images, folder / "masks", kinds=["mask"], options=options)
    return [path.read_bytes() for path in written]


def blocks(image):
    """Means of blocks of 8 x 8 pixels, by channel."""
    height, width = (8 * (side // 8) for side in image.shape[:2])
    cut = image[:height, :width].reshape(height // 8, 8, width // 8, 8, 3)
    return cut.astype(float).mean((1, 3))


def contents(folder):
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def listed(folder):
    """Names in a folder of results, without those of records."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


@pytest.mark.parametrize("style", ["index", "palette", "binary", "values"])
def test_masks_are_the_bytes_of_those_of_the_frames(predictor, tmp_path, style):
    frames, options = moving_frames(6, SIZE), ResultOptions(style)
    video = write_clip(tmp_path / "a.avi", frames)
    results = []
    written = predict_videos(
        predictor, [video], tmp_path / "out", options=options, on_result=results.append
    )
    assert written == [tmp_path / "out" / "a_masks"]
    assert listed(tmp_path / "out") == ["a_masks"]
    wanted = frame_masks(predictor, frames, tmp_path / "images", options)
    assert contents(tmp_path / "out" / "a_masks") == wanted
    (result,) = results
    assert (result.size, result.frames, result.rate, result.notes) == (SIZE, 6, 10.0, ())
    labels = np.array([predictor(frame) for frame in frames])
    assert result.counts.tolist() == np.bincount(labels.ravel(), minlength=3).tolist()


def test_grey_models_take_the_luma_of_frames(grey_model, tmp_path):
    grey, frames = Predictor(grey_model), moving_frames(3, (40, 56))
    video = write_clip(tmp_path / "a.avi", frames)
    predict_videos(grey, [video], tmp_path / "out")
    assert contents(tmp_path / "out" / "a_masks") == frame_masks(grey, frames, tmp_path / "images")


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_the_overlay_shows_the_masks_over_the_frames(predictor, tmp_path, size):
    frames = [np.full((*size, 3), (40 * n, 90, 200 - 40 * n), np.uint8) for n in range(5)]
    video = write_clip(tmp_path / "a.avi", frames)
    predict_videos(predictor, [video], tmp_path / "out", kinds=["overlay"])
    capture = cv2.VideoCapture(str(tmp_path / "out" / "a_overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == 10
    for number, frame in enumerate(frames):
        mask = np.asarray(Image.open(tmp_path / "out" / "a_masks" / f"{number:07d}.png"))
        wanted = lay_over(frame, mask, predictor.spec.classes)
        shown = capture.read()[1][: size[0], : size[1], ::-1]
        # Masks of a hardly trained network are noise, of which the encoder keeps the mean.
        error, effect = (np.abs(blocks(shown) - blocks(other)).mean() for other in (wanted, frame))
        assert error < 5 < effect
    assert not capture.read()[0]


class TestInterrupted:
    @pytest.fixture
    def video(self, tmp_path):
        return write_clip(tmp_path / "a.avi", moving_frames(8, SIZE))

    @staticmethod
    def interrupt(predictor, video, out, after=3, **options):
        """Runs until some frames are done, and then as if Ctrl-C were pressed."""
        done = iter(range(after))

        def on_frame():
            if next(done, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            predict_videos(predictor, [video], out, begin=lambda *_: on_frame, **options)

    def test_it_goes_on_with_the_same_bytes(self, predictor, video, tmp_path, monkeypatch):
        kinds = {"kinds": ["overlay"]}
        predict_videos(predictor, [video], tmp_path / "whole", **kinds)
        self.interrupt(predictor, video, tmp_path / "out", **kinds)
        assert listed(tmp_path / "out") == ["a_masks.frames"]
        there = len(os.listdir(tmp_path / "out" / "a_masks.frames" / "frames"))
        assert there >= 3
        predicted, begun = [], []
        call = Predictor.__call__
        monkeypatch.setattr(
            Predictor, "__call__", lambda one, image: predicted.append(0) or call(one, image)
        )

        def begin(video, earlier):
            begun.append(earlier)
            return lambda: None

        predict_videos(predictor, [video], tmp_path / "out", begin=begin, **kinds)
        assert begun == [there]
        assert len(predicted) == 8 - there
        assert listed(tmp_path / "out") == ["a_masks", "a_overlay.mp4"]
        for name in ("out", "whole"):
            assert len(contents(tmp_path / name / "a_masks")) == 8
        assert contents(tmp_path / "out" / "a_masks") == contents(tmp_path / "whole" / "a_masks")
        films = [(tmp_path / name / "a_overlay.mp4").read_bytes() for name in ("out", "whole")]
        assert films[0] == films[1]

    def test_masks_of_another_model_or_version_are_refused(self, predictor, video, tmp_path):
        self.interrupt(predictor, video, tmp_path / "out")
        write_clip(video, moving_frames(8, SIZE, seed=1))
        with pytest.raises(FileExistsError, match=r"masks of another run \(sha256 differ\)"):
            predict_videos(predictor, [video], tmp_path / "out")
        predict_videos(predictor, [video], tmp_path / "out", overwrite=True)
        assert listed(tmp_path / "out") == ["a_masks"]

    def test_a_damaged_mask_is_predicted_again(self, predictor, video, tmp_path):
        self.interrupt(predictor, video, tmp_path / "out")
        first = tmp_path / "out" / "a_masks.frames" / "frames" / "0000000.png"
        whole = first.read_bytes()
        first.write_bytes(whole[:50])
        predict_videos(predictor, [video], tmp_path / "out")
        assert (tmp_path / "out" / "a_masks" / "0000000.png").read_bytes() == whole

    def test_after_a_result_that_could_not_be_written_it_goes_on(
        self, predictor, video, tmp_path, monkeypatch
    ):
        class Full(predict_module.VideoFile):
            def close(self, end):
                self.abandon()
                raise OSError(28, "No space left on device", "a_overlay.mp4")

        with monkeypatch.context() as patch:
            patch.setattr(predict_module, "VideoFile", Full)
            with pytest.raises(OSError, match="No space left"):
                predict_videos(predictor, [video], tmp_path / "out", kinds=["overlay"])
        assert listed(tmp_path / "out") == ["a_masks.frames"]
        predict_videos(predictor, [video], tmp_path / "out", kinds=["overlay"])
        assert listed(tmp_path / "out") == ["a_masks", "a_overlay.mp4"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_process_leaves_no_result_and_the_same_command_finishes(run, tmp_path):
    video = write_clip(tmp_path / "a.avi", moving_frames(60, (120, 160)))
    words = ["-m", "unetkit", "predict", video, "--model", run, "--overlay", "--out"]
    process = Process([*words, tmp_path / "out"])
    masks = tmp_path / "out" / "a_masks.frames" / "frames"
    while process.poll() is None and not (masks.exists() and len(os.listdir(masks)) > 5):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    while process.poll() is None:
        time.sleep(0.01)
    left = set(listed(tmp_path / "out"))
    assert "a_masks.frames" in left
    assert not left & {"a_masks", "a_overlay.mp4"}
    for folder in ("out", "whole"):
        predict_videos(Predictor(run), [video], tmp_path / folder, kinds=["overlay"])
        assert listed(tmp_path / folder) == ["a_masks", "a_overlay.mp4"]
    assert contents(tmp_path / "out" / "a_masks") == contents(tmp_path / "whole" / "a_masks")


def test_the_same_command_again_leaves_what_is_finished(predictor, tmp_path):
    video, finished = write_clip(tmp_path / "a.avi", moving_frames(4, SIZE)), []

    def predict(**options):
        return predict_videos(
            predictor, [video], tmp_path / "out", on_finished=finished.append, **options
        )

    assert len(predict(kinds=["overlay"])) == 2
    assert (predict(kinds=["overlay"]), finished) == ([], [video])
    assert (predict(overwrite=True), finished) == ([], [video] * 2)
    with pytest.raises(OutputExistsError, match="a_masks exists already and is of other options"):
        predict(smooth=3)
    assert len(predict(smooth=3, overwrite=True)) == 1
    write_clip(video, moving_frames(6, SIZE))  # a newer version of the video
    assert len(predict(smooth=3)) == 1
    assert len(contents(tmp_path / "out" / "a_masks")) == 6
    (tmp_path / "out" / "a_masks" / "0000001.png").write_bytes(b"mine")
    os.utime(tmp_path / "out" / "a_masks")
    with pytest.raises(OutputExistsError, match="a_masks exists already"):
        predict()


class TestSmoothing:
    @pytest.mark.parametrize("smooth", [3, 5])
    def test_masks_are_those_of_mean_probabilities(self, predictor, tmp_path, smooth):
        frames = moving_frames(7, SIZE)
        video = write_clip(tmp_path / "a.avi", frames)
        predict_videos(predictor, [video], tmp_path / "out", smooth=smooth)
        probabilities = np.array([predictor.probabilities(frame) for frame in frames])
        for number in range(7):
            first = max(0, number - smooth // 2)
            mean = probabilities[first : number + smooth // 2 + 1].mean(0)
            mask = np.asarray(Image.open(tmp_path / "out" / "a_masks" / f"{number:07d}.png"))
            top = np.sort(mean, axis=-1)
            is_clear = top[..., -1] - top[..., -2] > 1e-6  # other orders of sums round differently
            assert np.array_equal(mask[is_clear], mean.argmax(-1)[is_clear])
            assert is_clear.mean() > 0.9

    def test_an_interrupted_run_goes_on_with_the_same_bytes(self, predictor, tmp_path):
        video = write_clip(tmp_path / "a.avi", moving_frames(9, SIZE))
        predict_videos(predictor, [video], tmp_path / "whole", smooth=5)
        TestInterrupted.interrupt(predictor, video, tmp_path / "out", after=4, smooth=5)
        predict_videos(predictor, [video], tmp_path / "out", smooth=5)
        assert contents(tmp_path / "out" / "a_masks") == contents(tmp_path / "whole" / "a_masks")


class TestAnimations:
    @staticmethod
    def animation(path, frames):
        first, *others = map(Image.fromarray, frames)
        first.save(path, save_all=True, append_images=others, duration=[100, 300, 200], loop=2)
        return path

    @pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
    def test_masks_are_those_of_pages_and_the_overlay_keeps_the_times(
        self, predictor, tmp_path, suffix
    ):
        path = self.animation(tmp_path / f"a{suffix}", moving_frames(3, SIZE))
        predict_videos(predictor, [path], tmp_path / "out", kinds=["overlay", "cutout"])
        pages = predict_files(predictor, [path], tmp_path / "pages")
        assert contents(tmp_path / "out" / "a_masks") == [page.read_bytes() for page in pages]
        for kind in ("overlay", "cutout"):
            with Image.open(tmp_path / "out" / f"a_{kind}{suffix}") as image:
                durations = []
                for number in range(image.n_frames):
                    image.seek(number)
                    image.load()
                    durations.append(image.info["duration"])
                assert (durations, image.info["loop"]) == ([100, 300, 200], 2)
                assert image.size == (SIZE[1], SIZE[0])

    def test_the_cutout_is_that_of_pages(self, predictor, tmp_path):
        path = self.animation(tmp_path / "a.png", moving_frames(3, SIZE))
        predict_videos(predictor, [path], tmp_path / "out", kinds=["cutout"])
        pages = predict_files(predictor, [path], tmp_path / "pages", kinds=["cutout"])
        with Image.open(tmp_path / "out" / "a_cutout.png") as image:
            for number, page in enumerate(pages):
                image.seek(number)
                assert np.array_equal(
                    np.asarray(image.convert("RGBA")), np.asarray(Image.open(page))
                )


def test_a_video_that_ends_early_says_so(predictor, tmp_path):
    content = avi_of(moving_frames(40, SIZE))
    (tmp_path / "a.avi").write_bytes(content[: len(content) // 2])
    results = []
    predict_videos(predictor, [tmp_path / "a.avi"], tmp_path / "out", on_result=results.append)
    (result,) = results
    assert 10 < result.frames < 25
    assert f"a.avi ends after {result.frames / 10:.1f} of the 4.0 seconds" in result.notes[0]
    assert f"the {result.frames} frames that could be read" in result.notes[0]
    assert len(contents(tmp_path / "out" / "a_masks")) == result.frames


def test_a_video_that_cannot_be_read_is_named_and_leaves_nothing(predictor, tmp_path):
    (tmp_path / "a.avi").write_bytes(avi_of([], size=SIZE))
    with pytest.raises(DataError, match=r"a\.avi cannot be read \(no frame can be decoded\)"):
        predict_videos(predictor, [tmp_path / "a.avi"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_next_video_follows_one_that_cannot_be_read(predictor, tmp_path):
    bad, good = tmp_path / "a.avi", write_clip(tmp_path / "b.avi", moving_frames(2, SIZE))
    bad.write_bytes(b"nothing")
    failed = []
    written = predict_videos(
        predictor,
        [bad, tmp_path / "c.avi", good],
        tmp_path / "out",
        on_error=lambda video, error: failed.append((video.name, type(error))),
    )
    assert failed == [("a.avi", DataError), ("c.avi", DataNotFoundError)]
    assert written == [tmp_path / "out" / "b_masks"]


def test_a_frame_that_does_not_fit_into_memory_is_refused(run, tmp_path):
    video = write_clip(tmp_path / "a.avi", [np.zeros((3000, 4000, 3), np.uint8)])
    with pytest.raises(DataError, match=r"a\.avi .*allow more \(--memory"):
        predict_videos(Predictor(run, memory="600MiB"), [video], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_animation_whose_frames_do_not_fit_into_memory_is_refused(run, tmp_path):
    frames = [Image.new("L", (1000, 1000), level) for level in range(60)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    small = Predictor(run, memory="600MiB")
    with pytest.raises(DataError, match=r"a\.png needs .*allow more \(--memory"):
        predict_videos(small, [tmp_path / "a.png"], tmp_path / "out", kinds=["overlay"])
    assert not (tmp_path / "out").exists()  # 12 bytes for each of 60 million pixels: 687 MiB


def test_masks_of_two_values_need_a_background(predictor, tmp_path, monkeypatch):
    classes = dataclasses.replace(predictor.spec.classes, background=None)
    monkeypatch.setattr(predictor, "spec", dataclasses.replace(predictor.spec, classes=classes))
    with pytest.raises(DataError, match="masks of two values need a background class"):
        predict_videos(predictor, [], tmp_path / "out", options=ResultOptions("binary"))
