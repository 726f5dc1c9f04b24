"""Split pairs into train, validation and test: for the weights, their choice, and final metrics.

Official lists of a data set are used if it has them, so that its test set stays a test set. Else
splits are random with a seed, and stratified (`stratification`). Pairs of one group (a patient, a
video) are never separated. Every run saves its split, and later runs can use it again.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from unetkit._shared.records import RecordError, convert, read_json, refusing
from unetkit._shared.run_folder import SPLIT_NAMES
from unetkit._shared.wording import format_count
from unetkit.data.blocks import SIDES, SMALL_SIDES, suggest_side
from unetkit.data.pairs import Dataset, Pair
from unetkit.data.stratification import Cutter, sort_by_name
from unetkit.errors import ConfigError, DataError, DataNotFoundError

MOST_FOLDS = 100


@dataclass(frozen=True)
class Split:
    """The pairs of a data set, split in three.

    Args:
        train: Pairs for training.
        validation: Pairs for choosing the checkpoint.
        test: Pairs for the final metrics.
    """

    train: tuple[Pair, ...] = ()
    validation: tuple[Pair, ...] = ()
    test: tuple[Pair, ...] = ()

    @property
    def splits(self) -> dict[str, tuple[Pair, ...]]:
        """Pairs by the name of the split: "train", "validation", "test"."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def require_seed(seed: int) -> None:
    """Raises an error for a seed that not every random generator accepts.

    Raises:
        ConfigError: `seed` is negative, or 2^32 or more.
    """
    if not 0 <= seed < 1 << 32:
        raise ConfigError(f"seed is {seed}; accepted are whole numbers from 0 to {(1 << 32) - 1}")


@dataclass(frozen=True)
class SplitRule:
    """How pairs are split into train, validation and test; equal rules and names give equal splits.

    Args:
        seed: Seed of the random splits, from 0 to 2^32 - 1.
        validation_fraction: Fraction of the pairs outside the test split that become the
            validation split, in (0, 1).
        test_fraction: Fraction of all pairs that become the test split, in [0, 1); 0 for no test
            split. Not used if lists or folders name a test split.
        group_by: Regular expression that is searched in each image's path within the data folder;
            pairs with equal matches (of its capturing groups, if it has any) stay in one split.
        file: Path of a split file, which is used instead of seed and fractions; it must not
            separate pairs of a group.

    Raises:
        ConfigError: A fraction is out of range, `group_by` is not a regular expression, or
            `test_fraction` is set together with `file`.
    """

    seed: int = 0
    validation_fraction: float = 0.15
    test_fraction: float = 0.2
    group_by: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        require_seed(self.seed)
        if not 0 < self.validation_fraction < 1 or not 0 <= self.test_fraction < 1:
            raise ConfigError(
                f"validation_fraction is {self.validation_fraction} and test_fraction "
                f"{self.test_fraction}; accepted are fractions between 0 and 1 (a test_fraction of "
                "0 for no test split); use 0.15 and 0.2"
            )
        if self.file is not None and self.test_fraction != type(self).test_fraction:
            raise ConfigError(
                f"test_fraction is {self.test_fraction} beside the split file {self.file}, which "
                "names the splits; accepted is one of them; leave one of them out"
            )
        if self.group_by is not None:
            try:
                re.compile(self.group_by)
            except re.error as error:
                raise ConfigError(
                    f"group_by is {self.group_by!r}, which is not a regular expression ({error}); "
                    r"accepted is one that finds the group in an image's path, such as '^(\d+)/'"
                ) from error


def groups_of(dataset: Dataset, rule: SplitRule) -> dict[str, str]:
    """Returns the group of each pair, by name; empty if there are no groups.

    Args:
        dataset: Pairs, perhaps with groups from a table.
        rule: Rule whose `group_by` takes precedence over these groups.

    Raises:
        DataError: `rule.group_by` does not match the path of an image.
    """
    if rule.group_by is None:
        if not dataset.groups:
            return {}
        # A pair without a group is a group by itself.
        return {p.name: dataset.groups.get(p.name, f"{p.name} alone") for p in dataset.pairs}
    groups = {}
    for pair in dataset.pairs:
        path = _relative(pair.image, dataset.folder)
        match = re.search(rule.group_by, path)
        if match is None:
            raise DataError(
                f"the pattern {rule.group_by!r} finds no group in the path {path!r}; accepted is "
                "one that matches every path; correct --group-by"
            )
        groups[pair.name] = "|".join(str(text) for text in match.groups() or (match[0],))
    return groups


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:  # a table may name files outside its folder
        return path.as_posix()


