"""Oxford-IIIT Pet: a folder made of the published archives, and a list of their defects.

`download_oxford_pets` makes a folder of images and trimaps with the official lists. Damaged and
misnamed files stay as published, so that everyone evaluates on the same set; they are listed, not
corrected. Files of macOS and MATLAB in the archives are left out.

Archives are downloaded in `download` and unpacked in `unpacking`.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from unetkit._shared.display import Display
from unetkit._shared.files import read_bytes
from unetkit._shared.wording import format_count
from unetkit.data.reading import READERS
from unetkit.datasets.download import Archive, Publication, obtain_archives
from unetkit.datasets.synthetic_pets import whole_folder
from unetkit.datasets.unpacking import unpack_archive
from unetkit.errors import DataError

NAMES_SHOWN = 12  # of each kind of defect; the result has all names
# Pillow's formats of each suffix; MPO is a JPEG followed by further images.
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
    """Content of a downloaded folder; paths are relative to it.

    Args:
        folder: Path of the folder, for `train` and `evaluate`.
        pairs: Number of images with a trimap that are in an official list.
        misnamed: Paths of images whose format is not that of their suffix.
        broken: Paths of images that cannot be decoded.
        unpaired: Paths of images without a trimap, and of trimaps without an image.
        unlisted: Names of pairs in no official list.
        absent: Names in an official list without any file.
        left_out: Names of members of the archives that were not unpacked.
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
    """Downloads the Oxford-IIIT Pet data set: 811 MB, and as much again unpacked.

    The folder is created complete or not at all:

        images/NAME.jpg                          the photos
        annotations/trimaps/NAME.png             1 pet, 2 background, 3 border
        annotations/{list,trainval,test}.txt     lines of NAME CLASS-ID SPECIES BREED-ID
        annotations/xmls/NAME.xml, README        as published

    macOS's `._*` files and stray `.mat` files are left out.

    Args:
        folder: Path of a new or empty folder.
        archives: Folder that contains images.tar.gz and annotations.tar.gz; nothing is downloaded
            then.
        cache: Folder in which complete and partial downloads are kept; the user's cache folder by
            default.
        display: Display of progress and results; None for none.
        publication: Archives and their addresses.

    Raises:
        OutputExistsError: `folder` is a file, or is not empty.
        DataNotFoundError: No server delivers an archive, or `archives` lacks one.
        DataError: An archive in `archives` has a wrong checksum, an archive has unsafe members, or
            the archives have no pair of image and trimap.

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
            found = _inspect(unfinished, folder, left_out, display)
    finally:
        display.finish()
    _report(found, display)
    return found


def _is_stray(name: str) -> bool:
    """Whether a member is a file of macOS or MATLAB."""
    path = PurePosixPath(name)
    return path.suffix == ".mat" or any(part.startswith(".") for part in path.parts)


def _inspect(unfinished: Path, folder: Path, left_out: list[str], display: Display) -> OxfordPets:
    """Decodes every image, and compares files and lists."""
    images = {path.stem: path for path in sorted(unfinished.glob("images/*.jpg"))}
    trimaps = {path.stem: path for path in sorted(unfinished.glob("annotations/trimaps/*.png"))}
    both, listed = images.keys() & trimaps.keys(), _read_lists(unfinished)
    if not both & listed:
        raise DataError(
            f"the archives for {folder} have {len(images)} images, {len(trimaps)} trimaps and "
            f"{len(listed)} names, and no listed pair; accepted are the published archives; "
            "download them again"
        )
    files = [*images.values(), *trimaps.values()]
    verdicts: dict[str, list[str]] = {"sound": [], "misnamed": [], "broken": []}
    on_done = display.task("checking the images", len(files))
    with ThreadPoolExecutor(READERS) as pool:
        try:
            for path, verdict in zip(files, pool.map(_verdict, files), strict=True):
                verdicts[verdict].append(path.relative_to(unfinished).as_posix())
                on_done()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interruption does not wait for the other files
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
    paths = (folder / "annotations" / f"{split}.txt" for split in ("trainval", "test"))
    texts = [read_bytes(path).decode("utf-8", errors="replace") for path in paths if path.is_file()]
    lines = (line.split() for text in texts for line in text.splitlines())
    return {fields[0] for fields in lines if fields and not fields[0].startswith("#")}


def _verdict(path: Path) -> str:
    try:
        with Image.open(path) as image:
            image.load()
            return "sound" if image.format in _FORMATS[path.suffix] else "misnamed"
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return "broken"


def _report(found: OxfordPets, display: Display) -> None:
    display.say(
        f"data      {found.folder}: {format_count(found.pairs, 'pair')} in the official lists"
    )
    for names, what in (
        (found.misnamed, "of another format than their suffix"),
        (found.broken, "cannot be decoded"),
        (found.unpaired, "without a counterpart"),
        (found.unlisted, "pairs in no official list"),
        (found.absent, "names in the lists without a file"),
    ):
        if names:
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            display.say(f"          {what}: {len(names)} ({', '.join(names[:NAMES_SHOWN])}{more})")
    if found.left_out:
        display.say(f"          files of macOS and MATLAB, left out: {len(found.left_out)}")
    display.say("source    Parkhi et al., Cats and Dogs, CVPR 2012; licence CC BY-SA 4.0")
