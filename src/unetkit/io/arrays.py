"""Images in files that hold arrays: NumPy (.npy, .npz), NIfTI and DICOM.

An archive of NumPy may hold an image and its mask; which is read depends on what the file is opened
for. NIfTI and DICOM are read by nibabel and pydicom, which the extra `formats` installs; the slices
of a volume are the pages of a stack.
"""

import gzip
import logging
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.files import open_input
from unetkit._shared.installation import install_command
from unetkit._shared.memory_budget import BUDGET
from unetkit.errors import DataError, DataNotFoundError, MissingExtraError
from unetkit.io.tiff.file_bytes import OpenFile
from unetkit.io.tiff.reader import MAX_PIXELS

MOST_CHANNELS = 16  # of an array whose axis of channels is not given
READ_AT_A_TIME = 1 << 20  # bytes
NAMES = {  # of arrays in an archive
    "image": ("image", "img", "images", "data", "x", "arr_0"),
    "mask": ("mask", "label", "labels", "masks", "seg", "segmentation", "gt", "y", "arr_1"),
}

COPIES = 2  # of an array, while it is read and reordered
FLOAT_BYTES = 8  # of a number after it is scaled


@dataclass(frozen=True)
class ArrayImages:
    """The images of a file that holds an array.

    Args:
        count: Number of images.
        size: (height, width) of each.
        read: Reads an image by its index, as (H, W, C).
        needed_bytes: Most bytes that are in use while an image is read.
    """

    count: int
    size: tuple[int, int]
    read: Callable[[int], np.ndarray]
    needed_bytes: int


def open_arrays(
    path: Path, file: OpenFile, format: str, channel_axis: str, role: str
) -> ArrayImages:
    """Opens a file that holds arrays; pixels are read later where the format allows it.

    Args:
        path: Path of the file, for errors.
        file: The open file.
        format: "NPY", "NPZ", "NIFTI" or "DICOM".
        channel_axis: Axis of the channels of a NumPy array: "auto", "first" or "last".
        role: "image" or "mask": which array of an archive is read.

    Raises:
        DataError: The file is damaged or too large, or its array is no image.
        MissingExtraError: The library that reads the format is not installed.
    """
    with _errors(path):
        file.seek(0)
        if format == "NIFTI":
            return _open_nifti(path, file)
        if format == "DICOM":
            return _open_dicom(path, file)
        if format == "NPY":
            return _to_image(path, _load_numpy(path, file.handle), channel_axis)
        with (
            zipfile.ZipFile(file.handle) as archive,
            archive.open(_member(path, archive, role)) as member,
        ):
            return _to_image(path, _load_numpy(path, member), channel_axis)


