"""Labels of polygons become classes, background or ignored pixels; spellings are asked about."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unetkit.checks.class_inference import choose_classes
from unetkit.checks.label_inference import describe_labels
from unetkit.checks.mask_issues import count_class_pixels
from unetkit.checks.statistics import PairStatistics, collect_statistics
from unetkit.data.classes import Classes, read_class_file
from unetkit.data.masks import read_mask
from unetkit.data.pairs import Pair
from unetkit.errors import DataError


def drawn(folder: Path, *labels: str, form: str = "labelme") -> list[PairStatistics]:
    """Statistics of an image of 4 x 20 pixels on which each label has a square of 4 x 4."""
    shapes, features = [], []
    for place, label in enumerate(labels):
        left, right = 4 * place, 4 * place + 4
        points = [[left, 0], [right, 0], [right, 4], [left, 4]]
        shapes.append({"label": label, "points": points})
        properties = {"classification": {"name": label}} if label else {}
        geometry = {"type": "Polygon", "coordinates": [[*points, points[0]]]}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    name, document = ("a.json", {"shapes": shapes, "imagePath": "a.png"})
    if form == "geojson":
        name, document = "a.geojson", {"type": "FeatureCollection", "features": features}
    (folder / name).write_text(json.dumps(document))
    Image.new("L", (20, 4)).save(folder / "a.png")
    statistics = collect_statistics([Pair("a", folder / "a.png", folder / name)])
    assert not statistics[0].problem
    return statistics


def choose(statistics: list[PairStatistics], **given: Any) -> Classes:
    return choose_classes(statistics, "data", given)


def pixels(statistics: list[PairStatistics], classes: Classes) -> dict[str, int]:
    """Squares of 4 x 4 pixels of each class and of those that are ignored."""
    counts = count_class_pixels(statistics, classes)[0] // 16
    mask = read_mask(statistics[0].pair.source, classes, (4, 20))
    # What is counted before is what is read later.
    assert counts[-1] == (mask == 255).sum() // 16
    assert list(counts[:-1]) == [(mask == i).sum() // 16 for i in range(len(classes))]
    return dict(zip((*classes.names, "ignored"), counts.tolist(), strict=True))


def test_labels_of_background_and_ignored_pixels_are_taken_as_meant(tmp_path):
    statistics = drawn(tmp_path, "ring", "_background_", "__ignore__", "Ignore*")
    classes = choose(statistics)
    assert classes.names == ("background", "ring")
    assert pixels(statistics, classes) == {"background": 2, "ring": 1, "ignored": 2}
    assert describe_labels(classes, statistics) == [
        "'_background_' as background",
        "'Ignore*', '__ignore__' as pixels to ignore",
    ]


@pytest.mark.parametrize("given", [{"names": ("background", "ring")}, {"kind": "instances"}])
def test_they_keep_their_meaning_beside_names_and_for_objects(tmp_path, given):
    statistics = drawn(tmp_path, "ring", "_background_", "__ignore__")
    counts = pixels(statistics, choose(statistics, **given))
    assert counts == {"background": 3, "ring": 1, "ignored": 1}


def test_a_label_that_is_listed_is_a_class_whatever_it_means(tmp_path):
    statistics = drawn(tmp_path, "ring", "void")
    classes = choose(statistics, names=("background", "ring", "void"))
    assert pixels(statistics, classes) == {"background": 3, "ring": 1, "void": 1, "ignored": 0}


def test_any_label_may_be_ignored_by_hand(tmp_path):
    statistics = drawn(tmp_path, "ring", "dirt", "7")
    classes = choose(statistics, ignored_labels=("dirt",), ignore=7)
    assert pixels(statistics, classes) == {"background": 2, "ring": 1, "ignored": 2}


def test_regions_without_a_class_are_ignored_beside_others(tmp_path):
    statistics = drawn(tmp_path, "tumour", "", form="geojson")
    assert pixels(statistics, choose(statistics)) == {"background": 3, "tumour": 1, "ignored": 1}
    objects = choose(statistics, kind="instances")
    assert pixels(statistics, objects) == {"background": 3, "object": 2, "ignored": 0}


def test_regions_without_a_class_are_objects_if_there_are_no_others(tmp_path):
    statistics = drawn(tmp_path, "", "", form="geojson")
    assert pixels(statistics, choose(statistics)) == {"background": 3, "object": 2, "ignored": 0}


def test_spellings_of_a_label_are_asked_about_and_both_remedies_work(tmp_path):
    statistics = drawn(tmp_path, "Box", "box", "box ", "disc")
    with pytest.raises(DataError, match="differ only by case or spaces: 'Box', 'box', 'box '") as e:
        choose(statistics)
    one, own = str(e.value).split("--classes '")[1], str(e.value).split("beside the data: ")[1]
    classes = choose(statistics, names=tuple(one.split("'")[0].split(",")))
    assert pixels(statistics, classes) == {"background": 1, "Box": 3, "disc": 1, "ignored": 0}
    (tmp_path / "classes.toml").write_text(own)
    classes = choose(statistics, **read_class_file(tmp_path / "classes.toml"))
    assert pixels(statistics, classes) == {
        **{"background": 1, "Box": 1, "box": 1, "box ": 1, "disc": 1, "ignored": 0}
    }


def test_spellings_without_outer_spaces_may_be_listed_as_an_option(tmp_path):
    statistics = drawn(tmp_path, "Box", "box")
    with pytest.raises(DataError, match="class of its own, use --classes 'background,Box,box'"):
        choose(statistics)
    classes = choose(statistics, names=("background", "Box", "box"))
    assert pixels(statistics, classes) == {"background": 3, "Box": 1, "box": 1, "ignored": 0}


def test_a_class_file_gives_several_labels_one_class(tmp_path):
    statistics = drawn(tmp_path, "car", "lorry", "_background_", "sky")
    text = 'ignore = "sky"\n[classes]\nroad = 0\nvehicle = ["car", "lorry"]\n'
    (tmp_path / "classes.toml").write_text(text)
    classes = choose(statistics, **read_class_file(tmp_path / "classes.toml"), background=0)
    assert pixels(statistics, classes) == {"road": 2, "vehicle": 2, "ignored": 1}


def test_only_background_and_ignored_pixels_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"only background and pixels to ignore \(void\)"):
        choose(drawn(tmp_path, "background", "void"))


def test_every_label_that_is_no_class_is_listed_with_what_to_do(tmp_path):
    statistics = drawn(tmp_path, "car", "lorry")
    with pytest.raises(DataError, match=r"not classes: lorry .* with --ignore 'lorry'"):
        choose(statistics, names=("background", "car"))
    classes = choose(statistics, names=("background", "car"), ignored_labels=("lorry",))
    assert pixels(statistics, classes) == {"background": 3, "car": 1, "ignored": 1}
