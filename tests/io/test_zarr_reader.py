"""Zarr folders: what others wrote is read by windows, whatever it claims."""

import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from unetkit.errors import DataError, DataNotFoundError, MissingExtraError
from unetkit.io import zarr_reader
from unetkit.io.zarr_reader import is_zarr, open_zarr
from unetkit.remote.addresses import Address

zarr = pytest.importorskip("zarr")

ROWS, COLUMNS = slice(3, 9), slice(10, 21)
FORMATS = pytest.mark.parametrize("format", [2, 3])


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


def window(image):
    return image.read(ROWS, COLUMNS)


class TestArrays:
    @FORMATS
    @pytest.mark.parametrize("dtype", ["bool", "uint8", ">u2", "int32", "float32", ">f8"])
    def test_grey_of_any_type(self, tmp_path, format, dtype):
        array = numbers((30, 40), dtype)
        (image,) = open_zarr(lay_array(tmp_path / "x.zarr", array, format))
        assert image.place == {}
        assert image.shape == (30, 40, 1)
        assert image.dtype == array.dtype.newbyteorder("=")
        assert window(image).dtype == image.dtype
        assert np.array_equal(window(image)[..., 0], array[ROWS, COLUMNS])

    @FORMATS
    def test_a_short_last_axis_is_channels(self, tmp_path, format):
        array = numbers((33, 40, 16))
        (image,) = open_zarr(lay_array(tmp_path / "x.zarr", array, format))
        assert image.shape == (33, 40, 16)
        assert np.array_equal(window(image), array[ROWS, COLUMNS])

    def test_channels_stand_where_they_are_said_to(self, tmp_path):
        array = numbers((4, 33, 40))
        path = lay_array(tmp_path / "x.zarr", array)
        (image,) = open_zarr(path, "first")
        assert image.shape == (33, 40, 4)
        assert np.array_equal(window(image), np.moveaxis(array, 0, -1)[ROWS, COLUMNS])
        (image,) = open_zarr(path, "last")
        assert image.shape == (4, 33, 40)

    @pytest.mark.parametrize("shape", [(3, 33, 40), (33, 40, 17), (40,), (2, 3, 40, 40)])
    def test_axes_that_nobody_names_are_refused(self, tmp_path, shape):
        with pytest.raises(DataError, match=r"has no names of axes; accepted are \(ro"):
            open_zarr(lay_array(tmp_path / "x.zarr", numbers(shape)))

    def test_names_of_dimensions_are_believed(self, tmp_path):
        array = numbers((3, 2, 30, 40))
        path = lay_array(tmp_path / "x.zarr", array, dimension_names=("z", "c", "y", "x"))
        image = open_zarr(path)
        assert [one.place for one in image] == [{"z": 0}, {"z": 1}, {"z": 2}]
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
    def test_moments_and_planes_are_images(self, tmp_path, format):
        array = numbers((2, 3, 4, 30, 40), "uint16", 60_000)
        path = lay_image(tmp_path / "x.zarr", array, named(*"tczyx"), format)
        images = open_zarr(path)
        assert [image.place for image in images] == [
            {"t": t, "z": z} for t in range(2) for z in range(4)
        ]
        for image in images:
            t, z = image.place["t"], image.place["z"]
            assert image.shape == (30, 40, 3)
            expected = array[t, :, z, ROWS, COLUMNS].transpose(1, 2, 0)
            assert np.array_equal(window(image), expected)

    @FORMATS
    def test_the_first_level_is_read(self, tmp_path, format):
        path = lay_image(tmp_path / "x.zarr", numbers((30, 40)), named("y", "x"), format, "s0")
        lay_array(path / "s1", numbers((15, 20)), format)
        assert open_zarr(path)[0].shape == (30, 40, 1)

    def test_an_axis_is_channels_by_its_type(self, tmp_path):
        axes = [{"name": "wavelength", "type": "channel"}, *named("y", "x")]
        image = open_zarr(lay_image(tmp_path / "x.zarr", numbers((3, 30, 40)), axes))
        assert (image[0].place, image[0].shape) == ({}, (30, 40, 3))
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
            with pytest.raises(
                DataError, match="is not a Zarr folder; accepted are folders with one"
            ):
                open_zarr(path)

    def test_a_missing_library_is_named_with_the_remedy(self, tmp_path, monkeypatch):
        path = lay_array(tmp_path / "x.zarr", numbers((30, 40)))
        monkeypatch.setitem(sys.modules, "zarr", None)
        assert is_zarr(path)
        with pytest.raises(MissingExtraError, match=r'pip install .*\[zarr\]"'):
            open_zarr(path)

    @FORMATS
    @pytest.mark.parametrize("content", [b"", b"nonsense", b"half"])
    def test_damaged_chunks(self, tmp_path, format, content):
        path = lay_array(tmp_path / "x.zarr", numbers((30, 40)), format)
        chunk = path / ("0.1" if format == 2 else "c/0/1")
        whole = chunk.read_bytes()
        chunk.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
        (image,) = open_zarr(path)
        with pytest.raises(DataError, match=r"x\.zarr cannot be read \(.*\); accepted"):
            window(image)
        image.read(slice(8, 16), slice(0, 8))

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

        with pytest.raises(DataError, match="is encoded by pickle, which can run programs"):
            zarr_reader._require_limits(tmp_path, Opened(), ("y", "x"))

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

    def test_too_many_images(self, tmp_path):
        path = tmp_path / "x.zarr"
        zarr.create_array(
            path,
            shape=(10_001, 4, 4),
            chunks=(1, 4, 4),
            dtype="u1",
            dimension_names=("z", "y", "x"),
        )
        with pytest.raises(DataError, match="accepted are up to 10,000 images"):
            open_zarr(path)

    def test_too_many_channels(self, tmp_path):
        path = tmp_path / "x.zarr"
        zarr.create_array(
            path, shape=(257, 4, 4), chunks=(1, 4, 4), dtype="u1", dimension_names=("c", "y", "x")
        )
        with pytest.raises(DataError, match="has 257 channels; accepted are 1 to 256"):
            open_zarr(path)


