"""TIFF files of every inner form, against arrays; and which pages and axes are what."""

import os
import struct
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from tests import hostile
from tests.hostile import read_file
from tests.io.tiff.reading import count_frames, read_frame
from unetkit.errors import DataError, DataNotFoundError
from unetkit.io.tiff import pages as tiff
from unetkit.io.tiff import reader

SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3}
COMPRESSIONS = {"none": 1, "LZW": 5, "deflate": 8, "old deflate": 32946, "PackBits": 32773}
PILLOW_NAMES = {5: "tiff_lzw", 32773: "packbits"}
RNG = np.random.default_rng(7)
LARGE = RNG.integers(0, 256, (40, 50), np.uint8)  # larger than what could be channels


def packed(raw: bytes, compression: int) -> bytes:
    """A strip of bytes; those that Pillow packs are taken from a grey image of one row."""
    if compression in (8, 32946):
        return hostile.zlib.compress(raw)
    if compression == 1:
        return raw
    file = hostile.encode(
        Image.frombytes("L", (len(raw), 1), raw), "TIFF", compression=PILLOW_NAMES[compression]
    )
    tags = Image.open(BytesIO(file)).tag_v2
    return file[tags[273][0] : tags[273][0] + tags[279][0]]


def predicted(block: np.ndarray, predictor: int, order: str) -> bytes:
    """Bytes of (rows, columns, depth) numbers as differences along the rows."""
    width = block.dtype.itemsize
    if predictor == 2:
        whole = block.view(f"u{width}")
        steps = np.diff(whole, axis=1, prepend=np.zeros_like(whole[:, :1]))
        return steps.astype(f"{order}u{width}").tobytes()
    if predictor == 3:  # the most significant bytes of a row first, then the next ones
        planes = block.astype(block.dtype.newbyteorder(">")).reshape(len(block), -1, 1)
        planes = planes.view(np.uint8).reshape(len(block), -1, width).swapaxes(1, 2)
        rows = planes.reshape(len(block), -1, block.shape[2])
        return np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1])).tobytes()
    return block.astype(block.dtype.newbyteorder(order)).tobytes()


def written(array, compression=1, predictor=1, planar=False, tiled=False, order="<", rows=4):
    """A TIFF of an (H, W, C) array, put together from the description of the format."""
    height, width, channels = array.shape
    planes = np.split(array, channels, axis=2) if planar else [array]
    parts = []
    for plane in planes:
        if tiled:
            edges = ((0, -height % 16), (0, -width % 16), (0, 0))
            padded = np.pad(plane, edges, mode="edge")
            blocks = [
                padded[i : i + 16, j : j + 16]
                for i in range(0, height, 16)
                for j in range(0, width, 16)
            ]
        else:
            blocks = [plane[i : i + rows] for i in range(0, height, rows)]
        parts += [packed(predicted(b, predictor, order), compression) for b in blocks]
    counts = [len(part) for part in parts]
    starts = [-1 - sum(counts[:i]) for i in range(len(counts))]
    tags = {
        256: width, 257: height, 258: [array.dtype.itemsize * 8] * channels, 259: compression,
        277: channels, 284: 2 if planar else 1, 317: predictor,
        338: [0] * (channels - 1) or None, 339: [SAMPLE_FORMATS[array.dtype.kind]] * channels,
    }  # fmt: skip
    if tiled:
        tags |= {322: 16, 323: 16, 324: starts, 325: counts, 273: None, 278: None, 279: None}
    else:
        tags |= {273: starts, 278: rows, 279: counts}
    return hostile.tiff(b"".join(parts), tags, order)


@st.composite
def numbers(draw):
    dtype = draw(st.sampled_from(("u1", "u2", "u4", "u8", "i1", "i2", "i4", "f2", "f4", "f8")))
    shape = draw(st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 5)))
    return draw(arrays.arrays(dtype, shape))


