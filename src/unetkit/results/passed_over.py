"""What a folder holds beside the images that are predicted, and why it is passed over."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from unetkit._shared.wording import format_count
from unetkit.io.other_formats import OTHER_IMAGES, TIFF_SUFFIXES
from unetkit.prediction.sources import SUFFIXES, is_image
from unetkit.results.inputs import list_folder

MOST_KINDS = 8  # suffixes listed in the sentence
FOLDER = "folder"


def find_passed_over(
    folders: Iterable[str | Path], *, recursive: bool = False, skip: Path | None = None
) -> list[Path]:
    """Returns what folders hold beside images, without hidden files.

    Args:
        folders: Paths; those that are no folders are ignored.
        recursive: Whether to look into subfolders.
        skip: Folder that is passed over without being counted, such as that of the results.
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        if folder.is_dir() and not is_image(folder):
            inside = list_folder(folder, recursive=recursive, skip=skip)
            found += [path for path in inside if not is_image(path)]
    return found


def describe_passed_over(paths: Iterable[Path]) -> str:
    """Returns how many files and folders were passed over, of which kinds, and why; "" for none.

    >>> describe_passed_over([Path("notes.txt"), Path("notes.md"), Path("more.txt")])
    'passed over: 2 .txt, 1 .md (no images)'
    """
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for path in paths:
        reason, kind = _reason(path)
        groups[reason][kind] += 1
    parts = []
    for reason, counts in groups.items():
        listed = ", ".join(
            format_count(n, kind) if kind == FOLDER else f"{n} {kind}"
            for kind, n in counts.most_common(MOST_KINDS)
        )
        more = len(counts) - MOST_KINDS
        parts.append(f"{listed}{f' and {more} more kinds' if more > 0 else ''} ({reason})")
    parts.sort()
    return f"passed over: {'; '.join(parts)}" if parts else ""


def _reason(path: Path) -> tuple[str, str]:
    """Why a file or folder is passed over, and what it is."""
    if path.is_dir():
        return "only files of the folder itself are predicted: add --recursive", FOLDER
    suffix = path.suffix.lower() or "without a suffix"
    if suffix in TIFF_SUFFIXES:
        return "TIFFs under another name: name the files to predict them", suffix
    if suffix in OTHER_IMAGES:
        return "image formats that are not read: convert them to TIFF or PNG", suffix
    if suffix in SUFFIXES:
        return "no regular files", suffix
    return "no images", suffix
