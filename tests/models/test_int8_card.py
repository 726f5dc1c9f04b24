"""What a rounded network says of itself, from a file that nobody vouches for."""

import json

import pytest

from unetkit.errors import ModelFileError
from unetkit.models.int8_card import LONGEST_CARD, Int8Card, card_from_json

CARD = Int8Card("0a" * 32, 64, 57, 0.7312, 0.7321, 0.99342)


def test_it_comes_back():
    assert card_from_json(CARD.to_json(), "m.onnx") == CARD


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"original": "x" * 64}, "original"),
        ({"calibration_images": 0}, "calibration_images"),
        ({"validation_images": 1.5}, "validation_images"),
        ({"mean_iou": float("nan")}, "m.onnx"),
        ({"original_mean_iou": -0.1}, "original_mean_iou"),
        ({"equal_labels": 2}, "equal_labels"),
        ({"equal_labels": "all"}, "equal_labels"),
    ],
)
def test_any_other_value_is_refused(change, words):
    text = json.dumps({**json.loads(CARD.to_json()), **change})
    with pytest.raises(ModelFileError, match=rf"{words}.*; accepted are models that unetkit"):
        card_from_json(text, "m.onnx")


@pytest.mark.parametrize("text", ["", "[]", "{}", " " * LONGEST_CARD + CARD.to_json()])
def test_another_text_is_refused(text):
    with pytest.raises(ModelFileError, match=r"m\.onnx .*; accepted are models that unetkit"):
        card_from_json(text, "m.onnx")
