"""The structure of a TIFF: whatever lies beyond the end of the file is refused."""

from io import BytesIO

import numpy as np
import pytest
import tifffile

from tests import hostile
from tests.hostile import page_chain
from tests.io.tiff.reading import count_frames, read_frame
from unetkit.errors import DataError
from unetkit.io.tiff.file_bytes import OpenFile
from unetkit.io.tiff.structure import require_whole_structure

RNG = np.random.default_rng(5)
STACK = RNG.integers(0, 256, (10, 24, 32), np.uint8)
DEEP = RNG.integers(0, 9, (10, 24, 32), np.uint16)


def stack(**options):
    stream = BytesIO()
    tifffile.imwrite(stream, options.pop("array", STACK), **{"photometric": "minisblack"} | options)
    return stream.getvalue()


def stack_in_turn():
    """Ten pages that are written one after another, each with its pixels."""
    stream = BytesIO()
    with tifffile.TiffWriter(stream) as tif:
        for page in STACK:
            tif.write(page, photometric="minisblack", compression="zlib", metadata=None)
    return stream.getvalue()


STACKS = {
    "pages in turn": stack_in_turn(),
    "deflated": stack(compression="zlib"),
    "big-endian": stack(byteorder=">", compression="zlib"),
    "BigTIFF": stack(bigtiff=True, compression="zlib"),
    "OME": stack(array=DEEP, ome=True, metadata={"axes": "ZYX"}, compression="zlib"),
    "OME of channels": stack(array=DEEP[:3], ome=True, metadata={"axes": "CYX"}),
    "ImageJ": stack(array=DEEP, imagej=True),
    "pyramid": stack(array=STACK[0], tile=(16, 16)),
}


def lay(folder, content):
    (folder / "x.tif").write_bytes(content)
    return folder / "x.tif"


def require(path, most=100):
    file = OpenFile(path)
    try:
        require_whole_structure(file, most)
    finally:
        file.close()


class TestWhole:
    @pytest.mark.parametrize("name", STACKS)
    def test_undamaged_files_pass(self, name, tmp_path):
        require(lay(tmp_path, STACKS[name]))

    def test_circles_and_long_chains_end(self, tmp_path):
        require(lay(tmp_path, page_chain(150, last=8)), most=1000)
        require(lay(tmp_path, page_chain(150)), most=10)

    def test_a_tag_of_an_unknown_type_is_skipped(self, tmp_path):
        content = bytearray(hostile.tiff(hostile.GREY.tobytes(), {65_000: 7}))
        place = content.index((65_000).to_bytes(2, "little"))
        content[place + 2 : place + 8] = b"\x63\0\xff\xff\xff\xff"  # 4,294,967,295 of type 99
        require(lay(tmp_path, bytes(content)))


class TestCut:
    @pytest.mark.parametrize("name", STACKS)
    def test_wherever_a_file_is_cut_it_is_refused(self, name, tmp_path):
        content = STACKS[name]
        for size in np.linspace(16, len(content) * 0.98, 40).astype(int):
            path = lay(tmp_path, content[:size])
            with pytest.raises(DataError, match=r"x\.tif (cannot be read whole|holds no image)"):
                count_frames(path)

    def test_ten_pages_cut_in_half(self, tmp_path):
        content = STACKS["pages in turn"]
        path = lay(tmp_path, content[: len(content) // 2])
        with pytest.raises(DataError, match=r"x\.tif cannot be read whole \(.* of page \d .*"):
            count_frames(path)

    @pytest.mark.parametrize(
        ("kind", "content"),
        [
            ("imagej", stack(array=DEEP, imagej=True)),
            ("shaped", stack(array=DEEP, contiguous=True, metadata={"axes": "ZYX"})),
        ],
    )
    def test_a_stack_of_one_page_that_describes_the_others(self, kind, content, tmp_path):
        """As ImageJ writes them; the chain ends after the first page, whatever is cut off."""
        content = bytearray(content)
        with tifffile.TiffFile(BytesIO(bytes(content))) as tif:
            start, tags = tif.pages[0].offset, len(tif.pages[0].tags)
        place = start + 2 + 12 * tags
        content[place : place + 4] = bytes(4)
        assert count_frames(lay(tmp_path, content)) == (1 if kind == "imagej" else 10)
        path = lay(tmp_path, content[: len(content) // 2])
        message = "it does not hold all images that its description names"
        with pytest.raises(DataError, match=message):
            count_frames(path)

    def test_a_page_beyond_the_end_is_named(self, tmp_path):
        path = lay(tmp_path, hostile.tiff(hostile.GREY.tobytes(), follow=5000))
        with pytest.raises(
            OSError, match=r"^bytes 5,000 to 5,002 of page 1 are not among its 890$"
        ):
            require(path)

    def test_a_sub_page_beyond_the_end_is_named(self, tmp_path):
        path = lay(tmp_path, hostile.tiff(hostile.GREY.tobytes(), {330: 5000}))
        with pytest.raises(OSError, match=r"^bytes 5,000 to 5,002 of sub-page 0 are not among"):
            require(path)

    def test_a_tag_beyond_the_end_is_named(self, tmp_path):
        content = bytearray(hostile.tiff(hostile.GREY.tobytes(), {320: [1, 2, 3]}))
        place = content.index((320).to_bytes(2, "little") + b"\4\0")
        content[place + 8 : place + 12] = (9000).to_bytes(4, "little")
        with pytest.raises(OSError, match=r"^bytes 9,000 to 9,012 of tag 320 of page 0 are not"):
            require(lay(tmp_path, bytes(content)))

    @pytest.mark.parametrize("start", [700, 10_000, 2**32 - 1])
    def test_strips_beyond_the_end_are_named(self, start, tmp_path):
        path = lay(tmp_path, hostile.tiff(hostile.GREY.tobytes(), {273: start}))
        message = r"^1 of 1 strips or tiles of page 0 are not among its 890 bytes$"
        with pytest.raises(OSError, match=message):
            require(path)

    @pytest.mark.parametrize(("rows", "needed"), [(24, 2), (12, 1), (0, 1)])
    def test_more_strips_than_needed(self, rows, needed, tmp_path):
        """Of a height with a flipped bit: 24 rows in strips of 12 need two."""
        tags = {257: rows or 24, 278: 0 if rows == 0 else 12, 273: [-1] * 3, 279: [384] * 3}
        path = lay(tmp_path, hostile.tiff(bytes(768), tags))
        message = rf"^page 0 has 3 strips or tiles, {needed} needed$"
        with pytest.raises(OSError, match=message):
            require(path)

    def test_strips_of_no_bytes_are_missing_on_purpose(self, tmp_path):
        """As GDAL leaves out strips without data; whoever reads them is told."""
        path = lay(tmp_path, hostile.tiff(bytes(384), {278: 12, 273: [-1, 0], 279: [384, 0]}))
        require(path)
        with pytest.raises(DataError, match="1 of 2 strips or tiles are not among its"):
            read_frame(path, None)

    @pytest.mark.parametrize("count", [0, 5000])
    def test_a_strange_number_of_tags(self, count, tmp_path):
        path = lay(tmp_path, b"II*\0\x08\0\0\0" + count.to_bytes(2, "little") + bytes(99))
        with pytest.raises(OSError, match=rf"^page 0 has {count:,} tags$"):
            require(path)
