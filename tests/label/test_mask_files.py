"""Masks read for correction and written again: the same numbers, or refused."""

import hashlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.label.conftest import entry_of
from unetkit.errors import DataError
from unetkit.label.mask_files import digest_of, read_mask_file, write_mask_file
from unetkit.label.project import open_project

SIZE = (40, 60)


@pytest.fixture
def entry(project):
    return entry_of(project, "a.png")


def mask_of(*values, dtype=np.uint8):
    return np.resize(np.array(values, dtype), SIZE)


def test_without_a_file_all_is_unlabelled(project, entry):
    found = read_mask_file(entry, project, SIZE)
    assert (found.pixels == 255).all()
    assert (found.path, found.digest) == (entry.mask, "")


def test_a_mask_comes_back_as_it_was_written(project, entry):
    Image.fromarray(mask_of(0, 1, 255)).save(entry.mask)
    found = read_mask_file(entry, project, SIZE)
    found.pixels[0] = 1
    said = []
    digest = write_mask_file(found, said.append)
    assert said == [digest]
    assert digest == hashlib.sha256(entry.mask.read_bytes()).hexdigest() == digest_of(entry.mask)
    with Image.open(entry.mask) as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), found.pixels)
    assert [path.name for path in project.out.iterdir()] == ["a.png"]


def test_a_palette_is_kept(project, entry):
    image = Image.fromarray(mask_of(0, 1))
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(entry.mask)
    found = read_mask_file(entry, project, SIZE)
    found.pixels[:] = 1
    write_mask_file(found)
    with Image.open(entry.mask) as again:
        assert again.mode == "P"
        assert again.convert("RGB").getpixel((0, 0)) == (200, 100, 50)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_objects_have_16_bits_in_png_and_tiff(folder, suffix):
    project = open_project(folder, classes={"kind": "instances"})
    project.out.mkdir()
    entry = entry_of(project, "a.png")
    pixels = mask_of(0, 300, 65534, 65535, dtype=np.uint16)
    path = entry.mask.with_suffix(suffix)
    if suffix == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    entry = entry_of(open_project(folder, classes={"kind": "instances"}), "a.png")
    found = read_mask_file(entry, project, SIZE)
    assert np.array_equal(found.pixels, pixels)
    found.pixels[0, 0] = 7
    write_mask_file(found)
    assert found.path == path
    assert np.array_equal(read_mask_file(entry, project, SIZE).pixels, found.pixels)


@pytest.mark.parametrize(
    ("name", "mask", "words"),
    [
        ("a.png", mask_of(0, 1, 7), "has the value 7; accepted are 0 background, 1 pet"),
        ("a.png", np.dstack([mask_of(0, 1), mask_of(0), mask_of(9)]), "has colours"),
        ("a.png", np.zeros((4, 4), np.uint8), "has 4x4 pixels and its image 40x60"),
        ("a.bmp", mask_of(0, 1), "a.bmp is the mask of a.png; accepted to be corrected is PNG"),
        ("a.jpg", mask_of(0, 1), "a.jpg is the mask of a.png"),
        ("a.tif", mask_of(0, 1), "a.tif is the mask of a.png"),
    ],
)
def test_what_cannot_be_written_back_is_refused_and_left_alone(project, entry, name, mask, words):
    file = project.out / name
    Image.fromarray(mask).save(file)
    before = file.read_bytes()
    with pytest.raises(DataError, match=words):
        read_mask_file(entry, project, SIZE)
    assert file.read_bytes() == before


def test_a_mask_with_transparent_pixels_is_refused_without_options_of_other_commands(
    project, entry
):
    Image.fromarray(np.zeros((*SIZE, 4), np.uint8)).save(entry.mask)
    with pytest.raises(DataError, match=r"transparent pixels.*; convert it") as error:
        read_mask_file(entry, project, SIZE)
    assert "--" not in str(error.value)


def test_a_lossy_file_with_the_name_of_a_png_is_refused(project, entry):
    Image.fromarray(mask_of(0, 1)).save(entry.mask, "JPEG")
    with pytest.raises(DataError, match=r"a.png has (a lossy format|the format JPEG)"):
        read_mask_file(entry, project, SIZE)
