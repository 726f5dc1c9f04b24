"""Small annotation files of each format, what they fill, and ways to change them."""

import base64
import copy
import io
import json
import zlib
from typing import Any

import numpy as np
from PIL import Image

from unetkit.data.annotations.formats import AnnotationFile
from unetkit.data.annotations.polygons import rasterise

SIZE = (6, 8)
OUTLINE = [[2, 1], [5, 1], [5, 3], [2, 3]]  # x and y: rows 1 and 2, columns 2 to 4
HOLE = [[3, 1], [4, 1], [4, 2], [3, 2]]  # row 1, column 3
GONE = object()


def flat(points: list) -> list:
    return [number for point in points for number in point]


def png(rows: list[list[int]], mode: str = "L") -> str:
    stream = io.BytesIO()
    Image.fromarray(np.array(rows, np.uint8)).convert(mode).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def coco(*segmentations: Any, **more: Any) -> dict:
    """One image; its objects are cells, numbered from 11 on."""
    return {
        "images": [{"id": 1, "file_name": "folder/a.png", "height": 6, "width": 8}],
        "categories": [{"id": 3, "name": "cell"}, {"id": 1, "name": "wall"}],
        "annotations": [
            {"id": 11 + i, "image_id": 1, "category_id": 3, "segmentation": segmentation, **more}
            for i, segmentation in enumerate(segmentations)
        ],
    }


def labelme(*shapes: dict) -> dict:
    return {
        "version": "5.5.0",
        "imagePath": "..\\images\\a.png",
        "imageData": "AAAA",
        "imageHeight": 6,
        "imageWidth": 8,
        "shapes": [{"label": "cell", "group_id": None, **shape} for shape in shapes],
    }


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict:
    geometry = {"type": kind, "coordinates": coordinates}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


def collection(*features: dict) -> dict:
    return {"type": "FeatureCollection", "features": list(features)}


def cvat(*elements: str, labels: str = "<label><name>cell</name></label>") -> str:
    image = f'<image id="0" name="a.png" width="8" height="6">{"".join(elements)}</image>'
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return f"<annotations><version>1.1</version>{meta}{image}</annotations>"


def via(*shapes: dict, **attributes: Any) -> dict:
    regions = [
        {"shape_attributes": shape, "region_attributes": attributes or {"label": "cell"}}
        for shape in shapes
    ]
    return {"a.png123": {"filename": "a.png", "size": 123, "regions": regions}}


def supervisely(*objects: dict) -> dict:
    listed = [{"classTitle": "cell", **each} for each in objects]
    return {"description": "", "size": {"height": 6, "width": 8}, "objects": listed}


def deflated(rows: list[list[int]]) -> str:
    """A bitmap of Supervisely: base64 of a compressed PNG."""
    return base64.b64encode(zlib.compress(base64.b64decode(png(rows)))).decode()


def element(kind: str, **attributes: Any) -> str:
    given = {"label": "cell", "occluded": 0, "z_order": 0, **attributes}
    text = " ".join(f'{name}="{value}"' for name, value in given.items())
    return f"<{kind} {text}></{kind}>"


POINTS = ";".join(f"{x}.00,{y}.00" for x, y in OUTLINE)
# Everything that each format can draw, as a start for what may be wrong with it.
RICH = {
    "coco": coco(
        [flat(OUTLINE), [0.5, 0, 3, 0, 1, 4]],
        {"size": [6, 8], "counts": [1, 2, 45]},
        {"size": [6, 8], "counts": "12]1"},  # 1, 2, and 45 = 13 + 32 * 1: characters 93 and 49
        iscrowd=0,
    ),
    "labelme": labelme(
        {"shape_type": "polygon", "points": OUTLINE},
        {"shape_type": "rectangle", "points": [[1, 1], [3, 4]], "group_id": 2},
        {"shape_type": "circle", "points": [[3, 3], [3, 5]]},
        {"shape_type": "mask", "points": [[1, 2], [2, 2]], "mask": png([[1, 0]])},
    ),
    "geojson": collection(
        feature(
            [[*OUTLINE, OUTLINE[0]], HOLE], classification={"name": "cell", "color": [1, 2, 3]}
        ),
        feature([[OUTLINE], [HOLE]], "MultiPolygon", childObjects=[feature([HOLE], name="b")]),
        feature([OUTLINE], classification={"names": ["cell", "b"], "parentClass": {"name": "p"}}),
    ),
    "cvat": cvat(
        element("polygon", points=POINTS, group_id=4),
        element("box", xtl=2, ytl=1, xbr=5, ybr=3, rotation=30),
        element("ellipse", cx=3, cy=3, rx=2, ry=1),
        element("mask", rle="1, 2, 1", left=1, top=2, width=2, height=2),
    ),
}
RICH["via"] = via(
    {"name": "polygon", "all_points_x": [2, 5, 5, 2], "all_points_y": [1, 1, 3, 3]},
    {"name": "rect", "x": 1, "y": 1, "width": 2, "height": 3},
    {"name": "circle", "cx": 3, "cy": 3, "r": 2},
    {"name": "ellipse", "cx": 3, "cy": 3, "rx": 2, "ry": 1, "theta": 0.5},
)
RICH["supervisely"] = supervisely(
    {"geometryType": "polygon", "points": {"exterior": OUTLINE, "interior": [HOLE]}},
    {"geometryType": "rectangle", "points": {"exterior": [[1, 1], [3, 4]], "interior": []}},
    {"geometryType": "bitmap", "bitmap": {"origin": [1, 2], "data": deflated([[0, 255]])}},
)
RICH["yolo"] = "0 0.25 0.2 0.75 0.2 0.75 0.6 0.25 0.6\n1 .1 .1 .9 .1 .5 .9\n"
RICH["kaggle"] = "ImageId,EncodedPixels,ClassId\na.png,8 2 14 2,1\na.png,20 3,2\nb.png,,\n"
SUFFIXES = {
    **dict.fromkeys(RICH, ".json"),
    "geojson": ".geojson",
    "cvat": ".xml",
    "yolo": ".txt",
    "kaggle": ".csv",
}


def as_text(format: str) -> str:
    """The file of `RICH` as text."""
    content = RICH[format]
    return content if isinstance(content, str) else json.dumps(content)


def pixels(file: AnnotationFile) -> list[list[int]]:
    """The first image as rows of 0 and 1."""
    values = dict.fromkeys(file.labels, 1)
    return rasterise(file.annotations[0], SIZE, values).tolist()


def faults(file: AnnotationFile) -> dict[str, list[str]]:
    """All faults of a file, by what each costs: a shape, an image, or nothing that is used."""
    return {
        "shape": [text for each in file.annotations for text in each.left_out],
        "image": [text for each in file.annotations for text in each.problems],
        "nothing": list(file.unplaced),
    }


def rectangle(rows: slice, columns: slice) -> list[list[int]]:
    drawn = np.zeros(SIZE, int)
    drawn[rows, columns] = 1
    return drawn.tolist()


def changed(document: Any, *path: Any, to: Any = GONE) -> Any:
    """A copy with another value at a path, or without one."""
    result = copy.deepcopy(document)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    if to is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return result
