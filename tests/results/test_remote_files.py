"""Images of other machines predicted here, results sent there, against files of this machine."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.remote.servers import deliver, status
from unetkit.errors import ConfigError, DataError, DataNotFoundError, OutputExistsError
from unetkit.io.ome_zarr_writer import write_ome_zarr
from unetkit.prediction.predictor import Predictor
from unetkit.remote import transfers
from unetkit.remote.addresses import Address
from unetkit.results import remote_files
from unetkit.results.files import predict_files
from unetkit.results.inputs import Shard, find_inputs
from unetkit.results.predicted_image import ResultOptions
from unetkit.results.remote_files import find_remote_missing, predict_remote
from unetkit.results.remote_inputs import find_remote_inputs

KINDS = ("mask", "overlay", "areas")
SECRET = "secret-of-the-test"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(transfers, "WAIT_SECONDS", 0.01)


@pytest.fixture(scope="module")
def predictor(grey_model):
    return Predictor(grey_model, threads=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A tree of images."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    (folder / "deep").mkdir()
    for number in range(6):
        size = rng.integers(20, 60, 2)
        name = f"{'deep/' if number % 3 == 0 else ''}{number}.png"
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def bucket(objects, photos):
    """A bucket with the same images in photos."""
    name = objects.bucket()
    objects.fs.put(str(photos), f"{name}/photos", recursive=True)
    return f"s3://{name}"


def contents(folder):
    """Content of each file of results, by its path."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def wanted(predictor, photos, tmp_path_factory):
    """Results of this machine."""
    out = tmp_path_factory.mktemp("wanted")
    predict_files(
        predictor, find_inputs([photos], recursive=True), out, kinds=KINDS, collected=True
    )
    return contents(out)


class Seen:
    """What was reported."""

    def __init__(self):
        self.results, self.finished, self.failed = [], [], {}
        self.arguments = {
            "on_result": self.results.append,
            "on_finished": lambda image: self.finished.append(str(image)),
            "on_error": lambda image, error: self.failed.update({str(image): str(error)}),
        }


def test_objects_in_and_out_have_the_bytes_of_one_machine(predictor, bucket, objects, wanted):
    images, seen = find_remote_inputs([f"{bucket}/photos"], recursive=True), Seen()
    out = Address(f"{bucket}/out/")
    written = predict_remote(predictor, images, out, kinds=KINDS, collected=True, **seen.arguments)
    assert objects.contents(f"{bucket}/out") == wanted
    assert {str(file) for file in written} == {f"{bucket}/out/{name}" for name in wanted}
    assert [str(one.image) for one in seen.results] == [str(image.address) for image in images]
    assert seen.results[0].prediction.counts.sum() > 0
    again = Seen()
    predict_remote(predictor, images, out, kinds=KINDS, **again.arguments)
    assert (again.results, len(again.finished), again.failed) == ([], 6, {})


def test_results_on_this_machine(predictor, bucket, photos, wanted, tmp_path):
    tmp_path = tmp_path / "with spaces %20 and #"
    images = find_remote_inputs([f"{bucket}/photos"], recursive=True)
    for count in (6, 0):
        seen = Seen()
        predict_remote(predictor, images, tmp_path, kinds=KINDS, collected=True, **seen.arguments)
        assert (len(seen.results), len(seen.finished)) == (count, 6 - count)
        assert contents(tmp_path) == wanted
    # The same images from this machine find them finished, too.
    finished = []
    here = find_inputs([photos], recursive=True)
    predict_files(predictor, here, tmp_path, kinds=KINDS, on_finished=finished.append)
    assert len(finished) == 6


def test_images_of_this_machine_to_objects(predictor, bucket, photos, objects, wanted):
    images = find_remote_inputs([photos], recursive=True)
    for count in (6, 0):
        seen = Seen()
        out = Address(f"{bucket}/out")
        predict_remote(predictor, images, out, kinds=KINDS, collected=True, **seen.arguments)
        assert (len(seen.results), len(seen.finished)) == (count, 6 - count)
    assert objects.contents(f"{bucket}/out") == wanted


