"""Classes are inferred from unambiguous masks; for others an error names the deciding option."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.checks.masks import BLUE, GREEN, RED, blocks, mask_statistics, palette_mask, scattered
from unetkit.checks.class_inference import choose_classes
from unetkit.checks.statistics import PairStatistics, collect_statistics
from unetkit.data.classes import TRIMAP_CLASSES, read_class_file
from unetkit.data.pairs import Pair
from unetkit.errors import ConfigError, DataError


def choose(
    statistics: list[PairStatistics], kind: str | None = None, is_trimap: bool = False, **given: Any
):
    return choose_classes(statistics, "data/masks", given, kind=kind, is_trimap=is_trimap)


# Integers


def test_one_two_and_three_are_a_trimap(tmp_path):
    assert choose(mask_statistics(tmp_path, [[1, 2, 3]])) == TRIMAP_CLASSES


def test_masks_in_a_folder_of_trimaps_may_lack_a_value(tmp_path):
    assert choose(mask_statistics(tmp_path, [[1, 2, 2]]), is_trimap=True) == TRIMAP_CLASSES


def test_one_two_and_three_are_ambiguous_where_a_mask_lacks_one(tmp_path):
    statistics = mask_statistics(tmp_path, [[1, 2, 3]], [[1, 2, 2]])
    with pytest.raises(DataError, match=r"1\.png has only 1, 2: a trimap's .* use --classes with"):
        choose(statistics)
    assert choose(statistics, names=("a", "b", "c")).values == (1, 2, 3)
    assert choose(statistics, is_trimap=True) == TRIMAP_CLASSES


@pytest.mark.parametrize("is_trimap", [True, False])
def test_the_border_of_a_trimap_may_be_ignored(tmp_path, is_trimap):
    statistics = mask_statistics(tmp_path, [[1, 2, 3]])
    classes = choose(statistics, is_trimap=is_trimap, ignore=3)
    assert (classes.names, classes.values) == (("pet", "background"), (1, 2))
    assert (classes.background, classes.border, classes.ignore) == (1, None, 3)
    assert choose(statistics, is_trimap=is_trimap, ignore=3, names=("pet", "background")) == classes


def test_names_of_trimap_folders_keep_their_roles(tmp_path):
    classes = choose(
        mask_statistics(tmp_path, [[1, 2, 3]]), is_trimap=True, names=("dog", "lawn", "rim")
    )
    assert classes.names == ("dog", "lawn", "rim")
    assert (classes.background, classes.border) == (1, 2)


def test_three_classes_of_other_names_are_not_a_trimap(tmp_path):
    classes = choose(mask_statistics(tmp_path, [[1, 2, 3]]), names=("cat", "dog", "bird"))
    assert (classes.values, classes.background, classes.border) == ((1, 2, 3), None, None)


def test_a_name_decides_which_of_one_two_and_three_is_the_background(tmp_path):
    classes = choose(mask_statistics(tmp_path, [[1, 2, 3]]), names=("border", "pet", "background"))
    assert (classes.background, classes.border) == (2, 0)


def test_two_names_for_a_trimap_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"2 class names are given \(a, b\); accepted are 3, as"):
        choose(mask_statistics(tmp_path, [[1, 2, 3]]), names=("a", "b"))


def test_0_and_255_alone_are_two_classes(tmp_path):
    classes = choose(mask_statistics(tmp_path, [[0, 255]]))
    assert classes.names == ("background", "foreground")
    assert (classes.values, classes.background, classes.ignore) == ((0, 255), 0, None)


def test_0_and_1_are_two_classes(tmp_path):
    classes = choose(mask_statistics(tmp_path, [[0, 1]]))
    assert (classes.names, classes.values) == (("background", "class 1"), (0, 1))


def test_one_bit_masks_are_two_classes(tmp_path):
    assert choose(mask_statistics(tmp_path, np.array([[False, True]]))).values == (0, 1)


def test_values_without_a_gap_are_one_class_each(tmp_path):
    classes = choose(mask_statistics(tmp_path, scattered(0, 1), scattered(0, 2)))
    assert classes.names == ("background", "class 1", "class 2")
    assert (classes.values, classes.background, classes.kind) == ((0, 1, 2), 0, "classes")


def test_names_are_in_the_order_of_values(tmp_path):
    classes = choose(mask_statistics(tmp_path, scattered(0, 1, 2)), names=("ground", "road", "car"))
    assert (classes.names, classes.background) == (("ground", "road", "car"), 0)


def test_a_class_named_background_is_the_background_at_any_index(tmp_path):
    classes = choose(
        mask_statistics(tmp_path, scattered(0, 1, 2)), names=("road", "car", "background")
    )
    assert classes.background == 2
    assert (
        choose(mask_statistics(tmp_path, [[0, 255]]), names=("cell", "background")).background == 1
    )


def test_names_may_be_more_than_the_values_that_occur(tmp_path):
    classes = choose(mask_statistics(tmp_path, scattered(0, 1)), names=("ground", "road", "car"))
    assert classes.values == (0, 1, 2)


def test_two_names_fit_any_two_values(tmp_path):
    classes = choose(mask_statistics(tmp_path, [[3, 200]]), names=("wall", "gap"))
    assert (classes.names, classes.values) == (("wall", "gap"), (3, 200))


def test_a_gap_is_refused_with_its_file(tmp_path):
    with pytest.raises(
        DataError, match=r"values that are not classes: 3 \(3 in .*1\.png\)"
    ) as error:
        choose(mask_statistics(tmp_path, scattered(0, 1), scattered(0, 3)))
    assert "accepted are 0, 1, 2 ... without a gap, 0 and 255" in str(error.value)
    assert "--kind instances" in str(error.value)
    assert "classes.toml" in str(error.value)


def test_one_and_two_without_zero_are_refused(tmp_path):
    with pytest.raises(DataError, match="not classes: 1, 2 "):
        choose(mask_statistics(tmp_path, [[1, 2]]))


@pytest.mark.parametrize("values", [(0, 1, 255), (0, 1, 2, 255), (0, 128, 255)])
def test_255_beside_other_values_has_no_meaning(tmp_path, values):
    with pytest.raises(DataError, match=r"use --ignore 255 if pixels of 255 are not to be scored"):
        choose(mask_statistics(tmp_path, scattered(*values)))


def test_255_beside_other_values_may_be_ignored(tmp_path):
    classes = choose(mask_statistics(tmp_path, scattered(0, 1, 255)), ignore=255)
    assert (classes.values, classes.ignore) == ((0, 1), 255)


def test_values_without_a_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="not classes: 2 "):
        choose(
            mask_statistics(tmp_path, scattered(0, 1, 2, 2, 0)), kind="classes", names=("a", "b")
        )


def test_masks_with_only_zeros_are_refused(tmp_path):
    with pytest.raises(DataError, match="contain only the value 0; accepted are at least two"):
        choose(mask_statistics(tmp_path, [[0, 0]]))


def test_a_very_large_value_is_refused_quickly(tmp_path):
    mask = Image.fromarray(np.array([[0, 2_000_000_000]], np.int32))
    with pytest.raises(DataError, match="not classes: 2000000000 "):
        choose(mask_statistics(tmp_path, mask, suffix=".tif"))


def test_more_values_than_classes_can_be_are_refused(tmp_path):
    mask = scattered(*range(255), dtype=np.uint16)
    with pytest.raises(DataError, match="have 255 values; accepted are up to 254 classes"):
        choose(mask_statistics(tmp_path, mask, suffix=".tif"), kind="classes")


# Objects


def test_masks_that_look_like_objects_are_refused(tmp_path):
    with pytest.raises(
        DataError, match="may be instances or classes: nearly every value is one"
    ) as error:
        choose(mask_statistics(tmp_path, blocks(3), blocks(4)))
    assert str(error.value).endswith("--kind classes if each value is a class")


def test_masks_of_many_pieces_are_objects(tmp_path):
    statistics = mask_statistics(tmp_path, blocks(30), blocks(26))
    assert choose(statistics).kind == "instances"
    assert choose(statistics, names=("ground", "nucleus")).names == ("ground", "nucleus")
    assert choose(statistics, kind="classes").kind == "classes"


def test_masks_that_look_like_objects_may_be_classes(tmp_path):
    statistics = mask_statistics(tmp_path, blocks(3), blocks(4))
    assert choose(statistics, kind="classes").values == (0, 1, 2, 3, 4)
    assert choose(statistics, names=("a", "b", "c", "d", "e")).kind == "classes"


def test_instances_are_background_and_object(tmp_path):
    classes = choose(mask_statistics(tmp_path, blocks(3), blocks(400)), kind="instances")
    assert (classes.names, classes.values) == (("background", "object"), (0, 1))
    assert (classes.kind, classes.background) == ("instances", 0)


def test_instances_take_two_names_and_an_ignored_value(tmp_path):
    statistics = mask_statistics(tmp_path, blocks(3))
    classes = choose(statistics, kind="instances", names=("glass", "cell"), ignore=65535)
    assert (classes.names, classes.ignore) == (("glass", "cell"), 65535)
    with pytest.raises(ConfigError, match="3 class names are given"):
        choose(statistics, kind="instances", names=("a", "b", "c"))


def test_a_given_kind_overrides_the_kind_of_the_layout(tmp_path):
    statistics = mask_statistics(tmp_path, blocks(3), blocks(4))
    classes = choose_classes(statistics, "here", {"kind": "classes"}, kind="instances")
    assert classes.kind == "classes"


# Colours


def test_few_colours_are_one_class_each(tmp_path):
    mask = np.array([[RED, GREEN, (0, 0, 0)]], np.uint8)
    classes = choose(mask_statistics(tmp_path, mask))
    assert classes.kind == "colours"
    assert classes.names == ("#000000", "#00ff00", "#ff0000")
    assert classes.values == (0, 0x00FF00, 0xFF0000)
    assert classes.colours == ((0, 0, 0), GREEN, RED)
    assert classes.background is None


def test_names_of_colours_are_in_the_order_of_their_values(tmp_path):
    mask = np.array([[RED, GREEN, (0, 0, 0)]], np.uint8)
    classes = choose(mask_statistics(tmp_path, mask), names=("background", "leaf", "rose"))
    assert (classes.values[2], classes.background) == (0xFF0000, 0)


def test_an_ignored_colour_is_not_a_class(tmp_path):
    mask = np.array([[RED, GREEN, BLUE]], np.uint8)
    classes = choose(mask_statistics(tmp_path, mask), ignore=0x0000FF)
    assert (classes.values, classes.ignore) == ((0x00FF00, 0xFF0000), 0x0000FF)


def test_many_colours_are_refused_and_the_most_frequent_listed(tmp_path):
    mask = np.zeros((4, 50, 3), np.uint8)  # 100 of 200 pixels black
    mask[2, :, 0] = 200  # 50 of one red
    mask[3, :, 1] = np.arange(1, 51)  # 50 greens of 1 pixel each
    with pytest.raises(DataError, match=r"have 52 colours, the most frequent #000000 50\.0%, #c80"):
        choose(mask_statistics(tmp_path, mask))


def test_one_colour_is_refused(tmp_path):
    statistics = mask_statistics(tmp_path, np.array([[RED, RED]], np.uint8))
    with pytest.raises(DataError, match=r"fewer than two colours \(#ff0000\); accepted are at"):
        choose(statistics)
    with pytest.raises(DataError, match="only the ignored one"):
        choose(statistics, ignore=0xFF0000)


def test_grey_saved_as_rgb_is_integers(tmp_path):
    mask = np.repeat(np.array([[[0], [255]]], np.uint8), 3, axis=2)
    assert choose(mask_statistics(tmp_path, mask)).values == (0, 255)


def test_grey_masks_may_be_read_as_colours(tmp_path):
    classes = choose(mask_statistics(tmp_path, [[0, 255]]), kind="colours")
    assert classes.values == (0, 0xFFFFFF)


def test_palette_masks_are_read_as_their_indices(tmp_path):
    classes = choose(mask_statistics(tmp_path, palette_mask()))
    assert (classes.kind, classes.values) == ("classes", (0, 1))


def test_palette_masks_may_be_read_as_colours(tmp_path):
    classes = choose(mask_statistics(tmp_path, palette_mask()), kind="colours")
    assert classes.values == (0x00FF00, 0xFF0000)


def test_colours_are_refused_where_integers_are_expected(tmp_path):
    statistics = mask_statistics(tmp_path, np.array([[RED, GREEN]], np.uint8))
    with pytest.raises(DataError, match="first; accepted for classes are integers"):
        choose(statistics, kind="classes")


def test_colours_may_be_objects(tmp_path):
    statistics = mask_statistics(tmp_path, np.array([[RED, GREEN]], np.uint8))
    assert choose(statistics, kind="instances").values == (0, 1)


def test_many_colours_in_one_piece_each_are_asked_about(tmp_path):
    """Eight, and seven, stripes of a colour of their own."""
    masks = [
        np.array([[(0, 0, 0), (9, shade, 40)] for shade in range(n)], np.uint8).reshape(1, -1, 3)
        for n in (8, 7)
    ]
    with pytest.raises(DataError, match="--kind instances if each colour is an object, --kind col"):
        choose(mask_statistics(tmp_path, *masks))
    assert choose(mask_statistics(tmp_path, *masks), kind="colours").kind == "colours"
    assert len(choose(mask_statistics(tmp_path, masks[1], masks[1][:, :-2]))) == 8


def test_one_colour_mask_among_integer_masks_is_refused(tmp_path):
    statistics = mask_statistics(
        tmp_path, np.array([[0, 1]], np.uint8), np.array([[RED, GREEN]], np.uint8)
    )
    with pytest.raises(DataError, match=r"1\.png first; .* use --kind colours if each colour is a"):
        choose(statistics, kind="classes")


# JPEG


def grey_jpegs(folder: Path) -> list[PairStatistics]:
    mask = np.kron([[0, 255], [255, 0]], np.ones((8, 8))).astype(np.uint8)
    return mask_statistics(folder, mask, suffix=".jpg", quality=60)


@pytest.mark.parametrize("given", [{}, {"kind": "instances"}, {"names": ("a", "b")}])
def test_jpeg_masks_are_refused_with_the_reason(tmp_path, given):
    with pytest.raises(DataError, match=r"1 of 1 masks in data/masks are JPEGs, .*0\.jpg") as error:
        choose(grey_jpegs(tmp_path), **given)
    assert "whose compression changes class values" in str(error.value)
    assert str(error.value).endswith("use --threshold 127")


def test_jpeg_masks_are_refused_even_with_a_list_of_values(tmp_path):
    with pytest.raises(DataError, match="are JPEGs"):
        choose(grey_jpegs(tmp_path), names=("a", "b"), values=(0, 255))


def test_a_threshold_makes_two_classes_of_jpegs(tmp_path):
    classes = choose(grey_jpegs(tmp_path), threshold=127)
    assert (classes.names, classes.threshold) == (("background", "foreground"), 127)
    assert classes.background == 0


def test_a_threshold_takes_two_names(tmp_path):
    statistics = grey_jpegs(tmp_path)
    classes = choose(statistics, threshold=127, names=("cell", "background"))
    assert (classes.names, classes.background) == (("cell", "background"), 1)
    with pytest.raises(ConfigError, match="1 class name is given"):
        choose(statistics, threshold=127, names=("cell",))


@pytest.mark.parametrize("kind", ["instances", "colours"])
def test_a_threshold_needs_the_kind_classes(tmp_path, kind):
    with pytest.raises(ConfigError, match=f"threshold is 127 and kind '{kind}'"):
        choose_classes(grey_jpegs(tmp_path), "here", {"threshold": 127, "kind": kind})


def test_colours_cannot_be_thresholded(tmp_path):
    statistics = mask_statistics(tmp_path, np.array([[RED, GREEN]], np.uint8))
    with pytest.raises(DataError, match="have colours"):
        choose(statistics, threshold=127)


# Polygons

BOX = [[0, 0], [2, 0], [2, 2], [0, 2]]  # 2 x 2 pixels
FLAT = [number for point in BOX for number in point]


def coco(labels: tuple[str, ...]) -> str:
    shapes = [
        {"id": i, "image_id": 1, "category_id": i, "segmentation": [FLAT]}
        for i, _ in enumerate(labels)
    ]
    images = [{"id": 1, "file_name": "0_image.png", "height": 4, "width": 4}]
    categories = [{"id": i, "name": label} for i, label in enumerate(labels)]
    return json.dumps({"images": images, "categories": categories, "annotations": shapes})


def labelme(labels: tuple[str, ...]) -> str:
    shapes = [{"label": x, "points": BOX, "shape_type": "polygon"} for x in labels]
    size = {"imageHeight": 4, "imageWidth": 4}
    return json.dumps({"shapes": shapes, "imagePath": "0_image.png", **size})


def geojson(labels: tuple[str, ...]) -> str:
    geometry = {"type": "Polygon", "coordinates": [BOX]}
    features = [
        {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": x}}}
        for x in labels
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


def cvat(labels: tuple[str, ...]) -> str:
    points = ";".join(f"{x},{y}" for x, y in BOX)
    shapes = "".join(f'<polygon label="{x}" z_order="0" points="{points}"/>' for x in labels)
    image = f'<image id="0" name="0_image.png" width="4" height="4">{shapes}</image>'
    return f"<annotations><version>1.1</version>{image}</annotations>"


FORMATS = [(coco, ".json"), (labelme, ".json"), (geojson, ".geojson"), (cvat, ".xml")]


def collect_from_text(folder: Path, text: str, suffix: str) -> list[PairStatistics]:
    pair = Pair("0", folder / "0_image.png", folder / f"0{suffix}")
    Image.new("L", (4, 4)).save(pair.image)
    pair.mask.write_text(text)
    statistics = collect_statistics([pair])
    assert not statistics[0].problem
    return statistics


def drawn(folder: Path, *labels: str) -> list[PairStatistics]:
    return collect_from_text(folder, labelme(labels), ".json")


@pytest.mark.parametrize(("write", "suffix"), FORMATS)
def test_labels_of_polygons_are_classes_beside_the_background(tmp_path, write, suffix):
    classes = choose(collect_from_text(tmp_path, write(("wall", "cell")), suffix))
    assert classes.names == ("background", "cell", "wall")
    assert (classes.values, classes.background, classes.kind) == ((0, 1, 2), 0, "classes")


@pytest.mark.parametrize(("write", "suffix"), FORMATS)
def test_polygons_are_objects_with_the_kind_instances(tmp_path, write, suffix):
    statistics = collect_from_text(tmp_path, write(("cell",)), suffix)
    classes = choose(statistics, kind="instances")
    assert (classes.names, classes.kind) == (("background", "cell"), "instances")


def test_instances_of_several_labels_are_one_class(tmp_path):
    assert choose(drawn(tmp_path, "cell", "wall"), kind="instances").names[1] == "object"


def test_a_label_background_is_the_background(tmp_path):
    classes = choose(drawn(tmp_path, "zebra", "background"))
    assert (classes.names, classes.background) == (("background", "zebra"), 0)


def test_names_of_labels_are_in_the_order_given(tmp_path):
    statistics = drawn(tmp_path, "cell", "wall")
    classes = choose(statistics, names=("wall", "background", "cell"))
    assert (classes.names, classes.background) == (("wall", "background", "cell"), 1)


def test_pixels_outside_all_shapes_are_background_even_if_only_labels_are_named(tmp_path):
    classes = choose(drawn(tmp_path, "cell", "wall"), names=("wall", "cell"))
    assert (classes.names, classes.background) == (("background", "wall", "cell"), 0)


def test_a_name_that_is_no_label_is_the_background(tmp_path):
    classes = choose(drawn(tmp_path, "cell", "wall"), names=("void", "wall", "cell"))
    assert (classes.names, classes.background) == (("void", "wall", "cell"), 0)


def test_the_second_of_two_names_renames_the_only_label(tmp_path):
    classes = choose(drawn(tmp_path, "Tumour"), names=("background", "cell"))
    assert (classes.names[1], classes.labels) == ("cell", ("Tumour",))
    assert choose(drawn(tmp_path, "cell"), names=("background", "cell")).labels == ()


def test_a_label_that_is_not_a_class_is_refused(tmp_path):
    message = r"not classes: mast \(mast in .*0\.json\); accepted are background, cell, wall; list"
    with pytest.raises(DataError, match=message):
        choose(drawn(tmp_path, "cell", "mast"), names=("background", "cell", "wall"))


@pytest.mark.parametrize(("write", "suffix"), FORMATS)
def test_two_classes_do_not_absorb_other_labels(tmp_path, write, suffix):
    statistics = collect_from_text(tmp_path, write(("car", "tree", "person")), suffix)
    with pytest.raises(DataError, match=r"not classes: person, tree \(person in") as error:
        choose(statistics, names=("background", "car"))
    assert str(error.value).endswith(
        "accepted are background, car; list every label with --classes, leave pixels of a label "
        "out with --ignore 'person', name the class of a label in classes.toml beside the data, or "
        "use --kind instances if every shape is an object"
    )
    with pytest.raises(DataError, match="not classes: car, person, tree"):
        choose(statistics, threshold=127)


def test_a_given_set_of_labels_accepts_no_others(tmp_path):
    with pytest.raises(DataError, match="not classes: Tumour"):
        choose(drawn(tmp_path, "Tumour"), names=("background", "cell"), labels=("Zelle",))


def test_a_label_background_is_the_background_of_another_name(tmp_path):
    classes = choose(drawn(tmp_path, "cell", "background"), names=("void", "cell"), background=0)
    assert classes.indices_of_labels() == {"void": 0, "cell": 1, "background": 0}


def test_polygon_files_and_image_files_cannot_be_mixed(tmp_path):
    (tmp_path / "drawn").mkdir()
    statistics = drawn(tmp_path / "drawn", "cell") + mask_statistics(tmp_path, [[0, 255]])
    message = (
        r"for 1 of 2 pairs \(.*0\.json first\) and images for 1 \(.*0\.png first\), .* --masks, or"
    )
    with pytest.raises(DataError, match=message):
        choose(statistics)
    given = {"names": ("background", "cell"), "values": (0, 255), "background": 0}
    assert choose(statistics, **given).values == (0, 255)


def test_too_many_labels_are_a_data_error(tmp_path):
    labels = [f"label {number}" for number in range(254)]
    with pytest.raises(DataError, match="have 254 labels, 'label 0' first; accepted are up to 254"):
        choose(drawn(tmp_path, *labels))


@pytest.mark.parametrize("labels", [(), ("background",)])
def test_polygon_files_with_only_background_are_refused(tmp_path, labels):
    with pytest.raises(DataError, match="contain only background; accepted is at least one"):
        choose(drawn(tmp_path, *labels))


def test_polygons_cannot_be_read_as_colours(tmp_path):
    with pytest.raises(DataError, match="polygon files, which have labels and no colours"):
        choose(drawn(tmp_path, "cell"), kind="colours")


def test_pixels_outside_all_shapes_need_a_background(tmp_path):
    given = {"names": ("cell", "wall", "gap"), "values": (0, 1, 2)}
    with pytest.raises(
        DataError, match="pixels outside all shapes, and no class is the background"
    ):
        choose(drawn(tmp_path, "cell"), **given)
    assert choose(drawn(tmp_path, "cell"), **given, background=2).background == 2


# What is given


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"mask kind is 'colors'; .* did you mean 'colours'\?"):
        choose(mask_statistics(tmp_path, [[0, 1]]), kind="colors")


def test_given_values_are_used_unchanged(tmp_path):
    statistics = mask_statistics(tmp_path, scattered(7, 255))
    classes = choose(statistics, names=("sky", "sea", "land"), values=(7, 255, 0))
    assert (classes.values, classes.background) == ((7, 255, 0), None)


def test_given_values_without_names_are_named_after_themselves(tmp_path):
    assert choose(mask_statistics(tmp_path, [[4, 9]]), values=(4, 9)).names == ("4", "9")


def test_a_value_that_is_not_given_is_refused(tmp_path):
    statistics = mask_statistics(tmp_path, [[0, 1]], [[0, 9]])
    with pytest.raises(DataError, match=r"1\.png in data/masks has 9, which is not a class; .*0 a"):
        choose(statistics, names=("a", "b"), values=(0, 1))
    assert choose(statistics, names=("a", "b"), values=(0, 1), ignore=9).ignore == 9


def test_a_colour_that_is_not_given_is_refused(tmp_path):
    statistics = mask_statistics(tmp_path, np.array([[RED, BLUE]], np.uint8))
    with pytest.raises(DataError, match="has #0000ff, which is not a class"):
        choose(statistics, kind="colours", names=("a", "b"), values=(0xFF0000, 0x00FF00))


CLASS_FILES = {
    "classes.toml": """
        kind = "colours"
        ignore = "#0000ff"

        [classes]
        background = "#ff0000"
        leaf = "#00ff00"
    """,
    "classes.json": json.dumps(
        {"ignore": "#0000ff", "classes": {"background": [255, 0, 0], "leaf": "#00ff00"}}
    ),
}


@pytest.mark.parametrize("name", CLASS_FILES)
def test_a_class_file_defines_the_classes_of_colours(tmp_path, name):
    (tmp_path / name).write_text(CLASS_FILES[name])
    statistics = mask_statistics(tmp_path, np.array([[RED, GREEN, BLUE]], np.uint8))
    classes = choose(statistics, **read_class_file(tmp_path / name))
    assert (classes.names, classes.kind) == (("background", "leaf"), "colours")
    assert (classes.values, classes.ignore) == ((0xFF0000, 0x00FF00), 0x0000FF)
    assert classes.background == 0


def test_a_class_file_may_define_only_the_kind(tmp_path):
    (tmp_path / "classes.toml").write_text('kind = "instances"')
    statistics = mask_statistics(tmp_path, blocks(3), blocks(4))
    assert choose(statistics, **read_class_file(tmp_path / "classes.toml")).kind == "instances"


class TestJpegMasks:
    COLOURS = ((0, 0, 0), (200, 30, 40), (30, 60, 220))
    LISTED = (0x000000, 0xC81E28, 0x1E3CDC)

    def statistics(self, folder):
        labels = np.kron([[0, 1, 0], [2, 0, 1]], np.ones((32, 32), int))
        mask = np.array(self.COLOURS, np.uint8)[labels]
        return mask_statistics(folder, mask, mask, suffix=".jpg", quality=90)

    def choose(self, folder, **given):
        return choose_classes(self.statistics(folder), "masks", given)

    def test_without_a_list_the_message_has_the_option_with_their_colours(self, tmp_path):
        with pytest.raises(DataError, match="are JPEGs") as caught:
            self.choose(tmp_path)
        example = re.search("--classes '(.*?)'", str(caught.value))[1]
        values = [int(part.split("=#")[1], 16) for part in example.split(",")]
        assert len(values) == 3
        for value, listed in zip(sorted(values), sorted(self.LISTED), strict=True):
            assert abs(np.subtract(*(list(v.to_bytes(3)) for v in (value, listed)))).max() < 8

    def test_listed_colours_are_read_with_noise(self, tmp_path):
        names = ("ground", "red", "blue")
        found = self.choose(tmp_path, names=names, values=self.LISTED, kind="colours")
        assert found.blended

    def test_colours_closer_than_noise_are_refused(self, tmp_path):
        with pytest.raises(DataError, match="#000000 and #140000, which differ by less"):
            self.choose(tmp_path, names=("a", "b"), values=(0, 0x140000), kind="colours")

    def test_a_colour_that_is_not_listed_is_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"list all colours|which is not a class"):
            self.choose(tmp_path, names=("a", "b"), values=self.LISTED[:2], kind="colours")
