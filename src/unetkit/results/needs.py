"""Memory that an ordinary image needs while it is predicted whole: its pixels and its results.

The image is decoded, brought to the model's scale, predicted, and drawn; several arrays of its size
exist at the same time. Images predicted by windows need none of this: see `large_images`.
"""

import math
from collections.abc import Iterable

from unetkit.models.spec import ModelSpec
from unetkit.results.outputs import needs_objects, needs_probabilities

FLOAT = 4  # bytes
REMAINING = 0.7  # of what decoding took, at most: pixels, and those that they are converted to
# Bytes per pixel of the image, beside its pixels and its probabilities.
DRAWING = 20  # labels, and the image in 8 bits and colour, drawn upon, and compressed
OBJECTS = 12  # numbers of objects, and maps by which they are told apart (docs/log.md, 2026-12-01)


def bytes_to_predict(
    decoding: int, size: tuple[int, int], spec: ModelSpec, kinds: Iterable[str], members: int = 1
) -> int:
    """Returns the most bytes that an image and its results take at the same time.

    Args:
        decoding: Bytes while it is decoded, as `ImageFile.needed_bytes` returns them.
        size: (height, width) of the image.
        spec: Metadata of the model.
        kinds: Kinds of output.
        members: Number of predictions that are averaged.
    """
    kinds = list(kinds)
    pixels, network = math.prod(size), math.prod(spec.scale.network_size(size))
    scores = FLOAT * spec.channels
    per_pixel = DRAWING
    if needs_probabilities(kinds, spec):
        per_pixel += 2 * scores
    if members > 1:  # the sum, its mean, and one of them
        per_pixel = max(per_pixel, DRAWING + 2 * scores) + scores
    if needs_objects(kinds, spec):
        per_pixel += OBJECTS
    if per_pixel > DRAWING or not spec.scale.is_pixel_by_pixel:
        network *= FLOAT * spec.pixels.channels + 3 * scores
    return max(decoding, round(REMAINING * decoding) + pixels * per_pixel + network)
