"""Hostile image files, made here, and what the readers do with each.

    python tests/hostile.py      prints a Markdown table: kind | outcome

Every kind states what is expected: its pixels, words of the refusal, or neither where damage
cannot be told from content (a flipped bit in a format without checksums). `examine` puts one kind
before every reader; it belongs into a process of its own, whose memory is limited, so that a bomb
takes down nothing else.
"""

import json
import os
import signal
import struct
import sys
import tempfile
import time
import unicodedata
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms

from unetkit.checks.statistics import compute_pair_statistics
from unetkit.data.masks import read_raw_mask
from unetkit.data.pairs import Pair
from unetkit.errors import UnetkitError
from unetkit.io.decoding import DecodedImage
from unetkit.io.images import ImageFile, pixels_of, read_image
from unetkit.io.pixel_format import PixelFormat

SECONDS = 10  # that a reader may take
MEMORY = 4 << 30  # bytes of address space, which is more than what is used
H, W = 24, 32
ROWS, COLUMNS = np.mgrid[:H, :W]
PHOTO = np.stack([ROWS * 8 + 10, COLUMNS * 7 + 3, 200 - ROWS * 3 - COLUMNS], 2).astype(np.uint8)
GREY = PHOTO[..., :1]
DEEP = (PHOTO * np.uint16(251) + np.uint16(7)).astype(np.uint16)
REAL = PHOTO.astype(np.float32) / 7 - 3
INDICES = ((ROWS // 6 + COLUMNS // 8) % 4).astype(np.uint8)[..., None]
BITS = INDICES[..., 0] > 1
COLOURS = np.array([[0, 0, 0], [250, 10, 20], [30, 240, 50], [9, 80, 255]], np.uint8)
OPACITY = (ROWS * 10).astype(np.uint8)[..., None]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@dataclass(frozen=True)
class Kind:
    """One hostile file.

    Args:
        write: Writes it at a path, which may also become a folder, a link or a pipe.
        expected: (H, W, C) pixels; words of the refusal; or None for either.
        name: The file's name.
        tolerance: Largest difference to `expected`, for lossy formats.
    """

    write: Callable[[Path], object]
    expected: np.ndarray | str | None
    name: str = "x.png"
    tolerance: int = 0


def file(content: bytes, expected: np.ndarray | str | None, name="x.png", tolerance=0) -> Kind:
    """A kind that is so many bytes."""
    return Kind(lambda path: path.write_bytes(content), expected, name, tolerance)


def encode(array: np.ndarray | Image.Image, format: str, **options: object) -> bytes:
    """A file as Pillow writes it."""
    stream = BytesIO()
    image = (
        array
        if isinstance(array, Image.Image)
        else Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    )
    image.save(stream, format, **options)
    return stream.getvalue()


def palette_image(indices: np.ndarray = INDICES) -> Image.Image:
    image = Image.fromarray(indices[..., 0])
    image.putpalette(COLOURS.ravel().tolist())
    return image


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk with the right checksum."""
    return (
        struct.pack(">L", len(content))
        + kind
        + content
        + struct.pack(">L", zlib.crc32(kind + content))
    )


def png(
    data: bytes, width: int = W, height: int = H, bits: int = 8, colour: int = 0, extra: bytes = b""
) -> bytes:
    """A PNG of rows that are filtered already, whatever its header says."""
    header = struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, 0)
    packed = chunk(b"IDAT", zlib.compress(data, 9))
    return PNG_MAGIC + chunk(b"IHDR", header) + extra + packed + chunk(b"IEND", b"")


def rows_of(array: np.ndarray) -> bytes:
    """A PNG's rows, none filtered."""
    return b"".join(b"\0" + row.tobytes() for row in array)


def tiff(
    data: bytes,
    tags: dict[int, int | list[int] | None] | None = None,
    order: str = "<",
    follow: int = 0,
) -> bytes:
    """A TIFF of one page, grey unless `tags` say otherwise; place -1 is where its data begin."""
    entries: dict[int, int | list[int] | None] = {
        256: W, 257: H, 258: 8, 259: 1, 262: 1, 273: -1, 277: 1, 278: H, 279: len(data)
    }  # fmt: skip
    entries = {tag: v for tag, v in {**entries, **(tags or {})}.items() if v is not None}
    after = 8 + 2 + 12 * len(entries) + 4
    table, long = b"", b""
    start = after + sum(4 * len(v) for v in entries.values() if isinstance(v, list) and len(v) > 1)
    for tag, value in sorted(entries.items()):
        values = [v if v >= 0 else start - 1 - v for v in np.atleast_1d(value).tolist()]
        packed = struct.pack(f"{order}{len(values)}L", *values)
        table += struct.pack(order + "HHL", tag, 4, len(values))
        table += packed if len(values) == 1 else struct.pack(order + "L", after + len(long))
        long += packed if len(values) > 1 else b""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "LH", 8, len(entries))
    return head + table + struct.pack(order + "L", follow) + long + data


def tifffile_bytes(array: np.ndarray, **options: object) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def opencv_bytes(array: np.ndarray, suffix: str, *options: int) -> bytes:
    """A file as OpenCV writes it, which has blue first."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(array.shape[2], [0])
    done, data = cv2.imencode(suffix, np.ascontiguousarray(array[..., order]), options)
    assert done
    return data.tobytes()


def exif_block(orientation: int, number: int = 3) -> bytes:
    """EXIF that says only how the camera was held, in a type of TIFF's by its number."""
    entry = struct.pack("<HHLL", 0x0112, number, 1, orientation)
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4)


