"""Answers have the bytes that `unetkit predict` writes; images are refused by their headers."""

import asyncio
import os
import signal
import threading
from contextlib import nullcontext

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.hostile import png
from tests.serving import photo_bytes
from unetkit._shared.memory_budget import BUDGET
from unetkit.errors import SizeError
from unetkit.prediction.predictor import Predictor
from unetkit.results.files import predict_files
from unetkit.results.masks import MASK_STYLES
from unetkit.results.outputs import OUTPUTS
from unetkit.results.predicted_image import ResultOptions
from unetkit.serve import segmenter as segmenter_module
from unetkit.serve.limits import Limits, RefusedError
from unetkit.serve.process import PredictionProcess
from unetkit.serve.segmenter import Segmenter


@pytest.fixture(scope="module")
def segmenter(built_in):
    made = Segmenter(built_in, Limits(pixels=10_000))
    yield made
    made.close()


def ask(segmenter, content, output="mask"):
    return asyncio.run(segmenter.answer(content, output))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_the_bytes_are_those_of_predict(segmenter, built_in, format, tmp_path):
    content = photo_bytes(format)
    image = tmp_path / f"image.{format.lower()}"
    image.write_bytes(content)
    kinds = [kind for kind in segmenter.outputs if kind in OUTPUTS]
    files = predict_files(built_in, [image], tmp_path / "out", kinds=kinds, format="png")
    assert len(kinds) == 5
    for kind, file in zip(kinds, files, strict=True):
        assert ask(segmenter, content, kind) == file.read_bytes(), kind


def test_several_orientations_are_averaged_as_predict_does(tmp_path):
    predictor = Predictor(memory=3 << 30, tta="mirror")
    segmenter = Segmenter(predictor, Limits(), 1)
    image = tmp_path / "image.png"
    image.write_bytes(photo_bytes())
    (file,) = predict_files(predictor, [image], tmp_path / "out", kinds=["probabilities"])
    assert ask(segmenter, photo_bytes(), "probabilities") == file.read_bytes()
    segmenter.close()


@pytest.mark.parametrize("style", MASK_STYLES)
def test_masks_of_each_style_are_those_of_predict(segmenter, built_in, style, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(photo_bytes())
    (file,) = predict_files(
        built_in, [image], tmp_path / "out", kinds=["mask"], options=ResultOptions(style)
    )
    answer = asyncio.run(segmenter.answer(photo_bytes(), "mask", style))
    assert answer == file.read_bytes()


@pytest.mark.parametrize(
    ("side", "words"), [(30_000, "too many pixels"), (101, "101 x 101 pixels")]
)
def test_an_image_of_too_many_pixels_is_refused_by_its_header(segmenter, side, words):
    bomb = png(b"", width=side, height=side)  # without any pixels
    with pytest.raises(RefusedError, match=f"{words}; accepted are up to 10,000 pixels"):
        ask(segmenter, bomb)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no image", "format of the image is unknown; accepted are JPEG, PNG, WEBP, TIFF"),
        (b"\x93NUMPY\x01\0", "format of the image is NPY; accepted are JPEG"),
        (photo_bytes("BMP"), "format of the image is BMP; accepted are JPEG"),
        (photo_bytes("GIF"), "format of the image is GIF"),
        (photo_bytes("JPEG2000"), "format of the image is JPEG2000"),
        (photo_bytes("PNG")[:200], "the image cannot be read whole"),
    ],
)
def test_what_is_no_accepted_image_is_refused(segmenter, content, words):
    with pytest.raises(RefusedError, match=words) as caught:
        ask(segmenter, content)
    assert caught.value.status == 422
    assert "/tmp" not in caught.value.sentence
    assert "replace" not in caught.value.sentence  # advice on files


def test_a_tiff_that_asks_for_another_decoder_is_refused(segmenter, tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression="jpeg2000", photometric="rgb")
    with pytest.raises(RefusedError, match="compression 34712; accepted are none, LZW, JPEG, def"):
        ask(segmenter, (tmp_path / "a.tif").read_bytes())


@pytest.mark.parametrize("compression", ["none", "lzw", "zlib", "packbits", "jpeg"])
def test_tiffs_of_the_accepted_compressions_are_read(segmenter, compression, tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression, photometric="rgb")
    assert ask(segmenter, (tmp_path / "a.tif").read_bytes()).startswith(b"\x89PNG")


