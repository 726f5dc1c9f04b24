"""Arrays in files: NumPy, NIfTI and DICOM, written here and read back."""

import gzip
import os
import sys
import zipfile
from io import BytesIO

import numpy as np
import pytest

from unetkit.errors import DataError, MissingExtraError
from unetkit.io.arrays import NumpyWindows
from unetkit.io.images import ImageFile

PHOTO = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
GREY = np.arange(48, dtype=np.int16).reshape(6, 8) - 20


def read(path, page=None, **options):
    with ImageFile(path, **options) as file:
        image = file.read(page)
        assert file.size(page) == image.size
        return image.bands


class TestNumpy:
    @pytest.mark.parametrize(
        ("array", "options", "expected"),
        [
            (PHOTO, {}, PHOTO),
            (PHOTO[..., 0], {}, PHOTO[..., :1]),
            (np.moveaxis(PHOTO, 2, 0), {}, PHOTO),
            (PHOTO.astype(">u2"), {}, PHOTO),
            (np.asfortranarray(PHOTO), {}, PHOTO),
            (PHOTO[:3], {"channel_axis": "last"}, PHOTO[:3]),
            (PHOTO[:3], {"channel_axis": "first"}, np.moveaxis(PHOTO[:3], 0, 2)),
        ],
    )
    def test_an_array_is_an_image(self, tmp_path, array, options, expected):
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(read(tmp_path / "a.npy", **options), expected)

    @pytest.mark.parametrize(
        ("names", "image", "mask"),
        [
            (("image", "mask"), 0, 1),
            (("y", "x"), 1, 0),
            (("arr_0", "arr_1"), 0, 1),
            (("anything",), 0, 0),
        ],
    )
    def test_an_archive_holds_the_image_and_its_mask(self, tmp_path, names, image, mask):
        arrays = [np.full((4, 5), number, np.uint8) for number in range(len(names))]
        np.savez_compressed(tmp_path / "a.npz", **dict(zip(names, arrays, strict=True)))
        assert read(tmp_path / "a.npz").max() == image
        assert read(tmp_path / "a.npz", role="mask").max() == mask

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((4, 4, 4)), r"array of \(4, 4, 4\), whose axis of channels is not certain"),
            (np.zeros((2, 4, 4, 3)), r"array of \(2, 4, 4, 3\); accepted are \(height, width\)"),
            (np.zeros((0, 4)), r"array of \(0, 4, 1\); accepted are"),
            (np.array(["a"]), r"a\.npy holds an array of \(1,\), <U1; accepted are numbers"),
        ],
    )
    def test_other_arrays_are_refused(self, tmp_path, array, message):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(DataError, match=message):
            read(tmp_path / "a.npy")

    def test_objects_are_never_loaded(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
        with pytest.raises(DataError, match=r"object; accepted are numbers"):
            read(tmp_path / "a.npy")

    def test_an_archive_without_the_array_names_what_it_has(self, tmp_path):
        np.savez(tmp_path / "a.npz", image=PHOTO, other=PHOTO)
        with pytest.raises(DataError, match="holds the arrays image, other, and none is the mask"):
            read(tmp_path / "a.npz", role="mask")

    def test_a_damaged_file_is_named(self, tmp_path):
        np.save(tmp_path / "a.npy", PHOTO)
        content = (tmp_path / "a.npy").read_bytes()
        (tmp_path / "a.npy").write_bytes(content[:-5])
        with pytest.raises(DataError, match=r"a\.npy cannot be read whole \(buffer is smaller"):
            read(tmp_path / "a.npy")
        (tmp_path / "a.npz").write_bytes(b"PK\3\4" + bytes(90))
        with pytest.raises(DataError, match=r"a\.npz cannot be read whole \(File is not a zip"):
            read(tmp_path / "a.npz")


class TestNifti:
    @pytest.fixture
    def nibabel(self):
        return pytest.importorskip("nibabel")

    def test_columns_come_first_in_the_file(self, nibabel, tmp_path):
        nibabel.save(nibabel.Nifti1Image(GREY.T, np.eye(4)), tmp_path / "a.nii.gz")
        np.testing.assert_array_equal(read(tmp_path / "a.nii.gz")[..., 0], GREY)

    @pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
    def test_slices_are_pages(self, nibabel, tmp_path, kind):
        volume = np.stack([GREY.T, GREY.T + 1], axis=2)
        nibabel.save(getattr(nibabel, kind)(volume, np.eye(4)), tmp_path / "a.nii")
        with ImageFile(tmp_path / "a.nii") as file:
            assert file.count == 2
        assert read(tmp_path / "a.nii", 1)[0, 0, 0] == GREY[0, 0] + 1
        with pytest.raises(DataError, match="has 2 images; accepted as one image is one of them"):
            read(tmp_path / "a.nii")

    def test_a_damaged_file_is_named(self, nibabel, tmp_path):
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"\x5c\1\0\0" + bytes(20)))
        with pytest.raises(DataError, match=r"a\.nii\.gz cannot be read whole"):
            read(tmp_path / "a.nii.gz")


