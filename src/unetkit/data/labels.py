"""What the labels of polygons mean by themselves: background, pixels to ignore, or a class.

Annotation programs have words for regions that are not objects: LabelMe's `_background_` and
`__ignore__`, QuPath's `Ignore*` (any class whose name ends in an asterisk) and regions without a
class, and the labels `background` and `ignored` that CVAT and Label Studio export. They are taken
as meant where nothing else is said of them; how labels become classes is left to `checks`.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

BACKGROUND = "background"
OBJECT = "object"  # label where a set has no classes, only objects
UNCLASSIFIED = "unclassified"  # label of a shape to which no class was given
IGNORE_WORDS = frozenset(
    ("ignore", "ignored", "void", "unlabeled", "unlabelled", "dontcare", "donotcare", UNCLASSIFIED)
)


def is_background_label(label: str) -> bool:
    """Whether a label means background.

    >>> [is_background_label(label) for label in ("_background_", "Background", "backdrop")]
    [True, True, False]
    """
    return _bare(label) == BACKGROUND


def is_ignore_label(label: str) -> bool:
    """Whether a label means pixels that are excluded from training and scoring.

    >>> [is_ignore_label(label) for label in ("__ignore__", "Ignore*", "Stroma: Other*", "cell")]
    [True, True, True, False]
    """
    return label.rstrip().endswith("*") or _bare(label) in IGNORE_WORDS


def _bare(label: str) -> str:
    """A label in lower case, without spaces and punctuation."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", label).casefold())


def spelling_of(label: str) -> str:
    """Returns what spellings of a label that differ only by case or spaces have in common.

    >>> spelling_of("Cell  wall ") == spelling_of("cellWall")
    True
    """
    return "".join(unicodedata.normalize("NFC", label).casefold().split())


def find_spellings(labels: Iterable[str]) -> list[list[str]]:
    """Returns the labels that differ only by case or spaces, in sorted groups of two or more.

    >>> find_spellings(["Box", "box", "disc"])
    [['Box', 'box']]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(set(labels)):
        groups[spelling_of(label)].append(label)
    return [group for _, group in sorted(groups.items()) if len(group) > 1]
