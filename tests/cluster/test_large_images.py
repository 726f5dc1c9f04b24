"""One image shared by workers, in processes of their own, against the result of one machine."""

import logging
import os
import random
import signal
import sys
import time

import numpy as np
import pytest
import tifffile

from tests.conftest import export_untrained
from unetkit.cluster import large_images, tasks
from unetkit.cluster import predict as predict_module
from unetkit.cluster.connection import connect, local_workers
from unetkit.cluster.predict import predict_on_workers
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.io.pixel_format import PixelFormat
from unetkit.objects.separation import ObjectRule
from unetkit.prediction.predictor import Predictor
from unetkit.results.files import predict_files
from unetkit.results.inputs import InputImage

zarr = pytest.importorskip("zarr")

SIZE = (1300, 1100)  # three chunks by three, with two overviews
TILE = 400
KILLS = int(os.environ.get("UNETKIT_KILLS", "3"))


@pytest.fixture(scope="module")
def client():
    with local_workers(2) as client:
        yield client


@pytest.fixture(autouse=True)
def small_bound(monkeypatch):
    """Images of more than a million pixels are shared."""
    monkeypatch.setattr(large_images, "WHOLE_PIXELS", 1_000_000)


@pytest.fixture(scope="module")
def models(tmp_path_factory, colour_model):
    folder = tmp_path_factory.mktemp("objects")
    rule = ObjectRule("border", 0.62, smallest=12, largest_hole=20)
    objects = export_untrained(folder / "objects.onnx", PixelFormat(3), objects=rule)
    return {"classes": colour_model, "objects": objects}


