"""Zarr folders: what others wrote is read by windows, what is written others read."""

import json
import os
import pickle
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit import levels, omezarr
from unetkit.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    MissingExtraError,
    OutputExistsError,
    SizeError,
)
from unetkit.levels import halve, level_sizes
from unetkit.omezarr import is_zarr, open_zarr, write_ome_zarr

zarr = pytest.importorskip("zarr")

STEADY = settings(derandomize=True, deadline=None, max_examples=12)
ROWS, COLUMNS = slice(3, 9), slice(10, 21)
FORMATS = pytest.mark.parametrize("format", [2, 3])


@pytest.fixture(scope="module", autouse=True)
def small_levels():
    """Tiles of 16 pixels, and overviews down to 20."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "TILE", 16)
        patch.setattr(levels, "LONGEST", 20)
        yield


def numbers(shape, dtype="uint8", largest=250):
    return (np.random.default_rng(0).random(shape) * largest).astype(dtype)


def lay_array(path, array, format=3, **options):
    made = zarr.create_array(
        path,
        shape=array.shape,
        dtype=array.dtype,
        chunks=tuple(min(8, size) for size in array.shape),
        zarr_format=format,
        **options,
    )
    made[:] = array
    return path


def lay_image(path, array, axes, format=3, name="0", **changes):
    """An OME-Zarr image with one level, of version 0.4 or 0.5."""
    group = zarr.create_group(path, zarr_format=format)
    lay_array(path / name, array, format)
    scales = {"axes": axes, "datasets": [{"path": name}], **changes}
    scales = {key: value for key, value in scales.items() if value is not None}
    if format == 3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
    else:
        group.attrs["multiscales"] = [{"version": "0.4", **scales}]
    return path


def named(*axes):
    types = {"t": "time", "c": "channel"}
    return [{"name": axis, "type": types.get(axis, "space")} for axis in axes]


def window(picture):
    return picture.read(ROWS, COLUMNS)


class TestArrays:
    @FORMATS
    @pytest.mark.parametrize("dtype", ["bool", "uint8", ">u2", "int32", "float32", ">f8"])
    def test_grey_of_any_type(self, tmp_path, format, dtype):
        array = numbers((30, 40), dtype)
        image = open_zarr(lay_array(tmp_path / "x.zarr", array, format))
        assert image.axes == ("y", "x")
        (picture,) = image
        assert picture.shape == (30, 40, 1)
        assert picture.dtype == array.dtype.newbyteorder("=")
        assert window(picture).dtype == picture.dtype
        assert np.array_equal(window(picture)[..., 0], array[ROWS, COLUMNS])

    @FORMATS
    def test_a_short_last_axis_is_channels(self, tmp_path, format):
        array = numbers((33, 40, 16))
        (picture,) = open_zarr(lay_array(tmp_path / "x.zarr", array, format))
        assert picture.shape == (33, 40, 16)
        assert np.array_equal(window(picture), array[ROWS, COLUMNS])

    def test_channels_stand_where_they_are_said_to(self, tmp_path):
        array = numbers((4, 33, 40))
        path = lay_array(tmp_path / "x.zarr", array)
        (picture,) = open_zarr(path, "first")
        assert picture.shape == (33, 40, 4)
        assert np.array_equal(window(picture), np.moveaxis(array, 0, -1)[ROWS, COLUMNS])
        (picture,) = open_zarr(path, "last")
        assert picture.shape == (4, 33, 40)

    @pytest.mark.parametrize("shape", [(3, 33, 40), (33, 40, 17), (40,), (2, 3, 40, 40)])
    def test_axes_that_nobody_names_are_refused(self, tmp_path, shape):
        with pytest.raises(
            DataError, match=r"does not say which axes these are; accepted are \(ro"
        ):
            open_zarr(lay_array(tmp_path / "x.zarr", numbers(shape)))

    def test_names_of_dimensions_are_believed(self, tmp_path):
        array = numbers((3, 2, 30, 40))
        path = lay_array(tmp_path / "x.zarr", array, dimension_names=("z", "c", "y", "x"))
        image = open_zarr(path)
        assert image.axes == ("z", "c", "y", "x")
        assert len(image) == 3
        assert image[2].shape == (30, 40, 2)
        assert np.array_equal(window(image[2]), np.moveaxis(array[2], 0, -1)[ROWS, COLUMNS])

    @FORMATS
    def test_chunks_that_are_missing_are_filled(self, tmp_path, format):
        path = tmp_path / "x.zarr"
        array = zarr.create_array(
            path, shape=(30, 40), dtype="u2", chunks=(8, 8), fill_value=7, zarr_format=format
        )
        array[:8, :8] = 9
        pixels = window(open_zarr(path)[0])
        assert (pixels == 7).all()
        assert (open_zarr(path)[0].read(slice(0, 8), slice(0, 8)) == 9).all()


class TestImages:
    @FORMATS
    def test_moments_and_planes_are_pictures(self, tmp_path, format):
        array = numbers((2, 3, 4, 30, 40), "uint16", 60_000)
        path = lay_image(tmp_path / "x.zarr", array, named(*"tczyx"), format)
        image = open_zarr(path)
        assert image.axes == ("t", "c", "z", "y", "x")
        assert [picture.place for picture in image] == [
            {"t": t, "z": z} for t in range(2) for z in range(4)
        ]
        for picture in image:
            t, z = picture.place["t"], picture.place["z"]
            assert picture.shape == (30, 40, 3)
            expected = array[t, :, z, ROWS, COLUMNS].transpose(1, 2, 0)
            assert np.array_equal(window(picture), expected)

    @FORMATS
    def test_the_first_level_is_read(self, tmp_path, format):
        path = lay_image(tmp_path / "x.zarr", numbers((30, 40)), named("y", "x"), format, "s0")
        lay_array(path / "s1", numbers((15, 20)), format)
        assert open_zarr(path)[0].shape == (30, 40, 1)

    def test_an_axis_is_channels_by_its_type(self, tmp_path):
        axes = [{"name": "wavelength", "type": "channel"}, *named("y", "x")]
        image = open_zarr(lay_image(tmp_path / "x.zarr", numbers((3, 30, 40)), axes))
        assert image.axes == ("c", "y", "x")
        assert image[0].shape == (30, 40, 3)

    def test_axes_of_earlier_versions(self, tmp_path):
        array = numbers((1, 2, 1, 30, 40))
        for name, axes in (("a", list("tczyx")), ("b", None)):  # version 0.3; 0.1 and 0.2
            image = open_zarr(lay_image(tmp_path / name, array, axes, 2))
            assert image[0].shape == (30, 40, 2)

    def test_a_level_may_lie_in_a_group(self, tmp_path):
        path = lay_image(tmp_path / "x.zarr", numbers((30, 40)), named("y", "x"), name="a/b")
        assert open_zarr(path)[0].shape == (30, 40, 1)


class TestRefusals:
    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"x\.zarr does not exist; accepted"):
            open_zarr(tmp_path / "x.zarr")
        assert not is_zarr(tmp_path / "x.zarr")

    def test_a_folder_of_other_things(self, tmp_path):
        (tmp_path / "x.txt").write_text("hello")
        for path in (tmp_path, tmp_path / "x.txt"):
            assert not is_zarr(path)
            with pytest.raises(DataError, match="is no Zarr folder; accepted are folders with one"):
                open_zarr(path)

    def test_a_missing_library_is_named_with_the_remedy(self, tmp_path, monkeypatch):
        path = lay_array(tmp_path / "x.zarr", numbers((30, 40)))
        monkeypatch.setitem(sys.modules, "zarr", None)
        assert is_zarr(path)
        with pytest.raises(MissingExtraError, match=r'pip install "unetkit\[zarr\]"'):
            open_zarr(path)
        with pytest.raises(MissingExtraError, match=r'pip install "unetkit\[zarr\]"'):
            write(tmp_path / "y.zarr", numbers((3, 4, 1)))

    @FORMATS
    @pytest.mark.parametrize("content", [b"", b"nonsense", b"half"])
    def test_damaged_chunks(self, tmp_path, format, content):
        path = lay_array(tmp_path / "x.zarr", numbers((30, 40)), format)
        chunk = path / ("0.1" if format == 2 else "c/0/1")
        whole = chunk.read_bytes()
        chunk.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
        (picture,) = open_zarr(path)
        with pytest.raises(DataError, match=r"x\.zarr cannot be read \(.*\); accepted"):
            window(picture)
        picture.read(slice(8, 16), slice(0, 8))

    @FORMATS
    @pytest.mark.parametrize("compressor", [None, "auto"])
    def test_short_chunks_without_compression(self, tmp_path, format, compressor):
        array = numbers((30, 40), "uint16")
        path = lay_array(tmp_path / "x.zarr", array, format, compressors=compressor)
        chunk = path / ("0.1" if format == 2 else "c/0/1")
        chunk.write_bytes(chunk.read_bytes()[:-1])
        with pytest.raises(DataError, match=r"x\.zarr cannot be read"):
            window(open_zarr(path)[0])

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"zarr_format": 9}', "\0\xff"])
    @pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zgroup"])
    def test_metadata_that_are_none(self, tmp_path, name, text):
        (tmp_path / name).write_text(text, encoding="latin-1")
        with pytest.raises(DataError, match=r"cannot be read|without an image"):
            open_zarr(tmp_path)

    @FORMATS
    @pytest.mark.parametrize(
        "changes",
        [
            {"shape": "many"},
            {"shape": [-30, 40]},
            {"shape": [30.5, 40]},
            {"shape": [0, 40]},
            {"shape": [1 << 30, 1 << 30]},
            {"shape": [10**30, 10**30]},
            {"shape": [30, 40, 3, 3, 3]},
            {"shape": None},
            {"dtype": "|O", "data_type": "object"},
            {"dtype": "<U5", "data_type": {"name": "fixed_length_utf32"}},
            {"dtype": [["a", "<u2"]], "data_type": "struct"},
            {"compressor": {"id": "pickle"}, "codecs": [{"name": "pickle"}]},
            {"filters": [{"id": "pickle"}], "codecs": [{"name": "numcodecs.pickle"}]},
            {"filters": [{"id": "delta", "dtype": "u1"}, {"id": "pickle"}], "codecs": []},
            {"compressor": {"id": "unheard-of"}, "codecs": [{"name": "unheard-of"}]},
        ],
        ids=str,
    )
    def test_hostile_arrays(self, tmp_path, format, changes):
        path = lay_array(tmp_path / "x.zarr", numbers((30, 40)), format)
        file = path / (".zarray" if format == 2 else "zarr.json")
        raw = json.loads(file.read_text())
        known = {key: value for key, value in changes.items() if key in raw}
        if not known:
            pytest.skip("the same in this format")
        raw |= known
        file.write_text(json.dumps(raw))
        with pytest.raises(DataError, match=r"x\.zarr"):
            window(open_zarr(path)[0])

    @FORMATS
    def test_chunks_that_no_memory_holds(self, tmp_path, format):
        path = lay_array(tmp_path / "x.zarr", numbers((30, 40)), format)
        file = path / (".zarray" if format == 2 else "zarr.json")
        raw = json.loads(file.read_text())
        raw["shape"] = [1 << 19, 1 << 19]
        if format == 2:
            raw["chunks"] = raw["shape"]
        else:
            raw["chunk_grid"]["configuration"]["chunk_shape"] = raw["shape"]
        file.write_text(json.dumps(raw))
        with pytest.raises(DataError, match=r"has chunks of 274,877,906,944 bytes; accepted are"):
            open_zarr(path)

    def test_nothing_that_a_chunk_says_is_run(self, tmp_path, monkeypatch):
        path = lay_array(tmp_path / "x.zarr", numbers((8, 8)), 2)
        raw = json.loads((path / ".zarray").read_text())
        raw |= {"filters": None, "compressor": {"id": "pickle"}}
        (path / ".zarray").write_text(json.dumps(raw))

        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "trapped"),)

        (path / "0.0").write_bytes(pickle.dumps(Trap()))
        with pytest.raises(DataError, match=r"x\.zarr"):
            open_zarr(path)[0].read(slice(0, 8), slice(0, 8))
        assert not (tmp_path / "trapped").exists()

    def test_pickle_is_refused_where_the_library_would_take_it(self, tmp_path):
        class Metadata:
            dimension_names = None

            def to_dict(self):
                return {"attributes": {}, "filters": ["Pickle(protocol=5)"]}

        class Opened:
            shape, chunks, ndim, dtype = (4, 4), (4, 4), 2, np.dtype("u1")
            metadata = Metadata()

        with pytest.raises(DataError, match="is packed with pickle, which can run programs"):
            omezarr._require_sense(tmp_path, Opened(), ("y", "x"))

    @FORMATS
    @pytest.mark.parametrize(
        "changes",
        [
            {"datasets": []},
            {"datasets": None},
            {"datasets": "0"},
            {"datasets": [{}]},
            {"datasets": [{"path": 7}]},
            {"datasets": [{"path": ""}]},
            {"datasets": [{"path": "1"}]},
            {"datasets": [{"path": "../outside"}]},
            {"datasets": [{"path": "0/../../outside"}]},
            {"datasets": [{"path": "..\\outside"}]},
            {"axes": named("x", "y")},
            {"axes": named("y", "x", "c")},
            {"axes": named("y", "y")},
            {"axes": named("c", "y", "x")},
            {"axes": [{"type": "space"}, {"type": "space"}]},
            {"axes": [None, None]},
            {"axes": 7},
            {"axes": None},
        ],
        ids=str,
    )
    def test_hostile_images(self, tmp_path, format, changes):
        lay_array(tmp_path / "outside", numbers((30, 40)), format)
        path = tmp_path / "x.zarr"
        lay_image(path, numbers((30, 40)), named("y", "x"), format)
        file = path / (".zattrs" if format == 2 else "zarr.json")
        raw = json.loads(file.read_text())
        scales = (raw if format == 2 else raw["attributes"]["ome"])["multiscales"][0]
        scales |= changes
        file.write_text(json.dumps(raw))
        with pytest.raises(DataError, match=r"x\.zarr"):
            open_zarr(path)

    @pytest.mark.parametrize("scales", [None, [], {}, "x", [7], [[]], {"0": 1}, 7])
    def test_multiscales_that_are_none(self, tmp_path, scales):
        group = zarr.create_group(tmp_path / "x.zarr")
        group.attrs["ome"] = {"multiscales": scales}
        with pytest.raises(DataError, match=r"x\.zarr"):
            open_zarr(tmp_path / "x.zarr")
        group.attrs["ome"] = scales
        with pytest.raises(DataError, match=r"x\.zarr"):
            open_zarr(tmp_path / "x.zarr")

    def test_a_group_without_an_image_says_what_it_holds(self, tmp_path):
        group = zarr.create_group(tmp_path / "x.zarr")
        lay_image(tmp_path / "x.zarr" / "first", numbers((30, 40)), named("y", "x"))
        lay_image(tmp_path / "x.zarr" / "second", numbers((30, 40)), named("y", "x"))
        assert group is not None
        with pytest.raises(
            DataError, match=r"without an image \(first, second\); accepted are arr"
        ):
            open_zarr(tmp_path / "x.zarr")

    def test_too_many_pictures(self, tmp_path):
        path = tmp_path / "x.zarr"
        zarr.create_array(
            path,
            shape=(10_001, 4, 4),
            chunks=(1, 4, 4),
            dtype="u1",
            dimension_names=("z", "y", "x"),
        )
        with pytest.raises(DataError, match="accepted are up to 10,000 pictures"):
            open_zarr(path)

    def test_too_many_channels(self, tmp_path):
        path = tmp_path / "x.zarr"
        zarr.create_array(
            path, shape=(257, 4, 4), chunks=(1, 4, 4), dtype="u1", dimension_names=("c", "y", "x")
        )
        with pytest.raises(DataError, match="has 257 channels; accepted are 1 to 256"):
            open_zarr(path)


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
        (picture,) = open_zarr(path)
        assert np.array_equal(picture.read(slice(0, height), slice(0, width)), array)

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
            patch.setattr(levels, "TILE", 128)
            peak(128)  # what the library keeps for good
            assert peak(4096) < 4096 * 1000 / 4


class TestRefusedWriting:
    def test_what_is_no_picture(self, tmp_path):
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
            with pytest.raises(OutputExistsError, match="exists and is no Zarr folder; accepted"):
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

        monkeypatch.setattr(omezarr, "_put", full)
        with pytest.raises(OSError, match=r"No space left on device: .*x\.zarr"):
            write(tmp_path / "x.zarr", numbers((100, 90, 2)))
        assert list(tmp_path.iterdir()) == []

    def test_files_that_the_system_does_not_let_grow(self, tmp_path, monkeypatch):
        noise = np.random.default_rng(0).integers(0, 256, (300, 300, 1), np.uint8)
        monkeypatch.setattr(levels, "TILE", 256)
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
            omezarr._move(part, path, overwrite=True)  # which does not exist
        assert open_zarr(path)[0].shape == (5, 6, 1)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["copy", "x.zarr"]