class TestDicom:
    @pytest.fixture
    def write(self, tmp_path):
        pydicom = pytest.importorskip("pydicom")

        def write_file(pixels, **tags):
            meta = pydicom.dataset.FileMetaDataset()
            meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
            meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
            data = pydicom.dataset.FileDataset("a", {}, file_meta=meta, preamble=bytes(128))
            data.Rows, data.Columns = 6, 8
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated = data.BitsStored = 16
            data.HighBit, data.PixelRepresentation = 15, 1
            for name, value in tags.items():
                setattr(data, name, value)
            data.PixelData = pixels.tobytes()
            data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
            return tmp_path / "a.dcm"

        return write_file

    def test_pixels_are_rescaled(self, write):
        path = write(GREY)
        np.testing.assert_array_equal(read(path)[..., 0], GREY)
        path = write(GREY, RescaleSlope="1", RescaleIntercept="-1024")
        np.testing.assert_array_equal(read(path)[..., 0], GREY - 1024)
        path = write(GREY, RescaleSlope="0.5", RescaleIntercept="1")
        np.testing.assert_array_equal(read(path)[..., 0], GREY * 0.5 + 1)

    def test_frames_are_pages(self, write):
        path = write(np.stack([GREY, GREY + 1]), NumberOfFrames="2")
        with ImageFile(path) as file:
            assert (file.count, file.format) == (2, "DICOM")
        np.testing.assert_array_equal(read(path, 1)[..., 0], GREY + 1)

    def test_a_file_without_pixels_is_named(self, tmp_path):
        pytest.importorskip("pydicom")
        (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + bytes(200))
        with pytest.raises(DataError, match=r"a\.dcm cannot be read whole"):
            read(tmp_path / "a.dcm")


