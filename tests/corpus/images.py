"""Image files made by chance: whole, cut off, damaged, and small files that claim to be large."""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from tests import hostile
from tests.corpus.formats import (
    PILLOW_AND_OPENCV,
    Format,
    Reader,
    by_gzip,
    by_imagecodecs,
    by_nibabel,
    by_numpy,
    by_opencv,
    by_pillow,
    by_struct,
    by_zipfile,
    deep_png,
    nifti,
    npy,
    npz,
    pillow,
)

Rng = np.random.Generator
NUMBERS = (0, 1, 2, 3, 7, 255, 256, 65_535, 65_536, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


def by_tifffile(path: Path) -> np.ndarray:
    """Pixels of the first page by tifffile, channels last."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        pixels = page.asarray()
        is_planar = page.planarconfig == 2 and page.samplesperpixel > 1
        return np.moveaxis(pixels, 0, -1) if is_planar else pixels


TIFF_READERS: dict[str, Reader] = {"tifffile with imagecodecs": by_tifffile, "Pillow": by_pillow}


def pick(rng: Rng, *choices: object) -> object:
    """One of several values."""
    return choices[rng.integers(len(choices))]


def pixels(rng: Rng, channels: int, dtype: str = "uint8", least: int = 1) -> np.ndarray:
    """Waves with noise in all of a type's values, (H, W) or (H, W, C); some images are flat."""
    height, width = rng.integers(least, 70, 2)
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / (5 + 3 * i)) * np.cos(columns / 7) for i in range(channels)], 2)
    values = waves * rng.uniform(0, 1) + rng.normal(0, rng.uniform(0, 0.1), waves.shape)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        found = (values * 100).astype(kind)
    else:
        low, high = np.iinfo(kind).min, np.iinfo(kind).max
        middle = (values.clip(-1, 1) + 1) / 2
        found = (low + middle * (float(high) - float(low)) * 0.999).astype(kind)
    return found[..., 0] if channels == 1 else found


def a_tiff(rng: Rng) -> Format:
    compression = pick(rng, None, "zlib", "lzw", "packbits", "zstd", "lzma", "png", "webp", "jpeg")
    dtype = pick(rng, "uint8", "uint16", "uint8", "int16", "uint32", "int32", "float32", "float64")
    channels = int(pick(rng, 1, 3, 3, 4))
    if compression in ("png", "webp", "jpeg"):
        dtype, channels = "uint8", 3
    array = pixels(rng, channels, str(dtype), 16 if compression in ("webp", "jpeg") else 1)
    options: dict[str, object] = {
        "photometric": "minisblack" if channels == 1 else "rgb",
        "compression": compression,
        "byteorder": pick(rng, "<", ">"),
        "bigtiff": bool(rng.integers(2)),
        "metadata": None,
    }
    if compression == "webp":
        options["compressionargs"] = {"lossless": True}
    if compression == "zlib" or (compression in ("lzw", "zstd") and array.dtype.kind != "f"):
        options["predictor"] = bool(rng.integers(2))
    if channels == 4:
        options["extrasamples"] = ["unassalpha"]
    if rng.integers(2):
        options["tile"] = (16 * int(rng.integers(1, 4)), 16 * int(rng.integers(1, 4)))
    else:
        options["rowsperstrip"] = 8 * int(rng.integers(1, 9))
    if channels == 3 and compression not in ("png", "webp", "jpeg") and rng.integers(3) == 0:
        array, options["planarconfig"] = np.moveaxis(array, 2, 0), "separate"
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return Format("x.tif", stream.getvalue(), TIFF_READERS)


def a_png(rng: Rng) -> Format:
    if rng.integers(3) == 0:
        readers = {"OpenCV": by_opencv, "imagecodecs": by_imagecodecs("png")}
        return Format("x.png", deep_png(pixels(rng, 3, "uint16")), readers)
    level = int(rng.integers(10))
    return Format("x.png", pillow(an_8_bit_image(rng), "PNG", compress_level=level), PNG_READERS)


PNG_READERS: dict[str, Reader] = {**PILLOW_AND_OPENCV}


def an_8_bit_image(rng: Rng, *channels: int, least: int = 1) -> np.ndarray:
    return pixels(rng, int(pick(rng, *(channels or (1, 3, 4)))), least=least)


def a_palette(rng: Rng, format: str, name: str) -> Format:
    image = Image.fromarray(pixels(rng, 1) % 5)
    image.putpalette(rng.integers(0, 256, 15, dtype=np.uint8).tolist())
    stream = io.BytesIO()
    image.save(stream, format)
    return Format(name, stream.getvalue(), PILLOW_AND_OPENCV)


