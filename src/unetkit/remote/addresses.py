"""Addresses of images and results that are not files of this machine, as fsspec writes them.

    s3://bucket/photos   https://host/a.jpg   zip://*.png::photos.zip   zip://a.png::s3://bucket/b.zip

An address may hold a password or a signature. `str` of it does not, so that messages, records and
metadata never have one; `text` is for the libraries that connect. A name that comes from a server
is checked before it becomes that of a file.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from unetkit.errors import DataError

# Two letters or more, as C:\ is a drive.
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+(://|::)", re.IGNORECASE)
_HTTP = ("http", "https")
_CHAIN, _SCHEME = "::", "://"
_WILD = "*?["
_UNSAFE = re.compile(r"[\0-\x1f\x7f\\]")
_UNSAFE_ON_WINDOWS = re.compile(r'[<>:"|?*]|[. ]$')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
_LONGEST_NAME = 255  # bytes, on the file systems in use


@dataclass(frozen=True)
class Address:
    """An address in fsspec's grammar; `str` is without passwords and signatures.

    Args:
        text: The address as it was typed.

    >>> str(Address("https://me:secret@host/a.jpg?signature=123"))
    'https://host/a.jpg'
    >>> Address("zip://deep/a.png::s3://bucket/photos.zip").name
    'a.png'
    """

    text: str = field(repr=False)

    def __str__(self) -> str:
        return _CHAIN.join(_without_secrets(part) for part in self.text.split(_CHAIN))

    @property
    def scheme(self) -> str:
        """What the address begins with, in lower case, such as "s3"."""
        return self.text.partition(_CHAIN)[0].partition(_SCHEME)[0].lower()

    @property
    def is_http(self) -> bool:
        """Whether it is a file of a web server, which are not listed."""
        return self.scheme in _HTTP and not self.is_chained

    @property
    def is_chained(self) -> bool:
        """Whether it names something inside of another file, such as a ZIP archive."""
        return _CHAIN in self.text

    @property
    def path(self) -> PurePosixPath:
        """The path in the first part, with the host or bucket in front."""
        first = self.text.partition(_CHAIN)[0].partition(_SCHEME)[2]
        if self.scheme in _HTTP:
            split = urlsplit(f"//{first}")
            first = f"{split.netloc.rpartition('@')[2]}{unquote(split.path)}"
        return PurePosixPath(first)

    @property
    def name(self) -> str:
        """Last part of the path; empty for a server or bucket as a whole."""
        return self.path.name if len(self.path.parts) > 1 or self.is_chained else ""

    @property
    def suffix(self) -> str:
        """Suffix of the name."""
        return PurePosixPath(self.name).suffix

    @property
    def is_pattern(self) -> bool:
        """Whether the path has signs of a pattern."""
        first = self.text.partition(_CHAIN)[0]
        return any(sign in first for sign in (_WILD.replace("?", "") if self.is_http else _WILD))

    def fixed_part(self) -> "Address":
        """The folder before the first sign of a pattern."""
        first, chain, rest = self.text.partition(_CHAIN)
        scheme, _, path = first.partition(_SCHEME)
        kept = []
        for part in path.split("/"):
            if any(sign in part for sign in _WILD):
                break
            kept.append(part)
        return Address(f"{scheme}{_SCHEME}{'/'.join(kept)}{chain}{rest}")

    def __truediv__(self, path: str) -> "Address":
        """The address of something below this one."""
        first, chain, rest = self.text.partition(_CHAIN)
        between = "" if first.endswith("/") else "/"
        return Address(f"{first}{between}{path}{chain}{rest}")

    @property
    def parent(self) -> "Address":
        """The address of the folder."""
        first, chain, rest = self.text.partition(_CHAIN)
        return Address(f"{first.rstrip('/').rpartition('/')[0]}{chain}{rest}")


Location = Path | Address


def is_address(text: object) -> bool:
    """Whether a text is an address, and not a path.

    >>> [is_address(text) for text in ("s3://bucket/a.png", "C:/a.png", "photos/a.png")]
    [True, False, False]
    """
    return isinstance(text, Address) or (isinstance(text, str) and bool(_ADDRESS.match(text)))


def as_location(item: str | Location) -> Location:
    """An address, or a path of this machine."""
    if isinstance(item, Address):
        return item
    return Address(str(item)) if is_address(item) else Path(item)


def require_safe_path(
    address: Address, path: str, windows: bool = sys.platform == "win32"
) -> PurePosixPath:
    """Returns a path that a server gave, if files of this machine may have its names.

    Args:
        address: What has this path, for the error.
        path: Path with forward slashes, relative to a folder.
        windows: Whether names must be those of files on Windows.

    Raises:
        DataError: A name is empty, leads out of the folder, or is not that of a file.

    >>> require_safe_path(Address("s3://bucket/a/b.png"), "a/b.png").as_posix()
    'a/b.png'
    """
    for part in path.split("/"):
        is_long = len(part.encode("utf-8", "surrogateescape")) > _LONGEST_NAME
        is_unsafe = part in ("", ".", "..") or bool(_UNSAFE.search(part))
        is_device = bool(_UNSAFE_ON_WINDOWS.search(part) or _DEVICES.match(part))
        if is_long or is_unsafe or (windows and is_device):
            raise DataError(
                f"{str(address)!r} has the part {part!r:.80}, which no file of this machine can "
                "have as its name; accepted are names of files; rename it there"
            )
    return PurePosixPath(path)


def _without_secrets(part: str) -> str:
    """One part of a chain, without the user and password of its host and without a query."""
    scheme, mark, rest = part.partition(_SCHEME)
    if not mark:
        return part
    host, slash, path = rest.partition("/")
    is_http = scheme.lower() in _HTTP
    if is_http:
        path = re.split("[?#]", path, maxsplit=1)[0]
        host = re.split("[?#]", host, maxsplit=1)[0]
    user, _, server = host.rpartition("@")
    # abfs://container@account has no secret.
    return f"{scheme}{mark}{server if is_http or ':' in user else host}{slash}{path}"
