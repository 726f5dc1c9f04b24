"""What the names of folders and files say: image or mask, which part, and what belongs together.

Only names are looked at here, never contents. A folder's words tell its role and its part; what is
left of a path, and a file's stem without the usual additions, is the key that an image shares with
its mask.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import PurePosixPath

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
PART_WORDS = {
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
# In front, before a separator or a number; at the end, after one of these. The masks of one image
# may be numbered.
_MASK_PREFIX = re.compile(rf"^(?:{_MASK_AFFIXES})s?(?:[-_ .]+|(?=\d))", re.IGNORECASE)
_MASK_SUFFIX = re.compile(
    rf"(?P<text>(?P<gap>[-_ .]+|(?<=\d))(?:{_MASK_AFFIXES})s?)"
    r"(?:(?P<space>[-_ ]?)(?P<number>\d{1,3}))?$",
    re.IGNORECASE,
)
_IMAGE_PREFIX = re.compile(
    rf"^(?:(?:{_IMAGE_AFFIXES})s?(?:[-_ .]+|(?=\d))|t(?=\d+$))", re.IGNORECASE
)
# DRIVE: 21_training.tif, 01_test.tif. nnU-Net: _0000, _0001 and so on, a file a channel.
_IMAGE_SUFFIX = re.compile(
    rf"(?:[-_ .]+|(?<=\d))(?:{_IMAGE_AFFIXES})s?$|_training$|_test$|_000\d$", re.IGNORECASE
)
_WHOLE = re.compile(r"[^\W_]+")
_WORD = re.compile(r"[^\W\d_]+\d*|\d+")
_ROLE_WORDS = IMAGE_WORDS | MASK_WORDS
_PARTS = "|".join(sorted(SPLIT_WORDS, key=len, reverse=True))
_NO_KEYS = _ROLE_WORDS | {"ground", "st", "tra"}
_ROLES = "|".join(sorted(_ROLE_WORDS, key=len, reverse=True))
_COMPOUND = re.compile(rf"({_PARTS})({_ROLES})|({_ROLES})({_PARTS})")


@dataclass(frozen=True)
class Place:
    """What a file's path within the data folder says.

    Args:
        path: Relative to the data folder.
        role: "image", "mask", or "" where no folder's name tells.
        part: "train", "validation", "test", "trainval" or "".
        full: Path of folders without role and part, to the word.
        bare: The same, without what stands beside a role in one name: "approx" of "trimaps_approx".
        stem: File name without its ending.
        full_pattern: The folders, with what differs between images or parts as "*".
        bare_pattern: The same, with "approx" of "trimaps_approx" left as it is.
        given: Stem by the user's pattern, as `stem_by` finds it; "" where there is none.
    """

    path: PurePosixPath
    role: str
    part: str
    full: tuple[str, ...]
    bare: tuple[str, ...]
    stem: str
    full_pattern: str
    bare_pattern: str
    given: str = ""


def place_of(path: PurePosixPath, skip: int = 0) -> Place:
    """Reads a path.

    Args:
        path: Relative to the data folder.
        skip: Number of outer folders that tell nothing, as all files lie in them.

    >>> place_of(PurePosixPath("train/masks/slide 7/cell_mask.png")).role
    'mask'
    >>> place_of(PurePosixPath("01_GT/SEG/man_seg002.tif")).full
    ('01',)
    """
    role = part = ""
    full: list[str] = []
    bare: list[str] = []
    full_pattern: list[str] = []
    bare_pattern: list[str] = []
    for name in path.parts[skip:-1]:
        folder = unicodedata.normalize("NFC", name)
        words = _words(folder)
        found = _role(words)
        role = found or role  # the innermost folder decides
        own = _part(words)
        part = own or part
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
            of_parts = [word for word in words if own and word in SPLIT_WORDS]
            full_pattern.append(_starred(folder, [*rest, *of_parts]))
            bare_pattern.append(_starred(folder, of_parts))
    return Place(
        path=path,
        role=role,
        part=part,
        full=tuple(full),
        bare=tuple(bare),
        stem=unicodedata.normalize("NFC", path.stem),
        full_pattern="/".join(full_pattern),
        bare_pattern="/".join(bare_pattern),
    )


@cache
def to_words(folder: str) -> str:
    """A folder's name as it is compared: "p1" and the "p1" of "masks_p1" are one.

    >>> to_words("Slide-07"), to_words("slide 07")
    ('slide_07', 'slide_07')
    """
    return "_".join(_words(folder)) or folder


def _starred(folder: str, words: Iterable[str]) -> str:
    for word in words:
        folder = re.sub(re.escape(word), "*", folder, count=1, flags=re.IGNORECASE)
    return re.sub(r"\*+", "*", folder)


def _words(name: str) -> list[str]:
    """Words and numbers of a name, in small letters; a number after letters is one of its own.

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


def _part(words: list[str]) -> str:
    """The part that a folder is: its whole name says so, or its end, as in "x_training_masks".

    Numbers and single letters may stand beside: "train2017", "test_a", "test_images_v2".

    >>> _part(["train", "2017"]), _part(["isic", "training", "input"]), _part(["test", "tubes"])
    ('train', 'train', '')
    """
    parts = [word for word in words if word in PART_WORDS]
    if not parts:
        return ""
    known = PART_WORDS.keys() | _NO_KEYS | _SET_WORDS
    ending = words[words.index(parts[-1]) + 1 :]
    is_whole = all(word in known or word.isdecimal() or len(word) == 1 for word in words)
    is_end = bool(ending) and all(word in _NO_KEYS for word in ending)
    return PART_WORDS[parts[-1]] if is_whole or is_end else ""