def page_chain(pages: int, last: int = 0, odd_page: int | None = None) -> bytes:
    """A TIFF of many pages that share their pixels; `last` is where the last one points."""
    size = 2 + 12 * 9 + 4
    end = 8 + pages * size
    whole = bytearray(b"II*\0" + struct.pack("<L", 8))
    for i in range(pages):
        width = W - 1 if i == odd_page else W
        page = tiff(b"", {256: width, 273: end, 279: H * W})[8 : 8 + size - 4]
        whole += page + struct.pack("<L", 8 + (i + 1) * size if i < pages - 1 else last)
    return bytes(whole) + GREY.tobytes()


OME_OF_MANY = (
    "<?xml version='1.0'?><OME xmlns='http://www.openmicroscopy.org/Schemas/OME/2016-06'><Image "
    "ID='Image:0'><Pixels ID='Pixels:0' DimensionOrder='XYCZT' Type='uint8' SizeX='32' SizeY='24' "
    "SizeC='1' SizeZ='100000' SizeT='100000'><Channel ID='Channel:0:0' SamplesPerPixel='1'/>"
    "<TiffData IFD='0' PlaneCount='1'/></Pixels></Image></OME>"
)
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PLAIN = {
    "JPEG": encode(PHOTO, "JPEG", quality=95, subsampling=0),
    "PNG": encode(PHOTO, "PNG", compress_level=0),
    "TIFF": encode(PHOTO, "TIFF"),
    "GIF": encode(palette_image(), "GIF"),
    "BMP": encode(PHOTO, "BMP"),
    "WEBP": encode(PHOTO, "WEBP", lossless=True),
}
PIXELS = {"GIF": COLOURS[INDICES[..., 0]]}
LOSS = 8  # of a smooth image at JPEG quality 95


def pixels_in(format: str) -> tuple[np.ndarray, int]:
    return PIXELS.get(format, PHOTO), LOSS if format == "JPEG" else 0


def truncated() -> dict[str, Kind]:
    kinds = {}
    for format, data in PLAIN.items():
        name = f"x.{format.lower()}"
        for place, length in {
            "after the magic": 12 if format == "WEBP" else 8,
            "in the header": 24,
            "at a third": len(data) // 3,
            "in the middle": len(data) // 2,
            "16 bytes short": len(data) - 16,
        }.items():
            kinds[f"{format} cut {place}"] = file(data[:length], "", name)
        # What is missing may be an end mark, without which the pixels are whole.
        kinds[f"{format} without its last byte"] = file(data[:-1], None, name)
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 0x10
        kinds[f"{format} with a flipped bit"] = file(
            bytes(flipped), "" if format == "PNG" else None, name
        )
    return kinds


def strangers() -> dict[str, Kind]:
    """Files that are something else, and formats under another's name."""
    no = "is not an image"
    kinds = {
        "empty file": file(b"", "is empty"),
        "one byte": file(b"\x89", no),
        "text": file(b"Not Found\n", no),
        "HTML": file(b"<!DOCTYPE html><html></html>", no),
        "SVG": file(b"<svg xmlns='http://www.w3.org/2000/svg'/>", no),
        "PDF": file(encode(PHOTO, "PDF"), no),
        "icon": file(encode(PHOTO, "ICO"), no),
        "JPEG 2000": file(encode(PHOTO, "JPEG2000"), PHOTO),
        "JPEG 2000, cut": file(encode(PHOTO, "JPEG2000")[:-40], "cannot be read whole"),
        "PNM": file(encode(PHOTO, "PPM"), PHOTO),
        "PNM, cut": file(encode(PHOTO, "PPM")[:-40], "cannot be read whole"),
        "numpy array without a header": file(b"\x93NUMPY\x01\0" + bytes(120), "cannot be read"),
        "zeros": file(bytes(4096), no),
        "magic of PNG, then zeros": file(PNG_MAGIC + bytes(4096), ""),
        "magic of JPEG, then zeros": file(b"\xff\xd8\xff\xe0" + bytes(4096), ""),
        "magic of TIFF, then zeros": file(b"II*\0" + bytes(4096), "", "x.tif"),
        "magic of BMP, then zeros": file(b"BM" + bytes(4096), "", "x.bmp"),
        "magic of GIF, then zeros": file(b"GIF89a" + bytes(4096), "", "x.gif"),
        "magic of WebP, then zeros": file(b"RIFF\0\x10\0\0WEBPVP8 " + bytes(4096), ""),
        "a byte before the magic": file(b"\n" + PLAIN["PNG"], no),
        "line ends of another system": file(PLAIN["PNG"].replace(b"\r\n", b"\n"), no),
        "an image with a tail": file(PLAIN["PNG"] + bytes(1000), PHOTO),
    }
    for format, name in zip(PLAIN, ("x.png", "x.jpg", "x.png", "x.tif", "x", "x.gif"), strict=True):
        pixels, tolerance = pixels_in(format)
        kinds[f"{format} named {name}"] = file(PLAIN[format], pixels, name, tolerance)
    return kinds