class TestForms:
    @settings(derandomize=True, max_examples=300)
    @given(
        array=numbers(),
        compression=st.sampled_from(sorted(COMPRESSIONS.values())),
        predictor=st.sampled_from((1, 2, 3)),
        planar=st.booleans(),
        tiled=st.booleans(),
        order=st.sampled_from("<>"),
        rows=st.integers(1, 9),
    )
    def test_every_form_gives_back_the_array(
        self, tmp_path_factory, array, compression, predictor, planar, tiled, order, rows
    ):
        if compression == 1 or (predictor == 3 and array.dtype.kind != "f"):
            predictor = 1
        path = tmp_path_factory.getbasetemp() / "form.tif"
        path.write_bytes(written(array, compression, predictor, planar, tiled, order, rows))
        found = read_frame(path, None).array
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()

    @pytest.mark.parametrize("how", ["zstd", "lzma", "tiff_adobe_deflate", "tiff_deflate"])
    def test_what_pillow_packs(self, how, tmp_path):
        path = tmp_path / "x.tif"
        path.write_bytes(hostile.encode(hostile.PHOTO, "TIFF", compression=how))
        assert np.array_equal(read_frame(path, 0).array, hostile.PHOTO)

    @pytest.mark.parametrize("bits", [2, 4])
    @pytest.mark.parametrize("compression", [1, 5])
    def test_few_bits_are_coarse_steps_from_black_to_white(self, bits, compression, tmp_path):
        values = np.arange(8, dtype=np.uint8).reshape(2, 4) % 2**bits
        row_bits = ["".join(f"{v:0{bits}b}" for v in row) for row in values]
        raw = b"".join(int(row, 2).to_bytes(4 * bits // 8, "big") for row in row_bits)
        tags = {256: 4, 257: 2, 258: bits, 259: compression}
        path = tmp_path / "x.tif"
        path.write_bytes(hostile.tiff(packed(raw, compression), tags | {278: 2}))
        white = 255 // (2**bits - 1)  # 85 or 17
        assert np.array_equal(read_frame(path, 0).array[..., 0], values * white)
        # Indices of a palette are none.
        colours = [257 * i for i in range(2**bits)] * 3
        data = packed(raw, compression)
        path.write_bytes(hostile.tiff(data, tags | {278: 2, 262: 3, 320: colours}))
        assert np.array_equal(read_frame(path, 0).array[..., 0], values)

    @pytest.mark.parametrize("compression", COMPRESSIONS.values(), ids=COMPRESSIONS)
    def test_white_is_zero_in_every_compression(self, compression, tmp_path):
        path = tmp_path / "x.tif"
        for dtype, most in (("u1", 255), ("u2", 65535)):
            data = packed(np.array([[0, 1, most]], dtype).tobytes(), compression)
            tags = {256: 3, 257: 1, 258: 8 * int(dtype[1]), 259: compression, 262: 0, 278: 1}
            path.write_bytes(hostile.tiff(data, tags | {279: len(data)}))
            assert read_frame(path, 0).array.ravel().tolist() == [most, most - 1, 0]

    def test_a_palette_of_two_colours(self, tmp_path):
        tags = {256: 8, 257: 1, 258: 1, 262: 3, 320: [0, 65535, 0, 256, 0, 0], 278: 1}
        (tmp_path / "x.tif").write_bytes(hostile.tiff(b"\x55", tags))
        frame = read_frame(tmp_path / "x.tif", 0)
        assert frame.array.ravel().tolist() == [0, 1] * 4
        assert frame.palette.tolist() == [[0, 0, 0], [255, 1, 0]]

    @pytest.mark.parametrize("compression", [1, 5, 8])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation_applies_once(self, orientation, compression, tmp_path):
        data = packed(hostile.GREY.tobytes(), compression)
        tags = {259: compression, 274: orientation, 279: len(data)}
        (tmp_path / "x.tif").write_bytes(hostile.tiff(data, tags))
        frame = read_frame(tmp_path / "x.tif", 0)
        assert frame.orientation == orientation
        assert np.array_equal(frame.array, tiff.turn(hostile.GREY, orientation))

    def test_only_jpeg_and_its_like_are_lossy(self, tmp_path):
        path = tmp_path / "x.tif"
        for how, lossy in (("jpeg", True), ("tiff_lzw", False), ("raw", False)):
            path.write_bytes(hostile.encode(hostile.PHOTO, "TIFF", compression=how))
            assert read_frame(path, 0).is_lossy is lossy


class TestOpacity:
    @pytest.mark.parametrize("compression", [1, 5, 8])
    @pytest.mark.parametrize(
        ("channels", "photometric", "extra", "has_alpha"),
        [
            (4, 2, [2], True),
            (4, 2, [1], True),
            (4, 2, None, True),  # a fourth colour there is not
            (4, 2, [0], False),  # says that it is something else, as infrared is
            (2, 1, [2], True),
            (2, 1, [0], False),
            (2, 1, None, False),
            (5, 2, [0, 2], False),
            (3, 2, None, False),
            (1, 1, None, False),
        ],
    )
    def test_opacity_is_what_is_called_so(
        self, channels, photometric, extra, has_alpha, compression, tmp_path
    ):
        array = RNG.integers(0, 256, (24, 32, channels), np.uint8)
        data = packed(array.tobytes(), compression)
        tags = {258: [8] * channels, 259: compression, 262: photometric, 277: channels, 338: extra}
        (tmp_path / "x.tif").write_bytes(hostile.tiff(data, tags | {279: len(data)}))
        frame = read_frame(tmp_path / "x.tif", None)
        assert frame.has_alpha is has_alpha
        assert np.array_equal(frame.array, array)

    @pytest.mark.parametrize("axis", ["first", "last"])
    def test_it_is_a_channel_where_people_say_where_channels_are(self, axis, tmp_path):
        array = RNG.integers(0, 256, (24, 32, 4), np.uint8)
        path = tmp_path / "x.tif"
        tifffile.imwrite(path, array, photometric="rgb")  # calls infrared opacity
        assert read_file(path).alpha is not None
        image = read_file(path, None, axis)
        assert image.alpha is None
        assert np.array_equal(image.bands, array)

    def test_it_is_split_off(self, tmp_path):
        array = RNG.integers(0, 256, (24, 32, 4), np.uint8)
        path = tmp_path / "x.tif"
        tifffile.imwrite(path, array, photometric="rgb", extrasamples=[2])
        image = read_file(path)
        assert np.array_equal(image.bands, array[..., :3])
        assert np.array_equal(image.alpha, array[..., 3])


def write_stack(path, *pages):
    with tifffile.TiffWriter(path) as tif:
        for page in pages:
            tif.write(page, contiguous=False, metadata=None)
    return path


class TestStacks:
    """What is remembered of a stack from one page to the next."""

    @pytest.fixture(autouse=True)
    def listings(self, monkeypatch):
        """The files whose pages were listed."""
        tiff.forget_stacks()
        found = []
        whole = tiff._list_images

        def listed(tif, path, axis):
            found.append(path.name)
            return whole(tif, path, axis)

        monkeypatch.setattr(tiff, "_list_images", listed)
        yield found
        tiff.forget_stacks()

    def test_its_pages_are_listed_once(self, listings, tmp_path):
        path = write_stack(tmp_path / "x.tif", *(LARGE + i for i in range(9)))
        assert count_frames(path) == 9
        for i in (3, 0, 8, 3):
            assert np.array_equal(read_frame(path, i).array[..., 0], LARGE + i)
        assert listings == ["x.tif"]

    def test_each_understanding_of_its_axes_is_another(self, tmp_path):
        path = write_stack(tmp_path / "x.tif", *(LARGE + i for i in range(5)))
        for _ in range(2):
            assert count_frames(path) == 5
            assert count_frames(path, "first") == 1
            assert read_frame(path, None).array.shape == (40, 50, 5)

    def test_a_changed_file_is_read_anew(self, listings, tmp_path):
        path = write_stack(tmp_path / "x.tif", LARGE, LARGE + 1)
        assert np.array_equal(read_frame(path, 1).array[..., 0], LARGE + 1)
        write_stack(tmp_path / "new.tif", LARGE + 5, LARGE + 6, LARGE + 7)
        (tmp_path / "new.tif").replace(path)
        assert np.array_equal(read_frame(path, 1).array[..., 0], LARGE + 6)
        assert count_frames(path) == 3
        assert listings == ["x.tif"] * 2

    def test_a_file_that_is_gone_is_told(self, tmp_path):
        path = write_stack(tmp_path / "x.tif", LARGE, LARGE)
        read_frame(path, 0)
        path.unlink()
        with pytest.raises(DataNotFoundError, match=r"x\.tif does not exist any more"):
            read_frame(path, 1)

    def test_no_file_stays_open(self, tmp_path):
        path = write_stack(tmp_path / "x.tif", LARGE, LARGE)
        read_frame(path, 1)
        with pytest.raises(DataError, match="has no page 7"):
            read_frame(path, 7)
        count_frames(path)
        assert all(pages.file.is_closed for pages in tiff._stacks)
        folder = Path("/proc/self/fd")
        if folder.is_dir():
            assert str(path) not in [os.path.realpath(link) for link in folder.iterdir()]

    def test_few_are_remembered_and_single_images_not(self, tmp_path):
        for i in range(tiff.KEPT_STACKS + 3):
            read_frame(write_stack(tmp_path / f"{i}.tif", LARGE, LARGE), 1)
            read_frame(write_stack(tmp_path / f"single_{i}.tif", LARGE), 0)
        assert [file.key[0].name for file in tiff._stacks] == [
            f"{i}.tif" for i in range(3, tiff.KEPT_STACKS + 3)
        ]
        tiff.forget_stacks()
        assert not tiff._stacks

    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_threads_do_not_get_in_each_other_s_way(self, compression, listings, tmp_path):
        path = tmp_path / "x.tif"
        with tifffile.TiffWriter(path) as tif:
            for i in range(60):
                tif.write(LARGE + np.uint8(i), contiguous=False, compression=compression)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda i: read_frame(path, i % 60).array, range(240)))
        for i, array in enumerate(found):
            assert np.array_equal(array[..., 0], LARGE + np.uint8(i % 60))
        assert len(listings) <= 4


