"""Fetching against a server that misbehaves in every way, and unpacking what must not be."""

import contextlib
import gzip
import hashlib
import io
import random
import subprocess
import sys
import tarfile
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loopback import (
    LIMIT,
    Impatient,
    Listener,
    Server,
    closed_port,
    deliver,
    pack,
    refuse,
    send,
    send_chunks,
    special,
    spoil,
    stall,
    stay_on_loopback,
)
from unetkit._shared.display import Display
from unetkit.datasets.download import MIB, obtain_archives, unpack_archive
from unetkit.errors import DataError, DataNotFoundError, UnetkitError

DATE = "Thu, 01 Mar 2012 10:00:00 GMT"
CUT = 70_000  # bytes after which the line breaks, more than one block of the downloader

NOISE = random.Random(5).randbytes(200_000)  # which does not shrink, so that there is much to cut
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
        monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "system" / name)
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

    def test_nothing_is_said_or_printed_when_all_goes_well(self, setting, capfd):
        setting.obtain()
        assert setting.display.said == []
        assert capfd.readouterr() == ("", "")


class TestResume:
    def test_only_the_rest_is_asked_for_after_a_cut(self, setting):
        setting.answer(deliver(cut=CUT), deliver())
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/a", f"bytes={CUT}-")]
        assert any(
            f"cut the line at {CUT:,} bytes; trying again" in t for t in setting.display.said
        )

    def test_every_cut_is_gone_on_from(self, setting):
        setting.answer(deliver(cut=CUT), deliver(cut=CUT), deliver())
        setting.obtain()
        assert setting.server.asked()[1:] == [
            ("/a", f"bytes={CUT}-"),
            ("/a", f"bytes={2 * CUT}-"),
        ]

    def test_a_line_that_is_reset_is_gone_on_from(self, setting):
        setting.answer(deliver(cut=CUT, reset=True), deliver())
        setting.obtain()
        assert len(setting.server.asked()) == 2

    def test_a_part_from_before_is_gone_on_from(self, setting):
        setting.keep(IMAGES[:1234])
        setting.obtain()
        assert setting.server.asked() == [("/a", "bytes=1234-")]
        assert not setting.part.exists()

    def test_a_whole_part_from_before_needs_no_server(self, setting):
        setting.keep(IMAGES)
        setting.obtain()
        assert setting.server.asked() == []

    def test_a_part_that_is_too_long_is_begun_again(self, setting):
        setting.keep(IMAGES + b"more")
        setting.obtain()
        assert setting.server.asked() == [("/a", None)]

    def test_a_part_of_something_else_is_begun_again_at_the_same_server(self, setting):
        setting.keep(b"not the archive")
        setting.obtain()
        assert setting.server.asked() == [("/a", "bytes=15-"), ("/a", None)]

    def test_what_had_come_before_an_interruption_is_gone_on_from(self, setting):
        with pytest.raises(KeyboardInterrupt):
            setting.obtain(display=Impatient("downloading images.tar.gz"))
        setting.require_clean_cache()
        kept = setting.part.stat().st_size
        assert 0 < kept < len(IMAGES)
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/a", f"bytes={kept}-")]

    def test_another_process_goes_on_where_one_was_killed(self, setting):
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

    def test_a_file_that_changed_meanwhile_is_begun_again(self, setting):
        setting.answer(spoil(cut=CUT, ETag='"old"'), deliver(etag='"new"'))
        setting.obtain()
        assert len(setting.server.asked()) == 2

    def test_a_server_that_knows_no_ranges_begins_again(self, setting):
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
        assert any(f"cut the line at {2 * CUT:,} bytes" in text for text in setting.display.said)

    def test_tries_that_bring_nothing_are_bounded(self, setting):
        setting.answer(deliver(cut=0))
        setting.fail(DataNotFoundError, r"images.tar.gz \(cut the line at 0 bytes\)")
        assert len(setting.server.asked()) == 3

    def test_tries_that_bring_a_mebibyte_are_not_counted(self, setting):
        setting.server.files["images.tar.gz"] = LARGE_IMAGES
        setting.answer(*[deliver(cut=MIB)] * 4, deliver())
        setting.obtain()
        assert len(setting.server.asked()) == 5  # of three in a row

    def test_a_line_that_always_breaks_at_the_same_place_ends(self, setting):
        setting.server.files["images.tar.gz"] = LARGE_IMAGES
        setting.answer(deliver(cut=2 * MIB, ranges=False))
        setting.fail(DataNotFoundError, "cut the line")
        assert len(setting.server.asked()) == 3  # the first brought two mebibytes, then no more

    def test_the_failure_says_that_the_next_run_goes_on(self, setting):
        setting.answer(deliver(cut=CUT), refuse(404))
        setting.fail(DataNotFoundError, f"later, which goes on from what is in {setting.cache}")
        assert setting.part.read_bytes() == IMAGES[:CUT]


