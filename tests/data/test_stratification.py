"""Cuts and folds: seeded, stratified as far as possible, and never through a group."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.test_splits import (
    MANY,
    ROOT,
    SEEDS,
    dataset,
    names_of,
    numbered,
    require_whole,
    splits_of,
)
from unetkit.data.splits import SplitRule, make_folds, split_pairs
from unetkit.data.stratification import Cutter, sort_by_name
from unetkit.errors import DataError


def cut_or_too_few(cut, *arguments):
    """What `cut` returns, or None where it says that there are too few groups or pairs."""
    try:
        return cut(*arguments)
    except DataError as error:
        if not re.search("too few groups|groups for . folds|has 1 pairs?", str(error)):
            raise
        return None


def test_pairs_are_sorted_by_name():
    assert names_of(sort_by_name(reversed(numbered(3).pairs))) == ["n000", "n001", "n002"]


class TestStrata:
    def test_both_sides_get_a_pair_whatever_the_fraction(self):
        cutter = Cutter(ROOT, 0, {}, {})
        for fraction in (0.001, 0.999):
            kept, cut = cutter.cut(numbered(5).pairs, fraction)
            assert {len(kept), len(cut)} == {1, 4}

    def test_strata_keep_their_shares(self):
        found = numbered(80)
        strata = {
            name: "dog" if i % 4 == 0 else "cat" for i, name in enumerate(names_of(found.pairs))
        }
        split = split_pairs(found, SplitRule(validation_fraction=0.25), strata)
        # 20 of 80 are dogs: 4 of 16 in the test split, and of the other 64, 4 of 16 again.
        for pairs in (split.test, split.validation):
            assert Counter(strata[pair.name] for pair in pairs) == {"cat": 12, "dog": 4}

    @MANY
    @given(st.lists(st.integers(0, 9), min_size=3, max_size=30), SEEDS)
    def test_any_strata_can_be_cut(self, kinds, seed):
        found = numbered(len(kinds))
        strata = dict(zip(names_of(found.pairs), map(str, kinds), strict=True))
        require_whole(split_pairs(found, SplitRule(seed), strata), found)


class TestGroups:
    @MANY
    @given(st.lists(st.integers(0, 12), min_size=6, max_size=40), SEEDS, st.floats(0.05, 0.6))
    def test_groups_are_never_torn_apart(self, members, seed, fraction):
        names = [f"g{group:02d}_{i}" for i, group in enumerate(members)]
        found = dataset(sorted(names))
        rule = SplitRule(seed, fraction, fraction, group_by=r"g(\d+)_")
        strata = {name: str(i % 3) for i, name in enumerate(names)}
        split = cut_or_too_few(split_pairs, found, rule, strata)
        if split is None:
            return
        require_whole(split, found)
        homes = [{name[:3] for name in members} for members in splits_of(split).values()]
        assert all(homes)
        assert sum(map(len, homes)) == len(set(members))
        assert split == split_pairs(found, rule, strata)

    @pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    @pytest.mark.parametrize("groups", [10, 20])
    def test_whole_groups_reach_the_share(self, fraction, groups):
        found = dataset([f"g{group:02d}_{i}" for group in range(groups) for i in range(3)])
        splits = [
            split_pairs(found, SplitRule(seed, 0.2, fraction, group_by=r"g(\d+)_"))
            for seed in (0, 1, 0)
        ]
        assert {len(split.test) for split in splits} == {round(3 * groups * fraction)}
        assert splits[0] == splits[2] != splits[1]

    def test_a_large_fraction_leaves_a_group_for_each_other_split(self):
        found = dataset([f"g{group}_{i}" for group in range(10) for i in range(3)])
        split = split_pairs(found, SplitRule(test_fraction=0.95, group_by=r"g(\d+)_"))
        assert [len(pairs) for pairs in split.splits.values()] == [3, 3, 24]

    def test_groups_of_many_sizes_come_near_the_share(self):
        # 1 + 2 + ... + 10 = 55 pairs: 0.4 of them are 22, which some of the groups make up.
        found = dataset([f"g{group:02d}_{i}" for group in range(1, 11) for i in range(group)])
        for seed in range(5):
            rule = SplitRule(seed, test_fraction=0.4, group_by=r"g(\d+)_")
            assert abs(len(split_pairs(found, rule).test) - 22) <= 3

    def test_too_few_groups_are_refused(self):
        found = dataset(["p1/a", "p1/b", "p2/a", "p2/b"])
        with pytest.raises(
            DataError, match=r"too few groups: only '.' is left .* --test-fraction 0"
        ):
            split_pairs(found, SplitRule(group_by=r"p(\d)"))


class TestFolds:
    @MANY
    @given(st.lists(st.integers(0, 9), min_size=8, max_size=30), st.integers(2, 5), SEEDS)
    def test_folds_of_groups_are_whole_and_not_empty(self, members, folds, seed):
        names = sorted(f"g{group}_{i}" for i, group in enumerate(members))
        found = dataset(names)
        strata = {name: name[-1] for name in names}
        rule = SplitRule(seed, group_by=r"g(\d)")
        splits = cut_or_too_few(make_folds, found, rule, folds, strata)
        if splits is None:
            return
        assert sorted(n for split in splits for n in names_of(split.test)) == names
        for split in splits:
            homes = [{name[:2] for name in members} for members in splits_of(split).values()]
            assert all(homes)
            assert sum(map(len, homes)) == len(set(members))

    def test_strata_that_would_empty_a_fold_give_way_to_groups(self):
        # A small case in which scikit-learn's stratifying cutter leaves the third fold empty.
        names = [f"n{i}" for i in range(9)]
        found = dataset(names, groups=dict(zip(names, "212021333", strict=True)))
        strata = dict(zip(names, "babbaabbb", strict=True))
        assert all(split.test for split in make_folds(found, SplitRule(seed=0), 4, strata))

    def test_folds_are_stratified(self):
        found = numbered(20)
        strata = {
            name: "rare" if i < 5 else "usual" for i, name in enumerate(names_of(found.pairs))
        }
        for split in make_folds(found, SplitRule(), 5, strata):
            assert Counter(strata[pair.name] for pair in split.test) == {"rare": 1, "usual": 3}
