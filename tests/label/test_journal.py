"""Journals: what was appended is read again, whatever a crash left of the end."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.label.conftest import runs
from unetkit.errors import DataError
from unetkit.label.journal import Change, Journal, JournalStart, apply_runs, read_journal

START = JournalStart("é\n.png", 4, 5, base="ab" * 32, revision=7, key="cd" * 16)
CHANGES = [Change(bytes([n]) * 16, runs((n, 3, 1), (0, 1, 0))) for n in range(3)]


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "journals" / "x.journal")
    made.start(START)
    for change in CHANGES:
        made.append(change)
    return made


def test_changes_are_read_in_their_order(journal):
    journal.append_written("ef" * 32)
    found = read_journal(journal.path)
    assert found.start == START
    assert [change.key for change in found.changes] == [change.key for change in CHANGES]
    for read, written in zip(found.changes, CHANGES, strict=True):
        assert np.array_equal(read.runs, written.runs)
    assert found.digests == {"ab" * 32, "ef" * 32}
    assert found.lost == 0
    assert (found.end.revision, found.end.key) == (10, CHANGES[-1].key.hex())


def test_whatever_is_cut_off_costs_the_cut_changes_alone(journal):
    content = journal.path.read_bytes()
    record = 28 + 24  # head and two runs
    first = len(content) - 3 * record
    for length in range(first, len(content)):
        journal.path.write_bytes(content[:length])
        found = read_journal(journal.path)
        assert len(found.changes) == (length - first) // record
        assert found.lost == (length - first) % record


def test_a_damaged_byte_ends_what_is_read(journal):
    content = bytearray(journal.path.read_bytes())
    content[-30] ^= 1  # in the last change
    journal.path.write_bytes(content)
    assert len(read_journal(journal.path).changes) == 2


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[]\n", b'{"image": 1}\n'])
def test_what_is_no_journal_is_refused_by_its_name(journal, content):
    journal.path.write_bytes(content)
    with pytest.raises(DataError, match=r"x.journal cannot be read as a journal.*remove it"):
        read_journal(journal.path)


def test_a_disk_that_is_full_leaves_no_half_record(journal, monkeypatch):
    before = journal.path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        journal.append(CHANGES[0])
    assert journal.path.read_bytes() == before


SOME_RUNS = st.lists(
    st.tuples(st.integers(0, 19), st.integers(0, 6), st.integers(0, 3)).map(
        lambda run: (run[0], min(run[1], 20 - run[0]), run[2])
    ),
    max_size=8,
)


@given(SOME_RUNS)
def test_a_change_sets_pixels_one_after_another(triples):
    mask = np.full((4, 5), 9, np.uint8)
    expected = [9] * 20
    for first, count, value in triples:
        for place in range(first, first + count):
            expected[place] = value
    apply_runs(mask, runs(*triples))
    assert mask.ravel().tolist() == expected


@given(SOME_RUNS, st.integers(0, 8))
def test_changes_applied_again_to_their_result_give_the_same(triples, done):
    mask = np.full((4, 5), 9, np.uint8)
    apply_runs(mask, runs(*triples))
    other = np.full((4, 5), 9, np.uint8)
    apply_runs(other, runs(*triples[:done]))  # a crash after some of them
    apply_runs(other, runs(*triples))
    assert np.array_equal(mask, other)
