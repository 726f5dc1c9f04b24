"""Read what is drawn in files of COCO, LabelMe, QuPath (GeoJSON) and CVAT.

Whatever a file draws is understood or refused by its name and place, never skipped: a mask that
misses an object teaches the wrong thing silently. Which picture belongs to a drawing, and which
number to a label, is decided elsewhere. The files are treated as untrusted: their size, nesting,
numbers and types are checked before use.
"""

import base64
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from reprlib import repr as shortened
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from unetkit.data.annotations.documents import (
    LARGEST_NUMBER,
    at,
    attribute,
    filled_list,
    get,
    load_document,
    number,
    refusal,
    whole,
)
from unetkit.data.annotations.polygons import (
    Drawing,
    Rings,
    RunLengths,
    Shape,
    box,
    coco_counts,
    ellipse,
    mask_runs,
    run_lengths,
    turned,
)
from unetkit.data.classes import LONGEST_NAME
from unetkit.errors import DataError

ANNOTATION_SUFFIXES = (".json", ".geojson", ".xml")
UNLABELLED = "object"  # label of a GeoJSON feature without a class or a name
NO_AREA = ("tag", "points", "polyline", "skeleton", "cuboid")  # types of CVAT labels


@dataclass(frozen=True, eq=False)
class Annotations:
    """What an annotation file holds.

    Args:
        format: "coco", "labelme", "geojson" or "cvat".
        labels: COCO, CVAT: all that the file lists, in its order, used or not. LabelMe, GeoJSON,
            which list none: those that occur, sorted.
        drawings: One for each image, also where nothing is drawn.
    """

    format: str
    labels: tuple[str, ...]
    drawings: tuple[Drawing, ...]


def annotation_format(path: str | Path) -> str | None:
    """Format of a file by its content: "coco", "labelme", "geojson", "cvat", None for another.

    Raises:
        DataNotFoundError, DataError: The file is absent, too large, or no sound JSON or XML.
    """
    path = Path(path)
    with at(str(path)):
        return _recognise(_load(path), path)


def read_annotations(path: str | Path) -> Annotations:
    """Reads all that a file draws.

    COCO's crowds lie below its single objects, which keep the file's order; CVAT's shapes lie by
    z_order. Of GeoJSON, the nuclei within QuPath's cells and the planes of stacks are not read.

    Raises:
        DataNotFoundError, DataError: The file is absent, damaged, of no known format, or holds what
            cannot be filled; the message names the file and the place.

    Source: cocodataset.org, "Data format"; labelme, `examples/labelme_io.py`; RFC 7946 and QuPath,
        `GsonTools`; docs.cvat.ai, "XML annotation format", version 1.1.
    """
    path = Path(path)
    with at(str(path)):
        document = _load(path)
        format = _recognise(document, path)
        if format is None:
            raise DataError(
                "it is of no known format; accepted are COCO (instances), LabelMe, GeoJSON "
                "(features) and CVAT for images 1.1; export in one of these"
            )
        labels, drawings = READERS[format](document)
        for name, count in Counter(drawing.image for drawing in drawings).most_common(1):
            if count > 1:
                raise DataError(
                    f"image {name!r} has {count} entries; accepted is one an image; merge them"
                )
    found = tuple(replace(drawing, source=str(path)) for drawing in drawings)
    return Annotations(format, tuple(dict.fromkeys(labels)), found)


