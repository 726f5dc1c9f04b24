"""Read annotations of Supervisely: a JSON file for each image, ann/cat.jpg.json of img/cat.jpg.

Source: docs.supervisely.com, "Supervisely annotation JSON format".
"""

import base64
import binascii
import io
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from unetkit.data.annotations.documents import OutlineError, get, refusal, whole
from unetkit.data.annotations.polygons import (
    LARGEST_MASK,
    ImageAnnotation,
    Rings,
    RunLengths,
    Shape,
    ShapeCollector,
    box,
    encode_run_lengths,
)
from unetkit.data.annotations.values import (
    flatten_points,
    to_image_size,
    to_label,
    to_points,
    to_ring,
)

_LINES = ("point", "line", "polyline", "graph", "cuboid")  # geometries without an area


def is_supervisely(document: Any, suffix: str) -> bool:
    """Whether a JSON value is an annotation of Supervisely."""
    return isinstance(document, dict) and {"size", "objects"} <= document.keys()


def read_supervisely(document: dict) -> tuple[list[str], list[ImageAnnotation]]:
    """Returns the labels that occur, sorted, and the annotation of the image.

    Raises:
        DataError: The document is damaged.
    """
    size = to_image_size(get(document, "size", dict), "height", "width")
    collector = ShapeCollector()
    for place, record in enumerate(get(document, "objects", list), 1):
        with collector.reading(f"object {place}"):
            label = to_label(get(record, "classTitle", str))
            collector.add(Shape(label, (_to_part(record, size),)))
    return sorted({shape.label for shape in collector.shapes}), [collector.collected("", size)]


def _to_part(record: dict, size: tuple[int, int] | None) -> Rings | RunLengths:
    kind = get(record, "geometryType", str)
    if kind in _LINES:
        raise OutlineError("it has no area")
    if kind == "bitmap":
        return _to_bitmap(get(record, "bitmap", dict))
    if kind not in ("polygon", "rectangle"):
        accepted = "are polygon, rectangle and bitmap"
        raise refusal("geometryType", kind, accepted, "redraw or remove the object")
    points = get(record, "points", dict)
    exterior = get(points, "exterior", list)
    if not exterior:
        raise OutlineError("it has no outline")
    if kind == "rectangle":
        corners = to_points(flatten_points(exterior))
        if len(corners) != 2:
            raise refusal("a rectangle", exterior, "are two opposite corners")
        return (box(corners),)
    holes = points.get("interior") or []
    return tuple(to_ring(flatten_points(ring)) for ring in [exterior, *holes] if ring)


def _to_bitmap(record: dict) -> RunLengths:
    left, top = (whole(number, "a corner of a bitmap", 0) for number in get(record, "origin", list))
    text = get(record, "data", str)
    try:
        inflated = zlib.decompressobj().decompress(base64.b64decode(text), LARGEST_MASK)
        with Image.open(io.BytesIO(inflated), formats=["PNG"]) as image:
            bands = np.asarray(image)
    except (
        binascii.Error,
        zlib.error,
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        Image.DecompressionBombError,
    ) as error:
        raise refusal("the bitmap", str(error), "is a compressed PNG", "export it again") from error
    mask = bands[..., -1] if bands.ndim == 3 else bands  # opacity
    return replace(encode_run_lengths(mask != 0), corner=(top, left))
