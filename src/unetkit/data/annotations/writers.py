"""Write shapes as GeoJSON, COCO, YOLO and LabelMe, which fill the same pixels when they are read.

Coordinates are those of `polygons`: continuous, along the edges of pixels. A hole is a ring of its
own in GeoJSON and run lengths in COCO. YOLO and LabelMe have one ring for a shape: it goes to each
hole and back on the same line, which encloses nothing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unetkit._shared.files import write_atomically

LABELME_VERSION = "5.5.0"  # of the form of the files, which LabelMe asks for


@dataclass(frozen=True, eq=False)
class Drawn:
    """A shape to be written.

    Args:
        category: Index of its class.
        polygons: Rings of each part, the outer one first and then those of its holes; a ring is
            (N, 2) rows and columns, the first not repeated.
        number: Number of the object; None for a region of a class.
    """

    category: int
    polygons: Sequence[Sequence[np.ndarray]]
    number: int | None = None

    @property
    def has_holes(self) -> bool:
        return any(len(rings) > 1 for rings in self.polygons)


@dataclass(frozen=True)
class Place:
    """Where pixels of a map are.

    Args:
        matrix: x and y of (column, row, 1), (2, 3) float64; (0, 0) is the upper left corner of the
            first pixel.
        epsg: Code of the coordinate system; None if it is not known.
    """

    matrix: np.ndarray
    epsg: int | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """What files say of the image that shapes belong to.

    Args:
        path: Path of the image, from the file that is written.
        size: (height, width) in pixels.
        names: Names of the classes.
        colours: Their colours, (red, green, blue) from 0 to 255.
        metadata: How the shapes were made.
        place: Where the pixels of a map are; None for an image that is no map.
    """

    path: str
    size: tuple[int, int]
    names: Sequence[str]
    colours: Sequence[Sequence[int]]
    metadata: Mapping[str, Any]
    place: Place | None = None


def write_geojson(file: Path, image: AnnotatedImage, shapes: Iterable[Drawn]) -> None:
    """Writes GeoJSON as QuPath, Fiji and, with a place, programs for maps take it."""
    write_json(file, *geojson_of(image, shapes))


def geojson_of(
    image: AnnotatedImage, shapes: Iterable[Drawn]
) -> tuple[dict[str, Any], dict[str, Iterator[dict[str, Any]]]]:
    """The members of a GeoJSON object, and those that are lists.

    Source: RFC 7946; GeoJSON 2008, section 3, for "crs"; QuPath, "Exporting annotations".
    """
    place = image.place
    head: dict[str, Any] = {"type": "FeatureCollection"}
    if place is not None and place.epsg is not None:
        name = f"urn:ogc:def:crs:EPSG::{place.epsg}"
        head["crs"] = {"type": "name", "properties": {"name": name}}
    if image.metadata:
        head["unetkit"] = dict(image.metadata)
    return head, {"features": (_feature(shape, image) for shape in shapes)}


def _feature(shape: Drawn, image: AnnotatedImage) -> dict[str, Any]:
    parts = [[_closed(ring, image.place) for ring in rings] for rings in shape.polygons]
    properties: dict[str, Any] = {
        "objectType": "annotation" if shape.number is None else "detection",
        "classification": {
            "name": image.names[shape.category],
            "color": list(image.colours[shape.category]),
        },
    }
    if shape.number is not None:
        properties["number"] = shape.number
    geometry = {"type": "Polygon", "coordinates": parts[0]}
    if len(parts) > 1:
        geometry = {"type": "MultiPolygon", "coordinates": parts}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def write_coco(file: Path, image: AnnotatedImage, shapes: Iterable[Drawn]) -> None:
    """Writes COCO: polygons, and run lengths for shapes with holes.

    Source: COCO, "Data format".
    """
    height, width = image.size
    head = {
        "info": {"description": "predicted by unetkit", "unetkit": dict(image.metadata)},
        "images": [{"id": 1, "file_name": image.path, "width": width, "height": height}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(image.names)],
    }

    def annotations() -> Iterator[dict[str, Any]]:
        for number, shape in enumerate(shapes, start=1):
            rings = [ring for polygon in shape.polygons for ring in polygon]
            points = np.concatenate([polygon[0] for polygon in shape.polygons])
            (top, left), (bottom, right) = points.min(axis=0), points.max(axis=0)
            outlines: Any = [_flat(ring) for ring in rings]
            if shape.has_holes:
                outlines = {"size": [height, width], "counts": run_lengths(rings, image.size)}
            yield {
                "id": number,
                "image_id": 1,
                "category_id": shape.category,
                "bbox": _numbers([left, top, right - left, bottom - top]),
                "area": _number(sum(map(signed_area, rings))),
                "iscrowd": 0,
                "segmentation": outlines,
            }

    write_json(file, head, {"annotations": annotations()})


def write_labelme(file: Path, image: AnnotatedImage, shapes: Iterable[Drawn]) -> None:
    """Writes the JSON of LabelMe; parts of one object have the same `group_id`."""
    head: dict[str, Any] = {
        "version": LABELME_VERSION,
        "flags": {},
        "imagePath": image.path,
        "imageData": None,
        "imageHeight": image.size[0],
        "imageWidth": image.size[1],
    }

    def records() -> Iterator[dict[str, Any]]:
        for shape in shapes:
            for rings in shape.polygons:
                yield {
                    "label": image.names[shape.category],
                    "points": [_numbers(point[::-1]) for point in joined(rings)],
                    "group_id": shape.number,
                    "shape_type": "polygon",
                    "flags": {},
                }

    write_json(file, head, {"shapes": records()})


def write_yolo(file: Path, image: AnnotatedImage, shapes: Iterable[Drawn]) -> None:
    """Writes a line for each shape: the index of its class, and x and y as fractions of the size.

    Source: Ultralytics, "Instance segmentation datasets".
    """
    height, width = image.size

    def write(part: Path) -> None:
        with open(part, "w", encoding="utf-8", newline="\n") as lines:
            for shape in shapes:
                ring = joined([ring for rings in shape.polygons for ring in rings])
                fractions = (ring[:, ::-1] / (width, height)).ravel().tolist()
                lines.write(" ".join([str(shape.category), *map(repr, fractions)]) + "\n")

    write_atomically(file, write)


def joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """One ring that encloses the same as several: it goes to each of them and back on one line.

    Args:
        rings: Rings, (N, 2) each.

    Returns:
        (n, 2).
    """
    whole = rings[0]
    for ring in rings[1:]:
        near = int(np.argmin(np.square(whole - ring[0]).sum(axis=1)))
        whole = np.concatenate([whole[: near + 1], ring, ring[:1], whole[near:]])
    return whole


def run_lengths(rings: Sequence[np.ndarray], size: tuple[int, int]) -> list[int]:
    """Lengths of runs of pixels outside and inside, down the columns, outside first.

    Args:
        rings: Rings along the edges of pixels, or simplified ones, (N, 2) each.
        size: (height, width) of the image.
    """
    height, width = size
    crossings = []
    for ring in rings:
        start, end = ring.astype(np.float64), np.roll(ring, -1, axis=0).astype(np.float64)
        for (row, column), (last_row, last_column) in zip(start, end, strict=True):
            if column == last_column:
                continue
            low, high = sorted((column, last_column))
            columns = np.arange(np.ceil(low - 0.5), np.ceil(high - 0.5))  # centres in between
            rows = row + (columns + 0.5 - column) * (last_row - row) / (last_column - column)
            crossings.append(columns * height + np.ceil(rows - 0.5))  # first centre below
    places = np.sort(np.concatenate([*crossings, [0.0, float(height * width)]])).astype(np.int64)
    lengths = np.diff(places).tolist()
    counts = lengths[:1]
    for place in range(1, len(lengths)):  # runs without a pixel join those around them
        if lengths[place] == 0 and place < len(lengths) - 1:
            lengths[place + 1] += counts.pop()
        elif lengths[place]:
            counts.append(lengths[place])
    return [int(count) for count in counts]


def signed_area(ring: np.ndarray) -> float:
    """Area inside a ring, below zero for holes."""
    rows, columns = ring[:, 0].astype(np.float64), ring[:, 1].astype(np.float64)
    return float(columns @ np.roll(rows, -1) - rows @ np.roll(columns, -1)) / 2


def _closed(ring: np.ndarray, place: Place | None) -> list[list[float]]:
    """x and y of a ring, with the first point again at the end; outer rings counter-clockwise."""
    points = np.concatenate([ring, ring[:1]])[:, ::-1]
    if place is not None:
        points = points @ place.matrix[:, :2].T + place.matrix[:, 2]
        if np.linalg.det(place.matrix[:, :2]) < 0:
            points = points[::-1]
    return [_numbers(point) for point in points]


def _flat(ring: np.ndarray) -> list[float]:
    return _numbers(ring[:, ::-1].ravel())


def _numbers(values: Iterable[Any]) -> list[float]:
    return [_number(value) for value in values]


def _number(value: Any) -> float:
    """An integer where it is one, which is shorter."""
    return int(value) if value == int(value) else float(value)


def write_json(file: Path, head: Mapping[str, Any], lists: Mapping[str, Iterator[Any]]) -> None:
    """Writes an object whose lists may be longer than memory, a line for each of their items.

    Args:
        file: File to write or replace.
        head: All other members.
        lists: Items of each list.
    """

    def write(part: Path) -> None:
        with open(part, "w", encoding="utf-8", newline="\n") as text:
            text.write(json.dumps(head, ensure_ascii=False)[:-1])
            for name, items in lists.items():
                text.write(f', "{name}": [')
                for number, item in enumerate(items):
                    text.write((",\n" if number else "\n") + json.dumps(item, ensure_ascii=False))
                text.write("\n]")
            text.write("}\n")

    write_atomically(file, write)