def noise(channels=3):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (SIZE[0] // 16 + 1, SIZE[1] // 16 + 1, channels), np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), np.uint8))[: SIZE[0], : SIZE[1]]


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    tifffile.imwrite(folder / "slide.tif", noise(), tile=(256, 256), compression="zlib")
    array = zarr.create_array(
        folder / "slide.zarr", shape=(*SIZE, 3), chunks=(256, 256, 3), dtype="u1"
    )
    array[:] = noise()
    return {".tif": folder / "slide.tif", ".zarr": folder / "slide.zarr"}


def contents(folder):
    """Content of each file of results, by its path; no leftover may be among them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    named = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in named.items() if not name.startswith(".unetkit-r")}


def on_one_machine(predictor, image, folder, kinds):
    predict_files(predictor, [image], folder, kinds=kinds, format="zarr")
    return contents(folder)


def on_workers(client, predictor, image, folder, kinds, **arguments):
    return predict_on_workers(
        client, predictor, [InputImage(image)], folder, kinds=kinds, format="zarr", **arguments
    )


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
@pytest.mark.parametrize(
    ("model", "kinds", "arguments"),
    [
        ("classes", ("mask",), {}),
        ("classes", ("mask", "overlay", "cutout", "probabilities", "uncertainty", "areas"), {}),
        ("classes", ("mask", "disagreement"), {"tta": "mirror"}),
        ("objects", ("mask", "objects", "table", "geojson"), {}),
    ],
)
def test_results_are_the_bytes_of_one_machine(
    client, models, slides, tmp_path, suffix, model, kinds, arguments
):
    predictor = Predictor(models[model], threads=1, tile_pixels=TILE**2, **arguments)
    tiles, results = [], []

    def begin(image, tiling, finished):
        assert image == slides[suffix]
        return lambda: tiles.append(len(tiling))

    written = on_workers(
        client,
        predictor,
        slides[suffix],
        tmp_path / "out",
        kinds,
        begin=begin,
        on_result=results.append,
    )
    wanted_results = []
    wanted = predict_files(
        predictor,
        [slides[suffix]],
        tmp_path / "one",
        kinds=kinds,
        format="zarr",
        collected=True,
        on_result=wanted_results.append,
    )
    assert contents(tmp_path / "out") == contents(tmp_path / "one")
    assert [path.name for path in written] == [path.name for path in wanted]
    assert len(tiles) >= 9
    (found,), (wanted,) = results, wanted_results
    assert found.objects == wanted.objects != 0
    assert found.counts.tolist() == wanted.counts.tolist()
    assert (found.uncertainty, found.disagreement) == (wanted.uncertainty, wanted.disagreement)


def test_workers_of_several_threads_predict_the_same(models, slides, tmp_path):
    predictor = Predictor(models["classes"], threads=1, tile_pixels=TILE**2)
    from distributed import Client, LocalCluster

    with (
        LocalCluster(1, threads_per_worker=2, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        on_workers(client, predictor, slides[".tif"], tmp_path / "out", ("mask", "probabilities"))
    wanted = on_one_machine(predictor, slides[".tif"], tmp_path / "one", ("mask", "probabilities"))
    assert contents(tmp_path / "out") == wanted


def test_each_page_of_a_stack_is_shared(client, models, tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", np.stack([noise(), noise()[::-1]]), photometric="rgb")
    predictor = Predictor(models["classes"], threads=1, tile_pixels=TILE**2)
    on_workers(client, predictor, tmp_path / "s.tif", tmp_path / "out", ("mask",))
    wanted = on_one_machine(predictor, tmp_path / "s.tif", tmp_path / "one", ("mask",))
    assert contents(tmp_path / "out") == wanted
    assert any(name.startswith("s_p001.ome.zarr/") for name in wanted)


def test_finished_tiles_and_results_are_left(client, models, slides, tmp_path, monkeypatch):
    """What one machine began, workers finish; what they finished stays."""
    predictor = Predictor(models["classes"], threads=1, tile_pixels=TILE**2)
    wanted = on_one_machine(predictor, slides[".tif"], tmp_path / "one", ("mask",))

    class StopError(Exception):
        pass

    def stop(*_):
        raise StopError

    with pytest.raises(StopError):
        predict_files(
            predictor,
            [slides[".tif"]],
            tmp_path / "out",
            kinds=("mask",),
            format="zarr",
            begin=lambda *_: stop,
        )
    begun, before = [], []
    arguments = {
        "begin": lambda image, tiling, finished: begun.append(finished) or (lambda: None),
        "on_finished": before.append,
    }
    on_workers(client, predictor, slides[".tif"], tmp_path / "out", ("mask",), **arguments)
    assert begun[0] >= 1
    assert contents(tmp_path / "out") == wanted
    assert (
        on_workers(client, predictor, slides[".tif"], tmp_path / "out", ("mask",), **arguments)
        == []
    )
    assert [one.image for one in before] == [slides[".tif"]]
    assert len(begun) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_workers_that_are_killed_change_nothing(models, slides, tmp_path):
    """Each kill hits a random worker at a random tile, or while outputs are written."""
    predictor = Predictor(models["objects"], threads=1, tile_pixels=200**2)
    kinds = ("mask", "objects", "probabilities")
    wanted = on_one_machine(predictor, slides[".tif"], tmp_path / "one", kinds)
    chosen = random.Random(0)
    with local_workers(2) as client:
        for number in range(KILLS):
            out, tiles, killed = tmp_path / f"out{number}", [], []
            at = chosen.randrange(1, 60)

            def kill(tiles=tiles, killed=killed, at=at):
                tiles.append(1)
                if len(tiles) >= at and not killed:
                    pid = chosen.choice(sorted(client.run(os.getpid, on_error="ignore").values()))
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

            on_workers(
                client, predictor, slides[".tif"], out, kinds, begin=lambda *_, kill=kill: kill
            )
            assert len(killed) == 1
            assert contents(out) == wanted


def test_a_scheduler_that_is_killed_is_named_and_the_same_command_finishes(
    scheduler, models, slides, tmp_path
):
    predictor = Predictor(models["classes"], threads=1, tile_pixels=200**2)
    wanted = on_one_machine(predictor, slides[".tif"], tmp_path / "one", ("mask",))
    begun = []

    def predict(on_tile):
        scheduler.start()
        scheduler.start_worker()
        with connect(scheduler.address) as client:
            on_workers(
                client,
                predictor,
                slides[".tif"],
                tmp_path / "out",
                ("mask",),
                begin=lambda image, tiling, finished: begun.append(finished) or on_tile,
            )

    with pytest.raises(DataNotFoundError, match=f"the scheduler at {scheduler.address} does not"):
        predict(scheduler.kill)
    assert not list((tmp_path / "out").glob("*.zarr"))
    predict(lambda: None)
    assert begun[0] == 0 < begun[1]
    assert contents(tmp_path / "out") == wanted


def test_a_tile_that_never_ends_is_named_and_the_same_command_finishes(
    models, slides, tmp_path, monkeypatch
):
    monkeypatch.setattr(tasks, "CHECK_SECONDS", 0.2)
    predictor = Predictor(models["classes"], threads=1, tile_pixels=TILE**2)

    def hang():
        from unetkit.cluster import large_images

        large_images.predict_tiles = lambda *_: time.sleep(10_000)

    arguments = (predictor, slides[".tif"], tmp_path / "out", ("mask",))
    with local_workers(2) as client:
        client.run(hang, workers=list(client.nthreads())[:1])
        words = (
            r"tiles of \S+slide\.tif: worker tls://\S+ began it and did not .* is kept; the same"
        )
        with pytest.raises(DataError, match=words):
            on_workers(client, *arguments, stalled_minutes=3 / 60)
        on_workers(client, *arguments)
    wanted = on_one_machine(predictor, slides[".tif"], tmp_path / "one", ("mask",))
    assert contents(tmp_path / "out") == wanted


def test_a_full_disk_of_one_worker_is_named_and_others_do_the_rest(
    models, slides, tmp_path, caplog
):
    """While tiles are written, then while outputs are: a limit in one worker is as a full disk."""

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))

    predictor = Predictor(models["classes"], threads=1, tile_pixels=TILE**2)
    kinds = ("mask", "probabilities")
    wanted = on_one_machine(predictor, slides[".tif"], tmp_path / "one", kinds)
    for number, at in enumerate((1, 12)):
        with local_workers(2) as client, caplog.at_level(logging.WARNING, "unetkit"):
            caplog.clear()
            full = next(iter(client.nthreads()))
            tiles = []

            def count(tiles=tiles, client=client, full=full, at=at):
                tiles.append(1)
                if len(tiles) == at:
                    client.run(limit, workers=[full])

            out = tmp_path / f"out{number}"
            on_workers(
                client, predictor, slides[".tif"], out, kinds, begin=lambda *_, count=count: count
            )
            assert contents(out) == wanted
            found = [one.getMessage() for one in caplog.records if one.name.startswith("unetkit")]
            assert len(found) == 1
            assert found[0].startswith(f"worker {full} cannot write ([Errno 27] File too large")


def test_a_worker_with_another_model_or_version_is_named(
    client, models, slides, tmp_path, monkeypatch
):
    model = tmp_path / "m.onnx"
    model.write_bytes(models["classes"].read_bytes())
    predictor = Predictor(model, threads=1)
    monkeypatch.setattr(predict_module, "__version__", "99.0")
    with pytest.raises(
        ConfigError, match=r"worker t\w+://\S+ has unetkit \S+, and this command 99"
    ):
        on_workers(client, predictor, slides[".tif"], tmp_path / "out", ("mask",))
    monkeypatch.undo()
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with pytest.raises(DataError, match=r"worker t\w+://\S+: .*m\.onnx"):
        on_workers(client, predictor, slides[".tif"], tmp_path / "out", ("mask",))
    assert not (tmp_path / "out").exists()


def test_a_damaged_image_is_named_and_leaves_nothing(client, models, tmp_path):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, noise(), tile=(256, 256), compression="zlib")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages.first.dataoffsets[-1]
    content = bytearray(path.read_bytes())
    content[offset : offset + 40] = bytes(40)
    path.write_bytes(content)
    predictor = Predictor(models["classes"], threads=1, tile_pixels=TILE**2)
    failed = []
    on_workers(
        client,
        predictor,
        path,
        tmp_path / "out",
        ("mask",),
        on_error=lambda image, error: failed.append((image, str(error))),
    )
    ((image, message),) = failed
    assert image == path
    assert "slide.tif" in message
    with pytest.raises(DataError, match=r"slide\.tif"):
        on_workers(client, predictor, path, tmp_path / "strict", ("mask",))
    assert not list((tmp_path / "out").glob("*.zarr"))


@pytest.mark.parametrize(
    ("name", "is_shared"),
    [("slide.tif", True), ("slide.zarr", True), ("a.png", False), ("small.tif", False)],
)
def test_only_large_images_that_are_read_by_windows_are_shared(
    models, slides, tmp_path, name, is_shared
):
    from PIL import Image

    Image.fromarray(noise()).save(tmp_path / "a.png")
    Image.fromarray(noise()[:300]).save(tmp_path / "small.tif")
    known = {path.name: path for path in slides.values()}
    path = known.get(name, tmp_path / name)
    predictor = Predictor(models["classes"])
    assert large_images.can_be_shared(path, predictor) == is_shared
    assert not large_images.can_be_shared(tmp_path / "none.tif", predictor)
