"""Names of files that hold images and are passed over in folders, and what can be done about it."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import PurePath

# TIFFs under the names that scanners and microscopes give them; read where they are named.
TIFF_SUFFIXES = (
    *(".svs", ".ndpi", ".qptiff", ".btf", ".tf2", ".tf8", ".lsm", ".scn", ".stk", ".bif"),
)
# Images that are not read, whatever they are called.
OTHER_IMAGES = (
    *(".czi", ".nd2", ".lif", ".vsi", ".mrxs", ".oib", ".oif", ".zvi", ".ims", ".jxl"),
    *(".exr", ".hdr", ".psd", ".mat", ".img", ".mrc", ".raw", ".dng", ".cr2", ".nef", ".arw"),
    *(".h5", ".hdf5", ".tga", ".pcx", ".ico", ".svg", ".nrrd", ".mha", ".mhd"),
)


def other_image_kind(path: PurePath) -> str | None:
    """Returns why a file that holds an image is passed over in a folder; None for other files.

    >>> other_image_kind(PurePath("a.czi"))
    'formats that are not read: convert them to TIFF or PNG'
    """
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return "TIFFs under another name: rename them to .tif"
    if suffix in OTHER_IMAGES:
        return "formats that are not read: convert them to TIFF or PNG"
    return None


def count_other_images(paths: Iterable[PurePath]) -> dict[str, Counter[str]]:
    """Returns the number of files of each suffix, by the reason why they are passed over."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for path in paths:
        reason = other_image_kind(path)
        if reason is not None:
            found[reason][path.suffix.lower()] += 1
    return dict(found)
