"""Polygons of a predicted image: the regions of its classes or, where there are any, its objects.

`objects.outlines` finds outlines by windows, `data.annotations.writers` knows the formats.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from unetkit.data.annotations import writers
from unetkit.data.annotations.writers import AnnotatedImage, Drawn, Place
from unetkit.objects.outlines import Region, find_regions, simplify
from unetkit.prediction.predictor import NODATA_LABEL
from unetkit.results.predicted_image import PredictedImage

TRACED_PIXELS = 1 << 20  # read at once
SCALE, TIE_POINTS, MATRIX, KEYS = 33550, 33922, 34264, 34735  # tags of GeoTIFF
RASTER_TYPE, GEOGRAPHIC, PROJECTED = 1025, 2048, 3072  # keys of GeoTIFF
PIXEL_IS_POINT = 2  # value of RASTER_TYPE: places are those of the centres of pixels
USER_DEFINED = 32767  # value of a coordinate system without a code


def find_shapes(image: PredictedImage) -> Iterator[Drawn]:
    """Finds the shapes of an image, exact or simplified by at most `options.simplify` pixels."""
    background = image.classes.background
    skipped = {NODATA_LABEL} if background is None else {NODATA_LABEL, background}

    def read(rows: slice, columns: slice) -> np.ndarray:
        window = image.window(rows, columns)
        return window.labels if image.objects is None else window.object_numbers

    regions = find_regions(
        read,
        image.size,
        skipped if image.objects is None else {0},
        band_rows=max(1, TRACED_PIXELS // image.size[1]),
        most_bytes=image.most_bytes,
    )
    if image.objects is None:
        for region in regions:
            yield Drawn(region.label, [_rings(region, image)])
        return
    for number, parts in groupby(regions, lambda region: region.label):
        polygons = [_rings(region, image) for region in parts]
        yield Drawn(image.objects.classes[number - 1], polygons, number)


def _rings(region: Region, image: PredictedImage) -> list[np.ndarray]:
    return [simplify(ring, image.options.simplify) for ring in region.rings]


def place_of(geotags: Mapping[int, tuple[Any, int, Any]]) -> Place | None:
    """Where the pixels of a GeoTIFF are; None if its tags do not say it.

    Args:
        geotags: {code: (type, count, value)} of the file.

    Source: OGC GeoTIFF 1.1, sections 7.1 and B.6.
    """
    keys = list(geotags[KEYS][2]) if KEYS in geotags else []
    values = {keys[at]: keys[at + 3] for at in range(4, len(keys) - 3, 4) if keys[at + 1] == 0}
    if MATRIX in geotags:
        matrix = np.reshape(np.asarray(geotags[MATRIX][2], np.float64), (4, 4))[:2][:, [0, 1, 3]]
    elif SCALE in geotags and TIE_POINTS in geotags:
        across, down = geotags[SCALE][2][:2]
        column, row, _, x, y = geotags[TIE_POINTS][2][:5]
        matrix = np.array([[across, 0, x - column * across], [0, -down, y + row * down]])
    else:
        return None
    if values.get(RASTER_TYPE) == PIXEL_IS_POINT:
        matrix[:, 2] -= matrix[:, :2].sum(axis=1) / 2
    code = values.get(PROJECTED, values.get(GEOGRAPHIC, USER_DEFINED))
    return Place(matrix, None if code in (0, USER_DEFINED) else int(code))


def _write(write: Callable[..., None], file: Path, image: PredictedImage) -> None:
    described = AnnotatedImage(
        image.path,
        image.size,
        image.classes.names,
        image.classes.colours,
        image.metadata,
        place_of(image.source.geotags),
    )
    write(file, described, find_shapes(image))


# End of the file name, suffix, and writer of each format.
POLYGONS: dict[str, tuple[str, str, Callable[[Path, PredictedImage], None]]] = {
    "geojson": ("", ".geojson", partial(_write, writers.write_geojson)),
    "coco": ("_coco", ".json", partial(_write, writers.write_coco)),
    "yolo": ("", ".txt", partial(_write, writers.write_yolo)),
    "labelme": ("", ".json", partial(_write, writers.write_labelme)),
}