def split_pairs(
    dataset: Dataset,
    rule: SplitRule,
    strata: Mapping[str, str] | None = None,
    skipped: Collection[str] = (),
) -> Split:
    """Splits the pairs into train, validation and test.

    Splits that lists or folders name are used as they are; those that they do not name are taken
    from train. Splits are stratified by category if the data set has categories, else by `strata`.

    Args:
        dataset: Pairs to split.
        rule: Fractions, seed and groups, or a split file.
        strata: Stratum of each pair by name, such as the classes that occur in its mask.
        skipped: Names of pairs that are left out.

    Raises:
        DataNotFoundError: The split file does not exist.
        DataError: There are too few pairs or groups, the split file cannot be used, or it or the
            lists separate pairs of a group.
    """
    if rule.file is not None:
        split = read_split(rule.file, dataset, skipped)
        split_of_pair = {pair.name: name for name, pairs in split.splits.items() for pair in pairs}
        used = replace(dataset, pairs=tuple(p for p in dataset.pairs if p.name in split_of_pair))
        _require_whole_groups(f"split file {rule.file}", split_of_pair, groups_of(used, rule))
        return split
    dataset = without(dataset, skipped)
    cutter = _cutter(dataset, rule, strata)
    given = _given_splits(dataset)
    rest, test, validation = given["train"], given["test"], given["validation"]
    if not test and rule.test_fraction and "trainval" not in dataset.splits.values():
        _require_pairs(dataset, len(rest), 2 if validation else 3)
        rest, test = cutter.cut(rest, rule.test_fraction, 1 if validation else 2)
    if not validation:
        _require_pairs(dataset, len(rest), 2)
        rest, validation = cutter.cut(rest, rule.validation_fraction)
    return Split(rest, validation, test)


def _cutter(dataset: Dataset, rule: SplitRule, strata: Mapping[str, str] | None) -> Cutter:
    groups = groups_of(dataset, rule)
    _require_whole_groups(str(dataset.source), _split_of_pairs(dataset), groups)
    return Cutter(dataset.source, rule.seed, dataset.categories or dict(strata or {}), groups)


def _split_of_pairs(dataset: Dataset) -> dict[str, str]:
    """The split that lists, folders or a table give each pair, by name; else it is train."""
    splits = {pair.name: dataset.splits.get(pair.name, "train") for pair in dataset.pairs}
    return {name: "train" if split == "trainval" else split for name, split in splits.items()}


def _given_splits(dataset: Dataset) -> dict[str, tuple[Pair, ...]]:
    split_of = _split_of_pairs(dataset)
    found = {
        split: tuple(pair for pair in dataset.pairs if split_of[pair.name] == split)
        for split in SPLIT_NAMES
    }
    if dataset.splits and not found["train"]:
        raise DataError(
            f"{dataset.source} names pairs for test or validation, but none for training; "
            "accepted are lists or folders of both; add the train split, or remove the lists"
        )
    return found


def _require_whole_groups(
    source: str, splits: Mapping[str, str], groups: Mapping[str, str]
) -> None:
    """Raises an error if lists, folders, a column or a file separate pairs of a group."""
    owner: dict[str, str] = {}
    for name, split in splits.items() if groups else ():
        group = groups[name]
        if owner.setdefault(group, split) != split:
            raise DataError(
                f"{source} names pairs of the group {group!r} for {owner[group]} and for "
                f"{split}, {name!r} among them; accepted are groups within one split; correct "
                "the lists, folders or file, or choose other groups"
            )


def _require_pairs(dataset: Dataset, count: int, needed: int) -> None:
    if count < needed:
        ways = []
        side = None if dataset.blocks else suggest_side(dataset, (*SIDES, *SMALL_SIDES))
        if side is not None:
            ways.append(f"cut the images with --blocks {side}")
        if count == 2 and needed == 3:
            ways.append("use --test-fraction 0 for no test split")
        names = ("pair of image and mask", "pairs of image and mask")
        found = format_count(count, *(("block", "blocks") if dataset.blocks else names))
        ways.append("use smaller --blocks" if dataset.blocks else "add more pairs")
        raise DataError(
            f"{dataset.source} has {found} for {needed} splits; accepted "
            f"are at least {needed}; {', '.join(ways[:-1])}{' or ' if ways[1:] else ''}{ways[-1]}"
        )