def test_several_images_are_refused(segmenter, tmp_path):
    pages = [Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(RefusedError, match="the image holds 2 images; accepted is a file of one"):
        ask(segmenter, (tmp_path / "a.tif").read_bytes())


def test_an_answer_that_needs_too_much_memory_is_refused(built_in, monkeypatch):
    segmenter = Segmenter(built_in, Limits())
    monkeypatch.setattr(segmenter, "_most_needed", 1 << 20)
    with pytest.raises(RefusedError, match=r"need \d+ MiB of memory; accepted are up to 1 MiB"):
        ask(segmenter, photo_bytes("JPEG", (400, 400)))
    segmenter.close()


def test_a_memory_limit_that_leaves_nothing_for_images_is_refused():
    with pytest.raises(SizeError, match=r"accepted to serve .* with 1 processes are amounts from"):
        Segmenter(Predictor(memory=300 << 20), Limits())


def test_processes_take_at_most_half_of_the_memory_unless_their_number_is_given(
    built_in, monkeypatch
):
    monkeypatch.setattr("unetkit.serve.segmenter.usable_cores", lambda: 64)
    started = []
    monkeypatch.setattr(segmenter_module, "PredictionProcess", lambda *args: started.append(args))
    free = built_in.memory - Limits.held_bytes - BUDGET.base
    made = Segmenter(built_in, Limits())
    assert 1 < made.processes == len(started) < 64
    assert free / 2 < made._most_needed < free
    with pytest.raises(SizeError, match=r"with 64 processes are amounts from [0-9,]+ MiB up"):
        Segmenter(built_in, Limits(), 64)
    assert Segmenter(built_in, Limits(), 3).processes == 3


def test_an_image_whose_process_ends_leaves_no_file(built_in, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    segmenter = Segmenter(built_in, Limits(), 1)

    def crash(need):
        assert [path.name for path in tmp_path.glob("*/*")] == ["image"]
        os.kill(segmenter._all[0]._process.pid, signal.SIGKILL)
        return nullcontext()

    monkeypatch.setattr(segmenter, "_take", crash)
    with pytest.raises(RefusedError, match=r"the process that read this image ended .signal 9.;"):
        ask(segmenter, photo_bytes())
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert ask(segmenter, photo_bytes()).startswith(b"\x89PNG")
    assert segmenter.ended == {"crash": 1}
    segmenter.close()


def test_an_image_that_is_alone_uses_all_cores_and_others_one(built_in, monkeypatch):
    segmenter, alone = Segmenter(built_in, Limits(), 2), []
    original = PredictionProcess.answer

    def answer(process, request, *args):
        alone.append(request.is_alone)
        return original(process, request, *args)

    monkeypatch.setattr(PredictionProcess, "answer", answer)

    async def scenario(count):
        return await asyncio.gather(
            *(segmenter.answer(photo_bytes(), "probabilities") for _ in range(count))
        )

    found = [*asyncio.run(scenario(1)), *asyncio.run(scenario(4))]
    segmenter.close()
    assert alone[0]
    assert not any(alone[2:4])  # the first of four may begin before the second comes
    assert len(set(found)) == 1


class Gate:
    """Holds requests that have a process until it is opened."""

    def __init__(self, monkeypatch):
        self.opened, self.reached = threading.Event(), threading.Semaphore(0)
        original = PredictionProcess.answer

        def answer(*args):
            self.reached.release()
            assert self.opened.wait(30)
            return original(*args)

        monkeypatch.setattr(PredictionProcess, "answer", answer)


@pytest.fixture
def gate(monkeypatch):
    return Gate(monkeypatch)


def test_beyond_the_queue_requests_are_refused_until_there_is_room(built_in, gate):
    segmenter = Segmenter(built_in, Limits(waiting=1))

    async def scenario():
        most = segmenter.processes + 1
        tasks = [asyncio.create_task(segmenter.answer(photo_bytes(), "mask")) for _ in range(most)]
        await asyncio.sleep(0)
        assert segmenter.waiting == 1
        with pytest.raises(RefusedError, match="1 requests wait already, and accepted are 1") as e:
            await segmenter.answer(photo_bytes(), "mask")
        assert e.value.status == 429
        assert e.value.retry_seconds >= 1
        gate.opened.set()
        assert len(set(await asyncio.gather(*tasks))) == 1
        assert segmenter.pending == 0
        await segmenter.answer(photo_bytes(), "mask")

    asyncio.run(scenario())
    segmenter.close()


def test_an_answer_that_takes_too_long_is_refused_and_its_process_stays_counted(built_in, gate):
    segmenter = Segmenter(built_in, Limits(seconds=0.05))

    async def scenario():
        with pytest.raises(RefusedError, match=r"no answer within 0.05 seconds") as caught:
            await segmenter.answer(photo_bytes(), "mask")
        assert caught.value.status == 503
        assert segmenter.pending == 1
        gate.opened.set()

    asyncio.run(scenario())
    segmenter.close()
    assert segmenter.pending == 0


def test_a_request_that_is_given_up_while_it_waits_is_not_predicted(built_in, gate):
    segmenter = Segmenter(built_in, Limits())

    async def scenario():
        running = [
            asyncio.create_task(segmenter.answer(photo_bytes(), "mask"))
            for _ in range(segmenter.processes)
        ]
        await asyncio.sleep(0)
        waiting = asyncio.create_task(segmenter.answer(photo_bytes(), "mask"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert segmenter.pending == segmenter.processes
        gate.opened.set()
        await asyncio.gather(*running)

    asyncio.run(scenario())
    segmenter.close()
    for _ in range(segmenter.processes):
        assert gate.reached.acquire(blocking=False)
    assert not gate.reached.acquire(blocking=False)
