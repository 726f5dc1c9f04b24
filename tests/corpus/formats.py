"""One small file of each format, and the two readers that it is compared with.

The readers of a format are named before anything is tried. They use two codec libraries where two
exist: Pillow brings libtiff and a PNG and a GIF decoder of its own, OpenCV libpng and decoders of
its own for BMP, GIF and PNM, tifffile uses imagecodecs. JPEG is decoded by libjpeg-turbo, WebP by
libwebp and JPEG 2000 by OpenJPEG everywhere; the second reader is then another program around it.
"""

import gzip
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import imagecodecs
import nibabel
import numpy as np
import tifffile
from PIL import Image

H, W = 48, 56
ROWS, COLUMNS = np.mgrid[:H, :W]
LABELS = (
    ((ROWS // 10 + COLUMNS // 9) % 5) * ((ROWS - 24) ** 2 + (COLUMNS - 30) ** 2 < 600)
).astype(np.uint8)
NOISE = np.random.default_rng(7).normal(0, 4, (H, W, 3))
WAVES = np.stack([np.sin(ROWS / 9) * np.cos(COLUMNS / 7 + shift) for shift in range(3)], 2)
PHOTO = (WAVES * 100 + 128 + NOISE).clip(0, 255).astype(np.uint8)
DEEP = (WAVES * 30_000 + 32_768 + NOISE * 30).clip(0, 65_535).astype(np.uint16)

Reader = Callable[[Path], np.ndarray]


@dataclass(frozen=True)
class Format:
    """A format, with a file of it and two readers.

    Args:
        name: Name of the file.
        content: Bytes of the undamaged file.
        readers: Two readers by name; each returns pixels, or raises an error of any type.
        checked: Whether a check value covers all pixels.
    """

    name: str
    content: bytes
    readers: dict[str, Reader]
    checked: bool = False


def _bytes(write: Callable[[BytesIO], object]) -> bytes:
    stream = BytesIO()
    write(stream)
    return stream.getvalue()


def tiff(array: np.ndarray, **options: object) -> bytes:
    """A TIFF as tifffile writes it."""
    photometric = "rgb" if array.ndim == 3 else "minisblack"
    return _bytes(
        lambda stream: tifffile.imwrite(stream, array, photometric=photometric, **options)
    )


def pillow(array: np.ndarray, format: str, **options: object) -> bytes:
    """A file as Pillow writes it."""
    return _bytes(lambda stream: Image.fromarray(array).save(stream, format, **options))


def deep_png(array: np.ndarray) -> bytes:
    """A PNG of 16 bits in each channel."""
    return bytes(cv2.imencode(".png", array[..., ::-1])[1])


def nifti(array: np.ndarray) -> bytes:
    """A gzipped NIfTI volume of one slice."""
    return gzip.compress(nibabel.Nifti1Image(array.T, np.eye(4)).to_bytes(), mtime=0)


def npy(array: np.ndarray) -> bytes:
    """A NumPy file."""
    return _bytes(lambda stream: np.save(stream, array))


def npz(array: np.ndarray) -> bytes:
    """A NumPy archive, compressed."""
    return _bytes(lambda stream: np.savez_compressed(stream, image=array))


def by_pillow(path: Path) -> np.ndarray:
    """Pixels by Pillow; palettes become colors."""
    with Image.open(path) as image:
        image.load()
        if image.mode in ("P", "PA"):
            image = image.convert("RGB")
        return np.asarray(image.convert("RGB") if image.mode in ("CMYK", "YCbCr") else image)


def by_opencv(path: Path) -> np.ndarray:
    """Pixels by OpenCV, red first."""
    array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        raise ValueError("OpenCV returns nothing")
    return array if array.ndim == 2 else np.concatenate([array[..., 2::-1], array[..., 3:]], 2)


def by_tifffile(path: Path) -> np.ndarray:
    """Pixels of the first page by tifffile."""
    with tifffile.TiffFile(path) as tif:
        return tif.pages.first.asarray()


def by_imagecodecs(codec: str) -> Reader:
    """Pixels by a codec of imagecodecs."""
    decode = getattr(imagecodecs, f"{codec}_decode")
    return lambda path: decode(path.read_bytes())


def by_numpy(path: Path) -> np.ndarray:
    """The array of a .npy file, or the first of an archive, by NumPy."""
    found = np.load(path, allow_pickle=False)
    return found if isinstance(found, np.ndarray) else found[found.files[0]]


def by_zipfile(path: Path) -> np.ndarray:
    """The first member of an archive, by the modules zipfile and struct."""
    with zipfile.ZipFile(path) as archive:
        return npy_by_hand(archive.read(archive.namelist()[0]))


def by_struct(path: Path) -> np.ndarray:
    """The array of a .npy file, by the module struct."""
    return npy_by_hand(path.read_bytes())


def npy_by_hand(content: bytes) -> np.ndarray:
    """An array in format 1.0 of NumPy, as its documentation describes it."""
    if content[:8] != b"\x93NUMPY\1\0":
        raise ValueError("not format 1.0")
    (length,) = struct.unpack("<H", content[8:10])
    header = eval(content[10 : 10 + length].decode("latin1"), {"__builtins__": {}})
    if set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError("other keys")
    order = "F" if header["fortran_order"] is True else "C"
    dtype, shape = np.dtype(header["descr"]), header["shape"]
    count = int(np.prod(shape))
    return np.frombuffer(content, dtype, count, 10 + length).reshape(shape, order=order)


def by_nibabel(path: Path) -> np.ndarray:
    """The volume of a NIfTI file, rows first, by nibabel."""
    return np.squeeze(np.asanyarray(nibabel.load(path).dataobj)).T


def by_gzip(path: Path) -> np.ndarray:
    """The volume of a NIfTI file, rows first, by the modules gzip and struct.

    Source: NIfTI-1: dim at byte 40, datatype at 70, vox_offset at 108, slope and shift at 112.
    """
    content = gzip.decompress(path.read_bytes())
    if content[:4] != struct.pack("<L", 348) or content[344:348] != b"n+1\0":
        raise ValueError("no NIfTI-1")
    dim = struct.unpack("<8h", content[40:56])
    kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 256: "i1", 512: "<u2"}
    dtype = np.dtype(kind[struct.unpack("<h", content[70:72])[0]])
    offset, slope, shift = struct.unpack("<3f", content[108:120])
    shape = dim[1 : 1 + dim[0]]
    found = np.frombuffer(content, dtype, int(np.prod(shape)), int(offset))
    found = np.squeeze(found.reshape(shape, order="F")).T
    if np.isfinite(slope) and slope and (slope, shift) != (1, 0):
        return found * np.float64(slope) + np.float64(shift)
    return found


def by_strips_of_png(path: Path) -> np.ndarray:
    """Strips of a TIFF that are PNGs, decoded by Pillow; where they are, tifffile says."""
    with tifffile.TiffFile(path) as tif:
        page, content = tif.pages.first, path.read_bytes()
        strips = []
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            with Image.open(BytesIO(content[start : start + count]), formats=["PNG"]) as image:
                image.load()
                strips.append(np.asarray(image))
        found = np.concatenate(strips)
        if found.shape != page.shape or found.dtype != page.dtype or page.compression != 34933:
            raise ValueError("the strips are not of the page's size")
        return 255 - found if page.photometric == 0 else found


def palette(format: str) -> bytes:
    """Labels as indices of colors."""
    image = Image.fromarray(LABELS)
    image.putpalette([0, 0, 0, 250, 10, 20, 30, 240, 50, 9, 80, 255, 200, 200, 0])
    return _bytes(lambda stream: image.save(stream, format))


def _in_strips(compression: str, array: np.ndarray, **options: object) -> bytes:
    return tiff(array, compression=compression, rowsperstrip=16, **options)


TIFFS = {"tifffile with imagecodecs": by_tifffile, "Pillow with libtiff": by_pillow}
warnings.filterwarnings("ignore", module="PIL")

PILLOW_AND_OPENCV: dict[str, Reader] = {"Pillow": by_pillow, "OpenCV": by_opencv}
FORMATS = {
    "TIFF, deflate": Format("x.tif", _in_strips("zlib", LABELS), TIFFS, True),
    "TIFF, deflate, predictor, 16 bits": Format(
        "x.tif", _in_strips("zlib", DEEP[..., 0], predictor=True), TIFFS, True
    ),
    "TIFF, LZMA": Format("x.tif", _in_strips("lzma", LABELS), TIFFS, True),
    "TIFF, Zstandard": Format("x.tif", _in_strips("zstd", PHOTO), TIFFS),
    "TIFF, LZW": Format("x.tif", pillow(LABELS, "TIFF", compression="tiff_lzw"), TIFFS),
    "TIFF, PackBits": Format("x.tif", _in_strips("packbits", LABELS), TIFFS),
    "TIFF, uncompressed": Format("x.tif", tiff(PHOTO, rowsperstrip=16), TIFFS),
    "TIFF, JPEG": Format("x.tif", _in_strips("jpeg", PHOTO), TIFFS),
    "TIFF, PNG": Format(
        "x.tif",
        _in_strips("png", LABELS),
        {"tifffile with imagecodecs": by_tifffile, "Pillow": by_strips_of_png},
        True,
    ),
    "PNG": Format("x.png", pillow(PHOTO, "PNG"), PILLOW_AND_OPENCV, True),
    "PNG, 16 bits": Format(
        "x.png", deep_png(DEEP), {"OpenCV": by_opencv, "imagecodecs": by_imagecodecs("png")}, True
    ),
    "PNG, palette": Format("x.png", palette("PNG"), PILLOW_AND_OPENCV, True),
    "NPZ": Format("x.npz", npz(LABELS), {"NumPy": by_numpy, "zipfile": by_zipfile}, True),
    "NIfTI, gzip": Format(
        "x.nii.gz", nifti(LABELS), {"nibabel": by_nibabel, "gzip": by_gzip}, True
    ),
    "NPY": Format("x.npy", npy(LABELS), {"NumPy": by_numpy, "struct": by_struct}),
    "JPEG": Format(
        "x.jpg",
        pillow(PHOTO, "JPEG"),
        {"Pillow": by_pillow, "imagecodecs": by_imagecodecs("jpeg8")},
    ),
    "JPEG 2000": Format(
        "x.jp2",
        pillow(PHOTO, "JPEG2000"),
        {"Pillow": by_pillow, "imagecodecs": by_imagecodecs("jpeg2k")},
    ),
    "WebP": Format("x.webp", pillow(PHOTO, "WEBP", lossless=True), PILLOW_AND_OPENCV),
    "BMP": Format("x.bmp", pillow(PHOTO, "BMP"), PILLOW_AND_OPENCV),
    "GIF": Format("x.gif", palette("GIF"), PILLOW_AND_OPENCV),
    "PNM": Format("x.ppm", pillow(PHOTO, "PPM"), PILLOW_AND_OPENCV),
}
