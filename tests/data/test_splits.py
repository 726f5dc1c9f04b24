"""Splits: complete, disjoint, seeded, stratified, and never through a group."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.data.pairs import Dataset, Pair
from unetkit.data.splits import (
    SplitRule,
    groups_of,
    make_folds,
    read_split,
    read_split_names,
    split_pairs,
    split_to_json,
    without,
)
from unetkit.errors import ConfigError, DataError, DataNotFoundError

ROOT = Path("data")
WORDS = st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
SEEDS = st.integers(0, 2**32 - 1)
MANY = settings(max_examples=60)


def dataset(names, **options):
    """A data set of these names, without any file."""
    pairs = tuple(
        Pair(name, ROOT / f"images/{name}.jpg", ROOT / f"masks/{name}.png") for name in names
    )
    return Dataset(source=ROOT, pairs=pairs, masks="masks", **options)


def numbered(count, **options):
    return dataset([f"n{i:03d}" for i in range(count)], **options)


def names_of(pairs):
    return [pair.name for pair in pairs]


def splits_of(split):
    return {name: names_of(pairs) for name, pairs in split.splits.items()}


def require_whole(split, found):
    """Parts that are sorted, disjoint and complete."""
    names = [name for members in splits_of(split).values() for name in members]
    assert sorted(names) == names_of(found.pairs)
    assert all(members == sorted(members) for members in splits_of(split).values())


class TestCuts:
    @MANY
    @given(st.integers(3, 60), SEEDS, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
    def test_splits_are_disjoint_complete_and_not_empty(self, count, seed, validation, test):
        found = numbered(count)
        rule = SplitRule(seed, validation, test)
        if count - max(1, round(test * count)) < 2:
            return  # refused: see below
        split = split_pairs(found, rule)
        require_whole(split, found)
        assert all(split.splits.values())
        assert split == split_pairs(found, rule)

    def test_shares_are_of_all_and_of_the_rest(self):
        # A fifth of 100 is 20; 15 % of the other 80 is 12.
        split = split_pairs(numbered(100), SplitRule())
        assert [len(pairs) for pairs in split.splits.values()] == [68, 12, 20]

    def test_another_seed_gives_another_split(self):
        found = numbered(40)
        assert split_pairs(found, SplitRule(seed=3)) != split_pairs(found, SplitRule(seed=4))

    def test_a_split_depends_on_names_alone(self):
        found = numbered(40)
        moved = replace(
            found, source=Path("x"), pairs=tuple(replace(p, mask=Path("m")) for p in found.pairs)
        )
        ours, theirs = (split_pairs(d, SplitRule(seed=5)) for d in (found, moved))
        assert splits_of(ours) == splits_of(theirs)

    def test_no_test_split_where_none_is_wanted(self):
        split = split_pairs(numbered(10), SplitRule(test_fraction=0))
        assert (len(split.test), len(split.validation), len(split.train)) == (0, 2, 8)

    def test_three_pairs_are_enough_and_two_are_not(self):
        split = split_pairs(numbered(3), SplitRule())
        assert [len(pairs) for pairs in split.splits.values()] == [1, 1, 1]
        with pytest.raises(
            DataError, match=r"has 2 pairs .* for 3 splits; .* at least 3; use --test"
        ):
            split_pairs(numbered(2), SplitRule())
        with pytest.raises(DataError, match=r"has 1 pairs? .* for 2 splits"):
            split_pairs(numbered(10), SplitRule(test_fraction=0.9))

    def test_categories_come_before_strata(self):
        names = [f"n{i}" for i in range(20)]
        found = dataset(names, categories={name: f"c{i % 2}" for i, name in enumerate(names)})
        split = split_pairs(
            found, SplitRule(), {name: f"s{i // 10}" for i, name in enumerate(names)}
        )
        assert Counter(found.categories[pair.name] for pair in split.test) == {"c0": 2, "c1": 2}

    def test_skipped_pairs_are_in_no_split(self):
        found = numbered(10)
        split = split_pairs(found, SplitRule(), skipped={"n003", "n007"})
        require_whole(split, without(found, ["n003", "n007"]))


class TestGivenSplits:
    def test_official_lists_stay_as_they_are(self):
        splits = {f"n{i:03d}": "test" if i >= 8 else "trainval" for i in range(12)}
        split = split_pairs(numbered(12, splits=splits), SplitRule())
        assert names_of(split.test) == ["n008", "n009", "n010", "n011"]
        assert len(split.validation) == 1

    def test_all_splits_may_be_given(self):
        given = ["train", "validation", "test"]
        splits = {f"n{i:03d}": given[i % 3] for i in range(9)}
        split = split_pairs(numbered(9, splits=splits), SplitRule(test_fraction=0.5))
        assert {name: {splits[n] for n in names} for name, names in splits_of(split).items()} == {
            name: {name} for name in given
        }

    def test_a_test_split_is_cut_where_lists_name_none(self):
        splits = {f"n{i:03d}": "validation" if i < 2 else "train" for i in range(12)}
        split = split_pairs(numbered(12, splits=splits), SplitRule())
        assert names_of(split.validation) == ["n000", "n001"]
        assert len(split.test) == 2

    def test_trainval_without_test_is_cut_for_validation_alone(self):
        split = split_pairs(
            numbered(20, splits={f"n{i:03d}": "trainval" for i in range(20)}), SplitRule()
        )
        assert [len(pairs) for pairs in split.splits.values()] == [17, 3, 0]

    def test_pairs_that_a_table_leaves_open_are_for_training(self):
        split = split_pairs(numbered(6, splits={"n000": "test", "n001": "validation"}), SplitRule())
        assert names_of(split.train) == ["n002", "n003", "n004", "n005"]

    def test_a_test_list_alone_is_refused(self):
        with pytest.raises(DataError, match="for test or validation, but none for training; "):
            split_pairs(numbered(2, splits={"n000": "test", "n001": "test"}), SplitRule())


class TestGroups:
    def test_brackets_tell_the_group(self):
        found = dataset(["p1/a", "p1/b", "p2/a", "p10/c"])
        groups = groups_of(found, SplitRule(group_by=r"p(\d+)/"))
        assert groups == {"p1/a": "1", "p1/b": "1", "p2/a": "2", "p10/c": "10"}

    def test_without_brackets_all_that_is_found_is_the_group(self):
        found = dataset(["s1_a", "s1_b", "s2_a"])
        assert groups_of(found, SplitRule(group_by=r"s\d"))["s1_b"] == "s1"

    def test_several_brackets_count_together(self):
        found = dataset(["p1/v2/a"])
        assert groups_of(found, SplitRule(group_by=r"p(\d)/v(\d)(x)?")) == {"p1/v2/a": "1|2|None"}

    def test_the_folder_of_the_data_is_not_in_the_path(self):
        found = dataset(["a"])
        with pytest.raises(DataError, match=r"'data' finds no group in the path 'images/a\.jpg'"):
            groups_of(found, SplitRule(group_by="data"))

    def test_a_table_may_name_files_elsewhere(self):
        found = replace(dataset([]), pairs=(Pair("a", Path("/disk/p1/a.png"), Path("/m.png")),))
        assert groups_of(found, SplitRule(group_by=r"p\d")) == {"a": "p1"}

    def test_an_expression_that_is_none_is_refused(self):
        with pytest.raises(
            ConfigError, match=r"group_by is '\(', which is not a regular expression"
        ):
            SplitRule(group_by="(")

    def test_a_column_of_groups_counts_and_the_rest_stand_alone(self):
        found = numbered(12, groups={f"n{i:03d}": "film" for i in range(6)})
        split = split_pairs(found, SplitRule(test_fraction=0.1, validation_fraction=0.1))
        require_whole(split, found)
        assert [len(pairs) for pairs in split.splits.values()] == [10, 1, 1]
        assert {f"n{i:03d}" for i in range(6)} <= set(names_of(split.train))

    @pytest.mark.parametrize("cut", ["split", "folds"])
    def test_lists_that_tear_a_group_are_refused(self, cut):
        splits = {"p1/a": "train", "p2/a": "trainval", "p1/b": "test", "p3/a": "train"}
        found = dataset(sorted(splits), splits=splits)
        rule = SplitRule(group_by=r"p(\d)")
        with pytest.raises(DataError, match="group '1' for train and for test, 'p1/b' among them"):
            split_pairs(found, rule) if cut == "split" else make_folds(found, rule, 2)

    def test_lists_of_whole_groups_are_obeyed(self):
        splits = {f"p{i}/{k}": "test" if i == 3 else "trainval" for i in range(4) for k in "ab"}
        split = split_pairs(dataset(sorted(splits), splits=splits), SplitRule(group_by=r"p(\d)"))
        assert names_of(split.test) == ["p3/a", "p3/b"]
        assert len(split.validation) == 2


class TestFolds:
    @MANY
    @given(st.integers(3, 40), st.integers(2, 8), SEEDS, st.integers(1, 4))
    def test_folds_partition_the_pairs(self, count, folds, seed, kinds):
        found = numbered(count)
        strata = {name: str(i % kinds) for i, name in enumerate(names_of(found.pairs))}
        if count < max(folds, 4 if folds == 2 else 3):
            return
        splits = make_folds(found, SplitRule(seed), folds, strata)
        assert sorted(n for split in splits for n in names_of(split.test)) == names_of(found.pairs)
        for split in splits:
            require_whole(split, found)
            assert all(split.splits.values())
        sizes = [len(split.test) for split in splits]
        assert max(sizes) - min(sizes) <= (1 if kinds == 1 else kinds)
        assert splits == make_folds(found, SplitRule(seed), folds, strata)

    def test_a_given_test_split_is_left_out(self):
        found = numbered(
            12, splits={f"n{i:03d}": "test" if i < 4 else "trainval" for i in range(12)}
        )
        for split in make_folds(found, SplitRule(), 4):
            used = {name for members in splits_of(split).values() for name in members}
            assert used == {f"n{i:03d}" for i in range(4, 12)}

    @pytest.mark.parametrize(("count", "folds"), [(3, 2), (2, 2), (4, 5)])
    def test_too_few_pairs_are_refused(self, count, folds):
        needed = max(folds, 4)
        with pytest.raises(
            DataError, match=rf"{count} pairs for {folds} folds; .* least {needed},"
        ):
            make_folds(numbered(count), SplitRule(), folds)

    @pytest.mark.parametrize("folds", [0, 1, 101])
    def test_numbers_of_folds_that_make_no_sense(self, folds):
        with pytest.raises(ConfigError, match=f"folds is {folds}; accepted are 2 to 100; use 5"):
            make_folds(numbered(10), SplitRule(), folds)


class TestRules:
    @pytest.mark.parametrize(
        "options",
        [
            {"validation_fraction": 0},
            {"validation_fraction": 1},
            {"validation_fraction": 1.5},
            {"validation_fraction": float("nan")},
            {"test_fraction": 1},
            {"test_fraction": -0.1},
        ],
    )
    def test_fractions_out_of_range_are_refused(self, options):
        with pytest.raises(ConfigError, match="accepted are fractions between 0 and 1"):
            SplitRule(**options)

    @pytest.mark.parametrize("seed", [-1, 2**32])
    def test_seeds_that_not_every_generator_takes_are_refused(self, seed):
        with pytest.raises(ConfigError, match=f"seed is {seed}; accepted are whole numbers from 0"):
            SplitRule(seed=seed)


def write(folder, text):
    path = folder / "split.json"
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


class TestFiles:
    @MANY
    @given(
        names=st.sets(st.text(WORDS, min_size=1, max_size=9), min_size=4, max_size=12), seed=SEEDS
    )
    def test_a_split_that_was_written_is_read_as_it_was(self, names, seed, tmp_path_factory):
        found = dataset(sorted(names))
        split = split_pairs(found, SplitRule(seed))
        text = split_to_json(
            split, found, {found.pairs[0].name: {"image": "00ff"}}, {"gone": "bad"}
        )
        path = write(tmp_path_factory.mktemp("split"), text)
        assert read_split(path, found) == split
        assert split_pairs(found, SplitRule(seed + 1 if seed < 9 else 0, file=str(path))) == split

    def test_the_file_says_what_was_done(self):
        found = dataset(["a", "b", "c"])
        split = split_pairs(found, SplitRule())
        hashes = {name: {"image_sha256": name * 4} for name in "abc"}
        record = json.loads(split_to_json(split, found, hashes, {"d": "damaged"}))
        assert record["data"] == str(ROOT.resolve())
        assert record["skipped"] == [{"name": "d", "why": "damaged"}]
        (entry,) = record["train"]
        assert entry == {"name": entry["name"], "image_sha256": entry["name"] * 4}

    def test_a_file_by_hand_may_hold_bare_names_and_no_test(self, tmp_path):
        path = write(tmp_path, {"train": ["b", {"name": "a"}], "validation": ["c"]})
        split = read_split(path, dataset(["a", "b", "c", "d"]))
        assert splits_of(split) == {"train": ["a", "b"], "validation": ["c"], "test": []}

    def test_a_file_decides_over_lists(self, tmp_path):
        path = write(tmp_path, {"train": ["a"], "validation": ["b"], "test": ["c"]})
        found = dataset(["a", "b", "c"], splits={"a": "test"})
        assert names_of(split_pairs(found, SplitRule(file=str(path))).train) == ["a"]

    @pytest.mark.parametrize("group_by", [None, r"(\d)_"])
    def test_a_file_that_tears_a_group_is_refused(self, tmp_path, group_by):
        path = write(
            tmp_path, {"train": ["p1_a", "p2_a"], "validation": ["p3_a"], "test": ["p2_b"]}
        )
        names = ["p1_a", "p2_a", "p2_b", "p3_a"]
        groups = {} if group_by else {name: name[1] for name in names}
        expected = r"split\.json names pairs of the group '2' for train and for test, 'p2_b' among"
        with pytest.raises(DataError, match=expected):
            split_pairs(dataset(names, groups=groups), SplitRule(group_by=group_by, file=str(path)))

    def test_a_file_of_whole_groups_is_obeyed(self, tmp_path):
        path = write(tmp_path, {"train": ["p1_a", "p1_b"], "validation": ["p2_a"]})
        found = dataset(["other", "p1_a", "p1_b", "p2_a", "p2_b"])  # two are not in the file
        split = split_pairs(found, SplitRule(group_by=r"p(\d)", file=str(path)))
        assert splits_of(split) == {"train": ["p1_a", "p1_b"], "validation": ["p2_a"], "test": []}

    def test_a_test_fraction_beside_a_file_is_refused(self):
        with pytest.raises(
            ConfigError,
            match=r"test_fraction is 0\.4 beside the split file s\.json, which names the splits; "
            "accepted is one of them; leave one of them out",
        ):
            SplitRule(test_fraction=0.4, file="s.json")
        assert SplitRule(file="s.json").test_fraction == 0.2

    def test_skipped_pairs_are_left_out(self, tmp_path):
        path = write(tmp_path, {"train": ["a", "d"], "validation": ["b"], "test": ["c"]})
        split = split_pairs(dataset(["a", "b", "c", "d"]), SplitRule(file=str(path)), skipped=["d"])
        assert names_of(split.train) == ["a"]

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("{", r"cannot be used \(Expecting property name"),
            ("[]", r"cannot be used \(\$ is \[\]; accepted is an object\)"),
            ("3", r"cannot be used \(\$ is 3; accepted is an object\)"),
            ("[" * 100_000, r"cannot be used \(it is nested deeper than 100 levels\)"),
            ({"train": ["a"]}, r"cannot be used \(\$ has no key 'validation'\)"),
            (
                {"train": [{"id": 1}], "validation": ["b"]},
                r".* \(\$\.train\[0\] has no key 'name'\)",
            ),
            (
                {"train": "ab", "validation": ["c"]},
                r".* \(\$\.train is 'ab'; accepted is a list\)",
            ),
            (
                {"train": ["a"], "validation": ["a"]},
                r".* \(it has 'a' in train and in validation\)",
            ),
            (
                {"train": ["a", {"name": 3}], "validation": ["b"]},
                r".* \(\$\.train\[1\]\.name is 3; accepted is text\)",
            ),
            (
                {"train": [{"name": ["a"]}], "validation": ["b"]},
                r".* \(\$\.train\[0\]\.name is \['a'\]; accepted is text\)",
            ),
        ],
    )
    def test_files_that_are_no_split_are_refused(self, tmp_path, content, expected):
        with pytest.raises(DataError, match=rf"split\.json {expected}"):
            read_split_names(write(tmp_path, content))

    def test_another_encoding_is_refused(self, tmp_path):
        path = tmp_path / "split.json"
        path.write_bytes('{"train": ["café"]}'.encode("latin-1"))
        with pytest.raises(DataError, match="it is not UTF-8 text"):
            read_split_names(path)

    def test_a_file_that_does_not_exist(self, tmp_path):
        with pytest.raises(DataNotFoundError, match=r"gone\.json does not exist; accepted is"):
            read_split_names(tmp_path / "gone.json")

    def test_names_of_other_data_are_refused(self, tmp_path):
        path = write(tmp_path, {"train": ["a", "x", "y"], "validation": ["b"]})
        with pytest.raises(DataError, match=r"names 'x', no pair of data \(2 such names\)"):
            read_split(path, dataset(["a", "b"]))

    def test_a_file_without_validation_is_refused(self, tmp_path):
        path = write(tmp_path, {"train": ["a"], "validation": []})
        with pytest.raises(DataError, match="lacks a split"):
            read_split(path, dataset(["a", "b"]))
