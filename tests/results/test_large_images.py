"""Large images: the same results as small ones, in files that other programs read."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit import Predictor, cutout
from unetkit._shared.files import locked
from unetkit.errors import ConfigError, DataError, OutputExistsError
from unetkit.prediction import sources, tile_store
from unetkit.prediction.predictor import labels_from_scores
from unetkit.results import outputs, polygons
from unetkit.results.files import predict_files
from unetkit.results.predicted_image import ResultOptions
from unetkit.visualization.overlays import lay_over

TILE = 136  # the smallest tile is 104; of these the images here have a fifth as many
KINDS = ("mask", "overlay", "cutout", "probabilities")


def noise(size=(300, 410), channels=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (size[0] // 16 + 1, size[1] // 16 + 1, channels)
    coarse = rng.integers(0, 256, shape, dtype=np.uint8)
    image = np.kron(coarse, np.ones((16, 16, 1), np.uint8))[: size[0], : size[1]]
    return image[..., 0] if channels == 1 else image


@pytest.fixture(scope="module")
def colour(colour_model):
    """In some dozens of tiles."""
    return Predictor(colour_model, tile_pixels=TILE**2)


@pytest.fixture(scope="module")
def whole(colour_model):
    return Predictor(colour_model)


@pytest.fixture
def slide(tmp_path):
    tifffile.imwrite(tmp_path / "slide.tif", noise(), tile=(64, 64), compression="zlib")
    return tmp_path / "slide.tif"


@pytest.fixture
def small_bound(monkeypatch):
    """Images of more than 10,000 pixels count as large."""
    for module in (sources, outputs):
        monkeypatch.setattr(module, "WHOLE_PIXELS", 10_000)


class TestResults:
    @pytest.mark.parametrize("kind", ["geojson", "coco", "yolo", "labelme", "areas"])
    def test_polygons_and_areas_are_those_of_the_mask(
        self, colour, whole, slide, tmp_path, monkeypatch, kind
    ):
        monkeypatch.setattr(polygons, "TRACED_PIXELS", 7 * 410)
        (file,) = predict_files(colour, [slide], tmp_path / "a", kinds=[kind], format="tiff")
        (expected,) = predict_files(whole, [slide], tmp_path / "b", kinds=[kind], format="png")
        contents = (path.read_text() for path in (file, expected))
        # the metadata name the tiles
        one, other = (text.partition('"tiles"')[2].partition("}")[2] or text for text in contents)
        assert len(one) > 40
        assert one == other

    def test_every_output_is_that_of_the_whole_image(self, colour, whole, slide, tmp_path):
        seen = []
        written = predict_files(
            colour, [slide], tmp_path / "out", kinds=KINDS, format="tiff", on_result=seen.append
        )
        assert [path.name for path in written] == [
            "slide.tif", "slide_overlay.tif", "slide_cutout.tif", "slide_probabilities.tif",
        ]  # fmt: skip
        photo, classes = noise(), whole.spec.classes
        probabilities = whole.probabilities(photo)
        mask, laid_over, cut_out, planes = map(tifffile.imread, written)
        assert (mask == labels_from_scores(probabilities)).mean() > 0.9999
        assert (laid_over == lay_over(photo, mask, classes)).all()
        np.testing.assert_allclose(planes.transpose(1, 2, 0), probabilities, atol=1e-5)
        wanted = cutout(photo, probabilities, classes, whole.spec.scale)
        assert (np.abs(cut_out.astype(int) - wanted) > 1).mean() < 1e-4
        assert seen[0].counts.tolist() == np.bincount(mask.ravel(), minlength=3).tolist()
        assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == sorted(
            path.name for path in written
        )  # no store is left

    def test_labels_alone_are_the_same(self, colour, whole, slide, tmp_path):
        (mask,) = predict_files(colour, [slide], tmp_path / "out", format="tiff")
        assert (tifffile.imread(mask) == whole(noise())).mean() > 0.9999
        with tifffile.TiffFile(mask) as file:
            page = file.pages.first
        notes = json.loads(page.description)
        assert notes["exact"] is True
        assert notes["classes"] == ["class 0", "class 1", "class 2"]
        style = ResultOptions("palette")
        (mask,) = predict_files(colour, [slide], tmp_path / "b", format="tiff", options=style)
        with tifffile.TiffFile(mask) as file:
            colours = file.pages.first.colormap >> 8
        assert colours[:, 2].tolist() == list(whole.spec.classes.colours[2])

    def test_zarr_in_and_out(self, colour, whole, tmp_path):
        zarr = pytest.importorskip("zarr")
        array = zarr.create_array(
            tmp_path / "a.zarr", shape=(300, 410, 3), chunks=(128, 128, 3), dtype="u1"
        )
        array[:] = noise()
        (mask,) = predict_files(colour, [tmp_path / "a.zarr"], tmp_path / "out", format="zarr")
        assert mask.name == "a.ome.zarr"
        assert (zarr.open(mask)["0"][:] == whole(noise())).mean() > 0.9999

    def test_a_smaller_margin_is_not_exact(self, colour_model, slide, tmp_path):
        blended = Predictor(colour_model, tile_pixels=6400, margin=8)
        seen = []
        (mask,) = predict_files(
            blended, [slide], tmp_path / "out", format="tiff", on_result=seen.append
        )
        with tifffile.TiffFile(mask) as file:
            notes = json.loads(file.pages.first.description)
        assert notes["exact"] is False
        assert notes["tiles"].endswith("blended and not exact")
        assert not seen[0].tiling.is_exact
        assert (
            tifffile.imread(mask) == labels_from_scores(blended.probabilities(noise()))
        ).mean() > 0.999

    def test_another_scale(self, half_model, tmp_path):
        """Windows are interpolated bit for bit as the whole image is."""
        image = noise(channels=1)
        tifffile.imwrite(tmp_path / "a.tif", image, rowsperstrip=8)
        half = Predictor(half_model)
        files = predict_files(
            half, [tmp_path / "a.tif"], tmp_path / "out", kinds=KINDS[::3], format="tiff"
        )
        mask, planes = map(tifffile.imread, files)
        assert (planes.transpose(1, 2, 0) == half.probabilities(image)).all()
        assert (mask == half(image)).all()

    def test_each_page_of_a_stack(self, colour, whole, tmp_path):
        pages = np.stack([noise(seed=1), noise(seed=2)])
        tifffile.imwrite(tmp_path / "s.tif", pages, photometric="rgb")
        masks = predict_files(colour, [tmp_path / "s.tif"], tmp_path / "out", format="tiff")
        assert [path.name for path in masks] == ["s_p000.tif", "s_p001.tif"]
        for page, mask in zip(pages, masks, strict=True):
            assert (tifffile.imread(mask) == whole(page)).mean() > 0.9999


class TestLarge:
    """Images that are not held in memory, with a lower limit."""

    def test_a_large_tiff_is_written_as_tiff(self, small_bound, colour, whole, slide, tmp_path):
        begun = []

        def begin(image, tiling, finished):
            begun.append((image, len(tiling), finished))
            return lambda: None

        seen = []
        (mask,) = predict_files(
            colour, [slide], tmp_path / "out", begin=begin, on_result=seen.append
        )
        assert mask.suffix == ".tif"
        assert (tifffile.imread(mask) == whole(noise())).mean() > 0.9999
        assert begun == [(slide, len(seen[0].tiling), 0)]
        assert seen[0].mask is None

    @pytest.mark.parametrize("kind", ["slide.tif", "slide.npy"])
    def test_a_file_that_changes_while_it_is_read_is_refused(
        self, kind, small_bound, colour, slide, tmp_path
    ):
        path = tmp_path / kind
        if kind == "slide.npy":
            np.save(path, noise())
        content = path.read_bytes()

        def rewrite():
            with open(path, "r+b") as file:
                file.write(content)

        def begin(image, tiling, finished):
            return rewrite

        with pytest.raises(DataError, match=rf"^{kind} changed while it was read; accepted are"):
            predict_files(colour, [path], tmp_path / "out", begin=begin)
        assert not (tmp_path / "out").exists()
        predict_files(colour, [path], tmp_path / "out")

    def test_a_file_that_is_removed_while_it_is_read_is_read_to_its_end(
        self, small_bound, colour, slide, tmp_path
    ):
        def begin(image, tiling, finished):
            return lambda: slide.unlink(missing_ok=True)

        assert predict_files(colour, [slide], tmp_path / "out", begin=begin)

    def test_a_photo_among_large_ones_stays_a_png(self, small_bound, colour, slide, tmp_path):
        Image.fromarray(noise((50, 60))).save(tmp_path / "photo.png")
        written = predict_files(colour, [slide, tmp_path / "photo.png"], tmp_path / "out")
        assert sorted(path.name for path in written) == ["photo.png", "slide.tif"]

    def test_palettes_and_opacity_are_treated_as_in_small_images(
        self, small_bound, colour, tmp_path, monkeypatch
    ):
        palette = Image.fromarray(noise()).quantize(20)
        palette.save(tmp_path / "palette.tif")
        opaque = Image.fromarray(noise()).convert("RGBA")
        opaque.save(tmp_path / "opaque.tif")
        files = [tmp_path / "palette.tif", tmp_path / "opaque.tif"]
        large = [tifffile.imread(m) for m in predict_files(colour, files, tmp_path / "large")]
        monkeypatch.undo()
        small = [
            np.asarray(Image.open(m)) for m in predict_files(colour, files, tmp_path / "small")
        ]
        for one, other in zip(large, small, strict=True):
            assert (one == other).mean() > 0.9999

    def test_png_of_a_large_image_is_refused(self, small_bound, colour, slide, tmp_path):
        words = r"format is 'png' and .*slide\.tif has 300x410 pixels; .* use tiff or zarr"
        with pytest.raises(ConfigError, match=words):
            predict_files(colour, [slide], tmp_path / "out", format="png")
        assert not (tmp_path / "out").exists()

    def test_a_large_photo_is_decoded_once(self, small_bound, colour, whole, tmp_path, monkeypatch):
        Image.fromarray(noise()).save(tmp_path / "a.png")
        decode, decoded = sources.read_image, []

        def counted(file, format, page):
            decoded.append(file.path)
            return decode(file, format, page)

        monkeypatch.setattr(sources, "read_image", counted)
        (mask,) = predict_files(colour, [tmp_path / "a.png"], tmp_path / "out", kinds=["mask"])
        assert decoded == [tmp_path / "a.png"]
        assert (tifffile.imread(mask) == whole(noise())).mean() > 0.9999

    def test_only_what_a_tile_needs_is_read(self, small_bound, colour, tmp_path, monkeypatch):
        """No window is larger than a tile and its margins."""
        tifffile.imwrite(tmp_path / "a.tif", noise((500, 400)), tile=(64, 64))
        largest = 0
        read = sources.Source.read

        def watched(self, rows, columns):
            nonlocal largest
            largest = max(largest, (rows.stop - rows.start) * (columns.stop - columns.start))
            return read(self, rows, columns)

        monkeypatch.setattr(sources.Source, "read", watched)
        predict_files(colour, [tmp_path / "a.tif"], tmp_path / "out")
        assert largest <= TILE**2


class TestNoData:
    def geotiff(self, path, image, nodata, **options):
        rasterio = pytest.importorskip("rasterio")
        from rasterio.transform import from_origin

        bands = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
        with rasterio.open(
            path, "w", driver="GTiff", height=bands.shape[1], width=bands.shape[2],
            count=len(bands), dtype=bands.dtype, crs="EPSG:32633", nodata=nodata,
            transform=from_origin(500_000, 5_400_000, 0.5, 0.5), tiled=True, **options,
        ) as file:  # fmt: skip
            file.write(bands)
        return rasterio

    def test_every_mask_has_the_gaps(self, colour, tmp_path):
        image = noise() // 2 + 1
        image[100:150, 200:300] = 0
        self.geotiff(tmp_path / "map.tif", image, 0, photometric="RGB")
        seen = []
        (auto,) = predict_files(
            colour, [tmp_path / "map.tif"], tmp_path / "auto", on_result=seen.append
        )
        assert auto.suffix == ".tif"
        pngs = predict_files(
            colour, [tmp_path / "map.tif"], tmp_path / "png", kinds=KINDS, format="png"
        )
        mask = np.asarray(Image.open(pngs[0]))
        for other in (tifffile.imread(auto), colour(tmp_path / "map.tif")):
            assert (mask == other).mean() > 0.9999  # but for ties
            assert ((mask == 255) == (other == 255)).all()
        assert (mask == 255).sum() == 5000
        assert seen[0].counts.sum() == 300 * 410 - 5000
        assert (np.asarray(Image.open(pngs[2]))[100:150, 200:300, 3] == 0).all()

    @pytest.mark.parametrize("bound", [0, 10**9])  # read by windows, or whole
    def test_georeference_and_gaps_are_kept(self, bound, colour, tmp_path, monkeypatch):
        monkeypatch.setattr(sources, "WHOLE_PIXELS", bound)
        image = noise() // 2 + 1
        image[100:150, 200:300] = 0
        rasterio = self.geotiff(tmp_path / "map.tif", image, 0, photometric="RGB")
        files = predict_files(
            colour, [tmp_path / "map.tif"], tmp_path / "out", kinds=KINDS, format="tiff"
        )
        with rasterio.open(tmp_path / "map.tif") as before, rasterio.open(files[0]) as after:
            assert after.crs == before.crs
            assert after.transform == before.transform
            assert after.nodata == 255
            mask = after.read(1)
            assert (mask == 255).sum() == 50 * 100
            assert (mask[100:150, 200:300] == 255).all()
            assert after.overviews(1) == [] or mask.shape > (1024, 1024)
        with rasterio.open(files[3]) as after:
            planes = after.read()
            assert np.isnan(after.nodata)
            assert np.isnan(planes[:, 100:150, 200:300]).all()
            assert np.isfinite(planes).sum() == 3 * (300 * 410 - 5000)
        with rasterio.open(files[2]) as after:
            assert (after.read(4)[100:150, 200:300] == 0).all()
        with rasterio.open(files[1]) as after:
            assert (after.read()[:, 100:150, 200:300] == 0).all()

    def test_gaps_marked_by_nan(self, small_bound, tmp_path_factory, tmp_path):
        from tests.conftest import export_untrained
        from unetkit.io.pixel_format import PixelFormat

        path = tmp_path_factory.mktemp("real") / "real.onnx"
        real = Predictor(export_untrained(path, PixelFormat(1, "float32", (0.0,), (1.0,))))
        image = noise(channels=1).astype(np.float32) / 255
        image[:40, :50] = np.nan
        rasterio = self.geotiff(tmp_path / "map.tif", image, np.nan)
        (file,) = predict_files(real, [tmp_path / "map.tif"], tmp_path / "out")
        with rasterio.open(file) as mask:
            assert ((mask.read(1) == 255) == np.isnan(image)).all()


class TestInterruptions:
    def interrupted(self, predictor, slide, out, after=3, **options):
        """A run that is interrupted after some tiles."""

        def begin(image, tiling, finished):
            count = 0

            def on_tile():
                nonlocal count
                count += 1
                if count == after:
                    raise KeyboardInterrupt

            return on_tile

        with pytest.raises(KeyboardInterrupt):
            predict_files(predictor, [slide], out, format="tiff", begin=begin, **options)
        return out / "slide.tif.tiles"

    def test_the_same_command_continues(self, colour, whole, slide, tmp_path):
        store = self.interrupted(colour, slide, tmp_path / "out")
        left = len(list(store.glob("*.npy")))
        assert left >= 3
        seen = []

        def begin(image, tiling, finished):
            seen.append(finished)
            return lambda: seen.append("tile")

        (mask,) = predict_files(colour, [slide], tmp_path / "out", format="tiff", begin=begin)
        assert seen[0] == left
        assert (tifffile.imread(mask) == whole(noise())).mean() > 0.9999
        assert not store.exists()

    def test_with_less_memory_it_does_not_continue(self, colour_model, colour, slide, tmp_path):
        large = Predictor(colour_model, tile_pixels=4 * TILE**2)
        self.interrupted(large, slide, tmp_path / "out")
        with pytest.raises(OutputExistsError, match="too large for the memory limit; accepted"):
            predict_files(colour, [slide], tmp_path / "out", format="tiff")

    def test_with_more_memory_it_continues_with_the_existing_tiles(
        self, colour, whole, slide, tmp_path
    ):
        self.interrupted(colour, slide, tmp_path / "out")
        (mask,) = predict_files(whole, [slide], tmp_path / "out", format="tiff")
        assert (tifffile.imread(mask) == whole(noise())).mean() > 0.9999

    def test_tiles_of_another_image_are_refused(self, colour, slide, tmp_path):
        self.interrupted(colour, slide, tmp_path / "out")
        tifffile.imwrite(slide, noise(seed=5), tile=(64, 64))
        with pytest.raises(OutputExistsError, match="holds tiles of another run"):
            predict_files(colour, [slide], tmp_path / "out", format="tiff")
        predict_files(colour, [slide], tmp_path / "out", format="tiff", overwrite=True)

    def test_finished_tiles_of_a_damaged_image_are_kept(self, small_bound, colour, tmp_path):
        path = tmp_path / "slide.tif"
        tifffile.imwrite(path, noise(), rowsperstrip=10, compression="zlib")
        content = bytearray(path.read_bytes())
        with tifffile.TiffFile(path) as file:
            offset = file.pages.first.dataoffsets[25]
        content[offset + 5] ^= 255  # in the middle of a strip
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"slide\.tif .*(strip|rows) "):
            predict_files(colour, [path], tmp_path / "out", format="tiff")
        assert not (tmp_path / "out" / "slide.tif").exists()
        assert len(list((tmp_path / "out" / "slide.tif.tiles").glob("*.npy"))) > 10

    def test_finished_outputs_are_left_as_they_are(self, colour, slide, tmp_path):
        """Of two images, the second of which was interrupted."""
        first = tmp_path / "a.tif"
        tifffile.imwrite(first, noise(seed=3), tile=(64, 64))
        predict_files(colour, [first], tmp_path / "out", format="tiff")
        before = (tmp_path / "out" / "a.tif").stat().st_mtime_ns
        self.interrupted(colour, slide, tmp_path / "out")
        written = predict_files(colour, [first, slide], tmp_path / "out", format="tiff")
        assert written == [tmp_path / "out" / "slide.tif"]
        assert (tmp_path / "out" / "a.tif").stat().st_mtime_ns == before

    def test_a_zarr_folder_with_changed_chunks_is_another_image(self, colour, tmp_path):
        zarr = pytest.importorskip("zarr")
        path = tmp_path / "a.zarr"
        array = zarr.create_array(path, shape=(300, 410, 3), chunks=(64, 64, 3), dtype="u1")
        array[:] = noise()
        before = sources.stamp(path)
        array[:] = noise(seed=1)
        assert sources.stamp(path) != before

    def test_a_full_disk_keeps_finished_tiles(self, colour, whole, slide, tmp_path, monkeypatch):
        begin_file, calls = tile_store.write_array_header_1_0, []

        def full(file, header):
            calls.append(file)
            if len(calls) == 4:
                raise OSError(28, "No space left on device")
            begin_file(file, header)

        monkeypatch.setattr(tile_store, "write_array_header_1_0", full)
        with pytest.raises(OSError, match="No space left") as caught:
            predict_files(colour, [slide], tmp_path / "out", format="tiff")
        monkeypatch.undo()
        assert caught.value.filename.endswith(".npy")
        assert len(list((tmp_path / "out" / "slide.tif.tiles").glob("*.npy"))) == 3
        (mask,) = predict_files(colour, [slide], tmp_path / "out", format="tiff")
        assert (tifffile.imread(mask) == whole(noise())).mean() > 0.9999

    def test_outputs_that_are_not_all_complete_get_no_names(
        self, colour, whole, slide, tmp_path, monkeypatch
    ):
        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(outputs, "lay_over", full)
        out, kinds = tmp_path / "out", ("mask", "overlay")
        with pytest.raises(OSError, match="No space left"):
            predict_files(colour, [slide], out, kinds=kinds, format="tiff")
        assert sorted(path.name for path in out.iterdir()) == ["slide.tif.tiles"]
        monkeypatch.undo()
        mask, laid_over = predict_files(colour, [slide], out, kinds=kinds, format="tiff")
        assert (
            tifffile.imread(laid_over)
            == lay_over(noise(), tifffile.imread(mask), whole.spec.classes)
        ).all()
        assert sorted(path.name for path in out.glob("[!.]*")) == [
            "slide.tif", "slide_overlay.tif",
        ]  # fmt: skip
        assert predict_files(colour, [slide], out, kinds=kinds, format="tiff") == []

    def test_another_process_that_predicts_the_same_image_is_refused(self, colour, slide, tmp_path):
        store = tmp_path / "out" / "slide.tif.tiles"
        store.parent.mkdir()
        with (
            locked(store.with_name("slide.tif.tiles.lock"), "stands here for another process"),
            pytest.raises(OutputExistsError, match=r"another process writes into .*slide\.tif"),
        ):
            predict_files(colour, [slide], store.parent, format="tiff")
        predict_files(colour, [slide], store.parent, format="tiff")
        assert [path.name for path in store.parent.glob("[!.]*")] == ["slide.tif"]

    @pytest.mark.skipif(os.name == "nt", reason="kills with a signal")
    def test_a_killed_run_continues(self, colour_model, whole, tmp_path):
        path = tmp_path / "slide.tif"
        tifffile.imwrite(path, noise((600, 450)), tile=(64, 64))
        code = (
            "import sys; from pathlib import Path; from unetkit import Predictor;"
            "from unetkit.results.files import predict_files;"
            f"p = Predictor({str(colour_model)!r}, tile_pixels=12000);"
            f"predict_files(p, [Path({str(path)!r})], {str(tmp_path / 'out')!r}, format='tiff')"
        )
        process = subprocess.Popen([sys.executable, "-c", code])
        store = tmp_path / "out" / "slide.tif.tiles"
        deadline = time.monotonic() + 60
        while len(list(store.glob("*.npy"))) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert store.exists()
        subprocess.run([sys.executable, "-c", code], check=True)
        mask = tifffile.imread(tmp_path / "out" / "slide.tif")
        assert (mask == whole(noise((600, 450)))).mean() > 0.9999
        assert [path.name for path in store.parent.glob("[!.]*")] == ["slide.tif"]