def pngs() -> dict[str, Kind]:
    rows = rows_of(GREY)
    deep = PHOTO.astype(np.uint16) * 257 + 5
    faint = np.concatenate([deep, OPACITY.astype(np.uint16) * 257], 2)
    text = zlib.compress(bytes(1 << 26), 9)
    animation = {"save_all": True, "append_images": [Image.fromarray(PHOTO[::-1])]}
    return {
        "PNG whose header says 2147483647 x 2147483647": file(
            png(rows, width=2**31 - 1, height=2**31 - 1), "too large"
        ),
        "PNG whose header says 9000 x 9000": file(png(rows, width=9000, height=9000), ""),
        "PNG of no columns": file(png(rows, width=0), ""),
        "PNG of 3 bits a sample": file(png(rows, bits=3), ""),
        "PNG of colour type 5": file(png(rows, colour=5), ""),
        "PNG bomb of 40000 x 40000": Kind(
            partial(write_png_bomb, width=40_000, height=40_000), "too large"
        ),
        "PNG just above the limit": Kind(
            partial(write_png_bomb, width=13_400, height=13_400), "too large"
        ),
        "PNG that inflates beyond its rows": file(png(rows + bytes(1 << 26)), GREY),
        "PNG with a text of 64 MiB": file(png(rows, extra=chunk(b"zTXt", b"a\0\0" + text)), ""),
        "PNG with 2000 texts of 64 KiB": file(
            png(rows, extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 16))) * 2000), ""
        ),
        "PNG with a wrong checksum": file(PLAIN["PNG"].replace(b"IDAT", b"IDAT\0", 1), ""),
        "PNG whose chunk claims 2 GiB": file(
            PLAIN["PNG"][:33] + b"\x7f\xff\xff\xffIDAT" + bytes(99), ""
        ),
        "PNG without pixels": file(PLAIN["PNG"][:33] + chunk(b"IEND", b""), ""),
        "PNG with broken colour profile": file(
            png(rows, extra=chunk(b"iCCP", b"a\0\0" + zlib.compress(b"no profile"))), GREY
        ),
        "PNG with a profile that does not inflate": file(
            png(rows, extra=chunk(b"iCCP", b"a\0\0broken")), GREY
        ),
        "PNG with another colour space's profile": file(
            png(rows, extra=chunk(b"iCCP", b"a\0\0" + zlib.compress(SRGB))), GREY
        ),
        "PNG of 16 bits with a broken profile": file(
            png(
                rows_of(deep.astype(">u2")), bits=16, colour=2, extra=chunk(b"iCCP", b"a\0\0broken")
            ),
            deep,
        ),
        "PNG of 16 bits cut": file(opencv_bytes(deep, ".png")[:-40], ""),
        "PNG of 16 bits, grey": file(
            png(rows_of(deep[..., 0].astype(">u2")), bits=16), deep[..., :1]
        ),
        "PNG of 16 bits, colour": file(opencv_bytes(deep, ".png"), deep),
        "PNG of 16 bits, colour and opacity": file(
            png(rows_of(faint.astype(">u2")), bits=16, colour=6), deep
        ),
        "PNG of 16 bits, grey and opacity": file(
            png(rows_of(faint[..., 2:].astype(">u2")), bits=16, colour=4), deep[..., 2:]
        ),
        "PNG of 1 bit": file(encode(Image.fromarray(BITS), "PNG"), BITS[..., None] * np.uint8(255)),
        "PNG, grey and opacity": file(encode(np.concatenate([GREY, OPACITY], 2), "PNG"), GREY),
        "PNG, colour and opacity": file(encode(np.concatenate([PHOTO, OPACITY], 2), "PNG"), PHOTO),
        "PNG with a transparent colour": file(
            png(rows_of(PHOTO), colour=2, extra=chunk(b"tRNS", bytes(6))), PHOTO
        ),
        "PNG with palette": file(encode(palette_image(), "PNG"), COLOURS[INDICES[..., 0]]),
        "PNG with palette and opacity": file(
            encode(palette_image(), "PNG", transparency=b"\0\x80\xff\xff"), COLOURS[INDICES[..., 0]]
        ),
        "PNG with a palette that is too short": file(
            png(rows_of(INDICES), colour=3, extra=chunk(b"PLTE", bytes(6))), "palette"
        ),
        "PNG without its palette": file(png(rows_of(INDICES), colour=3), ""),
        "PNG interlaced": file(interlaced(), GREY),
        "PNG of one pixel": file(encode(PHOTO[:1, :1], "PNG"), PHOTO[:1, :1]),
        "PNG of 1 x 100000": file(png(bytes(100_001), 100_000, 1), np.zeros((1, 100_000, 1), "u1")),
        "PNG of 100000 x 1": file(png(bytes(200_000), 1, 100_000), np.zeros((100_000, 1, 1), "u1")),
        "PNG animated": file(encode(PHOTO, "PNG", **animation), "is animated, with 2 frames"),
        "WebP animated": file(encode(PHOTO, "WEBP", **animation), "is animated, with 2 frames"),
        "GIF animated": file(encode(PHOTO, "GIF", **animation), "is animated, with 2 frames"),
        "GIF of 65535 x 65535": file(lying_gif(65_535, 65_535), "too large", "x.gif"),
        "GIF of 50000 frames": file(gif_chain(50_000), "50,000 frames", "x.gif"),
        "BMP that claims 100000 x 100000": file(lying_bmp(100_000, 100_000), "too large", "x.bmp"),
        "BMP with its rows from the top": file(top_down_bmp(), PHOTO, "x.bmp"),
        "BMP of no rows": file(lying_bmp(W, 0), "", "x.bmp"),
    }


