"""Every hostile file is read right or refused by its name; so is what chance makes of good ones."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import hostile
from tests.hostile import KINDS, PHOTO, PLAIN, count_images, read_file
from unetkit.checks.statistics import (
    MAX_REGIONS,
    MAX_VALUES,
    collect_statistics,
    compute_pair_statistics,
)
from unetkit.data.dataset import find_dataset
from unetkit.data.masks import read_raw_mask
from unetkit.data.pairs import Pair
from unetkit.data.sources import Sources
from unetkit.errors import DataError, DataNotFoundError, UnetkitError
from unetkit.io.images import ImageFile, read_image
from unetkit.io.pixel_format import PixelFormat
from unetkit.io.tiff import planes, segments
from unetkit.io.tiff import reader as tiff_reader

READERS = {
    "image", "first page", "count", "colour", "grey of 16 bits", "channels first", "mask",
    "image of a pair", "mask of a pair",
}  # fmt: skip
FUZZING = settings(derandomize=True, max_examples=120)
POSIX = pytest.mark.skipif(os.name != "posix", reason="limits and pipes of POSIX systems")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What every reader said of every kind, in a process that a bomb may kill."""
    report = tmp_path_factory.mktemp("hostile") / "report.json"
    done = subprocess.run(
        [sys.executable, hostile.__file__, report], capture_output=True, text=True, timeout=300
    )
    assert report.is_file(), done
    return json.loads(report.read_text())


@POSIX
class TestCorpus:
    def test_it_has_many_kinds(self):
        assert len(KINDS) > 200

    @pytest.mark.parametrize("name", KINDS)
    def test_every_reader_ends_with_a_result_or_a_refusal(self, name, outcomes):
        said = outcomes[name]
        assert set(said) == READERS | {"noise", "seconds"}
        for reader in READERS:
            assert said[reader] == "read" or said[reader].startswith("refused: "), reader
        assert said["noise"] == ""

    @pytest.mark.parametrize(
        "name", [name for name, kind in KINDS.items() if isinstance(kind.expected, np.ndarray)]
    )
    def test_what_can_be_read_is_read_right(self, name, outcomes):
        assert outcomes[name]["image"] == "read"

    @pytest.mark.parametrize(
        "name", [name for name, kind in KINDS.items() if isinstance(kind.expected, str)]
    )
    def test_what_cannot_be_read_is_refused_with_the_reason(self, name, outcomes):
        said = outcomes[name]["image"]
        assert said.startswith("refused: ")
        assert KINDS[name].expected in said
        # What is wrong; what is accepted; what to do.
        assert "; accepted " in said
        assert said.count("; ") >= 2

    def test_memory_stays_small(self, outcomes):
        assert int(outcomes[""]["memory"]) < 1024  # MiB, for what claims up to 2**62 pixels


class TestMasksOfManyLabels:
    def look(self, folder, labels):
        Image.new("L", labels.shape[::-1]).save(folder / "image.png")
        (folder / "mask.tif").write_bytes(hostile.tifffile_bytes(labels, compression="zlib"))
        started = time.perf_counter()
        look = compute_pair_statistics(Pair("x", folder / "image.png", folder / "mask.tif"))
        assert time.perf_counter() - started < hostile.SECONDS
        return look

    def test_a_million_labels_are_counted_and_few_are_kept(self, tmp_path):
        look = self.look(tmp_path, np.arange(1_000_000, dtype=np.uint32).reshape(1000, 1000))
        assert look.problem == ""
        assert look.num_values == 1_000_000
        assert len(look.values) == MAX_VALUES
        assert look.regions.shape == (MAX_REGIONS, 2)
        assert (look.regions[:, 1] == 1).all()

    def test_a_million_regions_of_one_value(self, tmp_path):
        labels = np.zeros((2000, 2000), np.uint16)
        labels[::2, ::2] = 7
        look = self.look(tmp_path, labels)
        assert look.values == {0: 3_000_000, 7: 1_000_000}
        assert look.regions.shape == (MAX_REGIONS, 2)
        assert set(map(tuple, look.regions.tolist())) == {(7, 1)}

    def test_regions_know_their_value_and_area(self, tmp_path):
        labels = np.zeros((9, 9), np.int32)
        labels[1:3, 1:4], labels[3, 4], labels[6:, 6:] = 70_000, 70_000, 5
        look = self.look(tmp_path, labels)
        # Two by three pixels, and one at their corner, which touches.
        assert sorted(map(tuple, look.regions.tolist())) == [(5, 9), (70_000, 7)]


