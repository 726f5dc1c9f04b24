"""Read GeoJSON features as QuPath and GIS programs write them: polygons of one image.

A file names no image; it belongs to the image of its own name. Nuclei within QuPath's cells
(`nucleusGeometry`) and the planes of image stacks are not read.

Source: RFC 7946; QuPath, `GsonTools`.
"""

import itertools
from typing import Any

from unetkit.data.annotations.documents import OutlineError, filled_list, get, refusal
from unetkit.data.annotations.polygons import ImageAnnotation, Rings, Shape, ShapeCollector
from unetkit.data.annotations.values import flatten_points, to_label, to_ring
from unetkit.data.labels import UNCLASSIFIED

_NO_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")  # geometries


def is_geojson(document: Any, suffix: str) -> bool:
    """Whether a JSON value is a feature, a list or a collection of them.

    An empty list is one only in a file that ends in .geojson.
    """
    if isinstance(document, list):
        if not document:
            return suffix == ".geojson"
        return isinstance(document[0], dict) and document[0].get("type") == "Feature"
    kinds = ("FeatureCollection", "Feature")
    return isinstance(document, dict) and document.get("type") in kinds


def read_geojson(document: Any) -> tuple[list[str], list[ImageAnnotation]]:
    """Returns the labels that occur, sorted, and the annotation of the image.

    Raises:
        DataError: The document is damaged.
    """
    if isinstance(document, dict):
        is_single = document.get("type") == "Feature"
        document = [document] if is_single else get(document, "features", list)
    collector = ShapeCollector()
    waiting = document[::-1]
    numbers = itertools.count(1)
    while waiting:
        record = waiting.pop()
        with collector.reading(f"feature {next(numbers)}"):
            if get(record, "type", str) != "Feature":
                raise refusal("type", record["type"], "is Feature")
            properties = record.get("properties")
            properties = {} if properties is None else get(record, "properties", dict)
            if "childObjects" in properties:  # QuPath's hierarchy: a child lies on its parent
                waiting += get(properties, "childObjects", list)[::-1]
            parts = _to_parts(get(record, "geometry", dict))
            collector.add(Shape(_find_label(properties), parts))
    return sorted({shape.label for shape in collector.shapes}), [collector.collected("", None)]


def _to_parts(geometry: dict) -> tuple[Rings, ...]:
    kind = get(geometry, "type", str)
    if kind in _NO_AREA or not geometry.get("coordinates"):
        raise OutlineError("it has no area")
    if kind not in ("Polygon", "MultiPolygon"):
        accepted = "are Polygon and MultiPolygon"
        raise refusal("the geometry", kind, accepted, "redraw or remove the feature")
    coordinates = filled_list(geometry.get("coordinates"), "coordinates")
    return tuple(
        tuple(to_ring(flatten_points(ring)) for ring in filled_list(polygon, "a polygon"))
        for polygon in ([coordinates] if kind == "Polygon" else coordinates)
    )


def _find_label(properties: dict) -> str:
    given = properties.get("classification")
    if isinstance(given, dict):
        # QuPath's derived classes: all names in a list; before version 0.4, each with its parent.
        names: list = []
        while isinstance(given, dict) and given:
            several = given.get("names")
            names[:0] = several if isinstance(several, list) else [given.get("name")]
            given = given.get("parentClass")
        given = ": ".join(map(to_label, names))
    candidates = [given, *(properties.get(key) for key in ("label", "class", "name"))]
    label = next((value for value in candidates if value not in (None, "")), UNCLASSIFIED)
    return to_label(str(label) if type(label) is int else label)
