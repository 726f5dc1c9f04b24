"""Images predicted by workers, in processes of their own, against the results of one machine."""

import logging
import os
import random
import re
import signal
import sys
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.commands import Process
from unetkit.cluster import predict as predict_module
from unetkit.cluster import tasks
from unetkit.cluster.connection import local_workers
from unetkit.cluster.predict import predict_on_workers
from unetkit.errors import ConfigError, DataError, OutputExistsError
from unetkit.prediction.predictor import Predictor
from unetkit.results.files import predict_files
from unetkit.results.inputs import InputImage, find_inputs

KINDS = ("mask", "overlay", "areas")
KILLS = int(os.environ.get("UNETKIT_KILLS", "3"))


@pytest.fixture(scope="module")
def client():
    with local_workers(2) as client:
        yield client


@pytest.fixture
def predictor(grey_model):
    return Predictor(grey_model, threads=1)


@pytest.fixture
def images(tmp_path):
    """Images of several sizes in a tree."""
    rng = np.random.default_rng(0)
    for number in range(12):
        folder = tmp_path / "in" / ("" if number % 3 else "deep")
        folder.mkdir(parents=True, exist_ok=True)
        size = rng.integers(20, 90, 2)
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(folder / f"{number:02d}.png")
    return find_inputs([tmp_path / "in"], recursive=True)


