"""What the system's own errors are given."""

import errno
from pathlib import Path

import pytest

from unetkit.errors import DataError, full_disk_named, is_full_disk

PLACE = Path("result.tif")


def test_a_full_disk_gets_the_name_of_the_file():
    with (
        pytest.raises(OSError, match=r"No space left on device: 'result.tif'"),
        full_disk_named(PLACE),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_errors_of_the_system_keep_theirs():
    with pytest.raises(OSError, match="other") as caught, full_disk_named(PLACE):
        raise OSError(errno.EIO, "other")
    assert caught.value.filename is None
    assert not is_full_disk(caught.value)
    with pytest.raises(OSError, match="full") as caught, full_disk_named(PLACE):
        raise OSError(errno.ENOSPC, "full", "source.tif")
    assert caught.value.filename == "source.tif"


def test_a_message_of_several_lines_is_kept_in_lines():
    error = DataError("a.png is cut", "b.png is cut")
    assert error.args == ("a.png is cut", "b.png is cut")
    assert str(error) == "a.png is cut\nb.png is cut"