class TestServers:
    @pytest.mark.parametrize("status", [400, 403, 404, 410])
    def test_a_refusal_is_taken_at_once(self, setting, status):
        setting.mirrors = ("/a", "/b")
        setting.answer(refuse(status))
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/b", None)]
        assert any(f"answered {status}" in text for text in setting.display.said)

    @pytest.mark.parametrize("status", [408, 429, 500, 503])
    def test_a_passing_trouble_is_asked_again(self, setting, status):
        setting.answer(refuse(status), deliver())
        setting.obtain()
        assert len(setting.server.asked()) == 2

    def test_a_lasting_trouble_leads_to_the_next_mirror(self, setting):
        setting.mirrors = ("/a", "/b")
        setting.answer(refuse(500))
        setting.obtain()
        assert setting.server.asked() == [("/a", None)] * 3 + [("/b", None)]

    def test_a_dead_mirror_leads_to_the_next(self, setting):
        setting.mirrors = (closed_port(), "/b")
        setting.obtain()
        assert setting.server.asked() == [("/b", None)]
        assert any("could not be reached" in text for text in setting.display.said)

    def test_the_next_mirror_goes_on_where_the_last_was_cut(self, setting):
        setting.mirrors = ("/a", "/b")
        setting.answer(deliver(cut=CUT, etag='"at a"'), refuse(404))
        setting.obtain()
        assert setting.server.asked()[-1] == ("/b", f"bytes={CUT}-")
        assert setting.server.log[-1][3] is None  # another server's mark means nothing here

    def test_a_silent_server_is_given_up(self, setting):
        setting.read_seconds = 0.2
        setting.mirrors = ("/a", "/b")
        setting.answer(stall())
        setting.obtain()
        assert setting.server.asked() == [("/a", None)] * 3 + [("/b", None)]
        assert any("did not answer in time" in text for text in setting.display.said)

    def test_a_server_that_falls_silent_is_asked_for_the_rest(self, setting):
        setting.read_seconds = 0.2
        setting.answer(stall(after=1 << 16), deliver())
        setting.obtain()
        assert setting.server.asked() == [("/a", None), ("/a", f"bytes={1 << 16}-")]

    def test_a_server_that_hangs_up_without_a_word_is_asked_again(self, setting):
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
        assert any("cannot be asked (Exceeded 30" in text for text in setting.display.said)

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
        assert "/b/images.tar.gz (answered 404 Not Found)" in text
        assert "--archives FOLDER" in text
        assert not setting.part.exists()

    def test_what_a_liar_began_does_not_spoil_an_honest_mirror(self, setting):
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
        with pytest.raises(DataNotFoundError, match="answered 404"):
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

    def test_it_is_said_at_once(self, setting):
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

    def test_a_name_in_letters_will_do(self, setting, archives):
        setting.obtain(archives=str(archives))

    def test_a_missing_one_is_named(self, setting, archives):
        (archives / "images.tar.gz").unlink()
        text = setting.fail(DataNotFoundError, "archives/images.tar.gz does not", archives=archives)
        assert "accepted is a folder that holds notes.tar.gz and images.tar.gz" in text

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
        assert any("another process is at notes.tar.gz" in text for text in display.said)


