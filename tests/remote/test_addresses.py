"""Addresses: what they name, what they hide, and which names of servers become names of files."""

from pathlib import Path

import pytest

from unetkit.errors import DataError
from unetkit.remote.addresses import Address, as_location, is_address, require_safe_path


@pytest.mark.parametrize(
    ("text", "name", "suffix"),
    [
        ("s3://bucket/photos/a.png", "a.png", ".png"),
        ("s3://bucket/photos/", "photos", ""),
        ("s3://bucket", "", ""),
        ("https://host/a%20b.JPG?size=3#top", "a b.JPG", ".JPG"),
        ("https://host?x=1", "", ""),
        ("https://host/", "", ""),
        ("zip://deep/a.png::https://host/b.zip", "a.png", ".png"),
        ("zip://::photos.zip", "", ""),
    ],
)
def test_name(text, name, suffix):
    assert (Address(text).name, Address(text).suffix) == (name, suffix)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pw@host/a.png?X-Amz-Signature=pw#pw", "https://host/a.png"),
        ("https://token@host/a.png", "https://host/a.png"),
        ("https://host?key=pw", "https://host"),
        ("sftp://me:pw@host/a.png", "sftp://host/a.png"),
        ("zip://a.png::https://me:pw@host/b.zip?sig=pw", "zip://a.png::https://host/b.zip"),
        # These have no secret: a key with @, and the container of an account.
        ("s3://bucket/a@b?.png", "s3://bucket/a@b?.png"),
        ("abfs://container@account.host/a.png", "abfs://container@account.host/a.png"),
    ],
)
def test_text_for_people_has_no_secret(text, shown):
    assert str(Address(text)) == shown
    assert "pw" not in f"{Address(text)!r} {Address(text)}"


def test_paths_of_this_machine_are_none():
    paths = ("a.png", "C:/a.png", r"C:\a.png", "/photos/a:b.png", "c://a.png", "", "-", None)
    assert [path for path in paths if is_address(path)] == []
    assert as_location("photos/a.png") == Path("photos/a.png")
    assert as_location("s3://bucket/a.png") == Address("s3://bucket/a.png")
    assert is_address("simplecache::s3://bucket/a.png")


def test_parts_are_joined_in_front_of_the_chain():
    archive = Address("zip://::photos.zip")
    assert (archive / "deep/a.png").text == "zip://deep/a.png::photos.zip"
    assert (archive / "deep" / "a.png").parent.text == "zip://deep::photos.zip"
    assert (Address("s3://bucket/") / "a").text == (Address("s3://bucket") / "a").text


@pytest.mark.parametrize(
    ("pattern", "fixed"),
    [
        ("s3://bucket/photos/*/a?.png", "s3://bucket/photos"),
        ("zip://*.png::photos.zip", "zip://::photos.zip"),
        ("zip://deep/**::photos.zip", "zip://deep::photos.zip"),
    ],
)
def test_fixed_part_of_a_pattern(pattern, fixed):
    assert Address(pattern).is_pattern
    assert Address(pattern).fixed_part().text == fixed


def test_question_mark_of_a_web_server_is_no_pattern():
    assert not Address("https://host/a.png?x=1").is_pattern
    assert Address("https://host/*.png").is_pattern


@pytest.mark.parametrize(
    "path",
    [
        *("../../x.png", "a/../x.png", "/etc/x.png", "a//x.png", "", ".", "..\\x.png", "a\0b"),
        *("x\n.png", "a" * 252 + ".png"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(path):
    with pytest.raises(DataError, match=r"which no file of this machine can have as its name"):
        require_safe_path(Address("s3://bucket/photos"), path, windows=False)


@pytest.mark.parametrize("path", ["C:/x.png", "con.png", "deep/NUL", "a.", "b ", "a?.png"])
def test_names_of_windows(path):
    address = Address("s3://bucket/photos")
    assert require_safe_path(address, path, windows=False).as_posix() == path
    with pytest.raises(DataError, match="no file of this machine"):
        require_safe_path(address, path, windows=True)
