"""Parts of images: blocks of every format, their memory, and what has no data in them."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit.io import parts
from unetkit.io.images import ImageFile
from unetkit.io.parts import Block, forget_images, read_part, read_with_missing, size_of
from unetkit.io.pixel_format import PixelFormat

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
FLOATS = PixelFormat(1, "float32", (0.0,), (255.0,))
BLOCK = Block(10, 25, 20, 30, (40, 60), 20, 5)


@pytest.fixture(autouse=True)
def nothing_kept():
    yield
    forget_images()


def write(path):
    if path.suffix == ".tif":
        tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(16, 16), compression="zlib")
    else:
        Image.fromarray(PIXELS).save(path)
    return path


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.bmp"])
def test_a_block_is_a_window_of_the_whole(tmp_path, name):
    with ImageFile(write(tmp_path / name)) as file:
        assert np.array_equal(read_part(file, None, BLOCK).bands, PIXELS[10:30, 25:55])
        assert np.array_equal(read_part(file).bands, PIXELS)
        assert size_of(file) == (40, 60)


def test_opacity_is_cut_with_the_pixels(tmp_path):
    alpha = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60)
    Image.fromarray(np.dstack([PIXELS, alpha])).save(tmp_path / "a.png")
    with ImageFile(tmp_path / "a.png") as file:
        assert np.array_equal(read_part(file, None, BLOCK).alpha, alpha[10:30, 25:55])


def test_an_image_is_decoded_once_for_all_of_its_blocks(tmp_path, monkeypatch):
    reads = []
    read = ImageFile.read
    monkeypatch.setattr(ImageFile, "read", lambda *a, **k: reads.append(1) or read(*a, **k))
    path = write(tmp_path / "a.png")
    for _ in range(3):
        with ImageFile(path) as file:
            read_part(file, None, BLOCK)
    assert len(reads) == 1
    assert len(parts._kept) == 1
    forget_images()
    assert not parts._kept


def test_a_block_of_a_tiff_decodes_only_its_tiles(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        first = tif.pages[0].dataoffsets[0]
    content[first : first + 8] = bytes(8)  # damages the tile of the upper left corner alone
    path.write_bytes(content)
    with ImageFile(path) as file:
        block = Block(16, 32, 16, 16, (40, 60), 16, 0)
        assert np.array_equal(read_part(file, None, block).bands, PIXELS[16:32, 32:48])


def test_what_has_no_data_is_that_of_the_block(tmp_path):
    values = PIXELS[..., 0].astype(np.float32)
    values[12, 30] = np.nan
    tag = (42113, "s", 0, "nan", True)
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[tag])
    with ImageFile(tmp_path / "a.tif") as file:
        image, missing = read_with_missing(
            file, PixelFormat(1, "float32", (0.0,), (255.0,)), None, BLOCK
        )
    assert image.shape == (20, 30, 1)
    assert np.argwhere(missing).tolist() == [[2, 5]]


def test_a_number_in_which_zero_is_white_is_kept_in_masks(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[12, 30] = 1
    tifffile.imwrite(tmp_path / "m.tif", mask, photometric="miniswhite")
    with ImageFile(tmp_path / "m.tif") as file:
        assert read_part(file, None, BLOCK, as_stored=True).bands[2, 5, 0] == 1
        assert read_part(file, None, BLOCK).bands[2, 5, 0] == 254