class TestAxes:
    def save(self, folder, array, **options):
        tifffile.imwrite(folder / "x.tif", array, **options)
        return folder / "x.tif"

    def read(self, path, axis="auto"):
        """Every image of a file, as its shape and as arrays."""
        return [read_frame(path, i, axis).array for i in range(count_frames(path, axis))]

    def test_pages_are_many_images(self, tmp_path):
        stack = np.stack([LARGE + i for i in range(3)])
        path = self.save(tmp_path, stack, photometric="minisblack")
        assert np.array_equal(self.read(path), stack[..., None])
        assert read_frame(path, 2).frames == 3

    def test_pages_are_channels_where_one_image_is_wanted(self, tmp_path):
        stack = np.stack([LARGE + i for i in range(3)])
        path = self.save(tmp_path, stack, photometric="minisblack")
        frame = read_frame(path, None)
        assert np.array_equal(frame.array, np.moveaxis(stack, 0, -1))
        assert frame.frames == 1

    def test_pages_are_channels_where_people_say_so(self, tmp_path):
        stack = np.stack([LARGE + i for i in range(5)])
        path = self.save(tmp_path, stack, photometric="minisblack")
        assert np.array_equal(self.read(path, "first"), [np.moveaxis(stack, 0, -1)])

    def test_a_short_last_axis_is_channels(self, tmp_path):
        array = np.stack([LARGE + i for i in range(5)], 2)
        path = self.save(tmp_path, array, photometric="minisblack")
        assert np.array_equal(self.read(path), [array])
        assert np.array_equal(read_frame(path, None).array, array)

    @pytest.mark.parametrize("shape", [(40, 50, 17), (31, 50, 5), (40, 31, 5)])
    def test_a_last_axis_that_may_be_columns_is_channels_only_if_people_say_so(
        self, shape, tmp_path
    ):
        array = RNG.integers(0, 256, shape, np.uint8)
        path = self.save(tmp_path, array, photometric="minisblack")
        assert count_frames(path) == shape[0]
        assert np.array_equal(self.read(path, "last"), [array])

    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_a_last_axis_on_pages_of_their_own(self, compression, tmp_path):
        array = np.stack([LARGE + i for i in range(5)], 2)
        with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
            for row in array:
                writer.write(row, compression=compression, metadata=None, contiguous=False)
        assert np.array_equal(self.read(tmp_path / "x.tif"), [array])

    @pytest.mark.parametrize("channels", [2, 5])
    @pytest.mark.parametrize("planar", ["contig", "separate"])
    def test_samples_of_a_pixel_are_channels(self, channels, planar, tmp_path):
        array = np.stack([LARGE + i for i in range(channels)], 2)
        shaped = array if planar == "contig" else np.moveaxis(array, 2, 0)
        path = self.save(tmp_path, shaped, photometric="minisblack", planarconfig=planar)
        assert np.array_equal(self.read(path), [array])

    def test_colours_on_pages_stay_colours(self, tmp_path):
        stack = RNG.integers(0, 256, (3, 40, 50, 3), np.uint8)
        path = self.save(tmp_path, stack, photometric="rgb")
        assert np.array_equal(self.read(path), stack)

    @pytest.mark.parametrize(("axes", "images"), [("CYX", 1), ("TYX", 3), ("ZYX", 3)])
    @pytest.mark.parametrize("kind", ["ome", "imagej"])
    def test_an_axis_called_c_is_channels(self, axes, images, kind, tmp_path):
        stack = np.stack([LARGE + i for i in range(3)])
        path = self.save(tmp_path, stack, metadata={"axes": axes}, **{kind: True})
        found = self.read(path)
        assert len(found) == images
        assert np.array_equal(np.concatenate(found, axis=2), np.moveaxis(stack, 0, -1))

    @pytest.mark.parametrize(("kind", "axes"), [("ome", "TCYX"), ("imagej", "TCYX")])
    def test_other_axes_beside_c_are_images(self, kind, axes, tmp_path):
        stack = RNG.integers(0, 65536, (4, 2, 40, 50), np.uint16)
        path = self.save(tmp_path, stack, metadata={"axes": axes}, **{kind: True})
        assert np.array_equal(self.read(path), np.moveaxis(stack, 1, -1))

    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_an_axis_may_be_the_samples_of_the_pages(self, compression, tmp_path):
        stack = RNG.integers(0, 65536, (5, 3, 40, 50), np.uint16)
        options = {"photometric": "rgb", "planarconfig": "separate", "compression": compression}
        path = self.save(tmp_path, stack, metadata={"axes": "TCYX"}, **options)
        with tifffile.TiffFile(path) as file:
            assert len(file.pages) == 5  # of three samples each
        assert np.array_equal(self.read(path), np.moveaxis(stack, 1, -1))

    def test_of_a_long_stack_one_image_is_read(self, tmp_path, monkeypatch):
        stack = RNG.integers(0, 65536, (30, 2, 40, 50), np.uint16)
        path = self.save(tmp_path, stack, imagej=True, metadata={"axes": "TCYX"})
        monkeypatch.setattr(reader, "MAX_BYTES", 2 * 40 * 50 * 2)  # no more than that one
        assert np.array_equal(read_frame(path, 29).array, np.moveaxis(stack[29], 0, -1))

    def test_pages_of_several_sizes_keep_their_order(self, tmp_path):
        sizes = [(40, 50), (60, 70), (40, 50), (60, 70)]
        with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
            for i, size in enumerate(sizes):
                writer.write(np.full(size, i, np.uint8), metadata=None)
        found = self.read(tmp_path / "x.tif")
        assert [array.shape[:2] for array in found] == sizes
        assert [array[0, 0, 0] for array in found] == [0, 1, 2, 3]

    def test_overviews_and_thumbnails_are_left_out(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
            writer.write(LARGE, subifds=1, tile=(16, 16), metadata=None)
            writer.write(LARGE[::2, ::2], subfiletype=1, tile=(16, 16), metadata=None)
            writer.write(LARGE[::4, ::4], subfiletype=1, metadata=None)
        assert np.array_equal(self.read(tmp_path / "x.tif"), [LARGE[..., None]])


class TestRefusals:
    def refused(self, path, message, page=None):
        with pytest.raises(DataError, match=message):
            read_frame(path, page)

    def lay(self, folder, data=b"", **tags):
        (folder / "x.tif").write_bytes(
            hostile.tiff(data, {int(tag[1:]): value for tag, value in tags.items()})
        )
        return folder / "x.tif"

    def test_more_pages_than_channels_can_be(self, tmp_path):
        path = tmp_path / "x.tif"
        path.write_bytes(hostile.page_chain(17))
        self.refused(
            path,
            r"x\.tif has 17 pages; accepted as one image are up to 16, which are then its "
            "channels; name a page, or split the file",
        )

    @pytest.mark.parametrize("page", [-1, 3])
    def test_a_page_that_is_not_there(self, page, tmp_path):
        path = tmp_path / "x.tif"
        path.write_bytes(hostile.page_chain(3))
        self.refused(path, rf"x\.tif has no page {page}; accepted are 0 to 2", page)

    @pytest.mark.parametrize("data", [hostile.tiff(b"", follow=8), hostile.page_chain(150, last=8)])
    def test_too_many_pages_or_a_circle(self, data, tmp_path, monkeypatch):
        monkeypatch.setattr(tiff, "MAX_PAGES", 200)
        (tmp_path / "x.tif").write_bytes(data)
        with pytest.raises(DataError, match="more than 200 pages, or pages in a circle; accepted"):
            count_frames(tmp_path / "x.tif")

    def test_no_page_at_all(self, tmp_path):
        (tmp_path / "x.tif").write_bytes(b"II*\0" + bytes(4))
        self.refused(tmp_path / "x.tif", "holds no image; accepted is a TIFF with one; replace")

    @pytest.mark.parametrize(("tag", "sizes"), [("t256", r"\(24, 0\)"), ("t257", r"\(0, 32\)")])
    def test_no_pixels(self, tag, sizes, tmp_path):
        path = self.lay(tmp_path, **{tag: 0})
        message = rf"x\.tif has no pixels \(sizes {sizes}\); accepted is one or more; replace it"
        self.refused(path, message)

    def test_numbers_of_no_known_type(self, tmp_path):
        self.refused(
            self.lay(tmp_path, bytes(999), t258=16, t339=77),
            r"x\.tif has 16 bits a sample of an unknown kind; accepted are integers and "
            "floats; save it again",
        )

    def test_axes_in_another_order(self, tmp_path):
        tifffile.imwrite(tmp_path / "x.tif", LARGE[None], metadata={"axes": "YXZ"}, shaped=True)
        self.refused(
            tmp_path / "x.tif",
            r"has the axes YXZ of sizes \(1, 40, 50\); accepted are those that end in rows and "
            "columns; save it in another order",
        )

    def test_more_pixels_than_fit(self, tmp_path):
        path = self.lay(tmp_path, t256=20_000, t257=10_000)
        self.refused(
            path,
            r"x\.tif is too large \(10000x20000 pixels, 200,000,000 bytes\); accepted are images "
            "of up to 178,956,970 pixels and 2,147,483,648 bytes; cut it into pieces",
        )

    def test_pages_together_are_more_than_fit(self, tmp_path, monkeypatch):
        monkeypatch.setattr(reader, "MAX_BYTES", 2 * 24 * 32)
        (tmp_path / "x.tif").write_bytes(hostile.page_chain(3))
        self.refused(tmp_path / "x.tif", r"too large \(24x32 pixels, 2,304 bytes\)")
        assert read_frame(tmp_path / "x.tif", 1).array.shape == (24, 32, 1)

    def test_tiles_that_are_more_than_fit(self, tmp_path):
        path = self.lay(tmp_path, bytes(99), t259=8, t322=1 << 20, t323=1 << 20, t324=-1, t325=99)
        self.refused(
            path, r"1 strips or tiles of 1048576x1048576 pixels for 24x32\); accepted are undamaged"
        )

    def test_pixels_beyond_the_end(self, tmp_path):
        path = self.lay(tmp_path, bytes(700), t279=768)
        self.refused(
            path,
            r"x\.tif cannot be read whole \(1 of 1 strips or tiles of page 0 are not among its 822 "
            r"bytes\); "
            "accepted are undamaged TIFF files; replace or remove it",
        )

    @pytest.mark.parametrize("compression", [1, 5, 8])
    def test_a_missing_strip(self, compression, tmp_path):
        data = packed(bytes(12 * 32), compression)
        tags = {"t259": compression, "t278": 12, "t273": [-1, 0], "t279": [len(data), 0]}
        self.refused(self.lay(tmp_path, data, **tags), "1 of 2 strips or tiles are not among its")

    def test_strips_that_say_they_are_short(self, tmp_path):
        path = self.lay(tmp_path, bytes(768), t279=700)
        self.refused(
            path, r"cannot be read whole \(strip 1 of 1: 700 bytes, 768 needed\); accepted"
        )

    def test_a_strip_that_is_too_short(self, tmp_path):
        data = packed(bytes(700), 8)
        path = self.lay(tmp_path, data, t259=8)
        self.refused(path, r"whole \(strip 1 of 1: 700 bytes in a strip, 768 needed\)")

    def test_deflate_with_a_wrong_checksum(self, tmp_path):
        data = bytearray(packed(hostile.GREY.tobytes(), 8))
        data[-1] ^= 1
        self.refused(self.lay(tmp_path, bytes(data), t259=8), "incorrect data check")

    def test_more_in_a_strip_than_its_rows(self, tmp_path):
        data = packed(hostile.GREY.tobytes() + bytes(9), 8)
        self.refused(self.lay(tmp_path, data, t259=8), "its data go on beyond 768 bytes")

    def test_odd_numbers_of_bits(self, tmp_path):
        path = self.lay(tmp_path, packed(bytes(2000), 8), t258=12, t259=8)
        self.refused(
            path,
            r"x\.tif has 12 bits a sample with predictor 1; accepted are 1, 2, 4, 8, 16, 32 and 64 "
            "bits and predictors up to 3; save it again",
        )

    @pytest.mark.parametrize(("number", "name"), [(34_661, "JBIG"), (9999, "9999")])
    def test_an_unknown_compression(self, number, name, tmp_path):
        self.refused(
            self.lay(tmp_path, bytes(768), t259=number),
            rf"x\.tif has 1 channels of 8 bits in the compression {name}, which cannot be read "
            "here; accepted are none, deflate, LZW and those that the installed imagecodecs "
            "decodes; save it with one of these",
        )

    @pytest.mark.parametrize("colours", [None, [1], [1] * 4, [1] * 7])
    def test_a_palette_that_is_none(self, colours, tmp_path):
        self.refused(
            self.lay(tmp_path, bytes(768), t262=3, t320=colours),
            r"x\.tif has a palette of shape \(\d,\); accepted are three rows of colours",
        )

    def test_a_file_that_is_gone(self, tmp_path):
        with pytest.raises(DataNotFoundError, match="does not exist any more; restore it"):
            count_frames(tmp_path / "x.tif")

    def test_memory_that_is_not_there(self, tmp_path, monkeypatch):
        def fail(*_):
            raise MemoryError

        monkeypatch.setattr(reader, "turn", fail)
        path = self.lay(tmp_path, bytes(768))
        self.refused(path, r"x\.tif does not fit into memory; accepted are smaller images; cut")

    def test_other_files_that_metadata_name_are_not_opened(self, tmp_path):
        first, second = tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"
        tifffile.imwrite(first, LARGE, ome=True)
        text = tifffile.tiffcomment(first)
        uuid = '<UUID FileName="b.ome.tif">urn:uuid:1</UUID>'
        text = text.replace('PlaneCount="1"/>', f'PlaneCount="1">{uuid}</TiffData>')
        assert uuid in text
        tifffile.tiffcomment(first, text)
        tifffile.imwrite(second, 255 - LARGE, metadata=None)
        assert np.array_equal(read_frame(first, None).array[..., 0], LARGE)


@pytest.mark.parametrize(
    ("axes", "shape", "page", "expected"),
    [
        ("ZYX", (5, 70, 90), 2, (70, 90)),
        ("TSYX", (5, 3, 70, 90), 2, (3, 70, 90)),
        ("TYXS", (5, 70, 90, 3), 2, (70, 90, 3)),
        ("QYX", (70, 90, 7), None, (70, 90, 7)),  # read as rows, columns and channels
    ],
)
def test_the_shape_of_a_plane_is_the_end_of_that_of_its_series(axes, shape, page, expected):
    series = SimpleNamespace(axes=axes, shape=shape)
    assert tiff.Plane(series, page, is_array=True).shape == expected


def ndpi_slide(image):
    """A slide of Hamamatsu: a classic TIFF whose offsets to directories have 64 bits."""
    height, width = image.shape
    tags = [
        *((256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)),
        *((273, 4, 12), (277, 3, 1), (278, 4, height), (279, 4, image.size), (65420, 4, 1)),
    ]
    start = 12 + image.size
    entries = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(8) + bytes(4 * len(tags))
    return b"II*\0" + struct.pack("<Q", start) + image.tobytes() + directory


def test_a_slide_and_a_plain_tiff_under_its_suffix_are_both_read(tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(6, 8)
    slide, plain = tmp_path / "slide.ndpi", tmp_path / "plain.NDPI"
    slide.write_bytes(ndpi_slide(image))
    tifffile.imwrite(plain, image, photometric="minisblack")
    assert tifffile.TiffFile(slide).tiff.is_ndpi
    assert read_file(slide).bands[..., 0].tolist() == image.tolist()
    assert read_file(plain).bands[..., 0].tolist() == image.tolist()
    plain.write_bytes(plain.read_bytes()[:20])
    with pytest.raises(DataError, match=r"plain\.NDPI"):
        read_file(plain)
