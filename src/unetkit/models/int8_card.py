"""What a model file of whole numbers says of itself: its original, and what rounding cost.

It stands in the metadata beside the description of the model, under a key of its own. Model files
are not trusted, so every value is checked when it is read.
"""

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec

from unetkit._shared.records import convert, parse_json, refusing
from unetkit._shared.wording import format_count
from unetkit.errors import ModelFileError

INT8_KEY = "unetkit.int8"  # of the entry in the metadata
LONGEST_CARD = 1 << 12  # characters

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 32)]


@dataclass(frozen=True)
class Int8Card:
    """How a network was rounded to 8 bits, and how it scores beside the original.

    Args:
        original: SHA-256 of the model file that was rounded, in hexadecimal.
        calibration_images: Number of training images that ranges of features were taken from.
        validation_images: Number of validation images that both networks were scored on.
        mean_iou: Mean IoU of the rounded network on them, from one confusion matrix.
        original_mean_iou: Mean IoU of the original on them.
        equal_labels: Fraction of their pixels to which both give the same class.
    """

    original: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    calibration_images: Count
    validation_images: Count
    mean_iou: Fraction
    original_mean_iou: Fraction
    equal_labels: Fraction

    def to_json(self) -> str:
        """The card as it stands in the metadata of a model file."""
        return json.dumps(asdict(self))

    def describe(self) -> str:
        """What rounding cost, in one line.

        >>> Int8Card("0" * 64, 64, 9, 0.73, 0.74, 0.993).describe().split("; ")[1]
        '99.30 % of labels are equal'
        """
        return (
            f"mean IoU {self.mean_iou:.4f} on "
            f"{format_count(self.validation_images, 'validation image')}, of the original "
            f"{self.original_mean_iou:.4f}; {100 * self.equal_labels:.2f} % of labels are equal"
        )


def card_from_json(text: str, source: str) -> Int8Card:
    """Reads a card as `Int8Card.to_json` writes it; any other text is refused.

    Args:
        text: Entry of the metadata of a model file.
        source: Name of the file for error messages.

    Raises:
        ModelFileError: The text is not such JSON, or a value is out of bounds.
    """
    remedy = "accepted are models that unetkit exported; export it again from its run folder"
    with refusing(source, remedy, ModelFileError):
        return convert(parse_json(text[:LONGEST_CARD]), Int8Card)
