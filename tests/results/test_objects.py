"""Objects of predicted images: the same in any tiles, in label images and tables that agree."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from scipy import ndimage
from skimage.measure import regionprops

from tests.conftest import export_untrained
from unetkit import Predictor
from unetkit.errors import DataError, SizeError
from unetkit.io.pixel_size import PixelSize
from unetkit.objects.separation import ObjectRule
from unetkit.prediction import sources
from unetkit.results import objects, outputs, polygons, predicted_image
from unetkit.results.files import predict_files, predict_stream
from unetkit.results.objects import OBJECT_COLUMNS
from unetkit.results.outputs import ResultOptions

RULES = {
    "ridge": ObjectRule("ridge", 0.4, 12, 20),
    "border": ObjectRule("border", 0.65, 12, 20, 0.05),
    "distance": ObjectRule("distance", 0.5, 12, 20),
}
EACH_RULE = pytest.mark.parametrize("method", RULES)


def blobs(size=(230, 310), seed=0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=size)
    smooth = ndimage.gaussian_filter(noise, 3)
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Networks with random weights, for each way to tell objects apart."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for method, rule in RULES.items():
        found[method] = folder / f"{method}.onnx"
        export_untrained(found[method], num_classes=2 + rule.channels, objects=rule)
    return found


@pytest.fixture
def image(tmp_path) -> Path:
    tifffile.imwrite(tmp_path / "cells.tif", blobs(), photometric="minisblack")
    return tmp_path / "cells.tif"


@pytest.fixture
def small_bound(monkeypatch):
    """Images of more than 10,000 pixels count as large."""
    for module in (sources, outputs):
        monkeypatch.setattr(module, "WHOLE_PIXELS", 10_000)


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestFiles:
    @EACH_RULE
    def test_objects_and_table_are_written_beside_the_mask(self, models, image, tmp_path, method):
        seen = []
        written = predict_files(
            Predictor(models[method]), [image], tmp_path / "out", on_result=seen.append
        )
        assert [path.name for path in written] == [
            "cells.png", "cells_objects.tif", "cells_objects.csv",
        ]  # fmt: skip
        labels = tifffile.imread(written[1])
        assert (labels.dtype, labels.shape) == (np.uint16, (230, 310))
        numbers = np.unique(labels[labels > 0])
        assert numbers.tolist() == list(range(1, 1 + len(numbers)))
        assert seen[0].objects == len(numbers) > 1
        assert len(read_table(written[2])) == seen[0].objects

    def test_the_table_measures_the_objects_of_the_label_image(self, models, image, tmp_path):
        _, labels, table = predict_files(Predictor(models["border"]), [image], tmp_path / "out")
        numbers, rows = tifffile.imread(labels), read_table(table)
        assert list(rows[0]) == [*OBJECT_COLUMNS, "mean", "sum"]
        for row, region in zip(rows, regionprops(numbers, blobs()), strict=True):
            assert int(row["label"]) == region.label
            assert int(row["area"]) == region.area >= 12
            assert (float(row["row"]), float(row["column"])) == pytest.approx(region.centroid)
            box = tuple(int(row[side]) for side in ("top", "left", "bottom", "right"))
            assert box == region.bbox
            assert float(row["perimeter"]) == pytest.approx(region.perimeter)
            assert float(row["mean"]) == pytest.approx(region.intensity_mean)
            assert float(row["sum"]) == pytest.approx(region.image_intensity.sum())

    @pytest.mark.parametrize("given", [None, PixelSize(2.0, "mm")])
    def test_measures_in_physical_units(self, models, tmp_path, given):
        tifffile.imwrite(
            tmp_path / "a.tif",
            blobs((60, 80)),
            photometric="minisblack",
            resolution=(20_000, 20_000),
            resolutionunit="CENTIMETER",
        )
        _, _, table = predict_files(
            Predictor(models["border"]),
            [tmp_path / "a.tif"],
            tmp_path / "out",
            options=ResultOptions(pixel_size=given),
        )
        row = read_table(table)[0]
        side, unit = (0.5, "um") if given is None else (2.0, "mm")
        assert float(row[f"area_{unit}2"]) == pytest.approx(int(row["area"]) * side**2)
        for name in ("perimeter", "major_axis", "minor_axis"):
            assert float(row[f"{name}_{unit}"]) == pytest.approx(float(row[name]) * side)

    def test_the_class_is_that_of_most_pixels(self, models, image, tmp_path):
        predictor = Predictor(models["border"])
        _, labels, table = predict_files(predictor, [image], tmp_path / "out")
        numbers, mask = tifffile.imread(labels), predictor(blobs())
        names = set()
        for row in read_table(table):
            votes = np.bincount(mask[numbers == int(row["label"])], minlength=3)
            assert row["class"] == f"class {1 + votes[1:].argmax()}"
            names.add(row["class"])
        assert len(names) == 2

    def test_each_channel_has_its_intensities(self, tmp_path):
        from unetkit.io.pixel_format import PixelFormat

        model = export_untrained(
            tmp_path / "m.onnx", PixelFormat(3), objects=ObjectRule("border", 0.5, 1, 0)
        )
        photo = np.stack([blobs((40, 50), seed) for seed in range(3)], axis=2)
        tifffile.imwrite(tmp_path / "a.tif", photo, photometric="rgb")
        _, labels, table = predict_files(Predictor(model), [tmp_path / "a.tif"], tmp_path / "out")
        row, numbers = read_table(table)[0], tifffile.imread(labels)
        for channel in range(3):
            expected = photo[numbers == 1][:, channel].mean()
            assert float(row[f"mean_{channel}"]) == pytest.approx(expected)

    @pytest.mark.parametrize("kind", ["objects", "table", "geojson"])
    def test_of_an_image_in_a_stream(self, models, image, tmp_path, kind):
        predictor = Predictor(models["border"])
        (file,) = predict_files(predictor, [image], tmp_path / "out", kinds=[kind])
        assert predict_stream(predictor, image.read_bytes(), kind) == file.read_bytes()

    def test_many_objects_need_32_bits(self, models, image, tmp_path, monkeypatch):
        monkeypatch.setattr(predicted_image, "LARGEST_16_BITS", 3)
        _, labels, _ = predict_files(Predictor(models["border"]), [image], tmp_path / "out")
        assert tifffile.imread(labels).dtype == np.uint32

    def test_a_model_of_classes_writes_masks_alone(self, tmp_path, image):
        predictor = Predictor(export_untrained(tmp_path / "m.onnx"))
        assert len(predict_files(predictor, [image], tmp_path / "out")) == 1
        with pytest.raises(DataError, match="was not trained to tell objects apart, which the"):
            predict_files(predictor, [image], tmp_path / "other", kinds=["objects"])
        assert not (tmp_path / "other").exists()

    def test_an_image_without_objects(self, models, tmp_path, monkeypatch):
        rule = ObjectRule("border", 0.5, 10**6, 0)
        model = export_untrained(tmp_path / "m.onnx", objects=rule)
        tifffile.imwrite(tmp_path / "a.tif", blobs((30, 40)), photometric="minisblack")
        _, labels, table = predict_files(Predictor(model), [tmp_path / "a.tif"], tmp_path / "out")
        assert not tifffile.imread(labels).any()
        assert read_table(table) == []


class TestTiles:
    @EACH_RULE
    @pytest.mark.usefixtures("small_bound")
    def test_by_windows_as_in_memory(self, models, image, tmp_path, monkeypatch, method):
        whole = Predictor(models[method])
        with monkeypatch.context() as context:
            context.setattr(outputs, "WHOLE_PIXELS", 1 << 30)
            _, expected, expected_table = predict_files(whole, [image], tmp_path / "whole")
        table = expected_table.read_text()
        tiles = Predictor(models[method], tile_pixels=136**2)
        for rows in (1, 17, 1000):
            monkeypatch.setattr(objects, "BAND_PIXELS", rows * 310)
            written = predict_files(tiles, [image], tmp_path / f"{rows}", format="tiff")
            assert np.array_equal(tifffile.imread(written[1]), tifffile.imread(expected))
            assert written[2].read_text() == table
            left = [path for path in (tmp_path / f"{rows}").iterdir() if path.name[0] != "."]
            assert len(left) == 3  # nothing else is left

    @pytest.mark.usefixtures("small_bound")
    def test_polygons_are_those_of_objects(self, models, image, tmp_path, monkeypatch):
        """Filled again, they give the numbers of the objects, from tiles and from few rows."""
        monkeypatch.setattr(polygons, "TRACED_PIXELS", 17 * 310)
        tiles = Predictor(models["border"], tile_pixels=136**2)
        kinds = ["geojson", "objects"]
        file, labels = predict_files(tiles, [image], tmp_path / "out", kinds=kinds, format="tiff")
        expected = tifffile.imread(labels)
        rows, columns = np.mgrid[: expected.shape[0], : expected.shape[1]] + 0.5
        found = np.zeros_like(expected)
        for feature in json.loads(file.read_text())["features"]:
            shape = shapely.from_geojson(json.dumps(feature["geometry"]))
            found[shapely.contains_xy(shape, columns, rows)] = feature["properties"]["number"]
        assert expected.any()
        assert np.array_equal(found, expected)

    @pytest.mark.usefixtures("small_bound")
    def test_zarr(self, models, image, tmp_path):
        zarr = pytest.importorskip("zarr")
        tiles = Predictor(models["border"], tile_pixels=136**2)
        _, expected, _ = predict_files(tiles, [image], tmp_path / "tiff", format="tiff")
        written = predict_files(tiles, [image], tmp_path / "zarr", format="zarr")
        assert [path.name for path in written] == [
            "cells.ome.zarr", "cells_objects.ome.zarr", "cells_objects.csv",
        ]  # fmt: skip
        assert np.array_equal(zarr.open(written[1])["0"][:], tifffile.imread(expected))

    @pytest.mark.parametrize("bound", [1 << 30, 10_000])
    def test_a_region_that_does_not_fit_is_named(self, models, image, tmp_path, monkeypatch, bound):
        for module in (sources, outputs):
            monkeypatch.setattr(module, "WHOLE_PIXELS", bound)
        monkeypatch.setattr(objects, "BYTES_PER_PIXEL", 1 << 40)
        with pytest.raises(SizeError) as error:
            predict_files(Predictor(models["ridge"]), [image], tmp_path / "out")
        assert str(error.value).startswith(f"{image}: a connected region of objects has ")
        assert not list((tmp_path / "out").glob("*objects*"))


def test_of_a_resized_model_areas_are_those_of_the_network(tmp_path):
    """An image four times as large has objects of sixteen times the area."""
    rule = ObjectRule("border", 0.64, smallest=12, largest_hole=0)
    model = export_untrained(
        tmp_path / "m.onnx", objects=rule, policy="resize", height=64, width=64
    )
    small = blobs((64, 64))
    large = np.kron(small, np.ones((4, 4), np.uint8))
    found = {}
    for name, pixels in (("small", small), ("large", large)):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric="minisblack")
        _, labels, _ = predict_files(Predictor(model), [tmp_path / f"{name}.tif"], tmp_path / "out")
        found[name] = tifffile.imread(labels)
    areas = np.bincount(found["large"].ravel())[1:]
    assert areas.min() >= 12 * 16
    counts = [int(labels.max()) for labels in found.values()]
    assert min(counts) > 20
    assert abs(counts[0] - counts[1]) < 0.2 * max(counts)


@pytest.mark.usefixtures("small_bound")
def test_pixels_without_data_belong_to_no_object(models, tmp_path):
    pixels = blobs().astype(np.uint8)
    pixels[40:90, 100:200] = 255
    tifffile.imwrite(
        tmp_path / "map.tif",
        pixels,
        photometric="minisblack",
        extratags=[(42113, "s", 0, "255", True)],
    )
    _, labels, _ = predict_files(
        Predictor(models["border"]), [tmp_path / "map.tif"], tmp_path / "out"
    )
    found = tifffile.imread(labels)
    assert found.max() > 3
    assert not found[pixels == 255].any()
