"""Downloads from a server that fails in every way."""

import hashlib
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from tests.loopback import (
    Impatient,
    Listener,
    Server,
    closed_port,
    deliver,
    pack,
    refuse,
    send,
    send_chunks,
    spoil,
    stall,
    stay_on_loopback,
)
from unetkit.datasets import download
from unetkit.datasets.download import obtain_archives
from unetkit.datasets.unpacking import MIB
from unetkit.errors import DataError, DataNotFoundError, UnetkitError

DATE = "Thu, 01 Mar 2012 10:00:00 GMT"
CUT = 70_000  # bytes after which the line breaks, more than one block of the downloader

NOISE = random.Random(5).randbytes(200_000)  # incompressible, so that there is much to cut
NOTES = pack(*((f"notes/{i}.txt", b"%d" % i) for i in range(4)))
IMAGES = pack(("images/a.jpg", b"small"), ("images/b.bak", NOISE))
LARGE_IMAGES = random.Random(6).randbytes(4 * MIB + 1000)


class Setting:
    """A server and a cache; `obtain` runs with short patience."""

    def __init__(self, server, root):
        self.server = server
        self.cache = root / "cache"
        self.part = self.cache / "images.tar.gz.part"
        self.display = Listener()
        self.mirrors = ("/a",)
        self.read_seconds = 10

    @property
    def publication(self):
        return self.server.publication(*self.mirrors, read_seconds=self.read_seconds)

    def answer(self, *answers, mirror="/a", name="images.tar.gz"):
        self.server.answers[mirror, name] = list(answers)

    def keep(self, data):
        self.cache.mkdir(exist_ok=True)
        self.part.write_bytes(data)

    def obtain(self, **options):
        """Where the archives are, all of which are right."""
        options = {"cache": self.cache, "display": self.display} | options
        paths = obtain_archives(self.publication, **options)
        assert {path.name: path.read_bytes() for path in paths} == self.server.files
        return paths

    def fail(self, kind, match, **options):
        """The error's text; nothing half is left under a whole name."""
        with pytest.raises(kind, match=match) as caught:
            self.obtain(**options)
        assert isinstance(caught.value, UnetkitError)
        self.require_clean_cache()
        return str(caught.value)

    def require_clean_cache(self):
        for path in self.cache.iterdir() if self.cache.exists() else ():
            assert path.name.startswith(tuple(self.server.files))
            if path.name in self.server.files:
                assert path.read_bytes() == self.server.files[path.name]


@pytest.fixture
def setting(tmp_path, monkeypatch):
    stay_on_loopback(monkeypatch)
    with Server({"notes.tar.gz": NOTES, "images.tar.gz": IMAGES}) as server:
        yield Setting(server, tmp_path)


class TestCache:
    def test_archives_come_into_the_cache_in_the_order_of_the_publication(self, setting):
        names = ("notes.tar.gz", "images.tar.gz")
        assert setting.obtain() == [setting.cache / name for name in names]

    def test_what_is_cached_is_not_fetched_again(self, setting):
        setting.obtain()
        setting.obtain()
        assert len(setting.server.log) == 2

    def test_a_damaged_cached_archive_is_fetched_again(self, setting):
        setting.cache.mkdir()
        (setting.cache / "images.tar.gz").write_bytes(IMAGES[:-1] + b"?")
        setting.obtain()
        assert setting.server.asked() == [("/a", None)]
        setting.require_clean_cache()

    def test_only_whole_archives_and_locks_stay_in_the_cache(self, setting):
        setting.obtain()
        kept = {path.name for path in setting.cache.iterdir() if path.suffix != ".lock"}
        assert kept == set(setting.server.files)

    def test_the_users_cache_folder_is_the_usual_one(self, setting, monkeypatch, tmp_path):
        monkeypatch.setattr(
            "platformdirs.user_cache_dir", lambda name: str(tmp_path / "system" / name)
        )
        setting.obtain(cache=None)
        assert (tmp_path / "system/unetkit/images.tar.gz").exists()

    def test_progress_counts_mebibytes_to_the_end(self, setting):
        setting.server.files["images.tar.gz"] = LARGE_IMAGES
        setting.obtain()
        tasks = setting.display.tasks
        assert tasks["downloading images.tar.gz"] == [5, 5]  # 4 MiB and a little more
        assert tasks["downloading notes.tar.gz"] == [1, 1]

    def test_what_comes_twice_does_not_count_as_progress(self, setting):
        setting.server.files["images.tar.gz"] = LARGE_IMAGES
        setting.answer(deliver(cut=3 * MIB), deliver(ranges=False))
        setting.obtain()
        assert setting.display.tasks["downloading images.tar.gz"] == [5, 5]

    def test_nothing_is_shown_or_printed_without_a_failure(self, setting, capfd):
        setting.obtain()
        assert setting.display.said == []
        assert capfd.readouterr() == ("", "")


