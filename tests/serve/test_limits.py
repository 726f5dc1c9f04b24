"""Bytes in memory are counted, and refused beyond the limit."""

import pytest

from unetkit.serve.limits import MIB, HeldBytes, RefusedError


def test_bytes_beyond_the_limit_are_refused_and_not_counted():
    held = HeldBytes(2 * MIB)
    held.take(MIB)
    with pytest.raises(RefusedError, match="more than 2 MiB together") as caught:
        held.take(MIB + 1)
    assert caught.value.status == 503
    assert caught.value.retry_seconds == 1
    assert held.total == MIB


def test_released_bytes_may_be_taken_again():
    held = HeldBytes(10)
    held.take(10)
    held.release(4)
    held.take(4)
    assert held.total == 10
