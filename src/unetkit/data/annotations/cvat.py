"""Read "CVAT for images 1.1": XML of many images, with polygons, boxes, ellipses and masks.

Shapes lie above each other by their z_order.

Source: docs.cvat.ai, "XML annotation format", version 1.1.
"""

from dataclasses import replace
from reprlib import repr as shortened
from typing import Any
from xml.etree.ElementTree import Element

from unetkit.data.annotations.documents import at, attribute, number, refusal, whole
from unetkit.data.annotations.polygons import (
    ImageAnnotation,
    Rings,
    RunLengths,
    Shape,
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

NO_AREA = ("tag", "points", "polyline", "skeleton", "cuboid")  # types of labels


def is_cvat(document: Any, suffix: str) -> bool:
    """Whether an XML element is the root of a CVAT file."""
    if not isinstance(document, Element) or document.tag != "annotations":
        return False
    return bool({"version", "meta", "image", "track"} & {child.tag for child in document})


def read_cvat(root: Element) -> tuple[list[str], list[ImageAnnotation]]:
    """Returns the labels that are listed or occur, and one annotation for each image.

    Raises:
        DataError: The document is damaged, is of a video, or has a shape without an area.
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
    for place, image in enumerate(root.findall("image"), 1):
        with at(f"image {place}"):
            height, width = (whole(attribute(image, name), name) for name in ("height", "width"))
            name = to_image_name(image.get("name"))
            annotations.append(ImageAnnotation(name, (height, width), _to_shapes(image)))
    used = {shape.label for annotation in annotations for shape in annotation.shapes}
    return labels + sorted(used - set(labels)), annotations


def _to_shapes(image: Element) -> tuple[Shape, ...]:
    layers = []
    for place, element in enumerate(image, 1):
        if element.tag == "tag":  # describes the whole image
            continue
        with at(f"element {place}, {shortened(element.tag)}"):
            group = whole(attribute(element, "group_id", "0"), "group_id", 0) or None
            shape = Shape(to_label(element.get("label")), (_to_part(element),), group)
            layers.append((attribute(element, "z_order", "0"), shape))
    return tuple(shape for _, shape in sorted(layers, key=lambda layer: layer[0]))


def _to_part(element: Element) -> Rings | RunLengths:
    degrees = attribute(element, "rotation", "0")
    if element.tag == "box":
        corners = to_points([attribute(element, name) for name in ("xtl", "ytl", "xbr", "ybr")])
        return (rotate_ring(box(corners), degrees),)
    if element.tag == "ellipse":
        centre, radii = to_points([attribute(element, name) for name in ("cx", "cy", "rx", "ry")])
        return (rotate_ring(ellipse(centre, radii), degrees),)
    if element.tag == "polygon":
        pairs = [point.split(",") for point in element.get("points", "").split(";")]
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
    accepted = "are polygon, box, ellipse and mask"
    raise refusal("the kind", element.tag, accepted, "redraw or remove it")
