"""OME-XML descriptions: what they measure, and what in them is refused."""

import numpy as np
import pytest
import tifffile

from tests.io.tiff.reading import read_frame
from unetkit.errors import DataError
from unetkit.io.images import ImageFile
from unetkit.io.pixel_size import PixelSize

PIXELS = np.zeros((8, 9), np.uint8)


class TestOmeDescriptions:
    """Numbers in OME-XML are bounded before tifffile believes them."""

    def described(self, tmp_path, pixels, before=""):
        path = tmp_path / "x.ome.tif"
        text = f'<?xml version="1.0"?>{before}<OME xmlns="http://x/OME"><Image><Pixels {pixels}>'
        text += "<TiffData/></Pixels></Image></OME>"
        tifffile.imwrite(
            path, np.zeros((16, 16), np.uint8), description=text.encode(), metadata=None
        )
        return path

    SIZES = 'DimensionOrder="XYZCT" SizeX="16" SizeY="16" SizeC="1" SizeT="1" Type="uint8" SizeZ='

    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (
                "100000000",
                "with an image of 100,000,000 planes; accepted are up to",
            ),
            ("&#49;00000000", "description with an image of 100,000,000 planes; accepted are"),
            ("+100000000", r"with SizeZ='\+100000000'; accepted are whole numbers of 10 digits"),
            ("1_00_000_000", r"with SizeZ='1_00_000_000'; accepted are whole numbers"),
            ("\u0661\u0660", r"with SizeZ='.*'; accepted are whole numbers"),
            ("1" * 5000, r"with SizeZ='1*; accepted are whole numbers"),
            ("-1", r"with SizeZ='-1'; accepted are whole numbers"),
            ("&n;", r"with damage \(undefined entity.*; accepted are well-formed XML; save it"),
        ],
    )
    def test_numbers_that_are_none_or_too_large(self, tmp_path, number, words):
        path = self.described(tmp_path, f'{self.SIZES}"{number}"')
        with pytest.raises(DataError, match=words):
            read_frame(path, None)

    def test_entities_are_not_expanded(self, tmp_path):
        path = self.described(
            tmp_path, f'{self.SIZES}"&n;"', '<!DOCTYPE OME [<!ENTITY n "100000000">]>'
        )
        with pytest.raises(DataError, match="with a document type; accepted are descriptions with"):
            read_frame(path, None)

    def test_a_sound_one_is_read(self, tmp_path):
        path = self.described(tmp_path, f'{self.SIZES}"&#49;"')
        assert read_frame(path, None).array.shape == (16, 16, 1)


def micrometres(side):
    return {f"PhysicalSize{axis}": side for axis in "XY"}


@pytest.mark.parametrize(
    ("metadata", "size"),
    [
        (micrometres(0.65), PixelSize(0.65, "um")),
        (micrometres(65) | {f"PhysicalSize{a}Unit": "nm" for a in "XY"}, PixelSize(65.0, "nm")),
        (micrometres(0.65) | {"PhysicalSizeYUnit": "mm"}, None),
        ({"PhysicalSizeX": 0.65}, None),
        ({"PhysicalSizeX": 0.65, "PhysicalSizeY": 0.7}, None),
        (micrometres(-1), None),
        ({}, None),
    ],
)
def test_sizes_of_ome_descriptions(tmp_path, metadata, size):
    planes = np.zeros((3, 8, 16), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(planes, metadata={"axes": "ZYX"} | metadata)
        file.write(planes[:, :4], metadata={"axes": "ZYX"} | micrometres(7.0))
    with ImageFile(tmp_path / "a.ome.tif") as file:
        assert [file.windows(page).pixel_size for page in range(file.count)] == [size] * 3


def test_images_of_one_size_with_pixels_of_different_sizes_have_none(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for side in (0.5, 0.25):
            file.write(PIXELS, metadata=micrometres(side))
    with ImageFile(tmp_path / "a.ome.tif") as file:
        assert file.windows(0).pixel_size is None
