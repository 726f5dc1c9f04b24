"""What is labelled: the images of a folder, their classes, and the files of their masks.

Masks mirror the folder of images in a folder of their own, with a class file and a table of pairs
beside them, so that `unetkit check` and `unetkit train` read them as they are.
"""

import csv
import hashlib
import io
import os
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from unetkit._shared.files import read_text, write_atomically, write_text
from unetkit._shared.wording import format_count, printable
from unetkit.data.classes import CLASS_FILES, Classes, find_class_file, read_class_file
from unetkit.data.filenames import parse_path
from unetkit.errors import ConfigError, DataError, DataNotFoundError
from unetkit.io.images import is_image_name, suffix_of
from unetkit.results.masks import LARGEST_8_BITS, LARGEST_16_BITS

STATE_FOLDER = ".label"  # in the folder of masks: journals, suggestions and rounds of training
PAIRS_TABLE = "pairs.csv"
DEFAULT_CLASSES = ("background", "foreground")
OBJECT_SUFFIXES = (".tif", ".tiff")  # of existing masks of objects, beside PNG
LEAST_TOKEN = 16  # characters
LISTED_NAMES = 3  # names in a sentence


@dataclass(frozen=True)
class ImageEntry:
    """An image that can be labelled.

    Args:
        id: Sixteen hexadecimal digits, the same whenever the folder is opened.
        name: Path within the folder of images, with "/" between folders.
        path: Path of the image.
        mask: Path of the mask, whether or not it exists.
    """

    id: str
    name: str
    path: Path
    mask: Path

    @property
    def shown(self) -> str:
        """The name, in printable characters."""
        return printable(self.name)


