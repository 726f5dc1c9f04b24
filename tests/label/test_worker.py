"""What the process of a round says over its pipe."""

import pytest

from tests.label.conftest import entry_of
from unetkit._shared.display import StepReport
from unetkit.errors import DataError
from unetkit.label import worker
from unetkit.label.worker import PipeDisplay, RoundJob, work


class Pipe:
    """Keeps what is sent; is broken after `most` messages."""

    def __init__(self, most=10_000):
        self.sent, self.most = [], most

    def send(self, message):
        if len(self.sent) >= self.most:
            raise BrokenPipeError
        self.sent.append(message)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(worker, "_stand_back", lambda: None)


@pytest.fixture
def job(project, run, tmp_path):
    images = [(entry.id, entry.path) for entry in project.entries.values()]
    unseen = frozenset([images[0][0]])
    where = tmp_path / "suggestions"
    return RoundJob(
        2, run, tmp_path / "t.csv", tmp_path / "run", 1.0, None, where, tuple(images), unseen
    )


def test_each_image_is_suggested_and_said(job):
    pipe = Pipe()
    work(job, pipe)
    found = {message["image"]: message["suggestion"] for message in pipe.sent if "image" in message}
    assert list(found) == [id for id, _ in job.images]
    assert [one.is_unseen for one in found.values()] == [True, False, False]
    assert {one.round for one in found.values()} == {2}
    assert pipe.sent[-1] == {"state": "finished"}


def test_an_image_that_cannot_be_read_is_said_and_the_others_go_on(job, project):
    entry_of(project, "a.png").path.write_bytes(b"no image")
    pipe = Pipe()
    work(job, pipe)
    problems = [message["problem"] for message in pipe.sent if "problem" in message]
    assert len(problems) == 1
    assert "a.png is not an image" in problems[0]
    assert pipe.sent[-1] == {"state": "finished"}


def test_the_end_of_the_parent_ends_it(job):
    pipe = Pipe(most=3)
    work(job, pipe)
    assert len(pipe.sent) == 3


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DataError("no pairs; use --blocks"), "no pairs; to see more, run: unetkit check "),
        (MemoryError(), "the round failed (memory ran out)"),
        (OSError(28, "No space left"), "No space left"),
    ],
)
def test_what_fails_is_the_last_message(job, monkeypatch, error, words):
    def fail(job, send):
        raise error

    monkeypatch.setattr(worker, "_train", fail)
    pipe = Pipe()
    work(RoundJob(**{**vars(job), "model": None}), pipe)
    assert pipe.sent[-1]["state"] == "failed"
    assert words in pipe.sent[-1]["problem"]


def test_a_training_says_its_steps_and_warnings_but_not_each_step():
    pipe = Pipe()
    display = PipeDisplay(lambda **message: pipe.send(message))
    for step in (1, 2, 3):
        display.training_step(StepReport(step, 0, None, 1.0, None, 10.0, 30.0))
    display.say("data      photos")
    display.warn("few pairs")
    display.waiting("building  the network")
    assert pipe.sent == [
        {"state": "training", "fraction": 0.25, "words": "step 1"},
        {"state": "training", "said": "data      photos"},
        {"state": "training", "warned": "few pairs"},
        {"state": "training", "words": "building the network"},
    ]