def raw(*headers: tarfile.TarInfo, tail: bytes = b"") -> bytes:
    """Headers as they are, for what tarfile would not write; then other bytes."""
    blocks = (h.tobuf(tarfile.GNU_FORMAT) for h in headers)
    return gzip.compress(b"".join(blocks) + tail, 1)


HOSTILE = {
    "out": (pack(("images/../../evil.jpg", b"one")), "a path out of the folder"),
    "out and in": (pack(("images/../images/a.jpg", b"one")), "a path out of the folder"),
    "absolute": (pack(("/evil.jpg", b"one")), "a path out of the folder"),
    "drive": (pack(("C:/evil.jpg", b"one")), "a path out of the folder"),
    "backslash": (pack(("images\\..\\evil.jpg", b"one")), "a path out of the folder"),
    "nameless": (pack(("", b"one")), "a path out of the folder"),
    "symbolic link": (
        pack((special("images/a.jpg", tarfile.SYMTYPE, linkname="b"), b"")),
        "a link",
    ),
    "link out": (pack((special("images", tarfile.SYMTYPE, linkname="/tmp"), b"")), "a link"),
    "hard link": (pack((special("a.jpg", tarfile.LNKTYPE, linkname="/etc/passwd"), b"")), "a link"),
    "stray link": (pack((special("a.bak", tarfile.SYMTYPE, linkname="/etc"), b"")), "a link"),
    "pipe": (pack((special("a.jpg", tarfile.FIFOTYPE), b"")), "neither file nor folder"),
    "device": (pack((special("a.jpg", tarfile.CHRTYPE), b"")), "neither file nor folder"),
    "disk": (pack((special("a.jpg", tarfile.BLKTYPE), b"")), "neither file nor folder"),
    "sparse": (pack((special("a.jpg", tarfile.GNUTYPE_SPARSE), b"")), "neither file nor folder"),
    "unknown kind": (pack((special("a.jpg", b"Z"), b"")), "neither file nor folder"),
    "twice": (pack(("images/a.jpg", b"one"), ("images/a.jpg", b"another")), "taken already"),
    "twice in disguise": (
        pack(("images/a.jpg", b"one"), ("./images//a.jpg", b"another")),
        "taken already",
    ),
    "file as folder": (pack(("images", b"one"), ("images/a.jpg", b"another")), "taken already"),
    "file deeper": (pack(("images", b"one"), ("images/b/a.jpg", b"another")), "taken already"),
    "folder as file": (
        pack(("images/a.jpg", b"one"), (special("images/a.jpg", tarfile.DIRTYPE), b"")),
        "taken already",
    ),
    "long name": (pack(("n" * 256, b"one")), "a name that is too long"),
    "long path": (pack(("folder/" * 100 + "a.jpg", b"one")), "a name that is too long"),
    "one bomb": (pack(("images/a.jpg", bytes(LIMIT))), "more than 8,388,608 unpacked bytes"),
    "many bombs": (
        pack(*((f"images/{i}.jpg", bytes(MIB)) for i in range(8))),
        "more than 8,388,608 unpacked bytes",
    ),
    "stray bomb": (pack(("a.bak", bytes(LIMIT))), "more than 8,388,608 unpacked bytes"),
    "size only said": (
        raw(special("images/a.jpg", tarfile.REGTYPE, size=10**13)),
        "more than 8,388,608 unpacked bytes",
    ),
    "negative size": (raw(special("a.jpg", tarfile.REGTYPE, size=-1024)), "a negative size"),
    "header bomb": (
        raw(special("pax", tarfile.XHDTYPE, size=1 << 26), tail=bytes(1 << 26)),
        "a header of excessive size",
    ),
    "header of all": (raw(special("pax", tarfile.XGLTYPE, size=10**12)), "a header of excessive"),
    "name bomb": (
        raw(special("name", tarfile.GNUTYPE_LONGNAME, size=1 << 26), tail=bytes(1 << 26)),
        "a header of excessive size",
    ),
    "negative header": (
        raw(special("pax", tarfile.XHDTYPE, size=-1024), tail=bytes(1 << 20)),
        "a header of excessive size",
    ),
    "headers without end": (
        raw(*[special("name", tarfile.GNUTYPE_LONGNAME)] * 5000),
        "is damaged at its beginning",
    ),
}
DAMAGED = {
    "empty": b"",
    "text": b"<html>Not found</html>" * 100,
    "gzip of text": gzip.compress(b"no tar " * 1000),
    "gzip of nothing": gzip.compress(b""),
    "gzip header only": IMAGES[:10],
    "half": IMAGES[: len(IMAGES) // 2],
    "a tenth": IMAGES[: len(IMAGES) // 10],
    "end of a stray missing": gzip.compress(gzip.decompress(IMAGES)[:150_000]),
    "end of a file missing": gzip.compress(gzip.decompress(pack(("a.jpg", NOISE)))[:150_000]),
    "a header cut off": gzip.compress(gzip.decompress(IMAGES)[:100]),
    "wrong bits": IMAGES[:10] + b"\xff" + IMAGES[11:],  # a kind of block that deflate has not
    "tar without gzip": gzip.decompress(IMAGES),
}


class TestUnpacking:
    """Below the checksum, which a hostile archive would not pass."""

    def unpack(self, data, root, limit=LIMIT, display=None):
        path, folder = root / "images.tar.gz", root / "unpacked"
        path.write_bytes(data)
        folder.mkdir()
        left_out = unpack_archive(
            path,
            folder,
            max_size=limit,
            is_stray=lambda name: name.endswith(".bak"),
            display=display or Display(),
        )
        return left_out, folder

    def test_files_are_unpacked_and_strays_are_left_out_and_named(self, tmp_path):
        left_out, folder = self.unpack(IMAGES, tmp_path)
        assert left_out == ["images/b.bak"]
        assert [path.name for path in (folder / "images").iterdir()] == ["a.jpg"]
        assert (folder / "images/a.jpg").read_bytes() == b"small"

    def test_progress_counts_packed_mebibytes_to_the_end(self, tmp_path):
        display = Listener()
        self.unpack(pack(("a.bak", LARGE_IMAGES)), tmp_path, display=display)
        assert display.tasks == {"unpacking images.tar.gz": [5, 5]}

    def test_rights_are_the_usual_ones_whatever_the_archive_says(self, tmp_path):
        data = pack(
            (special("images", tarfile.DIRTYPE, mode=0o000), b""),
            (special("images/a.jpg", tarfile.REGTYPE, size=3, mode=0o6777, uid=0), b"one"),
        )
        _, folder = self.unpack(data, tmp_path)
        assert (folder / "images").stat().st_mode & 0o7700 == 0o700
        assert (folder / "images/a.jpg").stat().st_mode & 0o7111 == 0

    @pytest.mark.parametrize("kind", HOSTILE)
    @pytest.mark.parametrize("python_looks_too", [True, False])
    def test_a_hostile_archive_is_refused(self, tmp_path, monkeypatch, kind, python_looks_too):
        if not python_looks_too:
            monkeypatch.delattr(tarfile, "data_filter", raising=False)
        data, reason = HOSTILE[kind]
        with pytest.raises(DataError, match=reason) as caught:
            self.unpack(data, tmp_path)
        assert f"archive {tmp_path / 'images.tar.gz'} " in str(caught.value)
        assert {path.name for path in tmp_path.iterdir()} == {"images.tar.gz", "unpacked"}
        inside = [path for path in (tmp_path / "unpacked").rglob("*") if not path.is_dir()]
        assert all(path.is_file() and not path.is_symlink() for path in inside)
        assert sum(path.stat().st_size for path in inside) <= LIMIT

    @pytest.mark.parametrize("kind", DAMAGED)
    def test_a_damaged_archive_is_refused(self, tmp_path, kind):
        with pytest.raises(DataError, match=r"images.tar.gz is damaged .*; accepted is a whole"):
            self.unpack(DAMAGED[kind], tmp_path)

    def test_the_member_is_named(self, tmp_path):
        data = pack(("images/a.jpg", b"one"), ("../evil", b""))
        reason = r"a path out of the folder at member '\.\./evil'; .*; use the published archive"
        with pytest.raises(DataError, match=reason):
            self.unpack(data, tmp_path)

    def test_an_archive_up_to_the_bound_is_unpacked(self, tmp_path):
        # A header of 512 bytes, 1,024 of data; two blocks of zeros, of which the first is read.
        data = pack(("images/a.jpg", bytes(1024)))
        left_out, folder = self.unpack(data, tmp_path, limit=512 + 1024 + 512)
        assert left_out == []
        assert (folder / "images/a.jpg").stat().st_size == 1024

    def test_a_byte_over_the_bound_is_refused(self, tmp_path):
        with pytest.raises(DataError, match="more than 1,535 unpacked bytes"):
            self.unpack(pack(("images/a.jpg", bytes(1024))), tmp_path, limit=1535)

    def test_members_are_bounded_in_number(self, tmp_path, monkeypatch):
        monkeypatch.setattr("unetkit.datasets.download.MAX_MEMBERS", 3)
        data = pack(*((f"images/{i}.jpg", b"") for i in range(4)))
        with pytest.raises(DataError, match=r"more than 3 members at member 'images/3\.jpg'"):
            self.unpack(data, tmp_path)

    def test_folders_empty_files_and_long_names_are_unpacked(self, tmp_path):
        name = f"images/{'n' * 200}.jpg"
        data = pack(
            (special("./", tarfile.DIRTYPE), b""),
            (special("./images/", tarfile.DIRTYPE), b""),
            (special("images", tarfile.DIRTYPE), b""),
            (name, b"one"),
            ("./images/empty.jpg", b""),
            ("images/large.jpg", bytes(2 * MIB + 1)),
        )
        _, folder = self.unpack(data, tmp_path)
        assert (folder / name).read_bytes() == b"one"
        assert (folder / "images/empty.jpg").read_bytes() == b""
        assert (folder / "images/large.jpg").read_bytes() == bytes(2 * MIB + 1)

    @pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
    def test_other_dialects_of_tar_are_read(self, tmp_path, format):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", format=format) as tar:
            info = tarfile.TarInfo(
                f"images/{'n' * 80}/k\N{LATIN SMALL LETTER A WITH DIAERESIS}.jpg"
            )
            info.size, info.mtime = 3, 0.5  # which PAX writes into a header of its own
            tar.addfile(info, io.BytesIO(b"one"))
        _, folder = self.unpack(packed.getvalue(), tmp_path)
        assert (folder / info.name).read_bytes() == b"one"

    @settings(max_examples=150, deadline=None)
    @given(
        changes=st.lists(
            st.tuples(st.integers(0, 10_239), st.binary(min_size=1, max_size=40)),
            min_size=1,
            max_size=4,
        )
    )
    def test_whatever_the_bytes_they_are_unpacked_inside_or_refused(
        self, tmp_path_factory, changes
    ):
        tar = bytearray(gzip.decompress(NOTES))
        for start, data in changes:
            tar[start : start + len(data)] = data
        root = tmp_path_factory.mktemp("fuzz")
        with contextlib.suppress(DataError):
            self.unpack(gzip.compress(tar, 1), root)
        assert {path.name for path in root.iterdir()} == {"images.tar.gz", "unpacked"}
        assert not any(path.is_symlink() for path in root.rglob("*"))
