"""What a worker does with a batch, here in this process."""

import pickle

import numpy as np
import pytest
from PIL import Image

from unetkit.cluster import worker
from unetkit.cluster.worker import PredictionTask, find_fault, load, predict_batch
from unetkit.prediction.predictor import Predictor
from unetkit.results.inputs import InputImage, Shard
from unetkit.results.predicted_image import ResultOptions


@pytest.fixture
def pickled(grey_model):
    return pickle.dumps(Predictor(grey_model, threads=1))


def test_a_model_is_loaded_once(pickled, monkeypatch):
    loads = []
    monkeypatch.setattr(worker.pickle, "loads", lambda content: loads.append(content) or object())
    worker._load.cache_clear()
    assert load(pickled) is load(bytes(bytearray(pickled)))
    assert len(loads) == 1
    worker._load.cache_clear()


def test_a_model_that_cannot_be_loaded_is_a_fault(grey_model, tmp_path):
    (tmp_path / "m.onnx").write_bytes(grey_model.read_bytes())
    content = pickle.dumps(Predictor(tmp_path / "m.onnx"))
    (tmp_path / "m.onnx").unlink()
    assert "m.onnx does not exist" in find_fault(content)


def test_a_batch_is_predicted_and_left_the_second_time(pickled, tmp_path):
    images = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((20, 30), 70 * number, np.uint8)).save(path)
        images.append(InputImage(path))
    images[1].path.write_bytes(b"nothing")
    task = PredictionTask(pickled, tmp_path / "out", ("mask",), "auto", False, ResultOptions())
    assert find_fault(pickled) is None
    first, second = (predict_batch(task, images, Shard(2, 5)) for _ in range(2))
    assert [result.image for result in first.predictions] == [images[0].path, images[2].path]
    assert all(result.mask is None for result in first.predictions)
    assert [image for image, _ in first.failed] == [images[1].path]
    assert [result.image for result in second.finished] == [images[0].path, images[2].path]
    assert second.finished[0].files == {"mask": tmp_path / "out" / "0.png"}
    assert second.predictions == ()
    assert pickle.loads(pickle.dumps(first)).failed[0][0] == images[1].path
    records = [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
    (name,) = records
    assert name.startswith(".unetkit-records-2-of-5-")