def test_web_server(predictor, web, photos, wanted, tmp_path):
    web.files = {path.name: path.read_bytes() for path in photos.glob("*.png")}
    addresses = [web.url(name) + "?token=" + SECRET for name in web.files]
    images = find_remote_inputs(addresses)
    predict_remote(predictor, images, tmp_path, kinds=("mask",))
    assert contents(tmp_path) == {name: wanted[name] for name in web.files}
    log = web.requests()
    assert all(log["GET", f"/{name}?token={SECRET}"] == 1 for name in web.files)
    records = "".join(path.read_text() for path in tmp_path.glob(".unetkit*"))
    assert web.url(next(iter(web.files))) in records
    assert SECRET not in records
    web.log.clear()
    seen = Seen()
    predict_remote(predictor, find_remote_inputs(addresses), tmp_path, **seen.arguments)
    assert len(seen.finished) == len(addresses)
    assert {method for method, *_ in web.log} == {"HEAD"}


def test_web_server_that_names_no_version(predictor, web, photos, tmp_path):
    """What it has is fetched to see whether it changed, and predicted only then."""
    web.files["1.png"] = (photos / "1.png").read_bytes()
    web.answers["1.png"] = [deliver(tag=None)]
    for count in (1, 0):
        seen = Seen()
        images = find_remote_inputs([web.url("1.png")])
        predict_remote(predictor, images, tmp_path, **seen.arguments)
        assert (len(seen.results), len(seen.finished)) == (count, 1 - count)
    web.files["1.png"] = (photos / "2.png").read_bytes()
    seen = Seen()
    predict_remote(predictor, find_remote_inputs([web.url("1.png")]), tmp_path, **seen.arguments)
    assert len(seen.results) == 1


