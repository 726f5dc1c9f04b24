"""What masks mean: taken where it is certain, refused with the option that decides where not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unetkit.checks.class_inference import (
    as_colour,
    choose_classes,
    colour_shares,
    looks_like_objects,
)
from unetkit.checks.statistics import PairStatistics, look_at
from unetkit.data.classes import TRIMAP_CLASSES, read_class_file
from unetkit.data.dataset import Pair
from unetkit.errors import ConfigError, DataError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def look(folder: Path, *masks: Any, suffix: str = ".png", **save: Any) -> list[PairStatistics]:
    """Looks at masks, arrays or pictures, each beside a black image of its size."""
    pairs = []
    for number, mask in enumerate(masks):
        array = np.array(mask, np.uint8) if isinstance(mask, list) else mask
        picture = mask if isinstance(mask, Image.Image) else Image.fromarray(array)
        pair = Pair(f"{number}", folder / f"{number}_image.png", folder / f"{number}{suffix}")
        Image.new("L", picture.size).save(pair.image)
        picture.save(pair.mask, **save)
        pairs.append(pair)
    looks = look_at(pairs)
    assert not any(one.problem for one in looks)
    return looks


def strewn(*values: int, dtype: Any = np.uint8, repeat: int = 4) -> np.ndarray:
    """Rows of single pixels of each value in turn: every value is in many pieces."""
    row = np.tile(np.array(values, dtype), repeat)
    return np.stack([row, np.zeros_like(row)] * 4)


def choose(
    looks: list[PairStatistics], kind: str | None = None, is_trimap: bool = False, **given: Any
):
    return choose_classes(looks, "data/masks", given, kind=kind, is_trimap=is_trimap)


def palette_mask() -> Image.Image:
    """Indices 0 and 1, shown in red and green."""
    picture = Image.fromarray(np.array([[0, 1, 0, 1]] * 4, np.uint8))
    picture.putpalette([*RED, *GREEN])
    return picture


# Integers


def test_one_two_and_three_are_a_trimap(tmp_path):
    assert choose(look(tmp_path, [[1, 2, 3]])) == TRIMAP_CLASSES


def test_a_folder_of_trimaps_may_lack_a_value(tmp_path):
    assert choose(look(tmp_path, [[1, 2, 2]]), is_trimap=True) == TRIMAP_CLASSES


def test_one_two_and_three_are_no_trimap_where_a_mask_lacks_one(tmp_path):
    looks = look(tmp_path, [[1, 2, 3]], [[1, 2, 2]])
    with pytest.raises(DataError, match=r"1\.png has only 1, 2: a trimap's .* say --classes with"):
        choose(looks)
    assert choose(looks, names=("a", "b", "c")).values == (1, 2, 3)
    assert choose(looks, is_trimap=True) == TRIMAP_CLASSES


@pytest.mark.parametrize("is_trimap", [True, False])
def test_the_border_of_a_trimap_may_be_ignored(tmp_path, is_trimap):
    looks = look(tmp_path, [[1, 2, 3]])
    classes = choose(looks, is_trimap=is_trimap, ignore=3)
    assert (classes.names, classes.values) == (("pet", "background"), (1, 2))
    assert (classes.background, classes.border, classes.ignore) == (1, None, 3)
    assert choose(looks, is_trimap=is_trimap, ignore=3, names=("pet", "background")) == classes


def test_names_of_trimap_folders_keep_their_roles(tmp_path):
    classes = choose(look(tmp_path, [[1, 2, 3]]), is_trimap=True, names=("dog", "lawn", "rim"))
    assert classes.names == ("dog", "lawn", "rim")
    assert (classes.background, classes.border) == (1, 2)


def test_three_classes_of_other_names_are_no_trimap(tmp_path):
    classes = choose(look(tmp_path, [[1, 2, 3]]), names=("cat", "dog", "bird"))
    assert (classes.values, classes.background, classes.border) == ((1, 2, 3), None, None)


def test_names_tell_which_of_one_two_and_three_is_the_background(tmp_path):
    classes = choose(look(tmp_path, [[1, 2, 3]]), names=("border", "pet", "background"))
    assert (classes.background, classes.border) == (2, 0)


def test_two_names_for_a_trimap_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"2 class names are given \(a, b\); accepted are 3, as"):
        choose(look(tmp_path, [[1, 2, 3]]), names=("a", "b"))


def test_0_and_255_alone_are_two_classes(tmp_path):
    classes = choose(look(tmp_path, [[0, 255]]))
    assert classes.names == ("background", "foreground")
    assert (classes.values, classes.background, classes.ignore) == ((0, 255), 0, None)


def test_0_and_1_are_two_classes(tmp_path):
    classes = choose(look(tmp_path, [[0, 1]]))
    assert (classes.names, classes.values) == (("background", "class 1"), (0, 1))


def test_one_bit_masks_are_two_classes(tmp_path):
    assert choose(look(tmp_path, np.array([[False, True]]))).values == (0, 1)


def test_numbers_without_a_gap_are_a_class_each(tmp_path):
    classes = choose(look(tmp_path, strewn(0, 1), strewn(0, 2)))
    assert classes.names == ("background", "class 1", "class 2")
    assert (classes.values, classes.background, classes.kind) == ((0, 1, 2), 0, "classes")


def test_names_are_in_the_order_of_values(tmp_path):
    classes = choose(look(tmp_path, strewn(0, 1, 2)), names=("ground", "road", "car"))
    assert (classes.names, classes.background) == (("ground", "road", "car"), 0)


def test_a_class_called_background_is_the_background_wherever_it_stands(tmp_path):
    classes = choose(look(tmp_path, strewn(0, 1, 2)), names=("road", "car", "background"))
    assert classes.background == 2
    assert choose(look(tmp_path, [[0, 255]]), names=("cell", "background")).background == 1


def test_names_may_be_more_than_the_values_that_occur(tmp_path):
    classes = choose(look(tmp_path, strewn(0, 1)), names=("ground", "road", "car"))
    assert classes.values == (0, 1, 2)


def test_two_names_fit_any_two_values(tmp_path):
    classes = choose(look(tmp_path, [[3, 200]]), names=("wall", "gap"))
    assert (classes.names, classes.values) == (("wall", "gap"), (3, 200))


def test_a_gap_is_refused_with_its_file(tmp_path):
    with pytest.raises(DataError, match=r"values that are no class: 3 \(3 in .*1\.png\)") as error:
        choose(look(tmp_path, strewn(0, 1), strewn(0, 3)))
    assert "accepted are 0, 1, 2 ... without a gap, 0 and 255" in str(error.value)
    assert "--kind instances" in str(error.value)
    assert "classes.toml" in str(error.value)


def test_one_and_two_without_zero_are_refused(tmp_path):
    with pytest.raises(DataError, match="no class: 1, 2 "):
        choose(look(tmp_path, [[1, 2]]))


@pytest.mark.parametrize("values", [(0, 1, 255), (0, 1, 2, 255), (0, 128, 255)])
def test_255_beside_others_is_never_taken_for_anything(tmp_path, values):
    with pytest.raises(DataError, match=r"name the value with --ignore"):
        choose(look(tmp_path, strewn(*values)))


def test_255_beside_others_may_be_named_as_ignored(tmp_path):
    classes = choose(look(tmp_path, strewn(0, 1, 255)), ignore=255)
    assert (classes.values, classes.ignore) == ((0, 1), 255)


def test_values_beyond_the_names_are_refused(tmp_path):
    with pytest.raises(DataError, match="no class: 2 "):
        choose(look(tmp_path, strewn(0, 1, 2, 2, 0)), kind="classes", names=("a", "b"))


def test_zeros_alone_are_refused(tmp_path):
    with pytest.raises(DataError, match="hold only the value 0; accepted are at least two"):
        choose(look(tmp_path, [[0, 0]]))


def test_a_very_large_value_is_refused_at_once(tmp_path):
    mask = Image.fromarray(np.array([[0, 2_000_000_000]], np.int32))
    with pytest.raises(DataError, match="no class: 2000000000 "):
        choose(look(tmp_path, mask, suffix=".tif"))


def test_more_values_than_classes_can_be_are_refused(tmp_path):
    mask = strewn(*range(255), dtype=np.uint16)
    with pytest.raises(DataError, match="hold 255 values; accepted are up to 254 classes"):
        choose(look(tmp_path, mask, suffix=".tif"), kind="classes")


# Objects


def blocks(count: int, dtype: Any = np.uint16) -> np.ndarray:
    """Squares of 2 x 2, numbered from 1, with a gap between."""
    mask = np.zeros((2, 3 * count), dtype)
    for number in range(count):
        mask[:, 3 * number : 3 * number + 2] = number + 1
    return mask


def test_masks_that_look_like_objects_are_refused(tmp_path):
    with pytest.raises(DataError, match="look like instances, an integer an object") as error:
        choose(look(tmp_path, blocks(3), blocks(4)))
    assert str(error.value).endswith("say --kind instances or --kind classes")


def test_what_looks_like_objects_may_be_named_classes(tmp_path):
    looks = look(tmp_path, blocks(3), blocks(4))
    assert choose(looks, kind="classes").values == (0, 1, 2, 3, 4)
    assert choose(looks, names=("a", "b", "c", "d", "e")).kind == "classes"


def test_instances_are_background_and_object(tmp_path):
    classes = choose(look(tmp_path, blocks(3), blocks(400)), kind="instances")
    assert (classes.names, classes.values) == (("background", "object"), (0, 1))
    assert (classes.kind, classes.background) == ("instances", 0)


def test_instances_take_two_names_and_an_ignored_value(tmp_path):
    looks = look(tmp_path, blocks(3))
    classes = choose(looks, kind="instances", names=("glass", "cell"), ignore=65535)
    assert (classes.names, classes.ignore) == (("glass", "cell"), 65535)
    with pytest.raises(ConfigError, match="3 class names are given"):
        choose(looks, kind="instances", names=("a", "b", "c"))


def test_the_user_overrules_the_kind_that_the_layout_tells(tmp_path):
    looks = look(tmp_path, blocks(3), blocks(4))
    classes = choose_classes(looks, "here", {"kind": "classes"}, kind="instances")
    assert classes.kind == "classes"


def test_a_class_in_many_pieces_looks_like_no_object(tmp_path):
    assert not looks_like_objects(look(tmp_path, strewn(0, 1, 2, 3), strewn(0, 1, 2)))


def test_equal_numbers_everywhere_look_like_classes(tmp_path):
    assert not looks_like_objects(look(tmp_path, blocks(3), blocks(3)))


def test_two_numbers_are_too_few_to_look_like_objects(tmp_path):
    assert not looks_like_objects(look(tmp_path, blocks(1), blocks(2)))


def test_empty_masks_say_nothing_about_objects(tmp_path):
    assert not looks_like_objects(look(tmp_path, np.zeros((4, 4), np.uint8)))


def test_the_ignored_value_says_nothing_about_objects(tmp_path):
    """Outlines of 255 around each object are in many pieces; without them these are 3 and 4."""
    outlined = [np.where(np.arange(3 * n) % 3 == 2, 255, blocks(n)) for n in (3, 4)]
    looks = look(tmp_path, *(mask.astype(np.uint8) for mask in outlined))
    assert looks_like_objects(looks, ignore=255)
    assert not looks_like_objects(looks)  # 7 + 2 numbers in 7 + 3 + 4 pieces


# Colours


def test_few_colours_are_a_class_each(tmp_path):
    mask = np.array([[RED, GREEN, (0, 0, 0)]], np.uint8)
    classes = choose(look(tmp_path, mask))
    assert classes.kind == "colours"
    assert classes.names == ("#000000", "#00ff00", "#ff0000")
    assert classes.values == (0, 0x00FF00, 0xFF0000)
    assert classes.colours == ((0, 0, 0), GREEN, RED)
    assert classes.background is None


def test_names_of_colours_are_in_the_order_of_their_values(tmp_path):
    mask = np.array([[RED, GREEN, (0, 0, 0)]], np.uint8)
    classes = choose(look(tmp_path, mask), names=("background", "leaf", "rose"))
    assert (classes.values[2], classes.background) == (0xFF0000, 0)


def test_an_ignored_colour_is_no_class(tmp_path):
    mask = np.array([[RED, GREEN, BLUE]], np.uint8)
    classes = choose(look(tmp_path, mask), ignore=0x0000FF)
    assert (classes.values, classes.ignore) == ((0x00FF00, 0xFF0000), 0x0000FF)


def test_many_colours_are_refused_with_the_commonest(tmp_path):
    mask = np.zeros((4, 50, 3), np.uint8)  # 100 of 200 pixels black
    mask[2, :, 0] = 200  # 50 of one red
    mask[3, :, 1] = np.arange(1, 51)  # 50 greens of 1 pixel each
    with pytest.raises(DataError, match=r"have 52 colours, the commonest #000000 50\.0%, #c80"):
        choose(look(tmp_path, mask))


def test_one_colour_is_refused(tmp_path):
    looks = look(tmp_path, np.array([[RED, RED]], np.uint8))
    with pytest.raises(DataError, match=r"have one colour \(#ff0000\); accepted are at least two"):
        choose(looks)
    with pytest.raises(DataError, match="none but the ignored one"):
        choose(looks, ignore=0xFF0000)


def test_grey_saved_as_rgb_is_integers(tmp_path):
    mask = np.repeat(np.array([[[0], [255]]], np.uint8), 3, axis=2)
    assert choose(look(tmp_path, mask)).values == (0, 255)


def test_grey_masks_may_be_called_colours(tmp_path):
    classes = choose(look(tmp_path, [[0, 255]]), kind="colours")
    assert classes.values == (0, 0xFFFFFF)


def test_palette_masks_are_their_indices(tmp_path):
    classes = choose(look(tmp_path, palette_mask()))
    assert (classes.kind, classes.values) == ("classes", (0, 1))


def test_palette_masks_may_be_called_colours(tmp_path):
    classes = choose(look(tmp_path, palette_mask()), kind="colours")
    assert classes.values == (0x00FF00, 0xFF0000)


def test_shares_of_colours_are_of_all_pixels(tmp_path):
    looks = look(tmp_path, palette_mask(), np.array([[RED, BLUE]] * 4, np.uint8))
    # 8 red and 8 green of 16 pixels; 4 red and 4 blue of 8: 12, 8 and 4 of 24.
    assert colour_shares(looks) == {0xFF0000: 12 / 24, 0x00FF00: 8 / 24, 0x0000FF: 4 / 24}
    assert as_colour(looks[0], 1) == 0x00FF00


def test_colours_are_no_classes_by_number(tmp_path):
    looks = look(tmp_path, np.array([[RED, GREEN]], np.uint8))
    for kind in ("classes", "instances"):
        with pytest.raises(DataError, match=f"have colours, .*0.png first; accepted for {kind} ar"):
            choose(looks, kind=kind)


def test_one_coloured_mask_among_numbers_is_refused(tmp_path):
    looks = look(tmp_path, np.array([[0, 1]], np.uint8), np.array([[RED, GREEN]], np.uint8))
    with pytest.raises(DataError, match=r"1\.png first; .* say --kind colours if a colour is a"):
        choose(looks, kind="classes")


# JPEG


def grey_jpegs(folder: Path) -> list[PairStatistics]:
    mask = np.kron([[0, 255], [255, 0]], np.ones((8, 8))).astype(np.uint8)
    return look(folder, mask, suffix=".jpg", quality=60)


@pytest.mark.parametrize("given", [{}, {"kind": "instances"}, {"names": ("a", "b")}])
def test_jpeg_masks_are_refused_with_the_reason(tmp_path, given):
    with pytest.raises(DataError, match=r"1 of 1 masks in data/masks are JPEGs, .*0\.jpg") as error:
        choose(grey_jpegs(tmp_path), **given)
    assert "whose compression changes class values" in str(error.value)
    assert str(error.value).endswith("say --threshold 127")


def test_a_list_of_values_makes_no_class_of_a_jpeg(tmp_path):
    with pytest.raises(DataError, match="are JPEGs"):
        choose(grey_jpegs(tmp_path), names=("a", "b"), values=(0, 255))


def test_a_threshold_makes_two_classes_of_jpegs(tmp_path):
    classes = choose(grey_jpegs(tmp_path), threshold=127)
    assert (classes.names, classes.threshold) == (("background", "foreground"), 127)
    assert classes.background == 0


def test_a_threshold_takes_two_names(tmp_path):
    looks = grey_jpegs(tmp_path)
    classes = choose(looks, threshold=127, names=("cell", "background"))
    assert (classes.names, classes.background) == (("cell", "background"), 1)
    with pytest.raises(ConfigError, match="1 class names are given"):
        choose(looks, threshold=127, names=("cell",))


@pytest.mark.parametrize("kind", ["instances", "colours"])
def test_a_threshold_is_for_classes_alone(tmp_path, kind):
    with pytest.raises(ConfigError, match=f"threshold is 127 and kind '{kind}'"):
        choose_classes(grey_jpegs(tmp_path), "here", {"threshold": 127, "kind": kind})


def test_colours_have_no_threshold(tmp_path):
    looks = look(tmp_path, np.array([[RED, GREEN]], np.uint8))
    with pytest.raises(DataError, match="have colours"):
        choose(looks, threshold=127)


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


def look_at_drawn(folder: Path, text: str, suffix: str) -> list[PairStatistics]:
    pair = Pair("0", folder / "0_image.png", folder / f"0{suffix}")
    Image.new("L", (4, 4)).save(pair.image)
    pair.mask.write_text(text)
    looks = look_at([pair])
    assert not looks[0].problem
    return looks


def drawn(folder: Path, *labels: str) -> list[PairStatistics]:
    return look_at_drawn(folder, labelme(labels), ".json")


@pytest.mark.parametrize(("write", "suffix"), FORMATS)
def test_labels_of_polygons_are_classes_beside_the_background(tmp_path, write, suffix):
    classes = choose(look_at_drawn(tmp_path, write(("wall", "cell")), suffix))
    assert classes.names == ("background", "cell", "wall")
    assert (classes.values, classes.background, classes.kind) == ((0, 1, 2), 0, "classes")


@pytest.mark.parametrize(("write", "suffix"), FORMATS)
def test_polygons_are_objects_if_told_so(tmp_path, write, suffix):
    looks = look_at_drawn(tmp_path, write(("cell",)), suffix)
    classes = choose(looks, kind="instances")
    assert (classes.names, classes.kind) == (("background", "cell"), "instances")


def test_objects_of_several_labels_are_objects(tmp_path):
    assert choose(drawn(tmp_path, "cell", "wall"), kind="instances").names[1] == "object"


def test_a_drawn_background_is_the_background(tmp_path):
    classes = choose(drawn(tmp_path, "zebra", "background"))
    assert (classes.names, classes.background) == (("background", "zebra"), 0)


def test_names_of_labels_are_in_the_order_given(tmp_path):
    looks = drawn(tmp_path, "cell", "wall")
    classes = choose(looks, names=("wall", "background", "cell"))
    assert (classes.names, classes.background) == (("wall", "background", "cell"), 1)


def test_where_nothing_is_drawn_is_background_though_labels_alone_are_named(tmp_path):
    classes = choose(drawn(tmp_path, "cell", "wall"), names=("wall", "cell"))
    assert (classes.names, classes.background) == (("background", "wall", "cell"), 0)


def test_another_name_than_the_labels_is_that_of_the_background(tmp_path):
    classes = choose(drawn(tmp_path, "cell", "wall"), names=("void", "wall", "cell"))
    assert (classes.names, classes.background) == (("void", "wall", "cell"), 0)


def test_of_two_names_the_second_fits_any_label(tmp_path):
    classes = choose(drawn(tmp_path, "Tumour"), names=("background", "cell"))
    assert (classes.names[1], classes.labels) == ("cell", ("Tumour",))
    assert choose(drawn(tmp_path, "cell"), names=("background", "cell")).labels == ()


def test_a_label_that_is_no_class_is_refused(tmp_path):
    message = r"no class: mast \(mast in .*0\.json\); accepted are background, cell, wall; name"
    with pytest.raises(DataError, match=message):
        choose(drawn(tmp_path, "cell", "mast"), names=("background", "cell", "wall"))


@pytest.mark.parametrize(("write", "suffix"), FORMATS)
def test_two_classes_swallow_no_foreign_labels(tmp_path, write, suffix):
    looks = look_at_drawn(tmp_path, write(("car", "tree", "person")), suffix)
    with pytest.raises(DataError, match=r"no class: person, tree \(person in") as error:
        choose(looks, names=("background", "car"))
    assert str(error.value).endswith(
        "accepted are background, car; name every label with --classes, rename labels in the "
        "files where they mean the same, or say --kind instances if every shape is an object"
    )
    with pytest.raises(DataError, match="no class: car, person, tree"):
        choose(looks, threshold=127)


def test_a_decided_set_of_labels_takes_no_other(tmp_path):
    with pytest.raises(DataError, match="no class: Tumour"):
        choose(drawn(tmp_path, "Tumour"), names=("background", "cell"), labels=("Zelle",))


def test_a_drawn_background_is_nobody_elses_object(tmp_path):
    with pytest.raises(DataError, match="no class: background"):
        choose(drawn(tmp_path, "cell", "background"), names=("void", "cell"), background=0)


def test_polygon_files_and_pictures_do_not_mix(tmp_path):
    (tmp_path / "drawn").mkdir()
    looks = drawn(tmp_path / "drawn", "cell") + look(tmp_path, [[0, 255]])
    message = r"for 1 of 2 images, as in .*0\.json, and pictures for 1, as .*0\.png, .* --masks, or"
    with pytest.raises(DataError, match=message):
        choose(looks)
    given = {"names": ("background", "cell"), "values": (0, 255), "background": 0}
    assert choose(looks, **given).values == (0, 255)


def test_very_many_labels_are_a_fault_of_the_data(tmp_path):
    labels = [f"label {number}" for number in range(254)]
    with pytest.raises(DataError, match="have 254 labels, 'label 0' first; accepted are up to 254"):
        choose(drawn(tmp_path, *labels))


@pytest.mark.parametrize("labels", [(), ("background",)])
def test_polygon_files_that_draw_nothing_are_refused(tmp_path, labels):
    with pytest.raises(DataError, match="draw nothing but background; accepted is at least one"):
        choose(drawn(tmp_path, *labels))


def test_polygons_have_no_colours(tmp_path):
    with pytest.raises(DataError, match="polygon files, which have labels and no colours"):
        choose(drawn(tmp_path, "cell"), kind="colours")


def test_undrawn_pixels_need_a_background(tmp_path):
    given = {"names": ("cell", "wall", "gap"), "values": (0, 1, 2)}
    with pytest.raises(DataError, match="leaves pixels undrawn, and no class is named background"):
        choose(drawn(tmp_path, "cell"), **given)
    assert choose(drawn(tmp_path, "cell"), **given, background=2).background == 2


# What is given


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"mask kind is 'colors'; .* did you mean 'colours'\?"):
        choose(look(tmp_path, [[0, 1]]), kind="colors")


def test_given_values_are_taken_as_they_are(tmp_path):
    looks = look(tmp_path, strewn(7, 255))
    classes = choose(looks, names=("sky", "sea", "land"), values=(7, 255, 0))
    assert (classes.values, classes.background) == ((7, 255, 0), None)


def test_given_values_without_names_are_their_own_names(tmp_path):
    assert choose(look(tmp_path, [[4, 9]]), values=(4, 9)).names == ("4", "9")


def test_a_value_that_is_not_among_those_given_is_refused(tmp_path):
    looks = look(tmp_path, [[0, 1]], [[0, 9]])
    with pytest.raises(DataError, match=r"1\.png in data/masks has 9, which is no class; .*0 a, 1"):
        choose(looks, names=("a", "b"), values=(0, 1))
    assert choose(looks, names=("a", "b"), values=(0, 1), ignore=9).ignore == 9


def test_a_colour_that_is_not_among_those_given_is_refused(tmp_path):
    looks = look(tmp_path, np.array([[RED, BLUE]], np.uint8))
    with pytest.raises(DataError, match="has #0000ff, which is no class"):
        choose(looks, kind="colours", names=("a", "b"), values=(0xFF0000, 0x00FF00))


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
def test_a_file_says_what_colours_mean(tmp_path, name):
    (tmp_path / name).write_text(CLASS_FILES[name])
    looks = look(tmp_path, np.array([[RED, GREEN, BLUE]], np.uint8))
    classes = choose(looks, **read_class_file(tmp_path / name))
    assert (classes.names, classes.kind) == (("background", "leaf"), "colours")
    assert (classes.values, classes.ignore) == ((0xFF0000, 0x00FF00), 0x0000FF)
    assert classes.background == 0


def test_a_file_may_decide_the_kind_alone(tmp_path):
    (tmp_path / "classes.toml").write_text('kind = "instances"')
    looks = look(tmp_path, blocks(3), blocks(4))
    assert choose(looks, **read_class_file(tmp_path / "classes.toml")).kind == "instances"
