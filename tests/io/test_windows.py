"""Arrays of any kind are read by windows."""

import numpy as np
import pytest

from unetkit.errors import DataError, SizeError
from unetkit.io.windows import ArrayWindows, Windows, require_numbers

NUMBERS = np.arange(5 * 7 * 2, dtype=np.uint16).reshape(5, 7, 2)


def window_of(image: Windows) -> np.ndarray:
    return image.read(slice(1, 3), slice(2, 6))


def test_channels_stay_last():
    image = ArrayWindows(NUMBERS)
    assert image.shape == (5, 7, 2)
    assert image.dtype == np.uint16
    assert np.array_equal(window_of(image), NUMBERS[1:3, 2:6])


def test_two_axes_are_one_channel():
    image = ArrayWindows(NUMBERS[..., 0])
    assert image.shape == (5, 7, 1)
    assert np.array_equal(window_of(image), NUMBERS[1:3, 2:6, :1])


def test_a_memory_map_is_read_only_where_asked(tmp_path):
    np.save(tmp_path / "x.npy", NUMBERS)
    image = ArrayWindows(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert np.array_equal(window_of(image), NUMBERS[1:3, 2:6])


def test_anything_that_is_sliced_will_do():
    class Recorder:
        shape, dtype = NUMBERS.shape, NUMBERS.dtype
        asked = ()

        def __getitem__(self, key):
            self.asked = key
            return NUMBERS[key]

    recorder = Recorder()
    assert np.array_equal(window_of(ArrayWindows(recorder)), NUMBERS[1:3, 2:6])
    assert recorder.asked == (slice(1, 3), slice(2, 6))


def test_an_array_of_zarr_is_read_by_windows(tmp_path):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(
        tmp_path / "x.zarr", shape=NUMBERS.shape, dtype="u2", chunks=(2, 2, 1)
    )
    array[:] = NUMBERS
    assert np.array_equal(window_of(ArrayWindows(array)), NUMBERS[1:3, 2:6])


def test_bytes_come_in_the_machines_own_order():
    image = ArrayWindows(NUMBERS.astype(">u2"))
    assert image.dtype == np.dtype(np.uint16)
    assert image.dtype.isnative
    assert window_of(image).dtype.isnative
    assert np.array_equal(window_of(image), NUMBERS[1:3, 2:6])


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 5), (0, 3), (3, 4, 0)])
def test_other_axes_are_refused(shape):
    with pytest.raises(SizeError, match=r"array has the shape .*; accepted are \(height, width\)"):
        ArrayWindows(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["O", "U3", "c8", "M8[s]", "V4"])
def test_what_is_no_number_is_refused(dtype):
    with pytest.raises(DataError, match=r"array has .* pixels; accepted are integers"):
        ArrayWindows(np.zeros((2, 2), dtype))


def test_numbers_of_every_kind_are_accepted():
    for dtype in ("bool", "i1", "u1", ">i4", "u8", "f2", "<f8"):
        assert require_numbers(dtype, "x").isnative
