"""Cut pairs into parts: for training, for choosing the weights, and for the figures quoted.

Official lists are obeyed where a data set has them, so that a test set stays one. Else cuts are
seeded and stratified, with scikit-learn; what belongs together (a patient, a film) is never torn
apart. A split is written with every run and can be given back.
"""

import json
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from unetkit._shared.records import RecordError, convert, read_json, refusing
from unetkit._shared.run_folder import SPLIT_NAMES
from unetkit.data.dataset import Dataset, Pair
from unetkit.errors import ConfigError, DataError, DataNotFoundError

MOST_FOLDS = 100
USUAL_FOLDS = 10  # of groups, from which a share is put together


@dataclass(frozen=True)
class Split:
    """Pairs for training, for choosing the checkpoint, and for the figures that are quoted."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Pair, ...]

    @property
    def parts(self) -> dict[str, tuple[Pair, ...]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def require_seed(seed: int) -> None:
    """Refuses a seed that not every generator takes.

    Raises:
        ConfigError: It is negative, or 2^32 or more.
    """
    if not 0 <= seed < 1 << 32:
        raise ConfigError(
            f"seed is {seed}; accepted are whole numbers from 0 to {(1 << 32) - 1}; use a smaller "
            "one"
        )


@dataclass(frozen=True)
class SplitRule:
    """How pairs are cut into parts; the same cut for the same rule and names.

    Args:
        seed: Of the cuts, from 0 to 2^32 - 1.
        validation_fraction: Share of the pairs that are not test pairs, above 0 and below 1.
        test_fraction: Share of all pairs, from 0 (no test part) to below 1; not used where lists or
            folders name a test part.
        group_by: Regular expression that is searched in each image's path within the data folder;
            pairs for which it finds the same text (of its brackets, if it has any) stay together.
        file: A split file, which decides instead of seed and fractions; groups must be whole.

    Raises:
        ConfigError: A fraction is out of range, the expression is none, or a test_fraction is
            chosen beside a file.
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
                f"{self.test_fraction}; accepted are shares between 0 and 1 (a test_fraction of 0 "
                "leaves no test part); use 0.15 and 0.2"
            )
        if self.file is not None and self.test_fraction != type(self).test_fraction:
            raise ConfigError(
                f"test_fraction is {self.test_fraction} beside the split file {self.file}, which "
                "decides the parts; accepted is one of them; leave out --test-fraction or --split"
            )
        if self.group_by is not None:
            try:
                re.compile(self.group_by)
            except re.error as error:
                raise ConfigError(
                    f"group_by is {self.group_by!r}, which is no regular expression ({error}); "
                    r"accepted is one that finds the group in an image's path, such as '^(\d+)/'; "
                    "correct it"
                ) from error


def groups_of(dataset: Dataset, rule: SplitRule) -> dict[str, str]:
    """What each pair belongs to, by name; empty where nothing belongs together.

    Raises:
        DataError: The rule's expression is not found in an image's path.
    """
    if rule.group_by is None:
        if not dataset.groups:
            return {}
        # What a table gives no group is one of its own.
        return {p.name: dataset.groups.get(p.name, f"{p.name} alone") for p in dataset.pairs}
    groups = {}
    for pair in dataset.pairs:
        path = _relative(pair.image, dataset.folder)
        match = re.search(rule.group_by, path)
        if match is None:
            raise DataError(
                f"the pattern {rule.group_by!r} finds no group in the path {path!r}; accepted is "
                "one that finds something in each; correct --group-by"
            )
        groups[pair.name] = "|".join(str(part) for part in match.groups() or (match[0],))
    return groups


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:  # a table may name files elsewhere
        return path.as_posix()