def _is_free(word: str) -> bool:
    return word not in _NO_KEYS and word not in PART_WORDS


def common_start(folders: Iterable[tuple[str, ...]]) -> int:
    """Number of outer folders that all have in common."""
    different = set(folders)
    if not different:
        return 0
    ends = zip(min(different), max(different), strict=False)  # what these share, all between share
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))


def part_of(path: PurePosixPath) -> str:
    """The part that a list or a polygon file of many images is about, by its folders and its name.

    >>> part_of(PurePosixPath("annotations/instances_val2017.json"))
    'validation'
    """
    named = [PART_WORDS[word] for word in _words(path.stem) if word in PART_WORDS]
    return named[-1] if named else place_of(path).part


def without_parts(path: PurePosixPath) -> str:
    """A path with "*" where it names a part.

    >>> without_parts(PurePosixPath("annotations/instances_val2017.json"))
    'annotations/instances_*.json'
    """

    def star(word: re.Match[str]) -> str:
        return "*" if word[0].lower().rstrip("0123456789") in PART_WORDS else word[0]

    return _WORD.sub(star, path.as_posix())


def bare_mask_stem(stem: str) -> str:
    """A mask's stem without what says that it is one.

    >>> bare_mask_stem("man_seg002"), bare_mask_stem("cat_mask_1"), bare_mask_stem("masked")
    ('002', 'cat', 'masked')
    """
    return _stripped(stem, _MASK_PREFIX, _MASK_SUFFIX)


def numbered_stem(stem: str) -> str:
    """A numbered mask's stem without what says that it is a mask; "" of one without a number.

    The number may be the image's, or that of one mask of several.

    >>> numbered_stem("cat_mask_1"), numbered_stem("cat_mask1"), numbered_stem("cat_mask")
    ('cat_1', 'cat_1', '')
    """
    tail = _MASK_SUFFIX.search(stem)
    if tail is None or not tail["number"]:
        return ""
    return f"{stem[: tail.start()]}{tail['space'] or tail['gap']}{tail['number']}"


def stem_role(stem: str) -> str:
    """The role of a file whose stem is no name but a word for it: "image.png" in "p1/".

    >>> stem_role("image"), stem_role("Ground_Truth"), stem_role("cat_mask"), stem_role("mask_1")
    ('image', 'mask', '', '')
    """
    words = _words(stem)
    return _role(words) if all(word in _ROLE_WORDS or word == "ground" for word in words) else ""


def bare_image_stem(stem: str) -> str:
    """An image's stem without what says that it is one.

    >>> bare_image_stem("t002"), bare_image_stem("image_7"), bare_image_stem("imagine")
    ('002', '7', 'imagine')
    """
    return _stripped(stem, _IMAGE_PREFIX, _IMAGE_SUFFIX)


def _stripped(stem: str, prefix: re.Pattern[str], suffix: re.Pattern[str]) -> str:
    return suffix.sub("", prefix.sub("", stem)) or stem


def affix_of(stem: str) -> str:
    """What makes a mask's stem one, with "*" for the rest; "" where nothing does.

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
    """What stands for the * in the last part of a pattern; "" where the name does not fit it.

    >>> stem_by("labels/*_L.png", "cat_L.png"), stem_by("_L", "cat_L.png"), stem_by("GT", "cat.png")
    ('cat', 'cat', '')
    """
    last = unicodedata.normalize("NFC", pattern).rsplit("/", 1)[-1]
    name = unicodedata.normalize("NFC", name)
    before, star, after = last.partition("*")
    if not star:  # such as "_L": what is at the end
        before, after = "", last
    if not last or "*" in after:
        return ""
    for whole in (PurePosixPath(name).stem, name):
        rest = whole.removeprefix(before).removesuffix(after)
        if len(rest) == len(whole) - len(before) - len(after):
            return rest if star else rest.rstrip("-_ .")
    return ""


def likely_masks(images: Sequence[Place], others: Sequence[Place]) -> list[str]:
    """Patterns by which some of the other files would be the images' masks, the best first.

    A pattern is what a name has beyond an image's, as in "*_L.png", or a folder in which the
    images' names occur again, as in "regions/".
    """
    homes: dict[str, set[PurePosixPath]] = {}
    for place in images:
        homes.setdefault(place.stem, set()).add(place.path)
    skip = common_start(place.path.parts[:-1] for place in (*images, *others))
    counts: Counter[str] = Counter()
    for place in others:
        ending = place.path.suffix
        again = homes.get(place.stem, set()) - {place.path}
        if again:
            beside = any(path.parent == place.path.parent for path in again)
            counts["*" + ending if beside else f"{place.path.parts[skip]}/"] += 1
            continue
        stem = place.stem
        for cut in range(len(stem) - 1, 0, -1):
            if stem[:cut] in homes and _parts_words(stem, cut):
                counts[f"*{stem[cut:]}{ending}"] += 1
                break
            if stem[-cut:] in homes and _parts_words(stem, len(stem) - cut):
                counts[f"{stem[:-cut]}*{ending}"] += 1
                break
    return [pattern for pattern, _ in counts.most_common()]


def _parts_words(stem: str, cut: int) -> bool:
    """Whether a word or a number ends at a place in a stem."""
    pair = stem[cut - 1 : cut + 1]
    return not (pair.isalpha() or pair.isdigit())
