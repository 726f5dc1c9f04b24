"""What the integers of masks mean: names, values in files, colours, special classes."""

from dataclasses import dataclass, field

from unetkit.errors import ConfigError

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

    def __len__(self) -> int:
        return len(self.names)

    def describe(self) -> str:
        """One line for people.

        >>> TRIMAP_CLASSES.describe()
        '1 pet, 2 background, 3 border'
        """
        return ", ".join(f"{v} {name}" for v, name in zip(self.values, self.names, strict=True))


def _default_colours(count: int, background: int | None) -> tuple[tuple[int, int, int], ...]:
    palette = iter(COLOURS[i % len(COLOURS)] for i in range(count))
    return tuple((0, 0, 0) if i == background else next(palette) for i in range(count))


# Oxford-IIIT Pet: Parkhi, Vedaldi, Zisserman, Jawahar, "Cats and Dogs", CVPR 2012.
TRIMAP_CLASSES = Classes(
    names=("pet", "background", "border"), values=(1, 2, 3), background=1, border=2
)