def split_pairs(
    dataset: Dataset,
    rule: SplitRule,
    strata: Mapping[str, str] | None = None,
    skipped: Collection[str] = (),
) -> Split:
    """Cuts the pairs into train, validation and test.

    A part that lists or folders name stays as it is; one that they do not name is cut from
    train. Cuts are stratified by category where categories are known, else by `strata`.

    Args:
        strata: What kind of picture each is, by name: which classes occur in it.
        skipped: Names of pairs that are left out.

    Raises:
        DataError: Too few pairs or groups for the parts, or lists or a file that tear a group
            apart.
    """
    if rule.file is not None:
        split = read_split(rule.file, dataset, skipped)
        parts = {pair.name: part for part, pairs in split.parts.items() for pair in pairs}
        used = replace(dataset, pairs=tuple(p for p in dataset.pairs if p.name in parts))
        _require_whole_groups(f"split file {rule.file}", parts, groups_of(used, rule))
        return split
    dataset = without(dataset, skipped)
    labels = dataset.categories or dict(strata or {})
    groups = groups_of(dataset, rule)
    given = _given_parts(dataset)
    _require_whole_groups(str(dataset.source), _parts_by_name(dataset), groups)
    rest, test, validation = given["train"], given["test"], given["validation"]
    if not test and rule.test_fraction and "trainval" not in dataset.parts.values():
        _require_pairs(dataset, len(rest), 2 if validation else 3)
        least = 1 if validation else 2
        rest, test = _cut(dataset, rest, rule.test_fraction, rule.seed, labels, groups, least)
    if not validation:
        _require_pairs(dataset, len(rest), 2)
        rest, validation = _cut(dataset, rest, rule.validation_fraction, rule.seed, labels, groups)
    return Split(rest, validation, test)


def _given_parts(dataset: Dataset) -> dict[str, tuple[Pair, ...]]:
    """Pairs by part, as lists, folders or a table say; what they leave open is train."""
    found: dict[str, list[Pair]] = {name: [] for name in SPLIT_NAMES}
    for pair in dataset.pairs:
        part = dataset.parts.get(pair.name, "train")
        found["train" if part == "trainval" else part].append(pair)
    if dataset.parts and not found["train"]:
        raise DataError(
            f"{dataset.source} names pairs for the test or validation, but none for training; "
            "accepted are lists or folders of both; add the training part, or remove the lists"
        )
    return {name: tuple(pairs) for name, pairs in found.items()}


def _parts_by_name(dataset: Dataset) -> dict[str, str]:
    """The given part of each pair; empty where none is given."""
    if not dataset.parts:
        return {}
    parts = {pair.name: dataset.parts.get(pair.name, "train") for pair in dataset.pairs}
    return {name: "train" if part == "trainval" else part for name, part in parts.items()}


def _require_whole_groups(source: str, parts: Mapping[str, str], groups: Mapping[str, str]) -> None:
    """Refuses lists, folders, a column or a file that put one group into several parts."""
    owner: dict[str, str] = {}
    for name, part in parts.items() if groups else ():
        group = groups[name]
        if owner.setdefault(group, part) != part:
            raise DataError(
                f"{source} names pairs of the group {group!r} for {owner[group]} and for "
                f"{part}, {name!r} among them; accepted are groups within one part; correct "
                "the lists, folders or file, or group by something else"
            )


def _require_pairs(dataset: Dataset, count: int, needed: int) -> None:
    if count < needed:
        raise DataError(
            f"{dataset.source} has {count} pairs of image and mask to cut {needed} parts from; "
            f"accepted are at least {needed}; add more pairs"
        )


