"""Annotation files of other tools: which format a file has, and the shapes in it.

The format follows from the content. A shape without an area is left out and named; any other fault
makes its image unusable, because a mask that misses an object trains a wrong model without any sign
of it. Other images of the file are not affected. Files may come from anyone: size, nesting, numbers
and types are checked before use.

A format is a file of this package and an entry in ANNOTATION_FORMATS. `masks` and `pairing` decide
which image an annotation belongs to, `classes` which value a label gets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unetkit.data.annotations.coco import is_coco, read_coco
from unetkit.data.annotations.cvat import is_cvat, read_cvat
from unetkit.data.annotations.documents import at, load_document, refusal
from unetkit.data.annotations.geojson import is_geojson, read_geojson
from unetkit.data.annotations.kaggle import is_run_lengths, read_run_lengths
from unetkit.data.annotations.labelme import is_labelme, read_labelme
from unetkit.data.annotations.polygons import ImageAnnotation
from unetkit.data.annotations.supervisely import is_supervisely, read_supervisely
from unetkit.data.annotations.via import is_via, read_via
from unetkit.data.annotations.yolo import find_yolo_names, is_yolo, read_yolo
from unetkit.errors import DataError


@dataclass(frozen=True)
class AnnotationFormat:
    """How files of a format are recognised and read.

    Args:
        title: Name of the format in messages.
        suffixes: Endings of its files, in lower case.
        matches: Whether a loaded document, in a file of this suffix, is of the format.
        read: Returns labels and annotations of a loaded document.
        has_many_images: Whether a file may hold the annotations of many images.
        find_names: Returns the names of labels that are numbers, from files beside a file.
    """

    title: str
    suffixes: tuple[str, ...]
    matches: Callable[[Any, str], bool]
    read: Callable[[Any], tuple[list[str], list[ImageAnnotation]]]
    has_many_images: bool = False
    find_names: Callable[[Path], dict[str, str]] | None = None


_JSON = (".json", ".geojson")
# In the order in which they are tried.
ANNOTATION_FORMATS: dict[str, AnnotationFormat] = {
    "geojson": AnnotationFormat("GeoJSON (features)", _JSON, is_geojson, read_geojson),
    "coco": AnnotationFormat("COCO (instances)", _JSON, is_coco, read_coco, has_many_images=True),
    "labelme": AnnotationFormat("LabelMe", _JSON, is_labelme, read_labelme),
    "cvat": AnnotationFormat(
        "CVAT for images 1.1", (".xml",), is_cvat, read_cvat, has_many_images=True
    ),
    "supervisely": AnnotationFormat("Supervisely", _JSON, is_supervisely, read_supervisely),
    "via": AnnotationFormat("VGG Image Annotator", _JSON, is_via, read_via, has_many_images=True),
    "yolo": AnnotationFormat(
        "YOLO segmentation", (".txt",), is_yolo, read_yolo, find_names=find_yolo_names
    ),
    "kaggle": AnnotationFormat(
        "Kaggle run lengths", (".csv",), is_run_lengths, read_run_lengths, has_many_images=True
    ),
}
ANNOTATION_SUFFIXES = tuple(
    dict.fromkeys(suffix for format in ANNOTATION_FORMATS.values() for suffix in format.suffixes)
)


@dataclass(frozen=True, eq=False)
class AnnotationFile:
    """Content of an annotation file.

    Args:
        format: Key of the format in ANNOTATION_FORMATS.
        labels: Labels that the file lists, in its order, used or not (COCO, CVAT); of formats that
            list none (LabelMe, GeoJSON), those that occur, sorted.
        annotations: One for each image, including images without a shape.
        unplaced: Descriptions of entries that belong to no image, which are left out.
    """

    format: str
    labels: tuple[str, ...]
    annotations: tuple[ImageAnnotation, ...]
    unplaced: tuple[str, ...] = ()


def annotation_format(path: str | Path) -> str | None:
    """Returns the format of a file, a key of ANNOTATION_FORMATS; None if its content is of none.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The file is too large or damaged, or has another suffix.
    """
    path = Path(path)
    with at(str(path)):
        return _recognise(_load(path), path)


def read_annotations(path: str | Path) -> AnnotationFile:
    """Reads all labels and shapes of an annotation file.

    Raises:
        DataNotFoundError: The file does not exist.
        DataError: The file is too large or damaged, is of no known format, or is of one image and
            holds a shape that cannot be read; the message names the place.
    """
    path = Path(path)
    with at(str(path)):
        document = _load(path)
        format = _recognise(document, path)
        if format is None:
            *titles, last = (known.title for known in ANNOTATION_FORMATS.values())
            raise DataError(
                f"it is of no known format; accepted are {', '.join(titles)} and {last}; export in "
                "one of these"
            )
        labels, annotations = ANNOTATION_FORMATS[format].read(document)
        find_names = ANNOTATION_FORMATS[format].find_names
        if find_names is not None:
            labels, annotations = _with_names(annotations, labels, find_names(path))
        has_many_images = ANNOTATION_FORMATS[format].has_many_images
        if not has_many_images and annotations[0].problems:
            raise DataError(annotations[0].problems[0])
    found = tuple(replace(annotation, source=str(path)) for annotation in annotations)
    without_image = [each for each in found if has_many_images and not each.image]
    return AnnotationFile(
        format,
        tuple(dict.fromkeys(labels)),
        tuple(each for each in found if each not in without_image),
        tuple(text for each in without_image for text in (*each.left_out, *each.problems)),
    )


def _with_names(
    annotations: list[ImageAnnotation], labels: list[str], names: Mapping[str, str]
) -> tuple[list[str], list[ImageAnnotation]]:
    """Labels and annotations with names in place of numbers; "class 3" where there are none."""
    unknown = [label for label in labels if label not in names] if names else []
    if unknown:
        raise refusal("the class", unknown[0], f"are those with a name, {', '.join(names)}")
    shown = {label: names.get(label, f"class {label}") for label in labels}
    renamed = [
        replace(each, shapes=tuple(replace(s, label=shown[s.label]) for s in each.shapes))
        for each in annotations
    ]
    return [shown[label] for label in labels], renamed


def _load(path: Path) -> Any:
    suffix = path.suffix.lower()
    if suffix not in ANNOTATION_SUFFIXES:
        accepted = f"are {', '.join(ANNOTATION_SUFFIXES)}"
        raise refusal("the suffix", suffix, accepted, "export it again")
    return load_document(path)


def _recognise(document: Any, path: Path) -> str | None:
    suffix = path.suffix.lower()
    for name, format in ANNOTATION_FORMATS.items():
        if suffix in format.suffixes and format.matches(document, suffix):
            return name
    return None