def write_png_bomb(path: Path, width: int, height: int) -> None:
    """One bit a pixel, all black, right to the last checksum."""
    packer = zlib.compressobj(9)
    rows = bytes((1 + (width + 7) // 8) * 100)
    data = b"".join(packer.compress(rows) for _ in range(height // 100)) + packer.flush()
    header = struct.pack(">LLBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(
        PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def interlaced() -> bytes:
    """Seven passes: first row and column, and the steps between rows and columns."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    data = b"".join(
        rows_of(GREY[row::down, column::across])
        for row, column, down, across in [*passes, (1, 0, 2, 1)]
    )
    header = struct.pack(">LLBBBBB", W, H, 8, 0, 0, 0, 1)
    packed = chunk(b"IDAT", zlib.compress(data))
    return PNG_MAGIC + chunk(b"IHDR", header) + packed + chunk(b"IEND", b"")


def lying_gif(width: int, height: int) -> bytes:
    data = bytearray(PLAIN["GIF"])
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def gif_chain(frames: int) -> bytes:
    data = PLAIN["GIF"]
    start = data.index(b"," + bytes(4))  # where the only frame's descriptor begins
    return data[:start] + data[start:-1] * frames + b";"


def lying_bmp(width: int, height: int) -> bytes:
    data = bytearray(PLAIN["BMP"])
    data[18:26] = struct.pack("<ll", width, height)
    return bytes(data)


def top_down_bmp() -> bytes:
    data = lying_bmp(W, -H)
    return data[:54] + PHOTO[..., ::-1].tobytes()


def jpegs() -> dict[str, Kind]:
    plain = PLAIN["JPEG"]
    cmyk = Image.fromarray(np.concatenate([255 - PHOTO, np.zeros_like(GREY)], 2), "CMYK")

    def jpeg(content: bytes, expected: np.ndarray | str | None) -> Kind:
        return file(content, expected, "x.jpg", LOSS)

    def with_exif(content: bytes, image: np.ndarray = PHOTO) -> Kind:
        return jpeg(encode(PHOTO, "JPEG", quality=95, subsampling=0, exif=content), image)

    def oriented(value: int, image: np.ndarray = PHOTO, number: int = 3) -> Kind:
        return with_exif(exif_block(value, number), image)

    def header(place: int, content: bytes) -> bytes:
        """The frame header holds length, precision, rows, columns, components."""
        start = plain.index(b"\xff\xc0") + 2 + place
        return plain[:start] + content + plain[start + len(content) :]

    turned = {  # where the first row and column lie, as EXIF says, undone
        2: PHOTO[:, ::-1], 3: PHOTO[::-1, ::-1], 4: PHOTO[::-1], 5: PHOTO.swapaxes(0, 1),
        6: PHOTO.swapaxes(0, 1)[:, ::-1], 7: PHOTO[::-1, ::-1].swapaxes(0, 1),
        8: PHOTO.swapaxes(0, 1)[::-1],
    }  # fmt: skip
    loop = b"Exif\0\0" + tiff(b"", {0x8769: 8}, follow=8)
    return {
        **{f"JPEG with EXIF orientation {i}": oriented(i, seen) for i, seen in turned.items()},
        "JPEG with EXIF orientation 0": oriented(0),
        "JPEG with EXIF orientation 9": oriented(9),
        "JPEG with EXIF orientation 65535": oriented(65_535),
        "JPEG with EXIF orientation as a letter": oriented(ord("6"), number=2),
        "JPEG with EXIF orientation as a fraction": oriented(6, number=5),
        "JPEG with garbage for EXIF": with_exif(b"Exif\0\0" + b"garbage" * 9),
        "JPEG with empty EXIF": with_exif(b"Exif\0\0"),
        "JPEG with EXIF cut short": with_exif(b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12"),
        "JPEG with EXIF in a loop": with_exif(loop),
        "JPEG with EXIF beyond its end": with_exif(b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(9)),
        "JPEG with broken profile": jpeg(
            encode(PHOTO, "JPEG", quality=95, subsampling=0, icc_profile=b"no profile"), PHOTO
        ),
        "JPEG, progressive": jpeg(
            encode(PHOTO, "JPEG", quality=95, subsampling=0, progressive=True), PHOTO
        ),
        "JPEG, grey": jpeg(encode(GREY, "JPEG", quality=95), GREY),
        "JPEG, CMYK": jpeg(encode(cmyk, "JPEG", quality=95, subsampling=0), PHOTO),
        "JPEG with a preview (MPO)": jpeg(
            encode(
                PHOTO, "MPO", save_all=True, append_images=[Image.fromarray(GREY[..., 0])],
                quality=95, subsampling=0,
            ),
            PHOTO,
        ),
        "JPEG of arithmetic coding": jpeg(plain.replace(b"\xff\xc0", b"\xff\xc9", 1), None),
        "JPEG of lossless coding": jpeg(plain.replace(b"\xff\xc0", b"\xff\xc3", 1), ""),
        "JPEG of 12 bits": jpeg(header(2, b"\x0c"), ""),
        "JPEG of 60000 x 60000": jpeg(header(3, b"\xea\x60\xea\x60"), "too large"),
        "JPEG of more rows than it has": jpeg(header(3, b"\x03\x00"), None),
        "JPEG of no rows": jpeg(header(3, b"\0\0"), ""),
        "JPEG of no components": jpeg(header(7, b"\0"), ""),
        "JPEG of five components": jpeg(header(7, b"\x05"), ""),
        "JPEG of 200 components": jpeg(header(7, b"\xc8"), ""),
        "JPEG without its tables": jpeg(plain.replace(b"\xff\xc4", b"\xff\xee"), PHOTO),
        "JPEG of one marker after another": jpeg(b"\xff\xd8" + b"\xff\xe1\0\2" * 100_000, ""),
    }  # fmt: skip


def lying_jpeg_2000(width: int, height: int) -> bytes:
    """A grey codestream whose header claims another size."""
    data = imagecodecs.jpeg2k_encode(GREY[..., 0], codecformat="j2k")
    start = data.index(b"\xff\x4f\xff\x51") + 8
    return data[:start] + struct.pack(">LL", width, height) + data[start + 8 :]


def lying_jpeg(width: int, height: int) -> bytes:
    """A grey JPEG whose header claims another size."""
    data = encode(GREY, "JPEG")
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def tiffs() -> dict[str, Kind]:
    grey = GREY.tobytes()
    deep = PHOTO.astype(np.uint16) * 251
    hole = REAL.copy()
    hole[3, 4, 1] = np.nan
    endless = REAL.copy()
    endless[3, 4, 1] = -np.inf
    deflated = zlib.compress(grey)
    real = REAL.astype(np.float64)
    numbers = np.arange(H * W, dtype=np.int32).reshape(H, W, 1)

    def from_tags(data: bytes, expected: np.ndarray | str | None, **tags: int | list[int]) -> Kind:
        numbered = {int(name[1:]): value for name, value in tags.items()}
        return file(tiff(data, numbered), expected, "x.tif")

    def written(array: np.ndarray, expected: np.ndarray | str | None, **options: object) -> Kind:
        return file(tifffile_bytes(array, **options), expected, "x.tif")

    def pillow(image: Image.Image | np.ndarray, expected: np.ndarray, how: str, loss=0) -> Kind:
        return file(encode(image, "TIFF", compression=how), expected, "x.tif", loss)

    def opencv(array: np.ndarray, expected: np.ndarray, how: int, predictor: int = 2) -> Kind:
        options = (cv2.IMWRITE_TIFF_COMPRESSION, how, cv2.IMWRITE_TIFF_PREDICTOR, predictor)
        return file(opencv_bytes(array, ".tif", *options), expected, "x.tif")

    cmyk = Image.fromarray(np.concatenate([255 - PHOTO, np.zeros_like(GREY)], 2), "CMYK")
    return {
        "TIFF that says 40000 columns": from_tags(grey, "", t256=40_000),
        "TIFF that says 4000000000 columns": from_tags(grey, "too large", t256=4_000_000_000),
        "TIFF of no columns": from_tags(grey, "", t256=0),
        "TIFF of no rows": from_tags(grey, "", t257=0),
        "TIFF of 40000 x 40000 deflated": from_tags(
            deflated, "too large", t256=40_000, t257=40_000, t278=40_000, t259=8
        ),
        "TIFF of 9000 x 9000 deflated, nearly empty": from_tags(
            deflated, "", t256=9000, t257=9000, t278=9000, t259=8
        ),
        "TIFF that inflates beyond its rows": from_tags(
            zlib.compress(bytes(1 << 28), 9), None, t259=8
        ),
        "TIFF with a strip beyond the end": from_tags(grey, "", t273=1 << 30),
        "TIFF with strips of no bytes": from_tags(grey, "", t279=0),
        "TIFF with a strip of 4 GiB": from_tags(grey, "", t279=2**32 - 1),
        "TIFF with more strips than rows": from_tags(grey, "", t273=[122] * 999, t279=[9] * 999),
        "TIFF without strips": from_tags(grey, "", t273=0, t279=0),
        "TIFF with a strip in its header": from_tags(grey, "", t273=0),
        "TIFF of no rows a strip": from_tags(grey, GREY, t278=0),
        "TIFF of 7 bits a sample": from_tags(grey, "7", t258=7),
        "TIFF of 65535 bits a sample": from_tags(grey, "", t258=65_535),
        "TIFF of no samples": from_tags(grey, GREY, t277=0),
        "TIFF of 65535 samples": from_tags(grey, "", t277=65_535),
        "TIFF of an unknown compression": from_tags(grey, "", t259=9999),
        "TIFF of an unknown colour space": from_tags(grey, None, t262=9999),
        "TIFF of an unknown kind of number": from_tags(grey, "", t339=77),
        "TIFF with a predictor of its own": from_tags(grey, None, t317=9),
        "TIFF whose deflate is garbage": from_tags(b"garbage" * 99, "", t259=8),
        "TIFF whose LZW is garbage": from_tags(b"garbage" * 99, "", t259=5),
        "TIFF whose JPEG is garbage": from_tags(b"garbage" * 99, "", t259=7),
        "TIFF whose fax is garbage": from_tags(b"garbage" * 99, None, t259=4, t258=1),
        "TIFF whose JPEG 2000 is garbage": from_tags(b"garbage" * 99, "", t259=34_712),
        "TIFF whose WebP is garbage": from_tags(b"garbage" * 99, "", t259=50_001),
        "TIFF whose PNG is garbage": from_tags(b"garbage" * 99, "", t259=34_933),
        "TIFF whose LERC is garbage": from_tags(b"garbage" * 99, "", t259=34_887),
        "TIFF whose JPEG 2000 claims 60000 x 60000": from_tags(
            lying_jpeg_2000(60_000, 60_000), "not an image of 24x32 pixels", t259=34_712
        ),
        "TIFF whose JPEG claims 60000 x 60000": from_tags(
            lying_jpeg(60_000, 60_000), "not an image of 24x32 pixels", t259=7
        ),
        "TIFF whose Zstandard unpacks to 64 MiB": from_tags(
            imagecodecs.zstd_encode(bytes(1 << 26)), "", t259=50_000
        ),
        "TIFF in JPEG 2000": written(
            PHOTO, PHOTO, photometric="rgb", compression="jpeg2000",
            compressionargs={"reversible": True, "level": 0},
        ),
        "TIFF in WebP": written(
            PHOTO, PHOTO, photometric="rgb", compression="webp", compressionargs={"lossless": True}
        ),
        "TIFF whose JPEG XL is garbage": from_tags(b"garbage" * 99, "", t259=50_002),
        "TIFF without any tag": file(b"II*\0\x08\0\0\0" + bytes(99), "", "x.tif"),
        "TIFF with 65535 tags": file(b"II*\0\x08\0\0\0\xff\xff" + bytes(99), "", "x.tif"),
        "TIFF whose page is beyond its end": file(b"II*\0\0\0\0\x70" + bytes(9), "", "x.tif"),
        "TIFF that leads back to its page": file(tiff(grey, follow=8), "circle", "x.tif"),
        "TIFF of 150 pages in a circle": file(page_chain(150, last=8), "circle", "x.tif"),
        "TIFF of 200000 pages": Kind(
            lambda path: path.write_bytes(page_chain(200_000)), "more than", "x.tif"
        ),
        "TIFF of 2000 pages, one of them odd": Kind(
            lambda path: path.write_bytes(page_chain(2000, odd_page=1)), "2000 pages", "x.tif"
        ),
        "TIFF of two pages as channels": file(
            page_chain(2), np.repeat(GREY, 2, axis=2), "x.tif"
        ),
        "TIFF with its bytes turned": file(tiff(grey, order=">"), GREY, "x.tif"),
        "TIFF of white as zero": from_tags((255 - GREY).tobytes(), GREY, t262=0),
        "TIFF of 1 bit": from_tags(
            np.packbits(BITS, axis=1).tobytes(), BITS[..., None] * np.uint8(255), t258=1
        ),
        "TIFF with EXIF orientation 6": from_tags(grey, GREY.swapaxes(0, 1)[:, ::-1], t274=6),
        "TIFF with EXIF orientation 99": from_tags(grey, GREY, t274=99),
        "BigTIFF": written(PHOTO, PHOTO, bigtiff=True, photometric="rgb"),
        "TIFF big-endian of 16 bits": written(deep, deep, byteorder=">", photometric="rgb"),
        "TIFF in tiles": written(PHOTO, PHOTO, tile=(16, 16), photometric="rgb"),
        "TIFF in tiles, deflated, predicted": written(
            deep, deep, tile=(16, 16), compression="zlib", predictor=True, photometric="rgb"
        ),
        "TIFF in planes": written(
            np.moveaxis(PHOTO, 2, 0), PHOTO, planarconfig="separate", photometric="rgb"
        ),
        "TIFF of fractions": written(REAL, REAL, photometric="rgb"),
        "TIFF of fractions with nan": written(hole, "row 3, column 4", photometric="rgb"),
        "TIFF of fractions with inf": written(endless, "row 3, column 4", photometric="rgb"),
        "TIFF of fractions with opacity": written(
            np.concatenate([REAL, OPACITY], 2).astype(np.float32), REAL,
            photometric="rgb", extrasamples=[2],
        ),
        "TIFF with a palette of one colour": from_tags(
            INDICES.tobytes(), "palette", t262=3, t320=[0, 0, 0]
        ),
        "TIFF without its palette": from_tags(INDICES.tobytes(), "palette", t262=3),
        "TIFF of 64-bit fractions": written(real, real.astype("f4"), photometric="rgb"),
        "TIFF of fractions beyond 32 bits": written(
            np.full((H, W), 1e300), "row 0, column 0"
        ),
        "TIFF of 16-bit fractions": written(
            REAL.astype(np.float16), REAL.astype(np.float16).astype("f4"), photometric="rgb"
        ),
        "TIFF of complex numbers": written(real[..., 0] + 1j, "complex128"),
        "TIFF of signed bytes": written(
            GREY[..., 0].astype(np.int8), GREY.astype(np.int8).astype(np.float32)
        ),
        "TIFF of int32": written(numbers[..., 0] - 9, (numbers - 9).astype(np.float32)),
        "TIFF of uint32": written(
            numbers[..., 0].astype(np.uint32) << 20, (numbers.astype(np.float32) * 2.0**20)
        ),
        "TIFF of uint64": written(numbers[..., 0].astype(np.uint64), numbers.astype(np.float32)),
        "TIFF of a million labels": written(
            np.arange(1_000_000, dtype=np.uint32).reshape(1000, 1000),
            np.arange(1_000_000, dtype=np.float32).reshape(1000, 1000, 1),
        ),
        "TIFF of seven channels": written(
            np.stack([GREY[..., 0]] * 7), np.repeat(GREY, 7, axis=2), metadata={"axes": "CYX"}
        ),
        "TIFF of 300 pages": written(np.stack([GREY[..., 0]] * 300), "300 pages"),
        "TIFF with lying OME metadata": written(
            GREY[..., 0], None, description="<?xml version='1.0'?><OME><Image><Pixels SizeC='99' "
            "SizeX='7' SizeY='0' DimensionOrder='XYCZT' Type='uint8'/></Image></OME>",
        ),
        "TIFF with lying ImageJ metadata": written(
            GREY[..., 0], None, description="ImageJ=1.53\nimages=999999999\nslices=999999999\n"
        ),
        "TIFF whose OME metadata claim 10**10 pages": written(
            GREY[..., 0], "10,000,000,000 planes", description=OME_OF_MANY, metadata=None
        ),
        "TIFF whose shape claims 10**8 pages": written(
            GREY[..., 0], "more than", description='{"shape": [100000000, 24, 32]}', metadata=None
        ),
        "TIFF of ImageJ, cut": file(
            tifffile_bytes(np.stack([GREY[..., 0]] * 3), imagej=True)[:-99], "", "x.tif"
        ),
        "TIFF with a lying shape": written(
            GREY[..., 0], None, description='{"shape": [99999, 99999, 99999]}', metadata=None
        ),
        "TIFF with palette": pillow(palette_image(), COLOURS[INDICES[..., 0]], "raw"),
        "TIFF of CMYK": pillow(cmyk, PHOTO, "raw"),
        "TIFF in LZW": pillow(PHOTO, PHOTO, "tiff_lzw"),
        "TIFF in PackBits": pillow(PHOTO, PHOTO, "packbits"),
        "TIFF deflated by Pillow": pillow(PHOTO, PHOTO, "tiff_adobe_deflate"),
        "TIFF in JPEG": pillow(PHOTO, PHOTO, "jpeg", 40),
        "TIFF as fax": pillow(Image.fromarray(BITS), BITS[..., None] * np.uint8(255), "group4"),
        "TIFF in LZW of 16 bits": opencv(deep, deep, 5),
        "TIFF deflated of 16 bits by OpenCV": opencv(deep, deep, 8),
        "TIFF in LZW of fractions": opencv(REAL, REAL, 5),
        "TIFF deflated of fractions, predicted": opencv(REAL, REAL, 8, 3),
        "TIFF in LZW of 16 bits, cut": file(
            opencv_bytes(deep, ".tif", cv2.IMWRITE_TIFF_COMPRESSION, 5)[:-400], "", "x.tif"
        ),
        "TIFF with opacity": written(
            np.concatenate([PHOTO, OPACITY], 2), PHOTO, photometric="rgb", extrasamples=[2]
        ),
    }  # fmt: skip


def names() -> dict[str, Kind]:
    whole, letters = PLAIN["PNG"], "Zu\u0308rich caf\u00e9"
    kinds = {
        "with spaces": " two  spaces .png",
        "with quotes": 'it\'s "so" `called`.png',
        "of composed letters": unicodedata.normalize("NFC", letters) + ".png",
        "of decomposed letters": unicodedata.normalize("NFD", letters) + ".png",
        "of other scripts": "\u7532\u72ac \U0001f408 \u202e.png",
        "with a line break": "two\nlines.png",
        "with signs of a terminal": "\x1b[31mred\a.png",
        "with signs of formats and patterns": "%s {0} [1-9]*?.png",
        "with a leading dash": "-rf.png",
        "of 250 bytes": "n" * 246 + ".png",
        "that is not UTF-8": os.fsdecode(b"\xff\xfe.png"),
        "without an ending": "image",
    }
    found = {f"name {what}": file(whole, PHOTO, name) for what, name in kinds.items()}
    for what in ("with a line break", "that is not UTF-8", "with quotes"):
        found[f"damaged, name {what}"] = file(whole[:99], "", kinds[what])
    return found


def places() -> dict[str, Kind]:
    """What has a file's name and is none."""

    def circle(path: Path) -> None:
        path.symlink_to(path.with_name("y.png"))
        path.with_name("y.png").symlink_to(path)

    def linked(path: Path) -> None:
        path.with_name("real.png").write_bytes(PLAIN["PNG"])
        path.symlink_to("real.png")

    def locked(path: Path) -> None:
        path.write_bytes(PLAIN["PNG"])
        path.chmod(0)

    no = "is no file"
    return {
        "absent file": Kind(lambda path: None, "does not exist"),
        "link to nothing": Kind(lambda path: path.symlink_to("nowhere.png"), "does not exist"),
        "links in a circle": Kind(circle, "cannot be opened"),
        "link to an image": Kind(linked, PHOTO),
        "folder": Kind(lambda path: path.mkdir(), no),
        "pipe": Kind(lambda path: os.mkfifo(path), no),
        "link to an endless device": Kind(lambda path: path.symlink_to("/dev/zero"), no),
        "a name that is a path through a file": Kind(
            lambda path: path.parent.rmdir() or path.parent.write_bytes(b""), "cannot be opened"
        ),
        "file without permissions": Kind(
            locked, PHOTO if os.geteuid() == 0 else "Permission denied"
        ),
    }


KINDS: dict[str, Kind] = {
    **truncated(), **strangers(), **pngs(), **jpegs(), **tiffs(), **names(), **places()
}  # fmt: skip


class TooSlowError(BaseException):
    """Not an Exception, so that no reader takes it for the file's fault."""


def examine(kind: Kind, folder: Path) -> dict[str, str]:
    """Puts one kind before every reader.

    Returns:
        "read", "refused: ..." or what is wrong, by the reader's name.
    """
    path, partner = folder / "inside" / kind.name, folder / "partner.png"
    path.parent.mkdir()
    Image.fromarray(PHOTO).save(partner)
    kind.write(path)
    readers: dict[str, Callable[[], object]] = {
        "image": lambda: compare(kind, path),
        "first page": lambda: pixels_of(read_file(path, 0), str(path)),
        "count": lambda: count_images(path),
        "colour": lambda: check_image(read_image(path, PixelFormat(3)), 3),
        "grey of 16 bits": lambda: check_image(
            read_image(path, PixelFormat(1, "uint16", (0.0,), (65535.0,))), 1
        ),
        "channels first": lambda: read_image(path, PixelFormat(3, channel_axis="first")),
        "mask": lambda: read_raw_mask(path),
        "image of a pair": lambda: compute_pair_statistics(Pair("x", path, partner)).problem,
        "mask of a pair": lambda: compute_pair_statistics(Pair("x", partner, path)).problem,
    }
    return {name: attempt(reader, path) for name, reader in readers.items()}


def read_file(path: Path, page: int | None = None, channel_axis: str = "auto") -> DecodedImage:
    """Opens a file, and decodes an image of it."""
    with ImageFile(path, channel_axis) as opened:
        return opened.read(page)


def count_images(path: Path, channel_axis: str = "auto") -> int:
    """Opens a file, and counts its images."""
    with ImageFile(path, channel_axis) as opened:
        return opened.count


def attempt(reader: Callable[[], object], path: Path) -> str:
    started = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        found = reader()
        outcome = f"refused: {found}" if isinstance(found, str) and found else "read"
    except UnetkitError as error:
        outcome = f"refused: {error}"
    except BaseException as error:
        outcome = f"raised {type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if outcome.startswith("refused") and str(path) not in outcome:
        return f"does not name the file: {outcome}"
    taken = time.perf_counter() - started
    return outcome if taken < SECONDS else f"took {taken:.0f} s: {outcome}"


def compare(kind: Kind, path: Path) -> None:
    image = read_file(path)
    pixels = pixels_of(image, str(path))
    if image.palette is not None and isinstance(kind.expected, np.ndarray):
        assert (image.bands == INDICES).all(), "other indices"
    if isinstance(kind.expected, np.ndarray):
        assert pixels.dtype == kind.expected.dtype, f"{pixels.dtype} pixels"
        assert pixels.shape == kind.expected.shape, f"shape {pixels.shape}"
        difference = np.abs(pixels.astype(np.float64) - kind.expected).max()
        assert difference <= kind.tolerance, f"other pixels, by up to {difference}"


def check_image(image: np.ndarray, channels: int) -> None:
    assert image.ndim == 3, image.shape
    assert image.shape[2] == channels, image.shape
    assert image.size, image.shape


def peak_mib() -> int:
    """Most memory that this process has held; `ru_maxrss` counts that of the one it came from."""
    import resource

    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def examine_all(report: Path) -> None:
    """Examines every kind within bounded memory and writes outcomes and noise as JSON."""
    import resource

    def ring(*_: object) -> None:
        raise TooSlowError(f"took {SECONDS} s")

    signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # The command line leaves it out as well; the readers refuse such images by themselves.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    outcomes: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        for name, kind in KINDS.items():
            before, started = os.fstat(2).st_size, time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                found = examine(kind, Path(folder))
            sys.stderr.flush()
            found["noise"] = os.pread(2, 2000, before).decode(errors="replace")
            found["seconds"] = f"{time.perf_counter() - started:.2f}"
            outcomes[name] = found
    outcomes[""] = {"memory": str(peak_mib())}
    report.write_text(json.dumps(outcomes))


def main() -> None:
    """Prints kinds and outcomes as a Markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        if not os.fork():
            examine_all(report)
            os._exit(0)
        os.wait()
        outcomes = json.loads(report.read_text())
    lines = [f"| kind ({len(KINDS)}) | outcome |", "| --- | --- |"]
    for name in KINDS:
        outcome = " ".join(outcomes[name]["image"].split()).replace("|", " ")
        reason = outcome[outcome.rfind("inside/") :] if outcome != "read" else ""
        lines.append(f"| {name} | {outcome.split(':')[0]} {reason:.90} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        examine_all(Path(sys.argv[1]))
    else:
        main()