def write_pairs(folder, count=3):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            (folder / part / f"{i}.png").write_bytes(hostile.encode(PHOTO[..., :1], "PNG"))
    return folder


@POSIX
class TestFolders:
    def test_links_in_circles_end(self, tmp_path):
        write_pairs(tmp_path)
        (tmp_path / "images" / "up").symlink_to(tmp_path)
        (tmp_path / "images" / "self.png").symlink_to("self.png")
        found = find_dataset(tmp_path, Sources())
        assert [pair.name for pair in found.pairs] == ["0", "1", "2"]
        assert [p.files[0].name for p in found.problems] == ["self.png"]

    def test_links_to_nothing_and_folders_that_are_named_like_images(self, tmp_path):
        write_pairs(tmp_path)
        (tmp_path / "images" / "0.png").unlink()
        (tmp_path / "images" / "0.png").symlink_to("nowhere")
        (tmp_path / "images" / "9.png").mkdir()
        looks = collect_statistics(find_dataset(tmp_path).pairs)
        assert [look.problem != "" for look in looks] == [True, False, False]
        assert "0.png does not exist" in looks[0].problem

    def test_a_pipe_is_not_waited_for(self, tmp_path):
        write_pairs(tmp_path)
        for part in ("images", "masks"):
            (tmp_path / part / "1.png").unlink()
            os.mkfifo(tmp_path / part / "1.png")
        looks = collect_statistics(find_dataset(tmp_path).pairs)
        assert "1.png is no file but a pipe; accepted" in looks[1].problem
        assert [look.problem for look in (looks[0], looks[2])] == ["", ""]

    def test_a_folder_that_vanishes_while_it_is_walked(self, tmp_path, monkeypatch):
        write_pairs(tmp_path)
        shutil.copytree(tmp_path / "images", tmp_path / "gone")
        walk = os.walk

        def walk_and_remove(*args, **options):
            for step in walk(*args, **options):
                yield step
                shutil.rmtree(tmp_path / "gone", ignore_errors=True)

        monkeypatch.setattr(os, "walk", walk_and_remove)
        found = find_dataset(tmp_path)
        assert len(found.pairs) == 3
        assert [p.text for p in found.problems] == [
            f"folder {tmp_path / 'gone'} cannot be read (No such file or directory); its files are "
            "left out"
        ]

    def test_a_folder_that_vanishes_before_it_is_read(self, tmp_path):
        pairs = find_dataset(write_pairs(tmp_path)).pairs
        shutil.rmtree(tmp_path / "masks")
        for pair, look in zip(pairs, collect_statistics(pairs), strict=True):
            assert f"{pair.mask} does not exist" in look.problem

    @pytest.mark.parametrize("format", PLAIN)
    def test_an_open_file_is_read_whole_although_it_was_removed(self, format, tmp_path):
        path = tmp_path / "x.png"
        path.write_bytes(PLAIN[format])
        whole = read_file(path)
        with ImageFile(path) as file:
            path.unlink()
            assert np.array_equal(file.read().bands, whole.bands)

    def test_a_file_that_vanishes_before_it_is_opened(self, tmp_path, monkeypatch):
        monkeypatch.setattr("unetkit.io.images.require_file", lambda path: None)
        with pytest.raises(DataNotFoundError, match=r"x\.png does not exist"):
            read_file(tmp_path / "x.png")

    def test_a_file_that_may_not_be_read(self, tmp_path, monkeypatch):
        path = tmp_path / "x.png"
        path.write_bytes(PLAIN["PNG"])

        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("builtins.open", refuse)
        with pytest.raises(DataError, match=r"x\.png cannot be opened \(Permission denied\)"):
            read_file(path)
        problem = compute_pair_statistics(Pair("x", path, path)).problem
        assert problem.startswith(f"{path} cannot be opened (Permission denied)")