class TestResume:
    def test_only_the_rest_is_asked_for_after_a_cut(self, setting):
        setting.answer(deliver(cut=CUT), deliver())
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/a", f"bytes={CUT}-")]
        assert any(
            f"closed the connection at {CUT:,} bytes; trying again" in t
            for t in setting.display.said
        )

    def test_every_cut_is_continued(self, setting):
        setting.answer(deliver(cut=CUT), deliver(cut=CUT), deliver())
        setting.obtain()
        assert setting.server.asked()[1:] == [
            ("/a", f"bytes={CUT}-"),
            ("/a", f"bytes={2 * CUT}-"),
        ]

    def test_a_connection_that_is_reset_is_continued(self, setting):
        setting.answer(deliver(cut=CUT, reset=True), deliver())
        setting.obtain()
        assert len(setting.server.asked()) == 2

    def test_a_part_from_before_is_continued(self, setting):
        setting.keep(IMAGES[:1234])
        setting.obtain()
        assert setting.server.asked() == [("/a", "bytes=1234-")]
        assert not setting.part.exists()

    def test_a_whole_part_from_before_needs_no_server(self, setting):
        setting.keep(IMAGES)
        setting.obtain()
        assert setting.server.asked() == []

    def test_a_part_that_is_too_long_is_started_again(self, setting):
        setting.keep(IMAGES + b"more")
        setting.obtain()
        assert setting.server.asked() == [("/a", None)]

    def test_a_part_of_something_else_is_started_again_at_the_same_server(self, setting):
        setting.keep(b"not the archive")
        setting.obtain()
        assert setting.server.asked() == [("/a", "bytes=15-"), ("/a", None)]

    def test_what_had_come_before_an_interruption_is_continued(self, setting):
        with pytest.raises(KeyboardInterrupt):
            setting.obtain(display=Impatient("downloading images.tar.gz"))
        setting.require_clean_cache()
        kept = setting.part.stat().st_size
        assert 0 < kept < len(IMAGES)
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/a", f"bytes={kept}-")]

    def test_another_process_continues_where_one_was_killed(self, setting):
        setting.answer(stall(after=CUT), deliver())
        code = f"""
from unetkit.datasets.download import Archive, Publication, obtain_archives
from unetkit._shared.display import Display
obtain_archives({setting.publication!r}, cache={str(setting.cache)!r}, display=Display())
"""
        process = subprocess.Popen([sys.executable, "-c", code])
        try:
            deadline = time.monotonic() + 60
            while not (setting.part.exists() and setting.part.stat().st_size >= 1 << 16):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        kept = setting.part.stat().st_size
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/a", f"bytes={kept}-")]

    @pytest.mark.parametrize(
        ("marks", "sent"),
        [
            ({"etag": '"v1"'}, '"v1"'),
            ({"modified": DATE}, DATE),
            ({"etag": 'W/"v1"', "modified": DATE}, DATE),
            ({"etag": 'W/"v1"'}, None),
            ({}, None),
        ],
    )
    def test_the_servers_mark_of_the_file_is_sent_with_the_rest(self, setting, marks, sent):
        setting.answer(deliver(cut=CUT, **marks), deliver(**marks))
        setting.obtain()
        assert setting.server.log[-1] == ("/a", "images.tar.gz", f"bytes={CUT}-", sent)

    def test_a_file_that_changed_meanwhile_is_started_again(self, setting):
        setting.answer(spoil(cut=CUT, ETag='"old"'), deliver(etag='"new"'))
        setting.obtain()
        assert len(setting.server.asked()) == 2

    def test_a_server_that_knows_no_ranges_starts_again(self, setting):
        setting.answer(deliver(cut=CUT, ranges=False), deliver(ranges=False))
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/a", f"bytes={CUT}-")]

    @pytest.mark.parametrize(
        "odd",
        [
            refuse(416),
            send(IMAGES[5:], 206, Content_Range=f"bytes 5-{len(IMAGES) - 1}/{len(IMAGES)}"),
            send(IMAGES[CUT:], 206),
            send(IMAGES[CUT:], 206, Content_Range="pages 1-2/3"),
        ],
        ids=["416", "other start", "no range named", "nonsense"],
    )
    def test_a_server_that_gives_another_range_is_asked_for_the_whole(self, setting, odd):
        setting.answer(deliver(cut=CUT), odd, deliver())
        setting.obtain()
        assert [span for _, span in setting.server.asked()] == [None, f"bytes={CUT}-", None]

    def test_a_range_of_unknown_total_is_taken(self, setting):
        span = f"bytes {CUT}-{len(IMAGES) - 1}/*"
        setting.answer(deliver(cut=CUT), send(IMAGES[CUT:], 206, Content_Range=span))
        setting.obtain()

    def test_part_of_the_rest_is_followed_by_the_rest_of_it(self, setting):
        middle = send(
            IMAGES[CUT : 2 * CUT],
            206,
            Content_Range=f"bytes {CUT}-{2 * CUT - 1}/{len(IMAGES)}",
            Content_Length=CUT,
        )
        setting.answer(deliver(cut=CUT), middle, deliver())
        setting.obtain()
        assert setting.server.asked()[-1] == ("/a", f"bytes={2 * CUT}-")
        assert any(
            f"closed the connection at {2 * CUT:,} bytes" in text for text in setting.display.said
        )

    def test_tries_that_give_nothing_are_bounded(self, setting):
        setting.answer(deliver(cut=0))
        setting.fail(DataNotFoundError, r"images.tar.gz \(closed the connection at 0 bytes\)")
        assert len(setting.server.asked()) == 3

    def test_tries_that_give_a_mebibyte_are_not_counted(self, setting):
        setting.server.files["images.tar.gz"] = LARGE_IMAGES
        setting.answer(*[deliver(cut=MIB)] * 4, deliver())
        setting.obtain()
        assert len(setting.server.asked()) == 5  # of three in a row

    def test_a_connection_that_always_breaks_at_the_same_place_ends(self, setting):
        setting.server.files["images.tar.gz"] = LARGE_IMAGES
        setting.answer(deliver(cut=2 * MIB, ranges=False))
        setting.fail(DataNotFoundError, "closed the connection")
        assert len(setting.server.asked()) == 3  # the first brought two mebibytes, then no more

    def test_the_failure_says_that_the_next_run_continues(self, setting):
        setting.answer(deliver(cut=CUT), refuse(404))
        setting.fail(
            DataNotFoundError,
            f"later, which continues from the partial download in {setting.cache}",
        )
        assert setting.part.read_bytes() == IMAGES[:CUT]


