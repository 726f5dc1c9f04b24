"""Which model files were exported on this machine."""

import hashlib

import pytest

from tests.conftest import export_untrained
from unetkit.models import known_models
from unetkit.models.known_models import is_known, remember

ONE, OTHER = (hashlib.sha256(text).hexdigest() for text in (b"one", b"other"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_file_is_known_once_it_is_remembered():
    assert not is_known(ONE)
    remember(ONE)
    assert is_known(ONE)
    assert not is_known(OTHER)
    remember(OTHER)
    assert is_known(ONE)
    assert is_known(OTHER)


def test_part_of_a_digest_is_not_known():
    remember(ONE)
    assert not is_known(ONE[:60])


def test_only_the_end_of_a_long_list_is_read(monkeypatch):
    monkeypatch.setattr(known_models, "MOST_BYTES", 100)
    remember(ONE)
    remember(OTHER)
    assert is_known(OTHER)
    assert not is_known(ONE)


def test_a_cache_that_cannot_be_written_is_no_error(cache):
    cache.write_text("a file in the way")
    remember(ONE)
    assert not is_known(ONE)


def test_an_exported_file_is_known(tmp_path):
    path = export_untrained(tmp_path / "new.onnx")
    assert is_known(hashlib.sha256(path.read_bytes()).hexdigest())