def a_jpeg(rng: Rng) -> Format:
    options = {
        "quality": int(rng.integers(20, 101)),
        "progressive": bool(rng.integers(2)),
        "optimize": bool(rng.integers(2)),
        "subsampling": int(rng.integers(3)),
    }
    readers = {"Pillow": by_pillow, "imagecodecs": by_imagecodecs("jpeg8")}
    return Format("x.jpg", pillow(an_8_bit_image(rng, 1, 3), "JPEG", **options), readers)


def a_jpeg_2000(rng: Rng) -> Format:
    readers = {"Pillow": by_pillow, "imagecodecs": by_imagecodecs("jpeg2k")}
    options = {"irreversible": bool(rng.integers(2))}
    image = an_8_bit_image(rng, 1, 3, least=8)
    return Format("x.jp2", pillow(image, "JPEG2000", **options), readers)


def a_webp(rng: Rng) -> Format:
    options = {"lossless": bool(rng.integers(2)), "quality": int(rng.integers(101)), "exact": True}
    return Format("x.webp", pillow(an_8_bit_image(rng, 3, 4), "WEBP", **options), PILLOW_AND_OPENCV)


def a_bmp(rng: Rng) -> Format:
    return Format("x.bmp", pillow(an_8_bit_image(rng, 1, 3), "BMP"), PILLOW_AND_OPENCV)


def a_pnm(rng: Rng) -> Format:
    return Format("x.ppm", pillow(an_8_bit_image(rng, 1, 3), "PPM"), PILLOW_AND_OPENCV)


def an_array(rng: Rng) -> np.ndarray:
    dtype = str(pick(rng, "uint8", "uint16", ">u2", "int16", "float32", "<f8", "int64"))
    array = pixels(rng, int(pick(rng, 1, 3)), "float64", 18) * 100
    array = array.astype(dtype)
    return np.asfortranarray(array) if rng.integers(2) else array


def a_npy(rng: Rng) -> Format:
    return Format("x.npy", npy(an_array(rng)), {"NumPy": by_numpy, "struct": by_struct})


def a_npz(rng: Rng) -> Format:
    return Format("x.npz", npz(an_array(rng)), {"NumPy": by_numpy, "zipfile": by_zipfile})


def a_nifti(rng: Rng) -> Format:
    dtype = str(pick(rng, "uint8", "int16", "float32", "uint16"))
    readers = {"nibabel": by_nibabel, "gzip": by_gzip}
    return Format("x.nii.gz", nifti(pixels(rng, 1, dtype, 2)), readers)


WRITERS: dict[str, Callable[[Rng], Format]] = {
    "TIFF": a_tiff,
    "TIFF again": a_tiff,
    "PNG": a_png,
    "PNG with palette": lambda rng: a_palette(rng, "PNG", "x.png"),
    "GIF": lambda rng: a_palette(rng, "GIF", "x.gif"),
    "JPEG": a_jpeg,
    "JPEG 2000": a_jpeg_2000,
    "WebP": a_webp,
    "BMP": a_bmp,
    "PNM": a_pnm,
    "NPY": a_npy,
    "NPZ": a_npz,
    "NIfTI": a_nifti,
}


def a_file(rng: Rng) -> tuple[str, Format]:
    """The name of a kind, and a whole file of it."""
    kind = str(pick(rng, *WRITERS))
    return kind, WRITERS[kind](rng)


def cut(rng: Rng, content: bytes) -> tuple[str, bytes]:
    """What was done, and the beginning of a file; every other time all but its last bytes."""
    lost = rng.integers(1, min(64, len(content)) + 1)
    kept = len(content) - int(lost) if rng.integers(2) else int(rng.integers(len(content)))
    return f"cut to {kept} of {len(content)} bytes", content[:kept]


def damage(rng: Rng, content: bytes, most: int = 6) -> tuple[str, bytes]:
    """What was done, and a file with one to six places changed, most of them near its beginning."""
    data, done = bytearray(content), []
    for _ in range(rng.integers(1, most + 1)):
        reach = len(data) if rng.integers(2) else min(len(data), 300)
        place, length = int(rng.integers(max(1, reach))), int(rng.integers(1, 40))
        how = str(pick(rng, "flip", "flip", "number", "zero", "remove", "repeat", "noise"))
        done.append(f"{how} at {place}")
        if how == "flip" and data:
            data[place] ^= 1 << rng.integers(8)
        elif how == "number":
            size = str(pick(rng, "<L", ">L", "<H", ">H"))
            number = int(pick(rng, *NUMBERS)) & (0xFFFF if "H" in size else 0xFFFFFFFF)
            packed = struct.pack(size, number)
            data[place : place + len(packed)] = packed
        elif how == "zero":
            data[place : place + length] = bytes(len(data[place : place + length]))
        elif how == "remove":
            del data[place : place + length]
        elif how == "repeat":
            data[place:place] = data[place : place + length]
        elif how == "noise":
            data[place : place + length] = rng.bytes(len(data[place : place + length]))
    return ", ".join(done), bytes(data)


