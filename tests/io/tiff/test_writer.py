"""Large TIFFs as others read them: tifffile and GDAL, pixel by pixel, level by level."""

import json
import tracemalloc
import warnings
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unetkit.errors import ConfigError, SizeError
from unetkit.io import pyramid
from unetkit.io.pyramid import halve, level_sizes
from unetkit.io.tiff import writer
from unetkit.io.tiff.writer import write_tiff_pyramid

STEADY = settings(derandomize=True, max_examples=25)
COLOURS = ((0, 0, 0), (255, 0, 0), (10, 20, 30))
SIDES = st.integers(1, 150)
# WGS 84 by its number, half a degree a pixel, the corner at 10 east and 50 north.
GEOTAGS = {
    33550: (12, 3, (0.5, 0.5, 0.0)),
    33922: (12, 6, (0.0, 0.0, 0.0, 10.0, 50.0, 0.0)),
    34735: (3, 16, (1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, 4326)),
}


@pytest.fixture(scope="module", autouse=True)
def small_levels():
    """Tiles of 16 pixels, and overviews down to 20."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid, "TILE", 16)
        patch.setattr(pyramid, "LONGEST", 20)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A path for the files of tests that write many."""
    return tmp_path_factory.mktemp("pyramids") / "x.tif"


def numbers(shape, dtype="uint8", largest=250, seed=0):
    values = np.random.default_rng(seed).random(shape) * largest
    return values.astype(dtype)


def write(path, array, nearest=False, **options):
    def read(rows, columns):
        return array[rows, columns]

    write_tiff_pyramid(path, array.shape, array.dtype, read, nearest=nearest, **options)


def expected_levels(array, nearest, nodata=None):
    found = [array]
    for _ in level_sizes(array.shape[:2])[1:]:
        found.append(halve(found[-1], nearest, nodata))
    return found


def tifffile_levels(path):
    with tifffile.TiffFile(path) as tif:
        assert len(tif.series) == 1
        return [channels_last(level) for level in tif.series[0].levels]


def channels_last(level):
    array = level.asarray()
    if level.axes.startswith("S"):
        return np.moveaxis(array, 0, -1)
    return array if level.axes.endswith("S") else array[..., None]


@contextmanager
def gdal(path, level=None):
    rasterio = pytest.importorskip("rasterio")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, **({} if level is None else {"overview_level": level})) as opened:
            yield opened


def gdal_levels(path):
    with gdal(path) as whole:
        count = len(whole.overviews(1))
        found = [np.moveaxis(whole.read(), 0, -1)]
    for level in range(count):
        with gdal(path, level) as overview:
            found.append(np.moveaxis(overview.read(), 0, -1))
    return found


def assert_levels(path, expected):
    for found in (tifffile_levels(path), gdal_levels(path)):
        assert len(found) == len(expected)
        for pixels, right in zip(found, expected, strict=True):
            assert pixels.dtype == right.dtype
            assert np.array_equal(pixels, right)


