"""Cut pairs at random, stratified and in whole groups: a fraction of them, or folds.

scikit-learn cuts. What it lacks is a fraction of stratified groups; that is here the union of those
folds whose size comes nearest to the fraction. Which pairs are cut, and for which split, is left to
`splits`.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unetkit.data.pairs import Pair
from unetkit.errors import DataError

USUAL_FOLDS = 10  # of groups, some of which together approximate a fraction of the pairs


@dataclass(frozen=True)
class Cutter:
    """Cuts pairs at random, and equal pairs equally.

    Args:
        source: Data folder or table of the pairs, for errors.
        seed: Seed of the random cuts, from 0 to 2^32 - 1.
        strata: Stratum by the pair's name; empty, or lacking some pairs, which are one stratum.
        groups: Group of every pair by its name; empty if there are no groups.
    """

    source: Path
    seed: int
    strata: Mapping[str, str]
    groups: Mapping[str, str]

    def cut(
        self, pairs: Sequence[Pair], fraction: float, least: int = 1
    ) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        """Cuts off a fraction of the pairs, of which each side gets at least one.

        Args:
            pairs: Two pairs or more.
            fraction: Fraction to cut off, in (0, 1).
            least: Smallest number of groups to keep, if there are groups.

        Returns:
            Kept pairs, and those that are cut off, sorted by name.

        Raises:
            DataError: All pairs are of one group.
        """
        if self.groups:
            chosen = set(self._find_groups(pairs, fraction, least))
        else:
            chosen = set(self._find_pairs(pairs, fraction))
        kept = (pair for place, pair in enumerate(pairs) if place not in chosen)
        return sort_by_name(kept), sort_by_name(pairs[place] for place in chosen)

    def fold(self, pairs: Sequence[Pair], folds: int) -> list[tuple[Pair, ...]]:
        """Divides pairs into folds of nearly equal size, each sorted by name."""
        cuts = self._fold(pairs, folds, 1 / folds)
        return [sort_by_name(pairs[place] for place in places) for places in cuts]

    def _find_pairs(self, pairs: Sequence[Pair], fraction: float) -> list[int]:
        """Indices of the pairs to cut off."""
        # scikit-learn belongs to the `train` extra, which prediction does not need.
        from sklearn.model_selection import train_test_split

        count = min(len(pairs) - 1, max(1, round(fraction * len(pairs))))
        kinds = self._kinds(pairs, fraction)
        sizes = Counter(kinds)
        possible = min(sizes.values()) >= 2 and len(sizes) <= min(count, len(pairs) - count)
        _, chosen = train_test_split(
            range(len(pairs)),
            test_size=count,
            random_state=self.seed,
            stratify=kinds if possible and len(sizes) > 1 else None,
        )
        return chosen

    def _find_groups(self, pairs: Sequence[Pair], fraction: float, least: int) -> list[int]:
        """Indices of the pairs to cut off, which are whole groups."""
        count = len({self.groups[pair.name] for pair in pairs})
        if count < 2:
            raise DataError(
                f"{self.source} has too few groups: only {self.groups[pairs[0].name]!r} is left to "
                "split; accepted is at least one group for each of train, validation and test; use "
                "smaller groups, or no test split with --test-fraction 0"
            )
        least = min(least, count - 1)
        folds = _number_of_folds(count, fraction, least)
        cuts = self._fold(pairs, folds, fraction)
        return _nearest_union(cuts, fraction * len(pairs), folds - least)

    def _fold(self, pairs: Sequence[Pair], folds: int, fraction: float) -> list[list[int]]:
        """Indices of the pairs of each fold."""
        from sklearn.model_selection import (
            GroupKFold,
            KFold,
            StratifiedGroupKFold,
            StratifiedKFold,
        )

        kinds = self._kinds(pairs, fraction)
        groups = [self.groups[pair.name] for pair in pairs] if self.groups else None
        if max(Counter(kinds).values()) < folds:
            kinds = [""] * len(pairs)
        cutter = StratifiedGroupKFold if groups else StratifiedKFold
        if groups is None and len(set(kinds)) == 1:
            cutter = KFold
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of strata with fewer members than folds
            cuts = cutter(folds, shuffle=True, random_state=self.seed).split(pairs, kinds, groups)
            found = [places.tolist() for _, places in cuts]
        if not all(found):  # StratifiedGroupKFold may leave a fold empty to balance the strata
            cuts = GroupKFold(folds).split(pairs, kinds, groups)
            found = [places.tolist() for _, places in cuts]
        return found

    def _kinds(self, pairs: Sequence[Pair], fraction: float) -> list[str]:
        """Stratum of each pair; those too small for both sides of a cut are merged."""
        kinds = [self.strata.get(pair.name, "") for pair in pairs]
        sizes = Counter(kinds)
        return [kind if sizes[kind] * fraction >= 1 else "rare" for kind in kinds]


def sort_by_name(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Returns pairs in the order of their names."""
    return tuple(sorted(pairs, key=lambda pair: pair.name))


def _number_of_folds(groups: int, fraction: float, least: int) -> int:
    """Smallest number of folds of which some, but not the last `least`, best match a fraction.

    >>> [_number_of_folds(12, fraction, 2) for fraction in (0.15, 0.2, 0.4, 0.5)]
    [7, 5, 5, 4]
    """
    most = min(groups, max(USUAL_FOLDS, round(1 / fraction)))
    choices = [(n, k) for n in range(least + 1, most + 1) for k in range(1, n - least + 1)]
    return min(choices, key=lambda choice: (abs(choice[1] / choice[0] - fraction), choice))[0]


def _nearest_union(cuts: Sequence[Sequence[int]], wanted: float, most: int) -> list[int]:
    """Indices of the pairs in at most `most` folds that together have nearly `wanted` pairs.

    >>> _nearest_union([[0, 1, 2], [3], [4, 5]], 5, 2), _nearest_union([[0], [1, 2, 3]], 2.4, 2)
    ([0, 1, 2, 4, 5], [1, 2, 3])
    """
    unions: dict[int, tuple[int, ...]] = {0: ()}  # by size, from the smallest number of folds
    for number, places in enumerate(cuts):
        for size, folds in list(unions.items()):
            union, larger = (*folds, number), size + len(places)
            if size < wanted and len(union) <= most and len(union) < len(unions.get(larger, cuts)):
                unions[larger] = union
    size = min(unions.keys() - {0}, key=lambda size: (abs(size - wanted), size))
    return [place for number in unions[size] for place in cuts[number]]
