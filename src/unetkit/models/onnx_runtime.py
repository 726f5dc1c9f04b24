"""ONNX Runtime, asked to keep to itself before it is loaded.

Official builds, 1.32 among them, report their use to their maker over the network unless this
variable is set when they are first imported. Nothing leaves the machine unasked: so it is set here,
and every other module takes `onnxruntime` from here. Who has set the variable otherwise has asked.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