class TestPixels:
    @STEADY
    @given(
        SIDES,
        SIDES,
        st.sampled_from(
            (
                ("uint8", 1, True),
                ("uint8", 1, False),
                ("uint8", 3, False),
                ("uint8", 4, False),
                ("uint8", 5, True),
                ("uint16", 1, True),
                ("uint16", 3, False),
                ("uint32", 1, True),
                ("float32", 1, False),
                ("float32", 3, False),
            )
        ),
    )
    def test_every_level_is_what_others_read(self, place, height, width, kind):
        dtype, channels, nearest = kind
        array = numbers((height, width, channels), dtype)
        write(place, array, nearest)
        assert_levels(place, expected_levels(array, nearest))

    def test_levels_by_hand(self, tmp_path):
        # Columns 0 to 39; means of pairs 0.5, 2.5 ... are rounded to 1, 3 ...
        array = np.tile(np.arange(40, dtype=np.uint8), (2, 1))[..., None]
        write(tmp_path / "labels.tif", array, nearest=True)
        write(tmp_path / "photo.tif", array, nearest=False)
        assert tifffile_levels(tmp_path / "labels.tif")[1][0, :, 0].tolist() == [*range(0, 40, 2)]
        assert tifffile_levels(tmp_path / "photo.tif")[1][0, :, 0].tolist() == [*range(1, 40, 2)]

    def test_real_sizes(self, tmp_path):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pyramid, "TILE", 512)
            patch.setattr(pyramid, "LONGEST", 1024)
            array = numbers((1300, 1537, 1), largest=4)
            write(tmp_path / "x.tif", array, nearest=True)
        assert_levels(tmp_path / "x.tif", [array, array[::2, ::2]])
        with gdal(tmp_path / "x.tif") as opened:
            assert opened.overviews(1) == [2]
        with tifffile.TiffFile(tmp_path / "x.tif") as tif:
            assert [page.tile for page in tif.pages] == [(512, 512)] * 2
            assert [page.subfiletype for page in tif.pages] == [0, 1]

    def test_what_cannot_be_shrunk_is_whole(self, place):
        array = np.random.default_rng(3).integers(0, 1 << 32, (50, 60, 2), np.uint32)
        write(place, array)
        assert_levels(place, expected_levels(array, nearest=False))

    def test_pillow_reads_the_full_size(self, place):
        array = numbers((50, 60, 3))
        write(place, array)
        with Image.open(place) as image:
            assert np.array_equal(np.asarray(image), array)


class TestKinds:
    def test_a_palette_gives_labels_their_colours(self, place):
        array = numbers((50, 60, 1), largest=3)
        write(place, array, nearest=True, palette=COLOURS)
        assert_levels(place, expected_levels(array, nearest=True))
        with tifffile.TiffFile(place) as tif:
            for page in tif.pages:  # of every level
                assert page.photometric == tifffile.PHOTOMETRIC.PALETTE
                assert page.colormap.shape == (3, 256)
                assert page.colormap[:, 2].tolist() == [10 * 257, 20 * 257, 30 * 257]
                assert not page.colormap[:, 3:].any()
        with gdal(place) as opened:
            assert opened.colormap(1)[1] == (255, 0, 0, 255)
            assert opened.colormap(1)[2] == (10, 20, 30, 255)
        with Image.open(place) as image:
            assert image.mode == "P"

    def test_colours_and_opacity_are_known_as_such(self, place):
        write(place, numbers((20, 30, 4)))
        with gdal(place) as opened:
            assert [band.name for band in opened.colorinterp] == ["red", "green", "blue", "alpha"]

    def test_probabilities_lie_class_by_class(self, place):
        write(place, numbers((50, 60, 3), "float32", 1.0), names=["sky", "<sea> & so", "Fluß"])
        with tifffile.TiffFile(place) as tif:
            assert tif.pages.first.planarconfig == tifffile.PLANARCONFIG.SEPARATE
            assert tif.pages.first.photometric == tifffile.PHOTOMETRIC.MINISBLACK
            assert tif.pages.first.predictor == tifffile.PREDICTOR.NONE
        with gdal(place) as opened:
            assert opened.count == 3
            assert opened.descriptions == ("sky", "<sea> & so", "Fluß")

    def test_photos_are_packed_by_their_differences(self, place):
        ramp = np.add.outer(np.arange(100), np.arange(100))[..., None].repeat(3, axis=2)
        write(place, ramp.astype(np.uint8))
        with tifffile.TiffFile(place) as tif:
            assert tif.pages.first.predictor == tifffile.PREDICTOR.HORIZONTAL
            assert sum(tif.pages.first.databytecounts) < 100 * 100 * 3 / 5

    def test_numbers_of_objects_shrink_well(self, place):
        array = np.arange(64, dtype=np.uint32).repeat(64).reshape(64, 64, 1) * 70_000
        write(place, array, nearest=True)
        with tifffile.TiffFile(place) as tif:
            assert sum(tif.pages.first.databytecounts) < array.nbytes / 8