def contents(folder):
    """Content of each file of results, by its path."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def on_one_machine(predictor, images, folder):
    predict_files(predictor, images, folder, kinds=KINDS, collected=True)
    return contents(folder)


def test_results_are_the_bytes_of_one_machine(client, predictor, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = []
    relative = [InputImage(one.path.relative_to(tmp_path), one.subfolder) for one in images]
    written = predict_on_workers(
        client, predictor, relative, tmp_path / "out", kinds=KINDS, on_result=results.append
    )
    wanted = on_one_machine(predictor, images, tmp_path / "one")
    assert "areas.csv" in wanted
    assert contents(tmp_path / "out") == wanted
    assert {path.relative_to(tmp_path / "out").as_posix() for path in written} == wanted.keys()
    assert sorted(result.image for result in results) == sorted(one.path for one in relative)
    for result in results:
        mask = np.asarray(Image.open(result.files["mask"]))
        assert result.counts.tolist() == np.bincount(mask.ravel(), minlength=2).tolist()
        assert result.photo is None


def test_a_bad_image_is_named_and_the_rest_is_done(client, predictor, images, tmp_path):
    bad = images[5].path
    bad.write_bytes(b"nothing")
    failed, finished = [], []

    def predict():
        return predict_on_workers(
            client,
            predictor,
            images,
            tmp_path / "out",
            kinds=["mask"],
            on_error=lambda image, error: failed.append((image, str(error))),
            on_finished=lambda result: finished.append(result.image),
        )

    assert len(predict()) == 11
    ((image, message),) = failed
    assert image == bad
    assert f"{bad} is not an image that can be read" in message
    assert predict() == []
    assert sorted(finished) == sorted(one.path for one in images if one.path != bad)
    with pytest.raises(DataError, match="is not an image that can be read"):
        predict_on_workers(client, predictor, images, tmp_path / "strict", kinds=["mask"])


def test_results_of_another_model_are_left_and_named(client, predictor, run, images, tmp_path):
    predict_on_workers(client, predictor, images, tmp_path / "out", kinds=["mask"])
    before, failed = contents(tmp_path / "out"), []
    predict_on_workers(
        client,
        Predictor(run, threads=1),
        images,
        tmp_path / "out",
        kinds=["mask"],
        on_error=lambda image, error: failed.append(type(error)),
    )
    assert failed == [OutputExistsError] * 12
    assert contents(tmp_path / "out") == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_workers_that_are_killed_change_nothing(predictor, images, tmp_path, monkeypatch):
    """Each kill hits a random worker while batches run; Dask starts another one in its place."""
    wanted = on_one_machine(predictor, images, tmp_path / "one")
    monkeypatch.setattr(predict_module, "BATCH", 1)
    chosen = random.Random(0)
    with local_workers(2) as client:
        for number in range(KILLS):
            killed, out = [], tmp_path / f"out{number}"

            def kill(_, killed=killed):
                if not killed:
                    pid = chosen.choice(sorted(client.run(os.getpid, on_error="ignore").values()))
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

            predict_on_workers(client, predictor, images, out, kinds=KINDS, on_result=kill)
            assert len(killed) == 1
            assert contents(out) == wanted


def long_command(folder, model, out):
    """Words of a command that takes some seconds, on images that are written for it."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(60):
        pixels = rng.integers(0, 256, (400, 400), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return ["-m", "unetkit", "predict", folder, "--model", model, "--out", out]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_command_that_is_killed_takes_its_workers_along_and_goes_on(grey_model, tmp_path):
    out = tmp_path / "out"
    words = long_command(tmp_path / "in", grey_model, out)
    process = Process([*words, "--workers", "1"], fresh=True)
    while process.poll() is None and not list(out.glob("[!.]*.png")):
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    finished = len(list(out.glob("[!.]*.png")))
    assert finished > 0
    predictor, before = Predictor(grey_model, threads=1), []
    images = find_inputs([tmp_path / "in"])
    with local_workers(1) as client:
        predict_on_workers(
            client, predictor, images, out, kinds=["mask"], on_finished=before.append
        )
    assert len(before) == finished
    predict_files(predictor, images, tmp_path / "one", kinds=["mask"])
    assert contents(out) == contents(tmp_path / "one")


def test_a_worker_of_another_version_is_named(client, predictor, images, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_module, "__version__", "99.0")
    with pytest.raises(
        ConfigError, match=r"worker t\w+://\S+ has unetkit \S+, and this command 99"
    ):
        predict_on_workers(client, predictor, images, tmp_path / "out", kinds=["mask"])
    assert not (tmp_path / "out").exists()


def test_a_worker_with_another_model_is_named(client, grey_model, images, tmp_path):
    model = tmp_path / "m.onnx"
    model.write_bytes(grey_model.read_bytes())
    predictor = Predictor(model, threads=1)
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with pytest.raises(DataError, match=r"worker t\w+://\S+: .*m\.onnx"):
        predict_on_workers(client, predictor, images, tmp_path / "out", kinds=["mask"])


def test_two_images_of_one_name_are_refused(client, predictor, images, tmp_path):
    twice = [*images, InputImage(tmp_path / "other" / images[0].path.name, images[0].subfolder)]
    with pytest.raises(OutputExistsError, match="would have results of one name"):
        predict_on_workers(client, predictor, twice, tmp_path / "out", kinds=["mask"])


def test_results_among_the_images_are_refused(client, predictor, images, tmp_path):
    with pytest.raises(OutputExistsError, match="where results might replace images"):
        predict_on_workers(client, predictor, images, tmp_path / "in", kinds=["mask"])


def change_workers(client, image, change):
    """Has workers, also those that start later, do something before they predict an image."""
    from distributed import WorkerPlugin

    class Change(WorkerPlugin):
        def setup(self, worker):
            from unetkit.results import files

            predict = files._predict_whole

            def changed(predictor, job, keeper):
                if job.image.name == image:
                    change()
                return predict(predictor, job, keeper)

            files._predict_whole = changed

    client.register_plugin(Change())


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda: os._exit(1), r"workers that began it ended, at last tls://127\.0\.0\.1:\d+; acc"),
        (
            lambda: time.sleep(10_000),
            r"worker tls://127\.0\.0\.1:\d+ began it and did not go on for 0\.05 minutes; acc",
        ),
    ],
)
def test_an_image_that_ends_or_holds_a_worker_is_named_and_the_rest_is_done(
    predictor, images, tmp_path, monkeypatch, change, fault
):
    monkeypatch.setattr(tasks, "CHECK_SECONDS", 0.2)
    failed = []
    with local_workers(2) as client:
        change_workers(client, "05.png", change)
        predict_on_workers(
            client,
            predictor,
            images,
            tmp_path / "out",
            kinds=["mask"],
            stalled_minutes=3 / 60,
            on_error=lambda image, error: failed.append((image.name, str(error))),
        )
    ((name, message),) = failed
    assert name == "05.png"
    assert re.search(rf"05\.png: {fault}", message)
    good = [one for one in images if one.path.name != "05.png"]
    predict_files(predictor, good, tmp_path / "one", kinds=["mask"])
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_worker_that_is_stopped_is_named_with_its_images_and_others_predict_them(
    predictor, images, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(tasks, "CHECK_SECONDS", 0.5)
    monkeypatch.setattr(tasks, "SILENT_SECONDS", 5.0)
    mark = tmp_path / "stopped"

    def stop_once():
        if not mark.exists():
            mark.touch()
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGSTOP)

    with local_workers(2) as client, caplog.at_level(logging.WARNING, "unetkit"):
        change_workers(client, "05.png", stop_once)
        predict_on_workers(client, predictor, images, tmp_path / "out", kinds=KINDS)
    assert contents(tmp_path / "out") == on_one_machine(predictor, images, tmp_path / "one")
    (message,) = [one.getMessage() for one in caplog.records if one.name.startswith("unetkit")]
    assert re.search(r"worker tls://\S+ has not answered for 5 seconds, at \S+\.png", message)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_full_disk_of_one_worker_is_named_and_others_do_the_rest(
    predictor, images, tmp_path, caplog
):
    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))

    with local_workers(2) as client, caplog.at_level(logging.WARNING, "unetkit"):
        full, other = client.nthreads()
        client.run(limit, workers=[full])
        predict_on_workers(client, predictor, images, tmp_path / "out", kinds=KINDS)
        messages = [
            one.getMessage() for one in caplog.records if "cannot write" in one.getMessage()
        ]
        assert len(messages) == 1
        assert messages[0].startswith(f"worker {full} cannot write ([Errno 27] File too large: '")
        assert contents(tmp_path / "out") == on_one_machine(predictor, images, tmp_path / "one")
        client.run(limit, workers=[other])
        with pytest.raises(OSError, match="File too large"):
            predict_on_workers(client, predictor, images, tmp_path / "full", kinds=KINDS)
        assert contents(tmp_path / "full") == {}


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_scheduler_that_is_killed_is_named_and_the_same_command_finishes(
    scheduler, grey_model, tmp_path
):
    out = tmp_path / "out"
    words = long_command(tmp_path / "in", grey_model, out)
    words += ["--cluster", scheduler.address]
    scheduler.start()
    scheduler.start_worker()
    process = Process(words, fresh=True)
    while process.poll() is None and not list(out.glob("[!.]*.png")):
        time.sleep(0.01)
    scheduler.kill()
    _, errors = process.communicate()
    assert process.poll() == 1
    assert f"the scheduler at {scheduler.address} does not answer any more" in errors
    assert "Traceback" not in errors
    scheduler.start()
    scheduler.start_worker()
    again = Process(words, fresh=True)
    output, errors = again.communicate()
    assert again.poll() == 0, errors
    assert "finished before" in output
    predict_files(
        Predictor(grey_model, threads=1),
        find_inputs([tmp_path / "in"]),
        tmp_path / "one",
        kinds=["mask"],
    )
    assert contents(out) == contents(tmp_path / "one")