def side(rng: Rng) -> int:
    """A large side of an image, of any order of magnitude."""
    return int(2 ** rng.uniform(8, 31))


def packed_zeros(rng: Rng) -> bytes:
    """Up to 64 MiB of zeros as they are stored in PNG and TIFF."""
    return zlib.compress(bytes(int(2 ** rng.uniform(10, 26))), 9)


def png_bomb(rng: Rng) -> Format:
    header = struct.pack(
        ">LLBBBBB", side(rng), side(rng), int(pick(rng, 1, 8, 16)), int(pick(rng, 0, 2, 6, 3)),
        0, 0, int(rng.integers(2)),
    )  # fmt: skip
    extra = b"".join(
        hostile.chunk(bytes(pick(rng, b"zTXt", b"iCCP")), b"a\0\0" + packed_zeros(rng))
        for _ in range(rng.integers(3))
    )
    body = hostile.chunk(b"IDAT", packed_zeros(rng)) + hostile.chunk(b"IEND", b"")
    return Format("x.png", hostile.PNG_MAGIC + hostile.chunk(b"IHDR", header) + extra + body, {})


def tiff_bomb(rng: Rng) -> Format:
    sides, code = (side(rng), side(rng)), int(pick(rng, 1, 8, 5, 7, 50_000, 34_712, 34_925))
    data = imagecodecs.zstd_encode(bytes(1 << 24)) if code == 50_000 else packed_zeros(rng)
    tags: dict[int, int | list[int] | None] = {
        256: sides[0], 257: sides[1], 258: int(pick(rng, 8, 16, 32, 64)), 259: code,
        277: int(pick(rng, 1, 3, 4, 60_000)), 278: int(pick(rng, 1, 16, sides[1])),
    }  # fmt: skip
    if rng.integers(3) == 0:
        tags |= {322: side(rng), 323: side(rng), 324: -1, 325: len(data), 273: None, 279: None}
    return Format("x.tif", hostile.tiff(data, tags), {})


def page_bomb(rng: Rng) -> Format:
    last = int(pick(rng, 0, 8))
    return Format("x.tif", hostile.page_chain(int(2 ** rng.uniform(5, 14)), last=last), {})


def npy_bomb(rng: Rng, fill: int = 40) -> bytes:
    stream, shape = io.BytesIO(), tuple(side(rng) for _ in range(rng.integers(1, 4)))
    header = {"descr": str(pick(rng, "|u1", "<f8", "|O", "<c16", "|S9")), "fortran_order": False}
    np.lib.format.write_array_header_1_0(stream, {**header, "shape": shape})
    return stream.getvalue() + bytes(fill)


def npz_bomb(rng: Rng) -> Format:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", npy_bomb(rng, int(2 ** rng.uniform(5, 26))))
    return Format("x.npz", stream.getvalue(), {})


def nifti_bomb(rng: Rng) -> Format:
    data = bytearray(gzip.decompress(nifti(np.zeros((4, 5), np.uint8))))
    data[42:48] = struct.pack("<3h", *rng.integers(1, 32_767, 3))
    return Format("x.nii.gz", gzip.compress(bytes(data) + bytes(1 << 24), mtime=0), {})


BOMBS: tuple[Callable[[Rng], Format], ...] = (
    png_bomb,
    tiff_bomb,
    page_bomb,
    npz_bomb,
    nifti_bomb,
    lambda rng: Format("x.npy", npy_bomb(rng), {}),
    lambda rng: Format(
        "x.gif", hostile.lying_gif(int(rng.integers(65_536)), int(rng.integers(65_536))), {}
    ),
    lambda rng: Format("x.gif", hostile.gif_chain(int(2 ** rng.uniform(5, 16))), {}),
    lambda rng: Format(
        "x.bmp", hostile.lying_bmp(side(rng), int(pick(rng, 1, -1)) * side(rng)), {}
    ),
    lambda rng: Format(
        "x.jpg", hostile.lying_jpeg(int(rng.integers(65_536)), int(rng.integers(65_536))), {}
    ),
    lambda rng: Format("x.jp2", hostile.lying_jpeg_2000(side(rng), side(rng)), {}),
)


def a_bomb(rng: Rng) -> Format:
    """A small file that claims to be a large image."""
    return BOMBS[rng.integers(len(BOMBS))](rng)