class TestTags:
    def test_metadata_are_in_the_description(self, place):
        # tifffile takes "shape" in a description for a note of its own about the array.
        metadata = {"model": "ünet", "shape": [1, 2], "exact": True, "nested": {"shape": 3}}
        write(place, numbers((50, 60, 1)), metadata=metadata)
        with tifffile.TiffFile(place) as tif:
            assert json.loads(tif.pages.first.description) == metadata
            assert tif.pages[1].description == ""
            assert tif.pages.first.software == "unetkit"
            assert len(tif.series[0].levels) == 3

    def test_without_metadata_there_is_no_description(self, place):
        write(place, numbers((5, 6, 1)))
        with tifffile.TiffFile(place) as tif:
            assert tif.pages.first.description == ""

    def test_a_place_on_earth_stays_one(self, place):
        write(place, numbers((50, 60, 1)), nearest=True, geotags=GEOTAGS, nodata=255)
        with gdal(place) as opened:
            assert opened.crs.to_epsg() == 4326
            assert opened.transform[:6] == (0.5, 0.0, 10.0, 0.0, -0.5, 50.0)
            assert opened.nodata == 255
        with gdal(place, 0) as overview:
            assert overview.transform[:6] == (1.0, 0.0, 10.0, 0.0, -1.0, 50.0)
        with tifffile.TiffFile(place) as tif:
            assert set(GEOTAGS) <= set(tif.pages[0].tags.keys())
            assert not set(GEOTAGS) & set(tif.pages[1].tags.keys())

    def test_means_leave_out_what_is_no_data(self, place):
        array = numbers((50, 60, 2), "float32", 1.0)
        array[:30, :31] = np.nan
        write(place, array, nodata=float("nan"))
        half = gdal_levels(place)[1]
        # Row 0, columns 30 to 31: the first has no data, so the mean is that of the other.
        assert half[0, 15] == pytest.approx(array[:2, 31].astype(float).mean(axis=0))
        assert np.isnan(half[:15, :15]).all()
        with gdal(place) as opened:
            assert np.isnan(opened.nodata)