@dataclass(frozen=True)
class Project:
    """A folder of images and the folder of their masks.

    Args:
        images: Folder of the images.
        out: Folder of the masks.
        classes: Classes of the masks; `ignore` is the value of unlabelled pixels.
        entries: Images by their id, sorted by name.
        left_out: Sentences about images that are left out.
    """

    images: Path
    out: Path
    classes: Classes
    entries: Mapping[str, ImageEntry]
    left_out: tuple[str, ...] = ()

    @property
    def has_objects(self) -> bool:
        """Whether a mask has the number of an object at each pixel."""
        return self.classes.kind == "instances"

    @property
    def unlabelled(self) -> int:
        """Value of pixels without a label."""
        if self.classes.ignore is None:
            raise ConfigError("classes of a project have no value of unlabelled pixels")
        return self.classes.ignore

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels of masks."""
        largest = max(*self.classes.values, self.unlabelled)
        is_small = largest <= LARGEST_8_BITS and not self.has_objects
        return np.dtype(np.uint8 if is_small else np.uint16)

    @property
    def state(self) -> Path:
        """Folder of what is kept beside the masks."""
        return self.out / STATE_FOLDER

    def accepts(self, values: np.ndarray) -> np.ndarray:
        """Whether each value may stand in a mask, bool of the same shape."""
        if self.has_objects:
            return (values >= 0) & (values <= LARGEST_16_BITS)
        return np.isin(values, [*self.classes.values, self.unlabelled])


def open_project(
    images: Path, out: Path | None = None, classes: Mapping[str, Any] | None = None
) -> Project:
    """Lists the images of a folder and decides on their classes; nothing is written.

    Args:
        images: Folder of images.
        out: Folder of the masks; None for `masks` beside `images`.
        classes: Arguments of `Classes` from options; None or {} for those of the class file, or
            `DEFAULT_CLASSES`.

    Raises:
        DataNotFoundError: The folder does not exist, or has no images.
        DataError: The class file is not accepted, or masks exist whose classes are not known.
        ConfigError: The classes are not accepted, or differ from those of the class file.
    """
    if not images.is_dir():
        raise DataNotFoundError(
            f"{images} is no folder; accepted is a folder of images; give the folder that has them"
        )
    out = images.resolve().parent / "masks" if out is None else out
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is no folder; accepted is one for the masks; give it with --out")
    if out.resolve() == images.resolve():
        raise ConfigError(
            f"--out is {out}, the folder of the images; accepted is another one for the masks"
        )
    entries, left_out = _list_images(images, out)
    if not entries:
        reason = f" ({left_out[0]})" if left_out else ""
        raise DataNotFoundError(
            f"{images} contains no images{reason}; accepted is a folder of images, also in folders "
            "within it"
        )
    has_masks = any(entry.mask.exists() for entry in entries.values())
    chosen = _choose_classes(out, classes or {}, has_masks)
    if chosen.kind == "instances":
        entries = {id: _with_tiff(entry) for id, entry in entries.items()}
    return Project(images, out, chosen, entries, tuple(left_out))


def _with_tiff(entry: ImageEntry) -> ImageEntry:
    """The same image, with the TIFF that its mask is in already, if there is no PNG."""
    tiffs = [entry.mask.with_suffix(suffix) for suffix in OBJECT_SUFFIXES]
    found = [] if entry.mask.exists() else [path for path in tiffs if path.exists()]
    return replace(entry, mask=found[0]) if found else entry


def _list_images(folder: Path, out: Path) -> tuple[dict[str, ImageEntry], list[str]]:
    """Images that can be labelled, by id, and sentences about the others."""
    paths = sorted(_walk(folder, out.resolve()))
    roles = {path: parse_path(path).role for path in paths}
    masks = [path for path in paths if roles[path] == "mask"]
    by_mask: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in paths:
        if path not in masks and _is_writable(str(path)):
            stem = path.name[: -len(suffix_of(path))]
            by_mask[path.with_name(f"{stem}.png")].append(path)
    left_out = []
    unnamed = [path for path in paths if not _is_writable(str(path))]
    if unnamed:
        left_out.append(
            f"{_listed(unnamed)} cannot be named in a table, with line breaks or bytes that are "
            "not UTF-8, and are left out; rename them"
        )
    if masks:
        left_out.append(
            f"{format_count(masks, 'image')} in folders of masks ({_listed(masks)}) are left out; "
            "give the folder of the images themselves"
        )
    entries = {}
    for mask, images in sorted(by_mask.items()):
        if len(images) > 1:
            left_out.append(
                f"{_listed(images)} would share the mask {printable(str(mask))} and are left out; "
                "rename all but one"
            )
            continue
        name = images[0].as_posix()
        id = hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()
        entries[id] = ImageEntry(id, name, folder / images[0], out / mask)
    return entries, left_out


def _walk(folder: Path, out: Path) -> Iterable[PurePosixPath]:
    """Paths of images below a folder, relative to it; hidden ones and the folder `out` not."""
    for root, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and Path(root, name).resolve() != out
        ]
        relative = PurePosixPath(Path(root).relative_to(folder).as_posix())
        for name in names:
            if not name.startswith(".") and is_image_name(PurePosixPath(name)):
                yield relative / name


def _is_writable(name: str) -> bool:
    """Whether a name can stand in a table: in UTF-8, on one line."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return len(name.splitlines()) == 1


def _listed(paths: list[PurePosixPath]) -> str:
    names = ", ".join(printable(str(path)) for path in paths[:LISTED_NAMES])
    return names if len(paths) <= LISTED_NAMES else f"{names}, ..."


def _choose_classes(out: Path, given: Mapping[str, Any], has_masks: bool) -> Classes:
    """Classes of the options, of the class file, or two by default, with an unlabelled value."""
    file = find_class_file(out) or find_class_file(out.resolve().parent)
    arguments: dict[str, Any] = {} if file is None else read_class_file(file)
    kind = given.get("kind") or arguments.get("kind") or "classes"
    if kind == "colours" or arguments.keys() & {"threshold", "aliases", "ignored_labels"}:
        raise DataError(
            f"the classes of {file or '--classes'} are colours, labels or have a threshold; "
            "accepted to draw masks are numbers; list name and number of each class"
        )
    if file is None and has_masks and not given.get("names") and kind != "instances":
        raise DataError(
            f"{out} has masks, and no {CLASS_FILES[0]} says what their numbers mean; accepted are "
            "masks with named classes; name them in the order of their numbers from 0, as in "
            "--classes background,leaf"
        )
    names = tuple(given.get("names") or arguments.get("names") or _default_names(kind))
    values = given.get("values") or (None if given.get("names") else arguments.get("values"))
    chosen = {
        "names": names,
        "values": tuple(values or range(len(names))),
        "kind": kind,
        "background": 0 if kind == "instances" else None,
        **({"background": arguments["background"]} if "background" in arguments else {}),
    }
    if file is not None and given.get("names"):
        _require_same(file, arguments, chosen)
    if kind != "instances" and chosen["background"] is None and "background" in names:
        chosen["background"] = names.index("background")
    classes = Classes(**chosen)
    kept = arguments.get("colours", ())
    classes = replace(classes, colours=(*kept, *classes.colours[len(kept) :]))
    ignore = arguments.get("ignore", LARGEST_16_BITS if kind == "instances" else None)
    if ignore is None:
        free = set(range(LARGEST_8_BITS + 1)) - set(classes.values)
        ignore = max(free, default=LARGEST_16_BITS)
    if ignore < 0:
        raise DataError(
            f"{file} ignores {ignore}; accepted to draw masks are numbers from 0; choose another "
            "one, which then means unlabelled"
        )
    return replace(classes, ignore=ignore)


