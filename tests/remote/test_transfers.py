"""Files fetched whole or not at all, and sent so."""

import zipfile
from pathlib import Path

import pytest

from tests.remote.servers import deliver, status
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.remote import transfers
from unetkit.remote.addresses import Address
from unetkit.remote.transfers import (
    Sender,
    fetch,
    fetched,
    find_file,
    list_files,
    match_files,
    sizes_below,
    version_of_folder,
)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(transfers, "WAIT_SECONDS", 0.01)


def test_versions_tell_objects_apart(objects):
    address = f"s3://{objects.bucket()}/a.png"
    versions = []
    for content in (b"one", b"two", b"one"):
        objects.put(address, content)
        versions.append(find_file(Address(address)).version)
    assert versions[0] != versions[1]
    folder = Address(address).parent
    before = version_of_folder(find_file(folder))
    objects.put(f"{folder}/b.png", b"more")
    assert version_of_folder(find_file(folder)) != before


def test_web_server_without_validators_has_no_version(web):
    web.files["a.png"] = b"one"
    assert find_file(Address(web.url("a.png"))).version != ()
    web.answers["a.png"] = [deliver(tag=None)]
    assert find_file(Address(web.url("a.png"))).version == ()


def test_listing(objects):
    bucket = objects.bucket()
    for name in ("photos/b.png", "photos/a.png", "photos/.hidden", "photos/deep/c.png", "d.png"):
        objects.put(f"s3://{bucket}/{name}", name.encode())
    objects.put(f"s3://{bucket}/photos/", b"")  # what consoles make for a folder
    folder = find_file(Address(f"s3://{bucket}/photos/"))
    listed = list_files(folder)
    assert [(file.address.name, file.is_folder) for file in listed] == [
        ("a.png", False),
        ("b.png", False),
        ("deep", True),
    ]
    assert listed[0].address.text == f"s3://{bucket}/photos/a.png"
    assert sizes_below(folder)["deep/c.png"] == len("photos/deep/c.png")
    assert sizes_below(None) == {}
    matched = match_files(Address(f"s3://{bucket}/*/*.png"))
    assert [inside for _, inside in matched] == ["photos/a.png", "photos/b.png"]


