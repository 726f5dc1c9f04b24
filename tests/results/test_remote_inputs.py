"""Images that addresses name."""

import zipfile
from pathlib import Path, PurePosixPath

import pytest

from unetkit.errors import ConfigError, DataNotFoundError
from unetkit.remote.addresses import Address
from unetkit.results.inputs import Shard, find_inputs
from unetkit.results.remote_inputs import find_remote_inputs

NAMES = ("a.png", "b.tif", "notes.txt", ".hidden.png", "deep/c.jpg", "deep/d.ome.zarr/zarr.json")


@pytest.fixture
def bucket(objects):
    """An address with a few images and other files below it."""
    address = f"s3://{objects.bucket()}/photos"
    for name in NAMES:
        objects.put(f"{address}/{name}", name.encode())
    return address


def names(images):
    return [image.name for image in images]


def test_folder(bucket):
    assert names(find_remote_inputs([bucket])) == ["a", "b"]
    found = find_remote_inputs([bucket], recursive=True)
    assert names(found) == ["a", "b", "deep/c", "deep/d"]
    assert [str(image.address) for image in found][-1] == f"{bucket}/deep/d.ome.zarr"
    assert [image.is_zarr for image in found] == [False, False, False, True]


def test_names_and_shards_are_those_of_a_folder_of_this_machine(bucket, tmp_path):
    for name in NAMES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(name.encode())
    for shard in (None, Shard(1, 2), Shard(2, 2)):
        here = find_inputs([tmp_path], recursive=True, shard=shard)
        there = find_remote_inputs([bucket], recursive=True, shard=shard)
        assert sorted(names(here)) == sorted(names(there))
    mixed = find_remote_inputs([tmp_path / "a.png", f"{bucket}/deep/c.jpg", f"{bucket}/deep/c.jpg"])
    assert names(mixed) == ["a", "c"]


def test_pattern(bucket):
    assert names(find_remote_inputs([f"{bucket}/**/*.*"])) == ["a", "b", "c", "d"]
    found = find_remote_inputs([f"{bucket}/*/*.jpg"], recursive=True)
    assert [(image.name, image.subfolder) for image in found] == [("deep/c", PurePosixPath("deep"))]


def test_single_objects(bucket):
    assert names(find_remote_inputs([f"{bucket}/a.png", f"{bucket}/deep/d.ome.zarr/"])) == [
        "a",
        "d",
    ]


def test_results_below_images_are_passed_over(bucket, objects):
    objects.put(f"{bucket}/masks/a.png", b"mask")
    found = find_remote_inputs([bucket], recursive=True, skip=Address(f"{bucket}/masks/"))
    assert "masks/a" not in names(found)


def test_nothing_there(bucket):
    with pytest.raises(DataNotFoundError, match=r"none does not exist"):
        find_remote_inputs([f"{bucket}/none"])
    found = find_remote_inputs([f"{bucket}/none.png", f"{bucket}/a.png"])
    assert [image.fault is None for image in found] == [False, True]
    assert "none.png does not exist" in str(found[0].fault)
    with pytest.raises(DataNotFoundError, match=r"names no image; accepted are addresses"):
        find_remote_inputs([f"{bucket}/deep/*.bmp"])


def test_web_servers_are_not_listed(web):
    web.files["index.html"] = b"<a href=a.png>a.png</a>"
    for name in ("", "*.png"):
        with pytest.raises(ConfigError, match="of a web server, which does not list them"):
            find_remote_inputs([web.url(name)])
    assert web.log == []


def test_keys_that_lead_elsewhere_are_images_that_fail(objects):
    address = f"s3://{objects.bucket()}/photos"
    for name in ("a.png", "b\\c.png", "deep/x\\y.png"):
        objects.put(f"{address}/{name}", b"x")
    found = find_remote_inputs([address], recursive=True)
    assert {image.name for image in found if image.fault is None} == {"a"}
    faults = [str(image.fault) for image in found if image.fault is not None]
    assert len(faults) == 2
    assert all("which no file of this machine can have" in fault for fault in faults)
    for image in found:
        assert image.local(Path("folder")).path.parent == Path("folder")


def test_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in ("a.png", "deep/b.png", "../../c.png", "/etc/d.png"):
            archive.writestr(name, b"x")
    top = f"zip://::{tmp_path}/photos.zip"
    found = find_remote_inputs([top], recursive=True)
    assert {image.name for image in found if image.fault is None} >= {"a", "deep/b"}
    for image in found:
        assert not image.subfolder.is_absolute()
        assert ".." not in image.subfolder.parts