def _read_numpy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis varies fastest, and type of an array of NumPy."""
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"version {version}")
    shape, is_fortran, dtype = read_header(stream)
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"shape {shape}")
    return shape, is_fortran, dtype


def require_array_size(stream: Any, size: int) -> None:
    """Checks that an array in NumPy's format has as many bytes as its header says.

    Args:
        stream: Its bytes, from the first.
        size: Number of bytes, with the header.

    Raises:
        ValueError: It has others, or the header is damaged.
    """
    shape, _, dtype = _read_numpy_header(stream)
    declared = stream.tell() + math.prod(shape) * dtype.itemsize
    if declared != size:
        raise ValueError(f"an array of {shape} has {size:,} bytes of {declared:,}")


class NumpyWindows:
    """An image in a .npy file, read by windows.

    It is read rather than mapped: a process that maps a file is killed if another one shortens it.
    The file is opened for each window, so that nothing has to be closed.

    Args:
        path: Path of the file.

    Raises:
        ValueError: It is no array of numbers in two or three axes, or is shorter than its header
            says.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with open_input(path) as file:
            self._sizes, self._is_fortran, self._stored = _read_numpy_header(file)
            self._start = file.tell()
            size = os.fstat(file.fileno()).st_size
        if len(self._sizes) not in (2, 3):
            raise ValueError(f"shape {self._sizes}")
        if self._stored.kind not in "biuf":
            raise ValueError(f"type {self._stored}")
        self._bytes = math.prod(self._sizes) * self._stored.itemsize
        if self._start + self._bytes > size:
            raise ValueError(f"it has {size:,} bytes of {self._start + self._bytes:,}")
        self.shape = (*self._sizes[:2], self._sizes[2] if self._sizes[2:] else 1)
        self.dtype = self._stored.newbyteorder("=")

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Returns the pixels of a window, (h, w, C).

        Raises:
            DataError: The file has become shorter, or cannot be read any more.
        """
        try:
            with open_input(self._path) as file:
                window = self._read(file, rows, columns)
        except (OSError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{self._path} changed while it was read ({error}); accepted are files that stay "
                "as they are; predict it again"
            ) from error
        return window.astype(self.dtype, copy=False)

    def _read(self, file: BufferedReader, rows: slice, columns: slice) -> np.ndarray:
        height, width, channels = self.shape
        found = np.empty(
            (rows.stop - rows.start, columns.stop - columns.start, channels), self._stored
        )
        if self._is_fortran:  # whole columns of each channel follow one another
            for channel in range(channels):
                first = (channel * width + columns.start) * height
                block = self._numbers(file, first, found.shape[1] * height)
                found[..., channel] = block.reshape(-1, height)[:, rows].T
        else:
            for place, row in enumerate(range(rows.start, rows.stop)):
                first = (row * width + columns.start) * channels
                found[place] = self._numbers(file, first, found[0].size).reshape(-1, channels)
        return found

    def _numbers(self, file: BufferedReader, first: int, count: int) -> np.ndarray:
        file.seek(self._start + first * self._stored.itemsize)
        content = file.read(count * self._stored.itemsize)
        return np.frombuffer(content, self._stored, count)  # ValueError if it is shorter


def _load_numpy(path: Path, stream: Any) -> np.ndarray:
    shape, is_fortran, dtype = _read_numpy_header(stream)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if dtype.kind not in "biuf" or count > MAX_PIXELS:
        raise DataError(
            f"{path} holds an array of {shape}, {dtype}; accepted are numbers, at most "
            f"{MAX_PIXELS:,}; save the image as such an array"
        )
    with BUDGET.taken(COPIES * count * dtype.itemsize, str(path)):
        content = stream.read(count * dtype.itemsize)
    if stream.read(1):  # an archive verifies its checksum at the end
        raise ValueError("bytes follow its array")
    array = np.frombuffer(content, dtype, count)
    array = array.reshape(shape, order="F" if is_fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _member(path: Path, archive: zipfile.ZipFile, role: str) -> str:
    """Name of the file in an archive that holds the image, or the mask."""
    members = {name.removesuffix(".npy").lower(): name for name in archive.namelist()}
    if len(members) == 1:
        return next(iter(members.values()))
    for name in NAMES[role]:
        if name in members:
            return members[name]
    raise DataError(
        f"{path} holds the arrays {', '.join(members) or '(none)'}, and none is the {role}; "
        f"accepted are a single array, and {', '.join(NAMES[role])}; rename the array"
    )


def _to_image(path: Path, array: np.ndarray, channel_axis: str) -> ArrayImages:
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3:
        axis = _channel_axis(path, array.shape, channel_axis)
        array = np.moveaxis(array, axis, 2)
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(
            f"{path} holds an array of {array.shape}; accepted are (height, width) and (height, "
            "width, channels); save one image in each file"
        )
    size, needed = (array.shape[0], array.shape[1]), COPIES * array.nbytes
    return ArrayImages(1, size, lambda _: np.ascontiguousarray(array), needed)


def _channel_axis(path: Path, shape: tuple[int, ...], given: str) -> int:
    if given != "auto":
        return 0 if given == "first" else 2
    if shape[2] <= min(MOST_CHANNELS, shape[0] - 1, shape[1] - 1):
        return 2
    if shape[0] <= min(MOST_CHANNELS, shape[1] - 1, shape[2] - 1):
        return 0
    raise DataError(
        f"{path} holds an array of {shape}, whose axis of channels is not certain; accepted is up "
        f"to {MOST_CHANNELS} channels in the first or the last axis; save "
        "them in the last, or train with it as it is: unetkit train DATA --channel-axis first"
    )


def _open_nifti(path: Path, file: OpenFile) -> ArrayImages:
    nibabel = _library("nibabel", path)
    logging.getLogger("nibabel.global").setLevel(logging.ERROR)  # it mends what does not matter
    start = file.read(4)
    file.seek(0)
    is_packed = start[:2] == b"\x1f\x8b"
    stream = gzip.GzipFile(fileobj=file.handle) if is_packed else file.handle
    size = np.frombuffer(stream.read(4), "<i4")[0]
    stream.seek(0)
    is_second = size in (540, 469893120)  # NIfTI-2, in either byte order
    kind = nibabel.Nifti2Image if is_second else nibabel.Nifti1Image
    volume = kind.from_stream(stream)
    shape = tuple(volume.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 3 or np.prod(shape, dtype=object) > MAX_PIXELS:
        raise DataError(
            f"{path} holds a volume of {volume.shape}; accepted are two or three axes; save one "
            "volume in each file"
        )

    if is_packed:
        _require_whole(stream, volume)
    rest = (0,) * (len(volume.shape) - len(shape))

    def read(index: int) -> np.ndarray:
        place = (slice(None), slice(None), index)[: len(shape)]
        with _errors(path):
            plane = np.asanyarray(volume.dataobj[place + rest])
        return np.ascontiguousarray(plane.T)[..., None]  # the file has columns first

    needed = COPIES * shape[0] * shape[1] * FLOAT_BYTES
    return ArrayImages(shape[2] if len(shape) == 3 else 1, (shape[1], shape[0]), read, needed)


def _require_whole(stream: gzip.GzipFile, volume: Any) -> None:
    """Reads a stream to its end, where its checksum is verified; slices are read without it.

    Raises:
        EOFError, OSError, ValueError: It is cut off, damaged, or longer than its volume.
    """
    left = int(volume.dataobj.offset) + math.prod(volume.shape) * volume.dataobj.dtype.itemsize
    stream.seek(0)
    while block := stream.read(READ_AT_A_TIME):
        left -= len(block)
        if left < 0:
            raise ValueError("bytes follow its volume")


def _open_dicom(path: Path, file: OpenFile) -> ArrayImages:
    pydicom = _library("pydicom", path)
    dataset = pydicom.dcmread(file.handle)
    if "PixelData" not in dataset:
        raise ValueError("it has no pixels")
    size = int(dataset.Rows), int(dataset.Columns)
    count = int(dataset.get("NumberOfFrames") or 1)
    if size[0] * size[1] * count > MAX_PIXELS:
        raise DataError(
            f"{path} has {count} images of {size[0]} x {size[1]} pixels; accepted are up to "
            f"{MAX_PIXELS:,} pixels; split the file"
        )

    def read(index: int) -> np.ndarray:
        with _errors(path):
            pixels = dataset.pixel_array  # colours as RGB
            pixels = pixels[index] if count > 1 else pixels
            pixels = pixels if pixels.ndim == 3 else pixels[..., None]
            slope = float(dataset.get("RescaleSlope") or 1)
            shift = float(dataset.get("RescaleIntercept") or 0)
            if (slope, shift) == (1, 0):
                return np.ascontiguousarray(pixels)
            if slope == 1 and shift == int(shift):
                return pixels.astype(np.int32) + int(shift)
            return (pixels * slope + shift).astype(np.float32)

    samples = count * size[0] * size[1] * int(dataset.get("SamplesPerPixel") or 1)
    return ArrayImages(count, size, read, COPIES * samples * FLOAT_BYTES)


def _library(name: str, path: Path) -> Any:
    """A library of the extra `formats`."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"reading {path} needs {name}, which is not installed; to install it: "
            f"{install_command('formats')}"
        ) from error


def register_heif(path: Path) -> None:
    """Makes HEIC and HEIF readable by Pillow.

    Raises:
        MissingExtraError: pi-heif is not installed.
    """
    _library("pi_heif", path).register_heif_opener()


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Converts what the libraries raise to errors that name the file."""
    try:
        yield
    except (DataError, DataNotFoundError, MissingExtraError):
        raise
    except MemoryError as error:
        raise DataError(
            f"{path} does not fit into memory; accepted are smaller images; cut it into pieces"
        ) from error
    except Exception as error:  # libraries let through whatever a wrong number leads to
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(
            f"{path} cannot be read whole ({reason}); accepted are undamaged images; replace or "
            "remove it"
        ) from error
