"""Mask files that are drawn: read for correction, and written again without loss.

A mask that cannot be written back as it is (colours, a lossy format, numbers that are no class) is
refused, so that nothing of it changes without being said.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from unetkit._shared.files import read_bytes, write_atomically
from unetkit.data.masks import read_raw_mask
from unetkit.errors import DataError, without_remedy
from unetkit.io.images import ImageFile
from unetkit.label.project import OBJECT_SUFFIXES, ImageEntry, Project

LARGEST_MASK_FILE = 1 << 32  # bytes of a file
OTHER_SUFFIXES = (*OBJECT_SUFFIXES, ".bmp", ".gif", ".jpg", ".jpeg", ".npy", ".json")


@dataclass(frozen=True)
class MaskFile:
    """A mask file.

    Args:
        path: Path, whether or not it exists.
        pixels: Mask, (H, W) of the project's type.
        digest: SHA-256 of the file; "" if there is none.
        palette: Colours of its palette, (n, 3) uint8; None without one.
    """

    path: Path
    pixels: np.ndarray
    digest: str = ""
    palette: np.ndarray | None = None


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal; "" if it does not exist."""
    if not path.exists():
        return ""
    return hashlib.sha256(read_bytes(path, LARGEST_MASK_FILE)).hexdigest()


def _require_no_other(entry: ImageEntry, project: Project) -> None:
    """Refuses an image whose mask is in a format that is not written here."""
    for suffix in OTHER_SUFFIXES:
        other = entry.mask.with_suffix(suffix)
        if other.exists():
            accepted = "PNG and TIFF" if project.has_objects else "PNG"
            raise DataError(
                f"{other} is the mask of {entry.shown}; accepted to be corrected is {accepted}; "
                "convert it, or move it away"
            )


def read_mask_file(entry: ImageEntry, project: Project, size: tuple[int, int]) -> MaskFile:
    """Reads the mask of an image; all of it is unlabelled if there is none.

    Args:
        entry: The image.
        project: Its project.
        size: (height, width) of the image.

    Raises:
        DataError: The mask is damaged, of another size, or cannot be written back as it is.
    """
    path = entry.mask
    if not path.exists():
        _require_no_other(entry, project)
        return MaskFile(path, np.full(size, project.unlabelled, project.dtype))
    digest = digest_of(path)
    with ImageFile(path, role="mask") as file:
        format = file.format
        try:
            raw = read_raw_mask(file)
        except DataError as error:  # its advice is for other commands
            raise DataError(
                f"{without_remedy(error)}; accepted to be corrected are PNGs of numbers; convert it"
            ) from error
    wrong = "colours" if raw.is_colour else "pixels without data" if raw.missing is not None else ""
    if format not in ("PNG", "TIFF") or raw.is_lossy:
        wrong = f"the format {format}"
    if wrong:
        raise DataError(
            f"mask {path} has {wrong}; accepted to be corrected are PNGs of numbers; convert it"
        )
    if raw.values.shape != size:
        raise DataError(
            f"mask {path} has {raw.values.shape[0]}x{raw.values.shape[1]} pixels and its image "
            f"{size[0]}x{size[1]}; accepted are equal sizes; correct one of them"
        )
    values = np.unique(raw.values)
    unknown = values[~project.accepts(values)]
    if len(unknown):
        raise DataError(
            f"mask {path} has the value {unknown[0]}; accepted are {project.classes.describe()}; "
            "list all classes in classes.toml beside the masks"
        )
    return MaskFile(path, raw.values.astype(project.dtype), digest, raw.palette)


def write_mask_file(mask: MaskFile, on_digest: Callable[[str], object] = lambda _: None) -> str:
    """Writes a mask beside its place, flushed to the disk, and renames it.

    Args:
        mask: The mask.
        on_digest: Called with the SHA-256 of the file before it is renamed.

    Returns:
        SHA-256 of the file.
    """
    digest = ""

    def write(part: Path) -> None:
        nonlocal digest
        with open(part, "wb") as file:
            if mask.path.suffix.lower() in OBJECT_SUFFIXES:
                tifffile.imwrite(file, mask.pixels, compression="zlib")
            else:
                _to_pillow(mask).save(file, "PNG")
            file.flush()
            os.fsync(file.fileno())
        digest = digest_of(part)
        on_digest(digest)

    mask.path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(mask.path, write)
    return digest


def _to_pillow(mask: MaskFile) -> Image.Image:
    image = Image.fromarray(mask.pixels)
    if mask.palette is not None and mask.pixels.dtype == np.uint8:
        image.putpalette(mask.palette.tobytes())
    return image
