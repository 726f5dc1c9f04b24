"""Rounds: what is learnt from, what is suggested, how it is scored, and when it no longer pays."""

import csv
import os
import time

import numpy as np
import pytest

from tests.label.conftest import entry_of, runs
from unetkit.errors import ConfigError, DataError
from unetkit.label import rounds as module
from unetkit.label.journal import Change
from unetkit.label.project import open_project
from unetkit.label.rounds import Round, Rounds, advise
from unetkit.label.store import DrawnMasks
from unetkit.label.suggestions import read_record
from unetkit.label.tiles import PyramidCache
from unetkit.prediction.predictor import Predictor

SECONDS = 1200  # for a process of low priority, on a busy machine


@pytest.fixture
def rounds(folder, run):
    names = Predictor(run).spec.classes.names
    project = open_project(folder, classes={"names": names})
    project.out.mkdir()
    return Rounds(DrawnMasks(project, PyramidCache(), pause_seconds=1e6))


def draw(rounds, name, *triples):
    entry = entry_of(rounds.project, name)
    with rounds.masks.opened(entry) as mask:
        base = mask.revision
    rounds.masks.change(entry, base, Change(os.urandom(16), runs(*triples)))
    return entry.id


def finish(rounds):
    ends = time.monotonic() + SECONDS
    while rounds.status.state != "idle" and time.monotonic() < ends:
        time.sleep(0.05)
    assert rounds.status.state == "idle"


def end_at_once(monkeypatch):
    """Makes each training end at once; returns a list of what was to be done."""
    taken = []

    def take(self, job, record):
        taken.append(job)
        job.run.mkdir()
        self._keep(record)

    monkeypatch.setattr(Rounds, "_follow", take)
    return taken


@pytest.fixture
def jobs(monkeypatch):
    return end_at_once(monkeypatch)


class TestSuggestions:
    def test_a_given_model_suggests_for_every_image(self, rounds, run):
        drawn = draw(rounds, "b.jpg", (0, 60, 1))
        rounds.masks.write_all()
        rounds.suggest_with(run)
        finish(rounds)
        assert rounds.status.problem == ""
        assert rounds.known.keys() == rounds.project.entries.keys()
        assert [one.is_unseen for id, one in rounds.known.items() if id == drawn] == [False]
        entry = entry_of(rounds.project, "a.png")
        mask, certainty, number = rounds.read(entry)
        assert mask.shape == certainty.shape == (40, 60)
        assert number == 0
        assert Rounds(rounds.masks).known == rounds.known  # of the next start
        assert rounds.describe()["uncertainties"].keys() == rounds.known.keys()

    def test_an_image_without_a_suggestion_is_named_with_the_reason(self, rounds, run):
        broken = entry_of(rounds.project, "a.png")
        content = broken.path.read_bytes()
        broken.path.write_bytes(b"no image")
        rounds.suggest_with(run)
        finish(rounds)
        said = rounds.describe()
        assert said["problem"] == ""
        assert said["failures"].keys() == {broken.id}
        assert "a.png is not an image that can be read" in said["failures"][broken.id]
        assert said["uncertainties"].keys() == rounds.project.entries.keys() - {broken.id}
        broken.path.write_bytes(content)
        rounds.suggest_with(run)
        finish(rounds)
        assert rounds.describe()["failures"] == {}

    def test_a_model_of_other_classes_is_refused(self, project, run):
        with pytest.raises(DataError, match="accepted are the same; leave --model out"):
            Rounds(DrawnMasks(project, PyramidCache())).suggest_with(run)

    def test_without_a_suggestion_there_is_none(self, rounds):
        assert rounds.read(entry_of(rounds.project, "a.png")) is None


class TestStart:
    def test_one_labelled_image_is_too_few(self, rounds):
        draw(rounds, "a.png", (0, 60, 1))
        with pytest.raises(DataError, match="1 images are labelled; accepted to train are 2"):
            rounds.start()

    @pytest.mark.parametrize("minutes", [0, -1, 1e9, float("nan")])
    def test_a_time_out_of_range_is_refused(self, rounds, minutes):
        with pytest.raises(ConfigError, match="accepted are numbers above 0"):
            rounds.start(minutes)

    def test_it_learns_from_labelled_images_and_suggests_for_the_others_first(self, rounds, jobs):
        ids = [draw(rounds, name, (0, 60, 1)) for name in ("b.jpg", "more/c.png")]
        erased = draw(rounds, "a.png", (0, 60, 1))
        draw(rounds, "a.png", (0, 60, 255))
        rounds.start(0.5)
        finish(rounds)
        (job,) = jobs
        with open(job.table, newline="") as file:
            names = [row["name"] for row in csv.DictReader(file)]
        assert names == ["b", "more/c"]
        assert job.images[0][0] == erased
        assert job.unseen == {erased}
        assert (job.number, job.minutes, job.start) == (1, 0.5, None)
        assert rounds.finished[0].images == 2
        assert rounds.finished[0].pixels == 120
        assert set(ids) & job.unseen == set()

    def test_the_next_round_begins_with_the_last_network(self, rounds, jobs):
        for name in ("a.png", "b.jpg"):
            draw(rounds, name, (0, 60, 1))
        for _ in range(2):
            rounds.start()
            finish(rounds)
        assert (jobs[1].number, jobs[1].start) == (2, jobs[0].run)

    def test_a_round_at_a_time(self, rounds, monkeypatch):
        for name in ("a.png", "b.jpg"):
            draw(rounds, name, (0, 60, 1))
        rounds.status.state = "training"
        with pytest.raises(ConfigError, match="accepted is one at a time"):
            rounds.start()


