"""Issues of masks, and their numbers of pixels and objects, from statistics made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.checks.masks import mask_statistics
from unetkit.checks.issues import Issue
from unetkit.checks.mask_issues import count_class_pixels, find_mask_issues, measure_object_areas
from unetkit.checks.statistics import PairStatistics
from unetkit.data.classes import TRIMAP_CLASSES, Classes
from unetkit.data.pairs import Pair
from unetkit.data.splits import Split

PAIR = Pair("a", Path("a.png"), Path("a_mask.png"))
DRAWN = Pair("a", Path("a.png"), Path("a.json"))
GROUND = Classes(("ground", "cell"), (0, 1), background=0)
OBJECTS = Classes(("ground", "cell"), (0, 1), background=0, kind="instances")
OBJECTS_BUT_9 = Classes(("ground", "cell"), (0, 1), background=0, kind="instances", ignore=9)
HALF = Classes(("dark", "bright"), (0, 255), background=0, threshold=127)
THREE = Classes(("a", "b", "c"), (0, 1, 2))


def stats_of(
    name: str, values: dict, regions: tuple = (), suffix: str = ".png", **more
) -> PairStatistics:
    """Statistics of a mask with these numbers of pixels, and (value, area) of its regions."""
    return PairStatistics(
        Pair(name, Path(f"{name}.jpg"), Path(f"{name}{suffix}")),
        values=values,
        num_values=more.pop("num_values", len(values)),
        regions=np.array(regions, np.int64).reshape(-1, 2),
        **more,
    )


def objects_of(name: str, *areas: int, **more) -> PairStatistics:
    """Statistics of an instance mask whose objects 1, 2, ... have these areas and one region."""
    regions = tuple(enumerate(areas, 1))
    return stats_of(name, {0: 100, **dict(regions)}, regions, **more)


def only(found: list[Issue]) -> Issue:
    (issue,) = found
    return issue


# Empty masks


@pytest.mark.parametrize(("empty", "level"), [(1, "note"), (2, "note"), (3, "warning")])
def test_masks_with_only_background_are_an_issue(empty, level):
    """More than half of four masks is a warning."""
    values = [{0: 9}] * empty + [{0: 5, 1: 4}] * (4 - empty)
    good = [stats_of(name, one) for name, one in zip("abcd", values, strict=True)]
    issue = only(find_mask_issues(good, GROUND, None))
    assert (issue.level, issue.code, issue.names) == (level, "empty-mask", tuple("abcd"[:empty]))
    verb = "mask contains" if empty == 1 else "masks contain"
    assert issue.text == f"{empty} {verb} only background: {', '.join('abcd'[:empty])}"


def test_ignored_pixels_do_not_fill_a_mask():
    classes = Classes(("ground", "cell"), (0, 1), background=0, ignore=255)
    good = [stats_of("a", {0: 5, 255: 4}), stats_of("b", {0: 5, 1: 4})]
    assert only(find_mask_issues(good, classes, None)).names == ("a",)


def test_masks_of_classes_without_background_are_never_empty():
    good = [stats_of("a", {0: 9}), stats_of("b", {1: 9})]
    assert find_mask_issues(good, Classes(("x", "y"), (0, 1)), None) == []


# Absent and rare classes


def test_a_class_in_no_mask_is_an_issue():
    issue = only(find_mask_issues([stats_of("a", {0: 5, 2: 5})], THREE, None))
    assert (issue.level, issue.code, issue.acceptable) == ("error", "absent-class", True)
    assert issue.text == "class 'b' occurs in no mask"


def test_a_class_in_no_training_mask_is_an_issue():
    good = [stats_of("a", {0: 5, 2: 5}), stats_of("b", {1: 5})]
    split = Split(train=(good[0].pair,), test=(good[1].pair,))
    issue = only(find_mask_issues(good, THREE, split))
    assert (issue.level, issue.acceptable) == ("error", True)
    assert issue.text == "class 'b' occurs in no training mask"
    assert find_mask_issues(good, THREE, None) == []


@pytest.mark.parametrize(("pixels", "is_rare"), [(1, True), (2, False)])
def test_a_class_with_less_than_a_thousandth_of_the_pixels_is_an_issue(pixels, is_rare):
    """Of 2000 pixels, 1 is 0.05 % and 2 are 0.1 %."""
    good = [stats_of("a", {0: 1000, 1: 1000 - pixels}), stats_of("b", {2: pixels})]
    found = find_mask_issues(good, THREE, None)
    texts = ["class 'c' covers 0.050% of the pixels"] if is_rare else []
    assert [(one.code, one.text) for one in found] == [("rare-class", text) for text in texts]


def test_ignored_pixels_do_not_make_a_class_rare():
    classes = Classes(("a", "b"), (0, 1), ignore=255)
    assert find_mask_issues([stats_of("a", {0: 9, 1: 1, 255: 99_990})], classes, None) == []


# Trimaps


def test_values_that_are_read_as_a_trimap_are_an_issue():
    good = [stats_of("a", {1: 5, 2: 9, 3: 4})]
    issue = only(find_mask_issues(good, TRIMAP_CLASSES, None, is_given=False))
    assert (issue.level, issue.code) == ("note", "trimap")
    assert issue.text == "values 1, 2 and 3 are read as a trimap: pet, background, border"
    assert "--classes" in issue.remedy
    assert find_mask_issues(good, TRIMAP_CLASSES, None, is_given=True) == []


def test_a_trimap_without_border_is_an_issue_and_other_values_are_not():
    good = [stats_of("a", {1: 5, 2: 9})]
    pet = Classes(("pet", "background"), (1, 2), background=1)
    assert only(find_mask_issues(good, pet, None, is_given=False)).code == "trimap"
    other = Classes(("pet", "background"), (2, 1), background=1)
    assert find_mask_issues(good, other, None, is_given=False) == []


# Thresholded masks


@pytest.mark.parametrize(("grey", "level"), [(5, "note"), (6, "warning")])
def test_grey_pixels_of_thresholded_masks_are_an_issue(grey, level):
    """Of 100 pixels, 5 are 5 % and 6 are 6 %; 16 is nearly black and 239 nearly white."""
    good = [stats_of("a", {16: 50, 128: grey, 239: 50 - grey})]
    issue = only(find_mask_issues(good, HALF, None))
    assert (issue.level, issue.code, issue.names) == (level, "thresholded", ("a",))
    assert issue.text == (
        f"1 mask is thresholded at 127 (0 JPEGs); {grey}.0% of the pixels are neither nearly "
        "black nor nearly white"
    )


def test_the_fraction_of_grey_pixels_is_the_mean_over_masks():
    """0 %, 0 % and 30 of 100 pixels: 10 % on average."""
    good = [
        stats_of("a", {0: 10, 255: 10}),
        stats_of("b", {0: 6, 200: 10}),  # two values may have any meaning
        stats_of("c", {0: 50, 90: 10, 150: 20, 255: 20}),
    ]
    issue = only(find_mask_issues(good, HALF, None))
    assert (issue.level, issue.names) == ("warning", ("c",))
    assert issue.text.startswith("3 masks are thresholded at 127 (0 JPEGs); 10.0% of the pixels")


def test_jpeg_masks_are_named_even_if_they_are_sharp():
    good = [stats_of("a", {0: 5, 3: 1, 255: 5}, is_lossy=True), stats_of("b", {0: 5, 255: 5})]
    issue = only(find_mask_issues(good, HALF, None))
    assert (issue.level, issue.names) == ("note", ("a",))
    assert "2 masks are thresholded at 127 (1 JPEG); 0.0% of the pixels" in issue.text


def test_ignored_grey_and_16_bit_values_are_not_blurred():
    classes = Classes(("dark", "bright"), (0, 255), background=0, threshold=127, ignore=128)
    assert find_mask_issues([stats_of("a", {0: 5, 128: 9, 255: 5})], classes, None) == []
    assert find_mask_issues([stats_of("a", {0: 5, 128: 9, 256: 5})], HALF, None) == []


# Ignored values


def test_an_ignored_value_that_occurs_in_no_mask_is_an_issue():
    classes = Classes(("a", "b"), (0, 1), ignore=255)
    issue = only(find_mask_issues([stats_of("a", {0: 5, 1: 5})], classes, None))
    assert (issue.level, issue.code) == ("note", "ignore-absent")
    assert issue.text == "the ignored value, 255, occurs in no mask"
    good = [stats_of("a", {0: 5, 1: 5}), stats_of("b", {255: 1})]
    assert find_mask_issues(good, classes, None) == []


def test_an_ignored_colour_is_looked_up_in_the_palette():
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    good = [stats_of("a", {0: 5, 1: 5}, palette=palette)]
    blue = Classes(("a", "b"), (0x000000, 0xFF0000), kind="colours", ignore=0x0000FF)
    issue = only(find_mask_issues(good, blue, None))
    assert issue.text == "the ignored value, #0000ff, occurs in no mask"
    good = [stats_of("a", {0: 5, 1: 5, 2: 1}, palette=palette)]
    assert find_mask_issues(good, blue, None) == []


def test_nothing_is_said_of_an_ignored_value_if_not_all_values_were_counted():
    classes = Classes(("a", "b"), (0, 1), ignore=255)
    assert find_mask_issues([stats_of("a", {0: 5, 1: 5}, num_values=3)], classes, None) == []


def test_zero_pixels_of_polygon_files_are_not_the_ignored_value():
    classes = Classes(("ground", "cell"), (1, 2), background=0, ignore=0)
    good = [stats_of("a", {0: 5, "cell": 5}, suffix=".json")]
    assert only(find_mask_issues(good, classes, None)).code == "ignore-absent"


# Kind of the masks


@pytest.mark.parametrize(("regions", "is_suspect"), [(3, False), (4, True)])
def test_instances_of_several_regions_are_suspect(regions, is_suspect):
    """3 regions of 2 values are 1.5 each, which is not more than 1.5; 4 regions are."""
    pieces = ((1, 20), (2, 20), (2, 20), (1, 20))[:regions]
    found = find_mask_issues([stats_of("a", {0: 9, 1: 40, 2: 40}, pieces)], OBJECTS, None)
    text = "the masks have 2 object numbers for 4 separate regions"
    remedy = "use --kind classes if each value is a class"
    expected = Issue("warning", "suspect-kind", text, remedy=remedy)
    assert found == ([expected] if is_suspect else [])


def test_ignored_regions_do_not_make_instances_suspect():
    pieces = ((1, 20), (9, 20), (9, 20), (9, 20))
    assert (
        find_mask_issues([stats_of("a", {0: 9, 1: 20, 9: 60}, pieces)], OBJECTS_BUT_9, None) == []
    )


def test_classes_of_one_region_each_are_suspect():
    classes = Classes(("ground", "a", "b", "c"), (0, 1, 2, 3), background=0)
    good = [
        stats_of("a", {0: 9, 1: 9, 2: 9, 3: 9}, ((1, 9), (2, 9), (3, 9))),
        stats_of("b", {0: 9, 1: 9}, ((1, 9),)),
    ]
    issue = only(find_mask_issues(good, classes, None))
    assert (issue.level, issue.code) == ("warning", "suspect-kind")
    assert issue.text == "nearly every value of the masks is one connected region, like an object"
    assert issue.remedy == "use --kind instances if each value is an object"
    border = Classes(("ground", "a", "b", "c"), (0, 1, 2, 3), background=0, border=3)
    assert find_mask_issues(good, border, None) == []


# Objects


def test_a_mask_with_few_objects_is_an_issue():
    """The median of 1, 2, 6 and 6 is 4; 1 is less than a third of it, 2 is not."""
    good = [objects_of(f"m{count}{i}", *[20] * count) for i, count in enumerate((1, 2, 6, 6))]
    issue = only(find_mask_issues(good, OBJECTS, None))
    assert (issue.level, issue.code, issue.names) == ("note", "few-objects", ("m10",))
    assert issue.text == "1 mask has less than a third of the median number of objects, 4: m10"


def test_masks_without_objects_do_not_count_for_the_median():
    """Without the two empty masks the median of 1, 4 and 4 is 4; with them it were 1."""
    good = [objects_of(f"m{i}", *[20] * count) for i, count in enumerate((0, 0, 1, 4, 4))]
    empty, few = find_mask_issues(good, OBJECTS, None)
    assert (empty.code, empty.names) == ("empty-mask", ("m0", "m1"))
    assert (few.code, few.names) == ("few-objects", ("m2",))


@pytest.mark.parametrize(
    ("areas", "text"),
    [
        ((9, 8), "1 region of an object has fewer than 9 pixels"),
        ((1, 8), "2 regions of objects have fewer than 9 pixels"),
    ],
)
def test_tiny_objects_are_an_issue(areas, text):
    issue = only(find_mask_issues([objects_of("a", *areas)], OBJECTS, None))
    assert issue == Issue("note", "tiny-objects", text)


def test_tiny_ignored_regions_and_classes_are_no_objects():
    tiny = stats_of("a", {0: 100, 1: 20, 9: 1}, ((1, 20), (9, 1)))
    assert find_mask_issues([tiny], OBJECTS_BUT_9, None) == []
    assert find_mask_issues([stats_of("a", {0: 9, 1: 1}, ((1, 1),))], GROUND, None) == []


def test_a_value_to_ignore_is_an_ordinary_object_in_a_polygon_file():
    shapes = stats_of("a", {0: 50, "cell": 28}, ((1, 8), (1, 20)), suffix=".json")
    drawn = Classes(("ground", "cell"), (0, 1), background=0, kind="instances", ignore=9)
    codes = [issue.code for issue in find_mask_issues([shapes], drawn, None)]
    assert codes == ["ignore-absent", "tiny-objects"]


# Counts


def counts(values: dict, classes: Classes, pair: Pair = PAIR, **more) -> list[int]:
    return count_class_pixels([PairStatistics(pair, values=values, **more)], classes)[0].tolist()


def test_pixels_are_counted_by_class_and_ignored_ones_last():
    classes = Classes(("a", "b", "c"), (0, 1, 7), ignore=255)
    assert counts({0: 10, 7: 3, 255: 2}, classes) == [10, 0, 3, 2]


def test_objects_are_counted_together():
    classes = Classes(("ground", "cell"), (0, 1), kind="instances", ignore=9)
    assert counts({0: 10, 1: 3, 2: 4, 9: 5}, classes) == [10, 7, 5]


def test_crowds_of_objects_are_ignored():
    """Of 6 pixels in polygons, 2 belong to a crowd, whose objects are not separate."""
    classes = Classes(("ground", "cell"), (0, 1), kind="instances")
    assert counts({0: 10, "cell": 6}, classes, DRAWN, crowd=2) == [10, 4, 2]
    plain = Classes(("ground", "cell"), (0, 1), background=0)
    assert counts({0: 10, "cell": 6}, plain, DRAWN, crowd=2) == [10, 6, 0]


def test_a_threshold_counts_two_classes_and_the_ignored_value():
    classes = Classes(("a", "b"), (0, 255), threshold=127, ignore=128)
    assert counts({0: 5, 127: 2, 128: 1, 200: 4}, classes) == [7, 4, 1]


def test_labels_are_counted_by_name_or_by_new_name():
    three = Classes(("wall", "ground", "cell"), (0, 1, 2), background=1)
    assert counts({0: 4, "wall": 3, "cell": 2}, three, DRAWN) == [3, 4, 2, 0]
    two = Classes(("cell", "ground"), (0, 1), background=1, labels=("Tumour",))
    assert counts({0: 4, "Tumour": 3}, two, DRAWN) == [3, 4, 0]


def test_palette_masks_are_counted_by_colour():
    palette = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    classes = Classes(("b", "r"), (0x0000FF, 0xFF0000), kind="colours")
    assert counts({0: 3, 1: 2}, classes, palette=palette) == [2, 3, 0]


def test_areas_of_objects_leave_out_ignored_ones():
    stats = PairStatistics(PAIR, values={0: 10, 3: 4, 5: 6, 65535: 9})
    classes = Classes(("ground", "cell"), (0, 1), kind="instances", ignore=65535)
    assert measure_object_areas(stats, classes).tolist() == [4, 6]


@given(
    st.lists(st.dictionaries(st.integers(0, 300), st.integers(0, 10**9), min_size=1), max_size=5)
)
def test_every_pixel_is_counted_once(masks):
    """Against a sum by hand: classes 0 and 7, ignored pixels, and values of no class."""
    classes = Classes(("a", "b"), (0, 7), ignore=255)
    good = [stats_of(f"{i}", values) for i, values in enumerate(masks)]
    found = count_class_pixels(good, classes)
    assert found.shape == (len(masks), 3)
    for row, values in zip(found.tolist(), masks, strict=True):
        others = sum(count for value, count in values.items() if value not in (0, 7))
        assert row == [values.get(0, 0), values.get(7, 0), others]


def test_areas_of_polygons_are_those_of_their_regions():
    drawn = stats_of("a", {0: 10, "cell": 12}, ((1, 5), (1, 7)), suffix=".json")
    assert measure_object_areas(drawn, OBJECTS).tolist() == [5, 7]


def test_a_polygon_labelled_background_is_no_object():
    """A label `background` erases objects below it; 3 pixels of it are ground."""
    assert counts({0: 10, "background": 3, "cell": 4}, OBJECTS, DRAWN) == [13, 4, 0]


def test_an_unknown_label_is_not_counted_for_a_class():
    assert counts({0: 10, "dust": 3}, GROUND, DRAWN) == [10, 0, 3]


# What is read as something else, and objects that are ignored


def find_codes(good, classes):
    return [(issue.code, issue.level) for issue in find_mask_issues(good, classes, None)]


@pytest.mark.parametrize("background", [0, None])
def test_masks_whose_objects_are_all_ignored_are_an_error(background):
    classes = Classes(("ground", "cell"), (0, 1), background=background, ignore=255)
    good = [stats_of(name, {255: 4} | ({} if background is None else {0: 5})) for name in "ab"]
    found = [i for i in find_mask_issues(good, classes, None) if i.code == "all-ignored"]
    assert only(found).level == "error"
    assert found[0].text.startswith("every object is ignored: 2 masks contain only ")
    assert found[0].remedy.endswith("--accept all-ignored")


def test_a_value_ignored_in_all_masks_without_objects_is_an_error():
    """As if 255 were an object in the masks of one of two sources."""
    classes = Classes(("ground", "cell"), (0, 1), background=0, ignore=255)
    good = [stats_of(name, {0: 5, 255: 4} if name in "ab" else {0: 5, 1: 4}) for name in "abcd"]
    assert ("all-ignored", "error") in find_codes(good, classes)
    mixed = [*good, stats_of("e", {0: 5, 1: 2, 255: 2})]
    assert ("all-ignored", "error") not in find_codes(mixed, classes)


def test_colours_between_classes_are_counted():
    classes = Classes(("ground", "red"), (0, 0xFF0000), kind="colours", blended=True)
    stats = replace(stats_of("a", {0: 60, 0x030000: 10, 0xFF0000: 30}), is_colour=True)
    good = [replace(stats, size=(10, 10))]
    assert count_class_pixels(good, classes).tolist() == [[70, 30, 0]]
    issue = only(find_mask_issues(good, classes, None))
    assert (issue.code, issue.level) == ("blended", "note")
    assert issue.text.startswith("10.00% of the pixels have colours between those of the classes")


def test_pixels_without_data_are_noted_and_counted_as_ignored():
    classes = Classes(("ground", "cell"), (0, 1), background=0)
    good = [replace(stats_of("a", {0: 5, 1: 4}), missing=1)]
    assert count_class_pixels(good, classes).tolist() == [[5, 4, 1]]
    issue = only(find_mask_issues(good, classes, None))
    assert (issue.code, issue.level) == ("no-data", "note")
    assert "1 pair has pixels without data, which are ignored (10.00% of the pixels)" in issue.text


class TestFieldsOfView:
    def masks(self, folder, *radii):
        rows, columns = np.indices((40, 40))
        distance = np.hypot(rows - 20, columns - 20)
        masks = [((distance < radius) * 255).astype(np.uint8) for radius in radii]
        return mask_statistics(folder, *masks)

    def issues(self, good):
        classes = Classes(("background", "foreground"), (0, 255), background=0)
        return [one.text for one in find_mask_issues(good, classes, None)]

    def test_equal_large_regions_look_like_a_field_of_view(self, tmp_path):
        (text,) = self.issues(self.masks(tmp_path, 18, 18, 18, 18))
        assert "as those of a field of view do" in text

    def test_objects_of_several_sizes_or_small_ones_do_not(self, tmp_path):
        assert self.issues(self.masks(tmp_path, 18, 17, 18, 18)) == []
        assert self.issues(self.masks(tmp_path, 6, 6, 6, 6)) == []