def _load(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix not in ANNOTATION_SUFFIXES:
        raise refusal(
            "the suffix", suffix, f"are {', '.join(ANNOTATION_SUFFIXES)}", "export it again"
        )
    return load_document(path)


def _recognise(document: Any, path: Path) -> str | None:
    if isinstance(document, Element):
        known = {"version", "meta", "image", "track"} & {child.tag for child in document}
        return "cvat" if document.tag == "annotations" and known else None
    if isinstance(document, list):
        if not document:
            return "geojson" if path.suffix.lower() == ".geojson" else None
        first = document[0]
        return "geojson" if isinstance(first, dict) and first.get("type") == "Feature" else None
    if not isinstance(document, dict):
        return None
    if document.get("type") in ("FeatureCollection", "Feature"):
        return "geojson"
    if "images" in document and "annotations" in document:
        return "coco"
    return "labelme" if "shapes" in document else None


def _label(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= LONGEST_NAME:
        accepted = f"are 1 to {LONGEST_NAME} printable characters"
        raise refusal("the label", value, accepted, "rename it")
    return value


def _image_name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch("[^\0-\x1f\ud800-\udfff]{0,1000}", value):
        raise refusal("the image's name", value, "is the name of a file")
    return value.replace("\\", "/")


def _image_size(record: dict, height: str, width: str) -> tuple[int, int] | None:
    if record.get(height) is None and record.get(width) is None:
        return None
    return whole(record.get(height), height), whole(record.get(width), width)


def _points(numbers: Any) -> np.ndarray:
    """(N, 2) float64 of (row, column), from a list of x, y, x, y and so on."""
    if not isinstance(numbers, list) or len(numbers) % 2:
        raise refusal("an outline", numbers, "is a list of x and y in turn")
    limit = LARGEST_NUMBER
    strange = [n for n in numbers if type(n) not in (int, float) or not -limit <= n <= limit]
    if strange:
        raise refusal("a coordinate", strange[0], f"are numbers of pixels from -{limit} to {limit}")
    return np.array(numbers, np.float64).reshape(-1, 2)[:, ::-1]


def _ring(numbers: Any) -> np.ndarray:
    """As `_points`, without the point that closes the outline."""
    ring = _points(numbers)
    if len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < 3:
        raise DataError(
            f"an outline has {len(ring)} points; accepted are 3 or more; complete or remove it"
        )
    return ring


def _flat(positions: Any) -> list:
    """A list of x, y, x, y and so on, from a list of [x, y]; GeoJSON allows a height after them."""
    for position in filled_list(positions, "an outline"):
        if not isinstance(position, list) or len(position) not in (2, 3):
            raise refusal("a point", position, "is [x, y]")
    return [number for position in positions for number in position[:2]]


def _read_coco(document: dict) -> tuple[list[str], list[Drawing]]:
    labels: dict[int | str, str] = {}
    for identity, record in _by_id(document, "categories"):
        with at(f"category {shortened(identity)}"):
            labels[identity] = _label(record.get("name"))
    drawings: dict[int | str, Drawing] = {}
    shapes: dict[int | str, list[Shape]] = {}
    for identity, record in _by_id(document, "images"):
        with at(f"image {shortened(identity)}"):
            name = _image_name(record.get("file_name"))
            drawings[identity] = Drawing(name, _image_size(record, "height", "width"), ())
            shapes[identity] = []
    for identity, record in _by_id(document, "annotations"):
        with at(f"annotation {shortened(identity)}"):
            image = _known(record, "image_id", drawings)
            label = labels[_known(record, "category_id", labels)]
            shape = _coco_shape(record, label, drawings[image].size)
            shapes[image].append(shape)
            if isinstance(shape.parts[0], RunLengths):
                drawings[image] = replace(drawings[image], size=shape.parts[0].size)
    found = [
        replace(drawing, shapes=tuple(sorted(shapes[identity], key=lambda shape: not shape.crowd)))
        for identity, drawing in drawings.items()
    ]
    return list(labels.values()), found


def _by_id(document: dict, key: str) -> Iterator[tuple[int | str, dict]]:
    seen: set[int | str] = set()
    for place, record in enumerate(get(document, key, list), 1):
        with at(f"entry {place} of {key}"):
            identity = get(record, "id", int, str)
            if identity in seen:
                raise refusal("id", identity, "is one that no entry before has")
        seen.add(identity)
        yield identity, record


def _known(record: dict, key: str, known: Collection[int | str]) -> int | str:
    identity = get(record, key, int, str)
    if identity not in known:
        raise refusal(key, identity, f"are those listed, {shortened(list(known))}")
    return identity


def _coco_shape(record: dict, label: str, image_size: tuple[int, int] | None) -> Shape:
    crowd = record.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise refusal("iscrowd", crowd, "are 0 and 1")
    segmentation = get(record, "segmentation", list, dict)
    if isinstance(segmentation, list):
        outlines = filled_list(segmentation, "segmentation")
        return Shape(label, tuple((_ring(outline),) for outline in outlines), crowd=bool(crowd))
    size = tuple(whole(side, "a side of a mask") for side in get(segmentation, "size", list))
    if len(size) != 2 or size != (image_size or size):
        accepted = f"is the image's (height, width), {image_size or 'of two numbers'}"
        raise refusal("the size of a mask", size, accepted, "export it again")
    counts = get(segmentation, "counts", list, str)
    runs = run_lengths(counts if isinstance(counts, list) else coco_counts(counts), size)
    return Shape(label, (replace(runs, by_column=True),), crowd=bool(crowd))


def _read_labelme(document: dict) -> tuple[list[str], list[Drawing]]:
    image = _image_name(document.get("imagePath") or "")
    size = _image_size(document, "imageHeight", "imageWidth")
    shapes = []
    for place, record in enumerate(get(document, "shapes", list), 1):
        with at(f"shape {place}"):
            label = _label(get(record, "label", str))
            group = record.get("group_id")
            if group is not None:
                group = get(record, "group_id", int, str)
            shapes.append(Shape(label, (_labelme_part(record),), group))
    return sorted({shape.label for shape in shapes}), [Drawing(image, size, tuple(shapes))]


def _labelme_part(record: dict) -> Rings | RunLengths:
    kind = record.get("shape_type") or "polygon"  # old files do not say
    if kind not in ("polygon", "rectangle", "oriented_rectangle", "circle", "mask"):
        accepted = "are polygon, rectangle, oriented_rectangle, circle and mask"
        raise refusal("shape_type", kind, accepted, "redraw or remove the shape")
    numbers = _flat(record.get("points"))
    if kind in ("polygon", "oriented_rectangle") or (kind == "rectangle" and len(numbers) == 8):
        return (_ring(numbers),)
    points = _points(numbers)
    if len(points) != 2:
        raise DataError(
            f"a {kind} has {len(points)} points; accepted are 2; redraw or remove the shape"
        )
    if kind == "rectangle":
        return (box(points),)
    if kind == "circle":
        return (ellipse(points[0], np.full(2, np.hypot(*(points[1] - points[0])))),)
    (top, left), (bottom, right) = points.astype(int).tolist()  # cut to whole, as LabelMe does
    size = whole(bottom - top + 1, "mask's height"), whole(right - left + 1, "mask's width")
    return replace(mask_runs(_png(get(record, "mask", str), size)), corner=(top, left))


def _png(text: str, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of a mask's picture."""
    try:
        data = io.BytesIO(base64.b64decode(text, validate=True))
        with Image.open(data, formats=["PNG"]) as picture:
            if picture.size != size[::-1] or len(picture.getbands()) != 1:
                raise ValueError(f"{picture.height} x {picture.width}, {picture.mode}")
            return np.asarray(picture).astype(bool)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(
            f"mask cannot be read ({error}); accepted is a PNG of {size[0]} x {size[1]} pixels "
            "with one channel; redraw or remove the shape"
        ) from error


def _read_geojson(document: Any) -> tuple[list[str], list[Drawing]]:
    if isinstance(document, dict):
        alone = document.get("type") == "Feature"
        document = [document] if alone else get(document, "features", list)
    shapes: list[Shape] = []
    waiting = document[::-1]
    while waiting:
        record = waiting.pop()
        with at(f"feature {len(shapes) + 1}"):
            if get(record, "type", str) != "Feature":
                raise refusal("type", record["type"], "is Feature")
            properties = record.get("properties")
            properties = {} if properties is None else get(record, "properties", dict)
            parts = _geojson_parts(get(record, "geometry", dict))
            shapes.append(Shape(_geojson_label(properties), parts))
            if "childObjects" in properties:  # QuPath's hierarchy: a child lies on its parent
                waiting += get(properties, "childObjects", list)[::-1]
    return sorted({shape.label for shape in shapes}), [Drawing("", None, tuple(shapes))]


def _geojson_parts(geometry: dict) -> tuple[Rings, ...]:
    kind = get(geometry, "type", str)
    if kind not in ("Polygon", "MultiPolygon"):
        accepted = "are Polygon and MultiPolygon"
        raise refusal("the geometry", kind, accepted, "redraw or remove the feature")
    coordinates = filled_list(geometry.get("coordinates"), "coordinates")
    return tuple(
        tuple(_ring(_flat(ring)) for ring in filled_list(polygon, "a polygon"))
        for polygon in ([coordinates] if kind == "Polygon" else coordinates)
    )


def _geojson_label(properties: dict) -> str:
    given = properties.get("classification")
    if isinstance(given, dict):
        # QuPath's derived classes: all names in a list; before version 0.4, each with its parent.
        names: list = []
        while isinstance(given, dict) and given:
            several = given.get("names")
            names[:0] = several if isinstance(several, list) else [given.get("name")]
            given = given.get("parentClass")
        given = ": ".join(map(_label, names))
    candidates = [given, *(properties.get(key) for key in ("label", "class", "name"))]
    label = next((value for value in candidates if value not in (None, "")), UNLABELLED)
    return _label(str(label) if type(label) is int else label)


def _read_cvat(root: Element) -> tuple[list[str], list[Drawing]]:
    if root.find("track") is not None:
        raise DataError(
            "it holds the tracks of a video; accepted is CVAT for images 1.1; export it as that"
        )
    labels = [
        _label(label.findtext("name"))
        for label in root.findall("meta/*/labels/label")
        if label.findtext("type") not in NO_AREA
    ]
    drawings = []
    for place, image in enumerate(root.findall("image"), 1):
        with at(f"image {place}"):
            height, width = (whole(attribute(image, name), name) for name in ("height", "width"))
            name = _image_name(image.get("name"))
            drawings.append(Drawing(name, (height, width), _cvat_shapes(image)))
    used = {shape.label for drawing in drawings for shape in drawing.shapes}
    return labels + sorted(used - set(labels)), drawings


def _cvat_shapes(image: Element) -> tuple[Shape, ...]:
    layers = []
    for place, element in enumerate(image, 1):
        if element.tag == "tag":  # of the whole image
            continue
        with at(f"element {place}, {shortened(element.tag)}"):
            group = whole(attribute(element, "group_id", "0"), "group_id", 0) or None
            shape = Shape(_label(element.get("label")), (_cvat_part(element),), group)
            layers.append((attribute(element, "z_order", "0"), shape))
    return tuple(shape for _, shape in sorted(layers, key=lambda layer: layer[0]))


def _cvat_part(element: Element) -> Rings | RunLengths:
    degrees = attribute(element, "rotation", "0")
    if element.tag == "box":
        corners = _points([attribute(element, name) for name in ("xtl", "ytl", "xbr", "ybr")])
        return (turned(box(corners), degrees),)
    if element.tag == "ellipse":
        centre, radii = _points([attribute(element, name) for name in ("cx", "cy", "rx", "ry")])
        return (turned(ellipse(centre, radii), degrees),)
    if element.tag == "polygon":
        pairs = [point.split(",") for point in element.get("points", "").split(";")]
        return (_ring([number(text, "a coordinate") for text in _flat(pairs)]),)
    if element.tag == "mask":
        height, width = (whole(attribute(element, name), name) for name in ("height", "width"))
        top, left = (whole(attribute(element, name), name, 0) for name in ("top", "left"))
        text = element.get("rle")
        try:
            counts = [int(run) for run in (text or "").split(",")]
        except ValueError:
            raise refusal("rle", text, "are whole numbers with commas", "export it again") from None
        return replace(run_lengths(counts, (height, width)), corner=(top, left))
    accepted = "are polygon, box, ellipse and mask"
    raise refusal("the kind", element.tag, accepted, "redraw or remove it")


READERS: dict[str, Callable[[Any], tuple[list[str], list[Drawing]]]] = {
    "coco": _read_coco,
    "labelme": _read_labelme,
    "geojson": _read_geojson,
    "cvat": _read_cvat,
}
