"""Physical sizes of pixels: as they are written in options and in TIFF files."""

import numpy as np
import pytest
import tifffile
import zarr

from unetkit.errors import ConfigError
from unetkit.io.pixel_size import PixelSize, parse_pixel_size, pixel_size_of_tiff
from unetkit.io.zarr_reader import open_zarr

PIXELS = np.zeros((8, 9), np.uint8)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0.65um", PixelSize(0.65, "um")),
        (" 650 nm ", PixelSize(650.0, "nm")),
        ("1e-3 mm", PixelSize(0.001, "mm")),
        ("0.5µm", PixelSize(0.5, "um")),
        ("10m", PixelSize(10.0, "m")),
    ],
)
def test_sizes_are_numbers_with_units(text, size):
    assert parse_pixel_size(text) == size


@pytest.mark.parametrize("text", ["0.65", "um", "0um", "-1um", "nanum", "1inch", "", "1e999um"])
def test_anything_else_is_refused(text):
    with pytest.raises(ConfigError) as error:
        parse_pixel_size(text)
    assert f"--pixel-size is {text!r}; accepted are a number above 0 and a unit" in str(error.value)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}, PixelSize(0.5, "um")),
        ({"resolution": (20_000, 10_000), "resolutionunit": "CENTIMETER"}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"resolution": (1, 1), "resolutionunit": "NONE"}, None),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}, PixelSize(0.5, "um")),
        (
            {"imagej": True, "resolution": (4, 4), "metadata": {"unit": "micron"}},
            PixelSize(0.25, "um"),
        ),
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "pixel"}}, None),
        ({"imagej": True}, None),
        ({}, None),
    ],
)
def test_sizes_of_tiff_files(tmp_path, options, size):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        found = pixel_size_of_tiff(file.pages.first)
    assert found == (size and PixelSize(pytest.approx(size.side), size.unit))


def test_a_resolution_of_nothing_is_none(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, resolution=(0, 0), resolutionunit="CENTIMETER")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert pixel_size_of_tiff(file.pages.first) is None


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("scales", "units", "size"),
    [
        ([[2, 0.5, 0.5]], "micrometer", PixelSize(0.5, "um")),
        ([[2, 0.5, 0.5], [1, 3, 3]], "nanometer", PixelSize(1.5, "nm")),
        ([[2, 0.5, 0.6]], "micrometer", None),
        ([[2, 0.5]], "micrometer", None),
        ([[2, 0.5, 0.5]], "parsec", None),
        ([[2, 0.5, 0.5]], None, None),
        ([], "micrometer", None),
    ],
)
def test_sizes_of_ome_zarr(tmp_path, version, scales, units, size):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2 + (version == "0.5"))
    group.create_array("0", shape=(1, 8, 16), dtype="uint8")
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space"} | ({"unit": units} if units else {}) for a in "yx"]
    moves = [[{"type": "scale", "scale": scale}] for scale in scales]
    datasets = [{"path": "0"} | ({"coordinateTransformations": moves[0]} if moves else {})]
    one = {"axes": axes, "datasets": datasets}
    if len(moves) > 1:
        one["coordinateTransformations"] = moves[1]
    described = {"multiscales": [one]}
    group.attrs.update({"ome": {"version": "0.5", **described}} if version == "0.5" else described)
    (image,) = open_zarr(tmp_path / "a.zarr")
    assert image.pixel_size == size
