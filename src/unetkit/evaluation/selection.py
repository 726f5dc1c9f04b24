"""Which pairs of a data set a model is evaluated on, and how its run recorded these data.

The test split is the one of a split file, official lists or folders; otherwise all pairs whose
image was not used in training. A test split with images that were used in training is refused.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from unetkit._shared import run_folder
from unetkit._shared.records import RecordError, convert
from unetkit._shared.wording import format_count
from unetkit.data.pairs import Dataset, Pair
from unetkit.data.reading import file_sha256, in_parallel
from unetkit.data.sources import Sources
from unetkit.data.splits import SplitRule, groups_of, read_split_names
from unetkit.errors import ConfigError, DataError, DataNotFoundError, did_you_mean
from unetkit.models.spec import ModelSpec, is_seen

SPLIT_CHOICES = ("test", "validation", "train", "all")


def require_split_name(split: str) -> None:
    """Checks the name of a split.

    Args:
        split: Name of a split.

    Raises:
        ConfigError: `split` is not in SPLIT_CHOICES.
    """
    if split not in SPLIT_CHOICES:
        raise ConfigError(
            f"split {split!r} is unknown; accepted are {', '.join(SPLIT_CHOICES)}"
            f"{did_you_mean(split, SPLIT_CHOICES)}"
        )


def choose_pairs(
    spec: ModelSpec, model: Path, dataset: Dataset, split: str
) -> tuple[tuple[Pair, ...], str]:
    """Chooses the pairs of a split.

    Args:
        spec: Specification of the model, with the digests of the images used in training.
        model: Run folder or model file.
        dataset: Data set to choose from.
        split: Name of the split.

    Returns:
        The pairs, and a description of how they were chosen.

    Raises:
        DataError: The test split has images that were used in training.
        DataNotFoundError: `split` is "train" or "validation", and `model` is not a run folder.
    """
    if split == "all":
        return dataset.pairs, "every pair, whatever it was used for"
    if split == "test":
        return _recorded_test(spec, model, dataset) or _test_pairs(spec, dataset)
    if not (model / run_folder.SPLIT).is_file():
        raise DataNotFoundError(
            f"{model} has no {run_folder.SPLIT}; accepted for the {split} split is a run folder; "
            "use the run folder of the model"
        )
    names = set(read_split_names(model / run_folder.SPLIT)[split])
    pairs = tuple(pair for pair in dataset.pairs if pair.name in names)
    return pairs, f"as training recorded it in {run_folder.SPLIT}"


def _test_pairs(spec: ModelSpec, dataset: Dataset) -> tuple[tuple[Pair, ...], str]:
    """Chooses the official test split, or all pairs whose image was not used in training."""
    has_test = "test" in dataset.splits.values()
    pairs = [p for p in dataset.pairs if not has_test or dataset.splits.get(p.name) == "test"]
    seen_flags = _find_seen(spec, pairs)
    common = [pair for pair, is_seen in zip(pairs, seen_flags, strict=True) if is_seen]
    if not has_test:
        unseen = tuple(pair for pair, is_seen in zip(pairs, seen_flags, strict=True) if not is_seen)
        left_out = format_count(
            common,
            "pair whose picture training looked at is left out",
            "pairs whose pictures training looked at are left out",
        )
        return unseen, f"the {left_out}"
    _require_unseen(dataset, pairs, seen_flags)
    return tuple(pairs), "the test part that the data name"


def _require_unseen(dataset: Dataset, pairs: Sequence[Pair], seen_flags: Sequence[bool]) -> None:
    common = [pair for pair, is_seen in zip(pairs, seen_flags, strict=True) if is_seen]
    if common:
        raise DataError(
            f"{len(common)} of the {format_count(pairs, 'pair')} in the test split of "
            f"{dataset.source} were "
            f"used in training, {common[0].name} first; accepted is a test split without training "
            "images; train with these splits, or use another model"
        )


def count_seen(spec: ModelSpec, pairs: Sequence[Pair]) -> int:
    """Returns the number of pairs whose image was used in training."""
    return sum(_find_seen(spec, pairs))


def _find_seen(spec: ModelSpec, pairs: Sequence[Pair]) -> list[bool]:
    seen = set(spec.seen)
    return list(in_parallel(lambda pair: _was_used(seen, pair), pairs))


def _was_used(seen: Collection[str], pair: Pair) -> bool:
    try:
        return is_seen(seen, file_sha256(pair.image), pair.page, pair.block_record)
    except (DataError, OSError):
        return False  # the error is raised when the pair is read


def _recorded_test(
    spec: ModelSpec, model: Path, dataset: Dataset
) -> tuple[tuple[Pair, ...], str] | None:
    """Chooses the test split of the run's split file, if the run was trained on these data."""
    file = _recorded_rule(model, dataset.source).file
    if file is None:
        return None
    names = set(read_split_names(model / run_folder.SPLIT)["test"])
    pairs = tuple(pair for pair in dataset.pairs if pair.name in names)
    _require_unseen(dataset, pairs, _find_seen(spec, pairs))
    return pairs, f"as the run's split file says, {file}"


def recorded_sources(model: Path, data: Path) -> Sources:
    """Returns which files are images and masks according to the run's configuration.

    Args:
        model: Run folder or model file.
        data: Data set; for a model file or other data, the sources are the default ones.
    """
    try:
        return convert(recorded_config(model, data).get("sources", {}), Sources)
    except RecordError:  # values of another version
        return Sources()


def _recorded_rule(model: Path, data: Path) -> SplitRule:
    """Returns the split rule of a run on these data; the default one for a model file."""
    try:
        return convert(recorded_config(model, data).get("split", {}), SplitRule)
    except RecordError:  # values of another version
        return SplitRule()


def recorded_config(model: Path, data: Path) -> dict[str, Any]:
    """Returns the configuration of a run on these data; empty for a model file or other data."""
    try:
        config = run_folder.load_config(model)
        return config if Path(config["data"]) == data.resolve() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # a model file, or an incomplete run


def recorded_groups(model: Path, dataset: Dataset) -> dict[str, str]:
    """Returns the group of each pair by name: its category, or the group of the split.

    Args:
        model: Folder of the model; if it is a run on these data, its `group_by` is used.
        dataset: Data set of the pairs.

    Returns:
        Groups by pair name; empty if the data set has none.
    """
    if dataset.categories:
        return dict(dataset.categories)
    try:
        return groups_of(dataset, _recorded_rule(model, dataset.source))
    except DataError:  # the data have changed
        return {}