def make_folds(
    dataset: Dataset, rule: SplitRule, folds: int, strata: Mapping[str, str] | None = None
) -> list[Split]:
    """Makes splits for cross-validation: each pair is in the test split of one of them.

    The test split that lists or folders name, if any, is left out.

    Args:
        dataset: Pairs to split.
        rule: Seed, fraction of the validation pairs, and groups.
        folds: Number of splits, from 2 to MOST_FOLDS.
        strata: Stratum of each pair by name, such as the classes that occur in its mask.

    Raises:
        ConfigError: `folds` is out of range.
        DataError: There are too few pairs or groups, or lists separate pairs of a group.
    """
    if not 2 <= folds <= MOST_FOLDS:
        raise ConfigError(f"folds is {folds}; accepted are 2 to {MOST_FOLDS}; use 5")
    pairs = [pair for pair in dataset.pairs if dataset.splits.get(pair.name) != "test"]
    cutter = _cutter(dataset, rule, strata)
    groups = cutter.groups
    units = len({groups[pair.name] for pair in pairs}) if groups else len(pairs)
    needed = max(folds, 4 if folds == 2 else 3)  # leaves two for train and validation
    if units < needed:
        raise DataError(
            f"{dataset.source} has {units} {'groups' if groups else 'pairs'} for {folds} folds; "
            f"accepted are at least {needed}, as each fold also needs a validation split; "
            "use fewer folds or more data"
        )
    splits = []
    for test in cutter.fold(pairs, folds):
        names = {pair.name for pair in test}
        rest = [pair for pair in pairs if pair.name not in names]
        splits.append(Split(*cutter.cut(rest, rule.validation_fraction), test))
    return splits


def split_to_json(
    split: Split,
    dataset: Dataset,
    digests: Mapping[str, Mapping[str, Any]] | None = None,
    skipped: Mapping[str, str] | None = None,
) -> str:
    """Returns the text of a split file, which lists the pairs of each split.

    Args:
        split: Pairs of each split.
        dataset: Data set of the pairs.
        digests: Hashes of the files of each pair, by the pair's name.
        skipped: Reason why a pair was left out, by the pair's name.
    """
    record: dict[str, Any] = {"data": str(dataset.source.resolve())}
    for name, pairs in split.splits.items():
        record[name] = [{"name": p.name, **(digests or {}).get(p.name, {})} for p in pairs]
    record["skipped"] = [{"name": pair, "why": why} for pair, why in (skipped or {}).items()]
    return json.dumps(record, indent=1, ensure_ascii=False)


class _Entry(msgspec.Struct):
    name: str


class _SplitFile(msgspec.Struct):
    train: list[str | _Entry]
    validation: list[str | _Entry]
    test: list[str | _Entry] = []


def read_split_names(path: str | Path) -> dict[str, list[str]]:
    """Returns the names of the pairs of each split, from a split file.

    Args:
        path: Path of a JSON file whose entries are names, or objects with a name.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The file is not a split file, or a name is in two splits.
    """
    path = Path(path)
    remedy = 'accepted is JSON with "train", "validation" and "test", each a list of names'
    try:
        with refusing(f"split file {path}", remedy):
            record = convert(read_json(path), _SplitFile)
            names = {
                part: [e if isinstance(e, str) else e.name for e in getattr(record, part)]
                for part in SPLIT_NAMES
            }
            owner: dict[str, str] = {}
            for part, members in names.items():
                for name in members:
                    if owner.setdefault(name, part) != part:
                        raise RecordError(f"it has {name!r} in {owner[name]} and in {part}")
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"split file {path} does not exist; accepted is a file such as a run's split.json"
        ) from error
    return names


def read_split(path: str | Path, dataset: Dataset, skipped: Collection[str] = ()) -> Split:
    """Returns the pairs of each split that a split file names.

    Args:
        path: Path of the split file.
        dataset: Data set that it was made for.
        skipped: Names of pairs that are left out.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The file is not a split file, lacks a split, has a name in two splits, or names
            a pair that `dataset` does not have.
    """
    names = read_split_names(path)
    gone = set(skipped)
    by_name = {pair.name: pair for pair in dataset.pairs}
    missing = [name for members in names.values() for name in members if name not in by_name]
    if missing or not names["train"] or not names["validation"]:
        what = f"names {missing[0]!r}, no pair of {dataset.source}" if missing else "lacks a split"
        raise DataError(
            f"split file {path} {what} ({len(missing)} such names); accepted are names of pairs, "
            "some of them for training and some for validation; correct the file, or use the data "
            "it was made for"
        )
    splits = {
        split: sort_by_name(by_name[name] for name in dict.fromkeys(members) if name not in gone)
        for split, members in names.items()
    }
    return Split(**splits)


def without(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """Returns a data set without the pairs of these names."""
    gone = set(names)
    return replace(dataset, pairs=tuple(pair for pair in dataset.pairs if pair.name not in gone))
