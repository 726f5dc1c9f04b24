"""Issues of files, splits, images and duplicates, from statistics made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unetkit._shared.wording import format_count
from unetkit.checks.issues import (
    FEW_PAIRS,
    LEVELS,
    PROBLEMS,
    REMEDIES,
    Issue,
    find_duplicate_issues,
    find_file_issues,
    find_folder_issues,
    find_image_issues,
    find_name_issues,
    find_split_issues,
    to_issue,
)
from unetkit.checks.statistics import PairStatistics
from unetkit.data.pairs import Dataset, Pair
from unetkit.data.sources import Problem
from unetkit.data.splits import Split, SplitRule, groups_of
from unetkit.errors import DataError
from unetkit.io.pixel_format import PixelFormat

DATA = Path("data")
ENOUGH = tuple(f"n{number:02d}" for number in range(FEW_PAIRS))


def pair_of(name: str) -> Pair:
    folder, _, stem = name.rpartition("/")
    place = DATA / folder
    return Pair(name, place / f"images/{stem}.png", place / f"masks/{stem}.png")


def dataset_of(*names: str, **options) -> Dataset:
    return Dataset(DATA, tuple(map(pair_of, names)), "masks", **options)


def stats_of(name: str, **options) -> PairStatistics:
    """Statistics of an RGB image, of which each has another content."""
    values = {"channels": 3, "dtype": "uint8", "image_sha256": name, **options}
    seed = int.from_bytes(name.encode())
    thumbnail = np.random.default_rng(seed).integers(0, 256, (32, 32), np.uint8)
    return PairStatistics(pair_of(name), **{"thumbnail": thumbnail, **values})


def all_stats(*names: str, **options) -> list[PairStatistics]:
    return [stats_of(name, **options) for name in names]


def split_of(train: str = "", validation: str = "", test: str = "") -> Split:
    """A split of pairs whose names have one letter."""
    return Split(*(tuple(map(pair_of, names)) for names in (train, validation, test)))


class TestIssue:
    def test_the_remedy_follows_from_the_code(self):
        assert Issue("warning", "flat", "x").remedy == "replace or remove them"
        assert Issue("warning", "flat", "x", remedy="look at them").remedy == "look at them"

    def test_an_unknown_code_is_refused(self):
        with pytest.raises(KeyError, match="no-such-code"):
            Issue("note", "no-such-code", "x")

    def test_every_kind_of_problem_is_an_issue(self):
        for kind, (level, one, many) in PROBLEMS.items():
            assert level in LEVELS
            assert one
            assert many
            assert REMEDIES[kind.replace(" ", "-")]

    def test_the_last_part_of_an_error_is_the_remedy(self):
        issue = to_issue("split", DataError("a has 1 pair; accepted are 2; add more pairs"))
        assert issue == Issue(
            "error", "split", "a has 1 pair; accepted are 2", (), "add more pairs"
        )
        assert not issue.removable

    @pytest.mark.parametrize(
        ("items", "text"),
        [([], "0 masks are"), (["a"], "1 mask is"), ("ab", "2 masks are"), (1, "1 mask is")],
    )
    def test_a_count_has_its_noun_in_singular_or_plural(self, items, text):
        assert format_count(items, "mask is", "masks are") == text


class TestFiles:
    def issues(self, *problems: Problem, statistics=None, **options) -> list[Issue]:
        dataset = dataset_of(*ENOUGH, problems=problems, **options)
        return find_file_issues(dataset, all_stats(*ENOUGH) if statistics is None else statistics)

    def test_pairs_without_problems_have_no_issues(self):
        assert self.issues() == []

    @pytest.mark.parametrize("kind", sorted(PROBLEMS.keys() - {"passed over"}))
    def test_problems_of_a_kind_are_one_issue(self, kind):
        level, one, many = PROBLEMS[kind]
        problems = [Problem(kind, f"text {i}", (Path(f"a{i}"), Path(f"b{i}"))) for i in range(2)]
        (single,) = self.issues(problems[0])
        assert (single.level, single.code) == (level, kind.replace(" ", "-"))
        assert single.text == f"1 {one}: text 0"
        assert single.names == ("a0", "b0")
        assert single.removable
        (double,) = self.issues(*problems)
        assert double.text == f"2 {many}: text 0"
        assert double.names == ("a0", "b0", "a1", "b1")

    def test_files_that_are_passed_over_are_counted(self):
        files = (Path("a.czi"), Path("b.czi"))
        (issue,) = self.issues(Problem("passed over", "2 .czi (convert them)", files))
        assert (issue.level, issue.code) == ("warning", "passed-over")
        assert issue.text == "2 files with images are passed over: 2 .czi (convert them)"

    def test_kinds_are_in_the_order_of_their_first_problem(self):
        kinds = ("missing", "pages", "missing")
        found = self.issues(*(Problem(kind, f"{i}", ()) for i, kind in enumerate(kinds)))
        assert [issue.text[-1] for issue in found] == ["0", "1"]
        assert [issue.code for issue in found] == ["missing", "pages"]

    def test_a_problem_that_is_reported_twice_is_counted_once(self):
        problem = Problem("several files", "a.jpg, a.png: 2 images share a name", (Path("a.jpg"),))
        (issue,) = self.issues(problem, problem)
        assert issue.text.startswith("1 name has several files: a.jpg, a.png")

    def test_unusable_pairs_are_issues_by_the_kind_of_their_problem(self):
        unreadable = all_stats("b", "c", problem="b.png is empty; accepted are images; restore it")
        mismatched = stats_of("a", problem="a is 2x3; draw it again", is_mismatched=True)
        first, second = self.issues(statistics=[*unreadable, mismatched, *all_stats(*ENOUGH)])
        assert first == Issue(
            "error",
            "mismatched",
            "1 mask has another size than its image: a is 2x3",
            ("a",),
            "draw it again",
            removable=True,
        )
        assert second == Issue(
            "error",
            "unreadable",
            "2 pairs cannot be read: b.png is empty; accepted are images",
            ("b", "c"),
            "restore it",
            removable=True,
        )

    def test_pairs_in_no_list_are_an_issue(self):
        names = tuple("abcdefg")
        (issue,) = self.issues(unlisted=names)
        assert (issue.level, issue.code, issue.names) == ("note", "unlisted", names)
        assert issue.text == "7 pairs are in no list or split: a, b, c, d, e and 2 more"
        (issue,) = self.issues(unlisted=("a",))
        assert issue.text == "1 pair is in no list or split: a"

    @pytest.mark.parametrize(
        ("usable", "level", "text"),
        [
            (0, "error", "0 pairs can be used"),
            (1, "warning", "1 pair can be used"),
            (FEW_PAIRS - 1, "warning", f"{FEW_PAIRS - 1} pairs can be used"),
        ],
    )
    def test_few_usable_pairs_are_an_issue(self, usable, level, text):
        found = self.issues(statistics=all_stats(*ENOUGH[:usable]))
        assert [(one.level, one.code, one.text) for one in found] == [(level, "few-pairs", text)]

    def test_pairs_that_cannot_be_used_do_not_count_as_usable(self):
        statistics = [*all_stats(*ENOUGH[1:]), stats_of("a", problem="a is empty; restore it")]
        codes = [issue.code for issue in self.issues(statistics=statistics)]
        assert codes == ["unreadable", "few-pairs"]


class TestSplits:
    def test_pairs_that_a_file_omits_are_an_issue(self):
        dataset = dataset_of("a", "b", "bad", "c")
        split = split_of(train="a", validation="b")
        (issue,) = find_split_issues(dataset, split, {"bad"})
        assert (issue.level, issue.code, issue.names) == ("note", "unlisted", ("c",))
        assert issue.text == "1 pair is in no split of the split file: c"
        assert find_split_issues(dataset, split, {"bad", "c"}) == []
        assert find_split_issues(dataset, None, ()) == []

    def test_pairs_of_every_split_are_known(self):
        assert find_split_issues(dataset_of(*"abc"), split_of("a", "b", "c"), ()) == []


class TestNames:
    """Images that may show one person or object, by their names."""

    @pytest.mark.parametrize(
        ("names", "shown"),
        [
            (
                ["Image_01L", "Image_01R", "Image_02L", "Image_02R"],
                "Image_01L, Image_01R; Image_02L",
            ),
            (["p1_left", "p1_right", "p2_left", "p2_right"], "p1_left, p1_right; p2_left"),
            (["p1_OD", "p1_OS", "p2_OD", "p2_OS"], "p1_OD, p1_OS; p2_OD"),
            (["1-left-eye", "1-right-eye", "2-left-eye", "2-right-eye"], "1-left-eye, 1-right"),
            (["L_001", "L_002", "R_001", "R_002"], "L_001, R_001; L_002, R_002"),
            (["7-a", "7-b", "8-a", "8-b", "9-a", "9-b"], "7-a, 7-b; 8-a"),
        ],
        ids=str,
    )
    def test_sides_are_warned_about_with_a_pattern_that_works(self, names, shown):
        dataset = dataset_of(*names)
        (issue,) = find_name_issues(dataset, SplitRule())
        assert (issue.level, issue.code) == ("warning", "names")
        assert f"{len(names) // 2} groups of 2 images have names that differ only in a side" in (
            issue.text
        )
        assert shown in issue.text
        pattern = issue.remedy.partition("--group-by '")[2].removesuffix("'")
        groups = groups_of(dataset, SplitRule(group_by=pattern))
        assert len(set(groups.values())) == len(names) // 2

    @pytest.mark.parametrize("number", ["{}", "s{}", "slice{}"])
    def test_small_groups_by_a_last_number_too(self, number):
        names = [f"patient{i}_{number.format(j)}" for i in range(5) for j in range(3)]
        (issue,) = find_name_issues(dataset_of(*names), SplitRule())
        assert "5 groups of 3 images have names that differ only in their last number" in issue.text

    @pytest.mark.parametrize(
        "names",
        [
            [f"img_{i:03}" for i in range(40)],  # a series
            [f"film_{i}" for i in range(2)],
            [f"scan_{letter}{i}" for letter in "abc" for i in range(30)],  # plates
            [f"{side}_{i}" for side in "ab" for i in range(9)],  # two series
            [f"{breed}_{i}" for breed in ("beagle", "pug") for i in range(30)],  # classes
            [f"p{i}_{j}" for i in range(9) for j in range(1 + i % 3)],  # of all sizes
            ["ball", "bear", "a", "b"],  # letters of words
            ["cell_L", "cell_R"],  # a single group
            [],
        ],
        ids=str,
    )
    def test_other_names_have_no_issue(self, names):
        assert find_name_issues(dataset_of(*names), SplitRule()) == []

    def test_where_groups_are_decided_there_is_no_issue(self):
        names = ["1L", "1R", "2L", "2R"]
        assert find_name_issues(dataset_of(*names), SplitRule(group_by=r"^(\d)")) == []
        assert find_name_issues(dataset_of(*names, splits={"1L": "train"}), SplitRule()) == []


class TestFolders:
    NAMES = ("x/1", "x/2", "y/1", "y/2")

    def test_folders_that_a_random_split_ignores_are_an_issue(self):
        (issue,) = find_folder_issues(dataset_of(*self.NAMES), SplitRule())
        assert (issue.level, issue.code) == ("note", "folders")
        assert issue.text == (
            "pairs are in 2 folders (x, y), and images of one folder are distributed over the "
            "splits"
        )
        assert issue.remedy.endswith("keep them together with --group-by '^([^/]+)/'")

    def test_the_whole_path_is_proposed_if_the_outermost_folder_is_common(self):
        pairs = tuple(
            Pair(name, DATA / f"images/{name}.png", DATA / f"masks/{name}.png")
            for name in self.NAMES
        )
        (issue,) = find_folder_issues(Dataset(DATA, pairs, "masks"), SplitRule())
        assert issue.remedy.endswith("--group-by '^(.+)/'")

    def test_pairs_in_no_folder_are_in_the_folder_itself(self):
        pairs = tuple(
            Pair(name, DATA / f"images/{name}.png", DATA / f"masks/{name}.png")
            for name in ("1", "2", "y/1", "y/2")
        )
        (issue,) = find_folder_issues(Dataset(DATA, pairs, "masks"), SplitRule())
        assert "pairs are in 2 folders (., y), and" in issue.text

    @pytest.mark.parametrize(
        "options", [{"splits": {"x/1": "train"}}, {"groups": {"x/1": "one"}}], ids=str
    )
    def test_a_data_set_with_splits_or_groups_has_no_issue(self, options):
        assert find_folder_issues(dataset_of(*self.NAMES, **options), SplitRule()) == []

    @pytest.mark.parametrize("rule", [SplitRule(group_by="x"), SplitRule(file="s.json")], ids=str)
    def test_a_rule_with_groups_or_a_file_has_no_issue(self, rule):
        assert find_folder_issues(dataset_of(*self.NAMES), rule) == []

    @pytest.mark.parametrize(
        "names", [("1", "2", "3"), ("x/1", "x/2", "x/3"), ("x/1", "y/1", "z/1"), ()], ids=str
    )
    def test_one_folder_and_folders_of_one_pair_have_no_issue(self, names):
        assert find_folder_issues(dataset_of(*names), SplitRule()) == []

    def test_folders_that_no_pattern_separates_have_no_issue(self):
        """All images are in one folder; only the names have more."""
        pairs = tuple(
            Pair(name, DATA / f"{i}.png", DATA / f"{i}_mask.png")
            for i, name in enumerate(self.NAMES)
        )
        assert find_folder_issues(Dataset(DATA, pairs, "mask"), SplitRule()) == []


class TestImages:
    @pytest.mark.parametrize(
        ("options", "level", "code", "one", "many"),
        [
            (
                {"has_odd_suffix": True},
                "note",
                "odd-suffix",
                "image has the suffix of another format",
                "images have the suffix of another format",
            ),
            (
                {"orientation": 6},
                "note",
                "rotated",
                "image is rotated upright by its EXIF tag",
                "images are rotated upright by their EXIF tags",
            ),
            (
                {"is_transparent": True},
                "note",
                "transparency",
                "image has transparency, which is ignored",
                "images have transparency, which is ignored",
            ),
            (
                {"is_flat": True},
                "warning",
                "flat",
                "image has only one colour",
                "images have only one colour",
            ),
        ],
    )
    def test_what_an_image_has_is_an_issue(self, options, level, code, one, many):
        (issue,) = find_image_issues([stats_of("a", **options), stats_of("b")], PixelFormat())
        assert issue == Issue(level, code, f"1 {one}: a", ("a",))
        (issue,) = find_image_issues(all_stats(*"abcdefg", **options), PixelFormat())
        assert issue.text == f"7 {many}: a, b, c, d, e and 2 more"
        assert issue.names == tuple("abcdefg")

    def test_good_images_have_no_issue(self):
        assert find_image_issues(all_stats(*"abc"), PixelFormat()) == []
        assert find_image_issues([], None) == []

    def test_the_rarest_bit_depth_is_an_issue(self):
        good = all_stats(*"abc") + all_stats(*"de", dtype="uint16", largest=65535.0)
        (issue,) = find_image_issues(good, PixelFormat(3, "uint16", (0.0,), (9.0,)))
        assert (issue.level, issue.code, issue.names) == ("warning", "mixed-depth", ("d", "e"))
        assert issue.text == "2 images of 5 have uint16 pixels, unlike the others: d, e"
        assert find_image_issues(good, None) == []  # an error says so

    def test_grey_images_among_colour_images_are_an_issue(self):
        grey = stats_of("b", channels=1)
        (issue,) = find_image_issues([stats_of("a"), grey, stats_of("c")], PixelFormat())
        assert (issue.level, issue.code, issue.names) == ("note", "mixed-colour", ("b",))
        assert issue.text == "1 image of 3 is grey and is converted to RGB: b"
        assert find_image_issues([grey], PixelFormat(1)) == []
        assert find_image_issues([grey, stats_of("d", channels=2)], None) == []

    def test_16_bit_images_that_look_black_are_an_issue(self):
        """A quarter of the range is 65535 / 4 = 16383.75; the brightest image decides."""
        format = PixelFormat(1, "uint16", (0.0,), (9.0,))

        def issues(*largest: float) -> list[Issue]:
            options = {"channels": 1, "dtype": "uint16"}
            good = [stats_of(f"{n}", largest=n, **options) for n in largest]
            return find_image_issues(good, format)

        (issue,) = issues(4095.0, 16383.0)
        assert (issue.level, issue.code) == ("note", "dark")
        assert issue.text.startswith("2 16-bit images have values up to only 16383 and look black")
        (issue,) = issues(4095.0)
        assert issue.text.startswith("1 16-bit image has values up to only 4095 and looks black")
        assert issues(4095.0, 16384.0) == []


class TestDuplicates:
    def issues(self, split: Split | None, *groups: str, near: bool = False) -> list[Issue]:
        """Issues of images with one letter each; those of a group are copies."""
        good = []
        for group in groups:
            original = stats_of(group)
            digests = list(group) if near else [group] * len(group)
            good += [
                replace(original, pair=pair_of(name), image_sha256=digest)
                for name, digest in zip(group, digests, strict=True)
            ]
        return find_duplicate_issues(good, split)

    def test_different_images_are_no_issue(self):
        assert self.issues(None, "a", "b", "c") == []

    @pytest.mark.parametrize(
        ("near", "code", "similarity"),
        [(False, "duplicate", "identical"), (True, "near-duplicate", "nearly identical")],
    )
    def test_copies_in_one_split_are_a_note(self, near, code, similarity):
        (issue,) = self.issues(split_of(train="abc"), "ab", "c", near=near)
        text = f"1 group of images is {similarity}: a = b"
        assert issue == Issue("note", code, text, ("a", "b"))

    @pytest.mark.parametrize(
        ("near", "code", "similarity"),
        [(False, "duplicate", "identical"), (True, "near-duplicate", "nearly identical")],
    )
    def test_copies_in_different_splits_are_a_warning(self, near, code, similarity):
        (issue,) = self.issues(split_of("ac", "", "b"), "ab", "c", near=near)
        assert (issue.level, issue.code, issue.names) == ("warning", code, ("a", "b"))
        assert issue.text == (
            f"1 group of images is {similarity} and in different splits, which makes metrics too "
            "high: a = b"
        )
        assert issue.remedy == "keep one of each group, or keep them together with --group-by"

    def test_groups_are_divided_by_whether_they_are_in_different_splits(self):
        found = self.issues(split_of("abc", "d"), "ab", "cd")
        assert [(one.level, one.names) for one in found] == [
            ("warning", ("c", "d")),
            ("note", ("a", "b")),
        ]

    def test_without_a_split_copies_are_a_note(self):
        assert [one.level for one in self.issues(None, "ab")] == ["note"]

    def test_a_copy_in_no_split_is_not_in_a_different_one(self):
        assert [one.level for one in self.issues(split_of(train="a"), "ab")] == ["note"]

    def test_only_some_of_many_copies_are_shown_and_all_are_named(self):
        groups = ("abcdefg", "hi", "jk", "lm", "no", "pq")
        (issue,) = self.issues(None, *groups)
        assert issue.text == (
            "6 groups of images are identical: a = b = c = d = e; h = i; j = k; l = m; n = o ..."
        )
        assert issue.names == tuple("".join(groups))

    def test_a_group_with_one_more_similar_image_is_both_issues(self):
        original = stats_of("a")
        good = [
            replace(original, pair=pair_of(name), image_sha256=digest)
            for name, digest in (("a", "one"), ("b", "one"), ("c", "other"))
        ]
        found = find_duplicate_issues(good, None)
        assert [(one.code, one.names) for one in found] == [
            ("duplicate", ("a", "b")),
            ("near-duplicate", ("a", "b", "c")),
        ]
