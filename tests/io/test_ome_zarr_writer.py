"""OME-Zarr images: what is written, others read, whole or not at all."""

import json
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.errors import ConfigError, MissingExtraError, OutputExistsError, SizeError
from unetkit.io import ome_zarr_writer, pyramid
from unetkit.io.ome_zarr_writer import write_ome_zarr
from unetkit.io.pyramid import halve, level_sizes
from unetkit.io.zarr_reader import open_zarr

zarr = pytest.importorskip("zarr")

STEADY = settings(derandomize=True, max_examples=12)


@pytest.fixture(scope="module", autouse=True)
def small_levels():
    """Tiles of 16 pixels, and overviews down to 20."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid, "TILE", 16)
        patch.setattr(pyramid, "LONGEST", 20)
        yield


def numbers(shape, dtype="uint8", largest=250):
    return (np.random.default_rng(0).random(shape) * largest).astype(dtype)


def write(path, array, nearest=False, **options):
    def read(rows, columns):
        return array[rows, columns]

    write_ome_zarr(path, array.shape, array.dtype, read, nearest=nearest, **options)


def attributes(path):
    return json.loads((path / "zarr.json").read_text())["attributes"]


class TestWriting:
    @STEADY
    @given(
        st.integers(1, 90),
        st.integers(1, 90),
        st.sampled_from(
            (
                ("uint8", 1, True),
                ("uint8", 3, False),
                ("uint16", 2, False),
                ("uint32", 1, True),
                ("float32", 3, False),
            )
        ),
    )
    def test_every_level_is_what_others_read(self, tmp_path_factory, height, width, kind):
        dtype, channels, nearest = kind
        path = tmp_path_factory.mktemp("zarr") / "x.zarr"
        array = numbers((height, width, channels), dtype)
        write(path, array, nearest)
        group = zarr.open_group(path, mode="r")
        datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
        assert len(datasets) == len(level_sizes((height, width)))
        expected = array
        for dataset in datasets:
            level = group[dataset["path"]]
            pixels = level[:] if channels == 1 else np.moveaxis(level[:], 0, -1)
            assert level.dtype == array.dtype
            assert np.array_equal(pixels.reshape(expected.shape), expected)
            expected = halve(expected, nearest)
        (image,) = open_zarr(path)
        assert np.array_equal(image.read(slice(0, height), slice(0, width)), array)

    def test_chunks_are_tiles_of_a_channel(self, tmp_path):
        write(tmp_path / "x.zarr", numbers((50, 60, 3)))
        level = zarr.open_array(tmp_path / "x.zarr" / "0", mode="r")
        assert level.chunks == (1, 16, 16)
        assert level.metadata.dimension_names == ("c", "y", "x")
        assert "zstd" in str(level.metadata.to_dict()["codecs"])

    def test_what_is_all_background_takes_no_room(self, tmp_path):
        write(tmp_path / "x.zarr", np.zeros((50, 60, 1), np.uint8), nearest=True)
        assert not (tmp_path / "x.zarr" / "0" / "c").exists()

    def test_levels_say_where_they_are(self, tmp_path):
        # The centre of two by two pixels 0 and 1 is at 0.5, that of four by four at 1.5.
        write(tmp_path / "x.zarr", numbers((50, 60, 2), "float32"))
        (scales,) = attributes(tmp_path / "x.zarr")["ome"]["multiscales"]
        assert scales["axes"] == [
            {"name": "c", "type": "channel"},
            {"name": "y", "type": "space"},
            {"name": "x", "type": "space"},
        ]
        assert scales["type"] == "mean"
        assert [dataset["coordinateTransformations"] for dataset in scales["datasets"]] == [
            [{"type": "scale", "scale": [1, 1, 1]}],
            [
                {"type": "scale", "scale": [1, 2, 2]},
                {"type": "translation", "translation": [0, 0.5, 0.5]},
            ],
            [
                {"type": "scale", "scale": [1, 4, 4]},
                {"type": "translation", "translation": [0, 1.5, 1.5]},
            ],
        ]

    def test_labels_have_colours_and_names(self, tmp_path):
        write(
            tmp_path / "x.zarr",
            numbers((50, 60, 1), largest=2),
            nearest=True,
            names=["ground", "cell"],
            colours=[(0, 0, 0, 0), (230, 159, 0, 255)],
        )
        ome = attributes(tmp_path / "x.zarr")["ome"]
        assert ome["version"] == "0.5"
        assert ome["image-label"] == {
            "version": "0.5",
            "colors": [
                {"label-value": 0, "rgba": [0, 0, 0, 0]},
                {"label-value": 1, "rgba": [230, 159, 0, 255]},
            ],
            "properties": [
                {"label-value": 0, "name": "ground"},
                {"label-value": 1, "name": "cell"},
            ],
        }
        assert "omero" not in ome
        (scales,) = ome["multiscales"]
        assert [axis["name"] for axis in scales["axes"]] == ["y", "x"]
        assert [d["coordinateTransformations"] for d in scales["datasets"]] == [
            [{"type": "scale", "scale": [step, step]}] for step in (1, 2, 4)
        ]

    def test_colours_are_opaque_where_nothing_else_is_said(self, tmp_path):
        write(tmp_path / "x.zarr", numbers((5, 6, 1)), nearest=True, colours=[(1, 2, 3)])
        label = attributes(tmp_path / "x.zarr")["ome"]["image-label"]
        assert label["colors"] == [{"label-value": 0, "rgba": [1, 2, 3, 255]}]

    def test_probabilities_have_a_channel_a_class(self, tmp_path):
        write(
            tmp_path / "x.zarr",
            numbers((50, 60, 2), "float32", 1.0),
            names=["ground", "cell"],
            colours=[(0, 0, 0), (230, 159, 0)],
        )
        channels = attributes(tmp_path / "x.zarr")["ome"]["omero"]["channels"]
        assert [(c["label"], c["color"], c["active"]) for c in channels] == [
            ("ground", "000000", True),
            ("cell", "E69F00", False),
        ]
        assert channels[0]["window"] == {"min": 0, "max": 1, "start": 0, "end": 1}

    def test_a_photo_is_shown_in_its_colours(self, tmp_path):
        write(tmp_path / "x.zarr", numbers((5, 6, 4)))
        channels = attributes(tmp_path / "x.zarr")["ome"]["omero"]["channels"]
        assert [c["color"] for c in channels[:3]] == ["FF0000", "00FF00", "0000FF"]
        assert [c["active"] for c in channels] == [True, True, True, False]

    def test_metadata_stand_beside(self, tmp_path):
        write(tmp_path / "x.zarr", numbers((5, 6, 1)), metadata={"model": "ünet", "exact": True})
        assert attributes(tmp_path / "x.zarr")["unetkit"] == {"model": "ünet", "exact": True}

    def test_memory_does_not_grow_with_the_height(self, tmp_path):
        def peak(height):
            noise = np.random.default_rng(0).integers(0, 256, (128, 1000, 1), np.uint8)

            def read(rows, columns):
                return noise[: rows.stop - rows.start, columns]

            tracemalloc.start()
            write_ome_zarr(
                tmp_path / f"{height}.zarr", (height, 1000, 1), "uint8", read, nearest=True
            )
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return most

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pyramid, "TILE", 128)
            peak(128)  # what the library keeps for good
            assert peak(4096) < 4096 * 1000 / 4


class TestRefusals:
    def test_a_missing_library_is_named_with_the_remedy(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "zarr", None)
        with pytest.raises(MissingExtraError, match=r'pip install .*\[zarr\]"'):
            write(tmp_path / "x.zarr", numbers((3, 4, 1)))
        assert not list(tmp_path.iterdir())

    def test_what_is_no_image(self, tmp_path):
        with pytest.raises(SizeError, match="has the shape"):
            write(tmp_path / "x.zarr", np.zeros((3, 4), np.uint8))
        with pytest.raises(ConfigError, match="has int64 pixels"):
            write(tmp_path / "x.zarr", np.zeros((3, 4, 1), np.int64))

    def test_names_and_colours_that_do_not_fit(self, tmp_path):
        array = numbers((3, 4, 2))
        with pytest.raises(ConfigError, match="1 names are given for the 2 channels"):
            write(tmp_path / "x.zarr", array, names=["a"])
        for colours in ([(1, 2, 3)], [(1, 2), (3, 4)], [(0, 0, 256)] * 2, []):
            with pytest.raises(ConfigError, match=r"colours for .* have the shape"):
                write(tmp_path / "x.zarr", array, colours=colours)
        with pytest.raises(ConfigError, match=r"colours for .* have the shape"):
            write(
                tmp_path / "x.zarr",
                array[..., :1],
                nearest=True,
                names=["a"],
                colours=[(0, 0, 0)] * 2,
            )
        assert list(tmp_path.iterdir()) == []

    def test_what_stands_there_stays(self, tmp_path):
        write(tmp_path / "x.zarr", numbers((5, 6, 1)))
        with pytest.raises(OutputExistsError, match=r"x\.zarr exists already; accepted is a new"):
            write(tmp_path / "x.zarr", numbers((7, 6, 1)))
        assert open_zarr(tmp_path / "x.zarr")[0].shape == (5, 6, 1)

    def test_it_is_replaced_where_that_is_wanted(self, tmp_path):
        write(tmp_path / "x.zarr", numbers((50, 60, 3)))
        write(tmp_path / "x.zarr", numbers((7, 6, 1)), overwrite=True)
        assert open_zarr(tmp_path / "x.zarr")[0].shape == (7, 6, 1)
        assert [path.name for path in tmp_path.iterdir()] == ["x.zarr"]

    def test_nothing_but_zarr_is_ever_replaced(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "thesis.txt").write_text("important")
        (tmp_path / "link").symlink_to(tmp_path / "folder")
        for name in ("folder", "link", "folder/thesis.txt"):
            with pytest.raises(OutputExistsError, match="exists and is not a Zarr folder; only"):
                write(tmp_path / name, numbers((7, 6, 1)), overwrite=True)
        assert (tmp_path / "folder" / "thesis.txt").read_text() == "important"

    @pytest.mark.parametrize("at", [0, 3])
    def test_a_source_that_fails_leaves_nothing(self, tmp_path, at):
        write(tmp_path / "old.zarr", numbers((5, 6, 1)))
        calls = iter(range(100))

        def read(rows, columns):
            if next(calls) == at:
                raise RuntimeError("lens cap")
            return numbers((rows.stop - rows.start, columns.stop - columns.start, 2))

        for name in ("x.zarr", "old.zarr"):
            calls = iter(range(100))
            with pytest.raises(RuntimeError, match="lens cap"):
                write_ome_zarr(
                    tmp_path / name, (100, 90, 2), "uint8", read, nearest=False, overwrite=True
                )
        assert [path.name for path in tmp_path.iterdir()] == ["old.zarr"]
        assert open_zarr(tmp_path / "old.zarr")[0].shape == (5, 6, 1)

    def test_a_full_disk_is_named(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ome_zarr_writer, "_put", full)
        with pytest.raises(OSError, match=r"No space left on device: .*x\.zarr"):
            write(tmp_path / "x.zarr", numbers((100, 90, 2)))
        assert list(tmp_path.iterdir()) == []

    def test_files_that_the_system_does_not_let_grow(self, tmp_path, monkeypatch):
        noise = np.random.default_rng(0).integers(0, 256, (300, 300, 1), np.uint8)
        monkeypatch.setattr(pyramid, "TILE", 256)
        resource = pytest.importorskip("resource")  # Unix has it
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, hard))
        try:
            with pytest.raises(OSError, match=r"File too large: .*\.zarr"):
                write(tmp_path / "x.zarr", noise)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(tmp_path.iterdir()) == []

    def test_the_old_one_comes_back_when_the_new_one_cannot_be_named(self, tmp_path, monkeypatch):
        path, part = tmp_path / "x.zarr", tmp_path / ".part-x.zarr"
        write(path, numbers((5, 6, 1)))
        shutil.copytree(path, tmp_path / "copy")
        with pytest.raises(FileNotFoundError):
            ome_zarr_writer._move(part, path, overwrite=True)  # which does not exist
        assert open_zarr(path)[0].shape == (5, 6, 1)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["copy", "x.zarr"]