class TestOffsets:
    def test_small_files_are_classic(self, place):
        write(place, numbers((50, 60, 1)))
        with tifffile.TiffFile(place) as tif:
            assert not tif.is_bigtiff

    def test_large_ones_have_offsets_of_64_bits(self, place, monkeypatch):
        monkeypatch.setattr(writer, "CLASSIC", 1 << 20)
        array = numbers((50, 60, 1))
        write(place, array)
        with tifffile.TiffFile(place) as tif:
            assert tif.is_bigtiff
        assert_levels(place, expected_levels(array, nearest=False))

    def test_the_bound_holds_for_what_cannot_be_shrunk(self, place, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(pyramid, "TILE", 256)
            array = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
            write(place, array)
            bound = writer._upper_bound(array.shape, array.dtype)
        assert place.stat().st_size < bound < 2 * place.stat().st_size

    def test_the_bound_of_real_sizes(self, monkeypatch):
        monkeypatch.setattr(pyramid, "TILE", 512)
        monkeypatch.setattr(pyramid, "LONGEST", 1024)
        # 20480 x 20480 bytes and overviews of a third of that: 0.56 GB; in fractions of four
        # bytes and two classes 4.5 GB.
        bound = writer._upper_bound
        assert 0.55e9 < bound((20_000, 20_000, 1), np.dtype("u1")) < 0.6e9
        assert bound((20_000, 20_000, 2), np.dtype("f4")) > writer.CLASSIC


class TestRefusals:
    def test_what_is_no_image(self, place):
        with pytest.raises(SizeError, match="has the shape"):
            write(place, np.zeros((3, 4), np.uint8))
        with pytest.raises(ConfigError, match="has float64 pixels"):
            write(place, np.zeros((3, 4, 1)))

    @pytest.mark.parametrize(
        "palette", [(), ((1, 2),), ((0, 0, 256),), ((-1, 0, 0),), ((0, 0, 0),) * 257]
    )
    def test_palettes(self, place, palette):
        with pytest.raises(ConfigError, match=r"the palette for .* accepted are up to 256 colours"):
            write(place, numbers((3, 4, 1)), palette=palette)

    def test_a_palette_of_what_has_no_indices(self, place):
        for array in (numbers((3, 4, 3)), numbers((3, 4, 1), "uint16")):
            with pytest.raises(ConfigError, match=r"a palette is given for . channels of uint"):
                write(place, array, palette=COLOURS)

    def test_names_that_do_not_fit(self, place):
        with pytest.raises(ConfigError, match="1 names are given for the 2 channels"):
            write(place, numbers((3, 4, 2)), names=["a"])


class TestWholeOrNot:
    """Whatever happens, nothing but whole files is left."""

    def failing_read(self, at):
        calls = iter(range(100))

        def read(rows, columns):
            if next(calls) == at:
                raise RuntimeError("lens cap")
            return numbers((rows.stop - rows.start, columns.stop - columns.start, 2), "float32")

        return read

    @pytest.mark.parametrize("at", [0, 3])
    def test_a_source_that_fails(self, tmp_path, at):
        with pytest.raises(RuntimeError, match="lens cap"):
            write_tiff_pyramid(
                tmp_path / "x.tif", (100, 90, 2), "float32", self.failing_read(at), nearest=False
            )
        assert list(tmp_path.iterdir()) == []

    def test_an_earlier_file_stays_when_the_next_fails(self, tmp_path):
        write(tmp_path / "x.tif", numbers((50, 60, 1)))
        before = (tmp_path / "x.tif").read_bytes()
        with pytest.raises(RuntimeError, match="lens cap"):
            write_tiff_pyramid(
                tmp_path / "x.tif", (100, 90, 2), "float32", self.failing_read(2), nearest=False
            )
        assert (tmp_path / "x.tif").read_bytes() == before
        write(tmp_path / "x.tif", numbers((50, 61, 1)))
        assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]
        assert tifffile_levels(tmp_path / "x.tif")[0].shape == (50, 61, 1)

    @pytest.mark.parametrize("where", ["spare", "file"])
    def test_a_full_disk_is_named(self, tmp_path, monkeypatch, where):
        def full(*_):
            raise OSError(28, "No space left on device")

        if where == "spare":
            monkeypatch.setattr(writer._Spool, "put", full)
        else:
            monkeypatch.setattr(tifffile.tifffile.FileHandle, "write", full)
        with pytest.raises(OSError, match=r"No space left on device: .*x\.tif"):
            write(tmp_path / "x.tif", numbers((100, 90, 2), "float32"))
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_the_system_does_not_let_grow(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (300, 300, 1), np.uint8)
        resource = pytest.importorskip("resource")  # Unix has it
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        try:
            with pytest.raises(OSError, match=r"File too large: .*x\.tif"):
                write(tmp_path / "x.tif", noise)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            write(tmp_path / "absent" / "x.tif", numbers((3, 4, 1)))


class TestMemory:
    def test_it_does_not_grow_with_the_height(self, tmp_path):
        def peak(height):
            noise = np.random.default_rng(0).integers(0, 256, (128, 1000, 3), np.uint8)

            def read(rows, columns):
                return noise[: rows.stop - rows.start, columns]

            tracemalloc.start()
            write_tiff_pyramid(tmp_path / "x.tif", (height, 1000, 3), "uint8", read, nearest=False)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return most

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pyramid, "TILE", 128)
            low, high = peak(1024), peak(4096)
        assert high < 2 * low  # how many tiles wait to be packed is a matter of chance
        assert high < 4096 * 1000 * 3 / 4

    def test_packing_does_not_run_ahead(self, place, monkeypatch):
        """While nothing is written, no more than some tiles are read."""
        read, packed = 0, 0
        compress = zlib.compressobj

        def counting(*args, **options):
            nonlocal packed
            packed += 1
            return compress(*args, **options)

        array = numbers((320, 320, 1))
        monkeypatch.setattr(pyramid, "BLOCK_BYTES", 1)

        def reading(rows, columns):
            nonlocal read
            read += 1
            assert read - packed <= writer.MAX_WAITING_TILES + 2
            return array[rows, columns]

        monkeypatch.setattr(writer.zlib, "compressobj", counting)
        write_tiff_pyramid(place, array.shape, array.dtype, reading, nearest=True)
        assert read == 400