class TestServers:
    @pytest.mark.parametrize("status", [400, 403, 404, 410])
    def test_a_refusal_is_taken_at_once(self, setting, status):
        setting.mirrors = ("/a", "/b")
        setting.answer(refuse(status))
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/b", None)]
        assert any(f"returned {status}" in text for text in setting.display.said)

    @pytest.mark.parametrize("status", [408, 429, 500, 503])
    def test_a_temporary_failure_is_asked_again(self, setting, status):
        setting.answer(refuse(status), deliver())
        setting.obtain()
        assert len(setting.server.asked()) == 2

    def test_a_lasting_failure_leads_to_the_next_mirror(self, setting):
        setting.mirrors = ("/a", "/b")
        setting.answer(refuse(500))
        setting.obtain()
        assert setting.server.asked() == [("/a", None)] * 3 + [("/b", None)]

    def test_a_dead_mirror_leads_to_the_next(self, setting):
        setting.mirrors = (closed_port(), "/b")
        setting.obtain()
        assert setting.server.asked() == [("/b", None)]
        assert any("could not be reached" in text for text in setting.display.said)

    def test_the_next_mirror_continues_where_the_last_was_cut(self, setting):
        setting.mirrors = ("/a", "/b")
        setting.answer(deliver(cut=CUT, etag='"at a"'), refuse(404))
        setting.obtain()
        assert setting.server.asked()[-1] == ("/b", f"bytes={CUT}-")
        assert setting.server.log[-1][3] is None  # another server's mark means nothing here

    def test_a_server_without_a_response_is_given_up(self, setting):
        setting.read_seconds = 0.2
        setting.mirrors = ("/a", "/b")
        setting.answer(stall())
        setting.obtain()
        assert setting.server.asked() == [("/a", None)] * 3 + [("/b", None)]
        assert any("did not respond in time" in text for text in setting.display.said)

    def test_a_server_that_stops_sending_is_asked_for_the_rest(self, setting):
        setting.read_seconds = 0.2
        setting.answer(stall(after=1 << 16), deliver())
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/a", f"bytes={1 << 16}-")]

    def test_a_server_that_closes_without_a_response_is_asked_again(self, setting):
        setting.answer(lambda handler, data: None, deliver())
        setting.obtain()
        assert len(setting.server.asked()) == 2

    def test_a_server_without_encryption_behind_https_is_passed_over(self, setting):
        secure = setting.server.url("/a").replace("http:", "https:")
        setting.mirrors = (secure, "/b")
        setting.obtain()
        assert any("made no secure connection" in text for text in setting.display.said)

    def test_a_server_that_redirects_for_ever_is_passed_over(self, setting):
        setting.mirrors = ("/a", "/b")
        setting.answer(send(b"", 302, Location="/a/images.tar.gz"))
        setting.obtain()
        assert any("failed (Exceeded 30" in text for text in setting.display.said)

    def test_a_redirection_is_followed_with_the_range(self, setting):
        setting.keep(IMAGES[:CUT])
        setting.answer(send(b"", 302, Location="/b/images.tar.gz"))
        setting.obtain()
        assert setting.server.asked()[-1] == ("/b", f"bytes={CUT}-")

    def test_a_proxy_of_the_environment_is_used(self, setting, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", setting.server.url())
        monkeypatch.setenv("http_proxy", setting.server.url())
        setting.mirrors = ("http://archives.invalid/",)
        setting.obtain()
        assert setting.server.asked() == [("http://archives.invalid", None)]


class TestWrongBytes:
    def test_a_wrong_checksum_leads_to_the_next_mirror(self, setting):
        setting.mirrors = ("/a", "/b")
        setting.answer(spoil())
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/b", None)]
        assert any("sent bytes with a wrong checksum" in text for text in setting.display.said)

    def test_wrong_checksums_everywhere_name_each_mirror(self, setting):
        setting.mirrors = ("/a", "/b")
        setting.answer(spoil())
        setting.answer(refuse(404), mirror="/b")
        text = setting.fail(DataNotFoundError, "images.tar.gz could not be downloaded from")
        assert "/a/images.tar.gz (sent bytes with a wrong checksum)" in text
        assert "/b/images.tar.gz (returned 404 Not Found)" in text
        assert "--archives FOLDER" in text
        assert not setting.part.exists()

    def test_wrong_bytes_of_one_mirror_do_not_spoil_another(self, setting):
        setting.mirrors = ("/a", "/b")
        setting.answer(spoil(cut=CUT), refuse(404))
        setting.obtain()
        # The rest from /b makes a wrong whole, so /b is asked for all of it.
        assert setting.server.asked()[-2:] == [("/b", f"bytes={CUT}-"), ("/b", None)]

    def test_a_damaged_cached_archive_stays_if_no_server_delivers(self, setting):
        setting.cache.mkdir()
        cached = setting.cache / "images.tar.gz"
        cached.write_bytes(b"damaged")
        setting.answer(refuse(404))
        with pytest.raises(DataNotFoundError, match="returned 404"):
            setting.obtain()
        assert cached.read_bytes() == b"damaged"

    @pytest.mark.parametrize("length", [5, len(IMAGES) - 1, len(IMAGES) + 1, 10**15])
    def test_a_file_of_another_length_is_refused_before_it_is_kept(self, setting, length):
        setting.keep(IMAGES[:CUT])
        setting.answer(send(b"<html>", Content_Length=length))
        setting.fail(DataNotFoundError, rf"offers {length:,} bytes, not {len(IMAGES):,}")
        assert setting.part.read_bytes() == IMAGES[:CUT]

    def test_a_rest_of_another_file_is_refused(self, setting):
        setting.keep(IMAGES[:CUT])
        setting.answer(send(b"x" * 9, 206, Content_Range=f"bytes {CUT}-{CUT + 8}/{CUT + 9}"))
        setting.fail(DataNotFoundError, rf"offers {CUT + 9:,} bytes")
        assert setting.part.read_bytes() == IMAGES[:CUT]

    def test_a_length_that_is_no_number_is_ignored(self, setting):
        setting.answer(send(IMAGES, Content_Length="many"))
        setting.obtain()

    def test_an_answer_without_a_length_is_taken(self, setting):
        setting.answer(send_chunks(IMAGES))
        setting.obtain()

    def test_an_answer_without_a_length_that_does_not_end_is_refused(self, setting):
        setting.answer(send_chunks(IMAGES + bytes(10 * MIB)))
        setting.fail(DataNotFoundError, rf"sent more than {len(IMAGES):,} bytes")
        assert not setting.part.exists()

    def test_gzip_that_is_called_an_encoding_is_not_undone(self, setting):
        setting.answer(deliver(encoding="x-gzip"))
        setting.obtain()


class TestNoNetwork:
    @pytest.mark.parametrize("host", ["closed port", "unknown name"])
    def test_one_sentence_names_the_servers_and_the_option(self, setting, host):
        url = closed_port() if host == "closed port" else "http://archives.invalid/"
        name = "127.0.0.1" if host == "closed port" else "archives.invalid"
        setting.mirrors = (url, url + "again/")
        text = setting.fail(
            DataNotFoundError,
            r"none of the servers of notes.tar.gz could be reached \(" + name + r"\);",
        )
        assert "--archives FOLDER" in text
        assert ". " not in text
        assert "\n" not in text

    def test_it_is_raised_at_once(self, setting):
        setting.mirrors = (closed_port(),) * 3
        started = time.monotonic()
        setting.fail(DataNotFoundError, "could be reached")
        assert time.monotonic() - started < 2

    def test_a_network_that_goes_away_is_not_called_absent(self, setting):
        setting.mirrors = ("/a", closed_port())
        setting.answer(deliver(cut=CUT), refuse(404))
        text = setting.fail(DataNotFoundError, "could not be downloaded from")
        assert "(could not be reached)" in text

    def test_what_is_cached_needs_no_network(self, setting):
        setting.obtain()
        setting.mirrors = (closed_port(),)
        setting.obtain()


class TestArchivesFolder:
    @pytest.fixture
    def archives(self, tmp_path):
        folder = tmp_path / "archives"
        folder.mkdir()
        (folder / "notes.tar.gz").write_bytes(NOTES)
        (folder / "images.tar.gz").write_bytes(IMAGES)
        return folder

    def test_they_are_taken_as_they_lie_without_a_server(self, setting, archives):
        paths = setting.obtain(archives=archives)
        assert paths == [archives / name for name in ("notes.tar.gz", "images.tar.gz")]
        assert setting.server.log == []
        assert not setting.cache.exists()

    def test_a_path_may_be_text(self, setting, archives):
        setting.obtain(archives=str(archives))

    def test_a_missing_one_is_named(self, setting, archives):
        (archives / "images.tar.gz").unlink()
        text = setting.fail(DataNotFoundError, "archives/images.tar.gz does not", archives=archives)
        assert "accepted is a folder that contains notes.tar.gz and images.tar.gz" in text

    def test_a_missing_folder_is_named(self, setting, tmp_path):
        setting.fail(DataNotFoundError, "nowhere/notes.tar.gz", archives=tmp_path / "nowhere")

    def test_a_wrong_one_is_named_with_both_checksums(self, setting, archives):
        (archives / "images.tar.gz").write_bytes(b"other")
        found, right = hashlib.md5(b"other").hexdigest(), hashlib.md5(IMAGES).hexdigest()
        text = setting.fail(DataError, rf"checksum {found} \(5 bytes\)", archives=archives)
        assert right in text
        assert setting.server.url("/a") + "images.tar.gz" in text


class TestTwoAtOnce:
    def test_the_second_waits_and_finds_the_archive_in_the_cache(self, setting):
        waiting = threading.Event()

        class Second(Listener):
            def say(self, text):
                super().say(text)
                if "waiting for it" in text:
                    waiting.set()

        def hold(handler, data):
            assert waiting.wait(10)
            deliver()(handler, data)

        setting.answer(hold, name="notes.tar.gz")
        first, display = threading.Thread(target=setting.obtain, daemon=True), Second()
        first.start()
        while not setting.server.log:
            time.sleep(0.01)
        setting.obtain(display=display)
        first.join(20)
        assert len(setting.server.log) == 2
        assert any("another process is downloading notes.tar.gz" in text for text in display.said)


class TestSlowServers:
    def clock(self, *moments):
        """A clock that shows these times, and the last one for ever."""
        left = list(moments)
        return lambda: left.pop(0) if len(left) > 1 else left[0]

    def test_a_slow_download_ends_and_goes_on_at_the_next_try(self, setting):
        publication = setting.server.publication("/a")
        # The first try takes 130 s for its first bytes, the second one no time at all.
        slow = replace(publication, clock=self.clock(0, 130, 130), slow_bytes=1 << 30)
        setting.answer(deliver(), deliver())
        path = download._fetch(slow.archives[1], slow, setting.cache, setting.display)
        assert path.stat().st_size == slow.archives[1].size
        asked = setting.server.asked(slow.archives[1].name)
        assert len(asked) == 2
        assert asked[1][1].startswith("bytes=")
        text = next(text for text in setting.display.said if "kB/s" in text)
        assert "over 130 s; accepted are" in text
        assert "what was received is kept; trying again" in text

    def seconds_at(self, rate, setting):
        """How many seconds a download at this speed is waited for, after a fast beginning."""
        now = [0.0]
        publication = replace(setting.server.publication("/a"), clock=lambda: now[0])
        speed = download._Speed(publication, 0)
        for second in range(1, 600):
            now[0] = second
            speed.require(10**7 + rate * second)
        return second

    def test_the_speed_is_that_of_the_last_two_minutes(self, setting):
        assert self.seconds_at(20_100, setting) == 599
        with pytest.raises(download._ServerError, match=r"sent 19\.\d kB/s over 12\d s; accepted"):
            self.seconds_at(19_000, setting)
