"""Read "CVAT for images 1.1": XML of many images, with polygons, boxes, ellipses and masks.

Shapes lie above each other by their z_order.

Source: docs.cvat.ai, "XML annotation format", version 1.1.
"""

from dataclasses import replace
from reprlib import repr as shortened
from typing import Any
from xml.etree.ElementTree import Element

from unetkit.data.annotations.documents import (
    OutlineError,
    attribute,
    number,
    refusal,
    whole,
)
from unetkit.data.annotations.polygons import (
    ImageAnnotation,
    Rings,
    RunLengths,
    Shape,
    ShapeCollector,
    box,
    ellipse,
    rotate_ring,
    to_run_lengths,
)
from unetkit.data.annotations.values import (
    flatten_points,
    to_image_name,
    to_label,
    to_points,
    to_ring,
)
from unetkit.errors import DataError

NO_AREA = ("tag", "points", "polyline", "skeleton", "cuboid")  # types of labels and of shapes


def is_cvat(document: Any, suffix: str) -> bool:
    """Whether an XML element is the root of a CVAT file."""
    if not isinstance(document, Element) or document.tag != "annotations":
        return False
    return bool({"version", "meta", "image", "track"} & {child.tag for child in document})


def read_cvat(root: Element) -> tuple[list[str], list[ImageAnnotation]]:
    """Returns the labels that are listed or occur, and one annotation for each image.

    Faults of images without a name are in an annotation without an image name.

    Raises:
        DataError: The document is of a video, or a listed label is damaged.
    """
    if root.find("track") is not None:
        raise DataError(
            "it holds the tracks of a video; accepted is CVAT for images 1.1; export it as that"
        )
    labels = [
        to_label(label.findtext("name"))
        for label in root.findall("meta/*/labels/label")
        if label.findtext("type") not in NO_AREA
    ]
    annotations = []
    unplaced = ShapeCollector()  # images without a name
    for place, image in enumerate(root.findall("image"), 1):
        collector, size = ShapeCollector(), None
        with unplaced.reading(f"image {place}"):
            name = to_image_name(image.get("name"))
            with collector.reading(f"image {place}"):
                height, width = (whole(attribute(image, key), key) for key in ("height", "width"))
                size = height, width
            _collect_shapes(image, f"image {place}", collector)
            annotations.append(collector.collected(name, size))
    if unplaced.problems:
        annotations.append(unplaced.collected("", None))
    used = {shape.label for annotation in annotations for shape in annotation.shapes}
    return labels + sorted(used - set(labels)), annotations


def _collect_shapes(image: Element, place: str, collector: ShapeCollector) -> None:
    layers: dict[int, float] = {}  # z_order by the number of the shape
    for index, element in enumerate(image, 1):
        if element.tag == "tag":  # describes the whole image
            continue
        with collector.reading(f"{place}: element {index}, {shortened(element.tag)}"):
            group = whole(attribute(element, "group_id", "0"), "group_id", 0) or None
            layer = attribute(element, "z_order", "0")
            shape = Shape(to_label(element.get("label")), (_to_part(element),), group)
            layers[len(collector.shapes)] = layer
            collector.add(shape)
    order = sorted(range(len(collector.shapes)), key=layers.__getitem__)
    collector.shapes[:] = [collector.shapes[index] for index in order]


def _to_part(element: Element) -> Rings | RunLengths:
    degrees = attribute(element, "rotation", "0")
    if element.tag == "box":
        corners = to_points([attribute(element, name) for name in ("xtl", "ytl", "xbr", "ybr")])
        return (rotate_ring(box(corners), degrees),)
    if element.tag == "ellipse":
        centre, radii = to_points([attribute(element, name) for name in ("cx", "cy", "rx", "ry")])
        return (rotate_ring(ellipse(centre, radii), degrees),)
    if element.tag == "polygon":
        points = element.get("points", "")
        if not points:
            raise OutlineError("it has no outline")
        pairs = [point.split(",") for point in points.split(";")]
        return (to_ring([number(text, "a coordinate") for text in flatten_points(pairs)]),)
    if element.tag == "mask":
        height, width = (whole(attribute(element, name), name) for name in ("height", "width"))
        top, left = (whole(attribute(element, name), name, 0) for name in ("top", "left"))
        text = element.get("rle")
        try:
            counts = [int(run) for run in (text or "").split(",")]
        except ValueError:
            raise refusal("rle", text, "are whole numbers with commas", "export it again") from None
        return replace(to_run_lengths(counts, (height, width)), corner=(top, left))
    if element.tag in NO_AREA:
        raise OutlineError("it has no area")
    accepted = "are polygon, box, ellipse and mask"
    raise refusal("the kind", element.tag, accepted, "redraw or remove it")
