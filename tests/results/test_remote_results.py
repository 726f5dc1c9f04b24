"""What is known of a folder of results on another machine."""

from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from unetkit.errors import ConfigError, OutputExistsError
from unetkit.remote.addresses import Address
from unetkit.results.finished import ResultState
from unetkit.results.inputs import InputImage
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.records import FileRecord, ResultOrigin, ResultRecord
from unetkit.results.remote_results import RemoteDestination, RemoteResults

ORIGIN = ResultOrigin("model", "options", "1")


@contextmanager
def opened(out, kinds=("mask", "areas"), format="auto", origin=ORIGIN):
    destination = RemoteDestination.of(out, format)
    results = RemoteResults(destination, kinds, format, ResultOptions(), origin)
    with results.locked(""):
        yield results


@pytest.fixture
def image(tmp_path):
    file = tmp_path / "cat.png"
    file.write_bytes(b"pixels")
    return InputImage(file)


def send(results, folder, image, contents, state=(1, 2), page=None):
    """Sends files with these contents as the results of an image."""
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    files = {name: FileRecord(len(content), 1, "sha") for name, content in contents.items()}
    name = results.name_of(image)
    return results.send(folder, [ResultRecord(name, page, state, "own", ORIGIN, files)])


def state(out, image, sha256="own", **others):
    with opened(out, **others) as results:
        return results.state_of(image, sha256)[0]


def test_folder_and_named_mask(tmp_path):
    assert RemoteDestination.of(Address("s3://b/out"), "auto") == RemoteDestination(
        Address("s3://b/out"), None
    )
    named = RemoteDestination.of(Address("s3://b/out/cat.ome.zarr"), "auto")
    assert named == RemoteDestination(Address("s3://b/out"), "cat.ome.zarr")
    assert str(named.below("cat.ome.zarr")) == "s3://b/out/cat.ome.zarr"
    assert RemoteDestination.of(tmp_path / "cat.png", "auto").mask == "cat.png"
    with pytest.raises(ConfigError, match="together with format 'tiff'"):
        RemoteDestination.of(Address("s3://b/out/cat.png"), "tiff")


def test_states(objects, image, tmp_path):
    out = Address(f"s3://{objects.bucket()}/out")
    results = {"cat.png": b"mask", "cat_areas.csv": b"areas"}
    assert state(out, image) is ResultState.MISSING
    with opened(out) as folder:
        assert send(folder, tmp_path / "results", image, results) == list(results)
    assert objects.contents(str(out)) == results
    assert state(out, image) is ResultState.FINISHED
    # Fewer kinds are there, too; others are not.
    assert state(out, image, kinds=("mask",)) is ResultState.FINISHED
    assert state(out, image, kinds=("mask", "overlay")) is ResultState.OUTDATED
    assert state(out, image, format="tiff") is ResultState.OUTDATED  # the table has its name
    assert state(out, image, sha256="other content") is ResultState.OUTDATED
    assert state(out, image, sha256=None) is ResultState.OUTDATED
    for field, expected in (
        ("model", ResultState.OTHER_MODEL),
        ("options", ResultState.OTHER_OPTIONS),
        ("unetkit", ResultState.OTHER_VERSION),
    ):
        origin = msgspec.structs.replace(ORIGIN, **{field: "other"})
        assert state(out, image, origin=origin) is expected
    elsewhere = tmp_path / "deep" / "cat.png"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"another cat")
    assert state(out, InputImage(elsewhere)) is ResultState.OTHER_IMAGE
    objects.put(f"{out}/cat.png", b"longer than a mask")
    assert state(out, image) is ResultState.CHANGED
    objects.fs.rm_file(f"{out}/cat.png".removeprefix("s3://"))
    assert state(out, image) is ResultState.OUTDATED
    objects.put(f"{out}/dog.png", b"mask")
    dog = InputImage(tmp_path / "dog.png")
    dog.path.write_bytes(b"pixels")
    assert state(out, dog) is ResultState.UNRECORDED


def test_half_a_record_counts_as_none(objects, image, tmp_path):
    out = Address(f"s3://{objects.bucket()}/out")
    with opened(out) as folder:
        send(folder, tmp_path / "results", image, {"cat.png": b"mask", "cat_areas.csv": b"areas"})
    (record,) = objects.records(str(out))
    objects.put(f"s3://{record}", objects.get(f"s3://{record}")[:-20])
    assert state(out, image) is ResultState.UNRECORDED


def test_folder_of_zarr_counts_by_its_files(objects, image, tmp_path):
    out = Address(f"s3://{objects.bucket()}/out")
    chunks = {"cat.ome.zarr/zarr.json": b"{}", "cat.ome.zarr/c/0": b"chunk"}
    results = tmp_path / "results"
    (results / "cat.ome.zarr" / "c").mkdir(parents=True)
    for name, content in chunks.items():
        (results / name).write_bytes(content)
    with opened(out, kinds=("mask",)) as folder:
        files = {"cat.ome.zarr": FileRecord(4096, 1, "sha")}  # as a file system counts folders
        record = ResultRecord(folder.name_of(image), None, (), "own", ORIGIN, files)
        folder.send(results, [record])
    assert state(out, image, kinds=("mask",)) is ResultState.FINISHED
    objects.fs.rm_file(f"{out}/cat.ome.zarr/c/0".removeprefix("s3://"))
    assert state(out, image, kinds=("mask",)) is ResultState.CHANGED


def test_records_are_sent_before_results(objects, image, tmp_path, monkeypatch):
    out = Address(f"s3://{objects.bucket()}/out")
    with opened(out) as folder:
        sent = []
        send_file = folder._sender.send
        monkeypatch.setattr(
            folder._sender, "send", lambda file, name: (sent.append(name), send_file(file, name))
        )
        send(folder, tmp_path / "results", image, {"cat.png": b"mask"})
    assert sent[0].startswith(".unetkit-records-")
    assert sent[1:] == ["cat.png"]


def test_tables_of_other_origin_are_refused(objects):
    out = Address(f"s3://{objects.bucket()}/out")
    objects.put(f"{out}/areas.csv", b"mine")
    with (
        opened(out) as folder,
        pytest.raises(OutputExistsError, match="was not written by an earl"),
    ):
        folder.require_collectable()
    objects.put(f"{out}/areas.csv", b"image,class,pixels,fraction\n")
    with opened(out) as folder:
        folder.require_collectable()


def test_folder_of_this_machine_is_locked(image, tmp_path):
    out = tmp_path / "out"
    with opened(out), pytest.raises(OutputExistsError, match="another process"), opened(out):
        pass
    assert not Path(out).exists()
