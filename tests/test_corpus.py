"""A short part of the corpus that `python -m tests.corpus` tries whole, and what judges it."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from tests.corpus import __main__ as corpus
from tests.corpus import kills, worker
from tests.corpus.__main__ import COUNTS, OUTCOMES, Worker, counts_for, table, try_all
from tests.corpus.folders import Given, Trial
from tests.corpus.formats import Format
from tests.corpus.images import a_file, damage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
SHORT = 110  # inputs


@pytest.fixture(scope="module")
def given(run, pets):
    return Given(run, pets)


@pytest.fixture(scope="module")
def records(given):
    return try_all(7, counts_for(SHORT), given)


@pytest.mark.parametrize("family", COUNTS)
def test_every_input_is_accepted_or_refused_with_words(family, records):
    found = [record for record in records if record["family"] == family]
    assert len(found) == counts_for(SHORT)[family]
    assert [record for record in found if record["outcome"] not in ("accepted", "refused")] == []


def test_whole_files_are_accepted(records):
    found = [record["outcome"] for record in records if record["family"] == "whole files"]
    assert set(found) == {"accepted"}


def test_the_whole_corpus_has_1500_inputs():
    assert sum(COUNTS.values()) >= 1500
    assert list(COUNTS) == list(worker.FAMILIES)


def test_the_table_has_a_row_for_each_family(records):
    lines = table(records).splitlines()
    assert len(lines) == 2 + len(COUNTS)
    assert f"| whole files | {counts_for(SHORT)['whole files']} |" in lines[2]


def test_the_same_numbers_give_the_same_input():
    first, again = (np.random.default_rng([1, 2, 3]) for _ in range(2))
    for _ in range(20):
        kind, format = a_file(first)
        other_kind, other = a_file(again)
        assert (kind, format.content) == (other_kind, other.content)
        assert damage(first, format.content) == damage(again, other.content)


class TestJudge:
    """What it finds where there is a fault."""

    @pytest.fixture
    def said(self, monkeypatch):
        said = []
        monkeypatch.setattr(worker, "say", said.append)
        return said

    def image(self, folder, reader):
        Image.fromarray(np.eye(5, dtype=np.uint8)).save(folder / "image.png")
        return Format("x.png", (folder / "image.png").read_bytes(), {"reader": reader})

    @pytest.mark.parametrize(
        ("found", "outcome"),
        [(np.eye(5), "accepted"), (np.zeros((5, 5)), "other pixels"), (None, "other pixels")],
    )
    def test_pixels_are_compared(self, found, outcome, said, tmp_path):
        worker.try_image("an image", self.image(tmp_path, lambda path: found), tmp_path)
        assert said[0] == {"begun": "an image"}
        assert said[1]["outcome"] == outcome

    @pytest.mark.parametrize(
        ("words", "outcome"),
        [("{path} is odd; accepted is another; replace it", "refused"), ("odd", "without words")],
    )
    def test_refusals_need_words(self, words, outcome, said, tmp_path, monkeypatch):
        def refuse(path):
            return worker.UnetkitError(words.format(path=path))

        monkeypatch.setattr(worker, "read", refuse)
        worker.try_image("an image", self.image(tmp_path, np.array), tmp_path)
        assert said[1]["outcome"] == outcome

    def test_an_error_of_python_is_a_traceback(self, said, tmp_path):
        worker.try_command(Trial("a call", call=lambda: 1 // 0), tmp_path)
        assert said[1]["outcome"] == "traceback"
        assert "ZeroDivisionError" in said[1]["words"]

    def test_memory_is_measured(self, said, tmp_path, monkeypatch):
        monkeypatch.setattr(worker, "MEMORY", 50 << 20)
        worker.try_command(Trial("a call", call=lambda: np.ones(5_000_000).sum()), tmp_path)
        worker.try_command(Trial("a call", call=lambda: np.ones(40_000_000).sum()), tmp_path)
        assert [record["outcome"] for record in said[1::2]] == ["accepted", "over the bound"]

    @pytest.mark.parametrize(
        ("code", "outcome"),
        [
            ("import time; time.sleep(60)", "hang"),
            ("import sys; sys.exit(3)", "died"),
            ("x = bytes(b'1') * (1 << 28); import time; time.sleep(60)", "over the bound"),
        ],
    )
    def test_a_process_that_does_not_answer_is_stopped(self, code, outcome, given, monkeypatch):
        monkeypatch.setattr(corpus, "SECONDS", 1)
        monkeypatch.setattr(corpus, "WATCHED_BYTES", 128 << 20)
        one = Worker(1, given)
        begun = json.dumps({"begun": "an input"})
        one._words = [sys.executable, "-c", f"input(); print('{begun}', flush=True); {code}"]
        assert one.try_input("bombs", 0)["outcome"] == outcome
        one.close()
        assert outcome in OUTCOMES


class TestKills:
    def test_what_was_killed_is_done_again(self, given, tmp_path):
        names = ["predict", "export", "download"]
        outcomes, faults = kills.kill_all(6, 3, names, tmp_path, given)
        assert faults == []
        assert [found.total() for found in outcomes.values()] == [2, 2, 2]
        assert len(kills.table(outcomes).splitlines()) == 5

    def test_faults_are_found(self, tmp_path):
        def command(code):
            return kills.Command(lambda out: ["-c", code, str(out)])

        write = "import sys, pathlib; file = pathlib.Path(sys.argv[1], {!r}); file.write_text('a')"
        waits = "; import time; time.sleep(2)"
        for name, code, outcome in (
            ("same", write.format("a.txt"), "same"),
            ("left", write.format(".part-a"), "left behind"),
            ("other", write.format("b.txt"), "other bytes"),
            ("stuck", "import sys; sys.exit(1)", "stuck"),
        ):
            out = tmp_path / name
            out.mkdir()
            found, _ = kills.kill_once(
                command(
                    f"{code}{waits}" if name != "stuck" else f"import time; time.sleep(1); {code}"
                ),
                out,
                0.0,
                kills.signal.SIGKILL,
                {"a.txt": kills.hashlib.sha256(b"a").hexdigest()},
            )
            assert found == outcome
