"""Oxford-IIIT Pet: the published archives made into a folder, and said what is amiss in them.

What: `download_oxford_pets` makes a folder of images and trimaps with the official lists.

Why this way: files that are broken or misnamed stay as published, so that everyone measures on the
same set; they are listed, not mended. What macOS and MATLAB left behind in the archives is no data.

Left to others: fetching and unpacking (`archives`); pairing, splitting and reading the pictures.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from unetkit._shared.display import Display
from unetkit.datasets.download import Archive, Publication, obtain_archives
from unetkit.datasets.synthetic_pets import whole_folder
from unetkit.datasets.unpacking import unpack_archive
from unetkit.errors import DataError

READERS = 4  # decoding releases Python's lock, and waits for the disk now and then
SHOWN = 12  # names said of each kind; the result has them all
# What an extension promises, in Pillow's names; MPO is a JPEG with further pictures behind it.
_FORMATS = {".jpg": ("JPEG", "MPO"), ".png": ("PNG",)}

OXFORD_PETS = Publication(
    archives=(
        Archive("annotations.tar.gz", 19_173_078, "95a8c909bbe2e81eed6a22bccdf3f68f", 10**9),
        Archive("images.tar.gz", 791_918_971, "5c4f3ee8e5d25df40f4fd59a7f44e54c", 4 * 10**9),
    ),
    mirrors=(
        "https://www.robots.ox.ac.uk/~vgg/data/pets/data/",
        "https://thor.robots.ox.ac.uk/datasets/pets/",
        "https://thor.robots.ox.ac.uk/~vgg/data/pets/",
    ),
)


@dataclass(frozen=True)
class OxfordPets:
    """What a downloaded folder holds; files are named relative to it.

    Args:
        folder: Made to be given to `train` and `evaluate`.
        pairs: How many images have a trimap and stand in an official list.
        misnamed: Pictures that are of another format than their names say.
        broken: Pictures that cannot be decoded.
        unpaired: Images without a trimap, and trimaps without an image.
        unlisted: Names of pairs that stand in no official list.
        absent: Names that stand in a list and have no file at all.
        left_out: Stray members of the archives that were not unpacked.
    """

    folder: Path
    pairs: int
    misnamed: tuple[str, ...]
    broken: tuple[str, ...]
    unpaired: tuple[str, ...]
    unlisted: tuple[str, ...]
    absent: tuple[str, ...]
    left_out: tuple[str, ...]


def download_oxford_pets(
    folder: str | Path,
    *,
    archives: str | Path | None = None,
    cache: str | Path | None = None,
    display: Display | None = None,
    publication: Publication = OXFORD_PETS,
) -> OxfordPets:
    """Makes a folder of the Oxford-IIIT Pet data set: 811 MB to fetch, as much again unpacked.

    The folder appears complete or not at all:

        images/NAME.jpg                          the photos
        annotations/trimaps/NAME.png             1 pet, 2 background, 3 border
        annotations/{list,trainval,test}.txt     lines of NAME CLASS-ID SPECIES BREED-ID
        annotations/xmls/NAME.xml, README        as published

    macOS's `._*` files and stray `.mat` files are left out.

    Args:
        folder: Does not exist yet, or is empty.
        archives: A folder in which images.tar.gz and annotations.tar.gz lie already; nothing is
            downloaded then.
        cache: Where downloaded archives, whole or in part, are kept for the next time; by default
            the user's cache folder.
        display: Shows what is going on; by default nothing is shown.
        publication: What to get, and from where.

    Raises:
        OutputExistsError: `folder` is a file, or has something in it.
        DataNotFoundError: No server delivers, or `archives` lacks one of them.
        DataError: A given archive has a wrong checksum, or holds what must not be unpacked, or
            no pair of image and trimap.

    Source: Parkhi, Vedaldi, Zisserman and Jawahar, "Cats and Dogs", CVPR 2012. The authors publish
    the set under CC BY-SA 4.0.
    """
    folder, display = Path(folder), display or Display()
    try:
        with whole_folder(folder) as unfinished:
            paths = obtain_archives(publication, archives=archives, cache=cache, display=display)
            left_out = []
            for path, archive in zip(paths, publication.archives, strict=True):
                left_out += unpack_archive(
                    path,
                    unfinished,
                    max_size=archive.max_unpacked_size,
                    is_stray=_is_stray,
                    display=display,
                )
            found = _look(unfinished, folder, left_out, display)
    finally:
        display.finish()
    _report(found, display)
    return found


def _is_stray(name: str) -> bool:
    """Whether macOS or MATLAB left it behind."""
    path = PurePosixPath(name)
    return path.suffix == ".mat" or any(part.startswith(".") for part in path.parts)


def _look(unfinished: Path, folder: Path, left_out: list[str], display: Display) -> OxfordPets:
    """Decodes every picture, and holds files and lists against each other."""
    images = {path.stem: path for path in sorted(unfinished.glob("images/*.jpg"))}
    trimaps = {path.stem: path for path in sorted(unfinished.glob("annotations/trimaps/*.png"))}
    both, listed = images.keys() & trimaps.keys(), _read_lists(unfinished)
    if not both & listed:
        raise DataError(
            f"the archives for {folder} hold {len(images)} images, {len(trimaps)} trimaps and "
            f"{len(listed)} names, and no pair that is listed; accepted are the published ones; "
            "download them again"
        )
    files = [*images.values(), *trimaps.values()]
    verdicts: dict[str, list[str]] = {"sound": [], "misnamed": [], "broken": []}
    on_done = display.task("looking at the pictures", len(files))
    with ThreadPoolExecutor(READERS) as pool:
        try:
            for path, verdict in zip(files, pool.map(_verdict, files), strict=True):
                verdicts[verdict].append(path.relative_to(unfinished).as_posix())
                on_done()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interruption does not wait for all the others
            raise
    alone = [(images | trimaps)[name] for name in sorted(images.keys() ^ trimaps.keys())]
    return OxfordPets(
        folder=folder,
        pairs=len(both & listed),
        misnamed=tuple(verdicts["misnamed"]),
        broken=tuple(verdicts["broken"]),
        unpaired=tuple(path.relative_to(unfinished).as_posix() for path in alone),
        unlisted=tuple(sorted(both - listed)),
        absent=tuple(sorted(listed - images.keys() - trimaps.keys())),
        left_out=tuple(left_out),
    )


def _read_lists(folder: Path) -> set[str]:
    """The names in the official lists, whose lines are NAME CLASS-ID SPECIES BREED-ID."""
    paths = (folder / "annotations" / f"{part}.txt" for part in ("trainval", "test"))
    texts = [path.read_text("utf-8", errors="replace") for path in paths if path.is_file()]
    lines = (line.split() for text in texts for line in text.splitlines())
    return {fields[0] for fields in lines if fields and not fields[0].startswith("#")}


def _verdict(path: Path) -> str:
    try:
        with Image.open(path) as picture:
            picture.load()
            return "sound" if picture.format in _FORMATS[path.suffix] else "misnamed"
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return "broken"


def _report(found: OxfordPets, display: Display) -> None:
    display.say(f"data      {found.folder}: {found.pairs} pairs in the official lists")
    for names, what in (
        (found.misnamed, "of another format than their names say"),
        (found.broken, "cannot be decoded"),
        (found.unpaired, "without a counterpart"),
        (found.unlisted, "pairs that stand in no official list"),
        (found.absent, "names in the lists that have no file"),
    ):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            display.say(f"          {what}: {len(names)} ({', '.join(names[:SHOWN])}{more})")
    if found.left_out:
        display.say(f"          left behind by macOS and MATLAB, left out: {len(found.left_out)}")
    display.say("source    Parkhi et al., Cats and Dogs, CVPR 2012; licence CC BY-SA 4.0")
