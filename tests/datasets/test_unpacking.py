"""Unpacking of archives that are hostile or damaged in every way."""

import contextlib
import gzip
import io
import random
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.loopback import LIMIT, Listener, pack, special
from unetkit._shared.display import Display
from unetkit.datasets.unpacking import MIB, unpack_archive
from unetkit.errors import DataError

NOISE = random.Random(5).randbytes(200_000)  # incompressible, so that there is much to cut
NOTES = pack(*((f"notes/{i}.txt", b"%d" % i) for i in range(4)))
IMAGES = pack(("images/a.jpg", b"small"), ("images/b.bak", NOISE))
LARGE_IMAGES = random.Random(6).randbytes(4 * MIB + 1000)


def raw(*headers: tarfile.TarInfo, tail: bytes = b"") -> bytes:
    """Headers as they are, for what tarfile would not write; then other bytes."""
    blocks = (h.tobuf(tarfile.GNU_FORMAT) for h in headers)
    return gzip.compress(b"".join(blocks) + tail, 1)


HOSTILE = {
    "out": (pack(("images/../../evil.jpg", b"one")), "a path outside the folder"),
    "out and in": (pack(("images/../images/a.jpg", b"one")), "a path outside the folder"),
    "absolute": (pack(("/evil.jpg", b"one")), "a path outside the folder"),
    "drive": (pack(("C:/evil.jpg", b"one")), "a path outside the folder"),
    "backslash": (pack(("images\\..\\evil.jpg", b"one")), "a path outside the folder"),
    "nameless": (pack(("", b"one")), "a path outside the folder"),
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
    "twice": (pack(("images/a.jpg", b"one"), ("images/a.jpg", b"another")), "exists already"),
    "twice in disguise": (
        pack(("images/a.jpg", b"one"), ("./images//a.jpg", b"another")),
        "exists already",
    ),
    "file as folder": (pack(("images", b"one"), ("images/a.jpg", b"another")), "exists already"),
    "file deeper": (pack(("images", b"one"), ("images/b/a.jpg", b"another")), "exists already"),
    "folder as file": (
        pack(("images/a.jpg", b"one"), (special("images/a.jpg", tarfile.DIRTYPE), b"")),
        "exists already",
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
        with pytest.raises(DataError, match=r"images.tar.gz is damaged .*; accepted is a complete"):
            self.unpack(DAMAGED[kind], tmp_path)

    def test_the_member_is_named(self, tmp_path):
        data = pack(("images/a.jpg", b"one"), ("../evil", b""))
        reason = r"a path outside the folder at member '\.\./evil'; .*; use the published archive"
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
        monkeypatch.setattr("unetkit.datasets.unpacking.MAX_MEMBERS", 3)
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

    @settings(max_examples=150)
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