GOOD = PLAIN | {
    "TIFF in LZW": hostile.encode(PHOTO, "TIFF", compression="tiff_lzw"),
    "TIFF in PackBits": hostile.encode(PHOTO, "TIFF", compression="packbits"),
    "TIFF in JPEG": hostile.encode(PHOTO, "TIFF", compression="jpeg"),
    "TIFF in tiles": hostile.tifffile_bytes(
        PHOTO, tile=(16, 16), compression="zlib", predictor=True, photometric="rgb"
    ),
    "TIFF of ImageJ": hostile.tifffile_bytes(
        np.stack([PHOTO[..., 0]] * 6).reshape(3, 2, 24, 32).astype(np.uint16),
        imagej=True,
        metadata={"axes": "ZCYX"},
    ),
    "TIFF of OME": hostile.tifffile_bytes(
        np.stack([PHOTO[..., 0]] * 3), ome=True, metadata={"axes": "CYX"}
    ),
    "PNG of 16 bits": hostile.opencv_bytes(hostile.DEEP, ".png"),
    "GIF animated": hostile.encode(
        PHOTO, "GIF", save_all=True, append_images=[Image.fromarray(PHOTO[::-1])]
    ),
    "JPEG with EXIF": hostile.encode(PHOTO, "JPEG", exif=hostile.exif_block(6)),
}


@pytest.fixture(scope="module")
def small_limits():
    """Smaller limits, so that a number that has grown by chance is no long wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiff_reader, "MAX_PIXELS", 1 << 20)
        for module in (tiff_reader, planes, segments):
            patch.setattr(module, "MAX_BYTES", 1 << 24)
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 1 << 19)
        yield


@st.composite
def damage(draw, data):
    """A file with one to four places flipped, cut out, doubled, overwritten or cut off."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        length = draw(st.integers(1, 64))
        match draw(st.sampled_from(("flip", "cut", "double", "insert", "end"))):
            case "flip" if data:
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[place : place + length]
            case "double":
                data[place:place] = data[place : place + length]
            case "insert":
                data[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=8))
            case _:
                del data[place:]
    return bytes(data)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("small_limits")
class TestFuzzing:
    @pytest.mark.parametrize("format", GOOD)
    def test_damage_leads_to_an_image_or_a_refusal(self, format, tmp_path_factory):
        path = tmp_path_factory.mktemp("fuzz") / "x"

        @FUZZING
        @given(damage(GOOD[format]))
        def check(data):
            path.write_bytes(data)
            for reader in (
                lambda: read_file(path),
                lambda: read_file(path, 0),
                lambda: count_images(path),
                lambda: read_image(path, PixelFormat(1)),
                lambda: read_image(path, PixelFormat(3, channel_axis="first")),
                lambda: read_raw_mask(path),
            ):
                try:
                    reader()
                except UnetkitError as error:
                    assert str(path) in str(error)  # noqa: PT017 - an image is as good

        check()

    @pytest.mark.parametrize("format", ["PNG", "PNG of 16 bits"])
    def test_a_damaged_png_is_never_read_wrong(self, format, tmp_path_factory):
        path = tmp_path_factory.mktemp("fuzz") / "x"
        path.write_bytes(GOOD[format])
        whole = read_file(path).bands

        @FUZZING
        @given(damage(GOOD[format]))
        def check(data):
            path.write_bytes(data)
            try:
                found = read_file(path).bands
            except UnetkitError:
                return
            assert np.array_equal(found, whole)

        check()

    @FUZZING
    @given(st.binary(max_size=300), st.sampled_from(sorted(PLAIN)), st.integers(2, 40))
    def test_noise_after_a_good_start(self, tmp_path_factory, noise, format, kept):
        path = tmp_path_factory.getbasetemp() / "noise"
        path.write_bytes(PLAIN[format][:kept] + noise)
        try:
            assert read_file(path).bands.size
        except UnetkitError as error:
            assert str(path) in str(error)  # noqa: PT017 - an image is as good
