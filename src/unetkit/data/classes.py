"""Meaning of the values in masks: kind, names, values in files, colours, special classes.

All masks of a data set have one kind. `classes`: one integer per class. `colours`: one colour per
class, with the value 0xRRGGBB. `instances`: one integer or colour per object, 0 or black for the
background; the network has two classes. A class file beside the data may define all this.
"""

import colorsys
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unetkit._shared.files import is_present, read_text
from unetkit._shared.records import parse_toml
from unetkit.errors import ConfigError, DataError, did_you_mean

MASK_KINDS = ("classes", "colours", "instances")
CLASS_FILES = ("classes.toml", "classes.json")
CLASS_TABLES = ("classes", "colours")
LONGEST_NAME = 200
LARGEST_VALUE = 65535  # of a 16-bit mask
LARGEST_COLOUR = 0xFFFFFF
LEAST_IGNORED = -32768  # of a signed 16-bit mask, where -1 often means no class
GOLDEN_SECTION = 0.6180339887498949

# Okabe and Ito's colours, distinguishable with colour blindness; black is for the background.
CLASS_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


@dataclass(frozen=True)
class Classes:
    """Classes of a data set, and the values that stand for them in masks.

    Args:
        names: Name of each class, K of them; also their labels in polygon files.
        values: Value of each class in mask files, K of them; 0 and 1 for "instances", where every
            value except 0 is an object.
        background: Index of the background class, or None.
        border: Index of the class between objects and background, or None.
        colours: Colour of each class in figures, K of (red, green, blue), each from 0 to 255.
        kind: "classes", "colours" or "instances".
        ignore: Value of pixels that are excluded from training and evaluation, or None.
        threshold: Largest value of the first of two classes, for masks of many values; None if
            masks have the values of `values`.
        labels: Further labels, in polygon files, of the one class beside the background.
        aliases: Name of the class of each label, in polygon files, that is not the class's name.
        ignored_labels: Labels, in polygon files, of pixels that are excluded from training and
            evaluation.
        blended: Whether colours in masks that lie between those of two classes, as at blurred
            edges, belong to the nearest class; for kind "colours".

    Raises:
        ConfigError: The lengths differ, a name or value repeats, or a value is out of range.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    background: int | None = None
    border: int | None = None
    colours: tuple[tuple[int, int, int], ...] = field(default=())
    kind: str = "classes"
    ignore: int | None = None
    threshold: int | None = None
    labels: tuple[str, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict, hash=False)
    ignored_labels: tuple[str, ...] = ()
    blended: bool = False

    def __post_init__(self) -> None:
        if self.kind not in MASK_KINDS:
            raise ConfigError(
                f"mask kind is {self.kind!r}; accepted are {', '.join(map(repr, MASK_KINDS))}"
                f"{did_you_mean(self.kind, MASK_KINDS)}"
            )
        if not self.colours:
            object.__setattr__(self, "colours", self._shown_colours())
        lengths = {len(self.names), len(self.values), len(self.colours)}
        if len(lengths) != 1 or not 2 <= len(self.names) <= 255:
            raise ConfigError(
                f"classes have {len(self.names)} names, {len(self.values)} values and "
                f"{len(self.colours)} colours; accepted are 2 to 255, and the same number of each"
            )
        if len(set(self.names)) < len(self.names) or len(set(self.values)) < len(self.values):
            raise ConfigError(
                f"class names {list(self.names)} or values {list(self.values)} repeat; accepted "
                "are different ones"
            )
        self._require_ranges()

    def _require_ranges(self) -> None:
        for name in self.names:
            if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
                raise ConfigError(
                    f"class name {name!r:.60} is empty, too long or has unprintable characters; "
                    f"accepted are 1 to {LONGEST_NAME} printable ones; rename the class"
                )
        largest = LARGEST_COLOUR if self.kind == "colours" else LARGEST_VALUE
        special = [value for value in (self.ignore, self.threshold) if value is not None]
        is_ignored_below = LEAST_IGNORED <= (self.ignore or 0) < 0
        others = special[1:] if is_ignored_below else special
        if not all(0 <= value <= largest for value in (*self.values, *others)):
            raise ConfigError(
                f"class values are {[*self.values, *special]}; accepted are whole numbers from 0 "
                f"to {largest}, and from {LEAST_IGNORED} for the value to ignore"
            )
        if self.ignore in self.values:
            raise ConfigError(
                f"{self.show(self.ignore or 0)} is both a class and the value to ignore; accepted "
                "is one of them; correct the classes, or the value to ignore"
            )
        if self.kind == "instances" and self.values != (0, 1):
            raise ConfigError(
                f"instance masks have the values {list(self.values)}; accepted are 0 and 1, for "
                "background and objects"
            )
        if self.threshold is not None and (self.kind != "classes" or len(self.names) != 2):
            raise ConfigError(
                f"threshold is {self.threshold} for {len(self.names)} {self.kind}; accepted are "
                "thresholds for two classes; leave it out"
            )
        for name in ("background", "border"):
            index = getattr(self, name)
            if index is not None and not 0 <= index < len(self.names):
                raise ConfigError(
                    f"{name} is class {index}; accepted are indices from 0 to "
                    f"{len(self.names) - 1}; leave it out if there is none"
                )
        for label, name in self.aliases.items():
            if name not in self.names or label in self.ignored_labels:
                raise ConfigError(
                    f"the label {label!r} belongs to {name!r}; accepted is one of "
                    f"{', '.join(self.names)}, or a label that is ignored, not both"
                )
        if self.blended and self.kind != "colours":
            raise ConfigError(
                f"blended is true for {self.kind}; accepted is that for colours; leave it out"
            )
        if self.labels and (len(self.names) != 2 or self.background is None):
            raise ConfigError(
                f"labels are {list(self.labels)} for {len(self.names)} classes; accepted are "
                "labels of the one class beside a background; leave them out"
            )
        if not all(len(c) == 3 and all(0 <= value <= 255 for value in c) for c in self.colours):
            raise ConfigError(
                f"colours are {list(self.colours)}; accepted are three whole numbers from 0 to 255 "
                "per class"
            )

    def __len__(self) -> int:
        return len(self.names)

    def describe(self) -> str:
        """Returns a description in one line.

        >>> TRIMAP_CLASSES.describe()
        '1 pet, 2 background, 3 border'
        """
        if self.kind == "instances":
            text = f"0 {self.names[0]}, every other value one {self.names[1]}"
        elif self.threshold is not None:
            text = f"up to {self.threshold} {self.names[0]}, above it {self.names[1]}"
        else:
            pairs = zip(self.values, self.names, strict=True)
            text = ", ".join(f"{self.show(value)} {name}" for value, name in pairs)
        return text if self.ignore is None else f"{text}; {self.show(self.ignore)} ignored"

    def show(self, value: int) -> str:
        """Returns a value as text, colours as "#rrggbb"."""
        return f"#{value:06x}" if self.kind == "colours" else str(value)

    def indices_of_labels(self) -> dict[str, int]:
        """Returns the index of the class by label of a polygon file.

        >>> Classes(("ground", "cell"), (0, 1), background=0, labels=("Zelle",)).indices_of_labels()
        {'Zelle': 1, 'ground': 0, 'cell': 1}
        """
        indices = {name: index for index, name in enumerate(self.names)}
        indices |= {label: self.names.index(name) for label, name in self.aliases.items()}
        indices = dict.fromkeys(self.labels, 1 - (self.background or 0)) | indices
        return {label: i for label, i in indices.items() if label not in self.ignored_labels}

    def _shown_colours(self) -> tuple[tuple[int, int, int], ...]:
        if self.kind == "colours" and all(0 <= v <= LARGEST_COLOUR for v in self.values):
            return tuple((v >> 16, v >> 8 & 255, v & 255) for v in self.values)
        palette = iter(_palette_colour(i) for i in range(len(self.names)))
        indices = range(len(self.names))
        return tuple((0, 0, 0) if i == self.background else next(palette) for i in indices)


def _palette_colour(index: int) -> tuple[int, int, int]:
    """CLASS_COLOURS, followed by hues a golden section apart, which hardly repeat."""
    if index < len(CLASS_COLOURS):
        return CLASS_COLOURS[index]
    turn = index * GOLDEN_SECTION % 1
    red, green, blue = colorsys.hsv_to_rgb(turn, 0.45 + 0.15 * (index % 4), 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


# Oxford-IIIT Pet: Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012.
TRIMAP_CLASSES = Classes(
    names=("pet", "background", "border"), values=(1, 2, 3), background=1, border=2
)


def find_class_file(folder: Path, masks: Path | None = None) -> Path | None:
    """Returns the class file beside masks, or that in the data folder; None if there is none.

    Args:
        folder: Data folder.
        masks: Folder of the masks within it, whose class file takes precedence; None for none.

    Raises:
        DataError: A folder has two.
    """
    for place in (folder,) if masks is None else (masks, folder):
        found = [place / name for name in CLASS_FILES if is_present(place / name)]
        if len(found) > 1:
            raise DataError(
                f"{found[0]} and {found[1]} both exist; accepted is one; remove the other"
            )
        if found:
            return found[0]
    return None


def read_class_file(path: Path) -> dict[str, Any]:
    """Reads a class file, which is TOML or JSON.

        kind = "colours"            # or "classes", "instances"; may be left out
        background = "road side"    # name of a class; may be left out, as may all below
        border = "edge"
        ignore = "#ffffff"          # a number, a colour, or a label of polygons; or several labels
        threshold = 127
        blended = true              # colours between two classes, at blurred edges, are the nearest

        [classes]                   # name = value in the masks, a number or a colour
        "road side" = "#000000"
        road = "#804080"            # for polygons also a label, or several, as in ["road", "Road"]

        [colours]                   # colours in figures
        road = "#ff0000"

    Returns:
        Arguments of `Classes` that the file defines.

    Raises:
        DataError: The file cannot be read, or has an unknown key or an invalid value.
    """
    raw = _parse(path)
    known = ("kind", "background", "border", "ignore", "threshold", "blended", *CLASS_TABLES)
    for key in raw:
        if key not in known:
            accepted = ", ".join(known) + did_you_mean(key, known)
            raise _refused(path, f"the key {key!r}", accepted)
    tables = {name: raw.get(name, {}) for name in CLASS_TABLES}
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise _refused(path, f"{name} = {table!r:.60}", "a table", f"write [{name}] above it")
    names = tuple(map(str, tables["classes"]))
    found: dict[str, Any] = {}
    labels = {name: _labels_in(value) for name, value in tables["classes"].items()}
    if names:
        found["names"] = names
    if any(labels.values()):  # of polygons, which have no values
        found["values"] = tuple(range(len(names)))
        found["aliases"] = {
            label: str(name) for name, known in labels.items() for label in known if label != name
        }
    elif names:
        found["values"] = tuple(parse_value(v, f"{path}") for v in tables["classes"].values())
    if "kind" in raw:
        found["kind"] = str(raw["kind"])
    elif any(_is_colour(v) for name, v in tables["classes"].items() if not labels[name]):
        found["kind"] = "colours"
    if ignored := _labels_in(raw.get("ignore")):
        found["ignored_labels"] = ignored
    elif "ignore" in raw:
        found["ignore"] = parse_value(raw["ignore"], f"{path}")
    if "blended" in raw:
        if not isinstance(raw["blended"], bool):
            raise _refused(path, f"blended = {raw['blended']!r:.60}", "true or false")
        found["blended"] = raw["blended"]
    if "threshold" in raw:
        found["threshold"] = parse_value(raw["threshold"], f"{path}")
    for key in ("background", "border"):
        if key in raw:
            found[key] = _index(path, key, raw[key], names)
    if "background" not in found and "background" in names:
        found["background"] = names.index("background")
    for name in tables["colours"]:
        if name not in names:
            accepted = ", ".join(names) or "a colour of a class"
            raise _refused(path, f"[colours] for {name!r}", accepted, "add it to [classes]")
    if tables["colours"]:
        found["colours"] = tuple(_shown(path, name, tables["colours"]) for name in names)
    return found


def _labels_in(value: Any) -> tuple[str, ...]:
    """Labels of polygons that a value of a class file names; () for a number or a colour."""
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        return ()
    if isinstance(value, str) and is_value(value):
        return ()
    return tuple(texts)


def _parse(path: Path) -> Mapping[str, Any]:
    try:
        text = read_text(path)
        raw = json.loads(text) if path.suffix == ".json" else parse_toml(text)
    except DataError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # decoding errors are ValueErrors
        raise DataError(
            f"class file {path} cannot be read ({error}); accepted is TOML or JSON in UTF-8"
        ) from error
    if not isinstance(raw, Mapping):
        raise _refused(path, f"a {type(raw).__name__}", "a table", "put the keys into one")
    return raw


def _refused(path: Path, what: str, accepted: str, remedy: str = "") -> DataError:
    ending = f"; {remedy}" if remedy else ""
    return DataError(f"class file {path} has {what}; accepted is {accepted}{ending}")


def parse_value(value: Any, source: str) -> int:
    """Returns the value in a mask from a whole number, its text, or a colour such as "#ff8000".

    Args:
        value: Value in a class file or an option.
        source: Name of the file or option, for the message.

    >>> parse_value("#ff8000", "here") == 0xFF8000, parse_value("255", "here")
    (True, 255)

    Raises:
        DataError: `value` is neither a whole number nor a colour.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _is_colour(value):
        return int(value[1:], 16)
    if isinstance(value, str) and _is_number(value):
        return int(value)
    if isinstance(value, list) and _is_colour(value):
        return value[0] << 16 | value[1] << 8 | value[2]
    raise DataError(
        f"{source} has the value {value!r:.60}; accepted are whole numbers and colours such as "
        '"#ff8000"'
    )


def is_value(text: str) -> bool:
    """Whether a text is that of a value in masks, rather than a label: a number, or a colour.

    >>> [is_value(text) for text in ("255", "-1", "#ff8000", "void")]
    [True, True, True, False]
    """
    return _is_colour(text) or _is_number(text)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]{1,6}", text) is not None


def _is_colour(value: Any) -> bool:
    """Whether a value is "#rrggbb", or a list of three numbers from 0 to 255."""
    if isinstance(value, str):
        return re.fullmatch("#[0-9a-fA-F]{6}", value) is not None
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(each) is int and 0 <= each <= 255 for each in value)
    )


def _index(path: Path, key: str, name: Any, names: tuple[str, ...]) -> int:
    if name not in names:
        accepted = ", ".join(names) or "the name of a class"
        raise _refused(path, f"{key} = {name!r:.60}", accepted, "use the name of a class")
    return names.index(name)


def _shown(path: Path, name: str, colours: Mapping[str, Any]) -> tuple[int, int, int]:
    if name not in colours:
        raise _refused(path, "[colours] without " + repr(name), "a colour for each", "add it")
    value = parse_value(colours[name], str(path))
    return value >> 16, value >> 8 & 255, value & 255
