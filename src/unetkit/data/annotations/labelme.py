"""Read the JSON files of LabelMe: one for each image, with polygons, boxes, circles and masks.

Source: labelme, `examples/labelme_io.py`.
"""

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from unetkit.data.annotations.documents import OutlineError, get, refusal, whole
from unetkit.data.annotations.polygons import (
    ImageAnnotation,
    Rings,
    RunLengths,
    Shape,
    ShapeCollector,
    box,
    ellipse,
    encode_run_lengths,
)
from unetkit.data.annotations.values import (
    flatten_points,
    to_image_name,
    to_image_size,
    to_label,
    to_points,
    to_ring,
)
from unetkit.errors import DataError

_NO_AREA = ("point", "points", "line", "linestrip")  # shape types


def is_labelme(document: Any, suffix: str) -> bool:
    """Whether a JSON value is a LabelMe file."""
    return isinstance(document, dict) and "shapes" in document


def read_labelme(document: dict) -> tuple[list[str], list[ImageAnnotation]]:
    """Returns the labels that occur, sorted, and the annotation of the image.

    Raises:
        DataError: The document is damaged.
    """
    image = to_image_name(document.get("imagePath") or "")
    size = to_image_size(document, "imageHeight", "imageWidth")
    collector = ShapeCollector()
    for place, record in enumerate(get(document, "shapes", list), 1):
        with collector.reading(f"shape {place}"):
            label = to_label(get(record, "label", str))
            group = record.get("group_id")
            if group is not None:
                group = get(record, "group_id", int, str)
            collector.add(Shape(label, (_to_part(record),), group))
    labels = sorted({shape.label for shape in collector.shapes})
    return labels, [collector.collected(image, size)]


def _to_part(record: dict) -> Rings | RunLengths:
    kind = record.get("shape_type") or "polygon"  # missing in old files
    if kind in _NO_AREA or not record.get("points"):
        raise OutlineError("it has no area")
    if kind not in ("polygon", "rectangle", "oriented_rectangle", "circle", "mask"):
        accepted = "are polygon, rectangle, oriented_rectangle, circle and mask"
        raise refusal("shape_type", kind, accepted, "redraw or remove the shape")
    numbers = flatten_points(record.get("points"))
    if kind in ("polygon", "oriented_rectangle") or (kind == "rectangle" and len(numbers) == 8):
        return (to_ring(numbers),)
    points = to_points(numbers)
    if len(points) < 2:
        raise OutlineError("it has no area")
    if len(points) != 2:
        raise DataError(
            f"a {kind} has {len(points)} points; accepted are 2; redraw or remove the shape"
        )
    if kind == "rectangle":
        return (box(points),)
    if kind == "circle":
        return (ellipse(points[0], np.full(2, np.hypot(*(points[1] - points[0])))),)
    (top, left), (bottom, right) = points.astype(int).tolist()  # truncated, as LabelMe does
    size = whole(bottom - top + 1, "mask's height"), whole(right - left + 1, "mask's width")
    mask = _decode_png(get(record, "mask", str), size)
    return replace(encode_run_lengths(mask), corner=(top, left))


def _decode_png(text: str, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool mask, from base64 text of a PNG."""
    try:
        data = io.BytesIO(base64.b64decode(text, validate=True))
        with Image.open(data, formats=["PNG"]) as image:
            if image.size != size[::-1] or len(image.getbands()) != 1:
                raise ValueError(f"{image.height} x {image.width}, {image.mode}")
            return np.asarray(image).astype(bool)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"mask cannot be read ({error}); accepted is a PNG of {size[0]} x {size[1]} pixels "
            "with one channel; redraw or remove the shape"
        ) from error
