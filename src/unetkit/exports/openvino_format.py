"""A model file as OpenVINO's intermediate representation: a folder of two files and the metadata.

OpenVINO reads the ONNX file itself, so that no training framework is needed.
"""

from pathlib import Path

import numpy as np

from unetkit._shared.files import write_text
from unetkit.exports.comparison import METADATA_FILE, Network
from unetkit.models.openvino_runtime import openvino
from unetkit.prediction.engine import Engine

MODEL_FILE = "model.xml"  # beside it model.bin, with the weights


def write_openvino(model: Path, path: Path) -> None:
    """Writes a folder of model.xml, model.bin and the metadata; weights as in the model file."""
    path.mkdir()
    network = openvino.Core().read_model(str(model))
    openvino.save_model(network, str(path / MODEL_FILE), compress_to_fp16=False)
    write_text(path / METADATA_FILE, Engine(model).spec.to_json())


def read_openvino(path: Path) -> Network:
    """Opens such a folder on the processor, in single precision."""
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    network = openvino.Core().compile_model(str(path / MODEL_FILE), "CPU", precise)
    return lambda tile: np.array(network(tile)[0])
