"""How the masks of an evaluation are read: their classes, and the model's class for each of them.

A test set may be written in other values, colours or labels than the training data. Its classes are
those that the user or a class file gives, else the model's own if every mask fits them, else those
that are inferred as before a training. They are matched with the model's by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unetkit.checks.class_inference import choose_classes
from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import Classes, find_class_file, read_class_file
from unetkit.data.labels import spelling_of
from unetkit.data.pairs import Dataset, Pair
from unetkit.data.reading import read_pair
from unetkit.data.scale import IGNORE
from unetkit.errors import DataError
from unetkit.evaluation.field_of_view import FieldOfView
from unetkit.io.pixel_format import PixelFormat


@dataclass(frozen=True, eq=False)
class Truth:
    """Reads the masks of an evaluation in the classes of a model.

    Args:
        classes: Classes of the masks.
        indices: Index of the model's class for each class of the masks, (256,) uint8; IGNORE for
            IGNORE.
        field: Where images are scored; None for everywhere.
    """

    classes: Classes
    indices: np.ndarray
    field: FieldOfView | None = None

    def read(self, pair: Pair, pixels: PixelFormat) -> tuple[np.ndarray, np.ndarray]:
        """Reads an image and its mask.

        Args:
            pair: Paths of both.
            pixels: Pixel format of the model.

        Returns:
            Image, (H, W, C) of the format's type, and mask, (H, W) uint8 of the model's class
            indices or IGNORE, which pixels outside of the field of view have, too.

        Raises:
            DataNotFoundError, DataError: A file is absent or cannot be read, or the sizes differ.
        """
        image, mask = read_pair(pair, self.classes, pixels)
        truth = self.indices[mask]
        return image, truth if self.field is None else self.field.apply(pair, truth)

    def describe(self) -> str:
        """Returns kind and classes of the masks in one line."""
        return f"{self.classes.kind}: {self.classes.describe()}"


def truth_as_trained(model: Classes) -> Truth:
    """Returns a reader of masks with the values of the training data."""
    return Truth(model, np.arange(256, dtype=np.uint8))


def choose_truth(
    statistics: Sequence[PairStatistics],
    dataset: Dataset,
    model: Classes,
    given: Mapping[str, Any],
    *,
    is_own: bool,
) -> Truth:
    """Decides how the masks of an evaluation are read.

    Args:
        statistics: Statistics of the pairs that can be read.
        dataset: Data set of the pairs.
        model: Classes of the model.
        given: Arguments of `Classes` from options.
        is_own: Whether the model was trained on this data set, whose class file its classes are
            from.

    Raises:
        DataError: The classes of the masks are ambiguous, or cannot be matched with the model's.
        ConfigError: The arguments in `given` are invalid.
    """
    where = f"{dataset.source} ({dataset.masks})"
    is_drawn = any(stats.is_drawn for stats in statistics)
    path = None if is_own and not given else find_class_file(dataset.folder, dataset.mask_folder)
    arguments = (read_class_file(path) if path else {}) | dict(given)
    misfit = None
    if arguments.keys() <= {"ignore", "ignored_labels"}:
        own = vars(model) | arguments
        if not is_drawn:  # what belongs to polygons does not matter
            own |= {"labels": (), "aliases": {}} | {"ignored_labels": (), **arguments}
        try:
            fitting = choose_classes(statistics, where, own)
            return Truth(fitting, _match(fitting, model, where, True, arguments))
        except DataError as error:  # written in other values
            misfit = error
    is_trimap = "trimap" in dataset.masks
    try:
        found = choose_classes(statistics, where, arguments, kind=dataset.kind, is_trimap=is_trimap)
    except DataError:
        if misfit is not None and _has_values_of(statistics, model):
            raise misfit from None  # it names what the model does not know
        raise
    return Truth(found, _match(found, model, where, "names" in arguments or is_drawn, arguments))


def _has_values_of(statistics: Sequence[PairStatistics], model: Classes) -> bool:
    """Whether masks have values of several of the model's classes."""
    present = {value for stats in statistics for value in stats.values}
    return len(present & set(model.values)) > 1


def _match(
    found: Classes, model: Classes, where: str, is_named: bool, given: Mapping[str, Any]
) -> np.ndarray:
    """Index of the model's class for each class of the masks, (256,) uint8.

    Args:
        found: Classes of the masks.
        model: Classes of the model.
        where: Name of the masks in error messages.
        is_named: Whether the user or the files name the classes.
        given: Arguments of `Classes` from options and the class file.
    """
    known = [_place_of(name, model) for name in found.names]
    places = [place for place in known if place is not None]
    is_two = len(found) == len(model) == 2 and found.background is not None
    if len(places) < len(known) and is_two and model.background is not None and not is_named:
        # A background and one other class, to which nothing gave a name.
        is_same = found.background == model.background
        places = [0, 1] if is_same else [1, 0]
    if len(places) < len(known):
        raise _unmatched_error(found, model, where, is_named, given)
    indices = np.full(256, IGNORE, np.uint8)
    indices[: len(places)] = places
    return indices


def _place_of(name: str, model: Classes) -> int | None:
    """Index of the model's class of a name, or of the only one that has another spelling of it."""
    if name in model.names:
        return model.names.index(name)
    same = [i for i, each in enumerate(model.names) if spelling_of(each) == spelling_of(name)]
    return same[0] if len(same) == 1 else None


def _unmatched_error(
    found: Classes, model: Classes, where: str, is_named: bool, given: Mapping[str, Any]
) -> DataError:
    accepted = f"accepted are the classes of the model: {', '.join(model.names)}"
    if not is_named:
        shown = ", ".join(map(found.show, found.values))
        if len(found) == len(model):
            example = f"--classes '{','.join(model.names)}', if that is their order"
        else:
            example = "--classes, a name for each"
        others = ""
        if len(model) == 2 and found.kind == "classes" and model.background is not None:
            name = model.names[1 - model.background]
            others = f", or use --threshold 0 if every value above 0 is {name!r}"
        return DataError(
            f"masks in {where} have the values {shown}, and nothing names their classes; "
            f"{accepted}; name the classes in this order with {example}{others}"
        )
    unknown = [i for i, name in enumerate(found.names) if _place_of(name, model) is None]
    names = ", ".join(repr(found.names[i]) for i in unknown)
    by_value = "names" in given and "values" not in given  # with --classes, and one name less
    left_out = found.show(found.values[unknown[0]]) if by_value else found.names[unknown[0]]
    return DataError(
        f"masks in {where} have the classes {', '.join(found.names)}, of which the model does not "
        f"have {names}; {accepted}; name the classes as in the model, with --classes or in "
        f"classes.toml beside the data, or leave pixels of one out with --ignore '{left_out}'"
    )
