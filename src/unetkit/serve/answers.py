"""Kinds of answer: their names and media types, the choice by a client, and the JSON summary."""

import csv
from pathlib import Path
from typing import Any

from unetkit.data.classes import Classes
from unetkit.errors import DataError
from unetkit.prediction.predictor import Predictor
from unetkit.results.areas import count_classes
from unetkit.results.outputs import OUTPUTS, require_outputs
from unetkit.results.predicted_image import PredictedImage, ResultOptions
from unetkit.serve.limits import RefusedError

SUMMARY = "summary"
JSON = "application/json"
# Media type of each kind of answer: those of `results.outputs`, and a summary.
MEDIA_TYPES = {
    "mask": "image/png",
    "overlay": "image/png",
    "cutout": "image/png",
    "probabilities": "application/x-npz",
    "geojson": "application/geo+json",
    "objects": "image/tiff",
    "table": "text/csv",
    SUMMARY: JSON,
}


def outputs_of(predictor: Predictor) -> tuple[str, ...]:
    """Kinds of answer that a model can give, keys of `MEDIA_TYPES`."""
    found = []
    for name in MEDIA_TYPES:
        try:
            require_outputs(predictor, [] if name == SUMMARY else [name], "png", ResultOptions())
        except DataError:
            continue  # it needs a background class, or objects, which the model does not have
        found.append(name)
    return tuple(found)


def file_name(output: str) -> str:
    """Name under which a client may save an answer: as `unetkit predict` names it of `image`.

    >>> file_name("overlay"), file_name("summary")
    ('image_overlay.png', 'image.json')
    """
    return f"image{OUTPUTS[output].ending('png') if output in OUTPUTS else '.json'}"


def choose_output(output: str | None, accept: str | None, offered: tuple[str, ...]) -> str:
    """Returns the kind of answer that a request asks for.

    Args:
        output: Name in the query; None to choose by `accept`.
        accept: Header Accept; None for whatever is offered first.
        offered: Kinds of answer of the model.

    Raises:
        RefusedError: The name is unknown, or nothing of the accepted types is offered.

    >>> choose_output(None, "text/html, application/json;q=0.9, */*;q=0.1", ("mask", "summary"))
    'summary'
    """
    if output is not None:
        if output not in offered:
            raise RefusedError(
                422, f"output is {output!r:.60}; accepted with this model are {', '.join(offered)}"
            )
        return output
    for pattern in _by_preference(accept or "*/*"):
        for name in offered:
            if _matches(pattern, MEDIA_TYPES[name]):
                return name
    types = dict.fromkeys(MEDIA_TYPES[name] for name in offered)
    raise RefusedError(
        406,
        f"Accept is {accept!r:.100}; media types of this model's answers are {', '.join(types)}",
    )


def _by_preference(accept: str) -> list[str]:
    """Media types of a header Accept, the preferred first; those of weight 0 are left out.

    Source: RFC 9110, section 12.5.1.
    """
    found = []
    for part in accept.lower().split(","):
        pattern, *parameters = (piece.strip() for piece in part.split(";"))
        weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
        try:
            weight = float(weights[0]) if weights else 1.0
        except ValueError:
            weight = 0.0
        if pattern and weight > 0:
            found.append((weight, pattern))
    return [pattern for _, pattern in sorted(found, key=lambda item: -item[0])]


def _matches(pattern: str, media_type: str) -> bool:
    if pattern.endswith("/*"):
        return pattern == "*/*" or media_type.startswith(pattern[:-1])
    return pattern == media_type


def class_records(classes: Classes) -> list[dict[str, Any]]:
    """Name, index and colour of each class, as they stand in JSON."""
    return [
        {
            "index": index,
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*colour),
            "background": index == classes.background,
        }
        for index, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True))
    ]


def summarize(image: PredictedImage) -> dict[str, Any]:
    """What the JSON summary has of an image: its size, the areas of its classes, its objects."""
    counts = count_classes(image)
    height, width = image.size
    total = int(counts.sum())
    records = class_records(image.classes)
    for record, count in zip(records, counts.tolist(), strict=True):
        record["pixels"] = count
        record["fraction"] = count / total if total else None
    summary = {
        "height": height,
        "width": width,
        "pixels_without_data": height * width - total,
        "classes": records,
        "prediction": dict(image.metadata),
    }
    if image.objects is not None:
        summary["objects"] = _table_rows(image.objects.table)
    return summary


def kinds_of(output: str, has_objects: bool) -> tuple[str, ...]:
    """Kinds of output of the prediction that an answer is made from.

    Args:
        output: Kind of answer.
        has_objects: Whether the model tells objects apart.
    """
    if output in OUTPUTS:
        return (output,)
    return ("mask", "table") if has_objects else ("mask",)


def _table_rows(table: Path) -> list[dict[str, Any]]:
    """Rows of a table of objects, with numbers as numbers."""
    with open(table, newline="", encoding="utf-8") as file:
        return [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> str | int | float:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text
