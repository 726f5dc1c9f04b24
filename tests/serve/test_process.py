"""A process that predicts is replaced when it crashes, is too slow, or is ended by the system."""

import os
import signal
import threading
from contextlib import nullcontext

import pytest

from tests.serving import photo_bytes
from unetkit.errors import ModelFileError
from unetkit.serve.limits import RefusedError
from unetkit.serve.process import PredictionProcess
from unetkit.serve.worker import IMAGE, Request, Setup


@pytest.fixture(scope="module")
def setup(built_in):
    return Setup([str(built_in.path)], None, built_in.digest, 10_000, built_in.memory, 0)


@pytest.fixture
def process(setup):
    ended = []
    made = PredictionProcess(setup, ended.append)
    made.ended = ended
    yield made
    made.close()


@pytest.fixture
def request_(tmp_path):
    (tmp_path / IMAGE).write_bytes(photo_bytes())
    return Request(str(tmp_path), "mask", "index", is_alone=True)


def end(process, number=signal.SIGSEGV):
    os.kill(process._process.pid, number)


def accept(need):
    assert need > 40 * 56 * 3
    return nullcontext()


def require_working(process, request):
    assert process.answer(request, 60, accept).startswith(b"\x89PNG")


def test_a_crash_is_said_and_the_next_request_is_answered(process, request_):
    def crash(need):
        end(process)
        return nullcontext()

    with pytest.raises(RefusedError, match=r"process that read this image ended .signal 11.") as e:
        process.answer(request_, 60, crash)
    assert e.value.status == 503
    assert process.ended == ["crash"]
    require_working(process, request_)


def test_a_request_that_takes_too_long_ends_its_process(process, request_):
    process.wait_until_ready()

    def take_long(need):
        process._process.wait(30)  # for its end
        return nullcontext()

    with pytest.raises(RefusedError, match=r"took more than 0.05 seconds, the limit of this"):
        process.answer(request_, 0.05, take_long)
    assert process.ended == ["timeout"]
    require_working(process, request_)
    assert process.ended == ["timeout"]


def test_one_that_is_ended_while_it_waits_is_replaced(process, request_):
    require_working(process, request_)
    end(process, signal.SIGKILL)
    process._process.wait(30)
    require_working(process, request_)
    assert process.ended == ["crash"]


def test_memory_that_is_refused_leaves_it_ready(process, request_):
    def refuse(need):
        raise RefusedError(422, f"{need} bytes are too many")

    with pytest.raises(RefusedError, match="bytes are too many"):
        process.answer(request_, 60, refuse)
    require_working(process, request_)
    assert process.ended == []


def test_signals_to_end_are_left_to_the_server(process, request_):
    process.wait_until_ready()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        end(process, number)
    require_working(process, request_)
    assert process.ended == []


def test_a_model_file_that_has_changed_is_refused(setup, request_):
    process = PredictionProcess(Setup(**{**vars(setup), "digest": "0" * 64}))
    with pytest.raises(ModelFileError, match="model file has changed since the server began"):
        process.wait_until_ready()
    with pytest.raises(RefusedError, match="cannot load the model") as caught:
        process.answer(request_, 60, accept)
    assert caught.value.status == 503
    process.close()


def test_its_memory_is_told_and_it_ends_with_the_server(setup):
    process = PredictionProcess(setup)
    process.wait_until_ready()
    assert 50 << 20 < process.resident_bytes < 500 << 20
    running = process._process
    process.close()
    assert running.returncode == 0
    assert threading.active_count() < 50
