"""Which pairs of a data set a model is scored on, and what training knew of these data.

A test part is what lists, folders or a split file name; else it is every pair whose picture
training did not look at. A listed test pair that was trained on is refused.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unetkit._shared import run_folder
from unetkit.data.dataset import Dataset, Pair, Sources
from unetkit.data.reading import file_sha256, in_parallel
from unetkit.data.splits import SplitRule, groups_of, read_split_names
from unetkit.errors import ConfigError, DataError, DataNotFoundError, did_you_mean
from unetkit.models.spec import ModelSpec, image_digest

PARTS = ("test", "validation", "train", "all")


def require_part(part: str) -> None:
    """Refuses what is no part of a data set.

    Raises:
        ConfigError: It is none of PARTS.
    """
    if part not in PARTS:
        raise ConfigError(
            f"part {part!r} is unknown; accepted are {', '.join(PARTS)}{did_you_mean(part, PARTS)}"
        )


def choose_pairs(
    spec: ModelSpec, model: Path, dataset: Dataset, part: str
) -> tuple[tuple[Pair, ...], str]:
    """The pairs of a part, and how they were told from the others.

    Args:
        model: A run folder or a model file.

    Raises:
        DataError: A listed test pair was trained on.
        DataNotFoundError: A part of training is asked of a model file.
    """
    if part == "all":
        return dataset.pairs, "every pair, whatever it was used for"
    if part == "test":
        return _recorded_test(spec, model, dataset) or _test_pairs(spec, dataset)
    if not (model / run_folder.SPLIT).is_file():
        raise DataNotFoundError(
            f"{model} holds no {run_folder.SPLIT}; the {part} part is known to a run folder alone; "
            "name the run folder"
        )
    names = set(read_split_names(model / run_folder.SPLIT)[part])
    pairs = tuple(pair for pair in dataset.pairs if pair.name in names)
    return pairs, f"as training recorded it in {run_folder.SPLIT}"


def _test_pairs(spec: ModelSpec, dataset: Dataset) -> tuple[tuple[Pair, ...], str]:
    """The official test list, or every pair that training did not look at."""
    has_test = "test" in dataset.splits.values()
    pairs = [p for p in dataset.pairs if not has_test or dataset.splits.get(p.name) == "test"]
    is_seen = _is_seen(spec, pairs)
    common = [pair for pair, known in zip(pairs, is_seen, strict=True) if known]
    if not has_test:
        unseen = tuple(pair for pair, known in zip(pairs, is_seen, strict=True) if not known)
        return unseen, f"the {len(common)} pairs whose pictures training looked at are left out"
    _require_unseen(dataset, pairs, is_seen)
    return tuple(pairs), "the test part that the data name"


def _require_unseen(dataset: Dataset, pairs: Sequence[Pair], is_seen: Sequence[bool]) -> None:
    common = [pair for pair, known in zip(pairs, is_seen, strict=True) if known]
    if common:
        raise DataError(
            f"{len(common)} of the {len(pairs)} pairs in the test part of {dataset.source} were "
            f"trained on, {common[0].name} first; accepted is a test part that training never saw; "
            "train with these parts, or name another model"
        )


def count_seen(spec: ModelSpec, pairs: Sequence[Pair]) -> int:
    """How many of the pairs have a picture that training looked at."""
    return sum(_is_seen(spec, pairs))


def _is_seen(spec: ModelSpec, pairs: Sequence[Pair]) -> list[bool]:
    seen = set(spec.seen)
    return list(in_parallel(lambda pair: _digest_of(pair) in seen, pairs))


def _digest_of(pair: Pair) -> str:
    try:
        return image_digest(file_sha256(pair.image), pair.page)
    except (DataError, OSError):
        return ""  # whoever reads it says what is wrong with it


def _recorded_test(
    spec: ModelSpec, model: Path, dataset: Dataset
) -> tuple[tuple[Pair, ...], str] | None:
    """The test part of the split file that a run was told to use, if this is its data."""
    recorded = recorded_config(model, dataset.source)
    if "file" not in recorded.get("split", {}):
        return None
    names = set(read_split_names(model / run_folder.SPLIT)["test"])
    pairs = tuple(pair for pair in dataset.pairs if pair.name in names)
    _require_unseen(dataset, pairs, _is_seen(spec, pairs))
    return pairs, f"as the run's split file says, {recorded['split']['file']}"


def recorded_sources(model: Path, data: Path) -> Sources:
    """What training was told of which files are images and masks, if this is its data.

    Args:
        model: A run folder; of other models nothing is known.
    """
    try:
        return Sources(**recorded_config(model, data).get("sources", {}))
    except TypeError:  # another version's keys
        return Sources()


def recorded_config(model: Path, data: Path) -> dict[str, Any]:
    """The configuration of a run on these data; empty of a model file, or of other data."""
    try:
        config = tomllib.loads((model / run_folder.CONFIG).read_text(encoding="utf-8"))
        return config if Path(config["data"]) == data.resolve() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # a model file alone, or a run that is not whole


def recorded_groups(model: Path, dataset: Dataset) -> dict[str, str]:
    """What each pair belongs to, by name: its category, or what a split keeps together; or empty.

    Args:
        model: The folder of the model; if it is a run of these data, its rule holds.
    """
    if dataset.categories:
        return dict(dataset.categories)
    rule = recorded_config(model, dataset.source).get("split", {}).get("group_by")
    try:
        return groups_of(dataset, SplitRule(group_by=rule))
    except (ConfigError, DataError):  # the data have changed since, or another version's rule
        return {}