class TestCheckValues:
    def test_a_flipped_bit_of_a_gzipped_volume(self, tmp_path):
        nibabel = pytest.importorskip("nibabel")
        path = tmp_path / "a.nii.gz"
        volume = nibabel.Nifti1Image(np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7), None)
        whole = gzip.compress(volume.to_bytes(), mtime=0, compresslevel=0)
        path.write_bytes(whole)
        assert read(path, 0).shape == (6, 5, 1)
        for place in (-9, -5, len(whole) - 100):  # a voxel, the checksum, another voxel
            damaged = bytearray(whole)
            damaged[place] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(
                DataError, match=r"a\.nii\.gz cannot be read whole \(CRC check failed"
            ):
                read(path, 0)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda whole: gzip.compress(whole + b"more"), "bytes follow its volume"),
            (lambda whole: gzip.compress(whole)[:-9], "Compressed file ended before"),
            (lambda whole: gzip.compress(whole) + b"more", "Not a gzipped file"),
        ],
    )
    def test_a_gzipped_volume_ends_where_it_should(self, tmp_path, change, message):
        nibabel = pytest.importorskip("nibabel")
        volume = nibabel.Nifti1Image(np.zeros((5, 6, 7), np.uint8), None)
        (tmp_path / "a.nii.gz").write_bytes(change(volume.to_bytes()))
        with pytest.raises(DataError, match=message):
            read(tmp_path / "a.nii.gz", 0)

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_a_flipped_bit_of_an_archive(self, tmp_path, save):
        path = tmp_path / "a.npz"
        save(path, image=np.arange(1000, dtype=np.uint8).reshape(20, 50))
        content = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            packed = archive.infolist()[0].compress_size
        for place in range(200, 20 + packed, 37):
            damaged = bytearray(content)
            damaged[place] ^= 2
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=r"a\.npz cannot be read whole"):
                read(path)

    @pytest.mark.parametrize("name", ["a.npy", "a.npz"])
    def test_bytes_after_an_array(self, tmp_path, name):
        stream = BytesIO()
        np.save(stream, GREY)
        content = stream.getvalue() + b"x"
        if name == "a.npz":
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr("image.npy", content)
        else:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"cannot be read whole \(bytes follow its array\)"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "library"),
    [
        ("a.nii", b"\x5c\1\0\0" + bytes(400), "nibabel"),
        ("a.nii.gz", gzip.compress(b"\x5c\1\0\0", mtime=0), "nibabel"),
        ("a.dcm", bytes(128) + b"DICM", "pydicom"),
        ("a.heic", bytes(3) + b"\x18ftypheic" + bytes(40), "pi_heif"),
    ],
    ids=["nii", "nii.gz", "dcm", "heic"],
)
def test_the_extra_is_named_where_its_library_is_absent(
    tmp_path, monkeypatch, name, content, library
):
    monkeypatch.setitem(sys.modules, library, None)
    (tmp_path / name).write_bytes(content)
    message = rf"{name} needs {library}, which is not installed; .*pip install .*\[formats\]"
    with pytest.raises(MissingExtraError, match=message):
        read(tmp_path / name)


class TestNumpyWindows:
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("dtype", ["u1", ">u2", "<f4", "?"])
    @pytest.mark.parametrize("shape", [(12, 9), (12, 9, 3)])
    def test_windows_equal_those_of_the_array(self, tmp_path, shape, dtype, order):
        array = np.random.default_rng(1).integers(0, 200, shape).astype(dtype, order=order)
        np.save(tmp_path / "a.npy", array)
        windows = NumpyWindows(tmp_path / "a.npy")
        whole = array.reshape(*shape[:2], -1)
        assert windows.shape == whole.shape
        for rows, columns in ((slice(0, 12), slice(0, 9)), (slice(2, 7), slice(4, 5))):
            window = windows.read(rows, columns)
            assert window.dtype == np.dtype(dtype).newbyteorder("=")
            np.testing.assert_array_equal(window, whole[rows, columns])

    @pytest.mark.parametrize("left", [0, 60, 128, 200])
    def test_a_file_that_is_cut_while_it_is_read_is_an_error(self, tmp_path, left):
        path = tmp_path / "a.npy"
        np.save(path, np.zeros((20, 30), np.uint8))
        windows = NumpyWindows(path)
        os.truncate(path, left)
        with pytest.raises(DataError, match=r"a.npy changed while it was read .*; accepted are"):
            windows.read(slice(0, 20), slice(0, 30))

    def test_a_file_that_is_shorter_than_its_header_says(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros((20, 30), np.uint8))
        os.truncate(tmp_path / "a.npy", 300)
        with pytest.raises(ValueError, match="it has 300 bytes of 728"):
            NumpyWindows(tmp_path / "a.npy")

    @pytest.mark.parametrize("array", [np.zeros(4), np.zeros((1, 2, 3, 4)), np.zeros((2, 2), "U3")])
    def test_what_is_no_image(self, tmp_path, array):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(ValueError, match=r"shape|type"):
            NumpyWindows(tmp_path / "a.npy")