class TestScores:
    def test_what_is_drawn_afterwards_scores_the_round_once(self, rounds, run, monkeypatch):
        rounds.suggest_with(run)
        finish(rounds)
        expected = np.zeros((3, 3), np.int64)
        for name in ("a.png", "b.jpg"):
            mask, _, _ = rounds.read(entry_of(rounds.project, name))
            draw(rounds, name, (0, 60, 1), (60, 120, 0))
            for value, row in ((1, mask[0]), (0, mask[1:3].ravel())):
                for suggested in row:
                    expected[value, suggested] += 1
        end_at_once(monkeypatch)
        for _ in range(2):
            rounds.start()
            finish(rounds)
        given = next(one for one in rounds.finished if one.number == 0)
        assert given.scored == 2
        assert np.array_equal(given.counts, expected)
        assert given.changed == pytest.approx(1 - np.trace(expected) / expected.sum())
        again = Rounds(rounds.masks)
        assert again.finished == rounds.finished
        record = read_record(rounds.suggestions / entry_of(rounds.project, "a.png").id)
        assert record.is_scored

    def test_images_that_training_saw_score_nothing(self, rounds, run):
        draw(rounds, "a.png", (0, 60, 1))
        draw(rounds, "b.jpg", (0, 60, 1))
        rounds.masks.write_all()
        rounds.suggest_with(run)
        finish(rounds)
        rounds._score({entry_of(rounds.project, "a.png").id: 60})
        assert rounds.finished[0].scored == 0


def scored(*scores, changed=0.2, updates=200):
    rounds = [{"scored": 5, "score": score, "changed": changed} for score in scores]
    return [{**one, "updates": updates} for one in rounds]


class TestAdvice:
    def test_without_scores_there_is_none(self):
        assert advise([]) == ""
        assert advise([{"scored": 0, "score": None, "changed": None, "updates": 200}]) == ""
        assert advise(scored(0.5, 0.6)) == ""

    def test_two_rounds_without_gain_end_it(self):
        assert "no longer pay" in advise(scored(0.5, 0.8, 0.805, 0.79))

    def test_a_gain_goes_on(self):
        assert "more labels pay" in advise(scored(0.5, 0.6, 0.7))
        assert "more labels pay" in advise(scored(0.7, 0.6, 0.75))

    def test_few_images_say_nothing(self):
        few = [{**one, "scored": 2} for one in scored(0.8, 0.8, 0.8, 0.8)]
        assert advise(few) == ""

    def test_a_round_of_few_updates_is_said(self):
        said = advise(scored(0.5, updates=1))
        assert said.startswith("Only 1 update of the network fitted into the time")
        assert "Only 39 updates" in advise(scored(0.5, 0.8, 0.805, 0.79, updates=39))
        assert advise(scored(0.5, updates=40)) == advise(scored(0.5, updates=0)) == ""

    def test_little_to_change_ends_it(self):
        assert "you changed 1.0 % of the pixels" in advise(scored(0.9, changed=0.01))


def die(job, connection):
    os._exit(9)


class TestProcesses:
    def test_a_process_that_ends_without_a_word_is_said(self, rounds, run, monkeypatch):
        monkeypatch.setattr(module, "work", die)
        rounds.suggest_with(run)
        finish(rounds)
        assert "the process ended with code 9 and without a word" in rounds.status.problem

    def test_it_is_stopped_and_nothing_is_said(self, rounds, run):
        rounds.suggest_with(run)
        rounds.stop()
        finish(rounds)
        assert rounds.status.problem == ""

    def test_a_new_round_ends_the_suggestions_of_the_last(self, rounds, run, monkeypatch):
        for name in ("a.png", "b.jpg"):
            draw(rounds, name, (0, 60, 1))
        rounds.suggest_with(run)
        while rounds.status.state != "suggesting":
            time.sleep(0.02)
        process = rounds._process
        jobs = end_at_once(monkeypatch)
        rounds.start()
        finish(rounds)
        assert not process.is_alive()
        assert len(jobs) == 1
        assert rounds.status.problem == ""

    def test_a_round_is_trained_and_suggests(self, rounds):
        for name in ("a.png", "b.jpg"):
            draw(rounds, name, (0, 300, 1), (1800, 300, 0))
        rounds.start(0.01)
        states = set()
        ends = time.monotonic() + SECONDS
        while rounds.status.state != "idle" and time.monotonic() < ends:
            states.add(rounds.status.state)
            time.sleep(0.05)
        assert rounds.status.problem == ""
        assert {"preparing", "training"} <= states
        assert isinstance(rounds.finished[0], Round)
        assert rounds.finished[0].updates >= 1
        assert rounds.describe()["advice"].startswith("Only ")
        assert rounds.known[entry_of(rounds.project, "more/c.png").id].is_unseen
        assert not rounds.known[entry_of(rounds.project, "a.png").id].is_unseen