@pytest.mark.parametrize("codec", ["crc32c", "gzip", "zstd"])
def test_a_flipped_bit_is_found_by_the_checksum_of_a_codec(tmp_path, codec):
    zarr = pytest.importorskip("zarr")
    codecs = {
        "crc32c": zarr.codecs.Crc32cCodec(),
        "gzip": zarr.codecs.GzipCodec(),
        "zstd": zarr.codecs.ZstdCodec(checksum=True),
    }
    pixels = np.random.default_rng(0).integers(0, 9, (40, 50), np.uint8)
    array = zarr.create_array(
        tmp_path / "x.zarr", shape=(40, 50), chunks=(40, 50), dtype="u1", compressors=codecs[codec]
    )
    array[:] = pixels
    chunk = tmp_path / "x.zarr" / "c" / "0" / "0"
    content = chunk.read_bytes()
    for place in range(20, len(content), 11):
        flipped = bytearray(content)
        flipped[place] ^= 4
        chunk.write_bytes(flipped)
        (windows,) = open_zarr(tmp_path / "x.zarr")
        with pytest.raises(DataError, match=r"x\.zarr cannot be read \("):
            windows.read(slice(0, 40), slice(0, 50))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="devices of Unix")
class TestMembers:
    """Chunks and metadata of a folder are files of limited size."""

    @FORMATS
    def test_chunks_that_are_no_files(self, tmp_path, format):
        path = lay_array(tmp_path / "x.zarr", numbers((16, 16)), format)
        chunk = path / ("c/0/0" if format == 3 else "0.0")
        for make in (lambda: chunk.symlink_to("/dev/zero"), lambda: os.mkfifo(chunk)):
            chunk.unlink()
            make()
            with pytest.raises(DataError, match=r"is no file but a (device|pipe); accepted"):
                open_zarr(path)[0].read(slice(0, 8), slice(0, 8))

    def test_metadata_that_are_no_files(self, tmp_path):
        path = lay_image(tmp_path / "x.zarr", numbers((16, 16)), "yx")
        (path / "0" / "zarr.json").unlink()
        os.mkfifo(path / "0" / "zarr.json")
        with pytest.raises(DataError, match=r"zarr.json is no file but a pipe; accepted are files"):
            open_zarr(path)

    def test_chunks_that_are_too_large(self, tmp_path, monkeypatch):
        path = lay_array(tmp_path / "x.zarr", numbers((16, 16)))
        monkeypatch.setattr(zarr_reader, "LARGEST_MEMBER", (path / "zarr.json").stat().st_size)
        with open(path / "c" / "0" / "0", "ab") as file:
            file.truncate(1 << 20)
        with pytest.raises(DataError, match=r"0 has 1,048,576 bytes; accepted are files of up to"):
            open_zarr(path)[0].read(slice(0, 8), slice(0, 8))


def test_address_of_a_folder(objects, tmp_path):
    array = np.arange(60 * 50, dtype=np.uint16).reshape(60, 50)
    zarr.create_array(tmp_path / "a.zarr", data=array, chunks=(20, 20))
    address = Address(f"s3://{objects.bucket()}/a.zarr")
    assert is_zarr(address)
    assert not is_zarr(Address("s3://bucket/a.png"))
    with pytest.raises(DataNotFoundError, match=r"a\.zarr does not exist"):
        open_zarr(address)
    objects.fs.put(str(tmp_path / "a.zarr"), str(address).removeprefix("s3://"), recursive=True)
    (image,) = open_zarr(address)
    np.testing.assert_array_equal(image.read(slice(5, 45), slice(0, 50))[..., 0], array[5:45])
