"""What the integers of masks mean: names, values in files, colours, special classes."""

import colorsys
from dataclasses import dataclass, field

from unetkit.errors import ConfigError

LONGEST_NAME = 200
LARGEST_VALUE = 65535  # of a 16-bit mask
GOLDEN_SECTION = 0.6180339887498949

# Okabe and Ito's colours, which colour-blind readers can tell apart; black is for backgrounds.
COLOURS = (
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
    """What the integers of a data set's masks mean.

    Args:
        names: Name of each class, K of them.
        values: The value that stands for each class in a mask file, K of them.
        background: Index of the class that is no object, or None.
        border: Index of the class between an object and the background, or None.
        colours: (red, green, blue) of each class, 0 to 255, K of them.

    Raises:
        ConfigError: The numbers of these differ, something repeats, or a value is out of range.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    background: int | None = None
    border: int | None = None
    colours: tuple[tuple[int, int, int], ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.colours:
            object.__setattr__(self, "colours", _default_colours(len(self.names), self.background))
        lengths = {len(self.names), len(self.values), len(self.colours)}
        if len(lengths) != 1 or not 2 <= len(self.names) <= 255:
            raise ConfigError(
                f"classes have {len(self.names)} names, {len(self.values)} values and "
                f"{len(self.colours)} colours; accepted are 2 to 255 of each; "
                "give one of each a class"
            )
        if len(set(self.names)) < len(self.names) or len(set(self.values)) < len(self.values):
            raise ConfigError(
                f"class names {list(self.names)} or values {list(self.values)} repeat; each must "
                "differ; rename one"
            )
        self._require_ranges()

    def _require_ranges(self) -> None:
        for name in self.names:
            if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
                raise ConfigError(
                    f"class name {name!r:.60} is empty, too long or has unprintable characters; "
                    f"accepted are 1 to {LONGEST_NAME} printable ones; rename the class"
                )
        if not all(0 <= value <= LARGEST_VALUE for value in self.values):
            raise ConfigError(
                f"class values are {list(self.values)}; accepted are whole numbers from 0 to "
                f"{LARGEST_VALUE}; correct them"
            )
        for name in ("background", "border"):
            index = getattr(self, name)
            if index is not None and not 0 <= index < len(self.names):
                raise ConfigError(
                    f"{name} is class {index}; accepted are indices from 0 to "
                    f"{len(self.names) - 1}; leave it out where there is none"
                )
        if not all(len(c) == 3 and all(0 <= part <= 255 for part in c) for c in self.colours):
            raise ConfigError(
                f"colours are {list(self.colours)}; accepted are three whole numbers from 0 to 255 "
                "a class; correct them"
            )

    def __len__(self) -> int:
        return len(self.names)

    def describe(self) -> str:
        """One line for people.

        >>> TRIMAP_CLASSES.describe()
        '1 pet, 2 background, 3 border'
        """
        return ", ".join(f"{v} {name}" for v, name in zip(self.values, self.names, strict=True))


def _default_colours(count: int, background: int | None) -> tuple[tuple[int, int, int], ...]:
    palette = iter(_palette_colour(i) for i in range(count))
    return tuple((0, 0, 0) if i == background else next(palette) for i in range(count))


def _palette_colour(index: int) -> tuple[int, int, int]:
    """The colours above, and then hues a golden section apart, which never come close to repeat."""
    if index < len(COLOURS):
        return COLOURS[index]
    turn = index * GOLDEN_SECTION % 1
    red, green, blue = colorsys.hsv_to_rgb(turn, 0.45 + 0.15 * (index % 4), 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


# Oxford-IIIT Pet: Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012.
TRIMAP_CLASSES = Classes(
    names=("pet", "background", "border"), values=(1, 2, 3), background=1, border=2
)
