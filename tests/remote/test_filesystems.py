"""Errors of file systems in words, without secrets; and what is missing."""

import sys
import traceback

import pytest
from fsspec.implementations.http import HTTPFileSystem
from fsspec.registry import _registry
from s3fs import S3FileSystem

from tests.loopback import closed_port
from tests.remote.servers import stall, status
from unetkit._shared.installation import install_command
from unetkit.errors import ConfigError, DataError, DataNotFoundError, MissingExtraError
from unetkit.remote import filesystems, transfers
from unetkit.remote.addresses import Address
from unetkit.remote.filesystems import RedirectError, open_filesystem, require_redirect
from unetkit.remote.transfers import find_file, list_files


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(transfers, "WAIT_SECONDS", 0.01)
    yield
    S3FileSystem.clear_instance_cache()
    HTTPFileSystem.clear_instance_cache()


def test_unknown_scheme_is_named():
    with pytest.raises(ConfigError, match=r"begins with 'foo', which fsspec does not know"):
        open_filesystem(Address("foo://a/b.png"))


def test_missing_fsspec_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError) as raised:
        open_filesystem(Address("s3://bucket/a.png"))
    assert str(raised.value).endswith(install_command("remote"))
    assert "[remote]" in str(raised.value)


def test_missing_package_of_one_scheme(monkeypatch):
    monkeypatch.delitem(_registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(
        MissingExtraError, match=r"needs a package that is not installed; install .*remote"
    ):
        open_filesystem(Address("s3://bucket/a.png"))
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtraError, match=r"gcs://a/b.png needs a package .*gcsfs"):
        open_filesystem(Address("gcs://a/b.png"))


def test_missing_bucket_and_object(objects):
    bucket = objects.bucket()
    for address in (f"s3://{bucket}/none.png", "s3://no-such-bucket/a.png"):
        with pytest.raises(DataNotFoundError, match=f"{address} does not exist"):
            find_file(Address(address))


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (404, DataNotFoundError, "does not exist"),
        (403, DataError, "may not be read: access is denied"),
        (401, DataError, "may not be read: access is denied"),
        (500, DataError, "cannot be read: the server answered 500"),
    ],
)
def test_answers_of_web_servers(web, code, kind, words):
    web.answers["a.png"] = [status(code)]
    address = web.url("a.png").replace("http://", "http://me:pw@") + "?signature=hidden"
    with pytest.raises(kind, match=words) as raised:
        find_file(Address(address))
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert "pw" not in shown
    assert "hidden" not in shown
    assert web.url("a.png") in str(raised.value)


def test_tries_end(web):
    web.answers["a.png"] = [status(503)]
    with pytest.raises(DataError, match="the server answered 503"):
        find_file(Address(web.url("a.png")))
    # Each try asks twice: for the head, and for the file.
    assert web.requests()["GET", "/a.png"] == transfers.TRIES


def test_host_that_cannot_be_reached():
    with pytest.raises(DataError, match="its server cannot be reached"):
        find_file(Address(f"{closed_port()}a.png"))


def test_store_that_cannot_be_reached(objects, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", closed_port())
    S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match="its server cannot be reached"):
        find_file(Address("s3://bucket/a.png"))


def test_silent_server(web, monkeypatch):
    monkeypatch.setattr(filesystems, "RESPONSE_SECONDS", 0.2)
    monkeypatch.setattr(transfers, "TRIES", 1)
    web.answers["a.png"] = [stall]
    HTTPFileSystem.clear_instance_cache()
    with pytest.raises(DataError, match="did not respond in time"):
        find_file(Address(web.url("a.png")))


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a.png", "data:,x"])
def test_redirections_elsewhere_are_not_followed(web, target):
    web.answers["a.png"] = [status(302, Location=target)]
    with pytest.raises(DataError, match=r"a.png redirects from http: to (file|ftp|data):"):
        find_file(Address(web.url("a.png")))


def test_secure_server_does_not_lead_to_an_insecure_one():
    require_redirect("https", "https://other/a.png")
    require_redirect("https", "/a.png?x=http://y")
    require_redirect("http", "https://host/a.png")
    with pytest.raises(RedirectError, match="redirects from https: to http:"):
        require_redirect("https", "http://host/a.png")


def test_redirection_to_http_is_followed(web):
    web.files["b.png"] = b"content"
    web.answers["a.png"] = [status(302, Location=web.url("b.png"))]
    assert find_file(Address(web.url("a.png"))).size == 7


def test_no_credentials(objects, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"without credentials .*FSSPEC_S3_ANON=true"):
        list_files(find_file(Address("s3://bucket/a.png")))
