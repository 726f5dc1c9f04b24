"""Masks that are drawn: on the disk at once, in their files at a pause, and never lost."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.label.conftest import entry_of, runs
from unetkit.errors import DataError, DataNotFoundError, OutputExistsError
from unetkit.label.journal import Change, read_journal
from unetkit.label.project import PAIRS_TABLE
from unetkit.label.store import DrawnMasks, StaleRevisionError
from unetkit.label.tiles import PyramidCache

NEVER = 1e6  # seconds: mask files are written on request alone


@pytest.fixture
def store(project):
    made = DrawnMasks(project, PyramidCache(), pause_seconds=NEVER)
    yield made
    made._ending.set()


@pytest.fixture
def entry(project):
    return entry_of(project, "a.png")


def change(number, *triples):
    return Change(bytes([number]) * 16, runs(*triples))


def pixels_of(file):
    with Image.open(file) as image:
        return np.asarray(image)


def reopened(store):
    """Another store of the same folders, as after a crash of the first."""
    return DrawnMasks(store.project, PyramidCache(), pause_seconds=NEVER)


class TestChanges:
    def test_a_change_is_in_the_journal_before_it_is_answered(self, store, entry):
        assert store.change(entry, 0, change(1, (5, 10, 1))) == 1
        found = read_journal(store.journal_path(entry))
        assert found.changes[0].runs.tolist() == [[5, 10, 1]]
        assert not entry.mask.exists()

    def test_a_mask_file_has_all_changes_and_the_journal_starts_anew(self, store, entry):
        for number in range(3):
            store.change(entry, number, change(number, (60 * number, 30, number % 2)))
        store.write_all()
        expected = np.full((40, 60), 255, np.uint8)
        for number in range(3):
            expected[number, :30] = number % 2
        assert np.array_equal(pixels_of(entry.mask), expected)
        found = read_journal(store.journal_path(entry))
        assert (found.changes, found.start.revision) == ((), 3)
        assert (store.project.out / PAIRS_TABLE).read_text().count("a.png") == 2

    def test_images_are_never_written(self, store, entry):
        before = entry.path.read_bytes(), entry.path.stat().st_mtime_ns
        store.change(entry, 0, change(1, (0, 9, 1)))
        store.write_all()
        assert (entry.path.read_bytes(), entry.path.stat().st_mtime_ns) == before

    def test_a_change_on_another_revision_is_refused(self, store, entry):
        store.change(entry, 0, change(1, (0, 9, 1)))
        with pytest.raises(StaleRevisionError) as error:
            store.change(entry, 0, change(2, (0, 9, 0)))
        assert error.value.revision == 1
        with store.opened(entry) as mask:
            assert (mask.file.pixels.ravel()[:9] == 1).all()

    def test_the_same_change_sent_again_is_applied_once(self, store, entry):
        first = change(1, (0, 9, 1))
        assert store.change(entry, 0, first) == store.change(entry, 0, first) == 1
        assert len(read_journal(store.journal_path(entry)).changes) == 1
        store.write_all()
        again = reopened(store)
        assert again.change(entry, 0, first) == 1

    @pytest.mark.parametrize(
        ("triple", "words"),
        [((2395, 10, 1), "has the pixel 2404 of a.png"), ((0, 1, 7), "has the value 7")],
    )
    def test_a_change_that_does_not_fit_is_refused_whole(self, store, entry, triple, words):
        with pytest.raises(DataError, match=words):
            store.change(entry, 0, change(1, (0, 1, 1), triple))
        with store.opened(entry) as mask:
            assert (mask.file.pixels == 255).all()
        assert not store.journal_path(entry).exists()

    def test_a_disk_that_is_full_refuses_the_change_and_keeps_the_mask(
        self, store, entry, monkeypatch
    ):
        store.change(entry, 0, change(1, (0, 9, 1)))

        def fail(_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fail)
            with pytest.raises(OSError, match="No space left"):
                store.change(entry, 1, change(2, (9, 9, 1)))
            store.write_all()
            assert "cannot be written (No space left" in store.problem
        assert store.change(entry, 1, change(2, (9, 9, 1))) == 2
        store.write_all()
        assert store.problem == ""
        assert (pixels_of(entry.mask).ravel()[:18] == 1).all()


class TestPauses:
    def test_a_mask_file_is_written_by_itself_after_a_pause(self, project, entry):
        store = DrawnMasks(project, PyramidCache(), pause_seconds=0.1)
        store.change(entry, 0, change(1, (0, 9, 1)))
        ends = time.monotonic() + 20
        while not entry.mask.exists() and time.monotonic() < ends:
            time.sleep(0.02)
        assert (pixels_of(entry.mask).ravel()[:9] == 1).all()
        store.close()

    def test_the_end_writes_everything(self, project, entry):
        store = DrawnMasks(project, PyramidCache(), pause_seconds=NEVER)
        store.change(entry, 0, change(1, (0, 9, 1)))
        store._pause = 0.0
        store._ending.set()
        store.close()
        assert entry.mask.exists()


class TestRecovery:
    def test_a_journal_that_is_newer_is_replayed(self, store, entry):
        store.change(entry, 0, change(1, (0, 9, 1)))
        store.write_all()
        store.change(entry, 1, change(2, (9, 9, 0)))
        again = reopened(store)
        assert again.recover() == ["a.png: 1 change recovered from the journal"]
        assert pixels_of(entry.mask).ravel()[:18].tolist() == [1] * 9 + [0] * 9
        assert again.recover() == []
        with again.opened(entry) as mask:
            assert mask.revision == 2

    def test_a_crash_between_mask_file_and_journal_loses_and_doubles_nothing(
        self, store, entry, monkeypatch
    ):
        store.change(entry, 0, change(1, (0, 9, 1)))
        with store.opened(entry) as mask, monkeypatch.context() as patch:
            patch.setattr(
                mask.journal, "start", lambda _: (_ for _ in ()).throw(OSError(5, "crash"))
            )
            store.write_all()
        assert entry.mask.exists()
        assert len(read_journal(store.journal_path(entry)).changes) == 1
        again = reopened(store)
        again.recover()
        assert (pixels_of(entry.mask).ravel()[:9] == 1).all()
        with again.opened(entry) as mask:
            assert mask.revision == 1

    def test_half_a_record_at_the_end_is_given_up_and_drawing_goes_on(self, store, entry):
        store.change(entry, 0, change(1, (0, 9, 1)))
        with open(store.journal_path(entry), "ab") as file:
            file.write(b"CHNG\x0c\0\0\0half")
        again = reopened(store)
        assert again.change(entry, 1, change(2, (9, 9, 0))) == 2
        assert len(read_journal(store.journal_path(entry)).changes) == 2

    def test_a_mask_that_another_program_changed_meanwhile_is_not_touched(self, store, entry):
        store.change(entry, 0, change(1, (0, 9, 1)))
        Image.fromarray(np.zeros((40, 60), np.uint8)).save(entry.mask)
        before = entry.mask.read_bytes()
        store.write_all()
        assert "was changed by another program while it was drawn on" in store.problem
        assert entry.mask.read_bytes() == before
        again = reopened(store)
        said = again.recover()
        assert "was changed by another program while strokes in" in said[0]
        with pytest.raises(OutputExistsError), again.opened(entry):
            pass
        assert entry.mask.read_bytes() == before
        entry.mask.unlink()  # as the message says
        assert again.recover() == ["a.png: 1 change recovered from the journal"]

    def test_a_mask_that_was_corrected_elsewhere_between_sessions_is_taken(self, store, entry):
        store.change(entry, 0, change(1, (0, 9, 1)))
        store.write_all()
        Image.fromarray(np.zeros((40, 60), np.uint8)).save(entry.mask)
        again = reopened(store)
        with pytest.raises(StaleRevisionError):  # of a page that has the old mask
            again.change(entry, 1, change(2, (0, 1, 1)))
        with again.opened(entry) as mask:
            assert not mask.file.pixels.any()
            assert mask.revision == 2

    def test_strokes_on_an_image_that_is_gone_or_has_another_size_are_kept(self, store, entry):
        store.change(entry, 0, change(1, (0, 9, 1)))
        Image.new("RGB", (5, 4)).save(entry.path)
        said = reopened(store).recover()
        assert "has 4x5 pixels, and strokes were drawn on 40x60" in said[0]
        del store.project.entries[entry.id]
        said = reopened(store).recover()
        assert "has strokes on a.png, which" in said[0]
        assert store.journal_path(entry).exists()

    def test_an_image_that_cannot_be_read_is_named(self, store, entry):
        entry.path.write_bytes(b"no image")
        with pytest.raises(DataError, match=r"a.png is not an image"), store.opened(entry):
            pass
        entry.path.unlink()
        with pytest.raises(DataNotFoundError, match=r"a.png does not exist"), store.opened(entry):
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="a signal that Windows does not have")
def test_a_killed_process_loses_no_change_that_was_answered(project, entry):
    """A process that draws and says each change it was answered; killed at some moment."""
    code = f"""
import sys, numpy as np
from pathlib import Path
from unetkit.label.journal import Change
from unetkit.label.project import open_project
from unetkit.label.store import DrawnMasks
from unetkit.label.tiles import PyramidCache
project = open_project(Path({str(project.images)!r}), classes={{"names": ("background", "pet")}})
store = DrawnMasks(project, PyramidCache(), pause_seconds=0.05)
entry = project.entries[{entry.id!r}]
for number in range(2400):
    runs = np.array([[number, 1, number % 2]], np.uint32)
    store.change(entry, number, Change(number.to_bytes(16), runs))
    print(number, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    answered = -1
    for line in process.stdout:
        answered = int(line)
        if answered == 150:
            os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 150 <= answered < 2399
    again = DrawnMasks(project, PyramidCache(), pause_seconds=NEVER)
    again.recover()
    drawn = pixels_of(entry.mask).ravel()
    assert np.array_equal(drawn[: answered + 1], np.arange(answered + 1) % 2)
    assert (drawn[answered + 2 :] == 255).all()  # one more may have been written down
