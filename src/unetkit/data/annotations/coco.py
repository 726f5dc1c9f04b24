"""Read instance annotations in the JSON format of COCO.

One file holds many images. Objects are polygons or run-length masks; crowds lie below single
objects, which keep the order of the file.

Source: cocodataset.org, "Data format".
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from reprlib import repr as shortened
from typing import Any

from unetkit.data.annotations.documents import OutlineError, at, get, refusal, whole
from unetkit.data.annotations.polygons import (
    ImageAnnotation,
    RunLengths,
    Shape,
    ShapeCollector,
    to_run_lengths,
)
from unetkit.data.annotations.values import to_image_name, to_image_size, to_label, to_ring


def is_coco(document: Any, suffix: str) -> bool:
    """Whether a JSON value is a COCO file."""
    return isinstance(document, dict) and "images" in document and "annotations" in document


def read_coco(document: dict) -> tuple[list[str], list[ImageAnnotation]]:
    """Returns the names of all categories, and one annotation for each image.

    Faults of entries that belong to no image are in an annotation without an image name.

    Raises:
        DataError: The categories or the lists of the document are damaged.
    """
    labels: dict[int | str, str] = {}
    for identity, record in _by_id(document, "categories"):
        with at(f"category {shortened(identity)}"):
            labels[identity] = to_label(record.get("name"))
    images: dict[int | str, tuple[str, tuple[int, int] | None]] = {}
    collectors: dict[int | str, ShapeCollector] = {}
    unplaced = ShapeCollector()  # what belongs to no image that is listed
    for identity, record in _by_id(document, "images", unplaced.reading):
        collectors[identity] = ShapeCollector()
        with unplaced.reading(f"image {shortened(identity)}"):
            images[identity] = to_image_name(record.get("file_name")), None
            with collectors[identity].reading(f"image {shortened(identity)}"):
                size = to_image_size(record, "height", "width")
                images[identity] = images[identity][0], size
    for place, record in enumerate(get(document, "annotations", list), 1):
        given = record if isinstance(record, dict) else {}
        owner, number = given.get("image_id"), given.get("id")
        collector = collectors.get(owner if isinstance(owner, int | str) else "", unplaced)
        named = f"annotation {shortened(number)}"
        with collector.reading(f"entry {place} of annotations" if number is None else named):
            image = _known(record, "image_id", collectors)
            label = labels[_known(record, "category_id", labels)]
            if image not in images:
                continue
            file_name, size = images[image]
            shape = _to_shape(record, label, size)
            collector.add(shape)
            if isinstance(shape.parts[0], RunLengths):
                images[image] = file_name, shape.parts[0].size
    found = [unplaced.collected("", None)] if unplaced.left_out or unplaced.problems else []
    for identity, (file_name, size) in images.items():
        collectors[identity].shapes.sort(key=lambda shape: not shape.crowd)
        found.append(collectors[identity].collected(file_name, size))
    return list(labels.values()), found


def _by_id(
    document: dict, key: str, reading: Callable[[str], AbstractContextManager] = at
) -> Iterator[tuple[int | str, dict]]:
    """Entries of a list by their id, each once; `reading` is the context in which one is read."""
    seen: set[int | str] = set()
    for place, record in enumerate(get(document, key, list), 1):
        identity = None
        with reading(f"entry {place} of {key}"):
            identity = get(record, "id", int, str)
            if identity in seen:
                raise refusal("id", identity, "is one that no entry before has")
        if identity is not None and identity not in seen:
            seen.add(identity)
            yield identity, record


def _known(record: dict, key: str, known: Collection[int | str]) -> int | str:
    identity = get(record, key, int, str)
    if identity not in known:
        raise refusal(key, identity, f"are those listed, {shortened(list(known))}")
    return identity


def _to_shape(record: dict, label: str, image_size: tuple[int, int] | None) -> Shape:
    crowd = record.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise refusal("iscrowd", crowd, "are 0 and 1")
    segmentation = record.get("segmentation")
    if not segmentation:  # an object with a box only
        raise OutlineError("it has no outline")
    segmentation = get(record, "segmentation", list, dict)
    if isinstance(segmentation, list):
        if isinstance(segmentation[0], int | float):
            raise OutlineError("its outline is not in a list of outlines")
        return Shape(label, tuple((to_ring(ring),) for ring in segmentation), crowd=bool(crowd))
    size = tuple(whole(side, "a side of a mask") for side in get(segmentation, "size", list))
    if len(size) != 2 or size != (image_size or size):
        accepted = f"is the image's (height, width), {image_size or 'of two numbers'}"
        raise refusal("the size of a mask", size, accepted, "export it again")
    counts = get(segmentation, "counts", list, str)
    runs = to_run_lengths(counts if isinstance(counts, list) else decode_counts(counts), size)
    return Shape(label, (replace(runs, by_column=True),), crowd=bool(crowd))


def decode_counts(text: str) -> list[int]:
    """Decodes the compressed run lengths of COCO.

    A number is a sequence of digits of 5 bits, the lowest first, each stored in a character from
    "0" (48) on. Bit 5 is set if another digit follows; bit 4 of the last digit is set if the number
    is negative. From the fourth number on, it is the difference to the run two before.

    Raises:
        DataError: A character is outside this alphabet, or a number is too long or incomplete.

    Source: cocoapi, `maskApi.c`, `rleFrString`.

    >>> decode_counts("132N")  # 1, 3, 2, and 3 - 2
    [1, 3, 2, 1]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            shift = 1  # as after an incomplete number
            break
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise refusal("counts", text, "is COCO's compressed text", "export it again")
    return counts
