"""The images that addresses name, beside those of this machine: `inputs` for other machines.

What a server lists is a name until it is checked: one that no file of this machine can have makes
an image that is reported, not a file elsewhere.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unetkit._shared.threads import in_order
from unetkit.errors import ConfigError, DataError, DataNotFoundError, UnetkitError
from unetkit.io import zarr_reader
from unetkit.io.images import suffix_of
from unetkit.prediction.sources import SUFFIXES
from unetkit.remote.addresses import Address, Location, as_location, require_safe_path
from unetkit.remote.transfers import RemoteFile, find_file, list_files, match_files
from unetkit.results.inputs import TREE_TOP, InputImage, Shard, find_inputs

TRANSFERS = 8  # at the same time


@dataclass(frozen=True)
class RemoteImage:
    """An image of another machine, or an address that names none.

    Args:
        file: The file, or the folder of an OME-Zarr image.
        inside: Path from what was named, which results are named after.
        subfolder: Folder of its results, from the folder of all results.
        fault: Why it cannot be read; None if nothing is known against it.
    """

    file: RemoteFile
    inside: str
    subfolder: PurePosixPath = TREE_TOP
    fault: UnetkitError | None = None

    @property
    def address(self) -> Address:
        """Address of the file."""
        return self.file.address

    @property
    def is_zarr(self) -> bool:
        """Whether its chunks are read where they are."""
        return zarr_reader.is_zarr(self.address)

    def local(self, folder: Path) -> InputImage:
        """The image as it is in a folder of this machine."""
        name = PurePosixPath(self.inside).name
        return InputImage(folder / name, self.subfolder, self.address)

    @property
    def name(self) -> str:
        """What its results are named after, with their subfolder: the name without a suffix."""
        return self.local(Path()).name


def find_remote_inputs(
    items: Iterable[str | Location],
    *,
    recursive: bool = False,
    shard: Shard | None = None,
    skip: Location | None = None,
) -> list[InputImage | RemoteImage]:
    """Expands addresses and paths to images, without duplicates.

    Args:
        items: Addresses of images, of folders and patterns; and whatever `find_inputs` takes.
        recursive: Whether to take the images of all subfolders, too, and keep their tree.
        shard: Which part of the images is taken; None for all.
        skip: Folder of the results, which is passed over below others.

    Raises:
        DataNotFoundError: A folder does not exist, or a folder or pattern has no image. A single
            image that does not exist has a `fault`.
        DataError: A folder cannot be listed.
        ConfigError: An address is of a kind that is not read.
        MissingExtraError: The library that reads an address is not installed.
    """
    folder = skip if isinstance(skip, Path) else None

    def expanded(location: Location) -> Sequence[InputImage | RemoteImage]:
        if isinstance(location, Path):
            return find_inputs([location], recursive=recursive, shard=shard, skip=folder)
        images = list(_expand(location, recursive, skip))
        if not images:
            raise DataNotFoundError(
                f"{location} names no image; accepted are addresses of images "
                f"({', '.join(SUFFIXES)}), of a folder of them, and patterns such as *.jpg"
            )
        return [image for image in images if shard is None or shard.has(image.name)]

    found: dict[str, InputImage | RemoteImage] = {}
    for images in in_order(expanded, map(as_location, items), TRANSFERS):
        for image in images:
            if isinstance(image, RemoteImage):
                found.setdefault(image.address.text, image)
            else:
                found.setdefault(str(image.path), image)
    return list(found.values())


def _expand(address: Address, recursive: bool, skip: Location | None) -> Iterator[RemoteImage]:
    if address.is_http and (address.is_pattern or not address.name):
        raise ConfigError(
            f"{address} names many files of a web server, which does not list them; accepted are "
            "addresses of single files; name each of them"
        )
    if address.is_pattern:
        for file, inside in match_files(address):
            if _is_image(file):
                yield _image(file, inside, recursive)
    elif zarr_reader.is_zarr(address) and address.is_http:
        file = find_file(address / "zarr.json")  # of a folder, a web server has nothing to say
        yield _image(RemoteFile(address, file.filesystem, "", None, (), True), address.name, False)
    else:
        try:
            file = find_file(address)
        except (DataError, DataNotFoundError) as error:
            if not (address.is_http or suffix_of(address.path) in SUFFIXES):
                raise
            file = RemoteFile(address, None, "", None, (), False)
            yield RemoteImage(file, address.name, fault=error)
            return
        if file.is_folder and not zarr_reader.is_zarr(address):
            yield from _walk(file, "", recursive, skip)
        else:
            yield _image(file, address.name, False)


def _walk(
    folder: RemoteFile, above: str, recursive: bool, skip: Location | None
) -> Iterator[RemoteImage]:
    for file in list_files(folder):
        inside = f"{above}{_last(file)}"
        if _is_image(file):
            yield _image(file, inside, recursive)
        elif file.is_folder and recursive and not _is_same(file.address, skip):
            yield from _walk(file, f"{inside}/", recursive, skip)


def _image(file: RemoteFile, inside: str, recursive: bool) -> RemoteImage:
    try:
        path = require_safe_path(file.address, inside)
    except DataError as error:
        return RemoteImage(file, "image", fault=error)
    return RemoteImage(file, inside, path.parent if recursive else TREE_TOP)


def _is_image(file: RemoteFile) -> bool:
    """Whether a file is an image by its name, and not hidden."""
    name = PurePosixPath(_last(file))
    is_known = not name.name.startswith(".") and suffix_of(name) in SUFFIXES
    return is_known and file.is_folder == (suffix_of(name) == zarr_reader.ZARR_SUFFIX)


def _is_same(address: Address, other: Location | None) -> bool:
    if not isinstance(other, Address):
        return False
    return address.text.rstrip("/") == other.text.rstrip("/")


def _last(file: RemoteFile) -> str:
    return file.path.rstrip("/").rpartition("/")[2]