def _cut(
    dataset: Dataset,
    pairs: Sequence[Pair],
    fraction: float,
    seed: int,
    labels: Mapping[str, str],
    groups: Mapping[str, str],
    least: int = 1,
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Kept pairs, of at least so many groups, and those cut off."""
    if groups:
        return _cut_groups(dataset, pairs, fraction, seed, labels, groups, least)
    # scikit-learn belongs to the `train` extra; what only predicts does without.
    from sklearn.model_selection import train_test_split

    count = min(len(pairs) - 1, max(1, round(fraction * len(pairs))))
    kinds = _strata(pairs, labels, fraction)
    sizes = Counter(kinds)
    possible = min(sizes.values()) >= 2 and len(sizes) <= min(count, len(pairs) - count)
    kept, cut = train_test_split(
        list(pairs),
        test_size=count,
        random_state=seed,
        stratify=kinds if possible and len(sizes) > 1 else None,
    )
    return _sorted_by_name(kept), _sorted_by_name(cut)


def _strata(pairs: Sequence[Pair], labels: Mapping[str, str], fraction: float) -> list[str]:
    """Stratum of each pair; one too small to be in both parts joins the others of its kind."""
    kinds = [labels.get(pair.name, "") for pair in pairs]
    sizes = Counter(kinds)
    return [kind if sizes[kind] * fraction >= 1 else "rare" for kind in kinds]


def _cut_groups(
    dataset: Dataset,
    pairs: Sequence[Pair],
    fraction: float,
    seed: int,
    labels: Mapping[str, str],
    groups: Mapping[str, str],
    least: int,
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """As `_cut`, whole groups at a time: the folds whose size comes nearest to the fraction."""
    of_pair = [groups[pair.name] for pair in pairs]
    count = len(set(of_pair))
    if count < 2:
        raise DataError(
            f"{dataset.source} has too few groups: only {of_pair[0]!r} is left to cut a part from; "
            "accepted is a group for each of train, validation and test; group by something finer, "
            "or go without a test part with --test-fraction 0"
        )
    least = min(least, count - 1)
    folds = _number_of_folds(count, fraction, least)
    cuts = _grouped_folds(pairs, folds, seed, _strata(pairs, labels, fraction), of_pair)
    chosen = set(_nearest_union(cuts, fraction * len(pairs), folds - least))
    kept = (pair for i, pair in enumerate(pairs) if i not in chosen)
    return _sorted_by_name(kept), _sorted_by_name(pairs[i] for i in chosen)


def _number_of_folds(groups: int, fraction: float, least: int) -> int:
    """The smallest number of folds some of which come nearest to a share, `least` being left.

    >>> [_number_of_folds(12, fraction, 2) for fraction in (0.15, 0.2, 0.4, 0.5)]
    [7, 5, 5, 4]
    """
    most = min(groups, max(USUAL_FOLDS, round(1 / fraction)))
    choices = [(n, k) for n in range(least + 1, most + 1) for k in range(1, n - least + 1)]
    return min(choices, key=lambda choice: (abs(choice[1] / choice[0] - fraction), choice))[0]


def _nearest_union(cuts: Sequence[Sequence[int]], wanted: float, most: int) -> list[int]:
    """Places of the folds, at most so many, whose pairs are together nearest to the number wanted.

    >>> _nearest_union([[0, 1, 2], [3], [4, 5]], 5, 2), _nearest_union([[0], [1, 2, 3]], 2.4, 2)
    ([0, 1, 2, 4, 5], [1, 2, 3])
    """
    unions: dict[int, tuple[int, ...]] = {0: ()}  # by size, of the fewest folds
    for number, places in enumerate(cuts):
        for size, folds in list(unions.items()):
            union, larger = (*folds, number), size + len(places)
            if size < wanted and len(union) <= most and len(union) < len(unions.get(larger, cuts)):
                unions[larger] = union
    size = min(unions.keys() - {0}, key=lambda size: (abs(size - wanted), size))
    return [place for number in unions[size] for place in cuts[number]]


def _grouped_folds(
    pairs: Sequence[Pair], folds: int, seed: int, kinds: Sequence[str], groups: Sequence[str]
) -> list[list[int]]:
    """Places of the pairs of each fold."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    if max(Counter(kinds).values()) < folds:
        kinds = [""] * len(pairs)
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of strata with fewer members than folds
        cuts = [places.tolist() for _, places in cutter.split(pairs, kinds, groups)]
    if not all(cuts):  # it may leave a fold empty for the sake of the strata
        cuts = [places.tolist() for _, places in GroupKFold(folds).split(pairs, kinds, groups)]
    return cuts


def make_folds(
    dataset: Dataset, rule: SplitRule, folds: int, strata: Mapping[str, str] | None = None
) -> list[Split]:
    """Cuts the pairs into `folds` test parts, each pair in one; the rest of each is trained on.

    Where lists or folders name a test part, it takes no part in this.

    Raises:
        ConfigError: `folds` is not from 2 to 100.
        DataError: Fewer pairs or groups than folds.
    """
    if not 2 <= folds <= MOST_FOLDS:
        raise ConfigError(f"folds is {folds}; accepted are 2 to {MOST_FOLDS}; use 5")
    pairs = [pair for pair in dataset.pairs if dataset.parts.get(pair.name) != "test"]
    labels = dataset.categories or dict(strata or {})
    groups = groups_of(dataset, rule)
    _require_whole_groups(str(dataset.source), _parts_by_name(dataset), groups)
    units = len({groups[pair.name] for pair in pairs}) if groups else len(pairs)
    needed = max(folds, 4 if folds == 2 else 3)  # two are left beside each fold
    if units < needed:
        raise DataError(
            f"{dataset.source} has {units} {'groups' if groups else 'pairs'} for {folds} folds; "
            f"accepted are at least {needed}, as each fold also takes a validation part; "
            "use fewer folds or more data"
        )
    kinds = _strata(pairs, labels, 1 / folds)
    if groups:
        of_pair = [groups[pair.name] for pair in pairs]
        cuts = _grouped_folds(pairs, folds, rule.seed, kinds, of_pair)
    else:
        cuts = _plain_folds(pairs, folds, rule.seed, kinds)
    splits = []
    for places in cuts:
        chosen = set(places)
        rest = [pair for i, pair in enumerate(pairs) if i not in chosen]
        train, validation = _cut(dataset, rest, rule.validation_fraction, rule.seed, labels, groups)
        splits.append(Split(train, validation, _sorted_by_name(pairs[i] for i in places)))
    return splits


def _plain_folds(
    pairs: Sequence[Pair], folds: int, seed: int, kinds: Sequence[str]
) -> list[list[int]]:
    from sklearn.model_selection import KFold, StratifiedKFold

    stratified = max(Counter(kinds).values()) >= folds and len(set(kinds)) > 1
    cutter = (StratifiedKFold if stratified else KFold)(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of strata with fewer members than folds
        return [places.tolist() for _, places in cutter.split(pairs, kinds)]


def _sorted_by_name(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    return tuple(sorted(pairs, key=lambda pair: pair.name))


def split_to_json(
    split: Split,
    dataset: Dataset,
    digests: Mapping[str, Mapping[str, str | int]] | None = None,
    skipped: Mapping[str, str] | None = None,
) -> str:
    """The file that says which pair was in which part.

    Args:
        digests: What else to say of each pair, by name: hashes of its files.
        skipped: Why a pair was left out, by name.
    """
    record: dict[str, Any] = {"data": str(dataset.source.resolve())}
    for part, pairs in split.parts.items():
        record[part] = [{"name": p.name, **(digests or {}).get(p.name, {})} for p in pairs]
    record["skipped"] = [{"name": name, "why": why} for name, why in (skipped or {}).items()]
    return json.dumps(record, indent=1, ensure_ascii=False)


class _Entry(msgspec.Struct):
    name: str


class _SplitFile(msgspec.Struct):
    train: list[str | _Entry]
    validation: list[str | _Entry]
    test: list[str | _Entry] = []


def read_split_names(path: str | Path) -> dict[str, list[str]]:
    """Names by split from a split file; each entry is a name, or an object with a name.

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
    """The pairs that a split file names, but for those that are skipped.

    Raises:
        DataNotFoundError, DataError: As `read_split_names`, or a name is no pair of the data.
    """
    names = read_split_names(path)
    gone = set(skipped)
    by_name = {pair.name: pair for pair in dataset.pairs}
    missing = [name for members in names.values() for name in members if name not in by_name]
    if missing or not names["train"] or not names["validation"]:
        what = f"names {missing[0]!r}, no pair of {dataset.source}" if missing else "lacks a part"
        raise DataError(
            f"split file {path} {what} ({len(missing)} such names); accepted are names of pairs, "
            "some of them for training and some for validation; correct the file, or name the data "
            "it was made for"
        )
    parts = {
        part: _sorted_by_name(by_name[name] for name in dict.fromkeys(members) if name not in gone)
        for part, members in names.items()
    }
    return Split(**parts)


def without(dataset: Dataset, names: Iterable[str]) -> Dataset:
    """A data set without some of its pairs."""
    gone = set(names)
    return replace(dataset, pairs=tuple(pair for pair in dataset.pairs if pair.name not in gone))