def test_archive(predictor, photos, wanted, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in photos.rglob("*.png"):
            archive.write(path, path.relative_to(photos))
    images = find_remote_inputs([f"zip://**/*.png::{tmp_path}/photos.zip"], recursive=True)
    predict_remote(predictor, images, tmp_path / "out", kinds=KINDS, collected=True)
    assert contents(tmp_path / "out") == wanted


def test_changed_object_is_predicted_again(predictor, bucket, objects, photos):
    out, address = Address(f"{bucket}/out"), f"{bucket}/photos/1.png"
    predict_remote(predictor, find_remote_inputs([address]), out)
    before = objects.get(f"{out}/1.png")
    objects.put(address, (photos / "2.png").read_bytes())
    seen = Seen()
    predict_remote(predictor, find_remote_inputs([address]), out, **seen.arguments)
    assert len(seen.results) == 1
    assert objects.get(f"{out}/1.png") != before


def test_interrupted_run_is_continued(predictor, bucket, objects, wanted, monkeypatch):
    monkeypatch.setattr(remote_files, "GROUP_IMAGES", 2)
    images = find_remote_inputs([f"{bucket}/photos"], recursive=True)
    out = Address(f"{bucket}/out")

    def interrupt(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_remote(predictor, images, out, kinds=KINDS, on_result=interrupt)
    assert len(objects.records(str(out))) == 1
    seen = Seen()
    predict_remote(predictor, images, out, kinds=KINDS, collected=True, **seen.arguments)
    assert (len(seen.finished), len(seen.results)) == (2, 4)
    assert objects.contents(str(out)) == wanted
    assert len(objects.records(str(out))) == 3  # one for each group, not for each image


def test_lost_result_is_made_again_and_a_changed_one_is_left(predictor, bucket, objects, wanted):
    images = find_remote_inputs([f"{bucket}/photos/{number}.png" for number in (1, 2, 4)])
    out = Address(f"{bucket}/out")
    predict_remote(predictor, images, out)
    objects.fs.rm_file(f"{out}/1.png".removeprefix("s3://"))
    objects.put(f"{out}/2.png", b"mine")
    seen = Seen()
    predict_remote(predictor, images, out, **seen.arguments)
    assert [one.image.name for one in seen.results] == ["1.png"]
    assert "changed since it was predicted" in seen.failed[f"{bucket}/photos/2.png"]
    assert objects.get(f"{out}/2.png") == b"mine"
    assert objects.get(f"{out}/1.png") == wanted["1.png"]
    predict_remote(predictor, images, out, overwrite=True)
    assert objects.get(f"{out}/2.png") == wanted["2.png"]


def test_results_of_other_origin_are_left(predictor, bucket, objects, photos):
    images = find_remote_inputs([f"{bucket}/photos/1.png"])
    out = Address(f"{bucket}/out")
    objects.put(f"{out}/1.png", b"mine")
    with pytest.raises(OutputExistsError, match=r"s3://.*1.png exists already and is without a"):
        predict_remote(predictor, images, out)
    objects.fs.rm_file(f"{out}/1.png".removeprefix("s3://"))
    predict_remote(predictor, images, out)
    with pytest.raises(OutputExistsError, match="is of other options"):
        predict_remote(predictor, images, out, options=ResultOptions(mask="binary"))
    other = find_remote_inputs([photos / "1.png"])
    with pytest.raises(OutputExistsError, match="is of another image"):
        predict_remote(predictor, other, out)


def test_results_never_replace_images(predictor, bucket, objects, photos):
    images = find_remote_inputs([f"{bucket}/photos"])
    seen = Seen()
    predict_remote(predictor, images, Address(f"{bucket}/photos"), overwrite=True, **seen.arguments)
    assert len(seen.failed) == len(images)
    assert "results never replace images" in seen.failed[f"{bucket}/photos/1.png"]
    assert objects.get(f"{bucket}/photos/1.png") == (photos / "1.png").read_bytes()


def test_bad_images_are_named_and_the_rest_is_done(
    predictor, bucket, objects, web, wanted, tmp_path
):
    objects.put(f"{bucket}/photos/page.png", b"<html>log in</html>")
    objects.put(f"{bucket}/photos/x\\up.png", b"x")
    web.answers["denied.png"] = [status(403)]
    web.files["short.png"] = bytes(100)
    images = find_remote_inputs([f"{bucket}/photos", web.url("short.png")])
    web.answers["short.png"] = [deliver(cut=10)]
    seen = Seen()
    predict_remote(predictor, images, tmp_path / "out", **seen.arguments)
    assert len(seen.results) == 4
    assert set(contents(tmp_path / "out")) == {"1.png", "2.png", "4.png", "5.png"}
    assert set(seen.failed) == {
        f"{bucket}/photos/page.png",
        f"{bucket}/photos/x\\up.png",
        web.url("short.png"),
    }
    assert seen.failed[f"{bucket}/photos/page.png"].startswith(f"{bucket}/photos/page.png ")
    assert "was cut off" in seen.failed[web.url("short.png")]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    denied = find_remote_inputs([web.url("denied.png")])
    with pytest.raises(DataError, match="access is denied"):
        predict_remote(predictor, denied, tmp_path / "out")
    found = find_remote_missing(
        predictor, denied, tmp_path / "none", ("mask",), "auto", ResultOptions()
    )
    assert [(str(one.image), one.state) for one in found] == [(web.url("denied.png"), "unreadable")]
    assert not (tmp_path / "none").exists()
    with pytest.raises(DataError, match=r"photos/page\.png"):
        predict_remote(predictor, find_remote_inputs([f"{bucket}/photos/page.png"]), tmp_path)


def test_image_that_is_gone_when_it_is_fetched(predictor, bucket, objects, tmp_path):
    images = find_remote_inputs([f"{bucket}/photos/1.png"])
    objects.fs.rm_file(f"{bucket}/photos/1.png".removeprefix("s3://"))
    with pytest.raises(DataNotFoundError, match=r"1.png does not exist"):
        predict_remote(predictor, images, tmp_path)


def test_nothing_is_left_of_temporary_files(predictor, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(transfers.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(remote_files, "GROUP_IMAGES", 1)
    images = find_remote_inputs([f"{bucket}/photos"])
    left = []
    predict_remote(
        predictor,
        images,
        Address(f"{bucket}/out"),
        on_result=lambda result: left.append(len(list(tmp_path.rglob("*.png")))),
    )
    assert max(left) <= 6  # an image and its mask, of this group and of those fetched ahead
    assert list(tmp_path.iterdir()) == []


def test_one_mask_by_its_name(predictor, bucket, objects, wanted):
    images = find_remote_inputs([f"{bucket}/photos/1.png"])
    for _ in range(2):
        predict_remote(predictor, images, Address(f"{bucket}/masks/mine.png"), kinds=KINDS)
    assert objects.contents(f"{bucket}/masks") == {
        "mine.png": wanted["1.png"],
        "mine_overlay.png": wanted["1_overlay.png"],
        "mine_areas.csv": wanted["1_areas.csv"],
    }
    images = find_remote_inputs([f"{bucket}/photos"])
    with pytest.raises(ConfigError, match="names one file, and there are 4 images"):
        predict_remote(predictor, images, Address(f"{bucket}/masks/mine.png"))
    with pytest.raises(ConfigError, match=r"masks are not written as \.jpg"):
        predict_remote(predictor, images[:1], Address(f"{bucket}/masks/mine.jpg"))


def test_images_of_one_name_are_refused(predictor, bucket, objects, photos):
    images = find_remote_inputs([f"{bucket}/photos/1.png"])
    objects.put(f"{bucket}/other/1.jpg", (photos / "1.png").read_bytes())
    seen = Seen()
    out = Address(f"{bucket}/out")
    predict_remote(predictor, [*images, *images], out, **seen.arguments)
    assert len(seen.results) == 1
    others = find_remote_inputs([f"{bucket}/other"])
    with pytest.raises(OutputExistsError, match="would have results of one name in s3://"):
        predict_remote(predictor, [*images, *others], Address(f"{bucket}/new"))
    assert objects.names(f"{bucket}/new") == set()


def test_shards_and_what_is_missing(predictor, bucket, objects, wanted):
    out, seen = Address(f"{bucket}/out"), Seen()

    def missing():
        images = find_remote_inputs([f"{bucket}/photos"], recursive=True)
        found = find_remote_missing(predictor, images, out, KINDS, "auto", ResultOptions())
        return sorted(str(one.image) for one in found)

    assert len(missing()) == 6
    assert objects.contents(str(out)) == {}
    for number in (1, 2):
        images = find_remote_inputs([f"{bucket}/photos"], recursive=True, shard=Shard(number, 2))
        predict_remote(
            predictor, images, out, kinds=KINDS, shard=Shard(number, 2), **seen.arguments
        )
        others = {str(image.address) for image in images}
        assert not others & set(missing())
    assert missing() == []
    assert objects.contents(str(out)).keys() == wanted.keys() - {"areas.csv"}
    objects.fs.rm_file(f"{out}/deep/0_overlay.png".removeprefix("s3://"))
    assert missing() == [f"{bucket}/photos/deep/0.png"]


def test_stack_is_done_as_a_whole(predictor, bucket, objects, tmp_path):
    pages = [Image.fromarray(np.full((20, 30), 40 * page, np.uint8)) for page in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    objects.put(f"{bucket}/stack.tif", (tmp_path / "stack.tif").read_bytes())
    images = find_remote_inputs([f"{bucket}/stack.tif"])
    out = Address(f"{bucket}/out")
    predict_remote(predictor, images, out)
    assert objects.names(str(out)) == {f"stack_p00{page}.png" for page in range(3)}
    seen = Seen()
    predict_remote(predictor, images, out, **seen.arguments)
    assert seen.finished == [f"{bucket}/stack.tif"]
    objects.fs.rm_file(f"{out}/stack_p002.png".removeprefix("s3://"))
    predict_remote(predictor, images, out)
    assert objects.names(str(out)) == {f"stack_p00{page}.png" for page in range(3)}


@pytest.fixture(scope="module")
def zarr_image(tmp_path_factory):
    """An OME-Zarr image of several chunks, of which some are empty."""
    folder = tmp_path_factory.mktemp("zarr") / "large.ome.zarr"
    pixels = np.random.default_rng(1).integers(0, 256, (1100, 700, 1), np.uint8)
    pixels[512:1024] = 0
    write_ome_zarr(
        folder,
        pixels.shape,
        "uint8",
        lambda rows, columns: pixels[rows, columns],
        nearest=False,
    )
    return folder


@pytest.mark.parametrize("format", ["auto", "tiff", "zarr"])
def test_zarr_in_and_out(predictor, bucket, objects, zarr_image, tmp_path, format):
    objects.fs.put(
        str(zarr_image), f"{bucket}/large.ome.zarr".removeprefix("s3://"), recursive=True
    )
    predict_files(predictor, find_inputs([zarr_image]), tmp_path, kinds=("mask",), format=format)
    out = Address(f"{bucket}/out")
    for count in (1, 0):
        seen = Seen()
        images = find_remote_inputs([f"{bucket}/large.ome.zarr"])
        predict_remote(predictor, images, out, kinds=("mask",), format=format, **seen.arguments)
        assert (len(seen.results), len(seen.finished)) == (count, 1 - count)
    assert objects.contents(str(out)) == contents(tmp_path)
    assert predictor(
        f"{out}/large.ome.zarr" if format == "zarr" else f"{bucket}/large.ome.zarr"
    ).shape


def test_zarr_is_read_by_chunks(predictor, web, zarr_image):
    """Of a web server, whose requests are seen: overviews are never fetched."""
    for path in zarr_image.rglob("*"):
        if path.is_file():
            name = f"large.ome.zarr/{path.relative_to(zarr_image).as_posix()}"
            web.files[name] = path.read_bytes()
    there = predictor(web.url("large.ome.zarr"))
    np.testing.assert_array_equal(there, predictor(zarr_image))
    chunks = {path for method, path, _ in web.log if "/c/" in path}
    assert chunks
    assert all(path.startswith("/large.ome.zarr/0/c/") for path in chunks)


def test_zarr_of_a_web_server_to_this_machine(predictor, web, zarr_image, tmp_path):
    for path in zarr_image.rglob("*"):
        if path.is_file():
            name = f"large.ome.zarr/{path.relative_to(zarr_image).as_posix()}"
            web.files[name] = path.read_bytes()
    images = find_remote_inputs([web.url("large.ome.zarr")])
    predict_remote(predictor, images, tmp_path / "there", format="tiff")
    predict_files(predictor, find_inputs([zarr_image]), tmp_path / "here", format="tiff")
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_damaged_zarr_is_named(predictor, bucket, objects, zarr_image, tmp_path):
    objects.fs.put(
        str(zarr_image), f"{bucket}/large.ome.zarr".removeprefix("s3://"), recursive=True
    )
    objects.put(f"{bucket}/large.ome.zarr/0/c/0/0", b"damaged")
    images = find_remote_inputs([f"{bucket}/large.ome.zarr"])
    with pytest.raises(DataError, match=r"s3://.*large.ome.zarr cannot be read"):
        predict_remote(predictor, images, tmp_path)
    assert contents(tmp_path) == {}


def test_secrets_are_nowhere_in_results(predictor, web, photos, tmp_path):
    web.files["1.png"] = (photos / "1.png").read_bytes()
    address = web.url("1.png").replace("://", f"://me:{SECRET}@") + f"?signature={SECRET}"
    kinds = ("mask", "overlay", "coco", "labelme", "geojson")
    predict_remote(predictor, find_remote_inputs([address]), tmp_path, kinds=kinds, collected=True)
    files = contents(tmp_path) | {"records": next(tmp_path.glob(".unetkit*.jsonl")).read_bytes()}
    assert {name for name in files if web.url("1.png").encode() in files[name]} == {
        *("1.json", "1_coco.json", "coco.json", "records"),
    }
    assert [name for name in files if SECRET.encode() in files[name]] == []
