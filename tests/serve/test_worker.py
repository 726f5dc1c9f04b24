"""What the process that predicts says to each line that it reads."""

import json
from io import BytesIO

import pytest

from tests.serving import photo_bytes
from unetkit.serve import worker
from unetkit.serve.worker import IMAGE, answer_requests


@pytest.fixture
def converse(built_in, tmp_path):
    """Starts a conversation with a setup; returns the lines that come back, as objects."""
    (tmp_path / IMAGE).write_bytes(photo_bytes())
    setup = {
        "models": [str(built_in.path)],
        "tta": None,
        "digest": built_in.digest,
        "pixels": 10_000,
        "memory": built_in.memory,
        "object_bytes": 0,
    }

    def run(*messages, **changes):
        lines = [json.dumps(message).encode() + b"\n" for message in (setup | changes, *messages)]
        answers = BytesIO()
        answer_requests(BytesIO(b"".join(lines)), answers)
        return [json.loads(line) for line in answers.getvalue().splitlines()]

    return run


@pytest.fixture
def request_(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)
    return {"folder": str(tmp_path), "output": "mask", "mask": "index", "is_alone": True}


def test_a_request_is_answered_when_its_memory_is_granted(converse, request_, tmp_path):
    ready, need, done = converse(request_, True)
    assert ready == {}
    assert need["need"] > 40 * 56 * 3
    assert done == {"file": "result.png"}
    assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")


def test_without_its_memory_nothing_is_read_and_the_next_is_answered(converse, request_):
    summary = request_ | {"output": "summary", "is_alone": False}
    answers = converse(request_, False, summary, True)
    assert [list(answer) for answer in answers] == [[], ["need"], ["need"], ["file"]]
    assert answers[-1] == {"file": "result.json"}


def test_an_image_that_is_refused_is_answered_with_a_sentence(converse, request_, tmp_path):
    (tmp_path / IMAGE).write_bytes(b"no image")
    _, refused = converse(request_)
    assert refused["status"] == 422
    assert refused["sentence"].startswith("the format of the image is unknown; accepted are JPEG")


def test_a_fault_is_logged_and_the_next_is_answered(converse, request_, monkeypatch, caplog):
    monkeypatch.setattr(worker, "kinds_of", lambda *_: 1 / 0)
    answers = converse(request_, request_)
    assert [answer.get("status") for answer in answers] == [None, 500, 500]
    assert "ZeroDivisionError" in caplog.text


def test_another_model_file_is_refused(converse):
    (refused,) = converse(digest="0" * 64)
    assert (refused["status"], refused["retry_seconds"]) == (503, None)