def test_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.png", b"one")
        archive.writestr("deep/b.png", b"two")
    top = find_file(Address(f"zip://::{tmp_path}/photos.zip"))
    assert [file.address.name for file in list_files(top)] == ["a.png", "deep"]
    matched = match_files(Address(f"zip://**/*.png::{tmp_path}/photos.zip"))
    assert [inside for _, inside in matched] == ["a.png", "deep/b.png"]
    fetch(matched[1][0], tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes() == b"two"


def test_truncated_file_is_tried_again(web, tmp_path):
    web.files["a.png"] = b"0123456789"
    source = find_file(Address(web.url("a.png")))
    web.answers["a.png"] = [deliver(cut=4), deliver()]
    fetch(source, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"0123456789"


def test_truncated_file_is_no_file(web, tmp_path):
    web.files["a.png"] = b"0123456789"
    source = find_file(Address(web.url("a.png")))
    # The line is closed too early, once with and once without a length in this answer.
    for answer in (deliver(cut=4), deliver(cut=4, length=False)):
        web.answers["a.png"] = [answer]
        with pytest.raises(DataError, match=r"a.png was cut off while it was read"):
            fetch(source, tmp_path / "a.png")
        assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_promised(web, tmp_path):
    web.files["a.png"] = b"01234"
    source = find_file(Address(web.url("a.png")))
    web.files["a.png"] = bytes(1000)
    with pytest.raises(DataError, match="has more than the 5 bytes that its server promised"):
        fetch(source, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_file_larger_than_the_disk(web, tmp_path, monkeypatch):
    web.files["a.png"] = bytes(1000)
    usage = transfers.shutil.disk_usage(tmp_path)._replace(free=transfers.SPARE_BYTES + 999)
    monkeypatch.setattr(transfers.shutil, "disk_usage", lambda path: usage)
    source = find_file(Address(web.url("a.png")))
    with pytest.raises(DataError, match=r"has 1,000 bytes, and .* has room for 999; .*TMPDIR"):
        fetch(source, tmp_path / "a.png")
    web.answers["a.png"] = [deliver(length=False)]
    source = find_file(Address(web.url("a.png")))
    assert source.size is None
    with pytest.raises(DataError, match="has more than 999 bytes"):
        fetch(source, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_file_is_gone_before_it_is_fetched(web, tmp_path):
    web.files["a.png"] = b"one"
    source = find_file(Address(web.url("a.png")))
    web.answers["a.png"] = [status(404)]
    with pytest.raises(DataNotFoundError, match="does not exist"):
        fetch(source, tmp_path / "a.png")


def test_temporary_file_is_removed(web):
    web.files["a.png"] = b"one"
    with fetched(Address(web.url("a.png"))) as file:
        assert (file.name, file.read_bytes()) == ("a.png", b"one")
    assert not file.parent.exists()


@pytest.mark.parametrize("folder", ["https://host/out", "zip://out::a.zip", "data://out"])
def test_what_is_only_read_is_not_written(folder):
    with pytest.raises(ConfigError, match="is only read"):
        Sender(Address(folder))


def test_sending_to_objects(objects, tmp_path):
    bucket = objects.bucket()
    sender = Sender(Address(f"s3://{bucket}/out"))
    assert sender.find() is None
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "b.zarr" / "c").mkdir(parents=True)
    for name in ("zarr.json", "c/0", "c/zarr.json"):
        (tmp_path / "b.zarr" / name).write_bytes(name.encode())
    sender.send(tmp_path / "a.png", "deep/a.png")
    sender.send(tmp_path / "b.zarr", "b.zarr")
    wanted = {"deep/a.png", "b.zarr/zarr.json", "b.zarr/c/0", "b.zarr/c/zarr.json"}
    assert objects.names(f"s3://{bucket}/out") == wanted
    (read,) = sender.read(["deep/a.png"], tmp_path / "read")
    assert read.read_bytes() == b"one"
    sender.remove("b.zarr")
    sender.remove("b.zarr")
    assert objects.names(f"s3://{bucket}/out") == {"deep/a.png"}


def test_file_has_its_name_when_it_is_whole(tmp_path, monkeypatch):
    """On file systems where a file is seen while it is written."""
    sender = Sender(Address(f"{(tmp_path / 'out').as_uri()}"))
    (tmp_path / "a.png").write_bytes(b"one")
    sender.send(tmp_path / "a.png", "deep/a.png")
    assert (tmp_path / "out" / "deep" / "a.png").read_bytes() == b"one"

    def fail(source, target, **_):
        Path(target).write_bytes(b"o")
        raise OSError("no space")

    monkeypatch.setattr(sender._filesystem, "put_file", fail)
    with pytest.raises(DataError, match=r"b.png cannot be written \(no space\)"):
        sender.send(tmp_path / "a.png", "deep/b.png")
    assert [path.name for path in (tmp_path / "out" / "deep").iterdir()] == ["a.png"]


def test_denied_bucket(objects, tmp_path, monkeypatch):
    sender = Sender(Address(f"s3://{objects.bucket()}/out"))
    (tmp_path / "a.png").write_bytes(b"one")

    def deny(*_, **__):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(sender._filesystem, "put_file", deny)
    with pytest.raises(DataError, match="may not be written: access is denied"):
        sender.send(tmp_path / "a.png", "a.png")


def test_output_that_is_a_file(objects):
    bucket = objects.bucket()
    objects.put(f"s3://{bucket}/out", b"one")
    with pytest.raises(DataError, match="is a file; accepted is a folder"):
        Sender(Address(f"s3://{bucket}/out")).find()
