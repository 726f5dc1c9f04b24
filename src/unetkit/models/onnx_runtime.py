"""ONNX Runtime with its telemetry disabled.

Official builds, 1.32 among them, send usage data over the network unless an environment variable is
set before the first import. This module sets it, unless the user has set it already; all other
modules import `onnxruntime` from here.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]

OPSET = 17  # of the operators in model files
