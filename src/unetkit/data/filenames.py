"""Role, split and stem of a file, from the names of its folders and its own name.

Only names are used here, never contents. Words in the name of a folder give its role (image or
mask) and its split (train, validation or test). The other folders and the stem, without the usual
prefixes and suffixes, are the key that an image has in common with its mask.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

from unetkit.io.images import is_image_name, suffix_of

# fmt: off
IMAGE_WORDS = frozenset((
    "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pics", "raw",
    "original", "originals", "input", "inputs", "frame", "frames", "jpegimages", "leftimg8bit",
    "imagestr", "imagests",
))
MASK_WORDS = frozenset((
    "mask", "masks", "label", "labels", "annotation", "annotations", "annot", "annots", "ann",
    "trimap", "trimaps", "seg", "segs", "segm", "segmentation", "segmentations",
    "segmentationclass", "segmentationobject", "gt", "gts", "groundtruth", "truth", "target",
    "targets", "gtfine", "gtcoarse", "labelstr", "labelsts", "matte", "mattes", "manual",
))
# fmt: on
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    "trainval": "trainval",
}
_FOLDER_SPLITS = {  # with those of nnU-Net's imagesTr, labelsTs
    **SPLIT_WORDS,
    **dict.fromkeys(("imagestr", "labelstr"), "train"),
    **dict.fromkeys(("imagests", "labelsts"), "test"),
}
_SET_WORDS = frozenset(("stage", "set", "data", "dataset"))  # stage1_train, test_set
_MASK_AFFIXES = (
    "man_seg|man_track|mask|trimap|segmentation|segm|seg|labelids|label|ground_?truth|gt|"
    "annotation|annot|anno|target|matte|manual|"
    "gt(?:fine|coarse)_(?:labelids|labeltrainids|instanceids|color)"
)
_IMAGE_AFFIXES = (
    "image|img|im|photo|picture|raw|rgb|original|orig|input|frame|sat|leftimg8bit|volume"
)
# A prefix stands before a separator or a number, a suffix after one. Masks of one image may be
# numbered.
_MASK_PREFIX = re.compile(rf"^(?:{_MASK_AFFIXES})s?(?:[-_ .]+|(?=\d))", re.IGNORECASE)
_MASK_SUFFIX = re.compile(
    rf"(?P<text>(?P<gap>[-_ .]+|(?<=\d))(?:{_MASK_AFFIXES})s?)"
    r"(?:(?P<space>[-_ ]?)(?P<number>\d{1,3}))?$",
    re.IGNORECASE,
)
_IMAGE_PREFIX = re.compile(
    rf"^(?:(?:{_IMAGE_AFFIXES})s?(?:[-_ .]+|(?=\d))|t(?=\d+$))", re.IGNORECASE
)
# DRIVE: 21_training.tif, 01_test.tif. nnU-Net: _0000, _0001 and so on, one file per channel.
_IMAGE_SUFFIX = re.compile(
    rf"(?:[-_ .]+|(?<=\d))(?:{_IMAGE_AFFIXES})s?$|_training$|_test$|_000\d$", re.IGNORECASE
)
_WHOLE = re.compile(r"[^\W_]+")
_WORD = re.compile(r"[^\W\d_]+\d*|\d+")
_ROLE_WORDS = IMAGE_WORDS | MASK_WORDS
_SPLITS = "|".join(sorted(SPLIT_WORDS, key=len, reverse=True))
_NO_KEYS = _ROLE_WORDS | {"ground", "st", "tra"}
_ROLES = "|".join(sorted(_ROLE_WORDS, key=len, reverse=True))
_COMPOUND = re.compile(rf"({_SPLITS})({_ROLES})|({_ROLES})({_SPLITS})")


@dataclass(frozen=True)
class PathInfo:
    """Role, split, folders and stem of a file.

    Args:
        path: Path relative to the data folder.
        role: "image" or "mask"; "" if no folder has a word for either.
        split: "train", "validation", "test" or "trainval"; "" if no folder has a word for one.
        full: Names of the folders without their words for role and split; "trimaps_approx" is
            "approx".
        bare: Names of the folders that have no word for role or split; "trimaps_approx" is left
            out.
        stem: File name without its suffix.
        full_pattern: Pattern of the folders, with "*" for words that differ between images or
            splits; "trimaps_approx" is "trimaps_*".
        bare_pattern: Pattern of the folders that keeps other words beside a role;
            "trimaps_approx" stays.
        given: Stem according to the user's pattern, from `stem_by`; "" without a pattern.
    """

    path: PurePosixPath
    role: str
    split: str
    full: tuple[str, ...]
    bare: tuple[str, ...]
    stem: str
    full_pattern: str
    bare_pattern: str
    given: str = ""


def parse_path(path: PurePosixPath, skip: int = 0) -> PathInfo:
    """Returns role, split, folders and stem of a file.

    Args:
        path: Path relative to the data folder.
        skip: Number of outer folders to disregard, since all files are in them.

    >>> parse_path(PurePosixPath("train/masks/slide 7/cell_mask.png")).role
    'mask'
    >>> parse_path(PurePosixPath("01_GT/SEG/man_seg002.tif")).full
    ('01',)
    """
    role = split = ""
    full: list[str] = []
    bare: list[str] = []
    full_pattern: list[str] = []
    bare_pattern: list[str] = []
    for name in path.parts[skip:-1]:
        folder = unicodedata.normalize("NFC", name)
        words = _words(folder)
        found = _role(words)
        role = found or role  # the innermost folder decides
        own = _split(words)
        split = own or split
        if not found and not own:
            full.append(folder)
            bare.append(folder)
            full_pattern.append("*")
            bare_pattern.append("*")
            continue
        rest = [word for word in words if _is_free(word) or not (own or word in _NO_KEYS)]
        if rest:
            full.append("_".join(rest))
        if found:
            of_splits = [word for word in words if own and word in SPLIT_WORDS]
            full_pattern.append(_starred(folder, [*rest, *of_splits]))
            bare_pattern.append(_starred(folder, of_splits))
    return PathInfo(
        path=path,
        role=role,
        split=split,
        full=tuple(full),
        bare=tuple(bare),
        stem=unicodedata.normalize("NFC", stem_of(path)),
        full_pattern="/".join(full_pattern),
        bare_pattern="/".join(bare_pattern),
    )


def stem_of(path: PurePosixPath) -> str:
    """Returns the stem of a file, or that of the image it is named after.

    >>> stem_of(PurePosixPath("cat.png")), stem_of(PurePosixPath("ann/cat.png.json"))
    ('cat', 'cat')
    >>> stem_of(PurePosixPath("brain.nii.gz"))
    'brain'
    """
    inner = PurePosixPath(path.stem)
    is_of_image = path.suffix.lower() == ".json" and is_image_name(inner)
    name = inner.name if is_of_image else path.name
    return name[: len(name) - len(suffix_of(PurePosixPath(name)))]


@cache
def to_words(folder: str) -> str:
    """Returns the name of a folder for comparison, in lower case, its words joined by "_".

    >>> to_words("Slide-07"), to_words("slide 07")
    ('slide_07', 'slide_07')
    """
    return "_".join(_words(folder)) or folder


def _starred(folder: str, words: Iterable[str]) -> str:
    for word in words:
        folder = re.sub(re.escape(word), "*", folder, count=1, flags=re.IGNORECASE)
    return re.sub(r"\*+", "*", folder)


def _words(name: str) -> list[str]:
    """Words and numbers of a name, in lower case; a number after letters is a separate item.

    >>> _words("01_GT"), _words("train2017"), _words("valannot")
    (['01', 'gt'], ['train', '2017'], ['val', 'annot'])
    """
    words: list[str] = []
    for whole in _WHOLE.findall(name.lower()):
        for word in [whole] if whole in _ROLE_WORDS else _WORD.findall(whole):
            letters = word.rstrip("0123456789")
            both = _COMPOUND.fullmatch(letters)
            pieces = both.groups() if both else (letters,)
            words += [piece for piece in (*pieces, word[len(letters) :]) if piece]
    return words


def _role(words: list[str]) -> str:
    if any(word in MASK_WORDS for word in words) or words[-2:] == ["ground", "truth"]:
        return "mask"
    # Cell Tracking Challenge: 01_GT/SEG, 01_GT/TRA, 01_ST/SEG beside the images in 01.
    if words == ["tra"] or (len(words) == 2 and words[0].isdecimal() and words[1] == "st"):
        return "mask"
    return "image" if any(word in IMAGE_WORDS for word in words) else ""


def _split(words: list[str]) -> str:
    """Split that a folder is named after, by its whole name or its end ("x_training_masks").

    Numbers and single letters may be added: "train2017", "test_a", "test_images_v2".

    >>> _split(["train", "2017"]), _split(["isic", "training", "input"]), _split(["test", "tubes"])
    ('train', 'train', '')
    """
    splits = [word for word in words if word in _FOLDER_SPLITS]
    if not splits:
        return ""
    known = _FOLDER_SPLITS.keys() | _NO_KEYS | _SET_WORDS
    ending = words[words.index(splits[-1]) + 1 :]
    is_whole = all(word in known or word.isdecimal() or len(word) == 1 for word in words)
    is_end = bool(ending) and all(word in _NO_KEYS for word in ending)
    return _FOLDER_SPLITS[splits[-1]] if is_whole or is_end else ""


def _is_free(word: str) -> bool:
    return word not in _NO_KEYS and word not in _FOLDER_SPLITS


def common_start(texts: Iterable[tuple[str, ...]] | Iterable[str]) -> int:
    """Returns the number of outer folders, or of first letters, that all have in common.

    >>> common_start([("a", "b"), ("a", "c")]), common_start(["cat_1", "cat_2"])
    (1, 4)
    """
    different: set[Any] = set(texts)
    if not different:
        return 0
    # A common start of the first and the last in order is one of all between them.
    ends = zip(min(different), max(different), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))


def split_of(path: PurePosixPath) -> str:
    """Returns the split of a polygon file of many images, by its name and its folders; "" if none.

    >>> split_of(PurePosixPath("annotations/instances_val2017.json"))
    'validation'
    """
    named = [_FOLDER_SPLITS[word] for word in _words(path.stem) if word in _FOLDER_SPLITS]
    return named[-1] if named else parse_path(path).split


def without_splits(path: PurePosixPath) -> str:
    """Returns a path with "*" in place of words for a split.

    >>> without_splits(PurePosixPath("annotations/instances_val2017.json"))
    'annotations/instances_*.json'
    """

    def star(word: re.Match[str]) -> str:
        return "*" if word[0].lower().rstrip("0123456789") in _FOLDER_SPLITS else word[0]

    return _WORD.sub(star, path.as_posix())


def bare_mask_stem(stem: str) -> str:
    """Returns the stem of a mask without prefixes and suffixes that mean "mask".

    >>> bare_mask_stem("man_seg002"), bare_mask_stem("cat_mask_1"), bare_mask_stem("masked")
    ('002', 'cat', 'masked')
    """
    return _stripped(stem, _MASK_PREFIX, _MASK_SUFFIX)


def numbered_stem(stem: str) -> str:
    """Returns the stem of a numbered mask without its word for "mask"; "" if it has no number.

    The number may be that of the image, or of one of several masks.

    >>> numbered_stem("cat_mask_1"), numbered_stem("cat_mask1"), numbered_stem("cat_mask")
    ('cat_1', 'cat_1', '')
    """
    tail = _MASK_SUFFIX.search(stem)
    if tail is None or not tail["number"]:
        return ""
    return f"{stem[: tail.start()]}{tail['space'] or tail['gap']}{tail['number']}"


def stem_role(stem: str) -> str:
    """Returns the role of a file whose stem is only a word for it, as in "p1/image.png"; else "".

    >>> stem_role("image"), stem_role("Ground_Truth"), stem_role("cat_mask"), stem_role("mask_1")
    ('image', 'mask', '', '')
    """
    words = _words(stem)
    return _role(words) if all(word in _ROLE_WORDS or word == "ground" for word in words) else ""


def bare_image_stem(stem: str) -> str:
    """Returns the stem of an image without prefixes and suffixes that mean "image".

    >>> bare_image_stem("t002"), bare_image_stem("image_7"), bare_image_stem("imagine")
    ('002', '7', 'imagine')
    """
    return _stripped(stem, _IMAGE_PREFIX, _IMAGE_SUFFIX)


def _stripped(stem: str, prefix: re.Pattern[str], suffix: re.Pattern[str]) -> str:
    return suffix.sub("", prefix.sub("", stem)) or stem


def affix_of(stem: str) -> str:
    """Returns the words for "mask" in a stem, with "*" for the rest; "" if there are none.

    >>> affix_of("cat_mask"), affix_of("man_seg002"), affix_of("cat")
    ('*_mask', 'man_seg*', '')
    """
    if bare_mask_stem(stem) == stem:
        return ""
    head = _MASK_PREFIX.match(stem)
    prefix = head[0] if head else ""
    tail = _MASK_SUFFIX.search(stem[len(prefix) :])
    return f"{prefix}*{tail['text'] if tail else ''}"


def stem_by(pattern: str, name: str) -> str:
    """Returns what * stands for in the file name of a pattern; "" if the name does not fit.

    >>> stem_by("labels/*_L.png", "cat_L.png"), stem_by("_L", "cat_L.png"), stem_by("GT", "cat.png")
    ('cat', 'cat', '')
    """
    last = unicodedata.normalize("NFC", pattern).rsplit("/", 1)[-1]
    name = unicodedata.normalize("NFC", name)
    before, star, after = last.partition("*")
    if not star:  # a suffix such as "_L"
        before, after = "", last
    if not last or "*" in after:
        return ""
    for whole in (PurePosixPath(name).stem, name):
        rest = whole.removeprefix(before).removesuffix(after)
        if len(rest) == len(whole) - len(before) - len(after):
            return rest if star else rest.rstrip("-_ .")
    return ""


def likely_masks(images: Sequence[PathInfo], others: Sequence[PathInfo]) -> list[str]:
    """Returns patterns that would make some of the other files masks of the images, best first.

    A pattern is an addition to the names of images, as in "*_L.png", or a folder with files of the
    same names as the images, as in "regions/".

    Args:
        images: Images.
        others: Files that may be masks; images among them are allowed.
    """
    homes: dict[str, set[PurePosixPath]] = {}
    for place in images:
        homes.setdefault(place.stem, set()).add(place.path)
    skip = common_start(place.path.parts[:-1] for place in (*images, *others))
    counts: Counter[str] = Counter()
    for place in others:
        ending = place.path.name[len(place.stem) :]
        again = homes.get(place.stem, set()) - {place.path}
        if again:
            beside = any(path.parent == place.path.parent for path in again)
            counts["*" + ending if beside else f"{place.path.parts[skip]}/"] += 1
            continue
        stem = place.stem
        for cut in range(len(stem) - 1, 0, -1):
            if stem[:cut] in homes and ends_word(stem, cut):
                counts[f"*{stem[cut:]}{ending}"] += 1
                break
            if stem[-cut:] in homes and ends_word(stem, len(stem) - cut):
                counts[f"{stem[:-cut]}*{ending}"] += 1
                break
    return [pattern for pattern, _ in counts.most_common()]


def ends_word(stem: str, cut: int) -> bool:
    """Whether a word or a number ends at a position of a stem.

    >>> ends_word("cat_mask", 3), ends_word("cats_mask", 3)
    (True, False)
    """
    pair = stem[cut - 1 : cut + 1]
    return not (pair.isalpha() or pair.isdigit())
