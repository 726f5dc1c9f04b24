"""COCO: shapes, crowds and compressed run lengths, by hand arithmetic."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.annotations.examples import (
    GONE,
    HOLE,
    OUTLINE,
    RICH,
    SIZE,
    changed,
    coco,
    faults,
    flat,
    pixels,
)
from unetkit.data.annotations.coco import decode_counts
from unetkit.data.annotations.polygons import rasterise_instances
from unetkit.errors import DataError

STEADY = settings(derandomize=True, max_examples=150)


def coco_text(counts: list[int]) -> str:
    """The inverse of `decode_counts`, written from the format's description."""
    text = ""
    for i, count in enumerate(counts):
        value, more = count - (counts[i - 2] if i > 2 else 0), True
        while more:
            digit, value = value & 31, value >> 5
            more = value != (-1 if digit & 16 else 0)
            text += chr(48 + digit + 32 * more)
    return text


class TestCoco:
    def test_labels_are_all_categories_in_the_order_of_the_file(self, read):
        assert read(coco()).labels == ("cell", "wall")

    def test_two_categories_of_one_name_are_one_label(self, read):
        annotations = read(changed(coco([flat(OUTLINE)]), "categories", 1, "name", to="cell"))
        assert annotations.labels == ("cell",)

    def test_image_without_objects_has_an_empty_annotation(self, read):
        (annotation,) = read(coco()).annotations
        assert (annotation.image, annotation.size, annotation.shapes) == ("folder/a.png", SIZE, ())

    def test_parts_unite_and_leave_no_hole(self, read):
        assert pixels(read(coco([flat(OUTLINE), flat(HOLE)]))) == pixels(
            read(coco([flat(OUTLINE)]))
        )

    @pytest.mark.parametrize("counts", [[1, 2, 4, 1, 40], "124OT1"])
    def test_runs_go_down_the_columns(self, read, counts):
        # 1 out; 2 in: rows 1, 2 of column 0; 4 out: to row 0 of column 1; 1 in: its row 1; 40 out.
        # Compressed: 1, 2, 4, then 1 - 2 = -1, which is 31 in 5 bits, the character 48 + 31; then
        # 40 - 4 = 36 = 4 + 32 * 1, the characters 48 + 32 + 4 and 48 + 1.
        drawn = np.zeros(SIZE, int)
        drawn[[1, 2, 1], [0, 0, 1]] = 1
        assert pixels(read(coco({"size": [6, 8], "counts": counts}))) == drawn.tolist()

    def test_mask_gives_the_size_that_the_image_lacks(self, read):
        document = coco({"size": [6, 8], "counts": [48]})
        for key in ("height", "width"):
            document = changed(document, "images", 0, key)
        assert read(document).annotations[0].size == SIZE

    def test_crowds_lie_below_single_objects(self, read):
        document = coco([flat(OUTLINE)], [flat(OUTLINE)])
        crowd = changed(document, "annotations", 1, "iscrowd", to=1)
        numbers = rasterise_instances(read(crowd).annotations[0], SIZE)
        assert np.unique(numbers).tolist() == [0, 1]
        alone = coco([flat(OUTLINE)], iscrowd=1)
        assert np.unique(rasterise_instances(read(alone).annotations[0], SIZE)).tolist() == [-1, 0]

    def test_objects_go_to_their_images(self, read):
        document = coco([flat(OUTLINE)])
        document["images"].append({"id": "b", "file_name": "b.png", "height": 2, "width": 3})
        document["annotations"].append({**document["annotations"][0], "id": 99, "image_id": "b"})
        assert [len(annotation.shapes) for annotation in read(document).annotations] == [1, 1]

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (["images"], 5, "images is 5; accepted is a list$"),
            (["categories"], GONE, "categories is missing; accepted is a list"),
            (["categories", 1, "id"], 3, "entry 2 of categories: id is 3; accepted is one that no"),
            (["categories", 1, "name"], "", "category 1: the label is ''; accepted are 1 to 200"),
        ],
    )
    def test_faults_of_the_lists_cost_the_file(self, read, path, value, message):
        with pytest.raises(DataError, match=rf"drawn\.json: .*{message}"):
            read(changed(RICH["coco"], *path, to=value))

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (["images", 0], 5, "entry 1 of images: it is 5; accepted is an object that has id"),
            (["images", 0, "id"], 1.5, "entry 1 of images: id is 1.5; accepted is a whole number"),
            (["images", 0, "file_name"], GONE, "image 1: the image's name is missing; accepted"),
            (["images", 0, "file_name"], "a\0", r"image 1: the image's name is 'a\\x00'"),
            (
                ["annotations", 0, "image_id"],
                7,
                r"annotation 11: image_id is 7; .* \[1, 2\]",
            ),
            (["annotations", 0, "id"], GONE, None),
            (["annotations", 0], 5, "entry 1 of annotations: it is 5; accepted is an object"),
        ],
    )
    def test_entries_without_an_image_are_named_and_cost_no_other(self, read, path, value, message):
        document = changed(RICH["coco"], *path, to=value)
        document["images"].append({"id": 2, "file_name": "b.png"})
        file = read(document)
        assert file.annotations[-1].image == "b.png"
        assert not file.annotations[-1].problems
        if message is None:
            assert not file.unplaced
        else:
            assert re.search(message, file.unplaced[0])

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (["images", 0, "height"], 0, "image 1: height is 0; accepted are whole numbers from 1"),
            (["images", 0, "width"], 1e9, "image 1: width is 1000000000.0; accepted are whole"),
            (["images", 0, "width"], None, "image 1: width is missing; accepted are whole numbers"),
            (["annotations", 0, "category_id"], 7, r"category_id is 7; .* listed, \[3, 1\]"),
            (["annotations", 0, "iscrowd"], 2, "annotation 11: iscrowd is 2; accepted are 0 and 1"),
            (["annotations", 0, "segmentation"], 5, "segmentation is 5; accepted is a list or an"),
            (["annotations", 0, "segmentation", 0], [1, 2, 3], r"an outline is \[1, 2, 3\]"),
            (["annotations", 0, "segmentation", 0, 2], "5", "a coordinate is '5'; accepted are"),
            (["annotations", 0, "segmentation", 0, 2], None, "a coordinate is missing; accepted"),
            (["annotations", 0, "segmentation", 0, 2], True, "a coordinate is True; accepted"),
            (["annotations", 0, "segmentation", 0, 2], float("nan"), "a coordinate is nan"),
            (["annotations", 0, "segmentation", 0, 2], -1e7, "-10000000.0; accepted are .*"),
            (["annotations", 0, "segmentation", 0, 2], 10**400, r"a coordinate is 1000.*"),
            (["annotations", 1, "segmentation", "size"], [8, 6], r"mask is \(8, 6\); .* \(6, 8\)"),
            (["annotations", 1, "segmentation", "size"], [6], r"the size of a mask is \(6,\);"),
            (["annotations", 1, "segmentation", "counts"], [47], r"is \[47\]; .* 6 x 8 = 48"),
            (["annotations", 1, "segmentation", "counts"], "0 ", "annotation 12: counts is '0 '"),
        ],
    )
    def test_damaged_entries_cost_their_image(self, read, path, value, message):
        document = changed(RICH["coco"], *path, to=value)
        document["images"].append({"id": 2, "file_name": "b.png"})
        file = read(document)
        assert re.search(message, file.annotations[0].problems[0])
        assert not file.annotations[1].problems

    @pytest.mark.parametrize(
        ("segmentation", "message"),
        [
            (GONE, "annotation 11: it has no outline"),
            ([], "annotation 11: it has no outline"),
            ([[]], "annotation 11: its outline of 0 points encloses no area"),
            ([[4, 3]], "annotation 11: its outline of 1 point encloses no area"),
            ([[1, 2] * 3], "annotation 11: its outline of 2 points encloses no area"),
            ([[0, 0, 2, 2, 5, 5]], "annotation 11: its outline of 3 points encloses no area"),
            ([1, 1, 5, 1, 5, 5], "annotation 11: its outline is not in a list of outlines"),
        ],
    )
    def test_outlines_without_an_area_cost_their_shape(self, read, segmentation, message):
        document = coco(segmentation, [flat(OUTLINE)])
        if segmentation is GONE:
            document = changed(document, "annotations", 0, "segmentation")
        file = read(document)
        assert faults(file) == {"shape": [message], "image": [], "nothing": []}
        assert pixels(file) == pixels(read(coco([flat(OUTLINE)])))

    def test_a_stray_point_beside_an_outline_costs_the_point_only(self, read):
        file = read(coco([flat(OUTLINE), [4.0, 3.0]]))
        assert len(faults(file)["shape"]) == 1
        assert pixels(file) == pixels(read(coco([flat(OUTLINE)])))


class TestCompressedRunLengths:
    @pytest.mark.parametrize(
        ("text", "counts"),
        [
            ("", []),
            ("1", [1]),
            ("`0", [16]),  # 16 has bit 4: a second digit, 0, keeps it positive; 48 + 32 + 16 = 96
            ("X1", [40]),  # 40 = 8 + 32 * 1: characters 48 + 32 + 8 and 48 + 1
            ("132N", [1, 3, 2, 1]),  # "N" is 78 - 48 = 30, which is -2 in 5 bits: 3 - 2
            ("52203", [5, 2, 2, 2, 5]),  # from the fourth on: 2 + 0, 2 + 3
        ],
    )
    def test_by_hand(self, text, counts):
        assert decode_counts(text) == counts

    @given(st.lists(st.integers(0, 10**9), max_size=20))
    @STEADY
    def test_encoded_counts_come_back(self, counts):
        assert decode_counts(coco_text(counts)) == counts

    @pytest.mark.parametrize("text", ["1 2", "1~", "ä", "1X", "o" * 40 + "0", "1\0"])
    def test_other_text_is_refused(self, text):
        with pytest.raises(DataError, match=r"counts is '.*; accepted is COCO's compressed text; "):
            decode_counts(text)
