"""Read regions of the VGG Image Annotator: JSON of many images, exported or as a saved project.

The label of a region is its attribute "label", "class", "name", "type" or "category", or else the
only one it has.

Source: robots.ox.ac.uk/~vgg/software/via, versions 1 and 2.
"""

import math
from typing import Any

from unetkit.data.annotations.documents import OutlineError, get, refusal
from unetkit.data.annotations.polygons import (
    ImageAnnotation,
    Shape,
    ShapeCollector,
    box,
    ellipse,
    rotate_ring,
)
from unetkit.data.annotations.values import to_image_name, to_label, to_points, to_ring
from unetkit.data.labels import UNCLASSIFIED

PROJECT = "_via_img_metadata"  # key of the images in a saved project
LABEL_ATTRIBUTES = ("label", "class", "name", "type", "category")
_WITHOUT_AREA = ("point", "polyline", "line")


def is_via(document: Any, suffix: str) -> bool:
    """Whether a JSON value is an export or a project of the VGG Image Annotator."""
    if not isinstance(document, dict) or not document:
        return False
    entries = document.get(PROJECT, document)
    if not isinstance(entries, dict):
        return False
    first = next(iter(entries.values()), None)
    is_project = PROJECT in document and first is None
    return is_project or (isinstance(first, dict) and {"filename", "regions"} <= first.keys())


def read_via(document: dict) -> tuple[list[str], list[ImageAnnotation]]:
    """Returns the labels that occur, sorted, and one annotation for each image.

    Faults of entries without an image name are in an annotation without one.

    Raises:
        DataError: The images are not an object.
    """
    unplaced = ShapeCollector()
    found = []
    entries = get(document, PROJECT, dict) if PROJECT in document else document
    for place, entry in enumerate(entries.values(), 1):
        collector = ShapeCollector()
        with unplaced.reading(f"image {place}"):
            name = to_image_name(get(entry, "filename", str))
            with collector.reading(f"image {place}"):
                _collect_regions(get(entry, "regions", list, dict), f"image {place}", collector)
            found.append(collector.collected(name, None))
    if unplaced.problems:
        found.append(unplaced.collected("", None))
    return sorted({shape.label for each in found for shape in each.shapes}), found


def _collect_regions(regions: list | dict, place: str, collector: ShapeCollector) -> None:
    listed = regions if isinstance(regions, list) else list(regions.values())  # of version 1
    for number, region in enumerate(listed, 1):
        with collector.reading(f"{place}: region {number}"):
            attributes = region.get("region_attributes") if isinstance(region, dict) else None
            label = _find_label(attributes if isinstance(attributes, dict) else {})
            collector.add(Shape(label, ((_to_ring(get(region, "shape_attributes", dict)),),)))


def _to_ring(shape: dict) -> Any:
    kind = get(shape, "name", str)
    if kind in _WITHOUT_AREA:
        raise OutlineError("it has no area")
    if kind == "polygon":
        xs, ys = get(shape, "all_points_x", list), get(shape, "all_points_y", list)
        if len(xs) != len(ys):
            raise refusal("all_points_y", ys, f"are {len(xs)} numbers, as many as all_points_x has")
        return to_ring([number for pair in zip(xs, ys, strict=True) for number in pair])
    if kind == "rect":
        x, y, width, height = to_points(
            [shape.get("x"), shape.get("y"), shape.get("width"), shape.get("height")]
        )[:, ::-1].ravel()
        return box(to_points([float(n) for n in (x, y, x + width, y + height)]))
    if kind in ("circle", "ellipse"):
        radii = [shape.get("r")] * 2 if kind == "circle" else [shape.get("rx"), shape.get("ry")]
        centre, radius = to_points([shape.get("cx"), shape.get("cy"), *radii])
        turn = to_points([shape.get("theta") or 0, 0])[0, 1]  # radians
        return rotate_ring(ellipse(centre, radius), math.degrees(turn))
    accepted = "are polygon, rect, circle and ellipse"
    raise refusal("the kind", kind, accepted, "redraw or remove the region")


def _find_label(attributes: dict) -> str:
    named = {str(key).lower(): value for key, value in attributes.items()}
    known = [named[key] for key in LABEL_ATTRIBUTES if named.get(key)]
    value = known[0] if known else next(iter(named.values()), "") if len(named) == 1 else ""
    if len(named) > 1 and not known:
        raise refusal("the label", list(attributes), f"are {', '.join(LABEL_ATTRIBUTES)}", "rename")
    if isinstance(value, dict):  # boxes to tick
        value = ", ".join(str(key) for key, ticked in value.items() if ticked)
    return to_label(str(value).strip() if value else UNCLASSIFIED)