def _default_names(kind: str) -> tuple[str, ...]:
    return ("background", "object") if kind == "instances" else DEFAULT_CLASSES


def _require_same(file: Path, arguments: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Refuses options that give numbers of the class file other meanings; more classes may come."""
    before = dict(zip(arguments.get("values", ()), arguments.get("names", ()), strict=False))
    after = dict(zip(chosen["values"], chosen["names"], strict=True))
    changed = [value for value in before if after.get(value) != before[value]]
    if changed or arguments.get("kind", "classes") != chosen["kind"]:
        raise ConfigError(
            f"--classes differs from {file}, by which the masks were drawn; accepted are its "
            f"classes ({', '.join(map(str, before.values()))}), and further ones after them; leave "
            "--classes out"
        )


def session_token(project: Project) -> str:
    """Returns the secret of the page's address, which this user alone can read.

    It stays the same, so that a page that is open when the server ends goes on with the next one.
    """
    file = project.state / "token"
    if file.exists():
        token = read_text(file).strip()
        if len(token) >= LEAST_TOKEN:
            return token
    token = secrets.token_urlsafe(LEAST_TOKEN)

    def write(part: Path) -> None:
        part.touch(mode=0o600)
        part.write_text(token, encoding="utf-8")

    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, write)
    return token


def write_class_file(project: Project, folder: Path | None = None) -> bool:
    """Writes `classes.toml` into a folder, unless a class file there says the same.

    Args:
        project: The project.
        folder: The folder; None for that of the masks.

    Returns:
        Whether it was written.
    """
    import tomli_w

    folder, classes = folder or project.out, project.classes
    file = find_class_file(folder)
    record: dict[str, Any] = {"kind": classes.kind, "ignore": project.unlabelled}
    if classes.background is not None:
        record["background"] = classes.names[classes.background]
    record["classes"] = dict(zip(classes.names, classes.values, strict=True))
    record["colours"] = {
        name: "#{:02x}{:02x}{:02x}".format(*colour)
        for name, colour in zip(classes.names, classes.colours, strict=True)
    }
    if file is not None:
        known = read_class_file(file)
        names, values = known.get("names"), known.get("values")
        if (names, values, known.get("ignore")) == (classes.names, classes.values, classes.ignore):
            return False
    target = folder / CLASS_FILES[0] if file is None else file
    if target.suffix == ".json":
        raise DataError(
            f"{target} does not say which pixels are unlabelled, or lacks a class; accepted is "
            f"{CLASS_FILES[0]}; add ignore = {project.unlabelled} and the classes to it"
        )
    write_text(target, tomli_w.dumps(record))
    return True


def write_pairs(
    project: Project, file: Path | None = None, ids: Collection[str] | None = None
) -> int:
    """Writes a table of the images that have a mask.

    Args:
        project: The images and their masks.
        file: Path of the table; None for `PAIRS_TABLE` in the folder of masks.
        ids: Ids of the images; None for all that have a mask.

    Returns:
        Number of pairs.
    """
    file = file or project.out / PAIRS_TABLE
    text, count = io.StringIO(), 0
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "mask", "name"))
    for entry in project.entries.values():
        if entry.mask.exists() and (ids is None or entry.id in ids):
            place = [_relative(path, file.parent) for path in (entry.path, entry.mask)]
            writer.writerow((*place, str(PurePosixPath(entry.name).with_suffix(""))))
            count += 1
    write_text(file, text.getvalue())
    return count


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return str(path.resolve())
